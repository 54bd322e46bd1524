#include "manager/raft/replica.h"

#include <raft.h>
#include <raft/uv.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/io/log.h"
#include "manager/raft/data_dir.h"
#include "manager/raft/padded.h"
#include "manager/raft/transport.h"

// A snapshot is taken after so many entries, or so many bytes of them, whichever comes first: small entries come by the
// thousand each second while leases are asked for, and a snapshot of a large state holds everything up for its time.
#define DEFAULT_SNAPSHOT_THRESHOLD 65536
#define DEFAULT_SNAPSHOT_TRAILING 4096
#define SNAPSHOT_BYTES (64u << 20)
#define TRAILING_BYTES (16u << 20)
#define TRAILING_MIN 64
#define ADDRESS_BYTES 64

struct proposal {
	struct raft_apply request; // the library's, once submitted
	struct proposal *next;
	struct replica *replica;
	struct raft_buffer command; // until submitted
	size_t n_bytes;
	replica_result_fn on_result;
	void *user;
	uint64_t version; // the result, from apply
	struct error err;
};

struct proposal_queue {
	struct proposal *first;
	struct proposal **end;
};

struct replica {
	uv_loop_t *loop;
	struct replica_machine machine;
	uint64_t id;
	char address[ADDRESS_BYTES]; // own; the transport keeps a pointer to it
	int lock_fd;
	struct raft raft;
	struct raft_io io;
	struct raft_fsm fsm;
	struct transport transport;
	uint32_t snapshot_threshold;
	uint32_t snapshot_trailing;
	uint64_t n_log_entries; // applied since the last snapshot
	uint64_t n_log_bytes;
	uv_prepare_t prepare; // sees changes of leadership and submits proposals, once in each turn of the loop
	uint32_t n_open; // of raft and prepare
	bool is_stopping;
	void (*on_stopped)(void *user);
	void *on_stopped_user;

	uint64_t led_term; // in which this replica was elected; 0: it is not leader
	bool leads; // its barrier was applied
	bool has_barrier; // under way
	struct raft_barrier barrier;

	struct proposal_queue waiting;
	struct proposal_queue submitted; // in the order of their index
	uint32_t n_pending;
	size_t n_pending_bytes;
};

// ---- proposals ----

static void queue_init(struct proposal_queue *q)
{
	q->first = NULL;
	q->end = &q->first;
}

static void queue_push(struct proposal_queue *q, struct proposal *p)
{
	p->next = NULL;
	*q->end = p;
	q->end = &p->next;
}

static void queue_remove(struct proposal_queue *q, struct proposal *p)
{
	struct proposal **at = &q->first;
	while (*at != NULL && *at != p)
		at = &(*at)->next;
	if (*at == NULL)
		return;
	*at = p->next;
	if (q->end == &p->next)
		q->end = at;
}

static void finish_proposal(struct proposal *p)
{
	struct replica *r = p->replica;
	r->n_pending--;
	r->n_pending_bytes -= p->n_bytes;
	p->on_result(&p->err, p->version, p->user);
	memory_free(p);
}

// The library has applied it (and fsm_apply has left the result), or says that it does not know.
static void on_applied(struct raft_apply *request, int status, void *result)
{
	struct proposal *p = request->data;
	queue_remove(&p->replica->submitted, p);
	if (status != 0)
		error_set(&p->err, ERR_TIMEOUT, "leadership was lost meanwhile; the change may have been made or not");
	finish_proposal(p);
}

static void set_submit_error(struct replica *r, int status, struct error *err)
{
	if (status == RAFT_NOTLEADER)
		error_set(err, ERR_NOT_LEADER, "this manager does not lead any more; nothing was changed");
	else if (status == RAFT_NOSPACE)
		error_set(err, ERR_LIMIT, "the disks of most managers are full; nothing was changed");
	else
		error_set(err, ERR_UNAVAILABLE, "the change could not be submitted: %s", raft_errmsg(&r->raft));
}

