/*
 * node.h - what the services of one varved share.
 */
#ifndef VARVE_SERVER_NODE_H
#define VARVE_SERVER_NODE_H

#include "base/hist.h"
#include "io/env.h"
#include "server/gate.h"
#include "server/srv.h"

struct ingest_messages;
struct ingest_pipeline;
struct svc_kv_lanes;
struct svc_nats;
struct svc_push;
struct svc_series_state;
struct svc_tier;
struct svc_txn_table;
struct svc_windows;

/* Of transactions that clients hold open; a 0 is the default. */
typedef struct svc_txn_limits {
    uint32_t open_max;       /* 1,000 */
    uint32_t connection_max; /* begun by one connection: 100 */
    int64_t idle_ns;         /* 10 s */
} svc_txn_limits;

typedef struct node {
    vv_env env;
    vv_log *log;
    vv_budget *budget;
    vv_db *db; /* for figures; requests reach it through the gate */
    gate *gate;
    struct ingest_pipeline *pipeline;
    struct ingest_messages *messages; /* requests that append to streams */
    srv *server;
    srv_pool *pool; /* blocking reads and queries */
    int64_t started_mono_ns;
    uint64_t query_memory_limit;    /* bytes one query may hold for order_by */
    _Atomic int64_t refused_ns;     /* monotonic: a full disk refused a write last; 0: see node.c */
    _Atomic uint64_t writes_failed; /* by a fault of ours, not refused for what they were */
    _Atomic uint64_t commits_seen;  /* node_last_write_ns */
    _Atomic int64_t write_seen_ns;
    _Atomic uint64_t corrupt_total;    /* answers that met damage in the store */
    _Atomic int64_t corrupt_logged_ns; /* monotonic: the last line about it; 0: none yet */
    _Atomic int draining;              /* set by SIGTERM: /ready answers 503 */
    struct svc_kv_lanes *kv_lanes;     /* svc_kv_write.c; may be NULL */
    struct svc_series_state *series;   /* svc_series_write.c */
    struct svc_txn_table *txns;        /* svc_txn_session.c; NULL: Txn is not served */
    svc_txn_limits txn_limits;
    struct svc_windows *ids;   /* svc_engine.c */
    struct svc_nats *nats;     /* svc_nats.c; NULL: no feed */
    struct svc_push *push;     /* svc_push.c; NULL: figures are not pushed */
    struct svc_tier *tier;     /* svc_tier.c; NULL: no object store */
    _Atomic int tier_call;     /* svc_admin_tier.c: 1: a long call about messages runs */
    const char *series_tenant; /* of questions and samples that name no table */
    const char *series_table;
    const char *historian_tenant; /* of sensors */
    const char *historian_table;
    const char *backup_dir; /* "": no backups */
    bool backup_archive_log;
    vv_hist get_ns; /* GetRecord and Kv.Get, arrival to answer */
    vv_hist put_ns; /* Kv.Put */
    vv_hist query_ns;
    _Atomic uint64_t queries_total;
} node;

/** The method rows of each service; node_methods joins them. Each returns how many it wrote. */
size_t svc_ingestion_methods(node *n, srv_method *out, size_t max);
size_t svc_kv_methods(node *n, srv_method *out, size_t max);
size_t svc_admin_methods(node *n, srv_method *out, size_t max);
size_t svc_query_methods(node *n, srv_method *out, size_t max);
size_t svc_reflection_methods(node *n, srv_method *out, size_t max);
/* grpc.health.v1, /health, /ready */
size_t svc_health_methods(node *n, srv_method *out, size_t max);
/* /api/v1/ingest/..., /api/v1/status */
size_t svc_http_ingest_methods(node *n, srv_method *out, size_t max);
/* /api/v1/kv/... */
size_t svc_http_kv_methods(node *n, srv_method *out, size_t max);
/* varve.v1.Txn, /api/v1/txn/... */
size_t svc_txn_methods(node *n, srv_method *out, size_t max);
/* /api/v1/query */
size_t svc_http_query_methods(node *n, srv_method *out, size_t max);
/* varve.v1.Series */
size_t svc_series_methods(node *n, srv_method *out, size_t max);
/* varve.v1.Stream */
size_t svc_stream_methods(node *n, srv_method *out, size_t max);
/* storage_engine.StorageEngine */
size_t svc_engine_methods(node *n, srv_method *out, size_t max);
/* OTLP: Export over gRPC, /v1/traces, /v1/logs, /v1/metrics */
size_t svc_otlp_methods(node *n, srv_method *out, size_t max);
/* /api/v1/stream/... */
size_t svc_http_stream_methods(node *n, srv_method *out, size_t max);
/* /api/v1/series/..., /api/v1/query?sensor=, /api/v1/export */
size_t svc_http_series_methods(node *n, srv_method *out, size_t max);
/* /write, /api/v2/write, /api/v1/write, /prometheus/api/v1/write */
size_t svc_http_feed_methods(node *n, srv_method *out, size_t max);
/* /prometheus/api/v1/... */
size_t svc_prom_methods(node *n, srv_method *out, size_t max);
/* /metrics */
size_t svc_metrics_methods(node *n, srv_method *out, size_t max);

/** Let Kv recycle what its writes need; without it, or when it fails, each takes memory anew.
 * Before the first call; svc_kv_stop when the store is closed, for its commit thread ends the last.
 */
bool svc_kv_start(node *n);
void svc_kv_stop(node *n);

/** Let series be written. Stop it after the listeners and the pool and before the store is closed:
 * writes that are under way are waited for. */
VV_MUST_CHECK vv_status svc_series_start(node *n, vv_error *err);
void svc_series_stop(node *n);

/** Let StorageEngine know messages by their ids. Stop it when the store is closed, for its commit
 * thread ends the last. */
VV_MUST_CHECK vv_status svc_engine_start(node *n, vv_error *err);
void svc_engine_stop(node *n);

/** Keep transactions of clients. Stop it after the listeners and before the pool: what is open is
 * aborted, what is on its way is waited for. */
VV_MUST_CHECK vv_status svc_txn_start(node *n, const svc_txn_limits *limits, vv_error *err);
void svc_txn_stop(node *n);
uint64_t svc_txn_open_count(node *n);

/* /api/v1/pipeline */
size_t svc_pipeline_methods(node *n, srv_method *out, size_t max);

/** Append all figures in the Prometheus text format. May wait for the disk. */
void svc_metrics_text(node *n, vv_buf *out);

/** Tell how a write ended: with VV_NO_SPACE writes are stalled, until one succeeds or none was
 * refused for a while. Any thread. */
void node_note_write(node *n, vv_status st);
/** True while they are; logs the end. */
bool node_is_stalled(node *n);

/** Count an answer that met damage in the store, and log its sentence, which names the file and the
 * place; at most one line in NODE_CORRUPT_LOG_NS. ctx is a node; message may be NULL. Any thread.
 */
#define NODE_CORRUPT_LOG_NS (10 * VV_NS_PER_S)
void node_note_corrupt(void *ctx, const char *message);

/** Wall time of the last commit, as far as questions tell: when this was asked and there were more
 * commits than at the question before. 0: there was none yet. Costs writers nothing. */
int64_t node_last_write_ns(node *n);

/** True, and why is "", when the node can take writes and they get where they shall: the store is
 * open and not latched, and the object store, if there is one, answers. */
#define NODE_WHY_MAX 400u
bool node_is_ready(node *n, char *why, size_t why_len);

#endif
