/*
 * cat_record.c - the record of a table: its bytes and its key. The byte-level page is
 * docs/format/catalog.md.
 *
 *   u8 format (1) | u8 state | u8 kind | u8 flags | varint id | varint index id | varint shard
 * | i64 version_retention_ns | i64 created_ns | three texts: u8 length, bytes (engine, tenant,
 * name) | with flag 1: u8 count of options, each u8 tag, varint value | with flag 4: how it is
 * archived (cat_archive.c) | with flag 2: rules (cat_keep.c) | with flag 8: rules of messages
 * (cat_extract.c)
 *
 * The names are in the value too, so that the OPEN record of a shard tells on its own what its data
 * is. Unknown flags and tags are refused: a later version can give them a meaning. An option that
 * has its default is not written, so that a table without choices has the bytes it always had.
 */
#include <string.h>

#include "base/error.h"
#include "base/util.h"
#include "base/varint.h"
#include "catalog/cat_int.h"

#define RECORD_FORMAT 1
#define RECORD_KEY 'T' /* first byte of the key */
#define FLAG_OPTIONS 1u
#define FLAG_KEEP 2u
#define FLAG_ARCHIVE 4u
#define FLAG_EXTRACT 8u
#define FLAGS (FLAG_OPTIONS | FLAG_KEEP | FLAG_ARCHIVE | FLAG_EXTRACT)

/* Tags of options, ascending in a record. Frozen. */
enum {
    OPTION_COMPRESSION = 1,
    OPTION_VALUE_THRESHOLD = 2,
    OPTION_PARTITIONS = 3,
    OPTION_RETENTION = 4,
    OPTION_OUT_OF_ORDER = 5,
    OPTION_FUTURE = 6,
    OPTION_NO_ROLLUPS = 7,
    OPTION_ROLLUP_MINUTES = 8,
    OPTION_ROLLUP_HOURS = 9,
    OPTION_RETENTION_BYTES = 10,
    OPTION_MESSAGE_MAX = 11,
    OPTION_PRODUCER_RETENTION = 12,
    OPTION_PRODUCERS_MAX = 13,
    OPTION_KEPT_FROM = 14,
};

#define OPTIONS_MAX 14u
#define OPTION_LEN_MAX 11u

static_assert(4 + 3 * 5 + 16 + 3 + CAT_ENGINE_NAME_MAX + 2 * VV_NAME_MAX + 1 +
                      OPTIONS_MAX * OPTION_LEN_MAX + CAT_ARCHIVE_BYTES_MAX + CAT_EXTRACT_MAX <=
                  CAT_RECORD_MAX,
              "a record fits");
static_assert(CAT_KEEP_MAX <= CAT_EXTRACT_MAX, "a record has one of the two");

static size_t put_text(uint8_t *p, const char *text)
{
    size_t len = strlen(text);
    p[0] = (uint8_t)len;
    for (size_t i = 0; i < len; i++)
        p[1 + i] = (uint8_t)text[i];
    return len + 1;
}

typedef struct option {
    uint8_t tag;
    uint64_t value;
} option;

static unsigned add_stream_options(const cat_table *table, option *out, unsigned n)
{
    if (table->retention_bytes != 0)
        out[n++] = (option){OPTION_RETENTION_BYTES, table->retention_bytes};
    if (table->message_size_max != CAT_MESSAGE_DEFAULT)
        out[n++] = (option){OPTION_MESSAGE_MAX, table->message_size_max};
    if (table->producer_retention_ns != CAT_PRODUCER_DEFAULT_NS)
        out[n++] = (option){OPTION_PRODUCER_RETENTION, (uint64_t)table->producer_retention_ns};
    if (table->producers_max != CAT_PRODUCERS_DEFAULT)
        out[n++] = (option){OPTION_PRODUCERS_MAX, table->producers_max};
    return n;
}

