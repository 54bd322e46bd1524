// What only time does to the state: generations that have been kept long enough are dropped. The leader proposes an empty command
// when one is due; every replica drops the same ones.
#include "common/io/log.h"
#include "manager/core/generations.h"
#include "manager/io/server_parts.h"

static void on_pruned(const struct error *err, uint64_t version, void *user)
{
	struct server *s = user;
	s->history.is_proposed = false;
	if (err->code != 0 && err->code != ERR_NOT_LEADER) // it is tried again in a second
		log_warn("history-not-pruned", "text=\"%s\"", err->text);
}

static uint64_t next_expire_ms(struct server *s)
{
	const struct store *store = &s->machine.state.store;
	if (!s->history.is_known || s->history.version != store->version) {
		s->history.is_known = true;
		s->history.version = store->version;
		s->history.expire_ms = generations_next_expire_ms(store);
	}
	return s->history.expire_ms;
}

void history_watch_run(struct server *s)
{
	struct error err = { 0 };
	uint64_t now_ms = snat_state_clock(&s->machine.state.snat, server_clock_ms());
	if (s->history.is_proposed || next_expire_ms(s) > now_ms)
		return;
	s->history.is_proposed = true;
	if (server_propose(s, &(struct state_command){ 0 }, on_pruned, s, &err) != 0)
		on_pruned(&err, 0, s);
}
