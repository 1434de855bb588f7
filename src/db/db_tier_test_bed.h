/*
 * db_tier_test_bed.h - streams of which a part lies in objects, for tests of reading them: a store
 * on the simulated disk, a bucket in memory, and an archiver of the test's own that cuts, drops and
 * merges when it is told to.
 */
#ifndef VARVE_DB_DB_TIER_TEST_BED_H
#define VARVE_DB_DB_TIER_TEST_BED_H

#include "db/db_stream_test_util.h"

#include "base/alloc.h"
#include "base/rng.h"
#include "db/db_tier_read.h"
#include "object/object.h"

#define TIER_BLOCK 700u /* bytes of a block of an object: many in a small one */

typedef struct tier_bed {
    sim_world w; /* first: a test's state */
    objs_bucket *bucket;
    vv_object_store *store;
    vv_tier_options tier;
    uint64_t intents;
    bool says_no_table; /* objects are made as by versions that knew no id of a table */
    int64_t made_ns;    /* of objects; 0: before everything */
} tier_bed;

static inline void tier_open_store(tier_bed *b)
{
    vv_error err = {0};
    vv_object_options o = VV_OBJECT_OPTIONS_INIT;
    o.backend = "memory";
    o.max_retries = 0;
    o.breaker_failures = 0;
    o.budget_ms = 1000;
    assert_ok(objs_open_bucket(&b->w.env, b->bucket, &o, &b->store, &err), err);
}

/* Faults of the bucket from the next request on; {0}: none. Counts requests from 0. */
static inline void tier_faults(tier_bed *b, objs_memory_options options)
{
    objs_bucket_set(b->bucket, &options);
}

static inline uint64_t tier_requests(const tier_bed *b)
{
    return objs_bucket_requests(b->bucket);
}

static inline int tier_setup(void **state)
{
    tier_bed *b = calloc(1, sizeof *b);
    assert_non_null(b);
    sim_world *w = &b->w;
    w->ops = engine_under_test;
    w->opt = (vv_options)SIM_TINY_OPTIONS;
    w->opt.shard_count = test_partitions;
    w->disk = vio_sim_disk_create();
    assert_non_null(w->disk);
    w->env.clock = vio_sim_clock(w->disk);
    b->bucket = objs_bucket_create();
    assert_non_null(b->bucket);
    tier_open_store(b);
    b->tier = (vv_tier_options){.size = sizeof b->tier, .objects = b->store, .rule = {.off = true}};
    w->opt.tier = &b->tier;
    sim_start(w);
    *state = b;
    return 0;
}

static inline int tier_teardown(void **state)
{
    tier_bed *b = *state;
    sim_end(&b->w);
    vv_object_store_close(b->store);
    objs_bucket_destroy(b->bucket);
    free(b);
    return 0;
}

#define TT(f) cmocka_unit_test_setup_teardown(f, tier_setup, tier_teardown)

/* ---- an archiver of the test's own ---- */

static inline vv_status tier_write(void *ctx, const void *bytes, size_t len, vv_error *err)
{
    (void)err;
    vv_buf_append(ctx, bytes, len);
    return ((vv_buf *)ctx)->status;
}

static inline vv_batch *tier_batch(vv_table *table, uint32_t partition)
{
    vv_error err = {0};
    vv_table part = db_part_at(table, partition);
    vv_batch *batch = new_batch(table->db);
    assert_ok(db_batch_bind(batch, &part, &err), err);
    return batch;
}

static inline void tier_put(vv_batch *batch, const vv_table *table, vv_slice key, vv_slice value)
{
    vv_error err = {0};
    assert_ok(db_batch_add(batch, ENGINE_PUT, table->cat->id, key, value, 0, &err), err);
}

static inline void tier_commit(vv_table *table, vv_batch *batch)
{
    vv_error err = {0};
    assert_ok(vv_write(table->db, batch, VV_DURABLE_SYNC, NULL, &err), err);
    vv_batch_destroy(batch);
}

