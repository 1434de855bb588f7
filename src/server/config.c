/*
 * config.c - the table of keys, and how text becomes a value.
 *
 * A size takes K, M, G, also as KB or KiB: powers of 1024 in both spellings, as the users of the
 * engines we replace write them. A duration takes ms, s, m, h; a key that ends in _ms takes a plain
 * number of them too. A size that is "auto" by default is 0 until config_fit_memory derives it from
 * the memory limit. A secret is never printed.
 */
#include "server/config.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/nearest.h"
#include "base/util.h"
#include "db/db.h"
#include "server/config_int.h"
#include "varve/db.h"
#include "varve/tier.h"

static const config_choice durability_choices[] = {
    {"sync", VV_DURABLE_SYNC}, {"os", VV_DURABLE_OS}, {"none", VV_DURABLE_NONE}, {NULL, 0}};
static const config_choice backend_choices[] = {{"auto", VV_IO_AUTO},
                                                {"io_uring", VV_IO_URING},
                                                {"threads", VV_IO_THREADS},
                                                {"posix", VV_IO_POSIX},
                                                {NULL, 0}};
static const config_choice engine_choices[] = {{"auto", VV_ENGINE_DEFAULT},
                                               {"lsm", VV_ENGINE_LSM},
                                               {"btree", VV_ENGINE_BTREE},
                                               {"rocksdb", VV_ENGINE_ROCKSDB},
                                               {NULL, 0}};
static const config_choice nats_choices[] = {
    {"jetstream", CONFIG_NATS_JETSTREAM}, {"core", CONFIG_NATS_CORE}, {NULL, 0}};
static const config_choice addressing_choices[] = {{"auto", CONFIG_ADDRESS_AUTO},
                                                   {"path", CONFIG_ADDRESS_PATH},
                                                   {"virtual", CONFIG_ADDRESS_VIRTUAL},
                                                   {NULL, 0}};
static const config_choice codec_choices[] = {
    {"zstd", VV_TIER_ZSTD}, {"lz4", VV_TIER_LZ4}, {"none", VV_TIER_PLAIN}, {NULL, 0}};
static const config_choice also_choices[] = {
    {"none", VV_TIER_ALONE}, {"jsonl", VV_TIER_JSONL}, {"parquet", VV_TIER_PARQUET}, {NULL, 0}};
static const config_choice facility_choices[] = {
    {"user", 1},    {"daemon", 3},  {"local0", 16}, {"local1", 17}, {"local2", 18}, {"local3", 19},
    {"local4", 20}, {"local5", 21}, {"local6", 22}, {"local7", 23}, {NULL, 0}};
static const config_choice level_choices[] = {{"error", VV_LOG_ERROR},
                                              {"warn", VV_LOG_WARN},
                                              {"info", VV_LOG_INFO},
                                              {"debug", VV_LOG_DEBUG},
                                              {NULL, 0}};
static const config_choice format_choices[] = {
    {"logfmt", VV_LOG_LOGFMT}, {"json", VV_LOG_JSON}, {NULL, 0}};

#define FIELD(f) offsetof(config, f), sizeof(((config *)NULL)->f)

