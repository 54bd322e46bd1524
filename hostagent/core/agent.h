// The host agent's data plane: a little L3 switch with NAT between the uplink and the VMs of one host (design section 3).
//
//                    +----------------------- agent ------------------------+
//   uplink --------> | inbound.c:  decapsulate, VIP:p -> DIP:q, deliver      | --------> VM ports
//   uplink <-------- | (chained.c: flow unknown here: to who may know it)    |
//   uplink <-------- | outbound.c: check the VM, DIP:q -> VIP:p, to gateway  | <-------- VM ports
//   tap    <-------> | the host's own address: ARP, managers, BGP            |
//   tap    <-------> | probe_path.c: health probes                          | <-------> VM ports
//                    +-------------------------------------------------------+
//
// A new connection of a VM whose DIP is in a `snat` list leaves with a leased port of a VIP (snat.h); when there is none, its
// frame is held by the edge until the managers answered:
//
//   agent_outbound --AGENT_HOLD, hold_slot--> the edge keeps the frame as it is (at most SNAT_HOLD_PACKETS of a slot; beyond,
//                  the oldest goes: DROP_SNAT_HOLD_FULL)
//   agent_snat_next_ready gives the slot --> all its frames go through agent_outbound again, in order, with was_held
//   a frame waited SNAT_HOLD_US          --> it goes through agent_outbound again, with was_held and held_too_long
//
// A fragment whose datagram's first one has not come waits in the edge, too (fragmented.h; common/packet/fragments.h):
//
//   agent_inbound, agent_outbound --AGENT_HOLD_FRAGMENT, hold_slot--> the edge keeps the frame as it is, in the place of what it
//                  has in that slot, which is to be freed (and is counted)
//   after each burst, until there is none: agent_next_fragment gives a slot --> its frame through agent_release_fragment
//
// What is refused is turned, in place, into the answer for the VM (a RST, or ICMP), which may begin up to AGENT_HEADROOM
// bytes in front of the frame; so may what is sent on to another host, whose outer header may be of the longer family. So much room must
// be there in front of every frame.
//
// Both families go the same road (common/packet/addr_names.h: 32 bits for an address of either). In the packets of IPv6, VIP and DIP are
// names, and the remote is a tag, also where it has a name.
//
// Pure: frames come in as bytes, verdicts come out, and the frames are rewritten in place. The edge receives, sends, and
// gives the time. A burst goes through three stages (parse and prefetch the bucket; prefetch the flow; decide and
// rewrite), so that memory is waited for once and not per packet; the outcome is that of one packet after the other.
// Nothing here allocates, blocks or fails: a packet that cannot go its way is dropped and counted by reason.
// Threads: one worker owns a struct agent. `config` is borrowed: the worker sets it once a turn.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/token_bucket.h"
#include "common/packet/encap.h"
#include "common/packet/fragments.h"
#include "common/packet/neighbor.h"
#include "common/packet/parse.h"
#include "hostagent/core/config.h"
#include "hostagent/core/counters.h"
#include "hostagent/core/dip_flows.h"
#include "hostagent/core/flow_table.h"
#include "hostagent/core/pin_reports.h"
#include "hostagent/core/snat.h"
#include "hostagent/core/strays.h"

#define AGENT_BURST 32
#define AGENT_HEADROOM 64

// Packets of unknown flows that are sent on to other owners: some 1 % of what the worker can do, so that a flood of strays costs
// the network no more than that.
#define AGENT_CHAIN_PPS 20000u

// Packets of one VM to the probe address: some ten for each of as many probes a second as one DIP may reasonably have.
#define AGENT_PROBE_PPS 2000u

// What every VM sees as its gateway, on every host, so that a VM that moves finds the same one. Locally administered;
// the rest spells "anant".
#define AGENT_GATEWAY_MAC                      \
	{                                          \
		{                                      \
			0x02, 0x61, 0x6e, 0x61, 0x6e, 0x74 \
		}                                      \
	}

