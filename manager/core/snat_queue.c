#include "manager/core/snat_queue.h"

#include <string.h>

#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/base/memory.h"
#include "common/base/token_bucket.h"

#define BURST_S 2
#define DEFAULT_RATE 20
#define ASKER_HEADS SNAT_QUEUE_DIPS_MAX
#define VIP_HEADS SNAT_QUEUE_MAX

enum asker_state { ASKER_IDLE, ASKER_DELAYED, ASKER_READY, ASKER_UNDER_WAY };

// Links are indices into the arrays below; 0 is none, so that zeroed memory is an empty queue.
struct asker { // a DIP
	struct ip_addr dip;
	struct snat_op request; // that waits: in DELAYED and READY, and in UNDER_WAY behind the other one
	struct token_bucket bucket;
	struct mono_time asked; // when it was pushed
	uint64_t under_way_seq;
	struct mono_time under_way_asked;
	uint64_t due_us; // DELAYED: when its rate allows it
	uint32_t vip; // of the request that waits
	uint32_t hash_next;
	uint32_t previous; // IDLE: of those that asked longer ago
	uint32_t next; // READY: of its VIP; IDLE: of those that asked later; unused: of those
	enum asker_state state;
	bool has_next; // UNDER_WAY: a newer one waits
};

struct queue_vip { // a VIP with requests that wait
	struct ip_addr addr;
	uint32_t n_waiting;
	uint32_t first_ready;
	uint32_t last_ready;
	uint32_t hash_next;
	uint32_t next; // of the round; unused: of those
};

struct list {
	uint32_t first;
	uint32_t last;
};

struct snat_queue {
	uint32_t rate_per_s;
	uint32_t n_waiting;
	uint32_t n_askers_made;
	uint32_t n_vips_made;
	uint32_t unused_vips;
	struct list idle; // askers, the one that asked longest ago first
	struct list round; // VIPs with ready requests, in their order of being served
	uint32_t n_delayed;
	uint32_t n_ends;
	uint32_t first_end;
	uint32_t asker_heads[ASKER_HEADS];
	uint32_t vip_heads[VIP_HEADS];
	uint32_t delayed[SNAT_QUEUE_MAX]; // a heap of askers by due_us
	struct asker askers[SNAT_QUEUE_DIPS_MAX + 1];
	struct queue_vip vips[SNAT_QUEUE_MAX + 1];
	struct snat_op ends[SNAT_QUEUE_ENDS_MAX]; // a ring
};

struct snat_queue *snat_queue_create(void)
{
	struct snat_queue *q = memory_array(1, sizeof *q);
	if (q != NULL)
		q->rate_per_s = DEFAULT_RATE;
	return q;
}

void snat_queue_destroy(struct snat_queue *q)
{
	memory_free(q);
}

void snat_queue_clear(struct snat_queue *q)
{
	uint32_t rate_per_s = q->rate_per_s;
	memset(q, 0, sizeof *q);
	q->rate_per_s = rate_per_s;
}

void snat_queue_set_rate(struct snat_queue *q, uint32_t dip_requests_per_s)
{
	q->rate_per_s = dip_requests_per_s < 1 ? 1 : dip_requests_per_s;
}

static uint32_t head_of(const struct ip_addr *addr, uint32_t n_heads)
{
	return hash_reduce(hash_bytes(addr, sizeof *addr, 0), n_heads);
}

// ---- VIPs ----

static uint32_t lookup_vip(const struct snat_queue *q, const struct ip_addr *addr)
{
	uint32_t v = q->vip_heads[head_of(addr, VIP_HEADS)];
	while (v != 0 && !ip_addr_equal(&q->vips[v].addr, addr))
		v = q->vips[v].hash_next;
	return v;
}

