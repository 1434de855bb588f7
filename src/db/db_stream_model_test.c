/*
 * db_stream_model_test.c - laws of stream tables: they agree with a simple list under random
 * appends, retries, trims, positions, flushes and restarts; after a power cut each acknowledged
 * message is there exactly once, in order per producer, however its producer retries; an I/O or an
 * allocation that fails loses and doubles nothing.
 */
#include "db/db_stream_test_util.h"

#include "base/alloc.h"
#include "base/rng.h"

/* ---- a list that does the same ----------------------------------------------------------------
 */

#define MODEL_MAX 20000u
#define PRODUCERS 4u
#define NAMES 3u

typedef struct model_message {
    uint32_t id;
    uint32_t len;
    int64_t event_ns;
    int64_t receive_ns;
    bool begins_append;
} model_message;

typedef struct model {
    model_message message[MODEL_MAX]; /* by offset */
    uint64_t first;
    uint64_t next;
    uint64_t sequence[PRODUCERS];
    uint64_t position[NAMES];
    bool has_position[NAMES];
} model;

static const char *const producers[PRODUCERS] = {"", "p1", "p2", "producer three"};
static const char *const names[NAMES] = {"a", "b", "c"};

static uint8_t filler[3000];

static size_t fill_value(uint8_t *out, uint32_t id, uint32_t len)
{
    memset(out, (int)(id % 251), len);
    vv_put_le32(out, id);
    return len;
}

/* Appends some messages as the producer would, or does what it did once more. */
static void append_some(vv_table *t, model *m, vv_rng *rng, uint32_t partition)
{
    static uint8_t bytes[300][3000];
    static vv_message batch[300];
    vv_error err = {0};
    unsigned who = (unsigned)vv_rng_below(rng, PRODUCERS);
    size_t count = 1 + vv_rng_below(rng, vv_rng_below(rng, 10) == 0 ? 300 : 6);
    vv_stream_append_options opt = VV_STREAM_APPEND_OPTIONS_INIT;
    vv_stream_append_result r;
    if (m->next + count > MODEL_MAX)
        return;
    for (size_t i = 0; i < count; i++) {
        model_message *one = &m->message[m->next + i];
        one->id = (uint32_t)(m->next + i) * 7 + 1;
        one->len = 4 + (uint32_t)vv_rng_below(rng, vv_rng_below(rng, 20) == 0 ? 2900 : 60);
        one->event_ns = vv_rng_below(rng, 3) == 0 ? 0 : (int64_t)vv_rng_below(rng, 5000) - 1000;
        one->begins_append = i == 0;
        batch[i] =
            (vv_message){.value = vv_slice_of(bytes[i], fill_value(bytes[i], one->id, one->len)),
                         .event_time_ns = one->event_ns};
    }
    opt.partition = partition;
    opt.producer = S(producers[who]);
    opt.sequence = m->sequence[who];
    opt.durability = (vv_durability)vv_rng_below(rng, 4);
    assert_ok(vv_stream_append(t, batch, count, &opt, &r, &err), err);
    assert_false(r.duplicate);
    assert_true(r.first_offset == m->next);
    for (size_t i = 0; i < count; i++)
        m->message[m->next + i].receive_ns = r.receive_time_ns;
    if (who != 0 && vv_rng_below(rng, 3) == 0) {
        assert_ok(vv_stream_append(t, batch, count, &opt, &r, &err), err);
        assert_true(r.duplicate && r.first_offset == m->next);
    }
    m->sequence[who] += who == 0 ? 0 : count;
    m->next += count;
}

static void check_message(const model *m, const vv_message *got, uint64_t offset)
{
    const model_message *want = &m->message[offset];
    size_t len = fill_value(filler, want->id, want->len);
    if (got->offset != offset || !vv_slice_eq(got->value, vv_slice_of(filler, len)) ||
        got->event_time_ns != want->event_ns || got->receive_time_ns != want->receive_ns)
        fail_msg("the message at offset %d is another", (int)offset);
}

