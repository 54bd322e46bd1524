// A TCP that is small, but good enough to notice when packets come to a machine that does not know the connection.
//
//   client  CLOSED --tcp_open--> SYN_SENT --SYN-ACK--> OPEN --FINs both ways, acknowledged--> DONE
//   server  CLOSED --tcp_accept(SYN)--> SYN_RCVD --ACK--> OPEN -----------"-----------------> DONE
//                                          any --RST in the window--> DONE (TCP_RESET)
//
// Data are segments of TCP_SEGMENT_BYTES, numbered from 0, so that what is in a segment follows from its number. What arrives
// out of order is dropped and acknowledged again; a timeout sends everything again from what was not acknowledged (go back n),
// with a doubled timeout. Sequence numbers, acceptability, resets and challenges as RFC 9293 and RFC 5961 say; no congestion
// control, no window, no options.
// Pure: the time comes in; segments to send come out of tcp_next_segment, which is asked until it says no.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/packet/headers.h"

#define TCP_SEGMENT_BYTES 16
#define TCP_FLIGHT_SEGMENTS 8 // unacknowledged at a time
#define TCP_WINDOW_BYTES 4096 // in which a RST is believed
#define TCP_SYN_TIMEOUT_US 1000000u
#define TCP_DATA_TIMEOUT_US 300000u
#define TCP_TIMEOUT_MAX_US 10000000u

enum tcp_state { TCP_CLOSED, TCP_SYN_SENT, TCP_SYN_RCVD, TCP_OPEN, TCP_DONE };

enum tcp_outcome { // bits
	TCP_OPENED = 1,
	TCP_RESET = 2, // the other side says that there is no such connection
	TCP_DATA = 4, // one segment has come in order
	TCP_PEER_FINISHED = 8,
	TCP_CLOSED_BOTH = 16, // both FINs are acknowledged
	TCP_REFUSE = 32, // not of this connection: to be answered with a RST
};

struct tcp_end {
	uint32_t iss;
	uint32_t una; // the oldest that is not acknowledged
	uint32_t nxt; // what is sent next
	uint32_t max; // what was never sent yet
	uint32_t rcv_nxt;
	uint32_t n_out; // segments that may be sent
	uint32_t n_in; // segments that have come
	uint8_t state;
	uint8_t n_timeouts; // since the last acknowledgement
	bool wants_fin;
	bool has_fin; // the other side's
	bool owes_ack;
	uint64_t timeout_us; // when to send again; 0: nothing waits for an acknowledgement
	uint64_t progress_us; // when the other side last did something that we waited for
};

struct tcp_segment {
	uint32_t seq;
	uint32_t ack;
	uint8_t flags;
	uint8_t n_bytes; // of data: 0 or TCP_SEGMENT_BYTES
};

void tcp_open(struct tcp_end *t, uint32_t iss, uint64_t now_us);
void tcp_accept(struct tcp_end *t, uint32_t iss, const struct tcp_segment *syn, uint64_t now_us);

// Bits of enum tcp_outcome.
uint32_t tcp_on_segment(struct tcp_end *t, const struct tcp_segment *s, uint64_t now_us);

// To be called when timeout_us has come.
void tcp_on_timeout(struct tcp_end *t, uint64_t now_us);

// What is to be sent now; false: nothing more.
bool tcp_next_segment(struct tcp_end *t, uint64_t now_us, struct tcp_segment *ret_segment);

static inline bool tcp_flags_begin(uint8_t flags)
{
	return (flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

// The number of a data segment of this end.
static inline uint32_t tcp_segment_number(uint32_t iss, uint32_t seq)
{
	return (seq - iss - 1) / TCP_SEGMENT_BYTES;
}

// What a machine answers that has no such connection (RFC 9293 section 3.5.2).
struct tcp_segment tcp_refusal(const struct tcp_segment *s);
