/*
 * db_tier_read_test.c - archived messages through the calls that fresh ones are read with: what a
 * read costs, places, snapshots, tails, what reaches the reader when the store fails or lies.
 */
#include "db/db_tier_test_bed.h"

#define LAST (test_partitions - 1)

static void one_message_costs_two_gets(void **state)
{
    tier_bed *b = *state;
    vv_error err = {0};
    arch_entry e[3];
    vv_table *t = tier_three(b, e);
    for (unsigned i = 0; i < 3; i++) {
        tier_faults(b, (objs_memory_options){0});
        assert_ok(tier_read_one(t, LAST, i * 300 + 151, &err), err);
        assert_int_equal(tier_requests(b), 2);
        assert_ok(tier_read_one(t, LAST, i * 300 + 151, &err), err);
        assert_int_equal(tier_requests(b), 2); /* both are cached */
        assert_ok(tier_read_one(t, LAST, i * 300 + 10, &err), err);
        assert_int_equal(tier_requests(b), 3); /* the index is */
    }
    tier_faults(b, (objs_memory_options){0});
    assert_ok(tier_read_one(t, LAST, 900, &err), err);
    vv_stream_stats s = stats_of(t, LAST);
    assert_int_equal(tier_requests(b), 0);
    assert_true(s.first_offset == 0 && s.next_offset == 1000 && s.messages == 1000);
    assert_true(s.first_receive_ns == e[0].holds.receive_first_ns);
    vv_table_close(t);
}

static void a_scan_reads_ahead(void **state)
{
    tier_bed *b = *state;
    arch_entry e[3];
    vv_table *t = tier_three(b, e);
    tier_faults(b, (objs_memory_options){0});
    tier_expect(t, LAST, 0, 1000, NULL);
    /* Of the first object: the index, a block, then 1, 3, 7 and more beside each. */
    if (tier_requests(b) > 18)
        fail_msg("a scan of three objects took %d requests", (int)tier_requests(b));
    tier_expect(t, LAST, 0, 1000, NULL);
    uint64_t after = tier_requests(b);
    tier_expect(t, LAST, 450, 1000, NULL);
    assert_int_equal(tier_requests(b), after);
    vv_table_close(t);
}

static void messages_lie_behind_each_other(void **state)
{
    tier_bed *b = *state;
    vv_error err = {0};
    vv_message m;
    arch_entry e[3];
    vv_table *t = tier_three(b, e);
    vv_stream_read_options opt = VV_STREAM_READ_OPTIONS_INIT;
    vv_stream_cursor *c = NULL;
    opt.partition = LAST;
    opt.start = (vv_stream_start){.from = VV_STREAM_OFFSET, .offset = 890};
    opt.messages_max = 20;
    assert_ok(vv_stream_cursor_open(t, &opt, &c, &err), err);
    for (uint64_t o = 890; o < 910; o++) {
        assert_ok(vv_stream_cursor_next(c, &m, &err), err);
        assert_true(tier_is(&m, o) && m.partition == LAST && m.receive_time_ns > 0);
        assert_true(vv_stream_cursor_offset(c) == o + 1);
    }
    assert_status(VV_NOT_FOUND, vv_stream_cursor_next(c, &m, &err));
    vv_stream_cursor_close(c);
    opt.messages_max = 0;
    opt.bytes_max = 100; /* two of them */
    assert_ok(vv_stream_cursor_open(t, &opt, &c, &err), err);
    unsigned count = 0;
    while (vv_stream_cursor_next(c, &m, &err) == VV_OK)
        count++;
    assert_true(count >= 1 && count <= 3);
    vv_stream_cursor_close(c);
    tier_trim(t, LAST, 310);
    opt.bytes_max = 0;
    opt.start.offset = 5;
    assert_ok(vv_stream_cursor_open(t, &opt, &c, &err), err);
    assert_true(vv_stream_cursor_offset(c) == 310 && vv_stream_cursor_skipped(c) == 305);
    vv_stream_cursor_close(c);
    tier_expect(t, LAST, 310, 1000, NULL);
    vv_table_close(t);
}

