#include "manager/cli/probe_json.h"

#include <string.h>

#include "common/base/text.h"

static enum probe_type read_type(struct json_reader *r)
{
	char type[16] = "";
	json_reader_string(r, "type", type, sizeof type);
	if (strcmp(type, "tcp") == 0)
		return PROBE_TCP;
	if (strcmp(type, "http") == 0)
		return PROBE_HTTP;
	if (r->err->code == 0)
		json_reader_fail(r, "type", "must be \"tcp\" or \"http\", got \"%s\"", type);
	return PROBE_NONE;
}

// "200-399", or "200" alone.
static void read_expect(struct json_reader *r, struct probe *probe)
{
	char text[16] = "200-399";
	uint64_t min = 0;
	uint64_t max = 0;
	json_reader_string_or(r, "expect", text, sizeof text);
	char *end = strchr(text, '-');
	if (end != NULL)
		*end++ = '\0';
	bool is_range = text_parse_u64(text, 100, 599, &min) && text_parse_u64(end != NULL ? end : text, 100, 599, &max);
	if (!is_range || min > max)
		json_reader_fail(r, "expect", "must be a status, or a range of them like \"200-399\", from 100 to 599");
	probe->expect_min = (uint16_t)min;
	probe->expect_max = (uint16_t)max;
}

static void refuse_http_fields(struct json_reader *r, struct probe *probe)
{
	static const char *const fields[] = { "path", "expect" };
	for (int i = 0; i < 2; i++)
		if (json_reader_has(r, fields[i]))
			json_reader_fail(r, fields[i], "belongs to probes of type \"http\"");
	memset(probe->path, 0, sizeof probe->path);
	probe->expect_min = probe->expect_max = 0;
}

static void read_numbers(struct json_reader *r, struct probe *probe)
{
	uint64_t port = 0;
	uint64_t interval_ms = probe->interval_ms;
	uint64_t up = probe->up;
	uint64_t down = probe->down;
	json_reader_u64_or(r, "port", 1, UINT16_MAX, &port);
	json_reader_u64_or(r, "interval_ms", PROBE_INTERVAL_MIN_MS, PROBE_INTERVAL_MAX_MS, &interval_ms);
	uint64_t timeout_ms = probe->timeout_ms < interval_ms ? probe->timeout_ms : interval_ms;
	json_reader_u64_or(r, "timeout_ms", 1, PROBE_INTERVAL_MAX_MS, &timeout_ms);
	json_reader_u64_or(r, "up", 1, PROBE_COUNT_MAX, &up);
	json_reader_u64_or(r, "down", 1, PROBE_COUNT_MAX, &down);
	probe->port = (uint16_t)port;
	probe->interval_ms = (uint32_t)interval_ms;
	probe->timeout_ms = (uint32_t)timeout_ms;
	probe->up = (uint8_t)up;
	probe->down = (uint8_t)down;
}

void probe_json_read(struct json_reader *endpoint, struct probe *ret_probe)
{
	struct json_reader r;
	char path[JSON_PATH_BYTES];
	struct probe probe = PROBE_DEFAULT;
	json_t *object = json_reader_object(endpoint, "probe", false);
	if (object == NULL)
		return;
	json_reader_init(&r, object, json_reader_path(endpoint, "probe", -1, path), endpoint->err);
	probe.type = read_type(&r);
	if (probe.type == PROBE_HTTP) {
		json_reader_string_or(&r, "path", probe.path, sizeof probe.path);
		read_expect(&r, &probe);
	} else {
		refuse_http_fields(&r, &probe);
	}
	read_numbers(&r, &probe);
	if (json_reader_finish(&r) == 0)
		*ret_probe = probe;
}

static void put_number(json_t *object, const char *field, uint32_t value)
{
	json_object_set_new(object, field, json_integer(value));
}

json_t *probe_json_make(const struct probe *p)
{
	char expect[16];
	if (p->type == PROBE_NONE)
		return NULL;
	json_t *object = json_pack("{s:s}", "type", p->type == PROBE_HTTP ? "http" : "tcp");
	if (p->port != 0)
		put_number(object, "port", p->port);
	if (p->type == PROBE_HTTP) {
		(void)text_format(expect, sizeof expect, "%u-%u", p->expect_min, p->expect_max);
		json_object_set_new(object, "path", json_string(p->path));
		json_object_set_new(object, "expect", json_string(expect));
	}
	put_number(object, "interval_ms", p->interval_ms);
	put_number(object, "timeout_ms", p->timeout_ms);
	put_number(object, "up", p->up);
	put_number(object, "down", p->down);
	return object;
}

const char *probe_json_format(const struct probe *p, char *buf)
{
	char port[8] = "";
	if (p->type == PROBE_NONE)
		return "";
	if (p->port != 0)
		(void)text_format(port, sizeof port, " %u", p->port);
	(void)text_format(buf, PROBE_TEXT_BYTES, "%s%s%s%s", p->type == PROBE_HTTP ? "http" : "tcp", port,
	                  p->type == PROBE_HTTP ? " " : "", p->path);
	return buf;
}
