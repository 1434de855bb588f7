/*
 * query_message_test.c - questions about messages: columns, ranges, orders, aggregates; the same
 * answers when the messages lie in an object store, and how few blocks of them are fetched.
 */
#include "base/alloc.h"
#include "base/rng.h"
#include "object/object.h"
#include "query/query_test_util.h"
#include "varve/tier.h"

#define MESSAGES 400
#define SECOND VV_NS_PER_S
#define TEXT_MAX 4096
#define BEGIN_NS (INT64_C(1767225600) * SECOND) /* 2026-01-01 */

typedef struct world {
    vio_sim_disk *disk;
    vv_env env;
    objs_bucket *bucket;
    vv_object_store *objects;
    vv_tier_options tier;
    vv_db *db;
    vv_table *table;
    int64_t receive_ns[MESSAGES];
} world;

/* Message i is of partition i % 2, at offset i / 2. */
static void append(world *w, unsigned i)
{
    vv_error err = {0};
    vv_rng rng;
    char text[TEXT_MAX];
    char key[16];
    vv_rng_init(&rng, i + 1);
    int len = snprintf(text, sizeof text,
                       "{\"n\":%u,\"o\":{\"site\":\"%s\"},\"big\":12345678901234567890,\"pad\":\"",
                       i, i % 3 == 0 ? "north" : "south");
    for (unsigned p = 0; p < 2000; p++)
        text[len++] = (char)('a' + vv_rng_below(&rng, 26));
    len += snprintf(text + len, sizeof text - (size_t)len, "\"}");
    snprintf(key, sizeof key, "k%u", i % 5);
    const vv_attribute attributes[] = {
        {.name = vv_slice_str("level"), .type = VV_ATTRIBUTE_I64, .i64 = i % 7},
        {.name = vv_slice_str("http.status"), .type = VV_ATTRIBUTE_I64, .i64 = 200 + i % 2},
        {.name = vv_slice_str("at"),
         .type = VV_ATTRIBUTE_TIME,
         .i64 = BEGIN_NS + (int64_t)i * SECOND / 2},
        {.name = vv_slice_str("huge"), .type = VV_ATTRIBUTE_I64, .i64 = INT64_MAX - i},
        {.name = vv_slice_str("raw"),
         .type = VV_ATTRIBUTE_BYTES,
         .bytes = vv_slice_of((const uint8_t *)"\xff\x00", 2)},
    };
    vv_message m = {.key = vv_slice_str(key),
                    .value = vv_slice_of((const uint8_t *)text, (size_t)len),
                    .attributes = attributes,
                    .attribute_count = ARRAY_LEN(attributes),
                    .event_time_ns = i % 4 == 0 ? 0 : BEGIN_NS + (int64_t)(i - i % 4) * SECOND};
    vv_stream_append_options opt = VV_STREAM_APPEND_OPTIONS_INIT;
    vv_stream_append_result result;
    opt.partition = i % 2;
    vio_sim_advance(w->disk, SECOND);
    assert_ok(vv_stream_append(w->table, &m, 1, &opt, &result, &err), err);
    assert_int_equal(result.first_offset, i / 2);
    w->receive_ns[i] = result.receive_time_ns;
}

static int begin(void **state)
{
    vv_error err = {0};
    world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    vv_object_options object = VV_OBJECT_OPTIONS_INIT;
    vv_options opt = VV_OPTIONS_INIT;
    vv_table_options topt = VV_TABLE_OPTIONS_INIT;
    w->disk = vio_sim_disk_create();
    w->bucket = objs_bucket_create();
    assert_true(w->disk != NULL && w->bucket != NULL);
    assert_ok(vio_sim_open(w->disk, &(vio_sim_options){.seed = 1}, &w->env.io, &err), err);
    w->env.clock = vio_sim_clock(w->disk);
    w->env.seed = 1;
    object.max_retries = 0;
    assert_ok(objs_open_bucket(&w->env, w->bucket, &object, &w->objects, &err), err);
    w->tier = (vv_tier_options){.size = sizeof w->tier,
                                .objects = w->objects,
                                .rule = {.batch_bytes = 8u << 20, .local_ns = -1}};
    opt.log_segment_size = 1 << 20;
    opt.log_ring_size = 1 << 20;
    opt.shard_count = 2;
    opt.durability = VV_DURABLE_NONE;
    opt.tier = &w->tier;
    assert_ok(db_open_env(&w->env, &opt, &w->db, &err), err);
    topt.kind = VV_TABLE_STREAM;
    topt.partitions = 2;
    assert_ok(vv_table_create(w->db, "t", "events", &topt, &w->table, &err), err);
    for (unsigned i = 0; i < MESSAGES; i++)
        append(w, i);
    *state = w;
    return 0;
}

