/*
 * vio_sim_file.c - the operations on an open file of the simulated disk, with the faults of its
 * bytes.
 *
 * Misuse that a real kernel would punish later (unaligned direct I/O, writing a mapped file, a
 * transfer the file was not opened for) is our own mistake and asserts.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/point.h"
#include "io/vio_sim_int.h"

static sim_file *file_of(vio_file *file)
{
    return VV_CONTAINER_OF(file, sim_file, base);
}

/* Remember the first failure of a sync; err_now is the failure of this one. */
static vv_status latch(sim_file *f, const vv_error *now, vv_error *err)
{
    if (err != NULL)
        *err = *now;
    if (!f->latched && !VV_BUG(7)) {
        f->latched = true;
        f->first = *now;
    }
    return now->status;
}

/* How file operations begin. With `changes`, a latched file answers with its first failure. */
static vv_status enter_file(sim_file *f, sim_op op, bool changes, vv_error *err)
{
    if (changes && f->latched && !sim_is_dead(f->disk, f->life)) {
        if (err != NULL)
            *err = f->first;
        return f->first.status;
    }
    return sim_enter(f->disk, f->life, op, f->path, err);
}

static void assert_aligned(const sim_file *f, uint64_t offset, const void *buf, size_t len)
{
    if (f->flags & VIO_DIRECT) {
        assert(offset % VV_BLOCK == 0);
        assert(len % VV_BLOCK == 0);
        assert((uintptr_t)buf % VV_BLOCK == 0);
    }
    (void)offset;
    (void)buf;
    (void)len;
}

/* Faults that change what a read gives; the bytes are in buf already. */
static void damage_read(sim_file *f, uint64_t offset, uint8_t *buf, size_t len)
{
    vio_sim_disk *disk = f->disk;
    if (sim_fault_hits(disk, VIO_SIM_FLIP)) {
        uint64_t at = offset + vv_rng_below(&disk->rng, len);
        uint8_t bit = (uint8_t)(1u << vv_rng_below(&disk->rng, 8));
        buf[at - offset] ^= bit;
        bool lasting = sim_image_damage(disk, &f->node->image, at, 1, 0xff, bit);
        sim_trace(disk, "FLIP: '%s' byte %" PRIu64 " mask 0x%02x%s\n", f->path, at, bit,
                  lasting ? "" : " (this read only)");
    }
    if (disk->opt.fault != VIO_SIM_STALE)
        return; /* looking for old versions costs time on every read */
    uint64_t end = offset + len;
    for (uint64_t at = offset - offset % VV_SECTOR; at < end; at += VV_SECTOR) {
        uint8_t old[VV_SECTOR];
        if (!sim_image_stale(&f->node->image, at, old))
            continue;
        if (!sim_fault_hits(disk, VIO_SIM_STALE))
            return;
        uint64_t from = vv_max_u64(at, offset);
        uint64_t to = vv_min_u64(at + VV_SECTOR, end);
        memcpy(buf + (from - offset), old + (from - at), (size_t)(to - from));
        sim_trace(disk, "STALE: '%s' sector at %llu\n", f->path, (unsigned long long)at);
        return;
    }
}

/* Where a short transfer stops: at a block when the file is direct. 0: it is too small for one. */
static size_t short_at(sim_file *f, uint64_t offset, size_t len)
{
    size_t unit = f->flags & VIO_DIRECT ? VV_BLOCK : 1;
    if (len < 2 * unit || !sim_fault_hits(f->disk, VIO_SIM_SHORT))
        return 0;
    size_t stop = unit * (1 + (size_t)vv_rng_below(&f->disk->rng, len / unit - 1));
    sim_trace(f->disk, "SHORT: '%s' at %llu: %zu of %zu bytes\n", f->path,
              (unsigned long long)offset, stop, len);
    return stop;
}

vv_status sim_file_pread(vio_file *file, uint64_t offset, void *buf, size_t len, size_t *got,
                         vv_error *err)
{
    sim_file *f = file_of(file);
    assert(f->flags & VIO_READ);
    assert_aligned(f, offset, buf, len);
    vv_status st = enter_file(f, SIM_READ, false, err);
    if (st == VV_OK) {
        uint64_t size = f->node->image.size;
        size_t n = offset >= size ? 0 : (size_t)vv_min_u64(len, size - offset);
        size_t first = short_at(f, offset, n);
        sim_image_read(&f->node->image, offset, buf, first);
        sim_image_read(&f->node->image, offset + first, (uint8_t *)buf + first, n - first);
        if (n > 0)
            damage_read(f, offset, buf, n);
        sim_note_bytes(f->disk, buf, n);
        *got = n;
    }
    return sim_done(f->disk, SIM_READ, f->path, offset, len, st);
}

