// ICMP to a VIP: echo requests are answered, echo replies go to the DIP that has the identifier leased, errors to where the
// packets of the connection inside go. All else is dropped. Inline where an echo request comes by. Threads: the worker.
#pragma once

#include "common/packet/icmp.h"
#include "mux/core/family.h"
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
	enum icmp_kind kind = icmp_kind_of(f->data, p);
	if (kind == ICMP_KIND_ECHO && !family_source_is_destination(f->data, p))
		answer_echo(w, f, p);
	else if (kind == ICMP_KIND_ERROR)
		vip_icmp_take_error(w, t, f, p, vip);
	else if (kind == ICMP_KIND_ECHO_REPLY)
		vip_icmp_take_echo_reply(w, t, f, p, vip);
	else // an echo request from ourselves to ourselves, or another kind
		mux_drop(w, f, family_source_is_destination(f->data, p) ? DROP_BAD_SOURCE : DROP_ICMP_IGNORED);
}
