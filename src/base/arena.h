/*
 * arena.h - bump allocation for one request or one piece of work; everything goes at once.
 *
 * One thread at a time. Memory comes in blocks from vv_alloc; reset keeps the first block.
 */
#ifndef VARVE_BASE_ARENA_H
#define VARVE_BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "varve/slice.h"

typedef struct vv_arena_block vv_arena_block;

typedef struct vv_arena {
    vv_arena_block *head; /* the block being filled, newest first */
    uint8_t *next;
    uint8_t *end;
    size_t used; /* bytes held from vv_alloc */
    size_t max;  /* vv_arena_alloc answers NULL past it */
} vv_arena;

/** An arena that may hold max bytes. Allocates nothing. */
void vv_arena_init(vv_arena *a, size_t max);

/** Frees all; the arena is as after init. */
void vv_arena_fini(vv_arena *a);

/** Forget everything allocated; keeps one block for reuse. */
void vv_arena_reset(vv_arena *a);

/** size bytes aligned to 16; NULL past max or when memory is short. */
void *vv_arena_alloc(vv_arena *a, size_t size);

/** Whether so many bytes are within max. False: vv_arena_alloc refuses them, whatever memory there
 * is. */
bool vv_arena_has_room(const vv_arena *a, size_t size);

/** A copy of s in the arena with a NUL behind it; data is NULL when there is no room. */
vv_slice vv_arena_dup(vv_arena *a, vv_slice s);

#endif
