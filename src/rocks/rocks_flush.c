/*
 * rocks_flush.c - what a flush writes, and a sweep drops: key by key, all versions at once.
 *
 *     memtables (frozen)  --+
 *                           +-> versions of one key, newest first -> decide -> one sorted file
 *     RocksDB (stored)    --+
 *
 * A stored version that no reader can tell from the next newer one is deleted; a new one like it is
 * never written. A range deletion becomes a deletion of each key it hides something of that
 * somebody may still read; otherwise it is nothing but the deletes of what is stored under it. A
 * deletion with nothing kept beneath it is not written. A merge is stored as the put it comes to
 * (rocks_fold.c).
 *
 * A sweep is the same walk over a range of what is stored, without memtables.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/epoch.h"
#include "base/error.h"
#include "base/point.h"
#include "rocks/rocks_int.h"

#define SWEEP_BYTES (64 * VV_MIB) /* stored bytes looked at in one piece */
#define SWEEP_RECORDS 200000u
#define PATH_ROOM 64u /* of the name of a flush file */

typedef struct job {
    rocks_engine *e;
    rocks_view *view;
    engine_merge merge; /* of frozen memtables */
    bool has_merge;
    engine_rangedels *ranges;
    bool is_sweep;
    vv_slice lower, upper;    /* of a sweep */
    rocksdb_iterator_t *walk; /* stored keys that ranges or a sweep reach; NULL: none */
    bool walk_ended;
    rocksdb_iterator_t *point; /* stored versions of one key */
    engine_readers readers;
    rocksdb_sstfilewriter_t *out;
    char *path[2]; /* of the checkpoint, of the records */
    uint64_t written;
    uint64_t seen_bytes, seen_records;
    rocks_event *events;
    size_t count, cap;
    rocks_fold fold;
    bool has_merges;    /* the key at hand */
    int64_t merge_time; /* no merge that is to come, or not stored yet, is committed before */
    vv_buf value;
    size_t key_len;
    uint8_t key[ENGINE_KEY_MAX];
} job;

static vv_slice key_of(const job *j)
{
    return vv_slice_of(j->key, j->key_len);
}

/* ---- what is stored ---- */

static size_t range_count(const job *j)
{
    return j->ranges == NULL ? 0 : engine_rangedels_count(j->ranges);
}

