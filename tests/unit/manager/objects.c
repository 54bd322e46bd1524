#include "tests/unit/manager/objects.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/memory.h"

#define WORDS_MAX 9000

struct words {
	char *text;
	uint32_t n;
	uint32_t at;
	char *items[WORDS_MAX];
};

static void words_init(struct words *w, const char *text)
{
	w->text = strdup(text);
	w->n = w->at = 0;
	for (char *save, *word = strtok_r(w->text, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save)) {
		CHECK(w->n < WORDS_MAX);
		w->items[w->n++] = word;
	}
}

static const char *peek(const struct words *w)
{
	return w->at < w->n ? w->items[w->at] : ";";
}

static const char *next(struct words *w)
{
	CHECK(w->at < w->n);
	return w->items[w->at++];
}

static void next_text(struct words *w, char *buf, size_t size)
{
	CHECK(text_copy(buf, size, next(w)));
}

struct ip_addr addr_of(const char *text)
{
	struct ip_addr addr;
	CHECK(ip_addr_parse(text, &addr, NULL) == 0);
	return addr;
}

static uint64_t number(const char *text)
{
	uint64_t value;
	CHECK(text_parse_u64(text, 0, UINT64_MAX, &value));
	return value;
}

static struct endpoint_dip parse_dip(const char *word)
{
	char endpoint[64];
	struct endpoint_dip d = { .weight = 1 };
	const char *star = strchr(word, '*');
	CHECK(text_format(endpoint, sizeof endpoint, "%.*s", (int)strcspn(word, "*"), word));
	CHECK(ip_endpoint_parse(endpoint, &d.dip, &d.port, NULL) == 0);
	if (star != NULL)
		d.weight = (uint16_t)number(star + 1);
	return d;
}

static bool ends_list(const struct words *w)
{
	return strcmp(peek(w), ",") == 0 || strcmp(peek(w), ";") == 0;
}

// "name=5" with this name.
static bool take_option(struct words *w, const char *name, uint64_t *ret_value)
{
	size_t n = strlen(name);
	const char *word = peek(w);
	if (strncmp(word, name, n) != 0 || word[n] != '=')
		return false;
	*ret_value = number(next(w) + n + 1);
	return true;
}

static bool take_policy(struct words *w, struct snat_policy *policy)
{
	static const struct snat_policy policy_default = SNAT_POLICY_DEFAULT;
	struct snat_policy p = policy->range_size == 0 ? policy_default : *policy;
	uint64_t value;
	if (take_option(w, "size", &value))
		p.range_size = (uint16_t)value;
	else if (take_option(w, "first", &value))
		p.first_port = (uint16_t)value;
	else if (take_option(w, "prealloc", &value))
		p.prealloc_ports = (uint32_t)value;
	else if (take_option(w, "max", &value))
		p.max_ports_per_dip = (uint32_t)value;
	else if (take_option(w, "idle", &value))
		p.idle_s = (uint32_t)value;
	else
		return false;
	*policy = p;
	return true;
}

static void parse_snat(struct words *w, struct vip_config *vip)
{
	while (take_policy(w, &vip->snat))
		;
	while (!ends_list(w)) {
		vip->snat_dips = memory_resize(vip->snat_dips, vip->n_snat_dips + 1, sizeof *vip->snat_dips);
		vip->snat_dips[vip->n_snat_dips++] = addr_of(next(w));
	}
}

static void parse_endpoint(struct words *w, const char *name, struct vip_config *vip)
{
	struct endpoint e = { 0 };
	CHECK(text_copy(e.name, sizeof e.name, name));
	const char *protocol = next(w);
	e.protocol = protocol_parse(protocol);
	e.port = (uint16_t)number(next(w));
	uint64_t probed;
	if (take_option(w, "probe", &probed)) {
		static const struct probe probe_default = PROBE_DEFAULT;
		e.probe = probe_default;
		e.probe.type = PROBE_TCP;
		memset(e.probe.path, 0, sizeof e.probe.path);
		e.probe.expect_min = e.probe.expect_max = 0;
		e.probe.port = (uint16_t)probed;
	}
	while (!ends_list(w)) {
		e.dips = memory_resize(e.dips, e.n_dips + 1, sizeof *e.dips);
		e.dips[e.n_dips++] = parse_dip(next(w));
	}
	vip->endpoints = memory_resize(vip->endpoints, vip->n_endpoints + 1, sizeof *vip->endpoints);
	vip->endpoints[vip->n_endpoints++] = e;
}

