#include "common/wire/pb_history.h"

#include <string.h>

#include "common/base/memory.h"
#include "common/model/limits.h"

ProtobufCBinaryData pb_from_addr(const struct ip_addr *addr)
{
	uint8_t *bytes = (uint8_t *)addr->bytes;
	if (ip_addr_is_v4(addr))
		return (ProtobufCBinaryData){ .len = 4, .data = bytes + 12 };
	return (ProtobufCBinaryData){ .len = 16, .data = bytes };
}

int pb_to_addr(const ProtobufCBinaryData *pb, struct ip_addr *ret_addr, struct error *err)
{
	if (pb->len == 4) {
		*ret_addr = ip_addr_from_v4(load32(pb->data));
		return 0;
	}
	if (pb->len == 16) {
		memcpy(ret_addr->bytes, pb->data, 16);
		return 0;
	}
	return error_set(err, ERR_MALFORMED, "an address of %zu bytes", pb->len);
}

ProtobufCBinaryData pb_from_addr_or_none(const struct ip_addr *addr)
{
	return ip_addr_is_unspecified(addr) ? (ProtobufCBinaryData){ 0 } : pb_from_addr(addr);
}

int pb_to_addr_or_none(const ProtobufCBinaryData *pb, struct ip_addr *ret_addr, struct error *err)
{
	if (pb->len == 0) {
		*ret_addr = (struct ip_addr){ { 0 } };
		return 0;
	}
	return pb_to_addr(pb, ret_addr, err);
}

int pb_to_text(const char *pb, char *buf, size_t size, const char *what, struct error *err)
{
	if (!text_copy(buf, size, pb))
		return error_set(err, ERR_MALFORMED, "%s: longer than %zu bytes", what, size - 1);
	return 0;
}

Ananta__NodeInfo *pb_from_node(struct arena *a, const struct node_info *node)
{
	Ananta__NodeInfo *pb = arena_array(a, 1, sizeof *pb);
	if (pb == NULL)
		return NULL;
	ananta__node_info__init(pb);
	pb->name = (char *)node->name;
	pb->address = pb_from_addr(&node->addr);
	pb->address6 = pb_from_addr_or_none(&node->addr6);
	return pb;
}

int pb_to_node(const Ananta__NodeInfo *pb, struct node_info *ret_node, struct error *err)
{
	int code = pb_to_text(pb->name, ret_node->name, sizeof ret_node->name, "name", err);
	if (code == 0)
		code = pb_to_addr(&pb->address, &ret_node->addr, err);
	return code != 0 ? code : pb_to_addr_or_none(&pb->address6, &ret_node->addr6, err);
}

static Ananta__ClusterInfo *pb_from_cluster(struct arena *a, const struct cluster_info *cluster)
{
	Ananta__ClusterInfo *pb = arena_array(a, 1, sizeof *pb);
	if (pb == NULL)
		return NULL;
	ananta__cluster_info__init(pb);
	pb->cluster_id = cluster->cluster_id;
	pb->hash_seed = cluster->hash_seed;
	pb->pin_key = (ProtobufCBinaryData){ .len = PIN_KEY_BYTES, .data = (uint8_t *)cluster->pin_key };
	return pb;
}

static Ananta__DipInfo *pb_from_dip(struct arena *a, const struct dip_info *dip)
{
	Ananta__DipInfo *pb = arena_array(a, 1, sizeof *pb);
	if (pb == NULL)
		return NULL;
	ananta__dip_info__init(pb);
	pb->dip = pb_from_addr(&dip->dip);
	pb->host = (char *)dip->host;
	pb->vm = (char *)dip->vm;
	pb->interface = (char *)dip->interface;
	pb->mac = (ProtobufCBinaryData){ .len = sizeof dip->mac, .data = (uint8_t *)dip->mac };
	pb->via = pb_from_addr_or_none(&dip->via);
	return pb;
}

