// Fragments of datagrams that are forwarded one by one, all of them where the first one's ports say (RFC 791 section 2.3, RFC 8200
// section 4.5), of both families in one table.
//
// Nothing is reassembled. A datagram is known by (source, destination, identification, protocol), over IPv6 without the protocol, of which
// only the first fragment can tell; its addresses as 64 bits of a seeded hash. What its first fragment
// decided is kept as a number of the caller's; fragments that come before the first wait, in slots that the caller keeps
// buffers for: a slot is a number below FRAGMENT_SLOTS, and the table never sees a buffer. What overlaps others (RFC 5722; RFC
// 1858 section 4) spoils its datagram: all that comes of it later is refused. So are first fragments that end before their
// ports and flags (RFC 1858 section 3), and others that begin inside the TCP header (RFC 3128).
//
//   fragments_take --> FIRST: look at the ports, then fragments_decide or fragments_refuse
//                  --> KNOWN: as the first one went       --> WAITS: put the buffer into the slot     --> REFUSED: drop it
//   then, until there is none: fragments_next_released --> what waited goes on, or is dropped: its slot is free again
//
// A datagram is forgotten when all of it has come, else FRAGMENT_TIMEOUT_US after what came of it first: less than the 15 s of RFC
// 791, since fragments that arrive together at all are milliseconds apart, and identifications come again (RFC 4963).
// Capacity: n_datagrams, in sets of FRAGMENT_WAYS; where a set is full, the oldest of it is forgotten. FRAGMENT_PIECES_MAX
// fragments of a datagram, FRAGMENT_WAITING_MAX of them waiting; FRAGMENT_SLOTS waiting in all, where the oldest gives way.
// Memory: 560 bytes a datagram, the caller's. Cost: a line for the set and a walk over the pieces seen of the datagram.
// Threads: a table belongs to one worker. Pure: the time comes in. Fuzz target: tests/fuzz/fragments.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/mono.h"
#include "common/packet/drop.h"
#include "common/packet/parse.h"

#define FRAGMENT_TIMEOUT_US 5000000u
#define FRAGMENT_WAYS 4
#define FRAGMENT_PIECES_MAX 128 // 65,535 bytes in fragments of 552: a way of MTU 576
#define FRAGMENT_WAITING_MAX 4 // of a datagram
#define FRAGMENT_SLOTS 64 // of a table
#define FRAGMENT_NO_SLOT UINT16_MAX

// What a fragment's IP header says. begin and end are bytes of the datagram's payload: [begin, end).
struct fragment {
	be32 src; // of IPv6 both are 0
	be32 dst;
	const uint8_t *addrs6; // of IPv6: source and destination, 32 bytes, in the frame; NULL: it is of IPv4
	be32 id; // of IPv4 16 bits
	uint8_t protocol; // over IPv6 right in the first one only
	bool is_last; // no more follow
	uint32_t begin;
	uint32_t end;
};

// Reads the fragment for which parse_ip4 or parse_ip6 said DROP_FRAGMENT. DROP_FRAGMENT_MALFORMED: nothing in it, not in units of
// eight bytes, beyond 65,535 bytes, a first one without the whole TCP, UDP or ICMP header (over IPv6 without all extension headers, or
// with such that parse.h refuses), another one that begins inside the TCP header. DROP_UDP6_NO_CHECKSUM: as parse_ip6 says.
enum drop_reason fragment_parse(const uint8_t *frame, const struct parsed *p, struct fragment *ret_fragment);

// The ports of a first fragment (begin is 0, and fragment_parse was DROP_NONE), as parse_ip4 and parse_ip6 read those of a whole packet:
// fills src_port, dst_port and tcp_flags; over IPv6 protocol and l4_off, too. A TCP header that has options need not be all in it.
void fragment_read_ports(const uint8_t *frame, struct parsed *p);

struct fragment_datagram; // an entry of the table
struct fragment_slot {
	struct fragment_datagram *datagram; // NULL: free, or released
	uint64_t decision; // of a released one
	struct mono_time since;
	uint8_t reason; // of a released one: enum drop_reason
	uint16_t next; // of its datagram, of those released, or of those free
	uint16_t older, newer; // of all that wait
};

struct fragment_counters {
	uint64_t datagrams; // begun
	uint64_t waited; // fragments that came before their first
	uint64_t evicted; // datagrams that were forgotten before their time for others
};

struct fragments {
	struct fragment_datagram *datagrams;
	uint32_t n_sets;
	uint64_t seed;
	uint16_t oldest, newest; // waiting
	uint16_t free; // slots
	uint16_t released, last_released;
	struct fragment_slot slots[FRAGMENT_SLOTS];
	struct fragment_counters counters;
};

// n_datagrams: a power of two, FRAGMENT_WAYS or more.
size_t fragments_memory_bytes(uint32_t n_datagrams);

// `memory` is zeroed, aligned to 8 bytes, and the table's until it is no more used. The seed should be one that nobody outside
// can guess.
void fragments_init(struct fragments *t, uint32_t n_datagrams, void *memory, uint64_t seed);

enum fragment_verdict {
	FRAGMENT_REFUSED, // drop it for `reason`
	FRAGMENT_FIRST, // it has the ports: decide, with `datagram`. The same one may come again, when the network doubled it
	FRAGMENT_KNOWN, // the first one came before, and `decision` is its
	FRAGMENT_WAITS, // in `slot`. When that has a buffer, it is to be dropped: it gave way, for DROP_FRAGMENT_HOLD_FULL
};

struct fragment_step {
	enum fragment_verdict verdict;
	enum drop_reason reason;
	uint64_t decision;
	struct fragment_datagram *datagram; // of FRAGMENT_FIRST, valid until the next fragments_take
	uint16_t slot; // of FRAGMENT_WAITS
	bool gave_way; // of FRAGMENT_WAITS: another one did, whose slot it has now; the caller counts the drop
};

struct fragment_step fragments_take(struct fragments *t, const struct fragment *f, struct mono_time now);

// What the first one's way is: those that waited are released to it in the order in which they came.
void fragments_decide(struct fragments *t, struct fragment_datagram *d, uint64_t decision);

// The first one was dropped: all others of the datagram are, for DROP_FRAGMENT.
void fragments_refuse(struct fragments *t, struct fragment_datagram *d);

// Releases what has waited too long; a few times a second.
void fragments_expire(struct fragments *t, struct mono_time now);

struct fragment_released {
	uint16_t slot; // free from now on
	enum drop_reason reason; // DROP_NONE: it goes on by `decision`
	uint64_t decision;
};

// The next one that waits no more. False: there is none.
bool fragments_next_released(struct fragments *t, struct fragment_released *ret_released);

static inline bool fragments_has_released(const struct fragments *t)
{
	return t->released != FRAGMENT_NO_SLOT;
}
