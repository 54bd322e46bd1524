#include "tests/golden/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"

#define LINE_BYTES 2048
#define N_PORT_NAMES 26

struct run {
	const char *path;
	const struct golden_world *world;
	unsigned line;
	char what[256]; // of the present case
	bool has_failed; // the present case
	void *state; // of the present case; NULL before the first
	FILE *pcap;
	uint32_t pcap_us; // a clock of its own
	char came[64]; // verdict of the last `in`
	struct test_frame came_frame;
	bool is_awaiting_out;
	uint32_t ports[N_PORT_NAMES]; // of $a to $z; 0: not yet known
	struct golden_outcome outcome;
};

// ---- pcap (the classic format: magic, version 2.4, Ethernet) ----

static void pcap_open(struct run *r)
{
	char path[512];
	const char *directory = getenv("GOLDEN_PCAP");
	const char *slash = strrchr(r->path, '/');
	const char *name = slash == NULL ? r->path : slash + 1;
	static const uint32_t header[6] = { 0xa1b2c3d4, 2 | 4 << 16, 0, 0, 65535, 1 };
	if (directory == NULL || !text_format(path, sizeof path, "%s/%.*s-%03u.pcap", directory, (int)strcspn(name, "."),
	                                      name, r->outcome.n_cases))
		return;
	r->pcap = fopen(path, "wb");
	if (r->pcap != NULL)
		(void)fwrite(header, sizeof header, 1, r->pcap);
}

static void pcap_put(struct run *r, struct test_frame *f)
{
	if (r->pcap == NULL)
		return;
	const uint32_t header[4] = { 0, r->pcap_us++, f->len, f->len };
	(void)fwrite(header, sizeof header, 1, r->pcap);
	(void)fwrite(test_data(f), f->len, 1, r->pcap);
}

// ---- cases ----

static void complain(struct run *r, const char *text)
{
	r->has_failed = true;
	printf("%s:%u: %s: %s\n", r->path, r->line, r->what, text);
}

// The next thing that came out beside the last `out`, when there is one.
static bool take_next(struct run *r)
{
	if (r->is_awaiting_out || r->world->next == NULL)
		return r->is_awaiting_out;
	memset(&r->came_frame, 0, sizeof r->came_frame);
	const char *came = r->world->next(r->state, &r->came_frame);
	if (came != NULL)
		(void)text_copy(r->came, sizeof r->came, came);
	return came != NULL;
}

static void end_case(struct run *r)
{
	if (r->state == NULL)
		return;
	if (take_next(r))
		complain(r, "the last packet in has no `out`, or more came than it has");
	r->outcome.n_failed += r->has_failed;
	r->world->destroy(r->state);
	r->state = NULL;
	if (r->pcap != NULL)
		(void)fclose(r->pcap);
	r->pcap = NULL;
}

static void begin_case(struct run *r, const char *words)
{
	end_case(r);
	(void)text_format(r->what, sizeof r->what, "%s", words);
	r->has_failed = r->is_awaiting_out = false;
	r->outcome.n_cases++;
	r->outcome.n_without_source += strchr(words, '[') == NULL;
	memset(r->ports, 0, sizeof r->ports);
	r->state = r->world->create();
	r->pcap_us = 0;
	pcap_open(r);
}

// ---- ports of SNAT: chosen by the program, and named by the table ----

// The source port that came, or the identifier of an echo request.
static uint32_t port_that_came(struct run *r)
{
	uint8_t *ip = test_data(&r->came_frame) + ETH_BYTES;
	uint8_t *l4 = ip + (ip[0] & 0x0f) * 4;
	struct parsed p = { 0 };
	if (test_is_ip6(&r->came_frame)) {
		(void)test_parse(test_data(&r->came_frame), r->came_frame.len, &p);
		l4 = test_data(&r->came_frame) + p.l4_off;
		return be16_to(load16(p.protocol == IP_PROTO_ICMP6 ? l4 + 4 : l4));
	}
	return be16_to(load16(ip[9] == IP_PROTO_ICMP ? l4 + 4 : l4));
}

// The port that a name has, which is that of the first packet out that is written with it.
static uint32_t named_port(struct run *r, char name, bool is_out)
{
	uint32_t *port = &r->ports[name - 'a'];
	if (*port != 0 || !is_out || r->came_frame.len == 0)
		return *port;
	uint32_t came = port_that_came(r);
	for (uint32_t i = 0; i < N_PORT_NAMES; i++)
		if (r->ports[i] == came)
			complain(r, "two names have the same port");
	if (came < GOLDEN_LEASED_MIN || came > GOLDEN_LEASED_MAX)
		complain(r, "a port that is not leased");
	return *port = came;
}

// The line with numbers in the place of $a to $z.
static bool fill_in_ports(struct run *r, const char *line, bool is_out, char *text, size_t size)
{
	size_t n = 0;
	for (; *line != '\0' && n + 8 < size; line++) {
		if (line[0] != '$' || line[1] < 'a' || line[1] > 'z') {
			text[n++] = *line;
			continue;
		}
		uint32_t port = named_port(r, *++line, is_out);
		if (port == 0) {
			complain(r, "a port that no packet out has named before");
			return false;
		}
		n += (size_t)snprintf(text + n, size - n, "%u", port);
	}
	text[n] = '\0';
	return true;
}

