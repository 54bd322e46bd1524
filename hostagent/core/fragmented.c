#include "hostagent/core/fragmented.h"

#include "common/base/check.h"
#include "common/base/memory.h"
#include "common/packet/fragments.h"
#include "common/packet/nat.h"
#include "hostagent/core/chained.h"
#include "hostagent/core/verdict.h"

struct agent_fragments {
	struct fragments tables[2]; // by direction: the same datagram may leave and come in on one host
	uint64_t seed;
	uint32_t next_id;
};

struct agent_fragments *agent_fragments_create(uint32_t n_datagrams, uint64_t seed)
{
	size_t table_bytes = fragments_memory_bytes(n_datagrams);
	struct agent_fragments *f = memory_array(1, sizeof *f + 2 * table_bytes);
	if (f == NULL)
		return NULL;
	uint8_t *memory = (uint8_t *)(f + 1);
	f->seed = seed;
	f->next_id = (uint32_t)(seed >> 16);
	for (uint32_t i = 0; i < 2; i++)
		fragments_init(&f->tables[i], n_datagrams, memory + i * table_bytes, hash_mix64(seed + i));
	return f;
}

void agent_fragments_destroy(struct agent_fragments *f)
{
	memory_free(f);
}

// ---- Decisions as the table keeps them ----

// From the lowest bit: 32 of the Identification, or of the hop mark, then the address and the way. Of IPv4, an Identification has 16 bits,
// in whose place the address begins; of IPv6, a name has NAME_BITS. The way is from bit 60 on.
enum { IP4_ID_BITS = 16, IP6_ID_BITS = 32, NAME_BITS = 23, WAY_BIT = 60, IP6_BIT = 63 };

_Static_assert(ADDR_NAMES_MAX < 1u << NAME_BITS, "a name fits beside an Identification of IPv6");

static uint64_t pack(const struct fragment_decision *d)
{
	uint64_t way = (uint64_t)d->way << WAY_BIT;
	if (addr_is_ip6(d->addr))
		return d->id | (uint64_t)be32_to(d->addr) << IP6_ID_BITS | way | (uint64_t)1 << IP6_BIT;
	return d->id | (uint64_t)d->addr << IP4_ID_BITS | way;
}

static struct fragment_decision unpack(uint64_t packed)
{
	enum fragment_way way = (enum fragment_way)(packed >> WAY_BIT & 7);
	if (packed >> IP6_BIT != 0)
		return (struct fragment_decision){ .way = way,
			                               .addr = be32_from(packed >> IP6_ID_BITS & ((1u << NAME_BITS) - 1)),
			                               .id = (uint32_t)packed };
	return (
		struct fragment_decision){ .way = way, .addr = (be32)(packed >> IP4_ID_BITS), .id = (uint32_t)packed & 0xffff };
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
	if (direction == FLOW_INBOUND && icmp->type == (ip->is_ip6 ? ICMP6_ECHO_REPLY : ICMP_ECHO_REPLY))
		ip->dst_port = icmp->id;
	else if (direction == FLOW_REPLY && icmp->type == (ip->is_ip6 ? ICMP6_ECHO : ICMP_ECHO))
		ip->src_port = icmp->id;
}

static enum drop_reason read_first(const uint8_t *frame, struct parsed *ip, enum flow_direction direction)
{
	fragment_read_ports(frame, ip);
	if (packet_is_icmp(ip))
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

// The DIP of a packet that is the VM's by now.
static be32 delivered_to(const struct agent *a, const struct agent_packet *p)
{
	if (p->ip.is_ip6)
		return agent_lookup_name(a, ((const struct ip6_header *)(p->frame + ETH_BYTES))->dst);
	return ((const struct ip4_header *)(p->frame + ETH_BYTES))->dst;
}

void fragmented_decide_inbound(struct agent *a, const struct agent_packet *p, struct fragment_datagram *d)
{
	struct fragments *t = &a->fragments->tables[FLOW_INBOUND];
	struct fragment_decision decision = { .way = FRAGMENT_TRANSLATED };
	if (p->verdict == AGENT_TO_UPLINK) {
		decision.way = FRAGMENT_SENT_ON;
		decision.addr = p->dip;
		decision.id = be16_to(chained_mark(p));
	} else if (p->verdict == AGENT_TO_VM) {
		decision.addr = delivered_to(a, p);
	} else {
		fragments_refuse(t, d);
		return;
	}
	fragments_decide(t, d, pack(&decision));
}

// Datagrams of several VMs leave with one source now, so that their own numbers may meet (RFC 6864 section 5.3.1, RFC 8200 section 4.5):
// they get one of a counter of the agent's, which nobody can guess for a destination (RFC 7739).
static uint32_t new_id(struct agent_fragments *f, be32 vip, be32 remote)
{
	return f->next_id++ ^ (uint32_t)hash_mix64(((uint64_t)vip << 32 | remote) ^ f->seed);
}

void fragmented_put_id(uint8_t *frame, const struct parsed *ip, uint32_t id)
{
	if (ip->is_ip6)
		store32(frame + ip->fragment_off + offsetof(struct ip6_fragment, id), be32_from(id));
	else
		ip4_put_id((struct ip4_header *)(frame + ip->l3_off), be16_from((uint16_t)id));
}

// What a VM's packet has for a source by now.
static be32 source_of(const struct agent *a, const struct agent_packet *p)
{
	if (p->ip.is_ip6)
		return agent_lookup_name(a, parsed_src6(p->frame, &p->ip));
	return ((const struct ip4_header *)(p->frame + p->ip.l3_off))->src;
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
	struct fragment_decision decision = { .way = FRAGMENT_AS_IT_IS, .addr = vm };
	be32 source = source_of(a, p);
	if (source != vm) {
		decision = (struct fragment_decision){ .way = FRAGMENT_TRANSLATED, .addr = source };
		decision.id = new_id(a->fragments, source, p->ip.dst);
		if (!p->ip.is_ip6)
			decision.id &= 0xffff;
		fragmented_put_id(p->frame, &p->ip, decision.id);
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

static void parse_held_outbound(const struct agent *a, struct agent_packet *p, bool is_ip6)
{
	(void)frame_parse(p->frame, p->len, ETH_BYTES, is_ip6, &p->ip);
	p->remote_name = is_ip6 ? parsed_name_outbound(a, p->frame, &p->ip) : 0;
}

// The inner packet, whichever the outer one is.
static void parse_held_inbound(const struct agent *a, struct agent_packet *p, bool outer_is_ip6)
{
	struct parsed outer;
	(void)frame_parse(p->frame, p->len, ETH_BYTES, outer_is_ip6, &outer);
	bool is_ip6 = outer.protocol == IP_PROTO_IP6;
	(void)frame_parse(p->frame, (uint32_t)outer.l3_off + outer.l3_bytes, outer.l4_off, is_ip6, &p->ip);
	if (is_ip6)
		parsed_name_inbound(a, p->frame, &p->ip);
}

static bool parse_held(const struct agent *a, struct agent_packet *p, enum flow_direction direction)
{
	bool is_ip6 = frame_ether_type(p->frame) == be16_from(ETHER_IP6);
	if (direction == FLOW_INBOUND) {
		parse_held_inbound(a, p, is_ip6);
		return true;
	}
	parse_held_outbound(a, p, is_ip6);
	return p->ip.src != 0 && agent_config_lookup_dip(a->config, p->ip.src) == p->port;
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
