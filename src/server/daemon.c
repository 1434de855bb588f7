/*
 * daemon.c - builds a node from its configuration and takes it down again.
 *
 *   start   ports are taken -> object store -> store -> gate -> pool -> pipeline -> feed ->
 *           listeners -> the object store is asked whether it is there
 *   stop    listeners drain (answers need the pipeline) -> feed -> pool -> pipeline settles ->
 *           gate -> calls to the object store end -> store -> object store
 */
#include "server/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "db/db.h"
#include "ingest/ingest.h"
#include "ingest/ingest_message.h"
#include "server/node.h"
#include "server/svc_ingest.h"
#include "server/svc_nats.h"
#include "server/svc_push.h"
#include "server/svc_tier.h"

#define METHODS_MAX 192
#define POOL_QUEUE_MAX 4096u

struct varve_daemon {
    config config;
    node node;
    srv_method methods[METHODS_MAX];
    size_t method_count;
    srv_port ports[2];
};

/* Keys whose value only the start proves wrong. The refusal begins with the key, which also tells
 * the exit code. */
static const char *const started_keys[] = {
    "server.port", "query.port",      "nats.url",       "nats.credentials",     "nats.nkey",
    "nats.tls",    "storage.backend", "processing.key", "metrics.push_endpoint"};

bool daemon_is_misconfigured(const vv_error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(started_keys); i++) {
        size_t len = strlen(started_keys[i]);
        if (strncmp(err->msg, started_keys[i], len) == 0 && err->msg[len] == ':')
            return true;
    }
    return false;
}

/* Before the store is opened: a busy address should leave no new store behind. */
static vv_status reserve_ports(varve_daemon *d, vv_error *err)
{
    const config *c = &d->config;
    static_assert(ARRAY_LEN(d->ports) == 2, "the first two keys");
    d->ports[0] = (srv_port){.host = c->server_host, .port = (uint16_t)c->server_port};
    d->ports[1] = (srv_port){.host = c->server_host, .port = (uint16_t)c->query_port};
    for (size_t i = 0; i < ARRAY_LEN(d->ports); i++) {
        d->ports[i].key = started_keys[i];
        vv_status st = srv_port_reserve(&d->ports[i], err);
        if (st != VV_OK)
            return st;
    }
    return VV_OK;
}

static void release_ports(varve_daemon *d)
{
    for (size_t i = 0; i < ARRAY_LEN(d->ports); i++)
        srv_port_release(&d->ports[i]);
}

/* A name counts after its directory is synced: a log whose directory a power cut takes is lost. */
static bool sync_parent(const char *path)
{
    char parent[2 * CONFIG_TEXT_MAX];
    (void)snprintf(parent, sizeof parent, "%s", path);
    char *slash = strrchr(parent, '/');
    if (slash == NULL)
        (void)snprintf(parent, sizeof parent, ".");
    else
        slash[slash == parent] = '\0';
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        (void)close(fd);
    return ok;
}

static bool make_directory(const char *path)
{
    return mkdir(path, 0777) == 0 || errno == EEXIST;
}

/* storage.wal_directory: the store's "wal" becomes a link to it, made before the store is. The link
 * holds the whole path, since a relative one would be read from inside the data directory. */
static vv_status place_wal(const config *c, vv_error *err)
{
    if (c->storage_wal_directory[0] == '\0')
        return VV_OK;
    char link[CONFIG_TEXT_MAX + 8];
    char target[PATH_MAX];
    char now[PATH_MAX];
    (void)snprintf(link, sizeof link, "%s/wal", c->storage_data_directory);
    if (!make_directory(c->storage_data_directory) || !make_directory(c->storage_wal_directory) ||
        realpath(c->storage_wal_directory, target) == NULL)
        return vv_fail_sys(err, VV_IO, errno, "storage.wal_directory %s", c->storage_wal_directory);
    ssize_t len = readlink(link, now, sizeof now - 1);
    if (len >= 0) {
        now[len] = '\0';
        return strcmp(now, target) == 0
                   ? VV_OK
                   : vv_fail(err, VV_INVALID,
                             "storage.wal_directory: %s points to %s: stop varved, move the log "
                             "there and change the link, or set the key back",
                             link, now);
    }
    if (errno == EINVAL)
        return vv_fail(err, VV_INVALID,
                       "storage.wal_directory: %s is a directory already: move it to %s first",
                       link, target);
    if (symlink(target, link) != 0 || !sync_parent(target) || !sync_parent(link) ||
        !sync_parent(c->storage_data_directory))
        return vv_fail_sys(err, VV_IO, errno, "storage.wal_directory %s", target);
    return VV_OK;
}

