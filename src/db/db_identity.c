/*
 * db_identity.c - the file VARVE: what this directory is, and which version may open it.
 *
 *     0          8         12         16        20       36             40         68     72
 *     +----------+---------+----------+---------+--------+--------------+----------+------+
 *     | magic    | version | features | 0       | uuid   | shard count  | 0 (28)   | crc  |
 *     +----------+---------+----------+---------+--------+--------------+----------+------+
 *
 * A feature bit says that the store holds something an older program would misread. The zeros are
 * room for a key id and a nonce; crc32c covers all before it. It gets its name last when a
 * store is made (VARVE.new until then), so a directory without it holds no acknowledged write.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "db/db_int.h"

#define MAGIC "VARVEDB\n"
#define VERSION 1u
#define FEATURE_ATTACHED 1u /* made of the objects of another store, to be read */
#define FEATURES FEATURE_ATTACHED
#define CRC_AT (DB_IDENTITY_SIZE - 4)

void db_shard_dir(uint32_t shard, char out[DB_SHARD_DIR_SIZE])
{
    (void)snprintf(out, DB_SHARD_DIR_SIZE, "shard-%03u", shard % 1000);
}

vv_status db_identity_decode(const uint8_t *p, size_t len, db_identity *out, vv_error *err)
{
    if (len < 16 || memcmp(p, MAGIC, 8) != 0)
        return vv_fail(err, VV_CORRUPT, "file '" DB_IDENTITY_FILE "' is not of a varve store");
    uint32_t version = vv_get_le32(p + 8);
    uint32_t features = vv_get_le32(p + 12);
    /* Before the checksum: a newer version may have another layout. */
    if (version > VERSION || (features & ~FEATURES) != 0)
        return vv_fail(
            err, VV_UNSUPPORTED,
            "file '" DB_IDENTITY_FILE "': format version %u with feature bits %#x, this "
            "build reads version %u with bits %#x: use the version of varve that wrote it",
            version, features, VERSION, FEATURES);
    if (len != DB_IDENTITY_SIZE || vv_get_le32(p + CRC_AT) != vv_crc32c(0, p, CRC_AT))
        return vv_fail(err, VV_CORRUPT, "file '" DB_IDENTITY_FILE "' fails its checksum");
    db_identity id = {.shard_count = vv_get_le32(p + 36),
                      .is_attached = (features & FEATURE_ATTACHED) != 0};
    memcpy(id.uuid, p + 20, sizeof id.uuid);
    static const uint8_t zeros[28];
    if (version != VERSION || vv_get_le32(p + 16) != 0 || memcmp(p + 40, zeros, 28) != 0 ||
        id.shard_count == 0 || id.shard_count > WAL_SHARD_MAX)
        return vv_fail(err, VV_CORRUPT, "file '" DB_IDENTITY_FILE "' is malformed");
    *out = id;
    return VV_OK;
}

static vv_status read_file(vio *io, const char *name, db_identity *out, vv_error *err)
{
    uint8_t *bytes = NULL;
    size_t len = 0;
    vv_status st = vio_read_file(io, name, VV_BLOCK, &bytes, &len, err);
    if (st != VV_OK)
        return st;
    st = db_identity_decode(bytes, len, out, err);
    vv_free(bytes);
    return st;
}

void db_identity_encode(const db_identity *id, uint8_t out[DB_IDENTITY_SIZE])
{
    memset(out, 0, DB_IDENTITY_SIZE);
    memcpy(out, MAGIC, sizeof MAGIC - 1);
    vv_put_le32(out + 8, VERSION);
    vv_put_le32(out + 12, id->is_attached ? FEATURE_ATTACHED : 0);
    memcpy(out + 20, id->uuid, sizeof id->uuid);
    vv_put_le32(out + 36, id->shard_count);
    vv_put_le32(out + CRC_AT, vv_crc32c(0, out, CRC_AT));
}

static vv_status write_file(vio *io, const char *name, const db_identity *id, vv_error *err)
{
    uint8_t bytes[DB_IDENTITY_SIZE];
    db_identity_encode(id, bytes);
    return vio_write_file_atomic(io, name, vv_slice_of(bytes, sizeof bytes), err);
}

vv_status db_identity_read(vio *io, db_identity *out, vv_error *err)
{
    return read_file(io, DB_IDENTITY_FILE, out, err);
}

vv_status db_identity_write(vio *io, const db_identity *id, vv_error *err)
{
    return write_file(io, DB_IDENTITY_FILE, id, err);
}

vv_status db_identity_write_at(vio *io, const char *path, const db_identity *id, vv_error *err)
{
    return write_file(io, path, id, err);
}

vv_status db_identity_begin(vio *io, db_identity *id, vv_error *err)
{
    db_identity before = {0};
    vv_status st = read_file(io, DB_IDENTITY_NEW, &before, err);
    if (st == VV_OK)
        memcpy(id->uuid, before.uuid, sizeof id->uuid);
    else if (st != VV_NOT_FOUND)
        return vv_wrap(err, st, "an interrupted creation");
    return write_file(io, DB_IDENTITY_NEW, id, err);
}

vv_status db_identity_end(vio *io, vv_error *err)
{
    vv_status st = vio_rename(io, DB_IDENTITY_NEW, DB_IDENTITY_FILE, err);
    return st == VV_OK ? vio_sync_dir(io, "", err) : st;
}

uint64_t db_identity_log_id(const db_identity *id)
{
    uint64_t log_id = vv_get_le64(id->uuid);
    return log_id != 0 ? log_id : 1;
}
