/*
 * db_stream_test.c - stream tables by example: offsets, producers, reading, following, what is
 * refused and how.
 */
#include "db/db_stream_test_util.h"

/* ---- appending and reading --------------------------------------------------------------------
 */

static void messages_come_back_in_order(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = stream_table(w->db);
    uint32_t last = test_partitions - 1;
    assert_int_equal(append_text(t, last, "a"), 0);
    vv_message batch[3] = {text_message("b"), text_message("c"), text_message("")};
    vv_stream_append_options opt = VV_STREAM_APPEND_OPTIONS_INIT;
    vv_stream_append_result r;
    opt.partition = last;
    assert_ok(vv_stream_append(t, batch, 3, &opt, &r, &err), err);
    assert_int_equal(r.first_offset, 1);
    assert_int_equal(r.count, 3);
    assert_int_equal(append_text(t, last, "e"), 4);
    for (int pass = 0; pass < 3; pass++) {
        EXPECT_TEXTS(t, last, 0, "a", "b", "c", "", "e");
        EXPECT_TEXTS(t, last, 2, "c", "", "e");
        EXPECT_TEXTS(t, last, 4, "e");
        EXPECT_TEXTS(t, last, 5);
        EXPECT_TEXTS(t, last, UINT64_MAX);
        if (pass == 0)
            flush_all(w->db);
        vv_table_close(t);
        if (pass == 1)
            sim_check_and_reopen(w);
        t = stream_table(w->db);
    }
    assert_int_equal(append_text(t, last, "f"), 5);
    vv_stream_stats s = stats_of(t, last);
    assert_int_equal(s.first_offset, 0);
    assert_int_equal(s.messages, 6);
    assert_true(s.bytes > 48 * 4 && s.bytes < 70 * 4);
    if (test_partitions > 1) {
        assert_int_equal(stats_of(t, 0).messages, 0);
        assert_int_equal(append_text(t, 0, "other"), 0);
        EXPECT_TEXTS(t, 0, 0, "other");
    }
    vv_table_close(t);
}

static void every_part_of_a_message_is_kept(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = stream_table(w->db);
    vv_attribute attributes[] = {
        {.name = S("text"), .type = VV_ATTRIBUTE_STRING, .bytes = S("grün")},
        {.name = S("n"), .type = VV_ATTRIBUTE_I64, .i64 = -7},
        {.name = S("x"), .type = VV_ATTRIBUTE_F64, .f64 = 0.1},
        {.name = S("on"), .type = VV_ATTRIBUTE_BOOL, .i64 = 1},
    };
    vv_message m = {.key = S("k"),
                    .value = S("v"),
                    .content_type = S("text/plain"),
                    .source = S("line 1"),
                    .attributes = attributes,
                    .attribute_count = ARRAY_LEN(attributes),
                    .event_time_ns = 77};
    vv_stream_append_result r;
    int64_t before = vv_clock_wall(w->env.clock);
    assert_ok(vv_stream_append(t, &m, 1, NULL, &r, &err), err);
    assert_int_equal(r.partition, vv_stream_partition_of(t, S("k")));
    assert_true(r.receive_time_ns >= before);
    vv_stream_read_options opt = VV_STREAM_READ_OPTIONS_INIT;
    vv_stream_cursor *c = NULL;
    vv_message got;
    opt.partition = r.partition;
    assert_ok(vv_stream_cursor_open(t, &opt, &c, &err), err);
    assert_ok(vv_stream_cursor_next(c, &got, &err), err);
    assert_true(vv_slice_eq(got.key, S("k")) && vv_slice_eq(got.value, S("v")));
    assert_true(vv_slice_eq(got.content_type, S("text/plain")));
    assert_true(vv_slice_eq(got.source, S("line 1")));
    assert_true(got.event_time_ns == 77 && got.receive_time_ns == r.receive_time_ns);
    assert_int_equal(got.attribute_count, ARRAY_LEN(attributes));
    assert_true(vv_slice_eq(got.attributes[0].bytes, S("grün")));
    assert_true(got.attributes[1].i64 == -7 && got.attributes[2].f64 == 0.1);
    assert_true(got.attributes[3].i64 == 1 && got.attributes[3].type == VV_ATTRIBUTE_BOOL);
    vv_stream_cursor_close(c);
    vv_table_close(t);
}

