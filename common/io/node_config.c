#include "common/io/node_config.h"

#include <string.h>

static void read_address(struct node_config *c, struct json_reader *r)
{
	char text[IP_ADDR_TEXT_BYTES + 4] = "";
	struct error err = { 0 };
	json_reader_string(r, "address", text, sizeof text);
	if (r->err->code != 0)
		return;
	if (ip_prefix_parse(text, &c->address, &err) != 0)
		json_reader_fail(r, "address", "%s", err.text);
	else if (strchr(text, '/') == NULL || !ip_addr_is_v4(&c->address.addr) || !ip_addr_is_usable(&c->address.addr))
		json_reader_fail(r, "address", "must be an IPv4 address with its prefix length, like 10.0.0.31/24");
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
	for (size_t i = 0; i < n; i++) {
		const char *text = json_string_value(json_array_get(array, i));
		struct error err = { 0 };
		if (text == NULL)
			json_reader_fail(r, "gateways", "must hold addresses as strings");
		else if (ip_addr_parse(text, &c->gateways[i], &err) != 0)
			json_reader_fail(r, "gateways", "%s", err.text);
		else if (!ip_addr_is_v4(&c->gateways[i]))
			json_reader_fail(r, "gateways", "%s: IPv6 gateways are not supported yet", text);
	}
	c->n_gateways = (uint32_t)n;
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
	read_address(c, r);
	read_uplink(c, r);
	json_reader_string(r, "tap", c->tap, sizeof c->tap);
	if (c->tap[0] == '\0')
		json_reader_fail(r, "tap", "must name the interface to make for the node's own traffic");
	read_gateways(c, r);
	read_managers(c, r);
	json_reader_u64_or(r, "mtu", 576, 9000, &mtu);
	c->mtu = (uint32_t)mtu;
	read_eal(c, r);
}
