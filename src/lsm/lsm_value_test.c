/*
 * lsm_value_test.c - value files: bytes, damage, and that garbage goes.
 */
#include "lsm/lsm_value.h"

#include "base/alloc.h"
#include "io/vio_sim.h"
#include "lsm/lsm_test_util.h"
#include "lsm/lsm_value_int.h"
#include "vv_test.h"

#define COUNT 12u

typedef struct bed {
    vio_sim_disk *disk;
    vv_env env;
    lsm_store *store;
    uint8_t refs[COUNT][LSM_VALUE_REF];
    uint8_t uses[20];
    vv_slice use;
} bed;

static void bed_open(bed *b, vio_sim_disk *disk)
{
    vv_error err;
    b->disk = disk == NULL ? vio_sim_disk_create() : disk;
    b->store = vv_alloc_aligned(64, sizeof *b->store);
    assert_non_null(b->store);
    assert_ok(vio_sim_open(b->disk, &(vio_sim_options){.seed = 1}, &b->env.io, &err), err);
    b->env.clock = vio_sim_clock(b->disk);
    assert_ok(vio_mkdir(b->env.io, "d", &err), err);
    assert_ok(lsm_store_init(b->store, &b->env, "d", 5, 64 * VV_KIB, NULL, &err), err);
}

static void bed_close(bed *b)
{
    lsm_store_fini(b->store);
    vv_free(b->store);
    vio_destroy(b->env.io);
    vio_sim_disk_destroy(b->disk);
}

static size_t sample(unsigned i, uint8_t out[9000])
{
    size_t len = i == 5 ? 9000 : 100 + 37 * i;
    for (size_t j = 0; j < len; j++)
        out[j] = (uint8_t)(i * 13 + j / 3);
    return len;
}

static vv_status write_file(bed *b, uint64_t id, vv_error *err)
{
    lsm_value_writer *w = NULL;
    vv_status st = lsm_value_writer_open(b->store, id, VIO_CLASS_FLUSH, 8192, &w, err);
    uint64_t bytes = 0;
    for (unsigned i = 0; st == VV_OK && i < COUNT; i++) {
        uint8_t value[9000];
        size_t len = sample(i, value);
        bytes += lsm_value_size((uint32_t)len);
        st = lsm_value_writer_put(w, vv_slice_of(value, len), b->refs[i], err);
    }
    if (st == VV_OK)
        st = lsm_value_writer_finish(w, err);
    lsm_value_writer_close(w);
    uint8_t *p = b->uses;
    *p++ = (uint8_t)id;
    *p++ = (uint8_t)(bytes | 0x80);
    *p++ = (uint8_t)(bytes >> 7 | 0x80);
    *p++ = (uint8_t)(bytes >> 14);
    b->use = vv_slice_of(b->uses, 4);
    return st;
}

/* Open and read all; a wrong value is a failure, an error an answer. */
static vv_status read_file(bed *b, vv_error *err)
{
    vv_status st = lsm_value_acquire(b->store, b->use, err);
    if (st != VV_OK)
        return st;
    for (unsigned i = 0; st == VV_OK && i < COUNT; i++) {
        uint8_t want[9000];
        vv_buf got;
        vv_buf_init(&got, 10000);
        size_t len = sample(i, want);
        st = lsm_value_load(b->store, vv_slice_of(b->refs[i], LSM_VALUE_REF), &got, err);
        if (st == VV_OK && !vv_slice_eq(vv_buf_slice(&got), vv_slice_of(want, len)))
            fail_msg("value %u is wrong", i);
        vv_buf_fini(&got);
    }
    lsm_value_release(b->store, b->use, false);
    return st;
}

static void prop_every_flipped_bit_is_detected_or_harmless(void **state)
{
    (void)state;
    bed b;
    vv_error err;
    bed_open(&b, NULL);
    assert_ok(write_file(&b, 3, &err), err);
    assert_ok(vio_sync_dir(b.env.io, "d", &err), err);
    assert_ok(vio_sync_dir(b.env.io, "", &err), err);
    assert_ok(read_file(&b, &err), err);
    uint64_t step = vv_test_count("VV_FLIP_STEP", 7);
    uint64_t detected = 0;
    uint64_t flips = 0;
    for (uint64_t bit = 0; bit < 8u * 14000; bit += step) {
        bed copy = b;
        bed_open(&copy, vio_sim_disk_clone(b.disk));
        assert_ok(vio_sim_flip_bit(copy.disk, "d/val-000000000003", bit), err);
        vv_status st = read_file(&copy, &err);
        if (st != VV_OK && st != VV_CORRUPT && st != VV_UNSUPPORTED)
            fail_msg("bit %llu: %s", (unsigned long long)bit, err.msg);
        detected += st != VV_OK;
        flips++;
        bed_close(&copy);
    }
    assert_true(detected > flips * 9 / 10);
    bed copy = b; /* the file under another name, and none at all */
    bed_open(&copy, vio_sim_disk_clone(b.disk));
    b.uses[0] = 9; /* which copy.use points at */
    assert_status(VV_CORRUPT, read_file(&copy, &err));
    assert_non_null(strstr(err.msg, "the file is not there"));
    bed_close(&copy);
    bed_close(&b);
}