enum agent_verdict {
	AGENT_DROP, // reason says why; counted already
	AGENT_TO_UPLINK,
	AGENT_TO_TAP, // the host's own traffic, unchanged; or the answer to a probe
	AGENT_TO_VM, // port says which. From agent_outbound also: what it sent was refused (reason), this is the answer to it
	AGENT_HOLD_FRAGMENT, // unchanged, in the place hold_slot, below AGENT_FRAGMENT_SLOTS
	AGENT_HOLD, // unchanged, to be submitted again when hold_slot is ready
};

// What waits for the flow lookup between the stages. From WAIT_FRAGMENT on: what is seldom.
enum agent_wait {
	WAIT_NOTHING, // the verdict is there
	WAIT_INBOUND, // an encapsulated packet to a VIP
	WAIT_INBOUND6, // the same of IPv6
	WAIT_PLAIN, // a plain TCP packet to a DIP:port that an endpoint uses
	WAIT_REPLY, // a TCP or UDP packet of a VM, or an echo request
	WAIT_REPLY6, // the same of IPv6
	WAIT_FRAGMENT, // a piece of a packet that may be a flow's
	WAIT_ERROR, // an ICMP error about a packet that went through here
};

struct agent_packet {
	// In: the frame. Out: the frame to send; it begins later in the same buffer when an outer header was taken off.
	uint8_t *frame;
	uint32_t len;
	uint16_t port; // outbound, in: the VM port it came from. Out, with AGENT_TO_VM: the one to send it to
	bool was_held; // outbound, in: submitted again after AGENT_HOLD
	bool held_too_long; // likewise, for SNAT_HOLD_US: no more holding
	enum agent_verdict verdict;
	enum drop_reason reason;
	uint16_t hold_slot; // of AGENT_HOLD, AGENT_HOLD_FRAGMENT
	// Between the stages.
	enum agent_wait wait;
	struct parsed ip; // of the packet that is delivered: the inner one
	uint32_t candidate; // of the flow table's second stage
	uint64_t hash;
	be32 dip; // inbound: the DIP that the outer destination is (or is the via of), or the plain one; sent on: of whom
	be32 remote_name; // outbound, of IPv6: the destination's; 0: it has none
	const struct agent_endpoint *endpoint; // inbound, of what will be a new flow; and the hash of its reply key
	uint64_t reply_hash;
};

struct agent_settings {
	struct mac uplink_mac; // of the uplink port; the tap has the same
	be32 address; // the host's own; 0: it has none of IPv4
	uint8_t address6[IP6_ADDR_BYTES]; // likewise of IPv6; all 0: none
	uint8_t probe_address6[IP6_ADDR_BYTES]; // as probe_address
	be32 probe_address; // the host's own as well, and known to nobody but its VMs: what probes come from; 0: none
	uint16_t mss; // what TCP handshakes are clamped to: what a way with the outer header carries, of IPv4 in IPv4
	bool
		proxy_arp; // answer ARP and ND on the uplink for local DIPs and vias (a shared segment without routes per host)
};

struct agent {
	struct agent_settings settings;
	const struct agent_config *config; // NULL: none has ever arrived
	struct flow_table flows;
	struct neighbor_table neighbors; // the gateways of IPv4
	struct neighbor_table neighbors6; // and of IPv6
	struct agent_counters counters;
	struct snat *snat; // borrowed; NULL: no SNAT here, and packets that would need it are dropped
	struct agent_fragments
		*fragments; // borrowed; NULL: what is in fragments is dropped, unless it needs no translation
	struct mono_time now;
	struct token_bucket chain_limit;
	struct pin_reports pin_reports;
	struct token_bucket probe_limit[AGENT_PORTS_MAX];
	struct strays strays;
	struct dip_flows dip_flows;
	uint16_t advertise_cursor; // the VM port that is looked at next, for router advertisements
	struct mono_time advertise_at[AGENT_PORTS_MAX]; // when its next one is due
	bool port_is_open[AGENT_PORTS_MAX];
	uint16_t port_mtu[AGENT_PORTS_MAX]; // of the VM's interface; 0: not known
};

// gateways: of both families, at most NEIGHBOR_MAX of each. The flow table is initialised or attached by the caller, in agent->flows; agent->snat is
// set by the caller, too.
void agent_init(struct agent *a, const struct agent_settings *settings, const struct ip_addr *gateways,
                uint32_t n_gateways);

