/*
 * lsm_job_flush.c - a flush: which memtables, and which level each table goes to.
 *
 *     frozen memtables, oldest first --> one, or several small ones
 *     tables --> level 0, or level 1 where nothing on either level lies between a table's keys
 *
 * Level 0 is rewritten on its way down; what ordered input brings overlaps nothing and would be
 * rewritten for nothing. A table may have a little beside its ordered keys, such as the producers
 * of a stream: that is a part of its own then, so that it does not take the rest with it.
 */
#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/util.h"
#include "lsm/lsm_job_int.h"

#define GROUP_KEYS_MAX 1024u /* that are looked at one by one */
#define GROUPS_MAX 16u

static vv_status add_size(lsm_job *job, const lsm_table_size *more, vv_error *err)
{
    uint32_t i = job->size_count;
    while (i > 0 && job->sizes[i - 1].table > more->table)
        i--;
    if (i > 0 && job->sizes[i - 1].table == more->table && job->mem_count > 1) {
        lsm_table_size *at = &job->sizes[i - 1];
        at->bytes += more->bytes;
        if (vv_slice_cmp(more->first, at->first) < 0)
            at->first = more->first;
        if (vv_slice_cmp(more->last, at->last) > 0)
            at->last = more->last;
        return VV_OK;
    }
    if (job->size_count == job->size_cap) {
        uint32_t cap = job->size_cap == 0 ? 16 : job->size_cap * 2;
        lsm_table_size *sizes = vv_realloc(job->sizes, cap * sizeof *sizes);
        if (sizes == NULL)
            return vv_fail(err, VV_NO_MEMORY, "flush: no memory for %u tables", cap);
        job->sizes = sizes;
        job->size_cap = cap;
    }
    memmove(job->sizes + i + 1, job->sizes + i, (job->size_count - i) * sizeof *job->sizes);
    job->sizes[i] = *more;
    job->size_count++;
    return VV_OK;
}

/* Is there room for its own file in a table? Only then are the sizes worth a walk. */
static bool has_large_tables(const lsm_job *job)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < job->mem_count; i++)
        bytes += engine_memtable_bytes(job->view->mem[job->view->mem_count - 1 - i]);
    return bytes > VV_MIB;
}

/* ---- parts of a table: its keys by their first byte ---- */

typedef struct group {
    vv_slice first;
    vv_slice last;
    uint64_t bytes;
    bool is_large; /* more than was looked at */
} group;

/* The keys from the one at hand on that have its first byte; the source goes to the next one. */
static vv_status measure_group(engine_source *src, uint32_t table, group *out, vv_error *err)
{
    uint8_t above[ENGINE_TABLE_PREFIX + 1];
    uint8_t byte = src->item.key.data[ENGINE_TABLE_PREFIX];
    vv_status st = VV_OK;
    *out = (group){.first = src->item.key};
    for (uint32_t n = 0; st == VV_OK && n < GROUP_KEYS_MAX; n++) {
        if (!src->valid || engine_key_table(src->item.key) != table ||
            src->item.key.data[ENGINE_TABLE_PREFIX] != byte)
            return VV_OK;
        out->last = src->item.key;
        out->bytes += src->item.key.len + src->item.value.len;
        st = engine_source_next(src, err);
    }
    if (st != VV_OK)
        return st;
    out->is_large = true;
    vv_put_be32(above, byte == UINT8_MAX ? table + 1 : table);
    above[ENGINE_TABLE_PREFIX] = (uint8_t)(byte + 1);
    const vv_slice end = vv_slice_of(above, byte == UINT8_MAX ? ENGINE_TABLE_PREFIX : sizeof above);
    st = engine_source_seek_below(src, end, err);
    if (st != VV_OK)
        return st;
    out->last = src->item.key;
    return engine_source_seek(src, end, INT64_MAX, err); /* not to older versions of the last */
}

