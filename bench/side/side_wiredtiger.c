/*
 * side_wiredtiger.c - WiredTiger's btree with its log. Each writer and reader has a session and a
 * cursor of its own, reset after every operation so that the next one sees what was committed.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <wiredtiger.h>

#include "side.h"

#define TABLE "table:side"

struct side_db {
    WT_CONNECTION *conn;
    bool ascending;
};

struct side_writer {
    WT_SESSION *session;
    WT_CURSOR *cursor;
    WT_CURSOR *range[2];
    bool in_txn;
};

struct side_reader {
    WT_SESSION *session;
    WT_CURSOR *cursor;
};

static void must(int rc, const char *what)
{
    if (rc != 0)
        side_fail(what, "%s", wiredtiger_strerror(rc));
}

static WT_ITEM item_of(vv_slice s)
{
    WT_ITEM item;
    memset(&item, 0, sizeof item);
    item.data = s.data;
    item.size = s.len;
    return item;
}

static WT_SESSION *session_of(side_db *db)
{
    WT_SESSION *session;
    must(db->conn->open_session(db->conn, NULL, NULL, &session), "session");
    return session;
}

static side_db *engine_open(const side_setup *s)
{
    char config[512];
    side_db *db = calloc(1, sizeof *db);
    if (db == NULL)
        side_fail("open", "no memory");
    (void)mkdir(s->dir, 0755);
    /* Twice the cache of the others: with as much it evicts while loading and falls to a third. Not
     * where memory is bounded from outside: it would be killed. */
    uint64_t cache = s->cache_size < UINT64_C(512) << 20 ? s->cache_size : 2 * s->cache_size;
    (void)snprintf(config, sizeof config,
                   "%scache_size=%lluM,session_max=200,"
                   "log=(enabled=true,file_max=256MB),transaction_sync=(enabled=true,method=%s),"
                   "checkpoint=(log_size=2GB,wait=60),eviction=(threads_min=1,threads_max=2),"
                   "eviction_dirty_target=80,eviction_dirty_trigger=90",
                   s->create ? "create," : "", (unsigned long long)(cache >> 20),
                   s->sync ? "fsync" : "none");
    must(wiredtiger_open(s->dir, NULL, config, &db->conn), "open");
    WT_SESSION *session = session_of(db);
    must(session->create(session, TABLE,
                         "key_format=u,value_format=u,leaf_page_max=16KB,internal_page_max=16KB,"
                         "leaf_value_max=1MB"),
         "table");
    must(session->close(session, NULL), "session");
    db->ascending = s->ascending;
    return db;
}

static void engine_close(side_db *db)
{
    must(db->conn->close(db->conn, "leak_memory=true"), "close");
    free(db);
}

static void settle(side_db *db)
{
    WT_SESSION *session = session_of(db);
    must(session->checkpoint(session, NULL), "checkpoint");
    must(session->close(session, NULL), "session");
}

static WT_CURSOR *cursor_of(WT_SESSION *session, const char *config)
{
    WT_CURSOR *cursor;
    must(session->open_cursor(session, TABLE, NULL, config, &cursor), "cursor");
    return cursor;
}

static side_writer *writer_open(side_db *db)
{
    side_writer *w = calloc(1, sizeof *w);
    if (w == NULL)
        side_fail("writer", "no memory");
    w->session = session_of(db);
    w->cursor = cursor_of(w->session, "overwrite=true");
    w->range[0] = cursor_of(w->session, NULL);
    w->range[1] = cursor_of(w->session, NULL);
    return w;
}

static void writer_close(side_writer *w)
{
    must(w->session->close(w->session, NULL), "session");
    free(w);
}

/* WT_ROLLBACK asks for a retry; only eviction under pressure can cause it here. */
static void insert(side_writer *w, vv_slice key, vv_slice value)
{
    WT_ITEM k = item_of(key);
    WT_ITEM v = item_of(value);
    int rc;
    do {
        w->cursor->set_key(w->cursor, &k);
        w->cursor->set_value(w->cursor, &v);
        rc = w->cursor->insert(w->cursor);
    } while (rc == WT_ROLLBACK && !w->in_txn);
    must(rc, "put");
}

