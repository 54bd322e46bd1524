#include "common/wire/pb_txn.h"

#include <string.h>

#include "common/base/memory.h"
#include "common/wire/pb_lease.h"

#define NEW_PB(arena, type, name)                 \
	type *pb = arena_array(arena, 1, sizeof *pb); \
	if (pb == NULL)                               \
		return NULL;                              \
	ananta__##name##__init(pb)

// ---- terms ----

Ananta__StageRef *pb_from_stage(struct arena *a, const struct stage_ref *stage, bool *ret_ok)
{
	if (stage->id == 0)
		return NULL;
	Ananta__StageRef *pb = arena_array(a, 1, sizeof *pb);
	if (pb == NULL) {
		*ret_ok = false;
		return NULL;
	}
	ananta__stage_ref__init(pb);
	pb->id = stage->id;
	pb->part = stage->part;
	pb->is_commit = stage->is_commit;
	return pb;
}

void pb_to_stage(const Ananta__StageRef *pb, struct stage_ref *ret_stage)
{
	if (pb != NULL)
		*ret_stage = (struct stage_ref){ .id = pb->id, .part = pb->part, .is_commit = pb->is_commit };
}

Ananta__VipExpect **pb_from_expects(struct arena *a, const struct vip_expect_list *list)
{
	Ananta__VipExpect **pointers = arena_array(a, list->n, sizeof *pointers);
	Ananta__VipExpect *items = arena_array(a, list->n, sizeof *items);
	if (pointers == NULL || items == NULL)
		return NULL;
	for (uint32_t i = 0; i < list->n; i++) {
		ananta__vip_expect__init(&items[i]);
		items[i].vip = pb_from_addr(&list->items[i].vip);
		items[i].version = list->items[i].version;
		pointers[i] = &items[i];
	}
	return pointers;
}

int pb_to_expects(Ananta__VipExpect **pb, size_t n, struct vip_expect_list *ret_list, struct error *err)
{
	struct vip_expect_list list = { 0 };
	int code = 0;
	for (size_t i = 0; code == 0 && i < n; i++) {
		struct vip_expect e = { .version = pb[i]->version };
		code = pb_to_addr(&pb[i]->vip, &e.vip, err);
		if (code == 0 && vip_expect_list_append(&list, &e) != 0)
			code = error_set(err, ERR_NO_MEMORY, "out of memory");
	}
	if (code != 0) {
		vip_expect_list_fini(&list);
		return code;
	}
	*ret_list = list;
	return 0;
}

// ---- what the state keeps ----

Ananta__VipVersion **pb_from_versions(struct arena *a, const struct vip_version_list *list)
{
	Ananta__VipVersion **pointers = arena_array(a, list->n, sizeof *pointers);
	Ananta__VipVersion *items = arena_array(a, list->n, sizeof *items);
	if (pointers == NULL || items == NULL)
		return NULL;
	for (uint32_t i = 0; i < list->n; i++) {
		const struct vip_version *v = &list->items[i];
		ananta__vip_version__init(&items[i]);
		items[i].vip = pb_from_addr(&v->vip);
		items[i].version = v->version;
		items[i].time_ms = v->time_ms;
		items[i].author = (char *)v->author;
		items[i].is_delete = v->is_delete;
		items[i].config = v->config != NULL ? pb_from_vip(a, v->config) : NULL;
		if (v->config != NULL && items[i].config == NULL)
			return NULL;
		pointers[i] = &items[i];
	}
	return pointers;
}

static int pb_to_version(const Ananta__VipVersion *pb, struct vip_version *v, struct error *err)
{
	v->version = pb->version;
	v->time_ms = pb->time_ms;
	v->is_delete = pb->is_delete;
	int code = pb_to_addr(&pb->vip, &v->vip, err);
	if (code == 0)
		code = pb_to_text(pb->author, v->author, sizeof v->author, "author", err);
	return code != 0 || pb->config == NULL ? code : pb_to_vip(pb->config, &v->config, err);
}

