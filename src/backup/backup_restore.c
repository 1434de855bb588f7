/*
 * backup_restore.c - a store out of a backup, and verifying one.
 *
 *   choose the backup -> its files and logs are there and the logs are whole -> plan where to stop
 *     -> copy files, summing -> entries up to the goal -> the store gets its identity
 *
 * To a version or a time: begin from the newest backup that is not past the goal, and go on with
 * the entries of the backups behind it, of the same store. Entries of a shard follow each other
 * without a gap; where one is missing the log was not archived, and what lies behind cannot be had.
 * The plan is made by reading the logs alone, so that a goal out of reach is refused before
 * anything is written.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backup/backup_int.h"
#include "base/alloc.h"
#include "base/error.h"
#include "db/db_capture.h"

typedef struct restoration {
    backup_repo *repo;
    const backup_restore_options *opt;
    backup_manifest *chain; /* [0] the base, then what follows of the same store */
    size_t count, cap;
    int64_t at[WAL_SHARD_MAX]; /* newest entry so far */
    int64_t time_ns;           /* the latest commit time so far */
    bool in_base;              /* all of it is on this side of the goal */
    bool reached;
    bool gap;
    bool bare_load;  /* the gap is a bulk load whose content was not kept */
    size_t now;      /* whose log is walked */
    db_build *build; /* NULL: only planning */
    vv_env *to;
    backup_meter meter;
} restoration;

/* ---- choosing -------------------------------------------------------------------------------- */

/* Nothing in the backup is past the goal. */
static bool fits(const backup_info *info, const backup_restore_options *opt)
{
    if (info->kind != BACKUP_FULL)
        return false;
    if (opt->goal == BACKUP_AT_VERSION)
        return opt->shard < info->shard_count && info->shard[opt->shard].version <= opt->version;
    for (uint32_t i = 0; opt->goal == BACKUP_AT_TIME && i < info->shard_count; i++)
        if (info->shard[i].commit_time_ns > opt->time_ns)
            return false;
    return true;
}

static vv_status refuse_too_old(const backup_restore_options *opt, const backup_info *oldest,
                                vv_error *err)
{
    if (opt->id != 0)
        return vv_fail(err, VV_NOT_FOUND,
                       "backup %" PRIu64 " has more than what is asked for, or is of the log "
                       "alone: leave the id out or name an earlier one",
                       opt->id);
    if (oldest->id == 0)
        return vv_fail(err, VV_NOT_FOUND, "there is no backup to restore");
    if (opt->goal == BACKUP_AT_VERSION && opt->shard >= oldest->shard_count)
        return vv_fail(err, VV_INVALID, "shard %u: the store has %u", opt->shard,
                       oldest->shard_count);
    if (opt->goal == BACKUP_AT_VERSION)
        return vv_fail(err, VV_NOT_FOUND,
                       "version %" PRId64 " of shard %u lies before the oldest backup, %" PRIu64
                       ", which begins at version %" PRId64,
                       opt->version, opt->shard, oldest->id, oldest->shard[opt->shard].version);
    return vv_fail(err, VV_NOT_FOUND,
                   "the time lies before the oldest backup, %" PRIu64 ", which is of %" PRId64
                   " s after 1970",
                   oldest->id, oldest->time_ns / VV_NS_PER_S);
}

static vv_status add_to_chain(restoration *r, backup_manifest *m, vv_error *err)
{
    if (r->count == r->cap) {
        size_t cap = r->cap * 2 + 8;
        backup_manifest *chain = vv_realloc(r->chain, cap * sizeof *chain);
        if (chain == NULL)
            return vv_fail(err, VV_NO_MEMORY, "no memory for %zu backups", cap);
        r->chain = chain;
        r->cap = cap;
    }
    r->chain[r->count++] = *m;
    *m = (backup_manifest){0};
    return VV_OK;
}

static vv_status find_base(restoration *r, const uint64_t *ids, size_t count, size_t *base,
                           vv_error *err)
{
    backup_info oldest = {0};
    for (size_t i = count; i-- > 0;) {
        if (r->opt->id != 0 && ids[i] != r->opt->id)
            continue;
        backup_manifest m;
        vv_status st = backup_load(r->repo, ids[i], &m, err);
        if (st != VV_OK)
            return st;
        if (m.info.kind == BACKUP_FULL)
            oldest = m.info;
        bool found = fits(&m.info, r->opt);
        if (found)
            st = add_to_chain(r, &m, err);
        backup_manifest_fini(&m);
        *base = i;
        if (found || st != VV_OK)
            return st;
    }
    if (oldest.id == 0 && r->opt->id != 0) {
        backup_manifest m;
        vv_status st = backup_load(r->repo, r->opt->id, &m, err);
        backup_manifest_fini(&m);
        if (st != VV_OK)
            return st;
    }
    return refuse_too_old(r->opt, &oldest, err);
}

