#include "server/svc_suite.h"

#include <stdio.h>
#include <string.h>

static void expect_code(svc_suite *s, int code, const char *words)
{
    if (s->result.code != code)
        fail_msg("code %d instead of %d: %s", s->result.code, code, s->result.message);
    if (words != NULL && strstr(s->result.message, words) == NULL)
        fail_msg("'%s' is not in: %s", words, s->result.message);
}

static vv_status create(svc_suite *s, const char *tenant, const char *table,
                        Varve__V1__CreateTableRequest req)
{
    SUITE_REF(ref, tenant, table);
    req.table = &ref;
    return svc_suite_call(s, "Admin/CreateTable", &req);
}

#define CREATE(...)                                                                                \
    (Varve__V1__CreateTableRequest)                                                                \
    {                                                                                              \
        .base = PROTOBUF_C_MESSAGE_INIT(&varve__v1__create_table_request__descriptor), __VA_ARGS__ \
    }

static Varve__V1__TableInfo *info_of(svc_suite *s)
{
    return svc_suite_reply(s, &varve__v1__table_info__descriptor);
}

static void test_tables_come_and_go(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, &(svc_suite_options){.no_auto_create = true});
    int64_t before = vv_clock_wall(s.n.env.clock) / VV_NS_PER_MS;
    assert_ok(create(&s, "t", "x", CREATE(.kind = VARVE__V1__TABLE_KIND__TABLE_KIND_UNSPECIFIED)),
              s.err);
    Varve__V1__TableInfo *info = info_of(&s);
    assert_string_equal(info->table->tenant, "t");
    assert_string_equal(info->table->table, "x");
    assert_int_equal(info->kind, VARVE__V1__TABLE_KIND__TABLE_KIND_KV);
    assert_int_equal(info->version_retention_ms, 0);
    assert_true(info->created_unix_ms >= before);
    assert_string_not_equal(info->engine, "");
    assert_int_equal(info->value_threshold, 0);
    uint32_t id = info->id;
    varve__v1__table_info__free_unpacked(info, NULL);

    SUITE_REF(ref, "t", "x");
    assert_ok(svc_suite_call(&s, "Admin/DescribeTable", &ref), s.err);
    info = info_of(&s);
    assert_int_equal(info->id, id);
    varve__v1__table_info__free_unpacked(info, NULL);

    assert_status(VV_CONFLICT, create(&s, "t", "x", CREATE(.if_not_exists = false)));
    expect_code(&s, 10, "exists");
    assert_ok(create(&s, "t", "x", CREATE(.if_not_exists = true)), s.err);
    assert_status(VV_CONFLICT, create(&s, "t", "x",
                                      CREATE(.if_not_exists = true,
                                             .kind = VARVE__V1__TABLE_KIND__TABLE_KIND_RECORD)));
    assert_ok(create(&s, "t", "large", CREATE(.value_threshold = 70000)), s.err);
    info = info_of(&s);
    assert_int_equal(info->value_threshold, 70000);
    varve__v1__table_info__free_unpacked(info, NULL);
    assert_ok(svc_suite_call(&s, "Admin/DropTable", &ref), s.err);
    assert_status(VV_NOT_FOUND, svc_suite_call(&s, "Admin/DropTable", &ref));
    assert_status(VV_NOT_FOUND, svc_suite_call(&s, "Admin/DescribeTable", &ref));
    expect_code(&s, 5, "'x'");
    svc_suite_stop(&s);
}

