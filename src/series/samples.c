/*
 * samples.c - columns that grow, in the order of time.
 */
#include "series/samples.h"

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "series/series_int.h"

#define TEXT_MAX (UINT32_C(256) * 1024 * 1024)

size_t series_value_size(series_type type)
{
    switch (type) {
    case SERIES_F64:
    case SERIES_I64:
        return 8;
    case SERIES_BOOL:
        return 1;
    case SERIES_STRING:
        return sizeof(vv_slice);
    }
    return 0;
}

series_samples series_samples_part(const series_samples *in, uint32_t from, uint32_t count)
{
    assert(from <= in->count && count <= in->count - from);
    series_samples part = *in;
    part.count = count;
    part.time += from;
    part.value.any = (const uint8_t *)in->value.any + from * series_value_size(in->type);
    if (part.quality != NULL)
        part.quality += from;
    return part;
}

double series_samples_number(const series_samples *in, uint32_t i)
{
    switch (in->type) {
    case SERIES_F64:
        return in->value.f64[i];
    case SERIES_I64:
        return (double)in->value.i64[i];
    case SERIES_BOOL:
        return in->value.b[i];
    case SERIES_STRING:
        break;
    }
    return 0;
}

bool series_samples_is_sorted(const series_samples *in)
{
    bool sorted = true;
    uint32_t i = 1;
    for (; sorted && i + 8 <= in->count; i += 8) /* no branch inside: it becomes vectors */
        for (uint32_t k = 0; k < 8; k++)
            sorted &= in->time[i + k] > in->time[i + k - 1];
    for (; sorted && i < in->count; i++)
        sorted = in->time[i] > in->time[i - 1];
    return sorted;
}

