#include "hostagent/io/snat_control.h"

#include <inttypes.h>
#include <string.h>

#include "common/io/log.h"

// ---- Events ----

struct addr_text {
	char text[IP_ADDR_TEXT_BYTES];
};

static struct ip_addr addr_of(const struct snat_control *s, be32 addr)
{
	struct ip_addr a;
	addr_names_expand(s->config.names, addr, a.bytes);
	return a;
}

static struct addr_text text_of(const struct ip_addr *a)
{
	struct addr_text t;
	(void)ip_addr_format(a, t.text);
	return t;
}

static struct addr_text text_of_name(const struct snat_control *s, be32 addr)
{
	struct ip_addr a = addr_of(s, addr);
	return text_of(&a);
}

// May one more be logged? GCRA: each takes its share of time, and SNAT_EVENTS_BURST shares may be used ahead.
static bool event_is_due(struct snat_control *s, uint64_t now_ms)
{
	uint64_t share_ms = 1000 / SNAT_EVENTS_PER_S;
	uint64_t from_ms = s->events_until_ms > now_ms ? s->events_until_ms : now_ms;
	if (from_ms - now_ms >= SNAT_EVENTS_BURST * share_ms) {
		s->n_suppressed++;
		s->counters.snat_events_suppressed++;
		return false;
	}
	s->events_until_ms = from_ms + share_ms;
	return true;
}

static uint64_t take_suppressed(struct snat_control *s)
{
	uint64_t n = s->n_suppressed;
	s->n_suppressed = 0;
	return n;
}

static const char *why_exhausted(enum error_code code)
{
	if (code == ERR_OK)
		return "no leased port is free towards it, and the DIP may lease no more: raise max_ports_per_dip";
	if (code == ERR_UNAVAILABLE)
		return "no leased port is free towards it, and no leader can be reached";
	if (code == ERR_TIMEOUT)
		return "no leased port is free towards it, and the managers did not answer in time";
	return "no leased port is free towards it, and the managers lease no more";
}

static void log_exhausted(struct snat_control *s, const struct snat_report *r, uint64_t now_ms)
{
	if (!event_is_due(s, now_ms))
		return;
	const char *protocol = protocol_name(r->protocol);
	log_warn("snat-exhausted", "dip=%s destination=%s port=%u protocol=%s code=%s suppressed=%" PRIu64 " text=\"%s\"",
	         text_of_name(s, r->dip).text, text_of(&r->remote).text, be16_to(r->remote_port),
	         protocol != NULL ? protocol : "icmp", error_code_name(r->code), take_suppressed(s),
	         why_exhausted(r->code));
}

static void log_near_limit(struct snat_control *s, const struct snat_report *r, uint64_t now_ms)
{
	if (event_is_due(s, now_ms))
		log_warn("snat-near-limit", "dip=%s leased_ports=%u max_ports=%u suppressed=%" PRIu64 " text=\"%s\"",
		         text_of_name(s, r->dip).text, r->n_ports, r->n_wanted, take_suppressed(s),
		         "80 % of max_ports_per_dip are leased; raise it, or list the DIP under another VIP, too");
}

static void log_refused(struct snat_control *s, const struct ip_addr *dip, const struct error *err, uint64_t now_ms)
{
	if (event_is_due(s, now_ms))
		log_warn("snat-refused", "dip=%s code=%s suppressed=%" PRIu64 " text=\"%s\"", text_of(dip).text,
		         error_code_name(err->code), take_suppressed(s), err->text);
}

// ---- Asking ----

struct ask {
	struct snat_control *s;
	struct message m;
};

static void ask_flush(struct ask *a)
{
	if (a->m.ops.n > 0 && a->s->is_up)
		(void)a->s->config.send(&a->m, a->s->config.user); // what is lost is repeated
	a->m.ops.n = 0;
}

static void ask_add(struct ask *a, const struct snat_op *op)
{
	if (snat_op_list_append(&a->m.ops, op) != 0)
		return; // it is repeated
	if (a->m.ops.n == SNAT_ASK_OPS_MAX)
		ask_flush(a);
}

static void ask_end(struct ask *a)
{
	ask_flush(a);
	snat_op_list_fini(&a->m.ops);
}

static void ask_request(struct ask *a, const struct snat_report *report)
{
	struct snat_op op = {
		.kind = SNAT_REQUEST, .dip = addr_of(a->s, report->dip), .seq = report->seq, .n_ports = report->n_wanted
	};
	ask_add(a, &op);
	a->s->counters.snat_requests += a->s->is_up;
}

