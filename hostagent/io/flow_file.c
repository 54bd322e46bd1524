#include "hostagent/io/flow_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io/log.h"

#define HUGE_PAGE_BYTES ((size_t)2 << 20)

// ---- Memory ----

// Reserves addresses for the whole block such that the index begins on a huge page, and gives the index its memory.
static uint8_t *reserve_block(struct flow_file *f, uint32_t capacity, struct error *err)
{
	size_t persistent = flow_table_persistent_bytes(capacity);
	size_t bytes = flow_table_bytes(capacity);
	f->map_bytes = bytes + HUGE_PAGE_BYTES;
	f->map = mmap(NULL, f->map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (f->map == MAP_FAILED) {
		f->map = NULL;
		error_set(err, ERR_NO_MEMORY, "no memory for %" PRIu32 " flows (%zu MB)", capacity, bytes >> 20);
		return NULL;
	}
	uintptr_t index = ((uintptr_t)f->map + persistent + HUGE_PAGE_BYTES - 1) & ~(uintptr_t)(HUGE_PAGE_BYTES - 1);
	(void)madvise((void *)index, bytes - persistent, MADV_HUGEPAGE); // without them it is slower, no more
	return (uint8_t *)(index - persistent);
}

// Puts the file's pages in the place of the block's persistent part.
static int map_entries(uint8_t *block, int fd, uint32_t capacity, struct error *err)
{
	size_t bytes = flow_table_persistent_bytes(capacity);
	void *at = mmap(block, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd, 0);
	if (at == MAP_FAILED)
		return error_set(err, ERR_IO, "cannot map the flow table: %s", strerror(errno));
	(void)madvise(block, bytes, MADV_HUGEPAGE);
	return 0;
}

// Whose table it is: this host's, since this boot (the times in it count from there).
static uint64_t owner_of(const char *host)
{
	char boot_id[64] = "";
	FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
	if (file != NULL) {
		if (fgets(boot_id, sizeof boot_id, file) == NULL)
			boot_id[0] = '\0';
		fclose(file);
	}
	return hash_bytes(host, strlen(host), hash_bytes(boot_id, strlen(boot_id), 1));
}

// ---- What is there ----

static int open_existing(const char *path, size_t *ret_bytes, struct error *err)
{
	struct stat st;
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return error_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_MALFORMED, "cannot open %s: %s", path,
		                 strerror(errno));
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077) != 0) {
		close(fd);
		return error_set(err, ERR_MALFORMED, "it is no regular file of our own that nobody else may touch");
	}
	*ret_bytes = (size_t)st.st_size;
	return fd;
}

static void set_aside(const struct state_dir *dir, const char *path, const struct error *why)
{
	char aside[STATE_PATH_BYTES];
	int code = rename(path, state_dir_path(dir, "flows.damaged", aside));
	log_warn("flow-file-set-aside", "path=%s kept_as=%s text=\"%s\"", path, code == 0 ? aside : "nothing", why->text);
	if (code != 0)
		unlink(path);
}

// A file of a layout before IPv6: it gets room for addresses, and is what it was otherwise.
static int grow(int fd, size_t from, size_t to, struct error *err)
{
	int cause = posix_fallocate(fd, (off_t)from, (off_t)(to - from));
	return cause == 0
	           ? 0
	           : error_set(err, ERR_IO, "no room for the flow table to grow to %zu MB: %s", to >> 20, strerror(cause));
}

// Attaches to the file as it is. 0: *ret_table is ready.
static int attach(uint8_t *block, int fd, size_t file_bytes, uint32_t capacity, uint64_t owner,
                  struct addr_names *names, struct mono_time now, struct flow_table *ret_table, struct error *err)
{
	if (file_bytes == flow_table_persistent_bytes_ip4(capacity)) {
		int code = grow(fd, file_bytes, flow_table_persistent_bytes(capacity), err);
		if (code != 0)
			return code;
	} else if (file_bytes != flow_table_persistent_bytes(capacity)) {
		return error_set(err, ERR_MALFORMED, "it has %zu bytes, not %zu", file_bytes,
		                 flow_table_persistent_bytes(capacity));
	}
	int code = map_entries(block, fd, capacity, err);
	if (code != 0)
		return code;
	return flow_table_attach(ret_table, block, flow_table_bytes(capacity), capacity, owner, names, now, err);
}

// ---- A new file ----

static int create_file(const char *path, uint32_t capacity, struct error *err)
{
	(void)unlink(path);
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return error_set(err, ERR_IO, "cannot make %s: %s", path, strerror(errno));
	int cause = posix_fallocate(fd, 0, (off_t)flow_table_persistent_bytes(capacity));
	if (cause == 0)
		return fd;
	close(fd);
	(void)unlink(path);
	return error_set(err, ERR_IO, "no room for %s (%zu MB for max_flows %" PRIu32 "): %s", path,
	                 flow_table_persistent_bytes(capacity) >> 20, capacity, strerror(cause));
}

