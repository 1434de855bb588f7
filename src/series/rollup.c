/*
 * rollup.c - rows of minutes and hours: made of samples, joined, written and read.
 *
 *     format u8: 1 | type u8 | tier u8 | rows u16, 0: not kept | columns | crc32c over all before
 *
 * Each piece of up to 720 rows has its columns one after the other, each with its length in front
 * (varint): the numbers of the windows, counts and times, and but for strings six doubles.
 */
#include "series/rollup.h"

#include <math.h>
#include <string.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "base/util.h"
#include "base/varint.h"

#define FORMAT 1u
#define HEAD 5u
#define CRC 4u
#define PIECE 720u
#define INTS 5u
#define DOUBLES 6u

const int64_t series_tier_span[SERIES_TIERS] = {INT64_C(60) * 1000000000,
                                                INT64_C(3600) * 1000000000};

/* ---- summaries ---- */

void series_summary_join(series_summary *s, const series_summary *next)
{
    if (next->count == 0)
        return;
    uint32_t count = s->count + next->count;
    if (s->good == 0 && (next->good > 0 || s->count == 0)) {
        *s = *next;
    } else if (next->good > 0) {
        double m = next->good;
        double d = next->first - s->first;
        double from_first = next->sum - m * next->first; /* its samples about its first */
        s->sum_sq += next->sum_sq + d * (2 * from_first + m * d);
        s->sum += next->sum;
        s->min = next->min < s->min || isnan(s->min) ? next->min : s->min;
        s->max = next->max > s->max || isnan(s->max) ? next->max : s->max;
        s->is_monotone = s->is_monotone && next->is_monotone && next->first >= s->last;
        s->last = next->last;
        s->last_time = next->last_time;
        s->good += next->good;
    } else if (s->good == 0) {
        s->last_time = next->last_time;
    }
    s->count = count;
}

/* ---- a day ---- */

void series_day_clear(series_day *d, unsigned tier, series_type type, int64_t begin)
{
    assert(tier < SERIES_TIERS);
    d->tier = tier;
    d->type = type;
    d->begin = begin;
    memset(d->row, 0, series_day_rows(tier) * sizeof d->row[0]);
}

static unsigned slot_of(const series_day *d, int64_t t)
{
    assert(t >= d->begin && t - d->begin < SERIES_DAY);
    return (unsigned)((t - d->begin) / series_tier_span[d->tier]);
}

static void join_row(series_day *d, unsigned slot, series_summary s, int64_t first, int64_t last)
{
    if (s.good == 0) {
        s.first_time = first;
        s.last_time = last;
    }
    series_summary_join(&d->row[slot], &s);
}

void series_day_add(series_day *d, const series_samples *in)
{
    for (uint32_t from = 0; from < in->count;) {
        series_summary s;
        unsigned slot = slot_of(d, in->time[from]);
        uint32_t left = in->count - from;
        series_samples run =
            series_samples_part(in, from, left < SERIES_CHUNK_MAX ? left : SERIES_CHUNK_MAX);
        int64_t end = d->begin + (int64_t)(slot + 1) * series_tier_span[d->tier];
        if (run.time[run.count - 1] >= end)
            run = series_samples_part(&run, 0, series_samples_find(&run, end));
        series_summarise(&run, &s);
        join_row(d, slot, s, run.time[0], run.time[run.count - 1]);
        from += run.count;
    }
}

vv_status series_day_chunk(series_day *d, vv_slice chunk, const series_head *head,
                           series_columns *work, vv_error *err)
{
    unsigned slot = slot_of(d, head->first_time);
    vv_status st;
    if (head->form == SERIES_COMPACT && slot == slot_of(d, head->last_time)) {
        series_summary s = {.count = 0};
        st = series_chunk_summary(chunk, &s, NULL, err);
        if (st == VV_OK)
            join_row(d, slot, s, head->first_time, head->last_time);
        return st;
    }
    series_columns_clear(work);
    st = series_chunk_decode(chunk, work, err);
    series_samples v = series_columns_view(work);
    if (st == VV_OK)
        series_day_add(d, &v);
    return st;
}

void series_day_join(series_day *d, const series_day *finer)
{
    unsigned each = series_day_rows(finer->tier) / series_day_rows(d->tier);
    for (unsigned i = 0; i < series_day_rows(finer->tier); i++)
        series_summary_join(&d->row[i / each], &finer->row[i]);
}

