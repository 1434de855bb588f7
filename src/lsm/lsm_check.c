/*
 * lsm_check.c - every byte and every invariant of a store, each fault a sentence.
 *
 *   a run      footer and sections against the manifest; each block's sum, structure and order;
 *              separators, bounds, counts and filter against the entries
 *   a level    runs are disjoint (lsm_level_create refuses others)
 *   the whole  for each key, versions fall from newer levels to older ones
 *
 * A file in an object store is verified as that one knows it (there, its size and sum); its blocks
 * only where the tier asks for it (engine_tier.check_whole), and then as those of a local run.
 * Without an object store its side file is all that is looked at.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/util.h"
#include "engine/operand.h"
#include "engine/report.h"
#include "lsm/lsm_filter.h"
#include "lsm/lsm_int.h"
#include "lsm/lsm_remote.h"
#include "lsm/lsm_run_format.h"
#include "lsm/lsm_value.h"

/* What the entries of a run add up to. */
typedef struct tally {
    lsm_meta sum;
    uint8_t last[ENGINE_KEY_MAX];
    size_t last_len;
    int64_t last_version;
    uint64_t value_bytes; /* in value files */
} tally;

static void check_entry(engine_report *r, const lsm_run *run, uint32_t block,
                        const engine_item *item, tally *t)
{
    uint64_t id = run->meta.id;
    vv_slice last = vv_slice_of(t->last, t->last_len);
    int c = t->sum.entries == 0 ? -1 : vv_slice_cmp(last, item->key);
    if (c > 0 || (c == 0 && item->version >= t->last_version))
        engine_report_say(r, "run %" PRIu64 ": block %u: entries out of order", id, block);
    if (vv_slice_cmp(item->key, run->meta.lower) < 0 ||
        vv_slice_cmp(item->key, run->meta.upper) >= 0)
        engine_report_say(r, "run %" PRIu64 ": block %u: a key outside of the run's bounds", id,
                          block);
    if (lsm_fence_find(&run->fence, item->key, item->version) != block)
        engine_report_say(r, "run %" PRIu64 ": block %u: the index looks for a key elsewhere", id,
                          block);
    if (item->kind == ENGINE_APART)
        t->value_bytes += lsm_value_size(lsm_value_ref_of(item->value).len);
    uint64_t hash = vv_hash64(item->key.data, item->key.len);
    if (c != 0 && !lsm_filter_test(lsm_filter_line(run->filter, run->filter_lines, hash), hash))
        engine_report_say(r, "run %" PRIu64 ": block %u: the filter does not know a key", id,
                          block);
    t->sum.entries++;
    t->sum.deletes += item->kind == ENGINE_DELETE;
    if (item->kind == ENGINE_MERGE) {
        vv_slice steps = item->value;
        t->sum.merges++;
        if (steps.len < ENGINE_OPERAND_TIME ||
            !engine_steps_are_valid(
                vv_slice_of(steps.data + ENGINE_OPERAND_TIME, steps.len - ENGINE_OPERAND_TIME)))
            engine_report_say(r, "run %" PRIu64 ": block %u: a merge without valid steps", id,
                              block);
        if (engine_operand_time(steps) < run->meta.merge_time)
            engine_report_say(r, "run %" PRIu64 ": block %u: a merge earlier than the footer says",
                              id, block);
    }
    t->sum.raw_bytes += item->key.len + item->value.len;
    t->sum.version_min = item->version < t->sum.version_min ? item->version : t->sum.version_min;
    t->sum.version_max = item->version > t->sum.version_max ? item->version : t->sum.version_max;
    memcpy(t->last, item->key.data, item->key.len);
    t->last_len = item->key.len;
    t->last_version = item->version;
}

/* Its bytes are to be looked at: it is local, or objects are read too. */
static bool is_read(lsm_store *s, uint64_t file)
{
    return !lsm_remote_find(s, file, NULL) || lsm_remote_checks_whole(s);
}

/* What the object store says of a file's object. */
static vv_status check_object(engine_report *r, lsm_store *s, uint64_t file, vv_error *err)
{
    vv_error why;
    lsm_object object;
    if (lsm_remote_objects(s) == NULL || !lsm_remote_find(s, file, &object))
        return VV_OK;
    vv_status st = lsm_upload_verify(s, &object, lsm_remote_checks_whole(s), &why);
    return engine_report_absorb(r, st, &why, err);
}

