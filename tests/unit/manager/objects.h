// The state's objects and changes from text, for tests:
//
//   cluster 7 | mux mux1 10.0.0.31 | host host1 10.0.0.21 | dip 10.1.1.11 host1 vm1 if1 02:00:00:00:00:01
//   vip 203.0.113.10 shop web tcp 80 10.1.1.11:8080*2 10.1.2.11:8080 , snat 10.1.1.11
//   settings 60                      (the quarantine, seconds; all else by default)
//   -mux mux1 | -host host1 | -dip 10.1.1.11 | -vip 203.0.113.10                        (deletes)
//
// Words are separated by one space, the lists of a VIP by " , ", the changes of a command by " ; ". Text that does not
// parse aborts the test.
#pragma once

#include "manager/core/cluster_state.h"

struct ip_addr addr_of(const char *text);

// An owned change list of the command.
struct change_list changes_of(const char *command);

struct vip_config *vip_of(const char *text);

// Applies a command; the result of cluster_state_apply.
int apply_text(struct cluster_state *s, const char *command, struct apply_result *ret_result, struct error *err);

// Applies a command that must be accepted.
void must_apply(struct cluster_state *s, const char *command);
