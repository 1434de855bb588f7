/*
 * feed_pump.c - see feed_pump.h.
 *
 *              open, position, consume            fetch fails, check fails
 *     CLOSED ---------------------------> RUNNING ------------------------> CLOSED, after a pause
 *                                          |   ^
 *                            a delivery is |   | consume from the position
 *                            missing       v   |
 *                                          RESYNC
 *
 * A slot in use goes: fetched -> filled -> started -> settled. head is the older one. What a write
 * refuses is done again, after a pause; what it calls invalid is halved until the one message that
 * is why goes to the dead letters.
 */
#include "feeds/feed_pump.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/lock.h"
#include "base/point.h"
#include "base/rate.h"
#include "base/rng.h"
#include "base/util.h"
#include "feeds/feed_sensor.h"

typedef enum pump_state { PUMP_CLOSED, PUMP_RESYNC, PUMP_RUNNING } pump_state;

typedef struct pump_slot {
    const feed_message *messages; /* [count], the broker's */
    size_t count;
    size_t from;                 /* those before are durable */
    size_t step;                 /* at most so many into the next batch */
    size_t filled;               /* [from, from + filled) are in the target's batch */
    uint64_t last;               /* sequence behind the filled ones */
    uint64_t fresh, dead, bytes; /* of the filled ones: not seen before, no samples, payload */
    uint64_t foreign;
    bool is_filled;
    bool is_started;
    bool is_empty; /* nothing filled is worth an entry: all came before */
} pump_slot;

struct feed_pump {
    feed_pump_options o;
    pump_state state;
    feed_stream stream;
    feed_position position; /* durable */
    pump_slot slots[FEED_SLOTS];
    unsigned head;
    unsigned used;
    uint64_t delivery; /* the last one seen */
    int64_t quiet_since_ns;
    int64_t retry_at_ns;
    unsigned failures; /* in a row */
    bool is_lost;      /* the target's table was dropped: the session ends */
    vv_rng rng;
    uint64_t dropped_before; /* by subscriptions that are closed */
    vv_thread *thread;
    const vv_threads *threads;
    vv_mutex lock; /* rank VV_RANK_LEAF; for wake and why */
    vv_cond wake;
    char why[200];
    bool has_why; /* the pump's thread's own */
    _Atomic bool stop;
    struct {
        _Atomic uint64_t messages, bytes, batches, accepted, refused, redelivered, poison, expired,
            dropped, sessions, failures, resyncs, waiting, sequence;
        _Atomic bool is_connected;
        vv_rate rate; /* of messages */
    } stats;          /* relaxed; written by the pump's thread */
};

static void add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static void set(_Atomic uint64_t *gauge, uint64_t v)
{
    atomic_store_explicit(gauge, v, memory_order_relaxed);
}

static bool is_numbered(const feed_pump *p)
{
    return p->stream.incarnation[0] != '\0';
}

/* ---- pauses ---- */

/* What feed_pump_stats tells of the last failure; NULL: it is over. */
static void note_why(feed_pump *p, const vv_error *why)
{
    if (why == NULL && !p->has_why)
        return;
    p->has_why = why != NULL;
    vv_mutex_lock(&p->lock);
    (void)snprintf(p->why, sizeof p->why, "%s", why == NULL ? "" : why->msg);
    vv_mutex_unlock(&p->lock);
}

/* Before the next try: doubling, between half and all of it, so that many feeds do not return as
 * one. */
static void pause_after_failure(feed_pump *p, const vv_error *why)
{
    note_why(p, why);
    int64_t pause = p->o.retry_min_ns;
    for (unsigned i = 0; i < p->failures && pause < p->o.retry_max_ns; i++)
        pause *= 2;
    if (pause > p->o.retry_max_ns)
        pause = p->o.retry_max_ns;
    p->failures++;
    add(&p->stats.failures, 1);
    uint64_t half = (uint64_t)pause / 2;
    p->retry_at_ns = vv_clock_mono(p->o.clock) + (int64_t)(half + vv_rng_below(&p->rng, half + 1));
}

/* ---- sessions ---- */

static void drop_slots(feed_pump *p)
{
    for (unsigned i = 0; i < p->used; i++) {
        unsigned slot = (p->head + i) % FEED_SLOTS;
        p->o.broker->ops->release(p->o.broker, slot);
        p->slots[slot] = (pump_slot){0};
    }
    p->used = 0;
}

static void settle(feed_pump *p);

static void end_session(feed_pump *p)
{
    if (p->used > 0 && p->slots[p->head].is_started)
        settle(p);
    drop_slots(p);
    p->dropped_before += p->o.broker->ops->dropped(p->o.broker);
    p->o.broker->ops->close(p->o.broker);
    p->state = PUMP_CLOSED;
    atomic_store_explicit(&p->stats.is_connected, false, memory_order_relaxed);
}

