#include "mux/io/control.h"

#include <string.h>

#include "common/base/memory.h"
#include "common/io/log.h"
#include "common/io/manager_link.h"

#define RETRY_ROUTES_MS 1000
#define BASE_COUNTERS_MAX (64 + DROP_REASON_COUNT)
#define STATUS_VIPS_MAX 4000 // whose counters one message holds; those of further VIPs are left out
#define VIP_COUNTERS 5 // of one VIP

// What was counted for one slot.
struct vip_sums {
	struct vip_traffic endpoints;
	struct vip_traffic snat;
	uint64_t icmp_errors_steered;
};

struct control {
	struct control_parts parts;
	struct manager_link *link;
	struct store store;
	struct vip_slots slots;
	struct vip_sums bases[VIP_SLOTS_MAX]; // what a slot had counted before it was this VIP's
	struct snat_maps snat; // what the tables refer to
	struct mux_tables *tables; // what the worker uses
	bool is_withdrawn; // on the way out: nothing is announced any more
	bool is_fenced; // by a leader: nothing is announced until one says otherwise
	uv_timer_t retry_routes;
};

// ---- applying ----

static void on_retry_routes(uv_timer_t *timer);

static bool is_announced(const struct control *c, const struct mux_tables *keep, const struct ip_addr *vip)
{
	return !c->is_fenced && (keep == NULL || vip_lookup(keep, ip_addr_to_v4(vip), 0, 0) != NULL);
}

