// Between the generated protobuf-c structs and histories. Private to common/wire; as pb_model.h.
#pragma once

#include "common/model/history.h"
#include "common/wire/pb_model.h"

Ananta__VipHistory *pb_from_history(struct arena *a, const struct vip_history *h);
NODISCARD int pb_to_history(const Ananta__VipHistory *pb, struct vip_history **ret_history, struct error *err);
