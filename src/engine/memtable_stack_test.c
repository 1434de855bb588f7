/*
 * memtable_stack_test.c - the conformance suite on an engine that is nothing but memtables.
 *
 * Frozen memtables are never flushed: work moves them to a pile that is still read. So the suite,
 * its model test and its threads run on memtables and merging cursors alone.
 */
#include "vv_test.h"

#include "base/alloc.h"
#include "base/lock.h"
#include "engine/chain.h"
#include "engine/engine_suite.h"
#include "engine/memtable.h"
#include "engine/rangedel.h"

#define PILE_MAX 4096u

typedef struct stack {
    engine base;
    engine_options opt;
    engine_memtable_pool *pool;
    vv_mutex lock;                  /* over the memtables' list */
    engine_memtable *mem[PILE_MAX]; /* oldest first, the last is active */
    size_t count;
    size_t done; /* moved to the pile by work */
    _Atomic int64_t visible;
} stack;

static const engine_ops stack_ops;
static bool plain_sources; /* every source, not only one in three */

static stack *stack_of(engine *e)
{
    return VV_CONTAINER_OF(e, stack, base);
}

static void stack_close(engine *e)
{
    if (e == NULL)
        return;
    stack *s = stack_of(e);
    for (size_t i = 0; i < s->count; i++)
        engine_memtable_unref(s->mem[i]);
    engine_memtable_pool_unref(s->pool);
    vv_mutex_fini(&s->lock);
    vv_free(s);
}

static vv_status stack_open(const engine_options *opt, engine **out, vv_error *err)
{
    stack *s = vv_calloc(1, sizeof *s);
    if (s == NULL)
        return vv_fail(err, VV_NO_MEMORY, "stack");
    s->base.ops = &stack_ops;
    s->opt = *opt;
    vv_mutex_init(&s->lock, VV_RANK_ENGINE);
    vv_status st = engine_memtable_pool_create(opt->budget, 7, 1, &s->pool, err);
    if (st == VV_OK)
        st = engine_memtable_create_in(s->pool, opt->memtable_size, &s->mem[0], err);
    if (st != VV_OK) {
        stack_close(&s->base);
        return st;
    }
    s->count = 1;
    *out = &s->base;
    return VV_OK;
}

static engine_memtable *active(stack *s)
{
    return s->mem[s->count - 1];
}

static vv_status stack_freeze(engine *e, vv_error *err)
{
    stack *s = stack_of(e);
    if (engine_memtable_max_version(active(s)) == 0)
        return VV_OK;
    engine_memtable *next;
    vv_status st = engine_memtable_create_in(s->pool, s->opt.memtable_size, &next, err);
    if (st != VV_OK)
        return st;
    vv_mutex_lock(&s->lock);
    assert_true(s->count < PILE_MAX);
    s->mem[s->count++] = next;
    vv_mutex_unlock(&s->lock);
    return VV_OK;
}

static vv_status stack_prepare(engine *e, size_t payload_len, uint32_t op_count, vv_error *err)
{
    stack *s = stack_of(e);
    vv_status st = VV_OK;
    if (engine_memtable_is_full(active(s))) {
        vv_mutex_lock(&s->lock);
        bool busy = s->count - s->done >= s->opt.memtable_count;
        vv_mutex_unlock(&s->lock);
        if (busy)
            return vv_fail(err, VV_BUSY, "stack");
        st = stack_freeze(e, err);
    }
    return st == VV_OK ? engine_memtable_prepare(active(s), payload_len, op_count, err) : st;
}

static vv_status stack_apply(engine *e, int64_t version, int64_t commit_time_ns, vv_slice payload,
                             vv_error *err)
{
    return engine_memtable_apply_at(active(stack_of(e)), version, commit_time_ns, payload, err);
}

static void stack_publish(engine *e, int64_t version)
{
    atomic_store_explicit(&stack_of(e)->visible, version, memory_order_release);
}

