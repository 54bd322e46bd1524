#include "hostagent/io/prober.h"

#include <inttypes.h>
#include <sys/random.h>

#include "common/base/memory.h"
#include "common/base/token_bucket.h"
#include "common/io/log.h"
#include "hostagent/io/probe_socket.h"

struct job {
	struct probe_socket socket; // the first: the callbacks know it
	struct prober *prober;
	struct job *next; // of the free ones
	uint64_t attempt;
};

struct prober {
	struct prober_config config;
	struct probe_socket_config sockets;
	struct probes probes;
	struct token_bucket events;
	uint64_t n_suppressed; // since the last line
	uv_timer_t due;
	bool is_closing;
	uint32_t n_open; // jobs under way, and the timer
	struct job *free;
	struct job jobs[PROBER_SOCKETS];
	struct {
#define X(name, text) uint64_t name;
		PROBER_COUNTERS(X)
#undef X
	} counters;
};

static struct mono_time time_now(void)
{
	return mono_from_us(uv_hrtime() / 1000);
}

// ---- Reports ----

static bool send_report(struct prober *p, struct health_report *report)
{
	struct message m = { .type = MESSAGE_HEALTH, .health = *report };
	bool was_sent = p->config.send(&m, p->config.user) == 0;
	health_report_fini(report);
	if (was_sent)
		p->counters.health_reports_sent++;
	return was_sent;
}

static void send_reports(struct prober *p)
{
	struct health_report report;
	while (probes_next_report(&p->probes, PROBER_REPORT_MAX, &report)) {
		if (send_report(p, &report))
			continue;
		probes_on_link(&p->probes, true); // all anew: at the next turn, or when there is a link again
		return;
	}
}

static void log_change(struct prober *p, const struct probe_target *t)
{
	char dip[IP_ADDR_TEXT_BYTES];
	if (!token_bucket_take(&p->events, time_now())) {
		p->counters.health_events_suppressed++;
		p->n_suppressed++;
		return;
	}
	ip_addr_format(&t->what.dip, dip);
	if (t->health.verdict == PROBE_HEALTHY)
		log_info("dip-healthy", "dip=%s port=%u suppressed=%" PRIu64, dip, t->what.port, p->n_suppressed);
	else
		log_warn("dip-unhealthy", "dip=%s port=%u cause=\"%s\" suppressed=%" PRIu64, dip, t->what.port, t->health.cause,
		         p->n_suppressed);
	p->n_suppressed = 0;
}

// ---- Probes ----

static void turn(struct prober *p);

static void count(struct prober *p, enum probe_outcome outcome)
{
	switch (outcome) {
	case PROBE_SUCCEEDED: p->counters.probes_succeeded++; break;
	case PROBE_FAILED: p->counters.probes_failed++; break;
	case PROBE_NOT_MADE: p->counters.probes_not_made++; break;
	}
}

static void note_result(struct prober *p, const struct probe_what *what, uint64_t attempt, enum probe_outcome outcome,
                        const char *cause)
{
	count(p, outcome);
	const struct probe_target *changed = probes_on_result(&p->probes, what, attempt, outcome, cause, time_now());
	if (changed != NULL)
		log_change(p, changed);
	send_reports(p);
}

static void on_result(struct probe_socket *s, enum probe_outcome outcome, const char *cause)
{
	struct job *j = (struct job *)s;
	if (!j->prober->is_closing)
		note_result(j->prober, &s->what, j->attempt, outcome, cause);
}

static void release(struct prober *p)
{
	if (--p->n_open > 0 || !p->is_closing)
		return;
	probes_fini(&p->probes);
	memory_free(p);
}

static void on_socket_closed(struct probe_socket *s)
{
	struct job *j = (struct job *)s;
	struct prober *p = j->prober;
	j->next = p->free;
	p->free = j;
	if (!p->is_closing)
		turn(p);
	release(p);
}

static void begin(struct prober *p, const struct probe_target *t)
{
	struct error err = { 0 };
	struct probe_what what = t->what;
	uint64_t attempt = t->attempt;
	struct job *j = p->free;
	p->free = j->next;
	p->n_open++;
	j->attempt = attempt;
	p->counters.probes_begun++;
	if (probe_socket_begin(&j->socket, &p->sockets, &what, t->timeout_ms, &err) == 0)
		return;
	j->next = p->free;
	p->free = j;
	p->n_open--;
	if (p->counters.probes_not_made == 0)
		log_error("probe-not-made", "text=\"%s\"", err.text); // the first; then they are counted
	note_result(p, &what, attempt, PROBE_NOT_MADE, err.text);
}

