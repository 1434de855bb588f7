/*
 * svc_admin_rule.c - varve.v1.ArchiveOptions: how the messages of a stream table are archived.
 */
#include "server/svc_admin_rule.h"

#include <string.h>

#include "base/error.h"
#include "codec/protowire.h"
#include "server/svc_kv.h"

void svc_admin_rule_put(vv_buf *out, uint32_t number, const vv_archive_rule *rule)
{
    if (rule == NULL)
        return;
    size_t mark = wire_begin(out, number);
    wire_put_uint(out, 1, rule->off);
    wire_put_uint(out, 2, (uint64_t)rule->codec);
    wire_put_uint(out, 3, (uint64_t)rule->also);
    wire_put_uint(out, 4, rule->batch_bytes);
    wire_put_uint(out, 5, rule->batch_messages);
    wire_put_int(out, 6, rule->batch_age_ns);
    wire_put_int(out, 7, rule->local_ns);
    wire_put_uint(out, 8, rule->local_bytes);
    if (rule->key != NULL)
        wire_put_bytes(out, 9, vv_slice_str(rule->key));
    wire_put_uint(out, 10, rule->said);
    wire_end(out, mark);
}

/* A longer one is refused by the store, so what does not fit is kept too long to be taken. */
static bool take_key(const wire_field *f, svc_admin_rule *out)
{
    if (f->type != WIRE_BYTES || (f->bytes.len > 0 && memchr(f->bytes.data, '\0', f->bytes.len)))
        return false;
    size_t len = vv_min_u64(f->bytes.len, sizeof out->key - 1);
    if (len > 0)
        memcpy(out->key, f->bytes.data, len);
    out->key[len] = '\0';
    out->rule.key = out->key;
    return true;
}

bool svc_admin_rule_read(const wire_field *field, svc_admin_rule *out)
{
    wire_reader r = wire_reader_of(field->bytes);
    wire_field f = {0};
    bool ok = field->type == WIRE_BYTES;
    uint32_t codec = 0;
    uint32_t also = 0;
    *out = (svc_admin_rule){.is_given = true};
    vv_archive_rule *rule = &out->rule;
    while (ok && wire_next(&r, &f) > 0) {
        if (f.number == 1)
            ok = svc_kv_take_bool(&f, &rule->off);
        else if (f.number == 2)
            ok = svc_kv_take_u32(&f, &codec);
        else if (f.number == 3)
            ok = svc_kv_take_u32(&f, &also);
        else if (f.number == 4)
            ok = svc_kv_take_uint(&f, &rule->batch_bytes);
        else if (f.number == 5)
            ok = svc_kv_take_uint(&f, &rule->batch_messages);
        else if (f.number == 6)
            ok = svc_kv_take_int(&f, &rule->batch_age_ns);
        else if (f.number == 7)
            ok = svc_kv_take_int(&f, &rule->local_ns);
        else if (f.number == 8)
            ok = svc_kv_take_uint(&f, &rule->local_bytes);
        else if (f.number == 9)
            ok = take_key(&f, out);
        else if (f.number == 10)
            ok = svc_kv_take_u32(&f, &rule->said);
    }
    rule->codec = (vv_tier_codec)codec; /* the store refuses what it does not know */
    rule->also = (vv_tier_form)also;
    return ok && r.fault == WIRE_GOOD;
}
