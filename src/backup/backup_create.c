/*
 * backup_create.c - a backup of a store in use.
 *
 *   pin of objects -> capture -> each file into content -> log, and what bulk loads in it brought,
 *     into content -> directory synced -> manifest
 *
 * The manifest makes it a backup; until then what was stored is content that nobody names, which
 * goes when the creation fails, or with the next drop. With archive_log the log begins behind the
 * backup before (of the same store) instead of at the files' checkpoints, so that all versions
 * between the two can be restored, when the store still has that log: if not, a full backup stands
 * alone, and one of the log alone is refused.
 */
#include <inttypes.h>
#include <string.h>

#include "backup/backup_int.h"
#include "base/alloc.h"
#include "base/error.h"
#include "db/db_capture.h"

typedef struct creation {
    backup_repo *repo;
    const backup_create_options *opt;
    db_capture *capture;
    backup_manifest before; /* the newest of the same store; info.id 0: none */
    backup_manifest now;
    backup_meter meter;
    uint64_t newest_id;
} creation;

static vv_status find_before(creation *c, vv_error *err)
{
    uint64_t *ids = NULL;
    size_t count = 0;
    vv_status st = backup_ids(c->repo, &ids, &count, err);
    if (st == VV_OK && count > 0)
        c->newest_id = ids[count - 1];
    for (size_t i = count; st == VV_OK && i-- > 0;) {
        backup_manifest m;
        vv_status one = backup_load(c->repo, ids[i], &m, NULL);
        if (one == VV_OK && memcmp(m.info.uuid, c->capture->uuid, sizeof m.info.uuid) == 0 &&
            m.info.shard_count == c->capture->shard_count) {
            c->before = m;
            break;
        }
        backup_manifest_fini(&m);
        if (one != VV_OK && one != VV_CORRUPT && one != VV_NOT_FOUND)
            st = vv_wrap(err, one, "find the oldest backup, whose objects stay");
    }
    vv_free(ids);
    if (st == VV_OK && c->opt->log_only && c->before.info.id == 0)
        st = vv_fail(err, VV_NOT_FOUND,
                     "the log alone needs a backup of this store before it: make one first");
    return st;
}

static void describe(creation *c)
{
    backup_info *info = &c->now.info;
    const db_capture *from = c->capture;
    info->id = c->newest_id + 1;
    info->kind = c->opt->log_only ? BACKUP_LOG : BACKUP_FULL;
    info->time_ns = from->time_ns;
    memcpy(info->uuid, from->uuid, sizeof info->uuid);
    info->shard_count = from->shard_count;
    for (uint32_t i = 0; i < from->shard_count; i++)
        info->shard[i] =
            (backup_shard){.checkpoint = c->opt->log_only ? 0 : from->shard[i].checkpoint,
                           .version = from->shard[i].version,
                           .commit_time_ns = from->shard[i].commit_time_ns};
}

/* ---- files ----------------------------------------------------------------------------------- */

static vv_status measure(creation *c, vv_error *err)
{
    vv_status st = VV_OK;
    for (size_t i = 0; st == VV_OK && i < c->capture->count; i++) {
        const db_captured_file *f = &c->capture->files[i];
        vio_file *in = NULL;
        uint64_t size = f->content_len;
        if (f->content == NULL) {
            st = db_capture_open(c->capture, f, &in, err);
            if (st == VV_OK)
                st = vio_size(in, &size, err);
            vio_close(in);
        }
        c->meter.total += size;
    }
    return st;
}

/* A few bytes that are in memory: through a part file as all others. */
static vv_status store_bytes(creation *c, const db_captured_file *f, uint64_t *sum, bool *is_new,
                             vv_error *err)
{
    vio_file *part = NULL;
    vio *io = c->repo->env->io;
    vv_status st =
        vio_open(io, BACKUP_PART, VIO_READ | VIO_WRITE | VIO_CREATE | VIO_BEHIND, &part, err);
    if (st == VV_OK)
        st = vio_truncate(part, 0, err);
    if (st == VV_OK)
        st = vio_pwrite(part, 0, f->content, f->content_len, err);
    if (st == VV_OK)
        st = backup_copy(part, f->content_len, NULL, sum, &c->meter, err);
    backup_file file = {f->path, f->content_len, *sum};
    if (st == VV_OK)
        st = backup_adopt_part(c->repo, part, &file, is_new, err);
    vio_close(part);
    return st;
}

