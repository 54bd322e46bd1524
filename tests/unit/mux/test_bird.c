// The mux's side of BIRD: the file, BIRD's control socket as somebody plays it, and BIRD's own check where it is installed.
#include "tests/support/suite.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "mux/bgp/bird.h"

static char folder[32];
static struct bird_files files;

static void set_up(void)
{
	strcpy(folder, "/tmp/bird.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	files = (struct bird_files){ .program = "/usr/sbin/bird" };
	(void)text_format(files.control, sizeof files.control, "%s/ctl", folder);
	(void)text_format(files.file, sizeof files.file, "%s/bird.conf", folder);
}

static void tear_down(void)
{
	unlink(files.control);
	unlink(files.file);
	ck_assert_int_eq(rmdir(folder), 0); // nothing else is left
}

static void assert_file(const char *text)
{
	struct stat st;
	char *there;
	ck_assert_int_eq(stat(files.file, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	ck_assert_int_eq(bird_read_file(files.file, &there, NULL), 0);
	ck_assert_str_eq(there, text);
	memory_free(there);
}

static bool write_file(const char *text)
{
	struct error err = { 0 };
	bool is_changed;
	ck_assert_msg(bird_write_file(&files, text, &is_changed, &err) == 0, "%s", err.text);
	return is_changed;
}

START_TEST(the_file_is_written_when_it_says_something_else)
{
	set_up();
	ck_assert(write_file("one\n"));
	assert_file("one\n");
	ck_assert(!write_file("one\n"));
	ck_assert(write_file("another one\n"));
	assert_file("another one\n");
	ck_assert_int_eq(chmod(files.file, 0644), 0); // others could read the password
	ck_assert(write_file("another one\n"));
	assert_file("another one\n");
	tear_down();
}
END_TEST

START_TEST(a_folder_that_does_not_exist_is_named)
{
	set_up();
	struct error err = { 0 };
	bool is_changed;
	(void)text_format(files.file, sizeof files.file, "%s/none/bird.conf", folder);
	ck_assert_int_eq(bird_write_file(&files, "one\n", &is_changed, &err), ERR_IO);
	ck_assert_ptr_nonnull(strstr(err.text, "/none/bird.conf.new"));
	tear_down();
}
END_TEST

START_TEST(the_file_becomes_that_of_the_user_whom_the_control_socket_belongs_to)
{
	if (geteuid() != 0)
		return;
	set_up();
	int fd = open(files.control, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	ck_assert_int_eq(fchown(fd, 12345, 12346), 0);
	close(fd);
	ck_assert(write_file("one\n"));
	struct stat st;
	ck_assert_int_eq(stat(files.file, &st), 0);
	ck_assert_uint_eq(st.st_uid, 12345);
	ck_assert_uint_eq(st.st_gid, 12346);
	ck_assert_int_eq(chown(files.file, 0, 0), 0); // BIRD could not read it any more
	ck_assert(write_file("one\n"));
	assert_file("one\n");
	tear_down();
}
END_TEST

// ---- the control socket ----

struct played_bird {
	int fd;
	const char *greeting;
	const char *answer;
	char heard[64];
	pthread_t thread;
};

static void *play(void *arg)
{
	struct played_bird *b = arg;
	int fd = accept(b->fd, NULL, NULL);
	(void)!write(fd, b->greeting, strlen(b->greeting));
	ssize_t n = b->answer != NULL ? read(fd, b->heard, sizeof b->heard - 1) : 0;
	if (n > 0)
		(void)!write(fd, b->answer, strlen(b->answer));
	close(fd);
	return NULL;
}

static void start_bird(struct played_bird *b)
{
	struct sockaddr_un where = { .sun_family = AF_UNIX };
	strcpy(where.sun_path, files.control);
	b->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(b->fd, (struct sockaddr *)&where, sizeof where), 0);
	ck_assert_int_eq(listen(b->fd, 1), 0);
	ck_assert_int_eq(pthread_create(&b->thread, NULL, play, b), 0);
}

static int configure(const char *greeting, const char *answer, struct error *err)
{
	struct played_bird b = { .greeting = greeting, .answer = answer };
	set_up();
	start_bird(&b);
	*err = (struct error){ 0 };
	int code = bird_configure(&files, err);
	pthread_join(b.thread, NULL);
	close(b.fd);
	if (answer != NULL)
		ck_assert_str_eq(b.heard, "configure\n");
	tear_down();
	return code;
}

START_TEST(bird_is_asked_to_configure_itself)
{
	struct error err;
	ck_assert_int_eq(
		configure("0001 BIRD 2.0.12 ready.\n", "0002-Reading configuration from x\n0003 Reconfigured\n", &err), 0);
	ck_assert_int_eq(configure("0001 BIRD 2.0.12 ready.\n",
	                           "0002-Reading configuration from x\n0004 Reconfiguration in progress\n", &err),
	                 0);
}
END_TEST

START_TEST(what_bird_refuses_is_said)
{
	struct error err;
	ck_assert_int_eq(
		configure("0001 BIRD 2.0.12 ready.\n", "0002-Reading configuration from x\n8002 x:3:1 syntax error\n", &err),
		ERR_INVALID);
	ck_assert_str_eq(err.text, "BIRD refuses it: x:3:1 syntax error");
}
END_TEST

START_TEST(a_bird_that_goes_away_in_between_did_not_answer)
{
	struct error err;
	ck_assert_int_eq(configure("0001 BIRD 2.0.12 ready.\n", "0002-Reading configuration from x\n", &err), ERR_TIMEOUT);
	ck_assert_int_eq(configure("", NULL, &err), ERR_TIMEOUT);
}
END_TEST

START_TEST(a_bird_that_does_not_run_is_no_failure_of_its_own)
{
	set_up();
	ck_assert_int_eq(bird_configure(&files, NULL), ERR_UNAVAILABLE);
	tear_down();
}
END_TEST

// ---- BIRD's own check ----

static struct ip_addr addr(const char *text)
{
	struct ip_addr a;
	ck_assert_int_eq(ip_addr_parse(text, &a, NULL), 0);
	return a;
}

START_TEST(a_bird_that_is_not_installed_is_told_apart)
{
	set_up();
	strcpy(files.program, "/nowhere/bird");
	ck_assert_int_eq(bird_check_text(&files, "", NULL), ERR_NOT_FOUND);
	tear_down();
}
END_TEST

START_TEST(bird_takes_what_the_mux_writes_and_refuses_other_things)
{
	set_up();
	if (access(files.program, X_OK) != 0) {
		tear_down();
		return;
	}
	static char text[BIRD_CONFIG_BYTES_MAX];
	struct bgp_config c = { .as = 65001,
		                    .router_id = addr("10.0.0.31"),
		                    .n_peers = 2,
		                    .has_bfd = true,
		                    .bfd_interval_ms = 100,
		                    .bfd_multiplier = 3,
		                    .hold_s = 9,
		                    .keepalive_s = 3 };
	struct bird_place at = { .address = addr("10.0.0.31"), .tap = "mux0", .table = 100 };
	struct error err = { 0 };
	c.peers[0] = (struct bgp_peer){ .name = "filter", .address = addr("10.0.0.1"), .as = 65000, .ttl_security = true };
	for (int i = 0, n = 0; i < BGP_PASSWORD_BYTES - 1; i++, n++) { // all that is allowed
		char next = (char)(' ' + n % 95);
		c.peers[0].password[i] = next == '"' || next == '\\' ? 'x' : next;
	}
	c.peers[1] = (struct bgp_peer){ .name = "path", .address = addr("10.9.0.1"), .as = 65001, .multihop = 2 };
	ck_assert_int_eq(bgp_config_check(&c, NULL), 0);
	ck_assert_int_eq(bird_config_format(&c, &at, text, sizeof text), 0);
	ck_assert_msg(bird_check_text(&files, text, &err) == 0, "%s", err.text);
	ck_assert_int_eq(bird_check_text(&files, "router id 10.0.0.1;\nprotocol nonsense { }\n", &err), ERR_INVALID);
	ck_assert_ptr_nonnull(strstr(err.text, "BIRD refuses it: "));
	ck_assert_ptr_nonnull(strstr(err.text, ":2:"));
	ck_assert(write_file(text));
	ck_assert_int_eq(bird_check_file(&files, files.file, &err), 0);
	ck_assert_int_eq(bird_check_file(&files, "/nowhere/bird.conf", &err), ERR_IO);
	tear_down();
}
END_TEST

SUITE_MAIN("mux BIRD", the_file_is_written_when_it_says_something_else, a_folder_that_does_not_exist_is_named,
           the_file_becomes_that_of_the_user_whom_the_control_socket_belongs_to, bird_is_asked_to_configure_itself,
           what_bird_refuses_is_said, a_bird_that_goes_away_in_between_did_not_answer,
           a_bird_that_does_not_run_is_no_failure_of_its_own, a_bird_that_is_not_installed_is_told_apart,
           bird_takes_what_the_mux_writes_and_refuses_other_things)
