/*
 * evlog_file_test.c - lines in a file on the simulated disk: set aside in order, whole, and there
 * in the end whatever call fails once.
 */
#include "vv_test.h"

#include <string.h>

#include "base/alloc.h"
#include "io/vio_sim.h"
#include "server/evlog_sink.h"

#define SIZE_MAX_OF_FILE 2000u
#define LINES 200u

static vv_error err;

static evlog_sink *open_sink(vio *io, vv_clock *clock, uint32_t count)
{
    evlog_sink *sink = NULL;
    const evlog_options opt = {.clock = clock,
                               .io = io,
                               .file = "varved.log",
                               .file_size = SIZE_MAX_OF_FILE,
                               .file_count = count,
                               .form = VV_LOG_LOGFMT};
    assert_ok(evlog_file_create(&opt, &sink, &err), err);
    return sink;
}

static vv_status put_line(evlog_sink *sink, unsigned number)
{
    const vv_kv kvs[] = {VV_KV_U("number", number)};
    const vv_log_record r = {
        .level = VV_LOG_INFO, .module = "m", .msg = "line", .kvs = kvs, .count = 1};
    return sink->ops->put(sink, &r, &err);
}

static vv_status flush(evlog_sink *sink)
{
    uint64_t lost = 0;
    vv_status st = sink->ops->flush(sink, &lost, &err);
    assert_int_equal(lost, 0);
    return st;
}

/* The numbers of the lines, the oldest file first. */
typedef struct numbers {
    unsigned count;
    unsigned at[4 * LINES];
} numbers;

static void read_numbers(vio *io, uint32_t count, numbers *out)
{
    out->count = 0;
    for (uint32_t n = count + 1; n-- > 0;) {
        char name[32];
        uint8_t *text = NULL;
        size_t len = 0;
        if (n == 0)
            (void)snprintf(name, sizeof name, "varved.log");
        else
            (void)snprintf(name, sizeof name, "varved.log.%u", n);
        vv_status st = vio_read_file(io, name, 1 << 20, &text, &len, &err);
        if (st == VV_NOT_FOUND)
            continue;
        assert_ok(st, err);
        assert_true(len == 0 || text[len - 1] == '\n');
        for (char *line = (char *)text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
            unsigned number = 0;
            *end = '\0';
            if (sscanf(line, "level=info module=m msg=line number=%u", &number) == 1) {
                assert_true(out->count < ARRAY_LEN(out->at));
                out->at[out->count++] = number;
            }
        }
        vv_free(text);
    }
}

static void full_files_are_set_aside(void **state)
{
    (void)state;
    vio_sim_disk *disk = vio_sim_disk_create();
    vio *io = NULL;
    static numbers found;
    assert_ok(vio_sim_open(disk, &(vio_sim_options){.seed = 1}, &io, &err), err);
    evlog_sink *sink = open_sink(io, vio_sim_clock(disk), 2);
    for (unsigned i = 0; i < LINES; i++) {
        assert_ok(put_line(sink, i), err);
        if (i % 3 == 0)
            assert_ok(flush(sink), err);
    }
    assert_ok(flush(sink), err);
    sink->ops->destroy(sink);
    read_numbers(io, 3, &found); /* one more than there may be */
    assert_true(found.count > 0 && found.count < LINES);
    for (unsigned i = 0; i < found.count; i++) /* the newest, without a gap */
        assert_int_equal(found.at[i], LINES - found.count + i);
    for (unsigned n = 0; n <= 3; n++) {
        char name[32];
        vio_file *file = NULL;
        uint64_t size = 0;
        (void)snprintf(name, sizeof name, n == 0 ? "varved.log" : "varved.log.%u", n);
        vv_status st = vio_open(io, name, VIO_READ, &file, &err);
        assert_int_equal(st == VV_OK, n <= 2);
        if (st == VV_OK)
            assert_ok(vio_size(file, &size, &err), err);
        vio_close(file);
        assert_true(size <= SIZE_MAX_OF_FILE);
    }
    vio_destroy(io);
    vio_sim_disk_destroy(disk);
}

