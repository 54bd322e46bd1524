#include "manager/cli/dip_health.h"

#include "manager/cli/command.h"
#include "manager/cli/utc.h"

struct dip_health dip_health_of_endpoint(const struct store *state, const struct ip_addr *vip,
                                         const struct endpoint *endpoint, const struct ip_addr *dip)
{
	struct dip_health h = { .is_probed = endpoint->probe.type != PROBE_NONE };
	h.unhealthy = store_lookup_unhealthy(state, dip, vip, endpoint);
	h.n_unhealthy = h.unhealthy != NULL;
	h.gone = store_lookup_gone_host(state, dip);
	return h;
}

static bool is_probed_by(const struct vip_config *vip, const struct ip_addr *dip)
{
	for (uint32_t i = 0; i < vip->n_endpoints; i++)
		if (vip->endpoints[i].probe.type != PROBE_NONE && endpoint_lookup_dip(&vip->endpoints[i], dip) != NULL)
			return true;
	return false;
}

struct dip_health dip_health_of_all(const struct store *state, const struct ip_addr *dip)
{
	struct dip_health h = { .gone = store_lookup_gone_host(state, dip) };
	for (uint32_t i = 0; i < state->unhealthy.n; i++) {
		const struct store_mark *m = store_mark_at(&state->unhealthy, i);
		if (!ip_addr_equal(&m->key.addr, dip))
			continue;
		if (h.n_unhealthy++ == 0)
			h.unhealthy = m;
	}
	for (uint32_t i = 0; i < state->vips.n && !h.is_probed; i++)
		h.is_probed = is_probed_by(store_vip(state, i), dip);
	return h;
}

const char *dip_health_word(const struct dip_health *h)
{
	if (h->gone != NULL)
		return "host-gone";
	if (h->unhealthy != NULL)
		return "unhealthy";
	return h->is_probed ? "healthy" : NULL;
}

static void format_unhealthy(const struct dip_health *h, bool names_endpoint, char *buf)
{
	char time[UTC_TEXT_BYTES];
	char where[NAME_BYTES + 32] = "";
	const struct mark_info *info = &h->unhealthy->info;
	if (names_endpoint && h->n_unhealthy > 1)
		(void)text_format(where, sizeof where, " (%s, and %u more)", h->unhealthy->key.name, h->n_unhealthy - 1);
	else if (names_endpoint)
		(void)text_format(where, sizeof where, " (%s)", h->unhealthy->key.name);
	(void)text_format(buf, DIP_HEALTH_TEXT_BYTES, "unhealthy since %s%s%s%s", utc_format(info->since_ms, time),
	                  info->cause[0] != '\0' ? ": " : "", info->cause, where);
}

const char *dip_health_format(const struct dip_health *h, bool names_endpoint, char *buf)
{
	char time[UTC_TEXT_BYTES];
	if (h->gone != NULL)
		(void)text_format(buf, DIP_HEALTH_TEXT_BYTES, "host gone since %s", utc_format(h->gone->info.since_ms, time));
	else if (h->unhealthy != NULL)
		format_unhealthy(h, names_endpoint, buf);
	else
		(void)text_format(buf, DIP_HEALTH_TEXT_BYTES, "%s", h->is_probed ? "healthy" : "");
	return buf;
}

json_t *dip_health_make_mark(const struct store_mark *mark)
{
	if (mark == NULL)
		return json_null();
	return json_pack("{s:o, s:s}", "since", cli_json_time(mark->info.since_ms), "cause", mark->info.cause);
}

json_t *dip_health_make_unhealthy(const struct store *state, const struct ip_addr *dip)
{
	json_t *list = json_array();
	for (uint32_t i = 0; i < state->unhealthy.n; i++) {
		const struct store_mark *m = store_mark_at(&state->unhealthy, i);
		struct ip_addr vip;
		uint8_t protocol;
		uint16_t port;
		if (!ip_addr_equal(&m->key.addr, dip) || endpoint_key_parse(m->key.name, &vip, &protocol, &port) != 0)
			continue;
		json_array_append_new(list, json_pack("{s:o, s:s, s:i, s:o, s:s}", "vip", cli_json_addr(&vip), "protocol",
		                                      protocol_name(protocol), "port", (int)port, "since",
		                                      cli_json_time(m->info.since_ms), "cause", m->info.cause));
	}
	return list;
}
