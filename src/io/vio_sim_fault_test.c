/*
 * vio_sim_fault_test.c - each kind of fault of the simulated disk: that it hits the site it was
 * asked for and no other, what the caller is told, and what it leaves behind.
 */
#include "vv_test.h"

#include <string.h>

#include "base/alloc.h"
#include "base/point.h"
#include "io/vio.h"
#include "io/vio_sim.h"

static vv_error err;

static vio *power_on(vio_sim_disk *disk, vio_sim_fault fault, uint64_t at, uint64_t seed)
{
    vio *io = NULL;
    vio_sim_options opt = {.seed = seed, .fault = fault, .fault_at = at};
    assert_ok(vio_sim_open(disk, &opt, &io, &err), err);
    return io;
}

static vio_file *must_open(vio *io, const char *path, unsigned flags)
{
    vio_file *file = NULL;
    assert_ok(vio_open(io, path, flags, &file, &err), err);
    return file;
}

/* A disk with "f": four blocks filled 1, 2, 3, 4, durable. */
static vio_sim_disk *disk_with_file(void)
{
    vio_sim_disk *disk = vio_sim_disk_create();
    assert_non_null(disk);
    vio *io = power_on(disk, VIO_SIM_NONE, 0, 1);
    vio_file *file = must_open(io, "f", VIO_WRITE | VIO_CREATE);
    uint8_t block[4096];
    for (unsigned b = 0; b < 4; b++) {
        memset(block, (int)b + 1, sizeof block);
        assert_ok(vio_pwrite(file, b * 4096u, block, sizeof block, &err), err);
    }
    assert_ok(vio_sync(file, &err), err);
    assert_ok(vio_sync_dir(io, "", &err), err);
    vio_close(file);
    vio_destroy(io);
    return disk;
}

static uint8_t byte_at(vio_file *file, uint64_t at)
{
    uint8_t b = 0;
    assert_ok(vio_pread_full(file, at, &b, 1, &err), err);
    return b;
}

static void ignore(void *ctx, const char *name)
{
    (void)ctx;
    (void)name;
}

/* Every kind of call once. Gives the number of calls that failed. */
static unsigned all_calls(vio *io)
{
    vio_file *file = NULL;
    vio_file *lock = NULL;
    uint8_t buf[4096] = {1};
    uint8_t *map = NULL;
    uint64_t n = 0;
    size_t got = 0;
    unsigned bad = 0;
    bad += vio_mkdir(io, "d", &err) != VV_OK;
    bad += vio_lock(io, "LOCK", &lock, &err) != VV_OK;
    bad += vio_open(io, "d/x", VIO_READ | VIO_WRITE | VIO_CREATE, &file, &err) != VV_OK;
    if (file != NULL) {
        bad += vio_allocate(file, sizeof buf, &err) != VV_OK;
        bad += vio_pwrite(file, 0, buf, sizeof buf, &err) != VV_OK;
        bad += vio_sync(file, &err) != VV_OK;
        bad += vio_pread(file, 0, buf, sizeof buf, &got, &err) != VV_OK;
        bad += vio_size(file, &n, &err) != VV_OK;
        bad += vio_map(file, 1, &map, &err) != VV_OK && n > 0;
        vio_unmap(file, map, 1);
        bad += vio_truncate(file, 100, &err) != VV_OK;
    }
    bad += vio_link(io, "f", "g", &err) != VV_OK;
    bad += vio_rename(io, "f", "h", &err) != VV_OK;
    bad += vio_remove(io, "f", &err) == VV_IO; /* absent when the rename went well */
    bad += vio_list(io, "", ignore, NULL, &err) != VV_OK;
    bad += vio_sync_dir(io, "", &err) != VV_OK;
    vio_close(file);
    vio_close(lock);
    return bad;
}

static void eio_hits_every_call_once(void **state)
{
    (void)state;
    for (uint64_t n = 1;; n++) {
        vio_sim_disk *disk = disk_with_file();
        vio *io = power_on(disk, VIO_SIM_EIO, n, n);
        unsigned bad = all_calls(io);
        bool reached = vio_sim_fault_sites(disk, VIO_SIM_EIO) >= n;
        if (reached)
            assert_non_null(strstr(vio_sim_trace(disk), "EIO: "));
        vio_destroy(io);
        vio_sim_disk_destroy(disk);
        if (!reached) {
            assert_int_equal(n, 16); /* one more than the calls above */
            assert_int_equal(bad, 0);
            return;
        }
        if (bad == 0)
            fail_msg("call %d did not fail", (int)n);
    }
}

