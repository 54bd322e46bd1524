// Raft entries and snapshots of the replicated state as bytes (proto/ananta.proto: Command, Snapshot).
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/model/command.h"

#define SNAPSHOT_FORMAT 1

// Memory of the caller's to free with memory_free. ERR_NO_MEMORY.
NODISCARD int command_encode(const struct state_command *command, uint8_t **ret_bytes, size_t *ret_n);

// ERR_MALFORMED, ERR_NO_MEMORY; *ret_command is the caller's to finish on success only.
NODISCARD int command_decode(const uint8_t *bytes, size_t n, struct state_command *ret_command, struct error *err);

NODISCARD int snapshot_encode(const struct state_snapshot *snapshot, uint8_t **ret_bytes, size_t *ret_n);

// ERR_VERSION for a format of a newer program.
NODISCARD int snapshot_decode(const uint8_t *bytes, size_t n, struct state_snapshot *ret_snapshot, struct error *err);

// About how many bytes a change takes in a message: for cutting updates into parts. Never less than it does.
size_t change_encoded_bytes(const struct change *c);

// The same for a lease.
#define LEASE_ENCODED_BYTES 88
