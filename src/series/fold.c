/*
 * fold.c - sets of one bucket joined.
 *
 *   push      newest ... oldest: each chunk is noted by its head, nothing is decoded; one that an
 *             erased range of a newer set cuts is decoded and written anew, without what is erased
 *   settle    oldest first, sorted by first time: chunks that touch form a cluster
 *             a lone chunk of good length goes out as it is, a small one waits for its neighbour;
 *             in a file two neighbours that fit into one chunk are joined. A cluster is decoded
 *             oldest first, sorted stably, the last of one time stays
 *
 * So a thousand small appends in a row cost one pass; a late one costs the chunk it falls into.
 *
 * Memory: a set says how many samples it has, at most SERIES_SET_WEIGHT_MAX; when what was pushed
 * passes twice that, it is settled into one set, from which the fold goes on.
 */
#include "series/fold.h"

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/point.h"
#include "base/varint.h"
#include "series/series_int.h"

#define SEALED_MIN (SERIES_CHUNK_MAX / 2) /* samples: a chunk of good length */
#define OUT_MAX (UINT32_C(64) * 1024 * 1024)
#define REWRITTEN_MAX ((size_t)256 * 1024 * 1024)

typedef struct chunk_ref {
    vv_slice bytes;
    series_head head;
    uint32_t set; /* 0: the newest */
} chunk_ref;

struct series_fold {
    series_type type;
    uint32_t set_count;
    uint64_t weight;
    chunk_ref *ref;
    uint32_t ref_count;
    uint32_t ref_cap;
    series_range *erased; /* by all sets so far: sorted, apart */
    uint32_t erased_count;
    uint32_t erased_cap;
    vv_arena rewritten; /* chunks that were cut by an erased range */
    vv_buf settled[2];  /* what was settled on the way, by turns */
    unsigned settled_turn;

    /* settling */
    series_form form;
    series_scratch scratch;
    series_columns waiting; /* decoded, to be written */
    const chunk_ref *alone; /* or one chunk that may yet go out as it is */
    vv_buf chunks;          /* written */
    uint32_t chunk_count;
    uint64_t out_weight;
    void *work; /* of the sort of places */
    size_t work_size;
    series_fold_stats stats;
};

static vv_status no_memory(vv_error *err)
{
    return vv_fail(err, VV_NO_MEMORY, "series: no memory to join sets of samples");
}

series_fold *series_fold_create(void)
{
    series_fold *f = vv_calloc(1, sizeof *f);
    if (f == NULL)
        return NULL;
    vv_arena_init(&f->rewritten, REWRITTEN_MAX);
    vv_buf_init(&f->settled[0], OUT_MAX);
    vv_buf_init(&f->settled[1], OUT_MAX);
    vv_buf_init(&f->chunks, OUT_MAX);
    series_scratch_init(&f->scratch);
    series_columns_init(&f->waiting);
    return f;
}

void series_fold_destroy(series_fold *f)
{
    if (f == NULL)
        return;
    vv_free(f->ref);
    vv_free(f->erased);
    vv_free(f->work);
    vv_arena_fini(&f->rewritten);
    vv_buf_fini(&f->settled[0]);
    vv_buf_fini(&f->settled[1]);
    vv_buf_fini(&f->chunks);
    series_scratch_fini(&f->scratch);
    series_columns_fini(&f->waiting);
    vv_free(f);
}

void series_fold_reset(series_fold *f)
{
    f->type = 0;
    f->set_count = 0;
    f->weight = 0;
    f->ref_count = 0;
    f->erased_count = 0;
    vv_arena_reset(&f->rewritten);
}

series_fold_stats series_fold_get_stats(const series_fold *f)
{
    return f->stats;
}

static uint64_t weight_of(const series_head *h)
{
    return (uint64_t)h->count * SERIES_SAMPLE_WEIGHT + h->text_len;
}

/* ---- erased ranges ---- */