/* The options that are not at their default, by tag. */
static unsigned options_of(const cat_table *table, option out[OPTIONS_MAX])
{
    unsigned n = 0;
    if (table->compression != VV_COMPRESSION_AUTO)
        out[n++] = (option){OPTION_COMPRESSION, (uint64_t)table->compression};
    if (table->value_threshold != 0)
        out[n++] = (option){OPTION_VALUE_THRESHOLD, table->value_threshold};
    if (table->partition_count > 1)
        out[n++] = (option){OPTION_PARTITIONS, table->partition_count};
    if (table->retention_ns != 0)
        out[n++] = (option){OPTION_RETENTION, (uint64_t)table->retention_ns};
    if (table->kind == VV_TABLE_SERIES && table->out_of_order_ns != CAT_OUT_OF_ORDER_DEFAULT_NS)
        out[n++] = (option){OPTION_OUT_OF_ORDER, (uint64_t)table->out_of_order_ns};
    if (table->kind == VV_TABLE_SERIES && table->future_ns != CAT_FUTURE_DEFAULT_NS)
        out[n++] = (option){OPTION_FUTURE, (uint64_t)table->future_ns};
    if (table->no_rollups)
        out[n++] = (option){OPTION_NO_ROLLUPS, 1};
    for (unsigned tier = 0; tier < 2; tier++)
        if (table->rollup_retention_ns[tier] != 0)
            out[n++] = (option){(uint8_t)(OPTION_ROLLUP_MINUTES + tier),
                                (uint64_t)table->rollup_retention_ns[tier]};
    if (table->kind == VV_TABLE_STREAM)
        n = add_stream_options(table, out, n);
    if (table->kept_from_ns != 0)
        out[n++] = (option){OPTION_KEPT_FROM, (uint64_t)table->kept_from_ns};
    return n;
}

static size_t put_options(uint8_t *p, const option *options, unsigned count)
{
    uint8_t *from = p;
    *p++ = (uint8_t)count;
    for (unsigned i = 0; i < count; i++) {
        *p++ = options[i].tag;
        p += vv_varint_put(p, options[i].value);
    }
    return (size_t)(p - from);
}

size_t cat_record_encode(const cat_table *table, uint8_t out[CAT_RECORD_MAX])
{
    uint8_t *p = out;
    option options[OPTIONS_MAX];
    unsigned option_count = options_of(table, options);
    *p++ = RECORD_FORMAT;
    *p++ = (uint8_t)table->state;
    *p++ = (uint8_t)table->kind;
    *p++ = (uint8_t)((option_count > 0 ? FLAG_OPTIONS : 0) |
                     (table->keep_bytes.len > 0 ? FLAG_KEEP : 0) |
                     (table->archive_bytes.len > 0 ? FLAG_ARCHIVE : 0) |
                     (table->extract_bytes.len > 0 ? FLAG_EXTRACT : 0));
    p += vv_varint_put(p, table->id);
    p += vv_varint_put(p, table->index_id);
    p += vv_varint_put(p, table->shard);
    vv_put_le64(p, (uint64_t)table->version_retention_ns);
    vv_put_le64(p + 8, (uint64_t)table->created_ns);
    p += 16;
    p += put_text(p, table->engine);
    p += put_text(p, table->tenant);
    p += put_text(p, table->name);
    if (option_count > 0)
        p += put_options(p, options, option_count);
    if (table->archive_bytes.len > 0) {
        memcpy(p, table->archive_bytes.data, table->archive_bytes.len);
        p += table->archive_bytes.len;
    }
    if (table->keep_bytes.len > 0) {
        memcpy(p, table->keep_bytes.data, table->keep_bytes.len);
        p += table->keep_bytes.len;
    }
    if (table->extract_bytes.len > 0) {
        memcpy(p, table->extract_bytes.data, table->extract_bytes.len);
        p += table->extract_bytes.len;
    }
    assert((size_t)(p - out) <= CAT_RECORD_MAX);
    return (size_t)(p - out);
}

