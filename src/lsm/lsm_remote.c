/*
 * lsm_remote.c - see lsm_remote.h.
 *
 * Faults. What the object store cannot do now is VV_IO with the store's sentence, and passes: the
 * next read asks again. What it no longer has, or has shorter, is VV_CORRUPT with the object's
 * name. VV_NOT_FOUND and VV_BUSY mean other things to readers of a run, so neither leaves here.
 *
 * A side file is a copy of what the object ends with: one that is missing or damaged is made again
 * from there.
 */
#include "lsm/lsm_remote.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "base/util.h"
#include "engine/engine.h"
#include "lsm/lsm_run_format.h"
#include "lsm/lsm_value.h"

#define WINDOWS 8u
#define WINDOW_SIZE (1 * VV_MIB)
#define WINDOW_READ_MAX (256 * VV_KIB) /* who reads more at once needs no window */

#define SIDE_MAGIC "VARVESID"
#define SIDE_FORMAT 1u
#define SIDE_HEAD 64u

/* Bytes of an object that a reader is about to come to. */
typedef struct window {
    uint64_t id; /* 0: empty */
    uint64_t at;
    size_t len;
    uint8_t *bytes;
    uint64_t used; /* tick of the last use */
} window;

typedef struct entry {
    lsm_object object;
    uint32_t users;
} entry;

typedef struct lsm_remote {
    const engine_tier *tier;
    bool read_only;
    _Atomic uint64_t failures; /* statistics, as reads */
    _Atomic uint64_t reads;
    vv_mutex lock; /* VV_RANK_LEAF: guards what follows */
    entry *entries;
    uint32_t count;
    uint32_t cap;
    window windows[WINDOWS];
    uint64_t tick;
} lsm_remote;

typedef struct remote_file {
    vio_file base;
    lsm_store *store;
    lsm_object object;
    uint64_t tail_at; /* from here on side or tail has the bytes */
    vio_file *side;
    uint8_t *tail;         /* where no side file can be written */
    _Atomic uint64_t next; /* where the last read ended */
} remote_file;

static remote_file *remote_of(vio_file *file)
{
    return VV_CONTAINER_OF(file, remote_file, base);
}

/* ---- what is known of objects ---- */

static entry *find(lsm_remote *r, uint64_t id) VV_REQUIRES(r->lock)
{
    for (uint32_t i = 0; i < r->count; i++)
        if (r->entries[i].object.id == id)
            return &r->entries[i];
    return NULL;
}

vv_status lsm_remote_init(lsm_store *s, const engine_tier *tier, bool read_only,
                          const lsm_state *state, vv_error *err)
{
    lsm_remote *r = vv_calloc(1, sizeof *r);
    if (r == NULL)
        return vv_fail(err, VV_NO_MEMORY, "remote files: no memory");
    r->tier = tier;
    r->read_only = read_only;
    vv_mutex_init(&r->lock, VV_RANK_LEAF);
    s->remote = r;
    vv_status st = VV_OK;
    for (uint32_t i = 0; st == VV_OK && i < state->object_count; i++)
        if (state->objects[i].state == LSM_OBJECT_REMOTE)
            st = lsm_remote_add(s, &state->objects[i], err);
    return st;
}

static void free_window(const lsm_store *s, window *w)
{
    if (w->bytes != NULL)
        vv_budget_release(s->budget, VV_BUDGET_CACHE, WINDOW_SIZE);
    vv_free(w->bytes);
    *w = (window){0};
}

void lsm_remote_fini(lsm_store *s)
{
    lsm_remote *r = s->remote;
    if (r == NULL)
        return;
    for (size_t i = 0; i < WINDOWS; i++)
        free_window(s, &r->windows[i]);
    vv_mutex_fini(&r->lock);
    vv_free(r->entries);
    vv_free(r);
    s->remote = NULL;
}

