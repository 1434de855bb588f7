/*
 * svc_json.c - wire bytes to JSON, and the pieces both directions share: strings, numbers, times.
 *
 * A message on the wire may hold its fields in any order and repeated ones scattered, while JSON
 * needs each name once: so each field of the descriptor walks the bytes for itself. Our messages
 * have at most ten fields, and the walk skips what it does not want at a few nanoseconds a field.
 */
#include "server/svc_json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/civil.h"
#include "base/error.h"
#include "base/json_text.h"
#include "base/util.h"
#include "codec/protowire.h"
#include "server/svc_json_int.h"

/* ---- bytes ----------------------------------------------------------------------------------- */

/* ---- times ----------------------------------------------------------------------------------- */

#define YEAR_1_S INT64_C(-62135596800)    /* 0001-01-01T00:00:00Z */
#define YEAR_9999_S INT64_C(253402300799) /* 9999-12-31T23:59:59Z */

bool svc_time_format(int64_t seconds, int32_t nanos, char out[SVC_TIME_TEXT_MAX])
{
    if (seconds < YEAR_1_S || seconds > YEAR_9999_S || nanos < 0 || nanos > 999999999)
        return false;
    int64_t days = seconds / 86400 - (seconds % 86400 < 0);
    int64_t rest = seconds - days * 86400;
    const vv_civil date = vv_civil_of_days(days);
    int used =
        snprintf(out, SVC_TIME_TEXT_MAX,
                 "%04" PRId64 "-%02" PRId64 "-%02" PRId64 "T%02" PRId64 ":%02" PRId64 ":%02" PRId64,
                 date.year, date.month, date.day, rest / 3600, rest / 60 % 60, rest % 60);
    char *end = out + used;
    size_t left = SVC_TIME_TEXT_MAX - (size_t)used;
    if (nanos == 0)
        (void)snprintf(end, left, "Z");
    else if (nanos % 1000000 == 0)
        (void)snprintf(end, left, ".%03" PRId32 "Z", nanos / 1000000);
    else if (nanos % 1000 == 0)
        (void)snprintf(end, left, ".%06" PRId32 "Z", nanos / 1000);
    else
        (void)snprintf(end, left, ".%09" PRId32 "Z", nanos);
    return true;
}

/* Exactly count digits at *p. */
static bool read_digits(const uint8_t **p, const uint8_t *end, unsigned count, int64_t *out)
{
    *out = 0;
    if ((size_t)(end - *p) < count)
        return false;
    for (unsigned i = 0; i < count; i++) {
        uint8_t c = (*p)[i];
        if (c < '0' || c > '9')
            return false;
        *out = *out * 10 + (c - '0');
    }
    *p += count;
    return true;
}

static bool read_char(const uint8_t **p, const uint8_t *end, uint8_t want)
{
    bool letter = want >= 'A' && want <= 'Z'; /* which may come in lower case */
    if (*p == end || (**p != want && !(letter && **p == want + ('a' - 'A'))))
        return false;
    (*p)++;
    return true;
}

static bool read_fraction(const uint8_t **p, const uint8_t *end, int32_t *nanos)
{
    int32_t unit = 100000000;
    *nanos = 0;
    if (!read_char(p, end, '.'))
        return true;
    if (*p == end || **p < '0' || **p > '9')
        return false;
    for (; *p < end && **p >= '0' && **p <= '9'; (*p)++, unit /= 10) {
        if (unit == 0)
            return false; /* a tenth digit */
        *nanos += (**p - '0') * unit;
    }
    return true;
}

static bool read_offset(const uint8_t **p, const uint8_t *end, int64_t *offset_s)
{
    int64_t hours, minutes;
    *offset_s = 0;
    if (read_char(p, end, 'Z'))
        return true;
    if (*p == end || (**p != '+' && **p != '-'))
        return false;
    int64_t sign = *(*p)++ == '-' ? -1 : 1;
    if (!read_digits(p, end, 2, &hours) || !read_char(p, end, ':') ||
        !read_digits(p, end, 2, &minutes) || hours > 23 || minutes > 59)
        return false;
    *offset_s = sign * (hours * 3600 + minutes * 60);
    return true;
}

