// The packet path of a mux, top to bottom (mux_pipeline_burst): parse, VIP lookup, bucket, DIP, IP-in-IP.
//
// A bucket that had other owners may hold flows that one of them still has: there a flow goes to the DIP that it is pinned to,
// and to the present owner when it is not. Pins come from hosts, in datagrams to the mux's own address, and end here.
// What comes for a port of a VIP that is no endpoint's goes to the DIP that has leased it: it replies to a connection which
// that DIP began. ICMP echo replies go by their identifier, ICMP errors to where the packets of the connection inside go.
// Pure: frames come in as bytes in memory, verdicts come out, the frames are rewritten in place. A burst goes through in
// stages, so that the three cache misses of a packet overlap with those of the others. pipeline.c is the main road, to endpoints;
// beside it lie those of leased ports (snat_road.h) and of histories (history_road.h), ICMP (vip_icmp.h) and the node's own (own_traffic.h).
// Fragments, which have no ports but in the first one, go where that goes (fragment_road.h); what is too long for the way to its
// DIP is answered or cut (oversized.h).
// A frame has at least MUX_HEADROOM_BYTES of writable headroom in front of `data`.
// Nothing is remembered of a packet but counters, the rates of answers, where the first fragment of a datagram went, and pins,
// without which all would still be right.
// Threads: a mux_worker belongs to one worker; tables are read only. Nothing allocates, locks or waits.
#pragma once

#include <stdint.h>

#include "common/base/token_bucket.h"
#include "common/packet/icmp.h"
#include "common/packet/neighbor.h"
#include "common/packet/parse.h"
#include "mux/core/counters.h"
#include "mux/core/pins.h"
#include "mux/core/tables.h"

#define MUX_BURST_MAX 64
#define MUX_HEADROOM_BYTES ICMP6_ERROR_BYTES // in front of a frame, more than ENCAP6_BYTES
#define MUX_REFUSAL_RATE_PER_S 10000 // answers for endpoints that refuse, and as many
#define MUX_REFUSALS_SAVED 1000 // in a burst
#define MUX_ECHO_RATE_PER_S 1000 // echo replies for all VIPs together, and as a burst
#define MUX_ERROR_RATE_PER_S 100 // ICMP errors, likewise

enum mux_verdict {
	MUX_DROP, // the reason is counted
	MUX_TO_UPLINK, // encapsulated, or an echo reply
	MUX_TO_TAP, // the node's own traffic, unchanged
	MUX_CONSUMED, // it was for the worker itself
	MUX_HELD, // a fragment that waits for its first one: see struct side_frames
};

struct mux_frame {
	uint8_t *data; // in: the frame; out: the frame to send, which may begin earlier
	uint32_t len; // bytes
	uint8_t verdict; // enum mux_verdict
	uint8_t reason; // enum drop_reason; DROP_NONE unless dropped
	uint16_t slot; // of MUX_HELD
};

enum mux_oversized {
	MUX_OVERSIZED_CUT, // the packet inside is fragmented, unless it forbids that
	MUX_OVERSIZED_DROP,
};

_Static_assert(sizeof(struct mux_frame) == 16, "four frames are a cache line");

struct mux_settings {
	struct mac mac; // of the uplink port; the tap has the same
	be32 address; // the node's own; 0: it has none of IPv4
	uint8_t address6[16]; // likewise of IPv6, where has_address6
	bool has_address6;
	const struct addr_names *names; // NULL: IPv4 only
	uint32_t mtu; // bytes of an IP packet that fit into a frame of the uplink
	enum mux_oversized oversized; // what becomes of packets without DF that do not fit with their outer header
};

struct side_frames;

struct mux_worker {
	struct mux_settings settings;
	uint64_t mac48; // settings.mac as the low 48 bits of a word
	struct neighbor_table neighbors; // gateways of IPv4
	struct neighbor_table neighbors6;
	const struct mux_tables *tables; // of this turn
	struct token_bucket echo_replies;
	struct token_bucket refusals;
	struct mono_time now; // of this burst
	uint64_t now_real_us; // likewise: for the stamps of pins
	struct pins *pins; // the caller's; NULL: every flow goes to the present owner
	bool history_is_mixed; // some packets of the burst before were in buckets that had other owners, and most were not
	struct mux_counters counters;
	struct vip_counters *vips; // the caller's memory
	struct side_frames *side; // the caller's; NULL: fragments are dropped, and nothing is cut
	struct token_bucket icmp_errors;
};

void mux_worker_init(struct mux_worker *w, const struct mux_settings *settings, struct vip_counters *vips,
                     struct mono_time now);

// n up to MUX_BURST_MAX. tables NULL: no configuration is held yet; own traffic passes, the rest is dropped.
void mux_pipeline_burst(struct mux_worker *w, const struct mux_tables *tables, struct mux_frame *frames, uint32_t n);

// The same for one frame, without stages: the path of what is not common, and what tests compare the burst with.
void mux_pipeline_one(struct mux_worker *w, const struct mux_tables *tables, struct mux_frame *frame);
