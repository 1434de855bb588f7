/*
 * feed_store_test.c - a pump into a real store on the simulated disk: power cut at every write,
 * every allocation failing once, and what the writer of a request does with more than one entry.
 */
#include "feeds/feed_store.h"

#include <inttypes.h>

#include "base/alloc.h"
#include "codec/protowire.h"
#include "db/db_test_util.h"
#include "feeds/feed_line.h"
#include "lsm/lsm.h"
#include "vv_test.h"

enum { MESSAGES = 60, FETCH_MAX = 7, POISON = 10 };

/* ---- a stream that never fails: each message a sensor of its own ---- */

typedef struct stream {
    feed_broker broker;
    uint8_t bytes[MESSAGES + 1][40];
    size_t len[MESSAGES + 1];
    uint64_t next, acked;
    feed_message slots[FEED_SLOTS][FETCH_MAX];
    const char *incarnation;
} stream;

static vv_status stream_open(feed_broker *broker, feed_stream *out, vv_error *err)
{
    stream *s = VV_CONTAINER_OF(broker, stream, broker);
    (void)err;
    *out = (feed_stream){.first = 1, .last = MESSAGES};
    (void)snprintf(out->incarnation, sizeof out->incarnation, "%s", s->incarnation);
    return VV_OK;
}

static vv_status stream_consume(feed_broker *broker, uint64_t sequence, vv_error *err)
{
    (void)err;
    VV_CONTAINER_OF(broker, stream, broker)->next = sequence;
    return VV_OK;
}

static vv_status stream_fetch(feed_broker *broker, unsigned slot, int64_t wait_ns,
                              const feed_message **out, size_t *count, vv_error *err)
{
    stream *s = VV_CONTAINER_OF(broker, stream, broker);
    (void)wait_ns, (void)err;
    for (*count = 0; *count < FETCH_MAX && s->next <= MESSAGES; s->next++, ++*count)
        s->slots[slot][*count] =
            (feed_message){.subject = vv_slice_str("enterprise.x"),
                           .payload = vv_slice_of(s->bytes[s->next], s->len[s->next]),
                           .sequence = s->incarnation[0] == '\0' ? 0 : s->next,
                           .published_ns = 5};
    *out = s->slots[slot];
    return VV_OK;
}

static vv_status stream_ack(feed_broker *broker, unsigned slot, size_t count, vv_error *err)
{
    stream *s = VV_CONTAINER_OF(broker, stream, broker);
    (void)err;
    s->acked = s->slots[slot][count - 1].sequence;
    return VV_OK;
}

static void stream_release(feed_broker *broker, unsigned slot)
{
    (void)broker, (void)slot;
}

static vv_status stream_check(feed_broker *broker, uint64_t *deliveries, vv_error *err)
{
    (void)broker, (void)err;
    *deliveries = 0;
    return VV_OK;
}

static uint64_t stream_dropped(feed_broker *broker)
{
    (void)broker;
    return 0;
}

static void stream_close(feed_broker *broker)
{
    (void)broker;
}

static void stream_init(stream *s)
{
    static const feed_broker_ops ops = {stream_open,    stream_consume, stream_fetch,
                                        stream_ack,     stream_release, stream_check,
                                        stream_dropped, stream_close};
    *s = (stream){.broker = {&ops}, .incarnation = "1700000000000000000"};
    for (uint64_t n = 1; n <= MESSAGES; n++) {
        char id[16];
        vv_buf b;
        vv_buf_init(&b, sizeof s->bytes[n]);
        (void)snprintf(id, sizeof id, "s%02" PRIu64, n);
        if (n % POISON == 0) {
            vv_buf_append_str(&b, "poison");
        } else {
            wire_put_string(&b, 1, vv_slice_str(id));
            wire_put_double(&b, 2, (double)n);
            wire_put_int(&b, 3, (int64_t)n);
            wire_put_int(&b, 4, n % 2 == 0);
        }
        assert_int_equal(b.status, VV_OK);
        memcpy(s->bytes[n], b.data, b.len);
        s->len[n] = b.len;
        vv_buf_fini(&b);
    }
}

/* ---- runs ---- */

/* Take in what there is, or as much as the world lets through in some turns. */
static vv_status run(sim_world *w, stream *s, vv_error *err)
{
    feed_target *target = NULL;
    const feed_store_options options = {
        .db = w->db, .tenant = "default", .table = "sensors", .source = "nats/E/v", .stream = "E"};
    vv_status st = feed_store_create(&options, &target, err);
    if (st != VV_OK)
        return st;
    feed_pump *p = feed_pump_create(&(feed_pump_options){.broker = &s->broker,
                                                         .target = target,
                                                         .clock = w->env.clock,
                                                         .name = "E",
                                                         .seed = 1,
                                                         FEED_PUMP_OPTIONS_DEFAULT});
    if (p == NULL) {
        feed_store_destroy(target);
        return VV_NO_MEMORY;
    }
    for (int i = 0; i < 40; i++) {
        int64_t wait = feed_pump_step(p);
        if (wait > 0)
            vv_clock_sleep(w->env.clock, wait);
    }
    feed_pump_destroy(p);
    feed_store_destroy(target);
    return VV_OK;
}

