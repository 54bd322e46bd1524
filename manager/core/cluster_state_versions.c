// What a command is bound to, and the versions of VIPs that it makes.
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "manager/core/cluster_state_parts.h"

// ---- terms ----

static int refuse_version(const struct cluster_state *s, const struct ip_addr *vip, uint64_t present, uint64_t expected,
                          struct error *err)
{
	char text[IP_ADDR_TEXT_BYTES];
	const struct vip_trail *t = vip_versions_lookup(&s->versions, vip);
	const char *author = t != NULL ? vip_trail_present(t)->author : "";
	ip_addr_format(vip, text);
	if (present == 0)
		return error_set(err, ERR_CONFLICT, "vip: %s is not configured, and not at version %llu; its version is 0",
		                 text, (unsigned long long)expected);
	return error_set(
		err, ERR_CONFLICT,
		"vip: %s is at version %llu%s%s, not at %llu; look at `anantactl vip history %s`, and begin from there", text,
		(unsigned long long)present, author[0] != '\0' ? " by " : "", author, (unsigned long long)expected, text);
}

int cluster_state_check_since(const struct cluster_state *s, const struct command_terms *terms, struct error *err)
{
	uint64_t config_version = s->versions.config_version;
	if (terms->since_version == 0 || config_version <= terms->since_version)
		return 0;
	return error_set(
		err, ERR_CONFLICT,
		"the configuration was changed at version %llu, after version %llu; look at what it is now, and begin "
		"from there",
		(unsigned long long)config_version, (unsigned long long)terms->since_version);
}

int cluster_state_check_terms(const struct cluster_state *s, const struct command_terms *terms,
                              const struct object_key *key, struct error *err)
{
	int code = cluster_state_check_since(s, terms, err);
	for (uint32_t i = 0; code == 0 && key->kind == OBJECT_VIP && i < terms->expects.n; i++) {
		const struct vip_expect *e = &terms->expects.items[i];
		if (!ip_addr_equal(&e->vip, &key->addr))
			continue;
		uint64_t present = vip_versions_present(&s->versions, &e->vip, store_lookup_vip(&s->store, &e->vip) != NULL);
		if (present != e->version)
			code = refuse_version(s, &e->vip, present, e->version, err);
	}
	return code;
}

// ---- versions ----

static bool is_same(const struct vip_config *before, const struct vip_config *now)
{
	return before == NULL || now == NULL ? before == now : vip_config_equal(before, now);
}

// The first of what undoes the changes of a VIP holds what it was before the command.
static int append_version(struct cluster_state *s, struct change *undo, const char *author, uint64_t now_ms)
{
	struct vip_config *before = undo->is_delete ? NULL : undo->vip;
	const struct vip_config *now = store_lookup_vip(&s->store, &undo->key.addr);
	struct vip_version next = {
		.vip = undo->key.addr,
		.version = s->store.version,
		.time_ms = now_ms,
		.is_delete = now == NULL,
	};
	if (is_same(before, now))
		return 0;
	(void)text_copy(next.author, sizeof next.author, author);
	undo->is_delete = true; // it does not own it any more
	s->versions.config_version = s->store.version;
	return vip_versions_append(&s->versions, &next, before);
}

int cluster_state_note_versions(struct cluster_state *s, const char *author, struct progress *p)
{
	struct old_vips old = { 0 };
	for (uint32_t i = 0; i < p->touched.n; i++)
		if (p->touched.items[i].key.kind == OBJECT_SETTINGS)
			s->versions.config_version = s->store.version;
	int code = cluster_state_collect_old_vips(&p->undo, &old);
	for (uint32_t i = 0; code == 0 && i < old.n; i++)
		if (i == 0 || !ip_addr_equal(&old.items[i]->key.addr, &old.items[i - 1]->key.addr))
			code = append_version(s, (struct change *)old.items[i], author, p->now_ms);
	memory_free(old.items);
	return code;
}
