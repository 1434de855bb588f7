/*
 * btree_test_world.h - one tree on a simulated disk, written operation by operation.
 */
#ifndef VARVE_BTREE_BTREE_TEST_WORLD_H
#define VARVE_BTREE_BTREE_TEST_WORLD_H

#include "vv_test.h"

#include "btree/btree.h"
#include "engine/engine.h"
#include "io/vio_sim.h"

typedef struct world {
    vio_sim_disk *disk;
    vv_env env;
    engine_options opt;
    engine *e;
    int64_t version;
    int64_t floor; /* -1: the newest version */
    int64_t floor_time_ns;
} world;

static inline engine_floor floor_of(void *ctx, uint32_t table)
{
    world *w = ctx;
    (void)table;
    return (engine_floor){.version = w->floor < 0 ? w->version : w->floor,
                          .time_ns = w->floor_time_ns};
}

static inline void start(world *w, uint64_t memtable_size, uint32_t page_size)
{
    vv_error err;
    *w = (world){.disk = vio_sim_disk_create(), .floor = -1};
    assert_non_null(w->disk);
    assert_ok(vio_sim_open(w->disk, &(vio_sim_options){.seed = 1}, &w->env.io, &err), err);
    w->env.clock = vio_sim_clock(w->disk);
    w->opt = (engine_options){.env = &w->env,
                              .dir = "shard-0",
                              .memtable_size = memtable_size,
                              .cache_size = 1 << 20,
                              .target_file_size = 64 << 10,
                              .block_size = page_size,
                              .hooks = {.ctx = w, .floor = floor_of}};
    assert_ok(btree_ops.open(&w->opt, &w->e, &err), err);
}

static inline void stop(world *w)
{
    btree_ops.close(w->e);
    vio_destroy(w->env.io);
    vio_sim_disk_destroy(w->disk);
}

static inline void reopen(world *w)
{
    vv_error err;
    btree_ops.close(w->e);
    w->e = NULL;
    assert_ok(btree_ops.open(&w->opt, &w->e, &err), err);
}

static inline void work(world *w)
{
    vv_error err;
    vv_status st;
    while ((st = btree_ops.work(w->e, &err)) == VV_OK)
        continue;
    if (st != VV_NOT_FOUND)
        fail_msg("work: %s", err.msg);
}

static inline void flush(world *w)
{
    vv_error err;
    assert_ok(btree_ops.freeze(w->e, &err), err);
    work(w);
}

static inline void compact(world *w)
{
    vv_error err;
    flush(w);
    assert_ok(btree_ops.compact_range(w->e, vv_slice_str("\x01"), vv_slice_str("\xff"), &err), err);
    assert_ok(btree_ops.compact_range(w->e, vv_slice_of("\0\0\0", 3), vv_slice_str("\xff"), &err),
              err);
    work(w);
}

static inline void write_op_at(world *w, engine_kind kind, const char *key, vv_slice value,
                               int64_t expires_ns, int64_t commit_time_ns)
{
    vv_error err;
    vv_buf buf;
    vv_buf_init(&buf, 1 << 25);
    size_t at = engine_entry_begin(&buf);
    engine_entry_add_key(&buf, kind, 1, vv_slice_str(key), value, expires_ns);
    engine_entry_finish(&buf, at, 1);
    vv_status st;
    while ((st = btree_ops.prepare(w->e, buf.len, 1, &err)) == VV_BUSY)
        work(w);
    assert_ok(st, err);
    assert_ok(btree_ops.apply(w->e, ++w->version, commit_time_ns, vv_buf_slice(&buf), &err), err);
    btree_ops.publish(w->e, w->version);
    vv_buf_fini(&buf);
}

static inline void write_op(world *w, engine_kind kind, const char *key, vv_slice value)
{
    write_op_at(w, kind, key, value, 0, 0);
}

static inline void put(world *w, const char *key, vv_slice value)
{
    write_op(w, ENGINE_PUT, key, value);
}

static inline void expect_at(world *w, int64_t version, const char *key, const vv_slice *value)
{
    uint8_t full[100];
    vv_put_be32(full, 1);
    memcpy(full + 4, key, strlen(key));
    vv_error err;
    engine_value got;
    engine_read read = {.version = version};
    vv_status st = btree_ops.get(w->e, vv_slice_of(full, 4 + strlen(key)), &read, &got, &err);
    if (value == NULL) {
        assert_int_equal(st, VV_NOT_FOUND);
        return;
    }
    if (st != VV_OK)
        fail_msg("%s: %s", key, st == VV_NOT_FOUND ? "not found" : err.msg);
    if (!vv_slice_eq(got.data, *value))
        fail_msg("%s: %zu bytes instead of %zu, or other ones", key, got.data.len, value->len);
    engine_value_release(&got);
}

static inline void expect(world *w, const char *key, vv_slice value)
{
    expect_at(w, w->version, key, &value);
}

static inline void print_finding(void *ctx, const char *text)
{
    (void)ctx;
    print_error("finding: %s\n", text);
}

static inline void expect_clean(world *w)
{
    vv_error err;
    assert_ok(btree_ops.check(w->e, print_finding, NULL, &err), err);
}

#endif
