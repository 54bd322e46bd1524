#include "mux/io/watchdog_process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/io/log.h"

#define PAGE_FD 3 // in the watchdog
#define LIFE_FD 4 // the end of a pipe: at its end the mux is dead
#define RESTART_MS 100

static const char page_magic[8] = "ananta-w";

struct watchdog_process {
	struct watchdog_page *page;
	int page_fd;
	int life_fds[2]; // to read, for the watchdog; to write, which only the mux holds
	bool is_started;
	bool is_ending;
	uv_process_t process;
	bool has_process; // the handle is open
	uv_timer_t turns;
	uv_timer_t restart;
	uint32_t n_open_handles;
};

static void unmap(struct watchdog_process *w)
{
	if (w->page != NULL)
		munmap(w->page, sizeof *w->page);
	if (w->page_fd >= 0)
		close(w->page_fd);
	for (int i = 0; i < 2; i++)
		if (w->life_fds[i] >= 0)
			close(w->life_fds[i]);
	memory_free(w);
}

static int map_page(struct watchdog_process *w, struct error *err)
{
	w->page_fd = memfd_create("watchdog", MFD_CLOEXEC);
	if (w->page_fd < 0 || ftruncate(w->page_fd, sizeof *w->page) != 0)
		return error_set(err, ERR_IO, "watchdog: no memory to share: %s", strerror(errno));
	void *page = mmap(NULL, sizeof *w->page, PROT_READ | PROT_WRITE, MAP_SHARED, w->page_fd, 0);
	if (page == MAP_FAILED)
		return error_set(err, ERR_IO, "watchdog: no memory to share: %s", strerror(errno));
	w->page = page;
	if (pipe2(w->life_fds, O_CLOEXEC) != 0)
		return error_set(err, ERR_IO, "watchdog: no pipe: %s", strerror(errno));
	return 0;
}

int watchdog_process_create(const char *name, const char *interface, uint32_t limit_ms,
                            struct watchdog_process **ret_watchdog, struct error *err)
{
	struct watchdog_process *w = memory_array(1, sizeof *w);
	if (w == NULL)
		return error_set(err, ERR_NO_MEMORY, "out of memory");
	w->page_fd = w->life_fds[0] = w->life_fds[1] = -1;
	int code = map_page(w, err);
	if (code != 0) {
		unmap(w);
		return code;
	}
	memcpy(w->page->magic, page_magic, sizeof page_magic);
	(void)text_copy(w->page->name, sizeof w->page->name, name);
	(void)text_copy(w->page->interface, sizeof w->page->interface, interface);
	w->page->limit_ms = limit_ms;
	w->page->pid = (int32_t)getpid();
	*ret_watchdog = w;
	return 0;
}

struct watchdog_page *watchdog_process_page(const struct watchdog_process *w)
{
	return w->page;
}

// ---- in the mux ----

static void on_closed(uv_handle_t *handle)
{
	struct watchdog_process *w = handle->data;
	if (--w->n_open_handles == 0)
		unmap(w);
}

static void on_turn(uv_timer_t *timer)
{
	const struct watchdog_process *w = timer->data;
	watchdog_page_count(w->page, WATCHDOG_CONTROL);
}

static void on_process_closed(uv_handle_t *handle)
{
	struct watchdog_process *w = handle->data;
	w->has_process = false;
	on_closed(handle);
}

static void on_restart(uv_timer_t *timer);

static void on_exit_of_watchdog(uv_process_t *process, int64_t status, int number)
{
	struct watchdog_process *w = process->data;
	uv_close((uv_handle_t *)process, on_process_closed);
	if (w->is_ending)
		return;
	log_warn("watchdog-ended", "status=%d signal=%d restart_ms=%d", (int)status, number, RESTART_MS);
	uv_timer_start(&w->restart, on_restart, RESTART_MS, 0);
}

// /proc/self/exe is this very program, also when another one was installed in its place meanwhile.
static int spawn(struct watchdog_process *w)
{
	char *arguments[] = { "ananta-mux", WATCHDOG_ARGUMENT, NULL };
	uv_stdio_container_t files[LIFE_FD + 1] = { { .flags = UV_IGNORE },
		                                        { .flags = UV_IGNORE },
		                                        { .flags = UV_INHERIT_FD, .data.fd = STDERR_FILENO },
		                                        { .flags = UV_INHERIT_FD, .data.fd = w->page_fd },
		                                        { .flags = UV_INHERIT_FD, .data.fd = w->life_fds[0] } };
	uv_process_options_t options = { .file = "/proc/self/exe",
		                             .args = arguments,
		                             .exit_cb = on_exit_of_watchdog,
		                             .stdio = files,
		                             .stdio_count = LIFE_FD + 1 };
	w->process.data = w;
	w->has_process = true;
	w->n_open_handles++;
	int code = uv_spawn(w->turns.loop, &w->process, &options);
	if (code != 0)
		uv_close((uv_handle_t *)&w->process, on_process_closed);
	return code;
}

static void on_restart(uv_timer_t *timer)
{
	struct watchdog_process *w = timer->data;
	int code = w->has_process ? UV_EAGAIN : spawn(w);
	if (code == 0) {
		log_info("watchdog-restarted", "pid=%d", w->process.pid);
		return;
	}
	log_error("watchdog-failed", "text=\"%s\" retry_ms=%d", uv_strerror(code), RESTART_MS);
	uv_timer_start(timer, on_restart, RESTART_MS, 0);
}

