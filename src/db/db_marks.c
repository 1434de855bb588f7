/*
 * db_marks.c - which version was the newest at what time: the sparse map behind version_retention.
 *
 * A mark is a small logged entry: key 'T' and a time in the shard's system table, its version the
 * one the log gave it. Every entry up to that version was committed by that time, every later one
 * at or after it. Marks are spaced by a fraction of the longest retention and written only while
 * there are writes, so a shard keeps some hundreds of them.
 *
 * The floor of a table: the newest mark that is older than the newest durable mark by the table's
 * retention. It depends on nothing but durable marks, so it is the same after any crash: a version
 * that a flush was allowed to drop is never promised again.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "db/db_int.h"

#define MARKS_A_RETENTION 2048
#define INTERVAL_MIN_NS VV_NS_PER_MS
#define INTERVAL_MAX_NS (60 * VV_NS_PER_S)
#define PRUNE_MAX 32u /* marks removed with one written: the excess goes over time */
#define MARK_KEY_SIZE 9u
#define MARK_BATCH_SIZE 2048u

void db_marks_init(db_marks *marks)
{
    memset(marks, 0, sizeof *marks);
    vv_mutex_init(&marks->lock, VV_RANK_LEAF);
}

void db_marks_fini(db_marks *marks)
{
    vv_free(marks->mark);
    vv_mutex_fini(&marks->lock);
}

static void encode_key(int64_t time_ns, uint8_t out[MARK_KEY_SIZE])
{
    out[0] = CAT_SYSTEM_TIME;
    db_time_encode(time_ns, out + 1);
}

static vv_status reserve_one(db_marks *marks)
{
    if (marks->count < marks->cap)
        return VV_OK;
    size_t cap = marks->cap == 0 ? 64 : marks->cap * 2;
    db_mark *more = vv_realloc(marks->mark, cap * sizeof *more);
    if (more == NULL)
        return VV_NO_MEMORY;
    marks->mark = more;
    marks->cap = cap;
    return VV_OK;
}

static vv_status add_loaded(db_shard *shard, const engine_item *item, vv_error *err)
{
    db_marks *m = &shard->marks;
    if (item->key.len != ENGINE_TABLE_PREFIX + MARK_KEY_SIZE)
        return vv_fail(err, VV_CORRUPT, "a time mark has a key of %zu bytes", item->key.len);
    int64_t time_ns = db_time_decode(item->key.data + ENGINE_TABLE_PREFIX + 1);
    if (m->count > 0 && m->mark[m->count - 1].version >= item->version)
        return vv_fail(err, VV_CORRUPT, "time marks are out of order at version %lld",
                       (long long)item->version);
    if (reserve_one(m) != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "no memory for time marks");
    m->mark[m->count++] = (db_mark){.time_ns = time_ns, .version = item->version};
    atomic_store_explicit(&m->last_ns, time_ns, memory_order_relaxed);
    if (shard->last_commit_time_ns < time_ns)
        shard->last_commit_time_ns = time_ns;
    return VV_OK;
}

vv_status db_marks_load(vv_db *db, db_shard *shard, vv_error *err)
{
    uint8_t lower[ENGINE_TABLE_PREFIX + 1];
    uint8_t upper[ENGINE_TABLE_PREFIX + 1];
    vv_put_be32(lower, CAT_TABLE_SYSTEM);
    vv_put_be32(upper, CAT_TABLE_SYSTEM);
    lower[ENGINE_TABLE_PREFIX] = CAT_SYSTEM_TIME;
    upper[ENGINE_TABLE_PREFIX] = CAT_SYSTEM_TIME + 1;
    engine_cursor_options opt = {.read = {.version = db->ops->visible(shard->eng)},
                                 .lower = vv_slice_of(lower, sizeof lower),
                                 .upper = vv_slice_of(upper, sizeof upper)};
    engine_cursor *c = NULL;
    vv_status st = db->ops->cursor(shard->eng, &opt, &c, err);
    if (st == VV_OK)
        st = engine_cursor_seek(c, vv_slice_of(NULL, 0), err);
    while (st == VV_OK && engine_cursor_valid(c)) {
        st = add_loaded(shard, engine_cursor_item(c), err);
        if (st == VV_OK)
            st = engine_cursor_next(c, err);
    }
    engine_cursor_close(c);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "shard %u", shard->id);
}

void db_marks_retune(vv_db *db, db_shard *shard)
{
    int64_t longest = cat_retention_max(db->cat, shard->id);
    int64_t interval = longest / MARKS_A_RETENTION;
    if (interval < INTERVAL_MIN_NS)
        interval = INTERVAL_MIN_NS;
    if (interval > INTERVAL_MAX_NS)
        interval = INTERVAL_MAX_NS;
    atomic_store_explicit(&shard->marks.longest_ns, longest, memory_order_relaxed);
    atomic_store_explicit(&shard->marks.interval_ns, longest == 0 ? 0 : interval,
                          memory_order_relaxed);
}

/* The newest mark that no crash can take back; count when there is none. Under the lock. */
static size_t newest_durable(const db_marks *m, uint64_t durable)
{
    size_t i = m->count;
    while (i > 0 && m->mark[i - 1].position > durable)
        i--;
    return i == 0 ? m->count : i - 1;
}

