/*
 * ingest_pipeline.c - the pipeline as a whole: producers, admission to the raw queues, threads.
 *
 *                 admitted: bytes inside <= queue_bytes          settled
 *   submit ---------------------------------------> raw queue ... ------> bytes leave
 *      \                                              ^                       |
 *       `-- over the bound --> parked, unreleased ----+---- ingest_unpark <---'
 *
 * An empty pipeline admits any one message, so the largest message and a spent budget cannot stop
 * it for ever. The order of a producer holds because it has one worker, and what is parked there
 * goes in before anything newer.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "ingest/ingest_int.h"

#define QUEUE_BYTES_DEFAULT (64 * VV_MIB)
#define BATCH_BYTES_DEFAULT (1u * 1024 * 1024)

/* ---- admission ---- */

static bool admit(ingest_pipeline *p, const ingest_item *item)
{
    uint64_t before = atomic_fetch_add(&p->bytes, item->cost);
    if (before == 0) {
        vv_budget_take(p->opt.budget, VV_BUDGET_QUEUE, item->counted);
        return true;
    }
    if (before + item->cost <= p->opt.queue_bytes &&
        vv_budget_reserve(p->opt.budget, VV_BUDGET_QUEUE, item->counted))
        return true;
    atomic_fetch_sub(&p->bytes, item->cost);
    return false;
}

/* Let in what fits, in order. True when something came in. */
static bool admit_parked(ingest_worker *w) VV_REQUIRES(w->lock)
{
    ingest_pipeline *p = w->p;
    bool any = false;
    while (w->parked.head != NULL && admit(p, w->parked.head)) {
        ingest_item *item = ingest_list_pop(&w->parked);
        atomic_fetch_sub(&p->parked_bytes, item->cost);
        atomic_fetch_sub(&p->parked_count, 1);
        ingest_list_push(&w->raw, item);
        any = true;
    }
    return any;
}

void ingest_unpark(ingest_pipeline *p)
{
    for (uint32_t i = 0; i < p->opt.workers && atomic_load(&p->parked_count) > 0; i++) {
        ingest_worker *w = &p->workers[i];
        vv_mutex_lock(&w->lock);
        if (admit_parked(w) && w->is_waiting)
            vv_cond_signal(&w->wake);
        vv_mutex_unlock(&w->lock);
    }
}

static vv_status enqueue(ingest_worker *w, ingest_item *item)
{
    ingest_pipeline *p = w->p;
    vv_mutex_lock(&w->lock);
    if (w->stop) {
        vv_mutex_unlock(&w->lock);
        return VV_CLOSED;
    }
    if (w->parked.head == NULL && admit(p, item)) {
        ingest_list_push(&w->raw, item);
    } else {
        atomic_fetch_add(&p->parked_bytes, item->cost);
        ingest_list_push(&w->parked, item);
        /* Count first, look again second: the last bytes inside may have left in between, and
         * whoever took them out looked at the count after that. */
        atomic_fetch_add(&p->parked_count, 1);
        (void)admit_parked(w);
    }
    if (w->is_waiting && w->raw.head != NULL)
        vv_cond_signal(&w->wake);
    vv_mutex_unlock(&w->lock);
    return VV_OK;
}

/* ---- items ---- */

static void release_message(const ingest_message *message)
{
    ingest_message copy = *message;
    if (copy.release != NULL)
        copy.release(&copy);
}

vv_status ingest_submit(ingest_producer *producer, ingest_kind kind, const ingest_message *message,
                        vv_error *err)
{
    static const ingest_message none = {0};
    ingest_pipeline *p = producer->p;
    if (message == NULL)
        message = &none;
    ingest_item *item = vv_alloc(sizeof *item);
    if (item == NULL) {
        release_message(message);
        return vv_fail(err, VV_NO_MEMORY, "no memory to queue a message");
    }
    *item = (ingest_item){.producer = producer,
                          .message = *message,
                          .kind = kind,
                          .cost = sizeof *item + message->data.len * (kind == INGEST_BATCH ? 2 : 1),
                          .arrival_ns = vv_clock_mono(p->opt.clock),
                          .given = VV_DURABLE_DEFAULT};
    item->counted = message->counted ? sizeof *item : item->cost;
    item->recs = &item->one;
    item->tables = item->few_tables;
    item->table_cap = INGEST_ITEM_TABLES;
    vv_arena_init(&item->scratch, INGEST_SCRATCH_MAX + message->data.len);
    ingest_producer_ref(producer);
    atomic_fetch_add_explicit(&p->pending, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&p->messages, 1, memory_order_relaxed);
    vv_status st = enqueue(&p->workers[producer->worker], item);
    if (st == VV_OK)
        return VV_OK;
    item->cost = item->counted = 0;
    ingest_item_free(item);
    return vv_fail(err, st, "the pipeline is closing");
}

