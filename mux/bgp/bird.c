#include "mux/bgp/bird.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/base/text.h"

#define FILE_BYTES_MAX (1 << 20)
#define WORDS_BYTES 400 // of BIRD's, that are kept

extern char **environ;

static int fail(struct error *err, const char *what, const char *path)
{
	return error_set(err, ERR_IO, "cannot %s %s: %s", what, path, strerror(errno));
}

// ---- files ----

int bird_read_file(const char *path, char **ret_text, struct error *err)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "cannot open %s: %s", path, strerror(errno));
	char *text = memory_array(FILE_BYTES_MAX + 1, 1);
	ssize_t n = -1;
	int code = 0;
	if (text == NULL)
		code = error_set(err, ERR_NO_MEMORY, "out of memory");
	else if (fstat(fd, &st) != 0 || (n = read(fd, text, FILE_BYTES_MAX)) < 0)
		code = fail(err, "read", path);
	else if (st.st_size > FILE_BYTES_MAX)
		code = error_set(err, ERR_LIMIT, "%s is larger than 1 MiB", path);
	close(fd);
	if (code != 0) {
		memory_free(text);
		return code;
	}
	text[n] = '\0';
	*ret_text = text;
	return 0;
}

static int write_all(int fd, const char *text, size_t n)
{
	while (n > 0) {
		ssize_t written = write(fd, text, n);
		if (written <= 0)
			return ERR_IO;
		text += written;
		n -= (size_t)written;
	}
	return 0;
}

// Whom the file belongs to. BIRD gives its control socket to the user that it runs as.
static void find_owner(const struct bird_files *f, struct stat *ret_owner)
{
	char folder[BIRD_PATH_BYTES];
	(void)text_copy(folder, sizeof folder, f->file);
	char *slash = strrchr(folder, '/');
	if (slash != NULL)
		slash[slash == folder ? 1 : 0] = '\0';
	if (stat(f->control, ret_owner) == 0 || stat(f->file, ret_owner) == 0 || stat(folder, ret_owner) == 0)
		return;
	ret_owner->st_uid = geteuid();
	ret_owner->st_gid = getegid();
}

static bool is_as_wanted(const struct bird_files *f, const char *text, const struct stat *owner)
{
	struct stat st;
	char *there;
	if (stat(f->file, &st) != 0 || st.st_uid != owner->st_uid || (st.st_mode & 07777) != 0600 ||
	    bird_read_file(f->file, &there, NULL) != 0)
		return false;
	bool is_same = strcmp(there, text) == 0;
	memory_free(there);
	return is_same;
}

static int write_new(const char *path, const char *text, const struct stat *owner, struct error *err)
{
	(void)unlink(path); // what an earlier start left
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fail(err, "make", path);
	int code = 0;
	if (write_all(fd, text, strlen(text)) != 0 || fsync(fd) != 0)
		code = fail(err, "write", path);
	else if ((owner->st_uid != geteuid() || owner->st_gid != getegid()) &&
	         fchown(fd, owner->st_uid, owner->st_gid) != 0)
		code = fail(err, "give BIRD's user", path);
	close(fd);
	return code;
}

int bird_write_file(const struct bird_files *f, const char *text, bool *ret_is_changed, struct error *err)
{
	char new_path[BIRD_PATH_BYTES + 8];
	struct stat owner;
	find_owner(f, &owner);
	*ret_is_changed = !is_as_wanted(f, text, &owner);
	if (!*ret_is_changed)
		return 0;
	(void)text_format(new_path, sizeof new_path, "%s.new", f->file);
	int code = write_new(new_path, text, &owner, err);
	if (code == 0 && rename(new_path, f->file) != 0)
		code = fail(err, "name", f->file);
	if (code != 0)
		(void)unlink(new_path);
	return code;
}

// ---- BIRD's check ----

// One line of what BIRD wrote.
static void read_words(int fd, char *words, size_t size)
{
	size_t n = 0;
	char rest[256];
	for (;;) {
		ssize_t got = n + 1 < size ? read(fd, words + n, size - 1 - n) : read(fd, rest, sizeof rest);
		if (got <= 0)
			break;
		if (n + 1 < size)
			n += (size_t)got;
	}
	words[n] = '\0';
	while (n > 0 && words[n - 1] == '\n')
		words[--n] = '\0';
	for (char *at = words; (at = strchr(at, '\n')) != NULL;)
		*at = ' ';
}

