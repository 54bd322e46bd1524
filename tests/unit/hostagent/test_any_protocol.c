// Protocols without ports, through an endpoint for all of them: flows by addresses and protocol, and what is rewritten.
#include "common/base/memory.h"
#include "common/packet/checksum.h"
#include "hostagent/core/chain.h"
#include "tests/support/suite.h"
#include "tests/unit/hostagent/fixture.h"
#include "tests/unit/hostagent/flow_block.h"

#define CLIENT "198.51.100.7"
#define VIP "203.0.113.10"
#define MUX "10.0.0.31"
#define HOST2 "10.0.0.22"
#define ESP 50
#define GRE 47
#define SCTP 132

static struct agent_fixture f;

static void add_endpoint(struct vip_config *vip)
{
	vip->endpoints = memory_resize(vip->endpoints, vip->n_endpoints + 1, sizeof *vip->endpoints);
	struct endpoint *e = &vip->endpoints[vip->n_endpoints++];
	*e = (struct endpoint){ .name = "rest", .protocol = IP_PROTO_ANY, .n_dips = 1 };
	e->dips = memory_array(1, sizeof *e->dips);
	e->dips[0] = (struct endpoint_dip){ .dip = test_addr("10.1.1.11"), .weight = 1 };
}

static void set_up(void)
{
	fixture_init(&f, 64);
	struct vip_config *vip = vip_config_clone(store_vip(&f.store, 0));
	add_endpoint(vip);
	fixture_change(&f, test_put_vip(vip));
}

// The checksum of UDP-Lite over all of it, and of DCCP, as receivers compute it: 0 when it is right.
static uint16_t pseudo_sum(const uint8_t *frame)
{
	const struct ip4_header *ip = (const struct ip4_header *)(frame + ETH_BYTES);
	uint32_t n = be16_to(ip->total_length) - (uint32_t)IP4_BYTES;
	uint32_t sum = checksum_add(&ip->src, 8, be16_from(ip->protocol) + (uint32_t)be16_from((uint16_t)n));
	return (uint16_t)~checksum_fold(checksum_add(ip + 1, n, sum));
}

static void set_sum(struct test_frame *frame)
{
	uint8_t *sum = test_data(frame) + ETH_BYTES + IP4_BYTES + 6;
	store16(sum, 0);
	store16(sum, pseudo_sum(test_data(frame)));
}

static bool has_sum(uint8_t protocol)
{
	return protocol == IP_PROTO_UDPLITE || protocol == IP_PROTO_DCCP;
}

static struct test_frame packet(const struct test_tuple *t, uint8_t protocol)
{
	static const uint8_t payload[] = { 0x9c, 0x40, 0x00, 0x50, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 };
	struct test_frame frame = test_ip_proto(t, protocol, payload, sizeof payload);
	if (has_sum(protocol))
		set_sum(&frame);
	return frame;
}

static struct test_frame from_client(uint8_t protocol)
{
	struct test_tuple t = { .src = CLIENT, .dst = VIP };
	return packet(&t, protocol);
}

static struct test_frame from_vm(uint8_t protocol, const char *to)
{
	struct test_tuple t = vm_tuple("10.1.1.11", 0, to, 0);
	return packet(&t, protocol);
}

// What is not the address and the checksum that covers it is as it was.
static void must_be_rewritten(const struct agent_packet *p, const struct test_frame *was, const char *src,
                              const char *dst)
{
	struct test_frame before = *was;
	const struct ip4_header *ip = (const struct ip4_header *)(p->frame + ETH_BYTES);
	ck_assert_uint_eq(p->len, before.len);
	ck_assert_uint_eq(ip->src, test_ip4(src));
	ck_assert_uint_eq(ip->dst, test_ip4(dst));
	ck_assert_uint_eq(checksum_compute(ip, IP4_BYTES), 0);
	uint8_t *payload = test_data(&before) + ETH_BYTES + IP4_BYTES;
	if (has_sum(ip->protocol)) {
		ck_assert_uint_eq(pseudo_sum(p->frame), 0);
		memcpy(payload + 6, p->frame + ETH_BYTES + IP4_BYTES + 6, 2);
	}
	ck_assert_int_eq(memcmp(payload, p->frame + ETH_BYTES + IP4_BYTES, p->len - ETH_BYTES - IP4_BYTES), 0);
}

