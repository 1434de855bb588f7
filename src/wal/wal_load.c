/*
 * wal_load.c - what lies in the log's directory: which files are the log and which are spares.
 *
 *   ... | started | started | started (last) | spare | spare |       by number, without a gap
 *
 * A file with the header of its own number is started. Behind the last started one come spares:
 * their header is zero, or older than their name, or was torn by a crash while it was begun. The
 * same header damaged in front of a started segment, or before batches of this log, is damage: a
 * header is durable before the first batch behind it is written.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "wal/wal_int.h"

typedef struct file_info {
    uint64_t number;
    uint64_t size;
    wal_header_kind kind;
    wal_file_header header; /* when started */
} file_info;

typedef struct file_list {
    file_info *files;
    size_t count, cap;
    bool no_memory;
} file_list;

static void add_file(void *ctx, const char *name)
{
    file_list *list = ctx;
    uint64_t number;
    if (list->no_memory || !wal_segment_number(name, &number))
        return;
    if (list->count == list->cap) {
        size_t cap = list->cap == 0 ? 16 : list->cap * 2;
        file_info *files = vv_realloc(list->files, cap * sizeof *files);
        if (files == NULL) {
            list->no_memory = true;
            return;
        }
        list->files = files;
        list->cap = cap;
    }
    list->files[list->count++] = (file_info){.number = number};
}

static vv_status classify(wal *log, file_info *info, vv_error *err)
{
    wal_file_header h = {0};
    info->kind = WAL_HEADER_DAMAGED;
    vv_status st = wal_header_get(log->block, WAL_MAGIC_SEGMENT, &h, err);
    if (st == VV_UNSUPPORTED)
        return st;
    if (st == VV_NOT_FOUND)
        info->kind = WAL_HEADER_ZERO;
    else if (st == VV_OK && h.number == info->number)
        info->kind = WAL_HEADER_STARTED;
    else if (st == VV_OK && h.number < info->number)
        info->kind = WAL_HEADER_OLD;
    info->header = h;
    return VV_OK;
}

static vv_status read_info(wal *log, file_info *info, vv_error *err)
{
    vio_file *file = NULL;
    vv_status st = wal_segment_open(log, info->number, VIO_READ | VIO_DIRECT, &file, err);
    if (st == VV_OK)
        st = vio_size(file, &info->size, err);
    if (st == VV_OK && info->size < VV_BLOCK)
        info->kind = WAL_HEADER_DAMAGED;
    else if (st == VV_OK)
        st = vio_pread_full(file, 0, log->block, VV_BLOCK, err);
    if (st == VV_OK && info->size >= VV_BLOCK)
        st = classify(log, info, err);
    vio_close(file);
    if (st == VV_OK)
        return VV_OK;
    char name[32];
    char path[VIO_PATH_MAX];
    wal_segment_name(info->number, name);
    wal_path(log, name, path);
    return vv_wrap(err, st, "log segment '%s'", path);
}

static vv_status add_segment(wal *log, const file_info *info, vv_error *err)
{
    const wal_file_header *h = &info->header;
    if (info->size < VV_BLOCK + h->capacity)
        return vv_fail(err, VV_CORRUPT,
                       "log '%s': segment %" PRIu64 " has %" PRIu64 " bytes of %" PRIu64
                       ": it was cut; restore it from a backup",
                       log->dir, info->number, info->size, VV_BLOCK + h->capacity);
    if (h->log_id != log->log_id)
        return vv_fail(err, VV_CORRUPT,
                       "log '%s': segment %" PRIu64 " belongs to another log (%016" PRIx64
                       ", this is %016" PRIx64 ")",
                       log->dir, info->number, h->log_id, log->log_id);
    vv_status st = wal_segments_reserve(log, log->seg_count + 1, err);
    if (st != VV_OK)
        return st;
    wal_segment *seg = vv_calloc(1, sizeof *seg);
    if (seg == NULL)
        return vv_fail(err, VV_NO_MEMORY, "log segment %" PRIu64, info->number);
    seg->number = info->number;
    seg->base = h->base;
    seg->first = h->first;
    seg->capacity = h->capacity;
    seg->prev_crc = h->prev_crc;
    seg->epoch = h->epoch;
    seg->started = true;
    log->segs[log->seg_count++] = seg;
    return VV_OK;
}

