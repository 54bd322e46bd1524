// The directory where a replica keeps its log: made, locked, and kept from being mistaken for another replica's.
#pragma once

#include <stdint.h>

#include "common/base/error.h"

// Makes the directory with its parents, takes its lock and notes whose it is. The lock goes with the descriptor, so also
// with the process. ERR_IO; ERR_CONFLICT: another process runs on it, or it belongs to another replica.
NODISCARD int data_dir_open(const char *path, uint64_t replica_id, int *ret_lock_fd, struct error *err);

void data_dir_close(int lock_fd);
