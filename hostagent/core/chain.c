#include "hostagent/core/chain.h"

enum { LISTS_DIFFER = 0, LIST_MASK = 0x7f };

struct mark {
	bool is_adopt;
	bool has_wrapped;
	uint8_t list; // which one the walk began with: 1 to 127, or LISTS_DIFFER
	uint8_t n_asked;
	uint8_t hops;
};

// Hosts compare their lists: it is of whole addresses.
static uint64_t owner_word(const struct bucket_owners *owners, uint32_t i)
{
	return addr_is_ip6(owners->dips[i]) ? owners->words[i] : owners->dips[i];
}

static uint8_t list_hash(const struct bucket_owners *owners)
{
	uint64_t h = owners->n;
	for (uint32_t i = 0; i < owners->n; i++)
		h = hash_mix64(h ^ owner_word(owners, i));
	return (uint8_t)(1 + h % LIST_MASK);
}

// Who has it first sets the list that the others compare with.
static struct mark mark_parse(uint16_t bits, const struct bucket_owners *owners)
{
	uint8_t list = list_hash(owners);
	if ((bits & CHAIN_MARK) == 0)
		return (struct mark){ .list = list };
	struct mark m = {
		.is_adopt = (bits & CHAIN_MARK_ADOPT) != 0,
		.list = (uint8_t)(bits >> 7 & LIST_MASK),
		.has_wrapped = (bits & 0x40) != 0,
		.n_asked = (uint8_t)(bits >> 3 & 7),
		.hops = (uint8_t)(bits & CHAIN_MARK_HOPS),
	};
	if (m.list != list)
		m.list = LISTS_DIFFER;
	return m;
}

static uint16_t mark_format(const struct mark *m)
{
	uint32_t bits = CHAIN_MARK | (m->is_adopt ? CHAIN_MARK_ADOPT : 0) | (uint32_t)m->list << 7 |
	                (m->has_wrapped ? 0x40 : 0) | (uint32_t)m->n_asked << 3 | m->hops;
	return (uint16_t)bits;
}

static struct chain_step drop_it(enum drop_reason reason)
{
	return (struct chain_step){ .action = CHAIN_DROP, .reason = reason };
}

static struct chain_step adopt_or(const struct chain_packet *p, enum drop_reason otherwise)
{
	if (p->kind == CHAIN_ERROR)
		return drop_it(DROP_ICMP_UNKNOWN);
	return p->can_adopt ? (struct chain_step){ .action = CHAIN_ADOPT } : drop_it(otherwise);
}

static struct chain_step forward_to(be32 dip, struct mark m)
{
	m.hops++;
	return (struct chain_step){ .action = CHAIN_FORWARD, .to = dip, .mark = mark_format(&m) };
}

// The present owner is to adopt it.
static struct chain_step give_away(const struct bucket_owners *owners, const struct chain_packet *p, struct mark m)
{
	if (p->position == 0)
		return adopt_or(p, DROP_ENCAP_NO_ENDPOINT);
	if (m.hops >= CHAIN_HOPS_MAX)
		return adopt_or(p, DROP_CHAIN_LOOP);
	m.is_adopt = true;
	return forward_to(owners->dips[0], m);
}

static struct chain_step nobody_knows_it(const struct bucket_owners *owners, const struct chain_packet *p,
                                         struct mark m)
{
	if (p->kind == CHAIN_ERROR)
		return drop_it(DROP_ICMP_UNKNOWN);
	if (p->kind == CHAIN_TCP && m.list == LISTS_DIFFER)
		return drop_it(DROP_CHAIN_SKEW);
	return give_away(owners, p, m);
}

// Two with different lists would send it to and fro: they take turns through them.
static struct chain_step ask_by_turns(const struct bucket_owners *owners, const struct chain_packet *p, struct mark m)
{
	uint32_t next = m.hops % owners->n;
	if (next == p->position)
		next = (next + 1) % owners->n;
	return forward_to(owners->dips[next], m);
}

static struct chain_step ask_next(const struct bucket_owners *owners, const struct chain_packet *p, struct mark m)
{
	if (m.list == LISTS_DIFFER && owners->n > 1)
		return ask_by_turns(owners, p, m);
	if (p->position == CHAIN_NOT_OWNER)
		return forward_to(owners->dips[0], m);
	uint32_t next = (p->position + 1) % owners->n;
	m.has_wrapped = m.has_wrapped || next == 0;
	return forward_to(owners->dips[next], m);
}

struct chain_step chain_decide(const struct bucket_owners *owners, const struct chain_packet *p)
{
	struct mark m = mark_parse(p->mark, owners);
	if (m.is_adopt || (p->kind == CHAIN_SYN && p->is_present))
		return adopt_or(p, DROP_ENCAP_NO_ENDPOINT);
	if (p->kind == CHAIN_SYN)
		return give_away(owners, p, m);
	bool is_owner = p->position != CHAIN_NOT_OWNER;
	m.n_asked = (uint8_t)(m.n_asked + (is_owner && m.n_asked < 7));
	bool more_in_list = is_owner && p->position + 1 < owners->n && !m.has_wrapped;
	if ((m.n_asked < owners->n || more_in_list) && m.hops < CHAIN_HOPS_MAX)
		return ask_next(owners, p, m);
	return nobody_knows_it(owners, p, m);
}
