/*
 * re_find.c - walk all states of an expression over a text at once, each with where its group began
 * and ended, in the order in which a backtracking matcher would try them.
 *
 * R. Cox, "Regular Expression Matching: the Virtual Machine Approach", 2009, section "Pike's
 * implementation": the lists are ordered by preference, so the first state that matches cuts off
 * those behind it, and a state that is in the list already was reached in a better way.
 */
#include "base/error.h"
#include "base/re_int.h"
#include "base/util.h"

typedef struct walk {
    vv_regex *re;
    vv_slice text;
    size_t at; /* bytes before the place where states are added */
} walk;

/* Add a state, reached with this span, and those it leads to without a character. */
static void add(const walk *w, regex_list *l, regex_span *spans, uint32_t first, regex_span span)
{
    const vv_regex *re = w->re;
    size_t depth = 0;
    re->todo[depth++] = (regex_todo){first, span};
    while (depth > 0) {
        regex_todo one = re->todo[--depth];
        const regex_state *s = &re->state[one.state];
        if (regex_list_has(l, one.state))
            continue;
        l->sparse[one.state] = l->count;
        spans[l->count] = one.span;
        l->dense[l->count++] = one.state;
        bool goes_on = s->op == REGEX_SPLIT || s->op == REGEX_JUMP || s->op == REGEX_MARK ||
                       (s->op == REGEX_BEGIN && w->at == 0) ||
                       (s->op == REGEX_END && w->at == w->text.len);
        if (s->op == REGEX_MARK && s->a == 0)
            one.span = (regex_span){w->at, REGEX_UNSET};
        else if (s->op == REGEX_MARK)
            one.span.end = w->at;
        if (s->op == REGEX_SPLIT)
            re->todo[depth++] = (regex_todo){s->a, one.span};
        if (goes_on)
            re->todo[depth++] = (regex_todo){s->next, one.span};
    }
}

/* One code point on: from the list now into then. True: a state matched, into *best. */
static bool step(walk *w, uint32_t code, size_t used, regex_span *best, uint64_t *cost)
{
    vv_regex *re = w->re;
    bool is_matched = false;
    w->at += used;
    re->then.count = 0;
    for (uint32_t i = 0; i < re->now.count && !is_matched; i++) {
        const regex_state *s = &re->state[re->now.dense[i]];
        is_matched = s->op == REGEX_MATCH;
        if (is_matched)
            *best = re->now_span[i];
        else if (used > 0 && regex_accepts(re, s, code, cost))
            add(w, &re->then, re->then_span, s->next, re->now_span[i]);
    }
    return is_matched;
}

static void swap_lists(vv_regex *re)
{
    regex_list list = re->now;
    regex_span *span = re->now_span;
    re->now = re->then;
    re->now_span = re->then_span;
    re->then = list;
    re->then_span = span;
}

vv_status vv_regex_find(vv_regex *re, vv_slice text, uint64_t *steps, bool *found, vv_slice *out,
                        vv_error *err)
{
    static const regex_span none = {REGEX_UNSET, REGEX_UNSET};
    assert(re->todo != NULL); /* vv_regex_create_group */
    walk w = {.re = re, .text = text};
    regex_span best = none;
    bool has_match = false;
    uint64_t cost = 1;
    re->now.count = 0;
    for (bool is_end = false; !is_end;) {
        size_t used = 0;
        uint32_t code = 0;
        if (!has_match)
            add(&w, &re->now, re->now_span, re->state_count - 1, none);
        if (re->now.count == 0)
            break;
        cost += re->now.count;
        if (*steps < cost)
            return vv_fail(err, VV_BUSY, "the regular expression takes more steps than it may");
        *steps -= cost;
        cost = 0;
        is_end = w.at == text.len;
        if (!is_end)
            code = regex_decode(text.data + w.at, text.data + text.len, &used);
        has_match |= step(&w, code, used, &best, &cost);
        swap_lists(re);
    }
    *found = has_match && best.begin != REGEX_UNSET && best.end != REGEX_UNSET;
    *out = *found
               ? vv_slice_of(text.len == 0 ? NULL : text.data + best.begin, best.end - best.begin)
               : vv_slice_of(NULL, 0);
    return VV_OK;
}
