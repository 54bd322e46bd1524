// Any frames from the uplink, one after the other, through the agent with its state.
#include "tests/fuzz/hostagent/frames.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct agent_fixture f;
	fuzz_fixture_init(&f);
	struct held held = { 0 };
	struct frames frames = { .at = data, .n_left = size, .now_us = 1000000000 };
	uint64_t before_us = frames.now_us;
	uint32_t len;
	for (uint8_t *buffer = frames_next(&frames, &len); buffer != NULL; buffer = frames_next(&frames, &len)) {
		uint8_t *frame = buffer + AGENT_HEADROOM;
		agent_set_now(&f.agent, mono_from_us(frames.now_us));
		fuzz_tend(&f, frames.now_us, frames.now_us - before_us, len);
		before_us = frames.now_us;
		struct agent_packet p = { .frame = frame, .len = len };
		agent_inbound(&f.agent, &p, 1);
		check_verdict(&f.agent, &p, frame, len);
		check_chained(&f.agent, &p);
		check_pins(&f.agent, frames.now_us);
		held_put(&held, &p, buffer);
		held_release(&held, &f.agent, check_chained);
	}
	held_free(&held);
	fixture_fini(&f);
	return 0;
}
