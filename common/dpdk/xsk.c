#include "common/dpdk/xsk.h"

#include <dlfcn.h>
#include <errno.h>
#include <linux/if_xdp.h>
#include <rte_mbuf.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/memory.h"

enum {
	ENTRIES_MAX = 1 << 16,
	ENTRIES_MIN = 1 << 6,
	SETTLE_US = 1000, // a receive in progress when the XDP program was detached takes microseconds
	FREE_STEP_US = 1000,
	FREE_STEPS = 2000,
};

struct xsk_ring {
	void *map;
	size_t bytes;
	uint32_t n_entries;
	uint32_t producer_off;
	uint32_t consumer_off;
	uint32_t entries_off;
	bool holds_descriptors; // struct xdp_desc (receive ring), else addresses
};

struct xsk_socket_mark {
	int fd;
	uint64_t cookie; // SO_COOKIE: is this descriptor still that socket?
};

enum { RINGS_PER_SOCKET = 3 }; // fill, completion, receive

struct xsk_state {
	struct rte_mempool *pool;
	uint32_t n_sockets;
	struct xsk_socket_mark sockets[DPDK_PORT_FDS_MAX];
	uint32_t n_rings;
	struct xsk_ring rings[RINGS_PER_SOCKET * DPDK_PORT_FDS_MAX];
};

// ---- taking

// The kernel does not tell a ring's size, but refuses to map more than there is (in whole pages).
static bool map_ring(struct xsk_ring *ring, int fd, const struct xdp_ring_offset *off, off_t which, size_t entry_bytes)
{
	for (uint32_t n = ENTRIES_MAX; n >= ENTRIES_MIN; n /= 2) {
		size_t bytes = off->desc + n * entry_bytes;
		void *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, which);
		if (map == MAP_FAILED)
			continue;
		*ring = (struct xsk_ring){
			.map = map,
			.bytes = bytes,
			.n_entries = n,
			.producer_off = (uint32_t)off->producer,
			.consumer_off = (uint32_t)off->consumer,
			.entries_off = (uint32_t)off->desc,
			.holds_descriptors = entry_bytes == sizeof(struct xdp_desc),
		};
		return true;
	}
	return false;
}

static bool is_xsk(int fd)
{
	int domain = 0;
	socklen_t n = sizeof domain;
	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) == 0 && domain == AF_XDP;
}

static uint64_t cookie_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t n = sizeof cookie;
	return is_xsk(fd) && getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &n) == 0 ? cookie : 0;
}

static bool map_rings(struct xsk_state *s, int fd)
{
	struct xdp_mmap_offsets off;
	socklen_t n = sizeof off;
	struct xsk_ring *rings = s->rings + s->n_rings;
	if (getsockopt(fd, SOL_XDP, XDP_MMAP_OFFSETS, &off, &n) != 0)
		return false;
	s->n_rings += map_ring(&rings[0], fd, &off.fr, XDP_UMEM_PGOFF_FILL_RING, sizeof(uint64_t));
	if (s->rings + s->n_rings != rings + 1)
		return false;
	s->n_rings += map_ring(&rings[1], fd, &off.cr, XDP_UMEM_PGOFF_COMPLETION_RING, sizeof(uint64_t));
	if (s->rings + s->n_rings != rings + 2)
		return false;
	s->n_rings += map_ring(&rings[2], fd, &off.rx, XDP_PGOFF_RX_RING, sizeof(struct xdp_desc));
	return s->rings + s->n_rings == rings + 3;
}

static void unmap_rings(struct xsk_state *s)
{
	for (uint32_t i = 0; i < s->n_rings; i++)
		munmap(s->rings[i].map, s->rings[i].bytes);
	memory_free(s);
}

int xsk_state_create(const struct dpdk_port *port, struct xsk_state **ret_state, struct error *err)
{
	struct xsk_state *s = memory_array(1, sizeof *s);
	if (s == NULL)
		return error_set(err, ERR_NO_MEMORY, "no memory");
	s->pool = port->pool;
	for (uint32_t i = 0; i < port->n_fds; i++) {
		int fd = port->fds[i];
		if (!is_xsk(fd))
			continue;
		s->sockets[s->n_sockets++] = (struct xsk_socket_mark){ .fd = fd, .cookie = cookie_of(fd) };
		if (!map_rings(s, fd)) {
			int code = error_set(err, ERR_IO, "cannot map the rings of %s: %s", port->name, strerror(errno));
			unmap_rings(s);
			return code;
		}
	}
	if (s->n_sockets == 0) {
		memory_free(s);
		s = NULL;
	}
	*ret_state = s;
	return 0;
}

// ---- releasing

static uint64_t entry_addr(const struct xsk_ring *ring, uint32_t idx)
{
	const uint8_t *entries = (const uint8_t *)ring->map + ring->entries_off;
	uint32_t i = idx & (ring->n_entries - 1);
	if (ring->holds_descriptors)
		return ((const struct xdp_desc *)entries)[i].addr & XSK_UNALIGNED_BUF_ADDR_MASK;
	return ((const uint64_t *)entries)[i] & XSK_UNALIGNED_BUF_ADDR_MASK;
}

