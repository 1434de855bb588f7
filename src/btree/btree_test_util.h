/*
 * btree_test_util.h - a small store whose log is a function of a seed: batch v can be made again at
 * any time, so crash and fault tests know what must be there without keeping it.
 */
#ifndef VARVE_BTREE_BTREE_TEST_UTIL_H
#define VARVE_BTREE_BTREE_TEST_UTIL_H

#include "vv_test.h"

#include "base/buf.h"
#include "base/rng.h"
#include "btree/btree.h"
#include "io/vio_sim.h"

#define TW_KEYS 320u /* of two tables: enough for three levels of small pages */
#define TW_VALUE_MAX 3000u

typedef struct tw_value {
    int64_t version; /* 0: absent */
    uint32_t len;
} tw_value;

typedef struct tw {
    uint64_t seed;
    vio_sim_disk *disk;
    vv_env env;
    engine_options opt;
    engine *e;
    int64_t version;      /* last applied */
    int64_t durable;      /* what ensure_durable was asked for */
    int64_t checkpointed; /* what on_checkpoint said */
    vv_buf buf;
} tw;

static inline vv_status tw_ensure_durable(void *ctx, int64_t version, vv_error *err)
{
    tw *w = ctx;
    (void)err;
    if (version > w->durable)
        w->durable = version;
    return VV_OK;
}

static inline void tw_on_checkpoint(void *ctx, int64_t version)
{
    ((tw *)ctx)->checkpointed = version;
}

static inline void tw_init(tw *w, uint64_t seed)
{
    *w = (tw){.seed = seed, .disk = vio_sim_disk_create()};
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
        .target_file_size = 4 * VV_KIB << vv_rng_below(&rng, 4),
        .block_size = 512u << vv_rng_below(&rng, 2), /* deep trees of few keys */
        .value_compression = vv_rng_one_in(&rng, 2),
        .hooks = {.ctx = w, .ensure_durable = tw_ensure_durable, .on_checkpoint = tw_on_checkpoint},
    };
}

static inline void tw_fini(tw *w)
{
    vv_buf_fini(&w->buf);
    vio_sim_disk_destroy(w->disk);
}

static inline vv_status tw_power_on(tw *w, const vio_sim_options *opt, vv_error *err)
{
    vv_status st = vio_sim_open(w->disk, opt, &w->env.io, err);
    w->env.clock = vio_sim_clock(w->disk);
    return st;
}

static inline void tw_power_off(tw *w)
{
    vio_destroy(w->env.io);
    w->env.io = NULL;
}

static inline vv_slice tw_key(unsigned index, uint8_t buf[32])
{
    vv_put_be32(buf, 1 + index % 2);
    int n = snprintf((char *)buf + 4, 28, "key/%03u", index / 2);
    return vv_slice_of(buf, 4 + (size_t)n);
}

/* The value that batch `version` gives a key: bytes that no other batch gives. */
static inline void tw_fill_value(uint8_t *out, uint32_t len, unsigned key, int64_t version)
{
    for (uint32_t i = 0; i < len; i++)
        out[i] = (uint8_t)(((uint64_t)version * 31 + key * 7 + i / 16) >> (i % 3));
    if (len >= 8)
        vv_put_le64(out, (uint64_t)version);
}

/* Batch `version`: its payload in w->buf when model is NULL, or its effect on the model. */
static inline uint32_t tw_batch(tw *w, int64_t version, tw_value *model)
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
        unsigned k = (unsigned)vv_rng_below(&rng, TW_KEYS);
        uint64_t dice = vv_rng_below(&rng, 100);
        engine_op op = {.kind = ENGINE_PUT, .key = tw_key(k, key_buf)};
        uint32_t len = (uint32_t)vv_rng_below(&rng, dice == 99 ? TW_VALUE_MAX : 120);
        if (dice < 4) { /* a range within the table */
            unsigned n = 1 + (unsigned)vv_rng_below(&rng, 5);
            op.kind = ENGINE_RANGE_DELETE;
            op.value = tw_key(k + 2 * n, end_buf);
            for (unsigned j = 0; model != NULL && j < n && k + 2 * j < TW_KEYS; j++)
                model[k + 2 * j].version = 0;
        } else if (dice < 25) {
            op.kind = ENGINE_DELETE;
            if (model != NULL)
                model[k].version = 0;
        } else {
            tw_fill_value(value, len, k, version);
            op.value = vv_slice_of(value, len);
            if (model != NULL)
                model[k] = (tw_value){version, len};
        }
        engine_entry_add(&w->buf, &op);
    }
    engine_entry_finish(&w->buf, at, count);
    return count;
}

