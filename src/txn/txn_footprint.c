/*
 * txn_footprint.c - was anything that a transaction depends on touched since its snapshot?
 *
 * Single keys are asked of the memtables, which know the last writer of every key above their
 * floor, entries not yet visible included. A key they do not know may have been written below the
 * floor; when the floor is above the snapshot only the runs can tell.
 */
#include "txn/txn.h"

#include <string.h>

#include "base/error.h"
#include "base/point.h"
#include "base/util.h"

static void name_key(engine_touch *out, vv_slice key, int64_t version)
{
    *out = (engine_touch){.version = version, .key_len = key.len};
    memcpy(out->key, key.data, key.len);
}

txn_answer txn_check_keys(engine *eng, const txn_footprint *fp, engine_touch *out)
{
    txn_answer answer = TXN_CLEAR;
    int64_t slack = VV_BUG(52) ? 2 : 1;
    if (VV_BUG(53))
        return TXN_CLEAR;
    for (size_t i = 0; i < fp->key_count; i++) {
        int64_t floor = 0;
        int64_t last = eng->ops->last_version(eng, fp->keys[i], &floor);
        if (VV_BUG(59) && last > eng->ops->visible(eng))
            continue;
        if (last > fp->since) {
            name_key(out, fp->keys[i], last);
            return TXN_TOUCHED;
        }
        if (last < 0 && floor > fp->since + slack)
            answer = TXN_UNKNOWN; /* go on: another key may be known to be touched */
    }
    return answer;
}

/* The first key behind key: the upper bound of the span that holds it alone. */
static vv_slice behind(vv_slice key, uint8_t buf[ENGINE_KEY_MAX + 1])
{
    memcpy(buf, key.data, key.len);
    buf[key.len] = 0;
    return vv_slice_of(buf, key.len + 1);
}

static vv_status ask(engine *eng, vv_slice lower, vv_slice upper, int64_t since, txn_answer *answer,
                     engine_touch *out, vv_error *err)
{
    vv_status st = eng->ops->touched(eng, lower, upper, since, out, err);
    *answer = st == VV_OK ? TXN_TOUCHED : st == VV_UNSUPPORTED ? TXN_UNKNOWN : TXN_CLEAR;
    return st == VV_NOT_FOUND || st == VV_UNSUPPORTED ? VV_OK : st;
}

vv_status txn_check_all(engine *eng, const txn_footprint *fp, txn_answer *answer, engine_touch *out,
                        vv_error *err)
{
    uint8_t end[ENGINE_KEY_MAX + 1];
    vv_status st = VV_OK;
    *answer = TXN_CLEAR;
    if (VV_BUG(53))
        return VV_OK;
    for (size_t i = 0; st == VV_OK && *answer == TXN_CLEAR && i < fp->key_count; i++)
        st = ask(eng, fp->keys[i], behind(fp->keys[i], end), fp->since, answer, out, err);
    for (size_t i = 0; st == VV_OK && *answer == TXN_CLEAR && i < fp->span_count; i++) {
        if (VV_BUG(51))
            break;
        st = ask(eng, fp->spans[i].lower, fp->spans[i].upper, fp->since, answer, out, err);
    }
    return st;
}
