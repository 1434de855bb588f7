/*
 * stream_message.c - one message as bytes.
 *
 *   varint length | u8 flags | [varint, key] | [i64 event time] | [u8, content type] | [u8, source]
 *   | [varint count of attributes: u8 type, u8, name, value] | value, to the end
 *
 * What a message does not have takes no bytes: a flag says that it is there. So one message has one
 * encoding: a flag stands only for what is not empty, lengths are minimal.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/util.h"
#include "base/varint.h"
#include "stream/stream.h"

enum {
    HAS_KEY = 1,
    HAS_EVENT = 2,
    HAS_CONTENT_TYPE = 4,
    HAS_SOURCE = 8,
    HAS_ATTRIBUTES = 16,
    FLAGS_ALL = 31,
};

#define CAP_FIRST 16u

/* ---- limits ---- */

static vv_status check_attribute(const vv_message *m, size_t i, vv_error *err)
{
    const vv_attribute *a = &m->attributes[i];
    if (a->name.len == 0 || a->name.len > VV_STREAM_ATTRIBUTE_NAME_MAX)
        return vv_fail(err, VV_INVALID, "the name of attribute %zu has %zu bytes: 1 to %u", i,
                       a->name.len, VV_STREAM_ATTRIBUTE_NAME_MAX);
    if (a->type < VV_ATTRIBUTE_STRING || a->type > VV_ATTRIBUTE_TIME)
        return vv_fail(err, VV_INVALID, "attribute '%.*s' has type %d, which is none",
                       (int)a->name.len, (const char *)a->name.data, (int)a->type);
    for (size_t k = 0; k < i; k++)
        if (vv_slice_eq(m->attributes[k].name, a->name))
            return vv_fail(err, VV_INVALID, "attribute '%.*s' is there twice", (int)a->name.len,
                           (const char *)a->name.data);
    return VV_OK;
}

static vv_status check_length(const char *what, size_t len, size_t max, vv_error *err)
{
    if (len <= max)
        return VV_OK;
    return vv_fail(err, VV_INVALID, "the %s has %zu bytes, at most %zu are allowed", what, len,
                   max);
}

vv_status stream_message_check(const vv_message *m, uint64_t size_max, vv_error *err)
{
    vv_status st = check_length("key", m->key.len, VV_STREAM_KEY_MAX, err);
    if (st == VV_OK)
        st = check_length("content type", m->content_type.len, VV_STREAM_TEXT_MAX, err);
    if (st == VV_OK)
        st = check_length("source", m->source.len, VV_STREAM_TEXT_MAX, err);
    if (st == VV_OK && m->attribute_count > VV_STREAM_ATTRIBUTES_MAX)
        st = vv_fail(
            err, VV_INVALID,
            "the message has %zu attributes, at most %u are allowed: put the others into its value",
            m->attribute_count, VV_STREAM_ATTRIBUTES_MAX);
    if (st == VV_OK && m->value.len > VV_STREAM_MESSAGE_MAX)
        st = check_length("value", m->value.len, VV_STREAM_MESSAGE_MAX, err);
    for (size_t i = 0; st == VV_OK && i < m->attribute_count; i++) {
        st = check_attribute(m, i, err);
        if (st == VV_OK)
            st = check_length("value of an attribute", m->attributes[i].bytes.len,
                              VV_STREAM_MESSAGE_MAX, err);
    }
    if (st != VV_OK)
        return st;
    uint64_t size = stream_message_size(m);
    if (size > size_max)
        return vv_fail(err, VV_INVALID,
                       "the message takes %llu bytes, the table allows at most %llu",
                       (unsigned long long)size, (unsigned long long)size_max);
    return VV_OK;
}

/* ---- encoding ---- */

static bool has_bytes(const vv_attribute *a)
{
    return a->type == VV_ATTRIBUTE_STRING || a->type == VV_ATTRIBUTE_BYTES;
}

static uint64_t attribute_size(const vv_attribute *a)
{
    uint64_t head = 2 + a->name.len;
    if (has_bytes(a))
        return head + vv_varint_len(a->bytes.len) + a->bytes.len;
    return head + (a->type == VV_ATTRIBUTE_BOOL ? 1 : 8);
}

