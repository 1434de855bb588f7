/*
 * env.c - the real world: the process's clock, threads, randomness and figures.
 */
#include "io/env.h"

#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"

/* Enough to let requests go first, and not so much that a busy machine starves a flush. */
#define BACKGROUND_NICE 10

/* glibc makes an arena for each thread, up to eight a core, and raises its own threshold to 32 MiB
 * once a block of that size was freed: messages, files of indexes and windows then lie between
 * small blocks that keep their pages. Measured with tests/soak: docs/memory.md. */
#define ARENAS 2
#define MMAP_THRESHOLD (1024 * 1024)
#define TRIM_THRESHOLD (1024 * 1024)

static int64_t read_clock(clockid_t id)
{
    struct timespec ts = {0};
    (void)clock_gettime(id, &ts); /* cannot fail for the clocks we name */
    return (int64_t)ts.tv_sec * VV_NS_PER_S + ts.tv_nsec;
}

static int64_t real_mono_ns(vv_clock *clock)
{
    (void)clock;
    return read_clock(CLOCK_MONOTONIC);
}

static int64_t real_wall_ns(vv_clock *clock)
{
    (void)clock;
    return read_clock(CLOCK_REALTIME);
}

static void real_sleep_ns(vv_clock *clock, int64_t ns)
{
    (void)clock;
    if (ns <= 0)
        return;
    struct timespec left = {.tv_sec = ns / VV_NS_PER_S, .tv_nsec = ns % VV_NS_PER_S};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}

vv_clock *vv_clock_real(void)
{
    static const vv_clock_ops ops = {real_mono_ns, real_wall_ns, real_sleep_ns};
    static vv_clock clock = {&ops};
    return &clock;
}

struct vv_thread {
    pthread_t id;
    vv_thread_class cls;
    void (*fn)(void *arg);
    void *arg;
    char name[16];
};

static void *thread_main(void *arg)
{
    vv_thread *t = arg;
    (void)pthread_setname_np(pthread_self(), t->name);
    if (t->cls == VV_THREAD_BACKGROUND) {
        /* Only hints: a sandbox may refuse them and the thread runs on as a normal one. */
        struct sched_param param = {0};
        (void)pthread_setschedparam(pthread_self(), SCHED_BATCH, &param);
        if (getpriority(PRIO_PROCESS, (id_t)gettid()) < BACKGROUND_NICE)
            (void)setpriority(PRIO_PROCESS, (id_t)gettid(), BACKGROUND_NICE);
    }
    t->fn(t->arg);
    return NULL;
}

/* Signals belong to the program's own threads: ours take none but those of their own faults. */
static void block_signals(sigset_t *old)
{
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGPROF};
    sigset_t set;
    (void)sigfillset(&set);
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        (void)sigdelset(&set, own[i]);
    (void)pthread_sigmask(SIG_BLOCK, &set, old);
}

static vv_status real_thread_create(const char *name, vv_thread_class cls, void (*fn)(void *arg),
                                    void *arg, vv_thread **out, vv_error *err)
{
    vv_thread *t = vv_alloc(sizeof *t);
    if (t == NULL)
        return vv_fail(err, VV_NO_MEMORY, "thread '%s': no memory", name);
    *t = (vv_thread){.cls = cls, .fn = fn, .arg = arg};
    (void)snprintf(t->name, sizeof t->name, "%s", name);
    sigset_t old;
    block_signals(&old);
    int rc = pthread_create(&t->id, NULL, thread_main, t);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0) {
        vv_free(t);
        return vv_fail_sys(err, VV_BUSY, rc,
                           "thread '%s' cannot start (see the limit on tasks or threads)", name);
    }
    *out = t;
    return VV_OK;
}

static void real_thread_join(vv_thread *t)
{
    int rc = pthread_join(t->id, NULL);
    assert(rc == 0);
    (void)rc;
    vv_free(t);
}

const vv_threads *vv_threads_real(void)
{
    static const vv_threads threads = {real_thread_create, real_thread_join};
    return &threads;
}

