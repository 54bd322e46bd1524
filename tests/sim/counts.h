// What a run counts: why connections broke, what must never be (docs/simulator.md), and what happened.
#pragma once

#include <stdint.h>

#define CAUSES(X)                                                                            \
	X(RESET, "reset") /* the client got a RST for an established connection */               \
	X(SPLIT, "split_handshake") /* a RST before any answer, when two VMs had seen its SYN */ \
	X(WRONG_VM, "wrong_vm") /* another VM answered */                                        \
	X(TIMEOUT, "timeout") /* no progress for as long as the client has patience */           \
	X(VM_RESET, "vm_reset") /* the VM got a RST: someone told it that the client is gone */  \
	X(DAMAGED, "damaged") /* a packet arrived whose checksum or content is wrong */          \
	X(NOT_OPENED, "not_opened") /* no VM ever answered */

enum cause {
#define X(name, text) CAUSE_##name,
	CAUSES(X)
#undef X
		CAUSE_COUNT
};

#define VIOLATIONS(X)                                                                                          \
	X(NO_LEASE, "snat_no_lease") /* a reply met a mux that announces, is not excused, and misdirected it */    \
	X(TWO_OWNERS, "snat_two_owners") /* a port was granted, given to a worker, or used while another has it */ \
	X(WRONG_VM, "snat_wrong_vm") /* a reply was delivered to a VM that did not open the connection */          \
	X(PLAIN, "snat_plain") /* a packet of a VM left without a leased port of a VIP */                          \
	X(QUARANTINE, "snat_quarantine") /* a range was granted again too early */                                 \
	X(STUCK, "snat_stuck") /* something waits still, or differs from the managers' state, when all is quiet */

enum violation {
#define X(name, text) VIOLATION_##name,
	VIOLATIONS(X)
#undef X
		VIOLATION_COUNT
};

#define VIOLATIONS_TRACED 20

struct sim_stats {
	uint64_t opened;
	uint64_t finished;
	uint64_t broken[CAUSE_COUNT];
	uint64_t broken_beyond_history; // of them: their VM is in no owner history any more
	uint64_t died_with_vm;
	uint64_t packets; // that arrived somewhere
	uint64_t lost; // on links, and at machines that are down
	uint64_t moved;
	uint64_t detours; // packets that agents sent on, each once
	uint64_t detours_moved; // of them, of connections that moved
	uint64_t hops; // that these took
	uint64_t mux_drops;
	uint64_t agent_drops;
	uint64_t adopted;
	uint64_t chain_adopted;
	uint64_t pins_sent;
	uint64_t pins_taken;
	uint64_t pin_hits;
	uint64_t pins_refused;
	uint64_t drops_skew; // packets that agents dropped because their views of the owners differed
	uint64_t generations; // VIP changes that were applied
	uint64_t commands_refused;
	uint64_t mux_kills;
	uint64_t outbound; // connections of VMs that were opened
	uint64_t refused; // outbound connections that the agent refused for want of ports
	uint64_t cut; // outbound connections whose lease was revoked
	uint64_t snat_flows;
	uint64_t snat_held; // packets that waited for ports
	uint64_t snat_asked; // requests of agents, repeated ones too
	uint64_t leases_granted;
	uint64_t leases_returned;
	uint64_t leases_revoked;
	uint64_t fences;
	uint64_t
		snat_excused; // replies that met a mux that was fenced or out of the leader's reach, and did not know the lease
	uint64_t links_cut;
	uint64_t violations[VIOLATION_COUNT];
	uint64_t events;
};
