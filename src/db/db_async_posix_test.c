/*
 * db_async_posix_test.c - vv_async_fd on real disks, with each I/O backend: a thread that sleeps in
 * poll() is woken for every answer, and for nothing when there is none to come.
 */
#include "db/db_test_util.h"

#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "varve/async.h"

#define KEYS 3000u

static char root[64];

static int setup(void **state)
{
    (void)state;
    (void)snprintf(root, sizeof root, "/tmp/varve-async-XXXXXX");
    return mkdtemp(root) == NULL;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command);
}

static void take(void *ctx, vv_status status, vv_value *value, const vv_error *err)
{
    (void)err;
    unsigned *right = ctx;
    if (status != VV_OK)
        return;
    *right += value->data.len == 500;
    vv_value_release(value);
}

static vv_db *open_store(vv_io_backend backend)
{
    vv_error err = {0};
    vv_db *db = NULL;
    vv_options opt = VV_OPTIONS_INIT;
    opt.memory_limit = 32u << 20;
    opt.cache_size = 256u << 10;
    opt.log_segment_size = 1u << 20;
    opt.log_ring_size = 1u << 20;
    opt.io_backend = backend;
    opt.direct_io = true;
    assert_ok(vv_db_open(root, &opt, &db, &err), err);
    return db;
}

static void fill(vv_db *db, vv_table *t)
{
    vv_error err = {0};
    uint8_t value[500];
    vv_batch *batch = vv_batch_create(db);
    for (unsigned i = 0; i < KEYS; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%06u", i);
        for (unsigned j = 0; j < sizeof value; j++)
            value[j] = (uint8_t)((i * 500 + j) * 2654435761u >> 17);
        assert_ok(
            vv_batch_put(batch, t, vv_slice_str(key), vv_slice_of(value, sizeof value), 0, &err),
            err);
    }
    assert_ok(vv_write(db, batch, VV_DURABLE_DEFAULT, NULL, &err), err);
    vv_batch_destroy(batch);
    assert_ok(vv_checkpoint(db, &err), err);
}

/* The loop of an embedder: sleep only when a poll said 0. */
static void run_loop(vv_async *a, vv_table *t, unsigned *right)
{
    vv_error err = {0};
    struct pollfd p = {.fd = vv_async_fd(a), .events = POLLIN};
    unsigned next = 0;
    while (next < KEYS || vv_async_held(a) > 0) {
        char key[16];
        for (; next < KEYS && vv_async_held(a) < 100; next++) {
            (void)snprintf(key, sizeof key, "k%06u", next * 7919u % KEYS);
            assert_ok(vv_get_async(a, t, NULL, vv_slice_str(key), take, right, &err), err);
        }
        if (vv_async_poll(a, 0) > 0 || vv_async_held(a) == 0)
            continue;
        assert_true(p.fd >= 0); /* else nothing would be left in flight */
        if (poll(&p, 1, 20000) != 1)
            fail_msg("%u gets are held and nobody wakes us", vv_async_held(a));
    }
    /* What lies between one sleep and the next may have made it readable once more. */
    assert_int_equal(vv_async_poll(a, 0), 0);
    if (p.fd >= 0)
        assert_int_equal(poll(&p, 1, 0), 0);
}

static void a_sleeping_thread_is_woken(void **state)
{
    (void)state;
    static const vv_io_backend backends[] = {VV_IO_POSIX, VV_IO_THREADS, VV_IO_URING};
    for (size_t i = 0; i < sizeof backends / sizeof backends[0]; i++) {
        vv_error err = {0};
        vv_async *a = NULL;
        vv_db *db = open_store(backends[i]);
        vv_table *t = make_table(db, "plant", "kv", VV_TABLE_KV);
        if (i == 0)
            fill(db, t);
        assert_ok(vv_async_open(db, 128, &a, &err), err);
        if (backends[i] == VV_IO_POSIX)
            assert_int_equal(vv_async_fd(a), -1);
        unsigned right = 0;
        run_loop(a, t, &right);
        assert_int_equal(right, KEYS);
        vv_async_close(a);
        /* Closed with reads in flight. */
        assert_ok(vv_async_open(db, 128, &a, &err), err);
        for (unsigned n = 0; n < 100; n++) {
            char key[16];
            (void)snprintf(key, sizeof key, "k%06u", n * 29);
            assert_ok(vv_get_async(a, t, NULL, vv_slice_str(key), take, &right, &err), err);
        }
        (void)vv_async_poll(a, 0);
        vv_async_close(a);
        vv_table_close(t);
        assert_ok(vv_db_close(db, &err), err);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_sleeping_thread_is_woken, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
