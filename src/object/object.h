/*
 * object.h - the door of object/: object stores on a world of the caller's.
 *
 * What the rest of Varve uses is include/varve/object.h. Here is what only programs and tests of
 * Varve itself need: a store on a simulated disk and clock, and a bucket in memory that outlives
 * its stores and plays the faults of a bad day.
 */
#ifndef VARVE_OBJECT_OBJECT_H
#define VARVE_OBJECT_OBJECT_H

#include "base/buf.h"
#include "io/env.h"
#include "varve/object.h"
#include "varve/plugin.h"

/**
 * As vv_object_store_open, with time, randomness, threads and the log line of env. Without threads
 * it waits by vv_clock_sleep on its caller's thread, and hedges nothing. "file" works on env->io
 * where that is not NULL. env, but not the struct, lives as long as the store.
 */
VV_MUST_CHECK vv_status objs_open(const vv_env *env, const vv_object_options *options,
                                  vv_object_store **out, vv_error *err);

/* ---- a bucket in memory -------------------------------------------------------------------- */

typedef struct objs_bucket objs_bucket;

typedef enum objs_memory_fault {
    OBJS_MEMORY_NONE,
    OBJS_MEMORY_ERROR,         /* 500, nothing done */
    OBJS_MEMORY_THROTTLE,      /* 503 SlowDown with a Retry-After, nothing done */
    OBJS_MEMORY_TIMEOUT,       /* no answer, nothing done */
    OBJS_MEMORY_TIMEOUT_AFTER, /* no answer, but it was done */
    OBJS_MEMORY_ERROR_AFTER,   /* 500, but it was done */
    OBJS_MEMORY_PARTIAL,       /* a part is acknowledged and lost; a get breaks off half way */
    OBJS_MEMORY_WRONG_ETAG,    /* the answer has another etag */
    OBJS_MEMORY_FLIP,          /* a get has one flipped bit */
    OBJS_MEMORY_SLOW,          /* the answer takes slow_ms */
} objs_memory_fault;
#define OBJS_MEMORY_FAULT_COUNT 10

typedef struct objs_memory_options {
    uint64_t seed;
    /* Of a thousand requests, by fault. */
    uint32_t per_mille[OBJS_MEMORY_FAULT_COUNT];
    /* And the n-th request from now (from 1; 0: none) with this fault, once. */
    uint64_t fault_at;
    objs_memory_fault fault;
    uint32_t slow_ms;
    uint32_t lag;            /* a list does not show the last so many changes of the bucket */
    bool no_conditional_put; /* answers 501 to it */
    bool outage;             /* every request answers 503 */
    uint64_t capacity;       /* bytes; 0: without bound */
    const char *kept;        /* objects with this in their name are not removed: 403; NULL: all are.
                                Borrowed while it is set */
} objs_memory_options;

/** Gives it: objs_bucket_destroy after the last store on it is closed. NULL: memory is short. */
objs_bucket *objs_bucket_create(void);
void objs_bucket_destroy(objs_bucket *bucket);
/** From the next request on. */
void objs_bucket_set(objs_bucket *bucket, const objs_memory_options *options);
/** Requests since objs_bucket_set: the sites of a walk. */
uint64_t objs_bucket_requests(objs_bucket *bucket);
/** Objects, and uploads neither completed nor aborted. */
size_t objs_bucket_objects(objs_bucket *bucket);
size_t objs_bucket_uploads(objs_bucket *bucket);
/** Flip a bit of a stored object, for good. VV_NOT_FOUND without it. */
vv_status objs_bucket_flip(objs_bucket *bucket, const char *name, uint64_t bit);

/** A store on a bucket: options->backend is not looked at. */
VV_MUST_CHECK vv_status objs_open_bucket(const vv_env *env, objs_bucket *bucket,
                                         const vv_object_options *options, vv_object_store **out,
                                         vv_error *err);

/** A store on any table, whose open is called with options. For tests of what stands above it. */
VV_MUST_CHECK vv_status objs_open_ops(const vv_env *env, const vv_object_ops *ops,
                                      const vv_object_options *options, vv_object_store **out,
                                      vv_error *err);

/* ---- a POST over the same transport ------------------------------------------------------------
 */

typedef struct objs_http objs_http;

typedef struct objs_post_options {
    const char *ca_file; /* NULL: the system's; copied */
    uint32_t timeout_ms; /* to connect, without a byte, and of the whole */
} objs_post_options;

/** VV_UNSUPPORTED: this machine has no libcurl. Only the clock of env is used. Gives *out:
 * objs_http_destroy; objs_http_cancel ends what is under way and all that comes later. */
VV_MUST_CHECK vv_status objs_post_open(const vv_env *env, const objs_post_options *options,
                                       objs_http **out, vv_error *err);
/** One try. header: up to 16 lines "Name: value". answer, which may be NULL, gets the body of a
 * success, at most answer_max bytes. A failure says in *again whether it may pass. */
VV_MUST_CHECK vv_status objs_post(objs_http *http, const char *url, const char *const *header,
                                  size_t header_count, vv_slice body, size_t answer_max,
                                  vv_buf *answer, bool *again, vv_error *err);
void objs_http_destroy(objs_http *http); /* accepts NULL */
void objs_http_cancel(objs_http *http);

#endif
