#include "crash/crash_model.h"

#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/hash.h"
#include "varve/record.h"

#define VALUE_MAX (20u * 1024)
#define BIG_ONE_IN 60u /* larger than a quarter of the ring: written through */

static const struct {
    const char *tenant;
    const char *name;
    vv_table_kind kind;
} tables[MODEL_TABLES] = {
    {"alpha", "one", VV_TABLE_KV}, {"alpha", "two", VV_TABLE_RECORD},
    {"beta", "one", VV_TABLE_KV},  {"gamma", "one", VV_TABLE_RECORD},
    {"gamma", "two", VV_TABLE_KV},
};

void model_init(model *m, uint64_t seed)
{
    *m = (model){.next_id = 1};
    m->world.ops = NULL;
    m->world.opt = (vv_options)SIM_TINY_OPTIONS;
    m->world.opt.shard_count = MODEL_SHARDS;
    if (getenv("VV_ENGINE_BTREE") != NULL)
        m->world.opt.engine = VV_ENGINE_BTREE;
    m->mixed = getenv("VV_ENGINE_MIXED") != NULL;
    m->spread = getenv("VV_SPREAD") != NULL;
    m->world.disk = vio_sim_disk_create();
    m->history = calloc(MODEL_HISTORY + 2, sizeof *m->history);
    assert_non_null(m->world.disk);
    assert_non_null(m->history);
    vv_rng_init(&m->rng, seed);
}

void model_fini(model *m)
{
    vio_sim_disk_destroy(m->world.disk);
    free(m->history);
}

/* ---- values: an id makes the bytes, and the bytes tell their id ---- */

static size_t value_len(uint64_t id)
{
    uint64_t h = vv_hash64(&id, sizeof id);
    return h % BIG_ONE_IN == 0 ? VALUE_MAX : 8 + (size_t)(h >> 8) % 500;
}

static vv_slice value_make(uint64_t id, uint8_t *out)
{
    size_t len = value_len(id);
    vv_rng rng;
    vv_rng_init(&rng, id);
    vv_put_le64(out, id);
    vv_rng_bytes(&rng, out + 8, len - 8);
    return vv_slice_of(out, len);
}

static uint64_t value_id(vv_slice bytes)
{
    static uint8_t want[VALUE_MAX];
    if (bytes.len < 8)
        fail_msg("a value of %zu bytes", bytes.len);
    uint64_t id = vv_get_le64(bytes.data);
    if (!vv_slice_eq(bytes, value_make(id, want)))
        fail_msg("the value with id %llu has other bytes", (unsigned long long)id);
    return id;
}

static int64_t record_time(uint64_t id)
{
    return (int64_t)(vv_hash64(&id, sizeof id) % 2000) - 1000;
}

static vv_slice key_make(unsigned k, char *out)
{
    (void)snprintf(out, 16, "key-%03u", k);
    return vv_slice_str(out);
}

static unsigned key_index(vv_slice key)
{
    unsigned k = MODEL_KEYS;
    char text[16] = "";
    if (key.len < sizeof text)
        memcpy(text, key.data, key.len);
    if (sscanf(text, "key-%3u", &k) != 1 || k >= MODEL_KEYS)
        fail_msg("a key '%.*s' nobody wrote", (int)key.len, (const char *)key.data);
    return k;
}

/* ---- opening and leaving ---- */

static vv_status open_tables(model *m, vv_error *err)
{
    for (unsigned t = 0; t < MODEL_TABLES; t++) {
        vv_status st =
            vv_table_open(m->world.db, tables[t].tenant, tables[t].name, &m->table[t], err);
        if (st != VV_OK)
            m->table[t] = NULL;
        if (st != VV_OK && st != VV_NOT_FOUND)
            return st;
    }
    return VV_OK;
}

static void drop_handles(model *m)
{
    for (unsigned i = 0; i < MODEL_SNAPSHOTS; i++) {
        vv_snapshot_release(m->snapshot[i].at);
        m->snapshot[i].at = NULL;
    }
    for (unsigned t = 0; t < MODEL_TABLES; t++) {
        vv_table_close(m->table[t]);
        m->table[t] = NULL;
    }
}

