/*
 * objs_store.c - a store: opened, closed, and the calls that are one try of one operation.
 */
#include "object/object_int.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "base/options.h"
#include "base/util.h"

/* ---- open and close ------------------------------------------------------------------------ */

static const vv_object_options option_defaults = VV_OBJECT_OPTIONS_INIT;

static vv_status copy_strings(vv_object_store *s, vv_error *err)
{
    vv_object_options *o = &s->opt.opt;
    const char **strings[] = {
        &o->backend,    &o->endpoint,   &o->bucket,     &o->prefix,        &o->region,
        &o->addressing, &o->access_key, &o->secret_key, &o->session_token, &o->credentials_file,
        &o->profile,    &o->ca_file,    &o->sse,        &o->sse_key_id,    &o->params};
    for (size_t i = 0; i < ARRAY_LEN(strings); i++) {
        if (*strings[i] == NULL)
            continue;
        vv_slice copy = vv_arena_dup(&s->strings, vv_slice_str(*strings[i]));
        if (copy.data == NULL)
            return vv_fail(err, VV_NO_MEMORY, "options of an object store: over 64 KiB, or memory");
        *strings[i] = (const char *)copy.data;
    }
    return VV_OK;
}

static vv_status check_options(vv_object_store *s, vv_error *err)
{
    vv_object_options *o = &s->opt.opt;
    if (o->initial_backoff_ms == 0 || o->max_backoff_ms < o->initial_backoff_ms)
        return vv_fail(err, VV_INVALID,
                       "max_backoff_ms %" PRIu32 " is less than initial_backoff_ms %" PRIu32
                       ", or that is 0",
                       o->max_backoff_ms, o->initial_backoff_ms);
    if (o->concurrency == 0 || o->budget_ms == 0 || o->request_timeout_ms == 0 ||
        o->connect_timeout_ms == 0)
        return vv_fail(err, VV_INVALID, "%s is 0: it must be at least 1",
                       o->concurrency == 0          ? "concurrency"
                       : o->budget_ms == 0          ? "budget_ms"
                       : o->request_timeout_ms == 0 ? "request_timeout_ms"
                                                    : "connect_timeout_ms");
    if (o->prefix == NULL || o->prefix[0] == '\0')
        return VV_OK;
    vv_status st = objs_name_form("prefix", o->prefix, VV_OBJECT_PREFIX_MAX, true, err);
    if (st != VV_OK)
        return st;
    s->prefix_len = strlen(o->prefix);
    memcpy(s->prefix, o->prefix, s->prefix_len);
    if (s->prefix[s->prefix_len - 1] != '/')
        s->prefix[s->prefix_len++] = '/';
    s->prefix[s->prefix_len] = '\0';
    return VV_OK;
}

/* "s3://bucket/prefix". */
static vv_status make_label(vv_object_store *s, vv_error *err)
{
    const char *bucket = s->opt.opt.bucket == NULL ? "" : s->opt.opt.bucket;
    size_t len = strlen(s->ops->name) + 3 + strlen(bucket) + 1 + s->prefix_len + 1;
    s->label = vv_alloc(len);
    if (s->label == NULL)
        return vv_fail(err, VV_NO_MEMORY, "name of an object store");
    (void)snprintf(s->label, len, "%s://%s%s%.*s", s->ops->name, bucket,
                   s->prefix_len == 0 ? "" : "/", s->prefix_len == 0 ? 0 : (int)s->prefix_len - 1,
                   s->prefix);
    return VV_OK;
}

static vv_status choose(vv_object_store *s, vv_error *err)
{
    static const vv_object_ops *const ours[] = {&objs_file_ops, &objs_memory_ops, &objs_s3_ops,
                                                &objs_gcs_xml_ops};
    const char *want = s->opt.opt.backend;
    if (s->ops != NULL)
        return VV_OK;
    if (want == NULL)
        return vv_fail(err, VV_INVALID,
                       "storage.backend is missing: file, memory, s3, gcs or the path of a .so");
    /* Keys that were given say XML; the key file of a service account says JSON. */
    const vv_object_options *o = &s->opt.opt;
    bool account = o->access_key == NULL && (o->credentials_file != NULL ||
                                             getenv("GOOGLE_APPLICATION_CREDENTIALS") != NULL);
    if (strcmp(want, "gcs") == 0 && account) {
        s->ops = &objs_gcs_json_ops;
        return VV_OK;
    }
    for (size_t i = 0; i < ARRAY_LEN(ours); i++)
        if (strcmp(want, ours[i]->name) == 0) {
            s->ops = ours[i];
            return VV_OK;
        }
    size_t len = strlen(want);
    if (len > 3 && strcmp(want + len - 3, ".so") == 0)
        return objs_plugin_load(want, &s->ops, &s->library, err);
    return vv_fail(
        err, VV_NOT_FOUND,
        "storage.backend '%.60s' is not known: file, memory, s3, gcs or the path of a .so", want);
}

