#include "mux/dpdk/gulp.h"

#include <rte_ethdev.h>

#include "mux/core/own_first.h"

static bool was_sent_here(const struct mux_settings *s, struct rte_mbuf *m)
{
	return m->data_len >= ETH_BYTES && memcmp(rte_pktmbuf_mtod(m, uint8_t *) + MAC_BYTES, &s->mac, MAC_BYTES) == 0;
}

static void sort(struct gulp *g, const struct mux_settings *settings, struct rte_mbuf **mbufs, uint16_t n,
                 bool skips_sent)
{
	for (uint16_t i = 0; i < n; i++)
		rte_prefetch0(rte_pktmbuf_mtod(mbufs[i], void *));
	for (uint16_t i = 0; i < n; i++) {
		struct rte_mbuf *m = mbufs[i];
		if (skips_sent && was_sent_here(settings, m))
			rte_pktmbuf_free(m);
		else if (__builtin_expect(own_first_is_own(settings, rte_pktmbuf_mtod(m, uint8_t *), m->data_len), 0))
			g->own[g->n_own++] = m;
		else
			g->rest[g->n_rest++] = m;
	}
}

uint32_t gulp_take(struct gulp *g, uint16_t port, const struct mux_settings *settings, bool skips_sent)
{
	struct rte_mbuf *mbufs[GULP_BURST];
	uint16_t n = GULP_BURST;
	g->n_own = 0;
	g->n_rest = 0;
	for (uint32_t n_taken = 0; n == GULP_BURST && n_taken < GULP_MAX; n_taken += n) {
		n = rte_eth_rx_burst(port, 0, mbufs, GULP_BURST);
		sort(g, settings, mbufs, n, skips_sent);
	}
	return (uint32_t)g->n_own + g->n_rest;
}
