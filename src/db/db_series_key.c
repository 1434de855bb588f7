/*
 * db_series_key.c - labels and keys of a series table as bytes: docs/format/series-table.md.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/varint.h"
#include "db/db_series_int.h"

#define SECOND INT64_C(1000000000)
#define SIGN (UINT64_C(1) << 63)

const int64_t db_series_span[DB_SERIES_CLASSES] = {
    SECOND,          10 * SECOND,    60 * SECOND,        600 * SECOND,        3600 * SECOND,
    14400 * SECOND,  86400 * SECOND, 8 * 86400 * SECOND, 64 * 86400 * SECOND, SECOND / 1000,
    SECOND / 1000000};

const uint8_t db_series_finer[DB_SERIES_CLASSES] = {
    9, 0, 0, 1, 2, 3, 4, 5, 6, 10, DB_SERIES_NO_CLASS};

/* ---- labels ---- */

static vv_status check_label(const vv_label *l, vv_error *err)
{
    if (l->name.len == 0)
        return vv_fail(err, VV_INVALID, "a label without a name");
    if (l->name.len + l->value.len > VV_LABEL_BYTES_MAX)
        return vv_fail(err, VV_INVALID, "label '%.*s' has %zu bytes with its value, %u are allowed",
                       (int)(l->name.len < 40 ? l->name.len : 40), (const char *)l->name.data,
                       l->name.len + l->value.len, VV_LABEL_BYTES_MAX);
    if (memchr(l->name.data, 0, l->name.len) != NULL ||
        (l->value.len > 0 && memchr(l->value.data, 0, l->value.len) != NULL))
        return vv_fail(err, VV_INVALID, "label '%.*s' holds a byte 0", (int)l->name.len,
                       (const char *)l->name.data);
    return VV_OK;
}

static int by_name(const void *a, const void *b)
{
    return vv_slice_cmp((*(const vv_label *const *)a)->name, (*(const vv_label *const *)b)->name);
}

/* Pointers to the labels, by name. */
static vv_status sort_labels(const vv_label *labels, size_t count,
                             const vv_label *out[VV_LABELS_MAX], vv_error *err)
{
    bool is_sorted = true;
    for (size_t i = 0; i < count; i++) {
        vv_status st = check_label(&labels[i], err);
        if (st != VV_OK)
            return st;
        out[i] = &labels[i];
        is_sorted &= i == 0 || vv_slice_cmp(labels[i - 1].name, labels[i].name) < 0;
    }
    if (is_sorted)
        return VV_OK;
    qsort(out, count, sizeof(vv_label *), by_name);
    for (size_t i = 1; i < count; i++)
        if (vv_slice_eq(out[i - 1]->name, out[i]->name))
            return vv_fail(err, VV_INVALID, "label '%.*s' is there twice", (int)out[i]->name.len,
                           (const char *)out[i]->name.data);
    return VV_OK;
}

vv_status db_series_canonical(const vv_label *labels, size_t count, vv_buf *out, vv_error *err)
{
    const vv_label *sorted[VV_LABELS_MAX];
    if (count > VV_LABELS_MAX)
        return vv_fail(err, VV_INVALID, "a series with %zu labels: %u are allowed", count,
                       VV_LABELS_MAX);
    vv_status st = sort_labels(labels, count, sorted, err);
    if (st != VV_OK)
        return st;
    size_t begin = out->len;
    for (size_t i = 0; i < count; i++) {
        const vv_label *l = sorted[i];
        uint8_t *p = l->value.len == 0 ? NULL : vv_buf_reserve(out, l->name.len + l->value.len + 4);
        if (p == NULL)
            continue;
        size_t n = vv_varint_put(p, l->name.len);
        memcpy(p + n, l->name.data, l->name.len);
        n += l->name.len;
        n += vv_varint_put(p + n, l->value.len);
        memcpy(p + n, l->value.data, l->value.len);
        vv_buf_advance(out, n + l->value.len);
    }
    if (out->status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "no memory for labels");
    size_t len = out->len - begin;
    if (len == 0)
        return vv_fail(err, VV_INVALID, "a series needs a label with a value");
    if (len > VV_LABELS_BYTES_MAX)
        return vv_fail(err, VV_INVALID, "a series with %zu bytes of labels: %u are allowed", len,
                       VV_LABELS_BYTES_MAX);
    return VV_OK;
}

static bool take_text(vv_slice *rest, vv_slice *out)
{
    uint64_t len = 0;
    if (rest->len == 0)
        return false;
    const uint8_t *end = rest->data + rest->len;
    const uint8_t *p = vv_varint_get(rest->data, end, &len);
    if (p == NULL || len == 0 || len > (size_t)(end - p))
        return false;
    *out = vv_slice_of(p, (size_t)len);
    *rest = vv_slice_of(p + len, (size_t)(end - p) - (size_t)len);
    return true;
}

bool db_series_label_next(vv_slice *rest, vv_label *out)
{
    vv_slice at = *rest;
    if (!take_text(&at, &out->name) || !take_text(&at, &out->value))
        return false;
    *rest = at;
    return true;
}

vv_slice db_series_label_find(vv_slice canonical, vv_slice name)
{
    vv_label l;
    while (db_series_label_next(&canonical, &l))
        if (vv_slice_eq(l.name, name))
            return l.value;
    return vv_slice_of(NULL, 0);
}

