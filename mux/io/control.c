#include "mux/io/control.h"

#include <string.h>

#include "common/base/memory.h"
#include "common/io/log.h"
#include "common/io/manager_link.h"
#include "mux/core/family.h"
#include "mux/io/last_state.h"
#include "mux/io/status.h"

#define RETRY_ROUTES_MS 1000
#define DRAIN_STEP_MS 100

struct control {
	struct control_parts parts;
	struct manager_link *link;
	struct store store;
	struct vip_slots slots;
	struct vip_sums bases[VIP_SLOTS_MAX]; // what a slot had counted before it was this VIP's
	struct snat_maps snat; // what the tables refer to
	uint64_t lease_version;
	struct last_state *last_state; // NULL: nothing is remembered
	struct mux_tables *tables; // what the worker uses
	struct announcement announcement;
	enum mux_state told_state; // to the log, and to the leader if there was one
	control_drained_fn on_drained; // once, when it stops
	void *on_drained_user;
	uv_loop_t *loop;
	uv_timer_t retry_routes;
	uv_timer_t alone;
	uv_timer_t drain_step;
	uv_timer_t drain_deadline;
	uint32_t n_open_handles;
};

static struct mono_time now_of_clock(void)
{
	return mono_from_us(uv_hrtime() / 1000);
}

static uint64_t vip_packets(const struct control *c)
{
	return mux_counters_vip_packets(&c->parts.loop->worker.counters);
}

// ---- status ----

static void fill_status(struct node_status *s, void *user)
{
	const struct control *c = user;
	struct status_facts facts = { .state = announcement_state(&c->announcement),
		                          .loop = c->parts.loop,
		                          .routes = c->parts.routes,
		                          .store = &c->store,
		                          .tables = c->tables,
		                          .snat = &c->snat,
		                          .slots = &c->slots,
		                          .vips = c->parts.vips,
		                          .bases = c->bases };
	status_fill(s, &facts);
}

// Unasked, and without counters.
static void tell_leader(struct control *c)
{
	struct message m = { .type = MESSAGE_STATUS_REPLY, .status = { .role = ROLE_MUX, .version = c->store.version } };
	(void)text_copy(m.status.name, sizeof m.status.name, c->parts.config->node.name);
	(void)text_copy(m.status.program_version, sizeof m.status.program_version, ANANTA_VERSION);
	(void)text_copy(m.status.state, sizeof m.status.state, mux_state_name(announcement_state(&c->announcement)));
	(void)manager_link_send(c->link, &m); // without a leader: it is told when one is there
}

static void tell_state(struct control *c)
{
	enum mux_state state = announcement_state(&c->announcement);
	if (state == c->told_state)
		return;
	log_info("state", "from=%s to=%s announced=%u", mux_state_name(c->told_state), mux_state_name(state),
	         c->parts.routes->n_announced);
	c->told_state = state;
	tell_leader(c);
}

// ---- announcing ----

static void on_retry_routes(uv_timer_t *timer);

static bool is_announced(const struct control *c, const struct mux_tables *keep, const struct ip_addr *vip)
{
	enum mux_state state = announcement_state(&c->announcement);
	return (state == MUX_ANNOUNCING || state == MUX_DRAINING) &&
	       (keep == NULL || vip_lookup(keep, family_give_name(c->parts.names, vip), 0, 0) != NULL);
}

// Announces the VIPs that `keep` lets through (NULL: all of the store), as the state wants it.
static void announce(struct control *c, const struct mux_tables *keep)
{
	enum mux_state state = announcement_state(&c->announcement);
	if (state == MUX_WITHDRAWN)
		return; // the tun is gone
	uint8_t protocol = state == MUX_DRAINING ? ROUTES_PROTOCOL_DRAINING : ROUTES_PROTOCOL_SERVING;
	struct error err = { 0 };
	struct ip_addr *vips = memory_array(c->store.vips.n, sizeof *vips);
	uint32_t n = 0;
	for (uint32_t i = 0; vips != NULL && i < c->store.vips.n; i++) {
		const struct ip_addr *vip = &store_vip(&c->store, i)->vip;
		if (is_announced(c, keep, vip))
			vips[n++] = *vip;
	}
	int code = vips == NULL ? error_set(&err, ERR_NO_MEMORY, "out of memory")
	                        : routes_set(c->parts.routes, vips, n, protocol, &err);
	memory_free(vips);
	if (code == 0)
		return;
	log_error("routes-failed", "text=\"%s\" retry_ms=%d", err.text, RETRY_ROUTES_MS);
	uv_timer_start(&c->retry_routes, on_retry_routes, RETRY_ROUTES_MS, 0);
}

