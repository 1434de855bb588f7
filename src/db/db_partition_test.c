/*
 * db_partition_test.c - tables whose keys are spread over shards: where they lie, that reads do not
 * tell them from others, and what is refused by name.
 */
#include "db/db_test_bed.h"

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "varve/async.h"
#include "varve/bulk.h"
#include "varve/record.h"
#include "varve/txn.h"

static int setup_three(void **state)
{
    sim_world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->ops = engine_under_test;
    w->opt = (vv_options)SIM_TINY_OPTIONS;
    w->opt.shard_count = 3;
    sim_start(w);
    *state = w;
    return 0;
}

#define P(f) cmocka_unit_test_setup_teardown(f, setup_three, teardown)

static vv_table *spread_over(vv_db *db, uint32_t partitions, vv_table_kind kind)
{
    vv_error err = {0};
    vv_table *t = NULL;
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.kind = kind;
    opt.partitions = partitions;
    opt.if_not_exists = true;
    assert_ok(vv_table_create(db, "plant", "spread", &opt, &t, &err), err);
    return t;
}

static size_t count_keys(vv_table *t, const vv_snapshot *snapshot)
{
    vv_error err = {0};
    vv_cursor *c = NULL;
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    size_t n = 0;
    opt.snapshot = snapshot;
    assert_ok(vv_cursor_open(t, &opt, &c, &err), err);
    vv_status st = vv_cursor_seek(c, vv_slice_str(""), &err);
    for (; st == VV_OK && vv_cursor_valid(c); n++)
        st = vv_cursor_next(c, &err);
    assert_ok(st, err);
    vv_cursor_close(c);
    return n;
}

static const char *key_text(char out[16], unsigned i)
{
    (void)snprintf(out, 16, "key-%04u", i);
    return out;
}

/* A key on that partition. */
static const char *key_on(const vv_table *t, uint32_t partition, unsigned from, char out[16])
{
    for (unsigned i = from;; i++)
        if (db_shard_of_key(t, vv_slice_str(key_text(out, i))) ==
            cat_partition_shard(t->cat, partition))
            return out;
}

/* ---- where things lie ---- */

/* The hash and its modulo are on disk: these never change. */
static void keys_lie_where_they_always_did(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        uint64_t hash;
        uint32_t of_3;
        uint32_t of_64;
    } cases[] = {{"", UINT64_C(0x2d06800538d394c2), 2, 3},
                 {"a", UINT64_C(0xe6c632b61e964e1f), 2, 32},
                 {"abc", UINT64_C(0x78af5f94892f3950), 2, 17}};
    cat_table three = {.shard = 1, .partition_count = 3, .shard_count = 3};
    cat_table all = {.shard = 1, .partition_count = 64, .shard_count = 64};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t hash = vv_hash64(cases[i].key, strlen(cases[i].key));
        if (hash != cases[i].hash || cat_table_shard(&three, hash) != cases[i].of_3 ||
            cat_table_shard(&all, hash) != cases[i].of_64)
            fail_msg("'%s': %016llx %u %u", cases[i].key, (unsigned long long)hash,
                     cat_table_shard(&three, hash), cat_table_shard(&all, hash));
    }
}

static void keys_are_spread_and_stay(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    char key[16];
    vv_table *t = spread_over(w->db, 3, VV_TABLE_KV);
    for (unsigned i = 0; i < 300; i++)
        put(t, key_text(key, i), key);
    for (int reopened = 0; reopened < 3; reopened++) {
        vv_table_info info;
        assert_ok(vv_table_describe(t, &info, &err), err);
        assert_int_equal(info.partitions, 3);
        assert_true(info.bytes_estimate > 0 || reopened < 2);
        assert_int_equal(count_keys(t, NULL), 300);
        for (uint32_t p = 0; p < 3; p++) {
            vv_table part = db_part_at(t, p);
            size_t n = count_keys(&part, NULL);
            assert_true(n > 60 && n < 140);
        }
        for (unsigned i = 0; i < 300; i++)
            expect(t, NULL, key_text(key, i), key);
        vv_table_close(t);
        if (reopened == 1) { /* and from files */
            assert_ok(vv_checkpoint(w->db, &err), err);
        }
        sim_reopen(w);
        assert_ok(vv_table_open(w->db, "plant", "spread", &t, &err), err);
    }
    assert_ok(vv_compact(t, vv_slice_str(""), vv_slice_str(""), &err), err);
    vv_compact_state look = {.size = sizeof look};
    assert_ok(vv_compact_look(t, vv_slice_str(""), vv_slice_str(""), &look, &err), err);
    assert_false(look.is_pending);
    assert_int_equal(count_keys(t, NULL), 300);
    vv_table_close(t);
    sim_close(w);
    assert_ok(sim_on(w, &(vio_sim_options){.seed = 1}, &err), err);
    assert_ok(db_check_env(&w->env, NULL, NULL, &err), err);
    sim_off(w);
    sim_start(w);
}

