/*
 * formats_test.c - stores of released formats open, and stores of formats to come are refused.
 *
 *     formats_test FIXTURES          every FIXTURES/store-*.tar.gz opens, is whole, and goes on
 *     formats_test make DIR ENGINE   make the store that such a fixture holds (README.md); ENGINE
 *                                    shards: of lsm, and what several shards have besides
 *
 * A fixture has every kind of file, and what it holds follows from the formulas below: they never
 * change. A release adds fixtures of its own and keeps those of the others.
 *
 * For the formats to come, each kind of file gets the next version number, then a feature bit that
 * nobody knows, with sums that are right: opening or reading must say VV_UNSUPPORTED and name the
 * file, and leave a store that opens once the file is as it was.
 */
#include "vv_test.h"

#include <dirent.h>
#include <ftw.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "lsm/lsm_run_format.h"
#include "lsm/lsm_value_int.h"
#include "varve/bulk.h"
#include "varve/record.h"
#include "varve/series.h"
#include "varve/varve.h"

#define KEYS 300u
#define FLUSHED 200u /* of them; the others are in the log alone */
#define LARGE 6000u
#define SHARDS 2u
#define PATH 256u
#define FILES 64u

static const char *fixtures;
static char dir[PATH];

/* ---- what a fixture holds ---- */

typedef struct store {
    vv_db *db;
    vv_table *kv, *other, *large, *sums, *records;
    vv_table *parts, *bulk, *series; /* NULL: the fixture has one shard */
} store;

/* Small, or the log alone is some 64 MiB. */
static vv_status open_db(store *s, const char *path, vv_engine_kind engine, uint32_t shards,
                         vv_error *err)
{
    vv_options opt = VV_OPTIONS_INIT;
    opt.shard_count = shards;
    opt.engine = engine;
    opt.memory_limit = 16u << 20;
    opt.memtable_size = 256u << 10;
    opt.log_segment_size = 64u << 10;
    opt.log_ring_size = 64u << 10;
    opt.log_limit = 256u << 10;
    *s = (store){0};
    return vv_db_open(path, &opt, &s->db, err);
}

static vv_status open_store(store *s, const char *path, vv_error *err)
{
    vv_status st = open_db(s, path, VV_ENGINE_DEFAULT, 0, err);
    struct {
        const char *name;
        vv_table **to;
    } tables[] = {{"kv", &s->kv},     {"other", &s->other},     {"large", &s->large},
                  {"sums", &s->sums}, {"records", &s->records}, {"parts", &s->parts},
                  {"bulk", &s->bulk}, {"series", &s->series}};
    for (size_t i = 0; st == VV_OK && i < ARRAY_LEN(tables); i++) {
        st = vv_table_open(s->db, "fixture", tables[i].name, tables[i].to, err);
        if (st == VV_NOT_FOUND && tables[i].to == &s->parts)
            return VV_OK; /* nor the others */
    }
    return st;
}

static vv_status close_store(store *s, vv_error *err)
{
    vv_table *tables[] = {s->kv,      s->other, s->large, s->sums,
                          s->records, s->parts, s->bulk,  s->series};
    for (size_t i = 0; i < ARRAY_LEN(tables); i++)
        vv_table_close(tables[i]);
    return vv_db_close(s->db, err);
}

static vv_slice key_of(unsigned i)
{
    static char text[16];
    return vv_slice_of(text, (size_t)snprintf(text, sizeof text, "k%04u", i));
}

static vv_slice value_of(unsigned i, const char *table)
{
    static char text[LARGE];
    size_t len = (size_t)snprintf(text, sizeof text, "%s %u %u", table, i, i * i);
    if (strcmp(table, "large") != 0)
        return vv_slice_of(text, len);
    for (; len < LARGE; len++)
        text[len] = (char)('a' + (i + len * len) % 26);
    return vv_slice_of(text, LARGE);
}

/* Of the range [100, 110) and every seventh nothing is left. */
static bool kv_has(unsigned i)
{
    return i % 7 != 0 && (i < 100 || i >= 110);
}

static int64_t time_of(unsigned i)
{
    return INT64_C(1700000000000000000) + (int64_t)i * 1000;
}

