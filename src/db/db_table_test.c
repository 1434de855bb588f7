/*
 * db_table_test.c - tables, records and their time index, shards, and the bytes that are stored.
 */
#include "db/db_test_bed.h"

#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"

static void tables_come_and_go(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = make_table(w->db, "plant", "sensors", VV_TABLE_KV);
    vv_table *again = NULL;
    assert_status(VV_CONFLICT, vv_table_create(w->db, "plant", "sensors", NULL, &again, &err));
    assert_status(VV_NOT_FOUND, vv_table_open(w->db, "plant", "sensros", &again, &err));
    assert_non_null(strstr(err.msg, "did you mean 'sensors'"));
    assert_status(VV_NOT_FOUND, vv_table_open(w->db, "other", "sensors", &again, &err));
    assert_null(strstr(err.msg, "did you mean"));
    assert_status(VV_INVALID, vv_table_create(w->db, "plant", "no/slash", NULL, NULL, &err));
    assert_status(VV_INVALID, vv_table_create(w->db, "", "x", NULL, NULL, &err));
    put(t, "k", "v");
    vv_table_info info;
    assert_ok(vv_table_describe(t, &info, &err), err);
    uint32_t id = info.id;
    assert_ok(vv_table_drop(w->db, "plant", "sensors", &err), err);
    vv_value v;
    assert_status(VV_NOT_FOUND, vv_get(t, NULL, vv_slice_str("k"), &v, &err));
    assert_status(VV_NOT_FOUND, vv_put(t, vv_slice_str("k"), vv_slice_str("v"), &err));
    assert_status(VV_NOT_FOUND, vv_table_describe(t, &info, &err));
    assert_status(VV_NOT_FOUND, vv_table_drop(w->db, "plant", "sensors", &err));
    vv_slice all = vv_slice_str("");
    assert_status(VV_NOT_FOUND, vv_compact(t, all, all, &err));
    assert_status(VV_NOT_FOUND, vv_compact_begin(t, all, all, &err));
    vv_table_close(t);
    t = make_table(w->db, "plant", "sensors", VV_TABLE_KV);
    expect(t, NULL, "k", NULL); /* a new table of the same name is empty */
    assert_ok(vv_table_describe(t, &info, &err), err);
    assert_true(info.id > id);
    vv_table_close(t);
}

/* A choice of compression is kept over a restart, decides how files look, and is checked. */
static void tables_keep_their_compression(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.compression = (vv_compression)9;
    assert_status(VV_INVALID, vv_table_create(w->db, "plant", "x", &opt, NULL, &err));
    uint64_t bytes[2];
    if (w->ops == &btree_ops)
        return; /* a tree's tables have none of their own */
    for (unsigned i = 0; i < 2; i++) {
        vv_table *t = NULL;
        vv_table_info info;
        opt.compression = i == 0 ? VV_COMPRESSION_NONE : VV_COMPRESSION_ZSTD;
        assert_ok(vv_table_create(w->db, "plant", i == 0 ? "none" : "zstd", &opt, &t, &err), err);
        for (unsigned k = 0; k < 400; k++) {
            char key[16];
            static const char value[] = "the same words again and again, the same words again";
            (void)snprintf(key, sizeof key, "key-%06u", k);
            put(t, key, value);
        }
        vv_table_close(t);
        sim_reopen(w);
        assert_ok(vv_table_open(w->db, "plant", i == 0 ? "none" : "zstd", &t, &err), err);
        assert_ok(vv_compact(t, vv_slice_str(""), vv_slice_str(""), &err), err);
        assert_ok(vv_table_describe(t, &info, &err), err);
        assert_int_equal(info.compression, opt.compression);
        bytes[i] = info.bytes_estimate;
        expect(t, NULL, "key-000399", "the same words again and again, the same words again");
        vv_table_close(t);
    }
    if (w->ops == &lsm_ops)
        assert_true(bytes[1] < bytes[0] / 2);
}

