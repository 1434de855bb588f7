#include "vv_test.h"

#include "engine/engine_suite.h"
#include "io/env.h"

/* The model needs nothing of the world but, for one test, threads. */
static vv_env *make_env(void *ctx)
{
    (void)ctx;
    static vv_env env;
    env = (vv_env){.clock = vv_clock_real(), .threads = vv_threads_real(), .seed = 1};
    return &env;
}

static void drop_env(void *ctx, vv_env *env)
{
    (void)ctx;
    (void)env;
}

int main(void)
{
    const engine_suite_subject memory = {
        .name = "engine_suite on memory",
        .ops = &engine_memory_ops,
        .env_create = make_env,
        .env_destroy = drop_env,
        .apply_may_fail = true,
    };
    return engine_suite_run(&memory);
}
