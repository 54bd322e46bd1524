// Any bytes as what a killed process left: a good table with changes (u16 offset, u8 value), or the bytes as they are.
// What attach accepts must be usable; what it refuses must be untouched.
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "tests/unit/hostagent/flow_block.h"

#define CAPACITY 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void make_block(uint8_t *block, const uint8_t *data, size_t size)
{
	size_t bytes = flow_table_persistent_bytes(CAPACITY);
	struct flow_table t;
	flow_table_init(&t, block, CAPACITY, TEST_SEED, TEST_OWNER, test_names(), at_s(1000));
	for (uint32_t i = 0; i < CAPACITY; i++) {
		struct flow_tuple tuple = flow_number(i);
		flow_table_insert(&t, &tuple, (FLOW_SYN + i % (FLOW_ICMP - FLOW_SYN)) | (i % 3 == 0 ? FLOW_IS_SNAT : 0));
	}
	if (data[0] & 1) {
		memcpy(block, data + 1, size - 1 < bytes ? size - 1 : bytes);
		return;
	}
	for (size_t i = 1; i + 3 <= size; i += 3)
		block[((size_t)data[i] << 8 | data[i + 1]) % bytes] = data[i + 2];
}

static void use(struct flow_table *t)
{
	for (uint32_t i = 0; i < 2 * CAPACITY; i++) {
		struct flow_tuple tuple = flow_number(i);
		struct flow_entry *e = find_flow(t, &tuple, FLOW_INBOUND);
		if (e != NULL)
			flow_table_remove(t, e);
		else if (find_flow(t, &tuple, FLOW_REPLY) == NULL)
			(void)flow_table_insert(t, &tuple, FLOW_SYN);
	}
	flow_table_expire(t, at_s(1000000), CAPACITY);
	flow_table_expire(t, at_s(1000000), CAPACITY);
	CHECK(t->n_flows == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	uint8_t *block = flow_block_create(CAPACITY);
	make_block(block, data, size);
	size_t bytes = flow_table_persistent_bytes(CAPACITY);
	uint8_t *before = malloc(bytes);
	memcpy(before, block, bytes);
	struct flow_table t;
	struct error err;
	if (flow_table_attach(&t, block, flow_table_bytes(CAPACITY), CAPACITY, TEST_OWNER, test_names(), at_s(1000),
	                      &err) == 0)
		use(&t);
	else
		CHECK(memcmp(before, block, bytes) == 0);
	free(before);
	free(block);
	return 0;
}
