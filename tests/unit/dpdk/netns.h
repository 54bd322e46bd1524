// A private network namespace for a test program, so that the machine's interfaces are untouched.
#pragma once

#include <stdbool.h>

#define SKIPPED_EXIT 77 // as ctest's SKIP_RETURN_CODE

// Moves the process into a new network namespace with a new /sys. False without the privilege to.
bool netns_enter(void);

// Runs a shell command; aborts the test program when it fails.
void netns_run(const char *format, ...) __attribute__((format(printf, 1, 2)));

// A raw socket on an interface, non-blocking.
int netns_raw_socket(const char *interface);