static vv_status open_store(const vv_env *env, objs_bucket *bucket, const vv_object_ops *ops,
                            const vv_object_options *options, vv_object_store **out, vv_error *err)
{
    vv_object_store *s = vv_calloc(1, sizeof *s);
    if (s == NULL)
        return vv_fail(err, VV_NO_MEMORY, "object store");
    vv_mutex_init(&s->lock, VV_RANK_LEAF);
    vv_cond_init(&s->wake);
    vv_arena_init(&s->strings, 64 * VV_KIB);
    vv_rng_init(&s->rng, env->seed);
    s->opt = (objs_options){.opt = option_defaults, .env = *env, .bucket = bucket};
    s->ops = ops;
    vv_status st = vv_options_take(&s->opt.opt, sizeof s->opt.opt, options,
                                   sizeof(vv_object_options), "vv_object_options", err);
    if (st == VV_OK)
        st = copy_strings(s, err);
    if (st == VV_OK)
        st = check_options(s, err);
    if (st == VV_OK)
        st = choose(s, err);
    if (st == VV_OK)
        st = make_label(s, err);
    if (st == VV_OK) {
        st = s->ops->open(&s->opt.opt, &s->self, err);
        if (st != VV_OK)
            (void)vv_wrap(err, st, "%s", s->label);
    }
    if (st == VV_OK) {
        s->limits = (vv_object_limits){.conditional_put = true,
                                       .parallel_parts = true,
                                       .part_count_max = 10000,
                                       .part_size_min = 1,
                                       .part_size_max = VV_OBJECT_PUT_MAX,
                                       .object_size_max = UINT64_C(5) << 40};
        s->ops->limits(s->self, &s->limits);
        if (s->opt.opt.hedge_after_ms != 0 && env->threads != NULL)
            st = objs_hedges_create(s, &s->hedges, err);
    }
    if (st != VV_OK) {
        vv_object_store_close(s);
        return st;
    }
    *out = s;
    return VV_OK;
}

vv_status objs_open(const vv_env *env, const vv_object_options *options, vv_object_store **out,
                    vv_error *err)
{
    assert(env != NULL && env->clock != NULL && options != NULL && out != NULL);
    return open_store(env, NULL, NULL, options, out, err);
}

vv_status objs_open_bucket(const vv_env *env, objs_bucket *bucket, const vv_object_options *options,
                           vv_object_store **out, vv_error *err)
{
    assert(bucket != NULL);
    return open_store(env, bucket, &objs_memory_ops, options, out, err);
}

vv_status objs_open_ops(const vv_env *env, const vv_object_ops *ops,
                        const vv_object_options *options, vv_object_store **out, vv_error *err)
{
    assert(ops != NULL);
    return open_store(env, NULL, ops, options, out, err);
}

vv_status vv_object_store_open(const vv_object_options *options, vv_object_store **out,
                               vv_error *err)
{
    vv_env env = {.clock = vv_clock_real(), .threads = vv_threads_real()};
    if (options == NULL || out == NULL)
        return vv_fail(err, VV_INVALID, "vv_object_store_open: options or out is NULL");
    vv_status st = vv_random_bytes(&env.seed, sizeof env.seed, err);
    return st == VV_OK ? objs_open(&env, options, out, err) : st;
}

void vv_object_store_close(vv_object_store *s)
{
    if (s == NULL)
        return;
    objs_hedges_destroy(s->hedges); /* who lost a race may be on its way, in the place it took */
    assert(s->in_flight == 0 && s->waiting == 0);
    if (s->self != NULL && s->ops != NULL)
        s->ops->close(s->self);
    if (s->library != NULL)
        (void)dlclose(s->library);
    vv_free(s->label);
    vv_arena_fini(&s->strings);
    vv_cond_fini(&s->wake);
    vv_mutex_fini(&s->lock);
    vv_free(s);
}

