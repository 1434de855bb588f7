/*
 * db_trace.h - which traces the messages of a batch belong to, for lines of the event log.
 *
 * A client names the trace of its request (vv_stream_append_options.trace); spans and log records
 * have an attribute "trace_id". The former are remembered for the newest DB_TRACES appends that
 * had one, in memory alone, where there is an object store to follow them to; the latter are looked
 * at in the first messages of a batch. So a line names some of the traces, the first ones it knows.
 */
#ifndef VARVE_DB_DB_TRACE_H
#define VARVE_DB_DB_TRACE_H

#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "varve/stream.h"

#define DB_TRACES 2048u
#define DB_TRACE_LIST 8u     /* that a line names */
#define DB_TRACE_LOOKED 256u /* messages of a batch whose attributes are looked at */

/* One append. */
typedef struct db_trace {
    uint32_t table;
    uint32_t partition;
    uint64_t first; /* offsets [first, next) */
    uint64_t next;  /* 0: it was taken back */
    char id[VV_STREAM_TRACE_MAX + 1];
} db_trace;

/* The newest of all tables. Under a lock of its owner. */
typedef struct db_traces {
    uint32_t hand; /* the oldest */
    db_trace ring[DB_TRACES];
} db_traces;

void db_traces_note(db_traces *t, uint32_t table, uint32_t partition, uint64_t first, uint64_t next,
                    const char *id);
/* The append at this offset got into no log. */
void db_traces_forget(db_traces *t, uint32_t table, uint32_t partition, uint64_t first);

/* Those of a batch, each once. */
typedef struct db_trace_list {
    uint32_t count; /* named */
    uint64_t more;  /* that were found besides */
    char id[DB_TRACE_LIST][VV_STREAM_TRACE_MAX + 1];
} db_trace_list;

void db_trace_list_add(db_trace_list *list, vv_slice id);
/* By the attribute of a message. */
void db_trace_list_message(db_trace_list *list, const vv_message *m);
/* By what was noted of offsets [first, next). */
void db_trace_list_range(db_trace_list *list, const db_traces *t, uint32_t table,
                         uint32_t partition, uint64_t first, uint64_t next);

#define DB_TRACE_TEXT (DB_TRACE_LIST * (VV_STREAM_TRACE_MAX + 1))
#define DB_TRACE_KVS 3u
/* Values of a line: trace_id, the first; trace_ids, where there are more, and how many more are
 * known, trace_more. Returns how many; they borrow from list and text. */
size_t db_trace_list_kvs(const db_trace_list *list, char text[DB_TRACE_TEXT],
                         vv_kv out[DB_TRACE_KVS]);

#endif
