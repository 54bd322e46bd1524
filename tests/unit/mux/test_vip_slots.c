#include "tests/support/suite.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "mux/core/vip_slots.h"
#include "tests/support/vip_builder.h"

static const char *const dips[] = { "10.1.1.11", NULL };
static struct vip_slots slots;
static bool is_new[VIP_SLOTS_MAX];

static const char *vip_text(unsigned n)
{
	static char text[16];
	snprintf(text, sizeof text, "203.0.113.%u", n);
	return text;
}

static void apply(struct store *s, struct change c)
{
	ck_assert_int_eq(store_apply(s, &c), 0);
	change_fini(&c);
}

static void put(struct store *s, unsigned n)
{
	apply(s, test_put_vip(test_vip(vip_text(n), "shop", dips)));
}

static void delete (struct store *s, unsigned n)
{
	apply(s, test_delete(OBJECT_VIP, vip_text(n)));
}

static uint32_t slot_of(const struct store *s, unsigned n)
{
	struct ip_addr vip = test_addr(vip_text(n));
	for (uint32_t i = 0; i < s->vips.n; i++)
		if (ip_addr_equal(&store_vip(s, i)->vip, &vip))
			return vip_slots_of(&slots, i);
	ck_abort_msg("no VIP %u", n);
	return 0;
}

START_TEST(a_vip_keeps_its_slot_while_others_come_and_go)
{
	struct store s;
	store_init(&s);
	vip_slots_init(&slots);
	put(&s, 50);
	ck_assert_int_eq(vip_slots_update(&slots, &s, is_new), 0);
	uint32_t slot = slot_of(&s, 50);
	ck_assert(is_new[slot]);
	put(&s, 10);
	put(&s, 90);
	ck_assert_int_eq(vip_slots_update(&slots, &s, is_new), 0);
	ck_assert_uint_eq(slot_of(&s, 50), slot);
	ck_assert(!is_new[slot] && is_new[slot_of(&s, 10)] && is_new[slot_of(&s, 90)]);
	delete (&s, 10);
	put(&s, 50); // replaced: the same VIP
	ck_assert_int_eq(vip_slots_update(&slots, &s, is_new), 0);
	ck_assert_uint_eq(slot_of(&s, 50), slot);
	ck_assert(!is_new[slot]);
	store_fini(&s);
}
END_TEST

START_TEST(slots_are_distinct_through_random_changes)
{
	unsigned seed = (unsigned)time(NULL);
	struct store s;
	uint32_t slot_before[256];
	bool was_there[256] = { false };
	store_init(&s);
	vip_slots_init(&slots);
	for (int i = 0; i < 500; i++) {
		for (int k = 0; k < 5; k++) {
			unsigned n = 1 + (unsigned)rand_r(&seed) % 255;
			if (rand_r(&seed) % 2 == 0) {
				put(&s, n);
			} else {
				delete (&s, n);
				was_there[n] = false;
			}
		}
		ck_assert_int_eq(vip_slots_update(&slots, &s, is_new), 0);
		bool taken[VIP_SLOTS_MAX] = { false };
		for (uint32_t v = 0; v < s.vips.n; v++) {
			uint32_t slot = vip_slots_of(&slots, v);
			unsigned n = store_vip(&s, v)->vip.bytes[15];
			ck_assert(!taken[slot]);
			taken[slot] = true;
			ck_assert(!was_there[n] || slot_before[n] == slot);
			slot_before[n] = slot;
			was_there[n] = true;
		}
		ck_assert_uint_le(slots.n_high, 255 + 5);
	}
	store_fini(&s);
}
END_TEST

SUITE_MAIN("mux vip slots", a_vip_keeps_its_slot_while_others_come_and_go, slots_are_distinct_through_random_changes)