static void fail_session(feed_pump *p, const vv_error *why)
{
    end_session(p);
    pause_after_failure(p, why);
    vv_log_to(p->o.log, VV_LOG_WARN, "feeds", "stream lost, trying again",
              VV_KV_S("stream", p->o.name), VV_KV_S("why", why->msg),
              VV_KV_I("pause_ms", (p->retry_at_ns - vv_clock_mono(p->o.clock)) / VV_NS_PER_MS));
}

/* Where to go on: behind the stored position, or at the beginning of what is another stream. */
static void place_position(feed_pump *p, const feed_position *stored, bool is_known)
{
    const feed_stream *s = &p->stream;
    bool is_same = is_known && strcmp(stored->incarnation, s->incarnation) == 0;
    p->position = (feed_position){0};
    memcpy(p->position.incarnation, s->incarnation, sizeof s->incarnation);
    if (is_same && stored->sequence <= s->last) {
        p->position.sequence = stored->sequence;
    } else if (is_known) {
        vv_log_to(p->o.log, VV_LOG_WARN, "feeds",
                  is_same ? "the stream ends before the stored position: it was put back or lost; "
                            "reading it from its beginning"
                          : "the stream was made anew: reading it from its beginning",
                  VV_KV_S("stream", p->o.name), VV_KV_S("incarnation", s->incarnation),
                  VV_KV_S("before", stored->incarnation), VV_KV_U("position", stored->sequence));
    }
    if (s->first > p->position.sequence + 1) {
        uint64_t lost =
            is_same && p->position.sequence > 0 ? s->first - p->position.sequence - 1 : 0;
        if (lost > 0)
            vv_log_to(p->o.log, VV_LOG_ERROR, "feeds",
                      "the stream let messages go before they were taken in",
                      VV_KV_S("stream", p->o.name), VV_KV_U("messages", lost));
        add(&p->stats.expired, lost);
        p->position.sequence = s->first - 1;
    }
    set(&p->stats.sequence, p->position.sequence);
}

static vv_status open_session(feed_pump *p, vv_error *err)
{
    feed_position stored;
    vv_status st = p->o.target->ops->open(p->o.target, err);
    if (st == VV_OK)
        st = p->o.broker->ops->open(p->o.broker, &p->stream, err);
    if (st != VV_OK)
        return st;
    if (is_numbered(p)) {
        st = p->o.target->ops->position(p->o.target, &stored, err);
        if (st != VV_OK && st != VV_NOT_FOUND)
            return st;
        place_position(p, &stored, st == VV_OK);
    }
    add(&p->stats.sessions, 1);
    vv_log_to(p->o.log, VV_LOG_INFO, "feeds", "stream opened", VV_KV_S("stream", p->o.name),
              VV_KV_U("first", p->stream.first), VV_KV_U("last", p->stream.last),
              VV_KV_U("position", p->position.sequence));
    p->state = PUMP_RESYNC;
    return VV_OK;
}

static vv_status consume(feed_pump *p, vv_error *err)
{
    vv_status st = p->o.broker->ops->consume(p->o.broker, p->position.sequence + 1, err);
    if (st != VV_OK)
        return st;
    p->delivery = 0;
    p->quiet_since_ns = vv_clock_mono(p->o.clock);
    p->state = PUMP_RUNNING;
    atomic_store_explicit(&p->stats.is_connected, true, memory_order_relaxed);
    note_why(p, NULL);
    return VV_OK;
}

/* ---- filling a batch ---- */

static vv_status put_dead(feed_pump *p, unsigned slot, const feed_message *m, const char *reason,
                          vv_error *err)
{
    const feed_dead dead = {.reason = reason,
                            .incarnation = p->stream.incarnation,
                            .message = m,
                            .now_ns = vv_clock_wall(p->o.clock)};
    return p->o.target->ops->dead(p->o.target, slot, &dead, err);
}

/* One message into the batch. VV_BUSY: the batch is full. */
static vv_status fill_one(feed_pump *p, unsigned slot, feed_sink *sink, const feed_message *m,
                          bool *is_dead, vv_error *err)
{
    feed_sensor sample;
    vv_error why = {0};
    const char *fault = feed_sensor_read(m->payload, &sample);
    vv_status st = fault == NULL ? feed_sensor_give(&sample, sink, &why) : VV_INVALID;
    *is_dead = st == VV_INVALID;
    if (*is_dead)
        return put_dead(p, slot, m, fault == NULL ? why.msg : fault, err);
    if (st != VV_OK && err != NULL)
        *err = why;
    return st;
}