/* How files look is chosen where the engine heeds it, and nowhere else taken and forgotten. */
static void forms_are_refused_where_nothing_heeds_them(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table_info info;
    vv_table *t = NULL;
    vv_table_options tree = VV_TABLE_OPTIONS_INIT;
    tree.engine = VV_ENGINE_BTREE;
    tree.compression = VV_COMPRESSION_NONE;
    assert_status(VV_UNSUPPORTED, vv_table_create(w->db, "plant", "x", &tree, NULL, &err));
    assert_non_null(strstr(err.msg, "compression"));
    tree.compression = VV_COMPRESSION_AUTO;
    tree.value_threshold = VV_VALUES_INLINE;
    assert_status(VV_UNSUPPORTED, vv_table_create(w->db, "plant", "x", &tree, NULL, &err));
    assert_non_null(strstr(err.msg, "value_threshold"));
    assert_status(VV_NOT_FOUND, vv_table_open(w->db, "plant", "x", &t, &err));
    tree.engine = VV_ENGINE_ROCKSDB; /* a build without it says so, with the same status */
    assert_status(VV_UNSUPPORTED, vv_table_create(w->db, "plant", "x", &tree, NULL, &err));
#ifdef VV_HAS_ROCKSDB
    assert_non_null(strstr(err.msg, "value_threshold"));
#endif
    tree.engine = VV_ENGINE_BTREE;
    vv_table_options any = VV_TABLE_OPTIONS_INIT; /* the store's engine decides */
    any.value_threshold = 4096;
    vv_status want = w->ops == &btree_ops ? VV_UNSUPPORTED : VV_OK;
    assert_status(want, vv_table_create(w->db, "plant", "y", &any, NULL, &err));
    any.size = offsetof(vv_table_options, value_threshold); /* not there, in an older header */
    assert_ok(vv_table_create(w->db, "plant", "z", &any, &t, &err), err);
    assert_ok(vv_table_identify(t, &info, &err), err);
    assert_int_equal(info.value_threshold, 0);
    vv_table_close(t);
    tree.value_threshold = 0;
    assert_ok(vv_table_create(w->db, "plant", "x", &tree, NULL, &err), err);
    tree.value_threshold = 4096; /* one that is there is taken as it is */
    tree.if_not_exists = true;
    assert_ok(vv_table_create(w->db, "plant", "x", &tree, &t, &err), err);
    assert_ok(vv_table_identify(t, &info, &err), err);
    assert_int_equal(info.value_threshold, 0);
    vv_table_close(t);
}

static int collect(void *ctx, const vv_table_info *info)
{
    char *text = ctx;
    (void)strcat(text, info->tenant);
    (void)strcat(text, "/");
    (void)strcat(text, info->name);
    (void)strcat(text, " ");
    return 0;
}

static void tables_are_listed_in_order(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table_close(make_table(w->db, "b", "two", VV_TABLE_KV));
    vv_table_close(make_table(w->db, "a", "x", VV_TABLE_RECORD));
    vv_table_close(make_table(w->db, "b", "one", VV_TABLE_KV));
    sim_reopen(w);
    char text[256] = "";
    assert_ok(vv_table_list(w->db, NULL, collect, text, &err), err);
    assert_string_equal(text, "a/x b/one b/two ");
    text[0] = '\0';
    assert_ok(vv_table_list(w->db, "b", collect, text, &err), err);
    assert_string_equal(text, "b/one b/two ");
}

static void put_record(vv_table *t, const char *key, int64_t ts, const char *body)
{
    vv_error err = {0};
    vv_batch *b = new_batch(t->db);
    vv_record r = {.timestamp_ns = ts, .body = vv_slice_str(body), .schema_id = 300};
    uint8_t metadata[64];
    size_t len = 0;
    assert_true(vv_record_metadata_add(metadata, sizeof metadata, &len, vv_slice_str("unit"),
                                       vv_slice_str("C")));
    r.metadata = vv_slice_of(metadata, len);
    r.metadata_count = 1;
    assert_ok(vv_batch_put_record(b, t, vv_slice_str(key), &r, &err), err);
    assert_ok(vv_write(t->db, b, VV_DURABLE_DEFAULT, NULL, &err), err);
    vv_batch_destroy(b);
}

