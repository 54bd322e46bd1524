#include "tests/golden/notation_words.h"

#include <arpa/inet.h> // inet_pton: text only
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"

bool words_fail(struct tokens *t, const char *what)
{
	if (t->wrong == NULL)
		t->wrong = what;
	return false;
}

bool words_split(struct tokens *t, const char *line)
{
	char *rest = NULL;
	if (!text_copy(t->text, sizeof t->text, line))
		return words_fail(t, "the line is too long");
	for (char *word = strtok_r(t->text, " \t", &rest); word != NULL; word = strtok_r(NULL, " \t", &rest)) {
		if (t->n == TOKENS_MAX)
			return words_fail(t, "too many words");
		t->items[t->n++] = word;
	}
	return true;
}

const char *words_next(struct tokens *t)
{
	return t->at < t->n ? t->items[t->at++] : "";
}

bool words_take(struct tokens *t, const char *word)
{
	if (t->at >= t->n || strcmp(t->items[t->at], word) != 0)
		return false;
	t->at++;
	return true;
}

const char *words_value_of(struct tokens *t, const char *name)
{
	size_t n = strlen(name);
	if (t->at >= t->n || strncmp(t->items[t->at], name, n) != 0 || t->items[t->at][n] != '=')
		return NULL;
	return t->items[t->at++] + n + 1;
}

bool words_number_of(struct tokens *t, const char *name, uint32_t *ret_value)
{
	const char *text = words_value_of(t, name);
	if (text == NULL)
		return false;
	*ret_value = (uint32_t)strtoul(text, NULL, 0);
	return true;
}

uint32_t words_hex(const char *text, uint8_t *to, uint32_t max)
{
	uint32_t n = 0;
	unsigned byte;
	for (; n < max && sscanf(text + 2 * (size_t)n, "%2x", &byte) == 1; n++)
		to[n] = (uint8_t)byte;
	return n;
}

bool words_mac(struct tokens *t, const char *text, struct mac *ret_mac)
{
	uint8_t *b = ret_mac->bytes;
	if (sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx", b, b + 1, b + 2, b + 3, b + 4, b + 5) != 6)
		return words_fail(t, "a MAC address is expected");
	return true;
}

const char *words_peek(const struct tokens *t, const char *name)
{
	size_t n = strlen(name);
	for (uint32_t i = t->at; i < t->n && strcmp(t->items[i], "(") != 0 && strcmp(t->items[i], ")") != 0; i++)
		if (strncmp(t->items[i], name, n) == 0 && t->items[i][n] == '=')
			return t->items[i] + n + 1;
	return NULL;
}

// Cuts the port off; of an IPv6 address it stands behind brackets.
static void split_port(char *text, char **ret_addr, uint16_t *ret_port)
{
	char *bracket = strchr(text, ']');
	char *colon = strchr(text, ':');
	bool is_bracketed = text[0] == '[' && bracket != NULL;
	*ret_addr = is_bracketed ? text + 1 : text;
	*ret_port = 0;
	if (is_bracketed) {
		*bracket = '\0';
		colon = bracket[1] == ':' ? bracket + 1 : NULL;
	} else if (colon != NULL && strchr(colon + 1, ':') != NULL) {
		colon = NULL;
	}
	if (colon == NULL)
		return;
	*colon = '\0';
	*ret_port = (uint16_t)strtoul(colon + 1, NULL, 10);
}

bool words_end(struct tokens *t, const char *text, struct end *ret_end)
{
	char copy[64];
	char *addr;
	if (!text_copy(copy, sizeof copy, text))
		return words_fail(t, "an address is expected");
	split_port(copy, &addr, &ret_end->port);
	ret_end->is_ip6 = inet_pton(AF_INET6, addr, ret_end->ip6) == 1;
	if (!ret_end->is_ip6 && inet_pton(AF_INET, addr, &ret_end->ip4) != 1)
		return words_fail(t, "an address is expected");
	return true;
}

bool words_ends(struct tokens *t, struct ends *e)
{
	if (!words_end(t, words_next(t), &e->src))
		return false;
	if (!words_take(t, ">"))
		return words_fail(t, "'>' is expected between two addresses");
	if (!words_end(t, words_next(t), &e->dst))
		return false;
	return e->src.is_ip6 == e->dst.is_ip6 || words_fail(t, "two addresses of one family are expected");
}
