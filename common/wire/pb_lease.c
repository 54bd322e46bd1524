#include "common/wire/pb_lease.h"

#include <string.h>

#include "common/base/hash.h"

#define LEASES_MAX (1u << 21)

// ---- Leases as columns, with a dictionary of addresses ----

struct dictionary {
	Ananta__Leases *pb;
	uint32_t mask;
	uint32_t *slots; // index + 1 of an address; 0: free
};

static bool dictionary_init(struct dictionary *d, struct arena *a, Ananta__Leases *pb, uint32_t n_leases)
{
	uint32_t n_slots = 8;
	while (n_slots < n_leases * 4)
		n_slots *= 2;
	d->pb = pb;
	d->mask = n_slots - 1;
	d->slots = arena_array(a, n_slots, sizeof *d->slots);
	pb->addresses = arena_array(a, (size_t)n_leases * 2, sizeof *pb->addresses);
	return d->slots != NULL && pb->addresses != NULL;
}

static bool has_addr(const ProtobufCBinaryData *pb, const struct ip_addr *addr)
{
	ProtobufCBinaryData other = pb_from_addr(addr);
	return pb->len == other.len && memcmp(pb->data, other.data, other.len) == 0;
}

static uint32_t dictionary_index(struct dictionary *d, const struct ip_addr *addr)
{
	uint32_t i = (uint32_t)hash_bytes(addr->bytes, sizeof addr->bytes, 0) & d->mask;
	for (; d->slots[i] != 0; i = (i + 1) & d->mask)
		if (has_addr(&d->pb->addresses[d->slots[i] - 1], addr))
			return d->slots[i] - 1;
	d->pb->addresses[d->pb->n_addresses++] = pb_from_addr(addr);
	d->slots[i] = (uint32_t)d->pb->n_addresses;
	return d->slots[i] - 1;
}

static bool allocate_columns(struct arena *a, Ananta__Leases *pb, uint32_t n)
{
	pb->n_vip = pb->n_dip = pb->n_first_port = pb->n_n_ports = pb->n_epoch = pb->n_granted_ms = pb->n_ended_ms = n;
	pb->vip = arena_array(a, n, sizeof *pb->vip);
	pb->dip = arena_array(a, n, sizeof *pb->dip);
	pb->first_port = arena_array(a, n, sizeof *pb->first_port);
	pb->n_ports = arena_array(a, n, sizeof *pb->n_ports);
	pb->epoch = arena_array(a, n, sizeof *pb->epoch);
	pb->granted_ms = arena_array(a, n, sizeof *pb->granted_ms);
	pb->ended_ms = arena_array(a, n, sizeof *pb->ended_ms);
	return pb->vip != NULL && pb->dip != NULL && pb->first_port != NULL && pb->n_ports != NULL && pb->epoch != NULL &&
	       pb->granted_ms != NULL && pb->ended_ms != NULL;
}

Ananta__Leases *pb_from_leases(struct arena *a, const struct lease_list *leases)
{
	struct dictionary d;
	Ananta__Leases *pb = arena_array(a, 1, sizeof *pb);
	if (pb == NULL)
		return NULL;
	ananta__leases__init(pb);
	if (!allocate_columns(a, pb, leases->n) || !dictionary_init(&d, a, pb, leases->n))
		return NULL;
	for (uint32_t i = 0; i < leases->n; i++) {
		const struct lease *l = &leases->items[i];
		pb->vip[i] = ip_addr_is_unspecified(&l->vip) ? UINT32_MAX : dictionary_index(&d, &l->vip);
		pb->dip[i] = ip_addr_is_unspecified(&l->dip) ? UINT32_MAX : dictionary_index(&d, &l->dip);
		pb->first_port[i] = l->first_port;
		pb->n_ports[i] = l->n_ports;
		pb->epoch[i] = l->epoch;
		pb->granted_ms[i] = l->granted_ms;
		pb->ended_ms[i] = l->ended_ms;
	}
	return pb;
}

