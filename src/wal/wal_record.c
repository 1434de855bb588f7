/*
 * wal_record.c - the bytes of a batch: everything in the log is one of these.
 *
 *      0     4        8          16         20      24       32           32 + 40*count
 *      +-----+--------+----------+----------+-------+--------+------------+----------------------+
 *      | crc | length | position | prev crc | count | synced | directory  | payloads, one behind |
 *      |     |        |          |          |       |        | 40 B each  | the other            |
 *      +-----+--------+----------+----------+-------+--------+------------+----------------------+
 *
 *      record header, one for each record of the directory
 *      0      1         4       8       16     24            32       36            40
 *      +------+---------+-------+-------+------+-------------+--------+-------------+
 *      | kind | 0 0 0   | shard | index | term | commit time | length | payload crc |
 *      +------+---------+-------+-------+------+-------------+--------+-------------+
 *
 * Why crc covers the directory and not the payloads: callers sum their payloads outside every lock,
 * the directory carries those sums, and the lock holder sums 28 bytes. Hence also the order, the
 * directory first and then bytes 4..31 of the header: only those depend on the place in the log.
 *
 * Why the sum is seeded with the log's id: recovery looks for headers behind a damaged place. A
 * payload that imitates a header must not be taken for one, and its writer does not know the id.
 *
 *      filler (count 0)
 *      0        32      40
 *      +--------+-------+-----------+
 *      | header | epoch | 0 0 0 ... |      crc covers the epoch as it covers a directory
 *      +--------+-------+-----------+
 *
 * Why filler is a batch: a reader needs no second rule for padding, and the chain runs through it.
 * Where a block has less room than its smallest size, filler takes the next block, too.
 *
 * Why filler has an epoch, one higher after each opening of the log: every opening writes filler
 * first, so what follows it chains to a checksum no earlier life of the log knew. Without it, the
 * ring's pages that survived a power cut behind a lost one could fit again behind equal bytes.
 */
#include "wal/wal_record.h"

#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "base/point.h"
#include "base/util.h"

static_assert(WAL_BATCH_MAX >= WAL_PAYLOAD_MAX + WAL_BATCH_HEADER + WAL_RECORD_HEADER,
              "the largest record fits a batch");

static const char *const kind_names[] = {
    [WAL_ENTRY] = "ENTRY",   [WAL_TRUNCATE] = "TRUNCATE",     [WAL_HARDSTATE] = "HARDSTATE",
    [WAL_COMMIT] = "COMMIT", [WAL_CHECKPOINT] = "CHECKPOINT",
};

static bool kind_is_known(unsigned kind)
{
    return kind < ARRAY_LEN(kind_names) && kind_names[kind] != NULL;
}

const char *wal_kind_name(wal_kind kind)
{
    return kind_is_known(kind) ? kind_names[kind] : "UNKNOWN";
}

uint32_t wal_seed(uint64_t log_id)
{
    uint8_t bytes[8];
    vv_put_le64(bytes, log_id);
    return vv_crc32c(0, bytes, sizeof bytes);
}

uint32_t wal_filler(uint64_t end)
{
    uint32_t room = VV_BLOCK - (uint32_t)(end % VV_BLOCK);
    if (room == VV_BLOCK)
        return 0;
    return room >= WAL_FILLER_MIN ? room : room + VV_BLOCK;
}

static vv_status check_record(const wal_record *rec, size_t i, vv_error *err)
{
    if (!kind_is_known(rec->kind))
        return vv_fail(err, VV_INVALID, "log record %zu: kind %u is not defined", i,
                       (unsigned)rec->kind);
    if (rec->shard >= WAL_SHARD_MAX)
        return vv_fail(err, VV_INVALID, "log record %zu: shard %" PRIu32 ", at most %u", i,
                       rec->shard, WAL_SHARD_MAX - 1);
    if (rec->payload.len > WAL_PAYLOAD_MAX)
        return vv_fail(err, VV_INVALID, "log record %zu: payload of %zu bytes, at most %u", i,
                       rec->payload.len, WAL_PAYLOAD_MAX);
    if (rec->kind != WAL_ENTRY && rec->payload.len != 0)
        return vv_fail(err, VV_INVALID, "log record %zu: %s carries no payload", i,
                       wal_kind_name(rec->kind));
    return VV_OK;
}