static void test_a_table_of_series(void **state)
{
    (void)state;
    const int64_t day = 86400 * VV_NS_PER_S;
    svc_suite s;
    svc_suite_start(&s, &(svc_suite_options){.shards = 2});
    Varve__V1__SeriesOptions opt = VARVE__V1__SERIES_OPTIONS__INIT;
    opt.retention_ns = 30 * day;
    opt.out_of_order_ns = 1;
    opt.minutes_retention_ns = 90 * day;
    opt.hours_retention_ns = INT64_MAX;
    Varve__V1__Matcher match = VARVE__V1__MATCHER__INIT;
    match.name = "env";
    match.op = VARVE__V1__MATCH_OP__MATCH_PREFIX;
    match.value = "d";
    Varve__V1__KeepRule rule = VARVE__V1__KEEP_RULE__INIT;
    rule.match = &match;
    rule.retention_ns = 7 * day;
    Varve__V1__KeepRule *rules[17] = {&rule};
    opt.keep_rules = rules;
    opt.n_keep_rules = 1;
    assert_ok(create(&s, "t", "x",
                     CREATE(.kind = VARVE__V1__TABLE_KIND__TABLE_KIND_SERIES, .series = &opt,
                            .partitions = 2)),
              s.err);
    Varve__V1__TableInfo *info = info_of(&s);
    assert_int_equal(info->kind, VARVE__V1__TABLE_KIND__TABLE_KIND_SERIES);
    assert_int_equal(info->partitions, 2);
    assert_non_null(info->series);
    assert_int_equal(info->series->retention_ns, 30 * day);
    assert_int_equal(info->series->out_of_order_ns, 1);
    assert_int_equal(info->series->future_ns, day); /* the default */
    assert_false(info->series->no_rollups);
    assert_int_equal(info->series->minutes_retention_ns, 90 * day);
    assert_int_equal(info->series->hours_retention_ns, 0); /* for ever */
    assert_int_equal(info->series->n_keep_rules, 1);
    assert_string_equal(info->series->keep_rules[0]->match->name, "env");
    assert_string_equal(info->series->keep_rules[0]->match->value, "d");
    assert_int_equal(info->series->keep_rules[0]->match->op, match.op);
    assert_int_equal(info->series->keep_rules[0]->retention_ns, 7 * day);
    varve__v1__table_info__free_unpacked(info, NULL);

    assert_ok(create(&s, "t", "kv", CREATE(.if_not_exists = false)), s.err);
    Varve__V1__ListTablesRequest all = VARVE__V1__LIST_TABLES_REQUEST__INIT;
    assert_ok(svc_suite_call(&s, "Admin/ListTables", &all), s.err);
    Varve__V1__ListTablesResponse *list =
        svc_suite_reply(&s, &varve__v1__list_tables_response__descriptor);
    assert_int_equal(list->n_tables, 2);
    assert_null(list->tables[0]->series);
    assert_int_equal(list->tables[1]->series->retention_ns, 30 * day);
    assert_int_equal(list->tables[1]->series->n_keep_rules, 1);
    varve__v1__list_tables_response__free_unpacked(list, NULL);
    svc_suite_stop(&s);
}

static void test_options_of_series_are_refused_by_name(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, NULL);
    const struct {
        size_t offset;
        const char *name;
    } spans[] = {
        {offsetof(Varve__V1__SeriesOptions, retention_ns), "series.retention_ns -1"},
        {offsetof(Varve__V1__SeriesOptions, out_of_order_ns), "series.out_of_order_ns -1"},
        {offsetof(Varve__V1__SeriesOptions, future_ns), "series.future_ns -1"},
        {offsetof(Varve__V1__SeriesOptions, minutes_retention_ns), "series.minutes_retention_ns"},
        {offsetof(Varve__V1__SeriesOptions, hours_retention_ns), "series.hours_retention_ns -1"},
    };
    for (size_t i = 0; i < ARRAY_LEN(spans); i++) {
        Varve__V1__SeriesOptions opt = VARVE__V1__SERIES_OPTIONS__INIT;
        *(int64_t *)(void *)((char *)&opt + spans[i].offset) = -1;
        assert_status(VV_INVALID, create(&s, "t", "x",
                                         CREATE(.kind = VARVE__V1__TABLE_KIND__TABLE_KIND_SERIES,
                                                .series = &opt)));
        expect_code(&s, 3, spans[i].name);
    }
    Varve__V1__SeriesOptions opt = VARVE__V1__SERIES_OPTIONS__INIT;
    assert_status(VV_INVALID, create(&s, "t", "x", CREATE(.series = &opt)));
    expect_code(&s, 3, "kind 3 (series)");
    assert_status(VV_INVALID, create(&s, "t", "x", CREATE(.kind = 99)));
    expect_code(&s, 3, "kind 99 is none");
    SUITE_REF(ref, "t", "x");
    assert_status(VV_NOT_FOUND, svc_suite_call(&s, "Admin/DescribeTable", &ref));
    Varve__V1__SeriesOptions many = VARVE__V1__SERIES_OPTIONS__INIT;
    Varve__V1__Matcher match = VARVE__V1__MATCHER__INIT;
    Varve__V1__KeepRule rule = VARVE__V1__KEEP_RULE__INIT;
    Varve__V1__KeepRule *rules[17];
    match.name = "env";
    match.op = VARVE__V1__MATCH_OP__MATCH_REGEX;
    match.value = "(";
    rule.match = &match;
    for (size_t i = 0; i < ARRAY_LEN(rules); i++)
        rules[i] = &rule;
    many.keep_rules = rules;
    many.n_keep_rules = ARRAY_LEN(rules);
    assert_status(VV_INVALID, create(&s, "t", "x",
                                     CREATE(.kind = VARVE__V1__TABLE_KIND__TABLE_KIND_SERIES,
                                            .series = &many)));
    expect_code(&s, 3, "17 keep_rules");
    many.n_keep_rules = 1;
    assert_status(VV_INVALID, create(&s, "t", "x",
                                     CREATE(.kind = VARVE__V1__TABLE_KIND__TABLE_KIND_SERIES,
                                            .series = &many)));
    expect_code(&s, 3, "rule 1 of keep_rules");
    svc_suite_stop(&s);
}

