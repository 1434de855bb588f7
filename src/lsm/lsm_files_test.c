/*
 * lsm_files_test.c - a store of 10,000 runs in a process that may open a hundred files.
 */
#include "vv_test.h"

#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "io/env.h"
#include "lsm/lsm.h"
#include "lsm/lsm_filter.h"
#include "lsm/lsm_manifest.h"

#define RUNS 10000u
#define BOUND 64u
#define PROCESS 100u /* descriptors of this process */

typedef struct bed {
    char dir[64];
    vv_env env;
    engine *e;
} bed;

static vv_slice key_of(uint32_t run, uint8_t buf[16])
{
    vv_put_be32(buf, 1);
    int n = snprintf((char *)buf + 4, 12, "k%06u", run);
    return vv_slice_of(buf, 4 + (size_t)n);
}

static void write_run(lsm_store *store, uint64_t id, uint32_t i, lsm_meta *meta)
{
    vv_error err;
    uint8_t buf[16];
    lsm_writer *w = NULL;
    lsm_writer_options opt = {.store = store,
                              .id = id,
                              .level = 1,
                              .block_size = 4096,
                              .codec = CODEC_NONE,
                              .filter_bits = LSM_FILTER_BITS,
                              .buffer_size = 8192};
    assert_ok(lsm_writer_open(&opt, &w, &err), err);
    engine_item item = {.key = key_of(i, buf), .version = 1 + (int64_t)i, .kind = ENGINE_PUT};
    item.value = item.key;
    assert_ok(lsm_writer_add(w, &item, &err), err);
    assert_ok(lsm_writer_finish(w, meta, &err), err);
    lsm_writer_close(w);
}

/* 10,000 sorted runs of one key each, in one edit of the manifest. */
static void make_store(bed *b)
{
    vv_error err;
    lsm_manifest m;
    lsm_store *store = vv_alloc_aligned(64, sizeof *store);
    lsm_meta *metas = vv_calloc(RUNS, sizeof *metas);
    assert_non_null(store);
    assert_non_null(metas);
    assert_ok(vio_mkdir(b->env.io, "", &err), err);
    assert_ok(vio_mkdir(b->env.io, "s", &err), err);
    assert_ok(lsm_manifest_open(&m, &b->env, "s", 0, false, &err), err);
    assert_ok(lsm_store_init(store, &b->env, "s", 0, VV_MIB, NULL, &err), err);
    for (uint32_t i = 0; i < RUNS; i++) {
        uint64_t id = 0;
        assert_ok(lsm_manifest_new_id(&m, &id, &err), err);
        write_run(store, id, i, &metas[i]);
    }
    lsm_edit edit = {.add = metas, .add_count = RUNS, .checkpoint = RUNS};
    assert_ok(lsm_manifest_commit(&m, &edit, &err), err);
    for (uint32_t i = 0; i < RUNS; i++)
        lsm_meta_fini(&metas[i]);
    lsm_manifest_close(&m);
    lsm_store_fini(store);
    vv_free(store);
    vv_free(metas);
}

static void open_engine(bed *b, bool direct)
{
    vv_error err;
    engine_options opt = {.env = &b->env,
                          .dir = "s",
                          .cache_size = VV_MIB, /* a quarter of the blocks */
                          .compress = true,
                          .direct_io = direct};
    assert_ok(lsm_ops.open(&opt, &b->e, &err), err);
}

static void check_all(bed *b)
{
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(7));
    vv_error err;
    engine_read read = {.version = RUNS + 1};
    for (uint32_t n = 0; n < 2 * RUNS; n++) {
        uint32_t i = n < RUNS ? n : (uint32_t)vv_rng_below(&rng, RUNS + 100);
        uint8_t buf[16];
        engine_value value;
        vv_slice key = key_of(i, buf);
        vv_status st = lsm_ops.get(b->e, key, &read, &value, &err);
        if (i >= RUNS) {
            assert_status(VV_NOT_FOUND, st);
            continue;
        }
        assert_ok(st, err);
        assert_true(vv_slice_eq(value.data, key));
        assert_int_equal(value.version, 1 + i);
        engine_value_release(&value);
    }
    engine_cursor *c = NULL;
    engine_cursor_options opt = {
        .read = read, .lower = vv_slice_of("", 1), .upper = vv_slice_of("\xff", 1)};
    assert_ok(lsm_ops.cursor(b->e, &opt, &c, &err), err);
    assert_ok(engine_cursor_seek(c, (vv_slice){0}, &err), err);
    for (uint32_t i = 0; i < RUNS; i++) {
        uint8_t buf[16];
        assert_true(engine_cursor_valid(c));
        assert_true(vv_slice_eq(engine_cursor_item(c)->key, key_of(i, buf)));
        assert_ok(engine_cursor_next(c, &err), err);
    }
    assert_false(engine_cursor_valid(c));
    engine_cursor_close(c);
    vio_posix_file_stats stats;
    vio_posix_files(b->env.io, &stats);
    assert_true(stats.held <= BOUND && stats.given_up > RUNS);
}

static void a_store_of_ten_thousand_runs_needs_few_descriptors(void **state)
{
    (void)state;
    bed b = {0}; /* in memory where the system has a place for it: a disk takes its time for them */
    (void)snprintf(b.dir, sizeof b.dir, "%s/lsm-files-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    vv_error err;
    struct rlimit before;
    assert_non_null(mkdtemp(b.dir));
    vio_posix_options io = {.files_max = BOUND};
    assert_ok(env_posix_open(&b.env, b.dir, &io, &err), err);
    make_store(&b);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit low = {PROCESS, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    for (int direct = 0; direct < 2; direct++) {
        open_engine(&b, direct == 1);
        check_all(&b);
        lsm_ops.close(b.e);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    vio_destroy(b.env.io);
    char command[96];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", b.dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_store_of_ten_thousand_runs_needs_few_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
