/*
 * ingest_writer.c - the one thread that turns processed records into batches, and durable batches
 * into answers.
 *
 * One turn: take what the commit thread finished and what the workers made; settle; gather records
 * into the open batch of each shard; submit; tell each producer that was touched that its answers
 * can go. A batch that is not full is held back while two of its shard are on their way: what comes
 * meanwhile joins it, so the batches grow with the load and an idle pipeline adds no delay.
 *
 *      gather               vv_write_async              done()             settle
 *   open ------> full, or few in flight -----> in flight -----> completed -----> spare
 *                      \-- VV_BUSY --> stalled --^  \-- VV_BUSY --> deferred
 *                                         ^---------- nothing in flight ---'
 *
 * VV_BUSY slows: the batch is tried again, for a while, before anything newer. One that failed on
 * its way waits until all that follow it have ended; only if none of them wrote for a producer of
 * it can it still go without overtaking, otherwise its records are told VV_BUSY.
 *
 * Any other failure fails all records of the batch. When a table was dropped under it, the records
 * of other tables are told VV_BUSY: to write them again here could overtake what followed.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "db/db.h"
#include "ingest/ingest_int.h"

#define PARTIAL_IN_FLIGHT 2u          /* of a shard, before an unfilled batch waits */
#define IN_FLIGHT_BYTES (16 * VV_MIB) /* gathering stops above */
#define IN_FLIGHT_COUNT 1024u
#define SPARE_MAX 16u
#define STALL_RETRY_NS VV_NS_PER_MS
#define BUSY_RETRY_NS (5 * VV_NS_PER_MS)
#define GIVE_UP_NS (10 * VV_NS_PER_S)
#define PROCESSED_BYTES (8 * VV_MIB) /* workers wait above */

/* ---- batches ---- */

static void wbatch_free(ingest_wbatch *wb)
{
    if (wb == NULL)
        return;
    vv_batch_destroy(wb->batch);
    vv_free(wb->segs);
    vv_free(wb);
}

static ingest_wbatch *wbatch_take(ingest_pipeline *p, uint32_t shard, vv_durability durability)
{
    ingest_writer *writer = &p->writer;
    ingest_wbatch *wb = writer->spare;
    if (wb != NULL) {
        writer->spare = wb->next;
        writer->spare_count--;
    } else {
        wb = vv_calloc(1, sizeof *wb);
        if (wb == NULL)
            return NULL;
        wb->p = p;
        wb->batch = vv_batch_create(p->opt.db);
        if (wb->batch == NULL) {
            wbatch_free(wb);
            return NULL;
        }
    }
    wb->next = NULL;
    wb->shard = shard;
    wb->durability = durability;
    wb->seg_count = 0;
    wb->give_up_ns = 0;
    return wb;
}

/* Keep it for the next, unless it grew beyond what is worth keeping. */
static void wbatch_put(ingest_pipeline *p, ingest_wbatch *wb)
{
    ingest_writer *writer = &p->writer;
    bool is_large = vv_batch_bytes(wb->batch) > 2 * (size_t)p->opt.batch_bytes;
    if (is_large || writer->spare_count == SPARE_MAX) {
        wbatch_free(wb);
        return;
    }
    vv_batch_clear(wb->batch);
    wb->next = writer->spare;
    writer->spare = wb;
    writer->spare_count++;
}

void ingest_writer_fini(ingest_writer *writer)
{
    for (ingest_wbatch *wb = writer->spare, *next; wb != NULL; wb = next) {
        next = wb->next;
        wbatch_free(wb);
    }
    vv_cond_fini(&writer->wake);
    vv_cond_fini(&writer->room);
    vv_mutex_fini(&writer->lock);
}

/* ---- settling ---- */

static void touch(ingest_writer *writer, ingest_producer *producer)
{
    if (producer->is_touched)
        return;
    producer->is_touched = true;
    ingest_producer_ref(producer);
    producer->touched_next = writer->touched;
    writer->touched = producer;
}

/* Answer what is complete, in order. */
static void settle(ingest_pipeline *p, ingest_producer *producer)
{
    ingest_item *item;
    touch(&p->writer, producer);
    while ((item = producer->unsettled.head) != NULL && item->pending == 0) {
        (void)ingest_list_pop(&producer->unsettled);
        if (!item->is_skipped) {
            ingest_count_item(p, item, vv_clock_mono(p->opt.clock));
            producer->ops->settled(producer->ctx, item);
        }
        ingest_item_free(item);
    }
}

