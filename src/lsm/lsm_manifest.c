/*
 * lsm_manifest.c - the manifest as files: opening, committing edits, changing to a new file.
 *
 *     commit   append record -> sync -> apply to the state -> append a seal (not synced)
 *     rotate   write manifest-<n+1> whole -> sync -> CURRENT by rename -> sync directory
 *              -> remove manifest-<n>
 *
 * The seal behind an edit says that the edit is durable; without it a flipped bit in the last edit
 * would look like a torn write and drop it silently.
 *
 * After a failed write or sync nobody knows what the file holds, so it is never written again: the
 * next commit rotates. That is also how a full disk heals without a reopen. Every open rotates too:
 * torn tails disappear, and the new file reserves ids beyond any that the last process may have
 * used for runs it never committed.
 */
#include "lsm/lsm_manifest.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "base/point.h"
#include "base/util.h"
#include "lsm/lsm.h"
#include "lsm/lsm_value.h"

#define ID_RESERVE (UINT64_C(1) << 16)
#define ROTATE_SIZE (1 * VV_MIB) /* a file is renewed past this and past four times its start */

static const lsm_edit nothing = {.checkpoint = -1};

static void path_of(char out[VIO_PATH_MAX], const lsm_manifest *m, const char *name)
{
    (void)snprintf(out, VIO_PATH_MAX, "%s%s%s", m->dir, m->dir[0] == '\0' ? "" : "/", name);
}

static void manifest_path(char out[VIO_PATH_MAX], const lsm_manifest *m, uint64_t number)
{
    char name[32];
    (void)snprintf(name, sizeof name, "manifest-%012" PRIu64, number);
    path_of(out, m, name);
}

/* ---- CURRENT ---- */

static int format_current(char out[LSM_CURRENT_MAX], uint64_t number)
{
    int n = snprintf(out, LSM_CURRENT_MAX, "manifest-%012" PRIu64 " ", number);
    uint32_t sum = vv_crc32c(0, out, (size_t)n);
    return n + snprintf(out + n, LSM_CURRENT_MAX - (size_t)n, "%08x\n", sum);
}

static vv_status read_current(const lsm_manifest *m, uint64_t *out, vv_error *err)
{
    char path[VIO_PATH_MAX];
    path_of(path, m, "CURRENT");
    uint8_t *text = NULL;
    size_t len = 0;
    vv_status st = vio_read_file(m->env->io, path, LSM_CURRENT_MAX, &text, &len, err);
    if (st != VV_OK)
        return st;
    uint64_t number = 0;
    for (size_t i = 9; i < len && text[i] >= '0' && text[i] <= '9' && i < 28; i++)
        number = number * 10 + (uint64_t)(text[i] - '0');
    char want[LSM_CURRENT_MAX];
    int n = format_current(want, number);
    bool same = len == (size_t)n && memcmp(text, want, len) == 0;
    vv_free(text);
    if (!same)
        return vv_fail(err, VV_CORRUPT, "'%s' is damaged: it names no manifest", path);
    *out = number;
    return VV_OK;
}

/* ---- writing ---- */

/* The whole state, with an edit that is about to become part of it, as the edit of a state record.
 * Gives *out, a vv_alloc block of borrowed metas, and whole->objects. */
static vv_status whole_state(const lsm_state *state, const lsm_edit *edit, lsm_edit *whole,
                             lsm_meta **out, lsm_object **objects, vv_error *err)
{
    uint32_t object_count = 0;
    lsm_meta *all = vv_calloc((size_t)state->count + edit->add_count, sizeof *all);
    if (all == NULL)
        return vv_fail(err, VV_NO_MEMORY, "manifest: no memory for %u runs", state->count);
    vv_status st = lsm_state_merge_objects(state, edit, objects, &object_count, err);
    if (st != VV_OK) {
        vv_free(all);
        return st;
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < state->count; i++) {
        bool removed = false;
        for (uint32_t j = 0; j < edit->remove_count; j++)
            removed |= edit->remove[j] == state->runs[i].id;
        if (!removed)
            all[n++] = state->runs[i];
    }
    for (uint32_t i = 0; i < edit->add_count; i++)
        all[n++] = edit->add[i];
    *whole = (lsm_edit){.add = all,
                        .add_count = n,
                        .objects = *objects,
                        .object_count = object_count,
                        .checkpoint = edit->checkpoint >= 0 ? edit->checkpoint : state->checkpoint};
    *out = all;
    return VV_OK;
}

