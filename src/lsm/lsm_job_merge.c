/*
 * lsm_job_merge.c - what a flush or compaction keeps, and where it cuts its files.
 *
 * For one key, versions newest first, these go:
 *   - a version that no reader can tell from the next newer one, range deletions included;
 *   - a deletion when nothing older lies beneath it and no reader is older than it.
 * A put that has expired for every reader becomes a deletion of the same version. Merges take in
 * what is older: lsm_job_fold.c.
 *
 * The output is a set of disjoint files. A file ends only between two keys; it takes the range
 * deletions of its part of the key space, from its first key (the first file: from the start) to
 * the next file's first key, cut at those borders.
 */
#include <inttypes.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/point.h"
#include "base/util.h"
#include "lsm/lsm_filter.h"
#include "lsm/lsm_job_int.h"

#define PIECE_BYTES (1 * VV_MIB)
#define WRITE_SIZE (1 * VV_MIB)

/* ---- what lies beneath ---- */

/* Levels of the view below the output, from the newest. The inputs' own are merged, not beneath. */
static uint32_t first_beneath(const lsm_job *job)
{
    if (job->mem_count > 0)
        return 0;
    uint32_t i = 0;
    while (i < job->view->level_count && job->view->level[i]->number <= job->output)
        i++;
    return i;
}

bool lsm_job_is_key_bottom(const lsm_job *job, vv_slice key)
{
    if (VV_BUG(11))
        return true;
    for (uint32_t i = first_beneath(job); i < job->view->level_count; i++)
        if (lsm_level_find(job->view->level[i], key) != NULL)
            return false;
    return true;
}

static bool is_range_bottom(const lsm_job *job, const engine_range *r)
{
    for (uint32_t i = first_beneath(job); i < job->view->level_count; i++)
        if (lsm_level_overlaps(job->view->level[i], r->start, r->end))
            return false;
    return true;
}

/* ---- what is kept ---- */

/* Does a reader see this version, not hidden by a range deletion of the inputs? */
static bool is_needed(const lsm_job *job, const engine_item *item, int64_t newer)
{
    const engine_readers *r = &job->readers;
    int64_t v = item->version;
    if (!engine_readers_need(r, v, newer))
        return false;
    if (job->cover == NULL)
        return true;
    int64_t first = v > r->floor.version ? v : r->floor.version;
    if ((newer < 0 || first < newer) && engine_rangedels_cover(job->cover, item->key, first) <= v)
        return true;
    for (size_t i = 0; i < r->pin_count; i++) {
        int64_t pin = r->pins[i];
        if (pin >= v && (newer < 0 || pin < newer) &&
            engine_rangedels_cover(job->cover, item->key, pin) <= v)
            return true;
    }
    return false;
}

/* A put that no reader sees alive any more, nor a merge above it. */
static bool has_expired(const lsm_job *job, const engine_item *item)
{
    const engine_readers *r = &job->readers;
    bool is_put = item->kind == ENGINE_PUT || item->kind == ENGINE_APART;
    return is_put && item->expires_ns != 0 && item->expires_ns <= r->floor.time_ns &&
           item->expires_ns <= r->pin_time && !job->is_merged_above &&
           item->expires_ns <= job->merge_time;
}

/* Write a needed version, unless it is a deletion of nothing. */
static vv_status write_needed(lsm_job *job, engine_item *item, bool is_first, vv_error *err)
{
    if (item->kind == ENGINE_MERGE)
        return lsm_job_fold_begin(job, item, is_first, err);
    if (has_expired(job, item)) {
        item->kind = ENGINE_DELETE;
        item->value = (vv_slice){0};
        item->expires_ns = 0;
    }
    job->is_merged_above = false;
    if (item->kind == ENGINE_DELETE && engine_readers_are_above(&job->readers, item->version) &&
        lsm_job_is_key_bottom(job, item->key))
        return VV_OK;
    return lsm_job_write(job, item, is_first, err);
}

