/*
 * ingest_extract.c - a worker: messages to records that are checked and know their table.
 *
 * What is wrong with one record is written into its result; what is wrong with the message becomes
 * the item's status, and then nothing of it is written. A fault of one record of a transactional
 * batch is a fault of the batch. A fault of a stream's message ends the stream: what comes behind
 * it is skipped.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/nearest.h"
#include "ingest/ingest_int.h"

#define GIVE_BYTES (64 * VV_KIB) /* hand over in pieces, so that the writer starts early */

static void refuse_item(ingest_item *item, vv_status status, const char *text)
{
    item->status = status;
    item->why = ingest_item_words(item, "%s", text);
}

static void refuse_rec(ingest_item *item, ingest_rec *rec, vv_status status, const char *text)
{
    rec->result.status = status;
    rec->result.message = ingest_item_words(item, "%s", text);
    item->failed++;
}

static void refuse_fault(ingest_item *item, ingest_fault fault)
{
    vv_error err;
    vv_status st = ingest_fault_fail(fault, &err);
    refuse_item(item, st, err.msg);
}

/* ---- one record ---- */

static vv_status note_table(ingest_item *item, ingest_table *table)
{
    for (uint32_t i = item->table_count; i-- > 0;)
        if (item->tables[i] == table)
            return VV_OK;
    if (item->table_count == item->table_cap) {
        uint32_t cap = item->table_cap * 4;
        ingest_table **more = vv_arena_alloc(&item->scratch, cap * sizeof(ingest_table *));
        if (more == NULL)
            return VV_NO_MEMORY;
        memcpy(more, item->tables, item->table_count * sizeof(ingest_table *));
        item->tables = more;
        item->table_cap = cap;
    }
    ingest_table_ref(table);
    item->tables[item->table_count++] = table;
    return VV_OK;
}

/* The record's own tenant, its schema's, the stream's, or the default. */
static vv_status choose_tenant(const ingest_producer *producer, const ingest_view *v, vv_slice *out,
                               vv_error *err)
{
    const vv_slice said[] = {v->tenant, v->schema.tenant, producer->tenant,
                             producer->schema_tenant};
    *out = vv_slice_of(NULL, 0);
    for (size_t i = 0; i < ARRAY_LEN(said); i++)
        if (said[i].len > 0 && out->len == 0)
            *out = said[i];
    if (v->tenant.len > 0 && v->schema.tenant.len > 0 && !vv_slice_eq(v->tenant, v->schema.tenant))
        return vv_fail(err, VV_INVALID, "the record is of one tenant and its schema of another");
    if (out->len == 0)
        *out = vv_slice_str(INGEST_TENANT_DEFAULT);
    return VV_OK;
}

static vv_status choose_table(ingest_worker *w, ingest_item *item, const ingest_view *v,
                              ingest_rec *rec, vv_error *err)
{
    ingest_producer *producer = item->producer;
    vv_slice tenant, name = v->schema.name;
    if (name.len == 0)
        name = producer->schema_name;
    if (name.len == 0)
        name = vv_slice_str(INGEST_TABLE_DEFAULT);
    vv_status st = choose_tenant(producer, v, &tenant, err);
    if (st == VV_OK)
        st = ingest_table_find(w, producer, tenant, name, &rec->table, err);
    if (st == VV_OK && note_table(item, rec->table) != VV_OK) {
        rec->table = NULL;
        st = vv_fail(err, VV_NO_MEMORY, "no memory for a record");
    }
    return st;
}

static vv_status take_time(const ingest_view *v, int64_t now_ns, int64_t *out, vv_error *err)
{
    *out = now_ns;
    if (!v->has_timestamp)
        return VV_OK;
    if (v->nanos < 0 || v->nanos >= VV_NS_PER_S)
        return vv_fail(err, VV_INVALID, "timestamp: nanos is %d, not within 0 to 999999999",
                       v->nanos);
    /* One second down before the multiplication: the lowest moments need it. */
    bool is_low = v->seconds < 0;
    int64_t ns;
    if (__builtin_mul_overflow(v->seconds + is_low, VV_NS_PER_S, &ns) ||
        __builtin_add_overflow(ns, (int64_t)v->nanos - (is_low ? VV_NS_PER_S : 0), &ns))
        return vv_fail(err, VV_INVALID, "timestamp: %lld s is outside 1677-09-21 to 2262-04-11",
                       (long long)v->seconds);
    *out = ns;
    return VV_OK;
}

