// Between the generated protobuf-c structs and events, and reports of health. Private to common/wire; as pb_model.h.
#pragma once

#include "common/model/event.h"
#include "common/model/health.h"
#include "common/wire/pb_model.h"

Ananta__Event **pb_from_events(struct arena *a, const struct event_list *events);
NODISCARD int pb_to_events(Ananta__Event **pb, size_t n, struct event_list *ret_events, struct error *err);

Ananta__HealthReport *pb_from_health(struct arena *a, const struct health_report *report);
NODISCARD int pb_to_health(const Ananta__HealthReport *pb, struct health_report *ret_report, struct error *err);
