// A data plane without DPDK, for tests of the control: it keeps what it is told, and reports what the test puts into it.
#pragma once

#include "hostagent/dpdk/data_plane.h"

#define FAKE_ORDERS_MAX 4096
#define FAKE_REPORTS_MAX 256

struct data_plane {
	struct agent_config *config;
	uint32_t n_configs; // how many it was given
	uint32_t n_tended;
	enum vm_port_state state; // of all ports
	uint32_t n_orders;
	uint32_t orders_max; // room; fake_data_plane_init makes it FAKE_ORDERS_MAX
	struct snat_order orders[FAKE_ORDERS_MAX];
	uint32_t n_configs_at_first_order;
	uint32_t n_given; // orders, in all
	uint32_t n_given_at_first_tend;
	uint32_t n_reports;
	struct snat_report reports[FAKE_REPORTS_MAX];
	int report_fd;
	struct snat_dip_status snat; // of slot 1, when it has a DIP
	uint32_t n_held;
	uint32_t dip_flows; // of the DIP in `snat`
};

void fake_data_plane_init(struct data_plane *dp);
void fake_data_plane_fini(struct data_plane *dp);

void fake_data_plane_report(struct data_plane *dp, const struct snat_report *report);

// The orders so far as text, "+PORT/N@EPOCH" for a lease, "-..." for its end, "answer SEQ CODE", "link up", "rebuild"; and
// forgets them.
const char *fake_data_plane_take_orders(struct data_plane *dp);
