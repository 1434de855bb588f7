/*
 * db_series_refuse.c - why samples were left out: counted, and the first of them as a sentence that
 * says which series, which time and what the table takes.
 */
#include <stdio.h>

#include "base/span.h"
#include "base/util.h"
#include "db/db_series_samples.h"

#define LABELS_TEXT 90u /* of vv_append_result.first_refusal */

void db_series_refuse(vv_samples *s, uint64_t count, const char *why, vv_slice canonical)
{
    s->result.refused += count;
    if (count == 0 || s->result.first_refusal[0] != '\0')
        return;
    char text[LABELS_TEXT];
    db_series_canonical_text(canonical, text, sizeof text);
    (void)snprintf(s->result.first_refusal, sizeof s->result.first_refusal, "%s: %s", text, why);
}

/* "2026-01-02T10:00:00Z", whole seconds; days by Howard Hinnant's arithmetic. */
static void time_text(int64_t ns, char *out, size_t size)
{
    const int64_t day_s = 86400;
    int64_t s = ns / VV_NS_PER_S - (ns % VV_NS_PER_S < 0);
    int64_t days = s / day_s - (s % day_s < 0);
    int64_t left = s - days * day_s;
    int64_t z = days + 719468; /* from 0000-03-01 */
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    int64_t month = mp < 10 ? mp + 3 : mp - 9;
    const int64_t year = yoe + era * 400 + (month <= 2);
    const int64_t day = doy - (153 * mp + 2) / 5 + 1;
    const int64_t hour = left / 3600;
    const int64_t minute = left / 60 % 60;
    const int64_t second = left % 60;
    (void)snprintf(out, size, "%04lld-%02lld-%02lldT%02lld:%02lld:%02lldZ", (long long)year,
                   (long long)month, (long long)day, (long long)hour, (long long)minute,
                   (long long)second);
}

void db_series_refuse_old(vv_samples *s, uint64_t count, const db_series_slot *slot, int64_t time)
{
    char at[48];
    char span[VV_SPAN_TEXT];
    char why[128];
    time_text(time, at, sizeof at);
    vv_span_text(slot->retention_ns, span);
    (void)snprintf(why, sizeof why, "the sample of %s is older than the retention, %s (keep)", at,
                   span);
    db_series_refuse(s, count, why, slot->canonical);
}

void db_series_refuse_future(vv_samples *s, uint64_t count, const db_series_slot *slot,
                             int64_t time)
{
    char at[48];
    char span[VV_SPAN_TEXT];
    char why[128];
    time_text(time, at, sizeof at);
    vv_span_text(s->table.cat->future_ns, span);
    (void)snprintf(why, sizeof why,
                   "the sample of %s lies too far in the future: %s ahead is taken (future)", at,
                   span);
    db_series_refuse(s, count, why, slot->canonical);
}
