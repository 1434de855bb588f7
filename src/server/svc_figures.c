/*
 * svc_figures.c - see svc_figures.h.
 */
#include "server/svc_figures.h"

#include <inttypes.h>

#include "base/util.h"

void fig_head(vv_buf *out, const char *name, const char *type, const char *help)
{
    vv_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void figure(vv_buf *out, const char *name, const char *type, const char *help, double value)
{
    fig_head(out, name, type, help);
    vv_buf_printf(out, "%s %.17g\n", name, value);
}

void fig_gauge(vv_buf *out, const char *name, const char *help, double value)
{
    figure(out, name, "gauge", help, value);
}

void fig_counter(vv_buf *out, const char *name, const char *help, double value)
{
    figure(out, name, "counter", help, value);
}

void fig_family(vv_buf *out, const char *name, const char *type, const char *help,
                const fig_labels *by, const uint64_t *values, size_t count)
{
    fig_head(out, name, type, help);
    for (size_t i = by->first; i < count; i++) {
        vv_buf_printf(out, "%s{%s=\"", name, by->label);
        if (by->names != NULL)
            vv_buf_append_str(out, by->names[i]);
        else
            vv_buf_printf(out, "%zu%s", i, by->suffix == NULL ? "" : by->suffix);
        vv_buf_printf(out, "\"} %" PRIu64 "\n", values[i]);
    }
}

double fig_seconds(uint64_t ns)
{
    return (double)ns / 1e9;
}

void fig_histogram(vv_buf *out, const char *name, const char *help, const vv_hist *h)
{
    static const double bounds[] = {0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025,
                                    0.005,   0.01,   0.025,   0.05,   0.1,   0.25,
                                    0.5,     1,      2.5,     5,      10};
    fig_head(out, name, "histogram", help);
    /* Writers go on meanwhile: the total is read first, and no bucket may pass it. */
    uint64_t count = vv_hist_count(h);
    for (size_t i = 0; i < ARRAY_LEN(bounds); i++) {
        uint64_t below = vv_hist_count_below(h, (uint64_t)(bounds[i] * 1e9));
        vv_buf_printf(out, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name, bounds[i],
                      vv_min_u64(below, count));
    }
    vv_buf_printf(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, count);
    vv_buf_printf(out, "%s_sum %.9g\n%s_count %" PRIu64 "\n", name, fig_seconds(vv_hist_sum(h)),
                  name, count);
}
