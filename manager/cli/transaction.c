#include "manager/cli/transaction.h"

#include <uv.h>

#include "common/base/check.h"
#include "common/wire/changes.h"

#define PART_BYTES (MESSAGE_MAX_BYTES - 4096) // what is left for changes beside the envelope and the terms

// How many of the changes from i on fit into a part: at least one.
static uint32_t count_part(const struct change_list *changes, uint32_t i)
{
	uint32_t n = 0;
	size_t n_bytes = 0;
	for (; i + n < changes->n; n++) {
		n_bytes += change_encoded_bytes(&changes->items[i + n]);
		if (n > 0 && n_bytes > PART_BYTES)
			break;
	}
	return n;
}

int transaction_submit(struct client *c, const struct change_list *changes, uint64_t since_version,
                       uint64_t *ret_version, bool *ret_is_unchanged, struct error *err)
{
	struct command_terms terms = { .since_version = since_version };
	uint32_t n = count_part(changes, 0);
	if (n < changes->n) {
		terms.since_version = 0; // that is the commit's
		while (terms.stage.id == 0)
			CHECK(uv_random(NULL, NULL, &terms.stage.id, sizeof terms.stage.id, 0, NULL) == 0);
	}
	uint32_t i = 0;
	for (; i + n < changes->n; terms.stage.part++) {
		struct change_list part = { .n = n, .capacity = n, .items = changes->items + i };
		int code = client_submit(c, &part, &terms, ret_version, ret_is_unchanged, err);
		if (code != 0)
			return code;
		i += n;
		n = count_part(changes, i);
	}
	terms.since_version = since_version;
	terms.stage.is_commit = terms.stage.id != 0;
	struct change_list last = { .n = n, .capacity = n, .items = changes->items + i };
	return client_submit(c, &last, &terms, ret_version, ret_is_unchanged, err);
}
