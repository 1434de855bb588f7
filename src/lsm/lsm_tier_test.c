/*
 * lsm_tier_test.c - runs and value files in an object store: which go, how they are read there, and
 * when their objects go.
 */
#include "lsm/lsm_tier_test_util.h"

#include "engine/engine_get.h"

static void old_runs_and_their_values_move(void **state)
{
    (void)state;
    bed b;
    start_remote(&b, vv_test_seed(1), 150);
    engine_stats stats = stats_of(&b);
    names n = list_names(&b);
    assert_true(stats.remote_files > 2 && stats.value_files > 0);
    assert_int_equal(n.runs, 0);
    assert_int_equal(n.values, 0);
    assert_int_equal(n.sides, stats.remote_files - stats.value_files);
    assert_int_equal(stats.disk_bytes, 0);
    assert_int_equal(objs_bucket_objects(b.bucket), stats.remote_files);
    assert_int_equal(objs_bucket_uploads(b.bucket), 0);
    verify(&b, "moved");
    reopen(&b, "moved");
    assert_int_equal(stats_of(&b).remote_files, stats.remote_files);
    verify(&b, "opened again");
    write_some(&b, 100); /* what is new is merged with what is remote */
    sink(&b);
    verify(&b, "merged");
    move_all(&b);
    expect_whole(&b, "moved again");
    stop(&b);
}

static void what_is_young_stays(void **state)
{
    (void)state;
    vv_error err;
    bed b;
    init(&b, vv_test_seed(2));
    b.tier.run_age_ns = INT64_C(1000) * VV_NS_PER_S;
    power_on(&b, &(vio_sim_options){.seed = 1});
    open_store(&b);
    write_some(&b, 100);
    sink(&b);
    assert_ok(tier_all(&b, &err), err);
    assert_int_equal(objs_bucket_objects(b.bucket), 0);
    vio_sim_advance(b.w.disk, INT64_C(600) * VV_NS_PER_S);
    reopen(&b, "young"); /* the age is in the manifest */
    sink(&b);
    assert_ok(tier_all(&b, &err), err);
    assert_int_equal(objs_bucket_objects(b.bucket), 0);
    vio_sim_advance(b.w.disk, INT64_C(600) * VV_NS_PER_S);
    assert_ok(tier_all(&b, &err), err);
    assert_true(objs_bucket_objects(b.bucket) > 0);
    stop(&b);
}

static void by_size_the_oldest_go_until_the_rest_fits(void **state)
{
    (void)state;
    vv_error err;
    bed b;
    init(&b, vv_test_seed(3));
    b.tier.run_age_ns = 0;
    power_on(&b, &(vio_sim_options){.seed = 1});
    open_store(&b);
    write_some(&b, 150);
    sink(&b);
    uint64_t all = stats_of(&b).disk_bytes;
    assert_ok(tier_all(&b, &err), err); /* no policy: nothing moves */
    assert_int_equal(stats_of(&b).remote_files, 0);
    b.tier.run_local_bytes = all / 2;
    assert_ok(tier_all(&b, &err), err);
    engine_stats stats = stats_of(&b);
    assert_true(stats.remote_files > 0 && stats.disk_bytes <= all / 2 && stats.disk_bytes > 0);
    assert_int_equal(stats.disk_bytes + stats.remote_bytes, all);
    expect_whole(&b, "by size");
    stop(&b);
}

static void filters_answer_without_a_request(void **state)
{
    (void)state;
    bed b;
    start_remote(&b, vv_test_seed(4), 150);
    reopen(&b, "filters");
    objs_bucket_set(b.bucket, &(objs_memory_options){.seed = 1});
    unsigned asked = 0;
    for (unsigned i = 0; i < 200; i++) {
        vv_error err;
        engine_value value;
        uint8_t key[32];
        engine_read read = {.version = b.w.version};
        vv_put_be32(key, 1);
        int n = snprintf((char *)key + 4, 28, "key/%03u-not-there", i % 20);
        assert_status(VV_NOT_FOUND,
                      lsm_ops.get(b.w.e, vv_slice_of(key, 4 + (size_t)n), &read, &value, &err));
        asked++;
    }
    assert_true(objs_bucket_requests(b.bucket) < asked / 4);
    stop(&b);
}

static void a_cursor_reads_ahead(void **state)
{
    (void)state;
    bed b;
    init(&b, vv_test_seed(5));
    b.w.opt.block_size = 512;
    b.w.opt.target_file_size = 256 * VV_KIB;
    b.w.opt.cache_size = 4 * VV_KIB;
    power_on(&b, &(vio_sim_options){.seed = 1});
    open_store(&b);
    write_some(&b, 250);
    sink(&b);
    move_all(&b);
    objs_bucket_set(b.bucket, &(objs_memory_options){.seed = 1});
    (void)tw_verify_scan(&b.w, false, "ahead");
    engine_stats stats = stats_of(&b);
    uint64_t blocks = stats.remote_bytes / 600;
    assert_true(objs_bucket_requests(b.bucket) < blocks / 2 + 8);
    stop(&b);
}

