// A host's SNAT: between the agent's core and the leader the product's own control (hostagent/io/snat_control.c), whose data
// plane this is; frames that wait for ports are held and submitted again as hostagent/dpdk/loop.c does it.
#include <string.h>

#include "common/base/check.h"
#include "common/base/memory.h"
#include "common/io/log.h"
#include "hostagent/core/agent.h"
#include "hostagent/core/hold_queue.h"
#include "hostagent/io/snat_control.h"
#include "tests/sim/snat.h"

#define SAVE_US 200000 // from a change of the leases until it is in the file
#define TICK_US 100000
#define CONTROL_TICKS 10 // of the world, from one of the control to the next
#define HELD_MAX 4096

struct data_plane { // as the control sees it
	struct sim *s;
	uint32_t host;
};

struct agent_side {
	struct data_plane dp;
	struct snat *snat;
	struct snat_control control;
	struct hold_queue held;
	struct snat_image saved;
	bool is_saved; // something ever was
	uint64_t saved_seen_us; // when there was a leader last, by the file
	uint64_t save_us; // when it is saved next; 0: nothing has changed
	uint32_t n_ticks;
	bool is_in_turn;
};

static uint64_t now_ms(const struct sim *s)
{
	return s->now_us / 1000;
}

// ---- The data plane of the control ----

static uint32_t number_of(const struct sim *s, be32 dip)
{
	uint32_t i = be32_to(dip) - DIP_BASE;
	CHECK(i < s->options.n_dips);
	return i;
}

static void note_answered(struct sim *s, const struct snat_order *o)
{
	struct sim_vm *vm = &s->vms[number_of(s, o->dip)];
	if (o->seq == vm->ask_seq)
		vm->asks_us = 0;
}

uint32_t data_plane_send_orders(struct data_plane *dp, const struct snat_order *orders, uint32_t n)
{
	struct sim *s = dp->s;
	for (uint32_t i = 0; i < n; i++) {
		struct snat_order o = orders[i];
		if (o.kind == SNAT_ORDER_LEASE && sim_is_sabotaged(s, "shifted-leases") && o.epoch % 8 == 0)
			o.first_port ^= o.n_ports;
		if (o.kind == SNAT_ORDER_ANSWERED)
			note_answered(s, &o);
		else if (o.kind == SNAT_ORDER_LEASE || o.kind == SNAT_ORDER_END)
			truth_on_order(s, dp->host, &o);
		agent_snat_order(host_agent(s, dp->host), &o);
	}
	return n;
}

static void note_wanted(struct sim *s, const struct snat_report *r)
{
	struct sim_vm *vm = &s->vms[number_of(s, r->dip)];
	if (r->seq == vm->ask_seq)
		return;
	vm->ask_seq = r->seq;
	vm->asks_us = s->now_us;
}

bool data_plane_next_report(struct data_plane *dp, struct snat_report *ret_report)
{
	if (!agent_snat_next_report(host_agent(dp->s, dp->host), ret_report))
		return false;
	if (ret_report->kind == SNAT_REPORT_WANTED)
		note_wanted(dp->s, ret_report);
	else if (ret_report->kind == SNAT_REPORT_RETURNED)
		truth_on_returned(dp->s, ret_report->vip, ret_report->first_port, ret_report->epoch);
	return true;
}

static int send_to_leader(const struct message *m, void *user)
{
	struct data_plane *dp = user;
	links_to_leader(dp->s, node_of_host(dp->s, dp->host), m);
	return 0;
}

// ---- Frames ----

static void drop(struct sim *s, uint32_t host, struct packet *p, enum drop_reason reason)
{
	TRACE(s, p->outbound, "    host %u drops it: %s", host, drop_reason_name(reason));
	counter_add(&host_agent(s, host)->counters.drops[reason], 1);
	packet_give_back(s, p);
}