const config_key config_keys[] = {
    {"server.host", CONFIG_TEXT, FIELD(server_host), "127.0.0.1", 0, 0, NULL,
     "numeric address to listen on; other than loopback needs server.allow_anonymous"},
    {"server.port", CONFIG_INT, FIELD(server_port), "8080", 0, 65535, NULL,
     "ingest services; 0 takes a free port and prints it"},
    {"server.max_connections", CONFIG_INT, FIELD(server_max_connections), "1000", 1, 1000000, NULL,
     "open connections; one more is closed at once"},
    {"server.max_streams", CONFIG_INT, FIELD(server_max_streams), "1000", 1, 100000, NULL,
     "calls in flight on one connection"},
    {"server.max_message_size", CONFIG_SIZE, FIELD(server_max_message_size), "auto", 1024,
     1024 * VV_MIB, NULL,
     "bytes of one request message, refused at its prefix; auto: by the memory limit"},
    {"server.loops", CONFIG_INT, FIELD(server_loops), "2", 1, 256, NULL, "event-loop threads"},
    {"server.idle_timeout", CONFIG_DURATION, FIELD(server_idle_timeout_ns), "5m", VV_NS_PER_S,
     86400 * VV_NS_PER_S, NULL, "a connection without a byte or a call is closed after it"},
    {"server.drain_timeout", CONFIG_DURATION, FIELD(server_drain_timeout_ns), "10s", 0,
     3600 * VV_NS_PER_S, NULL, "how long calls may finish after SIGTERM"},
    {"server.allow_anonymous", CONFIG_BOOL, FIELD(server_allow_anonymous), "false", 0, 0, NULL,
     "listen beyond loopback although there are no credentials"},
    {"query.port", CONFIG_INT, FIELD(query_port), "8081", 0, 65535, NULL,
     "query services; 0 takes a free port and prints it"},
    {"query.threads", CONFIG_INT, FIELD(query_threads), "2", 1, 256, NULL,
     "threads for queries and reads that wait for the disk"},
    {"query.memory_limit", CONFIG_SIZE, FIELD(query_memory_limit), "auto", VV_MIB, 1024 * VV_GIB,
     NULL, "bytes one query may hold for order_by; auto: by the memory limit"},
    {"storage.data_directory", CONFIG_TEXT, FIELD(storage_data_directory), "./varve-data", 0, 0,
     NULL, "the store; one process at a time"},
    {"storage.wal_directory", CONFIG_TEXT, FIELD(storage_wal_directory), "", 0, 0, NULL,
     "the commit log, when it shall lie elsewhere; empty: inside the data directory"},
    {"storage.memtable_size", CONFIG_SIZE, FIELD(storage_memtable_size), "auto", 64 * VV_KIB,
     64 * VV_GIB, NULL,
     "bytes a shard collects in memory before it is flushed; auto: by the memory limit"},
    {"storage.memory_limit", CONFIG_SIZE, FIELD(storage_memory_limit), "512MB", 16 * VV_MIB,
     1024 * VV_GIB, NULL, "bytes for memtables, caches, queues and queries together"},
    {"storage.cache_size", CONFIG_SIZE, FIELD(storage_cache_size), "auto", VV_MIB, 1024 * VV_GIB,
     NULL, "bytes of the block caches; auto: by the memory limit"},
    {"storage.log_limit", CONFIG_SIZE, FIELD(storage_log_limit), "1GB", VV_MIB, 1024 * VV_GIB, NULL,
     "bytes of log kept before shards are flushed: bounds the time of a restart"},
    {"storage.log_segment_size", CONFIG_SIZE, FIELD(storage_log_segment_size), "64MB", 64 * VV_KIB,
     VV_GIB, NULL, "bytes of one pre-written log file"},
    {"storage.shards", CONFIG_INT, FIELD(storage_shards), "1", 1, 64, NULL,
     "shards of a new store; fixed afterwards"},
    {"storage.apply_threads", CONFIG_INT, FIELD(storage_apply_threads), "auto", 1, 64, NULL,
     "threads that apply a group of writes to several shards; auto: one a shard, as far as there "
     "are cores"},
    {"storage.engine", CONFIG_CHOICE, FIELD(storage_engine), "auto", 0, 0, engine_choices,
     "of new tables: lsm, btree for reads of one page, or rocksdb where the build has it; auto: "
     "what the store was made with, lsm"},
    {"storage.archive_interval", CONFIG_DURATION, FIELD(storage_archive_interval_ns), "0s", 0,
     366 * 86400 * VV_NS_PER_S, NULL,
     "btree: keep an archive of all its tables so often; 0: never"},
    {"storage.num_retained_archives", CONFIG_INT, FIELD(storage_num_retained_archives), "100", 1,
     1000, NULL, "btree: of those, the newest so many stay"},
    {"storage.file_amplify_factor", CONFIG_INT, FIELD(storage_file_amplify_factor), "2", 1, 100,
     NULL, "btree: files take at most so many times their live pages"},
    {"storage.background_threads", CONFIG_INT, FIELD(storage_background_threads), "1", 1, 16, NULL,
     "threads for compaction, and as many for flushes"},
    {"storage.compaction_budget", CONFIG_SIZE, FIELD(storage_compaction_budget), "0", 0,
     1024 * VV_GIB, NULL,
     "lsm: bytes a second that compaction may merge, per shard; 0: as many as the debt needs"},
    {"storage.durability", CONFIG_CHOICE, FIELD(storage_durability), "sync", 0, 0,
     durability_choices, "what an acknowledgement means unless a request asks: sync, os or none"},
    {"storage.value_compression", CONFIG_BOOL, FIELD(storage_value_compression), "false", 0, 0,
     NULL, "btree: values by zstd with a trained dictionary"},
    {"storage.compression", CONFIG_BOOL, FIELD(storage_compression), "true", 0, 0, NULL,
     "tables that choose no compression: lz4 on levels 0 and 1, zstd below; false: none"},
    {"storage.io_backend", CONFIG_CHOICE, FIELD(storage_io_backend), "auto", 0, 0, backend_choices,
     "many reads at once through: io_uring, threads, posix (one by one), or auto: the best there "
     "is"},
    {"storage.direct_io", CONFIG_BOOL, FIELD(storage_direct_io), "false", 0, 0, NULL,
     "lsm and rocksdb: read runs past the system's page cache: only storage.cache_size holds their "
     "blocks"},
    {"storage.max_open_files", CONFIG_INT, FIELD(storage_max_open_files), "auto", 16, 1000000, NULL,
     "descriptors for the files of the store; others are opened when they are read; auto: half of "
     "the process's limit"},
    {"storage.backend", CONFIG_TEXT, FIELD(storage_backend), "", 0, 0, NULL,
     "where old messages and runs go: file, memory, s3, gcs, or a path that ends in .so; empty: "
     "they stay here (docs/object-stores.md)"},
    {"storage.endpoint", CONFIG_TEXT, FIELD(storage_endpoint), "", 0, 0, NULL,
     "s3, gcs: https://host[:port]; empty: Amazon's for the region, Google's"},
    {"storage.bucket", CONFIG_TEXT, FIELD(storage_bucket), "", 0, 0, NULL,
     "s3, gcs: the bucket, which must exist; file: the directory, which is made"},
    {"storage.prefix", CONFIG_TEXT, FIELD(storage_prefix), "messages", 0, 0, NULL,
     "in front of every object's name, up to 80 bytes; empty: nothing"},
    {"storage.region", CONFIG_TEXT, FIELD(storage_region), "us-west-2", 0, 0, NULL,
     "s3: the region that requests are signed for"},
    {"storage.addressing", CONFIG_CHOICE, FIELD(storage_addressing), "auto", 0, 0,
     addressing_choices,
     "s3: path (endpoint/bucket), virtual (bucket.endpoint), or auto: path unless it is Amazon's"},
    {"storage.access_key", CONFIG_SECRET, FIELD(storage_access_key), "", 0, 0, NULL,
     "s3, gcs by HMAC; empty: from AWS_ACCESS_KEY_ID and its like, then storage.credentials_file"},
    {"storage.secret_key", CONFIG_SECRET, FIELD(storage_secret_key), "", 0, 0, NULL,
     "with storage.access_key"},
    {"storage.session_token", CONFIG_SECRET, FIELD(storage_session_token), "", 0, 0, NULL,
     "s3: with keys that last for a while"},
    {"storage.credentials_file", CONFIG_TEXT, FIELD(storage_credentials_file), "", 0, 0, NULL,
     "s3: an AWS credentials file; gcs: the JSON key of a service account"},
    {"storage.profile", CONFIG_TEXT, FIELD(storage_profile), "", 0, 0, NULL,
     "s3: of the credentials file; empty: AWS_PROFILE, then default"},
    {"storage.ca_file", CONFIG_TEXT, FIELD(storage_ca_file), "", 0, 0, NULL,
     "PEM certificates to trust in place of the system's"},
    {"storage.tls_insecure", CONFIG_BOOL, FIELD(storage_tls_insecure), "false", 0, 0, NULL,
     "do not verify the object store's certificate: for tests on this machine alone"},
    {"storage.sse", CONFIG_TEXT, FIELD(storage_sse), "", 0, 0, NULL,
     "s3: AES256 or aws:kms, asked of the store for each object; empty: what the bucket does"},
    {"storage.sse_key_id", CONFIG_TEXT, FIELD(storage_sse_key_id), "", 0, 0, NULL,
     "the key, with storage.sse aws:kms"},
    {"storage.conditional_put", CONFIG_BOOL, FIELD(storage_conditional_put), "true", 0, 0, NULL,
     "false: the store knows no put on the condition that a name is free"},
    {"storage.backend_params", CONFIG_TEXT, FIELD(storage_backend_params), "", 0, 0, NULL,
     "a text for a backend of yours; memory: its faults"},
    {"storage.request_timeout_ms", CONFIG_MS, FIELD(storage_request_timeout_ms), "30000", 1,
     3600000, NULL, "milliseconds of one try at the object store without a byte"},
    {"storage.connect_timeout_ms", CONFIG_MS, FIELD(storage_connect_timeout_ms), "5000", 1, 3600000,
     NULL, "milliseconds to connect to it"},
    {"storage.concurrency", CONFIG_INT, FIELD(storage_concurrency), "32", 1, 1024, NULL,
     "calls at the object store at once; others wait"},
    {"storage.breaker_failures", CONFIG_INT, FIELD(storage_breaker_failures), "10", 0, 1000000,
     NULL, "calls lost in a row after which the object store is left alone for a while; 0: never"},
    {"storage.breaker_open_ms", CONFIG_MS, FIELD(storage_breaker_open_ms), "5000", 1, 3600000, NULL,
     "milliseconds of that while"},
    {"storage.hedge_after_ms", CONFIG_MS, FIELD(storage_hedge_after_ms), "0", 0, 3600000, NULL,
     "milliseconds after which a get without an answer is asked again beside; 0: never"},
    {"storage.tier_cache_size", CONFIG_SIZE, FIELD(storage_tier_cache_size), "1GB", VV_MIB,
     1024 * VV_GIB, NULL, "bytes of the disk for what was read from the object store"},
    {"storage.tier_run_age", CONFIG_DURATION, FIELD(storage_tier_run_age_ns), "0s", 0,
     INT64_C(36600) * 86400 * VV_NS_PER_S, NULL,
     "lsm: runs older than this go to the object store; 0: none for its age"},
    {"storage.tier_run_local_size", CONFIG_SIZE, FIELD(storage_tier_run_local_size), "0", 0,
     1024 * 1024 * VV_GIB, NULL,
     "lsm: bytes of runs that stay here, the oldest beyond go; 0: none for its size"},
    {"processing.batch_size", CONFIG_INT, FIELD(processing_batch_size), "auto", 1,
     UINT64_C(1000000000), NULL, "messages of an object at most; auto: as many as there are bytes"},
    {"processing.batch_timeout_ms", CONFIG_MS, FIELD(processing_batch_timeout_ms), "5000", 1,
     86400000, NULL, "milliseconds that a message waits at most before its batch is cut"},
    {"processing.batch_bytes", CONFIG_SIZE, FIELD(processing_batch_bytes), "64MB", 64 * VV_KIB,
     64 * VV_GIB, NULL, "bytes of an object, as it is stored"},
    {"processing.codec", CONFIG_CHOICE, FIELD(processing_codec), "zstd", 0, 0, codec_choices,
     "of objects: zstd, with a dictionary where it pays, lz4 or none"},
    {"processing.also", CONFIG_CHOICE, FIELD(processing_also), "none", 0, 0, also_choices,
     "beside each object, for other tools: none, jsonl or parquet"},
    {"processing.key", CONFIG_TEXT, FIELD(processing_key), "", 0, 0, NULL,
     "template of objects' names, with {first} and {intent}; empty: "
     "{tenant}/{table}/{yyyy}/{mm}/{dd}/{hh}/{partition}-{first}-{intent}"},
    {"processing.local_age", CONFIG_DURATION, FIELD(processing_local_age_ns), "1h", 0,
     INT64_C(36600) * 86400 * VV_NS_PER_S, NULL,
     "stored messages stay in local files too for so long; 0: they leave at once"},
    {"processing.local_size", CONFIG_SIZE, FIELD(processing_local_size), "0", 0,
     1024 * 1024 * VV_GIB, NULL, "bytes of each partition, likewise; 0: no bound"},
    {"processing.waiting_size", CONFIG_SIZE, FIELD(processing_waiting_size), "0", 0,
     1024 * 1024 * VV_GIB, NULL,
     "bytes of messages that wait for the object store, from which appends are refused; 0: the "
     "disk is the bound"},
    {"processing.uploads", CONFIG_INT, FIELD(processing_uploads), "2", 1, 64, NULL,
     "objects that are stored at once"},
    {"processing.failures_max", CONFIG_INT, FIELD(processing_failures_max), "5", 1, 1000000, NULL,
     "uploads failed in a row after which /ready says no"},
    {"processing.grace", CONFIG_DURATION, FIELD(processing_grace_ns), "1h", VV_NS_PER_MS,
     INT64_C(36600) * 86400 * VV_NS_PER_S, NULL,
     "objects that nothing refers to any more stay for so long"},
    {"processing.backup_keep", CONFIG_DURATION, FIELD(processing_backup_keep_ns), "720h",
     VV_NS_PER_MS, INT64_C(36600) * 86400 * VV_NS_PER_S, NULL,
     "objects that backups lead to stay until none was made to the same place for so long"},
    {"retry.max_retries", CONFIG_INT, FIELD(retry_max_retries), "3", 1, 1000, NULL,
     "tries of a call to the object store after the first"},
    {"retry.initial_backoff_ms", CONFIG_MS, FIELD(retry_initial_backoff_ms), "100", 1, 3600000,
     NULL, "milliseconds: the bound of the first random wait, doubled with each"},
    {"retry.max_backoff_ms", CONFIG_MS, FIELD(retry_max_backoff_ms), "1000", 1, 3600000, NULL,
     "milliseconds: where the doubling ends; at least retry.initial_backoff_ms"},
    {"retry.budget_ms", CONFIG_MS, FIELD(retry_budget_ms), "60000", 1, 86400000, NULL,
     "milliseconds of one call with its tries and waits"},
    {"metrics.enabled", CONFIG_BOOL, FIELD(metrics_enabled), "true", 0, 0, NULL,
     "serve /metrics, for Prometheus to fetch"},
    {"metrics.push_endpoint", CONFIG_TEXT, FIELD(metrics_push_endpoint), "", 0, 0, NULL,
     "push the same figures as OTLP, such as http://127.0.0.1:4318/v1/metrics; empty: do not"},
    {"metrics.push_interval_ms", CONFIG_MS, FIELD(metrics_push_interval_ms), "10000", 100, 86400000,
     NULL, "milliseconds between two pushes, with metrics.push_endpoint"},
    {"backup.dir", CONFIG_TEXT, FIELD(backup_dir), "", 0, 0, NULL,
     "the repository that `varve backup create` writes to; empty: it is refused"},
    {"backup.archive_log", CONFIG_BOOL, FIELD(backup_archive_log), "false", 0, 0, NULL,
     "keep in each backup the log since the one before: each version between can be restored; "
     "needs backup.dir"},
    {"transactions.max_open", CONFIG_INT, FIELD(transactions_max_open), "1000", 1, 100000, NULL,
     "transactions that clients may hold open"},
    {"transactions.max_per_connection", CONFIG_INT, FIELD(transactions_max_per_connection), "100",
     1, 100000, NULL, "of them, begun by one connection"},
    {"transactions.idle_timeout", CONFIG_DURATION, FIELD(transactions_idle_timeout_ns), "10s",
     VV_NS_PER_S / 10, 3600 * VV_NS_PER_S, NULL, "one that nobody uses for so long is aborted"},
    {"ingest.auto_create", CONFIG_BOOL, FIELD(ingest_auto_create), "true", 0, 0, NULL,
     "make a missing table on its first write"},
    {"ingest.workers", CONFIG_INT, FIELD(ingest_workers), "2", 1, 64, NULL,
     "threads that decode records"},
    {"ingest.queue_size", CONFIG_SIZE, FIELD(ingest_queue_size), "auto", VV_MIB, 64 * VV_GIB, NULL,
     "bytes received and not yet committed; over it senders are slowed; auto: by the memory limit"},
    {"series.table", CONFIG_TEXT, FIELD(series_table), "default/metrics", 0, 0, NULL,
     "tenant/table of samples and questions that name none, as those of Prometheus"},
    {"series.historian_table", CONFIG_TEXT, FIELD(series_historian_table), "default/sensors", 0, 0,
     NULL, "tenant/table of what is asked by a sensor's id"},
    {"series.max_per_tenant", CONFIG_INT, FIELD(series_max_per_tenant), "1000000", 1,
     UINT64_C(1000000000), NULL, "series of a tenant; samples of more are refused"},
    {"nats.enabled", CONFIG_BOOL, FIELD(nats_enabled), "false", 0, 0, NULL,
     "take a stream of a NATS server into a series table (docs/nats.md)"},
    {"nats.url", CONFIG_TEXT, FIELD(nats_url), "nats://127.0.0.1:4222", 0, 0, NULL,
     "servers, separated by commas; tls:// for TLS, user:password@ or token@ before a host"},
    {"nats.stream", CONFIG_TEXT, FIELD(nats_stream), "EVENTS", 0, 0, NULL,
     "JetStream: made with nats.subject if it is missing"},
    {"nats.subject", CONFIG_TEXT, FIELD(nats_subject), "enterprise.>", 0, 0, NULL,
     "which messages of the stream, or what to subscribe to"},
    {"nats.durable", CONFIG_TEXT, FIELD(nats_durable), "varve", 0, 0, NULL,
     "name of our consumer: its own for each store"},
    {"nats.table", CONFIG_TEXT, FIELD(nats_table), "default/sensors", 0, 0, NULL,
     "tenant/table of the samples; what is no sample goes to tenant/table-dead"},
    {"nats.mode", CONFIG_CHOICE, FIELD(nats_mode), "jetstream", 0, 0, nats_choices,
     "jetstream: each message once; core: what is published while we listen"},
    {"nats.batch", CONFIG_INT, FIELD(nats_batch), "2048", 1, 16384, NULL,
     "messages asked for and written at once"},
    {"nats.credentials", CONFIG_TEXT, FIELD(nats_credentials), "", 0, 0, NULL,
     "file of a user's JWT and its seed; empty: none"},
    {"nats.nkey", CONFIG_TEXT, FIELD(nats_nkey), "", 0, 0, NULL,
     "public nkey of a user, U...; with nats.nkey_seed; empty: none"},
    {"nats.nkey_seed", CONFIG_TEXT, FIELD(nats_nkey_seed), "", 0, 0, NULL, "file of its seed"},
    {"nats.tls_ca", CONFIG_TEXT, FIELD(nats_tls_ca), "", 0, 0, NULL,
     "file of the certificates to trust; empty: those of the system"},
    {"nats.tls_cert", CONFIG_TEXT, FIELD(nats_tls_cert), "", 0, 0, NULL,
     "file of our certificate, with nats.tls_key; empty: none"},
    {"nats.tls_key", CONFIG_TEXT, FIELD(nats_tls_key), "", 0, 0, NULL, "file of its key"},
    {"log.level", CONFIG_CHOICE, FIELD(log_level), "info", 0, 0, level_choices,
     "error, warn, info or debug"},
    {"log.format", CONFIG_CHOICE, FIELD(log_format), "logfmt", 0, 0, format_choices,
     "logfmt or json"},
    {"log.levels", CONFIG_TEXT, FIELD(log_levels), "", 0, 0, NULL,
     "other levels for some modules, as wal=debug,object=warn"},
    {"log.sinks", CONFIG_TEXT, FIELD(log_sinks), "stderr", 0, 0, NULL,
     "where lines go, separated by commas: stderr, file, syslog, journal, otlp (docs/logging.md)"},
    {"log.file", CONFIG_TEXT, FIELD(log_file), "", 0, 0, NULL, "file: its path"},
    {"log.file_size", CONFIG_SIZE, FIELD(log_file_size), "64MB", 4 * VV_KIB, 1024 * VV_GIB, NULL,
     "file: bytes after which the next one is begun"},
    {"log.file_count", CONFIG_INT, FIELD(log_file_count), "5", 1, 1000, NULL,
     "file: full ones that are kept, as log.file with .1, .2 behind"},
    {"log.syslog_socket", CONFIG_TEXT, FIELD(log_syslog_socket), "/dev/log", 0, 0, NULL,
     "syslog: the datagram socket of the local service, which gets RFC 5424"},
    {"log.syslog_facility", CONFIG_CHOICE, FIELD(log_syslog_facility), "daemon", 0, 0,
     facility_choices, "syslog: user, daemon or local0 to local7"},
    {"log.journal_socket", CONFIG_TEXT, FIELD(log_journal_socket), "/run/systemd/journal/socket", 0,
     0, NULL, "journal: the socket of its native protocol"},
    {"log.otlp_endpoint", CONFIG_TEXT, FIELD(log_otlp_endpoint), "http://127.0.0.1:4318/v1/logs", 0,
     0, NULL, "otlp: where OTLP/HTTP takes logs"},
    {"log.otlp_headers", CONFIG_SECRET, FIELD(log_otlp_headers), "", 0, 0, NULL,
     "otlp: headers for logs and metrics, as Authorization=Bearer abc,X-Tenant=7"},
    {"log.otlp_ca_file", CONFIG_TEXT, FIELD(log_otlp_ca_file), "", 0, 0, NULL,
     "otlp: PEM certificates to trust in place of the system's"},
    {"log.queue_size", CONFIG_SIZE, FIELD(log_queue_size), "1MB", 64 * VV_KIB, VV_GIB, NULL,
     "bytes of lines that wait for each sink but stderr; more are left out and counted"},
    {"log.rate_limit", CONFIG_INT, FIELD(log_rate_limit), "100", 0, UINT64_C(1000000000), NULL,
     "lines of one message in log.rate_interval; one more line tells what was left out; 0: all"},
    {"log.rate_interval", CONFIG_DURATION, FIELD(log_rate_interval_ns), "10s", VV_NS_PER_MS,
     86400 * VV_NS_PER_S, NULL, "see log.rate_limit"},
};
const size_t config_key_count = ARRAY_LEN(config_keys);

