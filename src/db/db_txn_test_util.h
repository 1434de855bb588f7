/*
 * db_txn_test_util.h - a store with transactions in it, and transactions in one line.
 */
#ifndef VARVE_DB_DB_TXN_TEST_UTIL_H
#define VARVE_DB_DB_TXN_TEST_UTIL_H

#include "db/db_test_util.h"

#include <string.h>

#include "base/alloc.h"
#include "base/point.h"
#include "db/db_txn_int.h"

static vv_error err;

static inline int txn_setup(void **state)
{
    static sim_world w;
    w = (sim_world){.opt = SIM_TINY_OPTIONS};
    w.opt.memtable_size = 256u << 10;
    w.ops = vv_test_count("VV_ENGINE_MEMORY", 0) != 0 ? &engine_memory_ops : &lsm_ops;
    err = (vv_error){0};
    sim_start(&w);
    *state = &w;
    return 0;
}

static inline int txn_teardown(void **state)
{
    sim_end(*state);
    return 0;
}

static inline vv_slice S(const char *text)
{
    return vv_slice_str(text);
}

static inline vv_txn *begin_as(vv_db *db, vv_isolation isolation)
{
    vv_txn *t = NULL;
    vv_txn_options opt = VV_TXN_OPTIONS_INIT;
    opt.isolation = isolation;
    assert_ok(vv_txn_begin(db, &opt, &t, &err), err);
    return t;
}

static inline vv_txn *begin(vv_db *db)
{
    return begin_as(db, VV_ISOLATION_SNAPSHOT);
}

static inline void tput(vv_txn *t, vv_table *table, const char *key, const char *value)
{
    assert_ok(vv_txn_put(t, table, S(key), S(value), 0, &err), err);
}

static inline void tdel(vv_txn *t, vv_table *table, const char *key)
{
    assert_ok(vv_txn_delete(t, table, S(key), &err), err);
}

static inline void twipe(vv_txn *t, vv_table *table, const char *begin, const char *end)
{
    assert_ok(vv_txn_delete_range(t, table, S(begin), S(end), &err), err);
}

/* value NULL: absent. */
static inline void tsees(vv_txn *t, vv_table *table, const char *key, const char *value)
{
    vv_value got = {0};
    vv_status st = vv_txn_get(t, table, S(key), &got, &err);
    if (st != (value == NULL ? VV_NOT_FOUND : VV_OK))
        fail_msg("'%s': %s", key, vv_status_name(st));
    if (value == NULL)
        return;
    if (!vv_slice_eq(got.data, S(value)))
        fail_msg("'%s' is '%.*s' instead of '%s'", key, (int)got.data.len,
                 (const char *)got.data.data, value);
    vv_value_release(&got);
}

static inline void commits(vv_txn *t)
{
    assert_ok(vv_txn_commit(t, NULL, &err), err);
}

/* Expect the commit to be refused, with a sentence that names what. */
static inline void conflicts(vv_txn *t, const char *what)
{
    err = (vv_error){0};
    vv_status st = vv_txn_commit(t, NULL, &err);
    if (st != VV_CONFLICT)
        fail_msg("the commit answered %s %s", vv_status_name(st), err.msg);
    if (strstr(err.msg, what) == NULL)
        fail_msg("'%s' does not name %s", err.msg, what);
}

/* "a=1 b=2" of all keys, in one direction. */
static inline const char *scan_text(vv_txn *t, vv_table *table, const vv_cursor_options *opt,
                                    bool forward)
{
    static char text[2][1024];
    static unsigned turn;
    char *out = text[turn++ % 2];
    size_t len = 0;
    out[0] = '\0';
    vv_cursor *c = NULL;
    assert_ok(vv_txn_scan(t, table, opt, &c, &err), err);
    assert_ok(forward ? vv_cursor_seek(c, S(""), &err) : vv_cursor_seek_below(c, S(""), &err), err);
    while (vv_cursor_valid(c)) {
        vv_slice k = vv_cursor_key(c);
        vv_slice v = vv_cursor_value(c);
        len += (size_t)snprintf(out + len, sizeof text[0] - len, "%s%.*s=%.*s", len > 0 ? " " : "",
                                (int)k.len, (const char *)k.data, (int)v.len, (const char *)v.data);
        assert_ok(forward ? vv_cursor_next(c, &err) : vv_cursor_prev(c, &err), err);
    }
    vv_cursor_close(c);
    return out;
}

static inline void tscans(vv_txn *t, vv_table *table, const char *forward, const char *backward)
{
    assert_string_equal(scan_text(t, table, NULL, true), forward);
    assert_string_equal(scan_text(t, table, NULL, false), backward);
}

static inline void flush(vv_db *db)
{
    assert_ok(vv_checkpoint(db, &err), err);
}

#endif
