// The VM ports of the host: opening, noticing that an interface has vanished, closing. Control thread only.
//
//            set_wanted                    interface is there
//   UNUSED -------------> MISSING <------------------------------> OPEN
//      ^                     |  ^   the interface has vanished       |
//      |                     v  |   or is another one by now         |
//      |                   FAILED (the driver refused; tried again)  |
//      +-------------- wanted no more ------------------------------+
//
// A port is closed in two steps, because the worker must let go of it in between: vm_ports_mark_* says which are to close,
// the caller publishes a view without them, vm_ports_close_marked closes.
#pragma once

#include "common/dpdk/poller.h"
#include "common/dpdk/port.h"
#include "common/io/netlink.h"
#include "hostagent/dpdk/data_plane.h"
#include "hostagent/dpdk/view.h"

struct vm_port {
	enum vm_port_state state;
	bool is_closing; // open still, but in no view from now on
	char interface[INTERFACE_BYTES];
	uint32_t link_index; // of the interface when it was opened
	struct dpdk_port port;
};

struct vm_ports {
	uint16_t n;
	enum dpdk_driver driver;
	struct rte_mempool *pool;
	struct dpdk_poller *poller;
	struct netlink *netlink;
	struct vm_port *ports; // n
	uint16_t cursor; // which to try next
};

// ERR_NO_MEMORY, ERR_IO.
NODISCARD int vm_ports_init(struct vm_ports *v, uint16_t n, enum dpdk_driver driver, struct rte_mempool *pool,
                            struct dpdk_poller *poller, struct error *err);

// Closes whatever is open: the worker has stopped.
void vm_ports_fini(struct vm_ports *v);

// Marks ports whose interface `config` wants no more, or wants at another port. True if there is any.
bool vm_ports_mark_unwanted(struct vm_ports *v, const struct agent_config *config);

// Marks ports whose interface has vanished.
bool vm_ports_mark_vanished(struct vm_ports *v);

void vm_ports_close_marked(struct vm_ports *v);

// Takes over what `config` wants, after vm_ports_close_marked.
void vm_ports_set_wanted(struct vm_ports *v, const struct agent_config *config);

// Tries to open the next one that is not open, whose interface exists. True if one was opened.
bool vm_ports_open_one(struct vm_ports *v);

// Writes the open ports, without the marked ones, into the view.
void vm_ports_fill_view(const struct vm_ports *v, struct view *view);
