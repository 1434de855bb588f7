/*
 * engine_suite_small.c - see engine_suite_small.h.
 */
#include "engine/engine_suite_small.h"

#include "engine/engine_suite_samples.h"
#include "engine/operand.h"

static vv_status ensure_durable(void *ctx, int64_t version, vv_error *err)
{
    tw *w = ctx;
    (void)err;
    if (version > w->durable)
        w->durable = version;
    return VV_OK;
}

static void on_checkpoint(void *ctx, int64_t version)
{
    ((tw *)ctx)->checkpointed = version;
}

void tw_init(tw *w, const tw_subject *subject, uint64_t seed)
{
    *w = (tw){.subject = subject, .ops = subject->ops, .seed = seed, .disk = vio_sim_disk_create()};
    assert_non_null(w->disk);
    vv_buf_init(&w->buf, 1 << 24);
    vv_rng rng;
    vv_rng_init(&rng, seed);
    w->opt = (engine_options){
        .env = &w->env,
        .dir = "shard-0",
        .memtable_size = 8 * VV_KIB << vv_rng_below(&rng, 2),
        .memtable_count = 3,
        .cache_size = 32 * VV_KIB,
        .hooks = {.ctx = w, .ensure_durable = ensure_durable, .on_checkpoint = on_checkpoint},
    };
    subject->tune(&w->opt, &rng);
}

void tw_fini(tw *w)
{
    vv_buf_fini(&w->buf);
    vio_sim_disk_destroy(w->disk);
}

vv_status tw_power_on(tw *w, const vio_sim_options *opt, vv_error *err)
{
    vv_status st = vio_sim_open(w->disk, opt, &w->env.io, err);
    w->env.clock = vio_sim_clock(w->disk);
    return st;
}

void tw_power_off(tw *w)
{
    vio_destroy(w->env.io);
    w->env.io = NULL;
}

vv_slice tw_key(unsigned index, uint8_t buf[32])
{
    vv_put_be32(buf, 1 + index % 2);
    int n = snprintf((char *)buf + 4, 28, "key/%03u", index / 2);
    return vv_slice_of(buf, 4 + (size_t)n);
}

/* The value that batch `version` gives a key: bytes that no other batch gives. */
static void fill_value(uint8_t *out, uint32_t len, unsigned key, int64_t version)
{
    for (uint32_t i = 0; i < len; i++)
        out[i] = (uint8_t)(((uint64_t)version * 31 + key * 7 + i / 16) >> (i % 3));
    if (len >= 8)
        vv_put_le64(out, (uint64_t)version);
}

/* What no table of the model holds: table 3 has sums, a text and a series that every batch merges
 * into. */
#define TW_SUMS 3u

static void add_merges(tw *w, int64_t version)
{
    static const uint8_t sums[TW_SUMS][6] = {"\0\0\0\3"
                                             "a",
                                             "\0\0\0\3"
                                             "b",
                                             "\0\0\0\3"
                                             "c"};
    uint8_t add[10] = {ENGINE_ADD, 8};
    uint8_t append[3] = {ENGINE_APPEND, 1, (uint8_t)('a' + version % 26)};
    vv_put_le64(add + 2, (uint64_t)version);
    engine_op op = {.kind = ENGINE_MERGE,
                    .key = vv_slice_of(sums[version % TW_SUMS], 5),
                    .value = vv_slice_of(add, sizeof add)};
    engine_entry_add(&w->buf, &op);
    op.key = vv_slice_of("\0\0\0\3text", 8);
    op.value = vv_slice_of(append, sizeof append);
    engine_entry_add(&w->buf, &op);
    uint8_t samples[SUITE_SET_ROOM + 6];
    vv_rng rng;
    vv_rng_init(&rng, w->seed * 31 + (uint64_t)version);
    op.key = vv_slice_of("\0\0\0\3series", 10);
    op.value = vv_slice_of(samples, suite_set_step(&rng, samples));
    engine_entry_add(&w->buf, &op);
}