/* The bytes of an object of [first, next), as they are read now. */
static inline void tier_make(tier_bed *b, vv_table *table, uint32_t partition, uint64_t first,
                             uint64_t next, arch_entry *entry, vv_buf *bytes)
{
    vv_error err = {0};
    arch_writer *writer = NULL;
    vv_stream_cursor *c = NULL;
    vv_message m;
    arch_writer_options how = {.codec = VV_TIER_ZSTD, .block_bytes = TIER_BLOCK};
    vv_stream_read_options opt = VV_STREAM_READ_OPTIONS_INIT;
    opt.partition = partition;
    opt.start = (vv_stream_start){.from = VV_STREAM_OFFSET, .offset = first};
    how.who = (arch_identity){.intent = ++b->intents,
                              .partition = partition,
                              .partition_count = table->cat->partition_count,
                              .made_ns = b->made_ns + (int64_t)b->intents};
    if (!b->says_no_table) {
        how.who.table_id = table->cat->id;
        how.who.table_made_ns = table->cat->created_ns;
    }
    (void)snprintf(how.who.tenant, sizeof how.who.tenant, "%s", table->cat->tenant);
    (void)snprintf(how.who.table, sizeof how.who.table, "%s", table->cat->name);
    assert_ok(arch_writer_open(&how, (arch_sink){.write = tier_write, .ctx = bytes}, &writer, &err),
              err);
    assert_ok(vv_stream_cursor_open(table, &opt, &c, &err), err);
    for (uint64_t at = first; at < next; at++) {
        assert_ok(vv_stream_cursor_next(c, &m, &err), err);
        assert_ok(arch_writer_add(writer, &m, &err), err);
    }
    vv_stream_cursor_close(c);
    *entry = (arch_entry){.intent = how.who.intent, .codec = how.codec, .made_ns = 1};
    assert_ok(arch_writer_finish(writer, &entry->holds, &err), err);
    arch_writer_close(writer);
    (void)snprintf(entry->name, sizeof entry->name, "plant/events/%u-%llu-%llu.varve", partition,
                   (unsigned long long)first, (unsigned long long)entry->intent);
}

static inline void tier_store(tier_bed *b, const arch_entry *entry, const vv_buf *bytes)
{
    vv_error err = {0};
    vv_object_outcome outcome;
    vv_slice piece = vv_buf_slice(bytes);
    assert_ok(
        vv_object_put(b->store, entry->name, &piece, 1, VV_OBJECT_CREATE, NULL, &outcome, &err),
        err);
}

static inline void tier_add_entry(vv_batch *batch, const vv_table *table, const arch_entry *entry)
{
    uint8_t key[ARCH_KEY_SIZE];
    vv_buf bytes;
    vv_buf_init(&bytes, 4096);
    arch_key(ARCH_KEY_ENTRY, entry->holds.first, key);
    arch_entry_encode(entry, &bytes);
    tier_put(batch, table, vv_slice_of(key, sizeof key), vv_buf_slice(&bytes));
    vv_buf_fini(&bytes);
}

/* [first, next) into an object, with its entry. Blocks stay where they are. */
static inline arch_entry tier_archive(tier_bed *b, vv_table *table, uint32_t partition,
                                      uint64_t first, uint64_t next)
{
    arch_entry entry;
    vv_buf bytes;
    vv_buf_init(&bytes, 64u << 20);
    tier_make(b, table, partition, first, next, &entry, &bytes);
    tier_store(b, &entry, &bytes);
    vv_batch *batch = tier_batch(table, partition);
    tier_add_entry(batch, table, &entry);
    tier_commit(table, batch);
    vv_buf_fini(&bytes);
    return entry;
}

