// Any bytes as an envelope, a Raft entry and a snapshot: refused, or read into something that encodes and decodes again.
#include <stddef.h>
#include <stdint.h>

#include "common/base/check.h"
#include "common/base/memory.h"
#include "common/wire/changes.h"
#include "common/wire/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_message(const uint8_t *data, size_t size)
{
	struct message m;
	struct message again;
	struct error err = { 0 };
	uint8_t *bytes;
	size_t n;
	if (message_decode(data, size, &m, &err) != 0) {
		CHECK(err.text[0] != '\0');
		return;
	}
	int code = message_encode(&m, &bytes, &n);
	CHECK(code == 0 || code == ERR_LIMIT);
	if (code == 0) {
		CHECK(message_decode(bytes, n, &again, &err) == 0);
		CHECK(again.type == m.type && again.request_id == m.request_id);
		message_fini(&again);
		memory_free(bytes);
	}
	message_fini(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct state_command command;
	struct state_snapshot snapshot;
	try_message(data, size);
	if (command_decode(data, size, &command, NULL) == 0)
		state_command_fini(&command);
	if (snapshot_decode(data, size, &snapshot, NULL) == 0)
		state_snapshot_fini(&snapshot);
	return 0;
}
