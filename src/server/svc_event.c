/*
 * svc_event.c - see svc_event.h.
 */
#include "server/svc_event.h"

#include <string.h>

#include "base/util.h"

static bool is_hex(const uint8_t *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((text[i] < '0' || text[i] > '9') && (text[i] < 'a' || text[i] > 'f'))
            return false;
    return true;
}

static bool is_zero(const uint8_t *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] != '0')
            return false;
    return true;
}

/* A later version may go on behind the flags, after another '-'. */
bool svc_trace_parse(vv_slice text, svc_trace *out)
{
    const uint8_t *t = text.data;
    out->trace_id[0] = '\0';
    out->span_id[0] = '\0';
    if (text.len < 55 || t[2] != '-' || t[35] != '-' || t[52] != '-' || !is_hex(t, 2) ||
        !is_hex(t + 3, 32) || !is_hex(t + 36, 16) || !is_hex(t + 53, 2))
        return false;
    bool is_first = is_zero(t, 2);
    if (memcmp(t, "ff", 2) == 0 || is_zero(t + 3, 32) || is_zero(t + 36, 16) ||
        (is_first && text.len != 55) || (text.len > 55 && t[55] != '-'))
        return false;
    memcpy(out->trace_id, t + 3, 32);
    memcpy(out->span_id, t + 36, 16);
    out->trace_id[32] = '\0';
    out->span_id[16] = '\0';
    return true;
}

bool svc_trace_of(const srv_call *call, svc_trace *out)
{
    return svc_trace_parse(srv_call_header(call, "traceparent"), out);
}

#define LOOKED_AT 16u /* messages */

static bool take_attribute(const vv_message *m, svc_trace *out)
{
    for (size_t i = 0; i < m->attribute_count; i++) {
        const vv_attribute *a = &m->attributes[i];
        if (a->type == VV_ATTRIBUTE_STRING && a->bytes.len == 32 &&
            vv_slice_eq(a->name, vv_slice_str("trace_id")) && is_hex(a->bytes.data, 32)) {
            memcpy(out->trace_id, a->bytes.data, 32);
            out->trace_id[32] = '\0';
            return true;
        }
    }
    return false;
}

bool svc_trace_of_messages(const srv_call *call, const vv_message *messages, size_t count,
                           svc_trace *out)
{
    bool found = svc_trace_of(call, out);
    for (size_t i = 0; messages != NULL && !found && i < count && i < LOOKED_AT; i++)
        found = take_attribute(&messages[i], out);
    return found;
}

static bool is_fault(vv_status st)
{
    return st == VV_IO || st == VV_CORRUPT || st == VV_NO_MEMORY || st == VV_NO_SPACE;
}

void svc_event_appended(const node *n, const svc_trace *trace, vv_table *table, size_t count,
                        vv_status st, const vv_stream_append_result *result, const vv_error *err)
{
    vv_log_level level = is_fault(st) ? VV_LOG_WARN : VV_LOG_DEBUG;
    vv_table_info info = {0};
    if (!vv_log_wants(n->log, level, "stream"))
        return;
    if (table != NULL && vv_table_identify(table, &info, NULL) != VV_OK)
        info.name[0] = '\0';
    vv_kv kvs[12] = {VV_KV_S("tenant", info.tenant), VV_KV_S("table", info.name),
                     VV_KV_U("messages", count)};
    size_t k = 3;
    if (st == VV_OK) {
        kvs[k++] = VV_KV_U("partition", result->partition);
        if (result->first_offset != VV_STREAM_OFFSET_GONE) /* all of them may be dead letters */
            kvs[k++] = VV_KV_U("first_offset", result->first_offset);
        if (result->dead > 0)
            kvs[k++] = VV_KV_U("dead", result->dead);
        kvs[k++] = VV_KV_U("duplicate", result->duplicate);
    } else {
        kvs[k++] = VV_KV_S("status", vv_status_name(st));
        kvs[k++] = VV_KV_S("error", err == NULL ? "" : err->msg);
    }
    if (trace->trace_id[0] != '\0')
        kvs[k++] = VV_KV_S("trace_id", trace->trace_id);
    if (trace->span_id[0] != '\0')
        kvs[k++] = VV_KV_S("span_id", trace->span_id);
    vv_log_line(n->log, level, "stream", st == VV_OK ? "accepted" : "failed", kvs, k);
}
