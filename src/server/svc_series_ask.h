/*
 * svc_series_ask.h - a question to a series table, whatever protocol it came in, and its answer in
 * pieces, no faster than the client reads.
 *
 *   form.read --> the table out of the gate --> samples: a cursor, a block after the other
 *                                           \-> lists: all at once into memory that is counted
 *             --> form.block, .sample, .series, .text --> pieces --> the call
 */
#ifndef VARVE_SERVER_SVC_SERIES_ASK_H
#define VARVE_SERVER_SVC_SERIES_ASK_H

#include "base/arena.h"
#include "server/svc_kv_request.h"
#include "server/svc_turn.h"
#include "server/svc_util.h"
#include "varve/series.h"

typedef enum svc_series_kind {
    SVC_SERIES_QUERY,
    SVC_SERIES_LATEST,
    SVC_SERIES_LIST,
    SVC_SERIES_NAMES,
    SVC_SERIES_VALUES,
    SVC_SERIES_DELETE,
} svc_series_kind;

typedef struct svc_series_ask svc_series_ask;

/* How a question is read and its answer written. What is appended to out is sent in pieces of
 * about SVC_SERIES_PIECE bytes, or, with each_apart, as one message a call of these. All on the
 * pool; those that a kind of question never calls may be NULL. */
typedef struct svc_series_form {
    bool is_http;
    bool each_apart;
    const char *type; /* HTTP: of the content */
    /* Fill kind, ref and what the kind takes. Borrows from msg and arena. */
    vv_status (*read)(svc_series_ask *a, vv_error *err);
    /* The table is open: look at it before the question is asked. */
    vv_status (*opened)(svc_series_ask *a, vv_error *err);
    void (*head)(svc_series_ask *a, vv_buf *out);
    vv_status (*block)(svc_series_ask *a, const vv_series_block *block, vv_buf *out, vv_error *err);
    void (*sample)(svc_series_ask *a, const vv_series_info *series, const vv_sample *sample,
                   vv_buf *out);
    void (*series)(svc_series_ask *a, const vv_series_info *series, vv_buf *out);
    void (*text)(svc_series_ask *a, vv_slice text, vv_buf *out);
    void (*deleted)(svc_series_ask *a, uint64_t series, vv_buf *out);
    void (*tail)(svc_series_ask *a, vv_buf *out);
} svc_series_form;

typedef struct svc_series_piece svc_series_piece;

struct svc_series_ask {
    node *n;
    srv_call *call; /* referenced */
    srv_message msg;
    bool has_msg; /* until it is read */
    const svc_series_form *form;
    vv_arena arena;
    /* the question */
    svc_series_kind kind;
    svc_table_ref ref; /* an empty table: that of series that name none */
    vv_matcher *matchers;
    size_t matcher_count;
    vv_series_query query; /* matchers are set from those above */
    vv_slice name;         /* SVC_SERIES_VALUES */
    uint64_t limit;        /* of lists */
    bool drops;            /* SVC_SERIES_DELETE: whole series */
    /* its answer */
    vv_table *table;
    vv_series_cursor *cursor;
    bool is_asked;
    bool is_over; /* the end is in out */
    bool is_begun;
    vv_buf out;
    svc_series_piece *first, *last;
    uint64_t held; /* bytes of pieces in the budget */
    uint64_t count;
    int64_t begin_ns;
    vv_status failed; /* in a callback */
    vv_error why;
    _Atomic int refs;
    svc_turn turn;
    /* of the form */
    bool is_in_series;     /* one was begun and has not ended */
    uint64_t written;      /* series, or pieces of them */
    uint64_t only_id;      /* of the series that is wanted alone; 0: all */
    vv_sample_type column; /* 0: not known yet */
    int64_t last_ns;
    const void *look; /* which of several ways of writing */
};

#define SVC_SERIES_ARENA_MAX (8u * 1024 * 1024) /* what a question is made of */
#define SVC_SERIES_PIECE (64u * 1024)

/** Answer a call with a form. Takes msg. Loop thread. */
void svc_series_ask_begin(srv_call *call, srv_message msg, const svc_series_form *form);
/* The other callbacks of methods whose answers are streamed. */
void svc_series_ask_half_close(srv_call *call);
void svc_series_ask_drained(srv_call *call);
void svc_series_ask_closed(srv_call *call);

/** The request of varve.v1.Series in a->msg, into the question (svc_series_query.c). Looks at no
 * node. VV_INVALID, VV_NO_MEMORY. */
VV_MUST_CHECK vv_status svc_series_read(svc_series_ask *a, svc_series_kind kind, vv_error *err);

/** What is in a->out is a message of its own: for blocks that become several. */
VV_MUST_CHECK vv_status svc_series_cut(svc_series_ask *a, vv_error *err);
/** Memory of the question, until it is answered. NULL: there is none left. */
void *svc_series_alloc(svc_series_ask *a, size_t size);
/* A message Matcher, which out borrows. */
bool svc_series_read_matcher(vv_slice bytes, vv_matcher *out);

#endif