static void ask_return(struct ask *a, const struct held_lease *h)
{
	struct snat_op op = { .kind = SNAT_RETURN,
		                  .dip = addr_of(a->s, h->dip),
		                  .vip = addr_of(a->s, h->vip),
		                  .first_port = h->first_port,
		                  .n_ports = h->n_ports,
		                  .epoch = h->epoch };
	ask_add(a, &op);
}

static void on_returned(struct snat_control *s, const struct snat_report *report, uint64_t now_ms)
{
	if (!lease_set_return(&s->leases, report->vip, report->first_port, report->epoch))
		return; // it has ended by itself
	s->counters.snat_leases_returned++;
	if (!s->has_unsaved_returns)
		s->returns_repeated_ms = now_ms; // should the file not be written, it is sent without
	s->has_unsaved_returns = true;
}

void snat_control_on_saved(struct snat_control *s)
{
	if (!s->has_unsaved_returns)
		return;
	s->has_unsaved_returns = false;
	struct ask a = { .s = s, .m = { .type = MESSAGE_SNAT_ASK } };
	const struct held_lease *h;
	for (uint32_t cursor = 0; (h = lease_set_next_unasked(&s->leases, &cursor)) != NULL;)
		ask_return(&a, h);
	ask_end(&a);
}

void snat_control_on_reports(struct snat_control *s, uint64_t now_ms)
{
	struct ask a = { .s = s, .m = { .type = MESSAGE_SNAT_ASK } };
	struct snat_report report;
	while (data_plane_next_report(s->config.dp, &report)) {
		switch (report.kind) {
		case SNAT_REPORT_WANTED: ask_request(&a, &report); break;
		case SNAT_REPORT_RETURNED: on_returned(s, &report, now_ms); break;
		case SNAT_REPORT_EXHAUSTED: log_exhausted(s, &report, now_ms); break;
		case SNAT_REPORT_NEAR_LIMIT: log_near_limit(s, &report, now_ms); break;
		}
	}
	ask_end(&a);
}

// ---- Orders ----

// Is there a leader: told when all before it has been, and again until the worker has it.
static bool tell_link(struct snat_control *s)
{
	struct snat_order order = { .kind = SNAT_ORDER_LINK, .is_up = s->is_up };
	if (s->worker_is_up != s->is_up && data_plane_send_orders(s->config.dp, &order, 1) == 1)
		s->worker_is_up = s->is_up;
	return s->worker_is_up != s->is_up;
}

bool snat_control_send_orders(struct snat_control *s)
{
	if (s->orders.n > 0) {
		uint32_t n_taken = data_plane_send_orders(s->config.dp, snat_order_queue_head(&s->orders), s->orders.n);
		snat_order_queue_take(&s->orders, n_taken);
	}
	return s->orders.n > 0 || tell_link(s);
}

// ---- What managers say ----

static void count_orders(struct snat_control *s, uint32_t n_before)
{
	const struct snat_order *order = snat_order_queue_head(&s->orders);
	for (uint32_t i = n_before; i < s->orders.n; i++) {
		s->counters.snat_leases_granted += order[i].kind == SNAT_ORDER_LEASE;
		s->counters.snat_leases_ended += order[i].kind == SNAT_ORDER_END;
	}
}

// The worker has all leases: once it is to count the flows that the process before left.
static void put_rebuild(struct snat_control *s)
{
	static const struct snat_order order = { .kind = SNAT_ORDER_REBUILD };
	if (!s->needs_rebuild || snat_order_queue_reserve(&s->orders, 1) != 0)
		return; // the next whole update is as good
	snat_order_queue_put(&s->orders, &order);
	s->needs_rebuild = false;
}

int snat_control_on_config(struct snat_control *s, const struct store *store)
{
	uint32_t n_before = s->orders.n;
	int code = lease_set_end_detached(&s->leases, store, &s->orders);
	if (code == 0)
		count_orders(s, n_before);
	return code;
}

