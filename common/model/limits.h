// The limits of a configuration. What is beyond is refused with ERR_LIMIT or ERR_INVALID; the old configuration stands.
#pragma once

#define LIMIT_VIPS 20000
#define LIMIT_ENDPOINTS_PER_VIP 256
#define LIMIT_DIPS_PER_ENDPOINT 4096
#define LIMIT_SNAT_DIPS_PER_VIP 4096
#define LIMIT_DIPS_PER_VIP 8192 // all endpoints and snat together: one VIP must fit into one message of 1 MiB
#define LIMIT_WEIGHT 1000
#define LIMIT_DRAIN_S (30u * 86400)
#define LIMIT_IDLE_MIN_S 10u // of flows
#define LIMIT_IDLE_S (30u * 86400)
#define LIMIT_MUXES 256
#define LIMIT_HOSTS 10000
#define LIMIT_DIPS 100000
#define LIMIT_CONFIG_FILE_BYTES (8u << 20)
