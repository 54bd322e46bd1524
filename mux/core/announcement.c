#include "mux/core/announcement.h"

static bool is_draining(const struct announcement *a)
{
	return a->is_marked || a->is_stopping;
}

enum mux_state announcement_state(const struct announcement *a)
{
	if (a->is_withdrawn)
		return MUX_WITHDRAWN;
	if (!a->has_config)
		return MUX_NO_CONFIG;
	if (a->is_fenced)
		return MUX_FENCED;
	if (!is_draining(a))
		return MUX_ANNOUNCING;
	return a->is_quiet ? MUX_DRAINED : MUX_DRAINING;
}

const char *mux_state_name(enum mux_state state)
{
	switch (state) {
	case MUX_NO_CONFIG: return "no-config";
	case MUX_ANNOUNCING: return "announcing";
	case MUX_DRAINING: return "draining";
	case MUX_DRAINED: return "drained";
	case MUX_FENCED: return "fenced";
	case MUX_WITHDRAWN: return "withdrawn";
	}
	return "";
}

static void begin(struct announcement *a, uint64_t n_packets, struct mono_time now)
{
	a->is_quiet = false;
	a->began = now;
	a->moved = now;
	a->n_packets = n_packets;
}

void announcement_on_config(struct announcement *a, bool is_marked, uint64_t n_packets, struct mono_time now)
{
	bool was_draining = is_draining(a);
	bool is_first = !a->has_config;
	a->has_config = true;
	a->is_marked = is_marked;
	if (is_draining(a) && !was_draining)
		begin(a, n_packets, now);
	if (is_draining(a) && is_first)
		a->is_quiet = true; // nothing was announced
}

void announcement_stop(struct announcement *a, uint64_t n_packets, struct mono_time now)
{
	if (!is_draining(a))
		begin(a, n_packets, now);
	a->is_stopping = true;
}

void announcement_step(struct announcement *a, uint64_t n_packets, struct mono_time now)
{
	if (!is_draining(a) || a->is_quiet)
		return;
	if (n_packets != a->n_packets)
		a->moved = now;
	a->n_packets = n_packets;
	a->is_quiet = mono_elapsed_us(a->began, now) >= DRAIN_LEAST_US && mono_elapsed_us(a->moved, now) >= DRAIN_QUIET_US;
}
