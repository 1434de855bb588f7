/*
 * backup_copy.c - bytes on their way into and out of the repository, summed as they pass.
 *
 * What the last backup has under the same name and length is only read and summed, in the store and
 * in the repository: where both have the sum it is the same content, whole, and nothing is written.
 * Anything else is written under a name nobody reads and gets its own when it is durable.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backup/backup_int.h"
#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"

void backup_meter_add(backup_meter *meter, uint64_t bytes)
{
    if (meter == NULL)
        return;
    meter->done += bytes;
    if (meter->progress != NULL)
        meter->progress->step(meter->progress->ctx, meter->what, meter->done, meter->total);
}

vv_status backup_copy(vio_file *from, uint64_t size, vio_file *to, uint64_t *sum,
                      backup_meter *meter, vv_error *err)
{
    uint8_t *buf = vv_alloc_aligned(VV_BLOCK, BACKUP_CHUNK);
    if (buf == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory to copy");
    XXH3_state_t state;
    (void)XXH3_64bits_reset(&state);
    vv_status st = VV_OK;
    for (uint64_t at = 0; st == VV_OK && at < size;) {
        size_t n = (size_t)vv_min_u64(BACKUP_CHUNK, size - at);
        st = vio_pread_full(from, at, buf, n, err);
        if (st == VV_OK)
            (void)XXH3_64bits_update(&state, buf, n);
        if (st == VV_OK && to != NULL)
            st = vio_pwrite(to, at, buf, n, err);
        if (st == VV_OK)
            backup_meter_add(meter, n);
        at += n;
    }
    vv_free(buf);
    *sum = XXH3_64bits_digest(&state);
    return st;
}

static vv_status open_stored(backup_repo *repo, const backup_file *file, vio_file **out,
                             vv_error *err)
{
    char path[VIO_PATH_MAX];
    uint64_t size = 0;
    backup_stored_path(file, path);
    vv_status st = vio_open(repo->env->io, path, VIO_READ | VIO_BEHIND, out, err);
    if (st == VV_NOT_FOUND)
        return vv_fail(err, VV_CORRUPT, "'%s' (of '%s') is missing", path, file->name);
    if (st != VV_OK)
        return st;
    st = vio_size(*out, &size, err);
    if (st == VV_OK && size != file->size)
        st = vv_fail(err, VV_CORRUPT, "'%s' (of '%s') is damaged: %" PRIu64 " of %" PRIu64 " bytes",
                     path, file->name, size, file->size);
    if (st != VV_OK) {
        vio_close(*out);
        *out = NULL;
    }
    return st;
}

vv_status backup_check_stored(backup_repo *repo, const backup_file *file, vv_error *err)
{
    vio_file *in = NULL;
    vv_status st = open_stored(repo, file, &in, err);
    vio_close(in);
    return st;
}

vv_status backup_read_stored(backup_repo *repo, const backup_file *file, vio_file *to,
                             backup_meter *meter, vv_error *err)
{
    vio_file *in = NULL;
    uint64_t sum = 0;
    vv_status st = open_stored(repo, file, &in, err);
    if (st == VV_OK)
        st = backup_copy(in, file->size, to, &sum, meter, err);
    vio_close(in);
    if (st != VV_OK || sum == file->sum)
        return st;
    char path[VIO_PATH_MAX];
    backup_stored_path(file, path);
    return vv_fail(err, VV_CORRUPT,
                   "'%s' (of '%s') is damaged: its sum is %016" PRIx64 " and not %016" PRIx64, path,
                   file->name, sum, file->sum);
}

vv_status backup_adopt_part(backup_repo *repo, vio_file *part, const backup_file *file,
                            bool *is_new, vv_error *err)
{
    char path[VIO_PATH_MAX];
    backup_stored_path(file, path);
    /* Damaged meanwhile, it is replaced, for all backups that name it. */
    *is_new = backup_read_stored(repo, file, NULL, NULL, NULL) != VV_OK;
    if (!*is_new)
        return VV_OK;
    vv_status st = vio_sync(part, err);
    return st == VV_OK ? vio_rename(repo->env->io, BACKUP_PART, path, err) : st;
}

static vv_status store_new(backup_repo *repo, const char *name, vio_file *from, uint64_t size,
                           uint64_t *sum, bool *is_new, backup_meter *meter, vv_error *err)
{
    vio *io = repo->env->io;
    vio_file *part = NULL;
    vv_status st =
        vio_open(io, BACKUP_PART, VIO_READ | VIO_WRITE | VIO_CREATE | VIO_BEHIND, &part, err);
    if (st == VV_OK)
        st = vio_truncate(part, 0, err);
    if (st == VV_OK)
        st = backup_copy(from, size, part, sum, meter, err);
    backup_file file = {(char *)(uintptr_t)name, size, *sum};
    if (st == VV_OK)
        st = backup_adopt_part(repo, part, &file, is_new, err);
    vio_close(part);
    return st;
}

vv_status backup_store(backup_repo *repo, const char *name, vio_file *from, uint64_t size,
                       const backup_file *known, uint64_t *sum, bool *is_new, backup_meter *meter,
                       vv_error *err)
{
    *is_new = false;
    if (known != NULL && known->size == size && backup_check_stored(repo, known, NULL) == VV_OK) {
        vv_status st = backup_copy(from, size, NULL, sum, NULL, err);
        if (st != VV_OK)
            return st;
        if (*sum == known->sum && backup_read_stored(repo, known, NULL, NULL, NULL) == VV_OK) {
            backup_meter_add(meter, size);
            return VV_OK;
        }
    }
    return store_new(repo, name, from, size, sum, is_new, meter, err);
}
