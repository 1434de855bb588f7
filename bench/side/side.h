/*
 * side.h - what one engine must offer to be measured beside the others.
 *
 * Each engine is one table of functions in a file of its own and one program: side_varve,
 * side_rocksdb, ... The program's rows (side_rows.c), its keys and values (side_data.c) and its
 * meters (side_meter.c) are the same for all, so a difference between two lines of output is a
 * difference between two engines.
 *
 * An adapter uses its engine the fastest way that its public C interface allows: no copy where the
 * engine lends its bytes, no object made anew where one may be kept. What must be equal is equal:
 * a read that is not part of a scan sees everything committed before it began.
 *
 * Adapters do not return failures: an engine that fails has no figure. side_fail ends the program.
 */
#ifndef VARVE_BENCH_SIDE_H
#define VARVE_BENCH_SIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "varve/slice.h"

typedef struct side_db side_db;
typedef struct side_writer side_writer;
typedef struct side_reader side_reader;

typedef struct side_setup {
    const char *dir;
    const char *engine;  /* which engine of the library: varve only */
    const char *tune;    /* options of one run, "name=value,...": varve only; may be NULL */
    bool create;         /* a fresh store, or one that an earlier process loaded */
    bool sync;           /* every commit is on the disk before it is answered */
    bool ascending;      /* keys will be written in order: an engine may use it */
    uint64_t cache_size; /* bytes of the engine's own cache */
    uint64_t data_size;  /* bytes of keys and values to come */
} side_setup;

/* Called for each item of a scan; false ends it. Borrows key and value for the call. */
typedef bool (*side_visit)(void *ctx, vv_slice key, vv_slice value);

typedef struct side_engine {
    const char *name;     /* "rocksdb" */
    const char *version;  /* of the library; NULL: version_of says */
    const char *settings; /* as text, for the report */
    const char *(*version_of)(void);
    side_db *(*open)(const side_setup *setup);
    void (*close)(side_db *db);
    /* Move what is in memory to where a restart would want it, synced. May return before the
     * background is done: the caller waits until the process is quiet. */
    void (*settle)(side_db *db);
    /* The engine's own counters, as members of a JSON object ("\"flushes\":3"). May be NULL. */
    void (*counters)(side_db *db, FILE *out);

    /* A writer belongs to one thread. put and del are one commit each. */
    side_writer *(*writer_open)(side_db *db);
    void (*writer_close)(side_writer *w);
    void (*put)(side_writer *w, vv_slice key, vv_slice value);
    void (*del)(side_writer *w, vv_slice key);
    void (*batch_put)(side_writer *w, vv_slice key, vv_slice value);
    void (*batch_commit)(side_writer *w);
    void (*del_range)(side_writer *w, vv_slice begin, vv_slice end); /* [begin, end), one commit */

    /* A reader belongs to one thread. get lends *value until got; false: the key is absent, and got
     * is not called. */
    side_reader *(*reader_open)(side_db *db);
    void (*reader_close)(side_reader *r);
    bool (*get)(side_reader *r, vv_slice key, vv_slice *value);
    void (*got)(side_reader *r);
    /* Visit from the first key >= from, until visit says stop. held: the view of an earlier held
     * scan may be used again; otherwise the scan sees everything committed before. */
    void (*scan)(side_reader *r, vv_slice from, bool held, side_visit visit, void *ctx);
} side_engine;

extern const side_engine side_this; /* defined by each adapter */

/* "side_rocksdb: put: IO error: ...", and exit 1. */
__attribute__((noreturn, format(printf, 2, 3))) void side_fail(const char *what, const char *format,
                                                               ...);

#endif
