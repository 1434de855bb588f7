/*
 * engine_suite_model.c - random operations on the engine under test and on the reference model, and
 * at snapshots the same answers: whole scans both ways, random walks, gets, last versions.
 *
 * Rounds of bounded size, each with an engine and a model of its own, because the model keeps all.
 * In between the engine is frozen, worked on, compacted and reopened at random, its floor rises,
 * and pins come and go; none of that may show.
 */
#include "engine/engine_suite_int.h"
#include "engine/engine_suite_samples.h"
#include "engine/operand.h"

#define KEYS 1500u
#define TABLES 3u
#define SERIES_KEYS 150u /* of a table of their own, behind the others: sets of samples */
#define SERIES_TABLE (TABLES + 1)
#define PINS 6u
#define ROUND_OPS 100000u
#define VALUE_MAX 20000u

typedef struct pin {
    int64_t version; /* 0: free */
    int64_t now_ns;
} pin;

typedef struct duel {
    bed *b;
    engine *model;
    vv_rng rng;
    vv_slice keys[KEYS]; /* with table prefixes, not sorted */
    uint8_t key_bytes[KEYS][64];
    pin pins[PINS];
    uint8_t value[VALUE_MAX];
    const char *what; /* for failure texts */
} duel;

static uint64_t below(duel *d, uint64_t bound)
{
    return vv_rng_below(&d->rng, bound);
}

static void make_keys(duel *d)
{
    for (size_t i = 0; i < KEYS; i++) {
        uint8_t *p = d->key_bytes[i];
        bool series = i >= KEYS - SERIES_KEYS;
        vv_put_be32(p, series ? SERIES_TABLE : 1 + (uint32_t)below(d, TABLES));
        size_t len = ENGINE_TABLE_PREFIX;
        if (below(d, 2) == 0) {
            len +=
                (size_t)snprintf((char *)p + len, 40, "device/%06u", (unsigned)below(d, KEYS * 2));
        } else {
            for (size_t n = below(d, 24); n > 0; n--)
                p[len++] = (uint8_t)(below(d, 3) == 0 ? 0xff * below(d, 2) : below(d, 256));
        }
        d->keys[i] = vv_slice_of(p, len);
    }
}

static vv_slice any_key(duel *d)
{
    return d->keys[below(d, KEYS)];
}

static bool is_series(vv_slice key)
{
    return vv_get_be32(key.data) == SERIES_TABLE;
}

/* A set of samples has many forms of bytes. */
static bool same_value(vv_slice key, vv_slice a, vv_slice b)
{
    return is_series(key) ? suite_set_same(a, b) : vv_slice_eq(a, b);
}

static void add_put(duel *d, engine_op *op)
{
    size_t len = below(d, 100);
    if (below(d, 200) == 0)
        len = below(d, VALUE_MAX);
    for (size_t i = 0; i < len && i < 16; i++)
        d->value[i] = (uint8_t)below(d, 256);
    if (is_series(op->key) && below(d, 4) > 0) /* else what is no set */
        len = suite_set_make(&d->rng, false, d->value);
    op->value = vv_slice_of(d->value, len);
    if (below(d, 12) == 0)
        op->expires_ns = d->b->now_ns + (int64_t)below(d, 5000);
}

/* Numbers and texts on the same keys: every operator meets every value. Samples have keys of their
 * own, because the bytes of what they come to depend on how it was folded. */
static void add_merge(duel *d, engine_op *op)
{
    static uint8_t steps[SUITE_SET_ROOM + 6];
    op->kind = ENGINE_MERGE;
    if (below(d, 12) == 0)
        op->expires_ns = d->b->now_ns + 1 + (int64_t)below(d, 5000);
    if (is_series(op->key)) {
        op->value = vv_slice_of(steps, suite_set_step(&d->rng, steps));
        return;
    }
    engine_operator what = (engine_operator)(1 + below(d, 3));
    size_t len = what == ENGINE_APPEND ? (size_t)below(d, 20) : 8;
    size_t at = engine_step_head(what, len, steps);
    for (size_t i = 0; i < len; i++)
        steps[at + i] = (uint8_t)below(d, 256);
    op->value = vv_slice_of(steps, at + len);
}

/* Mostly short ranges; a long one now and then. */
static void add_range(duel *d, engine_op *op)
{
    static uint8_t end[64];
    op->kind = ENGINE_RANGE_DELETE;
    if (below(d, 40) == 0) {
        vv_slice other = any_key(d);
        if (vv_slice_cmp(other, op->key) < 0) {
            vv_slice swap = op->key;
            op->key = other;
            other = swap;
        }
        op->value = other;
        return;
    }
    memcpy(end, op->key.data, op->key.len);
    size_t at = op->key.len - 1 - (op->key.len > 6 ? below(d, 2) : 0);
    if (end[at] == 0xff || at < ENGINE_TABLE_PREFIX) {
        op->value = vv_slice_of(end, op->key.len); /* empty */
        return;
    }
    end[at]++;
    op->value = vv_slice_of(end, at + 1);
}

