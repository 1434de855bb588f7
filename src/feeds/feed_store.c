/*
 * feed_store.c - see feed_store.h.
 */
#include "feeds/feed_store.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/lock.h"
#include "base/util.h"
#include "codec/protowire.h"

/* Labels and types go through as they are. */
static_assert(sizeof(feed_label) == sizeof(vv_label), "labels have one layout");
static_assert(offsetof(feed_label, value) == offsetof(vv_label, value), "labels have one layout");
static_assert((int)FEED_F64 == (int)VV_F64 && (int)FEED_I64 == (int)VV_I64,
              "types have one number");
static_assert((int)FEED_BOOL == (int)VV_BOOL && (int)FEED_STRING == (int)VV_STRING,
              "types have one number");
static_assert(FEED_LABELS_MAX == VV_LABELS_MAX && FEED_LABEL_BYTES_MAX == VV_LABEL_BYTES_MAX,
              "limits are those of the table");

#define LETTER_KEY_MAX 48u
#define LETTER_MAX (8u * 1024 * 1024)
#define LETTER_PAYLOAD_MAX (4u * 1024 * 1024) /* of what is longer, its beginning */

static vv_status add_samples(vv_samples *s, feed_type type, const int64_t *time_ns, feed_values v,
                             const uint32_t *quality, size_t count, vv_error *err)
{
    switch (type) {
    case FEED_F64:
        return vv_samples_f64(s, time_ns, v.f64, quality, count, err);
    case FEED_I64:
        return vv_samples_i64(s, time_ns, v.i64, quality, count, err);
    case FEED_BOOL:
        return vv_samples_bool(s, time_ns, v.boolean, quality, count, err);
    case FEED_STRING:
    default:
        return vv_samples_string(s, time_ns, v.string, quality, count, err);
    }
}

/* Whether a write that answers VV_BUSY went in but for samples of series over the limit. */
static bool is_partly_in(vv_status st, const vv_append_result *r)
{
    return st == VV_BUSY && r->refused > 0;
}

/* ---- the sink of a request ---- */

static vv_status writer_flush(feed_writer *w, vv_error *err)
{
    vv_append_result r = {0};
    if (vv_samples_count(w->samples) == 0)
        return VV_OK;
    vv_status st = vv_series_append(w->samples, w->durability, &r, err);
    vv_samples_clear(w->samples);
    if (st != VV_OK && !is_partly_in(st, &r))
        return st;
    w->total.write = r.write;
    w->total.accepted += r.accepted;
    w->total.refused += r.refused;
    w->total.late += r.late;
    w->total.series_created += r.series_created;
    if (w->total.first_refusal[0] == '\0')
        memcpy(w->total.first_refusal, r.first_refusal, sizeof r.first_refusal);
    return st;
}

static vv_status writer_series(feed_sink *sink, const feed_label *labels, size_t count,
                               feed_type type, vv_error *err)
{
    feed_writer *w = VV_CONTAINER_OF(sink, feed_writer, sink);
    assert(count <= FEED_LABELS_MAX);
    memcpy(w->labels, labels, count * sizeof *labels);
    w->label_count = count;
    w->type = type;
    return vv_samples_series(w->samples, (const vv_label *)labels, count, (vv_sample_type)type,
                             err);
}

static vv_status writer_samples(feed_sink *sink, const int64_t *time_ns, feed_values values,
                                const uint32_t *quality, size_t count, vv_error *err)
{
    feed_writer *w = VV_CONTAINER_OF(sink, feed_writer, sink);
    vv_status st = add_samples(w->samples, w->type, time_ns, values, quality, count, err);
    if (st != VV_BUSY || vv_samples_count(w->samples) == 0)
        return st;
    st = writer_flush(w, err); /* full */
    if (st == VV_OK)
        st = vv_samples_series(w->samples, (const vv_label *)w->labels, w->label_count,
                               (vv_sample_type)w->type, err);
    return st == VV_OK ? add_samples(w->samples, w->type, time_ns, values, quality, count, err)
                       : st;
}

void feed_writer_begin(feed_writer *writer, vv_samples *samples, vv_durability durability)
{
    static const feed_sink_ops ops = {writer_series, writer_samples};
    vv_samples_clear(samples);
    writer->sink.ops = &ops;
    writer->samples = samples;
    writer->durability = durability;
    writer->label_count = 0;
    writer->type = FEED_F64;
    writer->total = (vv_append_result){0};
}

vv_status feed_writer_finish(feed_writer *writer, vv_error *err)
{
    return writer_flush(writer, err);
}

/* ---- the target of a pump ---- */

typedef struct store_slot {
    feed_sink sink;
    feed_type type;
    vv_samples *samples;
    vv_batch *letters;
    bool has_letters;
} store_slot;

typedef struct feed_store {
    feed_target target;
    vv_db *db;
    feed_open_table *open;
    void (*note)(void *ctx, vv_status st);
    void *ctx;
    vv_table *table;
    vv_table *dead;
    bool is_open;
    char *tenant;
    char *name;
    char *source;
    char *stream;
    uint64_t unnumbered; /* dead letters of messages without a sequence */
    store_slot slots[FEED_SLOTS];
    vv_buf letter;
    vv_mutex lock; /* rank VV_RANK_LEAF: what follows */
    vv_cond done;
    bool is_done;
    vv_status status;
    vv_append_result result;
    vv_error why;
} feed_store;

