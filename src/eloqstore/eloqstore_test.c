/*
 * eloqstore_test.c - each function of eloqstore.h: what it does, and what it answers to what cannot
 * be.
 */
#include "vv_test.h"

#include <unistd.h>

#include "base/alloc.h"
#include "eloqstore.h"
#include "varve/varve.h"

static char root[64];

static int make_root(void **state)
{
    (void)state;
    (void)snprintf(root, sizeof root, "/tmp/eloqstore-test-XXXXXX");
    return mkdtemp(root) == NULL;
}

static int drop_root(void **state)
{
    (void)state;
    char command[128];
    (void)snprintf(command, sizeof command, "rm -r '%s'", root);
    return system(command); /* NOLINT(cert-env33-c): a fixed command in a test */
}

static int put(EloqStoreHandle *s, const char *table, const char *key, const char *value)
{
    return eloqstore_write(s, table, strlen(table), key, strlen(key), value, strlen(value));
}

static void expect(EloqStoreHandle *s, const char *table, const char *key, const char *value)
{
    char buffer[64];
    size_t len = sizeof buffer;
    int got = eloqstore_read(s, table, strlen(table), key, strlen(key), buffer, &len);
    if (value == NULL) {
        assert_int_equal(got, -VV_NOT_FOUND);
        assert_int_equal(len, sizeof buffer);
        return;
    }
    assert_int_equal(got, 0);
    assert_int_equal(len, strlen(value));
    assert_memory_equal(buffer, value, len);
}

static EloqStoreHandle *start(const EloqStoreKvOptions *options)
{
    EloqStoreHandle *s =
        options == NULL ? eloqstore_new(root) : eloqstore_new_with_options(options);
    assert_non_null(s);
    assert_int_equal(eloqstore_start(s), 0);
    return s;
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    EloqStoreHandle *s = start(NULL);
    expect(s, "users", "user:1", NULL); /* no table */
    assert_int_equal(put(s, "users", "user:1", "Alice"), 0);
    assert_int_equal(put(s, "others", "user:1", "Bob"), 0);
    assert_int_equal(put(s, "users", "user:2", ""), 0);
    expect(s, "users", "user:1", "Alice");
    expect(s, "others", "user:1", "Bob");
    expect(s, "users", "user:2", "");
    expect(s, "users", "user:3", NULL);
    assert_int_equal(put(s, "users", "user:1", "Eve"), 0);
    /* The name is as long as it is said to be. */
    assert_int_equal(eloqstore_write(s, "usersX", 5, "k", 1, "v", 1), 0);
    expect(s, "users", "k", "v");
    assert_int_equal(eloqstore_stop(s), 0);
    assert_int_equal(eloqstore_stop(s), 0);
    assert_int_equal(eloqstore_start(s), 0);
    assert_int_equal(eloqstore_start(s), 0);
    expect(s, "users", "user:1", "Eve");
    expect(s, "others", "user:1", "Bob");
    eloqstore_free(s); /* stops it */
    s = start(NULL);
    expect(s, "users", "user:1", "Eve");
    eloqstore_free(s);
}

static void a_short_buffer_tells_what_it_needs(void **state)
{
    (void)state;
    EloqStoreHandle *s = start(NULL);
    assert_int_equal(put(s, "t", "k", "12345"), 0);
    char buffer[8] = "zzzzzzz";
    size_t len = 4;
    assert_int_equal(eloqstore_read(s, "t", 1, "k", 1, buffer, &len), -VV_NO_SPACE);
    assert_int_equal(len, 5);
    assert_string_equal(buffer, "zzzzzzz");
    assert_int_equal(eloqstore_read(s, "t", 1, "k", 1, buffer, &len), 0);
    assert_string_equal(buffer, "12345zz");
    len = 0;
    assert_int_equal(eloqstore_read(s, "t", 1, "k", 1, NULL, &len), -VV_NO_SPACE);
    assert_int_equal(len, 5);
    eloqstore_free(s);
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    assert_null(eloqstore_new(NULL));
    assert_null(eloqstore_new(""));
    assert_null(eloqstore_new_with_options(NULL));
    eloqstore_free(NULL);
    assert_int_equal(eloqstore_start(NULL), -VV_INVALID);
    assert_int_equal(eloqstore_stop(NULL), -VV_INVALID);
    EloqStoreHandle *s = eloqstore_new(root);
    char b[8];
    size_t len = sizeof b;
    assert_int_equal(put(s, "t", "k", "v"), -VV_CLOSED);
    assert_int_equal(eloqstore_read(s, "t", 1, "k", 1, b, &len), -VV_CLOSED);
    assert_int_equal(eloqstore_start(s), 0);
    static char long_text[VV_KEY_MAX + 2];
    memset(long_text, 'x', sizeof long_text - 1);
    assert_int_equal(put(NULL, "t", "k", "v"), -VV_INVALID);
    assert_int_equal(put(s, "t", "", "v"), -VV_INVALID);
    assert_int_equal(put(s, "t", long_text, "v"), -VV_INVALID);
    assert_int_equal(put(s, "t", long_text + 1, "v"), 0); /* the longest key */
    assert_int_equal(put(s, "", "k", "v"), -VV_INVALID);
    assert_int_equal(put(s, "a/b", "k", "v"), -VV_INVALID);
    assert_int_equal(put(s, long_text, "k", "v"), -VV_INVALID);
    assert_int_equal(eloqstore_write(s, "a\0b", 3, "k", 1, "v", 1), -VV_INVALID);
    assert_int_equal(eloqstore_write(s, NULL, 1, "k", 1, "v", 1), -VV_INVALID);
    assert_int_equal(eloqstore_write(s, "t", 1, NULL, 1, "v", 1), -VV_INVALID);
    assert_int_equal(eloqstore_write(s, "t", 1, "k", 1, NULL, 1), -VV_INVALID);
    assert_int_equal(eloqstore_read(s, "t", 1, "k", 1, b, NULL), -VV_INVALID);
    assert_int_equal(eloqstore_read(s, "t", 1, "k", 1, NULL, &len), -VV_INVALID);
    eloqstore_free(s);
}