const char *config_nearest(const char *name)
{
    const char *best = config_keys[0].name;
    unsigned best_distance = VV_NEAREST_MAX;
    for (size_t i = 0; i < config_key_count; i++) {
        unsigned d =
            vv_name_distance(vv_slice_str(name), vv_slice_str(config_keys[i].name), best_distance);
        if (d < best_distance) {
            best_distance = d;
            best = config_keys[i].name;
        }
    }
    return best;
}

const config_key *config_find(const char *name)
{
    for (size_t i = 0; i < config_key_count; i++)
        if (strcmp(config_keys[i].name, name) == 0)
            return &config_keys[i];
    return NULL;
}

typedef struct unit {
    const char *name;
    uint64_t factor;
} unit;

static const unit size_units[] = {{"", 1},        {"B", 1},        {"KB", VV_KIB},  {"KiB", VV_KIB},
                                  {"K", VV_KIB},  {"MB", VV_MIB},  {"MiB", VV_MIB}, {"M", VV_MIB},
                                  {"GB", VV_GIB}, {"GiB", VV_GIB}, {"G", VV_GIB},   {NULL, 0}};
static const unit plain_units[] = {{"", 1}, {NULL, 0}};
static const unit ms_units[] = {{"", 1},      {"ms", 1},      {"s", 1000},
                                {"m", 60000}, {"h", 3600000}, {NULL, 0}};
