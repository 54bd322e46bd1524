#include "common/model/vip.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/model/lease.h"
#include "common/model/limits.h"

enum { PROTOCOL_TCP = 6, PROTOCOL_UDP = 17, PROTOCOL_ANY = 255 };

void vip_config_destroy(struct vip_config *vip)
{
	if (vip == NULL)
		return;
	for (uint32_t i = 0; vip->endpoints != NULL && i < vip->n_endpoints; i++)
		memory_free(vip->endpoints[i].dips);
	memory_free(vip->endpoints);
	memory_free(vip->snat_dips);
	memory_free(vip);
}

struct vip_config *vip_config_clone(const struct vip_config *vip)
{
	struct vip_config *copy = memory_array(1, sizeof *copy);
	if (copy == NULL)
		return NULL;
	*copy = *vip;
	copy->snat_dips = memory_copy(vip->snat_dips, vip->n_snat_dips * sizeof *vip->snat_dips);
	copy->endpoints = memory_array(vip->n_endpoints, sizeof *vip->endpoints);
	if (copy->snat_dips == NULL || copy->endpoints == NULL)
		goto no_memory;
	for (uint32_t i = 0; i < vip->n_endpoints; i++) {
		const struct endpoint *e = &vip->endpoints[i];
		copy->endpoints[i] = *e;
		copy->endpoints[i].dips = memory_copy(e->dips, e->n_dips * sizeof *e->dips);
		if (copy->endpoints[i].dips == NULL)
			goto no_memory;
	}
	return copy;
no_memory:
	vip_config_destroy(copy);
	return NULL;
}

const char *protocol_name(uint8_t protocol)
{
	switch (protocol) {
	case PROTOCOL_TCP: return "tcp";
	case PROTOCOL_UDP: return "udp";
	case PROTOCOL_ANY: return "any";
	default: return NULL;
	}
}

uint8_t protocol_parse(const char *name)
{
	if (strcmp(name, "tcp") == 0)
		return PROTOCOL_TCP;
	if (strcmp(name, "udp") == 0)
		return PROTOCOL_UDP;
	if (strcmp(name, "any") == 0)
		return PROTOCOL_ANY;
	return 0;
}

const char *endpoint_key_format(const struct ip_addr *vip, uint8_t protocol, uint16_t port, char *buf)
{
	char text[IP_ADDR_TEXT_BYTES];
	const char *name = protocol_name(protocol);
	(void)text_format(buf, NAME_BYTES, "%s %s %u", ip_addr_format(vip, text), name != NULL ? name : "?", port);
	return buf;
}

int endpoint_key_parse(const char *text, struct ip_addr *ret_vip, uint8_t *ret_protocol, uint16_t *ret_port)
{
	char copy[NAME_BYTES];
	char *rest = NULL;
	uint64_t port;
	if (!text_copy(copy, sizeof copy, text))
		return ERR_INVALID;
	const char *vip = strtok_r(copy, " ", &rest);
	const char *protocol = strtok_r(NULL, " ", &rest);
	const char *number = strtok_r(NULL, " ", &rest);
	if (vip == NULL || protocol == NULL || number == NULL || strtok_r(NULL, " ", &rest) != NULL)
		return ERR_INVALID;
	uint8_t parsed = protocol_parse(protocol);
	if (ip_addr_parse(vip, ret_vip, NULL) != 0 || parsed == 0 || !text_parse_u64(number, 0, UINT16_MAX, &port) ||
	    (port == 0) != (parsed == PROTOCOL_ANY))
		return ERR_INVALID;
	*ret_protocol = parsed;
	*ret_port = (uint16_t)port;
	return 0;
}

bool probe_equal(const struct probe *a, const struct probe *b)
{
	return a->type == b->type && a->port == b->port && strcmp(a->path, b->path) == 0 &&
	       a->expect_min == b->expect_min && a->expect_max == b->expect_max && a->interval_ms == b->interval_ms &&
	       a->timeout_ms == b->timeout_ms && a->up == b->up && a->down == b->down;
}

