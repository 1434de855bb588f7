/*
 * db_tier_test_util.h - a store on the simulated disk that archives to a bucket in memory: short
 * ways to append, to let time pass, and to read every message back from where it lies.
 */
#ifndef VARVE_DB_DB_TIER_TEST_UTIL_H
#define VARVE_DB_DB_TIER_TEST_UTIL_H

#include "db/db_stream_test_util.h"

#include "base/alloc.h"
#include "base/rng.h"
#include "db/db_tier_job.h"
#include "object/object.h"

#define MIN_NS (60 * SEC)
#define HOUR_NS (60 * MIN_NS)

typedef struct tier_world {
    sim_world w; /* first: a test's state */
    objs_bucket *bucket;
    vv_object_store *objects;
    vv_tier_options tier;
} tier_world;

static inline void tier_open_objects(tier_world *tw, vv_clock *clock)
{
    vv_error err = {0};
    vv_env env = {.clock = clock, .seed = 7};
    vv_object_options opt = VV_OBJECT_OPTIONS_INIT;
    opt.backend = "memory";
    opt.max_retries = 0; /* the archiver's own are to be seen */
    opt.breaker_failures = 0;
    assert_ok(objs_open_bucket(&env, tw->bucket, &opt, &tw->objects, &err), err);
}

static inline int tier_begin(void **state)
{
    tier_world *tw = calloc(1, sizeof *tw);
    assert_non_null(tw);
    tw->w.ops = engine_under_test;
    tw->w.opt = (vv_options)SIM_TINY_OPTIONS;
    tw->w.opt.shard_count = test_partitions;
    tw->w.disk = vio_sim_disk_create();
    assert_non_null(tw->w.disk);
    tw->bucket = objs_bucket_create();
    assert_non_null(tw->bucket);
    tier_open_objects(tw, vio_sim_clock(tw->w.disk));
    tw->tier = (vv_tier_options){.size = sizeof tw->tier,
                                 .objects = tw->objects,
                                 .rule = {.batch_bytes = 16u << 10, .codec = VV_TIER_LZ4},
                                 .grace_ns = HOUR_NS};
    tw->w.opt.tier = &tw->tier;
    sim_start(&tw->w);
    *state = tw;
    return 0;
}

static inline int tier_end(void **state)
{
    tier_world *tw = *state;
    if (tw->w.disk != NULL)
        sim_end(&tw->w);
    vv_object_store_close(tw->objects);
    objs_bucket_destroy(tw->bucket);
    free(tw);
    return 0;
}

#define TA(f) cmocka_unit_test_setup_teardown(f, tier_begin, tier_end)

static inline vv_table *archived_table(vv_db *db, const vv_archive_rule *rule)
{
    vv_table_options opt = stream_options();
    opt.archive = rule;
    return stream_table_with(db, &opt);
}

/* ---- messages that name themselves ----
 *
 * Message n of a test: its text says n, its producer says n too, and some bytes that do not
 * compress follow. */

#define TEXT_MAX 400u

static inline size_t tier_text(uint64_t n, char out[TEXT_MAX])
{
    vv_rng rng;
    vv_rng_init(&rng, n + 1);
    int at = snprintf(out, TEXT_MAX, "message %llu ", (unsigned long long)n);
    size_t len = (size_t)at + (size_t)vv_rng_below(&rng, 200);
    for (size_t i = (size_t)at; i < len; i++)
        out[i] = (char)(' ' + vv_rng_below(&rng, 90));
    return len;
}

/* Message n, of partition n % partitions and of its producer, durable. */
static inline vv_status tier_append(vv_table *table, uint64_t n, vv_error *err)
{
    char text[TEXT_MAX];
    vv_message m = {.value = {(const uint8_t *)text, tier_text(n, text)}};
    vv_stream_append_options opt = VV_STREAM_APPEND_OPTIONS_INIT;
    opt.partition = (uint32_t)(n % table->cat->partition_count);
    opt.producer = vv_slice_str("feed");
    opt.sequence = n / table->cat->partition_count;
    return vv_stream_append(table, &m, 1, &opt, NULL, err);
}

static inline void tier_append_some(vv_table *table, uint64_t first, uint64_t count)
{
    vv_error err = {0};
    for (uint64_t n = first; n < first + count; n++)
        assert_ok(tier_append(table, n, &err), err);
}

static inline void pass_time(tier_world *tw, int64_t ns)
{
    vio_sim_advance(tw->w.disk, ns);
}

/* Background work until there is none now. */
static inline void work_now(vv_db *db)
{
    vv_error err = {0};
    for (int i = 0; i < 10000; i++) {
        vv_status st = db_step(db, &err);
        if (st == VV_NOT_FOUND)
            return;
        assert_ok(st, err);
    }
    fail_msg("the background work does not end");
}

/* ---- what is there ---- */

typedef struct tier_census {
    size_t stored;
    size_t intents;
    size_t dying;
    uint64_t smallest;
    uint64_t largest;
    uint64_t next[4];                  /* of the last stored one, by partition */
    char name[VV_OBJECT_NAME_MAX + 1]; /* of the last one seen */
} tier_census;

