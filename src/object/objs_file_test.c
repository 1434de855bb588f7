/*
 * objs_file_test.c - objects in a directory over power cuts, faults and damage of the disk.
 */
#include "vv_test.h"

#include <string.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/rng.h"
#include "io/vio_sim.h"
#include "object/objs_file.h"

static vv_error err;
static vv_object_outcome oc;

#define NAMES 4u
#define VERSIONS 6u

/* What the workload knows of a name: what was acknowledged last, what may be there beside it. */
typedef struct known {
    int acked; /* version; 0: none */
    bool maybe[VERSIONS + 1];
} known;

static void content(unsigned name, int version, char out[200], size_t *len)
{
    *len = (size_t)snprintf(out, 200, "name %u version %d ", name, version);
    for (size_t i = *len; i < 150 + (size_t)version * 7; i++)
        out[i] = (char)('a' + (i + (size_t)version) % 26);
    *len = 150 + (size_t)version * 7;
}

static void name_of(unsigned i, char out[40])
{
    (void)snprintf(out, 40, i % 2 == 0 ? "dir/%u/o" : "o%u", i);
}

static vv_status open_on(vio *io, vv_clock *clock, uint64_t seed, vv_object_store **out)
{
    vv_env env = {.io = io, .clock = clock, .seed = seed};
    vv_object_options opt = VV_OBJECT_OPTIONS_INIT;
    opt.backend = "file";
    opt.max_retries = 0;
    return objs_open(&env, &opt, out, &err);
}

static void note(known *k, int version, vv_status st)
{
    if (st == VV_OK) {
        memset(k->maybe, 0, sizeof k->maybe);
        k->acked = version;
        k->maybe[version] = true;
    } else if (oc.unknown) {
        k->maybe[version] = true;
    }
}

static vv_status put_one(vv_object_store *s, unsigned i, int version, known *k)
{
    char name[40];
    char text[200];
    size_t len;
    name_of(i, name);
    content(i, version, text, &len);
    vv_slice piece = vv_slice_of(text, len);
    bool create = k->acked == 0 && !k->maybe[0];
    for (int v = 1; v <= (int)VERSIONS; v++)
        create = create && !k->maybe[v];
    vv_status st =
        vv_object_put(s, name, &piece, 1, create ? VV_OBJECT_CREATE : 0, NULL, &oc, &err);
    note(k, version, st);
    return st;
}

static vv_status upload_one(vv_object_store *s, unsigned i, int version, known *k)
{
    char name[40];
    char text[200];
    size_t len;
    vv_object_upload *u = NULL;
    name_of(i, name);
    content(i, version, text, &len);
    vv_slice a = vv_slice_of(text, 50);
    vv_slice b = vv_slice_of(text + 50, len - 50);
    vv_status st = vv_object_upload_begin(s, name, 0, &u, &oc, &err);
    if (st == VV_OK)
        st = vv_object_upload_part(u, 1, &a, 1, &oc, &err);
    if (st == VV_OK)
        st = vv_object_upload_part(u, 2, &b, 1, &oc, &err);
    if (st == VV_OK) {
        st = vv_object_upload_complete(u, NULL, &oc, &err);
        note(k, version, st);
        if (st == VV_OK)
            u = NULL;
    }
    vv_status ignored = vv_object_upload_abort(u, NULL, NULL);
    (void)ignored;
    return st;
}

/* Until a call fails. */
static void work(vv_object_store *s, known *k, uint64_t seed)
{
    vv_rng rng;
    vv_rng_init(&rng, seed);
    for (int version = 1; version <= (int)VERSIONS; version++)
        for (unsigned i = 0; i < NAMES; i++) {
            vv_status st;
            char name[40];
            uint64_t dice = vv_rng_below(&rng, 8);
            name_of(i, name);
            if (dice == 0 && k[i].acked != 0) {
                st = vv_object_remove(s, name, &oc, &err);
                note(&k[i], 0, st);
            } else if (dice == 1) {
                st = upload_one(s, i, version, &k[i]);
            } else {
                st = put_one(s, i, version, &k[i]);
            }
            if (st != VV_OK)
                return;
        }
}