// An empty table in a new file; the file gets its name when it is whole.
static int make_table(const struct state_dir *dir, const char *path, uint8_t *block, uint32_t capacity, uint64_t owner,
                      struct addr_names *names, struct mono_time now, const struct flow_table *carry_over,
                      struct flow_table *ret_table, struct error *err)
{
	char new_path[STATE_PATH_BYTES];
	uint64_t seed;
	if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
		return error_set(err, ERR_IO, "no random numbers: %s", strerror(errno));
	int fd = create_file(state_dir_path(dir, "flows.new", new_path), capacity, err);
	if (fd < 0)
		return fd;
	int code = map_entries(block, fd, capacity, err);
	close(fd);
	if (code != 0)
		return code;
	flow_table_init(ret_table, block, capacity, seed, owner, names, now);
	if (carry_over != NULL) {
		uint32_t n_left = flow_table_copy(ret_table, carry_over);
		log_info("flow-file-carried-over", "flows=%" PRIu32 " without_room=%" PRIu32, ret_table->n_flows, n_left);
	}
	if (rename(new_path, path) != 0)
		return error_set(err, ERR_IO, "cannot name %s: %s", path, strerror(errno));
	return 0;
}

// max_flows was changed: the old table is attached once more, in memory of its own, and its flows move to the new one.
static int carry_over(const struct state_dir *dir, const char *path, uint8_t *block, int fd, size_t file_bytes,
                      uint32_t old_capacity, uint32_t capacity, uint64_t owner, struct addr_names *names,
                      struct mono_time now, struct flow_table *ret_table, struct error *err)
{
	struct flow_file old = { 0 };
	struct flow_table old_table;
	uint8_t *old_block = reserve_block(&old, old_capacity, err);
	if (old_block == NULL)
		return ERR_NO_MEMORY;
	int code = attach(old_block, fd, file_bytes, old_capacity, owner, names, now, &old_table, err);
	if (code == 0)
		code = make_table(dir, path, block, capacity, owner, names, now, &old_table, ret_table, err);
	flow_file_close(&old);
	return code;
}

static uint32_t capacity_in(int fd, size_t file_bytes, uint64_t owner)
{
	uint8_t head[64];
	if (pread(fd, head, sizeof head, 0) != (ssize_t)sizeof head)
		return 0;
	uint32_t capacity = flow_table_capacity_of(head, sizeof head, owner);
	bool fits = capacity != 0 && (file_bytes == flow_table_persistent_bytes(capacity) ||
	                              file_bytes == flow_table_persistent_bytes_ip4(capacity));
	return fits ? capacity : 0;
}

// ---- Opening ----

static int use_existing(const struct state_dir *dir, const char *path, uint8_t *block, uint32_t capacity,
                        uint64_t owner, struct addr_names *names, struct mono_time now, struct flow_table *ret_table,
                        struct error *err)
{
	size_t file_bytes = 0;
	int fd = open_existing(path, &file_bytes, err);
	if (fd < 0)
		return fd;
	uint32_t old_capacity = capacity_in(fd, file_bytes, owner);
	int code =
		old_capacity == 0 || old_capacity == capacity
			? attach(block, fd, file_bytes, capacity, owner, names, now, ret_table, err)
			: carry_over(dir, path, block, fd, file_bytes, old_capacity, capacity, owner, names, now, ret_table, err);
	close(fd);
	return code;
}

int flow_file_open(struct flow_file *f, const struct state_dir *dir, const char *host, uint32_t capacity,
                   struct addr_names *names, struct mono_time now, struct flow_table *ret_table, struct error *err)
{
	char path[STATE_PATH_BYTES];
	uint64_t owner = owner_of(host);
	memset(f, 0, sizeof *f);
	uint8_t *block = reserve_block(f, capacity, err);
	if (block == NULL)
		return ERR_NO_MEMORY;
	struct error why = { 0 };
	int code =
		use_existing(dir, state_dir_path(dir, "flows", path), block, capacity, owner, names, now, ret_table, &why);
	if (code == 0) {
		f->is_restored = true;
		return 0;
	}
	if (code == ERR_MALFORMED || code == ERR_VERSION) {
		set_aside(dir, path, &why);
	} else if (code != ERR_NOT_FOUND) { // the file may be good: it is not ours to throw away
		flow_file_close(f);
		return error_set(err, why.code, "%s", why.text);
	}
	code = make_table(dir, path, block, capacity, owner, names, now, NULL, ret_table, err);
	if (code != 0)
		flow_file_close(f);
	return code;
}

void flow_file_close(struct flow_file *f)
{
	if (f->map != NULL)
		(void)munmap(f->map, f->map_bytes);
	f->map = NULL;
}
