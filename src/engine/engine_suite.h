/*
 * engine_suite.h - the one conformance suite of engine_ops, run on every engine.
 *
 * A test program fills a subject and calls engine_suite_run; what it needs of the world comes from
 * the subject, so that the same tests run on the posix backend, on the simulated disk and on none.
 * VV_SEED chooses the random sizes and operations, VV_SUITE_PERCENT how many of the latter.
 */
#ifndef VARVE_ENGINE_ENGINE_SUITE_H
#define VARVE_ENGINE_ENGINE_SUITE_H

#include "engine/engine.h"

typedef struct engine_suite_subject {
    const char *name; /* shown before each test */
    const engine_ops *ops;
    /* A world with an empty disk, and the end of it; the engine under test is closed by then. The
     * env's threads may be NULL: then what needs several is left out. */
    vv_env *(*env_create)(void *ctx);
    void (*env_destroy)(void *ctx, vv_env *env);
    void *ctx;
    /* Set what this subject wants in the options (small blocks, files and caches find more); env,
     * dir, hooks, budget and memtable sizes are set before. May be NULL. Random ones by the seed.
     */
    void (*tune)(engine_options *opt, uint64_t seed);
    bool touched_forgets; /* VV_UNSUPPORTED since a version below the checkpoint is an answer */
    bool apply_may_fail;  /* with VV_NO_MEMORY: only the reference model may */
    uint32_t engines;     /* that one freeze freezes: 0 is 1 */
    uint64_t model_ops;   /* random operations of the model test; 0: 20,000; 50,000 on real files */
} engine_suite_subject;

/** Run all; the number of tests that failed. Prints as cmocka does. */
int engine_suite_run(const engine_suite_subject *subject);

/** As engine_suite_run, in one of two worlds: without an argument on the simulated disk, with the
 * name of an I/O backend on real files. subject->tune is for the simulated disk; its env_create,
 * env_destroy and ctx are not looked at.
 * @param tune_real  may be NULL
 */
int engine_suite_main(int argc, char **argv, const engine_suite_subject *subject,
                      void (*tune_real)(engine_options *opt, uint64_t seed));

/** One writer, two readers and the background on real files, until all has happened (at least
 * VV_THREADS_MS): readers must see whole batches of one snapshot. The number of tests that failed.
 */
int engine_suite_run_threads(const engine_ops *ops);

#endif
