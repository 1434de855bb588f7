/*
 * svc_http_stream.c - /api/v1/stream: parameters, reads, positions and figures.
 *
 *   from      earliest (read), latest (tail), an offset, a time (RFC 3339), or @NAME of a position
 *   timeout   of tail: how long to wait for more, such as 30s; at most an hour
 *   format    jsonl, sse
 */
#include "server/svc_http_stream.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/time_text.h"
#include "base/util.h"
#include "ingest/ingest.h"
#include "query/struct_json.h"
#include "server/svc_util.h"

#define BODY_MAX 1024u
#define ARENA_MAX (64u * 1024)
#define ANSWER_MAX (16u * 1024 * 1024)
#define PAGE_BYTES (256u * 1024) /* of positions */
#define JSON_TYPE "application/json"
#define LINES_TYPE "application/x-ndjson"
#define EVENTS_TYPE "text/event-stream"
#define TIMEOUT_DEFAULT_NS (60 * VV_NS_PER_S)
#define TIMEOUT_MAX_NS (3600 * VV_NS_PER_S)

/* ---- parameters ---- */

/* A parameter without its %XX; NULL data: it is not there. */
static vv_status take(srv_call *call, const char *name, vv_arena *arena, vv_slice *out,
                      vv_error *err)
{
    vv_buf text;
    vv_slice raw = svc_query_value(srv_call_query(call), name);
    *out = (vv_slice){0};
    if (raw.data == NULL)
        return VV_OK;
    vv_buf_init(&text, raw.len + 1);
    if (!svc_percent_decode(raw, &text)) {
        vv_buf_fini(&text);
        return vv_fail(err, VV_INVALID, "%s: '%%' lacks its two digits", name);
    }
    if (text.status == VV_OK)
        *out = vv_arena_dup(arena, vv_buf_slice(&text));
    vv_buf_fini(&text);
    return out->data != NULL ? VV_OK : vv_fail(err, VV_NO_MEMORY, "no memory for parameters");
}

static vv_status take_number(srv_call *call, const char *name, uint64_t max, bool *has,
                             uint64_t *out, vv_error *err)
{
    vv_slice raw = svc_query_value(srv_call_query(call), name);
    *has = raw.data != NULL;
    if (!*has || (svc_parse_uint(raw, out) && *out <= max))
        return VV_OK;
    return vv_fail(err, VV_INVALID, "%s: '%.*s' is no number from 0 to %" PRIu64, name,
                   (int)vv_min_u64(raw.len, 40), (const char *)raw.data, max);
}

static bool parse_from(vv_slice text, vv_stream_start *out)
{
    uint64_t offset = 0;
    *out = (vv_stream_start){.from = VV_STREAM_EARLIEST};
    if (vv_slice_eq(text, vv_slice_str("earliest")))
        return true;
    if (vv_slice_eq(text, vv_slice_str("latest"))) {
        out->from = VV_STREAM_LATEST;
    } else if (text.len > 1 && text.data[0] == '@') {
        out->from = VV_STREAM_POSITION;
        out->position = vv_slice_of(text.data + 1, text.len - 1);
    } else if (svc_parse_uint(text, &offset)) {
        out->from = VV_STREAM_OFFSET;
        out->offset = offset;
    } else {
        out->from = VV_STREAM_RECEIVED;
        return time_text_parse(text, &out->time_ns);
    }
    return true;
}

static vv_status take_from(srv_call *call, vv_arena *arena, svc_stream_query *out, vv_error *err)
{
    vv_slice text;
    vv_status st = take(call, "from", arena, &text, err);
    out->has_from = text.data != NULL;
    if (st == VV_OK && out->has_from && !parse_from(text, &out->from))
        st = vv_fail(err, VV_INVALID,
                     "from: '%.*s' is no offset, time (2026-07-01T12:30:00Z), earliest, latest or "
                     "@NAME of a position",
                     (int)vv_min_u64(text.len, 40), (const char *)text.data);
    return st;
}

