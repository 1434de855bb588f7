/*
 * plugin.h - backends of yours: const tables of functions in shared objects.
 *
 * An object store: build a shared object that defines
 *
 *   const vv_object_ops *vv_object_backend(void);
 *
 * and open it with vv_object_options.backend = "/path/to/it.so". examples/object_backend.c is a
 * whole one. Varve puts names, retries, the concurrency limit, the circuit breaker and statistics
 * above the table: a backend does one try of one call and says honestly what came of it.
 *
 * What an operation fills in vv_object_outcome decides what happens next: `fault` always on
 * failure; `retryable` when another try may succeed; `unknown` when the try may have taken effect
 * (the request went out and no answer came). `unknown` is what keeps a create-once put from
 * believing that another won when it was its own first try.
 *
 * Threads: all operations of a store may be called at once, from any thread. A backend calls
 * nothing of Varve but what headers define inline. Strings and bytes are borrowed for the call.
 */
#ifndef VARVE_PLUGIN_H
#define VARVE_PLUGIN_H

#include "varve/object.h"

#ifdef __cplusplus
extern "C" {
#endif

#define VV_OBJECT_ABI 2u
#define VV_OBJECT_UPLOAD_ID_MAX 1024u

typedef struct vv_object_ops {
    size_t size;      /* sizeof(vv_object_ops) as the backend was built with */
    uint32_t abi;     /* VV_OBJECT_ABI */
    const char *name; /* for sentences: "s3" */

    /* Open with the user's options, whose pointers live as long as the store. Gives *self to close.
     * err has 240 bytes of sentence to fill, as vv_fail would: status, then msg. */
    vv_status (*open)(const vv_object_options *options, void **self, vv_error *err);
    void (*close)(void *self);
    /* Make calls in progress answer VV_CLOSED soon. May be NULL. */
    void (*cancel)(void *self);
    /* What the store can do; *out has the defaults: everything, without bounds. */
    void (*limits)(void *self, vv_object_limits *out);

    /* name is with the prefix, checked. crc32c is of all pieces: keep it with the object. The
     * whole object appears at once. create: VV_CONFLICT where the name is taken, VV_UNSUPPORTED,
     * and nothing stored, where that cannot be told at once with the storing. */
    vv_status (*put)(void *self, const char *name, const vv_slice *piece, size_t count,
                     uint32_t crc32c, bool create, vv_object_info *info, vv_object_outcome *outcome,
                     vv_error *err);
    vv_status (*get)(void *self, const char *name, uint64_t offset, void *out, size_t len,
                     size_t *got, vv_object_info *info, vv_object_outcome *outcome, vv_error *err);
    vv_status (*head)(void *self, const char *name, vv_object_info *info,
                      vv_object_outcome *outcome, vv_error *err);
    /* In bytewise order; at most limit; names with the prefix. */
    vv_status (*list)(void *self, const char *prefix, const char *start_after, uint32_t limit,
                      vv_object_each each, void *ctx, bool *more, vv_object_outcome *outcome,
                      vv_error *err);
    /* VV_OK or VV_NOT_FOUND when there is none. */
    vv_status (*remove)(void *self, const char *name, vv_object_outcome *outcome, vv_error *err);

    /* An upload is a text of the backend's, NUL-terminated in id, and state that it may keep. */
    vv_status (*upload_begin)(void *self, const char *name, bool create,
                              char id[VV_OBJECT_UPLOAD_ID_MAX], void **state,
                              vv_object_outcome *outcome, vv_error *err);
    /* tag: for upload_complete; "" where the backend needs none. */
    vv_status (*upload_part)(void *self, const char *name, const char *id, void *state,
                             uint32_t number, const vv_slice *piece, size_t count, char tag[80],
                             vv_object_outcome *outcome, vv_error *err);
    /* tag [count], of parts 1 to count. crc32c is of the whole. VV_OK frees state. */
    vv_status (*upload_complete)(void *self, const char *name, const char *id, void *state,
                                 const char (*tag)[80], uint32_t count, uint32_t crc32c,
                                 bool create, vv_object_info *info, vv_object_outcome *outcome,
                                 vv_error *err);
    /* Frees state whatever it answers. state may be NULL: a try before this one freed it. */
    vv_status (*upload_abort)(void *self, const char *name, const char *id, void *state,
                              vv_object_outcome *outcome, vv_error *err);
} vv_object_ops;

/* What the shared object defines under the name "vv_object_backend". */
typedef const vv_object_ops *(*vv_object_backend_fn)(void);
#define VV_OBJECT_BACKEND_SYMBOL "vv_object_backend"

#ifdef __cplusplus
}
#endif

#endif
