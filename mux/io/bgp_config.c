#include "mux/io/bgp_config.h"

#include <string.h>

#include "common/base/memory.h"
#include "common/io/log.h"

// ---- reading ----

static void read_path(struct json_reader *r, const char *field, const char *otherwise, char *buf)
{
	(void)text_copy(buf, BIRD_PATH_BYTES, otherwise);
	json_reader_string_or(r, field, buf, BIRD_PATH_BYTES);
	if (buf[0] != '/')
		json_reader_fail(r, field, "must be an absolute path");
}

static void read_address(struct json_reader *r, const char *field, struct ip_addr *ret_addr)
{
	char text[IP_ADDR_TEXT_BYTES] = "";
	struct error err = { 0 };
	json_reader_string(r, field, text, sizeof text);
	if (r->err->code == 0 && ip_addr_parse(text, ret_addr, &err) != 0)
		json_reader_fail(r, field, "%s", err.text);
}

static void read_peer(struct bgp_peer *p, struct json_reader *r)
{
	uint64_t as = 0;
	uint64_t multihop = 0;
	json_reader_string(r, "name", p->name, sizeof p->name);
	read_address(r, "address", &p->address);
	json_reader_u64(r, "as", 1, UINT32_MAX, &as);
	json_reader_string_or(r, "password", p->password, sizeof p->password);
	if (json_reader_has(r, "password") && p->password[0] == '\0')
		json_reader_fail(r, "password", "must not be empty: leave it out for none");
	json_reader_u64_or(r, "multihop", 1, 255, &multihop);
	p->ttl_security = multihop == 0;
	json_reader_bool_or(r, "ttl_security", &p->ttl_security);
	p->as = (uint32_t)as;
	p->multihop = (uint8_t)multihop;
}

static void read_peers(struct bgp_config *c, struct json_reader *r)
{
	json_t *array = json_reader_array(r, "peers", true);
	size_t n = json_array_size(array);
	if (array == NULL)
		return;
	if (n == 0 || n > BGP_PEERS_MAX) {
		json_reader_fail(r, "peers", "must hold 1 to %d routers", BGP_PEERS_MAX);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		struct json_reader peer;
		char path[JSON_PATH_BYTES];
		json_reader_init(&peer, json_array_get(array, i), json_reader_path(r, "peers", (int)i, path), r->err);
		read_peer(&c->peers[i], &peer);
		(void)!json_reader_finish(&peer);
	}
	c->n_peers = (uint32_t)n;
}

static void read_bfd_times(struct bgp_config *c, struct json_reader *r, json_t *object)
{
	struct json_reader bfd;
	char path[JSON_PATH_BYTES];
	uint64_t interval_ms = c->bfd_interval_ms;
	uint64_t multiplier = c->bfd_multiplier;
	json_reader_init(&bfd, object, json_reader_path(r, "bfd", -1, path), r->err);
	json_reader_u64_or(&bfd, "interval_ms", 10, 60000, &interval_ms);
	json_reader_u64_or(&bfd, "multiplier", 1, 255, &multiplier);
	c->bfd_interval_ms = (uint32_t)interval_ms;
	c->bfd_multiplier = (uint32_t)multiplier;
	(void)!json_reader_finish(&bfd);
}

// An object, or false.
static void read_bfd(struct bgp_config *c, struct json_reader *r)
{
	c->has_bfd = true;
	c->bfd_interval_ms = 100;
	c->bfd_multiplier = 3;
	if (json_is_boolean(json_object_get(r->object, "bfd"))) {
		json_reader_bool_or(r, "bfd", &c->has_bfd);
		return;
	}
	json_t *object = json_reader_object(r, "bfd", false);
	if (object != NULL)
		read_bfd_times(c, r, object);
}

static void read_written(struct bgp_file_config *c, const struct node_config *node, struct json_reader *r)
{
	uint64_t as = 0;
	uint64_t hold_s = 9;
	uint64_t keepalive_s = 3;
	struct error err = { 0 };
	json_reader_u64(r, "as", 1, UINT32_MAX, &as);
	c->bgp.router_id = node->address.addr;
	if (json_reader_has(r, "router_id"))
		read_address(r, "router_id", &c->bgp.router_id);
	read_peers(&c->bgp, r);
	read_bfd(&c->bgp, r);
	json_reader_u64_or(r, "hold_s", 3, 65535, &hold_s);
	json_reader_u64_or(r, "keepalive_s", 1, 65535, &keepalive_s);
	read_path(r, "file", "/etc/bird/ananta.conf", c->files.file);
	read_path(r, "control", "/run/bird/bird.ctl", c->files.control);
	c->bgp.as = (uint32_t)as;
	c->bgp.hold_s = (uint32_t)hold_s;
	c->bgp.keepalive_s = (uint32_t)keepalive_s;
	if (r->err->code == 0 && bgp_config_check(&c->bgp, &err) != 0)
		error_set(r->err, ERR_INVALID, "%s%s", r->path, err.text);
	for (uint32_t i = 0; r->err->code == 0 && i < c->bgp.n_peers; i++)
		if (node_config_address(node, !ip_addr_is_v4(&c->bgp.peers[i].address)) == NULL)
			json_reader_fail(r, "peers", "\"%s\" is of a family of which the mux has no address", c->bgp.peers[i].name);
}