static int compare_endpoint_dips(const void *a, const void *b)
{
	return ip_addr_compare(&((const struct endpoint_dip *)a)->dip, &((const struct endpoint_dip *)b)->dip);
}

static int compare_endpoint_keys(const struct endpoint *a, uint8_t protocol, uint16_t port)
{
	if (a->protocol != protocol)
		return a->protocol < protocol ? -1 : 1;
	return a->port < port ? -1 : a->port > port;
}

static int compare_endpoints(const void *a, const void *b)
{
	const struct endpoint *other = b;
	return compare_endpoint_keys(a, other->protocol, other->port);
}

static const char *family_name(const struct ip_addr *a)
{
	return ip_addr_is_v4(a) ? "IPv4" : "IPv6";
}

static int check_dip(const struct vip_config *vip, const struct ip_addr *dip, struct error *err)
{
	char text[IP_ADDR_TEXT_BYTES];
	const char *problem = ip_addr_problem(dip);
	if (problem != NULL)
		return error_set(err, ERR_INVALID, "%s is not an address that a VM can have: %s", ip_addr_format(dip, text),
		                 problem);
	if (ip_addr_equal(dip, &vip->vip))
		return error_set(err, ERR_INVALID, "%s is the VIP itself", ip_addr_format(dip, text));
	if (!ip_addr_is_same_family(dip, &vip->vip))
		return error_set(err, ERR_INVALID,
		                 "%s: the DIPs of an %s VIP are %s addresses too; make a second VIP for the other family",
		                 ip_addr_format(dip, text), family_name(&vip->vip), family_name(&vip->vip));
	return 0;
}

// Only protocols with ports have them.
static int check_port(const struct endpoint *e, uint16_t port, struct error *err)
{
	if (e->protocol == PROTOCOL_ANY && port != 0)
		return error_set(err, ERR_INVALID, "must be left out for protocol \"any\", got %u", port);
	if (e->protocol != PROTOCOL_ANY && port == 0)
		return error_set(err, ERR_INVALID, "must be 1 to 65535, got 0");
	return 0;
}

static int validate_endpoint_dips(const struct vip_config *vip, struct endpoint *e, struct error *err)
{
	if (e->n_dips == 0)
		return error_set(err, ERR_INVALID, "dips: must hold at least one DIP");
	if (e->n_dips > LIMIT_DIPS_PER_ENDPOINT)
		return error_set(err, ERR_LIMIT, "dips: at most %u DIPs, got %u", LIMIT_DIPS_PER_ENDPOINT, e->n_dips);
	for (uint32_t i = 0; i < e->n_dips; i++) {
		const struct endpoint_dip *d = &e->dips[i];
		if (check_dip(vip, &d->dip, err) != 0)
			return error_prefix(err, "dips[%u].dip: ", i);
		if (check_port(e, d->port, err) != 0)
			return error_prefix(err, "dips[%u].port: ", i);
		if (d->weight == 0 || d->weight > LIMIT_WEIGHT)
			return error_set(err, ERR_INVALID, "dips[%u].weight: must be 1 to %u, got %u", i, LIMIT_WEIGHT, d->weight);
	}
	qsort(e->dips, e->n_dips, sizeof *e->dips, compare_endpoint_dips);
	for (uint32_t i = 1; i < e->n_dips; i++) {
		char text[IP_ADDR_TEXT_BYTES];
		if (ip_addr_equal(&e->dips[i - 1].dip, &e->dips[i].dip))
			return error_set(err, ERR_INVALID, "dips: %s is listed twice", ip_addr_format(&e->dips[i].dip, text));
	}
	return 0;
}