/* One large group among few small ones: *out gets what lies before it, it, and what lies behind. */
static vv_status part_table(engine_source *src, const lsm_table_size *whole, lsm_table_size out[3],
                            uint32_t *count, vv_error *err)
{
    lsm_table_size part[3] = {
        {.table = whole->table}, {.table = whole->table}, {.table = whole->table}};
    uint64_t small = 0;
    uint32_t at = 0; /* before, the large one, behind */
    uint8_t id[ENGINE_TABLE_PREFIX];
    vv_put_be32(id, whole->table);
    vv_status st = engine_source_seek(src, vv_slice_of(id, sizeof id), INT64_MAX, err);
    for (uint32_t n = 0;
         st == VV_OK && src->valid && engine_key_table(src->item.key) == whole->table; n++) {
        group g;
        st = measure_group(src, whole->table, &g, err);
        bool is_main = g.is_large || g.bytes > LSM_LARGE_TABLE;
        if (n == GROUPS_MAX || (is_main && at > 0))
            return st; /* it has no order of that kind */
        at = is_main ? 1 : at == 1 ? 2 : at;
        part[at].first = part[at].bytes == 0 ? g.first : part[at].first;
        part[at].last = g.last;
        part[at].bytes += is_main ? 1 : g.bytes;
        small += is_main ? 0 : g.bytes;
    }
    if (st != VV_OK || at == 0 || small >= whole->bytes)
        return st;
    part[1].bytes = whole->bytes - small;
    *count = 0;
    for (uint32_t i = 0; i < 3; i++)
        if (part[i].bytes > 0)
            out[(*count)++] = part[i];
    return VV_OK;
}

/* A table of a memtable, in parts where that may spare the large one the way through level 0. */
static vv_status add_table(lsm_job *job, engine_source *src, const lsm_table_size *whole,
                           vv_error *err)
{
    lsm_table_size part[3] = {*whole};
    uint32_t count = 1;
    vv_status st = VV_OK;
    if (job->mem_count == 1 && whole->bytes > LSM_LARGE_TABLE)
        st = part_table(src, whole, part, &count, err);
    for (uint32_t i = 0; st == VV_OK && i < count; i++)
        st = add_size(job, &part[i], err);
    return st;
}

/* What each table has in a memtable, by its counters and a look at its first and last key. */
static vv_status measure_tables(lsm_job *job, engine_memtable *mem, vv_error *err)
{
    engine_source *src = NULL;
    vv_status st = engine_memtable_source(mem, &src, err);
    if (st != VV_OK)
        return st;
    st = engine_source_seek(src, vv_slice_str(""), INT64_MAX, err);
    while (st == VV_OK && src->valid) {
        uint32_t id = engine_key_table(src->item.key);
        uint8_t above[ENGINE_TABLE_PREFIX];
        vv_slice end = vv_slice_of(NULL, 0); /* of all, behind the last table */
        vv_put_be32(above, id + 1);
        if (id != UINT32_MAX)
            end = vv_slice_of(above, sizeof above);
        lsm_table_size table = {.table = id,
                                .bytes = engine_memtable_table_bytes(mem, id, (uint64_t)id + 1),
                                .first = src->item.key}; /* a memtable's keys do not move */
        st = engine_source_seek_below(src, end, err);
        if (st != VV_OK)
            break;
        table.last = src->item.key;
        st = add_table(job, src, &table, err);
        if (st == VV_OK && id == UINT32_MAX)
            break;
        if (st == VV_OK)
            st = engine_source_seek(src, end, INT64_MAX, err);
    }
    engine_source_close(src);
    return st;
}

/* Is there nothing between two keys on any of the levels that a run of level 1 must not overlap? */
static bool is_free(const lsm_view *view, vv_slice first, vv_slice last)
{
    for (uint32_t i = 0; i < view->level_count && view->level[i]->number <= 1; i++) {
        const lsm_level *level = view->level[i];
        uint32_t at = lsm_level_first(level, first);
        if (at < level->run_count && vv_slice_cmp(level->run[at]->meta.lower, last) <= 0)
            return false;
    }
    return true;
}

/* Tables whose keys lie beside all that is there, as those of ordered input do, go past level 0:
 * the compaction that would only rewrite them is saved. None may run meanwhile: what it puts
 * between its inputs is not in the view. Nor may a bulk load go to level 1 between these keys. */