static int pb_to_dip(const Ananta__DipInfo *pb, struct dip_info *ret_dip, struct error *err)
{
	int code = pb_to_addr(&pb->dip, &ret_dip->dip, err);
	if (code == 0)
		code = pb_to_text(pb->host, ret_dip->host, sizeof ret_dip->host, "host", err);
	if (code == 0)
		code = pb_to_text(pb->vm, ret_dip->vm, sizeof ret_dip->vm, "vm", err);
	if (code == 0)
		code = pb_to_text(pb->interface, ret_dip->interface, sizeof ret_dip->interface, "interface", err);
	if (code == 0 && pb->mac.len != sizeof ret_dip->mac)
		code = error_set(err, ERR_MALFORMED, "a MAC address of %zu bytes", pb->mac.len);
	if (code == 0)
		memcpy(ret_dip->mac, pb->mac.data, sizeof ret_dip->mac);
	return code != 0 ? code : pb_to_addr_or_none(&pb->via, &ret_dip->via, err);
}

static Ananta__ClusterSettings *pb_from_settings(struct arena *a, const struct cluster_settings *s)
{
	Ananta__ClusterSettings *pb = arena_array(a, 1, sizeof *pb);
	if (pb == NULL)
		return NULL;
	ananta__cluster_settings__init(pb);
	pb->no_snat = arena_array(a, s->n_no_snat, sizeof *pb->no_snat);
	Ananta__Prefix *prefixes = arena_array(a, s->n_no_snat, sizeof *prefixes);
	if (pb->no_snat == NULL || prefixes == NULL)
		return NULL;
	pb->n_no_snat = s->n_no_snat;
	for (uint32_t i = 0; i < s->n_no_snat; i++) {
		ananta__prefix__init(&prefixes[i]);
		prefixes[i].address = pb_from_addr(&s->no_snat[i].addr);
		prefixes[i].bits = s->no_snat[i].bits;
		pb->no_snat[i] = &prefixes[i];
	}
	pb->snat_quarantine_s = s->snat_quarantine_s;
	pb->snat_log_s = s->snat_log_s;
	pb->snat_gone_s = s->snat_gone_s;
	pb->snat_dip_requests_per_s = s->snat_dip_requests_per_s;
	pb->host_gone_ms = s->host_gone_ms;
	pb->fail_static_percent = s->fail_static_percent;
	pb->mux_withdraw_percent = s->mux_withdraw_percent;
	pb->has_health = true;
	return pb;
}

static int pb_to_settings(const Ananta__ClusterSettings *pb, struct cluster_settings *s, struct error *err)
{
	if (pb->n_no_snat > LIMIT_NO_SNAT_PREFIXES)
		return error_set(err, ERR_MALFORMED, "%zu prefixes, more than there can be", pb->n_no_snat);
	int code = 0;
	s->n_no_snat = (uint32_t)pb->n_no_snat;
	for (uint32_t i = 0; code == 0 && i < s->n_no_snat; i++) {
		if (pb->no_snat[i]->bits > 128)
			return error_set(err, ERR_MALFORMED, "a prefix of %u bits", pb->no_snat[i]->bits);
		s->no_snat[i].bits = (uint8_t)pb->no_snat[i]->bits;
		code = pb_to_addr(&pb->no_snat[i]->address, &s->no_snat[i].addr, err);
	}
	s->snat_quarantine_s = pb->snat_quarantine_s;
	s->snat_log_s = pb->snat_log_s;
	s->snat_gone_s = pb->snat_gone_s;
	s->snat_dip_requests_per_s = pb->snat_dip_requests_per_s;
	const struct cluster_settings defaults = cluster_settings_default();
	s->host_gone_ms = pb->has_health ? pb->host_gone_ms : defaults.host_gone_ms;
	s->fail_static_percent = pb->has_health ? pb->fail_static_percent : defaults.fail_static_percent;
	s->mux_withdraw_percent = pb->has_health ? pb->mux_withdraw_percent : defaults.mux_withdraw_percent;
	return code;
}

static Ananta__SnatPolicy *pb_from_policy(struct arena *a, const struct snat_policy *policy)
{
	Ananta__SnatPolicy *pb = arena_array(a, 1, sizeof *pb);
	if (pb == NULL)
		return NULL;
	ananta__snat_policy__init(pb);
	pb->range_size = policy->range_size;
	pb->first_port = policy->first_port;
	pb->prealloc_ports = policy->prealloc_ports;
	pb->max_ports_per_dip = policy->max_ports_per_dip;
	pb->idle_s = policy->idle_s;
	return pb;
}

