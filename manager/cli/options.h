// The command line of anantactl: options, which may stand anywhere, and the words that are none.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"

#define OPERANDS_MAX 4 // noun, verb, object, and one too many

enum option_bit {
	OPTION_FILE = 1 << 0,
	OPTION_NAME = 1 << 1,
	OPTION_DIP = 1 << 2,
	OPTION_INTERFACE = 1 << 3,
	OPTION_MAC = 1 << 4,
	OPTION_AGENT_SOCKET = 1 << 5,
	OPTION_VIP = 1 << 6,
	OPTION_AT = 1 << 7,
	OPTION_WAIT = 1 << 8, // has no value
	OPTION_FOLLOW = 1 << 9, // likewise
	OPTION_OBJECT = 1 << 10,
	OPTION_VIA = 1 << 11,
};

#define OPTION_BITS 12

struct options {
	const char *managers; // NULL: not given
	bool is_json;
	bool wants_help;
	bool wants_version;
	uint32_t timeout_ms; // of one request
	uint32_t wait_ms; // with --wait, what --timeout says; 0: as long as it takes
	unsigned given; // option bits
	const char *values[OPTION_BITS]; // of bit 1 << i
	int n_operands;
	const char *operands[OPERANDS_MAX];
};

// ERR_INVALID with the option and what is wrong.
NODISCARD int options_parse(int argc, char **argv, struct options *ret_options, struct error *err);

// "--file FILE"; for one bit.
const char *option_usage(unsigned bit);

// The value of an option that was given, or NULL.
const char *options_get(const struct options *o, unsigned bit);

static inline bool options_has(const struct options *o, unsigned bit)
{
	return (o->given & bit) != 0;
}
