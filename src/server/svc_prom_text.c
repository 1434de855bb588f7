/*
 * svc_prom_text.c - answers as Prometheus writes them.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/shortest.h"
#include "base/util.h"
#include "query/struct_json.h"
#include "server/svc_prom.h"

#define POINT_MAX 64u  /* bytes of [time,"value"], with its comma */
#define WHOLE_MAX 1e15 /* whole numbers below it are exact as int64 and have no exponent */

void prom_put_time(vv_buf *out, int64_t time_ns)
{
    int64_t ms = time_ns / VV_NS_PER_MS;
    char text[24];
    size_t at = sizeof text;
    uint64_t rest = (uint64_t)llabs(ms % 1000);
    uint64_t seconds = (uint64_t)llabs(ms / 1000);
    for (unsigned i = 0; rest != 0 && i < 3; i++, rest /= 10)
        text[--at] = (char)('0' + rest % 10);
    if (at < sizeof text) {
        while (sizeof text - at < 3)
            text[--at] = '0';
        text[--at] = '.';
    }
    do {
        text[--at] = (char)('0' + seconds % 10);
        seconds /= 10;
    } while (seconds > 0);
    if (ms < 0)
        text[--at] = '-';
    vv_buf_append(out, text + at, sizeof text - at);
}

/* The fewest digits that read back the same: d[.ddd]e[+-]xx in text. */
static void shortest(double value, char text[40])
{
    /* Numbers next to 0 have fewer digits than others. */
    for (int digits = fabs(value) < 1e-300 ? 1 : 15; digits <= 17; digits++) {
        (void)snprintf(text, 40, "%.*e", digits - 1, value);
        if (strtod(text, NULL) == value)
            return;
    }
}

/* The same number without its exponent. */
static void put_plain(vv_buf *out, const char *text)
{
    char digits[24];
    size_t count = 0;
    bool is_negative = text[0] == '-';
    const char *at = text + is_negative;
    for (; *at != 'e'; at++)
        if (*at != '.')
            digits[count++] = *at;
    int exponent = atoi(at + 1);
    while (count > 1 && digits[count - 1] == '0')
        count--;
    if (is_negative)
        vv_buf_append_u8(out, '-');
    if (exponent < 0) {
        vv_buf_append_str(out, "0.");
        for (int i = -1; i > exponent; i--)
            vv_buf_append_u8(out, '0');
        vv_buf_append(out, digits, count);
        return;
    }
    for (size_t i = 0; i < count || i <= (size_t)exponent; i++) {
        if (i == (size_t)exponent + 1)
            vv_buf_append_u8(out, '.');
        vv_buf_append_u8(out, i < count ? (uint8_t)digits[i] : '0');
    }
}

/* d.ddde[+-]xx without zeros at the end of its digits. */
static void put_exponent(vv_buf *out, const char *text)
{
    const char *e = strchr(text, 'e');
    const char *end = e;
    while (end[-1] == '0')
        end--;
    end -= end[-1] == '.';
    vv_buf_append(out, text, (size_t)(end - text));
    vv_buf_append_str(out, e);
}

void prom_put_value(vv_buf *out, double value)
{
    double size = fabs(value);
    char text[40];
    vv_digits digits;
    vv_buf_append_u8(out, '"');
    if (vv_shortest(value, &digits)) {
        vv_buf_append(out, text, vv_digits_text(&digits, value < 0, text));
    } else if (isnan(value)) {
        vv_buf_append_str(out, "NaN");
    } else if (isinf(value)) {
        vv_buf_append_str(out, value > 0 ? "+Inf" : "-Inf");
    } else if (size < WHOLE_MAX && value == floor(value)) {
        vv_buf_printf(out, "%s%" PRId64, signbit(value) && value == 0 ? "-" : "", (int64_t)value);
    } else {
        shortest(value, text);
        if (size >= 1e-6 && size < 1e21)
            put_plain(out, text);
        else
            put_exponent(out, text);
    }
    vv_buf_append_u8(out, '"');
}