static vv_status write_new_file(lsm_manifest *m, const char *path, vio_file **out, vv_error *err)
{
    vio_file *file = NULL;
    vv_status st =
        vio_open(m->env->io, path, VIO_READ | VIO_WRITE | VIO_CREATE | VIO_EXCL, &file, err);
    if (st == VV_OK)
        st = vio_pwrite(file, 0, m->scratch.data, m->scratch.len, err);
    if (st == VV_OK)
        st = vio_sync(file, err);
    if (st == VV_OK)
        st = vio_sync_dir(m->env->io, m->dir, err);
    if (st != VV_OK) {
        vio_close(file);
        return st;
    }
    VV_POINT("lsm.manifest.new_file");
    *out = file;
    return VV_OK;
}

/* CURRENT could not be replaced. Only when it still names another file is the new one of no use. */
static void remove_if_not_current(lsm_manifest *m, uint64_t number, const char *path)
{
    uint64_t named = 0;
    vv_status st = read_current(m, &named, NULL);
    if (st == VV_NOT_FOUND || (st == VV_OK && named != number))
        (void)!vio_remove(m->env->io, path, NULL);
}

/* The bytes of a manifest file that begins with the state and an edit; *chain is its last sum. */
static vv_status put_state(lsm_manifest *m, const lsm_edit *edit, bool with_objects,
                           uint64_t number, uint64_t id_limit, vv_buf *out, uint32_t *chain,
                           vv_error *err) VV_REQUIRES(m->lock)
{
    lsm_edit whole;
    lsm_meta *all = NULL;
    lsm_object *objects = NULL;
    vv_status st = whole_state(&m->state, edit, &whole, &all, &objects, err);
    if (st != VV_OK)
        return st;
    if (!with_objects)
        whole.object_count = 0;
    *chain = lsm_manifest_put_header(out, number, m->shard);
    *chain = lsm_manifest_put_record(out, LSM_RECORD_STATE, &whole, id_limit, *chain, 0);
    vv_free(all);
    vv_free(objects);
    if (out->status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "manifest: no memory for its state");
    return VV_OK;
}

vv_status lsm_manifest_image(lsm_manifest *m, vv_buf *out, char current[LSM_CURRENT_MAX],
                             vv_error *err)
{
    uint32_t chain = 0;
    vv_mutex_lock(&m->lock);
    (void)format_current(current, m->number);
    vv_status st =
        put_state(m, &nothing, false, m->number, m->next_id + ID_RESERVE, out, &chain, err);
    vv_mutex_unlock(&m->lock);
    return st;
}

/* Start manifest-<number+1> with the state and edit in it. On failure the old one stays in force,
 * or, if CURRENT was already replaced, nobody knows: the next commit tries with a further number.
 */
static vv_status rotate(lsm_manifest *m, const lsm_edit *edit, vv_error *err) VV_REQUIRES(m->lock)
{
    m->broken = true; /* until the end of this function */
    uint64_t number = ++m->number;
    uint64_t id_limit = m->next_id + ID_RESERVE;
    uint32_t chain = 0;
    vv_buf_reset(&m->scratch);
    vv_status st = put_state(m, edit, true, number, id_limit, &m->scratch, &chain, err);
    if (st != VV_OK)
        return st;

    char path[VIO_PATH_MAX];
    manifest_path(path, m, number);
    vio_file *file = NULL;
    st = write_new_file(m, path, &file, err);
    if (st != VV_OK) {
        (void)!vio_remove(m->env->io, path, NULL); /* no CURRENT names it */
        return st;
    }
    char current[LSM_CURRENT_MAX];
    int n = format_current(current, number);
    char current_path[VIO_PATH_MAX];
    path_of(current_path, m, "CURRENT");
    st = vio_write_file_atomic(m->env->io, current_path, vv_slice_of(current, (size_t)n), err);
    if (st != VV_OK) {
        vio_close(file);
        remove_if_not_current(m, number, path);
        return st;
    }
    VV_POINT("lsm.manifest.switched");
    st = lsm_state_apply(&m->state, edit, err);
    if (st != VV_OK) { /* durable, but not in memory: the same edit is committed once more */
        vio_close(file);
        return st;
    }
    vio_close(m->file);
    m->file = file;
    m->end = m->synced = m->scratch.len;
    m->chain = chain;
    m->state.id_limit = id_limit;
    m->broken = false;
    return VV_OK;
}

static void remove_older(lsm_manifest *m, uint64_t from) VV_REQUIRES(m->lock)
{
    for (uint64_t n = from; n < m->number; n++) {
        char path[VIO_PATH_MAX];
        manifest_path(path, m, n);
        (void)!vio_remove(m->env->io, path, NULL); /* otherwise the next open removes it */
    }
}

