/*
 * crash_model.h - a random workload on a store, and what the store must hold after anything.
 *
 * The workload is one thread of operations over a few tables; beside it runs a model whose whole
 * state is small enough to be copied after each operation. The log is one order for all shards, so
 * after a crash the store must equal the state after some prefix of the operations: at least up to
 * the last one whose promise covers what happened (sync for a power cut, sync or os for a kill).
 */
#ifndef VARVE_TESTS_CRASH_CRASH_MODEL_H
#define VARVE_TESTS_CRASH_CRASH_MODEL_H

#include "base/rng.h"
#include "db/db_test_util.h"

#define MODEL_TABLES 5u
#define MODEL_KEYS 40u
#define MODEL_SHARDS 3u
#define MODEL_PRODUCERS 2u
#define MODEL_HISTORY 400u
#define MODEL_SNAPSHOTS 2u

typedef struct model_state {
    uint64_t born[MODEL_TABLES];              /* 0: the table does not exist */
    uint64_t value[MODEL_TABLES][MODEL_KEYS]; /* id of the value; 0: absent */
    uint64_t position[MODEL_SHARDS][MODEL_PRODUCERS];
} model_state;

typedef struct model_snapshot {
    vv_snapshot *at;
    model_state state;
} model_snapshot;

typedef struct model {
    sim_world world;
    vv_rng rng;
    uint64_t next_id;     /* values and births are numbered: each occurs once */
    model_state *history; /* [0] the state at the last open, then one after each operation */
    size_t last;          /* newest of them */
    size_t synced;        /* newest that a power cut cannot take */
    size_t os;            /* newest that a kill cannot take */
    bool last_unknown;    /* the newest was not answered: it may be there or not */
    vv_table *table[MODEL_TABLES];
    model_snapshot snapshot[MODEL_SNAPSHOTS];
    uint64_t operations;
    bool mixed;         /* neighbouring tables are of different engines */
    bool spread;        /* tables have partitions; a batch keeps to keys of one shard */
    uint32_t shard;     /* that the batch under way is of; MODEL_SHARDS: none yet */
    bool expect_damage; /* reads may answer VV_CORRUPT */
} model;

typedef enum model_end {
    MODEL_DONE,   /* all steps were answered */
    MODEL_FAILED, /* the store stopped answering: power cut or a fault it latched */
} model_end;

void model_init(model *m, uint64_t seed);
void model_fini(model *m);

/** Power on and open. On VV_OK the tables are open and nothing is known of the state yet. */
vv_status model_open(model *m, const vio_sim_options *sim, vv_error *err);
/** Run count random operations. */
model_end model_run(model *m, unsigned count);
/** Leave the store as a crash does; the power is off afterwards. */
void model_abandon(model *m);
/** Close in good order. */
vv_status model_close(model *m, vv_error *err);

/** The store equals one of the states that its promises allow, and goes on from there. */
void model_verify(model *m, bool was_kill);
/** What the store holds now. VV_CORRUPT (or another failure) when a read was refused. */
vv_status model_read(model *m, const vv_snapshot *snapshot, model_state *out, vv_error *err);
/** The newest allowed state that equals actual, or -1. */
long model_match(const model *m, const model_state *actual, size_t oldest);
/** Run vv_check on the closed store and fail on any finding. */
void model_check_clean(model *m);

#endif
