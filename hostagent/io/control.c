#include "hostagent/io/control.h"

#include <string.h>

#include "common/base/memory.h"
#include "common/io/log.h"
#include "hostagent/io/local_socket.h"
#include "hostagent/io/store_file.h"

#define TEND_MS 1000 // between looks for VM interfaces that came or went
#define SAVE_DELAY_MS 200 // many updates in a row are one write
#define COUNTERS_MAX (256 + 2 * AGENT_PORTS_MAX)

struct control {
	const struct agent_file_config *config;
	const struct state_dir *dir;
	struct data_plane *dp;
	struct store store;
	bool is_unsaved;
	struct manager_link *link;
	struct local_socket *socket;
	uv_timer_t tend;
	uv_timer_t save;
	uint32_t n_open_handles;
};

// ---- Configuration ----

static int use_store(struct control *c)
{
	struct agent_config *config;
	struct error err = { 0 };
	int code = agent_config_create(&c->store, c->config->node.name, c->config->max_vms, data_plane_get_config(c->dp),
	                               &config, &err);
	if (code != 0) {
		log_error("config-not-built", "version=%llu text=\"%s\"", (unsigned long long)c->store.version, err.text);
		return code;
	}
	data_plane_set_config(c->dp, config);
	return 0;
}

static void save(struct control *c)
{
	struct error err = { 0 };
	if (!c->is_unsaved)
		return;
	if (store_file_save(c->dir, &c->store, &err) == 0)
		c->is_unsaved = false;
	else
		log_warn("config-not-saved", "text=\"%s\"", err.text);
}

static void on_save(uv_timer_t *timer)
{
	save(timer->data);
}

static void on_tend(uv_timer_t *timer)
{
	struct control *c = timer->data;
	bool is_more = data_plane_tend_ports(c->dp);
	uv_timer_start(timer, on_tend, is_more ? 0 : TEND_MS, 0);
}

static int on_update(struct update *u, void *user)
{
	struct control *c = user;
	bool is_snapshot = update_is_snapshot(u);
	bool is_empty = !is_snapshot && u->changes.n == 0; // only the version went on
	uint64_t version = u->to_version;
	int code = store_apply_update(&c->store, &u->changes, is_snapshot, version);
	if (code == 0 && !is_empty)
		code = use_store(c);
	if (code != 0 || is_empty)
		return code;
	log_info("config-applied", "version=%llu snapshot=%d vips=%u dips=%u", (unsigned long long)version, is_snapshot,
	         c->store.vips.n, c->store.dips.n);
	c->is_unsaved = true;
	uv_timer_start(&c->save, on_save, SAVE_DELAY_MS, 0);
	uv_timer_start(&c->tend, on_tend, 0, 0); // new VMs at once
	local_socket_on_version(c->socket);
	return 0;
}

static void load_last(struct control *c)
{
	struct error err = { 0 };
	int code = store_file_load(c->dir, &c->store, &err);
	if (code == ERR_NOT_FOUND)
		return;
	if (code != 0) {
		log_warn("last-config-not-used", "text=\"%s\"", err.text);
		return;
	}
	if (use_store(c) == 0)
		log_info("last-config-used", "version=%llu vips=%u dips=%u", (unsigned long long)c->store.version,
		         c->store.vips.n, c->store.dips.n);
}

// ---- Status ----

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

static void fill_dips(const struct control *c, const struct agent_config *config, struct node_status *status)
{
	status->dips = memory_array(config->n_dips, sizeof *status->dips);
	if (status->dips == NULL)
		return;
	for (uint32_t i = 0; i < config->n_dips; i++) {
		struct dip_status *d = &status->dips[status->n_dips++];
		d->dip = config->dips[i].dip;
		(void)text_copy(d->state, sizeof d->state, dip_state(c, &config->dips[i]));
	}
}

static void fill_counters(const struct control *c, struct node_status *status)
{
	static struct agent_counter_value values[COUNTERS_MAX];
	uint32_t n = data_plane_read_counters(c->dp, values, COUNTERS_MAX);
	if (n > COUNTERS_MAX)
		n = COUNTERS_MAX;
	status->counters = memory_array(n, sizeof *status->counters);
	if (status->counters == NULL)
		return;
	for (uint32_t i = 0; i < n; i++) {
		struct counter *counter = &status->counters[status->n_counters++];
		(void)text_copy(counter->name, sizeof counter->name, values[i].name);
		counter->value = values[i].value;
	}
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
	if (config != NULL)
		fill_dips(c, config, status);
	fill_counters(c, status);
}

static void on_link_state(bool is_up, const struct error *err, void *user)
{
	if (is_up)
		log_info("subscribed", "host=%s", ((const struct control *)user)->config->node.name);
	else
		log_warn("unsubscribed", "text=\"%s\"", err != NULL ? err->text : "");
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
		.handler = { .on_update = on_update, .on_status_request = on_status_request, .on_state = on_link_state },
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

int control_create(uv_loop_t *loop, const struct agent_file_config *config, const struct state_dir *dir,
                   struct data_plane *dp, struct control **ret_control, struct error *err)
{
	struct control *c = memory_array(1, sizeof *c);
	if (c == NULL)
		return error_set(err, ERR_NO_MEMORY, "no memory for the agent's control");
	*c = (struct control){ .config = config, .dir = dir, .dp = dp, .n_open_handles = 2 };
	store_init(&c->store);
	uv_timer_init(loop, &c->tend);
	uv_timer_init(loop, &c->save);
	c->tend.data = c;
	c->save.data = c;
	load_last(c);
	int code = start_link(c, loop, err);
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
	memory_free(c);
}

void control_destroy(struct control *c)
{
	if (c == NULL)
		return;
	save(c);
	manager_link_destroy(c->link);
	local_socket_destroy(c->socket);
	uv_close((uv_handle_t *)&c->tend, on_handle_closed);
	uv_close((uv_handle_t *)&c->save, on_handle_closed);
}
