/*
 * svc_series_test.c - varve.v1.Series over a whole node, requests packed by protobuf-c.
 */
#include <string.h>

#include "server/svc_suite.h"
#include "varve/v1/series.pb-c.h"

#define T0 (INT64_C(1700000000) * VV_NS_PER_S)
#define SERIES "/varve.v1.Series/"

/* One series with count samples, a second apart, of the values first, first + 1, ... */
typedef struct load {
    Varve__V1__SeriesLabel label[2];
    Varve__V1__SeriesLabel *labels[2];
    Varve__V1__SeriesSamples samples;
    Varve__V1__SeriesSamples *series[1];
    Varve__V1__IngestSamplesRequest request;
    int64_t delta[10000];
    double value[10000];
    uint32_t quality[10000];
} load;

static load *make_load(const char *name, const char *sensor, size_t count, double first)
{
    load *l = calloc(1, sizeof *l);
    assert_non_null(l);
    const char *text[2][2] = {{"__name__", name}, {"sensor", sensor}};
    varve__v1__series_samples__init(&l->samples);
    varve__v1__ingest_samples_request__init(&l->request);
    for (size_t i = 0; i < 2; i++) {
        varve__v1__series_label__init(&l->label[i]);
        l->label[i].name = (char *)(uintptr_t)text[i][0];
        l->label[i].value = (char *)(uintptr_t)text[i][1];
        l->labels[i] = &l->label[i];
    }
    for (size_t i = 0; i < count; i++) {
        l->delta[i] = i == 0 ? T0 : VV_NS_PER_S;
        l->value[i] = first + (double)i;
    }
    l->samples.labels = l->labels;
    l->samples.n_labels = 2;
    l->samples.time_delta = l->delta;
    l->samples.n_time_delta = count;
    l->samples.f64 = l->value;
    l->samples.n_f64 = count;
    l->series[0] = &l->samples;
    l->request.series = l->series;
    l->request.n_series = 1;
    l->request.table = (char *)(uintptr_t) "sensors";
    return l;
}

static vv_status send_load(svc_suite *s, load *l, uint64_t accepted, uint64_t refused)
{
    vv_status st = svc_suite_call(s, "Series/IngestSamples", &l->request);
    free(l);
    if (st != VV_OK)
        return st;
    Varve__V1__IngestSamplesResponse *r =
        svc_suite_reply(s, &varve__v1__ingest_samples_response__descriptor);
    assert_int_equal(r->accepted, accepted);
    assert_int_equal(r->refused, refused);
    assert_int_equal(refused > 0, r->first_refusal[0] != '\0');
    assert_string_equal(svc_suite_trailer(s, "varve-durability"), "sync");
    protobuf_c_message_free_unpacked(&r->base, NULL);
    return VV_OK;
}

static cli_stream *open_stream(svc_suite *s, const char *path, const void *request)
{
    cli_stream *stream = NULL;
    const ProtobufCMessage *message = request;
    uint8_t bytes[4096];
    assert_true(protobuf_c_message_get_packed_size(message) <= sizeof bytes);
    size_t len = protobuf_c_message_pack(message, bytes);
    assert_ok(cli_stream_open(s->conn, path, SUITE_TIMEOUT_NS, &stream, &s->err), s->err);
    assert_ok(cli_stream_send(stream, vv_slice_of(bytes, len), &s->err), s->err);
    cli_stream_half_close(stream);
    return stream;
}

/* The next message; NULL at a clean end, or when the call failed with *status. */
static void *next_message(svc_suite *s, cli_stream *stream, const ProtobufCMessageDescriptor *desc,
                          vv_status *status)
{
    *status = cli_stream_receive(stream, true, &s->reply, &s->err);
    return *status == VV_OK ? svc_suite_reply(s, desc) : NULL;
}

/* ---- ingest ---- */

