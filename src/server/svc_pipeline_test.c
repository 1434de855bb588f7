/*
 * svc_pipeline_test.c - what is told of the way of messages: /api/v1/pipeline, /health as JSON,
 * figures of streams, traces of clients, and the object store that does not answer.
 */
#include <cJSON.h>

#include "base/clock.h"
#include "io/env.h"
#include "server/config.h"
#include "server/evlog.h"
#include "server/svc_event.h"
#include "server/svc_figures.h"
#include "server/svc_suite.h"
#include "server/svc_suite_http.h"
#include "server/svc_tier.h"
#include "varve/stream.h"

static void append(svc_suite *s, const char *name, size_t count)
{
    vv_table *table = NULL;
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.kind = VV_TABLE_STREAM;
    vv_status st = vv_table_create(s->n.db, "plant", name, &opt, &table, &s->err);
    assert_ok(st, s->err);
    vv_message m = {.value = vv_slice_str("what happened")};
    vv_stream_append_options append_opt = VV_STREAM_APPEND_OPTIONS_INIT;
    for (size_t i = 0; i < count; i++) {
        vv_stream_append_result r;
        assert_ok(vv_stream_append(table, &m, 1, &append_opt, &r, &s->err), s->err);
    }
    if (count > 1)
        assert_ok(
            vv_stream_commit(table, 0, vv_slice_str("reader"), 1, VV_DURABLE_DEFAULT, &s->err),
            s->err);
    vv_table_close(table);
}

static cJSON *get_json(svc_suite *s, const char *path)
{
    int status = 0;
    vv_buf_reset(&s->reply);
    assert_ok(cli_http_get(s->address, path, SUITE_TIMEOUT_NS, &status, &s->reply, &s->err),
              s->err);
    assert_int_equal(status, 200);
    cJSON *json = cJSON_ParseWithLength((const char *)s->reply.data, s->reply.len);
    if (json == NULL)
        fail_msg("%s: %.*s", path, (int)s->reply.len, (const char *)s->reply.data);
    return json;
}

static double number(const cJSON *in, const char *name)
{
    const cJSON *item = cJSON_GetObjectItem(in, name);
    assert_non_null(item);
    assert_true(cJSON_IsNumber(item));
    return item->valuedouble;
}

static void the_pipeline_is_told_stage_by_stage(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, NULL);
    append(&s, "events", 3);
    cJSON *json = get_json(&s, "/api/v1/pipeline");
    assert_true(cJSON_IsTrue(cJSON_GetObjectItem(json, "ready")));
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(json, "objectStore")));
    const cJSON *stages = cJSON_GetObjectItem(json, "stages");
    assert_true(cJSON_GetArraySize(stages) >= 2);
    const cJSON *accept = cJSON_GetArrayItem(stages, 0);
    assert_string_equal(cJSON_GetObjectItem(accept, "name")->valuestring, "accept");
    assert_true(number(accept, "queueLimitBytes") > 0);
    const cJSON *stream = cJSON_GetArrayItem(cJSON_GetObjectItem(json, "streams"), 0);
    assert_string_equal(cJSON_GetObjectItem(stream, "table")->valuestring, "events");
    assert_int_equal(number(stream, "messages"), 3);
    assert_int_equal(number(stream, "kept"), 3);
    const cJSON *position = cJSON_GetArrayItem(cJSON_GetObjectItem(stream, "positions"), 0);
    assert_string_equal(cJSON_GetObjectItem(position, "name")->valuestring, "reader");
    assert_int_equal(number(position, "lag"), 2);
    assert_int_equal(number(json, "streamsBeyond"), 0);
    cJSON_Delete(json);
    svc_suite_stop(&s);
}

