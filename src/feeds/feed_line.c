/*
 * feed_line.c - see feed_line.h.
 *
 * A line is read whole before anything of it goes to the sink:
 *
 *     read_head       measurement and tags -> labels[1..]      \
 *     read_fields     keys and values      -> fields[]          > all borrowed from the body, or
 *     read_time                            -> time             /  from scratch where escaped
 *     emit            labels[0] = measurement_field, one sample a field
 *
 * Every reader leaves *p behind what it took and gives NULL, or the fault as a sentence.
 */
#include "feeds/feed_line.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/utf8.h"
#include "base/util.h"
#include "feeds/feed_number.h"

/* Bytes that end a token unless a backslash stands before them, and those that it escapes. */
enum { COMMA = 1, BLANK = 2, EQUALS = 4, LINE_END = 8, RETURN = 16, BACKSLASH = 32, ODD = 64 };

static const uint8_t class_of[256] = {
    [','] = COMMA,   [' '] = BLANK,      ['='] = EQUALS,        ['\n'] = LINE_END,
    ['\r'] = RETURN, ['\\'] = BACKSLASH, [0x80 ... 0xff] = ODD, [0] = ODD, /* text to look at */
};

typedef struct line_field {
    vv_slice key;
    feed_type type;
    bool boolean;
    double f64;
    int64_t i64;
    vv_slice string;
} line_field;

struct feed_line {
    const uint8_t *end; /* of the body */
    vv_slice measurement;
    feed_label labels[FEED_LABELS_MAX];
    size_t label_count;
    line_field fields[FEED_LINE_FIELDS_MAX];
    size_t field_count;
    int64_t time_ns;
    size_t used; /* of scratch */
    uint8_t name[2 * FEED_LABEL_BYTES_MAX + 1];
    uint8_t scratch[FEED_LINE_SCRATCH];
};

static const char too_long[] = "a name or value has more than 1000 bytes";
static const char not_text[] = "a name or value is not UTF-8, or has a NUL";
static const char no_scratch[] = "the line has more than 262144 bytes of text with escapes";

feed_line *feed_line_create(void)
{
    return vv_calloc(1, sizeof(feed_line));
}

void feed_line_destroy(feed_line *decoder)
{
    vv_free(decoder);
}

bool feed_line_precision(vv_slice text, int64_t *out_unit_ns)
{
    static const struct {
        const char *name;
        int64_t unit_ns;
    } units[] = {{"", 1},
                 {"n", 1},
                 {"ns", 1},
                 {"u", VV_NS_PER_US},
                 {"us", VV_NS_PER_US},
                 {"\xc2\xb5", VV_NS_PER_US},
                 {"\xc2\xb5s", VV_NS_PER_US},
                 {"ms", VV_NS_PER_MS},
                 {"s", VV_NS_PER_S},
                 {"m", 60 * VV_NS_PER_S},
                 {"h", 3600 * VV_NS_PER_S}};
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (vv_slice_eq(text, vv_slice_str(units[i].name))) {
            *out_unit_ns = units[i].unit_ns;
            return true;
        }
    }
    return false;
}

/* ---- tokens ---- */

/* Copy a token to scratch without the backslashes that escape a byte of the classes given. */
static const char *unescape(feed_line *d, uint8_t escaped, vv_slice *token)
{
    if (token->len > sizeof d->scratch - d->used)
        return no_scratch;
    uint8_t *begin = d->scratch + d->used, *out = begin;
    const uint8_t *p = token->data, *end = p + token->len;
    while (p < end) {
        if (*p == '\\' && end - p > 1) {
            if ((class_of[p[1]] & escaped) == 0)
                *out++ = '\\';
            p++;
        }
        *out++ = *p++;
    }
    *token = vv_slice_of(begin, (size_t)(out - begin));
    d->used += token->len;
    return NULL;
}

/* The bytes up to one of the classes of stops, with the escapes resolved. Empty is no fault here.
 */
