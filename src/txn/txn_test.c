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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(versions_and_values_are_of_the_newest_write, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_judgement_holds_until_the_key_is_touched, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_retry_comes_before_a_conflict, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
