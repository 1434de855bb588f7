/*
 * db_series_index_test.c - the index of series against a list of them, on each engine: matchers of
 * every kind, names and values of labels, with hostile ones among them; what a limit refuses.
 */
#include "db/db_series_test_util.h"

#include "base/alloc.h"
#include "base/re.h"
#include "base/rng.h"
#include "db/db_series_match.h"

#define SERIES 1500u
#define NAMES 7u

/* ---- a list of series ---- */

typedef struct model {
    vv_rng rng;
    bool is_there[SERIES];
    char value[SERIES][NAMES][12]; /* "": it has not the label */
} model;

static const char *const label_names[NAMES] = {"__name__", "a",    "ab",    "b",
                                               "a\x01",    "\xff", "unique"};
static const char *const label_values[] = {"",   "x", "xy", "x\x01", "\xff\xff", "\xc3\xa9", "1",
                                           "10", "2", "\n", "x.",    "X",        "\x01"};

static void make_model(model *m)
{
    memset(m->is_there, 0, sizeof m->is_there);
    for (uint32_t i = 0; i < SERIES; i++) {
        for (uint32_t l = 0; l < NAMES; l++) { /* few values, so that each has many series */
            size_t count = l == 1 ? ARRAY_LEN(label_values) : 1 + l;
            const char *v = label_values[vv_rng_below(&m->rng, count)];
            (void)snprintf(m->value[i][l], sizeof m->value[i][l], "%s", v);
        }
        (void)snprintf(m->value[i][NAMES - 1], sizeof m->value[i][0], "u%u", i);
        if (i % 10 == 0) /* some have nothing in common with others */
            memset(m->value[i], 0, (NAMES - 1) * sizeof m->value[i][0]);
    }
}

static void write_some(model *m, vv_table *t, uint32_t from, uint32_t to)
{
    vv_samples *s = vv_samples_create(t);
    vv_error err = {0};
    for (uint32_t i = from; i < to; i++) {
        vv_label labels[NAMES];
        const int64_t time = 1;
        const double value = i;
        for (uint32_t l = 0; l < NAMES; l++)
            labels[l] = (vv_label){S(label_names[l]), S(m->value[i][l])};
        assert_ok(vv_samples_series(s, labels, NAMES, VV_F64, &err), err);
        assert_ok(vv_samples_f64(s, &time, &value, NULL, 1, &err), err);
        m->is_there[i] = true;
    }
    assert_ok(vv_series_append(s, VV_DURABLE_DEFAULT, NULL, &err), err);
    vv_samples_destroy(s);
}

static vv_slice value_of(const model *m, uint32_t i, vv_slice name)
{
    for (uint32_t l = 0; l < NAMES; l++)
        if (vv_slice_eq(S(label_names[l]), name))
            return S(m->value[i][l]);
    return S("");
}

static bool fits_one(const vv_matcher *h, vv_slice value)
{
    uint64_t steps = 1000000;
    vv_regex *re = NULL;
    bool is_fit = false;
    switch (h->op) {
    case VV_MATCH_EQ:
        return vv_slice_eq(value, h->value);
    case VV_MATCH_NE:
        return !vv_slice_eq(value, h->value);
    case VV_MATCH_PREFIX:
        return vv_slice_has_prefix(value, h->value);
    default:
        assert_int_equal(vv_regex_create(h->value, &re, NULL), VV_OK);
        assert_int_equal(vv_regex_match(re, value, &steps, &is_fit, NULL), VV_OK);
        vv_regex_destroy(re);
        return is_fit == (h->op == VV_MATCH_RE);
    }
}

static uint32_t fitting(const model *m, const vv_matcher *h, size_t count, bool fits[SERIES])
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < SERIES; i++) {
        fits[i] = m->is_there[i];
        for (size_t k = 0; fits[i] && k < count; k++)
            fits[i] = fits_one(&h[k], value_of(m, i, h[k].name));
        n += fits[i];
    }
    return n;
}

/* ---- questions ---- */

typedef struct seen {
    const model *m;
    uint32_t count;
    bool is_there[SERIES];
    uint8_t last[8192]; /* labels of the one before, with zeros between */
    size_t last_len;
} seen;

