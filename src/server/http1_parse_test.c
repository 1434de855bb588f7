#include "server/http1_parse.h"

#include "base/buf.h"
#include "base/rng.h"
#include "vv_test.h"

#define HOST "Host: h\r\n"

static const struct {
    const char *in;
    int status;
} refused_heads[] = {
    {"GET / HTTP/1.1\r\n\r\n", 400}, /* no host */
    {"GET / HTTP/1.1\r\n" HOST HOST "\r\n", 400},
    {"GET  / HTTP/1.1\r\n" HOST "\r\n", 400},
    {"GET / HTTP/1.1 \r\n" HOST "\r\n", 400},
    {"GET /a b HTTP/1.1\r\n" HOST "\r\n", 400},
    {" GET / HTTP/1.1\r\n" HOST "\r\n", 400},
    {"GET / http/1.1\r\n" HOST "\r\n", 400},
    {"GET /\r\n" HOST "\r\n", 400},
    {"GET\r\n" HOST "\r\n", 400},
    {"\r\n", 400},
    {"G@T / HTTP/1.1\r\n" HOST "\r\n", 400},
    {"GET a HTTP/1.1\r\n" HOST "\r\n", 400},
    {"GET * HTTP/1.1\r\n" HOST "\r\n", 400},
    {"CONNECT h:80 HTTP/1.1\r\n" HOST "\r\n", 400},
    {"GET /a#b HTTP/1.1\r\n" HOST "\r\n", 400},
    {"GET /\x01 HTTP/1.1\r\n" HOST "\r\n", 400},
    {"GET /\xc3\xa9 HTTP/1.1\r\n" HOST "\r\n", 400},
    {"GET http:///x HTTP/1.1\r\n" HOST "\r\n", 400},
    {"GET / HTTP/2.0\r\n" HOST "\r\n", 505},
    {"GET / HTTP/1.2\r\n" HOST "\r\n", 505},
    {"GET / HTTP/0.9\r\n" HOST "\r\n", 505},
    /* lines */
    {"GET / HTTP/1.1\n" HOST "\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: h\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" HOST "\n", 400},
    {"GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" HOST "X: a\r\n b\r\n\r\n", 400}, /* folded */
    {"GET / HTTP/1.1\r\n" HOST "X : a\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" HOST ": a\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" HOST "X\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" HOST "X\t: a\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" HOST "X: a\x01\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" HOST "X: a\x7f\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" HOST "X(: a\r\n\r\n", 400},
    /* framing: how requests are smuggled */
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 1, 1\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: +1\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: -1\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 0x1\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 1 1\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 9999999999999999999\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
     400},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n", 501},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: identity\r\n\r\n", 501},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\n", 501},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: \x0b"
     "chunked\r\n\r\n",
     400},
    {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" HOST "Expect: magic\r\n\r\n", 417},
};

static void test_heads_that_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refused_heads); i++) {
        http1_head head;
        int status = 0;
        if (http1_parse_head(vv_slice_str(refused_heads[i].in), &head, &status) != HTTP1_BAD ||
            status != refused_heads[i].status)
            fail_msg("%zu: %d instead of %d: %s", i, status, refused_heads[i].status,
                     refused_heads[i].in);
    }
}