static void test_how_a_stream_is_archived(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, NULL);
    const int64_t hour = 3600 * VV_NS_PER_S;
    Varve__V1__StreamOptions opt = VARVE__V1__STREAM_OPTIONS__INIT;
    Varve__V1__ArchiveOptions rule = VARVE__V1__ARCHIVE_OPTIONS__INIT;
    opt.archive = &rule;
    rule.codec = 2;
    rule.also = 1;
    rule.batch_bytes = 1 << 20;
    rule.batch_messages = 7;
    rule.batch_age_ns = hour;
    rule.local_ns = -1;
    rule.local_bytes = 99;
    rule.key = "a/{first}-{intent}";
    assert_ok(create(&s, "t", "ruled",
                     CREATE(.kind = VARVE__V1__TABLE_KIND__TABLE_KIND_STREAM, .stream = &opt)),
              s.err);
    Varve__V1__TableInfo *info = info_of(&s);
    const Varve__V1__ArchiveOptions *got = info->stream->archive;
    assert_non_null(got);
    assert_true(got->codec == 2 && got->also == 1 && got->batch_bytes == 1 << 20 &&
                got->batch_messages == 7 && got->batch_age_ns == hour && got->local_ns == -1 &&
                got->local_bytes == 99 && !got->off);
    assert_string_equal(got->key, rule.key);
    varve__v1__table_info__free_unpacked(info, NULL);
    opt.archive = NULL;
    assert_ok(create(&s, "t", "plain",
                     CREATE(.kind = VARVE__V1__TABLE_KIND__TABLE_KIND_STREAM, .stream = &opt)),
              s.err);
    info = info_of(&s);
    assert_null(info->stream->archive);
    varve__v1__table_info__free_unpacked(info, NULL);
    opt.archive = &rule;
    rule.key = "every-batch-the-same";
    assert_status(VV_INVALID,
                  create(&s, "t", "bad",
                         CREATE(.kind = VARVE__V1__TABLE_KIND__TABLE_KIND_STREAM, .stream = &opt)));
    rule.key = "";
    rule.codec = 77;
    assert_status(VV_INVALID,
                  create(&s, "t", "bad",
                         CREATE(.kind = VARVE__V1__TABLE_KIND__TABLE_KIND_STREAM, .stream = &opt)));
    expect_code(&s, 3, "codec 77");
    svc_suite_stop(&s);
}

/* A batch, and a transaction that writes, stay on one shard; a key may be read from any. */
static void expect_one_shard_each(svc_suite *s, Varve__V1__TableRef *ref)
{
    Varve__V1__Operation op[30];
    Varve__V1__Operation *list[ARRAY_LEN(op)];
    Varve__V1__Operation__Put put[ARRAY_LEN(op)];
    char key[ARRAY_LEN(op)][16];
    for (unsigned i = 0; i < ARRAY_LEN(op); i++) {
        varve__v1__operation__init(&op[i]);
        varve__v1__operation__put__init(&put[i]);
        put[i].table = ref;
        put[i].key.len = (size_t)snprintf(key[i], sizeof key[i], "key-%02u", i);
        put[i].key.data = (uint8_t *)key[i];
        op[i].operation_case = VARVE__V1__OPERATION__OPERATION_PUT;
        op[i].put = &put[i];
        list[i] = &op[i];
    }
    Varve__V1__BatchRequest batch = VARVE__V1__BATCH_REQUEST__INIT;
    batch.operations = list;
    batch.n_operations = 1;
    assert_ok(svc_suite_call(s, "Kv/Batch", &batch), s->err);
    batch.n_operations = ARRAY_LEN(op);
    assert_status(VV_UNSUPPORTED, svc_suite_call(s, "Kv/Batch", &batch));
    expect_code(s, 12, "shard");

    Varve__V1__TxnBeginRequest begin = VARVE__V1__TXN_BEGIN_REQUEST__INIT;
    assert_ok(svc_suite_call(s, "Txn/Begin", &begin), s->err);
    Varve__V1__TxnBeginResponse *begun =
        svc_suite_reply(s, &varve__v1__txn_begin_response__descriptor);
    vv_status st = VV_OK;
    for (unsigned i = 0; st == VV_OK && i < ARRAY_LEN(op); i++) {
        Varve__V1__TxnPutRequest req = VARVE__V1__TXN_PUT_REQUEST__INIT;
        req.txn = begun->txn;
        req.table = ref;
        req.key = put[i].key;
        st = svc_suite_call(s, "Txn/Put", &req);
    }
    assert_int_equal(st, VV_UNSUPPORTED);
    expect_code(s, 12, "shard");
    Varve__V1__TxnAbortRequest end = VARVE__V1__TXN_ABORT_REQUEST__INIT;
    end.txn = begun->txn;
    assert_ok(svc_suite_call(s, "Txn/Abort", &end), s->err);
    varve__v1__txn_begin_response__free_unpacked(begun, NULL);
}

