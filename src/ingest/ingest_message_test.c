/*
 * ingest_message_test.c - the pipeline of messages: order of each sender, its bound, what is set
 * aside and what is refused, with threads and without.
 */
#include "vv_test.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/lock.h"
#include "base/rng.h"
#include "base/util.h"
#include "ingest/ingest_message.h"
#include "io/env.h"

#define SENDERS 7u

/* A request of a test, and what its run answers. */
typedef struct request {
    ingest_task task;
    struct test *t;
    uint32_t sender;
    uint32_t number; /* of the sender */
    uint32_t busy;   /* times that it is told so */
    vv_status ends;
    bool leaves; /* at once */
} request;

typedef struct test {
    ingest_messages *p;
    vv_mutex lock;
    uint32_t next[SENDERS]; /* the number expected of each; under lock, like what follows */
    uint32_t ran;
    uint32_t refused;
    vv_status refused_as;
    request *held[1024]; /* ran, and have not left */
    uint32_t held_count;
    uint64_t held_bytes;
    uint64_t held_most;
} test;

static vv_status run(ingest_task *task, vv_error *err)
{
    request *r = VV_CONTAINER_OF(task, request, task);
    test *t = r->t;
    (void)err;
    if (r->busy > 0) {
        r->busy--;
        return VV_BUSY;
    }
    vv_mutex_lock(&t->lock);
    VV_CHECK(r->number == t->next[r->sender]);
    t->next[r->sender]++;
    t->ran++;
    bool leaves = r->leaves;
    if (r->ends == VV_OK && !leaves) {
        t->held[t->held_count++] = r;
        t->held_bytes += task->bytes;
        t->held_most = vv_max_u64(t->held_most, t->held_bytes);
    }
    vv_status st = r->ends;
    vv_mutex_unlock(&t->lock);
    if (st == VV_OK && leaves) {
        ingest_messages_leave(t->p, task);
        free(r);
    }
    return st;
}

static void refused(ingest_task *task, vv_status st, const vv_error *err)
{
    request *r = VV_CONTAINER_OF(task, request, task);
    VV_CHECK(err != NULL);
    vv_mutex_lock(&r->t->lock);
    r->t->refused++;
    r->t->refused_as = st;
    if (st == VV_BUSY) /* else run counted it */
        r->t->next[r->sender]++;
    vv_mutex_unlock(&r->t->lock);
    free(r);
}

static void submit(test *t, request in)
{
    request *r = malloc(sizeof *r);
    assert_non_null(r);
    *r = in;
    r->t = t;
    r->task.order = in.sender;
    r->task.run = run;
    r->task.refuse = refused;
    ingest_messages_submit(t->p, &r->task);
}

/* The oldest that ran leaves. */
static bool leave_one(test *t)
{
    vv_mutex_lock(&t->lock);
    request *r = t->held_count > 0 ? t->held[0] : NULL;
    if (r != NULL) {
        t->held_count--;
        t->held_bytes -= r->task.bytes;
        for (uint32_t i = 0; i < t->held_count; i++)
            t->held[i] = t->held[i + 1];
    }
    vv_mutex_unlock(&t->lock);
    if (r == NULL)
        return false;
    ingest_messages_leave(t->p, &r->task);
    free(r);
    return true;
}

static void begin(test *t, const vv_env *env, bool has_threads, uint32_t workers, uint64_t bytes)
{
    vv_error err = {0};
    ingest_messages_options opt = {.clock = env->clock,
                                   .threads = has_threads ? env->threads : NULL,
                                   .workers = workers,
                                   .queue_bytes = bytes};
    *t = (test){.p = NULL};
    vv_mutex_init(&t->lock, VV_RANK_DB);
    assert_ok(ingest_messages_create(&opt, &t->p, &err), err);
}

static void end(test *t)
{
    ingest_messages_destroy(t->p);
    vv_mutex_fini(&t->lock);
    assert_int_equal(vv_check_failures(), 0);
}

static vv_env env_of(void)
{
    return (vv_env){.clock = vv_clock_real(), .threads = vv_threads_real()};
}

