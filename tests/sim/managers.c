// The managers as one leader: the replicated state, what its operator does to it, and what each node is sent, and when.
#include <string.h>

#include "common/base/check.h"
#include "common/base/memory.h"
#include "common/model/flow_hash.h"
#include "manager/core/generations.h"
#include "tests/sim/snat.h"

#define UPDATE_US 2000 // of the way to a node, at least
#define LEADER_FOUND_US 200000 // how long subscribers take to find a new leader, at most

// Small, so that a DIP asks, gives back and runs out within minutes.
#define SNAT_RANGE_PORTS 8
#define SNAT_PREALLOC_PORTS 16
#define SNAT_IDLE_S 3

struct subscriber *subscriber_of(struct sim *s, uint32_t node)
{
	return node < s->options.n_muxes ? &s->muxes[node].subscriber : &s->hosts[node - s->options.n_muxes].subscriber;
}

static struct store *store_of(struct sim *s, uint32_t node)
{
	return node < s->options.n_muxes ? &s->muxes[node].store : &s->hosts[node - s->options.n_muxes].store;
}

static const char *name_of(const struct sim *s, uint32_t node)
{
	return node < s->options.n_muxes ? s->muxes[node].name : s->hosts[node - s->options.n_muxes].name;
}

bool managers_lead(const struct sim *s)
{
	return s->leaderless_until_us <= s->now_us;
}

// ---- Commands ----

static void append(struct state_command *command, struct change c)
{
	CHECK(change_list_append(&command->changes, &c) == 0);
}

// Does the command end leases that established connections may use?
static bool cuts_connections(const struct state_command *command)
{
	for (uint32_t i = 0; i < command->ops.n; i++)
		if (command->ops.items[i].kind == SNAT_REVOKE)
			return true;
	return command->changes.n > 0;
}

static void on_applied(struct sim *s, const struct apply_result *result, bool cuts)
{
	s->stats.generations += result->is_changed;
	if (s->leader == NULL)
		return;
	truth_on_applied(s, cuts);
	leader_on_applied(s, result);
}

static void apply(struct sim *s, struct state_command *command)
{
	struct apply_result result;
	struct error err = { 0 };
	bool cuts = cuts_connections(command);
	bool is_of_leases = command->ops.n > 0;
	command->time_ms = sim_now_ms(s);
	int code = cluster_state_apply(&s->state, command, &result, &err);
	CHECK(code != ERR_NO_MEMORY);
	if (code == 0) {
		on_applied(s, &result, cuts);
		apply_result_fini(&result);
	} else {
		s->stats.commands_refused++;
		if (s->trace != NULL)
			fprintf(s->trace, "refused: %s\n", err.text);
	}
	state_command_fini(command);
	if (is_of_leases)
		managers_push_to_muxes(s);
	else
		managers_push(s);
	if (s->leader != NULL)
		leader_step(s);
}

static struct change put_node(enum object_kind kind, const char *name, be32 address)
{
	struct change c = { .key = object_key_of_name(kind, name), .node = { .addr = ip_addr_from_v4(address) } };
	CHECK(text_copy(c.node.name, sizeof c.node.name, name));
	return c;
}

static struct change put_dip(const struct sim *s, uint32_t dip)
{
	struct ip_addr addr = ip_addr_from_v4(dip_address(dip));
	struct change c = { .key = object_key_of_addr(OBJECT_DIP, &addr), .dip = { .dip = addr } };
	CHECK(text_copy(c.dip.host, sizeof c.dip.host, s->hosts[s->vms[dip].host].name));
	text_format(c.dip.vm, sizeof c.dip.vm, "vm%u", dip);
	text_format(c.dip.interface, sizeof c.dip.interface, "if%u", dip);
	c.dip.mac[0] = 2;
	store32(c.dip.mac + 2, be32_from(dip));
	c.dip.mac[1] = 1;
	return c;
}

