#include "server/svc_kv_request.h"

bool svc_kv_take_bytes(const pb_field *f, vv_slice *out)
{
    *out = f->bytes;
    return f->wire == PB_BYTES;
}

bool svc_kv_take_uint(const pb_field *f, uint64_t *out)
{
    *out = f->value;
    return f->wire == PB_VARINT;
}

bool svc_kv_take_u32(const pb_field *f, uint32_t *out)
{
    *out = (uint32_t)f->value;
    return f->wire == PB_VARINT;
}

bool svc_kv_take_int(const pb_field *f, int64_t *out)
{
    *out = (int64_t)f->value;
    return f->wire == PB_VARINT;
}

bool svc_kv_take_bool(const pb_field *f, bool *out)
{
    *out = f->value != 0;
    return f->wire == PB_VARINT;
}

bool svc_kv_read_table(vv_slice message, svc_table_ref *out)
{
    pb_reader r = pb_reader_of(message);
    pb_field f;
    bool ok = true;
    while (ok && pb_next(&r, &f)) {
        if (f.number == 1)
            ok = svc_kv_take_bytes(&f, &out->tenant);
        else if (f.number == 2)
            ok = svc_kv_take_bytes(&f, &out->table);
    }
    return ok && !r.bad;
}

bool svc_kv_take_table(const pb_field *f, svc_table_ref *out)
{
    return f->wire == PB_BYTES && svc_kv_read_table(f->bytes, out);
}

bool svc_kv_read_put(vv_slice message, svc_kv_put *out)
{
    pb_reader r = pb_reader_of(message);
    pb_field f;
    bool ok = true;
    *out = (svc_kv_put){0};
    while (ok && pb_next(&r, &f)) {
        switch (f.number) {
        case 1:
            ok = svc_kv_take_table(&f, &out->table);
            break;
        case 2:
            ok = svc_kv_take_bytes(&f, &out->key);
            break;
        case 3:
            ok = svc_kv_take_bytes(&f, &out->value);
            break;
        case 4:
            ok = svc_kv_take_uint(&f, &out->ttl_ms);
            break;
        case 5:
            ok = svc_kv_take_u32(&f, &out->durability);
            break;
        default:
            break;
        }
    }
    return ok && !r.bad;
}

bool svc_kv_read_get(vv_slice message, svc_kv_get *out)
{
    pb_reader r = pb_reader_of(message);
    pb_field f;
    bool ok = true;
    *out = (svc_kv_get){0};
    while (ok && pb_next(&r, &f)) {
        if (f.number == 1)
            ok = svc_kv_take_table(&f, &out->table);
        else if (f.number == 2)
            ok = svc_kv_take_bytes(&f, &out->key);
        else if (f.number == 3)
            ok = svc_kv_take_int(&f, &out->version);
    }
    return ok && !r.bad;
}

bool svc_kv_read_delete(vv_slice message, svc_kv_delete *out)
{
    pb_reader r = pb_reader_of(message);
    pb_field f;
    bool ok = true;
    *out = (svc_kv_delete){0};
    while (ok && pb_next(&r, &f)) {
        if (f.number == 1)
            ok = svc_kv_take_table(&f, &out->table);
        else if (f.number == 2)
            ok = svc_kv_take_bytes(&f, &out->key);
        else if (f.number == 3)
            ok = svc_kv_take_bytes(&f, &out->range_end);
        else if (f.number == 4)
            ok = svc_kv_take_u32(&f, &out->durability);
    }
    return ok && !r.bad;
}

/* The last field of a oneof counts. */
static bool take_expectation(const pb_field *f, svc_kv_cas *out)
{
    out->expectation = (svc_kv_expectation)f->number;
    out->absent = false;
    out->expected = vv_slice_of(NULL, 0);
    return f->number == SVC_KV_ABSENT ? svc_kv_take_bool(f, &out->absent)
                                      : svc_kv_take_bytes(f, &out->expected);
}