static int end(void **state)
{
    vv_error err = {0};
    world *w = *state;
    vv_table_close(w->table);
    assert_ok(vv_db_close(w->db, &err), err);
    vv_object_store_close(w->objects);
    objs_bucket_destroy(w->bucket);
    vio_destroy(w->env.io);
    vio_sim_disk_destroy(w->disk);
    free(w);
    return 0;
}

static void archive(world *w)
{
    vv_error err = {0};
    assert_ok(vv_tier_run(w->db, w->table, &err), err);
    objs_bucket_set(w->bucket, &(objs_memory_options){0});
}

static query_env env_of(const world *w)
{
    return (query_env){.table = w->table, .clock = w->env.clock, .deadline_ns = INT64_MAX};
}

/* A question in a line. */
typedef struct question {
    const char *filter[3][3]; /* column, operator, value as JSON */
    const char *order;        /* "-offset" */
    int64_t limit;
    unsigned from_s; /* range of receive times: of the n-th message; 0: none */
    unsigned to_s;
    const char *want; /* ids */
} question;

static int64_t fail_after = -1; /* allocations of an answer */

/* The ids, one behind the other. */
static vv_status ask(const world *w, const question *q, char *out, size_t size, query_stats *stats,
                     vv_error *err)
{
    query_filter filters[3];
    vv_buf values[3];
    query_ask a = {.limit = q->limit == 0 ? QUERY_NO_LIMIT : q->limit, .filters = filters};
    query_order order = {.descending = q->order != NULL && q->order[0] == '-'};
    query_env env = env_of(w);
    for (; a.filter_count < 3 && q->filter[a.filter_count][0] != NULL; a.filter_count++) {
        const char *const *f = q->filter[a.filter_count];
        filters[a.filter_count] = (query_filter){vv_slice_str(f[0]), vv_slice_str(f[1]),
                                                 value_of(f[2], &values[a.filter_count])};
    }
    if (q->order != NULL) {
        order.column = vv_slice_str(q->order + order.descending);
        a.order = &order;
        a.order_count = 1;
    }
    a.has_start = q->from_s > 0;
    a.has_end = q->to_s > 0;
    a.start_ns = w->receive_ns[q->from_s];
    a.end_ns = w->receive_ns[q->to_s];
    vv_alloc_fail_after(fail_after, 0);
    vv_status st = ask_ids(&a, &env, out, size, stats, err);
    vv_alloc_fail_after(-1, 0);
    for (size_t i = 0; i < a.filter_count; i++)
        vv_buf_fini(&values[i]);
    return st;
}

