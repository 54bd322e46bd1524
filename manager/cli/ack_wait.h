// --wait of commands that change the configuration: until all muxes and agents that are connected have it.
#pragma once

#include "manager/cli/command.h"

// Waits when it was asked for, WAIT_DEFAULT_S unless --wait=SECONDS or --timeout say how long, and says who lags: in text at once,
// in JSON into *document (NULL without -o json). STATUS_UNREACHABLE when some do at the end.
NODISCARD enum status ack_wait(struct cli *cli, uint64_t version, json_t *document);

#define WAIT_DEFAULT_S 30
