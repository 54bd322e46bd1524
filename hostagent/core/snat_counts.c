// The counts that follow the flows: of ports, destinations and mappings.
#include <string.h>

#include "hostagent/core/snat_state.h"
#include "hostagent/core/verdict.h"

// ---- Counting ----

static void put_busy(struct snat_busy *b, uint64_t key, const struct ip_addr *addr)
{
	__atomic_store_n(&b->turn, b->turn + 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	__atomic_store_n(&b->key, key, __ATOMIC_RELAXED);
	for (uint32_t i = 0; i < 2; i++)
		__atomic_store_n(&b->addr[i], load64(addr->bytes + 8 * i), __ATOMIC_RELAXED);
	__atomic_store_n(&b->turn, b->turn + 1, __ATOMIC_RELEASE);
}

// The place of a destination among the busiest; NULL: it is not one of them.
static struct snat_busy *busy_of(struct snat_dip *d, uint64_t key, const uint8_t *remote6, uint32_t n_ports)
{
	struct snat_busy *least = &d->busiest[0];
	for (uint32_t i = 0; i < SNAT_BUSIEST_DESTINATIONS; i++) {
		struct snat_busy *b = &d->busiest[i];
		if (b->key == key && b->n_ports > 0)
			return b;
		if (b->n_ports < least->n_ports)
			least = b;
	}
	if (n_ports <= least->n_ports)
		return NULL;
	least->pace = (struct snat_pace){ .from = n_ports - 1, .n_ports = n_ports - 1 };
	struct ip_addr addr = snat_remote_addr((be32)(key >> 32), remote6);
	put_busy(least, key, &addr);
	return least;
}

// The busiest destinations, for status and for what is asked for. One that is not named any more because it was quiet comes
// back when it grows.
static struct snat_busy *note_busy(const struct snat *s, struct snat_dip *d, const struct snat_destination *dest,
                                   const uint8_t *remote6, uint32_t n_ports)
{
	struct snat_busy *b = busy_of(d, (uint64_t)dest->remote << 32 | dest->remote_port, remote6, n_ports);
	if (b == NULL)
		return NULL;
	__atomic_store_n(&b->n_ports, n_ports, __ATOMIC_RELAXED);
	snat_pace_note(&b->pace, n_ports, s->now);
	return b;
}

// More ports are in use: is it time to ask for others?
static void ask_ahead(struct snat *s, uint16_t slot, const struct snat_pace *pace)
{
	struct snat_need need = snat_need_of(s, &s->dips[slot]);
	if (snat_demand_is_due(pace, &need))
		snat_ask(s, slot);
}

static void count_block(struct snat *s, uint32_t block, uint32_t offset)
{
	struct snat_block *b = &s->blocks[block];
	struct snat_dip *d = &s->dips[b->slot];
	if (b->port_flows[offset] == 0 && b->position != NO_BLOCK)
		stat_add32(&d->used_ports, 1);
	if (b->port_flows[offset] < UINT16_MAX)
		b->port_flows[offset]++;
	b->n_flows++;
	s->blocks[b->head].lease_flows++;
	stat_add32(&d->n_flows, 1);
}

// `dest`: the destination, or NULL when it is a new one. Returns its place among the busiest, if it has one.
static const struct snat_busy *count_destination(struct snat *s, uint16_t slot, struct snat_destination *dest,
                                                 const struct flow_tuple *tuple, uint32_t cursor)
{
	if (dest != NULL)
		dest->n_used++;
	else
		dest = snat_destination_add(s, slot, tuple->remote, tuple->remote_port);
	if (dest == NULL)
		return NULL;
	dest->cursor = cursor;
	return note_busy(s, &s->dips[slot], dest, tuple->remote6, dest->n_used);
}

static bool count_mapping(struct snat *s, uint16_t slot, const struct flow_tuple *tuple, uint32_t block,
                          uint32_t offset)
{
	enum mapped_protocol protocol = mapped_protocol_of(tuple->protocol);
	struct snat_mapping *m = snat_mapping_lookup(s, slot, tuple->dip_port, protocol, block, offset);
	if (m != NULL) {
		m->n_flows++;
		return true;
	}
	if (snat_mapping_add(s, slot, tuple->dip_port, protocol, block, offset) == NULL)
		return false;
	struct snat_block *b = &s->blocks[block];
	b->mapped[protocol] |= (uint8_t)(1u << offset);
	struct snat_dip *d = &s->dips[slot];
	if (b->position != NO_BLOCK)
		snat_pace_note(&d->mapped_pace[protocol], ++d->n_mapped[protocol], s->now);
	return true;
}

void snat_flow_began(struct snat *s, const struct flow_tuple *tuple, const struct snat_choice *choice)
{
	struct snat_dip *d = &s->dips[choice->slot];
	d->n_begun++;
	count_block(s, choice->block, choice->offset);
	if (tuple->protocol == IP_PROTO_TCP) {
		const struct snat_busy *busy = count_destination(s, choice->slot, choice->destination, tuple, choice->cursor);
		if (busy != NULL)
			ask_ahead(s, choice->slot, &busy->pace);
	} else {
		(void)count_mapping(s, choice->slot, tuple, choice->block,
		                    choice->offset); // snat_choose saw that there is room
		ask_ahead(s, choice->slot, &d->mapped_pace[mapped_protocol_of(tuple->protocol)]);
	}
}

static void uncount_destination(struct snat *s, uint16_t slot, const struct flow_tuple *e)
{
	struct snat_destination *dest = snat_destination_lookup(s, slot, e->remote, e->remote_port);
	if (dest == NULL)
		return; // the table was full when it began
	(void)note_busy(s, &s->dips[slot], dest, e->remote6, dest->n_used - 1);
	if (--dest->n_used > 0)
		return;
	dest->n_used = 1; // what is removed is there
	snat_destination_remove(s, dest);
}

static void uncount_mapping(struct snat *s, uint16_t slot, const struct flow_tuple *e, uint32_t block, uint32_t offset)
{
	enum mapped_protocol protocol = mapped_protocol_of(e->protocol);
	struct snat_mapping *m = snat_mapping_lookup(s, slot, e->dip_port, protocol, block, offset);
	if (m == NULL)
		return;
	if (m->n_flows > 1) {
		m->n_flows--;
		return;
	}
	snat_mapping_remove(s, m);
	struct snat_block *b = &s->blocks[block];
	b->mapped[protocol] &= (uint8_t) ~(1u << offset);
	struct snat_dip *d = &s->dips[slot];
	if (b->position != NO_BLOCK)
		snat_pace_note(&d->mapped_pace[protocol], --d->n_mapped[protocol], s->now);
}

static void uncount_block(struct snat *s, uint32_t block, uint32_t offset)
{
	struct snat_block *b = &s->blocks[block];
	struct snat_dip *d = &s->dips[b->slot];
	bool was_last = b->port_flows[offset] == 1;
	if (b->port_flows[offset] < UINT16_MAX)
		b->port_flows[offset]--;
	if (was_last && b->position != NO_BLOCK)
		stat_sub32(&d->used_ports, 1);
	stat_sub32(&d->n_flows, 1);
	b->n_flows--;
	if (--s->blocks[b->head].lease_flows == 0)
		snat_lease_unused(s, b->head);
}

void snat_flow_ended(struct snat *s, const struct flow_tuple *e)
{
	if (!s->is_rebuilt)
		return; // nothing was counted yet
	uint16_t slot = snat_dip_lookup(s, e->dip);
	if (slot == SNAT_NO_SLOT)
		return;
	uint32_t port = be16_to(e->vip_port);
	uint32_t block = snat_block_lookup(s, e->vip, port, slot);
	if (block == NO_BLOCK)
		return;
	if (e->protocol != IP_PROTO_TCP)
		uncount_mapping(s, slot, e, block, port % SNAT_UNIT_PORTS);
	else if (s->blocks[block].is_counted)
		uncount_destination(s, slot, e);
	uncount_block(s, block, port % SNAT_UNIT_PORTS);
}

// ---- Many flows at once: blocks that came into a list or out of it, and a restart ----

// The port ranges of blocks that are looked for, of whatever VIP and DIP: nearly all flows are passed over by this alone.
struct sieve {
	uint64_t words[65536 / SNAT_UNIT_PORTS / 64];
};

static bool sieve_has(const struct sieve *f, uint32_t port)
{
	uint32_t bit = port / SNAT_UNIT_PORTS;
	return (f->words[bit / 64] >> bit % 64 & 1) != 0;
}

static bool is_unsettled(const struct snat_block *b)
{
	return b->state != BLOCK_FREE && b->is_counted != (b->position != NO_BLOCK);
}

static uint32_t fill_sieve(const struct snat *s, struct sieve *f)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < s->n_blocks_seen; i++) {
		const struct snat_block *b = &s->blocks[i];
		if (!is_unsettled(b))
			continue;
		uint32_t bit = b->first_port / SNAT_UNIT_PORTS;
		f->words[bit / 64] |= 1ull << bit % 64;
		n++;
	}
	return n;
}