static void gets_in_steps_meet_objects(void **state)
{
    (void)state;
    bed b;
    start_remote(&b, vv_test_seed(6), 150);
    uint8_t bytes[TIER_KEYS][32];
    vv_slice keys[TIER_KEYS];
    engine_value values[TIER_KEYS];
    vv_status status[TIER_KEYS];
    for (unsigned k = 0; k < TIER_KEYS; k++)
        keys[k] = tw_key(k, bytes[k]);
    vv_error err;
    engine_read read = {.version = b.w.version};
    assert_ok(
        engine_multi_get_by_steps(b.w.e, b.w.env.io, keys, TIER_KEYS, &read, values, status, &err),
        err);
    for (unsigned k = 0; k < TIER_KEYS; k++) {
        engine_value one;
        assert_status(status[k], lsm_ops.get(b.w.e, keys[k], &read, &one, &err));
        if (status[k] != VV_OK)
            continue;
        assert_true(vv_slice_eq(values[k].data, one.data));
        engine_value_release(&one);
        engine_value_release(&values[k]);
    }
    read.from_memory = true; /* and one that must not wait is told so */
    for (unsigned k = 0; k < TIER_KEYS; k++) {
        engine_value one;
        vv_status st = lsm_ops.get(b.w.e, keys[k], &read, &one, &err);
        assert_true(st == VV_OK || st == VV_NOT_FOUND || st == VV_BUSY);
        if (st == VV_OK)
            engine_value_release(&one);
    }
    stop(&b);
}

static void a_reader_of_before_reads_on(void **state)
{
    (void)state;
    vv_error err;
    bed b;
    init(&b, vv_test_seed(7));
    power_on(&b, &(vio_sim_options){.seed = 1});
    open_store(&b);
    write_some(&b, 150);
    sink(&b);
    engine_cursor *c = NULL;
    engine_cursor_options opt = {.read = {.version = b.w.version},
                                 .lower = vv_slice_of("", 1),
                                 .upper = vv_slice_of("\xff", 1)};
    assert_ok(lsm_ops.cursor(b.w.e, &opt, &c, &err), err);
    assert_ok(engine_cursor_seek(c, (vv_slice){0}, &err), err);
    names before = list_names(&b);
    move_all(&b);
    assert_int_equal(list_names(&b).runs, before.runs); /* it may still read them */
    unsigned count = 0;
    for (; engine_cursor_valid(c); count++)
        assert_ok(engine_cursor_next(c, &err), err);
    assert_true(count > 5);
    engine_cursor_close(c);
    assert_ok(tw_work_all(&b.w, &err), err);
    assert_int_equal(list_names(&b).runs, 0);
    verify(&b, "after the cursor");
    stop(&b);
}

/* ---- objects go ---- */

static void merged_and_dropped_runs_leave_no_objects(void **state)
{
    (void)state;
    vv_error err;
    bed b;
    start_remote(&b, vv_test_seed(8), 120);
    uint64_t before = objs_bucket_objects(b.bucket);
    assert_true(before > 2);
    b.tier.run_age_ns = 0;
    sink(&b); /* rewrites every run: what it wrote is local */
    engine_stats stats = stats_of(&b);
    assert_true(stats.remote_files < before); /* value files alone */
    assert_ok(tier_all(&b, &err), err);
    assert_int_equal(objs_bucket_objects(b.bucket), before); /* the grace period */
    vio_sim_advance(b.w.disk, 2 * GRACE_NS);
    assert_ok(tier_all(&b, &err), err);
    assert_int_equal(objs_bucket_objects(b.bucket), stats.remote_files);
    assert_int_equal(list_names(&b).sides, 0);
    expect_whole(&b, "rewritten");
    stop(&b);
}

typedef struct copied {
    bed *b;
    unsigned remote, local;
} copied;

static vv_status copy_file(void *ctx, const engine_file *file, vv_error *err)
{
    copied *c = ctx;
    if (file->content.data != NULL)
        return VV_OK;
    if (file->remote_of == NULL) {
        c->local++;
        return VV_OK;
    }
    vio_file *in = NULL;
    uint64_t size = 0;
    uint8_t byte = 0;
    c->remote++;
    vv_status st = file->remote_of->ops->open_remote(file->remote_of, file->path, &in, err);
    assert_int_equal(st, VV_OK);
    assert_ok(vio_size(in, &size, err), *err);
    for (uint64_t at = 0; st == VV_OK && at < size; at += 97)
        st = vio_pread_full(in, at, &byte, 1, err);
    vio_close(in);
    return st;
}

static void a_copy_has_everything_and_names_no_object(void **state)
{
    (void)state;
    vv_error err;
    bed b;
    int64_t checkpoint = 0;
    start_remote(&b, vv_test_seed(9), 120);
    copied c = {.b = &b};
    lsm_hold_files(b.w.e);
    assert_ok(lsm_ops.list_files(b.w.e, copy_file, &c, &checkpoint, &err), err);
    assert_int_equal(c.remote, stats_of(&b).remote_files);
    assert_int_equal(c.local, 0);
    vv_buf image;
    char current[LSM_CURRENT_MAX];
    vv_buf_init(&image, LSM_MANIFEST_MAX);
    assert_ok(lsm_manifest_image(&lsm_engine_of(b.w.e)->manifest, &image, current, &err), err);
    assert_null(memmem(image.data, image.len, "runs/abab", 9));
    vv_buf_fini(&image);
    lsm_ops.release_files(b.w.e);
    stop(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(old_runs_and_their_values_move),
        cmocka_unit_test(what_is_young_stays),
        cmocka_unit_test(by_size_the_oldest_go_until_the_rest_fits),
        cmocka_unit_test(filters_answer_without_a_request),
        cmocka_unit_test(a_cursor_reads_ahead),
        cmocka_unit_test(gets_in_steps_meet_objects),
        cmocka_unit_test(a_reader_of_before_reads_on),
        cmocka_unit_test(merged_and_dropped_runs_leave_no_objects),
        cmocka_unit_test(a_copy_has_everything_and_names_no_object),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
