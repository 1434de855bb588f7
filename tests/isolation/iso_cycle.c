/*
 * iso_cycle.c - cycles of dependencies, by kind.
 *
 * A graph that keeps only some edges has a cycle when one of its strongly connected components has
 * more than one node (Tarjan 1972, without recursion). For cycles without two rw edges in a row
 * each transaction becomes two nodes, reached by an rw edge or by another; an rw edge may only
 * leave the second kind. A component of that graph is what snapshot isolation forbids.
 */
#include "isolation/iso_int.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

typedef struct graph {
    uint32_t node_count;
    uint32_t *first; /* [node_count + 1] into to */
    uint32_t *to;
} graph;

typedef struct components {
    uint32_t *of;   /* component of each node */
    uint32_t *size; /* nodes of each component */
    uint32_t count;
} components;

static void *take(size_t count, size_t size)
{
    void *p = calloc(count + 1, size);
    assert(p != NULL);
    return p;
}

/* The edges of some kinds; doubled: two nodes a transaction, 2t reached without rw, 2t+1 by rw. */
static uint32_t arcs(const iso_edge *e, bool doubled, uint32_t out[2][2])
{
    if (!doubled) {
        out[0][0] = e->from;
        out[0][1] = e->to;
        return 1;
    }
    out[0][0] = 2 * e->from;
    out[0][1] = 2 * e->to + (e->kind == ISO_RW);
    out[1][0] = 2 * e->from + 1;
    out[1][1] = 2 * e->to;
    return e->kind == ISO_RW ? 1 : 2;
}

static graph make_graph(const iso_history *h, uint32_t kinds, bool doubled)
{
    graph g = {.node_count = h->txn_count * (doubled ? 2 : 1)};
    uint32_t a[2][2];
    g.first = take(g.node_count + 1, sizeof *g.first);
    for (uint32_t i = 0; i < h->edge_count; i++) {
        uint32_t n = (kinds & (uint32_t)h->edges[i].kind) == 0 ? 0 : arcs(&h->edges[i], doubled, a);
        while (n-- > 0)
            g.first[a[n][0] + 1]++;
    }
    for (uint32_t v = 0; v < g.node_count; v++)
        g.first[v + 1] += g.first[v];
    g.to = take(g.first[g.node_count], sizeof *g.to);
    uint32_t *fill = take(g.node_count, sizeof *fill);
    for (uint32_t i = 0; i < h->edge_count; i++) {
        uint32_t n = (kinds & (uint32_t)h->edges[i].kind) == 0 ? 0 : arcs(&h->edges[i], doubled, a);
        while (n-- > 0)
            g.to[g.first[a[n][0]] + fill[a[n][0]]++] = a[n][1];
    }
    free(fill);
    return g;
}

static void free_graph(graph *g)
{
    free(g->first);
    free(g->to);
}

typedef struct walk {
    const graph *g;
    components *c;
    uint32_t *index; /* 0: not visited */
    uint32_t *low;
    uint32_t *edge; /* next edge of a node on the call stack */
    uint32_t *open; /* nodes without a component yet */
    uint32_t open_count;
    uint32_t *calls;
    uint32_t call_count;
    uint32_t next;
} walk;

static void enter(walk *w, uint32_t v)
{
    w->index[v] = w->low[v] = ++w->next;
    w->edge[v] = w->g->first[v];
    w->open[w->open_count++] = v;
    w->calls[w->call_count++] = v;
}

static void leave(walk *w, uint32_t v)
{
    w->call_count--;
    if (w->call_count > 0 && w->low[v] < w->low[w->calls[w->call_count - 1]])
        w->low[w->calls[w->call_count - 1]] = w->low[v];
    if (w->low[v] != w->index[v])
        return;
    uint32_t n = 0;
    uint32_t u;
    do {
        u = w->open[--w->open_count];
        w->c->of[u] = w->c->count;
        w->low[u] = UINT32_MAX; /* closed */
        n++;
    } while (u != v);
    w->c->size[w->c->count++] = n;
}