static void a_sticky_eio_stays_until_healed(void **state)
{
    (void)state;
    vio_sim_disk *disk = disk_with_file();
    vio *io = power_on(disk, VIO_SIM_EIO_STICKY, 3, 1);
    vio_file *file = must_open(io, "f", VIO_READ);
    assert_int_equal(byte_at(file, 0), 1);
    uint8_t b;
    size_t got = 0;
    for (int i = 0; i < 3; i++)
        assert_status(VV_IO, vio_pread(file, 0, &b, 1, &got, &err));
    assert_non_null(strstr(err.msg, "read 'f' (injected): Input/output error"));
    vio_sim_heal(disk);
    assert_int_equal(byte_at(file, 4096), 2);
    vio_close(file);
    vio_destroy(io);
    vio_sim_disk_destroy(disk);
}

static void no_space_hits_what_needs_space_until_cleared(void **state)
{
    (void)state;
    vio_sim_disk *disk = disk_with_file();
    vio *io = power_on(disk, VIO_SIM_ENOSPC, 1, 1);
    vio_file *file = must_open(io, "f", VIO_READ | VIO_WRITE);
    static uint8_t data[3 * 4096];
    memset(data, 9, sizeof data);
    assert_ok(vio_pwrite(file, 4096, data, sizeof data, &err), err); /* in its own space */
    assert_ok(vio_truncate(file, 5 * 4096, &err), err);              /* a hole */
    assert_int_equal(vio_sim_fault_sites(disk, VIO_SIM_ENOSPC), 0);
    assert_status(VV_NO_SPACE, vio_pwrite(file, 4 * 4096, data, 1, &err));
    assert_status(VV_NO_SPACE, vio_allocate(file, 5 * 4096, &err));
    vio_file *other = NULL;
    assert_status(VV_NO_SPACE, vio_open(io, "g", VIO_WRITE | VIO_CREATE, &other, &err));
    assert_status(VV_NO_SPACE, vio_mkdir(io, "d", &err));
    assert_status(VV_NO_SPACE, vio_link(io, "f", "g", &err));
    assert_ok(vio_sync(file, &err), err);
    vio_sim_heal(disk);
    assert_ok(vio_pwrite(file, 4 * 4096, data, sizeof data, &err), err);
    vio_close(file);
    vio_destroy(io);
    vio_sim_disk_destroy(disk);
}

static void capacity_is_taken_and_given_back(void **state)
{
    (void)state;
    vio_sim_disk *disk = vio_sim_disk_create();
    vio *io = NULL;
    vio_sim_options opt = {.seed = 1, .capacity = 10 * 4096};
    assert_ok(vio_sim_open(disk, &opt, &io, &err), err);
    static uint8_t data[16 * 4096];
    memset(data, 5, sizeof data);
    vio_file *a = must_open(io, "a", VIO_READ | VIO_WRITE | VIO_CREATE);
    assert_ok(vio_allocate(a, 6 * 4096, &err), err);
    assert_ok(vio_pwrite(a, 0, data, 6 * 4096, &err), err); /* reserved before */
    vio_file *b = must_open(io, "b", VIO_READ | VIO_WRITE | VIO_CREATE);
    assert_status(VV_NO_SPACE, vio_allocate(b, 5 * 4096, &err));
    assert_status(VV_NO_SPACE, vio_pwrite(b, 100, data, 6 * 4096, &err));
    uint64_t size = 0;
    assert_ok(vio_size(b, &size, &err), err);
    assert_int_equal(size, 4 * 4096); /* what fitted is there */
    assert_ok(vio_remove(io, "a", &err), err);
    assert_status(VV_NO_SPACE, vio_pwrite(b, 4 * 4096, data, 1, &err)); /* "a" is still open */
    vio_close(a);
    assert_ok(vio_pwrite(b, 4 * 4096, data, 6 * 4096, &err), err);
    assert_status(VV_NO_SPACE, vio_pwrite(b, 10 * 4096, data, 1, &err));
    assert_ok(vio_truncate(b, 4096, &err), err);
    vio_file *d = must_open(io, "d", VIO_READ | VIO_WRITE | VIO_CREATE);
    assert_status(VV_NO_SPACE, vio_allocate(d, 10 * 4096, &err));
    assert_ok(vio_allocate(d, 9 * 4096, &err), err);
    assert_ok(vio_truncate(b, 0, &err), err);
    assert_ok(vio_allocate(d, 10 * 4096, &err), err);
    vio_close(d);
    assert_ok(vio_remove(io, "d", &err), err);
    assert_ok(vio_pwrite(b, 0, data, 4096, &err), err);
    assert_ok(vio_rename(io, "b", "c", &err), err);
    vio_close(b);
    assert_ok(vio_remove(io, "c", &err), err);
    d = must_open(io, "d", VIO_READ | VIO_WRITE | VIO_CREATE);
    assert_ok(vio_allocate(d, 10 * 4096, &err), err);
    vio_close(d);
    vio_destroy(io);
    vio_sim_disk_destroy(disk);
}