static void put(side_writer *w, vv_slice key, vv_slice value)
{
    insert(w, key, value);
    must(w->cursor->reset(w->cursor), "reset");
}

static void del(side_writer *w, vv_slice key)
{
    WT_ITEM k = item_of(key);
    int rc;
    do {
        w->cursor->set_key(w->cursor, &k);
        rc = w->cursor->remove(w->cursor);
    } while (rc == WT_ROLLBACK);
    if (rc != WT_NOTFOUND)
        must(rc, "delete");
    must(w->cursor->reset(w->cursor), "reset");
}

static void batch_put(side_writer *w, vv_slice key, vv_slice value)
{
    if (!w->in_txn)
        must(w->session->begin_transaction(w->session, "isolation=snapshot"), "begin");
    w->in_txn = true;
    insert(w, key, value);
}

static void batch_commit(side_writer *w)
{
    must(w->session->commit_transaction(w->session, NULL), "commit");
    w->in_txn = false;
}

static void del_range(side_writer *w, vv_slice begin, vv_slice end)
{
    WT_ITEM from = item_of(begin);
    WT_ITEM to = item_of(end);
    int exact;
    WT_CURSOR *a = w->range[0];
    WT_CURSOR *b = w->range[1];
    a->set_key(a, &from);
    int rc = a->search_near(a, &exact);
    if (rc == 0 && exact < 0)
        rc = a->next(a);
    if (rc == WT_NOTFOUND)
        return;
    must(rc, "range");
    b->set_key(b, &to);
    rc = b->search_near(b, &exact);
    if (rc == 0 && exact >= 0)
        rc = b->prev(b); /* the end of a range is left out */
    must(rc, "range");
    must(w->session->truncate(w->session, NULL, a, b, NULL), "truncate");
    must(a->reset(a), "reset");
    must(b->reset(b), "reset");
}

static side_reader *reader_open(side_db *db)
{
    side_reader *r = calloc(1, sizeof *r);
    if (r == NULL)
        side_fail("reader", "no memory");
    r->session = session_of(db);
    r->cursor = cursor_of(r->session, NULL);
    return r;
}

static void reader_close(side_reader *r)
{
    must(r->session->close(r->session, NULL), "session");
    free(r);
}

static bool get(side_reader *r, vv_slice key, vv_slice *value)
{
    WT_ITEM k = item_of(key);
    WT_ITEM v;
    r->cursor->set_key(r->cursor, &k);
    int rc = r->cursor->search(r->cursor);
    if (rc == WT_NOTFOUND)
        return false;
    must(rc, "get");
    must(r->cursor->get_value(r->cursor, &v), "get");
    *value = vv_slice_of(v.data, v.size);
    return true;
}

static void got(side_reader *r)
{
    must(r->cursor->reset(r->cursor), "reset");
}

static void scan(side_reader *r, vv_slice from, bool held, side_visit visit, void *ctx)
{
    WT_ITEM k = item_of(from);
    WT_ITEM v;
    WT_CURSOR *c = r->cursor;
    int exact = 0;
    int rc;
    (void)held; /* a cursor's position is its view: there is none to keep */
    if (from.len == 0) {
        rc = c->next(c);
    } else {
        c->set_key(c, &k);
        rc = c->search_near(c, &exact);
        if (rc == 0 && exact < 0)
            rc = c->next(c);
    }
    for (; rc == 0; rc = c->next(c)) {
        must(c->get_key(c, &k), "scan");
        must(c->get_value(c, &v), "scan");
        if (!visit(ctx, vv_slice_of(k.data, k.size), vv_slice_of(v.data, v.size)))
            break;
    }
    if (rc != 0 && rc != WT_NOTFOUND)
        must(rc, "scan");
    must(c->reset(c), "reset");
}

const side_engine side_this = {
    .name = "wiredtiger",
    .version = SIDE_VERSION,
    .settings = "btree, leaf and internal pages 16 KiB, cache twice the others', dirty trigger 90 "
                "%, log on with transaction_sync method none (sync: fsync), checkpoint at 2 GB of "
                "log or 60 s, 1 to 2 eviction threads",
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
