/*
 * engine_suite_int.h - the bed a conformance test lies in: an engine in its world, the log that a
 * caller would keep, and words for what is written and expected.
 *
 * Values and keys are C strings in table 1 unless said otherwise. Every expectation is checked by
 * get and by cursors in both directions; in_each_state repeats it on the memtable, frozen, flushed,
 * compacted and reopened.
 */
#ifndef VARVE_ENGINE_ENGINE_SUITE_INT_H
#define VARVE_ENGINE_ENGINE_SUITE_INT_H

#include "vv_test.h"

#include "base/buf.h"
#include "base/rng.h"
#include "engine/engine_suite.h"

typedef struct logged {
    int64_t version;
    int64_t commit_time_ns;
    vv_slice payload; /* on the heap */
} logged;

typedef struct bed {
    const engine_suite_subject *subject;
    vv_env *env;
    vv_budget budget;
    engine_options opt;
    engine *e;
    int64_t opened_at;    /* the version when it was opened: pins end with the process */
    engine_floor floor;   /* what the floor hook answers */
    int64_t durable;      /* what ensure_durable was asked for last */
    int64_t checkpointed; /* what on_checkpoint said last */
    bool hook_broken;     /* a hook was called against its contract */
    /* The batch being written. */
    vv_buf batch;
    size_t begin;
    uint32_t op_count;
    uint32_t table;
    /* The log. */
    logged *log;
    size_t log_count;
    size_t log_cap;
    _Atomic int64_t version; /* hooks read it from other threads */
    int64_t now_ns;          /* the read time of expectations and the commit time of batches */
} bed;

/* Life: an open engine over an empty disk. bed_reopen closes and opens it and replays the log from
 * a little before its checkpoint. */
bed *bed_create(const engine_suite_subject *subject);
void bed_destroy(bed *b);
void bed_reopen(bed *b);
/* As bed_reopen with the world left as it is, but closed in between; for what must not be open. */
vv_status bed_try_open(bed *b, vv_error *err);
void bed_replay(bed *b);

/* Writing: collect operations, then commit them as one entry; returns its version. */
void put(bed *b, const char *key, const char *value);
void put_until(bed *b, const char *key, const char *value, int64_t expires_ns);
void del(bed *b, const char *key);
void del_range(bed *b, const char *start, const char *end);
void add_op(bed *b, const engine_op *op); /* key with its prefix */
int64_t commit(bed *b);
int64_t commit_unpublished(bed *b);
/* Without doing work when the engine is busy: VV_BUSY is returned. */
vv_status try_commit(bed *b, vv_error *err);
void forget_batch(bed *b);
/* put and commit. */
int64_t put_now(bed *b, const char *key, const char *value);

/* Background. */
void settle(bed *b);      /* work until there is none */
void compact_all(bed *b); /* down to the last level */

/* Expecting. A NULL value: absent. A scan is written "a=1 b=2". */
void expect_get(bed *b, const char *key, int64_t version, const char *value);
void expect_scan(bed *b, int64_t version, const char *text);
void expect_scan_between(bed *b, int64_t version, const char *lower, const char *upper,
                         const char *text);
/* May touched() answer VV_UNSUPPORTED? */
bool may_have_forgotten(const bed *b, int64_t since);
void expect_clean(bed *b); /* check() has no finding, hooks were honoured */
engine_cursor *open_cursor(bed *b, int64_t version, const char *lower, const char *upper);
vv_slice table_key(uint32_t table, const char *key, uint8_t *buf, size_t buf_len);

/* Run fn(b, ctx) in each state the written data passes through. */
void in_each_state(bed *b, void (*fn)(bed *b, void *ctx), void *ctx);

/* The model test, in engine_suite_model.c. */
void suite_prop_agrees_with_the_model(void **state);

/* Tests about writes and versions, in engine_suite_write.c; about cursors in ..._cursor.c; about
 * background work, reopening and failures in ..._work.c. Each array ends with a NULL function. */
typedef struct suite_test {
    const char *name;
    void (*fn)(bed *b);
} suite_test;
extern const suite_test suite_write_tests[];
extern const suite_test suite_cursor_tests[];
extern const suite_test suite_work_tests[];

#endif
