/*
 * db_series_samples.c - gather samples by series: no lock, no look into the store, and in the usual
 * case no memory.
 */
#include "db/db_series_samples.h"

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "engine/operand.h"

#define SLOTS_KEPT 100000u              /* remembered over a clear */
#define STRANGERS_KEPT 1000u            /* of them, such as the table has not */
#define LABELS_KEPT (32u * 1024 * 1024) /* bytes of theirs */
#define SAMPLE_BYTES 20u
#define SLOT_BYTES 160u /* of the log for a series with a few samples */
#define CAP_MIN 1024u

vv_samples *vv_samples_create(vv_table *table)
{
    db_series *series = NULL;
    if (db_series_of(table, &series, NULL) != VV_OK)
        return NULL;
    vv_samples *s = vv_calloc(1, sizeof *s);
    db_series_share *share = vv_calloc(table->partition_count, sizeof *share);
    if (s == NULL || share == NULL) {
        vv_free(s);
        vv_free(share);
        return NULL;
    }
    s->table = *table;
    s->series = series;
    s->current = DB_SLOT_NONE;
    cat_table_ref(s->table.cat);
    s->share = share;
    for (uint32_t p = 0; p < table->partition_count; p++) {
        share[p].samples = s;
        share[p].part = db_part_at(table, p);
        db_batch_init(&share[p].batch, table->db, NULL, 0);
    }
    vv_arena_init(&s->labels, 2 * LABELS_KEPT);
    vv_arena_init(&s->source_bytes, 4096);
    vv_buf_init(&s->text, 2 * VV_SAMPLES_MAX);
    vv_buf_init(&s->scratch, 4 * VV_LABELS_BYTES_MAX + VV_LABELS_MAX * VV_LABEL_BYTES_MAX);
    vv_buf_init(&s->operand, ENGINE_STEPS_MAX);
    series_columns_init(&s->columns);
    series_scratch_init(&s->work);
    return s;
}

static void forget_series(vv_samples *s)
{
    vv_mutex_lock(&s->series->lock);
    for (uint32_t i = 0; i < s->slot_count; i++)
        if (s->slot[i].entry != NULL)
            db_series_unref_locked(s->series, s->slot[i].entry);
    db_series_trim(s->series, 2 * (size_t)s->slot_count);
    vv_mutex_unlock(&s->series->lock);
    s->slot_count = 0;
    s->stranger_count = 0;
    if (s->index != NULL)
        memset(s->index, 0xff, s->index_cap * sizeof *s->index);
    vv_arena_reset(&s->labels);
}

void vv_samples_destroy(vv_samples *s)
{
    if (s == NULL)
        return;
    forget_series(s);
    for (uint32_t p = 0; p < s->table.partition_count; p++)
        db_batch_fini(&s->share[p].batch);
    vv_free(s->share);
    vv_arena_fini(&s->labels);
    vv_arena_fini(&s->source_bytes);
    vv_buf_fini(&s->text);
    vv_buf_fini(&s->scratch);
    vv_buf_fini(&s->operand);
    series_columns_fini(&s->columns);
    series_scratch_fini(&s->work);
    vv_free(s->slot);
    vv_free(s->index);
    vv_free(s->used);
    vv_free(s->run);
    vv_free(s->time);
    vv_free(s->value);
    vv_free(s->quality);
    cat_table_unref(s->table.cat);
    vv_free(s);
}

void vv_samples_clear(vv_samples *s)
{
    for (uint32_t i = 0; i < s->used_count; i++) {
        db_series_slot *slot = &s->slot[s->used[i]];
        s->stranger_count += slot->entry == NULL;
        slot->first_run = slot->last_run = DB_SLOT_NONE;
        slot->count = 0;
        slot->text = 0;
        slot->has_quality = false;
    }
    s->used_count = 0;
    s->label_bytes = 0;
    s->run_count = 0;
    s->count = 0;
    s->current = DB_SLOT_NONE;
    vv_buf_reset(&s->text);
    s->source = vv_slice_of(NULL, 0);
    vv_arena_reset(&s->source_bytes);
    if (s->slot_count > SLOTS_KEPT || s->labels.used > LABELS_KEPT || s->wants_forget ||
        s->stranger_count > STRANGERS_KEPT)
        forget_series(s);
    s->wants_forget = false;
}

