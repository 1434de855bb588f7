/*
 * vio_sim_cut_test.c - what a power cut and a kill leave of a simulated disk.
 *
 * Each law is checked in both directions: that nothing outside it ever happens, and that everything
 * it allows does happen, because a disk that always loses (or always keeps) proves nothing about a
 * store.
 */
#include "vv_test.h"

#include <string.h>

#include "base/hash.h"
#include "base/point.h"
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

/* A synced file of len bytes of fill, its name synced too. */
static void base_file(vio *io, const char *path, uint8_t fill, size_t len)
{
    static uint8_t data[64 * 1024];
    assert_true(len <= sizeof data);
    memset(data, fill, len);
    vio_file *file = must_open(io, path, VIO_WRITE | VIO_CREATE);
    must_write(file, 0, data, len);
    assert_ok(vio_sync(file, &err), err);
    assert_ok(vio_sync_dir(io, "", &err), err);
    vio_close(file);
}

static bool exists(vio *io, const char *path)
{
    vio_file *file = NULL;
    vv_status st = vio_open(io, path, VIO_READ, &file, &err);
    vio_close(file);
    assert_true(st == VV_OK || st == VV_NOT_FOUND);
    return st == VV_OK;
}

static size_t read_whole(vio *io, const char *path, uint8_t *buf, size_t max)
{
    vio_file *file = must_open(io, path, VIO_READ);
    size_t got = 0;
    assert_ok(vio_pread(file, 0, buf, max, &got, &err), err);
    vio_close(file);
    return got;
}

/* --- the call the power fails in -------------------------------------------------------------- */

static void a_cut_inside_a_dsync_write_tears_it(void **state)
{
    (void)state;
    int whole = 0;
    int none = 0;
    int part = 0;
    static uint8_t data[8192];
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        vio_sim_disk *disk = vio_sim_disk_create();
        vio *io = power_on(disk, seed, 0, true);
        base_file(io, "f", 1, sizeof data);
        vio_destroy(io);
        io = power_on(disk, seed, 2, true);
        vio_file *file = must_open(io, "f", VIO_WRITE | VIO_DSYNC);
        memset(data, 2, sizeof data);
        must_write(file, 0, data, 512);
        assert_status(VV_IO, vio_pwrite(file, 0, data, sizeof data, &err));
        assert_true(vio_sim_is_off(disk));
        assert_non_null(strstr(vio_sim_trace(disk), "cut at call 2: write 'f'"));
        vio_close(file);
        vio_destroy(io);
        vio_sim_disk_settle(disk);
        io = power_on(disk, seed, 0, true);
        assert_int_equal(read_whole(io, "f", data, sizeof data), sizeof data);
        size_t twos = 0;
        for (size_t i = 0; i < sizeof data; i++) {
            assert_true(data[i] == 1 || data[i] == 2);
            twos += data[i] == 2;
        }
        for (size_t i = 0; i < 512; i++)
            assert_int_equal(data[i], 2); /* acknowledged before */
        whole += twos == sizeof data;
        none += twos == 512;
        part += twos > 512 && twos < sizeof data;
        vio_destroy(io);
        vio_sim_disk_destroy(disk);
    }
    assert_true(whole > 5 && none > 5 && part > 100);
}