static bool encode(struct run *r, const char *written, bool is_out, const char *port_name, struct test_frame *f)
{
	char line[LINE_BYTES + 64];
	if (!fill_in_ports(r, written, is_out, line, sizeof line))
		return false;
	struct notation_port port;
	const char *what;
	char text[256];
	if (!r->world->port(port_name, is_out, &port)) {
		complain(r, "no such port");
		return false;
	}
	if (notation_encode(line, &port, f, &what))
		return true;
	(void)text_format(text, sizeof text, "the line cannot be read at \"%s\"", what);
	complain(r, text);
	return false;
}

static void take_in(struct run *r, char *words)
{
	struct test_frame frame;
	char *rest;
	const char *port = strtok_r(words, " \t", &rest);
	if (take_next(r))
		complain(r, "the packet before has no `out`, or more came than it has");
	if (port == NULL || !encode(r, rest, false, port, &frame))
		return;
	pcap_put(r, &frame);
	r->outcome.n_packets++;
	memset(&r->came_frame, 0, sizeof r->came_frame);
	(void)text_copy(r->came, sizeof r->came, r->world->send(r->state, port, &frame, &r->came_frame));
	r->is_awaiting_out = true;
}

static bool leaves(const char *verdict)
{
	return strncmp(verdict, "drop", 4) != 0 && strcmp(verdict, "hold") != 0 && strcmp(verdict, "consumed") != 0;
}

static void say_difference(struct run *r, const char *expected_verdict, struct test_frame *expected)
{
	char text[1024];
	complain(r, "another outcome");
	printf("  expected %s %s\n", expected_verdict,
	       expected->len > 0 ? test_format(test_data(expected), expected->len, text, sizeof text) : "");
	printf("  came     %s %s\n", r->came,
	       leaves(r->came) ? test_format(test_data(&r->came_frame), r->came_frame.len, text, sizeof text) : "");
	uint32_t n = expected->len < r->came_frame.len ? expected->len : r->came_frame.len;
	for (uint32_t i = 0; i < n; i++)
		if (test_data(expected)[i] != test_data(&r->came_frame)[i]) {
			printf("  first difference at byte %u: %02x expected, %02x came; %u and %u bytes\n", i,
			       test_data(expected)[i], test_data(&r->came_frame)[i], expected->len, r->came_frame.len);
			return;
		}
	printf("  lengths: %u expected, %u came\n", expected->len, r->came_frame.len);
}

static void take_out(struct run *r, char *words)
{
	struct test_frame expected = { 0 };
	char port[32];
	if (!take_next(r)) {
		complain(r, "an `out` without its `in`");
		return;
	}
	r->is_awaiting_out = false;
	if (!leaves(words)) {
		if (strcmp(words, r->came) != 0)
			say_difference(r, words, &expected);
		return;
	}
	size_t n = strcspn(words, " \t");
	if (n >= sizeof port)
		return;
	memcpy(port, words, n);
	port[n] = '\0';
	if (!encode(r, words + n, true, port, &expected))
		return;
	pcap_put(r, &r->came_frame);
	if (strcmp(port, r->came) != 0 || expected.len != r->came_frame.len ||
	    memcmp(test_data(&expected), test_data(&r->came_frame), expected.len) != 0)
		say_difference(r, port, &expected);
}

static void take_line(struct run *r, char *line)
{
	char *words = line + strspn(line, " \t");
	words[strcspn(words, "\r\n")] = '\0';
	size_t n = strlen(words);
	while (n > 0 && (words[n - 1] == ' ' || words[n - 1] == '\t'))
		words[--n] = '\0';
	if (*words == '\0' || *words == '#')
		return;
	if (strncmp(words, "case ", 5) == 0)
		begin_case(r, words + 5);
	else if (strncmp(words, "world ", 6) == 0 && strcmp(words + 6, r->world->name) == 0)
		return;
	else if (r->state == NULL)
		complain(r, "a case is expected first");
	else if (strncmp(words, "in ", 3) == 0)
		take_in(r, words + 3);
	else if (strncmp(words, "out ", 4) == 0)
		take_out(r, words + 4);
	else if (strncmp(words, "set ", 4) != 0 || !r->world->set(r->state, words + 4))
		complain(r, "a line that is none of case, set, in, out");
}

struct golden_outcome golden_run(const char *path, const struct golden_world *world)
{
	static struct run r;
	char line[LINE_BYTES];
	setvbuf(stdout, NULL, _IOLBF, 0); // the test may end by abort
	memset(&r, 0, sizeof r);
	r.path = path;
	r.world = world;
	FILE *file = fopen(path, "r");
	if (file == NULL) {
		printf("%s: cannot be opened\n", path);
		r.outcome.n_failed = 1;
		return r.outcome;
	}
	while (fgets(line, sizeof line, file) != NULL) {
		r.line++;
		take_line(&r, line);
	}
	end_case(&r);
	(void)fclose(file);
	return r.outcome;
}