bool svc_time_parse(vv_slice text, int64_t *seconds, int32_t *nanos)
{
    static const uint8_t month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (text.len == 0)
        return false;
    const uint8_t *p = text.data, *end = text.data + text.len;
    int64_t year, month, day, hour, minute, second, offset;
    if (!read_digits(&p, end, 4, &year) || !read_char(&p, end, '-') ||
        !read_digits(&p, end, 2, &month) || !read_char(&p, end, '-') ||
        !read_digits(&p, end, 2, &day) || !read_char(&p, end, 'T') ||
        !read_digits(&p, end, 2, &hour) || !read_char(&p, end, ':') ||
        !read_digits(&p, end, 2, &minute) || !read_char(&p, end, ':') ||
        !read_digits(&p, end, 2, &second) || !read_fraction(&p, end, nanos) ||
        !read_offset(&p, end, &offset) || p != end)
        return false;
    if (month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 60)
        return false;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (day > month_days[month - 1] + (month == 2 && leap))
        return false;
    *seconds =
        vv_days_of_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset;
    return *seconds >= YEAR_1_S && *seconds <= YEAR_9999_S;
}

/* ---- messages ---- */

svc_known svc_known_of(const ProtobufCMessageDescriptor *desc)
{
    static const struct {
        const char *name;
        svc_known known;
    } table[] = {
        {"google.protobuf.Struct", SVC_STRUCT},
        {"google.protobuf.Value", SVC_VALUE},
        {"google.protobuf.ListValue", SVC_LIST},
        {"google.protobuf.Timestamp", SVC_TIMESTAMP},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (strcmp(desc->name, table[i].name) == 0)
            return table[i].known;
    return SVC_PLAIN;
}

bool svc_field_is_map(const ProtobufCFieldDescriptor *fd)
{
    if (fd->label != PROTOBUF_C_LABEL_REPEATED || fd->type != PROTOBUF_C_TYPE_MESSAGE)
        return false;
    const ProtobufCMessageDescriptor *entry = fd->descriptor;
    size_t len = strlen(entry->short_name);
    return entry->n_fields == 2 && len > 5 && strcmp(entry->short_name + len - 5, "Entry") == 0 &&
           strcmp(entry->fields[0].name, "key") == 0 && strcmp(entry->fields[1].name, "value") == 0;
}

typedef struct writer {
    vv_buf *out;
    unsigned values; /* Values being inside of */
    unsigned depth;  /* messages, of any kind */
} writer;

static bool write_message(writer *w, const ProtobufCMessageDescriptor *desc, vv_slice bytes);

static void write_name(vv_buf *out, const char *name)
{
    vv_buf_append_u8(out, '"');
    for (const char *p = name; *p != '\0'; p++) {
        if (*p == '_' && p[1] >= 'a' && p[1] <= 'z') {
            p++;
            vv_buf_append_u8(out, (uint8_t)(*p - 'a' + 'A'));
        } else {
            vv_buf_append_u8(out, (uint8_t)*p);
        }
    }
    vv_buf_append_str(out, "\":");
}

static float float_of(uint64_t bits)
{
    uint32_t low = (uint32_t)bits;
    float f;
    memcpy(&f, &low, sizeof f);
    return f;
}

static double double_of(uint64_t bits)
{
    double d;
    memcpy(&d, &bits, sizeof d);
    return d;
}

static int64_t unzigzag(uint64_t v)
{
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

static void write_enum(vv_buf *out, const ProtobufCEnumDescriptor *desc, int32_t number)
{
    const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(desc, number);
    if (value == NULL)
        vv_buf_printf(out, "%" PRId32, number);
    else
        vv_buf_printf(out, "\"%s\"", value->name);
}

wire_type svc_wire_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return WIRE_BYTES;
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return WIRE_FIXED64;
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return WIRE_FIXED32;
    default:
        return WIRE_VARINT;
    }
}

