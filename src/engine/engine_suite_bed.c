/*
 * engine_suite_bed.c - the engine under test, its log, and expectations as text.
 */
#include "engine/engine_suite_int.h"

#include "base/alloc.h"

#define KEY_BUF 512u
#define REPLAY_OVERLAP 3 /* entries below the checkpoint that are applied again */
#define WORK_MAX 100000  /* pieces of work before we say that it does not end */

/* -- hooks -- */

static vv_status ensure_durable(void *ctx, int64_t version, vv_error *err)
{
    bed *b = ctx;
    (void)err;
    if (version > b->version)
        b->hook_broken = true; /* was never applied */
    if (version > b->durable)
        b->durable = version;
    return VV_OK;
}

static void on_checkpoint(void *ctx, int64_t version)
{
    bed *b = ctx;
    /* What is in runs must have been made durable in the log before. */
    if (version > b->durable || version < b->checkpointed)
        b->hook_broken = true;
    b->checkpointed = version;
}

static void on_work(void *ctx)
{
    (void)ctx;
}

static engine_floor floor_of(void *ctx, uint32_t table_id)
{
    (void)table_id;
    return ((bed *)ctx)->floor;
}

/* -- life -- */

bed *bed_create(const engine_suite_subject *subject)
{
    bed *b = calloc(1, sizeof *b);
    assert_non_null(b);
    b->subject = subject;
    b->env = subject->env_create(subject->ctx);
    assert_non_null(b->env);
    vv_budget_init(&b->budget, 0);
    b->opt = (engine_options){
        .env = b->env,
        .dir = "shard-0",
        .memtable_size = 256 * VV_KIB,
        .memtable_count = 3,
        .compress = true,
        .budget = &b->budget,
        .hooks = {.ctx = b,
                  .ensure_durable = ensure_durable,
                  .on_checkpoint = on_checkpoint,
                  .on_work = on_work,
                  .floor = floor_of},
    };
    if (subject->tune != NULL)
        subject->tune(&b->opt, vv_test_seed(1));
    vv_buf_init(&b->batch, 64 * VV_MIB);
    b->table = 1;
    b->now_ns = 1000;
    vv_error err;
    assert_ok(bed_try_open(b, &err), err);
    return b;
}

vv_status bed_try_open(bed *b, vv_error *err)
{
    b->opened_at = b->version;
    return b->subject->ops->open(&b->opt, &b->e, err);
}

void bed_destroy(bed *b)
{
    b->subject->ops->close(b->e);
    b->subject->env_destroy(b->subject->ctx, b->env);
    if (vv_budget_used(&b->budget) != 0)
        fail_msg("%llu bytes stay counted after close",
                 (unsigned long long)vv_budget_used(&b->budget));
    for (size_t i = 0; i < b->log_count; i++)
        free((void *)(uintptr_t)b->log[i].payload.data);
    free(b->log);
    vv_buf_fini(&b->batch);
    free(b);
}

static vv_status prepare_patiently(bed *b, size_t len, uint32_t op_count, vv_error *err)
{
    vv_status st;
    for (int i = 0; i < WORK_MAX; i++) {
        st = b->e->ops->prepare(b->e, len, op_count, err);
        if (st != VV_BUSY)
            return st;
        vv_error work_err;
        if (b->e->ops->work(b->e, &work_err) == VV_NOT_FOUND)
            fail_msg("prepare says busy and there is no work");
    }
    return st;
}

static uint32_t count_ops(vv_slice payload)
{
    engine_entry_iter it;
    vv_error err;
    assert_ok(engine_entry_open(payload, &it, &err), err);
    return it.left;
}

void bed_replay(bed *b)
{
    vv_error err;
    int64_t checkpoint = b->e->ops->checkpoint(b->e);
    size_t from = 0;
    while (from < b->log_count && b->log[from].version <= checkpoint)
        from++;
    from = from < REPLAY_OVERLAP ? 0 : from - REPLAY_OVERLAP;
    for (size_t i = from; i < b->log_count; i++) {
        const logged *l = &b->log[i];
        assert_ok(prepare_patiently(b, l->payload.len, count_ops(l->payload), &err), err);
        assert_ok(b->e->ops->apply(b->e, l->version, l->commit_time_ns, l->payload, &err), err);
    }
    b->e->ops->publish(b->e, b->version);
    assert_int_equal(b->e->ops->visible(b->e), b->version);
}

void bed_reopen(bed *b)
{
    vv_error err;
    int64_t checkpoint = b->e->ops->checkpoint(b->e);
    b->subject->ops->close(b->e);
    b->e = NULL;
    assert_ok(bed_try_open(b, &err), err);
    if (b->e->ops->checkpoint(b->e) != checkpoint)
        fail_msg("the checkpoint was %lld before the reopen and is %lld", (long long)checkpoint,
                 (long long)b->e->ops->checkpoint(b->e));
    bed_replay(b);
}

/* -- writing -- */

