/*
 * promql_test.c - the subset, held against values worked out by hand and against refusals by name.
 * tests/interop asks a real Prometheus the same questions.
 */
#include "promql/promql.h"

#include <math.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "base/util.h"
#include "vv_test.h"

#define S VV_NS_PER_S
#define MEMORY (8u * 1024 * 1024)

/* ---- a table of samples ---- */

#define LABEL(n, v)                                                                                \
    {                                                                                              \
        vv_slice_str(n), vv_slice_str(v)                                                           \
    }

typedef struct fake_series {
    vv_label labels[4];
    size_t label_count;
    int64_t time_ns[16];
    double value[16];
    size_t count;
} fake_series;

static fake_series table[8];
static size_t table_count;
static int64_t asked_start;
static int64_t asked_end;

static void fill_table(void)
{
    uint64_t stale_bits = UINT64_C(0x7ff0000000000002);
    double stale;
    memcpy(&stale, &stale_bits, sizeof stale);
    fake_series rows[] = {
        /* a counter each 10 s that begins anew at 50 s */
        {{LABEL("__name__", "hits"), LABEL("host", "a"), LABEL("job", "web")},
         3,
         {0, 10 * S, 20 * S, 30 * S, 40 * S, 50 * S, 60 * S},
         {0, 10, 20, 30, 40, 5, 15},
         7},
        {{LABEL("__name__", "hits"), LABEL("host", "b"), LABEL("job", "web")},
         3,
         {0, 10 * S, 20 * S, 30 * S, 40 * S, 50 * S, 60 * S},
         {100, 102, 104, 106, 108, 110, 112},
         7},
        {{LABEL("__name__", "temp"), LABEL("host", "a")},
         2,
         {0, 30 * S, 60 * S},
         {-1.5, 2, NAN},
         3},
        {{LABEL("__name__", "gone"), LABEL("host", "a")}, 2, {0, 10 * S, 20 * S}, {1, 2, 0}, 3},
        {{LABEL("__name__", "level"), LABEL("host", "a"), LABEL("job", "web")}, 3, {0}, {7}, 1},
    };
    rows[3].value[2] = stale;
    table_count = ARRAY_LEN(rows);
    memcpy(table, rows, sizeof rows);
}

static vv_slice label_of(const fake_series *s, vv_slice name)
{
    for (size_t i = 0; i < s->label_count; i++)
        if (vv_slice_eq(s->labels[i].name, name))
            return s->labels[i].value;
    return vv_slice_str("");
}

static bool is_match(const fake_series *s, const vv_matcher *m)
{
    bool equal = vv_slice_eq(label_of(s, m->name), m->value);
    bool any = vv_slice_eq(m->value, vv_slice_str(".+"));
    switch (m->op) {
    case VV_MATCH_EQ:
        return equal;
    case VV_MATCH_NE:
        return !equal;
    case VV_MATCH_RE:
        return any ? label_of(s, m->name).len > 0 : equal;
    default:
        return any ? label_of(s, m->name).len == 0 : !equal;
    }
}

static vv_status fake_select(void *ctx, const vv_matcher *matchers, size_t matcher_count,
                             int64_t start_ns, int64_t end_ns, vv_arena *arena,
                             const promql_series **out, size_t *count, vv_error *err)
{
    (void)ctx;
    asked_start = start_ns;
    asked_end = end_ns;
    promql_series *found = vv_arena_alloc(arena, table_count * sizeof *found);
    if (found == NULL)
        return vv_fail(err, VV_BUSY, "memory limit");
    *count = 0;
    for (size_t i = 0; i < table_count; i++) {
        const fake_series *s = &table[i];
        bool all = true;
        for (size_t j = 0; j < matcher_count; j++)
            all &= is_match(s, &matchers[j]);
        size_t first = 0;
        while (first < s->count && s->time_ns[first] < start_ns)
            first++;
        size_t end = first;
        while (end < s->count && s->time_ns[end] <= end_ns)
            end++;
        if (all && end > first)
            found[(*count)++] = (promql_series){.labels = s->labels,
                                                .label_count = s->label_count,
                                                .time_ns = s->time_ns + first,
                                                .value = s->value + first,
                                                .count = end - first};
    }
    *out = found;
    return VV_OK;
}

static const promql_source fake = {.select = fake_select};

/* ---- results as text ---- */

