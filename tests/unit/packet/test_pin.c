#include "common/packet/pin.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/support/packet_builder.h"
#include "tests/support/suite.h"

static const uint8_t key[SIPHASH_KEY_BYTES] = "a key of sixteen";
static const uint64_t cluster_id = 0x1122334455667788ull;

static struct pin_addr random_addr(unsigned *seed, bool is_ip6)
{
	uint8_t addr[16];
	for (uint32_t i = 0; i < 16; i++)
		addr[i] = (uint8_t)(rand_r(seed) >> 8);
	addr[0] = 0x20;
	return is_ip6 ? pin_addr_from_ip6(addr) : pin_addr_from_ip4(load32(addr));
}

static struct pin random_pin(unsigned *seed)
{
	bool is_ip6 = rand_r(seed) % 2 == 0;
	return (struct pin){
		.remote = random_addr(seed, is_ip6),
		.vip = random_addr(seed, is_ip6),
		.dip = random_addr(seed, is_ip6),
		.remote_port = (be16)rand_r(seed),
		.vip_port = (be16)rand_r(seed),
		.protocol = rand_r(seed) % 2 == 0 ? IP_PROTO_TCP : IP_PROTO_UDP,
	};
}

static struct pin_message random_message(unsigned *seed, uint32_t n_pins)
{
	struct pin_message m = { .cluster_id = cluster_id,
		                     .stamp_us = 1753000000000000ull + (unsigned)rand_r(seed),
		                     .sender = pin_addr_from_ip4(test_ip4("10.1.0.1")),
		                     .n_pins = n_pins };
	for (uint32_t i = 0; i < n_pins; i++)
		m.pins[i] = random_pin(seed);
	return m;
}

START_TEST(what_is_encoded_is_decoded)
{
	unsigned seed = (unsigned)time(NULL);
	for (uint32_t n = 1; n <= PINS_MAX; n++) {
		uint8_t data[PIN_MESSAGE_BYTES_MAX];
		struct pin_message m = random_message(&seed, n);
		struct pin_message back = { 0 };
		uint32_t n_bytes = pin_message_encode(&m, key, data);
		ck_assert_uint_eq(n_bytes, PIN_HEADER_BYTES + n * PIN_BYTES + PIN_TAG_BYTES);
		ck_assert(pin_message_is_well_formed(data, n_bytes, cluster_id));
		ck_assert(pin_message_is_authentic(data, n_bytes, &m.sender, key));
		pin_message_decode(data, &back);
		ck_assert_uint_eq(back.cluster_id, m.cluster_id);
		ck_assert_uint_eq(back.stamp_us, m.stamp_us);
		ck_assert(pin_addr_equal(&back.sender, &m.sender));
		ck_assert_uint_eq(back.n_pins, n);
		for (uint32_t i = 0; i < n; i++)
			ck_assert_msg(
				pin_addr_equal(&back.pins[i].remote, &m.pins[i].remote) &&
					pin_addr_equal(&back.pins[i].vip, &m.pins[i].vip) &&
					pin_addr_equal(&back.pins[i].dip, &m.pins[i].dip) && back.pins[i].protocol == m.pins[i].protocol &&
					back.pins[i].remote_port == m.pins[i].remote_port && back.pins[i].vip_port == m.pins[i].vip_port,
				"pin %u of %u, seed %u", i, n, seed);
	}
}
END_TEST

START_TEST(a_message_on_the_wire_never_changes) // agents and muxes of different versions talk to each other
{
	struct pin_message m = { .cluster_id = 0x0102030405060708ull,
		                     .stamp_us = 0x1112131415161718ull,
		                     .sender = pin_addr_from_ip4(test_ip4("10.1.0.1")),
		                     .n_pins = 1,
		                     .pins = { { .remote = pin_addr_from_ip4(test_ip4("198.51.100.7")),
		                                 .vip = pin_addr_from_ip4(test_ip4("203.0.113.10")),
		                                 .dip = pin_addr_from_ip4(test_ip4("10.1.1.11")),
		                                 .remote_port = be16_from(40000),
		                                 .vip_port = be16_from(80),
		                                 .protocol = IP_PROTO_TCP } } };
	// clang-format off
	static const uint8_t want[PIN_HEADER_BYTES + PIN_BYTES] = {
		'A', 'N', 'P', 'N', 2, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 0, 1,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 198, 51, 100, 7,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 203, 0, 113, 10,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 1, 11,
		0x9c, 0x40, 0, 80, 6, 0, 0, 0
	};
	// clang-format on
	uint8_t data[PIN_MESSAGE_BYTES_MAX];
	uint32_t n_bytes = pin_message_encode(&m, key, data);
	ck_assert_uint_eq(n_bytes, sizeof want + PIN_TAG_BYTES);
	ck_assert_mem_eq(data, want, sizeof want);
	ck_assert_uint_eq(__builtin_bswap64(load64(data + sizeof want)), siphash24(key, want, sizeof want));
}
END_TEST

