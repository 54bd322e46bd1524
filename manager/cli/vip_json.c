#include "manager/cli/vip_json.h"

#include <string.h>

#include "common/base/memory.h"
#include "common/io/json_reader.h"
#include "common/model/lease.h"
#include "common/model/limits.h"
#include "common/packet/headers.h"
#include "manager/cli/probe_json.h"

static void fail_memory(struct json_reader *r)
{
	if (r->err->code == 0)
		error_set(r->err, ERR_NO_MEMORY, "memory is short");
}

static void read_addr(struct json_reader *r, const char *field, struct ip_addr *ret_addr)
{
	char text[IP_ADDR_TEXT_BYTES] = "";
	struct error err = { 0 };
	json_reader_string(r, field, text, sizeof text);
	if (r->err->code == 0 && ip_addr_parse(text, ret_addr, &err) != 0)
		json_reader_fail(r, field, "%s", err.text);
}

// A list that must hold 1 to max elements, if it is there.
static json_t *read_list(struct json_reader *r, const char *field, bool is_required, size_t max, const char *what)
{
	json_t *list = json_reader_array(r, field, is_required);
	if (list == NULL)
		return NULL;
	size_t n = json_array_size(list);
	if (n >= 1 && n <= max)
		return list;
	if (n == 0)
		json_reader_fail(r, field, "must hold at least one %s", what);
	else
		json_reader_fail(r, field, "at most %zu %ss, got %zu", max, what, n);
	return NULL;
}

// A protocol without ports may leave it out.
static uint16_t read_port(struct json_reader *r, uint8_t protocol)
{
	uint64_t port = 0;
	if (protocol == IP_PROTO_ANY)
		json_reader_u64_or(r, "port", 0, UINT16_MAX, &port); // what it must be is said by vip_config_validate
	else
		json_reader_u64(r, "port", 1, UINT16_MAX, &port);
	return (uint16_t)port;
}

static int read_endpoint_dip(json_t *object, const char *path, uint8_t protocol, struct endpoint_dip *dip,
                             struct error *err)
{
	struct json_reader r;
	uint64_t weight = 1;
	json_reader_init(&r, object, path, err);
	read_addr(&r, "dip", &dip->dip);
	dip->port = read_port(&r, protocol);
	json_reader_u64_or(&r, "weight", 1, LIMIT_WEIGHT, &weight);
	dip->weight = (uint16_t)weight;
	return json_reader_finish(&r);
}

static void read_endpoint_dips(struct json_reader *r, struct endpoint *e)
{
	char path[JSON_PATH_BYTES];
	json_t *list = read_list(r, "dips", true, LIMIT_DIPS_PER_ENDPOINT, "DIP");
	if (list == NULL)
		return;
	e->dips = memory_array(json_array_size(list), sizeof *e->dips);
	if (e->dips == NULL) {
		fail_memory(r);
		return;
	}
	e->n_dips = (uint32_t)json_array_size(list);
	int code = 0;
	for (uint32_t i = 0; i < e->n_dips && code == 0; i++)
		code = read_endpoint_dip(json_array_get(list, i), json_reader_path(r, "dips", (int)i, path), e->protocol,
		                         &e->dips[i], r->err);
}

static int read_endpoint(json_t *object, const char *path, struct endpoint *e, struct error *err)
{
	struct json_reader r;
	char protocol[16] = "";
	json_reader_init(&r, object, path, err);
	json_reader_string(&r, "name", e->name, sizeof e->name);
	json_reader_string(&r, "protocol", protocol, sizeof protocol);
	e->protocol = protocol_parse(protocol);
	if (err->code == 0 && e->protocol == 0)
		json_reader_fail(&r, "protocol", "must be \"tcp\", \"udp\" or \"any\", got \"%s\"", protocol);
	e->port = read_port(&r, e->protocol);
	probe_json_read(&r, &e->probe);
	read_endpoint_dips(&r, e);
	return json_reader_finish(&r);
}

static void read_endpoints(struct json_reader *r, struct vip_config *vip)
{
	char path[JSON_PATH_BYTES];
	json_t *list = read_list(r, "endpoints", !json_reader_has(r, "snat"), LIMIT_ENDPOINTS_PER_VIP, "endpoint");
	if (list == NULL)
		return;
	vip->endpoints = memory_array(json_array_size(list), sizeof *vip->endpoints);
	if (vip->endpoints == NULL) {
		fail_memory(r);
		return;
	}
	vip->n_endpoints = (uint32_t)json_array_size(list);
	int code = 0;
	for (uint32_t i = 0; i < vip->n_endpoints && code == 0; i++)
		code = read_endpoint(json_array_get(list, i), json_reader_path(r, "endpoints", (int)i, path),
		                     &vip->endpoints[i], r->err);
}

