// A manager that a test plays: anantactl talks to it (ANANTA_MANAGERS), and the test says what it answers.
#pragma once

#include "common/io/conn.h"

// Begins a process that serves with this on_message, and returns once it listens. It knows what the test's variables
// hold at this moment.
void played_begin(void (*on_message)(struct conn *c, struct message *m, void *user));
void played_end(void);