/* A large append is several blocks, and one entry. */
static void an_append_of_many_blocks_is_read_in_any_piece(void **state)
{
    enum { COUNT = 1000, SIZE = 700 };
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = stream_table(w->db);
    static char bytes[COUNT][SIZE];
    static vv_message m[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        memset(bytes[i], (int)('a' + i % 26), SIZE);
        m[i] = (vv_message){.value = vv_slice_of(bytes[i], 1 + i % SIZE)};
    }
    vv_stream_append_options opt = VV_STREAM_APPEND_OPTIONS_INIT;
    vv_stream_append_result r;
    opt.partition = 0;
    opt.producer = S("p");
    int64_t version = 0;
    for (unsigned round = 0; round < 3; round++) {
        opt.sequence = (uint64_t)round * COUNT;
        assert_ok(vv_stream_append(t, m, COUNT, &opt, &r, &err), err);
        assert_int_equal(r.first_offset, round * COUNT);
        assert_true(round == 0 || r.write.version > version);
        version = r.write.version;
        if (round == 1)
            flush_all(w->db);
    }
    opt.sequence = COUNT; /* the middle one again, from the chain of blocks */
    assert_ok(vv_stream_append(t, m, COUNT, &opt, &r, &err), err);
    assert_true(r.duplicate && r.first_offset == COUNT);
    for (uint64_t from = 0; from < (uint64_t)3 * COUNT; from += 171) {
        vv_stream_read_options ro = VV_STREAM_READ_OPTIONS_INIT;
        vv_stream_cursor *c = NULL;
        vv_message got;
        ro.start = (vv_stream_start){.from = VV_STREAM_OFFSET, .offset = from};
        ro.messages_max = 300;
        assert_ok(vv_stream_cursor_open(t, &ro, &c, &err), err);
        uint64_t n = 0;
        vv_status st;
        while ((st = vv_stream_cursor_next(c, &got, &err)) == VV_OK) {
            assert_true(got.offset == from + n);
            assert_true(vv_slice_eq(got.value, m[(from + n) % COUNT].value));
            n++;
        }
        assert_int_equal(st, VV_NOT_FOUND);
        assert_int_equal(n, vv_min_u64(300, (uint64_t)3 * COUNT - from));
        vv_stream_cursor_close(c);
    }
    vv_table_close(t);
    sim_check_and_reopen(w);
}

static void bounds_end_a_cursor(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = stream_table(w->db);
    vv_message got;
    for (int i = 0; i < 10; i++)
        append_text(t, 0, "0123456789");
    vv_stream_read_options opt = VV_STREAM_READ_OPTIONS_INIT;
    vv_stream_cursor *c = NULL;
    opt.bytes_max = 35; /* a message takes 11 */
    assert_ok(vv_stream_cursor_open(t, &opt, &c, &err), err);
    for (int i = 0; i < 3; i++)
        assert_ok(vv_stream_cursor_next(c, &got, &err), err);
    assert_status(VV_NOT_FOUND, vv_stream_cursor_next(c, &got, &err));
    assert_status(VV_NOT_FOUND, vv_stream_cursor_next(c, &got, &err));
    assert_int_equal(vv_stream_cursor_offset(c), 3);
    vv_stream_cursor_close(c);
    opt.bytes_max = 1; /* one at least */
    assert_ok(vv_stream_cursor_open(t, &opt, &c, &err), err);
    assert_ok(vv_stream_cursor_next(c, &got, &err), err);
    assert_status(VV_NOT_FOUND, vv_stream_cursor_next(c, &got, &err));
    vv_stream_cursor_close(c);
    vv_table_close(t);
}

