/*
 * flip_samples_test.c - one flipped bit, or one zeroed sector, in each kind of file of a closed
 * store of samples and messages.
 *
 * The law of flip_test.c, for tables of series and streams: detected or harmless, never a wrong
 * answer. A store that opens gives what was written, as samples, as windows out of rows and
 * summaries, as labels, as messages and positions; or one of the reads says VV_CORRUPT. VV_FLIPS
 * sets the bits a kind of file.
 */
#include "db/db_test_util.h"

#include "base/hash.h"
#include "base/rng.h"
#include "base/util.h"
#include "btree/btree.h"
#include "lsm/lsm.h"
#include "varve/series.h"
#include "varve/stream.h"

#define HOUR (3600 * VV_NS_PER_S)
#define DAY (24 * HOUR)
#define HOSTS 3
#define DAYS 3
#define FILES_MAX 512u
#define KIND_NAME 32u

typedef struct store_file {
    char path[VIO_PATH_MAX];
    uint64_t size;
} store_file;

typedef struct file_list {
    store_file file[FILES_MAX];
    size_t count;
} file_list;

static const engine_ops *engine_under_test;

static void add_file(void *ctx, const char *path, uint64_t size)
{
    file_list *list = ctx;
    if (size == 0 || list->count == FILES_MAX)
        return;
    store_file *f = &list->file[list->count++];
    (void)snprintf(f->path, sizeof f->path, "%s", path);
    f->size = size;
}

static void kind_of(const char *path, char out[KIND_NAME])
{
    const char *name = strrchr(path, '/');
    name = name == NULL ? path : name + 1;
    const char *dot = strrchr(name, '.');
    if (dot != NULL)
        name = dot + 1;
    size_t len = strcspn(name, "-0123456789");
    (void)snprintf(out, KIND_NAME, "%.*s", (int)(len < KIND_NAME ? len : KIND_NAME - 1), name);
}

/* ---- what is written ---- */

static void write_samples(sim_world *w, vv_table *t, int64_t first, int64_t step, int count)
{
    vv_error err = {0};
    vv_samples *s = vv_samples_create(t);
    assert_non_null(s);
    for (int h = 0; h < HOSTS; h++) {
        char host[8];
        (void)snprintf(host, sizeof host, "h%d", h);
        const vv_label labels[] = {{vv_slice_str("__name__"), vv_slice_str("t")},
                                   {vv_slice_str("host"), vv_slice_str(host)}};
        const vv_sample_type type = h == 0 ? VV_F64 : h == 1 ? VV_I64 : VV_STRING;
        assert_ok(vv_samples_series(s, labels, 2, type, &err), err);
        for (int i = 0; i < count; i++) {
            const int64_t time = first + i * step;
            const double f64 = i % 97 / 8.0;
            const int64_t i64 = i * 7919 % 100003;
            const vv_slice text = vv_slice_of("one of the words", 1 + (size_t)i % 15);
            const uint32_t quality = i % 50 == 7 ? VV_QUALITY_BAD : VV_QUALITY_GOOD;
            assert_ok(type == VV_F64   ? vv_samples_f64(s, &time, &f64, &quality, 1, &err)
                      : type == VV_I64 ? vv_samples_i64(s, &time, &i64, &quality, 1, &err)
                                       : vv_samples_string(s, &time, &text, &quality, 1, &err),
                      err);
        }
    }
    assert_ok(vv_series_append(s, VV_DURABLE_SYNC, NULL, &err), err);
    vv_samples_destroy(s);
    assert_ok(vv_checkpoint(w->db, &err), err);
}

static void write_messages(sim_world *w, vv_table *t, uint64_t sequence, int count)
{
    vv_error err = {0};
    vv_stream_append_options opt = VV_STREAM_APPEND_OPTIONS_INIT;
    opt.producer = vv_slice_str("p");
    for (int i = 0; i < count; i++) {
        char text[64];
        (void)snprintf(text, sizeof text, "message %llu of the producer",
                       (unsigned long long)sequence);
        const vv_message m = {.value = vv_slice_str(text), .key = vv_slice_of(text, 9)};
        opt.sequence = sequence++;
        assert_ok(vv_stream_append(t, &m, 1, &opt, NULL, &err), err);
    }
    assert_ok(vv_stream_commit(t, 0, vv_slice_str("c"), sequence / 2, VV_DURABLE_SYNC, &err), err);
    assert_ok(vv_checkpoint(w->db, &err), err);
}

static vv_status open_tables(sim_world *w, bool create, vv_table *out[2], vv_error *err)
{
    static const char *const names[] = {"samples", "messages"};
    vv_status st = VV_OK;
    for (int i = 0; st == VV_OK && i < 2; i++) {
        vv_table_options opt = VV_TABLE_OPTIONS_INIT;
        opt.kind = i == 0 ? VV_TABLE_SERIES : VV_TABLE_STREAM;
        opt.future_ns = i == 0 ? INT64_MAX : 0;
        st = create ? vv_table_create(w->db, "t", names[i], &opt, &out[i], err)
                    : vv_table_open(w->db, "t", names[i], &out[i], err);
    }
    return st;
}

