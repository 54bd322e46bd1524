// Orders from the control thread to the worker, reports from the worker to the control thread: two rings with one producer and
// one consumer each, and a descriptor that becomes readable with a report, so that a request for ports leaves at once.
//
// An empty ring costs the worker one load a turn. A full one: orders wait on the control thread, reports in the core.
// Threads: put_orders, next_report: control; take_orders, put_report, wake: worker.
#pragma once

#include <rte_ring.h>
#include <stdbool.h>

#include "common/base/error.h"
#include "hostagent/core/snat.h"

#define SNAT_ORDERS_RING 16384 // powers of two; one place stays empty
#define SNAT_REPORTS_RING 4096

struct snat_rings {
	struct rte_ring *orders;
	struct rte_ring *reports;
	int report_fd; // an eventfd; -1: none
};

// After the EAL has started. ERR_NO_MEMORY, ERR_IO; *r may then be finished.
NODISCARD int snat_rings_init(struct snat_rings *r, struct error *err);
void snat_rings_fini(struct snat_rings *r);

// How many there was room for.
uint32_t snat_rings_put_orders(struct snat_rings *r, const struct snat_order *orders, uint32_t n);
uint32_t snat_rings_take_orders(struct snat_rings *r, struct snat_order *ret_orders, uint32_t max);

bool snat_rings_has_room(const struct snat_rings *r); // for a report
void snat_rings_put_report(struct snat_rings *r, const struct snat_report *report);
void snat_rings_wake(struct snat_rings *r); // the control thread, after reports were put

bool snat_rings_next_report(struct snat_rings *r, struct snat_report *ret_report);