/* Over the wire as over the library: keys are spread, and what spans shards is refused by name. */
static void expect_alter(svc_suite *s, Varve__V1__CreateTableRequest *to, char *field,
                         vv_status want, const char *words)
{
    Varve__V1__AlterTableRequest req = VARVE__V1__ALTER_TABLE_REQUEST__INIT;
    req.table = to;
    req.fields = &field;
    req.n_fields = 1;
    vv_status st = svc_suite_call(s, "Admin/AlterTable", &req);
    if (st != want || (words != NULL && strstr(s->result.message, words) == NULL))
        fail_msg("%s: %s", field, s->result.message);
}

static void test_a_table_is_altered(void **state)
{
    (void)state;
    const int64_t day = 86400 * VV_NS_PER_S;
    svc_suite s;
    svc_suite_start(&s, NULL);
    assert_ok(create(&s, "t", "m", CREATE(.kind = VARVE__V1__TABLE_KIND__TABLE_KIND_SERIES)),
              s.err);
    assert_ok(create(&s, "t", "e", CREATE(.kind = VARVE__V1__TABLE_KIND__TABLE_KIND_STREAM)),
              s.err);
    SUITE_REF(ref, "t", "m");
    Varve__V1__CreateTableRequest to = VARVE__V1__CREATE_TABLE_REQUEST__INIT;
    Varve__V1__SeriesOptions series = VARVE__V1__SERIES_OPTIONS__INIT;
    Varve__V1__StreamOptions stream = VARVE__V1__STREAM_OPTIONS__INIT;
    to.table = &ref;
    to.series = &series;
    series.retention_ns = 30 * day;
    series.minutes_retention_ns = 60 * day;
    expect_alter(&s, &to, "series.retention_ns", VV_OK, NULL);
    Varve__V1__TableInfo *info = info_of(&s);
    assert_int_equal(info->series->retention_ns, 30 * day);
    assert_int_equal(info->series->minutes_retention_ns, 30 * day); /* it was not named */
    varve__v1__table_info__free_unpacked(info, NULL);
    expect_alter(&s, &to, "series.retention", VV_INVALID, "did you mean 'series.retention_ns'");
    expect_alter(&s, &to, "engine", VV_INVALID, "engine is fixed when a table is made");
    expect_alter(&s, &to, "stream.retention_bytes", VV_INVALID, "kind series");
    to.series = NULL;
    to.stream = &stream;
    stream.retention_bytes = 5000;
    expect_alter(&s, &to, "stream.retention_bytes", VV_INVALID, "kind 4 (stream)");
    ref.table = "e";
    expect_alter(&s, &to, "stream.retention_bytes", VV_OK, NULL);
    info = info_of(&s);
    assert_int_equal(info->stream->retention_bytes, 5000);
    varve__v1__table_info__free_unpacked(info, NULL);
    stream.extract_rules = "a = json $.a\nb = jsn $.b";
    expect_alter(&s, &to, "stream.extract_rules", VV_INVALID, "line 2: rule 'b'");
    stream.extract_rules = "a = json $.a";
    expect_alter(&s, &to, "stream.extract_rules", VV_OK, NULL);
    info = info_of(&s);
    assert_string_equal(info->stream->extract_rules, "a = json $.a");
    assert_int_equal(info->stream->retention_bytes, 5000);
    varve__v1__table_info__free_unpacked(info, NULL);
    ref.table = "none";
    expect_alter(&s, &to, "stream.retention_bytes", VV_NOT_FOUND, "none");
    svc_suite_stop(&s);
}

