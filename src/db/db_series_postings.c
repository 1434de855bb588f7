/*
 * db_series_postings.c - a walk over the postings of a label.
 *
 *     'I' name 0 value 0 id        sorted: all ids of a value are neighbours, values ascend
 *
 * No value has a byte 0, so 'I' name 0 value 1 lies behind all ids of a value and before the next
 * value. A value with few ids is passed by going on, one with many by a seek.
 */
#include <string.h>

#include "base/error.h"
#include "db/db_series_match.h"

#define STEPS_BEFORE_SEEK 8u

static vv_status malformed(vv_error *err)
{
    return vv_fail(err, VV_CORRUPT, "a key in the index of series is malformed");
}

/* Where the cursor stands. */
static vv_status look(db_postings *p, vv_error *err)
{
    vv_slice value;
    if (!vv_cursor_valid(p->at))
        return VV_NOT_FOUND;
    vv_slice key = vv_cursor_key(p->at);
    if (!db_series_posting_parse(key, &value, &p->id) || key.len - 8 > sizeof p->key)
        return malformed(err);
    p->is_new = value.len != p->value_len || memcmp(value.data, p->key + p->head, value.len) != 0;
    if (p->is_new) {
        p->head = (size_t)(value.data - key.data);
        memcpy(p->key, key.data, key.len - 8);
        p->value_len = value.len;
    }
    return VV_OK;
}

static bool may_be_label(vv_slice name, vv_slice value)
{
    return name.len > 0 && name.len + value.len <= VV_LABEL_BYTES_MAX &&
           memchr(name.data, 0, name.len) == NULL &&
           (value.len == 0 || memchr(value.data, 0, value.len) == NULL);
}

vv_status db_postings_open(db_postings *p, vv_table *table, const vv_snapshot *at, vv_slice name,
                           vv_slice prefix, bool is_whole, vv_error *err)
{
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    p->at = NULL;
    p->value_len = SIZE_MAX;
    p->head = 0;
    if (!may_be_label(name, prefix))
        return VV_NOT_FOUND;
    size_t len = db_series_posting_prefix(name, &prefix, p->key);
    opt.snapshot = at;
    opt.prefix = vv_slice_of(p->key, is_whole ? len : len - 1);
    vv_status st = vv_cursor_open(table, &opt, &p->at, err);
    if (st == VV_OK)
        st = vv_cursor_seek(p->at, vv_slice_of(NULL, 0), err);
    return st == VV_OK ? look(p, err) : st;
}

void db_postings_close(db_postings *p)
{
    vv_cursor_close(p->at);
    p->at = NULL;
}

vv_status db_postings_next(db_postings *p, vv_error *err)
{
    vv_status st = vv_cursor_next(p->at, err);
    return st == VV_OK ? look(p, err) : st;
}

vv_status db_postings_skip(db_postings *p, vv_error *err)
{
    size_t end = p->head + p->value_len;
    vv_status st = VV_OK;
    for (unsigned i = 0; i < STEPS_BEFORE_SEEK; i++) {
        st = db_postings_next(p, err);
        if (st != VV_OK || p->is_new)
            return st;
    }
    p->key[end] = 1;
    st = vv_cursor_seek(p->at, vv_slice_of(p->key, end + 1), err);
    p->key[end] = 0;
    return st == VV_OK ? look(p, err) : st;
}

/* The name of the posting a cursor stands at, as 'I' name 0, into key. */
static vv_status name_at(const vv_cursor *c, uint8_t key[DB_SERIES_KEY_MAX], size_t *len,
                         vv_error *err)
{
    uint64_t id;
    vv_slice value;
    vv_slice at = vv_cursor_key(c);
    if (!db_series_posting_parse(at, &value, &id) || at.len > DB_SERIES_KEY_MAX)
        return malformed(err);
    *len = (size_t)(value.data - at.data);
    memcpy(key, at.data, *len);
    return VV_OK;
}

vv_status db_postings_names(vv_table *table, int (*each)(void *ctx, vv_slice name), void *ctx,
                            vv_error *err)
{
    static const uint8_t kind = DB_SERIES_POSTING;
    uint8_t key[DB_SERIES_KEY_MAX];
    size_t len = 0;
    vv_cursor *c = NULL;
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    opt.prefix = vv_slice_of(&kind, 1);
    vv_status st = vv_cursor_open(table, &opt, &c, err);
    if (st == VV_OK)
        st = vv_cursor_seek(c, vv_slice_of(NULL, 0), err);
    while (st == VV_OK && vv_cursor_valid(c)) {
        st = name_at(c, key, &len, err);
        if (st != VV_OK || each(ctx, vv_slice_of(key + 1, len - 2)) != 0)
            break;
        key[len - 1] = 1;
        st = vv_cursor_seek(c, vv_slice_of(key, len), err);
    }
    vv_cursor_close(c);
    return st;
}
