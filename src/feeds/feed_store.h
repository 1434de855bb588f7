/*
 * feed_store.h - a series table as the place that feeds fill: the target of a feed_pump, and the
 * sink of one request.
 */
#ifndef VARVE_FEEDS_FEED_STORE_H
#define VARVE_FEEDS_FEED_STORE_H

#include "feeds/feed_pump.h"
#include "varve/series.h"

/* ---- the target of a pump ---- */

/* How a table is found, or made when it is missing. name is the series table or its "<table>-dead".
 * Gives *out: vv_table_close. */
typedef vv_status feed_open_table(void *ctx, const char *name, vv_table_kind kind, vv_table **out,
                                  vv_error *err);

/* Strings are copied. */
typedef struct feed_store_options {
    vv_db *db; /* borrowed until feed_store_destroy */
    const char *tenant;
    const char *table;
    const char *source;    /* the name under which the table keeps the stream's position */
    const char *stream;    /* for letters */
    feed_open_table *open; /* NULL: by vv_table_open and vv_table_create */
    void (*note)(void *ctx, vv_status st); /* NULL, or told how each write ended */
    void *ctx;                             /* of open and note; borrowed likewise */
} feed_store_options;

/**
 * A target that opens the series table and the kv table "<table>-dead" for what is no sample when
 * the pump begins, making those that are missing, and again when they were dropped. A dead letter's
 * key is the incarnation and the sequence, each in 20 digits, so that
 * writing it again changes nothing; its value is a varve.v1.DeadLetter. Letters are durable before
 * the entry whose position passes them. Gives *out.
 */
VV_MUST_CHECK vv_status feed_store_create(const feed_store_options *options, feed_target **out,
                                          vv_error *err);
/** After the pump that uses it. Accepts NULL. */
void feed_store_destroy(feed_target *target);

/* ---- the sink of a request ---- */

/* Writes as it goes where a request has more samples than one entry takes. */
typedef struct feed_writer {
    feed_sink sink;
    vv_samples *samples;
    vv_durability durability;
    feed_label labels[FEED_LABELS_MAX]; /* of the series, to go on with after a write; borrowed */
    size_t label_count;
    feed_type type;
    vv_append_result total; /* of what is written; write is that of the last entry */
} feed_writer;

/** samples are borrowed until feed_writer_finish, and cleared. */
void feed_writer_begin(feed_writer *writer, vv_samples *samples, vv_durability durability);
/** Write the rest. VV_BUSY for too many series: total says what went in all the same. */
VV_MUST_CHECK vv_status feed_writer_finish(feed_writer *writer, vv_error *err);

#endif