static void test_a_table_with_partitions(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, &(svc_suite_options){.shards = 3});
    assert_status(VV_INVALID, create(&s, "t", "x", CREATE(.partitions = 4)));
    expect_code(&s, 3, "the store has 3");
    assert_ok(create(&s, "t", "x", CREATE(.partitions = 3)), s.err);
    Varve__V1__TableInfo *info = info_of(&s);
    assert_int_equal(info->partitions, 3);
    varve__v1__table_info__free_unpacked(info, NULL);
    assert_status(VV_CONFLICT,
                  create(&s, "t", "x", CREATE(.partitions = 2, .if_not_exists = true)));
    expect_code(&s, 10, "3 partitions");

    SUITE_REF(ref, "t", "x");
    char key[16];
    for (unsigned i = 0; i < 30; i++) {
        Varve__V1__PutRequest put = VARVE__V1__PUT_REQUEST__INIT;
        put.table = &ref;
        put.key.len = (size_t)snprintf(key, sizeof key, "key-%02u", i);
        put.key.data = (uint8_t *)key;
        put.value = put.key;
        assert_ok(svc_suite_call(&s, "Kv/Put", &put), s.err);
    }
    Varve__V1__DeleteRequest del = VARVE__V1__DELETE_REQUEST__INIT; /* on every shard */
    del.table = &ref;
    del.key = (ProtobufCBinaryData){6, (uint8_t *)(uintptr_t) "key-10"};
    del.range_end = (ProtobufCBinaryData){6, (uint8_t *)(uintptr_t) "key-20"};
    assert_ok(svc_suite_call(&s, "Kv/Delete", &del), s.err);
    for (unsigned i = 0; i < 30; i++) {
        Varve__V1__GetRequest get = VARVE__V1__GET_REQUEST__INIT;
        get.table = &ref;
        get.key.len = (size_t)snprintf(key, sizeof key, "key-%02u", i);
        get.key.data = (uint8_t *)key;
        assert_ok(svc_suite_call(&s, "Kv/Get", &get), s.err);
        Varve__V1__GetResponse *r = svc_suite_reply(&s, &varve__v1__get_response__descriptor);
        assert_int_equal(r->found, i < 10 || i >= 20);
        varve__v1__get_response__free_unpacked(r, NULL);
    }
    expect_one_shard_each(&s, &ref);
    svc_suite_stop(&s);
}

static void test_retention(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, NULL);
    const struct {
        Varve__V1__CreateTableRequest req;
        int64_t want_ms;
    } rows[] = {
        {CREATE(.kind = VARVE__V1__TABLE_KIND__TABLE_KIND_RECORD), 3600000},
        {CREATE(.version_retention_ms = 5000), 0}, /* not set: the kind's */
        {CREATE(.version_retention_ms = 5000, .retention_is_set = true), 5000},
        {CREATE(.kind = VARVE__V1__TABLE_KIND__TABLE_KIND_RECORD, .retention_is_set = true), 0},
        {CREATE(.version_retention_ms = -7, .retention_is_set = true), 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "x%zu", i);
        assert_ok(create(&s, "t", name, rows[i].req), s.err);
        Varve__V1__TableInfo *info = info_of(&s);
        if (info->version_retention_ms != rows[i].want_ms)
            fail_msg("row %zu: %lld", i, (long long)info->version_retention_ms);
        varve__v1__table_info__free_unpacked(info, NULL);
    }
    assert_status(
        VV_INVALID,
        create(&s, "t", "y", CREATE(.version_retention_ms = INT64_MAX, .retention_is_set = true)));
    expect_code(&s, 3, "version_retention_ms");
    assert_status(VV_INVALID, create(&s, "t", "a b", CREATE(.if_not_exists = true)));
    expect_code(&s, 3, "0x20");
    svc_suite_stop(&s);
}

static void list(svc_suite *s, const char *tenant, char *out, size_t out_len)
{
    Varve__V1__ListTablesRequest req = VARVE__V1__LIST_TABLES_REQUEST__INIT;
    req.tenant = (char *)(uintptr_t)tenant;
    assert_ok(svc_suite_call(s, "Admin/ListTables", &req), s->err);
    Varve__V1__ListTablesResponse *r =
        svc_suite_reply(s, &varve__v1__list_tables_response__descriptor);
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; i < r->n_tables; i++)
        len += (size_t)snprintf(out + len, out_len - len, "%s/%s ", r->tables[i]->table->tenant,
                                r->tables[i]->table->table);
    varve__v1__list_tables_response__free_unpacked(r, NULL);
}