static void golden_bytes_of_a_value_file(void **state)
{
    (void)state;
    bed b;
    vv_error err;
    bed_open(&b, NULL);
    lsm_value_writer *w = NULL;
    uint8_t ref[LSM_VALUE_REF];
    assert_ok(lsm_value_writer_open(b.store, 7, VIO_CLASS_FLUSH, 4096, &w, &err), err);
    assert_ok(lsm_value_writer_put(w, vv_slice_str("hello"), ref, &err), err);
    assert_ok(lsm_value_writer_finish(w, &err), err);
    lsm_value_writer_close(w);
    uint8_t *p = NULL;
    size_t len = 0;
    assert_ok(vio_read_file(b.env.io, "d/val-000000000007", 100000, &p, &len, &err), err);
    assert_int_equal(len, 4096);
    assert_memory_equal(p, "VARVEVAL\1\0\0\0\0\0\0\0", 16);
    assert_int_equal(p[48], 7);
    assert_int_equal(p[56], 5);
    assert_int_equal(vv_get_le64(p + 120), lsm_value_header_sum(p, 7));
    assert_memory_equal(p + 136, "\5\0\0\0\0\0\0\0hello\0\0\0", 16);
    assert_int_equal(vv_get_le64(p + 128), lsm_value_sum(p + 128, 21, 7, 128));
    static const uint8_t want[LSM_VALUE_REF] = {7, 0, 0, 0, 0, 0, 0, 0, 128, 0,
                                                0, 0, 0, 0, 0, 0, 5, 0, 0,   0};
    assert_memory_equal(ref, want, sizeof want);
    vv_free(p);
    bed_close(&b);
}

static void every_failed_allocation_is_an_answer(void **state)
{
    (void)state;
    for (int64_t n = 0;; n++) {
        bed b;
        vv_error err;
        bed_open(&b, NULL);
        vv_alloc_fail_after(n, 0);
        vv_status st = write_file(&b, 3, &err);
        if (st == VV_OK)
            st = read_file(&b, &err);
        vv_alloc_fail_after(-1, 0);
        bed_close(&b);
        if (st == VV_OK)
            return;
        assert_int_equal(st, VV_NO_MEMORY);
    }
}

static engine_form apart(void *ctx, uint32_t table)
{
    (void)ctx;
    (void)table;
    return (engine_form){.value_threshold = 500};
}

static void put_large(tw *w, unsigned key, unsigned round)
{
    vv_error err;
    uint8_t value[2000];
    uint8_t buf[32];
    vv_status st;
    vv_buf_reset(&w->buf);
    size_t at = engine_entry_begin(&w->buf);
    memset(value, (int)(key * 7 + round), sizeof value);
    engine_op op = {
        .kind = ENGINE_PUT, .key = tw_key(key, buf), .value = vv_slice_of(value, sizeof value)};
    engine_entry_add(&w->buf, &op);
    engine_entry_finish(&w->buf, at, 1);
    while ((st = lsm_ops.prepare(w->e, w->buf.len, 1, &err)) == VV_BUSY)
        assert_ok(lsm_ops.work(w->e, &err), err);
    assert_ok(st, err);
    assert_ok(lsm_ops.apply(w->e, ++w->version, 0, vv_buf_slice(&w->buf), &err), err);
    lsm_ops.publish(w->e, w->version);
}

static void settle(tw *w)
{
    vv_error err;
    vv_status st;
    while ((st = lsm_ops.work(w->e, &err)) == VV_OK)
        continue;
    assert_status(VV_NOT_FOUND, st);
}

static void expect_large(tw *w, unsigned key, unsigned round)
{
    vv_error err;
    uint8_t buf[32];
    engine_value got;
    engine_read read = {.version = w->version};
    assert_ok(lsm_ops.get(w->e, tw_key(key, buf), &read, &got, &err), err);
    assert_int_equal(got.data.len, 2000);
    assert_int_equal(got.data.data[1999], (uint8_t)(key * 7 + round));
    engine_value_release(&got);
}

static void print_finding(void *ctx, const char *text)
{
    (void)ctx;
    print_error("finding: %s\n", text);
}

/* Overwrites leave garbage behind, compaction removes it, and what is left is what is live. */
static void garbage_goes(void **state)
{
    (void)state;
    vv_error err;
    tw w;
    tw_init(&w, &lsm_small, 7);
    w.opt.hooks.form = apart;
    assert_ok(tw_power_on(&w, &(vio_sim_options){.seed = 7}, &err), err);
    assert_ok(lsm_ops.open(&w.opt, &w.e, &err), err);
    uint64_t most = 0;
    for (unsigned round = 0; round < 40; round++) {
        for (unsigned key = 0; key < LSM_SMALL_KEYS; key++)
            put_large(&w, key, round);
        if (round == 20) {
            lsm_ops.close(w.e);
            assert_ok(lsm_ops.open(&w.opt, &w.e, &err), err);
            w.version = lsm_ops.checkpoint(w.e); /* what was in memtables is not replayed here */
            for (unsigned key = 0; key < LSM_SMALL_KEYS; key++)
                put_large(&w, key, round);
        }
        settle(&w);
        engine_stats s;
        lsm_ops.stats(w.e, &s);
        most = s.value_bytes > most ? s.value_bytes : most;
    }
    assert_ok(lsm_ops.freeze(w.e, &err), err);
    settle(&w);
    assert_ok(lsm_ops.compact_range(w.e, vv_slice_str("\1"), vv_slice_str("\xff"), &err), err);
    settle(&w);
    engine_stats s;
    lsm_ops.stats(w.e, &s);
    for (unsigned key = 0; key < LSM_SMALL_KEYS; key++)
        expect_large(&w, key, 39);
    assert_ok(lsm_ops.check(w.e, print_finding, NULL, &err), err);
    assert_true(s.value_files > 0);
    assert_true(most < 12 * LSM_SMALL_KEYS * 2000); /* of 41 times as much that was written */
    lsm_ops.close(w.e);
    tw_power_off(&w);
    tw_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prop_every_flipped_bit_is_detected_or_harmless),
        cmocka_unit_test(golden_bytes_of_a_value_file),
        cmocka_unit_test(every_failed_allocation_is_an_answer),
        cmocka_unit_test(garbage_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
