/*
 * chunk.c - a chunk's bytes and back. The layout stands in chunk_int.h.
 *
 * Columns of RAW:       times 1..count-2 as i64 (the ends are in the head) | values | qualities u32
 *            others:    varint length | times;  varint length | qualities if there are;  values
 * Times of the other forms are relative to the first, so that what codecs keep of them is small.
 *
 * What lies in a chunk is sorted, each time once: a reader may rely on it, because decoding checks.
 */
#include "series/chunk.h"

#include <string.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "base/point.h"
#include "base/varint.h"
#include "series/chunk_int.h"
#include "series/series_int.h"

#define TEXT_LEN_MAX (UINT32_C(16) * 1024 * 1024)

/* ---- the head ---- */

static size_t put_head(uint8_t *p, const series_head *h)
{
    size_t at = 1;
    p[0] = (uint8_t)((unsigned)h->type | (unsigned)h->form << 3 |
                     (h->has_quality ? CHUNK_QUALITY_FLAG : 0));
    at += vv_varint_put(p + at, h->count);
    vv_put_le64(p + at, (uint64_t)h->first_time);
    at += 8;
    if (h->count > 1)
        at += vv_varint_put(p + at, (uint64_t)h->last_time - (uint64_t)h->first_time);
    if (h->type == SERIES_STRING)
        at += vv_varint_put(p + at, h->text_len);
    return at;
}

static bool get_kind(uint8_t kind, series_head *h)
{
    h->type = (series_type)(kind & 7);
    h->form = (series_form)(kind >> 3 & 3);
    h->has_quality = (kind & CHUNK_QUALITY_FLAG) != 0;
    return series_value_size(h->type) != 0 && h->form <= SERIES_COMPACT && kind >> 6 == 0;
}

static bool get_times(const uint8_t **p, const uint8_t *end, series_head *h)
{
    uint64_t span = 0;
    if (end - *p < 8)
        return false;
    h->first_time = (int64_t)vv_get_le64(*p);
    h->last_time = h->first_time;
    *p += 8;
    if (h->count == 1)
        return true;
    *p = vv_varint_get(*p, end, &span);
    if (*p == NULL || span < h->count - 1 || span > (uint64_t)INT64_MAX - (uint64_t)h->first_time)
        return false;
    h->last_time = (int64_t)((uint64_t)h->first_time + span);
    return true;
}

/* The length of RAW follows from its head. */
static bool fits_raw(const series_head *h, size_t len)
{
    size_t inner = h->count > 2 ? h->count - 2 : 0;
    size_t need = inner * 8 + (h->has_quality ? h->count * sizeof(uint32_t) : 0);
    if (h->type == SERIES_STRING) /* each has at least one byte of length */
        return len >= need + h->count + h->text_len;
    return len == need + h->count * series_value_size(h->type);
}

bool chunk_open(vv_slice chunk, chunk_body *body)
{
    series_head *h = &body->head;
    uint64_t n = 0;
    if (chunk.len < 1 + 1 + 8 + CHUNK_CRC)
        return false;
    const uint8_t *end = chunk.data + chunk.len - CHUNK_CRC;
    *body = (chunk_body){.end = end};
    if (!get_kind(chunk.data[0], h))
        return false;
    const uint8_t *p = vv_varint_get(chunk.data + 1, end, &n);
    if (p == NULL || n == 0 || n > SERIES_CHUNK_MAX)
        return false;
    h->count = (uint32_t)n;
    if (!get_times(&p, end, h))
        return false;
    if (h->type == SERIES_STRING) {
        p = vv_varint_get(p, end, &n);
        if (p == NULL || n > TEXT_LEN_MAX)
            return false;
        h->text_len = (uint32_t)n;
    }
    body->at = p;
    return h->form != SERIES_RAW || fits_raw(h, (size_t)(end - p));
}

static vv_status malformed(vv_slice chunk, const char *what, vv_error *err)
{
    return vv_fail(err, VV_CORRUPT, "series: a chunk of %zu bytes is damaged: %s", chunk.len, what);
}

vv_status series_chunk_head(vv_slice chunk, series_head *out, vv_error *err)
{
    chunk_body body;
    if (!chunk_open(chunk, &body))
        return malformed(chunk, "its head is malformed", err);
    *out = body.head;
    return VV_OK;
}

