/*
 * log.h - structured log lines: a level, a module, a message and key=value pairs.
 *
 * Programs choose levels, form and sink; libraries get a vv_log and may be given NULL (silence).
 * Control bytes in values are escaped. Secrets are logged as "***" by the caller's type, never raw.
 */
#ifndef VARVE_BASE_LOG_H
#define VARVE_BASE_LOG_H

#include "base/clock.h"
#include "base/lock.h"
#include "varve/slice.h"
#include "varve/status.h"

typedef enum vv_log_level {
    VV_LOG_ERROR,
    VV_LOG_WARN,
    VV_LOG_INFO,
    VV_LOG_DEBUG,
} vv_log_level;

typedef enum vv_log_form { VV_LOG_LOGFMT, VV_LOG_JSON } vv_log_form;

#define VV_LOG_LINE_MAX 4096u /* longer lines lose their tail, never their newline */

/** "error"; never NULL. */
const char *vv_log_level_name(vv_log_level level);

typedef enum vv_kv_type { VV_KV_STR, VV_KV_INT, VV_KV_UINT, VV_KV_FLOAT } vv_kv_type;

typedef struct vv_kv {
    const char *key;
    vv_kv_type type;
    union {
        const char *str;
        int64_t i;
        uint64_t u;
        double f;
    } v;
} vv_kv;

#define VV_KV_S(k, value) ((vv_kv){.key = (k), .type = VV_KV_STR, .v.str = (value)})
#define VV_KV_I(k, value) ((vv_kv){.key = (k), .type = VV_KV_INT, .v.i = (int64_t)(value)})
#define VV_KV_U(k, value) ((vv_kv){.key = (k), .type = VV_KV_UINT, .v.u = (uint64_t)(value)})
#define VV_KV_F(k, value) ((vv_kv){.key = (k), .type = VV_KV_FLOAT, .v.f = (value)})

/** The value as text: a string's own, or digits in number. Never NULL. */
#define VV_KV_NUMBER_MAX 40u
const char *vv_kv_text(const vv_kv *kv, char number[VV_KV_NUMBER_MAX]);

/* What a line says, before it has a form. Borrows everything. */
typedef struct vv_log_record {
    int64_t wall_ns; /* 0: not known, and not written */
    vv_log_level level;
    const char *module;
    const char *msg;
    const vv_kv *kvs;
    size_t count;
} vv_log_record;

/* Levels of single modules, beside that of all others. */
#define VV_LOG_RULES_MAX 32u
#define VV_LOG_MODULE_MAX 24u

typedef struct vv_log_rule {
    char module[VV_LOG_MODULE_MAX];
    vv_log_level level;
} vv_log_rule;

typedef struct vv_log_rules {
    size_t count;
    vv_log_rule rule[VV_LOG_RULES_MAX];
} vv_log_rules;

/** Read "wal=debug, object=warn"; an empty text has no rule. VV_INVALID names the part. */
VV_MUST_CHECK vv_status vv_log_rules_parse(const char *text, vv_log_rules *out, vv_error *err);

typedef struct vv_log {
    vv_log_level level;        /* lines above it are dropped; fixed after init, like all of these */
    const vv_log_rules *rules; /* borrowed; NULL: level is that of every module */
    vv_log_form form;
    vv_clock *clock;                                        /* may be NULL: no ts field */
    void (*write)(void *ctx, const char *line, size_t len); /* one whole line with its newline */
    /* In place of write, when it is not NULL: called without a lock, by any thread. */
    void (*record)(void *ctx, const vv_log_record *record);
    void *ctx;
    vv_mutex lock; /* rank VV_RANK_LEAF: lines never mix */
} vv_log;

void vv_log_init(vv_log *log, vv_log_level level, vv_log_form form, vv_clock *clock,
                 void (*write)(void *ctx, const char *line, size_t len), void *ctx);
/** A log whose lines go to record() as what they say; it takes care of their form and of its own
 * locks. rules may be NULL. */
void vv_log_init_records(vv_log *log, vv_log_level level, const vv_log_rules *rules,
                         vv_clock *clock, void (*record)(void *ctx, const vv_log_record *record),
                         void *ctx);
void vv_log_fini(vv_log *log);

/** Whether a line of that level would be written: to spare the work of what it says. A NULL log
 * wants nothing. */
bool vv_log_wants(const vv_log *log, vv_log_level level, const char *module);

/** The record as a line with its newline, in out[VV_LOG_LINE_MAX]. Returns its length; there is no
 * NUL behind it. */
size_t vv_log_format(const vv_log_record *record, vv_log_form form, char *out);

/** RFC 3339 in UTC with milliseconds. */
#define VV_LOG_TIME_MAX 64u
void vv_log_time(int64_t wall_ns, char out[VV_LOG_TIME_MAX]);

/** Write one line. module is a constant such as "wal". Any thread. A NULL log writes nothing. */
void vv_log_line(vv_log *log, vv_log_level level, const char *module, const char *msg,
                 const vv_kv *kvs, size_t count);

/* vv_log_to(log, VV_LOG_INFO, "wal", "recovered", VV_KV_U("entries", n)); at least one pair. */
#define vv_log_to(log, level, module, msg, ...)                                                    \
    vv_log_line((log), (level), (module), (msg), (const vv_kv[]){__VA_ARGS__},                     \
                sizeof((const vv_kv[]){__VA_ARGS__}) / sizeof(vv_kv))

#endif