vv_slice table_key(uint32_t table, const char *key, uint8_t *buf, size_t buf_len)
{
    vv_slice user = vv_slice_str(key);
    assert_true(user.len + ENGINE_TABLE_PREFIX <= buf_len);
    vv_put_be32(buf, table);
    if (user.len > 0)
        memcpy(buf + ENGINE_TABLE_PREFIX, user.data, user.len);
    return vv_slice_of(buf, ENGINE_TABLE_PREFIX + user.len);
}

static void begin_op(bed *b)
{
    if (b->op_count++ == 0) {
        vv_buf_reset(&b->batch);
        b->begin = engine_entry_begin(&b->batch);
    }
}

void add_op(bed *b, const engine_op *op)
{
    begin_op(b);
    engine_entry_add(&b->batch, op);
}

void put_until(bed *b, const char *key, const char *value, int64_t expires_ns)
{
    begin_op(b);
    engine_entry_add_key(&b->batch, ENGINE_PUT, b->table, vv_slice_str(key), vv_slice_str(value),
                         expires_ns);
}

void put(bed *b, const char *key, const char *value)
{
    put_until(b, key, value, 0);
}

void del(bed *b, const char *key)
{
    begin_op(b);
    engine_entry_add_key(&b->batch, ENGINE_DELETE, b->table, vv_slice_str(key),
                         vv_slice_of(NULL, 0), 0);
}

void del_range(bed *b, const char *start, const char *end)
{
    uint8_t end_buf[KEY_BUF];
    begin_op(b);
    engine_entry_add_key(&b->batch, ENGINE_RANGE_DELETE, b->table, vv_slice_str(start),
                         table_key(b->table, end, end_buf, sizeof end_buf), 0);
}

void forget_batch(bed *b)
{
    b->op_count = 0;
}

static vv_slice finish_batch(bed *b)
{
    engine_entry_finish(&b->batch, b->begin, b->op_count);
    assert_int_equal(b->batch.status, VV_OK);
    return vv_buf_slice(&b->batch);
}

static void append_log(bed *b, vv_slice payload)
{
    if (b->log_count == b->log_cap) {
        b->log_cap = b->log_cap == 0 ? 64 : 2 * b->log_cap;
        b->log = realloc(b->log, b->log_cap * sizeof *b->log);
        assert_non_null(b->log);
    }
    uint8_t *copy = malloc(payload.len);
    assert_non_null(copy);
    memcpy(copy, payload.data, payload.len);
    b->log[b->log_count++] = (logged){b->version, b->now_ns, vv_slice_of(copy, payload.len)};
}

static vv_status apply_batch(bed *b, vv_slice payload, vv_error *err)
{
    b->version++;
    vv_status st = b->e->ops->apply(b->e, b->version, b->now_ns, payload, err);
    if (st != VV_OK) {
        b->version--;
        if (st != VV_NO_MEMORY || !b->subject->apply_may_fail)
            fail_msg("apply failed after prepare: %s: %s", vv_status_name(st), err->msg);
        return st;
    }
    append_log(b, payload);
    b->op_count = 0;
    return VV_OK;
}

vv_status try_commit(bed *b, vv_error *err)
{
    vv_slice payload = finish_batch(b);
    vv_status st = b->e->ops->prepare(b->e, payload.len, b->op_count, err);
    if (st == VV_OK)
        st = apply_batch(b, payload, err);
    if (st == VV_OK)
        b->e->ops->publish(b->e, b->version);
    return st;
}

int64_t commit_unpublished(bed *b)
{
    vv_error err;
    vv_slice payload = finish_batch(b);
    assert_ok(prepare_patiently(b, payload.len, b->op_count, &err), err);
    assert_ok(apply_batch(b, payload, &err), err);
    return b->version;
}

int64_t commit(bed *b)
{
    int64_t version = commit_unpublished(b);
    b->e->ops->publish(b->e, version);
    return version;
}

int64_t put_now(bed *b, const char *key, const char *value)
{
    put(b, key, value);
    return commit(b);
}

/* -- background -- */

void settle(bed *b)
{
    vv_error err;
    for (int i = 0; i < WORK_MAX; i++) {
        vv_status st = b->e->ops->work(b->e, &err);
        if (st == VV_NOT_FOUND)
            return;
        assert_ok(st, err);
    }
    fail_msg("work does not end");
}

void compact_all(bed *b)
{
    static const uint8_t low[] = {0, 0, 0, 0};
    static const uint8_t high[] = {0xff, 0xff, 0xff, 0xff};
    vv_error err;
    assert_ok(b->e->ops->freeze(b->e, &err), err);
    settle(b);
    assert_ok(b->e->ops->compact_range(b->e, vv_slice_of(low, 4), vv_slice_of(high, 4), &err), err);
    settle(b);
}

/* -- expecting -- */

