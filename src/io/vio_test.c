/*
 * vio_test.c - the conformance suite of vio: one list of laws, run on every backend.
 */
#include "vv_test.h"

#include <ftw.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/point.h"
#include "base/rng.h"
#include "io/vio_posix.h"
#include "io/vio_sim.h"

typedef struct backend {
    const char *name;
    const char *parent; /* posix: where the root is made; NULL: simulated */
    const char *sim_root;
    vio_backend kind; /* of real files */
} backend;

static const backend backends[] = {
    {"posix", "/tmp", NULL, VIO_BACKEND_POSIX},
    {"posix-tmpfs", "/dev/shm", NULL, VIO_BACKEND_POSIX},
    {"threads", "/tmp", NULL, VIO_BACKEND_THREADS},
    {"ring", "/tmp", NULL, VIO_BACKEND_RING},
    {"sim", NULL, NULL, VIO_BACKEND_AUTO},
    {"sim-beneath", NULL, "stores/one", VIO_BACKEND_AUTO},
};

typedef struct fixture {
    const backend *on;
    vio *io;
    vio_sim_disk *disk;
    char dir[128];   /* posix: a directory of our own, the root is "<dir>/a/store" */
    char other[160]; /* an absolute directory outside the root */
    vv_error err;
} fixture;

static fixture *set_up(void **state)
{
    static fixture f;
    f = (fixture){.on = *state};
    if (f.on->parent == NULL) {
        f.disk = vio_sim_disk_create();
        assert_non_null(f.disk);
        vio_sim_options opt = {.seed = vv_test_seed(1), .root = f.on->sim_root};
        assert_ok(vio_sim_open(f.disk, &opt, &f.io, &f.err), f.err);
        (void)snprintf(f.other, sizeof f.other, "/other");
    } else {
        char root[160];
        (void)snprintf(f.dir, sizeof f.dir, "%s/vio-test-XXXXXX", f.on->parent);
        assert_non_null(mkdtemp(f.dir));
        (void)snprintf(root, sizeof root, "%s/a/store", f.dir);
        vio_posix_options opt = {.backend = f.on->kind};
        assert_ok(vio_posix_open(root, &opt, &f.io, &f.err), f.err);
        (void)snprintf(f.other, sizeof f.other, "%s/other", f.dir);
    }
    assert_ok(vio_mkdir(f.io, "", &f.err), f.err);
    return &f;
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *at)
{
    (void)info;
    (void)type;
    (void)at;
    return remove(path);
}

