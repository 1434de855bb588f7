/*
 * vio_posix_test.c - what only real files can show: locks between processes, limits of the system,
 * failing devices, and the sentences an operator reads then.
 */
#include "vv_test.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/point.h"
#include "io/vio.h"

#define NOBODY 65534

static vv_error err;
static char dir[64];

static int set_up(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof dir, "/tmp/vio-posix-XXXXXX");
    return mkdtemp(dir) == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    char command[96];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

static vio *must_create(void)
{
    vio *io = NULL;
    assert_ok(vio_posix_create(dir, &io, &err), err);
    return io;
}

/* Run fn in a child that may lower its limits; its exit code is the number of a failed check. */
static void in_child(int (*fn)(void))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(fn());
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("the child ended with 0x%x", (unsigned)status);
}

static int lock_in_child(void)
{
    vio *io = NULL;
    vio_file *lock = NULL;
    if (vio_posix_create(dir, &io, &err) != VV_OK)
        return 1;
    if (vio_lock(io, "LOCK", &lock, &err) != VV_BUSY)
        return 2;
    char want[32];
    (void)snprintf(want, sizeof want, "process %ld holds it", (long)getppid());
    int rc = strstr(err.msg, want) == NULL ? 3 : 0;
    vio_destroy(io);
    return rc;
}

static void a_lock_keeps_other_processes_out(void **state)
{
    (void)state;
    vio *io = must_create();
    vio_file *lock = NULL;
    assert_ok(vio_lock(io, "LOCK", &lock, &err), err);
    in_child(lock_in_child);
    vio_close(lock);
    vio_destroy(io);
}

/* A process that dies holding the lock leaves the file and not the lock. */
static void a_lock_ends_with_its_process(void **state)
{
    (void)state;
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        vio *child_io = NULL;
        vio_file *lock = NULL;
        bool ok = vio_posix_create(dir, &child_io, NULL) == VV_OK &&
                  vio_lock(child_io, "LOCK", &lock, NULL) == VV_OK;
        (void)!write(ready[1], ok ? "y" : "n", 1);
        for (;;)
            (void)pause();
    }
    char answer = 0;
    assert_int_equal(read(ready[0], &answer, 1), 1);
    assert_int_equal(answer, 'y');
    vio *io = must_create();
    vio_file *lock = NULL;
    assert_status(VV_BUSY, vio_lock(io, "LOCK", &lock, &err));
    char want[32];
    (void)snprintf(want, sizeof want, "process %ld holds it", (long)pid);
    assert_non_null(strstr(err.msg, want));
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_ok(vio_lock(io, "LOCK", &lock, &err), err);
    vio_close(lock);
    vio_destroy(io);
    (void)close(ready[0]);
    (void)close(ready[1]);
}

static int create_as_nobody(void)
{
    vio *io = NULL;
    vio_file *file = NULL;
    if (vio_posix_create(dir, &io, &err) != VV_OK)
        return 1;
    if (chmod(dir, 0555) != 0 || setuid(NOBODY) != 0)
        return 2;
    if (vio_open(io, "f", VIO_WRITE | VIO_CREATE, &file, &err) != VV_IO)
        return 3;
    if (strstr(err.msg, dir) == NULL || strstr(err.msg, "Permission denied") == NULL)
        return 4;
    if (vio_mkdir(io, "d", &err) != VV_IO || vio_lock(io, "LOCK", &file, &err) != VV_IO)
        return 5;
    vio_destroy(io);
    return 0;
}

static void a_directory_without_rights_says_so(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        (void)fprintf(stderr, "skipped: needs root to become nobody\n");
        skip();
    }
    in_child(create_as_nobody);
    (void)chmod(dir, 0755);
}