static void after_a_cut_every_call_says_power_is_off(void **state)
{
    (void)state;
    vio_sim_disk *disk = vio_sim_disk_create();
    vio *io = power_on(disk, 1, 0, true);
    static uint8_t zeros[4096];
    vio_file *file = must_open(io, "f", VIO_READ | VIO_WRITE | VIO_CREATE);
    must_write(file, 0, zeros, sizeof zeros);
    uint8_t *map = NULL;
    assert_ok(vio_map(file, sizeof zeros, &map, &err), err);
    vio_sim_cut(disk);
    vio *second = NULL;
    for (int round = 0; round < 2; round++) { /* also after the disk is on again */
        vio_file *other = NULL;
        uint8_t *map2 = NULL;
        uint8_t buf[8];
        size_t got = 0;
        uint64_t n = 0;
        const vv_status answers[] = {
            vio_open(io, "f", VIO_READ, &other, &err),
            vio_open(io, "g", VIO_WRITE | VIO_CREATE, &other, &err),
            vio_rename(io, "f", "g", &err),
            vio_remove(io, "f", &err),
            vio_link(io, "f", "g", &err),
            vio_mkdir(io, "d", &err),
            vio_list(io, "", NULL, NULL, &err),
            vio_sync_dir(io, "", &err),
            vio_lock(io, "LOCK", &other, &err),
            vio_pread(file, 0, buf, 8, &got, &err),
            vio_pwrite(file, 0, buf, 0, &err),
            vio_sync(file, &err),
            vio_size(file, &n, &err),
            vio_truncate(file, 0, &err),
            vio_allocate(file, 8192, &err),
            vio_map(file, 4096, &map2, &err),
        };
        for (size_t i = 0; i < ARRAY_LEN(answers); i++)
            if (answers[i] != VV_IO)
                fail_msg("call %zu of round %d: %s", i, round, vv_status_name(answers[i]));
        assert_non_null(strstr(err.msg, "power is off"));
        if (round == 0) {
            vio_sim_disk_settle(disk);
            second = power_on(disk, 2, 0, true);
        }
    }
    vio_unmap(file, map, sizeof zeros);
    vio_close(file);
    vio_destroy(io);
    vio_destroy(second);
    vio_sim_disk_destroy(disk);
}

/* --- names ------------------------------------------------------------------------------------ */

typedef struct name_case {
    const char *name;
    void (*change)(vio *io);
    const char *paths[3]; /* looked at after the cut, as bits of the outcome */
    unsigned possible;    /* a bit for each outcome that must be seen; no other may be */
} name_case;

static void create_two(vio *io)
{
    vio_close(must_open(io, "new1", VIO_WRITE | VIO_CREATE));
    vio_close(must_open(io, "new2", VIO_WRITE | VIO_CREATE));
}

static void create_two_synced(vio *io)
{
    create_two(io);
    assert_ok(vio_sync_dir(io, "", &err), err);
}

static void remove_two(vio *io)
{
    assert_ok(vio_remove(io, "a", &err), err);
    assert_ok(vio_remove(io, "b", &err), err);
}

static void rename_one(vio *io)
{
    assert_ok(vio_rename(io, "a", "new1", &err), err);
}

static void rename_one_synced(vio *io)
{
    rename_one(io);
    assert_ok(vio_sync_dir(io, "", &err), err);
}

static void rename_into_directory(vio *io)
{
    assert_ok(vio_rename(io, "a", "d/x", &err), err);
    assert_ok(vio_sync_dir(io, "", &err), err); /* not the directory of the new name */
}

static void create_in_lost_directory(vio *io)
{
    assert_ok(vio_mkdir(io, "e", &err), err);
    vio_close(must_open(io, "e/x", VIO_WRITE | VIO_CREATE));
    assert_ok(vio_sync_dir(io, "e", &err), err);
}

static void link_one(vio *io)
{
    assert_ok(vio_link(io, "a", "new1", &err), err);
    assert_ok(vio_remove(io, "a", &err), err);
}

static void replace_by_atomic_write(vio *io)
{
    assert_ok(vio_write_file_atomic(io, "new1", vv_slice_str("x"), &err), err);
}

