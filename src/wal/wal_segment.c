/*
 * wal_segment.c - segment files: their header, and their life from spare to recycled spare.
 *
 *      0        4096                                  4096 + capacity
 *      +--------+-------------------------------------+
 *      | header | log bytes from position `base` on   |   fields: docs/format/wal.md
 *      +--------+-------------------------------------+
 *
 *   spare.new --(allocated, pre-written with zeros, synced, renamed)--> N.seg, a spare
 *       N.seg --(wal_segment_start: header written and synced)--> part of the log
 *       N.seg --(no shard needs it: renamed, its old header left in place)--> M.seg, a spare, M > N
 *
 * Why a spare has its final name already: a rename must be synced, which takes milliseconds, and
 * the commit path would wait for it. So the name is made ready in the background and the header,
 * which names its file, says whether the segment was begun: zeros or an older number mean not yet.
 *
 * Why pre-written: a synced write over unwritten extents commits metadata too and halves the rate.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "base/point.h"
#include "wal/wal_int.h"

#define HEADER_CRC_AT (VV_BLOCK - 4)
#define BUILD_NAME "spare.new"
#define ZEROS_SIZE ((size_t)1 << 20)

void wal_header_put(uint8_t out[VV_BLOCK], const char *magic, const wal_file_header *h)
{
    memset(out, 0, VV_BLOCK);
    memcpy(out, magic, 8);
    vv_put_le32(out + 8, 1);         /* version */
    vv_put_le32(out + 12, VV_BLOCK); /* of the header */
    /* 16: feature bits, 24: key id, 32..47: nonce, all zero */
    vv_put_le64(out + 48, h->log_id);
    vv_put_le64(out + 56, h->capacity);
    vv_put_le64(out + 64, h->number);
    vv_put_le64(out + 72, h->base);
    vv_put_le64(out + 80, h->first);
    vv_put_le32(out + 88, h->prev_crc);
    vv_put_le64(out + 96, h->epoch);
    vv_put_le32(out + HEADER_CRC_AT, vv_crc32c(0, out, HEADER_CRC_AT));
}

static bool all_zero(const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (p[i] != 0)
            return false;
    return true;
}

static vv_status check_version(const uint8_t *in, vv_error *err)
{
    uint32_t version = vv_get_le32(in + 8);
    uint64_t features = vv_get_le64(in + 16);
    if (version != 1)
        return vv_fail(err, VV_UNSUPPORTED,
                       "format version %" PRIu32 ", this build reads version 1: use the version of "
                       "varve that wrote it",
                       version);
    if (features != 0)
        return vv_fail(err, VV_UNSUPPORTED,
                       "feature bits %016" PRIx64 ", which this build does not know: use the "
                       "version of varve that wrote it",
                       features);
    if (!all_zero(in + 24, 24))
        return vv_fail(err, VV_UNSUPPORTED,
                       "encrypted with key %016" PRIx64 ", which this build "
                       "cannot read",
                       vv_get_le64(in + 24));
    return VV_OK;
}

vv_status wal_header_get(const uint8_t in[VV_BLOCK], const char *magic, wal_file_header *out,
                         vv_error *err)
{
    if (all_zero(in, VV_BLOCK))
        return vv_fail(err, VV_NOT_FOUND, "the header is empty");
    uint32_t crc = vv_crc32c(0, in, HEADER_CRC_AT);
    if (crc != vv_get_le32(in + HEADER_CRC_AT))
        return vv_fail(err, VV_CORRUPT, "header: crc32c is %08" PRIx32 ", it says %08" PRIx32, crc,
                       vv_get_le32(in + HEADER_CRC_AT));
    if (memcmp(in, magic, 8) != 0)
        return vv_fail(err, VV_CORRUPT, "header: the magic is not %s", magic);
    vv_status st = check_version(in, err);
    if (st != VV_OK)
        return st;
    wal_file_header h = {
        .log_id = vv_get_le64(in + 48),
        .capacity = vv_get_le64(in + 56),
        .number = vv_get_le64(in + 64),
        .base = vv_get_le64(in + 72),
        .first = vv_get_le64(in + 80),
        .prev_crc = vv_get_le32(in + 88),
        .epoch = vv_get_le64(in + 96),
    };
    if (vv_get_le32(in + 12) != VV_BLOCK || h.capacity == 0 || h.capacity % VV_BLOCK != 0 ||
        h.capacity > UINT32_MAX || h.base % VV_BLOCK != 0 || h.base > INT64_MAX ||
        h.first < h.base || h.first - h.base >= VV_BLOCK || h.number > INT64_MAX ||
        !all_zero(in + 92, 4) || !all_zero(in + 104, HEADER_CRC_AT - 104))
        return vv_fail(err, VV_CORRUPT, "header: its fields contradict each other");
    *out = h;
    return VV_OK;
}

void wal_segment_name(uint64_t number, char out[32])
{
    (void)snprintf(out, 32, "%016" PRIx64 ".seg", number);
}

