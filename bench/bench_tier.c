/*
 * bench_tier.c - streams and an object store: how fast the store is, how fast streams get there,
 * whether all of them did, and what reading one message costs. One JSON line each.
 *
 *     bench_tier SETTINGS put [SECONDS [MIB]]
 *     bench_tier SETTINGS archive DIR [MIB [PARTITIONS]]
 *     bench_tier SETTINGS check DIR TABLE BATCH_BYTES NEXT,NEXT,...
 *     bench_tier SETTINGS one DIR TABLE [COUNT]
 *
 * A setting is key=value of vv_object_options. put: objects of MIB random MiB, one after another,
 * in parts of 16 MiB as the archiver sends them: the store's own rate. archive: messages of 256
 * bytes are appended, then archived at once by vv_tier_run; beside it, in the same run, put, and
 * zstd -1 of the same messages on one core. check: DIR is made out of the objects alone, and every
 * message is read from it: of each producer 0, 1, 2 .. NEXT - 1 and no other. one: messages by
 * their offset, each from an opened store that has nothing of its object.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <zstd.h>

#include "base/hist.h"
#include "base/util.h"
#include "bench_message.h"
#include "varve/tier.h"
#include "varve/varve.h"

#define TENANT "default"
#define PART (16 * VV_MIB)
#define BATCH 500u
#define PRODUCERS_MAX 256u
#define SAMPLE_MAX (256 * VV_MIB) /* of messages that zstd gets */

static vv_object_options options = VV_OBJECT_OPTIONS_INIT;
static vv_object_store *store;
static uint32_t shards = 1; /* of stores that are made */

static int64_t now_of(clockid_t clock)
{
    struct timespec ts;
    (void)clock_gettime(clock, &ts);
    return ts.tv_sec * VV_NS_PER_S + ts.tv_nsec;
}

static int64_t now(void)
{
    return now_of(CLOCK_MONOTONIC);
}

static double seconds_since(int64_t begin)
{
    return (double)(now() - begin) / 1e9;
}

static void must(vv_status st, const vv_error *err)
{
    if (st == VV_OK)
        return;
    (void)fprintf(stderr, "bench_tier: %s: %s\n", vv_status_name(st), err->msg);
    exit(1);
}

static void *must_alloc(size_t size)
{
    void *p = malloc(size);
    if (p == NULL)
        exit(1);
    return p;
}

/* ---- the store's own rate ---- */

static void put_object(const char *name, const uint8_t *bytes, size_t size)
{
    vv_error err = {0};
    vv_object_outcome oc;
    vv_object_upload *up = NULL;
    if (size <= PART) {
        vv_slice all = vv_slice_of(bytes, size);
        must(vv_object_put(store, name, &all, 1, VV_OBJECT_CREATE, NULL, &oc, &err), &err);
        return;
    }
    must(vv_object_upload_begin(store, name, VV_OBJECT_CREATE, &up, &oc, &err), &err);
    uint32_t number = 1;
    for (size_t at = 0; at < size; at += PART) {
        vv_slice part = vv_slice_of(bytes + at, vv_min_u64(PART, size - at));
        must(vv_object_upload_part(up, number++, &part, 1, &oc, &err), &err);
    }
    must(vv_object_upload_complete(up, NULL, &oc, &err), &err);
}

/* Bytes a second, and the processor's time of this process a byte; the objects are removed. */
static double put_rate(double seconds, size_t size, double *cpu_ns)
{
    vv_error err = {0};
    vv_object_outcome oc;
    vv_rng rng;
    char name[64];
    unsigned count = 0;
    uint8_t *bytes = must_alloc(size);
    vv_rng_init(&rng, 5);
    vv_rng_bytes(&rng, bytes, size);
    int64_t cpu = now_of(CLOCK_PROCESS_CPUTIME_ID);
    int64_t begin = now();
    for (; count < 2 || seconds_since(begin) < seconds; count++) {
        (void)snprintf(name, sizeof name, "bench/%lld-%u", (long long)begin, count);
        put_object(name, bytes, size);
    }
    double took = seconds_since(begin);
    double total = (double)count * (double)size;
    *cpu_ns = (double)(now_of(CLOCK_PROCESS_CPUTIME_ID) - cpu) / total;
    for (unsigned i = 0; i < count; i++) {
        (void)snprintf(name, sizeof name, "bench/%lld-%u", (long long)begin, i);
        must(vv_object_remove(store, name, &oc, &err), &err);
    }
    free(bytes);
    return total / took;
}

