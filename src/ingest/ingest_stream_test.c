/*
 * ingest_stream_test.c - streams: answers in order, nothing before its commit, groups, ticks.
 */
#include "ingest/ingest_test_suite.h"

static void a_stream_is_answered_in_order(void **state)
{
    (void)state;
    give_init(&rec, "ack", "batch");
    give_stream_record(&rec, &(rec_spec){.entity = "a"});
    give_stream_record(&rec, &(rec_spec){.entity = NULL});
    give_stream_record(&rec, &(rec_spec){.entity = "b", .schema = "other"});
    give_commit(&rec);
    give_stream_record(&rec, &(rec_spec){.entity = "c"});
    assert_int_equal(ingest_submit(rec.producer, INGEST_END, NULL, NULL), VV_OK);
    bed_run(&world);
    assert_text(&rec, "init|ok a|INVALID |ok b|commit|ok c|end|");
}

static void a_malformed_message_ends_the_stream(void **state)
{
    (void)state;
    vv_buf b;
    vv_buf_init(&b, 64);
    give_stream_record(&rec, &(rec_spec){.entity = "a"});
    vv_buf_append(&b, "\x12\x7f", 2);
    assert_int_equal(give(&rec, INGEST_STREAM, &b), VV_OK);
    vv_buf_fini(&b);
    give_stream_record(&rec, &(rec_spec){.entity = "b"});
    assert_int_equal(ingest_submit(rec.producer, INGEST_END, NULL, NULL), VV_OK);
    bed_run(&world);
    assert_text(&rec, "ok a|whole INVALID|"); /* and what follows is not written */
    assert_false(has("default", "records", "b"));
}

static void a_late_init_and_unknown_options(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value;
    } cases[] = {{"ack", "sometimes"},
                 {"durability", "paper"},
                 {"producer", "p"},
                 {"akc", "batch"},
                 {"sequence", "1"}};
    give_stream_record(&rec, &(rec_spec){.entity = "a"});
    give_init(&rec, "ack", "batch");
    bed_run(&world);
    assert_text(&rec, "ok a|whole INVALID|init|");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        recorder r;
        recorder_open(&r, &world);
        give_init(&r, cases[i].key, cases[i].value);
        bed_run(&world);
        if (r.last.status == VV_OK)
            fail_msg("%s=%s was accepted", cases[i].key, cases[i].value);
        recorder_close(&r);
    }
}

static void nothing_is_answered_before_its_commit(void **state)
{
    (void)state;
    world.hold = true;
    give_stream_record(&rec, &(rec_spec){.entity = "a"});
    bed_run(&world);
    give_stream_record(&rec, &(rec_spec){.entity = "b"});
    give_commit(&rec);
    bed_run(&world);
    assert_true(world.held_count >= 1);
    assert_text(&rec, "");
    assert_int_equal(world.released, 0);
    bed_let_go(&world, VV_OK);
    bed_run(&world);
    bed_let_go(&world, VV_OK);
    bed_run(&world);
    assert_text(&rec, "ok a|ok b|commit|");
    assert_int_equal(world.released, 3);
}

static void a_group_is_answered_in_one_turn(void **state)
{
    (void)state;
    world.hold = true;
    for (unsigned i = 0; i < 100; i++)
        give_stream_record(&rec, &(rec_spec){.entity = "a", .number = i});
    bed_run(&world);
    assert_int_equal(world.held_count, 1); /* one batch for all */
    unsigned turns = rec.turns;
    bed_let_go(&world, VV_OK);
    bed_run(&world);
    assert_int_equal(rec.settled, 100);
    assert_int_equal(rec.turns, turns + 1);
}

static void batches_grow_while_commits_are_slow(void **state)
{
    (void)state;
    world.hold = true;
    for (unsigned i = 0; i < 50; i++) {
        give_stream_record(&rec, &(rec_spec){.entity = "a", .number = i});
        bed_run(&world);
    }
    assert_int_equal(world.held_count, 2); /* two on their way, the rest in one that waits */
    bed_let_go(&world, VV_OK);
    bed_run(&world);
    assert_int_equal(world.held_count, 1);
    bed_let_go(&world, VV_OK);
    bed_run(&world);
    assert_int_equal(rec.settled, 50);
}

static void ticks_come_once_a_second(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        vv_clock_sleep(world.env.clock, VV_NS_PER_S + 1);
        bed_run(&world);
    }
    assert_int_equal(rec.ticks, 5);
    recorder_close(&rec);
    vv_clock_sleep(world.env.clock, 2 * VV_NS_PER_S);
    bed_run(&world);
    assert_int_equal(rec.ticks, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_stream_is_answered_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(a_malformed_message_ends_the_stream, setup, teardown),
        cmocka_unit_test_setup_teardown(a_late_init_and_unknown_options, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_is_answered_before_its_commit, setup, teardown),
        cmocka_unit_test_setup_teardown(a_group_is_answered_in_one_turn, setup, teardown),
        cmocka_unit_test_setup_teardown(batches_grow_while_commits_are_slow, setup, teardown),
        cmocka_unit_test_setup_teardown(ticks_come_once_a_second, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
