/*
 * object.h - object stores: whole immutable objects by name, in a directory, in memory, in S3, in
 * Google Cloud Storage, or in a backend of yours (plugin.h).
 *
 *   vv_object_put(.., VV_OBJECT_CREATE ..)   one winner a name, on stores that can say so
 *   vv_object_get                            a range of bytes into your memory
 *   vv_object_head  _list  _remove
 *   vv_object_upload_begin .. _part .. _complete | _abort    a large object, part by part
 *
 * A name is 1 to VV_OBJECT_NAME_MAX bytes: parts of [A-Za-z0-9_.=+,@:~!-], separated by single '/'.
 * No part is empty, longer than VV_OBJECT_PART_NAME_MAX or begins with '.', so no name leaves the
 * store's prefix. Let no name be a directory of another ("a" and "a/b"): a file system cannot.
 *
 * Every call blocks until it is answered, given up or cancelled. Faults that may pass are retried
 * inside: exponential backoff with full jitter, within vv_object_options.max_retries and
 * budget_ms. The statuses:
 *
 *   VV_NOT_FOUND    no such object (or bucket: the sentence says which)
 *   VV_CONFLICT     VV_OBJECT_CREATE, and the name is taken
 *   VV_UNSUPPORTED  the store cannot do it: mostly, put on the condition that the name is free
 *   VV_BUSY         the store is throttling, or the circuit breaker is open; later
 *   VV_TIMEOUT      no answer in time
 *   VV_IO           the store or the network refused; outcome->fault says how (denied, expired, ..)
 *   VV_CORRUPT      the bytes that came are not those that were stored
 *   VV_NO_SPACE     the disk or a quota is full
 *   VV_CLOSED       cancelled by vv_object_store_cancel
 *   VV_INVALID      a name, option or range that can be proved wrong
 *   VV_NO_MEMORY
 *
 * A sentence names the store, the object, the store's own code and request id, and the next step.
 *
 * Structs grow: vv_object_options and vv_object_stats say their size, those that every call fills
 * have room at their end, which is 0 and means nothing yet. Where a call takes an outcome or an
 * info it may be NULL: then nobody is told.
 *
 * Threads: every function may be called from any thread, but the calls of one vv_object_upload
 * follow each other where vv_object_limits.parallel_parts is 0. Strings and bytes are borrowed for
 * the call.
 */
#ifndef VARVE_OBJECT_H
#define VARVE_OBJECT_H

#include <stdbool.h>

#include "varve/slice.h"
#include "varve/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define VV_OBJECT_NAME_MAX 400u      /* bytes of a name, without the NUL */
#define VV_OBJECT_PART_NAME_MAX 200u /* between two '/' */
#define VV_OBJECT_PREFIX_MAX 80u     /* of vv_object_options.prefix */
#define VV_OBJECT_LIST_MAX 1000u     /* objects a vv_object_list gives at most */
#define VV_OBJECT_PUT_MAX (UINT64_C(5) << 30)

typedef struct vv_object_store vv_object_store;
typedef struct vv_object_upload vv_object_upload;

/* Why a call failed: what statistics count, and what an operator acts on. Values are ABI. */
typedef enum vv_object_fault {
    VV_OBJECT_FAULT_NONE = 0,
    VV_OBJECT_FAULT_MISSING,     /* no such object, upload or bucket */
    VV_OBJECT_FAULT_EXISTS,      /* the name is taken */
    VV_OBJECT_FAULT_UNSUPPORTED, /* the store lacks what was asked for */
    VV_OBJECT_FAULT_THROTTLED,   /* 429, 503 SlowDown */
    VV_OBJECT_FAULT_SERVER,      /* 500, 502, 503, 504 */
    VV_OBJECT_FAULT_TIMEOUT,     /* no answer in time */
    VV_OBJECT_FAULT_NETWORK,     /* not resolved, not connected, broken off, bad TLS */
    VV_OBJECT_FAULT_DENIED,      /* wrong credentials, or not allowed */
    VV_OBJECT_FAULT_EXPIRED,     /* the session token or bearer has run out */
    VV_OBJECT_FAULT_CLOCK,       /* this machine's clock is too far from the store's */
    VV_OBJECT_FAULT_REDIRECT,    /* the bucket is in another region */
    VV_OBJECT_FAULT_REQUEST,     /* the store calls the request wrong */
    VV_OBJECT_FAULT_ANSWER,      /* the answer cannot be understood, or is over a limit */
    VV_OBJECT_FAULT_CORRUPT,     /* a checksum differs */
    VV_OBJECT_FAULT_FULL,        /* a disk or a quota */
    VV_OBJECT_FAULT_LOCAL,       /* this process: memory, files, cancelled, breaker open */
} vv_object_fault;
#define VV_OBJECT_FAULT_COUNT 17
#define VV_OBJECT_FAULT_ROOM 32 /* of statistics: what is behind the count is 0 */

