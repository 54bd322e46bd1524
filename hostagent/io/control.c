#include "hostagent/io/control.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/check.h"
#include "common/base/memory.h"
#include "common/io/log.h"
#include "hostagent/io/local_socket.h"
#include "hostagent/io/prober.h"
#include "hostagent/io/snat_control.h"
#include "common/io/store_file.h"

#define TEND_MS 1000 // between looks for VM interfaces that came or went
#define SAVE_DELAY_MS 200 // many updates in a row are one write
#define ORDERS_MS 1 // until the worker has room for more orders
#define SEEN_SAVES 16 // in snat_gone_s: how closely a restarted agent knows when there was a leader last
#define SEEN_SAVE_MS_MIN 1000
#define SEEN_SAVE_MS_MAX 600000
#define COUNTERS_MAX (256 + 2 * AGENT_PORTS_MAX)

struct control {
	const struct agent_file_config *config;
	const struct state_dir *dir;
	struct data_plane *dp;
	struct addr_names *names;
	struct store store;
	struct snat_control snat;
	struct prober *prober;
	bool is_unsaved;
	uint64_t saved_ms;
	uv_loop_t *loop;
	struct manager_link *link;
	struct local_socket *socket;
	uv_timer_t tend;
	uv_timer_t save;
	uv_timer_t orders;
	uv_poll_t reports;
	uint32_t n_open_handles;
};

// ---- Configuration ----

static int use_store(struct control *c)
{
	struct agent_config *config;
	struct error err = { 0 };
	int code = agent_config_create(&c->store, c->config->node.name, c->config->max_vms, c->names,
	                               data_plane_get_config(c->dp), &config, &err);
	if (code != 0) {
		log_error("config-not-built", "version=%llu text=\"%s\"", (unsigned long long)c->store.version, err.text);
		return code;
	}
	code = prober_configure(c->prober, &c->store);
	if (code != 0) {
		agent_config_destroy(config);
		return code;
	}
	data_plane_set_config(c->dp, config);
	return 0;
}

static uint64_t wall_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static int save_all(struct control *c, struct error *err)
{
	struct snat_image leases;
	if (snat_control_get(&c->snat, &leases) != 0)
		return error_set(err, ERR_NO_MEMORY, "no memory to save the leases");
	leases.clock_ms = wall_ms() - (c->snat.is_up ? 0 : uv_now(c->loop) - c->snat.seen_ms);
	int code = store_file_save(c->dir, &c->store, &leases, err);
	snat_image_fini(&leases);
	return code;
}

static void save(struct control *c)
{
	struct error err = { 0 };
	if (!c->is_unsaved)
		return;
	c->saved_ms = uv_now(c->loop);
	if (save_all(c, &err) != 0) {
		log_warn("config-not-saved", "text=\"%s\"", err.text);
		return;
	}
	c->is_unsaved = false;
	snat_control_on_saved(&c->snat);
}

static void on_save(uv_timer_t *timer)
{
	save(timer->data);
}

static void save_soon(struct control *c)
{
	c->is_unsaved = true;
	if (!uv_is_active((uv_handle_t *)&c->save))
		uv_timer_start(&c->save, on_save, SAVE_DELAY_MS, 0);
}

// The file says when a leader was there last: not to the second, but closely for what hangs on it.
static void save_seen(struct control *c)
{
	uint64_t every_ms = (uint64_t)c->store.settings.snat_gone_s * 1000 / SEEN_SAVES;
	if (!c->snat.is_up || c->snat.leases.n == 0 || every_ms == 0)
		return;
	if (every_ms < SEEN_SAVE_MS_MIN)
		every_ms = SEEN_SAVE_MS_MIN;
	if (every_ms > SEEN_SAVE_MS_MAX)
		every_ms = SEEN_SAVE_MS_MAX;
	if (uv_now(c->loop) - c->saved_ms >= every_ms)
		save_soon(c);
}

// ---- SNAT: orders to the worker, its reports ----

static void on_orders(uv_timer_t *timer);

static void send_orders(struct control *c)
{
	if (snat_control_send_orders(&c->snat))
		uv_timer_start(&c->orders, on_orders, ORDERS_MS, 0);
}

static void on_orders(uv_timer_t *timer)
{
	send_orders(timer->data);
}

static void on_reports(uv_poll_t *poll, int status, int events)
{
	struct control *c = poll->data;
	uint64_t n_returned = c->snat.counters.snat_leases_returned;
	snat_control_on_reports(&c->snat, uv_now(c->loop));
	if (c->snat.counters.snat_leases_returned != n_returned)
		save_soon(c);
}