uint64_t series_chunk_bound(const series_head *head)
{
    return CHUNK_HEAD_MAX + 2 * VV_VARINT_MAX + CHUNK_SUMMARY_MAX + CHUNK_CRC +
           (uint64_t)head->count * (8 + 8 + 4) + head->text_len;
}

/* ---- writing ---- */

static uint64_t text_len(const series_samples *in)
{
    uint64_t len = 0;
    for (uint32_t i = 0; in->type == SERIES_STRING && i < in->count; i++)
        len += in->value.string[i].len;
    return len;
}

static void put_raw_strings(const series_samples *in, vv_buf *out)
{
    for (uint32_t i = 0; i < in->count; i++) {
        vv_buf_append_varint(out, in->value.string[i].len);
        vv_buf_append_slice(out, in->value.string[i]);
    }
}

static void put_raw(const series_samples *in, vv_buf *out)
{
    if (in->count > 2)
        vv_buf_append(out, in->time + 1, (in->count - 2) * sizeof *in->time);
    if (in->type == SERIES_STRING)
        put_raw_strings(in, out);
    else
        vv_buf_append(out, in->value.any, in->count * series_value_size(in->type));
    if (in->quality != NULL)
        vv_buf_append(out, in->quality, in->count * sizeof *in->quality);
}

/* The length in front of the column that begins at `at`, now that it is known. */
static void put_length_before(vv_buf *out, size_t at)
{
    uint8_t len[VV_VARINT_MAX];
    if (out->status != VV_OK)
        return;
    size_t column = out->len - at;
    size_t n = vv_varint_put(len, column);
    if (vv_buf_reserve(out, n) == NULL)
        return;
    memmove(out->data + at + n, out->data + at, column);
    memcpy(out->data + at, len, n);
    vv_buf_advance(out, n);
}

static void put_columns(const series_samples *in, codec_effort effort, codec_scratch *s,
                        vv_buf *out)
{
    int64_t room[SERIES_CHUNK_MAX];
    for (uint32_t i = 0; i < in->count; i++)
        room[i] = (int64_t)((uint64_t)in->time[i] - (uint64_t)in->time[0]);
    size_t at = out->len;
    codec_time_encode(room, in->count, effort, s, out);
    put_length_before(out, at);
    if (in->quality != NULL) {
        for (uint32_t i = 0; i < in->count; i++)
            room[i] = in->quality[i];
        at = out->len;
        codec_i64_encode(room, in->count, effort, s, out);
        put_length_before(out, at);
    }
    switch (in->type) {
    case SERIES_F64:
        codec_f64_encode(in->value.f64, in->count, effort, s, out);
        break;
    case SERIES_I64:
        codec_i64_encode(in->value.i64, in->count, effort, s, out);
        break;
    case SERIES_BOOL:
        codec_bool_encode(in->value.b, in->count, out);
        break;
    case SERIES_STRING:
        codec_string_encode(in->value.string, in->count, effort, s, out);
        break;
    }
}

static bool has_quality(const series_samples *in)
{
    uint32_t any = 0;
    for (uint32_t i = 0; in->quality != NULL && i < in->count; i++)
        any |= in->quality[i];
    return any != 0;
}

static void put_crc(vv_buf *out, size_t from)
{
    if (out->status == VV_OK)
        vv_buf_append_le32(out, vv_crc32c(0, out->data + from, out->len - from));
}

static void put_chunk(const series_samples *in, const series_head *head, codec_scratch *s,
                      vv_buf *out)
{
    size_t from = out->len;
    uint8_t *p = vv_buf_reserve(out, CHUNK_HEAD_MAX + VV_VARINT_MAX + CHUNK_SUMMARY_MAX);
    if (p == NULL)
        return;
    size_t at = put_head(p, head);
    if (head->form == SERIES_COMPACT) {
        series_summary sum;
        series_summarise(in, &sum);
        at += chunk_summary_put(p + at, head, &sum);
    }
    vv_buf_advance(out, at);
    if (head->form == SERIES_RAW)
        put_raw(in, out);
    else
        put_columns(in, head->form == SERIES_OPEN ? CODEC_FAST : CODEC_BEST, s, out);
    put_crc(out, from);
}

