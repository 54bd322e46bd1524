// A table of text for people: columns as wide as they need, numbers to the right, two spaces between, no decoration.
//
// For a program that runs once: when memory is short it ends.
#pragma once

#include <stdint.h>
#include <stdio.h>

struct table;

// Titles as "NAME ADDRESS STATE <PACKETS": a '<' in front makes a column of numbers.
struct table *table_create(const char *titles);
void table_destroy(struct table *t);

// Adds the next cell; rows fill from left to right. An empty text is shown as "-".
void table_add(struct table *t, const char *text);
void table_add_u64(struct table *t, uint64_t value);

void table_print(const struct table *t, FILE *out);
