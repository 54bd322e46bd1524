#include "tests/golden/notation_nd.h"

#include <string.h>

enum { HOP_LIMIT = 255, SOURCE_MAC = 1, TARGET_MAC = 2, MTU = 5 };

static const struct {
	const char *word;
	uint8_t type;
	uint8_t mac_option;
	bool has_target;
} kinds[] = {
	{ "rsolicit", ICMP6_ROUTER_SOLICITATION, SOURCE_MAC, false },
	{ "radvertise", ICMP6_ROUTER_ADVERTISEMENT, SOURCE_MAC, false },
	{ "solicit", ICMP6_NEIGHBOR_SOLICITATION, SOURCE_MAC, true },
	{ "advertise", ICMP6_NEIGHBOR_ADVERTISEMENT, TARGET_MAC, true },
};

struct nd_words {
	uint32_t flags;
	uint32_t hops; // of a router advertisement, as the next
	uint32_t lifetime_s;
	uint32_t mtu;
	uint32_t code;
	bool has_mac;
	struct mac mac;
};

static bool read_word(struct tokens *t, struct packet *p, struct nd_words *w)
{
	const char *text;
	if (words_take(t, "router"))
		w->flags |= 0x80;
	else if (words_take(t, "solicited"))
		w->flags |= 0x40;
	else if (words_take(t, "override"))
		w->flags |= 0x20;
	else if ((text = words_value_of(t, "mac")) != NULL)
		w->has_mac = words_mac(t, text, &w->mac);
	else
		return words_number_of(t, "hops", &w->hops) || words_number_of(t, "lifetime", &w->lifetime_s) ||
		       words_number_of(t, "mtu", &w->mtu) || words_number_of(t, "code", &w->code) || packet_read_word(t, p);
	return true;
}

static void put_options(struct packet *p, const struct nd_words *w, uint8_t mac_option)
{
	if (w->has_mac) {
		uint8_t *at = p->bytes + p->n;
		at[0] = mac_option;
		at[1] = 1;
		memcpy(at + 2, &w->mac, MAC_BYTES);
		p->n += 8;
	}
	if (w->mtu != 0) {
		uint8_t *at = p->bytes + p->n;
		at[0] = MTU;
		at[1] = 1;
		store32(at + 4, be32_from(w->mtu));
		p->n += 8;
	}
}

bool notation_read_nd(struct tokens *t, struct packet *p)
{
	struct nd_words w = { .hops = 64 };
	struct ends e;
	struct end target = { 0 };
	const char *word = words_next(t);
	uint32_t kind = 0;
	while (kind < 4 && strcmp(word, kinds[kind].word) != 0)
		kind++;
	if (kind == 4)
		return words_fail(t, "solicit, advertise, rsolicit or radvertise is expected");
	if (!words_ends(t, &e) || (kinds[kind].has_target && !words_end(t, words_next(t), &target)) ||
	    !packet_begin(t, p, &e, IP_PROTO_ICMP6))
		return false;
	p->bytes[7] = HOP_LIMIT;
	while (read_word(t, p, &w))
		;
	uint8_t *l4 = p->bytes + p->header_bytes;
	l4[0] = kinds[kind].type;
	l4[1] = (uint8_t)w.code;
	l4[4] = (uint8_t)w.flags;
	if (kinds[kind].has_target)
		memcpy(l4 + 8, target.ip6, sizeof target.ip6);
	if (kinds[kind].type == ICMP6_ROUTER_ADVERTISEMENT) {
		l4[4] = (uint8_t)w.hops;
		store16(l4 + 6, be16_from((uint16_t)w.lifetime_s));
	}
	p->n += kinds[kind].has_target ? 24 : kinds[kind].type == ICMP6_ROUTER_SOLICITATION ? 8 : 16;
	put_options(p, &w, kinds[kind].mac_option);
	packet_end_l4(p, true);
	return true;
}
