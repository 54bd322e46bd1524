#include <string.h>

#include "common/base/check.h"
#include "hostagent/core/snat_state.h"

// ---- Queues ----

bool index_queue_push(struct index_queue *q, uint32_t item)
{
	if (q->n > q->mask)
		return false;
	q->items[(q->first + q->n++) & q->mask] = item;
	return true;
}

bool index_queue_pop(struct index_queue *q, uint32_t *ret_item)
{
	if (q->n == 0)
		return false;
	*ret_item = q->items[q->first++ & q->mask];
	q->n--;
	return true;
}

// ---- DIPs ----

static uint16_t *dip_head(const struct snat *s, be32 dip)
{
	return &s->dip_heads[(uint32_t)(hash_mix64(dip) >> 20) & s->dip_mask];
}

uint16_t snat_dip_lookup(const struct snat *s, be32 dip)
{
	uint16_t slot = *dip_head(s, dip);
	while (slot != SNAT_NO_SLOT && s->dips[slot].dip != dip)
		slot = s->dips[slot].next;
	return slot;
}

static uint16_t unused_slot(struct snat *s)
{
	if (s->n_dips == s->limits.n_dips)
		return SNAT_NO_SLOT; // without a search: this may be asked for every packet of a DIP
	for (uint32_t i = 0; i < s->n_dips_seen; i++)
		if (!s->dips[i].is_used)
			return (uint16_t)i;
	return (uint16_t)s->n_dips_seen++;
}

uint16_t snat_dip_add(struct snat *s, be32 dip)
{
	uint16_t slot = unused_slot(s);
	if (slot == SNAT_NO_SLOT)
		return slot;
	struct snat_dip *d = &s->dips[slot];
	bool is_due = d->is_due; // it is in the queue, whoever had the slot
	bool is_ready = d->is_ready;
	memset(d, 0, sizeof *d);
	d->is_due = is_due;
	d->is_ready = is_ready;
	d->dip = dip;
	d->period = s->now;
	d->max_ports = UINT32_MAX;
	d->cursor[MAPPED_UDP] = (uint32_t)hash_mix64(s->seed ^ dip);
	d->cursor[MAPPED_ICMP] = (uint32_t)(hash_mix64(s->seed ^ dip) >> 32);
	token_bucket_init(&d->answers, 10, 10, s->now);
	d->next = *dip_head(s, dip);
	*dip_head(s, dip) = slot;
	s->n_dips++;
	__atomic_store_n(&d->is_used, true, __ATOMIC_RELEASE);
	return slot;
}

void snat_dip_remove(struct snat *s, uint16_t slot)
{
	struct snat_dip *d = &s->dips[slot];
	CHECK(d->is_used && d->n_all_blocks == 0 && d->n_flows == 0);
	uint16_t *link = dip_head(s, d->dip);
	while (*link != slot)
		link = &s->dips[*link].next;
	*link = d->next;
	s->n_dips--;
	__atomic_store_n(&d->is_used, false, __ATOMIC_RELAXED);
}

// ---- Blocks ----

static uint32_t *block_head(const struct snat *s, be32 vip, uint32_t port)
{
	uint64_t key = (uint64_t)vip << 16 | port / SNAT_UNIT_PORTS;
	return &s->block_heads[(uint32_t)(hash_mix64(key) >> 20) & s->block_mask];
}

static bool is_same_port(const struct snat_block *b, be32 vip, uint32_t port)
{
	return b->vip == vip && b->first_port == port / SNAT_UNIT_PORTS * SNAT_UNIT_PORTS;
}

uint32_t snat_block_lookup(const struct snat *s, be32 vip, uint32_t port, uint16_t slot)
{
	uint32_t i = *block_head(s, vip, port);
	while (i != NO_BLOCK && !(is_same_port(&s->blocks[i], vip, port) && s->blocks[i].slot == slot))
		i = s->blocks[i].next;
	return i;
}