static void end_turn(ingest_writer *writer)
{
    while (writer->touched != NULL) {
        ingest_producer *producer = writer->touched;
        writer->touched = producer->touched_next;
        producer->is_touched = false;
        if (producer->ops->turn != NULL)
            producer->ops->turn(producer->ctx);
        ingest_producer_unref(producer);
    }
}

/* Its one fault is that of the request; that of a single record stays the record's. */
static bool is_atomic_batch(const ingest_item *item)
{
    return item->transactional && item->kind == INGEST_BATCH;
}

static void finish_item(ingest_pipeline *p, ingest_item *item)
{
    assert(item->pending > 0);
    if (--item->pending > 0)
        return;
    if (is_atomic_batch(item) && item->status != VV_OK)
        item->failed = item->count;
    settle(p, item->producer);
}

static void fail_rec(ingest_item *item, ingest_rec *rec, vv_status status, const char *why)
{
    rec->result.status = status;
    rec->result.message = why;
    item->failed++;
}

/* Was the table of this record dropped? Marks it, so that the next record asks for it anew. */
static bool is_dropped(ingest_table *table)
{
    vv_table_info info;
    if (!atomic_load_explicit(&table->stale, memory_order_relaxed) &&
        vv_table_identify(table->table, &info, NULL) != VV_NOT_FOUND)
        return false;
    atomic_store_explicit(&table->stale, true, memory_order_release);
    return true;
}

static void fail_segment(const ingest_wbatch *wb, const ingest_segment *seg)
{
    ingest_item *item = seg->item;
    const char *why = ingest_item_words(item, "%s", wb->error.msg);
    const char *other = "a table of the same commit was dropped meanwhile: send the record again";
    bool look = wb->status == VV_NOT_FOUND;
    ingest_table *asked = NULL; /* the last table looked at */
    bool gone = false;
    for (uint32_t i = seg->first; i < seg->first + seg->count; i++) {
        ingest_rec *rec = &item->recs[i];
        if (look && rec->table != asked) {
            asked = rec->table;
            gone = is_dropped(asked);
        }
        if (look && !gone && !item->transactional)
            fail_rec(item, rec, VV_BUSY, other);
        else
            fail_rec(item, rec, wb->status, why);
    }
    if (is_atomic_batch(item)) {
        item->status = wb->status;
        item->why = why;
    }
}

/* None is stronger than what another batch of the item got. */
static void note_given(ingest_item *item, vv_durability given)
{
    static_assert(VV_DURABLE_SYNC < VV_DURABLE_OS && VV_DURABLE_OS < VV_DURABLE_NONE,
                  "from strong to weak");
    if (given > item->given)
        item->given = given;
}

static void complete(ingest_pipeline *p, ingest_wbatch *wb)
{
    for (uint32_t s = 0; s < wb->seg_count; s++) {
        const ingest_segment *seg = &wb->segs[s];
        ingest_item *item = seg->item;
        if (wb->status != VV_OK) {
            fail_segment(wb, seg);
        } else {
            for (uint32_t i = seg->first; i < seg->first + seg->count; i++)
                item->recs[i].result.version = wb->result.version;
            note_given(item, wb->result.durability);
            item->duplicate |= wb->result.duplicate;
            item->producer->written_order = vv_max_u64(item->producer->written_order, wb->order);
        }
        finish_item(p, item);
    }
    wb->seg_count = 0;
}

/* From the commit thread. */
static void on_done(void *ctx, vv_status status, const vv_write_result *result, const vv_error *err)
{
    ingest_wbatch *wb = ctx;
    ingest_writer *writer = &wb->p->writer;
    wb->status = status;
    memset(&wb->result, 0, sizeof wb->result);
    memset(&wb->error, 0, sizeof wb->error);
    if (result != NULL)
        wb->result = *result;
    if (err != NULL)
        wb->error = *err;
    vv_mutex_lock(&writer->lock);
    wb->next = writer->completed;
    writer->completed = wb;
    if (writer->is_waiting)
        vv_cond_signal(&writer->wake);
    vv_mutex_unlock(&writer->lock);
}

/* ---- submitting ---- */

