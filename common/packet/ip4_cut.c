#include "common/packet/ip4_cut.h"

#include <string.h>

#include "common/packet/checksum.h"

enum { OPTION_END = 0, OPTION_NOP = 1, OPTION_COPIED = 0x80 };

static uint32_t header_bytes_of(const struct ip4_header *ip)
{
	return (ip->version_ihl & 0x0fu) * 4u;
}

static void put16(be16 *at, be16 value, be16 *checksum)
{
	*checksum = checksum_update16(*checksum, *at, value);
	*at = value;
}

// The options that every fragment has, filled up to whole words; returns how many bytes. Malformed ones end them.
static uint32_t copy_options(uint8_t *to, const uint8_t *from, uint32_t n)
{
	uint32_t n_copied = 0;
	for (uint32_t i = 0; i < n && from[i] != OPTION_END;) {
		uint32_t bytes = from[i] == OPTION_NOP ? 1 : i + 1 < n ? from[i + 1] : 0;
		if (bytes == 0 || bytes > n - i || (from[i] != OPTION_NOP && bytes < 2))
			break;
		if ((from[i] & OPTION_COPIED) != 0) {
			memcpy(to + n_copied, from + i, bytes);
			n_copied += bytes;
		}
		i += bytes;
	}
	while (n_copied % 4 != 0)
		to[n_copied++] = OPTION_END;
	return n_copied;
}

// Header and options of the second part, whose checksum is right when the packet's was. Returns how many bytes.
static uint32_t write_second_header(uint8_t *second, const uint8_t *packet, uint32_t data_bytes,
                                    uint32_t first_data_bytes)
{
	const struct ip4_header *ip = (const struct ip4_header *)packet;
	struct ip4_header *header = (struct ip4_header *)second;
	uint32_t n_old = header_bytes_of(ip);
	memcpy(second, packet, IP4_BYTES);
	uint32_t n = IP4_BYTES + copy_options(second + IP4_BYTES, packet + IP4_BYTES, n_old - IP4_BYTES);
	uint32_t wrong_by = checksum_fold(checksum_add(packet, n_old, 0)); // 0xffff of a right header
	header->version_ihl = (uint8_t)(0x40 | n / 4);
	header->total_length = be16_from((uint16_t)(n + data_bytes - first_data_bytes));
	header->fragment = be16_from((uint16_t)(be16_to(ip->fragment) + first_data_bytes / 8));
	header->checksum = 0;
	header->checksum = (be16)~checksum_fold(checksum_add(second, n, 0));
	if (wrong_by != 0xffff)
		header->checksum = (be16)~header->checksum;
	return n;
}

bool ip4_cut(uint8_t *packet, uint32_t n_bytes, uint32_t mtu, uint8_t *second, struct ip4_cut *ret_cut)
{
	struct ip4_header *ip = (struct ip4_header *)packet;
	uint32_t header_bytes = header_bytes_of(ip);
	if (mtu < header_bytes + 8 || n_bytes <= mtu)
		return false;
	uint32_t data_bytes = n_bytes - header_bytes;
	uint32_t first_data_bytes = (mtu - header_bytes) & ~7u;
	if (data_bytes - first_data_bytes + header_bytes > mtu)
		return false;
	uint32_t n = write_second_header(second, packet, data_bytes, first_data_bytes);
	memcpy(second + n, packet + header_bytes + first_data_bytes, data_bytes - first_data_bytes);
	be16 checksum = ip->checksum;
	be16 total = ip->total_length, fragment = ip->fragment;
	put16(&total, be16_from((uint16_t)(header_bytes + first_data_bytes)), &checksum);
	put16(&fragment, fragment | be16_from(IP4_MORE_FRAGMENTS), &checksum);
	ip->total_length = total;
	ip->fragment = fragment;
	ip->checksum = checksum;
	*ret_cut = (struct ip4_cut){ header_bytes + first_data_bytes, n + data_bytes - first_data_bytes };
	return true;
}
