/*
 * svc_json_read.c - JSON text to wire bytes, in one pass and without a tree.
 *
 * The grammar is RFC 8259: no comments, no trailing commas, no leading zeros, strings in UTF-8 with
 * paired surrogates. The descriptor says what is expected at each place, so a value goes from the
 * text straight into the output. Recursion is bounded: each message and each Value counts.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/error.h"
#include "base/utf8.h"
#include "base/util.h"
#include "base/varint.h"
#include "server/svc_json.h"
#include "server/svc_json_int.h"

#define NUMBER_MAX 400u /* characters: more than the longest exact double has digits */

typedef struct reader {
    const uint8_t *begin, *next, *end;
    vv_buf *out;
    vv_buf scratch; /* the last string with escapes, or number */
    unsigned values, depth;
    bool is_otlp;
    vv_error *err;
} reader;

static vv_status read_message(reader *r, const ProtobufCMessageDescriptor *desc);

static vv_status bad(reader *r, const char *what)
{
    return vv_fail(r->err, VV_INVALID, "JSON at byte %td: %s", r->next - r->begin, what);
}

static vv_status bad_field(reader *r, const ProtobufCFieldDescriptor *fd, const char *what)
{
    return vv_fail(r->err, VV_INVALID, "JSON at byte %td: \"%s\" %s", r->next - r->begin, fd->name,
                   what);
}

static int peek(reader *r)
{
    while (r->next < r->end &&
           (*r->next == ' ' || *r->next == '\n' || *r->next == '\r' || *r->next == '\t'))
        r->next++;
    return r->next == r->end ? -1 : *r->next;
}

static bool take(reader *r, char want)
{
    if (peek(r) != want)
        return false;
    r->next++;
    return true;
}

static bool take_word(reader *r, const char *word)
{
    size_t len = strlen(word);
    if (peek(r) < 0 || (size_t)(r->end - r->next) < len || memcmp(r->next, word, len) != 0)
        return false;
    r->next += len;
    return true;
}

/* ---- strings ---- */

static int hex4(const uint8_t *p)
{
    int v = 0;
    for (unsigned i = 0; i < 4; i++) {
        uint8_t c = p[i], lower = c | 0x20;
        if (c >= '0' && c <= '9')
            v = v * 16 + (c - '0');
        else if (lower >= 'a' && lower <= 'f')
            v = v * 16 + (lower - 'a' + 10);
        else
            return -1;
    }
    return v;
}

static void put_utf8(vv_buf *out, uint32_t c)
{
    uint8_t b[4];
    size_t n = 0;
    if (c < 0x80) {
        b[n++] = (uint8_t)c;
    } else if (c < 0x800) {
        b[n++] = (uint8_t)(0xc0 | c >> 6);
        b[n++] = (uint8_t)(0x80 | (c & 63));
    } else if (c < 0x10000) {
        b[n++] = (uint8_t)(0xe0 | c >> 12);
        b[n++] = (uint8_t)(0x80 | (c >> 6 & 63));
        b[n++] = (uint8_t)(0x80 | (c & 63));
    } else {
        b[n++] = (uint8_t)(0xf0 | c >> 18);
        b[n++] = (uint8_t)(0x80 | (c >> 12 & 63));
        b[n++] = (uint8_t)(0x80 | (c >> 6 & 63));
        b[n++] = (uint8_t)(0x80 | (c & 63));
    }
    vv_buf_append(out, b, n);
}

/* \uXXXX, the backslash and the u already taken. */
static vv_status read_unicode(reader *r)
{
    int c = r->end - r->next < 4 ? -1 : hex4(r->next);
    if (c < 0)
        return bad(r, "\\u needs four hexadecimal digits");
    r->next += 4;
    uint32_t code = (uint32_t)c;
    if (code >= 0xd800 && code < 0xe000) {
        int low = code >= 0xdc00 || r->end - r->next < 6 || r->next[0] != '\\' || r->next[1] != 'u'
                      ? -1
                      : hex4(r->next + 2);
        if (low < 0xdc00 || low >= 0xe000)
            return bad(r, "half of a surrogate pair");
        code = 0x10000 + ((code - 0xd800) << 10) + ((uint32_t)low - 0xdc00);
        r->next += 6;
    }
    put_utf8(&r->scratch, code);
    return VV_OK;
}

