#include "common/wire/changes.h"

#include "common/base/memory.h"
#include "common/wire/pb_event.h"
#include "common/wire/pb_lease.h"
#include "common/wire/pb_txn.h"

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

int command_encode(const struct state_command *command, uint8_t **ret_bytes, size_t *ret_n)
{
	struct arena a;
	arena_init(&a);
	Ananta__Command pb = ANANTA__COMMAND__INIT;
	pb.time_ms = command->time_ms;
	pb.n_changes = command->changes.n;
	pb.changes = pb_from_changes(&a, &command->changes);
	pb.n_snat = command->ops.n;
	pb.snat = pb_from_snat_ops(&a, &command->ops);
	pb.n_events = command->events.n;
	pb.events = pb_from_events(&a, &command->events);
	bool ok = pb.changes != NULL && pb.snat != NULL && pb.events != NULL;
	pb.author = (char *)command->author;
	pb.since_version = command->terms.since_version;
	pb.n_expects = command->terms.expects.n;
	pb.expects = pb_from_expects(&a, &command->terms.expects);
	pb.stage = pb_from_stage(&a, &command->terms.stage, &ok);
	ok = ok && pb.expects != NULL;
	int code = ok ? pack(&pb.base, ret_bytes, ret_n) : ERR_NO_MEMORY;
	arena_fini(&a);
	return code;
}

int command_decode(const uint8_t *bytes, size_t n, struct state_command *ret_command, struct error *err)
{
	struct state_command command = { 0 };
	Ananta__Command *pb = ananta__command__unpack(NULL, n, bytes);
	if (pb == NULL)
		return error_set(err, ERR_MALFORMED, "a command that cannot be read");
	command.time_ms = pb->time_ms;
	command.terms.since_version = pb->since_version;
	pb_to_stage(pb->stage, &command.terms.stage);
	int code = pb_to_changes(pb->changes, pb->n_changes, &command.changes, err);
	if (code == 0)
		code = pb_to_text(pb->author, command.author, sizeof command.author, "author", err);
	if (code == 0)
		code = pb_to_expects(pb->expects, pb->n_expects, &command.terms.expects, err);
	if (code == 0)
		code = pb_to_snat_ops(pb->snat, pb->n_snat, &command.ops, err);
	if (code == 0)
		code = pb_to_events(pb->events, pb->n_events, &command.events, err);
	ananta__command__free_unpacked(pb, NULL);
	if (code != 0) {
		state_command_fini(&command);
		return code;
	}
	*ret_command = command;
	return 0;
}

int snapshot_encode(const struct state_snapshot *snapshot, uint8_t **ret_bytes, size_t *ret_n)
{
	struct arena a;
	arena_init(&a);
	Ananta__Snapshot pb = ANANTA__SNAPSHOT__INIT;
	pb.format = SNAPSHOT_FORMAT;
	pb.version = snapshot->version;
	pb.n_objects = snapshot->objects.n;
	pb.objects = pb_from_changes(&a, &snapshot->objects);
	pb.snat = pb_from_snat_image(&a, &snapshot->snat);
	pb.n_events = snapshot->events.n;
	pb.events = pb_from_events(&a, &snapshot->events);
	pb.config_version = snapshot->config_version;
	pb.n_versions = snapshot->versions.n;
	pb.versions = pb_from_versions(&a, &snapshot->versions);
	pb.n_staged = snapshot->staged.n;
	pb.staged = pb_from_staged(&a, &snapshot->staged);
	bool ok = pb.objects != NULL && pb.snat != NULL && pb.events != NULL && pb.versions != NULL && pb.staged != NULL;
	int code = ok ? pack(&pb.base, ret_bytes, ret_n) : ERR_NO_MEMORY;
	arena_fini(&a);
	return code;
}

static int decode_snapshot(const Ananta__Snapshot *pb, struct state_snapshot *snapshot, struct error *err)
{
	if (pb->format != SNAPSHOT_FORMAT)
		return error_set(err, ERR_VERSION, "a snapshot of format %u; this program reads format %u", pb->format,
		                 SNAPSHOT_FORMAT);
	snapshot->version = pb->version;
	snapshot->config_version = pb->config_version;
	int code = pb_to_changes(pb->objects, pb->n_objects, &snapshot->objects, err);
	if (code == 0)
		code = pb_to_snat_image(pb->snat, &snapshot->snat, err);
	if (code == 0)
		code = pb_to_versions(pb->versions, pb->n_versions, &snapshot->versions, err);
	if (code == 0)
		code = pb_to_staged(pb->staged, pb->n_staged, &snapshot->staged, err);
	return code != 0 ? code : pb_to_events(pb->events, pb->n_events, &snapshot->events, err);
}

int snapshot_decode(const uint8_t *bytes, size_t n, struct state_snapshot *ret_snapshot, struct error *err)
{
	struct state_snapshot snapshot = { 0 };
	Ananta__Snapshot *pb = ananta__snapshot__unpack(NULL, n, bytes);
	if (pb == NULL)
		return error_set(err, ERR_MALFORMED, "a snapshot that cannot be read");
	int code = decode_snapshot(pb, &snapshot, err);
	ananta__snapshot__free_unpacked(pb, NULL);
	if (code != 0) {
		state_snapshot_fini(&snapshot);
		return code;
	}
	*ret_snapshot = snapshot;
	return 0;
}

// Upper bounds by hand: tags and lengths take at most 6 bytes each, addresses 16, numbers 5.
enum { FIELD_BYTES = 6, DIP_BYTES = 3 * FIELD_BYTES + 16 + 5 + 5, NAME_FIELD_BYTES = FIELD_BYTES + NAME_BYTES };

static size_t history_bytes(const struct vip_history *h)
{
	size_t n = h->n_gone + FIELD_BYTES;
	for (uint32_t i = 0; i < h->n_endpoints; i++) {
		n += 7 * FIELD_BYTES;
		for (uint32_t g = 0; g < h->endpoints[i].n_generations; g++)
			n += 5 * FIELD_BYTES + h->endpoints[i].generations[g].n_members * (size_t)(FIELD_BYTES + 16 + 5);
	}
	return n;
}

size_t change_encoded_bytes(const struct change *c)
{
	size_t n = 2 * FIELD_BYTES + 4 * NAME_FIELD_BYTES + 64;
	if (object_is_mark(c->key.kind))
		return n + CAUSE_BYTES;
	if (c->key.kind == OBJECT_SETTINGS)
		n += LIMIT_NO_SNAT_PREFIXES * (size_t)(3 * FIELD_BYTES + 16) + 8 * FIELD_BYTES;
	if (c->key.kind == OBJECT_HISTORY && !c->is_delete)
		return n + history_bytes(c->history);
	if (c->key.kind != OBJECT_VIP || c->is_delete)
		return n;
	n += c->vip->n_snat_dips * (size_t)(FIELD_BYTES + 16) + 8 * FIELD_BYTES;
	for (uint32_t i = 0; i < c->vip->n_endpoints; i++)
		n += 14 * FIELD_BYTES + NAME_FIELD_BYTES + PROBE_PATH_BYTES +
		     c->vip->endpoints[i].n_dips * (size_t)(FIELD_BYTES + DIP_BYTES);
	return n;
}