/* A number of seconds, or with a unit: 500ms, 30s, 5m, 1h. */
static vv_status take_timeout(srv_call *call, svc_stream_query *out, vv_error *err)
{
    static const struct {
        const char *unit;
        int64_t ns;
    } units[] = {{"ms", VV_NS_PER_MS},
                 {"s", VV_NS_PER_S},
                 {"m", 60 * VV_NS_PER_S},
                 {"h", 3600 * VV_NS_PER_S},
                 {"", VV_NS_PER_S}};
    vv_slice raw = svc_query_value(srv_call_query(call), "timeout");
    uint64_t value = 0;
    out->timeout_ns = TIMEOUT_DEFAULT_NS;
    if (raw.data == NULL)
        return VV_OK;
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        const size_t len = strlen(units[i].unit);
        if (raw.len <= len || memcmp(raw.data + raw.len - len, units[i].unit, len) != 0 ||
            !svc_parse_uint(vv_slice_of(raw.data, raw.len - len), &value))
            continue;
        out->timeout_ns = (int64_t)vv_min_u64(value, TIMEOUT_MAX_NS) * units[i].ns;
        if (value > 0 && value <= (uint64_t)(TIMEOUT_MAX_NS / units[i].ns))
            return VV_OK;
    }
    return vv_fail(err, VV_INVALID, "timeout: '%.*s' is no duration up to 1h, such as 30s",
                   (int)vv_min_u64(raw.len, 40), (const char *)raw.data);
}

static vv_status take_format(srv_call *call, svc_stream_query *out, vv_error *err)
{
    vv_slice raw = svc_query_value(srv_call_query(call), "format");
    vv_slice accept = srv_call_header(call, "accept");
    out->is_events = raw.data == NULL && vv_slice_has_prefix(accept, vv_slice_str(EVENTS_TYPE));
    if (raw.data == NULL || vv_slice_eq(raw, vv_slice_str("jsonl")))
        return VV_OK;
    out->is_events = vv_slice_eq(raw, vv_slice_str("sse"));
    return out->is_events ? VV_OK
                          : vv_fail(err, VV_INVALID, "format: '%.*s' is neither jsonl nor sse",
                                    (int)vv_min_u64(raw.len, 40), (const char *)raw.data);
}

static vv_status take_numbers(srv_call *call, svc_stream_query *out, vv_error *err)
{
    uint64_t partition = 0;
    bool unused = false;
    vv_status st =
        take_number(call, "partition", UINT32_MAX - 1, &out->has_partition, &partition, err);
    out->partition = (uint32_t)partition;
    if (st == VV_OK)
        st = take_number(call, "offset", UINT64_MAX, &out->has_offset, &out->offset, err);
    if (st == VV_OK)
        st = take_number(call, "limit", UINT64_MAX, &unused, &out->limit, err);
    if (st == VV_OK)
        st = take_number(call, "sequence", UINT64_MAX, &unused, &out->sequence, err);
    return st;
}

vv_status svc_stream_query_read(srv_call *call, const char *const names[], vv_arena *arena,
                                svc_stream_query *out, vv_error *err)
{
    vv_slice durability = svc_query_value(srv_call_query(call), "durability");
    *out = (svc_stream_query){.has_from = false};
    vv_status st = svc_check_query(srv_call_query(call), false, names, err);
    if (st == VV_OK)
        st = take(call, "tenant", arena, &out->table.tenant, err);
    if (st == VV_OK)
        st = take(call, "table", arena, &out->table.table, err);
    if (st == VV_OK)
        st = take(call, "name", arena, &out->name, err);
    if (st == VV_OK)
        st = take(call, "after", arena, &out->after, err);
    if (st == VV_OK)
        st = take(call, "producer", arena, &out->producer, err);
    if (st == VV_OK)
        st = take_numbers(call, out, err);
    if (st == VV_OK)
        st = take_from(call, arena, out, err);
    if (st == VV_OK)
        st = take_timeout(call, out, err);
    if (st == VV_OK)
        st = take_format(call, out, err);
    if (st == VV_OK && durability.len > 0)
        st = ingest_durability_parse(durability, &out->durability, err);
    return st;
}

/* ---- reads ---- */

static void fill_asked(const svc_stream_query *q, svc_stream_asked *out)
{
    out->table = q->table;
    out->opt.partition = q->partition;
    out->opt.start = q->from;
    out->left = q->limit;
    out->put = q->is_events ? svc_stream_put_event : svc_stream_put_json;
    out->type = q->is_events ? EVENTS_TYPE : LINES_TYPE;
}

