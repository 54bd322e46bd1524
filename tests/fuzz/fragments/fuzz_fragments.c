// Any sequence of IP headers as fragments, 12 bytes each: { id, flags and offset, total length, protocol, address, time, what the
// first one decides }. No slot is given twice or lost, and what is released goes where its own first one went.
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "common/base/check.h"
#include "common/packet/fragments.h"

enum { N_DATAGRAMS = 8, STEP_BYTES = 12, FRAME_BYTES = ETH_BYTES + 2048 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct fragments table;
static bool is_taken[FRAGMENT_SLOTS];
static uint32_t key_in[FRAGMENT_SLOTS]; // of the fragment that waits there

// So that a decision tells its datagram.
static uint64_t decision_of(const struct fragment *f, uint8_t salt)
{
	return (uint64_t)salt << 32 | (uint32_t)f->id << 16 | (f->src & 0xff) << 8 | f->protocol;
}

static void drain(void)
{
	struct fragment_released r;
	while (fragments_next_released(&table, &r)) {
		CHECK(r.slot < FRAGMENT_SLOTS && is_taken[r.slot]);
		is_taken[r.slot] = false;
		CHECK(r.reason != DROP_NONE || (uint32_t)r.decision == key_in[r.slot]);
	}
}

static void take(const struct fragment *f, uint8_t salt, struct mono_time now)
{
	struct fragment_step step = fragments_take(&table, f, now);
	switch (step.verdict) {
	case FRAGMENT_REFUSED: CHECK(step.reason != DROP_NONE); break;
	case FRAGMENT_KNOWN: CHECK((uint32_t)step.decision == (uint32_t)decision_of(f, 0)); break;
	case FRAGMENT_WAITS:
		CHECK(step.slot < FRAGMENT_SLOTS && is_taken[step.slot] == step.gave_way);
		is_taken[step.slot] = true;
		key_in[step.slot] = (uint32_t)decision_of(f, 0);
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

static void step(const uint8_t *d, struct mono_time now)
{
	uint8_t frame[FRAME_BYTES] = { 0 };
	struct parsed p;
	struct fragment f;
	struct ip4_header *ip = (struct ip4_header *)(frame + ETH_BYTES);
	*ip = (struct ip4_header){ .version_ihl = 0x45, .id = load16(d), .fragment = load16(d + 2) };
	ip->total_length = be16_from(be16_to(load16(d + 4)) & 2047);
	ip->protocol = d[6];
	ip->src = d[7];
	if (parse_ip4(frame, sizeof frame, ETH_BYTES, &p) == DROP_FRAGMENT && fragment_parse(frame, &p, &f) == DROP_NONE) {
		CHECK(f.begin < f.end && f.end <= UINT16_MAX - IP4_BYTES);
		if (f.begin == 0)
			fragment_read_ports(frame, &p);
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