static void check_range(vv_table *t, const model *m, uint32_t partition, const vv_snapshot *at,
                        uint64_t from, uint64_t count)
{
    vv_error err = {0};
    vv_stream_cursor *c = NULL;
    vv_message got;
    vv_stream_read_options opt = VV_STREAM_READ_OPTIONS_INIT;
    opt.partition = partition;
    opt.snapshot = at;
    opt.messages_max = count;
    opt.start = (vv_stream_start){.from = VV_STREAM_OFFSET, .offset = from};
    assert_ok(vv_stream_cursor_open(t, &opt, &c, &err), err);
    uint64_t begin = from < m->first ? m->first : vv_min_u64(from, m->next);
    uint64_t end = count == 0 ? m->next : vv_min_u64(m->next, begin + count);
    assert_int_equal(vv_stream_cursor_skipped(c), begin > from ? begin - from : 0);
    for (uint64_t o = begin; o < end; o++) {
        assert_ok(vv_stream_cursor_next(c, &got, &err), err);
        check_message(m, &got, o);
    }
    assert_status(VV_NOT_FOUND, vv_stream_cursor_next(c, &got, &err));
    assert_int_equal(vv_stream_cursor_offset(c), end);
    vv_stream_cursor_close(c);
}

static void check_times(vv_table *t, const model *m, vv_rng *rng, uint32_t partition)
{
    vv_error err = {0};
    int64_t time = (int64_t)vv_rng_below(rng, 6000) - 1000;
    uint64_t got = 0;
    uint64_t want = m->first;
    vv_stream_start start = {.from = VV_STREAM_EVENT, .time_ns = time};
    while (want < m->next && (m->message[want].event_ns == 0 ? m->message[want].receive_ns
                                                             : m->message[want].event_ns) < time)
        want++;
    assert_ok(vv_stream_find(t, partition, &start, NULL, &got, &err), err);
    assert_int_equal(got, want);
    if (m->first == m->next)
        return;
    start.from = VV_STREAM_RECEIVED;
    start.time_ns = m->message[m->first + vv_rng_below(rng, m->next - m->first)].receive_ns;
    start.time_ns += (int64_t)vv_rng_below(rng, 3) - 1;
    for (want = m->first; want < m->next && m->message[want].receive_ns < start.time_ns;)
        want++;
    assert_ok(vv_stream_find(t, partition, &start, NULL, &got, &err), err);
    assert_int_equal(got, want);
}

static void move_position(vv_table *t, model *m, vv_rng *rng, uint32_t partition)
{
    vv_error err = {0};
    unsigned n = (unsigned)vv_rng_below(rng, NAMES);
    uint64_t to = vv_rng_below(rng, m->next + 2);
    vv_stream_position p;
    vv_status st = vv_stream_commit(t, partition, S(names[n]), to, VV_DURABLE_DEFAULT, &err);
    if (to > m->next) {
        assert_int_equal(st, VV_INVALID);
    } else if (m->has_position[n] && to < m->position[n]) {
        assert_int_equal(st, VV_CONFLICT);
        vv_stream_start start = {.from = VV_STREAM_OFFSET, .offset = to};
        assert_ok(vv_stream_position_reset(t, partition, S(names[n]), &start, &to, &err), err);
        m->position[n] = to;
    } else {
        assert_ok(st, err);
        m->position[n] = to;
        m->has_position[n] = true;
    }
    if (!m->has_position[n])
        return;
    assert_ok(vv_stream_position_get(t, partition, S(names[n]), &p, &err), err);
    assert_int_equal(p.offset, m->position[n]);
    assert_int_equal(p.lag, m->next - m->position[n]);
}