/* Apply batch `version`, doing background work when the engine is busy. */
static inline vv_status tw_write(tw *w, int64_t version, vv_error *err)
{
    uint32_t count = tw_batch(w, version, NULL);
    vv_status st;
    while ((st = btree_ops.prepare(w->e, w->buf.len, count, err)) == VV_BUSY) {
        st = btree_ops.work(w->e, err);
        if (st != VV_OK)
            return st;
    }
    if (st == VV_OK)
        st = btree_ops.apply(w->e, version, 0, vv_buf_slice(&w->buf), err);
    if (st != VV_OK)
        return st;
    btree_ops.publish(w->e, version);
    w->version = version;
    return VV_OK;
}

static inline vv_status tw_work_all(tw *w, vv_error *err)
{
    vv_status st;
    while ((st = btree_ops.work(w->e, err)) == VV_OK)
        continue;
    return st == VV_NOT_FOUND ? VV_OK : st;
}

static inline bool tw_matches(unsigned key, const tw_value *want, vv_slice got, int64_t version)
{
    uint8_t value[TW_VALUE_MAX];
    if (want->version == 0 || want->version != version || got.len != want->len)
        return false;
    tw_fill_value(value, want->len, key, want->version);
    return memcmp(value, got.data, got.len) == 0;
}

/* Compare every key with the model at w->version. A read may fail where errors are allowed, but
 * never answer wrongly. Returns the number of reads that failed. */
static inline unsigned tw_verify(tw *w, bool may_fail, const char *what)
{
    tw_value model[TW_KEYS] = {0};
    for (int64_t v = 1; v <= w->version; v++)
        (void)tw_batch(w, v, model);
    unsigned failed = 0;
    engine_read read = {.version = w->version};
    for (unsigned k = 0; k < TW_KEYS; k++) {
        uint8_t buf[32];
        vv_error err;
        engine_value value;
        vv_status st = btree_ops.get(w->e, tw_key(k, buf), &read, &value, &err);
        if (st == VV_OK && !tw_matches(k, &model[k], value.data, value.version))
            fail_msg("%s: seed %#llx: key %u has version %lld instead of %lld", what,
                     (unsigned long long)w->seed, k, (long long)value.version,
                     (long long)model[k].version);
        if (st == VV_NOT_FOUND && model[k].version != 0)
            fail_msg("%s: seed %#llx: key %u is lost: version %lld of %lld", what,
                     (unsigned long long)w->seed, k, (long long)model[k].version,
                     (long long)w->version);
        if (st == VV_OK) {
            engine_value_release(&value);
        } else if (st != VV_NOT_FOUND) {
            failed++;
            if (!may_fail)
                fail_msg("%s: seed %#llx: key %u: %s", what, (unsigned long long)w->seed, k,
                         err.msg);
        }
    }
    return failed;
}

/* The same by a scan of everything; false when it failed where that is allowed. */
static inline bool tw_verify_scan(tw *w, bool may_fail, const char *what)
{
    tw_value model[TW_KEYS] = {0};
    for (int64_t v = 1; v <= w->version; v++)
        (void)tw_batch(w, v, model);
    vv_error err;
    engine_cursor *c = NULL;
    engine_cursor_options opt = {.read = {.version = w->version},
                                 .lower = vv_slice_str("\x00"),
                                 .upper = vv_slice_str("\xff")};
    opt.lower.len = 1;
    vv_status st = btree_ops.cursor(w->e, &opt, &c, &err);
    if (st == VV_OK)
        st = engine_cursor_seek(c, (vv_slice){0}, &err);
    for (unsigned i = 0; i < TW_KEYS && st == VV_OK; i++) {
        unsigned k = i < TW_KEYS / 2 ? 2 * i : 2 * (i - TW_KEYS / 2) + 1; /* table by table */
        uint8_t buf[32];
        if (model[k].version == 0)
            continue;
        const engine_item *item = engine_cursor_valid(c) ? engine_cursor_item(c) : NULL;
        if (item == NULL || !vv_slice_eq(item->key, tw_key(k, buf)) ||
            !tw_matches(k, &model[k], item->value, item->version))
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

#endif
