/*
 * query_test_util.h - a record table in memory for the tests of this folder, and questions put to
 * it as text.
 */
#ifndef VARVE_QUERY_QUERY_TEST_UTIL_H
#define VARVE_QUERY_QUERY_TEST_UTIL_H

#include "db/db.h"
#include "io/vio_sim.h"
#include "query/query.h"
#include "query/struct_json.h"
#include "vv_test.h"

typedef struct fixture {
    vio_sim_disk *disk;
    vv_env env;
    vv_db *db;
    vv_table *table;
} fixture;

static inline void fixture_open(fixture *f)
{
    vv_error err = {0};
    vv_options opt = VV_OPTIONS_INIT;
    vv_table_options topt = VV_TABLE_OPTIONS_INIT;
    *f = (fixture){.disk = vio_sim_disk_create()};
    assert_non_null(f->disk);
    assert_ok(vio_sim_open(f->disk, &(vio_sim_options){.seed = 1}, &f->env.io, &err), err);
    f->env.clock = vv_clock_real();
    f->env.seed = 1;
    opt.log_segment_size = 1 << 20;
    opt.log_ring_size = 1 << 20;
    opt.durability = VV_DURABLE_NONE;
    assert_ok(db_open_engine(&f->env, &opt, &engine_memory_ops, &f->db, &err), err);
    topt.kind = VV_TABLE_RECORD;
    assert_ok(vv_table_create(f->db, "t", "records", &topt, &f->table, &err), err);
}

static inline void fixture_close(fixture *f)
{
    vv_error err = {0};
    vv_table_close(f->table);
    assert_ok(vv_db_close(f->db, &err), err);
    vio_destroy(f->env.io);
    vio_sim_disk_destroy(f->disk);
}

/* One record, its fields as JSON, its metadata as one pair (NULL: none). Returns its version. */
static inline int64_t fixture_put(fixture *f, const char *id, int64_t timestamp_ns,
                                  const char *json, const char *meta_key, const char *meta_value)
{
    vv_error err = {0};
    uint8_t meta[200];
    size_t meta_len = 0;
    vv_buf body;
    vv_write_result result;
    vv_buf_init(&body, 1 << 20);
    assert_ok(json_read_struct(vv_slice_str(json), NULL, &body, &err), err);
    if (meta_key != NULL)
        assert_true(vv_record_metadata_add(meta, sizeof meta, &meta_len, vv_slice_str(meta_key),
                                           vv_slice_str(meta_value)));
    vv_record r = {.timestamp_ns = timestamp_ns,
                   .metadata = vv_slice_of(meta, meta_len),
                   .metadata_count = meta_key != NULL,
                   .body = vv_buf_slice(&body)};
    vv_batch *batch = vv_batch_create(f->db);
    assert_non_null(batch);
    assert_ok(vv_batch_put_record(batch, f->table, vv_slice_str(id), &r, &err), err);
    assert_ok(vv_write(f->db, batch, VV_DURABLE_DEFAULT, &result, &err), err);
    vv_batch_destroy(batch);
    vv_buf_fini(&body);
    return result.version;
}

static inline query_env fixture_env(const fixture *f)
{
    return (query_env){.table = f->table, .clock = f->env.clock, .deadline_ns = INT64_MAX};
}

/* A filter literal: JSON as a serialized Value in memory of the test's. */
static inline vv_slice value_of(const char *json, vv_buf *into)
{
    vv_error err = {0};
    vv_buf_init(into, 1 << 20);
    assert_ok(json_read_value(vv_slice_str(json), NULL, into, &err), err);
    if (into->data == NULL)
        return vv_slice_str("");
    return vv_buf_slice(into);
}

/* The ids a question is answered with, separated by spaces; the status otherwise. */
static inline vv_status ask_ids(const query_ask *ask, const query_env *env, char *out, size_t len,
                                query_stats *stats, vv_error *err)
{
    query *q = NULL;
    query_row row;
    size_t at = 0;
    out[0] = 0;
    vv_status st = query_open(ask, env, &q, err);
    while (st == VV_OK && (st = query_next(q, &row, err)) == VV_OK)
        at += (size_t)snprintf(out + at, len - at, "%s%.*s", at == 0 ? "" : " ", (int)row.key.len,
                               (const char *)row.key.data);
    if (st == VV_NOT_FOUND)
        st = VV_OK;
    if (q != NULL && stats != NULL)
        query_stats_read(q, stats);
    query_close(q);
    return st;
}

/* One record of each type of value. */
static inline void put_types(fixture *f)
{
    fixture_put(f, "r0", 0 * VV_NS_PER_S, "{\"v\":1,\"o\":{\"x\":{\"y\":7}}}", "site", "north");
    fixture_put(f, "r1", 1 * VV_NS_PER_S, "{\"v\":2,\"o\":{\"x\":8}}", "site", "south");
    fixture_put(f, "r2", 2 * VV_NS_PER_S, "{\"v\":\"1\"}", "a.b", "dot");
    fixture_put(f, "r3", 3 * VV_NS_PER_S, "{\"v\":\"abc\",\"a.b\":5}", NULL, NULL);
    fixture_put(f, "r4", 4 * VV_NS_PER_S, "{\"v\":true}", NULL, NULL);
    fixture_put(f, "r5", 5 * VV_NS_PER_S, "{\"v\":null}", NULL, NULL);
    fixture_put(f, "r6", 6 * VV_NS_PER_S, "{\"v\":[1,\"x\",null,true]}", NULL, NULL);
    fixture_put(f, "r7", 7 * VV_NS_PER_S, "{\"v\":{\"w\":5}}", NULL, NULL);
    fixture_put(f, "r8", 8 * VV_NS_PER_S, "{}", NULL, NULL);
    fixture_put(f, "r9", 9 * VV_NS_PER_S, "{\"v\":-3.5}", NULL, NULL);
}

#endif
