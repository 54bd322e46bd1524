// Random orders, packets and time against a naive model: the leases as an array, the flows as the flow table has them, every
// count made anew from them.
#include <stdio.h>
#include <stdlib.h>

#include "hostagent/core/snat_state.h"
#include "tests/support/suite.h"
#include "tests/unit/hostagent/fixture.h"
#include "tests/unit/hostagent/flow_block.h"

#define N_FLOWS 600
#define LEASES_MAX 64
#define HELD_MAX 64

static const char *const dips[] = { "10.1.1.11", "10.1.1.12" };
static const char *const vips[] = { "203.0.113.20", "203.0.113.21" };
static be32 dip_addr[2];
static be32 vip_addr[2];
static const struct snat_policy policy = {
	.range_size = 8, .first_port = 1024, .prealloc_ports = 16, .max_ports_per_dip = 64, .idle_s = 40
};

struct model_lease {
	uint32_t vip; // index
	uint32_t dip; // index
	uint16_t first_port;
	uint32_t epoch;
	bool is_returned;
};

struct held_frame {
	struct test_frame frame;
	uint16_t port;
	uint16_t slot;
	struct mono_time since;
};

struct model {
	struct agent_fixture f;
	uint64_t seed;
	uint32_t next_epoch;
	uint32_t n_leases;
	struct model_lease leases[LEASES_MAX];
	uint32_t n_held;
	struct held_frame held[HELD_MAX];
	uint64_t asked_seq[2]; // 0: nothing is asked
	uint64_t last_seq;
	uint32_t n_left;
	uint32_t n_returned;
	uint32_t n_refused;
	uint32_t n_apart; // flows that were seen on leases that had ended
};

// ---- What the model knows ----

static struct model_lease *lease_of(struct model *m, be32 vip, uint16_t port)
{
	for (uint32_t i = 0; i < m->n_leases; i++) {
		struct model_lease *l = &m->leases[i];
		if (vip_addr[l->vip] == vip && l->first_port == port / 8 * 8)
			return l;
	}
	return NULL;
}

static uint32_t ports_of(const struct model *m, uint32_t dip, int vip)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < m->n_leases; i++)
		if (m->leases[i].dip == dip && !m->leases[i].is_returned && (vip < 0 || m->leases[i].vip == (uint32_t)vip))
			n += 8;
	return n;
}

static bool is_snat(const struct flow_entry *e)
{
	return e->state != FLOW_FREE && flow_entry_is_snat(e);
}

static uint32_t flows_on(const struct model *m, const struct model_lease *l)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < N_FLOWS; i++) {
		const struct flow_entry *e = &m->f.agent.flows.entries[i];
		n += is_snat(e) && e->dip == dip_addr[l->dip] && e->vip == vip_addr[l->vip] &&
		     be16_to(e->vip_port) / 8 * 8 == l->first_port;
	}
	return n;
}

// Is the flow on a port that its DIP has leased now?
static bool is_on_lease(struct model *m, const struct flow_entry *e)
{
	const struct model_lease *l = lease_of(m, e->vip, be16_to(e->vip_port));
	return l != NULL && !l->is_returned && dip_addr[l->dip] == e->dip;
}

static uint32_t uses_of(struct model *m, be32 dip, be32 remote, be16 remote_port)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < N_FLOWS; i++) {
		const struct flow_entry *e = &m->f.agent.flows.entries[i];
		n += is_snat(e) && e->protocol == IP_PROTO_TCP && e->dip == dip && e->remote == remote &&
		     e->remote_port == remote_port && is_on_lease(m, e);
	}
	return n;
}

// ---- What must hold at any time ----

static void check_pair(const struct flow_entry *a, const struct flow_entry *b)
{
	if (a->protocol != b->protocol)
		return;
	bool same_outside = a->vip == b->vip && a->vip_port == b->vip_port;
	bool same_inside = a->dip == b->dip && a->dip_port == b->dip_port;
	if (!same_outside)
		return;
	ck_assert_msg(a->remote != b->remote || a->remote_port != b->remote_port, "a 5-tuple twice");
	ck_assert_msg(a->protocol == IP_PROTO_TCP || same_inside, "a mapping is shared");
}