static struct vip_config *parse_vip(struct words *w)
{
	struct vip_config *vip = memory_array(1, sizeof *vip);
	vip->vip = addr_of(next(w));
	next_text(w, vip->tenant, sizeof vip->tenant);
	uint64_t value;
	if (take_option(w, "drain_s", &value))
		vip->drain_s = (uint32_t)value;
	if (take_option(w, "refuse", &value))
		vip->refuses_when_down = value != 0;
	while (strcmp(peek(w), ";") != 0) {
		const char *name = next(w);
		if (strcmp(name, ",") == 0)
			continue;
		if (strcmp(name, "snat") == 0)
			parse_snat(w, vip);
		else
			parse_endpoint(w, name, vip);
	}
	return vip;
}

static void parse_dip_info(struct words *w, struct dip_info *dip)
{
	dip->dip = addr_of(next(w));
	next_text(w, dip->host, sizeof dip->host);
	next_text(w, dip->vm, sizeof dip->vm);
	next_text(w, dip->interface, sizeof dip->interface);
	CHECK(mac_parse(next(w), dip->mac, NULL) == 0);
	if (strncmp(peek(w), "via=", 4) == 0)
		dip->via = addr_of(next(w) + 4);
}

static void parse_node(struct words *w, struct node_info *node)
{
	next_text(w, node->name, sizeof node->name);
	node->addr = addr_of(next(w));
	if (!ends_list(w))
		node->addr6 = addr_of(next(w));
}

static void parse_settings(struct words *w, struct cluster_settings *settings)
{
	uint64_t value;
	*settings = cluster_settings_default();
	settings->snat_quarantine_s = (uint32_t)number(next(w));
	for (;;) {
		if (take_option(w, "log", &value))
			settings->snat_log_s = (uint32_t)value;
		else if (take_option(w, "gone", &value))
			settings->snat_gone_s = (uint32_t)value;
		else if (take_option(w, "rate", &value))
			settings->snat_dip_requests_per_s = (uint32_t)value;
		else if (take_option(w, "host_gone_ms", &value))
			settings->host_gone_ms = (uint32_t)value;
		else if (take_option(w, "fail_static", &value))
			settings->fail_static_percent = (uint32_t)value;
		else
			return;
	}
}

// Of "203.0.113.10:1024" or "[2001:db8::10]:1024"; false for an address alone.
static bool split_port(const char *word, struct ip_addr *ret_addr, uint16_t *ret_port)
{
	if (ip_endpoint_parse(word, ret_addr, ret_port, NULL) == 0)
		return true;
	*ret_addr = addr_of(word);
	return false;
}

static bool parse_op(struct words *w, const char *word, struct snat_op_list *ops)
{
	struct snat_op op = { 0 };
	if (strcmp(word, "request") == 0) {
		op.kind = SNAT_REQUEST;
		op.dip = addr_of(next(w));
		op.seq = number(next(w));
		op.n_ports = (uint32_t)number(next(w));
	} else if (strcmp(word, "return") == 0) {
		op.kind = SNAT_RETURN;
		op.dip = addr_of(next(w));
		CHECK(split_port(next(w), &op.vip, &op.first_port));
		op.epoch = (uint32_t)number(next(w));
	} else if (strcmp(word, "revoke") == 0) {
		op.kind = SNAT_REVOKE;
		struct ip_addr addr;
		*(split_port(next(w), &addr, &op.first_port) ? &op.vip : &op.dip) = addr;
	} else {
		return false;
	}
	CHECK(snat_op_list_append(ops, &op) == 0);
	return true;
}