static const question questions[] = {
    {.filter = {{"offset", "<", "2"}}, .want = "0/0 0/1 1/0 1/1"},
    {.filter = {{"_id", "=", "\"1/150\""}}, .want = "1/150"},
    {.filter = {{"_id", "=", "\"150\""}}, .want = ""},
    {.filter = {{"_id", "in", "[\"1/3\",\"0/7\"]"}}, .want = "0/7 1/3"},
    {.filter = {{"partition", "=", "1"}, {"offset", ">=", "198"}}, .want = "1/198 1/199"},
    {.filter = {{"partition", "=", "2"}}, .want = ""},
    {.filter = {{"partition", "=", "\"1\""}}, .want = ""},
    {.filter = {{"offset", "in", "[7,\"x\",5]"}}, .want = "0/5 0/7 1/5 1/7"},
    {.filter = {{"offset", ">", "5.5"}, {"offset", "<=", "7"}}, .want = "0/6 0/7 1/6 1/7"},
    {.filter = {{"offset", "<", "-1"}}, .want = ""},
    {.from_s = 396, .want = "0/198 0/199 1/198 1/199"},
    {.from_s = 100, .to_s = 103, .want = "0/50 0/51 1/50"},
    {.filter = {{"key", "=", "\"k3\""}, {"offset", "<", "5"}}, .want = "0/4 1/1"},
    {.filter = {{"value.n", "in", "[17, 30]"}}, .want = "0/15 1/8"},
    {.filter = {{"value.o.site", "=", "\"north\""}, {"offset", "<", "4"}}, .want = "0/0 0/3 1/1"},
    {.filter = {{"value.big", "=", "\"12345678901234567890\""}}, .limit = 1, .want = "0/0"},
    {.filter = {{"attributes.level", "=", "6"}, {"offset", "<", "11"}}, .want = "0/3 0/10 1/6"},
    {.filter = {{"attributes.http.status", "=", "201"}, {"offset", "<", "1"}}, .want = "1/0"},
    {.filter = {{"attributes.at", "<", "\"2026-01-01T00:00:01.5Z\""}}, .want = "0/0 0/1 1/0"},
    {.filter = {{"attributes.huge", "=", "\"9223372036854775806\""}}, .want = "1/0"},
    {.filter = {{"attributes.raw", "=", "\"/wA=\""}, {"offset", "=", "9"}}, .want = "0/9 1/9"},
    {.filter = {{"attributes.none", "!=", "null"}}, .want = ""},
    {.filter = {{"event", "=", "\"2026-01-01T00:06:36Z\""}}, .want = "0/199 1/198 1/199"},
    {.filter = {{"size", "<", "10"}}, .want = ""},
    {.filter = {{"value", "contains", "\"north\""}}, .want = ""}, /* a struct holds no text */
    {.filter = {{"offset", "<", "2"}}, .order = "-received", .want = "1/1 0/1 1/0 0/0"},
    {.filter = {{"offset", "<", "2"}}, .order = "received", .want = "0/0 1/0 0/1 1/1"},
    {.filter = {{"offset", "<", "12"}}, .order = "-offset", .limit = 3, .want = "1/11 0/11 1/10"},
    {.filter = {{"offset", ">", "8"}, {"offset", "<", "11"}},
     .order = "attributes.http.status",
     .want = "0/9 0/10 1/9 1/10"},
    {.limit = 2, .want = "0/0 0/1"},
};

static void answers_before_and_after(void **state)
{
    world *w = *state;
    for (int archived = 0; archived < 2; archived++) {
        for (size_t i = 0; i < ARRAY_LEN(questions); i++) {
            const question *q = &questions[i];
            vv_error err = {0};
            char got[20000];
            query_stats stats;
            assert_ok(ask(w, q, got, sizeof got, &stats, &err), err);
            if (strcmp(got, q->want) != 0)
                fail_msg("%s %s %s, archived %d: '%.200s' instead of '%s'",
                         q->filter[0][0] == NULL ? "" : q->filter[0][0],
                         q->filter[0][0] == NULL ? "" : q->filter[0][1],
                         q->filter[0][0] == NULL ? "" : q->filter[0][2], archived, got, q->want);
        }
        archive(w);
    }
}

/* What says where to look keeps from looking elsewhere. */
static void only_what_is_needed_is_fetched(void **state)
{
    world *w = *state;
    const struct {
        question q;
        uint64_t requests; /* at most */
        uint64_t scanned;  /* at most */
    } cases[] = {
        {{.filter = {{"_id", "=", "\"0/150\""}}}, 2, 1},
        {{.filter = {{"partition", "=", "1"}, {"offset", ">=", "90"}, {"offset", "<", "92"}}},
         3,
         2},
        {{.from_s = 390, .to_s = 394}, 2, 4},
        {{.filter = {{"event", ">=", "\"2026-01-01T00:06:36Z\""}}}, 2, 8},
        {{.filter = {{"offset", ">=", "200"}}}, 0, 0},
        {{.filter = {{"partition", "=", "9"}}}, 0, 0},
        {{.filter = {{"offset", "=", "1"}, {"offset", "=", "2"}}}, 0, 0},
    };
    archive(w);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_error err = {0};
        char got[2000];
        query_stats stats;
        objs_bucket_set(w->bucket, &(objs_memory_options){0});
        assert_ok(ask(w, &cases[i].q, got, sizeof got, &stats, &err), err);
        if (objs_bucket_requests(w->bucket) > cases[i].requests ||
            stats.scanned_rows > cases[i].scanned)
            fail_msg("question %zu took %d requests and looked at %d messages", i,
                     (int)objs_bucket_requests(w->bucket), (int)stats.scanned_rows);
    }
}