static void count_in(ingest_writer *writer, ingest_wbatch *wb)
{
    wb->bytes = vv_batch_bytes(wb->batch);
    writer->in_flight[wb->shard]++;
    writer->in_flight_bytes += wb->bytes;
    writer->in_flight_count++;
}

static void count_out(ingest_writer *writer, const ingest_wbatch *wb)
{
    writer->in_flight[wb->shard]--;
    writer->in_flight_bytes -= wb->bytes;
    writer->in_flight_count--;
}

static void stall(ingest_writer *writer, ingest_wbatch *wb)
{
    wb->next = NULL;
    if (writer->stalled_tail == NULL)
        writer->stalled_head = wb;
    else
        writer->stalled_tail->next = wb;
    writer->stalled_tail = wb;
}

/* VV_BUSY: it was not taken. Every other failure is its end. */
static vv_status try_write(ingest_pipeline *p, ingest_wbatch *wb)
{
    ingest_writer *writer = &p->writer;
    vv_error err = {0};
    if (wb->give_up_ns == 0)
        wb->give_up_ns = vv_clock_mono(p->opt.clock) + GIVE_UP_NS;
    wb->order = ++writer->next_order;
    count_in(writer, wb);
    atomic_fetch_add_explicit(&p->batches, 1, memory_order_relaxed);
    vv_status st = p->opt.write(p->opt.write_ctx, wb->batch, wb->durability, on_done, wb, &err);
    if (st == VV_OK) {
        if (VV_BUG(19)) { /* say yes before the batch is committed */
            wb->status = VV_OK;
            wb->result = (vv_write_result){.version = 1, .durability = VV_DURABLE_SYNC};
            complete(p, wb);
        }
        return VV_OK;
    }
    count_out(writer, wb);
    atomic_fetch_sub_explicit(&p->batches, 1, memory_order_relaxed);
    if (st == VV_BUSY)
        return st;
    wb->status = st;
    wb->error = err;
    complete(p, wb);
    wbatch_put(p, wb);
    return st;
}

/* Something older must go first. */
static bool is_blocked(const ingest_writer *writer)
{
    return writer->stalled_head != NULL || writer->deferred_head != NULL;
}

static void submit(ingest_pipeline *p, ingest_wbatch *wb)
{
    if (is_blocked(&p->writer) || try_write(p, wb) == VV_BUSY)
        stall(&p->writer, wb);
}

static bool retry_stalled(ingest_pipeline *p)
{
    ingest_writer *writer = &p->writer;
    bool any = false;
    if (writer->deferred_head != NULL || writer->stalled_head == NULL ||
        vv_clock_mono(p->opt.clock) < writer->retry_ns)
        return false;
    while (writer->stalled_head != NULL) {
        ingest_wbatch *wb = writer->stalled_head, *next = wb->next;
        if (try_write(p, wb) == VV_BUSY) {
            writer->retry_ns = vv_clock_mono(p->opt.clock) + STALL_RETRY_NS;
            break;
        }
        writer->stalled_head = next;
        if (next == NULL)
            writer->stalled_tail = NULL;
        any = true;
    }
    return any;
}

static void defer(ingest_writer *writer, ingest_wbatch *wb)
{
    wb->next = NULL;
    if (writer->deferred_tail == NULL)
        writer->deferred_head = wb;
    else
        writer->deferred_tail->next = wb;
    writer->deferred_tail = wb;
}

/* Did none of its producers write anything newer? */
static bool may_go_again(const ingest_wbatch *wb)
{
    for (uint32_t s = 0; s < wb->seg_count; s++)
        if (wb->segs[s].item->producer->written_order > wb->order)
            return false;
    return true;
}

/* Everything that followed a batch that failed with VV_BUSY has ended: put what may go again in
 * front of what waits. */
static void release_deferred(ingest_pipeline *p)
{
    ingest_writer *writer = &p->writer;
    ingest_wbatch *wb = writer->deferred_head, *behind = writer->stalled_head;
    ingest_wbatch *tail = writer->stalled_tail;
    if (wb == NULL || writer->in_flight_count > 0)
        return;
    writer->deferred_head = writer->deferred_tail = NULL;
    writer->stalled_head = writer->stalled_tail = NULL;
    for (ingest_wbatch *next; wb != NULL; wb = next) {
        next = wb->next;
        if (may_go_again(wb)) {
            stall(writer, wb);
        } else {
            complete(p, wb);
            wbatch_put(p, wb);
        }
    }
    if (behind != NULL) {
        if (writer->stalled_tail == NULL)
            writer->stalled_head = behind;
        else
            writer->stalled_tail->next = behind;
        writer->stalled_tail = tail;
    }
    writer->retry_ns = vv_clock_mono(p->opt.clock) + BUSY_RETRY_NS;
}

