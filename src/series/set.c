/*
 * set.c - a bucket's bytes:
 *
 *     format u8 = 1 | varint erases | erases: i64 from, i64 to | varint chunks
 *     | each chunk: varint length, bytes (chunk.h)
 */
#include "series/set.h"

#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/varint.h"
#include "series/series_int.h"

#define SET_FORMAT 1u
#define RANGE_LEN 16u
#define CHUNK_TEXT_MAX (UINT32_C(256) * 1024) /* of more than one string in a chunk */
#define CHUNK_ROOM 160u /* of a chunk beside its samples: heads, a summary, a sum */
#define CHUNKS_MAX_LEN (UINT32_C(64) * 1024 * 1024)

void series_scratch_init(series_scratch *s)
{
    *s = (series_scratch){0};
    series_columns_init(&s->sorted);
    vv_buf_init(&s->chunks, CHUNKS_MAX_LEN);
}

void series_scratch_fini(series_scratch *s)
{
    codec_scratch_destroy(s->codec);
    series_columns_fini(&s->sorted);
    vv_buf_fini(&s->chunks);
    s->codec = NULL;
}

codec_scratch *series_scratch_codec(series_scratch *s)
{
    if (s->codec == NULL)
        s->codec = codec_scratch_create();
    return s->codec;
}

/* ---- writing ---- */

void series_set_put(uint32_t chunk_count, const series_range *erased, uint32_t erase_count,
                    const vv_buf *chunks, vv_buf *out)
{
    vv_buf_append_u8(out, SET_FORMAT);
    vv_buf_append_varint(out, erase_count);
    for (uint32_t i = 0; i < erase_count; i++) {
        vv_buf_append_le64(out, (uint64_t)erased[i].from);
        vv_buf_append_le64(out, (uint64_t)erased[i].to);
    }
    vv_buf_append_varint(out, chunk_count);
    if (chunks != NULL)
        vv_buf_append_slice(out, vv_buf_slice(chunks));
}

void series_set_erase(int64_t from, int64_t to, vv_buf *out)
{
    assert(from < to);
    const series_range range = {.from = from, .to = to};
    series_set_put(0, &range, 1, NULL, out);
}

/* A chunk with its length in front: room for the longest usual length is kept, and what is not
 * needed of it is closed. */
static void put_chunk(const series_samples *in, series_form form, codec_scratch *s, vv_buf *out)
{
    size_t from = out->len;
    const size_t room = 2;
    if (vv_buf_reserve(out, room) == NULL)
        return;
    vv_buf_advance(out, room);
    series_chunk_encode(in, form, s, out);
    if (out->status != VV_OK)
        return;
    uint8_t head[VV_VARINT_MAX];
    size_t len = out->len - from - room;
    size_t n = vv_varint_put(head, len);
    if (n > room && vv_buf_reserve(out, n - room) == NULL)
        return;
    if (n != room)
        memmove(out->data + from + n, out->data + from + room, len);
    memcpy(out->data + from, head, n);
    out->len = from + n + len;
}

/* How many of the first `most` samples go into one chunk. */
static uint32_t fit_text(const series_samples *in, uint32_t most)
{
    size_t text = 0;
    if (in->type != SERIES_STRING)
        return most;
    for (uint32_t i = 0; i < most; i++) {
        text += in->value.string[i].len;
        if (text > CHUNK_TEXT_MAX)
            return i > 0 ? i : 1;
    }
    return most;
}

uint32_t series_set_cut(const series_samples *in, series_form form, codec_scratch *s,
                        vv_buf *chunks)
{
    uint32_t made = 0;
    for (uint32_t at = 0; at < in->count;) {
        uint32_t left = in->count - at;
        uint32_t most = left;
        if (left > SERIES_CHUNK_MAX) /* the last two of a run are about as long as each other */
            most = left >= SERIES_CHUNK_MAX * 3 / 2 ? SERIES_CHUNK_MAX : left / 2;
        series_samples part = series_samples_part(in, at, most);
        part.count = fit_text(&part, most);
        put_chunk(&part, form, s, chunks);
        at += part.count;
        made++;
    }
    return made;
}