// Ports are leased in whole ranges, so that each number must fit them.
static int validate_snat_policy(struct vip_config *vip, struct error *err)
{
	struct snat_policy *p = &vip->snat;
	if (vip->n_snat_dips == 0) {
		*p = (struct snat_policy){ 0 };
		return 0;
	}
	if (p->range_size == 0)
		*p = (struct snat_policy)SNAT_POLICY_DEFAULT;
	if (!lease_range_is_valid(0, p->range_size))
		return error_set(err, ERR_INVALID, "snat.range_size: must be a power of two from %u to %u, got %u",
		                 SNAT_UNIT_PORTS, SNAT_RANGE_PORTS_MAX, p->range_size);
	if (p->first_port < 1024 || p->first_port % p->range_size != 0)
		return error_set(err, ERR_INVALID,
		                 "snat.first_port: must be at least 1024 and a multiple of range_size %u, got %u",
		                 p->range_size, p->first_port);
	uint32_t most = 65536u - p->first_port;
	if (p->max_ports_per_dip < p->range_size || p->max_ports_per_dip > 65536)
		return error_set(err, ERR_INVALID, "snat.max_ports_per_dip: must be %u (range_size) to 65536, got %u",
		                 p->range_size, p->max_ports_per_dip);
	if (p->prealloc_ports > p->max_ports_per_dip || p->prealloc_ports > most)
		return error_set(
			err, ERR_INVALID,
			"snat.prealloc_ports: must be at most %u (max_ports_per_dip, and what is above first_port), got %u",
			p->max_ports_per_dip < most ? p->max_ports_per_dip : most, p->prealloc_ports);
	if (p->idle_s < 1 || p->idle_s > 86400)
		return error_set(err, ERR_INVALID, "snat.idle_s: must be 1 to 86400, got %u", p->idle_s);
	return 0;
}

static int validate_snat(struct vip_config *vip, struct error *err)
{
	if (vip->n_snat_dips > LIMIT_SNAT_DIPS_PER_VIP)
		return error_set(err, ERR_LIMIT, "snat.dips: at most %u DIPs, got %u", LIMIT_SNAT_DIPS_PER_VIP,
		                 vip->n_snat_dips);
	for (uint32_t i = 0; i < vip->n_snat_dips; i++)
		if (check_dip(vip, &vip->snat_dips[i], err) != 0)
			return error_prefix(err, "snat.dips[%u]: ", i);
	if (vip->n_snat_dips > 0)
		qsort(vip->snat_dips, vip->n_snat_dips, sizeof *vip->snat_dips, ip_addr_compare_items);
	for (uint32_t i = 1; i < vip->n_snat_dips; i++) {
		char text[IP_ADDR_TEXT_BYTES];
		if (ip_addr_equal(&vip->snat_dips[i - 1], &vip->snat_dips[i]))
			return error_set(err, ERR_INVALID, "snat.dips: %s is listed twice",
			                 ip_addr_format(&vip->snat_dips[i], text));
	}
	return validate_snat_policy(vip, err);
}

static int validate_http(struct probe *p, struct error *err)
{
	size_t n = strlen(p->path);
	for (size_t i = 0; i < n; i++)
		if (p->path[i] <= ' ' || p->path[i] > '~')
			return error_set(err, ERR_INVALID, "probe.path: character %zu is none of a URL's", i + 1);
	if (p->path[0] != '/')
		return error_set(err, ERR_INVALID, "probe.path: must begin with \"/\"");
	if (p->expect_min < 100 || p->expect_max > 599 || p->expect_min > p->expect_max)
		return error_set(err, ERR_INVALID, "probe.expect: must be like \"200-399\", between 100 and 599");
	return 0;
}

