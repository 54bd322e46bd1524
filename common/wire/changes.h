// Raft entries and snapshots of the replicated state: lists of changes as bytes (proto/ananta.proto: Command, Snapshot).
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/model/object.h"

#define SNAPSHOT_FORMAT 1

// Memory of the caller's to free with memory_free. ERR_NO_MEMORY.
NODISCARD int command_encode(const struct change_list *changes, uint8_t **ret_bytes, size_t *ret_n);

// ERR_MALFORMED, ERR_NO_MEMORY; *ret_changes is the caller's to finish on success only.
NODISCARD int command_decode(const uint8_t *bytes, size_t n, struct change_list *ret_changes, struct error *err);

NODISCARD int snapshot_encode(uint64_t version, const struct change_list *objects, uint8_t **ret_bytes, size_t *ret_n);

// ERR_VERSION for a format of a newer program.
NODISCARD int snapshot_decode(const uint8_t *bytes, size_t n, uint64_t *ret_version, struct change_list *ret_objects,
                              struct error *err);

// About how many bytes a change takes in a message: for cutting updates into parts. Never less than it does.
size_t change_encoded_bytes(const struct change *c);