static vv_status choose(restoration *r, vv_error *err)
{
    uint64_t *ids = NULL;
    size_t count = 0;
    size_t base = 0;
    vv_status st = backup_ids(r->repo, &ids, &count, err);
    if (st == VV_OK)
        st = find_base(r, ids, count, &base, err);
    assert(st != VV_OK || r->chain != NULL); /* the base is in it */
    for (size_t i = base + 1; st == VV_OK && r->opt->goal != BACKUP_WHOLE && i < count; i++) {
        backup_manifest m;
        st = backup_load(r->repo, ids[i], &m, err);
        if (st == VV_OK && memcmp(m.info.uuid, r->chain[0].info.uuid, sizeof m.info.uuid) == 0 &&
            m.info.shard_count == r->chain[0].info.shard_count)
            st = add_to_chain(r, &m, err);
        backup_manifest_fini(&m);
    }
    vv_free(ids);
    return st;
}

/* ---- entries up to the goal ------------------------------------------------------------------ */

static bool is_past(const restoration *r, const wal_record *rec)
{
    if (r->opt->goal == BACKUP_AT_TIME)
        return rec->commit_time_ns > r->opt->time_ns;
    return r->opt->goal == BACKUP_AT_VERSION && rec->shard == r->opt->shard &&
           (int64_t)rec->index > r->opt->version;
}

static vv_status restore_file(restoration *r, const backup_file *file, vv_error *err)
{
    char path[VIO_PATH_MAX];
    vio_file *out = NULL;
    vv_status st = db_build_path(r->build, file->name, path, err);
    if (st == VV_OK)
        st = vio_open(r->to->io, path, VIO_WRITE | VIO_CREATE | VIO_EXCL, &out, err);
    if (st == VV_OK)
        st = backup_read_stored(r->repo, file, out, &r->meter, err);
    if (st == VV_OK)
        st = vio_sync(out, err);
    vio_close(out);
    return st;
}

/* What a bulk load brought, beside the log: the first opening takes it from there. */
static vv_status take_load(restoration *r, const db_load *load, int64_t version, vv_error *err)
{
    const backup_manifest *m = &r->chain[r->now];
    char path[DB_LOAD_PATH_SIZE];
    db_load_path(load, path);
    const backup_file *file = backup_manifest_find(m, path);
    if (file == NULL || file->size != load->size || file->sum != load->sum)
        return vv_fail(err, VV_CORRUPT,
                       "backup %" PRIu64 " has no '%s', the content of the bulk load of version "
                       "%" PRId64 " of shard %u",
                       m->info.id, path, version, load->shard);
    vv_status st =
        r->build == NULL ? backup_check_stored(r->repo, file, err) : restore_file(r, file, err);
    if (st == VV_OK && r->build == NULL)
        r->meter.total += file->size;
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "backup %" PRIu64, m->info.id);
}

static vv_status take_entry(void *ctx, const wal_record *rec, backup_more *more, vv_error *err)
{
    restoration *r = ctx;
    int64_t index = (int64_t)rec->index;
    db_load load;
    if (rec->shard >= r->chain[0].info.shard_count)
        return vv_fail(err, VV_CORRUPT, "an entry of shard %u", rec->shard);
    if (index <= r->at[rec->shard])
        return VV_OK;
    bool is_load = db_load_of(rec, &load);
    r->bare_load = is_load && load.size == 0 && !r->in_base && index == r->at[rec->shard] + 1;
    r->gap = index != r->at[rec->shard] + 1 || r->bare_load;
    r->reached = !r->gap && !r->in_base && is_past(r, rec);
    if (r->gap || r->reached) {
        *more = BACKUP_STOP;
        return VV_OK;
    }
    if (is_load && load.size > 0) {
        vv_status st = take_load(r, &load, index, err);
        if (st != VV_OK)
            return st;
    }
    r->at[rec->shard] = index;
    if (rec->commit_time_ns > r->time_ns)
        r->time_ns = rec->commit_time_ns;
    if (!r->in_base && r->opt->goal == BACKUP_AT_VERSION && rec->shard == r->opt->shard &&
        index == r->opt->version) {
        r->reached = true;
        *more = BACKUP_STOP;
    }
    return r->build == NULL ? VV_OK : db_build_entry(r->build, rec, err);
}

