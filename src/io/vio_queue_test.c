/*
 * vio_queue_test.c - the conformance and fault suite of queues: one list of laws, every backend.
 */
#include "vv_test.h"

#include <ftw.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "io/env.h"
#include "io/vio_posix_int.h"
#include "io/vio_sim.h"

typedef struct backend {
    const char *name;
    const char *parent; /* where the root is made; NULL: simulated */
    vio_backend kind;
} backend;

static const backend backends[] = {
    {"posix", "/tmp", VIO_BACKEND_POSIX},
    {"threads", "/tmp", VIO_BACKEND_THREADS},
    {"ring", "/tmp", VIO_BACKEND_RING},
    {"threads-tmpfs", "/dev/shm", VIO_BACKEND_THREADS},
    {"ring-tmpfs", "/dev/shm", VIO_BACKEND_RING},
    {"sim", NULL, VIO_BACKEND_AUTO},
};

typedef struct fixture {
    const backend *on;
    vio *io;
    vio_sim_disk *disk;
    char dir[128];
    vio_queue *q;
    vv_error err;
} fixture;

static fixture *set_up_depth(void **state, unsigned depth)
{
    static fixture f;
    f = (fixture){.on = *state};
    if (f.on->parent == NULL) {
        f.disk = vio_sim_disk_create();
        assert_non_null(f.disk);
        vio_sim_options opt = {.seed = vv_test_seed(1)};
        assert_ok(vio_sim_open(f.disk, &opt, &f.io, &f.err), f.err);
    } else {
        vio_posix_options opt = {.backend = f.on->kind};
        (void)snprintf(f.dir, sizeof f.dir, "%s/vio-queue-XXXXXX", f.on->parent);
        assert_non_null(mkdtemp(f.dir));
        assert_ok(vio_posix_open(f.dir, &opt, &f.io, &f.err), f.err);
    }
    assert_ok(vio_mkdir(f.io, "", &f.err), f.err);
    assert_ok(vio_queue_open(f.io, depth, &f.q, &f.err), f.err);
    return &f;
}

static fixture *set_up(void **state)
{
    return set_up_depth(state, 32);
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *at)
{
    (void)info;
    (void)type;
    (void)at;
    return remove(path);
}