#define SEEN(x) (1u << (x))
static const name_case name_cases[] = {
    {"creations are lost one by one",
     create_two,
     {"new1", "new2"},
     SEEN(0) | SEEN(1) | SEEN(2) | SEEN(3)},
    {"synced creations stay", create_two_synced, {"new1", "new2"}, SEEN(3)},
    {"removals are lost one by one", remove_two, {"a", "b"}, SEEN(0) | SEEN(1) | SEEN(2) | SEEN(3)},
    {"a rename is whole or not at all", rename_one, {"a", "new1"}, SEEN(1) | SEEN(2)},
    {"a synced rename stays", rename_one_synced, {"a", "new1"}, SEEN(2)},
    {"a rename needs the sync of its new directory",
     rename_into_directory,
     {"a", "d/x"},
     SEEN(1) | SEEN(2)},
    {"a file is lost with its directory", create_in_lost_directory, {"e/x"}, SEEN(0) | SEEN(1)},
    {"a link and a removal are two changes",
     link_one,
     {"a", "new1"},
     SEEN(0) | SEEN(1) | SEEN(2) | SEEN(3)},
    {"an atomic write stays", replace_by_atomic_write, {"new1"}, SEEN(1)},
};

static unsigned name_outcome(const name_case *c, uint64_t seed)
{
    vio_sim_disk *disk = vio_sim_disk_create();
    vio *io = power_on(disk, seed, 0, true);
    base_file(io, "a", 1, 10);
    base_file(io, "b", 1, 10);
    assert_ok(vio_mkdir(io, "d", &err), err);
    assert_ok(vio_sync_dir(io, "", &err), err);
    c->change(io);
    vio_destroy(io);
    vio_sim_disk_settle(disk);
    io = power_on(disk, seed, 0, true);
    unsigned got = 0;
    for (size_t p = 0; p < ARRAY_LEN(c->paths) && c->paths[p] != NULL; p++)
        got |= exists(io, c->paths[p]) ? 1u << p : 0;
    vio_destroy(io);
    vio_sim_disk_destroy(disk);
    return got;
}

static void names_survive_a_cut_as_documented(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(name_cases); i++) {
        unsigned seen = 0;
        for (uint64_t seed = 0; seed < SEEDS; seed++)
            seen |= SEEN(name_outcome(&name_cases[i], seed));
        if (seen != name_cases[i].possible)
            fail_msg("%s: outcomes 0x%x instead of 0x%x", name_cases[i].name, seen,
                     name_cases[i].possible);
    }
}

static void renamed_content_is_only_as_durable_as_its_sync(void **state)
{
    (void)state;
    int lost = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        vio_sim_disk *disk = vio_sim_disk_create();
        vio *io = power_on(disk, seed, 0, true);
        vio_file *file = must_open(io, "f.tmp", VIO_WRITE | VIO_CREATE);
        must_write(file, 0, "text", 4); /* and no sync: the mistake this disk must show */
        vio_close(file);
        assert_ok(vio_rename(io, "f.tmp", "f", &err), err);
        assert_ok(vio_sync_dir(io, "", &err), err);
        vio_destroy(io);
        vio_sim_disk_settle(disk);
        io = power_on(disk, seed, 0, true);
        uint8_t buf[8] = {0};
        size_t got = read_whole(io, "f", buf, sizeof buf);
        lost += got != 4 || memcmp(buf, "text", 4) != 0;
        vio_destroy(io);
        vio_sim_disk_destroy(disk);
    }
    assert_true(lost > SEEDS / 4 && lost < SEEDS);
}

