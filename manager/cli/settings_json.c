#include "manager/cli/settings_json.h"

#include <string.h>

#include "common/base/text.h"
#include "common/io/json_reader.h"
#include "common/model/limits.h"

const char *settings_json_format_prefix(const struct ip_prefix *prefix, char *buf)
{
	char text[IP_ADDR_TEXT_BYTES];
	(void)text_format(buf, IP_PREFIX_TEXT_BYTES, "%s/%u", ip_addr_format(&prefix->addr, text), prefix->bits);
	return buf;
}

static void read_prefix(struct json_reader *r, json_t *element, uint32_t i, struct ip_prefix *ret_prefix)
{
	char field[32];
	struct error err = { 0 };
	(void)text_format(field, sizeof field, "never[%u]", i);
	if (!json_is_string(element) || strlen(json_string_value(element)) != json_string_length(element))
		json_reader_fail(r, field, "must be a string like \"10.0.0.0/8\"");
	else if (ip_prefix_parse(json_string_value(element), ret_prefix, &err) != 0)
		json_reader_fail(r, field, "%s", err.text);
}

static void read_prefixes(struct json_reader *r, struct cluster_settings *s)
{
	json_t *list = json_reader_array(r, "never", false);
	if (list == NULL)
		return;
	size_t n = json_array_size(list);
	if (n > LIMIT_NO_SNAT_PREFIXES) {
		json_reader_fail(r, "never", "at most %u prefixes, got %zu", LIMIT_NO_SNAT_PREFIXES, n);
		return;
	}
	memset(s->no_snat, 0, sizeof s->no_snat);
	s->n_no_snat = (uint32_t)n;
	for (uint32_t i = 0; i < s->n_no_snat && r->err->code == 0; i++)
		read_prefix(r, json_array_get(list, i), i, &s->no_snat[i]);
}

// Its range is cluster_settings_validate's.
static void read_u32(struct json_reader *r, const char *field, uint32_t *value)
{
	uint64_t wide = *value;
	json_reader_u64_or(r, field, 0, UINT32_MAX, &wide);
	*value = (uint32_t)wide;
}

static int read_snat(struct json_reader *parent, struct cluster_settings *s)
{
	struct json_reader r;
	char path[JSON_PATH_BYTES];
	json_t *object = json_reader_object(parent, "snat", false);
	if (object == NULL)
		return parent->err->code;
	json_reader_init(&r, object, json_reader_path(parent, "snat", -1, path), parent->err);
	read_prefixes(&r, s);
	read_u32(&r, "quarantine_s", &s->snat_quarantine_s);
	read_u32(&r, "log_s", &s->snat_log_s);
	read_u32(&r, "gone_s", &s->snat_gone_s);
	read_u32(&r, "dip_requests_per_s", &s->snat_dip_requests_per_s);
	return json_reader_finish(&r);
}

static int read_health(struct json_reader *parent, struct cluster_settings *s)
{
	struct json_reader r;
	char path[JSON_PATH_BYTES];
	json_t *object = json_reader_object(parent, "health", false);
	if (object == NULL)
		return parent->err->code;
	json_reader_init(&r, object, json_reader_path(parent, "health", -1, path), parent->err);
	read_u32(&r, "host_gone_ms", &s->host_gone_ms);
	read_u32(&r, "fail_static_percent", &s->fail_static_percent);
	return json_reader_finish(&r);
}

static int read_mux(struct json_reader *parent, struct cluster_settings *s)
{
	struct json_reader r;
	char path[JSON_PATH_BYTES];
	json_t *object = json_reader_object(parent, "mux", false);
	if (object == NULL)
		return parent->err->code;
	json_reader_init(&r, object, json_reader_path(parent, "mux", -1, path), parent->err);
	read_u32(&r, "withdraw_percent", &s->mux_withdraw_percent);
	return json_reader_finish(&r);
}

int settings_json_read(json_t *root, const char *path, struct cluster_settings *ret_settings, struct error *err)
{
	struct json_reader r;
	struct cluster_settings s = cluster_settings_default();
	memset(err, 0, sizeof *err);
	json_reader_init(&r, root, path, err);
	int code = read_snat(&r, &s);
	if (code == 0)
		code = read_health(&r, &s);
	if (code == 0)
		code = read_mux(&r, &s);
	if (code == 0)
		code = json_reader_finish(&r);
	if (code == 0)
		code = cluster_settings_validate(&s, err);
	if (code == 0)
		*ret_settings = s;
	return code;
}

int settings_json_parse(const char *text, size_t n, struct cluster_settings *ret_settings, struct error *err)
{
	json_t *root;
	int code = json_read_text(text, n, &root, err);
	if (code != 0)
		return code;
	code = settings_json_read(root, "", ret_settings, err);
	json_decref(root);
	return code;
}

int settings_json_read_file(const char *path, struct cluster_settings *ret_settings, struct error *err)
{
	json_t *root;
	int code = json_read_file(path, LIMIT_CONFIG_FILE_BYTES, &root, err);
	if (code != 0)
		return code;
	code = settings_json_read(root, "", ret_settings, err);
	json_decref(root);
	return code == 0 ? 0 : error_prefix(err, "%s: ", strcmp(path, "-") == 0 ? "standard input" : path);
}

json_t *settings_json_make(const struct cluster_settings *s)
{
	char text[IP_PREFIX_TEXT_BYTES];
	json_t *never = json_array();
	for (uint32_t i = 0; i < s->n_no_snat; i++)
		json_array_append_new(never, json_string(settings_json_format_prefix(&s->no_snat[i], text)));
	return json_pack("{s:{s:o, s:I, s:I, s:I, s:I}, s:{s:I, s:I}, s:{s:I}}", "snat", "never", never, "quarantine_s",
	                 (json_int_t)s->snat_quarantine_s, "log_s", (json_int_t)s->snat_log_s, "gone_s",
	                 (json_int_t)s->snat_gone_s, "dip_requests_per_s", (json_int_t)s->snat_dip_requests_per_s, "health",
	                 "host_gone_ms", (json_int_t)s->host_gone_ms, "fail_static_percent",
	                 (json_int_t)s->fail_static_percent, "mux", "withdraw_percent",
	                 (json_int_t)s->mux_withdraw_percent);
}
