// The process that kills the mux when it stands still, so that its tun, its routes and its announcement go: a mux that hangs
// would otherwise keep them for as long as it hangs.
//
// The mux starts itself anew as `ananta-mux --watchdog`, with a page of memory that both share (a memfd, as descriptor 3 of the
// new process). The worker counts its turns there, the control thread those of its loop (a timer). The watchdog looks every
// WATCHDOG_LOOK_US, says on stderr why it kills, and kills with SIGKILL. When the mux is dead, whoever killed it, it sends routers the last
// word (mux/core/bfd_farewell.h) on the uplink's kernel interface, where there is one, and ends: it learns of the death by the end of a
// pipe that nobody else holds. It ignores what service managers and terminals send to all of a group, and is started anew when it dies.
// Threads: the control thread's; watchdog_page_count by the thread that is counted.
#pragma once

#include <stdatomic.h>
#include <uv.h>

#include "common/base/error.h"
#include "mux/core/bfd_farewell.h"
#include "mux/core/watchdog.h"

#define WATCHDOG_ARGUMENT "--watchdog"

struct watchdog_page {
	char magic[8];
	char name[64]; // of the mux, for the log
	char interface[16]; // of the uplink; "": a device that the kernel does not know
	uint32_t limit_ms;
	int32_t pid; // of the mux
	_Atomic uint32_t long_works; // that the control thread is in, one inside the other
	struct {
		_Alignas(64) _Atomic uint64_t n; // one writer
	} turns[WATCHDOG_THREADS];
	_Alignas(64) struct bfd_book bfd;
};

static inline void watchdog_page_count(struct watchdog_page *page, enum watchdog_thread thread)
{
	uint64_t n = atomic_load_explicit(&page->turns[thread].n, memory_order_relaxed);
	atomic_store_explicit(&page->turns[thread].n, n + 1, memory_order_relaxed);
}

// Around what may keep the control thread from its loop for long; the end is a turn. NULL is fine.
static inline void watchdog_page_begin_work(struct watchdog_page *page)
{
	if (page != NULL)
		atomic_fetch_add_explicit(&page->long_works, 1, memory_order_relaxed);
}

static inline void watchdog_page_end_work(struct watchdog_page *page)
{
	if (page == NULL)
		return;
	watchdog_page_count(page, WATCHDOG_CONTROL);
	atomic_fetch_sub_explicit(&page->long_works, 1, memory_order_release);
}

struct watchdog_process;

// Makes the page; nothing watches yet, so that the worker can be given the page before it starts. ERR_IO, ERR_NO_MEMORY.
NODISCARD int watchdog_process_create(const char *name, const char *interface, uint32_t limit_ms,
                                      struct watchdog_process **ret_watchdog, struct error *err);
struct watchdog_page *watchdog_process_page(const struct watchdog_process *w);

// Begins to watch, and to count the turns of the loop. Both threads must be running. ERR_IO.
NODISCARD int watchdog_process_start(struct watchdog_process *w, uv_loop_t *loop, struct error *err);

// Ends the watching; before either thread ends. The memory goes with the loop's handles. NULL is fine.
void watchdog_process_destroy(struct watchdog_process *w);

// What `ananta-mux --watchdog` does; returns its exit status.
int watchdog_process_main(void);