/* Into the sorted list, joined with what it touches. */
static vv_status add_erased(series_fold *f, series_range r, vv_error *err)
{
    if (f->erased_count == f->erased_cap) {
        uint32_t cap = f->erased_cap == 0 ? 8 : f->erased_cap * 2;
        series_range *grown = vv_realloc(f->erased, cap * sizeof *grown);
        if (grown == NULL)
            return no_memory(err);
        f->erased = grown;
        f->erased_cap = cap;
    }
    uint32_t lo = 0;
    uint32_t n = f->erased_count;
    for (uint32_t hi = n; lo < hi;) { /* the first that ends at r.from or behind it */
        uint32_t mid = lo + (hi - lo) / 2;
        if (f->erased[mid].to < r.from)
            lo = mid + 1;
        else
            hi = mid;
    }
    uint32_t end = lo;
    for (; end < n && f->erased[end].from <= r.to; end++) {
        r.from = f->erased[end].from < r.from ? f->erased[end].from : r.from;
        r.to = f->erased[end].to > r.to ? f->erased[end].to : r.to;
    }
    memmove(f->erased + lo + 1, f->erased + end, (n - end) * sizeof r);
    f->erased[lo] = r;
    f->erased_count = n - (end - lo) + 1;
    return VV_OK;
}

/* ---- pushing ---- */

static vv_status add_ref(series_fold *f, vv_slice bytes, const series_head *head, vv_error *err)
{
    if (f->ref_count == f->ref_cap) {
        uint32_t cap = f->ref_cap == 0 ? 16 : f->ref_cap * 2;
        chunk_ref *grown = vv_realloc(f->ref, cap * sizeof *grown);
        if (grown == NULL)
            return no_memory(err);
        f->ref = grown;
        f->ref_cap = cap;
    }
    f->ref[f->ref_count++] = (chunk_ref){.bytes = bytes, .head = *head, .set = f->set_count};
    f->weight += weight_of(head);
    return VV_OK;
}

/* What newer sets leave of a chunk, as a RAW chunk. */
static vv_status add_cut(series_fold *f, vv_slice chunk, vv_error *err)
{
    series_columns *c = &f->scratch.sorted;
    series_columns_clear(c);
    vv_status st = series_chunk_decode(chunk, c, err);
    if (st != VV_OK)
        return st;
    f->stats.chunks_decoded++;
    series_columns_erase(c, 0, f->erased,
                         VV_BUG(89) ? 0 : f->erased_count); /* stays in cut chunks */
    if (c->count == 0)
        return VV_OK;
    series_samples left = series_columns_view(c);
    series_head head;
    vv_buf_reset(&f->chunks);
    series_chunk_encode(&left, SERIES_RAW, NULL, &f->chunks);
    if (f->chunks.status != VV_OK)
        return no_memory(err);
    vv_slice bytes = vv_arena_dup(&f->rewritten, vv_buf_slice(&f->chunks));
    if (bytes.data == NULL)
        return no_memory(err);
    st = series_chunk_head(bytes, &head, err);
    return st == VV_OK ? add_ref(f, bytes, &head, err) : st;
}

static vv_status add_chunk(series_fold *f, vv_slice chunk, const series_head *head, vv_error *err)
{
    bool whole = false;
    f->stats.chunks_in++;
    if (f->type == 0)
        f->type = head->type;
    if (head->type != f->type)
        return VV_OK; /* what is newer says what the series is */
    if (!series_ranges_touch(f->erased, f->erased_count, head->first_time, head->last_time, &whole))
        return add_ref(f, chunk, head, err);
    return whole ? VV_OK : add_cut(f, chunk, err);
}

static vv_status settle(series_fold *f, series_form form, vv_error *err);

