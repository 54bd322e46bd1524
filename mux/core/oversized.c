#include "mux/core/oversized.h"

#include "common/packet/ip4_cut.h"
#include "mux/core/answer.h"
#include "mux/core/encapsulate.h"
#include "mux/core/side_frames.h"

// The error is from the VIP: the client's path is to it, and firewalls on the way know no one else.
static void answer_fragmentation_needed(struct mux_worker *w, struct mux_frame *f)
{
	struct parsed p;
	(void)parse_ip4(f->data, f->len, ETH_BYTES, &p); // it parsed before
	struct icmp_answer answer = { .src = p.dst,
		                          .type = ICMP_UNREACHABLE,
		                          .code = ICMP_FRAGMENTATION_NEEDED,
		                          .mtu = (uint16_t)(w->settings.mtu - ENCAP_BYTES) };
	answer_with_error(w, f, &p, &answer, DROP_TOO_BIG);
}

bool oversized_take(struct mux_worker *w, struct mux_frame *f, const struct encap_template *template, uint64_t hash,
                    uint32_t inner_bytes)
{
	const struct ip4_header *ip = (const struct ip4_header *)(f->data + ETH_BYTES);
	uint32_t most = w->settings.mtu - ENCAP_BYTES;
	struct ip4_cut cut;
	if ((ip->fragment & be16_from(IP4_DONT_FRAGMENT)) != 0) {
		answer_fragmentation_needed(w, f);
		return false;
	}
	if (w->side == NULL || w->settings.oversized == MUX_OVERSIZED_DROP) {
		mux_drop(w, f, DROP_TOO_BIG);
		return false;
	}
	struct mux_frame *second = side_frames_spare(w->side, ETH_BYTES + most);
	if (second == NULL) {
		mux_drop(w, f, DROP_NO_BUFFER);
		return false;
	}
	if (!ip4_cut(f->data + ETH_BYTES, inner_bytes, most, second->data + ETH_BYTES, &cut)) {
		mux_drop(w, f, DROP_TOO_BIG);
		return false;
	}
	if (!encapsulate(w, f, template, hash, cut.first_bytes))
		return false;
	w->counters.packets_cut++;
	if (encapsulate(w, second, template, hash, cut.second_bytes))
		side_frames_send_spare(w->side);
	return true;
}