vv_status model_open(model *m, const vio_sim_options *sim, vv_error *err)
{
    vv_status st = sim_on(&m->world, sim, err);
    if (st != VV_OK)
        return st;
    st = m->world.ops == NULL ? db_open_env(&m->world.env, &m->world.opt, &m->world.db, err)
                              : sim_open_db(&m->world, err);
    if (st == VV_OK)
        st = open_tables(m, err);
    if (st != VV_OK)
        model_abandon(m);
    return st;
}

void model_abandon(model *m)
{
    drop_handles(m);
    db_abandon(m->world.db);
    m->world.db = NULL;
    sim_off(&m->world);
}

vv_status model_close(model *m, vv_error *err)
{
    drop_handles(m);
    vv_status st = vv_db_close(m->world.db, err);
    m->world.db = NULL;
    sim_off(&m->world);
    return st;
}

/* ---- what the store holds ---- */

static uint64_t item_id(unsigned t, const vv_cursor *c)
{
    vv_error err = {0};
    if (tables[t].kind == VV_TABLE_KV)
        return value_id(vv_cursor_value(c));
    vv_record r;
    assert_ok(vv_record_parse(vv_cursor_value(c), &r, &err), err);
    uint64_t id = value_id(r.body);
    assert_true(r.timestamp_ns == record_time(id));
    return id;
}

static vv_status read_table(model *m, unsigned t, const vv_snapshot *snapshot, bool backward,
                            uint64_t *out, vv_error *err)
{
    vv_cursor *c = NULL;
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    opt.snapshot = snapshot;
    vv_status st = vv_cursor_open(m->table[t], &opt, &c, err);
    if (st == VV_OK)
        st = backward ? vv_cursor_seek_below(c, vv_slice_of(NULL, 0), err)
                      : vv_cursor_seek(c, vv_slice_of(NULL, 0), err);
    while (st == VV_OK && vv_cursor_valid(c)) {
        unsigned k = key_index(vv_cursor_key(c));
        if (out[k] != 0)
            fail_msg("key %u is shown twice", k);
        out[k] = item_id(t, c);
        st = backward ? vv_cursor_prev(c, err) : vv_cursor_next(c, err);
    }
    vv_cursor_close(c);
    return st;
}

/* The walk by time shows the same records, in order. */
static vv_status check_by_time(model *m, unsigned t, const vv_snapshot *snapshot,
                               const uint64_t *value, vv_error *err)
{
    vv_cursor *c = NULL;
    vv_cursor_options opt = VV_CURSOR_OPTIONS_INIT;
    opt.snapshot = snapshot;
    unsigned count = 0;
    int64_t before = INT64_MIN;
    vv_status st = vv_cursor_open_by_time(m->table[t], &opt, -5000, 5000, &c, err);
    if (st == VV_OK)
        st = vv_cursor_seek(c, vv_slice_of(NULL, 0), err);
    while (st == VV_OK && vv_cursor_valid(c)) {
        uint64_t id = item_id(t, c);
        if (id != value[key_index(vv_cursor_key(c))] || record_time(id) < before)
            fail_msg("table %u: the time index shows value %llu out of place", t,
                     (unsigned long long)id);
        before = record_time(id);
        count++;
        st = vv_cursor_next(c, err);
    }
    vv_cursor_close(c);
    for (unsigned k = 0; st == VV_OK && k < MODEL_KEYS; k++)
        count -= value[k] != 0;
    if (st == VV_OK && count != 0)
        fail_msg("table %u: the time index shows %d records too many", t, (int)count);
    return st;
}

vv_status model_read(model *m, const vv_snapshot *snapshot, model_state *out, vv_error *err)
{
    *out = (model_state){0};
    memcpy(out->position, m->history[m->last].position, sizeof out->position);
    for (unsigned t = 0; t < MODEL_TABLES; t++) {
        if (m->table[t] == NULL)
            continue;
        vv_status st = read_table(m, t, snapshot, vv_rng_one_in(&m->rng, 3), out->value[t], err);
        if (st == VV_OK && tables[t].kind == VV_TABLE_RECORD && vv_rng_one_in(&m->rng, 3))
            st = check_by_time(m, t, snapshot, out->value[t], err);
        if (st != VV_OK)
            return st;
        out->born[t] = 1;
    }
    return VV_OK;
}

