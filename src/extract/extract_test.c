/*
 * extract_test.c - rules over messages: JSON, pairs, expressions, fields; what is wrong with a
 * message and what becomes of it; whatever comes from outside.
 */
#include "extract_test_util.h"

#include "base/hash.h"

static const char sensor[] =
    "{\"meta\":{\"device\":\"oven-3\",\"tags\":[\"hot\",\"new\"]},\"t\":23.5,\"n\":42,\"on\":true,"
    "\"ts\":\"2026-07-01T12:00:00Z\",\"none\":null,\"big\":123456789012345678901234567890}";

static void json_gives_what_paths_lead_to(void **state)
{
    (void)state;
    bed b = bed_of("device = json $.meta.device\n"
                   "tag = json $.meta.tags[1] string\n"
                   "t = json $.t\n"
                   "tf = json $.n float\n"
                   "n = json $['n'] int\n"
                   "on = json $.on\n"
                   "at = json $.ts time -> event\n"
                   "when = json $.ts time\n"
                   "none = json $.none\n"
                   "gone = json $.meta.gone\n"
                   "meta = json $.meta.tags string\n"
                   "big = json $.big float\n"
                   "same = json $.n",
                   S(""));
    const vv_message *m = run_on(&b, S(sensor));
    expect_text(m, "device", "oven-3");
    expect_text(m, "tag", "new");
    expect_f64(m, "t", 23.5);
    expect_f64(m, "tf", 42);
    expect_i64(m, "n", VV_ATTRIBUTE_I64, 42);
    expect_i64(m, "same", VV_ATTRIBUTE_I64, 42);
    expect_i64(m, "on", VV_ATTRIBUTE_BOOL, 1);
    expect_i64(m, "when", VV_ATTRIBUTE_TIME, INT64_C(1782907200000000000));
    assert_int_equal(m->event_time_ns, INT64_C(1782907200000000000));
    assert_null(attribute(m, "at"));
    assert_null(attribute(m, "none"));
    assert_null(attribute(m, "gone"));
    expect_text(m, "meta", "[\"hot\",\"new\"]");
    expect_f64(m, "big", 123456789012345678901234567890.0);
    expect_text(m, EXTRACT_ERRORS, NULL);
    assert_true(vv_slice_eq(m->content_type, S("application/json")));
    assert_true(vv_slice_eq(m->value, S(sensor)) && vv_slice_eq(m->source, S("gw-1")));
    bed_end(&b);
}

static void escapes_and_names_that_are_there_twice(void **state)
{
    (void)state;
    bed b = bed_of("a = json $.a string\nb = json \"$['x y']\"\nraw = json $.r bytes", S(""));
    const vv_message *m = run_on(
        &b, S("{\"a\":1,\"\\u0061\":\"q\\\"\\n\\u00e9\\ud83d\\ude00\\ud83dz\",\"x y\":\"\\/\"}"));
    expect_text(m, "a", "q\"\n\xc3\xa9\xf0\x9f\x98\x80\xef\xbf\xbdz");
    expect_text(m, "b", "/");
    m = run_on(&b, S("{\"a\":\"first\",\"a\":7,\"r\":\"x\"}"));
    expect_text(m, "a", "7"); /* the last counts; a number is its digits where text is asked for */
    assert_int_equal(attribute(m, "raw")->type, VV_ATTRIBUTE_BYTES);
    bed_end(&b);
}

