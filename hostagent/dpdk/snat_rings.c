#include "hostagent/dpdk/snat_rings.h"

#include <errno.h>
#include <rte_errno.h>
#include <rte_ring_elem.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

_Static_assert(sizeof(struct snat_order) % 4 == 0 && sizeof(struct snat_report) % 4 == 0, "elements of rte_ring");

int snat_rings_init(struct snat_rings *r, struct error *err)
{
	unsigned flags = RING_F_SP_ENQ | RING_F_SC_DEQ;
	r->report_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->report_fd < 0)
		return error_set(err, ERR_IO, "cannot make an eventfd: %s", strerror(errno));
	r->orders = rte_ring_create_elem("snat_orders", sizeof(struct snat_order), SNAT_ORDERS_RING, SOCKET_ID_ANY, flags);
	r->reports =
		rte_ring_create_elem("snat_reports", sizeof(struct snat_report), SNAT_REPORTS_RING, SOCKET_ID_ANY, flags);
	if (r->orders == NULL || r->reports == NULL)
		return error_set(err, ERR_NO_MEMORY, "no memory for the rings of SNAT: %s", rte_strerror(rte_errno));
	return 0;
}

void snat_rings_fini(struct snat_rings *r)
{
	rte_ring_free(r->orders);
	rte_ring_free(r->reports);
	if (r->report_fd >= 0)
		close(r->report_fd);
	*r = (struct snat_rings){ .report_fd = -1 };
}

uint32_t snat_rings_put_orders(struct snat_rings *r, const struct snat_order *orders, uint32_t n)
{
	return rte_ring_sp_enqueue_burst_elem(r->orders, orders, sizeof *orders, n, NULL);
}

uint32_t snat_rings_take_orders(struct snat_rings *r, struct snat_order *ret_orders, uint32_t max)
{
	return rte_ring_sc_dequeue_burst_elem(r->orders, ret_orders, sizeof *ret_orders, max, NULL);
}

bool snat_rings_has_room(const struct snat_rings *r)
{
	return !rte_ring_full(r->reports);
}

void snat_rings_put_report(struct snat_rings *r, const struct snat_report *report)
{
	(void)rte_ring_sp_enqueue_burst_elem(r->reports, report, sizeof *report, 1, NULL);
}

void snat_rings_wake(struct snat_rings *r)
{
	uint64_t one = 1;
	(void)!write(r->report_fd, &one, sizeof one);
}

static bool take_report(struct snat_rings *r, struct snat_report *ret_report)
{
	return rte_ring_sc_dequeue_burst_elem(r->reports, ret_report, sizeof *ret_report, 1, NULL) == 1;
}

bool snat_rings_next_report(struct snat_rings *r, struct snat_report *ret_report)
{
	uint64_t count;
	if (take_report(r, ret_report))
		return true;
	// The descriptor is cleared before the last look, so that what is put after it makes it readable again.
	if (read(r->report_fd, &count, sizeof count) != sizeof count)
		return false;
	return take_report(r, ret_report);
}