/* The number of a series, by its label `unique`. */
static uint32_t number_of(const vv_series_info *info)
{
    char text[12];
    for (size_t i = 0; i < info->label_count; i++) {
        if (!vv_slice_eq(info->labels[i].name, S("unique")))
            continue;
        vv_slice v = info->labels[i].value;
        (void)snprintf(text, sizeof text, "%.*s", (int)v.len, (const char *)v.data);
        return (uint32_t)strtoul(text + 1, NULL, 10);
    }
    fail_msg("a series without its number");
    return 0;
}

static int see_series(void *ctx, const vv_series_info *info)
{
    seen *k = ctx;
    uint8_t text[8192];
    size_t len = 0;
    uint32_t n = number_of(info);
    size_t has = 0;
    for (uint32_t l = 0; l < NAMES; l++)
        has += k->m->value[n][l][0] != '\0';
    assert_int_equal(info->label_count, has);
    for (size_t i = 0; i < info->label_count; i++) {
        const vv_label *l = &info->labels[i];
        assert_true(vv_slice_eq(l->value, value_of(k->m, n, l->name)));
        memcpy(text + len, l->name.data, l->name.len + 1);
        len += l->name.len + 1;
        memcpy(text + len, l->value.data, l->value.len + 1);
        len += l->value.len + 1;
    }
    assert_true(vv_slice_cmp(vv_slice_of(k->last, k->last_len), vv_slice_of(text, len)) < 0);
    memcpy(k->last, text, len);
    k->last_len = len;
    assert_false(k->is_there[n]);
    k->is_there[n] = true;
    k->count++;
    return 0;
}

static int see_latest(void *ctx, const vv_series_info *info, const vv_sample *sample)
{
    seen *k = ctx;
    uint32_t n = number_of(info);
    assert_false(k->is_there[n]);
    assert_true(sample->f64 == (double)n);
    k->is_there[n] = true;
    k->count++;
    return 0;
}

typedef struct word_list {
    uint32_t count;
    char word[SERIES][16];
} word_list;

static int see_word(void *ctx, vv_slice word)
{
    word_list *w = ctx;
    (void)snprintf(w->word[w->count], sizeof w->word[0], "%.*s", (int)word.len,
                   (const char *)word.data);
    assert_true(w->count == 0 || strcmp(w->word[w->count - 1], w->word[w->count]) < 0);
    w->count++;
    return 0;
}

