/*
 * feed_pump_test.c - the pump between a stream and a table that are models, with every call failing
 * once, deliveries lost and repeated, and the process killed at any step: at the end each message
 * that was published is in the table exactly once, or is a dead letter once.
 */
#include "feeds/feed_pump.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/rng.h"
#include "codec/protowire.h"
#include "vv_test.h"

enum { MESSAGES_MAX = 4096, FETCH_MAX = 16, PAYLOAD_MAX = 40, BAD_SERIES = 7 };

/* ---- time ---- */

typedef struct fake_clock {
    vv_clock clock;
    int64_t now;
} fake_clock;

static int64_t fake_now(vv_clock *clock)
{
    return VV_CONTAINER_OF(clock, fake_clock, clock)->now;
}

static void fake_sleep(vv_clock *clock, int64_t ns)
{
    VV_CONTAINER_OF(clock, fake_clock, clock)->now += ns;
}

/* ---- the stream: what a server keeps, and its one consumer ---- */

typedef struct fake_message {
    uint8_t bytes[PAYLOAD_MAX];
    size_t len;
} fake_message;

typedef struct world {
    fake_clock clock;
    vv_rng rng;
    /* the server */
    fake_message stream[MESSAGES_MAX + 1]; /* [sequence] */
    uint64_t first, last, created;
    bool has_consumer, is_numbered;
    uint64_t next;     /* to deliver */
    uint64_t floor;    /* acknowledged */
    uint64_t delivery; /* of the consumer */
    /* faults of the broker */
    uint64_t calls, fail_at; /* this call fails; 0: none */
    unsigned lose_one_in, repeat_one_in;
    bool killed;
    /* the broker object */
    feed_broker broker;
    bool is_open;
    uint64_t opened; /* created as it was found */
    feed_message slots[FEED_SLOTS][FETCH_MAX];
    bool in_use[FEED_SLOTS];
    /* the table: durable */
    uint32_t written[2 * MESSAGES_MAX]; /* times a sample was written, by its time in ms */
    uint32_t letters[2 * MESSAGES_MAX]; /* by incarnation and sequence */
    feed_position position;
    bool has_position;
    uint64_t order; /* the highest sequence written: must only rise within an incarnation */
    /* the target object */
    feed_target target;
    struct {
        feed_sink sink;
        struct world *w;
        int64_t ids[FETCH_MAX];
        size_t count;
        uint64_t dead[FETCH_MAX];
        size_t dead_count;
        feed_position position;
        bool has_position, is_started, is_written;
    } batch[FEED_SLOTS];
    unsigned busy_one_in;
    bool is_dropped;    /* the table, until it is made again */
    int64_t invalid_id; /* a sample whose series has another type in the table */
} world;

static vv_status call(world *w, vv_error *err)
{
    w->calls++;
    if (w->killed || w->calls == w->fail_at)
        return vv_fail(err, VV_IO, "call %" PRIu64 " fails", w->calls);
    return VV_OK;
}

/* Publish a sample whose time is its number; every so often bytes that are none. */
static void publish(world *w, int64_t id, bool is_poison)
{
    fake_message *m = &w->stream[++w->last];
    vv_buf b;
    vv_buf_init(&b, PAYLOAD_MAX);
    if (is_poison) {
        vv_buf_append_str(&b, "poison");
    } else {
        wire_put_string(&b, 1, vv_slice_str(id % 3 == 0 ? "a" : "b"));
        wire_put_double(&b, 2, 1.5);
        wire_put_int(&b, 3, id);
        wire_put_int(&b, 4, 1);
    }
    assert_int_equal(b.status, VV_OK);
    memcpy(m->bytes, b.data, b.len);
    m->len = b.len;
    vv_buf_fini(&b);
}

static world *world_of(feed_broker *broker)
{
    return VV_CONTAINER_OF(broker, world, broker);
}

static vv_status fake_open(feed_broker *broker, feed_stream *out, vv_error *err)
{
    world *w = world_of(broker);
    vv_status st = call(w, err);
    assert_false(w->is_open);
    if (st != VV_OK)
        return st;
    w->is_open = true;
    w->opened = w->created;
    *out = (feed_stream){.first = w->first, .last = w->last};
    if (w->is_numbered)
        (void)snprintf(out->incarnation, sizeof out->incarnation, "%" PRIu64, w->created);
    return VV_OK;
}

