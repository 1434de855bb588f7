/*
 * route_int.h - the state of a route, shared by route*.c.
 */
#ifndef VARVE_ENGINE_ROUTE_INT_H
#define VARVE_ENGINE_ROUTE_INT_H

#include <stdatomic.h>

#include "base/lock.h"
#include "engine/route.h"

typedef struct route route;

/* One engine. Its hooks come here first. */
typedef struct route_member {
    route *r;
    engine *eng;            /* NULL: none. Fixed from the moment its bit is in route.live */
    int64_t born;           /* entries up to it hold nothing for this engine */
    _Atomic int64_t joined; /* versions up to it have nothing here and need no pin */
    int64_t touched;        /* newest version applied; under the commit lock, as apply is */
} route_member;

struct route {
    engine base;
    engine *home;
    _Atomic uint32_t live;                       /* bit set of slots with an engine; release: eng */
    engine *_Atomic by_slot[ENGINE_ROUTE_SLOTS]; /* the home where there is none */
    engine_route_options kinds;
    engine_options opt; /* as the caller gave it, with its hooks; dir is below */
    char dir[VIO_PATH_MAX];
    route_member member[ENGINE_ROUTE_SLOTS];
    uint32_t share; /* engines that divide cache_size and work_size */
    /* By the writer alone, between prepare and apply: */
    uint32_t prepared;       /* slots that were prepared and perhaps got no apply yet */
    bool pending_done;       /* an apply came since the last prepare */
    vv_buf part;             /* the operations of one engine out of an entry */
    _Atomic int64_t applied; /* newest version applied */
    _Atomic bool lagging;    /* an engine without writes is behind: take it along */
    _Atomic uint32_t turn;   /* whose work comes first */

    vv_mutex lock;    /* VV_RANK_ENGINE: checkpoints are told in order */
    int64_t reported; /* under lock: what the log was told */
    uint32_t holds;   /* under lock: of the files of every engine (route_files.c) */
    int64_t coming;   /* under lock: born of an engine being added; INT64_MAX: none */
};

static inline route *route_of(engine *e)
{
    return VV_CONTAINER_OF(e, route, base);
}

static inline uint32_t route_live(const route *r)
{
    return atomic_load_explicit(&r->live, memory_order_acquire);
}

static inline bool route_is_split(const route *r)
{
    return VV_UNLIKELY(route_live(r) != ENGINE_ROUTE_HOME);
}

/* A key may be shorter than its prefix: a bound between tables. */
static inline uint32_t route_slot(const route *r, vv_slice key)
{
    uint64_t slot = engine_key_head(key, 0) >> 32 >> r->kinds.shift;
    return slot < ENGINE_ROUTE_SLOTS && r->kinds.kind[slot] != NULL ? (uint32_t)slot : 0;
}

/* What an engine's checkpoint means for the log. */
static inline int64_t route_member_checkpoint(const route_member *m)
{
    int64_t version = m->eng->ops->checkpoint(m->eng);
    return version > m->born ? version : m->born;
}

/* ---- route.c ---- */

/* The live slots that have keys of [lower, upper), and perhaps more. */
uint32_t route_slots_between(const route *r, vv_slice lower, vv_slice upper);
/* The hooks of a member. */
engine_hooks route_hooks(route_member *m);
int64_t route_checkpoint_locked(const route *r) VV_REQUIRES(r->lock);

/* ---- route_open.c ---- */

void route_close(engine *e);

/* The file that lists the engines of these slots, as list_files names a file. */
VV_MUST_CHECK vv_status route_tell_list(route *r, uint32_t slots,
                                        vv_status (*each)(void *ctx, const engine_file *file,
                                                          vv_error *err),
                                        void *ctx, vv_error *err);

/* ---- route_files.c ---- */

void route_hold_files(engine *e);
void route_release_files(engine *e);
vv_status route_list_files(engine *e,
                           vv_status (*each)(void *ctx, const engine_file *file, vv_error *err),
                           void *ctx, int64_t *checkpoint, vv_error *err);

/* ---- route_cursor.c ---- */

/* A cursor over several engines. */
VV_MUST_CHECK vv_status route_cursor_over(route *r, uint32_t slots,
                                          const engine_cursor_options *opt, engine_cursor **out,
                                          vv_error *err);

#endif
