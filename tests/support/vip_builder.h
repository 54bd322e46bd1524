// VIP configurations for tests.
#pragma once

#include "common/model/object.h"
#include "common/model/vip.h"

// Aborts when the text is no address.
struct ip_addr test_addr(const char *text);

// A VIP with one TCP endpoint "web" on port 80 for each DIP in the NULL-terminated list (weight 1, DIP port 8080).
struct vip_config *test_vip(const char *vip, const char *tenant, const char *const *dips);

// A random valid VIP: address 203.0.113.n, up to 4 endpoints, DIPs of 10.1.0.0/16; the same for the same *seed.
struct vip_config *test_random_vip(unsigned *seed, unsigned n);

// Puts and deletes as changes.
struct change test_put_vip(struct vip_config *vip);
struct change test_delete(enum object_kind kind, const char *key);
struct change test_put_node(enum object_kind kind, const char *name, const char *addr);
struct change test_put_dip(const char *dip, const char *host, const char *interface);
