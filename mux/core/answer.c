#include "mux/core/answer.h"

#include "common/packet/encap.h"

void answer_with_error(struct mux_worker *w, struct mux_frame *f, const struct parsed *p, const struct icmp_answer *a,
                       enum drop_reason otherwise)
{
	if (!icmp_may_answer(f->data, p)) {
		mux_drop(w, f, otherwise);
		return;
	}
	if (!token_bucket_take(&w->icmp_errors, w->now)) {
		mux_drop(w, f, DROP_RATE_LIMITED);
		return;
	}
	struct mac from = ((const struct eth_header *)f->data)->src; // the error is written over it
	uint32_t n_bytes = icmp_write_answer(f->data, p, a);
	f->data = f->data + p->l3_off - icmp_error_bytes(p) - ETH_BYTES;
	f->len = ETH_BYTES + n_bytes;
	if (p->is_ip6)
		eth_write_ip6(f->data, &from, &w->settings.mac);
	else
		eth_write_ip4(f->data, &from, &w->settings.mac);
	f->verdict = MUX_TO_UPLINK;
	f->reason = DROP_NONE;
	w->counters.icmp_errors_sent++;
}
