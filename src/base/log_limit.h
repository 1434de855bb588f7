/*
 * log_limit.h - at most so many lines of one message in a while, and how many were left out.
 *
 * A line is told by its module and message; what it is about may differ. The count of a message
 * begins with its first line. Messages share a fixed number of places: one that has to give way
 * tells what it left out first, so nothing is lost without being counted.
 *
 * Threads: one at a time, by a lock of the caller's.
 */
#ifndef VARVE_BASE_LOG_LIMIT_H
#define VARVE_BASE_LOG_LIMIT_H

#include "base/log.h"

#define VV_LOG_LIMIT_PLACES 256u
#define VV_LOG_LIMIT_TEXT_MAX 96u

typedef struct vv_log_limit_place {
    uint64_t hash; /* 0: free */
    int64_t since_ns;
    uint32_t passed;
    uint64_t left_out;
    vv_log_level level;
    char module[VV_LOG_MODULE_MAX];
    char msg[VV_LOG_LIMIT_TEXT_MAX];
} vv_log_limit_place;

typedef struct vv_log_limit {
    uint32_t lines; /* 0: no limit */
    int64_t span_ns;
    uint64_t left_out; /* all there were */
    uint64_t untold;   /* of them, those that no vv_log_left_out named yet */
    vv_log_limit_place place[VV_LOG_LIMIT_PLACES];
} vv_log_limit;

/* What is to be told. */
typedef struct vv_log_left_out {
    uint64_t count; /* 0: nothing */
    vv_log_level level;
    char module[VV_LOG_MODULE_MAX];
    char msg[VV_LOG_LIMIT_TEXT_MAX];
} vv_log_left_out;

void vv_log_limit_init(vv_log_limit *limit, uint32_t lines, int64_t span_ns);
/** True: write the line. *out is to be told before it, in any case. */
bool vv_log_limit_pass(vv_log_limit *limit, const vv_log_record *record, int64_t mono_ns,
                       vv_log_left_out *out);
/** The next message, from place *at on, whose while is over and that left lines out; all: whether
 * it is over or not. False: there is none. Begin with *at = 0. */
bool vv_log_limit_sweep(vv_log_limit *limit, int64_t mono_ns, bool all, size_t *at,
                        vv_log_left_out *out);

#endif
