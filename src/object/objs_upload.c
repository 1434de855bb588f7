/*
 * objs_upload.c - uploads by parts: which have come, their sums, and what makes them whole.
 *
 * The sum of the whole is joined from those of the parts, which may come in any order. What a part
 * was answered (its tag) is kept in a slot by number. Slots grow under the lock; a part's own slot
 * is written by who sends it, when it is there.
 */
#include "object/object_int.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "base/util.h"

typedef struct part {
    uint64_t size;
    uint32_t crc;
    bool there;
} part;

struct vv_object_upload {
    vv_object_store *store;
    char name[VV_OBJECT_NAME_MAX + 1];
    char full[OBJS_FULL_NAME_MAX + 1];
    char id[VV_OBJECT_UPLOAD_ID_MAX];
    void *state; /* the backend's */
    bool create;
    bool maybe_done; /* a complete of unknown outcome went before */

    vv_mutex lock; /* rank VV_RANK_LEAF: guards the rest */
    part *parts;   /* [cap] */
    char (*tags)[80];
    uint32_t cap;
    uint32_t count; /* the highest number so far */
};

/* ---- begin --------------------------------------------------------------------------------- */

static vv_status try_begin(objs_call *call, void *ctx, vv_error *err)
{
    vv_object_upload *u = ctx;
    vv_object_store *s = call->store;
    if (u->create) {
        vv_object_info info;
        vv_status st = s->ops->head(s->self, u->full, &info, &call->oc, err);
        if (st == VV_OK)
            return objs_fault(&call->oc, VV_OBJECT_FAULT_EXISTS, false,
                              vv_fail(err, VV_CONFLICT, "the name is taken"));
        if (st != VV_NOT_FOUND || strcmp(call->oc.code, "NoSuchBucket") == 0)
            return st;
        call->oc = (vv_object_outcome){.attempts = call->oc.attempts};
    }
    return s->ops->upload_begin(s->self, u->full, u->create, u->id, &u->state, &call->oc, err);
}

static void upload_free(vv_object_upload *u)
{
    vv_mutex_fini(&u->lock);
    vv_free(u->parts);
    vv_free(u->tags);
    vv_free(u);
}

vv_status vv_object_upload_begin(vv_object_store *store, const char *name, unsigned flags,
                                 vv_object_upload **out, vv_object_outcome *outcome, vv_error *err)
{
    if (outcome != NULL)
        *outcome = (vv_object_outcome){.fault = VV_OBJECT_FAULT_LOCAL};
    vv_status st = vv_object_name_check(name, err);
    if (st != VV_OK)
        return st;
    vv_object_upload *u = vv_calloc(1, sizeof *u);
    if (u == NULL)
        return vv_fail(err, VV_NO_MEMORY, "upload of '%s'", name);
    vv_mutex_init(&u->lock, VV_RANK_LEAF);
    u->store = store;
    u->create = flags == VV_OBJECT_CREATE;
    memcpy(u->name, name, strlen(name) + 1);
    st = objs_full_name(store, name, u->full, err);
    if (st == VV_OK)
        st = objs_call_run(store, VV_OBJECT_OP_BEGIN, u->name, try_begin, u, outcome, err);
    if (st != VV_OK) {
        upload_free(u);
        return st;
    }
    *out = u;
    return VV_OK;
}

/* ---- part ---------------------------------------------------------------------------------- */

typedef struct part_ctx {
    vv_object_upload *u;
    uint32_t number;
    const vv_slice *piece;
    size_t count;
    uint64_t size;
    char tag[80];
} part_ctx;

static vv_status try_part(objs_call *call, void *ctx, vv_error *err)
{
    part_ctx *p = ctx;
    vv_object_store *s = call->store;
    memset(p->tag, 0, sizeof p->tag);
    call->bytes = p->size;
    return s->ops->upload_part(s->self, p->u->full, p->u->id, p->u->state, p->number, p->piece,
                               p->count, p->tag, &call->oc, err);
}