static void on_retry_routes(uv_timer_t *timer)
{
	announce(timer->data, NULL);
}

// ---- draining ----

static void end_drain(struct control *c)
{
	uv_timer_stop(&c->drain_step);
	uv_timer_stop(&c->drain_deadline);
	control_drained_fn on_drained = c->on_drained;
	c->on_drained = NULL;
	if (on_drained != NULL)
		on_drained(c->on_drained_user);
}

static void on_drain_step(uv_timer_t *timer)
{
	struct control *c = timer->data;
	enum mux_state before = announcement_state(&c->announcement);
	announcement_step(&c->announcement, vip_packets(c), now_of_clock());
	if (announcement_state(&c->announcement) != before)
		announce(c, NULL);
	tell_state(c);
	if (c->announcement.is_quiet)
		end_drain(c);
}

static void on_drain_deadline(uv_timer_t *timer)
{
	struct control *c = timer->data;
	log_warn("drain-not-quiet", "text=\"packets still come: routers did not send all of them elsewhere\"");
	end_drain(c);
}

// The state's drain mark of this mux came or went.
static void apply_drain_mark(struct control *c)
{
	struct object_key key = object_key_of_name(OBJECT_MUX_DRAIN, c->parts.config->node.name);
	bool is_marked = store_lookup_mark(&c->store, &key) != NULL;
	announcement_on_config(&c->announcement, is_marked, vip_packets(c), now_of_clock());
	if (is_marked)
		uv_timer_start(&c->drain_step, on_drain_step, DRAIN_STEP_MS, DRAIN_STEP_MS);
	else if (!c->announcement.is_stopping)
		uv_timer_stop(&c->drain_step);
}

// ---- applying ----

static int update_slots(struct control *c)
{
	static bool is_new[VIP_SLOTS_MAX];
	int code = vip_slots_update(&c->slots, &c->store, is_new);
	for (uint32_t i = 0; code == 0 && i < c->slots.n_high; i++)
		if (is_new[i])
			c->bases[i] = vip_sums_of(c->parts.vips, i);
	return code;
}

static void apply_leases(struct snat_maps *snat, const struct update *u)
{
	uint32_t n_ignored = snat_maps_apply(snat, &u->leases);
	if (n_ignored > 0)
		log_warn("leases-ignored", "n=%u text=\"of VIPs that have no SNAT DIPs here\"", n_ignored);
}

// Of IPv4; 0: the node has none.
static be32 own_addr(const struct control *c)
{
	const struct ip_prefix *address = node_config_address(&c->parts.config->node, false);
	return address != NULL ? ip_addr_to_v4(&address->addr) : 0;
}

// Tables for the store, which refer to `snat`; in the end the maps that are shared no more are freed.
static int swap_tables(struct control *c, struct snat_maps *snat)
{
	struct mux_tables *tables;
	int code = update_slots(c);
	struct mux_tables_sources from = { .store = &c->store,
		                               .own_addr = own_addr(c),
		                               .names = c->parts.names,
		                               .slots = &c->slots,
		                               .snat = snat,
		                               .before = c->tables };
	if (code == 0)
		code = mux_tables_create(&from, &tables);
	if (code != 0) {
		snat_maps_fini(snat, &c->snat);
		return code;
	}
	// Withdrawn first, then forgotten; served first, then announced.
	if (c->tables != NULL)
		announce(c, c->tables);
	(void)loop_publish(c->parts.loop, tables);
	mux_tables_destroy(c->tables);
	snat_maps_fini(&c->snat, snat);
	c->tables = tables;
	c->snat = *snat;
	apply_drain_mark(c);
	announce(c, NULL);
	tell_state(c);
	return 0;
}

