/*
 * db_series_check_test.c - what a check finds in series tables: nothing where all is well, and each
 * way in which keys and what lies there may disagree, by the number of its series.
 */
#include "base/bytes.h"
#include "db/db_series_rollup.h"
#include "db/db_series_test_util.h"

#define DAY_NS (86400 * SEC)

/* A batch of keys as they are, beside the ways that keep them in order. */
typedef struct forged {
    vv_db *db;
    vv_table part;
    vv_batch batch;
} forged;

static void begin(forged *f, vv_table *table, uint64_t id)
{
    vv_error err = {0};
    f->db = table->db;
    f->part = db_series_part_at(table, id);
    db_batch_init(&f->batch, f->db, NULL, 0);
    assert_ok(db_batch_bind(&f->batch, &f->part, &err), err);
}

static void forge(forged *f, engine_kind kind, const uint8_t *key, size_t len, vv_slice value)
{
    vv_error err = {0};
    assert_ok(db_batch_add(&f->batch, kind, f->part.cat->id, vv_slice_of(key, len), value, 0, &err),
              err);
}

static void end(forged *f)
{
    vv_error err = {0};
    assert_ok(vv_write(f->db, &f->batch, VV_DURABLE_SYNC, NULL, &err), err);
    db_batch_fini(&f->batch);
}

typedef struct found {
    size_t count;
    char text[512];
} found;

static void note_finding(void *ctx, const char *text)
{
    found *f = ctx;
    f->count++;
    (void)snprintf(f->text, sizeof f->text, "%s", text);
}

/* Two days of samples of a float and some texts, rolled up where the table has rollups. */
static vv_table *fill(sim_world *w)
{
    vv_error err = {0};
    vv_table *t = any_time_table(w->db);
    for (int64_t i = 0; i < 300; i++)
        append_one(t, "a", i * 600 * SEC, (double)i);
    vv_samples *s = vv_samples_create(t);
    const vv_slice text = S("on");
    const int64_t time = 5;
    assert_ok(begin_series(s, "t", "b", VV_STRING, &err), err);
    assert_ok(vv_samples_string(s, &time, &text, NULL, 1, &err), err);
    assert_ok(vv_series_append(s, VV_DURABLE_DEFAULT, NULL, &err), err);
    vv_samples_destroy(s);
    flush_all(w->db);
    return t;
}

static int take_id(void *ctx, const vv_series_info *info)
{
    *(uint64_t *)ctx = info->id;
    return 1;
}

/* Of series a: its id, its canonical labels, the key and the bytes of a bucket. */
typedef struct known {
    uint64_t id;
    uint8_t labels[64];
    size_t labels_len;
    uint8_t key[DB_SERIES_DATA_KEY];
    uint8_t set[1 << 16];
    size_t set_len;
} known;

static void learn(vv_table *t, known *k)
{
    vv_error err = {0};
    vv_buf labels;
    vv_cursor *c = NULL;
    const vv_matcher m = {VV_MATCH_EQ, S("host"), S("a")};
    const vv_label l[] = {{S("__name__"), S("t")}, {S("host"), S("a")}};
    const uint8_t prefix = DB_SERIES_DATA;
    assert_ok(vv_series_list(t, &m, 1, 0, take_id, &k->id, &err), err);
    vv_buf_init(&labels, sizeof k->labels);
    assert_ok(db_series_canonical(l, 2, &labels, &err), err);
    k->labels_len = labels.len;
    memcpy(k->labels, labels.data, labels.len);
    vv_buf_fini(&labels);
    vv_table part = db_series_part_at(t, k->id);
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    opt.prefix = vv_slice_of(&prefix, 1);
    assert_ok(vv_cursor_open(&part, &opt, &c, &err), err);
    assert_ok(vv_cursor_seek(c, vv_slice_of(NULL, 0), &err), err);
    while (vv_get_be64(vv_cursor_key(c).data + 1) != k->id)
        assert_ok(vv_cursor_next(c, &err), err);
    memcpy(k->key, vv_cursor_key(c).data, sizeof k->key);
    k->set_len = vv_cursor_value(c).len;
    assert_true(k->set_len <= sizeof k->set);
    memcpy(k->set, vv_cursor_value(c).data, k->set_len);
    vv_cursor_close(c);
}

/* ---- ways to be wrong ---- */

static void no_hash(forged *f, const known *k)
{
    uint8_t key[17];
    size_t len = db_series_hash_key(vv_slice_of(k->labels, k->labels_len), key);
    forge(f, ENGINE_DELETE, key, len, vv_slice_of(NULL, 0));
}

static void no_posting(forged *f, const known *k)
{
    uint8_t key[DB_SERIES_KEY_MAX];
    const vv_slice value = S("a");
    size_t len = db_series_posting_prefix(S("host"), &value, key);
    vv_put_be64(key + len, k->id);
    forge(f, ENGINE_DELETE, key, len + 8, vv_slice_of(NULL, 0));
}

static void wrong_posting(forged *f, const known *k)
{
    uint8_t key[DB_SERIES_KEY_MAX];
    const vv_slice value = S("other");
    size_t len = db_series_posting_prefix(S("host"), &value, key);
    vv_put_be64(key + len, k->id);
    forge(f, ENGINE_PUT, key, len + 8, vv_slice_of(NULL, 0));
}

static void wrong_hash(forged *f, const known *k)
{
    uint8_t key[17] = {DB_SERIES_HASH};
    uint8_t id[8];
    vv_put_be64(id, k->id);
    forge(f, ENGINE_PUT, key, sizeof key, vv_slice_of(id, sizeof id));
}

