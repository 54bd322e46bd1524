// Outbound SNAT of this host's VMs: which leased ports a DIP has, which are in use towards whom, what must be asked for and
// what can go back (design section 5; paper section 3.5.1).
//
//   control thread --snat_order--> worker (struct snat) --snat_report--> control thread
//
// A lease is divided into blocks of SNAT_UNIT_PORTS ports. A DIP has its blocks in the order in which they came, and uses the
// first `window` of them, which grows with need and shrinks again, so that what is not needed falls idle and goes back.
// Threads: the worker's; orders and reports are carried over by the edge.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/bytes.h"
#include "common/base/error.h"
#include "common/base/mono.h"

enum snat_order_kind {
	SNAT_ORDER_LEASE = 1, // dip has vip:first_port .. +n_ports with this epoch; repeating it changes nothing
	SNAT_ORDER_END, // dip has it no more: known flows go on, nothing new begins
	SNAT_ORDER_ANSWERED, // the request of dip with this seq was answered; its leases came before. code 0, or the refusal
	SNAT_ORDER_LINK, // a leader can be asked (is_up), or not
	SNAT_ORDER_REBUILD, // all leases that were saved have come: count the flows that use them, once, after a restart
};

struct snat_order {
	enum snat_order_kind kind;
	be32 vip;
	be32 dip;
	uint16_t first_port; // as a number
	uint16_t n_ports;
	uint32_t epoch;
	uint64_t seq;
	enum error_code code;
	bool is_up;
};

enum snat_report_kind {
	SNAT_REPORT_WANTED = 1, // ask for n_ports for dip, as request seq; again when it was not answered in time
	SNAT_REPORT_RETURNED, // this lease is not used any more: give it back
	SNAT_REPORT_EXHAUSTED, // a connection of dip to remote:remote_port found no port (at most one a second and DIP)
	SNAT_REPORT_NEAR_LIMIT, // dip has leased 80 % of what it may
};

struct snat_report {
	enum snat_report_kind kind;
	be32 vip;
	be32 dip;
	be32 remote;
	be16 remote_port;
	uint8_t protocol;
	uint16_t first_port;
	uint16_t n_ports;
	uint32_t n_wanted;
	uint32_t epoch;
	uint64_t seq;
	enum error_code code; // of SNAT_REPORT_EXHAUSTED: what the last answer said; 0: the limit of the configuration
};

struct snat;
