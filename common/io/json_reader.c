#include "common/io/json_reader.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/memory.h"
#include "common/base/text.h"

int json_read_text(const char *text, size_t n, json_t **ret_root, struct error *err)
{
	json_error_t where;
	json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &where);
	if (root == NULL)
		return error_set(err, ERR_INVALID, "line %d, column %d: %s", where.line, where.column, where.text);
	*ret_root = root;
	return 0;
}

// Reads up to max_bytes + 1, so that the caller sees that there is more.
static int read_stream(FILE *file, size_t max_bytes, char **ret_text, size_t *ret_n, struct error *err)
{
	char *text = NULL;
	size_t n = 0;
	size_t capacity = 0;
	while (n <= max_bytes) {
		if (n == capacity) {
			capacity = capacity == 0 ? 65536 : capacity * 2;
			char *bigger = memory_resize(text, capacity, 1);
			if (bigger == NULL) {
				memory_free(text);
				return error_set(err, ERR_NO_MEMORY, "out of memory");
			}
			text = bigger;
		}
		size_t got = fread(text + n, 1, capacity - n, file);
		if (got == 0)
			break;
		n += got;
	}
	if (ferror(file)) {
		memory_free(text);
		return error_set(err, ERR_IO, "cannot be read: %s", strerror(errno));
	}
	*ret_text = text;
	*ret_n = n;
	return 0;
}

int json_read_file(const char *path, size_t max_bytes, json_t **ret_root, struct error *err)
{
	bool is_stdin = strcmp(path, "-") == 0;
	const char *name = is_stdin ? "standard input" : path;
	FILE *file = is_stdin ? stdin : fopen(path, "re");
	if (file == NULL)
		return error_set(err, ERR_IO, "%s: %s", name, strerror(errno));
	char *text = NULL;
	size_t n = 0;
	int code = read_stream(file, max_bytes, &text, &n, err);
	if (!is_stdin)
		fclose(file);
	if (code == 0 && n > max_bytes)
		code = error_set(err, ERR_LIMIT, "larger than %zu MiB, the limit of a file", max_bytes >> 20);
	if (code == 0)
		code = json_read_text(text, n, ret_root, err);
	memory_free(text);
	return code == 0 ? 0 : error_prefix(err, "%s: ", name);
}

void json_reader_init(struct json_reader *r, json_t *object, const char *path, struct error *err)
{
	*r = (struct json_reader){ .object = object, .err = err };
	(void)text_format(r->path, sizeof r->path, "%s", path);
	if (err->code == 0 && !json_is_object(object)) {
		size_t n = strlen(path);
		if (n == 0)
			error_set(err, ERR_INVALID, "must be a JSON object ({...})");
		else
			error_set(err, ERR_INVALID, "%.*s: must be an object ({...})", (int)(n - 1), path);
	}
}

void json_reader_fail(struct json_reader *r, const char *field, const char *format, ...)
{
	if (r->err->code != 0)
		return;
	char text[ERROR_TEXT_BYTES];
	va_list args;
	va_start(args, format);
	text_vformat(text, sizeof text, format, args);
	va_end(args);
	error_set(r->err, ERR_INVALID, "%s%s: %s", r->path, field, text);
}

// Notes that the field is known; NULL when it is absent or something failed before.
static json_t *take(struct json_reader *r, const char *field, bool is_required)
{
	if (r->err->code != 0)
		return NULL;
	CHECK(r->n_seen < JSON_FIELDS_MAX);
	r->seen[r->n_seen++] = field;
	json_t *value = json_object_get(r->object, field);
	if (value == NULL && is_required)
		json_reader_fail(r, field, "is missing");
	return value;
}

bool json_reader_has(struct json_reader *r, const char *field)
{
	return r->err->code == 0 && json_object_get(r->object, field) != NULL;
}

static void read_string(struct json_reader *r, const char *field, bool is_required, char *buf, size_t size)
{
	json_t *value = take(r, field, is_required);
	if (value == NULL)
		return;
	if (!json_is_string(value))
		json_reader_fail(r, field, "must be a string");
	else if (strlen(json_string_value(value)) != json_string_length(value) ||
	         !text_copy(buf, size, json_string_value(value)))
		json_reader_fail(r, field, "must be at most %zu characters", size - 1);
}

void json_reader_string(struct json_reader *r, const char *field, char *buf, size_t size)
{
	read_string(r, field, true, buf, size);
}

void json_reader_string_or(struct json_reader *r, const char *field, char *buf, size_t size)
{
	read_string(r, field, false, buf, size);
}

static void read_u64(struct json_reader *r, const char *field, bool is_required, uint64_t min, uint64_t max,
                     uint64_t *ret_value)
{
	json_t *value = take(r, field, is_required);
	if (value == NULL)
		return;
	if (!json_is_integer(value)) {
		json_reader_fail(r, field, "must be a whole number from %llu to %llu", (unsigned long long)min,
		                 (unsigned long long)max);
		return;
	}
	json_int_t n = json_integer_value(value);
	if (n < 0 || (uint64_t)n < min || (uint64_t)n > max)
		json_reader_fail(r, field, "must be %llu to %llu, got %lld", (unsigned long long)min, (unsigned long long)max,
		                 (long long)n);
	else
		*ret_value = (uint64_t)n;
}

void json_reader_u64(struct json_reader *r, const char *field, uint64_t min, uint64_t max, uint64_t *ret_value)
{
	read_u64(r, field, true, min, max, ret_value);
}

void json_reader_u64_or(struct json_reader *r, const char *field, uint64_t min, uint64_t max, uint64_t *ret_value)
{
	read_u64(r, field, false, min, max, ret_value);
}

void json_reader_bool_or(struct json_reader *r, const char *field, bool *ret_value)
{
	json_t *value = take(r, field, false);
	if (value == NULL)
		return;
	if (!json_is_boolean(value))
		json_reader_fail(r, field, "must be true or false");
	else
		*ret_value = json_is_true(value);
}

json_t *json_reader_array(struct json_reader *r, const char *field, bool is_required)
{
	json_t *value = take(r, field, is_required);
	if (value != NULL && !json_is_array(value)) {
		json_reader_fail(r, field, "must be a list ([...])");
		return NULL;
	}
	return value;
}

json_t *json_reader_object(struct json_reader *r, const char *field, bool is_required)
{
	json_t *value = take(r, field, is_required);
	if (value != NULL && !json_is_object(value)) {
		json_reader_fail(r, field, "must be an object ({...})");
		return NULL;
	}
	return value;
}

const char *json_reader_path(const struct json_reader *r, const char *field, int index, char *buf)
{
	if (index < 0)
		(void)text_format(buf, JSON_PATH_BYTES, "%s%s.", r->path, field);
	else
		(void)text_format(buf, JSON_PATH_BYTES, "%s%s[%d].", r->path, field, index);
	return buf;
}

static bool was_seen(const struct json_reader *r, const char *field)
{
	for (uint32_t i = 0; i < r->n_seen; i++)
		if (strcmp(r->seen[i], field) == 0)
			return true;
	return false;
}

int json_reader_finish(struct json_reader *r)
{
	const char *field;
	json_t *value;
	if (r->err->code == 0) {
		json_object_foreach(r->object, field, value)
		{
			if (!was_seen(r, field)) {
				error_set(r->err, ERR_INVALID, "%s%.60s: is not a field that is known here", r->path, field);
				break;
			}
		}
	}
	return r->err->code;
}
