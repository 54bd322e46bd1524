// Random commands against a naive model of generations: it remembers every time in which a set was the present one, and looks all
// of them through. A twin applies the same commands and is now and then replaced by its own snapshot.
#include "tests/support/suite.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "manager/core/generations.h"
#include "tests/unit/manager/objects.h"

enum { N_VIPS = 2, N_ENDPOINTS = 2, N_DIPS = 6, N_HOSTS = 2, EPISODES_MAX = 80, N_COMMANDS = 20000, NOWHERE = N_HOSTS };

struct set {
	uint8_t weights[N_DIPS]; // 0: not in it
};

struct episode {
	struct set set;
	uint64_t end_ms;
	bool is_dropped;
};

struct endpoint_model {
	bool is_there;
	bool was_there; // before the command
	bool has_probe;
	bool is_refusing;
	enum endpoint_state state;
	struct set config;
	struct set present;
	uint64_t since_ms;
	unsigned n;
	struct episode episodes[EPISODES_MAX];
};

struct vip_model {
	bool is_there;
	bool was_deleted; // by this command
	bool is_touched;
	bool refuses;
	unsigned drain_s;
	struct endpoint_model endpoints[N_ENDPOINTS];
};

struct model {
	uint64_t now_ms;
	struct vip_model vips[N_VIPS];
	bool drained[N_DIPS][N_VIPS + 1]; // of a VIP, or of all
	unsigned attached[N_DIPS]; // on this host, or NOWHERE
	bool unhealthy[N_DIPS][N_VIPS][N_ENDPOINTS];
	bool gone[N_HOSTS];
	bool touched_drain[N_DIPS][N_VIPS + 1];
	bool touched_dip[N_DIPS];
	bool touched_gone[N_HOSTS];
	bool left[N_DIPS][N_HOSTS]; // it was attached there before a change of this command
};

static unsigned pick(unsigned *seed, unsigned n)
{
	return (unsigned)rand_r(seed) % n;
}

static bool sets_equal(const struct set *a, const struct set *b)
{
	return memcmp(a, b, sizeof *a) == 0;
}

// ---- the model's rules ----

static bool drain_is_of(unsigned of, unsigned vip)
{
	return of == N_VIPS || of == vip;
}

static bool is_drained(const struct model *m, unsigned dip, unsigned vip)
{
	return m->drained[dip][vip] || m->drained[dip][N_VIPS];
}

static bool has_endpoint_with(const struct model *m, unsigned dip, unsigned vip)
{
	bool has = false;
	for (unsigned e = 0; m->vips[vip].is_there && e < N_ENDPOINTS; e++)
		has = has || (m->vips[vip].endpoints[e].is_there && m->vips[vip].endpoints[e].config.weights[dip] > 0);
	return has;
}

static bool may_drain(const struct model *m, unsigned dip, unsigned of)
{
	bool has_any = false;
	for (unsigned v = 0; v < N_VIPS; v++) {
		if (!drain_is_of(of, v) || !has_endpoint_with(m, dip, v))
			continue;
		has_any = true;
		for (unsigned e = 0; e < N_ENDPOINTS; e++) {
			const struct endpoint_model *ep = &m->vips[v].endpoints[e];
			bool has_other = !ep->is_there || ep->config.weights[dip] == 0;
			for (unsigned d = 0; d < N_DIPS; d++)
				has_other = has_other || (d != dip && ep->config.weights[d] > 0 && !is_drained(m, d, v));
			if (!has_other)
				return false;
		}
	}
	return has_any;
}

// ---- the model's generations ----

// Those of the configuration with none of these against them.
static struct set without(const struct model *m, unsigned vip, unsigned endpoint, bool drained, bool gone,
                          bool unhealthy)
{
	struct set set = m->vips[vip].endpoints[endpoint].config;
	for (unsigned d = 0; d < N_DIPS; d++)
		if ((drained && is_drained(m, d, vip)) || (unhealthy && m->unhealthy[d][vip][endpoint]) ||
		    (gone && m->attached[d] != NOWHERE && m->gone[m->attached[d]]))
			set.weights[d] = 0;
	return set;
}