static uint32_t count_ports(const struct model *m, uint32_t dip)
{
	bool used[2][2048] = { 0 }; // ports up to 1216 are leased
	uint32_t n = 0;
	for (uint32_t i = 0; i < N_FLOWS; i++) {
		const struct flow_entry *e = &m->f.agent.flows.entries[i];
		if (!is_snat(e) || e->dip != dip_addr[dip])
			continue;
		const struct model_lease *l = lease_of((struct model *)m, e->vip, be16_to(e->vip_port));
		if (l == NULL || l->dip != dip || l->is_returned || used[l->vip][be16_to(e->vip_port)])
			continue;
		used[l->vip][be16_to(e->vip_port)] = true;
		n++;
	}
	return n;
}

static void check_dip(struct model *m, uint32_t dip)
{
	struct snat_dip_status st = { 0 };
	for (uint32_t i = 0; i < snat_slots(m->f.agent.snat); i++)
		if (snat_read_dip(m->f.agent.snat, (uint16_t)i, &st) && st.dip == dip_addr[dip])
			break;
	if (st.dip != dip_addr[dip])
		memset(&st, 0, sizeof st);
	uint32_t n_flows = 0;
	for (uint32_t i = 0; i < N_FLOWS; i++)
		n_flows += is_snat(&m->f.agent.flows.entries[i]) && m->f.agent.flows.entries[i].dip == dip_addr[dip];
	ck_assert_uint_eq(st.flows, n_flows);
	ck_assert_uint_eq(st.leased_ports, ports_of(m, dip, -1));
	ck_assert_uint_eq(st.used_ports, count_ports(m, dip));
	for (uint32_t i = 0; i < st.n_busiest; i++)
		ck_assert_uint_eq(st.busiest[i].n_ports,
		                  uses_of(m, st.dip, ip_addr_to_v4(&st.busiest[i].remote), st.busiest[i].remote_port));
}

// What is used of the leases of now is known exactly, towards each destination.
static void check_destinations(struct model *m)
{
	const struct snat *s = m->f.agent.snat;
	uint32_t n = 0;
	uint32_t n_all_uses = 0;
	uint32_t n_all_flows = 0;
	for (uint32_t i = 0; i <= s->destination_mask; i++) {
		const struct snat_destination *d = &s->destinations[i];
		if (d->n_used == 0)
			continue;
		ck_assert_uint_eq(d->n_used, uses_of(m, s->dips[d->slot].dip, d->remote, d->remote_port));
		n_all_uses += d->n_used;
		ck_assert_ptr_eq(snat_destination_lookup(s, d->slot, d->remote, d->remote_port), d);
		n++;
	}
	ck_assert_uint_eq(n, s->n_destinations);
	for (uint32_t i = 0; i < N_FLOWS; i++) {
		const struct flow_entry *e = &m->f.agent.flows.entries[i];
		bool is_tcp = is_snat(e) && e->protocol == IP_PROTO_TCP;
		n_all_flows += is_tcp && is_on_lease(m, e);
		m->n_apart += is_tcp && !is_on_lease(m, e);
	}
	ck_assert_uint_eq(n_all_uses, n_all_flows);
}

static void check_all(struct model *m)
{
	static const struct flow_entry *flows[N_FLOWS];
	uint32_t n = 0;
	snat_settle(m->f.agent.snat, &m->f.agent.flows); // as with the next flow, or the next tend
	for (uint32_t i = 0; i < N_FLOWS; i++)
		if (is_snat(&m->f.agent.flows.entries[i]))
			flows[n++] = &m->f.agent.flows.entries[i];
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t k = i + 1; k < n; k++)
			check_pair(flows[i], flows[k]);
	check_dip(m, 0);
	check_dip(m, 1);
	check_destinations(m);
}

// ---- Packets ----

static struct flow_entry *flow_of_vm(struct model *m, const struct agent_packet *p)
{
	struct parsed ip;
	if (parse_ip4(p->frame, p->len, ETH_BYTES, &ip) != DROP_NONE)
		return NULL;
	if (ip.protocol == IP_PROTO_ICMP)
		ip.src_port = load16(p->frame + ip.l4_off + 4);
	struct flow_key key = flow_key_make(ip.src, ip.dst, ip.src_port, ip.dst_port, ip.protocol, FLOW_REPLY);
	return flow_table_lookup(&m->f.agent.flows, &key, flow_table_hash(&m->f.agent.flows, &key));
}

