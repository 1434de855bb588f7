/*
 * side_leveldb.c - LevelDB through its C interface. It has no call that flushes the memtable, so
 * settling syncs its log; and no delete of a range, so one is a scan into a batch.
 */
#include <leveldb/c.h>
#include <stdlib.h>

#include "side.h"

struct side_db {
    leveldb_t *db;
    leveldb_options_t *options;
    leveldb_cache_t *cache;
    leveldb_filterpolicy_t *filter;
    leveldb_writeoptions_t *write;
    leveldb_readoptions_t *read;
};

struct side_writer {
    side_db *db;
    leveldb_writebatch_t *batch;
};

struct side_reader {
    side_db *db;
    char *copy;
    leveldb_iterator_t *held;
};

static void must(char *error, const char *what)
{
    if (error != NULL)
        side_fail(what, "%s", error);
}

static side_db *engine_open(const side_setup *s)
{
    char *error = NULL;
    side_db *db = calloc(1, sizeof *db);
    if (db == NULL)
        side_fail("open", "no memory");
    db->options = leveldb_options_create();
    db->cache = leveldb_cache_create_lru(s->cache_size);
    db->filter = leveldb_filterpolicy_create_bloom(10);
    leveldb_options_set_create_if_missing(db->options, s->create);
    leveldb_options_set_write_buffer_size(db->options, (size_t)64 << 20);
    leveldb_options_set_max_file_size(db->options, (size_t)32 << 20);
    leveldb_options_set_cache(db->options, db->cache);
    leveldb_options_set_filter_policy(db->options, db->filter);
    leveldb_options_set_compression(db->options, leveldb_no_compression);
    db->write = leveldb_writeoptions_create();
    leveldb_writeoptions_set_sync(db->write, s->sync);
    db->read = leveldb_readoptions_create();
    leveldb_readoptions_set_verify_checksums(db->read, 1);
    db->db = leveldb_open(db->options, s->dir, &error);
    must(error, "open");
    return db;
}

static void engine_close(side_db *db)
{
    leveldb_close(db->db);
    leveldb_readoptions_destroy(db->read);
    leveldb_writeoptions_destroy(db->write);
    leveldb_options_destroy(db->options);
    leveldb_cache_destroy(db->cache);
    leveldb_filterpolicy_destroy(db->filter);
    free(db);
}

static void settle(side_db *db)
{
    char *error = NULL;
    leveldb_writeoptions_t *sync = leveldb_writeoptions_create();
    leveldb_writebatch_t *empty = leveldb_writebatch_create();
    leveldb_writeoptions_set_sync(sync, 1);
    leveldb_write(db->db, sync, empty, &error);
    must(error, "sync");
    leveldb_writebatch_destroy(empty);
    leveldb_writeoptions_destroy(sync);
}

static side_writer *writer_open(side_db *db)
{
    side_writer *w = calloc(1, sizeof *w);
    if (w == NULL)
        side_fail("writer", "no memory");
    w->db = db;
    w->batch = leveldb_writebatch_create();
    return w;
}

static void writer_close(side_writer *w)
{
    leveldb_writebatch_destroy(w->batch);
    free(w);
}

static void batch_commit(side_writer *w)
{
    char *error = NULL;
    leveldb_write(w->db->db, w->db->write, w->batch, &error);
    must(error, "write");
    leveldb_writebatch_clear(w->batch);
}

static void batch_put(side_writer *w, vv_slice key, vv_slice value)
{
    leveldb_writebatch_put(w->batch, (const char *)key.data, key.len, (const char *)value.data,
                           value.len);
}

static void put(side_writer *w, vv_slice key, vv_slice value)
{
    batch_put(w, key, value);
    batch_commit(w);
}

static void del(side_writer *w, vv_slice key)
{
    leveldb_writebatch_delete(w->batch, (const char *)key.data, key.len);
    batch_commit(w);
}

static void del_range(side_writer *w, vv_slice begin, vv_slice end)
{
    leveldb_iterator_t *it = leveldb_create_iterator(w->db->db, w->db->read);
    leveldb_iter_seek(it, (const char *)begin.data, begin.len);
    for (; leveldb_iter_valid(it); leveldb_iter_next(it)) {
        size_t len;
        const char *key = leveldb_iter_key(it, &len);
        if (vv_slice_cmp(vv_slice_of(key, len), end) >= 0)
            break;
        leveldb_writebatch_delete(w->batch, key, len);
    }
    leveldb_iter_destroy(it);
    batch_commit(w);
}

static side_reader *reader_open(side_db *db)
{
    side_reader *r = calloc(1, sizeof *r);
    if (r == NULL)
        side_fail("reader", "no memory");
    r->db = db;
    return r;
}

static void reader_close(side_reader *r)
{
    if (r->held != NULL)
        leveldb_iter_destroy(r->held);
    free(r);
}

static bool get(side_reader *r, vv_slice key, vv_slice *value)
{
    char *error = NULL;
    r->copy =
        leveldb_get(r->db->db, r->db->read, (const char *)key.data, key.len, &value->len, &error);
    must(error, "get");
    value->data = (const uint8_t *)r->copy;
    return r->copy != NULL;
}

static void got(side_reader *r)
{
    leveldb_free(r->copy);
}

static void scan(side_reader *r, vv_slice from, bool held, side_visit visit, void *ctx)
{
    char *error = NULL;
    leveldb_iterator_t *it = held ? r->held : NULL;
    if (it == NULL)
        it = leveldb_create_iterator(r->db->db, r->db->read);
    if (from.len == 0)
        leveldb_iter_seek_to_first(it);
    else
        leveldb_iter_seek(it, (const char *)from.data, from.len);
    for (; leveldb_iter_valid(it); leveldb_iter_next(it)) {
        vv_slice key;
        vv_slice value;
        key.data = (const uint8_t *)leveldb_iter_key(it, &key.len);
        value.data = (const uint8_t *)leveldb_iter_value(it, &value.len);
        if (!visit(ctx, key, value))
            break;
    }
    leveldb_iter_get_error(it, &error);
    must(error, "scan");
    if (held)
        r->held = it;
    else
        leveldb_iter_destroy(it);
}

const side_engine side_this = {
    .name = "leveldb",
    .version = SIDE_VERSION,
    .settings = "memtable 64 MB, files 32 MB, LRU cache, Bloom 10 bits, no compression, checksums "
                "verified",
    .open = engine_open,
    .close = engine_close,
    .settle = settle,
    .writer_open = writer_open,
    .writer_close = writer_close,
    .put = put,
    .del = del,
    .batch_put = batch_put,
    .batch_commit = batch_commit,
    .del_range = del_range,
    .reader_open = reader_open,
    .reader_close = reader_close,
    .get = get,
    .got = got,
    .scan = scan,
};