void series_chunk_encode(const series_samples *in, series_form form, codec_scratch *s, vv_buf *out)
{
    assert(in->count > 0 && in->count <= SERIES_CHUNK_MAX);
    assert(form == SERIES_RAW || s != NULL);
    uint64_t text = text_len(in);
    series_samples all = *in;
    if (!has_quality(in) || VV_BUG(81)) /* quality is lost */
        all.quality = NULL;
    if (text > TEXT_LEN_MAX) { /* no value of the engine has room for it */
        out->status = out->status == VV_OK ? VV_BUSY : out->status;
        return;
    }
    series_head head = {.type = in->type,
                        .form = form,
                        .has_quality = all.quality != NULL,
                        .count = in->count,
                        .first_time = in->time[0],
                        .last_time = in->time[in->count - 1],
                        .text_len = (uint32_t)text};
    size_t from = out->len;
    put_chunk(&all, &head, s, out);
    if (form != SERIES_RAW && out->status == VV_OK &&
        out->len - from > series_chunk_bound(&head)) { /* what no codec makes shorter */
        out->len = from;
        head.form = SERIES_RAW;
        put_chunk(&all, &head, s, out);
    }
}

/* ---- reading ---- */

static bool is_whole(vv_slice chunk, const chunk_body *body)
{
    size_t len = (size_t)(body->end - chunk.data);
    return vv_crc32c(0, chunk.data, len) == vv_get_le32(body->end);
}

static bool get_raw_strings(const chunk_body *b, const uint8_t *p, const uint8_t *end,
                            vv_slice *out)
{
    uint64_t text = 0;
    for (uint32_t i = 0; i < b->head.count; i++) {
        uint64_t len = 0;
        p = vv_varint_get(p, end, &len);
        if (p == NULL || len > (uint64_t)(end - p))
            return false;
        out[i] = vv_slice_of(p, (size_t)len);
        p += len;
        text += len;
    }
    return p == end && text == b->head.text_len;
}

/* Where the next samples of c go. */
static int64_t *tail_times(series_columns *c)
{
    return c->time + c->count;
}

static void *tail_values(series_columns *c)
{
    return (uint8_t *)c->value + c->count * series_value_size(c->type);
}

static bool is_ascending(const int64_t *t, uint32_t n)
{
    const series_samples s = {.count = n, .time = t};
    return series_samples_is_sorted(&s);
}

static bool get_raw(const chunk_body *b, series_columns *c)
{
    const series_head *h = &b->head;
    const uint8_t *p = b->at;
    size_t quality = h->has_quality ? h->count * sizeof(uint32_t) : 0;
    int64_t *t = tail_times(c);
    uint32_t n = h->count;
    t[n - 1] = h->last_time;
    t[0] = h->first_time;
    if (n > 2) {
        memcpy(t + 1, p, (n - 2) * sizeof *t);
        p += (n - 2) * sizeof *t;
    }
    if (h->type == SERIES_STRING) {
        if (!get_raw_strings(b, p, b->end - quality, tail_values(c)))
            return false;
    } else {
        memcpy(tail_values(c), p, n * series_value_size(h->type));
    }
    if (h->type == SERIES_BOOL)
        for (uint32_t i = 0; i < n; i++)
            if (p[i] > 1)
                return false;
    if (h->has_quality)
        memcpy(c->quality + c->count, b->end - quality, quality);
    return is_ascending(t, n);
}

/* A column with its length in front. */
static bool get_column(const uint8_t **p, const uint8_t *end, vv_slice *out)
{
    uint64_t len = 0;
    *p = vv_varint_get(*p, end, &len);
    if (*p == NULL || len > (uint64_t)(end - *p))
        return false;
    *out = vv_slice_of(*p, (size_t)len);
    *p += len;
    return true;
}

static vv_status get_times_column(vv_slice in, const series_head *h, int64_t *t, vv_error *err)
{
    vv_status st = codec_i64_decode(in, h->count, t, err);
    if (st != VV_OK)
        return st;
    for (uint32_t i = 0; i < h->count; i++)
        t[i] = (int64_t)((uint64_t)t[i] + (uint64_t)h->first_time);
    if (t[0] != h->first_time || t[h->count - 1] != h->last_time || !is_ascending(t, h->count))
        return vv_fail(err, VV_CORRUPT, "series: times of a chunk are not what its head says");
    return VV_OK;
}