// Marks the blocks of one port range: is there more than one?
static void find_contention(struct snat *s, be32 vip, uint32_t port)
{
	uint32_t n = 0;
	for (uint32_t i = *block_head(s, vip, port); i != NO_BLOCK; i = s->blocks[i].next)
		n += is_same_port(&s->blocks[i], vip, port);
	for (uint32_t i = *block_head(s, vip, port); i != NO_BLOCK; i = s->blocks[i].next)
		if (is_same_port(&s->blocks[i], vip, port))
			s->blocks[i].is_contended = n > 1;
}

static uint32_t take_free_block(struct snat *s)
{
	if (s->n_free_blocks == 0)
		return NO_BLOCK;
	s->n_free_blocks--;
	if (s->free_block == NO_BLOCK)
		return s->n_blocks_seen++;
	uint32_t block = s->free_block;
	s->free_block = s->blocks[block].next;
	return block;
}

uint32_t snat_block_add(struct snat *s, be32 vip, uint32_t first_port, uint16_t slot)
{
	uint32_t block = take_free_block(s);
	if (block == NO_BLOCK)
		return NO_BLOCK;
	uint32_t *head = block_head(s, vip, first_port);
	s->blocks[block] = (struct snat_block){
		.vip = vip,
		.first_port = (uint16_t)first_port,
		.slot = slot,
		.next = *head,
		.head = block,
		.next_in_lease = NO_BLOCK,
		.position = NO_BLOCK,
		.state = BLOCK_ENDED,
		.n_blocks = 1,
	};
	*head = block;
	s->dips[slot].n_all_blocks++;
	find_contention(s, vip, first_port);
	return block;
}

void snat_block_remove(struct snat *s, uint32_t block)
{
	struct snat_block *b = &s->blocks[block];
	CHECK(b->state != BLOCK_FREE && b->position == NO_BLOCK && b->n_flows == 0);
	uint32_t *link = block_head(s, b->vip, b->first_port);
	while (*link != block)
		link = &s->blocks[*link].next;
	*link = b->next;
	find_contention(s, b->vip, b->first_port);
	s->dips[b->slot].n_all_blocks--;
	b->state = BLOCK_FREE;
	b->is_queued = false;
	b->next = s->free_block;
	s->free_block = block;
	s->n_free_blocks++;
}

// ---- The list of a DIP ----

static uint32_t ports_in_use(const struct snat_block *b)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < SNAT_UNIT_PORTS; i++)
		n += b->port_flows[i] > 0;
	return n;
}

// The ports that a DIP has of one VIP; NULL when it has too many VIPs.
static uint32_t *ports_of_vip(struct snat_dip *d, be32 vip)
{
	uint32_t *unused = NULL;
	for (uint32_t i = 0; i < SNAT_VIPS_PER_DIP; i++) {
		if (d->vips[i].n_ports > 0 && d->vips[i].vip == vip)
			return &d->vips[i].n_ports;
		if (d->vips[i].n_ports == 0 && unused == NULL) {
			unused = &d->vips[i].n_ports;
			d->vips[i].vip = vip;
		}
	}
	return unused;
}

bool snat_list_has_room(const struct snat *s, uint16_t slot, be32 vip, uint32_t n_blocks)
{
	struct snat_dip *d = &s->dips[slot];
	uint32_t n_pages = (d->n_blocks + LIST_PAGE_BLOCKS - 1) / LIST_PAGE_BLOCKS;
	uint32_t n_then = (d->n_blocks + n_blocks + LIST_PAGE_BLOCKS - 1) / LIST_PAGE_BLOCKS;
	return n_then <= LIST_PAGES && n_then - n_pages <= s->n_free_pages && ports_of_vip(d, vip) != NULL;
}

