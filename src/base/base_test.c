#include "vv_test.h"

#include <string.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/crc32c.h"
#include "base/epoch.h"
#include "base/hist.h"
#include "base/log.h"
#include "base/nearest.h"
#include "base/rate.h"
#include "base/rng.h"
#include "base/varint.h"

static void crc32c_known_answers(void **state)
{
    (void)state;
    uint8_t zeros[32] = {0};
    /* RFC 3720, B.4 */
    assert_int_equal(vv_crc32c(0, zeros, 32), 0x8a9136aa);
    assert_int_equal(vv_crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(vv_crc32c_portable(0, "123456789", 9), 0xe3069283);
}

static void prop_crc32c_forms_agree_and_extend(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(1));
    static uint8_t data[5000];
    vv_rng_bytes(&rng, data, sizeof data);
    for (int i = 0; i < 2000; i++) {
        size_t at = vv_rng_below(&rng, 16);
        size_t len = vv_rng_below(&rng, sizeof data - 16);
        size_t cut = len == 0 ? 0 : vv_rng_below(&rng, len);
        uint32_t whole = vv_crc32c(0, data + at, len);
        assert_int_equal(whole, vv_crc32c_portable(0, data + at, len));
        assert_int_equal(whole,
                         vv_crc32c(vv_crc32c(0, data + at, cut), data + at + cut, len - cut));
    }
}

/* Bytes in the middle are changed; the sum of the whole is corrected by what they make of it. */
static void prop_crc32c_is_corrected_by_a_change(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(3));
    static uint8_t data[70000];
    vv_rng_bytes(&rng, data, sizeof data);
    for (int i = 0; i < 500; i++) {
        size_t len = 1 + vv_rng_below(&rng, i < 100 ? 40 : sizeof data);
        size_t at = vv_rng_below(&rng, len);
        size_t n = 1 + vv_rng_below(&rng, len - at < 60 ? len - at : 60);
        uint32_t whole = vv_crc32c(0, data, len);
        uint32_t before = vv_crc32c(0, data + at, n);
        vv_rng_bytes(&rng, data + at, n);
        uint32_t difference = before ^ vv_crc32c(0, data + at, n);
        assert_int_equal(whole ^ vv_crc32c_zeros(difference, len - at - n),
                         vv_crc32c(0, data, len));
    }
}

static void prop_varint_round_trip(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(2));
    for (int i = 0; i < 10000; i++) {
        uint64_t v = vv_rng_next(&rng) >> vv_rng_below(&rng, 64);
        uint8_t bytes[VV_VARINT_MAX];
        size_t n = vv_varint_put(bytes, v);
        assert_int_equal(n, vv_varint_len(v));
        uint64_t back;
        assert_ptr_equal(vv_varint_get(bytes, bytes + n, &back), bytes + n);
        assert_int_equal(back, v);
        assert_null(vv_varint_get(bytes, bytes + n - 1, &back));
    }
    const uint8_t too_long[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2};
    uint64_t v;
    assert_null(vv_varint_get(too_long, too_long + sizeof too_long, &v));
}

static void errors_grow_to_the_front(void **state)
{
    (void)state;
    vv_error err;
    assert_int_equal(vv_fail_sys(&err, VV_IO, 5, "read"), VV_IO);
    assert_int_equal(vv_wrap(&err, VV_IO, "segment %d", 7), VV_IO);
    assert_string_equal(err.msg, "segment 7: read: Input/output error");
    assert_int_equal(err.sys, 5);
    assert_int_equal(vv_fail(NULL, VV_BUSY, "x"), VV_BUSY);
    for (int i = 0; i < 40; i++)
        (void)vv_wrap(&err, VV_CORRUPT, "a long piece of context");
    assert_true(strlen(err.msg) < sizeof err.msg);
}

static void hist_percentiles_are_within_a_step(void **state)
{
    (void)state;
    static vv_hist h;
    vv_hist_reset(&h);
    assert_int_equal(vv_hist_percentile(&h, 0.5), 0);
    for (uint64_t i = 1; i <= 100000; i++)
        vv_hist_add(&h, i);
    assert_in_range(vv_hist_percentile(&h, 0.5), 50000, 53200);
    assert_in_range(vv_hist_percentile(&h, 0.99), 99000, 100000);
    assert_int_equal(vv_hist_percentile(&h, 1.0), 100000);
    vv_hist_add(&h, UINT64_MAX);
    assert_true(vv_hist_percentile(&h, 1.0) == UINT64_MAX);
}

static void buf_latches_at_its_maximum(void **state)
{
    (void)state;
    vv_buf b;
    vv_buf_init(&b, 10);
    vv_buf_append(&b, "12345678", 8);
    vv_buf_append(&b, "abc", 3);
    assert_int_equal(b.status, VV_BUSY);
    vv_buf_append(&b, "a", 1);
    assert_int_equal(b.len, 8);
    vv_buf_reset(&b);
    vv_buf_append(&b, "0123456789", 10);
    assert_int_equal(b.status, VV_OK);
    vv_buf_fini(&b);
}

static void arena_holds_its_bound(void **state)
{
    (void)state;
    vv_arena a;
    vv_arena_init(&a, 64 * 1024);
    size_t got = 0;
    while (vv_arena_alloc(&a, 100) != NULL)
        got += 100;
    assert_in_range(got, 40 * 1024, 64 * 1024);
    assert_null(vv_arena_alloc(&a, SIZE_MAX - 4));
    vv_arena_reset(&a);
    assert_non_null(vv_arena_alloc(&a, 100));
    vv_arena_fini(&a);
}