static vv_status check_content(const ingest_view *v, vv_error *err)
{
    if (v->content != INGEST_GOOD && !ingest_is_utf8(v->entity))
        return vv_fail(err, VV_INVALID, "the entity id must be UTF-8");
    if (v->content != INGEST_GOOD)
        return ingest_fault_fail(v->content, err);
    if (v->entity.len == 0)
        return vv_fail(err, VV_INVALID, "id.entity_id.id is missing: it is the record's key");
    if (v->entity.len > VV_KEY_MAX)
        return vv_fail(err, VV_INVALID, "the entity id has %zu bytes, at most %u are allowed",
                       v->entity.len, VV_KEY_MAX);
    if (v->schema.version < 0)
        return vv_fail(err, VV_INVALID, "schema.version is negative");
    return VV_OK;
}

static void extract_record(ingest_worker *w, ingest_item *item, const ingest_view *v,
                           ingest_rec *rec, int64_t now_ns)
{
    vv_error err;
    *rec = (ingest_rec){.result = {.id = v->entity},
                        .metadata = vv_slice_of("", 0),
                        .schema_version = (uint32_t)v->schema.version};
    vv_status st = check_content(v, &err);
    if (st == VV_OK)
        st = take_time(v, now_ns, &rec->timestamp_ns, &err);
    if (st == VV_OK)
        st = ingest_fault_fail(ingest_walk_body(v, &item->scratch, &rec->body), &err);
    if (st == VV_OK)
        st = choose_table(w, item, v, rec, &err);
    if (st != VV_OK)
        refuse_rec(item, rec, st, err.msg);
    /* The answer repeats the id, as a string of proto3. */
    if (v->content != INGEST_GOOD && !ingest_is_utf8(v->entity))
        rec->result.id = vv_slice_of(NULL, 0);
}

/* ---- metadata ---- */

typedef struct pair {
    vv_slice key, value;
} pair;

#define FEW_PAIRS 16u

/* Drop repeats, the last value wins: compare all with all while they are few. */
static uint32_t unique_few(pair *pairs, uint32_t count)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = 0;
        while (at < kept && !vv_slice_eq(pairs[at].key, pairs[i].key))
            at++;
        pairs[at] = pairs[i];
        kept += at == kept;
    }
    return kept;
}

/* The same through a hash table of twice as many slots: place in pairs plus one, 0 is free. */
static uint32_t unique_many(pair *pairs, uint32_t count, uint32_t *slots, uint32_t slot_count)
{
    uint32_t kept = 0;
    memset(slots, 0, slot_count * sizeof *slots);
    for (uint32_t i = 0; i < count; i++) {
        size_t at = vv_hash64(pairs[i].key.data, pairs[i].key.len) & (slot_count - 1);
        while (slots[at] != 0 && !vv_slice_eq(pairs[slots[at] - 1].key, pairs[i].key))
            at = (at + 1) & (slot_count - 1);
        if (slots[at] == 0)
            slots[at] = ++kept;
        pairs[slots[at] - 1] = pairs[i];
    }
    return kept;
}

/* Append the record's metadata at *used of item->metadata, which has room for what the wire holds:
 * there each pair has more framing than here. */
static vv_status encode_metadata(ingest_item *item, const ingest_view *v, ingest_rec *rec,
                                 size_t cap, size_t *used)
{
    pair few[FEW_PAIRS], *pairs = few;
    uint32_t n = 0, kept;
    vv_slice rest = v->raw;
    if (v->metadata_count > FEW_PAIRS)
        pairs = vv_alloc(v->metadata_count * sizeof *pairs);
    if (pairs == NULL)
        return VV_NO_MEMORY;
    while (n < v->metadata_count && ingest_walk_metadata(&rest, &pairs[n].key, &pairs[n].value))
        n++;
    if (pairs == few) {
        kept = unique_few(pairs, n);
    } else {
        uint32_t slot_count = 64;
        while (slot_count < 2 * n)
            slot_count *= 2;
        uint32_t *slots = vv_alloc(slot_count * sizeof *slots);
        kept = slots == NULL ? 0 : unique_many(pairs, n, slots, slot_count);
        vv_free(slots);
    }
    uint8_t *to = item->metadata + *used;
    size_t len = 0;
    for (uint32_t i = 0; i < kept; i++) {
        bool fits = vv_record_metadata_add(to, cap - *used, &len, pairs[i].key, pairs[i].value);
        assert(fits);
        (void)fits;
    }
    if (pairs != few)
        vv_free(pairs);
    if (kept == 0)
        return VV_NO_MEMORY;
    rec->metadata = vv_slice_of(to, len);
    rec->metadata_count = kept;
    *used += len;
    return VV_OK;
}

