/*
 * arch_form_test.c - JSON lines, read back by a JSON parser; Parquet, its frame and its limits.
 * What other programs make of a Parquet file is tests/interop/parquet_test.py's to see.
 */
#include "arch_test_util.h"

#include <zstd.h>

#include <cjson/cJSON.h>

#include "archive/arch_parquet_int.h"
#include "base/alloc.h"
#include "base/bytes.h"
#include "base/time_text.h"

static uint64_t write_form(vv_tier_form form, int level, uint64_t seed, uint64_t count,
                           arch_bytes *out)
{
    static arch_test_message t;
    vv_error err = {0};
    arch_form *f = NULL;
    uint64_t size = 0;
    arch_identity who = arch_test_who();
    *out = (arch_bytes){.fail_in = -1};
    assert_ok(arch_form_open(form, &who, level, arch_bytes_sink(out), &f, &err), err);
    for (uint64_t i = 0; i < count; i++) {
        arch_test_message_of(seed, i, &t);
        assert_ok(arch_form_add(f, &t.m, &err), err);
    }
    assert_ok(arch_form_finish(f, &size, &err), err);
    assert_int_equal(size, out->len);
    assert_status(VV_CLOSED, arch_form_finish(f, &size, &err));
    arch_form_close(f);
    return size;
}

/* ---- JSON lines ---- */

/* The text in a frame; the test frees it. */
static char *unpack(const arch_bytes *b)
{
    size_t cap = b->len * 20 + (1u << 20);
    char *text = malloc(cap);
    assert_non_null(text);
    ZSTD_DCtx *ctx = ZSTD_createDCtx();
    assert_non_null(ctx);
    ZSTD_inBuffer in = {.src = b->data, .size = b->len};
    ZSTD_outBuffer out = {.dst = text, .size = cap - 1};
    size_t left = 1;
    while (left != 0 && in.pos < in.size) {
        left = ZSTD_decompressStream(ctx, &out, &in);
        assert_false(ZSTD_isError(left));
    }
    assert_int_equal(left, 0); /* one whole frame */
    assert_int_equal(in.pos, in.size);
    text[out.pos] = '\0';
    (void)ZSTD_freeDCtx(ctx);
    return text;
}

static char *line_of(const vv_message *m)
{
    vv_error err = {0};
    arch_bytes b = {.fail_in = -1};
    arch_form *f = NULL;
    arch_identity who = arch_test_who();
    assert_ok(arch_form_open(VV_TIER_JSONL, &who, 0, arch_bytes_sink(&b), &f, &err), err);
    assert_ok(arch_form_add(f, m, &err), err);
    assert_ok(arch_form_finish(f, NULL, &err), err);
    arch_form_close(f);
    char *text = unpack(&b);
    free(b.data);
    return text;
}