static void what_is_refused(void **state)
{
    world *w = *state;
    const struct {
        question q;
        const char *why;
    } cases[] = {
        {{.filter = {{"levle", "=", "1"}}}, "did you mean"},
        {{.filter = {{"offste", "=", "1"}}}, "did you mean 'offset'"},
        {{.filter = {{"offset.x", "=", "1"}}}, "nothing is in it"},
        {{.filter = {{"attributes.", "=", "1"}}}, "needs a name"},
        {{.filter = {{"received", "=", "\"soon\""}}}, "is no time"},
        {{.filter = {{"event", "<", "\"soon\""}}}, "is no time"},
        {{.filter = {{"value..x", "=", "1"}}}, "is empty"},
        {{.filter = {{"_offset", "=", "1"}}}, "begin with '_'"},
        {{.order = "nothing"}, "did you mean"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_error err = {0};
        char got[200];
        assert_status(VV_INVALID, ask(w, &cases[i].q, got, sizeof got, NULL, &err));
        if (strstr(err.msg, cases[i].why) == NULL)
            fail_msg("question %zu: %s", i, err.msg);
    }
    query_env env = env_of(w);
    query *q = NULL;
    vv_error err = {0};
    assert_status(VV_UNSUPPORTED, query_open(&(query_ask){.version = 5}, &env, &q, &err));
}

/* The fields of the one message that is asked for, as JSON. */
static void expect_body(const world *w, const vv_slice *columns, size_t count, const char *id,
                        const char *want)
{
    vv_error err = {0};
    query *q = NULL;
    query_row row;
    query_env env = env_of(w);
    vv_buf value;
    vv_buf json;
    vv_buf_init(&json, 1 << 20);
    const query_filter filter = {vv_slice_str("_id"), vv_slice_str("="), value_of(id, &value)};
    const query_ask a = {
        .filters = &filter, .filter_count = 1, .projection = columns, .projection_count = count};
    assert_ok(query_open(&a, &env, &q, &err), err);
    assert_ok(query_next(q, &row, &err), err);
    assert_ok(json_put_struct(&json, row.body), err);
    vv_buf_append_u8(&json, 0);
    if (strcmp((const char *)json.data, want) != 0)
        fail_msg("'%s' instead of '%s'", (const char *)json.data, want);
    query_close(q);
    vv_buf_fini(&json);
    vv_buf_fini(&value);
}

static void columns_of_the_answer(void **state)
{
    world *w = *state;
    vv_error err = {0};
    const vv_slice some[] = {vv_slice_str("offset"), vv_slice_str("attributes.http.status"),
                             vv_slice_str("value.n"), vv_slice_str("_id")};
    const vv_slice times[] = {vv_slice_str("event"), vv_slice_str("key")};
    const vv_slice none[] = {vv_slice_str("_id")};
    expect_body(w, some, 4, "\"1/2\"",
                "{\"offset\":2,\"value\":{\"n\":5},\"attributes\":{\"http.status\":201}}");
    expect_body(w, times, 2, "\"1/2\"", "{\"event\":\"2026-01-01T00:00:04Z\",\"key\":\"k0\"}");
    expect_body(w, none, 1, "\"1/2\"", "{}");
    static const struct {
        const char *value;
        size_t len;
        const char *type;
        const char *want;
    } values[] = {
        {"plain [text]", 12, "", "{\"size\":12,\"value\":\"plain [text]\"}"},
        {"12", 2, "", "{\"size\":2,\"value\":\"12\"}"},
        {"12", 2, "application/json", "{\"size\":2,\"value\":12}"},
        {" [1,\"x\"]", 8, "", "{\"size\":8,\"value\":[1,\"x\"]}"},
        {"{\"a\":", 5, "application/json", "{\"size\":5,\"value\":\"{\\\"a\\\":\"}"},
        {"\xff\xfe", 2, "", "{\"size\":2,\"value_base64\":\"//4=\"}"},
        {"", 0, "", "{\"size\":0,\"value\":\"\"}"},
    };
    const vv_slice value[] = {vv_slice_str("value"), vv_slice_str("size"),
                              vv_slice_str("value_base64")};
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        char id[32];
        vv_stream_append_result r;
        const vv_message m = {.value = vv_slice_of((const uint8_t *)values[i].value, values[i].len),
                              .content_type = vv_slice_str(values[i].type)};
        assert_ok(vv_stream_append(w->table, &m, 1, NULL, &r, &err), err);
        snprintf(id, sizeof id, "\"%u/%llu\"", r.partition, (unsigned long long)r.first_offset);
        expect_body(w, value, 3, id, values[i].want);
    }
}