void vv_samples_leave_out(vv_samples *s, bool other_types)
{
    s->leaves_out = other_types;
}

size_t vv_samples_count(const vv_samples *s)
{
    return s->count;
}

size_t vv_samples_bytes(const vv_samples *s)
{
    return (size_t)s->count * SAMPLE_BYTES + s->text.len + (size_t)s->used_count * SLOT_BYTES +
           s->label_bytes;
}

static vv_status no_memory(vv_error *err)
{
    return vv_fail(err, VV_NO_MEMORY, "no memory for samples");
}

/* Room for one more element. */
static bool grow(void **array, uint32_t count, uint32_t *cap, size_t size)
{
    if (count < *cap)
        return true;
    uint32_t more = *cap == 0 ? 64 : *cap * 2;
    void *bigger = vv_realloc(*array, more * size);
    if (bigger == NULL)
        return false;
    *array = bigger;
    *cap = more;
    return true;
}

/* ---- series ---- */

static uint32_t find_slot(const vv_samples *s, uint64_t hash, vv_slice canonical)
{
    if (s->index_cap == 0)
        return DB_SLOT_NONE;
    for (uint32_t at = (uint32_t)hash & (s->index_cap - 1);; at = (at + 1) & (s->index_cap - 1)) {
        uint32_t i = s->index[at];
        if (i == DB_SLOT_NONE ||
            (s->slot[i].hash == hash && vv_slice_eq(s->slot[i].canonical, canonical)))
            return i;
    }
}

static void index_slot(vv_samples *s, uint32_t i)
{
    uint32_t at = (uint32_t)s->slot[i].hash & (s->index_cap - 1);
    while (s->index[at] != DB_SLOT_NONE)
        at = (at + 1) & (s->index_cap - 1);
    s->index[at] = i;
}

static bool grow_index(vv_samples *s)
{
    if ((s->slot_count + 1) * 2 <= s->index_cap)
        return true;
    uint32_t cap = s->index_cap == 0 ? 256 : s->index_cap * 2;
    uint32_t *index = vv_alloc(cap * sizeof *index);
    if (index == NULL)
        return false;
    memset(index, 0xff, cap * sizeof *index);
    vv_free(s->index);
    s->index = index;
    s->index_cap = cap;
    for (uint32_t i = 0; i < s->slot_count; i++)
        index_slot(s, i);
    return true;
}

static vv_status add_slot(vv_samples *s, uint64_t hash, vv_slice canonical, vv_sample_type type,
                          uint32_t *out, vv_error *err)
{
    void *array = s->slot;
    bool ok = grow(&array, s->slot_count, &s->slot_cap, sizeof *s->slot);
    s->slot = array;
    if (!ok || !grow_index(s))
        return no_memory(err);
    vv_slice copy = vv_arena_dup(&s->labels, canonical);
    if (copy.data == NULL)
        return no_memory(err);
    uint32_t turn = 0; /* of an older one: db_samples_refresh */
    int64_t keep_ns = db_series_keep_of(s->series, s->table.cat, copy, &turn);
    *out = s->slot_count++;
    s->slot[*out] = (db_series_slot){.hash = hash,
                                     .canonical = copy,
                                     .retention_ns = keep_ns,
                                     .type = type,
                                     .first_run = DB_SLOT_NONE,
                                     .last_run = DB_SLOT_NONE};
    index_slot(s, *out);
    return VV_OK;
}

