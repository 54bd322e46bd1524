// What a mux remembers across its process in its state_dir: the configuration and the leases that it holds, and whether it is
// fenced. With that a mux which starts while no manager can be reached serves as it did.
//
// Saved at most once a second, and written by another thread: a second's changes can be missing, but for the fence, which is
// there before anything else follows from it. The file is that of common/io/store_file.h, the fence a file beside it.
// Threads: the control thread.
#pragma once

#include <uv.h>

#include "common/io/store_file.h"
#include "mux/core/snat_map.h"

#define LAST_STATE_SAVE_MS 1000 // from one save to the next, and at first LAST_STATE_DELAY_MS after the change
#define LAST_STATE_DELAY_MS 100

struct last_state;

// What is saved; borrowed.
struct last_state_source {
	const struct store *store;
	const struct snat_maps *snat;
	const uint64_t *lease_version;
};

NODISCARD int last_state_create(uv_loop_t *loop, const struct state_dir *dir, const struct last_state_source *from,
                                struct last_state **ret_state, struct error *err);

// Saves once more what was not saved yet; its memory goes with the loop's handles. NULL is fine, here and below.
void last_state_destroy(struct last_state *l);

void last_state_on_change(struct last_state *l);
void last_state_set_fenced(struct last_state *l, bool is_fenced);

// Fills an empty store; ret_leases is for snat_image_fini. False, with an event in the log where there is something to say, when
// there is nothing that can be used.
bool last_state_load(const struct last_state *l, struct store *store, struct snat_image *ret_leases,
                     bool *ret_is_fenced);