static vv_status read_escape(reader *r)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (r->next == r->end)
        return bad(r, "the string has no end");
    uint8_t c = *r->next++;
    if (c == 'u')
        return read_unicode(r);
    const char *at = c == 0 ? NULL : strchr(from, c);
    if (at == NULL)
        return bad(r, "no such escape");
    vv_buf_append_u8(&r->scratch, (uint8_t)to[at - from]);
    return VV_OK;
}

/* *out is borrowed from the text or, when it has escapes, from scratch: until the next string. */
static vv_status read_string(reader *r, vv_slice *out)
{
    if (!take(r, '"'))
        return bad(r, "a string is expected");
    const uint8_t *plain = r->next;
    vv_buf_reset(&r->scratch);
    bool escaped = false;
    while (r->next < r->end && *r->next != '"') {
        if (*r->next == '\\') {
            vv_buf_append(&r->scratch, plain, (size_t)(r->next - plain));
            escaped = true;
            r->next++;
            vv_status st = read_escape(r);
            if (st != VV_OK)
                return st;
            plain = r->next;
            continue;
        }
        size_t n = utf8_length(r->next, r->end);
        if (n == 0)
            return bad(r, "the string is not UTF-8");
        if (*r->next < 0x20)
            return bad(r, "a control character inside a string");
        r->next += n;
    }
    if (r->next == r->end)
        return bad(r, "the string has no end");
    if (escaped) {
        vv_buf_append(&r->scratch, plain, (size_t)(r->next - plain));
        if (r->scratch.status != VV_OK)
            return vv_fail(r->err, r->scratch.status, "JSON: no memory for a string");
        *out = vv_buf_slice(&r->scratch);
    } else {
        *out = vv_slice_of(plain, (size_t)(r->next - plain));
    }
    r->next++;
    return VV_OK;
}

/* ---- numbers ---- */

static const uint8_t *skip_digits(const uint8_t *p, const uint8_t *end)
{
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p;
}

/* The characters of one number of the JSON grammar at text's beginning; 0 when there is none. */
static size_t number_len(vv_slice text, bool *integral)
{
    if (text.len == 0)
        return 0;
    const uint8_t *p = text.data, *end = text.data + text.len, *from;
    *integral = true;
    if (*p == '-')
        p++;
    from = p;
    p = skip_digits(p, end);
    if (p == from || (*from == '0' && p > from + 1))
        return 0;
    if (p < end && *p == '.') {
        *integral = false;
        from = ++p;
        p = skip_digits(p, end);
        if (p == from)
            return 0;
    }
    if (p < end && (*p | 0x20) == 'e') {
        *integral = false;
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        from = p;
        p = skip_digits(p, end);
        if (p == from)
            return 0;
    }
    return (size_t)(p - text.data);
}

static bool double_of_text(vv_slice text, double *out)
{
    char copy[NUMBER_MAX + 1];
    if (text.len > NUMBER_MAX)
        return false;
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    *out = strtod(copy, NULL);
    return isfinite(*out);
}

/* A number, or a string that holds one: all of text. */
static vv_status read_number_text(reader *r, vv_slice *text, bool *integral)
{
    int c = peek(r);
    if (c == '"') {
        vv_status st = read_string(r, text);
        if (st != VV_OK)
            return st;
        if (number_len(*text, integral) != text->len || text->len == 0)
            *integral = false; /* NaN and such: the caller looks */
        return VV_OK;
    }
    vv_slice rest = vv_slice_of(r->next, (size_t)(r->end - r->next));
    size_t len = number_len(rest, integral);
    if (len == 0)
        return bad(r, "a number is expected");
    *text = vv_slice_of(r->next, len);
    r->next += len;
    return VV_OK;
}

static vv_status read_double(reader *r, const ProtobufCFieldDescriptor *fd, double *out)
{
    vv_slice text = vv_slice_of(NULL, 0);
    bool integral = false;
    vv_status st = read_number_text(r, &text, &integral);
    if (st != VV_OK)
        return st;
    bool unused;
    if (vv_slice_eq(text, vv_slice_str("NaN")))
        *out = NAN;
    else if (vv_slice_eq(text, vv_slice_str("Infinity")))
        *out = INFINITY;
    else if (vv_slice_eq(text, vv_slice_str("-Infinity")))
        *out = -INFINITY;
    else if (text.len == 0 || number_len(text, &unused) != text.len || !double_of_text(text, out))
        return bad_field(r, fd, "needs a number in the range of a double");
    return VV_OK;
}

