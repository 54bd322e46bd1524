// A program's directory for what outlives its process (the last configuration, an agent's flow table), and the lock that makes it
// one process's. An agent's belongs on tmpfs: gone with a reboot, as the VMs' connections are, and never waiting for a disk.
// Threads: the main one.
#pragma once

#include "common/base/error.h"

#define STATE_DIR_BYTES 200

struct state_dir {
	int lock_fd; // -1: none
	char path[STATE_DIR_BYTES];
};

// Makes the directory (0700) where it is missing, and locks it; waits a moment for a process that is just ending.
// ERR_CONFLICT when another process uses it, ERR_IO.
NODISCARD int state_dir_open(struct state_dir *d, const char *path, struct error *err);
// Logs a warning when the directory is on a disk.
void state_dir_warn_of_disk(const struct state_dir *d);

void state_dir_close(struct state_dir *d);

// "/run/ananta/agent/flows", into buf of STATE_PATH_BYTES.
#define STATE_PATH_BYTES (STATE_DIR_BYTES + 32)
const char *state_dir_path(const struct state_dir *d, const char *name, char *buf);
