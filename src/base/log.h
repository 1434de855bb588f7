/*
 * log.h - structured log lines: a level, a module, a message and key=value pairs.
 *
 * Programs choose level, form and sink; libraries get a vv_log and may be given NULL (silence).
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

typedef struct vv_log {
    vv_log_level level; /* lines above it are dropped; fixed after init */
    vv_log_form form;
    vv_clock *clock;                                        /* may be NULL: no ts field */
    void (*write)(void *ctx, const char *line, size_t len); /* one whole line with its newline */
    void *ctx;
    vv_mutex lock; /* rank VV_RANK_LEAF: lines never mix */
} vv_log;

void vv_log_init(vv_log *log, vv_log_level level, vv_log_form form, vv_clock *clock,
                 void (*write)(void *ctx, const char *line, size_t len), void *ctx);
void vv_log_fini(vv_log *log);

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

/** Write one line. module is a constant such as "wal". Any thread. A NULL log writes nothing. */
void vv_log_line(vv_log *log, vv_log_level level, const char *module, const char *msg,
                 const vv_kv *kvs, size_t count);

/* vv_log_to(log, VV_LOG_INFO, "wal", "recovered", VV_KV_U("entries", n)); at least one pair. */
#define vv_log_to(log, level, module, msg, ...)                                                    \
    vv_log_line((log), (level), (module), (msg), (const vv_kv[]){__VA_ARGS__},                     \
                sizeof((const vv_kv[]){__VA_ARGS__}) / sizeof(vv_kv))

#endif
