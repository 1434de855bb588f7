/*
 * lsm_output.h - the bytes of a new run on their way to the disk, in pieces, several in flight.
 *
 *     put --> | piece 0 | piece 1 | piece 2 | piece 3 |      full: handed to the thread's queue,
 *                 ^ filled   in flight   in flight           ranked as flush or compaction
 *
 * While the disk writes one piece the merge fills the next. What is in flight belongs to the queue
 * of the thread that handed it over, so that thread settles before it lets go of the output: at the
 * end of every step of a job.
 */
#ifndef VARVE_LSM_LSM_OUTPUT_H
#define VARVE_LSM_LSM_OUTPUT_H

#include "io/vio_queue.h"

#define LSM_OUTPUT_PIECES 4u

typedef struct lsm_output lsm_output;

typedef struct lsm_piece {
    vio_req req;
    lsm_output *output;
    uint8_t *bytes; /* piece_size of them, aligned for direct I/O */
    bool in_flight;
} lsm_piece;

struct lsm_output {
    vio *io;
    vio_file *file; /* direct */
    vio_class cls;
    uint8_t *memory;   /* of all pieces */
    size_t piece_size; /* a multiple of VV_BLOCK */
    lsm_piece pieces[LSM_OUTPUT_PIECES];
    unsigned current; /* the piece being filled */
    size_t len;       /* bytes in it */
    uint64_t handed;  /* bytes of the file handed over so far */
    unsigned in_flight;
    vio_queue *queue; /* where they are */
    vv_error failed;  /* status not VV_OK: the first write that failed */
};

/** Memory for pieces of size bytes together, rounded up to blocks. The file comes later. */
VV_MUST_CHECK vv_status lsm_output_init(lsm_output *o, vio *io, vio_class cls, size_t size,
                                        vv_error *err);
/** Bytes of memory it holds. */
size_t lsm_output_memory(const lsm_output *o);
/** Append bytes, or zeros when data is NULL. A failure may be that of an earlier piece. */
VV_MUST_CHECK vv_status lsm_output_put(lsm_output *o, const uint8_t *data, size_t len,
                                       vv_error *err);
/** Hand over what is left: the position is a multiple of VV_BLOCK. Then settle. */
VV_MUST_CHECK vv_status lsm_output_end(lsm_output *o, vv_error *err);
/** Wait for what is in flight, in the thread that handed it over. */
VV_MUST_CHECK vv_status lsm_output_settle(lsm_output *o, vv_error *err);
/** Closes the file. Accepts what was never initialised but zeroed. */
void lsm_output_fini(lsm_output *o);

/** Bytes appended so far. */
static inline uint64_t lsm_output_position(const lsm_output *o)
{
    return o->handed + o->len;
}

#endif