// The buffer at an address relative to the registered memory, which begins at the page of the pool's first chunk. NULL for
// what is no buffer.
static struct rte_mbuf *buffer_at(struct rte_mempool *pool, uint64_t addr)
{
	const struct rte_mempool_memhdr *chunk = STAILQ_FIRST(&pool->mem_list);
	uintptr_t base = (uintptr_t)chunk->addr & ~((uintptr_t)getpagesize() - 1);
	uintptr_t object = base + addr + pool->header_size;
	if (object < (uintptr_t)chunk->addr || object >= (uintptr_t)chunk->addr + chunk->len)
		return NULL;
	struct rte_mbuf *m = (struct rte_mbuf *)object;
	return m->pool == pool && rte_mbuf_refcnt_read(m) == 1 ? m : NULL;
}

static uint32_t reclaim_ring(const struct xsk_ring *ring, struct rte_mempool *pool)
{
	const uint8_t *map = ring->map;
	uint32_t producer = atomic_load((const _Atomic uint32_t *)(map + ring->producer_off));
	uint32_t consumer = atomic_load((const _Atomic uint32_t *)(map + ring->consumer_off));
	uint32_t n = 0;
	if (producer - consumer > ring->n_entries)
		return 0;
	for (uint32_t i = consumer; i != producer; i++) {
		struct rte_mbuf *m = buffer_at(pool, entry_addr(ring, i));
		if (m == NULL)
			continue;
		rte_pktmbuf_free(m);
		n++;
	}
	return n;
}

uint32_t xsk_state_destroy(struct xsk_state *s)
{
	uint32_t n = 0;
	if (s == NULL)
		return 0;
	usleep(SETTLE_US);
	for (uint32_t i = 0; i < s->n_sockets; i++)
		if (s->sockets[i].cookie != 0 && cookie_of(s->sockets[i].fd) == s->sockets[i].cookie)
			close(s->sockets[i].fd);
	for (uint32_t i = 0; i < s->n_rings; i++)
		n += reclaim_ring(&s->rings[i], s->pool);
	unmap_rings(s); // the last references to the sockets
	return n;
}

// ---- waiting

static int try_bind(int fd, void *memory, uint32_t link_index)
{
	struct xdp_umem_reg reg = { .addr = (uintptr_t)memory, .len = (uint64_t)getpagesize(), .chunk_size = 2048 };
	int entries = ENTRIES_MIN;
	// Zero copy is what a driver of the laptop's kind (veth) refuses, but only after it found the queue free.
	struct sockaddr_xdp addr = { .sxdp_family = AF_XDP, .sxdp_flags = XDP_ZEROCOPY, .sxdp_ifindex = link_index };
	if (setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &reg, sizeof reg) != 0 ||
	    setsockopt(fd, SOL_XDP, XDP_UMEM_FILL_RING, &entries, sizeof entries) != 0 ||
	    setsockopt(fd, SOL_XDP, XDP_UMEM_COMPLETION_RING, &entries, sizeof entries) != 0 ||
	    setsockopt(fd, SOL_XDP, XDP_RX_RING, &entries, sizeof entries) != 0)
		return errno;
	return bind(fd, (struct sockaddr *)&addr, sizeof addr) == 0 ? 0 : errno;
}

int xsk_wait_free(uint32_t link_index, struct error *err)
{
	void *memory = mmap(NULL, (size_t)getpagesize(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int cause = EBUSY;
	if (memory == MAP_FAILED)
		return error_set(err, ERR_NO_MEMORY, "no memory");
	for (int i = 0; i < FREE_STEPS && cause == EBUSY; i++) {
		int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
		cause = fd < 0 ? errno : try_bind(fd, memory, link_index);
		if (fd >= 0)
			close(fd);
		if (cause == EBUSY)
			usleep(FREE_STEP_US);
		else if (cause == 0)
			usleep(20 * FREE_STEP_US); // a driver with zero copy: ours was bound, and is freed late too
	}
	munmap(memory, (size_t)getpagesize());
	if (cause == EBUSY)
		return error_set(err, ERR_CONFLICT, "another program holds its AF_XDP queue");
	if (cause == EAFNOSUPPORT || cause == EPERM)
		return error_set(err, ERR_IO, "AF_XDP is not possible here: %s (\"af_packet\" is the other driver)",
		                 strerror(cause));
	return 0;
}

// ---- libraries

static int print_nothing(int level, const char *format, va_list args)
{
	(void)level;
	(void)format;
	(void)args;
	return 0;
}

typedef int (*print_fn)(int level, const char *format, va_list args);

static void silence(const char *library, const char *function)
{
	void *handle = dlopen(library, RTLD_NOW | RTLD_NOLOAD);
	if (handle == NULL)
		return; // not loaded: no such driver here
	print_fn (*set_print)(print_fn) = NULL;
	*(void **)&set_print = dlsym(handle, function);
	if (set_print != NULL)
		set_print(print_nothing);
	dlclose(handle);
}

void xsk_silence_libraries(void)
{
	silence("libbpf.so.1", "libbpf_set_print");
	silence("libxdp.so.1", "libxdp_set_print");
}
