#include "server/svc_kv_request.h"

bool svc_kv_take_bytes(const wire_field *f, vv_slice *out)
{
    *out = f->bytes;
    return f->type == WIRE_BYTES;
}

bool svc_kv_take_uint(const wire_field *f, uint64_t *out)
{
    *out = f->value;
    return f->type == WIRE_VARINT;
}

bool svc_kv_take_u32(const wire_field *f, uint32_t *out)
{
    *out = (uint32_t)f->value;
    return f->type == WIRE_VARINT;
}

bool svc_kv_take_int(const wire_field *f, int64_t *out)
{
    *out = (int64_t)f->value;
    return f->type == WIRE_VARINT;
}

bool svc_kv_take_bool(const wire_field *f, bool *out)
{
    *out = f->value != 0;
    return f->type == WIRE_VARINT;
}

bool svc_kv_read_table(vv_slice message, svc_table_ref *out)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    bool ok = true;
    while (ok && wire_next(&r, &f) > 0) {
        if (f.number == 1)
            ok = svc_kv_take_bytes(&f, &out->tenant);
        else if (f.number == 2)
            ok = svc_kv_take_bytes(&f, &out->table);
    }
    return ok && r.fault == WIRE_GOOD;
}

bool svc_kv_take_table(const wire_field *f, svc_table_ref *out)
{
    return f->type == WIRE_BYTES && svc_kv_read_table(f->bytes, out);
}

bool svc_kv_read_put(vv_slice message, svc_kv_put *out)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    bool ok = true;
    *out = (svc_kv_put){0};
    while (ok && wire_next(&r, &f) > 0) {
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
    return ok && r.fault == WIRE_GOOD;
}

bool svc_kv_read_get(vv_slice message, svc_kv_get *out)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    bool ok = true;
    *out = (svc_kv_get){0};
    while (ok && wire_next(&r, &f) > 0) {
        if (f.number == 1)
            ok = svc_kv_take_table(&f, &out->table);
        else if (f.number == 2)
            ok = svc_kv_take_bytes(&f, &out->key);
        else if (f.number == 3)
            ok = svc_kv_take_int(&f, &out->version);
        else if (f.number == 4)
            ok = svc_kv_take_bytes(&f, &out->archive);
        else if (f.number == 5)
            ok = svc_kv_take_int(&f, &out->as_of_ms);
    }
    return ok && r.fault == WIRE_GOOD;
}

bool svc_kv_read_many(vv_slice message, svc_kv_many *out)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    bool ok = true;
    *out = (svc_kv_many){.rest = r};
    while (ok && wire_next(&r, &f) > 0) {
        if (f.number == 1)
            ok = svc_kv_take_table(&f, &out->table);
        else if (f.number == 2)
            ok = f.type == WIRE_BYTES;
        else if (f.number == 3)
            ok = svc_kv_take_int(&f, &out->version);
        else if (f.number == 4)
            ok = svc_kv_take_u32(&f, &out->answer_bytes);
        else if (f.number == 5)
            ok = svc_kv_take_bytes(&f, &out->archive);
        else if (f.number == 6)
            ok = svc_kv_take_int(&f, &out->as_of_ms);
        out->key_count += f.number == 2;
    }
    return ok && r.fault == WIRE_GOOD;
}

bool svc_kv_next_key(svc_kv_many *many, vv_slice *out)
{
    wire_field f = {0};
    while (wire_next(&many->rest, &f) > 0)
        if (f.number == 2)
            return svc_kv_take_bytes(&f, out);
    return false;
}

bool svc_kv_read_merge(vv_slice message, svc_kv_merge *out)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    bool ok = true;
    *out = (svc_kv_merge){0};
    while (ok && wire_next(&r, &f) > 0) {
        switch (f.number) {
        case 1:
            ok = svc_kv_take_table(&f, &out->table);
            break;
        case 2:
            ok = svc_kv_take_bytes(&f, &out->key);
            break;
        case 3:
            ok = svc_kv_take_u32(&f, &out->op);
            break;
        case 4:
            ok = svc_kv_take_bytes(&f, &out->operand);
            break;
        case 5:
            ok = svc_kv_take_uint(&f, &out->ttl_ms);
            break;
        case 6:
            ok = svc_kv_take_u32(&f, &out->durability);
            break;
        default:
            break;
        }
    }
    return ok && r.fault == WIRE_GOOD;
}