static void hold(struct sim *s, uint32_t host, uint16_t slot, const struct held_frame *frame)
{
	struct packet *gone = hold_queue_put(&s->hosts[host].snat->held, slot, frame);
	if (gone != NULL)
		drop(s, host, gone, DROP_SNAT_HOLD_FULL);
}

// What the agent could not send: with an answer for the VM, or without. A TCP's RST speaks for itself.
static void note_refusal(struct sim *s, struct packet *p, const struct agent_packet *ap)
{
	struct connection *c = &s->connections[p->outbound];
	bool is_for_want = ap->reason == DROP_SNAT_EXHAUSTED || ap->reason == DROP_SNAT_HOLD_TIMEOUT;
	TRACE(s, p->outbound, "    refused: %s", drop_reason_name(ap->reason));
	if (is_for_want && !c->was_opened)
		c->refusal = (uint8_t)ap->reason;
	if (is_for_want && ap->verdict == AGENT_TO_VM && c->protocol == IP_PROTO_UDP)
		client_refused(s, p->outbound);
}

static void deliver_refusal(struct sim *s, struct packet *p, const struct agent_packet *ap)
{
	note_refusal(s, p, ap);
	if (s->connections[p->outbound].protocol == IP_PROTO_UDP)
		packet_give_back(s, p); // an ICMP error
	else
		host_forward(s, p, ap);
}

static void on_verdict(struct sim *s, uint32_t host, struct packet *p, const struct agent_packet *ap,
                       const struct held_frame *frame)
{
	if (ap->verdict == AGENT_HOLD && ap->held_too_long) {
		s->connections[p->outbound].refusal = DROP_SNAT_HOLD_TIMEOUT;
		drop(s, host, p, DROP_SNAT_HOLD_TIMEOUT);
	} else if (ap->verdict == AGENT_HOLD) {
		if (!ap->was_held)
			TRACE(s, p->outbound, "    host %u holds it", host);
		hold(s, host, ap->hold_slot, frame);
	} else if (ap->reason != DROP_NONE && ap->verdict == AGENT_TO_VM) {
		deliver_refusal(s, p, ap);
	} else if (ap->verdict == AGENT_DROP) {
		note_refusal(s, p, ap);
		packet_give_back(s, p);
	} else {
		host_forward(s, p, ap);
	}
}

static void submit(struct sim *s, uint32_t host, const struct held_frame *frame, bool was_held, bool held_too_long)
{
	struct packet *p = frame->frame;
	struct agent_packet ap = { .frame = packet_frame(p),
		                       .len = p->len,
		                       .port = frame->port,
		                       .was_held = was_held,
		                       .held_too_long = held_too_long };
	agent_outbound(host_agent(s, host), &ap, 1);
	on_verdict(s, host, p, &ap, frame);
}

static void submit_slot(struct sim *s, uint32_t host, uint16_t slot)
{
	struct hold_queue *q = &s->hosts[host].snat->held;
	struct held_frame frame;
	for (uint32_t n = hold_queue_count(q, slot); n > 0 && hold_queue_take(q, slot, &frame); n--)
		submit(s, host, &frame, true, false);
}

static void submit_expired(struct sim *s, uint32_t host)
{
	struct mono_time since = mono_from_us(s->now_us - SNAT_HOLD_US);
	struct held_frame frame;
	uint16_t slot;
	uint32_t cursor = 0;
	while (hold_queue_take_expired(&s->hosts[host].snat->held, since, &cursor, &slot, &frame))
		submit(s, host, &frame, true, true);
}

