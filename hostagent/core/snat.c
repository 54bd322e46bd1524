#include "hostagent/core/snat.h"

#include <string.h>

#include "common/base/check.h"
#include "common/base/memory.h"
#include "hostagent/core/snat_state.h"

// ---- Memory ----

struct snat_limits snat_limits_default(uint32_t max_flows)
{
	return (struct snat_limits){
		.n_dips = 1024, .n_blocks = 65536, .n_destinations = max_flows / 2, .n_mappings = max_flows / 4
	};
}

static uint32_t power_above(uint32_t n)
{
	uint32_t power = 4;
	while (power < n)
		power *= 2;
	return power;
}

static void *carve(uint8_t *base, size_t *at, size_t bytes)
{
	size_t here = *at;
	*at += (bytes + 63) / 64 * 64;
	return base == NULL ? NULL : base + here;
}

static struct index_queue carve_queue(uint8_t *base, size_t *at, uint32_t n)
{
	uint32_t size = power_above(n);
	return (struct index_queue){ .mask = size - 1, .items = carve(base, at, size * sizeof(uint32_t)) };
}

// Lays the arrays out from `base`, or only measures when that is NULL; returns the bytes used.
static size_t lay_out(struct snat *s, const struct snat_limits *limits, uint8_t *base)
{
	size_t at = 0;
	uint32_t n_pages = limits->n_blocks / LIST_PAGE_BLOCKS + limits->n_dips + 1;
	carve(base, &at, sizeof *s);
	s->limits = *limits;
	s->dip_mask = power_above(2 * limits->n_dips) - 1;
	s->block_mask = power_above(2 * limits->n_blocks) - 1;
	s->destination_mask = power_above(2 * limits->n_destinations) - 1;
	s->mapping_mask = power_above(2 * limits->n_mappings) - 1;
	s->dips = carve(base, &at, limits->n_dips * sizeof *s->dips);
	s->dip_heads = carve(base, &at, (s->dip_mask + 1) * sizeof *s->dip_heads);
	s->blocks = carve(base, &at, (size_t)limits->n_blocks * sizeof *s->blocks);
	s->block_heads = carve(base, &at, ((size_t)s->block_mask + 1) * sizeof *s->block_heads);
	s->pages = carve(base, &at, n_pages * sizeof *s->pages);
	s->free_pages = carve(base, &at, n_pages * sizeof *s->free_pages);
	s->destinations = carve(base, &at, ((size_t)s->destination_mask + 1) * sizeof *s->destinations);
	s->mappings = carve(base, &at, ((size_t)s->mapping_mask + 1) * sizeof *s->mappings);
	s->due = carve_queue(base, &at, limits->n_dips);
	s->ready = carve_queue(base, &at, limits->n_dips);
	s->later = carve_queue(base, &at, limits->n_dips);
	s->returned = carve_queue(base, &at, 2 * limits->n_blocks);
	s->n_free_pages = n_pages;
	return at;
}

int snat_create(const struct snat_limits *limits, uint64_t seed, uint64_t first_seq, struct mono_time now,
                struct snat **ret_snat, struct error *err)
{
	CHECK(limits->n_dips > 0 && limits->n_dips < SNAT_NO_SLOT && limits->n_blocks > 0 && limits->n_blocks <= 1u << 21);
	CHECK(limits->n_destinations <= 1u << 30 && limits->n_mappings <= 1u << 30);
	CHECK(limits->n_blocks / LIST_PAGE_BLOCKS + limits->n_dips < UINT16_MAX);
	struct snat measure = { 0 };
	size_t bytes = lay_out(&measure, limits, NULL);
	struct snat *s = memory_aligned(64, bytes);
	if (s == NULL)
		return error_set(err, ERR_NO_MEMORY, "no memory for SNAT of %zu bytes", bytes);
	lay_out(s, limits, (uint8_t *)s);
	s->seed = seed;
	s->next_seq = first_seq;
	s->now = now;
	s->link_since = now;
	s->free_block = NO_BLOCK;
	s->n_free_blocks = limits->n_blocks;
	memset(s->dip_heads, 0xff, (s->dip_mask + 1) * sizeof *s->dip_heads);
	memset(s->block_heads, 0xff, ((size_t)s->block_mask + 1) * sizeof *s->block_heads);
	for (uint32_t i = 0; i < s->n_free_pages; i++)
		s->free_pages[i] = (uint16_t)i;
	*ret_snat = s;
	return 0;
}