static int see_one(void *ctx, vv_slice word)
{
    (void)word;
    ++*(int *)ctx;
    return 1;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* What the model says; name NULL: names. */
static void expect_words(const model *m, const bool fits[SERIES], const char *name, word_list *out)
{
    out->count = 0;
    for (uint32_t l = 0; name == NULL && l < NAMES; l++) {
        bool has = false;
        for (uint32_t i = 0; i < SERIES; i++)
            has |= fits[i] && m->value[i][l][0] != '\0';
        if (has)
            (void)snprintf(out->word[out->count++], 16, "%s", label_names[l]);
    }
    for (uint32_t i = 0; name != NULL && i < SERIES; i++) {
        vv_slice v = value_of(m, i, S(name));
        bool has = !fits[i] || v.len == 0;
        for (uint32_t k = 0; !has && k < out->count; k++)
            has = vv_slice_eq(S(out->word[k]), v);
        if (!has)
            (void)snprintf(out->word[out->count++], 16, "%s", (const char *)v.data);
    }
    qsort(out->word, out->count, sizeof out->word[0], by_text);
}

static void expect_same_words(const word_list *a, const word_list *b)
{
    assert_int_equal(a->count, b->count);
    for (uint32_t i = 0; i < a->count; i++)
        assert_string_equal(a->word[i], b->word[i]);
}

static vv_matcher any_matcher(model *m)
{
    static const char *const expressions[] = {
        "x.*",      ".*",
        ".+",       "",
        "x|1",      "[^x]*",
        "(?i)x",    "u[0-9]*1",
        "u1.*",     "x?",
        "1|2|10",   "(x|)",
        "u.",       "10?",
        "x\\.",     ".*\n?",
        "y",        ".*y?",
        "u(1|2)",   "[\x01]",
        "(?s).*",   "u9+",
        "x{1}",     "\\xFF*",
        "u1|u2|u3", "(u17|u18|nobody)",
        "x\\.|X",   "(x|1|10)",
        "(x)|(1)",  "u7|",
        "|x",       "x||1",
    };
    static const char *const prefixes[] = {"", "x", "1", "u", "u1", "u12", "\xff", "z", "x\x01"};
    vv_matcher h = {.op = (vv_match)vv_rng_below(&m->rng, VV_MATCH_PREFIX + 1)};
    char value[16];
    static char kept[64][16];
    static unsigned next;
    uint32_t l = (uint32_t)vv_rng_below(&m->rng, NAMES + 1);
    h.name = S(l == NAMES ? "nobody" : label_names[l]);
    if (h.op == VV_MATCH_RE || h.op == VV_MATCH_NRE) {
        h.value = S(expressions[vv_rng_below(&m->rng, ARRAY_LEN(expressions))]);
    } else if (h.op == VV_MATCH_PREFIX) {
        h.value = S(prefixes[vv_rng_below(&m->rng, ARRAY_LEN(prefixes))]);
    } else if (l == NAMES - 1) {
        (void)snprintf(value, sizeof value, "u%u", (unsigned)vv_rng_below(&m->rng, SERIES));
        memcpy(kept[next % 64], value, sizeof value);
        h.value = S(kept[next++ % 64]);
    } else {
        h.value = S(label_values[vv_rng_below(&m->rng, ARRAY_LEN(label_values))]);
    }
    return h;
}

static void ask_everything(model *m, vv_table *t, const vv_matcher *h, size_t count)
{
    static word_list want;
    static word_list got;
    bool fits[SERIES];
    vv_error err = {0};
    seen *k = calloc(1, sizeof *k);
    uint32_t n = fitting(m, h, count, fits);
    k->m = m;
    assert_ok(vv_series_list(t, h, count, 0, see_series, k, &err), err);
    assert_int_equal(k->count, n);
    assert_memory_equal(k->is_there, fits, sizeof fits);
    memset(k, 0, sizeof *k);
    assert_ok(vv_series_latest(t, h, count, see_latest, k, &err), err);
    assert_memory_equal(k->is_there, fits, sizeof fits);
    free(k);
    got.count = 0;
    assert_ok(vv_series_label_names(t, h, count, see_word, &got, &err), err);
    expect_words(m, fits, NULL, &want);
    expect_same_words(&got, &want);
    const char *name = label_names[vv_rng_below(&m->rng, NAMES)];
    got.count = 0;
    assert_ok(vv_series_label_values(t, S(name), h, count, see_word, &got, &err), err);
    expect_words(m, fits, name, &want);
    expect_same_words(&got, &want);
    int first = 0;
    assert_ok(vv_series_label_values(t, S(name), h, count, see_one, &first, &err), err);
    assert_int_equal(first, want.count > 0); /* it ends where it is told to */
}

static void drop_some(model *m, vv_table *t)
{
    vv_error err = {0};
    bool fits[SERIES];
    uint64_t dropped = 0;
    vv_matcher h = {VV_MATCH_RE, S("unique"), S("u[0-9]*[37]")};
    uint32_t n = fitting(m, &h, 1, fits);
    assert_ok(vv_series_drop(t, &h, 1, &dropped, &err), err);
    assert_int_equal(dropped, n);
    for (uint32_t i = 0; i < SERIES; i++)
        m->is_there[i] &= !fits[i];
}

static void prop_the_index_agrees_with_a_list(void **state)
{
    sim_world *w = *state;
    model *m = malloc(sizeof *m);
    vv_rng_init(&m->rng, vv_test_seed(4));
    make_model(m);
    vv_table *t = any_time_table(w->db);
    for (int round = 0; round < 5; round++) {
        if (round == 0)
            write_some(m, t, 0, SERIES / 2);
        if (round == 1)
            flush_all(w->db);
        if (round == 2)
            write_some(m, t, SERIES / 2, SERIES);
        if (round == 3)
            drop_some(m, t);
        if (round == 4) {
            vv_table_close(t);
            sim_reopen(w);
            t = any_time_table(w->db);
        }
        ask_everything(m, t, NULL, 0);
        for (uint64_t q = vv_test_count("VV_QUESTIONS", 40); q > 0; q--) {
            vv_matcher h[4];
            size_t count = 1 + vv_rng_below(&m->rng, ARRAY_LEN(h));
            for (size_t i = 0; i < count; i++)
                h[i] = any_matcher(m);
            ask_everything(m, t, h, count);
        }
        assert_int_equal(vv_budget_part_used(&w->db->budget, VV_BUDGET_QUERY), 0);
    }
    vv_table_close(t);
    free(m);
}

static void expressions_that_are_texts(void **state)
{
    static const struct {
        const char *pattern;
        size_t count;
        const char *first;
        const char *last;
    } cases[] = {
        {"a", 1, "a", "a"},         {"a|bc", 2, "a", "bc"}, {"(a|b|c)", 3, "a", "c"},
        {"a\\.b", 1, "a.b", "a.b"}, {"\\(|x", 2, "(", "x"}, {"a b-c_d:e/f", 1, "a b-c_d:e/f", NULL},
        {"", 0, NULL, NULL},        {"a|", 0, NULL, NULL},  {"|a", 0, NULL, NULL},
        {"a||b", 0, NULL, NULL},    {"a.b", 0, NULL, NULL}, {"a*", 0, NULL, NULL},
        {"(a)|(b)", 0, NULL, NULL}, {"\\d", 0, NULL, NULL}, {"a\\", 0, NULL, NULL},
        {"(?i)a", 0, NULL, NULL},   {"()", 0, NULL, NULL},  {"\xff", 0, NULL, NULL},
        {"a\n", 0, NULL, NULL},     {"(a", 0, NULL, NULL},  {"(a\\)", 0, NULL, NULL},
        {"^a$", 0, NULL, NULL},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t out[64];
        size_t count = db_match_literals(S(cases[i].pattern), out);
        const char *text = (const char *)out;
        if (count != cases[i].count)
            fail_msg("%s: %zu texts", cases[i].pattern, count);
        if (count > 0)
            assert_string_equal(text, cases[i].first);
        for (size_t k = 1; k < count; k++)
            text += strlen(text) + 1;
        if (cases[i].last != NULL)
            assert_string_equal(text, cases[i].last);
    }
}

/* ---- hostile questions ---- */

static int count_one(void *ctx, const vv_series_info *info)
{
    (void)info;
    ++*(unsigned *)ctx;
    return 0;
}

static unsigned listed(vv_table *t, const vv_matcher *h, size_t count)
{
    vv_error err = {0};
    unsigned n = 0;
    assert_ok(vv_series_list(t, h, count, 0, count_one, &n, &err), err);
    return n;
}

/* A byte 0 divides the parts of keys: a question that holds one must not reach into the id. */
static void a_zero_byte_finds_nothing(void **state)
{
    sim_world *w = *state;
    vv_table *t = any_time_table(w->db);
    for (int i = 0; i < 40; i++) {
        char host[8];
        (void)snprintf(host, sizeof host, "h%d", i);
        append_one(t, host, 1, 1);
    }
    uint8_t deep[] = {'h', '1', 0, 0, 0, 0, 0, 0, 0, 0};
    for (size_t len = 3; len <= sizeof deep; len++) {
        vv_matcher h = {VV_MATCH_EQ, S("host"), vv_slice_of(deep, len)};
        assert_int_equal(listed(t, &h, 1), 0);
        h.op = VV_MATCH_PREFIX;
        assert_int_equal(listed(t, &h, 1), 0);
        h.op = VV_MATCH_NE;
        assert_int_equal(listed(t, &h, 1), 40);
        h = (vv_matcher){VV_MATCH_NE, vv_slice_of("host\0h1", 7), S("")};
        assert_int_equal(listed(t, &h, 1), 0);
        h.op = VV_MATCH_EQ;
        assert_int_equal(listed(t, &h, 1), 40);
        unsigned n = 0;
        vv_error err = {0};
        assert_ok(vv_series_label_values(t, h.name, NULL, 0, see_one, &n, &err), err);
        assert_int_equal(n, 0);
    }
    vv_matcher zero = {VV_MATCH_RE, S("host"), S("h1\\x00.*")};
    assert_int_equal(listed(t, &zero, 1), 0);
    vv_table_close(t);
}

static void longest_names_and_values(void **state)
{
    sim_world *w = *state;
    vv_table *t = any_time_table(w->db);
    vv_samples *s = vv_samples_create(t);
    static char name[VV_LABEL_BYTES_MAX + 2];
    static char value[VV_LABEL_BYTES_MAX + 2];
    const int64_t time = 1;
    const double one = 1;
    vv_error err = {0};
    memset(name, 'n', sizeof name - 1);
    memset(value, 'v', sizeof value - 1);
    for (size_t len = 1; len < VV_LABEL_BYTES_MAX; len += 111) {
        vv_label l = {vv_slice_of(name, len), vv_slice_of(value, VV_LABEL_BYTES_MAX - len)};
        assert_ok(vv_samples_series(s, &l, 1, VV_F64, &err), err);
        assert_ok(vv_samples_f64(s, &time, &one, NULL, 1, &err), err);
        l.value.len++;
        assert_int_equal(vv_samples_series(s, &l, 1, VV_F64, &err), VV_INVALID);
        assert_non_null(strstr(err.msg, "1000"));
    }
    assert_ok(vv_series_append(s, VV_DURABLE_DEFAULT, NULL, &err), err);
    vv_samples_destroy(s);
    for (size_t len = 1; len < VV_LABEL_BYTES_MAX; len += 111) {
        vv_slice n = vv_slice_of(name, len);
        vv_matcher h = {VV_MATCH_EQ, n, vv_slice_of(value, VV_LABEL_BYTES_MAX - len)};
        assert_int_equal(listed(t, &h, 1), 1);
        h.value.len++; /* longer than any can be */
        assert_int_equal(listed(t, &h, 1), 0);
        h = (vv_matcher){VV_MATCH_RE, n, S("v+")};
        assert_int_equal(listed(t, &h, 1), 1);
        unsigned words = 0;
        assert_ok(vv_series_label_values(t, n, NULL, 0, see_one, &words, &err), err);
        assert_int_equal(words, 1);
    }
    vv_matcher longer = {VV_MATCH_NE, vv_slice_of(name, VV_LABEL_BYTES_MAX + 1), S("")};
    assert_int_equal(listed(t, &longer, 1), 0);
    vv_table_close(t);
}

/* Each value costs its length times the states of the expression: it ends at the step limit. */
static void a_bomb_of_an_expression_is_refused(void **state)
{
    sim_world *w = *state;
    vv_table *t = any_time_table(w->db);
    char host[801];
    memset(host, 'a', sizeof host);
    for (int i = 0; i < 200; i++) {
        host[800] = '\0';
        (void)snprintf(host + 790, 11, "%d", i);
        append_one(t, host, 1, 1);
    }
    vv_error err = {0};
    unsigned n = 0;
    vv_matcher bomb = {VV_MATCH_RE, S("host"), S("(a?){900}(a*)*b")};
    assert_int_equal(vv_series_list(t, &bomb, 1, 0, count_one, &n, &err), VV_BUSY);
    assert_non_null(strstr(err.msg, "steps"));
    int words = 0;
    assert_int_equal(vv_series_label_values(t, S("__name__"), &bomb, 1, see_one, &words, &err),
                     VV_BUSY);
    bomb.value = S("((a{100}){100}){100}");
    assert_int_equal(vv_series_list(t, &bomb, 1, 0, count_one, &n, &err), VV_INVALID);
    bomb.value = S("(a*)*b"); /* what is slow elsewhere is not here */
    assert_int_equal(listed(t, &bomb, 1), 0);
    assert_int_equal(vv_budget_part_used(&w->db->budget, VV_BUDGET_QUERY), 0);
    vv_table_close(t);
}

/* ---- faults ---- */

static void write_hosts(vv_table *t, unsigned count)
{
    vv_samples *s = vv_samples_create(t);
    vv_error err = {0};
    for (unsigned i = 0; i < count; i++) {
        char host[12];
        const int64_t time = 1;
        const double value = i;
        (void)snprintf(host, sizeof host, "h%u", i);
        assert_ok(begin_series(s, i % 2 == 0 ? "even" : "odd", host, VV_F64, &err), err);
        assert_ok(vv_samples_f64(s, &time, &value, NULL, 1, &err), err);
    }
    assert_ok(vv_series_append(s, VV_DURABLE_DEFAULT, NULL, &err), err);
    vv_samples_destroy(s);
}

static int count_latest(void *ctx, const vv_series_info *info, const vv_sample *sample)
{
    (void)sample;
    return count_one(ctx, info);
}

static int count_word(void *ctx, vv_slice word)
{
    (void)word;
    ++*(unsigned *)ctx;
    return 0;
}

/* Every way there is, of 400 hosts; the first failure. What is answered is right. */
static vv_status ask_each_way(vv_table *t, vv_error *err)
{
    const vv_matcher h[] = {{VV_MATCH_EQ, S("__name__"), S("even")},
                            {VV_MATCH_NRE, S("host"), S("h[0-9]")},
                            {VV_MATCH_PREFIX, S("host"), S("h1")}};
    unsigned n = 0;
    vv_status st = vv_series_list(t, h, 3, 0, count_one, &n, err);
    assert_true(st != VV_OK || n == 55);
    n = 0;
    st = st == VV_OK ? vv_series_latest(t, h, 3, count_latest, &n, err) : st;
    assert_true(st != VV_OK || n == 55);
    n = 0;
    st = st == VV_OK ? vv_series_label_names(t, h, 1, count_word, &n, err) : st;
    assert_true(st != VV_OK || n == 2);
    n = 0;
    st = st == VV_OK ? vv_series_label_values(t, S("host"), h, 2, count_word, &n, err) : st;
    assert_true(st != VV_OK || n == 195);
    n = 0;
    st = st == VV_OK ? vv_series_label_values(t, S("__name__"), h + 1, 2, count_word, &n, err) : st;
    assert_true(st != VV_OK || n == 2);
    n = 0;
    st = st == VV_OK ? vv_series_label_names(t, NULL, 0, count_word, &n, err) : st;
    assert_true(st != VV_OK || n == 2);
    return st;
}

static void walk_every_allocation_may_fail(void **state)
{
    sim_world *w = *state;
    vv_table *t = any_time_table(w->db);
    vv_error err = {0};
    unsigned failures = 0;
    write_hosts(t, 400);
    flush_all(w->db);
    vv_status st = VV_NO_MEMORY;
    for (int64_t n = 0; st != VV_OK; n++) {
        vv_table_close(t);
        if (n % 64 == 0) /* nothing is in memory */
            sim_reopen(w);
        t = any_time_table(w->db);
        uint64_t before = vv_alloc_count();
        vv_alloc_fail_after(n, 0);
        st = ask_each_way(t, &err);
        vv_alloc_fail_after(-1, 0);
        assert_true(st == VV_OK || st == VV_NO_MEMORY);
        if (st == VV_OK && vv_alloc_count() - before > (uint64_t)n)
            st = VV_NO_MEMORY; /* it did without: on */
        failures += st != VV_OK;
        assert_int_equal(vv_budget_part_used(&w->db->budget, VV_BUDGET_QUERY), 0);
    }
    assert_true(failures > 10);
    vv_table_close(t);
}

static void walk_every_read_may_fail(void **state)
{
    sim_world *w = *state;
    vv_table *t = any_time_table(w->db);
    vv_error err = {0};
    unsigned failures = 0;
    write_hosts(t, 400);
    flush_all(w->db);
    vv_table_close(t);
    sim_close(w);
    for (uint64_t at = 1;; at++) {
        vio_sim_options sim = {.seed = 1, .fault = VIO_SIM_EIO, .fault_at = at};
        assert_ok(sim_on(w, &sim, &err), err);
        vv_status st = sim_open_db(w, &err);
        t = NULL;
        if (st == VV_OK)
            st = vv_table_open(w->db, "plant", "sensors", &t, &err);
        if (st == VV_OK)
            st = ask_each_way(t, &err);
        uint64_t sites = vio_sim_fault_sites(w->disk, VIO_SIM_EIO);
        failures += st != VV_OK;
        if (t != NULL)
            assert_ok(ask_each_way(t, &err), err); /* a read that failed once */
        vv_table_close(t);
        db_abandon(w->db);
        w->db = NULL;
        sim_off(w);
        if (sites < at)
            break;
    }
    assert_true(failures > 3);
    sim_start(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TP(prop_the_index_agrees_with_a_list),  cmocka_unit_test(expressions_that_are_texts),
        TP(a_zero_byte_finds_nothing),          TP(longest_names_and_values),
        TP(a_bomb_of_an_expression_is_refused), TP(walk_every_allocation_may_fail),
        TP(walk_every_read_may_fail),
    };
    return run_on_each(tests, ARRAY_LEN(tests));
}
