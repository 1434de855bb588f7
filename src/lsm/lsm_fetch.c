/*
 * lsm_fetch.c - the stored bytes of a block: from the file into a buffer, from there into a frame.
 *
 *      device blocks   |-----------|-----------|-----------|
 *      stored block          |skip|####################|
 *      direct read     |<----------------------------------->|
 *
 * Why a buffer between the disk and the frame: most blocks are compressed and must be unpacked
 * anyway; a plain one costs a copy of 4 KiB (0.3 us) beside a read of 60 us. Frames that a direct
 * read could fill would have to begin and end at device blocks, a tenth of the cache in waste.
 */
#include <inttypes.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "lsm/lsm_run.h"

static vv_status place_of(const lsm_fetch *f, vv_status st, vv_error *err)
{
    return vv_wrap(err, st, "run %" PRIu64 ": block %u at offset %" PRIu64, f->run->meta.id,
                   f->block, lsm_run_block_offset(f->run, f->block));
}

vv_status lsm_fetch_prepare(lsm_fetch *f, lsm_run *run, uint32_t block, vio_queue *q, vv_error *err)
{
    uint64_t offset = lsm_run_block_offset(run, block);
    uint64_t end = offset + lsm_run_block_stored(run, block);
    uint64_t from = offset;
    if (run->store->direct && !run->is_remote) {
        from = offset & ~(uint64_t)(VV_BLOCK - 1);
        end = vv_align_up(end, VV_BLOCK);
    }
    size_t len = (size_t)(end - from);
    bool fits = q != NULL && len <= VIO_BUFFER_SIZE;
    uint8_t *buf = fits ? vio_buffer_take(q) : NULL;
    f->owner = buf != NULL ? q : NULL;
    if (buf == NULL)
        buf = vv_alloc_aligned(VV_BLOCK, len);
    if (buf == NULL)
        return vv_fail(err, VV_NO_MEMORY, "run %" PRIu64 ": no memory to read a block of %zu bytes",
                       run->meta.id, len);
    f->run = run;
    f->block = block;
    f->skip = (uint32_t)(offset - from);
    f->req.op = VIO_OP_READ;
    f->req.cls = VIO_CLASS_READ;
    f->req.file = run->file;
    f->req.offset = from;
    f->req.buf = buf;
    f->req.len = len;
    return VV_OK;
}

void lsm_fetch_drop(lsm_fetch *f)
{
    if (f->owner != NULL)
        vio_buffer_give(f->owner, f->req.buf);
    else
        vv_free(f->req.buf);
    f->req.buf = NULL;
    f->owner = NULL;
}

vv_status lsm_fetch_finish(lsm_fetch *f, pgc_frame **out, vv_error *err)
{
    vv_status st = f->req.status;
    uint32_t stored = lsm_run_block_stored(f->run, f->block);
    if (st != VV_OK) {
        if (err != NULL)
            *err = f->req.err;
        place_of(f, st, err);
    } else if (f->req.got < f->skip + (size_t)stored) {
        st = vv_fail(err, VV_CORRUPT, "the file ends inside of it");
        place_of(f, st, err);
    } else {
        const uint8_t *at = (const uint8_t *)f->req.buf + f->skip;
        st = lsm_run_decode_block(f->run, f->block, at, out, err);
    }
    lsm_fetch_drop(f);
    return st;
}

vv_status lsm_fetch_now(lsm_run *run, uint32_t block, pgc_frame **out, vv_error *err)
{
    lsm_fetch f = {0};
    vv_status st = lsm_fetch_prepare(&f, run, block, NULL, err);
    if (st != VV_OK)
        return st;
    assert(f.req.file != NULL);
    f.req.status =
        vio_pread(f.req.file, f.req.offset, f.req.buf, f.req.len, &f.req.got, &f.req.err);
    return lsm_fetch_finish(&f, out, err);
}
