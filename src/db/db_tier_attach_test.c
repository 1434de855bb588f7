/*
 * db_tier_attach_test.c - verify, restore, and a store made of the objects alone.
 */
#include "db/db_tier_test_bed.h"

#define LAST (test_partitions - 1)

/* Sentences, one behind the other. */
typedef struct told {
    unsigned count;
    char text[8000];
} told;

static void note(void *ctx, const char *text)
{
    told *t = ctx;
    size_t len = strlen(t->text);
    t->count++;
    (void)snprintf(t->text + len, sizeof t->text - len, "%s\n", text);
}

/* ---- verify ---- */

static void verify_finds_what_is_not_so(void **state)
{
    tier_bed *b = *state;
    vv_error err = {0};
    vv_object_outcome outcome;
    arch_entry e[3];
    told t = {.count = 0};
    vv_table *table = tier_three(b, e);
    for (int whole = 0; whole < 2; whole++)
        assert_ok(vv_tier_verify(table, whole, note, &t, &err), err);
    assert_int_equal(t.count, 0);
    /* A byte in a block: all of it has to be read. */
    assert_int_equal(objs_bucket_flip(b->bucket, e[0].name, e[0].holds.index_at * 4), VV_OK);
    assert_ok(vv_tier_verify(table, false, note, &t, &err), err);
    assert_status(VV_CORRUPT, vv_tier_verify(table, true, note, &t, &err));
    assert_true(t.count > 0 && strstr(t.text, e[0].name) != NULL);
    assert_int_equal(objs_bucket_flip(b->bucket, e[0].name, e[0].holds.index_at * 4), VV_OK);
    /* One that is missing, one that is another. */
    t = (told){.count = 0};
    assert_ok(vv_object_remove(b->store, e[1].name, &outcome, &err), err);
    assert_status(VV_CORRUPT, vv_tier_verify(table, false, note, &t, &err));
    assert_true(t.count == 1 && strstr(t.text, e[1].name) != NULL);
    assert_non_null(strstr(t.text, "no such object"));
    vv_buf bytes;
    vv_buf_init(&bytes, 1u << 20);
    arch_entry other;
    tier_make(b, table, LAST, 600, 900, &other, &bytes);
    tier_store(b, &e[1], &bytes);
    vv_buf_fini(&bytes);
    t = (told){.count = 0};
    assert_status(VV_CORRUPT, vv_tier_verify(table, false, note, &t, &err));
    assert_true(t.count == 1 && strstr(t.text, e[1].name) != NULL);
    vv_table_close(table);
}

static void verify_tells_holes_and_a_store_that_is_away(void **state)
{
    tier_bed *b = *state;
    vv_error err = {0};
    told t = {.count = 0};
    vv_table *table = stream_table(b->w.db);
    tier_append(b, table, LAST, 300);
    (void)tier_archive(b, table, LAST, 0, 100);
    (void)tier_archive(b, table, LAST, 150, 200);
    tier_drop_local(table, LAST, 250);
    assert_status(VV_CORRUPT, vv_tier_verify(table, false, note, &t, &err));
    assert_non_null(strstr(t.text, "offsets 100 to 150"));
    assert_non_null(strstr(t.text, "offsets 200 to 250"));
    assert_int_equal(t.count, 2);
    assert_status(VV_CORRUPT, tier_read_one(table, LAST, 120, &err));
    assert_non_null(strstr(err.msg, "go on at 150"));
    assert_status(VV_CORRUPT, tier_read_one(table, LAST, 230, &err));
    assert_non_null(strstr(err.msg, "go on at 250"));
    assert_ok(tier_read_one(table, LAST, 150, &err), err);
    assert_ok(tier_read_one(table, LAST, 250, &err), err);
    tier_faults(b, (objs_memory_options){.outage = true});
    assert_status(VV_IO, vv_tier_verify(table, false, note, &t, &err));
    assert_non_null(strstr(err.msg, "ServiceUnavailable"));
    tier_faults(b, (objs_memory_options){0});
    vv_table_close(table);
}

