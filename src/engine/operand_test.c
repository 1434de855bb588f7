#include "engine/operand.h"

#include "base/alloc.h"
#include "base/rng.h"
#include "vv_test.h"

#define CHAIN 12u

/* One version of a key, and what it should do. */
typedef struct version {
    engine_kind kind;
    engine_operator op;
    uint8_t bytes[24];
    size_t len;
    int64_t time_ns;
    int64_t expires_ns;
    uint8_t stored[64];
    size_t stored_len;
} version;

/* The state of a key, worked out from the oldest version on. */
typedef struct state {
    bool present;
    uint8_t bytes[1024];
    size_t len;
    int64_t expires_ns;
} state;

static void make_version(vv_rng *rng, version *v, int64_t time_ns)
{
    *v = (version){.time_ns = time_ns, .kind = ENGINE_MERGE};
    uint64_t dice = vv_rng_below(rng, 12);
    if (dice == 0)
        v->kind = ENGINE_DELETE;
    else if (dice < 3)
        v->kind = ENGINE_PUT;
    v->op = (engine_operator)(1 + vv_rng_below(rng, 3));
    bool number = v->kind == ENGINE_MERGE ? v->op != ENGINE_APPEND : vv_rng_one_in(rng, 2);
    v->len = v->kind == ENGINE_DELETE ? 0 : number ? 8 : (size_t)vv_rng_below(rng, 12);
    vv_rng_bytes(rng, v->bytes, v->len);
    if (v->kind != ENGINE_DELETE && vv_rng_one_in(rng, 3))
        v->expires_ns = time_ns + 1 + (int64_t)vv_rng_below(rng, 40);
    size_t at = 0;
    if (v->kind == ENGINE_MERGE) {
        vv_put_le64(v->stored, (uint64_t)time_ns);
        at = 8 + engine_step_head(v->op, v->len, v->stored + 8);
    }
    memcpy(v->stored + at, v->bytes, v->len);
    v->stored_len = at + v->len;
}

static void apply(state *s, const version *v)
{
    bool alive = s->present && (s->expires_ns == 0 || s->expires_ns > v->time_ns);
    s->expires_ns = v->expires_ns;
    if (v->kind != ENGINE_MERGE || !alive)
        s->len = 0;
    s->present = v->kind != ENGINE_DELETE;
    if (v->kind != ENGINE_MERGE || v->op == ENGINE_APPEND) {
        memcpy(s->bytes + s->len, v->bytes, v->len);
        s->len += v->len;
        return;
    }
    int64_t number = (int64_t)vv_get_le64(v->bytes);
    if (alive && s->len == 8) {
        int64_t old = (int64_t)vv_get_le64(s->bytes);
        if (v->op == ENGINE_ADD)
            number = (int64_t)((uint64_t)number + (uint64_t)old);
        else if (old > number)
            number = old;
    }
    vv_put_le64(s->bytes, (uint64_t)number);
    s->len = 8;
}

static engine_item item_of(const version *v, int64_t number)
{
    return (engine_item){.key = vv_slice_str("key"),
                         .value = vv_slice_of(v->stored, v->stored_len),
                         .version = number,
                         .expires_ns = v->expires_ns,
                         .kind = v->kind};
}

/* The chain below `top`, in one fold; when `cut` is not 0, versions cut..top go into an operand
 * first, as a compaction above the others would do it. */
static void fold(const version *all, unsigned top, unsigned cut, vv_buf *out, engine_fold *f)
{
    vv_error err;
    engine_item item = item_of(&all[top], top);
    vv_buf joined;
    vv_buf_init(&joined, 1 << 20);
    assert_ok(engine_fold_begin(f, &item, &err), err);
    unsigned i = top;
    while (i > cut && !f->is_done) {
        i--;
        item = item_of(&all[i], i);
        assert_ok(engine_fold_push(f, &item, &err), err);
    }
    if (!f->is_done && cut > 0) {
        assert_ok(engine_fold_operand(f, &joined, &err), err);
        assert_true(joined.len <= engine_fold_size(f) + 64);
        engine_item whole = {.value = vv_buf_slice(&joined),
                             .version = f->version,
                             .expires_ns = f->expires_ns,
                             .kind = ENGINE_MERGE};
        assert_ok(engine_fold_begin(f, &whole, &err), err);
        while (i > 0 && !f->is_done) {
            i--;
            item = item_of(&all[i], i);
            assert_ok(engine_fold_push(f, &item, &err), err);
        }
    }
    assert_ok(engine_fold_value(f, out, &err), err);
    vv_buf_fini(&joined);
}