static int send_to_leader(const struct message *m, void *user)
{
	struct control *c = user;
	return manager_link_send(c->link, m);
}

static void on_notice(const struct message *m, void *user)
{
	struct control *c = user;
	if (m->type != MESSAGE_SNAT_REPLY)
		return;
	snat_control_on_reply(&c->snat, m, uv_now(c->loop));
	send_orders(c);
}

// ---- Interfaces of VMs ----

static const char *dip_state(const struct control *c, const struct agent_dip *dip)
{
	if (dip->problem != DIP_OK)
		return dip_problem_name(dip->problem);
	switch (data_plane_port_state(c->dp, dip->port)) {
	case VM_PORT_OPEN: return "attached";
	case VM_PORT_FAILED: return "port-failed";
	case VM_PORT_MISSING:
	case VM_PORT_UNUSED: break;
	}
	return "missing-interface";
}

// Why a VM cannot be probed: "interface missing", or what `dip list` has for its state.
static const char *port_cause(const struct control *c, const struct agent_dip *dip)
{
	bool is_missing = dip->problem == DIP_OK && data_plane_port_state(c->dp, dip->port) == VM_PORT_MISSING;
	return is_missing ? "interface missing" : dip_state(c, dip);
}

// Those that are not there are missing only when all that can be opened are open: after a start that takes a while.
static void tell_prober(struct control *c, bool is_settled)
{
	const struct agent_config *config = data_plane_get_config(c->dp);
	for (uint32_t i = 0; config != NULL && i < config->n_dips; i++) {
		const struct agent_dip *dip = &config->dips[i];
		bool is_open = dip->problem == DIP_OK && data_plane_port_state(c->dp, dip->port) == VM_PORT_OPEN;
		if (is_open || is_settled)
			prober_set_port(c->prober, &dip->dip, is_open, port_cause(c, dip));
	}
}

// ---- What time and managers bring ----

static void on_tend(uv_timer_t *timer)
{
	struct control *c = timer->data;
	snat_control_tick(&c->snat, c->store.settings.snat_gone_s, uv_now(c->loop));
	send_orders(c);
	save_seen(c);
	if (c->snat.orders.n > 0) { // a VM's packets come after its leases
		uv_timer_start(timer, on_tend, ORDERS_MS, 0);
		return;
	}
	bool is_more = data_plane_tend_ports(c->dp);
	tell_prober(c, !is_more);
	uv_timer_start(timer, on_tend, is_more ? 0 : TEND_MS, 0);
}

// The configuration first: the worker carries out orders with it.
static int use_update(struct control *c, struct update *u, bool *ret_is_config, bool *ret_is_leases)
{
	bool is_snapshot = update_is_snapshot(u);
	*ret_is_config = is_snapshot || u->changes.n > 0; // else only the version went on
	int code = store_apply_update(&c->store, &u->changes, is_snapshot, u->to_version);
	if (code == 0 && *ret_is_config)
		code = use_store(c);
	if (code == 0 && *ret_is_config)
		code = snat_control_on_config(&c->snat, &c->store);
	if (code == 0)
		code = snat_control_on_update(&c->snat, u, ret_is_leases);
	send_orders(c);
	return code;
}

static int on_update(struct update *u, void *user)
{
	struct control *c = user;
	bool is_config = false;
	bool is_leases = false;
	bool is_snapshot = update_is_snapshot(u);
	uint64_t version = u->to_version;
	int code = use_update(c, u, &is_config, &is_leases);
	if (code != 0)
		return code;
	if (is_config || is_leases)
		save_soon(c);
	if (!is_config)
		return 0;
	log_info("config-applied", "version=%llu snapshot=%d vips=%u dips=%u leases=%u", (unsigned long long)version,
	         is_snapshot, c->store.vips.n, c->store.dips.n, c->snat.leases.n);
	uv_timer_start(&c->tend, on_tend, 0, 0); // new VMs at once
	local_socket_on_version(c->socket);
	return 0;
}

// How long before now a leader was there, by the file.
static uint64_t unseen_ms(const struct snat_image *leases)
{
	uint64_t now = wall_ms();
	return leases->clock_ms != 0 && now > leases->clock_ms ? now - leases->clock_ms : 0;
}

