// The words of a line of notation, read one after the other; what is wrong with it is said once, where it was first seen.
#pragma once

#include "tests/support/packet_builder.h"

#define TOKENS_MAX 96

struct tokens {
	char text[2048];
	char *items[TOKENS_MAX];
	uint32_t n;
	uint32_t at;
	const char *wrong; // NULL: nothing so far
};

// An address and a port, "10.0.0.1:80", "10.0.0.1", "[2001:db8::1]:80" or "2001:db8::1".
struct end {
	bool is_ip6;
	be32 ip4;
	uint8_t ip6[16];
	uint16_t port; // 0: none was written
};

struct ends {
	struct end src, dst; // of one family
};

// Always false.
bool words_fail(struct tokens *t, const char *what);
bool words_split(struct tokens *t, const char *line);
const char *words_next(struct tokens *t); // "" at the end
bool words_take(struct tokens *t, const char *word);

// "name=..." at the present word: its value, and on to the next word; else NULL.
const char *words_value_of(struct tokens *t, const char *name);
bool words_number_of(struct tokens *t, const char *name, uint32_t *ret_value);

// "name=..." among the words of the present packet that are still to come (those of one inside it are not), without going on; NULL: none.
const char *words_peek(const struct tokens *t, const char *name);

uint32_t words_hex(const char *text, uint8_t *to, uint32_t max); // returns how many bytes
bool words_mac(struct tokens *t, const char *text, struct mac *ret_mac);
bool words_end(struct tokens *t, const char *text, struct end *ret_end);
bool words_ends(struct tokens *t, struct ends *e);
