#include "common/model/ip_addr.h"

#include <arpa/inet.h> // inet_pton and inet_ntop: text only, no socket

#include "common/base/text.h"

static const char *problem_v4(uint8_t first)
{
	if (first == 0)
		return "0.0.0.0/8 is no machine's (RFC 1122)";
	if (first == 127)
		return "it is a loopback address";
	if (first >= 240)
		return "240.0.0.0/4 is reserved";
	return first >= 224 ? "it is a multicast address" : NULL;
}

const char *ip_addr_problem(const struct ip_addr *a)
{
	static const struct ip_addr loopback = { { [15] = 1 } };
	if (ip_addr_is_v4(a))
		return problem_v4(a->bytes[12]);
	if (ip_addr_is_unspecified(a))
		return "it is the unspecified address";
	if (ip_addr_equal(a, &loopback))
		return "it is the loopback address";
	if (a->bytes[0] == 0xff)
		return "it is a multicast address";
	if (ip_addr_is_link_local6(a))
		return "it is link-local, which no router forwards";
	if (load64(a->bytes) == 0 && load32(a->bytes + 8) == 0)
		return "::/96 is used no more (RFC 4291)";
	return NULL;
}

const char *ip_addr_format(const struct ip_addr *a, char *buf)
{
	if (ip_addr_is_v4(a))
		return inet_ntop(AF_INET, a->bytes + 12, buf, IP_ADDR_TEXT_BYTES);
	return inet_ntop(AF_INET6, a->bytes, buf, IP_ADDR_TEXT_BYTES);
}

int ip_addr_parse(const char *text, struct ip_addr *ret_addr, struct error *err)
{
	uint8_t v4[4];
	if (inet_pton(AF_INET, text, v4) == 1) {
		*ret_addr = ip_addr_from_v4(load32(v4));
		return 0;
	}
	struct ip_addr v6;
	if (inet_pton(AF_INET6, text, v6.bytes) == 1) {
		*ret_addr = v6;
		return 0;
	}
	return error_set(err, ERR_INVALID, "\"%.60s\" is no IP address", text);
}

int ip_prefix_parse(const char *text, struct ip_prefix *ret_prefix, struct error *err)
{
	char addr_text[IP_ADDR_TEXT_BYTES];
	const char *slash = strchr(text, '/');
	size_t n = slash != NULL ? (size_t)(slash - text) : strlen(text);
	if (n >= sizeof addr_text)
		return error_set(err, ERR_INVALID, "\"%.60s\" is no IP address with a prefix length", text);
	memcpy(addr_text, text, n);
	addr_text[n] = '\0';
	struct ip_prefix p;
	int code = ip_addr_parse(addr_text, &p.addr, err);
	if (code != 0)
		return code;
	uint64_t max = ip_addr_is_v4(&p.addr) ? 32 : 128;
	uint64_t bits = max;
	if (slash != NULL && !text_parse_u64(slash + 1, 0, max, &bits))
		return error_set(err, ERR_INVALID, "\"%.60s\": the prefix length must be 0 to %u", text, (unsigned)max);
	p.bits = (uint8_t)bits;
	*ret_prefix = p;
	return 0;
}

int ip_endpoint_parse(const char *text, struct ip_addr *ret_addr, uint16_t *ret_port, struct error *err)
{
	char addr_text[IP_ADDR_TEXT_BYTES];
	const char *start = text;
	const char *end = strrchr(text, ':');
	const char *port_text = end != NULL ? end + 1 : NULL;
	if (text[0] != '[' && strchr(text, ':') != end)
		return error_set(err, ERR_INVALID, "\"%.60s\": an IPv6 address stands in brackets: [ADDRESS]:PORT", text);
	if (text[0] == '[') {
		start = text + 1;
		end = strchr(text, ']');
		port_text = end != NULL && end[1] == ':' ? end + 2 : NULL;
	}
	uint64_t port = 0;
	if (end == NULL || port_text == NULL || (size_t)(end - start) >= sizeof addr_text ||
	    !text_parse_u64(port_text, 1, 65535, &port))
		return error_set(err, ERR_INVALID, "\"%.60s\" is not of the form ADDRESS:PORT", text);
	memcpy(addr_text, start, (size_t)(end - start));
	addr_text[end - start] = '\0';
	int code = ip_addr_parse(addr_text, ret_addr, err);
	if (code != 0)
		return code;
	*ret_port = (uint16_t)port;
	return 0;
}

const char *ip_endpoint_format(const struct ip_addr *addr, uint16_t port, char *buf)
{
	char text[IP_ADDR_TEXT_BYTES];
	(void)text_format(buf, IP_ENDPOINT_TEXT_BYTES, ip_addr_is_v4(addr) ? "%s:%u" : "[%s]:%u",
	                  ip_addr_format(addr, text), port);
	return buf;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int mac_parse(const char *text, uint8_t ret_mac[6], struct error *err)
{
	uint8_t mac[6];
	const char *p = text;
	for (int i = 0; i < 6; i++, p += 2) {
		if (i > 0 && *p++ != ':')
			return error_set(err, ERR_INVALID, "\"%.40s\" is no MAC address (aa:bb:cc:dd:ee:ff)", text);
		int high = hex_digit(p[0]);
		int low = high < 0 ? -1 : hex_digit(p[1]);
		if (low < 0)
			return error_set(err, ERR_INVALID, "\"%.40s\" is no MAC address (aa:bb:cc:dd:ee:ff)", text);
		mac[i] = (uint8_t)(high * 16 + low);
	}
	if (*p != '\0')
		return error_set(err, ERR_INVALID, "\"%.40s\" is no MAC address (aa:bb:cc:dd:ee:ff)", text);
	memcpy(ret_mac, mac, 6);
	return 0;
}

const char *mac_format(const uint8_t mac[6], char *buf)
{
	text_format(buf, MAC_TEXT_BYTES, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
	return buf;
}