static const uint8_t *get_u32(const uint8_t *p, const uint8_t *end, uint32_t *out)
{
    uint64_t v = 0;
    const uint8_t *next = p == NULL ? NULL : vv_varint_get(p, end, &v);
    if (next == NULL || v > UINT32_MAX || (size_t)(next - p) != vv_varint_len(v))
        return NULL; /* a record has one encoding: varints are in their shortest form */
    *out = (uint32_t)v;
    return next;
}

static const uint8_t *get_text(const uint8_t *p, const uint8_t *end, char *out, size_t max)
{
    if (p == NULL || p >= end)
        return NULL;
    size_t len = *p++;
    if (len > max || len > (size_t)(end - p) || memchr(p, '\0', len) != NULL)
        return NULL;
    memcpy(out, p, len);
    out[len] = '\0';
    return p + len;
}

static bool is_span(const cat_table *t, uint64_t value)
{
    return t->kind == VV_TABLE_SERIES && value != 0 && value <= INT64_MAX;
}

static bool take_stream_option(cat_table *t, uint8_t tag, uint64_t value)
{
    switch (tag) {
    case OPTION_RETENTION_BYTES:
        t->retention_bytes = value;
        break;
    case OPTION_MESSAGE_MAX:
        t->message_size_max = value;
        break;
    case OPTION_PRODUCER_RETENTION:
        t->producer_retention_ns = (int64_t)value;
        break;
    default:
        t->producers_max = (uint32_t)value;
        break;
    }
    static const uint64_t max[] = {UINT64_MAX, CAT_MESSAGE_DEFAULT, INT64_MAX, CAT_PRODUCERS_MAX};
    return t->kind == VV_TABLE_STREAM && value != 0 && value <= max[tag - OPTION_RETENTION_BYTES];
}

static bool take_option(cat_table *t, uint8_t tag, uint64_t value)
{
    switch (tag) {
    case OPTION_COMPRESSION:
        t->compression = (vv_compression)value;
        return value >= VV_COMPRESSION_NONE && value <= VV_COMPRESSION_ZSTD;
    case OPTION_VALUE_THRESHOLD:
        t->value_threshold = value;
        return value != 0;
    case OPTION_PARTITIONS:
        t->partition_count = (uint32_t)value;
        return value > 1 && value <= CAT_PARTITIONS_MAX;
    case OPTION_RETENTION:
        t->retention_ns = (int64_t)value;
        return (t->kind == VV_TABLE_SERIES || t->kind == VV_TABLE_STREAM) && value != 0 &&
               value <= INT64_MAX;
    case OPTION_OUT_OF_ORDER:
        t->out_of_order_ns = (int64_t)value;
        return is_span(t, value);
    case OPTION_FUTURE:
        t->future_ns = (int64_t)value;
        return is_span(t, value);
    case OPTION_NO_ROLLUPS:
        t->no_rollups = true;
        return t->kind == VV_TABLE_SERIES && value == 1;
    case OPTION_ROLLUP_MINUTES:
    case OPTION_ROLLUP_HOURS:
        t->rollup_retention_ns[tag - OPTION_ROLLUP_MINUTES] = (int64_t)value;
        return is_span(t, value);
    case OPTION_RETENTION_BYTES:
    case OPTION_MESSAGE_MAX:
    case OPTION_PRODUCER_RETENTION:
    case OPTION_PRODUCERS_MAX:
        return take_stream_option(t, tag, value);
    case OPTION_KEPT_FROM:
        t->kept_from_ns = (int64_t)value;
        return t->kind != VV_TABLE_STREAM && value != 0 && value <= INT64_MAX;
    default:
        return false;
    }
}

