// What muxes and agents ask of the kernel's network configuration, by rtnetlink (rtnetlink(7)): links, addresses, routes.
//
// One request at a time on a socket of its own; each waits for the kernel's acknowledgement (microseconds). Routes can be
// sent in batches. Adding what is there and removing what is not are no errors.
// Threads: one at a time. Acts in the network namespace of the thread that called netlink_open.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/model/ip_addr.h"

#define NETLINK_PROTOCOL_ANY 0 // for listing
#define NETLINK_PROTOCOL_STATIC 4 // linux/rtnetlink.h: RTPROT_STATIC, RT_TABLE_MAIN
#define NETLINK_TABLE_MAIN 254
#define NETLINK_PROTOCOL_ANANTA 200 // rtm_protocol of VIP routes; see rt_protos

struct netlink;

struct netlink_link {
	uint32_t index;
	uint32_t mtu;
	uint8_t mac[6];
	bool is_up; // by configuration (IFF_UP)
	bool has_carrier; // IFF_RUNNING
};

struct netlink_route {
	struct ip_prefix dst; // bits 0: the default route
	struct ip_prefix src; // of IPv6, when bits is not 0: only of packets from there
	struct ip_addr gateway; // where has_gateway
	bool has_gateway;
	uint32_t link_index;
	uint32_t table;
	uint8_t protocol;
};

NODISCARD int netlink_open(struct netlink **ret_netlink, struct error *err);
void netlink_close(struct netlink *nl); // NULL is fine

// ERR_NOT_FOUND when there is no such interface.
NODISCARD int netlink_get_link(struct netlink *nl, const char *name, struct netlink_link *ret_link, struct error *err);

NODISCARD int netlink_set_up(struct netlink *nl, uint32_t link_index, bool up, struct error *err);
NODISCARD int netlink_set_mtu(struct netlink *nl, uint32_t link_index, uint32_t mtu, struct error *err);
NODISCARD int netlink_set_mac(struct netlink *nl, uint32_t link_index, const uint8_t mac[6], struct error *err);
NODISCARD int netlink_set_arp(struct netlink *nl, uint32_t link_index, bool arp, struct error *err);

// A card filters what is sent to groups that its kernel has not joined.
NODISCARD int netlink_set_all_multicast(struct netlink *nl, uint32_t link_index, struct error *err);

// "10.0.0.31/24" with its subnet's route. An IPv6 address is usable at once: it is the operator's word that nobody else has it, and
// duplicate address detection (RFC 4862 section 5.4) would keep it back for a second.
NODISCARD int netlink_add_addr(struct netlink *nl, uint32_t link_index, const struct ip_prefix *addr,
                               struct error *err);

// Replaces a route of the same destination and table.
NODISCARD int netlink_add_route(struct netlink *nl, const struct netlink_route *route, struct error *err);

// Adds and removes many routes, many a system call; goes on after a failure and returns the first one.
NODISCARD int netlink_change_routes(struct netlink *nl, const struct netlink_route *add, uint32_t n_add,
                                    const struct netlink_route *remove, uint32_t n_remove, struct error *err);

// All routes of one table with one protocol, IPv4 and IPv6, in memory of the caller's to free with memory_free.
NODISCARD int netlink_list_routes(struct netlink *nl, uint32_t table, uint8_t protocol,
                                  struct netlink_route **ret_routes, uint32_t *ret_n, struct error *err);

// A tun device of the given name that lives as long as the descriptor (and so never longer than the process). Set up.
NODISCARD int netlink_create_tun(struct netlink *nl, const char *name, int *ret_fd, uint32_t *ret_link_index,
                                 struct error *err);
