/*
 * object_int.h - what the files of object/ share: the store above its table, and outcomes.
 */
#ifndef VARVE_OBJECT_OBJECT_INT_H
#define VARVE_OBJECT_OBJECT_INT_H

#include <stdio.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/hist.h"
#include "base/lock.h"
#include "base/rng.h"
#include "object/object.h"

#define OBJS_FULL_NAME_MAX (VV_OBJECT_PREFIX_MAX + 1 + VV_OBJECT_NAME_MAX)

/* ---- backends ------------------------------------------------------------------------------ */

extern const vv_object_ops objs_file_ops;
extern const vv_object_ops objs_memory_ops;
extern const vv_object_ops objs_s3_ops;
extern const vv_object_ops objs_gcs_xml_ops;  /* with HMAC keys */
extern const vv_object_ops objs_gcs_json_ops; /* as a service account */

/* What our own backends are given beside the public options: open finds it behind them. */
typedef struct objs_options {
    vv_object_options opt; /* first */
    vv_env env;
    objs_bucket *bucket; /* memory */
} objs_options;

/* ---- the store ----------------------------------------------------------------------------- */

typedef struct objs_op_figures {
    _Atomic uint64_t calls;
    _Atomic uint64_t failures;
    _Atomic uint64_t bytes;
    vv_hist request_ns;
} objs_op_figures;

typedef struct objs_figures {
    objs_op_figures op[VV_OBJECT_OP_COUNT];
    _Atomic uint64_t faults[VV_OBJECT_FAULT_COUNT];
    _Atomic uint64_t retries;
    _Atomic uint64_t hedges;
    _Atomic uint64_t hedges_won;
    _Atomic uint64_t breaker_opens;
    _Atomic uint64_t breaker_refused;
    _Atomic int64_t last_success_ns;
} objs_figures;

typedef enum objs_breaker_state {
    OBJS_BREAKER_CLOSED,
    OBJS_BREAKER_OPEN,
    OBJS_BREAKER_TRYING,
} objs_breaker_state;

struct objs_hedges;

struct vv_object_store {
    const vv_object_ops *ops;
    void *self;    /* the backend's */
    void *library; /* of dlopen; NULL */
    objs_options opt;
    vv_arena strings; /* of opt */
    char *label;      /* "s3://bucket/prefix" */
    char prefix[VV_OBJECT_PREFIX_MAX + 2];
    size_t prefix_len;
    vv_object_limits limits;
    struct objs_hedges *hedges; /* NULL: never */
    objs_figures figures;

    vv_mutex lock; /* rank VV_RANK_LEAF: guards the rest */
    vv_cond wake;  /* a place is free, or cancelled */
    vv_rng rng;
    bool cancelled;
    uint32_t in_flight;
    uint32_t waiting;
    uint32_t failed_in_row; /* calls */
    uint32_t lost_in_row;   /* calls the store did not answer, for the breaker */
    objs_breaker_state breaker;
    int64_t breaker_until;
};

/** The full name of an object in out[OBJS_FULL_NAME_MAX + 1]; VV_INVALID as vv_object_name_check.
 */
vv_status objs_full_name(const vv_object_store *store, const char *name, char *out, vv_error *err);
/** The form of names, for a prefix of a list too: that may end anywhere, and be empty. */
vv_status objs_name_form(const char *what, const char *name, size_t max, bool open_end,
                         vv_error *err);

/* ---- one call ------------------------------------------------------------------------------ */

/* A call on its way: tries, waits, what they came to. */
typedef struct objs_call {
    vv_object_store *store;
    vv_object_op op;
    const char *name;     /* as the caller said it, for sentences */
    bool unknown;         /* a try before this one may have taken effect */
    uint64_t bytes;       /* a successful try says how much it moved */
    vv_object_outcome oc; /* of the try */
} objs_call;

typedef vv_status (*objs_try)(objs_call *call, void *ctx, vv_error *err);

/** Try until it succeeds, cannot, or the budget is used up. outcome may be NULL. */
vv_status objs_call_run(vv_object_store *store, vv_object_op op, const char *name, objs_try fn,
                        void *ctx, vv_object_outcome *outcome, vv_error *err);

/** A place at the store for one more request, of those that are free; false: none is. */
bool objs_place_try(vv_object_store *store);
void objs_place_leave(vv_object_store *store);

/** A get that is asked again when it takes long; as ops->get. */
vv_status objs_hedged_get(objs_call *call, const char *full, uint64_t offset, void *out, size_t len,
                          size_t *got, vv_object_info *info, vv_error *err);
vv_status objs_hedges_create(vv_object_store *store, struct objs_hedges **out, vv_error *err);
void objs_hedges_destroy(struct objs_hedges *hedges); /* waits for those asked in vain */

/* ---- outcomes ------------------------------------------------------------------------------ */

/** Say why, and return st. Leaves what is not about the cause (http, code, request_id). */
static inline vv_status objs_fault(vv_object_outcome *oc, vv_object_fault fault, bool retryable,
                                   vv_status st)
{
    oc->fault = fault;
    oc->retryable = retryable;
    return st;
}

/** The fault of a failure of this process: memory and disks, never to be tried again here. */
vv_status objs_fault_local(vv_object_outcome *oc, vv_status st);

/** crc of a followed by b, from the sums of both and the length of b. */
uint32_t objs_crc32c_join(uint32_t a, uint32_t b, uint64_t b_len);

/** Where a URL-safe, hex or decimal form is needed, small helpers. out has 2 * len + 1. */
void objs_hex(const uint8_t *bytes, size_t len, char *out);

/** What a store says, for sentences: its printable ASCII, as much as to[size] has room for. to may
 * be from. */
void objs_copy_clean(char *to, size_t size, const char *from);

/** The table of a shared object. *library: dlclose after the last use. */
vv_status objs_plugin_load(const char *path, const vv_object_ops **ops, void **library,
                           vv_error *err);

#endif
