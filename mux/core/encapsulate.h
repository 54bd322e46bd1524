// The last step of what goes to a DIP: Ethernet and outer header, for one frame or as a stage of a burst.
//
// One frame at a time everything is checked (encapsulate). In a burst it is known before that there is a gateway and that the
// packet fits: encapsulate_checked writes, and its caller counts. Both make the same bytes.
// Cost: 16 and 20 bytes written per packet. Source: RFC 2003 (common/packet/encap.h). Threads: the worker.
#pragma once

#include <immintrin.h>
#include <stdbool.h>

#include "common/packet/encap.h"
#include "mux/core/verdict.h"

#define MAC48 0xffffffffffffull

// A MAC address as the low 48 bits of a word.
static inline uint64_t mac48(const uint8_t *mac)
{
	return load32(mac) | (uint64_t)load16(mac + 4) << 32;
}

// False when it does not go there: DROP_NO_NEXT_HOP, or what oversized.h says. The hash chooses among gateways of the outer header's
// family. What is inside may be of either family, whichever the outer header is of.
bool encapsulate(struct mux_worker *w, struct mux_frame *f, const struct encap_template *template, uint64_t hash,
                 uint32_t inner_bytes);

// What an outer header to this DIP adds, bytes.
uint32_t encapsulate_overhead(const struct mux_worker *w, const struct encap_template *template);

// ---- in a burst ----

// The first 16 bytes of a frame to each gateway that answers, in the order of neighbor_table_select.
struct gateways {
	uint32_t n;
	__m128i starts[NEIGHBOR_MAX];
};

// Ethernet header, and of IP the two bytes behind it: version, header length and type of service, or the likes of IPv6.
static inline __m128i start_of_frame_of(uint64_t dst_mac48, uint64_t src_mac48, uint16_t type, uint64_t version)
{
	uint64_t low = dst_mac48 | src_mac48 << 48;
	uint64_t high = src_mac48 >> 16 | (uint64_t)be16_from(type) << 32 | version << 48;
	return _mm_set_epi64x((long long)high, (long long)low);
}

static inline __m128i start_of_frame(uint64_t dst_mac48, uint64_t src_mac48)
{
	return start_of_frame_of(dst_mac48, src_mac48, ETHER_IP4, 0x45);
}

static inline void gateways_find(struct gateways *g, const struct mux_worker *w)
{
	const struct neighbor_table *t = &w->neighbors;
	g->n = 0;
	for (uint32_t i = 0; i < t->n; i++)
		if (t->entries[i].has_mac)
			g->starts[g->n++] = start_of_frame(mac48(t->entries[i].mac.bytes), w->mac48);
}

// Of outer headers over IPv6; none for a node without an address of that family.
static inline void gateways_find6(struct gateways *g, const struct mux_worker *w)
{
	const struct neighbor_table *t = &w->neighbors6;
	g->n = 0;
	for (uint32_t i = 0; w->settings.has_address6 && i < t->n; i++)
		if (t->entries[i].has_mac)
			g->starts[g->n++] = start_of_frame_of(mac48(t->entries[i].mac.bytes), w->mac48, ETHER_IP6, 0x60);
}

// Which one a flow takes. n and first are g's: a caller that writes through byte pointers in between keeps them in registers.
static inline __m128i gateways_choose(const struct gateways *g, uint32_t n, __m128i first, uint64_t hash)
{
	return __builtin_expect(n == 1, 1) ? first : g->starts[(uint32_t)hash % n];
}

// `start` is one of the gateways'. Not counted.
static inline void encapsulate_checked(struct mux_frame *f, __m128i start, const struct encap_template *template,
                                       uint32_t inner_bytes)
{
	uint8_t *out = f->data - ENCAP_BYTES;
	encap_write_ip4(out + ETH_BYTES, template, inner_bytes, 0);
	_mm_storeu_si128((__m128i *)out, start);
	f->data = out;
	f->len = ETH_BYTES + ENCAP_BYTES + inner_bytes;
	f->verdict = MUX_TO_UPLINK;
	f->reason = DROP_NONE;
}

// Counts n frames of inner_bytes together, with outer headers over IPv4.
static inline void count_forwarded(struct mux_worker *w, uint64_t n, uint64_t inner_bytes)
{
	w->counters.forwarded_packets += n;
	w->counters.forwarded_bytes += inner_bytes + n * (ETH_BYTES + ENCAP_BYTES);
}
