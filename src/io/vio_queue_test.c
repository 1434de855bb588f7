/*
 * vio_queue_test.c - the conformance suite of queues: one list of laws, every backend.
 */
#include "io/vio_queue_test_util.h"

/* ---- laws ---- */

static void many_reads_each_give_their_own_bytes(void **state)
{
    fixture *f = set_up(state);
    const unsigned flags[] = {0, VIO_DIRECT};
    for (size_t k = 0; k < ARRAY_LEN(flags); k++) {
        vio_file *file = must_open(f, "f", VIO_READ | VIO_WRITE | VIO_CREATE | flags[k]);
        uint8_t *data = make_blocks(file, f);
        uint8_t *buf = vv_alloc_aligned(VV_BLOCK, BLOCKS * VV_BLOCK);
        job jobs[BLOCKS];
        unsigned next = 0;
        unsigned done = 0;
        memset(buf, 0, BLOCKS * VV_BLOCK);
        while (done < BLOCKS) {
            for (; next < BLOCKS && vio_queue_room(f->q) > 0; next++) {
                unsigned i = (next * 29) % BLOCKS;
                set_job(&jobs[i], VIO_OP_READ, file, (uint64_t)i * VV_BLOCK,
                        buf + (size_t)i * VV_BLOCK, VV_BLOCK);
                must_submit(f, &jobs[i]);
            }
            unsigned n = vio_poll(f->q, 1);
            assert_true(n >= 1);
            done += n;
        }
        for (unsigned i = 0; i < BLOCKS; i++) {
            assert_int_equal(jobs[i].answers, 1);
            assert_ok(jobs[i].req.status, jobs[i].req.err);
            assert_int_equal(jobs[i].req.got, VV_BLOCK);
        }
        assert_memory_equal(buf, data, BLOCKS * VV_BLOCK);
        assert_int_equal(vio_poll(f->q, 5), 0); /* nothing held: no wait */
        vv_free(buf);
        vv_free(data);
        vio_close(file);
    }
    tear_down(f);
}

static void reads_end_with_the_file(void **state)
{
    fixture *f = set_up(state);
    vio_file *file = must_open(f, "f", VIO_READ | VIO_WRITE | VIO_CREATE);
    assert_ok(vio_pwrite(file, 0, "abcdef", 6, &f->err), f->err);
    char buf[16];
    job j;
    set_job(&j, VIO_OP_READ, file, 2, buf, sizeof buf);
    must_run(f, &j);
    assert_ok(j.req.status, j.req.err);
    assert_int_equal(j.req.got, 4);
    assert_memory_equal(buf, "cdef", 4);
    set_job(&j, VIO_OP_READ, file, 99, buf, sizeof buf);
    must_run(f, &j);
    assert_ok(j.req.status, j.req.err);
    assert_int_equal(j.req.got, 0);
    set_job(&j, VIO_OP_READ, file, 0, buf, 0);
    must_run(f, &j);
    assert_ok(j.req.status, j.req.err);
    assert_int_equal(j.req.got, 0);
    vio_close(file);
    tear_down(f);
}

static void writes_and_syncs_are_there_when_answered(void **state)
{
    fixture *f = set_up(state);
    vio_file *file = must_open(f, "f", VIO_READ | VIO_WRITE | VIO_CREATE | VIO_EXCL);
    char text[20][8];
    job jobs[20];
    for (unsigned i = 0; i < 20; i++) {
        (void)snprintf(text[i], sizeof text[i], "%06u.", i);
        set_job(&jobs[i], VIO_OP_WRITE, file, (uint64_t)i * 7, text[i], 7);
        jobs[i].req.cls = (vio_class)(i % VIO_CLASSES);
        must_submit(f, &jobs[i]);
    }
    vio_drain(f->q);
    job sync;
    set_job(&sync, VIO_OP_SYNC, file, 0, NULL, 0);
    must_run(f, &sync);
    assert_ok(sync.req.status, sync.req.err);
    for (unsigned i = 0; i < 20; i++) {
        char back[8] = "";
        assert_int_equal(jobs[i].answers, 1);
        assert_ok(jobs[i].req.status, jobs[i].req.err);
        assert_ok(vio_pread_full(file, (uint64_t)i * 7, back, 7, &f->err), f->err);
        assert_string_equal(back, text[i]);
    }
    vio_close(file);
    tear_down(f);
}

