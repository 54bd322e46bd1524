#include "manager/io/machine.h"

#include <string.h>

#include "common/wire/changes.h"

int machine_init(struct machine *m)
{
	memset(m, 0, sizeof *m);
	return cluster_state_init(&m->state);
}

void machine_fini(struct machine *m)
{
	cluster_state_fini(&m->state);
}

static int apply(const uint8_t *bytes, size_t n, uint64_t *ret_version, struct error *err, void *user)
{
	struct machine *m = user;
	struct change_list changes;
	struct apply_result result;
	int code = command_decode(bytes, n, &changes, err);
	if (code != 0)
		return code;
	code = cluster_state_apply(&m->state, &changes, &result, err);
	if (code == 0) {
		*ret_version = result.version;
		if (result.is_changed && m->on_applied != NULL)
			m->on_applied(&changes, &result, m->user);
	}
	change_list_fini(&changes);
	return code;
}

static int snapshot(uint8_t **ret_bytes, size_t *ret_n, void *user)
{
	const struct machine *m = user;
	struct change_list objects;
	int code = cluster_state_get_snapshot(&m->state, &objects);
	if (code != 0)
		return code;
	code = snapshot_encode(m->state.store.version, &objects, ret_bytes, ret_n);
	change_list_fini(&objects);
	return code;
}

static int restore(const uint8_t *bytes, size_t n, struct error *err, void *user)
{
	struct machine *m = user;
	struct change_list objects;
	uint64_t version;
	int code = snapshot_decode(bytes, n, &version, &objects, err);
	if (code != 0)
		return code;
	code = cluster_state_restore(&m->state, version, &objects);
	change_list_fini(&objects);
	if (code != 0)
		return error_set(err, ERR_NO_MEMORY, "memory is short");
	if (m->on_restored != NULL)
		m->on_restored(m->user);
	return 0;
}

struct replica_machine machine_callbacks(struct machine *m)
{
	return (struct replica_machine){ .apply = apply, .snapshot = snapshot, .restore = restore, .user = m };
}