void db_samples_refresh(vv_samples *s)
{
    uint32_t turn = atomic_load_explicit(&s->series->keep_turn, memory_order_acquire);
    if (VV_LIKELY(s->keep_turn == turn))
        return;
    for (uint32_t i = 0; i < s->slot_count; i++) {
        db_series_slot *slot = &s->slot[i];
        slot->retention_ns = db_series_keep_of(s->series, s->table.cat, slot->canonical, &turn);
    }
    s->keep_turn = turn;
}

static vv_status fail_type(const db_series_slot *slot, vv_error *err)
{
    char text[160];
    db_series_canonical_text(slot->canonical, text, sizeof text);
    return vv_fail(err, VV_INVALID, "series %s has samples of another type", text);
}

vv_status vv_samples_series(vv_samples *s, const vv_label *labels, size_t count,
                            vv_sample_type type, vv_error *err)
{
    if (type < VV_F64 || type > VV_STRING)
        return vv_fail(err, VV_INVALID, "sample type %d is not known", (int)type);
    vv_buf_reset(&s->scratch);
    vv_status st = db_series_canonical(labels, count, &s->scratch, err);
    if (st != VV_OK)
        return st;
    vv_slice canonical = vv_buf_slice(&s->scratch);
    uint64_t hash = vv_hash64(canonical.data, canonical.len);
    uint32_t i = find_slot(s, hash, canonical);
    if (i == DB_SLOT_NONE)
        st = add_slot(s, hash, canonical, type, &i, err);
    if (st != VV_OK)
        return st;
    db_series_slot *slot = &s->slot[i];
    if (slot->type != type) {
        if (slot->count > 0)
            return fail_type(slot, err);
        slot->type = type; /* remembered from before a clear: the store knows better */
    }
    s->current = i;
    return VV_OK;
}

/* ---- samples ---- */

static bool grow_columns(vv_samples *s, size_t n)
{
    if (s->count + n <= s->cap)
        return true;
    size_t cap = s->cap == 0 ? CAP_MIN : (size_t)s->cap * 2;
    while (cap < s->count + n)
        cap *= 2;
    int64_t *time = vv_realloc(s->time, cap * sizeof *time);
    s->time = time != NULL ? time : s->time;
    uint64_t *value = vv_realloc(s->value, cap * sizeof *value);
    s->value = value != NULL ? value : s->value;
    uint32_t *quality = vv_realloc(s->quality, cap * sizeof *quality);
    s->quality = quality != NULL ? quality : s->quality;
    if (time == NULL || value == NULL || quality == NULL)
        return false;
    s->cap = (uint32_t)cap;
    return true;
}

/* Make room for n samples of the current series: their values are the caller's to fill at
 * s->value + s->count, before end_run. */
static vv_status begin_run(vv_samples *s, vv_sample_type type, size_t n, size_t text, vv_error *err)
{
    if (s->current == DB_SLOT_NONE)
        return vv_fail(err, VV_INVALID, "which series? call vv_samples_series first");
    const db_series_slot *slot = &s->slot[s->current];
    if (slot->type != type)
        return fail_type(slot, err);
    if (n > VV_SAMPLES_MAX || text > VV_SAMPLES_MAX ||
        vv_samples_bytes(s) + n * SAMPLE_BYTES + text + SLOT_BYTES > VV_SAMPLES_MAX)
        return vv_fail(err, VV_BUSY, "the samples would pass %u bytes: append these, and go on",
                       VV_SAMPLES_MAX);
    void *run = s->run;
    void *used = s->used;
    bool ok = grow(&run, s->run_count, &s->run_cap, sizeof *s->run);
    s->run = run;
    ok = ok && grow(&used, s->used_count, &s->used_cap, sizeof *s->used);
    s->used = used;
    return ok && grow_columns(s, n) ? VV_OK : no_memory(err);
}

