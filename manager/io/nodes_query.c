// "How are the nodes?": asks all that are subscribed at the same time, waits for a second, answers with what has come.
#include <string.h>

#include "common/base/memory.h"
#include "common/io/log.h"
#include "manager/io/server_parts.h"

struct nodes_query {
	struct server *server;
	struct nodes_query *next;
	struct peer *asker; // NULL: gone
	uint64_t request_id;
	uint64_t first_status_id; // the i-th node was asked with first_status_id + i
	uv_timer_t timer;
	uint32_t n;
	uint32_t n_unanswered; // of those that were asked
	bool is_done;
	struct node_status *items;
	bool *is_awaited; // the answer of the i-th
};

static void on_timer_closed(uv_handle_t *handle)
{
	struct nodes_query *q = handle->data;
	struct server *s = q->server;
	for (uint32_t i = 0; i < q->n; i++)
		node_status_fini(&q->items[i]);
	memory_free(q->items);
	memory_free(q->is_awaited);
	memory_free(q);
	server_release(s);
}

static void unlink_query(struct nodes_query *q)
{
	struct nodes_query **at = &q->server->queries;
	while (*at != q)
		at = &(*at)->next;
	*at = q->next;
	q->server->n_queries--;
}

static void end_query(struct nodes_query *q)
{
	if (q->is_done)
		return;
	q->is_done = true;
	unlink_query(q);
	uv_close((uv_handle_t *)&q->timer, on_timer_closed);
}

// A node's counters are a few hundred bytes: about a thousand nodes go into one message.
#define PART_MAX_BYTES (MESSAGE_MAX_BYTES - 1024)

static size_t status_max_bytes(const struct node_status *s)
{
	return 256 + s->n_counters * (sizeof(struct counter) + 16) + s->n_dips * (sizeof(struct dip_status) + 16);
}

static void answer(struct nodes_query *q)
{
	uint32_t first = 0;
	int code = 0;
	do {
		size_t n_bytes = 0;
		uint32_t n = 0;
		while (first + n < q->n && (n == 0 || n_bytes + status_max_bytes(&q->items[first + n]) <= PART_MAX_BYTES))
			n_bytes += status_max_bytes(&q->items[first + n++]);
		struct message m = { .type = MESSAGE_NODES_REPLY, .request_id = q->request_id };
		m.nodes.n = n;
		m.nodes.items = q->items + first;
		m.nodes.more = first + n < q->n;
		code = conn_send(q->asker->conn, &m);
		first += n;
	} while (code == 0 && first < q->n);
	if (code != 0)
		log_warn("nodes-reply", "peer=%s error=%s", conn_peer(q->asker->conn), error_code_name((enum error_code)code));
}

static void finish(struct nodes_query *q)
{
	if (q->asker != NULL)
		answer(q);
	end_query(q);
}

static void on_deadline(uv_timer_t *timer)
{
	finish(timer->data);
}

static uint32_t count_nodes(const struct store *store, enum node_role role)
{
	return (role != ROLE_AGENT ? store->muxes.n : 0) + (role != ROLE_MUX ? store->hosts.n : 0);
}

// Lists the nodes that are asked for; until they answer they count as unreachable, and a mux that is not connected as down.
static void list_nodes(struct nodes_query *q, const struct store_array *nodes, enum node_role role, const char *name)
{
	for (uint32_t i = 0; i < nodes->n; i++) {
		const struct node_info *node = nodes->items[i];
		if (name[0] != '\0' && strcmp(node->name, name) != 0)
			continue;
		struct node_status *status = &q->items[q->n++];
		*status = (struct node_status){ .role = role };
		memcpy(status->name, node->name, sizeof status->name);
		const struct peer *p = roster_lookup(&q->server->roster, role, node->name);
		(void)text_copy(status->state, sizeof status->state, p == NULL && role == ROLE_MUX ? "down" : "unreachable");
		if (p != NULL)
			status->version = p->distribution.acked_version;
	}
}

static void ask_nodes(struct nodes_query *q)
{
	for (uint32_t i = 0; i < q->n; i++) {
		struct peer *p = roster_lookup(&q->server->roster, q->items[i].role, q->items[i].name);
		if (p == NULL)
			continue;
		struct message m = { .type = MESSAGE_STATUS_REQUEST, .request_id = q->first_status_id + i };
		q->is_awaited[i] = conn_send(p->conn, &m) == 0;
		q->n_unanswered += q->is_awaited[i];
	}
}