/* ---- restore ---- */

static void restored_messages_need_no_store(void **state)
{
    tier_bed *b = *state;
    vv_error err = {0};
    uint64_t restored = 0;
    arch_entry e[3];
    vv_table *table = tier_three(b, e);
    assert_ok(vv_tier_restore(table, LAST, 250, 700, &restored, &err), err);
    assert_int_equal(restored, 450);
    assert_ok(vv_tier_restore(table, LAST, 200, 710, &restored, &err), err);
    assert_int_equal(restored, 60);
    assert_ok(vv_tier_restore(table, LAST, 890, 5000, &restored, &err), err);
    assert_true(restored > 0 && restored <= 10); /* the block that holds 900 begins before it */
    tier_faults(b, (objs_memory_options){.outage = true});
    tier_expect(table, LAST, 200, 710, NULL);
    tier_expect(table, LAST, 890, 1000, NULL);
    tier_faults(b, (objs_memory_options){0});
    tier_expect(table, LAST, 0, 1000, NULL);
    vv_stream_stats s = stats_of(table, LAST);
    assert_true(s.first_offset == 0 && s.next_offset == 1000);
    vv_table_close(table);
    sim_check_and_reopen(&b->w);
    table = stream_table(b->w.db);
    tier_append(b, table, LAST, 10);
    tier_expect(table, LAST, 0, 1010, NULL);
    assert_status(VV_INVALID, vv_tier_restore(table, test_partitions, 0, 1, &restored, &err));
    vv_table_close(table);
}

/* Where nothing but restored blocks is local, the partition still ends where it did. */
static void restored_blocks_are_not_the_end(void **state)
{
    tier_bed *b = *state;
    vv_error err = {0};
    uint64_t restored = 0;
    vv_table *table = stream_table(b->w.db);
    tier_append(b, table, LAST, 100);
    (void)tier_archive(b, table, LAST, 0, 100);
    tier_drop_local(table, LAST, 100);
    assert_ok(vv_tier_restore(table, LAST, 20, 40, &restored, &err), err);
    assert_int_equal(restored, 20);
    assert_int_equal(stats_of(table, LAST).next_offset, 100);
    vv_table_close(table);
    sim_reopen(&b->w);
    table = stream_table(b->w.db);
    tier_append(b, table, LAST, 5);
    tier_expect(table, LAST, 0, 105, NULL);
    vv_table_close(table);
}

static const objs_memory_fault faults[] = {
    OBJS_MEMORY_ERROR,      OBJS_MEMORY_THROTTLE, OBJS_MEMORY_TIMEOUT, OBJS_MEMORY_PARTIAL,
    OBJS_MEMORY_WRONG_ETAG, OBJS_MEMORY_FLIP,     OBJS_MEMORY_SLOW};

static objs_memory_options fault_at(objs_memory_fault fault, uint64_t n)
{
    return (objs_memory_options){.seed = n, .fault_at = n, .fault = fault, .slow_ms = 100};
}

/* The n-th request of a restore fails, for each. */
static void walk_restore(tier_bed *b, vv_table *table, objs_memory_fault fault)
{
    vv_error err = {0};
    bool met = true;
    for (uint64_t n = 1; met; n++) {
        uint64_t some = 0;
        uint64_t rest = 0;
        uint64_t first = n * 100 % 800;
        tier_faults(b, fault_at(fault, n));
        db_tier_cache *cache = b->w.db->tier->cache;
        b->w.db->tier->cache = NULL;
        vv_status st = vv_tier_restore(table, LAST, first, first + 90, &some, &err);
        met = tier_requests(b) >= n;
        if (st != VV_OK && st != VV_IO && st != VV_BUSY)
            fail_msg("fault %d at %d: %s: %s", (int)fault, (int)n, vv_status_name(st), err.msg);
        assert_ok(vv_tier_restore(table, LAST, first, first + 90, &rest, &err), err);
        assert_true(some + rest <= 90);
        b->w.db->tier->cache = cache;
        assert_true(db_tier_claim_try(b->w.db->tier, table->cat->id, LAST)); /* it was given back */
        db_tier_unclaim(b->w.db->tier, table->cat->id, LAST);
    }
    tier_faults(b, (objs_memory_options){0});
    tier_expect(table, LAST, 0, 1000, NULL);
}

