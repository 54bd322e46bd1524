#include "common/packet/arp.h"

enum { ARP_ETHERNET = 1 };

static struct arp_packet *arp_of(uint8_t *frame)
{
	return (struct arp_packet *)(frame + ETH_BYTES);
}

enum drop_reason arp_parse(const uint8_t *frame, uint32_t len, struct arp_info *ret_info)
{
	if (len < ARP_FRAME_BYTES)
		return DROP_RUNT;
	const struct arp_packet *arp = (const struct arp_packet *)(frame + ETH_BYTES);
	if (arp->hardware != be16_from(ARP_ETHERNET) || arp->protocol != be16_from(ETHER_IP4) ||
	    arp->hardware_bytes != MAC_BYTES || arp->protocol_bytes != 4)
		return DROP_ARP_MALFORMED;
	uint16_t operation = be16_to(arp->operation);
	if (operation != ARP_REQUEST && operation != ARP_REPLY)
		return DROP_ARP_MALFORMED;
	ret_info->operation = (enum arp_operation)operation;
	ret_info->sender_mac = arp->sender_mac;
	ret_info->sender_ip = arp->sender_ip;
	ret_info->target_ip = arp->target_ip;
	return DROP_NONE;
}

static void write_eth(uint8_t *frame, const struct mac *dst, const struct mac *src)
{
	struct eth_header header = { .dst = *dst, .src = *src, .ether_type = be16_from(ETHER_ARP) };
	memcpy(frame, &header, sizeof header);
}

void arp_write_request(uint8_t *frame, const struct mac *sender_mac, be32 sender_ip, be32 target_ip,
                       const struct mac *dst)
{
	static const struct mac broadcast = { { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } };
	write_eth(frame, dst != NULL ? dst : &broadcast, sender_mac);
	*arp_of(frame) = (struct arp_packet){
		.hardware = be16_from(ARP_ETHERNET),
		.protocol = be16_from(ETHER_IP4),
		.hardware_bytes = MAC_BYTES,
		.protocol_bytes = 4,
		.operation = be16_from(ARP_REQUEST),
		.sender_mac = *sender_mac,
		.sender_ip = sender_ip,
		.target_ip = target_ip,
	};
}

void arp_write_reply(uint8_t *frame, const struct mac *my_mac)
{
	struct arp_packet *arp = arp_of(frame);
	be32 asked = arp->target_ip;
	arp->operation = be16_from(ARP_REPLY);
	arp->target_mac = arp->sender_mac;
	arp->target_ip = arp->sender_ip;
	arp->sender_mac = *my_mac;
	arp->sender_ip = asked;
	struct mac dst = arp->target_mac;
	write_eth(frame, &dst, my_mac);
}