static vv_status store_file(creation *c, const db_captured_file *f, vv_error *err)
{
    uint64_t size = f->content_len;
    uint64_t sum = 0;
    bool is_new = false;
    vv_status st;
    if (strlen(f->path) > BACKUP_NAME_MAX)
        return vv_fail(err, VV_UNSUPPORTED, "the name is too long");
    if (f->content != NULL) {
        st = store_bytes(c, f, &sum, &is_new, err);
    } else {
        vio_file *in = NULL;
        st = db_capture_open(c->capture, f, &in, err);
        if (st == VV_OK)
            st = vio_size(in, &size, err);
        if (st == VV_OK)
            st = backup_store(c->repo, f->path, in, size, backup_manifest_find(&c->before, f->path),
                              &sum, &is_new, &c->meter, err);
        vio_close(in);
    }
    if (st == VV_OK)
        st = backup_manifest_add(&c->now, f->path, size, sum, err);
    if (st == VV_OK && is_new)
        c->now.info.new_bytes += size;
    return st;
}

static vv_status store_files(creation *c, vv_error *err)
{
    vv_status st = measure(c, err);
    for (size_t i = 0; st == VV_OK && i < c->capture->count; i++) {
        st = store_file(c, &c->capture->files[i], err);
        if (st != VV_OK)
            (void)vv_wrap(err, st, "'%s'", c->capture->files[i].path);
    }
    return st;
}

/* ---- log ------------------------------------------------------------------------------------- */

/* Loads whose entries are in the log: their contents go with it. */
typedef struct load_list {
    db_load *load;
    size_t count, cap;
    int64_t lost; /* version of one whose content the store has let go of; 0: none */
    uint32_t lost_shard;
} load_list;

typedef struct log_put {
    creation *c;
    backup_log_writer w;
    load_list *loads;
} log_put;

static vv_status note_load(log_put *put, const db_load *load, int64_t version, vv_error *err)
{
    load_list *l = put->loads;
    vio_file *file = NULL;
    vv_status st = db_capture_open_load(put->c->capture, load, &file, err);
    vio_close(file);
    if (st == VV_NOT_FOUND) {
        l->lost = version;
        l->lost_shard = load->shard;
        return VV_OK;
    }
    if (st != VV_OK)
        return st;
    if (l->count == l->cap) {
        size_t cap = l->cap * 2 + 8;
        db_load *loads = vv_realloc(l->load, cap * sizeof *loads);
        if (loads == NULL)
            return vv_fail(err, VV_NO_MEMORY, "no memory for %zu bulk loads", cap);
        l->load = loads;
        l->cap = cap;
    }
    l->load[l->count++] = *load;
    return VV_OK;
}

static vv_status put_entry(void *ctx, const wal_record *rec, uint64_t position, vv_error *err)
{
    log_put *put = ctx;
    db_load load;
    (void)position;
    backup_shard *shard = &put->c->now.info.shard[rec->shard];
    if (shard->log_first == 0)
        shard->log_first = (int64_t)rec->index;
    if (db_load_of(rec, &load) && load.size > 0) {
        vv_status st = note_load(put, &load, (int64_t)rec->index, err);
        if (st != VV_OK)
            return st;
    }
    return backup_log_put(&put->w, rec, err);
}

/* Where the log begins in each shard: behind what the files have, and what the backup before has.
 */
static void log_from(const creation *c, int64_t above[WAL_SHARD_MAX])
{
    bool archive = (c->opt->archive_log || c->opt->log_only) && c->before.info.id != 0;
    for (uint32_t i = 0; i < c->capture->shard_count; i++) {
        int64_t had = c->before.info.shard[i].version;
        above[i] = c->capture->shard[i].checkpoint;
        if (archive && (had < above[i] || c->opt->log_only))
            above[i] = had;
    }
}

