/*
 * object_backend.c - an object store of your own, as a shared object for storage.backend.
 *
 *   cc -shared -fPIC -o object_backend.so object_backend.c
 *   vv_object_options.backend = "./object_backend.so"
 *
 * It keeps objects in a sorted list in memory, which is enough to show every operation. What a real
 * one has to get right is said where it is done: the whole object at once, CREATE decided by the
 * store itself, honest outcomes. Names, retries, limits and figures are Varve's part.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "varve/plugin.h"

typedef struct object {
    char *name;
    unsigned char *data;
    vv_object_info info;
    struct object *next; /* in the order of names */
} object;

typedef struct part {
    uint32_t number;
    size_t len;
    unsigned char *data;
    struct part *next; /* in the order of numbers */
} part;

typedef struct store {
    pthread_mutex_t lock; /* guards the list: calls come from several threads */
    object *first;
    unsigned long puts;
} store;

/* Every failure has a status, a sentence and a cause. `retryable` says that another try may help;
 * `unknown` that this one may have been done all the same. Neither is ever so here. */
static vv_status fail(vv_object_outcome *outcome, vv_error *err, vv_status status,
                      vv_object_fault fault, const char *text)
{
    outcome->fault = fault;
    if (err != NULL) {
        err->status = status;
        err->sys = 0;
        (void)snprintf(err->msg, sizeof err->msg, "%s", text);
    }
    return status;
}

static vv_status no_memory(vv_object_outcome *outcome, vv_error *err)
{
    return fail(outcome, err, VV_NO_MEMORY, VV_OBJECT_FAULT_LOCAL, "memory is short");
}

static vv_status missing(vv_object_outcome *outcome, vv_error *err)
{
    return fail(outcome, err, VV_NOT_FOUND, VV_OBJECT_FAULT_MISSING, "no such object");
}

/* The place of a name: the link that leads to it, or to the first one behind. */
static object **find(store *s, const char *name)
{
    object **at = &s->first;
    while (*at != NULL && strcmp((*at)->name, name) < 0)
        at = &(*at)->next;
    return at;
}

static object *look_up(store *s, const char *name)
{
    object *o = *find(s, name);
    return o != NULL && strcmp(o->name, name) == 0 ? o : NULL;
}

static vv_status ex_open(const vv_object_options *options, void **self, vv_error *err)
{
    store *s = calloc(1, sizeof *s);
    (void)options; /* options->params is a text of yours */
    if (s == NULL) {
        vv_object_outcome ignored;
        return no_memory(&ignored, err);
    }
    (void)pthread_mutex_init(&s->lock, NULL);
    *self = s;
    return VV_OK;
}

static void ex_close(void *self)
{
    store *s = self;
    while (s->first != NULL) {
        object *o = s->first;
        s->first = o->next;
        free(o->name);
        free(o->data);
        free(o);
    }
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}

static void ex_limits(void *self, vv_object_limits *out)
{
    (void)self;
    out->part_size_min = 1; /* the rest stays: conditions, parts in any order */
}

static unsigned char *gather(const vv_slice *piece, size_t count, size_t *len)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        n += piece[i].len;
    unsigned char *data = malloc(n + 1);
    *len = n;
    for (size_t i = 0, at = 0; data != NULL && i < count; at += piece[i++].len)
        if (piece[i].len > 0)
            memcpy(data + at, piece[i].data, piece[i].len);
    return data;
}

/* Takes data. Whether the name is free is decided where it is taken: under one lock. */
static vv_status keep(store *s, const char *name, unsigned char *data, size_t len, uint32_t crc32c,
                      bool create, vv_object_info *info, vv_object_outcome *outcome, vv_error *err)
{
    object *fresh = calloc(1, sizeof *fresh);
    char *copy = strdup(name);
    vv_status st = fresh == NULL || copy == NULL ? no_memory(outcome, err) : VV_OK;
    (void)pthread_mutex_lock(&s->lock);
    object *old = look_up(s, name);
    if (st == VV_OK && old != NULL && create)
        st = fail(outcome, err, VV_CONFLICT, VV_OBJECT_FAULT_EXISTS, "the name is taken");
    if (st == VV_OK) {
        object *o = old != NULL ? old : fresh;
        if (old == NULL) {
            object **at = find(s, name);
            o->name = copy;
            o->next = *at;
            *at = o;
            fresh = NULL;
            copy = NULL;
        }
        free(o->data);
        o->data = data;
        data = NULL;
        memset(&o->info, 0, sizeof o->info);
        o->info.size = len;
        o->info.has_crc = true;
        o->info.crc32c = crc32c;
        o->info.mtime_ns = 1; /* a real store has a clock */
        (void)snprintf(o->info.etag, sizeof o->info.etag, "put-%lu", ++s->puts);
        *info = o->info;
    }
    (void)pthread_mutex_unlock(&s->lock);
    free(fresh);
    free(copy);
    free(data);
    return st;
}

static vv_status ex_put(void *self, const char *name, const vv_slice *piece, size_t count,
                        uint32_t crc32c, bool create, vv_object_info *info,
                        vv_object_outcome *outcome, vv_error *err)
{
    size_t len;
    unsigned char *data = gather(piece, count, &len);
    if (data == NULL)
        return no_memory(outcome, err);
    return keep(self, name, data, len, crc32c, create, info, outcome, err);
}

static vv_status ex_get(void *self, const char *name, uint64_t offset, void *out, size_t len,
                        size_t *got, vv_object_info *info, vv_object_outcome *outcome,
                        vv_error *err)
{
    store *s = self;
    (void)pthread_mutex_lock(&s->lock);
    const object *o = look_up(s, name);
    if (o != NULL) {
        uint64_t left = offset < o->info.size ? o->info.size - offset : 0;
        *got = left < len ? (size_t)left : len;
        if (*got > 0)
            memcpy(out, o->data + offset, *got);
        *info = o->info;
    }
    (void)pthread_mutex_unlock(&s->lock);
    return o == NULL ? missing(outcome, err) : VV_OK;
}