void expect_get(bed *b, const char *key, int64_t version, const char *value)
{
    uint8_t buf[KEY_BUF];
    vv_error err = {0};
    engine_value got = {0};
    engine_read read = {.version = version, .now_ns = b->now_ns};
    vv_slice k = table_key(b->table, key, buf, sizeof buf);
    vv_status st = b->e->ops->get(b->e, k, &read, &got, &err);
    if (st != VV_OK && st != VV_NOT_FOUND)
        fail_msg("get '%s' at %lld: %s: %s", key, (long long)version, vv_status_name(st), err.msg);
    if ((st == VV_OK) != (value != NULL))
        fail_msg("get '%s' at %lld: %s", key, (long long)version,
                 st == VV_OK ? "is there and should not be" : "is missing");
    if (value == NULL)
        return;
    if (!vv_slice_eq(got.data, vv_slice_str(value)))
        fail_msg("get '%s' at %lld: '%.*s' instead of '%s'", key, (long long)version,
                 (int)got.data.len, (const char *)got.data.data, value);
    if (got.version > version || got.version <= 0)
        fail_msg("get '%s' at %lld: version %lld", key, (long long)version, (long long)got.version);
    engine_value_release(&got);
}

engine_cursor *open_cursor(bed *b, int64_t version, const char *lower, const char *upper)
{
    uint8_t low_buf[KEY_BUF];
    uint8_t high_buf[KEY_BUF];
    vv_error err;
    engine_cursor *c;
    engine_cursor_options opt = {
        .read = {.version = version, .now_ns = b->now_ns},
        .lower = table_key(b->table, lower, low_buf, sizeof low_buf),
        .upper = upper == NULL ? table_key(b->table + 1, "", high_buf, sizeof high_buf)
                               : table_key(b->table, upper, high_buf, sizeof high_buf),
    };
    assert_ok(b->e->ops->cursor(b->e, &opt, &c, &err), err);
    return c;
}

static void add_text(vv_buf *text, const engine_item *item, bool in_front)
{
    vv_buf one;
    vv_buf_init(&one, VV_MIB);
    vv_slice key =
        vv_slice_of(item->key.data + ENGINE_TABLE_PREFIX, item->key.len - ENGINE_TABLE_PREFIX);
    vv_buf_append_slice(&one, key);
    vv_buf_append_str(&one, "=");
    vv_buf_append_slice(&one, item->value);
    if (text->len > 0)
        vv_buf_append_str(in_front ? &one : text, " ");
    if (in_front) {
        vv_buf_append(&one, text->data, text->len);
        vv_buf_reset(text);
    }
    vv_buf_append(text, one.data, one.len);
    vv_buf_fini(&one);
}

static void scan_text(engine_cursor *c, bool reverse, vv_buf *text)
{
    vv_error err;
    vv_slice none = vv_slice_of(NULL, 0);
    assert_ok(reverse ? engine_cursor_seek_below(c, none, &err) : engine_cursor_seek(c, none, &err),
              err);
    while (engine_cursor_valid(c)) {
        add_text(text, engine_cursor_item(c), reverse);
        assert_ok(reverse ? engine_cursor_prev(c, &err) : engine_cursor_next(c, &err), err);
    }
}

void expect_scan_between(bed *b, int64_t version, const char *lower, const char *upper,
                         const char *text)
{
    for (int reverse = 0; reverse < 2; reverse++) {
        engine_cursor *c = open_cursor(b, version, lower, upper);
        vv_buf got;
        vv_buf_init(&got, VV_MIB);
        scan_text(c, reverse != 0, &got);
        if (!vv_slice_eq(vv_buf_slice(&got), vv_slice_str(text)))
            fail_msg("scan %s at %lld: '%.*s' instead of '%s'", reverse ? "backward" : "forward",
                     (long long)version, (int)got.len, (const char *)got.data, text);
        vv_buf_fini(&got);
        engine_cursor_close(c);
    }
}

void expect_scan(bed *b, int64_t version, const char *text)
{
    expect_scan_between(b, version, "", NULL, text);
}

static void print_finding(void *ctx, const char *text)
{
    (void)ctx;
    print_error("check: %s\n", text);
}

void expect_clean(bed *b)
{
    vv_error err;
    assert_ok(b->e->ops->check(b->e, print_finding, b, &err), err);
    assert_false(b->hook_broken);
    engine_stats stats;
    b->e->ops->stats(b->e, &stats);
    assert_false(stats.failed);
}

bool may_have_forgotten(const bed *b, int64_t since)
{
    return since < b->opened_at ||
           (b->subject->touched_forgets && since < b->e->ops->checkpoint(b->e));
}

void in_each_state(bed *b, void (*fn)(bed *b, void *ctx), void *ctx)
{
    vv_error err;
    fn(b, ctx); /* in the memtable */
    assert_ok(b->e->ops->freeze(b->e, &err), err);
    fn(b, ctx); /* in a frozen one */
    settle(b);
    fn(b, ctx); /* in a run */
    bed_reopen(b);
    fn(b, ctx);
    compact_all(b);
    fn(b, ctx); /* in the last level */
    bed_reopen(b);
    fn(b, ctx);
}
