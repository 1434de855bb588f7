/*
 * lsm_tier_fault_test.c - an object store that fails as a real one does, a disk that loses its
 * power or is full, memory that is short: what is read is what the reference model says, and in the
 * end the store holds exactly the objects that the manifest names.
 */
#include "lsm/lsm_tier_test_util.h"

static void damaged_side_files_are_made_again(void **state)
{
    (void)state;
    vv_error err;
    bed b;
    start_remote(&b, vv_test_seed(10), 100);
    unsigned sides = list_names(&b).sides;
    assert_true(sides > 0);
    lsm_object *objects = NULL;
    uint32_t count = 0;
    assert_ok(lsm_manifest_objects(&lsm_engine_of(b.w.e)->manifest, &objects, &count, &err), err);
    close_store(&b);
    vio_sim_disk_settle(b.w.disk);
    unsigned n = 0;
    for (uint32_t i = 0; i < count; i++) {
        char path[VIO_PATH_MAX];
        if (objects[i].is_values)
            continue;
        lsm_side_path(path, b.w.opt.dir, objects[i].id);
        assert_ok(n % 2 == 0 ? vio_sim_flip_bit(b.w.disk, path, 8 * (60 + 50 * n))
                             : vio_sim_shorten(b.w.disk, path, 70 * n),
                  err);
        n++;
    }
    vv_free(objects);
    power_on(&b, &(vio_sim_options){.seed = 1});
    open_store(&b);
    verify(&b, "sides");
    assert_int_equal(list_names(&b).sides, sides);
    /* Without the object store they are enough to open, and what they know is known. */
    reopen(&b, "sides");
    stop(&b);
}

static void without_an_object_store_reads_say_what_to_set(void **state)
{
    (void)state;
    vv_error err;
    bed b;
    start_remote(&b, vv_test_seed(11), 120);
    vv_object_store *objects = b.objects;
    b.tier.objects = NULL;
    reopen(&b, "no store");
    write_some(&b, 1);
    unsigned failed = tw_verify(&b.w, true, "no store");
    assert_true(failed > 0);
    bool found = false;
    for (unsigned k = 0; k < TIER_KEYS && !found; k++) {
        uint8_t buf[32];
        engine_value value;
        engine_read read = {.version = b.w.version};
        vv_status st = lsm_ops.get(b.w.e, tw_key(k, buf), &read, &value, &err);
        if (st == VV_OK)
            engine_value_release(&value);
        found = st == VV_IO;
    }
    assert_true(found);
    assert_non_null(strstr(err.msg, "storage.backend"));
    assert_status(VV_NOT_FOUND, lsm_ops.tier_work(b.w.e, &err));
    write_some(&b, 20); /* writes go on, and flushes */
    assert_ok(lsm_ops.freeze(b.w.e, &err), err);
    for (int i = 0; i < 200; i++)
        (void)!lsm_ops.work(b.w.e, &err);
    assert_false(stats_of(&b).failed);
    b.tier.objects = objects;
    reopen(&b, "with the store again");
    expect_whole(&b, "with the store again");
    stop(&b);
}

static void an_outage_latches_nothing(void **state)
{
    (void)state;
    vv_error err;
    bed b;
    start_remote(&b, vv_test_seed(12), 120);
    reopen(&b, "outage"); /* an empty cache */
    objs_bucket_set(b.bucket, &(objs_memory_options){.seed = 1, .outage = true});
    assert_true(tw_verify(&b.w, true, "outage") > 0);
    for (unsigned i = 0; i < 40; i++) {
        vv_status st = tw_write(&b.w, b.w.version + 1, &err);
        assert_true(st == VV_OK || st == VV_NOT_FOUND || st == VV_BUSY);
        st = lsm_ops.work(b.w.e, &err);
        assert_true(st == VV_OK || st == VV_NOT_FOUND || st == VV_BUSY);
    }
    assert_ok(lsm_ops.freeze(b.w.e, &err), err);
    for (int i = 0; i < 100; i++) {
        vv_status st = lsm_ops.work(b.w.e, &err);
        assert_true(st == VV_OK || st == VV_NOT_FOUND || st == VV_BUSY);
    }
    vio_sim_advance(b.w.disk, 2 * AGE_NS);
    vv_status st = tier_all(&b, &err);
    assert_true(st == VV_OK || st == VV_IO || st == VV_BUSY);
    assert_false(stats_of(&b).failed);
    objs_bucket_set(b.bucket, &(objs_memory_options){.seed = 1});
    vio_sim_advance(b.w.disk, 60 * VV_NS_PER_S);
    assert_ok(tw_work_all(&b.w, &err), err);
    expect_whole(&b, "after the outage");
    stop(&b);
}

