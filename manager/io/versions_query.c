// Versions of VIPs: what operators ask of them, and the way back to one.
#include "common/base/memory.h"
#include "manager/io/server_parts.h"

static void refuse_for_memory(struct peer *p, uint64_t request_id)
{
	struct error err = { 0 };
	error_set(&err, ERR_NO_MEMORY, "memory is short");
	server_send_error(p, request_id, &err);
}

// The configuration at a version that is kept, as the caller's: NULL when it was deleted then. ERR_NO_MEMORY.
static int copy_config(const struct cluster_state *state, const struct vip_version *v, struct vip_config **ret_config)
{
	const struct vip_trail *t = vip_versions_lookup(&state->versions, &v->vip);
	bool is_present = t == NULL || vip_trail_present(t)->version == v->version;
	const struct vip_config *config = is_present ? store_lookup_vip(&state->store, &v->vip) : v->config;
	*ret_config = config != NULL ? vip_config_clone(config) : NULL;
	return config != NULL && *ret_config == NULL ? ERR_NO_MEMORY : 0;
}

// The version without its configuration.
static int find_version(const struct cluster_state *state, const struct ip_addr *vip, uint64_t version,
                        struct vip_version *ret_version, struct error *err)
{
	char text[IP_ADDR_TEXT_BYTES];
	const struct vip_trail *t = vip_versions_lookup(&state->versions, vip);
	const struct vip_version *v = vip_versions_find(&state->versions, vip, version);
	ip_addr_format(vip, text);
	if (v == NULL && t == NULL && version == VERSION_UNKNOWN && store_lookup_vip(&state->store, vip) != NULL) {
		*ret_version = (struct vip_version){ .vip = *vip, .version = VERSION_UNKNOWN };
		return 0;
	}
	if (v == NULL)
		return error_set(err, ERR_NOT_FOUND,
		                 "vip: version %llu of %s is not kept; `anantactl vip history %s` lists those that are",
		                 (unsigned long long)version, text, text);
	*ret_version = *v;
	return 0;
}

static int list_versions(const struct cluster_state *state, const struct ip_addr *vip, struct vip_version_list *list,
                         struct error *err)
{
	char text[IP_ADDR_TEXT_BYTES];
	const struct vip_trail *t = vip_versions_lookup(&state->versions, vip);
	struct vip_version unknown = { .vip = *vip, .version = VERSION_UNKNOWN };
	int code = 0;
	if (t == NULL && store_lookup_vip(&state->store, vip) == NULL)
		return error_set(err, ERR_NOT_FOUND, "vip: %s is not configured, and was not in the last days",
		                 ip_addr_format(vip, text));
	if (t == NULL)
		code = vip_version_list_append(list, &unknown);
	for (uint32_t i = 0; code == 0 && t != NULL && i < t->n; i++) {
		struct vip_version v = t->nodes[i]->v;
		v.config = NULL;
		code = vip_version_list_append(list, &v);
	}
	return code == 0 ? 0 : error_set(err, ERR_NO_MEMORY, "memory is short");
}

static int get_version(const struct cluster_state *state, const struct ip_addr *vip, uint64_t version,
                       struct vip_version_list *list, struct error *err)
{
	struct vip_version v;
	int code = find_version(state, vip, version, &v, err);
	if (code != 0)
		return code;
	if (copy_config(state, &v, &v.config) != 0 || vip_version_list_append(list, &v) != 0)
		return error_set(err, ERR_NO_MEMORY, "memory is short");
	return 0;
}

void versions_query_answer(struct peer *p, uint64_t request_id, const struct ip_addr *vip, uint64_t version)
{
	const struct cluster_state *state = &p->server->machine.state;
	struct message m = { .type = MESSAGE_VERSIONS_REPLY, .request_id = request_id };
	struct error err = { 0 };
	int code = version == 0 ? list_versions(state, vip, &m.versions, &err)
	                        : get_version(state, vip, version, &m.versions, &err);
	if (code == 0)
		code = conn_send(p->conn, &m);
	if (code != 0 && err.code != 0)
		server_send_error(p, request_id, &err);
	else if (code == ERR_NO_MEMORY)
		refuse_for_memory(p, request_id);
	message_fini(&m);
}

// ---- the way back ----

static int check_dip(const struct cluster_state *state, const struct vip_config *now, const struct ip_addr *dip,
                     uint64_t version, struct error *err)
{
	char text[IP_ADDR_TEXT_BYTES];
	if (store_lookup_dip(&state->store, dip) != NULL || (now != NULL && vip_config_has_dip(now, dip)))
		return 0;
	return error_set(
		err, ERR_CONFLICT,
		"vip: DIP %s of version %llu is attached on no host any more; attach it first, or apply a document "
		"without it",
		ip_addr_format(dip, text), (unsigned long long)version);
}

// New connections must not be sent to where nobody is any more.
static int check_dips(const struct cluster_state *state, const struct vip_config *then, uint64_t version,
                      struct error *err)
{
	const struct vip_config *now = store_lookup_vip(&state->store, &then->vip);
	int code = 0;
	for (uint32_t i = 0; code == 0 && i < then->n_endpoints; i++)
		for (uint32_t k = 0; code == 0 && k < then->endpoints[i].n_dips; k++)
			code = check_dip(state, now, &then->endpoints[i].dips[k].dip, version, err);
	for (uint32_t i = 0; code == 0 && i < then->n_snat_dips; i++)
		code = check_dip(state, now, &then->snat_dips[i], version, err);
	return code;
}

// What makes the VIP what it was at the version; for change_fini on success.
static int make_change(const struct cluster_state *state, const struct ip_addr *vip, uint64_t version,
                       struct change *ret_change, struct error *err)
{
	char text[IP_ADDR_TEXT_BYTES];
	struct vip_version v;
	struct change c = { .key = object_key_of_addr(OBJECT_VIP, vip) };
	int code = find_version(state, vip, version, &v, err);
	if (code != 0)
		return code;
	if (copy_config(state, &v, &c.vip) != 0)
		return error_set(err, ERR_NO_MEMORY, "memory is short");
	c.is_delete = c.vip == NULL;
	if (c.is_delete && store_lookup_vip(&state->store, vip) == NULL)
		return error_set(err, ERR_NOT_FOUND, "vip: %s was deleted at version %llu, and is not configured now",
		                 ip_addr_format(vip, text), (unsigned long long)version);
	code = c.is_delete ? 0 : check_dips(state, c.vip, version, err);
	if (code == 0)
		*ret_change = c;
	else
		change_fini(&c);
	return code;
}

void versions_query_roll_back(struct peer *p, uint64_t request_id, const struct message *m)
{
	const struct cluster_state *state = &p->server->machine.state;
	const struct ip_addr *vip = &m->rollback.vip;
	struct change change;
	struct error err = { 0 };
	// Even when nobody asked: what was looked at here must be what the command changes.
	struct vip_expect expect = { *vip, vip_versions_present(&state->versions, vip,
		                                                    store_lookup_vip(&state->store, vip) != NULL) };
	if (m->rollback.has_expect)
		expect.version = m->rollback.expect;
	if (make_change(state, vip, m->rollback.to_version, &change, &err) != 0) {
		server_send_error(p, request_id, &err);
		return;
	}
	struct command_terms terms = { .expects = { .n = 1, .capacity = 1, .items = &expect } };
	struct change_list changes = { .n = 1, .capacity = 1, .items = &change };
	commands_on_request(p, request_id, &changes, &(struct snat_op_list){ 0 }, &terms);
	change_fini(&change);
}