static int64_t stack_visible(engine *e)
{
    return atomic_load_explicit(&stack_of(e)->visible, memory_order_acquire);
}

static int64_t stack_checkpoint(engine *e)
{
    (void)e;
    return 0;
}

static int64_t stack_last_version(engine *e, vv_slice key, int64_t *floor)
{
    stack *s = stack_of(e);
    int64_t last = -1;
    *floor = 0;
    for (size_t i = s->count; i-- > 0 && last < 0;)
        last = engine_memtable_last_version(s->mem[i], key);
    return last;
}

/* References on all memtables, newest first. */
static vv_status hold_all(stack *s, engine_memtable ***out, size_t *count, vv_error *err)
{
    vv_mutex_lock(&s->lock);
    engine_memtable **held = vv_alloc(s->count * sizeof(void *));
    for (size_t i = 0; held != NULL && i < s->count; i++) {
        held[i] = s->mem[s->count - 1 - i];
        engine_memtable_ref(held[i]);
    }
    *count = s->count;
    vv_mutex_unlock(&s->lock);
    *out = held;
    return held == NULL ? vv_fail(err, VV_NO_MEMORY, "stack") : VV_OK;
}

static vv_status stack_touched(engine *e, vv_slice lower, vv_slice upper, int64_t since,
                               engine_touch *out, vv_error *err)
{
    engine_memtable **held = NULL;
    size_t count = 0;
    vv_status st = hold_all(stack_of(e), &held, &count, err);
    if (st != VV_OK)
        return st;
    st = VV_NOT_FOUND;
    for (size_t i = 0; i < count; i++) {
        if (st == VV_NOT_FOUND)
            st = engine_memtable_touched(held[i], lower, upper, since, out, err);
        engine_memtable_unref(held[i]);
    }
    vv_free(held);
    return st;
}

static void let_go(engine_memtable **held, size_t count)
{
    for (size_t i = 0; i < count; i++)
        engine_memtable_unref(held[i]);
    vv_free(held);
}

static vv_status resolve(engine_memtable *const *held, size_t count, vv_slice key,
                         const engine_read *read, vv_buf *out, int64_t *version,
                         int64_t *expires_ns, vv_error *err)
{
    engine_chain c;
    vv_status st = VV_OK;
    engine_chain_init(&c, key, read);
    for (size_t i = 0; st == VV_OK && !c.ended && i < count; i++) {
        engine_source *src = NULL;
        st = engine_memtable_source(held[i], &src, err);
        if (st != VV_OK)
            break;
        engine_chain_cover(&c, src->rangedels);
        st = engine_chain_take(&c, src, err);
    }
    if (st == VV_OK)
        st = engine_chain_value(&c, out, version, expires_ns, err);
    engine_chain_fini(&c);
    return st;
}

static vv_status resolve_now(void *ctx, const engine_item *item, const engine_read *read,
                             vv_buf *out, vv_error *err)
{
    engine_memtable **held;
    size_t count;
    int64_t version;
    int64_t expires_ns;
    vv_status st = hold_all(stack_of(ctx), &held, &count, err);
    if (st != VV_OK)
        return st;
    st = resolve(held, count, item->key, read, out, &version, &expires_ns, err);
    let_go(held, count);
    return st;
}

