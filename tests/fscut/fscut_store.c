/*
 * fscut_store.c - the store under the file system that is cut: writes that say what was
 * acknowledged, and a check of what is there afterwards. fscut_test.py runs it.
 *
 *     fscut_store write DIR ENGINE DURABILITY    until it is killed
 *     fscut_store verify DIR ENGINE COUNT...     exit 1 and a sentence when something is missing
 *
 * VV_IO names the I/O backend: posix, threads, io_uring; the best there is without it.
 *
 * Each of two threads numbers its batches and writes slots in turn, so that what a slot holds
 * follows from the number of the last batch alone. In front of each batch go a sample and a message
 * with its number: they are there at least as far as the batches are, without a gap. After each
 * acknowledgement a line "thread number" goes to standard output, which is a pipe of another
 * process: what was written there survives.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <varve/varve.h>

#define THREADS 2u
#define SLOTS 97u /* of a thread */
#define PER_BATCH 5u
#define VALUE_MAX 6000u

typedef struct store {
    vv_db *db;
    vv_table *table;
    vv_table *samples;
    vv_table *messages;
    vv_durability durability;
} store;

typedef struct writer {
    const store *s;
    unsigned thread;
} writer;

static void die(const char *what, vv_status st, const vv_error *err)
{
    (void)fprintf(stderr, "fscut_store: %s: %s: %s\n", what, vv_status_name(st), err->msg);
    exit(1);
}

static vv_engine_kind engine_named(const char *name)
{
    if (strcmp(name, "btree") == 0)
        return VV_ENGINE_BTREE;
    return strcmp(name, "rocksdb") == 0 ? VV_ENGINE_ROCKSDB : VV_ENGINE_LSM;
}

static vv_durability durability_named(const char *name)
{
    return strcmp(name, "sync") == 0 ? VV_DURABLE_SYNC
           : strcmp(name, "os") == 0 ? VV_DURABLE_OS
                                     : VV_DURABLE_NONE;
}

static vv_io_backend backend_named(const char *name)
{
    if (name == NULL)
        return VV_IO_AUTO;
    if (strcmp(name, "posix") == 0)
        return VV_IO_POSIX;
    return strcmp(name, "threads") == 0 ? VV_IO_THREADS : VV_IO_URING;
}

/* Everything small, so that a cut falls into flushes, compactions and new segments too. */
static void open_store(store *s, const char *dir, const char *engine)
{
    vv_error err = {0};
    vv_options opt = VV_OPTIONS_INIT;
    vv_table_options table = VV_TABLE_OPTIONS_INIT;
    opt.engine = engine_named(engine);
    opt.io_backend = backend_named(getenv("VV_IO"));
    opt.memory_limit = 32u << 20;
    opt.memtable_size = 256u << 10;
    opt.log_segment_size = 256u << 10;
    opt.log_ring_size = 64u << 10;
    opt.log_limit = 1u << 20;
    table.if_not_exists = true;
    if (opt.engine == VV_ENGINE_LSM)
        table.value_threshold = 4096;
    vv_status st = vv_db_open(dir, &opt, &s->db, &err);
    if (st != VV_OK)
        die("open", st, &err);
    st = vv_table_create(s->db, "cut", "t", &table, &s->table, &err);
    table.value_threshold = 0;
    table.engine = opt.engine == VV_ENGINE_ROCKSDB ? VV_ENGINE_LSM : VV_ENGINE_DEFAULT;
    table.kind = VV_TABLE_SERIES;
    if (st == VV_OK)
        st = vv_table_create(s->db, "cut", "samples", &table, &s->samples, &err);
    table.kind = VV_TABLE_STREAM;
    if (st == VV_OK)
        st = vv_table_create(s->db, "cut", "messages", &table, &s->messages, &err);
    if (st != VV_OK)
        die("table", st, &err);
}

static void close_store(store *s)
{
    vv_error err = {0};
    vv_table_close(s->table);
    vv_table_close(s->samples);
    vv_table_close(s->messages);
    vv_status st = vv_db_close(s->db, &err);
    if (st != VV_OK)
        die("close", st, &err);
}

/* What batch n of a thread puts into a slot: nobody else writes these bytes. */
static size_t fill_value(uint8_t *out, unsigned thread, uint64_t n, unsigned slot)
{
    uint64_t x = (n * THREADS + thread) * SLOTS + slot + 1;
    size_t len = 0;
    x *= UINT64_C(0x9e3779b97f4a7c15);
    size_t want = x % 11 == 0 ? VALUE_MAX - x % 100 : 16 + x % 400;
    for (; len < want; len += 8) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        memcpy(out + len, &x, 8);
    }
    return len;
}

static vv_slice slot_key(char *buf, size_t size, unsigned thread, unsigned slot)
{
    int len = snprintf(buf, size, "%u/%03u", thread, slot);
    return vv_slice_of(buf, (size_t)len);
}