/* Blocks that may still be taken; an injected ENOSPC leaves some of what is asked for. */
static uint64_t blocks_left(vio_sim_disk *disk, bool injected, uint64_t asked)
{
    if (injected)
        return vv_rng_below(&disk->rng, asked);
    if (disk->opt.capacity == 0)
        return UINT64_MAX;
    return disk->used < disk->opt.capacity ? (disk->opt.capacity - disk->used) / VV_BLOCK : 0;
}

/* Content in the image, its space on the disk's account. */
static bool put(sim_file *f, uint64_t offset, const void *buf, size_t len)
{
    sim_image *img = &f->node->image;
    uint64_t before = img->blocks;
    bool ok = sim_image_write(f->disk, img, offset, buf, len);
    if (f->node->counted)
        f->disk->used += (img->blocks - before) * VV_BLOCK;
    return ok;
}

/* The space a write needs. When it is not there, the part that fits is written: *len shrinks. */
static bool take_space(sim_file *f, uint64_t offset, size_t *len)
{
    const sim_image *img = &f->node->image;
    uint64_t asked = sim_image_new_blocks(img, offset, *len);
    if (asked == 0)
        return true;
    uint64_t left = blocks_left(f->disk, sim_no_space(f->disk, SIM_WRITE, f->path), asked);
    if (asked <= left)
        return true;
    size_t fits = 0;
    while (fits < *len) {
        size_t next = (size_t)vv_min_u64(*len, fits + VV_BLOCK - (offset + fits) % VV_BLOCK);
        if (sim_image_new_blocks(img, offset, next) > left)
            break;
        fits = next;
    }
    *len = fits;
    return false;
}

/* Another block of the file, where a misdirected write of len bytes lands; offset: nowhere. */
static uint64_t misdirect(sim_file *f, uint64_t offset, size_t len)
{
    uint64_t size = f->node->image.size;
    uint64_t room = size < len ? 0 : (size - len) / VV_BLOCK; /* highest block to begin in */
    uint64_t own = offset / VV_BLOCK;
    uint64_t choices = room + (own > room);
    if (len == 0 || size < len || choices == 0 || !sim_fault_hits(f->disk, VIO_SIM_MISDIRECT))
        return offset;
    uint64_t block = vv_rng_below(&f->disk->rng, choices);
    block += block >= own;
    uint64_t target = block * VV_BLOCK;
    if (target + offset % VV_BLOCK + len <= size)
        target += offset % VV_BLOCK;
    sim_trace(f->disk, "MISDIRECT: '%s' write of %zu bytes for %llu goes to %llu\n", f->path, len,
              (unsigned long long)offset, (unsigned long long)target);
    return target;
}

/* One transfer of a write, from the count of the call to the durable bytes. */
static vv_status transfer(sim_file *f, uint64_t offset, const uint8_t *buf, size_t len,
                          vv_error *err)
{
    vio_sim_disk *disk = f->disk;
    bool cut = sim_cut_hits(disk);
    size_t fits = len;
    bool space = take_space(f, offset, &fits);
    if (cut && vv_rng_one_in(&disk->rng, 2))
        fits = (size_t)vv_rng_below(&disk->rng, fits + 1); /* the kernel had not taken all of it */
    uint64_t target = misdirect(f, offset, fits);
    bool ok = put(f, target, buf, fits);
    if (ok && target != offset && offset + fits > f->node->image.size)
        sim_image_set_size(disk, &f->node->image, offset + fits);
    if (cut)
        return sim_cut_here(disk, SIM_WRITE, f->path, err);
    if (!ok)
        return sim_fail_memory(err, SIM_WRITE, f->path);
    if (!space)
        return sim_fail_sys(err, SIM_WRITE, f->path, ENOSPC);
    if (f->flags & VIO_DSYNC)
        sim_image_sync_range(&f->node->image, target, len);
    return VV_OK;
}

