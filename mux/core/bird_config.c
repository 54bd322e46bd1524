#include "mux/core/bird_config.h"

#include <string.h>

#include "common/base/text.h"

// ---- checking ----

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_symbol(const char *name)
{
	if (!is_letter(name[0]))
		return false;
	for (; *name != '\0'; name++)
		if (!is_letter(*name) && !is_digit(*name) && *name != '_')
			return false;
	return true;
}

// BIRD's strings end at the next quote and have no escapes.
static bool is_string_content(const char *text)
{
	for (; *text != '\0'; text++)
		if (*text < ' ' || *text > '~' || *text == '"' || *text == '\\')
			return false;
	return true;
}

static int check_peer(const struct bgp_config *c, uint32_t i, struct error *err)
{
	const struct bgp_peer *p = &c->peers[i];
	if (!is_symbol(p->name))
		return error_set(err, ERR_INVALID, "peers[%u].name: must be letters, digits and _, the first a letter", i);
	if (!ip_addr_is_usable(&p->address))
		return error_set(err, ERR_INVALID, "peers[%u].address: must be the address of a router", i);
	if (p->as == 0)
		return error_set(err, ERR_INVALID, "peers[%u].as: must be 1 to 4294967295", i);
	if (!is_string_content(p->password))
		return error_set(err, ERR_INVALID, "peers[%u].password: must be ASCII without quotes and backslashes", i);
	for (uint32_t k = 0; k < i; k++) {
		if (strcmp(c->peers[k].name, p->name) == 0)
			return error_set(err, ERR_INVALID, "peers[%u].name: \"%s\" is that of peers[%u] already", i, p->name, k);
		if (ip_addr_equal(&c->peers[k].address, &p->address))
			return error_set(err, ERR_INVALID, "peers[%u].address: is that of peers[%u] already", i, k);
	}
	return 0;
}

int bgp_config_check(const struct bgp_config *c, struct error *err)
{
	if (c->as == 0)
		return error_set(err, ERR_INVALID, "as: must be 1 to 4294967295");
	if (!ip_addr_is_v4(&c->router_id) || ip_addr_is_unspecified(&c->router_id) || ip_addr_to_v4(&c->router_id) == 0)
		return error_set(err, ERR_INVALID, "router_id: must be four numbers like an IPv4 address, not all 0");
	if (c->n_peers == 0 || c->n_peers > BGP_PEERS_MAX)
		return error_set(err, ERR_INVALID, "peers: must hold 1 to %d routers", BGP_PEERS_MAX);
	if (c->keepalive_s >= c->hold_s)
		return error_set(err, ERR_INVALID, "keepalive_s: must be below hold_s (%u), a third of it as a rule",
		                 c->hold_s);
	for (uint32_t i = 0; i < c->n_peers; i++)
		if (check_peer(c, i, err) != 0)
			return ERR_INVALID;
	return 0;
}

// ---- writing ----

struct writer {
	char *buf;
	size_t size;
	size_t n;
	bool is_cut;
};

__attribute__((format(printf, 2, 3))) static void put(struct writer *w, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	w->is_cut = !text_vformat(w->buf + w->n, w->size - w->n, format, args) || w->is_cut;
	va_end(args);
	w->n += strlen(w->buf + w->n);
}

static void put_head(struct writer *w, const struct bgp_config *c)
{
	char id[IP_ADDR_TEXT_BYTES];
	put(w,
	    "# Written by ananta-mux from its own configuration: what is changed here is lost.\n"
	    "log stderr all;\n"
	    "router id %s;\n"
	    "debug protocols { states };\n"
	    "protocol device { scan time 10; }\n",
	    ip_addr_format(&c->router_id, id));
}

static void put_bfd(struct writer *w, const struct bgp_config *c, const struct bird_place *at)
{
	bool is_far = false;
	for (uint32_t i = 0; i < c->n_peers; i++)
		is_far = is_far || c->peers[i].multihop > 0;
	if (!c->has_bfd)
		return;
	put(w, "protocol bfd {\n  interface \"%s\" { min rx interval %u ms; min tx interval %u ms; multiplier %u; };\n",
	    at->tap, c->bfd_interval_ms, c->bfd_interval_ms, c->bfd_multiplier);
	if (is_far)
		put(w, "  multihop { min rx interval %u ms; min tx interval %u ms; multiplier %u; };\n", c->bfd_interval_ms,
		    c->bfd_interval_ms, c->bfd_multiplier);
	put(w, "}\n");
}

// What the mux holds in the kernel's table, and only that.
static void put_learning(struct writer *w, int family, uint32_t table)
{
	put(w,
	    "ipv%d table vip%d;\n"
	    "protocol kernel learn%d {\n"
	    "  learn; kernel table %u; scan time 5; netlink rx buffer 67108864;\n"
	    "  ipv%d { table vip%d; import filter { if krt_source !~ [200, 201] then reject; accept; }; export none; };\n"
	    "}\n"
	    "protocol pipe pipe%d { table vip%d; peer table master%d; import none; export all; }\n",
	    family, family, family, table, family, family, family, family, family);
}

