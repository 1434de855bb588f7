/*
 * struct_json_read.c - the reader's half of struct_json.h: RFC 8259 text to Struct bytes.
 *
 * One pass, recursive to STRUCT_DEPTH_MAX, writing wire bytes as it reads: each nested message is
 * begun with a one-byte length that wire_end widens when it must. Input is refused, never repaired.
 */
#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "query/struct_json.h"

#include "base/utf8.h"

typedef struct reader {
    const uint8_t *begin;
    const uint8_t *p;
    const uint8_t *end;
    vv_buf *out;
    uint64_t *big;     /* counts integers that became strings; NULL: they are refused */
    const char *cause; /* of the first failure, NULL before */
} reader;

static bool refuse(reader *r, const char *cause)
{
    if (r->cause == NULL)
        r->cause = cause;
    return false;
}

static void skip_space(reader *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' || *r->p == '\n' || *r->p == '\r'))
        r->p++;
}

static bool take(reader *r, char c)
{
    skip_space(r);
    if (r->p == r->end || *r->p != (uint8_t)c)
        return false;
    r->p++;
    return true;
}

static bool read_hex4(reader *r, uint32_t *out)
{
    uint32_t v = 0;
    if (r->end - r->p < 4)
        return refuse(r, "the text ends inside a \\u escape");
    for (int i = 0; i < 4; i++, r->p++) {
        uint8_t c = *r->p;
        uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                                : 16;
        if (digit == 16)
            return refuse(r, "a \\u escape needs four hexadecimal digits");
        v = v << 4 | digit;
    }
    *out = v;
    return true;
}

static bool read_unicode(reader *r)
{
    uint32_t c;
    uint32_t low;
    uint8_t bytes[4];
    if (!read_hex4(r, &c))
        return false;
    if (c >= 0xd800 && c < 0xdc00) {
        if (r->end - r->p < 2 || r->p[0] != '\\' || r->p[1] != 'u')
            return refuse(r, "a high surrogate without its low one");
        r->p += 2;
        if (!read_hex4(r, &low))
            return false;
        if (low < 0xdc00 || low > 0xdfff)
            return refuse(r, "a high surrogate without its low one");
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    } else if (c >= 0xdc00 && c < 0xe000) {
        return refuse(r, "a low surrogate without its high one");
    }
    vv_buf_append(r->out, bytes, utf8_put(bytes, c));
    return true;
}

static bool read_escape(reader *r)
{
    static const char from[] = "\"\\/bfnrt";
    static const char to[] = "\"\\/\b\f\n\r\t";
    if (r->p == r->end)
        return refuse(r, "the text ends inside a string");
    uint8_t c = *r->p++;
    if (c == 'u')
        return read_unicode(r);
    for (size_t i = 0; from[i] != 0; i++)
        if ((uint8_t)from[i] == c) {
            vv_buf_append_u8(r->out, (uint8_t)to[i]);
            return true;
        }
    r->p--;
    return refuse(r, "an unknown escape in a string");
}

/* A string literal as bytes field `number`. */
static bool read_string(reader *r, uint32_t number)
{
    if (!take(r, '"'))
        return refuse(r, "expected a string");
    size_t begin = wire_begin(r->out, number);
    for (;;) {
        const uint8_t *plain = r->p;
        while (r->p < r->end && *r->p >= 0x20 && *r->p < 0x80 && *r->p != '"' && *r->p != '\\')
            r->p++;
        vv_buf_append(r->out, plain, (size_t)(r->p - plain));
        if (r->p == r->end)
            return refuse(r, "the text ends inside a string");
        if (*r->p == '"')
            break;
        if (*r->p == '\\') {
            r->p++;
            if (!read_escape(r))
                return false;
            continue;
        }
        size_t n = utf8_length(r->p, r->end);
        if (n < 2)
            return refuse(r, n == 0 ? "a string with bytes that are not UTF-8"
                                    : "a control character in a string");
        vv_buf_append(r->out, r->p, n);
        r->p += n;
    }
    r->p++;
    wire_end(r->out, begin);
    return true;
}

static const uint8_t *skip_digits(const uint8_t *p, const uint8_t *end)
{
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p;
}

/* The end of the number that begins at p, by the grammar of RFC 8259; NULL when there is none. */
static const uint8_t *number_end(const uint8_t *p, const uint8_t *end)
{
    if (p < end && *p == '-')
        p++;
    const uint8_t *digits = p;
    p = skip_digits(p, end);
    if (p == digits || (*digits == '0' && p - digits > 1))
        return NULL;
    if (p < end && *p == '.') {
        digits = ++p;
        p = skip_digits(p, end);
        if (p == digits)
            return NULL;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        digits = p;
        p = skip_digits(p, end);
        if (p == digits)
            return NULL;
    }
    return p;
}

/* Up to 15 digits and no exponent: the quotient of two exact doubles is rounded right (Clinger,
 * "How to read floating point numbers accurately", PLDI 1990). */
static bool fast_number(const uint8_t *p, const uint8_t *end, double *out)
{
    static const double power[] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                   1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    bool negative = *p == '-';
    int64_t mantissa = 0;
    int digits = 0;
    int places = 0;
    bool fraction = false;
    for (p += negative; p < end; p++) {
        if (*p == '.') {
            fraction = true;
            continue;
        }
        if (*p < '0' || *p > '9' || ++digits > 15)
            return false;
        mantissa = mantissa * 10 + (*p - '0');
        places += fraction;
    }
    double v = (double)mantissa / power[places];
    *out = negative ? -v : v;
    return true;
}

