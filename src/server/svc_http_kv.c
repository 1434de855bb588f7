/*
 * svc_http_kv.c - GET, PUT and DELETE /api/v1/kv/{tenant}/{table}/{key}: the bytes of a value as
 * the body, what else is known of it in headers.
 *
 *   request   ?ttl_ms=N (PUT), ?durability=sync|os|none (PUT, DELETE), ?version=N or
 *             ?archive=NAME (GET)
 *             If-Match: "N", If-None-Match: * (PUT, DELETE): 412 unless the key is at that version,
 *             or absent
 *   answer    Varve-Version; Varve-Durability (PUT, DELETE); Varve-Expires (GET, milliseconds since
 *             1970, when the key expires)
 *
 * Each segment is percent-decoded, so a key may be any bytes: %00 and %2F are a NUL and a slash.
 * What follows the third segment's slash is the key whole, further slashes included.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/time_text.h"
#include "base/util.h"
#include "ingest/ingest.h"
#include "server/svc_kv.h"

#define PREFIX "/api/v1/kv/"
#define SMALL_BODY_MAX 1024u
#define HEADERS_MAX 160u
#define FAILED_PRECONDITION 9 /* of google.rpc.Code */

/* The address of a key, decoded into a buffer. */
typedef struct address {
    vv_slice tenant;
    vv_slice table;
    vv_slice key;
} address;

/* The text up to the next slash, which is passed over; *rest is what follows. */
static vv_slice cut(vv_slice *rest, bool *found)
{
    const uint8_t *slash = rest->len == 0 ? NULL : memchr(rest->data, '/', rest->len);
    *found = slash != NULL;
    size_t len = slash == NULL ? rest->len : (size_t)(slash - rest->data);
    vv_slice head = vv_slice_of(rest->data, len);
    if (slash != NULL)
        *rest = vv_slice_of(slash + 1, rest->len - len - 1);
    return head;
}

static vv_status decode_address(srv_call *call, vv_buf *buf, address *out, vv_error *err)
{
    vv_slice rest = srv_call_path(call);
    size_t skip = strlen(PREFIX);
    bool has_table = false;
    bool has_key = false;
    rest = vv_slice_of(rest.data + skip, rest.len - skip); /* the route ends in the prefix */
    vv_slice tenant = cut(&rest, &has_table);
    vv_slice table = cut(&rest, &has_key);
    if (!has_table || !has_key || tenant.len == 0 || table.len == 0)
        return vv_fail(err, VV_INVALID, "the path is " PREFIX "{tenant}/{table}/{key}");
    vv_buf_reset(buf);
    bool good = svc_percent_decode(tenant, buf);
    size_t tenant_end = buf->len;
    good = good && svc_percent_decode(table, buf);
    size_t table_end = buf->len;
    good = good && svc_percent_decode(rest, buf);
    if (!good)
        return vv_fail(err, VV_INVALID, "the path has a '%%' without two hexadecimal digits");
    if (buf->status != VV_OK)
        return vv_fail(err, buf->status, "no memory for a path of %zu bytes",
                       srv_call_path(call).len);
    out->tenant = vv_slice_of(buf->data, tenant_end);
    out->table = vv_slice_of(buf->data + tenant_end, table_end - tenant_end);
    out->key = vv_slice_of(buf->data + table_end, buf->len - table_end);
    return VV_OK;
}

/* A number of the query string; default_value when it is not there. */
static vv_status number(srv_call *call, const char *name, uint64_t *out, vv_error *err)
{
    vv_slice text = svc_query_value(srv_call_query(call), name);
    *out = 0;
    if (text.data == NULL || svc_parse_uint(text, out))
        return VV_OK;
    return vv_fail(err, VV_INVALID, "%s: '%.*s' is no number", name, (int)vv_min_u64(text.len, 40),
                   text.data);
}

/* ---- GET ---- */

/* The parameter, decoded into out; empty without it. */
static vv_status archive_name(srv_call *call, vv_buf *out, vv_error *err)
{
    vv_slice text = svc_query_value(srv_call_query(call), "archive");
    if (!svc_percent_decode(text, out))
        return vv_fail(err, VV_INVALID, "archive has a '%%' without two hexadecimal digits");
    return out->status == VV_OK
               ? VV_OK
               : vv_fail(err, out->status, "no memory for a name of %zu bytes", text.len);
}

