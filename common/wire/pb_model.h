// Between the generated protobuf-c structs and the model. Private to common/wire.
//
// to pb: the structs live in the arena; NULL when memory is short. They borrow strings and addresses from the model.
// from pb: everything is checked; ERR_MALFORMED says what, ERR_NO_MEMORY.
#pragma once

#include "ananta.pb-c.h"
#include "common/base/arena.h"
#include "common/model/object.h"

// Borrowed bytes of an address: 4 for IPv4, 16 for IPv6.
ProtobufCBinaryData pb_from_addr(const struct ip_addr *addr);
NODISCARD int pb_to_addr(const ProtobufCBinaryData *pb, struct ip_addr *ret_addr, struct error *err);

// The same where the unspecified address is no bytes at all.
ProtobufCBinaryData pb_from_addr_or_none(const struct ip_addr *addr);
NODISCARD int pb_to_addr_or_none(const ProtobufCBinaryData *pb, struct ip_addr *ret_addr, struct error *err);

// Copies a string that must fit; `what` names it in the error.
NODISCARD int pb_to_text(const char *pb, char *buf, size_t size, const char *what, struct error *err);

Ananta__NodeInfo *pb_from_node(struct arena *a, const struct node_info *node);
NODISCARD int pb_to_node(const Ananta__NodeInfo *pb, struct node_info *ret_node, struct error *err);

Ananta__VipConfig *pb_from_vip(struct arena *a, const struct vip_config *vip);
NODISCARD int pb_to_vip(const Ananta__VipConfig *pb, struct vip_config **ret_vip, struct error *err);

// An array of n pointers to changes; NULL when memory is short.
Ananta__Change **pb_from_changes(struct arena *a, const struct change_list *changes);
NODISCARD int pb_to_changes(Ananta__Change **pb, size_t n, struct change_list *ret_changes, struct error *err);
