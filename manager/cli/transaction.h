// Changes of any size as one: in one command when they fit, else in parts that wait in the managers' state until the last one
// commits (manager/core/staging.h). What is interrupted leaves nothing.
#pragma once

#include "manager/cli/client.h"

// All take effect or none, unless a VIP or the settings were changed after since_version (0: whatever was). Without changes it only
// finds out whether that is so. Errors as client_submit.
NODISCARD int transaction_submit(struct client *c, const struct change_list *changes, uint64_t since_version,
                                 uint64_t *ret_version, bool *ret_is_unchanged, struct error *err);