int pb_to_versions(Ananta__VipVersion **pb, size_t n, struct vip_version_list *ret_list, struct error *err)
{
	struct vip_version_list list = { 0 };
	int code = 0;
	for (size_t i = 0; code == 0 && i < n; i++) {
		struct vip_version v = { 0 };
		code = pb_to_version(pb[i], &v, err);
		if (code == 0 && vip_version_list_append(&list, &v) != 0)
			code = error_set(err, ERR_NO_MEMORY, "out of memory");
	}
	if (code != 0) {
		vip_version_list_fini(&list);
		return code;
	}
	*ret_list = list;
	return 0;
}

Ananta__Staged **pb_from_staged(struct arena *a, const struct staged_list *list)
{
	Ananta__Staged **pointers = arena_array(a, list->n, sizeof *pointers);
	Ananta__Staged *items = arena_array(a, list->n, sizeof *items);
	if (pointers == NULL || items == NULL)
		return NULL;
	for (uint32_t i = 0; i < list->n; i++) {
		const struct staged *s = &list->items[i];
		ananta__staged__init(&items[i]);
		items[i].id = s->id;
		items[i].begun_ms = s->begun_ms;
		items[i].n_parts = s->n_parts;
		items[i].n_changes = s->changes.n;
		items[i].changes = pb_from_changes(a, &s->changes);
		if (items[i].changes == NULL)
			return NULL;
		pointers[i] = &items[i];
	}
	return pointers;
}

int pb_to_staged(Ananta__Staged **pb, size_t n, struct staged_list *ret_list, struct error *err)
{
	struct staged_list list = { 0 };
	int code = 0;
	for (size_t i = 0; code == 0 && i < n; i++) {
		struct staged s = { .id = pb[i]->id, .begun_ms = pb[i]->begun_ms, .n_parts = pb[i]->n_parts };
		code = pb_to_changes(pb[i]->changes, pb[i]->n_changes, &s.changes, err);
		if (code == 0 && staged_list_append(&list, &s) != 0)
			code = error_set(err, ERR_NO_MEMORY, "out of memory");
	}
	if (code != 0) {
		staged_list_fini(&list);
		return code;
	}
	*ret_list = list;
	return 0;
}

// ---- messages ----

Ananta__CommandRequest *pb_from_command_request(struct arena *a, const struct message *m)
{
	bool ok = true;
	NEW_PB(a, Ananta__CommandRequest, command_request);
	pb->n_changes = m->changes.n;
	pb->changes = pb_from_changes(a, &m->changes);
	pb->n_snat = m->ops.n;
	pb->snat = pb_from_snat_ops(a, &m->ops);
	pb->since_version = m->terms.since_version;
	pb->n_expects = m->terms.expects.n;
	pb->expects = pb_from_expects(a, &m->terms.expects);
	pb->stage = pb_from_stage(a, &m->terms.stage, &ok);
	return ok && pb->changes != NULL && pb->snat != NULL && pb->expects != NULL ? pb : NULL;
}

int pb_to_command_request(const Ananta__CommandRequest *pb, struct message *m, struct error *err)
{
	m->terms.since_version = pb->since_version;
	pb_to_stage(pb->stage, &m->terms.stage);
	int code = pb_to_changes(pb->changes, pb->n_changes, &m->changes, err);
	if (code == 0)
		code = pb_to_snat_ops(pb->snat, pb->n_snat, &m->ops, err);
	return code != 0 ? code : pb_to_expects(pb->expects, pb->n_expects, &m->terms.expects, err);
}

Ananta__VipVersionsRequest *pb_from_versions_request(struct arena *a, const struct message *m)
{
	NEW_PB(a, Ananta__VipVersionsRequest, vip_versions_request);
	pb->vip = pb_from_addr(&m->versions_request.vip);
	pb->version = m->versions_request.version;
	return pb;
}