// There is always room: each holds a request that waits.
static uint32_t insert_vip(struct snat_queue *q, const struct ip_addr *addr)
{
	uint32_t v = q->unused_vips;
	if (v != 0)
		q->unused_vips = q->vips[v].next;
	else
		v = ++q->n_vips_made;
	CHECK(v <= SNAT_QUEUE_MAX);
	uint32_t *head = &q->vip_heads[head_of(addr, VIP_HEADS)];
	q->vips[v] = (struct queue_vip){ .addr = *addr, .hash_next = *head };
	*head = v;
	return v;
}

static void remove_vip(struct snat_queue *q, uint32_t v)
{
	uint32_t *at = &q->vip_heads[head_of(&q->vips[v].addr, VIP_HEADS)];
	while (*at != v)
		at = &q->vips[*at].hash_next;
	*at = q->vips[v].hash_next;
	q->vips[v].next = q->unused_vips;
	q->unused_vips = v;
}

static void append_to_round(struct snat_queue *q, uint32_t v)
{
	q->vips[v].next = 0;
	if (q->round.last != 0)
		q->vips[q->round.last].next = v;
	else
		q->round.first = v;
	q->round.last = v;
}

static uint32_t take_from_round(struct snat_queue *q)
{
	uint32_t v = q->round.first;
	q->round.first = q->vips[v].next;
	if (q->round.first == 0)
		q->round.last = 0;
	return v;
}

// ---- the askers that are idle: their rates are remembered while there is room ----

static void append_idle(struct snat_queue *q, uint32_t a)
{
	struct asker *asker = &q->askers[a];
	asker->state = ASKER_IDLE;
	asker->previous = q->idle.last;
	asker->next = 0;
	if (q->idle.last != 0)
		q->askers[q->idle.last].next = a;
	else
		q->idle.first = a;
	q->idle.last = a;
}

static void unlink_idle(struct snat_queue *q, uint32_t a)
{
	const struct asker *asker = &q->askers[a];
	if (asker->previous != 0)
		q->askers[asker->previous].next = asker->next;
	else
		q->idle.first = asker->next;
	if (asker->next != 0)
		q->askers[asker->next].previous = asker->previous;
	else
		q->idle.last = asker->previous;
}

static uint32_t lookup_asker(const struct snat_queue *q, const struct ip_addr *dip)
{
	uint32_t a = q->asker_heads[head_of(dip, ASKER_HEADS)];
	while (a != 0 && !ip_addr_equal(&q->askers[a].dip, dip))
		a = q->askers[a].hash_next;
	return a;
}

static uint32_t forget_oldest_idle(struct snat_queue *q)
{
	uint32_t a = q->idle.first;
	if (a == 0)
		return 0;
	unlink_idle(q, a);
	uint32_t *at = &q->asker_heads[head_of(&q->askers[a].dip, ASKER_HEADS)];
	while (*at != a)
		at = &q->askers[*at].hash_next;
	*at = q->askers[a].hash_next;
	return a;
}

// An idle one; 0 when all are waiting or under way.
static uint32_t insert_asker(struct snat_queue *q, const struct ip_addr *dip, struct mono_time now)
{
	uint32_t a = q->n_askers_made < SNAT_QUEUE_DIPS_MAX ? ++q->n_askers_made : forget_oldest_idle(q);
	if (a == 0)
		return 0;
	uint32_t *head = &q->asker_heads[head_of(dip, ASKER_HEADS)];
	q->askers[a] = (struct asker){ .dip = *dip, .hash_next = *head };
	token_bucket_init(&q->askers[a].bucket, q->rate_per_s, BURST_S * q->rate_per_s, now);
	*head = a;
	append_idle(q, a);
	return a;
}

// ---- requests over the rate: a binary heap by the time when they become ready ----

static bool is_earlier(const struct snat_queue *q, uint32_t i, uint32_t k)
{
	const struct asker *x = &q->askers[q->delayed[i]];
	const struct asker *y = &q->askers[q->delayed[k]];
	return x->due_us != y->due_us ? x->due_us < y->due_us : ip_addr_compare(&x->dip, &y->dip) < 0;
}

