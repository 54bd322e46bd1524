// The last configuration and the leases that managers sent, kept in a program's state_dir: restarted it works at once, whoever
// can be reached. The format is that of the managers' snapshots (common/wire/changes.h); of SNAT it has the leases that are held,
// their version, and in clock_ms when a leader was there last.
// Threads: the main one; store_file_write any, one at a time.
#pragma once

#include "common/model/command.h"
#include "common/model/store.h"
#include "common/io/state_dir.h"

// Replaces the file as a whole. ERR_IO, ERR_NO_MEMORY. Writing is the part that takes time: a snapshot is taken on the main thread
// (what it holds is the caller's to finish) and may be written by another one.
NODISCARD int store_file_save(const struct state_dir *dir, const struct store *store, const struct snat_image *leases,
                              struct error *err);

NODISCARD int store_file_write(const struct state_dir *dir, const struct state_snapshot *all, struct error *err);

// Fills the empty store; ret_leases is for snat_image_fini. ERR_NOT_FOUND when there is no file; ERR_MALFORMED, ERR_VERSION:
// the store stays empty, and the file is kept as config.damaged.
NODISCARD int store_file_load(const struct state_dir *dir, struct store *store, struct snat_image *ret_leases,
                              struct error *err);
