/*
 * cat_extract.c - rules by which a stream table makes attributes of its messages: as bytes, and in
 * memory. The byte-level page is docs/format/catalog.md.
 *
 *   varint length, rules | varint length, schema
 *
 * What the rules say is understood above: here they are a text and some bytes.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "base/varint.h"
#include "catalog/cat_int.h"

vv_status cat_extract_check(const vv_table_options *opt, vv_error *err)
{
    size_t len = opt->extract_rules == NULL ? 0 : strlen(opt->extract_rules);
    if (len == 0 && opt->extract_schema.len == 0)
        return VV_OK;
    if (opt->kind != VV_TABLE_STREAM)
        return vv_fail(err, VV_INVALID, "extract_rules are of stream tables alone");
    if (len == 0)
        return vv_fail(err, VV_INVALID, "extract_schema without extract_rules");
    if (len > VV_EXTRACT_TEXT_MAX)
        return vv_fail(err, VV_INVALID, "extract_rules of %zu bytes: %u are allowed", len,
                       VV_EXTRACT_TEXT_MAX);
    if (opt->extract_schema.len > VV_EXTRACT_SCHEMA_MAX)
        return vv_fail(err, VV_INVALID, "extract_schema of %zu bytes: %u are allowed",
                       opt->extract_schema.len, VV_EXTRACT_SCHEMA_MAX);
    return VV_OK;
}

/* ---- bytes ---- */

static uint8_t *put(uint8_t *p, vv_slice text)
{
    p += vv_varint_put(p, text.len);
    if (text.len > 0)
        memcpy(p, text.data, text.len);
    return p + text.len;
}

static const uint8_t *get(const uint8_t *p, const uint8_t *end, size_t max, vv_slice *out)
{
    uint64_t len = 0;
    const uint8_t *next = p == NULL ? NULL : vv_varint_get(p, end, &len);
    if (next == NULL || len > max || len > (size_t)(end - next) ||
        (size_t)(next - p) != vv_varint_len(len))
        return NULL;
    *out = vv_slice_of(next, (size_t)len);
    return next + len;
}

static bool parse(vv_slice bytes, vv_slice *rules, vv_slice *schema)
{
    if (bytes.len == 0)
        return false;
    const uint8_t *end = bytes.data + bytes.len;
    const uint8_t *p = get(bytes.data, end, VV_EXTRACT_TEXT_MAX, rules);
    p = get(p, end, VV_EXTRACT_SCHEMA_MAX, schema);
    return p == end && rules->len > 0 && memchr(rules->data, '\0', rules->len) == NULL;
}

bool cat_extract_is_well_formed(vv_slice bytes)
{
    vv_slice rules, schema;
    return parse(bytes, &rules, &schema);
}

/* ---- in memory ---- */

static vv_status copy(vv_slice rules, vv_slice schema, cat_extract **out, vv_error *err)
{
    size_t len = vv_varint_len(rules.len) + rules.len + vv_varint_len(schema.len) + schema.len;
    cat_extract *x = vv_alloc(sizeof *x + len + rules.len + 1);
    if (x == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for the rules of a table");
    uint8_t *text = put(put(x->bytes, rules), schema);
    assert((size_t)(text - x->bytes) == len && len <= CAT_EXTRACT_MAX);
    memcpy(text, rules.data, rules.len);
    text[rules.len] = '\0';
    x->older = NULL;
    x->rules = (const char *)text;
    x->schema = vv_slice_of(text - schema.len, schema.len);
    x->len = len;
    *out = x;
    return VV_OK;
}

vv_status cat_extract_make(const vv_table_options *opt, cat_extract **out, vv_error *err)
{
    vv_slice rules = vv_slice_str(opt->extract_rules);
    *out = NULL;
    return rules.len == 0 ? VV_OK : copy(rules, opt->extract_schema, out, err);
}

vv_status cat_extract_read(vv_slice bytes, cat_extract **out, vv_error *err)
{
    vv_slice rules, schema;
    *out = NULL;
    if (bytes.len == 0)
        return VV_OK;
    if (!parse(bytes, &rules, &schema))
        return vv_fail(err, VV_CORRUPT, "the rules of a table are malformed");
    return copy(rules, schema, out, err);
}

void cat_extract_set(cat_table *table, cat_extract *extract)
{
    cat_extract *before = table->extract;
    if (before != NULL) {
        before->older = table->extract_retired;
        table->extract_retired = before;
    }
    table->extract = extract;
    table->extract_bytes =
        extract == NULL ? vv_slice_of(NULL, 0) : vv_slice_of(extract->bytes, extract->len);
}

size_t cat_extract_size_of(const cat_extract *x)
{
    return sizeof *x + x->len + strlen(x->rules) + 1;
}

size_t cat_extract_size(const cat_table *table)
{
    const cat_extract *x = table->extract;
    size_t size = x == NULL ? 0 : cat_extract_size_of(x);
    for (x = table->extract_retired; x != NULL; x = x->older)
        size += cat_extract_size_of(x);
    return size;
}
