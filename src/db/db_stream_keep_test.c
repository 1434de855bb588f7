/*
 * db_stream_keep_test.c - stream tables by example: positions of consumers, trimming, retention.
 */
#include "db/db_stream_test_util.h"

/* ---- positions --------------------------------------------------------------------------------
 */

static int list_position(void *ctx, const vv_stream_position *p)
{
    vv_buf *b = ctx;
    vv_buf_printf(b, "%s/%u=%llu(%llu) ", p->name, p->partition, (unsigned long long)p->offset,
                  (unsigned long long)p->lag);
    return 0;
}

static void expect_positions(vv_table *t, const char *want)
{
    vv_error err = {0};
    vv_buf b;
    vv_buf_init(&b, 4096);
    assert_ok(vv_stream_position_list(t, list_position, &b, &err), err);
    vv_buf_append_u8(&b, 0);
    assert_string_equal((const char *)b.data, want);
    vv_buf_fini(&b);
}

static void positions_only_go_ahead(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_stream_position p;
    vv_table *t = stream_table(w->db);
    for (int i = 0; i < 10; i++)
        append_text(t, 0, "m");
    expect_positions(t, "");
    assert_status(VV_NOT_FOUND, vv_stream_position_get(t, 0, S("c"), &p, &err));
    assert_ok(vv_stream_commit(t, 0, S("c"), 4, VV_DURABLE_SYNC, &err), err);
    assert_ok(vv_stream_commit(t, 0, S("c"), 4, VV_DURABLE_SYNC, &err), err);
    assert_status(VV_CONFLICT, vv_stream_commit(t, 0, S("c"), 3, VV_DURABLE_SYNC, &err));
    assert_non_null(strstr(err.msg, "stands at 4 already"));
    assert_status(VV_INVALID, vv_stream_commit(t, 0, S("c"), 11, VV_DURABLE_SYNC, &err));
    assert_non_null(strstr(err.msg, "past the end, which is 10"));
    assert_status(VV_INVALID, vv_stream_commit(t, 0, S("no name"), 1, VV_DURABLE_SYNC, &err));
    assert_status(VV_INVALID, vv_stream_commit(t, 9, S("c"), 1, VV_DURABLE_SYNC, &err));
    assert_ok(vv_stream_commit(t, 0, S("c"), 6, VV_DURABLE_NONE, &err), err);
    assert_ok(vv_stream_commit(t, 0, S("b"), 10, VV_DURABLE_OS, &err), err);
    if (test_partitions > 1)
        assert_ok(vv_stream_commit(t, 1, S("c"), 0, VV_DURABLE_SYNC, &err), err);
    vv_table_close(t);
    sim_check_and_reopen(w);
    t = stream_table(w->db);
    expect_positions(t,
                     test_partitions == 1 ? "b/0=10(0) c/0=6(4) " : "b/0=10(0) c/0=6(4) c/1=0(0) ");
    assert_int_equal(stats_of(t, 0).positions, 2);
    assert_ok(vv_stream_position_get(t, 0, S("c"), &p, &err), err);
    assert_string_equal(p.name, "c");
    assert_true(p.offset == 6 && p.lag == 4 && p.committed_ns > 0);
    vv_stream_read_options opt = VV_STREAM_READ_OPTIONS_INIT;
    vv_stream_cursor *c = NULL;
    opt.start = (vv_stream_start){.from = VV_STREAM_POSITION, .position = S("c")};
    assert_ok(vv_stream_cursor_open(t, &opt, &c, &err), err);
    assert_int_equal(vv_stream_cursor_offset(c), 6);
    vv_stream_cursor_close(c);
    opt.start.position = S("nobody");
    assert_status(VV_NOT_FOUND, vv_stream_cursor_open(t, &opt, &c, &err));
    assert_ok(vv_stream_position_delete(t, S("c"), &err), err);
    assert_status(VV_NOT_FOUND, vv_stream_position_delete(t, S("c"), &err));
    expect_positions(t, "b/0=10(0) ");
    vv_table_close(t);
}