/** "throttled"; "unknown" for a value outside the enum. Never NULL. */
VV_API const char *vv_object_fault_name(vv_object_fault fault);

/* What became of a call, beside its status. Filled on success and on failure. */
typedef struct vv_object_outcome {
    vv_object_fault fault;
    bool retryable; /* the same call may succeed later: the retries were used up, not the hope */
    bool unknown;   /* it may have taken effect all the same: look (head) before acting on it */
    bool settled;   /* VV_OK of a put whose first try had an unknown outcome: the object was there
                       at the second, with the same length and CRC-32C */
    int http;       /* status of the last answer; 0: none came, or the store speaks no HTTP */
    uint32_t attempts;
    int64_t retry_after_ms; /* what the store asked for; 0: nothing */
    char code[64];          /* the store's own: "NoSuchBucket"; "" */
    char request_id[96];
    uint64_t reserved[4]; /* 0 */
} vv_object_outcome;

typedef struct vv_object_info {
    uint64_t size;
    int64_t mtime_ns; /* by the store's clock, since 1970; 0: not known */
    bool has_crc;
    uint32_t crc32c;      /* of the whole object, as kept with it by the put; with has_crc */
    char etag[80];        /* the store's own, without quotes; changes when the content does */
    char version[80];     /* of stores that keep versions; "" */
    uint64_t reserved[4]; /* 0 */
} vv_object_info;

/* What a store can do. Fixed while it is open. */
typedef struct vv_object_limits {
    bool conditional_put; /* VV_OBJECT_CREATE may be tried; a store may still answer VV_UNSUPPORTED
                           */
    bool parallel_parts;  /* parts of an upload may be sent in any order, by several threads */
    uint32_t part_count_max;
    uint64_t part_size_min; /* of every part but the last */
    uint64_t part_size_max;
    uint64_t object_size_max;
    uint64_t reserved[4]; /* 0 */
} vv_object_limits;

typedef struct vv_object_options {
    size_t size; /* VV_OBJECT_OPTIONS_INIT sets it */
    /* "file", "memory", "s3", "gcs", or a path that ends in ".so": a backend of yours. */
    const char *backend;
    /* s3, gcs: "https://host[:port]"; NULL: Amazon's for the region, Google's. file: unused. */
    const char *endpoint;
    /* s3, gcs: the bucket, which must exist. file: the directory, which is made. */
    const char *bucket;
    /* In front of every name, with a '/' between unless it ends in one; of the form of a name. */
    const char *prefix;
    const char *region;     /* s3: NULL is "us-east-1" */
    const char *addressing; /* s3: "path", "virtual", "auto" (NULL): path unless Amazon's */
    /* s3, and gcs with HMAC keys. NULL: from the environment (AWS_ACCESS_KEY_ID and its like),
     * then from credentials_file, then from ~/.aws/credentials. */
    const char *access_key;
    const char *secret_key;
    const char *session_token;
    /* An AWS credentials file, or for gcs the JSON key of a service account. NULL: what
     * AWS_SHARED_CREDENTIALS_FILE or GOOGLE_APPLICATION_CREDENTIALS names. */
    const char *credentials_file;
    const char *profile; /* of an AWS credentials file; NULL: AWS_PROFILE, then "default" */
    const char *ca_file; /* PEM certificates to trust in place of the system's */
    bool tls_insecure;   /* do not verify the server: for tests on loopback, never else */
    /* s3: "AES256" or "aws:kms", sent with every put; the key's id for the latter. */
    const char *sse;
    const char *sse_key_id;
    /* s3, gcs: false says that the store knows no conditional put; it is never tried then. */
    bool conditional_put;
    /* For a backend of yours, given to it as it is. memory: faults, "seed=7,error=20,slow=5". */
    const char *params;

    uint32_t max_retries;        /* after the first try; 3 */
    uint32_t initial_backoff_ms; /* 100 */
    uint32_t max_backoff_ms;     /* 1000; at least the initial one */
    uint32_t budget_ms;          /* of one call with its retries and waits; 60000 */
    uint32_t request_timeout_ms; /* of one try without progress; 30000 */
    uint32_t connect_timeout_ms; /* 5000 */
    uint32_t concurrency;        /* calls at the store at once; others wait; 32 */
    uint32_t breaker_failures;   /* calls failed in a row that open the breaker; 0: never; 10 */
    uint32_t breaker_open_ms;    /* then one call may try again after this; 5000 */
    uint32_t hedge_after_ms;     /* a get not answered by then is asked again beside; 0: never */
} vv_object_options;