static const unit duration_units[] = {{"ms", (uint64_t)VV_NS_PER_MS},
                                      {"s", (uint64_t)VV_NS_PER_S},
                                      {"m", 60 * (uint64_t)VV_NS_PER_S},
                                      {"h", 3600 * (uint64_t)VV_NS_PER_S},
                                      {NULL, 0}};

/* "64MB" with a table of units; false when it is no number, has no known unit or overflows. */
static bool parse_number(const char *text, const unit *units, uint64_t *out)
{
    if (text[0] < '0' || text[0] > '9')
        return false;
    char *end;
    errno = 0;
    uint64_t n = strtoull(text, &end, 10);
    if (errno != 0)
        return false;
    while (*end == ' ')
        end++;
    for (const unit *u = units; u->name != NULL; u++)
        if (strcasecmp(end, u->name) == 0)
            return !__builtin_mul_overflow(n, u->factor, out);
    return false;
}

static const unit *units_of(config_type type)
{
    return type == CONFIG_SIZE       ? size_units
           : type == CONFIG_DURATION ? duration_units
                                     : plain_units;
}

/* As it is written in a file: by the largest unit that it is a multiple of. */
static void print_number(const config_key *key, uint64_t n, vv_buf *out)
{
    const unit *units = units_of(key->type);
    const unit *best = &units[0];
    for (const unit *u = units; u->name != NULL; u++)
        if (n != 0 && n % u->factor == 0 && u->factor > best->factor)
            best = u;
    vv_buf_printf(out, "%" PRIu64 "%s", n / best->factor, best->name);
}