int pb_to_versions_request(const Ananta__VipVersionsRequest *pb, struct message *m, struct error *err)
{
	m->versions_request.version = pb->version;
	return pb_to_addr(&pb->vip, &m->versions_request.vip, err);
}

Ananta__VipVersionsReply *pb_from_versions_reply(struct arena *a, const struct vip_version_list *list)
{
	NEW_PB(a, Ananta__VipVersionsReply, vip_versions_reply);
	pb->n_versions = list->n;
	pb->versions = pb_from_versions(a, list);
	return pb->versions == NULL ? NULL : pb;
}

Ananta__RollbackRequest *pb_from_rollback(struct arena *a, const struct message *m)
{
	NEW_PB(a, Ananta__RollbackRequest, rollback_request);
	pb->vip = pb_from_addr(&m->rollback.vip);
	pb->to_version = m->rollback.to_version;
	pb->has_expect = m->rollback.has_expect;
	pb->expect = m->rollback.expect;
	return pb;
}

int pb_to_rollback(const Ananta__RollbackRequest *pb, struct message *m, struct error *err)
{
	m->rollback.to_version = pb->to_version;
	m->rollback.has_expect = pb->has_expect;
	m->rollback.expect = pb->expect;
	return pb_to_addr(&pb->vip, &m->rollback.vip, err);
}

Ananta__WaitRequest *pb_from_wait_request(struct arena *a, const struct message *m)
{
	NEW_PB(a, Ananta__WaitRequest, wait_request);
	pb->version = m->wait_request.version;
	pb->timeout_ms = m->wait_request.timeout_ms;
	return pb;
}

Ananta__WaitReply *pb_from_wait_reply(struct arena *a, const struct wait_reply *r)
{
	NEW_PB(a, Ananta__WaitReply, wait_reply);
	Ananta__Laggard *items = arena_array(a, r->n_laggards, sizeof *items);
	pb->is_done = r->is_done;
	pb->n_acked = r->n_acked;
	pb->n_late = r->n_late;
	pb->n_away = r->n_away;
	pb->n_laggards = r->n_laggards;
	pb->laggards = arena_array(a, r->n_laggards, sizeof *pb->laggards);
	if (items == NULL || pb->laggards == NULL)
		return NULL;
	for (uint32_t i = 0; i < r->n_laggards; i++) {
		ananta__laggard__init(&items[i]);
		items[i].role = r->laggards[i].role == ROLE_MUX ? ANANTA__ROLE__ROLE_MUX : ANANTA__ROLE__ROLE_AGENT;
		items[i].name = (char *)r->laggards[i].name;
		items[i].version = r->laggards[i].version;
		items[i].is_connected = r->laggards[i].is_connected;
		pb->laggards[i] = &items[i];
	}
	return pb;
}

int pb_to_wait_reply(const Ananta__WaitReply *pb, struct wait_reply *r, struct error *err)
{
	int code = 0;
	if (pb->n_laggards > LAGGARDS_MAX)
		return error_set(err, ERR_MALFORMED, "more than %d nodes that lag", LAGGARDS_MAX);
	r->is_done = pb->is_done;
	r->n_acked = pb->n_acked;
	r->n_late = pb->n_late;
	r->n_away = pb->n_away;
	r->n_laggards = (uint32_t)pb->n_laggards;
	for (uint32_t i = 0; code == 0 && i < r->n_laggards; i++) {
		struct laggard *l = &r->laggards[i];
		l->role = pb->laggards[i]->role == ANANTA__ROLE__ROLE_MUX ? ROLE_MUX : ROLE_AGENT;
		l->version = pb->laggards[i]->version;
		l->is_connected = pb->laggards[i]->is_connected;
		code = pb_to_text(pb->laggards[i]->name, l->name, sizeof l->name, "name", err);
	}
	return code;
}
