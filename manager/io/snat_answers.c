// What requests for ports came to: a refusal is answered at once; a grant when the floor has reached its leases, after the
// Update that tells the agent of them, on the same connection. An answer whose agent is gone is dropped: it will ask again.
#include "common/base/memory.h"
#include "common/io/log.h"
#include "manager/io/server_parts.h"

struct snat_answer {
	struct snat_answer *next;
	uint64_t lease_version;
	struct ip_addr dip;
	uint64_t seq;
	uint32_t n_ports;
	struct mono_time asked;
};

static struct peer *peer_of_dip(const struct server *s, const struct ip_addr *dip)
{
	const struct dip_info *info = store_lookup_dip(&s->machine.state.store, dip);
	return info == NULL ? NULL : roster_lookup(&s->roster, ROLE_AGENT, info->host);
}

// ---- refusals ----

void snat_answers_refuse(struct peer *p, const struct snat_op *request, const struct error *err)
{
	struct message m = { .type = MESSAGE_SNAT_REPLY, .term = replica_term(p->server->replica) };
	m.snat_reply.dip = request->dip;
	m.snat_reply.seq = request->seq;
	m.snat_reply.err = *err;
	(void)conn_send(p->conn, &m);
}

static void set_refusal(struct server *s, const struct snat_outcome *o, struct error *err)
{
	const struct vip_config *vip = store_lookup_vip(&s->machine.state.store, &o->vip);
	struct snat_stats *stats = &s->snat.stats;
	char dip_text[IP_ADDR_TEXT_BYTES];
	char vip_text[IP_ADDR_TEXT_BYTES];
	ip_addr_format(&o->dip, dip_text);
	ip_addr_format(&o->vip, vip_text);
	if (o->result == SNAT_AT_LIMIT && vip != NULL) {
		stats->refused_at_limit++;
		error_set(err, ERR_LIMIT, "%s has %u ports of %s, which is max_ports_per_dip; raise it, or close connections",
		          dip_text, vip->snat.max_ports_per_dip, vip_text);
	} else if (o->result == SNAT_POOL_EMPTY) {
		stats->refused_pool_empty++;
		error_set(err, ERR_LIMIT,
		          "all ports of %s are leased or in quarantine; give %s a further VIP, or lower max_ports_per_dip",
		          vip_text, dip_text);
		snat_watch_note_empty(s, &o->vip);
	} else {
		stats->refused_not_configured++;
		error_set(err, ERR_NOT_FOUND, "%s is in no `snat` list; put it into that of a VIP", dip_text);
	}
}

// ---- grants ----

static void append(struct snat_answer ***end, struct snat_answer *a)
{
	a->next = NULL;
	**end = a;
	*end = &a->next;
}

void snat_answers_on_outcome(struct server *s, const struct snat_outcome *o, uint64_t lease_version,
                             struct mono_time asked)
{
	struct snat_answer *a = NULL;
	if (o->result != SNAT_DONE && o->result != SNAT_REPEATED) {
		struct peer *p = peer_of_dip(s, &o->dip);
		struct error err = { 0 };
		set_refusal(s, o, &err);
		if (p != NULL)
			snat_answers_refuse(p, &(struct snat_op){ .dip = o->dip, .seq = o->seq }, &err);
		return;
	}
	if (o->result == SNAT_DONE) {
		s->snat.stats.granted++;
		s->snat.stats.granted_ports += o->n_ports;
	} else {
		s->snat.stats.repeated++;
	}
	a = memory_array(1, sizeof *a);
	if (a == NULL)
		return; // it will ask again
	*a = (struct snat_answer){
		.lease_version = lease_version, .dip = o->dip, .seq = o->seq, .n_ports = o->n_ports, .asked = asked
	};
	append(&s->snat.answers_end, a);
}

static struct snat_answer *take_first(struct snat_answer **first, struct snat_answer ***end)
{
	struct snat_answer *a = *first;
	*first = a->next;
	if (*first == NULL)
		*end = first;
	return a;
}

void snat_answers_release(struct server *s)
{
	struct snat_service *snat = &s->snat;
	while (snat->answers != NULL && snat->answers->lease_version <= snat->muxes.floor) {
		struct snat_answer *a = take_first(&snat->answers, &snat->answers_end);
		struct peer *p = peer_of_dip(s, &a->dip);
		if (p == NULL) {
			memory_free(a);
			continue;
		}
		append(&p->answers_end, a);
		snat_service_note(p);
	}
}

static void send_answer(struct peer *p, const struct snat_answer *a)
{
	struct snat_stats *stats = &p->server->snat.stats;
	struct mono_time now = server_now();
	struct message m = { .type = MESSAGE_SNAT_REPLY, .term = replica_term(p->server->replica) };
	m.snat_reply.dip = a->dip;
	m.snat_reply.seq = a->seq;
	m.snat_reply.n_ports = a->n_ports;
	if (conn_send(p->conn, &m) != 0)
		return;
	stats->answers++;
	latency_window_add(&stats->latency, mono_elapsed_us(a->asked, now), now);
}

// Called after whatever was due has been sent: what is not sent yet waits for an acknowledgement.
void snat_answers_flush(struct peer *p)
{
	const struct distribution *d = &p->distribution;
	while (p->answers != NULL && d->has_lease_base &&
	       (!d->is_in_flight || p->answers->lease_version <= d->sent_lease_version)) {
		struct snat_answer *a = take_first(&p->answers, &p->answers_end);
		send_answer(p, a);
		memory_free(a);
	}
}

static void free_all(struct snat_answer **first, struct snat_answer ***end)
{
	while (*first != NULL)
		memory_free(take_first(first, end));
}

void snat_answers_forget_peer(struct peer *p)
{
	free_all(&p->answers, &p->answers_end);
}

void snat_answers_clear(struct server *s)
{
	free_all(&s->snat.answers, &s->snat.answers_end);
}
