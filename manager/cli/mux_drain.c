// Draining a mux: it asks routers to send its traffic elsewhere, serves on, and withdraws when no packet for a VIP comes any more.
// --wait asks it until it says that it has. A mux that does not answer is asked again: only it knows whether packets come.
#include "manager/cli/mux_drain.h"

#include <string.h>
#include <time.h>

enum { FIRST_PAUSE_MS = 50, LAST_PAUSE_MS = 500 };

struct mux_wait {
	struct cli *cli;
	const char *name;
	uint64_t version; // of the drain
	char state[32]; // what it said last; "down" or "unreachable": it does not answer
	bool has_packets; // is the following known?
	uint64_t packets; // for VIPs, since it started
	uint64_t asked_ms;
	bool is_rate_known;
	uint64_t packets_per_s;
};

static uint64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static enum status check_name(const char *name)
{
	if (text_is_name(name))
		return STATUS_DONE;
	cli_complain("mux: a name is 1 to 63 of A-Z a-z 0-9 . _ -");
	return STATUS_USAGE;
}

static json_t *make_report(const char *name, const char *result, uint64_t version)
{
	return json_pack("{s:s, s:s, s:I}", "mux", name, "result", result, "version", (json_int_t)version);
}

static void report(const struct cli *cli, const char *name, const char *result, uint64_t version)
{
	if (cli->options->is_json)
		cli_print_json(make_report(name, result, version));
	else
		printf("mux %s %s (version %llu)\n", name, result, (unsigned long long)version);
	fflush(stdout);
}

// ---- waiting ----

static uint64_t find_counter(const struct node_status *node, const char *name)
{
	for (uint32_t i = 0; i < node->n_counters; i++)
		if (strcmp(node->counters[i].name, name) == 0)
			return node->counters[i].value;
	return 0;
}

// What came from the network and was not the node's own.
static void take_packets(struct mux_wait *w, const struct node_status *node)
{
	uint64_t packets = find_counter(node, "rx_packets") - find_counter(node, "to_tap_packets");
	uint64_t now = now_ms();
	w->is_rate_known = w->has_packets && packets >= w->packets && now > w->asked_ms;
	if (w->is_rate_known)
		w->packets_per_s = (packets - w->packets) * 1000 / (now - w->asked_ms);
	w->has_packets = true;
	w->packets = packets;
	w->asked_ms = now;
}

static bool answers(const struct mux_wait *w)
{
	return w->state[0] != '\0' && strcmp(w->state, "down") != 0 && strcmp(w->state, "unreachable") != 0;
}

// True: it has heard of the drain, and carried it out.
static bool take_node(struct mux_wait *w, const struct node_status *node)
{
	(void)text_copy(w->state, sizeof w->state, node->state);
	w->is_rate_known = false;
	if (!answers(w)) {
		w->has_packets = false;
		return false;
	}
	take_packets(w, node);
	return node->version >= w->version && strcmp(w->state, "drained") == 0;
}

static bool is_mark_there(struct mux_wait *w)
{
	struct store state;
	struct error err = { 0 };
	struct object_key key = object_key_of_name(OBJECT_MUX_DRAIN, w->name);
	if (client_get_state(w->cli->client, &state, &err) != 0)
		return true; // no answer is no reason to end
	bool is_there = store_lookup_mark(&state, &key) != NULL;
	store_fini(&state);
	return is_there;
}

static enum status ask(struct mux_wait *w, bool *ret_is_drained)
{
	struct node_list nodes;
	struct error err = { 0 };
	*ret_is_drained = false;
	if (client_get_nodes(w->cli->client, ROLE_MUX, w->name, &nodes, &err) != 0)
		return STATUS_DONE;
	bool is_undrained = nodes.n == 0;
	for (uint32_t i = 0; i < nodes.n; i++) {
		*ret_is_drained = take_node(w, &nodes.items[i]);
		is_undrained = nodes.items[i].version >= w->version && strcmp(w->state, "announcing") == 0;
	}
	node_list_fini(&nodes);
	if (!is_undrained || is_mark_there(w))
		return STATUS_DONE;
	cli_complain("mux drain: %s is not drained any more", w->name);
	return STATUS_REFUSED;
}