// Maps for the store's VIPs with the update's leases in them, and tables for both. Maps that stay are changed in place; where
// the update replaces all leases, fresh ones take their place in the same moment as the tables, so that no packet meets a
// map that is half full.
static int apply_objects(struct control *c, const struct update *u)
{
	struct snat_maps snat;
	int code = snat_maps_create(&c->store, c->parts.names, u->replaces_leases ? NULL : &c->snat, &snat);
	if (code != 0)
		return code;
	apply_leases(&snat, u);
	return swap_tables(c, &snat);
}

static int apply_update(struct control *c, struct update *u)
{
	bool is_snapshot = update_is_snapshot(u);
	bool has_objects = is_snapshot || u->changes.n > 0 || u->replaces_leases;
	uint64_t version = u->to_version;
	int code = store_apply_update(&c->store, &u->changes, is_snapshot, version);
	if (code == 0 && has_objects)
		code = apply_objects(c, u);
	else if (code == 0)
		apply_leases(&c->snat, u);
	if (code != 0) {
		log_error("config-failed", "version=%llu error=%s", (unsigned long long)version,
		          error_code_name((enum error_code)code));
		return code;
	}
	if (has_objects)
		log_info("config-applied",
		         "version=%llu snapshot=%d vips=%u tables_rebuilt=%u with_history=%u announced=%u lease_version=%llu",
		         (unsigned long long)version, is_snapshot, c->store.vips.n, c->tables->n_rebuilt,
		         c->tables->n_with_history, c->parts.routes->n_announced, (unsigned long long)u->lease_version);
	return 0;
}

// It may be thousands of tables.
static int on_update(struct update *u, void *user)
{
	struct control *c = user;
	uint64_t lease_version = u->lease_version;
	watchdog_page_begin_work(c->parts.watchdog);
	int code = apply_update(c, u);
	watchdog_page_end_work(c->parts.watchdog);
	if (code != 0)
		return code;
	if (uv_is_active((uv_handle_t *)&c->alone)) { // the first one: what the file says of a fence was another process's
		last_state_set_fenced(c->last_state, c->announcement.is_fenced);
		uv_timer_stop(&c->alone);
	}
	c->lease_version = lease_version;
	last_state_on_change(c->last_state);
	return 0;
}

// ---- without managers ----

static int use_last_state(struct control *c, struct snat_image *leases, bool is_fenced)
{
	struct update u = { .leases = leases->held, .lease_version = leases->version, .replaces_leases = true };
	c->announcement.is_fenced = is_fenced;
	c->lease_version = leases->version;
	watchdog_page_begin_work(c->parts.watchdog);
	int code = apply_objects(c, &u);
	watchdog_page_end_work(c->parts.watchdog);
	return code;
}

static void on_alone(uv_timer_t *timer)
{
	struct control *c = timer->data;
	struct snat_image leases;
	bool is_fenced = false;
	if (!last_state_load(c->last_state, &c->store, &leases, &is_fenced))
		return;
	int code = use_last_state(c, &leases, is_fenced);
	if (code == 0) {
		log_warn("last-state-used",
		         "version=%llu vips=%u leases=%u saved_ms=%llu state=%s announced=%u text=\"no manager was reached for "
		         "%d ms\"",
		         (unsigned long long)c->store.version, c->store.vips.n, leases.held.n,
		         (unsigned long long)leases.clock_ms, mux_state_name(announcement_state(&c->announcement)),
		         c->parts.routes->n_announced, CONTROL_ALONE_MS);
	} else {
		log_error("last-state-not-used", "code=%s", error_code_name((enum error_code)code));
		store_fini(&c->store);
	}
	snat_image_fini(&leases);
}

// ---- the fence ----

static void set_fence(struct control *c, bool is_fenced)
{
	if (c->announcement.is_fenced == is_fenced)
		return;
	c->announcement.is_fenced = is_fenced;
	last_state_set_fenced(c->last_state, is_fenced); // first: whatever happens next, it stays so
	if (c->tables != NULL)
		announce(c, NULL);
	tell_state(c);
	if (is_fenced)
		log_warn("fenced", "announced=%u text=\"the leader did not get this mux's acknowledgement in time\"",
		         c->parts.routes->n_announced);
	else
		log_info("unfenced", "announced=%u", c->parts.routes->n_announced);
}

static void on_notice(const struct message *m, void *user)
{
	if (m->type == MESSAGE_FENCE)
		set_fence(user, m->is_fenced);
}

