#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/memory.h"
#include "tests/golden/table.h"
#include "tests/unit/hostagent/fixture.h"

#define N_FLOWS 256

static void *create(void)
{
	struct agent_fixture *f = memory_array(1, sizeof *f);
	CHECK(f != NULL);
	fixture_init(f, N_FLOWS);
	f->agent.port_is_open[0] = f->agent.port_is_open[1] = true;
	return f;
}

static void destroy(void *world)
{
	fixture_fini(world);
	memory_free(world);
}

// "snat": the VIPs with SNAT, and one port of the first leased to the first VM, so that what it gets can be written down.
static bool set(void *world, const char *words)
{
	struct agent_fixture *f = world;
	unsigned seconds;
	if (strcmp(words, "snat") == 0) {
		fixture_add_snat(f, NULL);
		fixture_lease(f, "203.0.113.20", "10.1.1.11", 2048, 8, 1);
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

static const char *send(void *world, const char *name, struct test_frame *frame, struct test_frame *ret_out)
{
	static __thread char text[64];
	struct agent_packet p = strcmp(name, "uplink") == 0 ? fixture_inbound(world, frame)
	                                                    : fixture_outbound(world, (uint16_t)(name[2] - '0'), frame);
	if (p.verdict == AGENT_DROP) {
		(void)text_format(text, sizeof text, "drop %s", drop_reason_name(p.reason));
		return text;
	}
	if (p.verdict == AGENT_HOLD || p.verdict == AGENT_HOLD_FRAGMENT)
		return "hold";
	ret_out->offset = TEST_HEADROOM;
	ret_out->len = p.len;
	CHECK(p.len <= TEST_FRAME_BYTES);
	memcpy(test_data(ret_out), p.frame, p.len);
	if (p.verdict == AGENT_TO_VM) {
		(void)text_format(text, sizeof text, "vm%u", p.port);
		return text;
	}
	return p.verdict == AGENT_TO_TAP ? "tap" : "uplink";
}

const struct golden_world golden_world = {
	.name = "agent", .create = create, .destroy = destroy, .set = set, .port = port, .send = send
};
