/*
 * db_stream_test_util.h - stream tables in tests: short ways to append and to read.
 */
#ifndef VARVE_DB_DB_STREAM_TEST_UTIL_H
#define VARVE_DB_DB_STREAM_TEST_UTIL_H

#include "db/db_partition_test_bed.h"

#include "db/db_stream_int.h"

static inline vv_table_options stream_options(void)
{
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.kind = VV_TABLE_STREAM;
    opt.partitions = test_partitions;
    opt.if_not_exists = true;
    return opt;
}

static inline vv_table *stream_table_with(vv_db *db, const vv_table_options *opt)
{
    vv_error err = {0};
    vv_table *table = NULL;
    assert_ok(vv_table_create(db, "plant", "events", opt, &table, &err), err);
    return table;
}

static inline vv_table *stream_table(vv_db *db)
{
    vv_table_options opt = stream_options();
    return stream_table_with(db, &opt);
}

static inline vv_message text_message(const char *text)
{
    return (vv_message){.value = vv_slice_str(text)};
}

/* One message to a partition, durable; its offset. */
static inline uint64_t append_text(vv_table *table, uint32_t partition, const char *text)
{
    vv_error err = {0};
    vv_message m = text_message(text);
    vv_stream_append_options opt = VV_STREAM_APPEND_OPTIONS_INIT;
    vv_stream_append_result r;
    opt.partition = partition;
    assert_ok(vv_stream_append(table, &m, 1, &opt, &r, &err), err);
    assert_int_equal(r.count, 1);
    assert_int_equal(r.partition, partition);
    assert_false(r.duplicate);
    return r.first_offset;
}

/* Expect messages with these texts (NULL ends them) from an offset on, at offsets in a row. */
static inline void expect_texts(vv_table *table, uint32_t partition, uint64_t offset,
                                const char *const *texts)
{
    vv_error err = {0};
    vv_message m;
    vv_stream_cursor *c = NULL;
    vv_stream_read_options opt = VV_STREAM_READ_OPTIONS_INIT;
    opt.partition = partition;
    opt.start = (vv_stream_start){.from = VV_STREAM_OFFSET, .offset = offset};
    assert_ok(vv_stream_cursor_open(table, &opt, &c, &err), err);
    uint64_t at = vv_stream_cursor_offset(c);
    for (; *texts != NULL; texts++, at++) {
        assert_ok(vv_stream_cursor_next(c, &m, &err), err);
        assert_true(m.offset == at && m.partition == partition);
        if (!vv_slice_eq(m.value, vv_slice_str(*texts)))
            fail_msg("offset %d: '%.*s' instead of '%s'", (int)at, (int)m.value.len,
                     (const char *)m.value.data, *texts);
    }
    assert_status(VV_NOT_FOUND, vv_stream_cursor_next(c, &m, &err));
    assert_true(vv_stream_cursor_offset(c) == at);
    vv_stream_cursor_close(c);
}
#define EXPECT_TEXTS(table, partition, offset, ...)                                                \
    expect_texts(table, partition, offset, (const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

static inline vv_stream_stats stats_of(vv_table *table, uint32_t partition)
{
    vv_error err = {0};
    vv_stream_stats s = {.size = sizeof s};
    assert_ok(vv_stream_stats_read(table, partition, NULL, &s, &err), err);
    assert_true(s.messages == s.next_offset - s.first_offset);
    return s;
}

static inline void print_finding(void *ctx, const char *text)
{
    (void)ctx;
    print_message("%s\n", text);
}

/* Close the store, verify every byte of it, and open it again. */
static inline void sim_check_and_reopen(sim_world *w)
{
    vv_error err = {0};
    sim_close(w);
    assert_ok(sim_on(w, &(vio_sim_options){.seed = 1}, &err), err);
    assert_ok(db_check_env(&w->env, print_finding, NULL, &err), err);
    sim_off(w);
    sim_start(w);
}

#endif