static int addr_at(const Ananta__Leases *pb, uint32_t idx, struct ip_addr *ret_addr, struct error *err)
{
	if (idx == UINT32_MAX) {
		*ret_addr = (struct ip_addr){ { 0 } };
		return 0;
	}
	if (idx >= pb->n_addresses)
		return error_set(err, ERR_MALFORMED, "a lease whose address is missing");
	return pb_to_addr(&pb->addresses[idx], ret_addr, err);
}

static int pb_to_lease(const Ananta__Leases *pb, uint32_t i, struct lease *ret_lease, struct error *err)
{
	if (!lease_range_is_valid(pb->first_port[i] & 0xffff, pb->n_ports[i]) || pb->first_port[i] > UINT16_MAX)
		return error_set(err, ERR_MALFORMED, "a lease of %u ports from %u, which cannot be", pb->n_ports[i],
		                 pb->first_port[i]);
	struct lease l = {
		.first_port = (uint16_t)pb->first_port[i],
		.n_ports = (uint16_t)pb->n_ports[i],
		.epoch = pb->epoch[i],
		.granted_ms = pb->granted_ms[i],
		.ended_ms = pb->ended_ms[i],
	};
	int code = addr_at(pb, pb->vip[i], &l.vip, err);
	if (code == 0)
		code = addr_at(pb, pb->dip[i], &l.dip, err);
	if (code == 0)
		*ret_lease = l;
	return code;
}

int pb_to_leases(const Ananta__Leases *pb, struct lease_list *ret_leases, struct error *err)
{
	struct lease_list list = { 0 };
	size_t n = pb == NULL ? 0 : pb->n_vip;
	if (n > LEASES_MAX)
		return error_set(err, ERR_MALFORMED, "%zu leases, more than there can be", n);
	if (n > 0 && (pb->n_dip != n || pb->n_first_port != n || pb->n_n_ports != n || pb->n_epoch != n ||
	              pb->n_granted_ms != n || pb->n_ended_ms != n))
		return error_set(err, ERR_MALFORMED, "leases whose columns differ in length");
	int code = 0;
	for (uint32_t i = 0; code == 0 && i < n; i++) {
		struct lease l;
		code = pb_to_lease(pb, i, &l, err);
		if (code == 0 && lease_list_append(&list, &l) != 0)
			code = error_set(err, ERR_NO_MEMORY, "out of memory");
	}
	if (code != 0) {
		lease_list_fini(&list);
		return code;
	}
	*ret_leases = list;
	return 0;
}

// ---- Operations ----

Ananta__SnatOp **pb_from_snat_ops(struct arena *a, const struct snat_op_list *ops)
{
	Ananta__SnatOp **pointers = arena_array(a, ops->n, sizeof(Ananta__SnatOp *));
	Ananta__SnatOp *items = arena_array(a, ops->n, sizeof *items);
	if (pointers == NULL || items == NULL)
		return NULL;
	for (uint32_t i = 0; i < ops->n; i++) {
		const struct snat_op *op = &ops->items[i];
		ananta__snat_op__init(&items[i]);
		items[i].kind = (Ananta__SnatOpKind)op->kind; // the numbers are the same
		items[i].dip = pb_from_addr_or_none(&op->dip);
		items[i].vip = pb_from_addr_or_none(&op->vip);
		items[i].seq = op->seq;
		items[i].n_ports = op->n_ports;
		items[i].first_port = op->first_port;
		items[i].epoch = op->epoch;
		pointers[i] = &items[i];
	}
	return pointers;
}

static int pb_to_snat_op(const Ananta__SnatOp *pb, struct snat_op *ret_op, struct error *err)
{
	if ((int)pb->kind < SNAT_REQUEST || (int)pb->kind > SNAT_REVOKE)
		return error_set(err, ERR_MALFORMED, "an operation on leases that this version does not know");
	if (pb->first_port > UINT16_MAX || pb->n_ports > 65536)
		return error_set(err, ERR_MALFORMED, "an operation on leases with a port beyond 65535");
	struct snat_op op = {
		.kind = (enum snat_op_kind)pb->kind,
		.seq = pb->seq,
		.n_ports = pb->n_ports,
		.first_port = (uint16_t)pb->first_port,
		.epoch = pb->epoch,
	};
	int code = pb_to_addr_or_none(&pb->dip, &op.dip, err);
	if (code == 0)
		code = pb_to_addr_or_none(&pb->vip, &op.vip, err);
	if (code == 0)
		*ret_op = op;
	return code;
}