// `bird -p -c path`, with `inherited` (-1: none) as descriptor 3. 0 and its exit status and words; or errno.
static int run_check(const char *program, const char *path, int inherited, int *ret_status, char *words, size_t size)
{
	char *arguments[] = { "bird", "-p", "-c", (char *)path, NULL };
	posix_spawn_file_actions_t actions;
	int fds[2];
	pid_t pid;
	if (pipe2(fds, O_CLOEXEC) != 0)
		return errno;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, fds[1], STDERR_FILENO);
	if (inherited >= 0)
		posix_spawn_file_actions_adddup2(&actions, inherited, 3);
	int cause = posix_spawn(&pid, program, &actions, NULL, arguments, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(fds[1]);
	if (cause == 0) {
		read_words(fds[0], words, size);
		while (waitpid(pid, ret_status, 0) < 0 && errno == EINTR)
			;
	}
	close(fds[0]);
	return cause;
}

static int check(const struct bird_files *f, const char *path, int inherited, struct error *err)
{
	char words[WORDS_BYTES] = "";
	int status = 0;
	if (access(f->program, X_OK) != 0)
		return error_set(err, ERR_NOT_FOUND, "%s: %s", f->program, strerror(errno));
	int cause = run_check(f->program, path, inherited, &status, words, sizeof words);
	if (cause != 0)
		return error_set(err, ERR_IO, "cannot run %s: %s", f->program, strerror(cause));
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return error_set(err, ERR_INVALID, "BIRD refuses it: %s", words[0] != '\0' ? words : "without saying why");
	return 0;
}

int bird_check_text(const struct bird_files *f, const char *text, struct error *err)
{
	int fd = memfd_create("bird.conf", MFD_CLOEXEC);
	if (fd < 0 || write_all(fd, text, strlen(text)) != 0) {
		if (fd >= 0)
			close(fd);
		return error_set(err, ERR_IO, "no memory for BIRD to read");
	}
	int code = check(f, "/proc/self/fd/3", fd, err);
	close(fd);
	return code;
}

int bird_check_file(const struct bird_files *f, const char *path, struct error *err)
{
	if (access(path, R_OK) != 0)
		return fail(err, "read", path);
	return check(f, path, -1, err);
}

// ---- the control socket ----

static int open_control(const struct bird_files *f, struct error *err)
{
	struct sockaddr_un where = { .sun_family = AF_UNIX };
	struct timeval patience = { .tv_sec = BIRD_PATIENCE_MS / 1000, .tv_usec = BIRD_PATIENCE_MS % 1000 * 1000 };
	(void)text_copy(where.sun_path, sizeof where.sun_path, f->control);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fail(err, "reach BIRD by", f->control);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	if (connect(fd, (struct sockaddr *)&where, sizeof where) == 0)
		return fd;
	error_set(err, ERR_UNAVAILABLE, "BIRD does not answer on %s: %s", f->control, strerror(errno));
	close(fd);
	return ERR_UNAVAILABLE;
}

// An answer is lines "0002-text", " text", and a last one "0003 text": the code of that, and its text; or 0 when none comes.
static unsigned read_answer(FILE *from, char *words, size_t size)
{
	char line[512];
	while (fgets(line, sizeof line, from) != NULL) {
		char *end;
		unsigned long code = strtoul(line, &end, 10);
		if (end - line != 4 || (*end != ' ' && *end != '-'))
			continue;
		line[strcspn(line, "\n")] = '\0';
		if (*end == ' ' || code >= 8000)
			(void)text_format(words, size, "%.300s", end + 1);
		if (*end == ' ')
			return (unsigned)code;
	}
	return 0;
}

int bird_configure(const struct bird_files *f, struct error *err)
{
	static const char command[] = "configure\n";
	char words[WORDS_BYTES] = "";
	int fd = open_control(f, err);
	if (fd < 0)
		return fd;
	FILE *answers = fdopen(fd, "r");
	if (answers == NULL) {
		close(fd);
		return error_set(err, ERR_NO_MEMORY, "out of memory");
	}
	unsigned code = read_answer(answers, words, sizeof words); // its greeting
	if (code != 0 && write_all(fd, command, sizeof command - 1) == 0)
		code = read_answer(answers, words, sizeof words);
	else
		code = 0;
	fclose(answers);
	if (code == 0)
		return error_set(err, ERR_TIMEOUT, "BIRD did not answer on %s", f->control);
	return code < 8000 ? 0 : error_set(err, ERR_INVALID, "BIRD refuses it: %s", words);
}
