// One health probe: a TCP connection to the VM, and for HTTP a request on it, of whose answer the status line is read.
//
//   CONNECTING --HTTP--> SENDING --> READING --+
//       +------------TCP-----------------------+--on_result--> DRAINING --peer closed, or time over--> closed --on_closed
//
// After the result what the VM still sends is read and thrown away, so that closing sends no RST: a service's log has no
// broken connections because of probes. A socket lives as long as the probe's timeout at most; one of TCP, whose result is there
// with the connection, only a moment more.
// When the loop was late by itself (it opened a VM's port, say), the time that it slept is not the VM's: a probe whose time is
// over looks once more, and waits as long as the loop was late.
// Threads: everything on the thread of the loop.
#pragma once

#include <uv.h>

#include "common/model/ip_addr.h"
#include "hostagent/core/http_status.h"
#include "hostagent/core/probes.h"

struct probe_socket;

struct probe_socket_config {
	uv_loop_t *loop;
	struct ip_addr source; // the probe address of IPv4, and of IPv6; unspecified: the kernel's choice
	struct ip_addr source6;
	const char *device; // every DIP is taken for a neighbour on it (core/probe_path.h); "": by the kernel's routes
	// Once, with the result; cause is "" for a success.
	void (*on_result)(struct probe_socket *s, enum probe_outcome outcome, const char *cause);
	// The socket may be used again, or freed.
	void (*on_closed)(struct probe_socket *s);
};

enum probe_socket_state { PROBE_SOCKET_CONNECTING, PROBE_SOCKET_SENDING, PROBE_SOCKET_READING, PROBE_SOCKET_DRAINING };

struct probe_socket {
	const struct probe_socket_config *config;
	enum probe_socket_state state;
	bool is_closing;
	bool was_extended;
	int fd;
	struct probe_what what;
	uint32_t timeout_ms;
	uint64_t deadline_ns; // uv_hrtime
	uv_poll_t poll;
	uv_timer_t timer;
	uint8_t n_open_handles;
	uint16_t n_request;
	uint16_t n_sent;
	uint8_t n_read;
	uint8_t status_line[HTTP_STATUS_BYTES];
	uint32_t n_drained;
	char request[PROBE_PATH_BYTES + 160];
};

// Begins. ERR_IO with the reason: the probe could not be made, nothing is open, and no callback comes. Else on_result, which may
// come before this returns, and then on_closed, which does not.
NODISCARD int probe_socket_begin(struct probe_socket *s, const struct probe_socket_config *config,
                                 const struct probe_what *what, uint32_t timeout_ms, struct error *err);

// Closes without a result; on_closed comes.
void probe_socket_abort(struct probe_socket *s);