static void test_limits(void **state)
{
    (void)state;
    http1_head head;
    int status = 0;
    vv_buf in;
    vv_buf_init(&in, VV_MIB);
    vv_buf_append_str(&in, "GET /");
    for (unsigned i = 0; i < HTTP1_LINE_MAX; i++)
        vv_buf_append_u8(&in, 'a');
    vv_buf_append_str(&in, " HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(http1_parse_head(vv_buf_slice(&in), &head, &status), HTTP1_BAD);
    assert_int_equal(status, 414);

    vv_buf_reset(&in);
    vv_buf_append_str(&in, "GET / HTTP/1.1\r\n" HOST);
    for (unsigned i = 1; i < HTTP1_HEADERS_MAX; i++)
        vv_buf_printf(&in, "X%u: y\r\n", i);
    size_t fits = in.len;
    vv_buf_append_str(&in, "\r\n");
    assert_int_equal(http1_parse_head(vv_buf_slice(&in), &head, &status), HTTP1_DONE);
    in.len = fits;
    vv_buf_append_str(&in, "More: y\r\n\r\n");
    assert_int_equal(http1_parse_head(vv_buf_slice(&in), &head, &status), HTTP1_BAD);
    assert_int_equal(status, 431);
    vv_buf_fini(&in);
}

static void test_heads_that_are_accepted(void **state)
{
    (void)state;
    const struct {
        const char *in;
        const char *verb, *path, *query;
        bool keep_alive, chunked, expect;
        uint64_t length;
    } cases[] = {
        {"GET / HTTP/1.1\r\n" HOST "\r\n", "GET", "/", "", true, false, false, 0},
        {"GET /a?b=c&d HTTP/1.1\r\n" HOST "\r\n", "GET", "/a", "b=c&d", true, false, false, 0},
        {"GET /a??b HTTP/1.1\r\n" HOST "\r\n", "GET", "/a", "?b", true, false, false, 0},
        {"GET /? HTTP/1.1\r\n" HOST "\r\n", "GET", "/", "", true, false, false, 0},
        {"GET HTTP://h:80/x HTTP/1.1\r\n" HOST "\r\n", "GET", "/x", "", true, false, false, 0},
        {"GET / HTTP/1.0\r\n\r\n", "GET", "/", "", false, false, false, 0},
        {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "GET", "/", "", true, false, false, 0},
        {"GET / HTTP/1.1\r\n" HOST "Connection: x, Close\r\n\r\n", "GET", "/", "", false, false,
         false, 0},
        {"POST / HTTP/1.1\r\n" HOST "content-LENGTH:\t 42 \r\n\r\n", "POST", "/", "", true, false,
         false, 42},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: Chunked\r\n\r\n", "POST", "/", "", true,
         true, false, 0},
        {"PUT / HTTP/1.1\r\n" HOST "Expect: 100-Continue\r\nContent-Length: 1\r\n\r\n", "PUT", "/",
         "", true, false, true, 1},
        {"PUT / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", "PUT", "/", "",
         false, false, false, 1},
        {"GET / HTTP/1.1\r\nHost:\r\nX: \r\n\r\n", "GET", "/", "", true, false, false, 0},
        {"GET / HTTP/1.1\r\n" HOST "X: a\tb \xc3\xa9\r\n\r\n", "GET", "/", "", true, false, false,
         0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        http1_head h;
        int status = 0;
        vv_slice in = vv_slice_str(cases[i].in);
        if (http1_parse_head(in, &h, &status) != HTTP1_DONE)
            fail_msg("%d: %s", status, cases[i].in);
        assert_true(vv_slice_eq(h.verb, vv_slice_str(cases[i].verb)));
        assert_true(vv_slice_eq(h.path, vv_slice_str(cases[i].path)));
        assert_true(vv_slice_eq(h.query, vv_slice_str(cases[i].query)));
        assert_int_equal(h.keep_alive, cases[i].keep_alive);
        assert_int_equal(h.chunked, cases[i].chunked);
        assert_int_equal(h.expect_continue, cases[i].expect);
        assert_int_equal(h.content_length, cases[i].length);
        size_t scan = 0;
        assert_int_equal(http1_head_end(in, &scan), in.len);
    }
    http1_head h;
    int status;
    assert_int_equal(
        http1_parse_head(vv_slice_str("GET / HTTP/1.1\r\n" HOST "Ab-C: d \r\n\r\n"), &h, &status),
        HTTP1_DONE);
    assert_int_equal(h.header_count, 2);
    assert_true(vv_slice_eq(h.headers[1].name, vv_slice_str("Ab-C")));
    assert_true(vv_slice_eq(h.headers[1].value, vv_slice_str("d")));
}

static void prop_the_end_of_a_head_does_not_depend_on_cuts(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(0x68656164ULL));
    for (uint64_t n = vv_test_count("VV_HEAD_ROUNDS", 5000); n > 0; n--) {
        char text[40];
        size_t len = (size_t)vv_rng_below(&rng, sizeof text);
        for (size_t i = 0; i < len; i++)
            text[i] = "a\r\n:"[vv_rng_below(&rng, 4)];
        size_t scan = 0, end = http1_head_end(vv_slice_of(text, len), &scan);
        size_t part_scan = 0, part_end = 0;
        for (size_t i = 0; i <= len && part_end == 0; i++)
            part_end = http1_head_end(vv_slice_of(text, i), &part_scan);
        assert_int_equal(end, part_end);
    }
}

