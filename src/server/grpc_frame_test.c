#include "server/grpc_frame.h"

#include <zlib.h>

#include "base/bytes.h"
#include "base/rng.h"
#include "server/grpc_inflate.h"
#include "server/grpc_text.h"
#include "vv_test.h"

/* What a run over some bytes reported, as text: "H5 hello E". */
static void run(grpc_frame *f, vv_slice in, vv_buf *log)
{
    vv_slice piece;
    for (;;) {
        size_t before = in.len;
        switch (grpc_frame_next(f, &in, &piece)) {
        case GRPC_MORE:
            assert_int_equal(in.len, 0);
            return;
        case GRPC_HEAD:
            vv_buf_printf(log, "%c%u ", f->compressed ? 'Z' : 'H', f->length);
            break;
        case GRPC_PIECE:
            assert_true(piece.len > 0);
            vv_buf_append_slice(log, piece);
            break;
        case GRPC_END:
            vv_buf_append_str(log, "E ");
            break;
        case GRPC_BAD:
            assert_int_equal(grpc_frame_next(f, &in, &piece), GRPC_BAD); /* latched */
            vv_buf_append_str(log, "BAD");
            return;
        }
        assert_true(in.len <= before);
    }
}

static void test_messages(void **state)
{
    (void)state;
    const struct {
        const char *name;
        vv_slice in;
        const char *want;
        bool clean;
    } cases[] = {
        {"nothing", vv_slice_of(NULL, 0), "", true},
        {"empty message at the end of the input", BYTES(0, 0, 0, 0, 0), "H0 E ", true},
        {"one message", BYTES(0, 0, 0, 0, 2, 'h', 'i'), "H2 hiE ", true},
        {"compressed", BYTES(1, 0, 0, 0, 1, 'z'), "Z1 zE ", true},
        {"two, the first empty", BYTES(0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 'x'), "H0 E H1 xE ", true},
        {"prefix cut", BYTES(0, 0, 0), "", false},
        {"message cut", BYTES(0, 0, 0, 0, 3, 'a'), "H3 a", false},
        {"length is reported before any byte", BYTES(0, 0xff, 0xff, 0xff, 0xff), "H4294967295 ",
         false},
        {"unknown flag", BYTES(2, 0, 0, 0, 0), "BAD", false},
        {"unknown flag, known at its first byte", BYTES(0x80), "BAD", false},
        {"unknown flag on the second message", BYTES(0, 0, 0, 0, 0, 7), "H0 E BAD", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        grpc_frame f = {0};
        vv_buf log;
        vv_buf_init(&log, 4096);
        run(&f, cases[i].in, &log);
        if (!vv_slice_eq(vv_buf_slice(&log), vv_slice_str(cases[i].want)) ||
            grpc_frame_is_clean(&f) != cases[i].clean)
            fail_msg("%s: got '%.*s'", cases[i].name, (int)log.len, (const char *)log.data);
        vv_buf_fini(&log);
    }
}

/* Messages of random lengths, mostly around the interesting ones. */
static void make_stream(vv_rng *rng, vv_buf *out)
{
    static const uint32_t lens[] = {0, 1, 4, 5, 6, 100, 300};
    for (uint64_t n = vv_rng_below(rng, 6); n > 0; n--) {
        uint8_t prefix[GRPC_PREFIX_LEN];
        uint32_t len = lens[vv_rng_below(rng, ARRAY_LEN(lens))];
        grpc_prefix_write(prefix, len);
        prefix[0] = (uint8_t)vv_rng_below(rng, 2);
        vv_buf_append(out, prefix, sizeof prefix);
        for (uint32_t i = 0; i < len; i++)
            vv_buf_append_u8(out, (uint8_t)('a' + vv_rng_below(rng, 26)));
    }
    if (vv_rng_one_in(rng, 4))
        vv_buf_append_u8(out, 9);
}

static void prop_cuts_do_not_matter(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(0x6672616d65ULL));
    for (uint64_t n = vv_test_count("VV_FRAME_ROUNDS", 200); n > 0; n--) {
        vv_buf in, whole, parts;
        vv_buf_init(&in, VV_MIB);
        vv_buf_init(&whole, VV_MIB);
        vv_buf_init(&parts, VV_MIB);
        make_stream(&rng, &in);
        grpc_frame f = {0};
        run(&f, vv_buf_slice(&in), &whole);
        for (size_t cut = 0; cut <= in.len && in.len > 0; cut++) { /* in two, at every byte */
            grpc_frame g = {0};
            vv_buf_reset(&parts);
            run(&g, vv_slice_of(in.data, cut), &parts);
            run(&g, vv_slice_of(in.data + cut, in.len - cut), &parts);
            if (!g.bad)
                assert_true(vv_slice_eq(vv_buf_slice(&parts), vv_buf_slice(&whole)));
            assert_int_equal(grpc_frame_is_clean(&g), grpc_frame_is_clean(&f));
        }
        grpc_frame g = {0};
        vv_buf_reset(&parts);
        for (size_t i = 0; i < in.len && !g.bad; i++) /* byte by byte */
            run(&g, vv_slice_of(in.data + i, 1), &parts);
        assert_true(vv_slice_eq(vv_buf_slice(&parts), vv_buf_slice(&whole)));
        vv_buf_fini(&in);
        vv_buf_fini(&whole);
        vv_buf_fini(&parts);
    }
}

