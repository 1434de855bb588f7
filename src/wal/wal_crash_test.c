/*
 * wal_crash_test.c - the log on the simulated disk: power cuts, faults, flipped bits, each walked.
 *
 * The model is the list of entries in the order they were appended. After any end, what a replay
 * delivers must be one piece of that list: from no later than the first entry that was not
 * released, to no earlier than the last one that was acknowledged, without a gap.
 */
#include "wal/wal_test_util.h"

#include <inttypes.h>

#include "base/alloc.h"
#include "base/point.h"
#include "io/vio_sim.h"

#define SHARDS 3u
#define MODEL_MAX 4096u

typedef struct model_entry {
    uint64_t seq; /* never used twice: also the seed of the payload */
    uint32_t shard;
    uint64_t index;
} model_entry;

typedef struct model {
    model_entry list[MODEL_MAX];
    size_t count;    /* tried */
    size_t appended; /* wal_append said yes: survives SIGKILL */
    size_t acked;    /* wal_sync said yes: survives a power cut */
    uint64_t next_index[SHARDS];
    uint64_t released[SHARDS];
    uint64_t seq;
    bool through; /* use batches larger than a quarter of the ring, too */
} model;

typedef struct world {
    vio_sim_disk *disk;
    vv_env env;
    wal_options opt;
} world;

static uint8_t payload_bytes[64 * 1024];

static vv_slice payload_of(uint64_t seq)
{
    vv_rng rng;
    vv_rng_init(&rng, seq);
    uint64_t roll = vv_rng_below(&rng, 40);
    size_t max = roll == 0 ? 30000 : roll == 1 ? 12000 : roll < 8 ? 3000 : 300;
    size_t len = (size_t)vv_rng_below(&rng, max);
    vv_rng_bytes(&rng, payload_bytes, len);
    return vv_slice_of(payload_bytes, len);
}

static void world_on(world *w, const vio_sim_options *opt)
{
    vv_error err;
    w->env = (vv_env){.clock = vio_sim_clock(w->disk), .seed = opt->seed};
    assert_ok(vio_sim_open(w->disk, opt, &w->env.io, &err), err);
    w->opt = (wal_options){.env = &w->env,
                           .dir = "wal",
                           .segment_size = 16 * 1024,
                           .ring_size = 32 * 1024,
                           .log_limit = 64 * 1024};
}

static void world_off(world *w)
{
    vio_destroy(w->env.io);
    w->env.io = NULL;
}

static void publish(void *ctx, const char *name)
{
    (void)name;
    vio_sim_publish(ctx);
}

/* ---- the workload: true while every call said yes and the power is on ---- */

static bool append_one(world *w, wal *log, model *m, vv_rng *rng, uint64_t *end)
{
    model_entry *e = &m->list[m->count];
    *e = (model_entry){++m->seq, (uint32_t)vv_rng_below(rng, SHARDS), 0};
    while (!m->through && payload_of(e->seq).len > 8000)
        e->seq = ++m->seq;
    e->index = m->next_index[e->shard] + 1;
    vv_slice payload = payload_of(e->seq);
    wal_record rec = {.kind = WAL_ENTRY,
                      .shard = e->shard,
                      .index = e->index,
                      .term = e->seq,
                      .payload = payload,
                      .payload_crc = vv_crc32c(0, payload.data, payload.len)};
    m->count++;
    if (wal_append(log, &rec, 1, end, NULL) != VV_OK || vio_sim_is_off(w->disk))
        return false;
    m->next_index[e->shard]++;
    m->appended = m->count;
    return true;
}

static bool sync_all(world *w, wal *log, model *m, uint64_t end)
{
    size_t covers = m->appended;
    if (wal_sync(log, end, NULL) != VV_OK || vio_sim_is_off(w->disk))
        return false;
    m->acked = covers;
    return true;
}

/* What a flush does: release what one shard has acknowledged. */
static bool release_some(world *w, wal *log, model *m, vv_rng *rng)
{
    uint32_t shard = (uint32_t)vv_rng_below(rng, SHARDS);
    for (size_t i = 0; i < m->acked; i++)
        if (m->list[i].shard == shard && m->list[i].index > m->released[shard])
            m->released[shard] = m->list[i].index;
    return wal_release(log, shard, m->released[shard], NULL) == VV_OK && !vio_sim_is_off(w->disk);
}