static void put_filter(struct writer *w)
{
	put(w, "filter vip_out {\n"
	       "  if source != RTS_INHERIT then reject;\n"
	       "  if krt_source = 201 then bgp_community.add((65535, 0));\n"
	       "  accept;\n"
	       "}\n");
}

// The routes of a family, whichever the session is of (RFC 4760): to the mux's address of that family. Without one there are none.
static void put_channel(struct writer *w, int family, const struct ip_addr *own, bool is_of_session)
{
	char text[IP_ADDR_TEXT_BYTES];
	if (is_of_session)
		put(w, "  ipv%d { import none; export filter vip_out; next hop self; };\n", family);
	else if (!ip_addr_is_unspecified(own))
		put(w, "  ipv%d { import none; export filter vip_out; next hop address %s; };\n", family,
		    ip_addr_format(own, text));
}

static void put_peer(struct writer *w, const struct bgp_config *c, const struct bgp_peer *p,
                     const struct bird_place *at)
{
	char own[IP_ADDR_TEXT_BYTES];
	char address[IP_ADDR_TEXT_BYTES];
	bool is_v4 = ip_addr_is_v4(&p->address);
	put(w, "protocol bgp peer_%s {\n  local %s as %u; neighbor %s as %u; ", p->name,
	    ip_addr_format(is_v4 ? &at->address : &at->address6, own), c->as, ip_addr_format(&p->address, address), p->as);
	if (p->multihop > 0)
		put(w, "multihop %u;\n", p->multihop);
	else
		put(w, "direct;\n");
	put(w,
	    "  hold time %u; keepalive time %u; connect delay time 1; connect retry time 1; error wait time 1, 2; graceful "
	    "restart off;\n",
	    c->hold_s, c->keepalive_s);
	put(w, "  bfd %s; ttl security %s;", c->has_bfd ? "on" : "off", p->ttl_security ? "on" : "off");
	if (p->password[0] != '\0')
		put(w, " password \"%s\";", p->password);
	put(w, "\n");
	put_channel(w, 4, &at->address, is_v4);
	put_channel(w, 6, &at->address6, !is_v4);
	put(w, "}\n");
}

int bird_config_format(const struct bgp_config *c, const struct bird_place *at, char *buf, size_t size)
{
	struct writer w = { .buf = buf, .size = size };
	put_head(&w, c);
	put_bfd(&w, c, at);
	put_learning(&w, 4, at->table);
	put_learning(&w, 6, at->table);
	put_filter(&w);
	for (uint32_t i = 0; i < c->n_peers; i++)
		put_peer(&w, c, &c->peers[i], at);
	return w.is_cut ? ERR_LIMIT : 0;
}

// ---- reading what operators wrote ----

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static const char *skip(const char *at)
{
	for (;;) {
		while (is_blank(*at))
			at++;
		const char *end = NULL;
		if (at[0] == '#')
			end = strchr(at, '\n');
		else if (at[0] == '/' && at[1] == '*' && (end = strstr(at + 2, "*/")) != NULL)
			end += 2;
		else
			return at;
		if (end == NULL)
			return at + strlen(at);
		at = end;
	}
}

// The next word (letters, digits, _), string, or single character; its length, 0 at the end.
static size_t token_length(const char *at)
{
	size_t n = 0;
	while (is_letter(at[n]) || is_digit(at[n]) || at[n] == '_')
		n++;
	if (n > 0 || *at == '\0')
		return n;
	const char *end = *at == '"' ? strchr(at + 1, '"') : NULL;
	return end != NULL ? (size_t)(end - at) + 1 : 1;
}

// Do the tokens begin with these words?
static bool has_words(const char *at, const char *const *words, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		at = skip(at);
		size_t length = token_length(at);
		if (length != strlen(words[i]) || memcmp(at, words[i], length) != 0)
			return false;
		at += length;
	}
	return true;
}

static bool contains_words(const char *text, const char *const *words, size_t n)
{
	for (const char *at = skip(text); *at != '\0'; at = skip(at + token_length(at)))
		if (has_words(at, words, n))
			return true;
	return false;
}

bool bird_text_reads_table(const char *text, uint32_t table)
{
	char number[16];
	const char *const words[] = { "kernel", "table", number };
	(void)text_format(number, sizeof number, "%u", table);
	return contains_words(text, words, 3);
}

// The protocol itself, and a session that uses it: "bfd on", "bfd;" or "bfd { ... }" within another one.
bool bird_text_has_bfd(const char *text)
{
	static const char *const protocol[] = { "protocol", "bfd" };
	static const char *const uses[][2] = { { "bfd", "on" }, { "bfd", ";" }, { "bfd", "{" } };
	bool has_protocol = false;
	bool is_used = false;
	for (const char *at = skip(text); *at != '\0'; at = skip(at + token_length(at))) {
		if (has_words(at, protocol, 2)) {
			has_protocol = true;
			at = skip(at + token_length(at)); // to its "bfd", which is no use of it
			continue;
		}
		for (size_t i = 0; i < sizeof uses / sizeof *uses; i++)
			is_used = is_used || has_words(at, uses[i], 2);
	}
	return has_protocol && is_used;
}