vv_status lsm_remote_add(lsm_store *s, const lsm_object *object, vv_error *err)
{
    lsm_remote *r = s->remote;
    vv_status st = VV_OK;
    vv_mutex_lock(&r->lock);
    entry *e = find(r, object->id);
    if (e == NULL && r->count == r->cap) {
        uint32_t cap = r->cap == 0 ? 16 : r->cap * 2;
        entry *grown = vv_realloc(r->entries, cap * sizeof *grown);
        if (grown == NULL)
            st = vv_fail(err, VV_NO_MEMORY, "no memory for %u remote files", cap);
        else
            r->cap = cap;
        r->entries = grown == NULL ? r->entries : grown;
    }
    if (e == NULL && st == VV_OK) {
        e = &r->entries[r->count++];
        e->users = 0;
    }
    if (e != NULL)
        e->object = *object;
    vv_mutex_unlock(&r->lock);
    return st;
}

void lsm_remote_drop(lsm_store *s, uint64_t id)
{
    lsm_remote *r = s->remote;
    vv_mutex_lock(&r->lock);
    entry *e = find(r, id);
    if (e != NULL) {
        assert(e->users == 0);
        *e = r->entries[--r->count];
    }
    for (size_t i = 0; i < WINDOWS; i++)
        if (r->windows[i].id == id)
            free_window(s, &r->windows[i]);
    vv_mutex_unlock(&r->lock);
}

bool lsm_remote_find(lsm_store *s, uint64_t id, lsm_object *out)
{
    lsm_remote *r = s->remote;
    if (r == NULL)
        return false;
    vv_mutex_lock(&r->lock);
    const entry *e = find(r, id);
    if (e != NULL && out != NULL)
        *out = e->object;
    vv_mutex_unlock(&r->lock);
    return e != NULL;
}

uint32_t lsm_remote_users(lsm_store *s, uint64_t id)
{
    lsm_remote *r = s->remote;
    vv_mutex_lock(&r->lock);
    const entry *e = find(r, id);
    uint32_t users = e == NULL ? 0 : e->users;
    vv_mutex_unlock(&r->lock);
    return users;
}

/* An open file more or less. */
static void note_user(lsm_store *s, uint64_t id, bool more)
{
    lsm_remote *r = s->remote;
    vv_mutex_lock(&r->lock);
    entry *e = find(r, id);
    if (e != NULL)
        e->users = more ? e->users + 1 : e->users - 1;
    vv_mutex_unlock(&r->lock);
}

vv_object_store *lsm_remote_objects(const lsm_store *s)
{
    return s->remote == NULL || s->remote->tier == NULL ? NULL : s->remote->tier->objects;
}

uint64_t lsm_remote_failures(const lsm_store *s)
{
    return s->remote == NULL ? 0 : atomic_load_explicit(&s->remote->failures, memory_order_relaxed);
}

uint64_t lsm_remote_reads(const lsm_store *s)
{
    return s->remote == NULL ? 0 : atomic_load_explicit(&s->remote->reads, memory_order_relaxed);
}

bool lsm_remote_checks_whole(const lsm_store *s)
{
    return lsm_remote_objects(s) != NULL && s->remote->tier->check_whole;
}

/* ---- range reads ---- */

static vv_status get(const remote_file *f, uint64_t offset, void *buf, size_t len, vv_error *err)
{
    lsm_remote *r = f->store->remote;
    vv_object_store *objects = lsm_remote_objects(f->store);
    size_t got = 0;
    if (objects == NULL) {
        atomic_fetch_add_explicit(&r->failures, 1, memory_order_relaxed);
        return vv_fail(err, VV_IO,
                       "it lies in an object store, and none is given: set storage.backend and "
                       "storage.bucket (vv_options.tier)");
    }
    vv_status st = vv_object_get(objects, f->object.name, offset, buf, len, &got, NULL, NULL, err);
    atomic_fetch_add_explicit(&r->reads, 1, memory_order_relaxed);
    if (st == VV_OK && got == len)
        return VV_OK;
    if (st == VV_OK)
        return vv_fail(err, VV_CORRUPT,
                       "object '%s' of %s ends at %" PRIu64 ", the manifest says %" PRIu64,
                       f->object.name, vv_object_store_name(objects), offset + got, f->object.size);
    if (st == VV_NOT_FOUND)
        return vv_fail(err, VV_CORRUPT, "object '%s' of %s is missing, but the manifest names it",
                       f->object.name, vv_object_store_name(objects));
    atomic_fetch_add_explicit(&r->failures, 1, memory_order_relaxed);
    return st == VV_NO_MEMORY || st == VV_CORRUPT ? st : vv_wrap(err, VV_IO, "it is remote");
}