vv_status wal_batch_measure(const wal_record *recs, size_t count, size_t *len, vv_error *err)
{
    if (count == 0)
        return vv_fail(err, VV_INVALID, "a log batch of no records");
    size_t sum = WAL_BATCH_HEADER;
    for (size_t i = 0; i < count; i++) {
        vv_status st = check_record(&recs[i], i, err);
        if (st != VV_OK)
            return st;
        sum += WAL_RECORD_HEADER + recs[i].payload.len;
        if (sum > WAL_BATCH_MAX)
            return vv_fail(err, VV_INVALID, "a log batch of more than %u bytes: split it",
                           WAL_BATCH_MAX);
    }
    *len = sum;
    return VV_OK;
}

void wal_record_put(uint8_t out[WAL_RECORD_HEADER], const wal_record *rec)
{
    vv_put_le32(out, (uint32_t)rec->kind); /* the three bytes behind the kind are zero */
    vv_put_le32(out + 4, rec->shard);
    vv_put_le64(out + 8, rec->index);
    vv_put_le64(out + 16, rec->term);
    vv_put_le64(out + 24, (uint64_t)rec->commit_time_ns);
    vv_put_le32(out + 32, (uint32_t)rec->payload.len);
    vv_put_le32(out + 36, rec->payload_crc);
}

static void record_get(const uint8_t in[WAL_RECORD_HEADER], wal_record *out)
{
    *out = (wal_record){
        .kind = (wal_kind)in[0],
        .shard = vv_get_le32(in + 4),
        .index = vv_get_le64(in + 8),
        .term = vv_get_le64(in + 16),
        .commit_time_ns = (int64_t)vv_get_le64(in + 24),
        .payload = {NULL, vv_get_le32(in + 32)},
        .payload_crc = vv_get_le32(in + 36),
    };
}

uint32_t wal_directory_crc(uint32_t seed, const wal_record *recs, size_t count)
{
    uint8_t bytes[WAL_RECORD_HEADER];
    for (size_t i = 0; i < count; i++) {
        wal_record_put(bytes, &recs[i]);
        seed = vv_crc32c(seed, bytes, sizeof bytes);
    }
    return seed;
}

uint32_t wal_batch_put(uint8_t out[WAL_BATCH_HEADER], const wal_batch *batch,
                       uint32_t directory_crc)
{
    vv_put_le32(out + 4, batch->length);
    vv_put_le64(out + 8, batch->position);
    vv_put_le32(out + 16, batch->prev_crc);
    vv_put_le32(out + 20, batch->count);
    vv_put_le64(out + 24, batch->synced);
    uint32_t crc = vv_crc32c(directory_crc, out + 4, WAL_BATCH_HEADER - 4);
    vv_put_le32(out, crc);
    return crc;
}

uint32_t wal_filler_put(uint8_t out[WAL_FILLER_MIN], const wal_batch *filler, uint32_t seed,
                        uint64_t epoch)
{
    assert(filler->count == 0 && filler->length >= WAL_FILLER_MIN);
    vv_put_le64(out + WAL_BATCH_HEADER, epoch);
    return wal_batch_put(out, filler, vv_crc32c(seed, out + WAL_BATCH_HEADER, 8));
}

uint64_t wal_filler_epoch(const uint8_t *p)
{
    return vv_get_le64(p + WAL_BATCH_HEADER);
}

void wal_batch_get(const uint8_t in[WAL_BATCH_HEADER], wal_batch *out)
{
    *out = (wal_batch){
        .crc = vv_get_le32(in),
        .length = vv_get_le32(in + 4),
        .position = vv_get_le64(in + 8),
        .prev_crc = vv_get_le32(in + 16),
        .count = vv_get_le32(in + 20),
        .synced = vv_get_le64(in + 24),
    };
}

size_t wal_batch_front(const wal_batch *batch)
{
    if (batch->length < WAL_BATCH_HEADER || batch->length > WAL_BATCH_MAX ||
        batch->synced > batch->position ||
        batch->count > (batch->length - WAL_BATCH_HEADER) / WAL_RECORD_HEADER)
        return 0;
    if (batch->count == 0)
        return batch->length < WAL_FILLER_MIN ? 0 : WAL_FILLER_MIN;
    return WAL_BATCH_HEADER + (size_t)batch->count * WAL_RECORD_HEADER;
}

