/*
 * epoch.h - epoch-based reclamation: readers take no lock, and what they may still see is freed
 * only after they have left (Fraser, "Practical lock freedom", 2004, section 5.2.3).
 *
 *     reader                         writer
 *     vv_epoch_enter()               publish the new view (release store)
 *       p = acquire load of a view   vv_epoch_retire(old, free_old)
 *       use p                        vv_epoch_collect() now and then
 *     vv_epoch_exit()
 *
 * One domain a process. A section is short: no I/O, no lock waits, no callbacks of the user.
 * What outlives the section takes a reference inside it. Advances by event (retire, collect), so
 * the single-threaded simulator needs nothing special.
 */
#ifndef VARVE_BASE_EPOCH_H
#define VARVE_BASE_EPOCH_H

#include <stddef.h>

/** Enter and leave a read section; sections of one thread may nest. Any thread. */
void vv_epoch_enter(void);
void vv_epoch_exit(void);

/**
 * Call fn(ptr) once no section that was open at this call is open any more. Takes ptr. May run
 * earlier retired functions before it returns, never one inside the caller's own section. When
 * memory for the note is short it waits for the readers and frees at once.
 */
void vv_epoch_retire(void *ptr, void (*fn)(void *ptr));

/** Run what can be run now. Returns the number still waiting. */
size_t vv_epoch_collect(void);

/** Wait until everything retired before this call has run. Not inside a section. */
void vv_epoch_drain(void);

#endif