static void note_times(db_series_slot *slot, const int64_t *time_ns, size_t n)
{
    int64_t first = slot->count == 0 ? time_ns[0] : slot->first;
    int64_t last = slot->count == 0 ? time_ns[0] : slot->last;
    for (size_t i = 0; i < n; i++) {
        first = time_ns[i] < first ? time_ns[i] : first;
        last = time_ns[i] > last ? time_ns[i] : last;
    }
    slot->first = first;
    slot->last = last;
}

static void end_run(vv_samples *s, const int64_t *time_ns, const uint32_t *quality, size_t n)
{
    db_series_slot *slot = &s->slot[s->current];
    uint32_t at = s->count;
    memcpy(s->time + at, time_ns, n * sizeof *time_ns);
    uint32_t any = 0;
    for (size_t i = 0; quality != NULL && i < n; i++)
        any |= quality[i];
    if (any != 0)
        memcpy(s->quality + at, quality, n * sizeof *quality);
    else
        memset(s->quality + at, 0, n * sizeof *quality);
    slot->has_quality |= any != 0;
    note_times(slot, time_ns, n);
    if (slot->last_run != DB_SLOT_NONE &&
        s->run[slot->last_run].start + s->run[slot->last_run].count == at) {
        s->run[slot->last_run].count += (uint32_t)n;
    } else {
        uint32_t r = s->run_count++;
        s->run[r] = (db_series_run){at, (uint32_t)n, DB_SLOT_NONE};
        if (slot->last_run == DB_SLOT_NONE) {
            slot->first_run = r;
            s->used[s->used_count++] = s->current;
            s->label_bytes += slot->canonical.len;
        } else {
            s->run[slot->last_run].next = r;
        }
        slot->last_run = r;
    }
    slot->count += (uint32_t)n;
    s->count += (uint32_t)n;
}

static vv_status add_numbers(vv_samples *s, vv_sample_type type, const int64_t *time_ns,
                             const void *value, const uint32_t *quality, size_t n, vv_error *err)
{
    vv_status st = begin_run(s, type, n, 0, err);
    if (st != VV_OK || n == 0)
        return st;
    memcpy(s->value + s->count, value, n * sizeof s->value[0]);
    end_run(s, time_ns, quality, n);
    return VV_OK;
}

vv_status vv_samples_f64(vv_samples *s, const int64_t *time_ns, const double *value,
                         const uint32_t *quality, size_t n, vv_error *err)
{
    return add_numbers(s, VV_F64, time_ns, value, quality, n, err);
}

vv_status vv_samples_i64(vv_samples *s, const int64_t *time_ns, const int64_t *value,
                         const uint32_t *quality, size_t n, vv_error *err)
{
    return add_numbers(s, VV_I64, time_ns, value, quality, n, err);
}

vv_status vv_samples_bool(vv_samples *s, const int64_t *time_ns, const bool *value,
                          const uint32_t *quality, size_t n, vv_error *err)
{
    vv_status st = begin_run(s, VV_BOOL, n, 0, err);
    if (st != VV_OK || n == 0)
        return st;
    for (size_t i = 0; i < n; i++)
        s->value[s->count + i] = value[i];
    end_run(s, time_ns, quality, n);
    return VV_OK;
}

vv_status vv_samples_string(vv_samples *s, const int64_t *time_ns, const vv_slice *value,
                            const uint32_t *quality, size_t n, vv_error *err)
{
    size_t text = 0;
    for (size_t i = 0; i < n; i++) {
        if (value[i].len > VV_SAMPLE_STRING_MAX)
            return vv_fail(err, VV_INVALID, "a string of %zu bytes: %u are allowed", value[i].len,
                           VV_SAMPLE_STRING_MAX);
        text += value[i].len;
    }
    vv_status st = begin_run(s, VV_STRING, n, text, err);
    if (st != VV_OK || n == 0)
        return st;
    if (text > 0 && vv_buf_reserve(&s->text, text) == NULL)
        return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        s->value[s->count + i] = s->text.len | (uint64_t)value[i].len << 32;
        vv_buf_append_slice(&s->text, value[i]);
    }
    end_run(s, time_ns, quality, n);
    s->slot[s->current].text += text;
    return VV_OK;
}

