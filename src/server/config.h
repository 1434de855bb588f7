/*
 * config.h - the configuration of varved: one table of keys, filled from defaults, a YAML file, the
 * environment (VARVE_SECTION_KEY, and before them the plain names SERVER_HOST, SERVER_PORT,
 * STORAGE_BACKEND, STORAGE_BUCKET and STORAGE_PREFIX) and --set, in that order. A wrong key or
 * value is refused with its place (file, line and column), the cause and the nearest valid key.
 */
#ifndef VARVE_SERVER_CONFIG_H
#define VARVE_SERVER_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "varve/db.h"
#include "varve/slice.h"
#include "varve/status.h"
#include "varve/tier.h"

#define CONFIG_TEXT_MAX 512u
#define CONFIG_LONG_MAX 4096u /* of session tokens and headers */

#define CONFIG_NATS_NAME_MAX 200u

typedef enum config_nats_mode { CONFIG_NATS_JETSTREAM, CONFIG_NATS_CORE } config_nats_mode;

typedef enum config_addressing {
    CONFIG_ADDRESS_AUTO,
    CONFIG_ADDRESS_PATH,
    CONFIG_ADDRESS_VIRTUAL,
} config_addressing;

typedef struct config {
    char server_host[64];
    uint64_t server_port;
    uint64_t server_max_connections;
    uint64_t server_max_streams;
    uint64_t server_max_message_size;
    uint64_t server_loops;
    int64_t server_idle_timeout_ns;
    int64_t server_drain_timeout_ns;
    bool server_allow_anonymous;
    uint64_t query_port;
    uint64_t query_threads;
    uint64_t query_memory_limit;
    char storage_data_directory[CONFIG_TEXT_MAX];
    char storage_wal_directory[CONFIG_TEXT_MAX];
    uint64_t storage_memtable_size;
    uint64_t storage_memory_limit;
    uint64_t storage_cache_size;
    uint64_t storage_log_limit;
    uint64_t storage_log_segment_size;
    uint64_t storage_shards;
    uint64_t storage_apply_threads;
    int64_t storage_archive_interval_ns;
    uint64_t storage_num_retained_archives;
    uint64_t storage_file_amplify_factor;
    uint64_t storage_background_threads;
    uint64_t storage_compaction_budget;
    uint64_t storage_durability; /* vv_durability */
    uint64_t storage_engine;     /* vv_engine_kind */
    bool storage_value_compression;
    bool storage_compression;
    uint64_t storage_io_backend; /* vv_io_backend */
    bool storage_direct_io;
    uint64_t storage_max_open_files;       /* 0: by the limit of the process */
    char storage_backend[CONFIG_TEXT_MAX]; /* "": no object store */
    char storage_endpoint[CONFIG_TEXT_MAX];
    char storage_bucket[CONFIG_TEXT_MAX];
    char storage_prefix[CONFIG_TEXT_MAX];
    char storage_region[CONFIG_TEXT_MAX];
    uint64_t storage_addressing; /* config_addressing */
    char storage_access_key[CONFIG_TEXT_MAX];
    char storage_secret_key[CONFIG_TEXT_MAX];
    char storage_session_token[CONFIG_LONG_MAX];
    char storage_credentials_file[CONFIG_TEXT_MAX];
    char storage_profile[CONFIG_TEXT_MAX];
    char storage_ca_file[CONFIG_TEXT_MAX];
    bool storage_tls_insecure;
    char storage_sse[CONFIG_TEXT_MAX];
    char storage_sse_key_id[CONFIG_TEXT_MAX];
    bool storage_conditional_put;
    char storage_backend_params[CONFIG_TEXT_MAX];
    uint64_t storage_request_timeout_ms;
    uint64_t storage_connect_timeout_ms;
    uint64_t storage_concurrency;
    uint64_t storage_breaker_failures;
    uint64_t storage_breaker_open_ms;
    uint64_t storage_hedge_after_ms;
    uint64_t storage_tier_cache_size;
    int64_t storage_tier_run_age_ns;
    uint64_t storage_tier_run_local_size;
    uint64_t processing_batch_size; /* 0: no bound */
    uint64_t processing_batch_timeout_ms;
    uint64_t processing_batch_bytes;
    uint64_t processing_codec; /* vv_tier_codec */
    uint64_t processing_also;  /* vv_tier_form */
    char processing_key[CONFIG_TEXT_MAX];
    int64_t processing_local_age_ns; /* 0: stored messages leave at once */
    uint64_t processing_local_size;
    uint64_t processing_waiting_size; /* 0: the disk is the bound */
    uint64_t processing_uploads;
    uint64_t processing_failures_max;
    int64_t processing_grace_ns;
    int64_t processing_backup_keep_ns;
    uint64_t retry_max_retries;
    uint64_t retry_initial_backoff_ms;
    uint64_t retry_max_backoff_ms;
    uint64_t retry_budget_ms;
    bool metrics_enabled;
    char metrics_push_endpoint[CONFIG_TEXT_MAX];
    uint64_t metrics_push_interval_ms;
    char backup_dir[CONFIG_TEXT_MAX];
    bool backup_archive_log;
    uint64_t transactions_max_open;
    uint64_t transactions_max_per_connection;
    int64_t transactions_idle_timeout_ns;
    bool ingest_auto_create;
    uint64_t ingest_workers;
    uint64_t ingest_queue_size;
    char series_table[CONFIG_TEXT_MAX];           /* tenant/table */
    char series_historian_table[CONFIG_TEXT_MAX]; /* likewise */
    uint64_t series_max_per_tenant;
    bool nats_enabled;
    char nats_url[CONFIG_TEXT_MAX];
    char nats_stream[CONFIG_TEXT_MAX];
    char nats_subject[CONFIG_TEXT_MAX];
    char nats_durable[CONFIG_TEXT_MAX];
    char nats_table[CONFIG_TEXT_MAX];
    uint64_t nats_mode; /* config_nats_mode */
    uint64_t nats_batch;
    char nats_credentials[CONFIG_TEXT_MAX];
    char nats_nkey[CONFIG_TEXT_MAX];
    char nats_nkey_seed[CONFIG_TEXT_MAX];
    char nats_tls_ca[CONFIG_TEXT_MAX];
    char nats_tls_cert[CONFIG_TEXT_MAX];
    char nats_tls_key[CONFIG_TEXT_MAX];
    uint64_t log_level;  /* vv_log_level */
    uint64_t log_format; /* vv_log_form */
    char log_levels[CONFIG_TEXT_MAX];
    char log_sinks[CONFIG_TEXT_MAX];
    char log_file[CONFIG_TEXT_MAX];
    uint64_t log_file_size;
    uint64_t log_file_count;
    char log_syslog_socket[CONFIG_TEXT_MAX];
    uint64_t log_syslog_facility;
    char log_journal_socket[CONFIG_TEXT_MAX];
    char log_otlp_endpoint[CONFIG_TEXT_MAX];
    char log_otlp_headers[CONFIG_LONG_MAX];
    char log_otlp_ca_file[CONFIG_TEXT_MAX];
    uint64_t log_queue_size;
    uint64_t log_rate_limit; /* 0: none */
    int64_t log_rate_interval_ns;
} config;

