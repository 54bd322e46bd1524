#include "mux/core/oversized.h"

#include "common/packet/ip4_cut.h"
#include "mux/core/answer.h"
#include "mux/core/encapsulate.h"
#include "mux/core/family.h"
#include "mux/core/side_frames.h"

// The error is from the VIP: the client's path is to it, and firewalls on the way know no one else.
static void answer_too_big(struct mux_worker *w, struct mux_frame *f, uint32_t most)
{
	struct parsed p = { 0 };
	family_parse_again(f->data, f->len, &p);
	struct icmp_answer answer = icmp_answer_make(&p, ICMP_SAYS_TOO_BIG, (uint16_t)most);
	answer_with_error(w, f, &p, &answer, DROP_TOO_BIG);
}

bool oversized_take(struct mux_worker *w, struct mux_frame *f, const struct encap_template *template, uint64_t hash,
                    uint32_t inner_bytes)
{
	const struct ip4_header *ip = (const struct ip4_header *)(f->data + ETH_BYTES);
	uint32_t most = w->settings.mtu - encapsulate_overhead(w, template);
	struct ip4_cut cut = { 0 };
	if (family_frame_is_ip6(f->data) || (ip->fragment & be16_from(IP4_DONT_FRAGMENT)) != 0) {
		answer_too_big(w, f, most);
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
