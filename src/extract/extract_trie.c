/*
 * extract_trie.c - paths of JSON into one tree, so that a message is walked once for all rules.
 *
 *   path := '$' ( '.' name | '[' digits ']' | '["' text '"]' | "['" text "']" )*
 *
 * A name behind '.' goes up to the next '.' or '['; what holds those, or a blank, is put in
 * brackets. Text in brackets stands for itself: there are no escapes in it.
 */
#include "base/error.h"
#include "extract/extract_int.h"

typedef struct path {
    const uint8_t *p;
    const uint8_t *end;
    vv_slice whole;
} path;

static vv_status refuse(const path *at, const char *what, vv_error *err)
{
    return vv_fail(err, VV_INVALID, "path %.*s, byte %zu: %s", (int)vv_min_u64(at->whole.len, 80),
                   (const char *)at->whole.data, (size_t)(at->p - at->whole.data), what);
}

static vv_status take_index(path *at, extract_node *out, vv_error *err)
{
    uint64_t v = 0;
    const uint8_t *from = at->p;
    while (at->p < at->end && *at->p >= '0' && *at->p <= '9' && v <= UINT32_MAX)
        v = v * 10 + (uint64_t)(*at->p++ - '0');
    if (at->p == from || v > UINT32_MAX || at->p == at->end || *at->p != ']')
        return refuse(at, "an index, as [3], or a name in quotes is expected", err);
    at->p++;
    out->is_index = true;
    out->index = (uint32_t)v;
    return VV_OK;
}

static vv_status take_quoted(path *at, extract_node *out, vv_error *err)
{
    uint8_t quote = *at->p++;
    const uint8_t *from = at->p;
    while (at->p < at->end && *at->p != quote)
        at->p++;
    out->name = vv_slice_of(from, (size_t)(at->p - from));
    if (at->end - at->p < 2 || at->p[1] != ']')
        return refuse(at, "the bracket is not closed", err);
    at->p += 2;
    return VV_OK;
}

/* The next step; at is not at the end. */
static vv_status take_step(path *at, extract_node *out, vv_error *err)
{
    *out = (extract_node){.is_index = false};
    uint8_t sign = *at->p++;
    if (sign == '[' && at->p < at->end && (*at->p == '"' || *at->p == '\''))
        return take_quoted(at, out, err);
    if (sign == '[')
        return take_index(at, out, err);
    if (sign != '.') {
        at->p--;
        return refuse(at, "'.' or '[' is expected", err);
    }
    const uint8_t *from = at->p;
    while (at->p < at->end && *at->p != '.' && *at->p != '[')
        at->p++;
    out->name = vv_slice_of(from, (size_t)(at->p - from));
    return out->name.len > 0 ? VV_OK : refuse(at, "a name is empty", err);
}

static bool is_same(const extract_node *a, const extract_node *b)
{
    return a->is_index == b->is_index &&
           (a->is_index ? a->index == b->index : vv_slice_eq(a->name, b->name));
}

static vv_status make_nodes(extract_program *p, vv_error *err)
{
    if (p->node != NULL)
        return VV_OK;
    p->node = vv_arena_alloc(&p->arena, p->node_cap * sizeof *p->node);
    if (p->node == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for the paths of rules");
    p->node[p->node_count++] = (extract_node){
        .child = EXTRACT_NO_NODE, .sibling = EXTRACT_NO_NODE, .rule = EXTRACT_NO_NODE};
    return VV_OK;
}

/* The child of a node that step names; it is made when it is missing. */
static vv_status descend(extract_program *p, uint16_t *node, const extract_node *step,
                         vv_error *err)
{
    extract_node *parent = &p->node[*node];
    for (uint16_t c = parent->child; c != EXTRACT_NO_NODE; c = p->node[c].sibling)
        if (is_same(&p->node[c], step)) {
            *node = c;
            return VV_OK;
        }
    assert(p->node_count < p->node_cap);
    extract_node made = *step;
    if (!step->is_index) {
        made.name = vv_arena_dup(&p->arena, step->name);
        if (made.name.data == NULL)
            return vv_fail(err, VV_NO_MEMORY, "no memory for the paths of rules");
    }
    made.child = EXTRACT_NO_NODE;
    made.rule = EXTRACT_NO_NODE;
    made.sibling = parent->child;
    parent->child = (uint16_t)p->node_count;
    *node = (uint16_t)p->node_count;
    p->node[p->node_count++] = made;
    return VV_OK;
}

vv_status extract_trie_add(extract_program *p, uint32_t rule, vv_slice text, vv_error *err)
{
    uint16_t node = 0;
    unsigned steps = 0;
    path at = {text.data, text.data + text.len, text};
    if (text.len == 0 || *at.p++ != '$')
        return vv_fail(err, VV_INVALID, "a path of JSON begins with $, as $.meta.device");
    vv_status st = make_nodes(p, err);
    while (st == VV_OK && at.p < at.end) {
        extract_node step;
        if (++steps > EXTRACT_PATH_MAX)
            return refuse(&at, "it has more than 16 steps", err);
        st = take_step(&at, &step, err);
        if (st == VV_OK)
            st = descend(p, &node, &step, err);
    }
    if (st != VV_OK)
        return st;
    p->rule[rule].same = p->node[node].rule;
    p->node[node].rule = (uint16_t)rule;
    return VV_OK;
}
