// The whole world of one run: real cores of manager, muxes and agents, and around them a clock, links, routers, clients and VMs.
//
//   client --link--> router --ECMP--> mux core --link--> agent core --> VM          every arrow is bytes of a frame
//   client <--------------link------------------------- agent core <--- VM
//   server <--------------link------------------------- agent core <--- VM          outbound, with SNAT (tests/sim/snat.h)
//   server --link--> router --ECMP--> mux core --link--> agent core --> VM
//   operator --> cluster_state_apply --> distribution per node --delay--> store --> mux tables, agent configuration
//
//   managers.c  the state, its operator's commands, and what each node is sent and when
//   mux.c       a mux: store, tables, pipeline;   host.c  a host: store, configuration, agent, its VMs' ports
//   network.c   links and routers;                packets.c  frames in flight
//   client.c    connections from the side that opens them: clients, or VMs of outbound ones
//   vm.c        from the side that answers: VMs, or servers outside (server.c)
//   churn.c     the trouble;   report.c  what is said at the end;   trace.c  what happened to one connection
//
// One thread; the only clock is sim->now_us, the only randomness the streams below. A run is a function of its options.
#pragma once

#include "common/packet/addr_names.h"
#include "common/base/mono.h"
#include "common/packet/pin.h"
#include "manager/core/cluster_state.h"
#include "manager/core/distribution.h"
#include "tests/sim/counts.h"
#include "tests/sim/options.h"
#include "tests/sim/queue.h"
#include "tests/sim/random.h"
#include "tests/sim/tcp.h"

#define NONE UINT32_MAX
#define START_US 1000000000ull // of the virtual clock
#define EPOCH_MS 1800000000000ull // the managers' clock then
enum event_kind {
	EVENT_PACKET, // index: of the packet
	EVENT_CLIENT, // a connection's timer
	EVENT_HALF, // a VM's half's timer
	EVENT_ARRIVAL, // the next connection begins
	EVENT_UPDATE, // of a node: what the managers sent has come
	EVENT_NODE, // of a node: it comes back, or goes on after it hung
	EVENT_ROUTER, // of a router: what it knows of the muxes changes
	EVENT_CHURN, // an item of the plan
	EVENT_LATER, // what a churn action put off
	EVENT_TICK, // every 100 ms: agents expire flows
	EVENT_LEADER, // a manager leads again
	EVENT_FLUSH, // of a host: the end of its agent's turn, in which it sends pins
	EVENT_PINS, // a datagram of pins comes to a mux
	EVENT_MESSAGE, // between a node and the leader
	EVENT_CONNECT, // a node that lost its connection to the leader makes another one
	EVENT_BATCH, // operations on leases are committed
	EVENT_STEP, // of the leader: time alone brings something to do
};

#define EVENT_INDEX_BITS 27
#define EVENT_INDEX_MASK ((1u << EVENT_INDEX_BITS) - 1)

// ---- Packets in flight ----

enum place { AT_MUX, AT_HOST, AT_CLIENT, AT_SERVER };

#define PACKET_HEADROOM 64

struct packet {
	uint32_t idx; // of itself
	uint32_t next_free;
	uint32_t to_idx;
	uint8_t to; // enum place
	uint16_t offset; // of the frame in bytes[]
	uint16_t len;
	bool is_detoured; // an agent has sent it on
	uint32_t outbound; // the connection that it truly is of, when a VM opened that; NONE
	uint8_t bytes[PACKET_HEADROOM + 86];
};

#define PACKET_CHUNK 4096
#define PACKET_CHUNKS_MAX 4096

struct packet_pool { // grows by chunks, so that packets stay where they are
	uint32_t n_chunks;
	uint32_t free_head;
	struct packet *chunks[PACKET_CHUNKS_MAX];
};

// ---- Connections ----

// Those from CONN_FINISHED on are over. Of outbound ones only: CUT by an operator who revoked its lease, REFUSED for want of ports.
enum connection_state {
	CONN_NEW,
	CONN_OPENING,
	CONN_LIVE,
	CONN_FINISHED,
	CONN_BROKEN,
	CONN_DIED,
	CONN_CUT,
	CONN_REFUSED
};

