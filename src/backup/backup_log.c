/*
 * backup_log.c - entries of the log as one file of a backup (docs/format/backup.md).
 *
 *   magic | version | shards | 16 zero bytes | entry | entry | ...
 *   entry:  crc | length | shard | crc of the payload | index | term | commit time | payload
 *
 * In log order over all shards, so that a prefix of it is a state the store was in. The crc covers
 * the head behind it; the file's length and sum are in the manifest.
 */
#include <inttypes.h>
#include <string.h>

#include "backup/backup_int.h"
#include "base/alloc.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "base/hash.h"

#define MAGIC "VARVEBKL"
#define VERSION 1u
#define START 32u
#define HEAD 40u

static vv_status write_out(backup_log_writer *w, vv_error *err)
{
    if (w->buf.status != VV_OK)
        return vv_fail(err, VV_NO_MEMORY, "no memory to write the log of a backup");
    vv_status st = vio_pwrite(w->file, w->written, w->buf.data, w->buf.len, err);
    (void)XXH3_64bits_update(w->sum, w->buf.data, w->buf.len);
    w->written += w->buf.len;
    vv_buf_reset(&w->buf);
    return st;
}

vv_status backup_log_begin(backup_log_writer *w, vio_file *file, uint32_t shard_count,
                           vv_error *err)
{
    static const uint8_t zeros[16];
    *w = (backup_log_writer){.file = file, .size = START};
    vv_buf_init(&w->buf, BACKUP_CHUNK + WAL_PAYLOAD_MAX + HEAD);
    w->sum = vv_alloc_aligned(64, sizeof(XXH3_state_t));
    if (w->sum == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory to write the log of a backup");
    (void)XXH3_64bits_reset(w->sum);
    vv_buf_append(&w->buf, MAGIC, 8);
    vv_buf_append_le32(&w->buf, VERSION);
    vv_buf_append_le32(&w->buf, shard_count);
    vv_buf_append(&w->buf, zeros, sizeof zeros);
    return VV_OK;
}

vv_status backup_log_put(backup_log_writer *w, const wal_record *rec, vv_error *err)
{
    uint8_t head[HEAD];
    vv_put_le32(head + 4, (uint32_t)rec->payload.len);
    vv_put_le32(head + 8, rec->shard);
    vv_put_le32(head + 12, rec->payload_crc);
    vv_put_le64(head + 16, rec->index);
    vv_put_le64(head + 24, rec->term);
    vv_put_le64(head + 32, (uint64_t)rec->commit_time_ns);
    vv_put_le32(head, vv_crc32c(0, head + 4, HEAD - 4));
    vv_buf_append(&w->buf, head, HEAD);
    vv_buf_append_slice(&w->buf, rec->payload);
    w->size += HEAD + rec->payload.len;
    return w->buf.len >= BACKUP_CHUNK || w->buf.status != VV_OK ? write_out(w, err) : VV_OK;
}

vv_status backup_log_end(backup_log_writer *w, uint64_t *sum, vv_error *err)
{
    vv_status st = write_out(w, err);
    *sum = XXH3_64bits_digest(w->sum);
    return st;
}

void backup_log_fini(backup_log_writer *w)
{
    vv_buf_fini(&w->buf);
    vv_free(w->sum);
    *w = (backup_log_writer){0};
}

/* ---- reading --------------------------------------------------------------------------------- */

static vv_status read_start(vio_file *in, uint64_t size, vv_error *err)
{
    uint8_t start[START];
    if (size < START)
        return vv_fail(err, VV_CORRUPT, "it is too short");
    vv_status st = vio_pread_full(in, 0, start, START, err);
    if (st != VV_OK)
        return st;
    if (memcmp(start, MAGIC, 8) != 0)
        return vv_fail(err, VV_CORRUPT, "it is no log of a backup");
    if (vv_get_le32(start + 8) != VERSION)
        return vv_fail(err, VV_UNSUPPORTED,
                       "format version %u, this build reads %u: use the version of varve that "
                       "wrote it",
                       vv_get_le32(start + 8), VERSION);
    return VV_OK;
}

static vv_status read_entry(vio_file *in, uint64_t at, uint64_t size, vv_buf *buf, wal_record *rec,
                            vv_error *err)
{
    uint8_t head[HEAD];
    if (size - at < HEAD)
        return vv_fail(err, VV_CORRUPT, "it ends within an entry");
    vv_status st = vio_pread_full(in, at, head, HEAD, err);
    if (st != VV_OK)
        return st;
    uint32_t len = vv_get_le32(head + 4);
    if (vv_get_le32(head) != vv_crc32c(0, head + 4, HEAD - 4) || len > WAL_PAYLOAD_MAX ||
        len > size - at - HEAD || vv_get_le32(head + 8) >= WAL_SHARD_MAX)
        return vv_fail(err, VV_CORRUPT, "the entry at offset %" PRIu64 " is damaged", at);
    vv_buf_reset(buf);
    uint8_t *payload = vv_buf_reserve(buf, (size_t)len + 1);
    if (payload == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for an entry of %u bytes", len);
    st = vio_pread_full(in, at + HEAD, payload, len, err);
    if (st != VV_OK)
        return st;
    *rec = (wal_record){.kind = WAL_ENTRY,
                        .shard = vv_get_le32(head + 8),
                        .payload_crc = vv_get_le32(head + 12),
                        .index = vv_get_le64(head + 16),
                        .term = vv_get_le64(head + 24),
                        .commit_time_ns = (int64_t)vv_get_le64(head + 32),
                        .payload = vv_slice_of(payload, len)};
    if (rec->payload_crc != vv_crc32c(0, payload, len))
        return vv_fail(err, VV_CORRUPT, "the entry at offset %" PRIu64 " is damaged", at);
    return VV_OK;
}

vv_status backup_log_walk(vio_file *in, uint64_t size, const char *path,
                          vv_status (*each)(void *ctx, const wal_record *rec, backup_more *more,
                                            vv_error *err),
                          void *ctx, vv_error *err)
{
    vv_buf buf;
    vv_buf_init(&buf, (size_t)WAL_PAYLOAD_MAX + 1);
    vv_status st = read_start(in, size, err);
    if (st != VV_OK)
        (void)vv_wrap(err, st, "'%s'", path);
    backup_more more = BACKUP_GO_ON;
    for (uint64_t at = START; st == VV_OK && more == BACKUP_GO_ON && at < size;) {
        wal_record rec = {0};
        st = read_entry(in, at, size, &buf, &rec, err);
        if (st != VV_OK) {
            (void)vv_wrap(err, st, "'%s'", path);
            break;
        }
        st = each(ctx, &rec, &more, err);
        at += HEAD + rec.payload.len;
    }
    vv_buf_fini(&buf);
    return st;
}

vv_status backup_log_read(backup_repo *repo, const backup_file *file,
                          vv_status (*each)(void *ctx, const wal_record *rec, backup_more *more,
                                            vv_error *err),
                          void *ctx, vv_error *err)
{
    char path[VIO_PATH_MAX];
    vio_file *in = NULL;
    backup_stored_path(file, path);
    vv_status st = backup_check_stored(repo, file, err);
    if (st == VV_OK)
        st = vio_open(repo->env->io, path, VIO_READ | VIO_BEHIND, &in, err);
    if (st == VV_OK)
        st = backup_log_walk(in, file->size, path, each, ctx, err);
    vio_close(in);
    return st;
}
