/*
 * span.c - see span.h.
 */
#include "base/span.h"

#include <stdio.h>

#include "base/util.h"

void vv_span_text(int64_t ns, char out[VV_SPAN_TEXT])
{
    static const struct {
        const char *name;
        int64_t ns;
    } units[] = {{"d", 86400 * VV_NS_PER_S},
                 {"h", 3600 * VV_NS_PER_S},
                 {"m", 60 * VV_NS_PER_S},
                 {"s", VV_NS_PER_S},
                 {"ms", VV_NS_PER_MS},
                 {"us", VV_NS_PER_US},
                 {"ns", 1}};
    size_t i = ns == 0 ? 3 : 0; /* "0s" */
    while (ns % units[i].ns != 0)
        i++;
    (void)snprintf(out, VV_SPAN_TEXT, "%lld%s", (long long)(ns / units[i].ns), units[i].name);
}