static void submit_open(ingest_pipeline *p, uint32_t shard)
{
    ingest_wbatch *wb = p->writer.open[shard];
    p->writer.open[shard] = NULL;
    if (wb != NULL)
        submit(p, wb);
}

static bool submit_partial(ingest_pipeline *p, bool forced)
{
    bool any = false;
    for (uint32_t s = 0; s < INGEST_SHARDS_MAX; s++)
        if (p->writer.open[s] != NULL && (forced || p->writer.in_flight[s] < PARTIAL_IN_FLIGHT)) {
            submit_open(p, s);
            any = true;
        }
    return any;
}

/* ---- gathering ---- */

static bool reserve_segment(ingest_wbatch *wb)
{
    if (wb->seg_count < wb->seg_cap)
        return true;
    uint32_t cap = wb->seg_cap == 0 ? 16 : wb->seg_cap * 2;
    ingest_segment *segs = vv_realloc(wb->segs, cap * sizeof *segs);
    if (segs == NULL)
        return false;
    wb->segs = segs;
    wb->seg_cap = cap;
    return true;
}

/* Record index is in wb now. There is room: see reserve_segment. */
static void note_segment(ingest_wbatch *wb, ingest_item *item, uint32_t index)
{
    ingest_segment *last = wb->seg_count == 0 ? NULL : &wb->segs[wb->seg_count - 1];
    if (last != NULL && last->item == item && last->first + last->count == index) {
        last->count++;
        return;
    }
    assert(wb->seg_count < wb->seg_cap && wb->segs != NULL);
    wb->segs[wb->seg_count++] = (ingest_segment){item, index, 1};
    item->pending++;
}

static vv_status put(ingest_wbatch *wb, const ingest_rec *rec, vv_error *err)
{
    vv_record record = {.schema_version = rec->schema_version,
                        .timestamp_ns = rec->timestamp_ns,
                        .metadata = rec->metadata,
                        .metadata_count = rec->metadata_count,
                        .body = rec->body};
    return vv_batch_put_record(wb->batch, rec->table->table, rec->result.id, &record, err);
}

static uint32_t shard_of(const ingest_rec *rec)
{
    uint32_t shard = db_shard_of_key(rec->table->table, rec->result.id);
    assert(shard < INGEST_SHARDS_MAX);
    return shard;
}

/* The open batch of the record's shard, with room in it as far as one can tell. */
static ingest_wbatch *open_for(ingest_pipeline *p, const ingest_item *item, uint32_t shard)
{
    ingest_wbatch *wb = p->writer.open[shard];
    if (wb != NULL && (wb->durability != item->asked ||
                       vv_batch_bytes(wb->batch) >= p->opt.batch_bytes || !reserve_segment(wb))) {
        submit_open(p, shard);
        wb = NULL;
    }
    if (wb == NULL) {
        wb = wbatch_take(p, shard, item->asked);
        if (wb != NULL && !reserve_segment(wb)) {
            wbatch_free(wb);
            wb = NULL;
        }
        p->writer.open[shard] = wb;
    }
    return wb;
}

static void gather_rec(ingest_pipeline *p, ingest_item *item, uint32_t index)
{
    ingest_rec *rec = &item->recs[index];
    uint32_t shard = shard_of(rec);
    vv_error err = {0};
    vv_status st = VV_NO_MEMORY;
    for (unsigned tries = 0; tries < 2; tries++) {
        ingest_wbatch *wb = open_for(p, item, shard);
        if (wb == NULL) {
            (void)vv_fail(&err, st, "no memory for a batch");
            break;
        }
        st = put(wb, rec, &err);
        if (st == VV_OK) {
            note_segment(wb, item, index);
            return;
        }
        if (st != VV_BUSY || vv_batch_count(wb->batch) == 0)
            break;
        submit_open(p, shard); /* it is full: once more with an empty one */
    }
    fail_rec(item, rec, st, ingest_item_words(item, "%s", err.msg));
}

