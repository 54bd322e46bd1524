// The JSON document of a VIP, and back: what is printed parses back to the same configuration.
//
//   { "vip": "203.0.113.10", "tenant": "shop", "drain_s": 3600, "when_all_down": "send", "idle": { "tcp_s": 7440, "udp_s": 300 },
//     "endpoints": [ { "name": "web", "protocol": "tcp", "port": 80,
//                      "dips": [ { "dip": "10.1.1.11", "port": 8080, "weight": 1 } ],
//                      "probe": { "type": "http", "path": "/health" } } ],
//     "snat": { "dips": [ "10.1.1.11" ], "range_size": 8, "first_port": 1024, "prealloc_ports": 160,
//               "max_ports_per_dip": 16384, "idle_s": 120 } }
//
// Of protocol "any" no port is given.
// `drain_s` may be left out (DRAIN_DEFAULT_S), `when_all_down` ("send": to all DIPs all the same; or "refuse" new connections),
// `idle` and each of its fields (as agents have them), `weight` (1), `probe` (manager/cli/probe_json.h), `snat` too, and of `snat` all but `dips` (SNAT_POLICY_DEFAULT; prealloc_ports is then less
// where the other fields leave no room for it); `endpoints` only beside `snat`. Unknown fields are refused by name.
// A `status` object is ignored: `vip show -o json` prints there what is no configuration (manager/cli/vip_status.h).
// Fuzz target: tests/fuzz/vip_json.
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "common/base/error.h"
#include "common/model/vip.h"

// A checked configuration (vip_config_validate), for vip_config_destroy. The sentence begins with the path of the field:
// "endpoints[1].dips[0].port: must be 1 to 65535, got 0"; syntax errors say line and column.
NODISCARD int vip_json_parse(const char *text, size_t n, struct vip_config **ret_vip, struct error *err);

// The same from a value that is read already; `path` is put before fields: "" or "vips[3].".
NODISCARD int vip_json_read(json_t *root, const char *path, struct vip_config **ret_vip, struct error *err);

// From a file ("-": standard input) of at most LIMIT_CONFIG_FILE_BYTES; the sentence begins with its name.
NODISCARD int vip_json_read_file(const char *path, struct vip_config **ret_vip, struct error *err);

// The document, for json_decref; NULL when memory is short.
json_t *vip_json_make(const struct vip_config *vip);