static void short_transfers_are_completed_inside(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        vio_sim_disk *disk = disk_with_file();
        vio *io = power_on(disk, VIO_SIM_SHORT, 1 + seed % 2, seed);
        vio_file *file = must_open(io, "f", VIO_READ | VIO_WRITE);
        uint8_t data[8192];
        memset(data, 8, sizeof data);
        assert_ok(vio_pwrite(file, 100, data, sizeof data, &err), err);
        memset(data, 0, sizeof data);
        assert_ok(vio_pread_full(file, 100, data, sizeof data, &err), err);
        for (size_t i = 0; i < sizeof data; i++)
            assert_int_equal(data[i], 8);
        assert_int_equal(byte_at(file, 100 + sizeof data), 3);
        assert_non_null(strstr(vio_sim_trace(disk), "SHORT: 'f' at 100"));
        vio_close(file);
        vio_destroy(io);
        vio_sim_disk_destroy(disk);
    }
}

/* A sync that failed once: its data is gone, and the file says so for ever. */
static void a_lying_sync_loses_data_and_latches_the_file(void **state)
{
    (void)state;
    vio_sim_disk *disk = disk_with_file();
    vio *io = power_on(disk, VIO_SIM_SYNC_LIES, 2, 1);
    vio_file *file = must_open(io, "f", VIO_READ | VIO_WRITE);
    assert_ok(vio_pwrite(file, 0, "A", 1, &err), err);
    assert_ok(vio_sync(file, &err), err);
    assert_ok(vio_pwrite(file, 4096, "B", 1, &err), err);
    assert_status(VV_IO, vio_sync(file, &err));
    char first[sizeof err.msg];
    memcpy(first, err.msg, sizeof first);
    assert_status(VV_IO, vio_sync(file, &err));
    assert_string_equal(err.msg, first);
    assert_status(VV_IO, vio_pwrite(file, 0, "C", 1, &err));
    assert_string_equal(err.msg, first);
    assert_status(VV_IO, vio_truncate(file, 0, &err));
    assert_status(VV_IO, vio_allocate(file, 1 << 20, &err));
    assert_int_equal(byte_at(file, 0), 'A');
    assert_int_equal(byte_at(file, 4096), 2); /* a fresh read finds the old byte */
    assert_non_null(strstr(vio_sim_trace(disk), "SYNC_LIES: 'f'"));
    vio_close(file);
    file = must_open(io, "f", VIO_READ | VIO_WRITE); /* a reopen may go on */
    assert_ok(vio_pwrite(file, 0, "D", 1, &err), err);
    assert_ok(vio_sync(file, &err), err);
    vio_close(file);
    vio_destroy(io);
    vio_sim_disk_destroy(disk);
}

static void a_lying_dsync_write_is_lost_and_latches(void **state)
{
    (void)state;
    vio_sim_disk *disk = disk_with_file();
    vio *io = power_on(disk, VIO_SIM_SYNC_LIES, 2, 1);
    vio_file *file = must_open(io, "f", VIO_READ | VIO_WRITE | VIO_DSYNC);
    assert_ok(vio_pwrite(file, 0, "A", 1, &err), err);
    assert_status(VV_IO, vio_pwrite(file, 1, "B", 1, &err));
    assert_status(VV_IO, vio_pwrite(file, 2, "C", 1, &err));
    assert_status(VV_IO, vio_sync(file, &err));
    assert_int_equal(byte_at(file, 0), 'A');
    assert_int_equal(byte_at(file, 1), 1);
    assert_int_equal(byte_at(file, 2), 1);
    vio_close(file);
    vio_destroy(io);
    vio_sim_disk_destroy(disk);
}

