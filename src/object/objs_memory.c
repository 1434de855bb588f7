/*
 * objs_memory.c - a bucket in memory, and every fault of a real one by seed.
 *
 * A sorted array of objects behind one lock. Faults are drawn for each request from the bucket's
 * own generator, or placed at the n-th request by a test that walks them; either way the same seed
 * and the same requests give the same faults. A fault that "did it" changes the bucket first and
 * loses the answer then: that is what callers get wrong.
 */
#include "object/object_int.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/util.h"

#define LAG_MAX 64u

typedef struct object {
    char *name;
    uint8_t *data;
    vv_object_info info;
    uint64_t change; /* the bucket's change that made it */
    bool gone;       /* removed, and still listed while the list lags */
    uint64_t gone_at;
} object;

typedef struct upload {
    char id[24];
    uint8_t **data; /* [count] by part */
    size_t *len;
    uint32_t count;
    struct upload *next;
} upload;

struct objs_bucket {
    vv_mutex lock;   /* rank VV_RANK_LEAF: guards all */
    object *objects; /* sorted by name */
    size_t count;
    size_t cap;
    uint64_t bytes;
    upload *uploads;
    uint64_t ids;
    uint64_t changes;
    uint64_t requests;
    objs_memory_options opt;
    vv_rng rng;
    _Atomic uint32_t slow_ms; /* of opt; any thread */
};

typedef struct memory {
    objs_bucket *bucket;
    bool own;
    vv_clock *clock;
    _Atomic bool cancelled;
} memory;

/* ---- the bucket ---------------------------------------------------------------------------- */

objs_bucket *objs_bucket_create(void)
{
    objs_bucket *b = vv_calloc(1, sizeof *b);
    if (b == NULL)
        return NULL;
    vv_mutex_init(&b->lock, VV_RANK_LEAF);
    vv_rng_init(&b->rng, 1);
    return b;
}

static void free_upload(upload *u)
{
    for (uint32_t i = 0; i < u->count; i++)
        vv_free(u->data[i]);
    vv_free(u->data);
    vv_free(u->len);
    vv_free(u);
}

void objs_bucket_destroy(objs_bucket *b)
{
    if (b == NULL)
        return;
    for (size_t i = 0; i < b->count; i++) {
        vv_free(b->objects[i].name);
        vv_free(b->objects[i].data);
    }
    for (upload *u = b->uploads, *next; u != NULL; u = next) {
        next = u->next;
        free_upload(u);
    }
    vv_free(b->objects);
    vv_mutex_fini(&b->lock);
    vv_free(b);
}

void objs_bucket_set(objs_bucket *b, const objs_memory_options *options)
{
    vv_mutex_lock(&b->lock);
    b->opt = *options;
    if (b->opt.lag > LAG_MAX)
        b->opt.lag = LAG_MAX;
    vv_rng_init(&b->rng, options->seed);
    atomic_store(&b->slow_ms, options->slow_ms);
    b->requests = 0;
    vv_mutex_unlock(&b->lock);
}

uint64_t objs_bucket_requests(objs_bucket *b)
{
    vv_mutex_lock(&b->lock);
    uint64_t n = b->requests;
    vv_mutex_unlock(&b->lock);
    return n;
}

size_t objs_bucket_objects(objs_bucket *b)
{
    size_t n = 0;
    vv_mutex_lock(&b->lock);
    for (size_t i = 0; i < b->count; i++)
        n += !b->objects[i].gone;
    vv_mutex_unlock(&b->lock);
    return n;
}

size_t objs_bucket_uploads(objs_bucket *b)
{
    size_t n = 0;
    vv_mutex_lock(&b->lock);
    for (upload *u = b->uploads; u != NULL; u = u->next)
        n++;
    vv_mutex_unlock(&b->lock);
    return n;
}