static struct test_frame random_frame(struct model *m, uint32_t dip)
{
	static const char *const remotes[] = { "198.51.100.9", "198.51.100.10", "203.0.113.20" };
	static const uint8_t flags[] = {
		TCP_SYN, TCP_SYN, TCP_SYN, TCP_ACK, TCP_RST, TCP_FIN | TCP_ACK, TCP_SYN | TCP_ACK
	};
	uint32_t remote = random_below(&m->seed, 10) < 8 ? 0 : random_below(&m->seed, 3);
	struct test_tuple t = vm_tuple(dips[dip], (uint16_t)(50000 + random_below(&m->seed, 80)), remotes[remote],
	                               (uint16_t)(443 + random_below(&m->seed, 2)));
	switch (random_below(&m->seed, 8)) {
	case 0: return test_udp(&t, "query", 5);
	case 1: t.src_port = (uint16_t)(50000 + random_below(&m->seed, 8)); return test_udp(&t, "query", 5);
	case 2: {
		uint16_t id = t.src_port;
		t.src_port = t.dst_port = 0;
		return test_icmp(&t, ICMP_ECHO, 0, id, 1, "ping", 4);
	}
	case 3: {
		struct test_frame f = test_udp(&t, "query", 5);
		test_set_fragment(&f, (uint16_t)random_below(&m->seed, 2), true);
		return f;
	}
	default: return test_tcp(&t, flags[random_below(&m->seed, 7)], NULL, 0);
	}
}

static void hold(struct model *m, const struct test_frame *frame, uint16_t port, uint16_t slot, struct mono_time since)
{
	if (m->n_held == HELD_MAX)
		return; // dropped
	m->held[m->n_held++] = (struct held_frame){ .frame = *frame, .port = port, .slot = slot, .since = since };
}

static void check_left(struct model *m, const struct agent_packet *p, uint32_t dip, bool was_known)
{
	const uint8_t *ip = p->frame + ETH_BYTES;
	be32 src = load32(ip + 12);
	m->n_left++;
	ck_assert_msg(src == vip_addr[0] || src == vip_addr[1], "it left with an address that is no VIP");
	ck_assert(test_checksums_ok(p->frame, p->len, NULL));
	if (was_known)
		return;
	const struct model_lease *l = lease_of(m, src, be16_to(load16(ip + IP4_BYTES + (ip[9] == IP_PROTO_ICMP ? 4 : 0))));
	ck_assert_msg(l != NULL && l->dip == dip && !l->is_returned, "it began on a port that is not leased");
}

// Where a DIP:port of UDP or ICMP is mapped to by a flow on a lease of now; NULL when it is not.
static const struct flow_entry *mapping_of(struct model *m, const struct flow_entry *of)
{
	for (uint32_t i = 0; i < N_FLOWS; i++) {
		const struct flow_entry *e = &m->f.agent.flows.entries[i];
		if (e == of || !is_snat(e) || e->protocol != of->protocol || e->dip != of->dip || e->dip_port != of->dip_port)
			continue;
		const struct model_lease *l = lease_of(m, e->vip, be16_to(e->vip_port));
		if (l != NULL && !l->is_returned && dip_addr[l->dip] == e->dip)
			return e;
	}
	return NULL;
}

// A new mapping is made only when there is none on a lease of now.
static void check_mapping(struct model *m, const struct flow_entry *e)
{
	if (e == NULL || e->protocol == IP_PROTO_TCP)
		return;
	const struct flow_entry *other = mapping_of(m, e);
	if (other == NULL || (other->vip == e->vip && other->vip_port == e->vip_port))
		return;
	// Two on leases of now: one of them was made while the lease of the other had ended.
	uint32_t n_same = 0;
	for (uint32_t i = 0; i < N_FLOWS; i++) {
		const struct flow_entry *k = &m->f.agent.flows.entries[i];
		n_same += k != e && is_snat(k) && k->protocol == e->protocol && k->dip == e->dip &&
		          k->dip_port == e->dip_port && k->vip == e->vip && k->vip_port == e->vip_port;
	}
	ck_assert_msg(n_same > 0, "a second mapping of one DIP:port");
}