/* Slots up to number. */
static vv_status make_room(vv_object_upload *u, uint32_t number, vv_error *err) VV_REQUIRES(u->lock)
{
    if (number <= u->cap)
        return VV_OK;
    uint32_t cap = u->cap < 16 ? 16 : u->cap * 2;
    if (cap < number)
        cap = number;
    part *parts = vv_realloc(u->parts, cap * sizeof *parts);
    if (parts != NULL)
        u->parts = parts;
    char(*tags)[80] = vv_realloc(u->tags, cap * sizeof *tags);
    if (tags != NULL)
        u->tags = tags;
    if (parts == NULL || tags == NULL)
        return vv_fail(err, VV_NO_MEMORY, "part %" PRIu32 " of '%s'", number, u->name);
    memset(parts + u->cap, 0, (cap - u->cap) * sizeof *parts);
    memset(tags + u->cap, 0, (cap - u->cap) * sizeof *tags);
    u->cap = cap;
    return VV_OK;
}

static vv_status check_part(const vv_object_upload *u, const part_ctx *p, vv_error *err)
{
    const vv_object_limits *l = &u->store->limits;
    if (p->number == 0 || p->number > l->part_count_max)
        return vv_fail(err, VV_INVALID, "part %" PRIu32 " of '%s': 1 to %" PRIu32, p->number,
                       u->name, l->part_count_max);
    if (p->size == 0 || p->size > l->part_size_max)
        return vv_fail(err, VV_INVALID,
                       "part %" PRIu32 " of '%s' has %" PRIu64 " bytes: 1 to %" PRIu64, p->number,
                       u->name, p->size, l->part_size_max);
    return VV_OK;
}

vv_status vv_object_upload_part(vv_object_upload *u, uint32_t number, const vv_slice *piece,
                                size_t count, vv_object_outcome *outcome, vv_error *err)
{
    part_ctx p = {.u = u, .number = number, .piece = piece, .count = count};
    uint32_t crc = 0;
    if (outcome != NULL)
        *outcome = (vv_object_outcome){.fault = VV_OBJECT_FAULT_LOCAL};
    for (size_t i = 0; i < count; i++) {
        p.size += piece[i].len;
        crc = vv_crc32c(crc, piece[i].data, piece[i].len);
    }
    vv_status st = check_part(u, &p, err);
    if (st != VV_OK)
        return st;
    vv_mutex_lock(&u->lock);
    if (!u->store->limits.parallel_parts && number != u->count + 1)
        st = vv_fail(err, VV_INVALID,
                     "part %" PRIu32 " of '%s' after part %" PRIu32
                     ": this store takes parts one after another",
                     number, u->name, u->count);
    if (st == VV_OK)
        st = make_room(u, number, err);
    vv_mutex_unlock(&u->lock);
    if (st != VV_OK)
        return st;
    st = objs_call_run(u->store, VV_OBJECT_OP_PART, u->name, try_part, &p, outcome, err);
    if (st != VV_OK)
        return st;
    vv_mutex_lock(&u->lock);
    u->parts[number - 1] = (part){.size = p.size, .crc = crc, .there = true};
    memcpy(u->tags[number - 1], p.tag, sizeof p.tag);
    if (number > u->count)
        u->count = number;
    vv_mutex_unlock(&u->lock);
    return VV_OK;
}

/* ---- complete and abort -------------------------------------------------------------------- */

typedef struct complete_ctx {
    vv_object_upload *u;
    uint64_t size;
    uint32_t crc;
    bool in_doubt; /* a try whose answer was lost may have done it */
    vv_object_info info;
} complete_ctx;

/* The upload is gone, or the name taken, and a try of ours may have been why. */
static bool is_ours(objs_call *call, complete_ctx *c)
{
    vv_object_info there = {0};
    vv_object_outcome oc = {0};
    vv_status st = call->store->ops->head(call->store->self, c->u->full, &there, &oc, NULL);
    if (st != VV_OK || there.size != c->size || !there.has_crc || there.crc32c != c->crc)
        return false;
    c->info = there;
    return true;
}

