/*
 * feed_columns_test.c - columnar samples as protobuf-c packs them, and as only other encoders may;
 * SensorData.
 */
#include "feeds/feed_columns.h"

#include <math.h>

#include "base/rng.h"
#include "codec/protowire.h"
#include "feeds/feed_sensor.h"
#include "feeds/feed_test_sink.h"
#include "varve/v1/series.pb-c.h"
#include "vv_test.h"

static vv_status decode(vv_slice message, feed_test_sink *t, feed_result *r)
{
    feed_columns c;
    vv_status st = feed_columns_open(message, &c, NULL);
    return st == VV_OK ? feed_columns_decode(&c, &t->sink, r, NULL) : st;
}

static void put_name(vv_buf *b, const char *name)
{
    size_t mark = wire_begin(b, 1);
    wire_put_string(b, 1, vv_slice_str("__name__"));
    wire_put_string(b, 2, vv_slice_str(name));
    wire_end(b, mark);
}

static void test_every_type(void **state)
{
    (void)state;
    Varve__V1__SeriesLabel name = VARVE__V1__SERIES_LABEL__INIT;
    Varve__V1__SeriesLabel *labels[] = {&name};
    int64_t deltas[] = {1000, 5, -10}, times[] = {-1, 0, 1}, ints[] = {INT64_MIN, 0, INT64_MAX};
    double values[] = {1.5, -0.25, 1e300};
    protobuf_c_boolean flags[] = {1, 0, 1};
    char *texts[] = {"a", "", "c"};
    uint32_t bad[] = {0x80000000u}, each[] = {0, 1, 2};
    Varve__V1__SeriesSamples s[4];
    Varve__V1__SeriesSamples *series[] = {&s[0], &s[1], &s[2], &s[3]};
    name.name = "__name__";
    name.value = "m";
    for (size_t i = 0; i < 4; i++) {
        varve__v1__series_samples__init(&s[i]);
        s[i].n_labels = 1;
        s[i].labels = labels;
        s[i].n_time = 3;
        s[i].time = times;
    }
    s[0].n_time = 0;
    s[0].time_unit_ns = 1000000;
    s[0].n_time_delta = 3;
    s[0].time_delta = deltas;
    s[0].n_f64 = 3;
    s[0].f64 = values;
    s[1].type = VARVE__V1__SAMPLE_TYPE__SAMPLE_TYPE_I64;
    s[1].n_i64 = 3;
    s[1].i64 = ints;
    s[1].n_quality = 1;
    s[1].quality = bad;
    s[2].type = VARVE__V1__SAMPLE_TYPE__SAMPLE_TYPE_BOOL;
    s[2].n_boolean = 3;
    s[2].boolean = flags;
    s[2].n_quality = 3;
    s[2].quality = each;
    s[3].type = VARVE__V1__SAMPLE_TYPE__SAMPLE_TYPE_STRING;
    s[3].n_text = 3;
    s[3].text = texts;
    Varve__V1__IngestSamplesRequest request = VARVE__V1__INGEST_SAMPLES_REQUEST__INIT;
    request.tenant = "plant";
    request.table = "sensors";
    request.durability = "os";
    request.n_series = 4;
    request.series = series;
    uint8_t bytes[1024];
    size_t len = varve__v1__ingest_samples_request__pack(&request, bytes);
    feed_columns c;
    feed_result r;
    vv_error err;
    assert_ok(feed_columns_open(vv_slice_of(bytes, len), &c, &err), err);
    assert_true(vv_slice_eq(c.tenant, vv_slice_str("plant")));
    assert_true(vv_slice_eq(c.table, vv_slice_str("sensors")));
    assert_true(vv_slice_eq(c.durability, vv_slice_str("os")));
    assert_int_equal(c.series_count, 4);
    feed_test_sink *t = feed_test_sink_create();
    assert_ok(feed_columns_decode(&c, &t->sink, &r, &err), err);
    assert_int_equal(r.samples, 12);
    assert_int_equal(r.refused, 0);
    assert_string_equal(feed_test_text(t),
                        "m{} f64 1000000000 1.5 0\nm{} f64 1005000000 -0.25 0\n"
                        "m{} f64 995000000 1.0000000000000001e+300 0\n"
                        "m{} i64 -1 -9223372036854775808 80000000\nm{} i64 0 0 80000000\n"
                        "m{} i64 1 9223372036854775807 80000000\n"
                        "m{} bool -1 true 0\nm{} bool 0 false 1\nm{} bool 1 true 2\n"
                        "m{} string -1 a 0\nm{} string 0  0\nm{} string 1 c 0\n");
    feed_test_sink_destroy(t);
    for (size_t n = 0; n < len; n++) { /* cut anywhere: refused, or less of it */
        uint8_t *copy = malloc(n == 0 ? 1 : n);
        memcpy(copy, bytes, n);
        t = feed_test_sink_create();
        vv_status st = decode(vv_slice_of(copy, n), t, &r);
        assert_true(st == VV_OK ? r.samples < 12 : st == VV_INVALID);
        feed_test_sink_destroy(t);
        free(copy);
    }
}