/* The keys in [start, end) by time; backward when newest first. */
static void walk_time(vv_table *t, const vv_snapshot *snap, int64_t start, int64_t end,
                      bool backward, char *out)
{
    vv_error err = {0};
    vv_cursor *c = NULL;
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    opt.snapshot = snap;
    out[0] = '\0';
    assert_ok(vv_cursor_open_by_time(t, &opt, start, end, &c, &err), err);
    vv_status st = backward ? vv_cursor_seek_below(c, vv_slice_str(""), &err)
                            : vv_cursor_seek(c, vv_slice_str(""), &err);
    while (st == VV_OK && vv_cursor_valid(c)) {
        vv_record r;
        assert_ok(vv_record_parse(vv_cursor_value(c), &r, &err), err);
        assert_true(r.timestamp_ns >= start && r.timestamp_ns < end);
        assert_int_equal(r.schema_id, 300);
        vv_slice key = vv_cursor_key(c);
        (void)strncat(out, (const char *)key.data, key.len);
        st = backward ? vv_cursor_prev(c, &err) : vv_cursor_next(c, &err);
    }
    assert_ok(st, err);
    vv_cursor_close(c);
}

static void records_are_found_by_time(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    char seen[64];
    vv_table *t = make_table(w->db, "plant", "rec", VV_TABLE_RECORD);
    put_record(t, "c", 30, "3");
    put_record(t, "a", -10, "1");
    put_record(t, "b", 20, "2");
    put_record(t, "d", 40, "4");
    walk_time(t, NULL, -100, 40, false, seen);
    assert_string_equal(seen, "abc");
    vv_snapshot *snap = NULL;
    assert_ok(vv_snapshot_create(w->db, &snap, &err), err);
    put_record(t, "a", 35, "moved");
    assert_ok(vv_delete(t, vv_slice_str("b"), &err), err);
    assert_ok(vv_checkpoint(w->db, &err), err);
    for (int i = 0; i < 2; i++) { /* the first walk drops the leftovers, the second finds none */
        walk_time(t, NULL, -100, 100, false, seen);
        assert_string_equal(seen, "cad");
        walk_time(t, NULL, -100, 100, true, seen);
        assert_string_equal(seen, "dac");
        walk_time(t, snap, -100, 100, false, seen);
        assert_string_equal(seen, "abcd");
    }
    assert_int_equal(atomic_load(&w->db->counters.stale_index_drops), 2);
    put_record(t, "a", -10, "back"); /* a dropped index entry comes back with its record */
    walk_time(t, NULL, -100, 100, false, seen);
    assert_string_equal(seen, "acd");
    vv_snapshot_release(snap);
    vv_cursor *c = NULL;
    vv_table *kv = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    assert_status(VV_INVALID, vv_cursor_open_by_time(kv, NULL, 0, 1, &c, &err));
    assert_ok(vv_cursor_open_by_time(t, NULL, 0, 1, &c, &err), err);
    assert_status(VV_UNSUPPORTED, vv_cursor_seek(c, vv_slice_str("a"), &err));
    vv_cursor_close(c);
    vv_table_close(kv);
    vv_table_close(t);
}

static void prop_records_round_trip(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(7));
    vv_table *t = make_table(w->db, "plant", "rec", VV_TABLE_RECORD);
    vv_batch *b = new_batch(w->db);
    for (int i = 0; i < 300; i++) {
        uint8_t metadata[512];
        uint8_t body[256];
        size_t len = 0;
        vv_record r = {.schema_id = (uint32_t)vv_rng_next(&rng),
                       .schema_version = (uint32_t)vv_rng_below(&rng, 200),
                       .timestamp_ns = (int64_t)vv_rng_next(&rng),
                       .body_format = (uint8_t)vv_rng_below(&rng, 2)};
        uint64_t pairs = vv_rng_below(&rng, 5);
        vv_rng_bytes(&rng, body, sizeof body);
        for (uint64_t p = 0; p < pairs; p++)
            r.metadata_count += vv_record_metadata_add(metadata, sizeof metadata, &len,
                                                       vv_slice_of(body, vv_rng_below(&rng, 40)),
                                                       vv_slice_of(body, vv_rng_below(&rng, 200)));
        r.metadata = vv_slice_of(metadata, len);
        r.body = vv_slice_of(body, vv_rng_below(&rng, sizeof body));
        vv_batch_clear(b);
        assert_ok(vv_batch_put_record(b, t, vv_slice_str("k"), &r, &err), err);
        assert_ok(vv_write(w->db, b, VV_DURABLE_NONE, NULL, &err), err);
        vv_value v;
        vv_record back;
        assert_ok(vv_get(t, NULL, vv_slice_str("k"), &v, &err), err);
        assert_ok(vv_record_parse(v.data, &back, &err), err);
        assert_int_equal(back.schema_id, r.schema_id);
        assert_int_equal(back.schema_version, r.schema_version);
        assert_true(back.timestamp_ns == r.timestamp_ns);
        assert_int_equal(back.metadata_count, r.metadata_count);
        assert_true(vv_slice_eq(back.metadata, r.metadata));
        assert_true(vv_slice_eq(back.body, r.body));
        for (size_t cut = 0; cut < v.data.len; cut++) { /* no prefix crashes the parser */
            vv_status st = vv_record_parse(vv_slice_of(v.data.data, cut), &back, NULL);
            assert_true(st == VV_OK || st == VV_CORRUPT);
        }
        vv_value_release(&v);
    }
    vv_batch_destroy(b);
    vv_table_close(t);
}

