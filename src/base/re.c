/*
 * re.c - walk all states of an expression over a text at once.
 */
#include "base/re.h"

#include "base/error.h"
#include "base/re_int.h"
#include "base/util.h"

#define REPLACEMENT 0xfffdu

uint32_t regex_decode(const uint8_t *p, const uint8_t *end, size_t *used)
{
    uint8_t c = *p;
    *used = 1;
    if (c < 0x80)
        return c;
    size_t more = c >= 0xf0 && c < 0xf5 ? 3 : c >= 0xe0 && c < 0xf0 ? 2 : c >= 0xc2 && c < 0xe0;
    if (more == 0 || (size_t)(end - p) <= more)
        return REPLACEMENT;
    uint32_t code = c & (0x3fu >> more);
    for (size_t i = 1; i <= more; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return REPLACEMENT;
        code = code << 6 | (p[i] & 0x3fu);
    }
    static const uint32_t least[4] = {0, 0x80, 0x800, 0x10000};
    if (code < least[more] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
        return REPLACEMENT;
    *used = more + 1;
    return code;
}

static bool in_class(const vv_regex *re, uint32_t id, uint32_t code)
{
    const regex_class *c = &re->class[id];
    bool found = false;
    for (uint32_t i = 0; i < c->count && !found; i++)
        found = code >= re->range[c->begin + i].first && code <= re->range[c->begin + i].last;
    return found != c->is_negated;
}

bool regex_list_has(const regex_list *l, uint32_t state)
{
    return l->sparse[state] < l->count && l->dense[l->sparse[state]] == state;
}

/* Add a state and those it leads to without a character. */
static void add(vv_regex *re, regex_list *l, uint32_t first, bool is_begin, bool is_end)
{
    uint32_t depth = 0;
    re->stack[depth++] = first;
    while (depth > 0) {
        uint32_t s = re->stack[--depth];
        if (regex_list_has(l, s))
            continue;
        l->sparse[s] = l->count;
        l->dense[l->count++] = s;
        const regex_state *st = &re->state[s];
        bool goes_on = st->op == REGEX_SPLIT || st->op == REGEX_JUMP || st->op == REGEX_MARK ||
                       (st->op == REGEX_BEGIN && is_begin) || (st->op == REGEX_END && is_end);
        if (goes_on)
            re->stack[depth++] = st->next;
        if (st->op == REGEX_SPLIT)
            re->stack[depth++] = st->a;
    }
}

bool regex_accepts(const vv_regex *re, const regex_state *s, uint32_t code, uint64_t *cost)
{
    if (s->op == REGEX_CLASS)
        *cost += re->class[s->a].count;
    return (s->op == REGEX_CHAR && s->a == code) ||
           (s->op == REGEX_CLASS && in_class(re, s->a, code));
}

vv_status vv_regex_match(vv_regex *re, vv_slice text, uint64_t *steps, bool *out, vv_error *err)
{
    const uint8_t *p = text.data;
    const uint8_t *end = text.len == 0 ? p : p + text.len;
    uint64_t cost = 1;
    re->now.count = 0;
    add(re, &re->now, re->state_count - 1, true, p == end);
    while (p != end && re->now.count > 0) {
        if (*steps < cost)
            return vv_fail(err, VV_BUSY,
                           "the regular expressions take more steps than a query may: narrow it "
                           "by other labels");
        *steps -= cost;
        cost = re->now.count;
        size_t used;
        uint32_t code = regex_decode(p, end, &used);
        p += used;
        re->then.count = 0;
        for (uint32_t i = 0; i < re->now.count; i++) {
            const regex_state *s = &re->state[re->now.dense[i]];
            if (regex_accepts(re, s, code, &cost))
                add(re, &re->then, s->next, false, p == end);
        }
        regex_list swap = re->now;
        re->now = re->then;
        re->then = swap;
    }
    *out = false;
    for (uint32_t i = 0; p == end && i < re->now.count; i++)
        *out |= re->state[re->now.dense[i]].op == REGEX_MATCH;
    return VV_OK;
}

size_t vv_regex_prefix(const vv_regex *re, uint8_t *out, size_t max)
{
    size_t len = 0;
    uint32_t at = re->state[re->state_count - 1].next;
    for (; len < max; at = re->state[at].next) {
        const regex_state *s = &re->state[at];
        if (s->op == REGEX_BEGIN && len == 0)
            continue;
        if (s->op != REGEX_CHAR || s->a >= 0x80)
            break;
        out[len++] = (uint8_t)s->a;
    }
    return len;
}