static void swap_delayed(struct snat_queue *q, uint32_t i, uint32_t k)
{
	uint32_t a = q->delayed[i];
	q->delayed[i] = q->delayed[k];
	q->delayed[k] = a;
}

static void push_delayed(struct snat_queue *q, uint32_t a)
{
	uint32_t i = q->n_delayed++;
	q->delayed[i] = a;
	for (; i > 0 && is_earlier(q, i, (i - 1) / 2); i = (i - 1) / 2)
		swap_delayed(q, i, (i - 1) / 2);
}

static uint32_t pop_delayed(struct snat_queue *q)
{
	uint32_t a = q->delayed[0];
	q->delayed[0] = q->delayed[--q->n_delayed];
	for (uint32_t i = 0;;) {
		uint32_t least = i;
		for (uint32_t child = 2 * i + 1; child <= 2 * i + 2 && child < q->n_delayed; child++)
			if (is_earlier(q, child, least))
				least = child;
		if (least == i)
			return a;
		swap_delayed(q, i, least);
		i = least;
	}
}

// ---- requests ----

static void make_ready(struct snat_queue *q, uint32_t a)
{
	struct asker *asker = &q->askers[a];
	struct queue_vip *vip = &q->vips[asker->vip];
	asker->state = ASKER_READY;
	asker->next = 0;
	if (vip->last_ready != 0) {
		q->askers[vip->last_ready].next = a;
	} else {
		vip->first_ready = a;
		append_to_round(q, asker->vip);
	}
	vip->last_ready = a;
}

// What waits becomes ready when its DIP's rate allows it, which is paid for then.
static void begin_waiting(struct snat_queue *q, uint32_t a, struct mono_time now)
{
	struct asker *asker = &q->askers[a];
	asker->bucket.rate_per_s = q->rate_per_s;
	asker->bucket.burst = BURST_S * q->rate_per_s;
	if (token_bucket_take(&asker->bucket, now)) {
		make_ready(q, a);
		return;
	}
	asker->state = ASKER_DELAYED;
	asker->due_us = now.us + 1000000u / q->rate_per_s - asker->bucket.tokens_us;
	push_delayed(q, a);
}

static int check_room(const struct snat_queue *q, uint32_t vip, const struct ip_addr *vip_addr, struct error *err)
{
	char text[IP_ADDR_TEXT_BYTES];
	if (vip != 0 && q->vips[vip].n_waiting >= SNAT_QUEUE_VIP_MAX)
		return error_set(err, ERR_LIMIT, "%u requests for ports of %s wait, which is the limit; ask again later",
		                 SNAT_QUEUE_VIP_MAX, ip_addr_format(vip_addr, text));
	if (q->n_waiting >= SNAT_QUEUE_MAX)
		return error_set(err, ERR_LIMIT, "%u requests for ports wait, which is the limit; ask again later",
		                 SNAT_QUEUE_MAX);
	return 0;
}

static void file_request(struct snat_queue *q, uint32_t a, const struct snat_op *request, uint32_t vip,
                         struct mono_time now)
{
	q->askers[a].request = *request;
	q->askers[a].asked = now;
	q->askers[a].vip = vip;
	q->vips[vip].n_waiting++;
	q->n_waiting++;
}

int snat_queue_push_request(struct snat_queue *q, const struct snat_op *request, const struct ip_addr *vip,
                            struct mono_time now, struct error *err)
{
	uint32_t a = lookup_asker(q, &request->dip);
	struct asker *asker = &q->askers[a];
	if (a != 0 && asker->state == ASKER_UNDER_WAY && request->seq <= asker->under_way_seq)
		return 0;
	if (a != 0 && asker->state != ASKER_IDLE && (asker->state != ASKER_UNDER_WAY || asker->has_next)) {
		if (request->seq > asker->request.seq) {
			asker->request = *request;
			asker->asked = now;
		}
		return 0;
	}
	uint32_t v = lookup_vip(q, vip);
	int code = check_room(q, v, vip, err);
	if (code != 0)
		return code;
	if (a == 0 && (a = insert_asker(q, &request->dip, now)) == 0)
		return error_set(err, ERR_LIMIT, "%u DIPs wait for ports, which is the limit; ask again later",
		                 SNAT_QUEUE_DIPS_MAX);
	asker = &q->askers[a];
	file_request(q, a, request, v != 0 ? v : insert_vip(q, vip), now);
	if (asker->state == ASKER_UNDER_WAY) {
		asker->has_next = true;
	} else {
		unlink_idle(q, a);
		begin_waiting(q, a, now);
	}
	return 0;
}

