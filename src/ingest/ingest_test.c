/*
 * ingest_test.c - the pipeline: what becomes of records, in which order, and what happens when the
 * store is slow, full, or loses a table.
 */
#include "ingest/ingest_test_suite.h"

#include "base/rng.h"
#include "io/env.h"

static bed world;
static recorder rec;

static int setup(void **state)
{
    (void)state;
    bed_start(&world, NULL);
    recorder_open(&rec, &world);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (rec.producer != NULL)
        recorder_close(&rec);
    bed_end(&world);
    assert_int_equal(rec.closed, 1);
    return 0;
}

static vv_table *open_table(const char *tenant, const char *name)
{
    vv_table *table = NULL;
    vv_error err;
    assert_ok(vv_table_open(world.db, tenant, name, &table, &err), err);
    return table;
}

static bool has(const char *tenant, const char *table_name, const char *id)
{
    vv_value v = {0};
    vv_table *table = open_table(tenant, table_name);
    vv_status st = vv_get(table, NULL, vv_slice_str(id), &v, NULL);
    if (st == VV_OK)
        vv_value_release(&v);
    vv_table_close(table);
    return st == VV_OK;
}

/* ---- records
 * -------------------------------------------------------------------------------------------- */

static void a_record_is_stored_as_it_came(void **state)
{
    (void)state;
    rec_spec spec = {.entity = "pump",
                     .tenant = "plant",
                     .schema = "sensors",
                     .number = 21.5,
                     .has_time = true,
                     .seconds = -1,
                     .nanos = 999999999,
                     .meta_key = {"site", "unit", "site"},
                     .meta_value = {"a", "K", "b"}};
    assert_int_equal(give_batch(&rec, &spec, 1, false, NULL), VV_OK);
    bed_run(&world);
    assert_text(&rec, "ok pump|");
    vv_table *table = open_table("plant", "sensors");
    vv_value v;
    vv_record r;
    vv_error err;
    assert_ok(vv_get(table, NULL, vv_slice_str("pump"), &v, &err), err);
    assert_int_equal(v.version, rec.last_version);
    assert_ok(vv_record_parse(v.data, &r, &err), err);
    assert_int_equal(r.timestamp_ns, -1);
    vv_buf body;
    vv_buf_init(&body, 256);
    put_data(&body, &spec);
    assert_true(vv_slice_eq(r.body, vv_slice_of(body.data + 2, body.len - 2)));
    vv_buf_fini(&body);
    assert_int_equal(r.metadata_count, 2); /* the last value of a repeated key */
    vv_slice rest = r.metadata, key, value;
    assert_true(vv_record_metadata_next(&rest, &key, &value));
    assert_true(vv_slice_eq(key, vv_slice_str("site")) && vv_slice_eq(value, vv_slice_str("b")));
    vv_value_release(&v);
    vv_table_close(table);
}

static void what_is_missing_has_a_default(void **state)
{
    (void)state;
    int64_t before = vv_clock_wall(world.env.clock);
    rec_spec spec = {.entity = "e"};
    assert_int_equal(give_batch(&rec, &spec, 1, false, NULL), VV_OK);
    bed_run(&world);
    vv_table *table = open_table("default", "records");
    vv_value v;
    vv_record r;
    vv_error err;
    assert_ok(vv_get(table, NULL, vv_slice_str("e"), &v, &err), err);
    assert_ok(vv_record_parse(v.data, &r, &err), err);
    assert_true(r.timestamp_ns >= before && r.timestamp_ns <= vv_clock_wall(world.env.clock));
    vv_value_release(&v);
    vv_table_close(table);
}

static void many_metadata_keys_are_told_apart(void **state)
{
    (void)state;
    vv_buf b;
    vv_buf_init(&b, 1 << 20);
    put_record(&b, &(rec_spec){.entity = "e"});
    for (unsigned i = 0; i < 300; i++) {
        char key[16], value[16];
        (void)snprintf(key, sizeof key, "k%u", i % 100);
        (void)snprintf(value, sizeof value, "%u", i);
        put_option(&b, 6, key, value);
    }
    wire_wrap(&b, 0, 1);
    assert_int_equal(give(&rec, INGEST_RECORD, &b), VV_OK);
    vv_buf_fini(&b);
    bed_run(&world);
    assert_text(&rec, "ok e|");
    vv_table *table = open_table("default", "records");
    vv_value v;
    vv_record r;
    vv_error err;
    assert_ok(vv_get(table, NULL, vv_slice_str("e"), &v, &err), err);
    assert_ok(vv_record_parse(v.data, &r, &err), err);
    assert_int_equal(r.metadata_count, 100);
    vv_slice rest = r.metadata, key, value;
    for (unsigned i = 0; i < 100; i++) {
        char want[16];
        (void)snprintf(want, sizeof want, "%u", 200 + i);
        assert_true(vv_record_metadata_next(&rest, &key, &value));
        assert_true(vv_slice_eq(value, vv_slice_str(want)));
    }
    vv_value_release(&v);
    vv_table_close(table);
}