void series_day_count(const series_day *d, uint64_t *samples, uint32_t *rows)
{
    *samples = 0;
    *rows = 0;
    for (unsigned i = 0; i < series_day_rows(d->tier); i++) {
        *samples += d->row[i].count;
        *rows += d->row[i].count > 0;
    }
}

/* ---- bytes ---- */

/* The numbers of a row that are not doubles. Times from where the window begins. */
static void ints_of(const series_day *d, unsigned slot, int64_t out[INTS])
{
    const series_summary *s = &d->row[slot];
    int64_t begin = d->begin + (int64_t)slot * series_tier_span[d->tier];
    out[0] = slot;
    out[1] = s->good;
    out[2] = (int64_t)s->count - s->good;
    out[3] = s->first_time - begin;
    out[4] = s->last_time - begin;
}

static void doubles_of(const series_summary *s, double out[DOUBLES])
{
    const double v[DOUBLES] = {s->first, s->last, s->min, s->max, s->sum, s->sum_sq};
    memcpy(out, v, sizeof v);
}

static void put_head(const series_day *d, uint32_t rows, vv_buf *out)
{
    vv_buf_append_u8(out, FORMAT);
    vv_buf_append_u8(out, (uint8_t)d->type);
    vv_buf_append_u8(out, (uint8_t)d->tier);
    vv_buf_append_u8(out, (uint8_t)rows);
    vv_buf_append_u8(out, (uint8_t)(rows >> 8));
}

static void put_crc(vv_buf *out, size_t from)
{
    if (out->status == VV_OK)
        vv_buf_append_le32(out, vv_crc32c(0, out->data + from, out->len - from));
}

static void put_column(vv_buf *out, vv_buf *column)
{
    if (column->status != VV_OK && out->status == VV_OK)
        out->status = column->status;
    vv_buf_append_varint(out, column->len);
    vv_buf_append_slice(out, vv_buf_slice(column));
    vv_buf_reset(column);
}

static void put_piece(const series_day *d, const uint16_t *slot, uint32_t n, codec_scratch *s,
                      vv_buf *column, vv_buf *out)
{
    int64_t ints[INTS];
    double doubles[DOUBLES];
    int64_t i64[PIECE];
    double f64[PIECE];
    for (unsigned c = 0; c < INTS; c++) {
        for (uint32_t i = 0; i < n; i++) {
            ints_of(d, slot[i], ints);
            i64[i] = ints[c];
        }
        codec_i64_encode(i64, n, CODEC_BEST, s, column);
        put_column(out, column);
    }
    for (unsigned c = 0; d->type != SERIES_STRING && c < DOUBLES; c++) {
        for (uint32_t i = 0; i < n; i++) {
            doubles_of(&d->row[slot[i]], doubles);
            f64[i] = d->row[slot[i]].good == 0 ? 0 : doubles[c];
        }
        codec_f64_encode(f64, n, CODEC_BEST, s, column);
        put_column(out, column);
    }
}

void series_day_encode(const series_day *d, codec_scratch *s, vv_buf *out)
{
    uint16_t slot[SERIES_DAY_ROWS];
    uint32_t n = 0;
    vv_buf column;
    size_t from = out->len;
    for (unsigned i = 0; i < series_day_rows(d->tier); i++)
        if (d->row[i].count > 0)
            slot[n++] = (uint16_t)i;
    vv_buf_init(&column, 64 * 1024);
    put_head(d, n, out);
    for (uint32_t at = 0; at < n; at += PIECE)
        put_piece(d, slot + at, n - at < PIECE ? n - at : PIECE, s, &column, out);
    put_crc(out, from);
    vv_buf_fini(&column);
}

void series_day_encode_raw(const series_day *d, vv_buf *out)
{
    size_t from = out->len;
    put_head(d, 0, out);
    put_crc(out, from);
}

typedef struct reader {
    const uint8_t *at;
    const uint8_t *end;
} reader;

static bool get_column(reader *r, vv_slice *out)
{
    uint64_t len = 0;
    const uint8_t *p = vv_varint_get(r->at, r->end, &len);
    if (p == NULL || len > (uint64_t)(r->end - p))
        return false;
    *out = vv_slice_of(p, (size_t)len);
    r->at = p + len;
    return true;
}

