// Any bytes as a burst of frames through the mux's pipeline, staged and one by one: both must do the same, touch nothing
// beyond a frame and its headroom, and give every frame a verdict that fits it. Input: frames, each behind its length in
// two bytes (little-endian, at most 2047). Frames to the port of pins are signed for a host here, so that what is inside is
// looked at, too. They, ARP and Neighbor Discovery go last, since in a burst they count from the next one on; and then all of it comes once more.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "tests/unit/mux/fixture.h"

#define HOST "10.0.1.1"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct fixture *make_mux(void)
{
	unsigned seed = 4711;
	struct fixture *f = fixture_create(MUX_ADDRESS);
	neighbor_table_insert(&f->worker.neighbors, test_ip4("10.0.0.2"));
	for (unsigned i = 1; i <= 8; i++)
		fixture_put_vip(f, test_random_vip(&seed, i + 8));
	for (unsigned i = 1; i <= 4; i++)
		fixture_put_vip(f, test_random_vip6(&seed, i + 8));
	for (uint32_t i = 0; i < f->snat.n; i++) { // every other range of some
		char vip[IP_ADDR_TEXT_BYTES];
		ip_addr_format(&f->snat.items[i]->vip, vip);
		for (uint32_t port = 1024; port < 2048; port += 16)
			fixture_lease(f, vip, strchr(vip, ':') != NULL ? "2001:db8::10.1.7.7" : "10.1.7.7", (uint16_t)port, 8);
	}
	CHECK(f->snat.n > 1 && f->snat.n < f->store.vips.n);
	fixture_put_host(f, "host1", HOST);
	for (uint32_t i = 0; i < f->store.vips.n; i += 2)
		fixture_put_history(f, test_random_history(&seed, store_vip(&f->store, i)));
	CHECK(f->tables->n_with_history > 0);
	return f;
}

// A copy that ends where its memory ends, so that ASan sees a byte beyond.
static struct mux_frame frame_of(const uint8_t *bytes, uint32_t len)
{
	uint8_t *memory = malloc(MUX_HEADROOM_BYTES + len);
	CHECK(memory != NULL);
	memcpy(memory + MUX_HEADROOM_BYTES, bytes, len);
	return (struct mux_frame){ .data = memory + MUX_HEADROOM_BYTES, .len = len };
}

static uint32_t read_frames(const uint8_t *data, size_t size, struct mux_frame *staged, struct mux_frame *scalar)
{
	uint32_t n = 0;
	while (n < MUX_BURST_MAX && size >= 2) {
		uint32_t len = load16(data) & 2047;
		data += 2;
		size -= 2;
		len = len <= size ? len : (uint32_t)size;
		staged[n] = frame_of(data, len);
		scalar[n] = frame_of(data, len);
		data += len;
		size -= len;
		n++;
	}
	return n;
}

// ---- pins ----

enum { N_PINS = 6000, MESSAGE_OFF = ETH_BYTES + IP4_BYTES + 8 };

static bool is_for_pins(const struct mux_frame *f)
{
	const uint8_t *d = f->data;
	return f->len >= MESSAGE_OFF && d[ETH_BYTES] == 0x45 && d[23] == IP_PROTO_UDP &&
	       load16(d + 36) == be16_from(PIN_PORT);
}

// Makes all of it right but for the pins; what has no room for that stays as it is.
static void sign(struct mux_frame *f, const struct fixture *mux, uint64_t stamp_us)
{
	uint8_t *message = f->data + MESSAGE_OFF;
	struct pin_message m = { .cluster_id = mux->store.cluster.cluster_id,
		                     .stamp_us = stamp_us,
		                     .sender = pin_addr_from_ip4(test_ip4(HOST)),
		                     .n_pins = 1 };
	uint8_t right[PIN_MESSAGE_BYTES_MAX];
	uint32_t room = f->len - MESSAGE_OFF;
	if (room < PIN_HEADER_BYTES + PIN_BYTES + PIN_TAG_BYTES || room > PIN_MESSAGE_BYTES_MAX)
		return;
	(void)pin_message_encode(&m, mux->store.cluster.pin_key, right);
	right[5] = (uint8_t)((room - PIN_HEADER_BYTES - PIN_TAG_BYTES) / PIN_BYTES);
	memcpy(message, right, PIN_HEADER_BYTES);
	uint32_t n_signed = PIN_HEADER_BYTES + right[5] * PIN_BYTES;
	uint64_t tag = siphash24(mux->store.cluster.pin_key, message, n_signed);
	store64(message + n_signed, __builtin_bswap64(tag));
	store32(f->data + 26, pin_addr_to_ip4(&m.sender));
	store16(f->data + 16, be16_from((uint16_t)(MESSAGE_OFF - ETH_BYTES + n_signed + PIN_TAG_BYTES)));
	store16(f->data + 38, be16_from((uint16_t)(8 + n_signed + PIN_TAG_BYTES)));
}

static void swap(struct mux_frame *frames, uint32_t i, uint32_t k)
{
	struct mux_frame f = frames[i];
	frames[i] = frames[k];
	frames[k] = f;
}

static bool is_nd(const struct mux_frame *f)
{
	struct parsed p;
	return parse_ip6(f->data, f->len, ETH_BYTES, &p) == DROP_NONE && nd_is_nd(f->data, &p);
}

static bool is_arp_or_nd(const struct mux_frame *f)
{
	if (f->len < ETH_BYTES)
		return false;
	be16 type = frame_ether_type(f->data);
	return type == be16_from(ETHER_ARP) || (type == be16_from(ETHER_IP6) && is_nd(f));
}

