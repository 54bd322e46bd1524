// The status line of an HTTP/1 response (RFC 9112 section 4), as far as a probe must know it:
//   status-line = HTTP-version SP status-code SP [ reason-phrase ] CRLF
// Its first HTTP_STATUS_BYTES say everything; what follows is not looked at. A line without the second space, which many
// servers send, is taken, too. Fuzz target: tests/fuzz/hostagent/fuzz_http_status.c.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define HTTP_STATUS_BYTES 13 // "HTTP/1.1 200 "

enum http_status_outcome {
	HTTP_STATUS_FOUND,
	HTTP_STATUS_MORE, // so far it may become one
	HTTP_STATUS_NONE, // it is none, whatever follows
};

// *ret_status is set on HTTP_STATUS_FOUND: 100 to 599.
enum http_status_outcome http_status_parse(const uint8_t *bytes, size_t n, uint16_t *ret_status);