/* Births are known to the model alone: what is there counts. */
static bool equals(const model_state *want, const model_state *actual)
{
    for (unsigned t = 0; t < MODEL_TABLES; t++)
        if ((want->born[t] != 0) != (actual->born[t] != 0))
            return false;
    return memcmp(want->value, actual->value, sizeof want->value) == 0;
}

long model_match(const model *m, const model_state *actual, size_t oldest)
{
    for (size_t n = m->last + 1; n-- > oldest;)
        if (equals(&m->history[n], actual))
            return (long)n;
    return -1;
}

static void tell_difference(const model *m, const model_state *actual, size_t oldest)
{
    const model_state *want = &m->history[oldest];
    unsigned told = 0;
    for (unsigned t = 0; t < MODEL_TABLES && told < 12; t++) {
        if ((want->born[t] != 0) != (actual->born[t] != 0))
            print_message("  table %u is %s\n", t, actual->born[t] ? "there" : "gone");
        for (unsigned k = 0; k < MODEL_KEYS && told < 12; k++)
            if (want->value[t][k] != actual->value[t][k]) {
                print_message("  table %u key %u: %llu, oldest allowed state has %llu, newest "
                              "%llu\n",
                              t, k, (unsigned long long)actual->value[t][k],
                              (unsigned long long)want->value[t][k],
                              (unsigned long long)m->history[m->last].value[t][k]);
                told++;
            }
    }
    print_message("  states %zu to %zu are allowed\n", oldest, m->last);
}

/* A producer's last sequence is refused again, with the data it came with. */
static void check_positions(model *m)
{
    vv_error err = {0};
    for (unsigned t = 0; t < MODEL_TABLES; t += 2) {
        if (m->table[t] == NULL)
            continue;
        char key[16];
        uint32_t shard = db_shard_of_key(m->table[t], key_make(0, key));
        for (unsigned p = 0; p < MODEL_PRODUCERS; p++) {
            uint64_t last = m->history[m->last].position[shard][p];
            char name[8];
            (void)snprintf(name, sizeof name, "p%u", p);
            if (last == 0)
                continue;
            vv_batch *b = vv_batch_create(m->world.db);
            assert_non_null(b);
            vv_write_result r;
            assert_ok(vv_batch_producer(b, vv_slice_str(name), last, &err), err);
            assert_ok(vv_batch_delete(b, m->table[t], key_make(0, key), &err), err);
            vv_status st = vv_write(m->world.db, b, VV_DURABLE_OS, &r, &err);
            vv_batch_destroy(b);
            if (st == VV_CORRUPT && m->expect_damage)
                continue;
            assert_ok(st, err);
            if (!r.duplicate)
                fail_msg("producer %u wrote sequence %llu twice on shard %u", p,
                         (unsigned long long)last, shard);
        }
    }
}

void model_verify(model *m, bool was_kill)
{
    model_state actual;
    vv_error err = {0};
    size_t oldest = was_kill ? m->os : m->synced;
    vv_status st = model_read(m, NULL, &actual, &err);
    if (st == VV_CORRUPT && m->expect_damage)
        return;
    assert_ok(st, err);
    long n = model_match(m, &actual, oldest);
    if (n < 0) {
        tell_difference(m, &actual, oldest);
        fail_msg("the store holds none of the allowed states");
    }
    m->history[0] = m->history[n];
    m->last = 0;
    m->synced = 0;
    m->os = 0;
    m->last_unknown = false;
    check_positions(m);
}

static void tell_finding(void *ctx, const char *text)
{
    (void)ctx;
    print_message("  check: %s\n", text);
}

void model_check_clean(model *m)
{
    vv_error err = {0};
    assert_ok(sim_on(&m->world, &(vio_sim_options){.seed = 1}, &err), err);
    assert_ok(db_check_env(&m->world.env, tell_finding, NULL, &err), err);
    sim_off(&m->world);
}

/* ---- operations ---- */

/* What an operation did, as far as the store told. */
typedef enum outcome {
    ACKED,
    REFUSED, /* nothing was written */
    UNKNOWN, /* the store failed in the middle */
} outcome;