static void a_snapshot_stands_still(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = stream_table(w->db);
    vv_snapshot *at = NULL;
    append_text(t, 0, "a");
    append_text(t, 0, "b");
    assert_ok(vv_snapshot_create(w->db, &at, &err), err);
    append_text(t, 0, "c");
    assert_ok(vv_stream_trim(t, 0, 2, NULL, &err), err);
    flush_all(w->db);
    assert_ok(vv_compact(t, S(""), S(""), &err), err);
    vv_stream_read_options opt = VV_STREAM_READ_OPTIONS_INIT;
    vv_stream_cursor *c = NULL;
    vv_message m;
    opt.snapshot = at;
    assert_ok(vv_stream_cursor_open(t, &opt, &c, &err), err);
    assert_ok(vv_stream_cursor_next(c, &m, &err), err);
    assert_true(vv_slice_eq(m.value, S("a")));
    assert_ok(vv_stream_cursor_next(c, &m, &err), err);
    assert_status(VV_NOT_FOUND, vv_stream_cursor_next(c, &m, &err));
    vv_stream_cursor_close(c);
    vv_snapshot_release(at);
    EXPECT_TEXTS(t, 0, 0, "c");
    vv_table_close(t);
}

static uint64_t find(vv_table *t, vv_stream_from from, int64_t time_ns)
{
    vv_error err = {0};
    uint64_t offset = 0;
    vv_stream_start start = {.from = from, .time_ns = time_ns, .offset = 3};
    assert_ok(vv_stream_find(t, 0, &start, NULL, &offset, &err), err);
    return offset;
}

static void a_time_is_found(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table *t = stream_table(w->db);
    int64_t received[40];
    assert_int_equal(find(t, VV_STREAM_RECEIVED, 0), 0);
    assert_int_equal(find(t, VV_STREAM_EVENT, 5), 0);
    for (int i = 0; i < 40; i++) {
        /* Event times go up, with an early one now and then. */
        vv_message m = {.event_time_ns = i % 5 == 4 ? 1 : 1000 + i};
        vv_stream_append_options opt = VV_STREAM_APPEND_OPTIONS_INIT;
        vv_stream_append_result r;
        opt.partition = 0;
        assert_ok(vv_stream_append(t, &m, 1, &opt, &r, &err), err);
        received[i] = r.receive_time_ns;
        vio_sim_advance(w->disk, SEC);
    }
    for (int pass = 0; pass < 2; pass++) {
        uint64_t first = pass == 0 ? 0 : 10;
        for (int i = (int)first; i < 40; i++) {
            assert_int_equal(find(t, VV_STREAM_RECEIVED, received[i]), i);
            assert_int_equal(find(t, VV_STREAM_RECEIVED, received[i] + 1), i + 1);
            if (i % 5 != 4)
                assert_int_equal(find(t, VV_STREAM_EVENT, 1000 + i), i);
        }
        assert_int_equal(find(t, VV_STREAM_EVENT, 1014), 15);
        assert_int_equal(find(t, VV_STREAM_EVENT, 5000), 40);
        assert_int_equal(find(t, VV_STREAM_EVENT, 0), first);
        assert_int_equal(find(t, VV_STREAM_EARLIEST, 0), first);
        assert_int_equal(find(t, VV_STREAM_LATEST, 0), 40);
        assert_int_equal(find(t, VV_STREAM_OFFSET, 0), pass == 0 ? 3 : first);
        assert_ok(vv_stream_trim(t, 0, 10, NULL, &err), err);
    }
    /* What was trimmed had a late event time: the sums say so for ever, the messages do not. */
    vv_message late = {.event_time_ns = 9000};
    vv_message early = {.event_time_ns = 50};
    vv_stream_append_options opt = VV_STREAM_APPEND_OPTIONS_INIT;
    opt.partition = 0;
    assert_ok(vv_stream_append(t, &late, 1, &opt, NULL, &err), err);
    assert_ok(vv_stream_append(t, &early, 1, &opt, NULL, &err), err);
    assert_ok(vv_stream_append(t, &late, 1, &opt, NULL, &err), err);
    assert_int_equal(find(t, VV_STREAM_EVENT, 8000), 40);
    assert_ok(vv_stream_trim(t, 0, 41, NULL, &err), err);
    assert_int_equal(find(t, VV_STREAM_EVENT, 8000), 42);
    vv_table_close(t);
}

