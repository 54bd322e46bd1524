// A NAT that is obviously right, to compare the agent with (RFC 3022): flows in a list that is searched from its beginning, packets
// rewritten field by field, and every checksum found anew from sums over all that it covers.
//
// It knows the data centre of tests/unit/hostagent/fixture.h, with SNAT. One thing it cannot know, which leased port a new flow of a VM
// gets: the agent's choice is told to it, and it says whether that is one of the right ones. No time passes here.
#pragma once

#include "tests/support/packet_builder.h"

#define NAIVE_FLOWS_MAX 4096
#define NAIVE_MSS 1440

struct naive_flow {
	be32 remote, vip, dip;
	be16 remote_port, vip_port, dip_port; // of ICMP: remote_port is 0, the others are the identifiers
	uint8_t protocol;
	bool is_snat;
	uint8_t step; // of TCP: 0 its SYN was there, 1 the other side answered, 2 established
	bool has_fin_in, has_fin_out;
};

struct naive_endpoint {
	be32 vip, dip;
	be16 vip_port, dip_port;
	uint8_t protocol;
};

struct naive_lease { // 8 ports
	be32 vip, dip;
	uint16_t first_port;
};

struct naive_nat {
	struct naive_flow flows[NAIVE_FLOWS_MAX];
	uint32_t n_flows;
	struct naive_endpoint endpoints[8];
	uint32_t n_endpoints;
	struct naive_lease leases[8];
	uint32_t n_leases;
	be32 dips[2]; // of VM port 0 and 1
	be32 encap_sources[4];
	uint32_t n_encap_sources;
};

enum naive_outcome { NAIVE_DROP, NAIVE_TO_VM, NAIVE_TO_UPLINK, NAIVE_NEW_SNAT, NAIVE_REFUSED };

struct naive_verdict {
	enum naive_outcome outcome;
	const char *reason; // of NAIVE_DROP and NAIVE_REFUSED, as drop_reason_name has it
	uint32_t port; // of NAIVE_TO_VM
};

// `ip` is the IP packet of n bytes, rewritten in place. Inbound: what is inside, and who encapsulated it for which DIP.
struct naive_verdict naive_inbound(struct naive_nat *nat, be32 source, be32 dip, uint8_t *ip, uint32_t n);

// From VM port 0 or 1. NAIVE_NEW_SNAT: it begins a flow, and `ip` is as it was: naive_begin goes on.
struct naive_verdict naive_outbound(struct naive_nat *nat, uint32_t port, uint8_t *ip, uint32_t n);

// Begins that flow with the VIP and port that were chosen, and rewrites the packet. False: they are not to be had.
bool naive_begin(struct naive_nat *nat, uint8_t *ip, uint32_t n, be32 vip, be16 vip_port);

// Is there any port that the flow of this packet could get?
bool naive_has_port(const struct naive_nat *nat, const uint8_t *ip);

bool naive_flow_is_over(const struct naive_flow *f);
