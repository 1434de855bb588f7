/*
 * backup_repo.c - the repository as a directory: what is in it, which content is still named.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/backup_int.h"
#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/rng.h"

#define REPO_FILE "VARVE-BACKUPS"
#define REPO_PART "VARVE-BACKUPS.tmp"
#define REPO_TEXT "varve backups 1\n"
#define LOCK_FILE "LOCK"
#define ID_FILE "ID"
#define ID_TEXT_MAX 64u
#define LISTING_MAX (256u << 20)

/* ---- opening --------------------------------------------------------------------------------- */

static void note_stranger(void *ctx, const char *name)
{
    static const char *const own[] = {REPO_FILE, REPO_PART,        LOCK_FILE,
                                      ID_FILE,   BACKUP_FILES_DIR, "lost+found"};
    char *found = ctx;
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        if (strcmp(name, own[i]) == 0)
            return;
    (void)snprintf(found, 64, "%s", name);
}

static vv_status check_text(vio *io, vv_error *err)
{
    uint8_t *text = NULL;
    size_t len = 0;
    vv_status st = vio_read_file(io, REPO_FILE, 256, &text, &len, err);
    if (st != VV_OK)
        return st;
    bool same = len == strlen(REPO_TEXT) && memcmp(text, REPO_TEXT, len) == 0;
    vv_free(text);
    if (!same)
        return vv_fail(err, VV_UNSUPPORTED,
                       "'" REPO_FILE "' is damaged or of another version of varve");
    return VV_OK;
}

static vv_status make(vio *io, vv_error *err)
{
    char found[64] = "";
    vv_status st = vio_mkdir(io, "", err);
    if (st == VV_OK)
        st = check_text(io, NULL);
    if (st == VV_OK)
        return VV_OK;
    if (st != VV_NOT_FOUND)
        return check_text(io, err);
    st = vio_list(io, "", note_stranger, found, err);
    if (st == VV_OK && found[0] != '\0')
        st = vv_fail(err, VV_INVALID,
                     "the directory holds no backups and is not empty (it holds '%s'): name an "
                     "empty or a new one",
                     found);
    if (st == VV_OK)
        st = vio_mkdir(io, BACKUP_FILES_DIR, err);
    if (st == VV_OK)
        st = vio_write_file_atomic(io, REPO_FILE, vv_slice_str(REPO_TEXT), err);
    return st;
}

