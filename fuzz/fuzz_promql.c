/*
 * fuzz_promql.c - any text as a query: it is read or refused, and what is read can be evaluated.
 */
#include <stddef.h>

#include "promql/promql.h"

static vv_status nothing(void *ctx, const vv_matcher *matchers, size_t matcher_count,
                         int64_t start_ns, int64_t end_ns, vv_arena *arena,
                         const promql_series **out, size_t *count, vv_error *err)
{
    static const vv_label labels[] = {{{(const uint8_t *)"a", 1}, {(const uint8_t *)"b", 1}}};
    static const int64_t time_ns[] = {0, 1000000000};
    static const double value[] = {1, 0.5};
    static const promql_series series = {labels, 1, time_ns, value, 2};
    (void)ctx, (void)matchers, (void)matcher_count, (void)start_ns, (void)end_ns, (void)arena;
    (void)err;
    *out = &series;
    *count = 1;
    return VV_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    promql_expr *expr = NULL;
    vv_error err;
    if (promql_parse(vv_slice_of(data, size), &expr, &err) != VV_OK)
        return 0;
    const promql_source source = {.select = nothing};
    const promql_options opt = {.end_ns = 2000000000, .step_ns = 1000000000};
    vv_arena arena;
    vv_arena_init(&arena, 1 << 20);
    promql_result result;
    vv_status st = promql_eval(expr, &source, &opt, &arena, &result, &err);
    if (st == VV_OK && result.steps == 0)
        __builtin_trap();
    vv_arena_fini(&arena);
    promql_free(expr);
    return 0;
}
