/*
 * ingest_pressure_test.c - what happens when the store is slow, full, or loses a table, and when
 * memory is short.
 */
#include "ingest/ingest_test_suite.h"

static void a_full_queue_holds_messages_back(void **state)
{
    (void)state;
    bed b;
    recorder r[3];
    bed_start(&b, &(ingest_options){.workers = 2, .queue_bytes = 8192});
    b.hold = true;
    for (size_t i = 0; i < ARRAY_LEN(r); i++)
        recorder_open(&r[i], &b);
    for (unsigned i = 0; i < 300; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "%u", i);
        give_stream_record(&r[i % 3], &(rec_spec){.entity = id});
    }
    bed_run(&b);
    ingest_stats s;
    ingest_stats_read(b.p, vv_slice_of(NULL, 0), &s);
    assert_true(s.queue_bytes <= 8192 && s.waiting_bytes > 0);
    assert_int_equal(b.released, 0);
    for (unsigned rounds = 0; b.held_count > 0; rounds++) {
        assert_true(rounds < 10000);
        bed_let_go(&b, VV_OK);
        bed_run(&b);
        ingest_stats_read(b.p, vv_slice_of(NULL, 0), &s);
        assert_true(s.queue_bytes <= 8192);
    }
    assert_int_equal(b.released, 300);
    for (unsigned i = 0; i < 3; i++) {
        const char *at = r[i].text;
        for (unsigned n = i; n < 300; n += 3) { /* each in the order it was sent */
            char want[24];
            int len = snprintf(want, sizeof want, "ok %u|", n);
            if (strncmp(at, want, (size_t)len) != 0)
                fail_msg("record %u: %s", n, at);
            at += len;
        }
        recorder_close(&r[i]);
    }
    bed_end(&b);
}

static void a_message_larger_than_the_queue_passes(void **state)
{
    (void)state;
    bed b;
    recorder r;
    bed_start(&b, &(ingest_options){.workers = 1, .queue_bytes = 4096});
    recorder_open(&r, &b);
    give_stream_record(&r, &(rec_spec){.entity = "a", .body_len = 100000});
    give_stream_record(&r, &(rec_spec){.entity = "b", .body_len = 100000});
    bed_run(&b);
    assert_text(&r, "ok a|ok b|");
    recorder_close(&r);
    bed_end(&b);
}

static void a_busy_store_is_asked_again(void **state)
{
    (void)state;
    world.refusing = VV_BUSY;
    for (unsigned i = 0; i < 5; i++) {
        give_stream_record(&rec, &(rec_spec){.entity = "a", .number = i});
        bed_run(&world);
    }
    assert_text(&rec, "");
    world.refusing = VV_OK;
    vv_clock_sleep(world.env.clock, VV_NS_PER_S);
    bed_run(&world);
    assert_text(&rec, "ok a|ok a|ok a|ok a|ok a|");
}

/* Fail the first so many of the held batches with VV_BUSY, commit the others. */
static void let_go_busy(size_t busy)
{
    held all[8];
    size_t count = world.held_count;
    vv_error err;
    assert_true(count <= ARRAY_LEN(all));
    memcpy(all, world.held, count * sizeof *all);
    world.held_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (i >= busy) {
            assert_ok(vv_write_async(world.db, all[i].batch, all[i].durability, all[i].done,
                                     all[i].ctx, &err),
                      err);
            continue;
        }
        (void)vv_fail(&err, VV_BUSY, "memory_limit is reached");
        all[i].done(all[i].ctx, VV_BUSY, NULL, &err);
    }
}

static void a_commit_that_is_busy_goes_again_in_order(void **state)
{
    (void)state;
    world.hold = true;
    for (unsigned i = 0; i < 4; i++) { /* two on their way, two records in one behind them */
        char id[2] = {(char)('a' + i), 0};
        give_stream_record(&rec, &(rec_spec){.entity = id});
        bed_run(&world);
    }
    assert_int_equal(world.held_count, 2);
    let_go_busy(2);
    bed_run(&world);
    assert_text(&rec, "");
    assert_int_equal(world.held_count, 0);
    world.hold = false;
    vv_clock_sleep(world.env.clock, VV_NS_PER_S);
    bed_run(&world);
    assert_text(&rec, "ok a|ok b|ok c|ok d|");
}