/* The sequence that a slot begins behind. */
static uint64_t before_slot(const feed_pump *p, unsigned slot)
{
    const pump_slot *head = &p->slots[p->head];
    uint64_t before = p->position.sequence;
    if (slot != p->head)
        for (size_t i = 0; i < head->count; i++)
            before = vv_max_u64(before, head->messages[i].sequence);
    return before;
}

static vv_status fill(feed_pump *p, unsigned slot, vv_error *err)
{
    pump_slot *s = &p->slots[slot];
    feed_sink *sink = p->o.target->ops->begin(p->o.target, slot);
    s->last = before_slot(p, slot);
    s->filled = 0;
    s->fresh = s->dead = s->bytes = s->foreign = 0;
    s->is_empty = true;
    for (size_t i = s->from; i < s->count && s->filled < s->step; i++, s->filled++) {
        const feed_message *m = &s->messages[i];
        if (is_numbered(p) && m->sequence <= s->last)
            continue;
        if (m->is_foreign) {
            s->last = vv_max_u64(s->last, m->sequence);
            s->foreign++;
            continue;
        }
        bool is_dead = false;
        vv_status st = fill_one(p, slot, sink, m, &is_dead, err);
        if (st == VV_BUSY && !s->is_empty)
            break; /* full: the rest goes into the next one */
        if (st != VV_OK)
            return st;
        s->is_empty = false;
        s->fresh++;
        s->dead += is_dead;
        s->bytes += m->payload.len;
        s->last = vv_max_u64(s->last, m->sequence);
    }
    s->is_filled = true;
    return VV_OK;
}

/* ---- writing a batch ---- */

static void retry_head(feed_pump *p, const vv_error *why)
{
    pump_slot *s = &p->slots[p->head];
    s->is_started = s->is_filled = false;
    p->is_lost = why->status == VV_NOT_FOUND;
    if (p->is_lost) {
        note_why(p, why);
        return;
    }
    pause_after_failure(p, why);
    vv_log_to(p->o.log, VV_LOG_WARN, "feeds", "batch not written, trying again",
              VV_KV_S("stream", p->o.name), VV_KV_S("why", why->msg),
              VV_KV_U("messages", s->count - s->from));
}

/* The one message that a write calls invalid: its own entry has the letter and the position. */
static vv_status bury(feed_pump *p, const char *reason, vv_error *err)
{
    pump_slot *s = &p->slots[p->head];
    const feed_message *m = &s->messages[s->from];
    feed_position position = p->position;
    feed_outcome none;
    p->o.target->ops->begin(p->o.target, p->head);
    vv_status st = put_dead(p, p->head, m, reason, err);
    position.sequence = vv_max_u64(position.sequence, m->sequence);
    if (st == VV_OK)
        st = p->o.target->ops->start(p->o.target, p->head, is_numbered(p) ? &position : NULL, err);
    return st == VV_OK ? p->o.target->ops->wait(p->o.target, p->head, &none, err) : st;
}

/* Counters of what [from, from + filled) were; the position goes on. */
static void note_done(feed_pump *p, pump_slot *s)
{
    add(&p->stats.messages, s->fresh);
    vv_rate_add(&p->stats.rate, vv_clock_mono(p->o.clock), s->fresh);
    add(&p->stats.bytes, s->bytes);
    add(&p->stats.poison, s->dead);
    add(&p->stats.redelivered, s->filled - s->fresh - s->foreign);
    if (is_numbered(p))
        p->position.sequence = s->last;
    set(&p->stats.sequence, p->position.sequence);
    s->from += s->filled;
    s->step = s->count - s->from;
    s->is_filled = s->is_started = false;
    s->filled = 0;
    p->failures = 0;
    note_why(p, NULL);
}

static void halve(feed_pump *p, const vv_error *why)
{
    pump_slot *s = &p->slots[p->head];
    vv_error again = {0};
    s->is_started = s->is_filled = false;
    if (s->filled > 1) {
        s->step = s->filled / 2;
        return;
    }
    if (bury(p, why->msg, &again) != VV_OK) {
        retry_head(p, &again);
        return;
    }
    add(&p->stats.poison, 1);
    note_done(p, s);
}