/* The first object at or behind name. */
static size_t find(const objs_bucket *b, const char *name, bool *there)
{
    size_t low = 0;
    size_t high = b->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (strcmp(b->objects[mid].name, name) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    *there = low < b->count && strcmp(b->objects[low].name, name) == 0;
    return low;
}

static object *look_up(objs_bucket *b, const char *name)
{
    bool there;
    size_t i = find(b, name, &there);
    return there && !b->objects[i].gone ? &b->objects[i] : NULL;
}

vv_status objs_bucket_flip(objs_bucket *b, const char *name, uint64_t bit)
{
    vv_mutex_lock(&b->lock);
    object *o = look_up(b, name);
    bool in = o != NULL && bit / 8 < o->info.size;
    if (in)
        o->data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    vv_mutex_unlock(&b->lock);
    return in ? VV_OK : VV_NOT_FOUND;
}

/* Forget objects whose removal every list shows by now. */
static void drop_gone(objs_bucket *b)
{
    size_t kept = 0;
    for (size_t i = 0; i < b->count; i++) {
        object *o = &b->objects[i];
        if (o->gone && o->gone_at + b->opt.lag <= b->changes) {
            vv_free(o->name);
            vv_free(o->data);
        } else {
            b->objects[kept++] = *o;
        }
    }
    b->count = kept;
}

/* ---- faults -------------------------------------------------------------------------------- */

/* What happens to this request. */
static objs_memory_fault draw(objs_bucket *b)
{
    b->requests++;
    if (b->opt.fault_at != 0 && b->requests == b->opt.fault_at)
        return b->opt.fault;
    uint64_t dice = vv_rng_below(&b->rng, 1000);
    for (int f = 1; f < OBJS_MEMORY_FAULT_COUNT; f++) {
        if (dice < b->opt.per_mille[f])
            return (objs_memory_fault)f;
        dice -= b->opt.per_mille[f];
    }
    return OBJS_MEMORY_NONE;
}

static vv_status said(vv_object_outcome *oc, vv_object_fault fault, vv_status st, int http,
                      const char *code, vv_error *err)
{
    oc->http = http;
    oc->unknown = fault == VV_OBJECT_FAULT_TIMEOUT || http == 500;
    (void)snprintf(oc->code, sizeof oc->code, "%s", code);
    (void)snprintf(oc->request_id, sizeof oc->request_id, "memory");
    bool again = fault == VV_OBJECT_FAULT_TIMEOUT || fault == VV_OBJECT_FAULT_SERVER ||
                 fault == VV_OBJECT_FAULT_THROTTLED;
    if (http == 0)
        return objs_fault(oc, fault, again, vv_fail(err, st, "no answer in time"));
    return objs_fault(oc, fault, again,
                      vv_fail(err, st, "%s (HTTP %d, request memory)", code, http));
}

/* Faults that come before anything is done. */
static vv_status before(memory *m, objs_memory_fault fault, vv_object_outcome *oc, vv_error *err)
{
    objs_bucket *b = m->bucket;
    if (atomic_load(&m->cancelled))
        return objs_fault(oc, VV_OBJECT_FAULT_LOCAL, false,
                          vv_fail(err, VV_CLOSED, "the store was cancelled"));
    if (b->opt.outage)
        return said(oc, VV_OBJECT_FAULT_SERVER, VV_IO, 503, "ServiceUnavailable", err);
    switch (fault) {
    case OBJS_MEMORY_ERROR:
        return said(oc, VV_OBJECT_FAULT_SERVER, VV_IO, 500, "InternalError", err);
    case OBJS_MEMORY_THROTTLE:
        oc->retry_after_ms = 1;
        return said(oc, VV_OBJECT_FAULT_THROTTLED, VV_BUSY, 503, "SlowDown", err);
    case OBJS_MEMORY_TIMEOUT:
        return said(oc, VV_OBJECT_FAULT_TIMEOUT, VV_TIMEOUT, 0, "", err);
    default:
        return VV_OK;
    }
}

/* Faults of the answer to what was done. */
static vv_status after(objs_memory_fault fault, vv_object_outcome *oc, vv_error *err)
{
    if (fault == OBJS_MEMORY_TIMEOUT_AFTER)
        return said(oc, VV_OBJECT_FAULT_TIMEOUT, VV_TIMEOUT, 0, "", err);
    if (fault == OBJS_MEMORY_ERROR_AFTER)
        return said(oc, VV_OBJECT_FAULT_SERVER, VV_IO, 500, "InternalError", err);
    return VV_OK;
}

/* A slow answer, with the lock given back. */
static void linger(memory *m, objs_memory_fault fault)
{
    uint32_t ms = atomic_load(&m->bucket->slow_ms);
    if (fault == OBJS_MEMORY_SLOW && ms != 0)
        vv_clock_sleep(m->clock, (int64_t)ms * VV_NS_PER_MS);
}

/* ---- objects ------------------------------------------------------------------------------- */

static void etag_of(const uint8_t *data, size_t len, char out[80])
{
    (void)snprintf(out, 80, "%016" PRIx64, vv_hash64(data, len));
}

static vv_status too_full(vv_object_outcome *oc, vv_error *err)
{
    return said(oc, VV_OBJECT_FAULT_FULL, VV_NO_SPACE, 507, "QuotaExceeded", err);
}

/* Put data, which it takes with VV_OK, under name. */
static vv_status store_object(memory *m, const char *name, uint8_t *data, size_t len, uint32_t crc,
                              vv_object_info *info, vv_object_outcome *oc, vv_error *err)
{
    objs_bucket *b = m->bucket;
    bool there;
    size_t i = find(b, name, &there);
    uint64_t old = there && !b->objects[i].gone ? b->objects[i].info.size : 0;
    if (b->opt.capacity != 0 && b->bytes - old + len > b->opt.capacity)
        return too_full(oc, err);
    if (!there) {
        if (b->count == b->cap) {
            size_t cap = b->cap == 0 ? 16 : b->cap * 2;
            object *more = vv_realloc(b->objects, cap * sizeof *more);
            if (more == NULL)
                return objs_fault_local(oc, vv_fail(err, VV_NO_MEMORY, "object"));
            b->objects = more;
            b->cap = cap;
        }
        char *copy = vv_strdup(name);
        if (copy == NULL)
            return objs_fault_local(oc, vv_fail(err, VV_NO_MEMORY, "object"));
        memmove(b->objects + i + 1, b->objects + i, (b->count - i) * sizeof *b->objects);
        b->objects[i] = (object){.name = copy};
        b->count++;
    }
    object *o = &b->objects[i];
    vv_free(o->data);
    o->data = data;
    o->gone = false;
    o->change = ++b->changes;
    o->info = (vv_object_info){
        .size = len, .mtime_ns = vv_clock_wall(m->clock), .has_crc = true, .crc32c = crc};
    etag_of(data, len, o->info.etag);
    b->bytes += len - old;
    *info = o->info;
    drop_gone(b);
    return VV_OK;
}

static vv_status gather(const vv_slice *piece, size_t count, uint8_t **out, size_t *out_len,
                        vv_object_outcome *oc, vv_error *err)
{
    size_t len = 0;
    for (size_t i = 0; i < count; i++)
        len += piece[i].len;
    uint8_t *data = vv_alloc(len + 1);
    if (data == NULL)
        return objs_fault_local(oc, vv_fail(err, VV_NO_MEMORY, "%zu bytes of an object", len));
    for (size_t i = 0, at = 0; i < count; at += piece[i++].len)
        if (piece[i].len != 0)
            memcpy(data + at, piece[i].data, piece[i].len);
    *out = data;
    *out_len = len;
    return VV_OK;
}

static vv_status exists(vv_object_outcome *oc, vv_error *err)
{
    return said(oc, VV_OBJECT_FAULT_EXISTS, VV_CONFLICT, 412, "PreconditionFailed", err);
}

static vv_status missing(vv_object_outcome *oc, const char *code, vv_error *err)
{
    return said(oc, VV_OBJECT_FAULT_MISSING, VV_NOT_FOUND, 404, code, err);
}

static vv_status no_condition(vv_object_outcome *oc, vv_error *err)
{
    return said(oc, VV_OBJECT_FAULT_UNSUPPORTED, VV_UNSUPPORTED, 501, "NotImplemented", err);
}

static vv_status memory_put(void *self, const char *name, const vv_slice *piece, size_t count,
                            uint32_t crc, bool create, vv_object_info *info, vv_object_outcome *oc,
                            vv_error *err)
{
    memory *m = self;
    uint8_t *data = NULL;
    size_t len = 0;
    vv_status st = gather(piece, count, &data, &len, oc, err);
    if (st != VV_OK)
        return st;
    vv_mutex_lock(&m->bucket->lock);
    objs_memory_fault fault = draw(m->bucket);
    st = before(m, fault, oc, err);
    if (st == VV_OK && create && m->bucket->opt.no_conditional_put)
        st = no_condition(oc, err);
    if (st == VV_OK && create && look_up(m->bucket, name) != NULL)
        st = exists(oc, err);
    if (st == VV_OK)
        st = store_object(m, name, data, len, crc, info, oc, err);
    if (st != VV_OK)
        vv_free(data);
    else
        st = after(fault, oc, err);
    if (st == VV_OK && fault == OBJS_MEMORY_WRONG_ETAG)
        info->etag[0] ^= 1;
    vv_mutex_unlock(&m->bucket->lock);
    linger(m, fault);
    return st;
}

static vv_status memory_get(void *self, const char *name, uint64_t offset, void *out, size_t len,
                            size_t *got, vv_object_info *info, vv_object_outcome *oc, vv_error *err)
{
    memory *m = self;
    vv_mutex_lock(&m->bucket->lock);
    objs_memory_fault fault = draw(m->bucket);
    vv_status st = before(m, fault, oc, err);
    const object *o = st == VV_OK ? look_up(m->bucket, name) : NULL;
    if (st == VV_OK && o == NULL)
        st = missing(oc, "NoSuchKey", err);
    if (st == VV_OK) {
        size_t n = offset < o->info.size ? (size_t)vv_min_u64(len, o->info.size - offset) : 0;
        if (n != 0)
            memcpy(out, o->data + offset, n);
        if (n != 0 && fault == OBJS_MEMORY_FLIP)
            ((uint8_t *)out)[vv_rng_below(&m->bucket->rng, n)] ^= 1;
        *got = n;
        *info = o->info;
        if (fault == OBJS_MEMORY_WRONG_ETAG)
            info->etag[0] ^= 1;
        if (fault == OBJS_MEMORY_PARTIAL && n != 0) {
            oc->http = 200;
            st = objs_fault(
                oc, VV_OBJECT_FAULT_NETWORK, true,
                vv_fail(err, VV_IO, "the answer broke off after %zu of %zu bytes", n / 2, n));
        } else {
            st = after(fault, oc, err);
        }
    }
    vv_mutex_unlock(&m->bucket->lock);
    linger(m, fault);
    return st;
}

static vv_status memory_head(void *self, const char *name, vv_object_info *info,
                             vv_object_outcome *oc, vv_error *err)
{
    memory *m = self;
    vv_mutex_lock(&m->bucket->lock);
    objs_memory_fault fault = draw(m->bucket);
    vv_status st = before(m, fault, oc, err);
    const object *o = st == VV_OK ? look_up(m->bucket, name) : NULL;
    if (st == VV_OK && o == NULL)
        st = missing(oc, "NotFound", err);
    if (st == VV_OK) {
        *info = o->info;
        if (fault == OBJS_MEMORY_WRONG_ETAG)
            info->etag[0] ^= 1;
        st = after(fault, oc, err);
    }
    vv_mutex_unlock(&m->bucket->lock);
    linger(m, fault);
    return st;
}

/* A list that lags shows what the bucket was `lag` changes ago, but for objects that were replaced.
 */
static bool is_listed(const objs_bucket *b, const object *o)
{
    uint64_t seen = b->changes - vv_min_u64(b->opt.lag, b->changes);
    return o->gone ? o->gone_at > seen && o->change <= seen : o->change <= seen;
}

static vv_status memory_list(void *self, const char *prefix, const char *start_after,
                             uint32_t limit, vv_object_each each, void *ctx, bool *more,
                             vv_object_outcome *oc, vv_error *err)
{
    memory *m = self;
    objs_bucket *b = m->bucket;
    size_t prefix_len = strlen(prefix);
    vv_mutex_lock(&b->lock);
    objs_memory_fault fault = draw(b);
    vv_status st = before(m, fault, oc, err);
    if (st == VV_OK)
        st = after(fault, oc, err);
    /* each() calls nothing of the store: the lock may stay. */
    bool there;
    bool full = false;
    size_t i = find(b, strcmp(prefix, start_after) > 0 ? prefix : start_after, &there);
    for (; st == VV_OK && i < b->count; i++) {
        const object *o = &b->objects[i];
        if (strcmp(o->name, start_after) <= 0 || !is_listed(b, o))
            continue;
        if (strncmp(o->name, prefix, prefix_len) != 0)
            break;
        if (limit == 0) {
            full = true;
            break;
        }
        limit--;
        if (!each(ctx, o->name, &o->info))
            break;
    }
    *more = full;
    vv_mutex_unlock(&b->lock);
    linger(m, fault);
    return st;
}

static vv_status memory_remove(void *self, const char *name, vv_object_outcome *oc, vv_error *err)
{
    memory *m = self;
    objs_bucket *b = m->bucket;
    vv_mutex_lock(&b->lock);
    objs_memory_fault fault = draw(b);
    vv_status st = before(m, fault, oc, err);
    if (st == VV_OK && b->opt.kept != NULL && strstr(name, b->opt.kept) != NULL)
        st = said(oc, VV_OBJECT_FAULT_DENIED, VV_IO, 403, "AccessDenied", err);
    object *o = st == VV_OK ? look_up(b, name) : NULL;
    if (o != NULL) {
        b->bytes -= o->info.size;
        o->gone = true;
        o->gone_at = ++b->changes;
        drop_gone(b);
    }
    if (st == VV_OK)
        st = after(fault, oc, err);
    vv_mutex_unlock(&b->lock);
    linger(m, fault);
    return st;
}

/* ---- uploads ------------------------------------------------------------------------------- */

static vv_status memory_begin(void *self, const char *name, bool create,
                              char id[VV_OBJECT_UPLOAD_ID_MAX], void **state, vv_object_outcome *oc,
                              vv_error *err)
{
    memory *m = self;
    objs_bucket *b = m->bucket;
    (void)name;
    (void)create;
    upload *u = vv_calloc(1, sizeof *u);
    if (u == NULL)
        return objs_fault_local(oc, vv_fail(err, VV_NO_MEMORY, "upload"));
    vv_mutex_lock(&b->lock);
    objs_memory_fault fault = draw(b);
    vv_status st = before(m, fault, oc, err);
    if (st == VV_OK) {
        (void)snprintf(u->id, sizeof u->id, "u%" PRIu64, ++b->ids);
        u->next = b->uploads;
        b->uploads = u;
        (void)snprintf(id, VV_OBJECT_UPLOAD_ID_MAX, "%s", u->id);
        *state = NULL;
        st = after(fault, oc, err);
    } else {
        vv_free(u);
    }
    vv_mutex_unlock(&b->lock);
    linger(m, fault);
    return st;
}

static upload **find_upload(objs_bucket *b, const char *id)
{
    for (upload **u = &b->uploads; *u != NULL; u = &(*u)->next)
        if (strcmp((*u)->id, id) == 0)
            return u;
    return NULL;
}

/* Takes data. */
static vv_status keep_part(upload *u, uint32_t number, uint8_t *data, size_t len,
                           vv_object_outcome *oc, vv_error *err)
{
    if (number > u->count) {
        uint8_t **more = vv_realloc(u->data, number * sizeof *more);
        if (more != NULL)
            u->data = more;
        size_t *lens = vv_realloc(u->len, number * sizeof *lens);
        if (lens != NULL)
            u->len = lens;
        if (more == NULL || lens == NULL) {
            vv_free(data);
            return objs_fault_local(oc, vv_fail(err, VV_NO_MEMORY, "part %" PRIu32, number));
        }
        for (uint32_t i = u->count; i < number; i++) {
            u->data[i] = NULL;
            u->len[i] = 0;
        }
        u->count = number;
    }
    vv_free(u->data[number - 1]);
    u->data[number - 1] = data;
    u->len[number - 1] = len;
    return VV_OK;
}

static vv_status memory_part(void *self, const char *name, const char *id, void *state,
                             uint32_t number, const vv_slice *piece, size_t count, char tag[80],
                             vv_object_outcome *oc, vv_error *err)
{
    memory *m = self;
    objs_bucket *b = m->bucket;
    (void)name;
    (void)state;
    uint8_t *data = NULL;
    size_t len = 0;
    vv_status st = gather(piece, count, &data, &len, oc, err);
    if (st != VV_OK)
        return st;
    vv_mutex_lock(&b->lock);
    objs_memory_fault fault = draw(b);
    st = before(m, fault, oc, err);
    upload **u = st == VV_OK ? find_upload(b, id) : NULL;
    if (st == VV_OK && u == NULL)
        st = missing(oc, "NoSuchUpload", err);
    etag_of(data, len, tag);
    if (st != VV_OK || fault == OBJS_MEMORY_PARTIAL) {
        vv_free(data); /* PARTIAL: said yes, and lost it */
    } else {
        st = keep_part(*u, number, data, len, oc, err);
        if (st == VV_OK)
            st = after(fault, oc, err);
        if (fault == OBJS_MEMORY_WRONG_ETAG)
            tag[0] ^= 1;
    }
    vv_mutex_unlock(&b->lock);
    linger(m, fault);
    return st;
}

/* The parts as one, when they are those the caller was told of. */
static vv_status join_parts(upload *u, const char (*tag)[80], uint32_t count, uint8_t **out,
                            size_t *out_len, vv_object_outcome *oc, vv_error *err)
{
    char etag[80];
    size_t len = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (i < u->count && u->data[i] != NULL)
            etag_of(u->data[i], u->len[i], etag);
        if (i >= u->count || u->data[i] == NULL || strcmp(etag, tag[i]) != 0)
            return said(oc, VV_OBJECT_FAULT_REQUEST, VV_IO, 400, "InvalidPart", err);
        len += u->len[i];
    }
    uint8_t *data = vv_alloc(len + 1);
    if (data == NULL)
        return objs_fault_local(oc, vv_fail(err, VV_NO_MEMORY, "%zu bytes of an upload", len));
    size_t at = 0;
    for (uint32_t i = 0; i < count; at += u->len[i++])
        memcpy(data + at, u->data[i], u->len[i]);
    *out = data;
    *out_len = len;
    return VV_OK;
}