uint64_t stream_message_size(const vv_message *m)
{
    uint64_t size = 1 + m->value.len;
    if (m->key.len > 0)
        size += vv_varint_len(m->key.len) + m->key.len;
    if (m->event_time_ns != 0)
        size += 8;
    if (m->content_type.len > 0)
        size += 1 + m->content_type.len;
    if (m->source.len > 0)
        size += 1 + m->source.len;
    if (m->attribute_count > 0)
        size += vv_varint_len(m->attribute_count);
    for (size_t i = 0; i < m->attribute_count; i++)
        size += attribute_size(&m->attributes[i]);
    return size;
}

/* Names and the like are short: a call costs more than they do. */
static uint8_t *put_bytes(uint8_t *p, vv_slice s)
{
    const uint8_t *from = s.data;
    if (s.len > 16) {
        memcpy(p, from, s.len);
    } else if (s.len >= 8) {
        uint64_t first;
        uint64_t last;
        memcpy(&first, from, 8);
        memcpy(&last, from + s.len - 8, 8);
        memcpy(p, &first, 8);
        memcpy(p + s.len - 8, &last, 8);
    } else {
        for (size_t i = 0; i < s.len; i++)
            p[i] = from[i];
    }
    return p + s.len;
}

static uint8_t *put_long(uint8_t *p, vv_slice s)
{
    p += vv_varint_put(p, s.len);
    return put_bytes(p, s);
}

static uint8_t *put_short(uint8_t *p, vv_slice s)
{
    *p++ = (uint8_t)s.len;
    return put_bytes(p, s);
}

static uint8_t *put_attribute(uint8_t *p, const vv_attribute *a)
{
    *p++ = (uint8_t)a->type;
    p = put_short(p, a->name);
    if (has_bytes(a))
        return put_long(p, a->bytes);
    if (a->type == VV_ATTRIBUTE_BOOL) {
        *p++ = a->i64 != 0;
        return p;
    }
    if (a->type == VV_ATTRIBUTE_F64)
        memcpy(p, &a->f64, 8);
    else
        vv_put_le64(p, (uint64_t)a->i64);
    return p + 8;
}

void stream_message_encode(const vv_message *m, vv_buf *out)
{
    stream_message_encode_sized(m, stream_message_size(m), out);
}

void stream_message_encode_sized(const vv_message *m, uint64_t size, vv_buf *out)
{
    size_t total = vv_varint_len(size) + size;
    uint8_t *p = vv_buf_reserve(out, total);
    if (p == NULL)
        return;
    vv_buf_advance(out, total);
    p += vv_varint_put(p, size);
    *p++ = (uint8_t)((m->key.len > 0 ? HAS_KEY : 0) | (m->event_time_ns != 0 ? HAS_EVENT : 0) |
                     (m->content_type.len > 0 ? HAS_CONTENT_TYPE : 0) |
                     (m->source.len > 0 ? HAS_SOURCE : 0) |
                     (m->attribute_count > 0 ? HAS_ATTRIBUTES : 0));
    if (m->key.len > 0)
        p = put_long(p, m->key);
    if (m->event_time_ns != 0) {
        vv_put_le64(p, (uint64_t)m->event_time_ns);
        p += 8;
    }
    if (m->content_type.len > 0)
        p = put_short(p, m->content_type);
    if (m->source.len > 0)
        p = put_short(p, m->source);
    if (m->attribute_count > 0)
        p += vv_varint_put(p, m->attribute_count);
    for (size_t i = 0; i < m->attribute_count; i++)
        p = put_attribute(p, &m->attributes[i]);
    p = put_bytes(p, m->value);
    assert(p == out->data + out->len);
}

/* ---- decoding: each takes NULL for what failed before ---- */

static const uint8_t *get_bytes(const uint8_t *p, const uint8_t *end, uint64_t len, vv_slice *out)
{
    if (p == NULL || len > (size_t)(end - p))
        return NULL;
    *out = vv_slice_of(p, (size_t)len);
    return p + len;
}

static const uint8_t *get_long(const uint8_t *p, const uint8_t *end, vv_slice *out)
{
    uint64_t len = 0;
    p = vv_varint_get_short(p, end, &len);
    return get_bytes(p, end, len, out);
}

static const uint8_t *get_short(const uint8_t *p, const uint8_t *end, vv_slice *out)
{
    if (p == NULL || p >= end)
        return NULL;
    uint8_t len = *p++;
    return get_bytes(p, end, len, out);
}