static components find_components(const graph *g)
{
    size_t n = g->node_count;
    components c = {.of = take(n, sizeof(uint32_t)), .size = take(n, sizeof(uint32_t))};
    walk w = {.g = g,
              .c = &c,
              .index = take(n, sizeof(uint32_t)),
              .low = take(n, sizeof(uint32_t)),
              .edge = take(n, sizeof(uint32_t)),
              .open = take(n, sizeof(uint32_t)),
              .calls = take(n, sizeof(uint32_t))};
    for (uint32_t root = 0; root < n; root++) {
        if (w.index[root] != 0)
            continue;
        enter(&w, root);
        while (w.call_count > 0) {
            uint32_t v = w.calls[w.call_count - 1];
            if (w.edge[v] == g->first[v + 1]) {
                leave(&w, v);
                continue;
            }
            uint32_t u = g->to[w.edge[v]++];
            if (w.index[u] == 0)
                enter(&w, u);
            else if (w.low[u] != UINT32_MAX && w.index[u] < w.low[v])
                w.low[v] = w.index[u];
        }
    }
    free(w.index);
    free(w.low);
    free(w.edge);
    free(w.open);
    free(w.calls);
    return c;
}

static void free_components(components *c)
{
    free(c->of);
    free(c->size);
}

/* A node of a cycle, or UINT32_MAX. */
static uint32_t cyclic_node(const graph *g, const components *c)
{
    for (uint32_t v = 0; v < g->node_count; v++)
        if (c->size[c->of[v]] > 1)
            return v;
    return UINT32_MAX;
}

static bool has_cycle(iso_history *h, uint32_t kinds, bool doubled, uint32_t *node)
{
    graph g = make_graph(h, kinds, doubled);
    components c = find_components(&g);
    *node = cyclic_node(&g, &c);
    free_components(&c);
    free_graph(&g);
    if (*node != UINT32_MAX && doubled)
        *node /= 2;
    return *node != UINT32_MAX;
}

/* Is to reached from `from` along ww and wr? */
static bool reaches(const graph *g, uint32_t from, uint32_t to, uint8_t *seen, uint32_t *queue)
{
    uint32_t head = 0;
    uint32_t tail = 0;
    memset(seen, 0, g->node_count);
    queue[tail++] = from;
    seen[from] = 1;
    while (head < tail) {
        uint32_t v = queue[head++];
        if (v == to)
            return true;
        for (uint32_t i = g->first[v]; i < g->first[v + 1]; i++)
            if (!seen[g->to[i]]) {
                seen[g->to[i]] = 1;
                queue[tail++] = g->to[i];
            }
    }
    return false;
}

/* One rw edge whose way back has none: read skew. */
static bool find_single(iso_history *h)
{
    graph whole = make_graph(h, ISO_WW | ISO_WR | ISO_RW, false);
    components c = find_components(&whole);
    graph firm = make_graph(h, ISO_WW | ISO_WR, false);
    uint8_t *seen = take(firm.node_count, 1);
    uint32_t *queue = take(firm.node_count, sizeof *queue);
    bool found = false;
    for (uint32_t i = 0; !found && i < h->edge_count; i++) {
        const iso_edge *e = &h->edges[i];
        if (e->kind != ISO_RW || c.of[e->from] != c.of[e->to])
            continue;
        found = reaches(&firm, e->to, e->from, seen, queue);
        if (found)
            iso_say(h, ISO_READ_SKEW, "T%u misses a write of T%u and sees what came of it", e->from,
                    e->to);
    }
    free(seen);
    free(queue);
    free_components(&c);
    free_graph(&whole);
    free_graph(&firm);
    return found;
}

void iso_find_cycles(iso_history *h)
{
    uint32_t node;
    bool any = has_cycle(h, ISO_WW, false, &node);
    if (any)
        iso_say(h, ISO_G0, "T%u is in a cycle of writes", node);
    if (!any && has_cycle(h, ISO_WW | ISO_WR, false, &node)) {
        iso_say(h, ISO_G1C, "T%u is in a cycle of writes and reads of them", node);
        any = true;
    }
    /* What is forbidden under snapshot isolation; the simplest name it has. */
    if (!any && has_cycle(h, ISO_WW | ISO_WR | ISO_RW, true, &node)) {
        if (!find_single(h))
            iso_say(h, ISO_LONG_FORK, "T%u is in a cycle where no two misses follow one another",
                    node);
        any = true;
    }
    if (!any && has_cycle(h, ISO_WW | ISO_WR | ISO_RW, false, &node))
        iso_say(h, ISO_WRITE_SKEW, "T%u is in a cycle of misses", node);
}