static void on_link_state(bool is_up, const struct error *err, void *user)
{
	struct control *c = user;
	if (is_up) {
		log_info("subscribed", "mux=%s", c->parts.config->node.name);
		tell_leader(c);
	} else {
		log_warn("unsubscribed", "text=\"%s\"", err != NULL ? err->text : "");
	}
}

// ---- life ----

static int start_link(struct control *c, uv_loop_t *loop, struct error *err)
{
	const struct node_config *node = &c->parts.config->node;
	struct manager_link_config config = {
		.managers = node->manager_list,
		.n_managers = node->n_managers,
		.subscribes = true,
		.subscribe = { .role = ROLE_MUX, .node = node_config_info(node) },
		.handler = { .on_update = on_update,
		             .on_status_request = fill_status,
		             .on_notice = on_notice,
		             .on_state = on_link_state },
		.user = c,
	};
	(void)text_copy(config.subscribe.program_version, sizeof config.subscribe.program_version, ANANTA_VERSION);
	return manager_link_create(loop, &config, &c->link, err);
}

static void start_timers(struct control *c)
{
	uv_timer_t *timers[] = { &c->retry_routes, &c->alone, &c->drain_step, &c->drain_deadline };
	for (size_t i = 0; i < sizeof timers / sizeof *timers; i++) {
		uv_timer_init(c->loop, timers[i]);
		timers[i]->data = c;
		c->n_open_handles++;
	}
}

static int remember(struct control *c, struct error *err)
{
	struct last_state_source from = { .store = &c->store, .snat = &c->snat, .lease_version = &c->lease_version };
	return c->parts.dir == NULL ? 0 : last_state_create(c->loop, c->parts.dir, &from, &c->last_state, err);
}

int control_create(uv_loop_t *loop, const struct control_parts *parts, struct control **ret_control, struct error *err)
{
	struct control *c = memory_array(1, sizeof *c);
	if (c == NULL)
		return error_set(err, ERR_NO_MEMORY, "out of memory");
	c->parts = *parts;
	c->loop = loop;
	store_init(&c->store);
	vip_slots_init(&c->slots);
	int code = remember(c, err);
	if (code == 0)
		code = start_link(c, loop, err);
	if (code != 0) {
		last_state_destroy(c->last_state);
		store_fini(&c->store);
		memory_free(c);
		return code;
	}
	start_timers(c);
	uv_timer_start(&c->alone, on_alone, CONTROL_ALONE_MS, 0);
	*ret_control = c;
	return 0;
}

void control_drain(struct control *c, uint32_t timeout_ms, control_drained_fn on_drained, void *user)
{
	announcement_stop(&c->announcement, vip_packets(c), now_of_clock());
	bool waits = timeout_ms > 0 && c->parts.routes->n_announced > 0;
	if (!waits)
		c->announcement.is_quiet = true;
	if (c->tables != NULL)
		announce(c, NULL);
	tell_state(c);
	c->on_drained = on_drained;
	c->on_drained_user = user;
	uv_timer_start(&c->drain_step, on_drain_step, waits ? DRAIN_STEP_MS : 0, DRAIN_STEP_MS);
	if (waits)
		uv_timer_start(&c->drain_deadline, on_drain_deadline, timeout_ms, 0);
}

void control_withdraw(struct control *c)
{
	c->announcement.is_withdrawn = true;
	routes_fini(c->parts.routes);
	tell_state(c);
}

static void on_closed(uv_handle_t *handle)
{
	struct control *c = handle->data;
	if (--c->n_open_handles > 0)
		return;
	(void)loop_publish(c->parts.loop, NULL);
	mux_tables_destroy(c->tables);
	snat_maps_fini(&c->snat, NULL);
	store_fini(&c->store);
	memory_free(c);
}

void control_destroy(struct control *c)
{
	if (c == NULL)
		return;
	manager_link_destroy(c->link);
	last_state_destroy(c->last_state);
	uv_close((uv_handle_t *)&c->retry_routes, on_closed);
	uv_close((uv_handle_t *)&c->alone, on_closed);
	uv_close((uv_handle_t *)&c->drain_step, on_closed);
	uv_close((uv_handle_t *)&c->drain_deadline, on_closed);
}