/* ---- producers --------------------------------------------------------------------------------
 */

static vv_status produce(vv_table *t, const char *who, uint64_t sequence, size_t count,
                         vv_stream_append_result *r, vv_error *err)
{
    static const vv_message m[100];
    vv_stream_append_options opt = VV_STREAM_APPEND_OPTIONS_INIT;
    opt.partition = 0;
    opt.producer = S(who);
    opt.sequence = sequence;
    return vv_stream_append(t, m, count, &opt, r, err);
}

static void expect_produced(vv_table *t, const char *who, uint64_t sequence, size_t count,
                            uint64_t offset, bool duplicate)
{
    vv_error err = {0};
    vv_stream_append_result r;
    assert_ok(produce(t, who, sequence, count, &r, &err), err);
    if (r.duplicate != duplicate || r.first_offset != offset)
        fail_msg("%s %d: offset %lld, duplicate %d", who, (int)sequence, (long long)r.first_offset,
                 r.duplicate);
}

static void a_repeated_append_has_its_old_offset(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_stream_append_result r;
    uint64_t next = 0;
    vv_table *t = stream_table(w->db);
    expect_produced(t, "a", 0, 3, 0, false);
    expect_produced(t, "b", 1000, 2, 3, false); /* a producer may begin anywhere */
    expect_produced(t, "a", 3, 1, 5, false);
    expect_produced(t, "a", 4, 2, 6, false);
    for (int pass = 0; pass < 2; pass++) {
        expect_produced(t, "a", 4, 2, 6, true);
        expect_produced(t, "a", 3, 1, 5, true);
        expect_produced(t, "a", 0, 3, 0, true);
        expect_produced(t, "a", 1, 2, 1, true); /* a part of one */
        expect_produced(t, "b", 1000, 2, 3, true);
        assert_status(VV_CONFLICT, produce(t, "a", 7, 1, &r, &err));
        assert_non_null(strstr(err.msg, "sequence 7 leaves a gap, 6 is expected"));
        assert_status(VV_CONFLICT, produce(t, "a", 5, 2, &r, &err));
        assert_non_null(strstr(err.msg, "those below 6 were written"));
        assert_ok(vv_stream_producer_next(t, 0, S("a"), &next, &err), err);
        assert_int_equal(next, 6);
        assert_status(VV_NOT_FOUND, vv_stream_producer_next(t, 0, S("c"), &next, &err));
        assert_int_equal(stats_of(t, 0).next_offset, 8);
        assert_int_equal(stats_of(t, 0).producers, 2);
        vv_table_close(t);
        if (pass == 0)
            sim_check_and_reopen(w);
        t = stream_table(w->db);
    }
    /* Of trimmed messages it is known that they were there. */
    assert_ok(vv_stream_trim(t, 0, 6, NULL, &err), err);
    expect_produced(t, "a", 3, 1, VV_STREAM_OFFSET_GONE, true);
    expect_produced(t, "a", 4, 2, 6, true);
    expect_produced(t, "a", 6, 1, 8, false);
    vv_stats stats = {.size = sizeof stats};
    vv_stats_read(w->db, &stats);
    assert_true(stats.duplicates > 0);
    vv_table_close(t);
}