static void test_lists_are_sorted_and_by_tenant(void **state)
{
    (void)state;
    svc_suite s;
    char got[256];
    svc_suite_start(&s, NULL);
    list(&s, "", got, sizeof got);
    assert_string_equal(got, "");
    assert_ok(create(&s, "u", "b", CREATE(.kind = VARVE__V1__TABLE_KIND__TABLE_KIND_RECORD)),
              s.err);
    assert_ok(create(&s, "t", "b", CREATE(.if_not_exists = false)), s.err);
    assert_ok(create(&s, "t", "a", CREATE(.if_not_exists = false)), s.err);
    assert_ok(create(&s, "", "", CREATE(.if_not_exists = false)), s.err);
    list(&s, "", got, sizeof got);
    assert_string_equal(got, "default/default t/a t/b u/b ");
    list(&s, "t", got, sizeof got);
    assert_string_equal(got, "t/a t/b ");
    list(&s, "nobody", got, sizeof got);
    assert_string_equal(got, "");
    svc_suite_stop(&s);
}

static double figure(const Varve__V1__StatusResponse *r, const char *name)
{
    for (size_t i = 0; i < r->n_figures; i++)
        if (strcmp(r->figures[i]->key, name) == 0)
            return r->figures[i]->value;
    fail_msg("there is no figure %s", name);
    return 0;
}

static void test_status(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, NULL);
    for (int i = 0; i < 3; i++)
        assert_ok(svc_suite_put(&s, "t", "x", vv_slice_str("k"), vv_slice_str("v"), NULL), s.err);
    Varve__V1__StatusRequest req = VARVE__V1__STATUS_REQUEST__INIT;
    assert_ok(svc_suite_call(&s, "Admin/Status", &req), s.err);
    Varve__V1__StatusResponse *r = svc_suite_reply(&s, &varve__v1__status_response__descriptor);
    assert_string_equal(r->version, vv_version());
    assert_in_range(r->uptime_ms, 0, 60000);
    assert_true(r->ready);
    assert_string_equal(r->not_ready_reason, "");
    assert_true(figure(r, "varve_put_seconds_count") == 3);
    assert_true(figure(r, "varve_tables") == 1);
    assert_true(figure(r, "varve_ready") == 1);
    assert_true(figure(r, "varve_grpc_finished_total{code=\"0\"}") >= 3);
    assert_true(figure(r, "varve_memory_limit_bytes") == 256 << 20);
    assert_true(figure(r, "varve_level_files{level=\"0\"}") == 0);
    for (size_t i = 0; i < r->n_figures; i++)
        assert_null(strstr(r->figures[i]->key, "_bucket"));
    varve__v1__status_response__free_unpacked(r, NULL);

    s.n.draining = 1;
    assert_ok(svc_suite_call(&s, "Admin/Status", &req), s.err);
    r = svc_suite_reply(&s, &varve__v1__status_response__descriptor);
    assert_false(r->ready);
    assert_non_null(strstr(r->not_ready_reason, "draining"));
    varve__v1__status_response__free_unpacked(r, NULL);
    svc_suite_stop(&s);
}

static void test_checkpoint_writes_the_memtables_out(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, NULL);
    assert_ok(svc_suite_put(&s, "t", "x", vv_slice_str("k"), vv_slice_str("v"), NULL), s.err);
    Varve__V1__CheckpointRequest req = VARVE__V1__CHECKPOINT_REQUEST__INIT;
    assert_ok(svc_suite_call(&s, "Admin/Checkpoint", &req), s.err);
    vv_stats stats = {.size = sizeof stats};
    vv_stats_read(s.n.db, &stats);
    assert_true(stats.flushes > 0);
    assert_true(stats.disk_bytes > 0);
    svc_suite_expect(&s, "t", "x", "k", "v");
    svc_suite_stop(&s);
}

static void expect_archives(svc_suite *s, size_t count)
{
    Varve__V1__ListArchivesRequest req = VARVE__V1__LIST_ARCHIVES_REQUEST__INIT;
    assert_ok(svc_suite_call(s, "Admin/ListArchives", &req), s->err);
    Varve__V1__ListArchivesResponse *r =
        svc_suite_reply(s, &varve__v1__list_archives_response__descriptor);
    assert_int_equal(r->n_archives, count);
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(r->archives[i]->name, "a");
        assert_true(r->archives[i]->version > 0 && r->archives[i]->created_unix_ms > 0);
        assert_false(r->archives[i]->periodic);
    }
    varve__v1__list_archives_response__free_unpacked(r, NULL);
}