static bool workload(world *w, wal *log, model *m, vv_rng *rng, int steps)
{
    uint64_t end = wal_end_position(log);
    bool ok = true;
    for (int i = 0; ok && i < steps && m->count < MODEL_MAX; i++) {
        uint64_t roll = vv_rng_below(rng, 20);
        if (roll < 12) {
            ok = append_one(w, log, m, rng, &end);
        } else if (roll < 17) {
            ok = sync_all(w, log, m, end);
        } else if (roll < 19) {
            vv_status st = wal_work(log, NULL);
            ok = (st == VV_OK || st == VV_NOT_FOUND) && !vio_sim_is_off(w->disk);
        } else {
            ok = release_some(w, log, m, rng);
        }
    }
    return ok;
}

/* ---- what must be there afterwards ---- */

typedef struct reading {
    model *m;
    bool begun;
    size_t first, next; /* in m->list */
    const char *wrong;
} reading;

static vv_status read_entry(void *ctx, const wal_record *rec, uint64_t position, vv_error *err)
{
    (void)position;
    (void)err;
    reading *r = ctx;
    if (rec->kind != WAL_ENTRY || r->wrong != NULL)
        return VV_OK;
    if (!r->begun) {
        while (r->next < r->m->count && r->m->list[r->next].seq != rec->term)
            r->next++;
        r->first = r->next;
        r->begun = true;
    }
    if (r->next == r->m->count) {
        r->wrong = "an entry that was never appended, or was cut before";
        return VV_OK;
    }
    const model_entry *e = &r->m->list[r->next++];
    if (e->seq != rec->term || e->shard != rec->shard || e->index != rec->index)
        r->wrong = "an entry out of order: a gap, or one that was cut before";
    else if (!vv_slice_eq(payload_of(e->seq), rec->payload))
        r->wrong = "another payload";
    return VV_OK;
}

static const char *judge(reading *r, size_t must)
{
    model *m = r->m;
    if (r->wrong != NULL)
        return r->wrong;
    if (!r->begun)
        r->first = r->next = must; /* nothing is left: all must be released */
    for (size_t i = 0; i < r->first; i++)
        if (m->list[i].index > m->released[m->list[i].shard])
            return "an entry that was not released is gone";
    return r->next < must ? "an acknowledged entry is gone" : NULL;
}

/* What was recovered is the log now; all of it counts as acknowledged. */
static void adopt(model *m, size_t count)
{
    m->count = m->appended = m->acked = count;
    memset(m->next_index, 0, sizeof m->next_index);
    for (size_t i = 0; i < count; i++)
        m->next_index[m->list[i].shard] = m->list[i].index;
}

typedef struct verdict {
    vv_status st;
    const char *wrong;
    wal *log; /* when st is VV_OK */
    size_t count;
    uint64_t cut_bytes;
    vv_error err;
} verdict;

/* Open and replay against the model; must entries have to be there. */
static verdict recover(world *w, model *m, size_t must)
{
    verdict v = {0};
    reading r = {.m = m};
    v.st = wal_open(&w->opt, &v.log, &v.err);
    if (v.st == VV_OK)
        v.st = wal_replay(v.log, read_entry, &r, &v.err);
    if (v.st != VV_OK) {
        wal_abandon(v.log);
        v.log = NULL;
        v.wrong = r.wrong;
        return v;
    }
    v.cut_bytes = wal_recovery_stats(v.log)->cut_bytes;
    v.wrong = judge(&r, must);
    v.count = r.next;
    return v;
}

static void fail_with(const world *w, uint64_t seed, uint64_t n, const char *what, const verdict *v)
{
    fail_msg("VV_SEED=%#" PRIx64 " site %" PRIu64 ": %s: %s: %s %s\n%s", seed, n, what,
             vv_status_name(v->st), v->st == VV_OK ? "" : v->err.msg,
             v->wrong == NULL ? "" : v->wrong, vio_sim_trace(w->disk));
}

/* ---- power cuts and kills ---- */

static bool first_life(world *w, model *m, uint64_t seed, uint64_t cut_at)
{
    vv_rng rng;
    vv_rng_init(&rng, seed);
    world_on(w, &(vio_sim_options){.seed = seed, .cut_after_writes = cut_at, .tear = true});
    verdict v = recover(w, m, 0);
    bool whole = v.st == VV_OK && workload(w, v.log, m, &rng, 120);
    wal_abandon(v.log);
    return whole;
}

/* Switch on again, perhaps with another cut inside recovery, until one recovery is whole; then go
 * on working, close, and look once more. */
