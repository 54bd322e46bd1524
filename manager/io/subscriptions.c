// Subscriptions of muxes and agents: made known to the cluster, then told of every change.
#include <string.h>

#include "common/io/log.h"
#include "manager/io/server_parts.h"

#define SUBSCRIBER_DEAD_MIN_MS 1000

static const char *role_name(enum node_role role)
{
	return role == ROLE_MUX ? "mux" : "host";
}

static void refuse(struct peer *p, const struct error *err)
{
	log_warn("subscription-refused", "role=%s name=%s peer=%s text=\"%s\"", role_name(p->subscribe.role),
	         p->subscribe.node.name, conn_peer(p->conn), err->text);
	server_close_peer(p, err);
}

// Muxes are told of every lease, agents of those that all muxes know.
static uint64_t floor_for(const struct peer *p)
{
	return p->subscribe.role == ROLE_MUX ? LEASE_FLOOR_NONE : p->server->snat.muxes.floor;
}

static void send_update(struct peer *p)
{
	struct server *s = p->server;
	struct distribution_update u;
	if (!distribution_is_due(&p->distribution, &s->machine.state, floor_for(p)))
		return;
	if (distribution_take_update(&p->distribution, &s->machine.state, floor_for(p), &u) != 0) {
		struct error err = { 0 };
		error_set(&err, ERR_NO_MEMORY, "memory is short");
		server_close_peer(p, &err);
		return;
	}
	server_send_update(p, 0,
	                   &(struct update){ .from_version = u.from_version,
	                                     .to_version = u.to_version,
	                                     .changes = u.changes,
	                                     .lease_version = u.lease_version,
	                                     .replaces_leases = u.replaces_leases,
	                                     .leases = u.leases });
	distribution_update_fini(&u);
}

void subscriptions_send(struct peer *p)
{
	if (p->state == PEER_SUBSCRIBED)
		send_update(p);
	if (p->state == PEER_SUBSCRIBED)
		snat_answers_flush(p);
}

// A machine that is gone says nothing: its connection must end before its host is due to be gone. A node that has not
// acknowledged anything yet may be busy with a snapshot.
static void watch_peer(struct peer *p)
{
	uint32_t gone_ms = p->server->machine.state.store.settings.host_gone_ms;
	uint32_t dead_ms = CONN_SUBSCRIBER_DEAD_MS;
	if (gone_ms != 0)
		dead_ms = gone_ms < CONN_DEAD_MS ? gone_ms / 4 * 3 : CONN_DEAD_MS / 4 * 3;
	if (dead_ms < SUBSCRIBER_DEAD_MIN_MS)
		dead_ms = SUBSCRIBER_DEAD_MIN_MS;
	conn_set_liveness(p->conn, CONN_SUBSCRIBER_PING_MS, p->has_acked ? dead_ms : CONN_DEAD_MS);
}

void subscriptions_on_settings(struct server *s)
{
	for (uint32_t i = 0; i < s->roster.n; i++)
		watch_peer(s->roster.items[i]);
}

static void replace_older(struct peer *p)
{
	struct peer *older = roster_lookup(&p->server->roster, p->subscribe.role, p->subscribe.node.name);
	if (older == NULL)
		return;
	struct error err = { 0 };
	error_set(&err, ERR_CONFLICT, "%s \"%s\" has subscribed anew from %s, which ends this subscription",
	          role_name(p->subscribe.role), p->subscribe.node.name, conn_peer(p->conn));
	log_warn("subscription-replaced", "role=%s name=%s old=%s new=%s", role_name(p->subscribe.role),
	         p->subscribe.node.name, conn_peer(older->conn), conn_peer(p->conn));
	older->is_replaced = true;
	server_close_peer(older, &err);
}

static void accept_subscription(struct peer *p)
{
	struct server *s = p->server;
	const struct subscribe *sub = &p->subscribe;
	struct error err = { 0 };
	replace_older(p);
	if (roster_insert(&s->roster, p) != 0) {
		error_set(&err, ERR_NO_MEMORY, "memory is short");
		refuse(p, &err);
		return;
	}
	p->state = PEER_SUBSCRIBED;
	watch_peer(p);
	distribution_init(&p->distribution, sub->role == ROLE_MUX ? AUDIENCE_MUX : AUDIENCE_AGENT, sub->node.name,
	                  sub->cluster_id, sub->have_version, sub->have_lease_version, &s->machine.state);
	snat_service_on_subscribe(p);
	if (sub->role == ROLE_MUX)
		mux_news_on_subscribe(p);
	else
		health_service_on_subscribe(p);
	log_info("subscribed", "role=%s name=%s peer=%s have=%llu program=%s", role_name(sub->role), sub->node.name,
	         conn_peer(p->conn), (unsigned long long)sub->have_version, sub->program_version);
	subscriptions_send(p);
}