/* Magnitude and sign, exact; a fraction or exponent is accepted when the worth is whole. */
static bool integer_of_text(vv_slice text, bool integral, uint64_t *magnitude, bool *negative)
{
    bool unused;
    if (text.len == 0 || number_len(text, &unused) != text.len)
        return false;
    *negative = text.data[0] == '-';
    *magnitude = 0;
    if (!integral) {
        double d;
        if (!double_of_text(text, &d) || d != floor(d) || fabs(d) > 9007199254740992.0)
            return false;
        *magnitude = (uint64_t)fabs(d);
        return true;
    }
    for (size_t i = *negative; i < text.len; i++) {
        uint64_t digit = (uint64_t)(text.data[i] - '0');
        if (__builtin_mul_overflow(*magnitude, 10, magnitude) ||
            __builtin_add_overflow(*magnitude, digit, magnitude))
            return false;
    }
    return true;
}

typedef struct range {
    bool is_signed;
    unsigned bits;
} range;

static range range_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_ENUM:
        return (range){true, 32};
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return (range){false, 32};
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return (range){false, 64};
    default:
        return (range){true, 64};
    }
}

/* The 64 bits of an integer field, sign extended. */
static vv_status read_integer(reader *r, const ProtobufCFieldDescriptor *fd, uint64_t *out)
{
    vv_slice text = vv_slice_of(NULL, 0);
    bool integral = false, negative = false;
    uint64_t magnitude = 0;
    vv_status st = read_number_text(r, &text, &integral);
    if (st != VV_OK)
        return st;
    if (!integer_of_text(text, integral, &magnitude, &negative))
        return bad_field(r, fd, "needs a whole number");
    range fits = range_of(fd->type);
    uint64_t top = UINT64_MAX >> (64 - fits.bits);
    if (fits.is_signed)
        top = (top >> 1) + negative;
    else if (negative && magnitude > 0)
        top = 0;
    if (magnitude > top)
        return bad_field(r, fd, "is out of range");
    *out = negative ? 0 - magnitude : magnitude;
    return VV_OK;
}

/* ---- scalar fields ---- */

static bool is_hex_field(const reader *r, const ProtobufCFieldDescriptor *fd)
{
    return r->is_otlp && (strcmp(fd->name, "trace_id") == 0 || strcmp(fd->name, "span_id") == 0 ||
                          strcmp(fd->name, "parent_span_id") == 0);
}

static vv_status put_hex_field(reader *r, const ProtobufCFieldDescriptor *fd, vv_slice text)
{
    if (text.len % 2 != 0)
        return bad_field(r, fd, "is not hexadecimal");
    wire_put_head(r->out, fd->id, text.len / 2);
    for (size_t i = 0; i < text.len; i += 2) {
        const uint8_t pair[4] = {'0', '0', text.data[i], text.data[i + 1]};
        int byte = hex4(pair);
        if (byte < 0)
            return bad_field(r, fd, "is not hexadecimal");
        vv_buf_append_u8(r->out, (uint8_t)byte);
    }
    return VV_OK;
}

static vv_status read_bytes(reader *r, const ProtobufCFieldDescriptor *fd)
{
    vv_slice text = vv_slice_of(NULL, 0);
    vv_status st = read_string(r, &text);
    if (st != VV_OK)
        return st;
    if (is_hex_field(r, fd))
        return put_hex_field(r, fd, text);
    for (unsigned pads = 0; pads < 2 && text.len > 0 && text.data[text.len - 1] == '='; pads++)
        text.len--;
    if (text.len % 4 == 1)
        return bad_field(r, fd, "is not base64");
    wire_put_head(r->out, fd->id, text.len * 3 / 4);
    uint32_t bits = 0;
    unsigned have = 0;
    for (size_t i = 0; i < text.len; i++) {
        int digit = vv_base64_digit(text.data[i]);
        if (digit < 0)
            return bad_field(r, fd, "is not base64");
        bits = bits << 6 | (uint32_t)digit;
        have += 6;
        if (have >= 8) {
            have -= 8;
            vv_buf_append_u8(r->out, (uint8_t)(bits >> have));
        }
    }
    return VV_OK;
}

static vv_status read_enum(reader *r, const ProtobufCFieldDescriptor *fd, uint64_t *out)
{
    if (peek(r) != '"')
        return read_integer(r, fd, out);
    vv_slice text = vv_slice_of(NULL, 0);
    vv_status st = read_string(r, &text);
    if (st != VV_OK)
        return st;
    const ProtobufCEnumDescriptor *desc = fd->descriptor;
    for (unsigned i = 0; i < desc->n_value_names; i++)
        if (vv_slice_eq(text, vv_slice_str(desc->values_by_name[i].name))) {
            *out = (uint64_t)(int64_t)desc->values[desc->values_by_name[i].index].value;
            return VV_OK;
        }
    return bad_field(r, fd, "has no such value");
}

