#include "mux/io/last_state.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/io/log.h"

struct last_state {
	const struct state_dir *dir;
	struct last_state_source from;
	uv_loop_t *loop;
	uv_timer_t timer;
	uv_work_t work;
	bool is_unsaved;
	bool is_writing; // `snapshot` is the other thread's
	bool is_ending;
	bool is_timer_closed;
	uint64_t saved_ms; // by the loop's clock; 0: never
	struct state_snapshot snapshot;
	struct state_snapshot last; // taken at the end, while the other thread still wrote
	bool has_last;
	struct error err; // of the write
};

static uint64_t wall_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static int take_snapshot(struct last_state *l, struct state_snapshot *ret_snapshot)
{
	struct state_snapshot s = { .version = l->from.store->version,
		                        .snat = { .version = *l->from.lease_version, .clock_ms = wall_ms() } };
	if (store_get_all(l->from.store, &s.objects) != 0 || snat_maps_get_leases(l->from.snat, &s.snat.held) != 0) {
		state_snapshot_fini(&s);
		return error_set(&l->err, ERR_NO_MEMORY, "no memory to save the configuration");
	}
	*ret_snapshot = s;
	l->is_unsaved = false;
	return 0;
}

static void end_write(struct last_state *l, int code)
{
	state_snapshot_fini(&l->snapshot);
	memset(&l->snapshot, 0, sizeof l->snapshot);
	if (code == 0)
		return;
	log_warn("state-not-saved", "text=\"%s\"", l->err.text);
	l->is_unsaved = true;
}

static void free_when_done(struct last_state *l)
{
	if (l->is_timer_closed && !l->is_writing)
		memory_free(l);
}

static void on_timer(uv_timer_t *timer);

// Not before LAST_STATE_SAVE_MS after the last time.
static void save_soon(struct last_state *l)
{
	uint64_t since_ms = uv_now(l->loop) - l->saved_ms;
	uint64_t wait_ms = LAST_STATE_DELAY_MS;
	if (l->saved_ms != 0 && since_ms + wait_ms < LAST_STATE_SAVE_MS)
		wait_ms = LAST_STATE_SAVE_MS - since_ms;
	if (!l->is_ending && !l->is_writing && !uv_is_active((uv_handle_t *)&l->timer))
		uv_timer_start(&l->timer, on_timer, wait_ms, 0);
}

static void on_work(uv_work_t *work)
{
	struct last_state *l = work->data;
	l->err = (struct error){ 0 };
	(void)!store_file_write(l->dir, &l->snapshot, &l->err);
}

static void save_now(struct last_state *l)
{
	if (!l->is_unsaved)
		return;
	int code = take_snapshot(l, &l->snapshot);
	if (code == 0)
		code = store_file_write(l->dir, &l->snapshot, &l->err);
	end_write(l, code);
}

static void write_last(struct last_state *l)
{
	if (!l->has_last)
		return;
	l->snapshot = l->last;
	end_write(l, store_file_write(l->dir, &l->snapshot, &l->err));
}

static void on_written(uv_work_t *work, int status)
{
	struct last_state *l = work->data;
	l->is_writing = false;
	end_write(l, l->err.code);
	if (l->is_ending) {
		write_last(l);
		free_when_done(l);
	} else if (l->is_unsaved) {
		save_soon(l);
	}
}

static void on_timer(uv_timer_t *timer)
{
	struct last_state *l = timer->data;
	l->saved_ms = uv_now(l->loop);
	if (take_snapshot(l, &l->snapshot) != 0) {
		end_write(l, l->err.code);
		save_soon(l);
		return;
	}
	l->is_writing = true;
	l->work.data = l;
	if (uv_queue_work(l->loop, &l->work, on_work, on_written) != 0) { // it never refuses
		l->is_writing = false;
		end_write(l, error_set(&l->err, ERR_NO_MEMORY, "no thread to save the configuration"));
	}
}

int last_state_create(uv_loop_t *loop, const struct state_dir *dir, const struct last_state_source *from,
                      struct last_state **ret_state, struct error *err)
{
	struct last_state *l = memory_array(1, sizeof *l);
	if (l == NULL)
		return error_set(err, ERR_NO_MEMORY, "out of memory");
	*l = (struct last_state){ .dir = dir, .from = *from, .loop = loop };
	uv_timer_init(loop, &l->timer);
	l->timer.data = l;
	*ret_state = l;
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	struct last_state *l = handle->data;
	l->is_timer_closed = true;
	free_when_done(l);
}

// While the other thread writes, what is to be saved now is written after that.
void last_state_destroy(struct last_state *l)
{
	if (l == NULL)
		return;
	l->is_ending = true;
	if (!l->is_writing)
		save_now(l);
	else if (l->is_unsaved)
		l->has_last = take_snapshot(l, &l->last) == 0;
	uv_close((uv_handle_t *)&l->timer, on_closed);
}

void last_state_on_change(struct last_state *l)
{
	if (l == NULL)
		return;
	l->is_unsaved = true;
	save_soon(l);
}

// ---- the fence ----

#define FENCE_FILE "fenced"

void last_state_set_fenced(struct last_state *l, bool is_fenced)
{
	char path[STATE_PATH_BYTES];
	if (l == NULL)
		return;
	state_dir_path(l->dir, FENCE_FILE, path);
	if (!is_fenced) {
		if (unlink(path) != 0 && errno != ENOENT)
			log_warn("state-not-saved", "text=\"cannot remove %s: %s\"", path, strerror(errno));
		return;
	}
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		log_warn("state-not-saved", "text=\"cannot make %s: %s\"", path, strerror(errno));
	else
		close(fd);
}

bool last_state_load(const struct last_state *l, struct store *store, struct snat_image *ret_leases,
                     bool *ret_is_fenced)
{
	char path[STATE_PATH_BYTES];
	struct error err = { 0 };
	if (l == NULL)
		return false;
	int code = store_file_load(l->dir, store, ret_leases, &err);
	if (code == ERR_NOT_FOUND)
		log_info("last-state", "text=\"none is there: nothing is announced until a manager is reached\"");
	else if (code != 0)
		log_warn("last-state-not-used", "code=%s text=\"%s\"", error_code_name(err.code), err.text);
	*ret_is_fenced = access(state_dir_path(l->dir, FENCE_FILE, path), F_OK) == 0;
	return code == 0;
}