/* What is read must be what was acknowledged last, or what was of unknown outcome since. */
static bool check_one(vv_object_store *s, unsigned i, const known *k)
{
    char name[40];
    char text[200];
    char back[400];
    size_t len;
    size_t got = 0;
    name_of(i, name);
    vv_status st = vv_object_get(s, name, 0, back, sizeof back, &got, NULL, &oc, &err);
    if (st == VV_NOT_FOUND)
        return k->acked == 0 || k->maybe[0];
    if (st != VV_OK)
        return false;
    for (int v = 1; v <= (int)VERSIONS; v++) {
        content(i, v, text, &len);
        if (got == len && memcmp(back, text, len) == 0)
            return k->maybe[v] || k->acked == v;
    }
    return false;
}

typedef struct seen {
    unsigned count;
    bool found[NAMES];
} seen;

static bool see(void *ctx, const char *name, const vv_object_info *info)
{
    seen *s = ctx;
    char one[40];
    (void)info;
    for (unsigned i = 0; i < NAMES; i++) {
        name_of(i, one);
        if (strcmp(one, name) == 0)
            s->found[i] = true;
    }
    s->count++;
    return true;
}

static void check_all(vv_object_store *s, const known *k, const char *what, uint64_t seed,
                      uint64_t n, vio_sim_disk *disk)
{
    seen list = {0};
    bool more;
    unsigned there = 0;
    for (unsigned i = 0; i < NAMES; i++) {
        char name[40];
        name_of(i, name);
        if (!check_one(s, i, &k[i]))
            fail_msg("%s: VV_SEED=0x%llx n %llu: '%s' (acked %d): %s\n%s", what,
                     (unsigned long long)seed, (unsigned long long)n, name, k[i].acked, err.msg,
                     vio_sim_trace(disk));
        there += vv_object_head(s, name, NULL, &oc, &err) == VV_OK;
    }
    assert_ok(vv_object_list(s, "", "", 100, see, &list, &more, &oc, &err), err);
    assert_int_equal(list.count, there);
}

/* A power cut at every state-changing call; what was acknowledged is there, whole. */
static void a_cut_at_every_write(void **state)
{
    (void)state;
    uint64_t seeds = vv_test_count("VV_CRASH_SEEDS", 3);
    uint64_t cuts = 0;
    for (uint64_t seed = 1; seed <= seeds; seed++)
        for (uint64_t n = 1, cut = 1; cut; n++) {
            vio_sim_disk *disk = vio_sim_disk_create();
            vio_sim_options opt = {.seed = seed * 1000 + n, .cut_after_writes = n, .tear = true};
            known k[NAMES] = {0};
            vio *io = NULL;
            vv_object_store *s = NULL;
            assert_ok(vio_sim_open(disk, &opt, &io, &err), err);
            if (open_on(io, vio_sim_clock(disk), seed, &s) == VV_OK)
                work(s, k, seed);
            vv_object_store_close(s);
            vio_destroy(io);
            cut = vio_sim_is_off(disk);
            if (n % 3 == 0)
                vio_sim_disk_kill(disk);
            else
                vio_sim_disk_settle(disk);
            opt.cut_after_writes = 0;
            for (int again = 0; again < 2;
                 again++) { /* twice: what the first open repaired holds */
                s = NULL;
                assert_ok(vio_sim_open(disk, &opt, &io, &err), err);
                assert_ok(open_on(io, vio_sim_clock(disk), seed + 7 + (uint64_t)again, &s), err);
                check_all(s, k, "cut", seed, n, disk);
                for (unsigned i = 0; again == 1 && i < NAMES; i++)
                    assert_ok(put_one(s, i, 1, &(known){.maybe = {true}}), err);
                vv_object_store_close(s);
                vio_destroy(io);
                vio_sim_cut(disk);
                vio_sim_disk_settle(disk);
            }
            vio_sim_disk_destroy(disk);
            cuts += cut;
        }
    assert_true(cuts > 150 * seeds);
}

