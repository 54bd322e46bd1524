// Stores with probes, for tests: VIPs 203.0.113.1 and on, with endpoints that say what they probe.
#pragma once

#include "common/base/check.h"
#include "common/base/memory.h"
#include "common/model/store.h"
#include "tests/support/vip_builder.h"

static inline void probe_store_apply(struct store *s, struct change c)
{
	CHECK(store_apply(s, &c) == 0);
	change_fini(&c);
	s->version++;
}

// A VIP without endpoints, of at most n of them.
static inline struct vip_config *probe_vip(const char *addr, uint32_t n)
{
	struct vip_config *v = memory_array(1, sizeof *v);
	v->vip = test_addr(addr);
	CHECK(text_copy(v->tenant, sizeof v->tenant, "shop"));
	v->endpoints = memory_array(n, sizeof *v->endpoints);
	v->snat_dips = memory_array(0, sizeof *v->snat_dips);
	return v;
}

// Adds the TCP endpoint `port`, with one DIP at port 8080, and its probe.
static inline void probe_vip_add(struct vip_config *v, uint16_t port, const char *dip, const struct probe *probe)
{
	struct endpoint *e = &v->endpoints[v->n_endpoints++];
	text_format(e->name, sizeof e->name, "e%u", port);
	e->protocol = 6;
	e->port = port;
	e->probe = *probe;
	e->n_dips = 1;
	e->dips = memory_array(1, sizeof *e->dips);
	e->dips[0] = (struct endpoint_dip){ .dip = test_addr(dip), .port = 8080, .weight = 1 };
}

static inline void probe_store_put_vip(struct store *s, struct vip_config *v)
{
	CHECK(vip_config_validate(v, NULL) == 0);
	probe_store_apply(s, test_put_vip(v));
}
