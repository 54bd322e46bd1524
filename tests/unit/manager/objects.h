// The state's objects and changes from text, for tests:
//
//   cluster 7 | mux mux1 10.0.0.31 | host host1 10.0.0.21 | dip 10.1.1.11 host1 vm1 if1 02:00:00:00:00:01
//   mux mux1 10.0.0.31 2001:db8::31 | dip 10.1.1.11 host1 vm1 if1 02:00:00:00:00:01 via=2001:db8:1::11
//   vip 2001:db8:f::10 shop web tcp 80 [2001:db8:1::11]:8080*2   (both families)
//   vip 203.0.113.10 shop web tcp 80 10.1.1.11:8080*2 10.1.2.11:8080 , snat 10.1.1.11
//   vip 203.0.113.10 shop snat size=16 first=2048 prealloc=0 max=64 idle=60 10.1.1.11   (what is not named is the default)
//   vip 203.0.113.10 shop drain_s=60 web tcp 80 10.1.1.11:8080
//   drain 10.1.1.11 | drain 10.1.1.11 203.0.113.10        (of all its VIPs, of one)
//   vip 203.0.113.10 shop refuse=1 web tcp 80 probe=8080 10.1.1.11:80   (refuses when all are down; a TCP probe of this port)
//   unhealthy 10.1.1.11 203.0.113.10 tcp 80 cause=refused | gone host1 cause=silent | muxdrain mux1   (marks; a cause of one word)
//   event mux-up mux1                       (that the leader saw)
//   since 9 | expect 203.0.113.10 7 | part 77 0 | commit 77 2 | author x     (terms of the command, its place in a transaction, whose it is)
//   cluster 7 key=5                         (the first byte of the pin key)
//   settings 60 log=600 gone=10 rate=5 host_gone_ms=2000 fail_static=50      (the quarantine, seconds; what is not named is the default)
//   -mux mux1 | -host host1 | -dip 10.1.1.11 | -vip 203.0.113.10 | -drain 10.1.1.11 | -gone host1 |
//   -unhealthy 10.1.1.11 203.0.113.10 tcp 80 | -muxdrain mux1     (deletes)
//   request 10.1.1.11 7 16                          (seq 7, 16 ports)
//   return 10.1.1.11 203.0.113.10:1024 5            (epoch 5)
//   revoke 203.0.113.10:1024 | revoke 10.1.1.11     (operations on leases, after all changes of the command)
//
// Words are separated by one space, the lists of a VIP by " , ", the changes of a command by " ; ". Text that does not
// parse aborts the test.
#pragma once

#include "manager/core/cluster_state.h"

#define TEST_TIME_MS 1700000000000ULL // of commands that say no other

struct ip_addr addr_of(const char *text);

// An owned command.
struct state_command command_of(uint64_t time_ms, const char *text);

// An owned change list of a command without operations.
struct change_list changes_of(const char *command);

struct vip_config *vip_of(const char *text);

// Applies a command without operations; the result of cluster_state_apply.
int apply_text(struct cluster_state *s, const char *command, struct apply_result *ret_result, struct error *err);

// The same at a time; operations are fine, and *ret_result is for apply_result_fini on success.
int apply_text_at(struct cluster_state *s, uint64_t time_ms, const char *command, struct apply_result *ret_result,
                  struct error *err);

// Applies a command that must be accepted.
void must_apply(struct cluster_state *s, const char *command);

// The same at a time, with operations. The last outcome goes to *ret_outcome, unless that is NULL; the result holds none.
struct apply_result must_apply_at(struct cluster_state *s, uint64_t time_ms, const char *command,
                                  struct snat_outcome *ret_outcome);

// Fills an uninitialized copy with what the state's snapshot restores to, or replaces the state by it.
void copy_by_snapshot(const struct cluster_state *s, struct cluster_state *copy);
void replace_by_snapshot(struct cluster_state *s);

// Are both replicas in the same state: would their snapshots be the same?
bool snapshots_are_equal(const struct cluster_state *a, const struct cluster_state *b);
