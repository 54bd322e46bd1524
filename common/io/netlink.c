#include "common/io/netlink.h"

#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/memory.h"

enum {
	RECEIVE_BYTES = 32768,
	REQUEST_BYTES = 512, // the largest single request, with room to spare
	BATCH_BYTES = 16384, // of route requests in one system call; their acknowledgements fit the socket
	SOCKET_BUFFER_BYTES = 4 << 20, // so that a dump of 20,000 routes and the acknowledgements of a batch fit
};

struct netlink {
	struct mnl_socket *socket;
	uint32_t port;
	uint32_t seq;
};

int netlink_open(struct netlink **ret_netlink, struct error *err)
{
	struct netlink *nl = memory_array(1, sizeof *nl);
	if (nl == NULL)
		return error_set(err, ERR_NO_MEMORY, "netlink: no memory");
	nl->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	if (nl->socket == NULL || mnl_socket_bind(nl->socket, 0, MNL_SOCKET_AUTOPID) < 0) {
		int code = error_set(err, ERR_IO, "netlink: cannot open a socket: %s", strerror(errno));
		netlink_close(nl);
		return code;
	}
	int bytes = SOCKET_BUFFER_BYTES;
	int fd = mnl_socket_get_fd(nl->socket);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) != 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes); // unprivileged: as much as allowed
	nl->port = mnl_socket_get_portid(nl->socket);
	*ret_netlink = nl;
	return 0;
}

void netlink_close(struct netlink *nl)
{
	if (nl == NULL)
		return;
	if (nl->socket != NULL)
		mnl_socket_close(nl->socket);
	memory_free(nl);
}

static struct nlmsghdr *begin_request(struct netlink *nl, void *buf, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	nlh->nlmsg_seq = ++nl->seq;
	return nlh;
}

// Sends one request and runs on_message over its answers, up to the acknowledgement or the end of the dump. Returns 0 or
// errno.
static int transact(struct netlink *nl, const struct nlmsghdr *nlh, mnl_cb_t on_message, void *data)
{
	static _Thread_local char buf[RECEIVE_BYTES];
	if (mnl_socket_sendto(nl->socket, nlh, nlh->nlmsg_len) < 0)
		return errno;
	int more = MNL_CB_OK;
	while (more > MNL_CB_STOP) {
		ssize_t n = mnl_socket_recvfrom(nl->socket, buf, sizeof buf);
		if (n < 0)
			return errno;
		more = mnl_cb_run(buf, (size_t)n, nlh->nlmsg_seq, nl->port, on_message, data);
		if (more < 0)
			return errno;
	}
	return 0;
}

static int fail(struct error *err, const char *what, int cause)
{
	return error_set(err, ERR_IO, "%s: %s", what, strerror(cause));
}

// ---- links

static int on_link_attr(const struct nlattr *attr, void *data)
{
	struct netlink_link *link = data;
	if (mnl_attr_get_type(attr) == IFLA_MTU && mnl_attr_validate(attr, MNL_TYPE_U32) >= 0)
		link->mtu = mnl_attr_get_u32(attr);
	if (mnl_attr_get_type(attr) == IFLA_ADDRESS && mnl_attr_get_payload_len(attr) == sizeof link->mac)
		memcpy(link->mac, mnl_attr_get_payload(attr), sizeof link->mac);
	return MNL_CB_OK;
}

static int on_link(const struct nlmsghdr *nlh, void *data)
{
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(nlh);
	struct netlink_link *link = data;
	link->index = (uint32_t)info->ifi_index;
	link->is_up = (info->ifi_flags & IFF_UP) != 0;
	link->has_carrier = (info->ifi_flags & IFF_RUNNING) != 0;
	return mnl_attr_parse(nlh, sizeof *info, on_link_attr, link);
}

int netlink_get_link(struct netlink *nl, const char *name, struct netlink_link *ret_link, struct error *err)
{
	char buf[REQUEST_BYTES];
	if (strlen(name) >= IFNAMSIZ)
		return error_set(err, ERR_INVALID, "\"%.60s\" is too long for the name of an interface", name);
	struct nlmsghdr *nlh = begin_request(nl, buf, RTM_GETLINK, NLM_F_ACK);
	struct ifinfomsg *info = mnl_nlmsg_put_extra_header(nlh, sizeof *info);
	info->ifi_family = AF_UNSPEC;
	mnl_attr_put_strz(nlh, IFLA_IFNAME, name);
	struct netlink_link link = { 0 };
	int cause = transact(nl, nlh, on_link, &link);
	if (cause == ENODEV)
		return error_set(err, ERR_NOT_FOUND, "there is no interface \"%s\"", name);
	if (cause != 0)
		return fail(err, name, cause);
	*ret_link = link;
	return 0;
}