static void load_last(struct control *c)
{
	struct error err = { 0 };
	struct snat_image leases;
	int code = store_file_load(c->dir, &c->store, &leases, &err);
	if (code == ERR_NOT_FOUND)
		return;
	if (code != 0) {
		log_warn("last-config-not-used", "code=%s text=\"%s\"", error_code_name(err.code), err.text);
		return;
	}
	if (use_store(c) == 0) {
		if (snat_control_load(&c->snat, &leases, unseen_ms(&leases), uv_now(c->loop)) != 0)
			log_warn("last-leases-not-used", "text=\"out of memory\"");
		log_info("last-config-used", "version=%llu vips=%u dips=%u leases=%u", (unsigned long long)c->store.version,
		         c->store.vips.n, c->store.dips.n, c->snat.leases.n);
		snat_control_tick(&c->snat, c->store.settings.snat_gone_s, uv_now(c->loop));
		send_orders(c);
	}
	snat_image_fini(&leases);
}

// ---- Status ----

static void fill_dips(const struct control *c, const struct agent_config *config, struct node_status *status)
{
	status->dips = memory_array(config->n_dips, sizeof *status->dips);
	if (status->dips == NULL)
		return;
	for (uint32_t i = 0; i < config->n_dips; i++) {
		struct dip_status *d = &status->dips[status->n_dips++];
		d->dip = config->dips[i].dip;
		d->flows = data_plane_dip_flows(c->dp, addr_names_give(c->names, d->dip.bytes)); // it has its name
		(void)text_copy(d->state, sizeof d->state, dip_state(c, &config->dips[i]));
	}
}

static int compare_dips(const void *a, const void *b)
{
	return ip_addr_compare(&((const struct dip_status *)a)->dip, &((const struct dip_status *)b)->dip);
}

static void fill_dip_snat(struct dip_snat *d, const struct snat_dip_status *s, uint32_t n_held)
{
	*d = (struct dip_snat){
		.leased_ports = s->leased_ports,
		.used_ports = s->used_ports,
		.flows = s->flows,
		.held_packets = n_held,
		.refused = s->refused,
		.n_busiest = s->n_busiest < SNAT_BUSIEST ? s->n_busiest : SNAT_BUSIEST,
	};
	for (uint32_t i = 0; i < d->n_busiest; i++)
		d->busiest[i] = (struct snat_destination){ .addr = s->busiest[i].remote,
			                                       .port = be16_to(s->busiest[i].remote_port),
			                                       .protocol = s->busiest[i].protocol,
			                                       .n_ports = s->busiest[i].n_ports };
}

// After fill_dips: they are in the order of their addresses.
static void fill_snat(const struct control *c, struct node_status *status)
{
	for (uint32_t slot = 0; slot < data_plane_snat_slots(c->dp); slot++) {
		struct snat_dip_status s;
		uint32_t n_held;
		if (!data_plane_read_snat(c->dp, (uint16_t)slot, &s, &n_held))
			continue;
		struct dip_status key = { 0 };
		addr_names_expand(c->names, s.dip, key.dip.bytes);
		struct dip_status *d = bsearch(&key, status->dips, status->n_dips, sizeof key, compare_dips);
		if (d != NULL)
			fill_dip_snat(&d->snat, &s, n_held);
	}
}

static void fill_counters(const struct control *c, struct node_status *status)
{
	static struct agent_counter_value values[COUNTERS_MAX];
	uint32_t n = data_plane_read_counters(c->dp, values, COUNTERS_MAX);
	if (n > COUNTERS_MAX)
		n = COUNTERS_MAX;
	uint32_t n_all = n + SNAT_CONTROL_N_COUNTERS + PROBER_N_COUNTERS;
	status->counters = memory_array(n_all, sizeof *status->counters);
	if (status->counters == NULL)
		return;
	for (uint32_t i = 0; i < n; i++) {
		struct counter *counter = &status->counters[status->n_counters++];
		(void)text_copy(counter->name, sizeof counter->name, values[i].name);
		counter->value = values[i].value;
	}
	snat_control_read_counters(&c->snat, status->counters + n);
	prober_read_counters(c->prober, status->counters + n + SNAT_CONTROL_N_COUNTERS);
	status->n_counters = n_all;
}

static void on_status_request(struct node_status *status, void *user)
{
	const struct control *c = user;
	const struct agent_config *config = data_plane_get_config(c->dp);
	status->role = ROLE_AGENT;
	status->version = c->store.version;
	(void)text_copy(status->name, sizeof status->name, c->config->node.name);
	(void)text_copy(status->program_version, sizeof status->program_version, ANANTA_VERSION);
	(void)text_copy(status->state, sizeof status->state, config != NULL ? "ready" : "no-config");
	if (config != NULL) {
		fill_dips(c, config, status);
		fill_snat(c, status);
	}
	fill_counters(c, status);
}