static vv_status fake_consume(feed_broker *broker, uint64_t sequence, vv_error *err)
{
    world *w = world_of(broker);
    vv_status st = call(w, err);
    assert_true(w->is_open);
    if (st != VV_OK)
        return st;
    w->has_consumer = true;
    w->next = vv_max_u64(sequence, w->first);
    w->floor = sequence - 1;
    w->delivery = 0;
    return VV_OK;
}

static vv_status fake_fetch(feed_broker *broker, unsigned slot, int64_t wait_ns,
                            const feed_message **out, size_t *count, vv_error *err)
{
    world *w = world_of(broker);
    vv_status st = call(w, err);
    assert_true(w->is_open && !w->in_use[slot]);
    if (st == VV_OK && (!w->has_consumer || w->opened != w->created))
        st = vv_fail(err, VV_NOT_FOUND, "no consumer");
    *count = 0;
    if (w->repeat_one_in > 0 && vv_rng_one_in(&w->rng, w->repeat_one_in) && w->next > w->floor + 1)
        w->next = w->floor + 1; /* all that is not acknowledged comes again */
    size_t n = 0;
    size_t max = 1 + vv_rng_below(&w->rng, FETCH_MAX);
    for (; n < max && w->next <= w->last; w->next++) {
        w->delivery += w->is_numbered;
        if (st != VV_OK || (w->lose_one_in > 0 && vv_rng_one_in(&w->rng, w->lose_one_in)))
            continue; /* delivered, and lost on the way */
        const fake_message *m = &w->stream[w->next];
        w->slots[slot][n++] = (feed_message){.subject = vv_slice_str("enterprise.x"),
                                             .payload = vv_slice_of(m->bytes, m->len),
                                             .sequence = w->is_numbered ? w->next : 0,
                                             .delivery = w->delivery,
                                             .waiting = w->last - w->next};
    }
    if (n == 0)
        w->clock.now += wait_ns + 1;
    w->in_use[slot] = n > 0;
    *out = w->slots[slot];
    *count = n;
    return st;
}

static vv_status fake_ack(feed_broker *broker, unsigned slot, size_t count, vv_error *err)
{
    world *w = world_of(broker);
    vv_status st = call(w, err);
    assert_true(w->in_use[slot]);
    uint64_t sequence = w->slots[slot][count - 1].sequence;
    /* What is acknowledged is durable: the promise of the whole. */
    assert_true(w->has_position && w->position.sequence >= sequence);
    if (st == VV_OK)
        w->floor = vv_max_u64(w->floor, sequence);
    return st;
}

static void fake_release(feed_broker *broker, unsigned slot)
{
    world *w = world_of(broker);
    w->in_use[slot] = false;
    memset(w->slots[slot], 0xee, sizeof w->slots[slot]);
}

static vv_status fake_check(feed_broker *broker, uint64_t *deliveries, vv_error *err)
{
    world *w = world_of(broker);
    *deliveries = w->delivery;
    vv_status st = call(w, err);
    if (st == VV_OK && (w->opened != w->created || !w->has_consumer))
        st = vv_fail(err, VV_NOT_FOUND, "the stream is another");
    return st;
}

static uint64_t fake_dropped(feed_broker *broker)
{
    (void)broker;
    return 0;
}

static void fake_close(feed_broker *broker)
{
    world *w = world_of(broker);
    for (unsigned i = 0; i < FEED_SLOTS; i++)
        assert_false(w->in_use[i]);
    w->is_open = false;
}

/* ---- the table ---- */

static vv_status fake_target_open(feed_target *target, vv_error *err)
{
    world *w = VV_CONTAINER_OF(target, world, target);
    vv_status st = call(w, err);
    w->is_dropped &= st != VV_OK;
    return st;
}

