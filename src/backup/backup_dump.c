/*
 * backup_dump.c - the two kinds of files that backups alone have, as text: what a backup holds, and
 * the log of one (docs/format/backup.md).
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backup/backup_int.h"
#include "base/alloc.h"
#include "base/error.h"

#define LINE_MAX_SIZE (VIO_PATH_MAX + 128)
#define MANIFEST_MAX (256 * VV_MIB)

typedef struct printer {
    void (*line)(void *ctx, const char *text);
    void *ctx;
} printer;

static void print_manifest(const printer *p, const backup_manifest *m)
{
    char text[LINE_MAX_SIZE];
    const backup_info *info = &m->info;
    (void)snprintf(text, sizeof text,
                   "backup %" PRIu64 " %s time %" PRId64 " shards %u files %zu bytes %" PRIu64
                   " new %" PRIu64,
                   info->id, info->kind == BACKUP_LOG ? "log" : "full", info->time_ns,
                   info->shard_count, m->count, info->bytes, info->new_bytes);
    p->line(p->ctx, text);
    for (uint32_t i = 0; i < info->shard_count; i++) {
        const backup_shard *s = &info->shard[i];
        (void)snprintf(text, sizeof text,
                       "shard %u checkpoint %" PRId64 " log from %" PRId64 " version %" PRId64
                       " committed %" PRId64,
                       i, s->checkpoint, s->log_first, s->version, s->commit_time_ns);
        p->line(p->ctx, text);
    }
    for (size_t i = 0; i < m->count; i++) {
        (void)snprintf(text, sizeof text, "file %s size %" PRIu64 " sum %016" PRIx64,
                       m->files[i].name, m->files[i].size, m->files[i].sum);
        p->line(p->ctx, text);
    }
}

static vv_status dump_manifest(vio *io, const char *path, const printer *p, vv_error *err)
{
    backup_manifest m = {0};
    uint8_t *bytes = NULL;
    size_t len = 0;
    vv_status st = vio_read_file(io, path, MANIFEST_MAX, &bytes, &len, err);
    if (st == VV_OK)
        st = backup_manifest_decode(vv_slice_of(bytes, len), &m, err);
    if (st == VV_OK)
        print_manifest(p, &m);
    backup_manifest_fini(&m);
    vv_free(bytes);
    return st;
}

static vv_status print_entry(void *ctx, const wal_record *rec, backup_more *more, vv_error *err)
{
    const printer *p = ctx;
    char text[LINE_MAX_SIZE];
    (void)more;
    (void)err;
    (void)snprintf(text, sizeof text,
                   "entry shard %u index %" PRIu64 " term %" PRIu64 " committed %" PRId64
                   " payload %zu",
                   rec->shard, rec->index, rec->term, rec->commit_time_ns, rec->payload.len);
    p->line(p->ctx, text);
    return VV_OK;
}

vv_status backup_dump(vv_env *env, const char *path, void (*line)(void *ctx, const char *text),
                      void *ctx, bool *is_one, vv_error *err)
{
    printer p = {line, ctx};
    uint8_t head[8] = {0};
    uint64_t size = 0;
    size_t got = 0;
    vio_file *file = NULL;
    *is_one = false;
    vv_status st = vio_open(env->io, path, VIO_READ, &file, err);
    if (st == VV_OK)
        st = vio_pread(file, 0, head, sizeof head, &got, err);
    if (st == VV_OK)
        st = vio_size(file, &size, err);
    bool is_log = memcmp(head, "VARVEBKL", sizeof head) == 0;
    bool is_manifest = memcmp(head, "VARVEBKM", sizeof head) == 0;
    *is_one = st == VV_OK && (is_log || is_manifest);
    if (st == VV_OK && is_log)
        st = backup_log_walk(file, size, path, print_entry, &p, err);
    vio_close(file);
    return st == VV_OK && is_manifest ? dump_manifest(env->io, path, &p, err) : st;
}