static vv_status get_quality_column(vv_slice in, const series_head *h, uint32_t *out, vv_error *err)
{
    int64_t room[SERIES_CHUNK_MAX];
    vv_status st = codec_i64_decode(in, h->count, room, err);
    for (uint32_t i = 0; st == VV_OK && i < h->count; i++) {
        if (room[i] < 0 || room[i] > UINT32_MAX)
            st = vv_fail(err, VV_CORRUPT, "series: a quality has more than 32 bits");
        out[i] = (uint32_t)room[i];
    }
    return st;
}

static vv_status get_strings(vv_slice in, const series_head *h, series_columns *c, vv_error *err)
{
    vv_slice *out = tail_values(c);
    uint64_t text = 0;
    vv_status st = codec_string_decode(in, h->count, &c->text, out, err);
    for (uint32_t i = 0; st == VV_OK && i < h->count; i++)
        text += out[i].len;
    if (st == VV_OK && text != h->text_len)
        st =
            vv_fail(err, VV_CORRUPT, "series: strings of a chunk are not as long as its head says");
    return st;
}

static vv_status get_values(vv_slice in, const series_head *h, series_columns *c, vv_error *err)
{
    switch (h->type) {
    case SERIES_F64:
        return codec_f64_decode(in, h->count, tail_values(c), err);
    case SERIES_I64:
        return codec_i64_decode(in, h->count, tail_values(c), err);
    case SERIES_BOOL:
        return codec_bool_decode(in, h->count, tail_values(c), err);
    case SERIES_STRING:
        break;
    }
    return get_strings(in, h, c, err);
}

static vv_status get_columns(vv_slice chunk, const chunk_body *b, series_columns *c, vv_error *err)
{
    const series_head *h = &b->head;
    const uint8_t *p = b->at;
    vv_slice times = {0};
    vv_slice quality = {0};
    series_summary sum;
    if (h->form == SERIES_COMPACT)
        p = chunk_summary_get(p, b->end, h, &sum);
    if (p == NULL || !get_column(&p, b->end, &times) ||
        (h->has_quality && !get_column(&p, b->end, &quality)))
        return malformed(chunk, "a column reaches past its end", err);
    vv_status st = get_times_column(times, h, tail_times(c), err);
    if (st == VV_OK && h->has_quality)
        st = get_quality_column(quality, h, c->quality + c->count, err);
    if (st == VV_OK)
        st = get_values(vv_slice_of(p, (size_t)(b->end - p)), h, c, err);
    return st;
}

vv_status series_chunk_decode(vv_slice chunk, series_columns *out, vv_error *err)
{
    chunk_body body;
    if (!chunk_open(chunk, &body))
        return malformed(chunk, "its head is malformed", err);
    if (!is_whole(chunk, &body))
        return malformed(chunk, "crc32c does not match", err);
    const series_head *h = &body.head;
    vv_status st = series_columns_reserve(out, h->type, h->count, err);
    if (st != VV_OK)
        return st;
    if (h->has_quality)
        series_columns_need_quality(out);
    else if (out->has_quality)
        memset(out->quality + out->count, 0, h->count * sizeof *out->quality);
    if (h->form != SERIES_RAW)
        st = get_columns(chunk, &body, out, err);
    else if (!get_raw(&body, out))
        st = malformed(chunk, "its samples are malformed", err);
    if (st == VV_OK)
        out->count += h->count;
    return st;
}

vv_status series_chunk_summary(vv_slice chunk, series_summary *out, bool *decoded, vv_error *err)
{
    chunk_body body;
    bool own = false;
    if (!chunk_open(chunk, &body))
        return malformed(chunk, "its head is malformed", err);
    if (body.head.form == SERIES_COMPACT) {
        own = true;
        if (!is_whole(chunk, &body))
            return malformed(chunk, "crc32c does not match", err);
        if (chunk_summary_get(body.at, body.end, &body.head, out) == NULL)
            return malformed(chunk, "its summary is malformed", err);
    }
    if (decoded != NULL)
        *decoded = !own;
    if (own)
        return VV_OK;
    series_columns c;
    series_columns_init(&c);
    vv_status st = series_chunk_decode(chunk, &c, err);
    if (st == VV_OK) {
        series_samples all = series_columns_view(&c);
        series_summarise(&all, out);
    }
    series_columns_fini(&c);
    return st;
}