static void test_a_table_of_the_tree_comes_back_from_an_archive(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, NULL);
    Varve__V1__ArchiveRef a = VARVE__V1__ARCHIVE_REF__INIT;
    a.name = "a";
    assert_status(VV_UNSUPPORTED, svc_suite_call(&s, "Admin/CreateArchive", &a));
    assert_ok(create(&s, "t", "x", CREATE(.engine = VARVE__V1__ENGINE__ENGINE_BTREE)), s.err);
    Varve__V1__TableInfo *info = info_of(&s);
    assert_string_equal(info->engine, "btree");
    varve__v1__table_info__free_unpacked(info, NULL);
    assert_status(VV_INVALID, create(&s, "t", "y", CREATE(.engine = 9)));
    expect_code(&s, 3, "engine 9 is none");
    assert_ok(svc_suite_put(&s, "t", "x", vv_slice_str("k"), vv_slice_str("one"), NULL), s.err);
    assert_ok(svc_suite_call(&s, "Admin/CreateArchive", &a), s.err);
    assert_status(VV_CONFLICT, svc_suite_call(&s, "Admin/CreateArchive", &a));
    expect_archives(&s, 1);
    assert_ok(svc_suite_put(&s, "t", "x", vv_slice_str("k"), vv_slice_str("two"), NULL), s.err);
    SUITE_REF(ref, "t", "x");
    Varve__V1__RestoreArchiveRequest back = VARVE__V1__RESTORE_ARCHIVE_REQUEST__INIT;
    back.table = &ref;
    back.name = "a";
    assert_ok(svc_suite_call(&s, "Admin/RestoreArchive", &back), s.err);
    Varve__V1__RestoreArchiveResponse *r =
        svc_suite_reply(&s, &varve__v1__restore_archive_response__descriptor);
    assert_int_equal(r->changed, 1);
    varve__v1__restore_archive_response__free_unpacked(r, NULL);
    svc_suite_expect(&s, "t", "x", "k", "one");
    assert_ok(svc_suite_call(&s, "Admin/DropArchive", &a), s.err);
    assert_status(VV_NOT_FOUND, svc_suite_call(&s, "Admin/RestoreArchive", &back));
    expect_archives(&s, 0);
    svc_suite_stop(&s);
}

/* The messages of a StreamBackup, sent so many times: how many told a step, and the id of the
 * backup in the last (0: none). s->result is the end. */
static vv_status stream_backup(svc_suite *s, unsigned requests, unsigned *steps, uint64_t *id)
{
    vv_buf reply;
    cli_stream *stream = NULL;
    *steps = 0;
    *id = 0;
    vv_buf_init(&reply, 1u << 16);
    assert_ok(cli_stream_open(s->conn, "/varve.v1.Admin/StreamBackup", SUITE_TIMEOUT_NS, &stream,
                              &s->err),
              s->err);
    for (unsigned i = 0; i < requests; i++)
        (void)!cli_stream_send(stream, vv_slice_of(NULL, 0), &s->err);
    cli_stream_half_close(stream);
    vv_status st;
    while ((st = cli_stream_receive(stream, true, &reply, &s->err)) == VV_OK) {
        Varve__V1__BackupProgress *p =
            varve__v1__backup_progress__unpack(NULL, reply.len, reply.data);
        assert_non_null(p);
        assert_int_equal(*id, 0); /* nothing comes behind the backup */
        *steps += p->backup == NULL && strlen(p->step) > 0 && p->done <= p->total && p->total > 0;
        if (p->backup != NULL)
            *id = p->backup->id;
        varve__v1__backup_progress__free_unpacked(p, NULL);
    }
    s->result = *cli_stream_result(stream);
    vv_buf_fini(&reply);
    cli_stream_close(stream);
    return st == VV_NOT_FOUND && s->result.code == 0 ? VV_OK : st;
}