static void a_full_queue_takes_all_or_nothing(void **state)
{
    fixture *f = set_up_depth(state, 4);
    vio_file *file = must_open(f, "f", VIO_READ | VIO_WRITE | VIO_CREATE);
    assert_ok(vio_pwrite(file, 0, "abcdefgh", 8, &f->err), f->err);
    char buf[8];
    job jobs[8];
    vio_req *reqs[8];
    for (unsigned i = 0; i < 8; i++) {
        set_job(&jobs[i], VIO_OP_READ, file, i, buf + i, 1);
        reqs[i] = &jobs[i].req;
    }
    assert_status(VV_BUSY, vio_submit(f->q, reqs, 5, &f->err));
    assert_ok(vio_submit(f->q, reqs, 3, &f->err), f->err);
    assert_int_equal(vio_queue_room(f->q), 1);
    assert_status(VV_BUSY, vio_submit(f->q, reqs + 3, 2, &f->err));
    assert_non_null(strstr(f->err.msg, "3 of 4"));
    assert_ok(vio_submit(f->q, reqs + 3, 1, &f->err), f->err);
    assert_true(vio_poll(f->q, 4) == 4);
    assert_ok(vio_submit(f->q, reqs + 4, 4, &f->err), f->err);
    vio_drain(f->q);
    assert_memory_equal(buf, "abcdefgh", 8);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(jobs[i].answers, 1);
    vio_close(file);
    tear_down(f);
}

/* done() submits the next part until the file is copied. */
typedef struct chain {
    vio_req req;
    unsigned left;
    fixture *f;
} chain;

static void submit_next(vio_req *req)
{
    chain *c = VV_CONTAINER_OF(req, chain, req);
    if (--c->left == 0)
        return;
    req->offset++;
    req->buf = (char *)req->buf + 1;
    assert_ok(vio_submit(c->f->q, &req, 1, &c->f->err), c->f->err);
}

static void done_may_submit(void **state)
{
    fixture *f = set_up_depth(state, 1);
    vio_file *file = must_open(f, "f", VIO_READ | VIO_WRITE | VIO_CREATE);
    assert_ok(vio_pwrite(file, 0, "abcdefgh", 8, &f->err), f->err);
    char buf[8];
    chain c = {.req = {.op = VIO_OP_READ,
                       .cls = VIO_CLASS_READ,
                       .file = file,
                       .buf = buf,
                       .len = 1,
                       .done = submit_next},
               .left = 8,
               .f = f};
    vio_req *req = &c.req;
    assert_ok(vio_submit(f->q, &req, 1, &f->err), f->err);
    vio_drain(f->q);
    assert_int_equal(c.left, 0);
    assert_memory_equal(buf, "abcdefgh", 8);
    vio_close(file);
    tear_down(f);
}

static void closing_cancels_what_was_not_started(void **state)
{
    fixture *f = set_up(state);
    vio_file *file = must_open(f, "f", VIO_READ | VIO_WRITE | VIO_CREATE);
    assert_ok(vio_pwrite(file, 0, "abcdefgh", 8, &f->err), f->err);
    char buf[8] = "";
    job jobs[8];
    for (unsigned i = 0; i < 4; i++) {
        set_job(&jobs[i], VIO_OP_READ, file, i, buf + i, 1);
        must_submit(f, &jobs[i]);
    }
    (void)vio_poll(f->q, 0); /* these are started, and perhaps finished */
    for (unsigned i = 4; i < 8; i++) {
        set_job(&jobs[i], VIO_OP_READ, file, i, buf + i, 1);
        must_submit(f, &jobs[i]);
    }
    vio_queue_close(f->q);
    f->q = NULL;
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(jobs[i].answers, 1);
        assert_status(i < 4 ? VV_OK : VV_CLOSED, jobs[i].req.status);
    }
    assert_memory_equal(buf, "abcd\0\0\0\0", 8);
    vio_close(file);
    vio_queue_close(NULL);
    tear_down(f);
}

