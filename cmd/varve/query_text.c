/* query_text.c - see query_text.h. */
#include "query_text.h"

#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/time_text.h"
#include "base/util.h"
#include "query/struct_json.h"

static vv_slice trim(vv_slice s)
{
    while (s.len > 0 && (s.data[0] == ' ' || s.data[0] == '\t'))
        s = vv_slice_of(s.data + 1, s.len - 1);
    while (s.len > 0 && (s.data[s.len - 1] == ' ' || s.data[s.len - 1] == '\t'))
        s.len--;
    return s;
}

static bool is_one_of(uint8_t c, const char *set)
{
    return c != 0 && strchr(set, c) != NULL;
}

/* Cut the column off the front: "quoted name", or up to a blank or an operator. */
static bool take_column(vv_slice *rest, vv_slice *out)
{
    size_t n = 0;
    if (rest->len > 0 && rest->data[0] == '"') {
        const uint8_t *end = memchr(rest->data + 1, '"', rest->len - 1);
        if (end == NULL)
            return false;
        *out = vv_slice_of(rest->data + 1, (size_t)(end - rest->data) - 1);
        n = (size_t)(end - rest->data) + 1;
    } else {
        while (n < rest->len && !is_one_of(rest->data[n], " \t=!<>"))
            n++;
        *out = vv_slice_of(rest->data, n);
    }
    *rest = trim(vv_slice_of(rest->data + n, rest->len - n));
    return out->len > 0;
}

/* A symbol, or a word up to the next blank. */
static vv_slice take_op(vv_slice *rest)
{
    size_t n = 0;
    bool symbol = rest->len > 0 && is_one_of(rest->data[0], "=!<>");
    while (n < rest->len &&
           (symbol ? is_one_of(rest->data[n], "=!<>") : !is_one_of(rest->data[n], " \t[")))
        n++;
    vv_slice op = vv_slice_of(rest->data, n);
    *rest = trim(vv_slice_of(rest->data + n, rest->len - n));
    return op;
}

/* One literal: JSON, or the text itself. */
static void put_literal(vv_buf *out, vv_slice text)
{
    size_t before = out->len;
    if (json_read_value(text, NULL, out, NULL) == VV_OK)
        return;
    out->len = before;
    const struct_value v = {.type = STRUCT_STRING, .bytes = text};
    struct_value_put(out, 0, &v);
}

/* a,b,c for `in`. */
static void put_list(vv_buf *out, vv_slice text)
{
    size_t list = wire_begin(out, VALUE_LIST);
    while (text.len > 0) {
        const uint8_t *comma = memchr(text.data, ',', text.len);
        size_t n = comma == NULL ? text.len : (size_t)(comma - text.data);
        vv_buf one;
        vv_buf_init(&one, 1 << 20);
        put_literal(&one, trim(vv_slice_of(text.data, n)));
        wire_put_bytes(out, LIST_VALUES, vv_buf_slice(&one));
        vv_buf_fini(&one);
        n += comma != NULL;
        text = vv_slice_of(text.data + n, text.len - n);
    }
    wire_end(out, list);
}

static bool is_json(vv_slice text)
{
    vv_buf value;
    vv_buf_init(&value, 1 << 24);
    bool ok = json_read_value(text, NULL, &value, NULL) == VV_OK;
    vv_buf_fini(&value);
    return ok;
}

/* "3 and b = 4" would be compared as text, and nothing be found. */
static bool joins_conditions(vv_slice text)
{
    static const char *const words[] = {" and ", " or ", " && ", " || "};
    for (size_t w = 0; w < ARRAY_LEN(words); w++) {
        size_t n = strlen(words[w]);
        for (size_t i = 0; i + n <= text.len; i++)
            if (strncasecmp((const char *)text.data + i, words[w], n) == 0)
                return true;
    }
    return false;
}

