/*
 * vio_sim_sector_test.c - a model of one file on the simulated disk: every version of every sector
 * since the last sync, and every length. What a cut leaves must be one of them, and all kinds of
 * them must turn up. VV_CUTS=n runs n cuts instead of the push size.
 */
#include "vv_test.h"

#include <string.h>

#include "base/rng.h"
#include "io/vio.h"
#include "io/vio_sim.h"

#define SEEDS 400

static vv_error err;

static vio *power_on(vio_sim_disk *disk, uint64_t seed, uint64_t cut, bool tear)
{
    vio *io = NULL;
    vio_sim_options opt = {.seed = seed, .cut_after_writes = cut, .tear = tear};
    assert_ok(vio_sim_open(disk, &opt, &io, &err), err);
    return io;
}

static vio_file *must_open(vio *io, const char *path, unsigned flags)
{
    vio_file *file = NULL;
    assert_ok(vio_open(io, path, flags, &file, &err), err);
    return file;
}

static void must_write(vio_file *file, uint64_t at, const void *data, size_t len)
{
    assert_ok(vio_pwrite(file, at, data, len, &err), err);
}

static size_t read_whole(vio *io, const char *path, uint8_t *buf, size_t max)
{
    vio_file *file = must_open(io, path, VIO_READ);
    size_t got = 0;
    assert_ok(vio_pread(file, 0, buf, max, &got, &err), err);
    vio_close(file);
    return got;
}

enum { MODEL_SECTORS = 24, MODEL_VERSIONS = 64, MODEL_LEN = MODEL_SECTORS * 512 };

typedef struct model {
    uint8_t versions[MODEL_SECTORS][MODEL_VERSIONS][512]; /* [0] is durable, the last is newest */
    size_t count[MODEL_SECTORS];
    uint64_t sizes[MODEL_VERSIONS * 4]; /* [0] is durable */
    size_t size_count;
} model;

static void model_init(model *m)
{
    memset(m, 0, sizeof *m);
    for (size_t s = 0; s < MODEL_SECTORS; s++)
        m->count[s] = 1;
    m->size_count = 1;
}

static void model_write(model *m, uint64_t at, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len;) {
        size_t s = (at + i) / 512;
        size_t from = (at + i) % 512;
        size_t n = len - i < 512 - from ? len - i : 512 - from;
        assert_true(m->count[s] < MODEL_VERSIONS);
        uint8_t *next = m->versions[s][m->count[s]];
        memcpy(next, m->versions[s][m->count[s] - 1], 512);
        memcpy(next + from, data + i, n);
        m->count[s]++;
        i += n;
    }
    /* The length grows page by page, as write-back does it. */
    uint64_t size = m->sizes[m->size_count - 1];
    for (uint64_t page = at / 4096 * 4096 + 4096; page < at + len; page += 4096)
        if (page > size)
            m->sizes[m->size_count++] = page;
    if (at + len > size)
        m->sizes[m->size_count++] = at + len;
}

static void model_sync(model *m, uint64_t from, uint64_t len, bool size_too)
{
    for (size_t s = from / 512; s < MODEL_SECTORS && s * 512 < from + len; s++) {
        memmove(m->versions[s][0], m->versions[s][m->count[s] - 1], 512);
        m->count[s] = 1;
    }
    if (size_too) {
        m->sizes[0] = m->sizes[m->size_count - 1];
        m->size_count = 1;
    }
}

typedef struct outcome {
    int oldest;
    int middle;
    int newest;
    int torn;
} outcome;

/* Which version of the sector this is; a torn one is a prefix of one over the rest of another. */
static bool model_accepts(const model *m, size_t s, const uint8_t *got, size_t len, outcome *o)
{
    size_t prefix = 0;
    size_t suffix = 0;
    for (size_t v = m->count[s]; v-- > 0;) {
        const uint8_t *want = m->versions[s][v];
        if (memcmp(want, got, len) == 0) {
            if (m->count[s] > 1)
                *(v == 0 ? &o->oldest : v == m->count[s] - 1 ? &o->newest : &o->middle) += 1;
            return true;
        }
        size_t p = 0;
        size_t q = 0;
        while (p < len && want[p] == got[p])
            p++;
        while (q < len && want[len - 1 - q] == got[len - 1 - q])
            q++;
        prefix = p > prefix ? p : prefix;
        suffix = q > suffix ? q : suffix;
    }
    o->torn++;
    return prefix + suffix >= len;
}