struct connection {
	struct tcp_end tcp;
	uint64_t event_us; // when its pending event comes; 0: none. Other events of it are stale.
	uint64_t next_us; // when it asks again; 0: it waits for the answer
	uint32_t first_half; // at VMs; NONE: none
	uint32_t vm; // to which it is connected; NONE: not yet
	uint32_t target; // the DIP to which a mux last sent a packet of it; NONE
	uint32_t vip; // of an outbound one: the server
	uint32_t think_us; // between an answer and the next request
	uint32_t n_expected; // segments that all requests until now ask for
	uint16_t n_requests; // still to come
	uint8_t protocol;
	uint8_t state; // enum connection_state
	bool was_moved; // a mux chose another DIP for it than its own
	bool was_opened;
	bool is_followed;
	bool is_outbound; // `vm` opens it, from `port`
	uint8_t refusal; // enum drop_reason: why the agent has no port for it
	uint16_t port;
	be16 snat_port; // with which it left last; 0: it never has
	be32 snat_vip;
};

// What one VM, or one server, knows of a connection that it did not open.
struct half {
	struct tcp_end tcp;
	uint64_t event_us;
	uint32_t connection;
	uint32_t vm; // NONE: a server has it
	uint32_t next; // of the same connection, or free
	uint32_t next_at_server; // in the same chain of its table
	be32 peer; // of a server's: who speaks to it
	be16 peer_port;
	uint16_t server;
	bool is_used;
};

// ---- Machines ----

// What the managers know of a node, and it of them.
struct subscriber {
	struct distribution distribution;
	struct distribution_update update; // on its way
	bool has_update;
	bool is_connected;
	uint32_t generation; // of the connection: what was sent on one that is no more is lost
	uint64_t last_down_us; // when what was sent last comes: nothing overtakes on a connection
	uint64_t last_up_us;
	uint64_t have_lease_version; // what the node says that it holds
	uint64_t due_us; // when it comes
	uint64_t late_until_us; // what is sent until then comes late
	uint64_t late_us; // by this much
};

struct mux_core; // the real one, and what it needs: mux.c
struct agent;
struct agent_packet;
struct host_core; // likewise: host.c
struct agent_side; // its SNAT: agent_snat.c

struct sim_mux {
	char name[NAME_BYTES];
	be32 address;
	bool is_alive;
	bool has_tables; // it announces its VIPs, unless it is fenced
	bool is_fenced;
	uint64_t excused_version; // leases up to this one a leader has given without it
	uint64_t hangs_until_us;
	uint64_t back_us; // when it comes back after it died; 0: it lives, or stays away
	struct subscriber subscriber;
	struct store store;
	struct mux_core *core;
};

struct sim_host {
	char name[NAME_BYTES];
	be32 address;
	bool is_alive;
	uint64_t down_until_us; // the agent restarts
	bool keeps_flows; // and attaches to the flow table that the one before it left
	int64_t clock_us; // how far its wall clock is off
	struct subscriber subscriber;
	struct store store;
	struct host_core *core;
	struct agent_side *snat; // NULL: in a run without outbound connections
};

#define PIN_FRAME_BYTES (ETH_BYTES + IP4_BYTES + 8 + PIN_MESSAGE_BYTES_MAX)

struct pin_frame { // on its way
	uint32_t mux;
	uint32_t n_bytes;
	uint32_t next_free;
	uint8_t bytes[PIN_FRAME_BYTES];
};

struct sim_vm { // its index is the DIP's
	uint32_t host;
	uint32_t vip;
	bool is_alive;
	bool is_in; // in the VIP's configuration
	bool is_drained;
	bool is_flapping;
	uint16_t weight;
	uint16_t n_opened; // outbound connections: the next one's port
	uint64_t asks_us; // since when a request of its agent is not answered; 0: none is
	uint64_t ask_seq;
};

struct sim_router {
	uint64_t hash_seed;
	uint64_t changes_us; // when it next looks at who announces; 0: it is up to date
	uint32_t n_next_hops;
	uint32_t next_hops[64];
};