/* value is a varint, or the bits of a fixed field. */
static void write_scalar(vv_buf *out, const ProtobufCFieldDescriptor *fd, uint64_t value)
{
    switch (fd->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        vv_buf_printf(out, "%" PRId32, (int32_t)value);
        break;
    case PROTOBUF_C_TYPE_SINT32:
        vv_buf_printf(out, "%" PRId32, (int32_t)unzigzag((uint32_t)value));
        break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        vv_buf_printf(out, "%" PRIu32, (uint32_t)value);
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        vv_buf_printf(out, "\"%" PRId64 "\"", (int64_t)value);
        break;
    case PROTOBUF_C_TYPE_SINT64:
        vv_buf_printf(out, "\"%" PRId64 "\"", unzigzag(value));
        break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        vv_buf_printf(out, "\"%" PRIu64 "\"", value);
        break;
    case PROTOBUF_C_TYPE_FLOAT:
        json_put_number(out, (double)float_of(value));
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        json_put_number(out, double_of(value));
        break;
    case PROTOBUF_C_TYPE_BOOL:
        vv_buf_append_str(out, value != 0 ? "true" : "false");
        break;
    case PROTOBUF_C_TYPE_ENUM:
        write_enum(out, fd->descriptor, (int32_t)value);
        break;
    default:
        vv_buf_append_str(out, "null"); /* not a scalar: no caller gets here */
        break;
    }
}

static bool write_one(writer *w, const ProtobufCFieldDescriptor *fd, const wire_field *field)
{
    if (field->type != svc_wire_of(fd->type))
        return false;
    if (fd->type == PROTOBUF_C_TYPE_MESSAGE)
        return write_message(w, fd->descriptor, field->bytes);
    if (fd->type == PROTOBUF_C_TYPE_STRING)
        json_put_string(w->out, field->bytes);
    else if (fd->type == PROTOBUF_C_TYPE_BYTES)
        json_put_base64(w->out, field->bytes);
    else
        write_scalar(w->out, fd, field->value);
    return true;
}

/* The elements of one packed occurrence. */
static bool write_packed(writer *w, const ProtobufCFieldDescriptor *fd, vv_slice bytes,
                         size_t *count)
{
    wire_reader r = wire_reader_of(bytes);
    while (r.next < r.end) {
        uint64_t value = 0;
        if (!wire_value(&r, svc_wire_of(fd->type), &value))
            return false;
        if ((*count)++ > 0)
            vv_buf_append_u8(w->out, ',');
        write_scalar(w->out, fd, value);
    }
    return true;
}

/* A map entry as a member of an object: its key, or the empty one, and its value. */
static bool write_entry(writer *w, const ProtobufCMessageDescriptor *entry, vv_slice bytes)
{
    wire_reader r = wire_reader_of(bytes);
    wire_field field = {0};
    wire_field key = {.type = WIRE_BYTES};
    wire_field value = {.type = svc_wire_of(entry->fields[1].type)};
    bool has_key = false;
    while (wire_next(&r, &field) > 0) {
        if (field.number == 1) {
            key = field;
            has_key = true;
        } else if (field.number == 2) {
            value = field;
        }
    }
    if (r.fault != WIRE_GOOD)
        return false;
    if (entry->fields[0].type == PROTOBUF_C_TYPE_STRING || !has_key) {
        if (key.type != WIRE_BYTES)
            return false;
        json_put_string(w->out, key.bytes);
    } else {
        vv_buf_printf(w->out, "\"%" PRId64 "\"", (int64_t)key.value);
    }
    vv_buf_append_u8(w->out, ':');
    return write_one(w, &entry->fields[1], &value);
}

static bool write_repeated(writer *w, const ProtobufCFieldDescriptor *fd, vv_slice bytes,
                           bool named, size_t *members)
{
    bool map = svc_field_is_map(fd), scalar = svc_wire_of(fd->type) != WIRE_BYTES;
    size_t count = 0;
    bool opened = !named;
    wire_reader r = wire_reader_of(bytes);
    wire_field field = {0};
    if (!named)
        vv_buf_append_u8(w->out, map ? '{' : '[');
    while (wire_next(&r, &field) > 0) {
        if (field.number != fd->id)
            continue;
        if (!opened) {
            if ((*members)++ > 0)
                vv_buf_append_u8(w->out, ',');
            write_name(w->out, fd->name);
            vv_buf_append_u8(w->out, map ? '{' : '[');
            opened = true;
        }
        if (scalar && field.type == WIRE_BYTES) {
            if (!write_packed(w, fd, field.bytes, &count))
                return false;
            continue;
        }
        if (count++ > 0)
            vv_buf_append_u8(w->out, ',');
        if (map ? field.type != WIRE_BYTES || !write_entry(w, fd->descriptor, field.bytes)
                : !write_one(w, fd, &field))
            return false;
    }
    if (opened)
        vv_buf_append_u8(w->out, map ? '}' : ']');
    return r.fault == WIRE_GOOD;
}

