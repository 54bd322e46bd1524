// SipHash-2-4: a keyed hash of 64 bits that nobody can compute or predict who does not have the key.
//
// For short messages between programs that share a key: some 1.5 cycles a byte, without tables and without branches on data.
// A tag of 64 bits is guessed with probability 2^-64 a try, which a receiver that checks each message makes slow enough.
// Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF", INDOCRYPT 2012; the vectors are in its appendix A and
// its reference implementation.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define SIPHASH_KEY_BYTES 16

uint64_t siphash24(const uint8_t key[SIPHASH_KEY_BYTES], const void *data, size_t n_bytes);
