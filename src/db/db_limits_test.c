/*
 * db_limits_test.c - keys and values of no bytes, of one, of as many as may be and of one more, on
 * every engine and on real files: refused by a sentence, or kept whole through flush, compaction
 * and reopening. And a store that was larger than the memory it is opened with.
 */
#include "vv_test.h"

#include <string.h>
#include <unistd.h>
#include <varve/varve.h>

#define KEYS 4u

static char root[64];
static uint8_t long_key[VV_KEY_MAX + 1];
static uint8_t long_key_2[VV_KEY_MAX + 1];
static uint8_t *large; /* VV_VALUE_MAX + 1 bytes */

static int setup(void **state)
{
    (void)state;
    (void)snprintf(root, sizeof root, "/tmp/varve-limits-XXXXXX");
    memset(long_key, 0xff, sizeof long_key);
    memset(long_key_2, 0xff, sizeof long_key_2);
    long_key_2[VV_KEY_MAX - 1] = 0xfe; /* the longest keys differ in their last byte */
    large = malloc(VV_VALUE_MAX + 1u);
    for (size_t i = 0; large != NULL && i <= VV_VALUE_MAX; i++)
        large[i] = (uint8_t)(i * 2654435761u >> 13);
    return large == NULL || mkdtemp(root) == NULL;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", root);
    free(large);
    return system(command);
}

typedef struct store {
    vv_engine_kind engine;
    vv_db *db;
    vv_table *table;
} store;

static void open_store(store *s)
{
    vv_error err = {0};
    vv_options opt = VV_OPTIONS_INIT;
    vv_table_options how = VV_TABLE_OPTIONS_INIT;
    opt.engine = s->engine;
    how.if_not_exists = true;
    assert_ok(vv_db_open(root, &opt, &s->db, &err), err);
    assert_ok(vv_table_create(s->db, "t", "limits", &how, &s->table, &err), err);
}

static void close_store(store *s)
{
    vv_error err = {0};
    vv_table_close(s->table);
    assert_ok(vv_db_close(s->db, &err), err);
}

/* In the order of the keys. */
static vv_slice key_at(unsigned i)
{
    const vv_slice keys[KEYS] = {vv_slice_of("\0", 1), vv_slice_of("k", 1),
                                 vv_slice_of(long_key_2, VV_KEY_MAX),
                                 vv_slice_of(long_key, VV_KEY_MAX)};
    return keys[i];
}

static vv_slice value_at(unsigned i)
{
    const size_t len[KEYS] = {0, VV_VALUE_MAX, 1, 0};
    return vv_slice_of(large, len[i]);
}

static void expect_all(store *s, const char *when)
{
    vv_error err = {0};
    vv_value values[KEYS];
    vv_status status[KEYS];
    vv_slice keys[KEYS];
    vv_cursor *c = NULL;
    for (unsigned i = 0; i < KEYS; i++) {
        keys[i] = key_at(i);
        vv_value v;
        assert_ok(vv_get(s->table, NULL, keys[i], &v, &err), err);
        if (!vv_slice_eq(v.data, value_at(i)))
            fail_msg("%s: key %u has another value of %zu bytes", when, i, v.data.len);
        vv_value_release(&v);
    }
    assert_ok(vv_multi_get(s->table, NULL, keys, KEYS, values, status, &err), err);
    for (unsigned i = 0; i < KEYS; i++) {
        assert_true(vv_slice_eq(values[i].data, value_at(i)));
        vv_value_release(&values[i]);
    }
    assert_ok(vv_cursor_open(s->table, NULL, &c, &err), err);
    assert_ok(vv_cursor_seek(c, vv_slice_of(NULL, 0), &err), err);
    for (unsigned i = 0; i < KEYS; i++) {
        assert_true(vv_cursor_valid(c));
        assert_true(vv_slice_eq(vv_cursor_key(c), keys[i]));
        assert_true(vv_slice_eq(vv_cursor_value(c), value_at(i)));
        assert_ok(vv_cursor_next(c, &err), err);
    }
    assert_false(vv_cursor_valid(c));
    assert_ok(vv_cursor_seek_below(c, vv_slice_of(long_key, VV_KEY_MAX), &err), err);
    assert_true(vv_cursor_valid(c) && vv_slice_eq(vv_cursor_key(c), keys[2]));
    vv_cursor_close(c);
}

static void expect_refused(vv_status st, const vv_error *err, const char *words)
{
    assert_status(VV_INVALID, st);
    if (strstr(err->msg, words) == NULL)
        fail_msg("'%s' is not in: %s", words, err->msg);
}