static void a_restore_that_fails_is_tried_again(void **state)
{
    tier_bed *b = *state;
    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        vv_error err = {0};
        arch_entry e[3];
        vv_table *table = tier_three(b, e);
        walk_restore(b, table, faults[i]);
        vv_table_close(table);
        assert_ok(vv_table_drop(b->w.db, "plant", "events", &err), err);
    }
}

/* ---- attach ---- */

/* Another machine: its own disk, the same bucket. */
typedef struct other {
    sim_world w;
    vv_object_store *store;
    vv_tier_options tier;
} other;

static vv_status attach(tier_bed *b, other *o, const vio_sim_options *sim, told *t, vv_error *err)
{
    vv_object_options how = VV_OBJECT_OPTIONS_INIT;
    *o = (other){.w = {.ops = engine_under_test, .opt = SIM_TINY_OPTIONS}};
    o->w.disk = vio_sim_disk_create();
    assert_non_null(o->w.disk);
    assert_ok(sim_on(&o->w, sim, err), *err);
    how.backend = "memory";
    how.max_retries = 0;
    how.breaker_failures = 0;
    assert_ok(objs_open_bucket(&o->w.env, b->bucket, &how, &o->store, err), *err);
    vv_status st = db_tier_attach(&o->w.env, o->store, note, t, err);
    sim_off(&o->w);
    o->tier = (vv_tier_options){.size = sizeof o->tier, .objects = o->store};
    o->w.opt.tier = &o->tier;
    o->w.opt.create_if_missing = false;
    o->w.opt.read_only = true;
    return st;
}

static void end_other(other *o)
{
    if (o->w.db == NULL && o->w.env.io != NULL) /* it did not open */
        sim_off(&o->w);
    sim_end(&o->w);
    vv_object_store_close(o->store);
}

static vv_table *open_other(other *o)
{
    vv_error err = {0};
    vv_table *table = NULL;
    assert_ok(sim_on(&o->w, &(vio_sim_options){.seed = 3}, &err), err);
    assert_ok(db_open_env(&o->w.env, &o->w.opt, &o->w.db, &err), err);
    assert_ok(vv_table_open(o->w.db, "plant", "events", &table, &err), err);
    return table;
}