vv_status vv_samples_position(vv_samples *s, vv_slice source, vv_slice incarnation,
                              uint64_t sequence, vv_error *err)
{
    if (source.len == 0 || source.len > VV_SOURCE_MAX || incarnation.len > VV_SOURCE_MAX)
        return vv_fail(err, VV_INVALID,
                       "the name of a source has 1 to %u bytes, its incarnation "
                       "up to as many",
                       VV_SOURCE_MAX);
    vv_arena_reset(&s->source_bytes);
    vv_slice a = vv_arena_dup(&s->source_bytes, source);
    vv_slice b = vv_arena_dup(&s->source_bytes, incarnation);
    s->source = vv_slice_of(NULL, 0);
    if (a.data == NULL || b.data == NULL)
        return no_memory(err);
    s->source = a;
    s->incarnation = b;
    s->sequence = sequence;
    return VV_OK;
}

/* ---- taken apart again ---- */

/* A run as columns; what does not lie as it is wanted is made in the caller's space. */
static series_samples run_view(const vv_samples *s, const db_series_slot *slot,
                               const db_series_run *run)
{
    series_samples v = {.type = (series_type)slot->type,
                        .count = run->count,
                        .time = s->time + run->start,
                        .quality = slot->has_quality ? s->quality + run->start : NULL};
    v.value.any = s->value + run->start;
    return v;
}

/* Bools and strings, one run, into columns. */
static vv_status append_spelled(vv_samples *s, const series_samples *v, vv_error *err)
{
    enum { STEP = 256 };
    uint8_t bools[STEP];
    vv_slice strings[STEP];
    const uint64_t *value = v->value.any;
    for (uint32_t from = 0; from < v->count; from += STEP) {
        uint32_t n = v->count - from < STEP ? v->count - from : STEP;
        for (uint32_t i = 0; i < n; i++) {
            uint64_t bits = value[from + i];
            bools[i] = bits != 0;
            if (v->type == SERIES_STRING) /* text.data is NULL while all strings are empty */
                strings[i] = vv_slice_of(bits >> 32 == 0 ? NULL : s->text.data + (uint32_t)bits,
                                         (size_t)(bits >> 32));
        }
        series_samples part = {.type = v->type,
                               .count = n,
                               .time = v->time + from,
                               .quality = v->quality == NULL ? NULL : v->quality + from};
        if (v->type == SERIES_BOOL)
            part.value.b = bools;
        else
            part.value.string = v->type == SERIES_STRING ? strings : NULL;
        vv_status st = series_columns_append(&s->columns, &part, err);
        if (st != VV_OK)
            return st;
    }
    return VV_OK;
}

vv_status db_samples_of(vv_samples *s, const db_series_slot *slot, series_samples *out,
                        vv_error *err)
{
    bool lies_ready = slot->type == VV_F64 || slot->type == VV_I64;
    const db_series_run *run = &s->run[slot->first_run];
    if (lies_ready && run->next == DB_SLOT_NONE) {
        *out = run_view(s, slot, run);
        if (series_samples_is_sorted(out))
            return VV_OK;
    }
    vv_status st = VV_OK;
    series_columns_clear(&s->columns);
    for (uint32_t r = slot->first_run; st == VV_OK && r != DB_SLOT_NONE; r = s->run[r].next) {
        series_samples v = run_view(s, slot, &s->run[r]);
        st = lies_ready ? series_columns_append(&s->columns, &v, err) : append_spelled(s, &v, err);
    }
    if (st == VV_OK)
        st = series_columns_sort(&s->columns, err);
    if (st == VV_OK)
        *out = series_columns_view(&s->columns);
    return st;
}