/* A repeat is known however old it is; where it lies is looked for as far as it costs little. */
static void an_old_repeat_is_known_but_not_searched_for(void **state)
{
    sim_world *w = *state;
    vv_table *t = stream_table(w->db);
    for (uint64_t i = 0; i < 1100; i++)
        expect_produced(t, "a", i, 1, i, false);
    expect_produced(t, "a", 100, 1, 100, true);
    expect_produced(t, "a", 0, 1, VV_STREAM_OFFSET_GONE, true);
    assert_int_equal(stats_of(t, 0).next_offset, 1100);
    vv_table_close(t);
}

static void a_silent_producer_is_forgotten(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_stream_append_result r;
    vv_table_options opt = stream_options();
    opt.producer_retention_ns = 100 * SEC;
    opt.producers_max = 3;
    vv_table *t = stream_table_with(w->db, &opt);
    expect_produced(t, "a", 0, 1, 0, false);
    expect_produced(t, "b", 0, 1, 1, false);
    vio_sim_advance(w->disk, 60 * SEC);
    expect_produced(t, "c", 0, 1, 2, false);
    assert_status(VV_NO_SPACE, produce(t, "d", 0, 1, &r, &err));
    assert_non_null(strstr(err.msg, "producers_max of 3"));
    expect_produced(t, "a", 0, 1, 0, true); /* which is no use of it */
    expect_produced(t, "b", 1, 1, 3, false);
    vio_sim_advance(w->disk, 50 * SEC);
    expect_produced(t, "d", 0, 1, 4, false); /* in the place of a */
    assert_int_equal(stats_of(t, 0).producers, 3);
    assert_status(VV_NO_SPACE, produce(t, "a", 0, 1, &r, &err));
    vio_sim_advance(w->disk, 60 * SEC);
    assert_ok(vv_stream_retain(t, NULL, &err), err);
    assert_int_equal(stats_of(t, 0).producers, 1);
    expect_produced(t, "a", 0, 1, 5, false);
    vio_sim_advance(w->disk, 99 * SEC);
    vv_table_close(t);
    sim_check_and_reopen(w);
    t = stream_table_with(w->db, &opt);
    expect_produced(t, "a", 0, 1, 5, true);
    assert_int_equal(stats_of(t, 0).producers, 1); /* the others are gone from the table, too */
    vv_table_close(t);
}

/* ---- what is refused --------------------------------------------------------------------------
 */

static void other_calls_are_refused_by_name(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_message m = text_message("m");
    vv_stream_append_result r;
    vv_table *t = stream_table(w->db);
    vv_table *kv = make_table(w->db, "plant", "kv", VV_TABLE_KV);
    assert_int_equal(vv_table_kind_of(t), VV_TABLE_STREAM);
    assert_status(VV_INVALID, vv_put(t, S("k"), S("v"), &err));
    assert_non_null(strstr(err.msg, "holds messages"));
    assert_status(VV_INVALID, vv_delete(t, S("k"), &err));
    assert_status(VV_INVALID, vv_delete_range(t, S("a"), S("b"), VV_DURABLE_OS, NULL, &err));
    assert_status(VV_INVALID, vv_merge(t, S("k"), VV_APPEND, S("v"), &err));
    assert_status(VV_INVALID, vv_stream_append(kv, &m, 1, NULL, &r, &err));
    assert_non_null(strstr(err.msg, "is not of kind stream"));
    assert_status(VV_INVALID, vv_stream_append(t, &m, 0, NULL, &r, &err));
    vv_stream_append_options opt = VV_STREAM_APPEND_OPTIONS_INIT;
    opt.partition = 7;
    assert_status(VV_INVALID, vv_stream_append(t, &m, 1, &opt, &r, &err));
    assert_non_null(strstr(err.msg, "there is no number 7"));
    vv_table_close(kv);
    vv_table_close(t);
}