static uint32_t write_batch(duel *d)
{
    vv_error err;
    uint32_t count = 1 + (uint32_t)below(d, below(d, 8) == 0 ? 40 : 6);
    for (uint32_t i = 0; i < count; i++) {
        engine_op op = {.kind = ENGINE_PUT, .key = any_key(d)};
        uint64_t dice = below(d, 1000);
        if (dice < 6)
            add_range(d, &op);
        else if (dice < 220)
            op.kind = ENGINE_DELETE;
        else if (dice < 380)
            add_merge(d, &op);
        else
            add_put(d, &op);
        add_op(d->b, &op);
    }
    int64_t version = commit(d->b);
    const logged *l = &d->b->log[d->b->log_count - 1];
    assert_ok(d->model->ops->apply(d->model, version, l->commit_time_ns, l->payload, &err), err);
    d->model->ops->publish(d->model, version);
    return count;
}

/* -- comparing -- */

static void expect_same(const duel *d, engine_cursor *a, engine_cursor *m, const engine_read *read)
{
    const engine_item *x = engine_cursor_valid(a) ? engine_cursor_item(a) : NULL;
    const engine_item *y = engine_cursor_valid(m) ? engine_cursor_item(m) : NULL;
    if (x == NULL && y == NULL)
        return;
    if (x != NULL && y != NULL && vv_slice_eq(x->key, y->key) && x->version == y->version &&
        x->expires_ns == y->expires_ns && same_value(x->key, x->value, y->value))
        return;
    print_error("VV_SEED=%#llx: %s at version %lld, time %lld, newest %lld:\n",
                (unsigned long long)vv_test_seed(1), d->what, (long long)read->version,
                (long long)read->now_ns, (long long)d->b->version);
    const engine_item *items[] = {x, y};
    for (size_t i = 0; i < 2; i++) {
        print_error("  %s: ", i == 0 ? "engine" : "model ");
        if (items[i] == NULL) {
            print_error("at its end\n");
            continue;
        }
        for (size_t n = 0; n < items[i]->key.len; n++)
            print_error("%02x", items[i]->key.data[n]);
        print_error(" version %lld, %zu bytes\n", (long long)items[i]->version,
                    items[i]->value.len);
    }
    fail_msg("%s: engine and model differ", d->what);
}

static void open_pair(duel *d, const engine_read *read, engine_cursor **a, engine_cursor **m)
{
    static const uint8_t low[] = {0, 0, 0, 0};
    static const uint8_t high[] = {0, 0, 0, 9};
    vv_error err;
    engine_cursor_options opt = {
        .read = *read, .lower = vv_slice_of(low, 4), .upper = vv_slice_of(high, 4)};
    if (below(d, 3) == 0) { /* bounds: any two keys */
        opt.lower = any_key(d);
        opt.upper = any_key(d);
    }
    assert_ok(d->b->e->ops->cursor(d->b->e, &opt, a, &err), err);
    assert_ok(d->model->ops->cursor(d->model, &opt, m, &err), err);
}

static void scan_both(duel *d, engine_cursor *a, engine_cursor *m, const engine_read *read,
                      bool reverse)
{
    vv_error err;
    vv_slice none = vv_slice_of(NULL, 0);
    d->what = reverse ? "scan backward" : "scan";
    engine_cursor *cursors[] = {a, m};
    for (size_t i = 0; i < 2; i++)
        assert_ok(reverse ? engine_cursor_seek_below(cursors[i], none, &err)
                          : engine_cursor_seek(cursors[i], none, &err),
                  err);
    for (;;) {
        expect_same(d, a, m, read);
        if (!engine_cursor_valid(a))
            return;
        for (size_t i = 0; i < 2; i++)
            assert_ok(reverse ? engine_cursor_prev(cursors[i], &err)
                              : engine_cursor_next(cursors[i], &err),
                      err);
    }
}