/* Write what the store has above `above` into the part file. */
static vv_status write_log(creation *c, const int64_t above[WAL_SHARD_MAX], vio_file *part,
                           backup_file *out, load_list *loads, vv_error *err)
{
    log_put put = {.c = c, .loads = loads};
    loads->count = 0;
    loads->lost = 0;
    for (uint32_t i = 0; i < c->capture->shard_count; i++)
        c->now.info.shard[i].log_first = 0;
    vv_status st = vio_truncate(part, 0, err);
    if (st == VV_OK)
        st = backup_log_begin(&put.w, part, c->capture->shard_count, err);
    if (st == VV_OK)
        st = db_capture_entries(c->capture, above, put_entry, &put, err);
    if (st == VV_OK)
        st = backup_log_end(&put.w, &out->sum, err);
    out->size = put.w.size;
    backup_log_fini(&put.w);
    return st;
}

/* The part file, with a log that has all it is to have. */
static vv_status make_log(creation *c, vio_file *part, backup_file *out, load_list *loads,
                          vv_error *err)
{
    int64_t above[WAL_SHARD_MAX] = {0};
    uint32_t shard = 0;
    log_from(c, above);
    vv_status st = write_log(c, above, part, out, loads, err);
    bool has_gap = st == VV_OK && backup_info_has_gap(&c->now.info, above, &shard);
    if (st != VV_OK || (!has_gap && loads->lost == 0))
        return st;
    if (c->opt->log_only && !has_gap)
        return vv_fail(err, VV_NOT_FOUND,
                       "the store has let go of the content of the bulk load of version %" PRId64
                       " of shard %u: make a full backup",
                       loads->lost, loads->lost_shard);
    if (c->opt->log_only)
        return vv_fail(err, VV_NOT_FOUND,
                       "the store has let go of log behind version %" PRId64 " of shard %u, where "
                       "backup %" PRIu64 " ends: make a full backup (with archive_log a server "
                       "keeps the log for the next one, up to four times log_limit)",
                       above[shard], shard, c->before.info.id);
    for (uint32_t i = 0; i < c->capture->shard_count; i++)
        above[i] = c->capture->shard[i].checkpoint;
    st = write_log(c, above, part, out, loads, err);
    if (st == VV_OK && loads->lost != 0)
        return vv_fail(err, VV_CORRUPT,
                       "the content of the bulk load of version %" PRId64
                       " of shard %u is missing in the store's directory '" DB_LOAD_DIR "'",
                       loads->lost, loads->lost_shard);
    if (st == VV_OK && backup_info_has_gap(&c->now.info, above, &shard))
        st = vv_fail(err, VV_CORRUPT,
                     "the store's log of shard %u lacks entries above version %" PRId64, shard,
                     above[shard]);
    return st;
}

static vv_status store_load(creation *c, const db_load *load, vv_error *err)
{
    char path[DB_LOAD_PATH_SIZE];
    vio_file *in = NULL;
    uint64_t sum = 0;
    bool is_new = false;
    db_load_path(load, path);
    vv_status st = db_capture_open_load(c->capture, load, &in, err);
    if (st == VV_OK)
        st = backup_store(c->repo, path, in, load->size, backup_manifest_find(&c->before, path),
                          &sum, &is_new, &c->meter, err);
    if (st == VV_OK && sum != load->sum)
        st = vv_fail(err, VV_CORRUPT, "its sum is %016" PRIx64 " and not %016" PRIx64, sum,
                     load->sum);
    if (st == VV_OK)
        st = backup_manifest_add(&c->now, path, load->size, sum, err);
    if (st == VV_OK && is_new)
        c->now.info.new_bytes += load->size;
    vio_close(in);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "'%s'", path);
}

static vv_status store_loads(creation *c, const load_list *loads, vv_error *err)
{
    vv_status st = VV_OK;
    for (size_t i = 0; i < loads->count; i++)
        c->meter.total += loads->load[i].size;
    for (size_t i = 0; st == VV_OK && i < loads->count; i++)
        st = store_load(c, &loads->load[i], err);
    return st;
}

