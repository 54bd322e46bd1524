// The plan of a change says what muxes will do: the share of buckets that it says will move is the one that differs in the tables that
// a mux makes of the state before and of the state after, histories and drains included; and counts of connections add up.
#include "tests/support/suite.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/memory.h"
#include "manager/cli/plan.h"
#include "mux/core/endpoint_table.h"
#include "tests/unit/manager/objects.h"

enum { N_ROUNDS = 400, N_DIPS = 60, TEXT_BYTES = 8192 };

static unsigned pick(unsigned *seed, unsigned n)
{
	return (unsigned)rand_r(seed) % n;
}

static void add(char *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(char *text, const char *format, ...)
{
	size_t used = strlen(text);
	va_list args;
	va_start(args, format);
	ck_assert(text_vformat(text + used, TEXT_BYTES - used, format, args));
	va_end(args);
}

// Between 1 and N_DIPS of them, so that tables of all sizes up to 16144 buckets meet.
static void add_endpoint(char *text, unsigned *seed, unsigned port)
{
	unsigned share = 1 + pick(seed, 12);
	unsigned always = pick(seed, N_DIPS);
	add(text, "web%u tcp %u", port, port);
	for (unsigned i = 0; i < N_DIPS; i++)
		if (i == always || pick(seed, share) == 0)
			add(text, " 10.1.1.%u:80*%u", i + 1, 1 + pick(seed, 3));
}

static void format_vip(char *text, unsigned *seed)
{
	unsigned ports = 1 + pick(seed, 7); // a bit for each of 80, 81, 82
	text[0] = '\0';
	add(text, "vip 203.0.113.10 shop ");
	for (unsigned i = 0, n = 0; i < 3; i++)
		if ((ports >> i & 1) != 0) {
			add(text, "%s", n++ > 0 ? " , " : "");
			add_endpoint(text, seed, 80 + i);
		}
}

static struct endpoint_table *make_table(const struct store *s, const struct vip_config *vip, uint16_t port)
{
	const struct endpoint *e = vip_config_lookup_endpoint(vip, 6, port);
	const struct vip_history *h = store_lookup_history(s, &vip->vip);
	static const struct vias no_vias;
	struct endpoint_source from = {
		.vias = &no_vias, .vip = &vip->vip, .config = e, .vip_history = h, .history = vip_history_lookup(h, 6, port)
	};
	struct endpoint_table *t = endpoint_table_create(&from);
	ck_assert_ptr_nonnull(t);
	return t;
}

static const struct encap_template *owner_of(const struct endpoint_table *t, uint64_t i, uint64_t n)
{
	return &t->templates->items[t->owners[i * t->n_buckets / n] & ~BUCKET_HAD_OTHERS];
}

static void check_moves(const struct endpoint_table *old, const struct endpoint_table *new, uint64_t n_buckets,
                        uint64_t n_moved)
{
	uint64_t n = old->n_buckets > new->n_buckets ? old->n_buckets : new->n_buckets;
	uint64_t n_differ = 0;
	for (uint64_t i = 0; i < n; i++)
		n_differ += memcmp(owner_of(old, i, n), owner_of(new, i, n), sizeof(struct encap_template)) != 0;
	ck_assert_msg(n_differ * n_buckets == n_moved * n, "%llu of %llu in the mux, %llu of %llu in the plan",
	              (unsigned long long)n_differ, (unsigned long long)n, (unsigned long long)n_moved,
	              (unsigned long long)n_buckets);
}

static uint64_t number_of(const json_t *object, const char *field)
{
	const json_t *value = json_object_get(object, field);
	ck_assert(json_is_integer(value));
	return (uint64_t)json_integer_value(value);
}

// The DIPs' flows: the last byte of the address. Those of all DIPs of before are at least what the plan counts.
static void check_connections(const json_t *connections, const struct endpoint *old)
{
	uint64_t n = 0;
	for (uint32_t i = 0; i < old->n_dips; i++)
		n += old->dips[i].dip.bytes[15];
	ck_assert_uint_le(number_of(connections, "leaving") + number_of(connections, "moved"), n);
}

// How many endpoints were compared.
static uint32_t check_plan(const json_t *plan, const struct store *before, const struct store *after)
{
	const json_t *vip = json_array_get(json_object_get(plan, "vips"), 0);
	const json_t *list = json_object_get(vip, "endpoints");
	struct ip_addr addr = addr_of("203.0.113.10");
	const struct vip_config *old = store_lookup_vip(before, &addr);
	const struct vip_config *new = store_lookup_vip(after, &addr);
	uint32_t n = 0;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *e = json_array_get(list, i);
		const char *action = json_string_value(json_object_get(e, "action"));
		uint16_t port = (uint16_t)number_of(e, "port");
		const struct endpoint *was = vip_config_lookup_endpoint(old, 6, port);
		ck_assert((strcmp(action, "add") == 0) == (was == NULL));
		ck_assert((strcmp(action, "remove") == 0) == (vip_config_lookup_endpoint(new, 6, port) == NULL));
		if (strcmp(action, "add") == 0)
			ck_assert_uint_eq(number_of(e, "buckets_moved"), 0);
		if (strcmp(action, "remove") == 0)
			ck_assert_uint_eq(number_of(e, "buckets_moved"), number_of(e, "buckets"));
		if (was == NULL || vip_config_lookup_endpoint(new, 6, port) == NULL)
			continue;
		struct endpoint_table *a = make_table(before, old, port);
		struct endpoint_table *b = make_table(after, new, port);
		check_moves(a, b, number_of(e, "buckets"), number_of(e, "buckets_moved"));
		check_connections(json_object_get(e, "connections"), was);
		endpoint_table_unref(a);
		endpoint_table_unref(b);
		n++;
	}
	return n;
}

