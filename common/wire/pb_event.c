#include "common/wire/pb_event.h"

Ananta__Event **pb_from_events(struct arena *a, const struct event_list *events)
{
	Ananta__Event **pointers = arena_array(a, events->n, sizeof *pointers);
	Ananta__Event *items = arena_array(a, events->n, sizeof *items);
	if (pointers == NULL || items == NULL)
		return NULL;
	for (uint32_t i = 0; i < events->n; i++) {
		const struct cluster_event *e = &events->items[i];
		ananta__event__init(&items[i]);
		items[i].seq = e->seq;
		items[i].time_ms = e->time_ms;
		items[i].what = (char *)e->what;
		items[i].object = (char *)e->object;
		items[i].cause = (char *)e->cause;
		pointers[i] = &items[i];
	}
	return pointers;
}

static int pb_to_event(const Ananta__Event *pb, struct cluster_event *e, struct error *err)
{
	e->seq = pb->seq;
	e->time_ms = pb->time_ms;
	int code = pb_to_text(pb->what, e->what, sizeof e->what, "event", err);
	if (code == 0)
		code = pb_to_text(pb->object, e->object, sizeof e->object, "object", err);
	return code != 0 ? code : pb_to_text(pb->cause, e->cause, sizeof e->cause, "cause", err);
}

int pb_to_events(Ananta__Event **pb, size_t n, struct event_list *ret_events, struct error *err)
{
	struct event_list list = { 0 };
	int code = 0;
	for (size_t i = 0; code == 0 && i < n; i++) {
		struct cluster_event e = { 0 };
		code = pb_to_event(pb[i], &e, err);
		if (code == 0 && event_list_append(&list, &e) != 0)
			code = error_set(err, ERR_NO_MEMORY, "out of memory");
	}
	if (code != 0) {
		event_list_fini(&list);
		return code;
	}
	*ret_events = list;
	return 0;
}

Ananta__HealthReport *pb_from_health(struct arena *a, const struct health_report *report)
{
	Ananta__HealthReport *pb = arena_array(a, 1, sizeof *pb);
	Ananta__ProbeResult *items = arena_array(a, report->n, sizeof *items);
	if (pb == NULL || items == NULL)
		return NULL;
	ananta__health_report__init(pb);
	pb->is_whole = report->is_whole;
	pb->n_results = report->n;
	pb->results = arena_array(a, report->n, sizeof *pb->results);
	if (pb->results == NULL)
		return NULL;
	for (uint32_t i = 0; i < report->n; i++) {
		const struct probe_result *r = &report->items[i];
		ananta__probe_result__init(&items[i]);
		items[i].dip = pb_from_addr(&r->dip);
		items[i].vip = pb_from_addr(&r->vip);
		items[i].protocol = r->protocol;
		items[i].port = r->port;
		items[i].is_healthy = r->is_healthy;
		items[i].cause = (char *)r->cause;
		pb->results[i] = &items[i];
	}
	return pb;
}

static int pb_to_result(const Ananta__ProbeResult *pb, struct probe_result *r, struct error *err)
{
	if (pb->protocol > UINT8_MAX || protocol_name((uint8_t)pb->protocol) == NULL || pb->port > UINT16_MAX)
		return error_set(err, ERR_MALFORMED, "a probe's protocol or port is out of range");
	r->protocol = (uint8_t)pb->protocol;
	r->port = (uint16_t)pb->port;
	r->is_healthy = pb->is_healthy;
	int code = pb_to_addr(&pb->dip, &r->dip, err);
	if (code == 0)
		code = pb_to_addr(&pb->vip, &r->vip, err);
	return code != 0 ? code : pb_to_text(pb->cause, r->cause, sizeof r->cause, "cause", err);
}

int pb_to_health(const Ananta__HealthReport *pb, struct health_report *ret_report, struct error *err)
{
	struct health_report report = { .is_whole = pb->is_whole };
	int code = 0;
	for (size_t i = 0; code == 0 && i < pb->n_results; i++) {
		struct probe_result r = { 0 };
		code = pb_to_result(pb->results[i], &r, err);
		if (code == 0 && health_report_append(&report, &r) != 0)
			code = error_set(err, ERR_NO_MEMORY, "out of memory");
	}
	if (code != 0) {
		health_report_fini(&report);
		return code;
	}
	*ret_report = report;
	return 0;
}
