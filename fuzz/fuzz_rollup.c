/*
 * fuzz_rollup.c - rows of a rollup: read or refused, and what was read is written again to the
 * same.
 *
 *     byte 0    bit 0: the tier; bit 1: make the sum right first
 *
 * Laws: windows ascend within the day and have samples, whose first and last time lie in them; a
 * day made of the rows reads as they did.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "series/rollup.h"

#define ROWS_MAX (256u * 1024)
#define CRC_LEN 4u
#define BEGIN (SERIES_DAY * 20000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static series_rows rows;
static series_rows again;
static series_day day;
static codec_scratch *scratch;

static void must(bool holds)
{
    if (!holds)
        abort();
}

static bool same_bits(const series_summary *a, const series_summary *b)
{
    const double x[] = {a->first, a->last, a->min, a->max, a->sum, a->sum_sq};
    const double y[] = {b->first, b->last, b->min, b->max, b->sum, b->sum_sq};
    return a->count == b->count && a->good == b->good && a->first_time == b->first_time &&
           a->last_time == b->last_time && (a->good == 0 || memcmp(x, y, sizeof x) == 0);
}

static void write_again(unsigned tier)
{
    vv_buf out;
    vv_buf_init(&out, 4u << 20);
    series_day_clear(&day, tier, rows.type, BEGIN);
    for (uint32_t i = 0; i < rows.count; i++)
        day.row[rows.slot[i]] = rows.row[i];
    series_day_encode(&day, scratch, &out);
    must(out.status == VV_OK);
    must(series_rows_decode(vv_buf_slice(&out), tier, BEGIN, &again, NULL) == VV_OK);
    must(again.count == rows.count && again.type == rows.type);
    for (uint32_t i = 0; i < rows.count; i++)
        must(again.slot[i] == rows.slot[i] && same_bits(&again.row[i], &rows.row[i]));
    vv_buf_fini(&out);
}

static void check_rows(unsigned tier)
{
    const int64_t span = series_tier_span[tier];
    for (uint32_t i = 0; i < rows.count; i++) {
        const series_summary *s = &rows.row[i];
        int64_t begin = BEGIN + rows.slot[i] * span;
        must(i == 0 || rows.slot[i] > rows.slot[i - 1]);
        must(s->count > 0 && s->good <= s->count);
        must(s->first_time >= begin && s->last_time >= s->first_time);
        must(s->last_time < begin + span && s->last_time < BEGIN + SERIES_DAY);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 + CRC_LEN || size > ROWS_MAX)
        return 0;
    if (scratch == NULL)
        scratch = codec_scratch_create();
    uint8_t *p = vv_alloc(size);
    must(p != NULL && scratch != NULL);
    memcpy(p, data + 1, size - 1);
    unsigned tier = data[0] & 1;
    if ((data[0] & 2) != 0)
        vv_put_le32(p + size - 1 - CRC_LEN, vv_crc32c(0, p, size - 1 - CRC_LEN));
    if (series_rows_decode(vv_slice_of(p, size - 1), tier, BEGIN, &rows, NULL) == VV_OK) {
        check_rows(tier);
        if (!rows.is_raw)
            write_again(tier);
    }
    vv_free(p);
    return 0;
}