static void a_fault_at_every_call(void **state)
{
    (void)state;
    static const vio_sim_fault faults[] = {VIO_SIM_EIO, VIO_SIM_EIO_STICKY, VIO_SIM_ENOSPC,
                                           VIO_SIM_SHORT, VIO_SIM_SYNC_LIES};
    uint64_t step = vv_test_count("VV_FAULT_STEP", 1);
    for (size_t f = 0; f < ARRAY_LEN(faults); f++) {
        uint64_t sites = UINT64_MAX;
        uint64_t most = 0;
        for (uint64_t n = 1; n <= sites; n += step) {
            vio_sim_disk *disk = vio_sim_disk_create();
            vio_sim_options opt = {.seed = n, .fault = faults[f], .fault_at = n};
            known k[NAMES] = {0};
            vio *io = NULL;
            vv_object_store *s = NULL;
            assert_ok(vio_sim_open(disk, &opt, &io, &err), err);
            if (open_on(io, vio_sim_clock(disk), 1, &s) == VV_OK)
                work(s, k, 1);
            vv_object_store_close(s);
            uint64_t met = vio_sim_fault_sites(disk, faults[f]);
            sites = met < n ? met : UINT64_MAX; /* the n-th call never came: the walk ends */
            most = met > most ? met : most;
            vio_destroy(io);
            vio_sim_cut(disk);
            vio_sim_disk_settle(disk);
            s = NULL;
            assert_ok(vio_sim_open(disk, &(vio_sim_options){.seed = n}, &io, &err), err);
            assert_ok(open_on(io, vio_sim_clock(disk), 2, &s), err);
            check_all(s, k, "fault", f, n, disk);
            vv_object_store_close(s);
            vio_destroy(io);
            vio_sim_disk_destroy(disk);
        }
        if (most < 10)
            fail_msg("fault %zu has %llu sites", f, (unsigned long long)most);
    }
}

/* ---- damage --------------------------------------------------------------------------------- */

#define OBJECT_SIZE 70000u

static vio_sim_disk *one_object(uint8_t *bytes)
{
    vio_sim_disk *disk = vio_sim_disk_create();
    vio *io = NULL;
    vv_object_store *s = NULL;
    vv_rng rng;
    vv_rng_init(&rng, 5);
    vv_rng_bytes(&rng, bytes, OBJECT_SIZE);
    vv_slice piece = vv_slice_of(bytes, OBJECT_SIZE);
    assert_ok(vio_sim_open(disk, &(vio_sim_options){.seed = 1}, &io, &err), err);
    assert_ok(open_on(io, vio_sim_clock(disk), 1, &s), err);
    assert_ok(vv_object_put(s, "o", &piece, 1, 0, NULL, &oc, &err), err);
    vv_object_store_close(s);
    vio_destroy(io);
    vio_sim_cut(disk);
    vio_sim_disk_settle(disk);
    return disk;
}

/* Reads the object whole and in parts; nothing that comes is wrong. Counts what was refused. */
static unsigned read_damaged(vio_sim_disk *disk, const uint8_t *bytes)
{
    static uint8_t back[OBJECT_SIZE + 10];
    static const struct {
        uint64_t offset;
        size_t len;
    } reads[] = {{0, OBJECT_SIZE + 10}, {100, 50}, {65530, 20}, {69990, 10}};
    vio *io = NULL;
    vv_object_store *s = NULL;
    unsigned refused = 0;
    assert_ok(vio_sim_open(disk, &(vio_sim_options){.seed = 2}, &io, &err), err);
    assert_ok(open_on(io, vio_sim_clock(disk), 2, &s), err);
    for (size_t i = 0; i < ARRAY_LEN(reads); i++) {
        size_t got = 0;
        vv_status st =
            vv_object_get(s, "o", reads[i].offset, back, reads[i].len, &got, NULL, &oc, &err);
        if (st == VV_OK) {
            assert_int_equal(got, vv_min_u64(reads[i].len, OBJECT_SIZE - reads[i].offset));
            assert_memory_equal(back, bytes + reads[i].offset, got);
        } else {
            assert_true(st == VV_CORRUPT || st == VV_UNSUPPORTED || st == VV_NOT_FOUND);
            refused++;
        }
    }
    vv_object_store_close(s);
    vio_destroy(io);
    return refused;
}

