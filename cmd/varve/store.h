/*
 * store.h - what the commands do things to: a server (store_remote.c) or a directory
 * (store_local.c). One const table of functions, so that each command is written once.
 */
#ifndef VARVE_CMD_VARVE_STORE_H
#define VARVE_CMD_VARVE_STORE_H

#include "base/buf.h"
#include "cmd.h"
#include "query/query.h"
#include "store_series.h"
#include "store_stream.h"
#include "store_tier.h"

typedef struct store store;

typedef struct store_kv {
    vv_slice key;
    vv_slice value;
    int64_t version;
    int64_t expires_ms; /* 0: never */
} store_kv;

typedef struct store_write {
    uint64_t ttl_ms;
    int durability; /* vv_durability */
    int op;         /* of put: vv_operator, the value is its operand; 0: none */
} store_write;

/* What a write was given. */
typedef struct store_written {
    int64_t version;
    int durability; /* vv_durability; 0: the server did not say */
} store_written;

typedef struct store_range {
    vv_slice begin;
    vv_slice end;
    vv_slice prefix;
    bool reverse;
    bool keys_only;
    uint64_t limit; /* 0: all */
    int64_t version;
} store_range;

/* Of tables of messages; 0: the default. */
typedef struct store_stream_spec {
    uint64_t keep_bytes; /* of each partition; 0: all */
    uint64_t message_max;
    int64_t producer_keep_ns;
    uint32_t producers_max;
} store_stream_spec;

/* What a new table is to be. */
typedef struct store_table_spec {
    int kind;             /* vv_table_kind */
    int64_t retention_ms; /* negative: the kind's default */
    int compression;      /* vv_compression */
    int engine;           /* vv_engine_kind */
    uint64_t value_threshold;
    uint32_t partitions;      /* 0: 1 */
    store_series_spec series; /* 0: the default; of a stream keep_ns alone */
    store_stream_spec stream;
    const vv_archive_rule *archive; /* of a stream; NULL: left to the store */
    const vv_keep_rule *rules;      /* [rule_count] of series */
    size_t rule_count;
    const char *extract; /* rules of a stream's messages; NULL: none */
    vv_slice extract_schema;
    bool if_not_exists;
} store_table_spec;

#define STORE_RULES_TEXT 5120u
#define STORE_RULE_TEXT 600u

typedef struct store_table_info {
    char tenant[VV_NAME_MAX + 1];
    char name[VV_NAME_MAX + 1];
    char engine[16];
    uint32_t id;
    uint32_t shard;
    int kind; /* vv_table_kind */
    int64_t retention_ms;
    int64_t created_ms;
    uint64_t bytes;
    int compression; /* vv_compression */
    uint64_t value_threshold;
    uint32_t partitions;
    store_series_spec series;      /* in force; 0 of what is kept: for ever. Of a stream keep_ns */
    store_stream_spec stream;      /* likewise */
    char archive[STORE_RULE_TEXT]; /* of streams: as --archive takes it; "": left to the store */
    char rules[STORE_RULES_TEXT];  /* of series: "env=dev:7d, host^=a:0" */
    char extract[VV_EXTRACT_TEXT_MAX + 1]; /* of streams: rules, one a line */
} store_table_info;

/* How a stream is archived: store_rule.c. False: the text says none. The key borrows it. */
bool store_rule_parse(const char *text, vv_archive_rule *out);
void store_rule_text(const vv_archive_rule *rule, char out[STORE_RULE_TEXT]);

/** Rules as --keep-where has them, one behind the other. */
void store_rules_text(const vv_keep_rule *rules, size_t count, char out[STORE_RULES_TEXT]);

typedef struct store_archive_info {
    char name[64];
    uint32_t shard;
    int64_t version;
    int64_t made_ms;
    bool periodic;
} store_archive_info;

/* One answered value with its name. */
typedef struct store_cell {
    vv_slice name;
    struct_value value;
} store_cell;

/* One record on its way in. Borrowed for the call. */
typedef struct store_record {
    vv_slice id;
    bool has_time; /* otherwise the time of arrival */
    int64_t time_ns;
    const vv_slice *meta; /* key, value, key, value ... */
    size_t meta_count;    /* pairs */
    vv_slice body;        /* a serialized Struct */
} store_record;

/* How far a load has come. */
typedef struct store_progress {
    uint64_t sent;  /* records handed over */
    uint64_t acked; /* of those, durable */
    uint64_t failed;
} store_progress;

/* A record that was refused. VV_OK: the others go on; anything else ends the load with that status
 * and the sentence in err. */
typedef vv_status (*store_refused)(void *ctx, uint64_t sequence, vv_status st, const char *why,
                                   vv_error *err);

/* As vv_compact_state. */
typedef struct store_compaction {
    bool is_pending;
    uint64_t range_bytes;
    uint64_t read_bytes;
} store_compaction;

/* The next key and value, borrowed until the next call; VV_NOT_FOUND at the end. */
typedef vv_status (*store_next_pair)(void *ctx, vv_slice *key, vv_slice *value, vv_error *err);