/* The value of a key of table 3 after so many batches. */
static size_t merged_value(unsigned key, int64_t version, uint8_t out[4096])
{
    uint64_t sum = 0;
    size_t len = 0;
    for (int64_t v = 1; v <= version; v++) {
        if (key == TW_SUMS)
            out[len++] = (uint8_t)('a' + v % 26);
        else if (v % TW_SUMS == key)
            sum += (uint64_t)v;
    }
    if (key < TW_SUMS && sum > 0) {
        vv_put_le64(out, sum);
        len = 8;
    }
    return len;
}

/* Batch `version`: its payload in w->buf when model is NULL, or its effect on the model. */
static uint32_t make_batch(tw *w, int64_t version, tw_value *model)
{
    vv_rng rng;
    vv_rng_init(&rng, w->seed * 1000003 + (uint64_t)version);
    uint32_t count = 1 + (uint32_t)vv_rng_below(&rng, 5);
    vv_buf_reset(&w->buf);
    size_t at = engine_entry_begin(&w->buf);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t key_buf[32];
        uint8_t end_buf[32];
        uint8_t value[TW_VALUE_MAX];
        unsigned k = (unsigned)vv_rng_below(&rng, w->subject->keys);
        uint64_t dice = vv_rng_below(&rng, 100);
        engine_op op = {.kind = ENGINE_PUT, .key = tw_key(k, key_buf)};
        uint32_t len = (uint32_t)vv_rng_below(&rng, dice == 99 ? TW_VALUE_MAX : 120);
        if (dice < 4) { /* a range within the table */
            unsigned n = 1 + (unsigned)vv_rng_below(&rng, 5);
            op.kind = ENGINE_RANGE_DELETE;
            op.value = tw_key(k + 2 * n, end_buf);
            for (unsigned j = 0; model != NULL && j < n && k + 2 * j < w->subject->keys; j++)
                model[k + 2 * j].version = 0;
        } else if (dice < 25) {
            op.kind = ENGINE_DELETE;
            if (model != NULL)
                model[k].version = 0;
        } else {
            fill_value(value, len, k, version);
            op.value = vv_slice_of(value, len);
            if (model != NULL)
                model[k] = (tw_value){version, len};
        }
        engine_entry_add(&w->buf, &op);
    }
    if (model == NULL)
        add_merges(w, version);
    count += 3;
    engine_entry_finish(&w->buf, at, count);
    return count;
}

vv_status tw_write(tw *w, int64_t version, vv_error *err)
{
    uint32_t count = make_batch(w, version, NULL);
    vv_status st;
    while ((st = w->ops->prepare(w->e, w->buf.len, count, err)) == VV_BUSY) {
        st = w->ops->work(w->e, err);
        if (st != VV_OK)
            return st;
    }
    if (st == VV_OK)
        st = w->ops->apply(w->e, version, 0, vv_buf_slice(&w->buf), err);
    if (st != VV_OK)
        return st;
    w->ops->publish(w->e, version);
    w->version = version;
    return VV_OK;
}

vv_status tw_replay(tw *w, int64_t upto, vv_error *err)
{
    vv_status st = VV_OK;
    w->version = w->ops->checkpoint(w->e);
    while (st == VV_OK && w->version < upto)
        st = tw_write(w, w->version + 1, err);
    if (st == VV_OK)
        w->version = upto;
    return st;
}

vv_status tw_work_all(tw *w, vv_error *err)
{
    vv_status st;
    while ((st = w->ops->work(w->e, err)) == VV_OK)
        continue;
    return st == VV_NOT_FOUND ? VV_OK : st;
}

static bool matches(unsigned key, const tw_value *want, vv_slice got, int64_t version)
{
    uint8_t value[TW_VALUE_MAX];
    if (want->version == 0 || want->version != version || got.len != want->len)
        return false;
    fill_value(value, want->len, key, want->version);
    return memcmp(value, got.data, got.len) == 0;
}

