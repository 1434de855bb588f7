#include "server/svc_util.h"

#include <string.h>

#include "base/error.h"
#include "base/nearest.h"
#include "base/util.h"

#define ERROR_MAX 8192u

gate_identity svc_identity(const srv_call *call)
{
    return (gate_identity){.loopback = srv_call_from_loopback(call),
                           .token = srv_call_header(call, "authorization")};
}

void svc_reply_error(srv_call *call, vv_status status, const char *message)
{
    vv_buf out;
    if (status == VV_CORRUPT)
        node_note_corrupt(srv_call_ctx(call), message);
    vv_buf_init(&out, ERROR_MAX);
    srv_error_body(&out, vv_status_grpc(status), vv_status_name(status), message);
    srv_call_reply(call, vv_status_http(status), "application/json", &out, NULL);
    vv_buf_fini(&out);
}

#define PAGE_MAX (1024u * 1024)

void svc_page_submit(srv_call *call, srv_message msg, void (*answer)(void *call))
{
    node *n = srv_call_ctx(call);
    srv_message_release(&msg);
    srv_call_ref(call);
    if (srv_pool_submit_point(n->pool, answer, call) == VV_OK)
        return;
    svc_reply_error(call, VV_BUSY, SVC_NO_THREAD);
    srv_call_unref(call);
}

void svc_page_answer(srv_call *call, void (*write)(node *n, vv_buf *out), const char *type,
                     const char *headers)
{
    node *n = srv_call_ctx(call);
    const gate_identity who = svc_identity(call);
    const gate_op op = {.kind = GATE_STATUS};
    gate_grant grant;
    vv_error err = {0};
    vv_buf page;
    vv_buf_init(&page, PAGE_MAX);
    vv_status st = gate_authorize(n->gate, &who, &op, 1, &grant, &err);
    if (st == VV_OK)
        write(n, &page);
    if (st == VV_OK && page.status != VV_OK)
        st = vv_fail(&err, page.status, "no memory for the figures");
    if (st == VV_OK)
        srv_call_reply(call, 200, type, &page, headers);
    else
        svc_reply_error(call, st, err.msg);
    vv_buf_fini(&page);
    srv_call_unref(call);
}

size_t svc_add_methods(const srv_method *rows, size_t count, node *n, srv_method *out, size_t max)
{
    size_t i = 0;
    for (; i < count && i < max; i++) {
        out[i] = rows[i];
        out[i].ctx = n;
    }
    return i;
}

void svc_series_names(const node *n, vv_slice *tenant, vv_slice *table)
{
    if (tenant->len == 0)
        *tenant = vv_slice_str(table->len == 0 ? n->series_tenant : GATE_NAME_DEFAULT);
    if (table->len == 0)
        *table = vv_slice_str(n->series_table);
}

vv_status svc_find_series(const node *n, const gate_identity *who, gate_kind kind, vv_slice tenant,
                          vv_slice table, vv_table **out, vv_error *err)
{
    svc_series_names(n, &tenant, &table);
    const gate_op op = {.kind = kind, .tenant = tenant, .table = table, .to_last = true};
    gate_grant grant;
    vv_table *found = NULL;
    vv_status st = gate_authorize(n->gate, who, &op, 1, &grant, err);
    if (st == VV_OK)
        st = gate_find_table(&grant, 0, VV_TABLE_SERIES, &found, err);
    if (st == VV_OK && vv_table_kind_of(found) != VV_TABLE_SERIES) {
        st = vv_fail(err, VV_INVALID, "table '%.*s' holds no series", (int)table.len,
                     (const char *)table.data);
        vv_table_close(found);
    }
    if (st == VV_OK)
        *out = found;
    return st;
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool svc_percent_decode(vv_slice text, vv_buf *out)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c == '%') {
            int high = i + 1 < text.len ? hex_digit(text.data[i + 1]) : -1;
            int low = i + 2 < text.len ? hex_digit(text.data[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            c = (uint8_t)(high << 4 | low);
            i += 2;
        }
        vv_buf_append_u8(out, c);
    }
    return true;
}

vv_slice svc_query_value(vv_slice query, const char *name)
{
    size_t name_len = strlen(name);
    const uint8_t *at = query.data;
    const uint8_t *end = query.len == 0 ? at : at + query.len;
    while (at != end) {
        const uint8_t *stop = memchr(at, '&', (size_t)(end - at));
        const uint8_t *next = stop == NULL ? end : stop + 1;
        size_t len = (size_t)((stop == NULL ? end : stop) - at);
        if (len > name_len && memcmp(at, name, name_len) == 0 && at[name_len] == '=')
            return vv_slice_of(at + name_len + 1, len - name_len - 1);
        at = next;
    }
    return vv_slice_of(NULL, 0);
}

const char *svc_nearest(vv_slice name, const char *const names[], unsigned *distance)
{
    const char *near = names[0];
    unsigned best = VV_NEAREST_MAX;
    for (size_t i = 0; names[i] != NULL && best > 0; i++) {
        unsigned d = vv_name_distance(name, vv_slice_str(names[i]), best);
        near = d < best ? names[i] : near;
        best = d < best ? d : best;
    }
    if (distance != NULL)
        *distance = best;
    return near;
}

vv_status svc_check_param(vv_slice name, const char *const names[], vv_error *err)
{
    unsigned distance = 0;
    const char *near = svc_nearest(name, names, &distance);
    if (distance == 0)
        return VV_OK;
    return vv_fail(err, VV_INVALID, "%.*s: there is no such parameter here; did you mean %s=...?",
                   (int)vv_min_u64(name.len, 40), (const char *)name.data, near);
}

/* One "name=value" off a query string; false at its end. */
static bool next_param(vv_slice *rest, vv_slice *name, bool *has_value)
{
    while (rest->len > 0) {
        const uint8_t *stop = memchr(rest->data, '&', rest->len);
        size_t len = stop == NULL ? rest->len : (size_t)(stop - rest->data);
        const uint8_t *equal = memchr(rest->data, '=', len);
        *name = vv_slice_of(rest->data, equal == NULL ? len : (size_t)(equal - rest->data));
        *has_value = equal != NULL && equal + 1 < rest->data + len;
        size_t used = len < rest->len ? len + 1 : len;
        *rest = vv_slice_of(rest->data + used, rest->len - used);
        if (len > 0)
            return true;
    }
    return false;
}

vv_status svc_check_query(vv_slice query, bool may_be_empty, const char *const names[],
                          vv_error *err)
{
    vv_slice name;
    vv_slice other;
    bool has_value = false;
    bool ignored = false;
    while (next_param(&query, &name, &has_value)) {
        vv_status st = svc_check_param(name, names, err);
        if (st != VV_OK)
            return st;
        if (!has_value && !may_be_empty)
            return vv_fail(err, VV_INVALID, "%.*s: it has no value; did you mean %.*s=...?",
                           (int)name.len, (const char *)name.data, (int)name.len,
                           (const char *)name.data);
        for (vv_slice rest = query; next_param(&rest, &other, &ignored);)
            if (vv_slice_eq(name, other))
                return vv_fail(err, VV_INVALID, "%.*s is given twice", (int)name.len,
                               (const char *)name.data);
    }
    return VV_OK;
}

bool svc_parse_uint(vv_slice text, uint64_t *out)
{
    uint64_t value = 0;
    if (text.len == 0)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t digit = (uint8_t)(text.data[i] - '0');
        if (digit > 9 || __builtin_mul_overflow(value, (uint64_t)10, &value) ||
            __builtin_add_overflow(value, (uint64_t)digit, &value))
            return false;
    }
    *out = value;
    return true;
}