static int validate_probe(struct endpoint *e, struct error *err)
{
	struct probe *p = &e->probe;
	if (p->type == PROBE_NONE) {
		*p = (struct probe){ 0 };
		return 0;
	}
	if (p->type == PROBE_HTTP && validate_http(p, err) != 0)
		return err->code;
	if (p->type == PROBE_TCP) {
		memset(p->path, 0, sizeof p->path);
		p->expect_min = p->expect_max = 0;
	}
	if (e->protocol != PROTOCOL_TCP && p->port == 0)
		return error_set(err, ERR_INVALID, "probe.port: must be given for an endpoint that is not TCP");
	if (p->interval_ms < PROBE_INTERVAL_MIN_MS || p->interval_ms > PROBE_INTERVAL_MAX_MS)
		return error_set(err, ERR_INVALID, "probe.interval_ms: must be %u to %u, got %u", PROBE_INTERVAL_MIN_MS,
		                 PROBE_INTERVAL_MAX_MS, p->interval_ms);
	if (p->timeout_ms < 1 || p->timeout_ms > p->interval_ms)
		return error_set(err, ERR_INVALID, "probe.timeout_ms: must be 1 to %u (interval_ms), got %u", p->interval_ms,
		                 p->timeout_ms);
	if (p->up < 1 || p->up > PROBE_COUNT_MAX || p->down < 1 || p->down > PROBE_COUNT_MAX)
		return error_set(err, ERR_INVALID, "probe.up, probe.down: must be 1 to %u", PROBE_COUNT_MAX);
	return 0;
}

static int validate_endpoints(struct vip_config *vip, struct error *err)
{
	uint64_t n_dips = vip->n_snat_dips;
	if (vip->n_endpoints > LIMIT_ENDPOINTS_PER_VIP)
		return error_set(err, ERR_LIMIT, "endpoints: at most %u, got %u", LIMIT_ENDPOINTS_PER_VIP, vip->n_endpoints);
	for (uint32_t i = 0; i < vip->n_endpoints; i++) {
		struct endpoint *e = &vip->endpoints[i];
		if (!text_is_name(e->name))
			return error_set(err, ERR_INVALID, "endpoints[%u].name: must be 1 to 63 of A-Z a-z 0-9 . _ -", i);
		if (protocol_name(e->protocol) == NULL)
			return error_set(err, ERR_INVALID, "endpoints[%u].protocol: must be \"tcp\", \"udp\" or \"any\"", i);
		if (check_port(e, e->port, err) != 0)
			return error_prefix(err, "endpoints[%u].port: ", i);
		if (validate_endpoint_dips(vip, e, err) != 0 || validate_probe(e, err) != 0)
			return error_prefix(err, "endpoints[%u].", i);
		n_dips += e->n_dips;
	}
	if (n_dips > LIMIT_DIPS_PER_VIP)
		return error_set(err, ERR_LIMIT, "endpoints: at most %u DIPs in all lists of a VIP together, got %llu",
		                 LIMIT_DIPS_PER_VIP, (unsigned long long)n_dips);
	for (uint32_t i = 0; i < vip->n_endpoints; i++)
		for (uint32_t j = i + 1; j < vip->n_endpoints; j++)
			if (strcmp(vip->endpoints[i].name, vip->endpoints[j].name) == 0)
				return error_set(err, ERR_INVALID, "endpoints[%u].name: \"%s\" is the name of endpoints[%u] too", j,
				                 vip->endpoints[j].name, i);
	if (vip->n_endpoints > 0)
		qsort(vip->endpoints, vip->n_endpoints, sizeof *vip->endpoints, compare_endpoints);
	for (uint32_t i = 1; i < vip->n_endpoints; i++)
		if (compare_endpoints(&vip->endpoints[i - 1], &vip->endpoints[i]) == 0)
			return error_set(err, ERR_INVALID, "endpoints: %s port %u is defined twice (\"%s\" and \"%s\")",
			                 protocol_name(vip->endpoints[i].protocol), vip->endpoints[i].port,
			                 vip->endpoints[i - 1].name, vip->endpoints[i].name);
	return 0;
}

static int validate_idle(const char *field, uint32_t idle_s, struct error *err)
{
	if (idle_s != 0 && (idle_s < LIMIT_IDLE_MIN_S || idle_s > LIMIT_IDLE_S))
		return error_set(err, ERR_INVALID, "idle.%s: must be %u to %u, got %u", field, LIMIT_IDLE_MIN_S, LIMIT_IDLE_S,
		                 idle_s);
	return 0;
}