// What the block's flows count for comes with it into the list's numbers, and out of them; destinations follow with
// snat_settle.
static void count_in_list(struct snat *s, struct snat_dip *d, struct snat_block *b)
{
	if (b->n_flows == 0)
		b->is_counted = true;
	else if (!b->is_counted)
		s->is_unsettled = true;
	stat_add32(&d->used_ports, ports_in_use(b));
	for (uint32_t p = 0; p < MAPPED_PROTOCOLS; p++)
		d->n_mapped[p] += (uint32_t)__builtin_popcount(b->mapped[p]);
}

static void count_apart(struct snat *s, struct snat_dip *d, struct snat_block *b)
{
	if (b->n_flows == 0)
		b->is_counted = false;
	else if (b->is_counted)
		s->is_unsettled = true;
	stat_sub32(&d->used_ports, ports_in_use(b));
	for (uint32_t p = 0; p < MAPPED_PROTOCOLS; p++)
		d->n_mapped[p] -= (uint32_t)__builtin_popcount(b->mapped[p]);
}

void snat_list_append(struct snat *s, uint32_t block)
{
	struct snat_block *b = &s->blocks[block];
	struct snat_dip *d = &s->dips[b->slot];
	uint32_t *n_ports = ports_of_vip(d, b->vip);
	CHECK(b->position == NO_BLOCK && n_ports != NULL);
	uint32_t page = d->n_blocks / LIST_PAGE_BLOCKS;
	if (d->n_blocks % LIST_PAGE_BLOCKS == 0)
		d->pages[page] = s->free_pages[--s->n_free_pages];
	s->pages[d->pages[page]][d->n_blocks % LIST_PAGE_BLOCKS] = block;
	b->position = d->n_blocks;
	stat_add32(&d->n_blocks, 1);
	*n_ports += SNAT_UNIT_PORTS;
	count_in_list(s, d, b);
}

// The last block takes its place.
void snat_list_remove(struct snat *s, uint32_t block)
{
	struct snat_block *b = &s->blocks[block];
	struct snat_dip *d = &s->dips[b->slot];
	CHECK(b->position < d->n_blocks);
	uint32_t last = snat_list_at(s, d, d->n_blocks - 1);
	s->pages[d->pages[b->position / LIST_PAGE_BLOCKS]][b->position % LIST_PAGE_BLOCKS] = last;
	s->blocks[last].position = b->position;
	b->position = NO_BLOCK;
	stat_sub32(&d->n_blocks, 1);
	if (d->n_blocks % LIST_PAGE_BLOCKS == 0)
		s->free_pages[s->n_free_pages++] = d->pages[d->n_blocks / LIST_PAGE_BLOCKS];
	if (d->window > d->n_blocks)
		d->window = d->n_blocks;
	*ports_of_vip(d, b->vip) -= SNAT_UNIT_PORTS;
	count_apart(s, d, b);
}

// ---- Destinations: linear probing, and what follows a hole moves up ----

uint64_t snat_destination_hash(const struct snat *s, uint16_t slot, be32 remote, be16 remote_port)
{
	uint64_t key = (uint64_t)remote << 32 | (uint32_t)slot << 16 | remote_port;
	return flow_mix(key ^ s->seed, s->seed ^ 0xa0761d6478bd642fULL);
}

static uint32_t destination_start(const struct snat *s, const struct snat_destination *d)
{
	return (uint32_t)snat_destination_hash(s, d->slot, d->remote, d->remote_port) & s->destination_mask;
}

struct snat_destination *snat_destination_lookup(const struct snat *s, uint16_t slot, be32 remote, be16 remote_port)
{
	uint32_t i = (uint32_t)snat_destination_hash(s, slot, remote, remote_port) & s->destination_mask;
	for (; s->destinations[i].n_used > 0; i = (i + 1) & s->destination_mask) {
		struct snat_destination *d = &s->destinations[i];
		if (d->remote == remote && d->remote_port == remote_port && d->slot == slot)
			return d;
	}
	return NULL;
}