static void refuse_atomic(ingest_item *item, vv_status st, const vv_error *err)
{
    const char *why = ingest_item_words(item, "%s", err->msg);
    for (uint32_t i = 0; i < item->count; i++)
        fail_rec(item, &item->recs[i], st, why);
    if (is_atomic_batch(item)) {
        item->status = st;
        item->why = ingest_item_words(item, "%s; nothing of the batch was written", err->msg);
    }
}

/* The positions of producers are one list for a shard, so the tenant goes into the name: no tenant
 * can hold up another's writes. The tenant is that of the first record, and has no NUL in it. */
static vv_status add_producer(const ingest_wbatch *wb, const ingest_item *item, vv_error *err)
{
    uint8_t name[VV_KEY_MAX];
    const ingest_table *table = item->recs[0].table;
    vv_slice tenant = vv_slice_of(table->text + table->identity_len, table->tenant_len);
    vv_slice producer = item->producer_name;
    if (producer.len > sizeof name - VV_NAME_MAX - 1)
        return vv_fail(err, VV_INVALID, "options: producer has %zu bytes, at most %zu are allowed",
                       producer.len, sizeof name - VV_NAME_MAX - 1);
    memcpy(name, tenant.data, tenant.len);
    name[tenant.len] = 0;
    memcpy(name + tenant.len + 1, producer.data, producer.len);
    return vv_batch_producer(wb->batch, vv_slice_of(name, tenant.len + 1 + producer.len),
                             item->sequence, err);
}

/* All or nothing: one batch of its own, behind what its producer sent before. */
static void gather_atomic(ingest_pipeline *p, ingest_item *item)
{
    vv_error err = {0};
    uint32_t shard = shard_of(&item->recs[0]);
    vv_status st = VV_OK;
    submit_open(p, shard);
    ingest_wbatch *wb = wbatch_take(p, shard, item->asked);
    if (wb == NULL || !reserve_segment(wb))
        st = vv_fail(&err, VV_NO_MEMORY, "no memory for a batch");
    if (st == VV_OK && item->producer_name.len > 0)
        st = add_producer(wb, item, &err);
    for (uint32_t i = 0; i < item->count && st == VV_OK; i++) {
        st = put(wb, &item->recs[i], &err);
        if (st == VV_BUSY)
            (void)vv_fail(&err, st,
                          "record %u: a transactional batch is one log entry of at most %u bytes",
                          i, VV_BATCH_MAX);
        else if (st != VV_OK)
            (void)vv_wrap(&err, st, "record %u", i);
    }
    if (st != VV_OK) {
        refuse_atomic(item, st, &err);
        wbatch_free(wb);
        return;
    }
    for (uint32_t i = 0; i < item->count; i++)
        note_segment(wb, item, i);
    submit(p, wb);
}

static void gather(ingest_pipeline *p, ingest_item *item)
{
    bool is_good = item->status == VV_OK && !item->is_skipped && item->count > item->failed;
    ingest_list_push(&item->producer->unsettled, item);
    item->pending = 1;
    if (is_good && item->transactional) {
        gather_atomic(p, item);
    } else if (is_good) {
        for (uint32_t i = 0; i < item->count; i++)
            if (item->recs[i].result.status == VV_OK)
                gather_rec(p, item, i);
    }
    finish_item(p, item);
}

/* ---- turns ---- */

static bool may_gather(const ingest_writer *writer)
{
    return !is_blocked(writer) && writer->in_flight_bytes < IN_FLIGHT_BYTES &&
           writer->in_flight_count < IN_FLIGHT_COUNT;
}

static ingest_wbatch *in_order(ingest_wbatch *newest_first)
{
    ingest_wbatch *oldest_first = NULL;
    while (newest_first != NULL) {
        ingest_wbatch *next = newest_first->next;
        newest_first->next = oldest_first;
        oldest_first = newest_first;
        newest_first = next;
    }
    return oldest_first;
}

static void complete_all(ingest_pipeline *p, ingest_wbatch *done)
{
    while (done != NULL) {
        ingest_wbatch *next = done->next;
        count_out(&p->writer, done);
        if (done->status == VV_BUSY && done->seg_count > 0 &&
            vv_clock_mono(p->opt.clock) < done->give_up_ns) {
            defer(&p->writer, done);
        } else {
            complete(p, done);
            wbatch_put(p, done);
        }
        done = next;
    }
    release_deferred(p);
}

