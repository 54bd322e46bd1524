// anantactl vip history|rollback, and vip show --version.
#pragma once

#include "manager/cli/command.h"

enum status show_vip_history(struct cli *cli, const char *operand);
enum status roll_vip_back(struct cli *cli, const char *operand);

// The configuration of a VIP at a version that is kept, as the caller's.
NODISCARD enum status get_vip_version(struct cli *cli, const struct ip_addr *vip, struct vip_config **ret_config);

// --if-version of one VIP; *ret_given: it was there.
NODISCARD enum status read_if_version(struct cli *cli, uint64_t *ret_version, bool *ret_given);

// "vip 203.0.113.10 applied (version 7)"; then waits, with --wait.
NODISCARD enum status report_vip(struct cli *cli, const struct ip_addr *vip, const char *what, uint64_t version);