static bool store_failed(model *m)
{
    vv_stats s = {.size = sizeof s};
    if (vio_sim_is_off(m->world.disk))
        return true;
    vv_stats_read(m->world.db, &s);
    return s.failed;
}

static model_state *next_state(model *m)
{
    m->history[m->last + 1] = m->history[m->last];
    return &m->history[m->last + 1];
}

/* Take the prepared state over, or not. */
static outcome settle(model *m, vv_status st, vv_durability given, const vv_error *err)
{
    m->operations++;
    if (st == VV_OK) {
        m->last++;
        if (given != VV_DURABLE_NONE)
            m->os = m->last;
        if (given == VV_DURABLE_SYNC)
            m->synced = m->last;
        return ACKED;
    }
    if (store_failed(m)) {
        m->last++;
        m->last_unknown = true;
        return UNKNOWN;
    }
    if (st != VV_CONFLICT && st != VV_NO_SPACE && st != VV_NO_MEMORY && st != VV_BUSY &&
        st != VV_IO && !(st == VV_CORRUPT && m->expect_damage))
        fail_msg("%s: %s", vv_status_name(st), err->msg);
    return REFUSED;
}

static vv_durability any_durability(model *m)
{
    static const vv_durability some[] = {VV_DURABLE_SYNC, VV_DURABLE_SYNC, VV_DURABLE_OS,
                                         VV_DURABLE_NONE};
    return some[vv_rng_below(&m->rng, ARRAY_LEN(some))];
}

/* A table that is there, or MODEL_TABLES. */
static unsigned any_table(model *m)
{
    unsigned first = (unsigned)vv_rng_below(&m->rng, MODEL_TABLES);
    for (unsigned i = 0; i < MODEL_TABLES; i++)
        if (m->table[(first + i) % MODEL_TABLES] != NULL)
            return (first + i) % MODEL_TABLES;
    return MODEL_TABLES;
}

/* Any key; of a batch under way one that lies on its shard, or MODEL_KEYS when none was found. */
static unsigned any_key(model *m, unsigned t)
{
    char key[16];
    for (unsigned tries = 0; tries < 100; tries++) {
        unsigned k = (unsigned)vv_rng_below(&m->rng, MODEL_KEYS);
        uint32_t shard = db_shard_of_key(m->table[t], key_make(k, key));
        if (m->shard == MODEL_SHARDS)
            m->shard = shard;
        if (shard == m->shard)
            return k;
    }
    return MODEL_KEYS;
}

static vv_status add_put(model *m, vv_batch *b, unsigned t, unsigned k, model_state *s,
                         vv_error *err)
{
    static uint8_t bytes[VALUE_MAX];
    char key[16];
    uint64_t id = m->next_id++;
    vv_slice value = value_make(id, bytes);
    vv_record r = {.timestamp_ns = record_time(id), .body = value};
    vv_status st = tables[t].kind == VV_TABLE_KV
                       ? vv_batch_put(b, m->table[t], key_make(k, key), value, 0, err)
                       : vv_batch_put_record(b, m->table[t], key_make(k, key), &r, err);
    if (st == VV_OK)
        s->value[t][k] = id;
    return st;
}

static vv_status add_range(model *m, vv_batch *b, unsigned t, model_state *s, vv_error *err)
{
    char lower[16];
    char upper[16];
    unsigned from = (unsigned)vv_rng_below(&m->rng, MODEL_KEYS);
    unsigned to = from + (unsigned)vv_rng_below(&m->rng, 10);
    vv_slice end = to >= MODEL_KEYS ? vv_slice_of(NULL, 0) : key_make(to, upper);
    vv_status st = vv_batch_delete_range(b, m->table[t], key_make(from, lower), end, err);
    for (unsigned k = from; st == VV_OK && k < to && k < MODEL_KEYS; k++)
        s->value[t][k] = 0;
    return st;
}

