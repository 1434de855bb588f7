/*
 * cmd_message.c - get and scan of stream tables, through the same reads as varve stream: what is
 * archived comes as what is fresh does.
 */
#include "cmd_message.h"

#include "base/error.h"
#include "base/time_text.h"
#include "base/util.h"
#include "message_out.h"
#include "out.h"
#include "place_text.h"

bool message_table(store *s, store_table_info *out)
{
    return s->ops->table_describe(s, s->table, out, NULL) == VV_OK && out->kind == VV_TABLE_STREAM;
}

/* ---- get ---- */

typedef struct getter {
    uint64_t offset; /* that is wanted */
    uint64_t found;
    message_print print; /* NULL: rows */
    const void *print_ctx;
    out_writer out;
} getter;

/* The read begins at the first message that is kept. */
static int take_message(void *ctx, const vv_message *m)
{
    getter *g = ctx;
    if (m->offset != g->offset)
        return 1;
    g->found++;
    if (g->print != NULL)
        g->print(g->print_ctx, m->value);
    else
        message_out_row(&g->out, m);
    return 1;
}

static vv_status get_one(store *s, getter *g, uint32_t partition, vv_slice key, vv_error *err)
{
    vv_stream_read_options opt = VV_STREAM_READ_OPTIONS_INIT;
    uint64_t end = 0;
    opt.partition = partition;
    if (!place_text_message(key, &opt.partition, &g->offset))
        return vv_fail(err, VV_INVALID,
                       "'%.*s': table '%s' holds messages: a KEY of it is an offset, or "
                       "PARTITION/OFFSET",
                       (int)vv_min_u64(key.len, 60), (const char *)key.data, s->table);
    opt.start = (vv_stream_start){.from = VV_STREAM_OFFSET, .offset = g->offset};
    opt.messages_max = 1;
    return s->ops->stream->read(s, &opt, false, take_message, g, &end, err);
}

vv_status message_get(const cmd_ctx *ctx, store *s, uint32_t partition, const vv_slice *keys,
                      size_t count, message_print print, const void *print_ctx, vv_error *err)
{
    getter g = {.print = print, .print_ctx = print_ctx};
    vv_status st = VV_OK;
    if (print == NULL)
        message_out_begin(&g.out, ctx->common.format);
    for (size_t i = 0; i < count && st == VV_OK; i++)
        st = get_one(s, &g, partition, keys[i], err);
    if (print == NULL && g.found > 0)
        out_end(&g.out);
    if (st != VV_OK || g.found == count)
        return st;
    if (count == 1)
        return vv_fail(err, VV_NOT_FOUND,
                       "message %.*s is not in table '%s' of tenant '%s': it went, or is still to "
                       "come",
                       (int)vv_min_u64(keys[0].len, 60), (const char *)keys[0].data, s->table,
                       s->tenant);
    return vv_fail(err, VV_NOT_FOUND, "%llu of %zu messages are not in table '%s' of tenant '%s'",
                   (unsigned long long)(count - g.found), count, s->table, s->tenant);
}

/* ---- scan ---- */

typedef struct scanner {
    const message_scan *scan;
    vv_stream_start to; /* VV_STREAM_LATEST: no end */
    uint64_t count;
    out_writer out;
} scanner;

static const char *const key_columns[] = {"partition", "offset", "received", "key"};

static void print_key(out_writer *out, const vv_message *m)
{
    char received[TIME_TEXT_MAX];
    time_text_format(m->receive_time_ns, received);
    out_row(out, (const out_cell[]){out_uint(m->partition), out_uint(m->offset), out_text(received),
                                    out_bytes(m->key)});
}

static int take_scanned(void *ctx, const vv_message *m)
{
    scanner *s = ctx;
    if ((s->to.from == VV_STREAM_OFFSET && m->offset >= s->to.offset) ||
        (s->to.from == VV_STREAM_RECEIVED && m->receive_time_ns >= s->to.time_ns))
        return 1;
    s->count++;
    if (s->scan->count)
        return 0;
    if (s->scan->keys_only)
        print_key(&s->out, m);
    else
        message_out_row(&s->out, m);
    return 0;
}

static vv_status scan_partition(store *s, scanner *at, const vv_stream_start *from,
                                uint32_t partition, vv_error *err)
{
    const message_scan *scan = at->scan;
    uint64_t end = 0;
    uint64_t most = scan->limit == 0 ? UINT64_MAX : scan->limit - at->count;
    vv_stream_read_options opt = VV_STREAM_READ_OPTIONS_INIT;
    opt.partition = partition;
    opt.start = *from;
    if (at->to.from == VV_STREAM_OFFSET && from->from == VV_STREAM_OFFSET) {
        if (from->offset >= at->to.offset)
            return VV_OK;
        most = vv_min_u64(most, at->to.offset - from->offset);
    }
    opt.messages_max = most == UINT64_MAX ? 0 : most;
    return s->ops->stream->read(s, &opt, false, take_scanned, at, &end, err);
}

static void begin_rows(const cmd_ctx *ctx, scanner *at)
{
    if (at->scan->keys_only)
        out_init_names(&at->out, ctx->common.format, key_columns, ARRAY_LEN(key_columns));
    else
        message_out_begin(&at->out, ctx->common.format);
}

vv_status message_scan_run(const cmd_ctx *ctx, store *s, const store_table_info *info,
                           const message_scan *scan, vv_error *err)
{
    scanner at = {.scan = scan, .to = {.from = VV_STREAM_LATEST}};
    vv_stream_start from;
    vv_status st = VV_OK;
    uint32_t p = scan->one ? scan->partition : 0;
    if (!place_text_parse(scan->from, &from))
        return vv_fail(err, VV_INVALID,
                       "--from: '%s' is no offset, time, earliest, latest or @NAME", scan->from);
    if (scan->to != NULL && (!place_text_parse(scan->to, &at.to) ||
                             (at.to.from != VV_STREAM_OFFSET && at.to.from != VV_STREAM_RECEIVED)))
        return vv_fail(err, VV_INVALID, "--to: '%s' is no offset and no time", scan->to);
    if (!scan->count)
        begin_rows(ctx, &at);
    do
        st = scan_partition(s, &at, &from, p, err);
    while (st == VV_OK && !scan->one && ++p < info->partitions &&
           (scan->limit == 0 || at.count < scan->limit));
    if (!scan->count)
        out_end(&at.out);
    if (st == VV_OK && scan->count) {
        out_init_names(&at.out, ctx->common.format, (const char *const[]){"count"}, 1);
        out_row(&at.out, (const out_cell[]){out_uint(at.count)});
        out_end(&at.out);
    }
    return st;
}
