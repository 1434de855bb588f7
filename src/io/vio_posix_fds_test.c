/*
 * vio_posix_fds_test.c - more files than descriptors: every read is right, the bound holds, and
 * what a file that is gone or exchanged answers.
 */
#include "vv_test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/point.h"
#include "base/rng.h"
#include "base/util.h"
#include "io/vio_posix_int.h"

#define FILES 200u
#define BOUND VIO_FILES_LEAST

static char dir[64];

static int set_up(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof dir, "/tmp/vio-fds-XXXXXX");
    return mkdtemp(dir) == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    char command[96];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

typedef struct bed {
    vio *io;
    vio_file *file[FILES];
} bed;

static void name_of(unsigned i, char out[16])
{
    (void)snprintf(out, 16, "f%u", i);
}

/* FILES files of a block, whose bytes say which; all open for reading. */
static void bed_open(bed *b, vio_backend backend)
{
    vv_error err;
    vio_posix_options opt = {.backend = backend, .files_max = BOUND};
    assert_ok(vio_posix_open(dir, &opt, &b->io, &err), err);
    for (unsigned i = 0; i < FILES; i++) {
        char name[16];
        uint32_t word[VV_BLOCK / 4];
        for (size_t j = 0; j < ARRAY_LEN(word); j++)
            word[j] = i;
        name_of(i, name);
        assert_ok(vio_open(b->io, name, VIO_WRITE | VIO_CREATE, &b->file[i], &err), err);
        assert_ok(vio_pwrite(b->file[i], 0, word, sizeof word, &err), err);
        vio_close(b->file[i]);
        unsigned flags = VIO_READ | VIO_IDLE | (i % 2 == 0 ? VIO_DIRECT : 0u);
        assert_ok(vio_open(b->io, name, flags, &b->file[i], &err), err);
    }
}

static void bed_close(bed *b)
{
    for (unsigned i = 0; i < FILES; i++)
        vio_close(b->file[i]);
    vio_posix_file_stats stats;
    vio_posix_files(b->io, &stats);
    assert_int_equal(stats.held, 0);
    vio_destroy(b->io);
}

static void check_bound(bed *b)
{
    vio_posix_file_stats stats;
    vio_posix_files(b->io, &stats);
    assert_int_equal(stats.max, BOUND);
    assert_true(stats.held <= BOUND);
    assert_true(stats.given_up >= FILES - BOUND);
}

static void files_beyond_the_bound_are_read_all_the_same(void **state)
{
    (void)state;
    static _Alignas(VV_BLOCK) uint32_t word[VV_BLOCK / 4];
    bed b;
    vv_error err;
    bed_open(&b, VIO_BACKEND_POSIX);
    check_bound(&b);
    for (unsigned round = 0; round < 3; round++)
        for (unsigned i = 0; i < FILES; i++) {
            uint64_t size = 0;
            assert_ok(vio_pread_full(b.file[i], 0, word, sizeof word, &err), err);
            assert_int_equal(word[round], i);
            assert_ok(vio_size(b.file[i], &size, &err), err);
            assert_int_equal(size, VV_BLOCK);
            check_bound(&b);
        }
    bed_close(&b);
}

static void what_is_read_often_keeps_its_descriptor(void **state)
{
    (void)state;
    static _Alignas(VV_BLOCK) uint32_t word[VV_BLOCK / 4];
    bed b;
    vv_error err;
    vio_posix_file_stats before;
    vio_posix_file_stats after;
    bed_open(&b, VIO_BACKEND_POSIX);
    for (unsigned i = 0; i < FILES; i++) {
        assert_ok(vio_pread_full(b.file[0], 0, word, sizeof word, &err), err);
        assert_ok(vio_pread_full(b.file[i], 0, word, sizeof word, &err), err);
    }
    vio_posix_files(b.io, &before);
    assert_ok(vio_pread_full(b.file[0], 0, word, sizeof word, &err), err);
    vio_posix_files(b.io, &after);
    assert_int_equal(after.given_up, before.given_up); /* nobody had to go for it */
    bed_close(&b);
}

static void note_done(vio_req *req)
{
    ++*(unsigned *)req->ctx;
}