static void a_dropped_table_leaves_nothing_on_any_shard(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    char key[16];
    vv_table *t = spread_over(w->db, 3, VV_TABLE_KV);
    vv_table *other = make_table(w->db, "plant", "whole", VV_TABLE_KV);
    for (unsigned i = 0; i < 60; i++)
        put(t, key_text(key, i), "v");
    put(other, "k", "v");
    assert_ok(vv_table_drop(w->db, "plant", "spread", &err), err);
    assert_status(VV_NOT_FOUND, vv_put(t, vv_slice_str("k"), vv_slice_str("v"), &err));
    for (uint32_t p = 0; p < 3; p++) {
        vv_table part = db_part_at(t, p);
        engine_cursor *c = NULL;
        uint8_t lower[4];
        uint8_t upper[4];
        vv_put_be32(lower, t->cat->id);
        vv_put_be32(upper, t->cat->id + 1);
        engine_cursor_options opt = {.read = {.version = w->db->ops->visible(part.shard->eng)},
                                     .lower = vv_slice_of(lower, 4),
                                     .upper = vv_slice_of(upper, 4)};
        assert_ok(w->db->ops->cursor(part.shard->eng, &opt, &c, &err), err);
        assert_ok(engine_cursor_seek(c, vv_slice_str(""), &err), err);
        assert_false(engine_cursor_valid(c));
        engine_cursor_close(c);
    }
    vv_table_close(t);
    t = spread_over(w->db, 2, VV_TABLE_KV);
    assert_int_equal(count_keys(t, NULL), 0);
    expect(other, NULL, "k", "v");
    vv_table_close(t);
    vv_table_close(other);
}

static void bad_counts_of_partitions_are_refused(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = NULL;
    vv_table_info info;
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    static const uint32_t bad[] = {4, 64, 65, UINT32_MAX};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        opt.partitions = bad[i];
        assert_status(VV_INVALID, vv_table_create(w->db, "plant", "x", &opt, &t, &err));
        assert_non_null(strstr(err.msg, "the store has 3"));
        assert_status(VV_NOT_FOUND, vv_table_open(w->db, "plant", "x", &t, &err));
    }
    for (uint32_t one = 0; one < 2; one++) { /* 0: the default */
        opt.partitions = one;
        opt.if_not_exists = one == 1;
        assert_ok(vv_table_create(w->db, "plant", "x", &opt, &t, &err), err);
        assert_ok(vv_table_identify(t, &info, &err), err);
        assert_int_equal(info.partitions, 1);
        vv_table_close(t);
    }
    opt.partitions = 3; /* it is fixed */
    assert_status(VV_CONFLICT, vv_table_create(w->db, "plant", "x", &opt, &t, &err));
    assert_non_null(strstr(err.msg, "1 partition"));
    opt.size = offsetof(vv_table_options, partitions); /* an older header has none */
    assert_ok(vv_table_create(w->db, "plant", "y", &opt, &t, &err), err);
    assert_ok(vv_table_identify(t, &info, &err), err);
    assert_int_equal(info.partitions, 1);
    vv_table_close(t);
}

/* ---- what is within a shard, and what is not ---- */