static int run_put(double seconds, size_t mib)
{
    double cpu_ns = 0;
    double rate = put_rate(seconds, mib * VV_MIB, &cpu_ns);
    printf("{\"bench\":\"tier put\",\"object_mib\":%zu,\"mb_per_s\":%.0f,"
           "\"client_cpu_ns_a_byte\":%.2f}\n",
           mib, rate / 1e6, cpu_ns);
    return 0;
}

/* ---- zstd -1 ---- */

typedef struct sample {
    uint8_t *data;
    size_t len;
    double ratio;
    double per_s; /* bytes, of one core */
} sample;

static void compress_sample(sample *s)
{
    size_t cap = ZSTD_compressBound(s->len);
    uint8_t *out = must_alloc(cap);
    int64_t best = INT64_MAX;
    size_t n = 0;
    for (int i = 0; i < 3; i++) {
        ZSTD_CCtx *ctx = ZSTD_createCCtx();
        int64_t begin = now_of(CLOCK_THREAD_CPUTIME_ID);
        n = ZSTD_compressCCtx(ctx, out, cap, s->data, s->len, 1);
        int64_t took = now_of(CLOCK_THREAD_CPUTIME_ID) - begin;
        (void)ZSTD_freeCCtx(ctx);
        if (ZSTD_isError(n))
            exit(1);
        best = took < best ? took : best;
    }
    s->ratio = (double)s->len / (double)n;
    s->per_s = (double)s->len * 1e9 / (double)best;
    free(out);
}

/* ---- objects ---- */

typedef struct objects {
    uint64_t count;
    uint64_t bytes;
    uint64_t messages;
    uint64_t batch_bytes;
    uint64_t by_size; /* that others follow, like the next three */
    uint64_t within;
    uint64_t largest;
    uint64_t smallest;
    uint64_t last; /* bytes */
    uint32_t partition;
} objects;

static void hold_against_size(objects *all, uint64_t bytes)
{
    double part = (double)bytes / (double)all->batch_bytes;
    all->by_size++;
    all->within += part >= 0.95 && part <= 1.05;
    all->smallest = all->smallest == 0 ? bytes : vv_min_u64(all->smallest, bytes);
    all->largest = vv_max_u64(all->largest, bytes);
}

/* All but the last one of each partition: that holds what was left. */
static int note_object(void *ctx, const vv_tier_object *o)
{
    objects *all = ctx;
    if (o->state != VV_TIER_STORED)
        return 0;
    if (all->count > 0 && o->partition == all->partition)
        hold_against_size(all, all->last);
    all->count++;
    all->bytes += o->bytes;
    all->messages += o->next - o->first;
    all->partition = o->partition;
    all->last = o->bytes;
    return 0;
}

static void print_objects(const objects *o)
{
    printf("\"objects\":%" PRIu64 ",\"object_bytes\":%" PRIu64 ",\"objects_by_size\":%" PRIu64
           ",\"within_5_percent\":%" PRIu64 ",\"smallest\":%" PRIu64 ",\"largest\":%" PRIu64 ",",
           o->count, o->bytes, o->by_size, o->within, o->smallest, o->largest);
}

/* ---- stores ---- */

static vv_db *open_store(const char *dir, bool read_only, const vv_archive_rule *rule)
{
    vv_error err = {0};
    vv_db *db = NULL;
    vv_options opt = VV_OPTIONS_INIT;
    vv_tier_options tier = {.size = sizeof tier, .objects = store};
    if (rule != NULL)
        tier.rule = *rule;
    opt.read_only = read_only;
    opt.shard_count = shards;
    opt.tier = &tier;
    must(vv_db_open(dir, &opt, &db, &err), &err);
    return db;
}

static vv_table *open_table(vv_db *db, const char *name)
{
    vv_error err = {0};
    vv_table *table = NULL;
    must(vv_table_open(db, TENANT, name, &table, &err), &err);
    return table;
}

static uint32_t partitions_of(vv_table *table)
{
    vv_error err = {0};
    vv_table_info info;
    must(vv_table_identify(table, &info, &err), &err);
    return info.partitions;
}

/* ---- archive ---- */

static const vv_archive_rule none = {.off = true};

