/*
 * evlog_pack.c - a record as bytes in a queue:
 *
 *     u32 length | i64 wall time | u8 level | u8 values | module NUL | message NUL
 *     per value:  u8 type | key NUL | text NUL, or 8 bytes
 *
 * Bytes of this process for this process: no reader but evlog_unpack ever sees them.
 */
#include <string.h>

#include "base/util.h"
#include "server/evlog_sink.h"

#define HEAD_SIZE 14u
#define COUNT_AT 13u

typedef struct writer {
    uint8_t *to;
    size_t len;
    size_t room;
} writer;

static bool put(writer *w, const void *bytes, size_t len)
{
    if (len > w->room - w->len)
        return false;
    memcpy(w->to + w->len, bytes, len);
    w->len += len;
    return true;
}

static bool put_text(writer *w, const char *text)
{
    static const uint8_t nul;
    return put(w, text, strnlen(text, EVLOG_TEXT_MAX)) && put(w, &nul, 1);
}

static bool put_value(writer *w, const vv_kv *kv)
{
    uint8_t type = (uint8_t)kv->type;
    if (!put(w, &type, 1) || !put_text(w, kv->key))
        return false;
    if (kv->type == VV_KV_STR)
        return put_text(w, kv->v.str == NULL ? "" : kv->v.str);
    return put(w, &kv->v, sizeof kv->v);
}

size_t evlog_pack(const vv_log_record *r, uint8_t *to, size_t room)
{
    writer w = {.to = to, .len = HEAD_SIZE, .room = vv_min_u64(room, EVLOG_PACKED_MAX)};
    if (w.room < HEAD_SIZE)
        return 0;
    uint8_t count = 0;
    to[12] = (uint8_t)r->level;
    memcpy(to + 4, &r->wall_ns, sizeof r->wall_ns);
    if (!put_text(&w, r->module) || !put_text(&w, r->msg))
        return 0;
    for (size_t i = 0; i < r->count && count < EVLOG_VALUES_MAX; i++) {
        size_t before = w.len;
        if (put_value(&w, &r->kvs[i])) {
            count++;
            continue;
        }
        if (w.room < EVLOG_PACKED_MAX)
            return 0; /* there is no room in the queue: all of it, or nothing */
        w.len = before;
    }
    to[COUNT_AT] = count;
    uint32_t len = (uint32_t)w.len;
    memcpy(to, &len, sizeof len);
    return w.len;
}

static const char *take_text(const uint8_t **at)
{
    const char *text = (const char *)*at;
    *at += strlen(text) + 1;
    return text;
}

size_t evlog_unpack(const uint8_t *from, evlog_unpacked *out)
{
    uint32_t len;
    const uint8_t *at = from + HEAD_SIZE;
    memcpy(&len, from, sizeof len);
    memcpy(&out->record.wall_ns, from + 4, sizeof out->record.wall_ns);
    out->record.level = (vv_log_level)from[12];
    out->record.count = from[COUNT_AT];
    out->record.kvs = out->kv;
    assert(out->record.count <= EVLOG_VALUES_MAX);
    out->record.module = take_text(&at);
    out->record.msg = take_text(&at);
    for (size_t i = 0; i < out->record.count; i++) {
        vv_kv *kv = &out->kv[i];
        kv->type = (vv_kv_type)*at++;
        kv->key = take_text(&at);
        if (kv->type == VV_KV_STR) {
            kv->v.str = take_text(&at);
        } else {
            memcpy(&kv->v, at, sizeof kv->v);
            at += sizeof kv->v;
        }
    }
    assert(at == from + len);
    return len;
}
