/*
 * store_remote.h - what the files of a store that is a server share: the connection, one request
 * and one answer at a time, and their fields by number.
 */
#ifndef VARVE_CMD_STORE_REMOTE_H
#define VARVE_CMD_STORE_REMOTE_H

#include <string.h>

#include "base/buf.h"
#include "client/client.h"
#include "store.h"

typedef struct remote {
    store base;
    cli_conn *conn;
    vv_buf request;
    vv_buf reply;
    cli_stream *load;
    store_refused refused;
    void *refused_ctx;
    store_progress progress;
    vv_status stopped; /* a refusal that ended the load, and its sentence */
    vv_error stopped_why;
    uint64_t settled;               /* the highest sequence acknowledged or refused */
    int durability;                 /* that the last answer told; 0: it did not */
    struct remote_samples *samples; /* on their way in: store_remote_series.c */
} remote;

static inline remote *remote_of(store *s)
{
    return (remote *)(void *)s;
}

/** Send what is in request; the answer is in reply. */
vv_status remote_unary(remote *r, const char *method, vv_error *err);

/** Send what is in request; each() gets the answers one after the other, until it says stop or
 * fails. */
vv_status remote_messages(remote *r, const char *method,
                          vv_status (*each)(void *ctx, vv_slice message, bool *stop, vv_error *err),
                          void *ctx, vv_error *err);
/** VV_IO: what came is no answer to the method. */
vv_status remote_malformed(vv_error *err, const char *method);

/* TableRef in field 1 begins most requests. */
static inline void put_ref(remote *r, uint32_t number, const char *tenant, const char *table)
{
    size_t begin = wire_begin(&r->request, number);
    wire_put_string(&r->request, 1, vv_slice_str(tenant));
    wire_put_string(&r->request, 2, vv_slice_str(table));
    wire_end(&r->request, begin);
}

/* The varint field `number` of a message; 0 when absent. */
static inline uint64_t varint_of(vv_slice message, uint32_t number)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    uint64_t v = 0;
    while (wire_next(&r, &f) > 0)
        if (f.number == number && f.type == WIRE_VARINT)
            v = f.value;
    return v;
}

static inline vv_slice bytes_of(vv_slice message, uint32_t number)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    vv_slice v = {0};
    while (wire_next(&r, &f) > 0)
        if (f.number == number && f.type == WIRE_BYTES)
            v = f.bytes;
    return v;
}

/* Cut to fit, with an end. */
static inline void copy_text(char *to, size_t size, vv_slice text)
{
    size_t n = text.len < size - 1 ? text.len : size - 1;
    if (n > 0)
        memcpy(to, text.data, n);
    to[n] = 0;
}

/* store_remote_admin.c */
vv_status remote_table_create(store *s, const char *name, const store_table_spec *spec,
                              store_table_info *out, vv_error *err);
vv_status remote_table_list(store *s, const char *tenant,
                            int (*each)(void *ctx, const store_table_info *info), void *ctx,
                            vv_error *err);
vv_status remote_table_describe(store *s, const char *name, store_table_info *out, vv_error *err);
vv_status remote_archive_create(store *s, const char *name, vv_error *err);
vv_status remote_archive_drop(store *s, const char *name, vv_error *err);
vv_status remote_archive_list(store *s, int (*each)(void *ctx, const store_archive_info *info),
                              void *ctx, vv_error *err);
vv_status remote_archive_restore(store *s, const char *name, uint64_t *changed, vv_error *err);
vv_status remote_table_drop(store *s, const char *name, vv_error *err);
vv_status remote_table_alter(store *s, const char *name, const store_table_spec *spec,
                             uint64_t changes, store_table_info *out, vv_error *err);
vv_status remote_status(store *s, void (*text)(void *ctx, const char *name, vv_slice value),
                        void (*figure)(void *ctx, const char *name, double value), void *ctx,
                        vv_error *err);
vv_status remote_compact(store *s, vv_slice begin, vv_slice end, bool look, store_compaction *out,
                         vv_error *err);

/* store_remote_stream.c */
extern const store_stream_ops remote_stream_ops;

/* store_remote_tier.c */
extern const store_tier_ops remote_tier_ops;

/* store_remote_series.c */
extern const store_series_ops remote_series_ops;
void remote_samples_free(remote *r);

#endif