static void append_messages(vv_table *table, uint64_t count, uint32_t partitions, sample *s)
{
    static uint8_t bytes[BATCH][BENCH_MESSAGE_SIZE];
    vv_message m[BATCH];
    vv_error err = {0};
    vv_rng rng;
    vv_stream_append_options opt = VV_STREAM_APPEND_OPTIONS_INIT;
    opt.durability = VV_DURABLE_OS;
    vv_rng_init(&rng, 1);
    for (uint64_t done = 0; done < count; done += BATCH) {
        for (unsigned i = 0; i < BATCH; i++) {
            bench_message_make(&rng, bytes[i]);
            bench_message_number(bytes[i], 0, done + i);
            m[i] = (vv_message){.value = vv_slice_of(bytes[i], BENCH_MESSAGE_SIZE)};
        }
        if (s->len + sizeof bytes <= SAMPLE_MAX) {
            memcpy(s->data + s->len, bytes, sizeof bytes);
            s->len += sizeof bytes;
        }
        opt.partition = (uint32_t)(done / BATCH % partitions);
        must(vv_stream_append(table, m, BATCH, &opt, NULL, &err), &err);
    }
}

/* One message behind the other into a store that archives nothing. */
static void fill_store(const char *dir, uint64_t count, uint32_t partitions, sample *s)
{
    vv_error err = {0};
    vv_table *table = NULL;
    vv_table_options to = VV_TABLE_OPTIONS_INIT;
    vv_db *db = open_store(dir, false, &none);
    to.kind = VV_TABLE_STREAM;
    to.partitions = partitions;
    must(vv_table_create(db, TENANT, "bench", &to, &table, &err), &err);
    append_messages(table, count, partitions, s);
    vv_table_close(table);
    must(vv_db_close(db, &err), &err);
}

static int run_archive(const char *dir, uint64_t mib, uint32_t partitions)
{
    vv_error err = {0};
    double cpu_ns = 0;
    sample s = {.data = must_alloc(SAMPLE_MAX)};
    const vv_archive_rule rule = {.batch_bytes = 64 * VV_MIB, .batch_age_ns = 3600 * VV_NS_PER_S};
    objects all = {.batch_bytes = rule.batch_bytes};
    vv_table_options to = VV_TABLE_OPTIONS_INIT;
    shards = partitions; /* each lies on one of its own */
    fill_store(dir, mib * VV_MIB / BENCH_MESSAGE_SIZE, partitions, &s);
    compress_sample(&s);
    double put = put_rate(2, rule.batch_bytes, &cpu_ns);
    vv_db *db = open_store(dir, false, &none);
    vv_table *table = open_table(db, "bench");
    to.archive = &rule;
    int64_t cpu = now_of(CLOCK_PROCESS_CPUTIME_ID);
    int64_t begin = now();
    must(vv_table_alter(db, TENANT, "bench", &to, VV_CHANGE_ARCHIVE, &err), &err);
    must(vv_tier_run(db, table, &err), &err);
    double took = seconds_since(begin);
    double used = (double)(now_of(CLOCK_PROCESS_CPUTIME_ID) - cpu) / 1e9;
    must(vv_tier_list(table, note_object, &all, &err), &err);
    vv_table_close(table);
    must(vv_db_close(db, &err), &err);
    put = (put + put_rate(2, rule.batch_bytes, &cpu_ns)) / 2;
    double raw = (double)all.messages * BENCH_MESSAGE_SIZE;
    double ratio = raw / (double)all.bytes;
    double slower = s.per_s < put * ratio ? s.per_s : put * ratio;
    printf("{\"bench\":\"tier archive\",\"partitions\":%u,\"raw_mb\":%.0f,\"seconds\":%.2f,"
           "\"cpu_seconds\":%.2f,",
           partitions, raw / 1e6, took, used);
    print_objects(&all);
    printf("\"ratio\":%.3f,\"zstd1_ratio\":%.3f,\"write_mb_per_s\":%.0f,\"zstd1_mb_per_s\":%.0f,"
           "\"put_mb_per_s\":%.0f,\"put_as_raw_mb_per_s\":%.0f,\"over_the_slower\":%.2f}\n",
           ratio, s.ratio, raw / took / 1e6, s.per_s / 1e6, put / 1e6, put * ratio / 1e6,
           raw / took / slower);
    free(s.data);
    return 0;
}

/* ---- check ---- */