static void test_samples_go_in_and_come_out(void **state)
{
    (void)state;
    svc_suite s;
    vv_status st;
    svc_suite_start(&s, NULL);
    assert_ok(send_load(&s, make_load("temp", "a", 10000, 5), 10000, 0), s.err);
    assert_ok(send_load(&s, make_load("temp", "a", 10000, 5), 10000, 0), s.err); /* a retry */
    assert_ok(send_load(&s, make_load("temp", "b", 10, 0), 10, 0), s.err);
    SUITE_REF(ref, "", "sensors");
    Varve__V1__Matcher m = VARVE__V1__MATCHER__INIT;
    Varve__V1__Matcher *ms[] = {&m};
    Varve__V1__QuerySeriesRequest q = VARVE__V1__QUERY_SERIES_REQUEST__INIT;
    m.name = (char *)(uintptr_t) "sensor";
    m.value = (char *)(uintptr_t) "a";
    q.table = &ref;
    q.matchers = ms;
    q.n_matchers = 1;
    q.start_ns = T0;
    q.end_ns = T0 + 9000 * VV_NS_PER_S;
    cli_stream *stream = open_stream(&s, SERIES "QuerySeries", &q);
    Varve__V1__SeriesBlock *b;
    size_t count = 0;
    bool is_last = false;
    while ((b = next_message(&s, stream, &varve__v1__series_block__descriptor, &st)) != NULL) {
        assert_int_equal(b->n_labels, 2);
        assert_int_equal(b->n_time_delta_ns, b->n_f64);
        assert_int_equal(b->time_delta_ns[0], T0 + (int64_t)count * VV_NS_PER_S);
        assert_true(b->f64[0] == 5 + (double)count);
        count += b->n_f64;
        is_last = b->last_of_series;
        protobuf_c_message_free_unpacked(&b->base, NULL);
    }
    assert_int_equal(st, VV_NOT_FOUND);
    assert_int_equal(count, 9000);
    assert_true(is_last);
    cli_stream_close(stream);
    svc_suite_stop(&s);
}

static void test_ingest_refused(void **state)
{
    (void)state;
    svc_suite s;
    svc_suite_start(&s, NULL);
    load *l = make_load("temp", "a", 3, 0);
    l->delta[2] = INT64_C(8000000000) * VV_NS_PER_S; /* far ahead */
    assert_ok(send_load(&s, l, 2, 1), s.err);
    l = make_load("temp", "a", 3, 0);
    l->samples.n_f64 = 2;
    assert_ok(send_load(&s, l, 0, 3), s.err);
    l = make_load("temp", "a", 1, 0);
    l->request.durability = (char *)(uintptr_t) "perhaps";
    assert_int_equal(send_load(&s, l, 0, 0), VV_INVALID);
    l = make_load("temp", "a", 1, 0);
    l->request.table = (char *)(uintptr_t) "no/name";
    assert_int_equal(send_load(&s, l, 0, 0), VV_INVALID);
    assert_int_equal(svc_suite_call_raw(&s, "Series/IngestSamples", vv_slice_str("\x0a\xff")),
                     VV_INVALID);
    svc_suite_stop(&s);
}

/* Answers come in the order of the requests, a bad one between good ones too. */
static void test_stream_answers_in_order(void **state)
{
    (void)state;
    svc_suite s;
    vv_status st;
    cli_stream *stream = NULL;
    enum { N = 200 };
    svc_suite_start(&s, NULL);
    assert_ok(
        cli_stream_open(s.conn, SERIES "IngestSamplesStream", SUITE_TIMEOUT_NS, &stream, &s.err),
        s.err);
    for (uint64_t i = 0; i < N; i++) {
        load *l = make_load("temp", "a", 100, (double)i);
        l->request.request_id = i + 1;
        if (i == 50)
            l->request.durability = (char *)(uintptr_t) "perhaps";
        size_t len = varve__v1__ingest_samples_request__get_packed_size(&l->request);
        uint8_t *bytes = malloc(len);
        assert_non_null(bytes);
        (void)varve__v1__ingest_samples_request__pack(&l->request, bytes);
        assert_ok(cli_stream_send(stream, vv_slice_of(bytes, len), &s.err), s.err);
        free(bytes);
        free(l);
    }
    cli_stream_half_close(stream);
    for (uint64_t i = 0; i < N; i++) {
        Varve__V1__IngestSamplesResponse *r =
            next_message(&s, stream, &varve__v1__ingest_samples_response__descriptor, &st);
        assert_non_null(r);
        assert_int_equal(r->request_id, i + 1);
        assert_int_equal(r->status, i == 50 ? 3 : 0);
        assert_int_equal(r->accepted, i == 50 ? 0 : 100);
        protobuf_c_message_free_unpacked(&r->base, NULL);
    }
    assert_null(next_message(&s, stream, &varve__v1__ingest_samples_response__descriptor, &st));
    assert_int_equal(st, VV_NOT_FOUND);
    cli_stream_close(stream);
    assert_int_equal(vv_budget_part_used(s.n.budget, VV_BUDGET_NETWORK) > (1u << 20), 0);
    svc_suite_stop(&s);
}