static void length_changes_are_pending_until_synced(void **state)
{
    (void)state;
    unsigned seen = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        vio_sim_disk *disk = vio_sim_disk_create();
        vio *io = power_on(disk, seed, 0, true);
        base_file(io, "grows", 1, 1000);
        base_file(io, "shrinks", 1, 5000);
        base_file(io, "synced", 1, 5000);
        vio_file *file = must_open(io, "grows", VIO_WRITE);
        uint8_t tail[2000];
        memset(tail, 7, sizeof tail);
        assert_ok(vio_allocate(file, 9000, &err), err);
        must_write(file, 1000, tail, sizeof tail);
        vio_close(file);
        file = must_open(io, "shrinks", VIO_WRITE);
        assert_ok(vio_truncate(file, 10, &err), err);
        vio_close(file);
        file = must_open(io, "synced", VIO_WRITE);
        assert_ok(vio_truncate(file, 10, &err), err);
        assert_ok(vio_sync(file, &err), err);
        vio_close(file);
        vio_destroy(io);
        vio_sim_disk_settle(disk);
        io = power_on(disk, seed, 0, true);
        static uint8_t buf[10000];
        size_t n = read_whole(io, "grows", buf, sizeof buf);
        assert_true(n == 1000 || n == 9000);
        for (size_t i = 1000; i < n; i++)
            assert_true(buf[i] == 0 || (i < 3000 && buf[i] == 7));
        seen |= n == 1000 ? 1 : 2;
        file = must_open(io, "grows", VIO_READ | VIO_WRITE); /* what was cut off is zero again */
        assert_ok(vio_truncate(file, 9000, &err), err);
        assert_ok(vio_pread_full(file, 1000, buf, 8000, &err), err);
        for (size_t i = 0; i < 8000; i++)
            assert_true(buf[i] == 0 || (i < 2000 && n == 9000 && buf[i] == 7));
        vio_close(file);
        n = read_whole(io, "shrinks", buf, sizeof buf);
        assert_true(n == 5000 || n == 10);
        seen |= n == 5000 ? 4 : 8;
        assert_int_equal(read_whole(io, "synced", buf, sizeof buf), 10);
        vio_destroy(io);
        vio_sim_disk_destroy(disk);
    }
    assert_int_equal(seen, 15);
}

/* --- maps ------------------------------------------------------------------------------------- */

enum { RING_PAGES = 8, RING_LEN = RING_PAGES * 4096 };

/* A ring whose pages were stored as 1, 2, 3 with calls between, then cut, then stored as 4. */
static void ring_to_cut(vio_sim_disk *disk, uint64_t seed, bool kill)
{
    vio *io = power_on(disk, seed, 0, false);
    base_file(io, "ring", 0, RING_LEN);
    vio_file *file = must_open(io, "ring", VIO_READ | VIO_WRITE);
    vio_file *log = must_open(io, "log", VIO_WRITE | VIO_CREATE);
    uint8_t *map = NULL;
    assert_ok(vio_map(file, RING_LEN, &map, &err), err);
    for (uint8_t age = 1; age <= 3; age++) {
        memset(map, age, RING_LEN);
        for (int i = 0; i < 4; i++)
            must_write(log, 0, "x", 1);
    }
    if (kill)
        vio_sim_disk_kill(disk);
    else
        vio_sim_cut(disk);
    memset(map, 4, RING_LEN); /* the dead process goes on storing: it reaches nothing */
    vio_unmap(file, map, RING_LEN);
    vio_close(file);
    vio_close(log);
    vio_destroy(io);
}

static void map_pages_are_of_any_age_after_a_cut(void **state)
{
    (void)state;
    unsigned seen = 0;
    int mixed = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        vio_sim_disk *disk = vio_sim_disk_create();
        ring_to_cut(disk, seed, false);
        vio_sim_disk_settle(disk);
        vio *io = power_on(disk, seed, 0, false);
        static uint8_t ring[RING_LEN];
        assert_int_equal(read_whole(io, "ring", ring, sizeof ring), RING_LEN);
        unsigned here = 0;
        for (size_t p = 0; p < RING_PAGES; p++) {
            for (size_t i = 1; i < 4096; i++)
                assert_int_equal(ring[p * 4096 + i], ring[p * 4096]);
            assert_in_range(ring[p * 4096], 0, 3);
            here |= 1u << ring[p * 4096];
        }
        mixed += (here & (here - 1)) != 0;
        seen |= here;
        vio_destroy(io);
        vio_sim_disk_destroy(disk);
    }
    assert_int_equal(seen, 15);
    assert_true(mixed > SEEDS / 4);
}