#define VV_OBJECT_OPTIONS_INIT                                                                     \
    {                                                                                              \
        sizeof(vv_object_options), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,     \
            NULL, NULL, false, NULL, NULL, true, NULL, 3, 100, 1000, 60000, 30000, 5000, 32, 10,   \
            5000, 0                                                                                \
    }

/**
 * Open a store. Looks at its options, reads credentials, loads libraries; sends nothing: to know
 * that the store is there, list it with limit 1.
 *
 * @return VV_INVALID names the option; VV_NOT_FOUND for a backend or a credentials file that is
 *         not there; VV_UNSUPPORTED: this machine has no libcurl, or the backend is of another ABI.
 *
 * Gives *out: vv_object_store_close. Copies the options.
 */
VV_API VV_MUST_CHECK vv_status vv_object_store_open(const vv_object_options *options,
                                                    vv_object_store **out, vv_error *err);

/** No call may be in progress and no upload open; accepts NULL. */
VV_API void vv_object_store_close(vv_object_store *store);

/** Make calls in progress, and all later ones, answer VV_CLOSED soon. Any thread; final. */
VV_API void vv_object_store_cancel(vv_object_store *store);

/** "s3://bucket/prefix": for sentences. Lives as long as the store. */
VV_API const char *vv_object_store_name(const vv_object_store *store);

VV_API void vv_object_store_limits(const vv_object_store *store, vv_object_limits *out);

/** VV_OK for a name of the form above, VV_INVALID with the reason. */
VV_API VV_MUST_CHECK vv_status vv_object_name_check(const char *name, vv_error *err);

typedef enum vv_object_put_flags {
    VV_OBJECT_REPLACE = 0,
    VV_OBJECT_CREATE = 1, /* only where the name is free: VV_CONFLICT otherwise */
} vv_object_put_flags;

/**
 * Store an object: the pieces, one after another. It is there whole or not at all, and durable as
 * the store makes it with VV_OK. A CRC-32C of the content is kept with it.
 *
 * @param piece  [count] together at most VV_OBJECT_PUT_MAX bytes.
 * @param info   may be NULL; size, etag, version and crc of what was stored.
 * @return with VV_OBJECT_CREATE also VV_CONFLICT, and VV_UNSUPPORTED where the store has no such
 *         condition (it says so when asked: then nothing was stored). outcome->unknown with a
 *         failure: the object may be there.
 */
VV_API VV_MUST_CHECK vv_status vv_object_put(vv_object_store *store, const char *name,
                                             const vv_slice *piece, size_t count, unsigned flags,
                                             vv_object_info *info, vv_object_outcome *outcome,
                                             vv_error *err);

/**
 * Read len bytes at offset. *got is less than len only at the end of the object, 0 past it.
 *
 * @param out   [len] written up to *got; what lies behind, and all on failure, is undefined.
 * @param info  may be NULL; what the answer said of the whole object.
 * @return VV_CORRUPT when a checksum that the store keeps for these bytes differs.
 */
VV_API VV_MUST_CHECK vv_status vv_object_get(vv_object_store *store, const char *name,
                                             uint64_t offset, void *out, size_t len, size_t *got,
                                             vv_object_info *info, vv_object_outcome *outcome,
                                             vv_error *err);

/** What a store knows of an object without its bytes. */
VV_API VV_MUST_CHECK vv_status vv_object_head(vv_object_store *store, const char *name,
                                              vv_object_info *info, vv_object_outcome *outcome,
                                              vv_error *err);

/** One of a list, name as given to the put. Borrows both for the call. false ends the list. */
typedef bool (*vv_object_each)(void *ctx, const char *name, const vv_object_info *info);

/**
 * The next objects in bytewise order of their names.
 *
 * @param prefix       "": all; else the beginning of a name, which may end anywhere.
 * @param start_after  only names behind it; NULL or "": from the first.
 * @param limit        1 to VV_OBJECT_LIST_MAX.
 * @param more         there are names behind the last one given: go on with it as start_after.
 *
 * info has size, mtime and etag, as far as the store lists them. A store may lag: an object just
 * stored or removed may be missing or listed for a while (Amazon's and Google's do not).
 */