/* The series after so many batches. */
static void merged_series(const tw *w, suite_series *out)
{
    *out = (suite_series){0};
    for (int64_t v = 1; v <= w->version; v++) {
        uint8_t bytes[SUITE_SET_ROOM + 6];
        vv_rng rng;
        engine_step step;
        vv_rng_init(&rng, w->seed * 31 + (uint64_t)v);
        vv_slice steps = vv_slice_of(bytes, suite_set_step(&rng, bytes));
        assert_true(engine_step_next(&steps, &step));
        suite_set_apply(out, step.operand);
    }
}

static unsigned verify_series(tw *w, bool may_fail, const char *what)
{
    vv_error err;
    engine_value value = {0};
    engine_read read = {.version = w->version};
    vv_status st = w->ops->get(w->e, vv_slice_of("\0\0\0\3series", 10), &read, &value, &err);
    if (st == VV_OK) {
        suite_series want;
        merged_series(w, &want);
        if (!suite_set_holds(&want, value.data))
            fail_msg("%s: seed %#llx: the series is wrong at version %lld", what,
                     (unsigned long long)w->seed, (long long)w->version);
        engine_value_release(&value);
    } else if (st == VV_NOT_FOUND ? w->version > 0 : !may_fail) {
        fail_msg("%s: seed %#llx: the series at version %lld: %s", what,
                 (unsigned long long)w->seed, (long long)w->version, err.msg);
    }
    return st != VV_OK && st != VV_NOT_FOUND;
}

/* The merged values; how many could not be read. */
static unsigned verify_merges(tw *w, bool may_fail, const char *what)
{
    static const char *const keys[] = {"a", "b", "c", "text"};
    unsigned failed = 0;
    for (unsigned k = 0; k <= TW_SUMS; k++) {
        uint8_t key[16] = {0, 0, 0, 3};
        uint8_t want[4096];
        vv_error err;
        engine_value value = {0};
        engine_read read = {.version = w->version};
        size_t len = merged_value(k, w->version, want);
        memcpy(key + 4, keys[k], strlen(keys[k]));
        vv_status st =
            w->ops->get(w->e, vv_slice_of(key, 4 + strlen(keys[k])), &read, &value, &err);
        bool right = st == VV_OK ? vv_slice_eq(value.data, vv_slice_of(want, len))
                                 : st != VV_NOT_FOUND || len == 0;
        if (!right)
            fail_msg("%s: seed %#llx: what was merged into '%s' is wrong at version %lld", what,
                     (unsigned long long)w->seed, keys[k], (long long)w->version);
        if (st == VV_OK)
            engine_value_release(&value);
        else if (st != VV_NOT_FOUND && !may_fail)
            fail_msg("%s: seed %#llx: '%s': %s", what, (unsigned long long)w->seed, keys[k],
                     err.msg);
        failed += st != VV_OK && st != VV_NOT_FOUND;
    }
    return failed;
}

/* One answer of the engine against the model. True: the read failed, and may. */
static bool verify_one(const tw *w, unsigned k, const tw_value *model, vv_status st,
                       engine_value *value, bool may_fail, const char *what, const vv_error *err)
{
    if (st == VV_OK && !matches(k, model, value->data, value->version))
        fail_msg("%s: seed %#llx: key %u has version %lld instead of %lld", what,
                 (unsigned long long)w->seed, k, (long long)value->version,
                 (long long)model->version);
    if (st == VV_NOT_FOUND && model->version != 0)
        fail_msg("%s: seed %#llx: key %u is lost: version %lld of %lld", what,
                 (unsigned long long)w->seed, k, (long long)model->version, (long long)w->version);
    if (st == VV_OK)
        engine_value_release(value);
    bool failed = st != VV_OK && st != VV_NOT_FOUND;
    if (failed && !may_fail)
        fail_msg("%s: seed %#llx: key %u: %s", what, (unsigned long long)w->seed, k, err->msg);
    return failed;
}

