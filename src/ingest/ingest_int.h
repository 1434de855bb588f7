/*
 * ingest_int.h - shared inside ingest/: items on their way, and who may touch them where.
 *
 * An item belongs to one thread at a time: the submitter, its worker, then the writer. Only queues
 * are shared. Lock order: worker queue and producer list (VV_RANK_INGEST, never both), then the
 * writer's inbox (VV_RANK_LEAF: the commit thread posts to it).
 */
#ifndef VARVE_INGEST_INGEST_INT_H
#define VARVE_INGEST_INGEST_INT_H

#include <stdatomic.h>

#include "base/arena.h"
#include "base/lock.h"
#include "base/point.h"
#include "base/rate.h"
#include "base/util.h"
#include "ingest/ingest.h"
#include "ingest/ingest_walk.h"

#define INGEST_WORKERS_MAX 32u
#define INGEST_SHARDS_MAX 64u
#define INGEST_TENANTS_MAX 4096u /* with figures of their own; others count in the total alone */

/* ---- figures (ingest_stats.c) ---- */

typedef struct ingest_counts {
    _Atomic uint64_t records;
    _Atomic uint64_t bytes;
    _Atomic uint64_t failed;
    vv_rate record_rate;
    vv_rate byte_rate;
} ingest_counts; /* written by the writer thread, read by any */

typedef struct ingest_tenant {
    struct ingest_tenant *next; /* in its bucket */
    ingest_counts counts;
    char name[VV_NAME_MAX + 1];
} ingest_tenant;

#define INGEST_TENANT_BUCKETS 256u

typedef struct ingest_tenants {
    vv_mutex lock; /* rank VV_RANK_LEAF: the buckets */
    ingest_tenant *bucket[INGEST_TENANT_BUCKETS];
    uint32_t count;
} ingest_tenants;

/* ---- tables (ingest_table.c) ---- */

/* A table that was resolved for an identity. Items refer to it, so it outlives its cache. */
typedef struct ingest_table {
    struct ingest_table *next; /* in its bucket; the worker's */
    vv_table *table;
    ingest_tenant *tenant; /* NULL: over INGEST_TENANTS_MAX */
    uint64_t hash;
    _Atomic uint32_t refs;
    _Atomic bool stale; /* a write found it dropped: resolve anew */
    uint32_t identity_len, tenant_len, name_len;
    uint8_t text[]; /* identity, tenant, name */
} ingest_table;

#define INGEST_TABLE_BUCKETS 256u
#define INGEST_TABLES_MAX 1024u /* cached by one worker */

typedef struct ingest_table_cache {
    ingest_table *bucket[INGEST_TABLE_BUCKETS];
    ingest_table *last; /* the last one found: most records repeat it */
    uint32_t count;
} ingest_table_cache; /* one worker's */

/* ---- items ---- */

typedef struct ingest_rec {
    ingest_result result;
    ingest_table *table;
    vv_slice body;
    vv_slice metadata;
    uint32_t metadata_count;
    uint32_t schema_version;
    int64_t timestamp_ns;
} ingest_rec;

#define INGEST_ITEM_TABLES 2u

struct ingest_item {
    ingest_item *next; /* in the queue it is in, then in its producer's list */
    ingest_producer *producer;
    ingest_message message;
    ingest_kind kind;
    ingest_event event;
    uint64_t cost;    /* bytes it takes of the bound of the queues */
    uint64_t counted; /* of these, in the budget on its own account */
    uint64_t charged; /* of records, taken from the budget by the worker */
    int64_t arrival_ns;

    /* The worker's. */
    ingest_rec one;
    ingest_rec *recs; /* &one, or allocated */
    uint32_t count;
    bool transactional;
    bool ack_batch;
    bool force_flush;
    bool is_skipped; /* behind the fault that ended its stream: not written, not answered */
    vv_durability asked;
    vv_slice producer_name; /* options["producer"]; len 0: none */
    uint64_t sequence;
    vv_status status;
    const char *why;
    uint8_t *metadata; /* encoded, of all records; owned */
    vv_arena scratch;  /* sentences, joined pieces, tables over INGEST_ITEM_TABLES */
    ingest_table *few_tables[INGEST_ITEM_TABLES];
    ingest_table **tables; /* references */
    uint32_t table_count, table_cap;

    /* The writer's. */
    uint32_t pending; /* batches its records are in, and one while it is being gathered */
    uint32_t failed;
    bool duplicate;
    vv_durability given;
};

#define INGEST_SCRATCH_MAX (1024u * 1024)

typedef struct ingest_list {
    ingest_item *head, *tail;
} ingest_list;

static inline void ingest_list_push(ingest_list *list, ingest_item *item)
{
    item->next = NULL;
    if (list->tail == NULL)
        list->head = item;
    else
        list->tail->next = item;
    list->tail = item;
}

static inline ingest_item *ingest_list_pop(ingest_list *list)
{
    ingest_item *item = list->head;
    if (item != NULL) {
        list->head = item->next;
        if (list->head == NULL)
            list->tail = NULL;
        item->next = NULL;
    }
    return item;
}

/* Put all of from behind to. */
static inline void ingest_list_append(ingest_list *to, ingest_list *from)
{
    if (from->head == NULL)
        return;
    if (to->tail == NULL)
        to->head = from->head;
    else
        to->tail->next = from->head;
    to->tail = from->tail;
    *from = (ingest_list){NULL, NULL};
}

struct ingest_producer {
    ingest_pipeline *p;
    const ingest_producer_ops *ops;
    void *ctx;
    uint32_t worker;              /* index: fixed */
    _Atomic uint32_t refs;        /* one of the owner until it closes, one of each item */
    ingest_producer *prev, *next; /* streams to tick; under p->streams_lock */

