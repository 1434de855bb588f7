/*
 * txn_resolver.c - conditions of a write against the newest state of a shard.
 *
 * Why "newest" and not "visible": two writers may both read version 7 and both ask to replace it.
 * The first is in the log, not yet synced, so not yet visible; if the second were judged against
 * what is visible, both would be told OK and one update would be lost.
 */
#include "txn/txn.h"

#include "base/error.h"
#include "base/point.h"
#include "base/util.h"

void txn_position_encode(uint64_t sequence, uint8_t out[TXN_POSITION_SIZE])
{
    vv_put_le64(out, sequence);
}

vv_status txn_position_decode(vv_slice bytes, uint64_t *out, vv_error *err)
{
    if (bytes.len != TXN_POSITION_SIZE)
        return vv_fail(err, VV_CORRUPT, "producer position of %zu bytes instead of %u", bytes.len,
                       TXN_POSITION_SIZE);
    *out = vv_get_le64(bytes.data);
    return VV_OK;
}

static vv_status judge_version(const txn_condition *cond, bool present, int64_t version,
                               vv_error *err)
{
    int64_t now = present ? version : 0;
    if (now == cond->version)
        return VV_OK;
    if (now == 0)
        return vv_fail(err, VV_CONFLICT, "the key is absent, version %lld was required",
                       (long long)cond->version);
    return vv_fail(err, VV_CONFLICT, "the key is at version %lld, %lld was required",
                   (long long)now, (long long)cond->version);
}

static vv_status judge_value(const txn_condition *cond, bool present, vv_slice value, vv_error *err)
{
    if (present != cond->present)
        return vv_fail(err, VV_CONFLICT, "the key is %s", present ? "present" : "absent");
    if (present && !vv_slice_eq(value, cond->value))
        return vv_fail(err, VV_CONFLICT, "the key has another value");
    return VV_OK;
}

static vv_status judge_producer(const txn_condition *cond, bool present, const engine_value *value,
                                txn_verdict *out, vv_error *err)
{
    uint64_t last = 0;
    if (!present)
        return VV_OK;
    vv_status st = txn_position_decode(value->data, &last, err);
    if (st == VV_OK && cond->sequence <= last) {
        out->is_duplicate = true;
        out->version = value->version;
    }
    return st;
}

static vv_status judge_one(engine *eng, const txn_condition *cond, const engine_read *read,
                           txn_verdict *out, vv_error *err)
{
    engine_value value = {0};
    vv_status st = eng->ops->get(eng, cond->key, read, &value, err);
    bool present = st == VV_OK;
    if (st != VV_OK && st != VV_NOT_FOUND)
        return st;
    switch (cond->kind) {
    case TXN_VERSION:
        st = judge_version(cond, present, value.version, err);
        break;
    case TXN_VALUE:
        st = judge_value(cond, present, value.data, err);
        break;
    case TXN_PRODUCER:
        st = judge_producer(cond, present, &value, out, err);
        break;
    }
    if (present)
        engine_value_release(&value);
    return st;
}

vv_status txn_judge(engine *eng, const txn_condition *conds, size_t count, int64_t as_of,
                    int64_t now_ns, txn_verdict *out, vv_error *err)
{
    engine_read read = {.version = as_of, .now_ns = now_ns};
    if (VV_BUG(17))
        read.version = eng->ops->visible(eng);
    *out = (txn_verdict){0};
    for (int producers_first = 1; producers_first >= 0; producers_first--) {
        for (size_t i = 0; i < count; i++) {
            if ((conds[i].kind == TXN_PRODUCER) != producers_first)
                continue;
            vv_status st = judge_one(eng, &conds[i], &read, out, err);
            if (st != VV_OK || out->is_duplicate)
                return st;
        }
    }
    return VV_OK;
}

bool txn_is_current(engine *eng, const txn_condition *conds, size_t count, int64_t as_of)
{
    for (size_t i = 0; i < count; i++) {
        int64_t floor = 0;
        int64_t last = eng->ops->last_version(eng, conds[i].key, &floor);
        if (VV_BUG(17) && last > eng->ops->visible(eng))
            continue;
        /* Above the floor the memtables know every write; a key they do not know may have been
         * written below it. */
        if (last > as_of || (last < 0 && floor > as_of + 1))
            return false;
    }
    return true;
}