static void put(vv_table *table, unsigned i, const char *name)
{
    vv_error err = {0};
    assert_ok(vv_put(table, key_of(i), value_of(i, name), &err), err);
}

static void put_record(store *s, unsigned i)
{
    vv_error err = {0};
    vv_batch *batch = vv_batch_create(s->db);
    assert_non_null(batch);
    vv_record record = {.timestamp_ns = time_of(i), .body = value_of(i, "records")};
    assert_ok(vv_batch_put_record(batch, s->records, key_of(i), &record, &err), err);
    assert_ok(vv_write(s->db, batch, VV_DURABLE_NONE, NULL, &err), err);
    vv_batch_destroy(batch);
}

/* A number and a text at each second, of one series each; every tenth of bad quality. */
static void put_samples(store *s, unsigned from, unsigned to)
{
    vv_error err = {0};
    vv_samples *samples = vv_samples_create(s->series);
    assert_non_null(samples);
    for (unsigned i = from; i < to; i++) {
        vv_label labels[] = {{vv_slice_str("name"), vv_slice_str("number")},
                             {vv_slice_str("of"), vv_slice_str("fixture")}};
        int64_t at = time_of(i * 1000000);
        double number = i * 0.25;
        uint32_t quality = i % 10 == 0 ? VV_QUALITY_BAD : 0;
        vv_slice text = value_of(i, "series");
        assert_ok(vv_samples_series(samples, labels, 2, VV_F64, &err), err);
        assert_ok(vv_samples_f64(samples, &at, &number, &quality, 1, &err), err);
        labels[0].value = vv_slice_str("text");
        assert_ok(vv_samples_series(samples, labels, 2, VV_STRING, &err), err);
        assert_ok(vv_samples_string(samples, &at, &text, NULL, 1, &err), err);
    }
    assert_ok(vv_series_append(samples, VV_DURABLE_SYNC, NULL, &err), err);
    vv_samples_destroy(samples);
}

/* What several shards have besides; a bulk load is one version of the first keys. */
static void fill_more(store *s, unsigned from, unsigned to)
{
    vv_error err = {0};
    for (unsigned i = from; i < to; i++)
        put(s->parts, i, "parts");
    put_samples(s, from, to);
    if (from > 0)
        return;
    vv_bulk *load = NULL;
    assert_ok(vv_bulk_begin(s->bulk, &load, &err), err);
    for (unsigned i = from; i < to; i++)
        assert_ok(vv_bulk_put(load, key_of(i), value_of(i, "bulk"), 0, &err), err);
    assert_ok(vv_bulk_finish(load, NULL, &err), err);
}

static void fill(store *s, unsigned from, unsigned to)
{
    vv_error err = {0};
    for (unsigned i = from; i < to; i++) {
        uint8_t one[8] = {1};
        put(s->kv, i, "kv");
        put(s->other, i, "other");
        if (i % 50 == 0)
            put(s->large, i, "large");
        if (i % 10 == 0)
            put_record(s, i);
        assert_ok(vv_merge(s->sums, vv_slice_str("sum"), VV_ADD, vv_slice_of(one, 8), &err), err);
    }
    for (unsigned i = (from + 6) / 7 * 7; i < to; i += 7)
        assert_ok(vv_delete(s->kv, key_of(i), &err), err);
    if (from > 0) {
        vv_batch *batch = vv_batch_create(s->db);
        assert_non_null(batch);
        char end[16];
        memcpy(end, key_of(110).data, 5);
        assert_ok(vv_batch_delete_range(batch, s->kv, key_of(100), vv_slice_of(end, 5), &err), err);
        assert_ok(vv_write(s->db, batch, VV_DURABLE_SYNC, NULL, &err), err);
        vv_batch_destroy(batch);
    }
}

static void make_table(store *s, const char *name, vv_table_options opt, vv_table **out)
{
    vv_error err = {0};
    assert_ok(vv_table_create(s->db, "fixture", name, &opt, out, &err), err);
}

