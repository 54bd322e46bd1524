#include "common/packet/pin.h"

#include <string.h>

#include "common/base/check.h"

#define PIN_MAGIC 0x414e504eu // "ANPN"
#define PIN_VERSION 2

struct pin_wire_header {
	be32 magic;
	uint8_t version;
	uint8_t n_pins;
	uint8_t zero[2];
	uint64_t cluster_id; // this and the next: network byte order
	uint64_t stamp_us;
	struct pin_addr sender;
} PACKED;

struct pin_wire {
	struct pin_addr remote;
	struct pin_addr vip;
	struct pin_addr dip;
	be16 remote_port;
	be16 vip_port;
	uint8_t protocol;
	uint8_t zero[3];
} PACKED;

_Static_assert(sizeof(struct pin_wire_header) == PIN_HEADER_BYTES, "header of a pin message");
_Static_assert(sizeof(struct pin_wire) == PIN_BYTES, "pin on the wire");

uint32_t pin_message_encode(const struct pin_message *m, const uint8_t key[SIPHASH_KEY_BYTES], uint8_t *out)
{
	CHECK(m->n_pins >= 1 && m->n_pins <= PINS_MAX);
	struct pin_wire_header header = { .magic = be32_from(PIN_MAGIC),
		                              .version = PIN_VERSION,
		                              .n_pins = (uint8_t)m->n_pins,
		                              .cluster_id = __builtin_bswap64(m->cluster_id),
		                              .stamp_us = __builtin_bswap64(m->stamp_us),
		                              .sender = m->sender };
	uint8_t *end = out + sizeof header;
	memcpy(out, &header, sizeof header);
	for (uint32_t i = 0; i < m->n_pins; i++, end += PIN_BYTES) {
		const struct pin *p = &m->pins[i];
		struct pin_wire wire = { p->remote, p->vip, p->dip, p->remote_port, p->vip_port, p->protocol, { 0 } };
		memcpy(end, &wire, sizeof wire);
	}
	store64(end, __builtin_bswap64(siphash24(key, out, (size_t)(end - out))));
	return (uint32_t)(end + PIN_TAG_BYTES - out);
}

static bool pin_is_well_formed(const uint8_t *data)
{
	const struct pin_wire *p = (const struct pin_wire *)data;
	bool has_ports = p->protocol == IP_PROTO_TCP || p->protocol == IP_PROTO_UDP;
	bool is_ip4 = pin_addr_is_ip4(&p->vip);
	if (pin_addr_is_ip4(&p->remote) != is_ip4 || pin_addr_is_ip4(&p->dip) != is_ip4)
		return false;
	return (has_ports || (ip_protocol_is_any(p->protocol) && (p->remote_port | p->vip_port) == 0)) &&
	       (p->zero[0] | p->zero[1] | p->zero[2]) == 0;
}

bool pin_message_is_well_formed(const uint8_t *data, size_t n_bytes, uint64_t cluster_id)
{
	const struct pin_wire_header *header = (const struct pin_wire_header *)data;
	if (n_bytes < PIN_HEADER_BYTES + PIN_BYTES + PIN_TAG_BYTES)
		return false;
	if (header->magic != be32_from(PIN_MAGIC) || header->version != PIN_VERSION ||
	    (header->zero[0] | header->zero[1]) != 0 || header->cluster_id != __builtin_bswap64(cluster_id))
		return false;
	if (header->n_pins > PINS_MAX || n_bytes != PIN_HEADER_BYTES + header->n_pins * (size_t)PIN_BYTES + PIN_TAG_BYTES)
		return false;
	for (uint32_t i = 0; i < header->n_pins; i++)
		if (!pin_is_well_formed(data + PIN_HEADER_BYTES + i * PIN_BYTES))
			return false;
	return true;
}

bool pin_message_is_authentic(const uint8_t *data, size_t n_bytes, const struct pin_addr *sender,
                              const uint8_t key[SIPHASH_KEY_BYTES])
{
	size_t n_signed = n_bytes - PIN_TAG_BYTES;
	uint64_t tag = __builtin_bswap64(load64(data + n_signed));
	const uint8_t *said = ((const struct pin_wire_header *)data)->sender.bytes;
	uint64_t other = (load64(said) ^ load64(sender->bytes)) | (load64(said + 8) ^ load64(sender->bytes + 8));
	return ((siphash24(key, data, n_signed) ^ tag) | other) == 0;
}

void pin_message_decode(const uint8_t *data, struct pin_message *ret_message)
{
	const struct pin_wire_header *header = (const struct pin_wire_header *)data;
	ret_message->cluster_id = __builtin_bswap64(header->cluster_id);
	ret_message->stamp_us = __builtin_bswap64(header->stamp_us);
	ret_message->sender = header->sender;
	ret_message->n_pins = header->n_pins;
	for (uint32_t i = 0; i < header->n_pins; i++) {
		struct pin_wire wire;
		memcpy(&wire, data + PIN_HEADER_BYTES + i * PIN_BYTES, sizeof wire);
		ret_message->pins[i] =
			(struct pin){ wire.remote, wire.vip, wire.dip, wire.remote_port, wire.vip_port, wire.protocol };
	}
}
