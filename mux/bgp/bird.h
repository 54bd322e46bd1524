// The mux and its BIRD: the file with BIRD's configuration, BIRD's own check of it, and having BIRD take it over.
//
// The mux either writes the whole configuration (mux/core/bird_config.h) into a file that BIRD reads, or works with one that an
// operator wrote. BIRD is its own program, started by whoever starts programs; it need not run when the mux starts, nor end with it.
// Threads: the control thread, before its loop runs. Waits for BIRD up to BIRD_PATIENCE_MS.
#pragma once

#include <stdbool.h>

#include "common/base/error.h"
#include "mux/core/bird_config.h"

#define BIRD_PATH_BYTES 108
#define BIRD_PATIENCE_MS 2000

struct bird_files {
	char program[BIRD_PATH_BYTES]; // BIRD itself
	char control[BIRD_PATH_BYTES]; // its control socket
	char file[BIRD_PATH_BYTES]; // that the mux writes
	char operator_file[BIRD_PATH_BYTES]; // or that somebody else has written; "" or the only one of these that counts
};

// Asks the installed BIRD whether the text is right (`bird -p`), without leaving it on a disk. ERR_NOT_FOUND when BIRD is not
// installed there; ERR_INVALID with BIRD's words; ERR_IO.
NODISCARD int bird_check_text(const struct bird_files *f, const char *text, struct error *err);

// The same for a file; one that cannot be read is ERR_IO.
NODISCARD int bird_check_file(const struct bird_files *f, const char *path, struct error *err);

// Makes the file say this, atomically, for BIRD's user alone (0600): the owner of its control socket, or, while there is none,
// of the file before or of the folder. ERR_IO.
NODISCARD int bird_write_file(const struct bird_files *f, const char *text, bool *ret_is_changed, struct error *err);

// Has a running BIRD read its configuration anew. ERR_UNAVAILABLE when it does not run: it will read it at its start;
// ERR_INVALID with BIRD's words, ERR_TIMEOUT.
NODISCARD int bird_configure(const struct bird_files *f, struct error *err);

// A whole file, in memory of the caller's to free. ERR_NOT_FOUND, ERR_IO, ERR_LIMIT.
NODISCARD int bird_read_file(const char *path, char **ret_text, struct error *err);
