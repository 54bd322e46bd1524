// Between the generated protobuf-c structs and transactions: terms, parts, versions of VIPs, and the messages about them.
// Private to common/wire; as pb_model.h.
#pragma once

#include "common/model/command.h"
#include "common/wire/message.h"
#include "common/wire/pb_model.h"

// *ret_ok becomes false when memory is short; NULL stands for none.
Ananta__StageRef *pb_from_stage(struct arena *a, const struct stage_ref *stage, bool *ret_ok);
void pb_to_stage(const Ananta__StageRef *pb, struct stage_ref *ret_stage);

Ananta__VipExpect **pb_from_expects(struct arena *a, const struct vip_expect_list *list);
NODISCARD int pb_to_expects(Ananta__VipExpect **pb, size_t n, struct vip_expect_list *ret_list, struct error *err);

Ananta__VipVersion **pb_from_versions(struct arena *a, const struct vip_version_list *list);
NODISCARD int pb_to_versions(Ananta__VipVersion **pb, size_t n, struct vip_version_list *ret_list, struct error *err);

Ananta__Staged **pb_from_staged(struct arena *a, const struct staged_list *list);
NODISCARD int pb_to_staged(Ananta__Staged **pb, size_t n, struct staged_list *ret_list, struct error *err);

Ananta__CommandRequest *pb_from_command_request(struct arena *a, const struct message *m);
NODISCARD int pb_to_command_request(const Ananta__CommandRequest *pb, struct message *m, struct error *err);

Ananta__VipVersionsRequest *pb_from_versions_request(struct arena *a, const struct message *m);
NODISCARD int pb_to_versions_request(const Ananta__VipVersionsRequest *pb, struct message *m, struct error *err);
Ananta__VipVersionsReply *pb_from_versions_reply(struct arena *a, const struct vip_version_list *list);

Ananta__RollbackRequest *pb_from_rollback(struct arena *a, const struct message *m);
NODISCARD int pb_to_rollback(const Ananta__RollbackRequest *pb, struct message *m, struct error *err);

Ananta__WaitRequest *pb_from_wait_request(struct arena *a, const struct message *m);
Ananta__WaitReply *pb_from_wait_reply(struct arena *a, const struct wait_reply *r);
NODISCARD int pb_to_wait_reply(const Ananta__WaitReply *pb, struct wait_reply *ret_reply, struct error *err);