// Takes a table that was attached, with the flows in it. (One that is empty may as well be put into agent->flows.) The table's names
// are the process's.
void agent_use_flows(struct agent *a, const struct flow_table *flows);

// How many load-balanced flows a local DIP has. Any thread.
uint32_t agent_dip_flows(const struct agent *a, be32 dip);

// The time of the packets that follow.
void agent_set_now(struct agent *a, struct mono_time now);

// Frames from the uplink; n up to AGENT_BURST. Verdicts are in the packets.
void agent_inbound(struct agent *a, struct agent_packet *packets, uint32_t n);

// Frames from VM ports (packets[i].port).
void agent_outbound(struct agent *a, struct agent_packet *packets, uint32_t n);

// Frames from the tap: what the host's kernel sends. Those from the probe address go to a VM, the others as they are.
void agent_from_host(struct agent *a, struct agent_packet *packets, uint32_t n);

// ---- Pins: at the end of each turn ----

// How many datagrams are to be sent, one to each mux; 0: nothing to report. `wall_us` is the real time, which muxes compare with
// their own.
uint32_t agent_pins_begin(struct agent *a, uint64_t wall_us);

// Writes the i-th of them, to be sent on the uplink; returns its bytes, at most PIN_REPORTS_FRAME_BYTES; 0: there is no way to that mux.
uint32_t agent_pins_write(const struct agent *a, uint32_t i, uint8_t *frame);

// A share of the flow table's expiry, such that the whole table is seen every FLOW_SWEEP_US; counts what went. To be
// called at least every 100 ms or so with the time since the last call.
#define FLOW_SWEEP_US 8000000u
void agent_expire_flows(struct agent *a, struct mono_time now, uint64_t elapsed_us);

// Router advertisements that VMs get unasked: writes the next one that is due (AGENT_FRAME_BYTES_MAX), for the VM port *ret_port, and
// returns its bytes; 0: none is. As often as agent_expire_flows, until it returns 0.
#define AGENT_ROUTER_LIFETIME_S 1800u
#define AGENT_ADVERTISE_US 300000000u // well within the lifetime, and less than the 600 s of RFC 4861 section 6.2.1
#define AGENT_FRAME_BYTES_MAX ND_FRAME_BYTES_MAX
uint32_t agent_next_advertisement(struct agent *a, uint8_t *frame, uint16_t *ret_port);

// ---- Fragments ----

#define AGENT_FRAGMENT_SLOTS (2 * FRAGMENT_SLOTS)

// Room for n_datagrams at a time (a power of two, FRAGMENT_WAYS or more) each way; 1120 bytes for each. NULL: no memory. The caller
// puts it into agent->fragments. `seed` is random.
struct agent_fragments *agent_fragments_create(uint32_t n_datagrams, uint64_t seed);
void agent_fragments_destroy(struct agent_fragments *f);

struct agent_released {
	uint16_t slot;
	enum drop_reason reason;
	uint64_t decision;
};

// The next fragment that waits no more; its slot is free from now on. False: there is none.
bool agent_next_fragment(struct agent *a, struct agent_released *ret_released);

// Its verdict; `p` is as agent_inbound or agent_outbound got it.
void agent_release_fragment(struct agent *a, const struct agent_released *released, struct agent_packet *p);

// What waited too long is released, to be dropped. As often as agent_expire_flows.
void agent_expire_fragments(struct agent *a, struct mono_time now);

// ---- SNAT, between packets; a->snat is not NULL ----

// What the control thread says.
void agent_snat_order(struct agent *a, const struct snat_order *order);

// The next thing that the control thread should know; false: nothing. Nothing is lost when it is not called: what matters is
// made from the state.
bool agent_snat_next_report(struct agent *a, struct snat_report *ret_report);

// The next slot whose held frames are to be submitted again; false: none. Each slot comes once for what happened until then.
bool agent_snat_next_ready(struct agent *a, uint16_t *ret_slot);

// What time brings: requests that nobody answered, windows that shrink, leases that are idle. To be called as
// agent_expire_flows, with the time since the last call; the work of a call is bounded.
void agent_snat_tend(struct agent *a, struct mono_time now, uint64_t elapsed_us);
