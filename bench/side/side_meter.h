/*
 * side_meter.h - what a row cost the machine: CPU of all threads, bytes written, memory, disk.
 */
#ifndef VARVE_BENCH_SIDE_METER_H
#define VARVE_BENCH_SIDE_METER_H

#include <stdint.h>

typedef struct side_meter {
    int64_t wall_ns;
    int64_t user_ns;   /* of the whole process, background threads included */
    int64_t system_ns; /* likewise */
    uint64_t written;  /* bytes this process caused to go to the device (/proc/self/io) */
} side_meter;

void side_meter_read(side_meter *out);
/* Wait until the process has stopped computing and writing; at most limit_s. The seconds waited
 * before it was quiet. */
double side_wait_until_quiet(double limit_s);

void side_rss_reset(void);
uint64_t side_rss_peak(void);
uint64_t side_disk_bytes(const char *dir); /* allocated blocks of all files below */
/* Ask the kernel to drop the cached pages of the files below dir, synced before. */
void side_evict(const char *dir);

#endif