/* Blocks below offset go: from now on its messages lie in objects alone. */
static inline void tier_drop_local(vv_table *table, uint32_t partition, uint64_t offset)
{
    static const uint8_t kind = STREAM_KEY_LOCAL;
    vv_error err = {0};
    db_stream_reader r;
    uint8_t lower[STREAM_BLOCK_KEY];
    uint8_t upper[ENGINE_TABLE_PREFIX + STREAM_BLOCK_KEY];
    uint8_t head[STREAM_HEAD_SIZE];
    assert_ok(db_stream_reader_open(&r, table, partition, NULL, NULL, &err), err);
    assert_true(offset >= r.local && offset <= r.next);
    stream_head local = {offset, r.sums.bytes_before, r.sums.receive_ns, r.sums.event_max};
    uint64_t end = offset;
    if (offset < r.next) {
        assert_ok(db_stream_load(&r, offset, &err), err);
        local = (stream_head){offset, r.block.place.bytes_before, r.block.place.receive_ns,
                              r.block.place.event_max};
        end = r.begin;
    }
    stream_block_key(r.local, lower);
    uint64_t begin = r.local;
    if (r.local < r.next) {
        assert_ok(db_stream_load(&r, r.local, &err), err);
        begin = r.begin;
    }
    db_stream_reader_close(&r);
    vv_batch *batch = tier_batch(table, partition);
    stream_block_key(begin, lower);
    vv_put_be32(upper, table->cat->id);
    stream_block_key(end, upper + ENGINE_TABLE_PREFIX);
    if (begin < end)
        assert_ok(db_batch_add(batch, ENGINE_RANGE_DELETE, table->cat->id,
                               vv_slice_of(lower, sizeof lower), vv_slice_of(upper, sizeof upper),
                               0, &err),
                  err);
    stream_head_encode(&local, head);
    tier_put(batch, table, vv_slice_of(&kind, 1), vv_slice_of(head, sizeof head));
    tier_commit(table, batch);
}

/* The partition begins at offset, which lies in an object alone. */
static inline void tier_trim(vv_table *table, uint32_t partition, uint64_t offset)
{
    static const uint8_t kind = STREAM_KEY_HEAD;
    vv_error err = {0};
    db_stream_reader r;
    uint8_t bytes[STREAM_HEAD_SIZE];
    assert_ok(db_stream_reader_open(&r, table, partition, NULL, NULL, &err), err);
    assert_true(offset >= r.first && offset <= r.local);
    stream_head head = {.first = offset, .event_max = STREAM_NO_TIME};
    db_stream_reader_close(&r);
    vv_batch *batch = tier_batch(table, partition);
    stream_head_encode(&head, bytes);
    tier_put(batch, table, vv_slice_of(&kind, 1), vv_slice_of(bytes, sizeof bytes));
    tier_commit(table, batch);
}

/* Two entries that follow each other become one; the objects that they were of go, at once. */
static inline void tier_merge(tier_bed *b, vv_table *table, uint32_t partition,
                              const arch_entry *one, const arch_entry *two, bool removes)
{
    vv_error err = {0};
    vv_object_outcome outcome;
    uint8_t key[ARCH_KEY_SIZE];
    arch_entry entry;
    vv_buf bytes;
    vv_buf_init(&bytes, 64u << 20);
    tier_make(b, table, partition, one->holds.first, two->holds.next, &entry, &bytes);
    entry.bytes_before = one->bytes_before;
    tier_store(b, &entry, &bytes);
    vv_batch *batch = tier_batch(table, partition);
    arch_key(ARCH_KEY_ENTRY, two->holds.first, key);
    assert_ok(db_batch_add(batch, ENGINE_DELETE, table->cat->id, vv_slice_of(key, sizeof key),
                           vv_slice_of(NULL, 0), 0, &err),
              err);
    tier_add_entry(batch, table, &entry);
    tier_commit(table, batch);
    vv_buf_fini(&bytes);
    if (!removes)
        return;
    assert_ok(vv_object_remove(b->store, one->name, &outcome, &err), err);
    assert_ok(vv_object_remove(b->store, two->name, &outcome, &err), err);
}

/* ---- messages that tell what they are ---- */

