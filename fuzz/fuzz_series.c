/*
 * fuzz_series.c - chunks and sets of samples: read or refused, without a crash, in bounded memory.
 *
 *     byte 0    bit 0: make the sums of the chunks right first
 *               bit 1: the rest is one chunk, else a set
 *
 * Laws: a chunk's head, summary and columns agree; what reads as a chunk is sorted and reads the
 * same when it is encoded again in every form; a set that is valid folds with itself to the same
 * samples, or is refused as damaged.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/util.h"
#include "base/varint.h"
#include "series/fold.h"
#include "series/window.h"

#define SET_MAX (256u * 1024)
#define CRC_LEN 4u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static series_scratch scratch;

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void fix_chunk(uint8_t *p, size_t len)
{
    if (len >= CRC_LEN)
        vv_put_le32(p + len - CRC_LEN, vv_crc32c(0, p, len - CRC_LEN));
}

static void fix_set(uint8_t *p, size_t len)
{
    series_set set;
    if (series_set_open(vv_slice_of(p, len), &set, NULL) != VV_OK)
        return;
    uint8_t *at = p + (set.next - p);
    for (uint32_t i = 0; i < set.chunk_count; i++) {
        uint64_t n = 0;
        const uint8_t *begin = vv_varint_get(at, p + len, &n);
        if (begin == NULL || n > (uint64_t)(p + len - begin))
            return;
        at = p + (begin - p);
        fix_chunk(at, (size_t)n);
        at += n;
    }
}

static bool same_values(const series_samples *a, const series_samples *b)
{
    for (uint32_t i = 0; i < a->count; i++) {
        uint32_t x = a->quality == NULL ? 0 : a->quality[i];
        uint32_t y = b->quality == NULL ? 0 : b->quality[i];
        if (x != y || a->time[i] != b->time[i])
            return false;
        if (a->type == SERIES_STRING && !vv_slice_eq(a->value.string[i], b->value.string[i]))
            return false;
    }
    return a->type == SERIES_STRING ||
           memcmp(a->value.any, b->value.any, a->count * series_value_size(a->type)) == 0;
}

static void try_again(const series_samples *in, series_form form)
{
    series_columns back;
    vv_buf out;
    series_columns_init(&back);
    vv_buf_init(&out, 64u << 20);
    series_chunk_encode(in, form, series_scratch_codec(&scratch), &out);
    must(out.status == VV_OK);
    must(series_chunk_decode(vv_buf_slice(&out), &back, NULL) == VV_OK);
    series_samples view = series_columns_view(&back);
    must(view.count == in->count && view.type == in->type && same_values(in, &view));
    series_columns_fini(&back);
    vv_buf_fini(&out);
}

static void try_chunk(vv_slice chunk)
{
    series_head head;
    series_summary sum;
    series_columns c;
    series_columns_init(&c);
    bool headed = series_chunk_head(chunk, &head, NULL) == VV_OK;
    (void)!series_chunk_summary(chunk, &sum, NULL, NULL);
    if (series_chunk_decode(chunk, &c, NULL) == VV_OK) {
        must(headed && c.count == head.count && c.type == head.type);
        must(c.time[0] == head.first_time && c.time[c.count - 1] == head.last_time);
        series_samples view = series_columns_view(&c);
        must(series_samples_is_sorted(&view));
        for (series_form form = SERIES_RAW; form <= SERIES_COMPACT; form++)
            try_again(&view, form);
    } else {
        must(c.count == 0);
    }
    series_columns_fini(&c);
}

static uint32_t count_of(vv_slice value)
{
    series_columns c;
    series_columns_init(&c);
    must(series_set_decode(value, INT64_MIN, INT64_MAX, &c, NULL) == VV_OK);
    uint32_t n = c.count;
    series_columns_fini(&c);
    return n;
}

static void try_set(vv_slice bytes)
{
    series_measure m;
    if (!series_set_measure(bytes, &m))
        return;
    must(m.weight <= SERIES_SET_WEIGHT_MAX);
    vv_buf out[2];
    vv_status st[2];
    for (unsigned i = 0; i < 2; i++) {
        series_fold *f = series_fold_create();
        must(f != NULL);
        vv_buf_init(&out[i], 64u << 20);
        st[i] = series_fold_push(f, bytes, NULL);
        if (st[i] == VV_OK && i == 1 && m.is_settled)
            st[i] = series_fold_push(f, bytes, NULL);
        if (st[i] == VV_OK)
            st[i] = series_fold_value(f, i == 0 ? SERIES_RAW : SERIES_COMPACT, &out[i], NULL);
        series_fold_destroy(f);
        must(st[i] == VV_OK || st[i] == VV_CORRUPT);
        if (st[i] == VV_OK) {
            series_measure folded;
            must(series_set_measure(vv_buf_slice(&out[i]), &folded) && folded.is_settled);
            must(out[i].len <= series_set_bound(bytes) * (i + 1));
        }
    }
    if (st[1] == VV_OK && st[0] == VV_OK && m.is_settled)
        must(count_of(vv_buf_slice(&out[1])) == m.sample_count);
    vv_buf_fini(&out[0]);
    vv_buf_fini(&out[1]);
    series_points points;
    series_points_init(&points);
    const series_window_options o = {.aggregate = SERIES_AGG_AVG,
                                     .start = INT64_MIN,
                                     .end = INT64_MAX,
                                     .step = INT64_MAX / 1000};
    series_window w;
    series_window_init(&w, &o, &points);
    if (series_window_set(&w, bytes, INT64_MIN, NULL) == VV_OK)
        must(series_window_finish(&w, NULL) == VV_OK);
    series_window_fini(&w);
    series_points_fini(&points);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > SET_MAX)
        return 0;
    if (scratch.codec == NULL)
        series_scratch_init(&scratch);
    uint8_t *p = vv_alloc(size);
    must(p != NULL);
    memcpy(p, data + 1, size - 1);
    vv_slice bytes = vv_slice_of(p, size - 1);
    bool is_chunk = (data[0] & 2) != 0;
    if ((data[0] & 1) != 0 && is_chunk)
        fix_chunk(p, size - 1);
    else if ((data[0] & 1) != 0)
        fix_set(p, size - 1);
    if (is_chunk)
        try_chunk(bytes);
    else
        try_set(bytes);
    vv_free(p);
    return 0;
}
