#include "manager/cli/config_diff.h"

#include <string.h>

void config_diff_fini(struct config_diff *d)
{
	change_list_fini(&d->changes);
	*d = (struct config_diff){ 0 };
}

static int check_tenant(const struct config_set *set, uint32_t i, const char *tenant, struct error *err)
{
	char text[IP_ADDR_TEXT_BYTES];
	const struct vip_config *vip = set->vips[i].config;
	if (tenant == NULL || strcmp(vip->tenant, tenant) == 0)
		return 0;
	return error_set(err, ERR_INVALID, "%.200s: vip %s is of tenant \"%s\", not of \"%.63s\"",
	                 set->files[set->vips[i].file], ip_addr_format(&vip->vip, text), vip->tenant, tenant);
}

static int append_deletes(const struct store *state, const struct config_set *set, const struct config_scope *scope,
                          struct change_list *changes)
{
	int code = 0;
	for (uint32_t i = 0; code == 0 && i < state->vips.n; i++) {
		const struct vip_config *vip = store_vip(state, i);
		bool is_ours = scope->tenant == NULL || strcmp(vip->tenant, scope->tenant) == 0;
		if (!is_ours || config_set_lookup(set, &vip->vip) != NULL)
			continue;
		struct change delete = { .key = object_key_of_addr(OBJECT_VIP, &vip->vip), .is_delete = true };
		code = change_list_append(changes, &delete);
	}
	return code;
}

static int append_put(const struct store *state, const struct vip_config *vip, struct config_diff *d)
{
	const struct vip_config *old = store_lookup_vip(state, &vip->vip);
	if (old != NULL && vip_config_equal(old, vip)) {
		d->n_unchanged++;
		return 0;
	}
	struct change put = { .key = object_key_of_addr(OBJECT_VIP, &vip->vip), .vip = vip_config_clone(vip) };
	return put.vip == NULL ? ERR_NO_MEMORY : change_list_append(&d->changes, &put);
}

static int append_settings(const struct store *state, const struct config_set *set, struct change_list *changes)
{
	struct change put = { .key = { .kind = OBJECT_SETTINGS }, .settings = set->settings };
	if (!set->has_settings || cluster_settings_equal(&state->settings, &set->settings))
		return 0;
	return change_list_append(changes, &put);
}

int config_diff_make(const struct store *state, const struct config_set *set, const struct config_scope *scope,
                     struct config_diff *ret_diff, struct error *err)
{
	struct config_diff d = { 0 };
	int code = 0;
	for (uint32_t i = 0; code == 0 && i < set->n_vips; i++)
		code = check_tenant(set, i, scope->tenant, err);
	if (code != 0)
		return code;
	if (scope->prunes)
		code = append_deletes(state, set, scope, &d.changes);
	for (uint32_t i = 0; code == 0 && i < set->n_vips; i++)
		code = append_put(state, set->vips[i].config, &d);
	if (code == 0)
		code = append_settings(state, set, &d.changes);
	if (code != 0) {
		config_diff_fini(&d);
		return error_set(err, ERR_NO_MEMORY, "memory is short");
	}
	*ret_diff = d;
	return 0;
}

bool config_is_same(const struct store *a, const struct store *b)
{
	if (a->vips.n != b->vips.n || !cluster_settings_equal(&a->settings, &b->settings))
		return false;
	for (uint32_t i = 0; i < a->vips.n; i++)
		if (!vip_config_equal(store_vip(a, i), store_vip(b, i)))
			return false;
	return true;
}