static void another_machine_reads_the_objects(void **state)
{
    tier_bed *b = *state;
    vv_error err = {0};
    told t = {.count = 0};
    other o;
    arch_entry e[3];
    vv_table *table = tier_three(b, e);
    tier_append(b, table, 0, test_partitions > 1 ? 40 : 0);
    if (test_partitions > 1)
        (void)tier_archive(b, table, 0, 0, 40);
    assert_ok(attach(b, &o, &(vio_sim_options){.seed = 2}, &t, &err), err);
    assert_int_equal(t.count, 0);
    vv_table *there = open_other(&o);
    tier_expect(there, LAST, 0, 900, NULL);
    vv_stream_stats s = stats_of(there, LAST);
    assert_true(s.first_offset == 0 && s.next_offset == 900);
    assert_true(s.first_receive_ns == stats_of(table, LAST).first_receive_ns);
    vv_message m;
    vv_stream_cursor *c = tier_cursor(there, LAST, 900, NULL);
    assert_status(VV_NOT_FOUND, vv_stream_cursor_next(c, &m, &err));
    vv_stream_cursor_close(c);
    if (test_partitions > 1)
        tier_expect(there, 0, 0, 40, NULL);
    vv_stream_start start = {.from = VV_STREAM_RECEIVED, .time_ns = e[1].holds.receive_first_ns};
    uint64_t here = 0;
    uint64_t other_place = 0;
    assert_ok(vv_stream_find(table, LAST, &start, NULL, &here, &err), err);
    assert_ok(vv_stream_find(there, LAST, &start, NULL, &other_place, &err), err);
    assert_int_equal(here, other_place);
    assert_ok(vv_tier_verify(there, true, note, &t, &err), err);
    assert_int_equal(t.count, 0);
    vv_message text = text_message("x");
    assert_status(VV_UNSUPPORTED, vv_stream_append(there, &text, 1, NULL, NULL, &err));
    vv_table_close(there);
    sim_close(&o.w);
    o.w.opt.read_only = false; /* a trim would remove objects of the other one */
    assert_ok(sim_on(&o.w, &(vio_sim_options){.seed = 3}, &err), err);
    assert_status(VV_UNSUPPORTED, db_open_env(&o.w.env, &o.w.opt, &o.w.db, &err));
    assert_non_null(strstr(err.msg, "read-only"));
    sim_off(&o.w);
    end_other(&o);
    vv_table_close(table);
}

static void strangers_repeats_and_holes(void **state)
{
    tier_bed *b = *state;
    vv_error err = {0};
    vv_object_outcome outcome;
    told t = {.count = 0};
    other o;
    arch_entry e[3];
    vv_table *table = tier_three(b, e);
    tier_merge(b, table, LAST, &e[0], &e[1], false); /* broken off before they were removed */
    vv_slice text =
        S("not ours, but of a length that might be, and therefore looked at: a file that "
          "another program put there, under a name that looks like one of our own..");
    assert_ok(vv_object_put(b->store, "plant/x.varve", &text, 1, 0, NULL, &outcome, &err), err);
    assert_ok(vv_object_put(b->store, "readme.txt", &text, 1, 0, NULL, &outcome, &err), err);
    assert_ok(vv_object_put(b->store, "a.varve", &text, 0, 0, NULL, &outcome, &err), err);
    assert_ok(attach(b, &o, &(vio_sim_options){.seed = 2}, &t, &err), err);
    assert_true(t.count == 1 && strstr(t.text, "plant/x.varve") != NULL);
    vv_table *there = open_other(&o);
    tier_expect(there, LAST, 0, 900, NULL);
    vv_table_close(there);
    end_other(&o);
    /* Without the middle. */
    (void)tier_archive(b, table, LAST, 900, 1000);
    assert_ok(vv_object_remove(b->store, e[2].name, &outcome, &err), err);
    t = (told){.count = 0};
    assert_ok(attach(b, &o, &(vio_sim_options){.seed = 2}, &t, &err), err);
    assert_non_null(strstr(t.text, "offsets 600 to 900 are in no object"));
    there = open_other(&o);
    tier_expect(there, LAST, 0, 600, NULL);
    tier_expect(there, LAST, 900, 1000, NULL);
    assert_status(VV_CORRUPT, tier_read_one(there, LAST, 700, &err));
    assert_non_null(strstr(err.msg, "go on at 900"));
    vv_table_close(there);
    end_other(&o);
    vv_table_close(table);
}

/* A table is dropped and made again, archived before and after. Offsets begin at 0 in both. */
static vv_table *remake(tier_bed *b)
{
    vv_error err = {0};
    vv_table *table = stream_table(b->w.db);
    tier_append(b, table, LAST, 300);
    (void)tier_archive(b, table, LAST, 0, 300);
    vv_table_close(table);
    assert_ok(vv_table_drop(b->w.db, "plant", "events", &err), err);
    table = stream_table(b->w.db);
    tier_append(b, table, LAST, 250);
    (void)tier_archive(b, table, LAST, 0, 100);
    return table;
}