vv_status vv_random_bytes(void *out, size_t len, vv_error *err)
{
    uint8_t *p = out;
    while (len > 0) {
        ssize_t n = getrandom(p, len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return vv_fail_sys(err, VV_IO, errno, "getrandom");
        p += n;
        len -= (size_t)n;
    }
    return VV_OK;
}

vv_status env_posix_init(vv_env *env, const char *dir, vv_log *log, vv_error *err)
{
    return env_posix_open(env, dir, &(vio_posix_options){.log = log}, err);
}

vv_status env_posix_open(vv_env *env, const char *dir, const vio_posix_options *opt, vv_error *err)
{
    uint64_t seed = 0;
    vio *io = NULL;
    vv_status st = vv_random_bytes(&seed, sizeof seed, err);
    if (st == VV_OK)
        st = vio_posix_open(dir, opt, &io, err);
    if (st != VV_OK)
        return st;
    *env = (vv_env){.io = io,
                    .clock = vv_clock_real(),
                    .threads = vv_threads_real(),
                    .seed = seed,
                    .log = opt->log};
    return VV_OK;
}

/* One read of a /proc file as a string; "" when it cannot be read. */
static void read_proc(const char *path, char *buf, size_t buf_len)
{
    buf[0] = '\0';
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return;
    buf[fread(buf, 1, buf_len - 1, f)] = '\0';
    (void)fclose(f);
}

unsigned env_cores(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;
    return n > 0 ? (unsigned)n : 1;
}

bool env_huge_pages(void)
{
    char text[64];
    read_proc("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof text);
    return text[0] != '\0' && strstr(text, "[never]") == NULL;
}

static uint64_t huge_bytes(void)
{
    char text[4096];
    unsigned long long kib = 0;
    read_proc("/proc/self/smaps_rollup", text, sizeof text);
    const char *at = strstr(text, "AnonHugePages:");
    return at != NULL && sscanf(at, "AnonHugePages: %llu", &kib) == 1 ? kib * VV_KIB : 0;
}

void env_malloc_settle(void)
{
#ifdef __GLIBC__
    (void)mallopt(M_ARENA_MAX, ARENAS);
    (void)mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD);
    (void)mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD);
#endif
}

static uint64_t count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    if (dir == NULL)
        return 0;
    uint64_t count = 0;
    while (readdir(dir) != NULL)
        count++;
    (void)closedir(dir);
    return count > 3 ? count - 3 : 0; /* without ".", ".." and the directory just opened */
}

/* Fields 20 and 22 of proc(5) stat: threads, and the start in clock ticks after boot. They are
 * counted from the last ')' because the second field, the name, may hold anything. */
static void read_stat(env_process_stats *out)
{
    char text[1024];
    read_proc("/proc/self/stat", text, sizeof text);
    const char *p = strrchr(text, ')');
    unsigned long long threads = 0;
    unsigned long long start = 0;
    if (p == NULL || sscanf(p + 1,
                            " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d"
                            " %llu %*d %llu",
                            &threads, &start) != 2)
        return;
    out->threads = threads;
    long hz = sysconf(_SC_CLK_TCK);
    int64_t since_boot = (int64_t)start * (VV_NS_PER_S / (hz > 0 ? hz : 100));
    out->start_wall_ns = read_clock(CLOCK_REALTIME) - read_clock(CLOCK_BOOTTIME) + since_boot;
}

void env_process_stats_read(env_process_stats *out)
{
    *out = (env_process_stats){0};
    char text[128];
    unsigned long long resident = 0;
    read_proc("/proc/self/statm", text, sizeof text);
    if (sscanf(text, "%*u %llu", &resident) == 1)
        out->rss_bytes = resident * (uint64_t)sysconf(_SC_PAGESIZE);
    out->huge_bytes = huge_bytes();
    out->cpu_ns = (uint64_t)read_clock(CLOCK_PROCESS_CPUTIME_ID);
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        out->max_fds = limit.rlim_cur;
    out->open_fds = count_fds();
    read_stat(out);
}

vv_status env_absolute_path(const char *path, char *out, vv_error *err)
{
    assert(path != NULL && out != NULL);
    char here[VIO_PATH_MAX] = "";
    if (path[0] != '/' && getcwd(here, sizeof here) == NULL)
        return vv_fail_sys(err, VV_IO, errno, "the working directory of '%.80s'", path);
    int n = snprintf(out, VIO_PATH_MAX, "%s%s%s", here, path[0] == '/' ? "" : "/", path);
    if (n < 0 || n >= VIO_PATH_MAX)
        return vv_fail(err, VV_INVALID, "'%.80s...': the path is too long", path);
    return VV_OK;
}
