/*
 * btree_manifest.c - the manifest as files: opening, committing states, changing to a new file;
 * archives beside it.
 *
 *     commit   append change -> sync -> it is the state -> append a seal (not synced)
 *     rotate   write manifest-<n+1> whole -> sync -> CURRENT by rename -> sync directory
 *              -> remove manifest-<n>
 *
 * The seal behind a change says that the change is durable; without it a flipped bit in the last
 * change would look like a torn write and bring back the root before it.
 *
 * After a failed write or sync nobody knows what the file holds, so it is never written again: the
 * next commit rotates. That is also how a full disk heals without a reopen. Every open rotates too:
 * torn tails disappear, and the new file reserves ids beyond any that the last process may have
 * used for data files it never committed.
 */
#include "btree/btree_manifest.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "base/point.h"
#include "base/util.h"

#define ID_RESERVE (UINT64_C(1) << 16)

static void path_of(char out[VIO_PATH_MAX], const char *dir, const char *name)
{
    (void)snprintf(out, VIO_PATH_MAX, "%s%s%s", dir, dir[0] == '\0' ? "" : "/", name);
}

static void manifest_path(char out[VIO_PATH_MAX], const btree_manifest *m, uint64_t number)
{
    char name[40];
    (void)snprintf(name, sizeof name, "manifest-%012" PRIu64, number);
    path_of(out, m->dir, name);
}

static void archive_path(char out[VIO_PATH_MAX], const char *dir, uint64_t id)
{
    char name[40];
    (void)snprintf(name, sizeof name, "archive-%012" PRIu64, id);
    path_of(out, dir, name);
}

/* ---- CURRENT ---- */

static int format_current(char out[BTREE_CURRENT_MAX], uint64_t number)
{
    int n = snprintf(out, BTREE_CURRENT_MAX, "manifest-%012" PRIu64 " ", number);
    uint32_t sum = vv_crc32c(0, out, (size_t)n);
    return n + snprintf(out + n, BTREE_CURRENT_MAX - (size_t)n, "%08x\n", sum);
}

static vv_status read_current(const btree_manifest *m, uint64_t *out, vv_error *err)
{
    char path[VIO_PATH_MAX];
    path_of(path, m->dir, "CURRENT");
    uint8_t *text = NULL;
    size_t len = 0;
    vv_status st = vio_read_file(m->env->io, path, BTREE_CURRENT_MAX, &text, &len, err);
    if (st != VV_OK)
        return st;
    uint64_t number = 0;
    for (size_t i = 9; i < len && text[i] >= '0' && text[i] <= '9' && i < 28; i++)
        number = number * 10 + (uint64_t)(text[i] - '0');
    char want[BTREE_CURRENT_MAX];
    int n = format_current(want, number);
    bool same = len == (size_t)n && memcmp(text, want, len) == 0;
    vv_free(text);
    if (!same)
        return vv_fail(err, VV_CORRUPT, "'%s' is damaged: it names no manifest", path);
    *out = number;
    return VV_OK;
}

/* ---- writing ---- */

/* A new file with scratch in it, durable. */
static vv_status write_new_file(btree_manifest *m, const char *path, vio_file **out, vv_error *err)
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
    VV_POINT("btree.manifest.new_file");
    *out = file;
    return VV_OK;
}

/* CURRENT could not be replaced. Only when it still names another file is the new one of no use. */
static void remove_if_not_current(btree_manifest *m, uint64_t number, const char *path)
{
    uint64_t named = 0;
    vv_status st = read_current(m, &named, NULL);
    if (st == VV_NOT_FOUND || (st == VV_OK && named != number))
        (void)!vio_remove(m->env->io, path, NULL);
}

static void adopt(btree_manifest *m, const btree_state *next) VV_REQUIRES(m->lock)
{
    btree_state shared;
    btree_state_share(next, &shared);
    btree_state_fini(&m->state);
    m->state = shared;
}

/* Start manifest-<number+1> with next in it. On failure the old one stays in force, or, if CURRENT
 * was already replaced, nobody knows: the next commit tries with a further number. */
