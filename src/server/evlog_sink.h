/*
 * evlog_sink.h - what the files of the event log share: a record in a queue, a lane, and the table
 * of a sink.
 *
 *            put: record by record       flush: what was taken goes out
 *   queue ------------------------> sink -----------------------------> file, socket, collector
 *
 * A lane calls its sink from one thread. After VV_OK a record is the sink's. VV_INVALID says that
 * it never will be: it is left out and counted. Anything else: the same call comes again after a
 * pause, with nothing in between.
 */
#ifndef VARVE_SERVER_EVLOG_SINK_H
#define VARVE_SERVER_EVLOG_SINK_H

#include "base/buf.h"
#include "server/evlog.h"

typedef struct evlog_sink evlog_sink;

typedef struct evlog_sink_ops {
    vv_status (*put)(evlog_sink *sink, const vv_log_record *record, vv_error *err);
    /* *lost: records that were given up with VV_OK or VV_INVALID. NULL: put did it all. */
    vv_status (*flush)(evlog_sink *sink, uint64_t *lost, vv_error *err);
    /* Any thread: let a call in progress end soon. May be NULL. */
    void (*cancel)(evlog_sink *sink);
    void (*destroy)(evlog_sink *sink);
} evlog_sink_ops;

struct evlog_sink {
    const evlog_sink_ops *ops;
};

vv_status evlog_file_create(const evlog_options *opt, evlog_sink **out, vv_error *err);
vv_status evlog_syslog_create(const evlog_options *opt, evlog_sink **out, vv_error *err);
vv_status evlog_journal_create(const evlog_options *opt, evlog_sink **out, vv_error *err);
vv_status evlog_otlp_create(const evlog_options *opt, evlog_sink **out, vv_error *err);

/* ---- a record as bytes (evlog_pack.c) ------------------------------------------------------ */

#define EVLOG_TEXT_MAX 1000u   /* bytes of a text; the rest is cut */
#define EVLOG_PACKED_MAX 8192u /* of a record; values that do not fit are left out */
#define EVLOG_VALUES_MAX 32u

typedef struct evlog_unpacked {
    vv_log_record record;
    vv_kv kv[EVLOG_VALUES_MAX];
} evlog_unpacked;

/** Append a record at to[room]; 0: it does not fit. */
size_t evlog_pack(const vv_log_record *record, uint8_t *to, size_t room);
/** The record that begins at from, and the bytes it takes. Borrows them. */
size_t evlog_unpack(const uint8_t *from, evlog_unpacked *out);

/* ---- a lane (evlog_lane.c) ----------------------------------------------------------------- */

typedef struct evlog_lane evlog_lane;

typedef struct evlog_lane_options {
    const char *name; /* "file" */
    evlog_sink *sink; /* taken, also on failure */
    size_t queue_bytes;
    vv_clock *clock;
    const vv_threads *threads;
    /* Told when the sink begins to fail and when it works again; without a lock. */
    void (*tell)(void *ctx, const vv_log_record *record);
    void *tell_ctx;
} evlog_lane_options;

vv_status evlog_lane_create(const evlog_lane_options *opt, evlog_lane **out, vv_error *err);
/** Never waits; any thread. */
void evlog_lane_push(evlog_lane *lane, const vv_log_record *record);
/** Without threads: as evlog_step. */
int64_t evlog_lane_step(evlog_lane *lane);
/** Begin to stop: the queue may still go out until deadline_ns of the clock. */
void evlog_lane_stop(evlog_lane *lane, int64_t deadline_ns);
/** After stop: wait, free it and its sink. Accepts NULL. */
void evlog_lane_destroy(evlog_lane *lane);
void evlog_lane_stats(evlog_lane *lane, evlog_sink_stats *out);

/* ---- forms, for their tests ---------------------------------------------------------------- */

#define EVLOG_DATAGRAM_MAX 16384u

/* Who writes, as syslog has it. */
typedef struct evlog_origin {
    char host[256];
    const char *app;
    long pid;
} evlog_origin;

void evlog_origin_read(evlog_origin *out);

/** RFC 5424, in out[EVLOG_DATAGRAM_MAX]; returns the length. */
size_t evlog_syslog_format(const vv_log_record *r, const evlog_origin *from, unsigned facility,
                           char *out);
/** Fields of the journal's native protocol, likewise. */
size_t evlog_journal_format(const vv_log_record *r, const evlog_origin *from, char *out);
/** A KeyValue of OTLP as a field. */
void evlog_otlp_put_attribute(vv_buf *out, uint32_t number, const vv_kv *kv);
/** The content of the Resource that this process is. */
void evlog_otlp_put_resource(vv_buf *out);
/** A LogRecord of OTLP as field 2 of ScopeLogs. */
void evlog_otlp_put_record(vv_buf *out, const vv_log_record *r);

#endif