static void a_position_is_put_anywhere(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = stream_table(w->db);
    int64_t times[10];
    for (int i = 0; i < 10; i++) {
        times[i] = vv_clock_wall(w->env.clock);
        append_text(t, 0, "m");
        vio_sim_advance(w->disk, SEC);
    }
    assert_ok(vv_stream_trim(t, 0, 2, NULL, &err), err);
    const struct {
        vv_stream_start start;
        uint64_t want;
    } cases[] = {
        {{.from = VV_STREAM_LATEST}, 10},
        {{.from = VV_STREAM_EARLIEST}, 2},
        {{.from = VV_STREAM_OFFSET, .offset = 5}, 5},
        {{.from = VV_STREAM_OFFSET, .offset = 1}, 2},
        {{.from = VV_STREAM_OFFSET, .offset = 99}, 10},
        {{.from = VV_STREAM_RECEIVED, .time_ns = times[7]}, 7},
        {{.from = VV_STREAM_EVENT, .time_ns = times[4]}, 4},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t got = 0;
        vv_stream_position p;
        assert_ok(vv_stream_position_reset(t, 0, S("c"), &cases[i].start, &got, &err), err);
        assert_int_equal(got, cases[i].want);
        assert_ok(vv_stream_position_get(t, 0, S("c"), &p, &err), err);
        assert_int_equal(p.offset, cases[i].want);
    }
    vv_table_close(t);
}

/* What a consumer made of messages and how far it got are one entry. */
static void a_position_is_committed_in_a_batch(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = stream_table(w->db);
    vv_table *kv = make_table(w->db, "plant", "made", VV_TABLE_KV);
    for (int i = 0; i < 5; i++)
        append_text(t, 0, "m");
    vv_batch *a = new_batch(w->db);
    vv_batch *b = new_batch(w->db);
    assert_ok(vv_batch_stream_commit(a, t, 0, S("c"), 2, &err), err);
    assert_ok(vv_batch_put(a, kv, S("k"), S("of a"), 0, &err), err);
    assert_ok(vv_batch_stream_commit(b, t, 0, S("c"), 3, &err), err);
    assert_ok(vv_batch_put(b, kv, S("k"), S("of b"), 0, &err), err);
    assert_ok(vv_write(w->db, a, VV_DURABLE_DEFAULT, NULL, &err), err);
    assert_status(VV_CONFLICT, vv_write(w->db, b, VV_DURABLE_DEFAULT, NULL, &err));
    expect(kv, NULL, "k", "of a");
    expect_positions(t, "c/0=2(3) ");
    vv_batch_destroy(a);
    vv_batch_destroy(b);
    vv_table_close(kv);
    vv_table_close(t);
}

/* ---- trimming and retention -------------------------------------------------------------------
 */

static void offsets_go_on_after_everything_was_trimmed(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    uint64_t removed = 0;
    vv_table *t = stream_table(w->db);
    vv_message batch[4] = {text_message("b"), text_message("c"), text_message("d"),
                           text_message("e")};
    vv_stream_append_options opt = VV_STREAM_APPEND_OPTIONS_INIT;
    opt.partition = 0;
    append_text(t, 0, "a");
    assert_ok(vv_stream_append(t, batch, 4, &opt, NULL, &err), err);
    assert_ok(vv_stream_trim(t, 0, 0, &removed, &err), err);
    assert_int_equal(removed, 0);
    assert_ok(vv_stream_trim(t, 0, 3, &removed, &err), err); /* in the middle of a block */
    assert_int_equal(removed, 3);
    EXPECT_TEXTS(t, 0, 0, "d", "e");
    vv_stream_cursor *c = NULL;
    vv_stream_read_options ro = VV_STREAM_READ_OPTIONS_INIT;
    ro.start = (vv_stream_start){.from = VV_STREAM_OFFSET, .offset = 1};
    assert_ok(vv_stream_cursor_open(t, &ro, &c, &err), err);
    assert_int_equal(vv_stream_cursor_skipped(c), 2);
    vv_stream_cursor_close(c);
    assert_ok(vv_stream_trim(t, 0, 2, &removed, &err), err); /* they are gone already */
    assert_int_equal(removed, 0);
    vv_table_close(t);
    sim_check_and_reopen(w);
    t = stream_table(w->db);
    EXPECT_TEXTS(t, 0, 0, "d", "e");
    assert_ok(vv_stream_trim(t, 0, 100, &removed, &err), err);
    assert_int_equal(removed, 2);
    vv_stream_stats s = stats_of(t, 0);
    assert_true(s.first_offset == 5 && s.next_offset == 5 && s.bytes == 0);
    EXPECT_TEXTS(t, 0, 0);
    for (int pass = 0; pass < 2; pass++) {
        vv_table_close(t);
        sim_check_and_reopen(w);
        t = stream_table(w->db);
        flush_all(w->db);
        assert_ok(vv_compact(t, S(""), S(""), &err), err);
    }
    assert_int_equal(append_text(t, 0, "f"), 5);
    EXPECT_TEXTS(t, 0, 0, "f");
    vv_table_close(t);
    sim_check_and_reopen(w);
}