static vv_status enter_key(lsm_job *job, vv_slice key, vv_error *err)
{
    vv_status st = lsm_job_fold_end(job, err); /* of the key before */
    memcpy(job->key, key.data, key.len);
    job->key_len = key.len;
    job->has_key = true;
    job->is_merged_above = false;
    return st == VV_OK ? lsm_job_enter_table(job, engine_key_table(key), err) : st;
}

/* Keep, fold or leave out the next version. */
static vv_status take_item(lsm_job *job, engine_item *item, vv_error *err)
{
    bool is_first = !job->has_key || job->key_len != item->key.len ||
                    memcmp(job->key, item->key.data, job->key_len) != 0;
    int64_t newer = is_first ? -1 : job->newer;
    vv_status st = is_first ? enter_key(job, item->key, err) : VV_OK;
    if (st != VV_OK)
        return st;
    bool same_version = item->version == newer; /* beneath a merge of the same entry */
    job->newer = item->version;
    bool needed = !same_version && is_needed(job, item, newer);
    if (job->waiting.is_there) {
        bool taken = false;
        st = lsm_job_fold_older(job, item, needed, &taken, err);
        if (st != VV_OK || taken)
            return st;
    }
    return needed ? write_needed(job, item, is_first, err) : VV_OK;
}

/* ---- range deletions ---- */

static size_t all_ranges(const lsm_job *job, engine_range *out)
{
    size_t n = 0;
    for (uint32_t i = 0; i < job->merge.total; i++) {
        const engine_rangedels *set = job->merge.heap[i]->rangedels;
        for (size_t j = 0; j < engine_rangedels_count(set); j++, n++)
            if (out != NULL)
                out[n] = *engine_rangedels_at(set, j);
    }
    return n;
}

/* Leave out the ranges that hide nothing any more. */
static vv_status drop_bottom_ranges(lsm_job *job, vv_error *err)
{
    size_t kept = 0;
    for (size_t i = 0; i < job->range_count; i++) {
        const engine_range *r = &job->ranges[i];
        vv_status st = engine_readers_enter(&job->readers, engine_key_table(r->start), err);
        if (st != VV_OK)
            return st;
        if (!lsm_range_spans_tables(r) && engine_readers_are_above(&job->readers, r->version) &&
            is_range_bottom(job, r))
            continue;
        job->ranges[kept++] = *r;
    }
    job->range_count = kept;
    return VV_OK;
}

