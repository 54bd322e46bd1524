#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/memory.h"
#include "tests/golden/table.h"
#include "tests/unit/mux/fixture.h"

static const char VIP[] = "203.0.113.10";
static const char SNAT_VIP[] = "203.0.113.20";
static const char ANY_VIP[] = "203.0.113.30";
static const char VIP6[] = "2001:db8::203:0:113:10";
static const char SNAT_VIP6[] = "2001:db8::203:0:113:20";

static void fill_endpoint(struct endpoint *e, const char *name, uint8_t protocol, uint16_t port, const char *dip)
{
	CHECK(text_copy(e->name, sizeof e->name, name));
	e->protocol = protocol;
	e->port = port;
	e->n_dips = 1;
	e->dips = memory_array(1, sizeof *e->dips);
	e->dips[0] = (struct endpoint_dip){ .dip = test_addr(dip), .port = 8080, .weight = 1 };
}

static struct vip_config *make_vip(const char *addr, uint32_t n_endpoints, const char *snat_dip)
{
	struct vip_config *v = memory_array(1, sizeof *v);
	v->vip = test_addr(addr);
	CHECK(text_copy(v->tenant, sizeof v->tenant, "shop"));
	v->n_endpoints = n_endpoints;
	v->endpoints = memory_array(n_endpoints, sizeof *v->endpoints);
	v->n_snat_dips = snat_dip != NULL;
	v->snat_dips = memory_array(1, sizeof *v->snat_dips);
	if (snat_dip != NULL)
		v->snat_dips[0] = test_addr(snat_dip);
	return v;
}

static void put_valid(struct fixture *f, struct vip_config *vip)
{
	CHECK(vip_config_validate(vip, NULL) == 0);
	fixture_put_vip(f, vip);
}

// All of it a second time over IPv6.
static void put_vips6(struct fixture *f)
{
	struct vip_config *vip = make_vip(VIP6, 3, NULL);
	fill_endpoint(&vip->endpoints[0], "web", IP_PROTO_TCP, 80, "2001:db8::10:1:1:11");
	fill_endpoint(&vip->endpoints[1], "dns", IP_PROTO_UDP, 53, "2001:db8::10:1:1:12");
	fill_endpoint(&vip->endpoints[2], "rest", IP_PROTO_ANY, 0, "2001:db8::10:1:1:12");
	vip->endpoints[2].dips[0].port = 0;
	put_valid(f, vip);
	put_valid(f, make_vip(SNAT_VIP6, 0, "2001:db8::10:1:1:13"));
	fixture_lease(f, SNAT_VIP6, "2001:db8::10:1:1:13", 2048, 8);
}

static void *create(void)
{
	struct fixture *f = fixture_create(MUX_ADDRESS);
	struct vip_config *vip = make_vip(VIP, 2, NULL);
	fill_endpoint(&vip->endpoints[0], "web", IP_PROTO_TCP, 80, "10.1.1.11");
	fill_endpoint(&vip->endpoints[1], "dns", IP_PROTO_UDP, 53, "10.1.1.12");
	CHECK(vip_config_validate(vip, NULL) == 0);
	fixture_put_vip(f, vip);
	put_valid(f, make_vip(SNAT_VIP, 0, "10.1.1.13"));
	fixture_lease(f, SNAT_VIP, "10.1.1.13", 2048, 8);
	return f;
}

static void destroy(void *world)
{
	fixture_destroy(world);
}

static bool set(void *world, const char *words)
{
	struct fixture *f = world;
	unsigned seconds;
	if (strcmp(words, "ip6") == 0) {
		put_vips6(f);
	} else if (strcmp(words, "via") == 0) {
		fixture_put_via(f, "10.1.1.11", "2001:db8::10:2:1:11");
		fixture_put_via(f, "2001:db8::10:1:1:11", "10.2.1.11");
	} else if (strcmp(words, "no gateway") == 0) {
		neighbor_table_init(&f->worker.neighbors, &MUX_MAC, f->worker.settings.address);
		neighbor_table_init6(&f->worker.neighbors6, &MUX_MAC, f->worker.settings.address6);
	} else if (strcmp(words, "mtu 1500") == 0)
		f->worker.settings.mtu = 1500;
	else if (strcmp(words, "any") == 0) {
		struct vip_config *vip = make_vip(ANY_VIP, 2, "10.1.1.13");
		fill_endpoint(&vip->endpoints[0], "web", IP_PROTO_TCP, 80, "10.1.1.11");
		fill_endpoint(&vip->endpoints[1], "rest", IP_PROTO_ANY, 0, "10.1.1.12");
		vip->endpoints[1].dips[0].port = 0;
		CHECK(vip_config_validate(vip, NULL) == 0);
		fixture_put_vip(f, vip);
	} else if (strcmp(words, "oversized drop") == 0)
		f->worker.settings.oversized = MUX_OVERSIZED_DROP;
	else if (strcmp(words, "errors spent") == 0)
		while (token_bucket_take(&f->worker.icmp_errors, f->worker.now))
			;
	else if (sscanf(words, "pass %u", &seconds) == 1) {
		f->worker.now = mono_add_us(f->worker.now, seconds * 1000000ull);
		side_frames_expire(&f->worker);
	} else
		return false;
	return true;
}

static bool port(const char *name, bool is_out, struct notation_port *ret_port)
{
	if (strcmp(name, "uplink") == 0)
		*ret_port = is_out ? (struct notation_port){ .from = MUX_MAC, .to = GATEWAY_MAC }
		                   : (struct notation_port){ .from = GATEWAY_MAC, .to = MUX_MAC };
	else if (is_out && strcmp(name, "tap") == 0)
		*ret_port = (struct notation_port){ .from = GATEWAY_MAC, .to = MUX_MAC };
	else
		return false;
	return true;
}

static const char *outcome(const struct mux_frame *m, struct test_frame *ret_out)
{
	static __thread char text[64];
	if (m->verdict == MUX_DROP) {
		(void)text_format(text, sizeof text, "drop %s", drop_reason_name((enum drop_reason)m->reason));
		return text;
	}
	if (m->verdict == MUX_CONSUMED)
		return "consumed";
	if (m->verdict == MUX_HELD)
		return "hold";
	ret_out->offset = TEST_HEADROOM;
	ret_out->len = m->len;
	CHECK(m->len <= TEST_FRAME_BYTES);
	memcpy(test_data(ret_out), m->data, m->len);
	return m->verdict == MUX_TO_TAP ? "tap" : "uplink";
}

static const char *send(void *world, const char *name, struct test_frame *frame, struct test_frame *ret_out)
{
	(void)name;
	struct mux_frame m = fixture_send(world, frame);
	return outcome(&m, ret_out);
}

static const char *next(void *world, struct test_frame *ret_out)
{
	struct side_frame f;
	return fixture_next(world, &f) ? outcome(&f.frame, ret_out) : NULL;
}

const struct golden_world golden_world = {
	.name = "mux", .create = create, .destroy = destroy, .set = set, .port = port, .send = send, .next = next
};
