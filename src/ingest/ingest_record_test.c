/*
 * ingest_record_test.c - what becomes of records: as they came, with defaults, refused one by one
 * or with their batch.
 */
#include "ingest/ingest_test_suite.h"

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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