static vv_status stack_get(engine *e, vv_slice key, const engine_read *read, engine_value *out,
                           vv_error *err)
{
    engine_memtable **held;
    size_t count;
    vv_status st = hold_all(stack_of(e), &held, &count, err);
    if (st != VV_OK)
        return st;
    engine_item newest = {.version = -1};
    int64_t cover = -1;
    for (size_t i = 0; i < count; i++) {
        engine_item item;
        if (newest.version < 0 && engine_memtable_get(held[i], key, read->version, &item) == VV_OK)
            newest = item;
        engine_rangedels *set = engine_memtable_rangedels(held[i]);
        int64_t v = engine_rangedels_cover(set, key, read->version);
        engine_rangedels_unref(set);
        cover = v > cover ? v : cover;
    }
    bool live = newest.version >= 0 && engine_item_is_live(&newest, cover, read);
    if (live && newest.kind == ENGINE_MERGE) {
        vv_buf value;
        vv_buf_init(&value, ENGINE_VALUE_MAX);
        *out = (engine_value){0};
        st = resolve(held, count, key, read, &value, &out->version, &out->expires_ns, err);
        out->data = vv_buf_slice(&value);
        out->pin = value.data;
        out->unpin = vv_free;
        if (st != VV_OK)
            vv_buf_fini(&value);
        let_go(held, count);
        return st;
    }
    let_go(held, count); /* nothing is freed before close: the value stays */
    if (!live)
        return VV_NOT_FOUND;
    *out = (engine_value){
        .data = newest.value, .version = newest.version, .expires_ns = newest.expires_ns};
    return VV_OK;
}

/* A source that hides what its inner one knows about whole keys. */
typedef struct plain_source {
    engine_source base;
    engine_source *inner;
} plain_source;

static vv_status mirror(plain_source *p, vv_status st)
{
    p->base.valid = p->inner->valid;
    p->base.item = p->inner->item;
    return st;
}

static vv_status plain_seek(engine_source *src, vv_slice key, int64_t version, vv_error *err)
{
    plain_source *p = VV_CONTAINER_OF(src, plain_source, base);
    return mirror(p, engine_source_seek(p->inner, key, version, err));
}

static vv_status plain_seek_below(engine_source *src, vv_slice key, vv_error *err)
{
    plain_source *p = VV_CONTAINER_OF(src, plain_source, base);
    return mirror(p, engine_source_seek_below(p->inner, key, err));
}

static vv_status plain_next(engine_source *src, vv_error *err)
{
    plain_source *p = VV_CONTAINER_OF(src, plain_source, base);
    return mirror(p, engine_source_next(p->inner, err));
}

static vv_status plain_prev(engine_source *src, vv_error *err)
{
    plain_source *p = VV_CONTAINER_OF(src, plain_source, base);
    return mirror(p, engine_source_prev(p->inner, err));
}

static void plain_close(engine_source *src)
{
    plain_source *p = VV_CONTAINER_OF(src, plain_source, base);
    engine_source_close(p->inner);
    vv_free(p);
}

static vv_status open_source(engine_memtable *mt, bool plain, engine_source **out, vv_error *err)
{
    static const engine_source_ops ops = {.seek = plain_seek,
                                          .seek_below = plain_seek_below,
                                          .next = plain_next,
                                          .prev = plain_prev,
                                          .close = plain_close};
    engine_source *inner = NULL;
    vv_status st = engine_memtable_source(mt, &inner, err);
    if (st != VV_OK || !plain) {
        *out = inner;
        return st;
    }
    plain_source *p = vv_alloc(sizeof *p);
    if (p == NULL) {
        engine_source_close(inner);
        return vv_fail(err, VV_NO_MEMORY, "stack");
    }
    *p = (plain_source){.base = {.ops = &ops, .rangedels = inner->rangedels}, .inner = inner};
    *out = &p->base;
    return VV_OK;
}

static vv_status stack_cursor(engine *e, const engine_cursor_options *opt, engine_cursor **out,
                              vv_error *err)
{
    engine_memtable **held;
    size_t count;
    vv_status st = hold_all(stack_of(e), &held, &count, err);
    if (st != VV_OK)
        return st;
    engine_source **sources = vv_alloc(count * sizeof(void *));
    size_t opened = 0;
    if (sources == NULL)
        st = vv_fail(err, VV_NO_MEMORY, "stack");
    while (st == VV_OK && opened < count) {
        st = open_source(held[opened], plain_sources || opened % 3 == 2, &sources[opened], err);
        opened += st == VV_OK;
    }
    engine_cursor_options with = *opt;
    with.resolver = (engine_resolver){resolve_now, e};
    if (st == VV_OK)
        st = engine_cursor_create(sources, count, &with, NULL, NULL, out, err);
    else
        for (size_t i = 0; i < opened; i++)
            engine_source_close(sources[i]);
    vv_free(sources);
    let_go(held, count);
    return st;
}