static void test_a_backup_tells_how_far_it_is(void **state)
{
    (void)state;
    svc_suite s;
    char repo[80];
    unsigned steps = 0;
    uint64_t id = 0;
    svc_suite_start(&s, NULL);
    assert_status(VV_UNSUPPORTED, stream_backup(&s, 1, &steps, &id));
    expect_code(&s, 12, "backup.dir");
    (void)snprintf(repo, sizeof repo, "%s-repo", s.dir);
    s.n.backup_dir = repo;
    assert_ok(svc_suite_put(&s, "t", "x", vv_slice_str("k"), vv_slice_str("v"), NULL), s.err);
    assert_ok(stream_backup(&s, 1, &steps, &id), s.err);
    assert_true(steps > 0);
    assert_int_equal(id, 1);
    assert_status(VV_INVALID, stream_backup(&s, 0, &steps, &id));
    expect_code(&s, 3, "needs one request");
    assert_status(VV_INVALID, stream_backup(&s, 2, &steps, &id));
    expect_code(&s, 3, "takes one request");
    svc_suite_stop(&s);
    svc_suite_remove(repo);
}

static void test_a_range_is_compacted_beside_everything(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, NULL);
    char key[8];
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < 50; i++) {
            (void)snprintf(key, sizeof key, "k%02d", i);
            assert_ok(svc_suite_put(&s, "t", "x", vv_slice_str(key), vv_slice_str("v"), NULL),
                      s.err);
        }
    Varve__V1__TableRef ref = VARVE__V1__TABLE_REF__INIT;
    ref.tenant = "t";
    ref.table = "x";
    Varve__V1__CompactTableRequest req = VARVE__V1__COMPACT_TABLE_REQUEST__INIT;
    req.table = &ref;
    req.begin = (ProtobufCBinaryData){3, (uint8_t *)"k10"};
    bool pending = true;
    for (int tries = 0; pending; tries++) {
        assert_ok(svc_suite_call(&s, "Admin/CompactTable", &req), s.err);
        Varve__V1__CompactTableResponse *r =
            svc_suite_reply(&s, &varve__v1__compact_table_response__descriptor);
        pending = r->is_pending;
        assert_true(r->range_bytes > 0);
        varve__v1__compact_table_response__free_unpacked(r, NULL);
        req.look = true;
        if (pending)
            vv_clock_sleep(s.n.env.clock, VV_NS_PER_MS);
    }
    vv_stats stats = {.size = sizeof stats};
    vv_stats_read(s.n.db, &stats);
    assert_true(stats.compactions > 0 && stats.level_files[0] == 0);
    svc_suite_expect(&s, "t", "x", "k20", "v");
    ref.table = "none";
    req.look = false;
    assert_status(VV_NOT_FOUND, svc_suite_call(&s, "Admin/CompactTable", &req));
    ref.table = "x";
    static uint8_t wide[VV_KEY_MAX + 1];
    req.end = (ProtobufCBinaryData){sizeof wide, wide};
    assert_status(VV_INVALID, svc_suite_call(&s, "Admin/CompactTable", &req));
    svc_suite_stop(&s);
}

static void test_malformed_requests(void **state)
{
    (void)state;
    static const char *const methods[] = {"Admin/CreateTable", "Admin/DescribeTable",
                                          "Admin/DropTable",   "Admin/ListTables",
                                          "Admin/AlterTable",  "Admin/CompactTable"};
    svc_suite s;
    svc_suite_start(&s, NULL);
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        const vv_slice bad[] = {BYTES(0x0a, 0x05, 'a'), BYTES(0x0b), BYTES(0x08, 0x01)};
        for (size_t k = 0; k < ARRAY_LEN(bad); k++) {
            assert_status(VV_INVALID, svc_suite_call_raw(&s, methods[i], bad[k]));
            expect_code(&s, 3, "the bytes are not a varve.v1.");
        }
    }
    svc_suite_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables_come_and_go),
        cmocka_unit_test(test_a_table_of_series),
        cmocka_unit_test(test_options_of_series_are_refused_by_name),
        cmocka_unit_test(test_a_table_is_altered),
        cmocka_unit_test(test_how_a_stream_is_archived),
        cmocka_unit_test(test_a_table_with_partitions),
        cmocka_unit_test(test_retention),
        cmocka_unit_test(test_lists_are_sorted_and_by_tenant),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_checkpoint_writes_the_memtables_out),
        cmocka_unit_test(test_a_range_is_compacted_beside_everything),
        cmocka_unit_test(test_a_table_of_the_tree_comes_back_from_an_archive),
        cmocka_unit_test(test_a_backup_tells_how_far_it_is),
        cmocka_unit_test(test_malformed_requests),
    };
    return cmocka_run_group_tests_name("svc_admin", tests, NULL, NULL);
}