static void a_busy_commit_never_overtakes(void **state)
{
    (void)state;
    recorder other;
    recorder_open(&other, &world);
    world.hold = true;
    /* The first batch holds a record of each, the second one only of the first producer. */
    give_stream_record(&rec, &(rec_spec){.entity = "a", .number = 1});
    give_stream_record(&other, &(rec_spec){.entity = "z"});
    bed_run(&world);
    give_stream_record(&rec, &(rec_spec){.entity = "a", .number = 2});
    bed_run(&world);
    assert_int_equal(world.held_count, 2);
    let_go_busy(1);
    bed_run(&world);
    assert_text(&rec, "BUSY a|ok a|");
    assert_text(&other, "BUSY z|");
    recorder_close(&other);
    /* A batch of producers that wrote nothing since goes again. */
    give_stream_record(&rec, &(rec_spec){.entity = "b"});
    bed_run(&world);
    recorder_open(&other, &world);
    give_stream_record(&other, &(rec_spec){.entity = "y"});
    bed_run(&world);
    assert_int_equal(world.held_count, 2);
    let_go_busy(1);
    bed_run(&world);
    assert_text(&other, "ok y|");
    assert_text(&rec, "");
    world.hold = false;
    vv_clock_sleep(world.env.clock, VV_NS_PER_S);
    bed_run(&world);
    assert_text(&rec, "ok b|");
    recorder_close(&other);
}

static void a_store_that_stays_busy_is_an_answer(void **state)
{
    (void)state;
    world.hold = true;
    give_stream_record(&rec, &(rec_spec){.entity = "a"});
    bed_run(&world);
    for (unsigned i = 0; i < 30 && rec.settled == 0; i++) {
        let_go_busy(1);
        vv_clock_sleep(world.env.clock, VV_NS_PER_S);
        bed_run(&world);
    }
    assert_text(&rec, "BUSY a|");
    assert_non_null(strstr(rec.last_message, "memory_limit"));
}

static void a_failed_commit_is_told_to_all_in_it(void **state)
{
    (void)state;
    rec_spec specs[2] = {{.entity = "x"}, {.entity = "y"}};
    world.hold = true;
    give_stream_record(&rec, &(rec_spec){.entity = "a"});
    give_stream_record(&rec, &(rec_spec){.entity = "b"});
    bed_run(&world);
    bed_let_go(&world, VV_NO_SPACE);
    bed_run(&world);
    assert_text(&rec, "NO_SPACE a|NO_SPACE b|");
    assert_int_equal(give_batch(&rec, specs, 2, true, NULL), VV_OK);
    bed_run(&world);
    bed_let_go(&world, VV_IO);
    bed_run(&world);
    assert_text(&rec, "whole IO|");
    world.refusing = VV_CLOSED;
    assert_int_equal(give_batch(&rec, specs, 2, false, NULL), VV_OK);
    bed_run(&world);
    assert_text(&rec, "CLOSED x|CLOSED y|");
}

static void a_dropped_table_is_made_again(void **state)
{
    (void)state;
    vv_error err;
    give_stream_record(&rec, &(rec_spec){.entity = "a", .schema = "gone"});
    bed_run(&world);
    assert_ok(vv_table_drop(world.db, "default", "gone", &err), err);
    give_stream_record(&rec, &(rec_spec){.entity = "b", .schema = "gone"});
    give_stream_record(&rec, &(rec_spec){.entity = "c", .schema = "stays"});
    bed_run(&world);
    assert_text(&rec, "ok a|NOT_FOUND b|BUSY c|");
    give_stream_record(&rec, &(rec_spec){.entity = "d", .schema = "gone"});
    bed_run(&world);
    assert_text(&rec, "ok d|");
    assert_true(has("default", "gone", "d"));
    assert_false(has("default", "gone", "a"));
}

static void without_auto_create_the_table_is_named(void **state)
{
    (void)state;
    world.auto_create = false;
    give_stream_record(&rec, &(rec_spec){.entity = "a", .schema = "sensors"});
    bed_run(&world);
    assert_text(&rec, "NOT_FOUND a|");
    assert_non_null(strstr(rec.last_message, "sensors"));
}