static vv_status malformed(vv_error *err)
{
    return vv_fail(err, VV_CORRUPT, "series: rows of a rollup are malformed");
}

static vv_status check_row(const series_rows *rows, uint32_t i, unsigned tier, uint64_t good,
                           uint64_t other, int64_t first, int64_t last, vv_error *err)
{
    int64_t span = series_tier_span[tier];
    if (rows->slot[i] < 0 || rows->slot[i] >= series_day_rows(tier) ||
        (i > 0 && rows->slot[i] <= rows->slot[i - 1]) || good > UINT32_MAX || other > UINT32_MAX ||
        good + other == 0 || good + other > UINT32_MAX || first < 0 || last < first || last >= span)
        return malformed(err);
    return VV_OK;
}

static vv_status get_ints(reader *r, unsigned tier, int64_t begin, uint32_t from, uint32_t n,
                          series_rows *out, vv_error *err)
{
    int64_t v[INTS][PIECE];
    vv_slice column;
    vv_status st = VV_OK;
    for (unsigned c = 0; st == VV_OK && c < INTS; c++)
        st = get_column(r, &column) ? codec_i64_decode(column, n, v[c], err) : malformed(err);
    for (uint32_t i = 0; st == VV_OK && i < n; i++) {
        out->slot[from + i] = v[0][i];
        st = check_row(out, from + i, tier, (uint64_t)v[1][i], (uint64_t)v[2][i], v[3][i], v[4][i],
                       err);
        if (st != VV_OK)
            break;
        int64_t at = begin + v[0][i] * series_tier_span[tier];
        out->row[from + i] = (series_summary){.type = out->type,
                                              .count = (uint32_t)(v[1][i] + v[2][i]),
                                              .good = (uint32_t)v[1][i],
                                              .first_time = at + v[3][i],
                                              .last_time = at + v[4][i]};
    }
    return st;
}

static vv_status get_doubles(reader *r, uint32_t from, uint32_t n, series_rows *out, vv_error *err)
{
    double v[DOUBLES][PIECE];
    vv_slice column;
    vv_status st = VV_OK;
    for (unsigned c = 0; st == VV_OK && c < DOUBLES; c++)
        st = get_column(r, &column) ? codec_f64_decode(column, n, v[c], err) : malformed(err);
    for (uint32_t i = 0; st == VV_OK && i < n; i++) {
        series_summary *s = &out->row[from + i];
        s->first = v[0][i];
        s->last = v[1][i];
        s->min = v[2][i];
        s->max = v[3][i];
        s->sum = v[4][i];
        s->sum_sq = v[5][i];
    }
    return st;
}

vv_status series_rows_decode(vv_slice bytes, unsigned tier, int64_t begin, series_rows *out,
                             vv_error *err)
{
    if (bytes.len > 0 && bytes.data[0] > FORMAT)
        return vv_fail(err, VV_UNSUPPORTED, "series: a newer varve wrote rows of a rollup");
    if (bytes.len < HEAD + CRC || bytes.data[0] != FORMAT || bytes.data[1] < SERIES_F64 ||
        bytes.data[1] > SERIES_STRING || bytes.data[2] != tier ||
        vv_crc32c(0, bytes.data, bytes.len - CRC) != vv_get_le32(bytes.data + bytes.len - CRC))
        return malformed(err);
    uint32_t n = bytes.data[3] | (uint32_t)bytes.data[4] << 8;
    reader r = {bytes.data + HEAD, bytes.data + bytes.len - CRC};
    if (n > series_day_rows(tier))
        return malformed(err);
    out->type = (series_type)bytes.data[1];
    out->is_raw = n == 0;
    out->count = n;
    vv_status st = VV_OK;
    for (uint32_t at = 0; st == VV_OK && at < n; at += PIECE) {
        uint32_t piece = n - at < PIECE ? n - at : PIECE;
        st = get_ints(&r, tier, begin, at, piece, out, err);
        if (st == VV_OK && out->type != SERIES_STRING)
            st = get_doubles(&r, at, piece, out, err);
    }
    if (st == VV_OK && r.at != r.end)
        st = malformed(err);
    return st;
}