static vv_slice last_key(char *buf, size_t size, unsigned thread)
{
    int len = snprintf(buf, size, "%u/last", thread);
    return vv_slice_of(buf, (size_t)len);
}

/* The number of the last batch that the store has of a thread; 0: none. */
static uint64_t read_last(const store *s, unsigned thread)
{
    char key[16];
    vv_value value;
    vv_error err = {0};
    uint64_t n = 0;
    vv_status st = vv_get(s->table, NULL, last_key(key, sizeof key, thread), &value, &err);
    if (st == VV_NOT_FOUND)
        return 0;
    if (st != VV_OK)
        die(key, st, &err);
    if (value.data.len == sizeof n)
        memcpy(&n, value.data.data, sizeof n);
    vv_value_release(&value);
    return n;
}

/* ---- write ---- */

static vv_status add_batch(vv_batch *batch, const store *s, unsigned thread, uint64_t n,
                           vv_error *err)
{
    uint8_t value[VALUE_MAX + 16];
    char key[16];
    vv_status st = VV_OK;
    for (unsigned i = 0; st == VV_OK && i < PER_BATCH; i++) {
        unsigned slot = (unsigned)((n * PER_BATCH + i) % SLOTS);
        size_t len = fill_value(value, thread, n, slot);
        st = vv_batch_put(batch, s->table, slot_key(key, sizeof key, thread, slot),
                          vv_slice_of(value, len), 0, err);
    }
    if (st == VV_OK)
        st = vv_batch_put(batch, s->table, last_key(key, sizeof key, thread),
                          vv_slice_of(&n, sizeof n), 0, err);
    return st;
}

static vv_status add_sample(const writer *w, vv_samples *samples, uint64_t n, vv_error *err)
{
    const char name[2] = {(char)('0' + w->thread), '\0'};
    const vv_label label = {vv_slice_str("thread"), vv_slice_str(name)};
    const int64_t time_ns = (int64_t)n * 1000000000;
    const int64_t value = (int64_t)n;
    vv_samples_clear(samples);
    vv_status st = vv_samples_series(samples, &label, 1, VV_I64, err);
    if (st == VV_OK)
        st = vv_samples_i64(samples, &time_ns, &value, NULL, 1, err);
    return st == VV_OK ? vv_series_append(samples, w->s->durability, NULL, err) : st;
}

/* Numbered by its producer, so that it is there once, however often the store comes back to it. */
static vv_status add_message(const writer *w, uint64_t n, vv_error *err)
{
    const char name[2] = {(char)('0' + w->thread), '\0'};
    const vv_message m = {.key = vv_slice_str(name), .value = vv_slice_of(&n, sizeof n)};
    vv_stream_append_options opt = VV_STREAM_APPEND_OPTIONS_INIT;
    opt.durability = w->s->durability;
    opt.producer = vv_slice_str(name);
    opt.sequence = n;
    return vv_stream_append(w->s->messages, &m, 1, &opt, NULL, err);
}

static void *write_batches(void *arg)
{
    const writer *w = arg;
    vv_samples *samples = vv_samples_create(w->s->samples);
    vv_error err = {0};
    vv_batch *batch = vv_batch_create(w->s->db);
    uint64_t n = read_last(w->s, w->thread);
    char line[64];
    for (;;) {
        n++;
        vv_batch_clear(batch);
        vv_status st = add_sample(w, samples, n, &err);
        if (st == VV_OK)
            st = add_message(w, n, &err);
        if (st == VV_OK)
            st = add_batch(batch, w->s, w->thread, n, &err);
        if (st == VV_OK)
            st = vv_write(w->s->db, batch, w->s->durability, NULL, &err);
        if (st == VV_BUSY)
            n--;
        else if (st != VV_OK)
            die("write", st, &err);
        if (st == VV_BUSY)
            continue;
        int len = snprintf(line, sizeof line, "%u %" PRIu64 "\n", w->thread, n);
        if (write(STDOUT_FILENO, line, (size_t)len) != len) /* whole: shorter than PIPE_BUF */
            exit(0);                                        /* nobody listens any more */
    }
}

static int run_write(const char *dir, const char *engine, const char *durability)
{
    store s = {.durability = durability_named(durability)};
    writer w[THREADS];
    pthread_t id[THREADS];
    open_store(&s, dir, engine);
    for (unsigned i = 0; i < THREADS; i++) {
        w[i] = (writer){&s, i};
        if (pthread_create(&id[i], NULL, write_batches, &w[i]) != 0)
            return 1;
    }
    for (unsigned i = 0; i < THREADS; i++)
        (void)pthread_join(id[i], NULL);
    return 0;
}

/* ---- verify ---- */

/* The newest batch up to last that wrote the slot; 0: none did. */
static uint64_t batch_of(uint64_t last, unsigned slot)
{
    for (uint64_t n = last; n > 0 && n + SLOTS > last; n--)
        for (unsigned i = 0; i < PER_BATCH; i++)
            if ((n * PER_BATCH + i) % SLOTS == slot)
                return n;
    return 0;
}

