// Neighbor Discovery from its words (RFC 4861 section 4), by hand: what the programs write is compared with it.
#pragma once

#include "tests/golden/notation_ip.h"

// Behind "nd".
bool notation_read_nd(struct tokens *t, struct packet *p);
