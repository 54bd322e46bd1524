#include "hostagent/io/config.h"

#include <string.h>

#include "common/packet/encap.h"
#include "hostagent/core/config.h"
#include "hostagent/core/flow_table.h"

#define CONFIG_BYTES_MAX (1u << 20)
#define PROBE_ADDRESS_DEFAULT "169.254.1.1"
#define PROBE_ADDRESS6_DEFAULT \
	"fd00:a9fe:101::1" // of RFC 4193, since a link-local one needs an interface on both sides

static void read_path(struct json_reader *r, const char *field, char *buf, size_t size)
{
	json_reader_string(r, field, buf, size);
	if (buf[0] != '/')
		json_reader_fail(r, field, "must be an absolute path");
}

static void read_probe_address(const struct node_config *node, struct json_reader *r, bool is_ip6,
                               struct ip_addr *ret_addr)
{
	const char *field = is_ip6 ? "probe_address6" : "probe_address";
	const char *usual = is_ip6 ? PROBE_ADDRESS6_DEFAULT : PROBE_ADDRESS_DEFAULT;
	char text[IP_ADDR_TEXT_BYTES];
	(void)text_copy(text, sizeof text, usual);
	json_reader_string_or(r, field, text, sizeof text);
	bool is_usable =
		ip_addr_parse(text, ret_addr, NULL) == 0 && ip_addr_is_v4(ret_addr) != is_ip6 && ip_addr_is_usable(ret_addr);
	if (!is_usable)
		json_reader_fail(r, field, "must be an %s address like \"%s\"", is_ip6 ? "IPv6" : "IPv4", usual);
	else if (ip_addr_equal(ret_addr, &node->address.addr) || ip_addr_equal(ret_addr, &node->address6.addr))
		json_reader_fail(r, field, "must not be the host's own address");
}

// What a packet has beside its TCP segment on its way from a mux.
#define MSS_HEADERS_BYTES (ENCAP_BYTES + IP4_TCP_BYTES)
#define MSS_MIN 536u // RFC 9293 section 3.7.1: what every way carries

static uint16_t read_mss(struct json_reader *r, uint32_t mtu)
{
	uint64_t most = mtu - MSS_HEADERS_BYTES;
	uint64_t mss = most;
	json_reader_u64_or(r, "mss", most < MSS_MIN ? most : MSS_MIN, most, &mss);
	return (uint16_t)mss;
}

static void read_own(struct agent_file_config *c, struct json_reader *r)
{
	uint64_t max_flows = 1048576;
	uint64_t max_vms = 16;
	strcpy(c->vm_driver, "af_xdp");
	read_path(r, "local_socket", c->local_socket, sizeof c->local_socket);
	read_path(r, "state_dir", c->state_dir, sizeof c->state_dir);
	json_reader_string_or(r, "vm_driver", c->vm_driver, sizeof c->vm_driver);
	if (strcmp(c->vm_driver, "af_xdp") != 0 && strcmp(c->vm_driver, "af_packet") != 0)
		json_reader_fail(r, "vm_driver", "must be \"af_xdp\" or \"af_packet\"");
	json_reader_u64_or(r, "max_flows", 1024, FLOW_TABLE_CAPACITY_MAX, &max_flows);
	json_reader_u64_or(r, "max_vms", 1, AGENT_PORTS_MAX, &max_vms);
	json_reader_bool_or(r, "proxy_arp", &c->proxy_arp);
	read_probe_address(&c->node, r, false, &c->probe_address);
	read_probe_address(&c->node, r, true, &c->probe_address6);
	c->max_flows = (uint32_t)max_flows;
	c->max_vms = (uint16_t)max_vms;
	c->mss = read_mss(r, c->node.mtu);
}

int agent_file_config_read(const char *path, struct agent_file_config *ret_config, struct error *err)
{
	json_t *root;
	struct json_reader r;
	memset(err, 0, sizeof *err);
	memset(ret_config, 0, sizeof *ret_config);
	int code = json_read_file(path, CONFIG_BYTES_MAX, &root, err);
	if (code != 0)
		return code;
	json_reader_init(&r, root, "", err);
	node_config_read(&ret_config->node, &r);
	read_own(ret_config, &r);
	code = json_reader_finish(&r);
	json_decref(root);
	return code == 0 ? 0 : error_prefix(err, "%s: ", path);
}
