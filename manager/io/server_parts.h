// What the files of the server share: the server itself and its connections. Included by manager/io only.
#pragma once

#include "common/io/conn.h"
#include "manager/core/distribution.h"
#include "manager/core/health_view.h"
#include "manager/core/host_watch.h"
#include "manager/core/mux_watch.h"
#include "manager/core/snat_queue.h"
#include "manager/io/machine.h"
#include "manager/io/roster.h"
#include "manager/io/server.h"
#include "manager/io/snat_stats.h"
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
	char author[AUTHOR_BYTES]; // who is at the other end, for the versions of what it changes; "": not known
	struct snat_answer *answers; // to its requests, that wait for an Update to go before; oldest first
	struct snat_answer **answers_end;
	bool has_acked; // an update
	bool is_replaced; // by a newer subscription
	uint64_t silent_ms; // when its connection was closed because it was silent: for so long
	bool is_noted; // there may be something to send to it
	struct peer *next_noted;
};

struct snat_pool_watch; // what was said of a VIP's pool
struct snat_gone_host; // since when a host is not connected

// The leader's work on leases. Everything in it is of one leadership, but for the counters.
struct snat_service {
	struct snat_queue *queue;
	struct mux_watch muxes;
	uint64_t noted_floor; // up to here the agents concerned were noted
	bool has_waiting; // an agent may wait for the floor to come to where it subscribed
	struct snat_answer *answers; // that wait for the floor; oldest first
	struct snat_answer **answers_end;
	struct peer *noted;
	uint32_t leadership; // counts them, so that what comes late is known as such
	uint32_t n_batches; // under way
	struct mono_time foreign_logged; // when a foreign request was logged last
	uv_timer_t wake; // when time alone brings something to do
	uv_timer_t second; // runs every second: pools and hosts
	uint32_t n_pools;
	struct snat_pool_watch *pools; // ascending by VIP
	uint32_t n_gone;
	struct snat_gone_host *gone; // ascending by name
	struct snat_stats stats;
};

// The leader's work on health: what is marked. Everything in it is of one leadership, but for the counters.
struct health_service {
	struct host_watch hosts;
	struct health_view view;
	bool is_proposed; // a command with marks is under way
	struct mono_time next; // no command with marks before
	struct mono_time begun; // this leadership
	struct mono_time subscribed; // the last agent
	uv_timer_t wake;
	uint64_t n_reports; // counters
	uint64_t n_marks; // proposed: put or taken away
	uint64_t n_failed; // commands
};

// What the leader has seen, until it is in the state.
struct event_service {
	struct event_list queue; // oldest first
	bool is_proposed; // a command with events is under way
	struct mono_time next; // no command with events before
	uint32_t n_unsaid; // dropped, which no event says yet
	uint64_t n_dropped; // a counter
	uv_timer_t wake;
};

// What was told of a mux.
struct mux_news {
	char name[NAME_BYTES];
	char state[32]; // as it says; "": not known
	bool is_up;
};

// When generations expire.
struct history_watch {
	bool is_proposed; // a command that drops them is under way
	bool is_known; // the time below, of this version of the state
	uint64_t version;
	uint64_t expire_ms;
};

// Who waits for acknowledgements.
struct wait_request;
struct wait_service {
	struct wait_request *first;
	uint32_t n;
	uv_timer_t timer;
};

