/*
 * btree_flush.c - what a merge of memtables into the tree keeps.
 *
 * The walk goes from leaf to leaf that has to change: where a memtable has an entry, where a range
 * deletion reaches, or where a compaction was asked for. In a leaf, each key's versions are looked
 * at together, newest first: those of the memtables, then the tree's. The newest goes into the main
 * tree if it is a put that nothing hides. An older one goes into the history if some reader can
 * still ask for it, with a note of the deletion that ended it. Merges have become values by
 * then (btree_fold.c).
 *
 * Notes of deletions are written whenever the history holds anything, because it may hold an older
 * version of the same key that the deletion has to hide from readers in between; and where a reader
 * is older than the deletion, because it may ask whether the key was touched (btree_touch.c).
 *
 * An aged entry, in the buffer from MERGE to AGE:
 *     u32 key length | u32 value length | u64 version | u64 expiry | u8 flags | key | value
 */
#include "btree/btree_job_int.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/point.h"

#define AGED_HEAD 25u

/* ---- beginning ---- */

static int by_start(const void *a, const void *b)
{
    return vv_slice_cmp(((const btree_span *)a)->start, ((const btree_span *)b)->start);
}

/* Sort and join what overlaps. */
static void join_spans(btree_job *job)
{
    size_t kept = 0;
    btree_span *s = job->spans;
    for (size_t gap = job->span_count / 2; gap > 0; gap /= 2) /* nearly sorted mostly */
        for (size_t i = gap; i < job->span_count; i++) {
            btree_span x = s[i];
            size_t j = i;
            for (; j >= gap && by_start(&s[j - gap], &x) > 0; j -= gap)
                s[j] = s[j - gap];
            s[j] = x;
        }
    for (size_t i = 0; i < job->span_count; i++) {
        if (kept > 0 && vv_slice_cmp(s[i].start, s[kept - 1].end) <= 0) {
            if (vv_slice_cmp(s[i].end, s[kept - 1].end) > 0)
                s[kept - 1].end = s[i].end;
        } else {
            s[kept++] = s[i];
        }
    }
    job->span_count = kept;
}

static vv_status gather_ranges(btree_job *job, vv_error *err)
{
    size_t count = 0;
    for (uint32_t i = 0; i < job->merge.total; i++)
        count += engine_rangedels_count(job->merge.heap[i]->rangedels);
    engine_range *all = vv_calloc(count, sizeof *all);
    job->spans = vv_calloc(count + 1, sizeof *job->spans);
    if (all == NULL || job->spans == NULL) {
        vv_free(all);
        return vv_fail(err, VV_NO_MEMORY, "no memory for %zu range deletions", count);
    }
    size_t n = 0;
    for (uint32_t i = 0; i < job->merge.total; i++) {
        const engine_rangedels *set = job->merge.heap[i]->rangedels;
        for (size_t j = 0; j < engine_rangedels_count(set); j++) {
            const engine_range *r = engine_rangedels_at(set, j);
            all[n++] = *r;
            if (!VV_BUG(45))
                job->spans[job->span_count++] = (btree_span){r->start, r->end};
        }
    }
    vv_status st = engine_rangedels_build(all, n, &job->cover, err);
    vv_free(all);
    if (job->request.bytes != NULL)
        job->spans[job->span_count++] = (btree_span){job->request.lower, job->request.upper};
    join_spans(job);
    return st;
}

/* Is it time to look through the whole history? */
static bool history_is_due(btree_job *job)
{
    const btree_tree *tree = job->view->tree;
    if (tree->history == NULL)
        return false;
    if (job->request.bytes != NULL)
        return true;
    uint64_t leaves = btree_inode_leaves(tree->history);
    return leaves >= 2 * job->e->swept_pages + 8;
}