static void make_more(store *s)
{
    vv_table_options parts = VV_TABLE_OPTIONS_INIT;
    parts.partitions = SHARDS;
    make_table(s, "parts", parts, &s->parts);
    vv_table_options plain = VV_TABLE_OPTIONS_INIT;
    make_table(s, "bulk", plain, &s->bulk);
    vv_table_options series = VV_TABLE_OPTIONS_INIT;
    series.kind = VV_TABLE_SERIES;
    make_table(s, "series", series, &s->series);
}

static void make(const char *path, vv_engine_kind engine, bool more)
{
    store s;
    vv_error err = {0};
    assert_ok(open_db(&s, path, engine, more ? SHARDS : 1, &err), err);
    vv_table_options plain = VV_TABLE_OPTIONS_INIT;
    make_table(&s, "kv", plain, &s.kv);
    make_table(&s, "sums", plain, &s.sums);
    vv_table_options other = plain;
    other.engine = engine == VV_ENGINE_BTREE ? VV_ENGINE_LSM : VV_ENGINE_BTREE;
    make_table(&s, "other", other, &s.other);
    vv_table_options large = plain;
    large.engine = VV_ENGINE_LSM;
    large.value_threshold = 4096;
    make_table(&s, "large", large, &s.large);
    vv_table_options records = plain;
    records.kind = VV_TABLE_RECORD;
    make_table(&s, "records", records, &s.records);
    if (more)
        make_more(&s);
    fill(&s, 0, FLUSHED);
    if (more)
        fill_more(&s, 0, FLUSHED);
    assert_ok(vv_checkpoint(s.db, &err), err);
    assert_ok(vv_archive_create(s.db, "kept", &err), err);
    fill(&s, FLUSHED, KEYS);
    if (more)
        fill_more(&s, FLUSHED, KEYS);
    assert_ok(close_store(&s, &err), err);
}

/* ---- reading it ---- */

/* One key: there with its value, or absent. */
static vv_status expect_key(vv_table *table, const char *name, unsigned i, bool there,
                            vv_error *err)
{
    vv_value value;
    vv_status st = vv_get(table, NULL, key_of(i), &value, err);
    if (st == VV_NOT_FOUND && !there)
        return VV_OK;
    if (st != VV_OK)
        return st;
    bool is_right = there && vv_slice_eq(value.data, value_of(i, name));
    vv_value_release(&value);
    if (!is_right)
        fail_msg("table %s, key %u: not what was written", name, i);
    return VV_OK;
}

static vv_status count_keys(vv_table *table, const char *archive, unsigned *count, vv_error *err)
{
    vv_cursor *cursor = NULL;
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    opt.archive = archive;
    *count = 0;
    vv_status st = vv_cursor_open(table, &opt, &cursor, err);
    if (st == VV_OK)
        st = vv_cursor_seek(cursor, vv_slice_of(NULL, 0), err);
    for (; st == VV_OK && vv_cursor_valid(cursor); ++*count)
        st = vv_cursor_next(cursor, err);
    vv_cursor_close(cursor);
    return st;
}

static vv_status expect_count(vv_table *table, const char *archive, unsigned want, vv_error *err)
{
    unsigned count = 0;
    vv_status st = count_keys(table, archive, &count, err);
    if (st == VV_OK && count != want)
        fail_msg("%u keys instead of %u", count, want);
    return st;
}

static vv_status expect_records(store *s, vv_error *err)
{
    vv_cursor *cursor = NULL;
    vv_status st =
        vv_cursor_open_by_time(s->records, NULL, time_of(0), time_of(KEYS), &cursor, err);
    if (st == VV_OK)
        st = vv_cursor_seek(cursor, vv_slice_of(NULL, 0), err);
    unsigned i = 0;
    for (; st == VV_OK && vv_cursor_valid(cursor); i += 10) {
        vv_record record = {0};
        st = vv_record_parse(vv_cursor_value(cursor), &record, err);
        if (st == VV_OK && (record.timestamp_ns != time_of(i) ||
                            !vv_slice_eq(record.body, value_of(i, "records"))))
            fail_msg("record %u is not what was written", i);
        if (st == VV_OK)
            st = vv_cursor_next(cursor, err);
    }
    vv_cursor_close(cursor);
    if (st == VV_OK && i != KEYS)
        fail_msg("%u of %u records", i / 10, KEYS / 10);
    return st;
}