// As take_view of the loop: frames of VMs that have gone, or all.
static void free_held(struct sim *s, uint32_t host, bool is_all)
{
	struct hold_queue *q = &s->hosts[host].snat->held;
	const struct agent_config *config = host_agent(s, host)->config;
	for (uint32_t slot = 0; q->n > 0 && slot < q->n_slots; slot++) {
		struct held_frame frame;
		for (uint32_t n = hold_queue_count(q, (uint16_t)slot); n > 0 && hold_queue_take(q, (uint16_t)slot, &frame);
		     n--) {
			struct packet *p = frame.frame;
			be32 source = load32(packet_frame(p) + ETH_BYTES + 12);
			if (is_all || agent_config_lookup_dip(config, source) != frame.port)
				drop(s, host, p, DROP_VM_NOT_READY);
			else
				hold(s, host, (uint16_t)slot, &frame);
		}
	}
}

// ---- Turns ----

static void save_soon(struct sim *s, struct agent_side *a)
{
	if (a->save_us == 0)
		a->save_us = s->now_us + SAVE_US;
}

// The end of the loop's turn, and what the control does with what it reports.
static void turn(struct sim *s, uint32_t host)
{
	struct agent_side *a = s->hosts[host].snat;
	uint64_t n_returned = a->control.counters.snat_leases_returned;
	uint16_t slot;
	if (a->is_in_turn)
		return;
	a->is_in_turn = true; // what is answered to a VM may make it send
	(void)snat_control_send_orders(&a->control);
	while (agent_snat_next_ready(host_agent(s, host), &slot))
		submit_slot(s, host, slot);
	snat_control_on_reports(&a->control, now_ms(s));
	if (a->control.counters.snat_leases_returned != n_returned)
		save_soon(s, a);
	a->is_in_turn = false;
}

void agent_side_outbound(struct sim *s, uint32_t host, uint16_t port, struct packet *p)
{
	struct held_frame frame = { .frame = p, .since = sim_now(s), .port = port };
	submit(s, host, &frame, false, false);
	turn(s, host);
}

void agent_side_on_update(struct sim *s, uint32_t host, struct distribution_update *u, bool is_news)
{
	struct agent_side *a = s->hosts[host].snat;
	bool is_changed = false;
	if (a == NULL)
		return;
	struct update update = { .from_version = u->from_version,
		                     .to_version = u->to_version,
		                     .lease_version = u->lease_version,
		                     .replaces_leases = u->replaces_leases,
		                     .leases = u->leases };
	free_held(s, host, false);
	agent_set_now(host_agent(s, host), sim_now(s));
	if (u->changes.n > 0 || u->from_version == 0)
		CHECK(snat_control_on_config(&a->control, &s->hosts[host].store) == 0);
	if (is_news)
		CHECK(snat_control_on_update(&a->control, &update, &is_changed) == 0);
	(void)snat_control_send_orders(&a->control);
	if (!a->control.is_up)
		snat_control_on_link(&a->control, true, now_ms(s));
	if (is_changed || u->changes.n > 0)
		save_soon(s, a);
	turn(s, host);
}

void agent_side_on_message(struct sim *s, uint32_t host, const struct message *m)
{
	if (m->type != MESSAGE_SNAT_REPLY || !host_is_up(s, host))
		return;
	agent_set_now(host_agent(s, host), sim_now(s));
	snat_control_on_reply(&s->hosts[host].snat->control, m, now_ms(s));
	turn(s, host);
}

void agent_side_on_link(struct sim *s, uint32_t host, bool is_up)
{
	struct agent_side *a = s->hosts[host].snat;
	if (a == NULL || a->control.is_up == is_up)
		return;
	agent_set_now(host_agent(s, host), sim_now(s));
	snat_control_on_link(&a->control, is_up, now_ms(s));
	save_soon(s, a);
	turn(s, host);
}

static void save(struct sim *s, struct agent_side *a)
{
	if (a->is_saved)
		snat_image_fini(&a->saved);
	CHECK(snat_control_get(&a->control, &a->saved) == 0);
	a->is_saved = true;
	a->saved_seen_us = a->control.is_up ? s->now_us : a->control.seen_ms * 1000;
	a->save_us = 0;
	snat_control_on_saved(&a->control);
}