static void read_snat_dip(struct json_reader *r, json_t *element, uint32_t i, struct ip_addr *ret_addr)
{
	char field[32];
	struct error err = { 0 };
	(void)text_format(field, sizeof field, "dips[%u]", i);
	if (!json_is_string(element))
		json_reader_fail(r, field, "must be a string");
	else if (ip_addr_parse(json_string_value(element), ret_addr, &err) != 0)
		json_reader_fail(r, field, "%s", err.text);
}

// What is left out is the default; of prealloc_ports, as much of it as fits the other fields. Whether they fit together is
// vip_config_validate's.
static void read_snat_policy(struct json_reader *r, struct snat_policy *ret_policy)
{
	const struct snat_policy standard = SNAT_POLICY_DEFAULT;
	uint64_t range_size = standard.range_size;
	uint64_t first_port = standard.first_port;
	uint64_t max_ports = standard.max_ports_per_dip;
	uint64_t idle_s = standard.idle_s;
	json_reader_u64_or(r, "range_size", SNAT_UNIT_PORTS, SNAT_RANGE_PORTS_MAX, &range_size);
	json_reader_u64_or(r, "first_port", 1024, 65536 - SNAT_UNIT_PORTS, &first_port);
	json_reader_u64_or(r, "max_ports_per_dip", SNAT_UNIT_PORTS, 65536, &max_ports);
	json_reader_u64_or(r, "idle_s", 1, 86400, &idle_s);
	uint64_t prealloc_ports = standard.prealloc_ports;
	if (prealloc_ports > max_ports)
		prealloc_ports = max_ports;
	if (prealloc_ports > 65536 - first_port)
		prealloc_ports = 65536 - first_port;
	json_reader_u64_or(r, "prealloc_ports", 0, 65536, &prealloc_ports);
	*ret_policy = (struct snat_policy){ .range_size = (uint16_t)range_size,
		                                .first_port = (uint16_t)first_port,
		                                .prealloc_ports = (uint32_t)prealloc_ports,
		                                .max_ports_per_dip = (uint32_t)max_ports,
		                                .idle_s = (uint32_t)idle_s };
}

static int read_snat(struct json_reader *parent, struct vip_config *vip)
{
	struct json_reader r;
	char path[JSON_PATH_BYTES];
	json_t *object = json_reader_object(parent, "snat", false);
	if (object == NULL)
		return parent->err->code;
	json_reader_init(&r, object, json_reader_path(parent, "snat", -1, path), parent->err);
	json_t *list = read_list(&r, "dips", true, LIMIT_SNAT_DIPS_PER_VIP, "DIP");
	if (list != NULL) {
		vip->snat_dips = memory_array(json_array_size(list), sizeof *vip->snat_dips);
		if (vip->snat_dips == NULL)
			fail_memory(&r);
		else
			vip->n_snat_dips = (uint32_t)json_array_size(list);
	}
	for (uint32_t i = 0; i < vip->n_snat_dips && r.err->code == 0; i++)
		read_snat_dip(&r, json_array_get(list, i), i, &vip->snat_dips[i]);
	read_snat_policy(&r, &vip->snat);
	return json_reader_finish(&r);
}

static void read_when_all_down(struct json_reader *r, struct vip_config *vip)
{
	char text[16] = "send";
	json_reader_string_or(r, "when_all_down", text, sizeof text);
	vip->refuses_when_down = strcmp(text, "refuse") == 0;
	if (r->err->code == 0 && !vip->refuses_when_down && strcmp(text, "send") != 0)
		json_reader_fail(r, "when_all_down", "must be \"send\" or \"refuse\", got \"%s\"", text);
}

static int read_idle(struct json_reader *r, struct vip_config *vip)
{
	json_t *object = json_reader_object(r, "idle", false);
	if (object == NULL)
		return r->err->code;
	char path[JSON_PATH_BYTES];
	struct json_reader idle;
	uint64_t tcp_s = 0;
	uint64_t udp_s = 0;
	json_reader_init(&idle, object, json_reader_path(r, "idle", -1, path), r->err);
	json_reader_u64_or(&idle, "tcp_s", LIMIT_IDLE_MIN_S, LIMIT_IDLE_S, &tcp_s);
	json_reader_u64_or(&idle, "udp_s", LIMIT_IDLE_MIN_S, LIMIT_IDLE_S, &udp_s);
	vip->idle_tcp_s = (uint32_t)tcp_s;
	vip->idle_udp_s = (uint32_t)udp_s;
	return json_reader_finish(&idle);
}