/* Repeated fields unpacked, in pieces, and after one another, as protobuf allows. */
static void test_columns_in_pieces(void **state)
{
    (void)state;
    vv_buf b, in;
    vv_buf_init(&b, 1 << 20);
    vv_buf_init(&in, 1 << 20);
    for (int i = 0; i < 700; i++) {
        wire_put_double_always(&in, 6, i);
        if (i % 3 == 0) {
            wire_put_head(&in, 4, 1);
            vv_buf_append_u8(&in, 2);
            wire_put_bytes(&in, 4, vv_slice_str("")); /* an empty piece */
        } else {
            wire_put_varint(&in, 4, 2);
        }
    }
    put_name(&in, "m");
    wire_put_bytes(&b, 4, vv_buf_slice(&in));
    feed_test_sink *t = feed_test_sink_create();
    feed_result r;
    assert_int_equal(b.status, VV_OK);
    assert_int_equal(decode(vv_buf_slice(&b), t, &r), VV_OK);
    assert_int_equal(r.samples, 700);
    assert_non_null(strstr(feed_test_text(t), "m{} f64 700 699 0\n"));
    feed_test_sink_destroy(t);
    vv_buf_fini(&b);
    vv_buf_fini(&in);
}

static void put_times(vv_buf *b, uint32_t number, int n)
{
    for (int i = 0; i < n; i++)
        if (number == 4)
            wire_put_varint(b, 4, 2);
        else
            wire_put_fixed64(b, number, (uint64_t)i);
}

static void test_what_is_refused(void **state)
{
    (void)state;
    enum { NO_NAME, BOTH_TIMES, FEWER_VALUES, QUALITIES, TYPE, UNIT, RANGE, SINK, CASES };
    static const char *const want[CASES] = {"no __name__",  "both time",   "as many times",
                                            "qualities",    "none of",     "negative",
                                            "out of range", "another type"};
    for (int c = 0; c < CASES; c++) {
        vv_buf b, in;
        vv_buf_init(&b, 1 << 20);
        vv_buf_init(&in, 1 << 20);
        if (c != NO_NAME)
            put_name(&in, c == SINK ? "odd" : "m");
        put_times(&in, 4, 2);
        if (c == BOTH_TIMES)
            put_times(&in, 5, 2);
        put_times(&in, 6, c == FEWER_VALUES ? 1 : c == BOTH_TIMES || c == RANGE ? 4 : 2);
        if (c == QUALITIES)
            for (int i = 0; i < 3; i++)
                wire_put_fixed32(&in, 10, 0);
        if (c == TYPE)
            wire_put_varint(&in, 2, 9);
        if (c == UNIT)
            wire_put_varint(&in, 3, (uint64_t)-5);
        if (c == RANGE) {
            wire_put_varint(&in, 4, UINT64_MAX - 1); /* INT64_MAX */
            wire_put_varint(&in, 4, 2);
        }
        wire_put_bytes(&b, 4, vv_buf_slice(&in));
        vv_buf_reset(&in); /* and a good one behind it */
        put_name(&in, "good");
        put_times(&in, 5, 1);
        put_times(&in, 6, 1);
        wire_put_bytes(&b, 4, vv_buf_slice(&in));
        feed_test_sink *t = feed_test_sink_create();
        feed_result r;
        t->refuse = "odd";
        vv_status st = decode(vv_buf_slice(&b), t, &r);
        if (st != VV_OK || r.refused != (c == BOTH_TIMES ? 4 : 2) ||
            strstr(r.first_refusal, want[c]) == NULL ||
            strstr(feed_test_text(t), "good{} f64 0 0 0\n") == NULL)
            fail_msg("%s: %d, %" PRIu64 ", '%s'", want[c], st, r.refused, r.first_refusal);
        feed_test_sink_destroy(t);
        vv_buf_fini(&b);
        vv_buf_fini(&in);
    }
}