struct server {
	uv_loop_t *loop;
	struct manager_config config;
	struct machine machine;
	struct replica *replica;
	struct conn_listener *listener;
	uv_prepare_t pump; // sends updates, once in each turn of the loop in which something has changed
	bool has_news; // for the pump
	bool has_changes; // of objects: all subscribers are looked at
	bool is_stopping;
	uint32_t n_open; // what must be closed before the server is freed
	struct peer *peers;
	struct roster roster; // of the subscribed ones
	struct snat_service snat;
	struct health_service health;
	struct event_service events;
	uint32_t n_mux_news;
	struct mux_news mux_news[LIMIT_MUXES];
	struct mono_time muxes_expected_until; // a leadership has begun
	struct history_watch history;
	struct wait_service waits;
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

struct mono_time server_now(void);

// Says why, closes; the peer stays until its connection is closed.
void server_close_peer(struct peer *p, const struct error *why);

void server_release(struct server *s);

// ---- replies.c ----

// Sends what an update holds in as many Updates as it needs.
void server_send_update(struct peer *p, uint64_t request_id, const struct update *update);

void replies_send_state(struct peer *p, uint64_t request_id);
void replies_send_events(struct peer *p, uint64_t request_id, uint64_t after_seq);
void replies_send_cluster(struct peer *p, uint64_t request_id);

// ---- commands.c ----

// A command's result (machine_result) comes to `on_done` unless the peer is gone by then. 0, or err says why it was not proposed.
typedef void (*command_fn)(struct peer *p, uint64_t request_id, const struct error *err, uint64_t result);
NODISCARD int commands_propose(struct peer *p, uint64_t request_id, const struct change_list *changes,
                               const struct snat_op_list *ops, const struct command_terms *terms, command_fn on_done,
                               struct error *err);
void commands_on_request(struct peer *p, uint64_t request_id, const struct change_list *changes,
                         const struct snat_op_list *ops, const struct command_terms *terms);
void commands_forget_peer(struct peer *p);

// Proposes a command, stamped with the time, for the server itself. As replica_propose.
NODISCARD int server_propose(struct server *s, const struct state_command *command, replica_result_fn on_done,
                             void *user, struct error *err);
uint64_t server_clock_ms(void); // milliseconds since 1970, as commands are stamped with

// ---- subscriptions.c ----

void subscriptions_on_request(struct peer *p, const struct subscribe *subscribe);
void subscriptions_on_ack(struct peer *p, uint64_t version, uint64_t lease_version);
void subscriptions_forget_peer(struct peer *p, const char *why);
void subscriptions_end_all(struct server *s); // leadership was lost
void subscriptions_on_settings(struct server *s); // they have changed
void subscriptions_pump(struct server *s); // all of them
void subscriptions_pump_muxes(struct server *s);
void subscriptions_send(struct peer *p); // what is due to it

// ---- nodes_query.c ----

void nodes_query_begin(struct peer *p, uint64_t request_id, enum node_role role, const char *name);
void nodes_query_on_status(struct peer *p, uint64_t request_id, struct node_status *status); // may be moved out
void nodes_query_forget_peer(struct peer *p);
void nodes_query_end_all(struct server *s);

// ---- health_service.c ----

void health_service_init(struct server *s);
void health_service_start(struct server *s); // its handle, which counts in n_open
void health_service_stop(struct server *s);
void health_service_fini(struct server *s);
void health_service_begin(struct server *s); // leadership has begun, or was lost
void health_service_end(struct server *s);
void health_service_on_report(struct peer *p, const struct health_report *report);
void health_service_on_subscribe(struct peer *p); // of agents, as the next two
void health_service_on_unsubscribe(struct peer *p);
void health_service_on_ack(struct peer *p);
void health_service_on_applied(struct server *s, const struct change_list *changes);
void health_service_step(struct server *s); // proposes what is due
void health_service_fill(const struct server *s, struct counter *counters, uint32_t *n);

// ---- event_service.c ----

void event_service_start(struct server *s); // its handle, which counts in n_open
void event_service_stop(struct server *s);
void event_service_fini(struct server *s);
void event_service_begin(struct server *s); // leadership has begun, or was lost
void event_service_end(struct server *s);
void event_service_add(struct server *s, const struct cluster_event *e); // nothing, unless this replica leads
void event_service_step(struct server *s); // proposes what is due

// ---- mux_news.c ----

void mux_news_begin(struct server *s); // leadership has begun
void mux_news_run(struct server *s); // every second, at the leader
void mux_news_on_subscribe(struct peer *p); // of muxes, as the next two
void mux_news_on_unsubscribe(struct peer *p, const char *why);
void mux_news_on_status(struct peer *p, const struct node_status *status);
void mux_news_forget(struct server *s, const char *mux); // it was removed from the cluster

// ---- snat_service.c ----

NODISCARD int snat_service_init(struct server *s);
void snat_service_start(struct server *s); // its handles, which count in n_open
void snat_service_stop(struct server *s); // its handles are closed; each releases the server
void snat_service_fini(struct server *s);
void snat_service_begin(struct server *s); // leadership has begun, or was lost
void snat_service_end(struct server *s);

void snat_service_on_ask(struct peer *p, const struct snat_op_list *ops);
void snat_service_on_applied(struct server *s, const struct change_list *changes, const struct apply_result *result);
void snat_service_on_subscribe(struct peer *p);
void snat_service_on_unsubscribe(struct peer *p);

// Whatever can be done now: muxes fenced, answers given, batches proposed.
void snat_service_step(struct server *s);

void snat_service_note(struct peer *p); // the step sends it what is due

bool snat_service_is_fenced(const struct server *s, const char *mux);

// ---- snat_answers.c ----

struct snat_outcome;
void snat_answers_on_outcome(struct server *s, const struct snat_outcome *outcome, uint64_t lease_version,
                             struct mono_time asked);
void snat_answers_refuse(struct peer *p, const struct snat_op *request, const struct error *err);
void snat_answers_release(struct server *s); // those that the floor has reached, to their peers
void snat_answers_flush(struct peer *p); // those whose leases have been sent before
void snat_answers_forget_peer(struct peer *p);
void snat_answers_clear(struct server *s);

// ---- snat_watch.c ----

void snat_watch_run(struct server *s); // every second, at the leader
void snat_watch_clear(struct server *s);
void snat_watch_note_empty(struct server *s, const struct ip_addr *vip); // a request was refused

// ---- history_watch.c ----

void history_watch_run(struct server *s); // every second, at the leader

// ---- versions_query.c ----

void versions_query_answer(struct peer *p, uint64_t request_id, const struct ip_addr *vip, uint64_t version);
void versions_query_roll_back(struct peer *p, uint64_t request_id, const struct message *m);

// ---- wait_service.c ----

void wait_service_start(struct server *s); // its handle, which counts in n_open
void wait_service_stop(struct server *s);
void wait_service_end(struct server *s); // leadership was lost
void wait_service_on_request(struct peer *p, uint64_t request_id, uint64_t version, uint32_t timeout_ms);
void wait_service_forget_peer(struct peer *p);
void wait_service_step(struct server *s); // answers what can be answered

// ---- leases_query.c ----

void leases_query_answer(struct peer *p, uint64_t request_id, const struct ip_addr *vip, uint16_t port, uint64_t at_ms);