// What a destination goes on with that has flows, but no entry.
static uint32_t any_cursor(const struct snat *s, const struct flow_tuple *e)
{
	return (uint32_t)hash_mix64(s->seed ^ e->remote ^ e->vip_port);
}

static void settle_flow(struct snat *s, const struct flow_tuple *e)
{
	uint16_t slot = snat_dip_lookup(s, e->dip);
	uint32_t block = slot == SNAT_NO_SLOT ? NO_BLOCK : snat_block_lookup(s, e->vip, be16_to(e->vip_port), slot);
	if (block == NO_BLOCK || !is_unsettled(&s->blocks[block]))
		return;
	if (s->blocks[block].is_counted)
		uncount_destination(s, slot, e);
	else
		count_destination(s, slot, snat_destination_lookup(s, slot, e->remote, e->remote_port), e, any_cursor(s, e));
}

// What came at once is no burst.
static void rest_paces(struct snat *s)
{
	for (uint32_t i = 0; i < s->n_dips_seen; i++) {
		struct snat_dip *d = &s->dips[i];
		for (uint32_t k = 0; k < SNAT_BUSIEST_DESTINATIONS; k++)
			d->busiest[k].pace = (struct snat_pace){ .from = d->busiest[k].n_ports, .n_ports = d->busiest[k].n_ports };
		for (uint32_t p = 0; p < MAPPED_PROTOCOLS; p++)
			d->mapped_pace[p] = (struct snat_pace){ .from = d->n_mapped[p], .n_ports = d->n_mapped[p] };
	}
}

