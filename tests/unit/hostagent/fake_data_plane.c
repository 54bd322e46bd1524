#include "tests/unit/hostagent/fake_data_plane.h"

#include <string.h>

void data_plane_set_config(struct data_plane *dp, struct agent_config *config)
{
	agent_config_destroy(dp->config);
	dp->config = config;
	dp->n_configs++;
}

const struct agent_config *data_plane_get_config(const struct data_plane *dp)
{
	return dp->config;
}

bool data_plane_tend_ports(struct data_plane *dp)
{
	dp->n_tended++;
	return false;
}

enum vm_port_state data_plane_port_state(const struct data_plane *dp, uint16_t port)
{
	return dp->state;
}

uint32_t data_plane_read_counters(const struct data_plane *dp, struct agent_counter_value *ret_values, uint32_t max)
{
	strcpy(ret_values[0].name, "rx_packets");
	ret_values[0].value = 7;
	return 1;
}
