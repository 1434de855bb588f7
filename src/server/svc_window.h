/*
 * svc_window.h - the ids of the newest messages of each table: what was sent twice is known.
 *
 * A table has a window of its own, up to SVC_WINDOW_IDS ids; the oldest leaves for the newest. It
 * is memory alone: before its first use, and after a restart, it is learned from the newest
 * messages of the table, which may take a while. Requests that come meanwhile wait in it and are
 * run again.
 *
 *   no window --begin: LEARN--> learning --svc_window_learned--> known
 *                                  begin: WAITS                   begin: NEW --> (append) --> end
 *                                                                        PENDING | STORED | OTHER
 *
 * All windows together have a bound of bytes. When it is reached the largest is halved for one that
 * is smaller, so that many tables know less each and none displaces another; the one that was not
 * used for longest goes when all are small.
 */
#ifndef VARVE_SERVER_SVC_WINDOW_H
#define VARVE_SERVER_SVC_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/budget.h"
#include "varve/slice.h"
#include "varve/status.h"

#define SVC_WINDOW_IDS 65536u
#define SVC_WINDOW_IDS_MIN 1024u /* it is not made smaller for others */
#define SVC_WINDOW_WAITERS 1024u /* while a table is learned */

typedef struct svc_windows svc_windows;

typedef enum svc_window_state {
    SVC_WINDOW_NEW,     /* append it, then svc_window_end */
    SVC_WINDOW_PENDING, /* another request appends it now */
    SVC_WINDOW_STORED,  /* it is there, with this content */
    SVC_WINDOW_OTHER,   /* it is there, with another content */
    SVC_WINDOW_WAITS,   /* the request waits: it is not the caller's any more */
    SVC_WINDOW_LEARN,   /* the same, and the caller sees to it that the table is learned */
} svc_window_state;

/* What names a message: 128 bits of its id. */
typedef struct svc_window_id {
    uint64_t high;
    uint64_t low;
} svc_window_id;

/* Inside a request that may wait. */
typedef struct svc_waiter {
    struct svc_waiter *next;
} svc_waiter;

/** bytes_max: of all windows; those of one of SVC_WINDOW_IDS at least are allowed. NULL: no memory.
 * What windows take is counted in the budget until they go, at the end by nobody: it may be gone.
 */
svc_windows *svc_windows_create(vv_budget *budget, uint64_t bytes_max);
void svc_windows_destroy(svc_windows *w); /* nothing waits any more; accepts NULL */

svc_window_id svc_window_id_of(vv_slice id);

/**
 * What is known of an id. *offset of STORED. Any thread, as all below.
 *
 * @return VV_BUSY: too many wait, or the windows have no room. VV_NO_MEMORY. Nothing changed.
 */
VV_MUST_CHECK vv_status svc_window_begin(svc_windows *w, uint32_t table, svc_window_id id,
                                         uint64_t content, svc_waiter *waiter,
                                         svc_window_state *state, uint64_t *offset, vv_error *err);
/** How the append of a NEW one ended. */
void svc_window_end(svc_windows *w, uint32_t table, svc_window_id id, bool is_stored,
                    uint64_t offset);

/** A message of the table that is learned, the oldest first; the last of an id counts. */
void svc_window_learn(svc_windows *w, uint32_t table, svc_window_id id, uint64_t content,
                      uint64_t offset);
/** All of them were; or not, and the table is as if nobody had asked. Gives those that wait, in
 * their order. */
svc_waiter *svc_window_learned(svc_windows *w, uint32_t table, bool is_whole);

/** Ids that a table's window may have now; 0: it has none. For tests. */
uint32_t svc_window_capacity(svc_windows *w, uint32_t table);

#endif
