#include "hostagent/core/chained.h"

#include "common/model/flow_hash.h"
#include "common/packet/checksum.h"
#include "common/packet/martian.h"
#include "hostagent/core/chain.h"
#include "hostagent/core/verdict.h"

// The flow as its packets to the VIP have it.
struct chained_flow {
	be32 remote;
	be32 vip;
	be16 remote_port;
	be16 vip_port;
	uint8_t protocol;
	enum chain_kind kind;
	const uint8_t *remote6; // of IPv6, as the next one: the whole address; else NULL
	const uint8_t *vip6;
};

COLD_PATH static bool serves_any(const struct agent *a, const struct chained_flow *f, be32 dip)
{
	return ip_protocol_is_any(f->protocol) &&
	       agent_config_lookup_endpoint(a->config, f->vip, 0, IP_PROTO_ANY, dip) != NULL;
}

static inline bool serves(const struct agent *a, const struct chained_flow *f, be32 dip)
{
	return agent_config_lookup_endpoint(a->config, f->vip, f->vip_port, f->protocol, dip) != NULL ||
	       serves_any(a, f, dip);
}

// As muxes have it: over whole addresses.
static uint64_t bucket_hash(const struct chained_flow *f, uint64_t seed)
{
	if (f->remote6 != NULL)
		return flow_hash_v6(f->remote6, f->vip6, f->remote_port, f->vip_port, f->protocol, seed);
	return flow_hash_v4(f->remote, f->vip, f->remote_port, f->vip_port, f->protocol, seed);
}

// Walks on among the DIPs of this host, at most CHAIN_HOPS_MAX times: each step counts in the mark.
static struct chain_step decide(const struct agent *a, struct agent_packet *p, const struct chained_flow *f,
                                const struct endpoint_owners *owners)
{
	uint64_t hash = bucket_hash(f, a->config->hash_seed);
	struct bucket_owners bucket = owners_of(owners, hash);
	struct chain_packet c = { .kind = f->kind, .mark = be16_to(chained_mark(p)) };
	for (;;) {
		c.position = chain_position(&bucket, p->dip);
		c.is_present = owners_is_present(owners, p->dip);
		c.can_adopt = serves(a, f, p->dip);
		struct chain_step step = chain_decide(&bucket, &c);
		if (step.action != CHAIN_FORWARD || agent_config_lookup_dip(a->config, step.to) == AGENT_NO_PORT)
			return step;
		p->dip = step.to;
		c.mark = step.mark;
	}
}

static void write_outer4(const struct agent *a, struct agent_packet *p, be32 to, uint16_t mark)
{
	struct encap_template t;
	struct ip4_header *outer = (struct ip4_header *)(p->frame + ETH_BYTES);
	encap_template_init(&t, a->settings.address, to);
	encap_write_ip4(p->frame + ETH_BYTES, &t, p->ip.l3_bytes, mark);
	if (!p->ip.is_ip6)
		return;
	be16 old_word = load16(&outer->ttl);
	outer->protocol = IP_PROTO_IP6;
	outer->checksum = checksum_update16(outer->checksum, old_word, load16(&outer->ttl));
}

static void write_outer(const struct agent *a, struct agent_packet *p, be32 to, uint16_t mark)
{
	if (addr_is_ip6(to))
		encap_write_ip6(p->frame + ETH_BYTES, a->settings.address6, agent_addr6(a, to), p->ip.l3_bytes, p->ip.is_ip6,
		                mark);
	else
		write_outer4(a, p, to, mark);
}

// The outer header anew, in front of the inner packet: of the family of the way to that DIP.
static HOT_PATH void send_on(struct agent *a, struct agent_packet *p, const struct chain_step *step)
{
	be32 way = agent_config_way_to(a->config, step->to);
	bool is_ip6 = addr_is_ip6(way);
	if (is_ip6 ? ip6_is_unspecified(a->settings.address6) : a->settings.address == 0) {
		verdict_drop(a, p, DROP_NO_NEXT_HOP);
		return;
	}
	uint32_t outer_bytes = is_ip6 ? ENCAP6_BYTES : ENCAP_BYTES;
	p->frame += (int32_t)p->ip.l3_off - (int32_t)(outer_bytes + ETH_BYTES);
	p->len = ETH_BYTES + outer_bytes + (uint32_t)p->ip.l3_bytes;
	p->dip = step->to;
	write_outer(a, p, way, step->mark);
	verdict_to_gateway(a, p, p->hash, is_ip6);
	if (p->verdict == AGENT_TO_UPLINK)
		counter_add(&a->counters.chain_forwarded, 1);
}

