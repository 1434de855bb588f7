/*
 * bench_archive.c - a batch of messages to an object and back, one JSON line.
 *
 *     bench_archive [MiB of messages [codec [level]]]        codec: zstd, lz4, plain
 *
 * Rows: messages of about 256 bytes to an object in memory, and `zstd -1` (the library, one frame)
 * of the same encoded bytes in the same run, both on one core, five times in turn, the best of
 * each; all messages read back; one message by its offset, with the index at hand and without. It
 * backs the claims that a batch is written at 80 % of zstd -1 at least, no larger than it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <zstd.h>

#include "archive/archive.h"
#include "base/error.h"
#include "base/rng.h"
#include "base/util.h"

#define ROUNDS 5
#define ONES 2000
#define VALUE_MAX 400u

typedef struct bytes {
    uint8_t *data;
    size_t len;
    size_t cap;
} bytes;

typedef struct input {
    uint8_t *values; /* [count][VALUE_MAX] */
    uint32_t *len;
    uint64_t count;
    vv_buf encoded; /* what zstd gets */
} input;

/* Of the processor: all of this runs on one, in memory, whatever else the machine does. */
static int64_t now(void)
{
    struct timespec t;
    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) != 0)
        exit(1);
    return t.tv_sec * VV_NS_PER_S + t.tv_nsec;
}

static void must(vv_status st, const vv_error *err)
{
    if (st == VV_OK)
        return;
    (void)fprintf(stderr, "bench_archive: %s: %s\n", vv_status_name(st), err->msg);
    exit(1);
}

static vv_status write_bytes(void *ctx, const void *data, size_t len, vv_error *err)
{
    bytes *b = ctx;
    if (len > b->cap - b->len)
        return vv_fail(err, VV_NO_SPACE, "the object is larger than its messages");
    memcpy(b->data + b->len, data, len);
    b->len += len;
    return VV_OK;
}

static vv_status read_bytes(void *ctx, uint64_t offset, void *out, size_t len, vv_error *err)
{
    const bytes *b = ctx;
    (void)err;
    memcpy(out, b->data + offset, len);
    return VV_OK;
}

/* What devices say: the same words, other numbers. */
static uint32_t make_value(vv_rng *rng, uint8_t *out)
{
    return (uint32_t)snprintf(
        (char *)out, VALUE_MAX,
        "{\"device\":\"sensor-%05u\",\"site\":\"plant-%u/line-%u\",\"temperature\":%u.%02u,"
        "\"pressure\":%u.%03u,\"vibration\":[%u,%u,%u],\"state\":\"%s\",\"firmware\":\"v1.%u.%u\","
        "\"trace\":\"%016llx%016llx\"}",
        (unsigned)vv_rng_below(rng, 20000), (unsigned)vv_rng_below(rng, 8),
        (unsigned)vv_rng_below(rng, 30), (unsigned)vv_rng_below(rng, 90),
        (unsigned)vv_rng_below(rng, 100), (unsigned)vv_rng_below(rng, 12),
        (unsigned)vv_rng_below(rng, 1000), (unsigned)vv_rng_below(rng, 4000),
        (unsigned)vv_rng_below(rng, 4000), (unsigned)vv_rng_below(rng, 4000),
        vv_rng_one_in(rng, 20) ? "stopped" : "running", (unsigned)vv_rng_below(rng, 4),
        (unsigned)vv_rng_below(rng, 30), (unsigned long long)vv_rng_next(rng),
        (unsigned long long)vv_rng_next(rng));
}

/* Message i; attributes as rules of a table would extract them. */
static vv_message message_of(const input *in, uint64_t i, vv_attribute attribute[2])
{
    attribute[0] = (vv_attribute){.name = vv_slice_str("device"),
                                  .type = VV_ATTRIBUTE_STRING,
                                  .bytes = vv_slice_of(in->values + i * VALUE_MAX + 11, 12)};
    attribute[1] =
        (vv_attribute){.name = vv_slice_str("size"), .type = VV_ATTRIBUTE_I64, .i64 = in->len[i]};
    return (vv_message){.offset = i,
                        .receive_time_ns = (int64_t)(i / 100 * 1000000),
                        .event_time_ns = (int64_t)i * 10000 + 1,
                        .content_type = vv_slice_str("application/json"),
                        .value = vv_slice_of(in->values + i * VALUE_MAX, in->len[i]),
                        .attributes = attribute,
                        .attribute_count = 2};
}

static void make_input(input *in, uint64_t size)
{
    vv_rng rng;
    vv_attribute attribute[2];
    vv_rng_init(&rng, 1);
    in->count = size / 320;
    in->values = malloc(in->count * VALUE_MAX);
    in->len = malloc(in->count * sizeof *in->len);
    vv_buf_init(&in->encoded, SIZE_MAX);
    if (in->values == NULL || in->len == NULL)
        exit(1);
    for (uint64_t i = 0; i < in->count; i++) {
        in->len[i] = make_value(&rng, in->values + i * VALUE_MAX);
        vv_message m = message_of(in, i, attribute);
        stream_message_encode(&m, &in->encoded);
    }
    if (in->encoded.status != VV_OK)
        exit(1);
}

