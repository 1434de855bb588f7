/*
 * cat_keep.c - rules of a series table that say how long which series are kept: checked, as bytes,
 * in memory. The byte-level page is docs/format/catalog.md.
 *
 *   u8 count | each: u8 match, varint retention_ns, two texts: varint length, bytes (label, value)
 *
 * What a rule matches is frozen with it: it says when what was written is gone.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/re.h"
#include "base/span.h"
#include "base/util.h"
#include "base/varint.h"
#include "catalog/cat_int.h"

/* ---- checked ---- */

static vv_status check_regex(const vv_matcher *m, vv_error *err)
{
    vv_regex *re = NULL;
    if (m->op != VV_MATCH_RE && m->op != VV_MATCH_NRE)
        return VV_OK;
    vv_status st = vv_regex_create(m->value, &re, err);
    vv_regex_destroy(re);
    return st;
}

static vv_status check_rule(const vv_keep_rule *rule, int64_t late_ns, vv_error *err)
{
    const vv_matcher *m = &rule->match;
    if ((unsigned)m->op > VV_MATCH_PREFIX)
        return vv_fail(err, VV_INVALID, "matcher %d is not known", (int)m->op);
    if (m->name.len == 0)
        return vv_fail(err, VV_INVALID, "a matcher without the name of a label");
    if (m->name.len > VV_LABEL_BYTES_MAX || m->value.len > VV_LABEL_BYTES_MAX - m->name.len)
        return vv_fail(err, VV_INVALID, "a label and its value have %u bytes at most",
                       VV_LABEL_BYTES_MAX);
    if (rule->retention_ns < 0)
        return vv_fail(err, VV_INVALID, "retention_ns is %lld: 0 or more is allowed",
                       (long long)rule->retention_ns);
    if (rule->retention_ns != 0 && rule->retention_ns <= late_ns) {
        char span[VV_SPAN_TEXT];
        char late[VV_SPAN_TEXT];
        vv_span_text(rule->retention_ns, span);
        vv_span_text(late_ns, late);
        return vv_fail(err, VV_INVALID,
                       "it keeps them for %s: that has to be more than samples may be late "
                       "(out_of_order_ns), which is %s",
                       span, late);
    }
    return check_regex(m, err);
}

static size_t encoded_len(const vv_keep_rule *rule)
{
    size_t name_len = rule->match.name.len;
    size_t value_len = rule->match.value.len;
    return 1 + vv_varint_len((uint64_t)rule->retention_ns) + vv_varint_len(name_len) + name_len +
           vv_varint_len(value_len) + value_len;
}

vv_status cat_keep_check(const vv_table_options *opt, int64_t late_ns, vv_error *err)
{
    size_t len = 1;
    if (opt->keep_rule_count == 0)
        return VV_OK;
    if (opt->kind != VV_TABLE_SERIES)
        return vv_fail(err, VV_INVALID, "keep_rules are of series tables alone");
    if (opt->keep_rule_count > VV_KEEP_RULES_MAX || opt->keep_rules == NULL)
        return vv_fail(err, VV_INVALID, "%zu keep_rules: up to %u are allowed",
                       opt->keep_rule_count, VV_KEEP_RULES_MAX);
    for (size_t i = 0; i < opt->keep_rule_count; i++) {
        const vv_keep_rule *rule = &opt->keep_rules[i];
        vv_status st = check_rule(rule, late_ns, err);
        if (st != VV_OK)
            return vv_wrap(err, st, "rule %zu of keep_rules, of label '%.*s'", i + 1,
                           (int)vv_min_u64(rule->match.name.len, 40),
                           (const char *)rule->match.name.data);
        len += encoded_len(rule);
    }
    if (len > CAT_KEEP_MAX)
        return vv_fail(err, VV_INVALID, "keep_rules of %zu bytes: %u are allowed", len,
                       CAT_KEEP_MAX);
    return VV_OK;
}

/* ---- bytes ---- */

static uint8_t *put_text(uint8_t *p, vv_slice text)
{
    p += vv_varint_put(p, text.len);
    if (text.len > 0)
        memcpy(p, text.data, text.len);
    return p + text.len;
}

/* A varint in its shortest form, up to max. NULL: it is none. */
static const uint8_t *get_number(const uint8_t *p, const uint8_t *end, uint64_t max, uint64_t *out)
{
    const uint8_t *next = p == NULL ? NULL : vv_varint_get(p, end, out);
    if (next == NULL || *out > max || (size_t)(next - p) != vv_varint_len(*out))
        return NULL;
    return next;
}

static const uint8_t *get_text(const uint8_t *p, const uint8_t *end, vv_slice *out)
{
    uint64_t len = 0;
    p = get_number(p, end, VV_LABEL_BYTES_MAX, &len);
    if (p == NULL || len > (size_t)(end - p))
        return NULL;
    *out = vv_slice_of(p, (size_t)len);
    return p + len;
}