static void submit(struct replica *r, struct proposal *p)
{
	p->request.data = p;
	queue_push(&r->submitted, p);
	int status = raft_apply(&r->raft, &p->request, &p->command, 1, on_applied);
	if (status == 0)
		return; // the library owns the command now
	queue_remove(&r->submitted, p);
	if (status == RAFT_NOTLEADER || status == RAFT_NOSPACE)
		raft_free(p->command.base); // after other failures it is not known who owns it
	set_submit_error(r, status, &p->err);
	finish_proposal(p);
}

static struct proposal *pop_waiting(struct replica *r)
{
	struct proposal *p = r->waiting.first;
	if (p != NULL)
		queue_remove(&r->waiting, p);
	return p;
}

static void submit_waiting(struct replica *r)
{
	// What callbacks add meanwhile waits for the loop's next turn, so that this one ends.
	uint32_t n = 0;
	for (struct proposal *p = r->waiting.first; p != NULL; p = p->next)
		n++;
	for (; n > 0; n--)
		submit(r, pop_waiting(r));
}

static int check_proposal(const struct replica *r, size_t n, struct error *err)
{
	if (!replica_leads(r))
		return error_set(err, ERR_NOT_LEADER, "this manager does not lead");
	if (n > REPLICA_COMMAND_MAX_BYTES)
		return error_set(err, ERR_LIMIT, "a change of %zu bytes is more than the limit of %u; divide it", n,
		                 REPLICA_COMMAND_MAX_BYTES);
	if (r->n_pending >= REPLICA_PENDING_MAX || r->n_pending_bytes + n > REPLICA_PENDING_MAX_BYTES)
		return error_set(err, ERR_LIMIT, "%u changes wait to be made, which is the limit; try again later",
		                 r->n_pending);
	return 0;
}

int replica_propose(struct replica *r, const uint8_t *bytes, size_t n, replica_result_fn on_result, void *user,
                    struct error *err)
{
	int code = check_proposal(r, n, err);
	if (code != 0)
		return code;
	struct proposal *p = memory_array(1, sizeof *p);
	if (p == NULL || padded_encode(bytes, n, &p->command) != 0) {
		memory_free(p);
		return error_set(err, ERR_NO_MEMORY, "memory is short");
	}
	p->replica = r;
	p->n_bytes = n;
	p->on_result = on_result;
	p->user = user;
	queue_push(&r->waiting, p);
	r->n_pending++;
	r->n_pending_bytes += n;
	return 0;
}

// ---- the state machine ----

static void die(const struct replica *r, const char *what, const struct error *err)
{
	log_error("stopping", "replica=%llu index=%llu reason=\"%s: %s\"", (unsigned long long)r->id,
	          (unsigned long long)r->raft.last_applied + 1, what, err->text);
	abort();
}

static struct proposal *find_submitted(const struct replica *r, raft_index index)
{
	for (struct proposal *p = r->submitted.first; p != NULL; p = p->next)
		if (p->request.index == index)
			return p;
	return NULL;
}

// The library compares entries only: when the bytes are too many the next one is enough.
static void count_entry(struct replica *r, size_t n_bytes)
{
	r->n_log_entries++;
	r->n_log_bytes += n_bytes;
	if (r->n_log_bytes >= SNAPSHOT_BYTES)
		raft_set_snapshot_threshold(&r->raft, 1);
}

// Called when a snapshot is being taken: how many entries are kept behind it depends on how large they were.
static void begin_log_anew(struct replica *r)
{
	uint64_t trailing = r->snapshot_trailing;
	if (r->n_log_bytes > TRAILING_BYTES)
		trailing = TRAILING_BYTES * r->n_log_entries / r->n_log_bytes;
	if (trailing < TRAILING_MIN)
		trailing = TRAILING_MIN;
	if (trailing > r->snapshot_trailing)
		trailing = r->snapshot_trailing;
	raft_set_snapshot_trailing(&r->raft, (unsigned)trailing);
	raft_set_snapshot_threshold(&r->raft, r->snapshot_threshold);
	r->n_log_entries = r->n_log_bytes = 0;
}