static void a_flipped_byte_names_its_object(void **state)
{
    (void)state;
    vv_error err;
    bed b;
    start_remote(&b, vv_test_seed(13), 120);
    lsm_object *objects = NULL;
    uint32_t count = 0;
    assert_ok(lsm_manifest_objects(&lsm_engine_of(b.w.e)->manifest, &objects, &count, &err), err);
    const lsm_object *run = NULL;
    for (uint32_t i = 0; i < count && run == NULL; i++)
        if (!objects[i].is_values)
            run = &objects[i];
    assert_non_null(run);
    reopen(&b, "flip");
    for (uint64_t at = 40; at < 400; at += 40)
        assert_ok(objs_bucket_flip(b.bucket, run->name, 8 * at), err);
    bool named = false;
    for (unsigned k = 0; k < TIER_KEYS; k++) {
        uint8_t buf[32];
        engine_value value;
        engine_read read = {.version = b.w.version};
        vv_status st = lsm_ops.get(b.w.e, tw_key(k, buf), &read, &value, &err);
        assert_true(st == VV_OK || st == VV_NOT_FOUND || st == VV_CORRUPT);
        if (st == VV_OK)
            engine_value_release(&value);
        named |= st == VV_CORRUPT && strstr(err.msg, run->name) != NULL;
    }
    assert_true(named);
    assert_status(VV_CORRUPT, lsm_ops.check(b.w.e, NULL, NULL, &err));
    vv_free(objects);
    stop(&b);
}

static void a_missing_object_is_damage_and_not_absence(void **state)
{
    (void)state;
    vv_error err;
    bed b;
    start_remote(&b, vv_test_seed(14), 120);
    lsm_object *objects = NULL;
    uint32_t count = 0;
    assert_ok(lsm_manifest_objects(&lsm_engine_of(b.w.e)->manifest, &objects, &count, &err), err);
    reopen(&b, "missing");
    for (uint32_t i = 0; i < count; i++)
        assert_ok(vv_object_remove(b.objects, objects[i].name, NULL, &err), err);
    vv_free(objects);
    assert_true(tw_verify(&b.w, true, "missing") > 0); /* no key is absent that was there */
    assert_status(VV_CORRUPT, lsm_ops.check(b.w.e, NULL, NULL, &err));
    assert_status(VV_CORRUPT, lsm_check_dir(&b.w.env, b.w.opt.dir, 0, &b.tier, NULL, NULL, &err));
    assert_ok(lsm_check_dir(&b.w.env, b.w.opt.dir, 0, NULL, print_finding, NULL, &err), err);
    stop(&b);
}

/* The store does not remove an object, ever: others go, and what is old moves on. */
static void an_object_that_stays_holds_up_nothing(void **state)
{
    (void)state;
    vv_error err;
    bed b;
    char name[sizeof(((lsm_object *)NULL)->name)];
    lsm_object *objects = NULL;
    uint32_t count = 0;
    start_remote(&b, vv_test_seed(15), 120);
    assert_ok(lsm_manifest_objects(&lsm_engine_of(b.w.e)->manifest, &objects, &count, &err), err);
    assert_true(count > 5);
    memcpy(name, objects[0].name, sizeof name);
    vv_free(objects);
    objs_bucket_set(b.bucket, &(objs_memory_options){.seed = 1, .kept = name});
    size_t before = objs_bucket_objects(b.bucket);
    sink(&b); /* rewrites every run */
    (void)!tier_all(&b, &err);
    vio_sim_advance(b.w.disk, 2 * GRACE_NS);
    vv_status st = tier_all(&b, &err);
    assert_status(VV_IO, st);
    assert_non_null(strstr(err.msg, name));
    assert_ok(tw_work_all(&b.w, &err), err);
    assert_int_equal(list_names(&b).runs, 0); /* what was written anew has moved */
    assert_true(objs_bucket_objects(b.bucket) < before + 2);
    assert_int_equal(objs_bucket_objects(b.bucket), stats_of(&b).remote_files + 1);
    for (int i = 0; i < 3; i++) { /* and so it is with most of them */
        write_some(&b, 40);
        sink(&b);
        objs_bucket_set(b.bucket, &(objs_memory_options){.seed = 1, .kept = i == 0 ? "" : "-0000"});
        vio_sim_advance(b.w.disk, 2 * GRACE_NS);
        (void)!tier_all(&b, &err);
        assert_ok(tw_work_all(&b.w, &err), err); /* local files go */
        assert_int_equal(list_names(&b).runs, 0);
    }
    objs_bucket_set(b.bucket, &(objs_memory_options){.seed = 1});
    expect_whole(&b, "they may go");
    stop(&b);
}

