// What follows from the changes of a command: which VIPs they concern, and the histories of those.
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/model/limits.h"
#include "manager/core/addr_list.h"
#include "manager/core/cluster_state_parts.h"
#include "manager/core/drains.h"
#include "manager/core/generations.h"
#include "manager/core/marks.h"

int cluster_state_touch(struct cluster_state *s, struct change *c, struct progress *p)
{
	if (touched_list_append(&p->touched, &c->key, false) == 0 && cluster_state_replace(s, c) == 0)
		return 0;
	change_fini(c);
	return ERR_NO_MEMORY;
}

// ---- which VIPs ----

static int list_histories_of_dip(const struct cluster_state *s, const struct ip_addr *dip, struct addr_list *vips)
{
	uint32_t i = 0;
	for (const struct vip_history *h; (h = cluster_state_next_history(s, dip, &i)) != NULL;)
		if (addr_list_append(vips, &h->vip) != 0)
			return ERR_NO_MEMORY;
	return 0;
}

// Do hosts that are gone, or were before the command, make a difference to who is eligible?
static bool has_gone_hosts(const struct cluster_state *s, const struct touched_list *touched)
{
	for (uint32_t i = 0; i < touched->n; i++)
		if (touched->items[i].key.kind == OBJECT_HOST_GONE)
			return true;
	return s->store.gone_hosts.n > 0;
}

// A DIP that came or went: it may be marked as gone in a history, and it may be at a host that is gone.
static int list_vips_of_dip(const struct cluster_state *s, const struct ip_addr *dip, bool has_gone,
                            struct addr_list *vips)
{
	struct object_key of_all = object_key_of_addr(OBJECT_DRAIN, dip);
	int code = list_histories_of_dip(s, dip, vips);
	return code != 0 || !has_gone ? code : drains_list_vips(s, &of_all, vips);
}

static int list_touched_vips(const struct cluster_state *s, const struct touched_list *touched, struct addr_list *vips)
{
	int code = 0;
	bool has_gone = has_gone_hosts(s, touched);
	for (uint32_t i = 0; code == 0 && i < touched->n; i++) {
		const struct object_key *key = &touched->items[i].key;
		if (key->kind == OBJECT_VIP)
			code = addr_list_append(vips, &key->addr);
		else if (key->kind == OBJECT_DRAIN)
			code = drains_list_vips(s, key, vips);
		else if (key->kind == OBJECT_UNHEALTHY || key->kind == OBJECT_HOST_GONE)
			code = marks_list_vips(s, key, vips);
		else if (key->kind == OBJECT_DIP)
			code = list_vips_of_dip(s, &key->addr, has_gone, vips);
	}
	return code;
}

static int list_expired_vips(const struct cluster_state *s, uint64_t now_ms, struct addr_list *vips)
{
	for (uint32_t i = 0; i < s->store.histories.n; i++) {
		const struct vip_history *h = store_history(&s->store, i);
		const struct vip_config *vip = store_lookup_vip(&s->store, &h->vip);
		if (vip != NULL && generations_expire_ms(h, vip) <= now_ms && addr_list_append(vips, &h->vip) != 0)
			return ERR_NO_MEMORY;
	}
	return 0;
}

// ---- what they were before ----

static int compare_old_vips(const void *a, const void *b)
{
	const struct change *x = *(const struct change *const *)a;
	const struct change *y = *(const struct change *const *)b;
	int order = ip_addr_compare(&x->key.addr, &y->key.addr);
	return order != 0 ? order : (x > y) - (x < y); // of one array
}

int cluster_state_collect_old_vips(const struct change_list *undo, struct old_vips *old)
{
	old->items = memory_array(undo->n, sizeof *old->items);
	if (old->items == NULL)
		return ERR_NO_MEMORY;
	for (uint32_t i = 0; i < undo->n; i++)
		if (undo->items[i].key.kind == OBJECT_VIP)
			old->items[old->n++] = &undo->items[i];
	if (old->n > 0)
		qsort(old->items, old->n, sizeof *old->items, compare_old_vips);
	return 0;
}

// VIPs are asked for in ascending order; *at is where the last answer ended.
static struct generations_before before_of(const struct cluster_state *s, const struct old_vips *old, uint32_t *at,
                                           const struct ip_addr *vip)
{
	while (*at < old->n && ip_addr_compare(&old->items[*at]->key.addr, vip) < 0)
		(*at)++;
	uint32_t first = *at;
	bool was_there = true;
	for (; *at < old->n && ip_addr_equal(&old->items[*at]->key.addr, vip); (*at)++)
		was_there = was_there && !old->items[*at]->is_delete;
	if (!was_there)
		return (struct generations_before){ 0 };
	return (struct generations_before){
		.config = *at > first ? old->items[first]->vip : store_lookup_vip(&s->store, vip),
		.history = store_lookup_history(&s->store, vip),
	};
}

// ---- states of endpoints ----

