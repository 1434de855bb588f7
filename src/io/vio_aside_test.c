/*
 * vio_aside_test.c - files of another kind in the queues of every backend: one that takes its time
 * holds nothing else up, its answer wakes who sleeps on the queue's descriptor, and a queue that is
 * closed waits for it.
 */
#include "io/vio_queue_test_util.h"

#include <poll.h>

#include "io/vio_aside.h"

#define MANY 200u

/* A file whose reads wait for a gate. */
typedef struct slow_file {
    vio_file base;
    vv_mutex lock; /* VV_RANK_LEAF */
    vv_cond opened;
    bool is_open;     /* under lock */
    unsigned reading; /* under lock */
} slow_file;

static vv_status slow_pread(vio_file *file, uint64_t offset, void *buf, size_t len, size_t *got,
                            vv_error *err)
{
    slow_file *s = VV_CONTAINER_OF(file, slow_file, base);
    vv_mutex_lock(&s->lock);
    s->reading++;
    while (!s->is_open)
        vv_cond_wait(&s->opened, &s->lock);
    s->reading--;
    vv_mutex_unlock(&s->lock);
    *got = 0;
    if (offset == 13)
        return vv_fail(err, VV_IO, "the store is out");
    memset(buf, (int)(offset & 0xff), len);
    *got = len;
    return VV_OK;
}

static const vio_ops slow_ops = {.name = "slow", .is_aside = true, .pread = slow_pread};

static void slow_init(slow_file *s, bool is_open)
{
    *s = (slow_file){.base = {&slow_ops}, .is_open = is_open};
    vv_mutex_init(&s->lock, VV_RANK_LEAF);
    vv_cond_init(&s->opened);
}

static void slow_open(slow_file *s)
{
    vv_mutex_lock(&s->lock);
    s->is_open = true;
    vv_cond_broadcast(&s->opened);
    vv_mutex_unlock(&s->lock);
}

static void slow_fini(slow_file *s)
{
    vv_cond_fini(&s->opened);
    vv_mutex_fini(&s->lock);
}

/* Backends without a descriptor have no threads to wait for either. */
static bool waits_aside(fixture *f)
{
    return vio_queue_fd(f->q) >= 0;
}

static void each_read_has_its_bytes(void **state)
{
    fixture *f = set_up(state);
    slow_file slow;
    slow_init(&slow, true);
    static job jobs[MANY];
    static uint8_t bytes[MANY][16];
    unsigned next = 0;
    unsigned done = 0;
    while (done < MANY) {
        for (; next < MANY && vio_queue_room(f->q) > 0; next++) {
            set_job(&jobs[next], VIO_OP_READ, &slow.base, next, bytes[next], 16);
            must_submit(f, &jobs[next]);
        }
        unsigned n = vio_poll(f->q, 1);
        assert_true(n >= 1);
        done += n;
    }
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(jobs[i].answers, 1);
        if (i == 13) {
            assert_status(VV_IO, jobs[i].req.status);
            assert_string_equal(jobs[i].req.err.msg, "the store is out");
            continue;
        }
        assert_ok(jobs[i].req.status, jobs[i].req.err);
        assert_int_equal(bytes[i][15], i & 0xff);
    }
    assert_int_equal(vio_poll(f->q, 5), 0);
    tear_down(f);
    slow_fini(&slow);
}

static void a_slow_one_holds_nothing_up(void **state)
{
    fixture *f = set_up(state);
    slow_file slow;
    job aside;
    uint8_t byte;
    slow_init(&slow, !waits_aside(f));
    vio_file *file = must_open(f, "f", VIO_READ | VIO_WRITE | VIO_CREATE);
    uint8_t *data = make_blocks(file, f);
    uint8_t *buf = vv_alloc_aligned(VV_BLOCK, VV_BLOCK);
    set_job(&aside, VIO_OP_READ, &slow.base, 7, &byte, 1);
    must_submit(f, &aside);
    for (unsigned i = 0; i < 20; i++) {
        job local;
        set_job(&local, VIO_OP_READ, file, i * VV_BLOCK, buf, VV_BLOCK);
        must_submit(f, &local);
        while (local.answers == 0)
            (void)vio_poll(f->q, 1);
        assert_memory_equal(buf, data + i * VV_BLOCK, VV_BLOCK);
        assert_int_equal(aside.answers, !waits_aside(f));
    }
    slow_open(&slow);
    vio_drain(f->q);
    assert_int_equal(aside.answers, 1);
    assert_int_equal(byte, 7);
    vv_free(buf);
    vv_free(data);
    vio_close(file);
    tear_down(f);
    slow_fini(&slow);
}