static vv_status check_sizes(const series_samples *in, vv_error *err)
{
    uint64_t weight = (uint64_t)in->count * SERIES_SAMPLE_WEIGHT;
    for (uint32_t i = 0; in->type == SERIES_STRING && i < in->count; i++) {
        if (in->value.string[i].len > SERIES_TEXT_MAX)
            return vv_fail(err, VV_INVALID, "series: a string of %zu bytes, at most %u are kept",
                           in->value.string[i].len, SERIES_TEXT_MAX);
        weight += in->value.string[i].len;
    }
    if (weight > SERIES_SET_WEIGHT_MAX)
        return vv_fail(
            err, VV_INVALID,
            "series: %u samples of %llu bytes at once in one bucket: write fewer at once",
            in->count, (unsigned long long)weight);
    return VV_OK;
}

static series_form form_of(const series_samples *in, series_form wanted)
{
    bool numbers = in->type == SERIES_F64 || in->type == SERIES_I64;
    if (wanted == SERIES_OPEN && (in->count < SERIES_OPEN_MIN || !numbers))
        return SERIES_RAW;
    return wanted;
}

static vv_status no_memory(uint32_t count, vv_error *err)
{
    return vv_fail(err, VV_NO_MEMORY, "series: no memory to write %u samples", count);
}

vv_status series_set_encode(const series_samples *in, series_form form, series_scratch *s,
                            vv_buf *out, vv_error *err)
{
    series_samples all = *in;
    vv_status st = check_sizes(in, err);
    if (st == VV_OK && !series_samples_is_sorted(in)) {
        series_columns_clear(&s->sorted);
        st = series_columns_append(&s->sorted, in, err);
        if (st == VV_OK)
            st = series_columns_sort(&s->sorted, err);
        all = series_columns_view(&s->sorted);
    }
    if (st != VV_OK)
        return st;
    form = form_of(&all, form);
    codec_scratch *codec = form == SERIES_RAW ? NULL : series_scratch_codec(s);
    if (form != SERIES_RAW && codec == NULL)
        return no_memory(in->count, err);
    if (all.count <= SERIES_CHUNK_MAX && all.type != SERIES_STRING) { /* nearly always: no copy */
        series_set_put(all.count > 0 ? 1 : 0, NULL, 0, NULL, out);
        if (all.count > 0)
            put_chunk(&all, form, codec, out);
    } else {
        vv_buf_reset(&s->chunks);
        uint32_t made = series_set_cut(&all, form, codec, &s->chunks);
        if (s->chunks.status != VV_OK)
            return no_memory(in->count, err);
        series_set_put(made, NULL, 0, &s->chunks, out);
    }
    return out->status == VV_OK ? VV_OK : no_memory(in->count, err);
}

/* ---- reading ---- */

static vv_status malformed(const char *what, vv_error *err)
{
    return vv_fail(err, VV_CORRUPT, "series: a set of samples is damaged: %s", what);
}

vv_status series_set_open(vv_slice bytes, series_set *out, vv_error *err)
{
    uint64_t n = 0;
    if (bytes.len < 3 || bytes.data[0] != SET_FORMAT)
        return malformed("its format is unknown", err);
    const uint8_t *end = bytes.data + bytes.len;
    const uint8_t *p = vv_varint_get(bytes.data + 1, end, &n);
    if (p == NULL || n > (uint64_t)(end - p) / RANGE_LEN)
        return malformed("its erased ranges reach past its end", err);
    *out = (series_set){.erase_count = (uint32_t)n, .erases = p, .end = end};
    p = vv_varint_get(p + n * RANGE_LEN, end, &n);
    if (p == NULL || n > (uint64_t)(end - p))
        return malformed("its chunks reach past its end", err);
    for (uint32_t i = 0; i < out->erase_count; i++) {
        series_range r = series_set_erased(out, i);
        if (r.from >= r.to)
            return malformed("an erased range is empty", err);
    }
    out->chunk_count = out->left = (uint32_t)n;
    out->next = p;
    return VV_OK;
}

