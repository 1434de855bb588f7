/*
 * svc_series_write.h - samples of a request on their way into a series table, whatever protocol
 * they came in: from the loop over the pool to the commit thread and back.
 */
#ifndef VARVE_SERVER_SVC_SERIES_WRITE_H
#define VARVE_SERVER_SVC_SERIES_WRITE_H

#include "feeds/feed_columns.h"
#include "feeds/feed_line.h"
#include "feeds/feed_store.h"
#include "server/node.h"
#include "server/svc_util.h"

/* What writes of one table need, recycled. */
typedef struct svc_series_room svc_series_room;

typedef struct svc_series_write svc_series_write;

/*
 * A protocol.
 *
 *   loop: begin --> pool: open, decode --> vv_series_append_async ... commit thread: settled
 *                                \ a refusal ---------------------------------------^
 */
typedef struct svc_series_write_ops {
    /* Read where the samples go: set w->tenant, w->table and w->durability, and what decode
     * needs. Pool thread. */
    vv_status (*open)(svc_series_write *w, vv_error *err);
    /* Read the samples into sink; w->read tells what it made of them. Pool thread. Called twice
     * where the table is not there yet. */
    vv_status (*decode)(svc_series_write *w, feed_sink *sink, vv_error *err);
    /* Answer by w->status, w->err, w->read and w->total. Any thread, once, the last callback. */
    void (*settled)(svc_series_write *w);
} svc_series_write_ops;

struct svc_series_write {
    node *n;
    srv_call *call; /* referenced */
    srv_message msg;
    const svc_series_write_ops *ops;
    vv_slice tenant; /* these may borrow from msg, the call, or text */
    vv_slice table;
    vv_buf text;
    vv_durability durability;
    int64_t unit_ns;       /* of line protocol */
    feed_columns *columns; /* of gRPC */
    vv_buf plain;          /* of remote write: the message, without snappy */
    uint64_t charge;       /* bytes in the budget besides msg */
    svc_series_room *room; /* NULL: there is no table, and nothing to make it for */
    feed_line *lines;      /* of a write without a room */
    feed_writer writer;
    /* what came of it */
    vv_status status;
    vv_error err;
    feed_result read;
    vv_append_result total;
    bool is_partial; /* VV_BUSY, and all of it is in but samples of series over the limit */
    /* of a stream */
    void *stream;
    svc_series_write *next;
    uint64_t request_id;
    bool is_done;
};

/** A write for a call: takes msg, references the call. NULL when memory is short; msg is released.
 */
svc_series_write *svc_series_write_create(srv_call *call, srv_message msg,
                                          const svc_series_write_ops *ops);
void svc_series_write_destroy(svc_series_write *w);
/** Hand it to the pool. settled runs, perhaps before this returns; it destroys w. Any thread. */
void svc_series_write_begin(svc_series_write *w);
/** The same here and now: a thread that may wait. */
void svc_series_write_run(svc_series_write *w);
/** How many bytes more the write takes: VV_BUSY when storage.memory_limit is used up. */
VV_MUST_CHECK vv_status svc_series_write_charge(svc_series_write *w, uint64_t bytes, vv_error *err);
/** The decoder of line protocol, which comes with the room of w's table where it has one. NULL: no
 * memory. */
feed_line *svc_series_write_lines(svc_series_write *w);

/** Samples that were refused, by the decoder and by the table, and the sentence of the first. */
uint64_t svc_series_refused(const svc_series_write *w, const char **first);

/* Figures of all writes. */
typedef struct svc_series_figures {
    uint64_t requests;
    uint64_t accepted;
    uint64_t refused;
    uint64_t late;
    uint64_t created;
} svc_series_figures;
void svc_series_figures_read(node *n, svc_series_figures *out);

#endif
