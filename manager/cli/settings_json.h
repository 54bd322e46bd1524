// The JSON document of the cluster's settings, and back: what is printed parses back to the same settings.
//
//   { "snat": { "never": [ "10.0.0.0/8" ], "quarantine_s": 60, "log_s": 604800, "gone_s": 86400,
//               "dip_requests_per_s": 20 },
//     "health": { "host_gone_ms": 2000, "fail_static_percent": 50 },
//     "mux": { "withdraw_percent": 50 } }
//
// Any field may be left out and is then the default (cluster_settings_default); `"never": []` is none at all. Unknown fields are
// refused by name. Fuzz target: tests/fuzz/vip_json.
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "common/base/error.h"
#include "common/model/settings.h"

// Checked settings (cluster_settings_validate). The sentence begins with the path of the field:
// "snat.never[1]: 10.0.0.1/8 has bits beyond its length"; syntax errors say line and column.
NODISCARD int settings_json_parse(const char *text, size_t n, struct cluster_settings *ret_settings, struct error *err);

// The same from a value that is read already.
NODISCARD int settings_json_read(json_t *root, const char *path, struct cluster_settings *ret_settings,
                                 struct error *err);

// From a file ("-": standard input) of at most LIMIT_CONFIG_FILE_BYTES; the sentence begins with its name.
NODISCARD int settings_json_read_file(const char *path, struct cluster_settings *ret_settings, struct error *err);

// The document, for json_decref; NULL when memory is short.
json_t *settings_json_make(const struct cluster_settings *settings);

// "10.0.0.0/8", into IP_PREFIX_TEXT_BYTES. Returns buf.
#define IP_PREFIX_TEXT_BYTES (IP_ADDR_TEXT_BYTES + 4)
const char *settings_json_format_prefix(const struct ip_prefix *prefix, char *buf);