static void the_queues_buffers_are_aligned_and_bounded(void **state)
{
    fixture *f = set_up(state);
    vio_file *file = must_open(f, "f", VIO_READ | VIO_WRITE | VIO_CREATE | VIO_DIRECT);
    uint8_t *data = make_blocks(file, f);
    uint8_t *bufs[VIO_BUFFER_COUNT];
    for (unsigned i = 0; i < VIO_BUFFER_COUNT; i++) {
        bufs[i] = vio_buffer_take(f->q);
        assert_non_null(bufs[i]);
        assert_int_equal((uintptr_t)bufs[i] % VV_BLOCK, 0);
    }
    assert_null(vio_buffer_take(f->q));
    vio_buffer_give(f->q, bufs[17]);
    assert_ptr_equal(vio_buffer_take(f->q), bufs[17]);
    job jobs[20];
    for (unsigned i = 0; i < 20; i++) {
        set_job(&jobs[i], i == 0 ? VIO_OP_WRITE : VIO_OP_READ, file, (uint64_t)i * 2 * VV_BLOCK,
                bufs[i], 2 * VV_BLOCK);
        memcpy(bufs[i], data, 2 * VV_BLOCK);
        must_submit(f, &jobs[i]);
    }
    vio_drain(f->q);
    for (unsigned i = 0; i < 20; i++) {
        assert_ok(jobs[i].req.status, jobs[i].req.err);
        assert_memory_equal(bufs[i], data + (size_t)i * 2 * VV_BLOCK, 2 * VV_BLOCK);
    }
    for (unsigned i = 0; i < VIO_BUFFER_COUNT; i++)
        vio_buffer_give(f->q, bufs[i]);
    vv_free(data);
    vio_close(file);
    tear_down(f);
}

#ifdef VV_TEST_HOOKS
static void without_memory_there_is_no_queue_and_no_buffer(void **state)
{
    fixture *f = set_up(state);
    vio_queue *q = NULL;
    vv_alloc_fail_after(0, 1);
    vv_status st = vio_queue_open(f->io, 4, &q, &f->err);
    uint8_t *buf = vio_buffer_take(f->q);
    vv_alloc_fail_after(-1, 0);
    assert_status(VV_NO_MEMORY, st);
    assert_null(buf);
    assert_null(vio_buffer_take(f->q)); /* not asked for again */
    tear_down(f);
}

#endif

static void a_thread_keeps_its_queue_until_the_vio_goes(void **state)
{
    fixture *f = set_up(state);
    vio_queue *a = NULL;
    vio_queue *b = NULL;
#ifdef VV_TEST_HOOKS
    vv_alloc_fail_after(0, 1);
    vv_status st = vio_queue_of_thread(f->io, &a, &f->err);
    vv_alloc_fail_after(1, 1);
    vv_status second = vio_queue_of_thread(f->io, &a, &f->err);
    vv_alloc_fail_after(-1, 0);
    assert_status(VV_NO_MEMORY, st);
    assert_status(VV_NO_MEMORY, second);
#endif
    assert_ok(vio_queue_of_thread(f->io, &a, &f->err), f->err);
    assert_ok(vio_queue_of_thread(f->io, &b, &f->err), f->err);
    assert_ptr_equal(a, b);
    assert_int_equal(vio_queue_room(a), VIO_QUEUE_DEPTH);
    tear_down(f);
}

/* Reads, writes and syncs at random, in overlapping batches, against a model: each 64-byte cell is
 * in one request at a time. */
static void prop_random_requests_agree_with_an_array(void **state)
{
    fixture *f = set_up(state);
    enum { CELL = 64, CELLS = 256, SLOTS = 24 };
    static uint8_t model[CELLS][CELL];
    static uint8_t bytes[SLOTS][CELL];
    job jobs[SLOTS] = {0};
    unsigned cell_of[SLOTS];
    bool busy[CELLS] = {false};
    bool used[SLOTS] = {false};
    uint64_t seed = vv_test_seed(11);
    vv_rng rng;
    vv_rng_init(&rng, seed);
    memset(model, 0, sizeof model);
    vio_file *file = must_open(f, "f", VIO_READ | VIO_WRITE | VIO_CREATE);
    assert_ok(vio_pwrite(file, 0, model, sizeof model, &f->err), f->err);
    for (unsigned round = 0; round < 4000; round++) {
        unsigned slot = (unsigned)vv_rng_below(&rng, SLOTS);
        unsigned cell = (unsigned)vv_rng_below(&rng, CELLS);
        if (!used[slot] && !busy[cell]) {
            vio_op op = vv_rng_one_in(&rng, 40)  ? VIO_OP_SYNC
                        : vv_rng_one_in(&rng, 2) ? VIO_OP_READ
                                                 : VIO_OP_WRITE;
            memset(bytes[slot], (int)round, CELL);
            set_job(&jobs[slot], op, file, (uint64_t)cell * CELL, bytes[slot], CELL);
            jobs[slot].req.cls = (vio_class)vv_rng_below(&rng, VIO_CLASSES);
            cell_of[slot] = cell;
            must_submit(f, &jobs[slot]);
            used[slot] = busy[cell] = true;
        }
        if (vv_rng_one_in(&rng, 3))
            (void)vio_poll(f->q, (unsigned)vv_rng_below(&rng, 4));
        if (round + 1 == 4000)
            vio_drain(f->q);
        for (unsigned i = 0; i < SLOTS; i++) {
            if (!used[i] || jobs[i].answers == 0)
                continue;
            assert_ok(jobs[i].req.status, jobs[i].req.err);
            if (jobs[i].req.op == VIO_OP_WRITE)
                memcpy(model[cell_of[i]], bytes[i], CELL);
            if (jobs[i].req.op == VIO_OP_READ && memcmp(model[cell_of[i]], bytes[i], CELL) != 0)
                fail_msg("cell %u, VV_SEED=0x%llx", cell_of[i], (unsigned long long)seed);
            used[i] = busy[cell_of[i]] = false;
        }
    }
    vio_close(file);
    tear_down(f);
}