static void prop_a_chain_comes_to_what_its_steps_do_one_by_one(void **ctx)
{
    (void)ctx;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(1));
    engine_fold f;
    vv_buf out;
    engine_fold_init(&f);
    vv_buf_init(&out, 1 << 20);
    for (unsigned round = 0; round < 20000; round++) {
        version all[CHAIN];
        state want = {0};
        int64_t now = 100;
        for (unsigned i = 0; i < CHAIN; i++) {
            now += (int64_t)vv_rng_below(&rng, 12);
            make_version(&rng, &all[i], now);
            apply(&want, &all[i]);
            if (all[i].kind != ENGINE_MERGE)
                continue;
            for (unsigned cut = 0; cut <= i; cut += 1 + (unsigned)vv_rng_below(&rng, 4)) {
                vv_buf_reset(&out);
                fold(all, i, cut, &out, &f);
                if (!vv_slice_eq(vv_buf_slice(&out), vv_slice_of(want.bytes, want.len)) ||
                    f.expires_ns != want.expires_ns || f.version != i)
                    fail_msg("round %u: version %u, cut at %u", round, i, cut);
            }
        }
    }
    engine_fold_fini(&f);
    vv_buf_fini(&out);
}

static void steps_that_are_malformed_are_refused(void **ctx)
{
    (void)ctx;
    const struct {
        const char *name;
        vv_slice steps;
        bool valid;
    } cases[] = {
        {"none", BYTES(0), false},
        {"add", BYTES(1, 8, 1, 0, 0, 0, 0, 0, 0, 0), true},
        {"max", BYTES(2, 8, 1, 0, 0, 0, 0, 0, 0, 0), true},
        {"an empty append", BYTES(3, 0), true},
        {"append and add", BYTES(3, 1, 'x', 1, 8, 1, 0, 0, 0, 0, 0, 0, 0), true},
        {"add of seven bytes", BYTES(1, 7, 1, 0, 0, 0, 0, 0, 0), false},
        {"operator 0", BYTES(0x00, 0), false},
        {"operator 4", BYTES(4, 0), false},
        {"an append that is cut off", BYTES(3, 2, 'x'), false},
        {"a length that is cut off", BYTES(3), false},
        {"a length in another form", BYTES(3, 0x81, 0, 'x'), false},
        {"a byte too much", BYTES(3, 1, 'x', 9), false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_slice steps = cases[i].steps;
        if (i == 0)
            steps.len = 0;
        if (engine_steps_are_valid(steps) != cases[i].valid)
            fail_msg("%s", cases[i].name);
    }
    engine_fold f;
    engine_fold_init(&f);
    const engine_item bad = {.value = BYTES(1, 2, 3), .kind = ENGINE_MERGE};
    assert_status(VV_CORRUPT, engine_fold_begin(&f, &bad, NULL));
    engine_fold_fini(&f);
}

static void appends_end_at_the_limit(void **ctx)
{
    (void)ctx;
    const size_t piece = 4 * 1024 * 1024;
    vv_error err;
    engine_fold f;
    vv_buf out;
    uint8_t *stored = malloc(piece + 32);
    assert_non_null(stored);
    engine_fold_init(&f);
    vv_buf_init(&out, ENGINE_STEPS_MAX + 8);
    vv_put_le64(stored, 5);
    size_t head = 8 + engine_step_head(ENGINE_APPEND, piece, stored + 8);
    for (unsigned i = 0; i < 12; i++) { /* the newest first: 'l', then 'k', ... */
        memset(stored + head, 'a' + (int)(11 - i), piece);
        engine_item item = {.value = vv_slice_of(stored, head + piece), .kind = ENGINE_MERGE};
        assert_ok(i == 0 ? engine_fold_begin(&f, &item, &err) : engine_fold_push(&f, &item, &err),
                  err);
    }
    assert_ok(engine_fold_operand(&f, &out, &err), err);
    vv_buf_reset(&out);
    assert_ok(engine_fold_value(&f, &out, &err), err);
    assert_int_equal(out.len, ENGINE_VALUE_MAX);
    for (size_t i = 0; i < out.len; i += 4099)
        assert_int_equal(out.data[i], 'a' + i / piece);
    engine_fold_fini(&f);
    vv_buf_fini(&out);
    free(stored);
}

/* Two sets of one value each, at 1 and at 2, as docs/format/series.md has them. */
static void one_sample(uint8_t *out, int64_t time, double value)
{
    series_scratch s;
    series_scratch_init(&s);
    vv_buf buf = {.data = out, .cap = 200, .max = 200};
    const series_samples in = {
        .type = SERIES_F64, .count = 1, .time = &time, .value = {.f64 = &value}};
    assert_int_equal(series_set_encode(&in, SERIES_RAW, &s, &buf, NULL), VV_OK);
    assert_int_equal(buf.len, 26);
    series_scratch_fini(&s);
}

static void samples_join_and_meet_what_is_no_set(void **ctx)
{
    (void)ctx;
    vv_error err;
    engine_fold f;
    vv_buf out;
    uint8_t first[8 + 2 + 200] = {5, 0, 0, 0, 0, 0, 0, 0, ENGINE_SAMPLES, 26};
    uint8_t second[8 + 2 + 200] = {6, 0, 0, 0, 0, 0, 0, 0, ENGINE_SAMPLES, 26};
    one_sample(first + 10, 1, 10);
    one_sample(second + 10, 2, 20);
    const engine_item older = {.value = vv_slice_of(first, 36), .kind = ENGINE_MERGE};
    const engine_item newer = {.value = vv_slice_of(second, 36), .kind = ENGINE_MERGE};
    const engine_item number = {.value = BYTES(1, 0, 0, 0, 0, 0, 0, 0), .kind = ENGINE_PUT};
    engine_fold_init(&f);
    vv_buf_init(&out, ENGINE_VALUE_MAX);
    for (unsigned compact = 0; compact < 2; compact++) {
        series_measure m;
        f.is_compact = compact == 1;
        assert_ok(engine_fold_begin(&f, &newer, &err), err);
        assert_ok(engine_fold_push(&f, &older, &err), err);
        vv_buf_reset(&out);
        assert_ok(engine_fold_operand(&f, &out, &err), err);
        assert_int_equal(engine_operand_time(vv_buf_slice(&out)), 5);
        assert_true(engine_steps_are_valid(vv_slice_of(out.data + 8, out.len - 8)));
        assert_ok(engine_fold_push(&f, &number, &err), err); /* it counts as absent */
        vv_buf_reset(&out);
        assert_ok(engine_fold_value(&f, &out, &err), err);
        assert_true(series_set_measure(vv_buf_slice(&out), &m));
        assert_true(m.is_settled && m.sample_count == 2);
    }
    const uint8_t add[] = {7, 0, 0, 0, 0, 0, 0, 0, ENGINE_ADD, 8, 3, 0, 0, 0, 0, 0, 0, 0};
    const engine_item sum = {.value = vv_slice_of(add, sizeof add), .kind = ENGINE_MERGE};
    assert_ok(engine_fold_begin(&f, &sum, &err), err);
    assert_ok(engine_fold_push(&f, &newer, &err), err);
    vv_buf_reset(&out);
    assert_ok(engine_fold_value(&f, &out, &err), err); /* a set is no number */
    assert_true(vv_slice_eq(vv_buf_slice(&out), vv_slice_of(add + 10, 8)));
    first[12] = 9; /* a chunk too many */
    assert_false(engine_steps_are_valid(vv_slice_of(first + 8, 28)));
    assert_status(VV_CORRUPT, engine_fold_begin(&f, &older, &err));
    engine_fold_fini(&f);
    vv_buf_fini(&out);
}

static void every_failed_allocation_is_an_answer(void **ctx)
{
    (void)ctx;
    for (int64_t n = 0;; n++) {
        vv_error err;
        engine_fold f;
        vv_buf out;
        engine_fold_init(&f);
        vv_buf_init(&out, 1000);
        const engine_item one = {.value = BYTES(0x00, 0, 0, 0, 0, 0, 0, 0, 3, 2, 'c', 'd'),
                                 .kind = ENGINE_MERGE};
        const engine_item base = {.value = BYTES('a', 'b'), .kind = ENGINE_PUT};
        vv_alloc_fail_after(n, 0);
        vv_status st = engine_fold_begin(&f, &one, &err);
        if (st == VV_OK)
            st = engine_fold_push(&f, &base, &err);
        if (st == VV_OK)
            st = engine_fold_value(&f, &out, &err);
        vv_alloc_fail_after(-1, 0);
        if (st == VV_OK)
            assert_true(vv_slice_eq(vv_buf_slice(&out), vv_slice_str("abcd")));
        engine_fold_fini(&f);
        vv_buf_fini(&out);
        if (st == VV_OK)
            return;
        assert_int_equal(st, VV_NO_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prop_a_chain_comes_to_what_its_steps_do_one_by_one),
        cmocka_unit_test(steps_that_are_malformed_are_refused),
        cmocka_unit_test(appends_end_at_the_limit),
        cmocka_unit_test(samples_join_and_meet_what_is_no_set),
        cmocka_unit_test(every_failed_allocation_is_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
