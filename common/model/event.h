// What happened to the cluster, for people: changes of health, routes, leaders, muxes and configuration, with time, cause and
// object. The managers keep the last EVENTS_KEPT of them in their replicated state.
#pragma once

#include <stdint.h>

#include "common/base/error.h"
#include "common/base/text.h"

#define EVENTS_KEPT 1000
#define EVENT_WHAT_BYTES 32
#define EVENT_CAUSE_BYTES 160

struct cluster_event {
	uint64_t seq; // from 1, without gaps; 0 until the state has taken it
	uint64_t time_ms; // of the command that brought it
	char what[EVENT_WHAT_BYTES]; // a word of docs/events.md: "dip-unhealthy", "mux-down", "leader-elected"
	char object[NAME_BYTES]; // what it happened to: "10.1.1.11", "mux1", "203.0.113.10 tcp 80"
	char cause[EVENT_CAUSE_BYTES];
};

struct event_list {
	uint32_t n;
	uint32_t capacity;
	struct cluster_event *items;
};

void event_list_fini(struct event_list *list);

// ERR_NO_MEMORY.
NODISCARD int event_list_append(struct event_list *list, const struct cluster_event *e);

// An event without seq and time; what does not fit is cut.
struct cluster_event event_make(const char *what, const char *object, const char *cause_format, ...)
	__attribute__((format(printf, 3, 4)));
