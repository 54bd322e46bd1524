// "bgp" in the configuration file of ananta-mux, and what is done with it. Either the mux writes BIRD's configuration:
//
//   "bgp": { "as": 65001, "router_id": "10.0.0.31", "hold_s": 9, "keepalive_s": 3,
//            "peers": [{ "name": "router1", "address": "10.0.0.1", "as": 65000, "password": "...", "ttl_security": true,
//                        "multihop": 3 }],
//            "bfd": { "interval_ms": 100, "multiplier": 3 },
//            "file": "/etc/bird/ananta.conf", "bird": "/usr/sbin/bird", "control": "/run/bird/bird.ctl" }
//
// or somebody else has: "bgp": { "operator_file": "/etc/bird/bird.conf", "bird": ... }. Without "bgp" BIRD is none of its business.
#pragma once

#include "common/io/node_config.h"
#include "mux/bgp/bird.h"
#include "mux/bgp/routes.h"

enum bgp_mode { BGP_UNMANAGED, BGP_WRITTEN, BGP_OPERATOR };

struct bgp_file_config {
	enum bgp_mode mode;
	struct bgp_config bgp; // of BGP_WRITTEN
	struct bird_files files;
};

// After the rest of the node: its address is the default of router_id.
void bgp_config_read(struct bgp_file_config *c, const struct node_config *node, struct json_reader *r);

// BIRD's configuration of BGP_WRITTEN, in buf of BIRD_CONFIG_BYTES_MAX. ERR_LIMIT.
NODISCARD int bgp_config_text(const struct bgp_file_config *c, const struct node_config *node,
                              const struct routes_config *routes, char *buf, struct error *err);

// For --check-config: also BIRD's own check where BIRD is installed, and what an operator's file lacks. ERR_INVALID, ERR_IO.
NODISCARD int bgp_config_verify(const struct bgp_file_config *c, const struct node_config *node,
                                const struct routes_config *routes, struct error *err);

// At start: writes the file and has BIRD take it over where it changed; or looks at the operator's and warns. ERR_IO when the
// file cannot be written. What BIRD says goes to the log.
NODISCARD int bgp_config_use(const struct bgp_file_config *c, const struct node_config *node,
                             const struct routes_config *routes, struct error *err);