static vv_status fake_position(feed_target *target, feed_position *out, vv_error *err)
{
    world *w = VV_CONTAINER_OF(target, world, target);
    vv_status st = call(w, err);
    if (st == VV_OK && !w->has_position)
        return VV_NOT_FOUND;
    *out = w->position;
    return st;
}

static vv_status sink_series(feed_sink *sink, const feed_label *labels, size_t count,
                             feed_type type, vv_error *err)
{
    (void)sink, (void)labels, (void)err;
    assert_int_equal(count, 2);
    assert_int_equal(type, FEED_F64);
    return VV_OK;
}

static vv_status sink_samples(feed_sink *sink, const int64_t *time_ns, feed_values values,
                              const uint32_t *quality, size_t count, vv_error *err)
{
    world *w = NULL;
    unsigned slot = 0;
    memcpy(&w, sink + 1, sizeof w); /* behind the sink */
    while (&w->batch[slot].sink != sink)
        slot++;
    assert_true(count == 1 && values.f64[0] == 1.5 && quality[0] == 0);
    if (w->batch[slot].count == FETCH_MAX - 2)
        return vv_fail(err, VV_BUSY, "the batch is full");
    w->batch[slot].ids[w->batch[slot].count++] = time_ns[0] / VV_NS_PER_MS;
    return VV_OK;
}

static feed_sink *fake_begin(feed_target *target, unsigned slot)
{
    static const feed_sink_ops ops = {sink_series, sink_samples};
    world *w = VV_CONTAINER_OF(target, world, target);
    assert_false(w->batch[slot].is_started);
    memset(&w->batch[slot], 0, sizeof w->batch[slot]);
    w->batch[slot].sink.ops = &ops;
    w->batch[slot].w = w;
    return &w->batch[slot].sink;
}

static uint64_t letter_index(const world *w, uint64_t sequence)
{
    return w->created % 2 * MESSAGES_MAX + sequence;
}

static vv_status fake_dead(feed_target *target, unsigned slot, const feed_dead *dead, vv_error *err)
{
    world *w = VV_CONTAINER_OF(target, world, target);
    vv_status st = call(w, err);
    assert_non_null(dead->reason);
    if (st == VV_OK)
        w->batch[slot].dead[w->batch[slot].dead_count++] = dead->message->sequence;
    return st;
}

static bool has_invalid(const world *w, unsigned slot)
{
    for (size_t i = 0; i < w->batch[slot].count; i++)
        if (w->batch[slot].ids[i] == w->invalid_id)
            return true;
    return false;
}

/* The entry becomes durable, at any moment between start and wait. */
static void fake_write(world *w, unsigned slot)
{
    if (w->batch[slot].is_written || has_invalid(w, slot))
        return;
    w->batch[slot].is_written = true;
    for (size_t i = 0; i < w->batch[slot].count; i++)
        w->written[w->batch[slot].ids[i]]++;
    for (size_t i = 0; i < w->batch[slot].dead_count; i++)
        w->letters[letter_index(w, w->batch[slot].dead[i])]++;
    if (w->batch[slot].has_position) {
        w->position = w->batch[slot].position;
        w->has_position = true;
    }
}

static vv_status fake_start(feed_target *target, unsigned slot, const feed_position *position,
                            vv_error *err)
{
    world *w = VV_CONTAINER_OF(target, world, target);
    vv_status st = call(w, err);
    for (unsigned i = 0; i < FEED_SLOTS; i++)
        assert_false(w->batch[i].is_started); /* one on its way */
    if (st == VV_OK && w->is_dropped)
        st = vv_fail(err, VV_NOT_FOUND, "the table was dropped");
    if (st != VV_OK)
        return st;
    w->batch[slot].is_started = true;
    w->batch[slot].has_position = position != NULL;
    if (position != NULL)
        w->batch[slot].position = *position;
    return VV_OK;
}

static vv_status fake_wait(feed_target *target, unsigned slot, feed_outcome *out, vv_error *err)
{
    world *w = VV_CONTAINER_OF(target, world, target);
    assert_true(w->batch[slot].is_started);
    w->batch[slot].is_started = false;
    *out = (feed_outcome){.accepted = w->batch[slot].count};
    if (has_invalid(w, slot))
        return vv_fail(err, VV_INVALID, "the series is of another type");
    vv_status st = call(w, err);
    if (st == VV_OK && w->busy_one_in > 0 && vv_rng_one_in(&w->rng, w->busy_one_in))
        st = vv_fail(err, VV_BUSY, "the memory limit is reached");
    if (st == VV_OK)
        fake_write(w, slot);
    return st;
}

