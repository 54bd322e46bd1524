#include "common/model/settings.h"

#include <stdlib.h>
#include <string.h>

#define DAY_S 86400u

struct cluster_settings cluster_settings_default(void)
{
	static const struct {
		uint8_t addr[4];
		uint8_t bits;
	} inside[] = { { { 10, 0, 0, 0 }, 8 },
		           { { 100, 64, 0, 0 }, 10 },
		           { { 169, 254, 0, 0 }, 16 },
		           { { 172, 16, 0, 0 }, 12 },
		           { { 192, 168, 0, 0 }, 16 } };
	struct cluster_settings s = {
		.snat_quarantine_s = 60,
		.snat_log_s = 7 * DAY_S,
		.snat_gone_s = DAY_S,
		.snat_dip_requests_per_s = 20,
		.host_gone_ms = 2000,
		.fail_static_percent = 50,
		.mux_withdraw_percent = 50,
	};
	for (uint32_t i = 0; i < sizeof inside / sizeof *inside; i++)
		s.no_snat[s.n_no_snat++] =
			(struct ip_prefix){ .addr = ip_addr_from_v4(load32(inside[i].addr)), .bits = inside[i].bits };
	return s;
}

// Is every bit of the address behind the prefix 0?
static bool prefix_is_clean(const struct ip_prefix *p)
{
	uint32_t first_bit = p->bits + (ip_addr_is_v4(&p->addr) ? 96u : 0u);
	for (uint32_t bit = first_bit; bit < 128; bit++)
		if ((p->addr.bytes[bit / 8] >> (7 - bit % 8) & 1) != 0)
			return false;
	return true;
}

static int compare_prefixes(const void *a, const void *b)
{
	const struct ip_prefix *x = a;
	const struct ip_prefix *y = b;
	int order = ip_addr_compare(&x->addr, &y->addr);
	return order != 0 ? order : (int)x->bits - (int)y->bits;
}

static int validate_prefixes(struct cluster_settings *s, struct error *err)
{
	char text[IP_ADDR_TEXT_BYTES];
	if (s->n_no_snat > LIMIT_NO_SNAT_PREFIXES)
		return error_set(err, ERR_LIMIT, "snat.never: at most %u prefixes, got %u", LIMIT_NO_SNAT_PREFIXES,
		                 s->n_no_snat);
	for (uint32_t i = 0; i < s->n_no_snat; i++) {
		const struct ip_prefix *p = &s->no_snat[i];
		if (p->bits > (ip_addr_is_v4(&p->addr) ? 32 : 128))
			return error_set(err, ERR_INVALID, "snat.never[%u]: /%u is longer than the address", i, p->bits);
		if (!prefix_is_clean(p))
			return error_set(err, ERR_INVALID, "snat.never[%u]: %s/%u has bits beyond its length", i,
			                 ip_addr_format(&p->addr, text), p->bits);
	}
	qsort(s->no_snat, s->n_no_snat, sizeof *s->no_snat, compare_prefixes);
	for (uint32_t i = 1; i < s->n_no_snat; i++)
		if (compare_prefixes(&s->no_snat[i - 1], &s->no_snat[i]) == 0)
			return error_set(err, ERR_INVALID, "snat.never: %s/%u is listed twice",
			                 ip_addr_format(&s->no_snat[i].addr, text), s->no_snat[i].bits);
	return 0;
}

static int check_range(const char *field, uint32_t value, uint32_t min, uint32_t max, struct error *err)
{
	if (value < min || value > max)
		return error_set(err, ERR_INVALID, "%s: must be %u to %u, got %u", field, min, max, value);
	return 0;
}

int cluster_settings_validate(struct cluster_settings *s, struct error *err)
{
	int code = validate_prefixes(s, err);
	if (code == 0)
		code = check_range("snat.quarantine_s", s->snat_quarantine_s, 0, DAY_S, err);
	if (code == 0)
		code = check_range("snat.log_s", s->snat_log_s, 0, 366 * DAY_S, err);
	if (code == 0)
		code = check_range("snat.gone_s", s->snat_gone_s, 0, 366 * DAY_S, err);
	if (code == 0)
		code = check_range("snat.dip_requests_per_s", s->snat_dip_requests_per_s, 1, 10000, err);
	if (code == 0 && s->host_gone_ms != 0)
		code = check_range("health.host_gone_ms", s->host_gone_ms, 500, 3600000, err);
	if (code == 0)
		code = check_range("health.fail_static_percent", s->fail_static_percent, 1, 100, err);
	if (code == 0)
		code = check_range("mux.withdraw_percent", s->mux_withdraw_percent, 0, 100, err);
	if (code == 0)
		memset(s->no_snat + s->n_no_snat, 0, (LIMIT_NO_SNAT_PREFIXES - s->n_no_snat) * sizeof *s->no_snat);
	return code;
}

bool cluster_settings_equal(const struct cluster_settings *a, const struct cluster_settings *b)
{
	if (a->n_no_snat != b->n_no_snat)
		return false;
	for (uint32_t i = 0; i < a->n_no_snat; i++)
		if (compare_prefixes(&a->no_snat[i], &b->no_snat[i]) != 0)
			return false;
	return a->snat_quarantine_s == b->snat_quarantine_s && a->snat_log_s == b->snat_log_s &&
	       a->snat_gone_s == b->snat_gone_s && a->snat_dip_requests_per_s == b->snat_dip_requests_per_s &&
	       a->host_gone_ms == b->host_gone_ms && a->fail_static_percent == b->fail_static_percent &&
	       a->mux_withdraw_percent == b->mux_withdraw_percent;
}