static const char *read_token(feed_line *d, const uint8_t **p, uint8_t stops, uint8_t escaped,
                              vv_slice *out)
{
    const uint8_t *q = *p, *end = d->end;
    bool is_escaped = false;
    uint8_t seen = 0;
    while (q < end) {
        uint8_t c = class_of[*q];
        if (VV_LIKELY((c & (stops | BACKSLASH)) == 0)) {
            seen |= c;
            q++;
        } else if (c == BACKSLASH) {
            is_escaped = true;
            if (end - q > 1)
                seen |= class_of[q[1]];
            q += end - q > 1 && q[1] != '\n' ? 2 : 1;
        } else {
            break;
        }
    }
    *out = vv_slice_of(*p, (size_t)(q - *p));
    *p = q;
    if (VV_UNLIKELY(out->len > FEED_LABEL_BYTES_MAX))
        return too_long;
    if (VV_UNLIKELY((seen & ODD) != 0) && !feed_label_is_text(*out))
        return not_text;
    return VV_UNLIKELY(is_escaped) ? unescape(d, escaped, out) : NULL;
}

/* ---- measurement and tags ---- */

static bool has_label(const feed_line *d, vv_slice name)
{
    for (size_t i = 1; i < d->label_count; i++)
        if (d->labels[i].name.len == name.len && vv_slice_eq(d->labels[i].name, name))
            return true;
    return false;
}

/* One tag; *p is behind the comma before it. */
static const char *read_tag(feed_line *d, const uint8_t **p)
{
    feed_label tag;
    if (d->label_count == FEED_LABELS_MAX)
        return "more than 127 tags";
    const char *fault =
        read_token(d, p, COMMA | BLANK | EQUALS | LINE_END, COMMA | BLANK | EQUALS, &tag.name);
    if (fault != NULL)
        return fault;
    if (tag.name.len == 0)
        return "missing tag key";
    if (*p == d->end || **p != '=')
        return "missing tag value";
    ++*p;
    fault = read_token(d, p, COMMA | BLANK | EQUALS | LINE_END, COMMA | BLANK | EQUALS, &tag.value);
    if (fault != NULL)
        return fault;
    if (tag.value.len == 0)
        return "missing tag value";
    if (*p < d->end && **p == '=')
        return "a tag value has an equals sign without a backslash";
    if (vv_slice_eq(tag.name, vv_slice_str(FEED_NAME_LABEL)))
        return "a tag is called __name__, which is the label of the series' name";
    if (has_label(d, tag.name))
        return "the same tag twice";
    d->labels[d->label_count++] = tag;
    return NULL;
}

static const char *read_head(feed_line *d, const uint8_t **p)
{
    d->label_count = 1; /* [0] is the name, of each field another */
    const char *fault = read_token(d, p, COMMA | BLANK | LINE_END, COMMA | BLANK, &d->measurement);
    if (fault == NULL && d->measurement.len == 0)
        fault = "missing measurement";
    while (fault == NULL && *p < d->end && **p == ',') {
        ++*p;
        fault = read_tag(d, p);
    }
    if (fault == NULL && (*p == d->end || **p != ' '))
        fault = "missing fields";
    return fault;
}

/* ---- fields ---- */

/* The string behind a quote; *p is left behind the closing one. */
static const char *read_string(feed_line *d, const uint8_t **p, vv_slice *out)
{
    const uint8_t *begin = *p, *q = begin, *end = d->end;
    size_t escapes = 0;
    while (q < end && *q != '"') {
        bool is_escape = *q == '\\' && end - q > 1 && (q[1] == '"' || q[1] == '\\');
        escapes += is_escape;
        q += is_escape ? 2 : 1;
    }
    if (q == end)
        return "a quoted string has no end";
    *p = q + 1;
    *out = vv_slice_of(begin, (size_t)(q - begin));
    if (!utf8_is_valid(*out))
        return "a string is not UTF-8";
    if (escapes == 0)
        return NULL;
    if (out->len - escapes > sizeof d->scratch - d->used)
        return no_scratch;
    uint8_t *to = d->scratch + d->used;
    *out = vv_slice_of(to, out->len - escapes);
    for (const uint8_t *from = begin; from < q; from++) {
        if (*from == '\\' && (from[1] == '"' || from[1] == '\\'))
            from++;
        *to++ = *from;
    }
    d->used += out->len;
    return NULL;
}

