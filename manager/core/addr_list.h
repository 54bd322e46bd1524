// A growing list of addresses, for collecting: append, then sort and make each distinct.
// Threads: one owner.
#pragma once

#include <stdint.h>

#include "common/base/error.h"
#include "common/model/ip_addr.h"

struct addr_list {
	uint32_t n;
	uint32_t capacity;
	struct ip_addr *items;
};

// ERR_NO_MEMORY leaves the list as it was.
NODISCARD int addr_list_append(struct addr_list *list, const struct ip_addr *addr);

// Ascending, each once.
void addr_list_make_set(struct addr_list *list);

void addr_list_fini(struct addr_list *list);