static int pb_to_policy(const Ananta__SnatPolicy *pb, struct snat_policy *policy, struct error *err)
{
	if (pb == NULL)
		return 0;
	if (pb->range_size > UINT16_MAX || pb->first_port > UINT16_MAX)
		return error_set(err, ERR_MALFORMED, "a snat policy with a port beyond 65535");
	*policy = (struct snat_policy){ .range_size = (uint16_t)pb->range_size,
		                            .first_port = (uint16_t)pb->first_port,
		                            .prealloc_ports = pb->prealloc_ports,
		                            .max_ports_per_dip = pb->max_ports_per_dip,
		                            .idle_s = pb->idle_s };
	return 0;
}

static Ananta__Probe *pb_from_probe(struct arena *a, const struct probe *probe)
{
	Ananta__Probe *pb = arena_array(a, 1, sizeof *pb);
	if (pb == NULL)
		return NULL;
	ananta__probe__init(pb);
	pb->type = probe->type;
	pb->port = probe->port;
	pb->path = (char *)probe->path;
	pb->expect_min = probe->expect_min;
	pb->expect_max = probe->expect_max;
	pb->interval_ms = probe->interval_ms;
	pb->timeout_ms = probe->timeout_ms;
	pb->up = probe->up;
	pb->down = probe->down;
	return pb;
}

static int pb_to_probe(const Ananta__Probe *pb, struct probe *probe, struct error *err)
{
	if (pb == NULL)
		return 0;
	if (pb->type > PROBE_HTTP || pb->port > UINT16_MAX || pb->expect_min > UINT16_MAX || pb->expect_max > UINT16_MAX ||
	    pb->up > UINT8_MAX || pb->down > UINT8_MAX)
		return error_set(err, ERR_MALFORMED, "a probe that cannot be");
	probe->type = (enum probe_type)pb->type;
	probe->port = (uint16_t)pb->port;
	probe->expect_min = (uint16_t)pb->expect_min;
	probe->expect_max = (uint16_t)pb->expect_max;
	probe->interval_ms = pb->interval_ms;
	probe->timeout_ms = pb->timeout_ms;
	probe->up = (uint8_t)pb->up;
	probe->down = (uint8_t)pb->down;
	return pb_to_text(pb->path, probe->path, sizeof probe->path, "path", err);
}

static int fill_endpoint(struct arena *a, const struct endpoint *e, Ananta__Endpoint *pb)
{
	ananta__endpoint__init(pb);
	pb->name = (char *)e->name;
	pb->protocol = e->protocol;
	pb->port = e->port;
	if (e->probe.type != PROBE_NONE) {
		pb->probe = pb_from_probe(a, &e->probe);
		if (pb->probe == NULL)
			return ERR_NO_MEMORY;
	}
	pb->n_dips = e->n_dips;
	pb->dips = arena_array(a, e->n_dips, sizeof *pb->dips);
	Ananta__EndpointDip *dips = arena_array(a, e->n_dips, sizeof *dips);
	if (pb->dips == NULL || dips == NULL)
		return ERR_NO_MEMORY;
	for (uint32_t i = 0; i < e->n_dips; i++) {
		ananta__endpoint_dip__init(&dips[i]);
		dips[i].dip = pb_from_addr(&e->dips[i].dip);
		dips[i].port = e->dips[i].port;
		dips[i].weight = e->dips[i].weight;
		pb->dips[i] = &dips[i];
	}
	return 0;
}

Ananta__VipConfig *pb_from_vip(struct arena *a, const struct vip_config *vip)
{
	Ananta__VipConfig *pb = arena_array(a, 1, sizeof *pb);
	if (pb == NULL)
		return NULL;
	ananta__vip_config__init(pb);
	pb->vip = pb_from_addr(&vip->vip);
	pb->tenant = (char *)vip->tenant;
	pb->drain_s = vip->drain_s;
	pb->refuses_when_down = vip->refuses_when_down;
	pb->idle_tcp_s = vip->idle_tcp_s;
	pb->idle_udp_s = vip->idle_udp_s;
	pb->n_snat_dips = vip->n_snat_dips;
	if (vip->n_snat_dips > 0) {
		pb->snat = pb_from_policy(a, &vip->snat);
		if (pb->snat == NULL)
			return NULL;
	}
	pb->snat_dips = arena_array(a, vip->n_snat_dips, sizeof *pb->snat_dips);
	pb->n_endpoints = vip->n_endpoints;
	pb->endpoints = arena_array(a, vip->n_endpoints, sizeof *pb->endpoints);
	Ananta__Endpoint *endpoints = arena_array(a, vip->n_endpoints, sizeof *endpoints);
	if (pb->snat_dips == NULL || pb->endpoints == NULL || endpoints == NULL)
		return NULL;
	for (uint32_t i = 0; i < vip->n_snat_dips; i++)
		pb->snat_dips[i] = pb_from_addr(&vip->snat_dips[i]);
	for (uint32_t i = 0; i < vip->n_endpoints; i++) {
		if (fill_endpoint(a, &vip->endpoints[i], &endpoints[i]) != 0)
			return NULL;
		pb->endpoints[i] = &endpoints[i];
	}
	return pb;
}