/* A whole queue in flight is more than the bound: it is passed for as long as they are. */
static void queue_reads(vio_backend backend)
{
    bed b;
    vv_error err;
    vio_queue *q = NULL;
    unsigned done = 0;
    static _Alignas(VV_BLOCK) uint32_t word[VIO_QUEUE_DEPTH][VV_BLOCK / 4];
    static vio_req reqs[VIO_QUEUE_DEPTH];
    bed_open(&b, backend);
    assert_ok(vio_queue_open(b.io, VIO_QUEUE_DEPTH, &q, &err), err);
    for (unsigned first = 0; first + VIO_QUEUE_DEPTH <= FILES; first += 20) {
        vio_req *list[VIO_QUEUE_DEPTH];
        for (unsigned i = 0; i < VIO_QUEUE_DEPTH; i++) {
            reqs[i] = (vio_req){.op = VIO_OP_READ,
                                .cls = VIO_CLASS_READ,
                                .file = b.file[first + i],
                                .done = note_done,
                                .ctx = &done,
                                .buf = word[i],
                                .len = i % 5 == 0 ? 0 : VV_BLOCK};
            list[i] = &reqs[i];
        }
        assert_ok(vio_submit(q, list, VIO_QUEUE_DEPTH, &err), err);
        vio_drain(q);
        assert_int_equal(done, VIO_QUEUE_DEPTH);
        done = 0;
        for (unsigned i = 0; i < VIO_QUEUE_DEPTH; i++) {
            assert_ok(reqs[i].status, reqs[i].err);
            assert_int_equal(reqs[i].got, reqs[i].len);
            if (reqs[i].len > 0)
                assert_int_equal(word[i][7], first + i);
        }
    }
    vio_queue_close(q);
    uint32_t last[VV_BLOCK / 4];
    assert_ok(vio_pread_full(b.file[1], 0, last, 4, &err), err);
    check_bound(&b); /* one open later it holds again */
    bed_close(&b);
}

static void queues_of_every_backend_read_beyond_the_bound(void **state)
{
    (void)state;
    queue_reads(VIO_BACKEND_POSIX);
    queue_reads(VIO_BACKEND_THREADS);
    queue_reads(VIO_BACKEND_AUTO); /* a ring, where the kernel gives one */
}

static void a_file_that_went_or_changed_is_damage_not_an_answer(void **state)
{
    (void)state;
    bed b;
    vv_error err;
    char path[400];
    uint32_t word = 0;
    bed_open(&b, VIO_BACKEND_POSIX);
    (void)snprintf(path, sizeof path, "%s/f1", dir);
    assert_int_equal(unlink(path), 0);
    assert_status(VV_CORRUPT, vio_pread_full(b.file[1], 0, &word, 4, &err));
    assert_non_null(strstr(err.msg, "not there any more"));
    (void)snprintf(path, sizeof path, "cp %s/f5 %s/x && mv %s/x %s/f3", dir, dir, dir, dir);
    assert_int_equal(system(path), 0);
    assert_status(VV_CORRUPT, vio_pread_full(b.file[3], 0, &word, 4, &err));
    assert_non_null(strstr(err.msg, "another file"));
    bed_close(&b);
}

/* In a process that may have few descriptors: idle ones are given up for whoever needs one, and the
 * refusal says what to do when there is none. The exit code is the number of the failed check. */
static int run_short_of_descriptors(void)
{
    vio *io = NULL;
    vio_file *read[40];
    vio_file *written[64] = {0};
    vv_error err;
    vio_posix_options opt = {.backend = VIO_BACKEND_POSIX, .files_max = 1000};
    struct rlimit limit = {30, 30};
    if (vio_posix_open(dir, &opt, &io, &err) != VV_OK || vio_mkdir(io, "", &err) != VV_OK ||
        vio_open(io, "f", VIO_WRITE | VIO_CREATE, &written[0], &err) != VV_OK ||
        vio_pwrite(written[0], 0, "abcd", 4, &err) != VV_OK)
        return 1;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 2;
    for (size_t i = 0; i < ARRAY_LEN(read); i++)
        if (vio_open(io, "f", VIO_READ | VIO_IDLE, &read[i], &err) != VV_OK)
            return 3;
    size_t n = 1;
    vv_status st = VV_OK;
    while (st == VV_OK && n < ARRAY_LEN(written))
        st = vio_open(io, "f", VIO_WRITE, &written[n++], &err);
    if (n < 20 || st != VV_IO || strstr(err.msg, "max_open_files") == NULL)
        return 4;
    char byte = 0;
    if (vio_pread_full(read[0], 0, &byte, 1, &err) != VV_IO ||
        strstr(err.msg, "max_open_files") == NULL)
        return 5;
    vio_close(written[1]);
    for (size_t i = 0; i < ARRAY_LEN(read); i++)
        if (vio_pread_full(read[i], 1, &byte, 1, &err) != VV_OK || byte != 'b')
            return 6;
    return 0;
}