/* More tables than are told apart. */
static void figures_of_streams_are_bounded(void **state)
{
    (void)state;
    svc_suite s;
    vv_buf text;
    svc_suite_start(&s, NULL);
    for (unsigned i = 0; i < FIG_STREAMS_MAX + 3; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "t%03u", i);
        append(&s, name, i == 0 ? 2 : 0);
    }
    vv_buf_init(&text, 1 << 20);
    svc_stream_figures(&s.n, &text);
    vv_buf_append_u8(&text, 0);
    const char *t = (const char *)text.data;
    assert_non_null(strstr(t, "varve_stream_messages_total{tenant=\"plant\",table=\"t000\"} 2\n"));
    assert_non_null(strstr(t, "varve_stream_position_lag_messages{tenant=\"plant\",table=\"t000\","
                              "position=\"reader\"} 1\n"));
    assert_non_null(strstr(t, "\nvarve_stream_tables 53\n"));
    assert_non_null(strstr(t, "\nvarve_stream_tables_beyond 3\n"));
    unsigned rows = 0;
    for (const char *p = t; (p = strstr(p, "varve_stream_kept_messages{")) != NULL; p++)
        rows++;
    assert_int_equal(rows, FIG_STREAMS_MAX);
    vv_buf_fini(&text);
    svc_suite_stop(&s);
}

static void health_has_figures_for_who_asks(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, NULL);
    svc_suite_answer answer;
    assert_ok(svc_suite_put(&s, "t", "x", vv_slice_str("k"), vv_slice_str("v"), NULL), s.err);
    node_note_write(&s.n, VV_IO);
    svc_suite_ask(&s, "GET", "/health HTTP/1.1\r\nAccept: text/html, application/json\r\nX-More:",
                  vv_slice_of(NULL, 0), &answer);
    assert_int_equal(answer.status, 200);
    cJSON *json = cJSON_ParseWithLength((const char *)answer.body.data, answer.body.len);
    assert_non_null(json);
    assert_true(cJSON_IsTrue(cJSON_GetObjectItem(json, "is_healthy")));
    assert_true(number(json, "total_processed") >= 1);
    assert_int_equal(number(json, "failed_writes"), 1);
    assert_int_equal(number(json, "queue_size"), 0);
    assert_true(number(json, "last_write") > 1e9);
    cJSON_Delete(json);
    svc_suite_done(&answer);
    svc_suite_ask(&s, "GET", "/health", vv_slice_of(NULL, 0), &answer);
    assert_string_equal((const char *)answer.body.data, "ok\n");
    svc_suite_done(&answer);
    svc_suite_stop(&s);
}

/* An object store of a node, by its keys. */
static void open_tier(svc_suite *s, config *c, const char *const *sets, size_t count)
{
    config_init(c);
    for (size_t i = 0; i < count; i++)
        assert_ok(config_set(c, sets[i], &s->err), s->err);
    assert_ok(config_check(c, &s->err), s->err);
    assert_ok(svc_tier_open(&s->n, c, &s->err), s->err);
}

/* Nobody listens there: the node is up, not ready, and says why. */
static void an_object_store_that_is_not_there_is_told(void **state)
{
    (void)state;
    static const char *const sets[] = {
        "storage.backend=s3",    "storage.bucket=bkt",   "storage.endpoint=http://127.0.0.1:9",
        "storage.access_key=k",  "storage.secret_key=s", "retry.initial_backoff_ms=1",
        "retry.max_backoff_ms=1"};
    svc_suite s;
    static config c;
    char why[NODE_WHY_MAX];
    svc_tier_state tier = {0};
    svc_suite_start(&s, NULL);
    assert_true(node_is_ready(&s.n, why, sizeof why));
    assert_false(svc_tier_state_read(&s.n, &tier));
    open_tier(&s, &c, sets, ARRAY_LEN(sets));
    assert_false(node_is_ready(&s.n, why, sizeof why));
    assert_non_null(strstr(why, "never reached: it was not asked yet"));
    assert_ok(svc_tier_start(&s.n, &s.err), s.err);
    while (tier.questions == 0) {
        assert_true(svc_tier_state_read(&s.n, &tier));
        vv_clock_sleep(vv_clock_real(), VV_NS_PER_MS);
    }
    assert_false(tier.has_answered);
    assert_false(node_is_ready(&s.n, why, sizeof why));
    assert_non_null(strstr(why, "s3://bkt/messages"));
    cJSON *json = get_json(&s, "/api/v1/pipeline");
    assert_true(cJSON_IsFalse(cJSON_GetObjectItem(json, "ready")));
    assert_true(cJSON_IsFalse(
        cJSON_GetObjectItem(cJSON_GetObjectItem(json, "objectStore"), "hasAnswered")));
    cJSON_Delete(json);
    svc_tier_stop(&s.n);
    svc_suite_stop(&s);
    svc_tier_close(&s.n);
}