static void a_message_over_the_table_s_size_is_refused(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_table_options opt = stream_options();
    opt.message_size_max = 100;
    vv_table *t = stream_table_with(w->db, &opt);
    static const uint8_t bytes[VV_STREAM_MESSAGE_MAX];
    vv_message m[2] = {text_message("m"), {.value = vv_slice_of(bytes, 100)}};
    assert_status(VV_INVALID, vv_stream_append(t, m, 2, NULL, NULL, &err));
    assert_non_null(strstr(err.msg, "message 1: the message takes 101 bytes"));
    assert_int_equal(stats_of(t, 0).messages, 0);
    vv_table_close(t);
    vv_table_info info;
    opt = stream_options();
    t = NULL;
    assert_ok(vv_table_create(w->db, "plant", "large", &opt, &t, &err), err);
    m[0] = m[1] = (vv_message){.value = vv_slice_of(bytes, sizeof bytes - 1)};
    assert_status(VV_INVALID, vv_stream_append(t, m, 2, NULL, NULL, &err));
    assert_non_null(strstr(err.msg, "append fewer at once"));
    assert_ok(vv_table_identify(t, &info, &err), err);
    assert_true(info.message_size_max == VV_STREAM_MESSAGE_MAX && info.producers_max == 10000);
    opt.message_size_max = VV_STREAM_MESSAGE_MAX + 1;
    assert_status(VV_INVALID, vv_table_create(w->db, "plant", "more", &opt, NULL, &err));
    vv_table_options kv = VV_TABLE_OPTIONS_INIT;
    kv.retention_bytes = 1;
    assert_status(VV_INVALID, vv_table_create(w->db, "plant", "more", &kv, NULL, &err));
    vv_table_close(t);
}

static void keys_choose_the_partition(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_stream_append_result r;
    vv_table *t = stream_table(w->db);
    uint32_t seen = 0;
    for (int i = 0; i < 20; i++) {
        char key[8];
        (void)snprintf(key, sizeof key, "k%d", i);
        vv_message m = {.key = S(key)};
        assert_ok(vv_stream_append(t, &m, 1, NULL, &r, &err), err);
        assert_int_equal(r.partition, vv_stream_partition_of(t, S(key)));
        seen |= 1u << r.partition;
    }
    assert_int_equal(seen, (1u << test_partitions) - 1);
    if (test_partitions > 1) {
        vv_message m[2] = {{.key = S("k0")}, {.key = S("k0")}};
        for (int i = 1; vv_stream_partition_of(t, m[1].key) == vv_stream_partition_of(t, S("k0"));
             i++) {
            static char key[8];
            (void)snprintf(key, sizeof key, "k%d", i);
            m[1].key = S(key);
        }
        assert_status(VV_INVALID, vv_stream_append(t, m, 2, NULL, &r, &err));
        assert_non_null(strstr(err.msg, "an append is of one partition"));
        uint32_t turns = 0;
        for (int i = 0; i < 3; i++) {
            vv_message free_one = text_message("m");
            assert_ok(vv_stream_append(t, &free_one, 1, NULL, &r, &err), err);
            turns |= 1u << r.partition;
        }
        assert_int_equal(turns, 7);
    }
    vv_table_close(t);
}

static void a_dropped_stream_is_gone(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_message m = text_message("m");
    vv_stream_tail *tail = NULL;
    vv_table *t = stream_table(w->db);
    append_text(t, 0, "a");
    assert_ok(vv_stream_tail_open(t, NULL, &tail, &err), err);
    assert_ok(vv_stream_tail_next(tail, 0, &m, &err), err);
    assert_ok(vv_table_drop(w->db, "plant", "events", &err), err);
    assert_status(VV_NOT_FOUND, vv_stream_tail_next(tail, -1, &m, &err));
    assert_status(VV_NOT_FOUND, vv_stream_append(t, &m, 1, NULL, NULL, &err));
    assert_status(VV_NOT_FOUND, vv_stream_cursor_open(t, NULL, &(vv_stream_cursor *){NULL}, &err));
    vv_stream_tail_close(tail);
    vv_table_close(t);
    t = stream_table(w->db);
    EXPECT_TEXTS(t, 0, 0);
    assert_int_equal(append_text(t, 0, "b"), 0);
    vv_table_close(t);
}