static int64_t write_object(const input *in, const arch_writer_options *opt, bytes *out,
                            arch_summary *sum)
{
    vv_error err = {0};
    arch_writer *w = NULL;
    vv_attribute attribute[2];
    const arch_sink sink = {.write = write_bytes, .ctx = out};
    out->len = 0;
    int64_t start = now();
    must(arch_writer_open(opt, sink, &w, &err), &err);
    for (uint64_t i = 0; i < in->count; i++) {
        vv_message m = message_of(in, i, attribute);
        must(arch_writer_add(w, &m, &err), &err);
    }
    must(arch_writer_finish(w, sum, &err), &err);
    arch_writer_close(w);
    return now() - start;
}

static int64_t write_zstd(const input *in, bytes *out)
{
    int64_t start = now();
    ZSTD_CCtx *ctx = ZSTD_createCCtx();
    size_t n = ZSTD_compressCCtx(ctx, out->data, out->cap, in->encoded.data, in->encoded.len, 1);
    (void)ZSTD_freeCCtx(ctx);
    out->len = n;
    return ZSTD_isError(n) ? 0 : now() - start;
}

static int64_t read_object(bytes *object, const arch_summary *sum)
{
    vv_error err = {0};
    arch_reader *r = NULL;
    vv_message m;
    uint64_t count = 0;
    arch_source source = {.read = read_bytes, .ctx = object, .size = object->len};
    int64_t start = now();
    must(arch_reader_open(source, sum->index_at, sum->index_len, &r, &err), &err);
    for (uint32_t k = 0; k < arch_reader_block_count(r); k++) {
        must(arch_reader_load(r, k, &err), &err);
        while (arch_reader_next(r, &m, &err) == VV_OK)
            count++;
    }
    int64_t took = now() - start;
    arch_reader_close(r);
    if (count != sum->next - sum->first)
        exit(1);
    return took;
}

static void read_one(arch_reader *r, uint64_t offset)
{
    vv_error err = {0};
    vv_message m;
    uint32_t block = 0;
    must(arch_reader_find(r, offset, &block, &err), &err);
    must(arch_reader_load(r, block, &err), &err);
    must(arch_reader_seek(r, offset, &err), &err);
    must(arch_reader_next(r, &m, &err), &err);
}

/* Mean ns of reading one message; with_index: the index is at hand. */
static double read_ones(bytes *object, const arch_summary *sum, bool with_index)
{
    vv_error err = {0};
    vv_rng rng;
    arch_reader *r = NULL;
    arch_source source = {.read = read_bytes, .ctx = object, .size = object->len};
    vv_rng_init(&rng, 3);
    int64_t start = now();
    for (unsigned i = 0; i < ONES; i++) {
        if (r == NULL)
            must(arch_reader_open(source, sum->index_at, sum->index_len, &r, &err), &err);
        read_one(r, vv_rng_below(&rng, sum->next));
        if (!with_index) {
            arch_reader_close(r);
            r = NULL;
        }
    }
    arch_reader_close(r);
    return (double)(now() - start) / ONES;
}

int main(int argc, char **argv)
{
    static const char *const codecs[] = {"", "zstd", "lz4", "plain"};
    input in = {0};
    bytes object = {0};
    bytes frame = {0};
    arch_summary sum = {0};
    int64_t object_ns = INT64_MAX;
    int64_t frame_ns = INT64_MAX;
    uint64_t mib = argc > 1 ? strtoull(argv[1], NULL, 10) : 256;
    arch_writer_options opt = {
        .who = {.intent = 1, .tenant = "bench", .table = "messages", .partition_count = 1},
        .codec = VV_TIER_ZSTD,
        .level = argc > 3 ? atoi(argv[3]) : 0};
    for (unsigned i = 1; argc > 2 && i < ARRAY_LEN(codecs); i++)
        if (strcmp(argv[2], codecs[i]) == 0)
            opt.codec = (vv_tier_codec)i;
    make_input(&in, mib << 20);
    object.cap = frame.cap = ZSTD_compressBound(in.encoded.len) + (4u << 20);
    object.data = malloc(object.cap);
    frame.data = malloc(frame.cap);
    if (object.data == NULL || frame.data == NULL)
        return 1;
    for (unsigned i = 0; i < ROUNDS; i++) {
        int64_t a = write_object(&in, &opt, &object, &sum);
        int64_t b = write_zstd(&in, &frame);
        object_ns = a < object_ns ? a : object_ns;
        frame_ns = b < frame_ns ? b : frame_ns;
    }
    int64_t read_ns = read_object(&object, &sum);
    double raw = (double)in.encoded.len;
    printf("{\"bench\":\"archive\",\"codec\":\"%s\",\"level\":%d,\"messages\":%llu,"
           "\"raw_mb\":%.0f,\"write_mb_per_s\":%.0f,\"zstd1_mb_per_s\":%.0f,"
           "\"write_over_zstd1\":%.2f,\"ratio\":%.3f,\"zstd1_ratio\":%.3f,"
           "\"read_mb_per_s\":%.0f,\"read_one_ns\":%.0f,\"read_one_and_index_ns\":%.0f}\n",
           codecs[opt.codec], opt.level, (unsigned long long)in.count, raw / 1e6,
           raw * 1e3 / (double)object_ns, raw * 1e3 / (double)frame_ns,
           (double)frame_ns / (double)object_ns, raw / (double)object.len, raw / (double)frame.len,
           raw * 1e3 / (double)read_ns, read_ones(&object, &sum, true),
           read_ones(&object, &sum, false));
    vv_buf_fini(&in.encoded);
    free(in.values);
    free(in.len);
    free(object.data);
    free(frame.data);
    return 0;
}
