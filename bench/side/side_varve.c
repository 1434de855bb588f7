/*
 * side_varve.c - varve through include/varve, as a program that links libvarve would use it.
 *
 * --engine names the engine of the store and its table, which must say afterwards that it is it.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "side.h"
#include "varve/varve.h"

struct side_db {
    vv_db *db;
    vv_table *table;
    vv_durability durability;
};

struct side_writer {
    side_db *db;
    vv_batch *batch;
};

struct side_reader {
    side_db *db;
    vv_value value;
    vv_cursor *held;
};

static void must(vv_status st, const char *what, const vv_error *err)
{
    if (st != VV_OK)
        side_fail(what, "%s: %s", vv_status_name(st), err->msg);
}

/* "background_threads=2,memtable_size=134217728" over the settings below. */
static void tune(vv_options *opt, const char *text)
{
    const struct {
        const char *name;
        uint64_t *wide;
        uint32_t *narrow;
    } fields[] = {
        {"memory_limit", &opt->memory_limit, NULL},
        {"memtable_size", &opt->memtable_size, NULL},
        {"cache_size", &opt->cache_size, NULL},
        {"log_limit", &opt->log_limit, NULL},
        {"compaction_budget", &opt->compaction_budget, NULL},
        {"log_ring_size", NULL, &opt->log_ring_size},
        {"log_segment_size", NULL, &opt->log_segment_size},
        {"background_threads", NULL, &opt->background_threads},
    };
    while (text != NULL && *text != '\0') {
        size_t name_len = strcspn(text, "=");
        bool found = false;
        uint64_t value = strtoull(text + name_len + (text[name_len] == '='), NULL, 10);
        if (strncmp(text, "compress", name_len) == 0) {
            opt->compress = value != 0;
            found = true;
        }
        for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
            if (strlen(fields[i].name) != name_len || strncmp(text, fields[i].name, name_len) != 0)
                continue;
            if (fields[i].wide != NULL)
                *fields[i].wide = value;
            else
                *fields[i].narrow = (uint32_t)value;
            found = true;
        }
        if (!found)
            side_fail("tune", "no option '%s'", text);
        text += strcspn(text, ",");
        text += *text == ',';
    }
}

static vv_engine_kind kind_of(const char *engine)
{
    static const char *const names[] = {
        [VV_ENGINE_LSM] = "lsm", [VV_ENGINE_BTREE] = "btree", [VV_ENGINE_ROCKSDB] = "rocksdb"};
    for (size_t i = VV_ENGINE_LSM; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], engine) == 0)
            return (vv_engine_kind)i;
    side_fail("engine", "there is no '%s'", engine);
}

static side_db *engine_open(const side_setup *s)
{
    vv_error err = {0};
    vv_options opt = VV_OPTIONS_INIT;
    vv_table_options topt = VV_TABLE_OPTIONS_INIT;
    vv_table_info info;
    side_db *db = calloc(1, sizeof *db);
    if (db == NULL)
        side_fail("open", "no memory");
    db->durability = s->sync ? VV_DURABLE_SYNC : VV_DURABLE_OS;
    opt.create_if_missing = s->create;
    opt.durability = db->durability;
    opt.cache_size = s->cache_size;
    opt.memtable_size = UINT64_C(64) << 20; /* as the peers' */
    /* The cache, as the peers' is counted, and beside it memtables, queues and the log's ring. */
    opt.memory_limit = s->cache_size + (UINT64_C(1) << 30);
    if (s->cache_size < UINT64_C(128) << 20) { /* a process held to little memory: reads alone */
        opt.memtable_size = UINT64_C(8) << 20;
        opt.memory_limit = s->cache_size + (UINT64_C(64) << 20);
    }
    opt.background_threads = 2; /* as the peers' */
    opt.engine = kind_of(s->engine);
    tune(&opt, s->tune);
    must(vv_db_open(s->dir, &opt, &db->db, &err), "open", &err);
    topt.if_not_exists = true;
    must(vv_table_create(db->db, "bench", "side", &topt, &db->table, &err), "table", &err);
    must(vv_table_describe(db->table, &info, &err), "table", &err);
    if (strcmp(info.engine, s->engine) != 0)
        side_fail("table", "this build has no engine '%s': the table is '%s'", s->engine,
                  info.engine);
    return db;
}

static void engine_close(side_db *db)
{
    vv_error err = {0};
    vv_table_close(db->table);
    must(vv_db_close(db->db, &err), "close", &err);
    free(db);
}

