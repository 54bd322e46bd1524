#include "mux/core/vip_slots.h"

#include <string.h>

void vip_slots_init(struct vip_slots *s)
{
	memset(s, 0, sizeof *s);
}

// Both lists are sorted: those that are gone are freed, and the rest kept in order.
static void keep_present(struct vip_slots *s, const struct store *store, uint32_t *slot_of_vip)
{
	uint32_t i = 0;
	for (uint32_t k = 0; k < s->n_sorted; k++) {
		struct vip_slot *slot = &s->slots[s->sorted[k]];
		while (i < store->vips.n && ip_addr_compare(&store_vip(store, i)->vip, &slot->vip) < 0)
			i++;
		if (i < store->vips.n && ip_addr_equal(&store_vip(store, i)->vip, &slot->vip)) {
			slot_of_vip[i] = s->sorted[k];
		} else {
			slot->is_used = false;
		}
	}
}

static uint32_t take_free(struct vip_slots *s, uint32_t *cursor)
{
	while (s->slots[*cursor].is_used)
		(*cursor)++;
	if (*cursor >= s->n_high)
		s->n_high = *cursor + 1;
	return *cursor;
}

int vip_slots_update(struct vip_slots *s, const struct store *store, bool *is_new)
{
	if (store->vips.n > VIP_SLOTS_MAX)
		return ERR_LIMIT;
	uint32_t slot_of_vip[VIP_SLOTS_MAX]; // 80 KB of a control thread's stack
	uint32_t cursor = 0;
	memset(slot_of_vip, 0xff, store->vips.n * sizeof *slot_of_vip);
	keep_present(s, store, slot_of_vip);
	if (is_new != NULL)
		memset(is_new, 0, VIP_SLOTS_MAX * sizeof *is_new);
	for (uint32_t i = 0; i < store->vips.n; i++) {
		if (slot_of_vip[i] == UINT32_MAX) {
			uint32_t free_slot = take_free(s, &cursor);
			s->slots[free_slot] = (struct vip_slot){ .is_used = true, .vip = store_vip(store, i)->vip };
			slot_of_vip[i] = free_slot;
			if (is_new != NULL)
				is_new[free_slot] = true;
		}
		s->sorted[i] = slot_of_vip[i];
	}
	s->n_sorted = store->vips.n;
	return 0;
}