bool wal_segment_number(const char *name, uint64_t *out)
{
    if (strlen(name) != 20 || strcmp(name + 16, ".seg") != 0)
        return false;
    uint64_t v = 0;
    for (int i = 0; i < 16; i++) {
        char c = name[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
        v = v << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    *out = v;
    return v != 0;
}

vv_status wal_segment_open(wal *log, uint64_t number, unsigned flags, vio_file **out, vv_error *err)
{
    char name[32];
    char path[VIO_PATH_MAX];
    wal_segment_name(number, name);
    wal_path(log, name, path);
    return vio_open(log->env->io, path, flags, out, err);
}

void wal_segment_destroy(wal_segment *seg)
{
    if (seg == NULL)
        return;
    vio_close(seg->file);
    vv_free(seg);
}

vv_status wal_segment_start(wal *log, wal_segment *seg, vv_error *err)
{
    assert(!seg->started);
    assert(seg->first >= seg->base && seg->first - seg->base < VV_BLOCK);
    wal_file_header h = {.log_id = log->log_id,
                         .number = seg->number,
                         .base = seg->base,
                         .first = seg->first,
                         .capacity = seg->capacity,
                         .prev_crc = seg->prev_crc,
                         .epoch = seg->epoch};
    wal_header_put(log->block, WAL_MAGIC_SEGMENT, &h);
    VV_POINT("wal.before_header");
    vv_status st = vio_pwrite(seg->file, 0, log->block, VV_BLOCK, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "begin log segment %" PRIu64, seg->number);
    seg->started = true;
    VV_POINT("wal.after_header");
    return VV_OK;
}

vv_status wal_prewrite(vio_file *file, uint64_t offset, uint64_t size, vv_error *err)
{
    size_t chunk = (size_t)vv_min_u64(ZEROS_SIZE, size - offset);
    uint8_t *zeros = vv_alloc_aligned(VV_BLOCK, chunk);
    if (zeros == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for %zu bytes of zeros", chunk);
    memset(zeros, 0, chunk);
    vv_status st = VV_OK;
    while (st == VV_OK && offset < size) {
        size_t n = (size_t)vv_min_u64(chunk, size - offset);
        st = vio_pwrite(file, offset, zeros, n, err);
        offset += n;
    }
    vv_free(zeros);
    return st;
}

vv_status wal_segment_extend(wal_segment *seg, uint64_t capacity, vv_error *err)
{
    uint64_t size = VV_BLOCK + capacity;
    uint64_t had = VV_BLOCK + seg->capacity;
    if (size <= had)
        return VV_OK;
    vv_status st = vio_allocate(seg->file, size, err);
    if (st == VV_OK)
        st = wal_prewrite(seg->file, had, size, err);
    if (st == VV_OK)
        st = vio_sync(seg->file, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "extend log segment %" PRIu64, seg->number);
    seg->capacity = capacity;
    return VV_OK;
}

static vv_status begin_build(wal *log, vv_error *err)
{
    char path[VIO_PATH_MAX];
    wal_path(log, BUILD_NAME, path);
    unsigned flags = VIO_READ | VIO_WRITE | VIO_CREATE | VIO_DIRECT;
    vv_status st = vio_open(log->env->io, path, flags, &log->build, err);
    if (st == VV_OK)
        st = vio_truncate(log->build, 0, err);
    if (st == VV_OK)
        st = vio_allocate(log->build, log->opt.segment_size, err);
    log->build_done = 0;
    return st;
}

void wal_spare_drop_build(wal *log)
{
    if (log->build == NULL)
        return;
    vio_close(log->build);
    log->build = NULL;
    char path[VIO_PATH_MAX];
    wal_path(log, BUILD_NAME, path);
    (void)!vio_remove(log->env->io, path, NULL); /* the next build truncates what stays */
}

/* Give the finished file its name. From the rename on only the directory sync can fail us. */
static vv_status end_build(wal *log, uint64_t number, bool *fatal, vv_error *err)
{
    vv_status st = vio_sync(log->build, err);
    if (st != VV_OK)
        return st;
    vio_close(log->build);
    log->build = NULL;
    char name[32];
    char from[VIO_PATH_MAX];
    char to[VIO_PATH_MAX];
    wal_segment_name(number, name);
    wal_path(log, BUILD_NAME, from);
    wal_path(log, name, to);
    st = vio_rename(log->env->io, from, to, err);
    if (st != VV_OK)
        return st;
    VV_POINT("wal.spare_renamed");
    st = vio_sync_dir(log->env->io, log->dir, err);
    *fatal = st != VV_OK;
    return st;
}

vv_status wal_spare_adopt(wal *log, uint64_t number, wal_segment **out, vv_error *err)
{
    wal_segment *seg = vv_calloc(1, sizeof *seg);
    if (seg == NULL)
        return vv_fail(err, VV_NO_MEMORY, "log segment %" PRIu64, number);
    seg->number = number;
    seg->capacity = log->opt.segment_size - VV_BLOCK;
    unsigned flags = VIO_READ | VIO_WRITE | VIO_DIRECT | VIO_DSYNC;
    vv_status st = wal_segment_open(log, number, flags, &seg->file, err);
    if (st != VV_OK) {
        wal_segment_destroy(seg);
        return st;
    }
    *out = seg;
    return VV_OK;
}

vv_status wal_spare_build(wal *log, uint64_t number, uint64_t step, wal_segment **out, bool *fatal,
                          vv_error *err)
{
    *out = NULL;
    *fatal = false;
    uint64_t size = log->opt.segment_size;
    vv_status st = VV_OK;
    if (log->build == NULL)
        st = begin_build(log, err);
    bool whole = !log->build_prewrites || step >= size - log->build_done;
    uint64_t until = whole ? size : log->build_done + step;
    if (st == VV_OK && log->build_prewrites && log->build_done < until)
        st = wal_prewrite(log->build, log->build_done, until, err);
    if (st == VV_OK) {
        log->build_done = until;
        if (until < size)
            return VV_OK;
        st = end_build(log, number, fatal, err);
    }
    if (st == VV_OK)
        st = wal_spare_adopt(log, number, out, err);
    if (st != VV_OK) {
        wal_spare_drop_build(log);
        return vv_wrap(err, st, "make log segment %" PRIu64 " in '%s'", number, log->dir);
    }
    return VV_OK;
}
