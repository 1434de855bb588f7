/*
 * route.h - several engines behind one shard: each table's data lies in the engine that the table
 * was made for, and all of them share the shard's log, its versions and its batches.
 *
 * The upper bits of a table id are its slot: slot 0 is the home, the engine that the directory was
 * made with and that has the system tables; the others have a subdirectory with their engine's name
 * and come to be when the first table wants them (engine_route_add). With the home alone every call
 * goes straight through.
 *
 * One checkpoint for the log: the oldest of the engines'. An engine that got no writes must not
 * hold it back, so an empty entry takes it along when another has flushed, and at a freeze.
 *
 * The engine that comes out of engine_route_open has engine_route_ops, which promise what engine.h
 * says. A write that names the slots it touches (engine_route_slots, engine_route_prepare) needs
 * room in those alone; ops->prepare asks for room in all. Bytes of the list: docs/format/store.md.
 */
#ifndef VARVE_ENGINE_ROUTE_H
#define VARVE_ENGINE_ROUTE_H

#include "engine/engine.h"

#define ENGINE_ROUTE_SLOTS 16u
#define ENGINE_ROUTE_SHIFT 28u /* of table ids. Frozen: on disk */
#define ENGINE_ROUTE_HOME 1u   /* the bit of slot 0 */

typedef struct engine_route_options {
    /* The engine of each slot. [0] is there; tables of a slot without one are the home's. */
    const engine_ops *kind[ENGINE_ROUTE_SLOTS];
    uint32_t shift; /* slot = table id >> shift */
} engine_route_options;

extern const engine_ops engine_route_ops; /* open is NULL: engine_route_open */

/**
 * Open the home and every engine that the directory lists, as ops->open. They share the options:
 * each has memtables of that size, and its part of cache_size and work_size.
 * @return VV_CORRUPT when an engine's directory is missing; VV_UNSUPPORTED when it is one that
 *         kind does not have.
 */
VV_MUST_CHECK vv_status engine_route_open(const engine_route_options *route,
                                          const engine_options *opt, engine **out, vv_error *err);

/** Have an engine for a slot from now on, durable on return; VV_OK when there is one. Before the
 * first write to the slot. One caller at a time, beside everything else. */
VV_MUST_CHECK vv_status engine_route_add(engine *e, uint32_t slot, vv_error *err);

/** The engine of a slot, or NULL. */
engine *engine_route_member(engine *e, uint32_t slot);
/** The engine that has a table's data; the home where the slot has none. */
engine *engine_route_of(engine *e, uint32_t table_id);

/** Whether there is more than the home. */
bool engine_route_is_split(engine *e);
/** A bit for each slot that a payload writes to. Bytes that are no operation end the look. */
uint32_t engine_route_slots(engine *e, vv_slice payload);
/** As ops->prepare, for payloads that touch these slots. VV_CORRUPT: one has no engine. */
VV_MUST_CHECK vv_status engine_route_prepare(engine *e, uint32_t slots, size_t payload_len,
                                             uint32_t op_count, vv_error *err);

/** The list of engines beside the home in a shard's directory: each(ctx, name). VV_OK with none
 * when there is no list; VV_CORRUPT. For those who look at closed stores. */
VV_MUST_CHECK vv_status engine_route_list(vio *io, const char *dir,
                                          void (*each)(void *ctx, const char *name), void *ctx,
                                          vv_error *err);
/** The list as lines of text. */
VV_MUST_CHECK vv_status engine_route_dump(vv_env *env, const char *path,
                                          void (*line)(void *ctx, const char *text), void *ctx,
                                          vv_error *err);

#endif