static void tables_are_asked_for_once(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 100; i++)
        give_stream_record(&rec, &(rec_spec){.entity = "a", .schema = i % 2 == 0 ? "x" : "y"});
    bed_run(&world);
    assert_int_equal(world.resolves, 2);
    recorder other; /* another identity asks for itself */
    memset(&other, 0, sizeof other);
    other.bed = &world;
    vv_error err;
    for (unsigned i = 0; i < 2; i++) { /* one for each worker */
        assert_ok(ingest_producer_open(world.p, &recorder_ops, &other, vv_slice_str("you"),
                                       &other.producer, &err),
                  err);
        give_stream_record(&other, &(rec_spec){.entity = "a", .schema = "x"});
        bed_run(&world);
        assert_int_equal(world.resolves, 3 + i);
        recorder_close(&other);
    }
}

static void figures_are_of_the_tenant(void **state)
{
    (void)state;
    rec_spec specs[4] = {{.entity = "a", .tenant = "t1"},
                         {.entity = "b", .tenant = "t2"},
                         {.entity = "c", .tenant = "t1"},
                         {.tenant = "t1"}};
    assert_int_equal(give_batch(&rec, specs, 4, false, NULL), VV_OK);
    bed_run(&world);
    ingest_stats all, one, none;
    vv_clock_sleep(world.env.clock, VV_NS_PER_S);
    ingest_stats_read(world.p, vv_slice_of(NULL, 0), &all);
    ingest_stats_read(world.p, vv_slice_str("t1"), &one);
    ingest_stats_read(world.p, vv_slice_str("t9"), &none);
    assert_int_equal(all.records, 3);
    assert_int_equal(all.failed, 1);
    assert_int_equal(one.records, 2);
    assert_int_equal(none.records, 0);
    assert_true(all.records_per_s > 0.29 && all.records_per_s < 0.31); /* 3 in 10 seconds */
    assert_int_equal(all.pending, 0);
    assert_int_equal(vv_hist_count(ingest_latency(world.p)), 1);
    vv_clock_sleep(world.env.clock, 20 * VV_NS_PER_S);
    ingest_stats_read(world.p, vv_slice_of(NULL, 0), &all);
    assert_true(all.records_per_s < 0.01);
}

/* Whichever allocation fails: every message is settled once, nothing leaks, a yes is a stored
 * record. */
static void every_allocation_may_fail(void **state)
{
    (void)state;
    bool met = true;
    for (int64_t n = 0; met; n++) {
        bed b;
        recorder r;
        bed_start(&b, NULL);
        b.store_may_fail = true; /* its log may meet the failure, and closes with it */
        recorder_open(&r, &b);
        rec_spec specs[3] = {{.entity = "a", .meta_key = {"k"}, .meta_value = {"v"}},
                             {.entity = NULL},
                             {.entity = "b", .schema = "other"}};
        vv_buf wire;
        vv_buf_init(&wire, 1 << 16);
        for (size_t i = 0; i < 3; i++) {
            size_t mark = wire.len;
            put_record(&wire, &specs[i]);
            wire_wrap(&wire, mark, 1);
        }
        vv_alloc_fail_after(n, 0);
        uint64_t before = vv_alloc_count();
        vv_status st = give(&r, INGEST_BATCH, &wire);
        bed_run(&b);
        met = vv_alloc_count() - before > (uint64_t)n;
        vv_alloc_fail_after(-1, 0);
        if (st == VV_OK)
            assert_int_equal(r.settled, 1);
        assert_int_equal(b.released, 1);
        if (strstr(r.text, "ok a|") != NULL) {
            vv_table *table = NULL;
            vv_value v;
            vv_error err;
            assert_ok(vv_table_open(b.db, "default", "records", &table, &err), err);
            assert_ok(vv_get(table, NULL, vv_slice_str("a"), &v, &err), err);
            vv_value_release(&v);
            vv_table_close(table);
        }
        if (!met)
            assert_text(&r, "ok a|INVALID |ok b|");
        vv_buf_fini(&wire);
        recorder_close(&r);
        bed_end(&b);
        assert_true(n < 2000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_queue_holds_messages_back),
        cmocka_unit_test(a_message_larger_than_the_queue_passes),
        cmocka_unit_test_setup_teardown(a_busy_store_is_asked_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_commit_that_is_busy_goes_again_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(a_busy_commit_never_overtakes, setup, teardown),
        cmocka_unit_test_setup_teardown(a_store_that_stays_busy_is_an_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failed_commit_is_told_to_all_in_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_dropped_table_is_made_again, setup, teardown),
        cmocka_unit_test_setup_teardown(without_auto_create_the_table_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(tables_are_asked_for_once, setup, teardown),
        cmocka_unit_test_setup_teardown(figures_are_of_the_tenant, setup, teardown),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
