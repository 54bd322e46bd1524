// Random changes of a few VIPs against a naive log that forgets nothing: whatever is kept is what it was; all that should be kept
// is; and a VIP that is put as it was at a version is the same again. A follower goes through snapshots.
#include "tests/support/suite.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tests/unit/manager/objects.h"

enum { N_VIPS = 5, N_DIPS = 6, N_COMMANDS = 4000 };

struct entry {
	uint64_t version;
	unsigned dips; // a bit for each; 0: deleted
};

static struct entry logs[N_VIPS][N_COMMANDS];
static uint32_t n_entries[N_VIPS];
static struct cluster_state leader;
static struct cluster_state follower;

static unsigned pick(unsigned *seed, unsigned n)
{
	return (unsigned)rand_r(seed) % n;
}

static struct ip_addr addr(unsigned vip)
{
	return ip_addr_from_v4(be32_from(0xcb007100u + vip));
}

static void format_put(char *buf, size_t size, unsigned vip, unsigned dips)
{
	if (dips == 0) {
		(void)text_format(buf, size, "-vip 203.0.113.%u", vip);
		return;
	}
	(void)text_format(buf, size, "vip 203.0.113.%u shop web tcp 80", vip);
	for (unsigned i = 0; i < N_DIPS; i++)
		if ((dips >> i & 1) != 0)
			(void)text_format(buf + strlen(buf), size - strlen(buf), " 10.1.1.%u:80", i + 1);
}

static unsigned dips_of(const struct vip_config *vip)
{
	unsigned dips = 0;
	for (uint32_t i = 0; vip != NULL && i < vip->endpoints[0].n_dips; i++)
		dips |= 1u << (vip->endpoints[0].dips[i].dip.bytes[15] - 1);
	return dips;
}

static void must_apply_to_both(const char *text, uint64_t time_ms)
{
	(void)must_apply_at(&leader, time_ms, text, NULL);
	(void)must_apply_at(&follower, time_ms, text, NULL);
}

static void check_vip(unsigned i)
{
	struct ip_addr vip = addr(i);
	const struct vip_trail *t = vip_versions_lookup(&leader.versions, &vip);
	const struct entry *log = logs[i];
	uint32_t n = n_entries[i];
	uint32_t n_kept = t == NULL ? 0 : t->n;
	uint32_t n_wanted = n < VERSIONS_KEPT + 1 ? n : VERSIONS_KEPT + 1;
	ck_assert_uint_eq(n_kept, n_wanted);
	for (uint32_t k = 0; k < n_kept; k++) {
		const struct vip_version *v = &t->nodes[k]->v;
		const struct entry *e = &log[n - n_kept + k];
		ck_assert_uint_eq(v->version, e->version);
		ck_assert(v->is_delete == (e->dips == 0));
		if (k + 1 < n_kept)
			ck_assert_uint_eq(dips_of(v->config), e->dips);
	}
	ck_assert_uint_eq(dips_of(store_lookup_vip(&leader.store, &vip)), n == 0 ? 0 : log[n - 1].dips);
}

// Puts a VIP as it was at a version that is kept.
static void roll_back(unsigned *seed, unsigned i, uint64_t time_ms)
{
	char text[256];
	struct ip_addr vip = addr(i);
	const struct vip_trail *t = vip_versions_lookup(&leader.versions, &vip);
	if (t == NULL || t->n < 2)
		return;
	uint32_t k = pick(seed, t->n - 1);
	const struct vip_version *to = &t->nodes[k]->v;
	unsigned dips = logs[i][n_entries[i] - t->n + k].dips;
	if (to->is_delete || dips == logs[i][n_entries[i] - 1].dips)
		return;
	struct state_command command = { .time_ms = time_ms };
	struct change put = { .key = object_key_of_addr(OBJECT_VIP, &vip), .vip = vip_config_clone(to->config) };
	struct apply_result result;
	ck_assert_int_eq(change_list_append(&command.changes, &put), 0);
	ck_assert_int_eq(cluster_state_apply(&leader, &command, &result, NULL), 0);
	state_command_fini(&command);
	format_put(text, sizeof text, i, dips);
	(void)must_apply_at(&follower, time_ms, text, NULL);
	logs[i][n_entries[i]++] = (struct entry){ result.version, dips };
}

static void change(unsigned *seed, unsigned i, uint64_t time_ms)
{
	char text[256];
	unsigned before = n_entries[i] == 0 ? 0 : logs[i][n_entries[i] - 1].dips;
	unsigned dips = pick(seed, 6) == 0 ? 0 : pick(seed, (1u << N_DIPS) - 1) + 1;
	if (dips == 0 && before == 0)
		return;
	format_put(text, sizeof text, i, dips);
	must_apply_to_both(text, time_ms);
	if (dips != before)
		logs[i][n_entries[i]++] = (struct entry){ leader.store.version, dips };
}

START_TEST(what_is_kept_is_what_it_was_and_puts_it_back)
{
	const char *given = getenv("ANANTA_TEST_SEED");
	unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	printf("seed %u (repeat with ANANTA_TEST_SEED=%u)\n", seed, seed);
	ck_assert_int_eq(cluster_state_init(&leader), 0);
	ck_assert_int_eq(cluster_state_init(&follower), 0);
	must_apply_to_both("cluster 7", TEST_TIME_MS);
	for (uint32_t i = 0; i < N_COMMANDS; i++) {
		unsigned vip = pick(&seed, N_VIPS);
		uint64_t time_ms = TEST_TIME_MS + i;
		if (pick(&seed, 3) == 0)
			roll_back(&seed, vip, time_ms);
		else
			change(&seed, vip, time_ms);
		check_vip(vip);
		if (pick(&seed, 100) == 0)
			replace_by_snapshot(&follower);
	}
	ck_assert(snapshots_are_equal(&leader, &follower));
	cluster_state_fini(&leader);
	cluster_state_fini(&follower);
}
END_TEST

// The order in which versions go is the same on a replica that was restored in between.
START_TEST(replicas_drop_the_same_versions_when_there_is_no_room)
{
	unsigned seed = 11;
	char text[256];
	ck_assert_int_eq(cluster_state_init(&leader), 0);
	ck_assert_int_eq(cluster_state_init(&follower), 0);
	must_apply_to_both("cluster 7", TEST_TIME_MS);
	for (uint32_t i = 0; i < N_COMMANDS; i++) {
		leader.versions.limit_bytes = follower.versions.limit_bytes = 12000;
		format_put(text, sizeof text, pick(&seed, N_VIPS), pick(&seed, (1u << N_DIPS) - 1) + 1);
		must_apply_to_both(text, TEST_TIME_MS + i);
		ck_assert_uint_le(leader.versions.n_bytes, 12000);
		if (pick(&seed, 50) == 0)
			replace_by_snapshot(&follower);
		ck_assert(snapshots_are_equal(&leader, &follower));
	}
	cluster_state_fini(&leader);
	cluster_state_fini(&follower);
}
END_TEST

SUITE_MAIN("vip_versions_property", what_is_kept_is_what_it_was_and_puts_it_back,
           replicas_drop_the_same_versions_when_there_is_no_room)