/* What was trimmed is gone, and what it told of the partition stays. */
static void sums_outlive_the_messages(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_message m = {.event_time_ns = 5000 * SEC};
    vv_stream_append_options opt = VV_STREAM_APPEND_OPTIONS_INIT;
    vv_stream_append_result before;
    vv_stream_append_result after;
    opt.partition = 0;
    vio_sim_advance(w->disk, 1000 * SEC);
    vv_table *t = stream_table(w->db);
    m.event_time_ns += vv_clock_wall(w->env.clock);
    assert_ok(vv_stream_append(t, &m, 1, &opt, &before, &err), err);
    uint64_t each = stats_of(t, 0).bytes;
    for (int pass = 0; pass < 2; pass++) {
        assert_ok(vv_stream_trim(t, 0, UINT64_MAX, NULL, &err), err);
        if (pass == 1) {
            vv_table_close(t);
            sim_check_and_reopen(w);
            t = stream_table(w->db);
        }
        vv_stream_stats s = stats_of(t, 0);
        assert_true(s.bytes == 0 && s.newest_event_ns == m.event_time_ns);
        vv_message early = {.event_time_ns = 1};
        assert_ok(vv_stream_append(t, &early, 1, &opt, &after, &err), err);
        assert_true(after.receive_time_ns >= before.receive_time_ns);
        s = stats_of(t, 0);
        assert_true(s.bytes == each && s.newest_event_ns == m.event_time_ns);
        vv_table_close(t);
        sim_check_and_reopen(w);
        t = stream_table(w->db);
        before = after;
    }
    vv_table_close(t);
}

static void age_and_bytes_bound_what_is_kept(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    uint64_t removed = 0;
    char text[501];
    vv_table_options opt = stream_options();
    opt.retention_ns = 100 * SEC;
    opt.retention_bytes = 5000;
    vv_table *t = stream_table_with(w->db, &opt);
    memset(text, 'x', 500);
    text[500] = '\0';
    for (int i = 0; i < 30; i++)
        append_text(t, 0, text);
    uint64_t each = stats_of(t, 0).bytes / 30;
    assert_ok(vv_stream_retain(t, &removed, &err), err);
    vv_stream_stats s = stats_of(t, 0);
    assert_true(s.bytes >= 5000 && s.bytes < 5000 + each);
    assert_int_equal(removed, s.first_offset);
    assert_ok(vv_stream_retain(t, &removed, &err), err);
    assert_int_equal(removed, 0);
    vio_sim_advance(w->disk, 60 * SEC);
    append_text(t, 0, "young");
    vio_sim_advance(w->disk, 60 * SEC);
    /* The background does it, too. */
    vv_status st;
    while ((st = db_step(w->db, &err)) == VV_OK)
        continue;
    assert_int_equal(st, VV_NOT_FOUND);
    assert_int_equal(stats_of(t, 0).first_offset, 30);
    EXPECT_TEXTS(t, 0, 0, "young");
    vio_sim_advance(w->disk, 60 * SEC);
    while (db_step(w->db, &err) == VV_OK)
        continue;
    EXPECT_TEXTS(t, 0, 0);
    assert_int_equal(append_text(t, 0, "next"), 31);
    vv_table_close(t);
    sim_check_and_reopen(w);
}

typedef struct listing {
    char last[VV_STREAM_POSITION_MAX + 1];
    unsigned count;
    unsigned most;
} listing;