static const uint8_t *get_i64(const uint8_t *p, const uint8_t *end, int64_t *out)
{
    if (p == NULL || end - p < 8)
        return NULL;
    *out = (int64_t)vv_get_le64(p);
    return p + 8;
}

static const uint8_t *get_attribute(const uint8_t *p, const uint8_t *end, vv_attribute *out)
{
    if (p == NULL || p >= end)
        return NULL;
    *out = (vv_attribute){.type = (vv_attribute_type)*p};
    p = get_short(p + 1, end, &out->name);
    if (p == NULL || out->name.len == 0 || out->type < VV_ATTRIBUTE_STRING ||
        out->type > VV_ATTRIBUTE_TIME)
        return NULL;
    if (has_bytes(out))
        return get_long(p, end, &out->bytes);
    if (out->type == VV_ATTRIBUTE_BOOL) {
        if (p >= end || *p > 1)
            return NULL;
        out->i64 = *p;
        return p + 1;
    }
    p = get_i64(p, end, &out->i64);
    if (out->type == VV_ATTRIBUTE_F64) {
        memcpy(&out->f64, &out->i64, 8);
        out->i64 = 0;
    }
    return p;
}

static vv_status make_room(stream_scratch *s, size_t count, vv_error *err)
{
    if (count <= s->cap)
        return VV_OK;
    size_t cap = count < CAP_FIRST ? CAP_FIRST : VV_STREAM_ATTRIBUTES_MAX;
    vv_attribute *more = vv_alloc(cap * sizeof *more);
    if (more == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for %zu attributes", count);
    vv_free(s->attribute);
    s->attribute = more;
    s->cap = cap;
    return VV_OK;
}

void stream_scratch_fini(stream_scratch *s)
{
    vv_free(s->attribute);
    *s = (stream_scratch){0};
}

/* The attributes, and NULL in *p where they are malformed. */
static vv_status get_attributes(const uint8_t **p, const uint8_t *end, stream_scratch *scratch,
                                vv_message *m, vv_error *err)
{
    uint64_t count = 0;
    *p = vv_varint_get_short(*p, end, &count);
    if (*p == NULL || count == 0 || count > VV_STREAM_ATTRIBUTES_MAX) {
        *p = NULL;
        return VV_OK;
    }
    vv_status st = make_room(scratch, count, err);
    if (st != VV_OK)
        return st;
    for (uint64_t i = 0; i < count; i++)
        *p = get_attribute(*p, end, &scratch->attribute[i]);
    m->attributes = scratch->attribute;
    m->attribute_count = count;
    return VV_OK;
}

vv_status stream_message_decode(vv_slice bytes, stream_scratch *scratch, vv_message *out,
                                vv_error *err)
{
    vv_message m = {.attribute_count = 0};
    const uint8_t *p = bytes.data;
    const uint8_t *end = p + bytes.len;
    if (bytes.len == 0 || (*p & ~FLAGS_ALL) != 0)
        return vv_fail(err, VV_CORRUPT, "a message of %zu bytes has no head", bytes.len);
    unsigned flags = *p++;
    if ((flags & HAS_KEY) != 0) {
        p = get_long(p, end, &m.key);
        if (m.key.len == 0 || m.key.len > VV_STREAM_KEY_MAX)
            p = NULL;
    }
    if ((flags & HAS_EVENT) != 0) {
        p = get_i64(p, end, &m.event_time_ns);
        if (m.event_time_ns == 0)
            p = NULL;
    }
    if ((flags & HAS_CONTENT_TYPE) != 0) {
        p = get_short(p, end, &m.content_type);
        if (m.content_type.len == 0)
            p = NULL;
    }
    if ((flags & HAS_SOURCE) != 0) {
        p = get_short(p, end, &m.source);
        if (m.source.len == 0)
            p = NULL;
    }
    if ((flags & HAS_ATTRIBUTES) != 0 && p != NULL) {
        vv_status st = get_attributes(&p, end, scratch, &m, err);
        if (st != VV_OK)
            return st;
    }
    if (p == NULL)
        return vv_fail(err, VV_CORRUPT, "a message of %zu bytes is malformed", bytes.len);
    m.value = vv_slice_of(p, (size_t)(end - p));
    *out = m;
    return VV_OK;
}