static void an_object_store_that_answers_makes_ready(void **state)
{
    (void)state;
    static const char *const sets[] = {"storage.backend=memory"};
    svc_suite s;
    static config c;
    char why[NODE_WHY_MAX];
    svc_suite_start(&s, NULL);
    open_tier(&s, &c, sets, ARRAY_LEN(sets));
    assert_false(node_is_ready(&s.n, why, sizeof why));
    assert_ok(svc_tier_start(&s.n, &s.err), s.err);
    while (!node_is_ready(&s.n, why, sizeof why))
        vv_clock_sleep(vv_clock_real(), VV_NS_PER_MS);
    vv_buf text;
    vv_buf_init(&text, 1 << 20);
    svc_tier_figures(&s.n, &text);
    vv_buf_append_u8(&text, 0);
    assert_non_null(strstr((const char *)text.data, "\nvarve_object_reachable 1\n"));
    assert_non_null(strstr((const char *)text.data, "varve_object_calls_total{op=\"list\"} 1\n"));
    vv_buf_fini(&text);
    svc_tier_stop(&s.n);
    svc_suite_stop(&s);
    svc_tier_close(&s.n);
}

static void a_store_that_cannot_be_is_refused(void **state)
{
    (void)state;
    static config c;
    vv_error err;
    config_init(&c);
    assert_ok(config_set(&c, "storage.backend=/nowhere/mine.so", &err), err);
    assert_true(svc_tier_check(&c, &err) != VV_OK);
    assert_int_equal(strncmp(err.msg, "storage.backend: ", 17), 0);
    node n = {.env.clock = vv_clock_real(), .env.threads = vv_threads_real()};
    assert_true(svc_tier_open(&n, &c, &err) != VV_OK);
    svc_tier_stop(&n);
    svc_tier_close(&n);
    assert_null(n.tier);
}

static void traces_are_read_strictly(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool good;
    } cases[] = {
        {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", true},
        {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x", false},
        {"01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what", true},
        {"01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01what", false},
        {"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false},
        {"00-00000000000000000000000000000000-b7ad6b7169203331-01", false},
        {"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", false},
        {"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", false},
        {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-", false},
        {"", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        svc_trace t;
        if (svc_trace_parse(vv_slice_str(cases[i].text), &t) != cases[i].good ||
            (t.trace_id[0] != '\0') != cases[i].good)
            fail_msg("'%s'", cases[i].text);
    }
    svc_trace t;
    assert_true(svc_trace_parse(vv_slice_str(cases[0].text), &t));
    assert_string_equal(t.trace_id, "0af7651916cd43dd8448eb211c80319c");
    assert_string_equal(t.span_id, "b7ad6b7169203331");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_pipeline_is_told_stage_by_stage),
        cmocka_unit_test(figures_of_streams_are_bounded),
        cmocka_unit_test(health_has_figures_for_who_asks),
        cmocka_unit_test(an_object_store_that_is_not_there_is_told),
        cmocka_unit_test(an_object_store_that_answers_makes_ready),
        cmocka_unit_test(a_store_that_cannot_be_is_refused),
        cmocka_unit_test(traces_are_read_strictly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
