// The configuration of ananta-manager:
//
//   { "id": 1, "data_dir": "/var/lib/ananta/manager",
//     "cluster": [ { "id": 1, "api": "10.0.0.11:7400", "raft": "10.0.0.11:7401" }, ... ],
//     "heartbeat_ms": 50, "election_ms": 500 }
//
// `cluster` is the same on every replica. The last two fields may be left out.
#pragma once

#include "common/io/json_reader.h"
#include "common/wire/message.h"

#define MANAGER_PATH_BYTES 1024 // the Raft library's limit for a directory

struct manager_config {
	uint64_t id;
	char data_dir[MANAGER_PATH_BYTES];
	uint32_t n_replicas;
	struct replica_info replicas[REPLICAS_MAX]; // this one too
	uint32_t heartbeat_ms;
	uint32_t election_ms;
};

// ERR_IO, ERR_INVALID, ERR_LIMIT with the field and what is right.
NODISCARD int manager_config_read_file(const char *path, struct manager_config *ret_config, struct error *err);
NODISCARD int manager_config_read(json_t *root, struct manager_config *ret_config, struct error *err);

// NULL when there is none.
const struct replica_info *manager_config_lookup(const struct manager_config *c, uint64_t id);