static void a_kill_keeps_maps_and_writes_until_the_next_cut(void **state)
{
    (void)state;
    int lost = 0;
    for (uint64_t seed = 0; seed < 100; seed++) {
        vio_sim_disk *disk = vio_sim_disk_create();
        ring_to_cut(disk, seed, true);
        vio *io = power_on(disk, seed, 0, false);
        static uint8_t ring[RING_LEN];
        assert_int_equal(read_whole(io, "ring", ring, sizeof ring), RING_LEN);
        for (size_t i = 0; i < RING_LEN; i++)
            assert_int_equal(ring[i], 3);
        assert_true(exists(io, "log"));
        vio_destroy(io);
        vio_sim_disk_settle(disk);
        io = power_on(disk, seed, 0, false);
        (void)read_whole(io, "ring", ring, sizeof ring);
        lost += ring[0] != 3 || !exists(io, "log");
        vio_destroy(io);
        vio_sim_disk_destroy(disk);
    }
    assert_true(lost > 20 && lost < 100);
}

static void a_synced_map_survives(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        vio_sim_disk *disk = vio_sim_disk_create();
        vio *io = power_on(disk, seed, 0, true);
        base_file(io, "ring", 0, RING_LEN);
        vio_file *file = must_open(io, "ring", VIO_READ | VIO_WRITE);
        uint8_t *map = NULL;
        assert_ok(vio_map(file, RING_LEN, &map, &err), err);
        memset(map, 9, RING_LEN);
        assert_ok(vio_sync(file, &err), err);
        vio_unmap(file, map, RING_LEN);
        vio_close(file);
        vio_destroy(io);
        vio_sim_disk_settle(disk);
        io = power_on(disk, seed, 0, true);
        static uint8_t ring[RING_LEN];
        (void)read_whole(io, "ring", ring, sizeof ring);
        for (size_t i = 0; i < RING_LEN; i++)
            assert_int_equal(ring[i], 9);
        vio_destroy(io);
        vio_sim_disk_destroy(disk);
    }
}

/* --- walking, determinism --------------------------------------------------------------------- */

/* A small store: numbered records in a log, a pointer file replaced now and then. Stops at the
 * first failure. Gives how many records were acknowledged. */
static unsigned workload(vio *io, uint64_t seed)
{
    vv_rng rng;
    vv_rng_init(&rng, seed);
    unsigned acked = 0;
    vio_file *log = NULL;
    if (vio_open(io, "log", VIO_READ | VIO_WRITE | VIO_CREATE, &log, &err) != VV_OK)
        return 0;
    vv_status st = vio_sync_dir(io, "", &err);
    for (unsigned i = 0; st == VV_OK && i < 20; i++) {
        uint8_t record[700];
        memset(record, (int)(i + 1), sizeof record);
        st = vio_pwrite(log, i * sizeof record, record, sizeof record, &err);
        if (st == VV_OK)
            st = vio_sync(log, &err);
        if (st == VV_OK)
            acked = i + 1;
        if (st == VV_OK && vv_rng_one_in(&rng, 4))
            st = vio_write_file_atomic(io, "CURRENT", vv_slice_of(record, 100), &err);
    }
    vio_close(log);
    return acked;
}

static void check_acked(vio *io, unsigned acked, const char *when)
{
    static uint8_t log[20000];
    size_t got = acked == 0 ? 0 : read_whole(io, "log", log, sizeof log);
    if (got < acked * 700)
        fail_msg("%s: %u records acknowledged, %zu bytes there", when, acked, got);
    for (size_t i = 0; i < acked * 700; i++)
        if (log[i] != i / 700 + 1)
            fail_msg("%s: record %zu is damaged", when, i / 700);
    if (exists(io, "CURRENT"))
        assert_int_equal(read_whole(io, "CURRENT", log, sizeof log), 100);
}

static void every_cut_site_keeps_what_was_acknowledged(void **state)
{
    (void)state;
    for (uint64_t n = 1;; n++) {
        for (uint64_t seed = 0; seed < 10; seed++) {
            vio_sim_disk *disk = vio_sim_disk_create();
            vio *io = power_on(disk, seed, n, true);
            unsigned acked = workload(io, seed / 2);
            vio_destroy(io);
            bool cut = vio_sim_is_off(disk);
            vio_sim_disk_settle(disk);
            io = power_on(disk, seed, 0, true);
            check_acked(io, acked, vio_sim_trace(disk));
            vio_destroy(io);
            vio_sim_disk_destroy(disk);
            if (!cut && seed == 0) {
                assert_true(n > 40);
                return;
            }
        }
    }
}

