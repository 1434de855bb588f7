/*
 * ingest_test_suite.h - a pipeline over a store on the simulated disk, stepped by the test, whose
 * commits the test can hold, refuse and let go; and messages for it.
 */
#ifndef VARVE_INGEST_INGEST_TEST_SUITE_H
#define VARVE_INGEST_INGEST_TEST_SUITE_H

#include "vv_test.h"

#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "db/db.h"
#include "ingest/ingest_int.h"
#include "io/vio_sim.h"
#include "varve/record.h"

/* ---- messages ---- */

typedef struct rec_spec {
    const char *entity, *tenant, *schema;
    const char *meta_key[3], *meta_value[3];
    double number;
    bool has_time;
    int64_t seconds, nanos;
    size_t entity_len; /* of 'x', instead of entity */
    size_t body_len;   /* of one long string in data */
    bool bad_utf8;
} rec_spec;

static inline void wire_bytes(vv_buf *b, unsigned number, const void *data, size_t len)
{
    vv_buf_append_varint(b, number << 3 | 2);
    vv_buf_append_varint(b, len);
    vv_buf_append(b, data, len);
}

/* Wrap what is behind mark as field number; from the back, so it moves what is there. */
static inline void wire_wrap(vv_buf *b, size_t mark, unsigned number)
{
    size_t len = b->len - mark;
    uint8_t *copy = malloc(len + 1);
    assert_non_null(copy);
    if (len > 0)
        memcpy(copy, b->data + mark, len);
    b->len = mark;
    wire_bytes(b, number, copy, len);
    free(copy);
}

static inline void put_data(vv_buf *b, const rec_spec *r)
{
    size_t mark = b->len;
    uint8_t number[9] = {0x11};
    memcpy(number + 1, &r->number, 8);
    wire_bytes(b, 1, "v", 1);
    wire_bytes(b, 2, number, sizeof number);
    wire_wrap(b, mark, 1);
    if (r->body_len > 0) {
        size_t entry = b->len;
        char *text = malloc(r->body_len);
        assert_non_null(text);
        memset(text, r->bad_utf8 ? 0xff : 's', r->body_len);
        wire_bytes(b, 1, "s", 1);
        size_t value = b->len;
        wire_bytes(b, 3, text, r->body_len);
        wire_wrap(b, value, 2);
        wire_wrap(b, entry, 1);
        free(text);
    }
    wire_wrap(b, mark, 2);
}

/* A DataRecord. */
static inline void put_record(vv_buf *b, const rec_spec *r)
{
    size_t mark = b->len;
    if (r->tenant != NULL) {
        wire_bytes(b, 1, r->tenant, strlen(r->tenant));
        wire_wrap(b, mark, 1);
    }
    size_t entity = b->len;
    if (r->entity != NULL || r->entity_len > 0) {
        size_t len = r->entity_len > 0 ? r->entity_len : strlen(r->entity);
        char *text = malloc(len + 1);
        assert_non_null(text);
        if (r->entity_len > 0)
            memset(text, 'x', len);
        else
            memcpy(text, r->entity, len);
        wire_bytes(b, 1, text, len);
        wire_wrap(b, entity, 2);
        free(text);
    }
    wire_wrap(b, mark, 1);
    put_data(b, r);
    if (r->schema != NULL) {
        mark = b->len;
        wire_bytes(b, 2, r->schema, strlen(r->schema));
        wire_wrap(b, mark, 3);
    }
    if (r->has_time) {
        mark = b->len;
        vv_buf_append_u8(b, 0x08);
        vv_buf_append_varint(b, (uint64_t)r->seconds);
        vv_buf_append_u8(b, 0x10);
        vv_buf_append_varint(b, (uint64_t)r->nanos);
        wire_wrap(b, mark, 4);
    }
    for (size_t i = 0; i < ARRAY_LEN(r->meta_key) && r->meta_key[i] != NULL; i++) {
        mark = b->len;
        wire_bytes(b, 1, r->meta_key[i], strlen(r->meta_key[i]));
        wire_bytes(b, 2, r->meta_value[i], strlen(r->meta_value[i]));
        wire_wrap(b, mark, 6);
    }
}

static inline void put_option(vv_buf *b, unsigned number, const char *key, const char *value)
{
    size_t mark = b->len;
    wire_bytes(b, 1, key, strlen(key));
    wire_bytes(b, 2, value, strlen(value));
    wire_wrap(b, mark, number);
}

/* ---- the bed ---- */

typedef struct held {
    vv_batch *batch;
    vv_durability durability;
    vv_write_done done;
    void *ctx;
} held;

#define HELD_MAX 4096

typedef struct bed {
    vio_sim_disk *disk;
    vv_env env;
    vv_db *db;
    vv_budget budget;
    ingest_pipeline *p;
    bool auto_create;
    bool hold;          /* keep batches until bed_let_go */
    vv_status refusing; /* answer every write with this */
    held held[HELD_MAX];
    size_t held_count;
    bool store_may_fail;
    _Atomic unsigned resolves;
    unsigned released;
} bed;

