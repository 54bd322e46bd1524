// The agent's Unix socket: VMs are attached and detached by those who start them, on the host itself.
//
// Answered: STATUS_REQUEST; COMMAND_REQUEST with puts and deletes of DIPs of this host (an empty host name becomes this
// host's), which goes to the leader. The reply to a command is given when this agent has the new configuration, too (or
// LOCAL_APPLY_MS later), so that who attached a VM may start it. All else is an error. The socket is root's (0600).
// Limits: LOCAL_CONNS_MAX connections, LOCAL_REQUESTS_MAX commands under way.
// Threads: everything on the thread of its uv loop.
#pragma once

#include <uv.h>

#include "common/io/manager_link.h"
#include "common/model/store.h"

#define LOCAL_CONNS_MAX 64
#define LOCAL_REQUESTS_MAX 64
#define LOCAL_COMMAND_MS 8000
#define LOCAL_APPLY_MS 2000

struct local_socket;

struct local_socket_config {
	const char *path;
	const char *host; // this host's name
	const struct store *store;
	struct manager_link *link;
	void (*on_status_request)(struct node_status *status, void *user);
	void *user;
};

NODISCARD int local_socket_create(uv_loop_t *loop, const struct local_socket_config *config,
                                  struct local_socket **ret_socket, struct error *err);

// After manager_link_destroy, which answers what is under way. NULL is fine.
void local_socket_destroy(struct local_socket *s);

// The store has a new version: replies that waited for it go out.
void local_socket_on_version(struct local_socket *s);

// May this host's socket ask for these changes? Fills in the host name where it is empty. ERR_INVALID, ERR_NOT_FOUND
// (a delete of a DIP that is not here) with the sentence for the asker.
NODISCARD int local_command_check(struct change_list *changes, const char *host, const struct store *store,
                                  struct error *err);