static const struct {
    const char *name;
    rec_spec spec;
    const char *says;
} bad_records[] = {
    {"no entity id", {.tenant = "t"}, "entity_id"},
    {"key over the limit", {.entity_len = VV_KEY_MAX + 1}, "at most 1024"},
    {"nanos out of range", {.entity = "e", .has_time = true, .nanos = 1000000000}, "nanos"},
    {"time out of range", {.entity = "e", .has_time = true, .seconds = INT64_MAX}, "outside"},
    {"text is not UTF-8", {.entity = "e", .body_len = 9, .bad_utf8 = true}, "UTF-8"},
    {"id is not UTF-8", {.entity = "e\xff"}, "entity id must be UTF-8"},
    {"table name that cannot be", {.entity = "e", .schema = "no/such"}, "table name"},
    {"value over the limit", {.entity = "e", .body_len = VV_VALUE_MAX}, "bytes"},
};

static void one_bad_record_of_a_batch(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad_records); i++) {
        rec_spec specs[3] = {{.entity = "first"}, bad_records[i].spec, {.entity = "last"}};
        rec.len = 0;
        assert_int_equal(give_batch(&rec, specs, 3, false, NULL), VV_OK);
        bed_run(&world);
        if (strncmp(rec.text, "ok first|INVALID ", 17) != 0 ||
            strstr(rec.text, "|ok last|") == NULL)
            fail_msg("%s: %s", bad_records[i].name, rec.text);
        if (strstr(rec.last_message, bad_records[i].says) == NULL)
            fail_msg("%s: says \"%s\"", bad_records[i].name, rec.last_message);
        assert_int_equal(rec.last.failed, 1);
    }
}

static void one_bad_record_of_a_transaction(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad_records); i++) {
        rec_spec specs[3] = {{.entity = "tx1"}, {.entity = "tx2"}, bad_records[i].spec};
        rec.len = 0;
        assert_int_equal(give_batch(&rec, specs, 3, true, NULL), VV_OK);
        bed_run(&world);
        if (strcmp(rec.text, "whole INVALID|") != 0)
            fail_msg("%s: %s", bad_records[i].name, rec.text);
        if (strstr(rec.last_message, "record 2") == NULL)
            fail_msg("%s: says \"%s\"", bad_records[i].name, rec.last_message);
        assert_int_equal(rec.last.failed, 3);
        assert_false(has("default", "records", "tx1"));
    }
}

static void a_transaction_over_the_entry_limit(void **state)
{
    (void)state;
    rec_spec specs[3] = {{.entity = "a", .body_len = 6u << 20},
                         {.entity = "b", .body_len = 6u << 20},
                         {.entity = "c", .body_len = 6u << 20}};
    assert_int_equal(give_batch(&rec, specs, 3, true, NULL), VV_OK);
    bed_run(&world);
    assert_text(&rec, "whole BUSY|");
    assert_non_null(strstr(rec.last_message, "16777216"));
    assert_false(has("default", "records", "a"));
    /* The same without the transaction is split. */
    assert_int_equal(give_batch(&rec, specs, 3, false, NULL), VV_OK);
    bed_run(&world);
    assert_text(&rec, "ok a|ok b|ok c|");
}

static void malformed_bytes_refuse_the_request(void **state)
{
    (void)state;
    vv_buf b;
    vv_buf_init(&b, 256);
    for (ingest_kind kind = INGEST_RECORD; kind <= INGEST_STREAM; kind++) {
        recorder r;
        recorder_open(&r, &world);
        vv_buf_append(&b, "\x0a\x05x", 3);
        assert_int_equal(give(&r, kind, &b), VV_OK);
        bed_run(&world);
        assert_text(&r, "whole INVALID|");
        recorder_close(&r);
    }
    vv_buf_fini(&b);
}

static void durability_is_asked_and_given(void **state)
{
    (void)state;
    static const struct {
        const char *asked;
        vv_durability given;
    } cases[] = {{"sync", VV_DURABLE_SYNC}, {"os", VV_DURABLE_OS}, {"none", VV_DURABLE_NONE}};
    rec_spec spec = {.entity = "e"};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *options[] = {"durability", cases[i].asked, NULL};
        assert_int_equal(give_batch(&rec, &spec, 1, i % 2 == 1, options), VV_OK);
        bed_run(&world);
        assert_text(&rec, "ok e|");
        if (rec.last.durability > cases[i].given)
            fail_msg("%s: given %s", cases[i].asked, ingest_durability_name(rec.last.durability));
    }
    const char *unknown[] = {"durability", "fsync", NULL};
    assert_int_equal(give_batch(&rec, &spec, 1, false, unknown), VV_OK);
    bed_run(&world);
    assert_text(&rec, "whole INVALID|");
    assert_non_null(strstr(rec.last_message, "sync, os or none"));
}