/* Bytes that were fetched before they were asked for. */
static bool read_window(lsm_remote *r, uint64_t id, uint64_t offset, void *buf, size_t len)
{
    bool found = false;
    vv_mutex_lock(&r->lock);
    for (size_t i = 0; !found && i < WINDOWS; i++) {
        window *w = &r->windows[i];
        found = w->id == id && offset >= w->at && offset + len <= w->at + w->len;
        if (found) {
            memcpy(buf, w->bytes + (offset - w->at), len);
            w->used = ++r->tick;
        }
    }
    vv_mutex_unlock(&r->lock);
    return found;
}

/* Takes bytes, WINDOW_SIZE of memory. */
static void keep_window(const remote_file *f, uint64_t at, uint8_t *bytes, size_t len)
{
    lsm_remote *r = f->store->remote;
    vv_mutex_lock(&r->lock);
    window *w = &r->windows[0];
    for (size_t i = 1; i < WINDOWS; i++)
        if (r->windows[i].id == f->object.id || r->windows[i].used < w->used)
            w = &r->windows[i];
    free_window(f->store, w);
    *w = (window){f->object.id, at, len, bytes, ++r->tick};
    vv_budget_take(f->store->budget, VV_BUDGET_CACHE, WINDOW_SIZE);
    vv_mutex_unlock(&r->lock);
}

/* A reader that goes on where it ended: fetch more than it asked for. False: it did not. */
static bool read_ahead(const remote_file *f, uint64_t offset, void *buf, size_t len)
{
    size_t want = (size_t)vv_min_u64(WINDOW_SIZE, f->object.size - offset);
    uint8_t *bytes = want <= len ? NULL : vv_alloc(WINDOW_SIZE);
    if (bytes == NULL)
        return false;
    if (get(f, offset, bytes, want, NULL) != VV_OK) {
        vv_free(bytes);
        return false;
    }
    memcpy(buf, bytes, len);
    keep_window(f, offset, bytes, want);
    return true;
}

static vv_status read_object(remote_file *f, uint64_t offset, void *buf, size_t len, vv_error *err)
{
    bool goes_on = atomic_exchange_explicit(&f->next, offset + len, memory_order_relaxed) == offset;
    if (len > WINDOW_READ_MAX || offset == 0)
        return get(f, offset, buf, len, err);
    if (read_window(f->store->remote, f->object.id, offset, buf, len) ||
        (goes_on && read_ahead(f, offset, buf, len)))
        return VV_OK;
    return get(f, offset, buf, len, err);
}

/* ---- as a file ---- */

static vv_status remote_pread(vio_file *file, uint64_t offset, void *buf, size_t len, size_t *got,
                              vv_error *err)
{
    remote_file *f = remote_of(file);
    *got = 0;
    if (offset >= f->object.size)
        return VV_OK;
    len = (size_t)vv_min_u64(len, f->object.size - offset);
    if (len == 0)
        return VV_OK;
    if (offset >= f->tail_at && f->side != NULL)
        return vio_pread(f->side, SIDE_HEAD + (offset - f->tail_at), buf, len, got, err);
    vv_status st = VV_OK;
    if (offset >= f->tail_at)
        memcpy(buf, f->tail + (offset - f->tail_at), len);
    else
        st = read_object(f, offset, buf, len, err);
    *got = st == VV_OK ? len : 0;
    return st;
}

static vv_status remote_size(vio_file *file, uint64_t *out, vv_error *err)
{
    (void)err;
    *out = remote_of(file)->object.size;
    return VV_OK;
}

static void remote_close(vio_file *file)
{
    remote_file *f = remote_of(file);
    note_user(f->store, f->object.id, false);
    vio_close(f->side);
    vv_free(f->tail);
    vv_free(f);
}

static vv_status refuse_write(vio_file *file, uint64_t offset, const void *buf, size_t len,
                              vv_error *err)
{
    (void)offset;
    (void)buf;
    (void)len;
    return vv_fail(err, VV_UNSUPPORTED, "object '%s' is not written over",
                   remote_of(file)->object.name);
}

static vv_status refuse_sync(vio_file *file, vv_error *err)
{
    return refuse_write(file, 0, NULL, 0, err);
}