static vv_status ex_head(void *self, const char *name, vv_object_info *info,
                         vv_object_outcome *outcome, vv_error *err)
{
    size_t got;
    return ex_get(self, name, 0, NULL, 0, &got, info, outcome, err);
}

static vv_status ex_list(void *self, const char *prefix, const char *start_after, uint32_t limit,
                         vv_object_each each, void *ctx, bool *more, vv_object_outcome *outcome,
                         vv_error *err)
{
    store *s = self;
    (void)outcome;
    (void)err;
    *more = false;
    (void)pthread_mutex_lock(&s->lock);
    for (const object *o = s->first; o != NULL; o = o->next) {
        if (strcmp(o->name, start_after) <= 0 || strncmp(o->name, prefix, strlen(prefix)) != 0)
            continue;
        if (limit-- == 0) {
            *more = true;
            break;
        }
        if (!each(ctx, o->name, &o->info))
            break;
    }
    (void)pthread_mutex_unlock(&s->lock);
    return VV_OK;
}

static vv_status ex_remove(void *self, const char *name, vv_object_outcome *outcome, vv_error *err)
{
    store *s = self;
    (void)pthread_mutex_lock(&s->lock);
    object *o = look_up(s, name);
    if (o != NULL)
        *find(s, name) = o->next;
    (void)pthread_mutex_unlock(&s->lock);
    if (o == NULL)
        return missing(outcome, err);
    free(o->name);
    free(o->data);
    free(o);
    return VV_OK;
}

/* An upload is a list of parts behind `state`, which Varve keeps for us. */
typedef struct upload {
    pthread_mutex_t lock;
    part *first;
} upload;

static vv_status ex_begin(void *self, const char *name, bool create,
                          char id[VV_OBJECT_UPLOAD_ID_MAX], void **state,
                          vv_object_outcome *outcome, vv_error *err)
{
    upload *u = calloc(1, sizeof *u);
    (void)self;
    (void)name;
    (void)create; /* decided when it is completed */
    if (u == NULL)
        return no_memory(outcome, err);
    (void)pthread_mutex_init(&u->lock, NULL);
    id[0] = '\0';
    *state = u;
    return VV_OK;
}

static vv_status ex_part(void *self, const char *name, const char *id, void *state, uint32_t number,
                         const vv_slice *piece, size_t count, char tag[80],
                         vv_object_outcome *outcome, vv_error *err)
{
    upload *u = state;
    part *p = calloc(1, sizeof *p);
    (void)self;
    (void)name;
    (void)id;
    tag[0] = '\0';
    if (p != NULL)
        p->data = gather(piece, count, &p->len);
    if (p == NULL || p->data == NULL) {
        free(p);
        return no_memory(outcome, err);
    }
    p->number = number;
    (void)pthread_mutex_lock(&u->lock);
    part **at = &u->first;
    while (*at != NULL && (*at)->number < number)
        at = &(*at)->next;
    if (*at != NULL && (*at)->number == number) { /* sent again: it replaces the first */
        part *old = *at;
        *at = old->next;
        free(old->data);
        free(old);
    }
    p->next = *at;
    *at = p;
    (void)pthread_mutex_unlock(&u->lock);
    return VV_OK;
}

static vv_status ex_abort(void *self, const char *name, const char *id, void *state,
                          vv_object_outcome *outcome, vv_error *err)
{
    upload *u = state;
    (void)self;
    (void)name;
    (void)id;
    (void)outcome;
    (void)err;
    if (u == NULL)
        return VV_OK;
    while (u->first != NULL) {
        part *p = u->first;
        u->first = p->next;
        free(p->data);
        free(p);
    }
    (void)pthread_mutex_destroy(&u->lock);
    free(u);
    return VV_OK;
}

static vv_status ex_complete(void *self, const char *name, const char *id, void *state,
                             const char (*tag)[80], uint32_t count, uint32_t crc32c, bool create,
                             vv_object_info *info, vv_object_outcome *outcome, vv_error *err)
{
    upload *u = state;
    size_t len = 0;
    (void)tag;
    (void)count;
    for (const part *p = u->first; p != NULL; p = p->next)
        len += p->len;
    unsigned char *data = malloc(len + 1);
    if (data == NULL)
        return no_memory(outcome, err);
    size_t at = 0;
    for (const part *p = u->first; p != NULL; at += p->len, p = p->next)
        memcpy(data + at, p->data, p->len);
    vv_status st = keep(self, name, data, len, crc32c, create, info, outcome, err);
    if (st == VV_OK)
        return ex_abort(self, name, id, state, outcome, err); /* the parts are of no use any more */
    return st;
}

const vv_object_ops *vv_object_backend(void);

__attribute__((visibility("default"))) const vv_object_ops *vv_object_backend(void)
{
    static const vv_object_ops ops = {.size = sizeof(vv_object_ops),
                                      .abi = VV_OBJECT_ABI,
                                      .name = "example",
                                      .open = ex_open,
                                      .close = ex_close,
                                      .cancel = NULL,
                                      .limits = ex_limits,
                                      .put = ex_put,
                                      .get = ex_get,
                                      .head = ex_head,
                                      .list = ex_list,
                                      .remove = ex_remove,
                                      .upload_begin = ex_begin,
                                      .upload_part = ex_part,
                                      .upload_complete = ex_complete,
                                      .upload_abort = ex_abort};
    return &ops;
}