static bool parse_boolean(vv_slice text, bool *out)
{
    static const char *const names[2][5] = {{"f", "F", "false", "False", "FALSE"},
                                            {"t", "T", "true", "True", "TRUE"}};
    for (size_t v = 0; v < 2; v++) {
        for (size_t i = 0; i < ARRAY_LEN(names[v]); i++) {
            if (vv_slice_eq(text, vv_slice_str(names[v][i]))) {
                *out = v == 1;
                return true;
            }
        }
    }
    return false;
}

/* A value that is no string: its form says its type. */
static const char *parse_value(vv_slice text, line_field *f)
{
    if (text.len == 0)
        return "missing field value";
    uint8_t last = text.data[text.len - 1];
    vv_slice digits = vv_slice_of(text.data, text.len - 1);
    if (last == 'i' || last == 'u') {
        f->type = FEED_I64;
        if (!feed_parse_int(digits, &f->i64) || (last == 'u' && f->i64 < 0))
            return last == 'i' ? "an integer is none or does not fit 64 bits"
                               : "an unsigned integer is none or above 9223372036854775807";
        return NULL;
    }
    f->type = FEED_F64;
    if (VV_LIKELY(feed_parse_double(text, &f->f64)))
        return NULL;
    f->type = FEED_BOOL;
    return parse_boolean(text, &f->boolean) ? NULL
                                            : "a field value is no number, boolean or string";
}

static const char *read_field(feed_line *d, const uint8_t **p)
{
    if (d->field_count == FEED_LINE_FIELDS_MAX)
        return "more than 1024 fields";
    line_field *f = &d->fields[d->field_count];
    const char *fault =
        read_token(d, p, COMMA | BLANK | EQUALS | LINE_END, COMMA | BLANK | EQUALS, &f->key);
    if (fault != NULL)
        return fault;
    if (f->key.len == 0)
        return "missing field key";
    if (*p == d->end || **p != '=')
        return "missing field value";
    ++*p;
    if (*p < d->end && **p == '"') {
        ++*p;
        f->type = FEED_STRING;
        fault = read_string(d, p, &f->string);
    } else {
        const uint8_t *q = *p;
        while (q < d->end && (class_of[*q] & (COMMA | BLANK | LINE_END | RETURN)) == 0)
            q++;
        vv_slice text = vv_slice_of(*p, (size_t)(q - *p));
        *p = q;
        fault = parse_value(text, f);
    }
    d->field_count += fault == NULL;
    return fault;
}

static const char *read_fields(feed_line *d, const uint8_t **p)
{
    d->field_count = 0;
    while (*p < d->end && **p == ' ')
        ++*p;
    const char *fault = read_field(d, p);
    while (fault == NULL && *p < d->end && **p == ',') {
        ++*p;
        fault = read_field(d, p);
    }
    return fault;
}

/* ---- the rest of a line ---- */

static bool at_line_end(const feed_line *d, const uint8_t *p)
{
    if (p < d->end && *p == '\r')
        p++;
    return p == d->end || *p == '\n';
}

static const char *read_time(feed_line *d, const uint8_t **p, const feed_line_options *options)
{
    d->time_ns = options->now_ns;
    while (*p < d->end && **p == ' ')
        ++*p;
    if (at_line_end(d, *p))
        return NULL;
    const uint8_t *q = *p;
    while (q < d->end && (class_of[*q] & (BLANK | LINE_END | RETURN)) == 0)
        q++;
    int64_t units;
    vv_slice text = vv_slice_of(*p, (size_t)(q - *p));
    *p = q;
    if (!feed_parse_int(text, &units) || !feed_scale(units, options->unit_ns, &d->time_ns))
        return "the timestamp is none, or out of range";
    while (*p < d->end && **p == ' ')
        ++*p;
    return at_line_end(d, *p) ? NULL : "there is text behind the timestamp";
}