/* Say in the file that everything in it is durable. A seal that fails leaves the tail unknown. */
static void append_seal(lsm_manifest *m) VV_REQUIRES(m->lock)
{
    vv_buf_reset(&m->scratch);
    uint32_t sum =
        lsm_manifest_put_record(&m->scratch, LSM_RECORD_SEAL, &nothing, 0, m->chain, m->synced);
    if (m->scratch.status != VV_OK)
        return;
    if (vio_pwrite(m->file, m->end, m->scratch.data, m->scratch.len, NULL) != VV_OK) {
        m->broken = true;
        return;
    }
    m->end += m->scratch.len;
    m->chain = sum;
}

static vv_status append_edit(lsm_manifest *m, const lsm_edit *edit, vv_error *err)
    VV_REQUIRES(m->lock)
{
    uint64_t id_limit = m->state.id_limit;
    if (m->next_id + ID_RESERVE / 2 > id_limit)
        id_limit = m->next_id + ID_RESERVE;
    vv_buf_reset(&m->scratch);
    uint32_t sum =
        lsm_manifest_put_record(&m->scratch, LSM_RECORD_EDIT, edit, id_limit, m->chain, m->synced);
    if (m->scratch.status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "manifest: no memory for an edit");
    m->broken = true; /* until the edit is durable and applied */
    vv_status st = vio_pwrite(m->file, m->end, m->scratch.data, m->scratch.len, err);
    VV_POINT("lsm.manifest.written");
    if (st == VV_OK)
        st = vio_sync(m->file, err);
    VV_POINT("lsm.manifest.synced");
    if (st == VV_OK)
        st = lsm_state_apply(&m->state, edit, err);
    if (st != VV_OK)
        return st;
    m->broken = false;
    m->end += m->scratch.len;
    m->synced = m->end;
    m->chain = sum;
    m->state.id_limit = id_limit;
    append_seal(m);
    return VV_OK;
}

static vv_status commit_locked(lsm_manifest *m, const lsm_edit *edit, vv_error *err)
    VV_REQUIRES(m->lock)
{
    uint64_t old = m->number;
    vv_status st = VV_OK;
    if (!m->broken && m->end <= ROTATE_SIZE + (uint64_t)m->state.count * 1024)
        return append_edit(m, edit, err);
    st = rotate(m, edit, err);
    if (st == VV_OK)
        remove_older(m, old);
    return st;
}

vv_status lsm_manifest_commit(lsm_manifest *m, const lsm_edit *edit, vv_error *err)
{
    vv_mutex_lock(&m->lock);
    vv_status st = commit_locked(m, edit, err);
    vv_mutex_unlock(&m->lock);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "manifest of '%s'", m->dir);
}

static bool refers_to(const lsm_state *state, uint64_t file)
{
    for (uint32_t i = 0; i < state->count; i++) {
        vv_slice uses = state->runs[i].values;
        lsm_value_use use;
        while (lsm_value_use_next(&uses, &use))
            if (use.file == file)
                return true;
    }
    return false;
}

