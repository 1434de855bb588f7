/*
 * backup_manifest.c - the bytes of a backup's manifest (docs/format/backup.md).
 *
 *   magic | version | features | id | time | uuid | kind | shards | new bytes | files
 *         | per shard: checkpoint, first of the log, version, commit time
 *         | per file: size, sum, length of the name, name
 *         | crc32c of all before it
 */
#include <inttypes.h>
#include <string.h>

#include "backup/backup_int.h"
#include "base/alloc.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/error.h"

#define MAGIC "VARVEBKM"
#define VERSION 1u
#define HEAD 72u
#define SHARD 32u
#define FILE_HEAD 18u

void backup_manifest_fini(backup_manifest *m)
{
    for (size_t i = 0; i < m->count; i++)
        vv_free(m->files[i].name);
    vv_free(m->files);
    *m = (backup_manifest){0};
}

static vv_status add_slice(backup_manifest *m, vv_slice name, uint64_t size, uint64_t sum,
                           vv_error *err)
{
    if (m->count == m->cap) {
        size_t cap = m->cap * 2 + 32;
        backup_file *files = vv_realloc(m->files, cap * sizeof *files);
        if (files == NULL)
            return vv_fail(err, VV_NO_MEMORY, "no memory for %zu files of a backup", cap);
        m->files = files;
        m->cap = cap;
    }
    char *copy = vv_slice_strdup(name);
    if (copy == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for the name of a file");
    m->files[m->count++] = (backup_file){copy, size, sum};
    m->info.bytes += size;
    m->info.file_count++;
    return VV_OK;
}

/* A name of ours: at most three directories deep, nothing that leads out of the store. */
static bool is_name(vv_slice name)
{
    unsigned slashes = 0;
    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.data[i];
        bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    c == '-' || (c == '/' && i > 0 && i + 1 < name.len) ||
                    (c == '.' && i > 0 && name.data[i - 1] != '/' && name.data[i - 1] != '.');
        slashes += c == '/';
        if (!good)
            return false;
    }
    return name.len > 0 && name.len <= BACKUP_NAME_MAX && slashes <= 3;
}

vv_status backup_manifest_add(backup_manifest *m, const char *name, uint64_t size, uint64_t sum,
                              vv_error *err)
{
    if (!is_name(vv_slice_str(name))) /* which no reader would take */
        return vv_fail(err, VV_UNSUPPORTED, "'%.80s' is no name of a file in a backup", name);
    return add_slice(m, vv_slice_str(name), size, sum, err);
}

const backup_file *backup_manifest_find(const backup_manifest *m, const char *name)
{
    for (size_t i = 0; i < m->count; i++)
        if (strcmp(m->files[i].name, name) == 0)
            return &m->files[i];
    return NULL;
}

bool backup_info_has_gap(const backup_info *info, const int64_t above[WAL_SHARD_MAX],
                         uint32_t *shard)
{
    for (uint32_t i = 0; i < info->shard_count; i++) {
        const backup_shard *s = &info->shard[i];
        *shard = i;
        if (s->version > above[i] && (s->log_first == 0 || s->log_first > above[i] + 1))
            return true;
    }
    return false;
}

void backup_manifest_encode(const backup_manifest *m, vv_buf *out)
{
    const backup_info *info = &m->info;
    size_t begin = out->len;
    vv_buf_append(out, MAGIC, 8);
    vv_buf_append_le32(out, VERSION);
    vv_buf_append_le32(out, 0);
    vv_buf_append_le64(out, info->id);
    vv_buf_append_le64(out, (uint64_t)info->time_ns);
    vv_buf_append(out, info->uuid, sizeof info->uuid);
    vv_buf_append_le32(out, (uint32_t)info->kind);
    vv_buf_append_le32(out, info->shard_count);
    vv_buf_append_le64(out, info->new_bytes);
    vv_buf_append_le64(out, m->count);
    for (uint32_t i = 0; i < info->shard_count; i++) {
        vv_buf_append_le64(out, (uint64_t)info->shard[i].checkpoint);
        vv_buf_append_le64(out, (uint64_t)info->shard[i].log_first);
        vv_buf_append_le64(out, (uint64_t)info->shard[i].version);
        vv_buf_append_le64(out, (uint64_t)info->shard[i].commit_time_ns);
    }
    for (size_t i = 0; i < m->count; i++) {
        size_t len = strlen(m->files[i].name);
        vv_buf_append_le64(out, m->files[i].size);
        vv_buf_append_le64(out, m->files[i].sum);
        vv_buf_append_u8(out, (uint8_t)len);
        vv_buf_append_u8(out, 0);
        vv_buf_append(out, m->files[i].name, len);
    }
    if (out->status == VV_OK)
        vv_buf_append_le32(out, vv_crc32c(0, out->data + begin, out->len - begin));
}

