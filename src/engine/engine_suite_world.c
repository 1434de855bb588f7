/*
 * engine_suite_world.c - the worlds the suite runs in: the simulated disk, and real files through
 * each I/O backend.
 */
#include "vv_test.h"

#include <unistd.h>

#include "engine/engine_suite.h"
#include "io/env.h"
#include "io/vio_sim.h"

typedef struct sim_world {
    vv_env env;
    vio_sim_disk *disk;
} sim_world;

static vv_env *make_sim(void *ctx)
{
    sim_world *w = ctx;
    vv_error err;
    w->disk = vio_sim_disk_create();
    assert_non_null(w->disk);
    assert_ok(vio_sim_open(w->disk, &(vio_sim_options){.seed = 1}, &w->env.io, &err), err);
    w->env.clock = vio_sim_clock(w->disk);
    w->env.seed = 1;
    return &w->env;
}

static void drop_sim(void *ctx, vv_env *env)
{
    sim_world *w = ctx;
    vio_destroy(env->io);
    vio_sim_disk_destroy(w->disk);
}

static vio_backend posix_backend;

static char posix_dir[64];

static vv_env *make_posix(void *ctx)
{
    vv_env *env = ctx;
    vv_error err;
    /* In memory where that is possible: the suite syncs some ten thousand times. */
    (void)snprintf(posix_dir, sizeof posix_dir, "/dev/shm/engine-suite-XXXXXX");
    if (mkdtemp(posix_dir) == NULL) {
        (void)snprintf(posix_dir, sizeof posix_dir, "/tmp/engine-suite-XXXXXX");
        assert_non_null(mkdtemp(posix_dir));
    }
    assert_ok(env_posix_open(env, posix_dir, &(vio_posix_options){.backend = posix_backend}, &err),
              err);
    return env;
}

static void remove_file(void *ctx, const char *name)
{
    vv_env *env = ctx;
    char path[VIO_PATH_MAX];
    (void)snprintf(path, sizeof path, "shard-0/%s", name);
    (void)!vio_remove(env->io, path, NULL);
}

static void drop_posix(void *ctx, vv_env *env)
{
    (void)ctx;
    (void)!vio_list(env->io, "shard-0", remove_file, env, NULL);
    (void)!vio_remove(env->io, "shard-0", NULL);
    vio_destroy(env->io);
    (void)rmdir(posix_dir);
}

/* Whether this machine has it: asked for a ring it may answer with threads. */
static bool is_there(vio_backend backend)
{
    vio *io = NULL;
    if (vio_posix_open("/tmp", &(vio_posix_options){.backend = backend}, &io, NULL) != VV_OK)
        return false;
    bool is = vio_posix_backend(io) == backend;
    vio_destroy(io);
    return is;
}

int engine_suite_main(int argc, char **argv, const engine_suite_subject *subject,
                      void (*tune_real)(engine_options *opt, uint64_t seed))
{
    sim_world world = {0};
    vv_env env = {0};
    engine_suite_subject s = *subject;
    s.env_create = make_sim;
    s.env_destroy = drop_sim;
    s.ctx = &world;
    if (argc > 1) {
        posix_backend = VIO_BACKEND_POSIX;
        while (posix_backend <= VIO_BACKEND_RING &&
               strcmp(argv[1], vio_backend_name(posix_backend)) != 0)
            posix_backend++;
        if (posix_backend > VIO_BACKEND_RING) {
            print_error("%s: no I/O backend has this name\n", argv[1]);
            return 2;
        }
        if (!is_there(posix_backend)) {
            print_message("SKIPPED: no %s here\n", argv[1]);
            return SKIPPED;
        }
        s.env_create = make_posix;
        s.env_destroy = drop_posix;
        s.ctx = &env;
        s.tune = tune_real;
        s.model_ops = 50000;
    }
    print_message("engine_suite on %s, %s\n", s.name, argc > 1 ? argv[1] : "simulated disk");
    return engine_suite_run(&s);
}