static void print_row(const promql_row *r, size_t steps, char *out, size_t size)
{
    size_t len = strlen(out);
    len += (size_t)snprintf(out + len, size - len, "{");
    for (size_t i = 0; i < r->label_count; i++)
        len += (size_t)snprintf(out + len, size - len, "%s%.*s=%.*s", i == 0 ? "" : ",",
                                (int)r->labels[i].name.len, (const char *)r->labels[i].name.data,
                                (int)r->labels[i].value.len, (const char *)r->labels[i].value.data);
    len += (size_t)snprintf(out + len, size - len, "}");
    for (size_t k = 0; k < steps; k++)
        if (r->is_present[k])
            len += (size_t)snprintf(out + len, size - len, " %.6g", r->value[k]);
        else
            len += (size_t)snprintf(out + len, size - len, " -");
    (void)snprintf(out + len, size - len, "\n");
}

static vv_status ask(const char *text, const promql_options *opt, char *out, size_t size,
                     vv_error *err)
{
    promql_expr *expr = NULL;
    out[0] = '\0';
    vv_status st = promql_parse(vv_slice_str(text), &expr, err);
    if (st != VV_OK)
        return st;
    vv_arena arena;
    vv_arena_init(&arena, MEMORY);
    promql_result result;
    st = promql_eval(expr, &fake, opt, &arena, &result, err);
    if (st == VV_OK) {
        assert_int_equal(result.type, promql_type_of(expr));
        for (size_t i = 0; i < result.row_count; i++)
            print_row(&result.rows[i], result.steps, out, size);
    }
    vv_arena_fini(&arena);
    promql_free(expr);
    return st;
}