static void a_failed_sync_or_dsync_write_latches_by_any_fault(void **state)
{
    (void)state;
    const struct {
        vio_sim_fault fault;
        unsigned flags;
        bool latches;
    } cases[] = {
        {VIO_SIM_EIO, 0, false}, /* hits the write: the file goes on */
        {VIO_SIM_EIO, VIO_DSYNC, true},
        {VIO_SIM_ENOSPC, 0, false},
        {VIO_SIM_ENOSPC, VIO_DSYNC, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vio_sim_disk *disk = disk_with_file();
        uint64_t at = cases[i].fault == VIO_SIM_EIO ? 2 : 1; /* after the open */
        vio *io = power_on(disk, cases[i].fault, at, 1);
        vio_file *file = must_open(io, "f", VIO_READ | VIO_WRITE | cases[i].flags);
        assert_true(vio_pwrite(file, 5 * 4096, "x", 1, &err) != VV_OK);
        vio_sim_heal(disk);
        assert_int_equal(vio_pwrite(file, 5 * 4096, "x", 1, &err) != VV_OK, cases[i].latches);
        assert_int_equal(vio_sync(file, &err) != VV_OK, cases[i].latches);
        vio_close(file);
        vio_destroy(io);
        vio_sim_disk_destroy(disk);
    }
}

static void a_flipped_bit_is_one_bit_and_stays(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        vio_sim_disk *disk = disk_with_file();
        vio *io = power_on(disk, VIO_SIM_FLIP, 2, seed);
        vio_file *file = must_open(io, "f", VIO_READ);
        static uint8_t clean[16384];
        static uint8_t bad[16384];
        assert_ok(vio_pread_full(file, 0, clean, sizeof clean, &err), err);
        assert_ok(vio_pread_full(file, 4000, bad, 300, &err), err);
        unsigned bits = 0;
        for (size_t i = 0; i < 300; i++)
            bits += (unsigned)__builtin_popcount(bad[i] ^ clean[4000 + i]);
        assert_int_equal(bits, 1);
        memcpy(clean + 4000, bad, 300);
        vio_close(file);
        vio_destroy(io);
        vio_sim_disk_settle(disk);
        io = power_on(disk, VIO_SIM_NONE, 0, seed);
        file = must_open(io, "f", VIO_READ);
        assert_ok(vio_pread_full(file, 0, bad, sizeof bad, &err), err);
        assert_memory_equal(bad, clean, sizeof bad);
        vio_close(file);
        vio_destroy(io);
        vio_sim_disk_destroy(disk);
    }
}

static void a_stale_read_gives_the_version_before(void **state)
{
    (void)state;
    vio_sim_disk *disk = disk_with_file();
    vio *io = power_on(disk, VIO_SIM_STALE, 3, 1);
    vio_file *file = must_open(io, "f", VIO_READ | VIO_WRITE);
    assert_int_equal(byte_at(file, 600), 1); /* written once over nothing: zeros were before */
    uint8_t data[4096];
    memset(data, 7, sizeof data);
    assert_ok(vio_pwrite(file, 4096, data, sizeof data, &err), err);
    assert_ok(vio_sync(file, &err), err);
    uint64_t before = vio_sim_fault_sites(disk, VIO_SIM_STALE);
    assert_int_equal(before, 1);
    assert_int_equal(byte_at(file, 4096 + 512), 7); /* site 2 */
    assert_ok(vio_pread_full(file, 4096, data, sizeof data, &err), err);
    for (size_t i = 0; i < sizeof data; i++)
        assert_int_equal(data[i], i < 512 ? 2 : 7);
    assert_ok(vio_pread_full(file, 4096, data, sizeof data, &err), err);
    assert_int_equal(data[0], 7); /* only that read */
    assert_non_null(strstr(vio_sim_trace(disk), "STALE: 'f' sector at 4096"));
    vio_close(file);
    vio_destroy(io);
    vio_sim_disk_destroy(disk);
}