void vv_object_store_cancel(vv_object_store *s)
{
    vv_mutex_lock(&s->lock);
    s->cancelled = true;
    vv_cond_broadcast(&s->wake);
    vv_mutex_unlock(&s->lock);
    if (s->ops->cancel != NULL)
        s->ops->cancel(s->self);
}

const char *vv_object_store_name(const vv_object_store *s)
{
    return s->label;
}

void vv_object_store_limits(const vv_object_store *s, vv_object_limits *out)
{
    *out = s->limits;
}

/* ---- put ----------------------------------------------------------------------------------- */

typedef struct put_ctx {
    const char *full;
    const vv_slice *piece;
    size_t count;
    uint64_t size;
    uint32_t crc;
    bool create;
    vv_object_info info;
} put_ctx;

/* The name is taken, and a try of ours before may have been the one that took it. */
static vv_status settle_put(objs_call *call, put_ctx *p, vv_status st, vv_error *err)
{
    vv_object_info there = {0};
    vv_object_outcome oc = {.attempts = call->oc.attempts};
    vv_error ignored;
    vv_status look = call->store->ops->head(call->store->self, p->full, &there, &oc,
                                            err == NULL ? &ignored : err);
    if (look == VV_OK && there.size == p->size && there.has_crc && there.crc32c == p->crc) {
        p->info = there;
        call->oc.settled = true;
        return VV_OK;
    }
    if (look == VV_OK)
        return vv_fail(err, st, "the name is taken by another object of %" PRIu64 " bytes",
                       there.size);
    call->oc = oc; /* not known yet: look again with the next try */
    call->oc.unknown = true;
    if (look == VV_NOT_FOUND)
        return objs_fault(&call->oc, VV_OBJECT_FAULT_SERVER, true,
                          vv_fail(err, VV_IO, "the name is taken, and yet not there"));
    return look;
}

static vv_status try_put(objs_call *call, void *ctx, vv_error *err)
{
    put_ctx *p = ctx;
    vv_object_store *s = call->store;
    p->info = (vv_object_info){0};
    vv_status st = s->ops->put(s->self, p->full, p->piece, p->count, p->crc, p->create, &p->info,
                               &call->oc, err);
    if (st == VV_CONFLICT && p->create && call->unknown)
        st = settle_put(call, p, st, err);
    call->bytes = p->size;
    return st;
}

static vv_status sum_pieces(const vv_slice *piece, size_t count, uint64_t max, uint64_t *size,
                            uint32_t *crc, vv_error *err)
{
    uint64_t n = 0;
    uint32_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        if (piece[i].len > max - n)
            return vv_fail(err, VV_INVALID, "more than %" PRIu64 " bytes at once: %s", max,
                           "upload it in parts");
        n += piece[i].len;
        sum = vv_crc32c(sum, piece[i].data, piece[i].len);
    }
    *size = n;
    *crc = sum;
    return VV_OK;
}

/* A call refused before it was begun. */
static vv_status refuse(vv_object_outcome *outcome, vv_status st)
{
    if (outcome != NULL)
        *outcome = (vv_object_outcome){.fault = VV_OBJECT_FAULT_LOCAL};
    return st;
}

vv_status vv_object_put(vv_object_store *s, const char *name, const vv_slice *piece, size_t count,
                        unsigned flags, vv_object_info *info, vv_object_outcome *outcome,
                        vv_error *err)
{
    char full[OBJS_FULL_NAME_MAX + 1];
    put_ctx p = {.full = full, .piece = piece, .count = count, .create = flags == VV_OBJECT_CREATE};
    vv_status st = objs_full_name(s, name, full, err);
    if (st == VV_OK)
        st = sum_pieces(piece, count, VV_OBJECT_PUT_MAX, &p.size, &p.crc, err);
    if (st == VV_OK && p.create && !s->limits.conditional_put)
        st = vv_fail(err, VV_UNSUPPORTED,
                     "%s: knows no put on the condition that a name is free: look first, under a "
                     "name of your own",
                     s->label);
    if (st != VV_OK)
        return refuse(outcome, st);
    st = objs_call_run(s, VV_OBJECT_OP_PUT, name, try_put, &p, outcome, err);
    if (st == VV_OK && info != NULL) {
        p.info.size = p.size;
        p.info.has_crc = true;
        p.info.crc32c = p.crc;
        *info = p.info;
    }
    return st;
}