static void what_is_no_json_is_an_error_of_every_rule(void **state)
{
    (void)state;
    const char *const broken[] = {"",
                                  " ",
                                  "{",
                                  "{\"a\":1",
                                  "{\"a\":1}}",
                                  "{\"a\":1,}",
                                  "{,}",
                                  "[1,]",
                                  "{\"a\"",
                                  "{a:1}",
                                  "{\"a\" 1}",
                                  "{\"a\":01}",
                                  "{\"a\":1.}",
                                  "{\"a\":-}",
                                  "[1 2]",
                                  "tru",
                                  "nul",
                                  "{\"a\":\"\x01\"}",
                                  "{\"a\":\"\\x\"}",
                                  "{\"a\":\"\\u12g4\"}",
                                  "\"a",
                                  "{\"a\":1e}",
                                  "]",
                                  "{\"a\":1]",
                                  "{\"a\":+1}",
                                  "\xff",
                                  "{\"a\":.5}",
                                  "[[]",
                                  "1 1"};
    bed b = bed_of("a = json $.a\nz = const 1", S(""));
    for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
        const vv_message *m = run_on(&b, S(broken[i]));
        if (attribute(m, EXTRACT_ERRORS) == NULL || attribute(m, "a") != NULL)
            fail_msg("'%s' was read", broken[i]);
        expect_text(m, EXTRACT_ERRORS, "a: not JSON");
        expect_i64(m, "z", VV_ATTRIBUTE_I64, 1);
        assert_false(b.result.is_poison);
    }
    const char *const good[] = {"1", "\"x\"", " null ", "[]", "{}", "[{}, [], 1e5, -0.5]", "true"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        expect_text(run_on(&b, S(good[i])), EXTRACT_ERRORS, NULL);
    extract_counts c;
    extract_counts_read(b.program, 0, &c);
    assert_int_equal(c.errors, ARRAY_LEN(broken));
    assert_int_equal(c.absent, ARRAY_LEN(good));
    assert_int_equal(c.found, 0);
    extract_counts_read(b.program, 1, &c);
    assert_int_equal(c.found, ARRAY_LEN(broken) + ARRAY_LEN(good));
    bed_end(&b);
}

static void what_is_nested_too_deep_is_refused(void **state)
{
    (void)state;
    static char deep[200001];
    bed b = bed_of("a = json $.a", S(""));
    memset(deep, '[', sizeof deep - 1);
    expect_text(run_on(&b, S(deep)), EXTRACT_ERRORS, "a: JSON that is nested too deep");
    for (unsigned depth = EXTRACT_JSON_DEPTH_MAX; depth <= EXTRACT_JSON_DEPTH_MAX + 1; depth++) {
        char text[2 * (EXTRACT_JSON_DEPTH_MAX + 1)];
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        const vv_message *m = run_on(&b, vv_slice_of(text, 2 * depth));
        assert_true((attribute(m, EXTRACT_ERRORS) == NULL) == (depth == EXTRACT_JSON_DEPTH_MAX));
    }
    bed_end(&b);
}

