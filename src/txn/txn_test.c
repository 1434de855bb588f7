/*
 * txn_test.c - conditions against the newest state, written and not yet visible alike.
 */
#include "vv_test.h"

#include <string.h>

#include "txn/txn.h"

typedef struct world {
    engine *eng;
    int64_t version;
} world;

static int setup(void **state)
{
    static world w;
    vv_error err = {0};
    w = (world){0};
    assert_ok(engine_memory_ops.open(&(engine_options){0}, &w.eng, &err), err);
    *state = &w;
    return 0;
}

static int teardown(void **state)
{
    world *w = *state;
    engine_memory_ops.close(w->eng);
    return 0;
}

static vv_slice key(const char *text)
{
    static uint8_t bytes[4][64];
    static unsigned next;
    uint8_t *p = bytes[next++ % 4];
    vv_put_be32(p, 16);
    memcpy(p + 4, text, strlen(text));
    return vv_slice_of(p, 4 + strlen(text));
}

/* Log and apply; visible only when asked. value NULL: a delete. */
static int64_t write_one(world *w, const char *k, const char *value, bool publish)
{
    vv_error err = {0};
    vv_buf b;
    vv_buf_init(&b, 4096);
    size_t begin = engine_entry_begin(&b);
    engine_op op = {.kind = value == NULL ? ENGINE_DELETE : ENGINE_PUT,
                    .key = key(k),
                    .value = vv_slice_str(value)};
    engine_entry_add(&b, &op);
    engine_entry_finish(&b, begin, 1);
    assert_ok(w->eng->ops->prepare(w->eng, b.len, 1, &err), err);
    assert_ok(w->eng->ops->apply(w->eng, ++w->version, 1, vv_buf_slice(&b), &err), err);
    vv_buf_fini(&b);
    if (publish)
        w->eng->ops->publish(w->eng, w->version);
    return w->version;
}

static vv_status judge(world *w, txn_condition cond, txn_verdict *out)
{
    txn_verdict v;
    return txn_judge(w->eng, &cond, 1, w->version, 0, out == NULL ? &v : out, NULL);
}

static void versions_and_values_are_of_the_newest_write(void **state)
{
    world *w = *state;
    int64_t first = write_one(w, "k", "1", true);
    int64_t second = write_one(w, "k", "2", false); /* nobody can see it yet */
    assert_status(
        VV_CONFLICT,
        judge(w, (txn_condition){.kind = TXN_VERSION, .key = key("k"), .version = first}, NULL));
    assert_status(
        VV_OK,
        judge(w, (txn_condition){.kind = TXN_VERSION, .key = key("k"), .version = second}, NULL));
    assert_status(
        VV_CONFLICT,
        judge(w,
              (txn_condition){
                  .kind = TXN_VALUE, .key = key("k"), .present = true, .value = vv_slice_str("1")},
              NULL));
    assert_status(
        VV_OK,
        judge(w,
              (txn_condition){
                  .kind = TXN_VALUE, .key = key("k"), .present = true, .value = vv_slice_str("2")},
              NULL));
    (void)write_one(w, "k", NULL, false);
    assert_status(VV_OK, judge(w, (txn_condition){.kind = TXN_VERSION, .key = key("k")}, NULL));
    assert_status(VV_OK, judge(w, (txn_condition){.kind = TXN_VALUE, .key = key("k")}, NULL));
    assert_status(
        VV_CONFLICT,
        judge(w, (txn_condition){.kind = TXN_VALUE, .key = key("k"), .present = true}, NULL));
}

static void a_judgement_holds_until_the_key_is_touched(void **state)
{
    world *w = *state;
    int64_t as_of = write_one(w, "k", "1", true);
    txn_condition cond = {.kind = TXN_VERSION, .key = key("k"), .version = as_of};
    assert_true(txn_is_current(w->eng, &cond, 1, as_of));
    (void)write_one(w, "other", "1", false);
    assert_true(txn_is_current(w->eng, &cond, 1, as_of));
    (void)write_one(w, "k", "2", false);
    assert_false(txn_is_current(w->eng, &cond, 1, as_of));
    assert_true(txn_is_current(w->eng, &cond, 1, w->version));
}

