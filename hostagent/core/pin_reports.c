#include "hostagent/core/pin_reports.h"

#include <stddef.h>
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

static void encode(struct pin_reports *p, uint32_t family, struct pin_message *m, const struct pin_addr *sender,
                   const uint8_t *key)
{
	p->messages[family].n_bytes = 0;
	if (sender == NULL)
		return;
	m->sender = *sender;
	p->messages[family].n_bytes = pin_message_encode(m, key, p->messages[family].bytes);
}

uint32_t pin_reports_encode(struct pin_reports *p, uint64_t cluster_id, const uint8_t key[SIPHASH_KEY_BYTES],
                            const struct pin_reports_sender *sender, uint64_t wall_us)
{
	if (p->n == 0)
		return 0;
	p->stamp_us = wall_us > p->stamp_us ? wall_us : p->stamp_us + 1;
	struct pin_message m = { .cluster_id = cluster_id, .stamp_us = p->stamp_us, .n_pins = p->n };
	memcpy(m.pins, p->items, p->n * sizeof *p->items);
	p->n = 0;
	struct pin_addr addr = pin_addr_from_ip4(sender->addr);
	encode(p, 0, &m, sender->addr == 0 ? NULL : &addr, key);
	if (sender->addr6 != NULL)
		addr = pin_addr_from_ip6(sender->addr6);
	encode(p, 1, &m, sender->addr6 == NULL ? NULL : &addr, key);
	return m.n_pins;
}

// RFC 768, RFC 8200 section 8.1: over addresses, protocol and length, too; a checksum of 0 is sent as its complement.
static void write_udp(const struct pin_reports *p, uint32_t family, uint32_t pseudo_addrs, uint8_t *at)
{
	uint32_t n_bytes = p->messages[family].n_bytes;
	uint32_t udp_bytes = (uint32_t)sizeof(struct udp_header) + n_bytes;
	struct udp_header *udp = (struct udp_header *)at;
	*udp = (struct udp_header){ .src_port = be16_from(PIN_PORT),
		                        .dst_port = be16_from(PIN_PORT),
		                        .length = be16_from((uint16_t)udp_bytes) };
	memcpy(udp + 1, p->messages[family].bytes, n_bytes);
	uint32_t sum = pseudo_addrs + be16_from(IP_PROTO_UDP) + udp->length;
	be16 checksum = (be16)~checksum_fold(checksum_add(udp, udp_bytes, sum));
	udp->checksum = checksum == 0 ? 0xffff : checksum;
}

static uint32_t write_ip4(const struct pin_reports *p, const struct pin_reports_route *route, uint8_t *at)
{
	uint32_t udp_bytes = (uint32_t)sizeof(struct udp_header) + p->messages[0].n_bytes;
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
	memcpy(at, &ip, sizeof ip);
	write_udp(p, 0, checksum_add(at + offsetof(struct ip4_header, src), 8, 0), at + IP4_BYTES);
	return IP4_BYTES + udp_bytes;
}

static uint32_t write_ip6(const struct pin_reports *p, const struct pin_reports_route *route, uint8_t *at)
{
	uint32_t udp_bytes = (uint32_t)sizeof(struct udp_header) + p->messages[1].n_bytes;
	struct ip6_header ip = {
		.version_class_label = be32_from(0x60000000u),
		.payload_length = be16_from((uint16_t)udp_bytes),
		.next_header = IP_PROTO_UDP,
		.hop_limit = ENCAP_TTL,
	};
	memcpy(ip.src, route->src6, sizeof ip.src);
	memcpy(ip.dst, route->dst6, sizeof ip.dst);
	memcpy(at, &ip, sizeof ip);
	write_udp(p, 1, checksum_add(at + offsetof(struct ip6_header, src), 32, 0), at + IP6_BYTES);
	return IP6_BYTES + udp_bytes;
}

uint32_t pin_reports_write(const struct pin_reports *p, const struct pin_reports_route *route, uint8_t *frame)
{
	bool is_ip6 = route->src6 != NULL;
	if (p->messages[is_ip6].n_bytes == 0)
		return 0;
	struct eth_header eth = { .dst = route->dst_mac,
		                      .src = route->src_mac,
		                      .ether_type = be16_from(is_ip6 ? ETHER_IP6 : ETHER_IP4) };
	memcpy(frame, &eth, sizeof eth);
	return ETH_BYTES + (is_ip6 ? write_ip6 : write_ip4)(p, route, frame + ETH_BYTES);
}
