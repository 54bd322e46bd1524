// Messages in the model's terms, and their bytes. With changes.h the only door to the generated protobuf-c code.
//
// Decoding checks everything that the model's types promise (lengths of addresses, names that fit, ports in 16 bits), so
// that what comes out may be used; rules of configuration are vip_config_validate's. Fuzz target: tests/fuzz/fuzz_message.c.
// Threads: none of it has state.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/model/command.h"
#include "common/model/health.h"

#define MESSAGE_MAX_BYTES (1u << 20)
#define ENDPOINT_TEXT_BYTES 64
#define REPLICAS_MAX 9

enum message_type {
	MESSAGE_PING = 1, // keeps a silent connection alive; not answered
	MESSAGE_ERROR,
	MESSAGE_REDIRECT,
	MESSAGE_SUBSCRIBE,
	MESSAGE_UPDATE,
	MESSAGE_ACK,
	MESSAGE_STATUS_REQUEST,
	MESSAGE_STATUS_REPLY,
	MESSAGE_COMMAND_REQUEST,
	MESSAGE_COMMAND_REPLY,
	MESSAGE_STATE_REQUEST,
	MESSAGE_NODES_REQUEST,
	MESSAGE_NODES_REPLY,
	MESSAGE_CLUSTER_REQUEST,
	MESSAGE_CLUSTER_REPLY,
	MESSAGE_FENCE, // leader to mux: withdraw your routes, or announce them again
	MESSAGE_SNAT_ASK, // agent to leader: requests for ports, leases that it returns
	MESSAGE_SNAT_REPLY, // leader to agent: what a request came to; the leases were sent before
	MESSAGE_LEASES_REQUEST,
	MESSAGE_LEASES_REPLY,
	MESSAGE_HEALTH, // agent to leader: what its probes found; not answered
	MESSAGE_EVENTS_REQUEST,
	MESSAGE_EVENTS_REPLY,
	MESSAGE_VERSIONS_REQUEST, // which versions of a VIP there were
	MESSAGE_VERSIONS_REPLY,
	MESSAGE_WAIT_REQUEST, // until all that are connected have acknowledged a version
	MESSAGE_WAIT_REPLY,
	MESSAGE_ROLLBACK_REQUEST, // answered by a COMMAND_REPLY
};

enum node_role { ROLE_NONE = 0, ROLE_MUX = 1, ROLE_AGENT = 2 };

struct counter {
	char name[48];
	uint64_t value;
};

#define CLUSTER_COUNTERS_MAX 48 // of a manager; what is more is left out

struct snat_destination {
	struct ip_addr addr;
	uint16_t port;
	uint8_t protocol;
	uint32_t n_ports; // in use towards it
};

#define SNAT_BUSIEST 5

struct dip_snat { // the SNAT of a DIP, as its agent sees it
	uint32_t leased_ports;
	uint32_t used_ports; // that have a flow
	uint32_t flows;
	uint32_t held_packets; // that wait for a range
	uint64_t refused; // connections that found no port
	uint32_t n_busiest;
	struct snat_destination busiest[SNAT_BUSIEST];
};

struct dip_status {
	struct ip_addr dip;
	char state[32]; // "attached", "missing-interface"
	uint32_t flows; // load-balanced ones that the agent remembers
	struct dip_snat snat; // all 0 when it has none
};

struct node_status {
	char name[NAME_BYTES];
	enum node_role role;
	char state[32];
	uint64_t version; // of the configuration in use
	char program_version[32];
	uint32_t n_counters;
	struct counter *counters;
	uint32_t n_dips;
	struct dip_status *dips;
};

struct subscribe {
	enum node_role role;
	struct node_info node;
	uint64_t cluster_id;
	uint64_t have_version;
	uint64_t have_lease_version;
	char program_version[32];
};

struct update {
	uint64_t from_version; // 0: a snapshot
	uint64_t to_version;
	bool more;
	struct change_list changes;
	uint64_t lease_version; // the leases are then those of this version
	bool replaces_leases; // `leases` are all; else they are those that changed
	struct lease_list leases; // those that have ended say so
};

static inline bool update_is_snapshot(const struct update *u)
{
	return u->from_version == 0;
}

struct snat_pool_status {
	struct ip_addr vip;
	uint32_t n_ports; // that can be leased
	uint32_t n_held;
	uint32_t n_quarantined;
};