static void trim_some(vv_table *t, model *m, vv_rng *rng, uint32_t partition)
{
    vv_error err = {0};
    uint64_t removed = 0;
    uint64_t to = m->first + vv_rng_below(rng, m->next - m->first + 1) / 3;
    if (vv_rng_below(rng, 12) == 0)
        to = m->next;
    assert_ok(vv_stream_trim(t, partition, to, &removed, &err), err);
    assert_int_equal(removed, to - m->first);
    m->first = to;
}

static void prop_agrees_with_a_list(void **state)
{
    sim_world *w = *state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(21));
    model *m = calloc(1, sizeof *m);
    model *then = calloc(1, sizeof *then);
    vv_snapshot *at = NULL;
    uint32_t partition = test_partitions - 1;
    vv_table *t = stream_table(w->db);
    for (int step = 0; step < 900; step++) {
        vv_error err = {0};
        unsigned what = (unsigned)vv_rng_below(&rng, 40);
        vio_sim_advance(w->disk, (int64_t)vv_rng_below(&rng, 100));
        if (what < 24) {
            append_some(t, m, &rng, partition);
        } else if (what < 30) {
            move_position(t, m, &rng, partition);
        } else if (what < 32) {
            trim_some(t, m, &rng, partition);
        } else if (what == 32) {
            flush_all(w->db);
        } else if (what == 33) {
            assert_ok(vv_compact(t, S(""), S(""), &err), err);
        } else if (what == 34 && step % 4 == 0) {
            vv_snapshot_release(at);
            at = NULL;
            vv_table_close(t);
            sim_check_and_reopen(w);
            t = stream_table(w->db);
        } else if (what == 35) {
            vv_snapshot_release(at);
            assert_ok(vv_snapshot_create(w->db, &at, &err), err);
            *then = *m;
        } else {
            check_times(t, m, &rng, partition);
        }
        if (at != NULL)
            check_range(t, then, partition, at, vv_rng_below(&rng, then->next + 1), 40);
        check_range(t, m, partition, NULL, vv_rng_below(&rng, m->next + 2), 40);
        vv_stream_stats s = stats_of(t, partition);
        assert_true(s.first_offset == m->first && s.next_offset == m->next);
    }
    check_range(t, m, partition, NULL, 0, 0);
    assert_true(m->first > 100 && m->next > 1500);
    vv_snapshot_release(at);
    vv_table_close(t);
    sim_check_and_reopen(w);
    free(then);
    free(m);
}

/* ---- exactly once ------------------------------------------------------------------------------
 *
 * Two producers send numbered messages, a consumer commits how far it read; between, messages are
 * trimmed and everything is flushed. The power fails at any write. The producers do not know what
 * of their last append went through, and send it again.
 */

#define SENDERS 2u
#define APPENDS 10u
#define EACH 3u /* messages of an append */

static vv_status send(vv_table *t, unsigned who, unsigned n, vv_stream_append_result *r,
                      vv_error *err)
{
    char text[EACH][32];
    char name[8];
    vv_message m[EACH];
    vv_stream_append_options opt = VV_STREAM_APPEND_OPTIONS_INIT;
    for (unsigned i = 0; i < EACH; i++) {
        (void)snprintf(text[i], sizeof text[i], "%u %u", who, n * EACH + i);
        m[i] = text_message(text[i]);
    }
    (void)snprintf(name, sizeof name, "s%u", who);
    opt.partition = test_partitions - 1;
    opt.producer = S(name);
    opt.sequence = (uint64_t)n * EACH;
    opt.durability = VV_DURABLE_SYNC;
    return vv_stream_append(t, m, EACH, &opt, r, err);
}

typedef struct memory {
    unsigned sent[SENDERS]; /* appends that were acknowledged */
    uint64_t offset[SENDERS][APPENDS];
    uint64_t position; /* acknowledged */
    uint64_t trying;   /* to commit */
    uint64_t first;    /* acknowledged trim */
} memory;

static vv_status open_events(vv_db *db, vv_table **out, vv_error *err)
{
    vv_table_options opt = stream_options();
    return vv_table_create(db, "plant", "events", &opt, out, err);
}

