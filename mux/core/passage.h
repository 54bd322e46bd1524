// A packet of a burst on its way to an endpoint, and the last stage of it. Threads: the worker.
#pragma once

#include "mux/core/encapsulate.h"
#include "mux/core/tables.h"

struct passage {
	struct mux_frame *frame;
	uint64_t hash;
	uint64_t key;
	const struct vip_line *line;
	const struct vip_entry *entry;
	const uint16_t *owner; // where in the endpoint's templates the owner of its bucket is, and the flag
	struct pin_set *pins; // when it has the flag
	uint32_t inner_bytes;
};

// What is constant for a burst, and what is counted: compilers keep it in registers when it is a local of the loop.
struct passage_sender {
	const struct gateways *gateways;
	uint32_t n_gateways;
	__m128i first_start;
	struct vip_traffic *vips;
	uint64_t inner_bytes;
	struct mux_worker *worker;
	uint32_t n_apart; // of those that were sent, counted already
};

static inline struct passage_sender passage_sender_of(struct mux_worker *w, const struct gateways *g)
{
	return (struct passage_sender){
		.gateways = g, .n_gateways = g->n, .first_start = g->starts[0], .vips = w->vips->endpoints, .worker = w
	};
}

// Over IPv6, to another address than the DIP's own, or of IPv6: such frames are sent as single ones are.
APART static void passage_send_apart(struct mux_worker *w, const struct passage *x,
                                     const struct encap_template *template)
{
	if (encapsulate(w, x->frame, template, x->hash, x->inner_bytes))
		count_vip(&w->vips->endpoints[x->entry->slot], x->inner_bytes);
}

static inline void passage_send(struct passage_sender *s, const struct passage *x,
                                const struct encap_template *template)
{
	const struct vip_entry *e = x->entry; // read before anything is written through a byte pointer
	const uint32_t n_bytes = x->inner_bytes;
	if (__builtin_expect(template->src == 0, 0)) {
		s->n_apart++;
		passage_send_apart(s->worker, x, template);
		return;
	}
	const __m128i start = gateways_choose(s->gateways, s->n_gateways, s->first_start, x->hash);
	encapsulate_checked(x->frame, start, template, n_bytes);
	count_vip(&s->vips[e->slot], n_bytes);
	s->inner_bytes += n_bytes;
}