static void prop_one_flipped_bit_is_never_accepted(void **state)
{
    (void)state;
    static uint8_t bytes[OBJECT_SIZE];
    vio_sim_disk *disk = one_object(bytes);
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(0xf11b));
    for (unsigned i = 0; i < 300; i++) {
        vio_sim_disk *copy = vio_sim_disk_clone(disk);
        const char *path = i % 2 == 0 ? "o" : ".varve/sum/o#";
        uint64_t size = i % 2 == 0 ? OBJECT_SIZE : FILE_SUM_HEADER + 1 + 8;
        uint64_t bit = i < 2 * size * 8 && i % 2 == 1 ? vv_rng_below(&rng, size * 8)
                                                      : vv_rng_below(&rng, size * 8);
        assert_ok(vio_sim_flip_bit(copy, path, bit), err);
        if (read_damaged(copy, bytes) == 0)
            fail_msg("bit %llu of %s is accepted", (unsigned long long)bit, path);
        vio_sim_disk_destroy(copy);
    }
    vio_sim_disk_destroy(disk);
}

static void other_damage_is_found(void **state)
{
    (void)state;
    static uint8_t bytes[OBJECT_SIZE];
    vio_sim_disk *disk = one_object(bytes);
    for (int i = 0; i < 4; i++) {
        vio_sim_disk *copy = vio_sim_disk_clone(disk);
        vv_status st = i == 0   ? vio_sim_shorten(copy, "o", 69999)
                       : i == 1 ? vio_sim_zero(copy, "o", 4096, 4096)
                       : i == 2 ? vio_sim_swap_blocks(copy, "o", 1, 5)
                                : vio_sim_shorten(copy, ".varve/sum/o#", 90);
        assert_int_equal(st, VV_OK);
        assert_true(read_damaged(copy, bytes) > 0);
        vio_sim_disk_destroy(copy);
    }
    vio_sim_disk_destroy(disk);
}

/* A sum file under another name is not that object's. */
static void sums_know_their_name(void **state)
{
    (void)state;
    static uint8_t bytes[OBJECT_SIZE];
    vio_sim_disk *disk = one_object(bytes);
    vio *io = NULL;
    vv_object_store *s = NULL;
    assert_ok(vio_sim_open(disk, &(vio_sim_options){.seed = 2}, &io, &err), err);
    assert_ok(vio_link(io, ".varve/sum/o#", ".varve/sum/p#", &err), err);
    assert_ok(open_on(io, vio_sim_clock(disk), 2, &s), err);
    assert_status(VV_CORRUPT, vv_object_head(s, "p", NULL, &oc, &err));
    assert_non_null(strstr(err.msg, "of the object 'o'"));
    assert_ok(vv_object_head(s, "o", NULL, &oc, &err), err);
    vv_object_store_close(s);
    vio_destroy(io);
    vio_sim_disk_destroy(disk);
}

/* ---- leftovers ------------------------------------------------------------------------------ */

static void count_name(void *ctx, const char *name)
{
    (void)name;
    ++*(unsigned *)ctx;
}

