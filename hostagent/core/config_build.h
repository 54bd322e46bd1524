// How a snapshot (config.h) is built by several files; internal to the core.
#pragma once

#include "hostagent/core/config.h"

struct config_build {
	struct agent_config *config;
	struct addr_names *names;
	bool lacks_names; // there was no memory for one: what is built is thrown away
};

// The address in 32 bits: IPv4 as it is, the name of IPv6, 0 for the unspecified one.
be32 config_name(struct config_build *b, const struct ip_addr *addr);
void config_map_insert(struct addr_map *m, be32 addr, uint16_t value);

// Where the search for (address, port, protocol) begins.
static inline uint32_t config_service_start(be32 addr, be16 port, uint8_t protocol)
{
	return (uint32_t)(hash_mix64((uint64_t)addr << 32 | (uint64_t)port << 8 | protocol) >> 16);
}

void config_add_snats(struct config_build *b, const struct store *store, const char *host); // config_snat.c
void config_add_settings(struct config_build *b, const struct cluster_settings *settings);

// config_owners.c. ERR_NO_MEMORY.
NODISCARD int config_add_owners(struct config_build *b, const struct store *store, const struct agent_config *previous);