void ingest_item_free(ingest_item *item)
{
    ingest_producer *producer = item->producer;
    ingest_pipeline *p = producer->p;
    for (uint32_t i = 0; i < item->table_count; i++)
        ingest_table_unref(item->tables[i]);
    if (item->recs != &item->one)
        vv_free(item->recs);
    vv_free(item->metadata);
    vv_arena_fini(&item->scratch);
    release_message(&item->message);
    atomic_fetch_sub_explicit(&p->pending, item->count > 0 ? item->count : 1, memory_order_relaxed);
    vv_budget_release(p->opt.budget, VV_BUDGET_QUEUE, item->counted + item->charged);
    atomic_fetch_sub(&p->bytes, item->cost);
    vv_free(item);
    ingest_producer_unref(producer);
    if (atomic_load(&p->parked_count) > 0)
        ingest_unpark(p);
}

const char *ingest_item_words(ingest_item *item, const char *fmt, ...)
{
    char text[sizeof((vv_error *)NULL)->msg];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return (const char *)vv_arena_dup(&item->scratch, vv_slice_str(text)).data;
}

void ingest_item_outcome(const ingest_item *item, ingest_outcome *out)
{
    *out = (ingest_outcome){.event = item->event,
                            .status = item->status,
                            .message = item->why,
                            .count = item->count,
                            .failed = item->failed,
                            .transactional = item->transactional,
                            .duplicate = item->duplicate,
                            .ack_batch = item->ack_batch,
                            .durability =
                                item->given != VV_DURABLE_DEFAULT ? item->given : item->asked,
                            .bytes = item->message.data.len};
}

const ingest_result *ingest_item_result(const ingest_item *item, uint32_t index)
{
    assert(index < item->count);
    return &item->recs[index].result;
}

const char *ingest_durability_name(vv_durability durability)
{
    switch (durability) {
    case VV_DURABLE_OS:
        return "os";
    case VV_DURABLE_NONE:
        return "none";
    default:
        return "sync";
    }
}

vv_status ingest_durability_parse(vv_slice text, vv_durability *out, vv_error *err)
{
    static const struct {
        const char *name;
        vv_durability durability;
    } table[] = {{"", VV_DURABLE_DEFAULT},
                 {"sync", VV_DURABLE_SYNC},
                 {"os", VV_DURABLE_OS},
                 {"none", VV_DURABLE_NONE}};
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (vv_slice_eq(text, vv_slice_str(table[i].name))) {
            *out = table[i].durability;
            return VV_OK;
        }
    return vv_fail(err, VV_INVALID, "durability is \"%.*s\": use sync, os or none",
                   (int)vv_min_u64(text.len, 40), (const char *)text.data);
}

/* ---- producers ---- */

vv_status ingest_producer_open(ingest_pipeline *p, const ingest_producer_ops *ops, void *ctx,
                               vv_slice identity, ingest_producer **out, vv_error *err)
{
    ingest_producer *producer = vv_alloc(sizeof *producer + identity.len);
    if (producer == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a producer");
    uint32_t turn = atomic_fetch_add_explicit(&p->next_worker, 1, memory_order_relaxed);
    *producer = (ingest_producer){.p = p,
                                  .ops = ops,
                                  .ctx = ctx,
                                  .worker = turn % p->opt.workers,
                                  .refs = 1,
                                  .identity_len = (uint32_t)identity.len};
    if (identity.len > 0)
        memcpy(producer->identity, identity.data, identity.len);
    if (ops->tick != NULL) {
        vv_mutex_lock(&p->streams_lock);
        producer->next = p->streams;
        if (p->streams != NULL)
            p->streams->prev = producer;
        p->streams = producer;
        vv_mutex_unlock(&p->streams_lock);
        atomic_fetch_add(&p->stream_count, 1);
    }
    *out = producer;
    return VV_OK;
}

void ingest_producer_ref(ingest_producer *producer)
{
    atomic_fetch_add_explicit(&producer->refs, 1, memory_order_relaxed);
}

void ingest_producer_unref(ingest_producer *producer)
{
    if (atomic_fetch_sub_explicit(&producer->refs, 1, memory_order_acq_rel) != 1)
        return;
    producer->ops->closed(producer->ctx);
    vv_free(producer->defaults);
    vv_free(producer);
}

void ingest_producer_close(ingest_producer *producer)
{
    if (producer == NULL)
        return;
    ingest_pipeline *p = producer->p;
    if (producer->ops->tick != NULL) {
        vv_mutex_lock(&p->streams_lock);
        if (producer->prev != NULL)
            producer->prev->next = producer->next;
        else
            p->streams = producer->next;
        if (producer->next != NULL)
            producer->next->prev = producer->prev;
        producer->prev = producer->next = NULL; /* a walk that stands here ends */
        vv_mutex_unlock(&p->streams_lock);
        atomic_fetch_sub(&p->stream_count, 1);
    }
    ingest_producer_unref(producer);
}

/* ---- the whole ---- */

static vv_status write_to_db(void *ctx, vv_batch *batch, vv_durability durability,
                             vv_write_done done, void *done_ctx, vv_error *err)
{
    return vv_write_async(ctx, batch, durability, done, done_ctx, err);
}

static void init_parts(ingest_pipeline *p)
{
    vv_mutex_init(&p->streams_lock, VV_RANK_INGEST);
    vv_mutex_init(&p->tenants.lock, VV_RANK_LEAF);
    vv_mutex_init(&p->writer.lock, VV_RANK_LEAF);
    vv_cond_init(&p->writer.wake);
    vv_cond_init(&p->writer.room);
    for (uint32_t i = 0; i < p->opt.workers; i++) {
        ingest_worker *w = &p->workers[i];
        w->p = p;
        vv_mutex_init(&w->lock, VV_RANK_INGEST);
        vv_cond_init(&w->wake);
    }
}

static vv_status start_threads(ingest_pipeline *p, vv_error *err)
{
    const vv_threads *threads = p->opt.threads;
    if (threads == NULL)
        return VV_OK;
    vv_status st = threads->create("varve-writer", VV_THREAD_NORMAL, ingest_writer_main, p,
                                   &p->writer.thread, err);
    for (uint32_t i = 0; i < p->opt.workers && st == VV_OK; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "varve-extr-%u", i);
        st = threads->create(name, VV_THREAD_NORMAL, ingest_worker_main, &p->workers[i],
                             &p->workers[i].thread, err);
    }
    return st;
}

