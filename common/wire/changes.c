#include "common/wire/changes.h"

#include "common/base/memory.h"
#include "common/wire/pb_model.h"

static int pack(const ProtobufCMessage *pb, uint8_t **ret_bytes, size_t *ret_n)
{
	size_t n = protobuf_c_message_get_packed_size(pb);
	uint8_t *bytes = memory_array(n, 1);
	if (bytes == NULL)
		return ERR_NO_MEMORY;
	protobuf_c_message_pack(pb, bytes);
	*ret_bytes = bytes;
	*ret_n = n;
	return 0;
}

int command_encode(const struct change_list *changes, uint8_t **ret_bytes, size_t *ret_n)
{
	struct arena a;
	arena_init(&a);
	Ananta__Command pb = ANANTA__COMMAND__INIT;
	pb.n_changes = changes->n;
	pb.changes = pb_from_changes(&a, changes);
	int code = pb.changes == NULL ? ERR_NO_MEMORY : pack(&pb.base, ret_bytes, ret_n);
	arena_fini(&a);
	return code;
}

int command_decode(const uint8_t *bytes, size_t n, struct change_list *ret_changes, struct error *err)
{
	Ananta__Command *pb = ananta__command__unpack(NULL, n, bytes);
	if (pb == NULL)
		return error_set(err, ERR_MALFORMED, "a command that cannot be read");
	int code = pb_to_changes(pb->changes, pb->n_changes, ret_changes, err);
	ananta__command__free_unpacked(pb, NULL);
	return code;
}

int snapshot_encode(uint64_t version, const struct change_list *objects, uint8_t **ret_bytes, size_t *ret_n)
{
	struct arena a;
	arena_init(&a);
	Ananta__Snapshot pb = ANANTA__SNAPSHOT__INIT;
	pb.format = SNAPSHOT_FORMAT;
	pb.version = version;
	pb.n_objects = objects->n;
	pb.objects = pb_from_changes(&a, objects);
	int code = pb.objects == NULL ? ERR_NO_MEMORY : pack(&pb.base, ret_bytes, ret_n);
	arena_fini(&a);
	return code;
}

static int decode_snapshot(const Ananta__Snapshot *pb, uint64_t *ret_version, struct change_list *ret_objects,
                           struct error *err)
{
	if (pb->format != SNAPSHOT_FORMAT)
		return error_set(err, ERR_VERSION, "a snapshot of format %u; this program reads format %u", pb->format,
		                 SNAPSHOT_FORMAT);
	int code = pb_to_changes(pb->objects, pb->n_objects, ret_objects, err);
	if (code == 0)
		*ret_version = pb->version;
	return code;
}

int snapshot_decode(const uint8_t *bytes, size_t n, uint64_t *ret_version, struct change_list *ret_objects,
                    struct error *err)
{
	Ananta__Snapshot *pb = ananta__snapshot__unpack(NULL, n, bytes);
	if (pb == NULL)
		return error_set(err, ERR_MALFORMED, "a snapshot that cannot be read");
	int code = decode_snapshot(pb, ret_version, ret_objects, err);
	ananta__snapshot__free_unpacked(pb, NULL);
	return code;
}

// Upper bounds by hand: tags and lengths take at most 6 bytes each, addresses 16, numbers 5.
enum { FIELD_BYTES = 6, DIP_BYTES = 3 * FIELD_BYTES + 16 + 5 + 5, NAME_FIELD_BYTES = FIELD_BYTES + NAME_BYTES };

size_t change_encoded_bytes(const struct change *c)
{
	size_t n = 2 * FIELD_BYTES + 4 * NAME_FIELD_BYTES + 64;
	if (c->key.kind != OBJECT_VIP || c->is_delete)
		return n;
	n += c->vip->n_snat_dips * (size_t)(FIELD_BYTES + 16);
	for (uint32_t i = 0; i < c->vip->n_endpoints; i++)
		n += 4 * FIELD_BYTES + NAME_FIELD_BYTES + c->vip->endpoints[i].n_dips * (size_t)(FIELD_BYTES + DIP_BYTES);
	return n;
}
