// The watchdog as a process: a program that plays the mux (this one, started anew) is stopped, hangs, or loses its watchdog.
#include "tests/support/suite.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "mux/io/watchdog_process.h"

#define LIMIT_MS "300"
#define LOOPS_OF_A_LIFE 20 // of 50 ms: three times the limit
#define TOO_LONG_MS 20000

extern char **environ;

// ---- the mux that is played ----
//
// It says "pid of its watchdog" on stdout when that was started, and ends by itself after LOOPS_OF_A_LIFE.

struct played {
	uv_loop_t loop;
	uv_timer_t worker;
	uv_timer_t talk;
	struct watchdog_process *watchdog;
	const char *role;
	int n_loops;
	int told_pid;
};

static void end_of_life(struct played *p)
{
	watchdog_process_destroy(p->watchdog);
	uv_close((uv_handle_t *)&p->worker, NULL);
	uv_close((uv_handle_t *)&p->talk, NULL);
}

// The worker goes on, and nothing else.
static void count_for_ever(struct played *p)
{
	for (;;) {
		watchdog_page_count(watchdog_process_page(p->watchdog), WATCHDOG_WORKER);
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	}
}

static void on_worker(uv_timer_t *timer)
{
	struct played *p = timer->data;
	p->n_loops++;
	if (strcmp(p->role, "worker-hangs") != 0 || p->n_loops < 3)
		watchdog_page_count(watchdog_process_page(p->watchdog), WATCHDOG_WORKER);
	if (strcmp(p->role, "control-hangs") == 0 && p->n_loops == 3)
		count_for_ever(p);
	if (strcmp(p->role, "lives") == 0 && p->n_loops == LOOPS_OF_A_LIFE)
		end_of_life(p);
}

static int watchdog_pid(void)
{
	char path[64];
	int pid = 0;
	snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
	FILE *file = fopen(path, "r");
	if (file == NULL || fscanf(file, "%d", &pid) != 1)
		pid = 0;
	if (file != NULL)
		fclose(file);
	return pid;
}

static void on_talk(uv_timer_t *timer)
{
	struct played *p = timer->data;
	int pid = watchdog_pid();
	if (pid == 0 || pid == p->told_pid)
		return;
	p->told_pid = pid;
	printf("%d\n", pid);
	fflush(stdout);
}

