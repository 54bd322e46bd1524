#include "common/dpdk/poller.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

int dpdk_poller_init(struct dpdk_poller *p, struct error *err)
{
	atomic_init(&p->n_blind_ports, 0);
	p->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	p->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	if (p->epoll_fd < 0 || p->wake_fd < 0 || epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, p->wake_fd, &event) != 0) {
		int code = error_set(err, ERR_IO, "cannot make a poller: %s", strerror(errno));
		dpdk_poller_fini(p);
		return code;
	}
	return 0;
}

void dpdk_poller_fini(struct dpdk_poller *p)
{
	if (p->epoll_fd >= 0)
		close(p->epoll_fd);
	if (p->wake_fd >= 0)
		close(p->wake_fd);
	p->epoll_fd = -1;
	p->wake_fd = -1;
}

// The tap driver keeps one queue detached to hold the device; such a descriptor is for ever in error and never readable.
static bool is_detached_tun(const struct dpdk_port *port, uint32_t i)
{
	struct pollfd fd = { .fd = port->fds[i], .events = POLLIN };
	return port->fd_is_tun[i] && poll(&fd, 1, 0) == 1 && (fd.revents & POLLERR) != 0;
}

int dpdk_poller_add_port(struct dpdk_poller *p, const struct dpdk_port *port, struct error *err)
{
	uint32_t n_watched = 0;
	for (uint32_t i = 0; i < port->n_fds; i++) {
		if (is_detached_tun(port, i))
			continue;
		struct epoll_event event = { .events = port->fd_is_tun[i] ? EPOLLIN : EPOLLIN | EPOLLET };
		if (epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, port->fds[i], &event) != 0 && errno != EEXIST) {
			int code = error_set(err, ERR_IO, "cannot watch port %s: %s", port->name, strerror(errno));
			dpdk_poller_remove_port(p, port);
			return code;
		}
		n_watched++;
	}
	if (n_watched == 0)
		atomic_fetch_add_explicit(&p->n_blind_ports, 1, memory_order_relaxed);
	dpdk_poller_wake(p);
	return 0;
}

void dpdk_poller_remove_port(struct dpdk_poller *p, const struct dpdk_port *port)
{
	uint32_t n_watched = 0;
	for (uint32_t i = 0; i < port->n_fds; i++)
		if (epoll_ctl(p->epoll_fd, EPOLL_CTL_DEL, port->fds[i], NULL) == 0)
			n_watched++;
	if (n_watched == 0)
		atomic_fetch_sub_explicit(&p->n_blind_ports, 1, memory_order_relaxed);
}

// How long a port may go unseen: longer the longer nothing came.
static uint32_t blind_us(uint32_t idle_polls)
{
	uint32_t n_doublings = (idle_polls - POLLER_IDLE_POLLS) / POLLER_BLIND_POLLS;
	return n_doublings < POLLER_BLIND_DOUBLINGS ? POLLER_BLIND_US << n_doublings
	                                            : POLLER_BLIND_US << POLLER_BLIND_DOUBLINGS;
}

void dpdk_poller_wait(struct dpdk_poller *p, struct dpdk_rcu *rcu, uint32_t worker, uint32_t idle_polls,
                      uint32_t timeout_us)
{
	if (__builtin_expect(idle_polls < POLLER_IDLE_POLLS, 1))
		return;
	uint32_t us = timeout_us;
	if (atomic_load_explicit(&p->n_blind_ports, memory_order_relaxed) > 0 && us > blind_us(idle_polls))
		us = blind_us(idle_polls);
	struct timespec timeout = { .tv_sec = us / 1000000, .tv_nsec = (long)(us % 1000000) * 1000 };
	struct epoll_event events[8];
	if (rcu != NULL)
		dpdk_rcu_offline(rcu, worker);
	// The wake descriptor is edge-triggered and never read: each write is one edge, and it cannot overflow in 2^64 writes.
	(void)epoll_pwait2(p->epoll_fd, events, 8, &timeout, NULL);
	if (rcu != NULL)
		dpdk_rcu_online(rcu, worker);
}

void dpdk_poller_wake(struct dpdk_poller *p)
{
	uint64_t one = 1;
	(void)!write(p->wake_fd, &one, sizeof one);
}
