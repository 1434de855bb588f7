#include "base/utf8.h"

#include "vv_test.h"

#include "base/util.h"

static void lengths_of_good_and_bad_sequences(void **state)
{
    (void)state;
    const struct {
        const char *name;
        vv_slice in;
        size_t want;
    } cases[] = {
        {"ASCII", BYTES('a', 'b'), 1},
        {"NUL", BYTES(0), 1},
        {"two bytes", BYTES(0xc3, 0xa4), 2},
        {"three", BYTES(0xe2, 0x82, 0xac), 3},
        {"four", BYTES(0xf0, 0x9f, 0x98, 0x80), 4},
        {"the last character", BYTES(0xf4, 0x8f, 0xbf, 0xbf), 4},
        {"cut after one of two", BYTES(0xc3), 0},
        {"cut after three of four", BYTES(0xf0, 0x9f, 0x98), 0},
        {"a byte that continues nothing", BYTES(0x80, 0x80), 0},
        {"nothing continues it", BYTES(0xe2, 0x82, 'a'), 0},
        {"overlong in two", BYTES(0xc1, 0xbf), 0},
        {"overlong in three", BYTES(0xe0, 0x9f, 0xbf), 0},
        {"overlong in four", BYTES(0xf0, 0x8f, 0xbf, 0xbf), 0},
        {"a surrogate", BYTES(0xed, 0xa0, 0x80), 0},
        {"past the last character", BYTES(0xf4, 0x90, 0x80, 0x80), 0},
        {"a lead of five", BYTES(0xf8, 0x88, 0x80, 0x80, 0x80), 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (utf8_length(cases[i].in.data, cases[i].in.data + cases[i].in.len) != cases[i].want)
            fail_msg("%s", cases[i].name);
}

static void prop_every_character_is_read_as_it_is_written(void **state)
{
    (void)state;
    for (uint32_t c = 0; c <= 0x10ffff; c++) {
        uint8_t bytes[4];
        if (c >= 0xd800 && c <= 0xdfff)
            continue;
        size_t n = utf8_put(bytes, c);
        if (utf8_length(bytes, bytes + n) != n || (n > 1 && utf8_length(bytes, bytes + n - 1) != 0))
            fail_msg("U+%04X", (unsigned)c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths_of_good_and_bad_sequences),
        cmocka_unit_test(prop_every_character_is_read_as_it_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