static vv_status expect_samples(store *s, vv_error *err)
{
    vv_series_query ask = VV_SERIES_QUERY_INIT;
    ask.start_ns = time_of(0);
    ask.end_ns = time_of(KEYS * 1000000);
    ask.all_quality = true;
    vv_series_cursor *cursor = NULL;
    vv_series_block block;
    unsigned count[2] = {0}; /* of numbers, of texts */
    vv_status st = vv_series_query_open(s->series, &ask, &cursor, err);
    while (st == VV_OK && (st = vv_series_query_next(cursor, &block, err)) == VV_OK)
        for (size_t n = 0; n < block.count; n++) {
            bool is_text = block.type == VV_STRING;
            unsigned i = count[is_text]++;
            assert_int_equal(block.time_ns[n], time_of(i * 1000000));
            assert_true(is_text ? vv_slice_eq(block.string[n], value_of(i, "series"))
                                : block.f64[n] == i * 0.25);
            assert_true(is_text || block.quality == NULL || i % 10 != 0 ||
                        block.quality[n] == VV_QUALITY_BAD);
        }
    vv_series_query_close(cursor);
    if (st != VV_NOT_FOUND)
        return st;
    assert_int_equal(count[0], KEYS);
    assert_int_equal(count[1], KEYS);
    return VV_OK;
}

static vv_status expect_more(store *s, vv_error *err)
{
    vv_table_info info;
    vv_status st = vv_table_describe(s->parts, &info, err);
    if (st == VV_OK)
        assert_int_equal(info.partitions, SHARDS);
    for (unsigned i = 0; st == VV_OK && i < KEYS; i++) {
        st = expect_key(s->parts, "parts", i, true, err);
        if (st == VV_OK)
            st = expect_key(s->bulk, "bulk", i, i < FLUSHED, err);
    }
    if (st == VV_OK)
        st = expect_count(s->parts, NULL, KEYS, err);
    if (st == VV_OK)
        st = expect_count(s->bulk, NULL, FLUSHED, err);
    return st == VV_OK ? expect_samples(s, err) : st;
}

static vv_status expect_all(store *s, vv_error *err)
{
    vv_status st = VV_OK;
    unsigned live = 0;
    for (unsigned i = 0; st == VV_OK && i < KEYS; i++) {
        live += kv_has(i);
        st = expect_key(s->kv, "kv", i, kv_has(i), err);
        if (st == VV_OK)
            st = expect_key(s->other, "other", i, true, err);
        if (st == VV_OK)
            st = expect_key(s->large, "large", i, i % 50 == 0, err);
    }
    if (st == VV_OK)
        st = expect_count(s->kv, NULL, live, err);
    if (st == VV_OK)
        st = expect_count(s->other, NULL, KEYS, err);
    if (st == VV_OK)
        st = expect_count(s->large, NULL, KEYS / 50, err);
    vv_table_info info;
    if (st == VV_OK)
        st = vv_table_describe(s->kv, &info, err);
    bool home_is_btree = st == VV_OK && strcmp(info.engine, "btree") == 0;
    unsigned flushed = 0;
    for (unsigned i = 0; i < FLUSHED; i++)
        flushed += i % 7 != 0;
    if (st == VV_OK)
        st = expect_count(home_is_btree ? s->kv : s->other, "kept",
                          home_is_btree ? flushed : FLUSHED, err);
    if (st == VV_OK)
        st = expect_records(s, err);
    vv_value sum;
    if (st == VV_OK)
        st = vv_get(s->sums, NULL, vv_slice_str("sum"), &sum, err);
    if (st == VV_OK) {
        uint64_t value = sum.data.len == 8 ? vv_get_le64(sum.data.data) : 0;
        vv_value_release(&sum);
        assert_int_equal(value, KEYS);
    }
    return st == VV_OK && s->parts != NULL ? expect_more(s, err) : st;
}

/* Open, read all, close: the first failure. */
static vv_status look(const char *path, vv_error *err)
{
    store s;
    vv_error later = {0};
    vv_status st = open_store(&s, path, err);
    if (st == VV_OK)
        st = expect_all(&s, err);
    vv_status closed = close_store(&s, &later);
    if (st == VV_OK && closed != VV_OK)
        fail_msg("close: %s", later.msg);
    return st;
}

