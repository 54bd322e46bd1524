// How a flow table lies in its block, for flow_table.c and flow_attach.c; internal to the core.
#pragma once

#include "hostagent/core/flow_table.h"

#define FLOW_TABLE_MAGIC 0x31574f4c46544e41ULL // "ANTFLOW1"
#define PAGE_BYTES 4096u
#define NO_ENTRY UINT32_MAX

struct flow_table_header {
	uint64_t magic;
	uint32_t layout_version;
	uint32_t header_bytes;
	uint32_t entry_bytes;
	uint32_t capacity;
	uint64_t seed;
	uint64_t owner;
	uint64_t check; // of all above, whatever the layout's version
	uint64_t reserved[2];
};

_Static_assert(sizeof(struct flow_table_header) == 64, "entries stay aligned to cache lines");

// Of the header's fields above `check`, whatever the layout's version.
uint64_t flow_table_header_check(const struct flow_table_header *h);

// A table over a block, with an empty index and no free list.
void flow_table_map(struct flow_table *t, void *block, uint32_t capacity, uint64_t seed, struct addr_names *names);
void flow_table_rebuild_free_list(struct flow_table *t);

// What an entry's `check` must be: of addresses, ports and protocol.
uint32_t flow_entry_check(const struct flow_table *t, const struct flow_entry *e);
uint64_t flow_entry_hash(const struct flow_table *t, const struct flow_entry *e, enum flow_direction direction);

// Puts both keys of an entry into the index. False: there is no room.
bool flow_table_index_both(struct flow_table *t, uint32_t entry_idx, uint64_t inbound_hash, uint64_t reply_hash);