typedef struct expected {
    uint64_t next[PRODUCERS_MAX]; /* that comes */
    uint64_t end[PRODUCERS_MAX];
    unsigned count;
    uint64_t total;
    uint64_t wrong; /* missing, twice, or out of order */
} expected;

static void read_expected(const char *text, expected *e)
{
    for (char *end = NULL; *text != '\0' && e->count < PRODUCERS_MAX; e->count++) {
        e->end[e->count] = strtoull(text, &end, 10);
        e->total += e->end[e->count];
        text = *end == ',' ? end + 1 : "";
    }
}

static void take_message(expected *e, const vv_message *m, sample *s)
{
    unsigned p = 0;
    uint64_t n = 0;
    if (!bench_message_read(m->value.data, m->value.len, &p, &n) || p >= e->count ||
        n != e->next[p]) {
        e->wrong++;
        return;
    }
    e->next[p]++;
    if (s->len + m->value.len <= SAMPLE_MAX) {
        memcpy(s->data + s->len, m->value.data, m->value.len);
        s->len += m->value.len;
    }
}

static uint64_t read_partition(vv_table *table, uint32_t partition, expected *e, sample *s)
{
    vv_error err = {0};
    vv_message m;
    vv_stream_cursor *c = NULL;
    vv_stream_read_options opt = VV_STREAM_READ_OPTIONS_INIT;
    uint64_t count = 0;
    opt.partition = partition;
    must(vv_stream_cursor_open(table, &opt, &c, &err), &err);
    for (vv_status st; (st = vv_stream_cursor_next(c, &m, &err)) != VV_NOT_FOUND; count++) {
        must(st, &err);
        take_message(e, &m, s);
    }
    vv_stream_cursor_close(c);
    return count;
}

static void tell(void *ctx, const char *text)
{
    (void)ctx;
    (void)fprintf(stderr, "%s\n", text);
}

static int run_check(const char *dir, const char *name, uint64_t batch_bytes, const char *next)
{
    static expected e;
    vv_error err = {0};
    sample s = {.data = must_alloc(SAMPLE_MAX)};
    objects all = {.batch_bytes = batch_bytes};
    uint64_t count = 0;
    read_expected(next, &e);
    int64_t begin = now();
    must(vv_tier_attach(dir, store, tell, NULL, &err), &err);
    double attached = seconds_since(begin);
    vv_db *db = open_store(dir, true, NULL);
    vv_table *table = open_table(db, name);
    must(vv_tier_list(table, note_object, &all, &err), &err);
    begin = now();
    for (uint32_t p = 0; p < partitions_of(table); p++)
        count += read_partition(table, p, &e, &s);
    double took = seconds_since(begin);
    vv_table_close(table);
    must(vv_db_close(db, &err), &err);
    for (unsigned i = 0; i < e.count; i++)
        e.wrong += e.end[i] - e.next[i];
    compress_sample(&s);
    printf("{\"bench\":\"tier check\",\"acknowledged\":%" PRIu64 ",\"messages\":%" PRIu64
           ",\"wrong\":%" PRIu64 ",\"attach_s\":%.2f,\"read_s\":%.2f,\"read_per_s\":%.0f,",
           e.total, count, e.wrong, attached, took, (double)count / took);
    print_objects(&all);
    printf("\"ratio\":%.3f,\"zstd1_ratio\":%.3f,\"zstd1_mb_per_s\":%.0f}\n",
           (double)count * BENCH_MESSAGE_SIZE / (double)all.bytes, s.ratio, s.per_s / 1e6);
    free(s.data);
    return e.wrong == 0 && count == e.total ? 0 : 1;
}

/* ---- one message ---- */

static uint64_t gets_so_far(void)
{
    vv_object_stats st;
    vv_object_store_stats(store, &st);
    uint64_t n = 0;
    for (int i = 0; i < VV_OBJECT_OP_COUNT; i++)
        n += st.op[i].requests;
    return n;
}

/* Requests of any kind to read one message. */
static uint64_t read_at(vv_table *table, uint64_t offset, vv_hist *latency)
{
    vv_error err = {0};
    vv_message m;
    vv_stream_cursor *c = NULL;
    vv_stream_read_options opt = VV_STREAM_READ_OPTIONS_INIT;
    opt.start = (vv_stream_start){.from = VV_STREAM_OFFSET, .offset = offset};
    uint64_t before = gets_so_far();
    int64_t begin = now();
    must(vv_stream_cursor_open(table, &opt, &c, &err), &err);
    must(vv_stream_cursor_next(c, &m, &err), &err);
    vv_hist_add(latency, (uint64_t)(now() - begin));
    if (m.offset != offset)
        exit(1);
    vv_stream_cursor_close(c);
    return gets_so_far() - before;
}

