/*
 * side_lmdb.c - LMDB: WRITEMAP + NOSYNC without a log (with sync: WRITEMAP alone), NORDAHEAD,
 * NOTLS. A reader keeps its transaction and cursor and renews them for each operation. Without sync
 * it survives the end of the process, but a power cut may leave a file that cannot be opened: the
 * engines with a log keep a prefix of the writes there.
 */
#include <lmdb.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "side.h"

struct side_db {
    MDB_env *env;
    MDB_dbi dbi;
    unsigned put_flags;
};

struct side_writer {
    side_db *db;
    MDB_txn *txn;
};

struct side_reader {
    side_db *db;
    MDB_txn *txn;
    MDB_cursor *cursor;
    bool is_held;
};

static void must(int rc, const char *what)
{
    if (rc != 0)
        side_fail(what, "%s", mdb_strerror(rc));
}

static MDB_val val_of(vv_slice s)
{
    return (MDB_val){.mv_size = s.len, .mv_data = (void *)(uintptr_t)s.data};
}

static vv_slice slice_of(const MDB_val *v)
{
    return vv_slice_of(v->mv_data, v->mv_size);
}

static side_db *engine_open(const side_setup *s)
{
    MDB_txn *txn;
    side_db *db = calloc(1, sizeof *db);
    unsigned flags = MDB_WRITEMAP | MDB_NORDAHEAD | MDB_NOTLS | (s->sync ? 0 : MDB_NOSYNC);
    uint64_t map = s->data_size * 6 < UINT64_C(8) << 30 ? UINT64_C(8) << 30 : s->data_size * 6;
    if (db == NULL)
        side_fail("open", "no memory");
    (void)mkdir(s->dir, 0755);
    must(mdb_env_create(&db->env), "open");
    must(mdb_env_set_mapsize(db->env, map), "map size");
    must(mdb_env_open(db->env, s->dir, flags, 0644), "open");
    must(mdb_txn_begin(db->env, NULL, 0, &txn), "open");
    must(mdb_dbi_open(txn, NULL, 0, &db->dbi), "open");
    must(mdb_txn_commit(txn), "open");
    db->put_flags = s->ascending ? MDB_APPEND : 0;
    return db;
}

static void engine_close(side_db *db)
{
    mdb_env_close(db->env);
    free(db);
}

static void settle(side_db *db)
{
    must(mdb_env_sync(db->env, 1), "sync");
}

static side_writer *writer_open(side_db *db)
{
    side_writer *w = calloc(1, sizeof *w);
    if (w == NULL)
        side_fail("writer", "no memory");
    w->db = db;
    return w;
}

static void writer_close(side_writer *w)
{
    free(w);
}

static void begin(side_writer *w)
{
    if (w->txn == NULL)
        must(mdb_txn_begin(w->db->env, NULL, 0, &w->txn), "begin");
}

static void batch_commit(side_writer *w)
{
    must(mdb_txn_commit(w->txn), "commit");
    w->txn = NULL;
}

static void batch_put(side_writer *w, vv_slice key, vv_slice value)
{
    MDB_val k = val_of(key);
    MDB_val v = val_of(value);
    begin(w);
    must(mdb_put(w->txn, w->db->dbi, &k, &v, w->db->put_flags), "put");
}

static void put(side_writer *w, vv_slice key, vv_slice value)
{
    batch_put(w, key, value);
    batch_commit(w);
}

static void del(side_writer *w, vv_slice key)
{
    MDB_val k = val_of(key);
    begin(w);
    int rc = mdb_del(w->txn, w->db->dbi, &k, NULL);
    if (rc != MDB_NOTFOUND)
        must(rc, "delete");
    batch_commit(w);
}

static void del_range(side_writer *w, vv_slice from, vv_slice end)
{
    MDB_cursor *c;
    MDB_val k = val_of(from);
    MDB_val v;
    begin(w);
    must(mdb_cursor_open(w->txn, w->db->dbi, &c), "cursor");
    int rc = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE);
    while (rc == 0 && vv_slice_cmp(slice_of(&k), end) < 0) {
        must(mdb_cursor_del(c, 0), "delete");
        rc = mdb_cursor_get(c, &k, &v, MDB_NEXT); /* after a delete: the one that moved here */
    }
    if (rc != 0 && rc != MDB_NOTFOUND)
        must(rc, "delete range");
    mdb_cursor_close(c);
    batch_commit(w);
}

static side_reader *reader_open(side_db *db)
{
    side_reader *r = calloc(1, sizeof *r);
    if (r == NULL)
        side_fail("reader", "no memory");
    r->db = db;
    must(mdb_txn_begin(db->env, NULL, MDB_RDONLY, &r->txn), "begin");
    must(mdb_cursor_open(r->txn, db->dbi, &r->cursor), "cursor");
    mdb_txn_reset(r->txn);
    return r;
}

static void drop_view(side_reader *r)
{
    if (r->is_held)
        mdb_txn_reset(r->txn);
    r->is_held = false;
}

static void reader_close(side_reader *r)
{
    mdb_cursor_close(r->cursor);
    mdb_txn_abort(r->txn);
    free(r);
}

static bool get(side_reader *r, vv_slice key, vv_slice *value)
{
    MDB_val k = val_of(key);
    MDB_val v;
    drop_view(r);
    must(mdb_txn_renew(r->txn), "renew");
    int rc = mdb_get(r->txn, r->db->dbi, &k, &v);
    if (rc == MDB_NOTFOUND) {
        mdb_txn_reset(r->txn);
        return false;
    }
    must(rc, "get");
    *value = slice_of(&v);
    return true;
}

static void got(side_reader *r)
{
    mdb_txn_reset(r->txn);
}

static void scan(side_reader *r, vv_slice from, bool held, side_visit visit, void *ctx)
{
    MDB_val k = val_of(from);
    MDB_val v;
    if (!held)
        drop_view(r);
    if (!r->is_held) {
        must(mdb_txn_renew(r->txn), "renew");
        must(mdb_cursor_renew(r->txn, r->cursor), "renew");
        r->is_held = held;
    }
    int rc = mdb_cursor_get(r->cursor, &k, &v, from.len == 0 ? MDB_FIRST : MDB_SET_RANGE);
    while (rc == 0 && visit(ctx, slice_of(&k), slice_of(&v)))
        rc = mdb_cursor_get(r->cursor, &k, &v, MDB_NEXT);
    if (rc != 0 && rc != MDB_NOTFOUND)
        must(rc, "scan");
    if (!held)
        mdb_txn_reset(r->txn);
}

const side_engine side_this = {
    .name = "lmdb",
    .version = SIDE_VERSION,
    .settings = "WRITEMAP + NOSYNC (sync: WRITEMAP alone), NORDAHEAD, NOTLS, 8 GiB map, "
                "MDB_APPEND for ascending fills, the kernel's page cache; no log, no checksums",
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