static enum object_kind parse_kind(const char *word)
{
	static const char *const names[] = { "",         "cluster", "vip",   "mux",       "host", "dip",
		                                 "settings", "history", "drain", "unhealthy", "gone", "muxdrain" };
	for (int i = 1; i < 12; i++)
		if (strcmp(names[i], word) == 0)
			return (enum object_kind)i;
	CHECK(!"a kind of object");
	return OBJECT_CLUSTER;
}

static void parse_drain(struct words *w, const char *dip, struct change *c)
{
	struct ip_addr addr = addr_of(dip);
	c->key = object_key_of_addr(OBJECT_DRAIN, &addr);
	if (!ends_list(w))
		next_text(w, c->key.name, sizeof c->key.name);
}

static void parse_unhealthy(struct words *w, const char *dip, struct change *c)
{
	struct ip_addr addr = addr_of(dip);
	const char *vip = next(w);
	const char *protocol = next(w);
	c->key = object_key_of_addr(OBJECT_UNHEALTHY, &addr);
	CHECK(text_format(c->key.name, sizeof c->key.name, "%s %s %s", vip, protocol, next(w)));
}

static void parse_cause(struct words *w, struct mark_info *mark)
{
	if (strncmp(peek(w), "cause=", 6) == 0)
		CHECK(text_copy(mark->cause, sizeof mark->cause, next(w) + 6));
}

static bool parse_event(struct words *w, const char *word, struct event_list *events)
{
	if (strcmp(word, "event") != 0)
		return false;
	const char *what = next(w);
	struct cluster_event e = event_make(what, next(w), "seen by the leader");
	CHECK(event_list_append(events, &e) == 0);
	return true;
}

// "since 9", "expect 203.0.113.10 7", "part 77 0", "commit 77 2"
static bool parse_term(struct words *w, const char *word, struct command_terms *terms)
{
	if (strcmp(word, "since") == 0) {
		terms->since_version = number(next(w));
	} else if (strcmp(word, "expect") == 0) {
		struct vip_expect e = { .vip = addr_of(next(w)) };
		e.version = number(next(w));
		CHECK(vip_expect_list_append(&terms->expects, &e) == 0);
	} else if (strcmp(word, "part") == 0 || strcmp(word, "commit") == 0) {
		terms->stage.is_commit = word[0] == 'c';
		terms->stage.id = number(next(w));
		terms->stage.part = (uint32_t)number(next(w));
	} else {
		return false;
	}
	return true;
}

static bool parse_author(struct words *w, const char *word, char *author)
{
	if (strcmp(word, "author") != 0)
		return false;
	CHECK(text_copy(author, AUTHOR_BYTES, next(w)));
	return true;
}

static void parse_delete(struct words *w, enum object_kind kind, struct change *c)
{
	c->is_delete = true;
	if (kind == OBJECT_CLUSTER || kind == OBJECT_SETTINGS) {
		c->key.kind = kind;
		return;
	}
	const char *word = next(w);
	if (kind == OBJECT_DRAIN) {
		parse_drain(w, word, c);
	} else if (kind == OBJECT_UNHEALTHY) {
		parse_unhealthy(w, word, c);
	} else if (kind == OBJECT_VIP || kind == OBJECT_DIP || kind == OBJECT_HISTORY) {
		struct ip_addr addr = addr_of(word);
		c->key = object_key_of_addr(kind, &addr);
	} else {
		c->key = object_key_of_name(kind, word);
	}
}