static void batches_are_of_one_shard(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    char here[16];
    char also_here[16];
    char there[16];
    vv_table *t = spread_over(w->db, 3, VV_TABLE_KV);
    vv_table *whole = make_table(w->db, "plant", "whole", VV_TABLE_KV); /* beside the first part */
    vv_slice v = vv_slice_str("v");
    vv_slice a = vv_slice_str(key_on(t, 0, 0, here));
    vv_slice b = vv_slice_str(key_on(t, 0, 500, also_here));
    vv_slice c = vv_slice_str(key_on(t, 1, 0, there));
    vv_batch *batch = new_batch(w->db);
    assert_ok(vv_batch_put(batch, t, a, v, 0, &err), err);
    assert_ok(vv_batch_put(batch, t, b, v, 0, &err), err);
    assert_ok(vv_batch_put(batch, whole, c, v, 0, &err), err);
    assert_status(VV_UNSUPPORTED, vv_batch_put(batch, t, c, v, 0, &err));
    assert_non_null(strstr(err.msg, "the key of table 'spread' lies on shard"));
    assert_status(VV_UNSUPPORTED, vv_batch_delete(batch, t, c, &err));
    assert_status(VV_UNSUPPORTED, vv_batch_merge(batch, t, c, VV_APPEND, v, 0, &err));
    assert_status(VV_UNSUPPORTED, vv_batch_require(batch, t, c, 0, &err));
    assert_status(VV_UNSUPPORTED, vv_batch_delete_range(batch, t, a, vv_slice_str(""), &err));
    assert_non_null(strstr(err.msg, "vv_delete_range"));
    assert_int_equal(vv_batch_count(batch), 3);
    assert_ok(vv_write(w->db, batch, VV_DURABLE_DEFAULT, NULL, &err), err);
    vv_batch_destroy(batch);
    expect(t, NULL, here, "v");
    expect(t, NULL, also_here, "v");
    expect(t, NULL, there, NULL);
    /* Single operations go where their key is, comparisons too. */
    assert_ok(vv_compare_and_swap(t, c, false, v, v, 0, VV_DURABLE_DEFAULT, NULL, &err), err);
    assert_status(VV_CONFLICT,
                  vv_compare_and_swap(t, c, false, v, v, 0, VV_DURABLE_DEFAULT, NULL, &err));
    assert_ok(vv_merge(t, c, VV_APPEND, v, &err), err);
    expect(t, NULL, there, "vv");
    vv_value got;
    assert_ok(vv_get(t, NULL, c, &got, &err), err);
    vv_value now;
    assert_ok(vv_get_at(t, got.version, c, &now, &err), err);
    assert_int_equal(now.version, got.version);
    vv_value_release(&now);
    vv_value_release(&got);
    vv_table_close(whole);
    vv_table_close(t);
}

static void versions_of_several_shards_are_refused(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = spread_over(w->db, 3, VV_TABLE_RECORD);
    vv_cursor *c = NULL;
    vv_bulk *load = NULL;
    int64_t version = 0;
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    opt.version = 1;
    assert_status(VV_UNSUPPORTED, vv_cursor_open(t, &opt, &c, &err));
    assert_non_null(strstr(err.msg, "3 shards"));
    assert_status(VV_UNSUPPORTED, vv_cursor_open_by_time(t, &opt, 0, 1, &c, &err));
    assert_status(VV_UNSUPPORTED, vv_version_as_of(t, 1, &version, &err));
    assert_status(VV_UNSUPPORTED, vv_bulk_begin(t, &load, &err));
    vv_table_close(t);
}