static void fill_endpoint(const struct sim *s, uint32_t vip, struct endpoint *e, uint8_t protocol, uint16_t port,
                          uint16_t dip_port)
{
	*e = (struct endpoint){ .protocol = protocol, .port = port };
	CHECK(text_copy(e->name, sizeof e->name, protocol == IP_PROTO_TCP ? "web" : "dns"));
	e->dips = memory_array(s->options.n_dips / s->options.n_vips + 1, sizeof *e->dips);
	CHECK(e->dips != NULL);
	for (uint32_t i = vip; i < s->options.n_dips; i += s->options.n_vips)
		if (s->vms[i].is_in)
			e->dips[e->n_dips++] = (struct endpoint_dip){ .dip = ip_addr_from_v4(dip_address(i)),
				                                          .port = dip_port,
				                                          .weight = s->vms[i].weight };
}

// DIPs in a second `snat` list, too: that of the next VIP.
static bool spills_over(const struct sim *s, uint32_t dip)
{
	return s->options.n_vips > 1 && dip / s->options.n_vips % 2 == 1;
}

static void fill_snat(const struct sim *s, uint32_t vip, struct vip_config *v)
{
	v->snat_dips = memory_array(sim_has_snat(s) ? s->options.n_dips : 0, sizeof *v->snat_dips);
	CHECK(v->snat_dips != NULL);
	for (uint32_t i = 0; sim_has_snat(s) && i < s->options.n_dips; i++)
		if (s->vms[i].vip == vip || (spills_over(s, i) && (s->vms[i].vip + 1) % s->options.n_vips == vip))
			v->snat_dips[v->n_snat_dips++] = ip_addr_from_v4(dip_address(i));
	if (v->n_snat_dips > 0)
		v->snat = (struct snat_policy){ .range_size = SNAT_RANGE_PORTS,
			                            .first_port = (uint16_t)(65536 - s->options.snat_ports),
			                            .prealloc_ports = SNAT_PREALLOC_PORTS,
			                            .max_ports_per_dip = s->options.snat_max_ports,
			                            .idle_s = SNAT_IDLE_S };
}

static struct change put_vip(const struct sim *s, uint32_t vip)
{
	struct vip_config *v = memory_array(1, sizeof *v);
	CHECK(v != NULL);
	v->vip = ip_addr_from_v4(vip_address(vip));
	CHECK(text_copy(v->tenant, sizeof v->tenant, "sim"));
	v->drain_s = s->options.drain_s;
	v->n_endpoints = 2;
	v->endpoints = memory_array(2, sizeof *v->endpoints);
	CHECK(v->endpoints != NULL);
	fill_snat(s, vip, v);
	fill_endpoint(s, vip, &v->endpoints[0], IP_PROTO_TCP, VIP_TCP_PORT, VM_TCP_PORT);
	fill_endpoint(s, vip, &v->endpoints[1], IP_PROTO_UDP, VIP_UDP_PORT, VM_UDP_PORT);
	return (struct change){ .key = object_key_of_addr(OBJECT_VIP, &v->vip), .vip = v };
}

static void append_drains(const struct sim *s, uint32_t vip, struct state_command *command)
{
	struct ip_addr vip_addr = ip_addr_from_v4(vip_address(vip));
	for (uint32_t i = vip; i < s->options.n_dips; i += s->options.n_vips) {
		struct ip_addr dip = ip_addr_from_v4(dip_address(i));
		bool is_drained = store_lookup_drain(&s->state.store, &dip, &vip_addr) != NULL;
		bool wants = s->vms[i].is_in && s->vms[i].is_drained;
		if (is_drained != wants)
			append(command, (struct change){ .key = object_key_of_addr(OBJECT_DRAIN, &dip), .is_delete = !wants });
	}
}

void managers_put_vip(struct sim *s, uint32_t vip)
{
	struct state_command command = { 0 };
	append(&command, put_vip(s, vip));
	append_drains(s, vip, &command);
	apply(s, &command);
}

void managers_detach(struct sim *s, uint32_t dip)
{
	struct state_command command = { 0 };
	struct ip_addr addr = ip_addr_from_v4(dip_address(dip));
	append(&command, (struct change){ .key = object_key_of_addr(OBJECT_DIP, &addr), .is_delete = true });
	apply(s, &command);
}