static int pb_to_endpoint_dip(const Ananta__EndpointDip *pb, struct endpoint_dip *ret_dip, struct error *err)
{
	if (pb->port > UINT16_MAX || pb->weight > UINT16_MAX)
		return error_set(err, ERR_MALFORMED, "a DIP's port or weight is beyond 65535");
	ret_dip->port = (uint16_t)pb->port;
	ret_dip->weight = (uint16_t)pb->weight;
	return pb_to_addr(&pb->dip, &ret_dip->dip, err);
}

static int pb_to_endpoint(const Ananta__Endpoint *pb, struct endpoint *ret_endpoint, struct error *err)
{
	if (pb->protocol > UINT8_MAX || pb->port > UINT16_MAX || pb->n_dips > LIMIT_DIPS_PER_VIP)
		return error_set(err, ERR_MALFORMED, "an endpoint's protocol, port or number of DIPs is out of range");
	ret_endpoint->protocol = (uint8_t)pb->protocol;
	ret_endpoint->port = (uint16_t)pb->port;
	int code = pb_to_text(pb->name, ret_endpoint->name, sizeof ret_endpoint->name, "endpoint name", err);
	if (code == 0)
		code = pb_to_probe(pb->probe, &ret_endpoint->probe, err);
	if (code != 0)
		return code;
	ret_endpoint->dips = memory_array(pb->n_dips, sizeof *ret_endpoint->dips);
	if (ret_endpoint->dips == NULL)
		return error_set(err, ERR_NO_MEMORY, "out of memory");
	ret_endpoint->n_dips = (uint32_t)pb->n_dips;
	for (uint32_t i = 0; code == 0 && i < pb->n_dips; i++)
		code = pb_to_endpoint_dip(pb->dips[i], &ret_endpoint->dips[i], err);
	return code;
}

static int fill_vip(const Ananta__VipConfig *pb, struct vip_config *vip, struct error *err)
{
	vip->drain_s = pb->drain_s;
	vip->refuses_when_down = pb->refuses_when_down;
	vip->idle_tcp_s = pb->idle_tcp_s;
	vip->idle_udp_s = pb->idle_udp_s;
	int code = pb_to_addr(&pb->vip, &vip->vip, err);
	if (code == 0)
		code = pb_to_text(pb->tenant, vip->tenant, sizeof vip->tenant, "tenant", err);
	if (code == 0)
		code = pb_to_policy(pb->snat, &vip->snat, err);
	if (code != 0)
		return code;
	if (pb->n_snat_dips > LIMIT_DIPS_PER_VIP || pb->n_endpoints > LIMIT_DIPS_PER_VIP)
		return error_set(err, ERR_MALFORMED, "a VIP's lists are too long");
	vip->snat_dips = memory_array(pb->n_snat_dips, sizeof *vip->snat_dips);
	vip->endpoints = memory_array(pb->n_endpoints, sizeof *vip->endpoints);
	if (vip->snat_dips == NULL || vip->endpoints == NULL)
		return error_set(err, ERR_NO_MEMORY, "out of memory");
	vip->n_snat_dips = (uint32_t)pb->n_snat_dips;
	for (uint32_t i = 0; code == 0 && i < pb->n_snat_dips; i++)
		code = pb_to_addr(&pb->snat_dips[i], &vip->snat_dips[i], err);
	vip->n_endpoints = (uint32_t)pb->n_endpoints;
	for (uint32_t i = 0; code == 0 && i < pb->n_endpoints; i++)
		code = pb_to_endpoint(pb->endpoints[i], &vip->endpoints[i], err);
	return code;
}