static void tear_down(fixture *f)
{
    vio_destroy(f->io);
    vio_sim_disk_destroy(f->disk);
    if (f->on->parent != NULL)
        (void)nftw(f->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static vio_file *must_open(fixture *f, const char *path, unsigned flags)
{
    vio_file *file = NULL;
    assert_ok(vio_open(f->io, path, flags, &file, &f->err), f->err);
    assert_non_null(file);
    return file;
}

static void must_write_file(fixture *f, const char *path, const char *text)
{
    vio_file *file = must_open(f, path, VIO_WRITE | VIO_CREATE);
    assert_ok(vio_truncate(file, 0, &f->err), f->err);
    assert_ok(vio_pwrite(file, 0, text, strlen(text), &f->err), f->err);
    assert_ok(vio_sync(file, &f->err), f->err);
    vio_close(file);
}

static void must_hold(fixture *f, const char *path, const char *text)
{
    uint8_t *data = NULL;
    size_t len = 0;
    assert_ok(vio_read_file(f->io, path, 4096, &data, &len, &f->err), f->err);
    assert_int_equal(len, strlen(text));
    assert_string_equal((char *)data, text);
    vv_free(data);
}

static void open_tells_absent_present_and_exclusive_apart(void **state)
{
    fixture *f = set_up(state);
    vio_file *file = NULL;
    assert_status(VV_NOT_FOUND, vio_open(f->io, "x", VIO_READ, &file, &f->err));
    assert_non_null(strstr(f->err.msg, "x"));
    assert_status(VV_NOT_FOUND, vio_open(f->io, "no/x", VIO_WRITE | VIO_CREATE, &file, &f->err));
    file = must_open(f, "x", VIO_READ | VIO_WRITE | VIO_CREATE | VIO_EXCL);
    vio_close(file);
    file = NULL;
    assert_status(VV_CONFLICT,
                  vio_open(f->io, "x", VIO_WRITE | VIO_CREATE | VIO_EXCL, &file, &f->err));
    assert_null(file);
    file = must_open(f, "x", VIO_WRITE | VIO_CREATE);
    vio_close(file);
    vio_close(NULL);
    tear_down(f);
}

static void paths_that_leave_the_root_are_refused(void **state)
{
    fixture *f = set_up(state);
    static const char *const bad[] = {"", "/", "..", "../x", "a/../x", "./x", "a//b", "a/", "a/."};
    vio_file *file = NULL;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (vio_open(f->io, bad[i], VIO_READ, &file, &f->err) != VV_INVALID)
            fail_msg("'%s' was not refused", bad[i]);
    char long_path[VIO_PATH_MAX + 1];
    memset(long_path, 'x', sizeof long_path - 1);
    long_path[sizeof long_path - 1] = '\0';
    assert_status(VV_INVALID, vio_remove(f->io, long_path, &f->err));
    assert_status(VV_INVALID, vio_rename(f->io, "a", "../a", &f->err));
    assert_status(VV_INVALID, vio_mkdir(f->io, "../a", NULL));
    tear_down(f);
}

static void reads_see_writes_holes_and_the_end(void **state)
{
    fixture *f = set_up(state);
    vio_file *file = must_open(f, "f", VIO_READ | VIO_WRITE | VIO_CREATE);
    assert_ok(vio_pwrite(file, 10000, "tail", 4, &f->err), f->err);
    assert_ok(vio_pwrite(file, 3, "abc", 3, &f->err), f->err);
    assert_ok(vio_pwrite(file, 4, NULL, 0, &f->err), f->err);
    uint64_t size = 0;
    assert_ok(vio_size(file, &size, &f->err), f->err);
    assert_int_equal(size, 10004);
    uint8_t buf[12000];
    size_t got = 0;
    memset(buf, 0xee, sizeof buf);
    assert_ok(vio_pread(file, 0, buf, sizeof buf, &got, &f->err), f->err);
    assert_int_equal(got, 10004);
    assert_memory_equal(buf, "\0\0\0abc\0\0", 8);
    for (size_t i = 6; i < 10000; i++)
        assert_int_equal(buf[i], 0);
    assert_memory_equal(buf + 10000, "tail", 4);
    assert_ok(vio_pread(file, 10004, buf, 8, &got, &f->err), f->err);
    assert_int_equal(got, 0);
    assert_ok(vio_pread(file, 99999999, buf, 8, &got, &f->err), f->err);
    assert_int_equal(got, 0);
    assert_ok(vio_pread_full(file, 10000, buf, 4, &f->err), f->err);
    assert_status(VV_CORRUPT, vio_pread_full(file, 10001, buf, 4, &f->err));
    vio_close(file);
    tear_down(f);
}

static void a_write_only_file_is_read_back_by_another(void **state)
{
    fixture *f = set_up(state);
    vio_file *file = must_open(f, "f", VIO_WRITE | VIO_CREATE | VIO_DSYNC);
    assert_ok(vio_pwrite(file, 0, "now", 3, &f->err), f->err);
    must_hold(f, "f", "now");
    vio_close(file);
    tear_down(f);
}

static void truncate_cuts_extends_and_zeroes(void **state)
{
    fixture *f = set_up(state);
    vio_file *file = must_open(f, "f", VIO_READ | VIO_WRITE | VIO_CREATE);
    uint8_t data[9000];
    memset(data, 0xab, sizeof data);
    assert_ok(vio_pwrite(file, 0, data, sizeof data, &f->err), f->err);
    assert_ok(vio_truncate(file, 100, &f->err), f->err);
    assert_ok(vio_truncate(file, 9000, &f->err), f->err);
    assert_ok(vio_pread_full(file, 0, data, sizeof data, &f->err), f->err);
    for (size_t i = 0; i < sizeof data; i++)
        assert_int_equal(data[i], i < 100 ? 0xab : 0);
    vio_close(file);
    tear_down(f);
}

static void allocate_makes_longer_never_shorter(void **state)
{
    fixture *f = set_up(state);
    vio_file *file = must_open(f, "f", VIO_READ | VIO_WRITE | VIO_CREATE);
    assert_ok(vio_pwrite(file, 0, "head", 4, &f->err), f->err);
    assert_ok(vio_allocate(file, 70000, &f->err), f->err);
    assert_ok(vio_allocate(file, 10, &f->err), f->err);
    assert_ok(vio_allocate(file, 0, &f->err), f->err);
    uint64_t size = 0;
    assert_ok(vio_size(file, &size, &f->err), f->err);
    assert_int_equal(size, 70000);
    uint8_t buf[5];
    assert_ok(vio_pread_full(file, 0, buf, 5, &f->err), f->err);
    assert_memory_equal(buf, "head\0", 5);
    assert_ok(vio_pread_full(file, 69995, buf, 5, &f->err), f->err);
    assert_memory_equal(buf, "\0\0\0\0\0", 5);
    vio_close(file);
    tear_down(f);
}

static void direct_files_move_whole_blocks(void **state)
{
    fixture *f = set_up(state);
    vio_file *file = must_open(f, "f", VIO_READ | VIO_WRITE | VIO_CREATE | VIO_DIRECT | VIO_DSYNC);
    uint8_t *buf = vv_alloc_aligned(VV_BLOCK, 4 * VV_BLOCK);
    memset(buf, 7, 3 * VV_BLOCK);
    assert_ok(vio_allocate(file, 8 * VV_BLOCK, &f->err), f->err);
    assert_ok(vio_pwrite(file, VV_BLOCK, buf, 3 * VV_BLOCK, &f->err), f->err);
    assert_ok(vio_pread_full(file, 0, buf, 4 * VV_BLOCK, &f->err), f->err);
    assert_int_equal(buf[VV_BLOCK - 1], 0);
    assert_int_equal(buf[VV_BLOCK], 7);
    size_t got = 1;
    assert_ok(vio_pread(file, 6 * VV_BLOCK, buf, 4 * VV_BLOCK, &got, &f->err), f->err);
    assert_int_equal(got, 2 * VV_BLOCK);
    vio_close(file);
    /* The end of the file is inside a block. */
    must_write_file(f, "g", "short");
    file = must_open(f, "g", VIO_READ | VIO_DIRECT);
    assert_ok(vio_pread(file, 0, buf, 2 * VV_BLOCK, &got, &f->err), f->err);
    assert_int_equal(got, 5);
    vio_close(file);
    vv_free(buf);
    tear_down(f);
}

static void rename_replaces_and_keeps_open_files(void **state)
{
    fixture *f = set_up(state);
    must_write_file(f, "old", "old");
    must_write_file(f, "new", "new");
    vio_file *file = must_open(f, "old", VIO_READ);
    assert_ok(vio_rename(f->io, "new", "old", &f->err), f->err);
    must_hold(f, "old", "new");
    uint8_t buf[3];
    assert_ok(vio_pread_full(file, 0, buf, 3, &f->err), f->err);
    assert_memory_equal(buf, "old", 3);
    vio_close(file);
    assert_status(VV_NOT_FOUND, vio_open(f->io, "new", VIO_READ, &file, &f->err));
    assert_status(VV_NOT_FOUND, vio_rename(f->io, "new", "old", &f->err));
    assert_status(VV_NOT_FOUND, vio_rename(f->io, "old", "no/x", &f->err));
    assert_ok(vio_rename(f->io, "old", "old", &f->err), f->err);
    must_hold(f, "old", "new");
    tear_down(f);
}

static void removed_files_stay_readable_while_open(void **state)
{
    fixture *f = set_up(state);
    must_write_file(f, "f", "text");
    vio_file *file = must_open(f, "f", VIO_READ);
    assert_ok(vio_remove(f->io, "f", &f->err), f->err);
    assert_status(VV_NOT_FOUND, vio_remove(f->io, "f", &f->err));
    uint8_t buf[4];
    assert_ok(vio_pread_full(file, 0, buf, 4, &f->err), f->err);
    assert_memory_equal(buf, "text", 4);
    must_write_file(f, "f", "second");
    assert_ok(vio_pread_full(file, 0, buf, 4, &f->err), f->err);
    assert_memory_equal(buf, "text", 4);
    vio_close(file);
    must_hold(f, "f", "second");
    tear_down(f);
}

static void links_are_two_names_of_one_file(void **state)
{
    fixture *f = set_up(state);
    must_write_file(f, "f", "one");
    assert_ok(vio_link(f->io, "f", "g", &f->err), f->err);
    assert_status(VV_CONFLICT, vio_link(f->io, "f", "g", &f->err));
    assert_status(VV_NOT_FOUND, vio_link(f->io, "no", "h", &f->err));
    assert_ok(vio_rename(f->io, "f", "g", &f->err), f->err); /* POSIX: both names stand */
    assert_ok(vio_remove(f->io, "f", &f->err), f->err);
    must_hold(f, "g", "one");
    tear_down(f);
}

static void absolute_paths_reach_outside_for_checkpoints(void **state)
{
    fixture *f = set_up(state);
    char path[200];
    must_write_file(f, "f", "data");
    assert_ok(vio_mkdir(f->io, f->other, &f->err), f->err);
    (void)snprintf(path, sizeof path, "%s/f", f->other);
    assert_ok(vio_link(f->io, "f", path, &f->err), f->err);
    assert_ok(vio_remove(f->io, "f", &f->err), f->err);
    must_hold(f, path, "data");
    (void)snprintf(path, sizeof path, "%s/g", f->other);
    assert_ok(vio_write_file_atomic(f->io, path, vv_slice_str("two"), &f->err), f->err);
    must_hold(f, path, "two");
    tear_down(f);
}

typedef struct seen {
    vio *io;
    size_t count;
    char text[256];
} seen;

static void see(void *ctx, const char *name)
{
    seen *s = ctx;
    s->count++;
    strcat(s->text, name);
    strcat(s->text, " ");
}

static void see_and_remove(void *ctx, const char *name)
{
    seen *s = ctx;
    see(ctx, name);
    assert_status(VV_OK, vio_remove(s->io, name, NULL));
}

static void directories_are_made_listed_and_removed(void **state)
{
    fixture *f = set_up(state);
    assert_ok(vio_mkdir(f->io, "d", &f->err), f->err);
    assert_ok(vio_mkdir(f->io, "d", &f->err), f->err);
    assert_ok(vio_mkdir(f->io, "", &f->err), f->err);
    assert_status(VV_NOT_FOUND, vio_mkdir(f->io, "no/d", &f->err));
    must_write_file(f, "file", "x");
    assert_status(VV_IO, vio_mkdir(f->io, "file", &f->err));
    must_write_file(f, "d/b", "x");
    must_write_file(f, "d/a", "x");
    must_write_file(f, "d/a.x", "x");
    assert_ok(vio_mkdir(f->io, "d/c", &f->err), f->err);
    seen s = {.io = f->io};
    assert_ok(vio_list(f->io, "d", see, &s, &f->err), f->err);
    assert_string_equal(s.text, "a a.x b c ");
    s = (seen){.io = f->io};
    assert_ok(vio_list(f->io, "", see, &s, &f->err), f->err);
    assert_string_equal(s.text, "d file ");
    assert_status(VV_NOT_FOUND, vio_list(f->io, "no", see, &s, &f->err));
    assert_status(VV_IO, vio_list(f->io, "file", see, &s, &f->err));
    assert_status(VV_IO, vio_remove(f->io, "d", &f->err)); /* not empty */
    assert_ok(vio_rename(f->io, "d", "e", &f->err), f->err);
    must_hold(f, "e/a", "x");
    vio_file *file = NULL;
    assert_status(VV_NOT_FOUND, vio_open(f->io, "d/a", VIO_READ, &file, &f->err));
    assert_ok(vio_sync_dir(f->io, "e", &f->err), f->err);
    assert_ok(vio_sync_dir(f->io, "", &f->err), f->err);
    assert_status(VV_NOT_FOUND, vio_sync_dir(f->io, "d", &f->err));
    tear_down(f);
}

static void a_listing_may_remove_what_it_lists(void **state)
{
    fixture *f = set_up(state);
    char name[32];
    for (int i = 0; i < 40; i++) {
        (void)snprintf(name, sizeof name, "f%02d", i);
        must_write_file(f, name, "x");
    }
    seen s = {.io = f->io};
    assert_ok(vio_list(f->io, "", see_and_remove, &s, &f->err), f->err);
    assert_int_equal(s.count, 40);
    s = (seen){.io = f->io};
    assert_ok(vio_list(f->io, "", see, &s, &f->err), f->err);
    assert_int_equal(s.count, 0);
    tear_down(f);
}

static void a_lock_has_one_holder(void **state)
{
    fixture *f = set_up(state);
    vio_file *lock = NULL;
    vio_file *second = NULL;
    assert_ok(vio_lock(f->io, "LOCK", &lock, &f->err), f->err);
    assert_status(VV_BUSY, vio_lock(f->io, "LOCK", &second, &f->err));
    assert_null(second);
    char holder[32];
    (void)snprintf(holder, sizeof holder, "process %ld ", f->on->parent ? (long)getpid() : 1L);
    assert_non_null(strstr(f->err.msg, holder));
    vio_close(lock);
    assert_ok(vio_lock(f->io, "LOCK", &lock, &f->err), f->err);
    vio_close(lock);
    tear_down(f);
}

static void a_map_is_the_file(void **state)
{
    fixture *f = set_up(state);
    vio_file *file = must_open(f, "ring", VIO_READ | VIO_WRITE | VIO_CREATE);
    static uint8_t zeros[4 * VV_BLOCK];
    uint8_t *map = NULL;
    assert_status(VV_INVALID, vio_map(file, VV_BLOCK, &map, &f->err)); /* SIGBUS otherwise */
    assert_ok(vio_pwrite(file, 0, zeros, sizeof zeros, &f->err), f->err);
    assert_ok(vio_pwrite(file, 10, "before", 6, &f->err), f->err);
    assert_ok(vio_sync(file, &f->err), f->err);
    assert_ok(vio_map(file, sizeof zeros, &map, &f->err), f->err);
    assert_memory_equal(map + 10, "before", 6);
    memcpy(map + 5000, "stored", 6);
    uint8_t buf[6];
    assert_ok(vio_pread_full(file, 5000, buf, 6, &f->err), f->err);
    assert_memory_equal(buf, "stored", 6);
    assert_ok(vio_sync(file, &f->err), f->err);
    memcpy(map + 9000, "second", 6);
    vio_unmap(file, map, sizeof zeros);
    vio_close(file);
    file = must_open(f, "ring", VIO_READ | VIO_WRITE);
    assert_ok(vio_pread_full(file, 9000, buf, 6, &f->err), f->err);
    assert_memory_equal(buf, "second", 6);
    assert_ok(vio_pwrite(file, 9000, "third!", 6, &f->err), f->err);
    assert_ok(vio_map(file, sizeof zeros, &map, &f->err), f->err);
    assert_memory_equal(map + 9000, "third!", 6);
    assert_memory_equal(map + 5000, "stored", 6);
    vio_unmap(file, map, sizeof zeros);
    vio_unmap(file, NULL, 0);
    vio_close(file);
    tear_down(f);
}

static void atomic_writes_replace_and_leave_no_temporary(void **state)
{
    fixture *f = set_up(state);
    assert_ok(vio_mkdir(f->io, "d", &f->err), f->err);
    assert_ok(vio_write_file_atomic(f->io, "d/CURRENT", vv_slice_str("one, long"), &f->err),
              f->err);
    must_hold(f, "d/CURRENT", "one, long");
    must_write_file(f, "d/CURRENT.tmp", "left over by a crash, longer than the new");
    assert_ok(vio_write_file_atomic(f->io, "d/CURRENT", vv_slice_str("two"), &f->err), f->err);
    must_hold(f, "d/CURRENT", "two");
    assert_ok(vio_write_file_atomic(f->io, "top", vv_slice_of(NULL, 0), &f->err), f->err);
    must_hold(f, "top", "");
    seen s = {.io = f->io};
    assert_ok(vio_list(f->io, "d", see, &s, &f->err), f->err);
    assert_string_equal(s.text, "CURRENT ");
    assert_status(VV_NOT_FOUND, vio_write_file_atomic(f->io, "no/x", vv_slice_str("x"), &f->err));
    tear_down(f);
}

static void a_file_over_the_limit_is_not_read(void **state)
{
    fixture *f = set_up(state);
    must_write_file(f, "f", "12345");
    uint8_t *data = NULL;
    size_t len = 0;
    assert_status(VV_CORRUPT, vio_read_file(f->io, "f", 4, &data, &len, &f->err));
    assert_non_null(strstr(f->err.msg, "'f'"));
    assert_ok(vio_read_file(f->io, "f", 5, &data, &len, &f->err), f->err);
    vv_free(data);
    assert_status(VV_NOT_FOUND, vio_read_file(f->io, "no", 4, &data, &len, NULL));
    tear_down(f);
}

/* A file and an array of bytes, driven alike at random, never differ. */
static void prop_a_file_is_an_array_of_bytes(void **state)
{
    enum { MAX = 200000 };
    fixture *f = set_up(state);
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(7));
    static uint8_t model[MAX];
    static uint8_t buf[MAX];
    memset(model, 0, sizeof model);
    uint64_t size = 0;
    vio_file *file = must_open(f, "f", VIO_READ | VIO_WRITE | VIO_CREATE);
    for (int i = 0; i < 400; i++) {
        uint64_t at = vv_rng_below(&rng, MAX);
        size_t len = (size_t)vv_rng_below(&rng, 1 + vv_min_u64(MAX - at, 20000));
        switch (vv_rng_below(&rng, 8)) {
        case 0:
            assert_ok(vio_truncate(file, at, &f->err), f->err);
            if (at < size)
                memset(model + at, 0, size - at);
            size = at;
            break;
        case 1:
            if (at > 0)
                assert_ok(vio_allocate(file, at, &f->err), f->err);
            size = vv_max_u64(size, at);
            break;
        case 2:
            assert_ok(vio_sync(file, &f->err), f->err);
            break;
        default:
            if (vv_rng_one_in(&rng, 4))
                memset(buf, 0, len);
            else
                vv_rng_bytes(&rng, buf, len);
            assert_ok(vio_pwrite(file, at, buf, len, &f->err), f->err);
            memcpy(model + at, buf, len);
            size = len > 0 ? vv_max_u64(size, at + len) : size;
        }
        size_t got = 0;
        at = vv_rng_below(&rng, MAX);
        assert_ok(vio_pread(file, at, buf, MAX - at, &got, &f->err), f->err);
        assert_int_equal(got, at < size ? size - at : 0);
        assert_memory_equal(buf, model + at, got);
    }
    vio_close(file);
    tear_down(f);
}

/* A random path of a small tree: names collide often, directories stand where files are wanted. */
static const char *some_path(vv_rng *rng)
{
    static const char *const paths[] = {"a",   "b", "c",   "d",     "d/a",  "d/b",
                                        "d/e", "e", "e/a", "d/e/x", "no/x", "a/x"};
    return paths[vv_rng_below(rng, ARRAY_LEN(paths))];
}

/* One random call on names; the same on every backend for the same generator. */
static vv_status one_call(vio *io, vv_rng *rng, char *text, vv_error *err)
{
    const char *from = some_path(rng);
    const char *to = some_path(rng);
    uint64_t kind = vv_rng_below(rng, 7);
    vio_file *file = NULL;
    seen s = {.io = io};
    vv_status st = VV_OK;
    switch (kind) {
    case 0:
        st = vio_open(io, from, VIO_WRITE | VIO_CREATE | VIO_EXCL, &file, err);
        break;
    case 1:
        st = vio_open(io, from, VIO_READ, &file, err);
        break;
    case 2:
        /* A directory moves only within its parent, and "d" alone is one at the top. */
        if (strchr(from, '/') == NULL && strchr(to, '/') == NULL)
            st = vio_rename(io, from, to, err);
        break;
    case 3:
        st = vio_remove(io, from, err);
        break;
    case 4:
        st = vio_link(io, from, to, err);
        break;
    case 5:
        st = vio_mkdir(io, from, err);
        break;
    default:
        st = vio_list(io, from, see, &s, err);
    }
    vio_close(file);
    (void)snprintf(text, 300, "%d %s %s: %s", (int)kind, from, to, s.text);
    return st;
}

static void prop_the_simulated_tree_is_the_real_one(void **state)
{
    (void)state;
    uint64_t seed = vv_test_seed(11);
    for (uint64_t round = 0; round < 20; round++) {
        vv_rng rngs[2];
        char text[2][300];
        vv_error err;
        fixture real = *set_up((void *[]){(void *)(uintptr_t)&backends[1]});
        fixture sim = *set_up((void *[]){(void *)(uintptr_t)&backends[2]});
        vv_rng_init(&rngs[0], seed + round);
        vv_rng_init(&rngs[1], seed + round);
        for (int i = 0; i < 300; i++) {
            vv_status a = one_call(real.io, &rngs[0], text[0], &err);
            vv_status b = one_call(sim.io, &rngs[1], text[1], &err);
            /* A file in the middle of a path: the kernel says "not a directory". */
            if (a == VV_IO && b == VV_NOT_FOUND)
                b = a;
            if (a != b || strcmp(text[0], text[1]) != 0)
                fail_msg("VV_SEED=0x%llx: call %d: real %s (%s), simulated %s (%s: %s)",
                         (unsigned long long)(seed + round), i, text[0], vv_status_name(a), text[1],
                         vv_status_name(b), err.msg);
        }
        tear_down(&sim);
        tear_down(&real);
    }
}

#ifdef VV_TEST_HOOKS
/* Every allocation of a workload fails once: a clean answer, and nothing leaks. */
static void every_allocation_may_fail(void **state)
{
    for (int64_t n = 0;; n++) {
        fixture *f = set_up(state);
        vv_alloc_fail_after(n, 0);
        uint64_t before = vv_alloc_count();
        uint8_t *data = NULL;
        size_t len = 0;
        seen s = {0};
        vio_file *lock = NULL;
        vv_status st = vio_mkdir(f->io, "d", &f->err);
        if (st == VV_OK)
            st = vio_lock(f->io, "d/LOCK", &lock, &f->err);
        if (st == VV_OK)
            st = vio_write_file_atomic(f->io, "d/x", vv_slice_str("text"), &f->err);
        if (st == VV_OK)
            st = vio_link(f->io, "d/x", "d/y", &f->err);
        if (st == VV_OK)
            st = vio_read_file(f->io, "d/y", 10, &data, &len, &f->err);
        if (st == VV_OK)
            st = vio_list(f->io, "d", see, &s, &f->err);
        if (st == VV_OK)
            st = vio_remove(f->io, "d/x", &f->err);
        bool reached = vv_alloc_count() - before > (uint64_t)n;
        vv_alloc_fail_after(-1, 0);
        if (st != VV_OK && st != VV_NO_MEMORY)
            fail_msg("allocation %d: %s: %s", (int)n, vv_status_name(st), f->err.msg);
        vio_close(lock);
        vv_free(data);
        tear_down(f);
        if (!reached) {
            assert_int_equal(st, VV_OK);
            return;
        }
    }
}
#endif

typedef void (*law)(void **state);

#define LAW(fn)                                                                                    \
    {                                                                                              \
#fn, fn                                                                                    \
    }
static const struct {
    const char *name;
    law fn;
} laws[] = {
    LAW(open_tells_absent_present_and_exclusive_apart),
    LAW(paths_that_leave_the_root_are_refused),
    LAW(reads_see_writes_holes_and_the_end),
    LAW(a_write_only_file_is_read_back_by_another),
    LAW(truncate_cuts_extends_and_zeroes),
    LAW(allocate_makes_longer_never_shorter),
    LAW(direct_files_move_whole_blocks),
    LAW(rename_replaces_and_keeps_open_files),
    LAW(removed_files_stay_readable_while_open),
    LAW(links_are_two_names_of_one_file),
    LAW(absolute_paths_reach_outside_for_checkpoints),
    LAW(directories_are_made_listed_and_removed),
    LAW(a_listing_may_remove_what_it_lists),
    LAW(a_lock_has_one_holder),
    LAW(a_map_is_the_file),
    LAW(atomic_writes_replace_and_leave_no_temporary),
    LAW(a_file_over_the_limit_is_not_read),
    LAW(prop_a_file_is_an_array_of_bytes),
#ifdef VV_TEST_HOOKS
    LAW(every_allocation_may_fail),
#endif
};

int main(void)
{
    static char names[ARRAY_LEN(backends) * ARRAY_LEN(laws) + 1][96];
    static struct CMUnitTest tests[ARRAY_LEN(backends) * ARRAY_LEN(laws) + 1];
    size_t count = 0;
    for (size_t b = 0; b < ARRAY_LEN(backends); b++) {
        if (backends[b].parent != NULL && access(backends[b].parent, W_OK) != 0) {
            (void)fprintf(stderr, "skipped: %s: %s is not writable\n", backends[b].name,
                          backends[b].parent);
            continue;
        }
        for (size_t l = 0; l < ARRAY_LEN(laws); l++) {
            (void)snprintf(names[count], sizeof names[count], "%s: %s", backends[b].name,
                           laws[l].name);
            tests[count] = (struct CMUnitTest){.name = names[count],
                                               .test_func = laws[l].fn,
                                               .initial_state = (void *)(uintptr_t)&backends[b]};
            count++;
        }
    }
    if (access(backends[1].parent, W_OK) == 0)
        tests[count++] =
            (struct CMUnitTest)cmocka_unit_test(prop_the_simulated_tree_is_the_real_one);
    return _cmocka_run_group_tests("vio conformance", tests, count, NULL, NULL);
}