vv_status btree_flush_begin(btree_job *job, vv_error *err)
{
    engine_source **sources = vv_calloc(job->mem_count, sizeof(engine_source *));
    if (sources == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory");
    uint32_t first = job->view->mem_count - job->mem_count;
    uint32_t made = 0;
    vv_status st = VV_OK;
    for (; st == VV_OK && made < job->mem_count; made += st == VV_OK) {
        engine_memtable *mem = job->view->mem[first + made];
        int64_t newest = engine_memtable_max_version(mem);
        job->version_max = newest > job->version_max ? newest : job->version_max;
        st = engine_memtable_source(mem, &sources[made], err);
    }
    if (st == VV_OK) {
        job->merging = true;
        st = engine_merge_init(&job->merge, sources, job->mem_count, err);
        made = 0; /* taken */
    }
    for (uint32_t i = 0; i < made; i++)
        engine_source_close(sources[i]);
    vv_free(sources);
    if (st == VV_OK)
        st = gather_ranges(job, err);
    if (st == VV_OK)
        st = btree_compress_begin(job, err);
    if (st == VV_OK)
        st = btree_update_begin(&job->main, &job->writer, job->view->tree->main, err);
    job->main_open = st == VV_OK;
    job->sweeps = history_is_due(job);
    job->ages = job->sweeps;
    return st;
}

/* ---- the history's entries ---- */

static vv_status age(btree_job *job, vv_slice key, int64_t version, engine_kind kind,
                     const btree_entry *e, vv_error *err)
{
    uint8_t head[AGED_HEAD];
    uint8_t name[BTREE_KEY_MAX];
    size_t len = btree_history_key(name, key, version, kind);
    if (job->aged.len > 0) {
        const uint8_t *last = job->aged.data + job->aged_last;
        if (vv_get_le32(last) == len && memcmp(last + AGED_HEAD, name, len) == 0)
            return VV_OK; /* two things ended the key at this version */
    }
    job->aged_last = job->aged.len;
    vv_put_le32(head, (uint32_t)len);
    vv_put_le32(head + 4, (uint32_t)e->value.len);
    vv_put_le64(head + 8, (uint64_t)version);
    vv_put_le64(head + 16, e->expires);
    head[24] = e->flags;
    vv_buf_append(&job->aged, head, sizeof head);
    vv_buf_append(&job->aged, name, len);
    vv_buf_append_slice(&job->aged, e->value);
    job->ages = true;
    return job->aged.status == VV_OK
               ? VV_OK
               : vv_fail(err, VV_NO_MEMORY, "no memory for older versions of keys");
}

/* ---- one key ---- */

/* The form an entry takes in a leaf: large values go to pages of their own. ids: room for them. */
static vv_status to_entry(btree_job *job, const btree_candidate *c, uint8_t ids[4 * BTREE_POINTERS],
                          btree_entry *e, vv_error *err)
{
    *e = (btree_entry){.key = c->item.key,
                       .value = c->item.value,
                       .timestamp = (uint64_t)c->item.version,
                       .expires = (uint64_t)c->item.expires_ns,
                       .flags = c->flags};
    if (c->in_tree)
        return VV_OK; /* as it is stored */
    if (c->item.expires_ns != 0)
        e->flags |= BTREE_HAS_EXPIRY;
    vv_status st = btree_compress_value(job, &e->value, &e->flags, err);
    if (st != VV_OK)
        return st;
    /* At least two entries a page: a value that leaves no room for a second one goes apart. */
    if (e->value.len + e->key.len + 64 <= job->e->store.page_size / 2)
        return VV_OK;
    size_t len = 0;
    st = btree_writer_put_value(&job->writer, e->value, ids, &len, err);
    e->value = vv_slice_of(ids, len);
    e->flags |= BTREE_IS_OVERFLOW;
    return st;
}

static vv_status free_value(btree_job *job, const btree_candidate *c, vv_error *err)
{
    if (!c->in_tree || (c->flags & BTREE_IS_OVERFLOW) == 0)
        return VV_OK;
    return btree_writer_free_value(&job->writer, c->item.value, err);
}

static bool is_expired(const btree_job *job, const engine_item *item)
{
    const engine_readers *r = &job->readers;
    return item->kind == ENGINE_PUT && item->expires_ns != 0 &&
           item->expires_ns <= r->floor.time_ns && item->expires_ns <= r->pin_time &&
           item->expires_ns <= job->merge_time;
}

bool btree_job_is_needed(const btree_job *job, vv_slice key, int64_t v, int64_t newer)
{
    const engine_readers *r = &job->readers;
    if (!engine_readers_need(r, v, newer))
        return false;
    if (job->cover == NULL)
        return true;
    int64_t first = v > r->floor.version ? v : r->floor.version;
    if ((newer < 0 || first < newer) && engine_rangedels_cover(job->cover, key, first) <= v)
        return true;
    for (size_t i = 0; i < r->pin_count; i++) {
        int64_t pin = r->pins[i];
        if (pin >= v && (newer < 0 || pin < newer) &&
            engine_rangedels_cover(job->cover, key, pin) <= v)
            return true;
    }
    return false;
}

/* The oldest range deletion of key above v and below newer; -1: none. */
static int64_t first_cover(const btree_job *job, vv_slice key, int64_t v, int64_t newer)
{
    if (job->cover == NULL)
        return -1;
    int64_t found = -1;
    int64_t upto = newer < 0 ? INT64_MAX : newer;
    for (;;) {
        int64_t c = engine_rangedels_cover(job->cover, key, upto);
        if (c <= v)
            return found;
        found = c;
        upto = c - 1;
    }
}

/* A version that is not the tree's newest: keep it for older readers, or let it go. */
static vv_status supersede(btree_job *job, btree_candidate *c, int64_t newer, bool *kept,
                           vv_error *err)
{
    *kept =
        !c->dead && btree_job_is_needed(job, c->item.key, c->item.version, newer) && !VV_BUG(46);
    if (!*kept)
        return free_value(job, c, err);
    uint8_t ids[4 * BTREE_POINTERS];
    btree_entry e;
    vv_status st = to_entry(job, c, ids, &e, err);
    return st == VV_OK ? age(job, c->item.key, c->item.version, ENGINE_PUT, &e, err) : st;
}

static vv_status fold(btree_job *job, vv_error *err)
{
    vv_status st = btree_fold_key(job, err);
    for (uint32_t i = 0; st == VV_OK && i < job->candidate_count; i++) {
        btree_candidate *c = &job->candidates[i];
        c->dead = c->item.kind == ENGINE_DELETE || is_expired(job, &c->item);
    }
    return st;
}

/*
 * The versions of one key, newest first, become at most one entry of the main tree and some of the
 * history. Those come in the order of their keys: a deletion stands before the versions it ends.
 */
static vv_status resolve(btree_job *job, vv_error *err)
{
    vv_status st = job->has_merges ? fold(job, err) : VV_OK;
    if (st != VV_OK)
        return st;
    btree_candidate *all = job->candidates;
    uint32_t n = job->candidate_count;
    vv_slice key = all[0].item.key;
    static const btree_entry nothing = {.flags = 0};
    bool history = job->view->tree->history != NULL || job->ages;
    int64_t newest_cover =
        job->cover == NULL ? -1 : engine_rangedels_cover(job->cover, key, INT64_MAX);
    bool live = !all[0].dead && newest_cover <= all[0].item.version;
    if (live) {
        uint8_t ids[4 * BTREE_POINTERS];
        btree_entry e;
        st = to_entry(job, &all[0], ids, &e, err);
        if (st == VV_OK)
            st = btree_update_put(&job->main, &e, err);
    }
    /* Is anything below worth a note? If some version is kept, or the history may have one, or the
     * key is gone from the tree and somebody has seen it before. */
    int64_t newest = newest_cover > all[0].item.version ? newest_cover : all[0].item.version;
    bool keeps = history || (!live && !engine_readers_are_above(&job->readers, newest));
    for (uint32_t i = live ? 1 : 0; i < n && !keeps; i++)
        keeps = !all[i].dead && btree_job_is_needed(job, key, all[i].item.version,
                                                    i == 0 ? -1 : all[i - 1].item.version);
    for (uint32_t i = live ? 1 : 0; st == VV_OK && i < n; i++) {
        btree_candidate *c = &all[i];
        int64_t newer = i == 0 ? -1 : all[i - 1].item.version;
        int64_t v = c->item.version;
        int64_t ended = first_cover(job, key, v, newer);
        bool kept = false;
        if (keeps && ended >= 0)
            st = age(job, key, ended, ENGINE_DELETE, &nothing, err);
        if (st == VV_OK && c->dead && keeps && !VV_BUG(47))
            st = age(job, key, v, ENGINE_DELETE, &nothing, err);
        if (st == VV_OK)
            st = supersede(job, c, newer, &kept, err);
    }
    return st;
}

static void begin_key(btree_job *job)
{
    job->candidate_count = 0;
    job->has_merges = false;
}

static vv_status add_candidate(btree_job *job, const btree_candidate *c, vv_error *err)
{
    if (job->candidate_count == job->candidate_cap) {
        uint32_t cap = job->candidate_cap == 0 ? 16 : job->candidate_cap * 2;
        btree_candidate *more = vv_realloc(job->candidates, cap * sizeof *more);
        if (more == NULL)
            return vv_fail(err, VV_NO_MEMORY, "no memory for %u versions of a key", cap);
        job->candidates = more;
        job->candidate_cap = cap;
    }
    /* The same version twice: the newer source was first. A merge may stand on what its own entry
     * wrote before. */
    const btree_candidate *last =
        job->candidate_count == 0 ? NULL : &job->candidates[job->candidate_count - 1];
    if (last != NULL && last->item.version == c->item.version &&
        (last->item.kind != ENGINE_MERGE || c->in_tree))
        return free_value(job, c, err);
    job->has_merges |= c->item.kind == ENGINE_MERGE;
    assert(job->candidates != NULL); /* room was made */
    job->candidates[job->candidate_count++] = *c;
    return VV_OK;
}

/* All versions of the key that the merge stands on. Memtables keep what their items borrow. */
static vv_status take_versions(btree_job *job, vv_slice key, vv_error *err)
{
    vv_status st = VV_OK;
    const engine_item *item;
    while (st == VV_OK && (item = engine_merge_item(&job->merge)) != NULL &&
           vv_slice_eq(item->key, key)) {
        btree_candidate c = {.item = *item};
        c.dead = item->kind == ENGINE_DELETE || is_expired(job, item);
        job->read_bytes += item->key.len + item->value.len + 16;
        st = add_candidate(job, &c, err);
        if (st == VV_OK)
            st = engine_merge_next(&job->merge, err);
    }
    return st;
}

/* ---- one leaf ---- */

/* The walk over an old leaf beside the merge. */
typedef struct beside {
    btree_leaf leaf;
    uint32_t index;
    bool valid;
    btree_candidate c; /* the entry at index */
    uint8_t key[BTREE_KEY_BUF];
} beside;

static void look_at(beside *b)
{
    b->valid = b->index < b->leaf.n;
    if (!b->valid)
        return;
    btree_found f;
    vv_slice key = btree_leaf_at(&b->leaf, b->index, b->key, &f);
    b->c = (btree_candidate){.item = {.key = key,
                                      .value = f.value,
                                      .version = f.version,
                                      .expires_ns = f.expires_ns,
                                      .kind = ENGINE_PUT},
                             .flags = (uint8_t)f.flags,
                             .in_tree = true};
}

/* An entry that no memtable writes: it stays, unless a range or its expiry ends it. */
static vv_status pass_entry(btree_job *job, beside *b, vv_error *err)
{
    btree_candidate *c = &b->c;
    vv_status st = btree_job_enter_table(job, engine_key_table(c->item.key), err);
    if (st != VV_OK)
        return st;
    c->dead = is_expired(job, &c->item);
    bool covered = job->cover != NULL &&
                   engine_rangedels_cover(job->cover, c->item.key, INT64_MAX) > c->item.version;
    if (VV_LIKELY(!c->dead && !covered)) {
        btree_entry e = {.key = c->item.key,
                         .value = c->item.value,
                         .timestamp = (uint64_t)c->item.version,
                         .expires = (uint64_t)c->item.expires_ns,
                         .flags = c->flags};
        return btree_update_put(&job->main, &e, err);
    }
    begin_key(job);
    st = add_candidate(job, c, err);
    return st == VV_OK ? resolve(job, err) : st;
}

static vv_status merge_leaf(btree_job *job, beside *b, bool bounded, vv_slice upper, vv_error *err)
{
    vv_status st = VV_OK;
    look_at(b);
    while (st == VV_OK) {
        const engine_item *item = engine_merge_item(&job->merge);
        if (item != NULL && bounded && vv_slice_cmp(item->key, upper) >= 0)
            item = NULL;
        int c = item == NULL ? 1 : !b->valid ? -1 : vv_slice_cmp(item->key, b->c.item.key);
        if (item == NULL && !b->valid)
            return VV_OK;
        if (c > 0) {
            job->read_bytes += b->c.item.key.len + b->c.item.value.len + 16;
            st = pass_entry(job, b, err);
        } else {
            begin_key(job);
            vv_slice key = item->key;
            st = btree_job_enter_table(job, engine_key_table(key), err);
            if (st == VV_OK)
                st = take_versions(job, key, err);
            if (st == VV_OK && c == 0) {
                b->c.dead = is_expired(job, &b->c.item);
                st = add_candidate(job, &b->c, err);
            }
            if (st == VV_OK)
                st = resolve(job, err);
        }
        if (st == VV_OK && c >= 0) {
            b->index++;
            look_at(b);
        }
    }
    return st;
}

/* The next key that something has to be done about; false when there is none. */
static bool next_key(btree_job *job, vv_slice *out)
{
    vv_slice pos = vv_slice_of(job->pos, job->pos_len);
    const engine_item *item = engine_merge_item(&job->merge);
    while (job->span_from < job->span_count &&
           vv_slice_cmp(job->spans[job->span_from].end, pos) <= 0)
        job->span_from++;
    bool spans = job->span_from < job->span_count && job->view->tree->main != NULL;
    if (job->at_end || (item == NULL && !spans))
        return false;
    if (spans) {
        vv_slice start = job->spans[job->span_from].start;
        *out = vv_slice_cmp(start, pos) < 0 ? pos : start;
    }
    if (item != NULL && (!spans || vv_slice_cmp(item->key, *out) < 0))
        *out = item->key;
    return true;
}

static vv_status do_leaf(btree_job *job, vv_slice key, vv_error *err)
{
    pgc_frame *frame = NULL;
    vv_status st = btree_update_open_leaf(&job->main, key, &frame, err);
    if (st != VV_OK)
        return st;
    beside b;
    b.index = 0;
    b.leaf.n = 0;
    if (frame != NULL) {
        btree_leaf_lay_out(pgc_data(frame), &b.leaf);
        btree_leaf_load_prefix(&b.leaf, b.key);
    }
    vv_slice upper = {0};
    bool bounded = btree_update_upper(&job->main, &upper);
    st = merge_leaf(job, &b, bounded, upper, err);
    if (frame != NULL)
        pgc_unpin(frame);
    job->at_end = !bounded;
    if (bounded) {
        memcpy(job->pos, upper.data, upper.len);
        job->pos_len = upper.len;
    }
    return st;
}

vv_status btree_flush_piece(btree_job *job, bool *end, vv_error *err)
{
    vv_slice key = {0};
    vv_status st = VV_OK;
    uint64_t before = job->read_bytes;
    bool more = true;
    while (st == VV_OK && job->read_bytes - before <= btree_job_piece(job) &&
           (more = next_key(job, &key))) {
        uint8_t copy[ENGINE_KEY_MAX + 1]; /* pos moves under it; a longer bound begins there */
        size_t len = vv_min_u64(key.len, sizeof copy);
        memcpy(copy, key.data, len);
        st = do_leaf(job, vv_slice_of(copy, len), err);
    }
    *end = false;
    if (st != VV_OK || more)
        return st;
    btree_root root;
    st = btree_update_finish(&job->main, &job->new_main, &root, err);
    job->has_main = st == VV_OK;
    *end = st == VV_OK;
    return st;
}

/* ---- the history ---- */

typedef struct aged_entry {
    btree_entry e;
    size_t size; /* in the buffer */
} aged_entry;

static bool next_aged(const btree_job *job, aged_entry *a)
{
    if (job->aged_from >= job->aged.len)
        return false;
    const uint8_t *p = job->aged.data + job->aged_from;
    uint32_t key_len = vv_get_le32(p);
    uint32_t value_len = vv_get_le32(p + 4);
    a->e = (btree_entry){.key = vv_slice_of(p + AGED_HEAD, key_len),
                         .value = vv_slice_of(p + AGED_HEAD + key_len, value_len),
                         .timestamp = vv_get_le64(p + 8),
                         .expires = vv_get_le64(p + 16),
                         .flags = p[24]};
    a->size = AGED_HEAD + (size_t)key_len + value_len;
    return true;
}

/*
 * Does a sweep keep this entry? It was ended by the next newer one of its key, which stands before
 * it; the first of a key by one that the tree has, no newer than the history's version. A deletion
 * is of use while a reader is below it.
 */
static vv_status is_worth_keeping(btree_job *job, vv_slice name, bool *keep, vv_error *err)
{
    uint8_t key[ENGINE_KEY_MAX];
    size_t len = 0;
    int64_t version = 0;
    engine_kind kind;
    if (!btree_history_parse(name, key, &len, &version, &kind))
        return vv_fail(err, VV_CORRUPT, "the history has a key that is none");
    vv_status st = btree_job_enter_table(job, engine_key_table(vv_slice_of(key, len)), err);
    bool same = job->has_seen && len == job->seen_len && memcmp(key, job->seen_key, len) == 0;
    int64_t newer = same ? job->seen_version : job->view->tree->state.history_version;
    memcpy(job->seen_key, key, len);
    job->seen_len = len;
    job->seen_version = version;
    job->has_seen = true;
    *keep = kind == ENGINE_DELETE ? !engine_readers_are_above(&job->readers, version)
                                  : engine_readers_need(&job->readers, version, newer);
    return st;
}

static vv_status pass_aged(btree_job *job, vv_slice name, const btree_found *f, vv_error *err)
{
    bool keep = true;
    if (job->sweeps) {
        vv_status st = is_worth_keeping(job, name, &keep, err);
        if (st != VV_OK)
            return st;
    }
    if (!keep && (f->flags & BTREE_IS_OVERFLOW) != 0)
        return btree_writer_free_value(&job->writer, f->value, err);
    if (!keep)
        return VV_OK;
    btree_entry e = {.key = name,
                     .value = f->value,
                     .timestamp = (uint64_t)f->version,
                     .expires = (uint64_t)f->expires_ns,
                     .flags = (uint8_t)f->flags};
    return btree_update_put(&job->history, &e, err);
}

/* A new entry, which a sweep has to know as the newer one of what follows. */
static vv_status put_aged(btree_job *job, const aged_entry *a, vv_error *err)
{
    bool keep = true;
    vv_status st = VV_OK;
    if (job->sweeps)
        st = is_worth_keeping(job, a->e.key, &keep, err);
    if (st == VV_OK)
        st = btree_update_put(&job->history, &a->e, err);
    job->aged_from += a->size;
    return st;
}

static vv_status age_leaf(btree_job *job, vv_slice from, vv_error *err)
{
    pgc_frame *frame = NULL;
    vv_status st = btree_update_open_leaf(&job->history, from, &frame, err);
    if (st != VV_OK)
        return st;
    vv_slice upper = {0};
    bool bounded = btree_update_upper(&job->history, &upper);
    btree_leaf leaf = {.n = 0};
    uint8_t key[BTREE_KEY_BUF];
    if (frame != NULL) {
        btree_leaf_lay_out(pgc_data(frame), &leaf);
        btree_leaf_load_prefix(&leaf, key);
    }
    uint32_t i = 0;
    while (st == VV_OK) {
        aged_entry a;
        bool has_new = next_aged(job, &a) && (!bounded || vv_slice_cmp(a.e.key, upper) < 0);
        btree_found f;
        vv_slice name = {0};
        if (i < leaf.n)
            name = btree_leaf_at(&leaf, i, key, &f);
        if (!has_new && i >= leaf.n)
            break;
        int c = !has_new ? 1 : i >= leaf.n ? -1 : vv_slice_cmp(a.e.key, name);
        if (c > 0)
            st = pass_aged(job, name, &f, err);
        else
            st = put_aged(job, &a, err);
        i += c >= 0;
        job->read_bytes += 64;
    }
    if (frame != NULL) {
        job->read_bytes += job->e->store.page_size;
        pgc_unpin(frame);
    }
    job->at_end = !bounded;
    if (bounded) {
        memcpy(job->age_pos, upper.data, upper.len);
        job->age_pos_len = upper.len;
    }
    return st;
}

vv_status btree_age_piece(btree_job *job, bool *end, vv_error *err)
{
    vv_status st = VV_OK;
    *end = !job->ages;
    if (*end)
        return VV_OK;
    if (!job->age_begun) {
        st = btree_update_begin(&job->history, &job->writer, job->view->tree->history, err);
        if (st != VV_OK)
            return st;
        job->age_begun = true;
        job->at_end = false;
    }
    uint64_t before = job->read_bytes;
    bool more = true;
    while (st == VV_OK && job->read_bytes - before <= btree_job_piece(job)) {
        aged_entry a;
        bool has_new = next_aged(job, &a);
        more = !job->at_end && (has_new || job->sweeps);
        if (!more)
            break;
        uint8_t from[BTREE_KEY_MAX + 1];
        size_t len = 0;
        if (job->sweeps) {
            len = job->age_pos_len;
            memcpy(from, job->age_pos, len);
        } else {
            len = a.e.key.len;
            memcpy(from, a.e.key.data, len);
        }
        st = age_leaf(job, vv_slice_of(from, len), err);
    }
    if (st != VV_OK || more)
        return st;
    btree_root root;
    st = btree_update_finish(&job->history, &job->new_history, &root, err);
    job->has_history = st == VV_OK;
    *end = st == VV_OK;
    return st;
}