static void parse_put(struct words *w, enum object_kind kind, struct change *c)
{
	uint64_t key;
	switch (kind) {
	case OBJECT_CLUSTER:
		c->key.kind = kind;
		c->cluster.cluster_id = number(next(w));
		c->cluster.hash_seed = c->cluster.cluster_id * 3;
		if (take_option(w, "key", &key))
			c->cluster.pin_key[0] = (uint8_t)key;
		break;
	case OBJECT_VIP:
		c->vip = parse_vip(w);
		c->key = object_key_of_addr(kind, &c->vip->vip);
		break;
	case OBJECT_MUX:
	case OBJECT_HOST:
		parse_node(w, &c->node);
		c->key = object_key_of_name(kind, c->node.name);
		break;
	case OBJECT_DIP:
		parse_dip_info(w, &c->dip);
		c->key = object_key_of_addr(kind, &c->dip.dip);
		break;
	case OBJECT_SETTINGS:
		c->key.kind = kind;
		parse_settings(w, &c->settings);
		break;
	case OBJECT_DRAIN: parse_drain(w, next(w), c); break;
	case OBJECT_UNHEALTHY:
		parse_unhealthy(w, next(w), c);
		parse_cause(w, &c->mark);
		break;
	case OBJECT_HOST_GONE:
	case OBJECT_MUX_DRAIN:
		c->key = object_key_of_name(kind, next(w));
		parse_cause(w, &c->mark);
		break;
	case OBJECT_HISTORY: CHECK(!"a history, which is the managers' own"); break;
	}
}

struct state_command command_of(uint64_t time_ms, const char *text)
{
	struct state_command command = { .time_ms = time_ms };
	struct words *w = memory_array(1, sizeof *w);
	words_init(w, text);
	while (w->at < w->n) {
		const char *word = next(w);
		if (strcmp(word, ";") == 0 || parse_op(w, word, &command.ops) || parse_event(w, word, &command.events) ||
		    parse_term(w, word, &command.terms) || parse_author(w, word, command.author))
			continue;
		struct change c = { 0 };
		if (word[0] == '-')
			parse_delete(w, parse_kind(word + 1), &c);
		else
			parse_put(w, parse_kind(word), &c);
		CHECK(change_list_append(&command.changes, &c) == 0);
	}
	free(w->text);
	memory_free(w);
	return command;
}

struct change_list changes_of(const char *command)
{
	struct state_command c = command_of(0, command);
	CHECK(c.ops.n == 0);
	return c.changes;
}

struct vip_config *vip_of(const char *text)
{
	struct words *w = memory_array(1, sizeof *w);
	words_init(w, text);
	struct vip_config *vip = parse_vip(w);
	free(w->text);
	memory_free(w);
	return vip;
}

int apply_text_at(struct cluster_state *s, uint64_t time_ms, const char *text, struct apply_result *ret_result,
                  struct error *err)
{
	struct state_command command = command_of(time_ms, text);
	memset(err, 0, sizeof *err);
	int code = cluster_state_apply(s, &command, ret_result, err);
	state_command_fini(&command);
	return code;
}

int apply_text(struct cluster_state *s, const char *command, struct apply_result *ret_result, struct error *err)
{
	int code = apply_text_at(s, TEST_TIME_MS, command, ret_result, err);
	CHECK(code != 0 || ret_result->outcomes.n == 0);
	return code;
}

struct apply_result must_apply_at(struct cluster_state *s, uint64_t time_ms, const char *command,
                                  struct snat_outcome *ret_outcome)
{
	struct apply_result result;
	struct error err;
	if (apply_text_at(s, time_ms, command, &result, &err) != 0) {
		fprintf(stderr, "%s: %s\n", command, err.text);
		abort();
	}
	if (ret_outcome != NULL)
		*ret_outcome = result.outcomes.items[result.outcomes.n - 1];
	apply_result_fini(&result);
	return result;
}

void must_apply(struct cluster_state *s, const char *command)
{
	(void)must_apply_at(s, TEST_TIME_MS, command, NULL);
}

void copy_by_snapshot(const struct cluster_state *s, struct cluster_state *copy)
{
	struct state_snapshot snapshot;
	CHECK(cluster_state_init(copy) == 0);
	CHECK(cluster_state_get_snapshot(s, &snapshot) == 0);
	CHECK(cluster_state_restore(copy, &snapshot) == 0);
	state_snapshot_fini(&snapshot);
}

void replace_by_snapshot(struct cluster_state *s)
{
	struct cluster_state copy;
	copy_by_snapshot(s, &copy);
	cluster_state_fini(s);
	*s = copy;
}