static int check_slot(const store *s, unsigned thread, unsigned slot, uint64_t last)
{
    uint8_t want[VALUE_MAX + 16];
    char key[16];
    vv_value value;
    vv_error err = {0};
    uint64_t n = batch_of(last, slot);
    size_t len = n == 0 ? 0 : fill_value(want, thread, n, slot);
    vv_status st = vv_get(s->table, NULL, slot_key(key, sizeof key, thread, slot), &value, &err);
    if (st == VV_NOT_FOUND && n == 0)
        return 0;
    if (st != VV_OK)
        die(key, st, &err);
    bool same = value.data.len == len && memcmp(value.data.data, want, len) == 0;
    vv_value_release(&value);
    if (same)
        return 0;
    (void)printf("slot %s is not what batch %" PRIu64 " of %" PRIu64 " wrote\n", key, n, last);
    return 1;
}

/* Samples 1, 2, ... of a thread, without a gap: up to which. */
static uint64_t count_samples(const store *s, unsigned thread)
{
    const char name[2] = {(char)('0' + thread), '\0'};
    const vv_matcher match = {VV_MATCH_EQ, vv_slice_str("thread"), vv_slice_str(name)};
    vv_series_query q = VV_SERIES_QUERY_INIT;
    vv_series_cursor *c = NULL;
    vv_series_block b;
    vv_error err = {0};
    uint64_t n = 0;
    q.matchers = &match;
    q.matcher_count = 1;
    q.end_ns = INT64_MAX;
    vv_status st = vv_series_query_open(s->samples, &q, &c, &err);
    while (st == VV_OK && (st = vv_series_query_next(c, &b, &err)) == VV_OK)
        for (size_t i = 0; i < b.count; i++)
            n += b.i64[i] == (int64_t)n + 1 && b.time_ns[i] == b.i64[i] * 1000000000;
    vv_series_query_close(c);
    if (st != VV_NOT_FOUND)
        die("samples", st, &err);
    return n;
}

/* The same of messages. */
static uint64_t count_messages(const store *s, unsigned thread)
{
    vv_stream_cursor *c = NULL;
    vv_message m;
    vv_error err = {0};
    uint64_t n = 0;
    vv_status st = vv_stream_cursor_open(s->messages, NULL, &c, &err);
    while (st == VV_OK && (st = vv_stream_cursor_next(c, &m, &err)) == VV_OK) {
        uint64_t number = 0;
        if (m.key.len != 1 || m.key.data[0] != '0' + thread || m.value.len != sizeof number)
            continue;
        memcpy(&number, m.value.data, sizeof number);
        n += number == n + 1;
        if (number != n)
            (void)printf("message %" PRIu64 " of thread %u follows %" PRIu64 "\n", number, thread,
                         n);
    }
    vv_stream_cursor_close(c);
    if (st != VV_NOT_FOUND)
        die("messages", st, &err);
    return n;
}

static int check_count(const char *what, unsigned thread, uint64_t count, uint64_t last)
{
    if (count == last || count == last + 1)
        return 0;
    (void)printf("thread %u: %" PRIu64 " %s without a gap beside %" PRIu64 " batches\n", thread,
                 count, what, last);
    return 1;
}

/* Also what a crash left behind and the next open removes: the status alone decides. */
static void print_finding(void *ctx, const char *text)
{
    (void)ctx;
    (void)printf("check: %s\n", text);
}

static int run_verify(const char *dir, const char *engine, char **acked)
{
    store s = {0};
    int wrong = 0;
    open_store(&s, dir, engine);
    for (unsigned t = 0; t < THREADS; t++) {
        uint64_t promised = strtoull(acked[t], NULL, 10);
        uint64_t last = read_last(&s, t);
        if (last < promised || last > promised + 1) {
            (void)printf("thread %u: batch %" PRIu64 " was acknowledged, %" PRIu64
                         " is the last that is there\n",
                         t, promised, last);
            wrong++;
        }
        for (unsigned slot = 0; slot < SLOTS; slot++)
            wrong += check_slot(&s, t, slot, last);
        wrong += check_count("samples", t, count_samples(&s, t), last);
        wrong += check_count("messages", t, count_messages(&s, t), last);
        (void)printf("last %u %" PRIu64 "\n", t, last);
    }
    close_store(&s);
    vv_error err = {0};
    vv_status st = vv_check(dir, print_finding, NULL, &err);
    if (st != VV_OK)
        (void)printf("check: %s\n", err.msg);
    return wrong == 0 && st == VV_OK ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "write") == 0)
        return run_write(argv[2], argv[3], argv[4]);
    if (argc == 4 + (int)THREADS && strcmp(argv[1], "verify") == 0)
        return run_verify(argv[2], argv[3], argv + 4);
    (void)fprintf(stderr, "usage: fscut_store write DIR ENGINE DURABILITY | verify DIR ENGINE "
                          "COUNT COUNT\n");
    return 2;
}
