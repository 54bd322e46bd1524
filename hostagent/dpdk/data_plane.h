// The agent's data plane as the control thread sees it: ports, one worker, and what they are to do.
//
//   data_plane_start --> worker runs --> set_config (again and again), tend_ports (every second) --> data_plane_stop
//
// What the worker works with is one immutable view (configuration and open ports), published by a pointer and taken back
// by RCU; so a port is closed only when the worker has let go of it, and a configuration always fits its ports.
// A VM's interface that is missing is looked for again and again; one that vanishes (the VM died) is noticed, closed, and
// opened again when it is back.
// Threads: all calls from one control thread, the main one; the worker is inside.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/io/node_config.h"
#include "hostagent/core/config.h"
#include "hostagent/core/counters.h"
#include "hostagent/core/flow_table.h"
#include "hostagent/core/snat.h"

struct data_plane;

struct data_plane_config {
	const struct node_config *node;
	char vm_driver[16]; // "af_xdp", "af_packet"
	uint16_t max_vms;
	uint16_t mss;
	bool proxy_arp;
	struct ip_addr probe_address; // put on the tap beside the node's own; unspecified: none
	struct ip_addr probe_address6; // likewise of IPv6
	struct flow_table flows; // made or attached; its memory outlives the data plane
	bool is_restored; // attached: its flows are counted as restored
	struct snat *snat; // likewise outlives the data plane
};

enum vm_port_state { VM_PORT_UNUSED, VM_PORT_MISSING, VM_PORT_FAILED, VM_PORT_OPEN };

// Starts DPDK, opens uplink and tap (addresses and default route on the tap), starts the worker.
NODISCARD int data_plane_start(const struct data_plane_config *config, struct data_plane **ret_dp, struct error *err);

// Stops the worker, closes all ports. NULL is fine.
void data_plane_stop(struct data_plane *dp);

// Takes `config`: ports of interfaces that left are closed, the worker goes over to it. New ones open by tend_ports.
void data_plane_set_config(struct data_plane *dp, struct agent_config *config);

// The configuration in use; NULL before the first.
const struct agent_config *data_plane_get_config(const struct data_plane *dp);

// Closes ports whose interface has vanished and opens at most one that is missing (it takes up to 100 ms). True: there may be
// more to open, call again soon; false: in a second.
bool data_plane_tend_ports(struct data_plane *dp);

enum vm_port_state data_plane_port_state(const struct data_plane *dp, uint16_t port);

// Counters with their names, as agent_counters_read, and for each VM port vm_<interface>_rx_packets, _tx_packets.
uint32_t data_plane_read_counters(const struct data_plane *dp, struct agent_counter_value *ret_values, uint32_t max);

// How many load-balanced flows a local DIP has.
uint32_t data_plane_dip_flows(const struct data_plane *dp, be32 dip);

// ---- SNAT: between the control thread and the worker ----

// Gives the worker orders, which it carries out in this order, before the packets that come then, and wakes it. Returns how many
// there was room for; the others are to be given again in a moment. An order is carried out with the configuration that was
// set before it, or a later one.
uint32_t data_plane_send_orders(struct data_plane *dp, const struct snat_order *orders, uint32_t n);

// Is readable when the worker has reported something.
int data_plane_report_fd(const struct data_plane *dp);

// The next report; false when there is none, and then report_fd becomes readable with the next one.
bool data_plane_next_report(struct data_plane *dp, struct snat_report *ret_report);

// The SNAT of the DIP that has this slot, of data_plane_snat_slots; false when none has. Cheap enough to ask for all.
uint32_t data_plane_snat_slots(const struct data_plane *dp);
bool data_plane_read_snat(const struct data_plane *dp, uint16_t slot, struct snat_dip_status *ret_status,
                          uint32_t *ret_n_held);
