// The control side of SNAT: between the managers, who lease ports, and the worker, who uses them.
//
//   Update ------> lease_set --differences--> orders ----> worker
//   SnatReply ------------------------------> ANSWERED --> worker
//   link came or went ----------------------> LINK ------> worker
//   worker --WANTED--> SnatAsk{REQUEST} ----> leader        the worker repeats what is not answered, with the same seq
//   worker --RETURNED--> lease_set, the file, SnatAsk{RETURN} --> leader      repeated until it is seen to have ended
//
// A return is sent when the file does not hold the lease any more: a new process would begin connections with it, and find
// them cut.
// The leases that it has are known from Updates alone (core/lease_set.h); a lost reply, request or return does no harm.
// Orders that the worker has no room for wait here and are never lost. Without a leader for settings.snat_gone_s no lease is
// used for a new connection any more: from then on the managers may give it to another host.
// Threads: everything on one, the control thread; time is given. Cost: what is reported together is one message, of at most
// SNAT_ASK_OPS_MAX operations.
#pragma once

#include "common/wire/message.h"
#include "hostagent/core/lease_set.h"
#include "hostagent/dpdk/data_plane.h"

#define SNAT_ASK_OPS_MAX 1024
#define SNAT_RETURN_REPEAT_MS 5000 // a return that has not ended the lease by then is sent again
#define SNAT_EVENTS_BURST 20 // lines in a row; later SNAT_EVENTS_PER_S, what is beyond is counted in the next line
#define SNAT_EVENTS_PER_S 2

#define SNAT_CONTROL_COUNTERS(X)                                                            \
	X(snat_requests, "requests for ports that were sent, repeated ones too")                \
	X(snat_requests_refused, "requests that managers refused")                              \
	X(snat_leases_granted, "leases that came")                                              \
	X(snat_leases_ended, "leases that ended")                                               \
	X(snat_leases_returned, "leases that were given back because they were idle")           \
	X(snat_gone, "times that no leader was reached for so long that leases were suspended") \
	X(snat_events_suppressed, "events of SNAT that were not logged, for there were too many")

struct snat_control_config {
	struct data_plane *dp;
	struct addr_names *names; // of the process; this thread gives them
	// Sends a message to the leader; may fail while there is none.
	int (*send)(const struct message *m, void *user);
	void *user;
};

struct snat_control {
	struct snat_control_config config;
	struct lease_set leases;
	struct snat_order_queue orders;
	bool is_up; // there is a leader
	bool worker_is_up; // what the worker was told of that
	bool has_unsaved_returns;
	bool needs_rebuild; // the worker has not been told to count the flows of the process before
	bool is_gone; // leases are suspended
	uint64_t lease_version;
	uint64_t seen_ms; // when there was a leader last
	uint64_t returns_repeated_ms;
	uint64_t events_until_ms; // up to here the events that were logged have used up their share
	uint64_t n_suppressed; // since the last line
	struct {
#define X(name, text) uint64_t name;
		SNAT_CONTROL_COUNTERS(X)
#undef X
	} counters;
};

void snat_control_init(struct snat_control *s, const struct snat_control_config *config, uint64_t now_ms);
void snat_control_fini(struct snat_control *s);

// What the process before left, which had seen a leader last `unseen_ms` ago. Once, before the first update; without it the
// worker counts the flows that are there when it has the leases of the first whole update. ERR_NO_MEMORY.
NODISCARD int snat_control_load(struct snat_control *s, const struct snat_image *image, uint64_t unseen_ms,
                                uint64_t now_ms);

// What load takes, to be saved; for snat_image_fini. ERR_NO_MEMORY.
NODISCARD int snat_control_get(const struct snat_control *s, struct snat_image *ret_image);

// A configuration is in the data plane: leases of DIPs that it has not any more end. ERR_NO_MEMORY: nothing was changed.
NODISCARD int snat_control_on_config(struct snat_control *s, const struct store *store);

// After the update's configuration is in the data plane. True in ret_is_changed when leases came or went. ERR_NO_MEMORY:
// nothing was changed, the update is to be had again as a whole.
NODISCARD int snat_control_on_update(struct snat_control *s, const struct update *u, bool *ret_is_changed);

void snat_control_on_reply(struct snat_control *s, const struct message *reply, uint64_t now_ms);
void snat_control_on_link(struct snat_control *s, bool is_up, uint64_t now_ms);

// Takes what the worker has reported and sends what it asks for, in as few messages as possible.
void snat_control_on_reports(struct snat_control *s, uint64_t now_ms);

// What snat_control_get gave is in the file: returns that waited for that are sent.
void snat_control_on_saved(struct snat_control *s);

// Once a second or so: repeats returns, and suspends the leases after gone_s without a leader (0: never).
void snat_control_tick(struct snat_control *s, uint32_t gone_s, uint64_t now_ms);

// Gives the worker what waits for it. True when some of it had no room: call again soon.
bool snat_control_send_orders(struct snat_control *s);

// Its counters with their names.
enum {
	SNAT_CONTROL_N_COUNTERS = 0
#define X(name, text) +1
	SNAT_CONTROL_COUNTERS(X)
#undef X
};
void snat_control_read_counters(const struct snat_control *s, struct counter ret_values[SNAT_CONTROL_N_COUNTERS]);
