#include "hostagent/core/flow_state.h"

#include "common/base/check.h"

// What a packet does to a connection; a flag that ends it goes before one that begins it.
enum event { EVENT_RST, EVENT_SYN, EVENT_SYN_ACK, EVENT_FIN, EVENT_DATA, EVENT_COUNT };

static enum event event_of(uint8_t tcp_flags)
{
	if (tcp_flags & TCP_RST)
		return EVENT_RST;
	if (tcp_flags & TCP_SYN)
		return (tcp_flags & TCP_ACK) ? EVENT_SYN_ACK : EVENT_SYN;
	return (tcp_flags & TCP_FIN) ? EVENT_FIN : EVENT_DATA;
}

// The legal moves; FLOW_FREE (0) means "stays as it is".
static const uint8_t moves[FLOW_STATE_COUNT][2][EVENT_COUNT] = {
	[FLOW_SYN] = {
		[FLOW_INBOUND] = { [EVENT_RST] = FLOW_RESET },
		[FLOW_REPLY] = { [EVENT_RST] = FLOW_REFUSED, [EVENT_SYN] = FLOW_SYN_ACK, [EVENT_SYN_ACK] = FLOW_SYN_ACK,
		                 [EVENT_FIN] = FLOW_FIN_OUT },
	},
	[FLOW_SYN_ACK] = {
		[FLOW_INBOUND] = { [EVENT_RST] = FLOW_RESET_IN, [EVENT_SYN_ACK] = FLOW_ESTABLISHED, [EVENT_FIN] = FLOW_FIN_IN,
		                   [EVENT_DATA] = FLOW_ESTABLISHED },
		[FLOW_REPLY] = { [EVENT_RST] = FLOW_REFUSED, [EVENT_FIN] = FLOW_FIN_OUT },
	},
	[FLOW_ESTABLISHED] = {
		[FLOW_INBOUND] = { [EVENT_RST] = FLOW_RESET_IN, [EVENT_FIN] = FLOW_FIN_IN },
		[FLOW_REPLY] = { [EVENT_RST] = FLOW_RESET, [EVENT_FIN] = FLOW_FIN_OUT },
	},
	[FLOW_UNCONFIRMED_IN] = {
		[FLOW_INBOUND] = { [EVENT_RST] = FLOW_RESET_IN, [EVENT_FIN] = FLOW_FIN_IN },
		[FLOW_REPLY] = { [EVENT_RST] = FLOW_RESET, [EVENT_SYN_ACK] = FLOW_SYN_ACK, [EVENT_FIN] = FLOW_FIN_OUT,
		                 [EVENT_DATA] = FLOW_ESTABLISHED },
	},
	[FLOW_UNCONFIRMED_OUT] = {
		[FLOW_INBOUND] = { [EVENT_RST] = FLOW_RESET_IN, [EVENT_FIN] = FLOW_FIN_IN, [EVENT_DATA] = FLOW_ESTABLISHED },
		[FLOW_REPLY] = { [EVENT_RST] = FLOW_RESET, [EVENT_SYN_ACK] = FLOW_SYN_ACK, [EVENT_FIN] = FLOW_FIN_OUT },
	},
	[FLOW_FIN_IN] = {
		[FLOW_INBOUND] = { [EVENT_RST] = FLOW_RESET_IN },
		[FLOW_REPLY] = { [EVENT_RST] = FLOW_RESET, [EVENT_FIN] = FLOW_CLOSED },
	},
	[FLOW_FIN_OUT] = {
		[FLOW_INBOUND] = { [EVENT_RST] = FLOW_RESET_IN, [EVENT_FIN] = FLOW_CLOSED },
		[FLOW_REPLY] = { [EVENT_RST] = FLOW_RESET },
	},
	[FLOW_SYN_OUT] = {
		[FLOW_INBOUND] = { [EVENT_RST] = FLOW_RESET, [EVENT_SYN] = FLOW_SYN_ACK_IN,
		                   [EVENT_SYN_ACK] = FLOW_SYN_ACK_IN },
		[FLOW_REPLY] = { [EVENT_RST] = FLOW_RESET, [EVENT_FIN] = FLOW_FIN_OUT },
	},
	[FLOW_SYN_ACK_IN] = {
		[FLOW_INBOUND] = { [EVENT_RST] = FLOW_RESET_IN, [EVENT_FIN] = FLOW_FIN_IN },
		[FLOW_REPLY] = { [EVENT_RST] = FLOW_RESET, [EVENT_SYN_ACK] = FLOW_ESTABLISHED, [EVENT_FIN] = FLOW_FIN_OUT,
		                 [EVENT_DATA] = FLOW_ESTABLISHED },
	},
	[FLOW_RESET] = {
		[FLOW_REPLY] = { [EVENT_SYN_ACK] = FLOW_SYN_ACK, [EVENT_FIN] = FLOW_DISPUTED,
		                 [EVENT_DATA] = FLOW_DISPUTED },
	},
	[FLOW_REFUSED] = {
		[FLOW_REPLY] = { [EVENT_SYN_ACK] = FLOW_SYN_ACK, [EVENT_FIN] = FLOW_DISPUTED,
		                 [EVENT_DATA] = FLOW_DISPUTED },
	},
	[FLOW_RESET_IN] = {
		[FLOW_REPLY] = { [EVENT_RST] = FLOW_RESET, [EVENT_SYN_ACK] = FLOW_SYN_ACK, [EVENT_FIN] = FLOW_DISPUTED,
		                 [EVENT_DATA] = FLOW_DISPUTED },
	},
	[FLOW_DISPUTED] = {
		[FLOW_INBOUND] = { [EVENT_RST] = FLOW_RESET_IN, [EVENT_FIN] = FLOW_FIN_IN, [EVENT_DATA] = FLOW_ESTABLISHED },
		[FLOW_REPLY] = { [EVENT_RST] = FLOW_RESET, [EVENT_SYN_ACK] = FLOW_SYN_ACK },
	},
};