bool json_read_number(vv_slice text, double *out)
{
    char copy[400];
    const uint8_t *end = text.len == 0 ? text.data : text.data + text.len;
    if (text.len == 0 || number_end(text.data, end) != end)
        return false;
    if (fast_number(text.data, end, out))
        return true;
    if (text.len >= sizeof copy)
        return false;
    memcpy(copy, text.data, text.len);
    copy[text.len] = 0;
    double v = strtod(copy, NULL);
    if (isinf(v))
        return false;
    *out = v;
    return true;
}

static bool read_number(reader *r)
{
    double v;
    const uint8_t *end = number_end(r->p, r->end);
    if (end == NULL)
        return refuse(r, "expected a value");
    vv_slice text = vv_slice_of(r->p, (size_t)(end - r->p));
    if (json_is_big_integer(text)) {
        if (r->big == NULL)
            return refuse(r, "an integer beyond 2^53 does not fit a number exactly: write it as a "
                             "string");
        ++*r->big;
        r->p = end;
        wire_put_bytes(r->out, VALUE_STRING, text);
        return true;
    }
    if (!json_read_number(text, &v))
        return refuse(r, "a number that no double can hold");
    r->p = end;
    wire_put_double_always(r->out, VALUE_NUMBER, v);
    return true;
}

static bool read_word(reader *r, const char *word, uint32_t number, uint8_t value)
{
    size_t n = strlen(word);
    if ((size_t)(r->end - r->p) < n || memcmp(r->p, word, n) != 0)
        return refuse(r, "expected a value");
    r->p += n;
    wire_put_tag(r->out, number, WIRE_VARINT);
    vv_buf_append_u8(r->out, value);
    return true;
}

static bool read_object(reader *r, unsigned depth);
static bool read_list(reader *r, unsigned depth);

/* One value as the content of a Value message. */
static bool read_value(reader *r, unsigned depth)
{
    bool ok;
    size_t begin;
    skip_space(r);
    if (r->p == r->end)
        return refuse(r, "the text ends where a value must come");
    switch (*r->p) {
    case '{':
    case '[':
        if (depth == 0)
            return refuse(r, "nested deeper than 64 levels");
        begin = wire_begin(r->out, *r->p == '{' ? VALUE_STRUCT : VALUE_LIST);
        ok = *r->p == '{' ? read_object(r, depth - 1) : read_list(r, depth - 1);
        wire_end(r->out, begin);
        return ok;
    case '"':
        return read_string(r, VALUE_STRING);
    case 't':
        return read_word(r, "true", VALUE_BOOL, 1);
    case 'f':
        return read_word(r, "false", VALUE_BOOL, 0);
    case 'n':
        return read_word(r, "null", VALUE_NULL, 0);
    default:
        return read_number(r);
    }
}

static bool read_list(reader *r, unsigned depth)
{
    r->p++;
    if (take(r, ']'))
        return true;
    do {
        size_t begin = wire_begin(r->out, LIST_VALUES);
        if (!read_value(r, depth))
            return false;
        wire_end(r->out, begin);
    } while (take(r, ','));
    return take(r, ']') || refuse(r, "expected ',' or ']'");
}

static bool read_object(reader *r, unsigned depth)
{
    if (!take(r, '{'))
        return refuse(r, "expected '{'");
    if (take(r, '}'))
        return true;
    do {
        size_t entry = wire_begin(r->out, STRUCT_FIELDS);
        if (!read_string(r, STRUCT_ENTRY_KEY))
            return false;
        if (!take(r, ':'))
            return refuse(r, "expected ':'");
        size_t begin = wire_begin(r->out, STRUCT_ENTRY_VALUE);
        if (!read_value(r, depth))
            return false;
        wire_end(r->out, begin);
        wire_end(r->out, entry);
    } while (take(r, ','));
    return take(r, '}') || refuse(r, "expected ',' or '}'");
}

static vv_status finish(reader *r, bool ok, size_t *used, vv_error *err)
{
    if (ok && used == NULL) {
        skip_space(r);
        if (r->p != r->end)
            ok = refuse(r, "something follows the JSON value");
    }
    if (!ok)
        return vv_fail(err, VV_INVALID, "JSON: column %zu: %s", (size_t)(r->p - r->begin) + 1,
                       r->cause);
    if (r->out->status != VV_OK)
        return vv_fail(err, r->out->status, "JSON: the value needs over %zu bytes", r->out->max);
    if (used != NULL)
        *used = (size_t)(r->p - r->begin);
    return VV_OK;
}

static reader reader_of(vv_slice text, vv_buf *out)
{
    const uint8_t *end = text.len == 0 ? text.data : text.data + text.len;
    return (reader){.begin = text.data, .p = text.data, .end = end, .out = out};
}

vv_status json_read_struct(vv_slice text, size_t *used, vv_buf *out, vv_error *err)
{
    reader r = reader_of(text, out);
    bool ok = read_object(&r, STRUCT_DEPTH_MAX);
    return finish(&r, ok, used, err);
}

vv_status json_read_struct_big(vv_slice text, vv_buf *out, uint64_t *big, vv_error *err)
{
    reader r = reader_of(text, out);
    r.big = big;
    bool ok = read_object(&r, STRUCT_DEPTH_MAX);
    return finish(&r, ok, NULL, err);
}

vv_status json_read_value(vv_slice text, size_t *used, vv_buf *out, vv_error *err)
{
    reader r = reader_of(text, out);
    bool ok = read_value(&r, STRUCT_DEPTH_MAX);
    return finish(&r, ok, used, err);
}

vv_status json_read_value_big(vv_slice text, vv_buf *out, uint64_t *big, vv_error *err)
{
    reader r = reader_of(text, out);
    r.big = big;
    bool ok = read_value(&r, STRUCT_DEPTH_MAX);
    return finish(&r, ok, NULL, err);
}
