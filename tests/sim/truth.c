// What must hold of SNAT, checked against the managers' state: every range's owner since when, and its last owner until when.
#include <stdarg.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/memory.h"
#include "hostagent/core/agent.h"
#include "hostagent/core/lease_set.h"
#include "tests/sim/snat.h"

#define SETTLED_US 10000000u // what waits for longer, when nothing fails any more, waits for ever

struct unit { // SNAT_UNIT_PORTS ports of a VIP
	be32 dip; // the owner, or the last one; 0: never leased
	uint32_t epoch;
	bool is_held;
	bool was_cut; // ended by an operator
	uint64_t version; // at which it was granted
	uint64_t granted_ms;
	uint64_t ended_ms;
	uint64_t changed_us;
	// What workers have: the last order that gave it.
	uint32_t worker_host; // NONE: no worker has it
	be32 worker_dip;
	uint32_t worker_epoch;
	uint64_t returned_us; // since when the worker gives it back; 0: it does not
};

struct truth {
	uint64_t version; // of the leases, up to which it has been followed
	struct unit *units; // SNAT_UNITS for each VIP
};

void truth_violated(struct sim *s, enum violation v, const char *format, ...)
{
	va_list args;
	uint64_t n = s->stats.violations[v]++;
	if (n >= VIOLATIONS_TRACED || (s->options.n_trace == 0 && s->trace == NULL))
		return;
	fprintf(stderr, "%11.6f s: ", (double)(s->now_us - START_US) / 1e6);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

static struct unit *unit_at(const struct sim *s, be32 vip, uint32_t port)
{
	uint32_t i = be32_to(vip) - VIP_BASE;
	return i < s->options.n_vips ? &s->truth->units[i * SNAT_UNITS + port / SNAT_UNIT_PORTS] : NULL;
}

static uint32_t dip_number(be32 dip)
{
	return be32_to(dip) - DIP_BASE;
}

// ---- grants and ends ----

static void on_grant(struct sim *s, const struct lease *lease, uint64_t version, uint32_t port)
{
	struct unit *u = unit_at(s, ip_addr_to_v4(&lease->vip), port);
	be32 dip = ip_addr_to_v4(&lease->dip);
	uint64_t free_ms = u->ended_ms + s->options.quarantine_s * 1000ull;
	if (u->is_held)
		truth_violated(s, VIOLATION_TWO_OWNERS, "port %u is granted to DIP %u, and DIP %u has it", port,
		               dip_number(dip), dip_number(u->dip));
	else if (u->dip != 0 && lease->granted_ms < free_ms)
		truth_violated(s, VIOLATION_QUARANTINE, "port %u is granted to DIP %u %u ms too early", port, dip_number(dip),
		               (uint32_t)(free_ms - lease->granted_ms));
	u->dip = dip;
	u->epoch = lease->epoch;
	u->is_held = true;
	u->version = version;
	u->granted_ms = lease->granted_ms;
	u->changed_us = s->now_us;
}

static void on_end(struct sim *s, const struct lease *lease, uint32_t port, bool cuts)
{
	struct unit *u = unit_at(s, ip_addr_to_v4(&lease->vip), port);
	u->is_held = false;
	u->ended_ms = lease->ended_ms;
	u->returned_us = 0;
	u->was_cut = cuts;
	u->changed_us = s->now_us;
}

static void cut_connections(struct sim *s, const struct lease *lease)
{
	be32 vip = ip_addr_to_v4(&lease->vip);
	for (uint32_t i = 0; i < s->n_begun; i++) {
		const struct connection *c = &s->connections[i];
		if (c->is_outbound && c->snat_vip == vip && lease_has_port(lease, be16_to(c->snat_port)) &&
		    dip_address(c->vm) == ip_addr_to_v4(&lease->dip))
			client_cut(s, i);
	}
}

void truth_on_applied(struct sim *s, bool cuts)
{
	const struct snat_state *snat = &s->state.snat;
	struct lease lease;
	uint64_t at;
	CHECK(snat_state_seek_changes(snat, s->truth->version, &at) == 0);
	while (snat_state_next_change(snat, &at, snat->version, &lease)) {
		bool is_end = lease.ended_ms != 0;
		for (uint32_t port = lease.first_port; lease_has_port(&lease, port); port += SNAT_UNIT_PORTS) {
			if (is_end)
				on_end(s, &lease, port, cuts);
			else
				on_grant(s, &lease, snat->version, port);
		}
		s->stats.leases_granted += !is_end;
		s->stats.leases_revoked += is_end && cuts;
		s->stats.leases_returned += is_end && !cuts;
		if (is_end && cuts)
			cut_connections(s, &lease);
	}
	s->truth->version = snat->version;
}

// ---- workers ----

// Can the worker begin connections with what it has of this DIP?
static bool is_usable(struct sim *s, uint32_t host, be32 dip)
{
	const struct agent_config *config = host_agent(s, host)->config;
	return s->hosts[host].is_alive && config != NULL && agent_config_lookup_snat(config, dip) != NULL;
}

static void on_given(struct sim *s, uint32_t host, const struct snat_order *o, struct unit *u)
{
	bool is_others = u->worker_host != NONE && u->worker_dip != o->dip && is_usable(s, u->worker_host, u->worker_dip);
	if (is_others)
		truth_violated(s, VIOLATION_TWO_OWNERS, "host %u gives DIP %u port %u, which DIP %u on host %u has still", host,
		               dip_number(o->dip), o->first_port, dip_number(u->worker_dip), u->worker_host);
	u->worker_host = host;
	u->worker_dip = o->dip;
	u->worker_epoch = o->epoch;
	u->returned_us = 0;
}

void truth_on_order(struct sim *s, uint32_t host, const struct snat_order *o)
{
	for (uint32_t port = o->first_port; port < (uint32_t)o->first_port + o->n_ports; port += SNAT_UNIT_PORTS) {
		struct unit *u = unit_at(s, o->vip, port);
		if (o->kind == SNAT_ORDER_LEASE)
			on_given(s, host, o, u);
		else if (o->kind == SNAT_ORDER_END && u->worker_host == host && u->worker_epoch == o->epoch)
			u->worker_host = NONE;
	}
}

void truth_on_returned(struct sim *s, be32 vip, uint16_t first_port, uint32_t epoch)
{
	struct unit *u = unit_at(s, vip, first_port);
	if (u->epoch != epoch || !u->is_held || u->returned_us != 0)
		return;
	u->returned_us = s->now_us;
}

void truth_on_process(struct sim *s, uint32_t host)
{
	for (uint32_t i = 0; i < s->options.n_vips * SNAT_UNITS; i++)
		if (s->truth->units[i].worker_host == host)
			s->truth->units[i].worker_host = NONE;
}

// ---- packets ----

// A connection begins on a port, or goes on on another one. What an operator has just ended the agent may not know yet.
static void check_use(struct sim *s, uint32_t connection, be32 vip, uint16_t port)
{
	const struct unit *u = unit_at(s, vip, port);
	be32 dip = dip_address(s->connections[connection].vm);
	bool is_quarantined = sim_now_ms(s) < u->ended_ms + s->options.quarantine_s * 1000ull;
	if (u->dip == dip && u->is_held)
		return;
	if (u->dip == dip && u->was_cut && is_quarantined)
		client_cut(s, connection);
	else
		truth_violated(s, VIOLATION_TWO_OWNERS, "connection %u of DIP %u begins on VIP %u port %u, which DIP %u %s",
		               connection, dip_number(dip), be32_to(vip) - VIP_BASE, port, dip_number(u->dip),
		               u->is_held ? "has" : "had last");
}

void truth_on_leaving(struct sim *s, const struct packet *p)
{
	struct connection *c = &s->connections[p->outbound];
	const uint8_t *ip = p->bytes + p->offset + ETH_BYTES;
	be32 src = load32(ip + 12);
	be16 port = load16(ip + IP4_BYTES);
	if (unit_at(s, src, be16_to(port)) == NULL) {
		truth_violated(s, VIOLATION_PLAIN, "a packet of connection %u leaves with the source %08x", p->outbound,
		               be32_to(src));
		return;
	}
	if (c->snat_vip == src && c->snat_port == port)
		return;
	TRACE(s, p->outbound, "    it leaves from VIP %u, port %u", be32_to(src) - VIP_BASE, be16_to(port));
	c->snat_vip = src;
	c->snat_port = port;
	check_use(s, p->outbound, src, be16_to(port));
}

void truth_on_steered(struct sim *s, uint32_t mux, uint32_t connection, be32 vip, uint16_t port, be32 dip)
{
	const struct sim_mux *m = &s->muxes[mux];
	const struct unit *u = unit_at(s, vip, port);
	be32 own = dip_address(s->connections[connection].vm);
	if (u == NULL || !u->is_held || u->dip != own || dip == own)
		return;
	if (!m->has_tables || m->is_fenced || u->version <= m->excused_version) {
		s->stats.snat_excused++;
		return;
	}
	truth_violated(s, VIOLATION_NO_LEASE, "mux %u does not know that DIP %u has port %u since version %u", mux,
	               dip_number(own), port, (uint32_t)u->version);
}

// ---- at the end ----

static bool is_settled(const struct sim *s, const struct unit *u)
{
	return s->now_us - u->changed_us > SETTLED_US && (u->returned_us == 0 || s->now_us - u->returned_us < SETTLED_US);
}

static void check_muxes(struct sim *s, uint32_t vip, uint32_t port, const struct unit *u)
{
	for (uint32_t i = 0; i < s->options.n_muxes; i++) {
		be32 has = s->muxes[i].has_tables ? mux_lessee(s, i, vip_address(vip), (uint16_t)port) : 0;
		if (s->muxes[i].is_alive && has != (u->is_held ? u->dip : 0))
			truth_violated(s, VIOLATION_STUCK, "mux %u has VIP %u port %u of DIP %u", i, vip, port, dip_number(has));
	}
}

static void check_agent(struct sim *s, uint32_t vip, uint32_t port, const struct unit *u)
{
	const struct sim_vm *vm = &s->vms[dip_number(u->dip)];
	if (!u->is_held || !vm->is_alive || !s->hosts[vm->host].is_alive)
		return;
	const struct held_lease *h = lease_set_lookup(agent_side_leases(s, vm->host), vip_address(vip), (uint16_t)port);
	if (h == NULL || h->epoch != u->epoch)
		truth_violated(s, VIOLATION_STUCK, "host %u does not have VIP %u port %u of DIP %u", vm->host, vip, port,
		               dip_number(u->dip));
}

static void check_units(struct sim *s)
{
	for (uint32_t vip = 0; vip < s->options.n_vips; vip++) {
		for (uint32_t port = 0; port < 65536; port += SNAT_UNIT_PORTS) {
			const struct unit *u = unit_at(s, vip_address(vip), port);
			if (u->is_held && u->returned_us != 0 && s->now_us - u->returned_us > SETTLED_US)
				truth_violated(s, VIOLATION_STUCK, "VIP %u port %u of DIP %u was given back, and is held still", vip,
				               port, dip_number(u->dip));
			if (u->dip == 0 || !is_settled(s, u))
				continue;
			check_muxes(s, vip, port, u);
			check_agent(s, vip, port, u);
		}
	}
}

void truth_at_end(struct sim *s)
{
	check_units(s);
	for (uint32_t i = 0; i < s->options.n_dips; i++)
		if (s->vms[i].is_alive && s->vms[i].asks_us != 0 && s->now_us - s->vms[i].asks_us > SETTLED_US)
			truth_violated(s, VIOLATION_STUCK, "the request of DIP %u was never answered", i);
	if (leader_n_fenced(s) > 0)
		truth_violated(s, VIOLATION_STUCK, "%u muxes are fenced still", leader_n_fenced(s));
}

// ---- life ----

void truth_create(struct sim *s)
{
	s->truth = memory_array(1, sizeof *s->truth);
	CHECK(s->truth != NULL);
	s->truth->units = memory_array((size_t)s->options.n_vips * SNAT_UNITS, sizeof *s->truth->units);
	CHECK(s->truth->units != NULL);
	for (uint32_t i = 0; i < s->options.n_vips * SNAT_UNITS; i++)
		s->truth->units[i].worker_host = NONE;
}

void truth_destroy(struct sim *s)
{
	memory_free(s->truth->units);
	memory_free(s->truth);
}