/* What was pushed becomes one set of its own, the only one. */
static vv_status shorten(series_fold *f, vv_error *err)
{
    vv_buf *to = &f->settled[f->settled_turn];
    vv_status st = settle(f, SERIES_RAW, err);
    if (st != VV_OK)
        return st;
    vv_buf_reset(to);
    series_set_put(f->chunk_count, NULL, 0, &f->chunks, to);
    if (to->status != VV_OK)
        return no_memory(err);
    f->settled_turn ^= 1;
    f->ref_count = 0;
    f->weight = 0;
    vv_arena_reset(&f->rewritten);
    series_set set;
    vv_slice chunk;
    series_head head = {0};
    st = series_set_open(vv_buf_slice(to), &set, err);
    while (st == VV_OK && (st = series_set_next(&set, &chunk, &head, err)) == VV_OK)
        st = add_ref(f, chunk, &head, err);
    f->set_count++;
    return st == VV_NOT_FOUND ? VV_OK : st;
}

/* One walk: what a set says is added up on the way. */
static vv_status add_chunks(series_fold *f, series_set *set, vv_error *err)
{
    vv_slice chunk;
    series_head head = {0};
    uint64_t weight = 0;
    vv_status st;
    while ((st = series_set_next(set, &chunk, &head, err)) == VV_OK) {
        weight += weight_of(&head);
        if (weight > SERIES_SET_WEIGHT_MAX)
            return vv_fail(err, VV_CORRUPT, "series: a set says that it has more than %u bytes",
                           SERIES_SET_WEIGHT_MAX);
        st = add_chunk(f, chunk, &head, err);
        if (st != VV_OK)
            return st;
    }
    return st == VV_NOT_FOUND ? VV_OK : st;
}

vv_status series_fold_push(series_fold *f, vv_slice bytes, vv_error *err)
{
    series_set set;
    vv_status st = series_set_open(bytes, &set, err);
    if (st == VV_OK)
        st = add_chunks(f, &set, err);
    for (uint32_t i = 0; st == VV_OK && i < set.erase_count; i++)
        st = add_erased(f, series_set_erased(&set, i), err);
    f->set_count++;
    if (st == VV_OK && f->weight > 2 * (uint64_t)SERIES_SET_WEIGHT_MAX)
        st = shorten(f, err);
    return st;
}

/* ---- settling ---- */

/* Room in the set for samples that weigh so much. */
static bool takes(series_fold *f, const series_head *head, uint64_t weight)
{
    if (f->out_weight + weight > SERIES_SET_WEIGHT_MAX) {
        f->out_weight = SERIES_SET_WEIGHT_MAX; /* nothing behind it in time, either */
        f->stats.samples_cut += head->count;
        return false;
    }
    f->out_weight += weight;
    return true;
}

static vv_status write_waiting(series_fold *f, bool all, vv_error *err)
{
    series_columns *c = &f->waiting;
    codec_scratch *codec = f->form == SERIES_RAW ? NULL : series_scratch_codec(&f->scratch);
    if (f->form != SERIES_RAW && codec == NULL)
        return no_memory(err);
    /* Enough stays that the last two chunks can be of one length. */
    uint32_t n = c->count;
    if (!all)
        n = n < SERIES_CHUNK_MAX * 5 / 2
                ? 0
                : (n - SERIES_CHUNK_MAX * 3 / 2) / SERIES_CHUNK_MAX * SERIES_CHUNK_MAX;
    series_samples view = series_columns_view(c);
    for (uint32_t at = 0; at < n;) {
        uint32_t most = n - at < 2 * SERIES_CHUNK_MAX ? n - at : SERIES_CHUNK_MAX;
        series_samples part = series_samples_part(&view, at, most);
        series_head head = {.count = most};
        uint64_t weight = (uint64_t)most * SERIES_SAMPLE_WEIGHT;
        for (uint32_t i = 0; part.type == SERIES_STRING && i < most; i++)
            weight += part.value.string[i].len;
        if (takes(f, &head, weight))
            f->chunk_count += series_set_cut(&part, f->form, codec, &f->chunks);
        at += most;
    }
    if (n == c->count)
        series_columns_clear(c);
    else
        series_columns_drop(c, n);
    return f->chunks.status == VV_OK ? VV_OK : no_memory(err);
}

