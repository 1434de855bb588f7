/*
 * fuzz_column.c - a column of any codec: refused, or read alike by every table of kernels, and what
 * was read comes back from each way of writing it again.
 *
 *     byte 0       0 integers, 1 doubles, 2 bools, 3 strings
 *     bytes 1-2    how many, little-endian
 *
 * The rest is the column.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/util.h"
#include "codec/column.h"
#include "codec/column_kernel.h"

#define N CODEC_COLUMN_MAX
#define CANARY UINT64_C(0xeeeeeeeeeeeeeeee)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static codec_scratch *scratch;
static vv_buf out;

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* Behind the values there is more memory, which no decoder may touch. */
typedef struct values {
    uint64_t v[N + 64];
    uint32_t n;
} values;

static vv_status decode(vv_slice in, bool doubles, values *to)
{
    for (uint32_t i = to->n < N ? to->n : N; i < ARRAY_LEN(to->v); i++)
        to->v[i] = CANARY;
    vv_status st = doubles ? codec_f64_decode(in, to->n, (double *)(void *)to->v, NULL)
                           : codec_i64_decode(in, to->n, (int64_t *)to->v, NULL);
    for (uint32_t i = to->n < N ? to->n : N; i < ARRAY_LEN(to->v); i++)
        must(to->v[i] == CANARY);
    must(st == VV_OK || st == VV_CORRUPT);
    return st;
}

static void encode(const values *x, bool doubles, unsigned form)
{
    const double *f64 = (const double *)(const void *)x->v;
    const int64_t *i64 = (const int64_t *)x->v;
    vv_buf_reset(&out);
    if (form < 2 && doubles)
        codec_f64_encode(f64, x->n, (codec_effort)form, scratch, &out);
    else if (form < 2)
        codec_time_encode(i64, x->n, (codec_effort)form, scratch, &out);
    else if (doubles)
        (void)!codec_f64_encode_as((codec_column)(form - 2), f64, x->n, scratch, &out);
    else
        (void)!codec_i64_encode_as((codec_column)(form - 2), i64, x->n, scratch, &out);
    must(out.status == VV_OK);
}

static void try_numbers(vv_slice in, uint32_t n, bool doubles)
{
    static values first;
    static values again;
    first.n = n;
    again.n = n;
    codec_kernels_set(VV_CPU_BASELINE);
    vv_status st = decode(in, doubles, &first);
    for (vv_cpu level = VV_CPU_AVX2; level <= vv_cpu_best(); level++) {
        codec_kernels_set(level);
        must(decode(in, doubles, &again) == st);
        must(st != VV_OK || memcmp(first.v, again.v, n * sizeof *first.v) == 0);
    }
    for (unsigned form = 0; st == VV_OK && form < 2 + CODEC_COL_COUNT; form++) {
        encode(&first, doubles, form);
        if (out.len == 0)
            continue; /* a codec that cannot hold them */
        must(decode(vv_buf_slice(&out), doubles, &again) == VV_OK);
        must(memcmp(first.v, again.v, n * sizeof *first.v) == 0);
    }
}

static void try_bools(vv_slice in, uint32_t n)
{
    static uint8_t first[N];
    static uint8_t again[N];
    if (codec_bool_decode(in, n, first, NULL) != VV_OK)
        return;
    vv_buf_reset(&out);
    codec_bool_encode(first, n, &out);
    must(codec_bool_decode(vv_buf_slice(&out), n, again, NULL) == VV_OK);
    must(memcmp(first, again, n) == 0);
}

static void try_strings(vv_slice in, uint32_t n)
{
    static vv_slice first[N];
    static vv_slice again[N];
    vv_arena arena;
    vv_arena other;
    vv_arena_init(&arena, VV_MIB);
    vv_arena_init(&other, 64 * VV_MIB); /* as long as a dictionary can make them */
    if (codec_string_decode(in, n, &arena, first, NULL) == VV_OK) {
        size_t total = 0;
        for (uint32_t i = 0; i < n; i++)
            total += first[i].len;
        for (unsigned effort = 0; effort < 2 && total < 8 * VV_MIB; effort++) {
            vv_buf_reset(&out);
            codec_string_encode(first, n, (codec_effort)effort, scratch, &out);
            must(out.status == VV_OK);
            vv_arena_reset(&other);
            must(codec_string_decode(vv_buf_slice(&out), n, &other, again, NULL) == VV_OK);
            for (uint32_t i = 0; i < n; i++)
                must(vv_slice_eq(first[i], again[i]));
        }
    }
    vv_arena_fini(&arena);
    vv_arena_fini(&other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3 || size > 65536)
        return 0;
    if (scratch == NULL) {
        scratch = codec_scratch_create();
        vv_buf_init(&out, 64 * VV_MIB);
        must(scratch != NULL);
    }
    uint32_t n = vv_get_le16(data + 1);
    vv_slice in = vv_slice_of(data + 3, size - 3);
    switch (data[0] % 4) {
    case 0:
    case 1:
        try_numbers(in, n, data[0] % 4 == 1);
        break;
    case 2:
        try_bools(in, n);
        break;
    default:
        try_strings(in, n);
        break;
    }
    return 0;
}
