// The trouble: what the plan says, done by the operator, by chance, and by machines that fail.
#include <string.h>

#include "common/base/check.h"
#include "tests/sim/sim.h"

#define RESTART_US 150000u // of an agent's process
#define LINK_BACK_US 800000u // until a node has another connection to the leader, at most
#define HOST_OUT_US 3000000u // from the death of a host to its DIPs' removal

static void put_off(struct sim *s, enum later_kind kind, uint32_t idx, uint64_t at_us)
{
	for (uint32_t i = 0; i < LATER_MAX; i++) {
		if (s->laters[i].is_used)
			continue;
		s->laters[i] = (struct later){ .kind = kind, .idx = idx, .is_used = true };
		sim_at(s, at_us, EVENT_LATER, i);
		return;
	}
	CHECK(false);
}

static uint32_t amount_of(const struct churn_item *item, uint32_t whole)
{
	uint32_t n = item->is_percent ? (uint32_t)((uint64_t)whole * item->amount / 100) : item->amount;
	return n == 0 ? 1 : n;
}

static uint64_t within_second(struct sim *s)
{
	return s->now_us + random_below(&s->trouble, 1000000);
}

// ---- DIPs ----

static uint32_t n_serving(const struct sim *s, uint32_t vip)
{
	uint32_t n = 0;
	for (uint32_t i = vip; i < s->options.n_dips; i += s->options.n_vips)
		n += s->vms[i].is_in && !s->vms[i].is_drained && s->vms[i].is_alive;
	return n;
}

// May the DIP stop to serve without leaving its VIP nearly alone?
static bool can_spare(const struct sim *s, uint32_t dip)
{
	return n_serving(s, s->vms[dip].vip) > s->options.n_dips / s->options.n_vips / 2;
}

// A random DIP that is in (or out), alive and not drained; NONE: not found.
static uint32_t pick_dip(struct sim *s, bool is_in)
{
	for (uint32_t try = 0; try < 200; try++) {
		uint32_t dip = (uint32_t)random_below(&s->trouble, s->options.n_dips);
		const struct sim_vm *vm = &s->vms[dip];
		if (vm->is_in == is_in && vm->is_alive && !vm->is_flapping && (!is_in || can_spare(s, dip)))
			return dip;
	}
	return NONE;
}

// What changed of a VIP's DIPs within this second goes to the managers as one command.
static void put_touched(struct sim *s, const bool *touched)
{
	for (uint32_t i = 0; i < s->options.n_vips; i++)
		if (touched[i])
			put_off(s, LATER_VIP, i, within_second(s));
}

static void change_dips(struct sim *s, uint32_t n)
{
	static bool touched[20000];
	memset(touched, 0, sizeof touched);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t dip = pick_dip(s, i % 2 == 0);
		if (dip == NONE)
			continue;
		s->vms[dip].is_in = i % 2 != 0;
		s->vms[dip].is_drained = false;
		touched[s->vms[dip].vip] = true;
	}
	put_touched(s, touched);
}

static void change_drains(struct sim *s, uint32_t n)
{
	static bool touched[20000];
	memset(touched, 0, sizeof touched);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t dip = (uint32_t)random_below(&s->trouble, s->options.n_dips);
		struct sim_vm *vm = &s->vms[dip];
		if (!vm->is_in || !vm->is_alive || vm->is_flapping || (!vm->is_drained && !can_spare(s, dip)))
			continue;
		vm->is_drained = !vm->is_drained;
		touched[vm->vip] = true;
	}
	put_touched(s, touched);
}

static void change_weights(struct sim *s, uint32_t n)
{
	static bool touched[20000];
	memset(touched, 0, sizeof touched);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t dip = (uint32_t)random_below(&s->trouble, s->options.n_dips);
		s->vms[dip].weight = (uint16_t)(1 + random_below(&s->trouble, 4));
		touched[s->vms[dip].vip] = true;
	}
	put_touched(s, touched);
}

static void flap(struct sim *s, uint32_t n)
{
	uint32_t step = s->options.n_dips / n;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t dip = i * (step == 0 ? 1 : step);
		struct sim_vm *vm = &s->vms[dip];
		if (!vm->is_in || !vm->is_alive || vm->is_flapping || !can_spare(s, dip))
			continue;
		vm->is_in = false;
		vm->is_flapping = true;
		put_off(s, LATER_VIP, vm->vip, s->now_us);
		put_off(s, LATER_DIPS_BACK, dip, s->now_us + 300000 + random_below(&s->trouble, 600000));
	}
}

