/*
 * fuzz_series_index.c - what a series table stores beside its samples: records of series, labels
 * and postings. Read or refused, without a crash.
 *
 *     byte 0    0: a record; 1: the key of a posting; 2: labels in canonical form; 3: a count of
 * series
 *
 * Laws: the labels of a record that is accepted are those of one series: each once, in their order,
 * and canonical when they are made anew; a posting that is accepted is the key that its parts make.
 */
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "db/db_series_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* Labels up to the first that is none; whether that is their end. */
static bool walk(vv_slice canonical, vv_label out[VV_LABELS_MAX], size_t *count)
{
    vv_label l;
    *count = 0;
    while (*count < VV_LABELS_MAX && db_series_label_next(&canonical, &l))
        out[(*count)++] = l;
    return canonical.len == 0;
}

static void try_labels(vv_slice canonical)
{
    vv_label labels[VV_LABELS_MAX];
    char text[64];
    size_t count = 0;
    vv_buf again;
    bool is_whole = walk(canonical, labels, &count);
    db_series_canonical_text(canonical, text, sizeof text);
    must(memchr(text, '\0', sizeof text) != NULL);
    for (size_t i = 0; i < count; i++)
        must(db_series_label_find(canonical, labels[i].name).len > 0);
    must(db_series_canonical_cmp(canonical, canonical) == 0);
    vv_buf_init(&again, 2 * VV_LABELS_BYTES_MAX + 4096);
    vv_error err;
    if (is_whole && count > 0 && db_series_canonical(labels, count, &again, &err) == VV_OK) {
        vv_label sorted[VV_LABELS_MAX];
        size_t n = 0;
        must(walk(vv_buf_slice(&again), sorted, &n) && n == count);
        for (size_t i = 1; i < n; i++)
            must(vv_slice_cmp(sorted[i - 1].name, sorted[i].name) < 0);
        for (size_t i = 0; i < n; i++) {
            vv_slice value = db_series_label_find(canonical, sorted[i].name);
            must(vv_slice_eq(value, sorted[i].value));
        }
    }
    vv_buf_fini(&again);
}

static void try_record(vv_slice bytes)
{
    vv_sample_type type = VV_F64;
    int64_t created_ns = 0;
    vv_slice labels = {0};
    vv_error err;
    vv_label each[VV_LABELS_MAX];
    size_t count = 0;
    vv_status st = db_series_parse_record(7, bytes, &type, &created_ns, &labels, &err);
    must(st == VV_OK || st == VV_CORRUPT || st == VV_UNSUPPORTED);
    if (st != VV_OK)
        return;
    must(type >= VV_F64 && type <= VV_STRING);
    must(labels.len > 0 && labels.len <= VV_LABELS_BYTES_MAX);
    must(labels.data + labels.len == bytes.data + bytes.len);
    must(walk(labels, each, &count) && count > 0);
    try_labels(labels);
}

static void try_posting(vv_slice key)
{
    vv_slice value = {0};
    uint64_t id = 0;
    uint8_t again[DB_SERIES_KEY_MAX];
    if (!db_series_posting_parse(key, &value, &id))
        return;
    must(key.len >= value.len + 11 && value.data >= key.data);
    size_t name_len = key.len - value.len - 11; /* 'I' name 0 value 0 id */
    if (key.data[0] != DB_SERIES_POSTING || name_len + value.len > VV_LABEL_BYTES_MAX)
        return;
    size_t len = db_series_posting_prefix(vv_slice_of(key.data + 1, name_len), &value, again);
    must(len + 8 == key.len && memcmp(again, key.data, len) == 0);
    must(vv_get_be64(key.data + len) == id);
}

static void try_count(vv_slice bytes)
{
    db_series_tally y = {.next_id = 0};
    vv_error err;
    vv_status st = db_series_count_parse(&y, bytes, &err);
    must(st == VV_OK || st == VV_CORRUPT || st == VV_UNSUPPORTED);
    must(st != VV_OK || y.counted <= y.below || y.below == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    vv_slice rest = vv_slice_of(data + 1, size - 1);
    switch (data[0]) {
    case 0:
        try_record(rest);
        break;
    case 1:
        try_posting(rest);
        break;
    case 2:
        try_labels(rest);
        break;
    default:
        try_count(rest);
        break;
    }
    return 0;
}