/* A time as RFC 3339 has it, or in milliseconds since 1970; 0 without it. */
static vv_status time_as_of(srv_call *call, int64_t *out_ns, vv_error *err)
{
    uint64_t ms = 0;
    vv_buf text;
    vv_slice raw = svc_query_value(srv_call_query(call), "as_of");
    vv_buf_init(&text, UINT16_MAX);
    *out_ns = 0;
    bool ok = raw.data == NULL || (svc_percent_decode(raw, &text) && text.status == VV_OK);
    if (ok && raw.data != NULL) {
        if (svc_parse_uint(vv_buf_slice(&text), &ms))
            ok = ms > 0 && !__builtin_mul_overflow(ms, VV_NS_PER_MS, out_ns);
        else
            ok = time_text_parse(vv_buf_slice(&text), out_ns) && *out_ns != 0;
    }
    vv_buf_fini(&text);
    return ok ? VV_OK
              : vv_fail(err, VV_INVALID,
                        "as_of: '%.*s' is no time: 2026-07-01T12:30:00Z, or milliseconds since "
                        "1970",
                        (int)vv_min_u64(raw.len, 40), (const char *)raw.data);
}

static vv_status read_value(srv_call *call, bool may_wait, svc_kv_found *found, vv_error *err)
{
    address at = {0};
    uint64_t version = 0;
    int64_t as_of_ns = 0;
    vv_buf buf;
    vv_buf name;
    vv_buf_init(&buf, UINT16_MAX);
    vv_buf_init(&name, UINT16_MAX);
    vv_status st = decode_address(call, &buf, &at, err);
    if (st == VV_OK)
        st = svc_check_query(srv_call_query(call), false,
                             (const char *const[]){"version", "archive", "as_of", NULL}, err);
    if (st == VV_OK)
        st = number(call, "version", &version, err);
    if (st == VV_OK && version > INT64_MAX)
        st = vv_fail(err, VV_INVALID, "version: %" PRIu64 " is over the largest there can be",
                     version);
    if (st == VV_OK)
        st = archive_name(call, &name, err);
    if (st == VV_OK)
        st = time_as_of(call, &as_of_ns, err);
    if (st == VV_OK) {
        gate_op op = {
            .kind = GATE_READ, .tenant = at.tenant, .table = at.table, .key_begin = at.key};
        const svc_kv_moment moment = {(int64_t)version, vv_buf_slice(&name), as_of_ns};
        st = svc_kv_read_value(call, &op, &moment, may_wait, found, err);
    }
    vv_buf_fini(&name);
    vv_buf_fini(&buf);
    return st;
}

static void reply_value(srv_call *call, const vv_value *value)
{
    char headers[HEADERS_MAX];
    vv_buf body;
    int len = snprintf(headers, sizeof headers, "Varve-Version: %" PRId64, value->version);
    if (value->expires_ns != 0)
        (void)snprintf(headers + len, sizeof headers - (size_t)len, "\r\nVarve-Expires: %" PRId64,
                       value->expires_ns / VV_NS_PER_MS);
    vv_buf_init(&body, VV_VALUE_MAX);
    vv_buf_append_slice(&body, value->data);
    srv_call_reply(call, 200, "application/octet-stream", &body, headers);
    vv_buf_fini(&body);
}

static bool answer_get(srv_call *call, vv_slice message, bool may_wait, int64_t begin_ns)
{
    (void)message; /* everything is in the path */
    svc_kv_found found = {0};
    vv_error err = {0};
    vv_status st = read_value(call, may_wait, &found, &err);
    if (found.would_wait)
        return false;
    svc_read_count(call, begin_ns);
    if (found.found) {
        reply_value(call, &found.value);
        svc_kv_found_release(&found);
    } else {
        svc_reply_error(call, st == VV_OK ? VV_NOT_FOUND : st,
                        st == VV_OK ? "the key is not in the table" : err.msg);
    }
    return true;
}

static void get_message(srv_call *call, srv_message msg)
{
    static const svc_read_ops ops = {.answer = answer_get, .refuse = svc_reply_error};
    svc_read_begin(call, msg, &ops);
}

/* ---- PUT and DELETE ---- */

/* What the request asks of the key before the write: *asked, and then the version it must be at, 0
 * being none. */
static vv_status read_condition(srv_call *call, bool *asked, int64_t *version, vv_error *err)
{
    uint64_t n = 0;
    vv_slice match = srv_call_header(call, "if-match");
    vv_slice none = srv_call_header(call, "if-none-match");
    *asked = match.len > 0 || none.len > 0;
    *version = 0;
    if (match.len > 0 && none.len > 0)
        return vv_fail(err, VV_INVALID, "If-Match and If-None-Match exclude each other");
    if (none.len > 0)
        return vv_slice_eq(none, vv_slice_str("*"))
                   ? VV_OK
                   : vv_fail(err, VV_UNSUPPORTED, "If-None-Match: only * is known: no value yet");
    if (match.len == 0)
        return VV_OK;
    if (match.len > 2 && match.data[0] == '"' && match.data[match.len - 1] == '"')
        match = vv_slice_of(match.data + 1, match.len - 2);
    if (vv_slice_eq(match, vv_slice_str("*")))
        return vv_fail(err, VV_UNSUPPORTED, "If-Match: give one version, as Varve-Version has it");
    if (!svc_parse_uint(match, &n) || n == 0 || n > INT64_MAX)
        return vv_fail(err, VV_INVALID, "If-Match: '%.*s' is no version",
                       (int)vv_min_u64(match.len, 40), (const char *)match.data);
    *version = (int64_t)n;
    return VV_OK;
}

