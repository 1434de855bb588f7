/*
 * store_local_stream.c - a directory as a store of messages, through the public library.
 */
#include "base/error.h"
#include "store_local.h"

vv_status local_open_stream(local *l, vv_error *err)
{
    vv_status st = local_open_table(l, false, VV_TABLE_STREAM, err);
    if (st == VV_OK && vv_table_kind_of(l->table) != VV_TABLE_STREAM)
        st = vv_fail(err, VV_INVALID, "table '%s' is not of kind stream", l->base.table);
    return st;
}

static vv_status stream_append(store *s, const vv_message *messages, size_t count,
                               const vv_stream_append_options *opt, uint64_t *dead, vv_error *err)
{
    local *l = local_of(s);
    vv_stream_append_result r = {.dead = 0};
    vv_status st = local_open_stream(l, err);
    if (st == VV_OK)
        st = vv_stream_append(l->table, messages, count, opt, &r, err);
    *dead = r.dead;
    return st;
}

static vv_status stream_producer_next(store *s, uint32_t partition, vv_slice key, vv_slice producer,
                                      uint64_t *sequence, vv_error *err)
{
    local *l = local_of(s);
    vv_status st = local_open_stream(l, err);
    *sequence = 0;
    if (st != VV_OK)
        return st;
    if (partition == VV_STREAM_BY_KEY)
        partition = vv_stream_partition_of(l->table, key.len > 0 ? key : producer);
    st = vv_stream_producer_next(l->table, partition, producer, sequence, err);
    return st == VV_NOT_FOUND ? VV_OK : st;
}

static vv_status stream_read(store *s, const vv_stream_read_options *opt, bool follows,
                             int (*each)(void *ctx, const vv_message *m), void *ctx, uint64_t *end,
                             vv_error *err)
{
    local *l = local_of(s);
    vv_stream_cursor *c = NULL;
    vv_message m;
    vv_status st = local_open_stream(l, err);
    if (st == VV_OK && follows)
        st = vv_fail(err, VV_UNSUPPORTED, "nobody else writes to a directory: --follow a server");
    if (st == VV_OK)
        st = vv_stream_cursor_open(l->table, opt, &c, err);
    if (st != VV_OK)
        return st;
    while ((st = vv_stream_cursor_next(c, &m, err)) == VV_OK)
        if (each(ctx, &m) != 0)
            break;
    *end = vv_stream_cursor_offset(c);
    vv_stream_cursor_close(c);
    return st == VV_NOT_FOUND ? VV_OK : st;
}

static vv_status stream_commit(store *s, uint32_t partition, vv_slice name, uint64_t offset,
                               vv_error *err)
{
    local *l = local_of(s);
    vv_status st = local_open_stream(l, err);
    return st == VV_OK ? vv_stream_commit(l->table, partition, name, offset, VV_DURABLE_SYNC, err)
                       : st;
}

static vv_status stream_positions(store *s, int (*each)(void *ctx, const vv_stream_position *p),
                                  void *ctx, vv_error *err)
{
    local *l = local_of(s);
    vv_status st = local_open_stream(l, err);
    return st == VV_OK ? vv_stream_position_list(l->table, each, ctx, err) : st;
}

static vv_status stream_reset(store *s, uint32_t partition, vv_slice name,
                              const vv_stream_start *start, uint64_t *offset, vv_error *err)
{
    local *l = local_of(s);
    vv_status st = local_open_stream(l, err);
    return st == VV_OK ? vv_stream_position_reset(l->table, partition, name, start, offset, err)
                       : st;
}

static vv_status
stream_status(store *s, int (*each)(void *ctx, uint32_t partition, const vv_stream_stats *stats),
              void *ctx, vv_error *err)
{
    local *l = local_of(s);
    vv_table_info info = {0};
    vv_status st = local_open_stream(l, err);
    if (st == VV_OK)
        st = vv_table_identify(l->table, &info, err);
    for (uint32_t p = 0; st == VV_OK && p < info.partitions; p++) {
        vv_stream_stats stats = {.size = sizeof stats};
        st = vv_stream_stats_read(l->table, p, NULL, &stats, err);
        if (st == VV_OK && each(ctx, p, &stats) != 0)
            break;
    }
    return st;
}

static vv_status stream_replay(store *s, vv_stream_replay_result *out, vv_error *err)
{
    local *l = local_of(s);
    vv_status st = local_open_stream(l, err);
    return st == VV_OK ? vv_stream_replay(l->table, VV_DURABLE_SYNC, out, err) : st;
}

static vv_status stream_rules(store *s, int (*each)(void *ctx, const vv_stream_rule_stats *rule),
                              void *ctx, vv_error *err)
{
    local *l = local_of(s);
    vv_status st = local_open_stream(l, err);
    return st == VV_OK ? vv_stream_rules_read(l->table, each, ctx, err) : st;
}

const store_stream_ops local_stream_ops = {
    .append = stream_append,
    .producer_next = stream_producer_next,
    .read = stream_read,
    .commit = stream_commit,
    .positions = stream_positions,
    .reset = stream_reset,
    .status = stream_status,
    .replay = stream_replay,
    .rules = stream_rules,
};