static vv_status memory_complete(void *self, const char *name, const char *id, void *state,
                                 const char (*tag)[80], uint32_t count, uint32_t crc, bool create,
                                 vv_object_info *info, vv_object_outcome *oc, vv_error *err)
{
    memory *m = self;
    objs_bucket *b = m->bucket;
    (void)state;
    uint8_t *data = NULL;
    size_t len = 0;
    vv_mutex_lock(&b->lock);
    objs_memory_fault fault = draw(b);
    vv_status st = before(m, fault, oc, err);
    upload **at = st == VV_OK ? find_upload(b, id) : NULL;
    if (st == VV_OK && at == NULL)
        st = missing(oc, "NoSuchUpload", err);
    if (st == VV_OK && create && look_up(b, name) != NULL)
        st = exists(oc, err);
    if (st == VV_OK && at != NULL)
        st = join_parts(*at, tag, count, &data, &len, oc, err);
    if (st == VV_OK) {
        st = store_object(m, name, data, len, crc, info, oc, err);
        if (st != VV_OK)
            vv_free(data);
    }
    if (st == VV_OK && at != NULL) {
        upload *u = *at;
        *at = u->next;
        free_upload(u);
        st = after(fault, oc, err);
    }
    vv_mutex_unlock(&b->lock);
    linger(m, fault);
    return st;
}