static void values_of_the_wrong_type_are_errors(void **state)
{
    (void)state;
    const struct {
        const char *type, *json, *words;
    } cases[] = {
        {"int", "1.5", "no int"},          {"int", "99999999999999999999", "no int"},
        {"int", "\"12x\"", "no int"},      {"int", "true", "a bool"},
        {"float", "\"nan\"", "no float"},  {"float", "1e999", "no float"},
        {"bool", "1", "no bool"},          {"time", "\"yesterday\"", "no time"},
        {"time", "1e300", "no time"},      {"", "1e999", "a number that is too large"},
        {"", "{}", "an object or a list"}, {"int", "[1]", "an object or a list"},
        {"", "\"\xff\"", "not UTF-8"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char rule[64], value[64], want[64];
        (void)snprintf(rule, sizeof rule, "a = json $.a %s", cases[i].type);
        (void)snprintf(value, sizeof value, "{\"a\":%s}", cases[i].json);
        (void)snprintf(want, sizeof want, "a: %s", cases[i].words);
        bed b = bed_of(rule, S(""));
        expect_text(run_on(&b, S(value)), EXTRACT_ERRORS, want);
        bed_end(&b);
    }
}

static void times_have_units(void **state)
{
    (void)state;
    bed b = bed_of("s = json $.s time\nms = json $.ms time_ms\nus = json $.us time_us\n"
                   "ns = json $.ns time_ns",
                   S(""));
    const vv_message *m = run_on(&b, S("{\"s\":1.5,\"ms\":1500,\"us\":\"1500000\",\"ns\":1500}"));
    expect_i64(m, "s", VV_ATTRIBUTE_TIME, 1500000000);
    expect_i64(m, "ms", VV_ATTRIBUTE_TIME, 1500000000);
    expect_i64(m, "us", VV_ATTRIBUTE_TIME, 1500000000);
    expect_i64(m, "ns", VV_ATTRIBUTE_TIME, 1500);
    bed_end(&b);
}

static void pairs_stand_in_text(void **state)
{
    (void)state;
    bed b = bed_of("kind = kv kind\nn = kv n int\nmsg = kv msg\nopen = kv open", S(""));
    const vv_message *m = run_on(
        &b, S("WARN disk: kind=full, n=12; msg=\"a \\\"b\\\" c\" =x kind=over&open=\"no end"));
    expect_text(m, "kind", "over");
    expect_i64(m, "n", VV_ATTRIBUTE_I64, 12);
    expect_text(m, "msg", "a \\\"b\\\" c");
    expect_text(m, "open", "\"no");
    m = run_on(&b, S("n=many"));
    expect_text(m, EXTRACT_ERRORS, "n: no int");
    bed_end(&b);
}

static void an_expression_gives_its_group(void **state)
{
    (void)state;
    bed b = bed_of("level = regex \"^(\\w+):\" 1\nid = regex \"id=(\\d+)\" 1 int\n"
                   "all = regex \"[0-9]+ms\"",
                   S(""));
    const vv_message *m = run_on(&b, S("WARN: id=17 took 31ms"));
    expect_text(m, "level", "WARN");
    expect_i64(m, "id", VV_ATTRIBUTE_I64, 17);
    expect_text(m, "all", "31ms");
    m = run_on(&b, S("nothing of it"));
    assert_int_equal(m->attribute_count, 0);
    bed_end(&b);
}

static void an_expression_ends_with_its_steps(void **state)
{
    (void)state;
    static char text[100001];
    memset(text, 'a', sizeof text - 1);
    bed b = bed_of("a = regex \"((a*)*)*b\"\nb = regex \"x\"\nz = const true", S(""));
    const vv_message *m = run_on(&b, S(text));
    expect_text(m, EXTRACT_ERRORS,
                "a: more steps than an expression may take; "
                "b: more steps than an expression may take");
    expect_i64(m, "z", VV_ATTRIBUTE_BOOL, 1);
    m = run_on(&b, S("x")); /* each message has steps of its own */
    expect_text(m, "b", "x");
    bed_end(&b);
}

static void fields_and_constants(void **state)
{
    (void)state;
    bed b =
        bed_of("size = field value_size\nksize = field key_size\nhash = field hash\n"
               "type = field content_type\ntenant = field tenant\ntable = field table\n"
               "from = field source\nkey = field key\n"
               "site = const ham\nn = const 7\nx = const 7.5\nyes = const true\nt = const \"7\"",
               S(""));
    const vv_message *m = run_on(&b, S("%PDF-1.7"));
    char hash[17];
    (void)snprintf(hash, sizeof hash, "%016llx", (unsigned long long)vv_hash64("%PDF-1.7", 8));
    expect_i64(m, "size", VV_ATTRIBUTE_I64, 8);
    expect_i64(m, "ksize", VV_ATTRIBUTE_I64, 0);
    expect_text(m, "hash", hash);
    expect_text(m, "type", "application/pdf");
    expect_text(m, "tenant", "acme");
    expect_text(m, "table", "orders");
    expect_text(m, "from", "gw-1");
    assert_null(attribute(m, "key"));
    expect_text(m, "site", "ham");
    expect_i64(m, "n", VV_ATTRIBUTE_I64, 7);
    expect_f64(m, "x", 7.5);
    expect_i64(m, "yes", VV_ATTRIBUTE_BOOL, 1);
    expect_text(m, "t", "7");
    bed_end(&b);
}

static void an_entity_has_a_namespace(void **state)
{
    (void)state;
    bed b = bed_of("entity = json $.e", S(""));
    expect_text(run_on(&b, S("{\"e\":\"plant:sensor\"}")), "entity", "plant:sensor");
    expect_text(run_on(&b, S("{\"e\":\"sensor\"}")), "entity", "acme:sensor");
    const char *const wrong[] = {":", "a:", ":b", "a:b:c", "a b", "", "a:b\\n"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        char value[64];
        (void)snprintf(value, sizeof value, "{\"e\":\"%s\"}", wrong[i]);
        expect_text(run_on(&b, S(value)), EXTRACT_ERRORS, "entity: no entity, namespace:type");
    }
    bed_end(&b);
}

static void a_required_rule_makes_poison(void **state)
{
    (void)state;
    bed b = bed_of("id = json $.id int required\nx = json $.x", S(""));
    const vv_message *m = run_on(&b, S("{\"id\":1}"));
    assert_false(b.result.is_poison);
    m = run_on(&b, S("{\"x\":1}"));
    assert_true(b.result.is_poison);
    assert_string_equal(b.result.reason, "rule 'id': it finds nothing");
    assert_int_equal(m->attribute_count, 0); /* as it came */
    assert_int_equal(m->content_type.len, 0);
    (void)run_on(&b, S("{\"id\":\"x\"}"));
    assert_string_equal(b.result.reason, "rule 'id': no int");
    (void)run_on(&b, S("no json"));
    assert_string_equal(b.result.reason, "rule 'id': not JSON");
    bed_end(&b);
}

static void own_attributes_stay_but_for_those_of_rules(void **state)
{
    (void)state;
    vv_error err = {0};
    bed b = bed_of("id = kv id\nmissing = kv missing", S(""));
    vv_attribute own[VV_STREAM_ATTRIBUTES_MAX] = {
        {.name = S("mine"), .type = VV_ATTRIBUTE_I64, .i64 = 5},
        {.name = S("id"), .type = VV_ATTRIBUTE_I64, .i64 = 6},
        {.name = S("missing"), .type = VV_ATTRIBUTE_I64, .i64 = 7},
        {.name = S(EXTRACT_ERRORS), .type = VV_ATTRIBUTE_STRING, .bytes = S("spoofed")},
    };
    vv_message in = {
        .value = S("id=x"), .content_type = S("my/type"), .attributes = own, .attribute_count = 4};
    extract_place place = any_place();
    assert_ok(extract_run(b.runner, &place, &in, &b.result, &err), err);
    const vv_message *m = &b.result.message;
    expect_i64(m, "mine", VV_ATTRIBUTE_I64, 5);
    expect_text(m, "id", "x");
    expect_i64(m, "missing", VV_ATTRIBUTE_I64, 7);
    expect_text(m, EXTRACT_ERRORS, NULL);
    assert_int_equal(m->attribute_count, 3);
    assert_true(vv_slice_eq(m->content_type, S("my/type")));
    in.attribute_count = VV_STREAM_ATTRIBUTES_MAX;
    assert_status(VV_INVALID, extract_run(b.runner, &place, &in, &b.result, &err));
    assert_non_null(strstr(err.msg, "it may bring 252"));
    bed_end(&b);
}

static void what_does_not_fit_is_left_out(void **state)
{
    (void)state;
    vv_error err = {0};
    static char big[60000], text[64000];
    memset(big, 'x', sizeof big - 1);
    (void)snprintf(text, sizeof text, "{\"a\":\"%.*s\",\"b\":\"%.*s\"}",
                   (int)EXTRACT_ATTRIBUTE_MAX + 1, big, (int)EXTRACT_ATTRIBUTE_MAX, big);
    bed b = bed_of("a = json $.a\nb = json $.b\nb2 = json $.b\nb3 = json $.b\nb4 = json $.b\n"
                   "b5 = json $.b",
                   S(""));
    const vv_message *m = run_on(&b, S(text));
    expect_text(m, EXTRACT_ERRORS,
                "a: longer than an attribute may be; "
                "b5: more attributes than a message may have");
    assert_non_null(attribute(m, "b4"));

    extract_place tight = any_place();
    vv_message in = {.value = S("{\"b\":\"0123456789\"}")};
    tight.size_max = stream_message_size(&in) + 20;
    assert_ok(extract_run(b.runner, &tight, &in, &b.result, &err), err);
    assert_int_equal(b.result.message.attribute_count, 0);
    assert_int_equal(stream_message_size(&b.result.message), stream_message_size(&in));
    assert_int_equal(extract_overflows(b.program), 1);
    bed_end(&b);
}

/* What one message makes is bounded, whatever it holds; of many, the append is told to be smaller.
 */
static void explosions_are_bounded(void **state)
{
    (void)state;
    vv_error err = {0};
    extract_place place = any_place();
    bed b = bed_of("a = json $.a\nb = json $.b int\nc = const 1", S(""));
    vv_buf text;
    vv_buf_init(&text, 12u << 20);
    vv_buf_append(&text, "{", 1);
    for (int i = 0; i < 200; i++) { /* a string with escapes again and again */
        vv_buf_append(&text, "\"a\":\"", 5);
        for (int k = 0; k < 8000; k++)
            vv_buf_append(&text, "\\u0041", 6);
        vv_buf_append(&text, "\",", 2);
    }
    vv_buf_append(&text, "\"b\":5}", 6);
    assert_int_equal(text.status, VV_OK);
    const vv_message *m = run_on(&b, vv_buf_slice(&text));
    expect_text(m, EXTRACT_ERRORS, "a: its strings with escapes are too many");
    expect_i64(m, "b", VV_ATTRIBUTE_I64, 5);
    vv_buf_reset(&text);
    vv_buf_append(&text, "{", 1);
    for (int i = 0; i < 50000; i++) /* names, many and huge ones */
        vv_buf_printf(&text, "\"%d\":{},", i);
    vv_buf_append(&text, "\"", 1);
    for (int i = 0; i < 1 << 20; i++)
        vv_buf_append_u8(&text, 'b');
    vv_buf_append(&text, "\":1,\"b\":5}", 10);
    m = run_on(&b, vv_buf_slice(&text));
    expect_i64(m, "b", VV_ATTRIBUTE_I64, 5);
    vv_buf_fini(&text);

    vv_attribute own[VV_STREAM_ATTRIBUTES_MAX - EXTRACT_OWN_MAX];
    char names[ARRAY_LEN(own)][8];
    for (size_t i = 0; i < ARRAY_LEN(own); i++) {
        (void)snprintf(names[i], sizeof names[i], "n%zu", i);
        own[i] = (vv_attribute){.name = S(names[i]), .type = VV_ATTRIBUTE_I64};
    }
    const vv_message wide = {
        .value = S("{}"), .attributes = own, .attribute_count = ARRAY_LEN(own)};
    for (int round = 0; round < 2; round++) {
        size_t count = 0;
        vv_status st = VV_OK;
        extract_runner_reset(b.runner);
        while (st == VV_OK && count++ < VV_STREAM_MESSAGES_MAX)
            st = extract_run(b.runner, &place, &wide, &b.result, &err);
        assert_status(VV_INVALID, st);
        assert_true(count > 1000);
        assert_non_null(strstr(err.msg, "the 64 MiB of one append: append fewer messages at once"));
    }
    bed_end(&b);
}

static void content_is_known_by_its_beginning(void **state)
{
    (void)state;
    const struct {
        const char *bytes;
        size_t len;
        const char *type;
    } cases[] = {
        {"", 0, ""},
        {"\x1f\x8b\x08", 3, "application/gzip"},
        {"\x28\xb5\x2f\xfd", 4, "application/zstd"},
        {"\x89PNG\r\n\x1a\n.", 9, "image/png"},
        {"\xff\xd8\xff\xe0", 4, "image/jpeg"},
        {"RIFF....WEBP", 12, "image/webp"},
        {"%PDF-1.4", 8, "application/pdf"},
        {"PAR1", 4, "application/vnd.apache.parquet"},
        {" {\"a\":1}\n", 9, "application/json"},
        {"[1,2]", 5, "application/json"},
        {"{not closed", 11, "text/plain"},
        {"<?xml version='1.0'?><a/>", 25, "application/xml"},
        {"<!DOCTYPE HTML><p>", 18, "text/html"},
        {"a,b\n1,2\n", 8, "text/csv"},
        {"a;b\n\"1;x\";2\n", 12, "text/csv"},
        {"a,b\nonly one\n", 13, "text/plain"},
        {"hello \xc3\xa9", 8, "text/plain"},
        {"hello \xc3", 7, "application/octet-stream"},
        {"a\0b", 3, "application/octet-stream"},
        {"\x08\x96\x01", 3, "application/octet-stream"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *got = extract_sniff(vv_slice_of(cases[i].bytes, cases[i].len));
        if (strcmp(got, cases[i].type) != 0)
            fail_msg("case %zu is '%s', not '%s'", i, got, cases[i].type);
    }
}

/* Whatever bytes come, the message that goes on is one that can be stored, and gives the same
 * again. */
static void prop_any_bytes_make_a_message(void **state)
{
    (void)state;
    vv_rng rng;
    vv_error err = {0};
    vv_rng_init(&rng, vv_test_seed(3));
    bed b = bed_of("a = json $.meta.device\nb = json $.t float\nc = kv t\nd = regex \"(t.)\" 1\n"
                   "e = field hash\nf = json $.meta string\ng = json $.meta.tags[0] bytes",
                   S(""));
    for (int i = 0; i < 20000; i++) {
        char text[sizeof sensor];
        memcpy(text, sensor, sizeof text);
        size_t len = (size_t)vv_rng_below(&rng, sizeof text);
        if (vv_rng_one_in(&rng, 2))
            len = sizeof text - 1;
        for (uint64_t k = vv_rng_below(&rng, 4); k > 0; k--)
            text[vv_rng_below(&rng, sizeof text - 1)] = (char)vv_rng_next(&rng);
        const vv_message *m = run_on(&b, vv_slice_of(text, len));
        assert_ok(stream_message_check(m, VV_STREAM_MESSAGE_MAX, &err), err);
        size_t size = stream_message_size(m);
        assert_int_equal(stream_message_size(run_on(&b, vv_slice_of(text, len))), size);
    }
    bed_end(&b);
}

static void walk_every_allocation_may_fail(void **state)
{
    (void)state;
    bed b = bed_of("entity = json $.e\nh = field hash\nx = json $.x int", S(""));
    extract_place place = any_place();
    vv_message in = {.value = S("{\"e\":\"\\u0061\",\"x\":\"y\"}")};
    for (int64_t n = 0;; n++) {
        extract_runner *r = NULL;
        vv_alloc_fail_after(n, 0);
        vv_status st = extract_runner_create(b.program, &r, NULL);
        if (st == VV_OK)
            st = extract_run(r, &place, &in, &b.result, NULL);
        vv_alloc_fail_after(-1, 0);
        if (st == VV_OK)
            expect_text(&b.result.message, "entity", "acme:a");
        extract_runner_destroy(r);
        if (st == VV_OK)
            break;
        assert_int_equal(st, VV_NO_MEMORY);
    }
    bed_end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_gives_what_paths_lead_to),
        cmocka_unit_test(escapes_and_names_that_are_there_twice),
        cmocka_unit_test(what_is_no_json_is_an_error_of_every_rule),
        cmocka_unit_test(what_is_nested_too_deep_is_refused),
        cmocka_unit_test(values_of_the_wrong_type_are_errors),
        cmocka_unit_test(times_have_units),
        cmocka_unit_test(pairs_stand_in_text),
        cmocka_unit_test(an_expression_gives_its_group),
        cmocka_unit_test(an_expression_ends_with_its_steps),
        cmocka_unit_test(fields_and_constants),
        cmocka_unit_test(an_entity_has_a_namespace),
        cmocka_unit_test(a_required_rule_makes_poison),
        cmocka_unit_test(own_attributes_stay_but_for_those_of_rules),
        cmocka_unit_test(what_does_not_fit_is_left_out),
        cmocka_unit_test(content_is_known_by_its_beginning),
        cmocka_unit_test(explosions_are_bounded),
        cmocka_unit_test(prop_any_bytes_make_a_message),
        cmocka_unit_test(walk_every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