static double ms(const vv_hist *h, double fraction)
{
    return (double)vv_hist_percentile(h, fraction) / 1e6;
}

static int run_one(const char *dir, const char *name, unsigned count)
{
    static vv_hist cold;
    static vv_hist warm;
    vv_error err = {0};
    vv_rng rng;
    uint64_t cold_max = 0;
    uint64_t warm_max = 0;
    vv_rng_init(&rng, (uint64_t)now());
    for (unsigned i = 0; i < count; i++) {
        vv_db *db = open_store(dir, true, NULL);
        vv_table *table = open_table(db, name);
        vv_stream_stats s = {.size = sizeof s};
        must(vv_stream_stats_read(table, 0, NULL, &s, &err), &err);
        uint64_t at = s.first_offset + vv_rng_below(&rng, s.messages);
        cold_max = vv_max_u64(cold_max, read_at(table, at, &cold));
        uint64_t near = at + 20000 < s.next_offset ? at + 20000 : at - 20000; /* another block */
        warm_max = vv_max_u64(warm_max, read_at(table, near, &warm));
        vv_table_close(table);
        must(vv_db_close(db, &err), &err);
    }
    printf("{\"bench\":\"tier one\",\"reads\":%u,\"requests_max\":%" PRIu64
           ",\"p50_ms\":%.2f,\"max_ms\":%.2f,\"next_requests_max\":%" PRIu64
           ",\"next_p50_ms\":%.2f,\"next_max_ms\":%.2f}\n",
           count, cold_max, ms(&cold, 0.5), (double)vv_hist_max(&cold) / 1e6, warm_max,
           ms(&warm, 0.5), (double)vv_hist_max(&warm) / 1e6);
    return cold_max <= 2 ? 0 : 1;
}

/* ---- settings ---- */

static bool set(const char *key, const char *value)
{
    const struct {
        const char *key;
        const char **to;
    } strings[] = {{"backend", &options.backend},       {"endpoint", &options.endpoint},
                   {"bucket", &options.bucket},         {"prefix", &options.prefix},
                   {"region", &options.region},         {"access_key", &options.access_key},
                   {"secret_key", &options.secret_key}, {"params", &options.params}};
    for (size_t i = 0; i < ARRAY_LEN(strings); i++)
        if (strcmp(key, strings[i].key) == 0) {
            *strings[i].to = value;
            return true;
        }
    return false;
}

static int usage(void)
{
    (void)fprintf(
        stderr,
        "usage: bench_tier KEY=VALUE.. put [SECONDS [MIB]] | archive DIR [MIB [PARTITIONS]] | "
        "check DIR TABLE BATCH_BYTES NEXT,.. | one DIR TABLE [COUNT]\n");
    return 2;
}

int main(int argc, char **argv)
{
    vv_error err = {0};
    int at = 1;
    for (char *eq; at < argc && (eq = strchr(argv[at], '=')) != NULL; at++) {
        *eq = '\0';
        if (!set(argv[at], eq + 1))
            return usage();
    }
    argv += at;
    argc -= at;
    if (argc == 0)
        return usage();
    must(vv_object_store_open(&options, &store, &err), &err);
    int rc = 2;
    if (strcmp(argv[0], "put") == 0)
        rc = run_put(argc > 1 ? atof(argv[1]) : 3, argc > 2 ? strtoul(argv[2], NULL, 10) : 64);
    else if (strcmp(argv[0], "archive") == 0 && argc > 1)
        rc = run_archive(argv[1], argc > 2 ? strtoull(argv[2], NULL, 10) : 512,
                         argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 1);
    else if (strcmp(argv[0], "check") == 0 && argc > 4)
        rc = run_check(argv[1], argv[2], strtoull(argv[3], NULL, 10), argv[4]);
    else if (strcmp(argv[0], "one") == 0 && argc > 2)
        rc = run_one(argv[1], argv[2], argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 50);
    else
        rc = usage();
    vv_object_store_close(store);
    return rc;
}