void snat_destroy(struct snat *s)
{
	memory_free(s);
}

uint32_t snat_leased_ports(const struct snat_dip *d)
{
	return d->n_blocks * SNAT_UNIT_PORTS;
}

struct snat_need snat_need_of(const struct snat *s, const struct snat_dip *d)
{
	return (struct snat_need){
		.n_leased = snat_leased_ports(d), .max_ports = d->max_ports, .n_waiting = d->n_waiting, .now = s->now
	};
}

// ---- Leases ----

static uint32_t now_s(const struct snat *s)
{
	return (uint32_t)(s->now.us / 1000000);
}

void snat_lease_unused(struct snat *s, uint32_t head)
{
	if (s->blocks[head].state == BLOCK_ENDED)
		snat_block_remove(s, head);
	else
		s->blocks[head].idle_since_s = now_s(s);
}

static bool is_held(const struct snat_block *b)
{
	return b->state == BLOCK_LEASED || b->state == BLOCK_RETURNING;
}

// What has flows stays until they are over, block by block.
static void end_lease(struct snat *s, uint32_t head)
{
	for (uint32_t i = head, next; i != NO_BLOCK; i = next) {
		struct snat_block *b = &s->blocks[i];
		next = b->next_in_lease;
		if (b->position != NO_BLOCK)
			snat_list_remove(s, i);
		b->state = BLOCK_ENDED;
		b->head = i;
		b->next_in_lease = NO_BLOCK;
		b->lease_flows = b->n_flows;
		b->n_blocks = 1;
		b->is_queued = false;
		if (b->n_flows == 0)
			snat_block_remove(s, i);
	}
}

static void give_back(struct snat *s, const struct snat_order *o)
{
	if (s->n_lost_returns < LOST_RETURNS)
		s->lost_returns[s->n_lost_returns++] = *o;
}

// What the DIP had there before ends, and its blocks with flows are taken over. Returns how many blocks must be made.
static uint32_t clear_range(struct snat *s, const struct snat_order *o, uint16_t slot)
{
	uint32_t n_missing = 0;
	for (uint32_t port = o->first_port; port < (uint32_t)o->first_port + o->n_ports; port += SNAT_UNIT_PORTS) {
		uint32_t block = snat_block_lookup(s, o->vip, port, slot);
		if (block != NO_BLOCK && is_held(&s->blocks[block])) {
			end_lease(s, s->blocks[block].head);
			block = snat_block_lookup(s, o->vip, port, slot);
		}
		n_missing += block == NO_BLOCK;
	}
	return n_missing;
}

static void make_lease(struct snat *s, const struct snat_order *o, uint16_t slot)
{
	uint32_t head = NO_BLOCK;
	uint32_t *link = NULL;
	for (uint32_t port = o->first_port; port < (uint32_t)o->first_port + o->n_ports; port += SNAT_UNIT_PORTS) {
		uint32_t block = snat_block_lookup(s, o->vip, port, slot);
		if (block == NO_BLOCK)
			block = snat_block_add(s, o->vip, port, slot);
		CHECK(block != NO_BLOCK);
		struct snat_block *b = &s->blocks[block];
		if (head == NO_BLOCK) {
			head = block;
			b->lease_flows = 0;
		} else {
			*link = block;
		}
		link = &b->next_in_lease;
		b->head = head;
		b->state = BLOCK_LEASED;
		s->blocks[head].lease_flows += b->n_flows;
		snat_list_append(s, block);
	}
	s->blocks[head].epoch = o->epoch;
	s->blocks[head].n_blocks = o->n_ports / SNAT_UNIT_PORTS;
	s->blocks[head].idle_since_s = now_s(s);
}