static int open_without_descriptors(void)
{
    vio *io = NULL;
    vio_file *files[64] = {0};
    if (vio_posix_create(dir, &io, &err) != VV_OK || vio_mkdir(io, "", &err) != VV_OK)
        return 1;
    struct rlimit limit = {20, 20};
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 2;
    vv_status st = VV_OK;
    size_t n = 0;
    while (st == VV_OK && n < ARRAY_LEN(files))
        st = vio_open(io, "f", VIO_WRITE | VIO_CREATE, &files[n++], &err);
    if (st != VV_IO || strstr(err.msg, "raise the limit on open files") == NULL)
        return 3;
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        vio_close(files[i]);
    if (vio_open(io, "f", VIO_WRITE, &files[0], &err) != VV_OK)
        return 4;
    vio_close(files[0]);
    vio_destroy(io);
    return 0;
}

static void running_out_of_descriptors_says_so(void **state)
{
    (void)state;
    in_child(open_without_descriptors);
}

/* A limit inside a transfer makes the kernel write a part and then refuse the rest. */
static int write_over_limit(void)
{
    vio *io = NULL;
    if (vio_posix_create(dir, &io, &err) != VV_OK)
        return 1;
    (void)signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit = {6000, 6000};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
        return 2;
    uint8_t *buf = vv_alloc_aligned(VV_BLOCK, 4 * VV_BLOCK);
    if (buf == NULL)
        return 3;
    memset(buf, 5, 4 * VV_BLOCK);
    const unsigned flags[] = {0, VIO_DSYNC, VIO_DIRECT, VIO_DIRECT | VIO_DSYNC};
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        vio_file *file = NULL;
        uint8_t head[16];
        if (vio_open(io, "f", VIO_READ | VIO_WRITE | VIO_CREATE | flags[i], &file, &err) != VV_OK)
            return 4;
        if (vio_pwrite(file, 0, buf, 4 * VV_BLOCK, &err) != VV_IO)
            return 5;
        if (strstr(err.msg, "file size limit") == NULL && !(flags[i] & VIO_DIRECT))
            return 6;
        bool latched = vio_pwrite(file, 0, buf, VV_BLOCK, &err) != VV_OK;
        if (latched != ((flags[i] & VIO_DSYNC) != 0))
            return 7;
        vio_close(file);
        /* A direct transfer cut down to 6000 bytes is refused as unaligned, and writes nothing. */
        if (vio_open(io, "f", VIO_READ, &file, &err) != VV_OK)
            return 8;
        if (!(flags[i] & VIO_DIRECT) &&
            (vio_pread_full(file, 0, head, sizeof head, &err) != VV_OK || head[15] != 5))
            return 10;
        vio_close(file);
        if (vio_remove(io, "f", &err) != VV_OK)
            return 9;
    }
    vv_free(buf);
    vio_destroy(io);
    return 0;
}

static void a_short_write_ends_in_the_error_behind_it(void **state)
{
    (void)state;
    in_child(write_over_limit);
}

/* /dev/full refuses every write with ENOSPC and cannot be synced. */
static void a_full_device_says_no_space_and_latches_dsync(void **state)
{
    (void)state;
    vio *io = must_create();
    vio_file *file = NULL;
    assert_ok(vio_open(io, "/dev/full", VIO_WRITE, &file, &err), err);
    assert_status(VV_NO_SPACE, vio_pwrite(file, 0, "x", 1, &err));
    assert_string_equal(err.msg, "write '/dev/full' (the disk is full: free some space): "
                                 "No space left on device");
    assert_status(VV_IO, vio_sync(file, &err));
    char first[sizeof err.msg];
    memcpy(first, err.msg, sizeof first);
    assert_status(VV_IO, vio_pwrite(file, 0, "x", 1, &err)); /* the sync's answer, not ENOSPC */
    assert_string_equal(err.msg, first);
    assert_status(VV_IO, vio_truncate(file, 0, &err));
    assert_status(VV_IO, vio_allocate(file, 1, NULL));
    vio_close(file);
    assert_ok(vio_open(io, "/dev/full", VIO_WRITE | VIO_DSYNC, &file, &err), err);
    assert_status(VV_NO_SPACE, vio_pwrite(file, 0, "x", 1, &err));
    assert_status(VV_NO_SPACE, vio_sync(file, &err));
    vio_close(file);
    vio_destroy(io);
}