/* Every call that takes a key refuses these two, every one with a value one that is too long. */
static void refuse_what_is_too_much(store *s)
{
    const struct {
        vv_slice key;
        const char *words;
    } bad[] = {{vv_slice_of("", 0), "empty"}, {vv_slice_of(long_key, VV_KEY_MAX + 1), "1025"}};
    vv_error err = {0};
    vv_table *t = s->table;
    vv_slice v = vv_slice_of("v", 1);
    vv_slice k = vv_slice_of("k", 1);
    vv_slice too_long = vv_slice_of(large, VV_VALUE_MAX + 1u);
    vv_batch *b = vv_batch_create(s->db);
    vv_txn *txn = NULL;
    assert_non_null(b);
    assert_ok(vv_txn_begin(s->db, NULL, &txn, &err), err);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        vv_slice key = bad[i].key;
        const char *words = bad[i].words;
        vv_value out;
        vv_status status;
        expect_refused(vv_put(t, key, v, &err), &err, words);
        expect_refused(vv_delete(t, key, &err), &err, words);
        expect_refused(vv_get(t, NULL, key, &out, &err), &err, words);
        expect_refused(vv_batch_put(b, t, key, v, 0, &err), &err, words);
        expect_refused(vv_batch_delete(b, t, key, &err), &err, words);
        expect_refused(vv_compare_and_swap(t, key, false, v, v, 0, VV_DURABLE_SYNC, NULL, &err),
                       &err, words);
        expect_refused(vv_multi_get(t, NULL, &key, 1, &out, &status, &err), &err, words);
        expect_refused(vv_txn_put(txn, t, key, v, 0, &err), &err, words);
    }
    expect_refused(vv_put(t, k, too_long, &err), &err, "15728640");
    expect_refused(vv_batch_put(b, t, k, too_long, 0, &err), &err, "15728640");
    expect_refused(vv_txn_put(txn, t, k, too_long, 0, &err), &err, "15728640");
    expect_refused(vv_compare_and_swap(t, k, false, v, too_long, 0, VV_DURABLE_SYNC, NULL, &err),
                   &err, "15728640");
    assert_int_equal(vv_batch_count(b), 0);
    vv_txn_abort(txn);
    vv_batch_destroy(b);
}

static void limits_hold(vv_engine_kind engine)
{
    store s = {.engine = engine};
    vv_error err = {0};
    open_store(&s);
    for (unsigned i = 0; i < KEYS; i++)
        assert_ok(vv_put(s.table, key_at(i), value_at(i), &err), err);
    refuse_what_is_too_much(&s);
    expect_all(&s, "in memory");
    assert_ok(vv_checkpoint(s.db, &err), err);
    expect_all(&s, "flushed");
    close_store(&s);
    open_store(&s);
    expect_all(&s, "reopened");
    assert_ok(vv_compact(s.table, vv_slice_of(NULL, 0), vv_slice_of(NULL, 0), &err), err);
    expect_all(&s, "compacted");
    refuse_what_is_too_much(&s);
    close_store(&s);
    assert_ok(vv_check(root, NULL, NULL, &err), err);
}

static void limits_hold_on_lsm(void **state)
{
    (void)state;
    limits_hold(VV_ENGINE_LSM);
}

static void limits_hold_on_btree(void **state)
{
    (void)state;
    limits_hold(VV_ENGINE_BTREE);
}

#ifdef VV_HAS_ROCKSDB
static void limits_hold_on_rocksdb(void **state)
{
    (void)state;
    limits_hold(VV_ENGINE_ROCKSDB);
}
#endif

/* Indexes of runs take all that is free of memory_limit: a store that is there opens all the same.
 */
static void indexes_do_not_shut_the_catalog_out(void **state)
{
    (void)state;
    store s = {.engine = VV_ENGINE_LSM};
    vv_error err = {0};
    open_store(&s);
    vv_batch *batch = vv_batch_create(s.db);
    assert_non_null(batch);
    for (uint64_t i = 0; i < 800000; i++) {
        vv_slice key = vv_slice_of(&i, sizeof i);
        assert_ok(vv_batch_put(batch, s.table, key, vv_slice_of(NULL, 0), 0, &err), err);
        if (i % 4000 == 3999) {
            assert_ok(vv_write(s.db, batch, VV_DURABLE_OS, NULL, &err), err);
            vv_batch_clear(batch);
        }
    }
    vv_batch_destroy(batch);
    assert_ok(vv_checkpoint(s.db, &err), err);
    close_store(&s);

    vv_options opt = VV_OPTIONS_INIT;
    opt.memory_limit = UINT64_C(16) << 20;
    opt.log_ring_size = UINT32_C(512) << 10;
    opt.cache_size = UINT64_C(8640)
                     << 10; /* with its eighth and the ring: all that is not shared */
    assert_ok(vv_db_open(root, &opt, &s.db, &err), err);
    assert_ok(vv_table_open(s.db, "t", "limits", &s.table, &err), err);
    const uint64_t some = 123456;
    vv_value value;
    assert_ok(vv_get(s.table, NULL, vv_slice_of(&some, sizeof some), &value, &err), err);
    vv_value_release(&value);
    close_store(&s);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(limits_hold_on_lsm),
        T(limits_hold_on_btree),
#ifdef VV_HAS_ROCKSDB
        T(limits_hold_on_rocksdb),
#endif
        T(indexes_do_not_shut_the_catalog_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