series_range series_set_erased(const series_set *set, uint32_t i)
{
    assert(i < set->erase_count);
    const uint8_t *p = set->erases + (size_t)i * RANGE_LEN;
    return (series_range){.from = (int64_t)vv_get_le64(p), .to = (int64_t)vv_get_le64(p + 8)};
}

vv_status series_set_next(series_set *set, vv_slice *chunk, series_head *head, vv_error *err)
{
    uint64_t len = 0;
    if (set->left == 0)
        return set->next == set->end ? VV_NOT_FOUND : malformed("bytes follow its chunks", err);
    const uint8_t *p = vv_varint_get(set->next, set->end, &len);
    if (p == NULL || len > (uint64_t)(set->end - p))
        return malformed("a chunk reaches past its end", err);
    *chunk = vv_slice_of(p, (size_t)len);
    set->next = p + len;
    set->left--;
    return series_chunk_head(*chunk, head, err);
}

bool series_set_measure(vv_slice bytes, series_measure *out)
{
    series_set set;
    vv_slice chunk = {0};
    series_head head = {0};
    if (series_set_open(bytes, &set, NULL) != VV_OK)
        return false;
    *out = (series_measure){.chunk_count = set.chunk_count, .is_settled = set.erase_count == 0};
    series_type type = 0;
    int64_t last = 0;
    vv_status st;
    while ((st = series_set_next(&set, &chunk, &head, NULL)) == VV_OK) {
        if (type != 0 && (head.type != type || head.first_time <= last))
            out->is_settled = false;
        type = head.type;
        last = head.last_time;
        out->weight += (uint64_t)head.count * SERIES_SAMPLE_WEIGHT + head.text_len;
        if (out->weight > SERIES_SET_WEIGHT_MAX)
            return false;
        out->sample_count += head.count;
    }
    return st == VV_NOT_FOUND;
}

uint64_t series_set_bound(vv_slice bytes)
{
    series_measure m;
    series_set set;
    if (!series_set_measure(bytes, &m) || series_set_open(bytes, &set, NULL) != VV_OK)
        return 0;
    /* A fold makes no chunks below 256 samples on the mean, but for one at the end. */
    uint64_t chunks = m.chunk_count + m.sample_count / 256 + 2;
    return m.weight + chunks * CHUNK_ROOM + (uint64_t)set.erase_count * RANGE_LEN + CHUNK_ROOM;
}

/* The samples of a chunk that lie in [from, to), behind what out has. */
static vv_status decode_part(vv_slice chunk, int64_t from, int64_t to, series_columns *out,
                             vv_error *err)
{
    uint32_t before = out->count;
    vv_status st = series_chunk_decode(chunk, out, err);
    if (st != VV_OK)
        return st;
    series_samples all = series_columns_view(out);
    series_samples mine = series_samples_part(&all, before, all.count - before);
    uint32_t lo = series_samples_find(&mine, from);
    uint32_t hi = series_samples_find(&mine, to);
    if (lo > 0) { /* those in front of the range are taken out */
        series_columns kept = *out;
        size_t size = series_value_size(out->type);
        kept.time += before;
        kept.value = (uint8_t *)kept.value + before * size;
        kept.quality += before;
        kept.count = hi;
        series_columns_drop(&kept, lo < hi ? lo : hi);
    }
    out->count = before + (hi > lo ? hi - lo : 0);
    return VV_OK;
}

vv_status series_set_decode(vv_slice bytes, int64_t from, int64_t to, series_columns *out,
                            vv_error *err)
{
    series_set set = {0};
    vv_slice chunk = {0};
    series_head head = {0};
    vv_status st = series_set_open(bytes, &set, err);
    bool any = false;
    int64_t last = 0;
    if (st == VV_OK && set.erase_count > 0)
        return malformed("it is an operand where a value belongs", err);
    while (st == VV_OK && (st = series_set_next(&set, &chunk, &head, err)) == VV_OK) {
        if (any && head.first_time <= last)
            return malformed("its chunks are not in order", err);
        any = true;
        last = head.last_time;
        if (head.first_time < to && head.last_time >= from)
            st = decode_part(chunk, from, to, out, err);
    }
    return st == VV_NOT_FOUND ? VV_OK : st;
}
