#include "common/model/event.h"

#include "common/base/memory.h"

void event_list_fini(struct event_list *list)
{
	memory_free(list->items);
	*list = (struct event_list){ 0 };
}

int event_list_append(struct event_list *list, const struct cluster_event *e)
{
	struct cluster_event *items = memory_grow(list->items, list->n, &list->capacity, sizeof *items);
	if (items == NULL)
		return ERR_NO_MEMORY;
	list->items = items;
	list->items[list->n++] = *e;
	return 0;
}

struct cluster_event event_make(const char *what, const char *object, const char *cause_format, ...)
{
	struct cluster_event e = { 0 };
	va_list args;
	(void)text_format(e.what, sizeof e.what, "%s", what);
	(void)text_format(e.object, sizeof e.object, "%s", object);
	va_start(args, cause_format);
	(void)text_vformat(e.cause, sizeof e.cause, cause_format, args);
	va_end(args);
	return e;
}