static void transactions_are_of_one_shard(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    char here[16];
    char there[16];
    vv_txn *txn = NULL;
    vv_value v;
    vv_cursor *c = NULL;
    vv_table *t = spread_over(w->db, 3, VV_TABLE_KV);
    vv_slice a = vv_slice_str(key_on(t, 2, 0, here));
    vv_slice b = vv_slice_str(key_on(t, 1, 0, there));
    assert_ok(vv_txn_begin(w->db, NULL, &txn, &err), err);
    assert_ok(vv_txn_put(txn, t, a, vv_slice_str("1"), 0, &err), err);
    assert_ok(vv_txn_get(txn, t, a, &v, &err), err);
    vv_value_release(&v);
    assert_status(VV_UNSUPPORTED, vv_txn_put(txn, t, b, vv_slice_str("1"), 0, &err));
    assert_non_null(strstr(err.msg, "the key of table 'spread'"));
    assert_status(VV_UNSUPPORTED, vv_txn_get(txn, t, b, &v, &err));
    assert_status(VV_UNSUPPORTED, vv_txn_delete(txn, t, b, &err));
    assert_status(VV_UNSUPPORTED, vv_txn_delete_range(txn, t, a, vv_slice_str(""), &err));
    assert_status(VV_UNSUPPORTED, vv_txn_scan(txn, t, NULL, &c, &err));
    assert_non_null(strstr(err.msg, "read-only"));
    assert_ok(vv_txn_commit(txn, NULL, &err), err);
    put(t, there, "2");
    /* One that only reads sees all shards at one position. */
    vv_txn_options ro = VV_TXN_OPTIONS_INIT;
    ro.read_only = true;
    assert_ok(vv_txn_begin(w->db, &ro, &txn, &err), err);
    put(t, here, "later");
    put(t, there, "later");
    assert_ok(vv_txn_get(txn, t, b, &v, &err), err);
    assert_true(vv_slice_eq(v.data, vv_slice_str("2")));
    vv_value_release(&v);
    assert_ok(vv_txn_scan(txn, t, NULL, &c, &err), err);
    assert_ok(vv_cursor_seek(c, vv_slice_str(""), &err), err);
    unsigned n = 0;
    for (; vv_cursor_valid(c); n++) {
        assert_false(vv_slice_eq(vv_cursor_value(c), vv_slice_str("later")));
        assert_ok(vv_cursor_next(c, &err), err);
    }
    assert_int_equal(n, 2);
    assert_ok(vv_cursor_seek(c, vv_slice_str(""), &err), err);
    vv_txn_abort(txn);
    assert_false(vv_cursor_valid(c)); /* it ended with its transaction */
    vv_cursor_close(c);
    vv_table_close(t);
}

/* ---- records ---- */

static void write_record(vv_table *t, unsigned i, int64_t ts)
{
    vv_error err = {0};
    char key[16];
    vv_record r = {.timestamp_ns = ts, .body = vv_slice_str("body")};
    vv_batch *b = new_batch(t->db);
    assert_ok(vv_batch_put_record(b, t, vv_slice_str(key_text(key, i)), &r, &err), err);
    assert_ok(vv_write(t->db, b, VV_DURABLE_DEFAULT, NULL, &err), err);
    vv_batch_destroy(b);
}

static void records_come_in_order_of_time(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = spread_over(w->db, 3, VV_TABLE_RECORD);
    for (unsigned i = 0; i < 90; i++)
        write_record(t, i, 7);
    for (unsigned i = 0; i < 90; i++) /* another order than that of the keys */
        write_record(t, i, (int64_t)(i * 37 % 90) * 10);
    for (int round = 0; round < 2; round++) { /* the second finds what the first cleaned up */
        vv_cursor *c = NULL;
        assert_ok(vv_cursor_open_by_time(t, NULL, 100, 800, &c, &err), err);
        assert_ok(vv_cursor_seek(c, vv_slice_str(""), &err), err);
        int64_t want = 100;
        for (; vv_cursor_valid(c); want += 10) {
            vv_record r;
            char key[16];
            assert_ok(vv_record_parse(vv_cursor_value(c), &r, &err), err);
            assert_int_equal(r.timestamp_ns, want);
            for (unsigned i = 0; i < 90; i++)
                if (i * 37 % 90 == (unsigned)want / 10)
                    assert_true(vv_slice_eq(vv_cursor_key(c), vv_slice_str(key_text(key, i))));
            if (want % 30 == 0) { /* there and back */
                assert_ok(vv_cursor_next(c, &err), err);
                if (vv_cursor_valid(c)) {
                    assert_ok(vv_cursor_prev(c, &err), err);
                    assert_ok(vv_record_parse(vv_cursor_value(c), &r, &err), err);
                    assert_int_equal(r.timestamp_ns, want);
                }
            }
            if (vv_cursor_valid(c))
                assert_ok(vv_cursor_next(c, &err), err);
        }
        assert_int_equal(want, 800);
        assert_ok(vv_cursor_seek_below(c, vv_slice_str(""), &err), err);
        for (want = 790; vv_cursor_valid(c); want -= 10) {
            vv_record r;
            assert_ok(vv_record_parse(vv_cursor_value(c), &r, &err), err);
            assert_int_equal(r.timestamp_ns, want);
            assert_ok(vv_cursor_prev(c, &err), err);
        }
        assert_int_equal(want, 90);
        vv_cursor_close(c);
        assert_ok(vv_cursor_open_by_time(t, NULL, 0, 10, &c, &err), err);
        assert_ok(vv_cursor_seek(c, vv_slice_str(""), &err), err); /* leftovers of the first put */
        while (vv_cursor_valid(c))
            assert_ok(vv_cursor_next(c, &err), err);
        vv_cursor_close(c);
    }
    assert_int_equal(atomic_load(&w->db->counters.stale_index_drops), 90);
    vv_table_close(t);
}

