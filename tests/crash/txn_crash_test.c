/*
 * txn_crash_test.c - power cuts and kills while transactions commit: each is there whole or not.
 *
 * One thread keeps some transactions open over two tables of a shard, writes in them, rolls parts
 * back, commits some, has some refused, leaves some open. Beside them runs a history of the states
 * after each commit. After a crash the store must equal one of them, at least as new as the last
 * one whose durability covers what happened; so a torn transaction, one that was aborted or
 * refused, and one that was open show alike.
 *
 * VV_TXN_CUTS sets how many cuts. A failure prints the seed that repeats it.
 */
#include "db/db_test_util.h"

#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/rng.h"
#include "varve/txn.h"

#define TABLES 2u
#define KEYS 24u
#define OPEN 4u
#define LIVES 30u
#define HISTORY 512u

typedef struct state {
    uint64_t value[TABLES][KEYS];
} state;

typedef struct open_txn {
    vv_txn *t;
    state base;
    state view;
    bool wrote[TABLES][KEYS];
    vv_durability durability;
} open_txn;

static sim_world world;
static vv_table *table[TABLES];
static vv_rng rng;
static state history[HISTORY];
static size_t last, synced, os;
static open_txn txns[OPEN];
static uint64_t next_id = 1;
static uint64_t cuts, kills, commits, refusals;
static vv_error err;

static uint64_t below(uint64_t n)
{
    return vv_rng_below(&rng, n);
}

static vv_slice key_of(unsigned k)
{
    static char text[4][16];
    static unsigned turn;
    char *p = text[turn++ % 4];
    (void)snprintf(p, sizeof text[0], "key-%02u", k);
    return vv_slice_str(p);
}

static vv_slice value_of(uint64_t id)
{
    static uint8_t bytes[3000];
    size_t len = 8 + vv_hash64(&id, sizeof id) % (id % 20 == 0 ? 2900 : 200);
    memset(bytes, (int)id, len);
    vv_put_le64(bytes, id);
    return vv_slice_of(bytes, len);
}

/* ---- a life ---- */

static vv_status power_on(const vio_sim_options *sim)
{
    vv_status st = sim_on(&world, sim, &err);
    if (st == VV_OK)
        st = db_open_env(&world.env, &world.opt, &world.db, &err);
    static const char *const names[TABLES] = {"one", "two"};
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.if_not_exists = true;
    for (unsigned t = 0; st == VV_OK && t < TABLES; t++) {
        if (getenv("VV_ENGINE_MIXED") != NULL)
            opt.engine = t == 0 ? VV_ENGINE_LSM : VV_ENGINE_BTREE;
        st = vv_table_create(world.db, "bank", names[t], &opt, &table[t], &err);
    }
    return st;
}

static void power_off(void)
{
    for (unsigned i = 0; i < OPEN; i++) {
        vv_txn_abort(txns[i].t);
        txns[i].t = NULL;
    }
    for (unsigned t = 0; t < TABLES; t++) {
        vv_table_close(table[t]);
        table[t] = NULL;
    }
    db_abandon(world.db);
    world.db = NULL;
    sim_off(&world);
}

static vv_status begin(open_txn *o)
{
    static const vv_durability some[] = {VV_DURABLE_SYNC, VV_DURABLE_SYNC, VV_DURABLE_OS,
                                         VV_DURABLE_NONE};
    vv_txn_options opt = VV_TXN_OPTIONS_INIT;
    opt.isolation = (vv_isolation)below(2);
    opt.durability = some[below(ARRAY_LEN(some))];
    *o = (open_txn){.base = history[last], .view = history[last], .durability = opt.durability};
    return vv_txn_begin(world.db, &opt, &o->t, &err);
}

