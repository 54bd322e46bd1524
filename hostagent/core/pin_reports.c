#include "hostagent/core/pin_reports.h"

#include <string.h>

#include "common/base/hash.h"
#include "common/packet/checksum.h"
#include "common/packet/encap.h"

bool pin_reports_note(struct pin_reports *p, const struct pin *pin, uint64_t flow_hash, struct mono_time now)
{
	struct pin_reports_recent *r = &p->recent[flow_hash % PIN_REPORTS_RECENT];
	uint32_t hash = (uint32_t)(flow_hash >> 32);
	uint32_t now_ms = (uint32_t)(now.us / 1000) | 1; // 0 is never
	bool was_reported = r->at_ms != 0 && r->hash == hash && now_ms - r->at_ms < PIN_REPORTS_AGAIN_US / 1000;
	if (was_reported || p->n == PINS_MAX)
		return false;
	*r = (struct pin_reports_recent){ .hash = hash, .at_ms = now_ms };
	p->items[p->n++] = *pin;
	return true;
}

uint32_t pin_reports_encode(struct pin_reports *p, uint64_t cluster_id, const uint8_t key[SIPHASH_KEY_BYTES],
                            be32 sender, uint64_t wall_us)
{
	if (p->n == 0)
		return 0;
	p->stamp_us = wall_us > p->stamp_us ? wall_us : p->stamp_us + 1;
	struct pin_message m = {
		.cluster_id = cluster_id, .stamp_us = p->stamp_us, .sender = pin_addr_from_ip4(sender), .n_pins = p->n
	};
	memcpy(m.pins, p->items, p->n * sizeof *p->items);
	p->n_bytes = pin_message_encode(&m, key, p->message);
	p->n = 0;
	return m.n_pins;
}

// RFC 768: over addresses, protocol and length, too; a checksum of 0 is sent as its complement.
static be16 udp_checksum(const struct udp_header *udp, uint32_t n_bytes, be32 src, be32 dst)
{
	uint32_t sum = (src & 0xffff) + (src >> 16) + (dst & 0xffff) + (dst >> 16);
	sum += be16_from(IP_PROTO_UDP);
	sum += udp->length;
	be16 checksum = (be16)~checksum_fold(checksum_add(udp, n_bytes, sum));
	return checksum == 0 ? 0xffff : checksum;
}

uint32_t pin_reports_write(const struct pin_reports *p, const struct pin_reports_route *route, uint8_t *frame)
{
	uint32_t udp_bytes = (uint32_t)sizeof(struct udp_header) + p->n_bytes;
	eth_write_ip4(frame, &route->dst_mac, &route->src_mac);
	struct ip4_header ip = {
		.version_ihl = 0x45,
		.total_length = be16_from((uint16_t)(IP4_BYTES + udp_bytes)),
		.fragment = be16_from(IP4_DONT_FRAGMENT),
		.ttl = ENCAP_TTL,
		.protocol = IP_PROTO_UDP,
		.src = route->src,
		.dst = route->dst,
	};
	ip.checksum = checksum_compute(&ip, sizeof ip);
	memcpy(frame + ETH_BYTES, &ip, sizeof ip);
	struct udp_header *udp = (struct udp_header *)(frame + ETH_BYTES + IP4_BYTES);
	*udp = (struct udp_header){ .src_port = be16_from(PIN_PORT),
		                        .dst_port = be16_from(PIN_PORT),
		                        .length = be16_from((uint16_t)udp_bytes) };
	memcpy(udp + 1, p->message, p->n_bytes);
	udp->checksum = udp_checksum(udp, udp_bytes, route->src, route->dst);
	return ETH_BYTES + IP4_BYTES + udp_bytes;
}