/* Who does not wait for the store is told where it would. */
static void what_is_local_waits_for_no_store(void **state)
{
    tier_bed *b = *state;
    vv_error err = {0};
    arch_entry e[3];
    vv_message m;
    vv_table *t = tier_three(b, e);
    vv_stream_read_options opt = VV_STREAM_READ_OPTIONS_INIT;
    vv_stream_cursor *c = NULL;
    const vv_stream_start archived[] = {
        {.from = VV_STREAM_RECEIVED, .time_ns = e[1].holds.receive_first_ns},
        {.from = VV_STREAM_EVENT, .time_ns = e[1].holds.receive_first_ns},
    };
    tier_faults(b, (objs_memory_options){0});
    opt.partition = LAST;
    opt.local = true;
    for (size_t i = 0; i < ARRAY_LEN(archived); i++) {
        opt.start = archived[i];
        assert_status(VV_BUSY, vv_stream_cursor_open(t, &opt, &c, &err));
    }
    opt.start = (vv_stream_start){.from = VV_STREAM_OFFSET, .offset = 150};
    assert_ok(vv_stream_cursor_open(t, &opt, &c, &err), err);
    assert_status(VV_BUSY, vv_stream_cursor_next(c, &m, &err));
    assert_non_null(strstr(err.msg, "lie in the object store alone"));
    assert_true(vv_stream_cursor_offset(c) == 150);
    vv_stream_cursor_close(c);
    opt.start.offset = 900;
    assert_ok(vv_stream_cursor_open(t, &opt, &c, &err), err);
    for (uint64_t o = 900; o < 1000; o++) {
        assert_ok(vv_stream_cursor_next(c, &m, &err), err);
        assert_true(tier_is(&m, o));
    }
    assert_status(VV_NOT_FOUND, vv_stream_cursor_next(c, &m, &err));
    vv_stream_cursor_close(c);
    assert_int_equal(tier_requests(b), 0);
    vv_table_close(t);
}

/* ---- places ---- */

static void expect_place(vv_table *t, const vv_stream_start *start, const vv_snapshot *at,
                         uint64_t want)
{
    vv_error err = {0};
    uint64_t got = 0;
    assert_ok(vv_stream_find(t, LAST, start, at, &got, &err), err);
    if (got != want)
        fail_msg("time %lld of kind %d is at offset %d instead of %d", (long long)start->time_ns,
                 (int)start->from, (int)got, (int)want);
}

/* All places by time, as a list of all messages has them, from offset `first` on. */
static void check_places(vv_table *t, uint64_t first, uint64_t next)
{
    static int64_t receive[1200];
    static int64_t event[1200];
    vv_error err = {0};
    vv_message m;
    vv_stream_cursor *c = tier_cursor(t, LAST, first, NULL);
    for (uint64_t o = first; o < next; o++) {
        assert_ok(vv_stream_cursor_next(c, &m, &err), err);
        receive[o] = m.receive_time_ns;
        event[o] = m.event_time_ns == 0 ? m.receive_time_ns : m.event_time_ns;
    }
    vv_stream_cursor_close(c);
    for (uint64_t o = first; o < next; o += 7) {
        for (int64_t d = -1; d <= 1; d++) {
            uint64_t at = first;
            vv_stream_start start = {.from = VV_STREAM_RECEIVED, .time_ns = receive[o] + d};
            while (at < next && receive[at] < start.time_ns)
                at++;
            expect_place(t, &start, NULL, at);
        }
        uint64_t at = first;
        vv_stream_start start = {.from = VV_STREAM_EVENT, .time_ns = event[o]};
        while (at < next && event[at] < start.time_ns)
            at++;
        expect_place(t, &start, NULL, at);
    }
    vv_stream_start never = {.from = VV_STREAM_RECEIVED, .time_ns = INT64_MAX};
    expect_place(t, &never, NULL, next);
    never.from = VV_STREAM_EVENT;
    expect_place(t, &never, NULL, next);
    never.time_ns = INT64_MIN;
    expect_place(t, &never, NULL, first);
}

