// Between the generated protobuf-c structs and leases. Private to common/wire; as pb_model.h.
#pragma once

#include "common/model/lease.h"
#include "common/wire/pb_model.h"

Ananta__Leases *pb_from_leases(struct arena *a, const struct lease_list *leases);
// NULL is an empty list. What cannot be a range is refused.
NODISCARD int pb_to_leases(const Ananta__Leases *pb, struct lease_list *ret_leases, struct error *err);

Ananta__SnatOp **pb_from_snat_ops(struct arena *a, const struct snat_op_list *ops);
NODISCARD int pb_to_snat_ops(Ananta__SnatOp **pb, size_t n, struct snat_op_list *ret_ops, struct error *err);

Ananta__SnatState *pb_from_snat_image(struct arena *a, const struct snat_image *image);
// NULL is an empty image.
NODISCARD int pb_to_snat_image(const Ananta__SnatState *pb, struct snat_image *ret_image, struct error *err);