static inline size_t tier_text(char out[80], uint64_t number)
{
    int n = snprintf(out, 80, "message %llu of the test, %llx", (unsigned long long)number,
                     (unsigned long long)(number * UINT64_C(0x9e3779b97f4a7c15)));
    return (size_t)n;
}

/* `count` messages with the numbers of their offsets, some in one append. */
static inline void tier_append(tier_bed *b, vv_table *table, uint32_t partition, uint64_t count)
{
    char text[16][80];
    vv_message m[16];
    vv_error err = {0};
    vv_stream_append_options opt = VV_STREAM_APPEND_OPTIONS_INIT;
    opt.partition = partition;
    uint64_t next = stats_of(table, partition).next_offset;
    for (uint64_t end = next + count; next < end;) {
        size_t n = (size_t)vv_min_u64(1 + next % 16, end - next);
        for (size_t i = 0; i < n; i++)
            m[i] = (vv_message){.value = vv_slice_of(text[i], tier_text(text[i], next + i)),
                                .event_time_ns = (next + i) % 3 == 0 ? 0 : (int64_t)(next + i)};
        assert_ok(vv_stream_append(table, m, n, &opt, NULL, &err), err);
        next += n;
        vio_sim_advance(b->w.disk, 1000);
    }
}

/* Is it the message with this offset? */
static inline bool tier_is(const vv_message *m, uint64_t offset)
{
    char text[80];
    size_t len = tier_text(text, offset);
    return m->offset == offset && vv_slice_eq(m->value, vv_slice_of(text, len)) &&
           m->event_time_ns == (offset % 3 == 0 ? 0 : (int64_t)offset);
}

static inline vv_stream_cursor *tier_cursor(vv_table *table, uint32_t partition, uint64_t from,
                                            const vv_snapshot *at)
{
    vv_error err = {0};
    vv_stream_cursor *c = NULL;
    vv_stream_read_options opt = VV_STREAM_READ_OPTIONS_INIT;
    opt.partition = partition;
    opt.snapshot = at;
    opt.start = (vv_stream_start){.from = VV_STREAM_OFFSET, .offset = from};
    assert_ok(vv_stream_cursor_open(table, &opt, &c, &err), err);
    return c;
}

/* Every message of [from, end) is there, and nothing else up to it. */
static inline void tier_expect(vv_table *table, uint32_t partition, uint64_t from, uint64_t end,
                               const vv_snapshot *at)
{
    vv_error err = {0};
    vv_message m;
    vv_stream_cursor *c = tier_cursor(table, partition, from, at);
    for (uint64_t o = from; o < end; o++) {
        assert_ok(vv_stream_cursor_next(c, &m, &err), err);
        if (!tier_is(&m, o))
            fail_msg("offset %d: another message, of offset %d", (int)o, (int)m.offset);
    }
    vv_stream_cursor_close(c);
}

/* The status of reading the message at offset. */
static inline vv_status tier_read_one(vv_table *table, uint32_t partition, uint64_t offset,
                                      vv_error *err)
{
    vv_message m;
    vv_stream_cursor *c = tier_cursor(table, partition, offset, NULL);
    vv_status st = vv_stream_cursor_next(c, &m, err);
    if (st == VV_OK && !tier_is(&m, offset))
        fail_msg("offset %d: another message", (int)offset);
    vv_stream_cursor_close(c);
    return st;
}

/* A stream of three objects, of 300 messages each, and 100 messages in blocks alone; `first`
 * receives their entries. */
static inline vv_table *tier_three(tier_bed *b, arch_entry entry[3])
{
    vv_table *t = stream_table(b->w.db);
    uint32_t p = test_partitions - 1;
    tier_append(b, t, p, 1000);
    for (unsigned i = 0; i < 3; i++)
        entry[i] = tier_archive(b, t, p, i * 300, (i + 1) * 300);
    tier_drop_local(t, p, 900);
    return t;
}

#endif