/* All keys in one call, the disk's answers in any order. */
static unsigned verify_multi(tw *w, const tw_value *model, bool may_fail, const char *what)
{
    static uint8_t bytes[TW_KEYS_MAX][32];
    static engine_value values[TW_KEYS_MAX];
    vv_slice keys[TW_KEYS_MAX];
    vv_status status[TW_KEYS_MAX];
    vv_error err = {0};
    engine_read read = {.version = w->version};
    for (unsigned k = 0; k < w->subject->keys; k++)
        keys[k] = tw_key(k, bytes[k]);
    vv_status st = engine_multi_get(w->e, keys, w->subject->keys, &read, values, status, &err);
    unsigned failed = 0;
    for (unsigned k = 0; k < w->subject->keys; k++)
        failed += verify_one(w, k, &model[k], status[k], &values[k], may_fail, what, &err);
    if ((st != VV_OK) != (failed > 0))
        fail_msg("%s: seed %#llx: %u keys failed and the call says %s", what,
                 (unsigned long long)w->seed, failed, vv_status_name(st));
    return failed;
}

unsigned tw_verify(tw *w, bool may_fail, const char *what)
{
    tw_value model[TW_KEYS_MAX] = {0};
    for (int64_t v = 1; v <= w->version; v++)
        (void)make_batch(w, v, model);
    unsigned failed = 0;
    engine_read read = {.version = w->version};
    for (unsigned k = 0; k < w->subject->keys; k++) {
        uint8_t buf[32];
        vv_error err;
        engine_value value;
        vv_status st = w->ops->get(w->e, tw_key(k, buf), &read, &value, &err);
        failed += verify_one(w, k, &model[k], st, &value, may_fail, what, &err);
    }
    failed += verify_merges(w, may_fail, what) + verify_series(w, may_fail, what);
    return failed + verify_multi(w, model, may_fail, what);
}

bool tw_verify_scan(tw *w, bool may_fail, const char *what)
{
    tw_value model[TW_KEYS_MAX] = {0};
    for (int64_t v = 1; v <= w->version; v++)
        (void)make_batch(w, v, model);
    vv_error err;
    engine_cursor *c = NULL;
    engine_cursor_options opt = {.read = {.version = w->version},
                                 .lower = vv_slice_str("\x00"),
                                 .upper = vv_slice_of("\0\0\0\3", 4)};
    opt.lower.len = 1;
    vv_status st = w->ops->cursor(w->e, &opt, &c, &err);
    if (st == VV_OK)
        st = engine_cursor_seek(c, (vv_slice){0}, &err);
    for (unsigned i = 0; i < w->subject->keys && st == VV_OK; i++) {
        unsigned k = i < w->subject->keys / 2
                         ? 2 * i
                         : 2 * (i - w->subject->keys / 2) + 1; /* table by table */
        uint8_t buf[32];
        if (model[k].version == 0)
            continue;
        const engine_item *item = engine_cursor_valid(c) ? engine_cursor_item(c) : NULL;
        if (item == NULL || !vv_slice_eq(item->key, tw_key(k, buf)) ||
            !matches(k, &model[k], item->value, item->version))
            fail_msg("%s: seed %#llx: the scan does not show key %u", what,
                     (unsigned long long)w->seed, k);
        st = engine_cursor_next(c, &err);
    }
    if (st == VV_OK && engine_cursor_valid(c))
        fail_msg("%s: seed %#llx: the scan shows too much", what, (unsigned long long)w->seed);
    engine_cursor_close(c);
    if (st != VV_OK && !may_fail)
        fail_msg("%s: seed %#llx: scan: %s", what, (unsigned long long)w->seed, err.msg);
    return st == VV_OK;
}
