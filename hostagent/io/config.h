// The configuration file of ananta-agent: what all nodes have (common/io/node_config.h), and
//
//   "local_socket": "/run/ananta/agent.sock", "state_dir": "/run/ananta/agent", "vm_driver": "af_xdp",
//   "max_flows": 1048576, "max_vms": 16, "mss": 1540, "proxy_arp": false,
//   "probe_address": "169.254.1.1", "probe_address6": "fd00:a9fe:101::1"
//
// All but local_socket and state_dir have these defaults; `mss` is at most what `mtu` leaves beside outer header, IP and TCP (60
// bytes), and that by default. A VM whose interface takes less gets less. state_dir belongs on tmpfs.
#pragma once

#include "common/io/node_config.h"
#include "common/io/state_dir.h"

struct agent_file_config {
	struct node_config node;
	char local_socket[100]; // sun_path holds 108
	char state_dir[STATE_DIR_BYTES];
	char vm_driver[16];
	uint32_t max_flows;
	uint16_t max_vms;
	uint16_t mss;
	bool proxy_arp;
	struct ip_addr probe_address; // IPv4: what probes of VMs come from
	struct ip_addr probe_address6; // likewise of DIPs of IPv6
};

// Reads and checks a whole file. ERR_INVALID or ERR_IO with the file, the field and what is right.
NODISCARD int agent_file_config_read(const char *path, struct agent_file_config *ret_config, struct error *err);