int snat_control_on_update(struct snat_control *s, const struct update *u, bool *ret_is_changed)
{
	uint32_t n_before = s->orders.n;
	uint32_t n_leases_before = s->leases.n;
	int code = lease_set_apply(&s->leases, &u->leases, u->replaces_leases ? LEASES_ALL : LEASES_CHANGED, &s->orders);
	if (code != 0)
		return code;
	if (u->replaces_leases)
		put_rebuild(s);
	s->lease_version = u->lease_version;
	count_orders(s, n_before);
	*ret_is_changed = s->orders.n != n_before || s->leases.n != n_leases_before;
	return 0;
}

void snat_control_on_reply(struct snat_control *s, const struct message *reply, uint64_t now_ms)
{
	const struct error *err = &reply->snat_reply.err;
	be32 dip = addr_names_give(s->config.names, reply->snat_reply.dip.bytes);
	if (err->code != 0) {
		s->counters.snat_requests_refused++;
		log_refused(s, &reply->snat_reply.dip, err, now_ms);
	}
	struct snat_order order = {
		.kind = SNAT_ORDER_ANSWERED, .dip = dip, .seq = reply->snat_reply.seq, .code = err->code
	};
	if (snat_order_queue_reserve(&s->orders, 1) == 0) // else the worker asks again, and it is answered again
		snat_order_queue_put(&s->orders, &order);
}

void snat_control_on_link(struct snat_control *s, bool is_up, uint64_t now_ms)
{
	s->is_up = is_up;
	s->seen_ms = now_ms;
	if (!is_up)
		return;
	if (s->is_gone)
		log_info("snat-leases-confirmed", "leases=%u", s->leases.n);
	s->is_gone = false;
}

// ---- What time brings ----

static void repeat_returns(struct snat_control *s, uint64_t now_ms)
{
	if (!s->is_up || s->leases.n_returning == 0 || now_ms - s->returns_repeated_ms < SNAT_RETURN_REPEAT_MS)
		return;
	s->returns_repeated_ms = now_ms;
	struct ask a = { .s = s, .m = { .type = MESSAGE_SNAT_ASK } };
	const struct held_lease *h;
	for (uint32_t cursor = 0; (h = lease_set_next_returning(&s->leases, &cursor)) != NULL;)
		ask_return(&a, h);
	ask_end(&a);
}

void snat_control_tick(struct snat_control *s, uint32_t gone_s, uint64_t now_ms)
{
	repeat_returns(s, now_ms);
	if (s->is_up) {
		s->seen_ms = now_ms;
		return;
	}
	if (s->is_gone || gone_s == 0 || now_ms - s->seen_ms < (uint64_t)gone_s * 1000)
		return;
	uint32_t n_before = s->orders.n;
	if (lease_set_suspend(&s->leases, &s->orders) != 0)
		return; // the next time
	s->is_gone = true;
	s->counters.snat_gone++;
	log_warn(
		"snat-leases-suspended",
		"leases=%u gone_s=%u text=\"no leader was reached for so long that these ports may be somebody else's: no new "
		"connection uses them until one is\"",
		s->orders.n - n_before, gone_s);
}

// ---- Life ----

void snat_control_init(struct snat_control *s, const struct snat_control_config *config, uint64_t now_ms)
{
	*s = (struct snat_control){ .config = *config, .needs_rebuild = true, .seen_ms = now_ms };
	s->leases.names = config->names;
}

void snat_control_fini(struct snat_control *s)
{
	lease_set_fini(&s->leases);
	snat_order_queue_fini(&s->orders);
	*s = (struct snat_control){ 0 };
}

int snat_control_load(struct snat_control *s, const struct snat_image *image, uint64_t unseen_ms, uint64_t now_ms)
{
	int code = lease_set_apply(&s->leases, &image->held, LEASES_ALL, &s->orders);
	if (code != 0)
		return code;
	put_rebuild(s);
	s->lease_version = image->version;
	s->seen_ms = now_ms - unseen_ms; // may wrap: only differences count
	return 0;
}

int snat_control_get(const struct snat_control *s, struct snat_image *ret_image)
{
	struct lease_list held;
	if (lease_set_get(&s->leases, &held) != 0)
		return ERR_NO_MEMORY;
	*ret_image = (struct snat_image){ .version = s->lease_version, .held = held };
	return 0;
}

void snat_control_read_counters(const struct snat_control *s, struct counter ret_values[SNAT_CONTROL_N_COUNTERS])
{
	struct counter *c = ret_values;
#define X(id, text)                                \
	(void)text_copy(c->name, sizeof c->name, #id); \
	c++->value = s->counters.id;
	SNAT_CONTROL_COUNTERS(X)
#undef X
}