static void expect_attached(tier_bed *b, uint64_t first, uint64_t next, const char *told_of)
{
    vv_error err = {0};
    told t = {.count = 0};
    other o;
    assert_ok(attach(b, &o, &(vio_sim_options){.seed = 2}, &t, &err), err);
    assert_int_equal(t.count, told_of == NULL ? 0 : 1);
    if (told_of != NULL && strstr(t.text, told_of) == NULL)
        fail_msg("%s", t.text);
    vv_table *there = open_other(&o);
    tier_expect(there, LAST, first, next, NULL);
    vv_stream_stats s = stats_of(there, LAST);
    assert_true(s.first_offset == first && s.next_offset == next);
    t.count = 0;
    assert_ok(vv_tier_verify(there, true, note, &t, &err), err);
    vv_table_close(there);
    end_other(&o);
}

static void a_table_made_again_is_not_the_one_before(void **state)
{
    tier_bed *b = *state;
    told t = {.count = 0};
    vv_error err = {0};
    vv_table *table = remake(b);
    expect_attached(b, 0, 100, "1 objects of a table that had its name before");
    /* An object of the other one in the place of its own is found. */
    assert_ok(vv_tier_verify(table, false, note, &t, &err), err);
    table->cat->created_ns++;
    assert_status(VV_CORRUPT, vv_tier_verify(table, false, note, &t, &err));
    table->cat->created_ns--;
    assert_non_null(strstr(t.text, "another table of that name"));
    vv_table_close(table);
}

/* Objects of versions that knew no id: by when they were made, as far as that tells. */
static void objects_without_an_id_are_read(void **state)
{
    tier_bed *b = *state;
    b->says_no_table = true;
    vv_table *table = remake(b);
    expect_attached(b, 0, 300, NULL); /* it cannot be told */
    b->says_no_table = false;
    (void)tier_archive(b, table, LAST, 100, 200);
    expect_attached(b, 100, 200, "2 objects of a table that had its name before");
    b->says_no_table = true;
    b->made_ns = vv_clock_wall(b->w.env.clock);
    (void)tier_archive(b, table, LAST, 200, 250);
    expect_attached(b, 100, 250, "2 objects");
    vv_table_close(table);
}

static void a_place_that_is_taken_is_refused(void **state)
{
    tier_bed *b = *state;
    vv_error err = {0};
    told t = {.count = 0};
    other o;
    assert_status(VV_NOT_FOUND, attach(b, &o, &(vio_sim_options){.seed = 2}, &t, &err));
    assert_non_null(strstr(err.msg, "prefix"));
    end_other(&o);
    arch_entry e[3];
    vv_table *table = tier_three(b, e);
    vv_table_close(table);
    assert_status(VV_CONFLICT, db_tier_attach(&b->w.env, b->store, note, &t, &err));
    assert_non_null(strstr(err.msg, "not empty"));
    assert_status(VV_INVALID, vv_tier_attach("", b->store, note, &t, &err));
}

/* Whatever fails, the directory is a whole store or none. */
/* Every message is read, or it is told that an object could not be. */
static void expect_attached_or_told(other *o, const told *t)
{
    vv_error err = {0};
    vv_message m;
    vv_table *there = open_other(o);
    if (t->count == 0) {
        tier_expect(there, LAST, 0, 900, NULL);
    } else { /* what is there is right, and what is not is no silence */
        vv_stream_cursor *c = tier_cursor(there, LAST, 0, NULL);
        vv_status st;
        while ((st = vv_stream_cursor_next(c, &m, &err)) == VV_OK)
            assert_true(tier_is(&m, m.offset));
        assert_true(st == VV_NOT_FOUND || st == VV_CORRUPT);
        vv_stream_cursor_close(c);
    }
    vv_table_close(there);
}