static void places_by_time_and_position(void **state)
{
    tier_bed *b = *state;
    vv_error err = {0};
    arch_entry e[3];
    vv_table *t = tier_three(b, e);
    check_places(t, 0, 1000);
    tier_trim(t, LAST, 321);
    check_places(t, 321, 1000);
    tier_drop_local(t, LAST, 900);
    assert_ok(vv_stream_commit(t, LAST, S("c"), 450, VV_DURABLE_DEFAULT, &err), err);
    vv_stream_start start = {.from = VV_STREAM_POSITION, .position = S("c")};
    expect_place(t, &start, NULL, 450);
    start.from = VV_STREAM_EARLIEST;
    expect_place(t, &start, NULL, 321);
    start.from = VV_STREAM_LATEST;
    expect_place(t, &start, NULL, 1000);
    /* What is known without the object's bytes asks for none. */
    tier_faults(b, (objs_memory_options){0});
    start = (vv_stream_start){.from = VV_STREAM_RECEIVED, .time_ns = INT64_MIN};
    expect_place(t, &start, NULL, 321);
    start.time_ns = INT64_MAX;
    expect_place(t, &start, NULL, 1000);
    assert_int_equal(tier_requests(b), 0);
    vv_table_close(t);
}

/* ---- at other moments ---- */

static void snapshots_stand_while_objects_are_merged(void **state)
{
    tier_bed *b = *state;
    vv_error err = {0};
    vv_snapshot *at = NULL;
    arch_entry e[3];
    vv_table *t = tier_three(b, e);
    assert_ok(vv_snapshot_create(b->w.db, &at, &err), err);
    tier_append(b, t, LAST, 50);
    tier_merge(b, t, LAST, &e[0], &e[1], true);
    tier_trim(t, LAST, 100);
    tier_expect(t, LAST, 100, 1050, NULL);
    tier_expect(t, LAST, 100, 1000, at); /* through the merged one: theirs are gone */
    tier_expect(t, LAST, 0, 100, at);
    vv_message m;
    vv_stream_cursor *c = tier_cursor(t, LAST, 1000, at);
    assert_status(VV_NOT_FOUND, vv_stream_cursor_next(c, &m, &err));
    vv_stream_cursor_close(c);
    vv_snapshot_release(at);
    vv_table_close(t);
}

static void a_merged_object_that_is_larger_ends_where_the_snapshot_does(void **state)
{
    tier_bed *b = *state;
    vv_error err = {0};
    vv_message m;
    vv_snapshot *at = NULL;
    vv_table *t = stream_table(b->w.db);
    tier_append(b, t, LAST, 100);
    arch_entry one = tier_archive(b, t, LAST, 0, 100);
    tier_drop_local(t, LAST, 100);
    assert_ok(vv_snapshot_create(b->w.db, &at, &err), err);
    tier_append(b, t, LAST, 100);
    arch_entry two = tier_archive(b, t, LAST, 100, 200);
    tier_drop_local(t, LAST, 200);
    tier_merge(b, t, LAST, &one, &two, true);
    vv_stream_cursor *c = tier_cursor(t, LAST, 0, at);
    for (uint64_t o = 0; o < 100; o++) {
        assert_ok(vv_stream_cursor_next(c, &m, &err), err);
        assert_true(tier_is(&m, o));
    }
    assert_status(VV_NOT_FOUND, vv_stream_cursor_next(c, &m, &err));
    vv_stream_cursor_close(c);
    vv_snapshot_release(at);
    vv_table_close(t);
}

