/*
 * store_remote_series.c - a server as a store of samples: varve.v1.Series, field by field.
 *
 * Field numbers are those of proto/varve/v1/series.proto. Samples on their way in are kept by
 * series, so that a request has the labels of each once:
 *
 *     labels as wire bytes --hash--> slot --> series: time_delta | values | qualities
 */
#include "base/alloc.h"
#include "base/arena.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/util.h"
#include "store_remote.h"

#define BLOCK_MAX (512u * 1024 * 1024) /* a message, taken apart */
#define SAMPLES_MAX (8u * 1024 * 1024) /* of one request */
#define COLUMN_MAX (32u * 1024 * 1024)
#define SLOTS_FIRST 1024u

/* ---- answers ---- */

/* Messages of a stream on their way to each() of the caller. */
typedef struct taker {
    const char *method;
    vv_arena arena; /* what one message becomes */
    int (*series)(void *ctx, const vv_series_info *series);
    int (*sample)(void *ctx, const vv_series_info *series, const vv_sample *sample);
    int (*block)(void *ctx, const vv_series_block *block);
    void *ctx;
} taker;

static int64_t unzigzag(uint64_t v)
{
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

static bool is_of(const wire_field *f, uint32_t number, wire_type type)
{
    return f->number == number && f->type == type;
}

/* SeriesLabel in field 1, repeated. */
static bool take_labels(taker *t, vv_slice message, const vv_label **out, size_t *count)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    size_t n = 0;
    while (wire_next(&r, &f) > 0)
        n += is_of(&f, 1, WIRE_BYTES);
    vv_label *labels = vv_arena_alloc(&t->arena, (n + 1) * sizeof *labels);
    if (r.fault != WIRE_GOOD || labels == NULL)
        return false;
    r = wire_reader_of(message);
    *count = 0;
    while (wire_next(&r, &f) > 0)
        if (is_of(&f, 1, WIRE_BYTES))
            labels[(*count)++] = (vv_label){bytes_of(f.bytes, 1), bytes_of(f.bytes, 2)};
    *out = labels;
    return true;
}

/* Elements of a repeated number, packed or not, from out on; out NULL: they are counted alone. */
static bool take_numbers(vv_slice message, uint32_t number, wire_type type, uint64_t *out,
                         size_t *count)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    *count = 0;
    while (wire_next(&r, &f) > 0) {
        if (f.number != number || (f.type != type && f.type != WIRE_BYTES))
            continue;
        wire_reader piece = wire_reader_of(f.bytes);
        uint64_t v = f.value;
        bool more = f.type == type || piece.next != piece.end;
        while (more) {
            if (f.type != type && !wire_value(&piece, type, &v))
                return false;
            if (out != NULL)
                out[*count] = v;
            ++*count;
            more = f.type != type && piece.next != piece.end;
        }
    }
    return true;
}

/* NULL and *count 0 when there is none; false when malformed or memory is short. */
static bool take_column(taker *t, vv_slice message, uint32_t number, wire_type type, uint64_t **out,
                        size_t *count)
{
    *out = NULL;
    if (!take_numbers(message, number, type, NULL, count))
        return false;
    if (*count == 0)
        return true;
    *out = vv_arena_alloc(&t->arena, *count * sizeof **out);
    return *out != NULL && take_numbers(message, number, type, *out, count);
}

static bool take_times(taker *t, vv_slice message, vv_series_block *b)
{
    uint64_t *raw;
    uint64_t last = 0;
    if (!take_column(t, message, 2, WIRE_VARINT, &raw, &b->count))
        return false;
    for (size_t i = 0; i < b->count; i++)
        raw[i] = last += (uint64_t)unzigzag(raw[i]);
    b->time_ns = (const int64_t *)raw;
    return true;
}

static bool take_strings(taker *t, vv_slice message, size_t count, vv_series_block *b)
{
    vv_slice *text = vv_arena_alloc(&t->arena, (count + 1) * sizeof *text);
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    size_t n = 0;
    while (text != NULL && wire_next(&r, &f) > 0)
        if (is_of(&f, 6, WIRE_BYTES) && n++ < count)
            text[n - 1] = f.bytes;
    b->type = VV_STRING;
    b->string = text;
    return text != NULL && n == count;
}