static vv_status check_value(engine_report *r, const lsm_run *run, const engine_item *item,
                             vv_error *err)
{
    vv_error why;
    vv_buf value;
    if (!is_read(run->store, lsm_value_ref_of(item->value).file))
        return VV_OK;
    vv_buf_init(&value, ENGINE_VALUE_MAX + 64u);
    vv_status st = lsm_value_load(run->store, item->value, &value, &why);
    vv_buf_fini(&value);
    return engine_report_absorb(r, st, &why, err);
}

static uint64_t named_value_bytes(const lsm_meta *m)
{
    vv_slice uses = m->values;
    lsm_value_use use;
    uint64_t bytes = 0;
    while (lsm_value_use_next(&uses, &use))
        bytes += use.bytes;
    return bytes;
}

static vv_status check_blocks(engine_report *r, lsm_run *run, tally *t, vv_error *err)
{
    uint8_t key[LSM_KEY_BUF];
    for (uint32_t b = 0; b < run->block_count; b++) {
        vv_error why;
        pgc_frame *frame = NULL;
        vv_status st = lsm_run_read_block(run, b, &frame, &why);
        if (st != VV_OK) {
            st = engine_report_absorb(r, st, &why, err);
            if (st != VV_OK)
                return st;
            continue;
        }
        uint8_t *p = pgc_data(frame);
        /* A reader relies on the sum of what is stored; here the raw form is summed too. */
        lsm_run_place_version(run, p, 0);
        bool is_whole = lsm_block_sum(p, lsm_block_used(p), run->meta.id, b) == vv_get_le64(p);
        lsm_run_place_version(run, p, run->meta.version_min);
        if (!is_whole)
            engine_report_say(r,
                              "run %" PRIu64 ": block %u: the sum of its raw form does not match",
                              run->meta.id, b);
        lsm_block_load_prefix(p, key);
        for (unsigned i = 0; i < lsm_block_count(p); i++) {
            engine_item item;
            lsm_block_item(p, i, key, &item);
            check_entry(r, run, b, &item, t);
            if (st == VV_OK && item.kind == ENGINE_APART)
                st = check_value(r, run, &item, err);
        }
        pgc_unpin(frame);
        if (st != VV_OK)
            return st;
    }
    return VV_OK;
}

static void check_ranges(engine_report *r, const lsm_run *run, tally *t)
{
    for (size_t i = 0; i < engine_rangedels_count(run->rangedels); i++) {
        const engine_range *range = engine_rangedels_at(run->rangedels, i);
        if (vv_slice_cmp(range->start, run->meta.lower) < 0 ||
            vv_slice_cmp(range->end, run->meta.upper) > 0)
            engine_report_say(r, "run %" PRIu64 ": a range deletion outside of the run's bounds",
                              run->meta.id);
        t->sum.ranges++;
        if (range->version < t->sum.version_min)
            t->sum.version_min = range->version;
        if (range->version > t->sum.version_max)
            t->sum.version_max = range->version;
    }
}

static vv_status check_run(engine_report *r, lsm_run *run, vv_error *err)
{
    const lsm_meta *m = &run->meta;
    uint64_t before = r->count;
    vv_error why;
    lsm_run *again = NULL; /* footer, index, filter and ranges as they are on disk now */
    vv_status st = lsm_run_open(run->store, m->id, m, &again, &why);
    lsm_run_unref(again);
    st = engine_report_absorb(r, st, &why, err);
    tally t = {.sum = {.version_min = INT64_MAX}};
    if (st == VV_OK)
        st = check_object(r, run->store, m->id, err);
    bool is_whole = is_read(run->store, m->id);
    if (st == VV_OK && is_whole)
        st = check_blocks(r, run, &t, err);
    if (st != VV_OK || r->count > before || !is_whole)
        return st; /* counts of a damaged run say nothing new */
    check_ranges(r, run, &t);
    if (t.value_bytes != named_value_bytes(m))
        engine_report_say(r,
                          "run %" PRIu64 ": the manifest counts %" PRIu64
                          " bytes in value files, it has %" PRIu64,
                          m->id, named_value_bytes(m), t.value_bytes);
    if (t.sum.entries != m->entries || t.sum.deletes != m->deletes || t.sum.ranges != m->ranges ||
        t.sum.raw_bytes != m->raw_bytes || t.sum.merges != m->merges ||
        t.sum.version_min != m->version_min || t.sum.version_max != m->version_max)
        engine_report_say(r, "run %" PRIu64 ": its counts or versions do not match the footer",
                          m->id);
    return VV_OK;
}

