#include "mux/io/status.h"

#include "common/base/memory.h"

#define BASE_COUNTERS_MAX (80 + DROP_REASON_COUNT)
#define STATUS_VIPS_MAX 4000 // whose counters one message holds; those of further VIPs are left out
#define VIP_COUNTERS 5 // of one VIP

struct vip_sums vip_sums_of(const struct vip_counters *vips, uint32_t slot) // one worker
{
	return (struct vip_sums){ vips->endpoints[slot], vips->snat[slot], vips->icmp_errors_steered[slot] };
}

uint64_t mux_counters_vip_packets(const struct mux_counters *c)
{
	static const enum drop_reason reasons[] = { DROP_NO_ENDPOINT,      DROP_FRAGMENT,      DROP_ICMP_IGNORED,
		                                        DROP_ICMP_UNKNOWN,     DROP_SNAT_NO_LEASE, DROP_TOO_BIG,
		                                        DROP_NO_NEXT_HOP,      DROP_RATE_LIMITED,  DROP_OVER_MAX_PPS,
		                                        DROP_ENDPOINT_REFUSING };
	uint64_t n = c->forwarded_packets + c->icmp_echo_replies + c->refused_tcp + c->refused_udp;
	for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
		n += c->drops[reasons[i]];
	return n;
}

static void put_counter(struct node_status *s, uint64_t value, const char *format, const char *name)
{
	struct counter *counter = &s->counters[s->n_counters++];
	(void)text_format(counter->name, sizeof counter->name, format, name);
	counter->value = value;
}

static void fill_vip_counters(const struct status_facts *f, struct node_status *s)
{
	for (uint32_t i = 0; i < f->store->vips.n && i < STATUS_VIPS_MAX; i++) {
		char vip[IP_ADDR_TEXT_BYTES];
		uint32_t slot = vip_slots_of(f->slots, i);
		const struct vip_sums *base = &f->bases[slot];
		struct vip_sums now = vip_sums_of(f->vips, slot);
		ip_addr_format(&store_vip(f->store, i)->vip, vip);
		put_counter(s, now.endpoints.packets - base->endpoints.packets, "vip_%s_packets", vip);
		put_counter(s, now.endpoints.bytes - base->endpoints.bytes, "vip_%s_bytes", vip);
		put_counter(s, now.icmp_errors_steered - base->icmp_errors_steered, "vip_%s_icmp_errors_steered", vip);
		if (store_vip(f->store, i)->n_snat_dips == 0)
			continue;
		put_counter(s, now.snat.packets - base->snat.packets, "vip_%s_snat_packets", vip);
		put_counter(s, now.snat.bytes - base->snat.bytes, "vip_%s_snat_bytes", vip);
	}
}

static void fill_mux_counters(const struct status_facts *f, struct node_status *s)
{
	const struct mux_counters *counters = &f->loop->worker.counters;
#define X(name) put_counter(s, counters->name, "%s", #name);
	MUX_COUNTERS(X)
#undef X
	put_counter(s, loop_rx_missed(f->loop), "%s", "rx_missed");
	put_counter(s, f->routes->n_announced, "%s", "announced_vips");
	put_counter(s, f->routes->n_routes, "%s", "announced_routes");
	put_counter(s, snat_maps_leased_ports(f->snat), "%s", "snat_leased_ports");
	put_counter(s, f->loop->worker.pins != NULL ? f->loop->worker.pins->n_pins : 0, "%s", "pins");
	put_counter(s, f->tables != NULL ? f->tables->n_with_history : 0, "%s", "endpoints_with_history");
	put_counter(s, f->tables != NULL ? f->tables->n_refusing : 0, "%s", "endpoints_refusing");
	put_counter(s, f->tables != NULL ? f->tables->n_flagged : 0, "%s", "buckets_with_history");
	for (int i = DROP_NONE + 1; i < DROP_REASON_COUNT; i++)
		put_counter(s, counters->drops[i], "drop_%s", drop_reason_name((enum drop_reason)i));
}

void status_fill(struct node_status *s, const struct status_facts *f)
{
	(void)text_copy(s->state, sizeof s->state, mux_state_name(f->state));
	s->version = f->store->version;
	s->counters = memory_array(BASE_COUNTERS_MAX + VIP_COUNTERS * STATUS_VIPS_MAX, sizeof *s->counters);
	if (s->counters == NULL)
		return;
	fill_mux_counters(f, s);
	fill_vip_counters(f, s);
}