VV_API VV_MUST_CHECK vv_status vv_object_list(vv_object_store *store, const char *prefix,
                                              const char *start_after, uint32_t limit,
                                              vv_object_each each, void *ctx, bool *more,
                                              vv_object_outcome *outcome, vv_error *err);

/** Remove an object. VV_OK also when there is none: stores cannot tell after a retry. */
VV_API VV_MUST_CHECK vv_status vv_object_remove(vv_object_store *store, const char *name,
                                                vv_object_outcome *outcome, vv_error *err);

/**
 * Begin a large object. Nothing of it is seen before vv_object_upload_complete.
 *
 * @param flags  with VV_OBJECT_CREATE the name is looked for now (VV_CONFLICT) and the condition
 *               sent again when it is completed; a store that ignores it there lets the last one
 *               win: docs/object-stores.md says which.
 *
 * Gives *out, which complete and abort take.
 */
VV_API VV_MUST_CHECK vv_status vv_object_upload_begin(vv_object_store *store, const char *name,
                                                      unsigned flags, vv_object_upload **out,
                                                      vv_object_outcome *outcome, vv_error *err);

/** Send part number (from 1, without gaps in the end); the same number again replaces it where
 * parts may be parallel. Sizes as in vv_object_limits. */
VV_API VV_MUST_CHECK vv_status vv_object_upload_part(vv_object_upload *upload, uint32_t number,
                                                     const vv_slice *piece, size_t count,
                                                     vv_object_outcome *outcome, vv_error *err);

/** Make the parts one object, in the order of their numbers. Takes upload when it answers VV_OK;
 * otherwise it stays: complete again, or abort. VV_INVALID: no part, or one is missing. */
VV_API VV_MUST_CHECK vv_status vv_object_upload_complete(vv_object_upload *upload,
                                                         vv_object_info *info,
                                                         vv_object_outcome *outcome, vv_error *err);

/** Drop the parts. Takes upload whatever it answers; a failure leaves parts at the store, which
 * cost room until a rule of the bucket removes them. Accepts NULL. */
VV_API vv_status vv_object_upload_abort(vv_object_upload *upload, vv_object_outcome *outcome,
                                        vv_error *err);

/* ---- figures ------------------------------------------------------------------------------- */

typedef enum vv_object_op {
    VV_OBJECT_OP_PUT,
    VV_OBJECT_OP_GET,
    VV_OBJECT_OP_HEAD,
    VV_OBJECT_OP_LIST,
    VV_OBJECT_OP_REMOVE,
    VV_OBJECT_OP_BEGIN,
    VV_OBJECT_OP_PART,
    VV_OBJECT_OP_COMPLETE,
    VV_OBJECT_OP_ABORT,
} vv_object_op;
#define VV_OBJECT_OP_COUNT 9
#define VV_OBJECT_OP_ROOM 16

/** "put"; "unknown" for a value outside the enum. Never NULL. */
VV_API const char *vv_object_op_name(vv_object_op op);

typedef struct vv_object_op_stats {
    uint64_t calls;    /* of this API, ended */
    uint64_t failures; /* of them, without VV_NOT_FOUND and VV_CONFLICT */
    uint64_t requests; /* tries at the store */
    uint64_t bytes;    /* of content, of successful tries */
    uint64_t p50_ns;   /* of a try */
    uint64_t p99_ns;
    uint64_t max_ns;
    uint64_t sum_ns;
    uint64_t reserved[2]; /* 0 */
} vv_object_op_stats;

typedef struct vv_object_stats {
    size_t size; /* sizeof(vv_object_stats): set before the call */
    vv_object_op_stats op[VV_OBJECT_OP_ROOM];
    uint64_t faults[VV_OBJECT_FAULT_ROOM]; /* failed tries by cause */
    uint64_t retries;
    uint64_t hedges;     /* gets that were asked twice */
    uint64_t hedges_won; /* of them answered by the second */
    uint64_t breaker_opens;
    uint64_t breaker_refused;      /* calls it answered */
    uint32_t breaker_state;        /* 0 closed, 1 open, 2 one call is trying */
    uint32_t in_flight;            /* calls at the store now */
    uint32_t waiting;              /* calls that wait for one of options.concurrency */
    uint32_t consecutive_failures; /* calls, since the last success */
    int64_t last_success_ns;       /* wall time; 0: none yet */
} vv_object_stats;

/** Fills what fits out->size. */
VV_API void vv_object_store_stats(vv_object_store *store, vv_object_stats *out);

#ifdef __cplusplus
}
#endif

#endif
