/*
 * bench_series_fold.c - what sets of samples cost: nanoseconds a sample, one JSON line a figure.
 *
 *   bench_series_fold [milliseconds a figure]      default 200
 *
 * Values are a walk with two decimals, a sample every 10 s. "append" encodes one operand of n
 * samples; "read" folds operands of n samples in a row, 1,000 samples together, into what a reader
 * gets; "file" into what a flush writes; "late" likewise with every tenth operand in the midst of
 * the others. "window" answers averages from chunks: decoded, and from their summaries. Backs the
 * claims of docs/PERFORMANCE.md about series.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/rng.h"
#include "base/util.h"
#include "io/env.h"
#include "series/fold.h"
#include "series/window.h"

#define SAMPLES 1000u
#define STEP_NS (10 * VV_NS_PER_S)

typedef struct bench {
    int64_t budget_ns;
    int64_t time[SAMPLES];
    double value[SAMPLES];
    vv_buf set[SAMPLES];
    series_scratch scratch;
    series_fold *fold;
    vv_buf out;
    uint64_t sink;
} bench;

static bench b;

static int64_t now(void)
{
    return vv_clock_mono(vv_clock_real());
}

static void must(vv_status st)
{
    if (st == VV_OK)
        return;
    (void)fprintf(stderr, "bench_series_fold: %s\n", vv_status_name(st));
    exit(1);
}

static void report(const char *figure, uint32_t n, int64_t ns, uint64_t samples, uint64_t bytes)
{
    const char *commit = getenv("VARVE_COMMIT");
    (void)printf("{\"bench\":\"series_fold\",\"figure\":\"%s\",\"samples_an_operand\":%u,"
                 "\"ns_a_sample\":%.2f,\"bytes_a_sample\":%.2f,\"commit\":\"%s\"}\n",
                 figure, n, (double)ns / (double)samples, (double)bytes / (double)samples,
                 commit == NULL ? "" : commit);
}

static series_samples part(uint32_t from, uint32_t n)
{
    const series_samples all = {
        .type = SERIES_F64, .count = SAMPLES, .time = b.time, .value = {.f64 = b.value}};
    return series_samples_part(&all, from, n);
}

static void bench_append(uint32_t n)
{
    uint64_t samples = 0;
    uint64_t bytes = 0;
    int64_t start = now();
    int64_t end = start;
    do {
        for (uint32_t at = 0; at + n <= SAMPLES; at += n) {
            series_samples s = part(at, n);
            vv_buf_reset(&b.out);
            must(series_set_encode(&s, SERIES_OPEN, &b.scratch, &b.out, NULL));
            samples += n;
            bytes += b.out.len;
        }
        end = now();
    } while (end - start < b.budget_ns);
    report("append", n, end - start, samples, bytes);
}

static uint32_t make_sets(uint32_t n, bool late)
{
    uint32_t sets = SAMPLES / n;
    for (uint32_t i = 0; i < sets; i++) {
        uint32_t at = i;
        if (late && i % 10 == 9)
            at = i / 2; /* written over */
        series_samples s = part(at * n, n);
        vv_buf_reset(&b.set[i]);
        must(series_set_encode(&s, SERIES_OPEN, &b.scratch, &b.set[i], NULL));
    }
    return sets;
}

static void bench_fold(const char *figure, uint32_t n, bool late, series_form form)
{
    uint32_t sets = make_sets(n, late);
    uint64_t samples = 0;
    uint64_t bytes = 0;
    int64_t start = now();
    int64_t end = start;
    do {
        series_fold_reset(b.fold);
        for (uint32_t i = sets; i-- > 0;)
            must(series_fold_push(b.fold, vv_buf_slice(&b.set[i]), NULL));
        vv_buf_reset(&b.out);
        must(series_fold_value(b.fold, form, &b.out, NULL));
        samples += (uint64_t)sets * n;
        bytes += b.out.len;
        end = now();
    } while (end - start < b.budget_ns);
    report(figure, n, end - start, samples, bytes);
}

static void bench_window(const char *figure, bool without_summaries)
{
    series_points points;
    series_points_init(&points);
    series_samples s = part(0, SAMPLES);
    vv_buf_reset(&b.out);
    must(series_set_encode(&s, SERIES_COMPACT, &b.scratch, &b.out, NULL));
    const series_window_options o = {.aggregate = SERIES_AGG_AVG,
                                     .start = 0,
                                     .end = SAMPLES * STEP_NS,
                                     .without_summaries = without_summaries};
    uint64_t samples = 0;
    int64_t start = now();
    int64_t end = start;
    series_window w;
    series_window_init(&w, &o, &points);
    do {
        series_points_clear(&points);
        series_window_restart(&w);
        must(series_window_set(&w, vv_buf_slice(&b.out), 0, NULL));
        must(series_window_finish(&w, NULL));
        b.sink += points.count;
        samples += SAMPLES;
        end = now();
    } while (end - start < b.budget_ns);
    series_window_fini(&w);
    series_points_fini(&points);
    report(figure, SAMPLES, end - start, samples, 0);
}

int main(int argc, char **argv)
{
    static const uint32_t sizes[] = {1, 10, 100, 1000};
    vv_rng rng;
    b.budget_ns = (argc > 1 ? atoi(argv[1]) : 200) * VV_NS_PER_MS;
    vv_rng_init(&rng, 1);
    int64_t walk = 2000;
    for (uint32_t i = 0; i < SAMPLES; i++) {
        walk += (int64_t)vv_rng_below(&rng, 201) - 100;
        b.time[i] = i * STEP_NS;
        b.value[i] = (double)walk / 100;
        vv_buf_init(&b.set[i], VV_MIB);
    }
    vv_buf_init(&b.out, 64 * VV_MIB);
    series_scratch_init(&b.scratch);
    b.fold = series_fold_create();
    if (b.fold == NULL)
        must(VV_NO_MEMORY);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        bench_append(sizes[i]);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        bench_fold("read", sizes[i], false, SERIES_RAW);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        bench_fold("file", sizes[i], false, SERIES_COMPACT);
    bench_fold("late", 10, true, SERIES_RAW);
    bench_window("window decoded", true);
    bench_window("window from summaries", false);
    series_fold_destroy(b.fold);
    series_scratch_fini(&b.scratch);
    vv_buf_fini(&b.out);
    for (uint32_t i = 0; i < SAMPLES; i++)
        vv_buf_fini(&b.set[i]);
    return b.sink == 0;
}
