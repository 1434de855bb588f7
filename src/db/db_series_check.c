/*
 * db_series_check.c - a series table as `varve check` sees it: does every key lead where it says,
 * and is what lies there whole.
 *
 *     'H' hash ---> 'S' id, with labels of that hash ---> 'H' and each 'I' label lead back
 *     'I' label --> 'S' id, which has that label
 *     'D' bucket -> 'S' id; chunks of its type, sorted, inside of the bucket
 *     'R' day ----> 'S' id; rows that can be read
 *     'N' --------> as many records as it says
 *
 * The sums of blocks say that bytes are as they were written; this says that they were written as
 * they should be.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "db/db_series_rollup.h"

typedef struct series_check {
    vv_table *part;
    const vv_snapshot *at;
    void (*note)(void *ctx, const char *text);
    void *ctx;
    series_columns columns;
    series_rows *rows;
    /* The record looked at last: keys of a series come one behind the other. */
    uint64_t id;
    vv_sample_type type;
    uint8_t labels[VV_LABELS_BYTES_MAX];
    size_t labels_len;
    bool is_there;
    uint64_t below; /* 'N': of the ids below it, ... */
    uint64_t counted;
    uint64_t seen; /* ... and records there are of those */
} series_check;

static void VV_PRINTF(3, 4) finding(series_check *k, uint64_t id, const char *fmt, ...)
{
    char what[160];
    char text[320];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    (void)snprintf(text, sizeof text, "table '%s': series %" PRIu64 ": %s", k->part->cat->name, id,
                   what);
    k->note(k->ctx, text);
}

static vv_slice labels_of(const series_check *k)
{
    return vv_slice_of(k->labels, k->labels_len);
}

/* Look at the record of a series; k->is_there says whether there is one that can be read. */
static vv_status look(series_check *k, uint64_t id, vv_error *err)
{
    uint8_t key[9];
    vv_value value = {0};
    vv_slice labels = {0};
    vv_error why = {0};
    int64_t created_ns = 0;
    if (k->id == id)
        return VV_OK;
    k->id = id;
    k->is_there = false;
    size_t len = db_series_id_key(DB_SERIES_RECORD, id, key);
    vv_status st = vv_get(k->part, k->at, vv_slice_of(key, len), &value, err);
    if (st != VV_OK)
        return st == VV_NOT_FOUND ? VV_OK : st;
    st = db_series_parse_record(id, value.data, &k->type, &created_ns, &labels, &why);
    k->is_there = st == VV_OK;
    k->labels_len = k->is_there ? labels.len : 0;
    if (k->is_there)
        memcpy(k->labels, labels.data, labels.len);
    vv_value_release(&value);
    return VV_OK;
}

static vv_status expect_key(series_check *k, const uint8_t *key, size_t len, bool *found,
                            vv_error *err)
{
    vv_value value = {0};
    vv_status st = vv_get(k->part, k->at, vv_slice_of(key, len), &value, err);
    *found = st == VV_OK;
    vv_value_release(&value);
    return st == VV_NOT_FOUND ? VV_OK : st;
}

/* A record, and what should lead to it. */
static vv_status check_record(series_check *k, uint64_t id, vv_error *err)
{
    uint8_t key[DB_SERIES_KEY_MAX];
    bool found = false;
    vv_label l;
    vv_status st = look(k, id, err);
    k->seen += id < k->below;
    if (st == VV_OK && !k->is_there)
        finding(k, id, "its record is malformed");
    if (st != VV_OK || !k->is_there)
        return st;
    st = expect_key(k, key, db_series_hash_key(labels_of(k), key), &found, err);
    if (st == VV_OK && !found)
        finding(k, id, "the hash of its labels does not lead to it");
    vv_slice rest = labels_of(k);
    while (st == VV_OK && db_series_label_next(&rest, &l)) {
        size_t len = db_series_posting_prefix(l.name, &l.value, key);
        vv_put_be64(key + len, id);
        st = expect_key(k, key, len + 8, &found, err);
        if (st == VV_OK && !found)
            finding(k, id, "label %.*s does not lead to it", (int)vv_min_u64(l.name.len, 80),
                    (const char *)l.name.data);
    }
    return st;
}

static vv_status check_hash(series_check *k, vv_slice key, vv_slice value, vv_error *err)
{
    uint8_t right[17];
    uint64_t id = value.len == 8 ? vv_get_be64(value.data) : 0;
    vv_status st = look(k, id, err);
    if (st != VV_OK)
        return st;
    size_t len = k->is_there ? db_series_hash_key(labels_of(k), right) : 0;
    if (!vv_slice_eq(key, vv_slice_of(right, len)))
        finding(k, id, "a hash leads to it that is not that of its labels");
    return VV_OK;
}

static vv_status check_posting(series_check *k, vv_slice key, vv_error *err)
{
    uint64_t id = 0;
    vv_slice value;
    if (!db_series_posting_parse(key, &value, &id)) {
        finding(k, id, "a posting is malformed");
        return VV_OK;
    }
    vv_status st = look(k, id, err);
    if (st != VV_OK)
        return st;
    size_t name_len = key.len - value.len - 11; /* 'I' name 0 value 0 id */
    vv_slice has = k->is_there
                       ? db_series_label_find(labels_of(k), vv_slice_of(key.data + 1, name_len))
                       : vv_slice_of(NULL, 0);
    if (!k->is_there || !vv_slice_eq(has, value))
        finding(k, id, "a label leads to it that it has not");
    return VV_OK;
}