typedef struct store_ops {
    void (*close)(store *s);
    vv_status (*put)(store *s, vv_slice key, vv_slice value, const store_write *how,
                     store_written *out, vv_error *err);
    /* Appends the value to out. */
    vv_status (*get)(store *s, vv_slice key, int64_t version, vv_buf *out, store_kv *kv,
                     vv_error *err);
    /* Each key at one version (0: the newest), in their order: each() gets an absent one with
     * version 0. */
    vv_status (*get_many)(store *s, const vv_slice *keys, size_t count, int64_t version,
                          void (*each)(void *ctx, const store_kv *kv), void *ctx, vv_error *err);
    /* An empty end deletes key alone. */
    vv_status (*del)(store *s, vv_slice key, vv_slice end, const store_write *how,
                     store_written *out, vv_error *err);
    /* A nonzero return of each() ends the scan. */
    vv_status (*scan)(store *s, const store_range *range,
                      int (*each)(void *ctx, const store_kv *kv), void *ctx, vv_error *err);
    /* each() gets a serialized storage.DataRecord. */
    vv_status (*query)(store *s, const query_ask *ask, int (*each)(void *ctx, vv_slice record),
                       void *ctx, query_stats *stats, vv_error *err);
    vv_status (*aggregate)(store *s, const query_ask *ask,
                           int (*each)(void *ctx, const store_cell *cells, size_t count), void *ctx,
                           query_stats *stats, vv_error *err);
    vv_status (*explain)(store *s, const query_ask *ask, vv_buf *text, vv_error *err);
    vv_status (*status)(store *s, void (*text)(void *ctx, const char *name, vv_slice value),
                        void (*figure)(void *ctx, const char *name, double value), void *ctx,
                        vv_error *err);
    vv_status (*table_create)(store *s, const char *name, const store_table_spec *spec,
                              store_table_info *out, vv_error *err);
    /* tenant NULL: all. */
    vv_status (*table_list)(store *s, const char *tenant,
                            int (*each)(void *ctx, const store_table_info *info), void *ctx,
                            vv_error *err);
    vv_status (*table_describe)(store *s, const char *name, store_table_info *out, vv_error *err);
    vv_status (*table_drop)(store *s, const char *name, vv_error *err);
    /* What of spec changes names: vv_table_change. */
    vv_status (*table_alter)(store *s, const char *name, const store_table_spec *spec,
                             uint64_t changes, store_table_info *out, vv_error *err);
    /* Begin the compaction of a range of the command's table, or (look) tell how far it is. */
    vv_status (*compact)(store *s, vv_slice begin, vv_slice end, bool look, store_compaction *out,
                         vv_error *err);
    vv_status (*archive_create)(store *s, const char *name, vv_error *err);
    vv_status (*archive_list)(store *s, int (*each)(void *ctx, const store_archive_info *info),
                              void *ctx, vv_error *err);
    vv_status (*archive_drop)(store *s, const char *name, vv_error *err);
    /* The store's table. */
    vv_status (*archive_restore)(store *s, const char *name, uint64_t *changed, vv_error *err);
    /* Records into one table, in order, acknowledged in groups. begin, record..., end. */
    vv_status (*load_begin)(store *s, store_refused refused, void *ctx, int durability,
                            vv_error *err);
    vv_status (*load_record)(store *s, const store_record *record, store_progress *at,
                             vv_error *err);
    /* Wait until everything is acknowledged. */
    vv_status (*load_end)(store *s, store_progress *at, vv_error *err);
    /* Everything that next() gives until VV_NOT_FOUND, keys ascending, all of it or nothing
     * (vv_bulk_begin). NULL: a server takes none. */
    vv_status (*bulk)(store *s, store_next_pair next, void *ctx, store_written *out, vv_error *err);
    const store_series_ops *series;
    const store_stream_ops *stream;
    const store_tier_ops *tier;
} store_ops;

struct store {
    const store_ops *ops;
    const char *tenant;
    const char *table;         /* of the command, never NULL */
    const char *archive;       /* get and scan read it; NULL: what is there now */
    int64_t as_of_ns;          /* or the state at this time; 0: none */
    int64_t timeout_ns;        /* of one request */
    int64_t stream_timeout_ns; /* of scans, queries and loads; 0: none */
};

/* What a command does to a directory; a server is not asked. */
typedef enum store_use {
    STORE_READ,   /* nothing is written */
    STORE_CHANGE, /* what is there: the store must be */
    STORE_CREATE, /* a store that is not there is made, and that is told */
} store_use;

/** Open what the common options name: default_table when --table is not given. Gives *out:
 * store_close. */
VV_MUST_CHECK vv_status store_open(const cmd_ctx *ctx, const char *default_table, store_use use,
                                   store **out, vv_error *err);
VV_MUST_CHECK vv_status store_open_remote(const cmd_common *c, store **out, vv_error *err);
/** VV_UNSUPPORTED in a build without the engine. */
VV_MUST_CHECK vv_status store_open_local(const cmd_common *c, store_use use, store **out,
                                         vv_error *err);

static inline void store_close(store *s)
{
    if (s != NULL)
        s->ops->close(s);
}

/** "sync", "os", "none", "default" to a vv_durability; false for anything else. */
bool store_parse_durability(const char *text, int *out);
/** The other way; "" for what is none. */
const char *store_durability_name(int durability);
/** The row that a write of one key prints: key, version, durability. */
void cmd_tell_written(const cmd_ctx *ctx, vv_slice key, const store_written *written);

/* A storage.DataRecord taken apart. Borrows the bytes. */
typedef struct record_parts {
    vv_slice id;
    vv_slice body;
    int64_t version;
    int64_t time_ns;
    vv_slice raw; /* for record_next_meta */
} record_parts;

/** False when malformed. */
bool record_parse(vv_slice record, record_parts *out);
/** Walk the metadata; *r starts as wire_reader_of(parts.raw). */
bool record_next_meta(wire_reader *r, vv_slice *key, vv_slice *value);

/** Append a record as storage.DataRecord fields. */
void record_put(vv_buf *out, vv_slice tenant, vv_slice table, const store_record *record);

#endif