static void on_lease(struct snat *s, const struct snat_order *o)
{
	if (!lease_range_is_valid(o->first_port, o->n_ports))
		return;
	uint16_t slot = snat_dip_lookup(s, o->dip);
	if (slot == SNAT_NO_SLOT)
		slot = snat_dip_add(s, o->dip);
	if (slot == SNAT_NO_SLOT) {
		give_back(s, o);
		return;
	}
	uint32_t known = snat_block_lookup(s, o->vip, o->first_port, slot);
	if (known != NO_BLOCK && is_held(&s->blocks[known]) && s->blocks[known].head == known &&
	    s->blocks[known].epoch == o->epoch && s->blocks[known].n_blocks * SNAT_UNIT_PORTS == o->n_ports)
		return;
	uint32_t n_missing = clear_range(s, o, slot);
	if (n_missing > s->n_free_blocks || !snat_list_has_room(s, slot, o->vip, o->n_ports / SNAT_UNIT_PORTS)) {
		give_back(s, o);
		return;
	}
	make_lease(s, o, slot);
	snat_make_ready(s, slot);
}

static void on_end(struct snat *s, const struct snat_order *o)
{
	uint16_t slot = snat_dip_lookup(s, o->dip);
	uint32_t block = slot == SNAT_NO_SLOT ? NO_BLOCK : snat_block_lookup(s, o->vip, o->first_port, slot);
	if (block != NO_BLOCK && is_held(&s->blocks[block]) && s->blocks[block].head == block &&
	    s->blocks[block].epoch == o->epoch)
		end_lease(s, block);
}

static void on_answered(struct snat *s, const struct snat_order *o)
{
	uint16_t slot = snat_dip_lookup(s, o->dip);
	if (slot == SNAT_NO_SLOT || !s->dips[slot].is_asking || s->dips[slot].seq != o->seq)
		return;
	struct snat_dip *d = &s->dips[slot];
	d->is_asking = false;
	d->refusal = o->code;
	d->refused_until = o->code == 0 ? mono_from_us(0) : mono_add_us(s->now, SNAT_REFUSAL_US);
	snat_make_ready(s, slot);
}

static void on_link(struct snat *s, bool is_up)
{
	if (s->is_up != is_up)
		s->link_since = s->now;
	s->is_up = is_up;
	if (!is_up)
		return;
	s->link_generation++; // returns are reported again as their blocks are tended
	for (uint32_t i = 0; i < s->n_dips_seen; i++)
		if (s->dips[i].is_used && s->dips[i].is_asking)
			snat_report_due(s, (uint16_t)i, SNAT_REPORT_WANTED);
}

static void on_rebuild(struct snat *s, struct flow_table *flows)
{
	snat_rebuild(s, flows);
	for (uint32_t i = 0; i < s->n_dips_seen; i++)
		if (s->dips[i].is_used)
			snat_make_ready(s, (uint16_t)i);
}

void snat_order(struct snat *s, const struct snat_order *order, struct flow_table *flows)
{
	switch (order->kind) {
	case SNAT_ORDER_LEASE: on_lease(s, order); break;
	case SNAT_ORDER_END: on_end(s, order); break;
	case SNAT_ORDER_ANSWERED: on_answered(s, order); break;
	case SNAT_ORDER_LINK: on_link(s, order->is_up); break;
	case SNAT_ORDER_REBUILD: on_rebuild(s, flows); break;
	}
}

// ---- Time ----

// What the window must have: twice what was in use at most in this period, and what is kept in any case.
static uint32_t needed_blocks(const struct snat_dip *d, const struct agent_snat *policy)
{
	uint32_t n_ports = d->peak;
	for (uint32_t i = 0; i < SNAT_BUSIEST_DESTINATIONS; i++)
		n_ports = d->busiest[i].n_ports > n_ports ? d->busiest[i].n_ports : n_ports;
	for (uint32_t p = 0; p < MAPPED_PROTOCOLS; p++)
		n_ports = d->n_mapped[p] > n_ports ? d->n_mapped[p] : n_ports;
	n_ports *= 2;
	if (policy != NULL && n_ports < policy->prealloc_ports)
		n_ports = policy->prealloc_ports;
	return (n_ports + SNAT_UNIT_PORTS - 1) / SNAT_UNIT_PORTS;
}

// Never longer than what may be idle must wait anyway.
static uint64_t window_period_us(const struct agent_snat *policy)
{
	uint64_t idle_us = policy == NULL ? WINDOW_PERIOD_US : (uint64_t)policy->idle_s * 1000000;
	return idle_us < WINDOW_PERIOD_US ? idle_us : WINDOW_PERIOD_US;
}