int pb_to_vip(const Ananta__VipConfig *pb, struct vip_config **ret_vip, struct error *err)
{
	struct vip_config *vip = memory_array(1, sizeof *vip);
	if (vip == NULL)
		return error_set(err, ERR_NO_MEMORY, "out of memory");
	int code = fill_vip(pb, vip, err);
	if (code != 0) {
		vip_config_destroy(vip);
		return code;
	}
	*ret_vip = vip;
	return 0;
}

static Ananta__Drain *pb_from_drain(struct arena *a, const struct change *c)
{
	Ananta__Drain *pb = arena_array(a, 1, sizeof *pb);
	if (pb == NULL)
		return NULL;
	ananta__drain__init(pb);
	pb->dip = pb_from_addr(&c->key.addr);
	pb->vip = (char *)c->key.name;
	pb->since_ms = c->is_delete ? 0 : c->mark.since_ms;
	return pb;
}

static Ananta__MarkKind pb_from_mark_kind(enum object_kind kind)
{
	if (kind == OBJECT_UNHEALTHY)
		return ANANTA__MARK_KIND__MARK_UNHEALTHY;
	return kind == OBJECT_HOST_GONE ? ANANTA__MARK_KIND__MARK_HOST_GONE : ANANTA__MARK_KIND__MARK_MUX_DRAIN;
}

static Ananta__Mark *pb_from_mark(struct arena *a, const struct change *c)
{
	Ananta__Mark *pb = arena_array(a, 1, sizeof *pb);
	if (pb == NULL)
		return NULL;
	ananta__mark__init(pb);
	pb->kind = pb_from_mark_kind(c->key.kind);
	if (c->key.kind == OBJECT_UNHEALTHY)
		pb->address = pb_from_addr(&c->key.addr);
	pb->name = (char *)c->key.name;
	if (!c->is_delete) {
		pb->since_ms = c->mark.since_ms;
		pb->cause = (char *)c->mark.cause;
	}
	return pb;
}

static bool fill_delete(struct arena *a, const struct change *c, Ananta__Change *pb)
{
	switch (c->key.kind) {
	case OBJECT_VIP:
		pb->kind_case = ANANTA__CHANGE__KIND_VIP_DELETED;
		pb->vip_deleted = pb_from_addr(&c->key.addr);
		break;
	case OBJECT_MUX:
		pb->kind_case = ANANTA__CHANGE__KIND_MUX_DELETED;
		pb->mux_deleted = (char *)c->key.name;
		break;
	case OBJECT_HOST:
		pb->kind_case = ANANTA__CHANGE__KIND_HOST_DELETED;
		pb->host_deleted = (char *)c->key.name;
		break;
	case OBJECT_DIP:
		pb->kind_case = ANANTA__CHANGE__KIND_DIP_DELETED;
		pb->dip_deleted = pb_from_addr(&c->key.addr);
		break;
	case OBJECT_SETTINGS:
		pb->kind_case = ANANTA__CHANGE__KIND_SETTINGS_DELETED;
		pb->settings_deleted = true;
		break;
	case OBJECT_HISTORY:
		pb->kind_case = ANANTA__CHANGE__KIND_HISTORY_DELETED;
		pb->history_deleted = pb_from_addr(&c->key.addr);
		break;
	case OBJECT_DRAIN:
		pb->kind_case = ANANTA__CHANGE__KIND_DRAIN_DELETED;
		pb->drain_deleted = pb_from_drain(a, c);
		return pb->drain_deleted != NULL;
	case OBJECT_UNHEALTHY:
	case OBJECT_HOST_GONE:
	case OBJECT_MUX_DRAIN:
		pb->kind_case = ANANTA__CHANGE__KIND_MARK_DELETED;
		pb->mark_deleted = pb_from_mark(a, c);
		return pb->mark_deleted != NULL;
	case OBJECT_CLUSTER: break; // the cluster's own object is never deleted
	}
	return true;
}