static inline vv_status bed_write(void *ctx, vv_batch *batch, vv_durability durability,
                                  vv_write_done done, void *done_ctx, vv_error *err)
{
    bed *b = ctx;
    if (b->refusing != VV_OK)
        return vv_fail(err, b->refusing, "the test refuses");
    if (!b->hold)
        return vv_write_async(b->db, batch, durability, done, done_ctx, err);
    assert_true(b->held_count < HELD_MAX);
    b->held[b->held_count++] = (held){batch, durability, done, done_ctx};
    return VV_OK;
}

/* Commit what is held, or fail it. */
static inline void bed_let_go(bed *b, vv_status status)
{
    size_t count = b->held_count;
    vv_error err = {0};
    b->held_count = 0;
    for (size_t i = 0; i < count; i++) {
        held *h = &b->held[i];
        if (status == VV_OK)
            assert_ok(vv_write_async(b->db, h->batch, h->durability, h->done, h->ctx, &err), err);
        else {
            (void)vv_fail(&err, status, "the test failed the commit");
            h->done(h->ctx, status, NULL, &err);
        }
    }
}

static inline void bed_start(bed *b, const ingest_options *more)
{
    vv_error err = {0};
    memset(b, 0, sizeof *b);
    b->auto_create = true;
    b->disk = vio_sim_disk_create();
    assert_non_null(b->disk);
    assert_ok(vio_sim_open(b->disk, &(vio_sim_options){.seed = 1}, &b->env.io, &err), err);
    b->env.clock = vio_sim_clock(b->disk);
    b->env.seed = 1;
    vv_options opt = VV_OPTIONS_INIT;
    opt.memory_limit = 64u << 20;
    opt.log_segment_size = 1u << 20;
    opt.log_ring_size = 256u << 10;
    assert_ok(db_open_env(&b->env, &opt, &b->db, &err), err);
    vv_budget_init(&b->budget, 64u << 20);
    ingest_options io = {.workers = 2};
    if (more != NULL)
        io = *more;
    io.db = b->db;
    io.clock = b->env.clock;
    io.budget = &b->budget;
    io.write = bed_write;
    io.write_ctx = b;
    assert_ok(ingest_create(&io, &b->p, &err), err);
}

static inline void bed_run(bed *b)
{
    while (ingest_step(b->p))
        continue;
}

static inline void bed_end(bed *b)
{
    vv_error err = {0};
    b->hold = false;
    bed_let_go(b, VV_OK);
    ingest_destroy(b->p);
    assert_int_equal(vv_budget_used(&b->budget), 0);
    vv_status st = vv_db_close(b->db, &err);
    if (!b->store_may_fail)
        assert_ok(st, err);
    vio_destroy(b->env.io);
    vio_sim_disk_destroy(b->disk);
}

/* ---- a producer that writes down what it is told ---- */

typedef struct recorder {
    bed *bed;
    ingest_producer *producer;
    char text[8192]; /* "ok id|INVALID id|..." */
    size_t len;
    unsigned settled, turns, ticks, closed;
    int64_t last_version;
    ingest_outcome last;
    char last_message[256];
} recorder;

static inline void note(recorder *r, const char *fmt, const char *what, vv_slice id)
{
    int n = snprintf(r->text + r->len, sizeof r->text - r->len, fmt, what, (int)id.len,
                     (const char *)id.data);
    r->len = vv_min_u64(r->len + (size_t)n, sizeof r->text - 1);
}

static inline vv_status recorder_resolve(void *ctx, vv_slice tenant, vv_slice table, vv_table **out,
                                         vv_error *err)
{
    recorder *r = ctx;
    char tenant_text[VV_NAME_MAX + 1], name[VV_NAME_MAX + 1];
    r->bed->resolves++;
    if (tenant.len > VV_NAME_MAX || table.len > VV_NAME_MAX)
        return vv_fail(err, VV_INVALID, "the name is too long");
    (void)snprintf(tenant_text, sizeof tenant_text, "%.*s", (int)tenant.len,
                   (const char *)tenant.data);
    (void)snprintf(name, sizeof name, "%.*s", (int)table.len, (const char *)table.data);
    if (!r->bed->auto_create)
        return vv_table_open(r->bed->db, tenant_text, name, out, err);
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.kind = VV_TABLE_RECORD;
    opt.if_not_exists = true;
    return vv_table_create(r->bed->db, tenant_text, name, &opt, out, err);
}

static inline void recorder_settled(void *ctx, const ingest_item *item)
{
    recorder *r = ctx;
    ingest_item_outcome(item, &r->last);
    r->settled++;
    (void)snprintf(r->last_message, sizeof r->last_message, "%s",
                   r->last.message == NULL ? "" : r->last.message);
    if (r->last.status != VV_OK)
        note(r, "whole %s%.*s|", vv_status_name(r->last.status), vv_slice_of("", 0));
    if (r->last.event != INGEST_EVENT_RECORDS) {
        static const char *const names[] = {"", "init", "commit", "end"};
        note(r, "%s%.*s|", names[r->last.event], vv_slice_of("", 0));
    }
    for (uint32_t i = 0; i < r->last.count && r->last.status == VV_OK; i++) {
        const ingest_result *got = ingest_item_result(item, i);
        note(r, "%s %.*s|", got->status == VV_OK ? "ok" : vv_status_name(got->status), got->id);
        if (got->status == VV_OK) {
            assert_true(got->version >= r->last_version);
            r->last_version = got->version;
        } else if (got->message != NULL) {
            (void)snprintf(r->last_message, sizeof r->last_message, "%s", got->message);
        }
    }
}

