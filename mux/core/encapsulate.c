#include "mux/core/encapsulate.h"

#include "mux/core/oversized.h"

bool encapsulate(struct mux_worker *w, struct mux_frame *f, const struct encap_template *template, uint64_t hash,
                 uint32_t inner_bytes)
{
	const struct mac *gateway = neighbor_table_select(&w->neighbors, (uint32_t)hash);
	if (inner_bytes + ENCAP_BYTES > w->settings.mtu)
		return oversized_take(w, f, template, hash, inner_bytes);
	if (gateway == NULL) {
		mux_drop(w, f, DROP_NO_NEXT_HOP);
		return false;
	}
	f->data -= ENCAP_BYTES;
	f->len = ETH_BYTES + ENCAP_BYTES + inner_bytes;
	eth_write_ip4(f->data, gateway, &w->settings.mac);
	encap_write_ip4(f->data + ETH_BYTES, template, inner_bytes, 0);
	f->verdict = MUX_TO_UPLINK;
	f->reason = DROP_NONE;
	count_forwarded(w, 1, inner_bytes);
	return true;
}
