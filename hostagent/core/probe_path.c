#include "hostagent/core/probe_path.h"

#include "common/packet/icmp_error.h"
#include "hostagent/core/nd_path.h"
#include "hostagent/core/verdict.h"

// ---- From the host's own kernel ----

// The kernel asks for a DIP as for a neighbour (io/probe_socket.c): it is behind the gateway's MAC address, as from the VMs' side.
// It may ask for a real gateway, too, with the address of the packet that waits for it (a late RST to a VM, say): then it asks
// in the host's own name, for everything that the host sends waits for the same answer.
static void on_arp_of_probe(struct agent *a, struct agent_packet *p, const struct arp_info *arp)
{
	static const struct mac gateway = AGENT_GATEWAY_MAC;
	if (arp->operation != ARP_REQUEST) {
		verdict_drop(a, p, DROP_PROBE_NOT_LOCAL);
		return;
	}
	if (a->config == NULL || agent_config_lookup_dip(a->config, arp->target_ip) == AGENT_NO_PORT) {
		((struct arp_packet *)(p->frame + ETH_BYTES))->sender_ip = a->settings.address;
		return;
	}
	arp_write_reply(p->frame, &gateway);
	p->len = ARP_FRAME_BYTES;
	p->verdict = AGENT_TO_TAP;
}

static void give_probe(struct agent *a, struct agent_packet *p, const struct parsed *ip)
{
	be32 dip = ip->is_ip6 ? agent_lookup_name(a, parsed_dst6(p->frame, ip)) : ip->dst;
	uint16_t port = a->config == NULL || dip == 0 ? AGENT_NO_PORT : agent_config_lookup_dip(a->config, dip);
	if (port == AGENT_NO_PORT) {
		verdict_drop(a, p, DROP_PROBE_NOT_LOCAL);
		return;
	}
	p->ip = *ip;
	verdict_to_vm(a, p, port);
}

static void from_host_ip6(struct agent *a, struct agent_packet *p)
{
	struct parsed ip;
	enum drop_reason reason = parse_ip6(p->frame, p->len, ETH_BYTES, &ip);
	if (ip6_is_unspecified(a->settings.probe_address6) || !reason_is_carried(reason))
		return;
	if (reason == DROP_NONE && nd_path_host(a, p, &ip))
		return;
	if (probe_path_is_source(a, p->frame, &ip))
		give_probe(a, p, &ip);
}

static void from_host_ip4(struct agent *a, struct agent_packet *p, be16 type)
{
	struct parsed ip;
	struct arp_info arp;
	if (a->settings.probe_address == 0)
		return;
	if (type == be16_from(ETHER_IP4)) {
		enum drop_reason reason = parse_ip4(p->frame, p->len, ETH_BYTES, &ip);
		if (reason_is_carried(reason) && ip.src == a->settings.probe_address)
			give_probe(a, p, &ip);
	} else if (type == be16_from(ETHER_ARP) && arp_parse(p->frame, p->len, &arp) == DROP_NONE &&
	           arp.sender_ip == a->settings.probe_address) {
		on_arp_of_probe(a, p, &arp);
	}
}

static void from_host(struct agent *a, struct agent_packet *p)
{
	p->reason = DROP_NONE;
	p->verdict = AGENT_TO_UPLINK;
	if (p->len < ETH_BYTES)
		return;
	be16 type = frame_ether_type(p->frame);
	if (type == be16_from(ETHER_IP6))
		from_host_ip6(a, p);
	else
		from_host_ip4(a, p, type);
}

void agent_from_host(struct agent *a, struct agent_packet *packets, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		from_host(a, &packets[i]);
}

// ---- From a VM to the probe address ----

// The VM begins no connection, and an error is about what was sent to this VM: the kernel would believe it of any of its
// connections.
static bool is_answer(const struct agent *a, const uint8_t *frame, const struct parsed *ip)
{
	struct icmp_error error;
	if (ip->protocol == IP_PROTO_TCP)
		return (ip->tcp_flags & (TCP_ACK | TCP_RST)) != 0;
	if (!packet_is_icmp(ip) || icmp_error_parse(frame, ip, &error) != DROP_NONE)
		return false;
	if (ip->is_ip6)
		return probe_path_has6(a, icmp_error_src6(frame, &error)) &&
		       ip6_addr_equal(icmp_error_dst6(frame, &error), parsed_src6(frame, ip));
	return error.src == a->settings.probe_address && error.dst == ip->src;
}

void probe_path_answer(struct agent *a, struct agent_packet *p, struct parsed ip, enum drop_reason reason)
{
	static const struct mac gateway = AGENT_GATEWAY_MAC;
	if (reason != DROP_NONE || !is_answer(a, p->frame, &ip)) {
		verdict_drop(a, p, DROP_PROBE_NOT_ANSWER);
		return;
	}
	if (!token_bucket_take(&a->probe_limit[p->port], a->now)) {
		verdict_drop(a, p, DROP_PROBE_LIMITED);
		return;
	}
	p->verdict = AGENT_TO_TAP;
	eth_put(p->frame, &a->settings.uplink_mac, &gateway, ip.is_ip6);
}