static struct nlmsghdr *begin_link_change(struct netlink *nl, char *buf, uint32_t link_index, unsigned flags,
                                          unsigned flag_mask)
{
	struct nlmsghdr *nlh = begin_request(nl, buf, RTM_NEWLINK, NLM_F_ACK);
	struct ifinfomsg *info = mnl_nlmsg_put_extra_header(nlh, sizeof *info);
	info->ifi_family = AF_UNSPEC;
	info->ifi_index = (int)link_index;
	info->ifi_flags = flags;
	info->ifi_change = flag_mask;
	return nlh;
}

int netlink_set_up(struct netlink *nl, uint32_t link_index, bool up, struct error *err)
{
	char buf[REQUEST_BYTES];
	int cause = transact(nl, begin_link_change(nl, buf, link_index, up ? IFF_UP : 0, IFF_UP), NULL, NULL);
	return cause == 0 ? 0 : fail(err, up ? "setting the interface up" : "setting the interface down", cause);
}

int netlink_set_arp(struct netlink *nl, uint32_t link_index, bool arp, struct error *err)
{
	char buf[REQUEST_BYTES];
	int cause = transact(nl, begin_link_change(nl, buf, link_index, arp ? 0 : IFF_NOARP, IFF_NOARP), NULL, NULL);
	return cause == 0 ? 0 : fail(err, "setting the interface's ARP", cause);
}

int netlink_set_all_multicast(struct netlink *nl, uint32_t link_index, struct error *err)
{
	char buf[REQUEST_BYTES];
	struct nlmsghdr *nlh = begin_link_change(nl, buf, link_index, IFF_ALLMULTI, IFF_ALLMULTI);
	int cause = transact(nl, nlh, NULL, NULL);
	return cause == 0 ? 0 : fail(err, "having the interface receive all multicast", cause);
}

int netlink_set_mtu(struct netlink *nl, uint32_t link_index, uint32_t mtu, struct error *err)
{
	char buf[REQUEST_BYTES];
	struct nlmsghdr *nlh = begin_link_change(nl, buf, link_index, 0, 0);
	mnl_attr_put_u32(nlh, IFLA_MTU, mtu);
	int cause = transact(nl, nlh, NULL, NULL);
	return cause == 0 ? 0 : fail(err, "setting the interface's MTU", cause);
}

int netlink_set_mac(struct netlink *nl, uint32_t link_index, const uint8_t mac[6], struct error *err)
{
	char buf[REQUEST_BYTES];
	struct nlmsghdr *nlh = begin_link_change(nl, buf, link_index, 0, 0);
	mnl_attr_put(nlh, IFLA_ADDRESS, 6, mac);
	int cause = transact(nl, nlh, NULL, NULL);
	return cause == 0 ? 0 : fail(err, "setting the interface's MAC address", cause);
}

int netlink_create_tun(struct netlink *nl, const char *name, int *ret_fd, uint32_t *ret_link_index, struct error *err)
{
	struct ifreq request = { .ifr_flags = IFF_TUN | IFF_NO_PI };
	struct netlink_link link;
	if (strlen(name) >= sizeof request.ifr_name)
		return error_set(err, ERR_INVALID, "\"%.60s\" is too long for the name of an interface", name);
	memcpy(request.ifr_name, name, strlen(name) + 1);
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return fail(err, "/dev/net/tun", errno);
	if (ioctl(fd, TUNSETIFF, &request) != 0) {
		int cause = errno;
		close(fd);
		return error_set(err, ERR_IO, "cannot make the tun device \"%s\": %s", name, strerror(cause));
	}
	int code = netlink_get_link(nl, name, &link, err);
	if (code == 0)
		code = netlink_set_up(nl, link.index, true, err);
	if (code != 0) {
		close(fd);
		return code;
	}
	*ret_fd = fd;
	*ret_link_index = link.index;
	return 0;
}

// ---- addresses and routes

static uint8_t family_of(const struct ip_addr *a)
{
	return ip_addr_is_v4(a) ? AF_INET : AF_INET6;
}

static void put_addr(struct nlmsghdr *nlh, uint16_t type, const struct ip_addr *a)
{
	if (ip_addr_is_v4(a))
		mnl_attr_put_u32(nlh, type, ip_addr_to_v4(a));
	else
		mnl_attr_put(nlh, type, sizeof a->bytes, a->bytes);
}

