// A VIP's configuration, applied as a whole (paper section 3.2.1): endpoints with their DIPs, and the SNAT list.
//
// A vip_config owns its lists. Lists are sorted (endpoints by protocol and port, DIPs by address) by vip_config_validate,
// so that equal configurations are equal byte for byte, in whatever order an operator wrote them.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/text.h"
#include "common/model/ip_addr.h"

struct endpoint_dip {
	struct ip_addr dip;
	uint16_t port; // on the DIP; 0 where the endpoint's protocol is IP_PROTO_ANY
	uint16_t weight; // 1 to LIMIT_WEIGHT: share of new connections relative to the other DIPs
};

// How agents find out whether a DIP of an endpoint serves.
enum probe_type {
	PROBE_NONE, // they do not: it is taken for healthy
	PROBE_TCP, // a connection is accepted
	PROBE_HTTP, // GET path is answered with an expected status
};

#define PROBE_PATH_BYTES 96

struct probe {
	enum probe_type type; // PROBE_NONE: all that follows is 0
	uint16_t port; // 0: the DIP's own port of the endpoint
	char path[PROBE_PATH_BYTES]; // of PROBE_HTTP, begins with "/"
	uint16_t expect_min; // of PROBE_HTTP: statuses that count as success
	uint16_t expect_max;
	uint32_t interval_ms;
	uint32_t timeout_ms; // at most interval_ms
	uint8_t up; // so many successes one after the other make it healthy
	uint8_t down; // so many failures make it unhealthy
};

#define PROBE_DEFAULT                                                                                                  \
	{                                                                                                                  \
		.path = "/", .expect_min = 200, .expect_max = 399, .interval_ms = 2000, .timeout_ms = 1000, .up = 2, .down = 2 \
	}
#define PROBE_INTERVAL_MIN_MS 100
#define PROBE_INTERVAL_MAX_MS 3600000
#define PROBE_COUNT_MAX 100 // of up and down

struct endpoint {
	char name[NAME_BYTES];
	uint8_t protocol; // IP_PROTO_TCP, IP_PROTO_UDP, or IP_PROTO_ANY: all but those and ICMP (common/packet/headers.h)
	uint16_t port; // on the VIP; 0 of IP_PROTO_ANY, as those of its DIPs
	struct probe probe;
	uint32_t n_dips;
	struct endpoint_dip *dips;
};

// How the VIP's ports are leased to its SNAT DIPs.
struct snat_policy {
	uint16_t range_size; // ports of a lease: a power of two, 8 to 1024
	uint16_t first_port; // the lowest port that is leased; a multiple of range_size
	uint32_t prealloc_ports; // what a DIP is leased before it asks, and keeps when idle
	uint32_t max_ports_per_dip;
	uint32_t idle_s; // after which an agent returns a range without flows
};

#define SNAT_POLICY_DEFAULT                                                                                   \
	{                                                                                                         \
		.range_size = 8, .first_port = 1024, .prealloc_ports = 160, .max_ports_per_dip = 16384, .idle_s = 120 \
	}

#define DRAIN_DEFAULT_S 3600

struct vip_config {
	struct ip_addr vip;
	char tenant[NAME_BYTES];
	uint32_t n_endpoints;
	struct endpoint *endpoints;
	uint32_t n_snat_dips;
	struct ip_addr *snat_dips;
	struct snat_policy snat; // all 0 when there are no SNAT DIPs
	bool refuses_when_down; // all DIPs of an endpoint are unhealthy: refuse new connections, instead of sending to all
	uint32_t idle_tcp_s; // after which an agent forgets an established connection; 0: as flow_state.h says
	uint32_t idle_udp_s; // likewise a flow of UDP, or of another protocol without connections
	uint32_t drain_s; // how long earlier owners of buckets are remembered, and drained DIPs keep their connections
};

// Frees the lists and the struct; NULL is fine.
void vip_config_destroy(struct vip_config *vip);

// A deep copy, NULL when memory is short.
struct vip_config *vip_config_clone(const struct vip_config *vip);

// Checks all rules of one document and sorts its lists; a snat policy of range_size 0, and a
// drain_s of 0, become the default ones. ERR_INVALID or ERR_LIMIT with the field and what is right; on
// failure the order of lists is unspecified, nothing else is changed.
NODISCARD int vip_config_validate(struct vip_config *vip, struct error *err);

bool vip_config_equal(const struct vip_config *a, const struct vip_config *b);

// Does any endpoint, or the SNAT list, hold this DIP?
bool vip_config_has_dip(const struct vip_config *vip, const struct ip_addr *dip);

// NULL when there is none.
const struct endpoint *vip_config_lookup_endpoint(const struct vip_config *vip, uint8_t protocol, uint16_t port);
const struct endpoint_dip *endpoint_lookup_dip(const struct endpoint *e, const struct ip_addr *dip);

// What names an endpoint in one text: "203.0.113.10 tcp 80", into NAME_BYTES; and back (ERR_INVALID).
const char *endpoint_key_format(const struct ip_addr *vip, uint8_t protocol, uint16_t port, char *buf);
NODISCARD int endpoint_key_parse(const char *text, struct ip_addr *ret_vip, uint8_t *ret_protocol, uint16_t *ret_port);

bool probe_equal(const struct probe *a, const struct probe *b);

// "tcp", "udp", "any"; NULL for others. And back: 0 for an unknown name.
const char *protocol_name(uint8_t protocol);
uint8_t protocol_parse(const char *name);