static void tables_spread_over_shards(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    char tenant[16];
    sim_end(w);
    w->opt.shard_count = 7;
    sim_start(w);
    uint64_t shards = 0;
    vv_table *t[20];
    for (int i = 0; i < 20; i++) {
        (void)snprintf(tenant, sizeof tenant, "tenant%d", i);
        t[i] = make_table(w->db, tenant, "kv", i % 2 == 0 ? VV_TABLE_KV : VV_TABLE_RECORD);
        vv_table_info info;
        assert_ok(vv_table_describe(t[i], &info, &err), err);
        shards |= UINT64_C(1) << info.shard;
        if (i % 2 == 0)
            put(t[i], "k", tenant);
        else
            put_record(t[i], "k", i, tenant);
    }
    assert_true(__builtin_popcountll(shards) > 3);
    vv_batch *b = new_batch(w->db);
    vv_status st = VV_OK;
    for (int i = 0; i < 20 && st == VV_OK; i += 2)
        st = vv_batch_put(b, t[i], vv_slice_str("k"), vv_slice_str("v"), 0, &err);
    assert_int_equal(st, VV_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "shard"));
    vv_batch_destroy(b);
    vv_snapshot *snap = NULL;
    assert_ok(vv_snapshot_create(w->db, &snap, &err), err);
    assert_ok(vv_table_drop(w->db, "tenant4", "kv", &err), err);
    put(t[2], "k", "new");
    expect(t[2], snap, "k", "tenant2");
    vv_snapshot_release(snap);
    for (int i = 0; i < 20; i++)
        vv_table_close(t[i]);
    w->opt.shard_count = 3; /* the store's own number counts */
    sim_reopen(w);
    assert_int_equal(w->db->shard_count, 7);
    for (int i = 0; i < 20; i += 2) {
        (void)snprintf(tenant, sizeof tenant, "tenant%d", i);
        vv_table *u = NULL;
        st = vv_table_open(w->db, tenant, "kv", &u, &err);
        assert_int_equal(st, i == 4 ? VV_NOT_FOUND : VV_OK);
        if (st == VV_OK)
            expect(u, NULL, "k", i == 2 ? "new" : tenant);
        vv_table_close(u);
    }
}