static int note_name(void *ctx, const vv_stream_position *pos)
{
    listing *l = ctx;
    assert_true(strcmp(pos->name, l->last) > 0);
    (void)snprintf(l->last, sizeof l->last, "%s", pos->name);
    return ++l->count == l->most;
}

/* Whoever may write can make positions: up to a bound, and they are listed in pages. */
static void positions_have_a_bound(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = stream_table(w->db);
    char name[16];
    listing page = {.last = "p-00410", .most = 10};
    for (uint32_t i = 0; i < 500; i++) {
        (void)snprintf(name, sizeof name, "p-%05u", i);
        assert_ok(vv_stream_commit(t, 0, vv_slice_str(name), 0, VV_DURABLE_OS, &err), err);
    }
    assert_ok(vv_stream_position_list_after(t, 0, S("p-00410"), note_name, &page, &err), err);
    assert_string_equal(page.last, "p-00420");
    page = (listing){.last = "p-0048", .most = 100}; /* which is not there */
    assert_ok(vv_stream_position_list_after(t, 0, S("p-0048"), note_name, &page, &err), err);
    assert_true(page.count == 20 && strcmp(page.last, "p-00499") == 0);
    vv_batch *batch = vv_batch_create(w->db);
    vv_table part = db_part_at(t, 0);
    uint8_t key[STREAM_NAMED_KEY_MAX];
    uint8_t value[STREAM_POSITION_SIZE];
    const stream_position at = {0, 1};
    stream_position_encode(&at, value);
    assert_ok(db_batch_bind(batch, &part, &err), err);
    for (uint32_t i = 500; i < VV_STREAM_POSITIONS_MAX; i++) { /* as commits would */
        (void)snprintf(name, sizeof name, "p-%05u", i);
        size_t len = stream_named_key(STREAM_KEY_POSITION, vv_slice_str(name), key);
        assert_ok(db_batch_add(batch, ENGINE_PUT, t->cat->id, vv_slice_of(key, len),
                               vv_slice_of(value, sizeof value), 0, &err),
                  err);
    }
    assert_ok(vv_write(w->db, batch, VV_DURABLE_OS, NULL, &err), err);
    vv_batch_destroy(batch);
    assert_status(VV_NO_SPACE, vv_stream_commit(t, 0, S("x"), 0, VV_DURABLE_OS, &err));
    assert_non_null(strstr(err.msg, "partition 0 has 10000 positions already"));
    const vv_stream_start earliest = {.from = VV_STREAM_EARLIEST};
    assert_status(VV_NO_SPACE, vv_stream_position_reset(t, 0, S("x"), &earliest, NULL, &err));
    assert_ok(vv_stream_commit(t, 0, S("p-00000"), 0, VV_DURABLE_OS, &err), err);
    assert_ok(vv_stream_position_delete(t, S("p-00001"), &err), err);
    assert_ok(vv_stream_commit(t, 0, S("x"), 0, VV_DURABLE_OS, &err), err);
    vv_table_close(t);
}

/* Partitions of a tenant lie from its own shard on: a sentence has the number that was asked for.
 */
static void a_sentence_names_the_partition(void **state)
{
    sim_world *w = *state;
    vv_table_options opt = stream_options();
    for (char tenant[2] = "a"; tenant[0] < 'i'; tenant[0]++) {
        vv_error err = {0};
        vv_stream_position p;
        vv_table *t = NULL;
        assert_ok(vv_table_create(w->db, tenant, "s", &opt, &t, &err), err);
        assert_status(VV_NOT_FOUND, vv_stream_position_get(t, 0, S("c"), &p, &err));
        assert_non_null(strstr(err.msg, "no position 'c' in partition 0:"));
        vv_table_close(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TP(positions_only_go_ahead),
        TP(a_sentence_names_the_partition),
        TP(positions_have_a_bound),
        TP(a_position_is_put_anywhere),
        TP(a_position_is_committed_in_a_batch),
        TP(offsets_go_on_after_everything_was_trimmed),
        TP(sums_outlive_the_messages),
        TP(age_and_bytes_bound_what_is_kept),
    };
    return run_on_each(tests, ARRAY_LEN(tests));
}
