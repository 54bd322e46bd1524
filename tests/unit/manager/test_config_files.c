// What is exported reads back to the same, whatever it is; and documents that are wrong are refused with file and field.
#include "tests/support/suite.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "manager/cli/config_diff.h"
#include "tests/support/vip_builder.h"

static char dir[64];

static void make_dir(void)
{
	(void)text_format(dir, sizeof dir, "/tmp/test-config-files-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void remove_dir(void)
{
	char command[96];
	(void)text_format(command, sizeof command, "rm -r %s", dir);
	ck_assert_int_eq(system(command), 0);
}

static void fill(struct store *s, unsigned *seed)
{
	store_init(s);
	unsigned n = (unsigned)rand_r(seed) % 20;
	for (unsigned i = 0; i < n; i++) {
		struct change put = test_put_vip(test_random_vip(seed, (unsigned)rand_r(seed) % 200));
		ck_assert_int_eq(store_apply(s, &put), 0);
	}
	if (rand_r(seed) % 2 == 0) {
		s->has_settings = true;
		s->settings.snat_log_s = 1 + (uint32_t)rand_r(seed) % 1000;
	}
}

// Applied to nothing, with everything else pruned, it is the same again.
static void check_same(const struct store *s, const struct config_set *set)
{
	struct store again;
	struct config_diff d;
	struct config_scope scope = { .prunes = true };
	store_init(&again);
	ck_assert_int_eq(config_diff_make(&again, set, &scope, &d, NULL), 0);
	ck_assert_uint_eq(d.n_unchanged, 0);
	for (uint32_t i = 0; i < d.changes.n; i++)
		ck_assert_int_eq(store_apply(&again, &d.changes.items[i]), 0);
	ck_assert(config_is_same(s, &again));
	config_diff_fini(&d);
	ck_assert_int_eq(config_diff_make(s, set, &scope, &d, NULL), 0);
	ck_assert_uint_eq(d.changes.n, 0);
	ck_assert_uint_eq(d.n_unchanged, s->vips.n);
	config_diff_fini(&d);
	store_fini(&again);
}

static void check_document(const struct store *s)
{
	struct config_set set;
	struct error err = { 0 };
	json_t *document = config_set_make(s, NULL);
	char *text = json_dumps(document, 0);
	ck_assert_msg(config_set_parse(text, strlen(text), "all.json", &set, &err) == 0, "%s", err.text);
	check_same(s, &set);
	config_set_fini(&set);
	free(text);
	json_decref(document);
}

static void check_files(const struct store *s)
{
	struct config_set set;
	struct error err = { 0 };
	uint32_t n_files;
	const char *const paths[] = { dir };
	make_dir();
	ck_assert_msg(config_files_write(s, NULL, dir, &n_files, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(n_files, s->vips.n + s->has_settings);
	int code = config_files_read(paths, 1, &set, &err);
	if (n_files == 0) {
		ck_assert_int_eq(code, ERR_INVALID);
	} else {
		ck_assert_msg(code == 0, "%s", err.text);
		check_same(s, &set);
		config_set_fini(&set);
	}
	remove_dir();
}

START_TEST(what_is_exported_reads_back_to_the_same)
{
	const char *given = getenv("ANANTA_TEST_SEED");
	unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	printf("seed %u (repeat with ANANTA_TEST_SEED=%u)\n", seed, seed);
	for (int i = 0; i < 100; i++) {
		struct store s;
		fill(&s, &seed);
		check_document(&s);
		check_files(&s);
		store_fini(&s);
	}
}
END_TEST

START_TEST(a_document_that_is_wrong_is_refused_with_its_field)
{
#define V(n) "{\"vip\":\"203.0.113." n "\",\"tenant\":\"t\",\"snat\":{\"dips\":[\"10.1.1.1\"]}}"
	static const struct {
		const char *name;
		const char *text;
		const char *sentence; // NULL: it is fine
	} rows[] = {
		{ "a.json", V("1"), NULL },
		{ "a.json", "[" V("1") "," V("2") "]", NULL },
		{ "a.json", "[]", NULL },
		{ "a.json", "{\"vips\":[" V("1") "],\"settings\":{}}", NULL },
		{ "d/settings.json", "{\"snat\":{\"log_s\":5}}", NULL },
		{ "d/settings.json", "{\"settings\":{\"snat\":{\"log_s\":5}}}", NULL },
		{ "a.json", "{\"snat\":{\"log_s\":5}}", "snat: is not a field" },
		{ "a.json", "{}", "must be a VIP's document" },
		{ "a.json", "7", "line 1" },
		{ "a.json", "[7]", "[0]" },
		{ "a.json", "[" V("1") "," V("300") "]", "[1].vip: " },
		{ "a.json", "[" V("1") "," V("1") "]", "a.json: vip 203.0.113.1 is in a.json already" },
		{ "a.json", "{\"vips\":{}}", "vips: " },
		{ "a.json", "{\"vips\":[{\"vip\":\"1.2.3.4\",\"tenant\":\"t\",\"snat\":{}}]}", "vips[0].snat.dips: " },
		{ "a.json", "{\"settings\":{\"snat\":{\"x\":1}}}", "settings.snat.x" },
		{ "a.json", "{\"settings\":7}", "settings" },
		{ "a.json", "{", "line 1" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct config_set set;
		struct error err = { 0 };
		int code = config_set_parse(rows[i].text, strlen(rows[i].text), rows[i].name, &set, &err);
		ck_assert_msg((code == 0) == (rows[i].sentence == NULL), "%s: %s", rows[i].text, err.text);
		if (code == 0)
			config_set_fini(&set);
		else
			ck_assert_msg(strstr(err.text, rows[i].sentence) != NULL, "%s: %s", rows[i].text, err.text);
	}
}
END_TEST

SUITE_MAIN("config_files", what_is_exported_reads_back_to_the_same, a_document_that_is_wrong_is_refused_with_its_field)
