// Outbound connections with SNAT in the simulation: who holds which ports by the managers' word, and the machinery around it.
//
//   VM --> host: agent_snat.c (hold queue; hostagent/io/snat_control.c, the very one) --> agent core --> server.c
//   agent_snat.c <--links.c: asks, answers, updates--> leader.c (queue, batches, mux_watch, answers) <--links.c--> mux.c
//   truth.c  what must hold, checked at each grant, order, packet that leaves, and reply at a mux
//
// leader.c does with the managers' cores what manager/io does: the order is commit, every live mux, the agent's update, the answer.
// A connection between a node and the leader keeps its order, delays by chance, and loses what is on it when it breaks.
#pragma once

#include "common/wire/message.h"
#include "tests/sim/sim.h"

// ---- links.c: messages on the connection of a node to the leader ----

void links_create(struct sim *s);
void links_destroy(struct sim *s);
void links_to_node(struct sim *s, uint32_t node, const struct message *m);
void links_to_leader(struct sim *s, uint32_t node, const struct message *m); // an ask's operations are copied
void links_on_message(struct sim *s, uint32_t idx);
uint64_t links_due(struct subscriber *sub, uint64_t at_us); // for what goes to the node: not before what went before

// ---- leader.c ----

void leader_create(struct sim *s);
void leader_destroy(struct sim *s);
void leader_begin(struct sim *s);
void leader_end(struct sim *s); // what was under way is committed in part, or lost
void leader_on_applied(struct sim *s, const struct apply_result *result);
void leader_on_subscribe(struct sim *s, uint32_t node);
void leader_on_unsubscribe(struct sim *s, uint32_t node);
void leader_on_message(struct sim *s, uint32_t node, const struct message *m);
void leader_on_batch(struct sim *s, uint32_t idx);
void leader_on_step(struct sim *s);
void leader_step(struct sim *s);
void leader_flush(struct sim *s, uint32_t node); // answers whose leases have been sent
uint64_t leader_floor(const struct sim *s, uint32_t node); // for its updates
uint32_t leader_n_fenced(const struct sim *s);

// ---- agent_snat.c ----

void agent_side_create(struct sim *s, uint32_t host);
void agent_side_destroy(struct sim *s, uint32_t host);
void agent_side_restart(struct sim *s, uint32_t host); // in the agent that has just begun
void agent_side_on_update(struct sim *s, uint32_t host, struct distribution_update *u, bool is_news);
void agent_side_on_message(struct sim *s, uint32_t host, const struct message *m);
void agent_side_on_link(struct sim *s, uint32_t host, bool is_up);
void agent_side_outbound(struct sim *s, uint32_t host, uint16_t port, struct packet *p);
void agent_side_tick(struct sim *s, uint32_t host);
void agent_side_collect(struct sim *s, uint32_t host);
const struct lease_set *agent_side_leases(const struct sim *s, uint32_t host);

// ---- truth.c ----

struct snat_order;

void truth_create(struct sim *s);
void truth_destroy(struct sim *s);
void truth_on_applied(struct sim *s,
                      bool cuts); // takes what has changed of leases; cuts: an operator ended what has ended
void truth_on_order(struct sim *s, uint32_t host, const struct snat_order *order); // to the worker
void truth_on_returned(struct sim *s, be32 vip, uint16_t first_port, uint32_t epoch); // by the worker
void truth_on_process(struct sim *s, uint32_t host); // a new one, whose worker has nothing
void truth_on_leaving(struct sim *s, const struct packet *p); // to a server
void truth_on_steered(struct sim *s, uint32_t mux, uint32_t connection, be32 vip, uint16_t port,
                      be32 dip); // 0: dropped
void truth_at_end(struct sim *s);
void truth_violated(struct sim *s, enum violation v, const char *format, ...) __attribute__((format(printf, 3, 4)));
