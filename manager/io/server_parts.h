// What the files of the server share: the server itself and its connections. Included by manager/io only.
#pragma once

#include "common/io/conn.h"
#include "manager/core/distribution.h"
#include "manager/io/machine.h"
#include "manager/io/roster.h"
#include "manager/io/server.h"
#include "manager/raft/replica.h"

// A connection. It subscribes at most once:
//
//   PEER_OPEN --Subscribe--> PEER_REGISTERING --applied--> PEER_SUBSCRIBED
//       |                          |                             |
//       '------ asks only          '-- refused: closed           '-- replaced, removed, leadership lost: closed
enum peer_state { PEER_OPEN, PEER_REGISTERING, PEER_SUBSCRIBED, PEER_CLOSING };

struct peer {
	struct server *server;
	struct conn *conn;
	struct peer *previous;
	struct peer *next;
	enum peer_state state;
	struct subscribe subscribe; // once it has asked to
	struct distribution distribution;
	struct command *commands; // that wait for their result
	uint32_t n_commands;
};

struct server {
	uv_loop_t *loop;
	struct manager_config config;
	struct machine machine;
	struct replica *replica;
	struct conn_listener *listener;
	uv_prepare_t pump; // sends updates, once in each turn of the loop in which something has changed
	bool has_news; // for the pump
	bool is_stopping;
	uint32_t n_open; // what must be closed before the server is freed
	struct peer *peers;
	struct roster roster; // of the subscribed ones
	struct nodes_query *queries;
	uint32_t n_queries;
	uint64_t next_request_id; // of status requests
};

// ---- server.c ----

// Does this replica answer for the cluster?
bool server_is_serving(const struct server *s);

// The api address of the leader if another replica leads, or "".
const char *server_leader_api(const struct server *s);

void server_send_redirect(struct peer *p, uint64_t request_id);
void server_send_error(struct peer *p, uint64_t request_id, const struct error *err);

// Sends the changes in as many Updates as they need.
void server_send_update(struct peer *p, uint64_t request_id, uint64_t from_version, uint64_t to_version,
                        const struct change_list *changes);

// Says why, closes; the peer stays until its connection is closed.
void server_close_peer(struct peer *p, const struct error *why);

void server_release(struct server *s);

// ---- commands.c ----

// A command's result comes to `on_done` unless the peer is gone by then. 0, or err says why it was not proposed.
typedef void (*command_fn)(struct peer *p, uint64_t request_id, const struct error *err, uint64_t version);
NODISCARD int commands_propose(struct peer *p, uint64_t request_id, const struct change_list *changes,
                               command_fn on_done, struct error *err);
void commands_on_request(struct peer *p, uint64_t request_id, const struct change_list *changes);
void commands_forget_peer(struct peer *p);

// ---- subscriptions.c ----

void subscriptions_on_request(struct peer *p, const struct subscribe *subscribe);
void subscriptions_on_ack(struct peer *p, uint64_t version, uint64_t lease_version);
void subscriptions_forget_peer(struct peer *p);
void subscriptions_end_all(struct server *s); // leadership was lost
void subscriptions_pump(struct server *s);

// ---- nodes_query.c ----

void nodes_query_begin(struct peer *p, uint64_t request_id, enum node_role role, const char *name);
void nodes_query_on_status(struct peer *p, uint64_t request_id, struct node_status *status); // may be moved out
void nodes_query_forget_peer(struct peer *p);
void nodes_query_end_all(struct server *s);