/* ---- against a sorted array ---- */

#define MODEL_KEYS 64u

typedef struct model {
    vv_table *t;
    uint32_t value[MODEL_KEYS]; /* 0: absent */
    uint32_t then[MODEL_KEYS];  /* as of snap */
    vv_snapshot *snap;
    vv_rng rng;
    uint32_t next;
} model;

static void check_value(const uint32_t *want, unsigned i, vv_status st, const vv_value *v)
{
    if (want[i] == 0) {
        assert_int_equal(st, VV_NOT_FOUND);
        return;
    }
    assert_int_equal(st, VV_OK);
    assert_int_equal(v->data.len, 4);
    assert_int_equal(vv_get_le32(v->data.data), want[i]);
}

static void model_write(model *m)
{
    vv_error err = {0};
    char key[16];
    char end[16];
    uint8_t bytes[4];
    unsigned i = (unsigned)vv_rng_below(&m->rng, MODEL_KEYS);
    unsigned last = i + (unsigned)vv_rng_below(&m->rng, 12);
    vv_put_le32(bytes, ++m->next);
    switch (vv_rng_below(&m->rng, 12)) {
    case 0:
        assert_ok(vv_delete_range(m->t, vv_slice_str(key_text(key, i)),
                                  vv_slice_str(key_text(end, last)), VV_DURABLE_OS, NULL, &err),
                  err);
        for (; i < last && i < MODEL_KEYS; i++)
            m->value[i] = 0;
        break;
    case 1:
    case 2:
        assert_ok(vv_delete(m->t, vv_slice_str(key_text(key, i)), &err), err);
        m->value[i] = 0;
        break;
    default:
        assert_ok(vv_put(m->t, vv_slice_str(key_text(key, i)), vv_slice_of(bytes, 4), &err), err);
        m->value[i] = m->next;
    }
}

typedef struct async_answer {
    const uint32_t *want;
    unsigned i;
    unsigned *left;
} async_answer;

static void async_done(void *ctx, vv_status st, vv_value *value, const vv_error *err)
{
    (void)err;
    async_answer *a = ctx;
    check_value(a->want, a->i, st, value);
    if (st == VV_OK)
        vv_value_release(value);
    (*a->left)--;
}

static void model_read(model *m, bool then)
{
    vv_error err = {0};
    const uint32_t *want = then ? m->then : m->value;
    const vv_snapshot *snap = then ? m->snap : NULL;
    char text[MODEL_KEYS][16];
    vv_slice keys[MODEL_KEYS];
    vv_value values[MODEL_KEYS];
    vv_status status[MODEL_KEYS];
    async_answer answers[MODEL_KEYS];
    vv_async *a = NULL;
    unsigned left = MODEL_KEYS;
    assert_ok(vv_async_open(m->t->db, MODEL_KEYS, &a, &err), err);
    for (unsigned i = 0; i < MODEL_KEYS; i++) {
        keys[i] = vv_slice_str(key_text(text[i], i));
        answers[i] = (async_answer){want, i, &left};
        vv_value v = {0};
        vv_status st = vv_get(m->t, snap, keys[i], &v, &err);
        check_value(want, i, st, &v);
        if (st == VV_OK)
            vv_value_release(&v);
        assert_ok(vv_get_async(a, m->t, snap, keys[i], async_done, &answers[i], &err), err);
    }
    while (left > 0)
        (void)vv_async_poll(a, 1);
    vv_async_close(a);
    assert_ok(vv_multi_get(m->t, snap, keys, MODEL_KEYS, values, status, &err), err);
    for (unsigned i = 0; i < MODEL_KEYS; i++) {
        check_value(want, i, status[i], &values[i]);
        if (status[i] == VV_OK)
            vv_value_release(&values[i]);
    }
}

