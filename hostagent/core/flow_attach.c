// A flow table that another process left (flow_table.h), and one whose flows move to another.
#include <inttypes.h>
#include <string.h>

#include "common/base/check.h"
#include "hostagent/core/flow_table_layout.h"
#include "hostagent/core/rewrite.h"

static int header_validate(const struct flow_table_header *h, uint32_t capacity, uint64_t owner, struct error *err)
{
	if (h->magic != FLOW_TABLE_MAGIC)
		return error_set(err, ERR_MALFORMED, "it is no flow table");
	if (h->layout_version < FLOW_TABLE_LAYOUT_OLDEST || h->layout_version > FLOW_TABLE_LAYOUT_VERSION)
		return error_set(err, ERR_VERSION, "flow table layout %" PRIu32 ", this program has %u", h->layout_version,
		                 FLOW_TABLE_LAYOUT_VERSION);
	if (h->check != flow_table_header_check(h))
		return error_set(err, ERR_MALFORMED, "the flow table's header is damaged");
	if (h->header_bytes != sizeof *h || h->entry_bytes != sizeof(struct flow_entry))
		return error_set(err, ERR_VERSION, "flow table entries of %" PRIu32 " bytes, this program has %zu",
		                 h->entry_bytes, sizeof(struct flow_entry));
	if (h->capacity != capacity)
		return error_set(err, ERR_VERSION, "the flow table has room for %" PRIu32 " flows, wanted are %" PRIu32,
		                 h->capacity, capacity);
	if (h->owner != owner)
		return error_set(err, ERR_VERSION, "the flow table is from before a reboot, or of another host");
	return 0;
}

static bool state_fits(uint32_t protocol, uint32_t state)
{
	switch (protocol) {
	case IP_PROTO_TCP: return state != FLOW_UDP && state != FLOW_ICMP;
	case IP_PROTO_ICMP:
	case IP_PROTO_ICMP6: return state == FLOW_ICMP;
	default: return state == FLOW_UDP;
	}
}

// The 32 bits of a flow of IPv6 are what its addresses say; names, which are given anew, need only be names.
static bool is_whole_ip6(const struct flow_table *t, const struct flow_entry *e)
{
	return addr_is_name(e->vip) && e->remote == flow_table_tag(t, flow_table_addrs(t, e)->remote);
}

static int entry_validate(const struct flow_table *t, const struct flow_entry *e, struct error *err)
{
	uint32_t i = (uint32_t)(e - t->entries);
	uint32_t state = e->state & ~FLOW_IS_SNAT;
	if (state == FLOW_FREE || state >= FLOW_STATE_COUNT)
		return error_set(err, ERR_MALFORMED, "flow %" PRIu32 " of the table has no valid state", i);
	if (!state_fits(e->protocol, state))
		return error_set(err, ERR_MALFORMED, "flow %" PRIu32 " of the table has no valid protocol", i);
	if (e->check != flow_entry_check(t, e) || (flow_entry_is_ip6(e) && !is_whole_ip6(t, e)))
		return error_set(err, ERR_MALFORMED, "flow %" PRIu32 " of the table is damaged", i);
	return 0;
}

static bool has_key_already(const struct flow_table *t, const struct flow_entry *e, enum flow_direction direction)
{
	struct flow_key key = flow_entry_key(t, e, direction);
	return flow_table_lookup(t, &key, flow_table_hash(t, &key)) != NULL;
}

// Reads all entries; writes nothing.
static int entries_validate(const struct flow_table *t, struct error *err)
{
	int code = 0;
	for (uint32_t i = 0; code == 0 && i < t->capacity; i++)
		if (t->entries[i].state != FLOW_FREE)
			code = entry_validate(t, &t->entries[i], err);
	return code;
}

static be32 name_of(const struct flow_table *t, const uint8_t *addr)
{
	be32 name = t->names == NULL ? 0 : addr_names_give(t->names, addr);
	return addr_is_name(name) ? name : 0;
}

// A flow of IPv6 gets the names that its DIP and VIP have in this process.
static bool entry_rename(const struct flow_table *t, struct flow_entry *e)
{
	const struct flow_addrs *a = flow_table_addrs(t, e);
	be32 dip = name_of(t, a->dip);
	be32 vip = name_of(t, a->vip);
	if (dip == 0 || vip == 0)
		return false;
	e->dip = dip;
	e->vip = vip;
	return true;
}