static void a_tail_begins_in_an_object(void **state)
{
    tier_bed *b = *state;
    vv_error err = {0};
    vv_message m;
    arch_entry e[3];
    vv_stream_tail *tail = NULL;
    vv_table *t = tier_three(b, e);
    vv_stream_read_options opt = VV_STREAM_READ_OPTIONS_INIT;
    opt.partition = LAST;
    opt.start = (vv_stream_start){.from = VV_STREAM_OFFSET, .offset = 290};
    opt.messages_max = 70;
    assert_ok(vv_stream_tail_open(t, &opt, &tail, &err), err);
    for (uint64_t o = 290; o < 1000; o++) {
        if (o == 400) { /* an error is told, and the next call goes on */
            objs_memory_options away = {.outage = true};
            tier_faults(b, away);
            vv_status st = VV_OK;
            while (o < 900 && (st = vv_stream_tail_next(tail, 0, &m, &err)) == VV_OK)
                assert_true(tier_is(&m, o++));
            assert_int_equal(st, VV_IO);
            tier_faults(b, (objs_memory_options){0});
        }
        assert_ok(vv_stream_tail_next(tail, 0, &m, &err), err);
        assert_true(tier_is(&m, o));
    }
    assert_status(VV_TIMEOUT, vv_stream_tail_next(tail, 0, &m, &err));
    tier_append(b, t, LAST, 1);
    assert_ok(vv_stream_tail_next(tail, 0, &m, &err), err);
    assert_true(tier_is(&m, 1000));
    vv_stream_tail_close(tail);
    vv_table_close(t);
}

/* ---- the model ---- */

static void prop_reads_equal_what_was_appended(void **state)
{
    tier_bed *b = *state;
    static arch_entry entry[200];
    vv_error err = {0};
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(31));
    size_t count = 0;
    uint64_t first = 0, local = 0, archived = 0, next = 0;
    uint64_t then_first = 0, then_next = 0;
    vv_snapshot *at = NULL;
    vv_table *t = stream_table(b->w.db);
    for (int step = 0; step < 400; step++) {
        unsigned what = (unsigned)vv_rng_below(&rng, 12);
        if (what < 4) {
            uint64_t n = 1 + vv_rng_below(&rng, 60);
            tier_append(b, t, LAST, n);
            next += n;
        } else if (what < 6 && archived < next && count < ARRAY_LEN(entry)) {
            uint64_t end = archived + 1 + vv_rng_below(&rng, next - archived);
            entry[count++] = tier_archive(b, t, LAST, archived, end);
            archived = end;
        } else if (what == 6 && local < archived) {
            local += 1 + vv_rng_below(&rng, archived - local);
            tier_drop_local(t, LAST, local);
        } else if (what == 7 && first < local && vv_rng_below(&rng, 3) == 0) {
            first += vv_rng_below(&rng, local - first + 1) / 4;
            tier_trim(t, LAST, first);
        } else if (what == 8 && count >= 2) {
            size_t i = vv_rng_below(&rng, count - 1);
            if (entry[i].holds.first >= first) {
                tier_merge(b, t, LAST, &entry[i], &entry[i + 1], false);
                db_stream_reader r;
                assert_ok(db_stream_reader_open(&r, t, LAST, NULL, NULL, &err), err);
                assert_ok(db_tier_entry_of(&r, entry[i].holds.first, &entry[i], &err), err);
                db_stream_reader_close(&r);
                memmove(entry + i + 1, entry + i + 2, (count - i - 2) * sizeof *entry);
                count--;
            }
        } else if (what == 9) {
            vv_snapshot_release(at);
            assert_ok(vv_snapshot_create(b->w.db, &at, &err), err);
            then_first = first;
            then_next = next;
        } else if (what == 10 && step % 5 == 0) {
            vv_snapshot_release(at);
            at = NULL;
            vv_table_close(t);
            sim_reopen(&b->w);
            t = stream_table(b->w.db);
        } else if (what == 11) {
            flush_all(b->w.db);
        }
        if (first < next) {
            uint64_t from = first + vv_rng_below(&rng, next - first);
            tier_expect(t, LAST, from, vv_min_u64(next, from + vv_rng_below(&rng, 80)), NULL);
        }
        if (at != NULL && then_first < then_next) {
            uint64_t from = then_first + vv_rng_below(&rng, then_next - then_first);
            tier_expect(t, LAST, from, vv_min_u64(then_next, from + 40), at);
        }
        vv_stream_stats s = stats_of(t, LAST);
        assert_true(s.first_offset == first && s.next_offset == next);
        if (step % 80 == 79 && next < 1200)
            check_places(t, first, next);
    }
    tier_expect(t, LAST, first, next, NULL);
    assert_true(local > 100 && next > 1000 && count > 3);
    vv_snapshot_release(at);
    vv_table_close(t);
}

