#include "mux/io/config.h"

#include <string.h>

#include "mux/core/pins.h"

#define CONFIG_BYTES_MAX (1u << 20)

static void read_routes(struct mux_config *c, struct json_reader *r)
{
	struct json_reader routes;
	char path[JSON_PATH_BYTES];
	uint64_t table = 100;
	json_t *object = json_reader_object(r, "routes", true);
	if (object == NULL)
		return;
	json_reader_init(&routes, object, json_reader_path(r, "routes", -1, path), r->err);
	json_reader_string(&routes, "interface", c->routes_interface, sizeof c->routes_interface);
	if (c->routes_interface[0] == '\0')
		json_reader_fail(&routes, "interface", "must name the tun to make for VIP routes");
	json_reader_u64_or(&routes, "table", 1, UINT32_MAX, &table);
	if (table >= 253 && table <= 255)
		json_reader_fail(&routes, "table", "must not be one of the kernel's own tables (253 to 255)");
	c->routes_table = (uint32_t)table;
	(void)!json_reader_finish(&routes);
}

static enum mux_oversized read_oversized(struct json_reader *r)
{
	char text[16] = "fragment";
	json_reader_string_or(r, "oversized", text, sizeof text);
	if (strcmp(text, "fragment") != 0 && strcmp(text, "drop") != 0)
		json_reader_fail(r, "oversized", "must be \"fragment\" or \"drop\"");
	return strcmp(text, "drop") == 0 ? MUX_OVERSIZED_DROP : MUX_OVERSIZED_CUT;
}

int mux_config_read(const char *path, struct mux_config *ret_config, struct error *err)
{
	json_t *root;
	struct json_reader r;
	uint64_t n_workers = 1;
	uint64_t max_pins = MAX_PINS_DEFAULT;
	memset(err, 0, sizeof *err);
	memset(ret_config, 0, sizeof *ret_config);
	int code = json_read_file(path, CONFIG_BYTES_MAX, &root, err);
	if (code != 0)
		return code;
	json_reader_init(&r, root, "", err);
	node_config_read(&ret_config->node, &r);
	read_routes(ret_config, &r);
	json_reader_u64_or(&r, "workers", 1, 1, &n_workers);
	json_reader_u64_or(&r, "max_pins", 0, MAX_PINS_LIMIT, &max_pins);
	ret_config->n_workers = (uint32_t)n_workers;
	ret_config->max_pins = (uint32_t)max_pins;
	ret_config->oversized = read_oversized(&r);
	code = json_reader_finish(&r);
	json_decref(root);
	return code == 0 ? 0 : error_prefix(err, "%s: ", path);
}
