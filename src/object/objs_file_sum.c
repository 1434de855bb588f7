/*
 * objs_file_sum.c - what is known of an object in a directory: bytes in docs/format/object-file.md.
 *
 *     0         8        12       16         20     24      32        40         44    48     64
 *     +---------+--------+--------+----------+------+-------+---------+----------+-----+------+
 *     | magic   | vers.  | feat.  | block    | crc  | size  | mtime   | name len | 0   | id   |
 *     +---------+--------+--------+----------+------+-------+---------+----------+-----+------+
 *     64                      92         96      96+name len       and 4 bytes a block
 *     +-----------------------+----------+-------+-----------------+
 *     | key id and nonce: 0   | head crc | name  | crc32c of blocks|
 *     +-----------------------+----------+-------+-----------------+
 *
 * The head's sum covers the name too, so a file that lies under another name is found out. The
 * sums of blocks need none: a wrong one makes its block fail.
 */
#include "object/objs_file.h"

#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "base/util.h"

static const uint8_t magic[8] = {'V', 'A', 'R', 'V', 'E', 'O', 'B', 'J'};
#define VERSION 1u

uint32_t file_block_count(uint64_t size)
{
    return (uint32_t)((size + FILE_BLOCK - 1) / FILE_BLOCK);
}

uint64_t file_sum_offset(const file_sum *sum, uint32_t block)
{
    return FILE_SUM_HEADER + sum->name_len + (uint64_t)block * 4;
}

static uint32_t head_crc(const uint8_t *head, const uint8_t *name, size_t name_len)
{
    return vv_crc32c(vv_crc32c(0, head, FILE_SUM_HEADER - 4), name, name_len);
}

void file_sum_encode(const file_sum *sum, const uint32_t *crc, vv_buf *out)
{
    uint8_t head[FILE_SUM_HEADER] = {0};
    memcpy(head, magic, sizeof magic);
    vv_put_le32(head + 8, VERSION);
    vv_put_le32(head + 16, FILE_BLOCK);
    vv_put_le32(head + 20, sum->crc);
    vv_put_le64(head + 24, sum->size);
    vv_put_le64(head + 32, (uint64_t)sum->mtime_ns);
    vv_put_le32(head + 40, sum->name_len);
    memcpy(head + 48, sum->id, sizeof sum->id);
    vv_put_le32(head + 92, head_crc(head, (const uint8_t *)sum->name, sum->name_len));
    vv_buf_append(out, head, sizeof head);
    vv_buf_append(out, sum->name, sum->name_len);
    for (uint32_t i = 0; i < file_block_count(sum->size); i++)
        vv_buf_append_le32(out, crc[i]);
}

static bool all_zero(const uint8_t *p, size_t n)
{
    while (n > 0 && p[n - 1] == 0)
        n--;
    return n == 0;
}

vv_status file_sum_decode(vv_slice in, file_sum *out, vv_error *err)
{
    const uint8_t *p = in.data;
    assert(out != NULL);
    if (in.len < FILE_SUM_HEADER || memcmp(p, magic, sizeof magic) != 0)
        return vv_fail(err, VV_CORRUPT, "no sum file of an object: its first bytes are others");
    if (vv_get_le32(p + 8) != VERSION || vv_get_le32(p + 12) != 0 ||
        !all_zero(p + 64, FILE_SUM_HEADER - 4 - 64))
        return vv_fail(err, VV_UNSUPPORTED,
                       "version %" PRIu32 ", features %08" PRIx32
                       ": written by a newer varve, or encrypted: use that version",
                       vv_get_le32(p + 8), vv_get_le32(p + 12));
    uint32_t name_len = vv_get_le32(p + 40);
    uint64_t size = vv_get_le64(p + 24);
    if (name_len == 0 || name_len > FILE_SUM_NAME_MAX || in.len < FILE_SUM_HEADER + name_len ||
        vv_get_le32(p + 92) != head_crc(p, p + FILE_SUM_HEADER, name_len))
        return vv_fail(err, VV_CORRUPT, "the checksum of the head differs");
    if (vv_get_le32(p + 16) != FILE_BLOCK || vv_get_le32(p + 44) != 0 ||
        size > (uint64_t)FILE_BLOCKS_MAX * FILE_BLOCK ||
        memchr(p + FILE_SUM_HEADER, 0, name_len) != NULL)
        return vv_fail(err, VV_CORRUPT, "the head names impossible sizes");
    *out = (file_sum){.size = size,
                      .mtime_ns = (int64_t)vv_get_le64(p + 32),
                      .crc = vv_get_le32(p + 20),
                      .name_len = name_len};
    memcpy(out->id, p + 48, sizeof out->id);
    memcpy(out->name, p + FILE_SUM_HEADER, name_len);
    out->name[name_len] = '\0';
    return VV_OK;
}

vv_status file_sum_read(vio *io, const char *path, const char *name, file_sum *out, vio_file **file,
                        vv_error *err)
{
    uint8_t head[FILE_SUM_HEADER + FILE_SUM_NAME_MAX];
    size_t got = 0;
    vio_file *f = NULL;
    vv_status st = vio_open(io, path, VIO_READ, &f, err);
    if (st != VV_OK)
        return st;
    st = vio_pread(f, 0, head, sizeof head, &got, err);
    if (st == VV_OK)
        st = file_sum_decode(vv_slice_of(head, got), out, err);
    if (st == VV_OK && name != NULL && strcmp(out->name, name) != 0)
        st = vv_fail(err, VV_CORRUPT, "it is of the object '%.80s'", out->name);
    if (st != VV_OK) {
        vio_close(f);
        return vv_wrap(err, st, "%s", path);
    }
    if (file != NULL)
        *file = f;
    else
        vio_close(f);
    return VV_OK;
}

void file_info_of(const file_sum *sum, vv_object_info *info)
{
    *info = (vv_object_info){
        .size = sum->size, .mtime_ns = sum->mtime_ns, .has_crc = true, .crc32c = sum->crc};
    objs_hex(sum->id, sizeof sum->id, info->etag);
}