static void submit(struct model *m, struct test_frame *frame, uint16_t port, bool was_held, bool is_late,
                   struct mono_time since)
{
	struct test_frame before = *frame;
	struct agent_packet p = {
		.frame = test_data(frame), .len = frame->len, .port = port, .was_held = was_held, .held_too_long = is_late
	};
	const struct flow_entry *known = flow_of_vm(m, &p);
	bool is_known_and_goes_on = known != NULL;
	uint32_t n_begun = (uint32_t)m->f.agent.counters.snat_flows;
	agent_outbound(&m->f.agent, &p, 1);
	bool has_begun = m->f.agent.counters.snat_flows != n_begun;
	switch (p.verdict) {
	case AGENT_TO_UPLINK:
		check_left(m, &p, port, is_known_and_goes_on && !has_begun);
		if (has_begun) {
			struct agent_packet again = { .frame = test_data(&before), .len = before.len };
			check_mapping(m, flow_of_vm(m, &again));
		}
		break;
	case AGENT_HOLD:
		ck_assert_msg(!is_late, "held for ever");
		ck_assert_msg(memcmp(&before, frame, sizeof before) == 0, "a held frame was changed");
		hold(m, frame, port, p.hold_slot, since);
		break;
	case AGENT_TO_VM:
		ck_assert(test_checksums_ok(p.frame, p.len, NULL));
		m->n_refused++;
		break;
	case AGENT_DROP: break;
	case AGENT_HOLD_FRAGMENT:
	case AGENT_TO_TAP: ck_abort_msg("a VM's packet to the tap");
	}
}

static void send_random(struct model *m)
{
	uint32_t dip = random_below(&m->seed, 2);
	struct test_frame frame = random_frame(m, dip);
	submit(m, &frame, (uint16_t)dip, false, false, m->f.agent.now);
}

// An answer from outside to one of the flows.
static void receive_random(struct model *m)
{
	const struct flow_entry *e = &m->f.agent.flows.entries[random_below(&m->seed, N_FLOWS)];
	if (!is_snat(e) || e->protocol != IP_PROTO_TCP)
		return;
	static const uint8_t flags[] = { TCP_SYN | TCP_ACK, TCP_ACK, TCP_RST | TCP_ACK, TCP_FIN | TCP_ACK };
	char text[3][32];
	for (uint32_t i = 0; i < 3; i++) {
		be32 addr = i == 0 ? e->remote : i == 1 ? e->vip : e->dip;
		const uint8_t *b = (const uint8_t *)&addr;
		snprintf(text[i], sizeof text[i], "%u.%u.%u.%u", b[0], b[1], b[2], b[3]);
	}
	struct test_tuple t = {
		.src = text[0], .dst = text[1], .src_port = be16_to(e->remote_port), .dst_port = be16_to(e->vip_port)
	};
	be32 dip = e->dip;
	struct test_frame inner = test_tcp(&t, flags[random_below(&m->seed, 4)], NULL, 0);
	struct test_frame frame = fixture_encapsulate("10.0.0.31", text[2], &inner);
	struct agent_packet p = fixture_inbound(&m->f, &frame);
	ck_assert_int_eq(p.verdict, AGENT_TO_VM);
	ck_assert_uint_eq(load32(p.frame + ETH_BYTES + 16), dip);
	ck_assert(test_checksums_ok(p.frame, p.len, NULL));
}

static void serve_ready(struct model *m)
{
	uint16_t slot;
	for (uint32_t n = 0; agent_snat_next_ready(&m->f.agent, &slot); n++) {
		ck_assert_uint_lt(n, 100);
		static struct held_frame taken[HELD_MAX];
		uint32_t n_taken = 0;
		uint32_t n_kept = 0;
		for (uint32_t i = 0; i < m->n_held; i++) {
			if (m->held[i].slot == slot)
				taken[n_taken++] = m->held[i];
			else
				m->held[n_kept++] = m->held[i];
		}
		m->n_held = n_kept;
		for (uint32_t i = 0; i < n_taken; i++)
			submit(m, &taken[i].frame, taken[i].port, true, false, taken[i].since);
	}
}