static vv_status refuse_range(const config_key *key, const char *text, vv_error *err)
{
    vv_buf range;
    vv_buf_init(&range, 64);
    print_number(key, key->min, &range);
    vv_buf_append_str(&range, "..");
    print_number(key, key->max, &range);
    vv_status st = vv_fail(err, VV_INVALID, "%s: %s is outside %.*s (%s)", key->name, text,
                           (int)range.len, (const char *)range.data, key->doc);
    vv_buf_fini(&range);
    return st;
}

static vv_status store_number(config *c, const config_key *key, const char *text, vv_error *err)
{
    static const struct {
        const unit *units;
        const char *form;
    } forms[] = {[CONFIG_INT] = {plain_units, "a whole number"},
                 [CONFIG_SIZE] = {size_units, "a size such as 64MB"},
                 [CONFIG_MS] = {ms_units, "a number of milliseconds such as 500"},
                 [CONFIG_DURATION] = {duration_units, "a duration such as 500ms, 10s or 5m"}};
    uint64_t n = 0;
    bool derived = strcmp(text, "auto") == 0 && strcmp(key->initial, "auto") == 0;
    if (derived) {
        memcpy((char *)c + key->offset, &n, sizeof n);
        return VV_OK;
    }
    /* None of a duration needs no unit. */
    if (strcmp(text, "0") != 0 && !parse_number(text, forms[key->type].units, &n))
        return vv_fail(err, VV_INVALID, "%s: '%s' is not %s", key->name, text,
                       forms[key->type].form);
    if (n < key->min || n > key->max)
        return refuse_range(key, text, err);
    memcpy((char *)c + key->offset, &n, sizeof n);
    return VV_OK;
}

