// The last configuration and the leases that managers sent, kept in state_dir: a restarted agent works at once, whoever can
// be reached. The format is that of the managers' snapshots (common/wire/changes.h); of SNAT it has the leases that are held,
// their version, and in clock_ms when a leader was there last.
// Threads: the main one.
#pragma once

#include "common/model/command.h"
#include "common/model/store.h"
#include "hostagent/io/state_dir.h"

// Replaces the file as a whole. ERR_IO, ERR_NO_MEMORY.
NODISCARD int store_file_save(const struct state_dir *dir, const struct store *store, const struct snat_image *leases,
                              struct error *err);

// Fills the empty store; ret_leases is for snat_image_fini. ERR_NOT_FOUND when there is no file; ERR_MALFORMED, ERR_VERSION:
// the store stays empty, and the file is kept as config.damaged.
NODISCARD int store_file_load(const struct state_dir *dir, struct store *store, struct snat_image *ret_leases,
                              struct error *err);