/* ---- threads ---- */

typedef struct reader {
    vio *io;
    vio_file *file;
    bool keep; /* leaves its queue to the vio */
    unsigned wrong;
} reader;

static void read_all(void *arg)
{
    reader *r = arg;
    vio_queue *q = NULL;
    vv_error err;
    if (vio_queue_of_thread(r->io, &q, &err) != VV_OK) {
        r->wrong++;
        return;
    }
    for (unsigned round = 0; round < 50; round++) {
        job jobs[16];
        uint8_t *bufs[16];
        for (unsigned i = 0; i < 16; i++) {
            bufs[i] = vio_buffer_take(q);
            set_job(&jobs[i], VIO_OP_READ, r->file, (uint64_t)i * VV_BLOCK, bufs[i], VV_BLOCK);
            vio_req *req = &jobs[i].req;
            r->wrong += vio_submit(q, &req, 1, &err) != VV_OK;
        }
        vio_drain(q);
        for (unsigned i = 0; i < 16; i++) {
            r->wrong += jobs[i].req.status != VV_OK || bufs[i][5] != (uint8_t)(i + 1);
            vio_buffer_give(q, bufs[i]);
        }
    }
}

static void threads_have_a_queue_each(void **state)
{
    fixture *f = set_up(state);
    if (f->on->parent != NULL) { /* a simulated disk belongs to one thread */
        vio_file *file = must_open(f, "f", VIO_READ | VIO_WRITE | VIO_CREATE);
        uint8_t block[VV_BLOCK];
        for (unsigned i = 0; i < 16; i++) {
            memset(block, (int)(i + 1), sizeof block);
            assert_ok(vio_pwrite(file, (uint64_t)i * VV_BLOCK, block, sizeof block, &f->err),
                      f->err);
        }
        reader readers[4];
        vv_thread *threads[4];
        for (unsigned i = 0; i < 4; i++) {
            readers[i] = (reader){.io = f->io, .file = file};
            assert_ok(vv_threads_real()->create("reader", VV_THREAD_NORMAL, read_all, &readers[i],
                                                &threads[i], &f->err),
                      f->err);
        }
        reader mine = {.io = f->io, .file = file};
        read_all(&mine);
        assert_int_equal(mine.wrong, 0);
        for (unsigned i = 0; i < 4; i++) {
            vv_threads_real()->join(threads[i]);
            assert_int_equal(readers[i].wrong, 0);
        }
        vio_close(file);
    }
    tear_down(f);
}

int main(void)
{
    static const queue_law laws[] = {
        QUEUE_LAW(many_reads_each_give_their_own_bytes),
        QUEUE_LAW(reads_end_with_the_file),
        QUEUE_LAW(writes_and_syncs_are_there_when_answered),
        QUEUE_LAW(a_full_queue_takes_all_or_nothing),
        QUEUE_LAW(done_may_submit),
        QUEUE_LAW(closing_cancels_what_was_not_started),
        QUEUE_LAW(the_queues_buffers_are_aligned_and_bounded),
#ifdef VV_TEST_HOOKS
        QUEUE_LAW(without_memory_there_is_no_queue_and_no_buffer),
#endif
        QUEUE_LAW(a_thread_keeps_its_queue_until_the_vio_goes),
        QUEUE_LAW(prop_random_requests_agree_with_an_array),
        QUEUE_LAW(threads_have_a_queue_each),
    };
    return run_laws("queues", laws, ARRAY_LEN(laws));
}
