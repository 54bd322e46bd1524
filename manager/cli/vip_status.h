// What is known of a VIP beyond its configuration: the DIPs that are drained, unhealthy or on a host that is gone, the endpoints
// that are left without others, and the generations that are kept.
#pragma once

#include <jansson.h>

#include "common/model/store.h"

// {"drained":[{"dip":..,"since":..}], "unhealthy":[{"dip":..,"name":..,"protocol":..,"port":N,"since":..,"cause":..}],
//  "hosts_gone":[{"host":..,"dips":[..],"since":..,"cause":..}], "down":[{"name":..,"protocol":..,"port":N,"new_connections":..}],
//  "endpoints":[{"name":..,"protocol":..,"port":N,"oldest_goes":..,"generations":[{"since":..,"dips":[{"dip":..,"weight":N}]}]}]},
// the oldest generation first; for json_decref. NULL when there is nothing of any.
json_t *vip_status_make(const struct store *state, const struct vip_config *vip);

// For people; each prints nothing when there is nothing: the endpoints that have more than one generation, the probes, the endpoints
// all of whose DIPs are down with what becomes of new connections.
void vip_status_print_generations(const struct store *state, const struct vip_config *vip);
void vip_status_print_probes(const struct vip_config *vip);
void vip_status_print_down(const struct store *state, const struct vip_config *vip);
