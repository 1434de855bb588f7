/*
 * engine_memory.c - the reference model: a sorted array of keys, a list of versions each.
 *
 * It is made to be obviously right, not fast: every operation of an entry takes effect in order, a
 * range deletion writes a deletion on each key it finds, a merge writes the value it comes to, a
 * cursor works out at its creation all that its snapshot sees, and nothing is ever dropped. It
 * shares the payload reader and the stepping of cursors with the other engines, and none of their
 * rules.
 *
 * Freezing and work are acted out on counters, so that callers meet VV_BUSY as with an engine that
 * has files. All memory an entry needs is taken before its first operation; where that fails, apply
 * answers VV_NO_MEMORY with nothing done, which no other engine does.
 */
#include "engine/engine.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/lock.h"
#include "base/util.h"
#include "engine/operand.h"
#include "engine/rangedel.h"

#define MEMTABLE_SIZE (64 * VV_MIB)
#define MEMTABLE_COUNT 3u

typedef struct version {
    struct version *older;
    int64_t version;
    int64_t expires_ns;
    engine_kind kind;
    vv_slice value;
} version;

typedef struct row {
    vv_slice key;
    version *newest;
} row;

/* A range deletion, for the question who touched a key last. */
typedef struct range {
    struct range *older;
    engine_range range;
} range;

/* The memory of one entry. */
typedef struct block {
    struct block *older;
    _Alignas(16) uint8_t bytes[];
} block;

typedef struct memory_engine {
    engine base;
    uint64_t memtable_size; /* fixed, as the next three */
    uint32_t memtable_count;
    engine_hooks hooks;
    vv_budget *budget;
    vv_mutex lock; /* rank engine; over all below */
    row *rows;     /* sorted */
    size_t row_count;
    size_t row_cap;
    range *ranges;
    block *blocks;
    uint64_t bytes;
    uint64_t active_bytes; /* since the last freeze */
    uint32_t frozen_count;
    uint64_t item_count;
    uint64_t range_count;
    uint64_t flush_count;
    int64_t applied;
    int64_t visible;
    series_fold *samples;   /* made when it is first needed */
    vv_status merge_status; /* latched: a merge found no memory */
} memory_engine;

static memory_engine *memory_of(engine *e)
{
    return VV_CONTAINER_OF(e, memory_engine, base);
}

/* -- life -- */

static vv_status memory_open(const engine_options *opt, engine **out, vv_error *err)
{
    memory_engine *m = vv_calloc(1, sizeof *m);
    if (m == NULL)
        return vv_fail(err, VV_NO_MEMORY, "memory engine: no memory");
    m->base.ops = &engine_memory_ops;
    m->memtable_size = opt->memtable_size == 0 ? MEMTABLE_SIZE : opt->memtable_size;
    m->memtable_count = opt->memtable_count == 0 ? MEMTABLE_COUNT : opt->memtable_count;
    m->hooks = opt->hooks;
    m->budget = opt->budget;
    vv_mutex_init(&m->lock, VV_RANK_ENGINE);
    *out = &m->base;
    return VV_OK;
}

static void memory_close(engine *e)
{
    if (e == NULL)
        return;
    memory_engine *m = memory_of(e);
    vv_budget_release(m->budget, VV_BUDGET_MEMTABLE, m->bytes);
    while (m->blocks != NULL) {
        block *b = m->blocks;
        m->blocks = b->older;
        vv_free(b);
    }
    series_fold_destroy(m->samples);
    vv_free(m->rows);
    vv_mutex_fini(&m->lock);
    vv_free(m);
}

/* -- writes -- */

static void freeze(memory_engine *m) VV_REQUIRES(m->lock)
{
    m->frozen_count++;
    m->active_bytes = 0;
}

static vv_status make_room(memory_engine *m, uint32_t op_count, vv_error *err) VV_REQUIRES(m->lock)
{
    size_t need = m->row_count + op_count;
    if (need <= m->row_cap)
        return VV_OK;
    row *rows = vv_realloc(m->rows, 2 * need * sizeof *rows);
    if (rows == NULL)
        return vv_fail(err, VV_NO_MEMORY, "memory engine: no memory for %zu keys", need);
    m->rows = rows;
    m->row_cap = 2 * need;
    return VV_OK;
}