void managers_attach(struct sim *s, uint32_t dip)
{
	struct state_command command = { 0 };
	append(&command, put_dip(s, dip));
	apply(s, &command);
}

void managers_revoke(struct sim *s, const struct snat_op *revoke)
{
	struct state_command command = { 0 };
	CHECK(snat_op_list_append(&command.ops, revoke) == 0);
	apply(s, &command);
}

void managers_commit(struct sim *s, const struct snat_op_list *ops)
{
	struct state_command command = { 0 };
	for (uint32_t i = 0; i < ops->n; i++)
		CHECK(snat_op_list_append(&command.ops, &ops->items[i]) == 0);
	apply(s, &command);
}

static struct change put_settings(const struct sim *s)
{
	struct change c = { .key = { .kind = OBJECT_SETTINGS }, .settings = cluster_settings_default() };
	c.settings.snat_quarantine_s = sim_is_sabotaged(s, "no-quarantine") ? 0 : s->options.quarantine_s;
	if (sim_is_sabotaged(s, "no-nat"))
		c.settings.no_snat[c.settings.n_no_snat++] =
			(struct ip_prefix){ .addr = ip_addr_from_v4(server_address(0)), .bits = 24 };
	CHECK(cluster_settings_validate(&c.settings, NULL) == 0);
	return c;
}

void managers_start(struct sim *s)
{
	struct state_command command = { 0 };
	struct change cluster = { .key = { .kind = OBJECT_CLUSTER },
		                      .cluster = { .cluster_id = 1, .hash_seed = hash_mix64(s->options.seed + 99) } };
	for (uint32_t i = 0; i < PIN_KEY_BYTES; i++)
		cluster.cluster.pin_key[i] = (uint8_t)(i * 7 + s->options.seed);
	CHECK(cluster_state_init(&s->state) == 0);
	append(&command, cluster);
	if (sim_has_snat(s))
		append(&command, put_settings(s));
	for (uint32_t i = 0; i < s->options.n_muxes; i++)
		append(&command, put_node(OBJECT_MUX, s->muxes[i].name, s->muxes[i].address));
	for (uint32_t i = 0; i < s->options.n_hosts; i++)
		append(&command, put_node(OBJECT_HOST, s->hosts[i].name, s->hosts[i].address));
	for (uint32_t i = 0; i < s->options.n_dips; i++)
		append(&command, put_dip(s, i));
	for (uint32_t i = 0; i < s->options.n_vips; i++)
		append(&command, put_vip(s, i));
	if (s->leader != NULL)
		leader_begin(s);
	apply(s, &command);
	CHECK(s->stats.commands_refused == 0);
	s->stats.generations = 0;
}

void managers_tick(struct sim *s)
{
	struct state_command command = { 0 };
	if (managers_lead(s) && generations_next_expire_ms(&s->state.store) <= sim_now_ms(s))
		apply(s, &command);
}

// ---- Distribution ----

static void drop_update(struct subscriber *sub)
{
	if (sub->has_update)
		distribution_update_fini(&sub->update);
	sub->has_update = false;
}

void managers_push_to(struct sim *s, uint32_t node)
{
	struct subscriber *sub = subscriber_of(s, node);
	uint64_t floor = leader_floor(s, node);
	if (!managers_lead(s) || !sub->is_connected || !distribution_is_due(&sub->distribution, &s->state, floor))
		return;
	CHECK(!sub->has_update);
	CHECK(distribution_take_update(&sub->distribution, &s->state, floor, &sub->update) == 0);
	sub->has_update = true;
	uint64_t late_us = s->now_us < sub->late_until_us ? sub->late_us : 0;
	uint64_t skew_us = random_below(&s->config_delays, us_of(s->options.skew_s) + 1);
	sub->due_us = links_due(sub, s->now_us + UPDATE_US + skew_us + late_us);
	sim_at(s, sub->due_us, EVENT_UPDATE, node);
}