static vv_status plan_ranges(lsm_job *job, vv_error *err)
{
    size_t count = all_ranges(job, NULL);
    if (count == 0)
        return VV_OK;
    engine_range *all = vv_calloc(count, sizeof *all);
    if (all == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for %zu range deletions", count);
    (void)all_ranges(job, all);
    vv_status st = engine_rangedels_build(all, count, &job->cover, err);
    if (st == VV_OK)
        st = lsm_ranges_reduce(&job->readers, all, count, &job->ranges, &job->range_count, err);
    vv_free(all);
    return st == VV_OK ? drop_bottom_ranges(job, err) : st;
}

vv_status lsm_job_begin_merge(lsm_job *job, engine_source **sources, uint32_t count, vv_error *err)
{
    job->merging = true;
    vv_status st = engine_merge_init(&job->merge, sources, count, err);
    return st == VV_OK ? plan_ranges(job, err) : st;
}

/* Hand the current file the ranges of its part, which ends before `end` (NULL: at the end). */
static vv_status write_ranges(lsm_job *job, const vv_slice *end, vv_error *err)
{
    vv_slice begin = vv_slice_of(job->cut, job->cut_len);
    for (size_t i = job->range_from; i < job->range_count; i++) {
        engine_range r = job->ranges[i];
        if (end != NULL && vv_slice_cmp(r.start, *end) >= 0)
            break;
        if (vv_slice_cmp(r.start, begin) < 0)
            r.start = begin;
        if (end != NULL && vv_slice_cmp(r.end, *end) > 0)
            r.end = *end;
        if (vv_slice_cmp(r.start, r.end) >= 0)
            continue;
        vv_status st = lsm_writer_add_range(job->writer, &r, err);
        if (st != VV_OK)
            return st;
    }
    while (end != NULL && job->range_from < job->range_count &&
           vv_slice_cmp(job->ranges[job->range_from].end, *end) <= 0)
        job->range_from++;
    return VV_OK;
}

static bool has_ranges_left(const lsm_job *job)
{
    for (size_t i = job->range_from; i < job->range_count; i++)
        if (vv_slice_cmp(job->ranges[i].end, vv_slice_of(job->cut, job->cut_len)) > 0)
            return true;
    return false;
}

/* ---- files ---- */

/* Of a flush: go on to the table, or part of one, that the next key belongs to. */
static void enter_part(lsm_job *job, vv_slice key)
{
    while (job->part + 1 < job->size_count &&
           vv_slice_cmp(key, job->sizes[job->part + 1].first) >= 0)
        job->part++;
}

static bool is_large(const lsm_job *job, uint32_t part)
{
    return part < job->size_count && job->sizes[part].bytes > LSM_LARGE_TABLE;
}

/* Where a part's items go. Tables that share a run of a flush are small: level 0. */
static uint32_t level_now(const lsm_job *job)
{
    return job->part < job->size_count ? job->sizes[job->part].level : job->output;
}

static vv_status open_file(lsm_job *job, vv_error *err)
{
    lsm_engine *e = job->e;
    uint32_t level = level_now(job);
    job->form = lsm_form_of(e, job->table, level);
    lsm_writer_options opt = {
        .store = &e->store,
        .group = level == 0 ? job->group : 0,
        .level = level,
        .is_flush = job->mem_count > 0,
        .block_size = job->form.block_size,
        .trainer = &job->trainer,
        .buffer_size = (size_t)vv_min_u64(vv_min_u64(WRITE_SIZE, e->opt.work_size / 4),
                                          e->opt.target_file_size / 4 + 1),
        .filter_bits = level == 0 ? LSM_FILTER_BITS_YOUNG : LSM_FILTER_BITS,
        .is_bulk = job->is_bulk,
    };
    vv_status st = lsm_manifest_new_id(&e->manifest, &opt.id, err);
    if (st != VV_OK)
        return st;
    job->writer_id = opt.id;
    st = lsm_writer_open(&opt, &job->writer, err);
    if (st == VV_OK)
        st = lsm_writer_enter_table(job->writer, job->table, &job->form, err);
    return st;
}

static vv_status grow_files(lsm_job *job, vv_error *err)
{
    if (job->file_count < job->file_cap)
        return VV_OK;
    uint32_t cap = job->file_cap == 0 ? 8 : job->file_cap * 2;
    lsm_meta *metas = vv_realloc(job->metas, cap * sizeof *metas);
    if (metas != NULL)
        job->metas = metas;
    lsm_run **runs = vv_realloc(job->runs, cap * sizeof(lsm_run *));
    if (runs != NULL)
        job->runs = runs;
    lsm_prefill *prefills = vv_realloc(job->prefills, cap * sizeof *prefills);
    if (prefills != NULL)
        job->prefills = prefills;
    if (metas == NULL || runs == NULL || prefills == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for %u runs", cap);
    job->file_cap = cap;
    return VV_OK;
}

/* When its newest data was flushed: a merge makes nothing younger. Of interest only to a tier. */
static int64_t born_of(const lsm_job *job)
{
    if (!lsm_has_policy(job->e))
        return 0;
    int64_t born = job->input_count == 0 ? vv_clock_wall(job->e->opt.env->clock) : 0;
    for (uint32_t i = 0; i < job->input_count; i++)
        if (job->inputs[i]->meta.born_ns > born)
            born = job->inputs[i]->meta.born_ns;
    return born;
}

vv_status lsm_job_finish_file(lsm_job *job, const vv_slice *end, vv_error *err)
{
    vv_status st = grow_files(job, err);
    if (st == VV_OK && job->writer == NULL && end == NULL && has_ranges_left(job))
        st = open_file(job, err); /* nothing but range deletions */
    if (st != VV_OK || job->writer == NULL)
        return st;
    st = write_ranges(job, end, err);
    lsm_meta meta = {0};
    if (st == VV_OK)
        st = lsm_writer_finish(job->writer, &meta, err);
    if (st != VV_OK)
        return st; /* destroy removes the file */
    lsm_writer_take_prefill(job->writer, &job->prefills[job->file_count]);
    meta.born_ns = born_of(job);
    job->metas[job->file_count++] = meta;
    job->written_bytes += meta.size;
    if (!VV_BUG(8))
        st = lsm_writer_sync(job->writer, err);
    VV_POINT("lsm.run.synced");
    lsm_writer_close(job->writer);
    job->writer = NULL;
    if (st == VV_OK && end != NULL) {
        memcpy(job->cut, end->data, end->len);
        job->cut_len = end->len;
    }
    return st;
}

/* Is this the place to cut before key, the first version of a new key, behind one of that part? */
static bool is_cut(const lsm_job *job, vv_slice key, uint32_t part)
{
    if (lsm_writer_size(job->writer) >= job->e->opt.target_file_size)
        return true;
    if (part != job->part && (is_large(job, part) || is_large(job, job->part)))
        return true;
    uint32_t table = engine_key_table(key);
    if (table == job->table)
        return false;
    if (lsm_has_policy(job->e) && job->table < job->e->opt.tier->first_table &&
        table >= job->e->opt.tier->first_table)
        return true; /* the one stays, the other may go */
    return job->mem_count == 0 && lsm_writer_size(job->writer) > LSM_LARGE_TABLE;
}

static vv_status enter_writer_table(lsm_job *job, vv_error *err)
{
    return lsm_writer_enter_table(job->writer, job->table, &job->form, err);
}

/* The block of the item at hand, mostly the one that is written: the writer compares. */
static void lend_block(lsm_job *job)
{
    pgc_file *file = NULL;
    uint32_t block = 0;
    bool is_alone =
        job->merging && job->merge.count > 0 && lsm_source_block(job->merge.heap[0], &file, &block);
    lsm_writer_lend(job->writer, is_alone ? file : NULL, block);
}

vv_status lsm_job_write(lsm_job *job, const engine_item *item, bool is_first, vv_error *err)
{
    vv_status st = VV_OK;
    uint32_t part = job->part;
    if (is_first)
        enter_part(job, item->key);
    if (job->writer != NULL && is_first && is_cut(job, item->key, part))
        st = lsm_job_finish_file(job, &item->key, err);
    uint32_t table = engine_key_table(item->key);
    bool same_table = table == job->table;
    if (!same_table || job->writer == NULL)
        job->form = lsm_form_of(job->e, table, level_now(job));
    job->table = table;
    if (st == VV_OK && job->writer == NULL)
        st = open_file(job, err);
    else if (st == VV_OK && !same_table)
        st = enter_writer_table(job, err);
    uint8_t ref[LSM_VALUE_REF];
    engine_item placed = *item;
    if (st == VV_OK)
        st = lsm_job_place_value(job, &placed, ref, err);
    if (st != VV_OK)
        return st;
    lend_block(job);
    return lsm_writer_add(job->writer, &placed, err);
}

vv_status lsm_job_merge_piece(lsm_job *job, bool *end, vv_error *err)
{
    const engine_item *next;
    uint64_t bytes = 0;
    *end = false;
    /* Small memtables mean small steps everywhere: writes come in between in tests too. */
    uint64_t piece = vv_min_u64(PIECE_BYTES, job->e->opt.memtable_size / 4);
    while ((next = engine_merge_item(&job->merge)) != NULL && bytes <= piece) {
        engine_item item = *next;
        bytes += item.key.len + item.value.len + 16;
        vv_status st = take_item(job, &item, err);
        if (st == VV_OK)
            st = engine_merge_next(&job->merge, err);
        if (st != VV_OK)
            return st;
    }
    job->read_bytes += bytes;
    if (next != NULL)
        return VV_OK;
    *end = true;
    vv_status st = lsm_job_fold_end(job, err);
    if (st == VV_OK)
        st = lsm_job_finish_file(job, NULL, err);
    return st == VV_OK ? lsm_job_finish_values(job, err) : st;
}