static void options_that_are_not_known_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *key, *says;
    } cases[] = {{"durabilty", "did you mean 'durability'?"},
                 {"foo", "there is no 'foo'"},
                 {"", "there is no ''"},
                 {"producr", "did you mean 'producer'?"},
                 {"ack", "for IngestStream"},
                 {"sequence", "needs a producer"}};
    rec_spec spec = {.entity = "e"};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *options[] = {cases[i].key, "1", NULL};
        rec.len = 0;
        assert_int_equal(give_batch(&rec, &spec, 1, i % 2 == 1, options), VV_OK);
        bed_run(&world);
        assert_text(&rec, "whole INVALID|");
        if (strstr(rec.last_message, cases[i].says) == NULL)
            fail_msg("%s: says \"%s\"", cases[i].key, rec.last_message);
    }
}

static void producers_of_two_tenants_do_not_meet(void **state)
{
    (void)state;
    const char *ten[] = {"producer", "p", "sequence", "10", NULL};
    const char *five[] = {"producer", "p", "sequence", "5", NULL};
    rec_spec acme = {.tenant = "acme", .entity = "e"}, beta = {.tenant = "beta", .entity = "e"};
    assert_int_equal(give_batch(&rec, &acme, 1, true, ten), VV_OK);
    bed_run(&world);
    assert_false(rec.last.duplicate);
    assert_int_equal(give_batch(&rec, &beta, 1, true, five), VV_OK);
    bed_run(&world);
    assert_false(rec.last.duplicate);
    vv_table *table = open_table("beta", "records");
    vv_value v;
    vv_error err;
    assert_ok(vv_get(table, NULL, vv_slice_str("e"), &v, &err), err);
    vv_value_release(&v);
    vv_table_close(table);
    rec.len = 0;
}

static void a_retried_sequence_is_written_once(void **state)
{
    (void)state;
    const char *options[] = {"producer", "line-4", "sequence", "7", NULL};
    rec_spec first = {.entity = "e", .number = 1}, second = {.entity = "e", .number = 2};
    assert_int_equal(give_batch(&rec, &first, 1, true, options), VV_OK);
    bed_run(&world);
    assert_false(rec.last.duplicate);
    int64_t version = rec.last_version;
    assert_int_equal(give_batch(&rec, &second, 1, true, options), VV_OK);
    bed_run(&world);
    assert_true(rec.last.duplicate);
    assert_int_equal(rec.last.status, VV_OK);
    vv_table *table = open_table("default", "records");
    vv_value v;
    vv_error err;
    assert_ok(vv_get(table, NULL, vv_slice_str("e"), &v, &err), err);
    assert_int_equal(v.version, version);
    vv_value_release(&v);
    vv_table_close(table);
    const char *without[] = {"producer", "line-4", NULL};
    assert_int_equal(give_batch(&rec, &first, 1, true, without), VV_OK);
    assert_int_equal(give_batch(&rec, &first, 1, false, options), VV_OK);
    bed_run(&world);
    rec.len = 0;
}

/* ---- streams
 * ---------------------------------------------------------------------------------------------- */

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

/* ---- pressure and failure
 * ----------------------------------------------------------------------------------- */

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

/* ---- with threads
 * ---------------------------------------------------------------------------------------------- */

#define PRODUCERS 4
#define EACH 2000

typedef struct counted {
    bed *bed;
    ingest_producer *producer;
    _Atomic unsigned settled;
    _Atomic unsigned wrong;
    _Atomic unsigned closed;
} counted;

static vv_status counted_resolve(void *ctx, vv_slice tenant, vv_slice table, vv_table **out,
                                 vv_error *err)
{
    counted *c = ctx;
    recorder r = {.bed = c->bed};
    (void)tenant;
    (void)table;
    return recorder_resolve(&r, vv_slice_str("default"), vv_slice_str("records"), out, err);
}

static void counted_settled(void *ctx, const ingest_item *item)
{
    counted *c = ctx;
    ingest_outcome o;
    ingest_item_outcome(item, &o);
    unsigned n = atomic_fetch_add(&c->settled, 1);
    char want[16];
    (void)snprintf(want, sizeof want, "%u", n);
    if (o.event == INGEST_EVENT_END) {
        if (n != EACH)
            atomic_fetch_add(&c->wrong, 1);
        return;
    }
    const ingest_result *r = ingest_item_result(item, 0);
    if (r->status != VV_OK || !vv_slice_eq(r->id, vv_slice_str(want)))
        atomic_fetch_add(&c->wrong, 1);
}