/* ---- archives, checkpoints, dumps -------------------------------------------------------------
 */

static void an_archive_is_read(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_message m;
    vv_stream_cursor *c = NULL;
    vv_stream_read_options opt = VV_STREAM_READ_OPTIONS_INIT;
    if (engine_under_test != &btree_ops)
        return;
    vv_table *t = stream_table(w->db);
    append_text(t, 0, "a");
    assert_ok(vv_archive_create(w->db, "then", &err), err);
    append_text(t, 0, "b");
    assert_ok(vv_stream_trim(t, 0, 1, NULL, &err), err);
    opt.archive = "then";
    assert_ok(vv_stream_cursor_open(t, &opt, &c, &err), err);
    assert_ok(vv_stream_cursor_next(c, &m, &err), err);
    assert_true(vv_slice_eq(m.value, S("a")));
    assert_status(VV_NOT_FOUND, vv_stream_cursor_next(c, &m, &err));
    vv_stream_cursor_close(c);
    assert_status(VV_UNSUPPORTED, vv_archive_restore(t, "then", NULL, &err));
    assert_non_null(strstr(err.msg, "messages are not taken back"));
    vv_table_close(t);
}

/* ---- following --------------------------------------------------------------------------------
 */

static void a_tail_sees_what_comes(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_message m;
    vv_stream_tail *tail = NULL;
    vv_stream_read_options opt = VV_STREAM_READ_OPTIONS_INIT;
    vv_table *t = stream_table(w->db);
    append_text(t, 0, "old");
    opt.start.from = VV_STREAM_LATEST;
    assert_ok(vv_stream_tail_open(t, &opt, &tail, &err), err);
    assert_status(VV_TIMEOUT, vv_stream_tail_next(tail, 0, &m, &err));
    assert_status(VV_TIMEOUT, vv_stream_tail_next(tail, 2 * VV_NS_PER_MS, &m, &err));
    append_text(t, 0, "a");
    append_text(t, 0, "b");
    assert_ok(vv_stream_tail_next(tail, -1, &m, &err), err);
    assert_true(vv_slice_eq(m.value, S("a")) && m.offset == 1);
    append_text(t, 0, "c");
    assert_ok(vv_stream_tail_next(tail, 0, &m, &err), err);
    assert_ok(vv_stream_tail_next(tail, 0, &m, &err), err);
    assert_true(vv_slice_eq(m.value, S("c")));
    assert_int_equal(vv_stream_tail_offset(tail), 4);
    append_text(t, 0, "d");
    append_text(t, 0, "e");
    assert_ok(vv_stream_trim(t, 0, 5, NULL, &err), err);
    assert_ok(vv_stream_tail_next(tail, 0, &m, &err), err);
    assert_true(vv_slice_eq(m.value, S("e")));
    assert_int_equal(vv_stream_tail_skipped(tail), 1);
    vv_stream_tail_cancel(tail);
    assert_status(VV_CLOSED, vv_stream_tail_next(tail, -1, &m, &err));
    vv_stream_tail_close(tail);
    opt.archive = "x";
    assert_status(VV_INVALID, vv_stream_tail_open(t, &opt, &tail, &err));
    vv_table_close(t);
}

static void append_before_watch(void *ctx, const char *name)
{
    if (strcmp(name, "stream.before_watch") != 0)
        return;
    vv_point_set(NULL, NULL);
    append_text(ctx, 0, "between");
}

/* It comes after the tail has looked and before it waits. */
static void nothing_falls_between_looking_and_waiting(void **state)
{
#ifdef VV_TEST_HOOKS
    sim_world *w = *state;
    vv_error err = {0};
    vv_message m;
    vv_stream_tail *tail = NULL;
    vv_table *t = stream_table(w->db);
    assert_ok(vv_stream_tail_open(t, NULL, &tail, &err), err);
    vv_point_set(append_before_watch, t);
    vv_status st = vv_stream_tail_next(tail, -1, &m, &err); /* for ever, if it falls */
    vv_point_set(NULL, NULL);
    assert_ok(st, err);
    assert_true(vv_slice_eq(m.value, S("between")));
    assert_int_equal(vv_stream_tail_offset(tail), 1);
    /* Nor does the wait end early when it is found at once. */
    assert_status(VV_TIMEOUT, vv_stream_tail_next(tail, VV_NS_PER_MS, &m, &err));
    vv_stream_tail_close(tail);
    vv_table_close(t);
#else
    (void)state;
    (void)append_before_watch;
#endif
}