static bool is_empty_set(const struct set *set)
{
	static const struct set none;
	return sets_equal(set, &none);
}

static struct set standing(const struct model *m, unsigned vip, unsigned endpoint, bool has_present)
{
	const struct endpoint_model *e = &m->vips[vip].endpoints[endpoint];
	struct set undrained = without(m, vip, endpoint, true, false, false);
	struct set set = undrained;
	for (unsigned d = 0; has_present && d < N_DIPS; d++)
		if (e->present.weights[d] == 0)
			set.weights[d] = 0;
	return is_empty_set(&set) ? undrained : set;
}

static struct set eligible(const struct model *m, unsigned vip, unsigned endpoint, bool has_present,
                           enum endpoint_state *ret_state, bool *ret_refusing)
{
	struct set undrained = without(m, vip, endpoint, true, false, false);
	struct set well = without(m, vip, endpoint, true, true, true);
	struct set there = without(m, vip, endpoint, true, true, false);
	struct set healthy = without(m, vip, endpoint, true, false, true);
	*ret_state = ENDPOINT_SERVED;
	*ret_refusing = false;
	if (is_empty_set(&undrained))
		return m->vips[vip].endpoints[endpoint].config;
	if (!is_empty_set(&well))
		return well;
	*ret_refusing = m->vips[vip].refuses && is_empty_set(&healthy);
	*ret_state = is_empty_set(&there) ? ENDPOINT_STATIC : ENDPOINT_ALL_DOWN;
	return is_empty_set(&there) ? standing(m, vip, endpoint, has_present) : there;
}

static bool is_listed(const struct endpoint_model *e)
{
	return e->is_there && (e->n > 0 || e->is_refusing || !sets_equal(&e->present, &e->config));
}

static void update_endpoint(struct model *m, unsigned vip, unsigned endpoint)
{
	struct endpoint_model *e = &m->vips[vip].endpoints[endpoint];
	bool begins = !e->was_there || m->vips[vip].was_deleted;
	struct set now = eligible(m, vip, endpoint, !begins, &e->state, &e->is_refusing);
	if (begins) {
		e->n = 0;
		e->present = now;
		e->since_ms = m->now_ms;
	} else if (!sets_equal(&now, &e->present)) {
		ck_assert_uint_lt(e->n, EPISODES_MAX);
		e->episodes[e->n++] = (struct episode){ .set = e->present, .end_ms = m->now_ms };
		e->present = now;
		e->since_ms = m->now_ms;
	}
	// From the latest on: what is a repetition, too old or too much.
	unsigned n_kept = 1;
	for (unsigned i = e->n; i > 0; i--) {
		struct episode *x = &e->episodes[i - 1];
		bool is_repeated = sets_equal(&x->set, &e->present);
		for (unsigned k = i; k < e->n; k++)
			is_repeated = is_repeated || sets_equal(&x->set, &e->episodes[k].set);
		if (is_repeated || x->end_ms + m->vips[vip].drain_s * 1000ULL <= m->now_ms || n_kept == GENERATIONS_MAX)
			x->is_dropped = true;
		n_kept += !x->is_dropped;
	}
	unsigned n = 0;
	for (unsigned i = 0; i < e->n; i++)
		if (!e->episodes[i].is_dropped)
			e->episodes[n++] = e->episodes[i];
	e->n = n;
	if (!is_listed(e))
		e->since_ms = 0; // nobody remembers
}