static void each_request_of_an_attach_may_fail(void **state)
{
    tier_bed *b = *state;
    arch_entry e[3];
    unsigned made = 0;
    vv_table *table = tier_three(b, e);
    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        bool met = true;
        for (uint64_t n = 1; met; n++) {
            vv_error err = {0};
            told t = {.count = 0};
            other o;
            tier_faults(b, fault_at(faults[i], n));
            vv_status st = attach(b, &o, &(vio_sim_options){.seed = n}, &t, &err);
            met = tier_requests(b) >= n;
            tier_faults(b, (objs_memory_options){0});
            if (st == VV_OK) {
                made++;
                expect_attached_or_told(&o, &t);
            } else {
                vv_error why = {0};
                assert_ok(sim_on(&o.w, &(vio_sim_options){.seed = 3}, &why), why);
                assert_true(db_open_env(&o.w.env, &o.w.opt, &o.w.db, &why) != VV_OK);
            }
            end_other(&o);
        }
    }
    assert_true(made >= ARRAY_LEN(faults));
    vv_table_close(table);
}

/* A list that does not show the last changes yet: what it shows is attached, without a hole. */
static void an_attach_by_a_list_that_lags(void **state)
{
    tier_bed *b = *state;
    vv_error err = {0};
    told t = {.count = 0};
    other o;
    arch_entry e[3];
    vv_table *table = tier_three(b, e);
    tier_faults(b, (objs_memory_options){.lag = 1});
    assert_ok(attach(b, &o, &(vio_sim_options){.seed = 2}, &t, &err), err);
    vv_table *there = open_other(&o);
    assert_int_equal(stats_of(there, LAST).next_offset, 600);
    tier_expect(there, LAST, 0, 600, NULL);
    vv_table_close(there);
    end_other(&o);
    tier_faults(b, (objs_memory_options){0});
    vv_table_close(table);
}

static void a_store_is_whole_or_not_there(void **state)
{
    tier_bed *b = *state;
    arch_entry e[3];
    vv_table *table = tier_three(b, e);
    bool met = true;
    for (uint64_t n = 1; met; n += n < 40 ? 1 : 7) {
        vv_error err = {0};
        told t = {.count = 0};
        other o;
        bool cuts = n % 2 == 0;
        vio_sim_options sim = {.seed = n,
                               .fault = cuts ? VIO_SIM_NONE : VIO_SIM_EIO,
                               .fault_at = cuts ? 0 : n,
                               .cut_after_writes = cuts ? n : 0,
                               .tear = true};
        vv_status st = attach(b, &o, &sim, &t, &err);
        met = cuts ? vio_sim_is_off(o.w.disk) : vio_sim_fault_sites(o.w.disk, VIO_SIM_EIO) >= n;
        met |= n < 40;
        vv_error why = {0};
        assert_ok(sim_on(&o.w, &(vio_sim_options){.seed = 3}, &why), why);
        vv_status opened = db_open_env(&o.w.env, &o.w.opt, &o.w.db, &why);
        if (st == VV_OK || opened == VV_OK) {
            vv_table *there = NULL;
            assert_ok(opened, why);
            assert_ok(vv_table_open(o.w.db, "plant", "events", &there, &why), why);
            tier_expect(there, LAST, 0, 900, NULL);
            vv_table_close(there);
        }
        end_other(&o);
    }
    vv_table_close(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TT(verify_finds_what_is_not_so),         TT(verify_tells_holes_and_a_store_that_is_away),
        TT(restored_messages_need_no_store),     TT(restored_blocks_are_not_the_end),
        TT(a_restore_that_fails_is_tried_again), TT(another_machine_reads_the_objects),
        TT(strangers_repeats_and_holes),         TT(a_table_made_again_is_not_the_one_before),
        TT(objects_without_an_id_are_read),      TT(a_place_that_is_taken_is_refused),
        TT(each_request_of_an_attach_may_fail),  TT(an_attach_by_a_list_that_lags),
        TT(a_store_is_whole_or_not_there),
    };
    return run_on_each(tests, ARRAY_LEN(tests));
}