/* ---- get and head -------------------------------------------------------------------------- */

typedef struct get_ctx {
    const char *full;
    uint64_t offset;
    void *out;
    size_t len;
    size_t got;
    vv_object_info info;
} get_ctx;

static vv_status try_get(objs_call *call, void *ctx, vv_error *err)
{
    get_ctx *g = ctx;
    vv_object_store *s = call->store;
    vv_status st;
    g->info = (vv_object_info){0};
    g->got = 0;
    if (s->hedges != NULL)
        st = objs_hedged_get(call, g->full, g->offset, g->out, g->len, &g->got, &g->info, err);
    else
        st = s->ops->get(s->self, g->full, g->offset, g->out, g->len, &g->got, &g->info, &call->oc,
                         err);
    if (st != VV_OK)
        return st;
    if (g->got > g->len ||
        (g->got < g->len && g->info.size > g->offset && g->got < g->info.size - g->offset))
        return objs_fault(&call->oc, VV_OBJECT_FAULT_ANSWER, true,
                          vv_fail(err, VV_IO, "%zu of %zu bytes came, of an object of %" PRIu64,
                                  g->got, g->len, g->info.size));
    call->bytes = g->got;
    /* Of all the bytes there is a sum. Once more, from the store, before it is believed. */
    if (g->info.has_crc && g->offset == 0 && g->got == g->info.size) {
        uint32_t crc = vv_crc32c(0, g->out, g->got);
        if (crc != g->info.crc32c)
            return objs_fault(&call->oc, VV_OBJECT_FAULT_CORRUPT, true,
                              vv_fail(err, VV_CORRUPT,
                                      "crc32c of %" PRIu64 " bytes is %08" PRIx32
                                      ", stored with %08" PRIx32,
                                      g->info.size, crc, g->info.crc32c));
    }
    return VV_OK;
}

vv_status vv_object_get(vv_object_store *s, const char *name, uint64_t offset, void *out,
                        size_t len, size_t *got, vv_object_info *info, vv_object_outcome *outcome,
                        vv_error *err)
{
    char full[OBJS_FULL_NAME_MAX + 1];
    get_ctx g = {.full = full, .offset = offset, .out = out, .len = len};
    vv_status st = objs_full_name(s, name, full, err);
    if (st == VV_OK && (offset > INT64_MAX || len > INT64_MAX - offset))
        st = vv_fail(err, VV_INVALID, "%zu bytes at %" PRIu64 ": past every object", len, offset);
    if (st != VV_OK)
        return refuse(outcome, st);
    st = objs_call_run(s, VV_OBJECT_OP_GET, name, try_get, &g, outcome, err);
    if (st != VV_OK)
        return st;
    *got = g.got;
    if (info != NULL)
        *info = g.info;
    return VV_OK;
}

typedef struct head_ctx {
    const char *full;
    vv_object_info info;
} head_ctx;

static vv_status try_head(objs_call *call, void *ctx, vv_error *err)
{
    head_ctx *h = ctx;
    h->info = (vv_object_info){0};
    return call->store->ops->head(call->store->self, h->full, &h->info, &call->oc, err);
}

vv_status vv_object_head(vv_object_store *s, const char *name, vv_object_info *info,
                         vv_object_outcome *outcome, vv_error *err)
{
    char full[OBJS_FULL_NAME_MAX + 1];
    head_ctx h = {.full = full};
    vv_status st = objs_full_name(s, name, full, err);
    if (st != VV_OK)
        return refuse(outcome, st);
    st = objs_call_run(s, VV_OBJECT_OP_HEAD, name, try_head, &h, outcome, err);
    if (st == VV_OK && info != NULL)
        *info = h.info;
    return st;
}

/* ---- list ---------------------------------------------------------------------------------- */