static void a_line_says_what_the_message_has(void **state)
{
    (void)state;
    const vv_attribute a[] = {
        {.name = vv_slice_str("s"),
         .type = VV_ATTRIBUTE_STRING,
         .bytes = vv_slice_str("\"\\\n\x01")},
        {.name = vv_slice_str("b"), .type = VV_ATTRIBUTE_BYTES, .bytes = vv_slice_str("text")},
        {.name = vv_slice_str("bad"), .type = VV_ATTRIBUTE_STRING, .bytes = vv_slice_str("\xff")},
        {.name = vv_slice_str("i"), .type = VV_ATTRIBUTE_I64, .i64 = INT64_MIN},
        {.name = vv_slice_str("f"), .type = VV_ATTRIBUTE_F64, .f64 = -0.25},
        {.name = vv_slice_str("g"), .type = VV_ATTRIBUTE_F64, .f64 = 1e300},
        {.name = vv_slice_str("nan"), .type = VV_ATTRIBUTE_F64, .f64 = (double)NAN},
        {.name = vv_slice_str("yes"), .type = VV_ATTRIBUTE_BOOL, .i64 = 1},
        {.name = vv_slice_str("t"), .type = VV_ATTRIBUTE_TIME, .i64 = -1},
    };
    const struct {
        vv_message m;
        const char *want;
    } cases[] = {
        {{.offset = 7},
         "{\"offset\":7,\"partition\":0,\"receive_time\":\"1970-01-01T00:00:00Z\",\"value\":\"\"}"
         "\n"},
        {{.offset = UINT64_MAX,
          .partition = 3,
          .receive_time_ns = INT64_C(1782000000250000000),
          .event_time_ns = INT64_C(1782000000000001000),
          .key = vv_slice_str("k\xc3\xa9"),
          .content_type = vv_slice_str("text/plain"),
          .source = vv_slice_str("s"),
          .value = vv_slice_str("tab\there")},
         "{\"offset\":18446744073709551615,\"partition\":3,\"receive_time\":"
         "\"2026-06-21T00:00:00.250Z\",\"event_time\":\"2026-06-21T00:00:00.000001Z\","
         "\"key\":\"k\xc3\xa9\",\"content_type\":\"text/plain\",\"source\":\"s\","
         "\"value\":\"tab\\there\"}\n"},
        {{.key = vv_slice_str("\xff"),
          .value = vv_slice_str("\xff\xfe"),
          .attributes = a,
          .attribute_count = ARRAY_LEN(a)},
         "{\"offset\":0,\"partition\":0,\"receive_time\":\"1970-01-01T00:00:00Z\","
         "\"key_base64\":\"/w==\",\"attributes\":{\"s\":\"\\\"\\\\\\n\\u0001\","
         "\"b\":{\"base64\":\"dGV4dA==\"},\"bad\":{\"base64\":\"/w==\"},"
         "\"i\":-9223372036854775808,\"f\":-0.25,\"g\":1e+300,\"nan\":\"NaN\",\"yes\":true,"
         "\"t\":\"1969-12-31T23:59:59.999999999Z\"},\"value_base64\":\"//4=\"}\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *got = line_of(&cases[i].m);
        assert_string_equal(got, cases[i].want);
        free(got);
    }
}

static void times_at_the_ends_of_their_range_are_dates(void **state)
{
    (void)state;
    const struct {
        int64_t ns;
        const char *want;
    } cases[] = {
        {INT64_MIN, "1677-09-21T00:12:43.145224192Z"},
        {INT64_MAX, "2262-04-11T23:47:16.854775807Z"},
        {INT64_C(951782400) * VV_NS_PER_S, "2000-02-29T00:00:00Z"},
        {INT64_C(4107542399) * VV_NS_PER_S, "2100-02-28T23:59:59Z"},
        {INT64_C(4107542400) * VV_NS_PER_S, "2100-03-01T00:00:00Z"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[TIME_TEXT_MAX];
        time_text_format(cases[i].ns, text);
        assert_string_equal(text, cases[i].want);
    }
}

static int digit_of(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *p = c == '\0' ? NULL : strchr(digits, c);
    return p == NULL ? -1 : (int)(p - digits);
}

static void assert_base64(const char *text, vv_slice want)
{
    size_t at = 0;
    for (const char *p = text; *p != '\0'; p += 4) {
        int v = 0;
        int pads = 0;
        for (int i = 0; i < 4; i++) {
            pads += p[i] == '=';
            v = v << 6 | (p[i] == '=' ? 0 : digit_of(p[i]));
        }
        for (int i = 0; i < 3 - pads; i++)
            assert_int_equal((uint8_t)(v >> (16 - 8 * i)), want.data[at++]);
    }
    assert_int_equal(at, want.len);
}

static void assert_bytes(const cJSON *line, const char *name, const char *name_base64,
                         vv_slice want)
{
    const cJSON *text = cJSON_GetObjectItemCaseSensitive(line, name);
    const cJSON *base64 = cJSON_GetObjectItemCaseSensitive(line, name_base64);
    if (base64 != NULL) {
        assert_null(text);
        assert_base64(base64->valuestring, want);
    } else if (text != NULL) {
        assert_true(vv_slice_eq(vv_slice_str(text->valuestring), want));
    } else {
        assert_int_equal(want.len, 0);
    }
}

static void prop_each_line_is_its_message(void **state)
{
    (void)state;
    static arch_test_message t;
    uint64_t seed = vv_test_seed(31);
    arch_bytes b;
    (void)write_form(VV_TIER_JSONL, 3, seed, 2000, &b);
    char *text = unpack(&b);
    char *line = text;
    for (uint64_t i = 0; i < 2000; i++) {
        char *end = strchr(line, '\n');
        assert_non_null(end);
        cJSON *json = cJSON_ParseWithLength(line, (size_t)(end - line));
        assert_non_null(json);
        arch_test_message_of(seed, i, &t);
        assert_true(cJSON_GetObjectItem(json, "offset")->valuedouble == (double)t.m.offset);
        assert_bytes(json, "value", "value_base64", t.m.value);
        assert_bytes(json, "key", "key_base64", t.m.key);
        assert_bytes(json, "source", "none", t.m.source);
        const cJSON *all = cJSON_GetObjectItem(json, "attributes");
        assert_int_equal(all == NULL ? 0 : cJSON_GetArraySize(all), t.m.attribute_count);
        for (size_t k = 0; k < t.m.attribute_count; k++) {
            const vv_attribute *a = &t.attribute[k];
            const cJSON *v = cJSON_GetArrayItem(all, (int)k);
            assert_true(vv_slice_eq(vv_slice_str(v->string), a->name));
            if (a->type == VV_ATTRIBUTE_BYTES)
                assert_base64(cJSON_GetObjectItem(v, "base64")->valuestring, a->bytes);
            if (a->type == VV_ATTRIBUTE_F64 && a->f64 == a->f64)
                assert_true(v->valuedouble == a->f64);
        }
        cJSON_Delete(json);
        line = end + 1;
    }
    assert_int_equal(*line, '\0');
    free(text);
    free(b.data);
}

/* ---- Parquet ---- */

static void a_parquet_file_has_its_frame(void **state)
{
    (void)state;
    for (int level = -1; level < 2; level++) {
        arch_bytes b;
        (void)write_form(VV_TIER_PARQUET, level, 5, 3000, &b);
        assert_memory_equal(b.data, "PAR1", 4);
        assert_memory_equal(b.data + b.len - 4, "PAR1", 4);
        assert_true(vv_get_le32(b.data + b.len - 8) < b.len - 12);
        free(b.data);
    }
}

/* An attribute that appears late, and more names than there are columns. */
static void columns_are_bounded_and_each_has_a_chunk_a_group(void **state)
{
    (void)state;
    static uint8_t value[1u << 20];
    vv_error err = {0};
    arch_bytes b = {.fail_in = -1};
    arch_parquet *p = NULL;
    arch_identity who = arch_test_who();
    assert_ok(arch_parquet_open(&who, 1, arch_bytes_sink(&b), &p, &err), err);
    for (unsigned i = 0; i < 400; i++) {
        char name[32];
        vv_attribute a = {.type = i % 2 == 0 ? VV_ATTRIBUTE_I64 : VV_ATTRIBUTE_STRING,
                          .i64 = i,
                          .bytes = vv_slice_str("x")};
        a.name = vv_slice_of(name, (size_t)snprintf(name, sizeof name, "name-%u", i / 2));
        vv_message m = {.offset = i, .attributes = &a, .attribute_count = 1};
        m.value = vv_slice_of(value, i < 40 ? sizeof value : 1);
        assert_ok(arch_parquet_add(p, &m, &err), err);
        assert_true(p->group_bytes <= PQ_GROUP_BYTES);
    }
    assert_ok(arch_parquet_finish(p, &err), err);
    assert_int_equal(p->column_count, PQ_COLUMNS_MAX);
    assert_true(p->group_count > 4 && p->rows == 400);
    for (uint32_t i = 0; i < p->column_count; i++) {
        assert_int_equal(p->column[i]->chunk_count, p->group_count);
        for (uint32_t g = 0; g < p->group_count; g++)
            assert_int_equal(p->column[i]->chunk[g].rows, p->group[g]);
    }
    assert_memory_equal(p->column[PQ_FIXED]->name, "name-0", 6);
    assert_memory_equal(p->column[PQ_FIXED + 1]->name, "name-0_string", 13);
    assert_true(p->column[PQ_OTHERS]->chunk[p->group_count - 1].nulls <
                p->group[p->group_count - 1]);
    arch_parquet_close(p);
    free(b.data);
}

/* One message can be large, and its JSON six times as large. */
static void the_largest_message_is_taken(void **state)
{
    (void)state;
    const size_t len = VV_STREAM_MESSAGE_MAX - 1000;
    uint8_t *bytes = malloc(len);
    assert_non_null(bytes);
    memset(bytes, 1, len);
    bytes[len - 1] = 0xff;
    const vv_attribute a = {
        .name = vv_slice_str("a"), .type = VV_ATTRIBUTE_STRING, .bytes = vv_slice_of(bytes, len)};
    vv_message attribute = {.attributes = &a, .attribute_count = 1};
    vv_message value = {.offset = 1, .value = vv_slice_of(bytes, len - 1)};
    for (vv_tier_form form = VV_TIER_JSONL; form <= VV_TIER_PARQUET; form++) {
        vv_error err = {0};
        arch_bytes b = {.fail_in = -1};
        arch_form *f = NULL;
        arch_identity who = arch_test_who();
        assert_ok(arch_form_open(form, &who, 0, arch_bytes_sink(&b), &f, &err), err);
        assert_ok(arch_form_add(f, &attribute, &err), err);
        assert_ok(arch_form_add(f, &value, &err), err);
        assert_ok(arch_form_finish(f, NULL, &err), err);
        arch_form_close(f);
        free(b.data);
    }
    free(bytes);
}

/* ---- failures ---- */

static void what_is_no_form_is_refused(void **state)
{
    (void)state;
    vv_error err = {0};
    arch_bytes b = {.fail_in = -1};
    arch_form *f = NULL;
    arch_identity who = arch_test_who();
    arch_sink sink = arch_bytes_sink(&b);
    assert_status(VV_INVALID, arch_form_open(VV_TIER_ALONE, &who, 0, sink, &f, &err));
    assert_status(VV_INVALID, arch_form_open((vv_tier_form)9, &who, 0, sink, &f, &err));
    assert_status(VV_INVALID, arch_form_open(VV_TIER_JSONL, &who, 99, sink, &f, &err));
    assert_status(VV_INVALID, arch_form_open(VV_TIER_PARQUET, &who, 99, sink, &f, &err));
    assert_status(VV_INVALID, arch_form_open(VV_TIER_PARQUET, &who, -2, sink, &f, &err));
    assert_string_equal(arch_form_suffix(VV_TIER_JSONL), ".jsonl.zst");
    assert_string_equal(arch_form_suffix(VV_TIER_PARQUET), ".parquet");
    free(b.data);
}

static vv_status write_all(vv_tier_form form, arch_bytes *b)
{
    static arch_test_message t;
    arch_form *f = NULL;
    arch_identity who = arch_test_who();
    b->len = 0;
    vv_status st = arch_form_open(form, &who, 0, arch_bytes_sink(b), &f, NULL);
    for (uint64_t i = 0; i < 300 && st == VV_OK; i++) {
        arch_test_message_of(2, i, &t);
        st = arch_form_add(f, &t.m, NULL);
    }
    if (st == VV_OK)
        st = arch_form_finish(f, NULL, NULL);
    else if (f != NULL)
        assert_int_equal(arch_form_finish(f, NULL, NULL), st); /* it stays failed */
    arch_form_close(f);
    return st;
}

static void every_allocation_and_write_fails_once(void **state)
{
    (void)state;
    for (vv_tier_form form = VV_TIER_JSONL; form <= VV_TIER_PARQUET; form++) {
        arch_bytes b = {.fail_in = -1};
        assert_int_equal(write_all(form, &b), VV_OK);
        for (int64_t n = 0;; n++) {
            vv_alloc_fail_after(n, 0);
            vv_status st = write_all(form, &b);
            vv_alloc_fail_after(-1, 0);
            if (st == VV_OK)
                break;
            if (st != VV_NO_MEMORY)
                fail_msg("form %d, allocation %lld: %s", (int)form, (long long)n,
                         vv_status_name(st));
            assert_true(n < 2000);
        }
        for (int64_t n = 0;; n++) {
            b.fail_in = n;
            vv_status st = write_all(form, &b);
            if (b.fail_in >= 0) {
                assert_int_equal(st, VV_OK);
                break;
            }
            assert_int_equal(st, VV_IO);
        }
        free(b.data);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_says_what_the_message_has),
        cmocka_unit_test(times_at_the_ends_of_their_range_are_dates),
        cmocka_unit_test(prop_each_line_is_its_message),
        cmocka_unit_test(a_parquet_file_has_its_frame),
        cmocka_unit_test(columns_are_bounded_and_each_has_a_chunk_a_group),
        cmocka_unit_test(the_largest_message_is_taken),
        cmocka_unit_test(what_is_no_form_is_refused),
        cmocka_unit_test(every_allocation_and_write_fails_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