/* The nearest present key at or behind i, or at or before it; MODEL_KEYS: none. */
static unsigned nearest(const uint32_t *want, int i, bool forward)
{
    for (; i >= 0 && i < (int)MODEL_KEYS; i += forward ? 1 : -1)
        if (want[i] != 0)
            return (unsigned)i;
    return MODEL_KEYS;
}

static void check_at(const vv_cursor *c, const uint32_t *want, unsigned i)
{
    char key[16];
    assert_int_equal(vv_cursor_valid(c), i < MODEL_KEYS);
    if (i == MODEL_KEYS)
        return;
    assert_true(vv_slice_eq(vv_cursor_key(c), vv_slice_str(key_text(key, i))));
    assert_int_equal(vv_get_le32(vv_cursor_value(c).data), want[i]);
}

static void model_walk(model *m, bool then)
{
    vv_error err = {0};
    const uint32_t *want = then ? m->then : m->value;
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    vv_cursor *c = NULL;
    opt.snapshot = then ? m->snap : NULL;
    assert_ok(vv_cursor_open(m->t, &opt, &c, &err), err);
    unsigned at = MODEL_KEYS;
    for (unsigned step = 0; step < 60; step++) {
        char key[16];
        unsigned to = (unsigned)vv_rng_below(&m->rng, MODEL_KEYS);
        vv_slice k = vv_slice_str(key_text(key, to));
        uint64_t what = vv_rng_below(&m->rng, 12);
        if (at == MODEL_KEYS || what == 0) {
            assert_ok(vv_cursor_seek(c, k, &err), err);
            at = nearest(want, (int)to, true);
        } else if (what == 1) {
            assert_ok(vv_cursor_seek_below(c, k, &err), err);
            at = nearest(want, (int)to - 1, false);
        } else if (what < 7) {
            assert_ok(vv_cursor_next(c, &err), err);
            at = nearest(want, (int)at + 1, true);
        } else {
            assert_ok(vv_cursor_prev(c, &err), err);
            at = nearest(want, (int)at - 1, false);
        }
        check_at(c, want, at);
    }
    assert_true(vv_cursor_scanned(c) > 0 || m->next < 10);
    vv_cursor_close(c);
}

static void prop_partitions_are_not_seen_by_readers(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    model m = {.t = spread_over(w->db, 3, VV_TABLE_KV)};
    uint64_t seed = vv_test_seed(0x5eed);
    vv_rng_init(&m.rng, seed);
    for (unsigned round = 0; round < 60; round++) {
        for (unsigned i = 0; i < 40; i++)
            model_write(&m);
        if (m.snap == NULL || round % 7 == 0) {
            vv_snapshot_release(m.snap);
            assert_ok(vv_snapshot_create(w->db, &m.snap, &err), err);
            memcpy(m.then, m.value, sizeof m.then);
        }
        model_read(&m, round % 2 == 0);
        model_walk(&m, false);
        model_walk(&m, true);
        while (round % 3 == 0 && db_step(w->db, &err) == VV_OK)
            ;
        if (round % 10 == 9) {
            vv_snapshot_release(m.snap);
            m.snap = NULL;
            vv_table_close(m.t);
            if (round % 20 == 9)
                assert_ok(vv_checkpoint(w->db, &err), err);
            sim_reopen(w);
            m.t = spread_over(w->db, 3, VV_TABLE_KV);
        }
    }
    vv_snapshot_release(m.snap);
    vv_table_close(m.t);
}

/* ---- power cuts ---- */

/* Make, fill and drop, with the power gone after the n-th write: afterwards there is a whole table
 * with what was acknowledged, or none and nothing of it. */