static void walk_both(duel *d, engine_cursor *a, engine_cursor *m, const engine_read *read)
{
    vv_error err;
    engine_cursor *cursors[] = {a, m};
    d->what = "walk";
    for (int step = 0; step < 80; step++) {
        vv_slice key = any_key(d);
        uint64_t dice = below(d, 10);
        bool seek = dice < 2 || !engine_cursor_valid(a);
        for (size_t i = 0; i < 2; i++) {
            engine_cursor *c = cursors[i];
            vv_status st;
            if (seek)
                st = dice % 2 == 0 ? engine_cursor_seek(c, key, &err)
                                   : engine_cursor_seek_below(c, key, &err);
            else
                st = dice < 6 ? engine_cursor_next(c, &err) : engine_cursor_prev(c, &err);
            assert_ok(st, err);
        }
        expect_same(d, a, m, read);
    }
}

static void compare_get(duel *d, const engine_read *read)
{
    vv_error err;
    vv_slice key = any_key(d);
    engine_value x = {0};
    engine_value y = {0};
    vv_status got = d->b->e->ops->get(d->b->e, key, read, &x, &err);
    vv_status want = d->model->ops->get(d->model, key, read, &y, &err);
    if (got != want)
        fail_msg("VV_SEED=%#llx: get at %lld: %s instead of %s",
                 (unsigned long long)vv_test_seed(1), (long long)read->version, vv_status_name(got),
                 vv_status_name(want));
    if (got == VV_OK && (x.version != y.version || x.expires_ns != y.expires_ns ||
                         !same_value(key, x.data, y.data)))
        fail_msg("VV_SEED=%#llx: get at %lld: version %lld instead of %lld",
                 (unsigned long long)vv_test_seed(1), (long long)read->version,
                 (long long)x.version, (long long)y.version);
    if (got == VV_OK)
        engine_value_release(&x);
    int64_t floor = -1;
    int64_t model_floor;
    int64_t last = d->b->e->ops->last_version(d->b->e, key, &floor);
    int64_t truth = d->model->ops->last_version(d->model, key, &model_floor);
    if (last != truth && (last != -1 || truth > floor))
        fail_msg("VV_SEED=%#llx: last version %lld (floor %lld) instead of %lld",
                 (unsigned long long)vv_test_seed(1), (long long)last, (long long)floor,
                 (long long)truth);
}

/* Many keys at once, some of them twice, are the gets of each. */
static void compare_multi_get(duel *d, const engine_read *read)
{
    enum { MANY = 200 };
    vv_slice keys[MANY];
    vv_status got[MANY];
    engine_value x[MANY];
    vv_error err;
    size_t count = below(d, MANY + 1);
    for (size_t i = 0; i < count; i++)
        keys[i] = any_key(d);
    engine_read ask = *read;
    ask.from_memory = below(d, 4) == 0;
    vv_status st = engine_multi_get(d->b->e, keys, count, &ask, x, got, &err);
    if (st != VV_BUSY || !ask.from_memory)
        assert_ok(st, err);
    for (size_t i = 0; i < count; i++) {
        engine_value y = {0};
        if (got[i] == VV_BUSY && st == VV_BUSY)
            continue;
        vv_status want = d->model->ops->get(d->model, keys[i], read, &y, &err);
        if (got[i] != want ||
            (want == VV_OK && (x[i].version != y.version || x[i].expires_ns != y.expires_ns ||
                               !same_value(keys[i], x[i].data, y.data))))
            fail_msg("VV_SEED=%#llx: key %zu of %zu at %lld: %s instead of %s",
                     (unsigned long long)vv_test_seed(1), i, count, (long long)read->version,
                     vv_status_name(got[i]), vv_status_name(want));
        if (got[i] == VV_OK)
            engine_value_release(&x[i]);
    }
}

/* Only since a version that is pinned, or the newest, does an engine know of every deletion. */
static void compare_touched(duel *d)
{
    vv_error err = {0};
    engine_touch x = {0};
    engine_touch y = {0};
    const pin *p = &d->pins[below(d, PINS)];
    int64_t since = p->version != 0 ? p->version : d->b->version;
    vv_slice lower = any_key(d);
    vv_slice upper = any_key(d);
    if (vv_slice_cmp(lower, upper) >= 0)
        return;
    vv_status got = d->b->e->ops->touched(d->b->e, lower, upper, since, &x, &err);
    vv_status want = d->model->ops->touched(d->model, lower, upper, since, &y, &err);
    if (got == VV_UNSUPPORTED && may_have_forgotten(d->b, since))
        return;
    if (got != want || (got == VV_OK && x.version <= since))
        fail_msg("VV_SEED=%#llx: touched since %lld: %s instead of %s",
                 (unsigned long long)vv_test_seed(1), (long long)since, vv_status_name(got),
                 vv_status_name(want));
}