/* Each request of a move, and of what follows it, fails once in each way. */
static void walk_requests(objs_memory_fault fault, bool no_conditions)
{
    uint64_t sites = 1;
    for (uint64_t n = 1; n <= sites; n++) {
        char what[64];
        vv_error err;
        bed b;
        (void)snprintf(what, sizeof what, "fault %d at request %" PRIu64, (int)fault, n);
        init(&b, vv_test_seed(20));
        power_on(&b, &(vio_sim_options){.seed = 1});
        open_store(&b);
        write_some(&b, 60);
        sink(&b);
        vio_sim_advance(b.w.disk, 2 * AGE_NS);
        objs_bucket_set(b.bucket, &(objs_memory_options){.seed = n,
                                                         .fault_at = n,
                                                         .fault = fault,
                                                         .slow_ms = 2000,
                                                         .lag = 3,
                                                         .no_conditional_put = no_conditions});
        for (int tries = 0; tries < 4; tries++)
            (void)!tier_all(&b, &err);
        (void)tw_verify(&b.w, true, what);
        sites = objs_bucket_requests(b.bucket);
        vv_status st = tier_all(&b, &err);
        if (st != VV_OK)
            fail_msg("%s: %s", what, err.msg);
        assert_ok(tw_work_all(&b.w, &err), err);
        if (list_names(&b).runs > 0)
            fail_msg("%s: a run stayed", what);
        expect_whole(&b, what);
        stop(&b);
    }
    print_message("  fault %d: %" PRIu64 " requests\n", (int)fault, sites);
    assert_true(sites > 10);
}

static void each_request_fails_once(void **state)
{
    (void)state;
    static const objs_memory_fault faults[] = {
        OBJS_MEMORY_ERROR,         OBJS_MEMORY_THROTTLE,    OBJS_MEMORY_TIMEOUT,
        OBJS_MEMORY_TIMEOUT_AFTER, OBJS_MEMORY_ERROR_AFTER, OBJS_MEMORY_PARTIAL,
        OBJS_MEMORY_WRONG_ETAG,    OBJS_MEMORY_FLIP,        OBJS_MEMORY_SLOW};
    for (size_t i = 0; i < ARRAY_LEN(faults); i++)
        walk_requests(faults[i], false);
}

static void each_request_fails_once_without_conditional_put(void **state)
{
    (void)state;
    walk_requests(OBJS_MEMORY_TIMEOUT_AFTER, true);
    walk_requests(OBJS_MEMORY_ERROR, true);
}

/* The power fails at each write of a move; false when it came to its end. */
static bool cut_in_move(uint64_t seed, uint64_t n)
{
    char what[64];
    vv_error err;
    bed b;
    (void)snprintf(what, sizeof what, "cut at write %" PRIu64, n);
    init(&b, seed);
    power_on(&b, &(vio_sim_options){.seed = seed});
    open_store(&b);
    write_some(&b, 60);
    sink(&b);
    close_store(&b);
    vio_sim_disk_settle(b.w.disk);
    power_on(&b, &(vio_sim_options){.seed = seed + n, .cut_after_writes = n, .tear = true});
    vv_status st = lsm_ops.open(&b.w.opt, &b.w.e, &err);
    vio_sim_advance(b.w.disk, 2 * AGE_NS);
    if (st == VV_OK)
        st = tier_all(&b, &err);
    if (st == VV_OK)
        st = tw_work_all(&b.w, &err); /* local files go */
    bool cut = vio_sim_is_off(b.w.disk);
    if (!cut && st != VV_OK)
        fail_msg("%s: %s", what, err.msg);
    reopen(&b, what);
    verify(&b, what);
    sink(&b);
    move_all(&b);
    if (list_names(&b).runs > 0)
        fail_msg("%s: a run stayed", what);
    expect_whole(&b, what);
    stop(&b);
    return cut;
}

