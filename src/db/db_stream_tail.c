/*
 * db_stream_tail.c - whoever waits for messages of a partition, and who wakes them.
 *
 *   begin to watch: on the shard's list --> look once more --> wait
 *                                                              ^
 *   publish: visible --> is anybody watching? --> fire --------+
 *
 * The one who watches is on the list before it looks, and the one who publishes looks at the list
 * after the messages can be seen, so nothing falls between; nobody polls. Only those who wait are
 * on the list, and a shard without any costs a publish one load.
 *
 * fire() runs under the publish lock: it takes the shard's watch lock, of a rank above everything
 * but leaves, and what it calls calls nothing of the store.
 */
#include "base/alloc.h"
#include "base/error.h"
#include "base/point.h"
#include "db/db_stream_int.h"

#define TAIL_MESSAGES 1000u
#define TAIL_BYTES (1024u * 1024)

typedef struct db_watch {
    struct db_watch *next; /* on the shard's list */
    struct db_watch *prev;
    db_shard *shard;
    const cat_table *cat;
    const db_stream_part *part;
    uint64_t offset;
    bool is_listed;            /* under watch_lock, like the next two */
    bool is_cancelled;         /* of a tail */
    void (*notify)(void *ctx); /* NULL: wake is signalled */
    void *ctx;
    vv_cond wake;
} db_watch;

static void unlist(db_shard *shard, db_watch *w) VV_REQUIRES(shard->watch_lock)
{
    if (w->prev != NULL)
        w->prev->next = w->next;
    else
        shard->watches = w->next;
    if (w->next != NULL)
        w->next->prev = w->prev;
    w->is_listed = false;
    atomic_fetch_sub_explicit(&shard->watch_count, 1, memory_order_relaxed);
}

static void enlist(db_shard *shard, db_watch *w) VV_REQUIRES(shard->watch_lock)
{
    w->prev = NULL;
    w->next = shard->watches;
    if (shard->watches != NULL)
        shard->watches->prev = w;
    shard->watches = w;
    w->is_listed = true;
    atomic_fetch_add_explicit(&shard->watch_count, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst); /* pairs with db_watch_look */
}

static void fire(db_shard *shard, db_watch *w) VV_REQUIRES(shard->watch_lock)
{
    unlist(shard, w);
    if (w->notify != NULL)
        w->notify(w->ctx);
    else
        vv_cond_signal(&w->wake);
}

static bool is_of_interest(const db_watch *w)
{
    return atomic_load_explicit(&w->part->next, memory_order_acquire) > w->offset ||
           atomic_load_explicit(&w->cat->is_dropped, memory_order_acquire);
}

void db_watch_fire(db_shard *shard)
{
    vv_mutex_lock(&shard->watch_lock);
    for (db_watch *w = shard->watches; w != NULL;) {
        db_watch *next = w->next;
        if (is_of_interest(w) && !VV_BUG(105)) /* the bug: who waits is not told */
            fire(shard, w);
        w = next;
    }
    vv_mutex_unlock(&shard->watch_lock);
}

/* May a message at or past the offset be seen now? After a failure, too: the reader finds it. */
static bool is_visible(const vv_table *table, uint32_t partition, uint64_t offset)
{
    db_stream_reader r;
    vv_status st = db_stream_reader_open(&r, table, partition, NULL, NULL, NULL);
    bool is = st != VV_OK || r.next > offset;
    db_stream_reader_close(&r);
    return is;
}

static vv_status watch_init(db_watch *w, vv_table *table, uint32_t partition, vv_error *err)
{
    db_stream *s = NULL;
    vv_status st = db_stream_of(table, &s, err);
    if (st != VV_OK)
        return st;
    assert(s != NULL);
    vv_table part = db_part_at(table, partition);
    *w = (db_watch){.shard = part.shard, .cat = table->cat, .part = &s->part[partition]};
    vv_cond_init(&w->wake);
    cat_table_ref(table->cat);
    return VV_OK;
}

static void watch_fini(db_watch *w, cat_table *cat)
{
    vv_cond_fini(&w->wake);
    cat_table_unref(cat);
}

