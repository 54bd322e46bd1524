// Strict reading of JSON documents (programs' configuration, VIP documents), on jansson: unknown and duplicate fields are
// refused by name, wrong types and ranges with the field's path: "endpoints[1].dips[0].port: must be 1 to 65535, got 0".
//
// A reader visits one object. The first failure is kept in the error and all later calls do nothing, so that a caller reads
// all its fields and checks once, in json_reader_finish, which also finds the fields that nobody asked for.
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"

#define JSON_PATH_BYTES 160
#define JSON_FIELDS_MAX 32

struct json_reader {
	json_t *object;
	char path[JSON_PATH_BYTES]; // "" or "endpoints[1]."
	const char *seen[JSON_FIELDS_MAX];
	uint32_t n_seen;
	struct error *err; // err->code == 0 while all went well
};

// Parses text; syntax errors say line and column. *ret_root is the caller's (json_decref).
NODISCARD int json_read_text(const char *text, size_t n, json_t **ret_root, struct error *err);

// Reads a whole file ("-": standard input) of at most max_bytes. ERR_IO, ERR_LIMIT, or as json_read_text.
NODISCARD int json_read_file(const char *path, size_t max_bytes, json_t **ret_root, struct error *err);

// err must be zeroed. Fails at once when `object` is none.
void json_reader_init(struct json_reader *r, json_t *object, const char *path, struct error *err);

bool json_reader_has(struct json_reader *r, const char *field);

// A field of the type asked for. Missing: an error, or, in the _or variants, the value stays as it is.
void json_reader_string(struct json_reader *r, const char *field, char *buf, size_t size);
void json_reader_string_or(struct json_reader *r, const char *field, char *buf, size_t size);
void json_reader_u64(struct json_reader *r, const char *field, uint64_t min, uint64_t max, uint64_t *ret_value);
void json_reader_u64_or(struct json_reader *r, const char *field, uint64_t min, uint64_t max, uint64_t *ret_value);
void json_reader_bool_or(struct json_reader *r, const char *field, bool *ret_value);

// NULL when missing, if that is allowed, or on failure. Borrowed.
json_t *json_reader_array(struct json_reader *r, const char *field, bool is_required);
json_t *json_reader_object(struct json_reader *r, const char *field, bool is_required);

// A failure of the caller's own finding about a field; keeps the first one.
void json_reader_fail(struct json_reader *r, const char *field, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

// The path of a field, or of an element of an array of this object, for a nested reader: "endpoints[1]." Returns buf.
const char *json_reader_path(const struct json_reader *r, const char *field, int index, char *buf);

// 0, or the code of the first failure; a field that was never asked for is one.
NODISCARD int json_reader_finish(struct json_reader *r);
