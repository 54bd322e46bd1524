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
	struct state_command command;
	struct apply_result result;
	int code = command_decode(bytes, n, &command, err);
	if (code != 0)
		return code;
	code = cluster_state_apply(&m->state, &command, &result, err);
	if (code == 0) {
		bool is_news = result.is_changed || result.leases_changed || result.outcomes.n > 0;
		*ret_version = machine_result(result.version, result.is_changed || result.leases_changed);
		if (is_news && m->on_applied != NULL)
			m->on_applied(&command.changes, &result, m->user);
		apply_result_fini(&result);
	}
	state_command_fini(&command);
	return code;
}

static int snapshot(uint8_t **ret_bytes, size_t *ret_n, void *user)
{
	const struct machine *m = user;
	struct state_snapshot s;
	int code = cluster_state_get_snapshot(&m->state, &s);
	if (code != 0)
		return code;
	code = snapshot_encode(&s, ret_bytes, ret_n);
	state_snapshot_fini(&s);
	return code;
}

static int restore(const uint8_t *bytes, size_t n, struct error *err, void *user)
{
	struct machine *m = user;
	struct state_snapshot s;
	int code = snapshot_decode(bytes, n, &s, err);
	if (code != 0)
		return code;
	code = cluster_state_restore(&m->state, &s);
	state_snapshot_fini(&s);
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
