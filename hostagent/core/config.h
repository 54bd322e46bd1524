// What the agent's data plane knows of the cluster: one immutable snapshot, built from the store, swapped by RCU.
//
// Holds this host's DIPs with the VM port each is behind, the endpoints that these DIPs serve, who may send encapsulated
// packets (every mux and every host), the addresses of the data centre that are known here, and which DIPs are SNATed with
// which VIPs. All of it in flat hash tables in one allocation; a lookup is one or two cache lines. Beside it, shared with other
// snapshots, who owned the buckets of endpoints whose DIPs have changed (owners.h).
//
// Addresses are 32 bits, of both families (common/packet/addr_names.h): those of IPv6 get names when a snapshot is built. A name that
// the packet path looked up is asked for here as an IPv4 address is; 0, which nothing here has, stands for an unknown one.
//
// A VM port is an interface. Its index is a slot of the data plane's port array and stays the same from snapshot to
// snapshot for as long as the interface has a DIP; several DIPs may be behind one interface, with one MAC address.
// Limits: max_ports interfaces. A DIP that cannot be served (no port left, two MAC addresses for one interface) is kept
// with its problem, so that status can name it; the data plane does not know it.
// Threads: immutable once made; any.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/hash.h"
#include "common/model/store.h"
#include "common/packet/addr_names.h"
#include "common/packet/headers.h"
#include "hostagent/core/flow_state.h"
#include "hostagent/core/owners.h"

#define AGENT_PORTS_MAX 1024
#define AGENT_NO_PORT UINT16_MAX
#define INTERFACE_BYTES 16 // as the kernel has it, with its terminator

enum dip_problem { DIP_OK = 0, DIP_NO_PORT_LEFT, DIP_MAC_CONFLICT, DIP_BAD_INTERFACE };

struct agent_vm_port {
	char interface[INTERFACE_BYTES]; // "": the slot is unused
	struct mac mac; // of the VM
	bool has_ip6; // one of the DIPs behind it is of IPv6
};

struct agent_dip {
	struct ip_addr dip;
	uint16_t port; // AGENT_NO_PORT when there is a problem
	enum dip_problem problem;
};

// One local DIP's part in an endpoint, as the wire has addresses and ports.
struct agent_endpoint {
	be32 vip;
	be32 dip;
	be16 vip_port;
	be16 dip_port;
	uint8_t protocol;
	bool is_used;
	bool is_ambiguous; // in the table by DIP:port: several endpoints use this DIP:port
	uint8_t reserved;
};

// A VIP with which a local DIP is SNATed, and how its ports are leased.
struct agent_snat_vip {
	be32 vip;
	struct snat_policy policy;
};

// A local DIP that is in `snat` lists: its VIPs, ascending.
struct agent_snat {
	be32 dip;
	uint32_t first_vip; // in snat_vips
	uint32_t n_vips;
	uint32_t prealloc_ports; // of all its VIPs together, as what follows
	uint32_t max_ports;
	uint32_t idle_s; // the shortest of its VIPs
};

struct agent_prefix {
	be32 addr;
	be32 mask;
};

// The same of IPv6, as words of the wire.
struct agent_prefix6 {
	uint64_t addr[2];
	uint64_t mask[2];
};

// A mux, and how it is reached: over one family or both.
struct agent_mux {
	be32 addr; // of either family
	be32 addr6; // over IPv6, when addr is IPv4; else 0
};

struct addr_slot {
	be32 addr;
	uint16_t value;
	bool is_used;
};

struct addr_map { // open addressing, at most half full
	uint32_t mask;
	struct addr_slot *slots;
};

struct addr_pair {
	be32 key; // 0: the slot is unused
	be32 value;
};

struct addr_pair_map { // open addressing, at most half full
	uint32_t mask;
	uint32_t n;
	struct addr_pair *slots;
};

struct endpoint_map {
	uint32_t mask;
	struct agent_endpoint *slots;
};

struct owners_map { // by VIP, port and protocol
	uint32_t mask;
	struct endpoint_owners **slots; // each holds a reference
};

struct agent_config {
	uint64_t version; // of the store it was built from
	uint16_t n_ports; // size of ports[], used or not
	uint32_t n_dips;
	const struct addr_names *names; // of the process
	struct agent_vm_port *ports;
	struct agent_dip *dips; // by address
	struct addr_map local_dips; // DIP -> port
	struct addr_pair_map vias; // of all DIPs that have one: DIP -> where what is encapsulated for it is sent
	struct addr_pair_map local_vias; // of those here: via -> DIP
	struct addr_map encap_sources; // muxes and hosts, with both addresses of each
	struct addr_map known; // muxes, hosts, and all DIPs that the store names
	struct endpoint_map by_vip; // (VIP, port, protocol, DIP)
	struct endpoint_map by_dip; // (DIP, port, protocol)
	struct addr_map snat_dips; // DIP -> index in snats
	uint32_t n_snats;
	struct agent_snat *snats;
	struct agent_snat_vip *snat_vips;
	uint32_t n_no_snat;
	struct agent_prefix no_snat[LIMIT_NO_SNAT_PREFIXES]; // destinations that VMs reach with their own address
	uint32_t n_no_snat6;
	struct agent_prefix6 no_snat6[LIMIT_NO_SNAT_PREFIXES];
	struct flow_idles idles; // of the VIPs that say how long their flows may be silent
	uint32_t snat_gone_s; // without a leader for so long: leases may be somebody else's by now; 0: never
	uint64_t cluster_id; // 0: none has arrived, and there are no owners
	uint64_t hash_seed; // of flow_hash, which says in which bucket a flow is
	uint8_t pin_key[PIN_KEY_BYTES];
	uint32_t n_muxes;
	struct agent_mux *muxes; // all of the pool: they get pins
	uint32_t n_owners;
	struct owners_map owners; // of all endpoints with a history
	struct owners_map present; // of those without: one owner a bucket
};

