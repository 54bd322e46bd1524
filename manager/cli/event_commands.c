// anantactl events: what happened to the cluster, and what happens.
#include <ctype.h>
#include <string.h>
#include <time.h>

#include "manager/cli/command.h"
#include "manager/cli/utc.h"

enum { POLL_MS = 500 };

struct event_view {
	struct cli *cli;
	const char *object; // NULL: any
	char vip[IP_ADDR_TEXT_BYTES]; // "": any
	uint64_t seq; // of the last one that was seen
};

// ---- which ----

static bool is_part_of_word(char c)
{
	return isalnum((unsigned char)c) || c == '.' || c == '_' || c == '-';
}

// As a whole: 203.0.113.1 is not in 203.0.113.10.
static bool has_words(const char *text, const char *words)
{
	size_t n = strlen(words);
	for (const char *at = strstr(text, words); n > 0 && at != NULL; at = strstr(at + 1, words))
		if ((at == text || !is_part_of_word(at[-1])) && !is_part_of_word(at[n]))
			return true;
	return false;
}

static bool is_wanted(const struct event_view *v, const struct cluster_event *e)
{
	if (v->object != NULL && !has_words(e->object, v->object))
		return false;
	return v->vip[0] == '\0' || has_words(e->object, v->vip) || has_words(e->cause, v->vip);
}

// ---- printing ----

static json_t *make_event(const struct cluster_event *e)
{
	return json_pack("{s:I, s:o, s:s, s:s, s:s}", "seq", (json_int_t)e->seq, "time", cli_json_time(e->time_ms), "what",
	                 e->what, "object", e->object, "cause", e->cause);
}

static void print_line(const struct event_view *v, const struct cluster_event *e)
{
	char time[UTC_TEXT_BYTES];
	if (v->cli->options->is_json) {
		json_t *document = make_event(e);
		json_dumpf(document, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
		putchar('\n');
		json_decref(document);
		return;
	}
	printf("%-24s  %-20s  %-20s  %s\n", utc_format(e->time_ms, time), e->what, e->object, e->cause);
}

static void print_titles(const struct event_view *v)
{
	if (!v->cli->options->is_json)
		printf("%-24s  %-20s  %-20s  %s\n", "TIME", "WHAT", "OBJECT", "CAUSE");
}

static void print_list(const struct event_view *v, const struct event_list *events)
{
	json_t *list = json_array();
	for (uint32_t i = 0; i < events->n; i++)
		if (is_wanted(v, &events->items[i]))
			json_array_append_new(list, make_event(&events->items[i]));
	cli_print_json(list);
}

static void print_lines(struct event_view *v, const struct event_list *events)
{
	for (uint32_t i = 0; i < events->n; i++) {
		const struct cluster_event *e = &events->items[i];
		if (v->seq != 0 && e->seq > v->seq + 1)
			cli_complain("events: %llu of them were forgotten before they could be shown",
			             (unsigned long long)(e->seq - v->seq - 1));
		v->seq = e->seq;
		if (is_wanted(v, e))
			print_line(v, e);
	}
}

// ---- following ----

static void take_a_pause(void)
{
	struct timespec t = { .tv_nsec = POLL_MS * 1000000L };
	nanosleep(&t, NULL);
}

// For ever: until a signal ends the program, or nobody reads what it prints. A leader that does not answer is asked again; which one
// that is may change.
static enum status follow(struct event_view *v)
{
	struct error err;
	for (;;) {
		struct event_list events;
		if (fflush(stdout) != 0) {
			cli_complain("the output cannot be written");
			return STATUS_REFUSED;
		}
		take_a_pause();
		memset(&err, 0, sizeof err);
		if (client_get_events(v->cli->client, v->seq, &events, &err) != 0)
			continue;
		print_lines(v, &events);
		event_list_fini(&events);
	}
}

static enum status read_view(struct cli *cli, struct event_view *v)
{
	struct ip_addr addr;
	const char *vip = options_get(cli->options, OPTION_VIP);
	*v = (struct event_view){ .cli = cli, .object = options_get(cli->options, OPTION_OBJECT) };
	if (vip == NULL)
		return STATUS_DONE;
	enum status status = cli_parse_addr("--vip", vip, &addr);
	if (status == STATUS_DONE)
		ip_addr_format(&addr, v->vip);
	return status;
}

static enum status show_events(struct cli *cli, const char *operand)
{
	struct event_view v;
	struct event_list events;
	struct error err = { 0 };
	bool has_to_follow = options_has(cli->options, OPTION_FOLLOW);
	enum status status = read_view(cli, &v);
	if (status == STATUS_DONE)
		status = cli_connect(cli);
	if (status == STATUS_DONE && client_get_events(cli->client, 0, &events, &err) != 0)
		status = cli_report(&err);
	if (status != STATUS_DONE)
		return status;
	if (cli->options->is_json && !has_to_follow) {
		print_list(&v, &events);
	} else {
		print_titles(&v);
		print_lines(&v, &events);
	}
	event_list_fini(&events);
	return has_to_follow ? follow(&v) : STATUS_DONE;
}

const struct command event_commands[] = {
	{ "events", NULL, NULL, 0, OPTION_FOLLOW | OPTION_VIP | OPTION_OBJECT,
	  "show what happened to the cluster, the oldest first; with --follow, go on with what happens", "events --follow",
	  show_events },
	{ 0 },
};
