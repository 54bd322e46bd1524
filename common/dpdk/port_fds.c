#include "common/dpdk/port_fds.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum port_fd_kind { FD_OTHER, FD_SOCKET, FD_TUN, FD_BPF };

static enum port_fd_kind kind_of(int fd)
{
	int domain = 0;
	socklen_t n = sizeof domain;
	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) == 0)
		return domain == AF_PACKET || domain == AF_XDP ? FD_SOCKET : FD_OTHER;
	char path[64];
	char target[64] = "";
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	if (readlink(path, target, sizeof target - 1) <= 0)
		return FD_OTHER;
	if (strcmp(target, "/dev/net/tun") == 0)
		return FD_TUN;
	return strncmp(target, "anon_inode:bpf-", strlen("anon_inode:bpf-")) == 0 ? FD_BPF : FD_OTHER;
}

// Ids are counted from 1 and not used again soon; 0 when the descriptor is none of BPF's.
static uint32_t bpf_id(int fd)
{
	char path[64];
	char line[128];
	uint32_t id = 0;
	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
	FILE *f = fopen(path, "re");
	if (f == NULL)
		return 0;
	while (id == 0 && fgets(line, sizeof line, f) != NULL)
		if (sscanf(line, "map_id: %u", &id) != 1 && sscanf(line, "prog_id: %u", &id) != 1)
			id = 0;
	fclose(f);
	return id;
}

// Calls fn for each descriptor that a port could have.
static void scan(void (*fn)(int fd, enum port_fd_kind kind, void *user), void *user)
{
	DIR *dir = opendir("/proc/self/fd");
	if (dir == NULL)
		return;
	for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
		if (entry->d_name[0] == '.')
			continue;
		int fd = atoi(entry->d_name);
		enum port_fd_kind kind = kind_of(fd);
		if (kind != FD_OTHER)
			fn(fd, kind, user);
	}
	closedir(dir);
}

static void add_to_mark(int fd, enum port_fd_kind kind, void *user)
{
	struct port_fds_mark *mark = user;
	if (mark->n < PORT_FDS_SEEN_MAX)
		mark->fds[mark->n++] = (struct dpdk_bpf_fd){ .fd = fd, .id = kind == FD_BPF ? bpf_id(fd) : 0 };
}

void port_fds_mark(struct port_fds_mark *mark)
{
	mark->n = 0;
	scan(add_to_mark, mark);
}

struct find {
	const struct port_fds_mark *mark;
	struct dpdk_port *port;
};

static void add_to_port(int fd, enum port_fd_kind kind, void *user)
{
	struct find *find = user;
	struct dpdk_port *port = find->port;
	uint32_t id = kind == FD_BPF ? bpf_id(fd) : 0;
	for (uint32_t i = 0; i < find->mark->n; i++)
		if (find->mark->fds[i].fd == fd && find->mark->fds[i].id == id)
			return;
	if (kind == FD_BPF) {
		if (port->n_bpf_fds < DPDK_PORT_BPF_FDS_MAX)
			port->bpf_fds[port->n_bpf_fds++] = (struct dpdk_bpf_fd){ .fd = fd, .id = id };
		return;
	}
	if (port->n_fds == DPDK_PORT_FDS_MAX)
		return;
	port->fd_is_tun[port->n_fds] = kind == FD_TUN;
	port->fds[port->n_fds++] = fd;
}

void port_fds_find(const struct port_fds_mark *mark, struct dpdk_port *port)
{
	struct find find = { .mark = mark, .port = port };
	scan(add_to_port, &find);
}

void port_fds_close_bpf(struct dpdk_port *port)
{
	for (uint32_t i = 0; i < port->n_bpf_fds; i++) {
		const struct dpdk_bpf_fd *bpf = &port->bpf_fds[i];
		if (bpf->id != 0 && kind_of(bpf->fd) == FD_BPF && bpf_id(bpf->fd) == bpf->id)
			close(bpf->fd);
	}
	port->n_bpf_fds = 0;
}
