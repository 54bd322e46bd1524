#include "manager/cli/table.h"

#include <stdbool.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/memory.h"
#include "common/base/text.h"

#define COLUMNS_MAX 12

struct table {
	uint32_t n_columns;
	bool is_number[COLUMNS_MAX];
	uint32_t n_cells; // the titles too
	uint32_t capacity;
	char **cells;
};

static void add_cell(struct table *t, const char *text, size_t n)
{
	if (t->n_cells == t->capacity) {
		t->capacity = t->capacity == 0 ? 64 : t->capacity * 2;
		t->cells = memory_resize(t->cells, t->capacity, sizeof *t->cells);
		CHECK(t->cells != NULL);
	}
	char *cell = memory_array(n + 1, 1);
	CHECK(cell != NULL);
	memcpy(cell, text, n);
	t->cells[t->n_cells++] = cell;
}

struct table *table_create(const char *titles)
{
	struct table *t = memory_array(1, sizeof *t);
	CHECK(t != NULL);
	for (const char *at = titles; *at != '\0';) {
		CHECK(t->n_columns < COLUMNS_MAX);
		t->is_number[t->n_columns++] = *at == '<';
		at += *at == '<';
		size_t n = strcspn(at, " ");
		add_cell(t, at, n);
		at += n;
		at += *at == ' ';
	}
	return t;
}

void table_destroy(struct table *t)
{
	for (uint32_t i = 0; i < t->n_cells; i++)
		memory_free(t->cells[i]);
	memory_free(t->cells);
	memory_free(t);
}

void table_add(struct table *t, const char *text)
{
	const char *shown = text[0] == '\0' ? "-" : text;
	add_cell(t, shown, strlen(shown));
}

void table_add_u64(struct table *t, uint64_t value)
{
	char text[24];
	(void)text_format(text, sizeof text, "%llu", (unsigned long long)value);
	table_add(t, text);
}

static int column_width(const struct table *t, uint32_t column)
{
	size_t width = 0;
	for (uint32_t i = column; i < t->n_cells; i += t->n_columns)
		if (strlen(t->cells[i]) > width)
			width = strlen(t->cells[i]);
	return (int)width;
}

void table_print(const struct table *t, FILE *out)
{
	int widths[COLUMNS_MAX];
	for (uint32_t c = 0; c < t->n_columns; c++)
		widths[c] = column_width(t, c);
	for (uint32_t i = 0; i < t->n_cells; i++) {
		uint32_t c = i % t->n_columns;
		bool is_last = c == t->n_columns - 1;
		if (t->is_number[c])
			fprintf(out, "%*s", widths[c], t->cells[i]);
		else
			fprintf(out, "%-*s", is_last ? 0 : widths[c], t->cells[i]);
		fputs(is_last ? "\n" : "  ", out);
	}
}