static vv_status rotate(btree_manifest *m, const btree_state *next, vv_error *err)
    VV_REQUIRES(m->lock)
{
    m->broken = true; /* until the end of this function */
    uint64_t number = ++m->number;
    btree_state now = *next; /* borrows its parts */
    now.id_limit = m->next_id + ID_RESERVE;
    vv_buf_reset(&m->scratch);
    uint32_t chain = btree_manifest_put_header(&m->scratch, number, m->shard);
    chain = btree_manifest_put_record(&m->scratch, BTREE_RECORD_STATE, NULL, &now, chain, 0);
    if (m->scratch.status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "no memory for its state");

    char path[VIO_PATH_MAX];
    manifest_path(path, m, number);
    vio_file *file = NULL;
    vv_status st = write_new_file(m, path, &file, err);
    if (st != VV_OK) {
        (void)!vio_remove(m->env->io, path, NULL); /* no CURRENT names it */
        return st;
    }
    char current[BTREE_CURRENT_MAX];
    int n = format_current(current, number);
    char current_path[VIO_PATH_MAX];
    path_of(current_path, m->dir, "CURRENT");
    st = vio_write_file_atomic(m->env->io, current_path, vv_slice_of(current, (size_t)n), err);
    if (st != VV_OK) {
        vio_close(file);
        remove_if_not_current(m, number, path);
        return st;
    }
    VV_POINT("btree.manifest.switched");
    vio_close(m->file);
    m->file = file;
    m->end = m->synced = m->start = m->scratch.len;
    m->chain = chain;
    adopt(m, &now);
    m->broken = false;
    return VV_OK;
}

vv_status btree_manifest_image(btree_manifest *m, vv_buf *out, char current[BTREE_CURRENT_MAX],
                               uint64_t *number, btree_state *state, vv_error *err)
{
    vv_mutex_lock(&m->lock);
    btree_state now = m->state; /* borrows its parts */
    now.id_limit = m->next_id + ID_RESERVE;
    *number = m->number;
    (void)format_current(current, m->number);
    uint32_t chain = btree_manifest_put_header(out, m->number, m->shard);
    (void)btree_manifest_put_record(out, BTREE_RECORD_STATE, NULL, &now, chain, 0);
    btree_state_share(&m->state, state);
    vv_mutex_unlock(&m->lock);
    if (out->status == VV_OK)
        return VV_OK;
    btree_state_fini(state);
    return vv_fail(err, VV_NO_MEMORY, "manifest of '%s': no memory for its state", m->dir);
}

static void remove_older(btree_manifest *m, uint64_t from) VV_REQUIRES(m->lock)
{
    for (uint64_t n = from; n < m->number; n++) {
        char path[VIO_PATH_MAX];
        manifest_path(path, m, n);
        (void)!vio_remove(m->env->io, path, NULL); /* otherwise the next open removes it */
    }
}

/* Say in the file that everything in it is durable. A seal that fails leaves the tail unknown. */
static void append_seal(btree_manifest *m) VV_REQUIRES(m->lock)
{
    vv_buf_reset(&m->scratch);
    uint32_t sum = btree_manifest_put_record(&m->scratch, BTREE_RECORD_SEAL, NULL, &m->state,
                                             m->chain, m->synced);
    if (m->scratch.status != VV_OK)
        return;
    if (vio_pwrite(m->file, m->end, m->scratch.data, m->scratch.len, NULL) != VV_OK) {
        m->broken = true;
        return;
    }
    m->end += m->scratch.len;
    m->chain = sum;
}

