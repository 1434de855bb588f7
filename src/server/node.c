#include "server/node.h"

#include <stdatomic.h>
#include <stdio.h>

#include "base/util.h"
#include "server/svc_tier.h"
#include "server/svc_upload.h"

/* Without writes nobody learns that there is room again, and a node that is not ready gets none. */
#define STALL_NS (10 * VV_NS_PER_S)

static void end_stall(node *n, int64_t since)
{
    if (atomic_compare_exchange_strong(&n->refused_ns, &since, 0))
        vv_log_to(n->log, VV_LOG_INFO, "varved", "writes are no longer refused");
}

/* What the writer could not have known. */
static bool is_fault(vv_status st)
{
    return st == VV_IO || st == VV_CORRUPT || st == VV_NO_MEMORY;
}

void node_note_write(node *n, vv_status st)
{
    if (st == VV_NO_SPACE) {
        atomic_fetch_add_explicit(&n->writes_failed, 1, memory_order_relaxed);
        int64_t now = vv_clock_mono(n->env.clock);
        if (atomic_exchange(&n->refused_ns, now > 0 ? now : 1) == 0)
            vv_log_to(n->log, VV_LOG_ERROR, "varved",
                      "writes are refused: the disk is full; free some space, reads go on");
        return;
    }
    if (is_fault(st))
        atomic_fetch_add_explicit(&n->writes_failed, 1, memory_order_relaxed);
    int64_t since = atomic_load_explicit(&n->refused_ns, memory_order_relaxed);
    if (st == VV_OK && since != 0)
        end_stall(n, since);
}

bool node_is_stalled(node *n)
{
    int64_t since = atomic_load(&n->refused_ns);
    if (since != 0 && vv_clock_mono(n->env.clock) - since >= STALL_NS)
        end_stall(n, since);
    return atomic_load(&n->refused_ns) != 0;
}

void node_note_corrupt(void *ctx, const char *message)
{
    node *n = ctx;
    uint64_t total = atomic_fetch_add(&n->corrupt_total, 1) + 1;
    int64_t now = vv_clock_mono(n->env.clock);
    int64_t last = atomic_load(&n->corrupt_logged_ns);
    if (last != 0 && now - last < NODE_CORRUPT_LOG_NS)
        return;
    /* Backups hold no objects. */
    const bool is_object = message != NULL && strstr(message, "object '") != NULL;
    if (atomic_compare_exchange_strong(&n->corrupt_logged_ns, &last, now > 0 ? now : 1))
        vv_log_to(n->log, VV_LOG_ERROR, "varved",
                  is_object ? "a read met a damaged or missing object: put it back from a copy of "
                              "the object store, backups hold no objects; 'varve archive verify' "
                              "names all"
                            : "a read met damage in the store: check it, then restore it from a "
                              "backup",
                  VV_KV_S("cause", message == NULL ? "" : message), VV_KV_U("total", total));
}

int64_t node_last_write_ns(node *n)
{
    vv_stats s = {.size = sizeof s};
    vv_stats_read(n->db, &s);
    if (atomic_exchange(&n->commits_seen, s.entries_committed) != s.entries_committed)
        atomic_store(&n->write_seen_ns, vv_clock_wall(n->env.clock));
    return atomic_load(&n->write_seen_ns);
}

bool node_is_ready(node *n, char *why, size_t why_len)
{
    const char *reason = "";
    vv_stats stats = {.size = sizeof stats};
    if (atomic_load(&n->draining)) {
        reason = "draining: the server was asked to stop";
    } else if (node_is_stalled(n)) {
        reason = "writes are refused: the disk is full; free some space";
    } else {
        vv_stats_read(n->db, &stats);
        if (stats.failed)
            reason = "the store latched an I/O error: see the log, then restart varved";
        else if (!svc_tier_is_ready(n, why, why_len) || !svc_upload_is_ready(n, why, why_len))
            return false;
    }
    (void)snprintf(why, why_len, "%s", reason);
    return reason[0] == '\0';
}