/* The started files, which must be the lowest and without a gap. */
static vv_status add_segments(wal *log, const file_list *list, size_t started, vv_error *err)
{
    for (size_t i = 0; i < started; i++) {
        const file_info *info = &list->files[i];
        if (info->kind != WAL_HEADER_STARTED)
            return vv_fail(err, VV_CORRUPT,
                           "log '%s': the header of segment %" PRIu64
                           " is damaged: restore the file from a backup",
                           log->dir, info->number);
        uint64_t want = list->files[0].number + i;
        if (info->number != want)
            return vv_fail(err, VV_CORRUPT,
                           "log '%s': segment %" PRIu64 " is missing: restore it from a backup",
                           log->dir, want);
        vv_status st = add_segment(log, info, err);
        if (st != VV_OK)
            return st;
        if (i > 0 && (log->segs[i]->first < log->segs[i - 1]->first ||
                      log->segs[i]->first > log->segs[i - 1]->base + log->segs[i - 1]->capacity))
            return vv_fail(err, VV_CORRUPT,
                           "log '%s': segment %" PRIu64 " does not begin where the one before ends",
                           log->dir, info->number);
    }
    return VV_OK;
}

static vv_status add_reserves(wal *log, const file_list *list, size_t from, vv_error *err)
{
    size_t count = list->count - from;
    if (count == 0)
        return VV_OK;
    log->reserves = vv_calloc(count, sizeof *log->reserves);
    if (log->reserves == NULL)
        return vv_fail(err, VV_NO_MEMORY, "log '%s'", log->dir);
    for (size_t i = 0; i < count; i++) {
        const file_info *info = &list->files[from + i];
        log->reserves[i] =
            (wal_reserve){info->number, info->size, info->kind == WAL_HEADER_DAMAGED};
    }
    log->reserve_count = count;
    return VV_OK;
}

/* No segment was ever begun, or the only one's header is gone: then batches stand behind it. */
static vv_status check_fresh(wal *log, const file_list *list, bool have_ring, vv_error *err)
{
    if (list->count == 0)
        return VV_OK;
    const file_info *info = &list->files[0];
    bool damaged = info->number != 1 || (info->kind == WAL_HEADER_DAMAGED && !have_ring);
    vio_file *file = NULL;
    vv_status st = VV_OK;
    if (!damaged && have_ring && info->size >= 2 * VV_BLOCK) {
        st = wal_segment_open(log, 1, VIO_READ | VIO_DIRECT, &file, err);
        if (st != VV_OK)
            return st;
        wal_reader r;
        wal_batch batch;
        wal_reader_init(&r, log, file, 0, wal_floor(info->size) - VV_BLOCK);
        st = wal_reader_probe(&r, 0, &batch, &damaged, err);
        wal_reader_fini(&r);
        vio_close(file);
    }
    if (st == VV_OK && damaged)
        st = vv_fail(err, VV_CORRUPT,
                     "log '%s': the header of segment %" PRIu64
                     " is damaged: restore the file from a backup",
                     log->dir, info->number);
    return st;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = ((const file_info *)a)->number;
    uint64_t y = ((const file_info *)b)->number;
    return (x > y) - (x < y);
}

static vv_status load_files(wal *log, file_list *list, bool have_ring, bool *fresh, vv_error *err)
{
    vv_status st = vio_list(log->env->io, log->dir, add_file, list, err);
    if (st == VV_NOT_FOUND && log->opt.read_only)
        return vv_wrap(err, st, "no log");
    if (st == VV_OK && list->no_memory)
        st = vv_fail(err, VV_NO_MEMORY, "log '%s': list of files", log->dir);
    if (st != VV_OK)
        return st;
    if (list->count > 0)
        qsort(list->files, list->count, sizeof *list->files, by_number);
    size_t started = 0; /* one behind the last started file */
    for (size_t i = 0; i < list->count && st == VV_OK; i++) {
        st = read_info(log, &list->files[i], err);
        if (st == VV_OK && list->files[i].kind == WAL_HEADER_STARTED)
            started = i + 1;
    }
    if (st != VV_OK)
        return st;
    *fresh = started == 0;
    if (started == 0)
        return check_fresh(log, list, have_ring, err);
    if (!have_ring)
        log->log_id = list->files[started - 1].header.log_id;
    log->seed = wal_seed(log->log_id);
    st = add_segments(log, list, started, err);
    return st == VV_OK ? add_reserves(log, list, started, err) : st;
}

vv_status wal_load(wal *log, bool *fresh, vv_error *err)
{
    vv_status st = wal_ring_open(log, err);
    if (st != VV_OK && st != VV_NOT_FOUND)
        return st;
    bool have_ring = st == VV_OK;
    log->seed = wal_seed(log->log_id);
    file_list list = {0};
    st = load_files(log, &list, have_ring, fresh, err);
    vv_free(list.files);
    log->ring_lost = st == VV_OK && !*fresh && !have_ring;
    return st;
}