/* ---- fixtures ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void unpack(const char *name)
{
    char command[3 * PATH];
    (void)snprintf(dir, sizeof dir, "/tmp/varve-formats-XXXXXX");
    assert_non_null(mkdtemp(dir));
    (void)snprintf(command, sizeof command, "tar -xzf '%s/%s' -C '%s'", fixtures, name, dir);
    assert_int_equal(system(command), 0);
    size_t len = strlen(dir);
    (void)snprintf(dir + len, sizeof dir - len, "/store");
}

static void clean_up(void)
{
    *strrchr(dir, '/') = '\0';
    (void)nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void print_finding(void *ctx, const char *text)
{
    (void)ctx;
    print_error("finding: %s\n", text);
}

static void expect_it_opens_and_goes_on(void)
{
    store s;
    vv_error err = {0};
    assert_ok(vv_check(dir, print_finding, NULL, &err), err);
    assert_ok(look(dir, &err), err);
    assert_ok(open_store(&s, dir, &err), err);
    put(s.kv, KEYS + 1, "kv");
    put(s.other, KEYS + 1, "other");
    assert_ok(vv_checkpoint(s.db, &err), err);
    assert_ok(vv_compact(s.kv, vv_slice_of(NULL, 0), vv_slice_of(NULL, 0), &err), err);
    assert_ok(vv_compact(s.large, vv_slice_of(NULL, 0), vv_slice_of(NULL, 0), &err), err);
    assert_ok(expect_key(s.kv, "kv", KEYS + 1, true, &err), err);
    assert_ok(vv_delete(s.kv, key_of(KEYS + 1), &err), err);
    assert_ok(vv_delete(s.other, key_of(KEYS + 1), &err), err);
    assert_ok(close_store(&s, &err), err);
    assert_ok(look(dir, &err), err);
    assert_ok(vv_check(dir, print_finding, NULL, &err), err);
}

static void each_fixture(void (*run)(void))
{
    DIR *list = opendir(fixtures);
    assert_non_null(list);
    unsigned count = 0;
    for (struct dirent *e; (e = readdir(list)) != NULL;) {
        if (strncmp(e->d_name, "store-", 6) != 0)
            continue;
        print_message("%s\n", e->d_name);
        unpack(e->d_name);
        run();
        clean_up();
        count++;
    }
    (void)closedir(list);
    assert_true(count >= 3);
}

static void every_released_store_opens_and_goes_on(void **state)
{
    (void)state;
    each_fixture(expect_it_opens_and_goes_on);
}

/* ---- formats to come ---- */

static void seal_crc(uint8_t *p, size_t at)
{
    vv_put_le32(p + at, vv_crc32c(0, p, at));
}

static void seal_identity(uint8_t *p, size_t len)
{
    (void)len;
    seal_crc(p, 68);
}

static void seal_whole(uint8_t *p, size_t len)
{
    seal_crc(p, len - 4);
}

static void seal_log(uint8_t *p, size_t len)
{
    (void)len;
    seal_crc(p, 4092);
}

static void seal_manifest(uint8_t *p, size_t len)
{
    (void)len;
    seal_crc(p, 60);
}

static void seal_run(uint8_t *p, size_t len)
{
    (void)len;
    vv_put_le64(p + 4088, lsm_footer_sum(p, vv_get_le64(p + 48)));
}

static void seal_values(uint8_t *p, size_t len)
{
    (void)len;
    vv_put_le64(p + VALUE_SUM_AT, lsm_value_header_sum(p, vv_get_le64(p + 48)));
}

/* Where a kind of file says its version and its features, and what makes its sums right again. */
static const struct kind {
    const char *magic;
    size_t from_end; /* the header lies so far before the end; 0: at the beginning */
    size_t features; /* 0: it has none */
    void (*seal)(uint8_t *p, size_t len);
} kinds[] = {
    {"VARVEDB\n", 0, 12, seal_identity}, {"VARVEENG", 0, 0, seal_whole},
    {"VARVEWAL", 0, 16, seal_log},       {"VARVERNG", 0, 16, seal_log},
    {"VARVEMAN", 0, 12, seal_manifest},  {"VARVETRE", 0, 12, seal_manifest},
    {"VARVERUN", 4096, 12, seal_run},    {"VARVEVAL", 0, 12, seal_values},
};

