// What a run of the simulator is: its size, its links, its trouble. The same options and seed give the same run.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum sim_mode {
	MODE_ANANTA, // the product as it is
	MODE_MAGLEV, // no histories reach muxes and agents: everyone sends to the present owner, unknown packets are adopted at once
	MODE_FLOW_TABLE, // as maglev, and each mux remembers which DIP it chose for a flow, as in the Ananta paper
};

enum churn_action {
	CHURN_MUX_KILL, // `amount` muxes; they come back, empty, after half a period
	CHURN_MUX_HANG, // one mux stands still for `amount` seconds
	CHURN_DIPS, // so many DIPs change: half of them leave their VIPs, others that are out come in
	CHURN_DRAIN, // so many DIPs change between drained and not
	CHURN_FLAP, // so many DIPs leave, and come back within a second; the same ones each time
	CHURN_WEIGHTS, // so many DIPs get another weight
	CHURN_HOST_KILL, // `amount` hosts die with their VMs; some seconds later their DIPs are removed and detached
	CHURN_AGENT_RESTART, // of so many hosts; their flow tables are kept
	CHURN_AGENT_LOSE, // the same, without
	CHURN_LEADER, // no manager leads for `amount` seconds
	CHURN_LINK, // so many nodes lose their connection to the leader for less than a second, and what was on it
	CHURN_REVOKE, // `amount` leases
	CHURN_DETACH, // so many VMs; they come back within two periods, half of them on any host
	CHURN_LATE, // a quarter of the nodes gets what comes next `amount` seconds late
	CHURN_ACTIONS
};

struct churn_item {
	enum churn_action action;
	uint32_t amount;
	bool is_percent;
	double period_s;
	double first_s;
};

#define CHURN_ITEMS_MAX 32

struct sim_options {
	uint64_t seed;
	enum sim_mode mode;
	uint32_t n_muxes;
	uint32_t n_hosts;
	uint32_t n_dips;
	uint32_t n_vips;
	uint32_t n_routers;
	uint32_t n_connections;
	uint32_t udp_percent; // of the connections
	uint32_t snat_percent; // of the connections: VMs open them, to servers outside
	uint32_t snat_ports; // of a VIP, that can be leased
	uint32_t snat_max_ports; // max_ports_per_dip
	uint32_t quarantine_s;
	uint32_t out_percent; // of the DIPs that are in no VIP when it begins, if the plan moves DIPs
	double seconds; // over which connections begin
	double lifetime_min_s;
	double lifetime_max_s;
	double patience_s; // without progress for so long: the client gives up
	double skew_s; // configuration reaches each node after up to this
	double detect_s; // until routers stop sending to a mux that died
	uint32_t delay_us; // of a link in the data centre
	uint32_t client_delay_us; // between clients and the data centre
	uint32_t jitter_us;
	uint32_t loss; // chances of a packet on a link, as fractions of 2^32
	uint32_t duplicate;
	uint32_t reorder; // late by up to 20 jitters
	uint32_t drain_s;
	uint32_t max_pins; // of a mux; 0: none
	uint32_t n_trace; // of the first broken connections
	uint32_t follow; // this connection is traced in any case; UINT32_MAX: none
	bool json;
	const char *churn_text;
	uint32_t n_churn;
	struct churn_item churn[CHURN_ITEMS_MAX];
	const char *sabotage; // a mechanism that is broken on purpose, to see that it is noticed; "" for none
};

// Ends the program with a sentence when they are wrong.
void sim_options_parse(int argc, char **argv, struct sim_options *ret_options);

// "mux-kill=1@10+5,dips=10%@10+5", or the name of a built-in plan. False: it is none, *ret_problem says where.
bool churn_parse(const char *text, struct sim_options *o, const char **ret_problem);

const char *sim_mode_name(enum sim_mode mode);
