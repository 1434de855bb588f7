/*
 * promql_lex.c - the words of an expression.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/util.h"
#include "promql/promql_int.h"

#define NUMBER_MAX 64u

static bool is_letter(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':';
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static uint8_t peek(const promql_lexer *l, size_t ahead)
{
    return l->at + ahead < l->text.len ? l->text.data[l->at + ahead] : 0;
}

static void skip_space(promql_lexer *l)
{
    for (;;) {
        uint8_t c = peek(l, 0);
        if (c == '#') {
            while (l->at < l->text.len && peek(l, 0) != '\n')
                l->at++;
        } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
            l->at++;
        } else {
            return;
        }
    }
}

/* ---- durations: 1h30m, the units in falling order ---- */

static const struct {
    const char *text;
    int64_t ns;
} units[] = {{"y", 365 * 24 * 3600 * VV_NS_PER_S},
             {"w", 7 * 24 * 3600 * VV_NS_PER_S},
             {"d", 24 * 3600 * VV_NS_PER_S},
             {"h", 3600 * VV_NS_PER_S},
             {"ms", VV_NS_PER_MS},
             {"m", 60 * VV_NS_PER_S},
             {"s", VV_NS_PER_S}};

/* The length of a unit at p; *ns: what it stands for. 0: there is none. */
static size_t unit_at(vv_slice text, size_t at, int64_t *ns)
{
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        size_t len = strlen(units[i].text);
        if (at + len > text.len || memcmp(text.data + at, units[i].text, len) != 0)
            continue;
        if (at + len < text.len && is_letter(text.data[at + len]) && text.data[at + len] != ':')
            continue;
        *ns = units[i].ns;
        return len;
    }
    return 0;
}

/* True when a duration begins here, and then it is taken. */
static bool take_duration(promql_lexer *l, promql_token *out, bool *is_too_long)
{
    size_t at = l->at;
    int64_t total = 0;
    int64_t last_unit = INT64_MAX;
    *is_too_long = false;
    for (;;) {
        int64_t count = 0;
        size_t first = at;
        while (at < l->text.len && is_digit(l->text.data[at])) {
            *is_too_long |= __builtin_mul_overflow(count, 10, &count) ||
                            __builtin_add_overflow(count, l->text.data[at] - '0', &count);
            at++;
        }
        int64_t unit = 0;
        size_t len = at == first ? 0 : unit_at(l->text, at, &unit);
        if (len == 0 || unit >= last_unit)
            return false;
        last_unit = unit;
        at += len;
        int64_t part = 0;
        *is_too_long |= __builtin_mul_overflow(count, unit, &part) ||
                        __builtin_add_overflow(total, part, &total);
        if (at >= l->text.len || !is_digit(l->text.data[at]))
            break;
    }
    out->kind = PROMQL_DURATION;
    out->duration_ns = total;
    l->at = at;
    return true;
}

bool promql_duration(vv_slice text, int64_t *out_ns)
{
    promql_lexer l = {.text = text};
    promql_token token = {.duration_ns = 0};
    bool is_too_long = false;
    if (!take_duration(&l, &token, &is_too_long) || is_too_long || l.at != text.len)
        return false;
    *out_ns = token.duration_ns;
    return true;
}

static vv_status take_number(promql_lexer *l, promql_token *out, vv_error *err)
{
    char text[NUMBER_MAX + 1];
    size_t len = 0;
    size_t first = l->at;
    bool is_hex = peek(l, 0) == '0' && (peek(l, 1) | 0x20) == 'x';
    for (;; len++) {
        uint8_t c = peek(l, len);
        uint8_t before = len == 0 ? 0 : (uint8_t)(peek(l, len - 1) | 0x20);
        bool is_exponent_sign = (c == '+' || c == '-') && before == 'e' && !is_hex;
        if (!is_digit(c) && !is_letter(c) && c != '.' && !is_exponent_sign)
            break;
        if (len == NUMBER_MAX)
            return vv_fail(err, VV_INVALID, "character %zu: a number of over %u characters", first,
                           NUMBER_MAX);
    }
    memcpy(text, l->text.data + first, len);
    text[len] = '\0';
    char *end = NULL;
    out->value = strtod(text, &end);
    if (end != text + len)
        return vv_fail(err, VV_INVALID, "character %zu: '%s' is no number", first, text);
    out->kind = PROMQL_NUMBER;
    l->at += len;
    return VV_OK;
}

/* ---- strings ---- */

