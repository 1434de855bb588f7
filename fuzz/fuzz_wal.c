/*
 * fuzz_wal.c - the log's bytes: batches by themselves, and whole segment and ring files.
 *
 *     byte 0    bit 0: the rest is a file, else a batch. Bit 1: make the checksums right first, so
 *               that damage behind them is reached. Bit 2: the file is the ring, else segment 1.
 *
 * A batch that is accepted encodes to itself. A log that opens takes an append and opens again with
 * everything it had and that append: recovery is stable on any input.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/util.h"
#include "io/env.h"
#include "io/vio_sim.h"
#include "wal/wal.h"
#include "wal/wal_record.h"

#define FILE_MAX_SIZE (256u * 1024)
#define RING_SIZE (8u * VV_BLOCK)
#define LOG_ID UINT64_C(0x0123456789abcdef)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* Right sums for the batch at p, as far as its lengths stay within len. Returns its checksum. */
static uint32_t fix_batch(uint8_t *p, size_t len, uint32_t seed)
{
    wal_batch batch;
    wal_batch_get(p, &batch);
    size_t at = wal_batch_front(&batch);
    if (at == 0 || at > len)
        return batch.crc;
    for (uint32_t i = 0; i < batch.count; i++) {
        uint8_t *header = p + WAL_BATCH_HEADER + (size_t)i * WAL_RECORD_HEADER;
        size_t payload = vv_get_le32(header + 32);
        if (payload > len - at)
            break;
        vv_put_le32(header + 36, vv_crc32c(0, p + at, payload));
        at += payload;
    }
    uint32_t crc =
        vv_crc32c(seed, p + WAL_BATCH_HEADER, wal_batch_front(&batch) - WAL_BATCH_HEADER);
    crc = vv_crc32c(crc, p + 4, WAL_BATCH_HEADER - 4);
    vv_put_le32(p, crc);
    return crc;
}

/* ---- one batch ---- */

static void encode_back(const uint8_t *p, const wal_batch *batch)
{
    wal_record *recs = vv_calloc(batch->count, sizeof *recs);
    uint8_t *out = vv_calloc(1, batch->length);
    must(recs != NULL && out != NULL);
    size_t at = 0;
    for (uint32_t i = 0; i < batch->count; i++)
        wal_batch_record(p, batch, i, &at, &recs[i]);
    if (batch->count == 0) {
        (void)wal_filler_put(out, batch, 0, wal_filler_epoch(p));
    } else {
        size_t len = 0;
        must(wal_batch_measure(recs, batch->count, &len, NULL) == VV_OK && len == batch->length);
        (void)wal_batch_put(out, batch, wal_directory_crc(0, recs, batch->count));
        for (uint32_t i = 0; i < batch->count; i++)
            wal_record_put(out + WAL_BATCH_HEADER + (size_t)i * WAL_RECORD_HEADER, &recs[i]);
        at = wal_batch_front(batch);
        for (uint32_t i = 0; i < batch->count; at += recs[i].payload.len, i++)
            memcpy(out + at, recs[i].payload.data, recs[i].payload.len);
    }
    must(memcmp(out, p, batch->length) == 0);
    vv_free(recs);
    vv_free(out);
}

static void try_batch(uint8_t *p, size_t size, bool fix)
{
    wal_batch batch;
    if (size < WAL_BATCH_HEADER)
        return;
    vv_put_le32(p + 4, (uint32_t)size); /* a reader has as many bytes as the header says */
    if (fix)
        (void)fix_batch(p, size, 0);
    wal_batch_get(p, &batch);
    if (wal_batch_check(p, &batch, 0, NULL) == VV_OK)
        encode_back(p, &batch);
}

/* ---- whole files ---- */

static void fix_file(uint8_t *file, size_t size)
{
    uint32_t seed = wal_seed(vv_get_le64(file + 48));
    uint32_t chain = vv_get_le32(file + 88);
    for (size_t at = VV_BLOCK; at + WAL_BATCH_HEADER <= size;) {
        wal_batch batch;
        wal_batch_get(file + at, &batch);
        if (wal_batch_front(&batch) == 0 || batch.length > size - at)
            break;
        vv_put_le32(file + at + 16, chain);
        chain = fix_batch(file + at, batch.length, seed);
        at += batch.length;
    }
    vv_put_le32(file + VV_BLOCK - 4, vv_crc32c(0, file, VV_BLOCK - 4));
}