/* ---- a world ---- */

static world *world_create(uint64_t seed)
{
    static const vv_clock_ops clock_ops = {fake_now, fake_now, fake_sleep};
    static const feed_broker_ops broker_ops = {fake_open,    fake_consume, fake_fetch,
                                               fake_ack,     fake_release, fake_check,
                                               fake_dropped, fake_close};
    static const feed_target_ops target_ops = {fake_target_open, fake_position, fake_begin,
                                               fake_dead,        fake_start,    fake_wait};
    world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->clock.clock.ops = &clock_ops;
    w->broker.ops = &broker_ops;
    w->target.ops = &target_ops;
    w->first = 1;
    w->created = 1000;
    w->is_numbered = true;
    w->invalid_id = -1;
    vv_rng_init(&w->rng, seed);
    return w;
}

static feed_pump *pump_create(world *w)
{
    feed_pump *p = feed_pump_create(&(feed_pump_options){.broker = &w->broker,
                                                         .target = &w->target,
                                                         .clock = &w->clock.clock,
                                                         .name = "EVENTS",
                                                         .seed = vv_rng_next(&w->rng),
                                                         FEED_PUMP_OPTIONS_DEFAULT});
    assert_non_null(p);
    return p;
}

static void step(world *w, feed_pump *p)
{
    w->clock.now += feed_pump_step(p);
}

/* Until the stream is taken in and looked at once more. */
static void run_dry(world *w, feed_pump *p)
{
    int64_t limit = w->clock.now + 600 * VV_NS_PER_S;
    while (!w->has_position || w->position.sequence != w->last ||
           atoi(w->position.incarnation) != (int)w->created) {
        step(w, p);
        if (w->clock.now > limit)
            fail_msg("at %" PRIu64 " of %" PRIu64, w->position.sequence, w->last);
    }
}

/* Samples 1..count, every tenth of them poison instead. */
static void publish_many(world *w, int64_t from, int64_t count)
{
    for (int64_t id = from; id < from + count; id++)
        publish(w, id, id % 10 == 0);
}

static void check_each_once(world *w, int64_t from, int64_t count, const char *what, uint64_t n)
{
    uint64_t sequence = w->first;
    for (int64_t id = from; id < from + count; id++, sequence++) {
        bool is_dead = id % 10 == 0 || id == w->invalid_id;
        if (w->written[id] != !is_dead)
            fail_msg("%s %" PRIu64 ": sample %" PRId64 " was written %u times", what, n, id,
                     w->written[id]);
        if (w->letters[letter_index(w, sequence)] != is_dead)
            fail_msg("%s %" PRIu64 ": letter %" PRIu64 " was written %u times", what, n, sequence,
                     w->letters[letter_index(w, sequence)]);
    }
}

static void test_all_comes_in_once(void **state)
{
    (void)state;
    world *w = world_create(1);
    feed_pump *p = pump_create(w);
    feed_stats s;
    publish_many(w, 1, 1000);
    run_dry(w, p);
    publish_many(w, 1001, 200);
    run_dry(w, p);
    check_each_once(w, 1, 1200, "plain", 0);
    feed_pump_stats(p, &s);
    assert_true(s.is_connected);
    assert_int_equal(s.messages, 1200);
    assert_int_equal(s.accepted, 1080);
    assert_int_equal(s.poison, 120);
    assert_int_equal(s.sequence, 1200);
    assert_int_equal(s.sessions, 1);
    assert_int_equal(s.failures + s.redelivered + s.resyncs + s.expired + s.refused, 0);
    w->clock.now += VV_NS_PER_S; /* the running second does not count */
    feed_pump_stats(p, &s);
    assert_true(s.per_second == 120.0); /* poison is taken in too */
    w->clock.now += 20 * VV_NS_PER_S;
    feed_pump_stats(p, &s);
    assert_true(s.per_second == 0.0);
    feed_pump_destroy(p);
    assert_int_equal(w->floor, 1200);
    assert_false(w->is_open);
    free(w);
}