void managers_push(struct sim *s)
{
	for (uint32_t node = 0; node < s->options.n_muxes + s->options.n_hosts; node++) {
		managers_push_to(s, node);
		leader_flush(s, node);
	}
}

void managers_push_to_muxes(struct sim *s)
{
	for (uint32_t node = 0; node < s->options.n_muxes; node++)
		managers_push_to(s, node);
}

// Only the last generations stay.
static void shorten(struct vip_history *h, uint32_t n_generations)
{
	for (uint32_t i = 0; i < h->n_endpoints; i++) {
		struct endpoint_history *e = &h->endpoints[i];
		while (e->n_generations > n_generations) {
			memory_free(e->generations[0].members);
			memmove(e->generations, e->generations + 1, --e->n_generations * sizeof *e->generations);
		}
	}
}

// In a run that is to show what is without them, agents hear neither of histories nor of the seed by which they could tell who
// owns a bucket.
static bool is_left_out(const struct sim *s, uint32_t node, const struct change *c)
{
	bool is_without = s->options.mode != MODE_ANANTA || sim_is_sabotaged(s, "no-chain");
	return is_without && node >= s->options.n_muxes && (c->key.kind == OBJECT_HISTORY || c->key.kind == OBJECT_CLUSTER);
}

static void tamper(const struct sim *s, uint32_t node, struct change *c)
{
	if (c->is_delete)
		return;
	bool is_mux = node < s->options.n_muxes;
	bool has_present_only = is_mux && (s->options.mode != MODE_ANANTA || sim_is_sabotaged(s, "no-flags"));
	if (c->key.kind == OBJECT_HISTORY && has_present_only)
		shorten(c->history, 1);
	if (c->key.kind == OBJECT_HISTORY && sim_is_sabotaged(s, "short-history"))
		shorten(c->history, 2);
	if (c->key.kind == OBJECT_CLUSTER && !is_mux && sim_is_sabotaged(s, "other-seed"))
		c->cluster.hash_seed++;
}

static void edit_changes(const struct sim *s, uint32_t node, struct change_list *list)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < list->n; i++) {
		if (is_left_out(s, node, &list->items[i])) {
			change_fini(&list->items[i]);
			continue;
		}
		tamper(s, node, &list->items[i]);
		list->items[n++] = list->items[i];
	}
	list->n = n;
}

static void use_update(struct sim *s, uint32_t node, struct distribution_update *u)
{
	struct subscriber *sub = subscriber_of(s, node);
	bool is_snapshot = u->from_version == 0;
	bool is_news = is_snapshot || u->to_version != store_of(s, node)->version || u->replaces_leases || u->leases.n > 0;
	edit_changes(s, node, &u->changes);
	CHECK(store_apply_update(store_of(s, node), &u->changes, is_snapshot, u->to_version) == 0);
	sub->have_lease_version = u->lease_version;
	if (node < s->options.n_muxes) {
		mux_on_update(s, node, u);
		return;
	}
	uint32_t host = node - s->options.n_muxes;
	host_use_store(s, host);
	agent_side_on_update(s, host, u, is_news);
}

static void acknowledge(struct sim *s, uint32_t node, uint64_t version, uint64_t lease_version)
{
	if (!sim_has_snat(s)) {
		managers_on_ack(s, node, version, lease_version);
		managers_push_to(s, node);
		return;
	}
	struct message ack = { .type = MESSAGE_ACK };
	ack.ack.version = version;
	ack.ack.lease_version = lease_version;
	links_to_leader(s, node, &ack);
}

void managers_on_ack(struct sim *s, uint32_t node, uint64_t version, uint64_t lease_version)
{
	CHECK(distribution_on_ack(&subscriber_of(s, node)->distribution, version, lease_version, NULL) == 0);
}