static vv_status open_store(varve_daemon *d, vv_error *err)
{
    const config *c = &d->config;
    vv_options opt = VV_OPTIONS_INIT;
    opt.shard_count = (uint32_t)c->storage_shards;
    opt.durability = (vv_durability)c->storage_durability;
    opt.memory_limit = c->storage_memory_limit;
    opt.memtable_size = c->storage_memtable_size;
    opt.cache_size = c->storage_cache_size;
    opt.log_limit = c->storage_log_limit;
    opt.log_segment_size = (uint32_t)c->storage_log_segment_size;
    opt.apply_threads = (uint32_t)c->storage_apply_threads;
    opt.background_threads = (uint32_t)c->storage_background_threads;
    opt.compaction_budget = c->storage_compaction_budget;
    opt.engine = (vv_engine_kind)c->storage_engine;
    opt.archive_interval_ns = c->storage_archive_interval_ns;
    opt.archives_max = (uint32_t)c->storage_num_retained_archives;
    opt.file_amplify_factor = (uint32_t)c->storage_file_amplify_factor;
    opt.value_compression = c->storage_value_compression;
    opt.compress = c->storage_compression;
    opt.io_backend = (vv_io_backend)c->storage_io_backend;
    opt.direct_io = c->storage_direct_io;
    opt.max_open_files = (uint32_t)c->storage_max_open_files;
    opt.process_memory = config_process_memory(c);
    opt.archive_log = c->backup_archive_log;
    opt.series_max = c->series_max_per_tenant;
    opt.log = db_log_direct; /* lines of the store are lines of ours, with their modules' levels */
    opt.log_ctx = d->node.log;
    vv_tier_options tier;
    config_tier_options(c, &tier);
    tier.objects = svc_tier_store(&d->node);
    opt.tier = tier.objects == NULL ? NULL : &tier;
    vv_status st = place_wal(c, err);
    if (st != VV_OK)
        return st;
    return vv_db_open(c->storage_data_directory, &opt, &d->node.db, err);
}

static void add_methods(varve_daemon *d)
{
    static size_t (*const services[])(node * n, srv_method * out, size_t max) = {
        svc_ingestion_methods,   svc_query_methods,       svc_kv_methods,
        svc_admin_methods,       svc_health_methods,      svc_reflection_methods,
        svc_http_ingest_methods, svc_http_query_methods,  svc_http_kv_methods,
        svc_txn_methods,         svc_metrics_methods,     svc_prom_methods,
        svc_series_methods,      svc_http_feed_methods,   svc_http_series_methods,
        svc_stream_methods,      svc_http_stream_methods, svc_engine_methods,
        svc_otlp_methods,        svc_pipeline_methods,
    };
    for (size_t i = 0; i < ARRAY_LEN(services); i++) {
        if (services[i] == svc_metrics_methods && !d->config.metrics_enabled)
            continue;
        d->method_count +=
            services[i](&d->node, d->methods + d->method_count, METHODS_MAX - d->method_count);
    }
}

static vv_status listen_on_ports(varve_daemon *d, vv_error *err)
{
    const config *c = &d->config;
    add_methods(d);
    srv_options opt = {
        .threads = vv_threads_real(),
        .clock = vv_clock_real(),
        .log = d->node.log,
        .budget = d->node.budget,
        .ports = d->ports,
        .port_count = ARRAY_LEN(d->ports),
        .methods = d->methods,
        .method_count = d->method_count,
        .loopback_names_only = !c->server_allow_anonymous,
        .loop_count = (uint32_t)c->server_loops,
        .connections_max = (uint32_t)c->server_max_connections,
        .streams_max = (uint32_t)c->server_max_streams,
        .message_max = (uint32_t)c->server_max_message_size,
        .idle_timeout_ns = c->server_idle_timeout_ns,
        .drain_timeout_ns = c->server_drain_timeout_ns,
        .corrupt = node_note_corrupt,
        .corrupt_ctx = &d->node,
    };
    return srv_start(&opt, &d->node.server, err);
}