static void a_retry_comes_before_a_conflict(void **state)
{
    world *w = *state;
    vv_error err = {0};
    uint8_t position[TXN_POSITION_SIZE + 1] = {0};
    txn_position_encode(7, position);
    uint64_t back = 0;
    assert_ok(txn_position_decode(vv_slice_of(position, TXN_POSITION_SIZE), &back, &err), err);
    assert_int_equal(back, 7);
    assert_status(VV_CORRUPT,
                  txn_position_decode(vv_slice_of(position, TXN_POSITION_SIZE + 1), &back, &err));
    (void)write_one(w, "k", "1", true);
    /* "\7" and zeros: a text of one byte is no position. */
    (void)write_one(w, "p", "\7", true);
    txn_verdict v;
    assert_status(VV_CORRUPT, judge(w, (txn_condition){.kind = TXN_PRODUCER, .key = key("p")}, &v));
    (void)write_one(w, "q", "\7\1\1\1\1\1\1\1", true);
    txn_condition both[] = {
        {.kind = TXN_VERSION, .key = key("k"), .version = 99},
        {.kind = TXN_PRODUCER, .key = key("q"), .sequence = UINT64_C(0x0101010101010107)},
    };
    assert_status(VV_OK, txn_judge(w->eng, both, 2, w->version, 0, &v, &err));
    assert_true(v.is_duplicate && v.version == w->version);
    both[1].sequence++;
    assert_status(VV_CONFLICT, txn_judge(w->eng, both, 2, w->version, 0, &v, &err));
    assert_false(v.is_duplicate);
}

/* One op as an entry of a version. */
static void remember(txn_recent *r, int64_t version, const char *k, const char *end)
{
    vv_buf b;
    vv_buf_init(&b, 4096);
    size_t begin = engine_entry_begin(&b);
    engine_op op = {.kind = end == NULL ? ENGINE_PUT : ENGINE_RANGE_DELETE,
                    .key = key(k),
                    .value = end == NULL ? vv_slice_str("v") : key(end)};
    engine_entry_add(&b, &op);
    engine_entry_finish(&b, begin, 1);
    txn_recent_add(r, version, vv_buf_slice(&b));
    vv_buf_fini(&b);
}

static txn_answer ask_recent(const txn_recent *r, int64_t as_of, const char *k, const char *end)
{
    engine_touch touch;
    vv_slice one = key(k);
    txn_span span = {.lower = one, .upper = end == NULL ? one : key(end)};
    txn_footprint fp = {
        .keys = &one, .key_count = end == NULL, .spans = &span, .span_count = end != NULL};
    return txn_recent_check(r, &fp, as_of, &touch);
}

static void what_is_appended_meanwhile_is_remembered(void **state)
{
    (void)state;
    txn_recent r = {0};
    txn_recent_watch(&r, 10);
    remember(&r, 11, "k", NULL);
    remember(&r, 12, "p", "t");
    remember(&r, 13, "z", "a"); /* empty */
    static const struct {
        int64_t as_of;
        const char *key, *end;
        txn_answer want;
    } cases[] = {
        {10, "k", NULL, TXN_TOUCHED}, {11, "k", NULL, TXN_CLEAR},   {10, "kk", NULL, TXN_CLEAR},
        {10, "j", "k", TXN_CLEAR},    {10, "j", "kk", TXN_TOUCHED}, {10, "k", "l", TXN_TOUCHED},
        {10, "p", NULL, TXN_TOUCHED}, {10, "t", NULL, TXN_CLEAR},   {10, "s", "z", TXN_TOUCHED},
        {10, "t", "z", TXN_CLEAR},    {10, "a", "p", TXN_TOUCHED},  {11, "a", "p", TXN_CLEAR},
        {12, "p", "q", TXN_CLEAR},    {9, "a", NULL, TXN_UNKNOWN},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (ask_recent(&r, cases[i].as_of, cases[i].key, cases[i].end) != cases[i].want)
            fail_msg("case %zu", i);
    for (int64_t v = 14; r.from == 10; v++)
        remember(&r, v, "filler", NULL); /* until it overflows */
    assert_int_equal(ask_recent(&r, r.from - 1, "x", NULL), TXN_UNKNOWN);
    assert_int_equal(ask_recent(&r, r.from, "x", NULL), TXN_CLEAR);
    txn_recent_watch(&r, 99999); /* a second one does not make the first forget */
    txn_recent_unwatch(&r);
    assert_true(r.from < 99999);
    txn_recent_unwatch(&r);
    txn_recent_fini(&r);
}

/* A write counts from the moment it is applied, visible or not. */
static void a_write_is_seen_before_it_is_visible(void **state)
{
    world *w = *state;
    engine_touch touch;
    vv_slice k = key("k");
    txn_footprint fp = {.keys = &k, .key_count = 1};
    (void)write_one(w, "k", "1", true);
    fp.since = w->version;
    assert_int_equal(txn_check_keys(w->eng, &fp, &touch), TXN_CLEAR);
    (void)write_one(w, "k", "2", false); /* not visible yet */
    assert_int_equal(txn_check_keys(w->eng, &fp, &touch), TXN_TOUCHED);
    assert_int_equal(touch.version, w->version);
    assert_true(vv_slice_eq(vv_slice_of(touch.key, touch.key_len), k));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(versions_and_values_are_of_the_newest_write, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_judgement_holds_until_the_key_is_touched, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_retry_comes_before_a_conflict, setup, teardown),
        cmocka_unit_test(what_is_appended_meanwhile_is_remembered),
        cmocka_unit_test_setup_teardown(a_write_is_seen_before_it_is_visible, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