static bool fill_put(struct arena *a, const struct change *c, Ananta__Change *pb)
{
	switch (c->key.kind) {
	case OBJECT_CLUSTER:
		pb->kind_case = ANANTA__CHANGE__KIND_CLUSTER;
		pb->cluster = pb_from_cluster(a, &c->cluster);
		return pb->cluster != NULL;
	case OBJECT_VIP:
		pb->kind_case = ANANTA__CHANGE__KIND_VIP;
		pb->vip = pb_from_vip(a, c->vip);
		return pb->vip != NULL;
	case OBJECT_MUX:
		pb->kind_case = ANANTA__CHANGE__KIND_MUX;
		pb->mux = pb_from_node(a, &c->node);
		return pb->mux != NULL;
	case OBJECT_HOST:
		pb->kind_case = ANANTA__CHANGE__KIND_HOST;
		pb->host = pb_from_node(a, &c->node);
		return pb->host != NULL;
	case OBJECT_DIP:
		pb->kind_case = ANANTA__CHANGE__KIND_DIP;
		pb->dip = pb_from_dip(a, &c->dip);
		return pb->dip != NULL;
	case OBJECT_SETTINGS:
		pb->kind_case = ANANTA__CHANGE__KIND_SETTINGS;
		pb->settings = pb_from_settings(a, &c->settings);
		return pb->settings != NULL;
	case OBJECT_HISTORY:
		pb->kind_case = ANANTA__CHANGE__KIND_HISTORY;
		pb->history = pb_from_history(a, c->history);
		return pb->history != NULL;
	case OBJECT_DRAIN:
		pb->kind_case = ANANTA__CHANGE__KIND_DRAIN;
		pb->drain = pb_from_drain(a, c);
		return pb->drain != NULL;
	case OBJECT_UNHEALTHY:
	case OBJECT_HOST_GONE:
	case OBJECT_MUX_DRAIN:
		pb->kind_case = ANANTA__CHANGE__KIND_MARK;
		pb->mark = pb_from_mark(a, c);
		return pb->mark != NULL;
	}
	return false;
}

Ananta__Change **pb_from_changes(struct arena *a, const struct change_list *changes)
{
	Ananta__Change **pointers = arena_array(a, changes->n, sizeof *pointers);
	Ananta__Change *items = arena_array(a, changes->n, sizeof *items);
	if (pointers == NULL || items == NULL)
		return NULL;
	for (uint32_t i = 0; i < changes->n; i++) {
		const struct change *c = &changes->items[i];
		pointers[i] = &items[i];
		ananta__change__init(&items[i]);
		if (!(c->is_delete ? fill_delete(a, c, &items[i]) : fill_put(a, c, &items[i])))
			return NULL;
	}
	return pointers;
}

static int delete_by_addr(enum object_kind kind, const ProtobufCBinaryData *pb, struct change *c, struct error *err)
{
	c->is_delete = true;
	c->key.kind = kind;
	return pb_to_addr(pb, &c->key.addr, err);
}

static int delete_by_name(enum object_kind kind, const char *pb, struct change *c, struct error *err)
{
	c->is_delete = true;
	c->key.kind = kind;
	return pb_to_text(pb, c->key.name, sizeof c->key.name, "name", err);
}

static int put_node(enum object_kind kind, const Ananta__NodeInfo *pb, struct change *c, struct error *err)
{
	int code = pb_to_node(pb, &c->node, err);
	c->key = object_key_of_name(kind, c->node.name);
	return code;
}

static int pb_to_cluster(const Ananta__ClusterInfo *pb, struct cluster_info *cluster, struct error *err)
{
	*cluster = (struct cluster_info){ .cluster_id = pb->cluster_id, .hash_seed = pb->hash_seed };
	if (pb->pin_key.len != PIN_KEY_BYTES && pb->pin_key.len != 0)
		return error_set(err, ERR_MALFORMED, "a key of %zu bytes", pb->pin_key.len);
	if (pb->pin_key.len != 0)
		memcpy(cluster->pin_key, pb->pin_key.data, PIN_KEY_BYTES);
	return 0;
}

static int pb_to_drain(const Ananta__Drain *pb, struct change *c, struct error *err)
{
	c->key.kind = OBJECT_DRAIN;
	c->mark.since_ms = pb->since_ms;
	int code = pb_to_addr(&pb->dip, &c->key.addr, err);
	return code != 0 ? code : pb_to_text(pb->vip, c->key.name, sizeof c->key.name, "vip", err);
}