static void malformed_record(forged *f, const known *k)
{
    uint8_t key[9];
    size_t len = db_series_id_key(DB_SERIES_RECORD, k->id, key);
    forge(f, ENGINE_PUT, key, len, S("\x01\x09"));
}

static void damaged_set(forged *f, const known *k)
{
    static uint8_t set[1 << 16];
    memcpy(set, k->set, k->set_len);
    set[k->set_len / 2] ^= 1;
    forge(f, ENGINE_PUT, k->key, sizeof k->key, vv_slice_of(set, k->set_len));
}

static void another_bucket(forged *f, const known *k)
{
    uint8_t key[DB_SERIES_DATA_KEY];
    memcpy(key, k->key, sizeof key);
    key[17] ^= 0x40;
    forge(f, ENGINE_PUT, key, sizeof key, vv_slice_of(k->set, k->set_len));
}

static void nobodys_bucket(forged *f, const known *k)
{
    uint8_t key[DB_SERIES_DATA_KEY];
    memcpy(key, k->key, sizeof key);
    vv_put_be64(key + 1, k->id + 3000 * 3); /* of the same partition */
    forge(f, ENGINE_PUT, key, sizeof key, vv_slice_of(k->set, k->set_len));
}

static void another_type(forged *f, const known *k)
{
    uint8_t key[9];
    uint8_t record[128] = {1, VV_I64};
    memcpy(record + DB_SERIES_RECORD_HEAD, k->labels, k->labels_len);
    size_t len = db_series_id_key(DB_SERIES_RECORD, k->id, key);
    forge(f, ENGINE_PUT, key, len, vv_slice_of(record, DB_SERIES_RECORD_HEAD + k->labels_len));
}

static void malformed_rows(forged *f, const known *k)
{
    uint8_t key[DB_SERIES_ROWS_KEY];
    size_t len = db_series_rows_key(1, k->id, 0, key);
    forge(f, ENGINE_PUT, key, len, S("\x01rows of a day"));
}

static void unknown_key(forged *f, const known *k)
{
    (void)k;
    forge(f, ENGINE_PUT, (const uint8_t *)"Z", 1, S("?"));
}

static void wrong_count(forged *f, const known *k)
{
    uint8_t value[17] = {1};
    vv_put_le64(value + 1, k->id + test_partitions);
    forge(f, ENGINE_PUT, (const uint8_t *)"N", 1, vv_slice_of(value, sizeof value));
}

static void malformed_count(forged *f, const known *k)
{
    (void)k;
    forge(f, ENGINE_PUT, (const uint8_t *)"N", 1, S("?"));
}

static found check(sim_world *w, vv_table *t)
{
    found f = {.count = 0};
    vv_error err = {0};
    vv_table_close(t);
    assert_ok(vv_db_close(w->db, &err), err);
    w->db = NULL;
    vv_status st = db_check_env(&w->env, note_finding, &f, &err);
    assert_int_equal(st, f.count == 0 ? VV_OK : VV_CORRUPT);
    assert_ok(sim_open_db(w, &err), err);
    return f;
}

static void a_table_in_order_has_no_findings(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    const vv_matcher a = {VV_MATCH_EQ, S("host"), S("a")};
    vv_table *t = fill(w);
    db_series_attached(t->cat)->count_every = 1; /* the number of series is written at the close */
    found f = check(w, t);
    assert_int_equal(f.count, 0);
    t = any_time_table(w->db);
    db_series *s = NULL;
    assert_ok(db_series_of(t, &s, &err), err);
    assert_true(s->tally[0].counted > 0);
    assert_ok(vv_series_delete(t, &a, 1, 1000 * SEC, DAY_NS, NULL, &err), err);
    f = check(w, t);
    assert_int_equal(f.count, 0);
    t = any_time_table(w->db);
    assert_ok(vv_series_drop(t, &a, 1, NULL, &err), err);
    append_one(t, "a", 7, 7);
    f = check(w, t);
    assert_int_equal(f.count, 0);
}

static void what_disagrees_is_found(void **state)
{
    static const struct {
        void (*plant)(forged *f, const known *k);
        const char *words;
    } cases[] = {
        {no_hash, "hash of its labels does not lead"},
        {no_posting, "label host does not lead"},
        {wrong_posting, "a label leads to it that it has not"},
        {wrong_hash, "a hash leads to it"},
        {malformed_record, "series"},
        {damaged_set, "series"},
        {another_bucket, "outside of their bucket"},
        {nobodys_bucket, "no record"},
        {another_type, "another type"},
        {malformed_rows, "rows of a rollup are malformed"},
        {unknown_key, "no known kind"},
        {wrong_count, "their number is written as 0"},
        {malformed_count, "newer varve wrote the count"},
    };
    sim_world *w = *state;
    static known k;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        forged f;
        vv_table *t = fill(w);
        learn(t, &k);
        begin(&f, t, k.id);
        cases[i].plant(&f, &k);
        end(&f);
        found got = check(w, t);
        if (got.count == 0 || strstr(got.text, cases[i].words) == NULL)
            fail_msg("case %zu: %zu findings, '%s'", i, got.count, got.text);
        sim_end(w);
        sim_start(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TP(a_table_in_order_has_no_findings),
        TP(what_disagrees_is_found),
    };
    return run_on_each(tests, ARRAY_LEN(tests));
}
