#include "common/base/error.h"

#include <stdarg.h>
#include <string.h>

#include "common/base/text.h"

int error_set(struct error *err, enum error_code code, const char *format, ...)
{
	if (err == NULL)
		return code;
	va_list args;
	va_start(args, format);
	text_vformat(err->text, sizeof err->text, format, args);
	va_end(args);
	err->code = code;
	return code;
}

int error_prefix(struct error *err, const char *format, ...)
{
	if (err == NULL)
		return ERR_INVALID;
	char tail[ERROR_TEXT_BYTES];
	memcpy(tail, err->text, sizeof tail);
	va_list args;
	va_start(args, format);
	text_vformat(err->text, sizeof err->text, format, args);
	va_end(args);
	size_t used = strlen(err->text);
	text_format(err->text + used, sizeof err->text - used, "%s", tail);
	return err->code;
}

const char *error_code_name(enum error_code code)
{
	switch (code) {
	case ERR_OK: return "ok";
	case ERR_INVALID: return "invalid";
	case ERR_NOT_FOUND: return "not-found";
	case ERR_CONFLICT: return "conflict";
	case ERR_LIMIT: return "limit";
	case ERR_NO_MEMORY: return "no-memory";
	case ERR_TRUNCATED: return "truncated";
	case ERR_MALFORMED: return "malformed";
	case ERR_IO: return "io";
	case ERR_NOT_LEADER: return "not-leader";
	case ERR_TIMEOUT: return "timeout";
	case ERR_UNAVAILABLE: return "unavailable";
	case ERR_VERSION: return "version";
	}
	return "unknown";
}