static vv_status store_choice(config *c, const config_key *key, const char *text, vv_error *err)
{
    for (const config_choice *choice = key->choices; choice->name != NULL; choice++)
        if (strcmp(choice->name, text) == 0) {
            memcpy((char *)c + key->offset, &choice->value, sizeof choice->value);
            return VV_OK;
        }
    char all[160] = "";
    for (const config_choice *choice = key->choices; choice->name != NULL; choice++) {
        size_t len = strlen(all);
        (void)snprintf(all + len, sizeof all - len, "%s%s", len == 0 ? "" : ", ", choice->name);
    }
    return vv_fail(err, VV_INVALID, "%s: '%s' is none of: %s", key->name, text, all);
}

vv_status config_store(config *c, const config_key *key, const char *text, vv_error *err)
{
    bool yes = strcmp(text, "true") == 0;
    switch (key->type) {
    case CONFIG_TEXT:
    case CONFIG_SECRET:
        if (strlen(text) >= key->size)
            return vv_fail(err, VV_INVALID, "%s: over %zu bytes", key->name, key->size - 1);
        memcpy((char *)c + key->offset, text, strlen(text) + 1);
        return VV_OK;
    case CONFIG_BOOL:
        if (!yes && strcmp(text, "false") != 0)
            return vv_fail(err, VV_INVALID, "%s: '%s' is not true or false", key->name, text);
        memcpy((char *)c + key->offset, &yes, sizeof yes);
        return VV_OK;
    case CONFIG_CHOICE:
        return store_choice(c, key, text, err);
    case CONFIG_INT:
    case CONFIG_SIZE:
    case CONFIG_MS:
    case CONFIG_DURATION:
        break;
    }
    return store_number(c, key, text, err);
}

