#include "mux/core/side_frames.h"

#include "mux/core/fragment_road.h"

void side_frames_init(struct side_frames *s, void *memory, uint64_t seed, uint32_t spare_bytes)
{
	memset(s, 0, sizeof *s);
	s->spare_bytes = spare_bytes;
	fragments_init(&s->fragments, SIDE_DATAGRAMS, memory, seed);
}

void side_frames_lend(struct side_frames *s, uint32_t spare, uint8_t *data)
{
	s->spares[spare] = (struct mux_frame){ .data = data };
}

struct mux_frame *side_frames_spare(struct side_frames *s, uint32_t n_bytes)
{
	if (s->n_used == SIDE_SPARES || s->spares[s->n_used].data == NULL || n_bytes > s->spare_bytes)
		return NULL;
	return &s->spares[s->n_used];
}

void side_frames_send_spare(struct side_frames *s)
{
	s->n_used++;
}

void side_frames_hold(struct mux_worker *w, struct mux_frame *f, const struct fragment_step *step)
{
	w->counters.drops[DROP_FRAGMENT_HOLD_FULL] += step->gave_way;
	w->counters.fragments_held++;
	w->side->held[step->slot] = *f;
	f->verdict = MUX_HELD;
	f->reason = DROP_NONE;
	f->slot = step->slot;
}

void side_frames_expire(struct mux_worker *w)
{
	fragments_expire(&w->side->fragments, w->now);
}

static bool next_spare(struct side_frames *s, struct side_frame *ret_frame)
{
	if (s->n_sent == s->n_used) {
		s->n_sent = s->n_used = 0;
		return false;
	}
	*ret_frame = (struct side_frame){ .frame = s->spares[s->n_sent], .slot = (uint16_t)s->n_sent, .is_spare = true };
	s->spares[s->n_sent++].data = NULL;
	return true;
}

bool side_frames_next(struct mux_worker *w, struct side_frame *ret_frame)
{
	struct fragment_released released;
	if (next_spare(w->side, ret_frame))
		return true;
	if (!fragments_next_released(&w->side->fragments, &released))
		return false;
	*ret_frame = (struct side_frame){ .frame = w->side->held[released.slot], .slot = released.slot };
	if (released.reason != DROP_NONE)
		mux_drop(w, &ret_frame->frame, released.reason);
	else
		fragment_road_send(w, &ret_frame->frame, released.decision);
	return true;
}