static void prop_a_cut_leaves_a_whole_table_or_none(void **state)
{
    (void)state;
    bool cut = true;
    for (unsigned n = 0; cut; n++) {
        vv_error err = {0};
        sim_world w = {.ops = engine_under_test, .opt = (vv_options)SIM_TINY_OPTIONS};
        w.opt.shard_count = 3;
        w.disk = vio_sim_disk_create();
        vio_sim_options sim = {.seed = n + 1, .cut_after_writes = n + 1, .tear = true};
        vv_table *t = NULL;
        unsigned acked = 0;
        char key[16];
        bool is_dropping = false;
        vv_status st = sim_on(&w, &sim, &err);
        if (st == VV_OK)
            st = sim_open_db(&w, &err);
        vv_table_options opt = VV_TABLE_OPTIONS_INIT;
        opt.partitions = 3;
        if (st == VV_OK)
            st = vv_table_create(w.db, "plant", "spread", &opt, &t, &err);
        bool is_made = st == VV_OK;
        for (; st == VV_OK && acked < 12; acked += st == VV_OK)
            st = vv_put(t, vv_slice_str(key_text(key, acked)), vv_slice_str("v"), &err);
        is_dropping = st == VV_OK;
        if (st == VV_OK)
            st = vv_table_drop(w.db, "plant", "spread", &err);
        cut = st != VV_OK;
        vv_table_close(t);
        db_abandon(w.db);
        sim_off(&w);
        sim_start(&w);
        st = vv_table_open(w.db, "plant", "spread", &t, &err);
        if (is_made && !is_dropping)
            assert_ok(st, err);
        if (st == VV_OK) {
            assert_true(cut);
            size_t there = count_keys(t, NULL);
            assert_true(there >= acked && there <= acked + 1);
        }
        vv_table_close(st == VV_OK ? t : NULL);
        for (uint32_t s = 0; s < 3; s++)
            assert_ok(cat_check(w.db->cat, s, w.db->shards[s].eng, NULL, NULL, &err), err);
        sim_end(&w);
    }
}

/* The deletion of a range is whole in each partition, and calling again finishes it. */
static void prop_a_cut_in_a_range_leaves_whole_partitions(void **state)
{
    (void)state;
    bool cut = true;
    for (unsigned n = 0; cut; n++) {
        vv_error err = {0};
        sim_world w = {.ops = engine_under_test, .opt = (vv_options)SIM_TINY_OPTIONS};
        w.opt.shard_count = 3;
        w.disk = vio_sim_disk_create();
        vio_sim_options sim = {.seed = n + 1, .cut_after_writes = n + 1, .tear = true};
        sim_start(&w);
        vv_table *t = spread_over(w.db, 3, VV_TABLE_KV);
        size_t full[3];
        char key[16];
        for (unsigned i = 0; i < 30; i++)
            put(t, key_text(key, i), "v");
        for (uint32_t p = 0; p < 3; p++) {
            vv_table part = db_part_at(t, p);
            full[p] = count_keys(&part, NULL);
        }
        vv_table_close(t);
        sim_close(&w);
        vv_status st = sim_on(&w, &sim, &err);
        if (st == VV_OK)
            st = sim_open_db(&w, &err);
        if (st == VV_OK)
            st = vv_table_open(w.db, "plant", "spread", &t, &err);
        if (st == VV_OK) {
            st = vv_delete_range(t, vv_slice_str("key"), vv_slice_str(""), VV_DURABLE_SYNC, NULL,
                                 &err);
            vv_table_close(t);
        }
        cut = st != VV_OK;
        db_abandon(w.db);
        sim_off(&w);
        sim_start(&w);
        t = spread_over(w.db, 3, VV_TABLE_KV);
        for (uint32_t p = 0; p < 3; p++) {
            vv_table part = db_part_at(t, p);
            size_t left = count_keys(&part, NULL);
            assert_true(left == 0 || (cut && left == full[p]));
        }
        assert_ok(
            vv_delete_range(t, vv_slice_str(""), vv_slice_str(""), VV_DURABLE_SYNC, NULL, &err),
            err);
        assert_int_equal(count_keys(t, NULL), 0);
        vv_table_close(t);
        sim_end(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_lie_where_they_always_did),
        P(keys_are_spread_and_stay),
        P(a_dropped_table_leaves_nothing_on_any_shard),
        P(bad_counts_of_partitions_are_refused),
        P(batches_are_of_one_shard),
        P(versions_of_several_shards_are_refused),
        P(transactions_are_of_one_shard),
        P(records_come_in_order_of_time),
        P(prop_partitions_are_not_seen_by_readers),
        cmocka_unit_test(prop_a_cut_leaves_a_whole_table_or_none),
        cmocka_unit_test(prop_a_cut_in_a_range_leaves_whole_partitions),
    };
    static const engine_ops *const all[] = {&lsm_ops, &btree_ops};
    int failed = 0;
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        engine_under_test = all[i];
        failed += cmocka_run_group_tests(tests, NULL, NULL);
    }
    return failed;
}