static void choose_levels(lsm_job *job)
{
    lsm_engine *e = job->e;
    const lsm_table_size *first = NULL;
    const lsm_table_size *last = NULL;
    for (uint32_t i = 0; i < job->size_count; i++)
        if (job->sizes[i].bytes > LSM_LARGE_TABLE) {
            first = first == NULL ? &job->sizes[i] : first;
            last = &job->sizes[i];
        }
    if (job->range_count > 0 || first == NULL || last == NULL)
        return;
    vv_mutex_lock(&e->lock);
    bool alone = !e->compaction_busy && e->compaction == NULL && e->bulk_placing == 0;
    if (alone) {
        e->compaction_busy = e->flush_is_past = job->has_compaction = true;
        e->past_first = first->first;
        e->past_last = last->last;
    }
    vv_mutex_unlock(&e->lock);
    if (!alone)
        return;
    /* A compaction may have ended since the job took its view. */
    lsm_view *now = lsm_view_acquire(e);
    bool any = false;
    for (uint32_t i = 0; i < job->size_count; i++) {
        lsm_table_size *t = &job->sizes[i];
        t->level = t->bytes > LSM_LARGE_TABLE && is_free(now, t->first, t->last);
        any |= t->level > 0;
    }
    lsm_view_release(e, now);
    if (!any)
        lsm_job_let_compact(job);
}

void lsm_job_let_compact(lsm_job *job)
{
    lsm_engine *e = job->e;
    if (!job->has_compaction)
        return;
    job->has_compaction = false;
    vv_mutex_lock(&e->lock);
    e->compaction_busy = e->flush_is_past = false;
    vv_mutex_unlock(&e->lock);
    if (e->opt.hooks.on_work != NULL) /* whoever was turned away */
        e->opt.hooks.on_work(e->opt.hooks.ctx);
}

static vv_status begin_flush(lsm_job *job, vv_error *err)
{
    engine_source **sources = vv_calloc(job->mem_count, sizeof(engine_source *));
    if (sources == NULL)
        return vv_fail(err, VV_NO_MEMORY, "flush: no memory");
    uint32_t first = job->view->mem_count - job->mem_count;
    bool large = has_large_tables(job);
    vv_status st = lsm_manifest_new_id(&job->e->manifest, &job->group, err);
    uint32_t made = 0;
    for (; st == VV_OK && made < job->mem_count; made += st == VV_OK) {
        engine_memtable *mem = job->view->mem[first + made];
        int64_t newest = engine_memtable_max_version(mem);
        job->version_max = newest > job->version_max ? newest : job->version_max;
        if (large)
            st = measure_tables(job, mem, err);
        if (st == VV_OK)
            st = engine_memtable_source(mem, &sources[made], err);
    }
    if (st == VV_OK) {
        st = lsm_job_begin_merge(job, sources, job->mem_count, err);
        made = 0; /* taken */
    }
    if (st == VV_OK)
        choose_levels(job);
    for (uint32_t i = 0; i < made; i++)
        engine_source_close(sources[i]);
    vv_free(sources);
    return st;
}

/* How many frozen memtables to flush together: one, so that a writer gets room after one; more only
 * of small ones, which would make small runs. */
static uint32_t oldest_frozen(const lsm_engine *e, const lsm_view *view)
{
    uint32_t frozen = view->mem_count - 1;
    uint64_t bytes = 0;
    uint32_t count = 0;
    assert(frozen > 0);
    for (; count < frozen; count++) {
        bytes += engine_memtable_bytes(view->mem[frozen - count]);
        if (count > 0 && bytes > e->opt.memtable_size)
            break;
    }
    return count;
}

vv_status lsm_job_flush(lsm_engine *e, lsm_job **out, vv_error *err)
{
    lsm_view *view = lsm_view_acquire(e);
    lsm_job *job = lsm_job_new(e, view, 0, err);
    lsm_view_release(e, view);
    if (job == NULL)
        return VV_NO_MEMORY;
    job->mem_count = oldest_frozen(e, job->view);
    vv_status st = begin_flush(job, err);
    if (st != VV_OK) {
        lsm_job_destroy(job);
        return vv_wrap(err, st, "flush");
    }
    *out = job;
    return VV_OK;
}
