// Errors: one list of codes, and one sentence that tells the operator what to do.
//
// A fallible function returns 0 or a negative code of `enum error_code` and, where it takes a `struct error *`, leaves the
// sentence there. Context is put in front on the way up (error_prefix), so that what is printed reads
// "endpoints[1].dips[0].port: must be 1 to 65535, got 0".
// Threads: a struct error belongs to its caller. The pointer may be NULL where nobody will read the sentence.
#pragma once

enum error_code {
	ERR_OK = 0,
	ERR_INVALID = -1, // the input breaks a rule; the sentence names the field
	ERR_NOT_FOUND = -2, // the named object does not exist
	ERR_CONFLICT = -3, // it exists already, or belongs to somebody else
	ERR_LIMIT = -4, // a stated limit would be passed
	ERR_NO_MEMORY = -5, // allocation failed; nothing was changed
	ERR_TRUNCATED = -6, // bytes end before the message does
	ERR_MALFORMED = -7, // bytes that are no message of ours
	ERR_IO = -8, // a file, socket or device refused; the sentence holds the system's reason
	ERR_NOT_LEADER = -9, // this replica cannot decide; ask the leader
	ERR_TIMEOUT = -10, // no answer within the deadline; it may have happened or not
	ERR_UNAVAILABLE = -11, // nobody to ask (no leader, no manager reachable)
	ERR_VERSION = -12, // written by another version, or for another cluster
};

#define ERROR_TEXT_BYTES 512

struct error {
	enum error_code code;
	char text[ERROR_TEXT_BYTES];
};

#define NODISCARD __attribute__((warn_unused_result))

// Sets code and sentence; returns the code, so that `return error_set(...)` reads well.
int error_set(struct error *err, enum error_code code, const char *format, ...) __attribute__((format(printf, 3, 4)));

// Puts context in front of the sentence that is there already; returns its code.
int error_prefix(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

// A word for programs ("invalid", "not-found"); never NULL.
const char *error_code_name(enum error_code code);