vv_status query_text_filter(const char *text, vv_arena *arena, query_filter *out, vv_error *err)
{
    vv_slice rest = trim(vv_slice_str(text));
    vv_buf value;
    if (!take_column(&rest, &out->column))
        return vv_fail(err, VV_INVALID, "'%s': expected COLUMN OP VALUE", text);
    out->op = take_op(&rest);
    if (out->op.len == 0)
        return vv_fail(err, VV_INVALID, "'%s': no operator behind the column", text);
    if (rest.len == 0)
        return vv_fail(err, VV_INVALID, "'%s': no value behind the operator (\"\" is empty text)",
                       text);
    if (joins_conditions(rest) && !is_json(rest))
        return vv_fail(err, VV_INVALID,
                       "'%s': one --where is one condition: repeat it for 'and', use `in` for "
                       "'or'; text with these words goes in \"double quotes\"",
                       text);
    vv_buf_init(&value, 1 << 24);
    bool in =
        out->op.len == 2 && (out->op.data[0] | 0x20) == 'i' && (out->op.data[1] | 0x20) == 'n';
    if (in && rest.data[0] != '[')
        put_list(&value, rest);
    else
        put_literal(&value, rest);
    out->value = vv_arena_dup(arena, vv_buf_slice(&value));
    vv_status st = value.status != VV_OK || out->value.data == NULL
                       ? vv_fail(err, VV_NO_MEMORY, "'%s'", text)
                       : VV_OK;
    vv_buf_fini(&value);
    return st;
}

query_order query_text_order(vv_slice text)
{
    query_order o = {.column = trim(text)};
    vv_slice c = o.column;
    if (c.len > 1 && c.data[0] == '-') {
        o.descending = true;
        o.column = vv_slice_of(c.data + 1, c.len - 1);
    } else if (c.len > 5 && memcmp(c.data + c.len - 5, ":desc", 5) == 0) {
        o.descending = true;
        o.column.len -= 5;
    } else if (c.len > 4 && memcmp(c.data + c.len - 4, ":asc", 4) == 0) {
        o.column.len -= 4;
    }
    return o;
}

vv_status query_text_aggregate(const char *text, query_aggregate *out, vv_error *err)
{
    const char *as = strstr(text, " as ");
    vv_slice call = trim(vv_slice_of(text, as == NULL ? strlen(text) : (size_t)(as - text)));
    *out = (query_aggregate){.function = call};
    if (as != NULL)
        out->alias = trim(vv_slice_str(as + 4));
    const uint8_t *open = call.len == 0 ? NULL : memchr(call.data, '(', call.len);
    if (open == NULL)
        return call.len > 0 ? VV_OK : vv_fail(err, VV_INVALID, "an aggregate is empty");
    if (call.data[call.len - 1] != ')')
        return vv_fail(err, VV_INVALID, "'%s': expected FUNCTION(COLUMN) [as NAME]", text);
    out->function = trim(vv_slice_of(call.data, (size_t)(open - call.data)));
    out->column = trim(vv_slice_of(open + 1, call.len - (size_t)(open - call.data) - 2));
    return VV_OK;
}

bool query_text_time(const char *text, int64_t now_ns, int64_t *out_ns)
{
    int64_t span;
    size_t len = strlen(text);
    if (time_text_parse_loose(vv_slice_str(text), out_ns) ||
        time_text_parse_number(vv_slice_str(text), VV_NS_PER_S, out_ns))
        return true;
    if (len == 0 || (text[len - 1] >= '0' && text[len - 1] <= '9') ||
        !cmd_parse_duration(text, &span))
        return false;
    return !__builtin_sub_overflow(now_ns, span, out_ns);
}

bool query_text_split(const char *text, vv_slice *list, size_t max, size_t *count)
{
    for (const char *at = text;;) {
        size_t n = 0;
        while (at[n] != 0 && at[n] != ',')
            n += at[n] == '\\' && at[n + 1] != 0 ? 2 : 1;
        vv_slice one = trim(vv_slice_of(at, n));
        if (one.len > 0) {
            if (*count == max)
                return false;
            list[(*count)++] = one;
        }
        if (at[n] == 0)
            return true;
        at += n + 1;
    }
}

size_t query_text_path(vv_slice column, vv_arena *arena, vv_slice *steps, size_t max)
{
    uint8_t *bytes = vv_arena_alloc(arena, column.len + 1);
    size_t count = 0;
    size_t begin = 0;
    size_t len = 0;
    if (bytes == NULL)
        return 0;
    for (size_t i = 0; i <= column.len; i++) {
        if (i == column.len || column.data[i] == '.') {
            if (len == begin || count == max)
                return 0;
            steps[count++] = vv_slice_of(bytes + begin, len - begin);
            begin = len;
            continue;
        }
        if (column.data[i] == '\\' && ++i == column.len)
            return 0;
        bytes[len++] = column.data[i];
    }
    return count;
}
