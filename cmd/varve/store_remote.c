/*
 * store_remote.c - a server as a store: requests written and answers read field by field.
 *
 * Field numbers are those of proto/varve/v1/ and proto/storage/. Tables, archives and the state of
 * the server are in store_remote_admin.c.
 */
#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/time_text.h"
#include "base/util.h"
#include "store_remote.h"

#define MESSAGE_MAX (80u * 1024 * 1024)
#define CELLS_MAX (QUERY_GROUP_MAX + QUERY_AGGREGATES_MAX)

static void remote_close(store *s)
{
    remote *r = remote_of(s);
    cli_stream_close(r->load);
    remote_samples_free(r);
    cli_close(r->conn);
    vv_buf_fini(&r->request);
    vv_buf_fini(&r->reply);
    vv_free(r);
}

/* UNAUTHENTICATED and PERMISSION_DENIED have no vv_status: the HTTP status tells the exit code. */
static vv_status denied(vv_status st, const cli_result *result, vv_error *err)
{
    if (err != NULL && result->code == 16)
        err->sys = 401;
    if (err != NULL && result->code == 7)
        err->sys = 403;
    return st;
}

static int told_durability(const cli_result *result)
{
    int durability = 0;
    for (size_t i = 0; i < result->trailer_count; i++)
        if (strcmp(result->trailers[i].name, "varve-durability") == 0)
            (void)store_parse_durability(result->trailers[i].value, &durability);
    return durability;
}

vv_status remote_unary(remote *r, const char *method, vv_error *err)
{
    cli_result result = {0};
    if (r->request.status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "the request does not fit into memory");
    vv_status st = cli_unary(r->conn, method, vv_buf_slice(&r->request), r->base.timeout_ns,
                             &r->reply, &result, err);
    r->durability = told_durability(&result);
    return st == VV_OK ? VV_OK : denied(st, &result, err);
}

vv_status remote_malformed(vv_error *err, const char *method)
{
    return vv_fail(err, VV_IO, "%s: the answer is malformed", method);
}

static void begin_request(remote *r)
{
    vv_buf_reset(&r->request);
    put_ref(r, 1, r->base.tenant, r->base.table);
}

/* ---- keys and values ---- */

static void take_written(const remote *r, store_written *out)
{
    *out = (store_written){(int64_t)varint_of(vv_buf_slice(&r->reply), 1), r->durability};
}

static vv_status remote_merge(store *s, vv_slice key, vv_slice operand, const store_write *how,
                              store_written *out, vv_error *err)
{
    remote *r = remote_of(s);
    begin_request(r);
    wire_put_string(&r->request, 2, key);
    wire_put_uint(&r->request, 3, (uint64_t)how->op);
    wire_put_string(&r->request, 4, operand);
    wire_put_uint(&r->request, 5, how->ttl_ms);
    wire_put_uint(&r->request, 6, (uint64_t)how->durability);
    vv_status st = remote_unary(r, "/varve.v1.Kv/Merge", err);
    if (st == VV_OK)
        take_written(r, out);
    return st;
}

static vv_status remote_put(store *s, vv_slice key, vv_slice value, const store_write *how,
                            store_written *out, vv_error *err)
{
    remote *r = remote_of(s);
    if (how->op != 0)
        return remote_merge(s, key, value, how, out, err);
    begin_request(r);
    wire_put_string(&r->request, 2, key);
    wire_put_string(&r->request, 3, value);
    wire_put_uint(&r->request, 4, how->ttl_ms);
    wire_put_uint(&r->request, 5, (uint64_t)how->durability);
    vv_status st = remote_unary(r, "/varve.v1.Kv/Put", err);
    if (st == VV_OK)
        take_written(r, out);
    return st;
}

static void put_archive(remote *r, uint32_t number)
{
    if (r->base.archive != NULL)
        wire_put_string(&r->request, number, vv_slice_str(r->base.archive));
}

/* The time, in place of a version; a server takes milliseconds, cut so that nothing later shows. */
static void put_as_of(remote *r, uint32_t number)
{
    wire_put_int(&r->request, number, r->base.as_of_ns / VV_NS_PER_MS);
}

static vv_status fail_absent(const store *s, vv_error *err)
{
    if (s->archive != NULL)
        return vv_fail(err, VV_NOT_FOUND, "the key is not in archive '%s'", s->archive);
    return vv_fail(err, VV_NOT_FOUND, "the key is not in table '%s' of tenant '%s'", s->table,
                   s->tenant);
}