static vv_status memory_abort(void *self, const char *name, const char *id, void *state,
                              vv_object_outcome *oc, vv_error *err)
{
    memory *m = self;
    objs_bucket *b = m->bucket;
    (void)name;
    (void)state;
    vv_mutex_lock(&b->lock);
    objs_memory_fault fault = draw(b);
    vv_status st = before(m, fault, oc, err);
    upload **at = st == VV_OK ? find_upload(b, id) : NULL;
    if (st == VV_OK && at == NULL)
        st = missing(oc, "NoSuchUpload", err);
    if (st == VV_OK && at != NULL) {
        upload *u = *at;
        *at = u->next;
        free_upload(u);
        st = after(fault, oc, err);
    }
    vv_mutex_unlock(&b->lock);
    linger(m, fault);
    return st;
}

/* ---- open ---------------------------------------------------------------------------------- */

/* "seed=7,error=20,timeout_after=5,slow=3,slow_ms=10,lag=2": the faults a user may ask for. */
static vv_status read_params(const char *text, objs_memory_options *out, vv_error *err)
{
    static const char *const names[OBJS_MEMORY_FAULT_COUNT] = {
        "",        "error",      "throttle", "timeout", "timeout_after", "error_after",
        "partial", "wrong_etag", "flip",     "slow"};
    while (*text != '\0') {
        char key[24];
        size_t n = strcspn(text, "=,");
        char *end = NULL;
        uint64_t value = text[n] == '=' ? strtoull(text + n + 1, &end, 10) : 0;
        bool ok = n < sizeof key && end != NULL && end != text + n + 1 &&
                  (*end == '\0' || *end == ',') && value <= UINT32_MAX;
        (void)snprintf(key, sizeof key, "%.*s", (int)vv_min_u64(n, sizeof key - 1), text);
        int found = 0;
        for (int f = 1; ok && f < OBJS_MEMORY_FAULT_COUNT; f++)
            if (strcmp(key, names[f]) == 0) {
                out->per_mille[f] = (uint32_t)value;
                found = 1;
            }
        if (ok && strcmp(key, "seed") == 0)
            out->seed = value;
        else if (ok && strcmp(key, "slow_ms") == 0)
            out->slow_ms = (uint32_t)value;
        else if (ok && strcmp(key, "lag") == 0)
            out->lag = (uint32_t)value;
        else if (ok && strcmp(key, "capacity") == 0)
            out->capacity = value;
        else
            ok = ok && found;
        if (!ok)
            return vv_fail(err, VV_INVALID,
                           "params of a store in memory: '%s' at '%.20s': seed, slow_ms, lag, "
                           "capacity or a fault per mille, as error=20,timeout_after=5",
                           key, text);
        text = *end == ',' ? end + 1 : end;
    }
    return VV_OK;
}

