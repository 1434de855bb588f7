#include "server/pb_util.h"

#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/util.h"
#include "base/varint.h"

/* Value -> Struct -> FieldsEntry -> Value: three messages a level, and some around the first. */
#define FRAMES_MAX (PB_VALUE_DEPTH_MAX * 3 + 16)

static void *arena_alloc(void *ctx, size_t size)
{
    pb_arena *a = ctx;
    void *p = vv_arena_alloc(&a->arena, size);
    if (p == NULL)
        a->refused = true;
    return p;
}

static void arena_free(void *ctx, void *ptr)
{
    (void)ctx;
    (void)ptr; /* goes with the arena */
}

void pb_arena_init(pb_arena *a, size_t max)
{
    vv_arena_init(&a->arena, max);
    a->allocator = (ProtobufCAllocator){arena_alloc, arena_free, a};
    a->refused = false;
}

void pb_arena_fini(pb_arena *a)
{
    vv_arena_fini(&a->arena);
}

void pb_arena_reset(pb_arena *a)
{
    vv_arena_reset(&a->arena);
    a->refused = false;
}

bool pb_next(pb_reader *r, pb_field *out)
{
    uint64_t tag, len;
    if (r->bad || r->next == r->end)
        return false;
    r->bad = true; /* until this field proves good */
    const uint8_t *p = vv_varint_get(r->next, r->end, &tag);
    if (p == NULL || tag >> 3 == 0 || tag >> 3 > (1u << 29) - 1)
        return false;
    *out = (pb_field){.number = (uint32_t)(tag >> 3), .wire = (pb_wire)(tag & 7)};
    switch (out->wire) {
    case PB_VARINT:
        p = vv_varint_get(p, r->end, &out->value);
        if (p == NULL)
            return false;
        break;
    case PB_FIXED64:
        if (r->end - p < 8)
            return false;
        out->value = vv_get_le64(p);
        p += 8;
        break;
    case PB_FIXED32:
        if (r->end - p < 4)
            return false;
        out->value = vv_get_le32(p);
        p += 4;
        break;
    case PB_BYTES:
        p = vv_varint_get(p, r->end, &len);
        if (p == NULL || len > (uint64_t)(r->end - p))
            return false;
        out->bytes = vv_slice_of(p, (size_t)len);
        p += len;
        break;
    default:
        return false;
    }
    r->next = p;
    r->bad = false;
    return true;
}

static bool is_value(const ProtobufCMessageDescriptor *desc)
{
    return strcmp(desc->name, "google.protobuf.Value") == 0;
}

typedef struct frame {
    pb_reader reader;
    const ProtobufCMessageDescriptor *desc;
} frame;

vv_status pb_depth_check(const ProtobufCMessageDescriptor *desc, vv_slice bytes, vv_error *err)
{
    frame stack[FRAMES_MAX];
    size_t depth = 1;
    unsigned values = is_value(desc);
    stack[0] = (frame){pb_reader_of(bytes), desc};
    while (depth > 0) {
        frame *top = &stack[depth - 1];
        pb_field field;
        if (!pb_next(&top->reader, &field)) {
            if (top->reader.bad)
                return vv_fail(err, VV_INVALID, "%s: the bytes are not a protobuf message",
                               desc->name);
            values -= is_value(top->desc);
            depth--;
            continue;
        }
        if (field.wire != PB_BYTES)
            continue;
        const ProtobufCFieldDescriptor *fd =
            protobuf_c_message_descriptor_get_field(top->desc, field.number);
        if (fd == NULL || fd->type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        const ProtobufCMessageDescriptor *inner = fd->descriptor;
        values += is_value(inner);
        if (values > PB_VALUE_DEPTH_MAX || depth == FRAMES_MAX)
            return vv_fail(err, VV_INVALID, "%s: values nest deeper than %u", desc->name,
                           PB_VALUE_DEPTH_MAX);
        stack[depth++] = (frame){pb_reader_of(field.bytes), inner};
    }
    return VV_OK;
}

vv_status pb_unpack(const ProtobufCMessageDescriptor *desc, vv_slice bytes, pb_arena *arena,
                    ProtobufCMessage **out, vv_error *err)
{
    vv_status st = pb_depth_check(desc, bytes, err);
    if (st != VV_OK)
        return st;
    /* protobuf-c takes a NULL pointer for "no data at all"; an empty message is a valid one. */
    static const uint8_t none[1];
    const uint8_t *data = bytes.len == 0 ? none : bytes.data;
    arena->refused = false;
    ProtobufCMessage *message = protobuf_c_message_unpack(desc, &arena->allocator, bytes.len, data);
    if (message == NULL) {
        if (arena->refused)
            return vv_fail(err, VV_BUSY, "%s: needs more than %zu bytes when unpacked", desc->name,
                           arena->arena.max);
        return vv_fail(err, VV_INVALID, "%s: the bytes are not such a message", desc->name);
    }
    *out = message;
    return VV_OK;
}

void pb_pack(vv_buf *buf, const ProtobufCMessage *message)
{
    size_t len = protobuf_c_message_get_packed_size(message);
    if (len == 0)
        return;
    uint8_t *to = vv_buf_reserve(buf, len);
    if (to != NULL)
        vv_buf_advance(buf, protobuf_c_message_pack(message, to));
}

static void put_tag(vv_buf *buf, uint32_t number, pb_wire wire)
{
    vv_buf_append_varint(buf, (uint64_t)number << 3 | (uint64_t)wire);
}

void pb_put_varint(vv_buf *buf, uint32_t number, uint64_t value)
{
    put_tag(buf, number, PB_VARINT);
    vv_buf_append_varint(buf, value);
}

void pb_put_head(vv_buf *buf, uint32_t number, size_t len)
{
    put_tag(buf, number, PB_BYTES);
    vv_buf_append_varint(buf, len);
}

void pb_put_bytes(vv_buf *buf, uint32_t number, vv_slice bytes)
{
    pb_put_head(buf, number, bytes.len);
    vv_buf_append_slice(buf, bytes);
}

void pb_put_str(vv_buf *buf, uint32_t number, const char *text)
{
    pb_put_bytes(buf, number, vv_slice_str(text));
}

void pb_put_fixed64(vv_buf *buf, uint32_t number, uint64_t value)
{
    put_tag(buf, number, PB_FIXED64);
    vv_buf_append_le64(buf, value);
}

void pb_put_fixed32(vv_buf *buf, uint32_t number, uint32_t value)
{
    put_tag(buf, number, PB_FIXED32);
    vv_buf_append_le32(buf, value);
}

void pb_put_double(vv_buf *buf, uint32_t number, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    pb_put_fixed64(buf, number, bits);
}

size_t pb_begin(vv_buf *buf, uint32_t number)
{
    put_tag(buf, number, PB_BYTES);
    vv_buf_append_u8(buf, 0); /* room for the length while it is short, the common case */
    return buf->len;
}

void pb_end(vv_buf *buf, size_t mark)
{
    if (buf->status != VV_OK)
        return;
    uint8_t head[VV_VARINT_MAX];
    size_t len = buf->len - mark;
    size_t more = vv_varint_put(head, len) - 1;
    if (more > 0) {
        if (vv_buf_reserve(buf, more) == NULL)
            return;
        memmove(buf->data + mark + more, buf->data + mark, len);
        vv_buf_advance(buf, more);
    }
    memcpy(buf->data + mark - 1, head, more + 1);
}