static vv_status remote_get(store *s, vv_slice key, int64_t version, vv_buf *out, store_kv *kv,
                            vv_error *err)
{
    remote *r = remote_of(s);
    begin_request(r);
    wire_put_string(&r->request, 2, key);
    wire_put_int(&r->request, 3, version);
    put_archive(r, 4);
    put_as_of(r, 5);
    vv_status st = remote_unary(r, "/varve.v1.Kv/Get", err);
    if (st != VV_OK)
        return st;
    vv_slice reply = vv_buf_slice(&r->reply);
    if (varint_of(reply, 1) == 0)
        return fail_absent(s, err);
    vv_buf_append_slice(out, bytes_of(reply, 2));
    *kv = (store_kv){.key = key,
                     .value = vv_buf_slice(out),
                     .version = (int64_t)varint_of(reply, 3),
                     .expires_ms = (int64_t)varint_of(reply, 4)};
    return out->status == VV_OK ? VV_OK : vv_fail(err, out->status, "a value of this size");
}

/* One answer of many results. *count: keys that it answers. */
static vv_status take_results(remote *r, const vv_slice *keys, size_t left, size_t *count,
                              void (*each)(void *ctx, const store_kv *kv), void *ctx, vv_error *err)
{
    wire_reader reader = wire_reader_of(vv_buf_slice(&r->reply));
    wire_field f = {0};
    *count = 0;
    while (wire_next(&reader, &f) > 0) {
        if (f.number != 1)
            continue;
        if (f.type != WIRE_BYTES || *count == left)
            return remote_malformed(err, "GetMany");
        const store_kv kv = {.key = keys[*count],
                             .value = bytes_of(f.bytes, 2),
                             .version = (int64_t)varint_of(f.bytes, 3),
                             .expires_ms = (int64_t)varint_of(f.bytes, 4)};
        each(ctx, &kv);
        ++*count;
    }
    return reader.fault == WIRE_GOOD && *count > 0 ? VV_OK : remote_malformed(err, "GetMany");
}

/* The rest of a long answer is asked for at the version of its beginning, while that is kept, and
 * else at the newest when the caller wanted that. */
static vv_status remote_get_many(store *s, const vv_slice *keys, size_t count, int64_t version,
                                 void (*each)(void *ctx, const store_kv *kv), void *ctx,
                                 vv_error *err)
{
    remote *r = remote_of(s);
    const int64_t asked = version;
    vv_status st = VV_OK;
    for (size_t at = 0, answered = 0; st == VV_OK && at < count; at += answered) {
        answered = 0;
        begin_request(r);
        for (size_t i = at; i < count; i++)
            wire_put_bytes(&r->request, 2, keys[i]);
        wire_put_int(&r->request, 3, version);
        put_archive(r, 5);
        if (version == 0)
            put_as_of(r, 6);
        st = remote_unary(r, "/varve.v1.Kv/GetMany", err);
        if (st == VV_UNSUPPORTED && version != asked) {
            version = asked;
            st = VV_OK;
            continue;
        }
        if (st == VV_OK)
            st = take_results(r, keys + at, count - at, &answered, each, ctx, err);
        if (st == VV_OK) /* 0 of an archive */
            version = (int64_t)varint_of(vv_buf_slice(&r->reply), 2);
    }
    return st;
}

static vv_status remote_del(store *s, vv_slice key, vv_slice end, const store_write *how,
                            store_written *out, vv_error *err)
{
    remote *r = remote_of(s);
    begin_request(r);
    wire_put_string(&r->request, 2, key);
    wire_put_string(&r->request, 3, end);
    wire_put_uint(&r->request, 4, (uint64_t)how->durability);
    vv_status st = remote_unary(r, "/varve.v1.Kv/Delete", err);
    if (st == VV_OK)
        take_written(r, out);
    return st;
}

/* Open a stream that takes one request and gives many answers. */
static vv_status stream_of(remote *r, const char *method, cli_stream **out, vv_error *err)
{
    cli_stream *stream = NULL;
    if (r->request.status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "the request does not fit into memory");
    vv_status st = cli_stream_open(r->conn, method, r->base.stream_timeout_ns, &stream, err);
    if (st != VV_OK)
        return st;
    st = cli_stream_send(stream, vv_buf_slice(&r->request), err);
    if (st != VV_OK) {
        cli_stream_close(stream);
        return st;
    }
    cli_stream_half_close(stream);
    *out = stream;
    return VV_OK;
}

