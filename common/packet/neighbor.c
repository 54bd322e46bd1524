#include "common/packet/neighbor.h"

#include <string.h>

void neighbor_table_init(struct neighbor_table *t, const struct mac *my_mac, be32 my_ip)
{
	memset(t, 0, sizeof *t);
	t->my_mac = *my_mac;
	t->my_ip = my_ip;
}

bool neighbor_table_insert(struct neighbor_table *t, be32 ip)
{
	if (t->n == NEIGHBOR_MAX)
		return false;
	t->entries[t->n++] = (struct neighbor){ .ip = ip };
	return true;
}

void neighbor_table_on_arp(struct neighbor_table *t, const struct arp_info *arp, struct mono_time now)
{
	for (uint32_t i = 0; i < t->n; i++) {
		struct neighbor *n = &t->entries[i];
		if (n->ip != arp->sender_ip)
			continue;
		n->mac = arp->sender_mac;
		n->has_mac = true;
		n->state = NEIGHBOR_REACHABLE;
		n->n_probes = 0;
		n->since = now;
	}
}

static bool probe_is_due(struct neighbor *n, struct mono_time now)
{
	switch (n->state) {
	case NEIGHBOR_NONE: return true;
	case NEIGHBOR_REACHABLE: return mono_elapsed_us(n->since, now) >= NEIGHBOR_CONFIRM_US;
	case NEIGHBOR_PROBING:
	case NEIGHBOR_FAILED: return mono_elapsed_us(n->since, now) >= NEIGHBOR_PROBE_US;
	}
	return false;
}

bool neighbor_table_step(struct neighbor_table *t, struct mono_time now, uint8_t *frame)
{
	for (uint32_t i = 0; i < t->n; i++) {
		struct neighbor *n = &t->entries[i];
		if (!probe_is_due(n, now))
			continue;
		if (n->n_probes < NEIGHBOR_PROBES) {
			n->n_probes++;
			n->state = NEIGHBOR_PROBING;
		} else {
			n->state = NEIGHBOR_FAILED;
			n->has_mac = false;
		}
		n->since = now;
		arp_write_request(frame, &t->my_mac, t->my_ip, n->ip, n->has_mac ? &n->mac : NULL);
		return true;
	}
	return false;
}