/* Marks at or before time_ns. Under the lock. */
static size_t count_until(const db_marks *m, int64_t time_ns)
{
    size_t low = 0;
    size_t high = m->count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (m->mark[mid].time_ns <= time_ns)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

int64_t db_marks_floor(vv_db *db, db_shard *shard, int64_t retention_ns)
{
    db_marks *m = &shard->marks;
    uint64_t durable = wal_durable_position(db->log);
    int64_t floor = 0;
    vv_mutex_lock(&m->lock);
    size_t newest = newest_durable(m, durable);
    if (newest < m->count) {
        size_t old = count_until(m, m->mark[newest].time_ns - retention_ns);
        floor = old == 0 ? 0 : m->mark[old - 1].version;
    }
    vv_mutex_unlock(&m->lock);
    return floor;
}

bool db_marks_version_from(db_shard *shard, int64_t time_ns, int64_t *out)
{
    db_marks *m = &shard->marks;
    vv_mutex_lock(&m->lock);
    size_t before = time_ns == INT64_MIN ? 0 : count_until(m, time_ns - 1);
    bool found = before < m->count;
    if (found)
        *out = m->mark[before].version;
    vv_mutex_unlock(&m->lock);
    return found;
}

bool db_marks_version_at(db_shard *shard, int64_t time_ns, int64_t *out)
{
    db_marks *m = &shard->marks;
    vv_mutex_lock(&m->lock);
    size_t old = count_until(m, time_ns);
    if (old > 0)
        *out = m->mark[old - 1].version;
    vv_mutex_unlock(&m->lock);
    return old > 0;
}

/* How many of the oldest marks no table needs. Under the lock. */
static size_t count_useless(const db_marks *m, uint64_t durable)
{
    size_t newest = newest_durable(m, durable);
    if (newest == m->count)
        return 0;
    int64_t longest = atomic_load_explicit(&m->longest_ns, memory_order_relaxed);
    size_t old = count_until(m, m->mark[newest].time_ns - longest);
    return old <= 1 ? 0 : (old - 1 < PRUNE_MAX ? old - 1 : PRUNE_MAX);
}

void db_marks_note(db_shard *shard, int64_t time_ns, int64_t version, uint64_t position)
{
    db_marks *m = &shard->marks;
    vv_mutex_lock(&m->lock);
    assert(m->count - m->pruning < m->cap);
    memmove(m->mark, m->mark + m->pruning, (m->count - m->pruning) * sizeof *m->mark);
    m->count -= m->pruning;
    m->pruning = 0;
    m->mark[m->count++] = (db_mark){.time_ns = time_ns, .version = version, .position = position};
    vv_mutex_unlock(&m->lock);
}

/* The mark's entry. Under commit_lock: what it says of the other marks stays true until logged. */
static vv_status build(vv_db *db, db_shard *shard, int64_t now, vv_batch *batch)
{
    db_marks *m = &shard->marks;
    uint8_t key[MARK_KEY_SIZE];
    int64_t old[PRUNE_MAX];
    vv_mutex_lock(&m->lock);
    vv_status st = reserve_one(m);
    const db_mark *last = m->count == 0 ? NULL : &m->mark[m->count - 1];
    int64_t newest = atomic_load_explicit(&shard->last_index, memory_order_relaxed);
    if (last != NULL && last->version == newest)
        st = VV_NOT_FOUND; /* nothing was written since */
    if (last != NULL && now <= last->time_ns)
        now = last->time_ns + 1;
    m->pruning = st == VV_OK ? count_useless(m, wal_durable_position(db->log)) : 0;
    size_t pruning = m->pruning;
    for (size_t i = 0; i < pruning; i++)
        old[i] = m->mark[i].time_ns;
    vv_mutex_unlock(&m->lock);
    encode_key(now, key);
    if (st == VV_OK)
        st = db_batch_add(batch, ENGINE_PUT, CAT_TABLE_SYSTEM, vv_slice_of(key, sizeof key),
                          vv_slice_of(NULL, 0), 0, NULL);
    for (size_t i = 0; st == VV_OK && i < pruning; i++) {
        encode_key(old[i], key);
        st = db_batch_add(batch, ENGINE_DELETE, CAT_TABLE_SYSTEM, vv_slice_of(key, sizeof key),
                          vv_slice_of(NULL, 0), 0, NULL);
    }
    batch->mark_time_ns = now;
    return st;
}

void db_marks_write_due(vv_db *db, db_shard *shard)
{
    db_marks *m = &shard->marks;
    int64_t interval = atomic_load_explicit(&m->interval_ns, memory_order_relaxed);
    if (VV_LIKELY(interval == 0))
        return;
    int64_t now = vv_clock_wall(db->env->clock);
    int64_t last = atomic_load_explicit(&m->last_ns, memory_order_relaxed);
    if (now - last < interval ||
        !atomic_compare_exchange_strong_explicit(&m->last_ns, &last, now, memory_order_relaxed,
                                                 memory_order_relaxed))
        return;
    uint8_t scratch[MARK_BATCH_SIZE];
    vv_batch batch;
    db_batch_init(&batch, db, scratch, sizeof scratch);
    batch.shard = shard;
    batch.is_internal = true;
    batch.durability = VV_DURABLE_NONE;
    vv_batch *group[1] = {&batch};
    vv_mutex_lock(&db->commit_lock);
    if (db_check_writable(db, NULL) == VV_OK && build(db, shard, now, &batch) == VV_OK) {
        db_batch_seal(&batch);
        /* A refusal is no loss: the next write tries again after another interval. */
        if (db_append(db, group, 1, NULL) != VV_OK) {
            vv_mutex_lock(&m->lock);
            m->pruning = 0;
            vv_mutex_unlock(&m->lock);
        }
    }
    vv_mutex_unlock(&db->commit_lock);
    db_batch_fini(&batch);
}