static vv_status decode_files(vv_slice in, size_t at, uint64_t count, backup_manifest *m,
                              vv_error *err)
{
    for (uint64_t i = 0; i < count; i++) {
        if (in.len - at < FILE_HEAD)
            return vv_fail(err, VV_CORRUPT, "it ends within its list of files");
        const uint8_t *p = in.data + at;
        vv_slice name = vv_slice_of(p + FILE_HEAD, p[16]);
        at += FILE_HEAD;
        if (in.len - at < name.len || p[17] != 0 || !is_name(name))
            return vv_fail(err, VV_CORRUPT, "file %" PRIu64 " of its list has no usable name", i);
        vv_status st = add_slice(m, name, vv_get_le64(p), vv_get_le64(p + 8), err);
        if (st != VV_OK)
            return st;
        at += name.len;
    }
    if (at != in.len)
        return vv_fail(err, VV_CORRUPT, "bytes follow its list of files");
    return VV_OK;
}

static bool decode_shards(const uint8_t *p, backup_info *info)
{
    bool good = true;
    for (uint32_t i = 0; i < info->shard_count; i++, p += SHARD) {
        backup_shard *s = &info->shard[i];
        *s = (backup_shard){(int64_t)vv_get_le64(p), (int64_t)vv_get_le64(p + 8),
                            (int64_t)vv_get_le64(p + 16), (int64_t)vv_get_le64(p + 24)};
        good &= s->checkpoint >= 0 && s->log_first >= 0 && s->version >= s->checkpoint;
    }
    return good;
}

vv_status backup_manifest_decode(vv_slice in, backup_manifest *m, vv_error *err)
{
    *m = (backup_manifest){0};
    if (in.len < HEAD + 4 || memcmp(in.data, MAGIC, 8) != 0)
        return vv_fail(err, VV_CORRUPT, "it is no manifest of a backup");
    const uint8_t *p = in.data;
    if (vv_get_le32(p + 8) > VERSION || vv_get_le32(p + 12) != 0)
        return vv_fail(err, VV_UNSUPPORTED,
                       "format version %u with feature bits %#x, this build reads version %u "
                       "without any: use the version of varve that wrote it",
                       vv_get_le32(p + 8), vv_get_le32(p + 12), VERSION);
    in.len -= 4;
    if (vv_get_le32(p + in.len) != vv_crc32c(0, p, in.len))
        return vv_fail(err, VV_CORRUPT, "it fails its checksum");
    backup_info *info = &m->info;
    info->id = vv_get_le64(p + 16);
    info->time_ns = (int64_t)vv_get_le64(p + 24);
    memcpy(info->uuid, p + 32, sizeof info->uuid);
    info->kind = (backup_kind)vv_get_le32(p + 48);
    info->shard_count = vv_get_le32(p + 52);
    info->new_bytes = vv_get_le64(p + 56);
    uint64_t count = vv_get_le64(p + 64);
    if (vv_get_le32(p + 8) != VERSION || info->shard_count == 0 ||
        info->shard_count > WAL_SHARD_MAX || (in.len - HEAD) / SHARD < info->shard_count ||
        (info->kind != BACKUP_FULL && info->kind != BACKUP_LOG) || !decode_shards(p + HEAD, info))
        return vv_fail(err, VV_CORRUPT, "it is malformed");
    return decode_files(in, HEAD + (size_t)SHARD * info->shard_count, count, m, err);
}