bool svc_kv_read_cas(vv_slice message, svc_kv_cas *out)
{
    pb_reader r = pb_reader_of(message);
    pb_field f;
    bool ok = true;
    *out = (svc_kv_cas){0};
    while (ok && pb_next(&r, &f)) {
        switch (f.number) {
        case 1:
            ok = svc_kv_take_table(&f, &out->table);
            break;
        case 2:
            ok = svc_kv_take_bytes(&f, &out->key);
            break;
        case SVC_KV_ABSENT:
        case SVC_KV_EXPECTED:
            ok = take_expectation(&f, out);
            break;
        case 5:
            ok = svc_kv_take_bytes(&f, &out->value);
            break;
        case 6:
            ok = svc_kv_take_uint(&f, &out->ttl_ms);
            break;
        case 7:
            ok = svc_kv_take_u32(&f, &out->durability);
            break;
        default:
            break;
        }
    }
    return ok && !r.bad;
}

static bool take_scan(const pb_field *f, svc_kv_scan *out)
{
    switch (f->number) {
    case 1:
        return svc_kv_take_table(f, &out->table);
    case 2:
        return svc_kv_take_bytes(f, &out->begin);
    case 3:
        return svc_kv_take_bytes(f, &out->end);
    case 4:
        return svc_kv_take_bytes(f, &out->prefix);
    case 5:
        return svc_kv_take_bool(f, &out->is_reverse);
    case 6:
        return svc_kv_take_uint(f, &out->limit);
    case 7:
        return svc_kv_take_int(f, &out->version);
    case 8:
        return svc_kv_take_bool(f, &out->keys_only);
    case 9:
        return svc_kv_take_u32(f, &out->page_bytes);
    default:
        return true;
    }
}

bool svc_kv_read_scan(vv_slice message, svc_kv_scan *out)
{
    pb_reader r = pb_reader_of(message);
    pb_field f;
    bool ok = true;
    *out = (svc_kv_scan){0};
    while (ok && pb_next(&r, &f))
        ok = take_scan(&f, out);
    return ok && !r.bad;
}

/* ---- batches -----------------------------------------------------------------------------------
 */

bool svc_kv_read_batch(vv_slice message, svc_kv_batch *out)
{
    pb_reader r = pb_reader_of(message);
    pb_field f;
    bool ok = true;
    *out = (svc_kv_batch){.rest = r};
    while (ok && pb_next(&r, &f)) {
        if (f.number == 1)
            ok = f.wire == PB_BYTES;
        else if (f.number == 2)
            ok = svc_kv_take_u32(&f, &out->durability);
        else if (f.number == 3)
            ok = svc_kv_take_bytes(&f, &out->producer);
        else if (f.number == 4)
            ok = svc_kv_take_uint(&f, &out->sequence);
    }
    return ok && !r.bad;
}

/* Put, Delete, DeleteRange and Require differ only in their last fields. */
static bool read_inner(vv_slice message, svc_kv_op *out)
{
    pb_reader r = pb_reader_of(message);
    pb_field f;
    bool ok = true;
    while (ok && pb_next(&r, &f)) {
        if (f.number == 1)
            ok = svc_kv_take_table(&f, &out->table);
        else if (f.number == 2)
            ok = svc_kv_take_bytes(&f, &out->key);
        else if (f.number == 3 &&
                 (out->kind == SVC_KV_OP_PUT || out->kind == SVC_KV_OP_DELETE_RANGE))
            ok = svc_kv_take_bytes(&f, &out->value);
        else if (f.number == 3 && out->kind == SVC_KV_OP_REQUIRE)
            ok = svc_kv_take_int(&f, &out->version);
        else if (f.number == 4 && out->kind == SVC_KV_OP_PUT)
            ok = svc_kv_take_uint(&f, &out->ttl_ms);
    }
    return ok && !r.bad;
}

/* A oneof: the last one counts, and the same one in pieces is merged. */
static bool read_op(vv_slice message, svc_kv_op *out)
{
    pb_reader r = pb_reader_of(message);
    pb_field f;
    bool ok = true;
    *out = (svc_kv_op){0};
    while (ok && pb_next(&r, &f)) {
        if (f.number > SVC_KV_OP_REQUIRE)
            continue;
        if ((uint32_t)out->kind != f.number)
            *out = (svc_kv_op){.kind = (svc_kv_op_kind)f.number};
        ok = f.wire == PB_BYTES && read_inner(f.bytes, out);
    }
    return ok && !r.bad;
}

int svc_kv_next_op(svc_kv_batch *batch, svc_kv_op *out)
{
    pb_field f;
    while (pb_next(&batch->rest, &f))
        if (f.number == 1)
            return f.wire == PB_BYTES && read_op(f.bytes, out) ? 1 : -1;
    return batch->rest.bad ? -1 : 0;
}
