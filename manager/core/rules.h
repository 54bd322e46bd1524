// What a command may do to the state: the rules that need to see other objects, and the call to those that do not.
//
//   cluster   put once, never deleted; one from before there were pins may be given its key
//   settings  cluster_settings_validate; deleting them brings the defaults back
//   VIP       vip_config_validate; held by one tenant; neither a DIP, nor the address of a mux or host; its DIPs
//             are of its family, and no VIPs
//             what is leased stays as it is: range_size and first_port do not change the ranges that are leased, and no endpoint
//             takes a port of one (unless the VIP stops leasing ports)
//   mux, host a usable address that no other object has, and perhaps an IPv6 one beside an IPv4 one; a host with DIPs attached is
//             not removed
//   DIP       attached on one known host, by a name, interface and MAC that can be; no VIP; an interface has one DIP of each
//             family, with one MAC. Its `via` is of the other family and no other object's
//   drain     of a DIP in an endpoint (manager/core/drains.h); no endpoint is left without a DIP that gets new connections
//   marks     of DIPs, hosts and muxes that are there (manager/core/marks.h); one mux that is not drained is left
//   history   is the managers' own
//
// A DIP of an endpoint need not be attached. Putting what is there already is always fine; deleting what is not there is
// ERR_NOT_FOUND. Counts are those of common/model/limits.h.
#pragma once

#include "manager/core/cluster_state.h"

// Checks one change against the state as it is; sorts the lists of a VIP. The sentence names the field and what to do.
NODISCARD int rules_check_change(const struct cluster_state *s, struct change *c, struct error *err);

// May an operator ask for these changes? ERR_INVALID: one is the leader's own (unhealthy, host gone). To be asked of each command
// that comes from outside, before it is proposed: in the replicated log nobody knows any more who asked.
NODISCARD int rules_check_operators(const struct change_list *changes, struct error *err);