/* The column that is there tells the type. */
static bool take_values(taker *t, vv_slice message, vv_series_block *b)
{
    uint64_t *raw;
    size_t count;
    b->type = VV_F64;
    if (!take_column(t, message, 3, WIRE_FIXED64, &raw, &count))
        return false;
    if (count > 0) {
        b->f64 = (const double *)(const void *)raw;
        return count == b->count;
    }
    if (!take_column(t, message, 4, WIRE_VARINT, &raw, &count))
        return false;
    for (size_t i = 0; i < count; i++)
        raw[i] = (uint64_t)unzigzag(raw[i]);
    b->type = VV_I64;
    if (count == 0) {
        b->type = VV_BOOL;
        if (!take_column(t, message, 5, WIRE_VARINT, &raw, &count))
            return false;
    }
    b->i64 = (const int64_t *)raw;
    return count > 0 ? count == b->count : take_strings(t, message, b->count, b);
}

static bool take_marks(taker *t, vv_slice message, vv_series_block *b)
{
    uint64_t *raw;
    size_t count;
    if (!take_column(t, message, 7, WIRE_VARINT, &raw, &count))
        return false;
    if (count > 0) {
        uint32_t *quality = vv_arena_alloc(&t->arena, count * sizeof *quality);
        for (size_t i = 0; quality != NULL && i < count; i++)
            quality[i] = (uint32_t)raw[i];
        b->quality = quality;
        if (quality == NULL || count != b->count)
            return false;
    }
    if (!take_column(t, message, 8, WIRE_VARINT, &raw, &count))
        return false;
    if (count > 0) {
        uint8_t *is_null = vv_arena_alloc(&t->arena, b->count + 1);
        if (is_null == NULL)
            return false;
        memset(is_null, 0, b->count + 1);
        for (size_t i = 0; i < count; i++)
            is_null[vv_min_u64(raw[i], b->count)] = 1;
        b->is_null = is_null;
    }
    return true;
}

static vv_status take_block(void *ctx, vv_slice message, bool *stop, vv_error *err)
{
    taker *t = ctx;
    vv_series_block b = {.is_last_of_series = varint_of(message, 9) != 0};
    vv_arena_reset(&t->arena);
    if (!take_labels(t, message, &b.labels, &b.label_count) || !take_times(t, message, &b) ||
        !take_values(t, message, &b) || !take_marks(t, message, &b))
        return remote_malformed(err, t->method);
    *stop = t->block(t->ctx, &b) != 0;
    return VV_OK;
}

static vv_status take_sample(void *ctx, vv_slice message, bool *stop, vv_error *err)
{
    taker *t = ctx;
    vv_series_info info = {0};
    vv_sample s = {.type = VV_F64};
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    while (wire_next(&r, &f) > 0) {
        if (is_of(&f, 2, WIRE_VARINT)) {
            s.time_ns = (int64_t)f.value;
        } else if (is_of(&f, 3, WIRE_FIXED64)) {
            s.f64 = wire_double(f.value);
        } else if (is_of(&f, 4, WIRE_VARINT) || is_of(&f, 5, WIRE_VARINT)) {
            s.type = f.number == 4 ? VV_I64 : VV_BOOL;
            s.i64 = f.number == 4 ? unzigzag(f.value) : f.value != 0;
        } else if (is_of(&f, 6, WIRE_BYTES)) {
            s.type = VV_STRING;
            s.string = f.bytes;
        } else if (is_of(&f, 7, WIRE_VARINT)) {
            s.quality = (uint32_t)f.value;
        }
    }
    vv_arena_reset(&t->arena);
    if (!take_labels(t, message, &info.labels, &info.label_count))
        return remote_malformed(err, t->method);
    info.type = s.type;
    *stop = t->sample(t->ctx, &info, &s) != 0;
    return VV_OK;
}

static vv_status take_series(void *ctx, vv_slice message, bool *stop, vv_error *err)
{
    taker *t = ctx;
    vv_series_info info = {.id = varint_of(message, 2),
                           .type = (vv_sample_type)varint_of(message, 3)};
    vv_arena_reset(&t->arena);
    if (!take_labels(t, message, &info.labels, &info.label_count))
        return remote_malformed(err, t->method);
    *stop = t->series(t->ctx, &info) != 0;
    return VV_OK;
}

/* ---- questions ---- */

static void put_matchers(remote *r, uint32_t number, store_match match)
{
    for (size_t i = 0; i < match.count; i++) {
        size_t mark = wire_begin(&r->request, number);
        wire_put_string(&r->request, 1, match.items[i].name);
        wire_put_uint(&r->request, 2, (uint64_t)match.items[i].op);
        wire_put_string(&r->request, 3, match.items[i].value);
        wire_end(&r->request, mark);
    }
}