static int see_latest(void *ctx, const vv_series_info *info, const vv_sample *sample)
{
    uint64_t *sum = ctx;
    uint64_t n = (uint64_t)sample->f64;
    char want[16];
    (void)snprintf(want, sizeof want, "s%02" PRIu64, n);
    assert_int_equal(info->label_count, 2);
    assert_true(vv_slice_eq(info->labels[0].value, vv_slice_str("sensor")));
    assert_true(vv_slice_eq(info->labels[1].value, vv_slice_str(want)));
    assert_int_equal(sample->time_ns, (int64_t)n * VV_NS_PER_MS);
    assert_int_equal(sample->quality, n % 2 == 0 ? VV_QUALITY_GOOD : VV_QUALITY_BAD);
    *sum |= UINT64_C(1) << n;
    return 0;
}

/* The samples and letters of all messages up to the position, and of none behind it. */
static void check_store(sim_world *w, uint64_t least)
{
    vv_error err = {0};
    vv_table *table = NULL, *dead = NULL;
    vv_source_position position = {0};
    uint64_t seen = 0, want = 0, letters = 0;
    vv_cursor *c = NULL;
    vv_status st = vv_table_open(w->db, "default", "sensors", &table, &err);
    if (st == VV_NOT_FOUND && least == 0)
        return;
    assert_ok(st, err);
    st = vv_series_position(table, vv_slice_str("nats/E/v"), &position, &err);
    assert_true(st == VV_OK || (st == VV_NOT_FOUND && least == 0));
    assert_true(position.sequence >= least);
    assert_ok(vv_series_latest(table, NULL, 0, see_latest, &seen, &err), err);
    for (uint64_t n = 1; n <= position.sequence; n++)
        want |= n % POISON == 0 ? 0 : UINT64_C(1) << n;
    if (seen != want)
        fail_msg("position %" PRIu64 ": %" PRIx64 " is there", position.sequence, seen);
    vv_table_close(table);
    st = vv_table_open(w->db, "default", "sensors-dead", &dead, &err);
    if (st == VV_NOT_FOUND && position.sequence == 0)
        return;
    assert_ok(st, err);
    assert_ok(vv_cursor_open(dead, NULL, &c, &err), err);
    st = vv_cursor_seek(c, vv_slice_of(NULL, 0), &err);
    for (; st == VV_OK && vv_cursor_valid(c); st = vv_cursor_next(c, &err)) {
        char key[64];
        (void)snprintf(key, sizeof key, "01700000000000000000-%020" PRIu64, ++letters * POISON);
        assert_true(vv_slice_eq(vv_cursor_key(c), vv_slice_str(key)));
    }
    assert_ok(st, err);
    /* A letter may be there before the position that passes it. */
    assert_in_range(letters, position.sequence / POISON, MESSAGES / POISON);
    vv_cursor_close(c);
    vv_table_close(dead);
}

static void test_a_letter(void **state)
{
    (void)state;
    sim_world w = {.ops = &lsm_ops, .opt = SIM_TINY_OPTIONS};
    vv_error err = {0};
    stream s;
    vv_table *dead = NULL;
    vv_value value = {0};
    wire_field f = {0};
    stream_init(&s);
    sim_start(&w);
    assert_ok(run(&w, &s, &err), err);
    assert_int_equal(s.acked, MESSAGES);
    check_store(&w, MESSAGES);
    assert_ok(vv_table_open(w.db, "default", "sensors-dead", &dead, &err), err);
    assert_ok(
        vv_get(dead, NULL, vv_slice_str("01700000000000000000-00000000000000000010"), &value, &err),
        err);
    wire_reader r = wire_reader_of(value.data);
    const vv_slice want[] = {vv_slice_str("the payload is no SensorData: it is not protobuf"),
                             vv_slice_str("enterprise.x"), vv_slice_str("poison")};
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(wire_next(&r, &f), 1);
        assert_int_equal(f.number, i + 1);
        if (!vv_slice_eq(f.bytes, want[i]))
            fail_msg("field %u is '%.*s'", i + 1, (int)f.bytes.len, (const char *)f.bytes.data);
    }
    assert_true(wire_next(&r, &f) == 1 && f.value == 10);
    vv_value_release(&value);
    vv_table_close(dead);
    sim_end(&w);
}

/* Without numbers there is no position, and letters are kept by their time. */
static void test_a_stream_without_numbers(void **state)
{
    (void)state;
    sim_world w = {.ops = &lsm_ops, .opt = SIM_TINY_OPTIONS};
    vv_error err = {0};
    vv_source_position position;
    vv_table *table = NULL;
    stream s;
    uint64_t seen = 0;
    stream_init(&s);
    s.incarnation = "";
    sim_start(&w);
    assert_ok(run(&w, &s, &err), err);
    assert_ok(vv_table_open(w.db, "default", "sensors", &table, &err), err);
    assert_ok(vv_series_latest(table, NULL, 0, see_latest, &seen, &err), err);
    assert_int_equal(__builtin_popcountll(seen), MESSAGES - MESSAGES / POISON);
    assert_status(VV_NOT_FOUND,
                  vv_series_position(table, vv_slice_str("nats/E/v"), &position, NULL));
    vv_table_close(table);
    sim_end(&w);
}

