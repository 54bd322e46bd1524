#include "tests/unit/hostagent/fake_data_plane.h"

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/base/text.h"

void fake_data_plane_init(struct data_plane *dp)
{
	memset(dp, 0, sizeof *dp);
	dp->state = VM_PORT_OPEN;
	dp->orders_max = FAKE_ORDERS_MAX;
	dp->report_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	CHECK(dp->report_fd >= 0);
}

void fake_data_plane_fini(struct data_plane *dp)
{
	agent_config_destroy(dp->config);
	close(dp->report_fd);
}

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
	if (dp->n_tended++ == 0)
		dp->n_given_at_first_tend = dp->n_given;
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

uint32_t data_plane_send_orders(struct data_plane *dp, const struct snat_order *orders, uint32_t n)
{
	if (dp->n_orders == 0 && n > 0)
		dp->n_configs_at_first_order = dp->n_configs;
	uint32_t room = dp->orders_max - dp->n_orders;
	uint32_t n_taken = n < room ? n : room;
	memcpy(dp->orders + dp->n_orders, orders, n_taken * sizeof *orders);
	dp->n_orders += n_taken;
	dp->n_given += n_taken;
	return n_taken;
}

int data_plane_report_fd(const struct data_plane *dp)
{
	return dp->report_fd;
}

bool data_plane_next_report(struct data_plane *dp, struct snat_report *ret_report)
{
	uint64_t count;
	if (dp->n_reports == 0) {
		(void)!read(dp->report_fd, &count, sizeof count);
		return false;
	}
	*ret_report = dp->reports[0];
	memmove(dp->reports, dp->reports + 1, --dp->n_reports * sizeof *dp->reports);
	return true;
}

uint32_t data_plane_snat_slots(const struct data_plane *dp)
{
	return 2;
}

uint32_t data_plane_dip_flows(const struct data_plane *dp, be32 dip)
{
	return dip == dp->snat.dip ? dp->dip_flows : 0;
}

bool data_plane_read_snat(const struct data_plane *dp, uint16_t slot, struct snat_dip_status *ret_status,
                          uint32_t *ret_n_held)
{
	if (slot != 1 || dp->snat.dip == 0)
		return false;
	*ret_status = dp->snat;
	*ret_n_held = dp->n_held;
	return true;
}

void fake_data_plane_report(struct data_plane *dp, const struct snat_report *report)
{
	uint64_t one = 1;
	CHECK(dp->n_reports < FAKE_REPORTS_MAX);
	dp->reports[dp->n_reports++] = *report;
	(void)!write(dp->report_fd, &one, sizeof one);
}

static void format_order(const struct snat_order *o, char *buf, size_t size)
{
	switch (o->kind) {
	case SNAT_ORDER_LEASE: text_format(buf, size, "+%u/%u@%u", o->first_port, o->n_ports, o->epoch); return;
	case SNAT_ORDER_END: text_format(buf, size, "-%u/%u@%u", o->first_port, o->n_ports, o->epoch); return;
	case SNAT_ORDER_ANSWERED:
		text_format(buf, size, "answer %llu %s", (unsigned long long)o->seq, error_code_name(o->code));
		return;
	case SNAT_ORDER_LINK: text_format(buf, size, "link %s", o->is_up ? "up" : "down"); return;
	case SNAT_ORDER_REBUILD: text_format(buf, size, "rebuild"); return;
	}
}

const char *fake_data_plane_take_orders(struct data_plane *dp)
{
	static char text[4096];
	size_t n = 0;
	text[0] = '\0';
	for (uint32_t i = 0; i < dp->n_orders && n < sizeof text - 64; i++) {
		if (i > 0)
			n += strlen(strcpy(text + n, ", "));
		format_order(&dp->orders[i], text + n, sizeof text - n);
		n += strlen(text + n);
	}
	dp->n_orders = 0;
	return text;
}
