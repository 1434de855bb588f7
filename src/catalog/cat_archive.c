/*
 * cat_archive.c - how the messages of a stream table are archived: checked, as bytes, in memory.
 * The byte-level page is docs/format/catalog.md.
 *
 *   u8 1: off, and twice vv_archive_rule.said | u8 codec | u8 form beside | varints: batch_bytes,
 * batch_messages, batch_age_ns, local_ns + 1 (0: not given; 1: at once), local_bytes | u8 length,
 * bytes of the template of names
 *
 * A field of 0 is left to the store, whose rule may change from one opening to the next.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "base/varint.h"
#include "catalog/cat_int.h"

#define FLAG_OFF 1u
#define SAID_SHIFT 1u

vv_status cat_archive_check(const vv_table_options *opt, vv_error *err)
{
    const vv_archive_rule *rule = opt->archive;
    if (rule == NULL)
        return VV_OK;
    if (opt->kind != VV_TABLE_STREAM)
        return vv_fail(err, VV_INVALID, "archive is of stream tables alone");
    if ((unsigned)rule->codec > VV_TIER_PLAIN || (unsigned)rule->also > VV_TIER_PARQUET)
        return vv_fail(err, VV_INVALID, "archive: codec %d, form %d: not known", (int)rule->codec,
                       (int)rule->also);
    if (rule->said > CAT_ARCHIVE_SAID)
        return vv_fail(err, VV_INVALID, "archive: said is %u: not known", rule->said);
    if (rule->batch_age_ns < 0 || rule->local_ns < -1)
        return vv_fail(err, VV_INVALID,
                       "archive: batch_age_ns is 0 or more, and local_ns too, or -1");
    if (rule->local_ns == INT64_MAX || rule->batch_age_ns == INT64_MAX)
        return vv_fail(err, VV_INVALID, "archive: a time of %lld", (long long)INT64_MAX);
    if (rule->key != NULL && (rule->key[0] == '\0' || strlen(rule->key) > CAT_ARCHIVE_KEY_MAX))
        return vv_fail(err, VV_INVALID, "archive: the template of names has 1 to %u bytes",
                       CAT_ARCHIVE_KEY_MAX);
    return VV_OK;
}

/* ---- bytes ---- */

static size_t put(uint8_t p[CAT_ARCHIVE_BYTES_MAX], const vv_archive_rule *rule)
{
    uint8_t *from = p;
    size_t key_len = rule->key == NULL ? 0 : strlen(rule->key);
    assert(key_len <= CAT_ARCHIVE_KEY_MAX && rule->local_ns >= -1);
    *p++ = (uint8_t)((rule->off ? FLAG_OFF : 0) | rule->said << SAID_SHIFT);
    *p++ = (uint8_t)rule->codec;
    *p++ = (uint8_t)rule->also;
    p += vv_varint_put(p, rule->batch_bytes);
    p += vv_varint_put(p, rule->batch_messages);
    p += vv_varint_put(p, (uint64_t)rule->batch_age_ns);
    p += vv_varint_put(p, rule->local_ns == 0  ? 0
                          : rule->local_ns < 0 ? 1
                                               : (uint64_t)rule->local_ns + 1);
    p += vv_varint_put(p, rule->local_bytes);
    *p++ = (uint8_t)key_len;
    if (key_len > 0)
        memcpy(p, rule->key, key_len);
    return (size_t)(p + key_len - from);
}

/* A varint in its shortest form, up to max. NULL: it is none. */
static const uint8_t *get_number(const uint8_t *p, const uint8_t *end, uint64_t max, uint64_t *out)
{
    const uint8_t *next = vv_varint_get_short(p, end, out);
    return next != NULL && *out <= max ? next : NULL;
}

const uint8_t *cat_archive_get(const uint8_t *p, const uint8_t *end, vv_archive_rule *out,
                               vv_slice *key)
{
    uint64_t age = 0;
    uint64_t local = 0;
    if (end - p < 3 || p[0] > (CAT_ARCHIVE_SAID << SAID_SHIFT | FLAG_OFF) || p[1] > VV_TIER_PLAIN ||
        p[2] > VV_TIER_PARQUET)
        return NULL;
    *out = (vv_archive_rule){.off = (p[0] & FLAG_OFF) != 0,
                             .said = p[0] >> SAID_SHIFT,
                             .codec = (vv_tier_codec)p[1],
                             .also = (vv_tier_form)p[2]};
    p = get_number(p + 3, end, UINT64_MAX, &out->batch_bytes);
    p = get_number(p, end, UINT64_MAX, &out->batch_messages);
    p = get_number(p, end, INT64_MAX - 1, &age);
    p = get_number(p, end, INT64_MAX, &local);
    p = get_number(p, end, UINT64_MAX, &out->local_bytes);
    if (p == NULL || p == end || *p > end - p - 1 || memchr(p + 1, '\0', *p) != NULL)
        return NULL;
    out->batch_age_ns = (int64_t)age;
    out->local_ns = local == 1 ? -1 : (int64_t)(local - (local > 0));
    *key = vv_slice_of(p + 1, *p);
    return p + 1 + *p;
}

/* ---- in memory ---- */

vv_status cat_archive_read(vv_slice bytes, cat_archive **out, vv_error *err)
{
    vv_slice key;
    *out = NULL;
    if (bytes.len == 0)
        return VV_OK;
    cat_archive *a = vv_alloc(sizeof *a + bytes.len + 1);
    if (a == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for how a table is archived");
    const uint8_t *end = a->bytes + bytes.len;
    memcpy(a->bytes, bytes.data, bytes.len);
    a->bytes[bytes.len] = '\0';
    a->older = NULL;
    a->len = bytes.len;
    if (cat_archive_get(a->bytes, end, &a->rule, &key) != end) {
        vv_free(a);
        return vv_fail(err, VV_CORRUPT, "how a table is archived is malformed");
    }
    a->rule.key = key.len == 0 ? NULL : (const char *)key.data; /* the last of the bytes */
    *out = a;
    return VV_OK;
}

vv_status cat_archive_make(const vv_archive_rule *rule, cat_archive **out, vv_error *err)
{
    uint8_t bytes[CAT_ARCHIVE_BYTES_MAX];
    *out = NULL;
    if (rule == NULL)
        return VV_OK;
    return cat_archive_read(vv_slice_of(bytes, put(bytes, rule)), out, err);
}

void cat_archive_set(cat_table *table, cat_archive *archive)
{
    cat_archive *before = table->archive;
    if (before != NULL) {
        before->older = table->archive_retired;
        table->archive_retired = before;
    }
    table->archive = archive;
    table->archive_bytes =
        archive == NULL ? vv_slice_of(NULL, 0) : vv_slice_of(archive->bytes, archive->len);
}

size_t cat_archive_size(const cat_table *table)
{
    const cat_archive *a = table->archive;
    size_t size = a == NULL ? 0 : sizeof *a + a->len + 1;
    for (a = table->archive_retired; a != NULL; a = a->older)
        size += sizeof *a + a->len + 1;
    return size;
}
