// Free TCP ports of the loopback address, for servers that tests start.
#pragma once

#include <stdint.h>

// Fills ports with n distinct ones. They were free a moment ago.
void find_free_ports(uint16_t *ports, unsigned n);