static void tear_down(fixture *f)
{
    vio_queue_close(f->q);
    vio_destroy(f->io);
    vio_sim_disk_destroy(f->disk);
    if (f->on->parent != NULL)
        (void)nftw(f->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static vio_file *must_open(fixture *f, const char *path, unsigned flags)
{
    vio_file *file = NULL;
    assert_ok(vio_open(f->io, path, flags, &file, &f->err), f->err);
    return file;
}

/* A request that counts its answers. */
typedef struct job {
    vio_req req;
    unsigned answers;
} job;

static void note_done(vio_req *req)
{
    job *j = VV_CONTAINER_OF(req, job, req);
    j->answers++;
}

static void set_job(job *j, vio_op op, vio_file *file, uint64_t offset, void *buf, size_t len)
{
    *j = (job){.req = {.op = op,
                       .cls = VIO_CLASS_READ,
                       .file = file,
                       .offset = offset,
                       .buf = buf,
                       .len = len,
                       .done = note_done}};
}

static void must_submit(fixture *f, job *j)
{
    vio_req *req = &j->req;
    assert_ok(vio_submit(f->q, &req, 1, &f->err), f->err);
}

static void must_run(fixture *f, job *j)
{
    must_submit(f, j);
    vio_drain(f->q);
    assert_int_equal(j->answers, 1);
}

#define BLOCKS 48u

static uint8_t *make_blocks(vio_file *file, fixture *f)
{
    uint8_t *data = vv_alloc_aligned(VV_BLOCK, BLOCKS * VV_BLOCK);
    assert_non_null(data);
    for (size_t i = 0; i < (size_t)BLOCKS * VV_BLOCK; i++)
        data[i] = (uint8_t)(i / VV_BLOCK * 31 + i * 7);
    assert_ok(vio_pwrite(file, 0, data, BLOCKS * VV_BLOCK, &f->err), f->err);
    return data;
}

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

static void a_thread_keeps_its_queue_until_the_vio_goes(void **state)
{
    fixture *f = set_up(state);
    vio_queue *a = NULL;
    vio_queue *b = NULL;
    vv_alloc_fail_after(0, 1);
    vv_status st = vio_queue_of_thread(f->io, &a, &f->err);
    vv_alloc_fail_after(1, 1);
    vv_status second = vio_queue_of_thread(f->io, &a, &f->err);
    vv_alloc_fail_after(-1, 0);
    assert_status(VV_NO_MEMORY, st);
    assert_status(VV_NO_MEMORY, second);
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
    job jobs[SLOTS];
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

/* ---- faults of the kernel's answers, the same for every real backend ---- */

#ifdef VV_TEST_HOOKS
typedef struct faults {
    _Atomic int calls;
    int at;     /* the call that is hit, from 1 */
    bool later; /* and all after it */
    int sys;    /* errno; 0: half of what was asked for */
    vio_op op;
} faults;

static int64_t inject(void *ctx, const posix_transfer *t, int64_t answer)
{
    faults *x = ctx;
    if (t->op != x->op)
        return answer;
    int call = atomic_fetch_add(&x->calls, 1) + 1;
    if (call != x->at && !(x->later && call > x->at))
        return answer;
    return x->sys != 0 ? -x->sys : (answer + 1) / 2;
}

static void a_failed_request_says_why_and_harms_no_other(void **state)
{
    fixture *f = set_up(state);
    const struct {
        vio_op op;
        int sys;
        vv_status want;
        const char *text;
    } cases[] = {
        {VIO_OP_READ, EIO, VV_IO, "read '"},
        {VIO_OP_WRITE, EIO, VV_IO, "write '"},
        {VIO_OP_WRITE, ENOSPC, VV_NO_SPACE, "free some space"},
        {VIO_OP_SYNC, EIO, VV_IO, "sync '"},
    };
    for (size_t c = 0; f->on->parent != NULL && c < ARRAY_LEN(cases); c++) {
        faults x = {.at = 3, .sys = cases[c].sys, .op = cases[c].op};
        vio_file *file = must_open(f, "f", VIO_READ | VIO_WRITE | VIO_CREATE);
        vio_file *other = must_open(f, "g", VIO_READ | VIO_WRITE | VIO_CREATE);
        assert_ok(vio_pwrite(file, 0, "abcdefgh", 8, &f->err), f->err);
        posix_hook_answers(inject, &x);
        char buf[8];
        job jobs[8];
        unsigned failed = 0;
        for (unsigned i = 0; i < 8; i++) {
            set_job(&jobs[i], cases[c].op, file, i, buf + i, 1);
            must_submit(f, &jobs[i]);
            /* A failed sync latches the file: one after the other, so that it hits the third. */
            if (cases[c].op == VIO_OP_SYNC)
                vio_drain(f->q);
        }
        vio_drain(f->q);
        posix_hook_answers(NULL, NULL);
        for (unsigned i = 0; i < 8; i++) {
            assert_int_equal(jobs[i].answers, 1);
            if (jobs[i].req.status == VV_OK)
                continue;
            failed++;
            assert_status(cases[c].want, jobs[i].req.status);
            assert_int_equal(jobs[i].req.err.sys, cases[c].sys);
            assert_non_null(strstr(jobs[i].req.err.msg, cases[c].text));
            assert_non_null(strstr(jobs[i].req.err.msg, "/f'"));
        }
        assert_int_equal(failed, cases[c].op == VIO_OP_SYNC ? 6 : 1);
        vv_status after = vio_sync(file, &f->err);
        assert_status(cases[c].op == VIO_OP_SYNC ? VV_IO : VV_OK, after);
        assert_ok(vio_sync(other, &f->err), f->err);
        vio_close(other);
        vio_close(file);
    }
    tear_down(f);
}

static void short_transfers_are_continued(void **state)
{
    fixture *f = set_up(state);
    const unsigned flags[] = {0, VIO_DIRECT};
    const vio_op ops[] = {VIO_OP_READ, VIO_OP_WRITE};
    for (size_t c = 0; f->on->parent != NULL && c < 4; c++) {
        faults x = {.at = 1, .later = true, .op = ops[c / 2]};
        vio_file *file = must_open(f, "f", VIO_READ | VIO_WRITE | VIO_CREATE | flags[c % 2]);
        uint8_t *data = make_blocks(file, f);
        uint8_t *buf = vv_alloc_aligned(VV_BLOCK, BLOCKS * VV_BLOCK);
        memset(buf, 0x5a, BLOCKS * VV_BLOCK);
        /* Half of a direct transfer's last block is no progress: only the first call is short. */
        x.later = flags[c % 2] == 0;
        posix_hook_answers(inject, &x);
        job jobs[4];
        size_t part = BLOCKS / 4 * VV_BLOCK;
        for (unsigned i = 0; i < 4; i++) {
            set_job(&jobs[i], x.op, file, i * part, buf + i * part, part);
            must_submit(f, &jobs[i]);
        }
        vio_drain(f->q);
        posix_hook_answers(NULL, NULL);
        for (unsigned i = 0; i < 4; i++) {
            assert_ok(jobs[i].req.status, jobs[i].req.err);
            assert_int_equal(jobs[i].req.got, x.op == VIO_OP_READ ? part : 0);
        }
        uint8_t *now = vv_alloc_aligned(VV_BLOCK, BLOCKS * VV_BLOCK);
        assert_ok(vio_pread_full(file, 0, now, BLOCKS * VV_BLOCK, &f->err), f->err);
        assert_memory_equal(x.op == VIO_OP_READ ? data : buf, now, BLOCKS * VV_BLOCK);
        assert_memory_equal(buf, now, BLOCKS * VV_BLOCK);
        assert_true(atomic_load(&x.calls) > 4);
        vv_free(now);
        vv_free(buf);
        vv_free(data);
        vio_close(file);
    }
    tear_down(f);
}

static void a_failed_dsync_write_latches_the_file(void **state)
{
    fixture *f = set_up(state);
    if (f->on->parent != NULL) {
        faults x = {.at = 1, .sys = EIO, .op = VIO_OP_WRITE};
        vio_file *file = must_open(f, "f", VIO_READ | VIO_WRITE | VIO_CREATE | VIO_DSYNC);
        posix_hook_answers(inject, &x);
        char text[] = "abc";
        job j;
        set_job(&j, VIO_OP_WRITE, file, 0, text, 3);
        must_run(f, &j);
        posix_hook_answers(NULL, NULL);
        assert_status(VV_IO, j.req.status);
        set_job(&j, VIO_OP_WRITE, file, 0, text, 3);
        must_run(f, &j);
        assert_status(VV_IO, j.req.status);
        assert_status(VV_IO, vio_pwrite(file, 0, text, 3, &f->err));
        vio_close(file);
    }
    tear_down(f);
}
#endif

/* The kernel's own failures, without a hook. */
static void real_refusals_are_answers(void **state)
{
    fixture *f = set_up(state);
    if (f->on->parent != NULL) {
        vio_file *full = must_open(f, "/dev/full", VIO_WRITE);
        vio_file *mem = must_open(f, "/proc/self/mem", VIO_READ);
        char buf[64];
        job jobs[2];
        set_job(&jobs[0], VIO_OP_WRITE, full, 0, buf, sizeof buf);
        set_job(&jobs[1], VIO_OP_READ, mem, VV_BLOCK, buf,
                sizeof buf); /* nothing is mapped there */
        memset(buf, 0, sizeof buf);
        must_submit(f, &jobs[0]);
        must_submit(f, &jobs[1]);
        vio_drain(f->q);
        assert_status(VV_NO_SPACE, jobs[0].req.status);
        assert_status(VV_IO, jobs[1].req.status);
        assert_int_equal(jobs[1].req.err.sys, EIO);
        vio_close(mem);
        vio_close(full);
    }
    tear_down(f);
}

/* ---- the simulated disk's own ---- */

/* A power cut while ten writes are in flight: over many seeds every number of them survives, and
 * one that was answered and synced always does. */
static void prop_a_cut_finds_any_subset_of_what_was_in_flight(void **state)
{
    (void)state;
    unsigned seen[11] = {0};
    unsigned out_of_order = 0;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        vv_error err;
        vio *io = NULL;
        vio_file *file = NULL;
        vio_queue *q = NULL;
        vio_sim_disk *disk = vio_sim_disk_create();
        vio_sim_options opt = {.seed = seed, .cut_after_writes = 6 + seed % 10};
        assert_ok(vio_sim_open(disk, &opt, &io, &err), err);
        assert_ok(vio_open(io, "f", VIO_READ | VIO_WRITE | VIO_CREATE, &file, &err), err);
        assert_ok(vio_sync_dir(io, "", &err), err);
        uint8_t zero[11 * VV_BLOCK] = {0};
        assert_ok(vio_pwrite(file, 0, zero, sizeof zero, &err), err);
        assert_ok(vio_sync(file, &err), err);
        assert_ok(vio_queue_open(io, 16, &q, &err), err);
        static uint8_t bytes[10][VV_BLOCK];
        job jobs[10];
        for (unsigned i = 0; i < 10; i++) {
            memset(bytes[i], (int)(i + 1), VV_BLOCK);
            set_job(&jobs[i], VIO_OP_WRITE, file, (uint64_t)i * VV_BLOCK, bytes[i], VV_BLOCK);
            vio_req *req = &jobs[i].req;
            assert_ok(vio_submit(q, &req, 1, &err), err);
        }
        unsigned answered = vio_poll(q, 3);
        bool late = false;
        for (unsigned i = 0; i < 10; i++) {
            out_of_order += late && jobs[i].answers == 1;
            late |= jobs[i].answers == 0;
        }
        bool synced = vio_sync(file, &err) == VV_OK;
        bool was_answered[10];
        for (unsigned i = 0; i < 10; i++)
            was_answered[i] = jobs[i].answers == 1 && jobs[i].req.status == VV_OK;
        vio_drain(q);
        for (unsigned i = 0; i < 10; i++)
            assert_int_equal(jobs[i].answers, 1);
        vio_queue_close(q);
        vio_close(file);
        vio_destroy(io);
        vio_sim_disk_settle(disk);
        opt.cut_after_writes = 0;
        assert_ok(vio_sim_open(disk, &opt, &io, &err), err);
        assert_ok(vio_open(io, "f", VIO_READ, &file, &err), err);
        unsigned there = 0;
        for (unsigned i = 0; i < 10; i++) {
            uint8_t first = 0;
            assert_ok(vio_pread_full(file, (uint64_t)i * VV_BLOCK, &first, 1, &err), err);
            there += first != 0;
            if (synced && was_answered[i] && first != i + 1)
                fail_msg("write %u was synced and is gone, VV_SEED=%llu", i,
                         (unsigned long long)seed);
        }
        assert_true(answered <= 10);
        seen[there]++;
        vio_close(file);
        vio_destroy(io);
        vio_sim_disk_destroy(disk);
    }
    for (unsigned i = 0; i <= 10; i++)
        if (seen[i] == 0)
            fail_msg("no cut left %u of ten writes", i);
    assert_true(out_of_order > 0);
}

static void every_io_fault_of_the_simulated_disk_is_an_answer(void **state)
{
    (void)state;
    bool hit = true;
    for (uint64_t n = 1; hit; n++) {
        vv_error err;
        vio *io = NULL;
        vio_file *file = NULL;
        vio_queue *q = NULL;
        vio_sim_disk *disk = vio_sim_disk_create();
        vio_sim_options opt = {.seed = 3};
        assert_ok(vio_sim_open(disk, &opt, &io, &err), err);
        assert_ok(vio_open(io, "f", VIO_READ | VIO_WRITE | VIO_CREATE, &file, &err), err);
        vio_destroy(io);
        vio_close(file);
        opt.fault = VIO_SIM_EIO;
        opt.fault_at = n + 1; /* behind the open */
        assert_ok(vio_sim_open(disk, &opt, &io, &err), err);
        assert_ok(vio_open(io, "f", VIO_READ | VIO_WRITE, &file, &err), err);
        assert_ok(vio_queue_open(io, 8, &q, &err), err);
        char text[6] = "abcde";
        job jobs[6];
        unsigned failed = 0;
        for (unsigned i = 0; i < 6; i++) {
            set_job(&jobs[i], i % 2 == 0 ? VIO_OP_WRITE : VIO_OP_READ, file, i, text + i, 1);
            vio_req *req = &jobs[i].req;
            assert_ok(vio_submit(q, &req, 1, &err), err);
        }
        vio_drain(q);
        for (unsigned i = 0; i < 6; i++)
            failed += jobs[i].req.status == VV_IO;
        hit = vio_sim_fault_sites(disk, VIO_SIM_EIO) >= opt.fault_at;
        assert_int_equal(failed, hit);
        vio_queue_close(q);
        vio_close(file);
        vio_destroy(io);
        vio_sim_disk_destroy(disk);
    }
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

/* ---- a kernel that refuses ---- */

/* From here on io_uring_setup answers sys in this process. */
static int refuse_rings(int sys)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)sys),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {ARRAY_LEN(code), code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return 1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0 ? 0 : 1;
}

typedef struct log_lines {
    unsigned count;
    char text[512];
} log_lines;

static void keep_line(void *ctx, const char *line, size_t len)
{
    log_lines *l = ctx;
    l->count++;
    (void)snprintf(l->text, sizeof l->text, "%.*s", (int)len, line);
}

static int read_without_rings(vio *io)
{
    vio_queue *q = NULL;
    vio_file *file = NULL;
    vv_error err;
    char buf[4] = "";
    job j;
    if (vio_open(io, "f", VIO_READ, &file, &err) != VV_OK ||
        vio_queue_of_thread(io, &q, &err) != VV_OK)
        return 10;
    set_job(&j, VIO_OP_READ, file, 0, buf, 3);
    vio_req *req = &j.req;
    if (vio_submit(q, &req, 1, &err) != VV_OK)
        return 11;
    vio_drain(q);
    vio_close(file);
    return j.req.status == VV_OK && memcmp(buf, "abc", 3) == 0 ? 0 : 12;
}

/* 0, or the number of the check that failed. */
static int refused_from_the_start(const char *dir, int sys, vio_backend asked)
{
    log_lines lines = {0};
    vv_log log;
    vv_log_init(&log, VV_LOG_INFO, VV_LOG_LOGFMT, NULL, keep_line, &lines);
    vio_posix_options opt = {.backend = asked, .log = &log};
    vio *io = NULL;
    if (refuse_rings(sys) != 0)
        return 1;
    if (vio_posix_open(dir, &opt, &io, NULL) != VV_OK)
        return 2;
    if (vio_posix_backend(io) != VIO_BACKEND_THREADS || lines.count != 1)
        return 3;
    if (strstr(lines.text, "no io_uring here") == NULL)
        return 4;
    int rc = read_without_rings(io);
    vio_destroy(io);
    return rc;
}

static int refused_for_one_thread(const char *dir, int sys, vio_backend asked)
{
    log_lines lines = {0};
    vv_log log;
    vv_log_init(&log, VV_LOG_INFO, VV_LOG_LOGFMT, NULL, keep_line, &lines);
    vio_posix_options opt = {.backend = asked, .log = &log};
    vio *io = NULL;
    vio_queue *extra = NULL;
    if (vio_posix_open(dir, &opt, &io, NULL) != VV_OK || refuse_rings(sys) != 0)
        return 1;
    if (vio_posix_backend(io) != VIO_BACKEND_RING || lines.count != 0)
        return 2;
    int rc = read_without_rings(io);
    if (rc == 0 && vio_queue_open(io, 4, &extra, NULL) != VV_OK)
        rc = 3;
    vio_queue_close(extra);
    vio_destroy(io);
    return rc != 0 ? rc : lines.count == 1 ? 0 : 4; /* said once, not for each thread */
}

static void a_kernel_that_refuses_rings_is_one_log_line(void **state)
{
    (void)state;
    char dir[] = "/tmp/vio-refused-XXXXXX";
    assert_non_null(mkdtemp(dir));
    vio *io = NULL;
    vv_error err;
    assert_ok(vio_posix_create(dir, &io, &err), err);
    assert_ok(vio_write_file_atomic(io, "f", vv_slice_of("abc", 3), &err), err);
    bool has_rings = vio_posix_backend(io) == VIO_BACKEND_RING;
    vio_destroy(io);
    const struct {
        const char *name;
        int (*run)(const char *dir, int sys, vio_backend asked);
        int sys;
        vio_backend asked;
    } cases[] = {
        {"forbidden, automatic", refused_from_the_start, EPERM, VIO_BACKEND_AUTO},
        {"forbidden, asked for", refused_from_the_start, EPERM, VIO_BACKEND_RING},
        {"old kernel", refused_from_the_start, ENOSYS, VIO_BACKEND_RING},
        {"no locked memory", refused_from_the_start, ENOMEM, VIO_BACKEND_RING},
        {"forbidden later", refused_for_one_thread, EPERM, VIO_BACKEND_RING},
        {"no descriptor left", refused_for_one_thread, EMFILE, VIO_BACKEND_AUTO},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (!has_rings && cases[i].run == refused_for_one_thread)
            continue;
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            _exit(cases[i].run(dir, cases[i].sys, cases[i].asked));
        int status = 0;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            fail_msg("%s: the child ended with 0x%x", cases[i].name, (unsigned)status);
    }
    (void)nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
    static const struct {
        const char *name;
        CMUnitTestFunction test;
    } laws[] = {
#define LAW(f) {#f, f}
        LAW(many_reads_each_give_their_own_bytes),
        LAW(reads_end_with_the_file),
        LAW(writes_and_syncs_are_there_when_answered),
        LAW(a_full_queue_takes_all_or_nothing),
        LAW(done_may_submit),
        LAW(closing_cancels_what_was_not_started),
        LAW(the_queues_buffers_are_aligned_and_bounded),
        LAW(without_memory_there_is_no_queue_and_no_buffer),
        LAW(a_thread_keeps_its_queue_until_the_vio_goes),
        LAW(prop_random_requests_agree_with_an_array),
        LAW(real_refusals_are_answers),
        LAW(threads_have_a_queue_each),
#ifdef VV_TEST_HOOKS
        LAW(a_failed_request_says_why_and_harms_no_other),
        LAW(short_transfers_are_continued),
        LAW(a_failed_dsync_write_latches_the_file),
#endif
    };
    static struct CMUnitTest tests[ARRAY_LEN(laws) * ARRAY_LEN(backends)];
    static char names[ARRAY_LEN(laws) * ARRAY_LEN(backends)][96];
    size_t n = 0;
    for (size_t b = 0; b < ARRAY_LEN(backends); b++) {
        for (size_t i = 0; i < ARRAY_LEN(laws); i++, n++) {
            (void)snprintf(names[n], sizeof names[n], "%s: %s", backends[b].name, laws[i].name);
            tests[n] = (struct CMUnitTest){
                .name = names[n], .test_func = laws[i].test, .initial_state = (void *)&backends[b]};
        }
    }
    const struct CMUnitTest own[] = {
        cmocka_unit_test(prop_a_cut_finds_any_subset_of_what_was_in_flight),
        cmocka_unit_test(every_io_fault_of_the_simulated_disk_is_an_answer),
        cmocka_unit_test(a_kernel_that_refuses_rings_is_one_log_line),
    };
    int failed = cmocka_run_group_tests_name("queues", tests, NULL, NULL);
    return failed + cmocka_run_group_tests_name("own", own, NULL, NULL);
}