static char found[FILES][PATH];
static size_t found_count;

static int note_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)ftw;
    if (type == FTW_F && found_count < FILES && strlen(path) < PATH)
        memcpy(found[found_count++], path, strlen(path) + 1);
    return 0;
}

static uint8_t *read_whole(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    *len = (size_t)ftell(f);
    uint8_t *bytes = malloc(*len + 1);
    assert_non_null(bytes);
    rewind(f);
    assert_int_equal(fread(bytes, 1, *len, f), *len);
    (void)fclose(f);
    return bytes;
}

static void write_whole(const char *path, const uint8_t *bytes, size_t len)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

/* The file with one number changed is refused by name; as it was, it is read. */
static void expect_refusal(const char *path, const struct kind *kind, const char *what, size_t at,
                           uint32_t value)
{
    size_t len = 0;
    uint8_t *old = read_whole(path, &len);
    uint8_t *bytes = malloc(len + 1);
    assert_non_null(bytes);
    memcpy(bytes, old, len);
    uint8_t *head = bytes + (kind->from_end == 0 ? 0 : len - kind->from_end);
    vv_put_le32(head + at, value);
    kind->seal(head, len);
    write_whole(path, bytes, len);
    vv_error err = {0};
    vv_status st = look(dir, &err);
    const char *name = strrchr(path, '/') + 1;
    if (st != VV_UNSUPPORTED || strstr(err.msg, name) == NULL || strstr(err.msg, what) == NULL)
        fail_msg("%s with another %s: %s: %s", path, what, vv_status_name(st), err.msg);
    write_whole(path, old, len);
    if (look(dir, &err) != VV_OK)
        fail_msg("%s was refused for its %s; as it was: %s", path, what, err.msg);
    free(bytes);
    free(old);
}

/* The first file of the kind. Looked for anew each time: an opening may make and remove files. */
static const char *find_file(const struct kind *kind)
{
    found_count = 0;
    assert_int_equal(nftw(dir, note_one, 16, FTW_PHYS), 0);
    for (size_t f = 0; f < found_count; f++) {
        size_t len = 0;
        uint8_t *bytes = read_whole(found[f], &len);
        size_t at = kind->from_end == 0 ? 0 : len - kind->from_end;
        bool is_it = len >= 16 && len >= kind->from_end && memcmp(bytes + at, kind->magic, 8) == 0;
        free(bytes);
        if (is_it)
            return found[f];
    }
    fail_msg("the fixture has no file with '%s'", kind->magic);
    return NULL;
}

static void expect_formats_to_come_are_refused(void)
{
    for (const struct kind *k = kinds; k < kinds + ARRAY_LEN(kinds); k++) {
        expect_refusal(find_file(k), k, "version", 8, 2);
        if (k->features != 0)
            expect_refusal(find_file(k), k, "feature", k->features, UINT32_C(1) << 31);
    }
}

static void formats_to_come_are_refused_by_name(void **state)
{
    (void)state;
    each_fixture(expect_formats_to_come_are_refused);
}

static const char *make_at;
static vv_engine_kind make_engine;
static bool make_has_more;

static void a_fixture_is_made(void **state)
{
    (void)state;
    vv_error err = {0};
    make(make_at, make_engine, make_has_more);
    assert_ok(look(make_at, &err), err);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_released_store_opens_and_goes_on),
        cmocka_unit_test(formats_to_come_are_refused_by_name),
    };
    const struct CMUnitTest making[] = {cmocka_unit_test(a_fixture_is_made)};
    if (argc == 4) {
        make_at = argv[2];
        make_engine = strcmp(argv[3], "btree") == 0 ? VV_ENGINE_BTREE : VV_ENGINE_LSM;
        make_has_more = strcmp(argv[3], "shards") == 0;
        return cmocka_run_group_tests(making, NULL, NULL);
    }
    if (argc != 2)
        return 2;
    fixtures = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