static vv_status add_some(model *m, vv_batch *b, unsigned t, model_state *s, vv_error *err)
{
    char key[16];
    unsigned count = 1 + (unsigned)vv_rng_below(&m->rng, 5);
    vv_status st = VV_OK;
    for (unsigned i = 0; st == VV_OK && i < count; i++) {
        unsigned k = any_key(m, t);
        uint64_t what = vv_rng_below(&m->rng, 12);
        if (k == MODEL_KEYS)
            break;
        if (what == 0 && db_partition_count(m->table[t]) == 1) {
            st = add_range(m, b, t, s, err);
        } else if (what < 3) {
            st = vv_batch_delete(b, m->table[t], key_make(k, key), err);
            s->value[t][k] = st == VV_OK ? 0 : s->value[t][k];
        } else {
            st = add_put(m, b, t, k, s, err);
        }
    }
    return st;
}

typedef struct async_answer {
    int count;
    vv_status status;
    vv_write_result result;
    vv_error error;
} async_answer;

static void note_answer(void *ctx, vv_status status, const vv_write_result *result,
                        const vv_error *err)
{
    async_answer *a = ctx;
    a->count++;
    a->status = status;
    if (result != NULL)
        a->result = *result;
    if (err != NULL)
        a->error = *err;
}

/* Through vv_write or the queue, which without threads answers at once. */
static vv_status write_batch(model *m, vv_batch *b, vv_durability d, vv_write_result *r,
                             vv_error *err)
{
    if (vv_rng_one_in(&m->rng, 2))
        return vv_write(m->world.db, b, d, r, err);
    async_answer a = {0};
    vv_status st = vv_write_async(m->world.db, b, d, note_answer, &a, err);
    if (st != VV_OK)
        return st;
    assert_int_equal(a.count, 1);
    *r = a.result;
    *err = a.error;
    return a.status;
}

static outcome do_batch(model *m, unsigned t)
{
    vv_error err = {0};
    vv_write_result r = {0};
    model_state *s = next_state(m);
    vv_durability d = any_durability(m);
    vv_batch *b = vv_batch_create(m->world.db);
    vv_status st = b == NULL ? vv_fail(&err, VV_NO_MEMORY, "batch") : VV_OK;
    m->shard = MODEL_SHARDS;
    if (st == VV_OK)
        st = add_some(m, b, t, s, &err);
    /* Sometimes a second table of the same tenant, so of the same shard. */
    unsigned other = t == 0 ? 1 : t == 3 ? 4 : MODEL_TABLES;
    if (st == VV_OK && other < MODEL_TABLES && m->table[other] != NULL && vv_rng_one_in(&m->rng, 3))
        st = add_some(m, b, other, s, &err);
    if (st == VV_OK)
        st = write_batch(m, b, d, &r, &err);
    outcome o = settle(m, st, r.durability, &err);
    vv_batch_destroy(b);
    return o;
}

/* The condition matches the model or is made to fail. */
static outcome do_swap(model *m, unsigned t)
{
    static uint8_t old_bytes[VALUE_MAX];
    static uint8_t new_bytes[VALUE_MAX];
    vv_error err = {0};
    vv_write_result r = {0};
    char key[16];
    unsigned k = (unsigned)vv_rng_below(&m->rng, MODEL_KEYS);
    if (tables[t].kind != VV_TABLE_KV)
        return do_batch(m, t);
    model_state *s = next_state(m);
    uint64_t now = s->value[t][k];
    bool matches = !vv_rng_one_in(&m->rng, 3);
    uint64_t claim = matches ? now : (now == 0 ? 1 : 0);
    uint64_t id = m->next_id++;
    vv_slice old = claim == 0 ? vv_slice_of(NULL, 0) : value_make(claim, old_bytes);
    s->value[t][k] = id;
    vv_status st = vv_compare_and_swap(m->table[t], key_make(k, key), claim != 0, old,
                                       value_make(id, new_bytes), 0, any_durability(m), &r, &err);
    if (st == VV_OK && !matches)
        fail_msg("a swap went through on a wrong claim");
    if (st == VV_CONFLICT && matches)
        fail_msg("a swap was refused on a right claim: %s", err.msg);
    return settle(m, st, r.durability, &err);
}