void agent_side_tick(struct sim *s, uint32_t host)
{
	struct agent_side *a = s->hosts[host].snat;
	struct agent *agent = host_agent(s, host);
	if (a == NULL)
		return;
	agent_set_now(agent, sim_now(s));
	agent_snat_tend(agent, sim_now(s), TICK_US);
	submit_expired(s, host);
	if (++a->n_ticks % CONTROL_TICKS == 0)
		snat_control_tick(&a->control, cluster_settings_default().snat_gone_s, now_ms(s));
	if (a->save_us != 0 && a->save_us <= s->now_us)
		save(s, a);
	turn(s, host);
}

// ---- Life ----

static void begin(struct sim *s, uint32_t host)
{
	struct agent_side *a = s->hosts[host].snat;
	struct snat_limits limits = { .n_dips = 256, .n_blocks = 16384, .n_destinations = 16384, .n_mappings = 16384 };
	struct snat_control_config config = { .dp = &a->dp, .names = s->names, .send = send_to_leader, .user = &a->dp };
	struct agent *agent = host_agent(s, host);
	uint64_t seed = hash_mix64(s->options.seed ^ (uint64_t)host << 16);
	CHECK(snat_create(&limits, seed, sim_wall_us(s), sim_now(s), &a->snat, NULL) == 0);
	CHECK(hold_queue_init(&a->held, limits.n_dips, HELD_MAX) == 0);
	agent->snat = a->snat;
	agent_set_now(agent, sim_now(s));
	snat_control_init(&a->control, &config, now_ms(s));
	truth_on_process(s, host);
}

void agent_side_create(struct sim *s, uint32_t host)
{
	struct agent_side *a = memory_array(1, sizeof *a);
	CHECK(a != NULL);
	log_set_level(LOG_ERROR);
	a->dp = (struct data_plane){ .s = s, .host = host };
	s->hosts[host].snat = a;
	begin(s, host);
}

static void finish(struct sim *s, uint32_t host)
{
	struct agent_side *a = s->hosts[host].snat;
	struct held_frame frame;
	for (uint32_t slot = 0; a->held.n > 0 && slot < a->held.n_slots; slot++)
		while (hold_queue_take(&a->held, (uint16_t)slot, &frame))
			packet_give_back(s, frame.frame);
	hold_queue_fini(&a->held);
	snat_control_fini(&a->control);
	snat_destroy(a->snat);
}

void agent_side_destroy(struct sim *s, uint32_t host)
{
	struct agent_side *a = s->hosts[host].snat;
	if (a == NULL)
		return;
	finish(s, host);
	if (a->is_saved)
		snat_image_fini(&a->saved);
	memory_free(a);
	s->hosts[host].snat = NULL;
}

// Requests of the process before are nobody's any more.
static void forget_requests(struct sim *s, uint32_t host)
{
	for (uint32_t i = 0; i < s->options.n_dips; i++)
		if (s->vms[i].host == host)
			s->vms[i].asks_us = 0;
}

void agent_side_restart(struct sim *s, uint32_t host)
{
	struct agent_side *a = s->hosts[host].snat;
	if (a == NULL)
		return;
	finish(s, host);
	forget_requests(s, host);
	begin(s, host);
	if (!a->is_saved)
		return;
	uint64_t unseen_ms = (s->now_us - a->saved_seen_us) / 1000;
	CHECK(snat_control_load(&a->control, &a->saved, unseen_ms, now_ms(s)) == 0);
	a->save_us = 0;
	turn(s, host);
}

void agent_side_collect(struct sim *s, uint32_t host)
{
	const struct agent_side *a = s->hosts[host].snat;
	if (a == NULL)
		return;
	s->stats.snat_asked += a->control.counters.snat_requests;
}

const struct lease_set *agent_side_leases(const struct sim *s, uint32_t host)
{
	return &s->hosts[host].snat->control.leases;
}