static vv_status try_complete(objs_call *call, void *ctx, vv_error *err)
{
    complete_ctx *c = ctx;
    vv_object_upload *u = c->u;
    vv_object_store *s = call->store;
    c->info = (vv_object_info){0};
    c->in_doubt = c->in_doubt || call->unknown;
    vv_status st =
        s->ops->upload_complete(s->self, u->full, u->id, u->state, (const char(*)[80])u->tags,
                                u->count, c->crc, u->create, &c->info, &call->oc, err);
    if ((st == VV_NOT_FOUND || st == VV_CONFLICT) && (call->unknown || u->maybe_done) &&
        is_ours(call, c)) {
        vv_object_outcome ignored = {0};
        (void)s->ops->upload_abort(s->self, u->full, u->id, u->state, &ignored, NULL);
        u->state = NULL;
        call->oc.settled = true;
        st = VV_OK;
    }
    return st;
}

static vv_status check_parts(vv_object_upload *u, complete_ctx *c, vv_error *err)
    VV_REQUIRES(u->lock)
{
    if (u->count == 0)
        return vv_fail(err, VV_INVALID, "upload of '%s' has no part: put an empty object", u->name);
    for (uint32_t i = 0; i < u->count; i++) {
        const part *p = &u->parts[i];
        if (!p->there)
            return vv_fail(err, VV_INVALID, "upload of '%s': part %" PRIu32 " is missing", u->name,
                           i + 1);
        if (i + 1 < u->count && p->size < u->store->limits.part_size_min)
            return vv_fail(err, VV_INVALID,
                           "upload of '%s': part %" PRIu32 " has %" PRIu64
                           " bytes: this store wants %" PRIu64 " of all but the last",
                           u->name, i + 1, p->size, u->store->limits.part_size_min);
        c->crc = objs_crc32c_join(c->crc, p->crc, p->size);
        c->size += p->size;
    }
    return VV_OK;
}

vv_status vv_object_upload_complete(vv_object_upload *u, vv_object_info *info,
                                    vv_object_outcome *outcome, vv_error *err)
{
    complete_ctx c = {.u = u};
    vv_object_outcome oc = {.fault = VV_OBJECT_FAULT_LOCAL};
    vv_mutex_lock(&u->lock);
    vv_status st = check_parts(u, &c, err);
    vv_mutex_unlock(&u->lock);
    if (st == VV_OK)
        st = objs_call_run(u->store, VV_OBJECT_OP_COMPLETE, u->name, try_complete, &c, &oc, err);
    /* An upload that is gone, or a name that is taken, may be so by a try whose answer was lost: no
     * store says which, and where the sums do not tell either the doubt stays. */
    oc.unknown = oc.unknown || (st != VV_OK && (u->maybe_done || c.in_doubt));
    if (outcome != NULL)
        *outcome = oc;
    if (st != VV_OK) {
        u->maybe_done = u->maybe_done || oc.unknown;
        return st;
    }
    if (info != NULL) {
        *info = c.info;
        info->size = c.size;
    }
    upload_free(u);
    return VV_OK;
}

static vv_status try_abort(objs_call *call, void *ctx, vv_error *err)
{
    vv_object_upload *u = ctx;
    vv_object_store *s = call->store;
    vv_status st = s->ops->upload_abort(s->self, u->full, u->id, u->state, &call->oc, err);
    u->state = NULL;
    return st == VV_NOT_FOUND && strcmp(call->oc.code, "NoSuchBucket") != 0 ? VV_OK : st;
}

vv_status vv_object_upload_abort(vv_object_upload *u, vv_object_outcome *outcome, vv_error *err)
{
    if (u == NULL)
        return VV_OK;
    vv_status st = objs_call_run(u->store, VV_OBJECT_OP_ABORT, u->name, try_abort, u, outcome, err);
    upload_free(u);
    return st;
}
