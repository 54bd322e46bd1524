#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/memory.h"
#include "tests/golden/table.h"
#include "tests/unit/hostagent/fixture.h"

#define N_FLOWS 256

struct agent_world {
	struct agent_fixture f;
	struct test_frame held[AGENT_FRAGMENT_SLOTS];
};

static void *create(void)
{
	struct agent_world *w = memory_array(1, sizeof *w);
	CHECK(w != NULL);
	fixture_init(&w->f, N_FLOWS);
	w->f.agent.port_is_open[0] = w->f.agent.port_is_open[1] = true;
	return w;
}

static void destroy(void *world)
{
	struct agent_world *w = world;
	fixture_fini(&w->f);
	memory_free(w);
}

// "snat": the VIPs with SNAT, and one port of the first leased to the first VM, so that what it gets can be written down.
static bool set(void *world, const char *words)
{
	struct agent_fixture *f = &((struct agent_world *)world)->f;
	unsigned seconds;
	if (strcmp(words, "snat") == 0) {
		fixture_add_snat(f, NULL);
		fixture_lease(f, "203.0.113.20", "10.1.1.11", 2048, 8, 1);
	} else if (strcmp(words, "ip6") == 0) {
		fixture_add_ip6(f);
	} else if (strcmp(words, "snat6") == 0) {
		fixture_add_snat(f, NULL);
		fixture_add_snat6(f, NULL);
		fixture_lease(f, fixture_ip6("203.0.113.20"), fixture_ip6("10.1.1.11"), 2048, 8, 1);
	} else if (strcmp(words, "via") == 0) {
		fixture_add_vias(f);
	} else if (sscanf(words, "pass %u", &seconds) == 1) {
		fixture_pass(f, seconds);
	} else if (strcmp(words, "vm0 closed") == 0) {
		f->agent.port_is_open[0] = false;
	} else if (strcmp(words, "proxy arp") == 0) {
		f->agent.settings.proxy_arp = true;
	} else {
		return false;
	}
	return true;
}

static bool vm_port(const struct mac *vm, bool is_out, struct notation_port *ret_port)
{
	*ret_port = is_out ? (struct notation_port){ .from = FIXTURE_GATEWAY_MAC, .to = *vm }
	                   : (struct notation_port){ .from = *vm, .to = FIXTURE_GATEWAY_MAC };
	return true;
}

static bool port(const char *name, bool is_out, struct notation_port *ret_port)
{
	if (strcmp(name, "vm0") == 0)
		return vm_port(&FIXTURE_VM1_MAC, is_out, ret_port);
	if (strcmp(name, "vm1") == 0)
		return vm_port(&FIXTURE_VM2_MAC, is_out, ret_port);
	if (strcmp(name, "uplink") == 0 && is_out)
		*ret_port = (struct notation_port){ .from = TEST_MAC_B, .to = TEST_MAC_A };
	else if (strcmp(name, "uplink") == 0 || (is_out && strcmp(name, "tap") == 0))
		*ret_port = (struct notation_port){ .from = TEST_MAC_A, .to = TEST_MAC_B };
	else
		return false;
	return true;
}

static const char *outcome(const struct agent_packet *p, struct test_frame *ret_out)
{
	static __thread char text[64];
	if (p->verdict == AGENT_DROP) {
		(void)text_format(text, sizeof text, "drop %s", drop_reason_name(p->reason));
		return text;
	}
	if (p->verdict == AGENT_HOLD || p->verdict == AGENT_HOLD_FRAGMENT)
		return "hold";
	ret_out->offset = TEST_HEADROOM;
	ret_out->len = p->len;
	CHECK(p->len <= TEST_FRAME_BYTES);
	memcpy(test_data(ret_out), p->frame, p->len);
	if (p->verdict == AGENT_TO_VM) {
		(void)text_format(text, sizeof text, "vm%u", p->port);
		return text;
	}
	return p->verdict == AGENT_TO_TAP ? "tap" : "uplink";
}

static const char *send(void *world, const char *name, struct test_frame *frame, struct test_frame *ret_out)
{
	struct agent_world *w = world;
	struct agent_packet p = strcmp(name, "uplink") == 0 ? fixture_inbound(&w->f, frame)
	                                                    : fixture_outbound(&w->f, (uint16_t)(name[2] - '0'), frame);
	if (p.verdict == AGENT_HOLD_FRAGMENT) {
		w->held[p.hold_slot] = *frame;
		w->f.held[p.hold_slot].frame = test_data(&w->held[p.hold_slot]);
	}
	return outcome(&p, ret_out);
}

static const char *next(void *world, struct test_frame *ret_out)
{
	struct agent_world *w = world;
	struct agent_packet p;
	return fixture_next_fragment(&w->f, &p) ? outcome(&p, ret_out) : NULL;
}

const struct golden_world golden_world = {
	.name = "agent", .create = create, .destroy = destroy, .set = set, .port = port, .send = send, .next = next
};
