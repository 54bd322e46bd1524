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
	char addr[64];
	unsigned port = 0;
	unsigned weight = 1;
	CHECK(sscanf(word, "%63[^:]:%u*%u", addr, &port, &weight) >= 2);
	return (struct endpoint_dip){ .dip = addr_of(addr), .port = (uint16_t)port, .weight = (uint16_t)weight };
}

static bool ends_list(const struct words *w)
{
	return strcmp(peek(w), ",") == 0 || strcmp(peek(w), ";") == 0;
}

static void parse_snat(struct words *w, struct vip_config *vip)
{
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
}

static void parse_node(struct words *w, struct node_info *node)
{
	next_text(w, node->name, sizeof node->name);
	node->addr = addr_of(next(w));
}

static enum object_kind parse_kind(const char *word)
{
	static const char *const names[] = { "", "cluster", "vip", "mux", "host", "dip", "settings" };
	for (int i = 1; i < 7; i++)
		if (strcmp(names[i], word) == 0)
			return (enum object_kind)i;
	CHECK(!"a kind of object");
	return OBJECT_CLUSTER;
}

static void parse_delete(struct words *w, enum object_kind kind, struct change *c)
{
	c->is_delete = true;
	if (kind == OBJECT_CLUSTER || kind == OBJECT_SETTINGS) {
		c->key.kind = kind;
		return;
	}
	const char *word = next(w);
	if (kind == OBJECT_VIP || kind == OBJECT_DIP) {
		struct ip_addr addr = addr_of(word);
		c->key = object_key_of_addr(kind, &addr);
	} else {
		c->key = object_key_of_name(kind, word);
	}
}

static void parse_put(struct words *w, enum object_kind kind, struct change *c)
{
	switch (kind) {
	case OBJECT_CLUSTER:
		c->key.kind = kind;
		c->cluster.cluster_id = number(next(w));
		c->cluster.hash_seed = c->cluster.cluster_id * 3;
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
		c->settings = cluster_settings_default();
		c->settings.snat_quarantine_s = (uint32_t)number(next(w));
		break;
	}
}

struct change_list changes_of(const char *command)
{
	struct change_list list = { 0 };
	struct words *w = memory_array(1, sizeof *w);
	words_init(w, command);
	while (w->at < w->n) {
		const char *word = next(w);
		if (strcmp(word, ";") == 0)
			continue;
		struct change c = { 0 };
		if (word[0] == '-')
			parse_delete(w, parse_kind(word + 1), &c);
		else
			parse_put(w, parse_kind(word), &c);
		CHECK(change_list_append(&list, &c) == 0);
	}
	free(w->text);
	memory_free(w);
	return list;
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

int apply_text(struct cluster_state *s, const char *command, struct apply_result *ret_result, struct error *err)
{
	struct change_list changes = changes_of(command);
	memset(err, 0, sizeof *err);
	int code = cluster_state_apply(s, &changes, ret_result, err);
	change_list_fini(&changes);
	return code;
}

void must_apply(struct cluster_state *s, const char *command)
{
	struct apply_result result;
	struct error err;
	if (apply_text(s, command, &result, &err) != 0) {
		fprintf(stderr, "%s: %s\n", command, err.text);
		abort();
	}
}