/* ---- failures ---- */

/* Each request fails once: the cursor says so, goes on at the next call, and gives every message.
 */
static void walk_requests(tier_bed *b, vv_table *t, objs_memory_fault fault, bool may_be_hidden)
{
    bool met = true;
    for (uint64_t n = 1; met; n++) {
        vv_message m;
        vv_error err = {0};
        unsigned told = 0;
        uint64_t at = 0;
        db_tier_cache *cache = b->w.db->tier->cache;
        b->w.db->tier->cache = NULL; /* every piece is asked for */
        tier_faults(b,
                    (objs_memory_options){.seed = n, .slow_ms = 20, .fault_at = n, .fault = fault});
        vv_stream_cursor *c = tier_cursor(t, LAST, 0, NULL);
        while (at < 1000) {
            vv_status st = vv_stream_cursor_next(c, &m, &err);
            if (st == VV_OK) {
                assert_true(tier_is(&m, at));
                at++;
                continue;
            }
            if (st == VV_NOT_FOUND || st == VV_TIMEOUT || ++told > 1)
                fail_msg("request %d: %s: %s", (int)n, vv_status_name(st), err.msg);
            assert_non_null(strstr(err.msg, "plant/events/"));
        }
        assert_status(VV_NOT_FOUND, vv_stream_cursor_next(c, &m, &err));
        vv_stream_cursor_close(c);
        met = tier_requests(b) >= n;
        if (met && told == 0 && !may_be_hidden)
            fail_msg("request %d failed and nobody was told", (int)n);
        b->w.db->tier->cache = cache;
    }
    tier_faults(b, (objs_memory_options){0});
}

static void each_request_may_fail(void **state)
{
    tier_bed *b = *state;
    arch_entry e[3];
    vv_table *t = tier_three(b, e);
    walk_requests(b, t, OBJS_MEMORY_ERROR, false);
    walk_requests(b, t, OBJS_MEMORY_TIMEOUT, false);
    walk_requests(b, t, OBJS_MEMORY_THROTTLE, false);
    walk_requests(b, t, OBJS_MEMORY_PARTIAL, false);
    walk_requests(b, t, OBJS_MEMORY_FLIP, true); /* the second try is whole */
    walk_requests(b, t, OBJS_MEMORY_SLOW, true);
    vv_table_close(t);
}

static void a_store_that_is_away_comes_back(void **state)
{
    tier_bed *b = *state;
    vv_error err = {0};
    arch_entry e[3];
    vv_table *t = tier_three(b, e);
    objs_memory_options away = {.outage = true};
    tier_faults(b, away);
    assert_status(VV_IO, tier_read_one(t, LAST, 3, &err));
    assert_non_null(strstr(err.msg, e[0].name));
    assert_non_null(strstr(err.msg, "ServiceUnavailable"));
    assert_ok(tier_read_one(t, LAST, 950, &err), err); /* what is fresh is there */
    tier_append(b, t, LAST, 3);
    tier_faults(b, (objs_memory_options){0});
    assert_ok(tier_read_one(t, LAST, 3, &err), err);
    tier_faults(b, away);
    assert_ok(tier_read_one(t, LAST, 3, &err), err); /* it is cached */
    tier_faults(b, (objs_memory_options){0});
    vv_table_close(t);
}

