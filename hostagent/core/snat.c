#include "hostagent/core/snat.h"

#include "common/base/memory.h"

struct snat {
	struct snat_limits limits;
};

struct snat_limits snat_limits_default(uint32_t max_flows)
{
	return (struct snat_limits){
		.n_dips = 1024, .n_blocks = 65536, .n_destinations = max_flows / 2 + 1, .n_mappings = max_flows / 2 + 1
	};
}

int snat_create(const struct snat_limits *limits, uint64_t seed, uint64_t first_seq, struct mono_time now,
                struct snat **ret_snat, struct error *err)
{
	struct snat *s = memory_array(1, sizeof *s);
	if (s == NULL)
		return error_set(err, ERR_NO_MEMORY, "no memory for SNAT");
	s->limits = *limits;
	*ret_snat = s;
	return 0;
}

void snat_destroy(struct snat *s)
{
	memory_free(s);
}

uint32_t snat_slots(const struct snat *s)
{
	return s->limits.n_dips;
}

bool snat_read_dip(const struct snat *s, uint16_t slot, struct snat_dip_status *ret_status)
{
	return false;
}