static void later_lives(world *w, model *m, uint64_t seed, uint64_t n, bool kill)
{
    vv_rng rng;
    vv_rng_init(&rng, seed ^ n);
    verdict v = {0};
    bool whole = false;
    for (int life = 0; !whole; life++) {
        wal_abandon(v.log);
        if (kill)
            vio_sim_disk_kill(w->disk);
        else
            vio_sim_disk_settle(w->disk);
        world_off(w);
        uint64_t cut_at = life < 3 && vv_rng_one_in(&rng, 2) ? 1 + vv_rng_below(&rng, 12) : 0;
        world_on(w, &(vio_sim_options){.seed = seed + n, .cut_after_writes = cut_at, .tear = true});
        v = recover(w, m, kill ? m->appended : m->acked);
        if (v.wrong != NULL || (v.st != VV_OK && !vio_sim_is_off(w->disk)))
            fail_with(w, seed, n, "recovery", &v);
        if (v.st != VV_OK || vio_sim_is_off(w->disk))
            continue;
        adopt(m, v.count);
        whole = workload(w, v.log, m, &rng, 15);
        if (!whole && !vio_sim_is_off(w->disk))
            fail_with(w, seed, n, "work after recovery", &v);
    }
    m->acked = m->appended;
    v.st = wal_close(v.log, &v.err);
    if (v.st != VV_OK)
        fail_with(w, seed, n, "close", &v);
    v = recover(w, m, m->acked);
    if (v.st != VV_OK || v.wrong != NULL || v.cut_bytes != 0 || v.count != m->count)
        fail_with(w, seed, n, "reopen after a clean close", &v);
    wal_abandon(v.log);
    world_off(w);
}

static void walk_cuts(uint64_t seed, bool kill, bool through)
{
    static model m;
    bool whole = false;
    for (uint64_t n = 1; !whole; n++) {
        m = (model){.through = through};
        world w = {.disk = vio_sim_disk_create()};
        assert_non_null(w.disk);
        vv_point_set(publish, w.disk);
        whole = first_life(&w, &m, seed, n);
        later_lives(&w, &m, seed, n, kill);
        vv_point_set(NULL, NULL);
        vio_sim_disk_destroy(w.disk);
    }
}

static void prop_a_power_cut_loses_nothing_acknowledged(void **state)
{
    (void)state;
    uint64_t seed = vv_test_seed(31);
    uint64_t rounds = vv_test_count("VV_WAL_ROUNDS", 3);
    for (uint64_t i = 0; i < rounds; i++)
        walk_cuts(seed + i, false, i % 2 == 1);
}

static void prop_a_kill_loses_nothing_appended(void **state)
{
    (void)state;
    uint64_t seed = vv_test_seed(41);
    uint64_t rounds = vv_test_count("VV_WAL_ROUNDS", 3);
    for (uint64_t i = 0; i < rounds; i++)
        walk_cuts(seed + i, true, i % 2 == 1);
}

/* ---- faults and short memory ---- */

/* Once latched, every call gives the first error. */
static void check_latch(wal *log)
{
    wal_stats stats;
    wal_stats_read(log, &stats);
    if (!stats.failed)
        return;
    wal_record rec = {.kind = WAL_COMMIT, .index = 1};
    vv_error first = {0}, second = {0}, third = {0};
    uint64_t end;
    vv_status st = wal_append(log, &rec, 1, &end, &first);
    assert_int_not_equal(st, VV_OK);
    assert_status(st, wal_append(log, &rec, 1, &end, &second));
    assert_status(st, wal_release(log, 0, 1, &third));
    assert_string_equal(first.msg, second.msg);
    assert_string_equal(first.msg, third.msg);
    if (stats.durable < stats.end)
        assert_status(st, wal_sync(log, stats.end, NULL));
}

/* A healthy life, a faulty one that recovers and works on, a healthy one. Faults that damage may be
 * answered by a refusal, never by more. */