static void shrink_window(struct snat *s, struct snat_dip *d, const struct agent_snat *policy)
{
	if (mono_elapsed_us(d->period, s->now) < window_period_us(policy))
		return;
	uint32_t n_blocks = needed_blocks(d, policy);
	if (d->window > n_blocks)
		d->window = d->window / 2 > n_blocks ? d->window / 2 : n_blocks;
	d->peak = 0;
	d->period = s->now;
}

static void watch_limit(struct snat *s, uint16_t slot)
{
	struct snat_dip *d = &s->dips[slot];
	uint64_t n_leased = snat_leased_ports(d);
	if (n_leased * 10 < (uint64_t)d->max_ports * 7)
		d->was_near_limit = false;
	if (n_leased * 10 < (uint64_t)d->max_ports * 8 || d->was_near_limit)
		return;
	d->was_near_limit = true;
	snat_report_due(s, slot, SNAT_REPORT_NEAR_LIMIT);
}

static void tend_dip(struct snat *s, uint16_t slot, const struct agent_config *config)
{
	struct snat_dip *d = &s->dips[slot];
	const struct agent_snat *policy = config == NULL ? NULL : agent_config_lookup_snat(config, d->dip);
	if (policy != NULL) {
		d->max_ports = policy->max_ports;
	} else {
		d->is_asking = false;
		snat_make_ready(s, slot); // nothing is to be waited for any more
	}
	if (d->is_asking && mono_elapsed_us(d->reported, s->now) >= SNAT_REPEAT_US) {
		d->reported = s->now;
		snat_report_due(s, slot, SNAT_REPORT_WANTED);
	}
	if (d->has_held && mono_elapsed_us(d->held, s->now) > SNAT_HOLD_US)
		d->has_held = false; // the edge has let go of them
	if (!d->has_held)
		d->n_waiting = 0;
	shrink_window(s, d, policy);
	watch_limit(s, slot);
	if (policy == NULL && d->n_all_blocks == 0 && d->n_flows == 0 && !d->has_held)
		snat_dip_remove(s, slot);
}

static void queue_return(struct snat *s, uint32_t head)
{
	struct snat_block *b = &s->blocks[head];
	b->is_queued = index_queue_push(&s->returned, head);
	if (b->is_queued)
		b->reported_in = s->link_generation;
}

static void return_lease(struct snat *s, uint32_t head)
{
	for (uint32_t i = head; i != NO_BLOCK; i = s->blocks[i].next_in_lease) {
		snat_list_remove(s, i);
		s->blocks[i].state = BLOCK_RETURNING;
	}
	s->blocks[head].reported_in = (uint8_t)(s->link_generation - 1);
	queue_return(s, head);
}

static const struct snat_policy *policy_of(const struct agent_config *config, be32 dip, be32 vip)
{
	const struct agent_snat *snat = config == NULL ? NULL : agent_config_lookup_snat(config, dip);
	for (uint32_t i = 0; snat != NULL && i < snat->n_vips; i++)
		if (config->snat_vips[snat->first_vip + i].vip == vip)
			return &config->snat_vips[snat->first_vip + i].policy;
	return NULL;
}

static uint32_t leased_of_vip(const struct snat_dip *d, be32 vip)
{
	for (uint32_t i = 0; i < SNAT_VIPS_PER_DIP; i++)
		if (d->vips[i].vip == vip && d->vips[i].n_ports > 0)
			return d->vips[i].n_ports;
	return 0;
}

// Without flows for long enough, more than the window, and more than what is kept of its VIP?
static bool may_be_returned(const struct snat *s, const struct snat_block *b, const struct agent_config *config)
{
	const struct snat_dip *d = &s->dips[b->slot];
	const struct snat_policy *policy = policy_of(config, d->dip, b->vip);
	uint32_t idle_s = now_s(s) > b->idle_since_s ? now_s(s) - b->idle_since_s : 0;
	uint32_t n_ports = (uint32_t)b->n_blocks * SNAT_UNIT_PORTS;
	return s->is_rebuilt && policy != NULL && idle_s >= policy->idle_s && !d->is_asking && !d->has_held &&
	       d->n_blocks >= d->window + b->n_blocks && leased_of_vip(d, b->vip) >= policy->prealloc_ports + n_ports;
}