static outcome do_producer(model *m, unsigned t)
{
    vv_error err = {0};
    vv_write_result r = {0};
    char name[8];
    model_state *s = next_state(m);
    m->shard = MODEL_SHARDS;
    unsigned k = any_key(m, t);
    unsigned p = (unsigned)vv_rng_below(&m->rng, MODEL_PRODUCERS);
    uint64_t *position = &s->position[m->shard][p];
    bool is_retry = *position > 0 && vv_rng_one_in(&m->rng, 3);
    uint64_t sequence = is_retry ? *position - vv_rng_below(&m->rng, 2) : *position + 1;
    (void)snprintf(name, sizeof name, "p%u", p);
    vv_batch *b = vv_batch_create(m->world.db);
    vv_status st = b == NULL ? vv_fail(&err, VV_NO_MEMORY, "batch") : VV_OK;
    if (st == VV_OK)
        st = vv_batch_producer(b, vv_slice_str(name), sequence, &err);
    if (st == VV_OK)
        st = add_some(m, b, t, s, &err);
    if (st == VV_OK) /* so that its state is told from the one before */
        st = add_put(m, b, t, k, s, &err);
    if (is_retry)
        *s = m->history[m->last];
    else
        *position = sequence;
    if (st == VV_OK)
        st = write_batch(m, b, any_durability(m), &r, &err);
    if (st == VV_OK && r.duplicate != is_retry)
        fail_msg("sequence %llu of producer %u was %s", (unsigned long long)sequence, p,
                 is_retry ? "written twice" : "taken for a retry");
    vv_batch_destroy(b);
    /* A retry that asks for sync makes what it repeats durable, and with it all before. */
    return settle(m, st, r.durability, &err);
}

static outcome do_create(model *m, unsigned t)
{
    vv_error err = {0};
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    opt.kind = tables[t].kind;
    if (m->mixed)
        opt.engine = t % 2 == 0 ? VV_ENGINE_LSM : VV_ENGINE_BTREE;
    if (m->spread)
        opt.partitions = 2 + t % 2;
    if (m->world.opt.engine != VV_ENGINE_BTREE) /* many values apart, or only the largest */
        opt.value_threshold = t % 2 == 0 ? 300 : 0;
    model_state *s = next_state(m);
    s->born[t] = m->next_id++;
    memset(s->value[t], 0, sizeof s->value[t]);
    vv_status st =
        vv_table_create(m->world.db, tables[t].tenant, tables[t].name, &opt, &m->table[t], &err);
    if (st != VV_OK) { /* its steps may be half done: whole or absent after the next open */
        m->table[t] = NULL;
        m->last++;
        m->last_unknown = true;
        return UNKNOWN;
    }
    return settle(m, st, VV_DURABLE_SYNC, &err);
}

static outcome do_drop(model *m, unsigned t)
{
    vv_error err = {0};
    model_state *s = next_state(m);
    s->born[t] = 0;
    memset(s->value[t], 0, sizeof s->value[t]);
    vv_status st = vv_table_drop(m->world.db, tables[t].tenant, tables[t].name, &err);
    if (st != VV_OK) {
        m->last++;
        m->last_unknown = true;
        return UNKNOWN;
    }
    vv_table_close(m->table[t]);
    m->table[t] = NULL;
    return settle(m, st, VV_DURABLE_SYNC, &err);
}

static outcome do_upkeep(model *m)
{
    vv_error err = {0};
    vv_status st = VV_OK;
    uint64_t what = vv_rng_below(&m->rng, 10);
    unsigned t = any_table(m);
    if (what == 0) {
        st = vv_checkpoint(m->world.db, &err);
        if (st == VV_OK)
            m->synced = m->os = m->last;
    } else if (what == 1 && t < MODEL_TABLES) {
        st = vv_compact(m->table[t], vv_slice_of(NULL, 0), vv_slice_of(NULL, 0), &err);
    } else if (what == 2) {
        vio_sim_advance(m->world.disk, (int64_t)vv_rng_below(&m->rng, 20) * VV_NS_PER_S);
    } else {
        for (unsigned i = 0; i < 4 && st == VV_OK; i++)
            st = db_step(m->world.db, &err);
    }
    return st != VV_OK && st != VV_NOT_FOUND && store_failed(m) ? UNKNOWN : REFUSED;
}

