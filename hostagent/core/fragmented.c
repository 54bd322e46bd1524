#include "hostagent/core/fragmented.h"

#include "common/base/check.h"
#include "common/base/memory.h"
#include "common/packet/fragments.h"
#include "common/packet/nat.h"
#include "hostagent/core/verdict.h"

struct agent_fragments {
	struct fragments tables[2]; // by direction: the same datagram may leave and come in on one host
	uint64_t seed;
	uint16_t next_id;
};

struct agent_fragments *agent_fragments_create(uint32_t n_datagrams, uint64_t seed)
{
	size_t table_bytes = fragments_memory_bytes(n_datagrams);
	struct agent_fragments *f = memory_array(1, sizeof *f + 2 * table_bytes);
	if (f == NULL)
		return NULL;
	uint8_t *memory = (uint8_t *)(f + 1);
	f->seed = seed;
	f->next_id = (uint16_t)(seed >> 16);
	for (uint32_t i = 0; i < 2; i++)
		fragments_init(&f->tables[i], n_datagrams, memory + i * table_bytes, hash_mix64(seed + i));
	return f;
}

void agent_fragments_destroy(struct agent_fragments *f)
{
	memory_free(f);
}

// ---- Decisions as the table keeps them ----

static uint64_t pack(const struct fragment_decision *d)
{
	return d->addr | (uint64_t)d->id << 32 | (uint64_t)d->way << 48;
}

static struct fragment_decision unpack(uint64_t packed)
{
	return (struct fragment_decision){ .way = (enum fragment_way)(packed >> 48),
		                               .addr = (be32)packed,
		                               .id = (be16)(packed >> 32) };
}

// ---- The first fragment ----

// All of the TCP header must be there, as in a whole packet (parse.h): a way that cuts it does not exist (RFC 791 section 3.2).
static enum drop_reason check_tcp(const uint8_t *frame, const struct parsed *ip)
{
	const struct tcp_header *tcp = (const struct tcp_header *)(frame + ip->l4_off);
	uint32_t header_bytes = (uint32_t)(tcp->data_offset >> 4) * 4u;
	uint32_t l4_bytes = (uint32_t)ip->l3_off + ip->l3_bytes - ip->l4_off;
	return header_bytes < sizeof *tcp || header_bytes > l4_bytes ? DROP_L4_LENGTH : DROP_NONE;
}

// Outbound a request asks, inbound a reply comes back (RFC 5508 section 3.1); other ICMP has no ports.
static void read_echo(const uint8_t *frame, struct parsed *ip, enum flow_direction direction)
{
	const struct icmp_header *icmp = (const struct icmp_header *)(frame + ip->l4_off);
	if (direction == FLOW_INBOUND && icmp->type == ICMP_ECHO_REPLY)
		ip->dst_port = icmp->id;
	else if (direction == FLOW_REPLY && icmp->type == ICMP_ECHO)
		ip->src_port = icmp->id;
}

static enum drop_reason read_first(const uint8_t *frame, struct parsed *ip, enum flow_direction direction)
{
	fragment_read_ports(frame, ip);
	if (ip->protocol == IP_PROTO_ICMP)
		read_echo(frame, ip, direction);
	if (ip->protocol == IP_PROTO_TCP)
		return check_tcp(frame, ip);
	return packet_has_l4(ip) ? DROP_NONE : DROP_L4_LENGTH;
}

static struct fragment_datagram *take_first(struct agent *a, struct agent_packet *p, enum flow_direction direction,
                                            struct fragment_datagram *d)
{
	enum drop_reason reason = read_first(p->frame, &p->ip, direction);
	if (reason == DROP_NONE)
		return d;
	verdict_drop(a, p, reason);
	fragments_refuse(&a->fragments->tables[direction], d);
	return NULL;
}

struct fragment_datagram *fragmented_take(struct agent *a, struct agent_packet *p, enum flow_direction direction,
                                          bool *ret_goes_on, struct fragment_decision *ret_decision)
{
	struct fragment f;
	struct fragments *t = &a->fragments->tables[direction];
	*ret_goes_on = false;
	enum drop_reason reason = fragment_parse(p->frame, &p->ip, &f);
	if (reason != DROP_NONE) {
		verdict_drop(a, p, reason);
		return NULL;
	}
	struct fragment_step step = fragments_take(t, &f, a->now);
	switch (step.verdict) {
	case FRAGMENT_FIRST: return take_first(a, p, direction, step.datagram);
	case FRAGMENT_KNOWN:
		*ret_goes_on = true;
		*ret_decision = unpack(step.decision);
		break;
	case FRAGMENT_WAITS:
		p->verdict = AGENT_HOLD_FRAGMENT;
		p->hold_slot = (uint16_t)(step.slot + FRAGMENT_SLOTS * (uint32_t)direction);
		counter_add(&a->counters.fragments_held, 1);
		if (step.gave_way)
			counter_add(&a->counters.drops[DROP_FRAGMENT_HOLD_FULL], 1);
		break;
	case FRAGMENT_REFUSED: verdict_drop(a, p, step.reason); break;
	}
	return NULL;
}

