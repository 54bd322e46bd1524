// Runs the real anantactl from a test, and looks at what it prints and how it exits.
#pragma once

#include <check.h>
#include <stddef.h>
#include <string.h>

// What the last ctl_run printed, on stdout and stderr.
extern char ctl_output[1 << 16];

// Runs a shell command in which "ctl" stands for anantactl; its exit code.
int ctl_run(const char *command);

// ... which must exit with `code` and print each of the texts.
#define CHECK_RUN(command, code, ...)                                                             \
	do {                                                                                          \
		const char *const texts_[] = { __VA_ARGS__ };                                             \
		int code_ = ctl_run(command);                                                             \
		ck_assert_msg(code_ == (code), "%s: exit %d: %s", command, code_, ctl_output);            \
		for (size_t i_ = 0; i_ < sizeof texts_ / sizeof *texts_; i_++)                            \
			ck_assert_msg(strstr(ctl_output, texts_[i_]) != NULL, "%s: %s", command, ctl_output); \
	} while (0)
