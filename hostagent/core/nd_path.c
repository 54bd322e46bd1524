#include "hostagent/core/nd_path.h"

#include "common/packet/checksum.h"
#include "common/packet/nd.h"

static const struct mac gateway_mac = AGENT_GATEWAY_MAC;

// ---- From the uplink ----

// Reads it, and learns from it. False: it has its verdict.
static bool read_nd(struct agent *a, struct agent_packet *p, const struct parsed *ip, struct nd_info *ret_nd)
{
	enum drop_reason reason = nd_parse(p->frame, ip, ret_nd);
	if (reason != DROP_NONE) {
		verdict_drop(a, p, reason);
		return false;
	}
	neighbor_table_on_nd(&a->neighbors6, ret_nd, a->now);
	return true;
}

// Does it ask for a DIP or a via that is here? Then the answer is written.
static bool answer_for_dip(struct agent *a, struct agent_packet *p, const struct nd_info *nd)
{
	bool asks = nd->type == ICMP6_NEIGHBOR_SOLICITATION && a->settings.proxy_arp;
	if (!asks || !agent_has_address(a, agent_lookup_name(a, nd->target)))
		return false;
	struct mac to = ((const struct eth_header *)p->frame)->src;
	nd_write_advertisement(p->frame, &a->settings.uplink_mac, nd, &to, ND_ROUTER, true);
	p->len = ND_ADVERTISEMENT_BYTES;
	p->verdict = AGENT_TO_UPLINK;
	counter_add(&a->counters.nd_replies, 1);
	return true;
}

void nd_path_own(struct agent *a, struct agent_packet *p, const struct parsed *ip, enum drop_reason reason)
{
	struct nd_info nd;
	if (reason == DROP_NONE && nd_is_nd(p->frame, ip) && (!read_nd(a, p, ip, &nd) || answer_for_dip(a, p, &nd)))
		return;
	p->verdict = AGENT_TO_TAP;
}

void nd_path_uplink(struct agent *a, struct agent_packet *p, const struct parsed *ip)
{
	struct nd_info nd;
	if (read_nd(a, p, ip, &nd) && !answer_for_dip(a, p, &nd))
		verdict_drop(a, p, DROP_NOT_FOR_US);
}

static bool is_all_nodes(const uint8_t *addr)
{
	static const uint8_t all_nodes[IP6_ADDR_BYTES] = { 0xff, 0x02, [15] = 1 };
	return ip6_addr_equal(addr, all_nodes);
}

// The kernel knows which link-local addresses the node has.
static bool is_for_node(const struct agent *a, const struct nd_info *nd)
{
	if (nd->type == ICMP6_NEIGHBOR_SOLICITATION)
		return ip6_addr_equal(nd->target, a->settings.address6) || ip6_is_link_local(nd->target);
	return is_all_nodes(nd->dst);
}

void nd_path_group(struct agent *a, struct agent_packet *p)
{
	struct parsed ip;
	struct nd_info nd;
	enum drop_reason reason = parse_ip6(p->frame, p->len, ETH_BYTES, &ip);
	if (!reason_is_carried(reason)) {
		verdict_drop(a, p, reason);
		return;
	}
	bool is_for_us = is_all_nodes(parsed_dst6(p->frame, &ip));
	if (reason == DROP_NONE && nd_is_nd(p->frame, &ip)) {
		if (!read_nd(a, p, &ip, &nd) || answer_for_dip(a, p, &nd))
			return;
		is_for_us = is_for_node(a, &nd);
	}
	if (is_for_us)
		p->verdict = AGENT_TO_TAP;
	else
		verdict_drop(a, p, DROP_NOT_FOR_US);
}

// ---- From a VM ----

static bool is_own_dip(const struct agent *a, uint16_t port, const uint8_t *addr)
{
	be32 name = agent_lookup_name(a, addr);
	return name != 0 && agent_config_lookup_dip(a->config, name) == port;
}

// Its DIPs, a link-local address of its own, and :: of who takes an address into use. Not the gateway's.
static bool may_be_source(const struct agent *a, uint16_t port, const uint8_t *src)
{
	static const uint8_t gateway[IP6_ADDR_BYTES] = AGENT_GATEWAY_IP6;
	if (ip6_is_link_local(src))
		return !ip6_addr_equal(src, gateway);
	return ip6_is_unspecified(src) || is_own_dip(a, port, src);
}

static void answer_neighbor(struct agent *a, struct agent_packet *p, const struct nd_info *nd)
{
	bool is_own = ip6_addr_equal(nd->src, nd->target) || is_own_dip(a, p->port, nd->target);
	if (is_own || ip6_is_unspecified(nd->src)) {
		verdict_drop(a, p, DROP_NOT_FOR_US);
		return;
	}
	nd_write_advertisement(p->frame, &gateway_mac, nd, &a->config->ports[p->port].mac, ND_ROUTER, false);
	p->len = ND_ADVERTISEMENT_BYTES;
	p->verdict = AGENT_TO_VM;
	counter_add(&a->counters.nd_replies, 1);
}

