// ICMP to a VIP: echo requests are answered, echo replies go to the DIP that has the identifier leased, errors to where the
// packets of the connection inside go. All else is dropped. Inline where an echo request comes by. Threads: the worker.
#pragma once

#include "common/packet/icmp.h"
#include "mux/core/tables.h"
#include "mux/core/verdict.h"

static inline void answer_echo(struct mux_worker *w, struct mux_frame *f, const struct parsed *p)
{
	if (!token_bucket_take(&w->echo_replies, w->now)) {
		mux_drop(w, f, DROP_RATE_LIMITED);
		return;
	}
	icmp_write_echo_reply(f->data, p);
	f->verdict = MUX_TO_UPLINK;
	f->reason = DROP_NONE;
	w->counters.icmp_echo_replies++;
}

// To a ping of the DIP that has the identifier (RFC 5508: what the port is to TCP and UDP).
void vip_icmp_take_echo_reply(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f,
                              const struct parsed *p, const struct vip_entry *vip);

// Where an error goes, and the hash of the connection that it is about; 0: nobody's.
be32 vip_icmp_dip_of_error(struct mux_worker *w, const struct mux_tables *t, const uint8_t *frame,
                           const struct parsed *p, const struct vip_entry *vip, uint64_t *ret_hash);
void vip_icmp_take_error(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f, const struct parsed *p,
                         const struct vip_entry *vip);

// `vip` is the VIP's own entry.
static inline void vip_icmp_take(struct mux_worker *w, const struct mux_tables *t, struct mux_frame *f,
                                 const struct parsed *p, const struct vip_entry *vip)
{
	const struct icmp_header *icmp = (const struct icmp_header *)(f->data + p->l4_off);
	if (icmp_type_is_error(icmp->type))
		vip_icmp_take_error(w, t, f, p, vip);
	else if (icmp->type == ICMP_ECHO && icmp->code == 0)
		answer_echo(w, f, p);
	else if (icmp->type == ICMP_ECHO_REPLY && icmp->code == 0)
		vip_icmp_take_echo_reply(w, t, f, p, vip);
	else
		mux_drop(w, f, DROP_ICMP_IGNORED);
}
