/*
 * evlog_form_test.c - a record as RFC 5424, as fields of the journal and as a LogRecord of OTLP:
 * known bytes, and no value that breaks out of its place.
 */
#include "vv_test.h"

#include <string.h>

#include "base/rng.h"
#include "codec/protowire.h"
#include "server/evlog_sink.h"

static const evlog_origin origin = {.host = "plant-7", .app = "varved", .pid = 4711};

#define WALL (INT64_C(1700000000) * VV_NS_PER_S + 123456789)

static void syslog_is_rfc_5424(void **state)
{
    (void)state;
    static char out[EVLOG_DATAGRAM_MAX + 1];
    const vv_kv kvs[] = {VV_KV_U("entries", 7), VV_KV_S("why", "a \"b\" ]\\\n"),
                         VV_KV_I("left", -1), VV_KV_F("s", 0.25), VV_KV_S("a=b ]\"c", NULL)};
    const vv_log_record r = {.wall_ns = WALL,
                             .level = VV_LOG_WARN,
                             .module = "wal",
                             .msg = "recovered\nagain",
                             .kvs = kvs,
                             .count = ARRAY_LEN(kvs)};
    out[evlog_syslog_format(&r, &origin, 3, out)] = '\0';
    assert_string_equal(out, "<28>1 2023-11-14T22:13:20.123Z plant-7 varved 4711 wal "
                             "[varve@32473 entries=\"7\" why=\"a \\\"b\\\" \\]\\\\ \" left=\"-1\" "
                             "s=\"0.25\" a_b___c=\"\"] recovered again");
    static const evlog_origin nobody = {.host = "", .app = "varved", .pid = 1};
    const vv_log_record bare = {.level = VV_LOG_ERROR, .module = "", .msg = ""};
    out[evlog_syslog_format(&bare, &nobody, 23, out)] = '\0';
    assert_string_equal(out, "<187>1 - - varved 1 - - ");
}

static void the_journal_gets_fields(void **state)
{
    (void)state;
    static char out[EVLOG_DATAGRAM_MAX + 1];
    const vv_kv kvs[] = {VV_KV_S("trace_id", "0af7"), VV_KV_S("why", "a\nb"), VV_KV_U("n.m", 3)};
    const vv_log_record r = {.level = VV_LOG_INFO,
                             .module = "object",
                             .msg = "stored",
                             .kvs = kvs,
                             .count = ARRAY_LEN(kvs)};
    static const char want[] = "MESSAGE=stored\nPRIORITY=6\nSYSLOG_IDENTIFIER=varved\n"
                               "VARVE_MODULE=object\nVARVE_TRACE_ID=0af7\n"
                               "VARVE_WHY\n\3\0\0\0\0\0\0\0a\nb\nVARVE_N_M=3\n";
    size_t len = evlog_journal_format(&r, &origin, out);
    assert_int_equal(len, sizeof want - 1);
    assert_memory_equal(out, want, len);
}

/* The journal's own way of reading a datagram. */
static size_t fields_of(const char *at, size_t len)
{
    size_t fields = 0;
    for (const char *end = at + len; at < end; fields++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        assert_non_null(stop);
        const char *eq = memchr(at, '=', (size_t)(stop - at));
        size_t name = (size_t)((eq == NULL ? stop : eq) - at);
        assert_true(name > 0 && name <= 64);
        for (size_t i = 0; i < name; i++)
            assert_true((at[i] >= 'A' && at[i] <= 'Z') || (at[i] >= '0' && at[i] <= '9') ||
                        at[i] == '_');
        if (eq != NULL) {
            at = stop + 1;
            continue;
        }
        assert_true(end - stop > 9);
        uint64_t n = vv_get_le64((const uint8_t *)stop + 1);
        assert_true(n < (uint64_t)(end - stop) - 9 && stop[9 + n] == '\n');
        at = stop + 10 + n;
    }
    return fields;
}

static void random_text(vv_rng *rng, char *out, size_t max)
{
    size_t len = vv_rng_below(rng, max);
    for (size_t i = 0; i < len; i++)
        out[i] = (char)(1 + vv_rng_below(rng, 255));
    out[len] = '\0';
}