/* Power fails at every write: what was acknowledged is there, and the next run completes it. */
static void prop_a_power_cut_loses_and_doubles_nothing(void **state)
{
    (void)state;
    bool is_cut = true;
    uint64_t stride = vv_test_count("VV_CUT_STEP", 1);
    for (uint64_t n = 1; is_cut; n += stride) {
        sim_world w = {.ops = &lsm_ops, .opt = SIM_TINY_OPTIONS};
        vv_error err = {0};
        stream s;
        stream_init(&s);
        w.disk = vio_sim_disk_create();
        assert_non_null(w.disk);
        assert_ok(
            sim_on(&w, &(vio_sim_options){.seed = n, .cut_after_writes = n, .tear = true}, &err),
            err);
        vv_status st = sim_open_db(&w, &err);
        if (st == VV_OK)
            (void)run(&w, &s, &err);
        is_cut = s.acked < MESSAGES;
        if (w.db != NULL)
            (void)vv_db_close(w.db, NULL);
        sim_off(&w);
        w.db = NULL;
        sim_start(&w);
        check_store(&w, s.acked);
        assert_ok(run(&w, &s, &err), err);
        check_store(&w, MESSAGES);
        sim_end(&w);
    }
}

static void prop_every_allocation_may_fail(void **state)
{
    (void)state;
    bool has_failed = true;
    uint64_t stride = vv_test_count("VV_ALLOC_STEP", 1);
    for (uint64_t n = 0; has_failed; n += stride) {
        sim_world w = {.ops = &lsm_ops, .opt = SIM_TINY_OPTIONS};
        vv_error err = {0};
        stream s;
        stream_init(&s);
        sim_start(&w);
        uint64_t before = vv_alloc_count();
        vv_alloc_fail_after((int64_t)n, 0);
        vv_status st = run(&w, &s, &err);
        has_failed = vv_alloc_count() - before > n;
        vv_alloc_fail_after(-1, 0);
        /* The disk's own allocations are among them: then the store is to be opened again. */
        if (st != VV_OK && st != VV_NO_MEMORY && st != VV_IO)
            fail_msg("allocation %" PRIu64 ": %s: %s", n, vv_status_name(st), err.msg);
        (void)vv_db_close(w.db, NULL);
        sim_off(&w);
        w.db = NULL;
        sim_start(&w);
        check_store(&w, s.acked);
        assert_ok(run(&w, &s, &err), err);
        check_store(&w, MESSAGES);
        sim_end(&w);
    }
}

/* A request of more samples than one entry takes is written as it goes. */
static void test_a_writer_writes_as_it_goes(void **state)
{
    (void)state;
    sim_world w = {.ops = &lsm_ops, .opt = SIM_TINY_OPTIONS};
    vv_error err = {0};
    vv_table_options options = VV_TABLE_OPTIONS_INIT;
    vv_table *table = NULL;
    feed_writer writer;
    feed_result r;
    vv_buf body;
    options.kind = VV_TABLE_SERIES;
    w.opt.memory_limit = 64u << 20;
    sim_start(&w);
    assert_ok(vv_table_create(w.db, "default", "t", &options, &table, &err), err);
    vv_samples *samples = vv_samples_create(table);
    feed_line *d = feed_line_create();
    assert_true(samples != NULL && d != NULL);
    vv_buf_init(&body, 64 << 20);
    char text[1001];
    memset(text, 'x', 1000);
    text[1000] = '\0';
    for (int i = 1; i <= 9000; i++) /* over VV_SAMPLES_MAX */
        vv_buf_printf(&body, "m,h=%d s=\"%s\" %d\n", i % 3, text, i);
    vv_buf_append_str(&body, "bad\nm,h=0 s=1 5\n");
    assert_int_equal(body.status, VV_OK);
    feed_writer_begin(&writer, samples, VV_DURABLE_SYNC);
    assert_ok(feed_line_decode(d, vv_buf_slice(&body), &(feed_line_options){.unit_ns = 1},
                               &writer.sink, &r, &err),
              err);
    assert_int_equal(r.samples, 9000);
    assert_int_equal(r.refused, 2); /* the bad line, and a number for a string */
    assert_true(writer.total.accepted > 0 && writer.total.accepted < 9000);
    assert_ok(feed_writer_finish(&writer, &err), err);
    assert_int_equal(writer.total.accepted, 9000);
    assert_int_equal(writer.total.series_created, 3);
    assert_int_equal(vv_samples_count(samples), 0);
    feed_line_destroy(d);
    vv_samples_destroy(samples);
    vv_table_close(table);
    vv_buf_fini(&body);
    sim_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_letter),
        cmocka_unit_test(test_a_stream_without_numbers),
        cmocka_unit_test(prop_a_power_cut_loses_and_doubles_nothing),
        cmocka_unit_test(prop_every_allocation_may_fail),
        cmocka_unit_test(test_a_writer_writes_as_it_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