static const uint32_t timeouts_s[FLOW_STATE_COUNT] = {
	[FLOW_UDP] = 300,
	[FLOW_SYN] = 30,
	[FLOW_SYN_ACK] = 240,
	[FLOW_ESTABLISHED] = 7440,
	[FLOW_UNCONFIRMED_IN] = 240,
	[FLOW_UNCONFIRMED_OUT] = 240,
	[FLOW_FIN_IN] = 240,
	[FLOW_FIN_OUT] = 240,
	[FLOW_CLOSED] = 120,
	[FLOW_RESET] = 10,
	[FLOW_SYN_OUT] = 240,
	[FLOW_SYN_ACK_IN] = 240,
	[FLOW_ICMP] = 60,
	[FLOW_REFUSED] = 10,
	[FLOW_RESET_IN] = 240,
	[FLOW_DISPUTED] = 240,
};

static const char *const names[FLOW_STATE_COUNT] = {
	[FLOW_FREE] = "free",
	[FLOW_UDP] = "udp",
	[FLOW_SYN] = "syn",
	[FLOW_SYN_ACK] = "syn_ack",
	[FLOW_ESTABLISHED] = "established",
	[FLOW_UNCONFIRMED_IN] = "unconfirmed_in",
	[FLOW_UNCONFIRMED_OUT] = "unconfirmed_out",
	[FLOW_FIN_IN] = "fin_in",
	[FLOW_FIN_OUT] = "fin_out",
	[FLOW_CLOSED] = "closed",
	[FLOW_RESET] = "reset",
	[FLOW_SYN_OUT] = "syn_out",
	[FLOW_SYN_ACK_IN] = "syn_ack_in",
	[FLOW_ICMP] = "icmp",
	[FLOW_REFUSED] = "refused",
	[FLOW_RESET_IN] = "reset_in",
	[FLOW_DISPUTED] = "disputed",
};

uint32_t flow_state_timeout_s(enum flow_state state)
{
	CHECK(state < FLOW_STATE_COUNT);
	return timeouts_s[state];
}

static const struct flow_idle *idles_find(const struct flow_idles *idles, be32 vip)
{
	uint32_t low = 0;
	uint32_t high = idles->n;
	while (low < high) {
		uint32_t middle = (low + high) / 2;
		if (idles->list[middle].vip == vip)
			return &idles->list[middle];
		if (idles->list[middle].vip < vip)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

uint32_t flow_idles_timeout_s(const struct flow_idles *idles, be32 vip, enum flow_state state)
{
	uint32_t usual = flow_state_timeout_s(state);
	if (idles == NULL || idles->n == 0 || (state != FLOW_ESTABLISHED && state != FLOW_UDP))
		return usual;
	const struct flow_idle *idle = idles_find(idles, vip);
	uint32_t own = idle == NULL ? 0 : state == FLOW_UDP ? idle->udp_s : idle->tcp_s;
	return own == 0 ? usual : own;
}

enum flow_state flow_state_after(enum flow_state state, enum flow_direction direction, uint8_t tcp_flags)
{
	CHECK(state < FLOW_STATE_COUNT);
	enum flow_state next = (enum flow_state)moves[state][direction][event_of(tcp_flags)];
	return next == FLOW_FREE ? state : next;
}

enum flow_state flow_state_first(uint8_t protocol, enum flow_direction direction, uint8_t tcp_flags)
{
	if (protocol != IP_PROTO_TCP)
		return FLOW_UDP;
	if (tcp_flags & TCP_RST)
		return FLOW_RESET;
	if (direction == FLOW_REPLY)
		return tcp_is_syn_ack(tcp_flags) ? FLOW_SYN_ACK : FLOW_UNCONFIRMED_OUT;
	return tcp_is_syn(tcp_flags) ? FLOW_SYN : FLOW_UNCONFIRMED_IN;
}

enum flow_state flow_state_begun(uint8_t protocol)
{
	if (ip_protocol_is_icmp(protocol))
		return FLOW_ICMP;
	return protocol == IP_PROTO_TCP ? FLOW_SYN_OUT : FLOW_UDP;
}

bool flow_state_is_over(enum flow_state state)
{
	return state == FLOW_CLOSED || state == FLOW_RESET || state == FLOW_REFUSED || state == FLOW_RESET_IN;
}

const char *flow_state_name(enum flow_state state)
{
	CHECK(state < FLOW_STATE_COUNT);
	return names[state];
}