/* ---- aggregates ---- */

static int put_group(void *ctx, const struct_value *values)
{
    char *out = ctx;
    size_t at = strlen(out);
    for (size_t i = 0; i < 3; i++)
        at += (size_t)snprintf(out + at, 400 - at, "%s%g",
                               i == 0 && at > 0 ? "; "
                               : i > 0          ? " "
                                                : "",
                               values[i].type == STRUCT_NUMBER ? values[i].number : -1);
    return 0;
}

static void groups_of_messages(void **state)
{
    world *w = *state;
    const vv_slice group[] = {vv_slice_str("attributes.level")};
    const query_aggregate aggregates[] = {
        {.function = vv_slice_str("count")},
        {vv_slice_str("sum"), vv_slice_str("value.n"), vv_slice_str("total")}};
    vv_buf limit;
    vv_buf low;
    const query_filter few = {vv_slice_str("offset"), vv_slice_str("<"), value_of("7", &limit)};
    const query_filter having = {vv_slice_str("attributes.level"), vv_slice_str("<"),
                                 value_of("3", &low)};
    const query_ask a = {.filters = &few,
                         .filter_count = 1,
                         .group_by = group,
                         .group_count = 1,
                         .aggregates = aggregates,
                         .aggregate_count = 2,
                         .having = &having,
                         .having_count = 1};
    for (int archived = 0; archived < 2; archived++) {
        char got[400] = "";
        vv_error err = {0};
        query_stats stats;
        query_env env = env_of(w);
        assert_ok(query_aggregate_run(&a, &env, put_group, got, &stats, &err), err);
        assert_string_equal(got, "0 2 7; 1 2 9; 2 2 11");
        assert_int_equal(stats.scanned_rows, 14);
        archive(w);
    }
    vv_buf_fini(&limit);
    vv_buf_fini(&low);
}

/* ---- what goes wrong ---- */

/* A payload that becomes larger as JSON is counted while it is looked into, and not beyond. */
static void large_payloads_are_counted(void **state)
{
    world *w = *state;
    vv_error err = {0};
    query *q = NULL;
    query_row row;
    query_env env = env_of(w);
    vv_buf text;
    vv_buf value;
    vv_budget budget;
    vv_buf_init(&text, 1 << 20);
    for (unsigned i = 0; i < 100000; i++)
        vv_buf_append_str(&text, i == 0 ? "[1" : ",1");
    vv_buf_append_str(&text, "]");
    const vv_message m = {.value = vv_buf_slice(&text)};
    vv_stream_append_options opt = VV_STREAM_APPEND_OPTIONS_INIT;
    opt.partition = 0;
    assert_ok(vv_stream_append(w->table, &m, 1, &opt, NULL, &err), err);
    assert_ok(
        vv_stream_append(w->table, &(vv_message){.key = vv_slice_str("x")}, 1, &opt, NULL, &err),
        err);
    const query_filter filter = {vv_slice_str("offset"), vv_slice_str(">="),
                                 value_of("200", &value)};
    const query_ask a = {.filters = &filter, .filter_count = 1};
    vv_budget_init(&budget, 64u << 20);
    env.budget = &budget;
    assert_ok(query_open(&a, &env, &q, &err), err);
    assert_ok(query_next(q, &row, &err), err);
    assert_true(vv_budget_part_used(&budget, VV_BUDGET_QUERY) >= 1000000);
    assert_ok(query_next(q, &row, &err), err);
    assert_int_equal(vv_budget_part_used(&budget, VV_BUDGET_QUERY), 0);
    query_close(q);
    vv_budget_init(&budget, 1u << 20);
    assert_ok(query_open(&a, &env, &q, &err), err);
    assert_status(VV_BUSY, query_next(q, &row, &err));
    assert_non_null(strstr(err.msg, "message 0/200"));
    query_close(q);
    assert_int_equal(vv_budget_part_used(&budget, VV_BUDGET_QUERY), 0);
    vv_buf_fini(&value);
    vv_buf_fini(&text);
}