static const vio_ops remote_ops = {
    .name = "object",
    .is_aside = true,
    .close = remote_close,
    .pread = remote_pread,
    .pwrite = refuse_write,
    .sync = refuse_sync,
    .size = remote_size,
};

bool lsm_file_is_remote(const vio_file *file)
{
    return file->ops == &remote_ops;
}

const lsm_object *lsm_file_object(const vio_file *file)
{
    assert(lsm_file_is_remote(file));
    return &VV_CONTAINER_OF(file, remote_file, base)->object;
}

/* ---- side files ---- */

void lsm_side_path(char out[VIO_PATH_MAX], const char *dir, uint64_t id)
{
    (void)snprintf(out, VIO_PATH_MAX, "%s%sside-%012" PRIu64, dir, dir[0] == '\0' ? "" : "/", id);
}

/* What a run ends with, from its index on. Gives *out: vv_free. */
static vv_status read_tail(vio_file *run, uint64_t size, uint64_t *tail_at, uint8_t **out,
                           vv_error *err)
{
    uint8_t place[8];
    if (size < LSM_FOOTER_SIZE)
        return vv_fail(err, VV_CORRUPT, "%" PRIu64 " bytes are too short for a run", size);
    uint64_t footer = size - LSM_FOOTER_SIZE;
    vv_status st =
        vio_pread_full(run, footer + lsm_section_at(LSM_SECTION_INDEX), place, sizeof place, err);
    if (st != VV_OK)
        return st;
    uint64_t at = vv_get_le64(place);
    if (at > footer || footer - at > LSM_SECTIONS * LSM_SECTION_MAX)
        return vv_fail(err, VV_CORRUPT, "footer: the index lies outside of the file");
    uint8_t *tail = vv_alloc(size - at);
    if (tail == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for %" PRIu64 " bytes of index and filter",
                       size - at);
    st = vio_pread_full(run, at, tail, (size_t)(size - at), err);
    if (st != VV_OK) {
        vv_free(tail);
        return st;
    }
    *tail_at = at;
    *out = tail;
    return VV_OK;
}

static void make_head(uint8_t head[SIDE_HEAD], const lsm_object *o, uint64_t tail_at, uint32_t sum)
{
    memset(head, 0, SIDE_HEAD);
    memcpy(head, (const uint8_t[8]){'V', 'A', 'R', 'V', 'E', 'S', 'I', 'D'}, 8);
    vv_put_le32(head + 8, SIDE_FORMAT);
    vv_put_le64(head + 16, o->id);
    vv_put_le64(head + 24, o->size);
    vv_put_le64(head + 32, tail_at);
    vv_put_le32(head + 40, sum);
    vv_put_le32(head + 44, o->crc);
    vv_put_le32(head + 60, vv_crc32c(0, head, 60));
}

static vv_status write_side(lsm_store *s, const lsm_object *o, uint64_t tail_at,
                            const uint8_t *tail, vv_error *err)
{
    char path[VIO_PATH_MAX];
    uint8_t head[SIDE_HEAD];
    vio_file *file = NULL;
    size_t len = (size_t)(o->size - tail_at);
    vio *io = s->env->io;
    lsm_side_path(path, s->dir, o->id);
    make_head(head, o, tail_at, vv_crc32c(0, tail, len));
    (void)!vio_remove(io, path, NULL); /* what an earlier try left */
    vv_status st = vio_open(io, path, VIO_WRITE | VIO_CREATE | VIO_EXCL | VIO_BEHIND, &file, err);
    if (st == VV_OK)
        st = vio_pwrite(file, 0, head, sizeof head, err);
    if (st == VV_OK)
        st = vio_pwrite(file, SIDE_HEAD, tail, len, err);
    if (st == VV_OK)
        st = vio_sync(file, err);
    vio_close(file);
    if (st == VV_OK)
        st = vio_sync_dir(io, s->dir, err);
    if (st != VV_OK)
        (void)!vio_remove(io, path, NULL); /* else the next try does it */
    return st;
}

vv_status lsm_side_write(lsm_store *s, const lsm_object *object, vio_file *run, vv_error *err)
{
    uint64_t tail_at = 0;
    uint8_t *tail = NULL;
    vv_status st = read_tail(run, object->size, &tail_at, &tail, err);
    if (st == VV_OK)
        st = write_side(s, object, tail_at, tail, err);
    vv_free(tail);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "side file of run %" PRIu64, object->id);
}