/* The header of an empty file of the kind that was not given. */
static void plain_header(uint8_t *file, const char *magic, uint64_t capacity, uint64_t number)
{
    memset(file, 0, VV_BLOCK);
    memcpy(file, magic, 8);
    vv_put_le32(file + 8, 1);
    vv_put_le32(file + 12, VV_BLOCK);
    vv_put_le64(file + 48, LOG_ID);
    vv_put_le64(file + 56, capacity);
    vv_put_le64(file + 64, number);
    vv_put_le32(file + VV_BLOCK - 4, vv_crc32c(0, file, VV_BLOCK - 4));
}

static bool put_file(vio *io, const char *path, const uint8_t *bytes, size_t size)
{
    vio_file *file = NULL;
    if (vio_open(io, path, VIO_WRITE | VIO_CREATE, &file, NULL) != VV_OK)
        return false;
    vv_status st = vio_pwrite(file, 0, bytes, size, NULL);
    vio_close(file);
    return st == VV_OK;
}

static vv_status count_record(void *ctx, const wal_record *rec, uint64_t position, vv_error *err)
{
    (void)position;
    (void)err;
    must(vv_crc32c(0, rec->payload.data, rec->payload.len) == rec->payload_crc);
    ++*(uint64_t *)ctx;
    return VV_OK;
}

static bool open_log(const wal_options *opt, wal **out, uint64_t *records)
{
    *out = NULL;
    *records = 0;
    if (wal_open(opt, out, NULL) == VV_OK && wal_replay(*out, count_record, records, NULL) == VV_OK)
        return true;
    wal_abandon(*out);
    return false;
}

static void use_log(vv_env *env)
{
    wal_options opt = {
        .env = env, .dir = "wal", .segment_size = 4 * VV_BLOCK, .ring_size = RING_SIZE};
    (void)!wal_check(env, "wal", NULL, NULL, NULL, NULL);
    (void)!wal_dump_file(env, "wal/0000000000000001.seg", NULL, NULL, NULL);
    (void)!wal_dump_file(env, "wal/ring", NULL, NULL, NULL);
    wal *log = NULL;
    uint64_t before, after, end;
    if (!open_log(&opt, &log, &before))
        return;
    wal_record rec = {.kind = WAL_ENTRY, .index = 1};
    must(wal_append(log, &rec, 1, &end, NULL) == VV_OK);
    must(wal_sync(log, end, NULL) == VV_OK);
    wal_abandon(log);
    must(open_log(&opt, &log, &after));
    must(after == before + 1);
    must(wal_close(log, NULL) == VV_OK);
}

static void try_file(const uint8_t *data, size_t size, bool fix, bool is_ring)
{
    static uint8_t given[FILE_MAX_SIZE], other[VV_BLOCK + RING_SIZE];
    size_t len = (size_t)vv_align_up(vv_max_u64(size, 2 * VV_BLOCK), VV_BLOCK);
    if (len > sizeof given)
        return;
    memset(given, 0, len);
    memcpy(given, data, size);
    if (fix)
        fix_file(given, len);
    vio_sim_disk *disk = vio_sim_disk_create();
    vv_env env = {.clock = vio_sim_clock(disk)};
    must(disk != NULL && vio_sim_open(disk, &(vio_sim_options){0}, &env.io, NULL) == VV_OK);
    must(vio_mkdir(env.io, "wal", NULL) == VV_OK);
    memset(other, 0, sizeof other);
    plain_header(other, is_ring ? "VARVEWAL" : "VARVERNG", RING_SIZE, is_ring);
    must(put_file(env.io, is_ring ? "wal/ring" : "wal/0000000000000001.seg", given, len));
    must(put_file(env.io, is_ring ? "wal/0000000000000001.seg" : "wal/ring", other, sizeof other));
    use_log(&env);
    vio_destroy(env.io);
    vio_sim_disk_destroy(disk);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    bool fix = (data[0] & 2) != 0;
    if (data[0] & 1) {
        try_file(data + 1, size - 1, fix, (data[0] & 4) != 0);
        return 0;
    }
    uint8_t *copy = malloc(size);
    must(copy != NULL);
    memcpy(copy, data + 1, size - 1);
    try_batch(copy, size - 1, fix);
    free(copy);
    return 0;
}