/* The options behind the texts. *newer: there is one that this version does not know. */
static const uint8_t *get_options(const uint8_t *p, const uint8_t *end, cat_table *t, bool *newer)
{
    if (p == NULL || p >= end)
        return NULL;
    unsigned count = *p++;
    uint8_t last = 0;
    for (unsigned i = 0; i < count; i++) {
        uint64_t value = 0;
        if (p >= end || *p <= last)
            return NULL;
        last = *p++;
        const uint8_t *next = vv_varint_get(p, end, &value);
        if (next == NULL || (size_t)(next - p) != vv_varint_len(value))
            return NULL;
        p = next;
        *newer |= last > OPTIONS_MAX;
        if (last <= OPTIONS_MAX && !take_option(t, last, value))
            return NULL;
    }
    return count > 0 ? p : NULL;
}

/* The rules behind them, up to the end. */
static const uint8_t *get_keep(const uint8_t *p, const uint8_t *end, cat_table *t)
{
    if (p == NULL || t->kind != VV_TABLE_SERIES)
        return NULL;
    t->keep_bytes = vv_slice_of(p, (size_t)(end - p));
    return cat_keep_is_well_formed(t->keep_bytes) ? end : NULL;
}

/* How it is archived, behind the options. */
static const uint8_t *get_archive(const uint8_t *p, const uint8_t *end, cat_table *t)
{
    vv_archive_rule rule;
    vv_slice key;
    if (p == NULL || t->kind != VV_TABLE_STREAM)
        return NULL;
    const uint8_t *next = cat_archive_get(p, end, &rule, &key);
    if (next != NULL)
        t->archive_bytes = vv_slice_of(p, (size_t)(next - p));
    return next;
}

/* The rules of messages, up to the end. */
static const uint8_t *get_extract(const uint8_t *p, const uint8_t *end, cat_table *t)
{
    if (p == NULL || t->kind != VV_TABLE_STREAM)
        return NULL;
    t->extract_bytes = vv_slice_of(p, (size_t)(end - p));
    return cat_extract_is_well_formed(t->extract_bytes) ? end : NULL;
}

static bool fields_make_sense(const cat_table *t)
{
    return (t->state == CAT_CREATING || t->state == CAT_READY || t->state == CAT_DROPPING) &&
           t->kind >= VV_TABLE_KV && t->kind <= VV_TABLE_STREAM &&
           cat_sequence(t->id) >= CAT_TABLE_FIRST && cat_sequence(t->id) <= CAT_TABLE_LAST &&
           (t->kind == VV_TABLE_RECORD) == (t->index_id != 0) &&
           (t->index_id == 0 || t->index_id == t->id + 1) && t->version_retention_ns >= 0 &&
           t->engine[0] != '\0' && cat_name_check("tenant", t->tenant, NULL) == VV_OK &&
           cat_name_check("table", t->name, NULL) == VV_OK;
}