static void counted_closed(void *ctx)
{
    counted *c = ctx;
    atomic_fetch_add(&c->closed, 1);
}

static const ingest_producer_ops counted_ops = {
    .resolve = counted_resolve, .settled = counted_settled, .closed = counted_closed};

typedef struct feeding {
    counted *c;
    vv_thread *thread;
} feeding;

static void free_copy(ingest_message *message)
{
    free(message->owner[1]);
}

static void feed(void *arg)
{
    feeding *f = arg;
    recorder r = {.bed = f->c->bed, .producer = f->c->producer};
    for (unsigned i = 0; i < EACH; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "%u", i);
        vv_buf b;
        vv_buf_init(&b, 4096);
        put_record(&b, &(rec_spec){.entity = id, .number = i});
        wire_wrap(&b, 0, 2);
        uint8_t *copy = malloc(b.len);
        if (copy == NULL)
            abort();
        memcpy(copy, b.data, b.len);
        ingest_message m = {
            .data = vv_slice_of(copy, b.len), .owner = {NULL, copy}, .release = free_copy};
        if (ingest_submit(r.producer, INGEST_STREAM, &m, NULL) != VV_OK)
            atomic_fetch_add(&f->c->wrong, 1);
        vv_buf_fini(&b);
    }
    if (ingest_submit(r.producer, INGEST_END, NULL, NULL) != VV_OK)
        atomic_fetch_add(&f->c->wrong, 1);
    ingest_producer_close(r.producer);
}

static void many_threads_feed_a_real_store(void **state)
{
    (void)state;
    char dir[] = "/tmp/ingest_test.XXXXXX", command[64];
    assert_non_null(mkdtemp(dir));
    bed b = {.auto_create = true};
    vv_error err;
    vv_options opt = VV_OPTIONS_INIT;
    opt.memory_limit = 64u << 20;
    opt.durability = VV_DURABLE_OS;
    assert_ok(vv_db_open(dir, &opt, &b.db, &err), err);
    ingest_options io = {.db = b.db,
                         .clock = vv_clock_real(),
                         .threads = vv_threads_real(),
                         .budget = db_budget(b.db),
                         .workers = 2,
                         .queue_bytes = 64 << 10};
    assert_ok(ingest_create(&io, &b.p, &err), err);
    static counted c[PRODUCERS];
    feeding f[PRODUCERS];
    for (size_t i = 0; i < PRODUCERS; i++) {
        c[i] = (counted){.bed = &b};
        assert_ok(ingest_producer_open(b.p, &counted_ops, &c[i], vv_slice_of(NULL, 0),
                                       &c[i].producer, &err),
                  err);
        f[i].c = &c[i];
        assert_ok(
            vv_threads_real()->create("feed", VV_THREAD_NORMAL, feed, &f[i], &f[i].thread, &err),
            err);
    }
    for (size_t i = 0; i < PRODUCERS; i++)
        vv_threads_real()->join(f[i].thread);
    ingest_destroy(b.p); /* settles what is on its way */
    for (size_t i = 0; i < PRODUCERS; i++) {
        assert_int_equal(c[i].wrong, 0);
        assert_int_equal(c[i].settled, EACH + 1);
        assert_int_equal(c[i].closed, 1);
    }
    assert_ok(vv_db_close(b.db, &err), err);
    (void)snprintf(command, sizeof command, "rm -rf %s", dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_record_is_stored_as_it_came, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_missing_has_a_default, setup, teardown),
        cmocka_unit_test_setup_teardown(many_metadata_keys_are_told_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(one_bad_record_of_a_batch, setup, teardown),
        cmocka_unit_test_setup_teardown(one_bad_record_of_a_transaction, setup, teardown),
        cmocka_unit_test_setup_teardown(a_transaction_over_the_entry_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(malformed_bytes_refuse_the_request, setup, teardown),
        cmocka_unit_test_setup_teardown(durability_is_asked_and_given, setup, teardown),
        cmocka_unit_test_setup_teardown(options_that_are_not_known_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(producers_of_two_tenants_do_not_meet, setup, teardown),
        cmocka_unit_test_setup_teardown(a_retried_sequence_is_written_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stream_is_answered_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(a_malformed_message_ends_the_stream, setup, teardown),
        cmocka_unit_test_setup_teardown(a_late_init_and_unknown_options, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_is_answered_before_its_commit, setup, teardown),
        cmocka_unit_test_setup_teardown(a_group_is_answered_in_one_turn, setup, teardown),
        cmocka_unit_test_setup_teardown(batches_grow_while_commits_are_slow, setup, teardown),
        cmocka_unit_test_setup_teardown(ticks_come_once_a_second, setup, teardown),
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
        cmocka_unit_test(many_threads_feed_a_real_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