static void a_misdirected_write_hits_another_block(void **state)
{
    (void)state;
    unsigned hit = 0;
    for (uint64_t seed = 0; seed < 60; seed++) {
        vio_sim_disk *disk = disk_with_file();
        vio *io = power_on(disk, VIO_SIM_MISDIRECT, 1, seed);
        vio_file *file = must_open(io, "f", VIO_READ | VIO_WRITE | VIO_DSYNC);
        uint8_t data[512];
        memset(data, 77, sizeof data);
        assert_ok(vio_pwrite(file, 4096 + 1024, data, sizeof data, &err), err);
        assert_int_equal(byte_at(file, 4096 + 1024), 2);
        for (unsigned b = 0; b < 4; b++)
            if (byte_at(file, b * 4096u + 1024) == 77)
                hit |= 1u << b;
        vio_close(file);
        vio_destroy(io);
        vio_sim_disk_destroy(disk);
    }
    assert_int_equal(hit, 1 + 4 + 8);
}

static void small_files_are_never_misdirected(void **state)
{
    (void)state;
    vio_sim_disk *disk = vio_sim_disk_create();
    vio *io = power_on(disk, VIO_SIM_MISDIRECT, 1, 1);
    vio_file *file = must_open(io, "f", VIO_READ | VIO_WRITE | VIO_CREATE);
    for (int i = 0; i < 100; i++)
        assert_ok(vio_pwrite(file, (uint64_t)i, "x", 1, &err), err);
    assert_int_equal(vio_sim_fault_sites(disk, VIO_SIM_MISDIRECT), 0);
    vio_close(file);
    vio_destroy(io);
    vio_sim_disk_destroy(disk);
}

/* --- damage, clones, clock -------------------------------------------------------------------- */

static void count_files(void *ctx, const char *path, uint64_t size)
{
    char *text = ctx;
    size_t used = strlen(text);
    (void)snprintf(text + used, 200 - used, "%s=%d ", path, (int)size);
}

static void damage_is_as_asked_and_durable(void **state)
{
    (void)state;
    vio_sim_disk *disk = disk_with_file();
    assert_status(VV_OK, vio_sim_flip_bit(disk, "f", 8 * 10 + 3));
    assert_status(VV_OK, vio_sim_zero(disk, "f", 4000, 200));
    assert_status(VV_OK, vio_sim_swap_blocks(disk, "f", 2, 3));
    assert_status(VV_OK, vio_sim_shorten(disk, "f", 13000));
    assert_status(VV_NOT_FOUND, vio_sim_flip_bit(disk, "no", 0));
    assert_status(VV_NOT_FOUND, vio_sim_shorten(disk, "no", 0));
    assert_status(VV_NOT_FOUND, vio_sim_swap_blocks(disk, "no", 0, 1));
    assert_status(VV_INVALID, vio_sim_flip_bit(disk, "f", 13000 * 8));
    assert_status(VV_INVALID, vio_sim_zero(disk, "f", 12999, 2));
    assert_status(VV_INVALID, vio_sim_shorten(disk, "f", 13001));
    assert_status(VV_INVALID, vio_sim_swap_blocks(disk, "f", 0, 3));
    vio_sim_disk_settle(disk);
    vio *io = power_on(disk, VIO_SIM_NONE, 0, 1);
    vio_file *file = must_open(io, "f", VIO_READ);
    assert_int_equal(byte_at(file, 10), 1 ^ 8);
    assert_int_equal(byte_at(file, 11), 1);
    assert_int_equal(byte_at(file, 3999), 1);
    assert_int_equal(byte_at(file, 4000), 0);
    assert_int_equal(byte_at(file, 4199), 0);
    assert_int_equal(byte_at(file, 4200), 2);
    assert_int_equal(byte_at(file, 8192), 4);
    assert_int_equal(byte_at(file, 12999), 3);
    vio_close(file);
    vio_destroy(io);
    char text[200] = "";
    vio_sim_each_file(disk, count_files, text);
    assert_string_equal(text, "f=13000 ");
    vio_sim_disk_destroy(disk);
}

