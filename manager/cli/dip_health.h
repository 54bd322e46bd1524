// How a DIP is, as the managers' state has it.
#pragma once

#include <jansson.h>

#include "common/model/store.h"

struct dip_health {
	bool is_probed; // one of the endpoints meant has a probe, and this DIP in it
	uint32_t n_unhealthy; // marks
	const struct store_mark *unhealthy; // the first of them
	const struct store_mark *gone; // of its host
};

// Of all of its endpoints; of this endpoint of a VIP.
struct dip_health dip_health_of_all(const struct store *state, const struct ip_addr *dip);
struct dip_health dip_health_of_endpoint(const struct store *state, const struct ip_addr *vip,
                                         const struct endpoint *endpoint, const struct ip_addr *dip);

// "healthy", "unhealthy", "host-gone"; NULL without probes, when the host is there.
const char *dip_health_word(const struct dip_health *health);

// "healthy", "host gone since TIME", "unhealthy since TIME: tcp 8080: connection refused", behind which stands which endpoint, and how
// many more there are, when `names_endpoint`. "" without probes.
#define DIP_HEALTH_TEXT_BYTES 288
const char *dip_health_format(const struct dip_health *health, bool names_endpoint, char *buf);

// [{"vip":..,"protocol":..,"port":N,"since":..,"cause":..},..]: all marks of the DIP.
json_t *dip_health_make_unhealthy(const struct store *state, const struct ip_addr *dip);

// {"since":..,"cause":..}; null for NULL.
json_t *dip_health_make_mark(const struct store_mark *mark);