// ---- Machines ----

static void kill_muxes(struct sim *s, const struct churn_item *item)
{
	for (uint32_t i = 0; i < amount_of(item, s->options.n_muxes); i++) {
		uint32_t n_alive = 0;
		for (uint32_t k = 0; k < s->options.n_muxes; k++)
			n_alive += s->muxes[k].is_alive && s->muxes[k].has_tables;
		uint32_t mux = (uint32_t)random_below(&s->trouble, s->options.n_muxes);
		struct sim_mux *m = &s->muxes[mux];
		if (n_alive < 2 || !m->is_alive || !m->has_tables)
			continue;
		mux_kill(s, mux);
		m->back_us = s->now_us + us_of(item->period_s / 2);
		sim_at(s, m->back_us, EVENT_NODE, mux);
	}
}

static void hang_mux(struct sim *s, uint32_t amount_s)
{
	uint32_t mux = (uint32_t)random_below(&s->trouble, s->options.n_muxes);
	struct sim_mux *m = &s->muxes[mux];
	if (!m->is_alive || m->hangs_until_us > s->now_us)
		return;
	m->hangs_until_us = s->now_us + us_of(amount_s);
	network_mux_changed(s);
	sim_at(s, m->hangs_until_us, EVENT_NODE, mux);
}

// Would every VIP go on well without this host?
static bool host_is_spare(const struct sim *s, uint32_t host)
{
	for (uint32_t i = 0; i < s->options.n_dips; i++)
		if (s->vms[i].host == host && s->vms[i].is_in && !can_spare(s, i))
			return false;
	return true;
}

static void kill_hosts(struct sim *s, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		uint32_t host = (uint32_t)random_below(&s->trouble, s->options.n_hosts);
		if (!s->hosts[host].is_alive || !host_is_spare(s, host))
			continue;
		host_kill(s, host);
		put_off(s, LATER_HOST_OUT, host, s->now_us + HOST_OUT_US);
	}
}

static void restart_agents(struct sim *s, uint32_t n, bool keeps_flows)
{
	for (uint32_t i = 0; i < n; i++) {
		uint32_t host = (uint32_t)random_below(&s->trouble, s->options.n_hosts);
		struct sim_host *h = &s->hosts[host];
		if (!h->is_alive || h->down_until_us > s->now_us)
			continue;
		h->down_until_us = s->now_us + RESTART_US;
		h->keeps_flows = keeps_flows;
		managers_unsubscribe(s, node_of_host(s, host));
		sim_at(s, h->down_until_us, EVENT_NODE, node_of_host(s, host));
	}
}

static void lose_leader(struct sim *s, uint32_t amount_s)
{
	s->leaderless_until_us = s->now_us + us_of(amount_s);
	sim_at(s, s->leaderless_until_us, EVENT_LEADER, 0);
	managers_lost(s);
}

// ---- SNAT ----

static uint32_t n_nodes(const struct sim *s)
{
	return s->options.n_muxes + s->options.n_hosts;
}

// Connections to the leader break, and what was on them is lost.
static void cut_links(struct sim *s, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		uint32_t node = (uint32_t)random_below(&s->trouble, n_nodes(s));
		if (!subscriber_of(s, node)->is_connected)
			continue;
		s->stats.links_cut++;
		managers_unsubscribe(s, node);
		sim_at(s, s->now_us + random_below(&s->trouble, LINK_BACK_US), EVENT_CONNECT, node);
	}
}

static void revoke(struct sim *s, uint32_t n)
{
	for (uint32_t i = 0; i < n && managers_lead(s); i++) {
		struct ip_addr dip = ip_addr_from_v4(dip_address((uint32_t)random_below(&s->trouble, s->options.n_dips)));
		struct lease_list leases = { 0 };
		CHECK(snat_state_list_of_dip(&s->state.snat, &dip, &leases) == 0);
		if (leases.n > 0) {
			const struct lease *l = &leases.items[random_below(&s->trouble, leases.n)];
			managers_revoke(s, &(struct snat_op){ .kind = SNAT_REVOKE, .vip = l->vip, .first_port = l->first_port });
		}
		lease_list_fini(&leases);
	}
}

// VMs are detached, and attached again after a while: where they were, or on another host.
static void detach(struct sim *s, const struct churn_item *item)
{
	for (uint32_t i = 0; i < amount_of(item, s->options.n_dips) && managers_lead(s); i++) {
		uint32_t vm = (uint32_t)random_below(&s->trouble, s->options.n_dips);
		if (!s->vms[vm].is_alive || s->vms[vm].is_flapping)
			continue;
		s->vms[vm].is_alive = false;
		s->vms[vm].is_flapping = true;
		s->vms[vm].asks_us = 0;
		managers_detach(s, vm);
		vm_forget(s, vm);
		put_off(s, LATER_VM_BACK, vm, s->now_us + random_below(&s->trouble, us_of(item->period_s) * 2));
	}
}