static void start_head(feed_pump *p)
{
    pump_slot *s = &p->slots[p->head];
    feed_position position = p->position;
    vv_error why = {0};
    vv_status st = s->is_filled ? VV_OK : fill(p, p->head, &why);
    position.sequence = s->last;
    if (st == VV_OK && !s->is_empty)
        st = p->o.target->ops->start(p->o.target, p->head, is_numbered(p) ? &position : NULL, &why);
    if (VV_BUG(85) && is_numbered(p)) /* acknowledged before it is durable */
        (void)!p->o.broker->ops->ack(p->o.broker, p->head, s->count, NULL);
    if (st == VV_OK)
        s->is_started = true;
    else if (st == VV_INVALID)
        halve(p, &why);
    else
        retry_head(p, &why);
}

static void settle(feed_pump *p)
{
    pump_slot *s = &p->slots[p->head];
    feed_outcome out = {0};
    vv_error why = {0};
    vv_status st = s->is_empty ? VV_OK : p->o.target->ops->wait(p->o.target, p->head, &out, &why);
    if (st == VV_INVALID) {
        halve(p, &why);
    } else if (st != VV_OK) {
        retry_head(p, &why);
    } else {
        add(&p->stats.batches, s->is_empty ? 0 : 1);
        add(&p->stats.accepted, out.accepted);
        add(&p->stats.refused, out.refused);
        if (out.refused > 0)
            vv_log_to(p->o.log, VV_LOG_WARN, "feeds", "samples refused",
                      VV_KV_S("stream", p->o.name), VV_KV_U("samples", out.refused),
                      VV_KV_S("first", out.first_refusal));
        note_done(p, s);
    }
}

/* ---- a turn ---- */

static void resync(feed_pump *p)
{
    p->state = PUMP_RESYNC;
    add(&p->stats.resyncs, 1);
}

/* Messages that came, up to a delivery that is missing. */
static void take(feed_pump *p, unsigned slot, const feed_message *messages, size_t count)
{
    size_t n = 0;
    for (; n < count; n++) {
        if (messages[n].delivery != 0 && messages[n].delivery != p->delivery + 1)
            break;
        p->delivery = messages[n].delivery;
    }
    if (n < count)
        resync(p);
    p->slots[slot] = (pump_slot){.messages = messages, .count = n, .step = n};
    p->used++;
    if (n > 0)
        set(&p->stats.waiting, messages[n - 1].waiting);
}

/* After a quiet time: is it still our stream, and has all that was delivered come here. */
static vv_status look(feed_pump *p, vv_error *err)
{
    uint64_t deliveries = p->delivery;
    p->quiet_since_ns = vv_clock_mono(p->o.clock);
    vv_status st = p->o.broker->ops->check(p->o.broker, &deliveries, err);
    if (st == VV_OK && is_numbered(p) && deliveries != p->delivery)
        resync(p);
    return st;
}

/* Whether messages came. */
static vv_status fetch(feed_pump *p, bool *came, vv_error *err)
{
    const feed_message *messages = NULL;
    size_t count = 0;
    unsigned slot = (p->head + p->used) % FEED_SLOTS;
    int64_t wait = p->used > 0 ? 0 : p->o.idle_ns;
    vv_status st = p->o.broker->ops->fetch(p->o.broker, slot, wait, &messages, &count, err);
    if (st != VV_OK)
        return st;
    *came = count > 0;
    set(&p->stats.dropped, p->dropped_before + p->o.broker->ops->dropped(p->o.broker));
    if (count > 0) {
        p->quiet_since_ns = vv_clock_mono(p->o.clock);
        take(p, slot, messages, count);
        return VV_OK;
    }
    if (p->used == 0)
        set(&p->stats.waiting, 0);
    return vv_clock_mono(p->o.clock) - p->quiet_since_ns < p->o.check_ns ? VV_OK : look(p, err);
}

/* All of the head is durable. */
static vv_status pop_head(feed_pump *p, vv_error *err)
{
    vv_status st = VV_OK;
    size_t count = p->slots[p->head].count;
    if (is_numbered(p) && count > 0)
        st = p->o.broker->ops->ack(p->o.broker, p->head, count, err);
    p->o.broker->ops->release(p->o.broker, p->head);
    p->slots[p->head] = (pump_slot){0};
    p->head = (p->head + 1) % FEED_SLOTS;
    p->used--;
    return st;
}

static vv_status turn(feed_pump *p, vv_error *err)
{
    bool came = false;
    vv_status st = VV_OK;
    if (p->used < FEED_SLOTS && p->state == PUMP_RUNNING && !atomic_load(&p->stop))
        st = fetch(p, &came, err);
    if (st != VV_OK || p->used == 0)
        return st;
    pump_slot *head = &p->slots[p->head];
    if (!head->is_started && head->from < head->count)
        start_head(p);
    if (p->used == FEED_SLOTS && head->is_started) { /* while the head is on its way */
        unsigned next = (p->head + 1) % FEED_SLOTS;
        if (!p->slots[next].is_filled && fill(p, next, NULL) != VV_OK)
            add(&p->stats.failures, 1); /* it is filled again when it is the head */
    }
    if (head->is_started && (p->used == FEED_SLOTS || !came))
        settle(p);
    if (head->from < head->count)
        return VV_OK;
    st = pop_head(p, err);
    if (st == VV_OK && p->used > 0 && p->slots[p->head].count > 0)
        start_head(p); /* before the next fetch, to be on its way meanwhile */
    return st;
}