static bool write_plain(writer *w, const ProtobufCMessageDescriptor *desc, vv_slice bytes)
{
    size_t members = 0;
    vv_buf_append_u8(w->out, '{');
    for (unsigned i = 0; i < desc->n_fields; i++) {
        const ProtobufCFieldDescriptor *fd = &desc->fields[i];
        if (fd->label == PROTOBUF_C_LABEL_REPEATED) {
            if (!write_repeated(w, fd, bytes, true, &members))
                return false;
            continue;
        }
        wire_reader r = wire_reader_of(bytes);
        wire_field field = {0};
        wire_field last = {0};
        bool found = false;
        while (wire_next(&r, &field) > 0)
            if (field.number == fd->id) {
                last = field;
                found = true;
            }
        if (r.fault != WIRE_GOOD)
            return false;
        if (!found)
            continue;
        if (members++ > 0)
            vv_buf_append_u8(w->out, ',');
        write_name(w->out, fd->name);
        if (!write_one(w, fd, &last))
            return false;
    }
    vv_buf_append_u8(w->out, '}');
    return true;
}

static bool write_value(writer *w, const ProtobufCMessageDescriptor *desc, vv_slice bytes)
{
    wire_reader r = wire_reader_of(bytes);
    wire_field field = {0};
    wire_field last = {0};
    const ProtobufCFieldDescriptor *kind = NULL;
    while (wire_next(&r, &field) > 0) {
        const ProtobufCFieldDescriptor *fd =
            protobuf_c_message_descriptor_get_field(desc, field.number);
        if (fd != NULL) {
            kind = fd;
            last = field;
        }
    }
    if (r.fault != WIRE_GOOD)
        return false;
    if (kind == NULL || kind->type == PROTOBUF_C_TYPE_ENUM) { /* null_value */
        vv_buf_append_str(w->out, "null");
        return true;
    }
    if (++w->values > STRUCT_DEPTH_MAX)
        return false;
    bool good = write_one(w, kind, &last);
    w->values--;
    return good;
}

static bool write_timestamp(writer *w, vv_slice bytes)
{
    wire_reader r = wire_reader_of(bytes);
    wire_field field = {0};
    uint64_t part[2] = {0, 0};
    char text[SVC_TIME_TEXT_MAX];
    while (wire_next(&r, &field) > 0)
        if (field.number <= 2) {
            if (field.type != WIRE_VARINT)
                return false;
            part[field.number - 1] = field.value;
        }
    if (r.fault != WIRE_GOOD || !svc_time_format((int64_t)part[0], (int32_t)part[1], text))
        return false;
    json_put_string(w->out, vv_slice_str(text));
    return true;
}

static bool write_known(writer *w, const ProtobufCMessageDescriptor *desc, vv_slice bytes)
{
    size_t members = 0;
    switch (svc_known_of(desc)) {
    case SVC_STRUCT:
    case SVC_LIST: /* one repeated field, and the whole message is its object or array */
        return write_repeated(w, &desc->fields[0], bytes, false, &members);
    case SVC_VALUE:
        return write_value(w, desc, bytes);
    case SVC_TIMESTAMP:
        return write_timestamp(w, bytes);
    default:
        return write_plain(w, desc, bytes);
    }
}

/* A false return leaves half a text behind: the caller cuts it off. */
static bool write_message(writer *w, const ProtobufCMessageDescriptor *desc, vv_slice bytes)
{
    if (w->depth == SVC_JSON_DEPTH_MAX)
        return false;
    w->depth++;
    bool good = write_known(w, desc, bytes);
    w->depth--;
    return good;
}

vv_status svc_json_from_wire(const ProtobufCMessageDescriptor *desc, vv_slice bytes, vv_buf *out,
                             vv_error *err)
{
    size_t before = out->len;
    writer w = {.out = out};
    if (!write_message(&w, desc, bytes)) {
        out->len = before;
        return vv_fail(err, VV_INVALID,
                       "%s: the bytes are not such a message, or values nest deeper than %u",
                       desc->name, STRUCT_DEPTH_MAX);
    }
    if (out->status != VV_OK)
        return vv_fail(err, out->status, "%s as JSON: no room in %zu bytes", desc->name, out->max);
    return VV_OK;
}
