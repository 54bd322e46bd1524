// The endpoints whose new connections do not go where health says that they should, because nothing would be left: which, and why.
// Derived from the store, so that a command's events can say what begins and what ends.
//
// Threads: as the state. Cost: lookup O(log n), a change moves up to n entries; n is 0 in a healthy cluster.
#pragma once

#include <stdint.h>

#include "common/base/error.h"
#include "common/model/ip_addr.h"

enum endpoint_state {
	ENDPOINT_SERVED, // there are DIPs that are not drained, not unhealthy, and on a host that is there (or all are drained)
	ENDPOINT_ALL_DOWN, // fail open: those that are not drained, on a host that is there, although they are unhealthy
	ENDPOINT_STATIC, // fail static: their hosts are gone, and the present generation stands
};

struct endpoint_state_entry {
	struct ip_addr vip;
	uint16_t port;
	uint8_t protocol;
	uint8_t state; // not ENDPOINT_SERVED
};

struct endpoint_states {
	uint32_t n;
	uint32_t capacity;
	struct endpoint_state_entry *items; // ascending by VIP, protocol and port
};

void endpoint_states_fini(struct endpoint_states *s);

// ENDPOINT_SERVED: it is not listed.
enum endpoint_state endpoint_states_lookup(const struct endpoint_states *s, const struct ip_addr *vip, uint8_t protocol,
                                           uint16_t port);
// ERR_NO_MEMORY.
NODISCARD int endpoint_states_set(struct endpoint_states *s, const struct ip_addr *vip, uint8_t protocol, uint16_t port,
                                  enum endpoint_state state);
void endpoint_states_drop_vip(struct endpoint_states *s, const struct ip_addr *vip);