static int freed;

static void note_free(void *ptr)
{
    (void)ptr;
    freed++;
}

static void epoch_waits_for_open_sections(void **state)
{
    (void)state;
    int x;
    vv_epoch_enter();
    vv_epoch_enter();
    vv_epoch_retire(&x, note_free);
    (void)vv_epoch_collect();
    vv_epoch_exit();
    (void)vv_epoch_collect();
    assert_int_equal(freed, 0);
    vv_epoch_exit();
    vv_epoch_drain();
    assert_int_equal(freed, 1);
}

static char captured[8192];

static void capture(void *ctx, const char *line, size_t len)
{
    (void)ctx;
    memcpy(captured, line, len);
    captured[len] = '\0';
}

static void log_lines_escape_what_a_client_sends(void **state)
{
    (void)state;
    vv_log log;
    vv_log_init(&log, VV_LOG_INFO, VV_LOG_LOGFMT, NULL, capture, NULL);
    vv_log_to(&log, VV_LOG_INFO, "http", "bad request", VV_KV_S("path", "/a\nlevel=error \"x\""),
              VV_KV_I("code", -4));
    assert_string_equal(captured, "level=info module=http msg=\"bad request\" "
                                  "path=\"/a\\nlevel=error \\\"x\\\"\" code=-4\n");
    captured[0] = '\0';
    vv_log_to(&log, VV_LOG_DEBUG, "http", "quiet", VV_KV_I("n", 1));
    assert_string_equal(captured, "");
    log.form = VV_LOG_JSON;
    vv_log_to(&log, VV_LOG_WARN, "m", "x", VV_KV_U("n", 7));
    assert_string_equal(captured, "{\"level\":\"warn\",\"module\":\"m\",\"msg\":\"x\",\"n\":7}\n");
    vv_log_fini(&log);
}

static void rng_is_the_same_everywhere(void **state)
{
    (void)state;
    vv_rng a;
    vv_rng b;
    vv_rng_init(&a, 42);
    vv_rng_init(&b, 42);
    for (int i = 0; i < 100; i++)
        assert_true(vv_rng_next(&a) == vv_rng_next(&b));
    for (int i = 0; i < 1000; i++)
        assert_in_range(vv_rng_below(&a, 7), 0, 6);
}

static void distances_count_edits_and_swaps(void **state)
{
    (void)state;
    const struct {
        const char *a;
        const char *b;
        unsigned want;
    } cases[] = {{"", "", 0},        {"a", "", 1},        {"abc", "abc", 0},
                 {"abc", "acb", 1},  {"abc", "abxc", 1},  {"abc", "xbc", 1},
                 {"ab", "ba", 1},    {"abcd", "badc", 2}, {"kitten", "sitting", 3},
                 {"aaaa", "bbbb", 4}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_slice a = vv_slice_str(cases[i].a);
        vv_slice b = vv_slice_str(cases[i].b);
        assert_int_equal(vv_name_distance(a, b, 9), cases[i].want);
        assert_int_equal(vv_name_distance(b, a, 9), cases[i].want);
    }
    vv_slice a = vv_slice_str("aaaaaaaa");
    vv_slice b = vv_slice_str("bbbbbbbb");
    assert_int_equal(vv_name_distance(a, b, 2), 3); /* gives up early */
    static const uint8_t bytes[VV_NEAREST_MAX + 1];
    assert_int_equal(vv_name_distance(a, vv_slice_of(bytes, sizeof bytes), 2), 3);
    assert_int_equal(vv_name_distance(a, vv_slice_of(bytes, VV_NEAREST_MAX), 999), VV_NEAREST_MAX);
}

static void rates_are_of_the_last_whole_seconds(void **state)
{
    (void)state;
    vv_rate r = {0};
    int64_t now = 0;
    assert_true(vv_rate_read(&r, now) == 0.0);
    vv_rate_add(&r, now, 40);
    vv_rate_add(&r, now + VV_NS_PER_S - 1, 60);
    assert_true(vv_rate_read(&r, now + VV_NS_PER_S - 1) == 0.0); /* the running second */
    assert_true(vv_rate_read(&r, now + VV_NS_PER_S) == 10.0);
    assert_true(vv_rate_read(&r, now + 11 * VV_NS_PER_S - 1) == 10.0);
    assert_true(vv_rate_read(&r, now + 11 * VV_NS_PER_S) == 0.0);
    for (int i = 0; i < 100; i++, now += VV_NS_PER_S)
        vv_rate_add(&r, now, (uint64_t)i); /* slots are used again */
    assert_true(vv_rate_read(&r, now) == 94.5);
    assert_true(vv_rate_read(&r, now + 1000 * VV_NS_PER_S) == 0.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc32c_known_answers),
        cmocka_unit_test(prop_crc32c_forms_agree_and_extend),
        cmocka_unit_test(prop_crc32c_is_corrected_by_a_change),
        cmocka_unit_test(prop_varint_round_trip),
        cmocka_unit_test(errors_grow_to_the_front),
        cmocka_unit_test(hist_percentiles_are_within_a_step),
        cmocka_unit_test(buf_latches_at_its_maximum),
        cmocka_unit_test(arena_holds_its_bound),
        cmocka_unit_test(epoch_waits_for_open_sections),
        cmocka_unit_test(log_lines_escape_what_a_client_sends),
        cmocka_unit_test(rng_is_the_same_everywhere),
        cmocka_unit_test(distances_count_edits_and_swaps),
        cmocka_unit_test(rates_are_of_the_last_whole_seconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