static void tick_streams(ingest_pipeline *p)
{
    ingest_producer *at;
    vv_mutex_lock(&p->streams_lock);
    at = p->streams;
    if (at != NULL)
        ingest_producer_ref(at);
    vv_mutex_unlock(&p->streams_lock);
    while (at != NULL) {
        at->ops->tick(at->ctx);
        vv_mutex_lock(&p->streams_lock);
        ingest_producer *next = at->next;
        if (next != NULL)
            ingest_producer_ref(next);
        vv_mutex_unlock(&p->streams_lock);
        ingest_producer_unref(at);
        at = next;
    }
}

static void tick_when_due(ingest_pipeline *p)
{
    int64_t now = vv_clock_mono(p->opt.clock);
    if (now < p->writer.next_tick_ns)
        return;
    p->writer.next_tick_ns = now + VV_NS_PER_S;
    tick_streams(p);
    ingest_unpark(p); /* the budget may have room again that nobody told us of */
}

bool ingest_writer_turn(ingest_pipeline *p)
{
    ingest_writer *writer = &p->writer;
    ingest_list processed = {0};
    vv_mutex_lock(&writer->lock);
    ingest_wbatch *done = in_order(writer->completed);
    writer->completed = NULL;
    if (may_gather(writer)) {
        processed = writer->processed;
        writer->processed = (ingest_list){0};
        writer->processed_bytes = 0;
        if (writer->workers_waiting > 0)
            vv_cond_broadcast(&writer->room);
    }
    vv_mutex_unlock(&writer->lock);
    bool any = done != NULL || processed.head != NULL, forced = false;
    complete_all(p, done);
    any |= retry_stalled(p);
    for (ingest_item *item; (item = ingest_list_pop(&processed)) != NULL;) {
        forced |= item->force_flush;
        gather(p, item);
    }
    any |= submit_partial(p, forced);
    end_turn(writer);
    tick_when_due(p);
    return any;
}

void ingest_writer_give(ingest_pipeline *p, ingest_list *items)
{
    ingest_writer *writer = &p->writer;
    uint64_t bytes = 0;
    if (items->head == NULL)
        return;
    for (const ingest_item *item = items->head; item != NULL; item = item->next)
        bytes += item->cost;
    vv_mutex_lock(&writer->lock);
    while (p->opt.threads != NULL && writer->processed_bytes > 0 &&
           writer->processed_bytes + bytes > PROCESSED_BYTES) {
        writer->workers_waiting++;
        vv_cond_wait(&writer->room, &writer->lock);
        writer->workers_waiting--;
    }
    ingest_list_append(&writer->processed, items);
    writer->processed_bytes += bytes;
    if (writer->is_waiting)
        vv_cond_signal(&writer->wake);
    vv_mutex_unlock(&writer->lock);
}

static bool has_work(const ingest_writer *writer)
{
    return writer->completed != NULL || (writer->processed.head != NULL && may_gather(writer));
}

static bool is_empty(const ingest_writer *writer)
{
    if (writer->processed.head != NULL || writer->completed != NULL ||
        writer->in_flight_count > 0 || is_blocked(writer))
        return false;
    for (uint32_t s = 0; s < INGEST_SHARDS_MAX; s++)
        if (writer->open[s] != NULL)
            return false;
    return true;
}

void ingest_writer_main(void *arg)
{
    ingest_pipeline *p = arg;
    ingest_writer *writer = &p->writer;
    for (;;) {
        vv_mutex_lock(&writer->lock);
        if (!has_work(writer) && !(writer->stop && is_empty(writer))) {
            int64_t left = writer->next_tick_ns - vv_clock_mono(p->opt.clock);
            int64_t retry = writer->retry_ns - vv_clock_mono(p->opt.clock);
            if (writer->stalled_head != NULL && writer->deferred_head == NULL && left > retry)
                left = retry;
            writer->is_waiting = true;
            if (left > 0)
                (void)vv_cond_wait_for(&writer->wake, &writer->lock, left);
            writer->is_waiting = false;
        }
        bool done = writer->stop && is_empty(writer);
        vv_mutex_unlock(&writer->lock);
        if (done)
            return;
        (void)ingest_writer_turn(p);
    }
}
