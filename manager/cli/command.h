// The subcommands of anantactl as a table, and what they share: connecting, reporting, printing.
#pragma once

#include <jansson.h>
#include <stdio.h>

#include "manager/cli/client.h"
#include "manager/cli/options.h"

// Exit codes.
enum status {
	STATUS_DONE = 0,
	STATUS_REFUSED = 1, // by the cluster; the sentence says why
	STATUS_USAGE = 2, // wrong command line or input file
	STATUS_UNREACHABLE = 3, // no manager, no leader, no answer in time
	STATUS_CHANGES = 4, // of a plan: it would change something
};

struct cli {
	const struct options *options;
	struct client *client; // once connected
	uint32_t n_managers;
	const char *managers[REPLICAS_MAX];
	char text[REPLICAS_MAX * ENDPOINT_TEXT_BYTES]; // what they point into
};

struct command {
	const char *noun; // "vip"
	const char *verb; // "apply"; NULL: the noun alone is the command
	const char *operand; // "VIP", or "[VIP]" when it may be left out, or NULL
	unsigned required; // option bits
	unsigned optional;
	const char *summary; // one line
	const char *example; // what follows `anantactl `
	enum status (*run)(struct cli *cli, const char *operand);
};

// The commands of each file, ended by one without noun.
extern const struct command vip_commands[];
extern const struct command mux_commands[];
extern const struct command host_commands[];
extern const struct command dip_commands[];
extern const struct command cluster_commands[];
extern const struct command settings_commands[];
extern const struct command snat_commands[];
extern const struct command event_commands[];
extern const struct command apply_commands[];
extern const struct command export_commands[];

// "vip apply", into COMMAND_NAME_BYTES. Returns buf.
#define COMMAND_NAME_BYTES 64
const char *command_name(const struct command *c, char *buf);

// Runs what the options ask for.
enum status command_run(const struct options *options);

// ---- for the commands ----

// "anantactl: ..." on stderr.
void cli_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

// Complains about what a request came to; the status that goes with it.
enum status cli_report(const struct error *err);

// Reads the managers' addresses (--managers or ANANTA_MANAGERS); and the same, with a client for them in cli->client.
NODISCARD enum status cli_read_managers(struct cli *cli);
NODISCARD enum status cli_connect(struct cli *cli);

// Sends a change to the leader. The change is finished.
NODISCARD enum status cli_send_change(struct cli *cli, struct change *change, uint64_t *ret_version);

// The same, bound to terms; *ret_is_unchanged: everything was so already.
NODISCARD enum status cli_submit_change(struct cli *cli, struct change *change, const struct command_terms *terms,
                                        uint64_t *ret_version, bool *ret_is_unchanged);

NODISCARD enum status cli_get_state(struct cli *cli, struct store *ret_state);
NODISCARD enum status cli_get_nodes(struct cli *cli, enum node_role role, const char *name,
                                    struct node_list *ret_nodes);

// The leases of a VIP (unspecified: of all) that hold a port (0: any), at a time (0: now); for client_leases_fini.
NODISCARD enum status cli_get_leases(struct cli *cli, const struct ip_addr *vip, uint16_t port, uint64_t at_ms,
                                     struct leases_reply *ret_leases);

// An address that the user typed; `what` names it in the complaint.
NODISCARD enum status cli_parse_addr(const char *what, const char *text, struct ip_addr *ret_addr);

// Prints and frees.
void cli_print_json(json_t *document);

json_t *cli_json_addr(const struct ip_addr *addr);
json_t *cli_json_time(uint64_t ms); // null for 0
