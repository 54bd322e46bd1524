// Bytes as the Raft library wants them: in memory of raft_malloc, in a whole number of 8-byte words. A word of length goes
// in front, so that the padding can be told from the content.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <raft.h>

#include "common/base/error.h"

NODISCARD int padded_encode(const uint8_t *bytes, size_t n, struct raft_buffer *ret_buf);

// The content, inside of the buffer. False when the buffer is not one of ours.
bool padded_decode(const struct raft_buffer *buf, const uint8_t **ret_bytes, size_t *ret_n);