/* It is made again and filled from the beginning of the stream. */
static void test_a_dropped_table(void **state)
{
    (void)state;
    world *w = world_create(2);
    feed_pump *p = pump_create(w);
    feed_stats s;
    publish_many(w, 1, 300);
    run_dry(w, p);
    w->is_dropped = true;
    w->has_position = false;
    memset(w->written, 0, sizeof w->written);
    memset(w->letters, 0, sizeof w->letters);
    publish_many(w, 301, 100);
    step(w, p);
    feed_pump_stats(p, &s);
    assert_string_equal(s.why, "the table was dropped");
    run_dry(w, p);
    check_each_once(w, 1, 400, "dropped", 0);
    feed_pump_stats(p, &s);
    assert_int_equal(s.sessions, 2);
    assert_string_equal(s.why, "");
    feed_pump_destroy(p);
    free(w);
}

/* Each call to either side fails once. */
static void prop_every_call_may_fail(void **state)
{
    (void)state;
    for (uint64_t n = 1;; n++) {
        world *w = world_create(n);
        feed_pump *p = pump_create(w);
        feed_stats s;
        publish_many(w, 1, 60);
        w->fail_at = n;
        w->invalid_id = 33;
        run_dry(w, p);
        uint64_t calls = w->calls;
        feed_pump_stats(p, &s);
        feed_pump_destroy(p);
        check_each_once(w, 1, 60, "fail at", n);
        assert_true(calls < n || s.failures >= 1);
        assert_int_equal(s.poison, 7);
        assert_int_equal(s.messages, 60);
        free(w);
        if (calls < n)
            break;
    }
}

static void prop_nothing_lost_nothing_doubled(void **state)
{
    (void)state;
    uint64_t seed = vv_test_seed(0xfeed5);
    for (uint64_t round = 0; round < vv_test_count("VV_ROUNDS", 150); round++) {
        world *w = world_create(seed + round);
        feed_pump *p = pump_create(w);
        int64_t published = 0;
        uint64_t kills = 0;
        w->invalid_id = BAD_SERIES * (int64_t)vv_rng_below(&w->rng, 30);
        w->lose_one_in = vv_rng_one_in(&w->rng, 2) ? 30 : 0;
        w->repeat_one_in = vv_rng_one_in(&w->rng, 2) ? 10 : 0;
        w->busy_one_in = vv_rng_one_in(&w->rng, 2) ? 5 : 0;
        while (published < 400) {
            int64_t n = 1 + (int64_t)vv_rng_below(&w->rng, 40);
            publish_many(w, published + 1, n);
            published += n;
            for (uint64_t i = vv_rng_below(&w->rng, 6); i > 0; i--)
                step(w, p);
            if (vv_rng_one_in(&w->rng, 3))
                w->fail_at = w->calls + vv_rng_below(&w->rng, 10);
            if (!vv_rng_one_in(&w->rng, 4))
                continue;
            for (unsigned i = 0; i < FEED_SLOTS; i++) /* killed: what was started may be there */
                if (w->batch[i].is_started && vv_rng_one_in(&w->rng, 2))
                    fake_write(w, i);
            w->killed = true;
            feed_pump_destroy(p);
            memset(w->batch, 0, sizeof w->batch);
            w->killed = false;
            p = pump_create(w);
            kills++;
        }
        run_dry(w, p);
        feed_pump_destroy(p);
        if (w->invalid_id > published)
            w->invalid_id = -1;
        check_each_once(w, 1, published, "VV_SEED round", seed + round);
        free(w);
    }
}