static void test_malformed(void **state)
{
    (void)state;
    const struct {
        const char *name;
        vv_slice in;
    } cases[] = {
        {"cut request", BYTES(0x22, 5, 1)},
        {"cut series", BYTES(0x22, 1, 0x0a)},
        {"cut label", BYTES(0x22, 3, 0x0a, 1, 0x0a)},
        {"half a double", BYTES(0x22, 6, 0x32, 4, 1, 2, 3, 4)},
        {"half a varint", BYTES(0x22, 3, 0x22, 1, 0x80)},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        feed_test_sink *t = feed_test_sink_create();
        feed_result r;
        if (decode(cases[i].in, t, &r) != VV_INVALID)
            fail_msg("%s", cases[i].name);
        feed_test_sink_destroy(t);
    }
}

static void test_a_failing_sink_ends_the_walk(void **state)
{
    (void)state;
    vv_buf b, in;
    vv_buf_init(&b, 1 << 20);
    vv_buf_init(&in, 1 << 20);
    put_name(&in, "m");
    put_times(&in, 5, 600);
    put_times(&in, 6, 600);
    wire_put_bytes(&b, 4, vv_buf_slice(&in));
    vv_status st = VV_BUSY;
    for (uint64_t n = 1; st != VV_OK; n++) {
        feed_test_sink *t = feed_test_sink_create();
        feed_result r;
        t->fail_after = n;
        st = decode(vv_buf_slice(&b), t, &r);
        assert_true(st == VV_OK ? n == 5 : st == VV_NO_MEMORY);
        feed_test_sink_destroy(t);
    }
    vv_buf_fini(&b);
    vv_buf_fini(&in);
}

/* ---- SensorData ---- */

static void test_sensor(void **state)
{
    (void)state;
    const struct {
        const char *name;
        vv_slice in;
        const char *fault;
        uint32_t quality;
        int64_t time_ns;
    } cases[] = {
        {"whole", BYTES(0x0a, 1, 's', 0x11, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 0x18, 5, 0x20, 1), NULL,
         0, 5000000},
        {"no quality is bad", BYTES(0x0a, 1, 's'), NULL, 0x80000000u, 0},
        {"quality 0 is bad", BYTES(0x0a, 1, 's', 0x20, 0), NULL, 0x80000000u, 0},
        {"a status of OPC UA", BYTES(0x0a, 1, 's', 0x20, 0x80, 0x80, 0x80, 0x80, 4), NULL,
         0x40000000u, 0},
        {"before 1970",
         BYTES(0x0a, 1, 's', 0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1), NULL,
         0x80000000u, -1000000},
        {"unknown fields", BYTES(0x0a, 1, 's', 0x2a, 1, 'x', 0x78, 1), NULL, 0x80000000u, 0},
        {"empty", {NULL, 0}, "sensor_id is empty", 0, 0},
        {"text", BYTES('h', 'e', 'l', 'l', 'o'), "protobuf", 0, 0},
        {"a float", BYTES(0x0a, 1, 's', 0x15, 0, 0, 0, 0), "another type", 0, 0},
        {"not UTF-8", BYTES(0x0a, 1, 0xff), "UTF-8", 0, 0},
        {"a NUL", BYTES(0x0a, 1, 0), "NUL", 0, 0},
        {"time out of range",
         BYTES(0x0a, 1, 's', 0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f),
         "timestamp_ms", 0, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        feed_sensor s = {0};
        const char *fault = feed_sensor_read(cases[i].in, &s);
        if ((fault == NULL) != (cases[i].fault == NULL) ||
            (fault != NULL && strstr(fault, cases[i].fault) == NULL))
            fail_msg("%s: %s", cases[i].name, fault == NULL ? "none" : fault);
        if (fault == NULL && (s.quality != cases[i].quality || s.time_ns != cases[i].time_ns))
            fail_msg("%s: %x %" PRId64, cases[i].name, s.quality, s.time_ns);
    }
    feed_sensor s = {.id = vv_slice_str("a.b"), .value = 1.5, .time_ns = 7, .quality = 0};
    feed_test_sink *t = feed_test_sink_create();
    vv_error err;
    assert_ok(feed_sensor_give(&s, &t->sink, &err), err);
    assert_string_equal(feed_test_text(t), "sensor{sensor=a.b} f64 7 1.5 0\n");
    feed_test_sink_destroy(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_type),
        cmocka_unit_test(test_columns_in_pieces),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_a_failing_sink_ends_the_walk),
        cmocka_unit_test(test_sensor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
