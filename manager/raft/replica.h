// One replica of a state machine that Raft replicates: commands go in anywhere the leader is, come out everywhere in the
// same order. Hides the Raft library (0.22, libuv backend) and its rules completely; nothing else includes its headers.
//
//   FOLLOWER --elected--> LEADER, waits until an entry of its own term is applied --> LEADS (on_leadership(true))
//       ^                                                                                |
//       `------------- another leader, or no word from a majority (on_leadership(false)) '
//
// What is acknowledged (code 0) is on the disks of a majority. Order of calls: commands are submitted from the loop's
// prepare phase, never from inside a callback of the library, which does not bear that.
// A command that a replica cannot carry out for want of memory, or because a newer program wrote it, ends the program:
// to skip it would make this replica differ from the others for ever; started again, it goes on from its disk.
// Threads: everything on the thread of its uv loop. Full: REPLICA_PENDING_MAX commands wait; more are refused (ERR_LIMIT).
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "common/base/error.h"

#define REPLICA_COMMAND_MAX_BYTES ((1u << 20) - 8)
#define REPLICA_PENDING_MAX 1024
#define REPLICA_PENDING_MAX_BYTES (64u << 20)
#define REPLICA_MEMBERS_MAX 9

struct replica;

struct replica_member {
	uint64_t id; // not 0
	const char *address; // of its Raft port: IPv4 address or host name, colon, port
};

struct replica_machine {
	// Applies a command: 0 and the state's version, or a refusal that is the same on every replica. ERR_NO_MEMORY and
	// ERR_MALFORMED end the program.
	int (*apply)(const uint8_t *bytes, size_t n, uint64_t *ret_version, struct error *err, void *user);
	// The whole state in memory of memory_*. And back; what was there before is replaced.
	int (*snapshot)(uint8_t **ret_bytes, size_t *ret_n, void *user);
	int (*restore)(const uint8_t *bytes, size_t n, struct error *err, void *user);
	void (*on_leadership)(bool leads, void *user);
	void *user;
};

struct replica_config {
	uint64_t id;
	const char *data_dir; // made, with its parents, when it is not there; one replica at a time holds it
	uint32_t n_members;
	struct replica_member members[REPLICA_MEMBERS_MAX]; // of the whole cluster, this one too
	uint32_t heartbeat_ms;
	uint32_t election_ms; // at least 5 heartbeats
	uint32_t snapshot_threshold; // entries between snapshots, or 64 MB of them; 0: 65536
	uint32_t snapshot_trailing; // entries kept behind a snapshot, for followers that are late; 0: 4096
	struct replica_machine machine;
};

// Starts: restores from the disk, listens, joins the others. On an empty data_dir the cluster begins with the members given.
// ERR_IO with what and why, ERR_CONFLICT when data_dir belongs to another replica or other members, ERR_NO_MEMORY. After a
// failure the loop must still run until it has nothing to do.
NODISCARD int replica_create(uv_loop_t *loop, const struct replica_config *config, struct replica **ret_replica,
                             struct error *err);

// Stops; pending proposals fail before it returns. on_stopped (may be NULL) is called when everything is closed and freed.
// Not from inside a callback of the replica.
void replica_stop(struct replica *r, void (*on_stopped)(void *user), void *user);

// What a proposal came to: err->code 0 and the state's version, or the refusal. ERR_TIMEOUT: leadership was lost meanwhile,
// it may have happened or not.
typedef void (*replica_result_fn)(const struct error *err, uint64_t version, void *user);

// Proposes a command (copied). On 0 the result follows, never from inside this call. ERR_NOT_LEADER, ERR_LIMIT,
// ERR_NO_MEMORY: no result follows.
NODISCARD int replica_propose(struct replica *r, const uint8_t *bytes, size_t n, replica_result_fn on_result,
                              void *user, struct error *err);

// Do proposals wait that were not submitted yet? They are in the next prepare phase.
bool replica_has_waiting(const struct replica *r);

// Does this replica lead, with all entries of earlier terms applied?
bool replica_leads(const struct replica *r);

uint64_t replica_leader_id(const struct replica *r); // 0: none known
uint64_t replica_term(const struct replica *r);
uint64_t replica_applied_index(const struct replica *r);