vv_status remote_messages(remote *r, const char *method,
                          vv_status (*each)(void *ctx, vv_slice message, bool *stop, vv_error *err),
                          void *ctx, vv_error *err)
{
    cli_stream *stream = NULL;
    bool stop = false;
    vv_status st = stream_of(r, method, &stream, err);
    while (st == VV_OK && !stop) {
        st = cli_stream_receive(stream, true, &r->reply, err);
        const bool is_end = st != VV_OK;
        if (!is_end)
            st = each(ctx, vv_buf_slice(&r->reply), &stop, err);
        else if (st == VV_NOT_FOUND && cli_stream_result(stream)->code == 0)
            st = VV_OK; /* the clean end */
        else
            st = denied(st, cli_stream_result(stream), err);
        stop |= is_end;
    }
    cli_stream_close(stream);
    return st;
}

static int take_page(vv_slice page, int (*each)(void *ctx, const store_kv *kv), void *ctx)
{
    wire_reader r = wire_reader_of(page);
    wire_field f = {0};
    while (wire_next(&r, &f) > 0) {
        if (f.number != 1 || f.type != WIRE_BYTES)
            continue;
        const store_kv kv = {.key = bytes_of(f.bytes, 1),
                             .value = bytes_of(f.bytes, 2),
                             .version = (int64_t)varint_of(f.bytes, 3),
                             .expires_ms = (int64_t)varint_of(f.bytes, 4)};
        if (each(ctx, &kv) != 0)
            return 1;
    }
    return 0;
}

typedef struct scan {
    int (*each)(void *ctx, const store_kv *kv);
    void *ctx;
} scan;

static vv_status take_scanned(void *ctx, vv_slice message, bool *stop, vv_error *err)
{
    const scan *to = ctx;
    (void)err;
    *stop = take_page(message, to->each, to->ctx) != 0;
    return VV_OK;
}

static vv_status remote_scan(store *s, const store_range *range,
                             int (*each)(void *ctx, const store_kv *kv), void *ctx, vv_error *err)
{
    remote *r = remote_of(s);
    scan to = {each, ctx};
    begin_request(r);
    wire_put_string(&r->request, 2, range->begin);
    wire_put_string(&r->request, 3, range->end);
    wire_put_string(&r->request, 4, range->prefix);
    wire_put_uint(&r->request, 5, range->reverse);
    wire_put_uint(&r->request, 6, range->limit);
    wire_put_int(&r->request, 7, range->version);
    wire_put_uint(&r->request, 8, range->keys_only);
    put_archive(r, 10);
    put_as_of(r, 11);
    return remote_messages(r, "/varve.v1.Kv/Scan", take_scanned, &to, err);
}

/* ---- queries ---- */

static void read_stats(vv_slice message, query_stats *out)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    *out = (query_stats){.index = ""};
    while (wire_next(&r, &f) > 0) {
        if (f.number == 1)
            out->scanned_rows = f.value;
        else if (f.number == 2)
            out->filtered_rows = f.value;
        else if (f.number == 3)
            out->returned_rows = f.value;
        else if (f.number == 4)
            out->scanned_bytes = f.value;
        else if (f.number == 5 && f.type == WIRE_FIXED64)
            out->execution_ns = (int64_t)(wire_double(f.value) * 1e6);
        else if (f.number == 6 && f.type == WIRE_FIXED64)
            out->planning_ns = (int64_t)(wire_double(f.value) * 1e6);
        else if (f.number == 10 && f.type == WIRE_BYTES)
            out->index = vv_slice_eq(f.bytes, vv_slice_str("time")) ? "time" : "primary";
    }
}

typedef struct query_take {
    int (*each)(void *ctx, vv_slice record);
    void *ctx;
    query_stats *stats;
} query_take;

static vv_status take_records(void *ctx, vv_slice message, bool *stop, vv_error *err)
{
    const query_take *to = ctx;
    wire_reader at = wire_reader_of(message);
    wire_field f = {0};
    (void)err;
    while (wire_next(&at, &f) > 0 && !*stop) {
        if (f.number == 1 && f.type == WIRE_BYTES)
            *stop = to->each(to->ctx, f.bytes) != 0;
        else if (f.number == 2 && f.type == WIRE_BYTES)
            read_stats(f.bytes, to->stats);
    }
    return VV_OK;
}

static vv_status remote_query(store *s, const query_ask *ask,
                              int (*each)(void *ctx, vv_slice record), void *ctx,
                              query_stats *stats, vv_error *err)
{
    remote *r = remote_of(s);
    query_take to = {each, ctx, stats};
    *stats = (query_stats){.index = ""};
    vv_buf_reset(&r->request);
    query_request_put(&r->request, ask);
    return remote_messages(r, "/storage.QueryService/QueryStream", take_records, &to, err);
}