static void mix_file(void *ctx, const char *path, uint64_t size)
{
    uint64_t *hash = ctx;
    *hash = vv_hash64_seed(path, strlen(path), *hash) ^ size;
}

static uint64_t run_once(uint64_t seed)
{
    vio_sim_disk *disk = vio_sim_disk_create();
    vio_sim_options opt = {.seed = seed,
                           .cut_after_writes = 1 + seed % 50,
                           .tear = true,
                           .fault = (vio_sim_fault)(seed % (VIO_SIM_MISDIRECT + 1)),
                           .fault_at = 1 + seed % 7};
    vio *io = NULL;
    assert_ok(vio_sim_open(disk, &opt, &io, &err), err);
    (void)workload(io, seed);
    vio_destroy(io);
    vio_sim_disk_settle(disk);
    io = power_on(disk, seed, 0, true);
    (void)workload(io, seed + 1);
    static uint8_t log[20000];
    if (exists(io, "log"))
        (void)read_whole(io, "log", log, sizeof log);
    uint64_t hash = vio_sim_event_hash(disk);
    vio_sim_each_file(disk, mix_file, &hash);
    vio_destroy(io);
    vio_sim_disk_destroy(disk);
    return hash;
}

static void prop_the_same_seed_gives_the_same_events(void **state)
{
    (void)state;
    uint64_t before = 0;
    uint64_t first = vv_test_seed(0);
    for (uint64_t seed = first; seed < first + SEEDS; seed++) {
        uint64_t hash = run_once(seed);
        if (hash != run_once(seed))
            fail_msg("VV_SEED=0x%llx: two runs differ", (unsigned long long)seed);
        assert_true(hash != before);
        before = hash;
    }
}

static void publications_are_cut_sites(void **state)
{
    (void)state;
    vio_sim_disk *disk = vio_sim_disk_create();
    vio *io = power_on(disk, 1, 3, true);
    vio_sim_publish(disk);
    vio_sim_publish(disk);
    assert_false(vio_sim_is_off(disk));
    vio_sim_publish(disk);
    assert_true(vio_sim_is_off(disk));
    vio_sim_publish(disk);
    assert_int_equal(vio_sim_write_count(disk), 3);
    vio_destroy(io);
    vio_sim_disk_destroy(disk);
}

#ifdef VV_TEST_HOOKS
static void bug_6_loses_names_that_were_synced(void **state)
{
    (void)state;
    vv_bug_plant(6);
    unsigned seen = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++)
        seen |= SEEN(name_outcome(&name_cases[1], seed));
    vv_bug_plant(0);
    assert_int_equal(seen, SEEN(0) | SEEN(1) | SEEN(2) | SEEN(3));
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cut_inside_a_dsync_write_tears_it),
        cmocka_unit_test(after_a_cut_every_call_says_power_is_off),
        cmocka_unit_test(names_survive_a_cut_as_documented),
        cmocka_unit_test(renamed_content_is_only_as_durable_as_its_sync),
        cmocka_unit_test(length_changes_are_pending_until_synced),
        cmocka_unit_test(map_pages_are_of_any_age_after_a_cut),
        cmocka_unit_test(a_kill_keeps_maps_and_writes_until_the_next_cut),
        cmocka_unit_test(a_synced_map_survives),
        cmocka_unit_test(every_cut_site_keeps_what_was_acknowledged),
        cmocka_unit_test(prop_the_same_seed_gives_the_same_events),
        cmocka_unit_test(publications_are_cut_sites),
#ifdef VV_TEST_HOOKS
        cmocka_unit_test(bug_6_loses_names_that_were_synced),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
