/*
 * env_test.c - the real clock, threads, randomness and figures.
 */
#include "vv_test.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/alloc.h"
#include "io/env.h"

static vv_error err;

static void the_clock_goes_forward_and_sleeps(void **state)
{
    (void)state;
    vv_clock *clock = vv_clock_real();
    int64_t before = vv_clock_mono(clock);
    vv_clock_sleep(clock, 3 * VV_NS_PER_MS);
    vv_clock_sleep(clock, 0);
    vv_clock_sleep(clock, -1);
    int64_t after = vv_clock_mono(clock);
    assert_true(after - before >= 3 * VV_NS_PER_MS);
    assert_true(vv_clock_wall(clock) > INT64_C(1600000000) * VV_NS_PER_S);
}

static void random_bytes_differ(void **state)
{
    (void)state;
    uint8_t a[32] = {0};
    uint8_t b[32] = {0};
    assert_ok(vv_random_bytes(a, sizeof a, &err), err);
    assert_ok(vv_random_bytes(b, sizeof b, &err), err);
    assert_memory_not_equal(a, b, sizeof a);
    assert_ok(vv_random_bytes(a, 0, &err), err);
}

typedef struct seen {
    _Atomic int runs;
    int nice;
    bool term_blocked;
    bool segv_blocked;
    char name[16];
} seen;

static void note(void *arg)
{
    seen *s = arg;
    sigset_t set;
    (void)pthread_sigmask(SIG_SETMASK, NULL, &set);
    s->term_blocked = sigismember(&set, SIGTERM) == 1;
    s->segv_blocked = sigismember(&set, SIGSEGV) == 1;
    s->nice = getpriority(PRIO_PROCESS, (id_t)gettid());
    (void)pthread_getname_np(pthread_self(), s->name, sizeof s->name);
    atomic_fetch_add(&s->runs, 1);
}

static void threads_run_named_and_leave_signals_alone(void **state)
{
    (void)state;
    const vv_threads *threads = vv_threads_real();
    seen normal = {0};
    seen background = {0};
    vv_thread *a = NULL;
    vv_thread *b = NULL;
    assert_ok(threads->create("wal", VV_THREAD_NORMAL, note, &normal, &a, &err), err);
    assert_ok(threads->create("a-name-that-is-too-long", VV_THREAD_BACKGROUND, note, &background,
                              &b, &err),
              err);
    threads->join(a);
    threads->join(b);
    assert_int_equal(normal.runs, 1);
    assert_int_equal(background.runs, 1);
    assert_string_equal(normal.name, "wal");
    assert_string_equal(background.name, "a-name-that-is-");
    assert_true(normal.term_blocked && background.term_blocked);
    assert_false(normal.segv_blocked);
    assert_true(background.nice >= normal.nice && background.nice >= 10); /* also under nice(1) */
    sigset_t set;
    (void)pthread_sigmask(SIG_SETMASK, NULL, &set);
    assert_int_equal(sigismember(&set, SIGTERM), 0); /* the creator's own are as before */
#ifdef VV_TEST_HOOKS
    vv_alloc_fail_after(0, 0);
    assert_status(VV_NO_MEMORY, threads->create("x", VV_THREAD_NORMAL, note, &normal, &a, &err));
    vv_alloc_fail_after(-1, 0);
#endif
}

static void process_figures_are_plausible(void **state)
{
    (void)state;
    env_process_stats before;
    env_process_stats after;
    env_process_stats_read(&before);
    int fd = dup(0);
    uint8_t *block = vv_alloc(8u << 20);
    assert_non_null(block);
    memset(block, 1, 8u << 20);
    env_process_stats_read(&after);
    assert_true(before.rss_bytes > 100 * VV_KIB);
    assert_true(before.huge_bytes <= before.rss_bytes);
    assert_true(after.rss_bytes >= before.rss_bytes + 7 * VV_MIB);
    assert_int_equal(after.open_fds, before.open_fds + 1);
    assert_true(after.max_fds >= after.open_fds);
    assert_true(after.cpu_ns > before.cpu_ns);
    assert_true(after.threads >= 1);
    int64_t now = vv_clock_wall(vv_clock_real());
    assert_true(after.start_wall_ns < now + VV_NS_PER_S);
    assert_true(after.start_wall_ns > now - 3600 * VV_NS_PER_S);
    vv_free(block);
    (void)close(fd);
}

static void a_posix_env_is_complete(void **state)
{
    (void)state;
    vv_env env = {0};
    vv_env other = {0};
    assert_status(VV_INVALID, env_posix_init(&env, "", NULL, &err));
    assert_ok(env_posix_init(&env, "/tmp", NULL, &err), err);
    assert_ok(env_posix_init(&other, "/tmp", NULL, &err), err);
    assert_string_equal(env.io->ops->name, "posix");
    assert_ptr_equal(env.clock, vv_clock_real());
    assert_ptr_equal(env.threads, vv_threads_real());
    assert_true(env.seed != other.seed);
    vio_destroy(env.io);
    vio_destroy(other.io);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_clock_goes_forward_and_sleeps),
        cmocka_unit_test(random_bytes_differ),
        cmocka_unit_test(threads_run_named_and_leave_signals_alone),
        cmocka_unit_test(process_figures_are_plausible),
        cmocka_unit_test(a_posix_env_is_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
