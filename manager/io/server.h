// The manager's API: answers muxes, agents and anantactl on the replica's api address.
//
//   Subscribe      follower: Redirect. Leader: makes the node known (a command, when it is new or has moved), then streams
//                  updates: one under way, the next when that is acknowledged. A newer subscription of the same node wins.
//   Command        follower: Redirect. Leader: proposes it, answers when it is applied: the version, or the refusal
//   SnatAsk        leader, from a subscribed agent: requests and returns of ports of its DIPs (snat_service.c)
//   Leases         follower: Redirect. Leader: who holds, or held, ranges of ports
//   State          follower: Redirect. Leader: all objects, in Updates
//   Nodes          follower: Redirect. Leader: asks every subscribed node and waits STATUS_MS; the others are "unreachable",
//                  a mux that is not connected is "down"
//   Health         leader, from a subscribed agent: what its probes found (health_service.c)
//   Events         follower: Redirect. Leader: the events that are kept, after a number
//   Cluster        every replica, for itself
//
// A replica serves as leader from when its state holds everything that was acknowledged before (replica_leads) until it
// loses leadership; then all subscribers are sent to the new one.
// Threads: everything on the thread of its uv loop. Full: more than CONNS_MAX connections are closed at once; more than
// PEER_COMMANDS_MAX commands of one connection, or QUERIES_MAX Nodes requests at a time, are refused with ERR_LIMIT.
#pragma once

#include <uv.h>

#include "manager/io/config.h"

#define SERVER_CONNS_MAX 12000 // every host and mux, and some
#define SERVER_PEER_COMMANDS_MAX 64
#define SERVER_QUERIES_MAX 16
#define SERVER_STATUS_MS 1000

struct server;

// Starts the replica and listens. ERR_IO, ERR_CONFLICT, ERR_NO_MEMORY; after a failure the loop must run until it is idle.
NODISCARD int server_create(uv_loop_t *loop, const struct manager_config *config, struct server **ret_server,
                            struct error *err);

// Closes everything; the loop then has nothing to do once all of it is closed, and the server is freed.
void server_stop(struct server *s);
