/*
 * report.h - the findings of a check: each a sentence, counted, given to who asked.
 */
#ifndef VARVE_ENGINE_REPORT_H
#define VARVE_ENGINE_REPORT_H

#include <stdint.h>

#include "base/util.h"
#include "varve/status.h"

typedef struct engine_report {
    void (*finding)(void *ctx, const char *text); /* may be NULL: they are counted */
    void *ctx;
    uint64_t count;
    uint64_t told_max; /* that finding is called for; 0: for all */
} engine_report;

/** A finding, cut to 319 bytes. */
void engine_report_say(engine_report *r, const char *fmt, ...) VV_PRINTF(2, 3);
/** A fault of the stored bytes becomes a finding and VV_OK; anything else stops the check. */
VV_MUST_CHECK vv_status engine_report_absorb(engine_report *r, vv_status st, const vv_error *why,
                                             vv_error *err);

#endif