struct leases_reply {
	struct lease_list leases;
	uint32_t n_pools;
	struct snat_pool_status *pools;
	uint64_t log_since_ms; // what ended before is not known any more
	bool more; // another reply to the same request follows
};

struct replica_info {
	uint64_t id;
	char api[ENDPOINT_TEXT_BYTES]; // ADDRESS:PORT
	char raft[ENDPOINT_TEXT_BYTES];
};

struct cluster_reply {
	uint64_t id;
	bool is_leader;
	uint64_t leader_id; // 0: none known
	uint64_t term;
	uint64_t applied_index;
	uint64_t version;
	uint64_t cluster_id;
	char program_version[32];
	uint32_t n_replicas;
	struct replica_info replicas[REPLICAS_MAX];
	uint32_t n_subscribers;
	uint32_t n_counters;
	struct counter counters[CLUSTER_COUNTERS_MAX]; // of this replica, since it started
};

#define LAGGARDS_MAX 64 // that are named

struct laggard {
	enum node_role role;
	char name[NAME_BYTES];
	uint64_t version; // that it has acknowledged
	bool is_connected; // false: it is known, and not waited for
};

struct wait_reply {
	bool is_done; // all that are connected have acknowledged
	uint32_t n_acked;
	uint32_t n_late; // connected, and behind
	uint32_t n_away; // not connected
	uint32_t n_laggards; // the first of both
	struct laggard laggards[LAGGARDS_MAX];
};

struct message {
	enum message_type type;
	uint64_t request_id; // a reply carries that of its request; 0: no reply is expected
	uint64_t term; // of the leader that sent it; 0 from others
	union {
		struct error error;
		char leader[ENDPOINT_TEXT_BYTES]; // REDIRECT: ADDRESS:PORT, "" when none is known
		struct subscribe subscribe;
		struct update update;
		struct {
			uint64_t version; // COMMAND_REPLY
			bool is_unchanged; // everything was so already
		};
		struct {
			uint64_t version;
			uint64_t lease_version;
		} ack;
		struct node_status status; // STATUS_REPLY
		struct {
			struct change_list changes; // COMMAND_REQUEST
			struct snat_op_list ops; // COMMAND_REQUEST, SNAT_ASK
			struct command_terms terms; // COMMAND_REQUEST
		};
		struct {
			enum node_role role;
			char name[NAME_BYTES]; // "": all
		} nodes_request;
		struct {
			uint32_t n;
			struct node_status *items;
			bool more; // another reply to the same request follows
		} nodes;
		struct cluster_reply cluster;
		bool is_fenced; // FENCE
		struct {
			struct ip_addr dip;
			uint64_t seq;
			uint32_t n_ports; // granted
			struct error err; // code 0, or why not
		} snat_reply;
		struct {
			struct ip_addr vip; // unspecified: of all VIPs
			uint16_t port; // 0: any
			uint64_t at_ms; // 0: now, and of a port also all that the log knows
		} leases_request;
		struct leases_reply leases;
		struct health_report health;
		uint64_t after_seq; // EVENTS_REQUEST: events after this one; 0: all that are kept
		struct event_list events; // EVENTS_REPLY
		struct {
			struct ip_addr vip;
			uint64_t version; // 0: all, without their configurations
		} versions_request;
		struct vip_version_list versions; // VERSIONS_REPLY
		struct {
			uint64_t version;
			uint32_t timeout_ms;
		} wait_request;
		struct wait_reply wait;
		struct {
			struct ip_addr vip;
			uint64_t to_version;
			bool has_expect;
			uint64_t expect; // the version that the VIP must be at; 0: deleted
		} rollback;
	};
};

// Frees what the message owns, not the message itself; it may be finished twice.
void message_fini(struct message *m);

void node_status_fini(struct node_status *status);

// The envelope's bytes (without the length of the frame), in memory of the caller's to free with memory_free.
// ERR_LIMIT when it would pass MESSAGE_MAX_BYTES, ERR_NO_MEMORY.
NODISCARD int message_encode(const struct message *m, uint8_t **ret_bytes, size_t *ret_n);

// ERR_MALFORMED with what is wrong; ERR_NO_MEMORY. *ret_message is for message_fini on success only.
NODISCARD int message_decode(const uint8_t *bytes, size_t n, struct message *ret_message, struct error *err);
