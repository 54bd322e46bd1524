// Waiting until a drained DIP has no connections left.
//
// That its agent counts none is not enough: a mux or agent that has not heard of the drain may still bring one. So all that
// answer must have come to the version of the drain first. What cannot be reached is asked again, not waited for blindly:
// a mux that does not answer sends new connections to the DIP at worst, and its agent, which knows, passes them on.
#include <string.h>
#include <time.h>

#include "manager/cli/dip_drain.h"

enum { FIRST_PAUSE_MS = 50, LAST_PAUSE_MS = 2000 };

struct wait {
	struct cli *cli;
	const struct drain_target *target;
	uint64_t version; // of the drain
	bool has_state; // do the following hold what the managers say?
	char host[NAME_BYTES]; // of the DIP; "": it is attached nowhere
	uint64_t host_version; // when `host` was looked up
	uint64_t passes_ms; // the drain time has passed then; since 1970
	bool have_muxes_heard;
	bool is_settled; // nothing brings a new connection any more
	bool is_known;
	uint64_t n_left;
};

static uint64_t clock_ms(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

// The longest drain time of the VIPs that are meant.
static uint32_t find_drain_s(const struct store *state, const struct drain_target *t)
{
	uint32_t longest = 0;
	for (uint32_t i = 0; i < state->vips.n; i++) {
		const struct vip_config *vip = store_vip(state, i);
		bool is_meant = ip_addr_is_unspecified(&t->vip) || ip_addr_equal(&t->vip, &vip->vip);
		if (is_meant && vip_config_has_dip(vip, &t->dip) && vip->drain_s > longest)
			longest = vip->drain_s;
	}
	return longest;
}

static enum status take_state(struct wait *w, const struct store *state)
{
	char text[DRAIN_TEXT_BYTES];
	const struct store_mark *drain = drain_target_lookup(state, w->target);
	const struct dip_info *info = store_lookup_dip(state, &w->target->dip);
	if (drain == NULL) {
		cli_complain("dip drain: %s is not drained any more", drain_target_format(w->target, text));
		return STATUS_REFUSED;
	}
	w->passes_ms = drain->info.since_ms + find_drain_s(state, w->target) * 1000ull;
	(void)text_copy(w->host, sizeof w->host, info != NULL ? info->host : "");
	w->host_version = state->version;
	w->has_state = true;
	return STATUS_DONE;
}

// No answer is no reason to end.
static enum status look_up(struct wait *w)
{
	struct store state;
	struct error err = { 0 };
	if (client_get_state(w->cli->client, &state, &err) != 0)
		return STATUS_DONE;
	enum status status = take_state(w, &state);
	store_fini(&state);
	return status;
}

static bool is_reachable(const struct node_status *node)
{
	return strcmp(node->state, "unreachable") != 0 && strcmp(node->state, "down") != 0;
}

static void ask_muxes(struct wait *w)
{
	struct node_list muxes;
	struct error err = { 0 };
	if (w->have_muxes_heard || client_get_nodes(w->cli->client, ROLE_MUX, "", &muxes, &err) != 0)
		return;
	w->have_muxes_heard = true;
	for (uint32_t i = 0; i < muxes.n; i++)
		w->have_muxes_heard &= !is_reachable(&muxes.items[i]) || muxes.items[i].version >= w->version;
	node_list_fini(&muxes);
}

static void take_host(struct wait *w, const struct node_status *host, uint64_t *ret_version)
{
	if (!is_reachable(host))
		return;
	for (uint32_t i = 0; i < host->n_dips; i++) {
		if (!ip_addr_equal(&host->dips[i].dip, &w->target->dip))
			continue;
		w->is_known = true;
		w->n_left = host->dips[i].flows;
	}
	w->is_settled = host->version >= w->version;
	*ret_version = host->version;
}

// What has changed since the state was looked up may be the drain, or where the DIP is.
static enum status ask_host(struct wait *w)
{
	struct node_list hosts;
	struct error err = { 0 };
	uint64_t version = 0;
	w->is_known = w->is_settled = false;
	if (!w->has_state)
		return look_up(w);
	if (w->host[0] == '\0') {
		w->is_known = w->is_settled = true;
		w->n_left = 0;
		return STATUS_DONE;
	}
	if (client_get_nodes(w->cli->client, ROLE_AGENT, w->host, &hosts, &err) != 0)
		return STATUS_DONE;
	if (hosts.n > 0)
		take_host(w, &hosts.items[0], &version);
	node_list_fini(&hosts);
	return version > w->host_version || !w->is_known ? look_up(w) : STATUS_DONE;
}

static void show_left(const struct wait *w, char *shown, size_t size)
{
	char line[64] = "connections left: -";
	if (w->is_known)
		(void)text_format(line, sizeof line, "connections left: %llu", (unsigned long long)w->n_left);
	if (w->cli->options->is_json || strcmp(line, shown) == 0)
		return;
	(void)text_copy(shown, size, line);
	puts(line);
	fflush(stdout);
}

// Longer each time, but not beyond --timeout.
static void take_a_pause(const struct wait *w, uint64_t began_ms, uint32_t *pause_ms)
{
	uint64_t passed_ms = clock_ms(CLOCK_MONOTONIC) - began_ms;
	uint64_t ms = *pause_ms;
	if (w->cli->options->wait_ms > passed_ms && w->cli->options->wait_ms - passed_ms < ms)
		ms = w->cli->options->wait_ms - passed_ms;
	*pause_ms = *pause_ms * 2 < LAST_PAUSE_MS ? *pause_ms * 2 : LAST_PAUSE_MS;
	struct timespec t = { .tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000 };
	nanosleep(&t, NULL);
}

static bool has_ended(const struct wait *w, uint64_t began_ms, enum drain_end *ret_end)
{
	uint32_t wait_ms = w->cli->options->wait_ms;
	if (w->is_known && w->n_left == 0 && w->is_settled && w->have_muxes_heard)
		*ret_end = DRAIN_EMPTY;
	else if (w->passes_ms != 0 && clock_ms(CLOCK_REALTIME) >= w->passes_ms)
		*ret_end = DRAIN_PASSED;
	else if (wait_ms != 0 && clock_ms(CLOCK_MONOTONIC) - began_ms >= wait_ms)
		*ret_end = DRAIN_TIMEOUT;
	else
		return false;
	return true;
}

enum status drain_wait(struct cli *cli, const struct drain_target *target, uint64_t version,
                       struct drain_outcome *ret_outcome)
{
	struct wait w = { .cli = cli, .target = target, .version = version };
	char shown[64] = "";
	uint64_t began_ms = clock_ms(CLOCK_MONOTONIC);
	uint32_t pause = FIRST_PAUSE_MS;
	enum status status = look_up(&w);
	while (status == STATUS_DONE) {
		ask_muxes(&w);
		status = ask_host(&w);
		if (status != STATUS_DONE)
			break;
		show_left(&w, shown, sizeof shown);
		if (has_ended(&w, began_ms, &ret_outcome->end))
			break;
		take_a_pause(&w, began_ms, &pause);
	}
	ret_outcome->is_known = w.is_known;
	ret_outcome->n_left = w.n_left;
	return status;
}