/* A write of a DSYNC file whose data goes nowhere. */
static bool dsync_lies(sim_file *f)
{
    if (!(f->flags & VIO_DSYNC) || !sim_fault_hits(f->disk, VIO_SIM_SYNC_LIES))
        return false;
    sim_trace(f->disk, "SYNC_LIES: '%s' loses a write\n", f->path);
    return true;
}

static vv_status do_pwrite(sim_file *f, uint64_t offset, const void *buf, size_t len, vv_error *err)
{
    sim_image *img = &f->node->image;
    if (len == 0)
        return VV_OK;
    if (offset > SIM_FILE_MAX || len > SIM_FILE_MAX - offset)
        return sim_fail_sys(err, SIM_WRITE, f->path, EFBIG);
    assert(img->map == NULL || img->map->users == 0); /* never write a mapped file */
    if (img->map != NULL && !sim_map_absorb(f->disk, img))
        return sim_fail_memory(err, SIM_WRITE, f->path);
    if (dsync_lies(f))
        return sim_fail_injected(err, SIM_WRITE, f->path, EIO);
    const uint8_t *src = buf;
    size_t first = short_at(f, offset, len);
    if (first > 0) {
        vv_status st = transfer(f, offset, src, first, err);
        if (st != VV_OK)
            return st;
    }
    return transfer(f, offset + first, src + first, len - first, err);
}

vv_status sim_file_pwrite(vio_file *file, uint64_t offset, const void *buf, size_t len,
                          vv_error *err)
{
    sim_file *f = file_of(file);
    assert(f->flags & VIO_WRITE);
    assert_aligned(f, offset, buf, len);
    bool was_latched = f->latched;
    vv_error now;
    vv_status st = enter_file(f, SIM_WRITE, true, &now);
    if (st == VV_OK)
        st = do_pwrite(f, offset, buf, len, &now);
    if (st != VV_OK) {
        bool failed_sync = (f->flags & VIO_DSYNC) && (st == VV_IO || st == VV_NO_SPACE);
        if (failed_sync && !was_latched && !sim_is_dead(f->disk, f->life))
            (void)latch(f, &now, NULL);
        if (err != NULL)
            *err = now;
    }
    sim_note_bytes(f->disk, buf, len);
    return sim_done(f->disk, SIM_WRITE, f->path, offset, len, st);
}

static vv_status do_sync(sim_file *f, vv_error *err)
{
    vio_sim_disk *disk = f->disk;
    sim_image *img = &f->node->image;
    if (sim_fault_hits(disk, VIO_SIM_SYNC_LIES)) {
        sim_trace(disk, "SYNC_LIES: '%s' loses what was not synced\n", f->path);
        sim_image_drop_pending(disk, img);
        return sim_fail_injected(err, SIM_SYNC, f->path, EIO);
    }
    bool cut = sim_cut_hits(disk);
    if (cut && !vv_rng_one_in(&disk->rng, 4))
        return sim_cut_here(disk, SIM_SYNC, f->path, err);
    if (img->map != NULL && !sim_map_sync(disk, img))
        return cut ? sim_cut_here(disk, SIM_SYNC, f->path, err)
                   : sim_fail_memory(err, SIM_SYNC, f->path);
    sim_image_sync(img);
    return cut ? sim_cut_here(disk, SIM_SYNC, f->path, err) : VV_OK;
}

vv_status sim_file_sync(vio_file *file, vv_error *err)
{
    sim_file *f = file_of(file);
    vv_error now;
    vv_status st = enter_file(f, SIM_SYNC, true, &now);
    if (st == VV_OK)
        st = do_sync(f, &now);
    if (st == VV_IO && !f->latched && !sim_is_dead(f->disk, f->life))
        (void)latch(f, &now, NULL);
    if (st != VV_OK && err != NULL)
        *err = now;
    return sim_done(f->disk, SIM_SYNC, f->path, 0, 0, st);
}

vv_status sim_file_size(vio_file *file, uint64_t *out, vv_error *err)
{
    sim_file *f = file_of(file);
    vv_status st = enter_file(f, SIM_SIZE, false, err);
    if (st == VV_OK)
        *out = f->node->image.size;
    return sim_done(f->disk, SIM_SIZE, f->path, st == VV_OK ? *out : 0, 0, st);
}

