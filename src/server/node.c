#include "server/node.h"

#include <stdatomic.h>
#include <stdio.h>

bool node_is_ready(node *n, char *why, size_t why_len)
{
    const char *reason = "";
    vv_stats stats = {.size = sizeof stats};
    if (atomic_load(&n->draining)) {
        reason = "draining: the server was asked to stop";
    } else {
        vv_stats_read(n->db, &stats);
        if (stats.failed)
            reason = "the store latched an I/O error: see the log, then restart varved";
    }
    (void)snprintf(why, why_len, "%s", reason);
    return reason[0] == '\0';
}
