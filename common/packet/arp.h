// ARP over Ethernet and IPv4 (RFC 826): reading a packet, writing requests and replies.
#pragma once

#include <stdint.h>

#include "common/packet/drop.h"
#include "common/packet/headers.h"

#define ARP_FRAME_BYTES (ETH_BYTES + 28)

enum arp_operation { ARP_REQUEST = 1, ARP_REPLY = 2 };

struct arp_info {
	enum arp_operation operation;
	struct mac sender_mac;
	be32 sender_ip; // 0 in a probe (RFC 5227)
	be32 target_ip;
};

// Reads a frame whose Ethernet type is ARP.
enum drop_reason arp_parse(const uint8_t *frame, uint32_t len, struct arp_info *ret_info);

// Writes ARP_FRAME_BYTES: "who has target_ip, tell sender_ip", broadcast unless dst is given.
void arp_write_request(uint8_t *frame, const struct mac *sender_mac, be32 sender_ip, be32 target_ip,
                       const struct mac *dst);

// Turns a request, in its own buffer, into the reply "target_ip is at my_mac".
void arp_write_reply(uint8_t *frame, const struct mac *my_mac);