static void settle(side_db *db)
{
    vv_error err = {0};
    must(vv_checkpoint(db->db, &err), "checkpoint", &err);
}

static void counters(side_db *db, FILE *out)
{
    vv_stats s = {.size = sizeof s};
    vv_stats_read(db->db, &s);
    fprintf(out,
            "\"user_bytes\":%" PRIu64 ",\"log_written_bytes\":%" PRIu64 ",\"log_syncs\":%" PRIu64
            ",\"flushes\":%" PRIu64 ",\"flush_bytes\":%" PRIu64 ",\"compactions\":%" PRIu64
            ",\"compaction_write_bytes\":%" PRIu64 ",\"cache_hits\":%" PRIu64
            ",\"cache_misses\":%" PRIu64 ",\"filter_skips\":%" PRIu64 ",\"throttled_ms\":%" PRIu64
            ",\"memory_used\":%" PRIu64,
            s.user_bytes, s.log_written_bytes, s.log_syncs, s.flushes, s.flush_bytes, s.compactions,
            s.compaction_write_bytes, s.cache_hits, s.cache_misses, s.filter_skips,
            s.throttled_ns / 1000000, s.memory_used);
    fprintf(out, ",\"level_files\":[");
    for (unsigned i = 0; i < 8; i++)
        fprintf(out, "%s%" PRIu64, i == 0 ? "" : ",", s.level_files[i]);
    fprintf(out, "]");
}

static side_writer *writer_open(side_db *db)
{
    side_writer *w = calloc(1, sizeof *w);
    if (w == NULL || (w->batch = vv_batch_create(db->db)) == NULL)
        side_fail("writer", "no memory");
    w->db = db;
    return w;
}

static void writer_close(side_writer *w)
{
    vv_batch_destroy(w->batch);
    free(w);
}

/* VV_BUSY asks for a retry after a pause: the pause is part of the figure. */
static void commit(side_writer *w, const char *what)
{
    vv_error err = {0};
    vv_status st;
    while ((st = vv_write(w->db->db, w->batch, w->db->durability, NULL, &err)) == VV_BUSY)
        continue;
    must(st, what, &err);
    vv_batch_clear(w->batch);
}

static void put(side_writer *w, vv_slice key, vv_slice value)
{
    vv_error err = {0};
    vv_status st;
    while ((st = vv_put(w->db->table, key, value, &err)) == VV_BUSY)
        continue;
    must(st, "put", &err);
}

static void del(side_writer *w, vv_slice key)
{
    vv_error err = {0};
    vv_status st;
    while ((st = vv_delete(w->db->table, key, &err)) == VV_BUSY)
        continue;
    must(st, "delete", &err);
}

static void batch_put(side_writer *w, vv_slice key, vv_slice value)
{
    vv_error err = {0};
    must(vv_batch_put(w->batch, w->db->table, key, value, 0, &err), "batch put", &err);
}

static void batch_commit(side_writer *w)
{
    commit(w, "write");
}

static void del_range(side_writer *w, vv_slice begin, vv_slice end)
{
    vv_error err = {0};
    must(vv_batch_delete_range(w->batch, w->db->table, begin, end, &err), "delete range", &err);
    commit(w, "delete range");
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
    vv_cursor_close(r->held);
    free(r);
}

static bool get(side_reader *r, vv_slice key, vv_slice *value)
{
    vv_error err;
    vv_status st = vv_get(r->db->table, NULL, key, &r->value, &err);
    if (st == VV_NOT_FOUND)
        return false;
    must(st, "get", &err);
    *value = r->value.data;
    return true;
}

static void got(side_reader *r)
{
    vv_value_release(&r->value);
}

static void scan(side_reader *r, vv_slice from, bool held, side_visit visit, void *ctx)
{
    vv_error err = {0};
    vv_cursor *c = held ? r->held : NULL;
    if (c == NULL)
        must(vv_cursor_open(r->db->table, NULL, &c, &err), "cursor", &err);
    must(vv_cursor_seek(c, from, &err), "seek", &err);
    while (vv_cursor_valid(c) && visit(ctx, vv_cursor_key(c), vv_cursor_value(c)))
        must(vv_cursor_next(c, &err), "next", &err);
    if (held)
        r->held = c;
    else
        vv_cursor_close(c);
}

const side_engine side_this = {
    .name = "varve",
    .version_of = vv_version,
    .settings =
        "memtable 64 MiB, 2 background threads, lz4, below level 1 zstd, checksums verified, "
        "sync or os durability",
    .open = engine_open,
    .close = engine_close,
    .settle = settle,
    .counters = counters,
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