void chained_follow(struct agent *a, struct agent_packet *p, be32 to, uint16_t mark)
{
	struct chain_step step = { .action = CHAIN_FORWARD, .to = to, .mark = mark };
	p->hash = hash_mix64(to); // one gateway for all of them
	if (token_bucket_take(&a->chain_limit, a->now))
		send_on(a, p, &step);
	else
		verdict_drop(a, p, DROP_CHAIN_LIMITED);
}

// Beyond the limit a TCP packet is lost and comes again; a datagram does not, so its flow begins here.
static bool adopts_beyond_limit(struct agent *a, struct agent_packet *p, const struct chained_flow *f)
{
	if (f->kind == CHAIN_UDP && serves(a, f, p->dip))
		return true;
	verdict_drop(a, p, DROP_CHAIN_LIMITED);
	return false;
}

static bool take_step(struct agent *a, struct agent_packet *p, const struct chained_flow *f,
                      const struct endpoint_owners *owners)
{
	struct chain_step step = decide(a, p, f, owners);
	if (step.action == CHAIN_ADOPT)
		return true;
	if (step.action == CHAIN_DROP)
		verdict_drop(a, p, step.reason);
	else if (!token_bucket_take(&a->chain_limit, a->now))
		return adopts_beyond_limit(a, p, f);
	else
		send_on(a, p, &step);
	return false;
}

static enum chain_kind kind_of(const struct agent_packet *p)
{
	if (p->ip.protocol != IP_PROTO_TCP)
		return CHAIN_UDP;
	return tcp_is_syn(p->ip.tcp_flags) ? CHAIN_SYN : CHAIN_TCP;
}

bool chained_adopts(struct agent *a, struct agent_packet *p, const struct endpoint_owners *owners)
{
	struct chained_flow f = {
		.remote = p->ip.src,
		.vip = p->ip.dst,
		.remote_port = p->ip.src_port,
		.vip_port = p->ip.dst_port,
		.protocol = p->ip.protocol,
		.kind = kind_of(p),
		.remote6 = packet_remote6(p->frame, &p->ip, FLOW_INBOUND),
		.vip6 = p->ip.is_ip6 ? parsed_dst6(p->frame, &p->ip) : NULL,
	};
	if (!take_step(a, p, &f, owners))
		return false;
	p->port = agent_config_lookup_dip(a->config, p->dip);
	return true;
}

void chained_error(struct agent *a, struct agent_packet *p, const struct icmp_error *error)
{
	struct chained_flow f = {
		.remote = error->dst,
		.vip = error->src,
		.remote_port = error->dst_port,
		.vip_port = error->src_port,
		.protocol = error->protocol,
		.kind = CHAIN_ERROR,
		.remote6 = error->is_ip6 ? icmp_error_dst6(p->frame, error) : NULL,
		.vip6 = error->is_ip6 ? icmp_error_src6(p->frame, error) : NULL,
	};
	const struct endpoint_owners *owners =
		agent_config_lookup_owners(a->config, f.vip, f.vip_port, ip_protocol_of_endpoint(f.protocol));
	if (owners == NULL)
		verdict_drop(a, p, DROP_ICMP_UNKNOWN);
	else
		(void)take_step(a, p, &f, owners); // an error is adopted nowhere
}

// The whole address, which of IPv6 lies beside the flow.
static struct pin_addr pin_addr(be32 addr, const uint8_t *addr6)
{
	return addr_is_ip6(addr) ? pin_addr_from_ip6(addr6) : pin_addr_from_ip4(addr);
}

void chained_found(struct agent *a, const struct agent_packet *p, const struct flow_entry *flow)
{
	counter_add(&a->counters.chain_delivered, 1);
	if (!flow_entry_is_balanced(flow) || flow_state_is_over(flow_entry_state(flow)))
		return;
	struct pin pin = {
		.remote = pin_addr(flow->remote, flow_table_addrs(&a->flows, flow)->remote),
		.vip = pin_addr(flow->vip, flow_table_addrs(&a->flows, flow)->vip),
		.dip = pin_addr(flow->dip, flow_table_addrs(&a->flows, flow)->dip),
		.remote_port = flow->remote_port,
		.vip_port = flow->vip_port,
		.protocol = flow->protocol,
	};
	(void)pin_reports_note(&a->pin_reports, &pin, p->hash, a->now);
}