static vv_status require_condition(svc_kv_write *w, vv_table *table, vv_slice key, vv_error *err)
{
    bool asked = false;
    int64_t version = 0;
    vv_status st = read_condition(w->call, &asked, &version, err);
    return st == VV_OK && asked ? vv_batch_require(w->batch, table, key, version, err) : st;
}

static void refuse_write(srv_call *call, vv_status st, const char *message)
{
    vv_buf body;
    if (st != VV_CONFLICT) {
        svc_reply_error(call, st, message);
        return;
    }
    vv_buf_init(&body, 1024);
    srv_error_body(&body, FAILED_PRECONDITION, "FAILED_PRECONDITION",
                   "the key is not as If-Match or If-None-Match ask: read it again");
    srv_call_reply(call, 412, "application/json", &body, NULL);
}

/* The table of a write, and the key; buf is w->scratch. */
static vv_status open_table(svc_kv_write *w, bool creates, bool may_wait, vv_table **out,
                            vv_slice *key, vv_error *err)
{
    address at = {0};
    vv_slice durability = svc_query_value(srv_call_query(w->call), "durability");
    vv_status st = decode_address(w->call, &w->scratch, &at, err);
    if (st == VV_OK)
        st = ingest_durability_parse(durability, &w->durability, err);
    if (st != VV_OK)
        return st;
    gate_op op = {.kind = GATE_WRITE, .tenant = at.tenant, .table = at.table, .key_begin = at.key};
    *key = at.key;
    return svc_kv_write_open(w, &op, creates, may_wait, out, err);
}

static vv_status fill_put(svc_kv_write *w, bool may_wait, vv_error *err)
{
    vv_table *table = NULL;
    vv_slice key;
    uint64_t ttl_ms = 0;
    int64_t expires_ns = 0;
    vv_status st = svc_check_query(srv_call_query(w->call), false,
                                   (const char *const[]){"ttl_ms", "durability", NULL}, err);
    if (st == VV_OK)
        st = number(w->call, "ttl_ms", &ttl_ms, err);
    if (st == VV_OK)
        st = svc_kv_expiry(w->n, ttl_ms, &expires_ns, err);
    if (st == VV_OK)
        st = open_table(w, true, may_wait, &table, &key, err);
    if (st == VV_OK)
        st = vv_batch_put(w->batch, table, key, w->msg.data, expires_ns, err);
    if (st == VV_OK)
        st = require_condition(w, table, key, err);
    vv_table_close(table);
    return st;
}

static vv_status fill_delete(svc_kv_write *w, bool may_wait, vv_error *err)
{
    vv_table *table = NULL;
    vv_slice key;
    vv_status st = svc_check_query(srv_call_query(w->call), false,
                                   (const char *const[]){"durability", NULL}, err);
    if (st == VV_OK)
        st = open_table(w, false, may_wait, &table, &key, err);
    if (st == VV_OK)
        st = vv_batch_delete(w->batch, table, key, err);
    if (st == VV_OK)
        st = require_condition(w, table, key, err);
    vv_table_close(table);
    return st;
}

static void answer(svc_kv_write *w, const vv_write_result *result)
{
    char headers[HEADERS_MAX];
    vv_buf none;
    vv_buf_init(&none, 0);
    (void)snprintf(headers, sizeof headers, "Varve-Version: %" PRId64 "\r\nVarve-Durability: %s",
                   result->version, ingest_durability_name(result->durability));
    srv_call_reply(w->call, 204, NULL, &none, headers);
}

static void put_message(srv_call *call, srv_message msg)
{
    static const svc_kv_write_ops ops = {
        .fill = fill_put, .answer = answer, .refuse = refuse_write, .is_put = true};
    svc_kv_write_begin(call, msg, &ops);
}

static void delete_message(srv_call *call, srv_message msg)
{
    static const svc_kv_write_ops ops = {
        .fill = fill_delete, .answer = answer, .refuse = refuse_write};
    svc_kv_write_begin(call, msg, &ops);
}

#define HTTP_METHOD(what, limit, on_message)                                                       \
    {                                                                                              \
        .kind = SRV_HTTP, .verb = (what), .path = PREFIX "*", .message_max = (limit),              \
        .message = (on_message)                                                                    \
    }

size_t svc_http_kv_methods(node *n, srv_method *out, size_t max)
{
    static const srv_method methods[] = {
        HTTP_METHOD("GET", SMALL_BODY_MAX, get_message),
        HTTP_METHOD("PUT", VV_VALUE_MAX, put_message),
        HTTP_METHOD("DELETE", SMALL_BODY_MAX, delete_message),
    };
    return svc_add_methods(methods, ARRAY_LEN(methods), n, out, max);
}
