// The versions of every VIP's configuration, as a part of the replicated state: the present one and up to VERSIONS_KEPT before it.
//
//   version       the state's version at which the VIP became what it is; the present one's configuration is in the store
//   too many      of one VIP: its oldest goes. Of all together, in VERSIONS_BYTES: the one that has been past the longest goes,
//                 never a present one
//   deleted VIPs  keep their versions for VERSIONS_DELETED_MS, then all of them go
//
// What a configuration counts in bytes is a formula (vip_config_weight), the same in every program and on every machine.
// Deterministic: the only time is that of the commands. Threads: as the state. Cost: O(log n) a version, plus moving pointers when
// a VIP is new.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/model/vip_version.h"

#define VERSIONS_KEPT 16 // beside the present one
#define VERSIONS_BYTES (32u << 20)
#define VERSIONS_DELETED_MS (7ull * 86400 * 1000)
#define VERSION_UNKNOWN 1 // of a VIP that was there before versions were kept

struct version_node {
	struct vip_version v;
	struct version_node *older; // past ones of all VIPs, by when they became past
	struct version_node *newer;
	uint32_t n_bytes; // that it counts; 0: it is a present one
};

struct vip_trail { // of a VIP; there is at least one version
	struct ip_addr vip;
	uint32_t n;
	struct version_node *nodes[VERSIONS_KEPT + 1]; // oldest first; the last is the present one
};

struct vip_versions {
	uint32_t n;
	uint32_t capacity;
	struct vip_trail **items; // ascending by VIP
	struct version_node *oldest;
	struct version_node *newest;
	uint64_t n_bytes; // of the past ones
	uint64_t limit_bytes; // VERSIONS_BYTES; less in tests
	uint64_t config_version; // at which a VIP or the settings were changed last
	uint64_t expire_ms; // no deleted VIP goes before
};

void vip_versions_init(struct vip_versions *v);
void vip_versions_fini(struct vip_versions *v);

// A VIP has become another at this version (next->config is not looked at). `before` is what it was, and becomes the caller's no
// more; NULL: it was not there. To be said in ascending order of VIPs and of versions. ERR_NO_MEMORY: the state is of no use any
// more.
NODISCARD int vip_versions_append(struct vip_versions *v, const struct vip_version *next, struct vip_config *before);

// What deleted VIPs were goes when it was kept long enough.
void vip_versions_expire(struct vip_versions *v, uint64_t now_ms);

// NULL: nothing is known of this VIP.
const struct vip_trail *vip_versions_lookup(const struct vip_versions *v, const struct ip_addr *vip);

// NULL: there is none, or it is not kept any more. Its configuration is NULL for the present one and for a deletion.
const struct vip_version *vip_versions_find(const struct vip_versions *v, const struct ip_addr *vip, uint64_t version);

// At which the VIP is; 0: it is not there. One that is there and was never seen to change is at VERSION_UNKNOWN.
uint64_t vip_versions_present(const struct vip_versions *v, const struct ip_addr *vip, bool is_there);

// All, by VIP, oldest first, as copies. And back, into an initialized, empty one; configurations are moved. ERR_NO_MEMORY.
NODISCARD int vip_versions_get_all(const struct vip_versions *v, struct vip_version_list *ret_list);
NODISCARD int vip_versions_restore(struct vip_versions *v, struct vip_version_list *list, uint64_t config_version);

static inline const struct vip_version *vip_trail_present(const struct vip_trail *t)
{
	return &t->nodes[t->n - 1]->v;
}

// What a configuration counts, in bytes: about what it takes in memory.
uint32_t vip_config_weight(const struct vip_config *vip);
