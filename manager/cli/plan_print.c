// A plan as text.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "manager/cli/plan.h"

static const char *text_of(const json_t *object, const char *field)
{
	const char *text = json_string_value(json_object_get(object, field));
	return text != NULL ? text : "";
}

static long long number_of(const json_t *object, const char *field)
{
	return (long long)json_integer_value(json_object_get(object, field));
}

static void print_value(const json_t *value)
{
	if (json_is_string(value)) {
		fputs(json_string_value(value), stdout);
		return;
	}
	if (json_is_null(value)) {
		putchar('-');
		return;
	}
	char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
	fputs(text != NULL ? text : "?", stdout);
	free(text);
}

static void print_fields(const json_t *fields, const char *indent)
{
	for (size_t i = 0; i < json_array_size(fields); i++) {
		const json_t *f = json_array_get(fields, i);
		printf("%s%s: ", indent, text_of(f, "field"));
		print_value(json_object_get(f, "from"));
		fputs(" -> ", stdout);
		print_value(json_object_get(f, "to"));
		putchar('\n');
	}
}

// "+ 10.1.1.11 port 8080 weight 1", "~ 10.1.1.12 weight 1 -> 2"
static void print_dip(const json_t *dip)
{
	const char *action = text_of(dip, "action");
	const json_t *fields = json_object_get(dip, "fields");
	bool is_add = strcmp(action, "add") == 0;
	bool is_change = strcmp(action, "change") == 0;
	printf("    %c %s", is_add ? '+' : is_change ? '~' : '-', text_of(dip, "dip"));
	for (size_t i = 0; i < json_array_size(fields); i++) {
		const json_t *f = json_array_get(fields, i);
		printf(" %s ", text_of(f, "field"));
		print_value(json_object_get(f, is_add ? "to" : "from"));
		if (is_change) {
			fputs(" -> ", stdout);
			print_value(json_object_get(f, "to"));
		}
	}
	putchar('\n');
}

static void print_endpoint(const json_t *e)
{
	const char *action = text_of(e, "action");
	const json_t *connections = json_object_get(e, "connections");
	const json_t *dips = json_object_get(e, "dips");
	if (strcmp(action, "none") == 0)
		return;
	printf("  endpoint %s %s %lld: %s", text_of(e, "name"), text_of(e, "protocol"), number_of(e, "port"), action);
	if (strcmp(action, "add") != 0) {
		printf(", %.1f %% of its buckets move", json_real_value(json_object_get(e, "moved_percent")));
		if (json_is_null(connections))
			fputs("; connections are not known", stdout);
		else
			printf("; connections: at most %lld at DIPs that leave, about %lld in buckets that move",
			       number_of(connections, "leaving"), number_of(connections, "moved"));
	}
	putchar('\n');
	print_fields(json_object_get(e, "fields"), "    ");
	for (size_t i = 0; i < json_array_size(dips); i++)
		print_dip(json_array_get(dips, i));
}

static void print_snat(const json_t *snat, const char *which, char sign)
{
	const json_t *list = json_object_get(snat, which);
	for (size_t i = 0; i < json_array_size(list); i++)
		printf("  snat: %c %s\n", sign, json_string_value(json_array_get(list, i)));
}

static void print_vip(const json_t *vip)
{
	const json_t *list = json_object_get(vip, "endpoints");
	printf("vip %s of tenant %s: %s\n", text_of(vip, "vip"), text_of(vip, "tenant"), text_of(vip, "action"));
	print_fields(json_object_get(vip, "fields"), "  ");
	for (size_t i = 0; i < json_array_size(list); i++)
		print_endpoint(json_array_get(list, i));
	print_snat(json_object_get(vip, "snat"), "add", '+');
	print_snat(json_object_get(vip, "snat"), "remove", '-');
	list = json_object_get(vip, "warnings");
	for (size_t i = 0; i < json_array_size(list); i++)
		printf("  warning: %s\n", json_string_value(json_array_get(list, i)));
}

void plan_print(const json_t *plan)
{
	const json_t *vips = json_object_get(plan, "vips");
	for (size_t i = 0; i < json_array_size(vips); i++)
		print_vip(json_array_get(vips, i));
	if (json_object_get(plan, "settings") != NULL) {
		puts("settings: change");
		print_fields(json_object_get(plan, "settings"), "  ");
	}
	printf("plan: %lld to create, %lld to change, %lld to delete, %lld unchanged (version %lld)\n",
	       number_of(plan, "create"), number_of(plan, "change"), number_of(plan, "delete"),
	       number_of(plan, "unchanged"), number_of(plan, "version"));
}