static int read_document(json_t *root, const char *path, struct vip_config *vip, struct error *err)
{
	struct json_reader r;
	json_reader_init(&r, root, path, err);
	uint64_t drain_s = DRAIN_DEFAULT_S;
	read_addr(&r, "vip", &vip->vip);
	json_reader_string(&r, "tenant", vip->tenant, sizeof vip->tenant);
	json_reader_u64_or(&r, "drain_s", 1, LIMIT_DRAIN_S, &drain_s);
	vip->drain_s = (uint32_t)drain_s;
	read_when_all_down(&r, vip);
	(void)json_reader_object(&r, "status", false);
	read_endpoints(&r, vip);
	int code = read_idle(&r, vip);
	if (code == 0)
		code = read_snat(&r, vip);
	if (code == 0)
		code = json_reader_finish(&r);
	if (code == 0 && vip_config_validate(vip, err) != 0)
		code = path[0] == '\0' ? err->code : error_prefix(err, "%s", path);
	return code;
}

int vip_json_read(json_t *root, const char *path, struct vip_config **ret_vip, struct error *err)
{
	memset(err, 0, sizeof *err);
	struct vip_config *vip = memory_array(1, sizeof *vip);
	if (vip == NULL)
		return error_set(err, ERR_NO_MEMORY, "memory is short");
	int code = read_document(root, path, vip, err);
	if (code != 0) {
		vip_config_destroy(vip);
		return code;
	}
	*ret_vip = vip;
	return 0;
}

int vip_json_parse(const char *text, size_t n, struct vip_config **ret_vip, struct error *err)
{
	json_t *root;
	int code = json_read_text(text, n, &root, err);
	if (code != 0)
		return code;
	code = vip_json_read(root, "", ret_vip, err);
	json_decref(root);
	return code;
}

int vip_json_read_file(const char *path, struct vip_config **ret_vip, struct error *err)
{
	json_t *root;
	int code = json_read_file(path, LIMIT_CONFIG_FILE_BYTES, &root, err);
	if (code != 0)
		return code;
	code = vip_json_read(root, "", ret_vip, err);
	json_decref(root);
	return code == 0 ? 0 : error_prefix(err, "%s: ", strcmp(path, "-") == 0 ? "standard input" : path);
}

// ---- printing ----

static json_t *make_addr(const struct ip_addr *addr)
{
	char text[IP_ADDR_TEXT_BYTES];
	return json_string(ip_addr_format(addr, text));
}

static json_t *make_endpoint(const struct endpoint *e)
{
	json_t *dips = json_array();
	for (uint32_t i = 0; i < e->n_dips; i++) {
		const struct endpoint_dip *d = &e->dips[i];
		json_array_append_new(dips, json_pack("{s:o, s:i, s:i}", "dip", make_addr(&d->dip), "port", (int)d->port,
		                                      "weight", (int)d->weight));
	}
	json_t *endpoint = json_pack("{s:s, s:s, s:i, s:o}", "name", e->name, "protocol", protocol_name(e->protocol),
	                             "port", (int)e->port, "dips", dips);
	if (e->probe.type != PROBE_NONE)
		json_object_set_new(endpoint, "probe", probe_json_make(&e->probe));
	return endpoint;
}

// Takes the reference to the list.
static json_t *make_snat(const struct snat_policy *p, json_t *dips)
{
	return json_pack("{s:o, s:i, s:i, s:I, s:I, s:I}", "dips", dips, "range_size", (int)p->range_size, "first_port",
	                 (int)p->first_port, "prealloc_ports", (json_int_t)p->prealloc_ports, "max_ports_per_dip",
	                 (json_int_t)p->max_ports_per_dip, "idle_s", (json_int_t)p->idle_s);
}

// Only what is set.
static json_t *make_idle(const struct vip_config *vip)
{
	json_t *idle = json_object();
	if (vip->idle_tcp_s != 0)
		json_object_set_new(idle, "tcp_s", json_integer(vip->idle_tcp_s));
	if (vip->idle_udp_s != 0)
		json_object_set_new(idle, "udp_s", json_integer(vip->idle_udp_s));
	return idle;
}

json_t *vip_json_make(const struct vip_config *vip)
{
	json_t *document = json_pack("{s:o, s:s, s:I, s:s}", "vip", make_addr(&vip->vip), "tenant", vip->tenant, "drain_s",
	                             (json_int_t)vip->drain_s, "when_all_down", vip->refuses_when_down ? "refuse" : "send");
	json_t *endpoints = json_array();
	json_t *snat_dips = json_array();
	for (uint32_t i = 0; i < vip->n_endpoints; i++)
		json_array_append_new(endpoints, make_endpoint(&vip->endpoints[i]));
	for (uint32_t i = 0; i < vip->n_snat_dips; i++)
		json_array_append_new(snat_dips, make_addr(&vip->snat_dips[i]));
	if (vip->idle_tcp_s != 0 || vip->idle_udp_s != 0)
		json_object_set_new(document, "idle", make_idle(vip));
	if (vip->n_endpoints > 0)
		json_object_set(document, "endpoints", endpoints);
	if (vip->n_snat_dips > 0)
		json_object_set_new(document, "snat", make_snat(&vip->snat, json_incref(snat_dips)));
	json_decref(endpoints);
	json_decref(snat_dips);
	return document;
}