static vv_status send_all(vv_db *db, memory *mem, vv_error *err)
{
    vv_table *t = NULL;
    uint32_t partition = test_partitions - 1;
    vv_status st = open_events(db, &t, err);
    for (unsigned n = 0; st == VV_OK && n < APPENDS; n++) {
        for (unsigned who = 0; st == VV_OK && who < SENDERS; who++) {
            vv_stream_append_result r;
            st = send(t, who, n, &r, err);
            if (st != VV_OK)
                break;
            /* It knows the offset of what it sent before. */
            if (n < mem->sent[who] && !(r.duplicate && (r.first_offset == mem->offset[who][n] ||
                                                        r.first_offset == VV_STREAM_OFFSET_GONE)))
                fail_msg("append %u of %u came again at %lld", n, who, (long long)r.first_offset);
            mem->offset[who][n] = r.first_offset;
            mem->sent[who] = mem->sent[who] > n + 1 ? mem->sent[who] : n + 1;
        }
        if (st == VV_OK && n % 3 == 2)
            st = vv_checkpoint(db, err);
        uint64_t at = (uint64_t)n * EACH;
        if (st == VV_OK && at > mem->position) {
            mem->trying = at;
            st = vv_stream_commit(t, partition, S("c"), at, VV_DURABLE_SYNC, err);
            mem->position = st == VV_OK ? at : mem->position;
        }
        if (st == VV_OK && n % 4 == 3 && at / 2 > mem->first) {
            st = vv_stream_trim(t, partition, at / 2, NULL, err);
            mem->first = st == VV_OK ? at / 2 : mem->first;
        }
    }
    vv_table_close(t);
    return st;
}

/* Each sender's messages are a run without gap or repeat, and all that is known of is there. */
static void check_once(vv_db *db, const memory *mem)
{
    vv_error err = {0};
    vv_table *t = NULL;
    vv_message m;
    vv_stream_cursor *c = NULL;
    vv_stream_position p = {.offset = 0};
    uint32_t partition = test_partitions - 1;
    unsigned next[SENDERS];
    bool seen[SENDERS] = {false};
    vv_status st = vv_table_open(db, "plant", "events", &t, &err);
    if (st == VV_NOT_FOUND) {
        assert_int_equal(mem->sent[0], 0);
        return;
    }
    assert_ok(st, err);
    vv_stream_stats s = stats_of(t, partition);
    assert_true(s.first_offset >= mem->first);
    vv_stream_read_options opt = VV_STREAM_READ_OPTIONS_INIT;
    opt.partition = partition;
    assert_ok(vv_stream_cursor_open(t, &opt, &c, &err), err);
    for (uint64_t at = s.first_offset; at < s.next_offset; at++) {
        unsigned who = 0;
        unsigned number = 0;
        char text[32] = "";
        assert_ok(vv_stream_cursor_next(c, &m, &err), err);
        assert_int_equal(m.offset, at);
        memcpy(text, m.value.data, m.value.len);
        assert_int_equal(sscanf(text, "%u %u", &who, &number), 2);
        if (seen[who] && number != next[who])
            fail_msg("message %u of sender %u comes where %u is expected", number, who, next[who]);
        seen[who] = true;
        next[who] = number + 1;
        unsigned n = number / EACH;
        if (n < mem->sent[who] && mem->offset[who][n] != VV_STREAM_OFFSET_GONE)
            assert_int_equal(mem->offset[who][n] + number % EACH, at);
    }
    assert_status(VV_NOT_FOUND, vv_stream_cursor_next(c, &m, &err));
    vv_stream_cursor_close(c);
    for (unsigned who = 0; who < SENDERS; who++) {
        assert_true(!seen[who] || next[who] % EACH == 0); /* appends are whole */
        if (mem->sent[who] > 0 && s.first_offset < s.next_offset)
            assert_true(!seen[who] || next[who] >= mem->sent[who] * EACH);
        if (mem->sent[who] > 0 && !seen[who])
            assert_true(mem->offset[who][mem->sent[who] - 1] < s.first_offset);
    }
    st = vv_stream_position_get(t, partition, S("c"), &p, &err);
    assert_true(st == VV_OK || (st == VV_NOT_FOUND && mem->position == 0));
    assert_true(p.offset == mem->position || p.offset == mem->trying);
    vv_table_close(t);
}

