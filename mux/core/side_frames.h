// Frames of a worker beside those of a burst: fragments that wait for their first one, and buffers for the second half of what
// is cut.
//
// The caller keeps the buffers. That of a frame with MUX_HELD goes into held[slot] of its own; one that is there already is to be
// freed, it has given way. It lends spare buffers. After each burst, when all held ones are in their place, and a few times a
// second (side_frames_expire), it takes what comes out by side_frames_next until there is no more, and lends spares anew:
//
//   burst --> MUX_HELD --> held[slot] ..first one comes, or time is over.. side_frames_next --> send it, or free it
//   burst --> a packet is cut --> spare buffer --------------------------> side_frames_next --> send it
//
// Threads: the worker.
#pragma once

#include "common/packet/fragments.h"
#include "mux/core/verdict.h"

#define SIDE_DATAGRAMS 4096 // that fragments are remembered of: 2.3 MB
#define SIDE_SPARES 64 // second halves of a burst

struct side_frames {
	struct fragments fragments;
	struct mux_frame held[FRAGMENT_SLOTS];
	uint32_t spare_bytes; // of a frame that a spare buffer has room for, beside the headroom
	uint32_t n_used; // spares, from the first one on: to be sent
	uint32_t n_sent; // of them
	struct mux_frame spares[SIDE_SPARES]; // data NULL: none was lent
};

// `memory` is of fragments_memory_bytes(SIDE_DATAGRAMS), zeroed. No spare is lent yet.
void side_frames_init(struct side_frames *s, void *memory, uint64_t seed, uint32_t spare_bytes);

// `data` has MUX_HEADROOM_BYTES in front of it, and room for a frame of spare_bytes.
void side_frames_lend(struct side_frames *s, uint32_t spare, uint8_t *data);

// The next spare with room for n_bytes; NULL when there is none. It stays spare until side_frames_send_spare.
struct mux_frame *side_frames_spare(struct side_frames *s, uint32_t n_bytes);
void side_frames_send_spare(struct side_frames *s);

// Keeps the frame until its first one comes.
void side_frames_hold(struct mux_worker *w, struct mux_frame *f, const struct fragment_step *step);

// Fragments that waited too long come out.
void side_frames_expire(struct mux_worker *w);

struct side_frame {
	struct mux_frame frame; // MUX_TO_UPLINK or MUX_DROP
	uint16_t slot; // in held, or the number of the spare: that is not lent any more
	bool is_spare;
};

static inline bool side_frames_has_next(const struct side_frames *s)
{
	return s->n_used > 0 || fragments_has_released(&s->fragments);
}

// False: there is no more.
bool side_frames_next(struct mux_worker *w, struct side_frame *ret_frame);
