#include "mux/dpdk/side_buffers.h"

#include "common/base/memory.h"

static void lend_spares(struct side_buffers *s)
{
	for (uint32_t i = 0; i < SIDE_SPARES; i++) {
		if (s->spares[i] != NULL)
			continue;
		s->spares[i] = rte_pktmbuf_alloc(s->pool);
		if (s->spares[i] == NULL)
			return; // until there are buffers again, packets that would be cut are dropped
		side_frames_lend(&s->frames, i, rte_pktmbuf_mtod(s->spares[i], uint8_t *));
	}
}

int side_buffers_init(struct side_buffers *s, struct rte_mempool *pool, uint64_t seed)
{
	*s = (struct side_buffers){ .pool = pool };
	s->memory = memory_aligned(64, fragments_memory_bytes(SIDE_DATAGRAMS));
	if (s->memory == NULL)
		return ERR_NO_MEMORY;
	side_frames_init(&s->frames, s->memory, seed, rte_pktmbuf_data_room_size(pool) - RTE_PKTMBUF_HEADROOM);
	lend_spares(s);
	return 0;
}

void side_buffers_fini(struct side_buffers *s)
{
	for (uint32_t i = 0; i < FRAGMENT_SLOTS; i++)
		rte_pktmbuf_free(s->held[i]);
	for (uint32_t i = 0; i < SIDE_SPARES; i++)
		rte_pktmbuf_free(s->spares[i]);
	memory_free(s->memory);
	*s = (struct side_buffers){ 0 };
}

void side_buffers_hold(struct side_buffers *s, const struct burst_out *out)
{
	for (uint16_t i = 0; i < out->n_held; i++) {
		struct rte_mbuf **held = &s->held[out->held_slots[i]];
		rte_pktmbuf_free(*held); // it gave way
		*held = out->held[i];
	}
}

static struct rte_mbuf *take_buffer(struct side_buffers *s, const struct side_frame *f)
{
	struct rte_mbuf **from = f->is_spare ? &s->spares[f->slot] : &s->held[f->slot];
	struct rte_mbuf *m = *from;
	*from = NULL;
	m->data_off = (uint16_t)(f->frame.data - (uint8_t *)m->buf_addr);
	m->data_len = (uint16_t)f->frame.len;
	m->pkt_len = f->frame.len;
	return m;
}

uint16_t side_buffers_take(struct side_buffers *s, struct mux_worker *w, struct rte_mbuf **ret_mbufs, uint16_t n_max)
{
	struct side_frame f;
	uint16_t n = 0;
	while (n < n_max && side_frames_next(w, &f)) {
		struct rte_mbuf *m = take_buffer(s, &f);
		if (f.frame.verdict == MUX_TO_UPLINK)
			ret_mbufs[n++] = m;
		else
			rte_pktmbuf_free(m);
	}
	if (n < n_max)
		lend_spares(s);
	return n;
}
