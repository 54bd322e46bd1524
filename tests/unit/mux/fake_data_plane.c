#include "tests/unit/mux/fake_data_plane.h"

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct fake_data_plane fake;

void fake_note(const char *format, ...)
{
	size_t n = strlen(fake.events);
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(fake.events + n, sizeof fake.events - n, format, arguments);
	va_end(arguments);
}

be32 fake_lessee(be32 vip, uint16_t port)
{
	const struct vip_entry *e = fake.tables == NULL ? NULL : vip_lookup(fake.tables, vip, 0, 0);
	return e == NULL || e->snat == NULL ? 0 : snat_map_lookup(e->snat, port);
}

const struct mux_tables *loop_publish(struct loop *l, const struct mux_tables *tables)
{
	const struct mux_tables *before = fake.tables;
	fake.tables = tables;
	fake_note("publish, ");
	return before;
}

uint64_t loop_rx_missed(const struct loop *l)
{
	return fake.rx_missed;
}

int routes_set(struct routes *r, const struct ip_addr *vips, uint32_t n_vips, uint8_t protocol, struct error *err)
{
	if (fake.routes_fail)
		return error_set(err, ERR_IO, "the kernel does not want to");
	ck_assert_uint_le(n_vips, 16);
	memcpy(fake.vips, vips, n_vips * sizeof *vips);
	fake.n_vips = r->n_announced = n_vips;
	for (uint32_t i = 0; i < n_vips; i++)
		if (ip_addr_to_v4(&vips[i]) == fake.watched_vip)
			fake.lessee_when_announced = fake_lessee(fake.watched_vip, fake.watched_port);
	fake.protocol = protocol;
	fake_note(protocol == ROUTES_PROTOCOL_SERVING ? "announce %u, " : "drain %u, ", n_vips);
	return 0;
}

void routes_fini(struct routes *r)
{
	fake.n_vips = r->n_announced = 0;
	fake_note("withdraw, ");
}