void config_init(config *c)
{
    memset(c, 0, sizeof *c);
    for (size_t i = 0; i < config_key_count; i++) {
        vv_status st = config_store(c, &config_keys[i], config_keys[i].initial, NULL);
        assert(st == VV_OK); /* every default is a legal value */
        (void)st;
    }
}

vv_status config_set(config *c, const char *assignment, vv_error *err)
{
    const char *eq = strchr(assignment, '=');
    char name[96];
    size_t len = eq == NULL ? 0 : (size_t)(eq - assignment);
    if (len == 0 || len >= sizeof name)
        return vv_fail(err, VV_INVALID, "--set %s: expected section.key=value", assignment);
    memcpy(name, assignment, len);
    name[len] = '\0';
    const config_key *key = config_find(name);
    if (key == NULL)
        return vv_fail(err, VV_INVALID, "--set: unknown key '%s'; did you mean '%s'?", name,
                       config_nearest(name));
    vv_status st = config_store(c, key, eq + 1, err);
    return st == VV_OK ? st : vv_wrap(err, st, "--set");
}

/* "server.max_connections" as "VARVE_SERVER_MAX_CONNECTIONS". */
static void env_name(const config_key *key, char out[128])
{
    size_t n = 0;
    for (const char *p = "VARVE_"; *p != '\0'; p++)
        out[n++] = *p;
    for (const char *p = key->name; *p != '\0' && n < 127; p++)
        out[n++] = *p == '.' ? '_' : (char)(*p >= 'a' && *p <= 'z' ? *p - 'a' + 'A' : *p);
    out[n] = '\0';
}

static const config_key *find_env(const char *variable, size_t len)
{
    for (size_t i = 0; i < config_key_count; i++) {
        char name[128];
        env_name(&config_keys[i], name);
        if (strlen(name) == len && memcmp(name, variable, len) == 0)
            return &config_keys[i];
    }
    return NULL;
}

/* Whether a variable begins like one of ours: "VARVE_SERVER_". Others may belong to anybody: an
 * orchestrator that runs a service called varve sets VARVE_SERVICE_HOST. */
static bool names_section(const char *variable)
{
    for (size_t i = 0; i < config_key_count; i++) {
        char name[128];
        env_name(&config_keys[i], name);
        size_t len =
            strlen("VARVE_") + (size_t)(strchr(config_keys[i].name, '.') - config_keys[i].name) + 1;
        if (strncmp(name, variable, len) == 0)
            return true;
    }
    return false;
}

/* Names without our prefix, as programs of this kind have them. They may be somebody else's: an
 * orchestrator that runs a service called "server" sets SERVER_PORT=tcp://10.0.0.1:80. */
static vv_status load_plain_names(config *c, char *const *environment, vv_error *err)
{
    static const struct {
        const char *variable;
        const char *key;
    } names[] = {{"SERVER_HOST=", "server.host"},
                 {"SERVER_PORT=", "server.port"},
                 {"STORAGE_BACKEND=", "storage.backend"},
                 {"STORAGE_BUCKET=", "storage.bucket"},
                 {"STORAGE_PREFIX=", "storage.prefix"}};
    for (char *const *e = environment; *e != NULL; e++)
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
            size_t len = strlen(names[i].variable);
            if (strncmp(*e, names[i].variable, len) != 0)
                continue;
            const char *value = *e + len;
            if (value[0] == '\0' || strncmp(value, "tcp://", 6) == 0)
                continue;
            vv_status st = config_store(c, config_find(names[i].key), value, err);
            if (st != VV_OK)
                return vv_wrap(err, st, "environment: %.*s", (int)len - 1, *e);
        }
    return VV_OK;
}

vv_status config_load_env(config *c, char *const *environment, vv_error *err)
{
    vv_status plain = load_plain_names(c, environment, err); /* ours go over them */
    if (plain != VV_OK)
        return plain;
    for (char *const *e = environment; *e != NULL; e++) {
        const char *eq = strchr(*e, '=');
        if (eq == NULL || strncmp(*e, "VARVE_", 6) != 0)
            continue;
        const config_key *key = find_env(*e, (size_t)(eq - *e));
        if (key == NULL && !names_section(*e))
            continue;
        if (key == NULL) {
            char name[96] = "";
            size_t n = 0;
            for (const char *p = *e + 6; p < eq && n < sizeof name - 1; p++, n++)
                name[n] = (char)(*p >= 'A' && *p <= 'Z' ? *p - 'A' + 'a' : *p);
            name[n] = '\0';
            char *first = strchr(name, '_');
            if (first != NULL)
                *first = '.';
            char near[128];
            env_name(config_find(config_nearest(name)), near);
            return vv_fail(err, VV_INVALID, "environment: %.*s names no key; did you mean %s?",
                           (int)(eq - *e), *e, near);
        }
        vv_status st = config_store(c, key, eq + 1, err);
        if (st != VV_OK)
            return vv_wrap(err, st, "environment: %.*s", (int)(eq - *e), *e);
    }
    return VV_OK;
}