static void an_object_that_is_missing_is_named(void **state)
{
    tier_bed *b = *state;
    vv_error err = {0};
    vv_object_outcome outcome;
    arch_entry e[3];
    vv_table *t = tier_three(b, e);
    assert_ok(vv_object_remove(b->store, e[1].name, &outcome, &err), err);
    assert_status(VV_CORRUPT, tier_read_one(t, LAST, 301, &err));
    assert_non_null(strstr(err.msg, e[1].name));
    assert_non_null(strstr(err.msg, "put it back"));
    assert_ok(tier_read_one(t, LAST, 299, &err), err);
    assert_ok(tier_read_one(t, LAST, 601, &err), err);
    vv_buf bytes;
    vv_buf_init(&bytes, 1u << 20);
    vv_buf_append_str(&bytes, "something else");
    tier_store(b, &e[1], &bytes);
    assert_status(VV_CORRUPT, tier_read_one(t, LAST, 301, &err));
    assert_non_null(strstr(err.msg, e[1].name));
    vv_buf_fini(&bytes);
    vv_table_close(t);
}

static void without_a_store_it_is_told(void **state)
{
    tier_bed *b = *state;
    vv_error err = {0};
    arch_entry e[3];
    vv_table *t = tier_three(b, e);
    vv_table_close(t);
    sim_close(&b->w);
    b->w.opt.tier = NULL;
    sim_start(&b->w);
    t = stream_table(b->w.db);
    assert_status(VV_UNSUPPORTED, tier_read_one(t, LAST, 5, &err));
    assert_non_null(strstr(err.msg, "storage.backend"));
    assert_ok(tier_read_one(t, LAST, 900, &err), err);
    vv_table_close(t);
    sim_close(&b->w);
    b->w.opt.tier = &b->tier;
    sim_start(&b->w);
}

static void note_finding(void *ctx, const char *text)
{
    unsigned *count = ctx;
    (void)text;
    ++*count;
}

/* A flipped bit anywhere in an object: no message is another than it was, and the bytes that no
 * read needs are noticed by verify. */
static void prop_a_flipped_bit_is_noticed(void **state)
{
    tier_bed *b = *state;
    vv_error err = {0};
    vv_message m;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(5));
    vv_table *t = stream_table(b->w.db);
    tier_append(b, t, LAST, 60);
    arch_entry e = tier_archive(b, t, LAST, 0, 60);
    tier_drop_local(t, LAST, 60);
    db_tier_cache *cache = b->w.db->tier->cache;
    b->w.db->tier->cache = NULL;
    for (uint64_t byte = 0; byte < e.holds.size; byte++) {
        uint64_t bit = byte * 8 + vv_rng_below(&rng, 8);
        unsigned findings = 0;
        uint64_t at = 0;
        vv_status st = VV_OK;
        assert_status(VV_OK, objs_bucket_flip(b->bucket, e.name, bit));
        vv_stream_cursor *c = tier_cursor(t, LAST, 0, NULL);
        while (at < 60 && (st = vv_stream_cursor_next(c, &m, &err)) == VV_OK) {
            if (!tier_is(&m, at))
                fail_msg("byte %d: message %d is another", (int)byte, (int)at);
            at++;
        }
        vv_stream_cursor_close(c);
        const char *named = st == VV_OK ? NULL : strstr(err.msg, e.name);
        if (st != VV_OK &&
            (st != VV_CORRUPT || named == NULL || strstr(named + 1, e.name) != NULL ||
             strstr(err.msg, "put it back from a copy") == NULL))
            fail_msg("byte %d: %s: %s", (int)byte, vv_status_name(st), err.msg);
        st = vv_tier_verify(t, true, note_finding, &findings, &err);
        if (st != VV_CORRUPT || findings == 0)
            fail_msg("byte %d is flipped, and nothing was found", (int)byte);
        assert_status(VV_OK, objs_bucket_flip(b->bucket, e.name, bit));
    }
    b->w.db->tier->cache = cache;
    tier_expect(t, LAST, 0, 60, NULL);
    unsigned findings = 0;
    assert_ok(vv_tier_verify(t, true, note_finding, &findings, &err), err);
    assert_int_equal(findings, 0);
    vv_table_close(t);
}

