/*
 * arch_name_test.c - names of objects: made from templates, never outside of their prefix.
 */
#include "arch_test_util.h"

#define TEMPLATE "{tenant}/{table}/{yyyy}/{mm}/{dd}/{hh}/{partition}-{first}-{intent}"

static void make(const char *text, const vv_message *m, char *out)
{
    vv_error err = {0};
    arch_identity who = arch_test_who();
    assert_ok(arch_template_check(text, &err), err);
    assert_ok(arch_name_make(text, &who, m, ".parquet", out, &err), err);
    assert_ok(vv_object_name_check(out, &err), err);
}

static void parts_stand_for_what_they_say(void **state)
{
    (void)state;
    char name[VV_OBJECT_NAME_MAX + 1];
    const vv_attribute a[] = {
        {.name = vv_slice_str("site"), .type = VV_ATTRIBUTE_STRING, .bytes = vv_slice_str("north")},
        {.name = vv_slice_str("n"), .type = VV_ATTRIBUTE_I64, .i64 = -5},
        {.name = vv_slice_str("x"), .type = VV_ATTRIBUTE_F64, .f64 = 0.5},
        {.name = vv_slice_str("ok"), .type = VV_ATTRIBUTE_BOOL, .i64 = 1},
        {.name = vv_slice_str("none"), .type = VV_ATTRIBUTE_STRING},
    };
    vv_message m = {.offset = 77, .attributes = a, .attribute_count = ARRAY_LEN(a)};
    const struct {
        int64_t ns;
        const char *text;
        const char *want;
    } cases[] = {
        {INT64_C(1709164799) * VV_NS_PER_S, TEMPLATE,
         "plant/events/2024/02/28/23/0002-00000000000000000077-1122334455667788.parquet"},
        {INT64_C(1709164800) * VV_NS_PER_S, "{yyyy}{mm}{dd}T{hh}-{first}-{intent}",
         "20240229T00-00000000000000000077-1122334455667788.parquet"},
        {-1, "{yyyy}{mm}{dd}T{hh}-{first}-{intent}",
         "19691231T23-00000000000000000077-1122334455667788.parquet"},
        {0, "{attr:site}/{attr:n}/{attr:x}/{first}-{intent}",
         "north/-5/0.5/00000000000000000077-1122334455667788.parquet"},
        {0, "{attr:ok}/{attr:none}/{attr:absent}/{first}-{intent}",
         "true/=_/=-/00000000000000000077-1122334455667788.parquet"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        m.receive_time_ns = cases[i].ns;
        make(cases[i].text, &m, name);
        assert_string_equal(name, cases[i].want);
    }
}

static void tricks_stay_in_their_part(void **state)
{
    (void)state;
    char name[VV_OBJECT_NAME_MAX + 1];
    const struct {
        const char *value;
        size_t len;
        const char *want;
    } cases[] = {
        {"../../etc/passwd", 16, "a/=2E.=2F..=2Fetc=2Fpasswd/"},
        {"..", 2, "a/=2E./"},
        {".", 1, "a/=2E/"},
        {"a/b", 3, "a/a=2Fb/"},
        {"a\0b", 3, "a/a=00b/"},
        {"=2F", 3, "a/=3D2F/"},
        {"=-", 2, "a/=3D-/"},
        {"\xff\xfe", 2, "a/=FF=FE/"},
        {"{intent}", 8, "a/=7Bintent=7D/"},
        {"a\\b c%2f", 8, "a/a=5Cb=20c=252f/"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const vv_attribute a = {.name = vv_slice_str("site"),
                                .type = VV_ATTRIBUTE_BYTES,
                                .bytes = vv_slice_of(cases[i].value, cases[i].len)};
        vv_message m = {.attributes = &a, .attribute_count = 1};
        make("a/{attr:site}/{first}-{intent}", &m, name);
        if (strncmp(name, cases[i].want, strlen(cases[i].want)) != 0)
            fail_msg("'%s' gives %s instead of %s..", cases[i].value, name, cases[i].want);
    }
}

static void templates_that_cannot_be_are_refused(void **state)
{
    (void)state;
    static char many[600];
    static char deep[300];
    memset(many, 'a', sizeof many - 1);
    for (unsigned i = 0; i < 7; i++)
        memcpy(deep + strlen(deep), "{attr:a}/", 10);
    (void)snprintf(deep + strlen(deep), 40, "{first}-{intent}");
    const char *const bad[] = {
        "",
        "/{first}-{intent}",
        "{first}-{intent}/",
        "a//{first}-{intent}",
        "../{first}-{intent}",
        "a/../{first}-{intent}",
        ".hidden/{first}-{intent}",
        "a b/{first}-{intent}",
        "a\\b/{first}-{intent}",
        "{first}",
        "{intent}",
        "{table}",
        "{first}-{intent}-{nope}",
        "{first}-{intent}-{attr:}",
        "{first}-{intent}-{",
        "{first}-{intent}-}",
        "{tenant}{table}/{first}-{intent}", /* a part may be too long */
        many,
        deep,
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        vv_error err = {0};
        if (arch_template_check(bad[i], &err) != VV_INVALID || err.msg[0] == '\0')
            fail_msg("'%s' is taken for a template", bad[i]);
    }
}

/* Any values: the name is one, of as many parts as the template; other values, another name. */
static void prop_names_keep_their_form(void **state)
{
    (void)state;
    vv_rng rng;
    char name[VV_OBJECT_NAME_MAX + 1];
    vv_rng_init(&rng, vv_test_seed(8));
    for (unsigned i = 0; i < 20000; i++) {
        uint8_t bytes[300];
        static const char hard[] = "./=\\{}-\0a";
        size_t len = vv_rng_below(&rng, vv_rng_one_in(&rng, 4) ? sizeof bytes : 12);
        for (size_t k = 0; k < len; k++)
            bytes[k] = vv_rng_one_in(&rng, 3) ? (uint8_t)vv_rng_next(&rng)
                                              : (uint8_t)hard[vv_rng_below(&rng, 9)];
        const vv_attribute a = {.name = vv_slice_str("a"),
                                .type = VV_ATTRIBUTE_BYTES,
                                .bytes = vv_slice_of(bytes, len)};
        vv_message m = {.offset = i, .attributes = &a, .attribute_count = 1};
        make("p/{attr:a}/{first}-{intent}", &m, name);
        unsigned slashes = 0;
        for (const char *p = name; *p != '\0'; p++)
            slashes += *p == '/';
        assert_int_equal(slashes, 2);
        assert_memory_equal(name, "p/", 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_stand_for_what_they_say),
        cmocka_unit_test(tricks_stay_in_their_part),
        cmocka_unit_test(templates_that_cannot_be_are_refused),
        cmocka_unit_test(prop_names_keep_their_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
