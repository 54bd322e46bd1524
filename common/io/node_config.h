// The part of the configuration that muxes and agents share: who they are, their uplink, and their managers.
//
//   { "name": "mux1", "address": "10.0.0.31/24", "uplink": { "interface": "eth0", "driver": "af_xdp" }, "tap": "mux0",
//     "gateways": ["10.0.0.1"], "managers": ["10.0.0.11:7400"], "mtu": 1600, "eal": ["--no-huge", "-m", "64"] }
//
// "address" is of either family; a node of both families has its IPv4 address there and the other one in "address6"
// ("2001:db8::31/64"). "gateways" may be of both families, link-local ones too ("fe80::1"): each is the next hop of packets of its
// family. "uplink" may instead name any DPDK device:
// { "device": "net_memif0,role=client" } or { "device": "0000:3b:00.0" }.
#pragma once

#include "common/base/error.h"
#include "common/io/json_reader.h"
#include "common/model/object.h"
#include "common/base/text.h"

#define NODE_MANAGERS_MAX 9
#define NODE_GATEWAYS_MAX 16
#define NODE_EAL_ARGS_MAX 16
#define NODE_DEVICE_BYTES 256

struct node_config {
	char name[NAME_BYTES];
	struct ip_prefix address; // of the node on the uplink's segment
	struct ip_prefix address6; // likewise, when address is IPv4; all 0: none
	char uplink_interface[16]; // "" when a device is given
	char uplink_driver[16]; // "af_xdp" or "af_packet"
	char uplink_device[NODE_DEVICE_BYTES]; // DPDK device arguments; "" when an interface is given
	char tap[16]; // kernel interface for the node's own traffic
	uint32_t n_gateways;
	struct ip_addr gateways[NODE_GATEWAYS_MAX];
	uint32_t n_managers;
	char managers[NODE_MANAGERS_MAX][64];
	const char *manager_list[NODE_MANAGERS_MAX]; // points into managers
	uint32_t mtu; // bytes; of the uplink
	uint32_t n_eal_args;
	char eal_args[NODE_EAL_ARGS_MAX][128];
};

// Defaults, then reads the shared fields with r; the caller reads its own and calls json_reader_finish.
void node_config_read(struct node_config *c, struct json_reader *r);

// The node's address of a family, or NULL; the first gateway of a family, or NULL.
const struct ip_prefix *node_config_address(const struct node_config *c, bool is_ip6);
const struct ip_addr *node_config_gateway(const struct node_config *c, bool is_ip6);

// The node as it subscribes.
struct node_info node_config_info(const struct node_config *c);