typedef struct list_ctx {
    vv_object_store *store;
    const char *prefix;                 /* full */
    char after[OBJS_FULL_NAME_MAX + 1]; /* full; the last given, so that a retry goes on */
    uint32_t left;
    vv_object_each each;
    void *ctx;
    bool more;
    bool stopped;
    bool bad; /* the store broke the order, or named what is not under the prefix */
    char wrong[64];
} list_ctx;

static bool take_name(void *ctx, const char *name, const vv_object_info *info)
{
    list_ctx *l = ctx;
    size_t len = strlen(name);
    if (l->left == 0 || len > OBJS_FULL_NAME_MAX || strcmp(name, l->after) <= 0 ||
        strncmp(name, l->prefix, strlen(l->prefix)) != 0 || len <= l->store->prefix_len) {
        l->bad = true;
        (void)snprintf(l->wrong, sizeof l->wrong, "%s", name);
        return false;
    }
    memcpy(l->after, name, len + 1);
    l->left--;
    const char *mine = name + l->store->prefix_len;
    if (vv_object_name_check(mine, NULL) != VV_OK)
        return true; /* not stored by us: others may keep theirs in the bucket */
    l->stopped = !l->each(l->ctx, mine, info);
    return !l->stopped;
}

static vv_status try_list(objs_call *call, void *ctx, vv_error *err)
{
    list_ctx *l = ctx;
    vv_object_store *s = call->store;
    bool more = false;
    if (l->left == 0 || l->stopped)
        return VV_OK;
    vv_status st =
        s->ops->list(s->self, l->prefix, l->after, l->left, take_name, l, &more, &call->oc, err);
    if (l->bad)
        return objs_fault(
            &call->oc, VV_OBJECT_FAULT_ANSWER, false,
            vv_fail(err, VV_IO, "the store listed '%s' out of order or unasked", l->wrong));
    l->more = more || l->stopped;
    return st;
}

vv_status vv_object_list(vv_object_store *s, const char *prefix, const char *start_after,
                         uint32_t limit, vv_object_each each, void *ctx, bool *more,
                         vv_object_outcome *outcome, vv_error *err)
{
    char full[OBJS_FULL_NAME_MAX + 1];
    list_ctx l = {.store = s, .prefix = full, .left = limit, .each = each, .ctx = ctx};
    prefix = prefix == NULL ? "" : prefix;
    start_after = start_after == NULL ? "" : start_after;
    vv_status st = objs_name_form("list prefix", prefix, VV_OBJECT_NAME_MAX, true, err);
    if (st == VV_OK)
        st = objs_name_form("start_after", start_after, VV_OBJECT_NAME_MAX, true, err);
    if (st == VV_OK && (limit == 0 || limit > VV_OBJECT_LIST_MAX))
        st = vv_fail(err, VV_INVALID, "a list of %" PRIu32 ": 1 to %u", limit, VV_OBJECT_LIST_MAX);
    if (st != VV_OK)
        return refuse(outcome, st);
    memcpy(full, s->prefix, s->prefix_len);
    memcpy(full + s->prefix_len, prefix, strlen(prefix) + 1);
    if (start_after[0] != '\0') {
        memcpy(l.after, s->prefix, s->prefix_len);
        memcpy(l.after + s->prefix_len, start_after, strlen(start_after) + 1);
    }
    st = objs_call_run(s, VV_OBJECT_OP_LIST, prefix, try_list, &l, outcome, err);
    if (st == VV_OK && more != NULL)
        *more = l.more;
    return st;
}

/* ---- remove -------------------------------------------------------------------------------- */

static vv_status try_remove(objs_call *call, void *ctx, vv_error *err)
{
    vv_status st = call->store->ops->remove(call->store->self, ctx, &call->oc, err);
    return st == VV_NOT_FOUND && call->oc.fault != VV_OBJECT_FAULT_REQUEST &&
                   strcmp(call->oc.code, "NoSuchBucket") != 0
               ? VV_OK
               : st;
}

vv_status vv_object_remove(vv_object_store *s, const char *name, vv_object_outcome *outcome,
                           vv_error *err)
{
    char full[OBJS_FULL_NAME_MAX + 1];
    vv_status st = objs_full_name(s, name, full, err);
    if (st != VV_OK)
        return refuse(outcome, st);
    return objs_call_run(s, VV_OBJECT_OP_REMOVE, name, try_remove, full, outcome, err);
}