/* One AggregateResult: two maps of name to Value. */
static bool read_group(vv_slice group, store_cell *cells, size_t *count)
{
    wire_reader r = wire_reader_of(group);
    wire_field f = {0};
    *count = 0;
    while (wire_next(&r, &f) > 0) {
        if (f.type != WIRE_BYTES || *count == CELLS_MAX)
            return false;
        store_cell *c = &cells[(*count)++];
        c->name = bytes_of(f.bytes, 1);
        if (struct_value_parse(bytes_of(f.bytes, 2), &c->value) != VV_OK)
            return false;
    }
    return true;
}

static vv_status remote_aggregate(store *s, const query_ask *ask,
                                  int (*each)(void *ctx, const store_cell *cells, size_t count),
                                  void *ctx, query_stats *stats, vv_error *err)
{
    remote *r = remote_of(s);
    store_cell cells[CELLS_MAX];
    size_t count;
    vv_buf_reset(&r->request);
    query_aggregate_put(&r->request, ask);
    vv_status st = remote_unary(r, "/storage.QueryService/Aggregate", err);
    if (st != VV_OK)
        return st;
    *stats = (query_stats){.index = ""};
    wire_reader at = wire_reader_of(vv_buf_slice(&r->reply));
    wire_field f = {0};
    while (wire_next(&at, &f) > 0) {
        if (f.number == 3 && f.type == WIRE_BYTES)
            read_stats(f.bytes, stats);
        if (f.number != 2 || f.type != WIRE_BYTES)
            continue;
        if (!read_group(f.bytes, cells, &count))
            return remote_malformed(err, "Aggregate");
        if (each(ctx, cells, count) != 0)
            break;
    }
    return VV_OK;
}

static vv_status remote_explain(store *s, const query_ask *ask, vv_buf *text, vv_error *err)
{
    remote *r = remote_of(s);
    vv_buf_reset(&r->request);
    query_request_put(&r->request, ask);
    vv_status st = remote_unary(r, "/storage.QueryService/ExplainQuery", err);
    if (st == VV_OK)
        vv_buf_append_slice(text, bytes_of(bytes_of(vv_buf_slice(&r->reply), 2), 1));
    return st;
}

/* ---- loading ---- */

static vv_status remote_load_begin(store *s, store_refused refused, void *ctx, int durability,
                                   vv_error *err)
{
    static const char *const names[] = {"", "sync", "os", "none"};
    remote *r = remote_of(s);
    vv_status st = cli_stream_open(r->conn, "/storage.IngestionService/IngestStream",
                                   s->stream_timeout_ns, &r->load, err);
    if (st != VV_OK)
        return st;
    r->refused = refused;
    r->refused_ctx = ctx;
    r->progress = (store_progress){0};
    r->stopped = VV_OK;
    r->settled = 0;
    vv_buf_reset(&r->request);
    size_t init = wire_begin(&r->request, 1); /* StreamInit */
    size_t begin = wire_begin(&r->request, 1);
    wire_put_string(&r->request, 1, vv_slice_str(s->tenant));
    wire_end(&r->request, begin);
    begin = wire_begin(&r->request, 2);
    wire_put_string(&r->request, 2, vv_slice_str(s->table));
    wire_end(&r->request, begin);
    for (int i = 0; i < (durability > 0 ? 2 : 1); i++) {
        begin = wire_begin(&r->request, 3);
        wire_put_string(&r->request, 1, vv_slice_str(i == 0 ? "ack" : "durability"));
        wire_put_string(&r->request, 2, vv_slice_str(i == 0 ? "batch" : names[durability]));
        wire_end(&r->request, begin);
    }
    wire_end(&r->request, init);
    return cli_stream_send(r->load, vv_buf_slice(&r->request), err);
}

/* Take the acks that are there; wait for one when wait is set. VV_NOT_FOUND at the end. */
static vv_status take_acks(remote *r, bool wait, vv_error *err)
{
    vv_status st;
    while ((st = cli_stream_receive(r->load, wait, &r->reply, err)) == VV_OK) {
        vv_slice reply = vv_buf_slice(&r->reply);
        vv_slice ack = bytes_of(reply, 1);
        vv_slice error = bytes_of(reply, 2);
        wait = false;
        uint64_t sequence = ack.len > 0 ? varint_of(ack, 3) : varint_of(error, 2);
        r->settled = sequence > r->settled ? sequence : r->settled;
        if (error.len > 0) {
            char why[300];
            vv_slice cause = bytes_of(error, 1);
            copy_text(why, sizeof why, bytes_of(cause, 2));
            r->progress.failed++;
            if (r->stopped == VV_OK)
                r->stopped =
                    r->refused(r->refused_ctx, sequence,
                               vv_status_of_grpc((int)varint_of(cause, 1)), why, &r->stopped_why);
        }
        if (r->settled > r->progress.failed)
            r->progress.acked = r->settled - r->progress.failed;
    }
    return st == VV_TIMEOUT ? VV_OK : st;
}

