/*
 * vio_queue_fault_test.c - queues under faults: answers of the kernel that are short or failed, on
 * every real backend; a kernel that refuses rings; power cuts and errors of the simulated disk.
 */
#include "io/vio_queue_test_util.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

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

#define IN_FLIGHT 10u

/* What is known of the writes that were in flight when the power failed. */
typedef struct cut_writes {
    vio *io;
    vio_file *file;
    job jobs[IN_FLIGHT];
    bool was_answered[IN_FLIGHT];
    bool synced;
    unsigned out_of_order; /* answered behind one that was not */
} cut_writes;

static void begin_cut(vio_sim_disk *disk, const vio_sim_options *opt, cut_writes *c)
{
    static const uint8_t zero[(IN_FLIGHT + 1) * VV_BLOCK];
    vv_error err;
    *c = (cut_writes){.io = NULL};
    assert_ok(vio_sim_open(disk, opt, &c->io, &err), err);
    assert_ok(vio_open(c->io, "f", VIO_READ | VIO_WRITE | VIO_CREATE, &c->file, &err), err);
    assert_ok(vio_sync_dir(c->io, "", &err), err);
    assert_ok(vio_pwrite(c->file, 0, zero, sizeof zero, &err), err);
    assert_ok(vio_sync(c->file, &err), err);
}

static void write_into_the_cut(cut_writes *c)
{
    static uint8_t bytes[IN_FLIGHT][VV_BLOCK];
    vv_error err;
    vio_queue *q = NULL;
    bool late = false;
    assert_ok(vio_queue_open(c->io, 16, &q, &err), err);
    for (unsigned i = 0; i < IN_FLIGHT; i++) {
        memset(bytes[i], (int)(i + 1), VV_BLOCK);
        set_job(&c->jobs[i], VIO_OP_WRITE, c->file, (uint64_t)i * VV_BLOCK, bytes[i], VV_BLOCK);
        vio_req *req = &c->jobs[i].req;
        assert_ok(vio_submit(q, &req, 1, &err), err);
    }
    assert_true(vio_poll(q, 3) <= IN_FLIGHT);
    for (unsigned i = 0; i < IN_FLIGHT; i++) {
        c->out_of_order += late && c->jobs[i].answers == 1;
        late |= c->jobs[i].answers == 0;
    }
    c->synced = vio_sync(c->file, &err) == VV_OK;
    for (unsigned i = 0; i < IN_FLIGHT; i++)
        c->was_answered[i] = c->jobs[i].answers == 1 && c->jobs[i].req.status == VV_OK;
    vio_drain(q);
    for (unsigned i = 0; i < IN_FLIGHT; i++)
        assert_int_equal(c->jobs[i].answers, 1);
    vio_queue_close(q);
    vio_close(c->file);
    vio_destroy(c->io);
}

/* How many of the writes the next start finds. */
static unsigned count_what_is_there(vio_sim_disk *disk, const vio_sim_options *opt,
                                    const cut_writes *c)
{
    vv_error err;
    vio *io = NULL;
    vio_file *file = NULL;
    unsigned there = 0;
    assert_ok(vio_sim_open(disk, opt, &io, &err), err);
    assert_ok(vio_open(io, "f", VIO_READ, &file, &err), err);
    for (unsigned i = 0; i < IN_FLIGHT; i++) {
        uint8_t first = 0;
        assert_ok(vio_pread_full(file, (uint64_t)i * VV_BLOCK, &first, 1, &err), err);
        there += first != 0;
        if (c->synced && c->was_answered[i] && first != i + 1)
            fail_msg("write %u was synced and is gone, VV_SEED=%llu", i,
                     (unsigned long long)opt->seed);
    }
    vio_close(file);
    vio_destroy(io);
    return there;
}

/* A power cut while ten writes are in flight: over many seeds every number of them survives, and
 * one that was answered and synced always does. */
static void prop_a_cut_finds_any_subset_of_what_was_in_flight(void **state)
{
    (void)state;
    unsigned seen[IN_FLIGHT + 1] = {0};
    unsigned out_of_order = 0;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        static cut_writes c;
        vio_sim_disk *disk = vio_sim_disk_create();
        vio_sim_options opt = {.seed = seed, .cut_after_writes = 6 + seed % 10};
        begin_cut(disk, &opt, &c);
        write_into_the_cut(&c);
        out_of_order += c.out_of_order;
        vio_sim_disk_settle(disk);
        opt.cut_after_writes = 0;
        seen[count_what_is_there(disk, &opt, &c)]++;
        vio_sim_disk_destroy(disk);
    }
    for (unsigned i = 0; i <= IN_FLIGHT; i++)
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
    static const queue_law laws[] = {
        QUEUE_LAW(real_refusals_are_answers),
#ifdef VV_TEST_HOOKS
        QUEUE_LAW(a_failed_request_says_why_and_harms_no_other),
        QUEUE_LAW(short_transfers_are_continued),
        QUEUE_LAW(a_failed_dsync_write_latches_the_file),
#endif
    };
    const struct CMUnitTest own[] = {
        cmocka_unit_test(prop_a_cut_finds_any_subset_of_what_was_in_flight),
        cmocka_unit_test(every_io_fault_of_the_simulated_disk_is_an_answer),
        cmocka_unit_test(a_kernel_that_refuses_rings_is_one_log_line),
    };
    int failed = run_laws("faults", laws, ARRAY_LEN(laws));
    return failed + cmocka_run_group_tests_name("own", own, NULL, NULL);
}
