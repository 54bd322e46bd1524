#include "mux/core/refusal.h"

#include "common/packet/icmp.h"
#include "common/packet/tcp_reset.h"

static bool is_syn(const struct parsed *p)
{
	return (p->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN;
}

// Back to whom the frame came from, with an IP packet of n bytes that ends up behind the Ethernet header.
static void send_back(struct mux_frame *f, const struct mux_settings *s, struct mac to, be16 type, uint32_t n)
{
	struct eth_header eth = { .dst = to, .src = s->mac, .ether_type = type };
	memcpy(f->data, &eth, sizeof eth);
	f->len = ETH_BYTES + n;
	f->verdict = MUX_TO_UPLINK;
	f->reason = DROP_NONE;
}

bool refusal_take(struct mux_worker *w, struct mux_frame *f, const struct parsed *p)
{
	bool is_tcp = p->protocol == IP_PROTO_TCP;
	if (is_tcp && !is_syn(p))
		return false;
	if (!token_bucket_take(&w->refusals, w->now)) {
		f->verdict = MUX_DROP;
		f->reason = DROP_ENDPOINT_REFUSING;
		w->counters.drops[DROP_ENDPOINT_REFUSING]++;
		return true;
	}
	struct mac to = ((const struct eth_header *)f->data)->src;
	be16 type = frame_ether_type(f->data);
	uint32_t n;
	if (is_tcp) {
		n = tcp_write_reset(f->data, p);
		w->counters.refused_tcp++;
	} else {
		struct icmp_answer answer =
			icmp_answer_make(p, p->protocol == IP_PROTO_UDP ? ICMP_SAYS_PORT : ICMP_SAYS_PROTOCOL, 0);
		n = icmp_write_answer(f->data, p, &answer);
		f->data -= icmp_error_bytes(p);
		w->counters.refused_udp++;
	}
	send_back(f, &w->settings, to, type, n);
	return true;
}