static uint64_t zigzag(uint64_t v)
{
    return v << 1 ^ (0 - (v >> 63));
}

static vv_status read_number_field(reader *r, const ProtobufCFieldDescriptor *fd)
{
    uint64_t value = 0;
    double d = 0;
    vv_status st;
    switch (fd->type) {
    case PROTOBUF_C_TYPE_DOUBLE:
        st = read_double(r, fd, &d);
        if (st == VV_OK)
            wire_put_double_always(r->out, fd->id, d);
        return st;
    case PROTOBUF_C_TYPE_FLOAT: {
        st = read_double(r, fd, &d);
        float f = (float)d;
        uint32_t bits;
        memcpy(&bits, &f, sizeof bits);
        if (st == VV_OK)
            wire_put_fixed32(r->out, fd->id, bits);
        return st;
    }
    case PROTOBUF_C_TYPE_BOOL:
        if (take_word(r, "true"))
            wire_put_varint(r->out, fd->id, 1);
        else if (!take_word(r, "false"))
            return bad_field(r, fd, "needs true or false");
        else
            wire_put_varint(r->out, fd->id, 0);
        return VV_OK;
    case PROTOBUF_C_TYPE_ENUM:
        st = read_enum(r, fd, &value);
        break;
    default:
        st = read_integer(r, fd, &value);
        break;
    }
    if (st != VV_OK)
        return st;
    if (fd->type == PROTOBUF_C_TYPE_SINT32 || fd->type == PROTOBUF_C_TYPE_SINT64)
        value = zigzag(value);
    if (svc_wire_of(fd->type) == WIRE_FIXED64)
        wire_put_fixed64(r->out, fd->id, value);
    else if (svc_wire_of(fd->type) == WIRE_FIXED32)
        wire_put_fixed32(r->out, fd->id, (uint32_t)value);
    else
        wire_put_varint(r->out, fd->id, value);
    return VV_OK;
}

/* ---- messages ---- */

static vv_status read_timestamp(reader *r)
{
    vv_slice text = vv_slice_of(NULL, 0);
    int64_t seconds;
    int32_t nanos;
    vv_status st = read_string(r, &text);
    if (st != VV_OK)
        return st;
    if (!svc_time_parse(text, &seconds, &nanos))
        return bad(r, "a time is written as 2026-07-01T12:30:00.25Z (RFC 3339)");
    wire_put_varint(r->out, 1, (uint64_t)seconds);
    wire_put_varint(r->out, 2, (uint64_t)nanos);
    return VV_OK;
}

/* One field's value, its tag included; for a repeated field one element. */
static vv_status read_one(reader *r, const ProtobufCFieldDescriptor *fd)
{
    if (fd->type == PROTOBUF_C_TYPE_MESSAGE) {
        size_t mark = wire_begin(r->out, fd->id);
        vv_status st = read_message(r, fd->descriptor);
        wire_end(r->out, mark);
        return st;
    }
    if (fd->type == PROTOBUF_C_TYPE_BYTES)
        return read_bytes(r, fd);
    if (fd->type == PROTOBUF_C_TYPE_STRING) {
        vv_slice text = vv_slice_of(NULL, 0);
        vv_status st = read_string(r, &text);
        if (st == VV_OK)
            wire_put_bytes(r->out, fd->id, text);
        return st;
    }
    return read_number_field(r, fd);
}

/* After '[' or '{' and between members: more to come? */
static vv_status next_member(reader *r, char close, bool *first, bool *more)
{
    if (take(r, close)) {
        *more = false;
        return VV_OK;
    }
    if (!*first && !take(r, ','))
        return bad(r, close == '}' ? "',' or '}' is expected" : "',' or ']' is expected");
    if (!*first && peek(r) == close)
        return bad(r, "a comma with nothing behind it");
    *first = false;
    *more = true;
    return VV_OK;
}

static vv_status read_array(reader *r, const ProtobufCFieldDescriptor *fd)
{
    bool first = true, more = false;
    vv_status st;
    if (!take(r, '['))
        return bad_field(r, fd, "needs an array");
    while ((st = next_member(r, ']', &first, &more)) == VV_OK && more) {
        st = read_one(r, fd);
        if (st != VV_OK)
            return st;
    }
    return st;
}