static void serve_late(struct model *m)
{
	while (m->n_held > 0 && mono_elapsed_us(m->held[0].since, m->f.agent.now) >= SNAT_HOLD_US) {
		struct held_frame late = m->held[0];
		memmove(&m->held[0], &m->held[1], (--m->n_held) * sizeof m->held[0]);
		submit(m, &late.frame, late.port, true, true, late.since);
	}
}

// ---- Orders and reports ----

static void grant(struct model *m, uint32_t dip)
{
	uint32_t vip = dip == 0 ? random_below(&m->seed, 2) : 0;
	uint16_t first_port = (uint16_t)(1024 + 8 * random_below(&m->seed, 24));
	if (m->n_leases == LEASES_MAX || lease_of(m, vip_addr[vip], first_port) != NULL)
		return;
	struct model_lease *l = &m->leases[m->n_leases++];
	*l = (struct model_lease){ .vip = vip, .dip = dip, .first_port = first_port, .epoch = ++m->next_epoch };
	fixture_lease(&m->f, vips[vip], dips[dip], first_port, 8, l->epoch);
	if (random_below(&m->seed, 4) == 0)
		fixture_lease(&m->f, vips[vip], dips[dip], first_port, 8, l->epoch); // repeated
}

static void end_lease(struct model *m, struct model_lease *l)
{
	fixture_end(&m->f, vips[l->vip], dips[l->dip], l->first_port, l->epoch);
	*l = m->leases[--m->n_leases];
}

static void on_returned(struct model *m, const struct snat_report *r)
{
	struct model_lease *l = lease_of(m, r->vip, r->first_port);
	ck_assert_msg(l != NULL && l->epoch == r->epoch && r->dip == dip_addr[l->dip], "a lease that it has not");
	ck_assert_msg(!l->is_returned, "returned twice");
	ck_assert_msg(flows_on(m, l) == 0, "returned with flows");
	l->is_returned = true;
	m->n_returned++;
	ck_assert_msg(ports_of(m, l->dip, (int)l->vip) >= policy.prealloc_ports, "returned what is to be kept");
	if (random_below(&m->seed, 2))
		end_lease(m, l);
}

static void take_reports(struct model *m)
{
	struct snat_report r;
	while (agent_snat_next_report(&m->f.agent, &r)) {
		uint32_t dip = r.dip == dip_addr[0] ? 0 : 1;
		if (r.kind == SNAT_REPORT_RETURNED) {
			on_returned(m, &r);
		} else if (r.kind == SNAT_REPORT_WANTED) {
			ck_assert_uint_ge(r.n_wanted, 1);
			if (m->asked_seq[dip] != r.seq)
				ck_assert_uint_le(r.n_ports + r.n_wanted, (dip == 0 ? 2 : 1) * policy.max_ports_per_dip);
			ck_assert_msg(m->asked_seq[dip] == 0 || m->asked_seq[dip] == r.seq, "two requests at once");
			ck_assert(m->asked_seq[dip] == r.seq || r.seq > m->last_seq);
			m->last_seq = r.seq > m->last_seq ? r.seq : m->last_seq;
			m->asked_seq[dip] = r.seq;
		}
	}
}

static void answer(struct model *m, uint32_t dip)
{
	if (m->asked_seq[dip] == 0)
		return;
	bool is_refused = random_below(&m->seed, 4) == 0;
	for (uint32_t i = 0; !is_refused && i < 3; i++)
		grant(m, dip);
	fixture_answer(&m->f, dips[dip], m->asked_seq[dip], is_refused ? ERR_LIMIT : 0);
	m->asked_seq[dip] = 0;
}

static void pass(struct model *m, uint32_t n_ms)
{
	struct mono_time now = mono_add_us(m->f.agent.now, (uint64_t)n_ms * 1000);
	agent_set_now(&m->f.agent, now);
	agent_expire_flows(&m->f.agent, now, FLOW_SWEEP_US);
	agent_snat_tend(&m->f.agent, now, (uint64_t)n_ms * 1000);
}

