// Requests to the managers, one at a time, waiting for the answer: what anantactl needs of the network.
//
// Errors: what the cluster refuses (ERR_INVALID, ERR_NOT_FOUND, ERR_CONFLICT, ERR_LIMIT), or that it could not be asked
// (ERR_UNAVAILABLE, ERR_TIMEOUT).
#pragma once

#include "common/model/store.h"
#include "common/wire/message.h"

struct client;

struct client_config {
	uint32_t n_managers;
	const char *managers[REPLICAS_MAX]; // ADDRESS:PORT
	uint32_t timeout_ms; // for each request
};

NODISCARD int client_create(const struct client_config *config, struct client **ret_client, struct error *err);
void client_destroy(struct client *c);

NODISCARD int client_command(struct client *c, const struct change_list *changes, uint64_t *ret_version,
                             struct error *err);

// The same, bound to terms or as a part of a transaction. *ret_is_unchanged: everything was so already.
NODISCARD int client_submit(struct client *c, const struct change_list *changes, const struct command_terms *terms,
                            uint64_t *ret_version, bool *ret_is_unchanged, struct error *err);

// Makes a VIP what it was at a version; `expect`: that it must be at now, NULL: at any.
NODISCARD int client_roll_back(struct client *c, const struct ip_addr *vip, uint64_t to_version, const uint64_t *expect,
                               uint64_t *ret_version, bool *ret_is_unchanged, struct error *err);

// The versions of a VIP, oldest first, without their configurations (version 0), or one with it; for vip_version_list_fini.
NODISCARD int client_get_versions(struct client *c, const struct ip_addr *vip, uint64_t version,
                                  struct vip_version_list *ret_versions, struct error *err);

// Waits until all that are connected have acknowledged the version, for so long.
NODISCARD int client_wait(struct client *c, uint64_t version, uint32_t timeout_ms, struct wait_reply *ret_reply,
                          struct error *err);

// The same for operations on leases.
NODISCARD int client_operate(struct client *c, const struct snat_op_list *ops, uint64_t *ret_version,
                             struct error *err);

// All objects; the store is the caller's to finish on success.
NODISCARD int client_get_state(struct client *c, struct store *ret_state, struct error *err);

struct node_list {
	uint32_t n;
	struct node_status *items;
};

// The muxes or hosts (ROLE_NONE: both), or the one of a name ("" for all).
NODISCARD int client_get_nodes(struct client *c, enum node_role role, const char *name, struct node_list *ret_nodes,
                               struct error *err);
void node_list_fini(struct node_list *list);

// The leases of a VIP (unspecified: of all) that hold a port (0: any), at a time in ms since 1970 (0: those held now and,
// of a port, all that the log knows), sorted by VIP, port and time, each once; and how the VIPs' pools are.
NODISCARD int client_get_leases(struct client *c, const struct ip_addr *vip, uint16_t port, uint64_t at_ms,
                                struct leases_reply *ret_leases, struct error *err);
void client_leases_fini(struct leases_reply *leases);

// The events that are kept after a number (0: all), oldest first; for event_list_fini.
NODISCARD int client_get_events(struct client *c, uint64_t after_seq, struct event_list *ret_events, struct error *err);

// Asks one server (a manager, or an agent's socket) directly, without looking for the leader. *ret_reply is finished by
// the caller on success.
NODISCARD int client_ask(const char *address, uint32_t timeout_ms, const struct message *request,
                         struct message *ret_reply, struct error *err);

// The same request to several servers at once: ok[i] says whether replies[i] came in time.
NODISCARD int client_ask_all(uint32_t n, const char *const *addresses, uint32_t timeout_ms,
                             const struct message *request, struct message *replies, bool *ok, struct error *errs);
