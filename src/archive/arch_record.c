/*
 * arch_record.c - the records by which a partition knows its objects: keys, and values of numbers
 * at fixed places with the object's name behind them. Bytes in docs/format/stream.md.
 *
 * What is decoded lies in files: every number is held against the others before anybody acts on it,
 * and the name against the alphabet of names, so that no record makes a store touch what is not an
 * object of ours.
 */
#include <string.h>

#include "archive/archive.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/util.h"

#define FORMAT 1u
#define INTENT_SIZE 36u /* before the name's length */
#define ENTRY_SIZE 116u
#define DYING_SIZE 12u
#define RESTORED_SIZE 17u /* all of it */

void arch_key(char kind, uint64_t number, uint8_t out[ARCH_KEY_SIZE])
{
    out[0] = (uint8_t)kind;
    vv_put_be64(out + 1, number);
}

static void put_head(vv_buf *out, unsigned b, unsigned c, unsigned d)
{
    const uint8_t head[4] = {FORMAT, (uint8_t)b, (uint8_t)c, (uint8_t)d};
    vv_buf_append(out, head, sizeof head);
}

static void put_i64(vv_buf *out, int64_t v)
{
    vv_buf_append_le64(out, (uint64_t)v);
}

static void put_name(vv_buf *out, const char *name)
{
    size_t len = strlen(name);
    assert(len > 0 && len <= VV_OBJECT_NAME_MAX);
    vv_buf_append_u8(out, (uint8_t)(len & 0xff));
    vv_buf_append_u8(out, (uint8_t)(len >> 8));
    vv_buf_append(out, name, len);
}

void arch_intent_encode(const arch_intent *a, vv_buf *out)
{
    put_head(out, a->kind, a->codec, a->also);
    vv_buf_append_le64(out, a->intent);
    vv_buf_append_le64(out, a->first);
    vv_buf_append_le64(out, a->next);
    put_i64(out, a->made_ns);
    put_name(out, a->name);
}

void arch_entry_encode(const arch_entry *a, vv_buf *out)
{
    const arch_summary *h = &a->holds;
    put_head(out, a->codec, a->also, 0);
    vv_buf_append_le64(out, a->intent);
    put_i64(out, a->made_ns);
    put_i64(out, a->stored_ns);
    vv_buf_append_le64(out, h->size);
    vv_buf_append_le32(out, h->crc32c);
    vv_buf_append_le32(out, h->index_len);
    vv_buf_append_le64(out, h->index_at);
    vv_buf_append_le64(out, h->first);
    vv_buf_append_le64(out, h->next);
    vv_buf_append_le64(out, h->raw_bytes);
    put_i64(out, h->receive_first_ns);
    put_i64(out, h->receive_last_ns);
    put_i64(out, h->event_min_ns);
    put_i64(out, h->event_max_ns);
    vv_buf_append_le64(out, a->bytes_before);
    put_name(out, a->name);
}

void arch_dying_encode(const arch_dying *a, vv_buf *out)
{
    put_head(out, a->also, 0, 0);
    put_i64(out, a->after_ns);
    put_name(out, a->name);
}

void arch_restored_encode(const arch_restored *a, vv_buf *out)
{
    vv_buf_append_u8(out, FORMAT);
    vv_buf_append_le64(out, a->next);
    put_i64(out, a->restored_ns);
}

/* ---- decoding ---------------------------------------------------------------------------------
 */

static vv_status malformed(const char *what, vv_slice bytes, vv_error *err)
{
    return vv_fail(err, VV_CORRUPT, "%s of %zu bytes is malformed", what, bytes.len);
}

/* The format, the length and the name, which stands behind size bytes. */
static vv_status take_name(vv_slice bytes, size_t size, const char *what,
                           char out[VV_OBJECT_NAME_MAX + 1], vv_error *err)
{
    if (bytes.len > 0 && bytes.data[0] > FORMAT)
        return vv_fail(err, VV_UNSUPPORTED, "%s has format %u: a newer varve wrote it", what,
                       bytes.data[0]);
    if (bytes.len < size + 2 || bytes.data[0] != FORMAT)
        return malformed(what, bytes, err);
    size_t len = (size_t)bytes.data[size] | (size_t)bytes.data[size + 1] << 8;
    if (len > VV_OBJECT_NAME_MAX || bytes.len != size + 2 + len)
        return malformed(what, bytes, err);
    memcpy(out, bytes.data + size + 2, len);
    out[len] = '\0';
    if (strlen(out) != len || vv_object_name_check(out, NULL) != VV_OK)
        return vv_fail(err, VV_CORRUPT, "%s names no object", what);
    return VV_OK;
}