static int play(const char *role)
{
	static struct played p;
	p.role = role;
	uv_loop_init(&p.loop);
	uv_timer_init(&p.loop, &p.worker);
	uv_timer_init(&p.loop, &p.talk);
	p.worker.data = p.talk.data = &p;
	if (watchdog_process_create("mux1", "", (uint32_t)atoi(LIMIT_MS), &p.watchdog, NULL) != 0 ||
	    watchdog_process_start(p.watchdog, &p.loop, NULL) != 0)
		return EXIT_FAILURE;
	uv_timer_start(&p.worker, on_worker, 0, 50);
	uv_timer_start(&p.talk, on_talk, 0, 10);
	uv_run(&p.loop, UV_RUN_DEFAULT);
	return uv_loop_close(&p.loop) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

// ---- the tests' side ----

struct mux {
	pid_t pid;
	int pid_fd;
	FILE *words;
	pid_t watchdog;
	int watchdog_fd;
};

static int fd_of_pid(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	ck_assert_msg(fd >= 0, "process %d: %s", (int)pid, strerror(errno));
	return fd;
}

static void hear_of_watchdog(struct mux *m)
{
	int pid;
	ck_assert_int_eq(fscanf(m->words, "%d", &pid), 1);
	m->watchdog = pid;
	m->watchdog_fd = fd_of_pid(pid);
}

static struct mux start(const char *role)
{
	struct mux m;
	int words[2];
	char *arguments[] = { "mux", (char *)role, NULL };
	posix_spawn_file_actions_t actions;
	ck_assert_int_eq(pipe(words), 0);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, words[1], STDOUT_FILENO);
	posix_spawn_file_actions_addclose(&actions, words[0]);
	posix_spawn_file_actions_addclose(&actions, words[1]);
	ck_assert_int_eq(posix_spawn(&m.pid, "/proc/self/exe", &actions, NULL, arguments, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	close(words[1]);
	m.words = fdopen(words[0], "r");
	m.pid_fd = fd_of_pid(m.pid);
	hear_of_watchdog(&m);
	return m;
}

static void await_end(int pid_fd, const char *whose)
{
	struct pollfd fd = { .fd = pid_fd, .events = POLLIN };
	ck_assert_msg(poll(&fd, 1, TOO_LONG_MS) == 1, "the %s does not end", whose);
}

static int status_of(struct mux *m)
{
	int status;
	await_end(m->pid_fd, "mux");
	ck_assert_int_eq(waitpid(m->pid, &status, 0), m->pid);
	await_end(m->watchdog_fd, "watchdog");
	fclose(m->words);
	close(m->pid_fd);
	close(m->watchdog_fd);
	return status;
}

static bool was_killed(int status)
{
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static double now_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

START_TEST(a_mux_that_moves_lives_three_times_as_long_as_the_limit)
{
	struct mux m = start("lives");
	int status = status_of(&m);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS, "status %#x", status);
}
END_TEST

START_TEST(a_mux_that_is_stopped_is_killed_and_not_before_the_limit)
{
	struct mux m = start("forever");
	double began = now_s();
	kill(m.pid, SIGSTOP);
	ck_assert(was_killed(status_of(&m)));
	ck_assert_double_ge(now_s() - began, 0.2);
}
END_TEST

START_TEST(a_mux_whose_worker_hangs_is_killed)
{
	struct mux m = start("worker-hangs");
	ck_assert(was_killed(status_of(&m)));
}
END_TEST

START_TEST(a_mux_whose_control_thread_hangs_is_killed)
{
	struct mux m = start("control-hangs");
	ck_assert(was_killed(status_of(&m)));
}
END_TEST

START_TEST(a_watchdog_that_dies_is_replaced_by_one_that_watches)
{
	struct mux m = start("forever");
	pid_t first = m.watchdog;
	kill(first, SIGKILL);
	await_end(m.watchdog_fd, "watchdog");
	close(m.watchdog_fd);
	hear_of_watchdog(&m);
	ck_assert_int_ne(m.watchdog, first);
	kill(m.pid, SIGSTOP);
	ck_assert(was_killed(status_of(&m)));
}
END_TEST

START_TEST(the_watchdog_ends_with_the_mux)
{
	struct mux m = start("forever");
	kill(m.pid, SIGKILL);
	ck_assert(was_killed(status_of(&m)));
}
END_TEST

// Its name says that it has got so far as to ignore signals.
static void await_name(pid_t pid)
{
	char path[64];
	char name[32] = "";
	snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
	double began = now_s();
	while (strcmp(name, "mux-watchdog\n") != 0) {
		ck_assert_double_lt(now_s() - began, TOO_LONG_MS / 1000);
		FILE *file = fopen(path, "r");
		ck_assert_ptr_nonnull(file);
		if (fgets(name, sizeof name, file) == NULL)
			name[0] = '\0';
		fclose(file);
	}
}

START_TEST(what_is_sent_to_all_of_a_service_does_not_end_the_watchdog)
{
	struct mux m = start("forever");
	await_name(m.watchdog);
	kill(m.watchdog, SIGTERM);
	kill(m.watchdog, SIGINT);
	kill(m.pid, SIGSTOP); // so that it cannot start another one
	ck_assert(was_killed(status_of(&m)));
}
END_TEST

START_TEST(without_a_mux_there_is_nothing_to_watch)
{
	char *arguments[] = { "mux", WATCHDOG_ARGUMENT, NULL };
	posix_spawn_file_actions_t actions;
	pid_t pid;
	int status;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_addopen(&actions, 3, "/dev/null", O_RDONLY, 0);
	ck_assert_int_eq(posix_spawn(&pid, "/proc/self/exe", &actions, NULL, arguments, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_FAILURE);
}
END_TEST

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], WATCHDOG_ARGUMENT) == 0)
		return watchdog_process_main();
	if (argc == 2)
		return play(argv[1]);
	const TTest *const tests[] = { a_mux_that_moves_lives_three_times_as_long_as_the_limit,
		                           a_mux_that_is_stopped_is_killed_and_not_before_the_limit,
		                           a_mux_whose_worker_hangs_is_killed,
		                           a_mux_whose_control_thread_hangs_is_killed,
		                           a_watchdog_that_dies_is_replaced_by_one_that_watches,
		                           the_watchdog_ends_with_the_mux,
		                           what_is_sent_to_all_of_a_service_does_not_end_the_watchdog,
		                           without_a_mux_there_is_nothing_to_watch };
	return suite_run("mux watchdog process", tests, sizeof tests / sizeof *tests);
}