/* Nothing more is sent: what is on its way is answered, so that the counts are right. */
static vv_status end_stopped(remote *r, vv_error *err)
{
    vv_error ignored = {0};
    cli_stream_half_close(r->load);
    while (take_acks(r, true, &ignored) == VV_OK)
        ;
    if (err != NULL)
        *err = r->stopped_why;
    return r->stopped;
}

static vv_status remote_load_record(store *s, const store_record *record, store_progress *at,
                                    vv_error *err)
{
    remote *r = remote_of(s);
    vv_buf_reset(&r->request);
    size_t begin = wire_begin(&r->request, 2);
    record_put(&r->request, vv_slice_str(s->tenant), vv_slice_str(s->table), record);
    wire_end(&r->request, begin);
    if (r->request.status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "a record of %zu bytes", record->body.len);
    vv_status st = cli_stream_send(r->load, vv_buf_slice(&r->request), err);
    if (st == VV_OK && ++r->progress.sent % 64 == 0)
        st = take_acks(r, false, err);
    if (st == VV_OK && r->stopped != VV_OK)
        st = end_stopped(r, err);
    else if (st == VV_NOT_FOUND)
        st = vv_fail(err, VV_CLOSED, "the server ended the stream before all records were sent");
    *at = r->progress;
    return st;
}

static vv_status remote_load_end(store *s, store_progress *at, vv_error *err)
{
    remote *r = remote_of(s);
    cli_stream_half_close(r->load);
    vv_status st = VV_OK;
    while (st == VV_OK) {
        st = take_acks(r, true, err);
        *at = r->progress;
    }
    if (r->stopped != VV_OK)
        return end_stopped(r, err);
    if (st == VV_NOT_FOUND && cli_stream_result(r->load)->code == 0)
        st = VV_OK;
    else if (st == VV_NOT_FOUND)
        st = vv_fail(err, cli_stream_result(r->load)->status, "%s",
                     cli_stream_result(r->load)->message);
    at->acked = r->progress.acked;
    if (st == VV_OK && r->settled < r->progress.sent)
        st = vv_fail(err, VV_IO, "%" PRIu64 " of %" PRIu64 " records were acknowledged",
                     r->progress.acked, r->progress.sent);
    return st;
}

/* -------------------------------------------------------------------------------------------------
 */

static const store_ops remote_ops = {
    .close = remote_close,
    .put = remote_put,
    .get = remote_get,
    .get_many = remote_get_many,
    .del = remote_del,
    .scan = remote_scan,
    .query = remote_query,
    .aggregate = remote_aggregate,
    .explain = remote_explain,
    .status = remote_status,
    .table_create = remote_table_create,
    .table_list = remote_table_list,
    .table_describe = remote_table_describe,
    .table_drop = remote_table_drop,
    .table_alter = remote_table_alter,
    .compact = remote_compact,
    .archive_create = remote_archive_create,
    .archive_list = remote_archive_list,
    .archive_drop = remote_archive_drop,
    .archive_restore = remote_archive_restore,
    .load_begin = remote_load_begin,
    .load_record = remote_load_record,
    .load_end = remote_load_end,
    .series = &remote_series_ops,
    .stream = &remote_stream_ops,
    .tier = &remote_tier_ops,
};

vv_status store_open_remote(const cmd_common *c, store **out, vv_error *err)
{
    remote *r = vv_calloc(1, sizeof *r);
    if (r == NULL)
        return vv_fail(err, VV_NO_MEMORY, "connection to %s", c->server);
    r->base.ops = &remote_ops;
    vv_buf_init(&r->request, MESSAGE_MAX);
    vv_buf_init(&r->reply, MESSAGE_MAX);
    const cli_options opt = {.connect_timeout_ns =
                                 c->timeout_ns > 0 ? c->timeout_ns : 3 * VV_NS_PER_S,
                             .refusal_is_final = true};
    vv_status st = cli_open(c->server, &opt, &r->conn, err);
    if (st != VV_OK) {
        remote_close(&r->base);
        return st;
    }
    *out = &r->base;
    return VV_OK;
}
