#include "common/packet/drop.h"

#include "common/base/check.h"

static const struct {
	const char *name;
	const char *text;
} reasons[DROP_REASON_COUNT] = { [DROP_NONE] = { "none", "not dropped" },
#define X(id, name, text) [DROP_##id] = { name, text },
	                             DROP_REASONS(X)
#undef X
};

const char *drop_reason_name(enum drop_reason reason)
{
	CHECK(reason < DROP_REASON_COUNT);
	return reasons[reason].name;
}

const char *drop_reason_text(enum drop_reason reason)
{
	CHECK(reason < DROP_REASON_COUNT);
	return reasons[reason].text;
}
