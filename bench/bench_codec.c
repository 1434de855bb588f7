/*
 * bench_codec.c - what each codec of a column makes of each sample series, beside zstd and lz4.
 *
 *   bench_codec DIR... [--rounds N]      default 15 rounds; DIRs hold CSV files: timestamp_ms,value
 *
 * Columns of 1,024 values; bytes a value with all heads, nanoseconds a value of encoding and of
 * decoding, the least of the rounds, on one thread with warm caches; every decoded value is
 * compared bit for bit. zstd and lz4 get the raw values of the same columns. One JSON line a series
 * and codec, then the mean over the series of the files; "tsbs_*" are generated walks and not in
 * the mean. Backs the figures on codecs of docs/PERFORMANCE.md.
 */
#include <dirent.h>
#include <inttypes.h>
#include <lz4.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "base/util.h"
#include "codec/column.h"
#include "codec/column_kernel.h"
#include "io/env.h"

#define VALUES_MAX 131072u
#define N CODEC_COLUMN_MAX
#define COLUMNS_MAX (VALUES_MAX / N)
#define SERIES_MAX 128u
#define STORED_MAX (2u * N * 8)

typedef enum { TIMES, VALUES } what;

/* A codec of the table that is printed. */
typedef struct method {
    const char *name;
    what what;
    int kind; /* a codec_column, or one of the below */
} method;

enum { FAST = -1, BEST = -2, ZSTD = -3, LZ4 = -4 };

static const method methods[] = {
    {"values: raw", VALUES, CODEC_COL_RAW},
    {"values: gorilla", VALUES, CODEC_COL_GORILLA},
    {"values: chimp128", VALUES, CODEC_COL_CHIMP128},
    {"values: decimal", VALUES, CODEC_COL_DECIMAL},
    {"values: dict", VALUES, CODEC_COL_DICT},
    {"values: ordered_int", VALUES, CODEC_COL_ORDERED_INT},
    {"values: fast", VALUES, FAST},
    {"values: best", VALUES, BEST},
    {"values: zstd-1", VALUES, ZSTD},
    {"values: lz4", VALUES, LZ4},
    {"times: gorilla_time", TIMES, CODEC_COL_GORILLA_TIME},
    {"times: int", TIMES, CODEC_COL_INT},
    {"times: best", TIMES, BEST},
    {"times: zstd-1", TIMES, ZSTD},
};

typedef struct series {
    char name[96];
    uint32_t count;
    bool generated;
    int64_t *time;
    double *value;
} series;

typedef struct totals {
    double bytes;
    double encode_ns;
    double decode_ns;
    uint32_t series;
} totals;

typedef struct bench {
    unsigned rounds;
    codec_scratch *scratch;
    ZSTD_CCtx *zstd_c;
    ZSTD_DCtx *zstd_d;
    vv_buf column[COLUMNS_MAX];
    uint8_t back[N * 8];
    totals mean[ARRAY_LEN(methods)];
} bench;

static void fail(const char *what_failed, const char *name)
{
    (void)fprintf(stderr, "bench_codec: %s: %s\n", what_failed, name);
    exit(1);
}

static void *must_alloc(size_t size)
{
    void *p = vv_alloc(size);
    if (p == NULL)
        fail("out of memory", "");
    return p;
}

static int64_t now(void)
{
    return vv_clock_mono(vv_clock_real());
}

static void series_make(series *s, const char *name)
{
    *s = (series){.time = must_alloc(VALUES_MAX * 8), .value = must_alloc(VALUES_MAX * 8)};
    (void)snprintf(s->name, sizeof s->name, "%s", name);
}