static remote *begin_series(store *s, store_match match, uint32_t number)
{
    remote *r = remote_of(s);
    vv_buf_reset(&r->request);
    put_ref(r, 1, s->tenant, s->table);
    put_matchers(r, number, match);
    return r;
}

static vv_status ask(remote *r, taker *t,
                     vv_status (*each)(void *ctx, vv_slice message, bool *stop, vv_error *err),
                     vv_error *err)
{
    vv_arena_init(&t->arena, BLOCK_MAX);
    vv_status st = remote_messages(r, t->method, each, t, err);
    vv_arena_fini(&t->arena);
    return st;
}

static vv_status series_list(store *s, store_match match,
                             int (*each)(void *ctx, const vv_series_info *series), void *ctx,
                             vv_error *err)
{
    remote *r = begin_series(s, match, 2);
    taker t = {.method = "/varve.v1.Series/ListSeries", .series = each, .ctx = ctx};
    wire_put_uint(&r->request, 3, UINT64_MAX); /* as many as the store lists */
    return ask(r, &t, take_series, err);
}

static vv_status series_latest(store *s, store_match match,
                               int (*each)(void *ctx, const vv_series_info *series,
                                           const vv_sample *sample),
                               void *ctx, vv_error *err)
{
    remote *r = begin_series(s, match, 2);
    taker t = {.method = "/varve.v1.Series/Latest", .sample = each, .ctx = ctx};
    return ask(r, &t, take_sample, err);
}

static vv_status series_labels(store *s, vv_slice name, store_match match,
                               int (*each)(void *ctx, vv_slice text), void *ctx, vv_error *err)
{
    remote *r = begin_series(s, match, 3);
    wire_put_string(&r->request, 2, name);
    wire_put_uint(&r->request, 4, UINT64_MAX);
    vv_status st = remote_unary(r, "/varve.v1.Series/LabelValues", err);
    if (st != VV_OK)
        return st;
    wire_reader at = wire_reader_of(vv_buf_slice(&r->reply));
    wire_field f = {0};
    while (wire_next(&at, &f) > 0)
        if (is_of(&f, 1, WIRE_BYTES) && each(ctx, f.bytes) != 0)
            return VV_OK;
    return at.fault == WIRE_GOOD ? VV_OK : remote_malformed(err, "LabelValues");
}

static vv_status series_query(store *s, const vv_series_query *q,
                              int (*each)(void *ctx, const vv_series_block *block), void *ctx,
                              vv_error *err)
{
    const store_match match = {q->matchers, q->matcher_count};
    remote *r = begin_series(s, match, 2);
    taker t = {.method = "/varve.v1.Series/QuerySeries", .block = each, .ctx = ctx};
    wire_put_int(&r->request, 3, q->start_ns);
    wire_put_int(&r->request, 4, q->end_ns);
    wire_put_int(&r->request, 5, q->step_ns);
    wire_put_int(&r->request, 6, q->offset_ns);
    wire_put_uint(&r->request, 7, (uint64_t)q->aggregate);
    wire_put_double(&r->request, 8, q->percentile);
    for (size_t i = 0; i < q->group_count; i++)
        wire_put_bytes(&r->request, 9, q->group_by[i]);
    wire_put_uint(&r->request, 10, q->is_grouped);
    wire_put_uint(&r->request, 11, (uint64_t)q->across);
    wire_put_uint(&r->request, 12, (uint64_t)q->fill);
    wire_put_double(&r->request, 13, q->fill_value);
    wire_put_int(&r->request, 14, q->max_gap_ns);
    wire_put_uint(&r->request, 15, (uint64_t)q->reduce);
    wire_put_uint(&r->request, 16, q->points);
    wire_put_uint(&r->request, 17, q->all_quality);
    return ask(r, &t, take_block, err);
}

static vv_status delete_call(remote *r, uint64_t *count, vv_error *err)
{
    vv_status st = remote_unary(r, "/varve.v1.Series/DeleteSamples", err);
    if (st == VV_OK)
        *count = varint_of(vv_buf_slice(&r->reply), 1);
    return st;
}

static vv_status series_delete(store *s, store_match match, int64_t start_ns, int64_t end_ns,
                               uint64_t *count, vv_error *err)
{
    remote *r = begin_series(s, match, 2);
    wire_put_int(&r->request, 3, start_ns);
    wire_put_int(&r->request, 4, end_ns);
    return delete_call(r, count, err);
}

