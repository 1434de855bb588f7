/*
 * base64_test.c - the vectors of RFC 4648, section 10, and every byte there and back.
 */
#include "vv_test.h"

#include <string.h>

#include "base/base64.h"
#include "base/util.h"

static void the_vectors_of_the_rfc(void **state)
{
    (void)state;
    const char *const vectors[][2] = {{"", ""},
                                      {"f", "Zg=="},
                                      {"fo", "Zm8="},
                                      {"foo", "Zm9v"},
                                      {"foob", "Zm9vYg=="},
                                      {"fooba", "Zm9vYmE="},
                                      {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        vv_buf out;
        vv_buf_init(&out, 64);
        vv_base64_put(&out, vv_slice_str(vectors[i][0]));
        assert_true(vv_slice_eq(vv_buf_slice(&out), vv_slice_str(vectors[i][1])));
        vv_buf_reset(&out);
        vv_base64url_put(&out, vv_slice_str(vectors[i][0]));
        assert_true(vv_slice_eq(vv_buf_slice(&out),
                                vv_slice_of(vectors[i][1], strcspn(vectors[i][1], "="))));
        vv_buf_fini(&out);
    }
    vv_buf two;
    vv_buf_init(&two, 64);
    vv_base64_put(&two, vv_slice_of("\xfb\xff", 2));
    vv_base64url_put(&two, vv_slice_of("\xfb\xff", 2));
    assert_true(vv_slice_eq(vv_buf_slice(&two), vv_slice_str("+/8=-_8")));
    vv_buf_fini(&two);
}

static void each_byte_is_a_digit_or_none(void **state)
{
    (void)state;
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int c = 0; c < 256; c++) {
        const char *at = c == 0 ? NULL : strchr(digits, c);
        const int want = c == '-' ? 62 : c == '_' ? 63 : at == NULL ? -1 : (int)(at - digits);
        assert_int_equal(vv_base64_digit((uint8_t)c), want);
    }
}

static void without_room_nothing_is_written(void **state)
{
    (void)state;
    vv_buf out;
    vv_buf_init(&out, 7);
    vv_base64_put(&out, vv_slice_str("foobar"));
    assert_true(out.len == 0 && out.status == VV_BUSY);
    vv_buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_vectors_of_the_rfc),
                                       cmocka_unit_test(each_byte_is_a_digit_or_none),
                                       cmocka_unit_test(without_room_nothing_is_written)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