/* A stream that was deleted and made again, while we look and while we are away. */
static void test_a_stream_made_anew(void **state)
{
    (void)state;
    for (unsigned away = 0; away < 2; away++) {
        world *w = world_create(5);
        feed_pump *p = pump_create(w);
        publish_many(w, 1, 100);
        run_dry(w, p);
        if (away) {
            feed_pump_destroy(p);
            p = pump_create(w);
        }
        w->created = 2001;
        w->last = 0;
        w->has_consumer = false;
        publish_many(w, 101, 50);
        run_dry(w, p);
        check_each_once(w, 101, 50, "anew, away", away);
        for (int64_t id = 1; id <= 100; id++)
            assert_int_equal(w->written[id], id % 10 != 0);
        assert_string_equal(w->position.incarnation, "2001");
        feed_pump_destroy(p);
        free(w);
    }
}

/* The stream of before, put back to an earlier state: sequences begin below our position. */
static void test_a_stream_put_back(void **state)
{
    (void)state;
    world *w = world_create(5);
    feed_pump *p = pump_create(w);
    publish_many(w, 1, 100);
    run_dry(w, p);
    feed_pump_destroy(p);
    w->last = 0;
    publish_many(w, 201, 30);
    p = pump_create(w);
    run_dry(w, p);
    for (int64_t id = 201; id <= 230; id++)
        assert_int_equal(w->written[id], id % 10 != 0);
    feed_pump_destroy(p);
    free(w);
}

static void test_messages_that_expired_are_counted(void **state)
{
    (void)state;
    world *w = world_create(5);
    feed_pump *p = pump_create(w);
    feed_stats s;
    publish_many(w, 1, 20);
    run_dry(w, p);
    feed_pump_destroy(p);
    publish_many(w, 21, 80);
    w->first = 51;
    p = pump_create(w);
    run_dry(w, p);
    feed_pump_stats(p, &s);
    assert_int_equal(s.expired, 30);
    assert_int_equal(s.messages, 50);
    assert_int_equal(w->written[49], 0);
    assert_int_equal(w->written[51], 1);
    feed_pump_destroy(p);
    free(w);
}

/* Pauses double up to their bound, with jitter, and begin anew after a success. */
static void test_pauses(void **state)
{
    (void)state;
    world *w = world_create(9);
    feed_pump *p = pump_create(w);
    int64_t pause = 100 * VV_NS_PER_MS;
    publish_many(w, 1, 5);
    w->killed = true;
    for (int i = 0; i < 12; i++) {
        int64_t wait = feed_pump_step(p);
        assert_true(wait >= pause / 2 && wait <= pause);
        assert_int_equal(feed_pump_step(p), wait); /* nothing before its time */
        w->clock.now += wait;
        pause = pause * 2 < 15 * VV_NS_PER_S ? pause * 2 : 15 * VV_NS_PER_S;
    }
    w->killed = false;
    run_dry(w, p);
    w->killed = true;
    int64_t wait = feed_pump_step(p);
    assert_true(wait <= 100 * VV_NS_PER_MS);
    feed_pump_destroy(p);
    free(w);
}

/* A broker that numbers nothing: no position, no acknowledgement. */
static void test_without_numbers(void **state)
{
    (void)state;
    world *w = world_create(3);
    feed_pump *p = pump_create(w);
    feed_stats s;
    w->is_numbered = false;
    publish_many(w, 1, 100);
    for (int i = 0; i < 200; i++)
        step(w, p);
    for (int64_t id = 1; id <= 100; id++)
        assert_int_equal(w->written[id], id % 10 != 0);
    feed_pump_stats(p, &s);
    assert_int_equal(s.messages, 100);
    assert_false(w->has_position);
    feed_pump_destroy(p);
    free(w);
}

static void test_no_memory(void **state)
{
    (void)state;
    vv_alloc_fail_after(0, 1);
    assert_null(feed_pump_create(&(feed_pump_options){.seed = 1}));
    vv_alloc_fail_after(-1, 0);
    feed_pump_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_comes_in_once),
        cmocka_unit_test(test_a_dropped_table),
        cmocka_unit_test(prop_every_call_may_fail),
        cmocka_unit_test(prop_nothing_lost_nothing_doubled),
        cmocka_unit_test(test_a_stream_made_anew),
        cmocka_unit_test(test_a_stream_put_back),
        cmocka_unit_test(test_messages_that_expired_are_counted),
        cmocka_unit_test(test_pauses),
        cmocka_unit_test(test_without_numbers),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
