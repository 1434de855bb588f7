/*
 * rocks_test_util.h - a directory of real files, and its end: RocksDB has a directory within.
 */
#ifndef VARVE_ROCKS_ROCKS_TEST_UTIL_H
#define VARVE_ROCKS_ROCKS_TEST_UTIL_H

#include "vv_test.h"

#include <ftw.h>
#include <unistd.h>

#include "io/env.h"

typedef struct rocks_world {
    vv_env env;
    char dir[64];
} rocks_world;

static inline vv_env *rocks_world_begin(void *ctx)
{
    rocks_world *w = ctx;
    vv_error err;
    /* In memory where that is possible: every flush syncs several times. */
    (void)snprintf(w->dir, sizeof w->dir, "/dev/shm/rocks-test-XXXXXX");
    if (mkdtemp(w->dir) == NULL) {
        (void)snprintf(w->dir, sizeof w->dir, "/tmp/rocks-test-XXXXXX");
        assert_non_null(mkdtemp(w->dir));
    }
    assert_ok(env_posix_init(&w->env, w->dir, NULL, &err), err);
    return &w->env;
}

static inline int rocks_world_remove(const char *path, const struct stat *st, int type,
                                     struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static inline void rocks_world_end(void *ctx, vv_env *env)
{
    rocks_world *w = ctx;
    vio_destroy(env->io);
    (void)nftw(w->dir, rocks_world_remove, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