/* Whatever the texts are: one line of syslog, whole fields, a message that reads back. */
static void prop_no_value_leaves_its_place(void **state)
{
    (void)state;
    static char out[EVLOG_DATAGRAM_MAX];
    static char text[64][1001];
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(9));
    for (unsigned round = 0; round < 3000; round++) {
        vv_kv kvs[32];
        size_t count = vv_rng_below(&rng, 32);
        for (size_t i = 0; i < 32; i++) {
            random_text(&rng, text[i], 80);
            random_text(&rng, text[32 + i], vv_rng_one_in(&rng, 10) ? 1000 : 40);
            kvs[i] = VV_KV_S(text[i], text[32 + i]);
        }
        const vv_log_record r = {.wall_ns = WALL,
                                 .level = VV_LOG_DEBUG,
                                 .module = text[1],
                                 .msg = text[40],
                                 .kvs = kvs,
                                 .count = count};
        size_t len = evlog_syslog_format(&r, &origin, 1, out);
        assert_true(len > 0 && len <= EVLOG_DATAGRAM_MAX);
        for (size_t i = 0; i < len; i++)
            assert_true((uint8_t)out[i] >= 0x20);
        len = evlog_journal_format(&r, &origin, out);
        assert_true(len <= EVLOG_DATAGRAM_MAX);
        assert_true(fields_of(out, len) <= 4 + count);
        vv_buf pb;
        vv_buf_init(&pb, 1 << 20);
        evlog_otlp_put_record(&pb, &r);
        assert_int_equal(pb.status, VV_OK);
        wire_reader outer = wire_reader_of(vv_buf_slice(&pb));
        wire_field f = {0}, g = {0};
        assert_true(wire_next(&outer, &f) > 0 && f.number == 2);
        wire_reader inner = wire_reader_of(f.bytes);
        size_t attributes = 0;
        while (wire_next(&inner, &g) > 0)
            attributes += g.number == 6;
        assert_int_equal(inner.fault, WIRE_GOOD);
        assert_int_equal(attributes, 1 + count);
        assert_true(wire_next(&outer, &f) == 0);
        vv_buf_fini(&pb);
    }
}

static void otlp_has_trace_and_severity(void **state)
{
    (void)state;
    const vv_kv kvs[] = {VV_KV_S("trace_id", "0af7651916cd43dd8448eb211c80319c"),
                         VV_KV_S("span_id", "b7ad6b7169203331"), VV_KV_S("trace_id", "short"),
                         VV_KV_U("n", 5)};
    const vv_log_record r = {.wall_ns = WALL,
                             .level = VV_LOG_ERROR,
                             .module = "tier",
                             .msg = "failed",
                             .kvs = kvs,
                             .count = ARRAY_LEN(kvs)};
    vv_buf pb;
    vv_buf_init(&pb, 4096);
    evlog_otlp_put_record(&pb, &r);
    wire_reader outer = wire_reader_of(vv_buf_slice(&pb));
    wire_field f = {0}, g = {0};
    assert_true(wire_next(&outer, &f) > 0);
    wire_reader inner = wire_reader_of(f.bytes);
    uint64_t severity = 0, time = 0;
    size_t attributes = 0;
    vv_slice trace = {0}, span = {0};
    while (wire_next(&inner, &g) > 0) {
        severity = g.number == 2 ? g.value : severity;
        time = g.number == 1 ? g.value : time;
        trace = g.number == 9 ? g.bytes : trace;
        span = g.number == 10 ? g.bytes : span;
        attributes += g.number == 6;
    }
    assert_int_equal(severity, 17);
    assert_int_equal(time, WALL);
    assert_int_equal(trace.len, 16);
    assert_int_equal(trace.data[1], 0xf7);
    assert_int_equal(span.len, 8);
    assert_int_equal(span.data[7], 0x31);
    assert_int_equal(attributes, 3); /* module, the short one, n */
    vv_buf_fini(&pb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(syslog_is_rfc_5424),
        cmocka_unit_test(the_journal_gets_fields),
        cmocka_unit_test(prop_no_value_leaves_its_place),
        cmocka_unit_test(otlp_has_trace_and_severity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