static void write_as_is(series_fold *f, const chunk_ref *ref)
{
    if (!takes(f, &ref->head, weight_of(&ref->head)))
        return;
    vv_buf_append_varint(&f->chunks, ref->bytes.len);
    vv_buf_append_slice(&f->chunks, ref->bytes);
    f->chunk_count++;
    f->stats.chunks_passed++;
}

static vv_status decode_ref(series_fold *f, const chunk_ref *ref, vv_error *err)
{
    f->stats.chunks_decoded++;
    return series_chunk_decode(ref->bytes, &f->waiting, err);
}

/* Everything that waits goes out. */
static vv_status write_all(series_fold *f, vv_error *err)
{
    const chunk_ref *ref = f->alone;
    f->alone = NULL;
    vv_status st = VV_OK;
    if (ref != NULL && (f->form == SERIES_RAW || ref->head.form == f->form))
        write_as_is(f, ref);
    else if (ref != NULL)
        st = decode_ref(f, ref, err);
    return st == VV_OK ? write_waiting(f, true, err) : st;
}

static bool is_good_as_is(const series_fold *f, const chunk_ref *ref)
{
    bool form = f->form == SERIES_RAW ? ref->head.form != SERIES_RAW : ref->head.form == f->form;
    if (f->form == SERIES_RAW)
        return form || ref->head.count >= SEALED_MIN;
    return form && ref->head.count >= SEALED_MIN;
}

/* Do what waits and so many samples behind it make one chunk? */
static bool fits_behind(const series_fold *f, uint64_t count)
{
    uint32_t before = f->alone != NULL ? f->alone->head.count : f->waiting.count;
    return before > 0 && before + count <= SERIES_CHUNK_MAX;
}

/* Must what waits go out before so many samples come behind it? Where a chunk of good length is
 * on one side, unless both are one chunk in a file; a reader leaves such a chunk as it is. */
static bool goes_first(const series_fold *f, bool is_good, uint64_t count)
{
    bool before_good = f->alone != NULL && is_good_as_is(f, f->alone);
    if (!is_good && !before_good)
        return false;
    return f->form == SERIES_RAW || !fits_behind(f, count);
}

static vv_status take_lone(series_fold *f, const chunk_ref *ref, vv_error *err)
{
    vv_status st = VV_OK;
    if (goes_first(f, is_good_as_is(f, ref), ref->head.count))
        st = write_all(f, err);
    if (st != VV_OK)
        return st;
    if (f->alone == NULL && f->waiting.count == 0) {
        f->alone = ref;
        return VV_OK;
    }
    if (f->alone != NULL)
        st = decode_ref(f, f->alone, err);
    f->alone = NULL;
    if (st == VV_OK)
        st = decode_ref(f, ref, err);
    return st == VV_OK ? write_waiting(f, false, err) : st;
}

/* Chunks that touch: place[0..n) are their numbers, oldest set first by number. */
static vv_status take_cluster(series_fold *f, const chunk_ref *const *ref, uint32_t n,
                              vv_error *err)
{
    vv_status st = VV_OK;
    uint64_t count = 0;
    for (uint32_t i = 0; i < n; i++)
        count += ref[i]->head.count;
    if (goes_first(f, false, count))
        st = write_all(f, err);
    if (st == VV_OK && f->alone != NULL)
        st = decode_ref(f, f->alone, err);
    f->alone = NULL;
    for (uint32_t i = 0; st == VV_OK && i < n; i++)
        if (!VV_BUG(71) || i == 0)
            st = decode_ref(f, ref[i], err);
    if (st == VV_OK)
        st = series_columns_sort(&f->waiting, err);
    return st == VV_OK ? write_waiting(f, false, err) : st;
}

