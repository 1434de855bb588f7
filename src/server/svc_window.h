/*
 * svc_window.h - the ids of the newest messages: what was sent twice is known.
 *
 * A window holds SVC_WINDOW_IDS ids, the oldest leaves for the newest. It is memory alone: after a
 * restart it learns what the newest messages of a table are from the table.
 *
 *   begin: NEW --> (append) --> end: stored, or forgotten
 *          PENDING: another request appends it now
 *          STORED: it is there, with this content
 *          OTHER: it is there, with another content
 */
#ifndef VARVE_SERVER_SVC_WINDOW_H
#define VARVE_SERVER_SVC_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#include "varve/slice.h"

#define SVC_WINDOW_IDS 65536u
#define SVC_WINDOW_TABLES 8192u /* that the window has learned, the oldest is learned again */

typedef struct svc_window svc_window;

typedef enum svc_window_state {
    SVC_WINDOW_NEW,
    SVC_WINDOW_PENDING,
    SVC_WINDOW_STORED,
    SVC_WINDOW_OTHER,
} svc_window_state;

/* What names a message: 128 bits of the table's id and its own. */
typedef struct svc_window_id {
    uint64_t high;
    uint64_t low;
} svc_window_id;

/** NULL: no memory, which is some 4 MiB. */
svc_window *svc_window_create(void);
void svc_window_destroy(svc_window *w); /* accepts NULL */

svc_window_id svc_window_id_of(uint32_t table, vv_slice id);

/** What is known of an id; NEW makes it pending. *offset of STORED. Any thread, as all below. */
svc_window_state svc_window_begin(svc_window *w, svc_window_id id, uint64_t content,
                                  uint64_t *offset);
/** How the append of a NEW one ended. */
void svc_window_end(svc_window *w, svc_window_id id, bool is_stored, uint64_t offset);

/** Whether the newest messages of a table were learned. */
bool svc_window_has_table(svc_window *w, uint32_t table);
/** A message of the table, the oldest first; one that is known stays as it is. */
void svc_window_learn(svc_window *w, svc_window_id id, uint64_t content, uint64_t offset);
/** All of them were. */
void svc_window_add_table(svc_window *w, uint32_t table);

#endif