static vv_status append_change(btree_manifest *m, const btree_state *next, vv_error *err)
    VV_REQUIRES(m->lock)
{
    btree_state now = *next; /* borrows its parts */
    now.id_limit = m->state.id_limit;
    if (m->next_id + ID_RESERVE / 2 > now.id_limit)
        now.id_limit = m->next_id + ID_RESERVE;
    vv_buf_reset(&m->scratch);
    uint32_t sum = btree_manifest_put_record(&m->scratch, BTREE_RECORD_CHANGE, &m->state, &now,
                                             m->chain, m->synced);
    if (m->scratch.status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a change");
    m->broken = true; /* until the change is durable */
    vv_status st = vio_pwrite(m->file, m->end, m->scratch.data, m->scratch.len, err);
    VV_POINT("btree.manifest.written");
    if (st == VV_OK && !VV_BUG(41))
        st = vio_sync(m->file, err);
    VV_POINT("btree.manifest.synced");
    if (st != VV_OK)
        return st;
    m->broken = false;
    m->end += m->scratch.len;
    m->synced = m->end;
    m->chain = sum;
    adopt(m, &now);
    append_seal(m);
    return VV_OK;
}

static vv_status commit_locked(btree_manifest *m, const btree_state *next, vv_error *err)
    VV_REQUIRES(m->lock)
{
    uint64_t old = m->number;
    if (!m->broken && m->end <= m->limit + 2 * m->start)
        return append_change(m, next, err);
    vv_status st = rotate(m, next, err);
    if (st == VV_OK)
        remove_older(m, old);
    return st;
}

vv_status btree_manifest_commit(btree_manifest *m, const btree_state *next, vv_error *err)
{
    vv_mutex_lock(&m->lock);
    vv_status st = commit_locked(m, next, err);
    vv_mutex_unlock(&m->lock);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "manifest of '%s'", m->dir);
}

vv_status btree_manifest_new_id(btree_manifest *m, uint64_t *out, vv_error *err)
{
    vv_status st = VV_OK;
    vv_mutex_lock(&m->lock);
    if (m->next_id >= m->state.id_limit) { /* reserve more, durably, before one is used */
        btree_state same;
        btree_state_share(&m->state, &same);
        st = commit_locked(m, &same, err);
        btree_state_fini(&same);
    }
    if (st == VV_OK)
        *out = m->next_id++;
    vv_mutex_unlock(&m->lock);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "manifest of '%s'", m->dir);
}

/* ---- archives ---- */

vv_status btree_archive_write(btree_manifest *m, uint64_t id, const btree_state *s, vv_error *err)
{
    char path[VIO_PATH_MAX];
    archive_path(path, m->dir, id);
    btree_state alone = *s; /* borrows its parts; an archive has no archives */
    alone.archives = NULL;
    vio_file *file = NULL;
    vv_mutex_lock(&m->lock);
    vv_buf_reset(&m->scratch);
    uint32_t chain = btree_manifest_put_header(&m->scratch, id, m->shard);
    (void)btree_manifest_put_record(&m->scratch, BTREE_RECORD_STATE, NULL, &alone, chain, 0);
    vv_status st = m->scratch.status == VV_OK
                       ? write_new_file(m, path, &file, err)
                       : vv_fail(err, VV_NO_MEMORY, "archive: no memory for its state");
    vv_mutex_unlock(&m->lock);
    vio_close(file);
    if (st != VV_OK)
        (void)!vio_remove(m->env->io, path, NULL);
    return st;
}

void btree_archive_remove(vv_env *env, const char *dir, uint64_t id)
{
    char path[VIO_PATH_MAX];
    archive_path(path, dir, id);
    (void)!vio_remove(env->io, path, NULL); /* otherwise the next open removes it */
}

static vv_status read_states(vv_env *env, const char *path, uint64_t number, uint32_t shard,
                             btree_state *out, vv_error *err)
{
    uint8_t *bytes = NULL;
    size_t len = 0;
    vv_status st = vio_read_file(env->io, path, BTREE_MANIFEST_MAX, &bytes, &len, err);
    if (st == VV_NOT_FOUND)
        return vv_fail(err, VV_CORRUPT, "'%s' is missing, but it is named", path);
    if (st != VV_OK)
        return st;
    btree_manifest_info info = {0};
    st = btree_manifest_parse(vv_slice_of(bytes, len), &info, out, NULL, NULL, err);
    vv_free(bytes);
    if (st != VV_OK)
        return vv_wrap(err, st, "'%s'", path);
    if (info.number != number || info.shard != shard)
        return vv_fail(err, VV_CORRUPT, "'%s': it belongs to manifest %" PRIu64 " of shard %u",
                       path, info.number, info.shard);
    return VV_OK;
}

vv_status btree_archive_read(vv_env *env, const char *dir, uint32_t shard, uint64_t id,
                             btree_state *out, vv_error *err)
{
    char path[VIO_PATH_MAX];
    archive_path(path, dir, id);
    return read_states(env, path, id, shard, out, err);
}