static void prop_no_cut_loses_a_run(void **state)
{
    (void)state;
    uint64_t seeds = vv_test_count("VV_CRASH_SEEDS", 2);
    uint64_t cuts = 0;
    for (uint64_t s = 0; s < seeds; s++)
        for (uint64_t n = 1; cut_in_move(vv_test_seed(30) + s, n); n++)
            cuts++;
    print_message("  %" PRIu64 " cuts\n", cuts);
    assert_true(cuts > 30);
}

/* The disk fails at each site of a move, once or until it is healed. */
static void walk_disk(vio_sim_fault fault, const char *name)
{
    unsigned errors = 0;
    uint64_t n = 1;
    for (bool hit = true; hit; n++) {
        char what[64];
        vv_error err;
        bed b;
        (void)snprintf(what, sizeof what, "%s at site %" PRIu64, name, n);
        init(&b, vv_test_seed(35));
        power_on(&b, &(vio_sim_options){.seed = 1});
        open_store(&b);
        write_some(&b, 60);
        sink(&b);
        close_store(&b);
        vio_sim_disk_settle(b.w.disk);
        power_on(&b, &(vio_sim_options){.seed = n, .fault = fault, .fault_at = n});
        vv_status st = lsm_ops.open(&b.w.opt, &b.w.e, &err);
        vio_sim_advance(b.w.disk, 2 * AGE_NS);
        if (st == VV_OK)
            st = tier_all(&b, &err);
        hit = vio_sim_fault_sites(b.w.disk, fault) >= n;
        errors += st != VV_OK;
        vio_sim_heal(b.w.disk);
        if (b.w.e == NULL)
            open_store(&b);
        verify(&b, what); /* no reopen is needed */
        assert_ok(tier_all(&b, &err), err);
        reopen(&b, what);
        move_all(&b);
        expect_whole(&b, what);
        stop(&b);
    }
    print_message("  %s: %" PRIu64 " sites, errors met in %u\n", name, n - 1, errors);
    assert_true(errors > 5);
}

static void a_disk_that_fails_anywhere(void **state)
{
    (void)state;
    walk_disk(VIO_SIM_EIO, "EIO");
    walk_disk(VIO_SIM_ENOSPC, "a full disk");
}

/* Writes, flushes, merges, moves and reopens at random, a store that fails now and then: what is
 * read is what the model says. */
static void prop_moves_change_nothing(void **state)
{
    (void)state;
    uint64_t seeds = vv_test_count("VV_TIER_SEEDS", 4);
    for (uint64_t s = 0; s < seeds; s++) {
        vv_error err;
        vv_rng rng;
        bed b;
        uint64_t seed = vv_test_seed(40) + s;
        init(&b, seed);
        vv_rng_init(&rng, seed);
        power_on(&b, &(vio_sim_options){.seed = seed});
        open_store(&b);
        objs_memory_options faults = {.seed = seed, .lag = 3};
        for (int f = OBJS_MEMORY_ERROR; f <= OBJS_MEMORY_WRONG_ETAG; f++)
            faults.per_mille[f] = 10;
        objs_bucket_set(b.bucket, &faults);
        for (unsigned i = 0; i < 500; i++) {
            vv_status st = tw_write(&b.w, b.w.version + 1, &err);
            if (st != VV_OK) { /* a merge waits for the object store */
                assert_true(st == VV_NOT_FOUND || st == VV_BUSY);
                vio_sim_advance(b.w.disk, 6 * VV_NS_PER_S);
            }
            if (vv_rng_one_in(&rng, 3))
                (void)!lsm_ops.work(b.w.e, &err);
            if (vv_rng_one_in(&rng, 4))
                (void)!lsm_ops.tier_work(b.w.e, &err);
            if (vv_rng_one_in(&rng, 20))
                vio_sim_advance(b.w.disk, (int64_t)vv_rng_below(&rng, 4) * AGE_NS);
            if (vv_rng_one_in(&rng, 40))
                (void)!lsm_ops.freeze(b.w.e, &err);
            if (vv_rng_one_in(&rng, 60))
                lsm_ops.settle(b.w.e);
            if (i % 50 == 49)
                (void)tw_verify(&b.w, true, "while it moves");
            if (vv_rng_one_in(&rng, 150))
                reopen(&b, "while it moves");
        }
        objs_bucket_set(b.bucket, &(objs_memory_options){.seed = 1});
        vio_sim_advance(b.w.disk, 60 * VV_NS_PER_S);
        sink(&b);
        move_all(&b);
        assert_true(stats_of(&b).remote_files > 0);
        expect_whole(&b, "in the end");
        stop(&b);
    }
}