static void old_leftovers_go(void **state)
{
    (void)state;
    static uint8_t bytes[OBJECT_SIZE];
    vio_sim_disk *disk = one_object(bytes);
    vio *io = NULL;
    vv_object_store *s = NULL;
    vv_object_upload *u = NULL;
    vv_slice piece = vv_slice_str("x");
    assert_ok(vio_sim_open(disk, &(vio_sim_options){.seed = 2}, &io, &err), err);
    assert_ok(open_on(io, vio_sim_clock(disk), 2, &s), err);
    assert_ok(vv_object_upload_begin(s, "u", 0, &u, &oc, &err), err);
    assert_ok(vv_object_upload_part(u, 1, &piece, 1, &oc, &err), err);
    file_store fake = {.io = io, .clock = vio_sim_clock(disk)};
    file_writer w;
    vv_mutex_init(&fake.lock, VV_RANK_LEAF);
    vv_rng_init(&fake.rng, 9);
    assert_ok(file_writer_open(&fake, "never", &w, &err), err);
    assert_ok(file_writer_add(&w, piece, &err), err);
    vio_close(w.file); /* and the process dies */
    vv_buf_fini(&w.crcs);
    vv_mutex_fini(&fake.lock);
    for (int day = 0; day <= 8; day += 4) { /* young, then old bytes, then old parts */
        vv_object_store *again = NULL;
        unsigned tmp = 0;
        unsigned parts = 0;
        assert_ok(open_on(io, vio_sim_clock(disk), 3, &again), err);
        assert_ok(vio_list(io, ".varve/tmp", count_name, &tmp, &err), err);
        assert_ok(vio_list(io, ".varve/parts", count_name, &parts, &err), err);
        assert_int_equal(tmp, day == 0 ? 1 : 0);
        assert_int_equal(parts, day == 8 ? 0 : 1);
        vv_object_store_close(again);
        vio_sim_advance(disk, 4 * 24 * 3600 * VV_NS_PER_S);
    }
    assert_ok(vv_object_upload_abort(u, &oc, &err), err);
    assert_ok(vv_object_head(s, "o", NULL, &oc, &err), err);
    vv_object_store_close(s);
    vio_destroy(io);
    vio_sim_disk_destroy(disk);
}

/* Its sums went and its bytes did not: whoever removes it again takes them along. */
static void a_removal_that_ended_between_is_finished(void **state)
{
    (void)state;
    static uint8_t bytes[OBJECT_SIZE];
    char path[FILE_PATH_MAX];
    vio_sim_disk *disk = one_object(bytes);
    vio *io = NULL;
    vio_file *file = NULL;
    vv_object_store *s = NULL;
    assert_ok(vio_sim_open(disk, &(vio_sim_options){.seed = 2}, &io, &err), err);
    assert_ok(open_on(io, vio_sim_clock(disk), 2, &s), err);
    file_sum_path("o", path);
    assert_ok(vio_remove(io, path, &err), err);
    assert_status(VV_NOT_FOUND, vv_object_head(s, "o", NULL, &oc, &err));
    assert_non_null(strstr(err.msg, "no such object: its file is there, its sum in .varve/sum"));
    assert_ok(vio_open(io, "o", VIO_READ, &file, &err), err);
    vio_close(file);
    vv_status st = vv_object_remove(s, "o", &oc, &err);
    assert_true(st == VV_OK || st == VV_NOT_FOUND);
    assert_status(VV_NOT_FOUND, vio_open(io, "o", VIO_READ, &file, &err));
    vv_object_store_close(s);
    vio_destroy(io);
    vio_sim_disk_destroy(disk);
}

static void sum_files_are_read_strictly(void **state)
{
    (void)state;
    file_sum sum = {.size = 70000, .mtime_ns = 5, .crc = 7, .name_len = 3, .name = "a/b"};
    file_sum back;
    uint32_t crcs[2] = {1, 2};
    vv_buf out;
    vv_buf_init(&out, 1000);
    file_sum_encode(&sum, crcs, &out);
    assert_int_equal(out.len, FILE_SUM_HEADER + 3 + 8);
    assert_ok(file_sum_decode(vv_buf_slice(&out), &back, &err), err);
    assert_string_equal(back.name, "a/b");
    assert_int_equal(back.size, 70000);
    assert_int_equal(file_sum_offset(&back, 1), FILE_SUM_HEADER + 3 + 4);
    for (size_t n = 0; n < FILE_SUM_HEADER + 3; n++)
        assert_status(VV_CORRUPT, file_sum_decode(vv_slice_of(out.data, n), &back, &err));
    out.data[8] = 2;
    assert_status(VV_UNSUPPORTED, file_sum_decode(vv_buf_slice(&out), &back, &err));
    vv_buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cut_at_every_write),
        cmocka_unit_test(a_fault_at_every_call),
        cmocka_unit_test(prop_one_flipped_bit_is_never_accepted),
        cmocka_unit_test(other_damage_is_found),
        cmocka_unit_test(sums_know_their_name),
        cmocka_unit_test(old_leftovers_go),
        cmocka_unit_test(a_removal_that_ended_between_is_finished),
        cmocka_unit_test(sum_files_are_read_strictly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