void fragmented_decide_inbound(struct agent *a, const struct agent_packet *p, struct fragment_datagram *d)
{
	struct fragments *t = &a->fragments->tables[FLOW_INBOUND];
	const struct ip4_header *ip = (const struct ip4_header *)(p->frame + ETH_BYTES);
	struct fragment_decision decision = { .way = FRAGMENT_TRANSLATED, .addr = ip->dst };
	if (p->verdict == AGENT_TO_UPLINK) {
		decision.way = FRAGMENT_SENT_ON;
		decision.id = ip->id;
	} else if (p->verdict != AGENT_TO_VM) {
		fragments_refuse(t, d);
		return;
	}
	fragments_decide(t, d, pack(&decision));
}

// Datagrams of several VMs leave with one source now, so that their own numbers may meet (RFC 6864 section 5.3.1): they get one of a
// counter of the agent's, which nobody can guess for a destination.
static be16 new_id(struct agent_fragments *f, be32 vip, be32 remote)
{
	return (be16)(f->next_id++ ^ hash_mix64(((uint64_t)vip << 32 | remote) ^ f->seed));
}

void fragmented_decide_outbound(struct agent *a, struct agent_packet *p, struct fragment_datagram *d, be32 vm)
{
	struct fragments *t = &a->fragments->tables[FLOW_REPLY];
	if (p->verdict == AGENT_HOLD)
		return; // it comes again
	if (p->verdict == AGENT_DROP || p->reason != DROP_NONE) {
		fragments_refuse(t, d);
		return;
	}
	struct ip4_header *ip = (struct ip4_header *)(p->frame + p->ip.l3_off);
	struct fragment_decision decision = { .way = FRAGMENT_AS_IT_IS };
	if (ip->src != vm) {
		decision = (struct fragment_decision){ .way = FRAGMENT_TRANSLATED, .addr = ip->src };
		decision.id = new_id(a->fragments, ip->src, ip->dst);
		ip4_put_id(ip, decision.id);
	}
	fragments_decide(t, d, pack(&decision));
}

// ---- Those that waited ----

bool agent_next_fragment(struct agent *a, struct agent_released *ret_released)
{
	for (uint32_t direction = 0; a->fragments != NULL && direction < 2; direction++) {
		struct fragment_released r;
		if (!fragments_next_released(&a->fragments->tables[direction], &r))
			continue;
		*ret_released = (struct agent_released){ .slot = (uint16_t)(r.slot + FRAGMENT_SLOTS * direction),
			                                     .reason = r.reason,
			                                     .decision = r.decision };
		return true;
	}
	return false;
}

static bool parse_held(const struct agent *a, struct agent_packet *p, enum flow_direction direction)
{
	(void)parse_ip4(p->frame, p->len, ETH_BYTES, &p->ip);
	if (direction == FLOW_REPLY)
		return agent_config_lookup_dip(a->config, p->ip.src) == p->port;
	struct parsed outer = p->ip;
	p->dip = outer.dst;
	(void)parse_ip4(p->frame, (uint32_t)outer.l3_off + outer.l3_bytes, outer.l4_off, &p->ip);
	return true;
}

void agent_release_fragment(struct agent *a, const struct agent_released *released, struct agent_packet *p)
{
	enum flow_direction direction = released->slot < FRAGMENT_SLOTS ? FLOW_INBOUND : FLOW_REPLY;
	struct fragment_decision decision = unpack(released->decision);
	p->reason = DROP_NONE;
	if (released->reason != DROP_NONE)
		verdict_drop(a, p, released->reason);
	else if (a->config == NULL || !parse_held(a, p, direction))
		verdict_drop(a, p, DROP_VM_NOT_READY);
	else if (direction == FLOW_INBOUND)
		inbound_follow(a, p, &decision);
	else
		outbound_follow(a, p, &decision);
}

void agent_expire_fragments(struct agent *a, struct mono_time now)
{
	for (uint32_t direction = 0; a->fragments != NULL && direction < 2; direction++)
		fragments_expire(&a->fragments->tables[direction], now);
}