static void test_values(void **state)
{
    (void)state;
    fill_table();
    const promql_options at60 = {.start_ns = 60 * S};
    const promql_options range = {.start_ns = 0, .end_ns = 65 * S, .step_ns = 30 * S};
    const promql_options sparse = {.start_ns = 0, .end_ns = 400 * S, .step_ns = 200 * S};
    const struct {
        const char *text;
        const promql_options *opt;
        const char *want;
    } cases[] = {
        {"1+1", &at60, "{} 2\n"},
        {"2^3^2", &at60, "{} 512\n"},
        {"-2^2", &at60, "{} -4\n"},
        {"-2*3", &at60, "{} -6\n"},
        {"7 - 2 - 1", &at60, "{} 4\n"},
        {"1 + 2 * 3 % 4", &at60, "{} 3\n"},
        {"0x10 + 1e1 + .5", &at60, "{} 26.5\n"},
        {"3 >bool 2", &at60, "{} 1\n"},
        {"time()", &range, "{} 0 30 60\n"},
        {"vector(3) # a remark", &at60, "{} 3\n"},
        {"1/0", &at60, "{} inf\n"},
        {"Inf", &at60, "{} inf\n"},
        {"hits", &range,
         "{__name__=hits,host=a,job=web} 0 30 15\n{__name__=hits,host=b,job=web} 100 106 112\n"},
        {"hits{host='b'} offset 30s", &range, "{__name__=hits,host=b,job=web} - 100 106\n"},
        {"{__name__=\"temp\"}", &at60, "{__name__=temp,host=a} nan\n"},
        {"hits{host!=\"a\",job=~`.+`}", &at60, "{__name__=hits,host=b,job=web} 112\n"},
        {"gone", &range, "{__name__=gone,host=a} 1 - -\n"},
        {"count_over_time(gone[1m])", &at60, "{host=a} 2\n"},
        {"hits * 2", &at60, "{host=a,job=web} 30\n{host=b,job=web} 224\n"},
        {"100 - hits", &at60, "{host=a,job=web} 85\n{host=b,job=web} -12\n"},
        {"hits > 20", &range,
         "{__name__=hits,host=a,job=web} - 30 -\n{__name__=hits,host=b,job=web} 100 106 112\n"},
        {"hits > bool 20", &at60, "{host=a,job=web} 0\n{host=b,job=web} 1\n"},
        {"20 < hits", &at60,
         "{__name__=hits,host=a,job=web} -\n{__name__=hits,host=b,job=web} 112\n"},
        {"-temp", &range, "{host=a} 1.5 -2 nan\n"},
        {"abs(temp)", &range, "{host=a} 1.5 2 nan\n"},
        {"sum(hits)", &at60, "{} 127\n"},
        {"sum by (host) (hits)", &at60, "{host=a} 15\n{host=b} 112\n"},
        {"sum(hits) by (job)", &at60, "{job=web} 127\n"},
        {"max without (host) (hits)", &at60, "{job=web} 112\n"},
        {"count({host=\"a\"})", &at60, "{} 3\n"},
        {"avg(hits)", &range, "{} 50 68 63.5\n"},
        {"min by (nowhere) (hits)", &at60, "{} 15\n"},
        /* 30 s: samples at 30 40 50 60; the counter rises 10, falls to 5 (+5 and 40 before), 10 */
        {"increase(hits{host=\"a\"}[30s])", &at60, "{host=a,job=web} 25\n"},
        {"rate(hits{host=\"b\"}[30s])", &at60, "{host=b,job=web} 0.2\n"},
        {"delta(hits{host=\"a\"}[30s])", &at60, "{host=a,job=web} -15\n"},
        {"irate(hits{host=\"a\"}[1m])", &at60, "{host=a,job=web} 1\n"},
        {"idelta(hits{host=\"b\"}[1m])", &at60, "{host=b,job=web} 2\n"},
        {"sum_over_time(hits{host=\"b\"}[20s])", &at60, "{host=b,job=web} 330\n"},
        {"avg_over_time(hits{host=\"b\"}[20s])", &at60, "{host=b,job=web} 110\n"},
        {"max_over_time(hits{host=\"a\"}[1m])", &at60, "{host=a,job=web} 40\n"},
        {"min_over_time(temp[1m])", &at60, "{host=a} -1.5\n"},
        {"last_over_time(level[2m])", &at60, "{__name__=level,host=a,job=web} 7\n"},
        {"quantile_over_time(0.5, hits{host=\"b\"}[30s])", &at60, "{host=b,job=web} 109\n"},
        {"stdvar_over_time(hits{host=\"b\"}[20s])", &at60, "{host=b,job=web} 2.66667\n"},
        {"changes(hits{host=\"a\"}[1m])", &at60, "{host=a,job=web} 6\n"},
        {"resets(hits{host=\"a\"}[1m])", &at60, "{host=a,job=web} 1\n"},
        {"sum(rate(hits[30s])) * 60", &at60, "{} 62\n"},
        {"level", &sparse, "{__name__=level,host=a,job=web} 7 7 -\n"},
        {"nothing", &at60, ""},
        {"rate(level[1m])", &at60, "{host=a,job=web} -\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char got[2048];
        vv_error err = {0};
        vv_status st = ask(cases[i].text, cases[i].opt, got, sizeof got, &err);
        if (st != VV_OK || strcmp(got, cases[i].want) != 0)
            fail_msg("%s: %s\ngot\n%swanted\n%s", cases[i].text, err.msg, got, cases[i].want);
    }
}

/* 40 -> 5 is a new beginning: 5 + 10 + 10 of 30 s, sampled at both ends. Worked out above; here the
 * range reaches beyond the samples on both sides. */
static void test_a_rate_is_stretched_to_the_ends_of_its_range(void **state)
{
    (void)state;
    fill_table();
    char got[256];
    const promql_options at = {.start_ns = 64 * S};
    /* 38 s back: 26..64. Samples 30..60 of 30 s, mean distance 10: 4 s on each side. */
    assert_int_equal(ask("increase(hits{host=\"b\"}[38s])", &at, got, sizeof got, NULL), VV_OK);
    assert_string_equal(got, "{host=b,job=web} 7.6\n");
    /* A counter cannot have been below zero: from 0 at 0 s nothing is added before. */
    const promql_options early = {.start_ns = 20 * S};
    assert_int_equal(ask("increase(hits{host=\"a\"}[25s])", &early, got, sizeof got, NULL), VV_OK);
    assert_string_equal(got, "{host=a,job=web} 20\n");
}

static void test_what_is_read(void **state)
{
    (void)state;
    fill_table();
    char got[256];
    const promql_options opt = {.start_ns = 1000 * S, .end_ns = 1095 * S, .step_ns = 10 * S};
    assert_int_equal(ask("rate(hits[5m] offset 1m)", &opt, got, sizeof got, NULL), VV_OK);
    assert_true(asked_start == (1000 - 300 - 60) * S);
    assert_true(asked_end == (1090 - 60) * S);
    assert_int_equal(ask("hits", &opt, got, sizeof got, NULL), VV_OK);
    assert_true(asked_start == (1000 - 300) * S);
}

static void test_refusals(void **state)
{
    (void)state;
    fill_table();
    const struct {
        const char *text;
        vv_status want;
        const char *part;
    } cases[] = {
        {"", VV_INVALID, "the query ends"},
        {"(", VV_INVALID, "the query ends"},
        {"hits{", VV_INVALID, "the name of a label"},
        {"hits{a}", VV_INVALID, "one of = != =~ !~"},
        {"hits{a=b}", VV_INVALID, "a text in quotes"},
        {"hits{a=\"b}", VV_INVALID, "has no end"},
        {"hits{a=\"\\q\"}", VV_INVALID, "escape"},
        {"hits{a=\"b\" c=\"d\"}", VV_INVALID, "',' or '}'"},
        {"{}", VV_INVALID, "a matcher"},
        {"{a=\"\"}", VV_INVALID, "a matcher"},
        {"{a=~\".*\"}", VV_INVALID, "a matcher"},
        {"hits[5]", VV_INVALID, "a duration"},
        {"hits[0s]", VV_INVALID, "longer than nothing"},
        {"hits[5m", VV_INVALID, "']'"},
        {"hits[99999999999y]", VV_INVALID, "too long"},
        {"hits[5m:1m]", VV_UNSUPPORTED, "subqueries"},
        {"hits @ 5", VV_UNSUPPORTED, "@"},
        {"rate(hits)", VV_INVALID, "takes a range"},
        {"rate(hits[5m], 1)", VV_INVALID, "takes 1 argument"},
        {"quantile_over_time(hits[5m])", VV_INVALID, "takes 2 arguments"},
        {"abs(1)", VV_INVALID, "takes an instant vector"},
        {"hits[5m] + 1", VV_INVALID, "cannot be calculated"},
        {"1 == 1", VV_INVALID, "needs bool"},
        {"1 + bool 1", VV_INVALID, "bool is for comparisons"},
        {"histogram_quantile(0.9, hits)", VV_UNSUPPORTED, "histogram_quantile"},
        {"topk(3, hits)", VV_UNSUPPORTED, "topk"},
        {"nonsense(hits)", VV_INVALID, "nonsense"},
        {"hits and hits", VV_UNSUPPORTED, "'and'"},
        {"hits / hits", VV_UNSUPPORTED, "between two vectors"},
        {"hits / on (host) hits", VV_UNSUPPORTED, "'on'"},
        {"1 2", VV_INVALID, "the end of the query"},
        {"1 $ 2", VV_INVALID, "'$'"},
        {"\"text\"", VV_INVALID, "a selector"},
        {"sum by (1) (hits)", VV_INVALID, "the name of a label"},
        {"sum(1)", VV_INVALID, "takes an instant vector"},
        {"abs({host=\"a\",job=\"web\"})", VV_INVALID, "same labels"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char got[2048];
        vv_error err = {0};
        const promql_options at = {.start_ns = 60 * S};
        vv_status st = ask(cases[i].text, &at, got, sizeof got, &err);
        if (st != cases[i].want || strstr(err.msg, cases[i].part) == NULL)
            fail_msg("%s: %d %s", cases[i].text, (int)st, err.msg);
    }
}

static void test_limits(void **state)
{
    (void)state;
    fill_table();
    char got[64];
    vv_error err = {0};
    promql_options opt = {.start_ns = 0, .end_ns = PROMQL_STEPS_MAX * S, .step_ns = S};
    assert_int_equal(ask("1", &opt, got, sizeof got, &err), VV_INVALID);
    assert_non_null(strstr(err.msg, "over 11000 points"));
    opt = (promql_options){.start_ns = 5, .end_ns = 4, .step_ns = 1};
    assert_int_equal(ask("1", &opt, got, sizeof got, &err), VV_INVALID);
    opt = (promql_options){.start_ns = INT64_MIN, .end_ns = INT64_MAX, .step_ns = 1};
    assert_int_equal(ask("1", &opt, got, sizeof got, &err), VV_INVALID);
    opt = (promql_options){.start_ns = INT64_MIN};
    assert_int_equal(ask("hits", &opt, got, sizeof got, &err), VV_INVALID);
    assert_non_null(strstr(err.msg, "leave the times"));

    char deep[512];
    memset(deep, '(', sizeof deep);
    deep[sizeof deep - 1] = '\0';
    assert_int_equal(ask(deep, &opt, got, sizeof got, &err), VV_INVALID);
    assert_non_null(strstr(err.msg, "nested"));
    static char wide[PROMQL_TEXT_MAX + 2];
    memset(wide, '1', sizeof wide - 1);
    assert_int_equal(ask(wide, &opt, got, sizeof got, &err), VV_INVALID);
    wide[PROMQL_TEXT_MAX] = '\0';
    assert_int_equal(ask(wide, &opt, got, sizeof got, &err), VV_INVALID);

    promql_expr *expr = NULL;
    assert_int_equal(promql_parse(vv_slice_str("sum(rate(hits[1m]))"), &expr, NULL), VV_OK);
    opt = (promql_options){.start_ns = 0, .end_ns = 10000 * S, .step_ns = S};
    vv_arena small;
    vv_arena_init(&small, 64 * 1024);
    promql_result result;
    assert_int_equal(promql_eval(expr, &fake, &opt, &small, &result, &err), VV_BUSY);
    assert_non_null(strstr(err.msg, "memory limit"));
    vv_arena_fini(&small);
    promql_free(expr);
}

static void test_selectors_and_ranges_by_themselves(void **state)
{
    (void)state;
    fill_table();
    promql_expr *expr = NULL;
    const vv_matcher *matchers = NULL;
    size_t count = 0;
    assert_int_equal(promql_parse(vv_slice_str("hits{host=~\"a|b\"}"), &expr, NULL), VV_OK);
    assert_int_equal(promql_selector_of(expr, &matchers, &count, NULL), VV_OK);
    assert_int_equal(count, 2);
    assert_true(vv_slice_eq(matchers[0].value, vv_slice_str("hits")));
    assert_int_equal(matchers[1].op, VV_MATCH_RE);
    promql_free(expr);
    assert_int_equal(promql_parse(vv_slice_str("hits[5m]"), &expr, NULL), VV_OK);
    assert_int_equal(promql_selector_of(expr, &matchers, &count, NULL), VV_INVALID);
    vv_arena arena;
    vv_arena_init(&arena, MEMORY);
    promql_result result;
    promql_options opt = {.start_ns = 60 * S};
    assert_int_equal(promql_eval(expr, &fake, &opt, &arena, &result, NULL), VV_OK);
    assert_int_equal(result.type, PROMQL_RANGE);
    assert_int_equal(result.range_count, 2);
    assert_int_equal(result.ranges[0].count, 7);
    opt = (promql_options){.start_ns = 0, .end_ns = 60 * S, .step_ns = S};
    assert_int_equal(promql_eval(expr, &fake, &opt, &arena, &result, NULL), VV_INVALID);
    vv_arena_fini(&arena);
    promql_free(expr);
}

/* Any text is read or refused with a sentence; what is read can be evaluated. */
static void prop_no_text_breaks_it(void **state)
{
    (void)state;
    fill_table();
    static const char *const pieces[] = {
        "hits", "{", "}",  "(", ")",        "[5m]",  "rate", "sum", " by ",
        "+",    "-", "*",  "^", "==",       "bool ", "1",    "2.5", "\"a\"",
        "host", "=", "=~", ",", " offset ", "1h",    "time", "abs"};
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(7));
    for (uint64_t round = 0; round < vv_test_count("VV_PROMQL_TEXTS", 20000); round++) {
        char text[128] = "";
        for (uint64_t n = vv_rng_below(&rng, 9); n > 0; n--)
            strcat(text, pieces[vv_rng_below(&rng, ARRAY_LEN(pieces))]);
        char got[4096];
        vv_error err = {0};
        const promql_options at = {.start_ns = 60 * S};
        vv_status st = ask(text, &at, got, sizeof got, &err);
        if (st != VV_OK && (err.msg[0] == '\0' || (st != VV_INVALID && st != VV_UNSUPPORTED)))
            fail_msg("%s: %d", text, (int)st);
    }
}

static void test_every_allocation_may_fail(void **state)
{
    (void)state;
    fill_table();
    const promql_options at = {.start_ns = 60 * S};
    char got[256];
    for (int64_t n = 0;; n++) {
        vv_alloc_fail_after(n, 0);
        vv_status st =
            ask("sum by (host) (rate(hits{job=\"web\"}[1m])) * 2", &at, got, sizeof got, NULL);
        vv_alloc_fail_after(-1, 0);
        if (st == VV_OK) {
            assert_true(n >= 2);
            return;
        }
        assert_true(st == VV_NO_MEMORY || st == VV_BUSY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_a_rate_is_stretched_to_the_ends_of_its_range),
        cmocka_unit_test(test_what_is_read),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_selectors_and_ranges_by_themselves),
        cmocka_unit_test(prop_no_text_breaks_it),
        cmocka_unit_test(test_every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
