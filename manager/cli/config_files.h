// The configuration as files: what `anantactl apply` reads and `anantactl export` writes.
//
//   a file         a VIP's document (vip_json.h), or a list of such, or { "settings": {..}, "vips": [..] } with either or both
//   settings.json  may be the settings' document by itself (settings_json.h)
//   a directory    all its *.json, by name; not those of directories in it
//   -              standard input, as a file
//
// Settings that no file has are not touched. A VIP, and settings, may be in one file only.
#pragma once

#include <jansson.h>

#include "common/model/settings.h"
#include "common/model/store.h"
#include "common/model/vip.h"

struct config_vip {
	struct vip_config *config; // owned
	uint32_t file; // index
};

struct config_set {
	uint32_t n_vips;
	uint32_t capacity;
	struct config_vip *vips; // ascending by VIP, once all files are read
	bool has_settings;
	struct cluster_settings settings;
	uint32_t n_files;
	uint32_t files_capacity;
	char **files; // their names, as sentences call them
};

#define LIMIT_CONFIG_SET_BYTES (256u << 20) // of a file

// Reads files and directories. ERR_INVALID and others of JSON's, with the file and the field; on failure there is nothing to finish.
NODISCARD int config_files_read(const char *const *paths, uint32_t n_paths, struct config_set *ret_set,
                                struct error *err);

// The same from a text, as of one file of this name.
NODISCARD int config_set_parse(const char *text, size_t n, const char *name, struct config_set *ret_set,
                               struct error *err);
void config_set_fini(struct config_set *set);

const struct vip_config *config_set_lookup(const struct config_set *set, const struct ip_addr *vip);

// One document of the settings, if any were made, and all VIPs (of a tenant; NULL: of all); NULL when memory is short.
json_t *config_set_make(const struct store *state, const char *tenant);

// Writes a file for each VIP and one for the settings into a directory, which is made. Refused when it holds another *.json, which
// `apply` would read as well. ERR_IO, ERR_CONFLICT.
NODISCARD int config_files_write(const struct store *state, const char *tenant, const char *dir, uint32_t *ret_n_files,
                                 struct error *err);
