#include "common/io/state_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "common/io/log.h"

#define LOCK_TRIES 100 // 20 ms apart
#define TMPFS_MAGIC_NUMBER 0x01021994 // linux/magic.h
#define RAMFS_MAGIC_NUMBER 0x858458f6

static int make_directories(const char *path, struct error *err)
{
	char part[STATE_DIR_BYTES];
	snprintf(part, sizeof part, "%s", path);
	for (char *slash = strchr(part + 1, '/');; slash = strchr(slash + 1, '/')) {
		if (slash != NULL)
			*slash = '\0';
		if (mkdir(part, slash != NULL ? 0755 : 0700) != 0 && errno != EEXIST)
			return error_set(err, ERR_IO, "state_dir: cannot make %s: %s", part, strerror(errno));
		if (slash == NULL)
			return 0;
		*slash = '/';
	}
}

void state_dir_warn_of_disk(const struct state_dir *d)
{
	struct statfs fs;
	if (statfs(d->path, &fs) != 0)
		return;
	unsigned long type = (unsigned long)fs.f_type & 0xffffffffu;
	if (type != TMPFS_MAGIC_NUMBER && type != RAMFS_MAGIC_NUMBER)
		log_warn("state-dir-on-disk", "path=%s text=\"not a tmpfs: packets may wait for the disk\"", d->path);
}

static int lock(struct state_dir *d, struct error *err)
{
	char path[STATE_PATH_BYTES];
	d->lock_fd = open(state_dir_path(d, "lock", path), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (d->lock_fd < 0)
		return error_set(err, ERR_IO, "state_dir: cannot open %s: %s", path, strerror(errno));
	for (int i = 0; i < LOCK_TRIES; i++) {
		if (flock(d->lock_fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
	}
	state_dir_close(d);
	return error_set(err, ERR_CONFLICT, "state_dir: another process is using %s", d->path);
}

int state_dir_open(struct state_dir *d, const char *path, struct error *err)
{
	d->lock_fd = -1;
	snprintf(d->path, sizeof d->path, "%s", path);
	int code = make_directories(d->path, err);
	if (code != 0)
		return code;
	return lock(d, err);
}

void state_dir_close(struct state_dir *d)
{
	if (d->lock_fd >= 0)
		close(d->lock_fd);
	d->lock_fd = -1;
}

const char *state_dir_path(const struct state_dir *d, const char *name, char *buf)
{
	snprintf(buf, STATE_PATH_BYTES, "%s/%s", d->path, name);
	return buf;
}
