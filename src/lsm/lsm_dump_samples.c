/*
 * lsm_dump_samples.c - samples of a bucket of a series as text: each chunk by its head, and what is
 * in it, a sample a line.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/varint.h"
#include "engine/operand.h"
#include "lsm/lsm_int.h"
#include "series/chunk.h"
#include "series/set.h"

#define TABLE_PREFIX 4u
#define BUCKET_KEY (TABLE_PREFIX + 18u) /* 'D' id class bucket: docs/format/series-table.md */

typedef struct printer {
    void (*line)(void *ctx, const char *text);
    void *ctx;
} printer;

static void VV_PRINTF(2, 3) print(const printer *p, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    p->line(p->ctx, text);
}

static void value_text(const series_samples *v, uint32_t i, char *out, size_t size)
{
    size_t n = 0;
    switch (v->type) {
    case SERIES_F64:
        (void)snprintf(out, size, "%.17g", v->value.f64[i]);
        return;
    case SERIES_I64:
        (void)snprintf(out, size, "%" PRId64, v->value.i64[i]);
        return;
    case SERIES_BOOL:
        (void)snprintf(out, size, "%s", v->value.b[i] != 0 ? "true" : "false");
        return;
    case SERIES_STRING:
        break;
    }
    const vv_slice s = v->value.string[i];
    for (size_t k = 0; k < s.len && n + 8 < size; k++) {
        const bool is_plain = s.data[k] >= 0x20 && s.data[k] < 0x7f && s.data[k] != '\\';
        n += (size_t)snprintf(out + n, size - n, is_plain ? "%c" : "\\x%02x", s.data[k]);
    }
    out[n] = '\0';
}

static void print_chunk(const printer *p, const series_head *head, vv_slice chunk)
{
    static const char *const types[] = {"", "float64", "int64", "bool", "string"};
    vv_error why = {0};
    series_columns c;
    print(p, "    chunk of %u %s, %zu bytes, %s, times %" PRId64 " to %" PRId64, head->count,
          (unsigned)head->type <= SERIES_STRING ? types[head->type] : "?", chunk.len,
          head->form == SERIES_OPEN ? "open" : "sealed", head->first_time, head->last_time);
    series_columns_init(&c);
    vv_status st = series_chunk_decode(chunk, &c, &why);
    const series_samples v = series_columns_view(&c);
    for (uint32_t i = 0; st == VV_OK && i < v.count; i++) {
        char value[160];
        value_text(&v, i, value, sizeof value);
        if (v.quality == NULL || v.quality[i] == 0)
            print(p, "      %" PRId64 " %s", v.time[i], value);
        else
            print(p, "      %" PRId64 " %s quality 0x%08x", v.time[i], value, v.quality[i]);
    }
    if (st != VV_OK)
        print(p, "      %s", why.msg);
    series_columns_fini(&c);
}

static void print_set(const printer *p, vv_slice bytes)
{
    series_set set;
    series_head head;
    vv_slice chunk;
    vv_error why = {0};
    vv_status st = series_set_open(bytes, &set, &why);
    for (uint32_t i = 0; st == VV_OK && i < set.erase_count; i++) {
        const series_range r = series_set_erased(&set, i);
        print(p, "    erased from %" PRId64 " to %" PRId64, r.from, r.to);
    }
    while (st == VV_OK && (st = series_set_next(&set, &chunk, &head, &why)) == VV_OK)
        print_chunk(p, &head, chunk);
    if (st != VV_NOT_FOUND)
        print(p, "    %s", why.msg);
}

/* i64 commit time, then steps: u8 operator, varint length, operand. */
static void print_steps(const printer *p, vv_slice operand)
{
    const uint8_t *end = operand.data + operand.len;
    const uint8_t *at = operand.data + ENGINE_OPERAND_TIME;
    while (at < end) {
        uint64_t len = 0;
        const uint8_t op = *at++;
        at = vv_varint_get(at, end, &len);
        if (at == NULL || len > (size_t)(end - at))
            return;
        if (op == ENGINE_SAMPLES)
            print_set(p, vv_slice_of(at, (size_t)len));
        at += len;
    }
}

void lsm_dump_samples(const engine_item *item, void (*line)(void *ctx, const char *text), void *ctx)
{
    const printer p = {line, ctx};
    if (item->key.len != BUCKET_KEY || item->key.data[TABLE_PREFIX] != 'D')
        return;
    if (item->kind == ENGINE_PUT && series_set_is_valid(item->value))
        print_set(&p, item->value);
    else if (item->kind == ENGINE_MERGE && item->value.len > ENGINE_OPERAND_TIME)
        print_steps(&p, item->value);
}