static bool history_has(const struct vip_model *v, unsigned dip)
{
	bool has = false;
	for (unsigned i = 0; i < N_ENDPOINTS; i++) {
		const struct endpoint_model *e = &v->endpoints[i];
		has = has || (is_listed(e) && e->present.weights[dip] > 0);
		for (unsigned k = 0; is_listed(e) && k < e->n; k++)
			has = has || e->episodes[k].set.weights[dip] > 0;
	}
	return has;
}

static bool may_be_unhealthy(const struct model *m, unsigned dip, unsigned vip, unsigned endpoint)
{
	const struct endpoint_model *e = &m->vips[vip].endpoints[endpoint];
	return m->vips[vip].is_there && e->is_there && e->has_probe && e->config.weights[dip] > 0 &&
	       m->attached[dip] != NOWHERE;
}

// Marks that are of nothing any more.
static void drop_marks(struct model *m)
{
	for (unsigned d = 0; d < N_DIPS; d++) {
		bool has_moved = false;
		for (unsigned h = 0; h < N_HOSTS; h++)
			has_moved = has_moved || (m->left[d][h] && m->attached[d] != h);
		for (unsigned of = 0; of <= N_VIPS; of++) {
			bool is_of_any = false;
			for (unsigned v = 0; v < N_VIPS; v++)
				is_of_any = is_of_any || (drain_is_of(of, v) && has_endpoint_with(m, d, v));
			m->drained[d][of] = m->drained[d][of] && is_of_any;
		}
		for (unsigned i = 0; i < N_VIPS * N_ENDPOINTS; i++) {
			unsigned v = i / N_ENDPOINTS;
			bool *is_marked = &m->unhealthy[d][v][i % N_ENDPOINTS];
			if (!*is_marked || (may_be_unhealthy(m, d, v, i % N_ENDPOINTS) && !has_moved))
				continue;
			*is_marked = false;
			m->vips[v].is_touched = true;
		}
	}
}

static bool is_touched_by_dip(const struct model *m, unsigned vip, unsigned dip, bool has_gone)
{
	unsigned host = m->attached[dip];
	bool is_in = has_endpoint_with(m, dip, vip);
	if (m->touched_dip[dip] && (history_has(&m->vips[vip], dip) || (has_gone && is_in)))
		return true;
	return is_in && host != NOWHERE && m->touched_gone[host];
}

static void follow(struct model *m, bool is_empty)
{
	bool has_gone = false;
	for (unsigned h = 0; h < N_HOSTS; h++)
		has_gone = has_gone || m->gone[h] || m->touched_gone[h];
	for (unsigned v = 0; v < N_VIPS; v++) {
		struct vip_model *vip = &m->vips[v];
		for (unsigned d = 0; d < N_DIPS; d++) {
			vip->is_touched = vip->is_touched || is_touched_by_dip(m, v, d, has_gone);
			for (unsigned of = 0; of <= N_VIPS; of++)
				vip->is_touched =
					vip->is_touched || (m->touched_drain[d][of] && drain_is_of(of, v) && has_endpoint_with(m, d, v));
		}
	}
	drop_marks(m);
	for (unsigned v = 0; v < N_VIPS; v++)
		for (unsigned e = 0; e < N_ENDPOINTS; e++) {
			struct endpoint_model *ep = &m->vips[v].endpoints[e];
			ep->is_there = ep->is_there && m->vips[v].is_there;
			if (!ep->is_there)
				ep->state = ENDPOINT_SERVED;
			else if (m->vips[v].is_touched || is_empty)
				update_endpoint(m, v, e);
		}
}

// ---- commands ----

enum kind { PUT_VIP, DELETE_VIP, DRAIN, UNDRAIN, ATTACH, DETACH, FAIL, RECOVER, GONE, BACK, N_KINDS };

struct op {
	enum kind kind;
	unsigned vip; // for drains also N_VIPS: all
	unsigned dip;
	unsigned endpoint;
	unsigned host;
	unsigned drain_s;
	bool refuses;
	bool has_probe;
	struct set sets[N_ENDPOINTS]; // an empty one: the endpoint is not there
};