/* An entry on the wire has two lengths and up to two tags more than a stored pair; one with empty
 * key or value may leave those out, and is stored with two zero bytes. */
static size_t metadata_room(const ingest_view *v)
{
    return (size_t)v->metadata_bytes + 2 * (size_t)v->metadata_count;
}

/* ---- messages ---- */

/* Records of a message: memory for them. As much as the message itself takes was counted when it
 * was let in; what many tiny records take beyond that must fit the budget. */
static bool take_recs(ingest_item *item, uint32_t count)
{
    ingest_pipeline *p = item->producer->p;
    uint64_t bytes = (uint64_t)count * sizeof *item->recs;
    if (count > 1) {
        uint64_t counted = 2 * (uint64_t)item->message.data.len;
        if (bytes <= counted) {
            vv_budget_take(p->opt.budget, VV_BUDGET_QUEUE, bytes);
        } else if (!vv_budget_reserve(p->opt.budget, VV_BUDGET_QUEUE, bytes)) {
            refuse_item(item, VV_BUSY, "memory_limit is reached: send smaller batches");
            return false;
        }
        item->charged = bytes;
        ingest_rec *recs = vv_alloc((size_t)bytes);
        if (recs == NULL) {
            refuse_item(item, VV_NO_MEMORY, "no memory for the records of a batch");
            return false;
        }
        item->recs = recs;
        atomic_fetch_add_explicit(&p->pending, count - 1, memory_order_relaxed);
    }
    item->count = count;
    return true;
}

/* One record by itself. */
static void extract_single(ingest_worker *w, ingest_item *item, const ingest_view *v)
{
    if (!take_recs(item, 1))
        return;
    extract_record(w, item, v, &item->recs[0], vv_clock_wall(w->p->opt.clock));
    if (v->metadata_count == 0 || item->recs[0].result.status != VV_OK)
        return;
    size_t used = 0;
    item->metadata = vv_alloc(metadata_room(v));
    if (item->metadata == NULL ||
        encode_metadata(item, v, &item->recs[0], metadata_room(v), &used) != VV_OK)
        refuse_rec(item, &item->recs[0], VV_NO_MEMORY, "no memory for the metadata");
}

/* A name that is not known is refused: one that is misspelt would change nothing in silence. */
static vv_status check_names(const ingest_item *item, const ingest_asked *asked, vv_error *err)
{
    static const char *const of_stream[] = {"durability", "ack", NULL};
    static const char *const of_message[] = {"durability", "producer", "sequence", NULL};
    const bool is_stream = item->kind == INGEST_STREAM;
    const char *near = NULL;
    unsigned best = UINT32_MAX;
    if (asked->unknown.data == NULL && !is_stream && asked->ack.data != NULL)
        return vv_fail(err, VV_INVALID, "options: ack is for IngestStream");
    if (asked->unknown.data == NULL && asked->sequence.data != NULL && asked->producer.len == 0)
        return vv_fail(err, VV_INVALID, "options: sequence needs a producer with it");
    if (asked->unknown.data == NULL)
        return VV_OK;
    for (const char *const *name = is_stream ? of_stream : of_message; *name != NULL; name++) {
        unsigned d = vv_name_distance(asked->unknown, vv_slice_str(*name), VV_NEAREST_MAX);
        near = d < best ? *name : near;
        best = d < best ? d : best;
    }
    return vv_fail(err, VV_INVALID, "options: there is no '%.*s'; did you mean '%s'?",
                   (int)vv_min_u64(asked->unknown.len, 40), (const char *)asked->unknown.data,
                   near);
}

static vv_status take_options(ingest_item *item, const ingest_asked *asked)
{
    vv_error err;
    vv_status st = check_names(item, asked, &err);
    if (st == VV_OK)
        st = ingest_durability_parse(asked->durability, &item->asked, &err);
    if (st == VV_OK && asked->producer.len > 0) {
        item->producer_name = asked->producer;
        if (asked->sequence.len == 0 || asked->sequence.len > 19)
            st = VV_INVALID;
        for (size_t i = 0; st == VV_OK && i < asked->sequence.len; i++) {
            uint8_t c = asked->sequence.data[i];
            if (c < '0' || c > '9')
                st = VV_INVALID;
            item->sequence = item->sequence * 10 + (uint64_t)(c - '0');
        }
        if (st != VV_OK)
            (void)vv_fail(&err, st, "options: producer needs a sequence of digits with it");
    }
    if (st != VV_OK)
        refuse_item(item, st, err.msg);
    return st;
}