static void finish_and_check(sim_world *w, memory *mem)
{
    vv_error err = {0};
    check_once(w->db, mem);
    assert_ok(send_all(w->db, mem, &err), err);
    check_once(w->db, mem);
    vv_table *t = stream_table(w->db);
    assert_int_equal(stats_of(t, test_partitions - 1).next_offset, SENDERS * APPENDS * EACH);
    vv_table_close(t);
    sim_close(w);
    assert_ok(sim_on(w, &(vio_sim_options){.seed = 1}, &err), err);
    assert_ok(db_check_env(&w->env, print_finding, NULL, &err), err);
    sim_off(w);
}

static void prop_a_power_cut_leaves_each_message_once(void **state)
{
    sim_world *w = *state;
    uint64_t seed = vv_test_seed(5);
    bool cut = true;
    sim_end(w);
    for (uint64_t at = 1; cut; at += vv_test_count("VV_CRASH_STEP", 1)) {
        memory mem = {.position = 0};
        vv_error err = {0};
        w->disk = vio_sim_disk_create();
        vio_sim_options sim = {.seed = seed + at, .cut_after_writes = at, .tear = true};
        assert_ok(sim_on(w, &sim, &err), err);
        vv_status st = sim_open_db(w, &err);
        if (st == VV_OK)
            st = send_all(w->db, &mem, &err);
        cut = st != VV_OK;
        db_abandon(w->db);
        sim_off(w);
        assert_ok(sim_on(w, &(vio_sim_options){.seed = seed}, &err), err);
        assert_ok(sim_open_db(w, &err), err);
        finish_and_check(w, &mem);
        sim_end(w);
    }
}

/* Each call of the disk that can fail does so once, in the whole life of a store. */
static uint64_t fail_at(sim_world *w, vio_sim_fault kind, uint64_t at)
{
    memory mem = {.position = 0};
    vv_error err = {0};
    w->disk = vio_sim_disk_create();
    vio_sim_options sim = {.seed = 3, .fault = kind, .fault_at = at};
    assert_ok(sim_on(w, &sim, &err), err);
    vv_status st = sim_open_db(w, &err);
    if (st == VV_OK)
        st = send_all(w->db, &mem, &err);
    uint64_t sites = vio_sim_fault_sites(w->disk, kind);
    if (st != VV_OK && kind == VIO_SIM_ENOSPC && w->db != NULL && !atomic_load(&w->db->failed)) {
        vio_sim_heal(w->disk); /* a full disk refuses, and goes on when there is room */
        assert_ok(send_all(w->db, &mem, &err), err);
    }
    assert_true(st == VV_OK || sites >= at);
    db_abandon(w->db);
    sim_off(w);
    vio_sim_disk_kill(w->disk);
    assert_ok(sim_on(w, &(vio_sim_options){.seed = 3}, &err), err);
    assert_ok(sim_open_db(w, &err), err);
    finish_and_check(w, &mem);
    sim_end(w);
    return sites;
}

static void walk_every_io_may_fail(void **state)
{
    static const vio_sim_fault kinds[] = {VIO_SIM_EIO, VIO_SIM_EIO_STICKY, VIO_SIM_ENOSPC,
                                          VIO_SIM_SHORT};
    sim_world *w = *state;
    sim_end(w);
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
        for (uint64_t at = 1; at <= fail_at(w, kinds[k], at);
             at += vv_test_count("VV_FAULT_STEP", 1))
            continue;
}

/* ---- allocations ------------------------------------------------------------------------------
 */

