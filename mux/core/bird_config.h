// BIRD's complete configuration for a mux, as text: learns the VIP routes of the kernel's table and announces them to routers,
// those of protocol 201 with the GRACEFUL_SHUTDOWN community (RFC 8326), over BGP with MD5 (RFC 2385), GTSM (RFC 5082) and
// BFD (RFC 5880).
//
// Whatever the configuration holds, the text is BIRD's syntax and says no more than was meant: names and passwords are checked
// by bgp_config_check, and what could end a string is refused.
// Pure.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/model/ip_addr.h"

#define BGP_PEERS_MAX 16
#define BGP_PEER_NAME_BYTES 33
#define BGP_PASSWORD_BYTES 81 // TCP MD5 signatures take 80 (linux/tcp.h: TCP_MD5SIG_MAXKEYLEN)
#define BIRD_CONFIG_BYTES_MAX 16384

struct bgp_peer {
	char name[BGP_PEER_NAME_BYTES];
	struct ip_addr address; // of either family
	uint32_t as;
	char password[BGP_PASSWORD_BYTES]; // "": none
	bool ttl_security;
	uint8_t multihop; // how many hops it may be away; 0: on the same segment
};

struct bgp_config {
	uint32_t as; // the mux's own
	struct ip_addr router_id; // IPv4
	uint32_t n_peers;
	struct bgp_peer peers[BGP_PEERS_MAX];
	bool has_bfd;
	uint32_t bfd_interval_ms;
	uint32_t bfd_multiplier;
	uint32_t hold_s;
	uint32_t keepalive_s;
};

// Where the mux is.
struct bird_place {
	struct ip_addr address; // of the mux, of IPv4; unspecified: it has none
	struct ip_addr address6;
	const char *tap; // its interface
	uint32_t table; // of VIP routes
};

// ERR_INVALID with the field ("peers[1].password") and what is right.
NODISCARD int bgp_config_check(const struct bgp_config *c, struct error *err);

// Of a configuration that was checked, with a place whose tap text_is_name. ERR_LIMIT when BIRD_CONFIG_BYTES_MAX is too little.
NODISCARD int bird_config_format(const struct bgp_config *c, const struct bird_place *at, char *buf, size_t size);

// What a configuration of the operator's own must have: whether the text reads the kernel table, and has BFD. Comments are left
// out; other files that it includes are not looked into.
bool bird_text_reads_table(const char *text, uint32_t table);
bool bird_text_has_bfd(const char *text);
