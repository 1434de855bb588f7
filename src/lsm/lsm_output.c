/*
 * lsm_output.c - handing over full pieces and waiting for them.
 *
 * Pieces have places of their own in the file, so the order in which they are written is nobody's
 * concern: the caller syncs after the last one is answered, and no one reads the file before that.
 */
#include "lsm/lsm_output.h"

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"

vv_status lsm_output_init(lsm_output *o, vio *io, vio_class cls, size_t size, vv_error *err)
{
    *o = (lsm_output){.io = io, .cls = cls};
    o->piece_size = vv_align_up(size / LSM_OUTPUT_PIECES + 1, VV_BLOCK);
    if (size % (LSM_OUTPUT_PIECES * VV_BLOCK) == 0)
        o->piece_size = size / LSM_OUTPUT_PIECES;
    o->memory = vv_alloc_aligned(VV_BLOCK, lsm_output_memory(o));
    if (o->memory == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a buffer of %zu bytes",
                       lsm_output_memory(o));
    for (unsigned i = 0; i < LSM_OUTPUT_PIECES; i++) {
        o->pieces[i].output = o;
        o->pieces[i].bytes = o->memory + i * o->piece_size;
    }
    return VV_OK;
}

size_t lsm_output_memory(const lsm_output *o)
{
    return o->piece_size * LSM_OUTPUT_PIECES;
}

static void note_written(vio_req *req)
{
    lsm_piece *p = VV_CONTAINER_OF(req, lsm_piece, req);
    lsm_output *o = p->output;
    p->in_flight = false;
    o->in_flight--;
    if (req->status == VV_OK || o->failed.status != VV_OK)
        return;
    o->failed = req->err;
    o->failed.status = req->status;
}

static vv_status answer(const lsm_output *o, vv_error *err)
{
    if (o->failed.status != VV_OK && err != NULL)
        *err = o->failed;
    return o->failed.status;
}

static vv_status hand_over(lsm_output *o, vv_error *err)
{
    vio_queue *queue = NULL;
    vv_status st = vio_queue_of_thread(o->io, &queue, err);
    if (st != VV_OK)
        return st;
    assert(o->in_flight == 0 || o->queue == queue);
    o->queue = queue;
    lsm_piece *p = &o->pieces[o->current];
    p->req = (vio_req){.op = VIO_OP_WRITE,
                       .cls = o->cls,
                       .file = o->file,
                       .offset = o->handed,
                       .buf = p->bytes,
                       .len = o->len,
                       .done = note_written};
    vio_req *req = &p->req;
    st = vio_submit(queue, &req, 1, err);
    if (st != VV_OK)
        return st;
    p->in_flight = true;
    o->in_flight++;
    o->handed += o->len;
    o->len = 0;
    o->current = (o->current + 1) % LSM_OUTPUT_PIECES;
    (void)vio_poll(queue, 0);
    while (o->pieces[o->current].in_flight)
        (void)vio_poll(queue, 1);
    return answer(o, err);
}

vv_status lsm_output_put(lsm_output *o, const uint8_t *data, size_t len, vv_error *err)
{
    while (len > 0) {
        size_t n = (size_t)vv_min_u64(len, o->piece_size - o->len);
        uint8_t *to = o->pieces[o->current].bytes + o->len;
        if (data != NULL) {
            memcpy(to, data, n);
            data += n;
        } else {
            memset(to, 0, n);
        }
        o->len += n;
        len -= n;
        vv_status st = o->len == o->piece_size ? hand_over(o, err) : VV_OK;
        if (st != VV_OK)
            return st;
    }
    return VV_OK;
}

vv_status lsm_output_settle(lsm_output *o, vv_error *err)
{
    while (o->in_flight > 0)
        (void)vio_poll(o->queue, 1);
    return answer(o, err);
}

vv_status lsm_output_end(lsm_output *o, vv_error *err)
{
    assert(o->len % VV_BLOCK == 0);
    vv_status st = o->len > 0 ? hand_over(o, err) : VV_OK;
    vv_status settled = lsm_output_settle(o, st == VV_OK ? err : NULL);
    return st == VV_OK ? settled : st;
}

void lsm_output_fini(lsm_output *o)
{
    while (o->in_flight > 0)
        (void)vio_poll(o->queue, 1);
    vio_close(o->file);
    vv_free(o->memory);
    *o = (lsm_output){0};
}