static int fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
	struct replica *r = fsm->data;
	struct error err = { 0 };
	const uint8_t *bytes;
	size_t n;
	uint64_t version = 0;
	*result = NULL;
	count_entry(r, buf->len);
	if (!padded_decode(buf, &bytes, &n))
		error_set(&err, ERR_MALFORMED, "an entry that is no command");
	else
		err.code = (enum error_code)r->machine.apply(bytes, n, &version, &err, r->machine.user);
	if (err.code == ERR_NO_MEMORY || err.code == ERR_MALFORMED)
		die(r, "a command cannot be carried out", &err);
	struct proposal *p = find_submitted(r, r->raft.last_applied + 1);
	if (p != NULL) {
		p->version = version;
		p->err = err;
	}
	return 0;
}

static int fsm_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
	struct replica *r = fsm->data;
	uint8_t *bytes;
	size_t n;
	uint64_t begin_ns = uv_hrtime();
	struct raft_buffer *buf = raft_malloc(sizeof *buf);
	if (buf == NULL || r->machine.snapshot(&bytes, &n, r->machine.user) != 0) {
		raft_free(buf);
		return RAFT_NOMEM; // it will be tried again
	}
	int code = padded_encode(bytes, n, buf);
	memory_free(bytes);
	if (code != 0) {
		raft_free(buf);
		return RAFT_NOMEM;
	}
	log_info("snapshot", "replica=%llu index=%llu bytes=%zu us=%llu", (unsigned long long)r->id,
	         (unsigned long long)r->raft.last_applied, n, (unsigned long long)(uv_hrtime() - begin_ns) / 1000);
	begin_log_anew(r);
	*bufs = buf;
	*n_bufs = 1;
	return 0;
}

// Takes the buffer's memory on success.
static int fsm_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
	struct replica *r = fsm->data;
	struct error err = { 0 };
	const uint8_t *bytes;
	size_t n;
	if (!padded_decode(buf, &bytes, &n))
		error_set(&err, ERR_MALFORMED, "a snapshot that is none of ours");
	else
		err.code = (enum error_code)r->machine.restore(bytes, n, &err, r->machine.user);
	if (err.code != 0)
		die(r, "a snapshot cannot be restored", &err);
	log_info("restored", "replica=%llu bytes=%zu", (unsigned long long)r->id, n);
	raft_free(buf->base);
	return 0;
}

// ---- leadership ----

static void on_barrier(struct raft_barrier *request, int status)
{
	struct replica *r = request->data;
	r->has_barrier = false;
	if (status != 0 || r->is_stopping || r->led_term == 0 || r->led_term != raft_current_term(&r->raft))
		return;
	r->leads = true;
	r->machine.on_leadership(true, r->machine.user);
}

static void lose_leadership(struct replica *r)
{
	bool did_lead = r->leads;
	r->led_term = 0;
	r->leads = false;
	if (did_lead)
		r->machine.on_leadership(false, r->machine.user);
}

// An entry of the own term must be applied before anything is served (Raft dissertation, section 6.4). May fail for a
// moment after start, while the log's files are being made; it is tried in each turn.
static void submit_barrier(struct replica *r)
{
	r->barrier.data = r;
	r->has_barrier = raft_barrier(&r->raft, &r->barrier, on_barrier) == 0;
}

static void watch_leadership(struct replica *r)
{
	bool is_leader = raft_state(&r->raft) == RAFT_LEADER;
	uint64_t term = raft_current_term(&r->raft);
	if (r->led_term != 0 && (!is_leader || r->led_term != term))
		lose_leadership(r);
	if (!is_leader)
		return;
	r->led_term = term;
	if (!r->leads && !r->has_barrier)
		submit_barrier(r);
}

static void on_prepare(uv_prepare_t *prepare)
{
	struct replica *r = prepare->data;
	watch_leadership(r);
	submit_waiting(r);
}