static void what_does_not_fit_waits_outside(void **state)
{
    (void)state;
    test t;
    vv_env env = env_of();
    ingest_messages_stats s;
    begin(&t, &env, false, 1, 100);
    submit(&t, (request){.number = 0, .task.bytes = 1000}); /* passes: it is empty */
    submit(&t, (request){.number = 1, .task.bytes = 60});
    submit(&t, (request){.number = 2, .task.bytes = 40});
    submit(&t, (request){.number = 3, .task.bytes = 1});
    ingest_messages_stats_read(t.p, &s);
    assert_int_equal(s.waiting, 4);
    assert_int_equal(s.waiting_bytes, 1101);
    assert_true(s.oldest_ns >= 0);
    assert_true(ingest_messages_step(t.p));
    assert_false(ingest_messages_step(t.p));
    assert_int_equal(t.ran, 1);
    assert_true(leave_one(&t));
    while (ingest_messages_step(t.p))
        ;
    assert_int_equal(t.ran, 3);
    ingest_messages_stats_read(t.p, &s);
    assert_int_equal(s.inside, 2);
    assert_int_equal(s.inside_bytes, 100);
    assert_int_equal(s.waiting, 1);
    assert_int_equal(s.limit_bytes, 100);
    assert_true(leave_one(&t));
    assert_true(ingest_messages_step(t.p));
    while (leave_one(&t))
        ;
    ingest_messages_stats_read(t.p, &s);
    assert_int_equal(s.inside, 0);
    assert_int_equal(s.inside_bytes, 0);
    assert_int_equal(s.taken, 4);
    assert_int_equal(vv_hist_count(ingest_messages_latency(t.p)), 4);
    assert_int_equal(vv_hist_count(ingest_messages_run_time(t.p)), 4);
    end(&t);
}

static void what_fails_is_refused_and_takes_no_room(void **state)
{
    (void)state;
    test t;
    vv_env env = env_of();
    ingest_messages_stats s;
    begin(&t, &env, false, 1, 100);
    submit(&t, (request){.number = 0, .task.bytes = 90, .ends = VV_INVALID});
    submit(&t, (request){.number = 1, .task.bytes = 90, .ends = VV_CORRUPT});
    submit(&t, (request){.number = 2, .task.bytes = 90, .leaves = true});
    while (ingest_messages_step(t.p))
        ;
    assert_int_equal(t.refused, 2);
    assert_int_equal(t.refused_as, VV_CORRUPT);
    ingest_messages_stats_read(t.p, &s);
    assert_true(s.inside == 0 && s.waiting == 0 && s.refused == 2);
    end(&t);
}

/* A clock that goes when it is told to. */
typedef struct hand_clock {
    vv_clock clock;
    int64_t now_ns;
} hand_clock;

static int64_t hand_now(vv_clock *clock)
{
    return VV_CONTAINER_OF(clock, hand_clock, clock)->now_ns;
}

static void hand_sleep(vv_clock *clock, int64_t ns)
{
    VV_CONTAINER_OF(clock, hand_clock, clock)->now_ns += ns;
}

static const vv_clock_ops hand_ops = {hand_now, hand_now, hand_sleep};

static void who_is_busy_holds_nobody_else_back(void **state)
{
    (void)state;
    test t;
    ingest_messages_stats s;
    hand_clock hand = {.clock.ops = &hand_ops};
    vv_env env = {.clock = &hand.clock};
    begin(&t, &env, false, 1, 100);
    submit(&t, (request){.sender = 0, .number = 0, .task.bytes = 90, .busy = 3, .leaves = true});
    submit(&t, (request){.sender = 0, .number = 1, .task.bytes = 90, .leaves = true});
    submit(&t, (request){.sender = 1, .number = 0, .task.bytes = 90, .leaves = true});
    assert_true(ingest_messages_step(t.p)); /* busy: it takes no room */
    assert_true(ingest_messages_step(t.p));
    assert_int_equal(t.ran, 1);
    assert_int_equal(t.next[1], 1);
    assert_false(ingest_messages_step(t.p)); /* before its pause is over */
    hand.now_ns = 5;
    ingest_messages_stats_read(t.p, &s);
    assert_true(s.waiting == 2 && s.waiting_bytes == 180 && s.inside == 0 && s.retried == 1);
    assert_int_equal(s.oldest_ns, 5);
    while (t.ran < 3) {
        hand.now_ns += VV_NS_PER_MS;
        (void)ingest_messages_step(t.p);
        assert_true(hand.now_ns < VV_NS_PER_S);
    }
    ingest_messages_stats_read(t.p, &s);
    assert_true(s.taken == 3 && s.retried == 3 && s.refused == 0 && s.waiting == 0);
    end(&t);
}