static struct nodes_query *create_query(struct peer *p, uint64_t request_id, uint32_t n_max)
{
	struct server *s = p->server;
	struct nodes_query *q = memory_array(1, sizeof *q);
	if (q == NULL)
		return NULL;
	q->items = memory_array(n_max, sizeof *q->items);
	q->is_awaited = memory_array(n_max, sizeof *q->is_awaited);
	if (q->items == NULL || q->is_awaited == NULL) {
		memory_free(q->items);
		memory_free(q->is_awaited);
		memory_free(q);
		return NULL;
	}
	q->server = s;
	q->asker = p;
	q->request_id = request_id;
	q->first_status_id = s->next_request_id;
	s->next_request_id += n_max;
	uv_timer_init(s->loop, &q->timer);
	q->timer.data = q;
	q->next = s->queries;
	s->queries = q;
	s->n_queries++;
	s->n_open++;
	return q;
}

void nodes_query_begin(struct peer *p, uint64_t request_id, enum node_role role, const char *name)
{
	struct server *s = p->server;
	const struct store *store = &s->machine.state.store;
	struct error err = { 0 };
	struct nodes_query *q = NULL;
	if (s->n_queries < SERVER_QUERIES_MAX)
		q = create_query(p, request_id, count_nodes(store, role));
	if (q == NULL) {
		error_set(&err, ERR_LIMIT, "%u such requests are being answered, which is the limit; try again", s->n_queries);
		server_send_error(p, request_id, &err);
		return;
	}
	if (role != ROLE_AGENT)
		list_nodes(q, &store->muxes, ROLE_MUX, name);
	if (role != ROLE_MUX)
		list_nodes(q, &store->hosts, ROLE_AGENT, name);
	ask_nodes(q);
	if (q->n_unanswered == 0)
		finish(q);
	else
		uv_timer_start(&q->timer, on_deadline, SERVER_STATUS_MS, 0);
}

// The node says its own name and role; what counts is whom we asked. What it has acknowledged is in use, also where the
// version went on without changing anything for it.
static void take_status(struct node_status *item, struct node_status *status, uint64_t acked_version, bool is_fenced)
{
	struct node_status taken = *status;
	memset(status, 0, sizeof *status);
	memcpy(taken.name, item->name, sizeof taken.name);
	taken.role = item->role;
	if (taken.version < acked_version)
		taken.version = acked_version;
	if (is_fenced)
		(void)text_copy(taken.state, sizeof taken.state, "fenced");
	node_status_fini(item);
	*item = taken;
}

static struct nodes_query *find_query(const struct server *s, uint64_t status_id)
{
	struct nodes_query *q = s->queries;
	while (q != NULL && (status_id < q->first_status_id || status_id - q->first_status_id >= q->n))
		q = q->next;
	return q;
}

void nodes_query_on_status(struct peer *p, uint64_t request_id, struct node_status *status)
{
	struct nodes_query *q = find_query(p->server, request_id);
	if (q == NULL || p->state != PEER_SUBSCRIBED)
		return; // too late
	uint32_t i = (uint32_t)(request_id - q->first_status_id);
	struct node_status *item = &q->items[i];
	if (!q->is_awaited[i] || item->role != p->subscribe.role || strcmp(item->name, p->subscribe.node.name) != 0)
		return;
	q->is_awaited[i] = false;
	take_status(item, status, p->distribution.acked_version,
	            item->role == ROLE_MUX && snat_service_is_fenced(p->server, item->name));
	if (--q->n_unanswered == 0)
		finish(q);
}

void nodes_query_forget_peer(struct peer *p)
{
	for (struct nodes_query *q = p->server->queries; q != NULL; q = q->next)
		if (q->asker == p)
			q->asker = NULL;
}

void nodes_query_end_all(struct server *s)
{
	while (s->queries != NULL) {
		struct nodes_query *q = s->queries;
		if (q->asker != NULL)
			server_send_redirect(q->asker, q->request_id);
		end_query(q);
	}
}