/* work:  what series_sort takes for all, twice | a pointer for each */
static vv_status make_work(series_fold *f, vv_error *err)
{
    size_t need = 2 * (series_sort_work(f->ref_count) + 16) + f->ref_count * sizeof(chunk_ref *);
    if (need <= f->work_size)
        return VV_OK;
    vv_free(f->work);
    f->work_size = 0;
    f->work = vv_alloc_aligned(16, need * 2);
    if (f->work == NULL)
        return no_memory(err);
    f->work_size = need * 2;
    return VV_OK;
}

/* The chunks from the oldest set to the newest, each set's in its own order. */
static void place_by_age(const series_fold *f, series_place *p)
{
    uint32_t at = 0;
    for (uint32_t end = f->ref_count; end > 0;) {
        uint32_t from = end - 1;
        while (from > 0 && f->ref[from - 1].set == f->ref[end - 1].set)
            from--;
        for (uint32_t i = from; i < end; i++)
            p[at++] = (series_place){.time = f->ref[i].head.first_time, .index = i};
        end = from;
    }
}

static bool is_older(const chunk_ref *a, const chunk_ref *b)
{
    return a->set != b->set ? a->set > b->set : a < b;
}

/* By age: they come by time. */
static void order_by_age(const series_fold *f, const chunk_ref **ref, uint32_t n, void *room)
{
    bool ordered = true;
    for (uint32_t i = 1; i < n; i++)
        ordered &= is_older(ref[i - 1], ref[i]);
    if (ordered)
        return;
    series_place *p = series_sort_places(room);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = (uint32_t)(ref[i] - f->ref);
        p[i] = (series_place){.time = -((int64_t)ref[i]->set << 32) + at, .index = at};
    }
    p = series_sort(room, n);
    for (uint32_t i = 0; i < n; i++)
        ref[i] = &f->ref[p[i].index];
}

static vv_status settle(series_fold *f, series_form form, vv_error *err)
{
    vv_status st = make_work(f, err);
    if (st != VV_OK)
        return st;
    uint32_t n = f->ref_count;
    f->form = form;
    f->alone = NULL;
    f->chunk_count = 0;
    f->out_weight = 0;
    vv_buf_reset(&f->chunks);
    series_columns_clear(&f->waiting);
    uint8_t *room = (uint8_t *)f->work + vv_align_up(series_sort_work(n), 16);
    const chunk_ref **cluster =
        (const chunk_ref **)(void *)(room + vv_align_up(series_sort_work(n), 16));
    series_place *p = series_sort_places(f->work);
    place_by_age(f, p);
    p = series_sort(f->work, n);
    for (uint32_t i = 0; st == VV_OK && i < n;) {
        const chunk_ref *ref = &f->ref[p[i].index];
        int64_t last = ref->head.last_time;
        uint32_t count = 0;
        cluster[count++] = ref;
        while (++i < n && p[i].time <= last) {
            cluster[count] = &f->ref[p[i].index];
            last = cluster[count]->head.last_time > last ? cluster[count]->head.last_time : last;
            count++;
        }
        if (count > 1)
            order_by_age(f, cluster, count, room);
        st = count == 1 ? take_lone(f, ref, err) : take_cluster(f, cluster, count, err);
    }
    return st == VV_OK ? write_all(f, err) : st;
}

vv_status series_fold_operand(series_fold *f, series_form form, vv_buf *out, vv_error *err)
{
    vv_status st = settle(f, form, err);
    if (st != VV_OK)
        return st;
    series_set_put(f->chunk_count, f->erased, f->erased_count, &f->chunks, out);
    return out->status == VV_OK ? VV_OK : no_memory(err);
}

vv_status series_fold_value(series_fold *f, series_form form, vv_buf *out, vv_error *err)
{
    vv_status st = settle(f, form, err);
    if (st != VV_OK)
        return st;
    series_set_put(f->chunk_count, NULL, 0, &f->chunks, out);
    return out->status == VV_OK ? VV_OK : no_memory(err);
}
