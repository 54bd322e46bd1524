// The last word of a mux that dies: what BFD (RFC 5880) said last to each router, with its state changed to Down, so that
// routers take the mux out at once and not when its detection time is over. While the mux lived its worker passed BIRD's BFD packets
// on, which nobody does any more; nor can BIRD withdraw anything, since its BGP went the same way.
//
// The worker notes each control packet of a session that is up (24 bytes without authentication, RFC 5880 section 4.1); one of
// a session that is not crosses it out. Who survives the worker makes the farewells of what is there (mux/io/watchdog_process.h).
// Pure. Threads: the worker writes; read when it is dead. A packet that it was just writing is left out.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/packet/parse.h"

#define BFD_ROUTERS_MAX 16
#define BFD_CONTROL_BYTES 24
#define BFD_FRAME_BYTES (ETH_BYTES + IP4_BYTES + 8 + BFD_CONTROL_BYTES)
#define BFD_FRAME6_BYTES (ETH_BYTES + IP6_BYTES + 8 + BFD_CONTROL_BYTES)

struct bfd_note {
	_Atomic uint32_t n_changes; // odd: in the middle of one
	uint32_t n_bytes; // of the frame; 0: the note is free
	uint8_t router[16]; // IPv4 as IPv4-mapped
	bool is_up;
	uint8_t frame[BFD_FRAME6_BYTES];
};

struct bfd_book {
	struct bfd_note notes[BFD_ROUTERS_MAX];
};

struct bfd_frame {
	uint32_t n_bytes;
	uint8_t bytes[BFD_FRAME6_BYTES];
};

// A frame that the node itself sends, over either family. What is no BFD is nothing to note.
void bfd_book_note(struct bfd_book *book, const uint8_t *frame, uint32_t len);

// The farewells, in place: returns how many of `ret_frames` are filled.
uint32_t bfd_book_farewells(const struct bfd_book *book, struct bfd_frame ret_frames[BFD_ROUTERS_MAX]);