static int by_id(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Ids of runs and of the value files that they refer to, sorted. Gives *out: vv_free. */
static vv_status named_ids(const lsm_state *state, uint64_t **out, size_t *count, vv_error *err)
{
    size_t n = state->count;
    for (uint32_t i = 0; i < state->count; i++) {
        vv_slice uses = state->runs[i].values;
        lsm_value_use use;
        while (lsm_value_use_next(&uses, &use))
            n++;
    }
    uint64_t *ids = vv_calloc(n, sizeof *ids);
    if (ids == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for the names of %zu files", n);
    n = 0;
    for (uint32_t i = 0; i < state->count; i++) {
        vv_slice uses = state->runs[i].values;
        lsm_value_use use;
        ids[n++] = state->runs[i].id;
        while (lsm_value_use_next(&uses, &use))
            ids[n++] = use.file;
    }
    if (n > 0)
        qsort(ids, n, sizeof *ids, by_id);
    *out = ids;
    *count = n;
    return VV_OK;
}

static bool has_run(const lsm_state *state, uint64_t id)
{
    for (uint32_t i = 0; i < state->count; i++)
        if (state->runs[i].id == id)
            return true;
    return false;
}

vv_status lsm_manifest_objects(lsm_manifest *m, lsm_object **out, uint32_t *count, vv_error *err)
{
    uint64_t *ids = NULL;
    size_t n = 0;
    lsm_object *all = NULL;
    vv_mutex_lock(&m->lock);
    vv_status st = named_ids(&m->state, &ids, &n, err);
    if (st == VV_OK)
        st = lsm_state_merge_objects(&m->state, &nothing, &all, count, err);
    vv_mutex_unlock(&m->lock);
    for (uint32_t i = 0; st == VV_OK && i < *count; i++)
        all[i].is_named = n > 0 && bsearch(&all[i].id, ids, n, sizeof *ids, by_id) != NULL;
    vv_free(ids);
    if (st == VV_OK)
        *out = all;
    return st;
}

vv_status lsm_manifest_new_id(lsm_manifest *m, uint64_t *out, vv_error *err)
{
    vv_status st = VV_OK;
    vv_mutex_lock(&m->lock);
    if (m->next_id >= m->state.id_limit) /* reserve more, durably, before one is used */
        st = commit_locked(m, &nothing, err);
    if (st == VV_OK)
        *out = m->next_id++;
    vv_mutex_unlock(&m->lock);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "manifest of '%s'", m->dir);
}

vv_status lsm_manifest_note_births(lsm_manifest *m, bool read_only, vv_error *err)
{
    vv_status st = VV_OK;
    bool any = false;
    int64_t now = vv_clock_wall(m->env->clock);
    vv_mutex_lock(&m->lock);
    for (uint32_t i = 0; i < m->state.count; i++) {
        any |= m->state.runs[i].born_ns == 0;
        if (m->state.runs[i].born_ns == 0)
            m->state.runs[i].born_ns = now;
    }
    uint64_t old = m->number;
    if (any && !read_only) {
        st = rotate(m, &nothing, err);
        if (st == VV_OK)
            remove_older(m, old);
    }
    vv_mutex_unlock(&m->lock);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "manifest of '%s'", m->dir);
}

/* ---- opening ---- */

typedef struct listing {
    bool has_current;
    uint32_t run_count;
    uint64_t number_max; /* of manifest files, also of those that never came into force */
    vv_buf names;        /* of all files, NUL behind each */
} listing;

/* The number in "<prefix><digits>", or false. */
static bool numbered(const char *name, const char *prefix, uint64_t *out)
{
    size_t n = strlen(prefix);
    if (strncmp(name, prefix, n) != 0 || name[n] < '0' || name[n] > '9')
        return false;
    char *end = NULL;
    *out = strtoull(name + n, &end, 10);
    return *end == '\0';
}

static bool is_remote(const lsm_state *state, uint64_t id)
{
    for (uint32_t i = 0; i < state->object_count; i++)
        if (state->objects[i].id == id)
            return state->objects[i].state == LSM_OBJECT_REMOTE;
    return false;
}

static bool belongs(const lsm_manifest *m, const char *name)
{
    uint64_t id = 0;
    if (numbered(name, "run-", &id))
        return has_run(&m->state, id) && !is_remote(&m->state, id);
    if (numbered(name, "val-", &id))
        return refers_to(&m->state, id) && !is_remote(&m->state, id);
    if (numbered(name, "side-", &id))
        return has_run(&m->state, id) && is_remote(&m->state, id);
    if (numbered(name, "manifest-", &id))
        return id == m->number;
    return strcmp(name, "CURRENT.tmp") != 0; /* what we do not know we leave alone */
}

static void see_name(void *ctx, const char *name)
{
    listing *l = ctx;
    uint64_t number = 0;
    l->has_current |= strcmp(name, "CURRENT") == 0;
    l->run_count += numbered(name, "run-", &number);
    if (numbered(name, "manifest-", &number) && number > l->number_max)
        l->number_max = number;
    vv_buf_append(&l->names, name, strlen(name) + 1);
}

/* Remove what a crash or a failed removal left behind. What cannot be removed now is tried again
 * by the next open. */
static void remove_orphans(lsm_manifest *m, const listing *seen)
{
    size_t at = 0;
    for (const char *name; at < seen->names.len; at += strlen(name) + 1) {
        name = (const char *)seen->names.data + at;
        if (belongs(m, name))
            continue;
        char path[VIO_PATH_MAX];
        path_of(path, m, name);
        (void)!vio_remove(m->env->io, path, NULL);
    }
}

static vv_status apply_record(void *ctx, const lsm_record *record, vv_error *err)
{
    lsm_state *state = ctx;
    if (record->kind == LSM_RECORD_SEAL)
        return VV_OK;
    vv_status st = lsm_state_apply(state, &record->edit, err);
    if (st == VV_OK && record->id_limit > state->id_limit)
        state->id_limit = record->id_limit;
    return st;
}

