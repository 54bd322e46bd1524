// The agent's control: what managers send becomes the store, the store becomes the data plane's configuration.
//
//   manager_link --update--> store --> agent_config_create --> data_plane_set_config
//                              +-----> store_file (for the next process)
//                              +-----> prober (health of the VMs) --HealthReport--> manager_link
//   local_socket --command--> host checked and filled in --> manager_link_request --> leader --> reply passed back
//
// It serves with the last configuration for as long as no manager is reachable; after a restart with the one from the
// state directory.
// Threads: everything on the thread of its uv loop.
#pragma once

#include <uv.h>

#include "common/io/conn.h"
#include "common/io/manager_link.h"
#include "common/model/store.h"
#include "hostagent/dpdk/data_plane.h"
#include "hostagent/io/config.h"
#include "common/io/state_dir.h"

struct control;

// Loads the last configuration, begins to subscribe, listens on the local socket. Borrows all of its arguments; from now on its
// thread gives the names of addresses.
NODISCARD int control_create(uv_loop_t *loop, const struct agent_file_config *config, const struct state_dir *dir,
                             struct data_plane *dp, struct addr_names *names, struct control **ret_control,
                             struct error *err);

// Closes everything; the memory goes with the loop's next turns. The data plane stays as it is.
void control_destroy(struct control *c);