static void attach(struct sim *s, uint32_t vm)
{
	uint32_t host = (uint32_t)random_below(&s->trouble, s->options.n_hosts);
	if (s->hosts[host].is_alive && random_below(&s->trouble, 2) == 0)
		s->vms[vm].host = host;
	s->vms[vm].is_flapping = false;
	s->vms[vm].is_alive = s->hosts[s->vms[vm].host].is_alive;
	if (s->vms[vm].is_alive)
		managers_attach(s, vm);
}

static void be_late(struct sim *s, const struct churn_item *item)
{
	for (uint32_t node = 0; node < s->options.n_muxes + s->options.n_hosts; node++) {
		struct subscriber *sub =
			node < s->options.n_muxes ? &s->muxes[node].subscriber : &s->hosts[node - s->options.n_muxes].subscriber;
		if (random_below(&s->trouble, 4) != 0)
			continue;
		sub->late_us = us_of(item->amount);
		sub->late_until_us = s->now_us + us_of(item->period_s / 2);
	}
}

// ---- The plan ----

static void act(struct sim *s, const struct churn_item *item)
{
	switch (item->action) {
	case CHURN_MUX_KILL: kill_muxes(s, item); break;
	case CHURN_MUX_HANG: hang_mux(s, item->amount); break;
	case CHURN_DIPS: change_dips(s, amount_of(item, s->options.n_dips)); break;
	case CHURN_DRAIN: change_drains(s, amount_of(item, s->options.n_dips)); break;
	case CHURN_FLAP: flap(s, amount_of(item, s->options.n_dips)); break;
	case CHURN_WEIGHTS: change_weights(s, amount_of(item, s->options.n_dips)); break;
	case CHURN_HOST_KILL: kill_hosts(s, amount_of(item, s->options.n_hosts)); break;
	case CHURN_AGENT_RESTART: restart_agents(s, amount_of(item, s->options.n_hosts), true); break;
	case CHURN_AGENT_LOSE: restart_agents(s, amount_of(item, s->options.n_hosts), false); break;
	case CHURN_LEADER: lose_leader(s, item->amount); break;
	case CHURN_LATE: be_late(s, item); break;
	case CHURN_LINK: cut_links(s, amount_of(item, n_nodes(s))); break;
	case CHURN_REVOKE: revoke(s, item->amount); break;
	case CHURN_DETACH: detach(s, item); break;
	case CHURN_ACTIONS: break;
	}
}

void churn_on_item(struct sim *s, uint32_t item)
{
	const struct churn_item *i = &s->options.churn[item];
	if (s->n_over == s->options.n_connections)
		return;
	act(s, i);
	sim_at(s, s->now_us + us_of(i->period_s), EVENT_CHURN, item);
}

void churn_start(struct sim *s)
{
	for (uint32_t i = 0; i < s->options.n_churn; i++)
		sim_at(s, s->arrivals_us + us_of(s->options.churn[i].first_s), EVENT_CHURN, i);
}

static void take_host_out(struct sim *s, uint32_t host)
{
	for (uint32_t i = 0; i < s->options.n_dips; i++) {
		if (s->vms[i].host != host)
			continue;
		s->vms[i].is_in = false;
		s->vms[i].is_drained = false;
		managers_put_vip(s, s->vms[i].vip);
		managers_detach(s, i);
	}
}

void churn_on_later(struct sim *s, uint32_t later)
{
	struct later l = s->laters[later];
	s->laters[later].is_used = false;
	if (s->leaderless_until_us > s->now_us) { // the operator tries again
		put_off(s, l.kind, l.idx, s->leaderless_until_us + random_below(&s->trouble, 500000));
		return;
	}
	switch (l.kind) {
	case LATER_VIP: managers_put_vip(s, l.idx); break;
	case LATER_DIPS_BACK:
		s->vms[l.idx].is_in = s->vms[l.idx].is_alive;
		s->vms[l.idx].is_flapping = false;
		managers_put_vip(s, s->vms[l.idx].vip);
		break;
	case LATER_HOST_OUT: take_host_out(s, l.idx); break;
	case LATER_VM_BACK: attach(s, l.idx); break;
	}
}