static void count_notice(void *ctx)
{
    ++*(int *)ctx;
}

static void a_watch_is_told_once(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    int notices = 0;
    vv_stream_watch *watch = NULL;
    vv_table *t = stream_table(w->db);
    assert_ok(vv_stream_watch_open(t, 0, 1, count_notice, &notices, &watch, &err), err);
    append_text(t, 0, "a");
    assert_int_equal(notices, 0);
    append_text(t, 0, "b");
    append_text(t, 0, "c");
    assert_int_equal(notices, 1);
    vv_stream_unwatch(watch);
    assert_ok(vv_stream_watch_open(t, 0, 1, count_notice, &notices, &watch, &err), err);
    assert_int_equal(notices, 2);
    vv_stream_unwatch(watch);
    assert_ok(vv_stream_watch_open(t, 0, 3, count_notice, &notices, &watch, &err), err);
    vv_stream_unwatch(watch);
    append_text(t, 0, "d");
    assert_int_equal(notices, 2);
    vv_table_close(t);
}

/* ---- without waiting --------------------------------------------------------------------------
 */

static void note_append(void *ctx, vv_status status, const vv_stream_append_result *r,
                        const vv_error *err)
{
    vv_buf *b = ctx;
    if (status == VV_OK)
        vv_buf_printf(b, "%llu%s ", (unsigned long long)r->first_offset, r->duplicate ? "d" : "");
    else
        vv_buf_printf(b, "%s ", vv_status_name(err->status));
}

static void appends_need_not_wait(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    vv_buf b;
    vv_buf_init(&b, 4096);
    vv_table *t = stream_table(w->db);
    vv_stream_append_options opt = VV_STREAM_APPEND_OPTIONS_INIT;
    opt.partition = 0;
    opt.producer = S("p");
    static const uint64_t sequences[] = {0, 1, 1, 3, 2, 0};
    for (size_t i = 0; i < ARRAY_LEN(sequences); i++) {
        vv_message m = text_message("m");
        opt.sequence = sequences[i];
        assert_ok(vv_stream_append_async(t, &m, 1, &opt, note_append, &b, &err), err);
    }
    vv_buf_append_u8(&b, 0);
    assert_string_equal((const char *)b.data, "0 1 1d CONFLICT 2 0d ");
    vv_message bad = {.attribute_count = 1000};
    assert_status(VV_INVALID, vv_stream_append_async(t, &bad, 1, &opt, note_append, &b, &err));
    vv_buf_fini(&b);
    vv_table_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TP(messages_come_back_in_order),
        TP(every_part_of_a_message_is_kept),
        TP(an_append_of_many_blocks_is_read_in_any_piece),
        TP(bounds_end_a_cursor),
        TP(a_snapshot_stands_still),
        TP(a_time_is_found),
        TP(a_repeated_append_has_its_old_offset),
        TP(an_old_repeat_is_known_but_not_searched_for),
        TP(a_silent_producer_is_forgotten),
        TP(other_calls_are_refused_by_name),
        TP(a_message_over_the_table_s_size_is_refused),
        TP(keys_choose_the_partition),
        TP(a_dropped_stream_is_gone),
        TP(an_archive_is_read),
        TP(a_tail_sees_what_comes),
        TP(nothing_falls_between_looking_and_waiting),
        TP(a_watch_is_told_once),
        TP(appends_need_not_wait),
    };
    return run_on_each(tests, ARRAY_LEN(tests));
}