static void one_failed_allocation_anywhere(void **state)
{
    (void)state;
    uint64_t step = vv_test_count("VV_ALLOC_STEP", 3);
    unsigned fails = 0;
    for (int64_t n = 0;; n += (int64_t)step) {
        vv_error err;
        bed b;
        init(&b, vv_test_seed(50));
        power_on(&b, &(vio_sim_options){.seed = 1});
        open_store(&b);
        write_some(&b, 60);
        sink(&b);
        vio_sim_advance(b.w.disk, 2 * AGE_NS);
        uint64_t before = vv_alloc_count();
        vv_alloc_fail_after(n, 0);
        vv_status st = tier_all(&b, &err);
        (void)tw_verify(&b.w, true, "short of memory");
        vv_alloc_fail_after(-1, 0);
        uint64_t asked = vv_alloc_count() - before;
        fails += st != VV_OK;
        move_all(&b);
        expect_whole(&b, "memory is back");
        reopen(&b, "memory is back");
        verify(&b, "memory is back");
        stop(&b);
        if ((uint64_t)n > asked)
            break;
    }
    assert_true(fails > 0);
}

static void a_full_disk_is_helped(void **state)
{
    (void)state;
    vv_error err;
    bed b;
    init(&b, vv_test_seed(60));
    power_on(&b, &(vio_sim_options){.seed = 1});
    open_store(&b);
    write_some(&b, 300);
    sink(&b);
    uint64_t bytes = stats_of(&b).disk_bytes;
    close_store(&b);
    vio_sim_disk_settle(b.w.disk);
    power_on(&b, &(vio_sim_options){.seed = 1, .capacity = bytes + 24 * VV_KIB});
    open_store(&b);
    unsigned refused = 0; /* a cursor keeps what merges replace: the disk fills */
    engine_cursor *held[64] = {0};
    for (unsigned i = 0; refused == 0 && i < 64; i++) {
        engine_cursor_options opt = {.read = {.version = b.w.version},
                                     .lower = vv_slice_of("", 1),
                                     .upper = vv_slice_of("\xff", 1)};
        assert_ok(lsm_ops.cursor(b.w.e, &opt, &held[i], &err), err);
        for (unsigned n = 0; n < 40; n++) {
            vv_status st = tw_write(&b.w, b.w.version + 1, &err);
            refused += st == VV_NO_SPACE;
            if (st == VV_OK && n % 10 == 9)
                refused += lsm_ops.work(b.w.e, &err) == VV_NO_SPACE;
        }
    }
    for (unsigned i = 0; i < 64; i++)
        if (held[i] != NULL)
            engine_cursor_close(held[i]);
    for (int tries = 0; tries < 200; tries++) {
        vio_sim_advance(b.w.disk, AGE_NS); /* what is old goes, and makes room */
        (void)!lsm_ops.tier_work(b.w.e, &err);
        (void)!lsm_ops.work(b.w.e, &err);
    }
    assert_true(refused > 0 && stats_of(&b).remote_files > 0);
    assert_ok(tw_write(&b.w, b.w.version + 1, &err), err);
    verify(&b, "a full disk");
    stop(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged_side_files_are_made_again),
        cmocka_unit_test(without_an_object_store_reads_say_what_to_set),
        cmocka_unit_test(an_outage_latches_nothing),
        cmocka_unit_test(a_flipped_byte_names_its_object),
        cmocka_unit_test(a_missing_object_is_damage_and_not_absence),
        cmocka_unit_test(an_object_that_stays_holds_up_nothing),
        cmocka_unit_test(each_request_fails_once),
        cmocka_unit_test(each_request_fails_once_without_conditional_put),
        cmocka_unit_test(prop_no_cut_loses_a_run),
        cmocka_unit_test(a_disk_that_fails_anywhere),
        cmocka_unit_test(prop_moves_change_nothing),
        cmocka_unit_test(one_failed_allocation_anywhere),
        cmocka_unit_test(a_full_disk_is_helped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