START_TEST(every_protocol_comes_in_and_its_replies_leave_with_the_vip)
{
	static const uint8_t protocols[] = { IP_PROTO_UDPLITE, IP_PROTO_DCCP, SCTP, ESP, GRE, 253 };
	set_up();
	for (uint32_t i = 0; i < sizeof protocols; i++) {
		struct test_frame inner = from_client(protocols[i]);
		struct test_frame frame = fixture_encapsulate(MUX, "10.1.1.11", &inner);
		struct agent_packet p = fixture_inbound(&f, &frame);
		ck_assert_int_eq(p.verdict, AGENT_TO_VM);
		must_be_rewritten(&p, &inner, CLIENT, "10.1.1.11");
		ck_assert_uint_eq(f.agent.flows.n_flows, i + 1);
		frame = inner = from_vm(protocols[i], CLIENT);
		p = fixture_outbound(&f, 0, &frame);
		ck_assert_int_eq(p.verdict, AGENT_TO_UPLINK);
		must_be_rewritten(&p, &inner, VIP, CLIENT);
	}
	ck_assert_uint_eq(f.agent.counters.outbound_packets, sizeof protocols);
	fixture_pass(&f, 299);
	ck_assert_uint_eq(f.agent.flows.n_flows, sizeof protocols);
	fixture_pass(&f, 1);
	ck_assert_uint_eq(f.agent.flows.n_flows, 0);
	fixture_fini(&f);
}
END_TEST

START_TEST(what_has_no_such_flow_is_as_before)
{
	char text[400];
	fixture_init(&f, 64);
	struct test_frame inner = from_client(GRE);
	struct test_frame frame = fixture_encapsulate(MUX, "10.1.1.11", &inner);
	struct agent_packet p = fixture_inbound(&f, &frame);
	ck_assert_str_eq(fixture_text(&p, text, sizeof text), "drop encap_no_endpoint"); // there is no endpoint for it
	frame = from_vm(GRE, CLIENT);
	ck_assert_int_eq(fixture_outbound(&f, 0, &frame).verdict, AGENT_TO_UPLINK);
	ck_assert_uint_eq(f.agent.counters.outbound_plain_packets, 1);
	fixture_add_snat(&f, NULL);
	frame = from_vm(GRE, CLIENT);
	ck_assert_int_eq(fixture_outbound(&f, 0, &frame).reason, DROP_SNAT_UNSUPPORTED);
	fixture_fini(&f);
	set_up();
	frame = from_vm(GRE, CLIENT); // begun by the VM: it is not the VIP's
	ck_assert_int_eq(fixture_outbound(&f, 0, &frame).verdict, AGENT_TO_UPLINK);
	ck_assert_uint_eq(f.agent.counters.outbound_plain_packets, 1);
	struct test_tuple t = { .src = CLIENT, .dst = VIP, .src_port = 1, .dst_port = 9999 };
	inner = test_tcp(&t, TCP_SYN, NULL, 0); // TCP, UDP and ICMP are not of "all others"
	frame = fixture_encapsulate(MUX, "10.1.1.11", &inner);
	ck_assert_int_eq(fixture_inbound(&f, &frame).reason, DROP_ENCAP_NO_ENDPOINT);
	struct test_frame tunnel = fixture_encapsulate(CLIENT, VIP, &inner);
	frame = fixture_encapsulate(MUX, "10.1.1.11", &tunnel);
	ck_assert_int_eq(fixture_inbound(&f, &frame).reason, DROP_ENCAP_NO_ENDPOINT);
	fixture_fini(&f);
}
END_TEST

START_TEST(a_checksum_that_is_not_there_is_not_touched)
{
	set_up();
	for (uint32_t n = 0; n < 8; n++) {
		struct test_tuple t = { .src = CLIENT, .dst = VIP };
		struct test_frame inner = test_ip_proto(&t, IP_PROTO_UDPLITE, "1234567", n);
		struct test_frame frame = fixture_encapsulate(MUX, "10.1.1.11", &inner);
		ck_assert_int_eq(fixture_inbound(&f, &frame).reason, DROP_L4_LENGTH);
	}
	ck_assert_uint_eq(f.agent.flows.n_flows, 0);
	fixture_fini(&f);
}
END_TEST