static void model_check(const model *m, const uint8_t *got, uint64_t size, outcome *o,
                        uint64_t seed)
{
    bool known = false;
    for (size_t i = 0; i < m->size_count; i++)
        known = known || m->sizes[i] == size;
    if (!known)
        fail_msg("VV_SEED=0x%llx: a length that never was: %llu", (unsigned long long)seed,
                 (unsigned long long)size);
    for (size_t s = 0; s * 512 < size; s++) {
        size_t len = size - s * 512 < 512 ? (size_t)(size - s * 512) : 512;
        if (!model_accepts(m, s, got + s * 512, len, o))
            fail_msg("VV_SEED=0x%llx: sector %zu holds bytes that never were",
                     (unsigned long long)seed, s);
    }
}

/* Random writes and syncs of one file; then a cut. */
static void model_run(uint64_t seed, bool tear, unsigned flags, outcome *o)
{
    static model m;
    model_init(&m);
    vv_rng rng;
    vv_rng_init(&rng, seed);
    vio_sim_disk *disk = vio_sim_disk_create();
    vio *io = power_on(disk, seed, 0, tear);
    vio_file *file = must_open(io, "f", VIO_READ | VIO_WRITE | VIO_CREATE | flags);
    assert_ok(vio_sync_dir(io, "", &err), err);
    for (uint64_t i = vv_rng_below(&rng, 40); i > 0; i--) {
        uint8_t data[4096];
        uint64_t at = vv_rng_below(&rng, MODEL_LEN - 1);
        size_t len = 1 + (size_t)vv_rng_below(&rng, vv_min_u64(MODEL_LEN - at, sizeof data));
        vv_rng_bytes(&rng, data, len);
        if (vv_rng_one_in(&rng, 8)) {
            assert_ok(vio_sync(file, &err), err);
            model_sync(&m, 0, MODEL_LEN, true);
        } else {
            must_write(file, at, data, len);
            model_write(&m, at, data, len);
            if (flags & VIO_DSYNC)
                model_sync(&m, at, len, true);
        }
    }
    vio_close(file);
    vio_sim_cut(disk);
    vio_destroy(io);
    vio_sim_disk_settle(disk);
    io = power_on(disk, seed + 1, 0, tear);
    static uint8_t got[MODEL_LEN];
    uint64_t size = read_whole(io, "f", got, sizeof got);
    model_check(&m, got, size, o, seed);
    vio_destroy(io);
    /* What was settled is durable: another cut changes nothing. */
    vio_sim_disk_settle(disk);
    io = power_on(disk, seed + 2, 0, tear);
    static uint8_t again[MODEL_LEN];
    assert_int_equal(read_whole(io, "f", again, sizeof again), size);
    assert_memory_equal(again, got, size);
    vio_destroy(io);
    vio_sim_disk_destroy(disk);
}

static void prop_a_cut_leaves_old_new_or_torn_sectors(void **state)
{
    (void)state;
    outcome o = {0};
    uint64_t seed = vv_test_seed(100);
    uint64_t count = vv_test_count("VV_CUTS", 2000);
    for (uint64_t i = 0; i < count; i++)
        model_run(seed + i, true, 0, &o);
    assert_true(o.oldest > 100 && o.newest > 100 && o.middle > 20 && o.torn > 100);
}

static void prop_without_tearing_sectors_stay_whole(void **state)
{
    (void)state;
    outcome o = {0};
    uint64_t seed = vv_test_seed(200);
    for (uint64_t i = 0; i < SEEDS; i++)
        model_run(seed + i, false, 0, &o);
    assert_true(o.oldest > 100 && o.newest > 100);
    assert_int_equal(o.torn, 0);
}

static void prop_dsync_writes_are_durable_when_they_return(void **state)
{
    (void)state;
    outcome o = {0};
    uint64_t seed = vv_test_seed(300);
    for (uint64_t i = 0; i < SEEDS; i++)
        model_run(seed + i, true, VIO_DSYNC, &o);
    assert_int_equal(o.oldest + o.middle + o.newest + o.torn, 0); /* nothing was ever pending */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prop_a_cut_leaves_old_new_or_torn_sectors),
        cmocka_unit_test(prop_without_tearing_sectors_stay_whole),
        cmocka_unit_test(prop_dsync_writes_are_durable_when_they_return),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
