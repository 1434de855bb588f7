/*
 * vio_queue_test_util.h - what the tests of queues share: the backends, a world with a queue, and
 * requests that count their answers.
 */
#ifndef VARVE_IO_VIO_QUEUE_TEST_UTIL_H
#define VARVE_IO_VIO_QUEUE_TEST_UTIL_H

#include "vv_test.h"

#include <ftw.h>
#include <string.h>
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

static const backend queue_backends[] = {
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

static inline fixture *set_up_depth(void **state, unsigned depth)
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

static inline fixture *set_up(void **state)
{
    return set_up_depth(state, 32);
}

static inline int remove_one(const char *path, const struct stat *info, int type, struct FTW *at)
{
    (void)info;
    (void)type;
    (void)at;
    return remove(path);
}

static inline void tear_down(fixture *f)
{
    vio_queue_close(f->q);
    vio_destroy(f->io);
    vio_sim_disk_destroy(f->disk);
    if (f->on->parent != NULL)
        (void)nftw(f->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline vio_file *must_open(fixture *f, const char *path, unsigned flags)
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

static inline void note_done(vio_req *req)
{
    job *j = VV_CONTAINER_OF(req, job, req);
    j->answers++;
}

static inline void set_job(job *j, vio_op op, vio_file *file, uint64_t offset, void *buf,
                           size_t len)
{
    *j = (job){.req = {.op = op,
                       .cls = VIO_CLASS_READ,
                       .file = file,
                       .offset = offset,
                       .buf = buf,
                       .len = len,
                       .done = note_done}};
}

static inline void must_submit(fixture *f, job *j)
{
    vio_req *req = &j->req;
    assert_ok(vio_submit(f->q, &req, 1, &f->err), f->err);
}

static inline void must_run(fixture *f, job *j)
{
    must_submit(f, j);
    vio_drain(f->q);
    assert_int_equal(j->answers, 1);
}

#define BLOCKS 48u

static inline uint8_t *make_blocks(vio_file *file, fixture *f)
{
    uint8_t *data = vv_alloc_aligned(VV_BLOCK, BLOCKS * VV_BLOCK);
    assert_non_null(data);
    for (size_t i = 0; i < (size_t)BLOCKS * VV_BLOCK; i++)
        data[i] = (uint8_t)(i / VV_BLOCK * 31 + i * 7);
    assert_ok(vio_pwrite(file, 0, data, BLOCKS * VV_BLOCK, &f->err), f->err);
    return data;
}

typedef struct queue_law {
    const char *name;
    CMUnitTestFunction test;
} queue_law;

#define QUEUE_LAW(f)                                                                               \
    {                                                                                              \
#f, f                                                                                      \
    }

/* Run each law on every backend; the number of failures. */
static inline int run_laws(const char *group, const queue_law *laws, size_t count)
{
    struct CMUnitTest tests[64] = {0};
    char names[64][96];
    int failed = 0;
    assert_true(count <= ARRAY_LEN(tests));
    for (size_t b = 0; b < ARRAY_LEN(queue_backends); b++) {
        for (size_t i = 0; i < count; i++) {
            (void)snprintf(names[i], sizeof names[i], "%s: %s", queue_backends[b].name,
                           laws[i].name);
            tests[i] = (struct CMUnitTest){.name = names[i],
                                           .test_func = laws[i].test,
                                           .initial_state = (void *)(uintptr_t)&queue_backends[b]};
        }
        failed += _cmocka_run_group_tests(group, tests, count, NULL, NULL);
    }
    return failed;
}

#endif