static void on_link_state(bool is_up, const struct error *err, void *user)
{
	struct control *c = user;
	if (is_up)
		log_info("subscribed", "host=%s", c->config->node.name);
	else
		log_warn("unsubscribed", "text=\"%s\"", err != NULL ? err->text : "");
	snat_control_on_link(&c->snat, is_up, uv_now(c->loop));
	send_orders(c);
	prober_on_link(c->prober, is_up);
	if (!is_up && c->snat.leases.n > 0)
		save_soon(c); // when that was
}

// ---- Life ----

static int start_link(struct control *c, uv_loop_t *loop, struct error *err)
{
	const struct node_config *node = &c->config->node;
	struct manager_link_config config = {
		.managers = node->manager_list,
		.n_managers = node->n_managers,
		.subscribes = true,
		.subscribe = { .role = ROLE_AGENT, .node = { .addr = node->address.addr } },
		.handler = { .on_update = on_update,
		             .on_status_request = on_status_request,
		             .on_notice = on_notice,
		             .on_state = on_link_state },
		.user = c,
	};
	(void)text_copy(config.subscribe.node.name, sizeof config.subscribe.node.name, node->name);
	(void)text_copy(config.subscribe.program_version, sizeof config.subscribe.program_version, ANANTA_VERSION);
	return manager_link_create(loop, &config, &c->link, err);
}

static int start_socket(struct control *c, uv_loop_t *loop, struct error *err)
{
	struct local_socket_config config = {
		.path = c->config->local_socket,
		.host = c->config->node.name,
		.store = &c->store,
		.link = c->link,
		.on_status_request = on_status_request,
		.user = c,
	};
	return local_socket_create(loop, &config, &c->socket, err);
}

static int start_prober(struct control *c, uv_loop_t *loop, struct error *err)
{
	struct prober_config config = {
		.loop = loop,
		.host = c->config->node.name,
		.source = ip_addr_is_v4(&c->config->probe_address) ? ip_addr_to_v4(&c->config->probe_address) : 0,
		.device = c->config->node.tap,
		.send = send_to_leader,
		.user = c,
	};
	return prober_create(&config, &c->prober, err);
}

static void start_handles(struct control *c, uv_loop_t *loop)
{
	uv_timer_init(loop, &c->tend);
	uv_timer_init(loop, &c->save);
	uv_timer_init(loop, &c->orders);
	c->tend.data = c->save.data = c->orders.data = c->reports.data = c;
	CHECK(uv_poll_init(loop, &c->reports, data_plane_report_fd(c->dp)) == 0); // an eventfd can be polled
	uv_poll_start(&c->reports, UV_READABLE, on_reports);
	c->n_open_handles = 4;
}

int control_create(uv_loop_t *loop, const struct agent_file_config *config, const struct state_dir *dir,
                   struct data_plane *dp, struct addr_names *names, struct control **ret_control, struct error *err)
{
	struct control *c = memory_array(1, sizeof *c);
	if (c == NULL)
		return error_set(err, ERR_NO_MEMORY, "no memory for the agent's control");
	*c = (struct control){ .config = config, .dir = dir, .dp = dp, .loop = loop };
	store_init(&c->store);
	snat_control_init(&c->snat,
	                  &(struct snat_control_config){ .dp = dp, .names = names, .send = send_to_leader, .user = c },
	                  uv_now(loop));
	start_handles(c, loop);
	int code = start_prober(c, loop, err);
	if (code == 0) {
		load_last(c);
		code = start_link(c, loop, err);
	}
	if (code == 0)
		code = start_socket(c, loop, err);
	if (code != 0) {
		control_destroy(c);
		return code;
	}
	uv_timer_start(&c->tend, on_tend, 0, 0);
	*ret_control = c;
	return 0;
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct control *c = handle->data;
	if (--c->n_open_handles > 0)
		return;
	store_fini(&c->store);
	snat_control_fini(&c->snat);
	memory_free(c);
}

void control_destroy(struct control *c)
{
	if (c == NULL)
		return;
	if (c->snat.is_up && c->snat.leases.n > 0)
		c->is_unsaved = true; // a leader was there until now
	snat_control_on_link(&c->snat, false,
	                     uv_now(c->loop)); // what is given back in this moment the next process has again
	save(c);
	manager_link_destroy(c->link);
	local_socket_destroy(c->socket);
	prober_destroy(c->prober);
	c->prober = NULL;
	uv_close((uv_handle_t *)&c->tend, on_handle_closed);
	uv_close((uv_handle_t *)&c->save, on_handle_closed);
	uv_close((uv_handle_t *)&c->orders, on_handle_closed);
	uv_close((uv_handle_t *)&c->reports, on_handle_closed);
}
