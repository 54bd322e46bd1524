#include "common/io/store_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/wire/changes.h"

#define STORE_FILE_BYTES_MAX ((off_t)256 << 20)

static int write_file(const char *path, const uint8_t *bytes, size_t n, struct error *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return error_set(err, ERR_IO, "cannot make %s: %s", path, strerror(errno));
	for (size_t done = 0; done < n;) {
		ssize_t written = write(fd, bytes + done, n - done);
		if (written <= 0) {
			int code = error_set(err, ERR_IO, "cannot write %s: %s", path, strerror(errno));
			close(fd);
			return code;
		}
		done += (size_t)written;
	}
	close(fd);
	return 0;
}

int store_file_save(const struct state_dir *dir, const struct store *store, const struct snat_image *leases,
                    struct error *err)
{
	struct state_snapshot all = { .version = store->version, .snat = *leases }; // borrowed
	if (store_get_all(store, &all.objects) != 0)
		return error_set(err, ERR_NO_MEMORY, "no memory to save the configuration");
	int code = store_file_write(dir, &all, err);
	change_list_fini(&all.objects);
	return code;
}

int store_file_write(const struct state_dir *dir, const struct state_snapshot *all, struct error *err)
{
	char path[STATE_PATH_BYTES];
	char new_path[STATE_PATH_BYTES];
	uint8_t *bytes;
	size_t n;
	int code = snapshot_encode(all, &bytes, &n);
	if (code != 0)
		return error_set(err, (enum error_code)code, "no memory to save the configuration");
	code = write_file(state_dir_path(dir, "config.new", new_path), bytes, n, err);
	memory_free(bytes);
	if (code == 0 && rename(new_path, state_dir_path(dir, "config", path)) != 0)
		code = error_set(err, ERR_IO, "cannot name %s: %s", path, strerror(errno));
	return code;
}

static int read_file(const char *path, uint8_t **ret_bytes, size_t *ret_n, struct error *err)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return error_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "cannot open %s: %s", path, strerror(errno));
	int code = 0;
	uint8_t *bytes = NULL;
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > STORE_FILE_BYTES_MAX)
		code = error_set(err, ERR_MALFORMED, "%s is no configuration of ours", path);
	else if ((bytes = memory_array((size_t)st.st_size + 1, 1)) == NULL)
		code = error_set(err, ERR_NO_MEMORY, "no memory to read %s", path);
	else if (read(fd, bytes, (size_t)st.st_size) != st.st_size)
		code = error_set(err, ERR_IO, "cannot read %s", path);
	close(fd);
	if (code != 0) {
		memory_free(bytes);
		return code;
	}
	*ret_bytes = bytes;
	*ret_n = (size_t)st.st_size;
	return 0;
}

static int decode_file(const char *path, struct state_snapshot *ret_saved, struct error *err)
{
	uint8_t *bytes = NULL;
	size_t n = 0;
	int code = read_file(path, &bytes, &n, err);
	if (code != 0)
		return code;
	code = snapshot_decode(bytes, n, ret_saved, err);
	memory_free(bytes);
	return code == 0 ? 0 : error_prefix(err, "%s: ", path);
}

int store_file_load(const struct state_dir *dir, struct store *store, struct snat_image *ret_leases, struct error *err)
{
	char path[STATE_PATH_BYTES];
	char kept_path[STATE_PATH_BYTES];
	struct state_snapshot saved;
	int code = decode_file(state_dir_path(dir, "config", path), &saved, err);
	if (code == ERR_MALFORMED || code == ERR_VERSION)
		(void)rename(path, state_dir_path(dir, "config.damaged", kept_path));
	if (code != 0)
		return code;
	code = store_apply_update(store, &saved.objects, true, saved.version);
	if (code == 0) {
		change_list_fini(&saved.objects);
		*ret_leases = saved.snat;
		return 0;
	}
	state_snapshot_fini(&saved);
	store_fini(store);
	return error_set(err, ERR_NO_MEMORY, "no memory for the configuration in %s", path);
}