static void what_is_there_stays(void **state)
{
    (void)state;
    vio_sim_disk *disk = vio_sim_disk_create();
    vio *io = NULL;
    static numbers found;
    uint8_t *text = NULL;
    size_t len = 0;
    assert_ok(vio_sim_open(disk, &(vio_sim_options){.seed = 1}, &io, &err), err);
    static const char before[] = "level=info module=m msg=line number=0\nlevel=info modu";
    assert_ok(vio_write_file_atomic(io, "varved.log", vv_slice_str(before), &err), err);
    evlog_sink *sink = open_sink(io, vio_sim_clock(disk), 3);
    assert_ok(put_line(sink, 1), err);
    assert_ok(flush(sink), err);
    sink->ops->destroy(sink);
    read_numbers(io, 3, &found);
    assert_int_equal(found.count, 2);
    assert_int_equal(found.at[1], 1);
    assert_ok(vio_read_file(io, "varved.log", 1 << 20, &text, &len, &err), err);
    assert_non_null(strstr((char *)text, "module=m msg=line number=0\nlevel=info modu\nlevel="));
    vv_free(text);
    vio_destroy(io);
    vio_sim_disk_destroy(disk);
}

/* Each call to the disk fails once, in a run that sets files aside: what was put is there in the
 * end, in order and once. */
static bool run_with_fault(vio_sim_fault fault, uint64_t at)
{
    vio_sim_disk *disk = vio_sim_disk_create();
    vio *io = NULL;
    static numbers found;
    assert_ok(vio_sim_open(disk, &(vio_sim_options){.seed = 1, .fault = fault, .fault_at = at}, &io,
                           &err),
              err);
    evlog_sink *sink = open_sink(io, vio_sim_clock(disk), 9);
    unsigned failed = 0;
    for (unsigned i = 0; i < LINES; i++) {
        for (unsigned tries = 0; put_line(sink, i) != VV_OK; tries++) {
            failed++;
            assert_true(tries < 100);
            if (tries == 3)
                vio_sim_heal(disk);
        }
        for (unsigned tries = 0; i % 5 == 0 && flush(sink) != VV_OK; tries++) {
            failed++;
            assert_true(tries < 100);
            if (tries == 3)
                vio_sim_heal(disk);
        }
    }
    bool more = vio_sim_fault_sites(disk, fault) >= at;
    vio_sim_heal(disk);
    assert_ok(flush(sink), err);
    sink->ops->destroy(sink);
    read_numbers(io, 9, &found);
    assert_int_equal(found.count, LINES);
    for (unsigned i = 0; i < found.count; i++)
        assert_int_equal(found.at[i], i);
    vio_destroy(io);
    vio_sim_disk_destroy(disk);
    return more;
}

static void every_call_to_the_disk_may_fail(void **state)
{
    (void)state;
    for (uint64_t at = 1; run_with_fault(VIO_SIM_EIO, at); at++)
        ;
    for (uint64_t at = 1; run_with_fault(VIO_SIM_ENOSPC, at); at++)
        ;
    for (uint64_t at = 1; run_with_fault(VIO_SIM_SHORT, at); at++)
        ;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    for (int64_t n = 0, failed = 1; failed != 0; n++) {
        vio_sim_disk *disk = vio_sim_disk_create();
        vio *io = NULL;
        static numbers found;
        assert_ok(vio_sim_open(disk, &(vio_sim_options){.seed = 1}, &io, &err), err);
        evlog_sink *sink = open_sink(io, vio_sim_clock(disk), 3);
        failed = 0;
        vv_alloc_fail_after(n, 0);
        for (unsigned i = 0; i < 3; i++)
            while (put_line(sink, i) != VV_OK)
                failed++;
        while (flush(sink) != VV_OK)
            failed++;
        vv_alloc_fail_after(-1, 0);
        assert_true(n < 10000);
        sink->ops->destroy(sink);
        read_numbers(io, 3, &found);
        assert_int_equal(found.count, 3);
        vio_destroy(io);
        vio_sim_disk_destroy(disk);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_files_are_set_aside),
        cmocka_unit_test(what_is_there_stays),
        cmocka_unit_test(every_call_to_the_disk_may_fail),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
