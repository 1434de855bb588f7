/*
 * svc_stream_figures.c - what the tables of streams hold, and how far behind their consumers are.
 *
 * A scrape must not grow with what users make: the first FIG_STREAMS_MAX tables by name are told
 * apart, and the first FIG_POSITIONS_MAX positions of each; how many there are beyond is told too.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/util.h"
#include "query/struct_json.h"
#include "server/svc_figures.h"
#include "server/svc_util.h"
#include "varve/stream.h"

typedef struct position {
    char name[VV_STREAM_POSITION_MAX + 1];
    uint64_t lag; /* over all partitions */
} position;

typedef struct row {
    char tenant[VV_NAME_MAX + 1];
    char table[VV_NAME_MAX + 1];
    uint64_t appended;
    uint64_t kept;
    uint64_t bytes;
    int64_t first_ns; /* receive time of the oldest that is kept; 0: none */
    int64_t last_ns;
    size_t position_count;
    position position[FIG_POSITIONS_MAX];
} row;

typedef struct found {
    node *n;
    size_t count;
    uint64_t beyond; /* tables */
    row row[FIG_STREAMS_MAX];
} found;

static int add_position(void *ctx, const vv_stream_position *p)
{
    row *r = ctx;
    size_t i = 0;
    while (i < r->position_count && strcmp(r->position[i].name, p->name) != 0)
        i++;
    if (i == FIG_POSITIONS_MAX)
        return 0;
    if (i == r->position_count) {
        (void)snprintf(r->position[i].name, sizeof r->position[i].name, "%s", p->name);
        r->position[i].lag = 0;
        r->position_count++;
    }
    r->position[i].lag += p->lag;
    return 0;
}

static vv_status read_table(vv_table *table, uint32_t partitions, row *r)
{
    vv_status st = VV_OK;
    for (uint32_t p = 0; st == VV_OK && p < partitions; p++) {
        vv_stream_stats s = {.size = sizeof s};
        st = vv_stream_stats_read(table, p, NULL, &s, NULL);
        if (st != VV_OK)
            return st;
        r->appended += s.next_offset;
        r->kept += s.messages;
        r->bytes += s.bytes;
        if (s.first_receive_ns != 0 && (r->first_ns == 0 || s.first_receive_ns < r->first_ns))
            r->first_ns = s.first_receive_ns;
        if (s.last_receive_ns > r->last_ns)
            r->last_ns = s.last_receive_ns;
    }
    return vv_stream_position_list(table, add_position, r, NULL);
}

static int add_table(void *ctx, const vv_table_info *info)
{
    found *f = ctx;
    if (info->kind != VV_TABLE_STREAM)
        return 0;
    if (f->count == FIG_STREAMS_MAX) {
        f->beyond++;
        return 0;
    }
    const gate_identity node_itself = {.loopback = true}; /* the question is authorized already */
    const gate_op op = {
        .kind = GATE_READ, .tenant = vv_slice_str(info->tenant), .table = vv_slice_str(info->name)};
    gate_grant grant;
    vv_table *table = NULL;
    row *r = &f->row[f->count];
    memset(r, 0, sizeof *r);
    vv_status st = gate_authorize(f->n->gate, &node_itself, &op, 1, &grant, NULL);
    if (st == VV_OK)
        st = gate_find_table(&grant, 0, VV_TABLE_STREAM, &table, NULL);
    if (st == VV_OK)
        st = read_table(table, info->partitions, r);
    vv_table_close(table);
    if (st != VV_OK)
        return 0; /* dropped meanwhile, or damaged: reads tell */
    (void)snprintf(r->tenant, sizeof r->tenant, "%s", info->tenant);
    (void)snprintf(r->table, sizeof r->table, "%s", info->name);
    f->count++;
    return 0;
}

/* NULL: memory is short. */
static found *find(node *n)
{
    found *f = vv_calloc(1, sizeof *f);
    if (f == NULL)
        return NULL;
    f->n = n;
    vv_status st = vv_table_list_names(n->db, NULL, add_table, f, NULL);
    (void)st; /* what could be read is there */
    return f;
}

/* ---- /metrics ------------------------------------------------------------------------------ */

