/*
 * query_explain.c - the plan in words: from the last step, which gives the answer, to the first,
 * which reads.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/time_text.h"
#include "base/util.h"
#include "query/query_int.h"

static void describe_messages(const path *w, char *text, size_t size)
{
    const message_range *m = &w->messages;
    char time[TIME_TEXT_MAX];
    size_t at = (size_t)snprintf(text, size, "partitions %" PRIu32 " to %" PRIu32, m->partition,
                                 m->partition_end - 1);
    if (m->first > 0 && at < size)
        at += (size_t)snprintf(text + at, size - at, ", from offset %" PRIu64, m->first);
    if (m->end < UINT64_MAX && at < size)
        at += (size_t)snprintf(text + at, size - at, ", to before offset %" PRIu64, m->end);
    const struct {
        const char *word;
        int64_t ns;
        int64_t none;
    } times[] = {{"received from", w->start_ns, INT64_MIN},
                 {"received before", w->end_ns, INT64_MAX},
                 {"event time from", m->event_ns, INT64_MIN}};
    for (size_t i = 0; i < ARRAY_LEN(times) && at < size; i++) {
        if (times[i].ns == times[i].none)
            continue;
        time_text_format(times[i].ns, time);
        at += (size_t)snprintf(text + at, size - at, ", %s %s", times[i].word, time);
    }
}

static void describe_path(const plan *p, query_plan_step *out)
{
    const path *w = &p->path;
    char from[TIME_TEXT_MAX] = "the first";
    char to[TIME_TEXT_MAX] = "the last";
    const char *order = w->reverse ? ", backwards" : "";
    switch (w->kind) {
    case PATH_EMPTY:
        out->node = "Empty";
        (void)snprintf(out->description, sizeof out->description,
                       "the conditions exclude each other: nothing is read");
        return;
    case PATH_KEYS:
        out->node = "KeyLookup";
        (void)snprintf(out->description, sizeof out->description, "look up %zu key%s%s",
                       w->key_count, w->key_count == 1 ? "" : "s", order);
        return;
    case PATH_TIME:
        if (w->start_ns != INT64_MIN)
            time_text_format(w->start_ns, from);
        if (w->end_ns != INT64_MAX)
            time_text_format(w->end_ns, to);
        out->node = "TimeIndexScan";
        (void)snprintf(out->description, sizeof out->description,
                       "the time index from %s to before %s%s", from, to, order);
        return;
    case PATH_MESSAGES:
        out->node = "MessageScan";
        describe_messages(w, out->description, sizeof out->description);
        return;
    case PATH_RANGE:
        out->node = w->narrowed ? "KeyRangeScan" : "TableScan";
        if (w->narrowed)
            (void)snprintf(
                out->description, sizeof out->description, "keys from '%.*s' to before '%.*s'%s",
                (int)(w->lower.len < 60 ? w->lower.len : 60), (const char *)w->lower.data,
                (int)(w->upper.len < 60 ? w->upper.len : 60), (const char *)w->upper.data, order);
        else
            (void)snprintf(out->description, sizeof out->description, "every record by key%s",
                           order);
        return;
    }
}

static void append(char *text, size_t size, const char *fmt, const char *a, const char *b,
                   const char *c)
{
    size_t at = strlen(text);
    (void)snprintf(text + at, size - at, fmt, a, b, c);
}

static void describe_filters(const plan *p, query_plan_step *out)
{
    out->node = "Filter";
    out->description[0] = 0;
    for (size_t i = 0; i < p->filter_count; i++) {
        char name[64];
        char value[80];
        const filter *f = &p->filters[i];
        (void)snprintf(name, sizeof name, "%s%.*s", i == 0 ? "" : " and ",
                       (int)(f->column.text.len < 50 ? f->column.text.len : 50),
                       (const char *)f->column.text.data);
        filter_value_text(f, value, sizeof value);
        append(out->description, sizeof out->description, "%s %s %s", name, filter_op_text(f->op),
               value);
    }
}

static void describe_sort(const plan *p, query_plan_step *out)
{
    bool top = p->limit != UINT64_MAX;
    out->node = top ? "TopSort" : "Sort";
    out->description[0] = 0;
    for (size_t i = 0; i < p->order_count; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "%.*s",
                       (int)(p->order[i].text.len < 50 ? p->order[i].text.len : 50),
                       (const char *)p->order[i].text.data);
        append(out->description, sizeof out->description, "%s%s%s", i == 0 ? "by " : ", ", name,
               p->descending[i] ? " descending" : "");
    }
    if (top) {
        char keep[64];
        (void)snprintf(keep, sizeof keep, ", keeping %" PRIu64, p->limit + p->offset);
        append(out->description, sizeof out->description, "%s%s%s", keep, "", "");
    }
}

size_t plan_explain(const plan *p, query_plan_step out[QUERY_PLAN_STEPS_MAX])
{
    size_t n = 0;
    if (p->limit != UINT64_MAX || p->offset > 0) {
        out[n].node = "Limit";
        if (p->limit == UINT64_MAX)
            (void)snprintf(out[n].description, sizeof out[n].description, "skip %" PRIu64,
                           p->offset);
        else
            (void)snprintf(out[n].description, sizeof out[n].description,
                           "skip %" PRIu64 ", then at most %" PRIu64, p->offset, p->limit);
        n++;
    }
    if (!p->path.ordered)
        describe_sort(p, &out[n++]);
    if (!p->projection.all) {
        out[n].node = "Project";
        (void)snprintf(out[n].description, sizeof out[n].description,
                       "cut fields and metadata out of the stored bytes");
        n++;
    }
    bool range = p->path.kind != PATH_TIME && p->path.kind != PATH_MESSAGES &&
                 (p->path.start_ns != INT64_MIN || p->path.end_ns != INT64_MAX);
    if (range && p->path.kind != PATH_EMPTY) {
        out[n].node = "TimeFilter";
        (void)snprintf(out[n].description, sizeof out[n].description,
                       "timestamps within the asked range");
        n++;
    }
    if (p->filter_count > 0)
        describe_filters(p, &out[n++]);
    describe_path(p, &out[n++]);
    return n;
}