START_TEST(every_length_but_its_own_is_malformed)
{
	unsigned seed = 1;
	uint8_t data[PIN_MESSAGE_BYTES_MAX + 1] = { 0 };
	struct pin_message m = random_message(&seed, 3);
	uint32_t n_bytes = pin_message_encode(&m, key, data);
	for (uint32_t n = 0; n <= sizeof data; n++) {
		uint8_t *exact = malloc(n); // its end is the end of its memory: ASan sees a byte beyond
		memcpy(exact, data, n);
		ck_assert_int_eq(pin_message_is_well_formed(exact, n, cluster_id), n == n_bytes);
		free(exact);
	}
}
END_TEST

static bool is_malformed_with(uint32_t offset, uint8_t value)
{
	unsigned seed = 1;
	uint8_t data[PIN_MESSAGE_BYTES_MAX];
	struct pin_message m = random_message(&seed, 2);
	uint32_t n_bytes = pin_message_encode(&m, key, data);
	data[offset] = value;
	return !pin_message_is_well_formed(data, n_bytes, cluster_id);
}

START_TEST(what_is_no_message_of_this_cluster_is_malformed)
{
	static const struct {
		const char *what;
		uint32_t offset;
		uint8_t value;
	} cases[] = {
		{ "magic", 0, 'B' },
		{ "version 0", 4, 0 },
		{ "version 1", 4, 1 },
		{ "version 3", 4, 3 },
		{ "no pins", 5, 0 },
		{ "one pin more", 5, 3 },
		{ "21 pins", 5, 21 },
		{ "255 pins", 5, 255 },
		{ "not zero", 6, 1 },
		{ "not zero", 7, 1 },
		{ "another cluster", 15, 0x89 },
		{ "ICMP", PIN_HEADER_BYTES + 52, IP_PROTO_ICMP },
		{ "protocol 0 in the second", PIN_HEADER_BYTES + PIN_BYTES + 52, 0 },
		{ "not zero in the first", PIN_HEADER_BYTES + 53, 1 },
		{ "not zero in the second", PIN_HEADER_BYTES + PIN_BYTES + 55, 1 },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		ck_assert_msg(is_malformed_with(cases[i].offset, cases[i].value), "%s", cases[i].what);
	ck_assert(!is_malformed_with(4, 2));
}
END_TEST

START_TEST(a_message_with_one_bit_changed_is_not_authentic)
{
	unsigned seed = 2;
	uint8_t data[PIN_MESSAGE_BYTES_MAX];
	struct pin_message m = random_message(&seed, 2);
	uint32_t n_bytes = pin_message_encode(&m, key, data);
	for (uint32_t bit = 0; bit < 8 * n_bytes; bit++) {
		data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		ck_assert_msg(!pin_message_is_authentic(data, n_bytes, &m.sender, key), "bit %u", bit);
		data[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	ck_assert(pin_message_is_authentic(data, n_bytes, &m.sender, key));
}
END_TEST

START_TEST(another_key_and_another_sender_are_not_authentic)
{
	unsigned seed = 3;
	uint8_t data[PIN_MESSAGE_BYTES_MAX];
	uint8_t other[SIPHASH_KEY_BYTES] = { 0 };
	struct pin_message m = random_message(&seed, 1);
	uint32_t n_bytes = pin_message_encode(&m, key, data);
	ck_assert(!pin_message_is_authentic(data, n_bytes, &m.sender, other));
	struct pin_addr sender = pin_addr_from_ip4(test_ip4("10.1.0.2"));
	ck_assert(!pin_message_is_authentic(data, n_bytes, &sender, key));
	for (uint32_t i = 0; i < sizeof sender.bytes; i++) { // every byte of an address counts
		sender = m.sender;
		sender.bytes[i] ^= 1;
		ck_assert(!pin_message_is_authentic(data, n_bytes, &sender, key));
	}
}
END_TEST

START_TEST(a_pin_of_two_families_is_malformed)
{
	unsigned seed = 4;
	uint8_t addr[16] = { 0x20, 1, 0x0d, 0xb8 };
	uint8_t data[PIN_MESSAGE_BYTES_MAX];
	for (int i = 0; i < 3; i++) {
		struct pin_message m = random_message(&seed, 1);
		struct pin *p = &m.pins[0];
		p->remote = p->vip = p->dip = pin_addr_from_ip4(test_ip4("10.1.0.1"));
		*(i == 0 ? &p->remote : i == 1 ? &p->vip : &p->dip) = pin_addr_from_ip6(addr);
		uint32_t n_bytes = pin_message_encode(&m, key, data);
		ck_assert_msg(!pin_message_is_well_formed(data, n_bytes, cluster_id), "the other one is number %d", i);
	}
}
END_TEST

START_TEST(the_largest_message_fits_into_every_way)
{
	ck_assert_uint_le(PIN_MESSAGE_BYTES_MAX, IP6_MTU_MIN - IP6_BYTES - sizeof(struct udp_header));
}
END_TEST

SUITE_MAIN("pin", what_is_encoded_is_decoded, a_message_on_the_wire_never_changes,
           every_length_but_its_own_is_malformed, what_is_no_message_of_this_cluster_is_malformed,
           a_message_with_one_bit_changed_is_not_authentic, another_key_and_another_sender_are_not_authentic,
           a_pin_of_two_families_is_malformed, the_largest_message_fits_into_every_way)