// What a churn action does in a second part.
enum later_kind { LATER_DIPS_BACK, LATER_HOST_OUT, LATER_VIP, LATER_VM_BACK };

struct later {
	enum later_kind kind;
	uint32_t idx;
	bool is_used;
};

#define LATER_MAX 4096

struct sim {
	struct sim_options options;
	uint64_t now_us;
	struct event_queue queue;
	struct random net;
	struct random config_delays;
	struct random trouble;
	struct addr_names *names; // of all agents: one process
	struct packet_pool packets;

	uint32_t n_pin_frames;
	uint32_t pin_frames_capacity;
	uint32_t free_pin_frame;
	struct pin_frame *pin_frames;

	struct cluster_state state;
	uint64_t leaderless_until_us;
	struct leader *leader; // its work on leases; NULL: in a run without outbound connections
	struct truth *truth;
	struct links *links;
	uint32_t *servers; // heads of the chains of servers' halves
	uint64_t ends_us; // when all connections are over, and what waits has had time to settle; 0: not yet

	struct sim_mux *muxes;
	struct sim_host *hosts;
	struct sim_vm *vms;
	struct sim_router *routers;

	struct connection *connections;
	uint32_t n_begun;
	uint32_t n_over; // finished, broken or died
	struct half *halves;
	uint32_t n_halves;
	uint32_t halves_capacity;
	uint32_t free_half;

	struct later laters[LATER_MAX];
	struct sim_stats stats;
	uint32_t n_broken_ids;
	uint32_t broken_ids[1000];
	FILE *trace; // NULL: nobody is followed
	const uint32_t *follow;
	uint32_t n_follow;
	uint64_t arrivals_us; // when the first connection begins
};

// ---- Addresses ----

#define CLIENT_BASE 0x64400000u // 100.64.0.0/10
#define VIP_BASE 0xc6120000u // 198.18.0.0/15
#define DIP_BASE 0x0a400000u // 10.64.0.0
#define MUX_BASE 0x0a100001u
#define HOST_BASE 0x0a200001u
#define GATEWAY 0x0a000001u
#define SERVER_BASE 0xcb007100u // 203.0.113.0/24
#define SERVERS 16
#define SERVER_TCP_PORT 443
#define SERVER_UDP_PORT 53
#define CLIENT_PORT 10000
#define VIP_TCP_PORT 80
#define VIP_UDP_PORT 53
#define VM_TCP_PORT 8080
#define VM_UDP_PORT 5353

static inline be32 connection_address(uint32_t connection)
{
	return be32_from(CLIENT_BASE + (connection >> 8));
}

static inline be16 connection_port(uint32_t connection)
{
	return be16_from((uint16_t)(CLIENT_PORT + (connection & 255)));
}

static inline uint32_t connection_of(be32 address, be16 port)
{
	return (be32_to(address) - CLIENT_BASE) << 8 | (uint32_t)(be16_to(port) - CLIENT_PORT);
}

static inline be32 vip_address(uint32_t vip)
{
	return be32_from(VIP_BASE + vip);
}

static inline be32 dip_address(uint32_t dip)
{
	return be32_from(DIP_BASE + dip);
}

static inline be32 server_address(uint32_t server)
{
	return be32_from(SERVER_BASE + server);
}

static inline struct mac vm_mac(uint32_t vm)
{
	return (struct mac){ { 2, 1, 0, 0, (uint8_t)(vm >> 8), (uint8_t)vm } };
}

static inline bool is_server(be32 address)
{
	return be32_to(address) - SERVER_BASE < SERVERS;
}

static inline bool connection_is_over(const struct connection *c)
{
	return c->state >= CONN_FINISHED;
}

// ---- The run ----

// Options as given; `follow` are connections to trace (n_follow of them), into `trace`.
struct sim *sim_create(const struct sim_options *options, const uint32_t *follow, uint32_t n_follow, FILE *trace);
void sim_run(struct sim *s);
void sim_destroy(struct sim *s);

static inline void sim_at(struct sim *s, uint64_t at_us, enum event_kind kind, uint32_t idx)
{
	event_queue_push(&s->queue, at_us, (uint32_t)kind << EVENT_INDEX_BITS | idx);
}