static int64_t get_i64(const uint8_t *p)
{
    return (int64_t)vv_get_le64(p);
}

static bool is_codec(uint8_t v)
{
    return v >= VV_TIER_ZSTD && v <= VV_TIER_PLAIN;
}

static bool is_form(uint8_t v)
{
    return v <= VV_TIER_PARQUET;
}

vv_status arch_intent_decode(vv_slice bytes, arch_intent *out, vv_error *err)
{
    static const char what[] = "an intent of the archive";
    arch_intent a = {.intent = 0};
    const uint8_t *p = bytes.data;
    vv_status st = take_name(bytes, INTENT_SIZE, what, a.name, err);
    if (st != VV_OK)
        return st;
    a.kind = (arch_intent_kind)p[1];
    a.codec = (vv_tier_codec)p[2];
    a.also = (vv_tier_form)p[3];
    a.intent = vv_get_le64(p + 4);
    a.first = vv_get_le64(p + 12);
    a.next = vv_get_le64(p + 20);
    a.made_ns = get_i64(p + 28);
    if ((p[1] != ARCH_CUT && p[1] != ARCH_MERGE) || !is_codec(p[2]) || !is_form(p[3]) ||
        a.intent == 0 || a.first >= a.next || a.next == STREAM_NO_OFFSET)
        return malformed(what, bytes, err);
    *out = a;
    return VV_OK;
}

static bool makes_sense(const arch_entry *a)
{
    const arch_summary *h = &a->holds;
    return a->intent != 0 && h->first < h->next && h->next != STREAM_NO_OFFSET &&
           h->index_at <= h->size && h->index_len >= ARCH_FOOTER_SIZE &&
           h->index_len <= ARCH_INDEX_MAX && h->size - h->index_at == h->index_len &&
           h->receive_first_ns <= h->receive_last_ns && h->event_min_ns <= h->event_max_ns;
}

vv_status arch_entry_decode(vv_slice bytes, arch_entry *out, vv_error *err)
{
    static const char what[] = "an entry of the archive";
    arch_entry a = {.intent = 0};
    const uint8_t *p = bytes.data;
    vv_status st = take_name(bytes, ENTRY_SIZE, what, a.name, err);
    if (st != VV_OK)
        return st;
    a.codec = (vv_tier_codec)p[1];
    a.also = (vv_tier_form)p[2];
    a.intent = vv_get_le64(p + 4);
    a.made_ns = get_i64(p + 12);
    a.stored_ns = get_i64(p + 20);
    a.holds = (arch_summary){.size = vv_get_le64(p + 28),
                             .crc32c = vv_get_le32(p + 36),
                             .index_len = vv_get_le32(p + 40),
                             .index_at = vv_get_le64(p + 44),
                             .first = vv_get_le64(p + 52),
                             .next = vv_get_le64(p + 60),
                             .raw_bytes = vv_get_le64(p + 68),
                             .receive_first_ns = get_i64(p + 76),
                             .receive_last_ns = get_i64(p + 84),
                             .event_min_ns = get_i64(p + 92),
                             .event_max_ns = get_i64(p + 100)};
    a.bytes_before = vv_get_le64(p + 108);
    if (!is_codec(p[1]) || !is_form(p[2]) || p[3] != 0 || !makes_sense(&a))
        return malformed(what, bytes, err);
    *out = a;
    return VV_OK;
}

vv_status arch_dying_decode(vv_slice bytes, arch_dying *out, vv_error *err)
{
    static const char what[] = "a record of an object to remove";
    arch_dying a = {.after_ns = 0};
    const uint8_t *p = bytes.data;
    vv_status st = take_name(bytes, DYING_SIZE, what, a.name, err);
    if (st != VV_OK)
        return st;
    a.also = (vv_tier_form)p[1];
    a.after_ns = get_i64(p + 4);
    if (!is_form(p[1]) || p[2] != 0 || p[3] != 0)
        return malformed(what, bytes, err);
    *out = a;
    return VV_OK;
}

vv_status arch_restored_decode(vv_slice bytes, arch_restored *out, vv_error *err)
{
    static const char what[] = "a record of restored messages";
    if (bytes.len > 0 && bytes.data[0] > FORMAT)
        return vv_fail(err, VV_UNSUPPORTED, "%s has format %u: a newer varve wrote it", what,
                       bytes.data[0]);
    if (bytes.len != RESTORED_SIZE || bytes.data[0] != FORMAT)
        return malformed(what, bytes, err);
    *out = (arch_restored){vv_get_le64(bytes.data + 1), get_i64(bytes.data + 9)};
    return VV_OK;
}
