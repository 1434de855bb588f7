/*
 * vio_sim_queue.c - the asynchronous front of the simulated disk.
 *
 * A request takes effect at some time between its start and its answer, and answers come in any
 * order: both are drawn from the disk's seed. So a power cut finds any subset of what was in flight
 * written, of which any part was answered, and a caller that relies on an order of its requests
 * loses data in some seed. Faults and cuts hit the effect, through the blocking call it is.
 */
#include "base/alloc.h"
#include "base/error.h"
#include "io/vio_sim_int.h"

typedef struct sim_queue {
    vio_queue base;
    vio_sim_disk *disk;
    vio_req *flight[VIO_QUEUE_DEPTH];
    unsigned count;
} sim_queue;

static sim_queue *queue_of(vio_queue *q)
{
    return VV_CONTAINER_OF(q, sim_queue, base);
}

static void take_effect(vio_req *req)
{
    req->ran = true;
    switch (req->op) {
    case VIO_OP_READ:
        req->status =
            sim_file_pread(req->file, req->offset, req->buf, req->len, &req->got, &req->err);
        break;
    case VIO_OP_WRITE:
        req->status = sim_file_pwrite(req->file, req->offset, req->buf, req->len, &req->err);
        break;
    case VIO_OP_SYNC:
        req->status = sim_file_sync(req->file, &req->err);
        break;
    }
}

static void sim_start(vio_queue *q, vio_req *req)
{
    sim_queue *s = queue_of(q);
    s->flight[s->count++] = req;
}

static void answer_one(sim_queue *s, unsigned i)
{
    vio_req *req = s->flight[i];
    s->flight[i] = s->flight[--s->count];
    if (!req->ran)
        take_effect(req);
    vio_queue_answer(&s->base, req);
}

static void sim_reap(vio_queue *q, bool wait)
{
    sim_queue *s = queue_of(q);
    vv_rng *rng = &s->disk->rng;
    for (unsigned n = (unsigned)vv_rng_below(rng, s->count + 1); n > 0; n--) {
        vio_req *req = s->flight[vv_rng_below(rng, s->count)];
        if (!req->ran)
            take_effect(req);
    }
    unsigned answers = (unsigned)vv_rng_below(rng, s->count + 1);
    if (answers == 0 && wait)
        answers = 1;
    for (; answers > 0 && s->count > 0; answers--)
        answer_one(s, (unsigned)vv_rng_below(rng, s->count));
}

static void sim_queue_close(vio_queue *q)
{
    vv_free(queue_of(q));
}

vv_status sim_queue_open(vio *io, vio_sim_disk *disk, unsigned depth, vio_queue **out,
                         vv_error *err)
{
    static const vio_queue_ops ops = {
        .name = "sim", .start = sim_start, .reap = sim_reap, .close = sim_queue_close};
    sim_queue *s = vv_alloc(sizeof *s);
    if (s == NULL)
        return vv_fail(err, VV_NO_MEMORY, "I/O queue: no memory");
    *s = (sim_queue){.disk = disk};
    vio_queue_init(&s->base, &ops, io, depth);
    *out = &s->base;
    return VV_OK;
}