// Moves to the end what counts from the next burst on: pins, signed, ARP and Neighbor Discovery.
static void put_last(struct mux_frame *staged, struct mux_frame *scalar, uint32_t n, const struct fixture *mux)
{
	uint32_t end = n;
	for (uint32_t i = n; i-- > 0;) {
		if (is_for_pins(&staged[i])) {
			sign(&staged[i], mux, mux->worker.now_real_us + n - end);
			sign(&scalar[i], mux, mux->worker.now_real_us + n - end);
		} else if (!is_arp_or_nd(&staged[i])) {
			continue;
		}
		end--;
		swap(staged, i, end);
		swap(scalar, i, end);
	}
}

// Each input finds an empty table.
static void forget_pins(struct fixture *mux)
{
	struct pin_stamps stamps = mux->pins.stamps;
	memset(mux->pins.sets, 0, N_PINS / PIN_WAYS * sizeof *mux->pins.sets);
	pins_init(&mux->pins, N_PINS, mux->pins.sets);
	mux->pins.stamps = stamps;
}

static void go_on(struct fixture *mux, uint64_t us)
{
	mux->worker.now = mono_add_us(mux->worker.now, us);
	mux->worker.now_real_us += us;
}

// In a burst endpoints that refuse are served after others: who is the last that is told so may differ.
static void fill_refusals(struct fixture *mux)
{
	token_bucket_init(&mux->worker.refusals, MUX_REFUSAL_RATE_PER_S, MUX_REFUSALS_SAVED, mux->worker.now);
}

static void check_frame(const struct mux_frame *f, const struct mux_frame *twin)
{
	CHECK(f->verdict == twin->verdict && f->reason == twin->reason && f->len == twin->len);
	CHECK((f->verdict == MUX_DROP) == (f->reason != DROP_NONE));
	CHECK(f->reason < DROP_REASON_COUNT);
	if (f->verdict == MUX_DROP || f->verdict == MUX_CONSUMED)
		return;
	CHECK(memcmp(f->data, twin->data, f->len) == 0);
	CHECK(f->verdict != MUX_TO_UPLINK || f->len <= ETH_BYTES + MUX_MTU + 512); // an echo reply is as long as it came
}

static void check_side_frames(struct fixture *staged_mux, struct fixture *scalar_mux)
{
	struct side_frame a, b;
	while (fixture_next(staged_mux, &a)) {
		CHECK(fixture_next(scalar_mux, &b) && a.slot == b.slot && a.is_spare == b.is_spare);
		CHECK(a.frame.verdict == MUX_TO_UPLINK || a.frame.verdict == MUX_DROP);
		check_frame(&a.frame, &b.frame);
	}
	CHECK(!fixture_next(scalar_mux, &b));
}

// Each input finds an empty table.
static void forget_fragments(struct fixture *mux)
{
	go_on(mux, FRAGMENT_TIMEOUT_US);
	side_frames_expire(&mux->worker);
	for (struct side_frame f; fixture_next(mux, &f);)
		;
}

static void run(struct fixture *staged_mux, struct fixture *scalar_mux, const uint8_t *data, size_t size)
{
	struct mux_frame staged[MUX_BURST_MAX], scalar[MUX_BURST_MAX];
	uint8_t *memory[MUX_BURST_MAX][2];
	// Each burst finds the same next hops: what it teaches by ARP and Neighbor Discovery is forgotten.
	struct neighbor_table neighbors = staged_mux->worker.neighbors;
	struct neighbor_table neighbors6 = staged_mux->worker.neighbors6;
	uint32_t n = read_frames(data, size, staged, scalar);
	put_last(staged, scalar, n, staged_mux);
	for (uint32_t i = 0; i < n; i++) {
		memory[i][0] = staged[i].data - MUX_HEADROOM_BYTES;
		memory[i][1] = scalar[i].data - MUX_HEADROOM_BYTES;
		// Next hops learned in a burst count from the next one on: one by one they would count at once.
		mux_pipeline_one(&scalar_mux->worker, scalar_mux->tables, &scalar[i]);
		scalar_mux->worker.neighbors = neighbors;
		scalar_mux->worker.neighbors6 = neighbors6;
	}
	mux_pipeline_burst(&staged_mux->worker, staged_mux->tables, staged, n);
	staged_mux->worker.neighbors = neighbors;
	staged_mux->worker.neighbors6 = neighbors6;
	for (uint32_t i = 0; i < n; i++) {
		check_frame(&staged[i], &scalar[i]);
		fixture_keep(staged_mux, &staged[i]);
		fixture_keep(scalar_mux, &scalar[i]);
		free(memory[i][0]);
		free(memory[i][1]);
	}
	check_side_frames(staged_mux, scalar_mux);
	CHECK(staged_mux->pins.n_pins == scalar_mux->pins.n_pins);
	CHECK(memcmp(&staged_mux->worker.counters, &scalar_mux->worker.counters, sizeof(struct mux_counters)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fixture *staged_mux, *scalar_mux;
	if (staged_mux == NULL) {
		staged_mux = make_mux();
		scalar_mux = make_mux();
	}
	forget_pins(staged_mux);
	forget_pins(scalar_mux);
	forget_fragments(staged_mux);
	forget_fragments(scalar_mux);
	fill_refusals(staged_mux);
	fill_refusals(scalar_mux);
	for (int i = 0; i < 2; i++) { // what was pinned the first time is of use the second time
		run(staged_mux, scalar_mux, data, size);
		go_on(staged_mux, 1000);
		go_on(scalar_mux, 1000);
	}
	return 0;
}