static vv_status read_map(reader *r, const ProtobufCFieldDescriptor *fd)
{
    const ProtobufCMessageDescriptor *entry = fd->descriptor;
    bool first = true, more = false;
    vv_status st;
    if (!take(r, '{'))
        return bad_field(r, fd, "needs an object");
    if (entry->fields[0].type != PROTOBUF_C_TYPE_STRING)
        return bad_field(r, fd, "has keys that are not strings");
    while ((st = next_member(r, '}', &first, &more)) == VV_OK && more) {
        vv_slice key = vv_slice_of(NULL, 0);
        st = read_string(r, &key);
        if (st != VV_OK)
            return st;
        size_t mark = wire_begin(r->out, fd->id);
        wire_put_bytes(r->out, entry->fields[0].id, key);
        if (!take(r, ':'))
            return bad(r, "':' is expected");
        st = read_one(r, &entry->fields[1]);
        wire_end(r->out, mark);
        if (st != VV_OK)
            return st;
    }
    return st;
}

static bool name_is(const char *name, vv_slice text)
{
    if (vv_slice_eq(text, vv_slice_str(name)))
        return true;
    size_t i = 0;
    for (; *name != '\0'; name++, i++) { /* lowerCamelCase */
        char c = *name;
        if (c == '_' && name[1] >= 'a' && name[1] <= 'z')
            c = (char)(*++name - 'a' + 'A');
        if (i == text.len || text.data[i] != (uint8_t)c)
            return false;
    }
    return i == text.len;
}

static const ProtobufCFieldDescriptor *find_field(const ProtobufCMessageDescriptor *desc,
                                                  vv_slice name)
{
    for (unsigned i = 0; i < desc->n_fields; i++)
        if (name_is(desc->fields[i].name, name))
            return &desc->fields[i];
    return NULL;
}

static bool is_value_field(const ProtobufCFieldDescriptor *fd)
{
    return fd->type == PROTOBUF_C_TYPE_MESSAGE && fd->label != PROTOBUF_C_LABEL_REPEATED &&
           svc_known_of(fd->descriptor) == SVC_VALUE;
}

static vv_status skip_value(reader *r);

/* The members of an object or an array that nobody knows. */
static vv_status skip_members(reader *r, char close)
{
    bool first = true, more = false;
    vv_status st;
    r->next++;
    while ((st = next_member(r, close, &first, &more)) == VV_OK && more) {
        vv_slice name;
        if (close == '}') {
            st = read_string(r, &name);
            if (st == VV_OK && !take(r, ':'))
                st = bad(r, "':' is expected");
        }
        if (st == VV_OK)
            st = skip_value(r);
        if (st != VV_OK)
            return st;
    }
    return st;
}

static vv_status skip_value(reader *r)
{
    vv_slice text;
    bool integral;
    int c = peek(r);
    vv_status st = VV_OK;
    if (r->depth == SVC_JSON_DEPTH_MAX)
        return bad(r, "objects nest too deep");
    r->depth++;
    if (c == '{' || c == '[')
        st = skip_members(r, c == '{' ? '}' : ']');
    else if (c == '"')
        st = read_string(r, &text);
    else if (!take_word(r, "true") && !take_word(r, "false") && !take_word(r, "null"))
        st = read_number_text(r, &text, &integral);
    r->depth--;
    return st;
}

static vv_status skip_unknown(reader *r)
{
    return take(r, ':') ? skip_value(r) : bad(r, "':' is expected");
}

static vv_status read_plain(reader *r, const ProtobufCMessageDescriptor *desc)
{
    bool first = true, more = false;
    uint64_t seen = 0; /* by place in desc */
    vv_status st;
    if (!take(r, '{'))
        return vv_fail(r->err, VV_INVALID, "JSON at byte %td: %s needs an object",
                       r->next - r->begin, desc->name);
    while ((st = next_member(r, '}', &first, &more)) == VV_OK && more) {
        vv_slice name = vv_slice_of(NULL, 0);
        st = read_string(r, &name);
        if (st != VV_OK)
            return st;
        const ProtobufCFieldDescriptor *fd = find_field(desc, name);
        if (fd == NULL && r->is_otlp) {
            st = skip_unknown(r);
            if (st != VV_OK)
                return st;
            continue;
        }
        if (fd == NULL)
            return vv_fail(r->err, VV_INVALID, "JSON at byte %td: %s has no field \"%.*s\"",
                           r->next - r->begin, desc->name, (int)vv_min_u64(name.len, 64),
                           (const char *)name.data);
        uint64_t bit = UINT64_C(1) << (size_t)(fd - desc->fields) % 64;
        assert(desc->n_fields <= 64);
        if ((seen & bit) != 0)
            return bad_field(r, fd, "is given twice");
        seen |= bit;
        if (!take(r, ':'))
            return bad(r, "':' is expected");
        if (!is_value_field(fd) && take_word(r, "null"))
            continue; /* the same as not being there */
        if (fd->label != PROTOBUF_C_LABEL_REPEATED)
            st = read_one(r, fd);
        else
            st = svc_field_is_map(fd) ? read_map(r, fd) : read_array(r, fd);
        if (st != VV_OK)
            return st;
    }
    return st;
}

