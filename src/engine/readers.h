/*
 * readers.h - who still reads what: pinned snapshots, and the floor below which nobody reads. What
 * a flush or a compaction asks before it drops a version.
 */
#ifndef VARVE_ENGINE_READERS_H
#define VARVE_ENGINE_READERS_H

#include "base/lock.h"
#include "engine/engine.h"

typedef struct engine_pin {
    int64_t version;
    int64_t time_ns;
    uint64_t count;
} engine_pin;

/* The snapshots somebody holds. */
typedef struct engine_pins {
    vv_mutex lock;    /* VV_RANK_LEAF */
    engine_pin *pins; /* by version, then time; under lock */
    uint32_t count;
    uint32_t cap;
} engine_pins;

void engine_pins_init(engine_pins *p);
void engine_pins_fini(engine_pins *p);
VV_MUST_CHECK vv_status engine_pins_add(engine_pins *p, int64_t version, int64_t time_ns,
                                        vv_error *err);
void engine_pins_remove(engine_pins *p, int64_t version, int64_t time_ns);

/* What the readers of today and tomorrow may ask of one table. */
typedef struct engine_readers {
    engine_pins *pins_of;
    const engine_hooks *hooks;
    const _Atomic int64_t *visible;
    uint32_t table;
    bool has_table;
    engine_floor floor;
    int64_t *pins; /* distinct versions, ascending */
    size_t pin_count;
    size_t pin_cap;
    int64_t pin_time; /* the oldest read time of a pin; INT64_MAX without pins */
} engine_readers;

/** Borrows all three. */
void engine_readers_init(engine_readers *r, engine_pins *pins, const engine_hooks *hooks,
                         const _Atomic int64_t *visible);
void engine_readers_fini(engine_readers *r);
/** Look at one table's readers. Cheap when it is the table looked at already. */
VV_MUST_CHECK vv_status engine_readers_enter(engine_readers *r, uint32_t table, vv_error *err);
/** True when some reader can tell a version apart from the next newer one (-1: there is none). */
bool engine_readers_need(const engine_readers *r, int64_t version, int64_t newer);
/** True when no reader is below version: what it hides may go altogether. */
bool engine_readers_are_above(const engine_readers *r, int64_t version);

#endif