static bool one_fault(uint64_t seed, vio_sim_fault fault, uint64_t n, bool damages)
{
    static model m;
    m = (model){.through = true};
    world w = {.disk = vio_sim_disk_create()};
    assert_non_null(w.disk);
    (void)first_life(&w, &m, seed, 0);
    vio_sim_disk_kill(w.disk);
    world_off(&w);

    world_on(&w, &(vio_sim_options){.seed = seed, .fault = fault, .fault_at = n});
    vv_rng rng;
    vv_rng_init(&rng, seed + 1);
    verdict v = recover(&w, &m, m.appended);
    if (v.wrong != NULL)
        fail_with(&w, seed, n, "recovery with a fault", &v);
    if (v.st == VV_OK) {
        adopt(&m, v.count);
        if (!workload(&w, v.log, &m, &rng, 120))
            check_latch(v.log);
    }
    wal_abandon(v.log);
    bool hit = n <= vio_sim_fault_sites(w.disk, fault);
    vio_sim_disk_kill(w.disk);
    world_off(&w);

    world_on(&w, &(vio_sim_options){.seed = seed});
    v = recover(&w, &m, m.appended);
    bool refused = damages && (v.st == VV_CORRUPT || v.st == VV_UNSUPPORTED);
    if (!refused && (v.st != VV_OK || v.wrong != NULL))
        fail_with(&w, seed, n, "after a fault", &v);
    wal_abandon(v.log);
    world_off(&w);
    vio_sim_disk_destroy(w.disk);
    return hit;
}

static void prop_every_fault_is_a_clean_error(void **state)
{
    (void)state;
    uint64_t seed = vv_test_seed(51);
    const struct {
        vio_sim_fault fault;
        bool damages;
    } cases[] = {
        {VIO_SIM_EIO, false},   {VIO_SIM_EIO_STICKY, false}, {VIO_SIM_ENOSPC, false},
        {VIO_SIM_SHORT, false}, {VIO_SIM_SYNC_LIES, false},  {VIO_SIM_FLIP, true},
        {VIO_SIM_STALE, true},  {VIO_SIM_MISDIRECT, true},
    };
    uint64_t rounds = vv_test_count("VV_WAL_ROUNDS", 3);
    for (uint64_t round = 0; round < rounds; round++) {
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
            uint64_t n = 1;
            while (one_fault(seed + round, cases[i].fault, n, cases[i].damages))
                n++;
            assert_true(n > 1); /* the fault has sites here */
        }
    }
}

static void prop_every_failed_allocation_is_a_clean_error(void **state)
{
    (void)state;
    static model m;
    uint64_t seed = vv_test_seed(61);
    for (int64_t n = 0, more = 1; more; n++) {
        m = (model){.through = true};
        world w = {.disk = vio_sim_disk_create()};
        assert_non_null(w.disk);
        world_on(&w, &(vio_sim_options){.seed = seed});
        vv_rng rng;
        vv_rng_init(&rng, seed);
        uint64_t before = vv_alloc_count();
        vv_alloc_fail_after(n, 0);
        verdict v = recover(&w, &m, 0);
        if (v.st == VV_OK) {
            (void)workload(&w, v.log, &m, &rng, 60);
            size_t appended = m.appended;
            if (wal_close(v.log, NULL) == VV_OK)
                m.acked = appended;
            v = recover(&w, &m, m.acked); /* the failure may fall into a recovery, too */
            if (v.st == VV_OK && v.wrong != NULL)
                fail_with(&w, seed, (uint64_t)n, "recovery with short memory", &v);
            wal_abandon(v.log);
        }
        vv_alloc_fail_after(-1, 0);
        more = (int64_t)(vv_alloc_count() - before) > n;
        vio_sim_disk_kill(w.disk);
        world_off(&w);
        world_on(&w, &(vio_sim_options){.seed = seed});
        v = recover(&w, &m, m.appended);
        if (v.st != VV_OK || v.wrong != NULL)
            fail_with(&w, seed, (uint64_t)n, "after short memory", &v);
        wal_abandon(v.log);
        world_off(&w);
        vio_sim_disk_destroy(w.disk);
    }
}

static void a_full_disk_refuses_appends_until_space_returns(void **state)
{
    (void)state;
    static model m;
    m = (model){0};
    world w = {.disk = vio_sim_disk_create()};
    world_on(&w, &(vio_sim_options){.seed = 1, .capacity = 160 * 1024});
    verdict v = recover(&w, &m, 0);
    assert_ok(v.st, v.err);
    vv_rng rng;
    vv_rng_init(&rng, 1);
    uint64_t end = 0;
    while (append_one(&w, v.log, &m, &rng, &end))
        continue;
    wal_stats stats;
    wal_stats_read(v.log, &stats);
    assert_false(stats.failed); /* no room for a segment is not a failed write */
    m.count = m.appended;
    assert_true(sync_all(&w, v.log, &m, end));
    for (uint32_t s = 0; s < SHARDS; s++) { /* a flush gives the space back */
        m.released[s] = m.next_index[s];
        vv_error err;
        assert_ok(wal_release(v.log, s, m.released[s], &err), err);
    }
    assert_true(append_one(&w, v.log, &m, &rng, &end));
    assert_true(sync_all(&w, v.log, &m, end));
    wal_abandon(v.log);
    v = recover(&w, &m, m.acked);
    assert_ok(v.st, v.err);
    assert_null(v.wrong);
    wal_abandon(v.log);
    world_off(&w);
    vio_sim_disk_destroy(w.disk);
}