/* The number of a Value. It is a double: a literal that would be rounded is refused, not stored as
 * another number. */
static vv_status read_value_number(reader *r, const ProtobufCFieldDescriptor *fd)
{
    bool integral;
    size_t left = (size_t)(r->end - r->next);
    size_t len = left == 0 ? 0 : number_len(vv_slice_of(r->next, left), &integral);
    if (json_is_big_integer(vv_slice_of(r->next, len)))
        return bad(r, "an integer beyond 2^53 does not fit a number exactly: write it as a string");
    return read_one(r, fd);
}

/* google.protobuf.Value, its fields in the order of struct.proto: null, number, string, bool,
 * struct, list. */
static vv_status read_value_body(reader *r, const ProtobufCMessageDescriptor *desc)
{
    int c = peek(r);
    if (take_word(r, "null")) {
        wire_put_varint(r->out, desc->fields[0].id, 0);
        return VV_OK;
    }
    if (c == '{')
        return read_one(r, &desc->fields[4]);
    if (c == '[')
        return read_one(r, &desc->fields[5]);
    if (c == '"')
        return read_one(r, &desc->fields[2]);
    if (c == 't' || c == 'f')
        return read_one(r, &desc->fields[3]);
    return read_value_number(r, &desc->fields[1]);
}

static vv_status read_value(reader *r, const ProtobufCMessageDescriptor *desc)
{
    if (r->values == STRUCT_DEPTH_MAX)
        return vv_fail(r->err, VV_INVALID, "JSON at byte %td: values nest deeper than %u",
                       r->next - r->begin, STRUCT_DEPTH_MAX);
    r->values++;
    vv_status st = read_value_body(r, desc);
    r->values--;
    return st;
}

static vv_status read_known(reader *r, const ProtobufCMessageDescriptor *desc)
{
    switch (svc_known_of(desc)) {
    case SVC_STRUCT:
        return read_map(r, &desc->fields[0]);
    case SVC_LIST:
        return read_array(r, &desc->fields[0]);
    case SVC_VALUE:
        return read_value(r, desc);
    case SVC_TIMESTAMP:
        return read_timestamp(r);
    default:
        return read_plain(r, desc);
    }
}

static vv_status read_message(reader *r, const ProtobufCMessageDescriptor *desc)
{
    if (r->depth == SVC_JSON_DEPTH_MAX)
        return bad(r, "objects nest too deep");
    r->depth++;
    vv_status st = read_known(r, desc);
    r->depth--;
    return st;
}

static vv_status to_wire(const ProtobufCMessageDescriptor *desc, vv_slice text, bool is_otlp,
                         vv_buf *out, vv_error *err)
{
    static const uint8_t none[1];
    const uint8_t *begin = text.data == NULL ? none : text.data;
    reader r = {.begin = begin,
                .next = begin,
                .end = begin + text.len,
                .out = out,
                .is_otlp = is_otlp,
                .err = err};
    vv_buf_init(&r.scratch, text.len + NUMBER_MAX);
    vv_status st = read_message(&r, desc);
    if (st == VV_OK && peek(&r) >= 0)
        st = bad(&r, "text behind the end of the object");
    if (st == VV_OK && out->status != VV_OK)
        st = vv_fail(err, out->status, "%s: needs more than %zu bytes", desc->name, out->max);
    vv_buf_fini(&r.scratch);
    return st;
}

vv_status svc_json_to_wire(const ProtobufCMessageDescriptor *desc, vv_slice text, vv_buf *out,
                           vv_error *err)
{
    return to_wire(desc, text, false, out, err);
}

vv_status svc_json_to_wire_otlp(const ProtobufCMessageDescriptor *desc, vv_slice text, vv_buf *out,
                                vv_error *err)
{
    return to_wire(desc, text, true, out, err);
}