static const uint8_t *get_rule(const uint8_t *p, const uint8_t *end, vv_keep_rule *out)
{
    uint64_t ns = 0;
    if (p == end || *p > VV_MATCH_PREFIX)
        return NULL;
    out->match.op = (vv_match)*p;
    p = get_number(p + 1, end, INT64_MAX, &ns);
    out->retention_ns = (int64_t)ns;
    p = get_text(p, end, &out->match.name);
    p = get_text(p, end, &out->match.value);
    bool is_good = p != NULL && out->match.name.len > 0 &&
                   out->match.name.len + out->match.value.len <= VV_LABEL_BYTES_MAX;
    return is_good ? p : NULL;
}

/* Their number; 0: the bytes are malformed. */
static uint32_t parse(vv_slice bytes, vv_keep_rule out[VV_KEEP_RULES_MAX])
{
    const uint8_t *p = bytes.data;
    if (bytes.len == 0 || bytes.len > CAT_KEEP_MAX)
        return 0;
    const uint8_t *end = p + bytes.len;
    uint32_t count = *p++;
    if (count > VV_KEEP_RULES_MAX)
        return 0;
    for (uint32_t i = 0; p != NULL && i < count; i++)
        p = get_rule(p, end, &out[i]);
    return p == end ? count : 0;
}

bool cat_keep_is_well_formed(vv_slice bytes)
{
    vv_keep_rule rules[VV_KEEP_RULES_MAX];
    return parse(bytes, rules) > 0;
}

vv_status cat_keep_read(vv_slice bytes, cat_keep **out, vv_error *err)
{
    *out = NULL;
    if (bytes.len == 0)
        return VV_OK;
    cat_keep *keep = vv_alloc(sizeof *keep + bytes.len);
    if (keep == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for the rules of a table");
    keep->older = NULL;
    keep->len = bytes.len;
    memcpy(keep->bytes, bytes.data, bytes.len);
    keep->count = parse(vv_slice_of(keep->bytes, keep->len), keep->rule);
    if (keep->count == 0) {
        vv_free(keep);
        return vv_fail(err, VV_CORRUPT, "the rules of a table are malformed");
    }
    *out = keep;
    return VV_OK;
}

vv_status cat_keep_make(const vv_keep_rule *rules, size_t count, cat_keep **out, vv_error *err)
{
    uint8_t bytes[CAT_KEEP_MAX];
    uint8_t *p = bytes;
    *out = NULL;
    if (count == 0)
        return VV_OK;
    *p++ = (uint8_t)count;
    for (size_t i = 0; i < count; i++) {
        assert((size_t)(p - bytes) + encoded_len(&rules[i]) <= sizeof bytes); /* cat_keep_check */
        *p++ = (uint8_t)rules[i].match.op;
        p += vv_varint_put(p, (uint64_t)rules[i].retention_ns);
        p = put_text(p, rules[i].match.name);
        p = put_text(p, rules[i].match.value);
    }
    return cat_keep_read(vv_slice_of(bytes, (size_t)(p - bytes)), out, err);
}

/* ---- in memory ---- */

void cat_keep_set(cat_table *table, cat_keep *keep)
{
    cat_keep *before = table->keep;
    if (before != NULL) {
        before->older = table->keep_retired;
        table->keep_retired = before;
    }
    table->keep = keep;
    table->keep_bytes = keep == NULL ? vv_slice_of(NULL, 0) : vv_slice_of(keep->bytes, keep->len);
}

size_t cat_keep_size(const cat_table *table)
{
    const cat_keep *keep = table->keep;
    size_t size = keep == NULL ? 0 : sizeof *keep + keep->len;
    for (keep = table->keep_retired; keep != NULL; keep = keep->older)
        size += sizeof *keep + keep->len;
    return size;
}

int64_t cat_keep_longest(const cat_table *table)
{
    const cat_keep *keep = table->keep;
    int64_t longest = table->retention_ns;
    for (uint32_t i = 0; keep != NULL && i < keep->count; i++) {
        int64_t ns = keep->rule[i].retention_ns;
        if (ns == 0 || longest == 0)
            return 0;
        longest = ns > longest ? ns : longest;
    }
    return longest;
}

int64_t cat_keep_shortest(const cat_table *table)
{
    const cat_keep *keep = table->keep;
    int64_t shortest = table->retention_ns;
    for (uint32_t i = 0; keep != NULL && i < keep->count; i++) {
        int64_t ns = keep->rule[i].retention_ns;
        if (ns != 0 && (shortest == 0 || ns < shortest))
            shortest = ns;
    }
    return shortest;
}