static bool is_at_goal(const restoration *r)
{
    if (r->opt->goal == BACKUP_AT_VERSION)
        return r->at[r->opt->shard] >= r->opt->version;
    return r->opt->goal == BACKUP_AT_TIME && r->chain[r->count - 1].info.time_ns >= r->opt->time_ns;
}

static vv_status walk_entries(restoration *r, vv_error *err)
{
    assert(r->chain != NULL);
    vv_status st = VV_OK;
    r->reached = r->gap = false;
    r->time_ns = 0;
    for (uint32_t i = 0; i < r->chain[0].info.shard_count; i++) {
        r->at[i] = r->chain[0].info.shard[i].checkpoint;
        if (r->chain[0].info.shard[i].commit_time_ns > r->time_ns)
            r->time_ns = r->chain[0].info.shard[i].commit_time_ns;
    }
    for (size_t i = 0; st == VV_OK && i < r->count && !r->reached && !r->gap; i++) {
        const backup_file *log = backup_manifest_find(&r->chain[i], BACKUP_LOG_NAME);
        r->in_base = i == 0;
        r->now = i;
        if (i > 0 && r->opt->goal == BACKUP_AT_VERSION && is_at_goal(r)) {
            r->reached = true;
            break;
        }
        if (log == NULL)
            return vv_fail(err, VV_CORRUPT, "backup %" PRIu64 " has no log", r->chain[i].info.id);
        st = backup_log_read(r->repo, log, take_entry, r, err);
        for (uint32_t s = 0; i == 0 && st == VV_OK && s < r->chain[0].info.shard_count; s++)
            if (r->at[s] != r->chain[0].info.shard[s].version)
                return vv_fail(err, VV_CORRUPT,
                               "the log of backup %" PRIu64 " ends at version %" PRId64
                               " of shard %u and not at %" PRId64,
                               r->chain[0].info.id, r->at[s], s, r->chain[0].info.shard[s].version);
    }
    return st;
}

static const char *say_gap(const restoration *r)
{
    if (r->bare_load)
        return ", then a bulk load follows that the archive does not have (it was made without "
               "archive_log)";
    return r->gap ? ", then entries are missing" : "";
}

static vv_status plan(restoration *r, vv_error *err)
{
    vv_status st = walk_entries(r, err);
    if (st != VV_OK || r->opt->goal == BACKUP_WHOLE)
        return st;
    if (r->reached || (!r->gap && is_at_goal(r)))
        return VV_OK;
    if (r->opt->goal == BACKUP_AT_VERSION)
        return vv_fail(err, VV_NOT_FOUND,
                       "version %" PRId64 " of shard %u is not in the backups: behind backup "
                       "%" PRIu64 " the archived log reaches version %" PRId64 "%s",
                       r->opt->version, r->opt->shard, r->chain[0].info.id, r->at[r->opt->shard],
                       say_gap(r));
    return vv_fail(err, VV_NOT_FOUND,
                   "the time is not in the backups: behind backup %" PRIu64
                   " the archived log reaches %" PRId64 ".%09" PRId64 " s after 1970%s",
                   r->chain[0].info.id, r->time_ns / VV_NS_PER_S, r->time_ns % VV_NS_PER_S,
                   say_gap(r));
}

/* ---- checking and copying -------------------------------------------------------------------- */

static bool is_of_log(const backup_file *file)
{
    return strcmp(file->name, BACKUP_LOG_NAME) == 0 ||
           strncmp(file->name, DB_LOAD_DIR "/", sizeof DB_LOAD_DIR) == 0;
}

/* Every file is there at its length, and the logs are what they were: before anything is written.
 */
static vv_status check_present(restoration *r, vv_error *err)
{
    vv_status st = VV_OK;
    for (size_t i = 0; st == VV_OK && i < r->count; i++) {
        const backup_manifest *m = &r->chain[i];
        for (size_t f = 0; st == VV_OK && f < m->count; f++) {
            bool is_log = strcmp(m->files[f].name, BACKUP_LOG_NAME) == 0;
            if (is_log)
                st = backup_read_stored(r->repo, &m->files[f], NULL, NULL, err);
            else if (i == 0 && !is_of_log(&m->files[f])) /* loads: by the plan, as it needs them */
                st = backup_check_stored(r->repo, &m->files[f], err);
            if (i == 0)
                r->meter.total += is_of_log(&m->files[f]) ? 0 : m->files[f].size;
        }
        if (st != VV_OK)
            (void)vv_wrap(err, st, "backup %" PRIu64, m->info.id);
    }
    return st;
}