vv_status ingest_create(const ingest_options *opt, ingest_pipeline **out, vv_error *err)
{
    ingest_pipeline *p = vv_calloc(1, sizeof *p);
    if (p == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for the ingestion pipeline");
    p->opt = *opt;
    if (p->opt.workers == 0)
        p->opt.workers = 2;
    if (p->opt.workers > INGEST_WORKERS_MAX)
        p->opt.workers = INGEST_WORKERS_MAX;
    if (p->opt.queue_bytes == 0)
        p->opt.queue_bytes = QUEUE_BYTES_DEFAULT;
    if (p->opt.batch_bytes == 0)
        p->opt.batch_bytes = BATCH_BYTES_DEFAULT;
    if (p->opt.write == NULL) {
        p->opt.write = write_to_db;
        p->opt.write_ctx = p->opt.db;
    }
    p->writer.next_tick_ns = vv_clock_mono(p->opt.clock) + VV_NS_PER_S;
    init_parts(p);
    vv_status st = start_threads(p, err);
    if (st != VV_OK) {
        ingest_destroy(p);
        return vv_wrap(err, st, "ingestion pipeline");
    }
    *out = p;
    return VV_OK;
}

static void stop_worker(ingest_worker *w)
{
    vv_mutex_lock(&w->lock);
    w->stop = true;
    vv_cond_signal(&w->wake);
    vv_mutex_unlock(&w->lock);
}

static void stop_writer(ingest_writer *writer)
{
    vv_mutex_lock(&writer->lock);
    writer->stop = true;
    vv_cond_signal(&writer->wake);
    vv_mutex_unlock(&writer->lock);
}

void ingest_destroy(ingest_pipeline *p)
{
    if (p == NULL)
        return;
    const vv_threads *threads = p->opt.threads;
    while (threads == NULL && ingest_step(p))
        continue;
    for (uint32_t i = 0; i < p->opt.workers; i++)
        stop_worker(&p->workers[i]);
    for (uint32_t i = 0; i < p->opt.workers; i++)
        if (threads != NULL && p->workers[i].thread != NULL)
            threads->join(p->workers[i].thread);
    stop_writer(&p->writer);
    if (threads != NULL && p->writer.thread != NULL)
        threads->join(p->writer.thread);
    for (uint32_t i = 0; i < p->opt.workers; i++) {
        ingest_table_cache_clear(&p->workers[i].cache);
        vv_cond_fini(&p->workers[i].wake);
        vv_mutex_fini(&p->workers[i].lock);
    }
    ingest_writer_fini(&p->writer);
    ingest_tenants_fini(&p->tenants);
    vv_mutex_fini(&p->streams_lock);
    vv_free(p);
}

bool ingest_step(ingest_pipeline *p)
{
    assert(p->opt.threads == NULL);
    bool any = false;
    for (uint32_t i = 0; i < p->opt.workers; i++)
        any |= ingest_worker_turn(&p->workers[i]);
    any |= ingest_writer_turn(p);
    return any;
}