static void extract_record_request(ingest_worker *w, ingest_item *item)
{
    ingest_request r;
    ingest_view v;
    ingest_fault fault = ingest_walk_record_request(item->message.data, &item->scratch, &r);
    if (fault == INGEST_GOOD)
        fault = ingest_walk_record(r.record, &v); /* none at all reads as an empty one */
    if (fault != INGEST_GOOD) {
        refuse_fault(item, fault);
        return;
    }
    item->transactional = r.asked.producer.len > 0; /* an entry of its own carries the position */
    if (take_options(item, &r.asked) == VV_OK)
        extract_single(w, item, &v);
}

/* Two passes: the form of every record before anything is decided, then their content. */
static ingest_fault walk_batch(ingest_item *item, ingest_request *r, size_t *metadata)
{
    ingest_view v;
    vv_slice rest = item->message.data, raw;
    ingest_fault fault = ingest_walk_batch_request(item->message.data, r);
    *metadata = 0;
    while (fault == INGEST_GOOD && ingest_walk_next_record(&rest, &raw)) {
        fault = ingest_walk_record(raw, &v);
        *metadata += metadata_room(&v);
    }
    return fault;
}

static void extract_batch_records(ingest_worker *w, ingest_item *item, size_t metadata_cap)
{
    int64_t now_ns = vv_clock_wall(w->p->opt.clock);
    vv_slice rest = item->message.data, raw;
    size_t used = 0;
    for (uint32_t i = 0; i < item->count && ingest_walk_next_record(&rest, &raw); i++) {
        ingest_view v;
        ingest_rec *rec = &item->recs[i];
        (void)ingest_walk_record(raw, &v); /* its form is known to be good */
        extract_record(w, item, &v, rec, now_ns);
        if (v.metadata_count == 0 || rec->result.status != VV_OK)
            continue;
        if (encode_metadata(item, &v, rec, metadata_cap, &used) != VV_OK)
            refuse_rec(item, rec, VV_NO_MEMORY, "no memory for the metadata");
    }
}

/* All or nothing: the first bad record is the fault of the batch. */
static void judge_transaction(ingest_item *item)
{
    if (!item->transactional || item->failed == 0 || item->kind != INGEST_BATCH)
        return;
    uint32_t i = 0;
    while (item->recs[i].result.status == VV_OK)
        i++;
    const ingest_result *bad = &item->recs[i].result;
    item->status = bad->status;
    item->why = ingest_item_words(item, "record %u: %s; nothing of the batch was written", i,
                                  bad->message == NULL ? "refused" : bad->message);
}

static void extract_batch_request(ingest_worker *w, ingest_item *item)
{
    ingest_request r;
    size_t metadata;
    ingest_fault fault = walk_batch(item, &r, &metadata);
    if (fault != INGEST_GOOD) {
        refuse_fault(item, fault);
        return;
    }
    item->transactional = r.transactional;
    if (take_options(item, &r.asked) != VV_OK)
        return;
    if (item->producer_name.len > 0 && !item->transactional) {
        refuse_item(item, VV_INVALID,
                    "options: producer and sequence need transactional, so that the batch is one "
                    "entry");
        return;
    }
    if (r.record_count > INGEST_BATCH_RECORDS_MAX) {
        item->status = VV_BUSY;
        item->why = ingest_item_words(item, "the batch has %u records, at most %u are allowed",
                                      r.record_count, INGEST_BATCH_RECORDS_MAX);
        return;
    }
    if (metadata > 0 && (item->metadata = vv_alloc(metadata)) == NULL) {
        refuse_item(item, VV_NO_MEMORY, "no memory for the metadata");
        return;
    }
    if (r.record_count == 0 || !take_recs(item, r.record_count))
        return;
    extract_batch_records(w, item, metadata);
    judge_transaction(item);
}

