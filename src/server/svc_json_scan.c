/*
 * svc_json_scan.c - see svc_json_scan.h. Nothing is built: a value is the bytes it stands in.
 */
#include "server/svc_json_scan.h"

#include <assert.h>
#include <string.h>

#include "base/error.h"
#include "base/utf8.h"

svc_scan svc_scan_of(vv_slice text)
{
    static const uint8_t none[1];
    const uint8_t *begin = text.data == NULL ? none : text.data;
    return (svc_scan){begin, begin, begin + text.len};
}

static const uint8_t *skip_space(const uint8_t *p, const uint8_t *end)
{
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
        p++;
    return p;
}

static int hex_digit(uint8_t c)
{
    const uint8_t lower = c | 0x20;
    if (c >= '0' && c <= '9')
        return c - '0';
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* The four digits of \uXXXX; -1: they are none. */
static int hex4(const uint8_t *p, const uint8_t *end)
{
    int v = 0;
    if (end - p < 4)
        return -1;
    for (unsigned i = 0; i < 4; i++) {
        int digit = hex_digit(p[i]);
        if (digit < 0)
            return -1;
        v = v * 16 + digit;
    }
    return v;
}

/* Each of these gives the end of what begins at p; NULL: there is none, and *at is the place. */

/* Behind a backslash. */
static const uint8_t *skip_escape(const uint8_t *p, const uint8_t *end)
{
    static const char known[] = {'"', '\\', '/', 'b', 'f', 'n', 'r', 't'};
    if (p == end)
        return NULL;
    if (*p != 'u')
        return memchr(known, *p, sizeof known) != NULL ? p + 1 : NULL;
    int high = hex4(p + 1, end);
    if (high < 0)
        return NULL;
    p += 5;
    if (high < 0xd800 || high >= 0xe000)
        return p;
    if (high >= 0xdc00 || end - p < 6 || p[0] != '\\' || p[1] != 'u')
        return NULL;
    int low = hex4(p + 2, end);
    return low >= 0xdc00 && low < 0xe000 ? p + 6 : NULL;
}

static const uint8_t *skip_string(const uint8_t *p, const uint8_t *end, const uint8_t **at)
{
    *at = p;
    if (p == end || *p++ != '"')
        return NULL;
    while (p < end && *p != '"') {
        *at = p;
        size_t n = *p < 0x20 ? 0 : utf8_length(p, end);
        const uint8_t *next = *p == '\\' ? skip_escape(p + 1, end) : n > 0 ? p + n : NULL;
        if (next == NULL)
            return NULL;
        p = next;
    }
    return p < end ? p + 1 : NULL;
}

static const uint8_t *skip_digits(const uint8_t *p, const uint8_t *end)
{
    const uint8_t *from = p;
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p == from ? NULL : p;
}

static const uint8_t *skip_number(const uint8_t *p, const uint8_t *end, bool *integral)
{
    *integral = true;
    if (p < end && *p == '-')
        p++;
    const uint8_t *from = p;
    p = skip_digits(p, end);
    if (p == NULL || (*from == '0' && p > from + 1))
        return NULL;
    if (p < end && *p == '.') {
        *integral = false;
        p = skip_digits(p + 1, end);
    }
    if (p != NULL && p < end && (*p | 0x20) == 'e') {
        *integral = false;
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        p = skip_digits(p, end);
    }
    return p;
}

static const uint8_t *skip_word(const uint8_t *p, const uint8_t *end, const char *word)
{
    const size_t len = strlen(word);
    return (size_t)(end - p) >= len && memcmp(p, word, len) == 0 ? p + len : NULL;
}

static const uint8_t *skip_value(const uint8_t *p, const uint8_t *end, unsigned depth,
                                 svc_scan_kind *kind, const uint8_t **at);

/* Behind the opening bracket. */
static const uint8_t *skip_members(const uint8_t *p, const uint8_t *end, uint8_t close,
                                   unsigned depth, const uint8_t **at)
{
    svc_scan_kind kind;
    p = skip_space(p, end);
    if (p < end && *p == close)
        return p + 1;
    for (;;) {
        p = skip_space(p, end);
        if (close == '}') {
            p = skip_string(p, end, at);
            if (p == NULL)
                return NULL;
            p = skip_space(p, end);
            *at = p;
            if (p == end || *p++ != ':')
                return NULL;
            p = skip_space(p, end);
        }
        p = skip_value(p, end, depth, &kind, at);
        if (p == NULL)
            return NULL;
        p = skip_space(p, end);
        *at = p;
        if (p == end || (*p != ',' && *p != close))
            return NULL;
        if (*p++ == close)
            return p;
    }
}

static const uint8_t *skip_value(const uint8_t *p, const uint8_t *end, unsigned depth,
                                 svc_scan_kind *kind, const uint8_t **at)
{
    bool integral = false;
    *at = p;
    if (p == end || depth == SVC_SCAN_DEPTH_MAX)
        return NULL;
    switch (*p) {
    case '{':
    case '[':
        *kind = *p == '{' ? SVC_SCAN_OBJECT : SVC_SCAN_ARRAY;
        return skip_members(p + 1, end, *p == '{' ? '}' : ']', depth + 1, at);
    case '"':
        *kind = SVC_SCAN_STRING;
        return skip_string(p, end, at);
    case 't':
        *kind = SVC_SCAN_TRUE;
        return skip_word(p, end, "true");
    case 'f':
        *kind = SVC_SCAN_FALSE;
        return skip_word(p, end, "false");
    case 'n':
        *kind = SVC_SCAN_NULL;
        return skip_word(p, end, "null");
    default:
        p = skip_number(p, end, &integral);
        *kind = integral ? SVC_SCAN_INTEGER : SVC_SCAN_NUMBER;
        return p;
    }
}

vv_status svc_scan_next(svc_scan *s, svc_scan_value *out, vv_error *err)
{
    const uint8_t *at = s->next;
    assert(out != NULL);
    s->next = skip_space(s->next, s->end);
    if (s->next == s->end)
        return VV_NOT_FOUND;
    svc_scan_kind kind = SVC_SCAN_NULL;
    const uint8_t *end = skip_value(s->next, s->end, 0, &kind, &at);
    if (end == NULL)
        return vv_fail(err, VV_INVALID, "JSON at byte %td: no value can be read here",
                       at - s->begin);
    *out = (svc_scan_value){.kind = kind, .text = vv_slice_of(s->next, (size_t)(end - s->next))};
    s->next = end;
    return VV_OK;
}

/* ---- inside a value that was checked ---- */

/* The value at p, and what follows it. */
static const uint8_t *value_at(const uint8_t *p, const uint8_t *end, svc_scan_value *out)
{
    const uint8_t *at = NULL;
    p = skip_space(p, end);
    *out = (svc_scan_value){.kind = SVC_SCAN_NULL};
    const uint8_t *next = skip_value(p, end, 0, &out->kind, &at);
    assert(next != NULL);
    out->text = vv_slice_of(p, (size_t)(next - p));
    return skip_space(next, end);
}

/* Behind the bracket or the comma; NULL at the end. */
static const uint8_t *enter(const svc_scan_value *list)
{
    const uint8_t *end = list->text.data + list->text.len;
    const uint8_t *p = skip_space(list->text.data + list->at + (list->at == 0), end);
    return list->at >= list->text.len || *p == ']' || *p == '}' ? NULL : p;
}

/* Past the comma, or the bracket. */
static void leave(svc_scan_value *list, const uint8_t *p)
{
    list->at = (size_t)(p - list->text.data) + 1;
}

bool svc_scan_member(svc_scan_value *object, svc_scan_value *name, svc_scan_value *value)
{
    const uint8_t *end = object->text.data + object->text.len;
    const uint8_t *p = enter(object);
    if (p == NULL)
        return false;
    p = value_at(p, end, name);
    p = value_at(p + 1, end, value); /* behind the colon */
    leave(object, p);
    return true;
}

bool svc_scan_item(svc_scan_value *array, svc_scan_value *item)
{
    const uint8_t *end = array->text.data + array->text.len;
    const uint8_t *p = enter(array);
    if (p == NULL)
        return false;
    leave(array, value_at(p, end, item));
    return true;
}

static uint8_t *put_utf8(uint8_t *to, uint32_t c)
{
    if (c < 0x80) {
        *to++ = (uint8_t)c;
    } else if (c < 0x800) {
        *to++ = (uint8_t)(0xc0 | c >> 6);
        *to++ = (uint8_t)(0x80 | (c & 63));
    } else if (c < 0x10000) {
        *to++ = (uint8_t)(0xe0 | c >> 12);
        *to++ = (uint8_t)(0x80 | (c >> 6 & 63));
        *to++ = (uint8_t)(0x80 | (c & 63));
    } else {
        *to++ = (uint8_t)(0xf0 | c >> 18);
        *to++ = (uint8_t)(0x80 | (c >> 12 & 63));
        *to++ = (uint8_t)(0x80 | (c >> 6 & 63));
        *to++ = (uint8_t)(0x80 | (c & 63));
    }
    return to;
}

/* One escape, behind its backslash. */
static const uint8_t *put_escape(const uint8_t *p, const uint8_t *end, uint8_t **to)
{
    static const char from[] = "\"\\/bfnrt";
    static const char chars[] = "\"\\/\b\f\n\r\t";
    if (*p != 'u') {
        const char *at = memchr(from, *p, sizeof from - 1);
        assert(at != NULL);
        *(*to)++ = (uint8_t)chars[at - from];
        return p + 1;
    }
    uint32_t code = (uint32_t)hex4(p + 1, end);
    p += 5;
    if (code >= 0xd800 && code < 0xdc00) {
        code = 0x10000 + ((code - 0xd800) << 10) + ((uint32_t)hex4(p + 2, end) - 0xdc00);
        p += 6;
    }
    *to = put_utf8(*to, code);
    return p;
}

vv_slice svc_scan_text(const svc_scan_value *string, vv_arena *arena)
{
    const uint8_t *p = string->text.data + 1;
    const uint8_t *end = string->text.data + string->text.len - 1;
    const size_t len = (size_t)(end - p);
    if (memchr(p, '\\', len) == NULL)
        return vv_slice_of(p, len);
    uint8_t *out = vv_arena_alloc(arena, len); /* an escape is longer than what it stands for */
    uint8_t *to = out;
    if (out == NULL)
        return (vv_slice){0};
    while (p < end) {
        if (*p != '\\')
            *to++ = *p++;
        else
            p = put_escape(p + 1, end, &to);
    }
    return vv_slice_of(out, (size_t)(to - out));
}