static vv_status load(lsm_manifest *m, vv_error *err)
{
    char path[VIO_PATH_MAX];
    manifest_path(path, m, m->number);
    uint8_t *bytes = NULL;
    size_t len = 0;
    vv_status st = vio_read_file(m->env->io, path, LSM_MANIFEST_MAX, &bytes, &len, err);
    if (st == VV_NOT_FOUND)
        return vv_fail(err, VV_CORRUPT, "'%s' is missing, but CURRENT names it", path);
    if (st != VV_OK)
        return st;
    lsm_manifest_info info;
    st = lsm_manifest_parse(vv_slice_of(bytes, len), &info, apply_record, &m->state, err);
    vv_free(bytes);
    if (st != VV_OK)
        return vv_wrap(err, st, "'%s'", path);
    if (info.number != m->number || info.shard != m->shard)
        return vv_fail(err, VV_CORRUPT, "'%s': it belongs to manifest %" PRIu64 " of shard %u",
                       path, info.number, info.shard);
    return VV_OK;
}

/* What is in force in the directory, or nothing in an empty one. */
static vv_status find_and_load(lsm_manifest *m, const listing *seen, vv_error *err)
{
    if (!seen->has_current && seen->run_count > 0)
        return vv_fail(err, VV_CORRUPT, "'%s' has runs but no CURRENT to name its manifest",
                       m->dir);
    if (!seen->has_current)
        return VV_OK;
    vv_status st = read_current(m, &m->number, err);
    return st == VV_OK ? load(m, err) : st;
}

vv_status lsm_manifest_open(lsm_manifest *m, vv_env *env, const char *dir, uint32_t shard,
                            bool read_only, vv_error *err)
{
    *m = (lsm_manifest){.env = env, .dir = dir, .shard = shard, .broken = true};
    vv_mutex_init(&m->lock, VV_RANK_LSM);
    vv_buf_init(&m->scratch, LSM_MANIFEST_MAX);
    listing seen = {0};
    vv_buf_init(&seen.names, LSM_MANIFEST_MAX);
    vv_status st = vio_list(env->io, dir, see_name, &seen, err);
    if (st == VV_OK && seen.names.status != VV_OK)
        st = vv_fail(err, VV_NO_MEMORY, "no memory to list '%s'", dir);
    if (st == VV_OK)
        st = find_and_load(m, &seen, err);
    m->next_id = vv_max_u64(m->state.id_limit, 1);
    if (st == VV_OK && !read_only) {
        m->number = vv_max_u64(m->number, seen.number_max);
        vv_mutex_lock(&m->lock);
        st = rotate(m, &nothing, err);
        vv_mutex_unlock(&m->lock);
        if (st == VV_OK)
            remove_orphans(m, &seen);
    }
    vv_buf_fini(&seen.names);
    return st;
}

static void tell_leftovers(const lsm_manifest *m, const listing *seen,
                           void (*each)(void *ctx, const char *text), void *ctx)
{
    size_t at = 0;
    for (const char *name; at < seen->names.len; at += strlen(name) + 1) {
        name = (const char *)seen->names.data + at;
        if (belongs(m, name))
            continue;
        char text[VIO_PATH_MAX + 120];
        (void)snprintf(
            text, sizeof text,
            "'%s/%s' is a leftover of work that a crash ended: no manifest names it, and "
            "the next open removes it",
            m->dir, name);
        each(ctx, text);
    }
}

vv_status lsm_list_leftovers(vv_env *env, const char *dir, uint32_t shard,
                             void (*each)(void *ctx, const char *text), void *ctx, vv_error *err)
{
    lsm_manifest m;
    listing seen = {0};
    vv_buf_init(&seen.names, LSM_MANIFEST_MAX);
    vv_status st = lsm_manifest_open(&m, env, dir, shard, true, err);
    if (st == VV_OK)
        st = vio_list(env->io, dir, see_name, &seen, err);
    if (st == VV_OK && seen.names.status != VV_OK)
        st = vv_fail(err, VV_NO_MEMORY, "no memory to list '%s'", dir);
    if (st == VV_OK && m.number > 0)
        tell_leftovers(&m, &seen, each, ctx);
    lsm_manifest_close(&m);
    vv_buf_fini(&seen.names);
    return st == VV_CORRUPT || st == VV_UNSUPPORTED || st == VV_NOT_FOUND ? VV_OK : st;
}

void lsm_manifest_close(lsm_manifest *m)
{
    if (m->env == NULL)
        return;
    if (m->file != NULL && !m->broken)
        (void)!vio_sync(m->file, NULL); /* the last seal; everything else is durable already */
    vio_close(m->file);
    lsm_state_fini(&m->state);
    vv_buf_fini(&m->scratch);
    vv_mutex_fini(&m->lock);
    *m = (lsm_manifest){0};
}