static void clones_share_nothing_that_changes(void **state)
{
    (void)state;
    vio_sim_disk *disk = disk_with_file();
    vio *io = power_on(disk, VIO_SIM_NONE, 0, 5);
    vio_file *file = must_open(io, "f", VIO_READ | VIO_WRITE);
    assert_ok(vio_pwrite(file, 0, "pending", 7, &err), err);
    assert_ok(vio_mkdir(io, "d", &err), err);
    vio_close(must_open(io, "d/new", VIO_WRITE | VIO_CREATE));
    unsigned seen = 0;
    for (uint64_t seed = 0; seed < 100; seed++) {
        vio_sim_disk *copy = vio_sim_disk_clone(disk);
        assert_non_null(copy);
        vio_sim_reseed(copy, seed);
        vio_sim_disk_settle(copy); /* one state, many cuts */
        assert_status(VV_OK, vio_sim_flip_bit(copy, "f", 8 * 8192));
        vio *io2 = power_on(copy, VIO_SIM_NONE, 0, 1);
        vio_file *file2 = must_open(io2, "f", VIO_READ | VIO_WRITE);
        seen |= byte_at(file2, 0) == 'p' ? 1 : 2;
        assert_ok(vio_pwrite(file2, 4096, "other", 5, &err), err);
        vio_close(file2);
        vio_destroy(io2);
        vio_sim_disk_destroy(copy);
    }
    assert_int_equal(seen, 3);
    assert_int_equal(byte_at(file, 0), 'p');
    assert_int_equal(byte_at(file, 8192), 3);
    assert_int_equal(byte_at(file, 4096), 2);
    /* An open of an unsettled copy of a running disk sees all that was written. */
    vio_sim_disk *copy = vio_sim_disk_clone(disk);
    vio_close(file);
    vio_destroy(io);
    vio_sim_disk_destroy(disk);
    io = power_on(copy, VIO_SIM_NONE, 0, 1);
    file = must_open(io, "f", VIO_READ);
    assert_int_equal(byte_at(file, 0), 'p');
    vio_close(file);
    vio_close(must_open(io, "d/new", VIO_READ));
    vio_destroy(io);
    vio_sim_disk_destroy(copy);
}

static void locks_end_with_the_life_of_their_vio(void **state)
{
    (void)state;
    vio_sim_disk *disk = vio_sim_disk_create();
    vio *io = power_on(disk, VIO_SIM_NONE, 0, 1);
    vio_file *lock = NULL;
    vio_file *other = NULL;
    assert_ok(vio_lock(io, "LOCK", &lock, &err), err);
    vio *second = power_on(disk, VIO_SIM_NONE, 0, 1); /* another store on a running disk */
    assert_status(VV_BUSY, vio_lock(second, "LOCK", &other, &err));
    vio_destroy(second);
    vio_sim_disk_kill(disk);
    second = power_on(disk, VIO_SIM_NONE, 0, 1);
    assert_ok(vio_lock(second, "LOCK", &other, &err), err);
    vio_close(lock); /* the dead one lets go late: it must not free the other's */
    lock = NULL;
    assert_status(VV_BUSY, vio_lock(second, "LOCK", &lock, &err));
    vio_close(other);
    vio_destroy(second);
    vio_destroy(io);
    vio_sim_disk_destroy(disk);
}

static void the_clock_moves_by_itself_and_by_sleep(void **state)
{
    (void)state;
    vio_sim_disk *disk = vio_sim_disk_create();
    vv_clock *clock = vio_sim_clock(disk);
    int64_t a = vv_clock_mono(clock);
    int64_t b = vv_clock_mono(clock);
    assert_true(b > a && b - a <= 2000);
    vv_clock_sleep(clock, VV_NS_PER_S);
    assert_true(vv_clock_mono(clock) > b + VV_NS_PER_S);
    vv_clock_sleep(clock, -5);
    int64_t wall = vv_clock_wall(clock);
    assert_true(wall > 1600000000 * VV_NS_PER_S);
    vio_sim_advance(disk, 60 * VV_NS_PER_S);
    assert_true(vv_clock_wall(clock) > wall + 60 * VV_NS_PER_S);
    vio_sim_disk_destroy(disk);
}