    /* The worker's: what StreamInit said. */
    bool has_begun; /* a message was seen */
    bool has_failed;
    vv_durability durability;
    uint8_t *defaults; /* owned: bytes of the three below */
    vv_slice tenant;
    vv_slice schema_tenant;
    vv_slice schema_name;

    /* The writer's. */
    ingest_list unsettled;
    uint64_t written_order; /* of the newest batch that holds records of it */
    ingest_producer *touched_next;
    bool is_touched;

    uint32_t identity_len;
    uint8_t identity[];
};

typedef struct ingest_worker {
    ingest_pipeline *p;
    vv_thread *thread;
    vv_mutex lock; /* rank VV_RANK_INGEST */
    vv_cond wake;
    ingest_list raw;          /* under lock */
    ingest_list parked;       /* under lock: over the bound */
    bool is_waiting;          /* under lock */
    bool stop;                /* under lock */
    ingest_table_cache cache; /* the worker thread's */
} ingest_worker;

/* ---- the writer's batches (ingest_writer.c) ---- */

typedef struct ingest_segment {
    ingest_item *item;
    uint32_t first, count;
} ingest_segment;

typedef struct ingest_wbatch {
    struct ingest_wbatch *next;
    ingest_pipeline *p;
    vv_batch *batch;
    vv_durability durability;
    uint32_t shard;
    ingest_segment *segs;
    uint32_t seg_count, seg_cap;
    size_t bytes;       /* when it was submitted */
    uint64_t order;     /* of its submission: rises */
    int64_t give_up_ns; /* monotonic: until then VV_BUSY is tried again; 0: not yet submitted */
    /* What done() said. */
    vv_status status;
    vv_write_result result;
    vv_error error;
} ingest_wbatch;

typedef struct ingest_writer {
    vv_thread *thread;
    /* The inbox. */
    vv_mutex lock; /* rank VV_RANK_LEAF */
    vv_cond wake;
    vv_cond room;             /* workers wait for it */
    ingest_list processed;    /* under lock */
    uint64_t processed_bytes; /* under lock */
    ingest_wbatch *completed; /* under lock: newest first */
    bool is_waiting;          /* under lock */
    uint32_t workers_waiting; /* under lock */
    bool stop;                /* under lock */
    /* The writer thread's own. */
    ingest_wbatch *open[INGEST_SHARDS_MAX];
    uint32_t in_flight[INGEST_SHARDS_MAX]; /* batches */
    uint64_t in_flight_bytes;
    uint32_t in_flight_count;
    ingest_wbatch *stalled_head, *stalled_tail;   /* to be tried again, in order */
    ingest_wbatch *deferred_head, *deferred_tail; /* failed with VV_BUSY, in order */
    uint64_t next_order;
    int64_t retry_ns; /* not before */
    ingest_wbatch *spare;
    uint32_t spare_count;
    ingest_producer *touched;
    int64_t next_tick_ns;
} ingest_writer;

struct ingest_pipeline {
    ingest_options opt; /* with the defaults filled in */
    ingest_worker workers[INGEST_WORKERS_MAX];
    _Atomic uint32_t next_worker;
    _Atomic uint64_t bytes;        /* admitted */
    _Atomic uint64_t parked_count; /* items */
    _Atomic uint64_t parked_bytes;
    _Atomic uint64_t pending;
    _Atomic uint64_t messages;
    _Atomic uint64_t batches;
    _Atomic uint64_t stream_count;
    vv_mutex streams_lock; /* rank VV_RANK_INGEST */
    ingest_producer *streams;
    ingest_writer writer;
    ingest_counts counts;
    ingest_tenants tenants;
    vv_hist latency;
};

/* ---- ingest_pipeline.c ---- */

/* Bytes of a settled item leave: let what waits outside come in. */
void ingest_unpark(ingest_pipeline *p);
/* Settled and answered: release the message, free, drop the producer's reference. */
void ingest_item_free(ingest_item *item);
void ingest_producer_ref(ingest_producer *producer);
void ingest_producer_unref(ingest_producer *producer);
/* A sentence kept with the item; NULL when there is no memory. */
const char *ingest_item_words(ingest_item *item, const char *fmt, ...) VV_PRINTF(2, 3);

/* ---- ingest_extract.c ---- */

/* Decode and check one item. Never fails: what is wrong is written into it. */
void ingest_extract(ingest_worker *w, ingest_item *item);
/* Take what the queue holds, decode, hand over. False when there was nothing. */
bool ingest_worker_turn(ingest_worker *w);
void ingest_worker_main(void *arg);

/* ---- ingest_table.c ---- */

/* The table for records of producer; borrowed from the cache until the next call. */
VV_MUST_CHECK vv_status ingest_table_find(ingest_worker *w, ingest_producer *producer,
                                          vv_slice tenant, vv_slice name, ingest_table **out,
                                          vv_error *err);
void ingest_table_ref(ingest_table *table);
void ingest_table_unref(ingest_table *table);
void ingest_table_cache_clear(ingest_table_cache *cache);

/* ---- ingest_writer.c ---- */

void ingest_writer_main(void *arg);
/* Completions, gathering, submitting, once. False when there was nothing to do. */
bool ingest_writer_turn(ingest_pipeline *p);
/* Hand processed items over; waits for room when there are threads. */
void ingest_writer_give(ingest_pipeline *p, ingest_list *items);
void ingest_writer_fini(ingest_writer *writer);

/* ---- ingest_stats.c ---- */

void ingest_count_item(ingest_pipeline *p, const ingest_item *item, int64_t now_ns);
/* The figures of a tenant, made on first use; NULL when there are too many or no memory. */
ingest_tenant *ingest_tenant_get(ingest_pipeline *p, vv_slice name);
void ingest_tenants_fini(ingest_tenants *tenants);

#endif