static vv_status store_log(creation *c, vv_error *err)
{
    load_list loads = {0};
    char name[] = BACKUP_LOG_NAME;
    backup_file file = {.name = name};
    vio_file *part = NULL;
    bool is_new = false;
    vv_status st = vio_open(c->repo->env->io, BACKUP_PART,
                            VIO_READ | VIO_WRITE | VIO_CREATE | VIO_BEHIND, &part, err);
    if (st == VV_OK)
        st = make_log(c, part, &file, &loads, err);
    if (st == VV_OK)
        st = backup_adopt_part(c->repo, part, &file, &is_new, err);
    if (st == VV_OK)
        st = backup_manifest_add(&c->now, name, file.size, file.sum, err);
    if (st == VV_OK && is_new)
        c->now.info.new_bytes += file.size;
    vio_close(part);
    if (st == VV_OK)
        st = store_loads(c, &loads, err);
    vv_free(loads.load);
    return st;
}

/* ---- objects that it leads to ---------------------------------------------------------------- */

/* The oldest backup of the store. *found: there is one. One that is damaged or gone cannot be
 * restored, and what it leads to need not stay; one that cannot be read today may be, tomorrow. */
static vv_status find_oldest(backup_repo *repo, const vv_db *db, backup_info *out, bool *found,
                             vv_error *err)
{
    uint64_t *ids = NULL;
    size_t count = 0;
    *found = false;
    vv_status st = backup_ids(repo, &ids, &count, err);
    for (size_t i = 0; st == VV_OK && !*found && i < count; i++) {
        backup_manifest m;
        vv_status one = backup_load(repo, ids[i], &m, err);
        *found = one == VV_OK && memcmp(m.info.uuid, db_store_uuid(db), sizeof m.info.uuid) == 0;
        if (*found)
            *out = m.info;
        backup_manifest_fini(&m);
        if (one == VV_NO_MEMORY)
            st = vv_fail(err, one, "no memory to read a backup");
    }
    vv_free(ids);
    return st;
}

/* Messages of streams may lie in objects, and a backup has the records of them alone: what it leads
 * to stays, from the versions of the oldest backup on. */
static vv_status pin_objects(backup_repo *repo, vv_db *db, vv_error *err)
{
    uint8_t id[DB_REPO_ID_SIZE];
    int64_t versions[WAL_SHARD_MAX];
    backup_info oldest = {0};
    bool found = false;
    if (!db_repo_needs_pin(db))
        return VV_OK;
    vv_status st = backup_repo_id(repo, db_store_uuid(db), id, err);
    if (st == VV_OK)
        st = find_oldest(repo, db, &oldest, &found, err);
    for (uint32_t i = 0; i < oldest.shard_count; i++)
        versions[i] = oldest.shard[i].version;
    return st == VV_OK ? db_repo_pin(db, id, found ? versions : NULL, err) : st;
}

static vv_status create(creation *c, vv_db *db, vv_error *err)
{
    vv_status st = pin_objects(c->repo, db, err);
    if (st == VV_OK)
        st = db_capture_begin(db, &c->capture, err);
    if (st != VV_OK)
        return st;
    st = find_before(c, err);
    if (st == VV_OK)
        describe(c);
    if (st == VV_OK && !c->opt->log_only)
        st = store_files(c, err);
    if (st == VV_OK)
        st = store_log(c, err);
    if (st == VV_OK)
        st = backup_save(c->repo, &c->now, err);
    if (st == VV_OK && (c->opt->archive_log || c->opt->log_only))
        db_capture_archived(c->capture);
    db_capture_end(c->capture);
    return st;
}

vv_status backup_create(backup_repo *repo, vv_db *db, const backup_create_options *opt,
                        backup_info *out, vv_error *err)
{
    assert(repo->lock != NULL && opt != NULL);
    creation c = {.repo = repo, .opt = opt};
    c.meter = (backup_meter){.progress = opt->progress, .what = "copy"};
    vv_status st = create(&c, db, err);
    if (st != VV_OK)
        backup_collect(repo);
    else if (out != NULL)
        *out = c.now.info;
    backup_manifest_fini(&c.before);
    backup_manifest_fini(&c.now);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "backup");
}