void prom_put_labels(vv_buf *out, const vv_label *labels, size_t count)
{
    vv_buf_append_u8(out, '{');
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            vv_buf_append_u8(out, ',');
        json_put_string(out, labels[i].name);
        vv_buf_append_u8(out, ':');
        json_put_string(out, labels[i].value);
    }
    vv_buf_append_u8(out, '}');
}

static void put_point(vv_buf *out, int64_t time_ns, double value)
{
    vv_buf_append_u8(out, '[');
    prom_put_time(out, time_ns);
    vv_buf_append_u8(out, ',');
    prom_put_value(out, value);
    vv_buf_append_u8(out, ']');
}

static bool is_empty(const promql_row *row, size_t steps)
{
    return steps == 0 || memchr(row->is_present, 1, steps) == NULL;
}

static void put_row(vv_buf *out, const promql_row *row, size_t steps, bool is_instant,
                    const promql_options *opt)
{
    vv_buf_append_str(out, "{\"metric\":");
    prom_put_labels(out, row->labels, row->label_count);
    vv_buf_append_str(out, is_instant ? ",\"value\":" : ",\"values\":[");
    bool is_first = true;
    for (size_t k = 0; k < steps; k++) {
        if (!row->is_present[k])
            continue;
        if (!is_first)
            vv_buf_append_u8(out, ',');
        is_first = false;
        put_point(out, opt->start_ns + (int64_t)k * opt->step_ns, row->value[k]);
    }
    vv_buf_append_str(out, is_instant ? "}" : "]}");
}

static void put_range(vv_buf *out, const promql_series *s)
{
    vv_buf_append_str(out, "{\"metric\":");
    prom_put_labels(out, s->labels, s->label_count);
    vv_buf_append_str(out, ",\"values\":[");
    for (size_t i = 0; i < s->count; i++) {
        if (i > 0)
            vv_buf_append_u8(out, ',');
        put_point(out, s->time_ns[i], s->value[i]);
    }
    vv_buf_append_str(out, "]}");
}

void prom_put_result(vv_buf *out, const promql_result *result, const promql_options *opt)
{
    bool is_instant = opt->step_ns == 0 && result->type != PROMQL_RANGE;
    if (is_instant && result->type == PROMQL_SCALAR) {
        vv_buf_append_str(out, "{\"resultType\":\"scalar\",\"result\":");
        put_point(out, opt->start_ns, result->rows[0].value[0]);
        vv_buf_append_u8(out, '}');
        return;
    }
    vv_buf_printf(out, "{\"resultType\":\"%s\",\"result\":[", is_instant ? "vector" : "matrix");
    bool is_first = true;
    for (size_t i = 0; i < result->row_count; i++) {
        if (is_empty(&result->rows[i], result->steps))
            continue;
        if (!is_first)
            vv_buf_append_u8(out, ',');
        is_first = false;
        put_row(out, &result->rows[i], result->steps, is_instant, opt);
    }
    for (size_t i = 0; i < result->range_count; i++) {
        if (i > 0)
            vv_buf_append_u8(out, ',');
        put_range(out, &result->ranges[i]);
    }
    vv_buf_append_str(out, "]}");
}

/* A byte of a text is at most six in JSON. */
static uint64_t labels_size(const vv_label *labels, size_t count)
{
    uint64_t size = 64;
    for (size_t i = 0; i < count; i++)
        size += 6 * (labels[i].name.len + labels[i].value.len) + 8;
    return size;
}

uint64_t prom_result_size(const promql_result *result)
{
    uint64_t size = 256;
    for (size_t i = 0; i < result->row_count; i++)
        size += labels_size(result->rows[i].labels, result->rows[i].label_count) +
                POINT_MAX * result->steps;
    for (size_t i = 0; i < result->range_count; i++)
        size += labels_size(result->ranges[i].labels, result->ranges[i].label_count) +
                POINT_MAX * result->ranges[i].count;
    return size;
}
