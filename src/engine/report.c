/*
 * report.c - see report.h. Why damage does not end a check: what is told last is as much worth
 * knowing as what is told first, and only a disk or a memory that fails leaves nothing to look at.
 */
#include "engine/report.h"

#include <stdarg.h>
#include <stdio.h>

void engine_report_say(engine_report *r, const char *fmt, ...)
{
    char text[320];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    r->count++;
    if (r->finding != NULL && (r->told_max == 0 || r->count <= r->told_max))
        r->finding(r->ctx, text);
}

vv_status engine_report_absorb(engine_report *r, vv_status st, const vv_error *why, vv_error *err)
{
    if (st == VV_OK)
        return VV_OK;
    if (st == VV_CORRUPT || st == VV_UNSUPPORTED) {
        engine_report_say(r, "%s", why->msg);
        return VV_OK;
    }
    if (err != NULL)
        *err = *why;
    return st;
}
