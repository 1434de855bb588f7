/*
 * db_trace.c - see db_trace.h.
 */
#include "db/db_trace.h"

#include <stdio.h>
#include <string.h>

#define ATTRIBUTE "trace_id"

void db_traces_note(db_traces *t, uint32_t table, uint32_t partition, uint64_t first, uint64_t next,
                    const char *id)
{
    db_trace *at = &t->ring[t->hand];
    t->hand = (t->hand + 1) % DB_TRACES;
    *at = (db_trace){.table = table, .partition = partition, .first = first, .next = next};
    (void)snprintf(at->id, sizeof at->id, "%s", id);
}

void db_traces_forget(db_traces *t, uint32_t table, uint32_t partition, uint64_t first)
{
    for (uint32_t i = 0; i < DB_TRACES; i++) {
        db_trace *at = &t->ring[i];
        if (at->table == table && at->partition == partition && at->first >= first)
            at->next = 0;
    }
}

void db_trace_list_add(db_trace_list *list, vv_slice id)
{
    if (id.len == 0 || id.len > VV_STREAM_TRACE_MAX)
        return;
    for (uint32_t i = 0; i < list->count; i++)
        if (vv_slice_eq(vv_slice_str(list->id[i]), id))
            return;
    if (list->count == DB_TRACE_LIST) {
        list->more++;
        return;
    }
    char *to = list->id[list->count++];
    memcpy(to, id.data, id.len);
    to[id.len] = '\0';
}

void db_trace_list_message(db_trace_list *list, const vv_message *m)
{
    for (size_t i = 0; i < m->attribute_count; i++) {
        const vv_attribute *a = &m->attributes[i];
        if (a->type == VV_ATTRIBUTE_STRING && vv_slice_eq(a->name, vv_slice_str(ATTRIBUTE)))
            db_trace_list_add(list, a->bytes);
    }
}

void db_trace_list_range(db_trace_list *list, const db_traces *t, uint32_t table,
                         uint32_t partition, uint64_t first, uint64_t next)
{
    for (uint32_t i = 0; i < DB_TRACES; i++) {
        const db_trace *at = &t->ring[(t->hand + i) % DB_TRACES];
        if (at->table == table && at->partition == partition && at->first < next &&
            at->next > first)
            db_trace_list_add(list, vv_slice_str(at->id));
    }
}

size_t db_trace_list_kvs(const db_trace_list *list, char text[DB_TRACE_TEXT],
                         vv_kv out[DB_TRACE_KVS])
{
    size_t n = 0;
    size_t len = 0;
    if (list->count == 0)
        return 0;
    out[n++] = VV_KV_S("trace_id", list->id[0]);
    if (list->count == 1)
        return n;
    for (uint32_t i = 0; i < list->count; i++)
        len += (size_t)snprintf(text + len, DB_TRACE_TEXT - len, "%s%s", i > 0 ? "," : "",
                                list->id[i]);
    out[n++] = VV_KV_S("trace_ids", text);
    if (list->more > 0)
        out[n++] = VV_KV_U("trace_more", list->more);
    return n;
}