static inline uint64_t us_of(double seconds)
{
	return (uint64_t)(seconds * 1e6);
}

static inline struct mono_time sim_now(const struct sim *s)
{
	return mono_from_us(s->now_us);
}

static inline uint64_t sim_now_ms(const struct sim *s)
{
	return EPOCH_MS + (s->now_us - START_US) / 1000;
}

static inline uint64_t sim_wall_us(const struct sim *s)
{
	return EPOCH_MS * 1000 + (s->now_us - START_US);
}

static inline bool sim_has_snat(const struct sim *s)
{
	return s->options.snat_percent > 0;
}

// Nodes, muxes first and then hosts, as events name them.
static inline uint32_t node_of_host(const struct sim *s, uint32_t host)
{
	return s->options.n_muxes + host;
}

// packets.c
struct packet *packet_take(struct sim *s);
static inline struct packet *packet_at(struct sim *s, uint32_t idx)
{
	return &s->packets.chunks[idx / PACKET_CHUNK][idx % PACKET_CHUNK];
}
void packet_give_back(struct sim *s, struct packet *p);
struct packet *packet_copy(struct sim *s, const struct packet *p);
static inline uint8_t *packet_frame(struct packet *p)
{
	return p->bytes + p->offset;
}

// The addresses, ports and transport bytes of a whole IPv4 packet in a frame, as ends see it.
struct datagram {
	be32 src;
	be32 dst;
	be16 src_port;
	be16 dst_port;
	uint8_t protocol;
	struct tcp_segment tcp;
	uint8_t *data; // TCP_SEGMENT_BYTES of it, or NULL
};

// What a segment of data holds.
struct content {
	uint32_t connection;
	uint16_t vm; // that sent it, or which the client believes to be connected to; UINT16_MAX: none yet
	uint16_t n_asked; // a client's: segments of answer that this one asks for
	uint32_t number; // of the segment
	uint32_t check;
};

_Static_assert(sizeof(struct content) == TCP_SEGMENT_BYTES, "a segment is one content");

// Writes a frame with right checksums; content NULL: no data.
void packet_write(struct packet *p, const struct datagram *d, const struct content *content, const struct mac *dst,
                  const struct mac *src);

// False: damaged (length, checksums, or the content's own check).
bool packet_read(uint8_t *frame, uint32_t len, struct datagram *ret_datagram);
void content_seal(struct content *c);

// network.c
void network_from_client(struct sim *s, struct packet *p, uint32_t connection); // to a mux, by a router
void network_to(struct sim *s, struct packet *p, enum place to, uint32_t idx); // a link
void network_by_address(struct sim *s, struct packet *p); // where the IP header says: what leaves a mux or host
void network_pins(struct sim *s, uint32_t mux, const uint8_t *frame, uint32_t n_bytes); // a host's, to a mux
void network_mux_changed(struct sim *s); // routers will see it
void network_on_router(struct sim *s, uint32_t router);

// managers.c
void managers_start(struct sim *s);
void managers_push(struct sim *s); // sends what is due
void managers_on_update(struct sim *s, uint32_t node);
void managers_subscribe(struct sim *s, uint32_t node);
void managers_unsubscribe(struct sim *s, uint32_t node);
void managers_put_vip(struct sim *s, uint32_t vip); // as the VMs' is_in, is_drained and weight say
void managers_put_drains(struct sim *s, uint32_t vip);
void managers_detach(struct sim *s, uint32_t dip);
void managers_attach(struct sim *s, uint32_t dip); // to its host, where it was detached
void managers_revoke(struct sim *s, const struct snat_op *revoke);
void managers_commit(struct sim *s, const struct snat_op_list *ops); // of leases
void managers_push_to(struct sim *s, uint32_t node);
void managers_push_to_muxes(struct sim *s);
void managers_on_ack(struct sim *s, uint32_t node, uint64_t version, uint64_t lease_version);
void managers_lost(struct sim *s); // the leader
void managers_back(struct sim *s); // another one
bool managers_lead(const struct sim *s);
struct subscriber *subscriber_of(struct sim *s, uint32_t node);
void managers_tick(struct sim *s);
bool managers_knows_owner(struct sim *s, uint32_t connection); // is its VM in its bucket's owner history?

