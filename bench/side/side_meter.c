#include "side_meter.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "io/env.h"
#include "side.h"

#define WINDOW_NS 50000000L
#define QUIET_WINDOWS 6u
#define QUIET_CPU_NS 2500000L /* of a window: 5 % of one CPU */
#define QUIET_BYTES 65536u

static uint64_t read_field(const char *path, const char *name)
{
    char line[256];
    unsigned long long value = 0;
    FILE *f = fopen(path, "re");
    if (f == NULL)
        side_fail("open", "%s", path);
    while (fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0)
            (void)sscanf(line + strlen(name), " %llu", &value);
    }
    (void)fclose(f);
    return value;
}

static int64_t ns_of(struct timeval tv)
{
    return (int64_t)tv.tv_sec * 1000000000 + (int64_t)tv.tv_usec * 1000;
}

void side_meter_read(side_meter *out)
{
    struct rusage u;
    if (getrusage(RUSAGE_SELF, &u) != 0)
        side_fail("getrusage", "refused");
    *out = (side_meter){.wall_ns = vv_clock_mono(vv_clock_real()),
                        .user_ns = ns_of(u.ru_utime),
                        .system_ns = ns_of(u.ru_stime),
                        .written = read_field("/proc/self/io", "write_bytes:")};
}

double side_wait_until_quiet(double limit_s)
{
    side_meter first;
    side_meter last;
    unsigned quiet = 0;
    int64_t quiet_since;
    side_meter_read(&first);
    last = first;
    quiet_since = first.wall_ns;
    while (quiet < QUIET_WINDOWS) {
        side_meter now;
        (void)nanosleep(&(struct timespec){.tv_nsec = WINDOW_NS}, NULL);
        side_meter_read(&now);
        int64_t cpu = now.user_ns + now.system_ns - last.user_ns - last.system_ns;
        bool is_quiet = cpu < QUIET_CPU_NS && now.written - last.written < QUIET_BYTES;
        quiet = is_quiet ? quiet + 1 : 0;
        if (!is_quiet)
            quiet_since = now.wall_ns;
        last = now;
        if ((double)(now.wall_ns - first.wall_ns) > limit_s * 1e9)
            break;
    }
    return (double)(quiet_since - first.wall_ns) / 1e9;
}

void side_rss_reset(void)
{
    FILE *f = fopen("/proc/self/clear_refs", "we");
    if (f == NULL)
        return; /* the peak is then of the whole process */
    (void)fputs("5", f);
    (void)fclose(f);
}

uint64_t side_rss_peak(void)
{
    return read_field("/proc/self/status", "VmHWM:") * 1024;
}

static uint64_t walked_bytes;

static int add_size(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)path;
    (void)at;
    if (kind == FTW_F)
        walked_bytes += (uint64_t)st->st_blocks * 512;
    return 0;
}

uint64_t side_disk_bytes(const char *dir)
{
    walked_bytes = 0;
    (void)nftw(dir, add_size, 16, FTW_PHYS);
    return walked_bytes;
}

static int evict_file(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)at;
    if (kind != FTW_F)
        return 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        side_fail("open", "%s", path);
    if (fsync(fd) != 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0)
        side_fail("evict", "%s", path);
    (void)close(fd);
    return 0;
}

void side_evict(const char *dir)
{
    (void)nftw(dir, evict_file, 16, FTW_PHYS);
}
