/*
 * side_rocksdb.c - RocksDB through its C interface: leveled, dynamic level bytes, write-ahead log
 * on. A get is pinned (no copy), a writer keeps its batch, a scan makes an iterator as its view
 * cannot be renewed from C.
 */
#include <rocksdb/c.h>
#include <stdlib.h>
#include <string.h>

#include "side.h"

struct side_db {
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_block_based_table_options_t *table;
    rocksdb_cache_t *cache;
    rocksdb_writeoptions_t *write;
    rocksdb_readoptions_t *read;
};

struct side_writer {
    side_db *db;
    rocksdb_writebatch_t *batch;
};

struct side_reader {
    side_db *db;
    rocksdb_pinnableslice_t *pinned;
    rocksdb_iterator_t *held;
};

static void must(char *error, const char *what)
{
    if (error != NULL)
        side_fail(what, "%s", error);
}

static void set_table(side_db *db, const side_setup *s)
{
    db->cache = rocksdb_cache_create_lru(s->cache_size);
    db->table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_cache(db->table, db->cache);
    rocksdb_block_based_options_set_block_size(db->table, 4096);
    rocksdb_block_based_options_set_filter_policy(db->table,
                                                  rocksdb_filterpolicy_create_bloom_full(10));
    rocksdb_block_based_options_set_format_version(db->table, 5);
    rocksdb_block_based_options_set_data_block_index_type(
        db->table, rocksdb_block_based_table_data_block_index_type_binary_search_and_hash);
    rocksdb_options_set_block_based_table_factory(db->options, db->table);
}

static side_db *engine_open(const side_setup *s)
{
    char *error = NULL;
    side_db *db = calloc(1, sizeof *db);
    if (db == NULL)
        side_fail("open", "no memory");
    db->options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(db->options, s->create);
    rocksdb_options_set_write_buffer_size(db->options, (size_t)64 << 20);
    rocksdb_options_set_max_write_buffer_number(db->options, 4);
    rocksdb_options_set_max_background_jobs(db->options, 2);
    rocksdb_options_set_max_subcompactions(db->options, 2);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(db->options, 1);
    rocksdb_options_set_enable_pipelined_write(db->options, 1);
    rocksdb_options_set_compression(db->options, s->tune != NULL && strstr(s->tune, "lz4") != NULL
                                                     ? rocksdb_lz4_compression
                                                     : rocksdb_no_compression);
    set_table(db, s);
    db->write = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(db->write, s->sync);
    db->read = rocksdb_readoptions_create();
    rocksdb_readoptions_set_verify_checksums(db->read, 1);
    db->db = rocksdb_open(db->options, s->dir, &error);
    must(error, "open");
    return db;
}

static void engine_close(side_db *db)
{
    rocksdb_close(db->db);
    rocksdb_readoptions_destroy(db->read);
    rocksdb_writeoptions_destroy(db->write);
    rocksdb_options_destroy(db->options);
    rocksdb_block_based_options_destroy(db->table);
    rocksdb_cache_destroy(db->cache);
    free(db);
}

static void settle(side_db *db)
{
    char *error = NULL;
    rocksdb_flushoptions_t *flush = rocksdb_flushoptions_create();
    rocksdb_flushoptions_set_wait(flush, 1);
    rocksdb_flush(db->db, flush, &error);
    must(error, "flush");
    rocksdb_flushoptions_destroy(flush);
}

static side_writer *writer_open(side_db *db)
{
    side_writer *w = calloc(1, sizeof *w);
    if (w == NULL)
        side_fail("writer", "no memory");
    w->db = db;
    w->batch = rocksdb_writebatch_create();
    return w;
}

static void writer_close(side_writer *w)
{
    rocksdb_writebatch_destroy(w->batch);
    free(w);
}

static void batch_commit(side_writer *w)
{
    char *error = NULL;
    rocksdb_write(w->db->db, w->db->write, w->batch, &error);
    must(error, "write");
    rocksdb_writebatch_clear(w->batch);
}

static void batch_put(side_writer *w, vv_slice key, vv_slice value)
{
    rocksdb_writebatch_put(w->batch, (const char *)key.data, key.len, (const char *)value.data,
                           value.len);
}

static void put(side_writer *w, vv_slice key, vv_slice value)
{
    batch_put(w, key, value);
    batch_commit(w);
}

static void del(side_writer *w, vv_slice key)
{
    rocksdb_writebatch_delete(w->batch, (const char *)key.data, key.len);
    batch_commit(w);
}

static void del_range(side_writer *w, vv_slice begin, vv_slice end)
{
    rocksdb_writebatch_delete_range(w->batch, (const char *)begin.data, begin.len,
                                    (const char *)end.data, end.len);
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
        rocksdb_iter_destroy(r->held);
    free(r);
}

static bool get(side_reader *r, vv_slice key, vv_slice *value)
{
    char *error = NULL;
    r->pinned = rocksdb_get_pinned(r->db->db, r->db->read, (const char *)key.data, key.len, &error);
    must(error, "get");
    if (r->pinned == NULL)
        return false;
    value->data = (const uint8_t *)rocksdb_pinnableslice_value(r->pinned, &value->len);
    return true;
}

static void got(side_reader *r)
{
    rocksdb_pinnableslice_destroy(r->pinned);
}

static void scan(side_reader *r, vv_slice from, bool held, side_visit visit, void *ctx)
{
    char *error = NULL;
    rocksdb_iterator_t *it = held ? r->held : NULL;
    if (it == NULL)
        it = rocksdb_create_iterator(r->db->db, r->db->read);
    if (from.len == 0)
        rocksdb_iter_seek_to_first(it);
    else
        rocksdb_iter_seek(it, (const char *)from.data, from.len);
    for (; rocksdb_iter_valid(it); rocksdb_iter_next(it)) {
        vv_slice key;
        vv_slice value;
        key.data = (const uint8_t *)rocksdb_iter_key(it, &key.len);
        value.data = (const uint8_t *)rocksdb_iter_value(it, &value.len);
        if (!visit(ctx, key, value))
            break;
    }
    rocksdb_iter_get_error(it, &error);
    must(error, "scan");
    if (held)
        r->held = it;
    else
        rocksdb_iter_destroy(it);
}

const side_engine side_this = {
    .name = "rocksdb",
    .version = SIDE_VERSION,
    .settings = "leveled, dynamic level bytes, memtable 4 x 64 MB, 2 background jobs, 2 "
                "subcompactions, pipelined writes, WAL on, LRU cache, full Bloom 10 bits, 4 KiB "
                "blocks with hash index, format 5, no compression, checksums verified",
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
