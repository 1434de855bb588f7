/*
 * summary.c - what a chunk says of its samples in front of them, and its bytes.
 *
 *     flags      u8: bit 0 no value is below the one before, bit 1 not all are good
 *     if bit 1:  varint good; if good > 0: varint first good - first, varint last - last good
 *     strings:   nothing more
 *     if good > 0: six lengths of 4 bits, then the six doubles, each without its low zero bytes
 *     bit 2:       u8 places; first, last, min, max as integers over 10^places, the last three less
 *                  the first: zigzag varints; two lengths of 4 bits, sum, sum_sq
 *
 * Integers and what is near them have many low zero bytes: 47.0 takes three. 47.25 takes eight, and
 * two as 4,725 hundredths; the shorter form is written.
 */
#include <math.h>

#include "base/bytes.h"
#include "base/varint.h"
#include "series/chunk_int.h"
#include "series/series_int.h"

#define FLAG_MONOTONE 1u
#define FLAG_NOT_ALL_GOOD 2u
#define FLAG_DECIMAL 4u
#define DECIMALS 4u /* of the numbers: first, last, min, max */
#define PLACES_MAX 6u
#define DECIMAL_BYTES_MAX (1u + DECIMALS * VV_VARINT_MAX + 1u + 2u * 8u)
#define DECIMAL_MAX (INT64_C(1) << 50) /* below it both ways are exact */

static const double power[PLACES_MAX + 1] = {1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6};

typedef struct tally {
    double min;
    double max;
    double sum;
    double sum_sq;
    bool falls;
} tally;