static void attach_all(struct cluster_state *s)
{
	static char text[TEXT_BYTES];
	text[0] = '\0';
	add(text, "cluster 7 ; host host1 10.0.0.21");
	for (unsigned i = 0; i < N_DIPS; i++)
		add(text, " ; dip 10.1.1.%u host1 vm%u if%u 02:00:00:00:00:%02x", i + 1, i, i, i + 1);
	must_apply(s, text);
}

static void fill_hosts(struct dip_status *dips)
{
	for (unsigned i = 0; i < N_DIPS; i++)
		dips[i] = (struct dip_status){ .dip = ip_addr_from_v4(be32_from(0x0a010101u + i)), .flows = i + 1 };
}

// A plan of a change to `text`; then the change, so that histories grow.
static uint32_t plan_and_apply(struct cluster_state *s, const char *text, uint64_t now_ms)
{
	struct dip_status dips[N_DIPS];
	struct node_status host = { .n_dips = N_DIPS, .dips = dips };
	struct node_list hosts = { .n = 1, .items = &host };
	struct change_list changes = changes_of(text);
	struct store after;
	struct error err = { 0 };
	fill_hosts(dips);
	ck_assert_msg(plan_apply(&s->store, &changes, now_ms, &after, &err) == 0, "%s", err.text);
	json_t *plan = plan_make(&s->store, &after, &changes, 0, &hosts);
	ck_assert_ptr_nonnull(plan);
	uint32_t n = check_plan(plan, &s->store, &after);
	(void)must_apply_at(s, now_ms, text, NULL);
	after.version = s->store.version;
	ck_assert(store_equal(&after, &s->store)); // what was planned is what came
	json_decref(plan);
	store_fini(&after);
	change_list_fini(&changes);
	return n;
}

START_TEST(the_share_of_buckets_that_a_plan_says_moves_is_what_the_tables_of_muxes_show)
{
	const char *given = getenv("ANANTA_TEST_SEED");
	unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	static char text[TEXT_BYTES];
	struct cluster_state s;
	uint32_t n = 0;
	printf("seed %u (repeat with ANANTA_TEST_SEED=%u)\n", seed, seed);
	ck_assert_int_eq(cluster_state_init(&s), 0);
	attach_all(&s);
	format_vip(text, &seed);
	must_apply(&s, text);
	for (uint32_t i = 0; i < N_ROUNDS; i++) {
		struct apply_result result;
		struct error err;
		(void)text_format(text, sizeof text, "%sdrain 10.1.1.%u", pick(&seed, 3) == 0 ? "-" : "",
		                  1 + pick(&seed, N_DIPS));
		(void)apply_text_at(&s, TEST_TIME_MS + i, text, &result, &err); // refused as often as not
		format_vip(text, &seed);
		n += plan_and_apply(&s, text, TEST_TIME_MS + i);
	}
	printf("%u endpoints were compared\n", n);
	ck_assert_uint_gt(n, N_ROUNDS / 2);
	cluster_state_fini(&s);
}
END_TEST

SUITE_MAIN("plan", the_share_of_buckets_that_a_plan_says_moves_is_what_the_tables_of_muxes_show)
