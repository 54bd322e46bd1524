// The RST with which a connection attempt is refused on behalf of whom it was sent to (RFC 9293 section 3.10.7.1).
#pragma once

#include <stdint.h>

#include "common/packet/parse.h"

// Turns a TCP packet, in its own buffer, into the RST that answers it: addresses and ports swapped, without options or extension headers, with
// checksums of its own. `p` is of this frame; its flags are without RST (nothing answers a RST). The IP packet begins where it
// did; returns how many bytes it has. MAC addresses are the caller's.
uint32_t tcp_write_reset(uint8_t *frame, const struct parsed *p);