static void series_read(series *s, const char *dir, const char *file)
{
    char path[4096];
    char line[256];
    (void)snprintf(path, sizeof path, "%s/%s", dir, file);
    const char *folder = strrchr(dir, '/');
    char name[512];
    (void)snprintf(name, sizeof name, "%s/%s", folder == NULL ? dir : folder + 1, file);
    name[strlen(name) - 4] = '\0';
    series_make(s, name);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        fail("cannot open", path);
    while (s->count < VALUES_MAX && fgets(line, sizeof line, f) != NULL) {
        char *comma = strchr(line, ',');
        if (comma == NULL || (line[0] != '-' && (line[0] < '0' || line[0] > '9')))
            continue;
        s->time[s->count] = strtoll(line, NULL, 10) * VV_NS_PER_MS;
        s->value[s->count++] = strtod(comma + 1, NULL);
    }
    (void)fclose(f);
    if (s->count < N)
        fail("fewer than 1,024 values", path);
    s->count -= s->count % N;
}

/* The sum of twelve uniform numbers, less six: near enough to a normal one. */
static double normal(vv_rng *rng)
{
    double sum = 0;
    for (unsigned i = 0; i < 12; i++)
        sum += (double)(vv_rng_next(rng) >> 11) / 9007199254740992.0;
    return sum - 6;
}

/* TSBS cpu-only: a walk of normal steps in [0, 100], every 10 s. */
static void series_walk(series *s, const char *name, double digits)
{
    vv_rng rng;
    vv_rng_init(&rng, 1);
    series_make(s, name);
    s->generated = true;
    s->count = 64 * N;
    double x = 50;
    for (uint32_t i = 0; i < s->count; i++) {
        x += normal(&rng);
        x = x < 0 ? 0 : x > 100 ? 100 : x;
        s->time[i] = INT64_C(1700000000) * VV_NS_PER_S + i * 10 * VV_NS_PER_S;
        s->value[i] = digits == 0 ? x : (double)(int64_t)(x * digits) / digits;
    }
}

static bool encode(bench *b, const method *m, const series *s, uint32_t at, vv_buf *out)
{
    vv_buf_reset(out);
    const int64_t *t = s->time + at;
    const double *v = s->value + at;
    const void *raw = m->what == TIMES ? (const void *)t : (const void *)v;
    switch (m->kind) {
    case ZSTD:
        out->len = ZSTD_compressCCtx(b->zstd_c, out->data, STORED_MAX, raw, N * 8, 1);
        return !ZSTD_isError(out->len);
    case LZ4:
        out->len = (size_t)LZ4_compress_default(raw, (char *)out->data, N * 8, STORED_MAX);
        return out->len > 0;
    case FAST:
    case BEST:
        if (m->what == TIMES)
            codec_time_encode(t, N, m->kind == BEST ? CODEC_BEST : CODEC_FAST, b->scratch, out);
        else
            codec_f64_encode(v, N, m->kind == BEST ? CODEC_BEST : CODEC_FAST, b->scratch, out);
        return out->status == VV_OK;
    default:
        return (m->what == TIMES ? codec_i64_encode_as(m->kind, t, N, b->scratch, out)
                                 : codec_f64_encode_as(m->kind, v, N, b->scratch, out)) == VV_OK;
    }
}

static bool decode(bench *b, const method *m, vv_slice in)
{
    void *back = b->back;
    switch (m->kind) {
    case ZSTD:
        return ZSTD_decompressDCtx(b->zstd_d, back, N * 8, in.data, in.len) == N * 8;
    case LZ4:
        return LZ4_decompress_safe((const char *)in.data, back, (int)in.len, N * 8) == N * 8;
    default:
        return (m->what == TIMES ? codec_i64_decode(in, N, back, NULL)
                                 : codec_f64_decode(in, N, back, NULL)) == VV_OK;
    }
}

static void print(const char *name, const char *codec, const totals *t)
{
    const char *commit = getenv("VARVE_COMMIT");
    (void)printf("{\"bench\":\"codec\",\"series\":\"%s\",\"codec\":\"%s\",\"count\":%" PRIu32
                 ",\"bytes\":%.3f,\"encode_ns\":%.2f,\"decode_ns\":%.2f,\"cpu\":\"%s\","
                 "\"commit\":\"%s\"}\n",
                 name, codec, t->series, t->bytes, t->encode_ns, t->decode_ns,
                 vv_cpu_name(vv_cpu_level()), commit == NULL ? "unknown" : commit);
    (void)fflush(stdout);
}