/* ---- chunks ---- */

/* The body that came out, then E, B or M for end, bad or more; used is what was taken. */
static size_t run_chunks(http1_chunks *c, vv_slice in, vv_buf *log)
{
    size_t all = in.len;
    vv_slice piece;
    for (;;) {
        switch (http1_chunk_next(c, &in, &piece)) {
        case HTTP1_CHUNK_PIECE:
            assert_true(piece.len > 0);
            vv_buf_append_slice(log, piece);
            break;
        case HTTP1_CHUNK_MORE:
            return all - in.len;
        case HTTP1_CHUNK_END:
            vv_buf_append_u8(log, '.');
            return all - in.len;
        case HTTP1_CHUNK_BAD:
            vv_buf_append_u8(log, '!');
            return all - in.len;
        }
    }
}

static void test_chunks(void **state)
{
    (void)state;
    const struct {
        const char *in, *want;
        size_t rest; /* bytes behind the body */
    } cases[] = {
        {"0\r\n\r\n", ".", 0},
        {"5\r\nhello\r\n0\r\n\r\n", "hello.", 0},
        {"5\r\nhello\r\n0\r\n\r\nGET /", "hello.", 5},
        {"A\r\n0123456789\r\na\r\n0123456789\r\n00\r\n\r\n", "01234567890123456789.", 0},
        {"1;x=y\r\na\r\n0;z\r\n\r\n", "a.", 0},
        {"1\r\na\r\n0\r\nX: y\r\nZ: w\r\n\r\n", "a.", 0},
        {"5\r\nhel", "hel", 0},
        {"", "", 0},
        {"\r\n", "!", 0},
        {"g\r\n", "!", 0},
        {"-1\r\n", "!", 0},
        {" 1\r\na\r\n", "!", 0},
        {"1 \r\na\r\n", "!", 0},
        {"1\na\n", "!", 0},
        {"0x1\r\n", "!", 0},
        {"1\r\nab\r\n", "a!", 0},
        {"1\r\na\n0\r\n\r\n", "a!", 0},
        {"1\r\ra", "!", 0},
        {"1111111111111111\r\n", "!", 0},
        {"1;\x01\r\n", "!", 0},
        {"0\r\nX\n\r\n", "!", 0},
        {"0\r\n\rx", "!", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_slice in = vv_slice_str(cases[i].in);
        vv_slice want = vv_slice_str(cases[i].want);
        for (size_t cut = 0; cut <= in.len; cut++) {
            http1_chunks c = {0};
            vv_buf log;
            vv_buf_init(&log, 4096);
            size_t used = run_chunks(&c, vv_slice_of(in.data, cut), &log);
            bool over =
                log.len > 0 && (log.data[log.len - 1] == '.' || log.data[log.len - 1] == '!');
            if (!over)
                used += run_chunks(&c, vv_slice_of(in.data + cut, in.len - cut), &log);
            if (!vv_slice_eq(vv_buf_slice(&log), want))
                fail_msg("%s cut at %zu: %.*s", cases[i].in, cut, (int)log.len,
                         (const char *)log.data);
            if (want.len > 0 && want.data[want.len - 1] == '.')
                assert_int_equal(in.len - used, cases[i].rest);
            vv_buf_fini(&log);
        }
    }
}

static void test_chunk_framing_is_bounded(void **state)
{
    (void)state;
    const char *const heads[] = {"1;", "0\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        http1_chunks c = {0};
        vv_buf in, log;
        vv_buf_init(&in, VV_MIB);
        vv_buf_init(&log, 4096);
        vv_buf_append_str(&in, heads[i]);
        for (int k = 0; k < 5000; k++)
            vv_buf_append_u8(&in, 'x');
        (void)run_chunks(&c, vv_buf_slice(&in), &log);
        assert_true(vv_slice_eq(vv_buf_slice(&log), vv_slice_str("!")));
        vv_buf_fini(&in);
        vv_buf_fini(&log);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heads_that_are_refused),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_heads_that_are_accepted),
        cmocka_unit_test(prop_the_end_of_a_head_does_not_depend_on_cuts),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_chunk_framing_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