void bgp_config_read(struct bgp_file_config *c, const struct node_config *node, struct json_reader *r)
{
	struct json_reader bgp;
	char path[JSON_PATH_BYTES];
	json_t *object = json_reader_object(r, "bgp", false);
	if (object == NULL)
		return;
	json_reader_init(&bgp, object, json_reader_path(r, "bgp", -1, path), r->err);
	read_path(&bgp, "bird", "/usr/sbin/bird", c->files.program);
	c->mode = json_reader_has(&bgp, "operator_file") ? BGP_OPERATOR : BGP_WRITTEN;
	if (c->mode == BGP_OPERATOR)
		read_path(&bgp, "operator_file", "", c->files.operator_file);
	else
		read_written(c, node, &bgp);
	if (!text_is_name(node->tap)) // it stands in BIRD's configuration
		json_reader_fail(r, "tap", "must be of A-Z a-z 0-9 . _ - where \"bgp\" is given");
	(void)!json_reader_finish(&bgp);
}

// ---- use ----

int bgp_config_text(const struct bgp_file_config *c, const struct node_config *node, const struct routes_config *routes,
                    char *buf, struct error *err)
{
	const struct ip_prefix *address = node_config_address(node, false);
	const struct ip_prefix *address6 = node_config_address(node, true);
	struct bird_place at = { .tap = node->tap, .table = routes->table };
	if (address != NULL)
		at.address = address->addr;
	if (address6 != NULL)
		at.address6 = address6->addr;
	int code = bird_config_format(&c->bgp, &at, buf, BIRD_CONFIG_BYTES_MAX);
	return code == 0
	           ? 0
	           : error_set(err, ERR_LIMIT, "bgp: BIRD's configuration is longer than %d bytes", BIRD_CONFIG_BYTES_MAX);
}

// Warns of what an operator's file seems to lack. ERR_IO when it cannot be read.
static int look_at_operator_file(const struct bgp_file_config *c, uint32_t table, struct error *err)
{
	const char *lack = "";
	char *text;
	if (bird_read_file(c->files.operator_file, &text, err) != 0)
		return ERR_IO;
	if (!bird_text_reads_table(text, table))
		lack = "it does not read the kernel table of the VIP routes, unless a file that it includes does: nothing "
			   "would be announced";
	else if (!bird_text_has_bfd(text))
		lack = "it has no BFD, unless in a file that it includes: routers would notice a dead machine by the hold time "
			   "only";
	memory_free(text);
	if (lack[0] != '\0')
		log_warn("bgp-operator-file", "file=%s table=%u text=\"%s\"", c->files.operator_file, table, lack);
	return 0;
}

int bgp_config_verify(const struct bgp_file_config *c, const struct node_config *node,
                      const struct routes_config *routes, struct error *err)
{
	char text[BIRD_CONFIG_BYTES_MAX];
	int code = 0;
	if (c->mode == BGP_OPERATOR) {
		code = look_at_operator_file(c, routes->table, err);
		if (code == 0)
			code = bird_check_file(&c->files, c->files.operator_file, err);
	} else if (c->mode == BGP_WRITTEN) {
		code = bgp_config_text(c, node, routes, text, err);
		if (code == 0)
			code = bird_check_text(&c->files, text, err);
	}
	if (code == ERR_NOT_FOUND) {
		log_warn("bird-not-installed", "text=\"%s; BIRD's own check was left out\"", err->text);
		*err = (struct error){ 0 };
		return 0;
	}
	return code == 0 ? 0 : error_prefix(err, "bgp: ");
}

static int use_written(const struct bgp_file_config *c, const char *text, struct error *err)
{
	struct error refusal = { 0 };
	bool is_changed;
	int code = bird_write_file(&c->files, text, &is_changed, err);
	if (code != 0 || !is_changed)
		return code;
	switch (bird_configure(&c->files, &refusal)) {
	case 0: log_info("bird-configured", "file=%s", c->files.file); break;
	case ERR_UNAVAILABLE: log_info("bird-not-running", "file=%s text=\"%s\"", c->files.file, refusal.text); break;
	default: log_error("bird-not-configured", "file=%s text=\"%s\"", c->files.file, refusal.text); break;
	}
	return 0;
}

static void use_operators(const struct bgp_file_config *c, uint32_t table)
{
	struct error err = { 0 };
	int code = look_at_operator_file(c, table, &err);
	if (code == 0)
		code = bird_check_file(&c->files, c->files.operator_file, &err);
	if (code != 0)
		log_error("bgp-operator-file", "file=%s text=\"%s\"", c->files.operator_file, err.text);
}

int bgp_config_use(const struct bgp_file_config *c, const struct node_config *node, const struct routes_config *routes,
                   struct error *err)
{
	char text[BIRD_CONFIG_BYTES_MAX];
	if (c->mode == BGP_OPERATOR)
		use_operators(c, routes->table);
	if (c->mode != BGP_WRITTEN)
		return 0;
	int code = bgp_config_text(c, node, routes, text, err);
	if (code == 0)
		code = use_written(c, text, err);
	return code == 0 ? 0 : error_prefix(err, "bgp: ");
}