COLD_PATH static void settle(struct snat *s, const struct flow_table *flows)
{
	struct sieve sieve = { 0 };
	s->is_unsettled = false;
	if (fill_sieve(s, &sieve) == 0)
		return;
	for (uint32_t i = 0; i < flows->high_water; i++) {
		const struct flow_entry *e = &flows->entries[i];
		if (!flow_entry_is_snat(e) || e->protocol != IP_PROTO_TCP || !sieve_has(&sieve, be16_to(e->vip_port)))
			continue;
		struct flow_tuple tuple = flow_entry_tuple(flows, e);
		settle_flow(s, &tuple);
	}
	for (uint32_t i = 0; i < s->n_blocks_seen; i++)
		s->blocks[i].is_counted = s->blocks[i].state != BLOCK_FREE && s->blocks[i].position != NO_BLOCK;
	rest_paces(s);
}

void snat_settle(struct snat *s, const struct flow_table *flows)
{
	if (__builtin_expect(s->is_unsettled, 0))
		settle(s, flows);
}

static void forget_counts(struct snat *s)
{
	for (uint32_t i = 0; i < s->n_blocks_seen; i++) {
		struct snat_block *b = &s->blocks[i];
		if (b->state == BLOCK_FREE)
			continue;
		b->n_flows = 0;
		b->lease_flows = 0;
		memset(b->port_flows, 0, sizeof b->port_flows);
		memset(b->mapped, 0, sizeof b->mapped);
		b->is_counted = b->position != NO_BLOCK;
		if (b->state == BLOCK_ENDED)
			snat_block_remove(s, i);
	}
	for (uint32_t i = 0; i < s->n_dips_seen; i++) {
		struct snat_dip *d = &s->dips[i];
		d->n_flows = 0;
		d->used_ports = 0;
		memset(d->n_mapped, 0, sizeof d->n_mapped);
		memset(d->busiest, 0, sizeof d->busiest);
	}
	memset(s->destinations, 0, ((size_t)s->destination_mask + 1) * sizeof *s->destinations);
	memset(s->mappings, 0, ((size_t)s->mapping_mask + 1) * sizeof *s->mappings);
	s->n_destinations = 0;
	s->n_mappings = 0;
	s->is_unsettled = false;
}

// The block of a flow that was begun by a process before; one whose lease has ended meanwhile is made.
static uint32_t block_of_flow(struct snat *s, const struct flow_tuple *e, uint16_t *ret_slot)
{
	uint16_t slot = snat_dip_lookup(s, e->dip);
	if (slot == SNAT_NO_SLOT)
		slot = snat_dip_add(s, e->dip);
	if (slot == SNAT_NO_SLOT)
		return NO_BLOCK;
	*ret_slot = slot;
	uint32_t port = be16_to(e->vip_port);
	uint32_t block = snat_block_lookup(s, e->vip, port, slot);
	return block != NO_BLOCK ? block : snat_block_add(s, e->vip, port / SNAT_UNIT_PORTS * SNAT_UNIT_PORTS, slot);
}

static bool count_restored(struct snat *s, const struct flow_tuple *e)
{
	uint16_t slot;
	uint32_t block = block_of_flow(s, e, &slot);
	if (block == NO_BLOCK)
		return false;
	uint32_t offset = be16_to(e->vip_port) % SNAT_UNIT_PORTS;
	if (e->protocol == IP_PROTO_TCP) {
		if (s->blocks[block].is_counted)
			count_destination(s, slot, snat_destination_lookup(s, slot, e->remote, e->remote_port), e,
			                  any_cursor(s, e));
	} else if (!count_mapping(s, slot, e, block, offset)) {
		if (s->blocks[block].state == BLOCK_ENDED && s->blocks[block].n_flows == 0)
			snat_block_remove(s, block);
		return false;
	}
	count_block(s, block, offset);
	return true;
}

void snat_rebuild(struct snat *s, struct flow_table *flows)
{
	forget_counts(s);
	for (uint32_t i = 0; i < flows->high_water; i++) {
		struct flow_entry *e = &flows->entries[i];
		struct flow_tuple tuple = flow_entry_tuple(flows, e);
		if (e->state != FLOW_FREE && flow_entry_is_snat(e) && !count_restored(s, &tuple))
			e->state &= FLOW_STATE_MASK; // known as before, and not counted
	}
	rest_paces(s);
	s->is_rebuilt = true;
}