static void measure(bench *b, const series *s, unsigned which)
{
    const method *m = &methods[which];
    uint32_t columns = s->count / N;
    int64_t encode_ns = INT64_MAX;
    int64_t decode_ns = INT64_MAX;
    size_t bytes = 0;
    for (uint32_t c = 0; c < columns; c++) {
        if (!encode(b, m, s, c * N, &b->column[c]))
            return; /* a codec that cannot hold the series */
        bytes += b->column[c].len;
        const void *raw = m->what == TIMES ? (void *)(s->time + c * N) : (void *)(s->value + c * N);
        if (!decode(b, m, vv_buf_slice(&b->column[c])) || memcmp(b->back, raw, N * 8) != 0)
            fail("a value did not come back", m->name);
    }
    for (unsigned round = 0; round < b->rounds; round++) {
        int64_t start = now();
        for (uint32_t c = 0; c < columns; c++)
            (void)encode(b, m, s, c * N, &b->column[c]);
        int64_t middle = now();
        for (uint32_t c = 0; c < columns; c++)
            (void)decode(b, m, vv_buf_slice(&b->column[c]));
        int64_t end = now();
        encode_ns = middle - start < encode_ns ? middle - start : encode_ns;
        decode_ns = end - middle < decode_ns ? end - middle : decode_ns;
    }
    totals t = {.bytes = (double)bytes / s->count,
                .encode_ns = (double)encode_ns / s->count,
                .decode_ns = (double)decode_ns / s->count,
                .series = s->count};
    print(s->name, m->name, &t);
    if (s->generated)
        return;
    b->mean[which].bytes += t.bytes;
    b->mean[which].encode_ns += t.encode_ns;
    b->mean[which].decode_ns += t.decode_ns;
    b->mean[which].series++;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const series *)a)->name, ((const series *)b)->name);
}

static uint32_t read_dir(const char *dir, series *s, uint32_t count)
{
    DIR *d = opendir(dir);
    if (d == NULL)
        fail("cannot open", dir);
    for (struct dirent *e; (e = readdir(d)) != NULL && count < SERIES_MAX;) {
        size_t len = strlen(e->d_name);
        if (len > 4 && strcmp(e->d_name + len - 4, ".csv") == 0)
            series_read(&s[count++], dir, e->d_name);
    }
    (void)closedir(d);
    return count;
}

int main(int argc, char **argv)
{
    static bench b = {.rounds = 15};
    static series s[SERIES_MAX + 3];
    uint32_t count = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc)
            b.rounds = (unsigned)atoi(argv[++i]);
        else
            count = read_dir(argv[i], s, count);
    }
    if (count == 0 || b.rounds == 0) {
        (void)fprintf(stderr, "usage: bench_codec [--rounds N] DIR...\n");
        return 2;
    }
    qsort(s, count, sizeof *s, by_name);
    series_walk(&s[count++], "tsbs_int", 1);
    series_walk(&s[count++], "tsbs_dec2", 100);
    series_walk(&s[count++], "tsbs_full", 0);
    b.scratch = codec_scratch_create();
    b.zstd_c = ZSTD_createCCtx();
    b.zstd_d = ZSTD_createDCtx();
    if (b.scratch == NULL || b.zstd_c == NULL || b.zstd_d == NULL)
        fail("out of memory", "");
    for (uint32_t c = 0; c < COLUMNS_MAX; c++) {
        vv_buf_init(&b.column[c], STORED_MAX);
        if (vv_buf_reserve(&b.column[c], STORED_MAX) == NULL)
            fail("out of memory", "");
    }
    for (uint32_t i = 0; i < count; i++)
        for (unsigned m = 0; m < ARRAY_LEN(methods); m++)
            measure(&b, &s[i], m);
    for (unsigned m = 0; m < ARRAY_LEN(methods); m++) {
        totals t = b.mean[m];
        if (t.series > 0)
            print("mean", methods[m].name,
                  &(totals){t.bytes / t.series, t.encode_ns / t.series, t.decode_ns / t.series,
                            t.series});
    }
    return 0;
}