vv_status backup_repo_open(vv_env *env, bool write, backup_repo **out, vv_error *err)
{
    assert(env != NULL && out != NULL);
    backup_repo *repo = vv_calloc(1, sizeof *repo);
    if (repo == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory to open a repository of backups");
    repo->env = env;
    vv_status st = write ? make(env->io, err) : check_text(env->io, err);
    if (st == VV_NOT_FOUND)
        st = vv_fail(err, VV_NOT_FOUND, "the directory is no repository of backups");
    if (st == VV_OK && write)
        st = vio_lock(env->io, LOCK_FILE, &repo->lock, err);
    if (st != VV_OK) {
        backup_repo_close(repo);
        return st;
    }
    *out = repo;
    return VV_OK;
}

void backup_repo_close(backup_repo *repo)
{
    if (repo == NULL)
        return;
    vio_close(repo->lock);
    vv_free(repo);
}

static vv_status make_id(backup_repo *repo, const uint8_t uuid[16], vv_error *err)
{
    char text[ID_TEXT_MAX];
    vv_rng rng;
    vv_rng_init(&rng,
                repo->env->seed ^ (uint64_t)vv_clock_wall(repo->env->clock) ^ vv_hash64(uuid, 16));
    int len = snprintf(text, sizeof text, "repository %016" PRIx64 "%016" PRIx64 "\n",
                       vv_rng_next(&rng), vv_rng_next(&rng));
    return vio_write_file_atomic(repo->env->io, ID_FILE, vv_slice_of(text, (size_t)len), err);
}

vv_status backup_repo_id(backup_repo *repo, const uint8_t uuid[16], uint8_t out[DB_REPO_ID_SIZE],
                         vv_error *err)
{
    uint8_t *text = NULL;
    size_t len = 0;
    vio *io = repo->env->io;
    vv_status st = vio_read_file(io, ID_FILE, ID_TEXT_MAX, &text, &len, err);
    if (st == VV_NOT_FOUND) {
        st = make_id(repo, uuid, err);
        if (st == VV_OK)
            st = vio_read_file(io, ID_FILE, ID_TEXT_MAX, &text, &len, err);
    }
    if (st != VV_OK)
        return st;
    vv_put_le64(out, vv_hash64_seed(text, len, 1)); /* whatever it says: a damaged one is another */
    vv_put_le64(out + 8, vv_hash64_seed(text, len, 2));
    vv_free(text);
    return VV_OK;
}

/* ---- manifests ------------------------------------------------------------------------------- */

static void manifest_path(uint64_t id, char out[VIO_PATH_MAX])
{
    (void)snprintf(out, VIO_PATH_MAX, "backup-%010" PRIu64, id);
}

void backup_stored_path(const backup_file *file, char out[VIO_PATH_MAX])
{
    const char *slash = strrchr(file->name, '/');
    (void)snprintf(out, VIO_PATH_MAX, BACKUP_FILES_DIR "/%016" PRIx64 "-%" PRIu64 "-%s", file->sum,
                   file->size, slash == NULL ? file->name : slash + 1);
}

typedef struct id_list {
    uint64_t *ids;
    size_t count, cap;
    bool no_memory;
} id_list;

static void note_id(void *ctx, const char *name)
{
    id_list *l = ctx;
    char *end = NULL;
    if (strncmp(name, "backup-", 7) != 0 || name[7] < '0' || name[7] > '9')
        return;
    uint64_t id = strtoull(name + 7, &end, 10);
    char back[VIO_PATH_MAX];
    manifest_path(id, back);
    if (*end != '\0' || strcmp(back, name) != 0 || l->no_memory)
        return;
    if (l->count == l->cap) {
        size_t cap = l->cap * 2 + 16;
        uint64_t *ids = vv_realloc(l->ids, cap * sizeof *ids);
        l->no_memory = ids == NULL;
        if (ids == NULL)
            return;
        l->ids = ids;
        l->cap = cap;
    }
    l->ids[l->count++] = id;
}

static int by_id(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

vv_status backup_ids(backup_repo *repo, uint64_t **out, size_t *count, vv_error *err)
{
    id_list l = {0};
    vv_status st = vio_list(repo->env->io, "", note_id, &l, err);
    if (st == VV_OK && l.no_memory)
        st = vv_fail(err, VV_NO_MEMORY, "no memory to list backups");
    if (st != VV_OK) {
        vv_free(l.ids);
        return st;
    }
    if (l.count > 0)
        qsort(l.ids, l.count, sizeof *l.ids, by_id);
    *out = l.ids;
    *count = l.count;
    return VV_OK;
}

vv_status backup_load(backup_repo *repo, uint64_t id, backup_manifest *m, vv_error *err)
{
    char path[VIO_PATH_MAX];
    uint8_t *bytes = NULL;
    size_t len = 0;
    *m = (backup_manifest){0};
    manifest_path(id, path);
    vv_status st = vio_read_file(repo->env->io, path, BACKUP_MANIFEST_MAX, &bytes, &len, err);
    if (st == VV_NOT_FOUND)
        return vv_fail(err, VV_NOT_FOUND, "there is no backup %" PRIu64, id);
    if (st == VV_OK) {
        st = backup_manifest_decode(vv_slice_of(bytes, len), m, err);
        if (st == VV_OK && m->info.id != id)
            st = vv_fail(err, VV_CORRUPT, "it is the manifest of backup %" PRIu64, m->info.id);
        if (st != VV_OK)
            (void)vv_wrap(err, st, "'%s'", path);
    }
    vv_free(bytes);
    if (st != VV_OK)
        backup_manifest_fini(m);
    return st;
}

vv_status backup_save(backup_repo *repo, const backup_manifest *m, vv_error *err)
{
    char path[VIO_PATH_MAX];
    vv_buf bytes;
    vv_buf_init(&bytes, BACKUP_MANIFEST_MAX);
    backup_manifest_encode(m, &bytes);
    vv_status st = bytes.status == VV_OK
                       ? VV_OK
                       : vv_fail(err, VV_NO_MEMORY, "no memory for the manifest of a backup");
    manifest_path(m->info.id, path);
    if (st == VV_OK)
        st = vio_sync_dir(repo->env->io, BACKUP_FILES_DIR, err);
    if (st == VV_OK)
        st = vio_write_file_atomic(repo->env->io, path, vv_buf_slice(&bytes), err);
    vv_buf_fini(&bytes);
    return st;
}

static bool is_of_store(const backup_info *a, const backup_info *b)
{
    return memcmp(a->uuid, b->uuid, sizeof a->uuid) == 0 && a->shard_count == b->shard_count;
}

vv_status backup_check_joined(backup_repo *repo, const backup_info *info, const uint64_t *ids,
                              size_t count, vv_error *err)
{
    for (size_t i = count; info->kind == BACKUP_LOG && i-- > 0;) {
        int64_t above[WAL_SHARD_MAX] = {0};
        uint32_t shard = 0;
        backup_manifest m;
        vv_status st = backup_load(repo, ids[i], &m, err);
        bool found = st == VV_OK && is_of_store(&m.info, info);
        for (uint32_t s = 0; found && s < m.info.shard_count; s++)
            above[s] = m.info.shard[s].version;
        backup_manifest_fini(&m);
        if (st == VV_NO_MEMORY || st == VV_IO)
            return st;
        if (found && backup_info_has_gap(info, above, &shard))
            return vv_fail(err, VV_CORRUPT,
                           "of the log alone, and a gap is before it: backup %" PRIu64
                           " ends at version %" PRId64 " of shard %u, it begins at %" PRId64,
                           ids[i], above[shard], shard, info->shard[shard].log_first);
        if (found)
            return VV_OK;
    }
    if (info->kind != BACKUP_LOG)
        return VV_OK;
    return vv_fail(err, VV_CORRUPT,
                   "of the log alone, and there is no backup of its store before it");
}

vv_status backup_list(backup_repo *repo,
                      void (*each)(void *ctx, const backup_info *info, vv_status st,
                                   const char *why),
                      void *ctx, vv_error *err)
{
    uint64_t *ids = NULL;
    size_t count = 0;
    vv_status st = backup_ids(repo, &ids, &count, err);
    for (size_t i = 0; st == VV_OK && i < count; i++) {
        backup_manifest m;
        vv_error why = {0};
        vv_status one = backup_load(repo, ids[i], &m, &why);
        if (one == VV_OK)
            one = backup_check_joined(repo, &m.info, ids, i, &why);
        if (one == VV_NO_MEMORY || one == VV_IO) {
            if (err != NULL)
                *err = why;
            st = one;
        } else if (one != VV_NOT_FOUND) { /* dropped meanwhile */
            m.info.id = ids[i];
            each(ctx, &m.info, one, why.msg);
        }
        backup_manifest_fini(&m);
    }
    vv_free(ids);
    return st;
}

/* ---- content that nobody names --------------------------------------------------------------- */

typedef struct sweep {
    vio *io;
    char **named; /* sorted */
    size_t count, cap;
    bool failed;
} sweep;

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void note_named(sweep *s, const backup_manifest *m)
{
    for (size_t i = 0; i < m->count && !s->failed; i++) {
        char path[VIO_PATH_MAX];
        backup_stored_path(&m->files[i], path);
        if (s->count == s->cap) {
            size_t cap = s->cap * 2 + 64;
            char **named = vv_realloc(s->named, cap * sizeof *named);
            s->failed = named == NULL;
            if (named == NULL)
                return;
            s->named = named;
            s->cap = cap;
        }
        s->named[s->count] = vv_strdup(path);
        s->failed = s->named[s->count] == NULL;
        s->count += !s->failed;
    }
}

static void remove_unnamed(void *ctx, const char *name)
{
    const sweep *s = ctx;
    char path[VIO_PATH_MAX];
    const char *key = path;
    int n = snprintf(path, sizeof path, BACKUP_FILES_DIR "/%s", name);
    bool named =
        n < 0 || (size_t)n >= sizeof path ||
        (s->count > 0 && bsearch(&key, s->named, s->count, sizeof *s->named, by_text) != NULL);
    if (!named)
        (void)!vio_remove(s->io, path, NULL); /* tried again by the next one */
}

void backup_collect(backup_repo *repo)
{
    sweep s = {.io = repo->env->io};
    uint64_t *ids = NULL;
    size_t count = 0;
    s.failed = backup_ids(repo, &ids, &count, NULL) != VV_OK;
    for (size_t i = 0; i < count && !s.failed; i++) {
        backup_manifest m;
        /* What it names is not known: then all content stays. */
        s.failed = backup_load(repo, ids[i], &m, NULL) != VV_OK;
        if (!s.failed)
            note_named(&s, &m);
        backup_manifest_fini(&m);
    }
    if (s.count > 0)
        qsort(s.named, s.count, sizeof *s.named, by_text);
    if (!s.failed)
        (void)!vio_list(s.io, BACKUP_FILES_DIR, remove_unnamed, &s, NULL);
    for (size_t i = 0; i < s.count; i++)
        vv_free(s.named[i]);
    vv_free(s.named);
    vv_free(ids);
}

/* ---- dropping -------------------------------------------------------------------------------- */

static vv_status remove_manifest(backup_repo *repo, uint64_t id, vv_error *err)
{
    char path[VIO_PATH_MAX];
    manifest_path(id, path);
    vv_status st = vio_remove(repo->env->io, path, err);
    if (st == VV_NOT_FOUND)
        return vv_fail(err, VV_NOT_FOUND, "there is no backup %" PRIu64, id);
    /* Before content goes: a manifest that comes back would miss it. */
    return st == VV_OK ? vio_sync_dir(repo->env->io, "", err) : st;
}

vv_status backup_drop(backup_repo *repo, uint64_t id, vv_error *err)
{
    assert(repo->lock != NULL);
    vv_status st = remove_manifest(repo, id, err);
    if (st == VV_OK)
        backup_collect(repo);
    return st;
}

/* The oldest of the newest `keep` full backups; 0 when there are no more than that. */
static vv_status find_oldest_kept(backup_repo *repo, const uint64_t *ids, size_t count,
                                  uint32_t keep, uint64_t *out, vv_error *err)
{
    uint32_t seen = 0;
    *out = 0;
    for (size_t i = count; i-- > 0;) {
        backup_manifest m;
        vv_status st = backup_load(repo, ids[i], &m, err);
        seen += st == VV_OK && m.info.kind == BACKUP_FULL;
        backup_manifest_fini(&m);
        if (st != VV_OK)
            return st;
        if (seen == keep) {
            *out = ids[i];
            return VV_OK;
        }
    }
    return VV_OK;
}

vv_status backup_prune(backup_repo *repo, uint32_t keep, uint32_t *dropped, vv_error *err)
{
    assert(repo->lock != NULL && dropped != NULL);
    uint64_t *ids = NULL;
    size_t count = 0;
    uint64_t oldest = 0;
    *dropped = 0;
    if (keep == 0)
        return vv_fail(err, VV_INVALID, "keep 0 backups: keep at least 1, or drop them by id");
    vv_status st = backup_ids(repo, &ids, &count, err);
    if (st == VV_OK)
        st = find_oldest_kept(repo, ids, count, keep, &oldest, err);
    for (size_t i = 0; st == VV_OK && i < count && ids[i] < oldest; i++) {
        st = remove_manifest(repo, ids[i], err);
        *dropped += st == VV_OK;
    }
    if (*dropped > 0)
        backup_collect(repo);
    vv_free(ids);
    return st;
}
