#include "common/io/node_config.h"

#include <string.h>

#include "common/packet/headers.h"

static bool read_prefix(struct json_reader *r, const char *field, const char *text, struct ip_prefix *ret_prefix)
{
	struct error err = { 0 };
	if (ip_prefix_parse(text, ret_prefix, &err) != 0) {
		json_reader_fail(r, field, "%s", err.text);
		return false;
	}
	const char *problem = ip_addr_problem(&ret_prefix->addr);
	if (strchr(text, '/') == NULL)
		json_reader_fail(r, field, "must be an address with its prefix length, like 10.0.0.31/24 or 2001:db8::31/64");
	else if (problem != NULL)
		json_reader_fail(r, field, "%s is not an address that a machine can have: %s", text, problem);
	return r->err->code == 0;
}

static void read_addresses(struct node_config *c, struct json_reader *r)
{
	char text[IP_ADDR_TEXT_BYTES + 4] = "";
	json_reader_string(r, "address", text, sizeof text);
	if (r->err->code != 0 || !read_prefix(r, "address", text, &c->address))
		return;
	text[0] = '\0';
	json_reader_string_or(r, "address6", text, sizeof text);
	if (text[0] == '\0' || r->err->code != 0 || !read_prefix(r, "address6", text, &c->address6))
		return;
	if (ip_addr_is_v4(&c->address6.addr))
		json_reader_fail(r, "address6", "must be an IPv6 address, got %s", text);
	else if (!ip_addr_is_v4(&c->address.addr))
		json_reader_fail(r, "address6", "\"address\" is IPv6 already; give the IPv4 one there, or leave this out");
}

static void read_uplink(struct node_config *c, struct json_reader *r)
{
	json_t *object = json_reader_object(r, "uplink", true);
	if (object == NULL)
		return;
	char path[JSON_PATH_BYTES];
	struct json_reader uplink;
	json_reader_init(&uplink, object, json_reader_path(r, "uplink", -1, path), r->err);
	json_reader_string_or(&uplink, "interface", c->uplink_interface, sizeof c->uplink_interface);
	json_reader_string_or(&uplink, "driver", c->uplink_driver, sizeof c->uplink_driver);
	json_reader_string_or(&uplink, "device", c->uplink_device, sizeof c->uplink_device);
	if ((c->uplink_interface[0] == '\0') == (c->uplink_device[0] == '\0'))
		json_reader_fail(r, "uplink", "must have either \"interface\" or \"device\"");
	if (strcmp(c->uplink_driver, "af_xdp") != 0 && strcmp(c->uplink_driver, "af_packet") != 0)
		json_reader_fail(&uplink, "driver", "must be \"af_xdp\" or \"af_packet\"");
	(void)!json_reader_finish(&uplink);
}

static void read_gateway(struct node_config *c, struct json_reader *r, const char *text)
{
	struct ip_addr *gateway = &c->gateways[c->n_gateways];
	struct error err = { 0 };
	if (text == NULL) {
		json_reader_fail(r, "gateways", "must hold addresses as strings");
	} else if (ip_addr_parse(text, gateway, &err) != 0) {
		json_reader_fail(r, "gateways", "%s", err.text);
	} else {
		const char *problem = ip_addr_problem(gateway);
		if (problem != NULL && !ip_addr_is_link_local6(gateway)) // a router's usual address (RFC 4861 section 6.1.2)
			json_reader_fail(r, "gateways", "%s is no router's address: %s", text, problem);
	}
	c->n_gateways++;
}

static void read_gateways(struct node_config *c, struct json_reader *r)
{
	json_t *array = json_reader_array(r, "gateways", true);
	if (array == NULL)
		return;
	size_t n = json_array_size(array);
	if (n == 0 || n > NODE_GATEWAYS_MAX) {
		json_reader_fail(r, "gateways", "must hold 1 to %d addresses", NODE_GATEWAYS_MAX);
		return;
	}
	for (size_t i = 0; i < n; i++)
		read_gateway(c, r, json_string_value(json_array_get(array, i)));
}

static void read_managers(struct node_config *c, struct json_reader *r)
{
	json_t *array = json_reader_array(r, "managers", true);
	if (array == NULL)
		return;
	size_t n = json_array_size(array);
	if (n == 0 || n > NODE_MANAGERS_MAX) {
		json_reader_fail(r, "managers", "must hold 1 to %d of ADDRESS:PORT", NODE_MANAGERS_MAX);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		const char *text = json_string_value(json_array_get(array, i));
		struct ip_addr addr;
		uint16_t port;
		struct error err = { 0 };
		if (text == NULL || !text_copy(c->managers[i], sizeof c->managers[i], text))
			json_reader_fail(r, "managers", "must hold ADDRESS:PORT as strings");
		else if (ip_endpoint_parse(text, &addr, &port, &err) != 0)
			json_reader_fail(r, "managers", "%s", err.text);
		c->manager_list[i] = c->managers[i];
	}
	c->n_managers = (uint32_t)n;
}

static void read_eal(struct node_config *c, struct json_reader *r)
{
	json_t *array = json_reader_array(r, "eal", false);
	if (array == NULL)
		return;
	size_t n = json_array_size(array);
	if (n > NODE_EAL_ARGS_MAX) {
		json_reader_fail(r, "eal", "at most %d arguments", NODE_EAL_ARGS_MAX);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		const char *text = json_string_value(json_array_get(array, i));
		if (text == NULL || !text_copy(c->eal_args[i], sizeof c->eal_args[i], text))
			json_reader_fail(r, "eal", "must hold strings of at most %zu characters", sizeof c->eal_args[i] - 1);
	}
	c->n_eal_args = (uint32_t)n;
}

void node_config_read(struct node_config *c, struct json_reader *r)
{
	memset(c, 0, sizeof *c);
	strcpy(c->uplink_driver, "af_xdp");
	uint64_t mtu = 1600;
	json_reader_string(r, "name", c->name, sizeof c->name);
	if (!text_is_name(c->name))
		json_reader_fail(r, "name", "must be 1 to 63 of A-Z a-z 0-9 . _ -");
	read_addresses(c, r);
	read_uplink(c, r);
	json_reader_string(r, "tap", c->tap, sizeof c->tap);
	if (c->tap[0] == '\0')
		json_reader_fail(r, "tap", "must name the interface to make for the node's own traffic");
	read_gateways(c, r);
	read_managers(c, r);
	json_reader_u64_or(r, "mtu", 576, 9000, &mtu);
	c->mtu = (uint32_t)mtu;
	if (mtu < IP6_MTU_MIN && (node_config_address(c, true) != NULL || node_config_gateway(c, true) != NULL))
		json_reader_fail(r, "mtu", "must be at least %d where IPv6 is used (RFC 8200), got %u", IP6_MTU_MIN, c->mtu);
	read_eal(c, r);
}

const struct ip_prefix *node_config_address(const struct node_config *c, bool is_ip6)
{
	if (ip_addr_is_v4(&c->address.addr) != is_ip6)
		return &c->address;
	return is_ip6 && !ip_addr_is_unspecified(&c->address6.addr) ? &c->address6 : NULL;
}

const struct ip_addr *node_config_gateway(const struct node_config *c, bool is_ip6)
{
	for (uint32_t i = 0; i < c->n_gateways; i++)
		if (ip_addr_is_v4(&c->gateways[i]) != is_ip6)
			return &c->gateways[i];
	return NULL;
}

struct node_info node_config_info(const struct node_config *c)
{
	struct node_info node = { .addr = c->address.addr, .addr6 = c->address6.addr };
	memcpy(node.name, c->name, sizeof node.name);
	return node;
}
