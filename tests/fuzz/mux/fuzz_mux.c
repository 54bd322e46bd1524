// Any bytes as a burst of frames through the mux's pipeline, staged and one by one: both must do the same, touch nothing
// beyond a frame and its headroom, and give every frame a verdict that fits it. Input: frames, each behind its length in
// two bytes (little-endian, at most 2047).
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "tests/unit/mux/fixture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct fixture *make_mux(void)
{
	unsigned seed = 4711;
	struct fixture *f = fixture_create(MUX_ADDRESS);
	neighbor_table_insert(&f->worker.neighbors, test_ip4("10.0.0.2"));
	for (unsigned i = 1; i <= 8; i++)
		fixture_put_vip(f, test_random_vip(&seed, i + 8));
	for (uint32_t i = 0; i < f->snat.n; i++) { // every other range of some
		char vip[IP_ADDR_TEXT_BYTES];
		ip_addr_format(&f->snat.items[i]->vip, vip);
		for (uint32_t port = 1024; port < 2048; port += 16)
			fixture_lease(f, vip, "10.1.7.7", (uint16_t)port, 8);
	}
	CHECK(f->snat.n > 1 && f->snat.n < f->store.vips.n);
	return f;
}

// A copy that ends where its memory ends, so that ASan sees a byte beyond.
static struct mux_frame frame_of(const uint8_t *bytes, uint32_t len)
{
	uint8_t *memory = malloc(ENCAP_BYTES + len);
	CHECK(memory != NULL);
	memcpy(memory + ENCAP_BYTES, bytes, len);
	return (struct mux_frame){ .data = memory + ENCAP_BYTES, .len = len };
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

static void check_frame(const struct mux_frame *f, const struct mux_frame *twin)
{
	CHECK(f->verdict == twin->verdict && f->reason == twin->reason && f->len == twin->len);
	CHECK((f->verdict == MUX_DROP) == (f->reason != DROP_NONE));
	CHECK(f->reason < DROP_REASON_COUNT);
	if (f->verdict == MUX_DROP)
		return;
	CHECK(memcmp(f->data, twin->data, f->len) == 0);
	CHECK(f->verdict != MUX_TO_UPLINK || f->len <= ETH_BYTES + MUX_MTU + 512); // an echo reply is as long as it came
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fixture *staged_mux, *scalar_mux;
	struct mux_frame staged[MUX_BURST_MAX], scalar[MUX_BURST_MAX];
	uint8_t *memory[MUX_BURST_MAX][2];
	if (staged_mux == NULL) {
		staged_mux = make_mux();
		scalar_mux = make_mux();
	}
	// Each input finds the same next hops: what it teaches by ARP is forgotten.
	struct neighbor_table neighbors = staged_mux->worker.neighbors;
	uint32_t n = read_frames(data, size, staged, scalar);
	for (uint32_t i = 0; i < n; i++) {
		memory[i][0] = staged[i].data - ENCAP_BYTES;
		memory[i][1] = scalar[i].data - ENCAP_BYTES;
		// Next hops learned in a burst count from the next one on: one by one they would count at once.
		mux_pipeline_one(&scalar_mux->worker, scalar_mux->tables, &scalar[i]);
		scalar_mux->worker.neighbors = neighbors;
	}
	mux_pipeline_burst(&staged_mux->worker, staged_mux->tables, staged, n);
	staged_mux->worker.neighbors = neighbors;
	for (uint32_t i = 0; i < n; i++) {
		check_frame(&staged[i], &scalar[i]);
		free(memory[i][0]);
		free(memory[i][1]);
	}
	staged_mux->worker.now = scalar_mux->worker.now = mono_add_us(staged_mux->worker.now, 1000);
	return 0;
}