bool svc_kv_read_delete(vv_slice message, svc_kv_delete *out)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    bool ok = true;
    *out = (svc_kv_delete){0};
    while (ok && wire_next(&r, &f) > 0) {
        if (f.number == 1)
            ok = svc_kv_take_table(&f, &out->table);
        else if (f.number == 2)
            ok = svc_kv_take_bytes(&f, &out->key);
        else if (f.number == 3)
            ok = svc_kv_take_bytes(&f, &out->range_end);
        else if (f.number == 4)
            ok = svc_kv_take_u32(&f, &out->durability);
    }
    return ok && r.fault == WIRE_GOOD;
}

/* The last field of a oneof counts. */
static bool take_expectation(const wire_field *f, svc_kv_cas *out)
{
    out->expectation = (svc_kv_expectation)f->number;
    out->absent = false;
    out->expected = vv_slice_of(NULL, 0);
    return f->number == SVC_KV_ABSENT ? svc_kv_take_bool(f, &out->absent)
                                      : svc_kv_take_bytes(f, &out->expected);
}

bool svc_kv_read_cas(vv_slice message, svc_kv_cas *out)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    bool ok = true;
    *out = (svc_kv_cas){0};
    while (ok && wire_next(&r, &f) > 0) {
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
    return ok && r.fault == WIRE_GOOD;
}

static bool take_scan(const wire_field *f, svc_kv_scan *out)
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
    case 10:
        return svc_kv_take_bytes(f, &out->archive);
    case 11:
        return svc_kv_take_int(f, &out->as_of_ms);
    default:
        return true;
    }
}

bool svc_kv_read_scan(vv_slice message, svc_kv_scan *out)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    bool ok = true;
    *out = (svc_kv_scan){0};
    while (ok && wire_next(&r, &f) > 0)
        ok = take_scan(&f, out);
    return ok && r.fault == WIRE_GOOD;
}

/* ---- batches ---- */

bool svc_kv_read_batch(vv_slice message, svc_kv_batch *out)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    bool ok = true;
    *out = (svc_kv_batch){.rest = r};
    while (ok && wire_next(&r, &f) > 0) {
        if (f.number == 1)
            ok = f.type == WIRE_BYTES;
        else if (f.number == 2)
            ok = svc_kv_take_u32(&f, &out->durability);
        else if (f.number == 3)
            ok = svc_kv_take_bytes(&f, &out->producer);
        else if (f.number == 4)
            ok = svc_kv_take_uint(&f, &out->sequence);
    }
    return ok && r.fault == WIRE_GOOD;
}

static bool take_merge(const wire_field *f, svc_kv_op *out)
{
    switch (f->number) {
    case 3:
        return svc_kv_take_u32(f, &out->op);
    case 4:
        return svc_kv_take_bytes(f, &out->value);
    case 5:
        return svc_kv_take_uint(f, &out->ttl_ms);
    default:
        return true;
    }
}

/* Put, Delete, DeleteRange, Require and Merge differ only in their last fields. */
static bool read_inner(vv_slice message, svc_kv_op *out)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    bool ok = true;
    while (ok && wire_next(&r, &f) > 0) {
        if (f.number == 1)
            ok = svc_kv_take_table(&f, &out->table);
        else if (f.number == 2)
            ok = svc_kv_take_bytes(&f, &out->key);
        else if (out->kind == SVC_KV_OP_MERGE)
            ok = take_merge(&f, out);
        else if (f.number == 3 &&
                 (out->kind == SVC_KV_OP_PUT || out->kind == SVC_KV_OP_DELETE_RANGE))
            ok = svc_kv_take_bytes(&f, &out->value);
        else if (f.number == 3 && out->kind == SVC_KV_OP_REQUIRE)
            ok = svc_kv_take_int(&f, &out->version);
        else if (f.number == 4 && out->kind == SVC_KV_OP_PUT)
            ok = svc_kv_take_uint(&f, &out->ttl_ms);
    }
    return ok && r.fault == WIRE_GOOD;
}

/* A oneof: the last one counts, and the same one in pieces is merged. */
static bool read_op(vv_slice message, svc_kv_op *out)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    bool ok = true;
    *out = (svc_kv_op){0};
    while (ok && wire_next(&r, &f) > 0) {
        if (f.number > SVC_KV_OP_MERGE)
            continue;
        if ((uint32_t)out->kind != f.number)
            *out = (svc_kv_op){.kind = (svc_kv_op_kind)f.number};
        ok = f.type == WIRE_BYTES && read_inner(f.bytes, out);
    }
    return ok && r.fault == WIRE_GOOD;
}

int svc_kv_next_op(svc_kv_batch *batch, svc_kv_op *out)
{
    wire_field f = {0};
    while (wire_next(&batch->rest, &f) > 0)
        if (f.number == 1)
            return f.type == WIRE_BYTES && read_op(f.bytes, out) ? 1 : -1;
    return batch->rest.fault != WIRE_GOOD ? -1 : 0;
}
