/*
 * svc_backup.c - backups on the server's side: into backup.dir and nowhere else. A client says that
 * there is to be one, never where.
 */
#include "server/svc_backup.h"

#include <inttypes.h>

#include "backup/backup.h"
#include "base/error.h"
#include "codec/protowire.h"
#include "server/svc_kv.h"

static vv_status open_repo(const node *n, bool write, vv_env *env, backup_repo **out, vv_error *err)
{
    *env = (vv_env){0};
    if (n->backup_dir == NULL || n->backup_dir[0] == '\0')
        return vv_fail(err, VV_UNSUPPORTED,
                       "the server keeps no backups: set backup.dir in its configuration");
    vv_status st = env_posix_init(env, n->backup_dir, n->log, err);
    if (st == VV_OK)
        st = backup_repo_open(env, write, out, err);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "backup.dir");
}

static void close_repo(vv_env *env, backup_repo *repo)
{
    backup_repo_close(repo);
    vio_destroy(env->io);
}

/* The fields of a BackupInfo. */
static void put_info(vv_buf *out, const backup_info *info, const char *damage)
{
    wire_put_varint(out, 1, info->id);
    wire_put_bytes(out, 2, vv_slice_str(info->kind == BACKUP_LOG ? "log" : "full"));
    wire_put_varint(out, 3, (uint64_t)info->time_ns);
    size_t mark = wire_begin(out, 4);
    for (uint32_t i = 0; i < info->shard_count; i++)
        vv_buf_append_varint(out, (uint64_t)info->shard[i].version);
    wire_end(out, mark);
    wire_put_varint(out, 5, info->bytes);
    wire_put_varint(out, 6, info->new_bytes);
    wire_put_varint(out, 7, info->file_count);
    wire_put_bytes(out, 8, vv_slice_str(damage));
}

static vv_status create(node *n, vv_db *db, vv_slice request, const backup_progress *progress,
                        backup_info *info, vv_error *err)
{
    backup_create_options opt = {.archive_log = n->backup_archive_log, .progress = progress};
    backup_repo *repo = NULL;
    vv_env env;
    wire_reader r = wire_reader_of(request);
    wire_field f = {0};
    while (wire_next(&r, &f) > 0)
        if (f.number == 1 && !svc_kv_take_bool(&f, &opt.log_only))
            return svc_kv_fail_malformed("CreateBackupRequest", err);
    if (r.fault != WIRE_GOOD)
        return svc_kv_fail_malformed("CreateBackupRequest", err);
    vv_status st = open_repo(n, true, &env, &repo, err);
    if (st == VV_OK)
        st = backup_create(repo, db, &opt, info, err);
    close_repo(&env, repo);
    if (st != VV_OK) {
        vv_log_to(n->log, VV_LOG_WARN, "backup", "no backup was made",
                  VV_KV_S("why", err == NULL ? "" : err->msg));
        return st;
    }
    vv_log_to(n->log, VV_LOG_INFO, "backup", "backup made", VV_KV_U("id", info->id),
              VV_KV_U("bytes", info->bytes), VV_KV_U("new_bytes", info->new_bytes));
    return VV_OK;
}

vv_status svc_backup_create(node *n, vv_db *db, vv_slice request, vv_buf *out, vv_error *err)
{
    backup_info info = {0};
    vv_status st = create(n, db, request, NULL, &info, err);
    if (st == VV_OK)
        put_info(out, &info, "");
    return st;
}

/* ---- telling how far it is ---- */

#define INFO_MAX 4096u /* bytes of a BackupInfo without damage */
#define TELL_STEP_NS (VV_NS_PER_S / 10)
#define TELL_MAX 128u          /* bytes of a message without a backup */
#define TELL_QUEUED_MAX 16384u /* bytes: a client that reads no more is told no more */

typedef struct teller {
    backup_progress base;
    node *n;
    srv_call *call;
    int64_t last_ns;
} teller;

static void tell_step(void *ctx, const char *what, uint64_t done, uint64_t total)
{
    teller *t = ctx;
    int64_t now = vv_clock_mono(t->n->env.clock);
    if ((now - t->last_ns < TELL_STEP_NS && done < total) ||
        srv_call_queued(t->call) > TELL_QUEUED_MAX)
        return;
    t->last_ns = now;
    vv_buf out;
    vv_buf_init(&out, TELL_MAX);
    wire_put_bytes(&out, 1, vv_slice_str(what));
    wire_put_varint(&out, 2, done);
    wire_put_varint(&out, 3, total);
    if (out.status == VV_OK) /* else this one is left out */
        srv_call_send(t->call, &out);
    vv_buf_fini(&out);
}

vv_status svc_backup_stream(node *n, srv_call *call, vv_db *db, vv_slice request, vv_error *err)
{
    backup_info info = {0};
    teller t = {.base = {tell_step, &t}, .n = n, .call = call};
    vv_buf out;
    vv_status st = create(n, db, request, &t.base, &info, err);
    if (st != VV_OK)
        return st;
    vv_buf_init(&out, INFO_MAX);
    size_t mark = wire_begin(&out, 4);
    put_info(&out, &info, "");
    wire_end(&out, mark);
    if (out.status != VV_OK)
        st = vv_fail(err, out.status, "backup %" PRIu64 " is made, but there is no memory to tell",
                     info.id);
    else
        srv_call_send(call, &out);
    vv_buf_fini(&out);
    return st;
}

static void put_one(void *ctx, const backup_info *info, vv_status st, const char *why)
{
    vv_buf *out = ctx;
    size_t mark = wire_begin(out, 1);
    put_info(out, info, st == VV_OK ? "" : why);
    wire_end(out, mark);
}

vv_status svc_backup_list(const node *n, vv_buf *out, vv_error *err)
{
    backup_repo *repo = NULL;
    vv_env env;
    vv_status st = open_repo(n, false, &env, &repo, err);
    if (st == VV_OK)
        st = backup_list(repo, put_one, out, err);
    else if (st == VV_NOT_FOUND)
        st = VV_OK; /* the first backup makes it: there are none yet */
    close_repo(&env, repo);
    return st;
}