/* What a bucket holds. */
static vv_status check_set(series_check *k, uint64_t id, unsigned class, int64_t bucket,
                           vv_slice bytes, vv_error *err)
{
    series_set set;
    vv_slice chunk;
    series_head head = {0};
    int64_t begin = db_series_bucket_begin(class, bucket);
    int64_t last = db_series_bucket_last(class, bucket);
    vv_error why = {0};
    series_measure m;
    bool is_value = series_set_measure(bytes, &m) && m.is_settled;
    vv_status st = is_value ? series_set_open(bytes, &set, &why)
                            : vv_fail(&why, VV_CORRUPT, "they are no settled set");
    while (st == VV_OK && (st = series_set_next(&set, &chunk, &head, &why)) == VV_OK) {
        series_columns_clear(&k->columns);
        st = series_chunk_decode(chunk, &k->columns, &why);
        if (st == VV_OK && (head.first_time < begin || head.last_time > last))
            st = vv_fail(&why, VV_CORRUPT, "samples lie outside of their bucket");
        if (st == VV_OK && (vv_sample_type)head.type != k->type)
            st = vv_fail(&why, VV_CORRUPT, "samples are of another type");
    }
    if (st == VV_CORRUPT || st == VV_UNSUPPORTED)
        finding(k, id, "the samples from %lld on: %s", (long long)begin, why.msg);
    else if (st != VV_NOT_FOUND) {
        if (err != NULL)
            *err = why;
        return st;
    }
    return VV_OK;
}

static vv_status check_bucket(series_check *k, vv_slice key, vv_slice value, vv_error *err)
{
    uint64_t id = key.len >= 9 ? vv_get_be64(key.data + 1) : 0;
    vv_status st = look(k, id, err);
    if (st != VV_OK)
        return st;
    if (key.len != DB_SERIES_DATA_KEY || key.data[9] >= DB_SERIES_CLASSES)
        finding(k, id, "the key of a bucket is malformed");
    else if (!k->is_there)
        finding(k, id, "it has samples and no record");
    else
        st = check_set(k, id, key.data[9], db_time_decode(key.data + 10), value, err);
    return st;
}

static vv_status check_rows(series_check *k, vv_slice key, vv_slice value, vv_error *err)
{
    vv_error why = {0};
    if (key.len != DB_SERIES_ROWS_KEY || key.data[1] >= SERIES_TIERS) {
        finding(k, 0, "the key of rows of a rollup is malformed");
        return VV_OK;
    }
    uint64_t id = vv_get_be64(key.data + 2);
    int64_t begin = db_series_bucket_begin(DB_SERIES_DAY_CLASS, db_time_decode(key.data + 10));
    vv_status st = look(k, id, err);
    if (st == VV_OK && !k->is_there)
        finding(k, id, "it has rows of a rollup and no record");
    if (st == VV_OK && series_rows_decode(value, key.data[1], begin, k->rows, &why) != VV_OK)
        finding(k, id, "%s", why.msg);
    return st;
}

/* It sorts before the records that it counts. */
static void take_count(series_check *k, vv_slice value)
{
    db_series_tally y = {.next_id = 0};
    vv_error why = {0};
    if (db_series_count_parse(&y, value, &why) != VV_OK)
        finding(k, 0, "%s", why.msg);
    k->below = y.below;
    k->counted = y.counted;
}

static vv_status check_key(series_check *k, vv_slice key, vv_slice value, vv_error *err)
{
    switch (key.len > 0 ? key.data[0] : 0) {
    case DB_SERIES_RECORD:
        return check_record(k, key.len == 9 ? vv_get_be64(key.data + 1) : 0, err);
    case DB_SERIES_HASH:
        return check_hash(k, key, value, err);
    case DB_SERIES_POSTING:
        return check_posting(k, key, err);
    case DB_SERIES_DATA:
        return check_bucket(k, key, value, err);
    case DB_SERIES_ROWS:
        return check_rows(k, key, value, err);
    case DB_SERIES_COUNT:
        take_count(k, value);
        return VV_OK;
    case DB_SERIES_CLASS:
    case DB_SERIES_FULL:
    case DB_SERIES_POSITION:
    case DB_SERIES_COUNTER:
    case DB_SERIES_ROLLED:
    case DB_SERIES_DIRTY:
        return VV_OK;
    default:
        finding(k, 0, "a key of the table is of no known kind");
        return VV_OK;
    }
}

vv_status db_series_check(vv_table *part, void (*note)(void *ctx, const char *text), void *ctx,
                          vv_error *err)
{
    vv_cursor *c = NULL;
    vv_snapshot *at = NULL;
    series_check *k = vv_calloc(1, sizeof *k);
    series_rows *rows = vv_alloc(sizeof *rows);
    if (k == NULL || rows == NULL) {
        vv_free(k);
        vv_free(rows);
        return vv_fail(err, VV_NO_MEMORY, "no memory to check series");
    }
    *k = (series_check){.part = part, .note = note, .ctx = ctx, .rows = rows, .id = UINT64_MAX};
    series_columns_init(&k->columns);
    vv_status st = vv_snapshot_create(part->db, &at, err);
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    opt.snapshot = k->at = at;
    if (st == VV_OK)
        st = vv_cursor_open(part, &opt, &c, err);
    if (st == VV_OK)
        st = vv_cursor_seek(c, vv_slice_of(NULL, 0), err);
    while (st == VV_OK && vv_cursor_valid(c)) {
        st = check_key(k, vv_cursor_key(c), vv_cursor_value(c), err);
        if (st == VV_OK)
            st = vv_cursor_next(c, err);
    }
    if (st == VV_OK && k->seen != k->counted)
        finding(k, k->below,
                "%" PRIu64 " series lie below it, and their number is written as %" PRIu64, k->seen,
                k->counted);
    vv_cursor_close(c);
    vv_snapshot_release(at);
    series_columns_fini(&k->columns);
    vv_free(k->rows);
    vv_free(k);
    return st;
}