static void on_due(uv_timer_t *timer)
{
	turn(timer->data);
}

static void schedule(struct prober *p)
{
	struct mono_time due;
	uv_timer_stop(&p->due);
	if (p->free == NULL || !probes_due(&p->probes, &due))
		return; // a socket that closes brings the next turn, or an interface
	uint64_t wait_us = mono_elapsed_us(time_now(), due);
	uv_update_time(p->config.loop);
	uv_timer_start(&p->due, on_due, (wait_us + 999) / 1000, 0);
}

// Begins what is due, as long as there is room.
static void turn(struct prober *p)
{
	const struct probe_target *t;
	while (p->free != NULL && (t = probes_next(&p->probes, time_now())) != NULL)
		begin(p, t);
	schedule(p);
}

// ---- What the control says ----

int prober_configure(struct prober *p, const struct store *store)
{
	int code = probes_configure(&p->probes, store, p->config.host, time_now());
	if (code != 0)
		return code;
	schedule(p);
	send_reports(p);
	return 0;
}

static void log_port(struct prober *p, const struct ip_addr *dip, const char *cause)
{
	char text[IP_ADDR_TEXT_BYTES];
	log_warn("dip-unhealthy", "dip=%s cause=\"%s\"", ip_addr_format(dip, text), cause);
}

void prober_set_port(struct prober *p, const struct ip_addr *dip, bool is_open, const char *cause)
{
	if (probes_set_port(&p->probes, dip, is_open, cause, time_now()) > 0)
		log_port(p, dip, cause);
	schedule(p);
	send_reports(p);
}

void prober_on_link(struct prober *p, bool is_up)
{
	probes_on_link(&p->probes, is_up);
	send_reports(p);
}

void prober_read_counters(const struct prober *p, struct counter ret_values[PROBER_N_COUNTERS])
{
	uint32_t i = 0;
#define X(what, text)                                                      \
	(void)text_copy(ret_values[i].name, sizeof ret_values[i].name, #what); \
	ret_values[i++].value = p->counters.what;
	PROBER_COUNTERS(X)
#undef X
	ret_values[PROBER_N_COUNTERS - 3].value = probes_n_waiting(&p->probes, time_now());
	ret_values[PROBER_N_COUNTERS - 2].value = p->probes.n_targets;
	ret_values[PROBER_N_COUNTERS - 1].value = probes_n_unhealthy_dips(&p->probes);
}

// ---- Life ----

int prober_create(const struct prober_config *config, struct prober **ret_prober, struct error *err)
{
	uint64_t seed;
	struct prober *p = memory_array(1, sizeof *p);
	if (p == NULL)
		return error_set(err, ERR_NO_MEMORY, "no memory for the prober");
	if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
		seed = uv_hrtime();
	p->config = *config;
	p->sockets = (struct probe_socket_config){ .loop = config->loop,
		                                       .source = config->source,
		                                       .source6 = config->source6,
		                                       .device = config->device,
		                                       .on_result = on_result,
		                                       .on_closed = on_socket_closed };
	probes_init(&p->probes, seed);
	token_bucket_init(&p->events, PROBER_EVENTS_PER_S, PROBER_EVENTS_BURST, time_now());
	uv_timer_init(config->loop, &p->due);
	p->due.data = p;
	p->n_open = 1;
	for (uint32_t i = 0; i < PROBER_SOCKETS; i++) {
		p->jobs[i].prober = p;
		p->jobs[i].next = p->free;
		p->free = &p->jobs[i];
	}
	*ret_prober = p;
	return 0;
}

static void on_timer_closed(uv_handle_t *handle)
{
	release(handle->data);
}

static bool is_free(const struct prober *p, const struct job *job)
{
	for (const struct job *j = p->free; j != NULL; j = j->next)
		if (j == job)
			return true;
	return false;
}

void prober_destroy(struct prober *p)
{
	if (p == NULL)
		return;
	p->is_closing = true;
	for (uint32_t i = 0; i < PROBER_SOCKETS; i++)
		if (!is_free(p, &p->jobs[i]))
			probe_socket_abort(&p->jobs[i].socket);
	uv_close((uv_handle_t *)&p->due, on_timer_closed);
}