static vv_status memory_open(const vv_object_options *options, void **self, vv_error *err)
{
    const objs_options *o = (const objs_options *)options;
    objs_memory_options faults = {.seed = o->env.seed};
    memory *m = vv_calloc(1, sizeof *m);
    if (m == NULL)
        return vv_fail(err, VV_NO_MEMORY, "store in memory");
    m->clock = o->env.clock;
    m->bucket = o->bucket;
    if (m->bucket == NULL) {
        m->own = true;
        m->bucket = objs_bucket_create();
    }
    vv_status st = m->bucket == NULL ? vv_fail(err, VV_NO_MEMORY, "bucket in memory") : VV_OK;
    if (st == VV_OK && options->params != NULL) {
        st = read_params(options->params, &faults, err);
        if (st == VV_OK)
            objs_bucket_set(m->bucket, &faults);
    }
    if (st != VV_OK) {
        if (m->own)
            objs_bucket_destroy(m->bucket);
        vv_free(m);
        return st;
    }
    *self = m;
    return VV_OK;
}

static void memory_close(void *self)
{
    memory *m = self;
    if (m->own)
        objs_bucket_destroy(m->bucket);
    vv_free(m);
}

static void memory_cancel(void *self)
{
    atomic_store(&((memory *)self)->cancelled, true);
}

static void memory_limits(void *self, vv_object_limits *out)
{
    (void)self;
    out->part_size_min = 1;
}

const vv_object_ops objs_memory_ops = {
    .size = sizeof(vv_object_ops),
    .abi = VV_OBJECT_ABI,
    .name = "memory",
    .open = memory_open,
    .close = memory_close,
    .cancel = memory_cancel,
    .limits = memory_limits,
    .put = memory_put,
    .get = memory_get,
    .head = memory_head,
    .list = memory_list,
    .remove = memory_remove,
    .upload_begin = memory_begin,
    .upload_part = memory_part,
    .upload_complete = memory_complete,
    .upload_abort = memory_abort,
};
