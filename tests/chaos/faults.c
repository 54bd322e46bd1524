// Faults of a manager's disk and clock, loaded in front of the C library (LD_PRELOAD) and told by a file, while the program runs.
//
//   $RUNTIME_DIRECTORY/faults holds any of these words:   full        writes to files, and their allocation, fail with ENOSPC
//                                                         slow=MS     each fsync, and each batch of asynchronous writes, takes so long
//                                                         clock=MS    the wall clock is so far off (may be negative)
// No file: no faults. It is looked at with each call; sockets, pipes and the monotonic clock are left alone.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct faults {
	bool is_full;
	long slow_ms;
	long clock_ms;
};

static long raw(long number, long a, long b, long c, long d)
{
	long result;
	register long r10 __asm__("r10") = d;
	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
	return result;
}

// By system calls of its own: what it would call is what it replaces.
static struct faults faults_now(void)
{
	struct faults f = { 0 };
	const char *directory = getenv("RUNTIME_DIRECTORY");
	char path[512];
	char text[128];
	if (directory == NULL || snprintf(path, sizeof path, "%s/faults", directory) >= (int)sizeof path)
		return f;
	long fd = raw(SYS_open, (long)path, O_RDONLY | O_CLOEXEC, 0, 0);
	if (fd < 0)
		return f;
	long n = raw(SYS_read, fd, (long)text, sizeof text - 1, 0);
	raw(SYS_close, fd, 0, 0, 0);
	text[n > 0 ? n : 0] = 0;
	f.is_full = strstr(text, "full") != NULL;
	const char *slow = strstr(text, "slow=");
	const char *clock = strstr(text, "clock=");
	f.slow_ms = slow == NULL ? 0 : strtol(slow + 5, NULL, 10);
	f.clock_ms = clock == NULL ? 0 : strtol(clock + 6, NULL, 10);
	return f;
}

static void sleep_ms(long ms)
{
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };
	if (ms > 0)
		raw(SYS_nanosleep, (long)&t, 0, 0, 0);
}

static bool is_file(int fd)
{
	struct stat st;
	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

static bool is_refused(int fd)
{
	if (!is_file(fd) || !faults_now().is_full)
		return false;
	errno = ENOSPC;
	return true;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t n)
{
	return is_refused(fd) ? -1 : REAL(write)(fd, data, n);
}

ssize_t writev(int fd, const struct iovec *parts, int n)
{
	return is_refused(fd) ? -1 : REAL(writev)(fd, parts, n);
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t at)
{
	return is_refused(fd) ? -1 : REAL(pwrite)(fd, data, n, at);
}

ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at)
{
	return is_refused(fd) ? -1 : REAL(pwrite64)(fd, data, n, at);
}

int posix_fallocate(int fd, off_t at, off_t n)
{
	return faults_now().is_full ? ENOSPC : REAL(posix_fallocate)(fd, at, n);
}

int fsync(int fd)
{
	sleep_ms(faults_now().slow_ms);
	return REAL(fsync)(fd);
}

int fdatasync(int fd)
{
	sleep_ms(faults_now().slow_ms);
	return REAL(fdatasync)(fd);
}

// Asynchronous writes to files, which is how the log of Raft is written.
static bool is_refused_batch(long number)
{
	if (number != SYS_io_submit)
		return false;
	struct faults f = faults_now();
	sleep_ms(f.slow_ms);
	errno = ENOSPC;
	return f.is_full;
}

long syscall(long number, ...)
{
	long a[6];
	va_list list;
	va_start(list, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(list, long);
	va_end(list);
	if (is_refused_batch(number))
		return -1;
	return REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int clock_gettime(clockid_t id, struct timespec *t)
{
	long code = raw(SYS_clock_gettime, id, (long)t, 0, 0);
	if (code < 0) {
		errno = (int)-code;
		return -1;
	}
	if (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE)
		return 0;
	long ms = faults_now().clock_ms;
	t->tv_sec += ms / 1000;
	t->tv_nsec += ms % 1000 * 1000000;
	if (t->tv_nsec < 0 || t->tv_nsec >= 1000000000) {
		long carry = t->tv_nsec < 0 ? -1 : 1;
		t->tv_sec += carry;
		t->tv_nsec -= carry * 1000000000;
	}
	return 0;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	struct timespec t;
	(void)zone;
	if (clock_gettime(CLOCK_REALTIME, &t) != 0)
		return -1;
	tv->tv_sec = t.tv_sec;
	tv->tv_usec = t.tv_nsec / 1000;
	return 0;
}