static vv_status write_some(open_txn *o)
{
    unsigned t = (unsigned)below(TABLES);
    unsigned k = (unsigned)below(KEYS);
    unsigned end = k + 1;
    uint64_t id = 0;
    uint64_t what = below(10);
    vv_status st;
    if (what == 0) {
        end += (unsigned)below(6);
        vv_slice upper = end >= KEYS ? vv_slice_of(NULL, 0) : key_of(end);
        st = vv_txn_delete_range(o->t, table[t], key_of(k), upper, &err);
    } else if (what < 3) {
        st = vv_txn_delete(o->t, table[t], key_of(k), &err);
    } else {
        id = next_id++;
        st = vv_txn_put(o->t, table[t], key_of(k), value_of(id), 0, &err);
    }
    for (; st == VV_OK && k < end && k < KEYS; k++) {
        o->view.value[t][k] = id;
        o->wrote[t][k] = true;
    }
    return st;
}

/* Writes that are taken back again. */
static vv_status write_in_vain(open_txn *o)
{
    uint64_t savepoint = 0;
    open_txn copy = *o;
    vv_status st = vv_txn_savepoint(o->t, &savepoint, &err);
    for (int i = 0; st == VV_OK && i < 3; i++)
        st = write_some(o);
    if (st == VV_OK || st == VV_BUSY)
        st = savepoint == 0 ? st : vv_txn_rollback_to(o->t, savepoint, &err);
    *o = copy;
    return st;
}

static vv_status read_one(open_txn *o)
{
    unsigned t = (unsigned)below(TABLES);
    unsigned k = (unsigned)below(KEYS);
    vv_value v = {0};
    vv_status st = vv_txn_get(o->t, table[t], key_of(k), &v, &err);
    if (st == VV_OK && vv_get_le64(v.data.data) != o->view.value[t][k])
        fail_msg("key %u is %llu instead of %llu", k, (unsigned long long)vv_get_le64(v.data.data),
                 (unsigned long long)o->view.value[t][k]);
    if (st == VV_NOT_FOUND && o->view.value[t][k] != 0)
        fail_msg("key %u is not there", k);
    vv_value_release(&v);
    return st == VV_NOT_FOUND ? VV_OK : st;
}

/* The state after it, as if it went through; a crash in the middle leaves that open. */
static vv_status commit(open_txn *o)
{
    if (last + 1 == HISTORY) {
        vv_txn_abort(o->t);
        o->t = NULL;
        return VV_OK;
    }
    history[last + 1] = history[last];
    for (unsigned t = 0; t < TABLES; t++)
        for (unsigned k = 0; k < KEYS; k++)
            if (o->wrote[t][k])
                history[last + 1].value[t][k] = o->view.value[t][k];
    vv_write_result r;
    vv_status st = vv_txn_commit(o->t, &r, &err);
    o->t = NULL;
    if (st == VV_CONFLICT || st == VV_BUSY || st == VV_NO_SPACE || st == VV_NO_MEMORY) {
        refusals++;
        return VV_OK; /* nothing was written */
    }
    last++; /* written, or unknown: the store failed */
    if (st != VV_OK)
        return st;
    commits++;
    if (r.version != 0 && r.durability != VV_DURABLE_NONE)
        os = last;
    if (r.version != 0 && r.durability == VV_DURABLE_SYNC)
        synced = last;
    return VV_OK;
}

static vv_status step(void)
{
    open_txn *o = &txns[below(OPEN)];
    uint64_t what = below(20);
    if (o->t == NULL)
        return begin(o);
    if (what < 10)
        return write_some(o);
    if (what < 11)
        return write_in_vain(o);
    if (what < 13)
        return read_one(o);
    if (what < 17)
        return commit(o);
    if (what == 17) {
        vv_txn_abort(o->t);
        o->t = NULL;
        return VV_OK;
    }
    vv_status st = VV_OK;
    if (what == 18)
        return vv_checkpoint(world.db, &err);
    for (int i = 0; st == VV_OK && i < 8; i++)
        st = db_step(world.db, &err);
    return st == VV_NOT_FOUND ? VV_OK : st;
}

/* ---- after it ---- */

