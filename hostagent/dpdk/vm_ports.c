#include "hostagent/dpdk/vm_ports.h"

#include <string.h>

#include "common/base/memory.h"
#include "common/io/log.h"

int vm_ports_init(struct vm_ports *v, uint16_t n, enum dpdk_driver driver, struct rte_mempool *pool,
                  struct dpdk_poller *poller, struct error *err)
{
	*v = (struct vm_ports){ .n = n, .driver = driver, .pool = pool, .poller = poller };
	v->ports = memory_array(n, sizeof *v->ports);
	if (v->ports == NULL)
		return error_set(err, ERR_NO_MEMORY, "no memory for %u VM ports", n);
	int code = netlink_open(&v->netlink, err);
	if (code != 0) {
		memory_free(v->ports);
		v->ports = NULL;
	}
	return code;
}

static void close_port(struct vm_ports *v, struct vm_port *p)
{
	dpdk_poller_remove_port(v->poller, &p->port);
	dpdk_port_close(&p->port);
	p->state = VM_PORT_MISSING;
	p->is_closing = false;
	log_info("vm-port-closed", "interface=%s", p->interface);
}

void vm_ports_fini(struct vm_ports *v)
{
	for (uint16_t i = 0; v->ports != NULL && i < v->n; i++)
		if (v->ports[i].state == VM_PORT_OPEN)
			close_port(v, &v->ports[i]);
	netlink_close(v->netlink);
	memory_free(v->ports);
	*v = (struct vm_ports){ 0 };
}

bool vm_ports_mark_unwanted(struct vm_ports *v, const struct agent_config *config)
{
	bool any = false;
	for (uint16_t i = 0; i < v->n; i++) {
		struct vm_port *p = &v->ports[i];
		if (p->state != VM_PORT_OPEN || strcmp(p->interface, config->ports[i].interface) == 0)
			continue;
		p->is_closing = true;
		any = true;
	}
	return any;
}

// Is the interface that the port was opened on still the one of that name?
static bool has_vanished(struct vm_ports *v, const struct vm_port *p)
{
	struct netlink_link link;
	struct error err;
	int code = netlink_get_link(v->netlink, p->interface, &link, &err);
	return code == ERR_NOT_FOUND || (code == 0 && link.index != p->link_index);
}

bool vm_ports_mark_vanished(struct vm_ports *v)
{
	bool any = false;
	for (uint16_t i = 0; i < v->n; i++) {
		struct vm_port *p = &v->ports[i];
		if (p->state != VM_PORT_OPEN || !has_vanished(v, p))
			continue;
		log_warn("vm-interface-vanished", "interface=%s", p->interface);
		p->is_closing = true;
		any = true;
	}
	return any;
}

void vm_ports_close_marked(struct vm_ports *v)
{
	for (uint16_t i = 0; i < v->n; i++)
		if (v->ports[i].is_closing)
			close_port(v, &v->ports[i]);
}

void vm_ports_set_wanted(struct vm_ports *v, const struct agent_config *config)
{
	for (uint16_t i = 0; i < v->n; i++) {
		struct vm_port *p = &v->ports[i];
		if (strcmp(p->interface, config->ports[i].interface) == 0)
			continue;
		memcpy(p->interface, config->ports[i].interface, INTERFACE_BYTES);
		p->state = p->interface[0] == '\0' ? VM_PORT_UNUSED : VM_PORT_MISSING;
	}
}

// One event when a port's state becomes worse, and not one for every attempt.
static void set_state(struct vm_port *p, enum vm_port_state state, const struct error *err)
{
	if (p->state == state)
		return;
	p->state = state;
	if (state == VM_PORT_FAILED)
		log_warn("vm-port-failed", "interface=%s text=\"%s\"", p->interface, err->text);
}

static bool try_open(struct vm_ports *v, struct vm_port *p)
{
	struct netlink_link link;
	struct error err = { 0 };
	if (netlink_get_link(v->netlink, p->interface, &link, &err) != 0) {
		set_state(p, VM_PORT_MISSING, &err);
		return false;
	}
	struct dpdk_port_config config = { .driver = v->driver, .interface = p->interface, .n_queues = 1, .pool = v->pool };
	if (dpdk_port_open(&p->port, &config, &err) != 0) {
		set_state(p, err.code == ERR_NOT_FOUND ? VM_PORT_MISSING : VM_PORT_FAILED, &err);
		return false;
	}
	if (dpdk_poller_add_port(v->poller, &p->port, &err) != 0) {
		dpdk_port_close(&p->port);
		set_state(p, VM_PORT_FAILED, &err);
		return false;
	}
	p->link_index = link.index;
	p->state = VM_PORT_OPEN;
	log_info("vm-port-opened", "interface=%s mtu=%u", p->interface, p->port.mtu);
	return true;
}

bool vm_ports_open_one(struct vm_ports *v)
{
	for (uint16_t tried = 0; tried < v->n; tried++) {
		struct vm_port *p = &v->ports[v->cursor];
		v->cursor = (uint16_t)((v->cursor + 1) % v->n);
		if ((p->state == VM_PORT_MISSING || p->state == VM_PORT_FAILED) && try_open(v, p))
			return true;
	}
	return false;
}

void vm_ports_fill_view(const struct vm_ports *v, struct view *view)
{
	for (uint16_t i = 0; i < AGENT_PORTS_MAX; i++)
		view->dpdk_port[i] = NO_DPDK_PORT;
	for (uint16_t i = 0; i < v->n; i++) {
		const struct vm_port *p = &v->ports[i];
		if (p->state != VM_PORT_OPEN || p->is_closing)
			continue;
		view->open[view->n_open++] = i;
		view->dpdk_port[i] = p->port.id;
		view->own_mac[i] = p->port.mac;
		view->mtu[i] = p->port.mtu;
	}
}
