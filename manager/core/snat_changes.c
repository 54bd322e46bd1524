#include "manager/core/snat_changes.h"

#include <string.h>

#include "common/base/memory.h"

int snat_changes_init(struct snat_changes *x)
{
	struct snat_change *entries = memory_array(SNAT_CHANGES_CAPACITY, sizeof *entries);
	if (entries == NULL)
		return ERR_NO_MEMORY;
	*x = (struct snat_changes){ .entries = entries };
	return 0;
}

void snat_changes_fini(struct snat_changes *x)
{
	memory_free(x->entries);
	memset(x, 0, sizeof *x);
}

void snat_changes_reset(struct snat_changes *x, uint64_t version)
{
	x->floor_version = version;
	x->n = 0;
}

static struct snat_change *entry_at(const struct snat_changes *x, uint64_t number)
{
	return &x->entries[number % SNAT_CHANGES_CAPACITY];
}

void snat_changes_append(struct snat_changes *x, uint64_t version, const struct lease *lease)
{
	if (x->n == SNAT_CHANGES_CAPACITY) {
		x->floor_version = entry_at(x, x->n_appended - x->n)->version;
		x->n--;
	}
	*entry_at(x, x->n_appended++) = (struct snat_change){ .version = version, .lease = *lease };
	x->n++;
}

int snat_changes_seek(const struct snat_changes *x, uint64_t version, uint64_t *ret_at)
{
	if (version < x->floor_version)
		return ERR_NOT_FOUND;
	uint64_t low = x->n_appended - x->n;
	uint64_t high = x->n_appended;
	while (low < high) {
		uint64_t middle = low + (high - low) / 2;
		if (entry_at(x, middle)->version <= version)
			low = middle + 1;
		else
			high = middle;
	}
	*ret_at = low;
	return 0;
}

const struct snat_change *snat_changes_next(const struct snat_changes *x, uint64_t *at, uint64_t to_version)
{
	if (*at >= x->n_appended || entry_at(x, *at)->version > to_version)
		return NULL;
	return entry_at(x, (*at)++);
}
