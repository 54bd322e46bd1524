#include "common/dpdk/eal.h"

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mbuf_pool_ops.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/dpdk/xsk.h"
#include "common/io/log.h"

enum {
	ARGS_MAX = NODE_EAL_ARGS_MAX + 16,
	ARG_BYTES = 256,
	POOL_CACHE = 256,
	OVERHEAD_BYTES_PER_BUFFER = 304, // mbuf, mempool header and spreading, beside headroom and data
	OTHER_MEMORY_MB = 8, // rings, device structures, per-lcore caches
};

struct args {
	int n;
	char text[ARGS_MAX][ARG_BYTES];
	char *argv[ARGS_MAX + 1]; // rte_eal_init permutes it
};

static void args_add(struct args *a, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void args_add(struct args *a, const char *format, ...)
{
	CHECK(a->n < ARGS_MAX);
	va_list list;
	va_start(list, format);
	vsnprintf(a->text[a->n], ARG_BYTES, format, list);
	va_end(list);
	a->argv[a->n] = a->text[a->n];
	a->n++;
}

static bool node_has_arg(const struct node_config *node, const char *prefix)
{
	for (uint32_t i = 0; i < node->n_eal_args; i++)
		if (strncmp(node->eal_args[i], prefix, strlen(prefix)) == 0)
			return true;
	return false;
}

static uint32_t pool_buffers(const struct dpdk_eal_config *config)
{
	return config->n_ports_max * config->n_workers * DPDK_BUFFERS_PER_QUEUE + config->n_workers * DPDK_BUFFERS_SHARED +
	       config->n_buffers_held;
}

static uint32_t memory_mb(const struct dpdk_eal_config *config)
{
	uint64_t buffer_bytes = DPDK_BUFFER_DATA_BYTES + RTE_PKTMBUF_HEADROOM + OVERHEAD_BYTES_PER_BUFFER;
	return (uint32_t)(pool_buffers(config) * buffer_bytes >> 20) + OTHER_MEMORY_MB;
}

// "(0-2)@(0,1,5)": all lcores on all CPUs that this process may use, the kernel schedules them. Pinning is for servers,
// where "eal" says so.
static void add_lcores(struct args *a, uint32_t n_workers)
{
	char text[ARG_BYTES];
	cpu_set_t cpus;
	CPU_ZERO(&cpus);
	(void)sched_getaffinity(0, sizeof cpus, &cpus);
	int used = snprintf(text, sizeof text, "(0-%u)@(", n_workers);
	const char *comma = "";
	for (int cpu = 0; cpu < CPU_SETSIZE && used < ARG_BYTES - 8; cpu++) {
		if (!CPU_ISSET(cpu, &cpus))
			continue;
		used += snprintf(text + used, sizeof text - (size_t)used, "%s%d", comma, cpu);
		comma = ",";
	}
	args_add(a, "--lcores=%s)", text);
}

// A PCI device is probed by its address ("0000:3b:00.0", "3b:00.0"); all others are made by name.
static bool is_pci(const char *device)
{
	unsigned domain, bus, slot, function;
	return sscanf(device, "%x:%x:%x.%x", &domain, &bus, &slot, &function) == 4 ||
	       sscanf(device, "%x:%x.%x", &bus, &slot, &function) == 3;
}

static void build_args(struct args *a, const struct dpdk_eal_config *config)
{
	const struct node_config *node = config->node;
	args_add(a, "%s", config->program);
	for (uint32_t i = 0; i < node->n_eal_args; i++)
		args_add(a, "%s", node->eal_args[i]);
	if (node->n_eal_args == 0) {
		args_add(a, "--no-huge");
		args_add(a, "--no-shconf");
		args_add(a, "-m");
		args_add(a, "%u", memory_mb(config));
	}
	if (!node_has_arg(node, "-l") && !node_has_arg(node, "--lcores") && !node_has_arg(node, "-c"))
		add_lcores(a, config->n_workers);
	if (!node_has_arg(node, "--file-prefix") && !node_has_arg(node, "--in-memory"))
		args_add(a, "--file-prefix=%s-%s", config->program, node->name);
	if (!node_has_arg(node, "--telemetry"))
		args_add(a, "--no-telemetry");
	if (!is_pci(node->uplink_device) && !node_has_arg(node, "-a") && !node_has_arg(node, "--allow"))
		args_add(a, "--no-pci");
	else if (!node_has_arg(node, "-a") && !node_has_arg(node, "--allow"))
		args_add(a, "--allow=%s", node->uplink_device); // and no other card of the machine
	if (!node_has_arg(node, "--log-level"))
		args_add(a, "--log-level=warning");
	// The tap's driver complains of features that nobody here asks of it (flow rules, secondary processes).
	args_add(a, "--log-level=pmd.net.tap:critical");
}

// DPDK's log lines become events of ours.
static ssize_t log_line(void *cookie, const char *text, size_t n)
{
	(void)cookie;
	size_t length = n;
	while (length > 0 && (text[length - 1] == '\n' || text[length - 1] == ' '))
		length--;
	if (length > 0)
		log_warn("dpdk", "text=\"%.*s\"", (int)length, text);
	return (ssize_t)n;
}

static void redirect_log(void)
{
	cookie_io_functions_t functions = { .write = log_line };
	FILE *stream = fopencookie(NULL, "w", functions);
	if (stream == NULL)
		return;
	setvbuf(stream, NULL, _IOLBF, BUFSIZ);
	rte_openlog_stream(stream);
}

static int collect_workers(uint32_t n_workers, struct dpdk_eal *eal, struct error *err)
{
	unsigned lcore;
	eal->n_workers = 0;
	RTE_LCORE_FOREACH_WORKER(lcore)
	if (eal->n_workers < n_workers)
		eal->workers[eal->n_workers++] = lcore;
	if (eal->n_workers < n_workers)
		return error_set(err, ERR_INVALID,
		                 "eal: the lcores given leave %u for workers, %u are needed (one more for control)",
		                 eal->n_workers, n_workers);
	return 0;
}

// As rte_pktmbuf_pool_create, but that would lay one buffer into each page of 4 KB where there are no hugepages, for the sake
// of devices that do DMA, which cannot be had without hugepages anyway: twice the memory, and buffers that all compete for
// the same few sets of the cache (20 cycles a packet in bursts of 32).
struct rte_mempool *dpdk_pool_create(uint32_t n)
{
	struct rte_pktmbuf_pool_private priv = { .mbuf_data_room_size = DPDK_BUFFER_DATA_BYTES + RTE_PKTMBUF_HEADROOM };
	unsigned flags = rte_eal_has_hugepages() ? 0 : RTE_MEMPOOL_F_NO_IOVA_CONTIG;
	unsigned element_bytes = (unsigned)sizeof(struct rte_mbuf) + priv.mbuf_data_room_size;
	struct rte_mempool *pool =
		rte_mempool_create_empty("packets", n, element_bytes, POOL_CACHE, sizeof priv, SOCKET_ID_ANY, flags);
	if (pool == NULL)
		return NULL;
	rte_pktmbuf_pool_init(pool, &priv);
	if (rte_mempool_set_ops_byname(pool, rte_mbuf_best_mempool_ops(), NULL) != 0 ||
	    rte_mempool_populate_default(pool) < 0) {
		rte_mempool_free(pool);
		return NULL;
	}
	rte_mempool_obj_iter(pool, rte_pktmbuf_init, NULL);
	return pool;
}

int dpdk_eal_start(const struct dpdk_eal_config *config, struct dpdk_eal *ret_eal, struct error *err)
{
	static struct args args; // EAL keeps pointers into it
	CHECK(config->n_workers >= 1 && config->n_workers <= DPDK_WORKERS_MAX);
	args.n = 0;
	build_args(&args, config);
	redirect_log();
	if (rte_eal_init(args.n, args.argv) < 0)
		return error_set(err, ERR_IO, "DPDK did not start: %s (its own messages are above)", rte_strerror(rte_errno));
	xsk_silence_libraries();
	int code = collect_workers(config->n_workers, ret_eal, err);
	if (code != 0) {
		rte_eal_cleanup();
		return code;
	}
	ret_eal->pool = dpdk_pool_create(pool_buffers(config));
	if (ret_eal->pool == NULL) {
		rte_eal_cleanup();
		return error_set(err, ERR_NO_MEMORY, "no memory for %u packet buffers (%u MB are needed; see -m of \"eal\")",
		                 pool_buffers(config), memory_mb(config));
	}
	return 0;
}

void dpdk_eal_stop(struct dpdk_eal *eal)
{
	char runtime_dir[256];
	snprintf(runtime_dir, sizeof runtime_dir, "%s", rte_eal_get_runtime_dir());
	rte_mempool_free(eal->pool);
	eal->pool = NULL;
	rte_eal_cleanup();
	(void)!rmdir(runtime_dir); // DPDK makes it and leaves it; one that is not empty is somebody else's too
}