static int append_event(struct progress *p, const struct ip_addr *vip, const struct endpoint *e, const char *what,
                        const struct endpoint_verdict *v)
{
	char key[NAME_BYTES];
	const char *then = "";
	if (v->state == ENDPOINT_STATIC)
		then = ": new connections go where they went";
	else if (v->is_refusing)
		then = ": new connections are refused";
	else if (v->state == ENDPOINT_ALL_DOWN)
		then = ": new connections go to all whose host is there";
	endpoint_key_format(vip, e->protocol, e->port, key);
	struct cluster_event event =
		event_make(what, key, "of %u DIPs %u are unhealthy, %u on hosts that are gone, %u drained%s", v->n_dips,
	               v->n_unhealthy, v->n_gone, v->n_drained, then);
	return event_list_append(&p->events, &event);
}

static int append_turn(struct progress *p, const struct ip_addr *vip, const struct endpoint *e,
                       enum endpoint_state before, const struct endpoint_verdict *v)
{
	static const char *const begin[] = { "", "all-down", "fail-static-endpoint" };
	static const char *const over[] = { "", "all-down-over", "fail-static-endpoint-over" };
	int code = 0;
	if (before != ENDPOINT_SERVED && before != v->state)
		code = append_event(p, vip, e, over[before], v);
	if (code == 0 && v->state != ENDPOINT_SERVED && before != v->state)
		code = append_event(p, vip, e, begin[v->state], v);
	return code;
}

static int update_states(struct cluster_state *s, const struct vip_config *vip, const struct endpoint_verdict *verdicts,
                         struct progress *p)
{
	uint8_t before[LIMIT_ENDPOINTS_PER_VIP];
	int code = 0;
	for (uint32_t i = 0; i < vip->n_endpoints; i++)
		before[i] = (uint8_t)endpoint_states_lookup(&s->endpoint_states, &vip->vip, vip->endpoints[i].protocol,
		                                            vip->endpoints[i].port);
	endpoint_states_drop_vip(&s->endpoint_states, &vip->vip); // also of endpoints that are not there any more
	for (uint32_t i = 0; code == 0 && i < vip->n_endpoints; i++) {
		const struct endpoint *e = &vip->endpoints[i];
		code = endpoint_states_set(&s->endpoint_states, &vip->vip, e->protocol, e->port, verdicts[i].state);
		if (code == 0)
			code = append_turn(p, &vip->vip, e, (enum endpoint_state)before[i], &verdicts[i]);
	}
	return code;
}

int cluster_state_judge_all(struct cluster_state *s)
{
	int code = 0;
	if (s->store.unhealthy.n + s->store.gone_hosts.n == 0)
		return 0;
	for (uint32_t i = 0; code == 0 && i < s->store.vips.n; i++) {
		const struct vip_config *vip = store_vip(&s->store, i);
		for (uint32_t k = 0; code == 0 && k < vip->n_endpoints; k++) {
			const struct endpoint *e = &vip->endpoints[k];
			struct endpoint_verdict v = generations_verdict(&s->store, vip, e);
			code = endpoint_states_set(&s->endpoint_states, &vip->vip, e->protocol, e->port, v.state);
		}
	}
	return code;
}

// ---- histories ----

static int put_history(struct cluster_state *s, const struct ip_addr *vip, struct vip_history *next, struct progress *p)
{
	const struct vip_history *present = store_lookup_history(&s->store, vip);
	bool is_same = present == NULL || next == NULL ? present == next : vip_history_equal(present, next);
	if (is_same) {
		vip_history_destroy(next);
		return 0;
	}
	struct change c = { .key = object_key_of_addr(OBJECT_HISTORY, vip), .is_delete = next == NULL, .history = next };
	return cluster_state_touch(s, &c, p);
}

static int update_history(struct cluster_state *s, const struct ip_addr *addr, const struct generations_before *before,
                          struct progress *p)
{
	struct endpoint_verdict verdicts[LIMIT_ENDPOINTS_PER_VIP];
	const struct vip_config *vip = store_lookup_vip(&s->store, addr);
	struct vip_history *next = NULL;
	if (vip == NULL)
		endpoint_states_drop_vip(&s->endpoint_states, addr);
	else if (generations_next(&s->store, vip, before, p->now_ms, &next, verdicts) != 0)
		return ERR_NO_MEMORY;
	if (put_history(s, addr, next, p) != 0)
		return ERR_NO_MEMORY;
	return vip == NULL ? 0 : update_states(s, vip, verdicts, p);
}

static int update_histories(struct cluster_state *s, const struct addr_list *vips, struct progress *p)
{
	struct old_vips old = { 0 };
	uint32_t at = 0;
	int code = cluster_state_collect_old_vips(&p->undo, &old);
	for (uint32_t i = 0; code == 0 && i < vips->n; i++) {
		struct generations_before before = before_of(s, &old, &at, &vips->items[i]);
		code = update_history(s, &vips->items[i], &before, p);
	}
	memory_free(old.items);
	return code;
}

int cluster_state_follow(struct cluster_state *s, bool is_empty, struct progress *p)
{
	struct addr_list vips = { 0 };
	int code = cluster_state_drop_marks(s, p);
	if (code == 0)
		code = is_empty ? list_expired_vips(s, p->now_ms, &vips) : list_touched_vips(s, &p->touched, &vips);
	addr_list_make_set(&vips);
	if (code == 0)
		code = update_histories(s, &vips, p);
	addr_list_fini(&vips);
	return code;
}