static vv_status stack_pin(engine *e, int64_t version, int64_t time_ns, vv_error *err)
{
    (void)e;
    (void)version;
    (void)time_ns;
    (void)err;
    return VV_OK;
}

static void stack_unpin(engine *e, int64_t version, int64_t time_ns)
{
    (void)e;
    (void)version;
    (void)time_ns;
}

static vv_status stack_work(engine *e, vv_error *err)
{
    (void)err;
    stack *s = stack_of(e);
    vv_mutex_lock(&s->lock);
    bool had_work = s->done + 1 < s->count;
    s->done += had_work;
    vv_mutex_unlock(&s->lock);
    return had_work ? VV_OK : VV_NOT_FOUND;
}

static vv_status stack_compact_range(engine *e, vv_slice lower, vv_slice upper, vv_error *err)
{
    (void)e;
    (void)lower;
    (void)upper;
    (void)err;
    return VV_OK;
}

static int64_t stack_throttle_ns(engine *e, size_t bytes)
{
    (void)e;
    (void)bytes;
    return 0;
}

static void stack_stats(engine *e, engine_stats *out)
{
    stack *s = stack_of(e);
    vv_mutex_lock(&s->lock);
    *out = (engine_stats){.memtable_count = s->count - s->done, .flushes = s->done};
    for (size_t i = s->done; i < s->count; i++) {
        out->memtable_items += engine_memtable_items(s->mem[i]);
        out->memtable_bytes += engine_memtable_bytes(s->mem[i]);
    }
    vv_mutex_unlock(&s->lock);
}

static vv_status stack_check(engine *e, void (*finding)(void *ctx, const char *text), void *ctx,
                             vv_error *err)
{
    (void)e;
    (void)finding;
    (void)ctx;
    (void)err;
    return VV_OK;
}

static uint64_t stack_approximate_size(engine *e, vv_slice lower, vv_slice upper)
{
    (void)e;
    (void)lower;
    (void)upper;
    return 0;
}

static const engine_ops stack_ops = {
    .name = "memtables",
    .open = stack_open,
    .close = stack_close,
    .prepare = stack_prepare,
    .apply = stack_apply,
    .publish = stack_publish,
    .visible = stack_visible,
    .checkpoint = stack_checkpoint,
    .last_version = stack_last_version,
    .touched = stack_touched,
    .get = stack_get,
    .cursor = stack_cursor,
    .pin = stack_pin,
    .unpin = stack_unpin,
    .freeze = stack_freeze,
    .work = stack_work,
    .compact_range = stack_compact_range,
    .throttle_ns = stack_throttle_ns,
    .stats = stack_stats,
    .check = stack_check,
    .approximate_size = stack_approximate_size,
};

static vv_env *make_env(void *ctx)
{
    (void)ctx;
    static vv_env env;
    env = (vv_env){.clock = vv_clock_real(), .threads = vv_threads_real(), .seed = 1};
    return &env;
}

static void drop_env(void *ctx, vv_env *env)
{
    (void)ctx;
    (void)env;
}

/* Small memtables, so that there are many. */
static void tune(engine_options *opt, uint64_t seed)
{
    static const uint64_t sizes[] = {4 * VV_KIB, 32 * VV_KIB, 200 * VV_KIB, 8 * VV_MIB};
    opt->memtable_size = sizes[seed % ARRAY_LEN(sizes)];
}

int main(void)
{
    const engine_suite_subject memtables = {
        .name = "engine_suite on memtables",
        .ops = &stack_ops,
        .env_create = make_env,
        .env_destroy = drop_env,
        .tune = tune,
    };
    int failed = engine_suite_run(&memtables);
    plain_sources = true;
    return failed + engine_suite_run(&memtables);
}
