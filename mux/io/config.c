#include "mux/io/config.h"

#include <string.h>

#include "mux/core/pins.h"
#include "mux/core/watchdog.h"

#define CONFIG_BYTES_MAX (1u << 20)
#define MAX_PPS_LIMIT 1000000000 // beyond any port
#define DRAIN_ON_STOP_MS_DEFAULT 5000

static void read_prefixes(struct route_prefixes *p, struct json_reader *r)
{
	struct error err = { 0 };
	json_t *array = json_reader_array(r, "prefixes", false);
	size_t n = json_array_size(array);
	if (n > ROUTE_PREFIXES_MAX) {
		json_reader_fail(r, "prefixes", "must hold at most %d prefixes", ROUTE_PREFIXES_MAX);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		const char *text = json_string_value(json_array_get(array, i));
		if (text == NULL || strchr(text, '/') == NULL)
			json_reader_fail(r, "prefixes", "must hold prefixes as strings, like \"203.0.113.0/24\"");
		else if (ip_prefix_parse(text, &p->items[i], &err) != 0)
			json_reader_fail(r, "prefixes", "%s", err.text);
	}
	p->n = (uint32_t)n;
	if (r->err->code == 0 && route_prefixes_check(p, &err) != 0)
		json_reader_fail(r, "prefixes", "%s", err.text);
}

static void read_routes(struct mux_config *c, struct json_reader *r)
{
	struct json_reader routes;
	char path[JSON_PATH_BYTES];
	uint64_t table = 100;
	json_t *object = json_reader_object(r, "routes", true);
	if (object == NULL)
		return;
	json_reader_init(&routes, object, json_reader_path(r, "routes", -1, path), r->err);
	json_reader_string(&routes, "interface", c->routes.interface, sizeof c->routes.interface);
	if (c->routes.interface[0] == '\0')
		json_reader_fail(&routes, "interface", "must name the tun to make for VIP routes");
	json_reader_u64_or(&routes, "table", 1, UINT32_MAX, &table);
	if (table >= 253 && table <= 255)
		json_reader_fail(&routes, "table", "must not be one of the kernel's own tables (253 to 255)");
	c->routes.table = (uint32_t)table;
	read_prefixes(&c->routes.prefixes, &routes);
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

static void read_state_dir(struct mux_config *c, struct json_reader *r)
{
	json_reader_string_or(r, "state_dir", c->state_dir, sizeof c->state_dir);
	if (json_reader_has(r, "state_dir") && c->state_dir[0] != '/')
		json_reader_fail(r, "state_dir", "must be an absolute path");
}

static void read_watchdog(struct mux_config *c, struct json_reader *r)
{
	uint64_t ms = WATCHDOG_MS_DEFAULT;
	json_reader_u64_or(r, "watchdog_ms", 0, WATCHDOG_MS_MAX, &ms);
	if (ms > 0 && ms < WATCHDOG_MS_MIN)
		json_reader_fail(r, "watchdog_ms", "must be 0 (off) or at least %d", WATCHDOG_MS_MIN);
	c->watchdog_ms = (uint32_t)ms;
}

int mux_config_read(const char *path, struct mux_config *ret_config, struct error *err)
{
	json_t *root;
	struct json_reader r;
	uint64_t n_workers = 1;
	uint64_t max_pins = MAX_PINS_DEFAULT;
	uint64_t drain_on_stop_ms = DRAIN_ON_STOP_MS_DEFAULT;
	memset(err, 0, sizeof *err);
	memset(ret_config, 0, sizeof *ret_config);
	int code = json_read_file(path, CONFIG_BYTES_MAX, &root, err);
	if (code != 0)
		return code;
	json_reader_init(&r, root, "", err);
	node_config_read(&ret_config->node, &r);
	read_routes(ret_config, &r);
	bgp_config_read(&ret_config->bgp, &ret_config->node, &r);
	json_reader_u64_or(&r, "workers", 1, 1, &n_workers);
	json_reader_u64_or(&r, "max_pins", 0, MAX_PINS_LIMIT, &max_pins);
	json_reader_u64_or(&r, "drain_on_stop_ms", 0, 600000, &drain_on_stop_ms);
	json_reader_u64_or(&r, "max_pps", 0, MAX_PPS_LIMIT, &ret_config->max_pps);
	read_state_dir(ret_config, &r);
	read_watchdog(ret_config, &r);
	ret_config->n_workers = (uint32_t)n_workers;
	ret_config->drain_on_stop_ms = (uint32_t)drain_on_stop_ms;
	ret_config->max_pins = (uint32_t)max_pins;
	ret_config->oversized = read_oversized(&r);
	code = json_reader_finish(&r);
	json_decref(root);
	return code == 0 ? 0 : error_prefix(err, "%s: ", path);
}