// Builds the snapshot for `host`. `names`: of the process, which the calling thread gives. `previous` (or NULL) is the one in use: its interfaces keep their slots.
// Owners whose history did not change are shared with it. ERR_NO_MEMORY, ERR_LIMIT (max_ports beyond AGENT_PORTS_MAX).
NODISCARD int agent_config_create(const struct store *store, const char *host, uint16_t max_ports,
                                  struct addr_names *names, const struct agent_config *previous,
                                  struct agent_config **ret_config, struct error *err);

void agent_config_destroy(struct agent_config *c);

// Is the DIP attached to this host?
bool agent_config_dip_is_local(const struct store *store, const char *host, const struct ip_addr *dip);

// "too-many-interfaces", for status; "ok" for DIP_OK.
const char *dip_problem_name(enum dip_problem problem);

// ---- Lookups of the packet path ----

// One multiplication (Knuth's multiplicative hashing): the keys are the operator's own addresses, not an attacker's.
static inline uint32_t addr_map_start(be32 addr)
{
	return (uint32_t)((addr * 0x9e3779b97f4a7c15ULL) >> 32);
}

static inline const struct addr_slot *addr_map_lookup(const struct addr_map *m, be32 addr)
{
	for (uint32_t i = addr_map_start(addr) & m->mask; m->slots[i].is_used; i = (i + 1) & m->mask)
		if (m->slots[i].addr == addr)
			return &m->slots[i];
	return NULL;
}

// The value of a key; 0: it has none.
static inline be32 addr_pair_lookup(const struct addr_pair_map *m, be32 key)
{
	for (uint32_t i = addr_map_start(key) & m->mask; m->slots[i].key != 0; i = (i + 1) & m->mask)
		if (m->slots[i].key == key)
			return m->slots[i].value;
	return 0;
}

// Where what is encapsulated for a DIP is sent: its via, or the DIP itself.
static inline be32 agent_config_way_to(const struct agent_config *c, be32 dip)
{
	be32 via = __builtin_expect(c->vias.n == 0, 1) ? 0 : addr_pair_lookup(&c->vias, dip);
	return via == 0 ? dip : via;
}

// The DIP here that has this via; 0: none has.
static inline be32 agent_config_dip_of_via(const struct agent_config *c, be32 via)
{
	return __builtin_expect(c->local_vias.n == 0, 1) ? 0 : addr_pair_lookup(&c->local_vias, via);
}

// The VM port behind a local DIP; AGENT_NO_PORT when no VM here has it.
static inline uint16_t agent_config_lookup_dip(const struct agent_config *c, be32 dip)
{
	const struct addr_slot *slot = addr_map_lookup(&c->local_dips, dip);
	return slot == NULL ? AGENT_NO_PORT : slot->value;
}

static inline bool agent_config_is_encap_source(const struct agent_config *c, be32 addr)
{
	return addr_map_lookup(&c->encap_sources, addr) != NULL;
}

static inline bool agent_config_is_known(const struct agent_config *c, be32 addr)
{
	return addr_map_lookup(&c->known, addr) != NULL;
}

// How a local DIP is SNATed; NULL when it is in no `snat` list.
static inline const struct agent_snat *agent_config_lookup_snat(const struct agent_config *c, be32 dip)
{
	const struct addr_slot *slot = addr_map_lookup(&c->snat_dips, dip);
	return slot == NULL ? NULL : &c->snats[slot->value];
}

// Is it a destination that VMs reach with their own address: an address of the data centre, or inside a no_snat prefix?
bool agent_config_is_inside(const struct agent_config *c, be32 addr);

// The same of an IPv6 address, 16 bytes, and of its name (0: it has none).
bool agent_config_is_inside6(const struct agent_config *c, const uint8_t *addr, be32 name);

// The endpoint VIP:port of which this local DIP is a part, or NULL.
const struct agent_endpoint *agent_config_lookup_endpoint(const struct agent_config *c, be32 vip, be16 vip_port,
                                                          uint8_t protocol, be32 dip);

// The endpoint that uses DIP:port, or NULL; is_ambiguous when there are several.
const struct agent_endpoint *agent_config_lookup_service(const struct agent_config *c, be32 dip, be16 dip_port,
                                                         uint8_t protocol);

// Who owns the buckets of an endpoint without history; NULL: it is no endpoint here, or has a history.
const struct endpoint_owners *agent_config_find_present(const struct agent_config *c, be32 vip, be16 vip_port,
                                                        uint8_t protocol);

// Who owned the buckets of this endpoint; NULL when its DIPs have not changed lately.
const struct endpoint_owners *agent_config_find_owners(const struct agent_config *c, be32 vip, be16 vip_port,
                                                       uint8_t protocol);

static inline const struct endpoint_owners *agent_config_lookup_owners(const struct agent_config *c, be32 vip,
                                                                       be16 vip_port, uint8_t protocol)
{
	if (__builtin_expect(c->n_owners == 0, 1))
		return NULL;
	return agent_config_find_owners(c, vip, vip_port, protocol);
}