static void test_timeouts(void **state)
{
    (void)state;
    const struct {
        const char *text;
        bool ok;
        int64_t ns;
    } cases[] = {
        {"1S", true, VV_NS_PER_S},
        {"0n", true, 0},
        {"100m", true, 100 * VV_NS_PER_MS},
        {"7u", true, 7000},
        {"2M", true, 120 * VV_NS_PER_S},
        {"1H", true, 3600 * VV_NS_PER_S},
        {"99999999n", true, 99999999},
        {"99999999H", true, INT64_MAX}, /* saturates */
        {"", false, 0},
        {"S", false, 0},
        {"1", false, 0},
        {"123456789S", false, 0},
        {"-1S", false, 0},
        {"+1S", false, 0},
        {" 1S", false, 0},
        {"1s", false, 0},
        {"1.5S", false, 0},
        {"1SS", false, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t ns = 0;
        bool ok = grpc_timeout_parse(vv_slice_str(cases[i].text), &ns);
        if (ok != cases[i].ok || (ok && ns != cases[i].ns))
            fail_msg("'%s': %d %lld", cases[i].text, ok, (long long)ns);
    }
}

static void test_texts(void **state)
{
    (void)state;
    const struct {
        const char *in, *want;
    } messages[] = {
        {"", ""},
        {"plain words", "plain words"},
        {"100%", "100%25"},
        {"cut at 0: ", "cut at 0:%20"},
        {"  two  ", "%20 two %20"},
        {" ", "%20"},
        {"a\nb", "a%0Ab"},
        {"~", "~"},
        {"\x7f", "%7F"},
        {"\xc3\xa9", "%C3%A9"},
    };
    for (size_t i = 0; i < ARRAY_LEN(messages); i++) {
        vv_buf out;
        vv_buf_init(&out, 256);
        grpc_message_encode(&out, messages[i].in);
        assert_true(vv_slice_eq(vv_buf_slice(&out), vv_slice_str(messages[i].want)));
        vv_buf_fini(&out);
    }
    const struct {
        const char *type;
        bool grpc;
    } types[] = {
        {"application/grpc", true},
        {"application/grpc+proto", true},
        {"application/grpc;x=y", true},
        {"application/grpc-web", false},
        {"application/grpcx", false},
        {"application/json", false},
        {"", false},
        {"application/grp", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (grpc_content_type(vv_slice_str(types[i].type)) != types[i].grpc)
            fail_msg("%s", types[i].type);
    assert_int_equal(grpc_encoding_parse(vv_slice_str("")), GRPC_IDENTITY);
    assert_int_equal(grpc_encoding_parse(vv_slice_str("gzip")), GRPC_GZIP);
    assert_int_equal(grpc_encoding_parse(vv_slice_str("deflate")), GRPC_DEFLATE);
    assert_int_equal(grpc_encoding_parse(vv_slice_str("snappy")), GRPC_ENCODING_UNKNOWN);
}

/* Compress len times the byte 'x'. */
static void compress_x(grpc_encoding encoding, size_t len, vv_buf *out)
{
    z_stream z = {0};
    int bits = encoding == GRPC_GZIP ? 31 : 15;
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, bits, 9, Z_DEFAULT_STRATEGY), Z_OK);
    uint8_t *in = malloc(len + 1);
    memset(in, 'x', len + 1);
    z.next_in = in;
    z.avail_in = (uInt)len;
    size_t bound = deflateBound(&z, len) + 64;
    z.next_out = vv_buf_reserve(out, bound);
    z.avail_out = (uInt)bound;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    vv_buf_advance(out, bound - z.avail_out);
    deflateEnd(&z);
    free(in);
}

static void test_inflating_never_passes_the_limit(void **state)
{
    (void)state;
    const size_t limit = 100000;
    const struct {
        size_t len;
        vv_status want;
    } cases[] = {{0, VV_OK},      {1, VV_OK},        {4096, VV_OK},         {99999, VV_OK},
                 {100000, VV_OK}, {100001, VV_BUSY}, {50 * VV_MIB, VV_BUSY}};
    for (int e = GRPC_GZIP; e <= GRPC_DEFLATE; e++) {
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
            vv_buf in, out;
            vv_buf_init(&in, 64 * VV_MIB);
            vv_buf_init(&out, limit);
            compress_x((grpc_encoding)e, cases[i].len, &in);
            assert_status(cases[i].want,
                          grpc_inflate((grpc_encoding)e, vv_buf_slice(&in), &out, NULL));
            assert_true(out.cap <= limit);
            if (cases[i].want == VV_OK)
                assert_int_equal(out.len, cases[i].len);
            vv_buf_fini(&in);
            vv_buf_fini(&out);
        }
    }
}

static void test_damaged_input_does_not_inflate(void **state)
{
    (void)state;
    vv_buf in, out;
    vv_buf_init(&in, VV_MIB);
    vv_buf_init(&out, VV_MIB);
    compress_x(GRPC_GZIP, 1000, &in);
    for (size_t cut = 0; cut < in.len; cut++) {
        vv_buf_reset(&out);
        assert_status(VV_INVALID, grpc_inflate(GRPC_GZIP, vv_slice_of(in.data, cut), &out, NULL));
    }
    vv_buf_append_u8(&in, 0);
    vv_buf_reset(&out);
    assert_status(VV_INVALID, grpc_inflate(GRPC_GZIP, vv_buf_slice(&in), &out, NULL));
    vv_buf_reset(&out);
    assert_status(VV_INVALID, grpc_inflate(GRPC_DEFLATE, vv_buf_slice(&in), &out, NULL));
    vv_buf_fini(&in);
    vv_buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages),
        cmocka_unit_test(prop_cuts_do_not_matter),
        cmocka_unit_test(test_timeouts),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_inflating_never_passes_the_limit),
        cmocka_unit_test(test_damaged_input_does_not_inflate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
