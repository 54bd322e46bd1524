// Neighbor Discovery (RFC 4861) as packets take it, the counterpart of what inbound.c, outbound.c and probe_path.c do with ARP; internal
// to the core.
//
//   uplink  what gateways say is learned; the node's own goes to the tap; for DIPs and vias here the answer is given, where proxy_arp is on
//   VMs     whatever a VM asks for is behind the gateway's MAC, but its own DIPs; who takes an address into use is not answered (RFC 4862
//           section 5.4); a Router Solicitation brings an advertisement of AGENT_GATEWAY_IP6 without prefixes: addresses are the operator's
//   tap     the kernel finds DIPs behind the gateway's MAC, for probes
//
// A VM that has no IPv6 DIP gets no advertisement. A default route that came by one ends after its lifetime, so that it is repeated
// unasked (agent_next_advertisement).
#pragma once

#include "common/packet/martian.h"
#include "hostagent/core/verdict.h"

// fe80::1, on every host, as AGENT_GATEWAY_MAC is.
#define AGENT_GATEWAY_IP6                                    \
	{                                                        \
		0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 \
	}

// Is the packet from the uplink for an address of the node itself?
static inline bool nd_path_is_own(const struct agent *a, const uint8_t *frame, const struct parsed *ip)
{
	const uint8_t *dst = parsed_dst6(frame, ip);
	return (ip6_addr_equal(dst, a->settings.address6) && !ip6_is_unspecified(dst)) || ip6_is_link_local(dst);
}

// From the uplink: to the node itself, to a group, and Neighbor Discovery that is sent to somebody else. `reason`: of parsing.
void nd_path_own(struct agent *a, struct agent_packet *p, const struct parsed *ip, enum drop_reason reason);
void nd_path_group(struct agent *a, struct agent_packet *p);
void nd_path_uplink(struct agent *a, struct agent_packet *p, const struct parsed *ip);

// From a VM, whose MAC has been looked at. The source is not yet.
void nd_path_vm(struct agent *a, struct agent_packet *p, const struct parsed *ip);

// From the host's kernel. False: it is nothing of DIPs and probes.
bool nd_path_host(struct agent *a, struct agent_packet *p, const struct parsed *ip);
