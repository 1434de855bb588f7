/*
 * fuzz_backup_log.c - the log of a backup: each of its entries is whole and in bounds, or it is
 * refused with a sentence; what was delivered is written down as it stood.
 *
 *     byte 0    bit 0: make the sums of entries right first, so that what lies behind is reached
 */
#include <stdlib.h>
#include <string.h>

#include "backup/backup_int.h"
#include "base/alloc.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "io/vio_sim.h"

#define START 32u
#define HEAD 40u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void fix(uint8_t *p, size_t size)
{
    for (size_t at = START; at < size && size - at >= HEAD;) {
        uint32_t len = vv_get_le32(p + at + 4);
        if (len > size - at - HEAD)
            return;
        vv_put_le32(p + at + 12, vv_crc32c(0, p + at + HEAD, len));
        vv_put_le32(p + at, vv_crc32c(0, p + at + 4, HEAD - 4));
        at += HEAD + len;
    }
}

static vv_status collect(void *ctx, const wal_record *rec, backup_more *more, vv_error *err)
{
    (void)more;
    must(rec->shard < WAL_SHARD_MAX);
    return backup_log_put(ctx, rec, err);
}

static void read_and_write(vio *io, vv_slice bytes)
{
    vv_env env = {.io = io};
    backup_repo repo = {.env = &env};
    char name[] = BACKUP_LOG_NAME;
    backup_file file = {.name = name, .size = bytes.len};
    char path[VIO_PATH_MAX];
    backup_stored_path(&file, path);
    *strrchr(path, '/') = '\0';
    must(vio_mkdir(io, path, NULL) == VV_OK);
    backup_stored_path(&file, path);
    must(vio_write_file_atomic(io, path, bytes, NULL) == VV_OK);
    vio_file *copy = NULL;
    must(vio_open(io, "copy", VIO_READ | VIO_WRITE | VIO_CREATE, &copy, NULL) == VV_OK);
    backup_log_writer w;
    vv_error err = {0};
    must(backup_log_begin(&w, copy, 1, &err) == VV_OK);
    vv_status st = backup_log_read(&repo, &file, collect, &w, &err);
    must(st == VV_OK || err.msg[0] != '\0');
    uint64_t sum = 0;
    must(backup_log_end(&w, &sum, &err) == VV_OK);
    must(w.written == w.size && w.written <= bytes.len + START);
    if (w.written > START) {
        uint8_t *again = vv_alloc(w.written);
        must(again != NULL && vio_pread_full(copy, 0, again, w.written, &err) == VV_OK);
        must(memcmp(again + START, bytes.data + START, w.written - START) == 0);
        vv_free(again);
    }
    must(st != VV_OK || w.written == bytes.len);
    backup_log_fini(&w);
    vio_close(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    uint8_t *p = vv_alloc(size);
    must(p != NULL);
    memcpy(p, data + 1, size - 1);
    if ((data[0] & 1) != 0)
        fix(p, size - 1);
    vio_sim_disk *disk = vio_sim_disk_create();
    vio *io = NULL;
    must(disk != NULL && vio_sim_open(disk, &(vio_sim_options){.seed = 1}, &io, NULL) == VV_OK);
    read_and_write(io, vv_slice_of(p, size - 1));
    vio_destroy(io);
    vio_sim_disk_destroy(disk);
    vv_free(p);
    return 0;
}
