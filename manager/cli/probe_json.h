// The probe of an endpoint in a VIP document, and back:
//
//   "probe": { "type": "http", "port": 8080, "path": "/health", "expect": "200-399", "interval_ms": 2000, "timeout_ms": 1000,
//              "up": 2, "down": 2 }
//
// All but `type` may be left out (PROBE_DEFAULT). `port`: then the DIP's own of the endpoint, which those of UDP do not have;
// `timeout_ms`: where the interval is shorter, as long as that. `path` and `expect` belong to "http" alone.
#pragma once

#include "common/io/json_reader.h"
#include "common/model/vip.h"

// Reads the field `probe` of an endpoint, if it is there. Failures are the reader's, with the field's path. Whether the numbers fit
// together is vip_config_validate's.
void probe_json_read(struct json_reader *endpoint, struct probe *ret_probe);

// NULL when there is none, or memory is short.
json_t *probe_json_make(const struct probe *probe);

// "http 8080 /health" for people: the type, its port when it is not the DIP's own, and the path.
#define PROBE_TEXT_BYTES (PROBE_PATH_BYTES + 16)
const char *probe_json_format(const struct probe *probe, char *buf);