static vv_status start_parts(varve_daemon *d, vv_error *err)
{
    const config *c = &d->config;
    node *n = &d->node;
    vv_status st = reserve_ports(d, err);
    if (st == VV_OK)
        st = svc_nats_check(c, err);
    if (st == VV_OK)
        st = svc_tier_open(n, c, err);
    if (st == VV_OK)
        st = open_store(d, err);
    if (st != VV_OK)
        return st;
    n->budget = db_budget(n->db);
    gate_options gate_opt = {.db = n->db,
                             .auto_create = c->ingest_auto_create,
                             .allow_anonymous = c->server_allow_anonymous};
    st = gate_create(&gate_opt, &n->gate, err);
    if (st == VV_OK)
        st = srv_pool_create(vv_threads_real(), (uint32_t)c->query_threads, POOL_QUEUE_MAX,
                             &n->pool, err);
    if (st == VV_OK)
        st = svc_series_start(n, err);
    if (st == VV_OK)
        st = svc_engine_start(n, err);
    (void)svc_kv_start(n);
    svc_txn_limits txn_limits = {.open_max = (uint32_t)c->transactions_max_open,
                                 .connection_max = (uint32_t)c->transactions_max_per_connection,
                                 .idle_ns = c->transactions_idle_timeout_ns};
    if (st == VV_OK)
        st = svc_txn_start(n, &txn_limits, err);
    ingest_options ingest_opt = {.db = n->db,
                                 .clock = vv_clock_real(),
                                 .threads = vv_threads_real(),
                                 .budget = n->budget,
                                 .workers = (uint32_t)c->ingest_workers,
                                 .queue_bytes = c->ingest_queue_size};
    if (st == VV_OK)
        st = ingest_create(&ingest_opt, &n->pipeline, err);
    ingest_messages_options messages_opt = {.clock = vv_clock_real(),
                                            .threads = vv_threads_real(),
                                            .workers = (uint32_t)c->ingest_workers,
                                            .queue_bytes = c->ingest_queue_size};
    if (st == VV_OK)
        st = ingest_messages_create(&messages_opt, &n->messages, err);
    if (st == VV_OK)
        st = svc_nats_start(n, c, err);
    if (st == VV_OK)
        st = listen_on_ports(d, err);
    if (st == VV_OK)
        st = svc_tier_start(n, err);
    return st == VV_OK ? svc_push_start(n, c, err) : st;
}

/* "tenant/table", which config_check has seen, as two texts in its place. */
static void split_table(char *text, const char **tenant, const char **table)
{
    char *slash = strchr(text, '/');
    *tenant = slash == NULL ? GATE_NAME_DEFAULT : text;
    *table = slash == NULL ? text : slash + 1;
    if (slash != NULL)
        *slash = '\0';
}

vv_status daemon_start(const config *c, vv_log *log, varve_daemon **out, vv_error *err)
{
    varve_daemon *d = vv_calloc(1, sizeof *d);
    if (d == NULL)
        return vv_fail(err, VV_NO_MEMORY, "start");
    d->config = *c;
    d->node.log = log;
    d->node.env.clock = vv_clock_real();
    d->node.env.threads = vv_threads_real();
    d->node.env.log = log;
    d->node.started_mono_ns = vv_clock_mono(vv_clock_real());
    d->node.backup_dir = d->config.backup_dir;
    d->node.backup_archive_log = c->backup_archive_log;
    d->node.query_memory_limit = c->query_memory_limit;
    split_table(d->config.series_table, &d->node.series_tenant, &d->node.series_table);
    split_table(d->config.series_historian_table, &d->node.historian_tenant,
                &d->node.historian_table);
    vv_status st = start_parts(d, err);
    release_ports(d); /* the server has its own */
    if (st != VV_OK) {
        (void)daemon_stop(d, NULL);
        return st;
    }
    vv_stats s = {.size = sizeof s};
    vv_stats_read(d->node.db, &s);
    vv_log_to(log, VV_LOG_INFO, "varved", "serving", VV_KV_S("version", vv_version()),
              VV_KV_S("data", c->storage_data_directory), VV_KV_S("host", c->server_host),
              VV_KV_U("ingest_port", daemon_port(d, 0)), VV_KV_U("query_port", daemon_port(d, 1)),
              VV_KV_U("recovered_entries", s.recovery_entries),
              VV_KV_U("cut_bytes", s.recovery_cut_bytes),
              VV_KV_F("recovery_s", (double)s.recovery_ns / 1e9));
    *out = d;
    return VV_OK;
}

vv_status daemon_check(const config *c, vv_error *err)
{
    vv_status st = svc_nats_check(c, err);
    return st == VV_OK ? svc_tier_check(c, err) : st;
}

uint16_t daemon_port(const varve_daemon *d, size_t index)
{
    return srv_port_bound(d->node.server, index);
}

vv_status daemon_stop(varve_daemon *d, vv_error *err)
{
    node *n = &d->node;
    atomic_store(&n->draining, 1);
    svc_push_stop(n);
    if (n->server != NULL)
        srv_stop(n->server);
    svc_tier_stop(n); /* or jobs of the pool wait for a store that does not answer */
    svc_nats_stop(n);
    svc_txn_stop(n);
    srv_pool_destroy(n->pool); /* its jobs may feed the pipeline */
    svc_push_close(n);
    svc_series_stop(n);
    ingest_messages_destroy(n->messages);
    ingest_destroy(n->pipeline);
    gate_destroy(n->gate);
    vv_status st = vv_db_close(n->db, err);
    svc_engine_stop(n);
    svc_tier_close(n);
    svc_kv_stop(n); /* the commit thread ended the last write */
    vv_free(d);
    return st;
}
