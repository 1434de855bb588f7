/*
 * db_series_refuse.c - why samples were left out: counted, and the first of them as a sentence that
 * says which series, which time and what the table takes.
 */
#include <stdio.h>

#include "base/span.h"
#include "base/time_text.h"
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

void db_series_refuse_old(vv_samples *s, uint64_t count, const db_series_slot *slot, int64_t time)
{
    char at[TIME_TEXT_MAX];
    char span[VV_SPAN_TEXT];
    char why[128];
    time_text_format(time, at);
    vv_span_text(slot->retention_ns, span);
    (void)snprintf(why, sizeof why, "the sample of %s is older than the retention, %s (keep)", at,
                   span);
    db_series_refuse(s, count, why, slot->canonical);
}

void db_series_refuse_future(vv_samples *s, uint64_t count, const db_series_slot *slot,
                             int64_t time)
{
    char at[TIME_TEXT_MAX];
    char span[VV_SPAN_TEXT];
    char why[128];
    time_text_format(time, at);
    vv_span_text(s->table.cat->future_ns, span);
    (void)snprintf(why, sizeof why,
                   "the sample of %s lies too far in the future: %s ahead is taken (future)", at,
                   span);
    db_series_refuse(s, count, why, slot->canonical);
}
