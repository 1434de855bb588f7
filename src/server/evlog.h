/*
 * evlog.h - the event log of a varved: one stream of structured lines from all stages of the way of
 * a message, written to several places at once.
 *
 *   vv_log_line -> level of its module -> limit of repeats --> stderr, at once
 *                                                         \-> a lane for each other sink:
 *                                                             bounded queue -> thread -> sink
 *
 * Nobody who logs waits for a sink. A sink that fails keeps its lines and is tried again with
 * growing pauses, which standard error is told; a full queue leaves lines out, counts them, and
 * says how many once the sink takes lines again. What is repeated is limited by module and message,
 * and what was left out is told likewise.
 *
 * Threads: vv-log-KIND for each sink but stderr; one, vv-log, that waits only while there is
 * something to tell about repeats. Any thread may log.
 */
#ifndef VARVE_SERVER_EVLOG_H
#define VARVE_SERVER_EVLOG_H

#include "base/log.h"
#include "base/thread.h"
#include "io/vio.h"

#define EVLOG_SOCKET_PATH_MAX 108u /* of a sockaddr_un */
#define EVLOG_HEADERS_MAX 8u
#define EVLOG_HEADER_MAX 1024u

typedef struct evlog evlog;

typedef enum evlog_kind {
    EVLOG_STDERR,
    EVLOG_FILE,
    EVLOG_SYSLOG,
    EVLOG_JOURNAL,
    EVLOG_OTLP,
} evlog_kind;
#define EVLOG_KINDS 5u

/** "stderr"; "unknown" for what is none. */
const char *evlog_kind_name(unsigned kind);

typedef struct evlog_options {
    unsigned sinks; /* set of 1 << evlog_kind */
    vv_log_level level;
    vv_log_rules rules;
    vv_log_form form;     /* of stderr and file */
    uint32_t limit_lines; /* of one message in limit_span_ns; 0: all */
    int64_t limit_span_ns;
    size_t queue_bytes; /* of each lane */
    vv_clock *clock;
    const vv_threads *threads;                              /* NULL: stepped by evlog_step */
    void (*write)(void *ctx, const char *line, size_t len); /* NULL: to standard error */
    void *write_ctx;
    /* file: the path, beneath the root of io, or any where io is NULL. Full ones are kept as
     * file.1, the newest, to file.COUNT. */
    vio *io;
    const char *file;
    uint64_t file_size;
    uint32_t file_count;
    const char *syslog_socket;
    unsigned syslog_facility;
    const char *journal_socket;
    const char *otlp_endpoint; /* "http://127.0.0.1:4318/v1/logs" */
    const char *otlp_headers;  /* "Name=value,..."; NULL or "": none */
    const char *otlp_ca_file;  /* NULL or "": the system's */
} evlog_options;

/** VV_UNSUPPORTED: otlp, and this machine has no libcurl. VV_INVALID; VV_NO_MEMORY. What a sink
 * needs is opened by its first line. Copies the options. Gives *out: evlog_close. */
VV_MUST_CHECK vv_status evlog_open(const evlog_options *opt, evlog **out, vv_error *err);
/** The log to write to. Lives as long. */
vv_log *evlog_log(evlog *e);
/** Of whom a log is; NULL: of nobody. */
evlog *evlog_of(vv_log *log);
/** Give the sinks up to two seconds for what is queued, then stop. Accepts NULL. */
void evlog_close(evlog *e);
/** Without threads: hand what is queued to the sinks, and tell of repeats. Returns the nanoseconds
 * until a failed sink wants to be tried again; INT64_MAX: nothing waits. */
int64_t evlog_step(evlog *e);

typedef struct evlog_sink_stats {
    bool is_on;
    bool is_failing;
    uint64_t lines;
    uint64_t
        lost; /* left out because the queue was full, or because the sink would never take them */
    uint64_t queued_bytes;
    char error[160]; /* why it fails; "" */
} evlog_sink_stats;

typedef struct evlog_stats {
    evlog_sink_stats sink[EVLOG_KINDS];
    uint64_t left_out; /* repeats */
} evlog_stats;

void evlog_stats_read(evlog *e, evlog_stats *out);

/** Take "Name=value,Name=value" apart into lines "Name: value". VV_INVALID names the place and
 * repeats nothing. */
VV_MUST_CHECK vv_status evlog_headers_parse(const char *text,
                                            char out[EVLOG_HEADERS_MAX][EVLOG_HEADER_MAX],
                                            size_t *count, vv_error *err);

#endif
