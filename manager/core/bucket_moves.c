#include "manager/core/bucket_moves.h"

#include "common/base/memory.h"

void bucket_moves_fini(struct bucket_moves *m)
{
	memory_free(m->owned);
	memory_free(m->lost);
	*m = (struct bucket_moves){ 0 };
}

static void count(const struct maglev_member *before, const uint16_t *from, uint32_t n_from,
                  const struct maglev_member *after, const uint16_t *to, uint32_t n_to, struct bucket_moves *m)
{
	for (uint32_t i = 0; i < m->n_buckets; i++) {
		uint16_t old = from[(uint64_t)i * n_from / m->n_buckets];
		uint16_t new = to[(uint64_t)i * n_to / m->n_buckets];
		bool is_moved = !ip_addr_equal(&before[old].dip, &after[new].dip);
		m->owned[old]++;
		m->lost[old] += is_moved;
		m->n_moved += is_moved;
	}
}

int bucket_moves_count(const struct maglev_member *before, uint32_t n_before, const struct maglev_member *after,
                       uint32_t n_after, struct bucket_moves *ret_moves)
{
	uint32_t n_from = maglev_table_size(n_before);
	uint32_t n_to = maglev_table_size(n_after);
	uint16_t *from = memory_array(n_from, sizeof *from);
	uint16_t *to = memory_array(n_to, sizeof *to);
	struct bucket_moves m = { .n_buckets = n_from > n_to ? n_from : n_to, .n_members = n_before };
	m.owned = memory_array(n_before, sizeof *m.owned);
	m.lost = memory_array(n_before, sizeof *m.lost);
	bool ok = from != NULL && to != NULL && m.owned != NULL && m.lost != NULL &&
	          maglev_build(before, n_before, from, n_from) == 0 && maglev_build(after, n_after, to, n_to) == 0;
	if (ok)
		count(before, from, n_from, after, to, n_to, &m);
	memory_free(from);
	memory_free(to);
	if (!ok) {
		bucket_moves_fini(&m);
		return ERR_NO_MEMORY;
	}
	*ret_moves = m;
	return 0;
}
