#include "hostagent/core/http_status.h"

#include <stdbool.h>
#include <string.h>

// '#' is any digit, 'S' the first one of a status, '?' what may follow it.
static const char form[] = "HTTP/1.# S##?";

_Static_assert(sizeof form - 1 == HTTP_STATUS_BYTES, "the form of a status line");

static bool fits(char wanted, uint8_t byte)
{
	switch (wanted) {
	case '#': return byte >= '0' && byte <= '9';
	case 'S': return byte >= '1' && byte <= '5';
	case '?': return byte == ' ' || byte == '\r' || byte == '\n';
	default: return byte == (uint8_t)wanted;
	}
}

enum http_status_outcome http_status_parse(const uint8_t *bytes, size_t n, uint16_t *ret_status)
{
	for (size_t i = 0; i < n && i < HTTP_STATUS_BYTES; i++)
		if (!fits(form[i], bytes[i]))
			return HTTP_STATUS_NONE;
	if (n < HTTP_STATUS_BYTES)
		return HTTP_STATUS_MORE;
	const uint8_t *status = bytes + 9;
	*ret_status = (uint16_t)((status[0] - '0') * 100 + (status[1] - '0') * 10 + (status[2] - '0'));
	return HTTP_STATUS_FOUND;
}