/* ---- lists ---- */

static void test_lists_and_deletions(void **state)
{
    (void)state;
    svc_suite s;
    vv_status st;
    svc_suite_start(&s, NULL);
    assert_ok(send_load(&s, make_load("temp", "a", 10, 0), 10, 0), s.err);
    assert_ok(send_load(&s, make_load("temp", "b", 10, 100), 10, 0), s.err);
    SUITE_REF(ref, "default", "sensors");
    Varve__V1__LatestRequest latest = VARVE__V1__LATEST_REQUEST__INIT;
    latest.table = &ref;
    cli_stream *stream = open_stream(&s, SERIES "Latest", &latest);
    const double want[] = {9, 109};
    for (size_t i = 0; i < 2; i++) {
        Varve__V1__LatestSample *l =
            next_message(&s, stream, &varve__v1__latest_sample__descriptor, &st);
        assert_non_null(l);
        assert_true(l->f64 == want[i] && l->time_ns == T0 + 9 * VV_NS_PER_S);
        protobuf_c_message_free_unpacked(&l->base, NULL);
    }
    assert_null(next_message(&s, stream, &varve__v1__latest_sample__descriptor, &st));
    cli_stream_close(stream);
    Varve__V1__ListSeriesRequest list = VARVE__V1__LIST_SERIES_REQUEST__INIT;
    list.table = &ref;
    list.limit = 1;
    stream = open_stream(&s, SERIES "ListSeries", &list);
    Varve__V1__ListSeriesResponse *one =
        next_message(&s, stream, &varve__v1__list_series_response__descriptor, &st);
    assert_non_null(one);
    assert_true(one->series_id > 0 && one->n_labels == 2);
    protobuf_c_message_free_unpacked(&one->base, NULL);
    assert_null(next_message(&s, stream, &varve__v1__list_series_response__descriptor, &st));
    cli_stream_close(stream);
    Varve__V1__LabelValuesRequest values = VARVE__V1__LABEL_VALUES_REQUEST__INIT;
    values.table = &ref;
    values.name = (char *)(uintptr_t) "sensor";
    assert_ok(svc_suite_call(&s, "Series/LabelValues", &values), s.err);
    Varve__V1__LabelValuesResponse *v =
        svc_suite_reply(&s, &varve__v1__label_values_response__descriptor);
    assert_int_equal(v->n_values, 2);
    assert_string_equal(v->values[1], "b");
    protobuf_c_message_free_unpacked(&v->base, NULL);
    Varve__V1__DeleteSamplesRequest gone = VARVE__V1__DELETE_SAMPLES_REQUEST__INIT;
    Varve__V1__Matcher m = VARVE__V1__MATCHER__INIT;
    Varve__V1__Matcher *ms[] = {&m};
    gone.table = &ref;
    assert_int_equal(svc_suite_call(&s, "Series/DeleteSamples", &gone), VV_INVALID);
    m.name = (char *)(uintptr_t) "sensor";
    m.value = (char *)(uintptr_t) "a";
    gone.matchers = ms;
    gone.n_matchers = 1;
    gone.drop_series = true;
    assert_ok(svc_suite_call(&s, "Series/DeleteSamples", &gone), s.err);
    values.name = (char *)(uintptr_t) "";
    assert_ok(svc_suite_call(&s, "Series/LabelValues", &values), s.err);
    stream = open_stream(&s, SERIES "Latest", &latest);
    Varve__V1__LatestSample *l =
        next_message(&s, stream, &varve__v1__latest_sample__descriptor, &st);
    assert_true(l != NULL && l->f64 == 109);
    protobuf_c_message_free_unpacked(&l->base, NULL);
    assert_null(next_message(&s, stream, &varve__v1__latest_sample__descriptor, &st));
    cli_stream_close(stream);
    svc_suite_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples_go_in_and_come_out),
        cmocka_unit_test(test_ingest_refused),
        cmocka_unit_test(test_stream_answers_in_order),
        cmocka_unit_test(test_lists_and_deletions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
