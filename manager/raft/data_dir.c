#include "manager/raft/data_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/text.h"

static int make_one(const char *path, struct error *err)
{
	if (mkdir(path, 0700) == 0 || errno == EEXIST)
		return 0;
	return error_set(err, ERR_IO, "data_dir: cannot make %s: %s", path, strerror(errno));
}

static int make_with_parents(const char *path, struct error *err)
{
	char part[PATH_MAX];
	if (!text_copy(part, sizeof part, path))
		return error_set(err, ERR_INVALID, "data_dir: the path is too long");
	for (char *slash = strchr(part + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (make_one(part, err) != 0)
			return ERR_IO;
		*slash = '/';
	}
	return make_one(part, err);
}

// The file holds the number of the replica whose directory this is.
static int check_owner(int fd, const char *path, uint64_t replica_id, struct error *err)
{
	char text[32] = "";
	uint64_t owner = 0;
	ssize_t n = pread(fd, text, sizeof text - 1, 0);
	if (n < 0)
		return error_set(err, ERR_IO, "data_dir: cannot read %s: %s", path, strerror(errno));
	if (n > 0) {
		text[strcspn(text, "\n")] = '\0';
		if (text_parse_u64(text, 1, UINT64_MAX, &owner) && owner != replica_id)
			return error_set(err, ERR_CONFLICT, "data_dir: is that of replica %llu, not of %llu; give each its own",
			                 (unsigned long long)owner, (unsigned long long)replica_id);
		return 0;
	}
	(void)text_format(text, sizeof text, "%llu\n", (unsigned long long)replica_id);
	n = (ssize_t)strlen(text);
	if (pwrite(fd, text, (size_t)n, 0) != n || fsync(fd) != 0)
		return error_set(err, ERR_IO, "data_dir: cannot write %s: %s", path, strerror(errno));
	return 0;
}

int data_dir_open(const char *path, uint64_t replica_id, int *ret_lock_fd, struct error *err)
{
	char file[PATH_MAX];
	int code = make_with_parents(path, err);
	if (code != 0)
		return code;
	if (!text_format(file, sizeof file, "%s/replica", path))
		return error_set(err, ERR_INVALID, "data_dir: the path is too long");
	int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_set(err, ERR_IO, "data_dir: cannot open %s: %s", file, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) != 0)
		code = error_set(err, ERR_CONFLICT, "data_dir: another process runs on %s", path);
	else
		code = check_owner(fd, file, replica_id, err);
	if (code != 0) {
		close(fd);
		return code;
	}
	*ret_lock_fd = fd;
	return 0;
}

void data_dir_close(int lock_fd)
{
	if (lock_fd >= 0)
		close(lock_fd);
}