static inline void recorder_turn(void *ctx)
{
    recorder *r = ctx;
    r->turns++;
}

static inline void recorder_tick(void *ctx)
{
    recorder *r = ctx;
    r->ticks++;
}

static inline void recorder_closed(void *ctx)
{
    recorder *r = ctx;
    r->closed++;
}

static const ingest_producer_ops recorder_ops = {.resolve = recorder_resolve,
                                                 .settled = recorder_settled,
                                                 .turn = recorder_turn,
                                                 .tick = recorder_tick,
                                                 .closed = recorder_closed};

static inline void recorder_open(recorder *r, bed *b)
{
    vv_error err;
    memset(r, 0, sizeof *r);
    r->bed = b;
    assert_ok(ingest_producer_open(b->p, &recorder_ops, r, vv_slice_str("me"), &r->producer, &err),
              err);
}

static inline void free_message(ingest_message *message)
{
    bed *b = message->owner[0];
    b->released++;
    free(message->owner[1]);
}

/* Takes the content of wire, which is empty afterwards. */
static inline vv_status give(recorder *r, ingest_kind kind, vv_buf *wire)
{
    uint8_t *copy = malloc(wire->len + 1); /* exact but for the empty one */
    assert_non_null(copy);
    if (wire->len > 0)
        memcpy(copy, wire->data, wire->len);
    ingest_message m = {
        .data = vv_slice_of(copy, wire->len), .owner = {r->bed, copy}, .release = free_message};
    vv_buf_reset(wire);
    return ingest_submit(r->producer, kind, &m, NULL);
}

static inline void give_stream_record(recorder *r, const rec_spec *spec)
{
    vv_buf b;
    vv_buf_init(&b, 32u << 20);
    put_record(&b, spec);
    wire_wrap(&b, 0, 2);
    assert_int_equal(give(r, INGEST_STREAM, &b), VV_OK);
    vv_buf_fini(&b);
}

static inline void give_commit(recorder *r)
{
    vv_buf b;
    vv_buf_init(&b, 64);
    wire_wrap(&b, 0, 3);
    assert_int_equal(give(r, INGEST_STREAM, &b), VV_OK);
    vv_buf_fini(&b);
}

static inline void give_init(recorder *r, const char *key, const char *value)
{
    vv_buf b;
    vv_buf_init(&b, 256);
    put_option(&b, 3, key, value);
    wire_wrap(&b, 0, 1);
    assert_int_equal(give(r, INGEST_STREAM, &b), VV_OK);
    vv_buf_fini(&b);
}

static inline vv_status give_batch(recorder *r, const rec_spec *specs, size_t count,
                                   bool transactional, const char *const *options)
{
    vv_buf b;
    vv_buf_init(&b, 64u << 20);
    for (size_t i = 0; i < count; i++) {
        size_t mark = b.len;
        put_record(&b, &specs[i]);
        wire_wrap(&b, mark, 1);
    }
    for (; options != NULL && options[0] != NULL; options += 2)
        put_option(&b, 2, options[0], options[1]);
    if (transactional)
        vv_buf_append(&b, "\x18\x01", 2);
    vv_status st = give(r, INGEST_BATCH, &b);
    vv_buf_fini(&b);
    return st;
}

static inline void recorder_close(recorder *r)
{
    ingest_producer_close(r->producer);
    r->producer = NULL;
}

#define assert_text(r, want)                                                                       \
    do {                                                                                           \
        if (strcmp((r)->text, (want)) != 0)                                                        \
            fail_msg("\"%s\" instead of \"%s\"", (r)->text, (want));                               \
        (r)->len = 0;                                                                              \
        (r)->text[0] = '\0';                                                                       \
    } while (0)

/* ---- one pipeline on a store without threads, one producer: most tests */

static bed world;
static recorder rec;

static inline int setup(void **state)
{
    (void)state;
    bed_start(&world, NULL);
    recorder_open(&rec, &world);
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    if (rec.producer != NULL)
        recorder_close(&rec);
    bed_end(&world);
    assert_int_equal(rec.closed, 1);
    return 0;
}

static inline vv_table *open_table(const char *tenant, const char *name)
{
    vv_table *table = NULL;
    vv_error err;
    assert_ok(vv_table_open(world.db, tenant, name, &table, &err), err);
    return table;
}

static inline bool has(const char *tenant, const char *table_name, const char *id)
{
    vv_value v = {0};
    vv_table *table = open_table(tenant, table_name);
    vv_status st = vv_get(table, NULL, vv_slice_str(id), &v, NULL);
    if (st == VV_OK)
        vv_value_release(&v);
    vv_table_close(table);
    return st == VV_OK;
}

#endif