// Announces the VIPs that `keep` lets through (NULL: all of the store); none while fenced or on the way out.
static void announce(struct control *c, const struct mux_tables *keep)
{
	if (c->is_withdrawn)
		return;
	struct error err = { 0 };
	struct ip_addr *vips = memory_array(c->store.vips.n, sizeof *vips);
	uint32_t n = 0;
	for (uint32_t i = 0; vips != NULL && i < c->store.vips.n; i++) {
		const struct ip_addr *vip = &store_vip(&c->store, i)->vip;
		if (is_announced(c, keep, vip))
			vips[n++] = *vip;
	}
	int code =
		vips == NULL ? error_set(&err, ERR_NO_MEMORY, "out of memory") : routes_set(c->parts.routes, vips, n, &err);
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

static struct vip_sums sums_of(const struct control *c, uint32_t slot) // one worker
{
	const struct vip_counters *vips = c->parts.vips;
	return (struct vip_sums){ vips->endpoints[slot], vips->snat[slot], vips->icmp_errors_steered[slot] };
}

static int update_slots(struct control *c)
{
	static bool is_new[VIP_SLOTS_MAX];
	int code = vip_slots_update(&c->slots, &c->store, is_new);
	for (uint32_t i = 0; code == 0 && i < c->slots.n_high; i++)
		if (is_new[i])
			c->bases[i] = sums_of(c, i);
	return code;
}

static void apply_leases(struct snat_maps *snat, const struct update *u)
{
	uint32_t n_ignored = snat_maps_apply(snat, &u->leases);
	if (n_ignored > 0)
		log_warn("leases-ignored", "n=%u text=\"of VIPs that have no SNAT DIPs here\"", n_ignored);
}

// Tables for the store, which refer to `snat`; in the end the maps that are shared no more are freed.
static int swap_tables(struct control *c, struct snat_maps *snat)
{
	struct mux_tables *tables;
	int code = update_slots(c);
	struct mux_tables_sources from = { .store = &c->store,
		                               .own_addr = ip_addr_to_v4(&c->parts.config->node.address.addr),
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
	announce(c, NULL);
	return 0;
}

// Maps for the store's VIPs with the update's leases in them, and tables for both. Maps that stay are changed in place; where
// the update replaces all leases, fresh ones take their place in the same moment as the tables, so that no packet meets a
// map that is half full.
static int apply_objects(struct control *c, const struct update *u)
{
	struct snat_maps snat;
	int code = snat_maps_create(&c->store, u->replaces_leases ? NULL : &c->snat, &snat);
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
	watchdog_page_begin_work(c->parts.watchdog);
	int code = apply_update(c, u);
	watchdog_page_end_work(c->parts.watchdog);
	return code;
}

// ---- the fence ----

static void set_fence(struct control *c, bool is_fenced)
{
	if (c->is_fenced == is_fenced)
		return;
	c->is_fenced = is_fenced;
	if (c->tables != NULL)
		announce(c, NULL);
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

// ---- status ----

static void put_counter(struct node_status *s, uint64_t value, const char *format, const char *name)
{
	struct counter *counter = &s->counters[s->n_counters++];
	(void)text_format(counter->name, sizeof counter->name, format, name);
	counter->value = value;
}

static void fill_vip_counters(const struct control *c, struct node_status *s)
{
	for (uint32_t i = 0; i < c->store.vips.n && i < STATUS_VIPS_MAX; i++) {
		char vip[IP_ADDR_TEXT_BYTES];
		uint32_t slot = vip_slots_of(&c->slots, i);
		const struct vip_sums *base = &c->bases[slot];
		struct vip_sums now = sums_of(c, slot);
		ip_addr_format(&store_vip(&c->store, i)->vip, vip);
		put_counter(s, now.endpoints.packets - base->endpoints.packets, "vip_%s_packets", vip);
		put_counter(s, now.endpoints.bytes - base->endpoints.bytes, "vip_%s_bytes", vip);
		put_counter(s, now.icmp_errors_steered - base->icmp_errors_steered, "vip_%s_icmp_errors_steered", vip);
		if (store_vip(&c->store, i)->n_snat_dips == 0)
			continue;
		put_counter(s, now.snat.packets - base->snat.packets, "vip_%s_snat_packets", vip);
		put_counter(s, now.snat.bytes - base->snat.bytes, "vip_%s_snat_bytes", vip);
	}
}

static const char *state_name(const struct control *c)
{
	if (c->tables == NULL)
		return "no-config";
	if (c->is_withdrawn)
		return "withdrawn";
	return c->is_fenced ? "fenced" : "announcing";
}

static void fill_status(struct node_status *s, void *user)
{
	const struct control *c = user;
	const struct mux_counters *counters = &c->parts.loop->worker.counters;
	(void)text_copy(s->state, sizeof s->state, state_name(c));
	s->version = c->store.version;
	s->counters = memory_array(BASE_COUNTERS_MAX + VIP_COUNTERS * STATUS_VIPS_MAX, sizeof *s->counters);
	if (s->counters == NULL)
		return;
#define X(name) put_counter(s, counters->name, "%s", #name);
	MUX_COUNTERS(X)
#undef X
	put_counter(s, c->parts.routes->n_announced, "%s", "announced_vips");
	put_counter(s, snat_maps_leased_ports(&c->snat), "%s", "snat_leased_ports");
	put_counter(s, c->parts.loop->worker.pins != NULL ? c->parts.loop->worker.pins->n_pins : 0, "%s", "pins");
	put_counter(s, c->tables != NULL ? c->tables->n_with_history : 0, "%s", "endpoints_with_history");
	put_counter(s, c->tables != NULL ? c->tables->n_flagged : 0, "%s", "buckets_with_history");
	for (int i = DROP_NONE + 1; i < DROP_REASON_COUNT; i++)
		put_counter(s, counters->drops[i], "drop_%s", drop_reason_name((enum drop_reason)i));
	fill_vip_counters(c, s);
}

static void on_link_state(bool is_up, const struct error *err, void *user)
{
	const struct control *c = user;
	if (is_up)
		log_info("subscribed", "mux=%s", c->parts.config->node.name);
	else
		log_warn("unsubscribed", "text=\"%s\"", err != NULL ? err->text : "");
}

// ---- life ----

static int start_link(struct control *c, uv_loop_t *loop, struct error *err)
{
	const struct node_config *node = &c->parts.config->node;
	struct manager_link_config config = {
		.managers = node->manager_list,
		.n_managers = node->n_managers,
		.subscribes = true,
		.subscribe = { .role = ROLE_MUX, .node = { .addr = node->address.addr } },
		.handler = { .on_update = on_update,
		             .on_status_request = fill_status,
		             .on_notice = on_notice,
		             .on_state = on_link_state },
		.user = c,
	};
	(void)text_copy(config.subscribe.node.name, sizeof config.subscribe.node.name, node->name);
	(void)text_copy(config.subscribe.program_version, sizeof config.subscribe.program_version, ANANTA_VERSION);
	return manager_link_create(loop, &config, &c->link, err);
}

int control_create(uv_loop_t *loop, const struct control_parts *parts, struct control **ret_control, struct error *err)
{
	struct control *c = memory_array(1, sizeof *c);
	if (c == NULL)
		return error_set(err, ERR_NO_MEMORY, "out of memory");
	c->parts = *parts;
	store_init(&c->store);
	vip_slots_init(&c->slots);
	int code = start_link(c, loop, err);
	if (code != 0) {
		store_fini(&c->store);
		memory_free(c);
		return code;
	}
	uv_timer_init(loop, &c->retry_routes);
	c->retry_routes.data = c;
	*ret_control = c;
	return 0;
}

void control_withdraw(struct control *c)
{
	c->is_withdrawn = true;
	routes_fini(c->parts.routes);
}

static void on_closed(uv_handle_t *handle)
{
	struct control *c = handle->data;
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
	uv_close((uv_handle_t *)&c->retry_routes, on_closed);
}