// mux.c
void mux_start(struct sim *s, uint32_t mux);
void mux_kill(struct sim *s, uint32_t mux);
void mux_on_update(struct sim *s, uint32_t mux, const struct distribution_update *u); // which is in its store
void mux_on_fence(struct sim *s, uint32_t mux, bool is_fenced);
be32 mux_lessee(const struct sim *s, uint32_t mux, be32 vip,
                uint16_t port); // whose port it is for the mux; 0: nobody's
void mux_on_packet(struct sim *s, uint32_t mux, struct packet *p);
void mux_on_pins(struct sim *s, uint32_t pin_frame);
void mux_free(struct sim *s, uint32_t mux);
void mux_collect(struct sim *s, uint32_t mux); // its counters into the stats

// host.c
void host_start(struct sim *s, uint32_t host);
void host_restart(struct sim *s, uint32_t host, bool keeps_flows);
void host_kill(struct sim *s, uint32_t host);
void host_use_store(struct sim *s, uint32_t host);
bool host_is_up(const struct sim *s, uint32_t host);
struct agent *host_agent(struct sim *s, uint32_t host);
void host_forward(struct sim *s, struct packet *p, const struct agent_packet *ap); // as the agent's verdict says
void host_on_packet(struct sim *s, uint32_t host, struct packet *p);
void host_from_vm(struct sim *s, uint32_t vm, struct packet *p);
void host_on_flush(struct sim *s, uint32_t host);
void host_on_tick(struct sim *s, uint32_t host);
void host_free(struct sim *s, uint32_t host);
void host_collect(struct sim *s, uint32_t host); // its counters into the stats

// client.c
void client_begin_next(struct sim *s);
void client_on_packet(struct sim *s, struct packet *p);
void client_on_event(struct sim *s, uint32_t connection);
void client_break(struct sim *s, uint32_t connection, enum cause cause);
void client_died(struct sim *s, uint32_t connection);
void client_cut(struct sim *s, uint32_t connection);
void client_refused(struct sim *s, uint32_t connection);
void client_on_reply(struct sim *s, uint32_t vm, struct packet *p); // to a VM, of a connection that it opened

// vm.c
void vm_on_packet(struct sim *s, uint32_t vm, struct packet *p);
void vm_on_event(struct sim *s, uint32_t half);
void vm_forget(struct sim *s, uint32_t vm); // it died, or is detached
uint32_t half_new(struct sim *s, uint32_t connection, uint32_t vm);
void half_free(struct sim *s, uint32_t half);
void half_on_segment(struct sim *s, uint32_t half, const struct datagram *d);
void half_accept(struct sim *s, uint32_t half, const struct tcp_segment *syn);

// server.c
void server_on_packet(struct sim *s, struct packet *p);
void server_create(struct sim *s);
void server_remove(struct sim *s, uint32_t half); // from the table
struct datagram server_datagram(const struct half *h);
void server_send(struct sim *s, uint32_t connection, const struct datagram *d, const struct content *content);

// churn.c
void churn_start(struct sim *s);
void churn_on_item(struct sim *s, uint32_t item);
void churn_on_later(struct sim *s, uint32_t later);

// trace.c
void trace_write(struct sim *s, uint32_t connection, const char *format, ...) __attribute__((format(printf, 3, 4)));
const char *trace_flags(uint8_t tcp_flags); // "SYN ACK", in memory that the next call uses again
#define TRACE(s, connection, ...)                                          \
	do {                                                                   \
		if (__builtin_expect((s)->connections[connection].is_followed, 0)) \
			trace_write(s, connection, __VA_ARGS__);                       \
	} while (0)

bool sim_is_sabotaged(const struct sim *s, const char *what);

// report.c
void report_print(const struct sim *s, FILE *out);
uint64_t report_broken(const struct sim *s);
uint64_t report_violations(const struct sim *s);
