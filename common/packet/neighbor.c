#include "common/packet/neighbor.h"

#include <string.h>

void neighbor_table_init(struct neighbor_table *t, const struct mac *my_mac, be32 my_ip)
{
	memset(t, 0, sizeof *t);
	t->my_mac = *my_mac;
	t->my_ip = my_ip;
}

void neighbor_table_init6(struct neighbor_table *t, const struct mac *my_mac, const uint8_t *my_ip6)
{
	neighbor_table_init(t, my_mac, 0);
	t->is_ip6 = true;
	memcpy(t->my_ip6, my_ip6, sizeof t->my_ip6);
}

bool neighbor_table_insert(struct neighbor_table *t, be32 ip)
{
	if (t->n == NEIGHBOR_MAX)
		return false;
	t->entries[t->n++] = (struct neighbor){ .ip = ip };
	return true;
}

bool neighbor_table_insert6(struct neighbor_table *t, const uint8_t *ip6)
{
	if (!neighbor_table_insert(t, 0))
		return false;
	memcpy(t->entries[t->n - 1].ip6, ip6, sizeof t->entries->ip6);
	return true;
}

static void confirm(struct neighbor *n, struct mono_time now)
{
	n->has_mac = true;
	n->state = NEIGHBOR_REACHABLE;
	n->n_probes = 0;
	n->since = now;
}

void neighbor_table_on_arp(struct neighbor_table *t, const struct arp_info *arp, struct mono_time now)
{
	for (uint32_t i = 0; i < t->n; i++) {
		struct neighbor *n = &t->entries[i];
		if (n->ip != arp->sender_ip)
			continue;
		n->mac = arp->sender_mac;
		confirm(n, now);
	}
}

// Said unasked (RFC 4861 sections 7.2.3 and 7.2.5): used from now on, and asked for at once when it is new.
static void hear_mac(struct neighbor *n, const struct mac *mac)
{
	if (n->has_mac && memcmp(&n->mac, mac, sizeof *mac) == 0)
		return;
	n->mac = *mac;
	n->has_mac = true;
	n->state = NEIGHBOR_NONE;
	n->n_probes = 0;
}

static void hear_advertisement(struct neighbor *n, const struct nd_info *nd, struct mono_time now)
{
	bool is_other = nd->has_mac && (!n->has_mac || memcmp(&n->mac, &nd->mac, sizeof n->mac) != 0);
	bool may_take = nd->is_override || !n->has_mac;
	if (!nd->has_mac && !n->has_mac)
		return;
	if (is_other && !may_take)
		return;
	if (!nd->is_solicited) {
		if (nd->has_mac)
			hear_mac(n, &nd->mac);
		return;
	}
	if (is_other)
		n->mac = nd->mac;
	confirm(n, now);
}

void neighbor_table_on_nd(struct neighbor_table *t, const struct nd_info *nd, struct mono_time now)
{
	bool is_advertisement = nd->type == ICMP6_NEIGHBOR_ADVERTISEMENT;
	const uint8_t *who = is_advertisement ? nd->target : nd->src;
	for (uint32_t i = 0; i < t->n; i++) {
		struct neighbor *n = &t->entries[i];
		if (memcmp(n->ip6, who, sizeof n->ip6) != 0)
			continue;
		if (is_advertisement)
			hear_advertisement(n, nd, now);
		else if (nd->has_mac)
			hear_mac(n, &nd->mac);
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

static uint32_t write_request(const struct neighbor_table *t, const struct neighbor *n, uint8_t *frame)
{
	const struct mac *mac = n->has_mac ? &n->mac : NULL;
	if (t->is_ip6) {
		nd_write_solicitation(frame, &t->my_mac, t->my_ip6, n->ip6, mac);
		return ND_SOLICITATION_BYTES;
	}
	arp_write_request(frame, &t->my_mac, t->my_ip, n->ip, mac);
	return ARP_FRAME_BYTES;
}

uint32_t neighbor_table_step(struct neighbor_table *t, struct mono_time now, uint8_t *frame)
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
		return write_request(t, n, frame);
	}
	return 0;
}
