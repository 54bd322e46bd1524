// What is known of a VIP beyond its configuration: the DIPs that are drained, and the generations that are kept.
#pragma once

#include <jansson.h>

#include "common/model/store.h"

// {"drained":[{"dip":..,"since":..}], "endpoints":[{"name":..,"protocol":..,"port":N,"oldest_goes":..,
//  "generations":[{"since":..,"dips":[{"dip":..,"weight":N}]}]}]}, the oldest generation first; for json_decref. NULL when
// there is nothing of either.
json_t *vip_status_make(const struct store *state, const struct vip_config *vip);

// The endpoints that have more than one generation, as a table for people. Prints nothing when there are none.
void vip_status_print_generations(const struct store *state, const struct vip_config *vip);
