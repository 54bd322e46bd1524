// The one connection type: all messages between managers, muxes, agents and anantactl go through it, over TCP or a Unix
// socket. Frames are a u32 length (network order) and an Envelope. Mutual TLS will enter here and nowhere else.
//
// A connection sends a ping when it was silent for CONN_PING_MS and closes when nothing came for CONN_DEAD_MS, or as
// conn_set_liveness says. Time in which this program did not run does not count as the peer's silence: what came meanwhile
// is read first. What cannot be sent at once is queued up to CONN_QUEUE_BYTES; beyond that the peer is too slow and the connection closes. A frame
// over MESSAGE_MAX_BYTES, or one that does not decode, closes it, with the reason.
// Threads: everything on the thread of its uv loop. No callback is made from inside conn_connect or conn_send.
#pragma once

#include <uv.h>

#include "common/wire/message.h"

#define CONN_PING_MS 1000
#define CONN_DEAD_MS 4000
#define CONN_CONNECT_MS 1000
// Of subscribers, which watch each other more closely: pings, and how long a mux or agent bears a silent leader.
#define CONN_SUBSCRIBER_PING_MS 500
#define CONN_SUBSCRIBER_DEAD_MS 1500
#define CONN_QUEUE_BYTES (64u << 20)

struct conn;

struct conn_handler {
	void (*on_open)(struct conn *c, void *user); // connected; for accepted ones not called. May be NULL.
	// Takes nothing: the message is finished after the call; a handler that keeps parts moves them out (and zeroes them).
	void (*on_message)(struct conn *c, struct message *m, void *user);
	// The last call for this connection, after which it is freed by itself; also after a failed connect and conn_close.
	void (*on_close)(struct conn *c, const struct error *reason, void *user);
};

// Where to: "10.0.0.11:7400" or the path of a Unix socket ("/run/...").
// Begins to connect; on_open or on_close follows. ERR_INVALID for an address that cannot be parsed, ERR_NO_MEMORY.
NODISCARD int conn_connect(uv_loop_t *loop, const char *address, const struct conn_handler *handler, void *user,
                           struct conn **ret_conn, struct error *err);

// Queues a message; it is not changed. ERR_LIMIT when it is too large or the queue is full (the connection then closes),
// ERR_UNAVAILABLE when the connection is closing.
int conn_send(struct conn *c, const struct message *m);

// The same for an envelope that is encoded already (message_encode).
int conn_send_bytes(struct conn *c, const uint8_t *bytes, size_t n);

// The short form of a reply that is an error.
int conn_send_error(struct conn *c, uint64_t request_id, const struct error *err);

// Closes after what is queued was written, or at once when the peer does not read; on_close comes later.
void conn_close(struct conn *c);

// Pings after so long without a message of our own, closes (ERR_TIMEOUT) after so long without one of the peer's, who must ping
// more often than that.
void conn_set_liveness(struct conn *c, uint32_t ping_ms, uint32_t dead_ms);

// Since when nothing has come from the peer.
uint64_t conn_silent_ms(const struct conn *c);

void conn_set_user(struct conn *c, void *user);

// "10.0.0.31:51234", or the socket's path.
const char *conn_peer(const struct conn *c);

struct conn_listener;

// on_accept must set handler's user by conn_set_user before it returns.
struct conn_listener_config {
	const char *address; // as conn_connect
	uint32_t max_conns; // more are closed at once, and counted
	const struct conn_handler *handler;
	void (*on_accept)(struct conn *c, void *user);
	void *user;
};

// ERR_IO with the system's reason; ERR_INVALID; ERR_NO_MEMORY. A stale Unix socket that nobody listens on is replaced.
NODISCARD int conn_listener_create(uv_loop_t *loop, const struct conn_listener_config *config,
                                   struct conn_listener **ret_listener, struct error *err);

// Stops accepting; connections stay. NULL is fine. The memory goes with the loop's next turn.
void conn_listener_destroy(struct conn_listener *l);