// Fragmentation needed about the VM's ESP: the packet inside becomes the VM's, and the MTU stays what the router said.
START_TEST(an_error_about_such_a_flow_reaches_its_vm)
{
	static const uint8_t protocols[] = { ESP, IP_PROTO_UDPLITE };
	for (uint32_t i = 0; i < 2; i++) {
		set_up();
		struct test_frame inner = from_client(protocols[i]);
		struct test_frame frame = fixture_encapsulate(MUX, "10.1.1.11", &inner);
		ck_assert_int_eq(fixture_inbound(&f, &frame).verdict, AGENT_TO_VM);
		struct test_frame sent = from_vm(protocols[i], CLIENT);
		struct agent_packet out = fixture_outbound(&f, 0, &sent);
		struct test_frame left = sent;
		left.len = out.len;
		memcpy(test_data(&left), out.frame, out.len);
		struct test_tuple router = { .src = "192.0.2.1", .dst = VIP };
		struct test_frame error = test_icmp_error(&router, ICMP_UNREACHABLE, 4, &left, UINT32_MAX);
		frame = fixture_encapsulate(MUX, "10.1.1.11", &error);
		struct agent_packet p = fixture_inbound(&f, &frame);
		ck_assert_int_eq(p.verdict, AGENT_TO_VM);
		ck_assert(test_checksums_ok(p.frame, p.len, NULL));
		struct test_frame original = from_vm(protocols[i], CLIENT);
		ck_assert_int_eq(
			memcmp(p.frame + ETH_BYTES + IP4_BYTES + 8, test_data(&original) + ETH_BYTES, original.len - ETH_BYTES), 0);
		fixture_fini(&f);
	}
}
END_TEST

START_TEST(a_flow_of_another_protocol_is_found_by_the_chain_and_outlives_the_process)
{
	static const char *const any[] = { "10.1.2.11", "10.1.1.11", NULL };
	set_up();
	struct test_frame inner = from_client(ESP);
	struct test_frame frame = fixture_encapsulate(MUX, "10.1.1.11", &inner);
	ck_assert_int_eq(fixture_inbound(&f, &frame).verdict, AGENT_TO_VM);
	fixture_change(&f, fixture_cluster());
	fixture_change(&f, fixture_history(VIP, IP_PROTO_ANY, 0, any));
	inner = from_client(GRE); // not known: to the other owner
	frame = fixture_encapsulate(MUX, "10.1.1.11", &inner);
	struct agent_packet p = fixture_inbound(&f, &frame);
	ck_assert_int_eq(p.verdict, AGENT_TO_UPLINK);
	ck_assert_uint_eq(((const struct ip4_header *)(p.frame + ETH_BYTES))->dst, test_ip4("10.1.2.11"));
	struct flow_table again;
	ck_assert_int_eq(flow_table_attach(&again, f.block, flow_table_bytes(64), 64, TEST_OWNER, NULL, at_s(1001), NULL),
	                 0);
	agent_use_flows(&f.agent, &again);
	inner = from_client(ESP);
	frame = fixture_encapsulate(MUX, "10.1.1.11", &inner);
	ck_assert_int_eq(fixture_inbound(&f, &frame).verdict, AGENT_TO_VM);
	ck_assert_uint_eq(agent_pins_begin(&f.agent, 1700000000000000), 0);
	inner = from_client(ESP); // by a detour: a mux may send it straight
	frame = fixture_encapsulate(HOST2, "10.1.1.11", &inner);
	struct ip4_header *outer = (struct ip4_header *)(test_data(&frame) + ETH_BYTES);
	outer->checksum = checksum_update16(outer->checksum, outer->id, be16_from(CHAIN_MARK | 1));
	outer->id = be16_from(CHAIN_MARK | 1);
	ck_assert_int_eq(fixture_inbound(&f, &frame).verdict, AGENT_TO_VM);
	ck_assert_uint_eq(f.agent.counters.chain_delivered, 1);
	ck_assert_uint_eq(agent_pins_begin(&f.agent, 1700000000000001), 1);
	fixture_fini(&f);
}
END_TEST

SUITE_MAIN("agent any protocol", every_protocol_comes_in_and_its_replies_leave_with_the_vip,
           what_has_no_such_flow_is_as_before, a_checksum_that_is_not_there_is_not_touched,
           an_error_about_such_a_flow_reaches_its_vm,
           a_flow_of_another_protocol_is_found_by_the_chain_and_outlives_the_process)
