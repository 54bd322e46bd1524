#include "manager/raft/padded.h"

#include <string.h>

#include "common/base/bytes.h"

enum { WORD_BYTES = 8 };

int padded_encode(const uint8_t *bytes, size_t n, struct raft_buffer *ret_buf)
{
	size_t len = WORD_BYTES + (n + WORD_BYTES - 1) / WORD_BYTES * WORD_BYTES;
	uint8_t *base = raft_calloc(1, len);
	if (base == NULL)
		return ERR_NO_MEMORY;
	uint64_t word = n;
	memcpy(base, &word, sizeof word);
	memcpy(base + WORD_BYTES, bytes, n);
	*ret_buf = (struct raft_buffer){ .base = base, .len = len };
	return 0;
}

bool padded_decode(const struct raft_buffer *buf, const uint8_t **ret_bytes, size_t *ret_n)
{
	if (buf->len < WORD_BYTES)
		return false;
	uint64_t n = load64(buf->base);
	if (n > buf->len - WORD_BYTES)
		return false;
	*ret_bytes = (const uint8_t *)buf->base + WORD_BYTES;
	*ret_n = n;
	return true;
}
