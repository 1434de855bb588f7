/*
 * extract_text.c - what rules find in text: key=value pairs, and parts that an expression matches.
 *
 * Pairs stand between blanks, commas, semicolons or '&'. A value in double quotes goes up to the
 * next one that has no backslash in front; the backslashes stay. Whatever is no pair is passed by,
 * so that pairs may stand in a sentence. Of a key that is there twice the last pair counts.
 */
#include "extract/extract_int.h"

static bool is_gap(uint8_t c)
{
    return c <= ' ' || c == ',' || c == ';' || c == '&';
}

/* Behind the value at p; *out is the value. */
static const uint8_t *take_value(const uint8_t *p, const uint8_t *end, vv_slice *out)
{
    const uint8_t *from = p;
    if (p < end && *p == '"') {
        for (p++; p < end && *p != '"'; p++)
            p += *p == '\\' && p + 1 < end;
        if (p < end) {
            *out = vv_slice_of(from + 1, (size_t)(p - from - 1));
            return p + 1;
        }
        p = from; /* a quote that nothing closes is a letter */
    }
    while (p < end && !is_gap(*p))
        p++;
    *out = vv_slice_of(from, (size_t)(p - from));
    return p;
}

static void give_pair(extract_runner *r, vv_slice key, vv_slice value)
{
    extract_program *p = r->program;
    for (uint32_t i = 0; i < p->rule_count; i++)
        if (p->rule[i].kind == EXTRACT_KV && vv_slice_eq(p->rule[i].text, key))
            extract_take_text(&p->rule[i], value, false, &r->slot[i]);
}

void extract_kv(extract_runner *r, vv_slice value)
{
    const uint8_t *p = value.data;
    const uint8_t *end = value.len == 0 ? p : p + value.len;
    while (p < end) {
        const uint8_t *from = p;
        while (p < end && !is_gap(*p) && *p != '=')
            p++;
        if (p < end && *p == '=' && p > from) {
            vv_slice key = vv_slice_of(from, (size_t)(p - from)), text;
            p = take_value(p + 1, end, &text);
            give_pair(r, key, text);
        } else if (p < end) {
            p++;
        }
    }
}

void extract_regex(extract_runner *r, uint32_t rule, vv_slice value)
{
    bool found = false;
    vv_slice text;
    extract_slot *slot = &r->slot[rule];
    if (vv_regex_find(r->regex[rule], value, &r->steps, &found, &text, NULL) != VV_OK)
        extract_wrong(slot, "more steps than an expression may take");
    else if (found)
        extract_take_text(&r->program->rule[rule], text, false, slot);
}