int db_series_canonical_cmp(vv_slice a, vv_slice b)
{
    vv_label la;
    vv_label lb;
    for (;;) {
        bool has_a = db_series_label_next(&a, &la);
        bool has_b = db_series_label_next(&b, &lb);
        if (!has_a || !has_b)
            return (int)has_a - (int)has_b;
        int c = vv_slice_cmp(la.name, lb.name);
        if (c == 0)
            c = vv_slice_cmp(la.value, lb.value);
        if (c != 0)
            return c;
    }
}

void db_series_canonical_text(vv_slice canonical, char *out, size_t size)
{
    vv_slice name = db_series_label_find(canonical, vv_slice_str(DB_SERIES_NAME));
    size_t at = (size_t)snprintf(out, size, "%.*s{", (int)name.len, (const char *)name.data);
    vv_label l;
    bool is_first = true;
    while (db_series_label_next(&canonical, &l) && at < size) {
        if (vv_slice_eq(l.name, vv_slice_str(DB_SERIES_NAME)))
            continue;
        at += (size_t)snprintf(out + at, size - at, "%s%.*s=%.*s", is_first ? "" : ", ",
                               (int)l.name.len, (const char *)l.name.data, (int)l.value.len,
                               (const char *)l.value.data);
        is_first = false;
    }
    if (at < size)
        (void)snprintf(out + at, size - at, "}");
}

/* ---- keys ---- */

size_t db_series_id_key(uint8_t kind, uint64_t id, uint8_t out[9])
{
    out[0] = kind;
    vv_put_be64(out + 1, id);
    return 9;
}

size_t db_series_hash_key(vv_slice canonical, uint8_t out[17])
{
    XXH128_hash_t h = XXH3_128bits(canonical.data, canonical.len);
    out[0] = DB_SERIES_HASH;
    vv_put_be64(out + 1, h.high64);
    vv_put_be64(out + 9, h.low64);
    return 17;
}

size_t db_series_posting_prefix(vv_slice name, const vv_slice *value,
                                uint8_t out[DB_SERIES_KEY_MAX])
{
    size_t n = 0;
    assert(name.len + (value == NULL ? 0 : value->len) <= VV_LABEL_BYTES_MAX);
    out[n++] = DB_SERIES_POSTING;
    if (name.len > 0)
        memcpy(out + n, name.data, name.len);
    n += name.len;
    out[n++] = 0;
    if (value == NULL)
        return n;
    if (value->len > 0)
        memcpy(out + n, value->data, value->len);
    n += value->len;
    out[n++] = 0;
    return n;
}

bool db_series_posting_parse(vv_slice key, vv_slice *value, uint64_t *id)
{
    const uint8_t *name_end = key.len < 12 ? NULL : memchr(key.data + 1, 0, key.len - 1);
    if (name_end == NULL || (size_t)(key.data + key.len - name_end) < 1 + 1 + 8)
        return false;
    const uint8_t *value_end = key.data + key.len - 9;
    *value = vv_slice_of(name_end + 1, (size_t)(value_end - name_end) - 1);
    *id = vv_get_be64(value_end + 1);
    return *value_end == 0;
}

size_t db_series_class_key(uint64_t id, int64_t from, uint8_t out[17])
{
    (void)db_series_id_key(DB_SERIES_CLASS, id, out);
    vv_put_be64(out + 9, (uint64_t)from ^ SIGN);
    return 17;
}

size_t db_series_overflow_key(uint64_t id, int64_t from, unsigned class, uint8_t out[18])
{
    size_t len = db_series_class_key(id, from, out);
    out[len] = (uint8_t) class;
    return len + 1;
}

size_t db_series_bucket_key(uint8_t kind, uint64_t id, unsigned class, int64_t bucket,
                            uint8_t out[DB_SERIES_DATA_KEY])
{
    (void)db_series_id_key(kind, id, out);
    out[9] = (uint8_t) class;
    vv_put_be64(out + 10, (uint64_t)bucket ^ SIGN);
    return DB_SERIES_DATA_KEY;
}

int64_t db_series_bucket(unsigned class, int64_t t)
{
    int64_t span = db_series_span[class];
    return t / span - (t % span < 0);
}

int64_t db_series_bucket_begin(unsigned class, int64_t bucket)
{
    int64_t t;
    return __builtin_mul_overflow(bucket, db_series_span[class], &t) ? INT64_MIN : t;
}

int64_t db_series_bucket_last(unsigned class, int64_t bucket)
{
    int64_t t;
    bool over = __builtin_mul_overflow(bucket, db_series_span[class], &t);
    if (over) /* of the lowest bucket only its end is a time */
        return bucket < 0 ? (bucket + 1) * db_series_span[class] - 1 : INT64_MAX;
    return __builtin_add_overflow(t, db_series_span[class] - 1, &t) ? INT64_MAX : t;
}

int64_t db_series_expiry(unsigned class, int64_t bucket, int64_t retention_ns)
{
    int64_t at;
    if (retention_ns == 0 ||
        __builtin_add_overflow(db_series_bucket_last(class, bucket), retention_ns, &at) ||
        at == INT64_MAX)
        return 0;
    return at < 0 ? 1 : at + 1;
}