static vv_status do_truncate(sim_file *f, uint64_t size, vv_error *err)
{
    vio_sim_disk *disk = f->disk;
    sim_image *img = &f->node->image;
    if (size > SIM_FILE_MAX)
        return sim_fail_sys(err, SIM_TRUNCATE, f->path, EFBIG);
    assert(img->map == NULL || img->map->users == 0);
    if (img->map != NULL && !sim_map_absorb(disk, img))
        return sim_fail_memory(err, SIM_TRUNCATE, f->path);
    bool happens;
    bool cut = sim_change_cut(disk, &happens);
    uint64_t before = img->blocks;
    bool ok = !happens || sim_image_truncate(disk, img, size);
    if (f->node->counted)
        disk->used -= (before - img->blocks) * VV_BLOCK;
    if (cut)
        return sim_cut_here(disk, SIM_TRUNCATE, f->path, err);
    return ok ? VV_OK : sim_fail_memory(err, SIM_TRUNCATE, f->path);
}

vv_status sim_file_truncate(vio_file *file, uint64_t size, vv_error *err)
{
    sim_file *f = file_of(file);
    assert(f->flags & VIO_WRITE);
    vv_status st = enter_file(f, SIM_TRUNCATE, true, err);
    if (st == VV_OK)
        st = do_truncate(f, size, err);
    return sim_done(f->disk, SIM_TRUNCATE, f->path, size, 0, st);
}

static vv_status do_allocate(sim_file *f, uint64_t size, vv_error *err)
{
    vio_sim_disk *disk = f->disk;
    sim_image *img = &f->node->image;
    if (size > SIM_FILE_MAX)
        return sim_fail_sys(err, SIM_ALLOCATE, f->path, EFBIG);
    uint64_t asked = sim_image_new_blocks(img, 0, size);
    if (asked > 0 && asked > blocks_left(disk, sim_no_space(disk, SIM_ALLOCATE, f->path), asked))
        return sim_fail_sys(err, SIM_ALLOCATE, f->path, ENOSPC);
    bool happens;
    bool cut = sim_change_cut(disk, &happens);
    if (happens && size > 0) {
        uint64_t before = img->blocks;
        sim_image_reserve(img, size);
        if (f->node->counted)
            disk->used += (img->blocks - before) * VV_BLOCK;
        sim_image_set_size(disk, img, vv_max_u64(img->size, size));
    }
    return cut ? sim_cut_here(disk, SIM_ALLOCATE, f->path, err) : VV_OK;
}

vv_status sim_file_allocate(vio_file *file, uint64_t size, vv_error *err)
{
    sim_file *f = file_of(file);
    assert(f->flags & VIO_WRITE);
    vv_status st = enter_file(f, SIM_ALLOCATE, true, err);
    if (st == VV_OK)
        st = do_allocate(f, size, err);
    return sim_done(f->disk, SIM_ALLOCATE, f->path, size, 0, st);
}

static vv_status do_map(sim_file *f, size_t len, uint8_t **out, vv_error *err)
{
    sim_image *img = &f->node->image;
    if (len == 0 || len > img->size)
        return vv_fail(err, VV_INVALID, "map %zu bytes of '%s', which has %llu", len, f->path,
                       (unsigned long long)img->size);
    assert(sim_image_new_blocks(img, 0, len) == 0); /* a store could find the disk full */
    vv_status st = sim_map_open(f->disk, img, len, out);
    if (st == VV_NO_MEMORY)
        return sim_fail_memory(err, SIM_MAP, f->path);
    if (st != VV_OK)
        return vv_fail(err, st, "map %zu bytes of '%s': a shorter map is in use", len, f->path);
    return VV_OK;
}

vv_status sim_file_map(vio_file *file, size_t len, uint8_t **out, vv_error *err)
{
    sim_file *f = file_of(file);
    assert(f->flags & VIO_READ);
    vv_status st = enter_file(f, SIM_MAP, false, err);
    if (st == VV_OK)
        st = do_map(f, len, out, err);
    return sim_done(f->disk, SIM_MAP, f->path, len, 0, st);
}

void sim_file_unmap(vio_file *file, uint8_t *map, size_t len)
{
    (void)len;
    sim_file *f = file_of(file);
    if (map != NULL)
        sim_map_close(f->disk, &f->node->image, map);
}