/* A message that is received needs its own bytes and, if it is a batch, as many again for what is
 * written. */
#define CONFIG_MESSAGE_COPIES 2u

/** Every key at its default; sizes that depend on the memory limit are 0: config_fit_memory. */
void config_init(config *c);

/** Overlay a YAML document. name stands in messages. VV_INVALID: "name:3:5: unknown key ...". */
VV_MUST_CHECK vv_status config_load_yaml(config *c, const char *name, vv_slice text, vv_error *err);

/** Overlay the VARVE_* variables of environ (NULL-terminated "NAME=value" strings). Variables with
 * the prefix VARVE_ that name no key are refused, so that a typing mistake cannot pass in silence.
 */
VV_MUST_CHECK vv_status config_load_env(config *c, char *const *environment, vv_error *err);

/** Overlay one "section.key=value". */
VV_MUST_CHECK vv_status config_set(config *c, const char *assignment, vv_error *err);

/** What no single key can tell: limits that must fit each other, an open address without
 * credentials. */
VV_MUST_CHECK vv_status config_check(const config *c, vv_error *err);

/** The nats keys, of it. */
VV_MUST_CHECK vv_status config_check_nats(const config *c, vv_error *err);

/** The keys of the object store and of what is done for it, of it. */
VV_MUST_CHECK vv_status config_check_tier(const config *c, vv_error *err);

/** True when there is an object store. */
bool config_has_tier(const config *c);
/** What storage.* and retry.* say of it; borrows the texts of c. */
void config_object_options(const config *c, vv_object_options *out);
/** What processing.* and storage.tier_* say, for vv_options.tier; objects is left NULL. Borrows. */
void config_tier_options(const config *c, vv_tier_options *out);

/** The log keys, of it. */
VV_MUST_CHECK vv_status config_check_log(const config *c, vv_error *err);

struct evlog_options;
/** What the log keys say of the event log; clock and threads are left to the caller. Borrows. */
VV_MUST_CHECK vv_status config_log_options(const config *c, struct evlog_options *out,
                                           vv_error *err);

/** log.sinks as a set of 1 << evlog_kind. */
VV_MUST_CHECK vv_status config_log_sinks(const config *c, unsigned *out, vv_error *err);

/** nats.table, taken apart. */
VV_MUST_CHECK vv_status config_nats_table(const config *c, char tenant[VV_NAME_MAX + 1],
                                          char table[VV_NAME_MAX + 1], vv_error *err);

/** Derive the sizes that are 0 from storage.memory_limit and those that are set. VV_INVALID when
 * one that was set cannot fit: the sentence begins with its key and tells the largest that does.
 * Done twice it changes nothing. */
VV_MUST_CHECK vv_status config_fit_memory(config *c, vv_error *err);

/** Bytes of storage.memory_limit for what the process has besides: vv_options.process_memory. */
uint64_t config_process_memory(const config *c);

/** The effective configuration as YAML, each key with its comment. Reads back to the same. */
void config_print(const config *c, vv_buf *out);

#endif
