/*
 * memstack.c - see memstack.h. Why what is prepared is summed up here: a memtable may be replaced
 * between prepare and apply, and apply takes no memory, so the next one must have the same room.
 */
#include "engine/memstack.h"

#include "base/error.h"

void engine_prepared_begin(engine_prepared *p)
{
    if (p->is_applied)
        *p = (engine_prepared){0};
}

vv_status engine_prepared_add(engine_prepared *p, engine_memtable *newest, size_t payload_len,
                              uint32_t op_count, vv_error *err)
{
    vv_status st = engine_memtable_prepare(newest, payload_len, op_count, err);
    if (st != VV_OK)
        return st;
    p->bytes += payload_len;
    p->ops += op_count;
    return VV_OK;
}

vv_status engine_prepared_move(const engine_prepared *p, engine_memtable *next, vv_error *err)
{
    if (p->is_applied || p->ops == 0)
        return VV_OK;
    return engine_memtable_prepare(next, p->bytes, (uint32_t)vv_min_u64(p->ops, UINT32_MAX), err);
}

void engine_prepared_cancel(engine_prepared *p)
{
    p->bytes = 0;
    p->ops = 0;
}

vv_status engine_memstack_may_grow(uint32_t count, const engine_options *opt, vv_error *err)
{
    if (count >= opt->memtable_count && !opt->read_only)
        return vv_fail(err, VV_BUSY,
                       "%u memtables wait to be flushed: wait for the background work", count);
    return VV_OK;
}