static void on_registered(struct peer *p, uint64_t request_id, const struct error *err, uint64_t result)
{
	if (p->state != PEER_REGISTERING)
		return;
	if (err->code == ERR_NOT_LEADER || !server_is_serving(p->server)) {
		server_send_redirect(p, 0);
		server_close_peer(p, NULL);
	} else if (err->code != 0) {
		refuse(p, err);
	} else {
		accept_subscription(p);
	}
}

// Is the node known at these addresses already?
static bool is_registered(const struct server *s, const struct subscribe *sub)
{
	const struct store *store = &s->machine.state.store;
	const struct node_info *node =
		sub->role == ROLE_MUX ? store_lookup_mux(store, sub->node.name) : store_lookup_host(store, sub->node.name);
	return node != NULL && node_info_equal(node, &sub->node);
}

static void register_node(struct peer *p)
{
	struct change put = {
		.key = object_key_of_name(p->subscribe.role == ROLE_MUX ? OBJECT_MUX : OBJECT_HOST, p->subscribe.node.name),
		.node = p->subscribe.node,
	};
	struct change_list changes = { .n = 1, .capacity = 1, .items = &put };
	struct error err = { 0 };
	p->state = PEER_REGISTERING;
	if (commands_propose(p, 0, &changes, &(struct snat_op_list){ 0 }, &(struct command_terms){ 0 }, on_registered,
	                     &err) != 0)
		on_registered(p, 0, &err, 0);
}

void subscriptions_on_request(struct peer *p, const struct subscribe *subscribe)
{
	struct error err = { 0 };
	if (p->state != PEER_OPEN) {
		error_set(&err, ERR_INVALID, "this connection has subscribed already");
		server_close_peer(p, &err);
		return;
	}
	p->subscribe = *subscribe;
	if (!server_is_serving(p->server)) {
		server_send_redirect(p, 0);
		server_close_peer(p, NULL);
	} else if (is_registered(p->server, subscribe)) {
		accept_subscription(p);
	} else {
		register_node(p);
	}
}

void subscriptions_on_ack(struct peer *p, uint64_t version, uint64_t lease_version)
{
	struct server *s = p->server;
	struct error err = { 0 };
	if (p->state != PEER_SUBSCRIBED)
		return;
	if (distribution_on_ack(&p->distribution, version, lease_version, &err) != 0) {
		refuse(p, &err);
		return;
	}
	if (!p->has_acked) {
		p->has_acked = true;
		watch_peer(p);
	}
	s->has_news = s->has_news || s->waits.first != NULL;
	if (p->subscribe.role == ROLE_MUX) {
		mux_watch_on_ack(&s->snat.muxes, p->subscribe.node.name, p->distribution.acked_lease_version);
		s->has_news = true;
	} else {
		health_service_on_ack(p);
	}
	subscriptions_send(p);
}

void subscriptions_forget_peer(struct peer *p, const char *why)
{
	bool was_subscribed = roster_remove(&p->server->roster, p);
	p->server->has_news = p->server->has_news || p->server->waits.first != NULL;
	if (was_subscribed)
		snat_service_on_unsubscribe(p);
	if (was_subscribed && p->subscribe.role == ROLE_AGENT)
		health_service_on_unsubscribe(p);
	else if (was_subscribed && !p->is_replaced)
		mux_news_on_unsubscribe(p, why);
	snat_answers_forget_peer(p);
}

void subscriptions_end_all(struct server *s)
{
	for (struct peer *p = s->peers; p != NULL; p = p->next) {
		if (p->state != PEER_SUBSCRIBED && p->state != PEER_REGISTERING)
			continue;
		server_send_redirect(p, 0);
		server_close_peer(p, NULL);
	}
}

void subscriptions_pump(struct server *s)
{
	// Sending may close a peer and so take it out of the roster: backwards, so that the others keep their places.
	for (uint32_t i = s->roster.n; i > 0; i--)
		if (i <= s->roster.n)
			subscriptions_send(s->roster.items[i - 1]);
}

void subscriptions_pump_muxes(struct server *s)
{
	uint32_t n = 0;
	while (n < s->roster.n && s->roster.items[n]->subscribe.role == ROLE_MUX) // they come first
		n++;
	for (; n > 0; n--)
		if (n <= s->roster.n)
			subscriptions_send(s->roster.items[n - 1]);
}