static struct op random_op(unsigned *seed)
{
	static const enum kind kinds[] = { PUT_VIP, PUT_VIP, PUT_VIP, PUT_VIP, DRAIN, DRAIN, UNDRAIN, UNDRAIN, ATTACH,
		                               ATTACH,  DETACH,  FAIL,    FAIL,    FAIL,  FAIL,  FAIL,    FAIL,    FAIL,
		                               FAIL,    RECOVER, RECOVER, GONE,    BACK,  BACK,  BACK };
	struct op op = { .kind = pick(seed, 300) == 0 ? DELETE_VIP : kinds[pick(seed, sizeof kinds / sizeof *kinds)],
		             .dip = pick(seed, N_DIPS),
		             .endpoint = pick(seed, N_ENDPOINTS),
		             .host = pick(seed, N_HOSTS),
		             .refuses = pick(seed, 2) == 0,
		             .has_probe = pick(seed, 5) > 0,
		             .drain_s = pick(seed, 200) == 0 ? 60 : 3600 };
	op.vip = pick(seed, op.kind == DRAIN || op.kind == UNDRAIN ? N_VIPS + 1 : N_VIPS);
	unsigned n = 0;
	for (unsigned e = 0; e < N_ENDPOINTS; e++)
		for (unsigned d = 0; d < N_DIPS && (e > 0 || pick(seed, 60) > 0); d++) {
			op.sets[e].weights[d] = (uint8_t)(pick(seed, 2) * (1 + pick(seed, 2)));
			n += op.sets[e].weights[d];
		}
	if (n == 0)
		op.sets[0].weights[0] = 1;
	return op;
}

static bool put_vip(struct model *m, const struct op *op)
{
	static const struct set none;
	struct vip_model *v = &m->vips[op->vip];
	bool is_same = v->is_there && v->drain_s == op->drain_s && v->refuses == op->refuses;
	for (unsigned e = 0; e < N_ENDPOINTS; e++) {
		bool is_there = !sets_equal(&op->sets[e], &none);
		is_same = is_same && v->endpoints[e].is_there == is_there &&
		          (!is_there ||
		           (sets_equal(&v->endpoints[e].config, &op->sets[e]) && v->endpoints[e].has_probe == op->has_probe));
		v->endpoints[e].is_there = is_there;
		v->endpoints[e].config = op->sets[e];
		v->endpoints[e].has_probe = op->has_probe;
	}
	v->is_touched = v->is_touched || !is_same;
	v->is_there = true;
	v->drain_s = op->drain_s;
	v->refuses = op->refuses;
	return true;
}

static bool set_attached(struct model *m, const struct op *op, bool is_put)
{
	unsigned *host = &m->attached[op->dip];
	unsigned to = is_put ? op->host : NOWHERE;
	if (is_put ? *host != NOWHERE && *host != op->host : *host == NOWHERE)
		return false;
	m->touched_dip[op->dip] = m->touched_dip[op->dip] || *host != to;
	if (*host != NOWHERE && *host != to)
		m->left[op->dip][*host] = true;
	*host = to;
	return true;
}

static bool set_unhealthy(struct model *m, const struct op *op, bool is_put)
{
	unsigned vip = op->vip % N_VIPS;
	bool *is_marked = &m->unhealthy[op->dip][vip][op->endpoint];
	if (is_put && !*is_marked && !may_be_unhealthy(m, op->dip, vip, op->endpoint))
		return false;
	m->vips[vip].is_touched = m->vips[vip].is_touched || *is_marked != is_put;
	*is_marked = is_put;
	return true;
}

