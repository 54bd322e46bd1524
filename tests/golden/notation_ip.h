// IP packets of both families from their words: the headers, what makes them wrong, fragments and checksums.
#pragma once

#include "tests/golden/notation_words.h"

#define PACKET_MAX 65535

// One IP packet with what the line says of it.
struct packet {
	uint8_t bytes[PACKET_MAX + 64];
	bool is_ip6;
	uint32_t header_bytes; // of IP, with options or extension headers
	uint32_t n; // of the packet
	uint8_t protocol;
	bool bad_sum;
	bool bad_ip;
	int32_t total_length; // as written (of IPv6 the payload length); -1: right
	int32_t piece_offset; // -1: the whole packet
	uint32_t piece_bytes;
	be16 fragment; // of IPv4 flags and offset
	bool has_fragment; // the rest is of IPv6: the header, and where it goes
	struct ip6_fragment fragment6;
	uint32_t fragment_at;
	uint32_t fragment_named_at; // the byte that says what comes there
};

// Writes the header for `protocol` to p->bytes and sets header_bytes and n to where the content goes. False: the words opts=, ext= and fext=
// to come are wrong.
bool packet_begin(struct tokens *t, struct packet *p, const struct ends *e, uint8_t protocol);

// A word that every IP packet may have; false: it is none.
bool packet_read_word(struct tokens *t, struct packet *p);

// The checksum of TCP, UDP and ICMP, when all of the content is there.
void packet_end_l4(struct packet *p, bool has_sum);

// The last step: lengths, the piece that is asked for, the header's checksum.
void packet_end(struct packet *p);