static feed_store *store_of(feed_target *target)
{
    return VV_CONTAINER_OF(target, feed_store, target);
}

static vv_status store_position(feed_target *target, feed_position *out, vv_error *err)
{
    feed_store *s = store_of(target);
    vv_source_position p;
    vv_status st = vv_series_position(s->table, vv_slice_str(s->source), &p, err);
    if (st != VV_OK)
        return st;
    *out = (feed_position){.sequence = p.sequence};
    size_t len = vv_min_u64(p.incarnation_len, sizeof out->incarnation - 1);
    memcpy(out->incarnation, p.incarnation, len);
    return VV_OK;
}

static vv_status slot_series(feed_sink *sink, const feed_label *labels, size_t count,
                             feed_type type, vv_error *err)
{
    store_slot *slot = VV_CONTAINER_OF(sink, store_slot, sink);
    slot->type = type;
    return vv_samples_series(slot->samples, (const vv_label *)labels, count, (vv_sample_type)type,
                             err);
}

static vv_status slot_samples(feed_sink *sink, const int64_t *time_ns, feed_values values,
                              const uint32_t *quality, size_t count, vv_error *err)
{
    store_slot *slot = VV_CONTAINER_OF(sink, store_slot, sink);
    return add_samples(slot->samples, slot->type, time_ns, values, quality, count, err);
}

static feed_sink *store_begin(feed_target *target, unsigned index)
{
    store_slot *slot = &store_of(target)->slots[index];
    vv_samples_clear(slot->samples);
    vv_batch_clear(slot->letters);
    slot->has_letters = false;
    return &slot->sink;
}

/* Incarnation and sequence; where there are none, the time and a count. */
static size_t letter_key(feed_store *s, const feed_dead *dead, char key[LETTER_KEY_MAX])
{
    char now[24];
    const char *incarnation = dead->incarnation;
    uint64_t sequence = dead->message->sequence;
    if (incarnation[0] == '\0') {
        (void)snprintf(now, sizeof now, "%" PRId64, dead->now_ns);
        incarnation = now;
        sequence = ++s->unnumbered;
    }
    int n = snprintf(key, LETTER_KEY_MAX, "%20s-%020" PRIu64, incarnation, sequence);
    for (size_t i = 0; key[i] == ' '; i++)
        key[i] = '0';
    return vv_min_u64((uint64_t)n, LETTER_KEY_MAX - 1);
}

static vv_status store_dead(feed_target *target, unsigned index, const feed_dead *dead,
                            vv_error *err)
{
    feed_store *s = store_of(target);
    const feed_message *m = dead->message;
    char key[LETTER_KEY_MAX];
    size_t len = letter_key(s, dead, key);
    vv_buf_reset(&s->letter);
    wire_put_text(&s->letter, 1, vv_slice_str(dead->reason));
    wire_put_text(&s->letter, 2, m->subject);
    wire_put_string(&s->letter, 3,
                    vv_slice_of(m->payload.data, vv_min_u64(m->payload.len, LETTER_PAYLOAD_MAX)));
    wire_put_uint(&s->letter, 4, m->sequence);
    wire_put_text(&s->letter, 5, vv_slice_str(s->stream));
    wire_put_int(&s->letter, 6, m->published_ns);
    if (s->letter.status != VV_OK)
        return vv_fail(err, s->letter.status, "a dead letter of %zu bytes", m->payload.len);
    vv_status st = vv_batch_put(s->slots[index].letters, s->dead, vv_slice_of(key, len),
                                vv_buf_slice(&s->letter), 0, err);
    s->slots[index].has_letters |= st == VV_OK;
    return st;
}

static void appended(void *ctx, vv_status status, const vv_append_result *result,
                     const vv_error *err)
{
    feed_store *s = ctx;
    vv_mutex_lock(&s->lock);
    s->is_done = true;
    s->status = status;
    memset(&s->result, 0, sizeof s->result);
    memset(&s->why, 0, sizeof s->why);
    if (result != NULL)
        s->result = *result;
    if (err != NULL)
        s->why = *err;
    vv_cond_signal(&s->done);
    vv_mutex_unlock(&s->lock);
}

static void note_write(feed_store *s, vv_status st, bool is_over)
{
    if (st == VV_NOT_FOUND)
        s->is_open = false; /* a table was dropped */
    if (is_over && s->note != NULL)
        s->note(s->ctx, st);
}

static vv_status store_start(feed_target *target, unsigned index, const feed_position *position,
                             vv_error *err)
{
    feed_store *s = store_of(target);
    store_slot *slot = &s->slots[index];
    vv_status st = VV_OK;
    if (slot->has_letters)
        st = vv_write(s->db, slot->letters, VV_DURABLE_SYNC, NULL, err);
    if (st == VV_OK && position != NULL)
        st = vv_samples_position(slot->samples, vv_slice_str(s->source),
                                 vv_slice_str(position->incarnation), position->sequence, err);
    s->is_done = false;
    if (st == VV_OK)
        st = vv_series_append_async(slot->samples, VV_DURABLE_SYNC, appended, s, err);
    note_write(s, st, st != VV_OK);
    return st;
}