static void note_status(void *ctx, vv_status status, const vv_stream_append_result *r,
                        const vv_error *err)
{
    (void)r;
    (void)err;
    *(vv_status *)ctx = status;
}

static vv_status use_everything(vv_table *t, unsigned n, vv_error *err)
{
    uint32_t partition = test_partitions - 1;
    uint64_t offset = 0;
    vv_stream_position p;
    vv_stream_tail *tail = NULL;
    vv_message m;
    vv_stream_read_options opt = VV_STREAM_READ_OPTIONS_INIT;
    vv_stream_start start = {.from = VV_STREAM_EVENT, .time_ns = 1};
    vv_attribute a = {.name = S("n"), .type = VV_ATTRIBUTE_I64, .i64 = (int64_t)n};
    opt.partition = partition;
    vv_status st = vv_stream_find(t, partition, &start, NULL, &offset, err);
    if (st == VV_OK)
        st = vv_stream_commit(t, partition, S("c"), n / 2, VV_DURABLE_DEFAULT, err);
    if (st == VV_OK)
        st = vv_stream_position_get(t, partition, S("c"), &p, err);
    if (st == VV_OK)
        st = vv_stream_tail_open(t, &opt, &tail, err);
    if (st == VV_OK)
        st = vv_stream_tail_next(tail, 0, &m, err);
    vv_stream_tail_close(tail);
    vv_status told = VV_OK;
    m = (vv_message){.value = S("async"), .attributes = &a, .attribute_count = 1};
    vv_stream_append_options ao = VV_STREAM_APPEND_OPTIONS_INIT;
    ao.partition = partition;
    if (st == VV_OK)
        st = vv_stream_append_async(t, &m, 1, &ao, note_status, &told, err);
    return st == VV_OK ? told : st;
}

/* The log failed: only a reopening goes on from there. */
static vv_table *begin_again(sim_world *w, vv_table *t)
{
    vv_table_close(t);
    db_abandon(w->db);
    sim_off(w);
    sim_start(w);
    return stream_table(w->db);
}

static void walk_every_allocation_may_fail(void **state)
{
    sim_world *w = *state;
    vv_error err = {0};
    unsigned failures = 0;
    unsigned sent = 0;
    vv_table *t = stream_table(w->db);
    for (int64_t n = 0; n < 500; n++) {
        vv_stream_append_result r;
        if (n % 50 == 49) { /* its state is read anew, and that may fail too */
            vv_table_close(t);
            sim_reopen(w);
            t = stream_table(w->db);
        }
        vv_alloc_fail_after(n % 45, 0);
        vv_status st = send(t, 0, sent, &r, &err);
        vv_alloc_fail_after(-1, 0);
        failures += st != VV_OK;
        assert_true(st == VV_OK || st == VV_NO_MEMORY || st == VV_BUSY || st == VV_IO);
        if (st == VV_IO)
            t = begin_again(w, t);
        if (st != VV_OK) /* what went through in spite of it is known */
            assert_ok(send(t, 0, sent, &r, &err), err);
        sent++;
        vv_alloc_fail_after(n % 60, 0);
        st = use_everything(t, (unsigned)n, &err);
        vv_alloc_fail_after(-1, 0);
        failures += st != VV_OK;
        if (st == VV_IO)
            t = begin_again(w, t);
        assert_true(st == VV_OK || st == VV_NO_MEMORY || st == VV_BUSY || st == VV_IO);
        uint64_t next = 0;
        assert_ok(vv_stream_producer_next(t, test_partitions - 1, S("s0"), &next, &err), err);
        assert_int_equal(next, (uint64_t)sent * EACH);
    }
    assert_true(failures > 50);
    vv_table_close(t);
    sim_check_and_reopen(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TP(prop_agrees_with_a_list),
        TP(prop_a_power_cut_leaves_each_message_once),
        TP(walk_every_allocation_may_fail),
        TP(walk_every_io_may_fail),
    };
    return run_on_each(tests, ARRAY_LEN(tests));
}