/* A snapshot that may be read: the newest, one at or above the floor, or a pinned one. */
static engine_read any_read(duel *d)
{
    bed *b = d->b;
    const pin *p = &d->pins[below(d, PINS)];
    switch (below(d, 3)) {
    case 0:
        if (p->version != 0)
            return (engine_read){.version = p->version, .now_ns = p->now_ns};
        break;
    case 1:
        return (engine_read){.version =
                                 b->floor.version +
                                 (int64_t)below(d, (uint64_t)(b->version - b->floor.version) + 1),
                             .now_ns = b->now_ns};
    default:
        break;
    }
    return (engine_read){.version = b->version, .now_ns = b->now_ns};
}

static void compare(duel *d)
{
    engine_read read = any_read(d);
    engine_cursor *a;
    engine_cursor *m;
    open_pair(d, &read, &a, &m);
    compare_multi_get(d, &read);
    scan_both(d, a, m, &read, false);
    scan_both(d, a, m, &read, true);
    walk_both(d, a, m, &read);
    engine_cursor_close(a);
    engine_cursor_close(m);
}

/* -- disturbing -- */

static void toggle_pin(duel *d)
{
    bed *b = d->b;
    vv_error err;
    pin *p = &d->pins[below(d, PINS)];
    if (p->version != 0) {
        b->e->ops->unpin(b->e, p->version, p->now_ns);
        p->version = 0;
        return;
    }
    *p = (pin){b->version, b->now_ns};
    assert_ok(b->e->ops->pin(b->e, p->version, p->now_ns, &err), err);
}

static void drop_pins(duel *d)
{
    for (size_t i = 0; i < PINS; i++) {
        if (d->pins[i].version != 0)
            d->b->e->ops->unpin(d->b->e, d->pins[i].version, d->pins[i].now_ns);
        d->pins[i].version = 0;
    }
}

static void disturb(duel *d)
{
    bed *b = d->b;
    vv_error err;
    uint64_t dice = below(d, 3000);
    if (dice < 60) {
        toggle_pin(d);
    } else if (dice < 80) {
        assert_ok(b->e->ops->freeze(b->e, &err), err);
    } else if (dice < 600) {
        vv_status st = b->e->ops->work(b->e, &err);
        if (st != VV_NOT_FOUND)
            assert_ok(st, err);
    } else if (dice < 640) {
        b->floor.version += (int64_t)below(d, (uint64_t)(b->version - b->floor.version) + 1);
        b->floor.time_ns = b->now_ns;
    } else if (dice < 643) {
        vv_slice x = any_key(d);
        vv_slice y = any_key(d);
        bool in_order = vv_slice_cmp(x, y) < 0;
        assert_ok(b->e->ops->compact_range(b->e, in_order ? x : y, in_order ? y : x, &err), err);
    } else if (dice < 645) {
        drop_pins(d); /* pins end with the process */
        bed_reopen(b);
    }
    b->now_ns += (int64_t)below(d, 20);
}

static void run_round(duel *d, const engine_suite_subject *subject, uint64_t seed, uint64_t ops)
{
    vv_error err;
    memset(d, 0, sizeof *d);
    vv_rng_init(&d->rng, seed);
    d->b = bed_create(subject);
    if (subject->tune != NULL) { /* other sizes each round */
        subject->ops->close(d->b->e);
        subject->tune(&d->b->opt, seed);
        assert_ok(bed_try_open(d->b, &err), err);
    }
    assert_ok(engine_memory_ops.open(&(engine_options){0}, &d->model, &err), err);
    make_keys(d);
    uint64_t done = 0;
    uint64_t next_compare = 0;
    uint64_t step = vv_max_u64(ops / 200, 200);
    while (done < ops) {
        done += write_batch(d);
        disturb(d);
        engine_read read = any_read(d);
        compare_get(d, &read);
        if (below(d, 50) == 0)
            compare_multi_get(d, &read);
        compare_touched(d);
        if (done >= next_compare) {
            compare(d);
            next_compare = done + step / 2 + below(d, step);
        }
    }
    compare(d);
    drop_pins(d);
    compact_all(d->b);
    compare(d);
    bed_reopen(d->b);
    compare(d);
    expect_clean(d->b);
    d->model->ops->close(d->model);
    bed_destroy(d->b);
}

void suite_prop_agrees_with_the_model(void **state)
{
    const engine_suite_subject *subject = *state;
    uint64_t total = subject->model_ops == 0 ? 20000 : subject->model_ops;
    total = total * vv_test_count("VV_SUITE_PERCENT", 100) / 100;
    uint64_t seed = vv_test_seed(1);
    duel *d = malloc(sizeof *d);
    assert_non_null(d);
    for (uint64_t done = 0; done < total; done += ROUND_OPS)
        run_round(d, subject, seed + done, vv_min_u64(total - done, ROUND_OPS));
    free(d);
}