static double age(const found *f, int64_t since_ns)
{
    int64_t now = vv_clock_wall(f->n->env.clock);
    return since_ns == 0 || since_ns > now ? 0 : (double)(now - since_ns) / 1e9;
}

static void per_table(vv_buf *out, const found *f, const char *name, const char *type,
                      const char *help, double (*value)(const found *f, const row *r))
{
    fig_head(out, name, type, help);
    for (size_t i = 0; i < f->count; i++)
        vv_buf_printf(out, "%s{tenant=\"%s\",table=\"%s\"} %.17g\n", name, f->row[i].tenant,
                      f->row[i].table, value(f, &f->row[i]));
}

static double appended(const found *f, const row *r)
{
    (void)f;
    return (double)r->appended;
}

static double kept(const found *f, const row *r)
{
    (void)f;
    return (double)r->kept;
}

static double bytes(const found *f, const row *r)
{
    (void)f;
    return (double)r->bytes;
}

static double oldest(const found *f, const row *r)
{
    return age(f, r->first_ns);
}

static double last(const found *f, const row *r)
{
    (void)f;
    return (double)r->last_ns / 1e9;
}

static void lags(vv_buf *out, const found *f)
{
    static const char name[] = "varve_stream_position_lag_messages";
    fig_head(out, name, "gauge", "Messages between a consumer's position and the end.");
    for (size_t i = 0; i < f->count; i++)
        for (size_t k = 0; k < f->row[i].position_count; k++)
            vv_buf_printf(out, "%s{tenant=\"%s\",table=\"%s\",position=\"%s\"} %" PRIu64 "\n", name,
                          f->row[i].tenant, f->row[i].table, f->row[i].position[k].name,
                          f->row[i].position[k].lag);
}

void svc_stream_figures(node *n, vv_buf *out)
{
    found *f = find(n);
    if (f == NULL)
        return;
    per_table(out, f, "varve_stream_messages_total", "counter",
              "Messages that were ever appended to a stream.", appended);
    per_table(out, f, "varve_stream_kept_messages", "gauge", "Messages that are kept.", kept);
    per_table(out, f, "varve_stream_kept_bytes", "gauge", "Their bytes, as stored in blocks.",
              bytes);
    per_table(out, f, "varve_stream_oldest_age_seconds", "gauge",
              "Age of the oldest message that is kept.", oldest);
    per_table(out, f, "varve_stream_last_append_timestamp_seconds", "gauge",
              "When the newest message came, since 1970.", last);
    lags(out, f);
    fig_gauge(out, "varve_stream_tables", "Tables of streams.", (double)(f->count + f->beyond));
    fig_gauge(out, "varve_stream_tables_beyond", "Of them, those without figures of their own.",
              (double)f->beyond);
    vv_free(f);
}

/* ---- /api/v1/pipeline ---------------------------------------------------------------------- */

static void put_row(const found *f, const row *r, vv_buf *json)
{
    vv_buf_printf(json,
                  "{\"tenant\":\"%s\",\"table\":\"%s\",\"messages\":%" PRIu64 ",\"kept\":%" PRIu64
                  ",\"bytes\":%" PRIu64 ",\"oldestAgeSeconds\":%.3f,\"lastAppendAgeSeconds\":%.3f,"
                  "\"positions\":[",
                  r->tenant, r->table, r->appended, r->kept, r->bytes, age(f, r->first_ns),
                  age(f, r->last_ns));
    for (size_t i = 0; i < r->position_count; i++) {
        vv_buf_append_str(json, i == 0 ? "{\"name\":" : ",{\"name\":");
        json_put_string(json, vv_slice_str(r->position[i].name));
        vv_buf_printf(json, ",\"lag\":%" PRIu64 "}", r->position[i].lag);
    }
    vv_buf_append_str(json, "]}");
}

void svc_stream_put_state(node *n, vv_buf *json)
{
    found *f = find(n);
    vv_buf_append_str(json, "\"streams\":[");
    for (size_t i = 0; f != NULL && i < f->count; i++) {
        if (i > 0)
            vv_buf_append_u8(json, ',');
        put_row(f, &f->row[i], json);
    }
    vv_buf_printf(json, "],\"streamsBeyond\":%" PRIu64, f == NULL ? 0 : f->beyond);
    vv_free(f);
}
