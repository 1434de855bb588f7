/*
 * series_test_util.h - generated samples, hostile ones among them, and the model that folds are
 * held against: an array sorted by time in which a later write replaces what it meets.
 */
#ifndef VARVE_SERIES_SERIES_TEST_UTIL_H
#define VARVE_SERIES_SERIES_TEST_UTIL_H

#include <string.h>

#include "base/rng.h"
#include "series/fold.h"
#include "vv_test.h"

#define TU_MAX 4096u

/* Samples with the arrays they stand in. */
typedef struct tu_samples {
    series_samples s;
    int64_t time[TU_MAX];
    union {
        double f64[TU_MAX];
        int64_t i64[TU_MAX];
        uint8_t b[TU_MAX];
        vv_slice string[TU_MAX];
    } value;
    uint32_t quality[TU_MAX];
} tu_samples;

typedef struct tu_row {
    int64_t time;
    uint64_t bits; /* of the value; strings: text */
    vv_slice text;
    uint32_t quality;
} tu_row;

typedef struct tu_model {
    series_type type;
    uint32_t count;
    tu_row row[4 * TU_MAX];
} tu_model;

static const uint64_t tu_hostile[] = {
    0x0000000000000000, 0x8000000000000000, /* zeros */
    0x7ff0000000000000, 0xfff0000000000000, /* infinities */
    0x7ff8000000000001, 0xfff8dead0000beef, /* NaN with payloads */
    0x7ff0000000000001, 0x0000000000000001, /* a signalling one; a denormal */
    0x000fffffffffffff, 0x7fefffffffffffff, 0xffefffffffffffff,
    0x3ff0000000000000, 0xffffffffffffffff, 0x7fffffffffffffff,
};

static const char *const tu_words[] = {"",          "on", "off", "a longer state of a machine",
                                       "\xff\x00z", "on"};

static inline uint64_t tu_value_bits(vv_rng *rng, unsigned style, uint32_t i)
{
    double v;
    uint64_t bits;
    switch (style) {
    case 0:
        return tu_hostile[vv_rng_below(rng, ARRAY_LEN(tu_hostile))];
    case 1:
        return vv_rng_next(rng);
    case 2:
        v = (double)vv_rng_below(rng, 10000) / 100.0;
        break;
    case 3:
        v = (double)i;
        break;
    default:
        v = 20.0 + (double)vv_rng_below(rng, 3);
        break;
    }
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static inline void tu_set_value(tu_samples *t, vv_rng *rng, unsigned style, uint32_t i)
{
    uint64_t bits = tu_value_bits(rng, style, i);
    const char *word = tu_words[vv_rng_below(rng, ARRAY_LEN(tu_words))];
    switch (t->s.type) {
    case SERIES_F64:
        memcpy(&t->value.f64[i], &bits, 8);
        break;
    case SERIES_I64:
        t->value.i64[i] = style == 2 || style == 3 ? (int64_t)i * 3 : (int64_t)bits;
        break;
    case SERIES_BOOL:
        t->value.b[i] = bits & 1;
        break;
    case SERIES_STRING:
        t->value.string[i] = vv_slice_of(word, word[0] == '\xff' ? 3 : strlen(word));
        break;
    }
}

/* Any quality; style 0: all good. */
static inline uint32_t tu_quality(vv_rng *rng, unsigned style)
{
    if (style == 0)
        return 0;
    if (style == 1)
        return vv_rng_one_in(rng, 8) ? SERIES_QUALITY_BAD : 0;
    return (uint32_t)vv_rng_next(rng);
}

/* Times in any order around base within span; sorted and apart when `sorted`. */
static inline void tu_make(tu_samples *t, vv_rng *rng, series_type type, uint32_t n, bool sorted,
                           int64_t base, uint64_t span)
{
    unsigned style = (unsigned)vv_rng_below(rng, 5);
    unsigned quality = (unsigned)vv_rng_below(rng, 4);
    uint64_t step = span / (n + 1) + 1;
    assert_true(n <= TU_MAX);
    t->s = (series_samples){.type = type, .count = n, .time = t->time};
    t->s.value.any = &t->value;
    t->s.quality = quality == 3 ? NULL : t->quality;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t at = sorted ? i * step + vv_rng_below(rng, step) : vv_rng_below(rng, span + 1);
        if (style == 3)
            at = sorted ? i * step : at;
        t->time[i] = (int64_t)((uint64_t)base + at);
        tu_set_value(t, rng, style, i);
        t->quality[i] = quality == 3 ? 0 : tu_quality(rng, quality);
    }
}

static inline tu_row tu_row_at(const series_samples *s, uint32_t i)
{
    tu_row r = {.time = s->time[i], .quality = s->quality == NULL ? 0 : s->quality[i]};
    if (s->type == SERIES_STRING)
        r.text = s->value.string[i];
    else if (s->type == SERIES_BOOL)
        r.bits = s->value.b[i];
    else
        memcpy(&r.bits, &s->value.i64[i], 8);
    return r;
}

static inline bool tu_same_row(const tu_row *a, const tu_row *b)
{
    return a->time == b->time && a->bits == b->bits && a->quality == b->quality &&
           vv_slice_eq(a->text, b->text);
}

static inline void tu_model_put(tu_model *m, const tu_row *r)
{
    uint32_t lo = 0;
    uint32_t hi = m->count;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (m->row[mid].time < r->time)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == m->count || m->row[lo].time != r->time) {
        assert_true(m->count < ARRAY_LEN(m->row));
        memmove(m->row + lo + 1, m->row + lo, (m->count - lo) * sizeof *m->row);
        m->count++;
    }
    m->row[lo] = *r;
}

static inline void tu_model_add(tu_model *m, const series_samples *s)
{
    m->type = s->type;
    for (uint32_t i = 0; i < s->count; i++) {
        tu_row r = tu_row_at(s, i);
        tu_model_put(m, &r);
    }
}

static inline void tu_model_erase(tu_model *m, int64_t from, int64_t to)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < m->count; i++)
        if (m->row[i].time < from || m->row[i].time >= to)
            m->row[kept++] = m->row[i];
    m->count = kept;
}

static inline void tu_expect(const tu_model *m, const series_samples *s, const char *what)
{
    if (s->count != m->count)
        fail_msg("VV_SEED=%#llx: %s: %u samples instead of %u", (unsigned long long)vv_test_seed(1),
                 what, s->count, m->count);
    for (uint32_t i = 0; i < s->count; i++) {
        tu_row r = tu_row_at(s, i);
        if (!tu_same_row(&r, &m->row[i]))
            fail_msg("VV_SEED=%#llx: %s: sample %u is (%lld, %llx, %x) instead of (%lld, %llx, %x)",
                     (unsigned long long)vv_test_seed(1), what, i, (long long)r.time,
                     (unsigned long long)r.bits, r.quality, (long long)m->row[i].time,
                     (unsigned long long)m->row[i].bits, m->row[i].quality);
    }
}

#endif
