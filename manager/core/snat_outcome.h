// What an operation on leases came to, in the replicated state; the same on every replica.
#pragma once

#include "common/model/lease.h"

enum snat_result {
	SNAT_DONE, // a request: n_ports were granted; a return or revocation: the lease has ended
	SNAT_REPEATED, // a request that was carried out before: n_ports were granted then
	SNAT_NOT_CONFIGURED, // the DIP is in no `snat` list, or not attached
	SNAT_AT_LIMIT, // the DIP has max_ports_per_dip of every VIP that it may use
	SNAT_POOL_EMPTY, // no range of its VIPs is free
	SNAT_NOT_HELD, // a return or revocation of what nobody holds (any more)
};

struct snat_outcome {
	enum snat_op_kind kind;
	enum snat_result result;
	struct ip_addr dip;
	struct ip_addr vip; // of the first lease; of the first VIP when there was none
	uint64_t seq;
	uint32_t n_ports;
};

struct snat_outcome_list {
	uint32_t n;
	uint32_t capacity;
	struct snat_outcome *items;
};
