#include "tests/support/vip_builder.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/memory.h"

struct ip_addr test_addr(const char *text)
{
	struct ip_addr addr;
	CHECK(ip_addr_parse(text, &addr, NULL) == 0);
	return addr;
}

struct vip_config *test_vip(const char *vip, const char *tenant, const char *const *dips)
{
	struct vip_config *v = memory_array(1, sizeof *v);
	uint32_t n = 0;
	while (dips[n] != NULL)
		n++;
	v->vip = test_addr(vip);
	CHECK(text_copy(v->tenant, sizeof v->tenant, tenant));
	v->n_endpoints = 1;
	v->endpoints = memory_array(1, sizeof *v->endpoints);
	v->snat_dips = memory_array(0, sizeof *v->snat_dips);
	struct endpoint *e = &v->endpoints[0];
	CHECK(text_copy(e->name, sizeof e->name, "web"));
	e->protocol = 6;
	e->port = 80;
	e->n_dips = n;
	e->dips = memory_array(n, sizeof *e->dips);
	for (uint32_t i = 0; i < n; i++)
		e->dips[i] = (struct endpoint_dip){ .dip = test_addr(dips[i]), .port = 8080, .weight = 1 };
	return v;
}

static unsigned pick(unsigned *seed, unsigned n)
{
	return (unsigned)rand_r(seed) % n;
}

static struct ip_addr random_dip(unsigned *seed)
{
	uint8_t bytes[4] = { 10, 1, (uint8_t)pick(seed, 4), (uint8_t)(11 + pick(seed, 20)) };
	return ip_addr_from_v4(load32(bytes));
}

static void fill_endpoint(struct endpoint *e, unsigned *seed, unsigned i)
{
	text_format(e->name, sizeof e->name, "e%u", i);
	e->protocol = pick(seed, 2) == 0 ? 6 : 17;
	e->port = (uint16_t)(80 + i);
	e->dips = memory_array(8, sizeof *e->dips);
	unsigned want = 1 + pick(seed, 8);
	while (e->n_dips < want) {
		struct ip_addr dip = random_dip(seed);
		bool is_new = true;
		for (uint32_t k = 0; k < e->n_dips; k++)
			is_new = is_new && !ip_addr_equal(&e->dips[k].dip, &dip);
		if (is_new)
			e->dips[e->n_dips++] = (struct endpoint_dip){ .dip = dip,
				                                          .port = (uint16_t)(8000 + pick(seed, 100)),
				                                          .weight = (uint16_t)(1 + pick(seed, 5)) };
	}
}

struct vip_config *test_random_vip(unsigned *seed, unsigned n)
{
	uint8_t bytes[4] = { 203, 0, 113, (uint8_t)n };
	struct vip_config *v = memory_array(1, sizeof *v);
	v->vip = ip_addr_from_v4(load32(bytes));
	text_format(v->tenant, sizeof v->tenant, "tenant%u", n % 3);
	v->idle_tcp_s = n % 3 == 0 ? 600 + n : 0;
	v->idle_udp_s = n % 2 == 0 ? 60 + n : 0;
	v->n_endpoints = 1 + pick(seed, 4);
	v->endpoints = memory_array(v->n_endpoints, sizeof *v->endpoints);
	for (uint32_t i = 0; i < v->n_endpoints; i++)
		fill_endpoint(&v->endpoints[i], seed, i);
	v->n_snat_dips = pick(seed, 2);
	v->snat_dips = memory_array(1, sizeof *v->snat_dips);
	v->snat_dips[0] = random_dip(seed);
	CHECK(vip_config_validate(v, NULL) == 0);
	return v;
}

struct change test_put_vip(struct vip_config *vip)
{
	return (struct change){ .key = object_key_of_addr(OBJECT_VIP, &vip->vip), .vip = vip };
}

struct change test_delete(enum object_kind kind, const char *key)
{
	struct change c = { .is_delete = true };
	if (kind == OBJECT_VIP || kind == OBJECT_DIP) {
		struct ip_addr addr = test_addr(key);
		c.key = object_key_of_addr(kind, &addr);
	} else {
		c.key = object_key_of_name(kind, key);
	}
	return c;
}

struct change test_put_node(enum object_kind kind, const char *name, const char *addr)
{
	struct change c = { .key = object_key_of_name(kind, name), .node = { .addr = test_addr(addr) } };
	CHECK(text_copy(c.node.name, sizeof c.node.name, name));
	return c;
}

struct change test_put_dip(const char *dip, const char *host, const char *interface)
{
	struct ip_addr addr = test_addr(dip);
	struct change c = { .key = object_key_of_addr(OBJECT_DIP, &addr) };
	c.dip = (struct dip_info){ .dip = addr, .mac = { 2, 0, 0, addr.bytes[13], addr.bytes[14], addr.bytes[15] } };
	CHECK(text_copy(c.dip.host, sizeof c.dip.host, host));
	CHECK(text_copy(c.dip.interface, sizeof c.dip.interface, interface));
	text_format(c.dip.vm, sizeof c.dip.vm, "vm-%s", interface);
	return c;
}