static inline int count_one(void *ctx, const vv_tier_object *o)
{
    tier_census *c = ctx;
    c->intents += o->state == VV_TIER_INTENT;
    c->dying += o->state == VV_TIER_DYING;
    (void)snprintf(c->name, sizeof c->name, "%s", o->name);
    if (o->state != VV_TIER_STORED)
        return 0;
    c->smallest = c->stored == 0 || o->bytes < c->smallest ? o->bytes : c->smallest;
    c->largest = o->bytes > c->largest ? o->bytes : c->largest;
    c->next[o->partition] = o->next;
    c->stored++;
    return 0;
}

static inline tier_census census_of(vv_table *table)
{
    vv_error err = {0};
    tier_census c = {.stored = 0};
    assert_ok(vv_tier_list(table, count_one, &c, &err), err);
    return c;
}

static inline vv_tier_stats tier_stats(vv_db *db)
{
    vv_tier_stats s = {.size = sizeof s};
    vv_tier_stats_read(db, &s);
    return s;
}

static inline void expect_message(const vv_message *m, uint64_t offset, uint32_t partition,
                                  uint32_t partitions)
{
    char text[TEXT_MAX];
    uint64_t n = offset * partitions + partition;
    vv_slice want = vv_slice_of(text, tier_text(n, text));
    if (m->offset != offset || !vv_slice_eq(m->value, want))
        fail_msg("offset %llu of partition %u: '%.*s' at %llu instead of message %llu",
                 (unsigned long long)offset, partition, (int)vv_min_u64(m->value.len, 30),
                 (const char *)m->value.data, (unsigned long long)m->offset, (unsigned long long)n);
}

/* Every message of an object, by what lies at the store. */
static inline void read_object(tier_world *tw, const arch_entry *e, uint32_t partition,
                               uint32_t partitions)
{
    vv_error err = {0};
    arch_reader *r = NULL;
    vv_message m;
    vv_status st;
    uint64_t at = e->holds.first;
    db_tier_source source = {tw->objects, e->name};
    assert_ok(arch_reader_open(db_tier_source_of(&source, e->holds.size), e->holds.index_at,
                               e->holds.index_len, &r, &err),
              err);
    assert_true(arch_reader_who(r)->intent == e->intent);
    for (uint32_t b = 0; b < arch_reader_block_count(r); b++) {
        assert_ok(arch_reader_load(r, b, &err), err);
        while ((st = arch_reader_next(r, &m, &err)) == VV_OK)
            expect_message(&m, at++, partition, partitions);
        assert_status(VV_NOT_FOUND, st);
    }
    assert_true(at == e->holds.next);
    arch_reader_close(r);
}

/* Messages that lie in blocks, from offset on. */
static inline void read_blocks(db_stream_reader *r, uint64_t offset, uint32_t partition,
                               uint32_t partitions)
{
    vv_error err = {0};
    stream_scratch scratch = {0};
    while (offset < r->next) {
        vv_slice bytes;
        vv_message m;
        assert_ok(db_stream_load(r, offset, &err), err);
        for (uint64_t at = r->begin; stream_block_next(&r->block, &bytes, &err) == VV_OK; at++) {
            if (at < offset)
                continue;
            assert_ok(stream_message_decode(bytes, &scratch, &m, &err), err);
            m.offset = at;
            expect_message(&m, at, partition, partitions);
            offset = at + 1;
        }
    }
    stream_scratch_fini(&scratch);
}

/* Each message of a partition from its first offset on lies in exactly one object, or in blocks
 * behind the last object, and is what was appended; and what lies in blocks beside an object is the
 * same. Returns the partition's next offset. */
static inline uint64_t expect_all(tier_world *tw, vv_table *table, uint32_t partition,
                                  uint64_t first)
{
    vv_error err = {0};
    db_stream_reader r;
    arch_entry e;
    uint32_t partitions = table->cat->partition_count;
    uint64_t at = first;
    assert_ok(db_stream_reader_open(&r, table, partition, NULL, NULL, &err), err);
    assert_true(r.first == first);
    while (db_tier_entry_of(&r, at, &e, &err) == VV_OK) {
        read_object(tw, &e, partition, partitions);
        at = e.holds.next;
    }
    assert_true(at >= r.local);
    read_blocks(&r, r.local, partition, partitions);
    uint64_t next = r.next;
    db_stream_reader_close(&r);
    return next;
}

/* As many objects at the store as the table knows of: nothing was left behind. */
static inline void expect_no_orphans(tier_world *tw, vv_table *table)
{
    tier_census c = census_of(table);
    if (objs_bucket_objects(tw->bucket) != c.stored + c.dying)
        fail_msg("%zu objects lie at the store, the table knows of %zu, %zu of them dying",
                 objs_bucket_objects(tw->bucket), c.stored + c.dying, c.dying);
}

/* Close the store, verify every byte of it, and open it again. */
static inline void tier_check_and_reopen(tier_world *tw)
{
    sim_check_and_reopen(&tw->w);
}

#endif