static vv_status series_drop(store *s, store_match match, uint64_t *count, vv_error *err)
{
    remote *r = begin_series(s, match, 2);
    wire_put_uint(&r->request, 5, true);
    return delete_call(r, count, err);
}

/* ---- samples on their way in ---- */

typedef struct column_set {
    vv_slice labels; /* fields 1 of SeriesSamples; in the arena */
    uint64_t hash;
    vv_sample_type type;
    vv_buf time;
    vv_buf value; /* packed; of strings whole fields */
    vv_buf quality;
    bool has_quality; /* one that is not good */
    uint64_t last;
} column_set;

typedef struct remote_samples {
    vv_arena arena;
    vv_buf labels; /* of the sample at hand */
    column_set *series;
    size_t count;
    size_t cap;
    uint32_t *slot; /* 1 + place in series; 0: free */
    size_t slots;   /* a power of two */
    size_t bytes;
} remote_samples;

static void forget(remote_samples *s)
{
    for (size_t i = 0; i < s->count; i++) {
        vv_buf_fini(&s->series[i].time);
        vv_buf_fini(&s->series[i].value);
        vv_buf_fini(&s->series[i].quality);
    }
    if (s->slots > 0)
        memset(s->slot, 0, s->slots * sizeof *s->slot);
    vv_arena_reset(&s->arena);
    s->count = 0;
    s->bytes = 0;
}

void remote_samples_free(remote *r)
{
    remote_samples *s = r->samples;
    if (s == NULL)
        return;
    forget(s);
    vv_arena_fini(&s->arena);
    vv_buf_fini(&s->labels);
    vv_free(s->series);
    vv_free(s->slot);
    vv_free(s);
    r->samples = NULL;
}

/* Room for one more series. */
static bool make_room(remote_samples *s)
{
    if (s->count < s->cap)
        return true;
    size_t cap = s->cap == 0 ? SLOTS_FIRST / 2 : 2 * s->cap;
    column_set *series = vv_realloc(s->series, cap * sizeof *series);
    if (series == NULL)
        return false;
    s->series = series;
    uint32_t *slot = vv_calloc(2 * cap, sizeof *slot);
    if (slot == NULL)
        return false;
    vv_free(s->slot);
    s->slot = slot;
    s->slots = 2 * cap;
    s->cap = cap;
    for (size_t i = 0; i < s->count; i++) {
        size_t at = s->series[i].hash & (s->slots - 1);
        while (slot[at] != 0)
            at = (at + 1) & (s->slots - 1);
        slot[at] = (uint32_t)i + 1;
    }
    return true;
}

/* The series of the labels and the type; NULL when memory is short. */
static column_set *series_of(remote_samples *s, vv_slice labels, vv_sample_type type)
{
    const uint64_t hash = vv_hash64_seed(labels.data, labels.len, (uint64_t)type);
    if (!make_room(s))
        return NULL;
    size_t at = hash & (s->slots - 1);
    for (; s->slot[at] != 0; at = (at + 1) & (s->slots - 1)) {
        column_set *c = &s->series[s->slot[at] - 1];
        if (c->hash == hash && c->type == type && vv_slice_eq(c->labels, labels))
            return c;
    }
    vv_slice kept = vv_arena_dup(&s->arena, labels);
    if (kept.data == NULL)
        return NULL;
    column_set *c = &s->series[s->count++];
    *c = (column_set){.labels = kept, .hash = hash, .type = type};
    vv_buf_init(&c->time, COLUMN_MAX);
    vv_buf_init(&c->value, COLUMN_MAX);
    vv_buf_init(&c->quality, COLUMN_MAX);
    s->slot[at] = (uint32_t)s->count;
    s->bytes += labels.len;
    return c;
}

static uint64_t zigzag(int64_t v)
{
    return (uint64_t)v << 1 ^ (v < 0 ? UINT64_MAX : 0);
}

static void put_sample(column_set *c, const vv_sample *s)
{
    vv_buf_append_varint(&c->time, zigzag((int64_t)((uint64_t)s->time_ns - c->last)));
    vv_buf_append_le32(&c->quality, s->quality);
    c->last = (uint64_t)s->time_ns;
    c->has_quality |= s->quality != VV_QUALITY_GOOD;
    switch (s->type) {
    case VV_I64:
        vv_buf_append_varint(&c->value, zigzag(s->i64));
        break;
    case VV_BOOL:
        vv_buf_append_u8(&c->value, s->i64 != 0);
        break;
    case VV_STRING:
        wire_put_bytes(&c->value, 9, s->string);
        break;
    case VV_F64:
    default:
        vv_buf_append_le64(&c->value, wire_double_bits(s->f64));
        break;
    }
}