/* ---- damage ---- */

typedef struct flips {
    world *w;
    model *m;
    uint64_t stride;
    bool no_ring;
    uint64_t tried, refused, cut;
} flips;

static void flip_one(flips *f, const char *path, uint64_t bit)
{
    world c = {.disk = vio_sim_disk_clone(f->w->disk)};
    assert_non_null(c.disk);
    assert_status(VV_OK, vio_sim_flip_bit(c.disk, path, bit));
    world_on(&c, &(vio_sim_options){.seed = 1});
    verdict v = recover(&c, f->m, f->m->acked);
    f->tried++;
    bool ok = v.st == VV_OK && v.wrong == NULL;
    if (v.st == VV_CORRUPT || v.st == VV_UNSUPPORTED) {
        ok = vio_sim_write_count(c.disk) == 0; /* nothing was changed */
        f->refused++;
    } else if (!ok && f->no_ring && v.st == VV_OK && v.cut_bytes > 0) {
        /* The last write alone cannot be told from a torn one: it is reported. */
        ok = v.count + 3 >= f->m->acked;
        f->cut++;
    }
    if (!ok)
        fail_msg("%s bit %" PRIu64 ": %s %s (%zu of %zu entries)", path, bit, vv_status_name(v.st),
                 v.wrong == NULL ? "" : v.wrong, v.count, f->m->acked);
    wal_abandon(v.log);
    world_off(&c);
    vio_sim_disk_destroy(c.disk);
}

static void flip_file(void *ctx, const char *path, uint64_t size)
{
    flips *f = ctx;
    for (uint64_t bit = 0; bit<100 * 8; bit += f->stride> 8 ? 7 : 1)
        flip_one(f, path, bit);
    for (uint64_t bit = 100 * 8; bit < size * 8; bit += f->stride)
        flip_one(f, path, bit);
}

/* A closed log of several segments, longer than its ring. With no_ring the ring is as new. */
static void walk_flips(bool no_ring, uint64_t stride)
{
    static model m;
    m = (model){0};
    world w = {.disk = vio_sim_disk_create()};
    world_on(&w, &(vio_sim_options){.seed = 3});
    verdict v = recover(&w, &m, 0);
    assert_ok(v.st, v.err);
    vv_rng rng;
    vv_rng_init(&rng, 3);
    uint64_t end = 0;
    while (end < 70 * 1024) {
        assert_true(append_one(&w, v.log, &m, &rng, &end));
        if (vv_rng_one_in(&rng, 3))
            assert_true(sync_all(&w, v.log, &m, end));
    }
    assert_true(append_one(&w, v.log, &m, &rng, &end)); /* the last write is of one entry */
    assert_ok(wal_close(v.log, &v.err), v.err);
    m.acked = m.appended;
    world_off(&w);
    vio_sim_disk_kill(w.disk);
    if (no_ring)
        assert_status(VV_OK, vio_sim_zero(w.disk, "wal/ring", VV_BLOCK, 32 * 1024));
    flips f = {.w = &w, .m = &m, .stride = stride, .no_ring = no_ring};
    vio_sim_each_file(w.disk, flip_file, &f);
    assert_true(f.refused > 0);
    print_message("%" PRIu64 " bits flipped, %" PRIu64 " refused, %" PRIu64 " cut and reported\n",
                  f.tried, f.refused, f.cut);
    vio_sim_disk_destroy(w.disk);
}

static void prop_a_flipped_bit_is_refused_or_harmless(void **state)
{
    (void)state;
    uint64_t stride = vv_test_count("VV_WAL_STEP", 211);
    walk_flips(false, stride);
    walk_flips(true, stride);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prop_a_power_cut_loses_nothing_acknowledged),
        cmocka_unit_test(prop_a_kill_loses_nothing_appended),
        cmocka_unit_test(prop_every_fault_is_a_clean_error),
        cmocka_unit_test(prop_every_failed_allocation_is_a_clean_error),
        cmocka_unit_test(a_full_disk_refuses_appends_until_space_returns),
        cmocka_unit_test(prop_a_flipped_bit_is_refused_or_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