static void a_sleeper_is_woken(void **state)
{
    fixture *f = set_up(state);
    int fd = vio_queue_fd(f->q);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    vio_file *file = must_open(f, "f", VIO_READ | VIO_WRITE | VIO_CREATE);
    uint8_t *data = make_blocks(file, f);
    uint8_t *buf = vv_alloc_aligned(VV_BLOCK, VV_BLOCK);
    for (unsigned i = 0; fd >= 0 && i < 50; i++) {
        slow_file slow;
        job jobs[2];
        uint8_t byte;
        slow_init(&slow, false);
        set_job(&jobs[0], VIO_OP_READ, &slow.base, 7, &byte, 1);
        must_submit(f, &jobs[0]);
        if (i % 2 == 0) {
            set_job(&jobs[1], VIO_OP_READ, file, VV_BLOCK, buf, VV_BLOCK);
            must_submit(f, &jobs[1]);
        }
        (void)vio_poll(f->q, 0);
        slow_open(&slow);
        while (f->q->held > 0) {
            if (vio_poll(f->q, 0) == 0 && poll(&p, 1, 20000) != 1)
                fail_msg("%u are held and nobody wakes us", f->q->held);
        }
        assert_int_equal(jobs[0].answers, 1);
        slow_fini(&slow);
    }
    if (fd >= 0) { /* at most once more than there is something to take */
        (void)vio_poll(f->q, 0);
        assert_int_equal(poll(&p, 1, 0), 0);
    }
    vv_free(buf);
    vv_free(data);
    vio_close(file);
    tear_down(f);
}

/* Answered while nobody could sleep on it yet: the descriptor says so when it is asked for. */
static void a_late_sleeper_is_woken(void **state)
{
    fixture *f = set_up(state);
    slow_file slow;
    job j;
    uint8_t byte;
    slow_init(&slow, true);
    set_job(&j, VIO_OP_READ, &slow.base, 7, &byte, 1);
    must_submit(f, &j);
    (void)vio_poll(f->q, 0);
    vv_clock_sleep(vv_clock_real(), 2 * VV_NS_PER_MS); /* for the answer, most likely */
    struct pollfd p = {.fd = vio_queue_fd(f->q), .events = POLLIN};
    if (p.fd >= 0 && f->q->held > 0)
        assert_int_equal(poll(&p, 1, 20000), 1);
    while (f->q->held > 0)
        (void)vio_poll(f->q, 1);
    assert_int_equal(j.answers, 1);
    slow_fini(&slow);
    tear_down(f);
}

static void open_later(void *arg)
{
    slow_file *s = arg;
    bool is_read = false;
    while (!is_read) {
        vv_clock_sleep(vv_clock_real(), VV_NS_PER_MS);
        vv_mutex_lock(&s->lock);
        is_read = s->reading > 0;
        vv_mutex_unlock(&s->lock);
    }
    slow_open(s);
}

static void closing_waits_for_what_was_begun(void **state)
{
    fixture *f = set_up(state);
    slow_file slow;
    job begun;
    job waiting;
    uint8_t byte;
    vv_thread *opener = NULL;
    bool aside = waits_aside(f);
    slow_init(&slow, !aside);
    set_job(&begun, VIO_OP_READ, &slow.base, 7, &byte, 1);
    set_job(&waiting, VIO_OP_READ, &slow.base, 8, &byte, 1);
    must_submit(f, &begun);
    (void)vio_poll(f->q, 0);
    must_submit(f, &waiting);
    if (aside)
        assert_ok(vv_threads_real()->create("opener", VV_THREAD_NORMAL, open_later, &slow, &opener,
                                            &f->err),
                  f->err);
    vio_queue_close(f->q);
    f->q = NULL;
    if (aside)
        vv_threads_real()->join(opener);
    assert_int_equal(begun.answers, 1);
    assert_ok(begun.req.status, begun.req.err);
    assert_int_equal(waiting.answers, 1);
    assert_status(VV_CLOSED, waiting.req.status);
    tear_down(f);
    slow_fini(&slow);
}

int main(void)
{
    static const queue_law laws[] = {
        QUEUE_LAW(each_read_has_its_bytes),
        QUEUE_LAW(a_slow_one_holds_nothing_up),
        QUEUE_LAW(a_sleeper_is_woken),
        QUEUE_LAW(a_late_sleeper_is_woken),
        QUEUE_LAW(closing_waits_for_what_was_begun),
    };
    return run_laws("aside", laws, ARRAY_LEN(laws));
}
