#include "tests/unit/dpdk/netns.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/socket.h>

bool netns_enter(void)
{
	if (unshare(CLONE_NEWNET | CLONE_NEWNS) != 0)
		return false;
	if (mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		return false;
	if (mount("sysfs", "/sys", "sysfs", 0, NULL) != 0)
		return false;
	netns_run("ip link set lo up");
	return true;
}

void netns_run(const char *format, ...)
{
	char command[512];
	va_list args;
	va_start(args, format);
	vsnprintf(command, sizeof command, format, args);
	va_end(args);
	if (system(command) == 0)
		return;
	fprintf(stderr, "failed: %s\n", command);
	abort();
}

int netns_raw_socket(const char *interface)
{
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(ETH_P_ALL));
	struct sockaddr_ll addr = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = (int)if_nametoindex(interface),
	};
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof addr) != 0)
		abort();
	return fd;
}