static vv_status read_read(srv_call *call, vv_slice message, vv_arena *arena, svc_stream_asked *out,
                           vv_error *err)
{
    static const char *const names[] = {"tenant", "table",  "partition", "from",
                                        "limit",  "format", NULL};
    svc_stream_query q;
    (void)message;
    vv_status st = svc_stream_query_read(call, names, arena, &q, err);
    fill_asked(&q, out);
    return st;
}

/* A browser that lost the connection says where it was. */
static vv_status read_tail(srv_call *call, vv_slice message, vv_arena *arena, svc_stream_asked *out,
                           vv_error *err)
{
    static const char *const names[] = {"tenant", "table",  "partition", "from",
                                        "limit",  "format", "timeout",   NULL};
    vv_slice last = srv_call_header(call, "last-event-id");
    uint64_t offset = 0;
    svc_stream_query q;
    (void)message;
    vv_status st = svc_stream_query_read(call, names, arena, &q, err);
    fill_asked(&q, out);
    out->follows = true;
    out->timeout_ns = q.timeout_ns;
    if (!q.has_from)
        out->opt.start = (vv_stream_start){.from = VV_STREAM_LATEST};
    if (last.len > 0 && svc_parse_uint(last, &offset) && offset < UINT64_MAX)
        out->opt.start = (vv_stream_start){.from = VV_STREAM_OFFSET, .offset = offset + 1};
    return st;
}

static void read_message(srv_call *call, srv_message msg)
{
    static const svc_stream_form form = {.is_http = true, .read = read_read};
    svc_stream_read_begin(call, msg, &form);
}

static void tail_message(srv_call *call, srv_message msg)
{
    static const svc_stream_form form = {.is_http = true, .read = read_tail};
    svc_stream_read_begin(call, msg, &form);
}

/* ---- positions and figures ---- */

typedef struct ask ask;
typedef vv_status answer_fn(ask *a, vv_buf *out, vv_error *err);

/* What a path takes, and what it does. */
typedef struct ask_kind {
    gate_kind gate;
    const char *const *names; /* of parameters; ends with NULL */
    answer_fn *answer;
} ask_kind;

struct ask {
    node *n;
    srv_call *call; /* referenced */
    const ask_kind *kind;
    vv_arena arena;
    svc_stream_query q;
    vv_table *table;
    size_t written; /* positions */
    bool has_more;  /* of them */
    bool is_far;    /* on a thread that may wait for an object store */
};

static vv_status reset_position(ask *a, vv_buf *out, vv_error *err);

static void ask_destroy(ask *a)
{
    vv_table_close(a->table);
    vv_arena_fini(&a->arena);
    srv_call_unref(a->call);
    vv_free(a);
}

static void run_ask(void *arg);

static void go_far(ask *a)
{
    a->is_far = true;
    if (srv_pool_submit_far(a->n->pool, run_ask, a) == VV_OK)
        return;
    svc_reply_error(a->call, VV_BUSY, SVC_NO_THREAD);
    ask_destroy(a);
}

static void end_ask(ask *a, vv_status st, vv_buf *out, const vv_error *err)
{
    if (a->kind->gate == GATE_WRITE)
        node_note_write(a->n, st);
    if (st == VV_OK)
        srv_call_reply(a->call, 200, JSON_TYPE, out, NULL);
    else
        svc_reply_error(a->call, st, err->msg);
    ask_destroy(a);
}

static vv_status commit_position(ask *a, vv_buf *out, vv_error *err);

static void run_ask(void *arg)
{
    ask *a = arg;
    vv_buf out;
    vv_error err = {0};
    vv_buf_init(&out, ANSWER_MAX);
    vv_status st = svc_stream_query_read(a->call, a->kind->names, &a->arena, &a->q, &err);
    /* A time may have to be looked for in an object store. */
    if (st == VV_OK && !a->is_far && a->kind->answer == reset_position &&
        a->q.from.from == VV_STREAM_RECEIVED) {
        go_far(a);
        return;
    }
    if (st == VV_OK)
        st = svc_message_open(a->call, &a->q.table, a->kind->gate, false, &a->table, &err);
    answer_fn *const answer = a->kind->answer;
    if (st == VV_OK)
        st = answer(a, &out, &err);
    if (st == VV_OK && answer == commit_position)
        return; /* the request may be gone */
    if (st == VV_OK && out.status != VV_OK)
        st = vv_fail(&err, VV_NO_MEMORY, "no memory for the answer");
    end_ask(a, st, &out, &err);
    vv_buf_fini(&out);
}

