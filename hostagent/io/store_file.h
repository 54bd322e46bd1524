// The last configuration that managers sent, kept in state_dir: a restarted agent works at once, whoever can be reached.
// Threads: the main one.
#pragma once

#include "common/model/store.h"
#include "hostagent/io/state_dir.h"

// Replaces the file as a whole. ERR_IO, ERR_NO_MEMORY.
NODISCARD int store_file_save(const struct state_dir *dir, const struct store *store, struct error *err);

// Fills the empty store. ERR_NOT_FOUND when there is none; ERR_MALFORMED, ERR_VERSION: the store stays empty.
NODISCARD int store_file_load(const struct state_dir *dir, struct store *store, struct error *err);