uint32_t series_samples_find(const series_samples *in, int64_t t)
{
    uint32_t lo = 0;
    uint32_t hi = in->count;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (in->time[mid] < t)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

bool series_ranges_touch(const series_range *range, uint32_t n, int64_t first, int64_t last,
                         bool *whole)
{
    uint32_t lo = 0;
    uint32_t hi = n;
    while (lo < hi) { /* the first that ends behind first */
        uint32_t mid = lo + (hi - lo) / 2;
        if (range[mid].to <= first)
            lo = mid + 1;
        else
            hi = mid;
    }
    *whole = lo < n && range[lo].from <= first && range[lo].to > last;
    return lo < n && range[lo].from <= last;
}

/* ---- columns ---- */

void series_columns_init(series_columns *c)
{
    *c = (series_columns){0};
    vv_arena_init(&c->text, TEXT_MAX);
}

void series_columns_fini(series_columns *c)
{
    vv_free(c->time);
    vv_free(c->value);
    vv_free(c->quality);
    vv_free(c->work);
    vv_arena_fini(&c->text);
    series_columns_init(c);
}

void series_columns_clear(series_columns *c)
{
    c->type = 0;
    c->count = 0;
    c->has_quality = false;
    vv_arena_reset(&c->text);
}

static vv_status grow(series_columns *c, uint32_t cap, vv_error *err)
{
    /* Values of any type: a column that is cleared may hold another one next. */
    int64_t *time = vv_realloc(c->time, cap * sizeof *time);
    if (time != NULL)
        c->time = time;
    void *value = time == NULL ? NULL : vv_realloc(c->value, (size_t)cap * sizeof(vv_slice));
    if (value != NULL)
        c->value = value;
    uint32_t *quality = value == NULL ? NULL : vv_realloc(c->quality, cap * sizeof *quality);
    if (quality == NULL)
        return vv_fail(err, VV_NO_MEMORY, "series: no memory for %u samples", cap);
    c->quality = quality;
    c->cap = cap;
    return VV_OK;
}

vv_status series_columns_reserve(series_columns *c, series_type type, uint32_t more, vv_error *err)
{
    assert(series_value_size(type) != 0);
    if (c->type != 0 && c->type != type && c->count > 0)
        return vv_fail(err, VV_INVALID, "series: samples of type %d among samples of type %d",
                       (int)type, (int)c->type);
    c->type = type;
    if (VV_LIKELY(more <= c->cap - c->count))
        return VV_OK;
    if (more > UINT32_MAX / 4 - c->count)
        return vv_fail(err, VV_NO_MEMORY, "series: %u samples and %u more are too many at once",
                       c->count, more);
    uint32_t cap = c->cap < 64 ? 64 : c->cap * 2;
    while (cap < c->count + more)
        cap *= 2;
    return grow(c, cap, err);
}

void series_columns_need_quality(series_columns *c)
{
    if (c->has_quality)
        return;
    c->has_quality = true;
    if (c->count > 0)
        memset(c->quality, 0, c->count * sizeof *c->quality);
}

vv_status series_columns_append(series_columns *c, const series_samples *in, vv_error *err)
{
    vv_status st = series_columns_reserve(c, in->type, in->count, err);
    if (st != VV_OK || in->count == 0)
        return st;
    size_t size = series_value_size(in->type);
    if (in->quality != NULL)
        series_columns_need_quality(c);
    memcpy(c->time + c->count, in->time, in->count * sizeof *c->time);
    memcpy((uint8_t *)c->value + c->count * size, in->value.any, in->count * size);
    if (in->quality != NULL)
        memcpy(c->quality + c->count, in->quality, in->count * sizeof *c->quality);
    else if (c->has_quality)
        memset(c->quality + c->count, 0, in->count * sizeof *c->quality);
    c->count += in->count;
    return VV_OK;
}

series_samples series_columns_view(const series_columns *c)
{
    series_samples s = {.type = c->type, .count = c->count, .time = c->time};
    s.value.any = c->value;
    s.quality = c->has_quality ? c->quality : NULL;
    return s;
}

/* The columns in the order of p[0..n). spare has room for n values of any kind. */
static void permute(series_columns *c, const series_place *p, uint32_t n, void *spare)
{
    uint64_t *wide = spare;
    vv_slice *text = spare;
    uint8_t *narrow = spare;
    uint32_t *quality = spare;
    for (uint32_t i = 0; i < n; i++)
        c->time[i] = p[i].time;
    switch (c->type) {
    case SERIES_F64:
    case SERIES_I64:
        for (uint32_t i = 0; i < n; i++)
            wide[i] = ((const uint64_t *)c->value)[p[i].index];
        break;
    case SERIES_BOOL:
        for (uint32_t i = 0; i < n; i++)
            narrow[i] = ((const uint8_t *)c->value)[p[i].index];
        break;
    case SERIES_STRING:
        for (uint32_t i = 0; i < n; i++)
            text[i] = ((const vv_slice *)c->value)[p[i].index];
        break;
    }
    memcpy(c->value, spare, n * series_value_size(c->type));
    for (uint32_t i = 0; c->has_quality && i < n; i++)
        quality[i] = c->quality[p[i].index];
    if (c->has_quality)
        memcpy(c->quality, spare, n * sizeof *quality);
    c->count = n;
}

vv_status series_columns_sort(series_columns *c, vv_error *err)
{
    series_samples all = series_columns_view(c);
    if (series_samples_is_sorted(&all))
        return VV_OK;
    size_t need = series_sort_work(c->count);
    if (need > c->work_size) {
        vv_free(c->work);
        c->work_size = 0;
        c->work = vv_alloc_aligned(16, need);
        if (c->work == NULL)
            return vv_fail(err, VV_NO_MEMORY, "series: no memory to sort %u samples", c->count);
        c->work_size = need;
    }
    series_place *p = series_sort_places(c->work);
    for (uint32_t i = 0; i < c->count; i++)
        p[i] = (series_place){.time = c->time[i], .index = i};
    p = series_sort(c->work, c->count);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        kept -= kept > 0 && p[kept - 1].time == p[i].time; /* the later one wins */
        p[kept++] = p[i];
    }
    series_place *first = series_sort_places(c->work);
    permute(c, p, kept, p == first ? first + c->count : first);
    return VV_OK;
}

void series_columns_erase(series_columns *c, uint32_t first, const series_range *range,
                          uint32_t range_count)
{
    size_t size = series_value_size(c->type);
    uint32_t kept = first;
    for (uint32_t i = first; i < c->count; i++) {
        bool whole = false;
        if (series_ranges_touch(range, range_count, c->time[i], c->time[i], &whole))
            continue;
        if (kept != i) {
            c->time[kept] = c->time[i];
            memcpy((uint8_t *)c->value + kept * size, (uint8_t *)c->value + i * size, size);
            c->quality[kept] = c->has_quality ? c->quality[i] : 0;
        }
        kept++;
    }
    c->count = kept;
}

void series_columns_drop(series_columns *c, uint32_t n)
{
    assert(n <= c->count);
    size_t size = series_value_size(c->type);
    uint32_t left = c->count - n;
    if (n == 0)
        return;
    memmove(c->time, c->time + n, left * sizeof *c->time);
    memmove(c->value, (uint8_t *)c->value + n * size, left * size);
    if (c->has_quality)
        memmove(c->quality, c->quality + n, left * sizeof *c->quality);
    c->count = left;
}