/* The first range that begins behind key, which none covers; NULL: there is none. */
static const engine_range *range_behind(const job *j, vv_slice key)
{
    size_t lo = 0;
    size_t hi = range_count(j);
    while (lo < hi) { /* sorted by start */
        size_t mid = lo + (hi - lo) / 2;
        if (vv_slice_cmp(engine_rangedels_at(j->ranges, mid)->start, key) <= 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (; lo < range_count(j); lo++) {
        const engine_range *r = engine_rangedels_at(j->ranges, lo);
        if (vv_slice_cmp(r->start, r->end) < 0)
            return r;
    }
    return NULL;
}

/* From wherever the walk stands to the next key it has to show. */
static vv_status settle_walk(job *j, vv_error *err)
{
    vv_slice key;
    int64_t version;
    for (;;) {
        j->walk_ended = !rocksdb_iter_valid(j->walk);
        if (j->walk_ended)
            return rocks_iter_status(j->walk, err);
        if (!rocks_key_parse(rocks_iter_key(j->walk), &key, &version))
            return vv_fail(err, VV_CORRUPT, "RocksDB gives a key that no flush wrote");
        if (j->is_sweep) {
            j->walk_ended = vv_slice_cmp(key, j->upper) >= 0;
            return VV_OK;
        }
        if (engine_rangedels_cover(j->ranges, key, INT64_MAX) >= 0)
            return VV_OK;
        const engine_range *r = range_behind(j, key);
        j->walk_ended = r == NULL;
        if (r == NULL)
            return VV_OK;
        rocks_iter_seek(j->walk, r->start, INT64_MAX);
    }
}

static vv_status begin_walk(job *j, vv_error *err)
{
    if (j->view->look->db == NULL || (!j->is_sweep && range_count(j) == 0))
        return VV_OK;
    j->walk = rocksdb_create_iterator(j->view->look->db, j->view->look->scan);
    rocks_iter_seek(j->walk, j->is_sweep ? j->lower : engine_rangedels_at(j->ranges, 0)->start,
                    INT64_MAX);
    return settle_walk(j, err);
}

static rocks_event *add_event(job *j, vv_error *err)
{
    if (j->count == j->cap) {
        size_t cap = 2 * j->cap + 16;
        rocks_event *events = vv_realloc(j->events, cap * sizeof *events);
        if (events == NULL) {
            (void)vv_fail(err, VV_NO_MEMORY, "flush: no memory for %zu versions", cap);
            return NULL;
        }
        j->events = events;
        j->cap = cap;
    }
    rocks_event *v = &j->events[j->count++];
    *v = (rocks_event){0};
    return v;
}

/* The versions of the key from where the iterator stands on. */
static vv_status take_stored(job *j, rocksdb_iterator_t *it, vv_error *err)
{
    engine_item item;
    vv_status st = VV_OK;
    while (st == VV_OK && rocksdb_iter_valid(it)) {
        st = rocks_iter_item(it, &item, err);
        if (st != VV_OK || !vv_slice_eq(item.key, key_of(j)))
            return st;
        rocks_event *v = add_event(j, err);
        if (v == NULL)
            return VV_NO_MEMORY;
        v->version = item.version;
        v->expires_ns = item.expires_ns;
        v->kind = item.kind;
        v->is_stored = true;
        if (j->has_merges && item.value.len > 0) { /* the iterator moves on */
            v->value = vv_arena_dup(&j->fold.values, item.value);
            if (v->value.data == NULL)
                return vv_fail(err, VV_NO_MEMORY, "merge: no memory for a value");
        }
        j->seen_bytes += item.key.len + item.value.len;
        j->seen_records++;
        rocksdb_iter_next(it);
    }
    return rocks_iter_status(it, err);
}

/* ---- one key ---- */

/* Range deletions over the key become events of their own, but for those of a version that a later
 * put of the same entry has. Of several between two versions only the oldest can be told apart. */
static vv_status add_ranges(job *j, vv_error *err)
{
    size_t count = j->count;
    int64_t above = INT64_MAX;
    for (size_t i = 0; i < count; i++) {
        int64_t below = j->events[i].version;
        int64_t oldest = -1;
        int64_t v = above == INT64_MAX ? above : above - 1;
        while ((v = engine_rangedels_cover(j->ranges, key_of(j), v)) > below)
            oldest = v--;
        above = below;
        if (oldest < 0)
            continue;
        rocks_event *d = add_event(j, err);
        if (d == NULL)
            return VV_NO_MEMORY;
        *d = (rocks_event){.version = oldest, .kind = ENGINE_DELETE};
    }
    /* They lie between those before: a few steps each. */
    for (size_t i = count; i < j->count; i++) {
        rocks_event d = j->events[i];
        size_t at = i;
        for (; at > 0 && j->events[at - 1].version < d.version; at--)
            j->events[at] = j->events[at - 1];
        j->events[at] = d;
    }
    return VV_OK;
}

/* A put that has expired for every reader is a deletion. */
static bool is_gone(const job *j, const rocks_event *v)
{
    return v->kind == ENGINE_PUT && v->expires_ns != 0 &&
           v->expires_ns <= j->readers.floor.time_ns && v->expires_ns <= j->readers.pin_time &&
           v->expires_ns <= j->merge_time;
}

static void decide(job *j)
{
    int64_t newer = -1;
    for (size_t i = 0; i < j->count; i++) {
        rocks_event *v = &j->events[i];
        if (is_gone(j, v)) { /* a stored one is written again as what it is */
            v->kind = ENGINE_DELETE;
            v->expires_ns = 0;
            v->value = vv_slice_of(NULL, 0);
            v->is_changed = true;
        }
        v->keep = engine_readers_need(&j->readers, v->version, newer);
        newer = v->version;
    }
    for (size_t i = j->count; i > 0; i--) {
        rocks_event *v = &j->events[i - 1];
        if (v->keep && v->kind != ENGINE_DELETE)
            break;
        v->keep = false; /* a deletion of nothing */
    }
}

static vv_status put(job *j, const uint8_t *key, size_t len, const rocks_event *v, vv_error *err)
{
    char *message = NULL;
    vv_buf_reset(&j->value);
    rocks_value_put(&j->value, v->kind, v->expires_ns, v->value);
    if (j->value.status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "flush: no memory for a value");
    rocksdb_sstfilewriter_put(j->out, (const char *)key, len, (const char *)j->value.data,
                              j->value.len, &message);
    return rocks_fail(message, "flush", err);
}

static vv_status write_events(job *j, vv_error *err)
{
    uint8_t key[ROCKS_KEY_MAX];
    vv_status st = VV_OK;
    for (size_t i = 0; st == VV_OK && i < j->count; i++) {
        const rocks_event *v = &j->events[i];
        if (v->keep == v->is_stored && !(v->keep && v->is_changed))
            continue;
        char *message = NULL;
        size_t len = rocks_key_put(key, key_of(j), v->version);
        if (v->keep) {
            st = put(j, key, len, v, err);
        } else {
            rocksdb_sstfilewriter_delete(j->out, (const char *)key, len, &message);
            st = rocks_fail(message, "flush", err);
        }
        j->written++;
    }
    return st;
}

/* The least key that a memtable or the walk has. False at the end. */
static bool next_key(job *j, bool *in_memory, bool *in_walk)
{
    const engine_item *item = j->has_merge ? engine_merge_item(&j->merge) : NULL;
    vv_slice stored = {0};
    int64_t version;
    bool has_walk = j->walk != NULL && !j->walk_ended &&
                    rocks_key_parse(rocks_iter_key(j->walk), &stored, &version);
    if (item == NULL && !has_walk)
        return false;
    int c = item == NULL ? 1 : !has_walk ? -1 : vv_slice_cmp(item->key, stored);
    vv_slice key = c <= 0 ? item->key : stored;
    *in_memory = c <= 0;
    *in_walk = c >= 0;
    memcpy(j->key, key.data, key.len);
    j->key_len = key.len;
    return true;
}

static vv_status enter_table(job *j, uint32_t table, vv_error *err)
{
    if (j->readers.has_table && j->readers.table == table)
        return VV_OK;
    vv_status st = engine_readers_enter(&j->readers, table, err);
    /* After the floor was asked: what is committed from now on is later than its time. */
    j->merge_time = rocks_first_merge_time(j->e);
    return st;
}

static vv_status do_key(job *j, bool in_memory, bool in_walk, vv_error *err)
{
    vv_status st = enter_table(j, engine_key_table(key_of(j)), err);
    j->count = 0;
    j->has_merges = false;
    vv_arena_reset(&j->fold.values);
    while (st == VV_OK && in_memory) {
        const engine_item *item = engine_merge_item(&j->merge);
        if (item == NULL || !vv_slice_eq(item->key, key_of(j)))
            break;
        rocks_event *v = add_event(j, err);
        if (v == NULL)
            return VV_NO_MEMORY;
        *v = (rocks_event){.version = item->version,
                           .expires_ns = item->expires_ns,
                           .kind = item->kind,
                           .value = item->value};
        j->has_merges |= item->kind == ENGINE_MERGE;
        st = engine_merge_next(&j->merge, err);
    }
    if (st == VV_OK && in_walk) {
        st = take_stored(j, j->walk, err);
        if (st == VV_OK)
            st = settle_walk(j, err);
    } else if (st == VV_OK && j->point != NULL) {
        rocks_iter_seek(j->point, key_of(j), INT64_MAX);
        st = take_stored(j, j->point, err);
    }
    if (st == VV_OK && j->ranges != NULL)
        st = add_ranges(j, err);
    if (st == VV_OK && j->has_merges)
        st = rocks_fold_key(&j->fold, &j->readers, j->ranges, key_of(j), j->events, &j->count, err);
    if (st != VV_OK)
        return st;
    decide(j);
    return write_events(j, err);
}

/* ---- the file ---- */

static vv_status name_file(job *j, unsigned which, vv_error *err)
{
    size_t size = strlen(j->e->store.path) + PATH_ROOM;
    j->path[which] = vv_alloc(size);
    if (j->path[which] == NULL)
        return vv_fail(err, VV_NO_MEMORY, "flush: no memory");
    (void)snprintf(j->path[which], size, "%s/flush-%012" PRIu64 ".sst", j->e->store.path,
                   ++j->e->next_file);
    return VV_OK;
}

static vv_status open_file(job *j, unsigned which, vv_error *err)
{
    char *message = NULL;
    vv_status st = name_file(j, which, err);
    if (st != VV_OK)
        return st;
    j->out = rocksdb_sstfilewriter_create(j->e->store.env_options, j->e->store.options);
    rocksdb_sstfilewriter_open(j->out, j->path[which], &message);
    return rocks_fail(message, "flush", err);
}

static vv_status finish_file(job *j, uint64_t *bytes, vv_error *err)
{
    char *message = NULL;
    uint64_t size = 0;
    rocksdb_sstfilewriter_finish(j->out, &message); /* synced */
    vv_status st = rocks_fail(message, "flush", err);
    rocksdb_sstfilewriter_file_size(j->out, &size);
    rocksdb_sstfilewriter_destroy(j->out);
    j->out = NULL;
    *bytes += size;
    return st;
}

/* The checkpoint in a file of its own: in one with the records it would make their range begin at
 * the start of everything, and no two flushes could lie beside each other. */
static vv_status write_checkpoint(job *j, int64_t version, uint64_t *bytes, vv_error *err)
{
    uint8_t value[ROCKS_CHECKPOINT_SIZE];
    char *message = NULL;
    vv_put_le32(value, 1);
    vv_put_le64(value + 4, (uint64_t)version);
    vv_put_le32(value + 12, vv_crc32c(0, value, 12));
    vv_status st = open_file(j, 0, err);
    if (st != VV_OK)
        return st;
    rocksdb_sstfilewriter_put(j->out, ROCKS_CHECKPOINT_KEY, ROCKS_SUFFIX, (const char *)value,
                              sizeof value, &message);
    st = rocks_fail(message, "flush", err);
    return st == VV_OK ? finish_file(j, bytes, err) : st;
}

static vv_status ingest(job *j, vv_error *err)
{
    const char *files[2];
    size_t count = 0;
    char *message = NULL;
    if (j->path[0] != NULL)
        files[count++] = j->path[0];
    if (j->written > 0)
        files[count++] = j->path[1];
    VV_POINT("rocks.before_ingest");
    rocksdb_ingest_external_file(j->e->store.db, files, count, j->e->store.ingest, &message);
    VV_POINT("rocks.after_ingest");
    return rocks_fail(message, "ingest", err);
}

static void remove_files(job *j)
{
    for (unsigned i = 0; i < ARRAY_LEN(j->path); i++) {
        char path[VIO_PATH_MAX];
        if (j->path[i] == NULL)
            continue;
        (void)snprintf(path, sizeof path, "%s/%s", j->e->store.dir, strrchr(j->path[i], '/') + 1);
        (void)!vio_remove(j->e->store.env->io, path, NULL); /* ingested files are gone already */
        vv_free(j->path[i]);
    }
}

static void end_job(job *j)
{
    if (j->has_merge)
        engine_merge_fini(&j->merge);
    engine_rangedels_unref(j->ranges);
    if (j->walk != NULL)
        rocksdb_iter_destroy(j->walk);
    if (j->point != NULL)
        rocksdb_iter_destroy(j->point);
    if (j->out != NULL)
        rocksdb_sstfilewriter_destroy(j->out);
    remove_files(j);
    engine_readers_fini(&j->readers);
    rocks_fold_fini(&j->fold);
    vv_buf_fini(&j->value);
    vv_free(j->events);
    rocks_view_unref(j->view);
}

static void begin_job(job *j, rocks_engine *e)
{
    *j = (job){.e = e, .view = rocks_view_acquire(e)};
    vv_buf_init(&j->value, ENGINE_VALUE_MAX + VV_KIB);
    rocks_fold_init(&j->fold);
    engine_readers_init(&j->readers, &e->pins, &e->opt.hooks, &e->visible);
}

/* ---- flush ---- */

/* All range deletions of the frozen memtables in one set. */
static vv_status collect_ranges(job *j, vv_error *err)
{
    vv_status st = VV_OK;
    size_t total = 0;
    size_t n = 0;
    uint32_t count = j->view->mem_count - 1;
    engine_rangedels **sets = vv_calloc(count, sizeof(engine_rangedels *));
    if (sets == NULL)
        return vv_fail(err, VV_NO_MEMORY, "flush: no memory");
    for (uint32_t i = 0; i < count; i++) {
        sets[i] = engine_memtable_rangedels(j->view->mem[i + 1]);
        total += sets[i] == NULL ? 0 : engine_rangedels_count(sets[i]);
    }
    engine_range *all = total == 0 ? NULL : vv_calloc(total, sizeof *all);
    if (all == NULL && total > 0)
        st = vv_fail(err, VV_NO_MEMORY, "flush: no memory for %zu ranges", total);
    for (uint32_t i = 0; all != NULL && i < count; i++)
        for (size_t k = 0; sets[i] != NULL && k < engine_rangedels_count(sets[i]); k++)
            all[n++] = *engine_rangedels_at(sets[i], k);
    if (st == VV_OK && total > 0)
        st = engine_rangedels_build(all, total, &j->ranges, err);
    for (uint32_t i = 0; i < count; i++)
        engine_rangedels_unref(sets[i]);
    vv_free(all);
    vv_free(sets);
    return st;
}

static vv_status merge_memtables(job *j, vv_error *err)
{
    uint32_t count = j->view->mem_count - 1;
    engine_source **sources = vv_calloc(count, sizeof(engine_source *));
    if (sources == NULL)
        return vv_fail(err, VV_NO_MEMORY, "flush: no memory");
    vv_status st = VV_OK;
    uint32_t n = 0;
    for (; st == VV_OK && n < count; n++) {
        st = engine_memtable_source(j->view->mem[n + 1], &sources[n], err);
        if (st != VV_OK)
            break;
    }
    if (st == VV_OK) {
        st = engine_merge_init(&j->merge, sources, count, err);
        j->has_merge = st == VV_OK;
        n = 0; /* taken */
    }
    for (uint32_t i = 0; i < n; i++)
        engine_source_close(sources[i]);
    vv_free(sources);
    return st;
}

static vv_status write_records(job *j, uint64_t *bytes, vv_error *err)
{
    bool in_memory = false;
    bool in_walk = false;
    vv_status st = open_file(j, 1, err);
    if (st == VV_OK)
        st = begin_walk(j, err);
    while (st == VV_OK && next_key(j, &in_memory, &in_walk)) {
        if (j->is_sweep &&
            (j->seen_bytes > SWEEP_BYTES || j->seen_records > SWEEP_RECORDS)) /* key: the rest's */
            break;
        st = do_key(j, in_memory, in_walk, err);
        if (st == VV_OK)
            j->key_len = 0;
    }
    if (st == VV_OK && j->written > 0)
        return finish_file(j, bytes, err);
    if (j->out != NULL) /* an empty file cannot be finished */
        rocksdb_sstfilewriter_destroy(j->out);
    j->out = NULL;
    return st;
}

/* From here to the new view the number of memtables may not pass the room in it. */
static vv_status make_room(rocks_engine *e, uint32_t flushed, rocks_view **out, vv_error *err)
{
    rocks_look *look = NULL;
    vv_status st = rocks_look_create(e->store.db, &look, err);
    uint32_t room = flushed + e->opt.memtable_count + 8;
    if (st == VV_OK)
        st = rocks_view_create(room, look, out, err);
    rocks_look_unref(look);
    if (st != VV_OK)
        return st;
    vv_mutex_lock(&e->lock);
    bool fits = atomic_load_explicit(&e->view, memory_order_relaxed)->mem_count <= room;
    if (fits)
        e->mem_room = room;
    vv_mutex_unlock(&e->lock);
    if (fits)
        return VV_OK;
    rocks_view_unref(*out);
    *out = NULL;
    return vv_fail(err, VV_BUSY, "memtables are frozen faster than they are flushed");
}

static void end_room(rocks_engine *e, rocks_view *view)
{
    vv_mutex_lock(&e->lock);
    e->mem_room = UINT32_MAX;
    vv_mutex_unlock(&e->lock);
    rocks_view_unref(view);
}

static vv_status commit_flush(job *j, uint64_t *bytes, vv_error *err)
{
    rocks_engine *e = j->e;
    uint32_t flushed = j->view->mem_count - 1;
    int64_t version = engine_memtable_max_version(j->view->mem[1]);
    rocks_view *view = NULL;
    vv_status st = write_checkpoint(j, version, bytes, err);
    if (st == VV_OK && e->opt.hooks.ensure_durable != NULL)
        st = e->opt.hooks.ensure_durable(e->opt.hooks.ctx, version, err);
    if (st == VV_OK)
        st = make_room(e, flushed, &view, err);
    if (st != VV_OK)
        return st;
    st = ingest(j, err);
    if (st != VV_OK) {
        end_room(e, view);
        return st;
    }
    /* Before the view: who misses a memtable in it knows where to look. */
    atomic_store_explicit(&e->checkpoint, version, memory_order_release);
    rocks_view_install(e, view, flushed);
    st = rocks_store_note(&e->store, version, err);
    if (st == VV_OK && e->opt.hooks.on_checkpoint != NULL)
        e->opt.hooks.on_checkpoint(e->opt.hooks.ctx, version);
    return st; /* a failure keeps the log; the next flush notes its own checkpoint */
}

vv_status rocks_flush(rocks_engine *e, vv_error *err)
{
    job *j = vv_alloc(sizeof *j);
    uint64_t bytes = 0;
    if (j == NULL)
        return vv_fail(err, VV_NO_MEMORY, "flush: no memory");
    begin_job(j, e);
    j->point = rocksdb_create_iterator(e->store.db, j->view->look->point);
    vv_status st = collect_ranges(j, err);
    if (st == VV_OK)
        st = merge_memtables(j, err);
    if (st == VV_OK)
        st = write_records(j, &bytes, err);
    if (st == VV_OK)
        st = commit_flush(j, &bytes, err);
    if (st == VV_OK) {
        atomic_fetch_add_explicit(&e->flushes, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&e->flush_bytes, bytes, memory_order_relaxed);
    }
    end_job(j);
    vv_free(j);
    return st;
}

/* ---- sweep ---- */

static vv_status commit_sweep(job *j, vv_error *err)
{
    rocks_view *view = NULL;
    vv_status st = make_room(j->e, 0, &view, err);
    if (st != VV_OK)
        return st;
    st = ingest(j, err);
    if (st != VV_OK)
        end_room(j->e, view);
    else
        rocks_view_install(j->e, view, 0);
    return st;
}

/* To the bottom, so that what was deleted leaves the disk. */
static void compact(rocks_engine *e, vv_slice lower, vv_slice upper)
{
    uint8_t from[ROCKS_KEY_MAX];
    uint8_t to[ROCKS_KEY_MAX];
    size_t from_len = rocks_key_put(from, lower, INT64_MAX);
    size_t to_len = rocks_key_put(to, upper, INT64_MAX);
    rocksdb_compactoptions_t *how = rocksdb_compactoptions_create();
    rocksdb_compactoptions_set_exclusive_manual_compaction(how, 0);
    rocksdb_compactoptions_set_bottommost_level_compaction(how, 3); /* each file once */
    vv_epoch_drain(); /* views that are gone hold snapshots no more */
    rocksdb_compact_range_opt(e->store.db, how, (const char *)from, from_len, (const char *)to,
                              to_len);
    rocksdb_compactoptions_destroy(how);
}

vv_status rocks_sweep(rocks_engine *e, vv_slice lower, vv_slice upper, uint8_t *next,
                      size_t *next_len, vv_error *err)
{
    job *j = vv_alloc(sizeof *j);
    uint64_t bytes = 0;
    if (j == NULL)
        return vv_fail(err, VV_NO_MEMORY, "compaction: no memory");
    begin_job(j, e);
    j->is_sweep = true;
    j->lower = lower;
    j->upper = upper;
    vv_status st = write_records(j, &bytes, err);
    *next_len = j->key_len;
    memcpy(next, j->key, j->key_len);
    if (st == VV_OK && j->written > 0)
        st = commit_sweep(j, err);
    uint64_t seen = j->seen_bytes;
    end_job(j);
    vv_free(j);
    if (st != VV_OK)
        return st;
    compact(e, lower, *next_len == 0 ? upper : vv_slice_of(next, *next_len));
    atomic_fetch_add_explicit(&e->compactions, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&e->compaction_read_bytes, seen, memory_order_relaxed);
    atomic_fetch_add_explicit(&e->compaction_write_bytes, bytes, memory_order_relaxed);
    return VV_OK;
}