int watchdog_process_start(struct watchdog_process *w, uv_loop_t *loop, struct error *err)
{
	uv_timer_init(loop, &w->turns);
	uv_timer_init(loop, &w->restart);
	w->turns.data = w->restart.data = w;
	w->n_open_handles = 2;
	w->is_started = true;
	uv_timer_start(&w->turns, on_turn, 0, WATCHDOG_LOOK_US / 1000);
	int code = spawn(w);
	return code == 0 ? 0 : error_set(err, ERR_IO, "watchdog: did not start: %s", uv_strerror(code));
}

void watchdog_process_destroy(struct watchdog_process *w)
{
	if (w == NULL)
		return;
	if (!w->is_started) {
		unmap(w);
		return;
	}
	w->is_ending = true;
	if (w->has_process && !uv_is_closing((uv_handle_t *)&w->process))
		uv_process_kill(&w->process, SIGKILL);
	uv_close((uv_handle_t *)&w->turns, on_closed);
	uv_close((uv_handle_t *)&w->restart, on_closed);
}

// ---- in the watchdog ----

static struct mono_time now_of_clock(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return mono_from_us((uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000);
}

static struct watchdog_sight sight_of(const struct watchdog_page *page)
{
	struct watchdog_sight s = { 0 };
	s.is_in_long_work = atomic_load_explicit(&page->long_works, memory_order_acquire) > 0; // before what its end counts
	for (int i = 0; i < WATCHDOG_THREADS; i++)
		s.turns[i] = atomic_load_explicit(&page->turns[i].n, memory_order_relaxed);
	return s;
}

static const struct watchdog_page *find_page(void)
{
	struct stat st;
	if (fstat(PAGE_FD, &st) != 0 || st.st_size != (off_t)sizeof(struct watchdog_page))
		return NULL;
	const struct watchdog_page *page = mmap(NULL, sizeof *page, PROT_READ, MAP_SHARED, PAGE_FD, 0);
	if (page == MAP_FAILED || memcmp(page->magic, page_magic, sizeof page_magic) != 0)
		return NULL;
	return page;
}

// It is not when its child is somebody else's; before that the pipe has come to its end.
static bool is_mux_there(const struct watchdog_page *page)
{
	return getppid() == page->pid;
}

static void become_watchdog(void)
{
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	prctl(PR_SET_NAME, "mux-watchdog");
	close_range(LIFE_FD + 1, ~0U, 0); // the mux's ports and devices go with the mux alone
}

// For AF_PACKET without receiving anything. -1 when the kernel has no such interface.
static int open_uplink(const struct watchdog_page *page)
{
	struct sockaddr_ll where = { .sll_family = AF_PACKET };
	where.sll_ifindex = page->interface[0] != '\0' ? (int)if_nametoindex(page->interface) : 0;
	if (where.sll_ifindex == 0)
		return -1;
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && bind(fd, (struct sockaddr *)&where, sizeof where) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static void say_farewell(const struct watchdog_page *page, int uplink_fd)
{
	struct bfd_frame frames[BFD_ROUTERS_MAX];
	uint32_t n = bfd_book_farewells(&page->bfd, frames);
	uint32_t n_sent = 0;
	for (uint32_t i = 0; uplink_fd >= 0 && i < n; i++)
		n_sent += send(uplink_fd, frames[i].bytes, frames[i].n_bytes, 0) == (ssize_t)frames[i].n_bytes;
	log_warn("mux-died", "mux=%s pid=%d routers_told=%u of=%u", page->name, page->pid, n_sent, n);
}

// Until the next look is due, or the mux is dead: then true.
static bool await_death(const struct watchdog_page *page)
{
	struct pollfd life = { .fd = LIFE_FD, .events = POLLIN };
	return poll(&life, 1, WATCHDOG_LOOK_US / 1000) > 0 || !is_mux_there(page);
}

static void kill_mux(const struct watchdog_page *page, const struct watchdog *w, enum watchdog_verdict verdict)
{
	int thread = verdict == WATCHDOG_WORKER_HANGS ? WATCHDOG_WORKER : WATCHDOG_CONTROL;
	log_error("watchdog-kills",
	          "mux=%s pid=%d thread=%s still_ms=%llu limit_ms=%u text=\"it stands still: its routes go with it\"",
	          page->name, page->pid, thread == WATCHDOG_WORKER ? "worker" : "control",
	          (unsigned long long)(w->still_us[thread] / 1000), page->limit_ms);
	if (is_mux_there(page))
		kill(page->pid, SIGKILL);
}

// Returns when the mux is dead, by its hand or another one's.
static void watch(const struct watchdog_page *page)
{
	struct watchdog w;
	bool has_killed = false;
	struct watchdog_sight sight = sight_of(page);
	watchdog_init(&w, page->limit_ms, &sight, now_of_clock());
	while (!await_death(page)) {
		sight = sight_of(page);
		enum watchdog_verdict verdict = watchdog_look(&w, &sight, now_of_clock());
		if (verdict != WATCHDOG_MOVES && !has_killed)
			kill_mux(page, &w, verdict);
		has_killed = has_killed || verdict != WATCHDOG_MOVES;
	}
}

int watchdog_process_main(void)
{
	const struct watchdog_page *page = find_page();
	if (page == NULL) {
		fprintf(stderr, "ananta-mux: " WATCHDOG_ARGUMENT " is for the mux itself: it starts its watchdog so\n");
		return EXIT_FAILURE;
	}
	become_watchdog();
	int uplink_fd = open_uplink(page);
	watch(page);
	say_farewell(page, uplink_fd);
	return EXIT_SUCCESS;
}