bool wal_batch_front_fits(const uint8_t *p, const wal_batch *batch, uint32_t seed)
{
    size_t front = wal_batch_front(batch);
    uint32_t crc = vv_crc32c(seed, p + WAL_BATCH_HEADER, front - WAL_BATCH_HEADER);
    return vv_crc32c(crc, p + 4, WAL_BATCH_HEADER - 4) == batch->crc;
}

static vv_status check_filler(const uint8_t *p, const wal_batch *batch, vv_error *err)
{
    for (size_t i = WAL_FILLER_MIN; i < batch->length; i++)
        if (p[i] != 0)
            return vv_fail(err, VV_CORRUPT, "byte %zu of filler is %02x, not zero", i, p[i]);
    return VV_OK;
}

/* What the checksum vouches for and this build cannot read was written by a newer one. */
static vv_status check_known(const uint8_t *p, const wal_record *rec, uint32_t i, vv_error *err)
{
    if (!kind_is_known(p[0]))
        return vv_fail(err, VV_UNSUPPORTED,
                       "record %" PRIu32 " is of kind %u, which this version does not know: use "
                       "the version that wrote it",
                       i, p[0]);
    if (p[1] != 0 || p[2] != 0 || p[3] != 0)
        return vv_fail(err, VV_UNSUPPORTED,
                       "record %" PRIu32 " has flags %02x%02x%02x, which this version does not "
                       "know: use the version that wrote it",
                       i, p[1], p[2], p[3]);
    if (rec->shard >= WAL_SHARD_MAX)
        return vv_fail(err, VV_UNSUPPORTED,
                       "record %" PRIu32 " is of shard %" PRIu32 "; this version has at most %u", i,
                       rec->shard, WAL_SHARD_MAX);
    if (rec->payload.len > WAL_PAYLOAD_MAX || (rec->kind != WAL_ENTRY && rec->payload.len != 0))
        return vv_fail(err, VV_CORRUPT, "record %" PRIu32 ", %s, has a payload of %zu bytes", i,
                       wal_kind_name(rec->kind), rec->payload.len);
    return VV_OK;
}

vv_status wal_batch_check(const uint8_t *p, const wal_batch *batch, uint32_t seed, vv_error *err)
{
    size_t at = wal_batch_front(batch);
    if (at == 0)
        return vv_fail(err, VV_CORRUPT, "length %" PRIu32 " and count %" PRIu32 " cannot be",
                       batch->length, batch->count);
    if (!wal_batch_front_fits(p, batch, seed) && !VV_BUG(4))
        return vv_fail(err, VV_CORRUPT, "the batch header does not match its crc32c %08" PRIx32,
                       batch->crc);
    if (batch->count == 0)
        return check_filler(p, batch, err);
    for (uint32_t i = 0; i < batch->count; i++) {
        const uint8_t *header = p + WAL_BATCH_HEADER + (size_t)i * WAL_RECORD_HEADER;
        wal_record rec;
        record_get(header, &rec);
        vv_status st = check_known(header, &rec, i, err);
        if (st != VV_OK)
            return st;
        if (rec.payload.len > batch->length - at)
            return vv_fail(err, VV_CORRUPT, "record %" PRIu32 " ends behind its batch", i);
        uint32_t crc = vv_crc32c(0, p + at, rec.payload.len);
        if (crc != rec.payload_crc && !VV_BUG(4))
            return vv_fail(err, VV_CORRUPT,
                           "record %" PRIu32 ": crc32c is %08" PRIx32
                           ", its header says %08" PRIx32,
                           i, crc, rec.payload_crc);
        at += rec.payload.len;
    }
    if (at != batch->length)
        return vv_fail(err, VV_CORRUPT, "the batch is of %" PRIu32 " bytes, its records of %zu",
                       batch->length, at);
    return VV_OK;
}

void wal_batch_record(const uint8_t *p, const wal_batch *batch, uint32_t i, size_t *at,
                      wal_record *out)
{
    assert(i < batch->count);
    if (i == 0)
        *at = wal_batch_front(batch);
    record_get(p + WAL_BATCH_HEADER + (size_t)i * WAL_RECORD_HEADER, out);
    out->payload.data = p + *at;
    *at += out->payload.len;
    assert(*at <= batch->length);
}
