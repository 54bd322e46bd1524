// What documents ask for that the cluster does not have yet.
#pragma once

#include "manager/cli/config_files.h"

struct config_scope {
	const char *tenant; // NULL: all
	bool prunes; // VIPs (of the tenant) that are in no document are deleted
};

struct config_diff {
	struct change_list changes; // of VIPs: deletions, then puts, each ascending; then of settings
	uint32_t n_unchanged;
};

// Deletions come first, so that what they leave may be taken. ERR_INVALID: a document is of another tenant; ERR_NO_MEMORY.
NODISCARD int config_diff_make(const struct store *state, const struct config_set *set,
                               const struct config_scope *scope, struct config_diff *ret_diff, struct error *err);
void config_diff_fini(struct config_diff *d);

// Are the VIPs and settings of two states the same?
bool config_is_same(const struct store *a, const struct store *b);