static void each_allocation_may_fail(void **state)
{
    tier_bed *b = *state;
    arch_entry e[3];
    vv_table *t = tier_three(b, e);
    bool met = true;
    for (int64_t n = 0; met; n++) {
        vv_error err = {0};
        vv_message m;
        vv_stream_cursor *c = NULL;
        vv_stream_read_options opt = VV_STREAM_READ_OPTIONS_INIT;
        opt.partition = LAST;
        opt.start = (vv_stream_start){.from = VV_STREAM_EVENT, .time_ns = 250};
        uint64_t before = vv_alloc_count();
        vv_alloc_fail_after(n, 0);
        vv_status st = vv_stream_cursor_open(t, &opt, &c, &err);
        for (unsigned i = 0; st == VV_OK && i < 120; i++)
            st = vv_stream_cursor_next(c, &m, &err);
        met = (int64_t)(vv_alloc_count() - before) > n;
        vv_alloc_fail_after(-1, 0);
        vv_stream_cursor_close(c);
        if (st != VV_OK && st != VV_NO_MEMORY && st != VV_BUSY)
            fail_msg("allocation %d: %s: %s", (int)n, vv_status_name(st), err.msg);
    }
    assert_int_equal(vv_budget_part_used(&b->w.db->budget, VV_BUDGET_QUERY) > 0, true);
    tier_expect(t, LAST, 0, 1000, NULL);
    vv_table_close(t);
}

static void memory_of_reads_is_of_the_budget(void **state)
{
    tier_bed *b = *state;
    vv_error err = {0};
    vv_message m;
    arch_entry e[3];
    vv_table *t = tier_three(b, e);
    vv_budget *budget = &b->w.db->budget;
    assert_ok(tier_read_one(t, LAST, 1, &err), err);
    uint64_t before = vv_budget_part_used(budget, VV_BUDGET_QUERY);
    vv_stream_cursor *c = tier_cursor(t, LAST, 1, NULL);
    assert_ok(vv_stream_cursor_next(c, &m, &err), err);
    assert_true(vv_budget_part_used(budget, VV_BUDGET_QUERY) > before);
    vv_stream_cursor_close(c);
    assert_int_equal(vv_budget_part_used(budget, VV_BUDGET_QUERY), before);
    uint64_t limit = budget->limit;
    budget->limit = 1;
    assert_status(VV_BUSY, tier_read_one(t, LAST, 1, &err));
    assert_non_null(strstr(err.msg, "memory_limit"));
    budget->limit = limit;
    assert_ok(tier_read_one(t, LAST, 1, &err), err);
    vv_table_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TT(one_message_costs_two_gets),
        TT(a_scan_reads_ahead),
        TT(messages_lie_behind_each_other),
        TT(what_is_local_waits_for_no_store),
        TT(places_by_time_and_position),
        TT(snapshots_stand_while_objects_are_merged),
        TT(a_merged_object_that_is_larger_ends_where_the_snapshot_does),
        TT(a_tail_begins_in_an_object),
        TT(prop_reads_equal_what_was_appended),
        TT(each_request_may_fail),
        TT(a_store_that_is_away_comes_back),
        TT(an_object_that_is_missing_is_named),
        TT(without_a_store_it_is_told),
        TT(prop_a_flipped_bit_is_noticed),
        TT(each_allocation_may_fail),
        TT(memory_of_reads_is_of_the_budget),
    };
    return run_on_each(tests, ARRAY_LEN(tests));
}