static void show(const struct mux_wait *w, char *shown, size_t size)
{
	char line[96];
	char rate[48] = "";
	if (w->is_rate_known)
		(void)text_format(rate, sizeof rate, ", %llu packets a second", (unsigned long long)w->packets_per_s);
	(void)text_format(line, sizeof line, "state: %s%s", w->state, rate);
	if (w->cli->options->is_json || w->state[0] == '\0' || strcmp(line, shown) == 0)
		return;
	(void)text_copy(shown, size, line);
	puts(line);
	fflush(stdout);
}

// Longer each time, but not beyond --timeout; false when that has passed.
static bool take_a_pause(const struct mux_wait *w, uint64_t began_ms, uint64_t *pause_ms)
{
	uint64_t wait_ms = w->cli->options->wait_ms;
	uint64_t passed_ms = now_ms() - began_ms;
	uint64_t ms = *pause_ms;
	if (wait_ms != 0 && passed_ms >= wait_ms)
		return false;
	if (wait_ms != 0 && wait_ms - passed_ms < ms)
		ms = wait_ms - passed_ms;
	*pause_ms = *pause_ms * 2 < LAST_PAUSE_MS ? *pause_ms * 2 : LAST_PAUSE_MS;
	struct timespec t = { .tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000 };
	nanosleep(&t, NULL);
	return true;
}

static enum status report_timeout(const struct mux_wait *w)
{
	char what[96] = "it does not answer, so that nobody knows what still comes";
	if (answers(w) && w->is_rate_known)
		(void)text_format(what, sizeof what, "%llu packets a second still come", (unsigned long long)w->packets_per_s);
	else if (answers(w))
		(void)text_format(what, sizeof what, "what still comes is not known yet");
	cli_complain("mux drain: %s is %s after %u s: %s; it goes on draining until `anantactl mux undrain %s`", w->name,
	             w->state[0] != '\0' ? w->state : "not known", w->cli->options->wait_ms / 1000, what, w->name);
	return STATUS_UNREACHABLE;
}

static enum status wait_until_drained(struct mux_wait *w, bool *ret_is_drained)
{
	char shown[96] = "";
	uint64_t began_ms = now_ms();
	uint64_t pause_ms = FIRST_PAUSE_MS;
	for (;;) {
		enum status status = ask(w, ret_is_drained);
		if (status != STATUS_DONE)
			return status;
		show(w, shown, sizeof shown);
		if (*ret_is_drained || !take_a_pause(w, began_ms, &pause_ms))
			return STATUS_DONE;
	}
}

static enum status wait_and_report(struct cli *cli, const char *name, uint64_t version)
{
	struct mux_wait w = { .cli = cli, .name = name, .version = version };
	bool is_drained;
	enum status status = wait_until_drained(&w, &is_drained);
	if (status != STATUS_DONE)
		return status;
	if (cli->options->is_json) {
		json_t *document = make_report(name, "draining", version);
		json_object_set_new(document, "end", json_string(is_drained ? "drained" : "timeout"));
		json_object_set_new(document, "state", json_string(w.state));
		json_object_set_new(document, "packets_per_s",
		                    w.is_rate_known ? json_integer((json_int_t)w.packets_per_s) : json_null());
		cli_print_json(document);
	}
	return is_drained ? STATUS_DONE : report_timeout(&w);
}

// ---- the commands ----

enum status drain_mux(struct cli *cli, const char *operand)
{
	uint64_t version;
	bool has_to_wait = options_has(cli->options, OPTION_WAIT);
	struct change put = { .key = object_key_of_name(OBJECT_MUX_DRAIN, operand) };
	enum status status = check_name(operand);
	if (status == STATUS_DONE)
		status = cli_send_change(cli, &put, &version);
	if (status != STATUS_DONE)
		return status;
	if (!has_to_wait || !cli->options->is_json)
		report(cli, operand, "draining", version);
	return has_to_wait ? wait_and_report(cli, operand, version) : STATUS_DONE;
}

enum status undrain_mux(struct cli *cli, const char *operand)
{
	uint64_t version;
	struct change delete = { .key = object_key_of_name(OBJECT_MUX_DRAIN, operand), .is_delete = true };
	enum status status = check_name(operand);
	if (status == STATUS_DONE)
		status = cli_send_change(cli, &delete, &version);
	if (status == STATUS_DONE)
		report(cli, operand, "undrained", version);
	return status;
}
