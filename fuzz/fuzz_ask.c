/*
 * fuzz_ask.c - questions to series: the requests of varve.v1.Series against protobuf-c as the
 * oracle, and the parameters of /api/v1/series.
 *
 * The first byte chooses the question and how it comes. Laws of requests: those of fuzz_kv.c. Of
 * parameters: those that are accepted, written with every byte as %XX, are read as the same
 * question.
 */
#include "fuzz_proto.h"
#include "server/svc_http_series.h"
#include "varve/v1/series.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int64_t frozen(vv_clock *clock)
{
    (void)clock;
    return INT64_C(1767323045000000001);
}

static const vv_clock_ops frozen_ops = {.mono_ns = frozen, .wall_ns = frozen};
static vv_clock clock_at_rest = {&frozen_ops};
static node a_node = {.env.clock = &clock_at_rest};

/* A question that is only read: no call, no table. */
static void begin(svc_series_ask *a)
{
    *a = (svc_series_ask){.n = &a_node, .query = VV_SERIES_QUERY_INIT};
    vv_arena_init(&a->arena, SVC_SERIES_ARENA_MAX);
}

/* ---- requests ---- */

static void same_matchers(const svc_series_ask *a, Varve__V1__Matcher *const *m, size_t count)
{
    MUST(a->matcher_count == count);
    for (size_t i = 0; i < count; i++) {
        MUST(same_text(m[i]->name, a->matchers[i].name));
        MUST((uint32_t)m[i]->op == (uint32_t)a->matchers[i].op);
        MUST(same_text(m[i]->value, a->matchers[i].value));
    }
}

