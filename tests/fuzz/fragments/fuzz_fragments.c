// Any sequence of IP headers as fragments, 12 bytes each: { id, flags and offset, total length, protocol, address, time, what the
// first one decides, whether to take out what waits no more (bit 0) and whether it is IPv6 (bit 1), with zeros behind the headers but
// for an extension header when bit 2 is set }. No slot is given twice or lost, and what is released goes where its own first one went.
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "common/base/check.h"
#include "common/packet/fragments.h"

enum { N_DATAGRAMS = 8, STEP_BYTES = 12, FRAME_BYTES = ETH_BYTES + 2048 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct fragments table;
static bool is_taken[FRAGMENT_SLOTS];
static uint64_t key_in[FRAGMENT_SLOTS]; // of the fragment that waits there

// So that a decision tells its datagram.
static uint64_t decision_of(const struct fragment *f, uint8_t salt)
{
	bool is_ip6 = f->addrs6 != NULL; // where the protocol is the first one's alone
	uint8_t addr = is_ip6 ? f->addrs6[0] : (uint8_t)f->src;
	return (uint64_t)salt << 33 | (uint64_t)is_ip6 << 32 | f->id << 16 | (uint32_t)addr << 8 |
	       (is_ip6 ? 0 : f->protocol);
}

static uint64_t key_of(uint64_t decision)
{
	return decision & 0x1ffffffff;
}

static void drain(void)
{
	struct fragment_released r;
	while (fragments_next_released(&table, &r)) {
		CHECK(r.slot < FRAGMENT_SLOTS && is_taken[r.slot]);
		is_taken[r.slot] = false;
		CHECK(r.reason != DROP_NONE || key_of(r.decision) == key_in[r.slot]);
	}
}

static void take(const struct fragment *f, uint8_t salt, struct mono_time now)
{
	struct fragment_step step = fragments_take(&table, f, now);
	switch (step.verdict) {
	case FRAGMENT_REFUSED: CHECK(step.reason != DROP_NONE); break;
	case FRAGMENT_KNOWN: CHECK(key_of(step.decision) == decision_of(f, 0)); break;
	case FRAGMENT_WAITS:
		CHECK(step.slot < FRAGMENT_SLOTS && is_taken[step.slot] == step.gave_way);
		is_taken[step.slot] = true;
		key_in[step.slot] = decision_of(f, 0);
		break;
	case FRAGMENT_FIRST:
		CHECK(f->begin == 0);
		if (salt % 8 == 0)
			fragments_refuse(&table, step.datagram);
		else
			fragments_decide(&table, step.datagram, decision_of(f, salt));
		break;
	}
}

static void write_ip4(uint8_t *packet, const uint8_t *d)
{
	struct ip4_header *ip = (struct ip4_header *)packet;
	*ip = (struct ip4_header){ .version_ihl = 0x45, .id = load16(d), .fragment = load16(d + 2) };
	ip->total_length = be16_from(be16_to(load16(d + 4)) & 2047);
	ip->protocol = d[6];
	ip->src = d[7];
}

static void write_ip6(uint8_t *packet, const uint8_t *d)
{
	struct ip6_header *ip = (struct ip6_header *)packet;
	struct ip6_fragment *f = (struct ip6_fragment *)(ip + 1);
	*ip = (struct ip6_header){ .version_class_label = be32_from(0x60000000u), .next_header = IP_PROTO_FRAGMENT };
	ip->payload_length = be16_from(be16_to(load16(d + 4)) & 2047);
	ip->src[0] = d[7];
	*f = (struct ip6_fragment){ .next_header = d[6], .offset_more = load16(d + 2), .id = load16(d) };
	if ((d[11] & 4) != 0) {
		uint8_t *extension = (uint8_t *)(f + 1);
		f->next_header = IP_PROTO_DESTINATION;
		extension[0] = d[6];
		extension[1] = d[10] % 8;
	}
}

static void step(const uint8_t *d, struct mono_time now)
{
	uint8_t frame[FRAME_BYTES] = { 0 };
	struct parsed p;
	struct fragment f;
	bool is_ip6 = (d[11] & 2) != 0;
	if (is_ip6)
		write_ip6(frame + ETH_BYTES, d);
	else
		write_ip4(frame + ETH_BYTES, d);
	enum drop_reason reason =
		is_ip6 ? parse_ip6(frame, sizeof frame, ETH_BYTES, &p) : parse_ip4(frame, sizeof frame, ETH_BYTES, &p);
	if (reason == DROP_FRAGMENT && fragment_parse(frame, &p, &f) == DROP_NONE) {
		CHECK(f.begin < f.end && f.end <= UINT16_MAX - (is_ip6 ? 0 : IP4_BYTES));
		if (f.begin == 0)
			fragment_read_ports(frame, &p);
		CHECK(p.l4_off <= p.l3_off + p.l3_bytes);
		take(&f, d[10], now);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint64_t memory[N_DATAGRAMS * 1024 / 8];
	struct mono_time now = mono_from_us(1);
	CHECK(fragments_memory_bytes(N_DATAGRAMS) <= sizeof memory);
	memset(memory, 0, sizeof memory);
	memset(is_taken, 0, sizeof is_taken);
	fragments_init(&table, N_DATAGRAMS, memory, 42);
	for (; size >= STEP_BYTES; data += STEP_BYTES, size -= STEP_BYTES) {
		now = mono_add_us(now, (uint64_t)be16_to(load16(data + 8)) * 16);
		fragments_expire(&table, now);
		step(data, now);
		if (data[11] % 2 == 0)
			drain();
	}
	fragments_expire(&table, mono_add_us(now, FRAGMENT_TIMEOUT_US));
	drain();
	for (uint32_t slot = 0; slot < FRAGMENT_SLOTS; slot++)
		CHECK(!is_taken[slot]);
	return 0;
}