// The process is another one: what SNAT knew is made from its leases and the flow table.
static void restart(struct model *m)
{
	struct agent_fixture *f = &m->f;
	struct snat_limits limits = f->agent.snat->limits;
	snat_destroy(f->agent.snat);
	ck_assert_int_eq(snat_create(&limits, random_next(&m->seed), m->last_seq + 1, f->agent.now, &f->agent.snat, NULL),
	                 0);
	m->n_held = 0;
	memset(m->asked_seq, 0, sizeof m->asked_seq);
	for (uint32_t i = m->n_leases; i-- > 0;)
		if (m->leases[i].is_returned) // the managers had it
			m->leases[i] = m->leases[--m->n_leases];
	for (uint32_t i = 0; i < m->n_leases; i++)
		fixture_lease(f, vips[m->leases[i].vip], dips[m->leases[i].dip], m->leases[i].first_port, 8,
		              m->leases[i].epoch);
	struct snat_order rebuild = { .kind = SNAT_ORDER_REBUILD };
	agent_snat_order(&f->agent, &rebuild);
	fixture_link(f, true);
}

static void step(struct model *m)
{
	uint32_t what = random_below(&m->seed, 1000);
	if (what < 600)
		send_random(m);
	else if (what < 750)
		receive_random(m);
	else if (what < 850)
		pass(m, random_below(&m->seed, 300));
	else if (what < 860)
		pass(m, random_below(&m->seed, 20000));
	else if (what < 950)
		answer(m, random_below(&m->seed, 2));
	else if (what < 970)
		grant(m, random_below(&m->seed, 2));
	else if (what < 985 && m->n_leases > 0)
		end_lease(m, &m->leases[random_below(&m->seed, m->n_leases)]);
	else if (what == 999)
		restart(m);
	serve_ready(m);
	serve_late(m);
	take_reports(m);
}

// All flows end, and all counts with them; what is not kept goes back.
static void run_dry(struct model *m)
{
	m->n_held = 0;
	for (uint32_t i = 0; i < 9000; i++) {
		pass(m, 1000);
		take_reports(m);
		answer(m, 0);
		answer(m, 1);
		serve_ready(m);
	}
	check_all(m);
	const struct snat *s = m->f.agent.snat;
	ck_assert_uint_eq(s->n_destinations, 0);
	ck_assert_uint_eq(s->n_mappings, 0);
	uint32_t n_used = 0;
	for (uint32_t i = 0; i < m->n_leases; i++)
		n_used++;
	ck_assert_uint_eq(s->limits.n_blocks - s->n_free_blocks, n_used);
	for (uint32_t dip = 0; dip < 2; dip++)
		for (int vip = 0; vip < 2; vip++)
			ck_assert_uint_le(ports_of(m, dip, vip), policy.prealloc_ports);
}

static void run(uint64_t seed)
{
	printf("snat model: seed %lu", (unsigned long)seed);
	static struct model m;
	memset(&m, 0, sizeof m);
	for (uint32_t i = 0; i < 2; i++) {
		dip_addr[i] = test_ip4(dips[i]);
		vip_addr[i] = test_ip4(vips[i]);
	}
	m.seed = seed * 2654435761u + 1;
	fixture_init(&m.f, N_FLOWS);
	fixture_add_snat(&m.f, &policy);
	for (uint32_t i = 0; i < 20000; i++) {
		step(&m);
		if (i % 100 == 0)
			check_all(&m);
	}
	run_dry(&m);
	printf(" left %u refused %u returned %u\n", m.n_left, m.n_refused, m.n_returned);
	ck_assert_uint_gt(m.n_left, 1000);
	ck_assert_uint_gt(m.n_returned, 0);
	ck_assert_uint_gt(m.n_apart, 1000);
	fixture_fini(&m.f);
}

START_TEST(random_orders_packets_and_time_agree_with_a_naive_model)
{
	for (uint64_t seed = 1; seed <= 4; seed++)
		run(seed);
}
END_TEST

SUITE_MAIN("agent snat model", random_orders_packets_and_time_agree_with_a_naive_model)
