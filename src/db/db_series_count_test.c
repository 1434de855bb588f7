/*
 * db_series_count_test.c - how many series there are is known after any restart, without a walk
 * over all of them, and is the number that a walk finds.
 */
#include "db/db_series_test_util.h"

#include "base/alloc.h"
#include "base/rng.h"
#include "db/db_series_int.h"

#define HOSTS 60u

static const uint64_t every = 5; /* series between two counts here */

static vv_table *open_table(vv_db *db)
{
    vv_error err = {0};
    db_series *s = NULL;
    vv_table *t = any_time_table(db);
    assert_ok(db_series_of(t, &s, &err), err);
    s->count_every = every;
    return t;
}

static void step_all(vv_db *db)
{
    for (int i = 0; i < 1000 && db_step(db, NULL) == VV_OK; i++)
        continue;
}

static int note_id(void *ctx, const vv_series_info *info)
{
    uint64_t *ids = ctx;
    for (uint64_t i = 1; i <= ids[0]; i++)
        assert_true(ids[i] != info->id);
    ids[++ids[0]] = info->id;
    return 0;
}

/* What is told is what is there. Returns it. */
static uint64_t check_count(vv_table *t)
{
    uint64_t ids[HOSTS + 2] = {0};
    uint64_t counted = 0;
    vv_error err = {0};
    assert_ok(vv_series_list(t, NULL, 0, 0, note_id, ids, &err), err);
    assert_ok(vv_series_count(t, &counted, NULL, &err), err);
    assert_int_equal(counted, ids[0]);
    db_series *s = db_series_attached(t->cat);
    uint64_t sum = 0;
    for (uint32_t p = 0; p < s->partition_count; p++)
        sum += s->tally[p].count;
    assert_int_equal(sum, counted);
    return counted;
}

static vv_status drop_host(vv_table *t, const char *host, vv_error *err)
{
    vv_matcher m = {VV_MATCH_EQ, S("host"), S(host)};
    return vv_series_drop(t, &m, 1, NULL, err);
}

static void prop_the_count_is_that_of_a_walk(void **state)
{
    sim_world *w = *state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(21));
    bool is_there[HOSTS] = {false};
    vv_table *t = open_table(w->db);
    unsigned short_walks = 0;
    for (int i = 0; i < 400; i++) {
        vv_error err = {0};
        char host[8];
        unsigned h = (unsigned)vv_rng_below(&rng, HOSTS);
        (void)snprintf(host, sizeof host, "h%u", h);
        if (vv_rng_one_in(&rng, 4)) {
            assert_ok(drop_host(t, host, &err), err);
            is_there[h] = false;
        } else {
            append_one(t, host, 1, 1);
            is_there[h] = true;
        }
        if (vv_rng_one_in(&rng, 10))
            step_all(w->db);
        if (vv_rng_one_in(&rng, 40))
            flush_all(w->db);
        if (vv_rng_one_in(&rng, 15)) {
            vv_table_close(t);
            step_all(w->db);
            sim_reopen(w);
            t = open_table(w->db);
            uint64_t walked = db_series_attached(t->cat)->uncounted;
            assert_true(walked < every);
            short_walks += check_count(t) >= 2 * every;
        }
        uint64_t has = 0;
        for (unsigned k = 0; k < HOSTS; k++)
            has += is_there[k];
        assert_int_equal(check_count(t), has);
    }
    assert_true(short_walks > 3);
    vv_table_close(t);
}

/* While a series is between its making and the log nothing is counted; one whose append failed is
 * none. */
static void a_series_on_its_way_is_not_counted(void **state)
{
    sim_world *w = *state;
    vv_table *t = open_table(w->db);
    db_series *s = db_series_attached(t->cat);
    const int64_t time = 1;
    const double one = 1;
    vv_error err = {0};
    unsigned failures = 0;
    for (int64_t n = 0; n < 8; n++) { /* later ones fail the log */
        vv_alloc_fail_after(n, 0);
        vv_status st = append(t, "t", "lost", &time, &one, NULL, 1, NULL, &err);
        vv_alloc_fail_after(-1, 0);
        failures += st != VV_OK;
        assert_int_equal(s->unlogged, 0);
        if (st == VV_OK)
            break;
    }
    assert_true(failures > 3);
    vv_mutex_lock(&s->lock);
    s->unlogged++; /* as an append under way has it */
    vv_mutex_unlock(&s->lock);
    for (unsigned h = 0; h < 20; h++) {
        char host[8];
        (void)snprintf(host, sizeof host, "h%u", h);
        append_one(t, host, 1, 1);
    }
    step_all(w->db);
    for (uint32_t p = 0; p < s->partition_count; p++)
        assert_int_equal(s->tally[p].below, 0);
    vv_mutex_lock(&s->lock);
    s->unlogged--;
    vv_mutex_unlock(&s->lock);
    append_one(t, "lost", 1, 1);
    append_one(t, "more", 1, 1);
    vio_sim_advance(w->disk, 3600 * SEC);
    step_all(w->db);
    uint64_t counted = 0;
    for (uint32_t p = 0; p < s->partition_count; p++)
        counted += s->tally[p].counted;
    assert_int_equal(counted, 22);
    assert_int_equal(check_count(t), 22);
    vv_table_close(t);
}

