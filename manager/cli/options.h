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
	OPTION_WAIT = 1 << 8, // may have a value: --wait=SECONDS
	OPTION_FOLLOW = 1 << 9, // likewise
	OPTION_OBJECT = 1 << 10,
	OPTION_IF_VERSION = 1 << 11,
	OPTION_DRY_RUN = 1 << 12, // has no value
	OPTION_PRUNE = 1 << 13, // likewise
	OPTION_TENANT = 1 << 14,
	OPTION_VERSION = 1 << 15, // of a VIP; without a value it is asked for the program's
	OPTION_TO = 1 << 16,
	OPTION_VIA = 1 << 17,
};

#define OPTION_BITS 18
#define FILES_MAX 256 // that -f may name

struct options {
	const char *managers; // NULL: not given
	bool is_json;
	bool wants_help;
	bool wants_version;
	uint32_t timeout_ms; // of one request
	uint32_t wait_ms; // with --wait, what it or --timeout says; 0: as long as it takes
	unsigned given; // option bits
	const char *values[OPTION_BITS]; // of bit 1 << i; the last one that was given
	uint32_t n_files;
	const char *files[FILES_MAX]; // all that -f named
	int n_operands;
	const char *operands[OPERANDS_MAX];
};

// ERR_INVALID with the option and what is wrong.
NODISCARD int options_parse(int argc, char **argv, struct options *ret_options, struct error *err);

// "--file FILE"; for one bit.
const char *option_usage(unsigned bit);

// The value of an option that was given, or NULL.
const char *options_get(const struct options *o, unsigned bit);

// The number that an option was given. ERR_INVALID.
NODISCARD int options_get_u64(const struct options *o, unsigned bit, uint64_t *ret_value, struct error *err);

static inline bool options_has(const struct options *o, unsigned bit)
{
	return (o->given & bit) != 0;
}