static vv_status store_wait(feed_target *target, unsigned index, feed_outcome *out, vv_error *err)
{
    feed_store *s = store_of(target);
    (void)index;
    vv_mutex_lock(&s->lock);
    while (!s->is_done)
        vv_cond_wait(&s->done, &s->lock);
    vv_mutex_unlock(&s->lock);
    *out = (feed_outcome){.accepted = s->result.accepted, .refused = s->result.refused};
    memcpy(out->first_refusal, s->result.first_refusal, sizeof out->first_refusal);
    note_write(s, s->status, true);
    if (s->status == VV_OK || is_partly_in(s->status, &s->result))
        return VV_OK;
    if (err != NULL)
        *err = s->why;
    return s->status;
}

/* ---- opening ---- */

static vv_status open_table(feed_store *s, const char *name, vv_table_kind kind, vv_table **out,
                            vv_error *err)
{
    vv_table_options options = VV_TABLE_OPTIONS_INIT;
    if (s->open != NULL)
        return s->open(s->ctx, name, kind, out, err);
    vv_status st = vv_table_open(s->db, s->tenant, name, out, err);
    if (st != VV_NOT_FOUND)
        return st;
    options.kind = kind;
    options.if_not_exists = true;
    return vv_table_create(s->db, s->tenant, name, &options, out, err);
}

static vv_status open_tables(feed_store *s, vv_error *err)
{
    char dead[VV_NAME_MAX + 1];
    int n = snprintf(dead, sizeof dead, "%s-dead", s->name);
    if (n < 0 || (size_t)n >= sizeof dead)
        return vv_fail(err, VV_INVALID, "table '%s' has too long a name", s->name);
    vv_status st = open_table(s, s->name, VV_TABLE_SERIES, &s->table, err);
    if (st == VV_OK)
        st = open_table(s, dead, VV_TABLE_KV, &s->dead, err);
    return st;
}

static vv_status make_slots(feed_store *s, vv_error *err)
{
    static const feed_sink_ops ops = {slot_series, slot_samples};
    for (unsigned i = 0; i < FEED_SLOTS; i++) {
        s->slots[i].sink.ops = &ops;
        s->slots[i].samples = vv_samples_create(s->table);
        s->slots[i].letters = vv_batch_create(s->db);
        if (s->slots[i].samples == NULL || s->slots[i].letters == NULL)
            return vv_fail(err, VV_NO_MEMORY, "feed");
    }
    return VV_OK;
}

static void close_tables(feed_store *s)
{
    for (unsigned i = 0; i < FEED_SLOTS; i++) {
        vv_samples_destroy(s->slots[i].samples);
        vv_batch_destroy(s->slots[i].letters);
        s->slots[i] = (store_slot){.samples = NULL};
    }
    vv_table_close(s->table);
    vv_table_close(s->dead);
    s->table = s->dead = NULL;
    s->is_open = false;
}

static vv_status store_open(feed_target *target, vv_error *err)
{
    feed_store *s = store_of(target);
    if (s->is_open)
        return VV_OK;
    close_tables(s);
    vv_status st = open_tables(s, err);
    if (st == VV_OK)
        st = make_slots(s, err);
    s->is_open = st == VV_OK;
    if (st != VV_OK)
        vv_wrap(err, st, "feed into %s/%s", s->tenant, s->name);
    return st;
}

vv_status feed_store_create(const feed_store_options *options, feed_target **out, vv_error *err)
{
    static const feed_target_ops ops = {store_open, store_position, store_begin,
                                        store_dead, store_start,    store_wait};
    feed_store *s = vv_calloc(1, sizeof *s);
    if (s == NULL)
        return vv_fail(err, VV_NO_MEMORY, "feed");
    s->target.ops = &ops;
    s->db = options->db;
    s->open = options->open;
    s->note = options->note;
    s->ctx = options->ctx;
    s->tenant = vv_strdup(options->tenant);
    s->name = vv_strdup(options->table);
    s->source = vv_strdup(options->source);
    s->stream = vv_strdup(options->stream);
    vv_buf_init(&s->letter, LETTER_MAX);
    vv_mutex_init(&s->lock, VV_RANK_LEAF);
    vv_cond_init(&s->done);
    if (s->tenant == NULL || s->name == NULL || s->source == NULL || s->stream == NULL) {
        feed_store_destroy(&s->target);
        return vv_fail(err, VV_NO_MEMORY, "feed");
    }
    *out = &s->target;
    return VV_OK;
}

void feed_store_destroy(feed_target *target)
{
    if (target == NULL)
        return;
    feed_store *s = store_of(target);
    close_tables(s);
    vv_cond_fini(&s->done);
    vv_mutex_fini(&s->lock);
    vv_buf_fini(&s->letter);
    vv_free(s->tenant);
    vv_free(s->name);
    vv_free(s->source);
    vv_free(s->stream);
    vv_free(s);
}