static void what_is_malformed_is_refused(void **state)
{
    const struct {
        const char *name;
        vv_slice value;
        vv_status want;
    } cases[] = {
        {"empty", BYTES(0), VV_CORRUPT},
        {"short", BYTES(1, 3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0), VV_CORRUPT},
        {"newer", BYTES(2, 3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0), VV_UNSUPPORTED},
        {"no ids", BYTES(1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), VV_CORRUPT},
        {"more series than ids", BYTES(1, 3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0),
         VV_CORRUPT},
    };
    sim_world *w = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vv_table *t = any_time_table(w->db);
        vv_table part = db_part_at(t, 0);
        vv_batch b;
        vv_error err = {0};
        uint64_t n;
        db_batch_init(&b, w->db, NULL, 0);
        assert_ok(db_batch_bind(&b, &part, &err), err);
        vv_slice value = cases[i].value;
        if (value.len == 1)
            value.len = 0;
        assert_ok(db_batch_add(&b, ENGINE_PUT, t->cat->id, S("N"), value, 0, &err), err);
        assert_ok(vv_write(w->db, &b, VV_DURABLE_SYNC, NULL, &err), err);
        db_batch_fini(&b);
        vv_table_close(t);
        sim_reopen(w);
        t = any_time_table(w->db);
        if (vv_series_count(t, &n, NULL, &err) != cases[i].want)
            fail_msg("%s: %s", cases[i].name, err.msg);
        vv_table_close(t);
    }
}

/* ---- crashes ---- */

static vv_status work(vv_db *db, bool *acked, vv_error *err)
{
    vv_table *t = NULL;
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.kind = VV_TABLE_SERIES;
    opt.future_ns = INT64_MAX;
    opt.partitions = test_partitions;
    opt.if_not_exists = true;
    db_series *s = NULL;
    vv_status st = vv_table_create(db, "plant", "sensors", &opt, &t, err);
    if (st == VV_OK)
        st = db_series_of(t, &s, err);
    if (s != NULL)
        s->count_every = 2;
    for (unsigned n = 0; st == VV_OK && n < 16; n++) {
        char host[8];
        const int64_t time = 1;
        const double one = 1;
        (void)snprintf(host, sizeof host, "h%u", n);
        st = append(t, "t", host, &time, &one, NULL, 1, NULL, err);
        acked[n] = st == VV_OK;
        (void)snprintf(host, sizeof host, "h%u", n / 2);
        if (st == VV_OK && n % 4 == 3) {
            acked[n / 2] = false; /* it may be there or not */
            st = drop_host(t, host, err);
        }
        if (st == VV_OK && n % 6 == 5)
            st = vv_checkpoint(db, err);
        if (st == VV_OK && n % 2 == 1)
            (void)!db_step(db, NULL);
    }
    vv_table_close(t);
    return st;
}

static void check_after(vv_db *db, const bool *acked)
{
    vv_error err = {0};
    vv_table *t = NULL;
    answer *a = malloc(sizeof *a);
    vv_status st = vv_table_open(db, "plant", "sensors", &t, &err);
    if (st == VV_OK) {
        (void)check_count(t);
        for (unsigned n = 0; n < 16; n++) {
            char host[8];
            (void)snprintf(host, sizeof host, "h%u", n);
            ask_raw(t, NULL, host, 0, 10, a);
            assert_true(!acked[n] || a->count == 1);
            append_one(t, host, 1, 1); /* ids are given once */
        }
        assert_int_equal(check_count(t), 16);
        db_series_attached(t->cat)->count_every = 1;
        step_all(db);
        (void)check_count(t);
    }
    vv_table_close(t);
    free(a);
}

static void prop_a_power_cut_keeps_the_count(void **state)
{
    sim_world *w = *state;
    uint64_t seed = vv_test_seed(8);
    bool cut = true;
    sim_end(w);
    for (uint64_t at = 1; cut; at++) {
        bool acked[16] = {false};
        vv_error err = {0};
        w->disk = vio_sim_disk_create();
        vio_sim_options sim = {.seed = seed + at, .cut_after_writes = at, .tear = true};
        assert_ok(sim_on(w, &sim, &err), err);
        vv_status st = sim_open_db(w, &err);
        if (st == VV_OK)
            st = work(w->db, acked, &err);
        cut = st != VV_OK;
        db_abandon(w->db);
        sim_off(w);
        assert_ok(sim_on(w, &(vio_sim_options){.seed = seed}, &err), err);
        assert_ok(sim_open_db(w, &err), err);
        check_after(w->db, acked);
        sim_reopen(w);
        check_after(w->db, (bool[16]){false});
        sim_end(w);
    }
}

static void walk_every_io_may_fail(void **state)
{
    sim_world *w = *state;
    uint64_t sites = 1;
    sim_end(w);
    for (uint64_t at = 1; at <= sites; at++) {
        bool acked[16] = {false};
        vv_error err = {0};
        w->disk = vio_sim_disk_create();
        vio_sim_options sim = {.seed = 3, .fault = VIO_SIM_EIO, .fault_at = at};
        assert_ok(sim_on(w, &sim, &err), err);
        vv_status st = sim_open_db(w, &err);
        if (st == VV_OK)
            (void)!work(w->db, acked, &err);
        sites = vio_sim_fault_sites(w->disk, VIO_SIM_EIO);
        db_abandon(w->db);
        sim_off(w);
        vio_sim_disk_kill(w->disk);
        assert_ok(sim_on(w, &(vio_sim_options){.seed = 3}, &err), err);
        assert_ok(sim_open_db(w, &err), err);
        check_after(w->db, acked);
        sim_end(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TP(prop_the_count_is_that_of_a_walk), TP(a_series_on_its_way_is_not_counted),
        TP(what_is_malformed_is_refused),     TP(prop_a_power_cut_keeps_the_count),
        TP(walk_every_io_may_fail),
    };
    return run_on_each(tests, ARRAY_LEN(tests));
}