static vv_status build(restoration *r, vv_env *to, vv_error *err)
{
    const backup_manifest *base = &r->chain[0];
    vv_status st = db_build_begin(to, "", base->info.shard_count, &r->build, err);
    if (st != VV_OK)
        return st;
    for (size_t i = 0; st == VV_OK && i < base->count; i++)
        if (!is_of_log(&base->files[i]))
            st = restore_file(r, &base->files[i], err);
    if (st == VV_OK)
        st = walk_entries(r, err);
    if (st == VV_OK)
        return db_build_finish(r->build, err);
    db_build_abort(r->build);
    return st;
}

vv_status backup_restore(backup_repo *repo, const backup_restore_options *opt, vv_env *to,
                         backup_info *out, vv_error *err)
{
    assert(repo != NULL && opt != NULL && to != NULL);
    restoration r = {.repo = repo, .opt = opt, .to = to};
    r.meter = (backup_meter){.progress = opt->progress, .what = "restore"};
    vv_status st = choose(&r, err);
    if (st == VV_OK)
        st = check_present(&r, err);
    if (st == VV_OK)
        st = plan(&r, err);
    if (st == VV_OK)
        st = build(&r, to, err);
    if (st == VV_OK && out != NULL)
        *out = r.chain[0].info;
    for (size_t i = 0; i < r.count; i++)
        backup_manifest_fini(&r.chain[i]);
    vv_free(r.chain);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "restore");
}

/* ---- verifying ------------------------------------------------------------------------------- */

typedef struct verification {
    backup_repo *repo;
    void (*finding)(void *ctx, const char *text);
    void *ctx;
    bool is_damaged;
    backup_meter meter;
} verification;

/* Damage is told and looked past; anything else ends it. */
static vv_status judge(verification *v, uint64_t id, vv_status st, const vv_error *why,
                       vv_error *err)
{
    if (st == VV_OK)
        return VV_OK;
    if (st != VV_CORRUPT && st != VV_UNSUPPORTED) {
        if (err != NULL)
            *err = *why;
        return st;
    }
    char text[320];
    (void)snprintf(text, sizeof text, "backup %" PRIu64 ": %s", id, why->msg);
    v->is_damaged = true;
    if (v->finding != NULL)
        v->finding(v->ctx, text);
    return VV_OK;
}

static vv_status verify_one(verification *v, const uint64_t *ids, size_t at, vv_error *err)
{
    uint64_t id = ids[at];
    backup_manifest m;
    vv_error why = {0};
    vv_status st = backup_load(v->repo, id, &m, &why);
    if (st != VV_OK)
        return judge(v, id, st, &why, err);
    if (backup_manifest_find(&m, BACKUP_LOG_NAME) == NULL) {
        st = vv_fail(&why, VV_CORRUPT, "it has no log");
        st = judge(v, id, st, &why, err);
    }
    if (st == VV_OK) {
        st = backup_check_joined(v->repo, &m.info, ids, at, &why);
        st = judge(v, id, st, &why, err);
    }
    v->meter.total += m.info.bytes;
    for (size_t i = 0; st == VV_OK && i < m.count; i++) {
        st = backup_read_stored(v->repo, &m.files[i], NULL, &v->meter, &why);
        st = judge(v, id, st, &why, err);
    }
    backup_manifest_fini(&m);
    return st;
}

vv_status backup_verify(backup_repo *repo, uint64_t id, const backup_progress *progress,
                        void (*finding)(void *ctx, const char *text), void *ctx, vv_error *err)
{
    verification v = {.repo = repo, .finding = finding, .ctx = ctx};
    v.meter = (backup_meter){.progress = progress, .what = "verify"};
    uint64_t *ids = NULL;
    size_t count = 0;
    bool found = false;
    vv_status st = backup_ids(repo, &ids, &count, err);
    for (size_t i = 0; st == VV_OK && i < count; i++) {
        if (id != 0 && ids[i] != id)
            continue;
        found = true;
        st = verify_one(&v, ids, i, err);
    }
    vv_free(ids);
    if (st == VV_OK && id != 0 && !found)
        st = vv_fail(err, VV_NOT_FOUND, "there is no backup %" PRIu64, id);
    if (st == VV_OK && v.is_damaged)
        st = vv_fail(err, VV_CORRUPT, "a backup is damaged");
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "verify");
}