static void make_store(sim_world *w)
{
    vv_error err = {0};
    vv_table *t[2] = {NULL, NULL};
    w->ops = engine_under_test;
    w->opt = (vv_options)SIM_TINY_OPTIONS;
    sim_start(w);
    assert_ok(open_tables(w, true, t, &err), err);
    for (int day = 0; day < DAYS; day++) {
        write_samples(w, t[0], day * DAY, 40 * VV_NS_PER_S, 2160);
        write_messages(w, t[1], (uint64_t)day * 60, 60);
    }
    while (db_step(w->db, &err) == VV_OK) { /* compactions, rollups */
    }
    write_samples(w, t[0], 5 * HOUR, 7 * VV_NS_PER_S, 300); /* late: a marked day */
    assert_ok(vv_stream_trim(t[1], 0, 20, NULL, &err), err);
    vv_table_close(t[0]);
    vv_table_close(t[1]);
    sim_close(w);
    vio_sim_disk_kill(w->disk);
}

/* ---- what is read: a sum of all of it ---- */

typedef struct digest {
    uint64_t sum;
    uint64_t count;
} digest;

static void add(digest *d, const void *bytes, size_t len)
{
    d->sum = vv_hash64_seed(bytes, len, d->sum);
    d->count++;
}

static vv_status read_query(vv_table *t, int64_t step_ns, vv_aggregate aggregate, digest *d,
                            vv_error *err)
{
    vv_series_query q = VV_SERIES_QUERY_INIT;
    vv_series_cursor *c = NULL;
    vv_series_block b;
    q.end_ns = 10 * DAY;
    q.step_ns = step_ns;
    q.aggregate = aggregate;
    q.all_quality = aggregate == VV_AGG_NONE;
    vv_status st = vv_series_query_open(t, &q, &c, err);
    while (st == VV_OK && (st = vv_series_query_next(c, &b, err)) == VV_OK) {
        for (size_t i = 0; i < b.label_count; i++)
            add(d, b.labels[i].value.data, b.labels[i].value.len);
        add(d, b.time_ns, b.count * sizeof *b.time_ns);
        if (b.quality != NULL && aggregate == VV_AGG_NONE)
            add(d, b.quality, b.count * sizeof *b.quality);
        if (b.f64 != NULL)
            add(d, b.f64, b.count * sizeof *b.f64);
        if (b.i64 != NULL)
            add(d, b.i64, b.count * sizeof *b.i64);
        for (size_t i = 0; b.string != NULL && i < b.count; i++)
            add(d, b.string[i].data, b.string[i].len);
    }
    vv_series_query_close(c);
    return st == VV_NOT_FOUND ? VV_OK : st;
}

static int add_text(void *ctx, vv_slice text)
{
    add(ctx, text.data, text.len);
    return 0;
}

static int add_position(void *ctx, const vv_stream_position *p)
{
    add(ctx, p->name, strlen(p->name));
    add(ctx, &p->offset, sizeof p->offset);
    return 0;
}

static vv_status read_messages(vv_table *t, digest *d, vv_error *err)
{
    vv_stream_cursor *c = NULL;
    vv_message m;
    vv_stream_read_options opt = VV_STREAM_READ_OPTIONS_INIT;
    vv_status st = vv_stream_cursor_open(t, &opt, &c, err);
    while (st == VV_OK && (st = vv_stream_cursor_next(c, &m, err)) == VV_OK) {
        add(d, &m.offset, sizeof m.offset);
        add(d, &m.receive_time_ns, sizeof m.receive_time_ns);
        add(d, m.key.data, m.key.len);
        add(d, m.value.data, m.value.len);
    }
    vv_stream_cursor_close(c);
    st = st == VV_NOT_FOUND ? VV_OK : st;
    return st == VV_OK ? vv_stream_position_list(t, add_position, d, err) : st;
}

static vv_status read_all(sim_world *w, digest *d, vv_error *err)
{
    vv_table *t[2] = {NULL, NULL};
    *d = (digest){0};
    vv_status st = open_tables(w, false, t, err);
    if (st == VV_OK)
        st = read_query(t[0], 0, VV_AGG_NONE, d, err);
    if (st == VV_OK)
        st = read_query(t[0], HOUR, VV_AGG_COUNT, d, err);
    if (st == VV_OK)
        st = vv_series_label_values(t[0], vv_slice_str("host"), NULL, 0, add_text, d, err);
    if (st == VV_OK)
        st = read_messages(t[1], d, err);
    vv_table_close(t[0]);
    vv_table_close(t[1]);
    return st;
}

static void abandon(sim_world *w)
{
    if (w->db != NULL)
        db_abandon(w->db);
    w->db = NULL;
    sim_off(w);
}

/* ---- damage ---- */