static uint32_t write_advertisement(const struct agent *a, uint16_t port, const uint8_t *dst, uint8_t *frame)
{
	struct nd_router r = { .mac = gateway_mac, .addr = AGENT_GATEWAY_IP6, .lifetime_s = AGENT_ROUTER_LIFETIME_S };
	r.mtu = a->port_mtu[port] > IP6_MTU_MIN ? a->port_mtu[port] : IP6_MTU_MIN;
	nd_write_router_advertisement(frame, &r, &a->config->ports[port].mac, dst);
	return ND_ROUTER_ADVERTISEMENT_BYTES;
}

static void answer_router(struct agent *a, struct agent_packet *p, const struct nd_info *nd)
{
	if (!a->config->ports[p->port].has_ip6) {
		verdict_drop(a, p, DROP_NOT_FOR_US);
		return;
	}
	p->len = write_advertisement(a, p->port, ip6_is_unspecified(nd->src) ? NULL : nd->src, p->frame);
	p->verdict = AGENT_TO_VM;
	counter_add(&a->counters.nd_replies, 1);
}

void nd_path_vm(struct agent *a, struct agent_packet *p, const struct parsed *ip)
{
	struct nd_info nd;
	enum drop_reason reason = nd_parse(p->frame, ip, &nd);
	if (reason == DROP_NONE && nd.has_mac && !mac_equal(&nd.mac, &a->config->ports[p->port].mac))
		reason = DROP_SPOOFED_MAC;
	if (reason == DROP_NONE && !may_be_source(a, p->port, nd.src))
		reason = DROP_SPOOFED_SOURCE;
	if (reason != DROP_NONE)
		verdict_drop(a, p, reason);
	else if (nd.type == ICMP6_NEIGHBOR_SOLICITATION)
		answer_neighbor(a, p, &nd);
	else if (nd.type == ICMP6_ROUTER_SOLICITATION)
		answer_router(a, p, &nd);
	else
		verdict_drop(a, p, DROP_NOT_FOR_US);
}

uint32_t agent_next_advertisement(struct agent *a, uint8_t *frame, uint16_t *ret_port)
{
	for (uint32_t n = a->config == NULL ? 0 : a->config->n_ports; n > 0; n--) {
		uint16_t port = a->advertise_cursor < a->config->n_ports ? a->advertise_cursor : 0;
		a->advertise_cursor = (uint16_t)(port + 1);
		if (!a->config->ports[port].has_ip6 || !a->port_is_open[port] || mono_is_before(a->now, a->advertise_at[port]))
			continue;
		a->advertise_at[port] = mono_add_us(a->now, AGENT_ADVERTISE_US);
		*ret_port = port;
		return write_advertisement(a, port, NULL, frame);
	}
	return 0;
}

// ---- From the host's kernel ----

// Which gateway it asks for with the probe address, it asks for in the host's own name (probe_path.c says why).
static void ask_in_own_name(const struct agent *a, struct agent_packet *p, const struct parsed *ip)
{
	struct ip6_header *header = (struct ip6_header *)(p->frame + ip->l3_off);
	struct icmp_header *icmp = (struct icmp_header *)(p->frame + ip->l4_off);
	icmp->checksum = checksum_apply(icmp->checksum, checksum_delta(header->src, a->settings.address6, IP6_ADDR_BYTES));
	memcpy(header->src, a->settings.address6, IP6_ADDR_BYTES);
}

bool nd_path_host(struct agent *a, struct agent_packet *p, const struct parsed *ip)
{
	struct nd_info nd;
	if (!nd_is_nd(p->frame, ip) || nd_parse(p->frame, ip, &nd) != DROP_NONE ||
	    nd.type != ICMP6_NEIGHBOR_SOLICITATION || ip6_is_unspecified(nd.src))
		return false;
	be32 name = agent_lookup_name(a, nd.target);
	bool is_probe = ip6_addr_equal(nd.src, a->settings.probe_address6);
	if (name == 0 || a->config == NULL || agent_config_lookup_dip(a->config, name) == AGENT_NO_PORT) {
		if (is_probe)
			ask_in_own_name(a, p, ip);
		return is_probe;
	}
	nd_write_advertisement(p->frame, &gateway_mac, &nd, &a->settings.uplink_mac, ND_ROUTER, false);
	p->len = ND_ADVERTISEMENT_BYTES;
	p->verdict = AGENT_TO_TAP;
	return true;
}