static void pauses_grow_until_it_is_given_up(void **state)
{
    (void)state;
    test t;
    ingest_messages_stats s;
    hand_clock hand = {.clock.ops = &hand_ops};
    vv_env env = {.clock = &hand.clock};
    begin(&t, &env, false, 1, 100);
    submit(&t, (request){.number = 0, .task.bytes = 1, .busy = UINT32_MAX});
    submit(&t, (request){.number = 1, .task.bytes = 1, .busy = UINT32_MAX});
    submit(&t, (request){.number = 2, .task.bytes = 1, .leaves = true});
    while (t.ran == 0) {
        hand.now_ns += VV_NS_PER_MS;
        (void)ingest_messages_step(t.p);
        assert_true(hand.now_ns <= 11 * VV_NS_PER_S);
    }
    ingest_messages_stats_read(t.p, &s);
    assert_int_equal(s.refused, 2); /* the second had one try */
    assert_true(s.retried > 30 && s.retried < 60);
    end(&t);
}

static void what_is_busy_at_the_end_is_told(void **state)
{
    (void)state;
    for (int has_threads = 0; has_threads < 2; has_threads++) {
        test t;
        vv_env env = env_of();
        begin(&t, &env, has_threads != 0, 2, 100);
        for (uint32_t i = 0; i < SENDERS; i++)
            for (uint32_t k = 0; k < 3; k++)
                submit(&t, (request){.sender = i,
                                     .number = k,
                                     .task.bytes = 1,
                                     .busy = k == 1 ? 0 : UINT32_MAX,
                                     .leaves = true});
        end(&t);
        assert_int_equal(t.ran, SENDERS);
        assert_int_equal(t.refused, 2 * SENDERS);
    }
}

static void prop_each_sender_keeps_its_order(void **state)
{
    (void)state;
    test t;
    vv_rng rng;
    vv_env env = env_of();
    uint32_t number[SENDERS] = {0};
    vv_rng_init(&rng, vv_test_seed(13));
    begin(&t, &env, true, 3, 4096);
    for (int i = 0; i < 5000; i++) {
        uint32_t sender = (uint32_t)vv_rng_below(&rng, SENDERS);
        submit(&t, (request){.sender = sender,
                             .number = number[sender]++,
                             .task.bytes = vv_rng_below(&rng, 600),
                             .busy = vv_rng_one_in(&rng, 30) ? 2 : 0,
                             .leaves = !vv_rng_one_in(&rng, 8)});
        if (vv_rng_one_in(&rng, 4))
            (void)leave_one(&t);
    }
    for (;;) { /* what is held gives its room, until all ran */
        ingest_messages_stats s;
        while (leave_one(&t))
            ;
        ingest_messages_stats_read(t.p, &s);
        if (s.waiting == 0 && s.inside == 0)
            break;
    }
    assert_int_equal(t.ran, 5000);
    assert_int_equal(t.refused, 0);
    assert_true(t.held_most <= 4096 + 600);
    end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_does_not_fit_waits_outside),
        cmocka_unit_test(what_fails_is_refused_and_takes_no_room),
        cmocka_unit_test(who_is_busy_holds_nobody_else_back),
        cmocka_unit_test(pauses_grow_until_it_is_given_up),
        cmocka_unit_test(what_is_busy_at_the_end_is_told),
        cmocka_unit_test(prop_each_sender_keeps_its_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