bool replica_has_waiting(const struct replica *r)
{
	return r->waiting.first != NULL;
}

bool replica_leads(const struct replica *r)
{
	struct raft *raft = (struct raft *)&r->raft;
	return r->leads && !r->is_stopping && raft_state(raft) == RAFT_LEADER && raft_current_term(raft) == r->led_term;
}

uint64_t replica_leader_id(const struct replica *r)
{
	raft_id id = 0;
	const char *address;
	raft_leader((struct raft *)&r->raft, &id, &address);
	return id;
}

uint64_t replica_term(const struct replica *r)
{
	return raft_current_term(&r->raft);
}

uint64_t replica_applied_index(const struct replica *r)
{
	return raft_last_applied((struct raft *)&r->raft);
}

// ---- stopping ----

static void release(struct replica *r)
{
	if (--r->n_open > 0)
		return;
	raft_uv_close(&r->io);
	transport_fini(&r->transport);
	data_dir_close(r->lock_fd);
	void (*on_stopped)(void *user) = r->on_stopped;
	void *user = r->on_stopped_user;
	memory_free(r);
	if (on_stopped != NULL)
		on_stopped(user);
}

static void on_raft_closed(struct raft *raft)
{
	release(raft->data);
}

static void on_prepare_closed(uv_handle_t *handle)
{
	release(handle->data);
}

static void fail_waiting(struct replica *r)
{
	for (struct proposal *p; (p = pop_waiting(r)) != NULL;) {
		raft_free(p->command.base);
		error_set(&p->err, ERR_UNAVAILABLE, "this manager is stopping; nothing was changed");
		finish_proposal(p);
	}
}

void replica_stop(struct replica *r, void (*on_stopped)(void *user), void *user)
{
	r->is_stopping = true;
	r->on_stopped = on_stopped;
	r->on_stopped_user = user;
	lose_leadership(r);
	fail_waiting(r);
	uv_close((uv_handle_t *)&r->prepare, on_prepare_closed);
	raft_close(&r->raft, on_raft_closed); // fails what is submitted
}

// ---- starting ----

static int set_raft_error(const char *what, int status, const char *detail, struct error *err)
{
	if (status == RAFT_NOMEM)
		return error_set(err, ERR_NO_MEMORY, "memory is short");
	return error_set(err, ERR_IO, "%s: %s", what, detail[0] != '\0' ? detail : raft_strerror(status));
}

static void apply_settings(struct replica *r, const struct replica_config *config)
{
	raft_uv_set_connect_retry_delay(&r->io, TRANSPORT_RETRY_MS);
	raft_set_heartbeat_timeout(&r->raft, config->heartbeat_ms);
	raft_set_election_timeout(&r->raft, config->election_ms);
	raft_set_pre_vote(&r->raft, true);
	r->snapshot_threshold = config->snapshot_threshold != 0 ? config->snapshot_threshold : DEFAULT_SNAPSHOT_THRESHOLD;
	r->snapshot_trailing = config->snapshot_trailing != 0 ? config->snapshot_trailing : DEFAULT_SNAPSHOT_TRAILING;
	raft_set_snapshot_threshold(&r->raft, r->snapshot_threshold);
	raft_set_snapshot_trailing(&r->raft, r->snapshot_trailing);
}

static int init_raft(struct replica *r, const struct replica_config *config, struct error *err)
{
	if (transport_init(&r->transport, r->loop, err) != 0)
		return ERR_IO;
	int status = raft_uv_init(&r->io, r->loop, config->data_dir, &r->transport.raft);
	if (status != 0) {
		int code = set_raft_error("data_dir", status, r->io.errmsg, err);
		transport_fini(&r->transport);
		return code;
	}
	r->fsm = (struct raft_fsm){
		.version = 1, .data = r, .apply = fsm_apply, .snapshot = fsm_snapshot, .restore = fsm_restore
	};
	status = raft_init(&r->raft, &r->io, &r->fsm, r->id, r->address);
	if (status != 0) {
		int code = set_raft_error("data_dir", status, r->io.errmsg, err);
		raft_uv_close(&r->io);
		transport_fini(&r->transport);
		return code;
	}
	r->raft.data = r;
	apply_settings(r, config);
	return 0;
}