/* Four lanes: additions do not wait for each other. */
static void tally_f64(const double *v, uint32_t n, tally *t)
{
    double min[4] = {INFINITY, INFINITY, INFINITY, INFINITY};
    double max[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
    double sum[4] = {0};
    double sq[4] = {0};
    double about = v[0];
    uint32_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (uint32_t k = 0; k < 4; k++) {
            double x = v[i + k];
            double d = x - about;
            min[k] = x < min[k] ? x : min[k];
            max[k] = x > max[k] ? x : max[k];
            sum[k] += x;
            sq[k] += d * d;
        }
    for (; i < n; i++) {
        double d = v[i] - about;
        min[0] = v[i] < min[0] ? v[i] : min[0];
        max[0] = v[i] > max[0] ? v[i] : max[0];
        sum[0] += v[i];
        sq[0] += d * d;
    }
    for (uint32_t k = 1; k < 4; k++) {
        min[0] = min[k] < min[0] ? min[k] : min[0];
        max[0] = max[k] > max[0] ? max[k] : max[0];
    }
    t->min = min[0];
    t->max = max[0];
    t->sum = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    t->sum_sq = (sq[0] + sq[1]) + (sq[2] + sq[3]);
    bool falls = false;
    for (i = 1; i < n; i++)
        falls |= !(v[i] >= v[i - 1]); /* a NaN among them is not monotone either */
    t->falls = falls;
}

/* The same sum alone. */
static double sum_f64(const double *v, uint32_t n)
{
    double sum[4] = {0};
    uint32_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (uint32_t k = 0; k < 4; k++)
            sum[k] += v[i + k];
    for (; i < n; i++)
        sum[0] += v[i];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* The good ones as doubles: `in` itself where it is all good doubles, else copied. */
static uint32_t good_numbers(const series_samples *in, double *out, const double **v)
{
    *v = out;
    if (in->type == SERIES_F64 && in->quality == NULL) {
        *v = in->value.f64;
        return in->count;
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < in->count; i++)
        if (in->quality == NULL || series_quality_is_good(in->quality[i]))
            out[n++] = series_samples_number(in, i);
    return n;
}

static void find_good_times(const series_samples *in, series_summary *out)
{
    uint32_t from = 0;
    uint32_t to = in->count;
    if (in->quality != NULL) {
        while (!series_quality_is_good(in->quality[from]))
            from++;
        while (!series_quality_is_good(in->quality[to - 1]))
            to--;
    }
    out->first_time = in->time[from];
    out->last_time = in->time[to - 1];
}

static uint32_t count_good(const series_samples *in)
{
    uint32_t good = in->count;
    for (uint32_t i = 0; in->quality != NULL && i < in->count; i++)
        good -= !series_quality_is_good(in->quality[i]);
    return good;
}

static void summarise(const series_samples *in, bool only_sum, series_summary *out)
{
    double room[SERIES_CHUNK_MAX];
    const double *v = NULL;
    assert(in->count <= SERIES_CHUNK_MAX);
    *out = (series_summary){.type = in->type, .count = in->count, .good = count_good(in)};
    if (out->good == 0)
        return;
    find_good_times(in, out);
    if (in->type == SERIES_STRING)
        return;
    room[0] = 0; /* there is a good one, which the compiler does not see */
    uint32_t n = good_numbers(in, room, &v);
    assert(n > 0);
    out->first = v[0];
    out->last = v[n - 1];
    if (only_sum) {
        out->sum = sum_f64(v, n);
        return;
    }
    tally t;
    tally_f64(v, n, &t);
    bool only_nan = t.min > t.max;
    out->min = only_nan ? v[0] : t.min;
    out->max = only_nan ? v[0] : t.max;
    out->sum = t.sum;
    out->sum_sq = t.sum_sq;
    out->is_monotone = !t.falls;
}

void series_summarise(const series_samples *in, series_summary *out)
{
    summarise(in, false, out);
}

void series_sum_up(const series_samples *in, series_summary *out)
{
    summarise(in, true, out);
}

/* ---- bytes ---- */

/* Bytes without the low zero ones. */
static unsigned significant(uint64_t bits)
{
    return bits == 0 ? 0 : 8 - (unsigned)__builtin_ctzll(bits) / 8;
}

static void put_high(uint8_t *p, uint64_t bits, unsigned len)
{
    for (unsigned i = 0; i < len; i++)
        p[i] = (uint8_t)(bits >> (8 * (7 - i)));
}

static uint64_t get_high(const uint8_t *p, unsigned len)
{
    uint64_t bits = 0;
    for (unsigned i = 0; i < len; i++)
        bits |= (uint64_t)p[i] << (8 * (7 - i));
    return bits;
}

static uint64_t bits_of(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

/* Four numbers as integers over a power of ten, if they are some. */
static bool as_decimals(const double v[DECIMALS], unsigned *places, int64_t out[DECIMALS])
{
    for (unsigned p = 0; p <= PLACES_MAX; p++) {
        bool fit = true;
        for (unsigned i = 0; fit && i < DECIMALS; i++) {
            double d = nearbyint(v[i] * power[p]);
            out[i] = fabs(d) < (double)DECIMAL_MAX ? (int64_t)d : DECIMAL_MAX;
            fit = bits_of((double)out[i] / power[p]) == bits_of(v[i]); /* -0 is none */
        }
        *places = p;
        if (fit)
            return true;
    }
    return false;
}

/* The bytes of the decimal form, or 0: there is none. */
static size_t put_decimals(uint8_t *p, const series_summary *s)
{
    const double v[DECIMALS] = {s->first, s->last, s->min, s->max};
    int64_t d[DECIMALS];
    unsigned places;
    if (!as_decimals(v, &places, d))
        return 0;
    size_t at = 1;
    p[0] = (uint8_t)places;
    for (unsigned i = 0; i < DECIMALS; i++) {
        int64_t n = i == 0 ? d[0] : d[i] - d[0];
        at += vv_varint_put(p + at, (uint64_t)n << 1 ^ (n < 0 ? UINT64_MAX : 0));
    }
    unsigned sum = significant(bits_of(s->sum));
    unsigned sq = significant(bits_of(s->sum_sq));
    p[at++] = (uint8_t)(sum | sq << 4);
    put_high(p + at, bits_of(s->sum), sum);
    put_high(p + at + sum, bits_of(s->sum_sq), sq);
    return at + sum + sq;
}

static const uint8_t *get_decimals(const uint8_t *p, const uint8_t *end, series_summary *out)
{
    double *const v[DECIMALS] = {&out->first, &out->last, &out->min, &out->max};
    double *const sums[] = {&out->sum, &out->sum_sq};
    int64_t first = 0;
    if (p >= end || *p > PLACES_MAX)
        return NULL;
    double scale = power[*p++];
    for (unsigned i = 0; i < DECIMALS; i++) {
        uint64_t n = 0;
        p = vv_varint_get(p, end, &n);
        if (p == NULL || n >> 1 > 2 * (uint64_t)DECIMAL_MAX)
            return NULL;
        int64_t d = first + (int64_t)(n >> 1 ^ (0 - (n & 1)));
        if (i == 0)
            first = d;
        *v[i] = (double)d / scale;
    }
    if (p >= end)
        return NULL;
    uint8_t lens = *p++;
    for (unsigned i = 0; i < 2; i++) {
        unsigned len = lens >> (4 * i) & 15;
        if (len > 8 || len > (size_t)(end - p))
            return NULL;
        uint64_t bits = get_high(p, len);
        memcpy(sums[i], &bits, sizeof bits);
        p += len;
    }
    return p;
}

static size_t put_numbers(uint8_t *p, const series_summary *s)
{
    const double v[CHUNK_NUMBERS] = {s->first, s->last, s->min, s->max, s->sum, s->sum_sq};
    size_t at = CHUNK_NUMBERS / 2;
    memset(p, 0, at);
    for (unsigned i = 0; i < CHUNK_NUMBERS; i++) {
        uint64_t bits;
        memcpy(&bits, &v[i], sizeof bits);
        unsigned len = significant(bits);
        p[i / 2] |= (uint8_t)(len << (4 * (i % 2)));
        put_high(p + at, bits, len);
        at += len;
    }
    return at;
}

static const uint8_t *get_numbers(const uint8_t *p, const uint8_t *end, series_summary *s)
{
    double *v[CHUNK_NUMBERS] = {&s->first, &s->last, &s->min, &s->max, &s->sum, &s->sum_sq};
    if ((size_t)(end - p) < CHUNK_NUMBERS / 2)
        return NULL;
    const uint8_t *at = p + CHUNK_NUMBERS / 2;
    for (unsigned i = 0; i < CHUNK_NUMBERS; i++) {
        unsigned len = p[i / 2] >> (4 * (i % 2)) & 15;
        if (len > 8 || len > (size_t)(end - at))
            return NULL;
        uint64_t bits = get_high(at, len);
        memcpy(v[i], &bits, sizeof bits);
        at += len;
    }
    return at;
}

size_t chunk_summary_put(uint8_t *p, const series_head *head, const series_summary *s)
{
    bool all = s->good == s->count;
    size_t at = 1;
    p[0] = (uint8_t)((s->is_monotone ? FLAG_MONOTONE : 0) | (all ? 0 : FLAG_NOT_ALL_GOOD));
    if (!all) {
        at += vv_varint_put(p + at, s->good);
        if (s->good > 0) {
            at += vv_varint_put(p + at, (uint64_t)s->first_time - (uint64_t)head->first_time);
            at += vv_varint_put(p + at, (uint64_t)head->last_time - (uint64_t)s->last_time);
        }
    }
    if (s->good == 0 || s->type == SERIES_STRING)
        return at;
    uint8_t decimals[DECIMAL_BYTES_MAX];
    size_t shorter = put_decimals(decimals, s);
    size_t plain = put_numbers(p + at, s);
    if (shorter == 0 || shorter >= plain)
        return at + plain;
    p[0] |= FLAG_DECIMAL;
    memcpy(p + at, decimals, shorter);
    return at + shorter;
}

/* The counts and times of a chunk some of whose samples are not good. */
static const uint8_t *get_partly(const uint8_t *p, const uint8_t *end, const series_head *head,
                                 series_summary *out)
{
    uint64_t good = 0;
    uint64_t before = 0;
    uint64_t behind = 0;
    uint64_t span = (uint64_t)head->last_time - (uint64_t)head->first_time;
    p = vv_varint_get(p, end, &good);
    if (p == NULL || good >= head->count)
        return NULL;
    out->good = (uint32_t)good;
    if (good == 0)
        return p;
    p = vv_varint_get(p, end, &before);
    if (p != NULL)
        p = vv_varint_get(p, end, &behind);
    if (p == NULL || before > span || behind > span - before)
        return NULL;
    out->first_time = (int64_t)((uint64_t)head->first_time + before);
    out->last_time = (int64_t)((uint64_t)head->last_time - behind);
    return p;
}

const uint8_t *chunk_summary_get(const uint8_t *p, const uint8_t *end, const series_head *head,
                                 series_summary *out)
{
    if (p >= end || (*p & ~(FLAG_MONOTONE | FLAG_NOT_ALL_GOOD | FLAG_DECIMAL)) != 0)
        return NULL;
    uint8_t flags = *p++;
    *out = (series_summary){.type = head->type,
                            .count = head->count,
                            .good = head->count,
                            .first_time = head->first_time,
                            .last_time = head->last_time,
                            .is_monotone = (flags & FLAG_MONOTONE) != 0};
    if ((flags & FLAG_NOT_ALL_GOOD) != 0)
        p = get_partly(p, end, head, out);
    bool has_numbers = out->good > 0 && out->type != SERIES_STRING;
    bool is_decimal = (flags & FLAG_DECIMAL) != 0;
    if (p == NULL || (!has_numbers && is_decimal))
        return NULL;
    if (!has_numbers)
        return p;
    return is_decimal ? get_decimals(p, end, out) : get_numbers(p, end, out);
}