static bool same_double(double a, double b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

static void compare_query(const svc_series_ask *a, const void *message)
{
    const Varve__V1__QuerySeriesRequest *m = message;
    const vv_series_query *q = &a->query;
    MUST(same_table(m->table, &a->ref));
    same_matchers(a, m->matchers, m->n_matchers);
    MUST(m->start_ns == q->start_ns && m->end_ns == q->end_ns && m->step_ns == q->step_ns);
    MUST(m->offset_ns == q->offset_ns && (uint32_t)m->aggregate == (uint32_t)q->aggregate);
    MUST(same_double(m->percentile, q->percentile) && m->n_group_by == q->group_count);
    for (size_t i = 0; i < q->group_count; i++)
        MUST(same_text(m->group_by[i], q->group_by[i]));
    MUST((m->grouped || m->n_group_by > 0) == q->is_grouped);
    MUST((uint32_t)m->across == (uint32_t)q->across && (uint32_t)m->fill == (uint32_t)q->fill);
    MUST(same_double(m->fill_value, q->fill_value) && m->max_gap_ns == q->max_gap_ns);
    MUST((uint32_t)m->reduce == (uint32_t)q->reduce && m->points == q->points);
    MUST((m->all_quality != 0) == q->all_quality);
}

static void compare_latest(const svc_series_ask *a, const void *message)
{
    const Varve__V1__LatestRequest *m = message;
    MUST(same_table(m->table, &a->ref));
    same_matchers(a, m->matchers, m->n_matchers);
}

static void compare_list(const svc_series_ask *a, const void *message)
{
    const Varve__V1__ListSeriesRequest *m = message;
    MUST(same_table(m->table, &a->ref) && m->limit == a->limit);
    same_matchers(a, m->matchers, m->n_matchers);
}

static void compare_values(const svc_series_ask *a, const void *message)
{
    const Varve__V1__LabelValuesRequest *m = message;
    MUST(same_table(m->table, &a->ref) && m->limit == a->limit && same_text(m->name, a->name));
    same_matchers(a, m->matchers, m->n_matchers);
}

static void compare_delete(const svc_series_ask *a, const void *message)
{
    const Varve__V1__DeleteSamplesRequest *m = message;
    MUST(same_table(m->table, &a->ref) && (m->drop_series != 0) == a->drops);
    MUST(m->start_ns == a->query.start_ns && m->end_ns == a->query.end_ns);
    same_matchers(a, m->matchers, m->n_matchers);
}

static const struct {
    const ProtobufCMessageDescriptor *desc;
    svc_series_kind kind;
    void (*compare)(const svc_series_ask *a, const void *message);
} rows[] = {
    {&varve__v1__query_series_request__descriptor, SVC_SERIES_QUERY, compare_query},
    {&varve__v1__latest_request__descriptor, SVC_SERIES_LATEST, compare_latest},
    {&varve__v1__list_series_request__descriptor, SVC_SERIES_LIST, compare_list},
    {&varve__v1__label_values_request__descriptor, SVC_SERIES_VALUES, compare_values},
    {&varve__v1__delete_samples_request__descriptor, SVC_SERIES_DELETE, compare_delete},
};
#define ROWS (sizeof rows / sizeof rows[0])

/* What protobuf-c saw, m, is compared unless it is NULL. A request of too many parts is refused in
 * words: that is an answer too. */
static vv_status read_request(size_t row, vv_slice in, const void *m)
{
    svc_series_ask a;
    vv_error err = {0};
    begin(&a);
    a.msg.data = in;
    vv_status st = svc_series_read(&a, rows[row].kind, &err);
    MUST(st == VV_OK || (st == VV_INVALID && err.msg[0] != '\0'));
    if (st == VV_OK && m != NULL)
        rows[row].compare(&a, m);
    if (a.failed != VV_OK) /* too many of something */
        st = VV_BUSY;
    vv_arena_fini(&a.arena);
    return st;
}

static void fuzz_request(size_t row, vv_slice in)
{
    bool pieces = false;
    ProtobufCMessage *m = protobuf_c_message_unpack(rows[row].desc, NULL, in.len, in.data);
    (void)is_strict(rows[row].desc, in, &pieces);
    (void)read_request(row, in, pieces ? NULL : m);
    if (m == NULL)
        return;
    size_t len = protobuf_c_message_get_packed_size(m);
    uint8_t *again = malloc(len + 1);
    MUST(again != NULL);
    MUST(protobuf_c_message_pack(m, again) == len);
    in = vv_slice_of(again, len);
    MUST(read_request(row, in, m) != VV_INVALID || !is_strict(rows[row].desc, in, &pieces));
    free(again);
    protobuf_c_message_free_unpacked(m, NULL);
}

/* ---- parameters ---- */

static vv_status read_params(svc_series_ask *a, svc_series_kind kind, vv_slice in,
                             prom_params *params)
{
    vv_error err = {0};
    begin(a);
    *params = (prom_params){0};
    vv_status st = prom_params_add(params, in, &a->arena, &err);
    if (st == VV_OK)
        st = svc_series_take_params(a, kind, params, &err);
    MUST(st == VV_OK || err.msg[0] != '\0');
    return st;
}

static void put_percent(vv_buf *out, vv_slice text)
{
    for (size_t i = 0; i < text.len; i++)
        vv_buf_printf(out, "%%%02x", text.data[i]);
}

static void same_question(const svc_series_ask *a, const svc_series_ask *b)
{
    const vv_series_query *p = &a->query, *q = &b->query;
    MUST(vv_slice_eq(a->ref.tenant, b->ref.tenant) && vv_slice_eq(a->ref.table, b->ref.table));
    MUST(a->matcher_count == b->matcher_count && a->limit == b->limit && a->drops == b->drops);
    for (size_t i = 0; i < a->matcher_count; i++) {
        MUST(a->matchers[i].op == b->matchers[i].op);
        MUST(vv_slice_eq(a->matchers[i].name, b->matchers[i].name));
        MUST(vv_slice_eq(a->matchers[i].value, b->matchers[i].value));
    }
    MUST(p->start_ns == q->start_ns && p->end_ns == q->end_ns && p->step_ns == q->step_ns);
    MUST(p->offset_ns == q->offset_ns && p->aggregate == q->aggregate && p->across == q->across);
    MUST(same_double(p->percentile, q->percentile) && p->is_grouped == q->is_grouped);
    MUST(p->group_count == q->group_count && p->fill == q->fill && p->reduce == q->reduce);
    for (size_t i = 0; i < p->group_count; i++)
        MUST(p->group_by[i].len > 0 && vv_slice_eq(p->group_by[i], q->group_by[i]));
    MUST(same_double(p->fill_value, q->fill_value) && p->max_gap_ns == q->max_gap_ns);
    MUST(p->points == q->points && p->all_quality == q->all_quality);
}

static void fuzz_params(svc_series_kind kind, vv_slice in)
{
    svc_series_ask a, b;
    prom_params params;
    if (read_params(&a, kind, in, &params) == VV_OK) {
        vv_buf again;
        vv_buf_init(&again, 8u << 20);
        for (size_t i = 0; i < params.count; i++) {
            put_percent(&again, params.items[i].name);
            vv_buf_append_str(&again, "=");
            put_percent(&again, params.items[i].value);
            vv_buf_append_str(&again, "&");
        }
        MUST(again.status == VV_OK);
        MUST(read_params(&b, kind, vv_buf_slice(&again), &params) == VV_OK);
        same_question(&a, &b);
        vv_arena_fini(&b.arena);
        vv_buf_fini(&again);
    }
    vv_arena_fini(&a.arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const size_t row = data[0] % (2 * ROWS);
    const vv_slice in = vv_slice_of(data + 1, size - 1);
    if (row < ROWS)
        fuzz_request(row, in);
    else
        fuzz_params(rows[row - ROWS].kind, in);
    return 0;
}