/* What StreamInit says holds for the stream: the message goes, so the names are copied. */
static void extract_init(ingest_item *item, const ingest_stream_request *r)
{
    ingest_producer *producer = item->producer;
    const vv_slice ack = r->asked.ack;
    item->event = INGEST_EVENT_INIT;
    if (producer->has_begun) {
        refuse_item(item, VV_INVALID, "init must be the first message of a stream");
        return;
    }
    if (ack.len > 0 && !vv_slice_eq(ack, vv_slice_str("batch")) &&
        !vv_slice_eq(ack, vv_slice_str("record"))) {
        refuse_item(item, VV_INVALID, "options: ack is neither record nor batch");
        return;
    }
    if (r->asked.producer.len > 0) {
        refuse_item(item, VV_UNSUPPORTED,
                    "options: producer is for IngestBatch; a stream has no retries of its own");
        return;
    }
    if (take_options(item, &r->asked) != VV_OK)
        return;
    item->ack_batch = vv_slice_eq(ack, vv_slice_str("batch"));
    producer->durability = item->asked;
    const vv_slice from[] = {r->tenant, r->schema.tenant, r->schema.name};
    vv_slice *to[] = {&producer->tenant, &producer->schema_tenant, &producer->schema_name};
    size_t len = 1;
    for (size_t i = 0; i < ARRAY_LEN(from); i++)
        len += from[i].len;
    uint8_t *copy = vv_alloc(len);
    if (copy == NULL) {
        refuse_item(item, VV_NO_MEMORY, "no memory for the stream");
        return;
    }
    producer->defaults = copy;
    for (size_t i = 0; i < ARRAY_LEN(from); i++) {
        if (from[i].len > 0)
            memcpy(copy, from[i].data, from[i].len);
        *to[i] = vv_slice_of(copy, from[i].len);
        copy += from[i].len;
    }
}

static void extract_stream_request(ingest_worker *w, ingest_item *item)
{
    ingest_stream_request r;
    ingest_producer *producer = item->producer;
    ingest_fault fault = ingest_walk_stream_request(item->message.data, &r);
    if (fault != INGEST_GOOD) {
        refuse_fault(item, fault);
    } else if (r.kind == INGEST_STREAM_INIT) {
        extract_init(item, &r);
    } else if (r.kind == INGEST_STREAM_RECORD) {
        item->asked = producer->durability;
        extract_single(w, item, &r.view);
    } else if (r.kind == INGEST_STREAM_COMMIT) {
        item->event = INGEST_EVENT_COMMIT;
        item->force_flush = true;
    } else {
        refuse_item(item, VV_INVALID, "the message holds neither init, nor a record, nor a commit");
    }
    producer->has_begun = true;
    producer->has_failed = item->status != VV_OK;
}

void ingest_extract(ingest_worker *w, ingest_item *item)
{
    if (item->producer->has_failed) {
        item->is_skipped = true;
        return;
    }
    switch (item->kind) {
    case INGEST_RECORD:
        extract_record_request(w, item);
        break;
    case INGEST_BATCH:
        extract_batch_request(w, item);
        break;
    case INGEST_STREAM:
        extract_stream_request(w, item);
        break;
    case INGEST_END:
        item->event = INGEST_EVENT_END;
        item->force_flush = true;
        break;
    }
}

/* ---- the worker ---- */

static void extract_all(ingest_worker *w, ingest_list *raw)
{
    ingest_list ready = {0};
    uint64_t bytes = 0;
    for (ingest_item *item; (item = ingest_list_pop(raw)) != NULL;) {
        ingest_extract(w, item);
        bytes += item->cost;
        ingest_list_push(&ready, item);
        if (bytes >= GIVE_BYTES) {
            ingest_writer_give(w->p, &ready);
            bytes = 0;
        }
    }
    ingest_writer_give(w->p, &ready);
}

bool ingest_worker_turn(ingest_worker *w)
{
    ingest_list raw;
    vv_mutex_lock(&w->lock);
    raw = w->raw;
    w->raw = (ingest_list){0};
    vv_mutex_unlock(&w->lock);
    if (raw.head == NULL)
        return false;
    extract_all(w, &raw);
    return true;
}

void ingest_worker_main(void *arg)
{
    ingest_worker *w = arg;
    for (;;) {
        vv_mutex_lock(&w->lock);
        while (w->raw.head == NULL && !(w->stop && w->parked.head == NULL)) {
            w->is_waiting = true;
            vv_cond_wait(&w->wake, &w->lock);
            w->is_waiting = false;
        }
        bool done = w->raw.head == NULL;
        vv_mutex_unlock(&w->lock);
        if (done)
            return;
        (void)ingest_worker_turn(w);
    }
}