static int pb_to_mark(const Ananta__Mark *pb, struct change *c, struct error *err)
{
	int code = 0;
	switch ((int)pb->kind) {
	case ANANTA__MARK_KIND__MARK_UNHEALTHY:
		c->key.kind = OBJECT_UNHEALTHY;
		code = pb_to_addr(&pb->address, &c->key.addr, err);
		break;
	case ANANTA__MARK_KIND__MARK_HOST_GONE: c->key.kind = OBJECT_HOST_GONE; break;
	case ANANTA__MARK_KIND__MARK_MUX_DRAIN: c->key.kind = OBJECT_MUX_DRAIN; break;
	default: return error_set(err, ERR_MALFORMED, "a mark of a kind that this version does not know");
	}
	c->mark.since_ms = pb->since_ms;
	if (code == 0)
		code = pb_to_text(pb->name, c->key.name, sizeof c->key.name, "name", err);
	return code != 0 ? code : pb_to_text(pb->cause, c->mark.cause, sizeof c->mark.cause, "cause", err);
}

static int pb_to_change(const Ananta__Change *pb, struct change *c, struct error *err)
{
	int code;
	switch ((int)pb->kind_case) {
	case ANANTA__CHANGE__KIND_CLUSTER:
		c->key.kind = OBJECT_CLUSTER;
		return pb_to_cluster(pb->cluster, &c->cluster, err);
	case ANANTA__CHANGE__KIND_VIP:
		code = pb_to_vip(pb->vip, &c->vip, err);
		if (code == 0)
			c->key = object_key_of_addr(OBJECT_VIP, &c->vip->vip);
		return code;
	case ANANTA__CHANGE__KIND_MUX: return put_node(OBJECT_MUX, pb->mux, c, err);
	case ANANTA__CHANGE__KIND_HOST: return put_node(OBJECT_HOST, pb->host, c, err);
	case ANANTA__CHANGE__KIND_DIP:
		code = pb_to_dip(pb->dip, &c->dip, err);
		c->key = object_key_of_addr(OBJECT_DIP, &c->dip.dip);
		return code;
	case ANANTA__CHANGE__KIND_SETTINGS:
		c->key.kind = OBJECT_SETTINGS;
		return pb_to_settings(pb->settings, &c->settings, err);
	case ANANTA__CHANGE__KIND_SETTINGS_DELETED:
		c->key.kind = OBJECT_SETTINGS;
		c->is_delete = true;
		return 0;
	case ANANTA__CHANGE__KIND_HISTORY:
		code = pb_to_history(pb->history, &c->history, err);
		if (code == 0)
			c->key = object_key_of_addr(OBJECT_HISTORY, &c->history->vip);
		return code;
	case ANANTA__CHANGE__KIND_HISTORY_DELETED: return delete_by_addr(OBJECT_HISTORY, &pb->history_deleted, c, err);
	case ANANTA__CHANGE__KIND_DRAIN: return pb_to_drain(pb->drain, c, err);
	case ANANTA__CHANGE__KIND_DRAIN_DELETED: c->is_delete = true; return pb_to_drain(pb->drain_deleted, c, err);
	case ANANTA__CHANGE__KIND_MARK: return pb_to_mark(pb->mark, c, err);
	case ANANTA__CHANGE__KIND_MARK_DELETED: c->is_delete = true; return pb_to_mark(pb->mark_deleted, c, err);
	case ANANTA__CHANGE__KIND_VIP_DELETED: return delete_by_addr(OBJECT_VIP, &pb->vip_deleted, c, err);
	case ANANTA__CHANGE__KIND_DIP_DELETED: return delete_by_addr(OBJECT_DIP, &pb->dip_deleted, c, err);
	case ANANTA__CHANGE__KIND_MUX_DELETED: return delete_by_name(OBJECT_MUX, pb->mux_deleted, c, err);
	case ANANTA__CHANGE__KIND_HOST_DELETED: return delete_by_name(OBJECT_HOST, pb->host_deleted, c, err);
	case ANANTA__CHANGE__KIND__NOT_SET:
	default: return error_set(err, ERR_MALFORMED, "a change of a kind that this version does not know");
	}
}

int pb_to_changes(Ananta__Change **pb, size_t n, struct change_list *ret_changes, struct error *err)
{
	struct change_list list = { 0 };
	int code = 0;
	for (size_t i = 0; code == 0 && i < n; i++) {
		struct change c = { 0 };
		code = pb_to_change(pb[i], &c, err);
		if (code == 0 && change_list_append(&list, &c) != 0)
			code = error_set(err, ERR_NO_MEMORY, "out of memory");
	}
	if (code != 0) {
		change_list_fini(&list);
		return code;
	}
	*ret_changes = list;
	return 0;
}
