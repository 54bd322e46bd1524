// ICMP that the load balancer speaks itself (RFC 792, RFC 1122 section 3.2.2).
#pragma once

#include <stdint.h>

#include "common/packet/parse.h"

// Turns an echo request, in its own buffer, into its reply: addresses and MACs swapped, TTL anew, checksums updated
// incrementally (a damaged request gives a damaged reply). `p` is of this frame and holds an ICMP echo request.
void icmp_write_echo_reply(uint8_t *frame, const struct parsed *p);