static void begin(srv_call *call, srv_message msg, const ask_kind *kind)
{
    ask *a = vv_calloc(1, sizeof *a);
    srv_message_release(&msg);
    if (a == NULL) {
        svc_reply_error(call, VV_NO_MEMORY, "no memory for a request");
        return;
    }
    a->n = srv_call_ctx(call);
    a->call = call;
    a->kind = kind;
    vv_arena_init(&a->arena, ARENA_MAX);
    srv_call_ref(call);
    if (srv_pool_submit_point(a->n->pool, run_ask, a) == VV_OK)
        return;
    svc_reply_error(call, VV_BUSY, SVC_NO_THREAD);
    ask_destroy(a);
}

static void put_time(vv_buf *out, const char *name, int64_t ns)
{
    char text[TIME_TEXT_MAX];
    time_text_format(ns, text);
    vv_buf_printf(out, ",\"%s\":\"%s\"", name, text);
}

static int put_position(void *ctx, const vv_stream_position *p)
{
    void *const *both = ctx;
    ask *a = both[0];
    vv_buf *out = both[1];
    if (a->q.name.data != NULL && !vv_slice_eq(a->q.name, vv_slice_str(p->name)))
        return 0;
    a->has_more = out->len >= PAGE_BYTES;
    if (a->has_more)
        return 1;
    vv_buf_printf(out, "%s{\"name\":", a->written++ > 0 ? "," : "");
    json_put_string(out, vv_slice_str(p->name));
    vv_buf_printf(out, ",\"partition\":%u,\"offset\":%" PRIu64 ",\"lag\":%" PRIu64, p->partition,
                  p->offset, p->lag);
    put_time(out, "committed", p->committed_ns);
    vv_buf_append_u8(out, '}');
    return out->status != VV_OK;
}

static vv_status list_positions(ask *a, vv_buf *out, vv_error *err)
{
    void *both[] = {a, out};
    vv_buf_append_str(out, "{\"positions\":[");
    vv_status st = vv_stream_position_list_after(a->table, a->q.partition, a->q.after, put_position,
                                                 both, err);
    vv_buf_append_str(out, a->has_more ? "],\"more\":true}\n" : "]}\n");
    if (st == VV_OK && a->q.name.data != NULL && a->written == 0)
        st = vv_fail(err, VV_NOT_FOUND, "there is no position '%.*s'",
                     (int)vv_min_u64(a->q.name.len, 128), (const char *)a->q.name.data);
    return st;
}

static vv_status need_name(const ask *a, vv_error *err)
{
    return a->q.name.data != NULL
               ? VV_OK
               : vv_fail(err, VV_INVALID, "name=... is needed: that of the position");
}

static void committed(void *ctx, vv_status st, const vv_error *err)
{
    ask *a = ctx;
    vv_buf out;
    vv_buf_init(&out, ANSWER_MAX);
    vv_buf_printf(&out, "{\"offset\":%" PRIu64 "}\n", a->q.offset);
    end_ask(a, st, &out, err);
    vv_buf_fini(&out);
}

/* Answered when it is written. */
static vv_status commit_position(ask *a, vv_buf *out, vv_error *err)
{
    (void)out;
    const svc_stream_query *q = &a->q;
    vv_status st = need_name(a, err);
    if (st == VV_OK && !q->has_offset)
        st = vv_fail(err, VV_INVALID, "offset=... is needed: of the next message that is wanted");
    if (st == VV_OK)
        st = svc_commit_begin(&(svc_commit){.call = a->call,
                                            .table = a->table,
                                            .partition = q->partition,
                                            .name = q->name,
                                            .offset = q->offset,
                                            .durability = q->durability,
                                            .done = committed,
                                            .ctx = a},
                              err);
    return st;
}