static vv_status memory_prepare(engine *e, size_t payload_len, uint32_t op_count, vv_error *err)
{
    (void)payload_len;
    memory_engine *m = memory_of(e);
    vv_mutex_lock(&m->lock);
    vv_status st = VV_OK;
    bool froze = false;
    if (m->active_bytes >= m->memtable_size) {
        if (m->frozen_count + 1 >= m->memtable_count) {
            st = vv_fail(err, VV_BUSY, "memory engine: %u memtables wait for a flush",
                         m->frozen_count);
        } else {
            freeze(m);
            froze = true;
        }
    }
    if (st == VV_OK)
        st = make_room(m, op_count, err);
    vv_mutex_unlock(&m->lock);
    if (froze && m->hooks.on_work != NULL)
        m->hooks.on_work(m->hooks.ctx);
    return st;
}

/* Index of the first row with a key >= key. */
static size_t find_row(const memory_engine *m, vv_slice key)
{
    size_t lo = 0;
    size_t hi = m->row_count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (vv_slice_cmp(m->rows[mid].key, key) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* What an operation brings to a merge of its key. */
static size_t brought_max(const engine_op *op)
{
    size_t max = vv_max_u64(op->value.len, series_set_bound(op->value));
    vv_slice steps = op->value;
    engine_step step;
    while (op->kind == ENGINE_MERGE && engine_step_next(&steps, &step))
        if (step.op == ENGINE_SAMPLES)
            max += series_set_bound(step.operand);
    return max;
}

/* What a merge may come to: all there is of the key, all that the entry brought so far, its own. */
static size_t merged_max(const memory_engine *m, const engine_op *op, size_t before)
    VV_REQUIRES(m->lock)
{
    size_t at = find_row(m, op->key);
    bool there = at < m->row_count && vv_slice_eq(m->rows[at].key, op->key);
    vv_slice old = there ? m->rows[at].newest->value : (vv_slice){0};
    size_t old_max = vv_max_u64(old.len, series_set_bound(old));
    return vv_align_up(old_max + before + brought_max(op) + 8, 16);
}

/* Bytes the operations take: a version each, and one for every key a range may come upon. */
static vv_status count_bytes(const memory_engine *m, engine_entry_iter it, size_t *out,
                             vv_error *err) VV_REQUIRES(m->lock)
{
    engine_op op;
    vv_status st;
    size_t bytes = 0;
    size_t new_keys = 0;
    size_t appended = 0; /* by the operations before, to whatever key */
    while ((st = engine_entry_next(&it, &op, err)) == VV_OK) {
        size_t versions = 1;
        if (op.kind == ENGINE_RANGE_DELETE) {
            size_t lo = find_row(m, op.key);
            size_t hi = find_row(m, op.value);
            versions = sizeof(range) / sizeof(version) + 1 + (hi > lo ? hi - lo : 0) + new_keys;
        }
        if (op.kind == ENGINE_MERGE)
            bytes += merged_max(m, &op, appended);
        appended += brought_max(&op);
        new_keys++;
        bytes += versions * sizeof(version) + vv_align_up(op.key.len + op.value.len, 16);
    }
    *out = bytes;
    return st == VV_NOT_FOUND ? VV_OK : st;
}

static void *take(uint8_t **at, size_t size)
{
    uint8_t *p = *at;
    *at += size;
    return p;
}

static vv_slice take_copy(uint8_t **at, vv_slice s)
{
    uint8_t *p = take(at, s.len);
    if (s.len > 0)
        memcpy(p, s.data, s.len);
    return vv_slice_of(p, s.len);
}

static void push(memory_engine *m, row *r, version *v) VV_REQUIRES(m->lock)
{
    v->older = r->newest;
    if (v->older != NULL && v->older->version == v->version)
        v->older = v->older->older; /* the last write of an entry wins */
    else
        m->item_count++;
    r->newest = v;
}

/* A set of samples onto the value that begins at p; returns its new length. */
static size_t merge_samples(memory_engine *m, uint8_t *p, size_t len, bool present,
                            vv_slice operand) VV_REQUIRES(m->lock)
{
    vv_slice old = vv_slice_of(p, len);
    vv_buf out;
    vv_buf_init(&out, 2 * ENGINE_VALUE_MAX);
    if (m->samples == NULL)
        m->samples = series_fold_create();
    vv_status st = m->samples == NULL ? VV_NO_MEMORY : VV_OK;
    if (st == VV_OK) {
        series_fold_reset(m->samples);
        st = series_fold_push(m->samples, operand, NULL);
    }
    if (st == VV_OK && present && series_set_is_valid(old))
        st = series_fold_push(m->samples, old, NULL);
    if (st == VV_OK)
        st = series_fold_value(m->samples, SERIES_RAW, &out, NULL);
    if (st == VV_OK)
        memcpy(p, out.data, out.len);
    else
        m->merge_status = st;
    len = st == VV_OK ? out.len : 0;
    vv_buf_fini(&out);
    return len;
}

/* One step of a merge on the value that begins at p; returns its new length. */
static size_t merge_step(memory_engine *m, uint8_t *p, size_t len, bool present,
                         const engine_step *step) VV_REQUIRES(m->lock)
{
    if (step->op == ENGINE_SAMPLES)
        return merge_samples(m, p, len, present, step->operand);
    if (step->op == ENGINE_APPEND) {
        size_t more = (size_t)vv_min_u64(step->operand.len, ENGINE_VALUE_MAX - len);
        if (more > 0)
            memcpy(p + len, step->operand.data, more);
        return len + more;
    }
    int64_t operand = (int64_t)vv_get_le64(step->operand.data);
    int64_t old = len == 8 ? (int64_t)vv_get_le64(p) : 0;
    int64_t result = operand;
    if (step->op == ENGINE_ADD)
        result = (int64_t)((uint64_t)old + (uint64_t)operand);
    else if (present && len == 8 && old > operand)
        result = old;
    vv_put_le64(p, (uint64_t)result);
    return 8;
}

static vv_slice merge(memory_engine *m, const version *old, int64_t commit_time_ns, vv_slice steps,
                      uint8_t **bytes) VV_REQUIRES(m->lock)
{
    bool present = old != NULL && old->kind == ENGINE_PUT &&
                   (old->expires_ns == 0 || old->expires_ns > commit_time_ns);
    uint8_t *p = *bytes;
    size_t len = present ? old->value.len : 0;
    if (len > 0)
        memcpy(p, old->value.data, len);
    engine_step step;
    for (; engine_step_next(&steps, &step); present = true)
        len = merge_step(m, p, len, present, &step);
    *bytes += vv_align_up(len, 16);
    return vv_slice_of(p, len);
}

static void apply_point(memory_engine *m, int64_t at_version, int64_t commit_time_ns,
                        const engine_op *op, version *v, uint8_t **bytes) VV_REQUIRES(m->lock)
{
    size_t at = find_row(m, op->key);
    bool there = at < m->row_count && vv_slice_eq(m->rows[at].key, op->key);
    vv_slice key = take_copy(bytes, op->key);
    *v = (version){.version = at_version, .kind = op->kind, .expires_ns = op->expires_ns};
    if (op->kind == ENGINE_MERGE) {
        v->kind = ENGINE_PUT;
        v->value = merge(m, there ? m->rows[at].newest : NULL, commit_time_ns, op->value, bytes);
    } else {
        v->value = take_copy(bytes, op->value);
    }
    if (!there) {
        memmove(m->rows + at + 1, m->rows + at, (m->row_count - at) * sizeof *m->rows);
        m->rows[at] = (row){.key = key};
        m->row_count++;
    }
    push(m, &m->rows[at], v);
}

static void apply_range(memory_engine *m, int64_t at_version, const engine_op *op, uint8_t **at)
    VV_REQUIRES(m->lock)
{
    range *r = take(at, (sizeof(range) / sizeof(version) + 1) * sizeof(version));
    r->older = m->ranges;
    m->ranges = r;
    m->range_count++;
    for (size_t i = find_row(m, op->key);
         i < m->row_count && vv_slice_cmp(m->rows[i].key, op->value) < 0; i++) {
        version *v = take(at, sizeof *v);
        *v = (version){.version = at_version, .kind = ENGINE_DELETE};
        push(m, &m->rows[i], v);
    }
    r->range = (engine_range){.version = at_version};
    r->range.start = take_copy(at, op->key);
    r->range.end = take_copy(at, op->value);
}

static vv_status apply(memory_engine *m, int64_t at_version, int64_t commit_time_ns,
                       vv_slice payload, vv_error *err) VV_REQUIRES(m->lock)
{
    engine_entry_iter it;
    size_t size = 0;
    vv_status st = engine_entry_open(payload, &it, err);
    if (st == VV_OK)
        st = count_bytes(m, it, &size, err);
    if (st == VV_OK)
        st = make_room(m, it.left, err);
    if (st != VV_OK)
        return st;
    block *b = vv_alloc(sizeof *b + size);
    if (b == NULL)
        return vv_fail(err, VV_NO_MEMORY, "memory engine: no memory for an entry");
    b->older = m->blocks;
    m->blocks = b;
    uint8_t *at = b->bytes;
    engine_op op;
    while (engine_entry_next(&it, &op, NULL) == VV_OK) {
        if (op.kind == ENGINE_RANGE_DELETE)
            apply_range(m, at_version, &op, &at);
        else
            apply_point(m, at_version, commit_time_ns, &op, take(&at, sizeof(version)), &at);
        at += -(uintptr_t)at & 15;
    }
    assert(at <= b->bytes + size);
    vv_budget_take(m->budget, VV_BUDGET_MEMTABLE, size);
    m->bytes += size;
    m->active_bytes += size;
    m->applied = at_version;
    if (m->merge_status != VV_OK)
        return vv_fail(err, m->merge_status, "memory engine: samples cannot be joined");
    return VV_OK;
}

static vv_status memory_apply(engine *e, int64_t at_version, int64_t commit_time_ns,
                              vv_slice payload, vv_error *err)
{
    memory_engine *m = memory_of(e);
    vv_mutex_lock(&m->lock);
    assert(at_version > m->applied);
    vv_status st = apply(m, at_version, commit_time_ns, payload, err);
    vv_mutex_unlock(&m->lock);
    return st;
}

static void memory_publish(engine *e, int64_t at_version)
{
    memory_engine *m = memory_of(e);
    vv_mutex_lock(&m->lock);
    m->visible = at_version;
    vv_mutex_unlock(&m->lock);
}

static int64_t memory_visible(engine *e)
{
    memory_engine *m = memory_of(e);
    vv_mutex_lock(&m->lock);
    int64_t visible = m->visible;
    vv_mutex_unlock(&m->lock);
    return visible;
}

static int64_t memory_checkpoint(engine *e)
{
    (void)e;
    return 0;
}

static int64_t memory_last_version(engine *e, vv_slice key, int64_t *floor)
{
    memory_engine *m = memory_of(e);
    int64_t last = -1;
    vv_mutex_lock(&m->lock);
    size_t at = find_row(m, key);
    if (at < m->row_count && vv_slice_eq(m->rows[at].key, key))
        last = m->rows[at].newest->version;
    for (const range *r = m->ranges; r != NULL && r->range.version > last; r = r->older)
        if (vv_slice_cmp(r->range.start, key) <= 0 && vv_slice_cmp(key, r->range.end) < 0)
            last = r->range.version;
    vv_mutex_unlock(&m->lock);
    *floor = 0;
    return last;
}

static void note_touch(engine_touch *out, vv_slice key, int64_t at_version, bool is_range)
{
    *out = (engine_touch){.version = at_version, .is_range = is_range, .key_len = key.len};
    memcpy(out->key, key.data, key.len);
}

static vv_status memory_touched(engine *e, vv_slice lower, vv_slice upper, int64_t since,
                                engine_touch *out, vv_error *err)
{
    (void)err;
    memory_engine *m = memory_of(e);
    vv_status st = VV_NOT_FOUND;
    vv_mutex_lock(&m->lock);
    for (const range *r = m->ranges; st != VV_OK && r != NULL; r = r->older) {
        if (r->range.version <= since || vv_slice_cmp(r->range.start, r->range.end) >= 0 ||
            vv_slice_cmp(r->range.start, upper) >= 0 || vv_slice_cmp(r->range.end, lower) <= 0)
            continue;
        note_touch(out, vv_slice_cmp(r->range.start, lower) < 0 ? lower : r->range.start,
                   r->range.version, true);
        st = VV_OK;
    }
    for (size_t i = find_row(m, lower);
         st != VV_OK && i < m->row_count && vv_slice_cmp(m->rows[i].key, upper) < 0; i++) {
        if (m->rows[i].newest->version <= since)
            continue;
        note_touch(out, m->rows[i].key, m->rows[i].newest->version, false);
        st = VV_OK;
    }
    vv_mutex_unlock(&m->lock);
    return st;
}

/* -- reads -- */

/* What a read sees of a row, or NULL. */
static const version *seen(const row *r, const engine_read *read)
{
    const version *v = r->newest;
    while (v != NULL && v->version > read->version)
        v = v->older;
    if (v == NULL || v->kind != ENGINE_PUT)
        return NULL;
    return v->expires_ns != 0 && v->expires_ns <= read->now_ns ? NULL : v;
}

static vv_status memory_get(engine *e, vv_slice key, const engine_read *read, engine_value *out,
                            vv_error *err)
{
    (void)err;
    memory_engine *m = memory_of(e);
    vv_mutex_lock(&m->lock);
    size_t at = find_row(m, key);
    const version *v =
        at < m->row_count && vv_slice_eq(m->rows[at].key, key) ? seen(&m->rows[at], read) : NULL;
    vv_mutex_unlock(&m->lock);
    if (v == NULL)
        return VV_NOT_FOUND;
    *out = (engine_value){.data = v->value, .version = v->version, .expires_ns = v->expires_ns};
    return VV_OK;
}

/* All that a snapshot sees between two keys. */
typedef struct picture {
    engine_source base;
    size_t count;
    size_t index;
    engine_item items[];
} picture;

static void stand(picture *p, size_t index)
{
    p->index = index;
    p->base.valid = index < p->count;
    if (p->base.valid)
        p->base.item = p->items[index];
}

static size_t first_not_below(const picture *p, vv_slice key)
{
    size_t lo = 0;
    size_t hi = p->count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (vv_slice_cmp(p->items[mid].key, key) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static vv_status picture_seek(engine_source *src, vv_slice key, int64_t at_version, vv_error *err)
{
    (void)err;
    picture *p = VV_CONTAINER_OF(src, picture, base);
    size_t at = first_not_below(p, key);
    if (at < p->count && vv_slice_eq(p->items[at].key, key) && p->items[at].version > at_version)
        at++;
    stand(p, at);
    return VV_OK;
}

static vv_status picture_seek_below(engine_source *src, vv_slice key, vv_error *err)
{
    (void)err;
    picture *p = VV_CONTAINER_OF(src, picture, base);
    stand(p, (key.data == NULL ? p->count : first_not_below(p, key)) - 1);
    return VV_OK;
}

static vv_status picture_next(engine_source *src, vv_error *err)
{
    (void)err;
    picture *p = VV_CONTAINER_OF(src, picture, base);
    stand(p, p->index + 1);
    return VV_OK;
}

static vv_status picture_prev(engine_source *src, vv_error *err)
{
    (void)err;
    picture *p = VV_CONTAINER_OF(src, picture, base);
    stand(p, p->index - 1); /* below 0 is past the end */
    return VV_OK;
}

static void picture_close(engine_source *src)
{
    vv_free(VV_CONTAINER_OF(src, picture, base));
}

static vv_status memory_cursor(engine *e, const engine_cursor_options *opt, engine_cursor **out,
                               vv_error *err)
{
    static const engine_source_ops ops = {.seek = picture_seek,
                                          .seek_below = picture_seek_below,
                                          .next = picture_next,
                                          .prev = picture_prev,
                                          .close = picture_close};
    memory_engine *m = memory_of(e);
    vv_mutex_lock(&m->lock);
    size_t lo = find_row(m, opt->lower);
    size_t hi = find_row(m, opt->upper);
    size_t max = hi > lo ? hi - lo : 0;
    picture *p = vv_alloc(sizeof *p + max * sizeof p->items[0]);
    if (p != NULL) {
        *p = (picture){.base = {.ops = &ops}};
        for (size_t i = lo; i < hi; i++) {
            const version *v = seen(&m->rows[i], &opt->read);
            if (v != NULL)
                p->items[p->count++] = (engine_item){.key = m->rows[i].key,
                                                     .value = v->value,
                                                     .version = v->version,
                                                     .expires_ns = v->expires_ns,
                                                     .kind = v->kind};
        }
    }
    vv_mutex_unlock(&m->lock);
    if (p == NULL)
        return vv_fail(err, VV_NO_MEMORY, "memory engine: no memory for a cursor");
    engine_source *src = &p->base;
    return engine_cursor_create(&src, 1, opt, NULL, NULL, out, err);
}

static vv_status memory_pin(engine *e, int64_t at_version, int64_t time_ns, vv_error *err)
{
    (void)e; /* nothing is ever dropped */
    (void)at_version;
    (void)time_ns;
    (void)err;
    return VV_OK;
}

static void memory_unpin(engine *e, int64_t at_version, int64_t time_ns)
{
    (void)e;
    (void)at_version;
    (void)time_ns;
}

/* -- upkeep -- */

static vv_status memory_freeze(engine *e, vv_error *err)
{
    (void)err;
    memory_engine *m = memory_of(e);
    vv_mutex_lock(&m->lock);
    bool froze = m->active_bytes > 0;
    if (froze)
        freeze(m);
    vv_mutex_unlock(&m->lock);
    if (froze && m->hooks.on_work != NULL)
        m->hooks.on_work(m->hooks.ctx);
    return VV_OK;
}

static vv_status memory_work(engine *e, vv_error *err)
{
    (void)err;
    memory_engine *m = memory_of(e);
    vv_mutex_lock(&m->lock);
    bool had_work = m->frozen_count > 0;
    if (had_work) {
        m->frozen_count--;
        m->flush_count++;
    }
    vv_mutex_unlock(&m->lock);
    return had_work ? VV_OK : VV_NOT_FOUND;
}

static vv_status memory_compact_range(engine *e, vv_slice lower, vv_slice upper, vv_error *err)
{
    (void)e; /* there are no levels */
    (void)lower;
    (void)upper;
    (void)err;
    return VV_OK;
}

static int64_t memory_throttle_ns(engine *e, size_t bytes)
{
    (void)e;
    (void)bytes;
    return 0;
}

static void memory_stats(engine *e, engine_stats *out)
{
    memory_engine *m = memory_of(e);
    vv_mutex_lock(&m->lock);
    *out = (engine_stats){.memtable_bytes = m->bytes,
                          .memtable_count = m->frozen_count + UINT64_C(1),
                          .memtable_items = m->item_count,
                          .flushes = m->flush_count,
                          .range_deletes = m->range_count};
    vv_mutex_unlock(&m->lock);
}

static vv_status memory_check(engine *e, void (*finding)(void *ctx, const char *text), void *ctx,
                              vv_error *err)
{
    memory_engine *m = memory_of(e);
    char text[96];
    size_t findings = 0;
    vv_mutex_lock(&m->lock);
    for (size_t i = 0; i < m->row_count; i++) {
        bool sorted = i == 0 || vv_slice_cmp(m->rows[i - 1].key, m->rows[i].key) < 0;
        for (const version *v = m->rows[i].newest; v->older != NULL; v = v->older)
            sorted = sorted && v->version > v->older->version;
        if (sorted)
            continue;
        findings++;
        (void)snprintf(text, sizeof text, "memory engine: row %zu is out of order", i);
        finding(ctx, text);
    }
    vv_mutex_unlock(&m->lock);
    return findings == 0 ? VV_OK
                         : vv_fail(err, VV_CORRUPT, "memory engine: %zu findings", findings);
}

static uint64_t memory_approximate_size(engine *e, vv_slice lower, vv_slice upper)
{
    (void)e; /* nothing is on disk */
    (void)lower;
    (void)upper;
    return 0;
}

const engine_ops engine_memory_ops = {
    .name = "memory",
    .open = memory_open,
    .close = memory_close,
    .prepare = memory_prepare,
    .apply = memory_apply,
    .publish = memory_publish,
    .visible = memory_visible,
    .checkpoint = memory_checkpoint,
    .last_version = memory_last_version,
    .touched = memory_touched,
    .get = memory_get,
    .cursor = memory_cursor,
    .pin = memory_pin,
    .unpin = memory_unpin,
    .freeze = memory_freeze,
    .work = memory_work,
    .compact_range = memory_compact_range,
    .throttle_ns = memory_throttle_ns,
    .stats = memory_stats,
    .check = memory_check,
    .approximate_size = memory_approximate_size,
};