/* ---- watches of loops ---- */

struct vv_stream_watch {
    db_watch watch;
    cat_table *cat;
};

vv_status vv_stream_watch_open(vv_table *table, uint32_t partition, uint64_t offset,
                               void (*notify)(void *ctx), void *ctx, vv_stream_watch **out,
                               vv_error *err)
{
    vv_status st = db_stream_check_part(table, partition, err);
    if (st != VV_OK)
        return st;
    vv_stream_watch *w = vv_alloc(sizeof *w);
    if (w == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a watch");
    st = watch_init(&w->watch, table, partition, err);
    if (st != VV_OK) {
        vv_free(w);
        return st;
    }
    w->cat = table->cat;
    w->watch.offset = offset;
    w->watch.notify = notify;
    w->watch.ctx = ctx;
    db_shard *shard = w->watch.shard;
    vv_mutex_lock(&shard->watch_lock);
    enlist(shard, &w->watch);
    vv_mutex_unlock(&shard->watch_lock);
    *out = w; /* before notify: it may look for it */
    if (!is_visible(table, partition, offset))
        return VV_OK;
    vv_mutex_lock(&shard->watch_lock);
    if (w->watch.is_listed)
        fire(shard, &w->watch);
    vv_mutex_unlock(&shard->watch_lock);
    return VV_OK;
}

void vv_stream_unwatch(vv_stream_watch *watch)
{
    if (watch == NULL)
        return;
    db_watch *w = &watch->watch;
    db_shard *shard = w->shard;
    vv_mutex_lock(&shard->watch_lock);
    if (w->is_listed)
        unlist(shard, w);
    vv_mutex_unlock(&shard->watch_lock);
    watch_fini(w, watch->cat);
    vv_free(watch);
}

/* ---- tails ---- */

struct vv_stream_tail {
    vv_table table; /* a reference of its own */
    vv_stream_read_options opt;
    vv_stream_cursor *at; /* NULL: everything seen was given */
    uint64_t offset;      /* of the next message */
    uint64_t skipped;
    db_watch watch;
};

vv_status vv_stream_tail_open(vv_table *table, const vv_stream_read_options *opt,
                              vv_stream_tail **out, vv_error *err)
{
    vv_stream_read_options full;
    vv_status st = db_stream_read_options_take(opt, &full, err);
    if (st == VV_OK)
        st = db_stream_check_part(table, full.partition, err);
    if (st == VV_OK && (full.snapshot != NULL || full.archive != NULL))
        st = vv_fail(err, VV_INVALID,
                     "who follows a stream reads neither a snapshot nor an "
                     "archive");
    if (st != VV_OK)
        return st;
    vv_stream_tail *t = vv_calloc(1, sizeof *t);
    if (t == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory to follow a stream");
    t->table = *table;
    t->opt = full;
    if (full.messages_max == 0)
        t->opt.messages_max = TAIL_MESSAGES;
    if (full.bytes_max == 0)
        t->opt.bytes_max = TAIL_BYTES;
    st = watch_init(&t->watch, table, full.partition, err);
    if (st != VV_OK) {
        vv_free(t);
        return st;
    }
    st = vv_stream_cursor_open(&t->table, &t->opt, &t->at, err);
    if (st != VV_OK) {
        vv_stream_tail_close(t);
        return st;
    }
    t->offset = vv_stream_cursor_offset(t->at);
    t->skipped = vv_stream_cursor_skipped(t->at);
    t->opt.start = (vv_stream_start){.from = VV_STREAM_OFFSET};
    *out = t;
    return VV_OK;
}

void vv_stream_tail_close(vv_stream_tail *t)
{
    if (t == NULL)
        return;
    vv_stream_cursor_close(t->at);
    watch_fini(&t->watch, t->table.cat);
    vv_free(t);
}

/* The next message of what is visible. VV_NOT_FOUND: there is none. */
static vv_status next_visible(vv_stream_tail *t, vv_message *out, vv_error *err)
{
    for (;;) {
        bool is_fresh = t->at == NULL;
        vv_status st = VV_OK;
        if (is_fresh) {
            t->opt.start.offset = t->offset;
            st = vv_stream_cursor_open(&t->table, &t->opt, &t->at, err);
            if (st != VV_OK)
                return st;
            t->skipped += vv_stream_cursor_skipped(t->at);
        }
        st = vv_stream_cursor_next(t->at, out, err);
        if (st == VV_OK) {
            t->offset = vv_stream_cursor_offset(t->at);
            return VV_OK;
        }
        vv_stream_cursor_close(t->at);
        t->at = NULL;
        if (st != VV_NOT_FOUND || is_fresh)
            return st;
    }
}

static bool is_cancelled(vv_stream_tail *t)
{
    vv_mutex_lock(&t->watch.shard->watch_lock);
    bool is = t->watch.is_cancelled;
    vv_mutex_unlock(&t->watch.shard->watch_lock);
    return is;
}

/* Until there may be something to read, or the deadline (negative: none). VV_TIMEOUT. */
static vv_status wait(vv_stream_tail *t, int64_t deadline_ns)
{
    db_watch *w = &t->watch;
    db_shard *shard = w->shard;
    vv_clock *clock = t->table.db->env->clock;
    bool is_late = false;
    VV_POINT("stream.before_watch");
    vv_mutex_lock(&shard->watch_lock);
    w->offset = t->offset;
    enlist(shard, w);
    vv_mutex_unlock(&shard->watch_lock);
    bool is_there = is_visible(&t->table, t->opt.partition, t->offset);
    vv_mutex_lock(&shard->watch_lock);
    while (!is_there && !is_late && w->is_listed && !w->is_cancelled) {
        int64_t left = deadline_ns < 0 ? 0 : deadline_ns - vv_clock_mono(clock);
        if (deadline_ns < 0)
            vv_cond_wait(&w->wake, &shard->watch_lock);
        else if (left > 0)
            is_late = !vv_cond_wait_for(&w->wake, &shard->watch_lock, left);
        else
            is_late = true;
    }
    if (w->is_listed)
        unlist(shard, w);
    vv_mutex_unlock(&shard->watch_lock);
    return is_late ? VV_TIMEOUT : VV_OK;
}

static vv_status fail_stopped(const vv_stream_tail *t, vv_status st, vv_error *err)
{
    return vv_fail(err, st,
                   st == VV_CLOSED ? "following stream '%s' was cancelled"
                                   : "stream '%s' has no new message yet",
                   t->table.cat->name);
}

vv_status vv_stream_tail_next(vv_stream_tail *t, int64_t timeout_ns, vv_message *out, vv_error *err)
{
    int64_t deadline = -1;
    if (timeout_ns > 0 &&
        __builtin_add_overflow(vv_clock_mono(t->table.db->env->clock), timeout_ns, &deadline))
        deadline = -1;
    for (bool is_last = timeout_ns == 0;;) {
        if (is_cancelled(t))
            return fail_stopped(t, VV_CLOSED, err);
        vv_status st = next_visible(t, out, err);
        if (st == VV_NOT_FOUND) { /* nothing yet, or nothing ever */
            vv_status dropped = db_check_table(&t->table, err);
            if (dropped != VV_OK)
                return dropped;
        }
        if (st != VV_NOT_FOUND)
            return st;
        if (is_last)
            return fail_stopped(t, VV_TIMEOUT, err);
        is_last = wait(t, deadline) == VV_TIMEOUT;
    }
}

uint64_t vv_stream_tail_offset(const vv_stream_tail *tail)
{
    return tail->offset;
}

uint64_t vv_stream_tail_skipped(const vv_stream_tail *tail)
{
    return tail->skipped;
}

void vv_stream_tail_cancel(vv_stream_tail *tail)
{
    vv_mutex_lock(&tail->watch.shard->watch_lock);
    tail->watch.is_cancelled = true;
    vv_cond_signal(&tail->watch.wake);
    vv_mutex_unlock(&tail->watch.shard->watch_lock);
}