static bool model_op(struct model *m, const struct op *op)
{
	struct vip_model *v = &m->vips[op->vip % N_VIPS];
	bool *drained = &m->drained[op->dip][op->vip];
	bool is_put = op->kind == DRAIN || op->kind == ATTACH || op->kind == FAIL || op->kind == GONE;
	switch (op->kind) {
	case PUT_VIP: return put_vip(m, op);
	case DELETE_VIP:
		if (!v->is_there)
			return false;
		v->is_there = false;
		v->was_deleted = true;
		v->is_touched = true;
		return true;
	case DRAIN:
	case UNDRAIN:
		if (is_put ? !*drained && !may_drain(m, op->dip, op->vip) : !*drained)
			return false;
		m->touched_drain[op->dip][op->vip] = m->touched_drain[op->dip][op->vip] || *drained != is_put;
		*drained = is_put;
		return true;
	case ATTACH:
	case DETACH: return set_attached(m, op, is_put);
	case FAIL:
	case RECOVER: return set_unhealthy(m, op, is_put);
	case GONE:
	case BACK:
		m->touched_gone[op->host] = m->touched_gone[op->host] || m->gone[op->host] != is_put;
		m->gone[op->host] = is_put;
		return true;
	case N_KINDS: break;
	}
	return false;
}

static bool model_apply(struct model *m, struct model *scratch, uint64_t now_ms, const struct op *ops, unsigned n)
{
	memcpy(scratch, m, sizeof *m);
	scratch->now_ms = now_ms;
	memset(scratch->touched_dip, 0, sizeof scratch->touched_dip);
	memset(scratch->touched_drain, 0, sizeof scratch->touched_drain);
	memset(scratch->touched_gone, 0, sizeof scratch->touched_gone);
	memset(scratch->left, 0, sizeof scratch->left);
	for (unsigned v = 0; v < N_VIPS; v++) {
		scratch->vips[v].is_touched = scratch->vips[v].was_deleted = false;
		for (unsigned e = 0; e < N_ENDPOINTS; e++)
			scratch->vips[v].endpoints[e].was_there = scratch->vips[v].endpoints[e].is_there;
	}
	for (unsigned i = 0; i < n; i++)
		if (!model_op(scratch, &ops[i]))
			return false;
	follow(scratch, n == 0);
	memcpy(m, scratch, sizeof *m);
	return true;
}

// ---- text ----

