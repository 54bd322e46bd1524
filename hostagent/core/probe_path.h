// The way of health probes: between the host's own kernel, where the prober's sockets are, and the VMs (internal to the core).
//
//   prober --socket bound to the probe address--> kernel --tap--> agent_from_host ----> VM port
//   prober <------------------------------------- kernel <--tap-- probe_path_answer <-- VM port (agent_outbound)
//
// What the kernel sends from the probe address goes to a DIP that is attached here, or nowhere: never to the uplink, for every
// host has this address. VMs reach nothing but the answer: TCP that is no SYN of their own, and ICMP errors; AGENT_PROBE_PPS of
// them, so that no VM can load the host's kernel by it. No flow is made, here or by a packet from outside that bears the address,
// and no SNAT done: so what has a flow is no answer, and the fast path of flows does not ask.
#pragma once

#include "common/packet/martian.h"
#include "hostagent/core/verdict.h"

static inline bool probe_path_has6(const struct agent *a, const uint8_t *addr)
{
	return ip6_addr_equal(addr, a->settings.probe_address6) && !ip6_is_unspecified(addr);
}

// Is the packet's source, its destination, the probe address of its family?
static inline bool probe_path_is_source(const struct agent *a, const uint8_t *frame, const struct parsed *ip)
{
	if (ip->is_ip6)
		return probe_path_has6(a, parsed_src6(frame, ip));
	return ip->src == a->settings.probe_address && ip->src != 0;
}

static inline bool probe_path_is_destination(const struct agent *a, const uint8_t *frame, const struct parsed *ip)
{
	if (ip->is_ip6)
		return probe_path_has6(a, parsed_dst6(frame, ip));
	return ip->dst == a->settings.probe_address && ip->dst != 0;
}

// A packet of a VM to the probe address, whose source has been checked. `reason`: why its ports cannot be
// known, or DROP_NONE.
void probe_path_answer(struct agent *a, struct agent_packet *p, struct parsed ip, enum drop_reason reason);