static vv_status no_memory(vv_error *err)
{
    return vv_fail(err, VV_NO_MEMORY, "no memory for samples");
}

static vv_status series_add(store *base, const vv_label *labels, size_t label_count,
                            const vv_sample *sample, vv_error *err)
{
    remote *r = remote_of(base);
    if (r->samples == NULL) {
        r->samples = vv_calloc(1, sizeof *r->samples);
        if (r->samples == NULL)
            return no_memory(err);
        vv_arena_init(&r->samples->arena, 2 * (size_t)SAMPLES_MAX);
        vv_buf_init(&r->samples->labels, 2 * VV_LABELS_BYTES_MAX);
    }
    remote_samples *s = r->samples;
    if (s->bytes > SAMPLES_MAX)
        return vv_fail(err, VV_BUSY, "%u bytes of samples wait", SAMPLES_MAX);
    if (sample->string.len > VV_SAMPLE_STRING_MAX)
        return vv_fail(err, VV_INVALID, "a string of %zu bytes is over %u", sample->string.len,
                       VV_SAMPLE_STRING_MAX);
    vv_buf_reset(&s->labels);
    for (size_t i = 0; i < label_count; i++) {
        if (labels[i].value.len == 0)
            continue; /* the same as none */
        size_t mark = wire_begin(&s->labels, 1);
        wire_put_string(&s->labels, 1, labels[i].name);
        wire_put_string(&s->labels, 2, labels[i].value);
        wire_end(&s->labels, mark);
    }
    if (s->labels.status == VV_BUSY)
        return vv_fail(err, VV_INVALID, "the labels have over %u bytes", VV_LABELS_BYTES_MAX);
    column_set *c =
        s->labels.status == VV_OK ? series_of(s, vv_buf_slice(&s->labels), sample->type) : NULL;
    if (c == NULL)
        return no_memory(err);
    put_sample(c, sample);
    s->bytes += 24 + sample->string.len;
    return c->time.status == VV_OK && c->value.status == VV_OK && c->quality.status == VV_OK
               ? VV_OK
               : no_memory(err);
}

/* SeriesSamples; the columns of values lie at 5 + their type. */
static void put_series(vv_buf *out, const column_set *c)
{
    size_t mark = wire_begin(out, 4);
    vv_buf_append_slice(out, c->labels);
    wire_put_uint(out, 2, (uint64_t)c->type);
    wire_put_bytes(out, 4, vv_buf_slice(&c->time));
    if (c->type == VV_STRING)
        vv_buf_append_slice(out, vv_buf_slice(&c->value));
    else
        wire_put_bytes(out, 5 + (uint32_t)c->type, vv_buf_slice(&c->value));
    if (c->has_quality)
        wire_put_bytes(out, 10, vv_buf_slice(&c->quality));
    wire_end(out, mark);
}

static vv_status series_flush(store *base, int durability, store_appended *out, vv_error *err)
{
    remote *r = remote_of(base);
    remote_samples *s = r->samples;
    *out = (store_appended){0};
    if (s == NULL)
        return VV_OK;
    vv_buf_reset(&r->request);
    wire_put_string(&r->request, 1, vv_slice_str(base->tenant));
    wire_put_string(&r->request, 2, vv_slice_str(base->table));
    wire_put_string(&r->request, 3,
                    vv_slice_str(durability == 0 ? "" : store_durability_name(durability)));
    for (size_t i = 0; i < s->count; i++)
        put_series(&r->request, &s->series[i]);
    forget(s);
    vv_status st = remote_unary(r, "/varve.v1.Series/IngestSamples", err);
    vv_slice reply = vv_buf_slice(&r->reply);
    if (st != VV_OK)
        return st;
    *out = (store_appended){.accepted = varint_of(reply, 1),
                            .refused = varint_of(reply, 2),
                            .late = varint_of(reply, 3),
                            .series_created = varint_of(reply, 4)};
    copy_text(out->first_refusal, sizeof out->first_refusal, bytes_of(reply, 5));
    return VV_OK;
}

const store_series_ops remote_series_ops = {
    .list = series_list,
    .latest = series_latest,
    .labels = series_labels,
    .query = series_query,
    .delete_range = series_delete,
    .drop = series_drop,
    .add = series_add,
    .flush = series_flush,
};