static void options_mean_what_they_say(void **state)
{
    (void)state;
    EloqStoreKvOptions o = ELOQSTORE_KV_OPTIONS_INIT(root);
    assert_true(o.sync_writes && o.page_size == 4096 && o.num_shards == 1);
    o.page_size = 8192;
    EloqStoreHandle *s = eloqstore_new_with_options(&o);
    assert_int_equal(eloqstore_start(s), -VV_UNSUPPORTED);
    eloqstore_free(s);
    o.page_size = 0;
    o.max_open_files = 15; /* the least is 16 */
    s = eloqstore_new_with_options(&o);
    assert_int_equal(eloqstore_start(s), -VV_INVALID);
    eloqstore_free(s);
    o.max_open_files = 0;
    o.cache_size = SIZE_MAX;
    s = eloqstore_new_with_options(&o);
    assert_int_equal(eloqstore_start(s), -VV_INVALID);
    eloqstore_free(s);

    o = (EloqStoreKvOptions){.data_dir = root,
                             .num_shards = 3,
                             .cache_size = 4096,
                             .max_open_files = 16,
                             .compression = true};
    s = start(&o);
    for (int i = 0; i < 64; i++)
        assert_int_equal(eloqstore_write(s, "t", 1, &(char){(char)i}, 1, "v", 1), 0);
    expect(s, "t", "\x3f", "v");
    EloqStoreHandle *other = eloqstore_new(root);
    assert_int_equal(eloqstore_start(other), -VV_BUSY);
    eloqstore_free(other);
    eloqstore_free(s);

    vv_db *db = NULL;
    vv_error err = {0};
    assert_ok(vv_db_open(root, NULL, &db, &err), err);
    vv_stats stats = {.size = sizeof stats};
    vv_stats_read(db, &stats);
    assert_int_equal(stats.shards, 3);
    vv_table *t = NULL;
    vv_table_info info;
    assert_ok(vv_table_open(db, "default", "t", &t, &err), err);
    assert_ok(vv_table_identify(t, &info, &err), err);
    assert_string_equal(info.engine, "btree");
    assert_int_equal(info.partitions, 3); /* each shard has a part of its keys */
    vv_table_close(t);
    assert_ok(vv_db_close(db, &err), err);
}

/* Fail each allocation of a write and a read in turn. */
static void short_memory_is_an_answer(void **state)
{
    (void)state;
    for (int n = 0; n < 2; n++) {
        vv_alloc_fail_after(n, 0);
        EloqStoreHandle *none = eloqstore_new(root);
        vv_alloc_fail_after(-1, 0);
        assert_null(none);
    }
    EloqStoreHandle *s = start(NULL);
    assert_int_equal(put(s, "t", "k", "v"), 0);
    bool done = false;
    for (int n = 0; !done; n++) {
        char b[8];
        size_t len = sizeof b;
        vv_alloc_fail_after(n, 0);
        int w = put(s, "t", "k", "v");
        int r = eloqstore_read(s, "t", 1, "k", 1, b, &len);
        vv_alloc_fail_after(-1, 0);
        assert_true(w == 0 || w == -VV_NO_MEMORY);
        assert_true(r == 0 || r == -VV_NO_MEMORY);
        done = n > 50;
    }
    expect(s, "t", "k", "v");
    eloqstore_free(s);
}

int main(void)
{
#define ONE(f) cmocka_unit_test_setup_teardown(f, make_root, drop_root)
    const struct CMUnitTest tests[] = {
        ONE(what_is_written_is_read),   ONE(a_short_buffer_tells_what_it_needs),
        ONE(what_cannot_be_is_refused), ONE(options_mean_what_they_say),
        ONE(short_memory_is_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