void managers_on_update(struct sim *s, uint32_t node)
{
	struct subscriber *sub = subscriber_of(s, node);
	if (!sub->has_update || sub->due_us != s->now_us)
		return; // of a connection that is no more
	if (node < s->options.n_muxes && s->muxes[node].hangs_until_us > s->now_us) {
		sub->due_us = links_due(sub, s->muxes[node].hangs_until_us);
		sim_at(s, sub->due_us, EVENT_UPDATE, node);
		return;
	}
	uint64_t version = sub->update.to_version;
	uint64_t lease_version = sub->update.lease_version;
	use_update(s, node, &sub->update);
	drop_update(sub);
	if (sub->is_connected)
		acknowledge(s, node, version, lease_version);
}

void managers_subscribe(struct sim *s, uint32_t node)
{
	struct subscriber *sub = subscriber_of(s, node);
	const struct store *store = store_of(s, node);
	drop_update(sub);
	if (!managers_lead(s))
		return; // EVENT_LEADER subscribes everyone
	sub->generation++;
	sub->last_down_us = sub->last_up_us = 0;
	distribution_init(&sub->distribution, node < s->options.n_muxes ? AUDIENCE_MUX : AUDIENCE_AGENT, name_of(s, node),
	                  store->has_cluster ? store->cluster.cluster_id : 0, store->version, sub->have_lease_version,
	                  &s->state);
	sub->is_connected = true;
	if (s->leader != NULL)
		leader_on_subscribe(s, node);
	managers_push_to(s, node);
	if (s->leader != NULL)
		leader_step(s);
}

void managers_unsubscribe(struct sim *s, uint32_t node)
{
	struct subscriber *sub = subscriber_of(s, node);
	bool was_connected = sub->is_connected;
	sub->is_connected = false;
	drop_update(sub);
	if (s->leader == NULL || !was_connected)
		return;
	if (node >= s->options.n_muxes)
		agent_side_on_link(s, node - s->options.n_muxes, false);
	leader_on_unsubscribe(s, node);
}

// ---- Another leader ----

// It has the state from the log, or from a snapshot: then what changed lately is not known, and everyone gets all.
static void restore(struct sim *s)
{
	struct state_snapshot snapshot;
	CHECK(cluster_state_get_snapshot(&s->state, &snapshot) == 0);
	CHECK(cluster_state_restore(&s->state, &snapshot) == 0);
	state_snapshot_fini(&snapshot);
}

void managers_lost(struct sim *s)
{
	if (s->leader == NULL)
		return;
	leader_end(s);
	for (uint32_t node = 0; node < s->options.n_muxes + s->options.n_hosts; node++)
		managers_unsubscribe(s, node);
}

void managers_back(struct sim *s)
{
	if (random_below(&s->trouble, 2) == 0)
		restore(s);
	leader_begin(s);
	for (uint32_t node = 0; node < s->options.n_muxes + s->options.n_hosts; node++)
		sim_at(s, s->now_us + random_below(&s->trouble, LEADER_FOUND_US), EVENT_CONNECT, node);
}

// ---- The truth, for the report ----

bool managers_knows_owner(struct sim *s, uint32_t connection)
{
	const struct connection *c = &s->connections[connection];
	struct ip_addr vip = ip_addr_from_v4(vip_address(c->vip));
	struct ip_addr dip = ip_addr_from_v4(dip_address(c->vm));
	const struct vip_history *v = store_lookup_history(&s->state.store, &vip);
	bool is_tcp = c->protocol == IP_PROTO_TCP;
	be16 port = be16_from(is_tcp ? VIP_TCP_PORT : VIP_UDP_PORT);
	const struct endpoint_history *h = vip_history_lookup(v, c->protocol, be16_to(port));
	struct owner_history owners;
	if (h == NULL || owner_history_build(v, h, &owners) != 0)
		return true;
	uint64_t hash = flow_hash_v4(connection_address(connection), vip_address(c->vip), connection_port(connection), port,
	                             c->protocol, s->state.store.cluster.hash_seed);
	const uint16_t *of = owner_history_of(&owners, hash);
	bool is_owner = false;
	for (uint32_t i = 0; i < OWNERS_MAX && of[i] != OWNER_NONE; i++)
		is_owner = is_owner || ip_addr_equal(&owners.dips[of[i]], &dip);
	owner_history_fini(&owners);
	return is_owner;
}
