#include "hostagent/core/counters.h"

#include "common/base/text.h"

struct list {
	struct agent_counter_value *values;
	uint32_t n;
	uint32_t max;
};

static void append(struct list *list, const char *prefix, const char *name, uint64_t value)
{
	if (list->n < list->max) {
		struct agent_counter_value *v = &list->values[list->n];
		text_format(v->name, sizeof v->name, "%s%s", prefix, name);
		v->value = value;
	}
	list->n++;
}

uint32_t agent_counters_read(const struct agent_counters *counters, const struct agent_gauges *gauges,
                             struct agent_counter_value *ret_values, uint32_t max)
{
	struct list list = { .values = ret_values, .max = max };
#define X(name, text) append(&list, "", #name, counter_read(&counters->name));
	AGENT_COUNTERS(X)
#undef X
	append(&list, "", "flows", gauges->flows);
	append(&list, "", "flow_capacity", gauges->flow_capacity);
	for (uint32_t r = DROP_NONE + 1; r < DROP_REASON_COUNT; r++)
		append(&list, "drop_", drop_reason_name((enum drop_reason)r), counter_read(&counters->drops[r]));
	return list.n;
}