vv_status cat_record_decode(vv_slice bytes, cat_table *out, vv_error *err)
{
    const uint8_t *p = bytes.data;
    const uint8_t *end = bytes.data + bytes.len;
    if (bytes.len < 4)
        return vv_fail(err, VV_CORRUPT, "table record of %zu bytes: too short", bytes.len);
    if (p[0] > RECORD_FORMAT || (p[3] & ~FLAGS) != 0)
        return vv_fail(err, VV_UNSUPPORTED,
                       "table record of format %u with flags %u: a newer varve wrote it", p[0],
                       p[3]);
    cat_table t = {.state = (cat_state)p[1], .kind = (vv_table_kind)p[2], .partition_count = 1};
    if (t.kind == VV_TABLE_SERIES) {
        t.out_of_order_ns = CAT_OUT_OF_ORDER_DEFAULT_NS;
        t.future_ns = CAT_FUTURE_DEFAULT_NS;
    }
    if (t.kind == VV_TABLE_STREAM) {
        t.message_size_max = CAT_MESSAGE_DEFAULT;
        t.producer_retention_ns = CAT_PRODUCER_DEFAULT_NS;
        t.producers_max = CAT_PRODUCERS_DEFAULT;
    }
    bool is_format = p[0] == RECORD_FORMAT;
    bool has_options = (p[3] & FLAG_OPTIONS) != 0;
    bool has_keep = (p[3] & FLAG_KEEP) != 0;
    bool has_archive = (p[3] & FLAG_ARCHIVE) != 0;
    bool has_extract = (p[3] & FLAG_EXTRACT) != 0;
    bool newer = false;
    p = get_u32(p + 4, end, &t.id);
    p = get_u32(p, end, &t.index_id);
    p = get_u32(p, end, &t.shard);
    if (p != NULL && (size_t)(end - p) >= 16) {
        t.version_retention_ns = (int64_t)vv_get_le64(p);
        t.created_ns = (int64_t)vv_get_le64(p + 8);
        p += 16;
    } else {
        p = NULL;
    }
    p = get_text(p, end, t.engine, CAT_ENGINE_NAME_MAX);
    p = get_text(p, end, t.tenant, VV_NAME_MAX);
    p = get_text(p, end, t.name, VV_NAME_MAX);
    if (has_options)
        p = get_options(p, end, &t, &newer);
    if (has_archive && !newer)
        p = get_archive(p, end, &t);
    if (has_keep && !newer)
        p = get_keep(p, end, &t);
    if (has_extract && !newer)
        p = get_extract(p, end, &t);
    if (p != NULL && is_format && newer && (p == end || has_keep || has_archive || has_extract))
        return vv_fail(
            err, VV_UNSUPPORTED,
            "table record with an option that is not known here: a newer varve wrote it");
    if (p != end || !is_format || !fields_make_sense(&t))
        return vv_fail(err, VV_CORRUPT, "table record of %zu bytes is malformed", bytes.len);
    *out = t;
    return VV_OK;
}

size_t cat_record_key(const char *tenant, const char *name, uint8_t out[CAT_KEY_MAX])
{
    size_t tenant_len = strlen(tenant);
    size_t name_len = strlen(name);
    assert(tenant_len <= VV_NAME_MAX && name_len <= VV_NAME_MAX);
    out[0] = RECORD_KEY;
    memcpy(out + 1, tenant, tenant_len);
    out[1 + tenant_len] = 0; /* below every byte of a name: tables sort by tenant, then name */
    memcpy(out + 2 + tenant_len, name, name_len);
    return 2 + tenant_len + name_len;
}

vv_status cat_placement(const engine_op *op, cat_placed *out, vv_error *err)
{
    cat_table t = {.id = 0};
    if (op->kind != ENGINE_PUT || engine_key_table(op->key) != CAT_TABLE_CATALOG ||
        op->key.len <= ENGINE_TABLE_PREFIX || op->key.data[ENGINE_TABLE_PREFIX] != RECORD_KEY)
        return VV_NOT_FOUND;
    vv_status st = cat_record_decode(op->value, &t, err);
    if (st == VV_OK)
        *out = (cat_placed){t.shard, t.partition_count, cat_slot(t.id)};
    return st;
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

vv_status cat_name_check(const char *what, const char *text, vv_error *err)
{
    if (text == NULL || text[0] == '\0')
        return vv_fail(err, VV_INVALID, "%s name is empty", what);
    if (!is_word(text[0]))
        return vv_fail(err, VV_INVALID,
                       "%s name must begin with a letter, a digit or '_', not with byte 0x%02x",
                       what, (uint8_t)text[0]);
    size_t len = 0;
    for (; text[len] != '\0'; len++) {
        if (len == VV_NAME_MAX)
            return vv_fail(err, VV_INVALID, "%s name is longer than %u bytes", what, VV_NAME_MAX);
        if (!is_word(text[len]) && text[len] != '-' && text[len] != '.')
            return vv_fail(err, VV_INVALID,
                           "%s name has byte 0x%02x at %zu: letters, digits, '_', '-' and '.' are "
                           "allowed",
                           what, (uint8_t)text[len], len);
    }
    return VV_OK;
}