/* A numeric address, since no name is ever looked up. */
static bool read_address(const char *host, bool *is_loopback)
{
    struct in_addr v4;
    struct in6_addr v6;
    *is_loopback = false;
    if (inet_pton(AF_INET, host, &v4) == 1) {
        *is_loopback = ntohl(v4.s_addr) >> 24 == 127;
        return true;
    }
    if (inet_pton(AF_INET6, host, &v6) != 1)
        return false;
    *is_loopback = IN6_IS_ADDR_LOOPBACK(&v6);
    return true;
}

/* One letter, digit or '_', then those and '-' and '.', as the store has it. */
static bool is_name(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        bool is_plain =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
        if (!is_plain && (i == 0 || (c != '-' && c != '.')))
            return false;
    }
    return len > 0 && len <= VV_NAME_MAX;
}

static vv_status check_table(const char *key, const char *text, vv_error *err)
{
    const char *slash = strchr(text, '/');
    if (slash != NULL && is_name(text, (size_t)(slash - text)) &&
        is_name(slash + 1, strlen(slash + 1)))
        return VV_OK;
    return vv_fail(err, VV_INVALID, "%s: '%s' is not tenant/table, as default/metrics", key, text);
}

vv_status config_check(const config *c, vv_error *err)
{
    bool is_loopback;
    if (!read_address(c->server_host, &is_loopback))
        return vv_fail(err, VV_INVALID,
                       "server.host: '%s' is not a numeric address: 127.0.0.1 and ::1 are this "
                       "machine's",
                       c->server_host);
    if (!is_loopback && !c->server_allow_anonymous)
        return vv_fail(err, VV_INVALID,
                       "server.host: %s is reachable from other machines and no credentials are "
                       "configured: listen on 127.0.0.1, or say server.allow_anonymous=true",
                       c->server_host);
    vv_status st = db_engine_check_kind((vv_engine_kind)c->storage_engine, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "storage.engine");
    if (c->server_port != 0 && c->server_port == c->query_port)
        return vv_fail(err, VV_INVALID, "query.port: %" PRIu64 " is server.port already",
                       c->query_port);
    if (c->backup_archive_log && c->backup_dir[0] == '\0')
        return vv_fail(err, VV_INVALID,
                       "backup.archive_log: the log is kept in backups, and there is no place for "
                       "them: set backup.dir, or leave it out");
    st = check_table("series.table", c->series_table, err);
    if (st == VV_OK)
        st = check_table("series.historian_table", c->series_historian_table, err);
    if (st == VV_OK)
        st = config_check_tier(c, err);
    if (st == VV_OK)
        st = config_check_log(c, err);
    return st == VV_OK ? config_check_nats(c, err) : st;
}

static void print_value(const config *c, const config_key *key, vv_buf *out)
{
    const char *at = (const char *)c + key->offset;
    uint64_t n = 0;
    switch (key->type) {
    case CONFIG_TEXT:
    case CONFIG_SECRET:
        vv_buf_append_u8(out, '"');
        for (; *at != '\0'; at++) {
            if (*at == '"' || *at == '\\')
                vv_buf_append_u8(out, '\\');
            vv_buf_append_u8(out, (uint8_t)*at);
        }
        vv_buf_append_u8(out, '"');
        return;
    case CONFIG_BOOL:
        vv_buf_append_str(out, *(const bool *)at ? "true" : "false");
        return;
    case CONFIG_CHOICE:
        memcpy(&n, at, sizeof n);
        for (const config_choice *choice = key->choices; choice->name != NULL; choice++)
            if (choice->value == n)
                vv_buf_append_str(out, choice->name);
        return;
    case CONFIG_INT:
    case CONFIG_SIZE:
    case CONFIG_MS:
    case CONFIG_DURATION:
        memcpy(&n, at, sizeof n);
        if (n == 0 && strcmp(key->initial, "auto") == 0)
            vv_buf_append_str(out, "auto");
        else
            print_number(key, n, out);
        return;
    }
}

void config_print(const config *c, vv_buf *out)
{
    const char *section = "";
    for (size_t i = 0; i < config_key_count; i++) {
        const config_key *key = &config_keys[i];
        const char *dot = strchr(key->name, '.');
        size_t len = (size_t)(dot - key->name);
        if (strncmp(section, key->name, len + 1) != 0) {
            vv_buf_printf(out, "%.*s:\n", (int)len, key->name);
            section = key->name;
        }
        vv_buf_printf(out, "  # %s\n", key->doc);
        if (key->type == CONFIG_SECRET && *((const char *)c + key->offset) != '\0') {
            vv_buf_printf(out, "  # %s is set, and not shown\n", dot + 1);
            continue;
        }
        vv_buf_printf(out, "  %s: ", dot + 1);
        print_value(c, key, out);
        vv_buf_append_u8(out, '\n');
    }
}