int vip_config_validate(struct vip_config *vip, struct error *err)
{
	char text[IP_ADDR_TEXT_BYTES];
	const char *problem = ip_addr_problem(&vip->vip);
	if (problem != NULL)
		return error_set(err, ERR_INVALID, "vip: %s is not an address that a service can have: %s",
		                 ip_addr_format(&vip->vip, text), problem);
	if (!text_is_name(vip->tenant))
		return error_set(err, ERR_INVALID, "tenant: must be 1 to 63 of A-Z a-z 0-9 . _ -");
	if (vip->drain_s == 0)
		vip->drain_s = DRAIN_DEFAULT_S;
	if (vip->drain_s > LIMIT_DRAIN_S)
		return error_set(err, ERR_INVALID, "drain_s: must be 1 to %u, got %u", LIMIT_DRAIN_S, vip->drain_s);
	if (vip->n_endpoints == 0 && vip->n_snat_dips == 0)
		return error_set(err, ERR_INVALID, "endpoints: must hold at least one endpoint, unless snat.dips does");
	int code = validate_idle("tcp_s", vip->idle_tcp_s, err);
	if (code == 0)
		code = validate_idle("udp_s", vip->idle_udp_s, err);
	if (code == 0)
		code = validate_endpoints(vip, err);
	return code != 0 ? code : validate_snat(vip, err);
}

static bool endpoint_equal(const struct endpoint *a, const struct endpoint *b)
{
	if (strcmp(a->name, b->name) != 0 || a->protocol != b->protocol || a->port != b->port || a->n_dips != b->n_dips ||
	    !probe_equal(&a->probe, &b->probe))
		return false;
	for (uint32_t i = 0; i < a->n_dips; i++) {
		const struct endpoint_dip *x = &a->dips[i];
		const struct endpoint_dip *y = &b->dips[i];
		if (!ip_addr_equal(&x->dip, &y->dip) || x->port != y->port || x->weight != y->weight)
			return false;
	}
	return true;
}

bool vip_config_equal(const struct vip_config *a, const struct vip_config *b)
{
	if (a->idle_tcp_s != b->idle_tcp_s || a->idle_udp_s != b->idle_udp_s)
		return false;
	if (a->drain_s != b->drain_s || a->refuses_when_down != b->refuses_when_down || !ip_addr_equal(&a->vip, &b->vip) ||
	    strcmp(a->tenant, b->tenant) != 0 || a->n_endpoints != b->n_endpoints || a->n_snat_dips != b->n_snat_dips)
		return false;
	for (uint32_t i = 0; i < a->n_endpoints; i++)
		if (!endpoint_equal(&a->endpoints[i], &b->endpoints[i]))
			return false;
	for (uint32_t i = 0; i < a->n_snat_dips; i++)
		if (!ip_addr_equal(&a->snat_dips[i], &b->snat_dips[i]))
			return false;
	return a->snat.range_size == b->snat.range_size && a->snat.first_port == b->snat.first_port &&
	       a->snat.prealloc_ports == b->snat.prealloc_ports && a->snat.max_ports_per_dip == b->snat.max_ports_per_dip &&
	       a->snat.idle_s == b->snat.idle_s;
}

const struct endpoint_dip *endpoint_lookup_dip(const struct endpoint *e, const struct ip_addr *dip)
{
	uint32_t low = 0;
	uint32_t high = e->n_dips;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		int order = ip_addr_compare(&e->dips[middle].dip, dip);
		if (order == 0)
			return &e->dips[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

bool vip_config_has_dip(const struct vip_config *vip, const struct ip_addr *dip)
{
	for (uint32_t i = 0; i < vip->n_endpoints; i++)
		if (endpoint_lookup_dip(&vip->endpoints[i], dip) != NULL)
			return true;
	for (uint32_t i = 0; i < vip->n_snat_dips; i++)
		if (ip_addr_equal(&vip->snat_dips[i], dip))
			return true;
	return false;
}

const struct endpoint *vip_config_lookup_endpoint(const struct vip_config *vip, uint8_t protocol, uint16_t port)
{
	uint32_t low = 0;
	uint32_t high = vip->n_endpoints;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		int order = compare_endpoint_keys(&vip->endpoints[middle], protocol, port);
		if (order == 0)
			return &vip->endpoints[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}
