// Who owned each bucket of an endpoint, as the packet path asks it (design section 4): the owner history of common/model with
// DIPs as the wire has them.
//
// Made from a VIP's history when a snapshot is built, and shared by all snapshots in between whose history of the endpoint is
// the same: folding generations costs a Maglev table each, and an update that touches other VIPs should cost nothing here.
// Memory: 8 bytes a bucket of the largest generation's table (about 100 buckets a DIP), 20 bytes a DIP.
// Threads: references are taken and given back on the control thread alone; what is inside never changes.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/model/history.h"
#include "common/packet/addr_names.h"
#include "common/packet/headers.h"

struct owner_dip {
	be32 dip;
	bool is_present; // a member of the present generation
};

struct endpoint_owners {
	be32 vip;
	be16 vip_port;
	uint8_t protocol;
	uint32_t n_refs;
	uint64_t fingerprint; // of the history that it was made from
	uint32_t n_dips; // of all generations
	be32 *dips; // ascending as addresses
	uint64_t *words; // of each, what stands for its whole address in the hash of a list: the same for every program
	struct owner_dip *by_dip; // ascending by the number that `dip` is
	struct owner_history history; // its own list of DIPs is given back
};

// The owners of one bucket, the present one first.
struct bucket_owners {
	uint32_t n; // at least 1
	be32 dips[OWNERS_MAX];
	uint64_t words[OWNERS_MAX]; // of those of IPv6, whose names differ from program to program; see endpoint_owners
};

// Of what this history of an endpoint makes; equal histories have equal fingerprints.
uint64_t owners_fingerprint(const struct vip_history *vip, const struct endpoint_history *h);

// Holds one reference. `names`: of the process; the calling thread gives them. ERR_NO_MEMORY.
NODISCARD int owners_create(struct addr_names *names, const struct vip_history *vip, const struct endpoint_history *h,
                            struct endpoint_owners **ret_owners);

struct endpoint_owners *owners_ref(struct endpoint_owners *o);
void owners_unref(struct endpoint_owners *o); // the last one destroys; NULL is fine

// Of the bucket that this flow hash (common/model/flow_hash.h) is in.
struct bucket_owners owners_of(const struct endpoint_owners *o, uint64_t flow_hash);

// Does the DIP get new connections, by the present generation?
bool owners_is_present(const struct endpoint_owners *o, be32 dip);