static void add_text(char *buf, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void add_text(char *buf, size_t size, const char *format, ...)
{
	size_t used = strlen(buf);
	va_list args;
	va_start(args, format);
	ck_assert(text_vformat(buf + used, size - used, format, args));
	va_end(args);
}

static void add_vip(char *buf, size_t size, const struct op *op)
{
	static const struct set none;
	add_text(buf, size, "vip 203.0.113.%u shop drain_s=%u refuse=%u", op->vip, op->drain_s, op->refuses);
	for (unsigned e = 0; e < N_ENDPOINTS; e++) {
		if (sets_equal(&op->sets[e], &none))
			continue;
		add_text(buf, size, " , e%u tcp %u%s", e, 80 + e, op->has_probe ? " probe=0" : "");
		for (unsigned d = 0; d < N_DIPS; d++)
			if (op->sets[e].weights[d] > 0)
				add_text(buf, size, " 10.1.1.%u:80*%u", d, op->sets[e].weights[d]);
	}
}

static void add_op(char *buf, size_t size, const struct op *op)
{
	add_text(buf, size, buf[0] == '\0' ? "" : " ; ");
	switch (op->kind) {
	case PUT_VIP: add_vip(buf, size, op); break;
	case DELETE_VIP: add_text(buf, size, "-vip 203.0.113.%u", op->vip); break;
	case DRAIN:
	case UNDRAIN:
		add_text(buf, size, "%sdrain 10.1.1.%u", op->kind == UNDRAIN ? "-" : "", op->dip);
		if (op->vip < N_VIPS)
			add_text(buf, size, " 203.0.113.%u", op->vip);
		break;
	case ATTACH: add_text(buf, size, "dip 10.1.1.%u h%u vm if%u 02:00:00:00:00:01", op->dip, op->host, op->dip); break;
	case FAIL:
	case RECOVER:
		add_text(buf, size, "%sunhealthy 10.1.1.%u 203.0.113.%u tcp %u", op->kind == RECOVER ? "-" : "", op->dip,
		         op->vip % N_VIPS, 80 + op->endpoint);
		break;
	case GONE:
	case BACK: add_text(buf, size, "%sgone h%u", op->kind == BACK ? "-" : "", op->host); break;
	case DETACH: add_text(buf, size, "-dip 10.1.1.%u", op->dip); break;
	case N_KINDS: break;
	}
}

// ---- comparing ----

static void compare_set(const struct set *want, const struct generation *g)
{
	uint32_t n = 0;
	ck_assert_uint_gt(g->n_members, 0);
	for (unsigned d = 0; d < N_DIPS; d++) {
		if (want->weights[d] == 0)
			continue;
		ck_assert_uint_lt(n, g->n_members);
		ck_assert_uint_eq(g->members[n].dip.bytes[15], d);
		ck_assert_uint_eq(g->members[n++].weight, want->weights[d]);
	}
	ck_assert_uint_eq(n, g->n_members);
}

static void compare_endpoint(const struct endpoint_model *want, const struct endpoint_history *e)
{
	ck_assert_uint_eq(e->n_generations, want->n + 1);
	ck_assert(e->is_refusing == want->is_refusing);
	for (unsigned i = 0; i < want->n; i++) {
		compare_set(&want->episodes[i].set, &e->generations[i]);
		ck_assert_uint_eq(e->generations[i + 1].since_ms, want->episodes[i].end_ms);
	}
	compare_set(&want->present, endpoint_history_present(e));
	ck_assert_uint_eq(endpoint_history_present(e)->since_ms, want->since_ms);
}

static void compare_vip(const struct model *m, const struct vip_model *want, const struct vip_history *h)
{
	uint32_t n = 0;
	uint32_t n_gone = 0;
	for (unsigned e = 0; want->is_there && e < N_ENDPOINTS; e++) {
		if (!is_listed(&want->endpoints[e]))
			continue;
		ck_assert_ptr_nonnull(h);
		ck_assert_uint_lt(n, h->n_endpoints);
		ck_assert_uint_eq(h->endpoints[n].port, 80 + e);
		compare_endpoint(&want->endpoints[e], &h->endpoints[n++]);
	}
	ck_assert(n > 0 ? h != NULL && h->n_endpoints == n : h == NULL);
	for (unsigned d = 0; d < N_DIPS; d++) {
		if (!want->is_there || m->attached[d] != NOWHERE || !history_has(want, d))
			continue;
		ck_assert_uint_lt(n_gone, h->n_gone);
		ck_assert_uint_eq(h->gone[n_gone++].bytes[15], d);
	}
	ck_assert(h == NULL || h->n_gone == n_gone);
}

static void compare(const struct model *m, const struct cluster_state *s)
{
	uint32_t n_drains = 0;
	uint32_t n_unhealthy = 0;
	for (unsigned v = 0; v < N_VIPS; v++) {
		struct ip_addr addr = ip_addr_from_v4(be32_from(0xcb007100u + v));
		compare_vip(m, &m->vips[v], store_lookup_history(&s->store, &addr));
		for (unsigned e = 0; e < N_ENDPOINTS; e++) {
			uint16_t port = (uint16_t)(80 + e);
			ck_assert_int_eq(endpoint_states_lookup(&s->endpoint_states, &addr, 6, port),
			                 m->vips[v].endpoints[e].state);
			for (unsigned d = 0; d < N_DIPS; d++)
				n_unhealthy += m->unhealthy[d][v][e];
		}
	}
	for (unsigned d = 0; d < N_DIPS; d++)
		for (unsigned of = 0; of <= N_VIPS; of++)
			n_drains += m->drained[d][of];
	ck_assert_uint_eq(s->store.drains.n, n_drains);
	ck_assert_uint_eq(s->store.unhealthy.n, n_unhealthy);
}

START_TEST(random_commands_make_the_generations_that_a_naive_model_says)
{
	const char *env = getenv("ANANTA_TEST_SEED");
	unsigned seed = env != NULL ? (unsigned)strtoul(env, NULL, 10) : (unsigned)time(NULL);
	printf("seed %u (repeat with ANANTA_TEST_SEED=%u)\n", seed, seed);
	struct cluster_state leader, follower;
	struct model *model = calloc(2, sizeof *model);
	uint64_t now_ms = TEST_TIME_MS;
	unsigned n_accepted = 0;
	unsigned n_states[3] = { 0 };
	unsigned n_refusing = 0;
	uint32_t most = 0;
	ck_assert_int_eq(cluster_state_init(&leader), 0);
	ck_assert_int_eq(cluster_state_init(&follower), 0);
	must_apply(&leader, "cluster 7 ; host h0 10.0.0.1 ; host h1 10.0.0.2");
	must_apply(&follower, "cluster 7 ; host h0 10.0.0.1 ; host h1 10.0.0.2");
	for (unsigned d = 0; d < N_DIPS; d++)
		model->attached[d] = NOWHERE;
	for (int step = 0; step < N_COMMANDS; step++) {
		struct op ops[3];
		char text[1024] = "";
		unsigned n = pick(&seed, 10) == 0 ? 0 : pick(&seed, 5) == 0 ? 1 + pick(&seed, 3) : 1;
		now_ms += pick(&seed, 2000) == 0 ? pick(&seed, 5000000) : pick(&seed, 3000);
		for (unsigned i = 0; i < n; i++) {
			ops[i] = random_op(&seed);
			add_op(text, sizeof text, &ops[i]);
		}
		struct apply_result result = { 0 }, again = { 0 };
		struct error err, err_again;
		int code = apply_text_at(&leader, now_ms, text, &result, &err);
		ck_assert_msg((code == 0) == model_apply(model, model + 1, now_ms, ops, n), "%s: %d %s", text, code, err.text);
		ck_assert_int_eq(apply_text_at(&follower, now_ms, text, &again, &err_again), code);
		ck_assert(code != 0 || (result.version == again.version && result.is_changed == again.is_changed));
		compare(model, &leader);
		ck_assert(snapshots_are_equal(&leader, &follower));
		n_accepted += code == 0;
		for (unsigned i = 0; i < leader.endpoint_states.n; i++)
			n_states[leader.endpoint_states.items[i].state]++;
		for (unsigned i = 0; i < leader.store.histories.n; i++) {
			const struct endpoint_history *e = &store_history(&leader.store, i)->endpoints[0];
			n_refusing += e->is_refusing;
			most = e->n_generations > most ? e->n_generations : most;
		}
		if (pick(&seed, 100) == 0)
			replace_by_snapshot(&follower); // as a replica that was away
	}
	printf("%u of %u commands were accepted; at most %u generations\n", n_accepted, N_COMMANDS, most);
	ck_assert_uint_gt(n_accepted, N_COMMANDS / 3);
	ck_assert_uint_eq(most, GENERATIONS_MAX);
	printf("after so many commands an endpoint was all down: %u, static: %u, refusing: %u\n",
	       n_states[ENDPOINT_ALL_DOWN], n_states[ENDPOINT_STATIC], n_refusing);
	ck_assert_uint_gt(n_states[ENDPOINT_ALL_DOWN], 500);
	ck_assert_uint_gt(n_states[ENDPOINT_STATIC], 500);
	ck_assert_uint_gt(n_refusing, 100);
	cluster_state_fini(&leader);
	cluster_state_fini(&follower);
	free(model);
}
END_TEST

SUITE_MAIN("generations_property", random_commands_make_the_generations_that_a_naive_model_says)