/* For each key, versions fall from newer levels to older ones. */
static vv_status check_order(engine_report *r, lsm_view *view, vv_error *err)
{
    engine_source **sources = vv_calloc(view->level_count, sizeof(engine_source *));
    if (sources == NULL)
        return vv_fail(err, VV_NO_MEMORY, "check: no memory for %u levels", view->level_count);
    uint32_t count = 0;
    vv_status st = VV_OK;
    for (uint32_t i = 0; st == VV_OK && i < view->level_count; i++) {
        st = lsm_source_create(view->level[i], LSM_SCAN_SIZE, &sources[count], err);
        count += st == VV_OK;
    }
    engine_merge m = {0};
    if (st == VV_OK) {
        st = engine_merge_init(&m, sources, count, err);
        count = 0; /* taken */
    }
    for (uint32_t i = 0; i < count; i++)
        engine_source_close(sources[i]);
    vv_free(sources);
    uint8_t key[ENGINE_KEY_MAX];
    size_t key_len = SIZE_MAX;
    uint32_t rank = 0;
    const engine_item *item;
    while (st == VV_OK && (item = engine_merge_item(&m)) != NULL) {
        bool same = item->key.len == key_len && memcmp(key, item->key.data, key_len) == 0;
        if (same && m.rank[0] < rank)
            engine_report_say(r, "a key has an older version in a newer level (table %u)",
                              engine_key_table(item->key));
        memcpy(key, item->key.data, item->key.len);
        key_len = item->key.len;
        rank = m.rank[0];
        st = engine_merge_next(&m, err);
    }
    engine_merge_fini(&m);
    return st;
}

/* The objects of value files; *all_read: no file was passed over. */
static vv_status check_value_objects(engine_report *r, lsm_engine *e, bool *all_read, vv_error *err)
{
    lsm_object *objects = NULL;
    uint32_t count = 0;
    vv_status st = lsm_manifest_objects(&e->manifest, &objects, &count, err);
    for (uint32_t i = 0; st == VV_OK && i < count; i++) {
        *all_read &= is_read(&e->store, objects[i].id);
        if (objects[i].is_values && objects[i].is_named)
            st = check_object(r, &e->store, objects[i].id, err);
    }
    vv_free(objects);
    return st;
}

static vv_status check_view(engine_report *r, lsm_engine *e, lsm_view *view, vv_error *err)
{
    bool all_read = true;
    vv_status checked = check_value_objects(r, e, &all_read, err);
    if (checked != VV_OK)
        return checked;
    for (uint32_t i = 0; i < view->level_count; i++)
        for (uint32_t j = 0; j < view->level[i]->run_count; j++) {
            vv_status st = check_run(r, view->level[i]->run[j], err);
            if (st != VV_OK)
                return st;
        }
    if (r->count > 0 || !all_read)
        return VV_OK; /* a merge would stop at the damage */
    return check_order(r, view, err);
}

static vv_status verdict(const engine_report *r, vv_status st, vv_error *err)
{
    if (st != VV_OK || r->count == 0)
        return st;
    return vv_fail(err, VV_CORRUPT, "%" PRIu64 " findings", r->count);
}

vv_status lsm_check(engine *base, void (*finding)(void *ctx, const char *text), void *ctx,
                    vv_error *err)
{
    lsm_engine *e = lsm_engine_of(base);
    engine_report r = {.finding = finding, .ctx = ctx};
    lsm_view *view = lsm_view_acquire(e);
    vv_status st = check_view(&r, e, view, err);
    lsm_view_release(e, view);
    return verdict(&r, st, err);
}

vv_status lsm_check_dir(vv_env *env, const char *dir, uint32_t shard, const engine_tier *tier,
                        void (*finding)(void *ctx, const char *text), void *ctx, vv_error *err)
{
    engine_report r = {.finding = finding, .ctx = ctx};
    engine_options opt = {.env = env,
                          .dir = dir,
                          .shard = shard,
                          .memtable_size = VV_MIB,
                          .cache_size = VV_MIB,
                          .tier = tier,
                          .read_only = true};
    vv_error why;
    engine *e = NULL;
    vv_status st = lsm_ops.open(&opt, &e, &why);
    if (st != VV_OK) {
        st = engine_report_absorb(&r, st, &why, err);
        return verdict(&r, st, err);
    }
    st = lsm_check(e, finding, ctx, err);
    lsm_ops.close(e);
    return st;
}