#ifdef VV_TEST_HOOKS
static void bug_7_believes_the_second_sync(void **state)
{
    (void)state;
    vv_bug_plant(7);
    vio_sim_disk *disk = disk_with_file();
    vio *io = power_on(disk, VIO_SIM_SYNC_LIES, 1, 1);
    vio_file *file = must_open(io, "f", VIO_READ | VIO_WRITE);
    assert_ok(vio_pwrite(file, 0, "A", 1, &err), err);
    assert_status(VV_IO, vio_sync(file, &err));
    assert_ok(vio_sync(file, &err), err);
    assert_int_equal(byte_at(file, 0), 1);
    vio_close(file);
    vio_destroy(io);
    vio_sim_disk_destroy(disk);
    vv_bug_plant(0);
}

/* Making, copying, cutting and damaging a disk while memory is short. */
static void a_disk_survives_short_memory(void **state)
{
    (void)state;
    for (int64_t n = 0;; n++) {
        uint64_t before = vv_alloc_count();
        vv_alloc_fail_after(n, 0);
        vio_sim_disk *disk = vio_sim_disk_create();
        vio *io = NULL;
        vio_sim_options opt = {.seed = (uint64_t)n, .tear = true};
        vv_status st = disk == NULL ? VV_NO_MEMORY : vio_sim_open(disk, &opt, &io, &err);
        vio_file *file = NULL;
        if (st == VV_OK)
            st = vio_open(io, "f", VIO_READ | VIO_WRITE | VIO_CREATE, &file, &err);
        static uint8_t data[9000];
        memset(data, 1, sizeof data);
        uint8_t *map = NULL;
        if (st == VV_OK)
            st = vio_pwrite(file, 0, data, sizeof data, &err);
        if (st == VV_OK)
            st = vio_truncate(file, 8200, &err);
        if (st == VV_OK)
            st = vio_map(file, 8200, &map, &err);
        if (st == VV_OK)
            memset(map, 2, 8200);
        if (st == VV_OK)
            st = vio_rename(io, "f", "g", &err);
        vio_sim_disk *copy = disk == NULL ? NULL : vio_sim_disk_clone(disk);
        if (copy != NULL) {
            vio_sim_disk_settle(copy);
            vv_status hurt = vio_sim_swap_blocks(copy, "g", 0, 1);
            assert_true(hurt == VV_OK || hurt == VV_NO_MEMORY || hurt == VV_NOT_FOUND ||
                        hurt == VV_INVALID);
        }
        if (disk != NULL)
            vio_sim_cut(disk);
        if (map != NULL)
            vio_unmap(file, map, 8200);
        vio_close(file);
        vio_destroy(io);
        if (disk != NULL)
            vio_sim_disk_settle(disk);
        bool reached = vv_alloc_count() - before > (uint64_t)n;
        vv_alloc_fail_after(-1, 0);
        vio_sim_disk_destroy(copy);
        vio_sim_disk_destroy(disk);
        assert_true(st == VV_OK || st == VV_NO_MEMORY);
        if (!reached) {
            assert_int_equal(st, VV_OK);
            assert_true(n > 20);
            return;
        }
    }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eio_hits_every_call_once),
        cmocka_unit_test(a_sticky_eio_stays_until_healed),
        cmocka_unit_test(no_space_hits_what_needs_space_until_cleared),
        cmocka_unit_test(capacity_is_taken_and_given_back),
        cmocka_unit_test(short_transfers_are_completed_inside),
        cmocka_unit_test(a_lying_sync_loses_data_and_latches_the_file),
        cmocka_unit_test(a_lying_dsync_write_is_lost_and_latches),
        cmocka_unit_test(a_failed_sync_or_dsync_write_latches_by_any_fault),
        cmocka_unit_test(a_flipped_bit_is_one_bit_and_stays),
        cmocka_unit_test(a_stale_read_gives_the_version_before),
        cmocka_unit_test(a_misdirected_write_hits_another_block),
        cmocka_unit_test(small_files_are_never_misdirected),
        cmocka_unit_test(damage_is_as_asked_and_durable),
        cmocka_unit_test(clones_share_nothing_that_changes),
        cmocka_unit_test(locks_end_with_the_life_of_their_vio),
        cmocka_unit_test(the_clock_moves_by_itself_and_by_sleep),
#ifdef VV_TEST_HOOKS
        cmocka_unit_test(bug_7_believes_the_second_sync),
        cmocka_unit_test(a_disk_survives_short_memory),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