static void ripen(struct snat_queue *q, struct mono_time now)
{
	while (q->n_delayed > 0 && q->askers[q->delayed[0]].due_us <= now.us)
		begin_waiting(q, pop_delayed(q), now);
}

static void take_request(struct snat_queue *q, struct snat_op *ret_op)
{
	uint32_t v = take_from_round(q);
	struct queue_vip *vip = &q->vips[v];
	struct asker *asker = &q->askers[vip->first_ready];
	vip->first_ready = asker->next;
	if (vip->first_ready != 0)
		append_to_round(q, v);
	else
		vip->last_ready = 0;
	*ret_op = asker->request;
	asker->state = ASKER_UNDER_WAY;
	asker->under_way_seq = asker->request.seq;
	asker->under_way_asked = asker->asked;
	asker->has_next = false;
	q->n_waiting--;
	if (--vip->n_waiting == 0)
		remove_vip(q, v);
}

struct mono_time snat_queue_done(struct snat_queue *q, const struct ip_addr *dip, struct mono_time now)
{
	uint32_t a = lookup_asker(q, dip);
	if (a == 0 || q->askers[a].state != ASKER_UNDER_WAY)
		return now;
	struct mono_time asked = q->askers[a].under_way_asked;
	if (q->askers[a].has_next)
		begin_waiting(q, a, now);
	else
		append_idle(q, a);
	return asked;
}

// ---- ends ----

int snat_queue_push_end(struct snat_queue *q, const struct snat_op *end, struct error *err)
{
	if (q->n_ends == SNAT_QUEUE_ENDS_MAX)
		return error_set(err, ERR_LIMIT, "%u leases wait to be ended, which is the limit; try again later", q->n_ends);
	q->ends[(q->first_end + q->n_ends++) % SNAT_QUEUE_ENDS_MAX] = *end;
	return 0;
}

static uint32_t take_ends(struct snat_queue *q, struct snat_op *ret_ops, uint32_t max)
{
	uint32_t n = q->n_ends < max ? q->n_ends : max;
	for (uint32_t i = 0; i < n; i++) {
		ret_ops[i] = q->ends[q->first_end];
		q->first_end = (q->first_end + 1) % SNAT_QUEUE_ENDS_MAX;
	}
	q->n_ends -= n;
	return n;
}

// ---- batches ----

uint32_t snat_queue_take(struct snat_queue *q, struct mono_time now, struct snat_op *ret_ops, uint32_t max_ends,
                         uint32_t max_requests)
{
	ripen(q, now);
	uint32_t n_ends = take_ends(q, ret_ops, max_ends);
	uint32_t n = n_ends;
	while (n - n_ends < max_requests && q->round.first != 0)
		take_request(q, &ret_ops[n++]);
	return n;
}

bool snat_queue_next_time(const struct snat_queue *q, struct mono_time now, struct mono_time *ret_when)
{
	if (q->round.first == 0 && q->n_ends == 0 && q->n_delayed == 0)
		return false;
	bool is_ready = q->round.first != 0 || q->n_ends > 0;
	*ret_when = is_ready ? now : mono_from_us(q->askers[q->delayed[0]].due_us);
	return true;
}

uint32_t snat_queue_n_waiting(const struct snat_queue *q)
{
	return q->n_waiting;
}

uint32_t snat_queue_n_ends(const struct snat_queue *q)
{
	return q->n_ends;
}