typedef struct tally {
    uint64_t flips;
    uint64_t refused;
    uint64_t told;
} tally;

static void judge(sim_world *w, const char *what, const digest *whole, tally *t)
{
    vv_error err = {0};
    digest d = {0};
    t->flips++;
    assert_ok(sim_on(w, &(vio_sim_options){.seed = 1}, &err), err);
    vv_status st = sim_open_db(w, &err);
    if (st != VV_OK) {
        if (st != VV_CORRUPT && st != VV_UNSUPPORTED)
            fail_msg("%s: open: %s: %s", what, vv_status_name(st), err.msg);
        t->refused++;
        sim_off(w);
        return;
    }
    st = read_all(w, &d, &err);
    if (st == VV_OK && (d.sum != whole->sum || d.count != whole->count))
        fail_msg("%s: a wrong answer", what);
    if (st != VV_OK && st != VV_CORRUPT)
        fail_msg("%s: read: %s: %s", what, vv_status_name(st), err.msg);
    t->told += st == VV_CORRUPT;
    abandon(w);
}

static void damage_kind(sim_world *w, const file_list *list, const char *kind, const digest *whole,
                        vv_rng *rng)
{
    vio_sim_disk *disk = w->disk;
    tally t = {0};
    const uint64_t flips = vv_test_count("VV_FLIPS", 250);
    for (uint64_t n = 0; n < flips; n++) {
        char name[KIND_NAME];
        char what[VIO_PATH_MAX + 64];
        size_t i = (size_t)vv_rng_below(rng, list->count);
        do { /* there is one */
            i = (i + 1) % list->count;
            kind_of(list->file[i].path, name);
        } while (strcmp(name, kind) != 0);
        const store_file *f = &list->file[i];
        const uint64_t bit = vv_rng_below(rng, f->size * 8);
        const bool zero = vv_rng_one_in(rng, 10);
        const uint64_t at = bit / 8 / VV_SECTOR * VV_SECTOR;
        (void)snprintf(what, sizeof what, "'%s' %s %llu", f->path, zero ? "sector of bit" : "bit",
                       (unsigned long long)bit);
        w->disk = vio_sim_disk_clone(disk);
        assert_non_null(w->disk);
        assert_int_equal(
            zero ? vio_sim_zero(w->disk, f->path, at, vv_min_u64(f->size - at, VV_SECTOR))
                 : vio_sim_flip_bit(w->disk, f->path, bit),
            VV_OK);
        judge(w, what, whole, &t);
        vio_sim_disk_destroy(w->disk);
    }
    w->disk = disk;
    print_message("%-10s %6llu damaged: %llu refused at open, %llu told by a read, the rest "
                  "harmless\n",
                  kind, (unsigned long long)t.flips, (unsigned long long)t.refused,
                  (unsigned long long)t.told);
    const bool is_data = strcmp(kind, "run") == 0 || strcmp(kind, "data") == 0;
    if (is_data && t.refused + t.told == 0)
        fail_msg("no damage to a %s was ever seen: the test cannot fail", kind);
}

static void damage_to_samples_and_messages_is_detected_or_harmless(void **state)
{
    (void)state;
    static file_list list;
    static const char *const seldom[] = {"LOCK"};
    sim_world w = {0};
    vv_error err = {0};
    vv_rng rng;
    digest whole = {0};
    char seen[512] = " ";
    uint64_t seed = vv_test_seed(0xf115);
    vv_rng_init(&rng, seed);
    make_store(&w);
    list.count = 0;
    vio_sim_each_file(w.disk, add_file, &list);
    vio_sim_disk *disk = w.disk;
    w.disk = vio_sim_disk_clone(disk);
    assert_ok(sim_on(&w, &(vio_sim_options){.seed = 1}, &err), err);
    assert_ok(sim_open_db(&w, &err), err);
    assert_ok(read_all(&w, &whole, &err), err);
    assert_true(whole.count > 500);
    abandon(&w);
    vio_sim_disk_destroy(w.disk);
    w.disk = disk;
    for (size_t i = 0; i < list.count; i++) {
        char kind[KIND_NAME];
        char mark[KIND_NAME + 2];
        kind_of(list.file[i].path, kind);
        (void)snprintf(mark, sizeof mark, " %s ", kind);
        if (strstr(seen, mark) != NULL || strcmp(kind, seldom[0]) == 0)
            continue;
        (void)strncat(seen, mark + 1, sizeof seen - strlen(seen) - 1);
        damage_kind(&w, &list, kind, &whole, &rng);
    }
    vio_sim_disk_destroy(w.disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damage_to_samples_and_messages_is_detected_or_harmless),
    };
    engine_under_test = &lsm_ops;
    int failed = _cmocka_run_group_tests("lsm", tests, ARRAY_LEN(tests), NULL, NULL);
    engine_under_test = &btree_ops;
    return failed + _cmocka_run_group_tests("btree", tests, ARRAY_LEN(tests), NULL, NULL);
}