static void every_allocation_fails_once(void **state)
{
    world *w = *state;
    const question *q = &questions[14]; /* looks into payloads */
    vv_error err = {0};
    char got[400];
    archive(w);
    uint64_t before = vv_alloc_count();
    assert_ok(ask(w, q, got, sizeof got, NULL, &err), err);
    const int64_t sites = (int64_t)(vv_alloc_count() - before);
    assert_true(sites > 10);
    for (fail_after = 0; fail_after < sites; fail_after++) {
        vv_status st = ask(w, q, got, sizeof got, NULL, &err);
        if (st == VV_OK)
            assert_string_equal(got, q->want);
        else if (st != VV_NO_MEMORY && st != VV_BUSY)
            fail_msg("allocation %d: %s", (int)fail_after, err.msg);
    }
    fail_after = -1;
}

static void a_store_that_is_away(void **state)
{
    world *w = *state;
    vv_error err = {0};
    char got[400];
    archive(w);
    objs_bucket_set(w->bucket, &(objs_memory_options){.outage = true});
    assert_int_not_equal(ask(w, &questions[14], got, sizeof got, NULL, &err), VV_OK);
    assert_true(err.msg[0] != '\0');
    objs_bucket_set(w->bucket, &(objs_memory_options){0});
    assert_ok(ask(w, &questions[14], got, sizeof got, NULL, &err), err);
    assert_string_equal(got, questions[14].want);
}

/* One answer is of one moment, over all partitions. */
static void a_question_reads_one_moment(void **state)
{
    world *w = *state;
    vv_error err = {0};
    query *q = NULL;
    query_row row;
    query_env env = env_of(w);
    unsigned count = 0;
    assert_ok(query_open(&(query_ask){.limit = QUERY_NO_LIMIT}, &env, &q, &err), err);
    assert_ok(query_next(q, &row, &err), err);
    const vv_message m = {.value = vv_slice_str("late")};
    vv_stream_append_options opt = VV_STREAM_APPEND_OPTIONS_INIT;
    opt.partition = 1;
    assert_ok(vv_stream_append(w->table, &m, 1, &opt, NULL, &err), err);
    do
        count++;
    while (query_next(q, &row, &err) == VV_OK);
    assert_int_equal(count, MESSAGES);
    query_close(q);
}

static void the_plan_says_where(void **state)
{
    world *w = *state;
    vv_error err = {0};
    query *q = NULL;
    query_env env = env_of(w);
    query_plan_step steps[QUERY_PLAN_STEPS_MAX];
    vv_buf value;
    const query_filter filter = {vv_slice_str("offset"), vv_slice_str(">="), value_of("5", &value)};
    const query_order order = {vv_slice_str("key"), true};
    const query_ask a = {
        .filters = &filter, .filter_count = 1, .order = &order, .order_count = 1, .limit = 3};
    assert_ok(query_open(&a, &env, &q, &err), err);
    size_t n = query_explain(q, steps);
    assert_string_equal(steps[n - 1].node, "MessageScan");
    assert_string_equal(steps[n - 1].description, "partitions 0 to 1, from offset 5");
    assert_string_equal(steps[1].node, "TopSort");
    query_close(q);
    vv_buf_fini(&value);
}

#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(answers_before_and_after),
        T(only_what_is_needed_is_fetched),
        T(what_is_refused),
        T(columns_of_the_answer),
        T(groups_of_messages),
        T(large_payloads_are_counted),
        T(every_allocation_fails_once),
        T(a_store_that_is_away),
        T(a_question_reads_one_moment),
        T(the_plan_says_where),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
