/*
 * rocks_check.c - every record read with its checksums, and the rules a flush keeps.
 *
 * RocksDB verifies the blocks of records and indexes that this walk comes to, and its manifest at
 * the open. Bytes that hold nothing of ours (filters, statistics, free space) it does not look at:
 * docs/format/rocks.md lists them.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "engine/report.h"
#include "rocks/rocks_int.h"

#define FINDINGS_MAX 100u

/* What the record before was. */
typedef struct before {
    uint8_t key[ENGINE_KEY_MAX];
    size_t len;
    int64_t version;
    bool is_delete;
    bool is_any;
} before;

static void check_record(engine_report *r, before *b, const engine_item *item, int64_t checkpoint)
{
    char text[200];
    bool same = b->is_any && vv_slice_eq(item->key, vv_slice_of(b->key, b->len));
    if (item->version > checkpoint) {
        (void)snprintf(text, sizeof text,
                       "table %u: a version %" PRId64 " above the checkpoint %" PRId64,
                       engine_key_table(item->key), item->version, checkpoint);
        engine_report_say(r, "%s", text);
    }
    if (b->is_any && b->is_delete && !same) {
        (void)snprintf(text, sizeof text, "table %u: a deletion with nothing beneath it",
                       engine_key_table(vv_slice_of(b->key, b->len)));
        engine_report_say(r, "%s", text);
    }
    memcpy(b->key, item->key.data, item->key.len);
    b->len = item->key.len;
    b->version = item->version;
    b->is_delete = item->kind == ENGINE_DELETE;
    b->is_any = true;
}

static vv_status walk(engine_report *r, const rocks_view *view, int64_t checkpoint, vv_error *err)
{
    before b = {0};
    engine_item item;
    vv_error why = {0};
    rocksdb_readoptions_t *read = rocksdb_readoptions_create();
    rocksdb_readoptions_set_verify_checksums(read, 1);
    rocksdb_readoptions_set_total_order_seek(read, 1);
    rocksdb_readoptions_set_fill_cache(read, 0);
    rocksdb_readoptions_set_snapshot(read, view->look->snapshot);
    rocksdb_readoptions_set_ignore_range_deletions(read, 1); /* as in rocks_view.c */
    rocksdb_iterator_t *it = rocksdb_create_iterator(view->look->db, read);
    rocksdb_iter_seek_to_first(it);
    if (rocksdb_iter_valid(it) && rocks_iter_key(it).len == ROCKS_SUFFIX)
        rocksdb_iter_next(it); /* the checkpoint, read at the open */
    for (; rocksdb_iter_valid(it); rocksdb_iter_next(it)) {
        if (rocks_iter_item(it, &item, &why) == VV_OK)
            check_record(r, &b, &item, checkpoint);
        else
            engine_report_say(r, "%s", why.msg);
    }
    vv_status st = rocks_iter_status(it, &why);
    if (st == VV_OK && b.is_delete)
        engine_report_say(r, "the last record is a deletion with nothing beneath it");
    rocksdb_iter_destroy(it);
    rocksdb_readoptions_destroy(read);
    if (st == VV_CORRUPT)
        engine_report_say(r, "%s", why.msg);
    else if (st != VV_OK)
        return vv_fail(err, st, "%s", why.msg);
    return VV_OK;
}

static vv_status verdict(const engine_report *r, vv_status st, vv_error *err)
{
    if (st != VV_OK || r->count == 0)
        return st;
    return vv_fail(err, VV_CORRUPT, "%" PRIu64 " findings", r->count);
}

vv_status rocks_check(engine *base, void (*finding)(void *ctx, const char *text), void *ctx,
                      vv_error *err)
{
    rocks_engine *e = rocks_engine_of(base);
    engine_report r = {.finding = finding, .ctx = ctx, .told_max = FINDINGS_MAX};
    rocks_view *view = rocks_view_acquire(e);
    vv_status st = VV_OK;
    /* The view first: its records are at or below a checkpoint that is read later. */
    if (view->look->db != NULL)
        st = walk(&r, view, atomic_load_explicit(&e->checkpoint, memory_order_acquire), err);
    rocks_view_unref(view);
    return verdict(&r, st, err);
}

vv_status rocks_check_dir(vv_env *env, const char *dir, uint32_t shard,
                          void (*finding)(void *ctx, const char *text), void *ctx, vv_error *err)
{
    engine_report r = {.finding = finding, .ctx = ctx, .told_max = FINDINGS_MAX};
    engine_options opt = {.env = env,
                          .dir = dir,
                          .shard = shard,
                          .memtable_size = VV_MIB,
                          .cache_size = VV_MIB,
                          .read_only = true};
    vv_error why = {0};
    engine *e = NULL;
    vv_status st = rocks_ops.open(&opt, &e, &why);
    if (st == VV_CORRUPT || st == VV_UNSUPPORTED) {
        engine_report_say(&r, "%s", why.msg);
        return verdict(&r, VV_OK, err);
    }
    if (st != VV_OK)
        return vv_fail(err, st, "%s", why.msg);
    st = rocks_check(e, finding, ctx, err);
    rocks_ops.close(e);
    return st;
}