static void the_root_is_made_with_its_parents(void **state)
{
    (void)state;
    char root[128];
    (void)snprintf(root, sizeof root, "%s/x//y/z/", dir);
    vio *io = NULL;
    vio_file *file = NULL;
    assert_status(VV_INVALID, vio_posix_create("", &io, &err));
    assert_ok(vio_posix_create(root, &io, &err), err);
    assert_status(VV_NOT_FOUND, vio_open(io, "f", VIO_WRITE | VIO_CREATE, &file, &err));
    assert_ok(vio_mkdir(io, "", &err), err);
    assert_ok(vio_open(io, "f", VIO_WRITE | VIO_CREATE, &file, &err), err);
    vio_close(file);
    vio_destroy(io);
    (void)snprintf(root, sizeof root, "%s/x/y/z/f", dir);
    assert_ok(vio_posix_create(root, &io, &err), err);
    assert_status(VV_IO, vio_mkdir(io, "", &err));
    assert_non_null(strstr(err.msg, "z/f"));
    vio_destroy(io);
}

/* A store's directory may be renamed under a running store. */
static void the_root_is_a_handle_not_a_name(void **state)
{
    (void)state;
    char root[128];
    char moved[128];
    (void)snprintf(root, sizeof root, "%s/before", dir);
    (void)snprintf(moved, sizeof moved, "%s/after", dir);
    vio *io = NULL;
    assert_ok(vio_posix_create(root, &io, &err), err);
    assert_ok(vio_mkdir(io, "", &err), err);
    assert_int_equal(rename(root, moved), 0);
    assert_ok(vio_write_file_atomic(io, "f", vv_slice_str("x"), &err), err);
    (void)snprintf(moved, sizeof moved, "%s/after/f", dir);
    assert_int_equal(access(moved, R_OK), 0);
    vio_destroy(io);
}

static void links_across_file_systems_are_copies(void **state)
{
    (void)state;
    if (access("/dev/shm", W_OK) != 0) {
        (void)fprintf(stderr, "skipped: /dev/shm is not writable\n");
        skip();
    }
    char to[64];
    (void)snprintf(to, sizeof to, "/dev/shm/vio-link-%ld", (long)getpid());
    vio *io = must_create();
    vio_file *file = NULL;
    static uint8_t data[200000];
    memset(data, 3, sizeof data);
    assert_ok(vio_open(io, "big", VIO_WRITE | VIO_CREATE, &file, &err), err);
    assert_ok(vio_pwrite(file, 0, data, sizeof data, &err), err);
    vio_close(file);
    assert_ok(vio_link(io, "big", to, &err), err);
    assert_status(VV_CONFLICT, vio_link(io, "big", to, &err));
    uint8_t *back = NULL;
    size_t len = 0;
    assert_ok(vio_read_file(io, to, sizeof data, &back, &len, &err), err);
    assert_int_equal(len, sizeof data);
    assert_memory_equal(back, data, len);
    vv_free(back);
    assert_ok(vio_remove(io, to, &err), err);
#ifdef VV_TEST_HOOKS
    vv_alloc_fail_after(0, 0);
    assert_status(VV_NO_MEMORY, vio_link(io, "big", to, &err));
    vv_alloc_fail_after(-1, 0);
    assert_status(VV_NOT_FOUND, vio_remove(io, to, &err)); /* no half copy */
#endif
    vio_destroy(io);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_lock_keeps_other_processes_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_lock_ends_with_its_process, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_directory_without_rights_says_so, set_up, tear_down),
        cmocka_unit_test_setup_teardown(running_out_of_descriptors_says_so, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_short_write_ends_in_the_error_behind_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_full_device_says_no_space_and_latches_dsync, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_root_is_made_with_its_parents, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_root_is_a_handle_not_a_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(links_across_file_systems_are_copies, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