static vv_status check_side(vio_file *side, const lsm_object *o, uint64_t *tail_at, vv_error *err)
{
    uint8_t head[SIDE_HEAD];
    uint64_t size = 0;
    vv_status st = vio_size(side, &size, err);
    if (st == VV_OK)
        st = vio_pread_full(side, 0, head, sizeof head, err);
    if (st != VV_OK)
        return st;
    uint64_t at = vv_get_le64(head + 32);
    if (memcmp(head, SIDE_MAGIC, 8) != 0 || vv_crc32c(0, head, 60) != vv_get_le32(head + 60) ||
        vv_get_le32(head + 8) != SIDE_FORMAT || vv_get_le64(head + 16) != o->id ||
        vv_get_le64(head + 24) != o->size || vv_get_le32(head + 44) != o->crc || at > o->size ||
        size != SIDE_HEAD + (o->size - at))
        return vv_fail(err, VV_CORRUPT, "it is not of this run");
    size_t len = (size_t)(o->size - at);
    uint8_t *tail = vv_alloc(len);
    if (tail == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for %zu bytes", len);
    st = vio_pread_full(side, SIDE_HEAD, tail, len, err);
    if (st == VV_OK && vv_crc32c(0, tail, len) != vv_get_le32(head + 40))
        st = vv_fail(err, VV_CORRUPT, "its sum does not match");
    vv_free(tail);
    *tail_at = at;
    return st;
}

static vv_status open_side(remote_file *f, vv_error *err)
{
    char path[VIO_PATH_MAX];
    vio_file *side = NULL;
    uint64_t tail_at = 0;
    lsm_side_path(path, f->store->dir, f->object.id);
    vv_status st = vio_open(f->store->env->io, path, VIO_READ | VIO_IDLE, &side, err);
    if (st == VV_OK)
        st = check_side(side, &f->object, &tail_at, err);
    if (st != VV_OK) {
        vio_close(side);
        return vv_wrap(err, st, "side file '%s'", path);
    }
    f->side = side;
    f->tail_at = tail_at;
    return VV_OK;
}

/* The end of the object in place of a side file that is missing or damaged. */
static vv_status fetch_tail(remote_file *f, vv_error *err)
{
    uint64_t tail_at = 0;
    uint8_t *tail = NULL;
    vv_status st = read_tail(&f->base, f->object.size, &tail_at, &tail, err);
    if (st != VV_OK)
        return st;
    if (!f->store->remote->read_only &&
        write_side(f->store, &f->object, tail_at, tail, NULL) == VV_OK &&
        open_side(f, NULL) == VV_OK) {
        vv_free(tail);
        return VV_OK;
    }
    f->tail = tail;
    f->tail_at = tail_at;
    return VV_OK;
}

static vv_status open_remote(lsm_store *s, const lsm_object *o, vio_file **out, vv_error *err)
{
    remote_file *f = vv_calloc(1, sizeof *f);
    if (f == NULL)
        return vv_fail(err, VV_NO_MEMORY, "object '%s': no memory", o->name);
    f->base.ops = &remote_ops;
    f->store = s;
    f->object = *o;
    f->tail_at = UINT64_MAX;
    note_user(s, o->id, true);
    vv_status st = VV_OK;
    if (!o->is_values) {
        st = open_side(f, err);
        if (st == VV_NOT_FOUND || st == VV_CORRUPT)
            st = fetch_tail(f, err);
    }
    if (st != VV_OK) {
        remote_close(&f->base);
        return st;
    }
    *out = &f->base;
    return VV_OK;
}

vv_status lsm_store_open_file(lsm_store *s, bool is_values, uint64_t id, unsigned flags,
                              vio_file **out, vv_error *err)
{
    lsm_object object;
    char path[VIO_PATH_MAX];
    if (lsm_remote_find(s, id, &object))
        return open_remote(s, &object, out, err);
    if (is_values)
        lsm_value_path(path, s->dir, id);
    else
        lsm_run_path(path, s->dir, id);
    return vio_open(s->env->io, path, flags, out, err);
}