/* measurement_field, in place behind the measurement that is there already. */
static vv_slice field_name(feed_line *d, vv_slice key)
{
    uint8_t *at = d->name + d->measurement.len;
    *at = '_';
    memcpy(at + 1, key.data, key.len);
    return vv_slice_of(d->name, d->measurement.len + 1 + key.len);
}

static vv_status emit_field(feed_line *d, const line_field *f, feed_sink *sink, vv_error *err)
{
    feed_values v = {.f64 = &f->f64};
    d->labels[0] = (feed_label){vv_slice_str(FEED_NAME_LABEL), field_name(d, f->key)};
    vv_status st = feed_sink_series(sink, d->labels, d->label_count, f->type, err);
    if (st != VV_OK)
        return st;
    if (f->type == FEED_I64)
        v.i64 = &f->i64;
    else if (f->type == FEED_BOOL)
        v.boolean = &f->boolean;
    else if (f->type == FEED_STRING)
        v.string = &f->string;
    return feed_sink_samples(sink, &d->time_ns, v, NULL, 1, err);
}

static size_t line_number(const uint8_t *begin, const uint8_t *at)
{
    size_t n = 1;
    for (; begin < at; begin++)
        n += *begin == '\n';
    return n;
}

/* Fields one by one; what the sink says of one alone refuses that one. */
static vv_status emit(feed_line *d, vv_slice body, const uint8_t *line, feed_sink *sink,
                      feed_result *result, vv_error *err)
{
    bool is_refused = false;
    memcpy(d->name, d->measurement.data, d->measurement.len);
    for (size_t i = 0; i < d->field_count; i++) {
        vv_error why;
        vv_status st = emit_field(d, &d->fields[i], sink, &why);
        if (VV_LIKELY(st == VV_OK)) {
            result->samples++;
        } else if (st == VV_INVALID) {
            if (!is_refused) /* counted in lines */
                feed_refuse(result, 1, "line %zu: %s",
                            result->refused == 0 ? line_number(body.data, line) : 0, why.msg);
            is_refused = true;
        } else {
            if (err != NULL)
                *err = why;
            return st;
        }
    }
    return VV_OK;
}

static const char *read_line(feed_line *d, const uint8_t **p, const feed_line_options *options)
{
    d->used = 0;
    const char *fault = read_head(d, p);
    if (fault == NULL)
        fault = read_fields(d, p);
    if (fault == NULL)
        fault = read_time(d, p, options);
    return fault;
}

/* Behind the next line end. */
static const uint8_t *skip_line(const feed_line *d, const uint8_t *p)
{
    const uint8_t *end = p == d->end ? NULL : memchr(p, '\n', (size_t)(d->end - p));
    return end == NULL ? d->end : end + 1;
}

vv_status feed_line_decode(feed_line *decoder, vv_slice body, const feed_line_options *options,
                           feed_sink *sink, feed_result *result, vv_error *err)
{
    feed_line *d = decoder;
    *result = (feed_result){0};
    const uint8_t *p = body.data;
    d->end = body.len == 0 ? p : p + body.len;
    while (p < d->end) {
        if (*p == ' ' || *p == '\t' || *p == '\n' || (*p == '\r' && at_line_end(d, p))) {
            p++;
            continue;
        }
        if (*p == '#') {
            p = skip_line(d, p);
            continue;
        }
        const uint8_t *line = p;
        const char *fault = read_line(d, &p, options);
        if (VV_LIKELY(fault == NULL)) {
            vv_status st = emit(d, body, line, sink, result, err);
            if (st != VV_OK)
                return st;
        } else {
            feed_refuse(result, 1, "line %zu: %s",
                        result->refused == 0 ? line_number(body.data, line) : 0, fault);
        }
        p = skip_line(d, p);
    }
    return VV_OK;
}