static void without_descriptors_idle_ones_go_and_the_refusal_says_what_to_do(void **state)
{
    (void)state;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(run_short_of_descriptors());
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("the child ended with 0x%x", (unsigned)status);
}

typedef struct reader {
    bed *b;
    uint64_t seed;
    unsigned wrong;
} reader;

static void *read_at_random(void *arg)
{
    reader *r = arg;
    vv_rng rng;
    vv_rng_init(&rng, r->seed);
    for (unsigned i = 0; i < 5000; i++) {
        /* Mostly a few more files than the bound, so that they go and come all the time. */
        unsigned f = (unsigned)vv_rng_below(&rng, vv_rng_one_in(&rng, 10) ? FILES : BOUND + 4);
        uint32_t word = 0;
        f |= 1; /* those without O_DIRECT take reads of a few bytes */
        r->wrong +=
            vio_pread_full(r->b->file[f], 4 * vv_rng_below(&rng, 1000), &word, 4, NULL) != VV_OK ||
            word != f;
    }
    return NULL;
}

/* The moment in which a descriptor is out, made longer. */
static void linger(void *ctx, const char *name)
{
    (void)ctx;
    if (strcmp(name, "vio.fds.taken") == 0)
        (void)usleep(50);
}

static void prop_readers_never_see_the_descriptor_of_another_file(void **state)
{
    (void)state;
    vv_point_set(linger, NULL);
    bed b;
    pthread_t threads[4];
    reader readers[4];
    bed_open(&b, VIO_BACKEND_POSIX);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        readers[i] = (reader){.b = &b, .seed = vv_test_seed(3) + i};
        assert_int_equal(pthread_create(&threads[i], NULL, read_at_random, &readers[i]), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(readers[i].wrong, 0);
    }
    vv_point_set(NULL, NULL);
    check_bound(&b);
    bed_close(&b);
}

typedef struct look {
    bed *b;
    posix_file *file; /* somebody uses it */
    _Atomic bool is_out;
    _Atomic bool is_answered;
    _Atomic bool is_over;
    unsigned wrong;
} look;

/* With the descriptor out: let the one who uses the file ask for it, who may not get an answer
 * before we go on. */
static void leave_it_out(void *ctx, const char *name)
{
    look *l = ctx;
    if (strcmp(name, "vio.fds.taken") != 0 || atomic_load(&l->file->fd) >= 0)
        return;
    atomic_store(&l->is_out, true);
    for (unsigned i = 0; i < 20 && !atomic_load(&l->is_answered); i++)
        (void)usleep(1000);
}

/* Read files that have no descriptor: the hand goes round, and looks at the one in use too. */
static void *push_the_hand(void *arg)
{
    look *l = arg;
    for (unsigned i = 0; i < 4 * FILES && !atomic_load(&l->is_out); i++) {
        uint32_t word = 0;
        unsigned f = 3 + 2 * (i % (FILES / 2 - 1));
        l->wrong += vio_pread_full(l->b->file[f], 0, &word, 4, NULL) != VV_OK || word != f;
    }
    atomic_store(&l->is_over, true);
    return NULL;
}

static void a_descriptor_that_is_out_for_a_look_is_waited_for(void **state)
{
    (void)state;
    bed b;
    vv_error err;
    pthread_t thread;
    bed_open(&b, VIO_BACKEND_POSIX);
    look l = {.b = &b, .file = posix_file_of(b.file[1])};
    assert_ok(posix_fd_acquire(l.file, &err), err);
    int fd = posix_fd_of(l.file);
    vv_point_set(leave_it_out, &l);
    assert_int_equal(pthread_create(&thread, NULL, push_the_hand, &l), 0);
    while (!atomic_load(&l.is_out) && !atomic_load(&l.is_over))
        (void)usleep(10);
    int answer = posix_fd_of(l.file);
    atomic_store(&l.is_answered, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    vv_point_set(NULL, NULL);
    posix_fd_release(l.file);
    assert_int_equal(answer, fd);
    assert_int_equal(l.wrong, 0);
    bed_close(&b);
#ifdef VV_TEST_HOOKS
    assert_true(l.is_out);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(files_beyond_the_bound_are_read_all_the_same, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_is_read_often_keeps_its_descriptor, set_up, tear_down),
        cmocka_unit_test_setup_teardown(queues_of_every_backend_read_beyond_the_bound, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_went_or_changed_is_damage_not_an_answer, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            without_descriptors_idle_ones_go_and_the_refusal_says_what_to_do, set_up, tear_down),
        cmocka_unit_test_setup_teardown(prop_readers_never_see_the_descriptor_of_another_file,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_descriptor_that_is_out_for_a_look_is_waited_for, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
