#include "tests/unit/manager/ports.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/check.h"

enum { PORTS_MAX = 32 };

void find_free_ports(uint16_t *ports, unsigned n)
{
	int fds[PORTS_MAX];
	CHECK(n <= PORTS_MAX);
	for (unsigned i = 0; i < n; i++) { // all are held until the last is found, so that they differ
		struct sockaddr_in where = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
		socklen_t size = sizeof where;
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		CHECK(fds[i] >= 0 && bind(fds[i], (struct sockaddr *)&where, sizeof where) == 0);
		CHECK(getsockname(fds[i], (struct sockaddr *)&where, &size) == 0);
		ports[i] = ntohs(where.sin_port);
	}
	for (unsigned i = 0; i < n; i++)
		close(fds[i]);
}