static void stored_bytes_are_these(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    static const uint8_t identity[72] = {
        'V', 'A', 'R', 'V', 'E', 'D', 'B', '\n', 1, 0, 0,           0,    0,    0,   0,
        0,   0,   0,   0,   0,   1,   2,   3,    4, 5, 6,           7,    8,    9,   10,
        11,  12,  13,  14,  15,  16,  3,   0,    0, 0, [68] = 0xcd, 0x54, 0x50, 0x2b};
    db_identity id = {.shard_count = 3};
    for (uint8_t i = 0; i < 16; i++)
        id.uuid[i] = (uint8_t)(i + 1);
    sim_close(w);
    vio_sim_disk_destroy(w->disk);
    w->disk = vio_sim_disk_create();
    assert_ok(sim_on(w, &(vio_sim_options){.seed = 1}, &err), err);
    assert_ok(db_identity_write(w->env.io, &id, &err), err);
    uint8_t *bytes = NULL;
    size_t len = 0;
    assert_ok(vio_read_file(w->env.io, "VARVE", 4096, &bytes, &len, &err), err);
    assert_int_equal(len, sizeof identity);
    assert_memory_equal(bytes, identity, sizeof identity);
    vv_free(bytes);
    assert_ok(vio_remove(w->env.io, "VARVE", &err), err);
    sim_off(w);
    sim_start(w);

    static const uint8_t record[] = {1,    0,    0xac, 2, 7,   0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                     0xff, 0xff, 1,    1, 'k', 1,    'v',  'b',  'o',  'd',  'y'};
    static const uint8_t pair[] = {1, 'k', 1, 'v'};
    vv_record r = {.schema_id = 300,
                   .schema_version = 7,
                   .timestamp_ns = -1,
                   .metadata = vv_slice_of(pair, sizeof pair),
                   .metadata_count = 1,
                   .body = vv_slice_str("body")};
    vv_buf b;
    vv_buf_init(&b, 4096);
    db_record_encode(&b, &r);
    assert_int_equal(b.len, sizeof record);
    assert_memory_equal(b.data, record, sizeof record);
    vv_buf_fini(&b);
    uint8_t time[DB_INDEX_TIME_SIZE];
    db_time_encode(-1, time);
    assert_memory_equal(time, "\x7f\xff\xff\xff\xff\xff\xff\xff", 8);
    assert_true(db_time_decode(time) == -1);
}

/* ---- sizes: told where they are asked for, and nowhere else ---- */

static unsigned sizes_asked;

static uint64_t counting_size(engine *e, vv_slice lower, vv_slice upper)
{
    sizes_asked++;
    return e->ops->approximate_size(e, lower, upper);
}

static int add_sizes(void *ctx, const vv_table_info *info)
{
    uint64_t *sum = ctx;
    sum[0]++;
    sum[1] += info->bytes_estimate;
    return 0;
}

static void names_are_listed_without_a_look_at_entries(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    engine_ops counting = *w->db->ops;
    counting.approximate_size = counting_size;
    vv_table *a = make_table(w->db, "plant", "a", VV_TABLE_KV);
    vv_table *b = make_table(w->db, "plant", "b", VV_TABLE_KV);
    for (int i = 0; i < 10; i++)
        put(a, "key", "value");
    put(b, "k", "v");
    w->db->ops = &counting;
    sizes_asked = 0;
    vv_table_info info;
    uint64_t sum[2] = {0};
    assert_ok(vv_table_identify(a, &info, &err), err);
    assert_string_equal(info.name, "a");
    assert_int_equal(info.bytes_estimate, 0);
    assert_ok(vv_table_list_names(w->db, "plant", add_sizes, sum, &err), err);
    assert_int_equal(sum[0], 2);
    assert_int_equal(sum[1], 0);
    assert_int_equal(sizes_asked, 0);
    assert_ok(vv_table_list(w->db, "plant", add_sizes, sum, &err), err);
    assert_int_equal(sum[0], 4);
    assert_int_equal(sizes_asked, 2);
    if (engine_under_test == &lsm_ops) {
        uint64_t one = ENGINE_TABLE_PREFIX + strlen("key") + strlen("value");
        assert_ok(vv_table_describe(a, &info, &err), err);
        assert_int_equal(info.bytes_estimate, 10 * one);
        assert_int_equal(sum[1], 10 * one + ENGINE_TABLE_PREFIX + 2);
        assert_ok(vv_checkpoint(w->db, &err), err);
        assert_ok(vv_table_describe(a, &info, &err), err);
        assert_true(info.bytes_estimate > 0);
    }
    w->db->ops = &engine_route_ops;
    vv_table_close(a);
    vv_table_close(b);
}

static int run(const engine_ops *ops)
{
    engine_under_test = ops;
    const struct CMUnitTest tests[] = {
        T(tables_come_and_go),
        T(tables_keep_their_compression),
        T(tables_are_listed_in_order),
        T(records_are_found_by_time),
        T(prop_records_round_trip),
        T(tables_spread_over_shards),
        T(stored_bytes_are_these),
        T(names_are_listed_without_a_look_at_entries),
        T(forms_are_refused_where_nothing_heeds_them),
    };
    return cmocka_run_group_tests_name(ops->name, tests, NULL, NULL);
}

int main(void)
{
    return run(&engine_memory_ops) + run(&lsm_ops) + run(&btree_ops);
}