static int hex_value(uint8_t c)
{
    if (is_digit(c))
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte that an escape stands for, behind its backslash; *used: its characters. -1: none. */
static int escaped_byte(const promql_lexer *l, size_t at, size_t *used)
{
    static const char from[] = "abfnrtv\\\"'`";
    static const char to[] = "\a\b\f\n\r\t\v\\\"'`";
    if (at >= l->text.len)
        return -1;
    uint8_t c = l->text.data[at];
    const char *known = c == 0 ? NULL : strchr(from, c);
    *used = 1;
    if (known != NULL)
        return (uint8_t)to[known - from];
    if (c != 'x' || at + 2 >= l->text.len)
        return -1;
    *used = 3;
    int high = hex_value(l->text.data[at + 1]);
    int low = hex_value(l->text.data[at + 2]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* Where the quote that ends a text stands, or the end of all. */
static size_t end_of_string(const promql_lexer *l)
{
    uint8_t quote = peek(l, 0);
    size_t at = l->at + 1;
    while (at < l->text.len && l->text.data[at] != quote)
        at += l->text.data[at] == '\\' && quote != '`' ? 2 : 1;
    return vv_min_u64(at, l->text.len);
}

static vv_status take_string(promql_lexer *l, promql_token *out, vv_error *err)
{
    size_t first = l->at;
    uint8_t quote = peek(l, 0);
    uint8_t *text = vv_arena_alloc(l->arena, end_of_string(l) - first + 1);
    if (text == NULL)
        return vv_fail(err, VV_NO_MEMORY, "character %zu: no memory for a text", first);
    size_t len = 0;
    l->at++;
    while (l->at < l->text.len && l->text.data[l->at] != quote) {
        uint8_t c = l->text.data[l->at++];
        if (c == '\\' && quote != '`') {
            size_t used = 0;
            int byte = escaped_byte(l, l->at, &used);
            if (byte < 0)
                return vv_fail(
                    err, VV_INVALID,
                    "character %zu: an escape that PromQL texts of this subset do not have",
                    l->at - 1);
            c = (uint8_t)byte;
            l->at += used;
        }
        text[len++] = c;
    }
    if (l->at == l->text.len)
        return vv_fail(err, VV_INVALID, "character %zu: the text has no end", first);
    l->at++;
    out->kind = PROMQL_STRING;
    out->text = vv_slice_of(text, len);
    return VV_OK;
}

/* ---- signs ---- */

static bool take_sign(promql_lexer *l, promql_token *out)
{
    static const struct {
        char text[3];
        promql_sign sign;
    } signs[] = {{"=~", PROMQL_RE},         {"!~", PROMQL_NOT_RE},      {"==", PROMQL_EQ},
                 {"!=", PROMQL_NE},         {">=", PROMQL_GE},          {"<=", PROMQL_LE},
                 {">", PROMQL_GT},          {"<", PROMQL_LT},           {"=", PROMQL_ASSIGN},
                 {"+", PROMQL_ADD},         {"-", PROMQL_SUB},          {"*", PROMQL_MUL},
                 {"/", PROMQL_DIV},         {"%", PROMQL_MOD},          {"^", PROMQL_POW},
                 {"(", PROMQL_LEFT_PAREN},  {")", PROMQL_RIGHT_PAREN},  {"{", PROMQL_LEFT_BRACE},
                 {"}", PROMQL_RIGHT_BRACE}, {"[", PROMQL_LEFT_BRACKET}, {"]", PROMQL_RIGHT_BRACKET},
                 {",", PROMQL_COMMA},       {":", PROMQL_COLON},        {"@", PROMQL_AT}};
    for (size_t i = 0; i < ARRAY_LEN(signs); i++) {
        size_t len = strlen(signs[i].text);
        if (l->at + len > l->text.len || memcmp(l->text.data + l->at, signs[i].text, len) != 0)
            continue;
        out->kind = PROMQL_SIGN;
        out->sign = signs[i].sign;
        l->at += len;
        return true;
    }
    return false;
}

vv_status promql_next_token(promql_lexer *l, promql_token *out, vv_error *err)
{
    skip_space(l);
    *out = (promql_token){.kind = PROMQL_END, .at = l->at};
    if (l->at >= l->text.len)
        return VV_OK;
    uint8_t c = peek(l, 0);
    vv_status st = VV_OK;
    bool is_too_long = false;
    if (is_digit(c) && take_duration(l, out, &is_too_long)) {
        if (is_too_long)
            st = vv_fail(err, VV_INVALID, "character %zu: the duration is too long", out->at);
    } else if (is_digit(c) || (c == '.' && is_digit(peek(l, 1)))) {
        st = take_number(l, out, err);
    } else if (c == '"' || c == '\'' || c == '`') {
        st = take_string(l, out, err);
    } else if (is_letter(c) && !(c == ':' && !is_letter(peek(l, 1)))) {
        size_t len = 1;
        while (is_letter(peek(l, len)) || is_digit(peek(l, len)))
            len++;
        out->kind = PROMQL_NAME;
        l->at += len;
        out->text = vv_slice_of(l->text.data + out->at, len);
    } else if (!take_sign(l, out)) {
        st = vv_fail(err, VV_INVALID, "character %zu: '%c' has no meaning here", out->at,
                     c >= 0x20 && c < 0x7f ? c : '?');
    }
    if (st == VV_OK && out->kind != PROMQL_STRING)
        out->text = vv_slice_of(l->text.data + out->at, l->at - out->at);
    return st;
}