// Writes the members as the first entry of an empty log; every replica writes the same one.
static int bootstrap(struct replica *r, const struct replica_config *config, struct error *err)
{
	struct raft_configuration members;
	int status = 0;
	raft_configuration_init(&members);
	for (uint32_t i = 0; status == 0 && i < config->n_members; i++)
		status = raft_configuration_add(&members, config->members[i].id, config->members[i].address, RAFT_VOTER);
	if (status == 0)
		status = raft_bootstrap(&r->raft, &members);
	raft_configuration_close(&members);
	if (status == 0 || status == RAFT_CANTBOOTSTRAP) // there is a log already
		return 0;
	return set_raft_error("data_dir: the first entry cannot be written", status, r->io.errmsg, err);
}

static int check_members(const struct replica *r, const struct replica_config *config, struct error *err)
{
	const struct raft_configuration *members = &r->raft.configuration;
	for (uint32_t i = 0; i < config->n_members; i++) {
		const struct replica_member *want = &config->members[i];
		unsigned k = 0;
		while (k < members->n && members->servers[k].id != want->id)
			k++;
		if (k == members->n || strcmp(members->servers[k].address, want->address) != 0)
			return error_set(err, ERR_CONFLICT,
			                 "cluster: data_dir knows replica %llu at %s, not at %s; members cannot change",
			                 (unsigned long long)want->id, k == members->n ? "no address" : members->servers[k].address,
			                 want->address);
	}
	if (members->n != config->n_members)
		return error_set(err, ERR_CONFLICT, "cluster: data_dir knows %u replicas, not %u; members cannot change",
		                 members->n, config->n_members);
	return 0;
}

static int start_raft(struct replica *r, const struct replica_config *config, struct error *err)
{
	int code = bootstrap(r, config, err);
	if (code != 0)
		return code;
	int status = raft_start(&r->raft);
	if (status != 0)
		return set_raft_error("raft cannot start", status, raft_errmsg(&r->raft), err);
	return check_members(r, config, err);
}

static int find_own_address(struct replica *r, const struct replica_config *config, struct error *err)
{
	for (uint32_t i = 0; i < config->n_members; i++)
		if (config->members[i].id == config->id && text_copy(r->address, sizeof r->address, config->members[i].address))
			return 0;
	return error_set(err, ERR_INVALID, "cluster: holds no replica with id %llu", (unsigned long long)config->id);
}

static struct replica *allocate(uv_loop_t *loop, const struct replica_config *config)
{
	struct replica *r = memory_array(1, sizeof *r);
	if (r == NULL)
		return NULL;
	r->loop = loop;
	r->machine = config->machine;
	r->id = config->id;
	r->lock_fd = -1;
	queue_init(&r->waiting);
	queue_init(&r->submitted);
	return r;
}

int replica_create(uv_loop_t *loop, const struct replica_config *config, struct replica **ret_replica,
                   struct error *err)
{
	struct replica *r = allocate(loop, config);
	if (r == NULL)
		return error_set(err, ERR_NO_MEMORY, "memory is short");
	int code = find_own_address(r, config, err);
	if (code == 0)
		code = data_dir_open(config->data_dir, r->id, &r->lock_fd, err);
	if (code == 0)
		code = init_raft(r, config, err);
	if (code != 0) {
		data_dir_close(r->lock_fd);
		memory_free(r);
		return code;
	}
	// Started before the library's own prepare handle, so that it runs after it and sees what its callbacks propose.
	uv_prepare_init(loop, &r->prepare);
	r->prepare.data = r;
	uv_prepare_start(&r->prepare, on_prepare);
	r->n_open = 2;
	code = start_raft(r, config, err);
	if (code != 0) {
		replica_stop(r, NULL, NULL);
		return code;
	}
	*ret_replica = r;
	return 0;
}