/* A read that was refused: allowed when the power went or damage was planted. */
static outcome refused_read(model *m, vv_status st, const vv_error *err)
{
    if (vio_sim_is_off(m->world.disk) || st == VV_NO_MEMORY || st == VV_IO || m->expect_damage)
        return store_failed(m) ? UNKNOWN : REFUSED;
    fail_msg("a read: %s: %s", vv_status_name(st), err->msg);
    return UNKNOWN;
}

/* A table dropped since the snapshot was taken has no handle to read it with. */
static void forget_reborn(const model *m, model_state *s)
{
    const model_state *now = &m->history[m->last];
    for (unsigned t = 0; t < MODEL_TABLES; t++)
        if (s->born[t] != now->born[t]) {
            s->born[t] = 0;
            memset(s->value[t], 0, sizeof s->value[t]);
        }
}

static outcome do_snapshot(model *m)
{
    vv_error err = {0};
    model_state actual;
    model_snapshot *snap = &m->snapshot[vv_rng_below(&m->rng, MODEL_SNAPSHOTS)];
    vv_status st;
    if (snap->at == NULL) {
        snap->state = m->history[m->last];
        st = vv_snapshot_create(m->world.db, &snap->at, &err);
        if (st != VV_OK)
            snap->at = NULL;
        return st == VV_OK ? REFUSED : refused_read(m, st, &err);
    }
    st = model_read(m, snap->at, &actual, &err);
    if (st != VV_OK)
        return refused_read(m, st, &err);
    forget_reborn(m, &snap->state);
    for (unsigned t = 0; t < MODEL_TABLES; t++)
        if (snap->state.born[t] == 0)
            memset(actual.value[t], 0, sizeof actual.value[t]);
    if (memcmp(snap->state.value, actual.value, sizeof actual.value) != 0)
        fail_msg("a snapshot changed");
    vv_snapshot_release(snap->at);
    snap->at = NULL;
    return REFUSED;
}

static outcome do_reads(model *m)
{
    vv_error err = {0};
    char key[16];
    unsigned t = any_table(m);
    if (t == MODEL_TABLES)
        return REFUSED;
    for (unsigned i = 0; i < 4; i++) {
        unsigned k = (unsigned)vv_rng_below(&m->rng, MODEL_KEYS);
        vv_value v;
        vv_status st = vv_get(m->table[t], NULL, key_make(k, key), &v, &err);
        if (st != VV_OK && st != VV_NOT_FOUND)
            return refused_read(m, st, &err);
        uint64_t want = m->history[m->last].value[t][k];
        vv_record r;
        if ((st == VV_OK) != (want != 0))
            fail_msg("table %u key %u is %s", t, k, st == VV_OK ? "there" : "gone");
        if (st != VV_OK)
            continue;
        vv_slice data = v.data;
        if (tables[t].kind == VV_TABLE_RECORD) {
            assert_ok(vv_record_parse(v.data, &r, &err), err);
            data = r.body;
        }
        if (value_id(data) != want)
            fail_msg("table %u key %u has the value %llu instead of %llu", t, k,
                     (unsigned long long)value_id(data), (unsigned long long)want);
        vv_value_release(&v);
    }
    return REFUSED;
}

static outcome do_any(model *m)
{
    unsigned t = any_table(m);
    uint64_t what = vv_rng_below(&m->rng, 100);
    if (t == MODEL_TABLES || what < 6) {
        unsigned any = (unsigned)vv_rng_below(&m->rng, MODEL_TABLES);
        if (m->table[any] == NULL)
            return do_create(m, any);
        return what < 1 ? do_drop(m, any) : do_reads(m);
    }
    if (what < 50)
        return do_batch(m, t);
    if (what < 60)
        return do_swap(m, t);
    if (what < 70)
        return do_producer(m, t);
    if (what < 76)
        return do_snapshot(m);
    if (what < 84)
        return do_reads(m);
    return do_upkeep(m);
}

model_end model_run(model *m, unsigned count)
{
    for (unsigned i = 0; i < count && m->last < MODEL_HISTORY; i++)
        if (do_any(m) == UNKNOWN)
            return MODEL_FAILED;
    return MODEL_DONE;
}