static void read_all(state *out)
{
    *out = (state){0};
    for (unsigned t = 0; t < TABLES; t++) {
        vv_cursor *c = NULL;
        assert_ok(vv_cursor_open(table[t], NULL, &c, &err), err);
        assert_ok(vv_cursor_seek(c, vv_slice_of(NULL, 0), &err), err);
        while (vv_cursor_valid(c)) {
            const uint8_t *digits = vv_cursor_key(c).data + 4;
            unsigned k = (digits[0] - '0') * 10u + (digits[1] - '0');
            uint64_t id = vv_get_le64(vv_cursor_value(c).data);
            assert_true(k < KEYS && vv_slice_eq(vv_cursor_value(c), value_of(id)));
            out->value[t][k] = id;
            assert_ok(vv_cursor_next(c, &err), err);
        }
        vv_cursor_close(c);
    }
}

static void verify(uint64_t seed, bool was_kill)
{
    state actual;
    read_all(&actual);
    size_t oldest = was_kill ? os : synced;
    size_t n = last + 1;
    while (n > oldest && memcmp(&history[n - 1], &actual, sizeof actual) != 0)
        n--;
    if (n == oldest && memcmp(&history[oldest], &actual, sizeof actual) != 0)
        fail_msg("VV_SEED=0x%llx: the store holds none of the states %zu to %zu",
                 (unsigned long long)seed, oldest, last);
    history[0] = actual;
    last = synced = os = 0;
}

static void live(uint64_t seed)
{
    vio_sim_options sim = {.seed = vv_rng_next(&rng), .tear = true};
    bool kill = below(6) == 0;
    sim.cut_after_writes = kill ? 0 : 1 + below(below(8) == 0 ? 400 : 60);
    vv_status st = power_on(&sim);
    for (unsigned n = 30 + (unsigned)below(120); st == VV_OK && n > 0; n--) {
        st = step();
        refusals += st == VV_BUSY;
        if (st == VV_BUSY) /* memory_limit */
            st = VV_OK;
    }
    bool is_cut = vio_sim_is_off(world.disk);
    if (st != VV_OK && !is_cut)
        fail_msg("VV_SEED=0x%llx: %s: %s", (unsigned long long)seed, vv_status_name(st), err.msg);
    power_off();
    if (!is_cut && !kill)
        vio_sim_cut(world.disk);
    if (is_cut || !kill)
        vio_sim_disk_settle(world.disk);
    else
        vio_sim_disk_kill(world.disk);
    bool was_kill = kill && !is_cut;
    kills += was_kill;
    cuts += !was_kill;
    assert_ok(power_on(&(vio_sim_options){.seed = seed}), err);
    verify(seed, was_kill);
    power_off();
    vio_sim_disk_kill(world.disk);
}

static void law_transactions_are_whole_or_absent(void **unused)
{
    (void)unused;
    uint64_t want = vv_test_share("VV_TXN_CUTS", 6000);
    for (uint64_t seed = vv_test_seed(0x7c4a); cuts + kills < want; seed++) {
        vv_rng_init(&rng, seed);
        world = (sim_world){.opt = SIM_TINY_OPTIONS, .disk = vio_sim_disk_create()};
        world.opt.memory_limit = 64u << 20; /* nobody but these steps compacts */
        assert_non_null(world.disk);
        history[0] = (state){0};
        last = synced = os = 0;
        for (unsigned i = 0; i < LIVES && cuts + kills < want; i++)
            live(seed);
        assert_ok(sim_on(&world, &(vio_sim_options){.seed = 1}, &err), err);
        assert_ok(db_check_env(&world.env, NULL, NULL, &err), err);
        sim_off(&world);
        vio_sim_disk_destroy(world.disk);
    }
    print_message("%llu cuts, %llu kills, %llu commits, %llu refused\n", (unsigned long long)cuts,
                  (unsigned long long)kills, (unsigned long long)commits,
                  (unsigned long long)refusals);
    assert_true(commits > want && refusals > want / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(law_transactions_are_whole_or_absent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
