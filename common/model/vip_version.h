// Versions of a VIP's configuration: what it was, since when, and who made it so. The managers keep the last ones of each VIP
// (manager/core/vip_versions.h).
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/model/vip.h"

#define AUTHOR_BYTES 96

struct vip_version {
	struct ip_addr vip;
	uint64_t version; // of the state, when the configuration became this
	uint64_t time_ms; // by the managers' clock
	char author[AUTHOR_BYTES]; // who made it, as "operator/alice"; "": not known
	bool is_delete; // the VIP was deleted then
	struct vip_config *config; // owned; NULL: deleted, or not part of this list
};

struct vip_version_list {
	uint32_t n;
	uint32_t capacity;
	struct vip_version *items;
};

void vip_version_list_fini(struct vip_version_list *list);

// Takes ownership of the configuration, also on failure. ERR_NO_MEMORY.
NODISCARD int vip_version_list_append(struct vip_version_list *list, struct vip_version *v);