static vv_status reset_position(ask *a, vv_buf *out, vv_error *err)
{
    uint64_t offset = 0;
    vv_status st = need_name(a, err);
    if (st == VV_OK && !a->q.has_from)
        st = vv_fail(err, VV_INVALID,
                     "from=... is needed: an offset, a time, earliest, latest or @NAME");
    if (st == VV_OK)
        st =
            vv_stream_position_reset(a->table, a->q.partition, a->q.name, &a->q.from, &offset, err);
    vv_buf_printf(out, "{\"offset\":%" PRIu64 "}\n", offset);
    return st;
}

static vv_status delete_position(ask *a, vv_buf *out, vv_error *err)
{
    vv_status st = need_name(a, err);
    vv_buf_append_str(out, "{}\n");
    return st == VV_OK ? vv_stream_position_delete(a->table, a->q.name, err) : st;
}

static vv_status put_status(ask *a, vv_buf *out, vv_error *err)
{
    vv_table_info info;
    vv_status st = vv_table_identify(a->table, &info, err);
    vv_buf_append_str(out, "{\"partitions\":[");
    for (uint32_t p = 0; st == VV_OK && p < info.partitions; p++) {
        vv_stream_stats s = {.size = sizeof s};
        st = vv_stream_stats_read(a->table, p, NULL, &s, err);
        vv_buf_printf(out,
                      "%s{\"partition\":%u,\"first_offset\":%" PRIu64 ",\"next_offset\":%" PRIu64
                      ",\"messages\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"producers\":%" PRIu64
                      ",\"positions\":%" PRIu64,
                      p > 0 ? "," : "", p, s.first_offset, s.next_offset, s.messages, s.bytes,
                      s.producers, s.positions);
        if (s.messages > 0) {
            put_time(out, "first_received", s.first_receive_ns);
            put_time(out, "last_received", s.last_receive_ns);
        }
        vv_buf_append_u8(out, '}');
    }
    vv_buf_append_str(out, "]}\n");
    return st;
}

#define ASK_METHOD(function, gate_kind, answer_function, ...)                                      \
    static void function(srv_call *call, srv_message msg)                                          \
    {                                                                                              \
        static const char *const names[] = {"tenant", "table", __VA_ARGS__, NULL};                 \
        static const ask_kind kind = {gate_kind, names, answer_function};                          \
        begin(call, msg, &kind);                                                                   \
    }

ASK_METHOD(positions_message, GATE_READ, list_positions, "name", "partition", "after")
ASK_METHOD(commit_message, GATE_WRITE, commit_position, "name", "partition", "offset", "durability")
ASK_METHOD(reset_message, GATE_WRITE, reset_position, "name", "partition", "from")
ASK_METHOD(delete_message, GATE_WRITE, delete_position, "name")

static void status_message(srv_call *call, srv_message msg)
{
    static const char *const names[] = {"tenant", "table", NULL};
    static const ask_kind kind = {GATE_READ, names, put_status};
    begin(call, msg, &kind);
}

#define ASK(method, where, on_message)                                                             \
    {                                                                                              \
        .kind = SRV_HTTP, .verb = (method), .path = SVC_HTTP_STREAM where,                         \
        .message_max = BODY_MAX, .message = (on_message)                                           \
    }
#define READ(where, on_message)                                                                    \
    {                                                                                              \
        .kind = SRV_HTTP, .verb = "GET", .path = SVC_HTTP_STREAM where, .message_max = BODY_MAX,   \
        .message = (on_message), .drained = svc_stream_read_drained,                               \
        .closed = svc_stream_read_closed                                                           \
    }

size_t svc_http_stream_methods(node *n, srv_method *out, size_t max)
{
    static const srv_method methods[] = {
        READ("read", read_message),
        READ("tail", tail_message),
        {.kind = SRV_HTTP,
         .verb = "POST",
         .path = SVC_HTTP_STREAM "append",
         .copies = 2, /* as messages, as an entry */
         .message_max = VV_BATCH_MAX,
         .message = svc_http_stream_append_message},
        ASK("GET", "positions", positions_message),
        ASK("POST", "positions", commit_message),
        ASK("DELETE", "positions", delete_message),
        ASK("POST", "positions/reset", reset_message),
        ASK("GET", "status", status_message),
    };
    return svc_add_methods(methods, ARRAY_LEN(methods), n, out, max);
}