int netlink_add_addr(struct netlink *nl, uint32_t link_index, const struct ip_prefix *addr, struct error *err)
{
	char buf[REQUEST_BYTES];
	struct nlmsghdr *nlh = begin_request(nl, buf, RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE);
	struct ifaddrmsg *info = mnl_nlmsg_put_extra_header(nlh, sizeof *info);
	info->ifa_family = family_of(&addr->addr);
	info->ifa_prefixlen = addr->bits;
	info->ifa_scope = RT_SCOPE_UNIVERSE;
	info->ifa_index = link_index;
	if (info->ifa_family == AF_INET6)
		info->ifa_flags = IFA_F_NODAD;
	put_addr(nlh, IFA_LOCAL, &addr->addr);
	put_addr(nlh, IFA_ADDRESS, &addr->addr);
	int cause = transact(nl, nlh, NULL, NULL);
	char text[IP_ADDR_TEXT_BYTES];
	if (cause == 0)
		return 0;
	return error_set(err, ERR_IO, "cannot add the address %s: %s", ip_addr_format(&addr->addr, text), strerror(cause));
}

static struct nlmsghdr *put_route(struct netlink *nl, void *buf, const struct netlink_route *route, bool is_removal)
{
	uint16_t flags = is_removal ? NLM_F_ACK : NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
	struct nlmsghdr *nlh = begin_request(nl, buf, is_removal ? RTM_DELROUTE : RTM_NEWROUTE, flags);
	struct rtmsg *info = mnl_nlmsg_put_extra_header(nlh, sizeof *info);
	info->rtm_family = family_of(&route->dst.addr);
	info->rtm_dst_len = route->dst.bits;
	info->rtm_table = route->table < 256 ? (uint8_t)route->table : RT_TABLE_UNSPEC;
	info->rtm_protocol = route->protocol;
	info->rtm_scope = route->has_gateway ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
	info->rtm_type = RTN_UNICAST;
	if (is_removal)
		info->rtm_scope = RT_SCOPE_NOWHERE; // any
	if (route->dst.bits > 0)
		put_addr(nlh, RTA_DST, &route->dst.addr);
	info->rtm_src_len = route->src.bits;
	if (route->src.bits > 0)
		put_addr(nlh, RTA_SRC, &route->src.addr);
	if (route->has_gateway)
		put_addr(nlh, RTA_GATEWAY, &route->gateway);
	mnl_attr_put_u32(nlh, RTA_OIF, route->link_index);
	mnl_attr_put_u32(nlh, RTA_TABLE, route->table);
	return nlh;
}

static bool is_done_already(int cause, bool is_removal)
{
	return is_removal ? cause == ESRCH || cause == ENODEV : cause == EEXIST;
}

static int fail_route(const struct netlink_route *route, bool is_removal, int cause, struct error *err)
{
	char text[IP_ADDR_TEXT_BYTES];
	return error_set(err, ERR_IO, "cannot %s the route %s/%u in table %u: %s", is_removal ? "remove" : "add",
	                 ip_addr_format(&route->dst.addr, text), route->dst.bits, route->table, strerror(cause));
}

int netlink_add_route(struct netlink *nl, const struct netlink_route *route, struct error *err)
{
	return netlink_change_routes(nl, route, 1, NULL, 0, err);
}

// Reads the acknowledgements of requests first_seq to first_seq + n - 1, which are of `routes` in that order.
static int read_acks(struct netlink *nl, const struct netlink_route *routes, uint32_t n, bool is_removal,
                     uint32_t first_seq, struct error *err)
{
	static _Thread_local char buf[RECEIVE_BYTES];
	int code = 0;
	for (uint32_t n_acks = 0; n_acks < n;) {
		ssize_t got = mnl_socket_recvfrom(nl->socket, buf, sizeof buf);
		if (got < 0)
			return fail(err, "netlink", errno);
		int left = (int)got;
		for (const struct nlmsghdr *nlh = (const void *)buf; mnl_nlmsg_ok(nlh, left);
		     nlh = mnl_nlmsg_next(nlh, &left)) {
			uint32_t i = nlh->nlmsg_seq - first_seq;
			if (nlh->nlmsg_type != NLMSG_ERROR || i >= n)
				continue;
			const struct nlmsgerr *ack = mnl_nlmsg_get_payload(nlh);
			n_acks++;
			if (ack->error != 0 && !is_done_already(-ack->error, is_removal) && code == 0)
				code = fail_route(&routes[i], is_removal, -ack->error, err);
		}
	}
	return code;
}

// As many routes as fit one batch; *ret_n tells how many.
static int send_batch(struct netlink *nl, const struct netlink_route *routes, uint32_t n, bool is_removal,
                      uint32_t *ret_n, struct error *err)
{
	static _Thread_local char buf[BATCH_BYTES];
	size_t used = 0;
	uint32_t taken = 0;
	uint32_t first_seq = nl->seq + 1;
	while (taken < n && used + REQUEST_BYTES <= sizeof buf) {
		struct nlmsghdr *nlh = put_route(nl, buf + used, &routes[taken++], is_removal);
		used += MNL_ALIGN(nlh->nlmsg_len);
	}
	*ret_n = taken;
	if (mnl_socket_sendto(nl->socket, buf, used) < 0)
		return fail(err, "netlink", errno);
	return read_acks(nl, routes, taken, is_removal, first_seq, err);
}