static bool leases_are_equal(const struct lease_list *a, const struct lease_list *b)
{
	for (uint32_t i = 0; i < a->n && i < b->n; i++) {
		const struct lease *x = &a->items[i];
		const struct lease *y = &b->items[i];
		if (!ip_addr_equal(&x->vip, &y->vip) || !ip_addr_equal(&x->dip, &y->dip) || x->first_port != y->first_port ||
		    x->n_ports != y->n_ports || x->epoch != y->epoch || x->granted_ms != y->granted_ms ||
		    x->ended_ms != y->ended_ms)
			return false;
	}
	return a->n == b->n;
}

static bool demands_are_equal(const struct snat_demand_list *a, const struct snat_demand_list *b)
{
	for (uint32_t i = 0; i < a->n && i < b->n; i++) {
		const struct snat_demand *x = &a->items[i];
		const struct snat_demand *y = &b->items[i];
		if (!ip_addr_equal(&x->dip, &y->dip) || x->seq != y->seq || x->asked_ms != y->asked_ms ||
		    x->n_ports != y->n_ports)
			return false;
	}
	return a->n == b->n;
}

static bool images_are_equal(const struct snat_image *a, const struct snat_image *b)
{
	return a->version == b->version && a->clock_ms == b->clock_ms && a->next_epoch == b->next_epoch &&
	       leases_are_equal(&a->held, &b->held) && leases_are_equal(&a->freed, &b->freed) &&
	       leases_are_equal(&a->log, &b->log) && demands_are_equal(&a->demands, &b->demands);
}

static bool events_are_equal(const struct event_ring *a, const struct event_ring *b)
{
	const struct cluster_event *x = event_ring_after(a, 0);
	const struct cluster_event *y = event_ring_after(b, 0);
	for (; x != NULL && y != NULL; x = event_ring_after(a, x->seq), y = event_ring_after(b, y->seq))
		if (x->seq != y->seq || x->time_ms != y->time_ms || strcmp(x->what, y->what) != 0 ||
		    strcmp(x->object, y->object) != 0 || strcmp(x->cause, y->cause) != 0)
			return false;
	return x == NULL && y == NULL && a->last_seq == b->last_seq;
}

static bool versions_are_equal(const struct vip_versions *a, const struct vip_versions *b)
{
	struct vip_version_list x, y;
	CHECK(vip_versions_get_all(a, &x) == 0 && vip_versions_get_all(b, &y) == 0);
	bool are_equal = x.n == y.n && a->n_bytes == b->n_bytes && a->config_version == b->config_version;
	for (uint32_t i = 0; are_equal && i < x.n; i++) {
		const struct vip_version *v = &x.items[i];
		const struct vip_version *w = &y.items[i];
		are_equal = ip_addr_equal(&v->vip, &w->vip) && v->version == w->version && v->time_ms == w->time_ms &&
		            strcmp(v->author, w->author) == 0 && v->is_delete == w->is_delete &&
		            (v->config == NULL) == (w->config == NULL) &&
		            (v->config == NULL || vip_config_equal(v->config, w->config));
	}
	vip_version_list_fini(&x);
	vip_version_list_fini(&y);
	return are_equal;
}

static bool staged_are_equal(const struct staged_list *a, const struct staged_list *b)
{
	for (uint32_t i = 0; i < a->n && i < b->n; i++)
		if (a->items[i].id != b->items[i].id || a->items[i].begun_ms != b->items[i].begun_ms ||
		    a->items[i].n_parts != b->items[i].n_parts || a->items[i].changes.n != b->items[i].changes.n)
			return false;
	return a->n == b->n;
}

bool snapshots_are_equal(const struct cluster_state *a, const struct cluster_state *b)
{
	struct snat_image x, y;
	CHECK(snat_state_get_image(&a->snat, &x) == 0 && snat_state_get_image(&b->snat, &y) == 0);
	bool are_equal = store_equal(&a->store, &b->store) && images_are_equal(&x, &y) &&
	                 events_are_equal(&a->events, &b->events) && versions_are_equal(&a->versions, &b->versions) &&
	                 staged_are_equal(&a->staged, &b->staged);
	snat_image_fini(&x);
	snat_image_fini(&y);
	return are_equal;
}
