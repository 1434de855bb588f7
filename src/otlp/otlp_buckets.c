/*
 * otlp_buckets.c - the buckets of histograms as upper bounds and the counts up to them.
 *
 * Those of an exponential histogram lie between powers of a base, 2^(2^-scale), on both sides of
 * zero:
 *
 *     -b^(i+1) .. -b^i   ...   [-threshold .. threshold]   ...   b^i .. b^(i+1)
 *
 * Bucket i of a scale holds buckets 2i and 2i + 1 of the next one, so a histogram that is scaled
 * down keeps every second of its bounds, and exactly those: a bound is worked out of index *
 * 2^-scale, which is the same number for both. Series of those bounds go on.
 *
 * Each side begins with the bound at which nothing is counted yet: who interpolates within its
 * first bucket needs it. What double cannot tell apart is one bound.
 *
 * https://opentelemetry.io/docs/specs/otel/metrics/data-model/#exponentialhistogram
 */
#include <math.h>

#include "otlp/otlp_int.h"

#define SCALE_FAR 4096 /* beyond it all bounds are 1, or none is finite */

/* A walk over a repeated field of numbers, packed or not, or both. */
typedef struct numbers {
    wire_reader message;
    wire_reader packed;
    uint32_t number;
    wire_type type;
} numbers;

static bool next_number(numbers *n, uint64_t *out)
{
    wire_field f = {0};
    while (n->packed.next == n->packed.end) {
        if (wire_next(&n->message, &f) <= 0)
            return false;
        if (f.number != n->number)
            continue;
        if (f.type == WIRE_BYTES) {
            n->packed = wire_reader_of(f.bytes);
            continue;
        }
        *out = f.value;
        return true;
    }
    return wire_value(&n->packed, n->type, out);
}

static numbers numbers_of(vv_slice message, uint32_t number, wire_type type)
{
    return (numbers){.message = wire_reader_of(message), .number = number, .type = type};
}

static const char many[] = "it has more than 4,096 buckets";
static_assert(OTLP_BUCKETS_MAX == 4096, "as the sentence has it");

/* The end: everything, what lies in no bucket too. */
static void finish(otlp_buckets *out, double total, uint64_t count)
{
    const double all = (double)count > total ? (double)count : total;
    if (out->count == 0 || out->item[out->count - 1].le < INFINITY)
        out->item[out->count++].le = INFINITY;
    out->item[out->count - 1].total = all;
}

const char *otlp_buckets_explicit(vv_slice point, uint64_t count, otlp_buckets *out)
{
    numbers counts = numbers_of(point, 6, WIRE_FIXED64);
    numbers bounds = numbers_of(point, 7, WIRE_FIXED64);
    uint64_t v = 0;
    uint64_t bound = 0;
    size_t bound_count = 0;
    size_t n = 0;
    double total = 0;
    double before = -INFINITY;
    for (out->count = 0; next_number(&counts, &v); n++) {
        if (n > OTLP_BUCKETS_MAX)
            return many;
        total += (double)v;
        if (!next_number(&bounds, &bound))
            continue;
        if (!(wire_double(bound) > before))
            return "its bucket bounds do not ascend";
        before = wire_double(bound);
        out->item[bound_count++] = (otlp_bucket){before, total};
    }
    if (next_number(&bounds, &bound) || (n > 0 && n != bound_count + 1))
        return "it has not one bucket count more than bounds";
    out->count = bound_count;
    finish(out, total, count);
    return NULL;
}

/* ---- exponential ---- */

typedef struct side {
    int64_t offset;
    size_t count;
    uint64_t *counts; /* [OTLP_BUCKETS_MAX] */
} side;

static int32_t zigzag(uint64_t v)
{
    const uint32_t u = (uint32_t)v;
    return (int32_t)(u >> 1 ^ (~(u & 1) + 1));
}

static const char *read_side(vv_slice message, side *out)
{
    wire_reader r = wire_reader_of(message);
    wire_field f = {0};
    numbers counts = numbers_of(message, 2, WIRE_VARINT);
    uint64_t v = 0;
    while (wire_next(&r, &f) > 0)
        if (f.number == 1)
            out->offset = zigzag(f.value);
    while (next_number(&counts, &v)) {
        if (out->count == OTLP_BUCKETS_MAX)
            return many;
        out->counts[out->count++] = v;
    }
    return NULL;
}

/* The lower bound of bucket index. */
static double bound_of(int64_t index, int32_t scale)
{
    const int by = scale > SCALE_FAR ? -SCALE_FAR : scale < -SCALE_FAR ? SCALE_FAR : -scale;
    return exp2(ldexp((double)index, by));
}

/* Up to le there are total. */
static void add(otlp_buckets *out, double le, double total)
{
    le += 0.0; /* -0 is 0 */
    if (out->count > 0 && le <= out->item[out->count - 1].le)
        out->item[out->count - 1].total = total;
    else if (le > -INFINITY)
        out->item[out->count++] = (otlp_bucket){le, total};
}

static double add_negative(otlp_buckets *out, const side *s, int32_t scale)
{
    double total = 0;
    if (s->count > 0)
        add(out, -bound_of(s->offset + (int64_t)s->count, scale), total);
    for (size_t k = s->count; k-- > 0;) {
        total += (double)s->counts[k];
        add(out, -bound_of(s->offset + (int64_t)k, scale), total);
    }
    return total;
}

static double add_positive(otlp_buckets *out, const side *s, int32_t scale, double total)
{
    if (s->count > 0)
        add(out, bound_of(s->offset, scale), total);
    for (size_t k = 0; k < s->count; k++) {
        total += (double)s->counts[k];
        add(out, bound_of(s->offset + (int64_t)k + 1, scale), total);
    }
    return total;
}

const char *otlp_buckets_exponential(vv_slice point, uint64_t count, otlp_buckets *out)
{
    wire_reader r = wire_reader_of(point);
    wire_field f = {0};
    side positive = {.counts = out->scratch[0]};
    side negative = {.counts = out->scratch[1]};
    vv_slice up = {0};
    vv_slice down = {0};
    int32_t scale = 0;
    double zeros = 0;
    double threshold = 0;
    while (wire_next(&r, &f) > 0) {
        if (f.number == 6)
            scale = zigzag(f.value);
        else if (f.number == 7)
            zeros = (double)f.value;
        else if (f.number == 8)
            up = f.bytes;
        else if (f.number == 9)
            down = f.bytes;
        else if (f.number == 14)
            threshold = wire_double(f.value);
    }
    const char *why = read_side(up, &positive);
    if (why == NULL)
        why = read_side(down, &negative);
    if (why == NULL && !(threshold >= 0 && threshold < INFINITY))
        why = "its zero threshold is no number of 0 or more";
    if (why != NULL)
        return why;
    out->count = 0;
    double total = add_negative(out, &negative, scale) + zeros;
    if (zeros > 0 || threshold > 0 || positive.count + negative.count > 0)
        add(out, threshold, total);
    finish(out, add_positive(out, &positive, scale, total), count);
    return NULL;
}