int64_t feed_pump_step(feed_pump *p)
{
    vv_error why = {0};
    vv_status st = VV_OK;
    int64_t now = vv_clock_mono(p->o.clock);
    if (now < p->retry_at_ns)
        return p->retry_at_ns - now;
    p->retry_at_ns = 0;
    if (p->state == PUMP_CLOSED)
        st = open_session(p, &why);
    if (st == VV_OK && p->state == PUMP_RESYNC && p->used == 0)
        st = consume(p, &why);
    if (st == VV_OK)
        st = turn(p, &why);
    if (st == VV_OK && p->is_lost)
        st = vv_fail(&why, VV_NOT_FOUND, "%s", p->why);
    p->is_lost = false;
    if (st != VV_OK)
        fail_session(p, &why);
    now = vv_clock_mono(p->o.clock);
    return p->retry_at_ns > now ? p->retry_at_ns - now : 0;
}

/* ---- its thread ---- */

static void run(void *arg)
{
    feed_pump *p = arg;
    while (!atomic_load(&p->stop)) {
        int64_t wait = feed_pump_step(p);
        if (wait == 0)
            continue;
        vv_mutex_lock(&p->lock);
        if (!atomic_load(&p->stop))
            (void)vv_cond_wait_for(&p->wake, &p->lock, wait);
        vv_mutex_unlock(&p->lock);
    }
}

feed_pump *feed_pump_create(const feed_pump_options *options)
{
    feed_pump *p = vv_calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    p->o = *options;
    vv_rng_init(&p->rng, options->seed);
    vv_mutex_init(&p->lock, VV_RANK_LEAF);
    vv_cond_init(&p->wake);
    return p;
}

vv_status feed_pump_start(feed_pump *pump, const vv_threads *threads, vv_error *err)
{
    pump->threads = threads;
    return threads->create("feed", VV_THREAD_NORMAL, run, pump, &pump->thread, err);
}

/* What was fetched becomes durable and is acknowledged, as far as it goes without a pause; the rest
 * comes again. */
static void finish(feed_pump *p)
{
    vv_error why;
    if (p->state == PUMP_CLOSED)
        return;
    while (p->used > 0 && p->retry_at_ns == 0 && !p->is_lost) {
        pump_slot *head = &p->slots[p->head];
        if (!head->is_started && head->from < head->count)
            start_head(p);
        if (head->is_started)
            settle(p);
        if (head->from == head->count && pop_head(p, &why) != VV_OK) {
            vv_log_to(p->o.log, VV_LOG_DEBUG, "feeds", "last acknowledgement not sent",
                      VV_KV_S("why", why.msg));
            break;
        }
    }
    end_session(p);
}

void feed_pump_stop(feed_pump *pump)
{
    atomic_store(&pump->stop, true);
    if (pump->thread != NULL) {
        vv_mutex_lock(&pump->lock);
        vv_cond_signal(&pump->wake);
        vv_mutex_unlock(&pump->lock);
        pump->threads->join(pump->thread);
        pump->thread = NULL;
    }
    finish(pump);
}

void feed_pump_destroy(feed_pump *pump)
{
    if (pump == NULL)
        return;
    feed_pump_stop(pump);
    vv_cond_fini(&pump->wake);
    vv_mutex_fini(&pump->lock);
    vv_free(pump);
}

void feed_pump_stats(feed_pump *pump, feed_stats *out)
{
#define READ(field) .field = atomic_load_explicit(&pump->stats.field, memory_order_relaxed)
    *out = (feed_stats){READ(messages), READ(bytes),       READ(batches),      READ(accepted),
                        READ(refused),  READ(redelivered), READ(poison),       READ(expired),
                        READ(dropped),  READ(sessions),    READ(failures),     READ(resyncs),
                        READ(waiting),  READ(sequence),    READ(is_connected), .why = ""};
#undef READ
    out->per_second = vv_rate_read(&pump->stats.rate, vv_clock_mono(pump->o.clock));
    vv_mutex_lock(&pump->lock);
    memcpy(out->why, pump->why, sizeof out->why);
    vv_mutex_unlock(&pump->lock);
}
