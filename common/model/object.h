// The objects of the cluster's state, and changes to them. State is a set of objects with one version counter; what is
// replicated, distributed and kept on disk is always a list of `struct change`.
//
// A struct change owns its VIP configuration or history, if it holds one; everything else is plain values.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/text.h"
#include "common/model/history.h"
#include "common/model/ip_addr.h"
#include "common/model/settings.h"
#include "common/model/vip.h"

enum object_kind {
	OBJECT_CLUSTER = 1, // exactly one
	OBJECT_VIP, // key: its address
	OBJECT_MUX, // key: name
	OBJECT_HOST, // key: name
	OBJECT_DIP, // key: its address
	OBJECT_SETTINGS, // at most one
	OBJECT_HISTORY, // key: the VIP's address
	OBJECT_DRAIN, // key: the DIP's address, and the VIP's as text, or "" for all of its VIPs
	OBJECT_UNHEALTHY, // key: the DIP's address, and the endpoint whose probe fails (endpoint_key_format)
	OBJECT_HOST_GONE, // key: name of the host
	OBJECT_MUX_DRAIN, // key: name of the mux
};

#define PIN_KEY_BYTES 16

// What all programs of one cluster share; made once, when the first leader begins.
struct cluster_info {
	uint64_t cluster_id; // random, never 0
	uint64_t hash_seed; // of flow_hash
	uint8_t pin_key[PIN_KEY_BYTES]; // agents sign pins with it, muxes check them
};

static inline bool cluster_info_has_pin_key(const struct cluster_info *c)
{
	uint8_t any = 0;
	for (uint32_t i = 0; i < PIN_KEY_BYTES; i++)
		any |= c->pin_key[i];
	return any != 0;
}

struct node_info { // a mux, or a host with its agent
	char name[NAME_BYTES];
	struct ip_addr addr; // the outer source of what it encapsulates
	struct ip_addr addr6; // likewise over IPv6, when addr is IPv4; else unspecified
};

bool node_info_equal(const struct node_info *a, const struct node_info *b);

struct dip_info { // a VM's address and where it is attached
	struct ip_addr dip;
	char host[NAME_BYTES];
	char vm[NAME_BYTES];
	char interface[NAME_BYTES]; // of the VM's port, on the host
	uint8_t mac[6]; // of the VM
	struct ip_addr
		via; // where encapsulated packets for it are sent instead, in the other family; unspecified: to the DIP itself
};

static inline bool dip_info_has_via(const struct dip_info *dip)
{
	return !ip_addr_is_unspecified(&dip->via);
}

bool dip_info_equal(const struct dip_info *a, const struct dip_info *b);

// Marks say something of another object, for as long as they are there:
//   OBJECT_DRAIN      the DIP gets no new connections; those that it has go on
//   OBJECT_UNHEALTHY  the probe of this endpoint fails at the DIP: no new connections of this endpoint
//   OBJECT_HOST_GONE  its agent does not answer: no new connections for the DIPs attached there
//   OBJECT_MUX_DRAIN  the mux asks routers to send its traffic elsewhere (RFC 8326), and withdraws when none comes any more
#define CAUSE_BYTES 96
struct mark_info {
	uint64_t since_ms; // by the managers' clock; given by them
	char cause[CAUSE_BYTES]; // for people: "tcp 8080: connection refused"; may be ""
};

static inline bool object_is_mark(enum object_kind kind)
{
	return kind == OBJECT_DRAIN || kind == OBJECT_UNHEALTHY || kind == OBJECT_HOST_GONE || kind == OBJECT_MUX_DRAIN;
}

struct object_key {
	enum object_kind kind;
	struct ip_addr addr; // VIP, DIP, history, drain, unhealthy; else all 0
	char name[NAME_BYTES]; // mux, host, and marks; else ""
};

struct change {
	struct object_key key;
	bool is_delete; // else the object below is put: made, or replaced as a whole
	union {
		struct cluster_info cluster;
		struct vip_config *vip; // owned
		struct node_info node;
		struct dip_info dip;
		struct cluster_settings settings;
		struct vip_history *history; // owned
		struct mark_info mark;
	};
};

struct change_list {
	uint32_t n;
	uint32_t capacity;
	struct change *items;
};

struct object_key object_key_of_addr(enum object_kind kind, const struct ip_addr *addr);
struct object_key object_key_of_name(enum object_kind kind, const char *name);
int object_key_compare(const struct object_key *a, const struct object_key *b); // by kind, address and name
bool object_key_equal(const struct object_key *a, const struct object_key *b);

// Frees what a change owns, not the change itself.
void change_fini(struct change *c);

// A copy that owns its own. ERR_NO_MEMORY.
NODISCARD int change_copy(const struct change *c, struct change *ret_copy);

void change_list_fini(struct change_list *list);

// Takes ownership of what *c owns, also on failure. ERR_NO_MEMORY.
NODISCARD int change_list_append(struct change_list *list, struct change *c);

// Moves all changes of `from` behind those of `list`; `from` is empty then. ERR_NO_MEMORY: nothing has happened.
NODISCARD int change_list_append_all(struct change_list *list, struct change_list *from);