// Builds the index; of the persistent part only names are written.
static int entries_index(struct flow_table *t, struct error *err)
{
	for (uint32_t i = 0; i < t->capacity; i++) {
		struct flow_entry *e = &t->entries[i];
		if (e->state == FLOW_FREE)
			continue;
		if (flow_entry_is_ip6(e) && !entry_rename(t, e))
			return error_set(err, ERR_NO_MEMORY, "no memory for the addresses of flow %" PRIu32, i);
		if (has_key_already(t, e, FLOW_INBOUND) || has_key_already(t, e, FLOW_REPLY))
			return error_set(err, ERR_MALFORMED, "flow %" PRIu32 " of the table is there twice", i);
		if (!flow_table_index_both(t, i, flow_entry_hash(t, e, FLOW_INBOUND), flow_entry_hash(t, e, FLOW_REPLY)))
			return error_set(err, ERR_MALFORMED, "the flows of the table do not fit its index");
		t->n_flows++;
	}
	return 0;
}

// What a process that was killed, or an older one, may have left otherwise than this one wants it.
static void entry_renew(const struct flow_table *t, struct flow_entry *e, uint32_t layout_version)
{
	if (layout_version < FLOW_TABLE_LAYOUT_WITH_ISN && flow_entry_state(e) == FLOW_SYN_ACK)
		e->state = (uint8_t)((e->state & FLOW_IS_SNAT) | FLOW_ESTABLISHED); // the ISN is not known
	if (flow_entry_state(e) != FLOW_SYN_ACK)
		flow_entry_set_deltas(t, e);
	if (e->seen_s > t->now_s)
		e->seen_s = t->now_s; // a clock that went back must not keep a flow for ever
}

int flow_table_attach(struct flow_table *t, void *block, size_t n_bytes, uint32_t capacity, uint64_t owner,
                      struct addr_names *names, struct mono_time now, struct error *err)
{
	CHECK(capacity >= FLOW_TABLE_CAPACITY_MIN && capacity <= FLOW_TABLE_CAPACITY_MAX);
	struct flow_table_header *h = block;
	if (n_bytes < flow_table_bytes(capacity))
		return error_set(err, ERR_MALFORMED, "the flow table is cut short");
	int code = header_validate(h, capacity, owner, err);
	if (code != 0)
		return code;
	struct flow_table found;
	flow_table_map(&found, block, capacity, h->seed, names);
	code = entries_validate(&found, err);
	if (code == 0)
		code = entries_index(&found, err);
	if (code != 0)
		return code;
	flow_table_set_now(&found, now);
	flow_table_rebuild_free_list(&found);
	for (uint32_t i = 0; i < found.high_water; i++)
		if (found.entries[i].state != FLOW_FREE)
			entry_renew(&found, &found.entries[i], h->layout_version);
	h->layout_version = FLOW_TABLE_LAYOUT_VERSION; // what this program adds is not for older ones
	*t = found;
	return 0;
}

uint32_t flow_table_capacity_of(const void *block, size_t n_bytes, uint64_t owner)
{
	struct flow_table_header h;
	if (n_bytes < sizeof h)
		return 0;
	memcpy(&h, block, sizeof h);
	bool is_possible = h.capacity >= FLOW_TABLE_CAPACITY_MIN && h.capacity <= FLOW_TABLE_CAPACITY_MAX;
	return is_possible && header_validate(&h, h.capacity, owner, NULL) == 0 ? h.capacity : 0;
}

uint32_t flow_table_copy(struct flow_table *t, const struct flow_table *from)
{
	uint32_t n_left = 0;
	for (uint32_t i = 0; i < from->high_water; i++) {
		const struct flow_entry *e = &from->entries[i];
		if (e->state == FLOW_FREE)
			continue;
		struct flow_tuple tuple = flow_entry_tuple(from, e);
		if (tuple.remote6 != NULL)
			tuple.remote = flow_table_tag(t, tuple.remote6); // seeds differ
		struct flow_entry *copy = flow_table_insert(t, &tuple, e->state);
		if (copy == NULL) {
			n_left++;
			continue;
		}
		copy->seen_s = e->seen_s;
		flow_entry_note_isn(copy, e->vm_isn);
	}
	return n_left;
}