int pb_to_snat_ops(Ananta__SnatOp **pb, size_t n, struct snat_op_list *ret_ops, struct error *err)
{
	struct snat_op_list list = { 0 };
	int code = 0;
	for (size_t i = 0; code == 0 && i < n; i++) {
		struct snat_op op;
		code = pb_to_snat_op(pb[i], &op, err);
		if (code == 0 && snat_op_list_append(&list, &op) != 0)
			code = error_set(err, ERR_NO_MEMORY, "out of memory");
	}
	if (code != 0) {
		snat_op_list_fini(&list);
		return code;
	}
	*ret_ops = list;
	return 0;
}

// ---- The whole state ----

static bool fill_demands(struct arena *a, const struct snat_demand_list *demands, Ananta__SnatState *pb)
{
	pb->n_demands = demands->n;
	pb->demands = arena_array(a, demands->n, sizeof *pb->demands);
	Ananta__SnatDemand *items = arena_array(a, demands->n, sizeof *items);
	if (pb->demands == NULL || items == NULL)
		return false;
	for (uint32_t i = 0; i < demands->n; i++) {
		const struct snat_demand *d = &demands->items[i];
		ananta__snat_demand__init(&items[i]);
		items[i].dip = pb_from_addr(&d->dip);
		items[i].seq = d->seq;
		items[i].asked_ms = d->asked_ms;
		items[i].n_ports = d->n_ports;
		pb->demands[i] = &items[i];
	}
	return true;
}

Ananta__SnatState *pb_from_snat_image(struct arena *a, const struct snat_image *image)
{
	Ananta__SnatState *pb = arena_array(a, 1, sizeof *pb);
	if (pb == NULL)
		return NULL;
	ananta__snat_state__init(pb);
	pb->version = image->version;
	pb->clock_ms = image->clock_ms;
	pb->next_epoch = image->next_epoch;
	pb->held = pb_from_leases(a, &image->held);
	pb->freed = pb_from_leases(a, &image->freed);
	pb->log = pb_from_leases(a, &image->log);
	if (pb->held == NULL || pb->freed == NULL || pb->log == NULL || !fill_demands(a, &image->demands, pb))
		return NULL;
	return pb;
}

static int pb_to_demand(const Ananta__SnatDemand *pb, struct snat_demand_list *list, struct error *err)
{
	struct snat_demand d = { .seq = pb->seq, .asked_ms = pb->asked_ms, .n_ports = pb->n_ports };
	int code = pb_to_addr(&pb->dip, &d.dip, err);
	if (code == 0 && snat_demand_list_append(list, &d) != 0)
		code = error_set(err, ERR_NO_MEMORY, "out of memory");
	return code;
}

int pb_to_snat_image(const Ananta__SnatState *pb, struct snat_image *ret_image, struct error *err)
{
	struct snat_image image = { 0 };
	if (pb == NULL) {
		*ret_image = image;
		return 0;
	}
	image.version = pb->version;
	image.clock_ms = pb->clock_ms;
	image.next_epoch = pb->next_epoch;
	int code = pb_to_leases(pb->held, &image.held, err);
	if (code == 0)
		code = pb_to_leases(pb->freed, &image.freed, err);
	if (code == 0)
		code = pb_to_leases(pb->log, &image.log, err);
	for (size_t i = 0; code == 0 && i < pb->n_demands; i++)
		code = pb_to_demand(pb->demands[i], &image.demands, err);
	if (code != 0) {
		snat_image_fini(&image);
		return code;
	}
	*ret_image = image;
	return 0;
}