static int change_all(struct netlink *nl, const struct netlink_route *routes, uint32_t n, bool is_removal,
                      struct error *err)
{
	int first_code = 0;
	for (uint32_t i = 0; i < n;) {
		uint32_t taken = 0;
		int code = send_batch(nl, routes + i, n - i, is_removal, &taken, first_code == 0 ? err : NULL);
		if (first_code == 0)
			first_code = code;
		i += taken;
	}
	return first_code;
}

int netlink_change_routes(struct netlink *nl, const struct netlink_route *add, uint32_t n_add,
                          const struct netlink_route *remove, uint32_t n_remove, struct error *err)
{
	int removed = change_all(nl, remove, n_remove, true, err);
	int added = change_all(nl, add, n_add, false, removed == 0 ? err : NULL);
	return removed != 0 ? removed : added;
}

// ---- listing

struct listing {
	uint8_t family; // a kernel without this family answers with all others
	uint32_t table;
	uint8_t protocol;
	uint32_t n;
	uint32_t capacity;
	struct netlink_route *routes;
	bool out_of_memory;
};

static bool read_addr(const struct nlattr *attr, struct ip_addr *ret_addr)
{
	if (mnl_attr_get_payload_len(attr) == 4)
		*ret_addr = ip_addr_from_v4(mnl_attr_get_u32(attr));
	else if (mnl_attr_get_payload_len(attr) == sizeof ret_addr->bytes)
		memcpy(ret_addr->bytes, mnl_attr_get_payload(attr), sizeof ret_addr->bytes);
	else
		return false;
	return true;
}

static int on_route_attr(const struct nlattr *attr, void *data)
{
	struct netlink_route *route = data;
	switch (mnl_attr_get_type(attr)) {
	case RTA_DST: (void)read_addr(attr, &route->dst.addr); break;
	case RTA_GATEWAY: route->has_gateway = read_addr(attr, &route->gateway); break;
	case RTA_OIF:
		if (mnl_attr_validate(attr, MNL_TYPE_U32) >= 0)
			route->link_index = mnl_attr_get_u32(attr);
		break;
	case RTA_TABLE:
		if (mnl_attr_validate(attr, MNL_TYPE_U32) >= 0)
			route->table = mnl_attr_get_u32(attr);
		break;
	default: break;
	}
	return MNL_CB_OK;
}

static bool is_listed(const struct listing *l, const struct netlink_route *route)
{
	return route->table == l->table && (l->protocol == NETLINK_PROTOCOL_ANY || route->protocol == l->protocol);
}

static int on_route(const struct nlmsghdr *nlh, void *data)
{
	struct listing *l = data;
	const struct rtmsg *info = mnl_nlmsg_get_payload(nlh);
	struct netlink_route route = { .table = info->rtm_table, .protocol = info->rtm_protocol };
	route.dst.addr = info->rtm_family == AF_INET ? ip_addr_from_v4(0) : (struct ip_addr){ 0 };
	route.dst.bits = info->rtm_dst_len;
	if (info->rtm_family != l->family || mnl_attr_parse(nlh, sizeof *info, on_route_attr, &route) < 0)
		return MNL_CB_OK;
	if (!is_listed(l, &route) || l->out_of_memory)
		return MNL_CB_OK;
	struct netlink_route *routes = memory_grow(l->routes, l->n, &l->capacity, sizeof *routes);
	l->out_of_memory = routes == NULL;
	if (routes == NULL)
		return MNL_CB_OK;
	l->routes = routes;
	l->routes[l->n++] = route;
	return MNL_CB_OK;
}

static int list_family(struct netlink *nl, uint8_t family, struct listing *l)
{
	char buf[REQUEST_BYTES];
	struct nlmsghdr *nlh = begin_request(nl, buf, RTM_GETROUTE, NLM_F_DUMP);
	struct rtmsg *info = mnl_nlmsg_put_extra_header(nlh, sizeof *info);
	info->rtm_family = family;
	l->family = family;
	return transact(nl, nlh, on_route, l);
}

int netlink_list_routes(struct netlink *nl, uint32_t table, uint8_t protocol, struct netlink_route **ret_routes,
                        uint32_t *ret_n, struct error *err)
{
	struct listing l = { .table = table, .protocol = protocol };
	int cause = list_family(nl, AF_INET, &l);
	if (cause == 0)
		cause = list_family(nl, AF_INET6, &l);
	if (cause != 0 || l.out_of_memory) {
		memory_free(l.routes);
		return cause != 0 ? fail(err, "listing routes", cause)
		                  : error_set(err, ERR_NO_MEMORY, "listing routes: no memory");
	}
	*ret_routes = l.routes;
	*ret_n = l.n;
	return 0;
}
