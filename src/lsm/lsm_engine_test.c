#include "lsm/lsm.h"

#include "base/alloc.h"
#include "io/vio_sim.h"
#include "vv_test.h"

typedef struct world {
    vio_sim_disk *disk;
    vv_env env;
    engine_options opt;
    engine *e;
    int64_t version;
} world;

static void start(world *w, uint64_t memtable_size)
{
    vv_error err;
    *w = (world){.disk = vio_sim_disk_create()};
    assert_non_null(w->disk);
    assert_ok(vio_sim_open(w->disk, &(vio_sim_options){.seed = 1}, &w->env.io, &err), err);
    w->env.clock = vio_sim_clock(w->disk);
    w->opt = (engine_options){.env = &w->env,
                              .dir = "shard-0",
                              .memtable_size = memtable_size,
                              .cache_size = 1 << 20,
                              .target_file_size = 64 << 10,
                              .compress = true};
    assert_ok(lsm_ops.open(&w->opt, &w->e, &err), err);
}

static void stop(world *w)
{
    lsm_ops.close(w->e);
    vio_destroy(w->env.io);
    vio_sim_disk_destroy(w->disk);
}

static void reopen(world *w)
{
    vv_error err;
    lsm_ops.close(w->e);
    w->e = NULL;
    assert_ok(lsm_ops.open(&w->opt, &w->e, &err), err);
}

static void work(world *w)
{
    vv_error err;
    vv_status st;
    while ((st = lsm_ops.work(w->e, &err)) == VV_OK)
        continue;
    if (st != VV_NOT_FOUND)
        fail_msg("work: %s", err.msg);
}

static void put(world *w, uint32_t table, const char *key, const char *value)
{
    vv_error err;
    vv_buf buf;
    vv_buf_init(&buf, 1 << 24);
    size_t at = engine_entry_begin(&buf);
    engine_entry_add_key(&buf, value == NULL ? ENGINE_DELETE : ENGINE_PUT, table, vv_slice_str(key),
                         vv_slice_str(value == NULL ? "" : value), 0);
    engine_entry_finish(&buf, at, 1);
    vv_status st;
    while ((st = lsm_ops.prepare(w->e, buf.len, 1, &err)) == VV_BUSY)
        work(w);
    assert_ok(st, err);
    assert_ok(lsm_ops.apply(w->e, ++w->version, 0, vv_buf_slice(&buf), &err), err);
    lsm_ops.publish(w->e, w->version);
    vv_buf_fini(&buf);
}

static void expect(world *w, uint32_t table, const char *key, const char *value)
{
    uint8_t full[100];
    vv_put_be32(full, table);
    memcpy(full + 4, key, strlen(key));
    vv_error err;
    engine_value got;
    engine_read read = {.version = w->version};
    vv_status st = lsm_ops.get(w->e, vv_slice_of(full, 4 + strlen(key)), &read, &got, &err);
    if (value == NULL) {
        assert_int_equal(st, VV_NOT_FOUND);
        return;
    }
    if (st != VV_OK)
        fail_msg("%s: %s", key, st == VV_NOT_FOUND ? "not found" : err.msg);
    assert_true(vv_slice_eq(got.data, vv_slice_str(value)));
    engine_value_release(&got);
}

static void what_is_flushed_is_read_and_survives_a_reopen(void **state)
{
    (void)state;
    world w;
    start(&w, 64 << 10);
    char key[32];
    char value[200];
    memset(value, 'v', sizeof value);
    for (int i = 0; i < 5000; i++) {
        (void)snprintf(key, sizeof key, "key-%07d", i * 7919 % 5000);
        (void)snprintf(value, sizeof value, "value of %s, and then some more to fill it up", key);
        put(&w, 1, key, value);
    }
    vv_error err;
    assert_ok(lsm_ops.freeze(w.e, &err), err);
    work(&w);
    assert_int_equal(lsm_ops.checkpoint(w.e), 5000);
    engine_stats stats;
    lsm_ops.stats(w.e, &stats);
    assert_int_equal(stats.memtable_items, 0);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 5000; i++) {
            (void)snprintf(key, sizeof key, "key-%07d", i);
            (void)snprintf(value, sizeof value, "value of %s, and then some more to fill it up",
                           key);
            expect(&w, 1, key, value);
            expect(&w, 2, key, NULL);
        }
        assert_ok(lsm_ops.check(w.e, NULL, NULL, &err), err);
        reopen(&w);
    }
    stop(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_flushed_is_read_and_survives_a_reopen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