static void tend_block(struct snat *s, uint32_t block, const struct agent_config *config)
{
	const struct snat_block *b = &s->blocks[block];
	if (b->head != block)
		return;
	if (b->state == BLOCK_RETURNING && !b->is_queued && b->reported_in != s->link_generation)
		queue_return(s, block);
	else if (b->state == BLOCK_LEASED && b->lease_flows == 0 && may_be_returned(s, b, config))
		return_lease(s, block);
}

static void tend_later(struct snat *s)
{
	uint32_t slot;
	while (index_queue_pop(&s->later, &slot)) {
		s->dips[slot].is_later = false;
		snat_make_ready(s, (uint16_t)slot);
	}
}

void snat_tend(struct snat *s, const struct agent_config *config, struct mono_time now, uint64_t elapsed_us)
{
	s->now = now;
	tend_later(s);
	uint64_t share_us = elapsed_us < TEND_PERIOD_US ? elapsed_us : TEND_PERIOD_US;
	for (uint64_t n = s->n_dips_seen * share_us / TEND_PERIOD_US + 1; n > 0 && s->n_dips_seen > 0; n--) {
		s->dip_cursor = s->dip_cursor + 1 < s->n_dips_seen ? s->dip_cursor + 1 : 0;
		if (s->dips[s->dip_cursor].is_used)
			tend_dip(s, (uint16_t)s->dip_cursor, config);
	}
	for (uint64_t n = s->n_blocks_seen * share_us / TEND_PERIOD_US + 1; n > 0 && s->n_blocks_seen > 0; n--) {
		s->block_cursor = s->block_cursor + 1 < s->n_blocks_seen ? s->block_cursor + 1 : 0;
		tend_block(s, s->block_cursor, config);
	}
}

// ---- Status ----

#define BUSY_READS_MAX 100 // of one that changes all the time; then it is left out

uint32_t snat_slots(const struct snat *s)
{
	return s->limits.n_dips;
}

// False: the worker was just changing it.
static bool read_busy(const struct snat_busy *busy, struct snat_busy_destination *d)
{
	uint32_t turn = __atomic_load_n(&busy->turn, __ATOMIC_ACQUIRE);
	uint64_t addr[2] = { __atomic_load_n(&busy->addr[0], __ATOMIC_RELAXED),
		                 __atomic_load_n(&busy->addr[1], __ATOMIC_RELAXED) };
	*d = (struct snat_busy_destination){ .remote_port = (be16)__atomic_load_n(&busy->key, __ATOMIC_RELAXED),
		                                 .protocol = IP_PROTO_TCP,
		                                 .n_ports = __atomic_load_n(&busy->n_ports, __ATOMIC_RELAXED) };
	memcpy(d->remote.bytes, addr, sizeof addr);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return turn % 2 == 0 && __atomic_load_n(&busy->turn, __ATOMIC_RELAXED) == turn;
}

static void insert_busy(struct snat_dip_status *st, const struct snat_busy *busy)
{
	struct snat_busy_destination d;
	for (uint32_t i = 0; !read_busy(busy, &d); i++)
		if (i == BUSY_READS_MAX)
			return;
	if (d.n_ports == 0)
		return;
	uint32_t i = st->n_busiest++;
	for (; i > 0 && st->busiest[i - 1].n_ports < d.n_ports; i--)
		st->busiest[i] = st->busiest[i - 1];
	st->busiest[i] = d;
}

bool snat_read_dip(const struct snat *s, uint16_t slot, struct snat_dip_status *ret_status)
{
	const struct snat_dip *d = &s->dips[slot];
	if (slot >= s->limits.n_dips || !__atomic_load_n(&d->is_used, __ATOMIC_ACQUIRE))
		return false;
	*ret_status = (struct snat_dip_status){
		.dip = __atomic_load_n(&d->dip, __ATOMIC_RELAXED),
		.leased_ports = __atomic_load_n(&d->n_blocks, __ATOMIC_RELAXED) * SNAT_UNIT_PORTS,
		.used_ports = __atomic_load_n(&d->used_ports, __ATOMIC_RELAXED),
		.flows = __atomic_load_n(&d->n_flows, __ATOMIC_RELAXED),
		.refused = __atomic_load_n(&d->n_refused, __ATOMIC_RELAXED),
	};
	for (uint32_t i = 0; i < SNAT_BUSIEST_DESTINATIONS; i++)
		insert_busy(ret_status, &d->busiest[i]);
	return true;
}
