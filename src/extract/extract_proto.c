/*
 * extract_proto.c - the field of a protobuf message that a compiled path leads to.
 *
 * Each message on the way is read to its end, so that of a field that is not repeated the last one
 * counts, as the specification of protobuf asks, and a message that breaks off is known to. Pieces
 * of one message that was sent in several are not put together: the last piece stands for it.
 */
#include "base/time_text.h"
#include "codec/protowire.h"
#include "extract/extract_int.h"

static bool is_packable(extract_leaf leaf)
{
    return leaf != EXTRACT_LEAF_STRING && leaf != EXTRACT_LEAF_BYTES &&
           leaf != EXTRACT_LEAF_MESSAGE;
}

static wire_type type_of(extract_leaf leaf)
{
    switch (leaf) {
    case EXTRACT_LEAF_DOUBLE:
    case EXTRACT_LEAF_FIXED64:
    case EXTRACT_LEAF_SFIXED64:
        return WIRE_FIXED64;
    case EXTRACT_LEAF_FLOAT:
    case EXTRACT_LEAF_FIXED32:
    case EXTRACT_LEAF_SFIXED32:
        return WIRE_FIXED32;
    case EXTRACT_LEAF_STRING:
    case EXTRACT_LEAF_BYTES:
    case EXTRACT_LEAF_MESSAGE:
        return WIRE_BYTES;
    default:
        return WIRE_VARINT;
    }
}

/* Elements of a packed field; *seen counts on over all of its pieces. False: it breaks off. */
static bool look_into_packed(vv_slice bytes, wire_type type, const extract_step *step,
                             uint64_t *seen, wire_field *out, bool *found)
{
    wire_reader r = wire_reader_of(bytes);
    uint64_t value = 0;
    while (r.next != r.end) {
        if (!wire_value(&r, type, &value))
            return false;
        if ((*seen)++ == step->index) {
            *out = (wire_field){.number = step->number, .type = type, .value = value};
            *found = true;
        }
    }
    return true;
}

/* The field of one step. False: the message is malformed. */
static bool find_field(vv_slice message, const extract_step *step, wire_type type, bool packable,
                       wire_field *out, bool *found)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    uint64_t seen = 0;
    *found = false;
    while (wire_next(&r, &f) > 0) {
        if (f.number != step->number)
            continue;
        if (packable && step->is_repeated && f.type == WIRE_BYTES) {
            if (!look_into_packed(f.bytes, type, step, &seen, out, found))
                return false;
            continue;
        }
        if (f.type != type)
            continue;
        if (!step->is_repeated || seen++ == step->index) {
            *out = f;
            *found = true;
        }
    }
    return r.fault == WIRE_GOOD;
}

static int64_t unzigzag(uint64_t v)
{
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

static void take_timestamp(vv_slice message, extract_slot *slot)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    int64_t seconds = 0, nanos = 0, ns = 0;
    while (wire_next(&r, &f) > 0) {
        if (f.number == 1 && f.type == WIRE_VARINT)
            seconds = (int64_t)f.value;
        else if (f.number == 2 && f.type == WIRE_VARINT)
            nanos = (int32_t)f.value;
    }
    if (r.fault != WIRE_GOOD || !time_from_parts(seconds, nanos, &ns)) {
        extract_wrong(slot, "no Timestamp");
        return;
    }
    slot->state = EXTRACT_IS_FOUND;
    slot->value = (vv_attribute){.type = VV_ATTRIBUTE_TIME, .i64 = ns};
}

static void take_unsigned(const extract_rule *rule, uint64_t value, extract_slot *slot)
{
    if (value > INT64_MAX)
        extract_wrong(slot, "a number that is too large");
    else
        extract_take_int(rule, (int64_t)value, slot);
}

static void take_enum(const extract_rule *rule, int32_t value, extract_slot *slot)
{
    vv_slice name = {NULL, 0};
    if (rule->type == EXTRACT_AUTO || rule->type == EXTRACT_STRING)
        name = extract_enum_name(rule->enum_type, value);
    if (name.len > 0)
        extract_take_text(rule, name, false, slot);
    else
        extract_take_int(rule, value, slot);
}

static void take_leaf(const extract_rule *rule, const wire_field *f, extract_slot *slot)
{
    float single;
    uint32_t low = (uint32_t)f->value;
    switch (rule->leaf) {
    case EXTRACT_LEAF_DOUBLE:
        extract_take_double(rule, wire_double(f->value), slot);
        break;
    case EXTRACT_LEAF_FLOAT:
        memcpy(&single, &low, sizeof single);
        extract_take_double(rule, (double)single, slot);
        break;
    case EXTRACT_LEAF_INT64:
    case EXTRACT_LEAF_SFIXED64:
        extract_take_int(rule, (int64_t)f->value, slot);
        break;
    case EXTRACT_LEAF_UINT64:
    case EXTRACT_LEAF_FIXED64:
        take_unsigned(rule, f->value, slot);
        break;
    case EXTRACT_LEAF_INT32:
    case EXTRACT_LEAF_SFIXED32:
        extract_take_int(rule, (int32_t)low, slot);
        break;
    case EXTRACT_LEAF_UINT32:
    case EXTRACT_LEAF_FIXED32:
        extract_take_int(rule, (int64_t)low, slot);
        break;
    case EXTRACT_LEAF_SINT32:
    case EXTRACT_LEAF_SINT64:
        extract_take_int(rule, unzigzag(f->value), slot);
        break;
    case EXTRACT_LEAF_BOOL:
        extract_take_bool(rule, f->value != 0, slot);
        break;
    case EXTRACT_LEAF_STRING:
        extract_take_text(rule, f->bytes, false, slot);
        break;
    case EXTRACT_LEAF_ENUM:
        take_enum(rule, (int32_t)low, slot);
        break;
    case EXTRACT_LEAF_MESSAGE:
        take_timestamp(f->bytes, slot);
        break;
    case EXTRACT_LEAF_BYTES:
    case EXTRACT_LEAF_GROUP:
        extract_take_bytes(rule, f->bytes, slot);
        break;
    }
}

void extract_proto(const extract_rule *rule, vv_slice value, extract_slot *slot)
{
    vv_slice at = value;
    wire_field f = {0};
    for (uint32_t i = 0; i < rule->step_count; i++) {
        bool is_last = i + 1 == rule->step_count;
        bool found = false;
        if (!find_field(at, &rule->step[i], is_last ? type_of(rule->leaf) : WIRE_BYTES,
                        is_last && is_packable(rule->leaf), &f, &found)) {
            extract_wrong(slot, "not protobuf");
            return;
        }
        if (!found)
            return;
        at = f.bytes;
    }
    take_leaf(rule, &f, slot);
}