struct snat_destination *snat_destination_add(struct snat *s, uint16_t slot, be32 remote, be16 remote_port)
{
	if (s->n_destinations == s->limits.n_destinations)
		return NULL;
	s->n_destinations++;
	struct snat_destination d = { .remote = remote, .remote_port = remote_port, .slot = slot, .n_used = 1 };
	uint32_t i = destination_start(s, &d);
	while (s->destinations[i].n_used > 0)
		i = (i + 1) & s->destination_mask;
	s->destinations[i] = d;
	return &s->destinations[i];
}

// May what lies at `at` and belongs at `start` move to the hole? Not if the hole is before its start.
static bool may_move(uint32_t start, uint32_t at, uint32_t hole, uint32_t mask)
{
	return ((at - start) & mask) >= ((at - hole) & mask);
}

void snat_destination_remove(struct snat *s, struct snat_destination *d)
{
	uint32_t mask = s->destination_mask;
	uint32_t hole = (uint32_t)(d - s->destinations);
	for (uint32_t i = (hole + 1) & mask; s->destinations[i].n_used > 0; i = (i + 1) & mask) {
		if (!may_move(destination_start(s, &s->destinations[i]), i, hole, mask))
			continue;
		s->destinations[hole] = s->destinations[i];
		hole = i;
	}
	s->destinations[hole] = (struct snat_destination){ 0 };
	s->n_destinations--;
}

// ---- Mappings, likewise; one DIP:port may have several, on leases that have ended ----

static uint32_t mapping_start(const struct snat *s, uint16_t slot, be16 dip_port, uint32_t protocol)
{
	uint64_t key = (uint64_t)protocol << 32 | (uint32_t)slot << 16 | dip_port;
	return (uint32_t)flow_mix(key ^ s->seed, s->seed ^ 0xe7037ed1a0b428dbULL) & s->mapping_mask;
}

struct snat_mapping *snat_mapping_lookup(const struct snat *s, uint16_t slot, be16 dip_port,
                                         enum mapped_protocol protocol, uint32_t block, uint32_t offset)
{
	uint32_t i = mapping_start(s, slot, dip_port, protocol);
	for (; s->mappings[i].n_flows > 0; i = (i + 1) & s->mapping_mask) {
		struct snat_mapping *m = &s->mappings[i];
		if (m->dip_port != dip_port || m->slot != slot || m->protocol != protocol)
			continue;
		bool fits =
			block == NO_BLOCK ? s->blocks[m->block].position != NO_BLOCK : m->block == block && m->offset == offset;
		if (fits)
			return m;
	}
	return NULL;
}

struct snat_mapping *snat_mapping_add(struct snat *s, uint16_t slot, be16 dip_port, enum mapped_protocol protocol,
                                      uint32_t block, uint32_t offset)
{
	if (s->n_mappings == s->limits.n_mappings)
		return NULL;
	s->n_mappings++;
	uint32_t i = mapping_start(s, slot, dip_port, protocol);
	while (s->mappings[i].n_flows > 0)
		i = (i + 1) & s->mapping_mask;
	s->mappings[i] = (struct snat_mapping){ .dip_port = dip_port,
		                                    .slot = slot,
		                                    .block = block,
		                                    .n_flows = 1,
		                                    .protocol = (uint8_t)protocol,
		                                    .offset = (uint8_t)offset };
	return &s->mappings[i];
}

void snat_mapping_remove(struct snat *s, struct snat_mapping *removed)
{
	uint32_t mask = s->mapping_mask;
	uint32_t hole = (uint32_t)(removed - s->mappings);
	for (uint32_t i = (hole + 1) & mask; s->mappings[i].n_flows > 0; i = (i + 1) & mask) {
		const struct snat_mapping *m = &s->mappings[i];
		if (!may_move(mapping_start(s, m->slot, m->dip_port, m->protocol), i, hole, mask))
			continue;
		s->mappings[hole] = *m;
		hole = i;
	}
	s->mappings[hole] = (struct snat_mapping){ 0 };
	s->n_mappings--;
}