/* ---- opening ---- */

typedef struct listing {
    bool has_current;
    uint32_t data_count;
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

static bool belongs(const btree_manifest *m, const char *name)
{
    uint64_t id = 0;
    if (numbered(name, "archive-", &id)) {
        for (uint32_t i = 0; i < btree_archive_count(&m->state); i++)
            if (btree_archives(&m->state)[i].id == id)
                return true;
        return false;
    }
    if (numbered(name, "manifest-", &id))
        return id == m->number;
    return strcmp(name, "CURRENT.tmp") != 0; /* what we do not know we leave alone */
}

static void see_name(void *ctx, const char *name)
{
    listing *l = ctx;
    uint64_t number = 0;
    l->has_current |= strcmp(name, "CURRENT") == 0;
    l->data_count += numbered(name, "data-", &number);
    if (numbered(name, "manifest-", &number) && number > l->number_max)
        l->number_max = number;
    vv_buf_append(&l->names, name, strlen(name) + 1);
}

/* Remove what a crash or a failed removal left behind. What cannot be removed now is tried again
 * by the next open. */
static void remove_orphans(btree_manifest *m, const listing *seen)
{
    size_t at = 0;
    for (const char *name; at < seen->names.len; at += strlen(name) + 1) {
        name = (const char *)seen->names.data + at;
        if (belongs(m, name))
            continue;
        char path[VIO_PATH_MAX];
        path_of(path, m->dir, name);
        (void)!vio_remove(m->env->io, path, NULL);
    }
}

/* What is in force in the directory, or nothing in an empty one. */
static vv_status find_and_load(btree_manifest *m, const listing *seen, vv_error *err)
{
    if (!seen->has_current && seen->data_count > 0)
        return vv_fail(err, VV_CORRUPT, "'%s' has data files but no CURRENT to name its manifest",
                       m->dir);
    if (!seen->has_current)
        return VV_OK;
    vv_status st = read_current(m, &m->number, err);
    if (st != VV_OK)
        return st;
    char path[VIO_PATH_MAX];
    manifest_path(path, m, m->number);
    return read_states(m->env, path, m->number, m->shard, &m->state, err);
}

vv_status btree_manifest_open(btree_manifest *m, const btree_manifest_options *opt, vv_error *err)
{
    *m = (btree_manifest){.env = opt->env,
                          .dir = opt->dir,
                          .shard = opt->shard,
                          .limit = opt->limit == 0 ? 8 * VV_MIB : opt->limit,
                          .broken = true};
    vv_mutex_init(&m->lock, VV_RANK_LSM);
    btree_state_init(&m->state, opt->budget);
    m->state.page_size = opt->page_size;
    m->state.shift = opt->shift;
    vv_buf_init(&m->scratch, BTREE_MANIFEST_MAX);
    listing seen = {0};
    vv_buf_init(&seen.names, BTREE_MANIFEST_MAX);
    vv_status st = vio_list(opt->env->io, opt->dir, see_name, &seen, err);
    if (st == VV_OK && seen.names.status != VV_OK)
        st = vv_fail(err, VV_NO_MEMORY, "no memory to list '%s'", opt->dir);
    if (st == VV_OK)
        st = find_and_load(m, &seen, err);
    m->next_id = vv_max_u64(m->state.id_limit, 1);
    if (st == VV_OK && !opt->read_only) {
        m->number = vv_max_u64(m->number, seen.number_max);
        btree_state same;
        btree_state_share(&m->state, &same);
        vv_mutex_lock(&m->lock);
        st = rotate(m, &same, err);
        vv_mutex_unlock(&m->lock);
        btree_state_fini(&same);
        if (st == VV_OK)
            remove_orphans(m, &seen);
    }
    vv_buf_fini(&seen.names);
    return st;
}

void btree_manifest_close(btree_manifest *m)
{
    if (m->env == NULL)
        return;
    if (m->file != NULL && !m->broken)
        (void)!vio_sync(m->file, NULL); /* the last seal; everything else is durable already */
    vio_close(m->file);
    btree_state_fini(&m->state);
    vv_buf_fini(&m->scratch);
    vv_mutex_fini(&m->lock);
    *m = (btree_manifest){0};
}
