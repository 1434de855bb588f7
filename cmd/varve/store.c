/*
 * store.c - choosing between server and directory, and records as wire bytes.
 */
#include "store.h"

#include <string.h>

#include "base/error.h"
#include "base/time_text.h"
#include "base/util.h"
#include "out.h"

#define TIMEOUT_DEFAULT (30 * VV_NS_PER_S)

vv_status store_open(const cmd_ctx *ctx, const char *default_table, store_use use, store **out,
                     vv_error *err)
{
    const cmd_common *c = &ctx->common;
    vv_status st =
        c->data != NULL ? store_open_local(c, use, out, err) : store_open_remote(c, out, err);
    if (st != VV_OK)
        return st;
    (*out)->tenant = c->tenant;
    (*out)->table = c->table != NULL ? c->table : default_table;
    (*out)->timeout_ns = c->timeout_ns > 0 ? c->timeout_ns : TIMEOUT_DEFAULT;
    (*out)->stream_timeout_ns = c->timeout_ns;
    return VV_OK;
}

static const char *const durabilities[] = {"default", "sync", "os", "none"};

bool store_parse_durability(const char *text, int *out)
{
    for (size_t i = 0; i < ARRAY_LEN(durabilities); i++)
        if (strcmp(text, durabilities[i]) == 0) {
            *out = (int)i;
            return true;
        }
    return false;
}

const char *store_durability_name(int durability)
{
    bool is_one = durability > 0 && (size_t)durability < ARRAY_LEN(durabilities);
    return is_one ? durabilities[durability] : "";
}

void cmd_tell_written(const cmd_ctx *ctx, vv_slice key, const store_written *written)
{
    out_writer o;
    const char *const names[] = {"key", "version", "durability"};
    out_init_names(&o, ctx->common.format, names, ARRAY_LEN(names));
    out_row(&o, (const out_cell[]){out_bytes(key), out_int(written->version),
                                   out_text(store_durability_name(written->durability))});
    out_end(&o);
}

/* string id = 1 */
static bool read_id(vv_slice message, vv_slice *out)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    while (wire_next(&r, &f) > 0)
        if (f.number == 1 && f.type == WIRE_BYTES)
            *out = f.bytes;
    return true;
}

static bool read_time(vv_slice message, int64_t *out_ns)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    int64_t part[2] = {0};
    while (wire_next(&r, &f) > 0)
        if (f.number <= 2 && f.type == WIRE_VARINT)
            part[f.number - 1] = (int64_t)f.value;
    return time_from_parts(part[0], part[1], out_ns);
}

bool record_parse(vv_slice record, record_parts *out)
{
    wire_reader r = wire_reader_of(record);
    wire_field f = {0};
    int more;
    *out = (record_parts){.raw = record};
    while ((more = wire_next(&r, &f)) > 0) {
        if (f.number == 5 && f.type == WIRE_VARINT)
            out->version = (int64_t)f.value;
        if (f.type != WIRE_BYTES)
            continue;
        if (f.number == 2)
            out->body = f.bytes;
        if (f.number == 4 && !read_time(f.bytes, &out->time_ns))
            return false;
        if (f.number == 1) {
            wire_reader id = wire_reader_of(f.bytes);
            wire_field g = {0};
            while (wire_next(&id, &g) > 0)
                if (g.number == 2 && g.type == WIRE_BYTES && !read_id(g.bytes, &out->id))
                    return false;
        }
    }
    return more == 0;
}

bool record_next_meta(wire_reader *r, vv_slice *key, vv_slice *value)
{
    wire_field f = {0};
    while (wire_next(r, &f) > 0) {
        if (f.number != 6 || f.type != WIRE_BYTES)
            continue;
        wire_reader pair = wire_reader_of(f.bytes);
        wire_field g = {0};
        *key = *value = (vv_slice){0};
        while (wire_next(&pair, &g) > 0) {
            if (g.number == 1 && g.type == WIRE_BYTES)
                *key = g.bytes;
            if (g.number == 2 && g.type == WIRE_BYTES)
                *value = g.bytes;
        }
        return true;
    }
    return false;
}

static void put_id(vv_buf *out, uint32_t number, vv_slice id)
{
    size_t begin = wire_begin(out, number);
    wire_put_string(out, 1, id);
    wire_end(out, begin);
}

void record_put(vv_buf *out, vv_slice tenant, vv_slice table, const store_record *record)
{
    size_t begin = wire_begin(out, 1);
    put_id(out, 1, tenant);
    put_id(out, 2, record->id);
    wire_end(out, begin);
    wire_put_bytes(out, 2, record->body);
    begin = wire_begin(out, 3);
    wire_put_string(out, 2, table);
    wire_end(out, begin);
    if (record->has_time)
        wire_put_time(out, 4, record->time_ns);
    for (size_t i = 0; i < record->meta_count; i++) {
        begin = wire_begin(out, 6);
        wire_put_string(out, 1, record->meta[2 * i]);
        wire_put_string(out, 2, record->meta[2 * i + 1]);
        wire_end(out, begin);
    }
}

/* A span in the largest unit that it is whole in. */
static int print_span(char *out, size_t size, int64_t ns)
{
    static const struct {
        const char *unit;
        int64_t ns;
    } units[] = {{"d", 86400 * VV_NS_PER_S}, {"h", 3600 * VV_NS_PER_S}, {"m", 60 * VV_NS_PER_S},
                 {"s", VV_NS_PER_S},         {"ms", VV_NS_PER_MS},      {"ns", 1}};
    size_t i = 0;
    if (ns == 0)
        return snprintf(out, size, "0");
    while (ns % units[i].ns != 0)
        i++;
    return snprintf(out, size, "%lld%s", (long long)(ns / units[i].ns), units[i].unit);
}

void store_rules_text(const vv_keep_rule *rules, size_t count, char out[STORE_RULES_TEXT])
{
    static const char *const signs[] = {"=", "!=", "=~", "!~", "^="}; /* by vv_match */
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        const vv_matcher *m = &rules[i].match;
        char span[32];
        (void)print_span(span, sizeof span, rules[i].retention_ns);
        if ((unsigned)m->op >= ARRAY_LEN(signs) || at >= STORE_RULES_TEXT)
            return;
        at += (size_t)snprintf(out + at, STORE_RULES_TEXT - at, "%s%.*s%s%.*s:%s",
                               i == 0 ? "" : ", ", (int)m->name.len, (const char *)m->name.data,
                               signs[m->op], (int)m->value.len, (const char *)m->value.data, span);
    }
}
