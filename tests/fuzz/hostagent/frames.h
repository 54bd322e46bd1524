// A fuzz input as a sequence of frames: each is a big-endian u16 (upper 4 bits: seconds that pass before it; the rest: its
// length) and its bytes. Every frame is put into memory of exactly its size, so that ASan sees any byte beyond.
#pragma once

#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "tests/unit/hostagent/fixture.h"

struct frames {
	const uint8_t *at;
	size_t n_left;
	uint64_t now_us;
};

// The next frame, to be freed by the caller; NULL at the end.
static inline uint8_t *frames_next(struct frames *f, uint32_t *ret_len)
{
	if (f->n_left < 2)
		return NULL;
	uint32_t head = (uint32_t)f->at[0] << 8 | f->at[1];
	uint32_t len = head & 0xfff;
	f->now_us += (uint64_t)(head >> 12) * 1000000;
	f->at += 2;
	f->n_left -= 2;
	if (len > f->n_left)
		len = (uint32_t)f->n_left;
	uint8_t *frame = malloc(len > 0 ? len : 1);
	memcpy(frame, f->at, len);
	f->at += len;
	f->n_left -= len;
	*ret_len = len;
	return frame;
}

// What must hold of every packet that goes on, whatever came in.
static inline void check_verdict(const struct agent *a, const struct agent_packet *p, const uint8_t *frame,
                                 uint32_t len)
{
	if (p->verdict == AGENT_DROP) {
		CHECK(p->reason > DROP_NONE && p->reason < DROP_REASON_COUNT);
		return;
	}
	CHECK(p->frame >= frame && p->frame + p->len <= frame + len && p->len >= ETH_BYTES);
	if (p->verdict == AGENT_TO_VM)
		CHECK(p->port < a->config->n_ports && a->port_is_open[p->port]);
	CHECK(a->flows.n_flows <= a->flows.capacity);
}
