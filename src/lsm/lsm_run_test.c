#include "lsm/lsm_run.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/epoch.h"
#include "base/rng.h"
#include "io/vio_sim.h"
#include "lsm/lsm.h"
#include "lsm/lsm_filter.h"
#include "lsm/lsm_pack.h"
#include "lsm/lsm_run_format.h"
#include "lsm/lsm_view.h"
#include "vv_test.h"

/* The forms of a run: the codecs, and zstd with a dictionary. */
#define DICTIONARY CODEC_KIND_COUNT
#define FORM_COUNT (CODEC_KIND_COUNT + 1)

static const char *form_name(unsigned form)
{
    return form == DICTIONARY ? "zstd with a dictionary" : codec_kind_name(form);
}

typedef struct bed {
    vio_sim_disk *disk;
    vv_env env;
    lsm_store *store;
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

/* Entry i of the sample run: some keys have several versions, some are deleted, some are large. */
static void sample_item(uint32_t i, uint8_t key[32], uint8_t *value, engine_item *item)
{
    vv_put_be32(key, 3 + i / 400);
    int n = snprintf((char *)key + 4, 28, "sensor/%05u", i / 3);
    size_t len = i % 50 == 0 ? 3000 : i % 40;
    *item = (engine_item){.key = vv_slice_of(key, 4 + (size_t)n),
                          .value = vv_slice_of(value, len),
                          .version = 1000 - i % 3,
                          .kind = i % 7 == 3 ? ENGINE_DELETE : ENGINE_PUT};
    for (size_t j = 0; j < len; j++)
        value[j] = (uint8_t)(i + j / 8);
    if (item->kind == ENGINE_DELETE)
        item->value.len = 0;
    else if (i % 11 == 0)
        item->expires_ns = 5000 + i;
}

static vv_status write_run(bed *b, uint64_t id, uint32_t count, unsigned form, lsm_meta *meta,
                           vv_error *err)
{
    const lsm_form zstd = {.codec = CODEC_ZSTD, .block_size = 1024, .gain = LSM_PACK_GAIN};
    lsm_trainer trainer;
    lsm_trainer_init(&trainer, 8192, UINT32_MAX);
    lsm_writer_options opt = {.store = b->store,
                              .id = id,
                              .group = 9,
                              .level = 0,
                              .block_size = 1024,
                              .codec = form == DICTIONARY ? CODEC_ZSTD : (codec_kind)form,
                              .trainer = form == DICTIONARY ? &trainer : NULL,
                              .filter_bits = LSM_FILTER_BITS,
                              .buffer_size = 8192};
    lsm_writer *w = NULL;
    vv_status st = lsm_writer_open(&opt, &w, err);
    for (uint32_t i = 0; st == VV_OK && i < count; i++) {
        uint8_t key[32];
        uint8_t value[3000];
        engine_item item;
        sample_item(i, key, value, &item);
        if (form == DICTIONARY)
            st = lsm_writer_enter_table(w, engine_key_table(item.key), &zstd, err);
        if (st == VV_OK)
            st = lsm_writer_add(w, &item, err);
    }
    engine_range range = {vv_slice_str("\x01ranges/a"), vv_slice_str("\x01ranges/b"), 77};
    if (st == VV_OK)
        st = lsm_writer_add_range(w, &range, err);
    if (st == VV_OK)
        st = lsm_writer_finish(w, meta, err);
    if (st == VV_OK)
        st = lsm_writer_sync(w, err);
    lsm_writer_close(w);
    lsm_trainer_fini(&trainer);
    return st;
}

static bool same_item(const engine_item *a, const engine_item *b)
{
    return vv_slice_eq(a->key, b->key) && vv_slice_eq(a->value, b->value) &&
           a->version == b->version && a->kind == b->kind && a->expires_ns == b->expires_ns;
}

/* Everything the run holds, both ways, against the sample. An error is the answer of a damaged run;
 * a wrong item is never. */
static vv_status read_all(lsm_run *run, uint32_t count, bool scan, vv_error *err)
{
    lsm_level *level = NULL;
    engine_source *src = NULL;
    vv_status st = lsm_level_create(0, 9, &run, 1, &level, err);
    if (st == VV_OK)
        st = lsm_source_create(level, scan ? LSM_SCAN_SIZE : 0, &src, err);
    if (st == VV_OK)
        st = engine_source_seek(src, vv_slice_str(""), INT64_MAX, err);
    uint32_t i = 0;
    uint8_t key[32];
    uint8_t value[3000];
    engine_item want;
    for (; st == VV_OK && src->valid; i++) {
        sample_item(i, key, value, &want);
        if (i >= count || !same_item(&want, &src->item))
            fail_msg("entry %u is wrong", i);
        st = engine_source_next(src, err);
    }
    if (st == VV_OK && i != count)
        fail_msg("%u entries instead of %u", i, count);
    if (st == VV_OK)
        st = engine_source_seek_below(src, (vv_slice){0}, err);
    while (st == VV_OK && src->valid && i > 0) {
        sample_item(--i, key, value, &want);
        if (!same_item(&want, &src->item))
            fail_msg("entry %u is wrong backward", i);
        st = engine_source_prev(src, err);
    }
    if (st == VV_OK && i != 0)
        fail_msg("%u entries are missing backward", i);
    engine_source_close(src);
    lsm_level_unref(level);
    return st;
}

static void prop_a_run_gives_back_what_went_in(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < FORM_COUNT; kind++) {
        bed b;
        bed_open(&b, NULL);
        const uint32_t count = 2500;
        lsm_meta meta;
        vv_error err;
        assert_ok(write_run(&b, 17, count, kind, &meta, &err), err);
        assert_int_equal(meta.entries, count);
        assert_int_equal(meta.ranges, 1);
        assert_int_equal(meta.size % VV_BLOCK, 0);
        lsm_run *run = NULL;
        assert_ok(lsm_run_open(b.store, 17, &meta, &run, &err), err);
        assert_true(run->block_count > 20);
        assert_true((run->dict != NULL) == (kind == DICTIONARY));
        assert_int_equal(run->features, kind == CODEC_NONE ? 0 : kind == DICTIONARY ? 3 : 1);
        assert_int_equal(engine_rangedels_cover(run->rangedels, vv_slice_str("\x01ranges/aa"), 100),
                         77);
        assert_ok(read_all(run, count, false, &err), err);
        assert_ok(read_all(run, count, true, &err), err);
        uint64_t all = lsm_run_size_between(run, run->meta.lower, run->meta.upper);
        assert_true(all > meta.size / 2 && all < meta.size);
        lsm_run_unref(run);
        lsm_meta_fini(&meta);
        bed_close(&b);
    }
}

/* Open and read a damaged copy. VV_OK: the damage was harmless. */
static vv_status try_damaged(vio_sim_disk *disk, const lsm_meta *meta, uint32_t count)
{
    bed b;
    bed_open(&b, disk);
    vv_error err;
    lsm_run *run = NULL;
    vv_status st = lsm_run_open(b.store, meta->id, meta, &run, &err);
    if (st == VV_OK)
        st = read_all(run, count, false, &err);
    if (st == VV_OK)
        assert_int_equal(engine_rangedels_cover(run->rangedels, vv_slice_str("\x01ranges/aa"), 100),
                         77);
    if (st != VV_OK && st != VV_CORRUPT && st != VV_UNSUPPORTED)
        fail_msg("%s: %s", vv_status_name(st), err.msg);
    lsm_run_unref(run);
    bed_close(&b);
    return st;
}

static void prop_every_flipped_bit_is_detected_or_harmless(void **state)
{
    (void)state;
    const uint32_t count = 60;
    for (unsigned kind = 0; kind < FORM_COUNT; kind++) {
        bed b;
        bed_open(&b, NULL);
        lsm_meta meta;
        vv_error err;
        assert_ok(write_run(&b, 3, count, kind, &meta, &err), err);
        assert_ok(vio_sync_dir(b.env.io, "d", &err), err);
        assert_ok(vio_sync_dir(b.env.io, "", &err), err);
        uint64_t step = vv_test_count("VV_FLIP_STEP", 5);
        uint64_t detected = 0;
        uint64_t flips = 0;
        char path[VIO_PATH_MAX];
        lsm_run_path(path, "d", 3);
        for (uint64_t bit = 0; bit < meta.size * 8; bit += step) {
            vio_sim_disk *copy = vio_sim_disk_clone(b.disk);
            assert_ok(vio_sim_flip_bit(copy, path, bit), err);
            detected += try_damaged(copy, &meta, count) != VV_OK;
            flips++;
        }
        for (uint64_t at = 0; at < meta.size; at += 512) { /* lost sectors, lost ends */
            vio_sim_disk *copy = vio_sim_disk_clone(b.disk);
            assert_ok(vio_sim_zero(copy, path, at, 512), err);
            (void)!try_damaged(copy, &meta, count);
            copy = vio_sim_disk_clone(b.disk);
            assert_ok(vio_sim_shorten(copy, path, at), err);
            assert_int_equal(try_damaged(copy, &meta, count), VV_CORRUPT);
        }
        for (uint64_t at = 1; at * VV_BLOCK < meta.size; at++) {
            vio_sim_disk *copy = vio_sim_disk_clone(b.disk);
            assert_ok(vio_sim_swap_blocks(copy, path, 0, at), err);
            assert_int_equal(try_damaged(copy, &meta, count), VV_CORRUPT);
        }
        print_message("  %s: %llu of %llu flips detected, the rest harmless\n", form_name(kind),
                      (unsigned long long)detected, (unsigned long long)flips);
        assert_true(detected > flips / 4);
        lsm_meta_fini(&meta);
        bed_close(&b);
    }
}

static void a_block_of_another_run_is_refused(void **state)
{
    (void)state;
    bed b;
    bed_open(&b, NULL);
    lsm_meta one;
    lsm_meta two;
    vv_error err;
    assert_ok(write_run(&b, 1, 300, CODEC_NONE, &one, &err), err);
    assert_ok(write_run(&b, 2, 300, CODEC_NONE, &two, &err), err);
    uint8_t block[512];
    vio_file *from = NULL;
    vio_file *to = NULL;
    assert_ok(vio_open(b.env.io, "d/run-000000000001", VIO_READ, &from, &err), err);
    assert_ok(vio_open(b.env.io, "d/run-000000000002", VIO_READ | VIO_WRITE, &to, &err), err);
    assert_ok(vio_pread_full(from, 0, block, sizeof block, &err), err);
    assert_ok(vio_pwrite(to, 0, block, sizeof block, &err), err);
    vio_close(from);
    vio_close(to);
    lsm_run *run = NULL;
    assert_ok(lsm_run_open(b.store, 2, &two, &run, &err), err);
    assert_status(VV_CORRUPT, read_all(run, 300, false, &err));
    lsm_run_unref(run);
    /* And the whole file under the other's name. */
    assert_status(VV_CORRUPT, lsm_run_open(b.store, 1, &two, &run, &err));
    lsm_meta_fini(&one);
    lsm_meta_fini(&two);
    bed_close(&b);
}

/* Patch a footer, make its sum right again, and open. */
static vv_status open_patched(bed *b, uint64_t size, uint32_t offset, uint32_t value, vv_error *err)
{
    uint8_t footer[LSM_FOOTER_SIZE];
    uint8_t before[LSM_FOOTER_SIZE];
    vio_file *file = NULL;
    assert_ok(vio_open(b->env.io, "d/run-000000000004", VIO_READ | VIO_WRITE, &file, err), *err);
    assert_ok(vio_pread_full(file, size - sizeof footer, footer, sizeof footer, err), *err);
    memcpy(before, footer, sizeof footer);
    vv_put_le32(footer + offset, value);
    vv_put_le64(footer + FOOT_SUM, lsm_footer_sum(footer, 4));
    assert_ok(vio_pwrite(file, size - sizeof footer, footer, sizeof footer, err), *err);
    lsm_run *run = NULL;
    vv_status st = lsm_run_open(b->store, 4, NULL, &run, err);
    lsm_run_unref(run);
    vv_error ignored;
    assert_ok(vio_pwrite(file, size - sizeof footer, before, sizeof footer, &ignored), ignored);
    vio_close(file);
    return st;
}

static void a_newer_format_is_refused_by_name(void **state)
{
    (void)state;
    bed b;
    bed_open(&b, NULL);
    lsm_meta meta;
    vv_error err;
    assert_ok(write_run(&b, 4, 100, CODEC_NONE, &meta, &err), err);
    assert_status(VV_UNSUPPORTED, open_patched(&b, meta.size, FOOT_FORMAT, 2, &err));
    assert_non_null(strstr(err.msg, "format version 2, this build reads"));
    assert_status(VV_UNSUPPORTED, open_patched(&b, meta.size, FOOT_FEATURES, 0x43, &err));
    assert_non_null(strstr(err.msg, "feature bits 0x40"));
    assert_status(VV_CORRUPT, open_patched(&b, meta.size, FOOT_FEATURES, 2, &err));
    assert_status(VV_UNSUPPORTED, open_patched(&b, meta.size, FOOT_KEY_ID, 1, &err));
    assert_non_null(strstr(err.msg, "encrypted"));
    assert_status(VV_CORRUPT, open_patched(&b, meta.size, FOOT_SECTIONS, 0x7fffffff, &err));
    assert_status(VV_CORRUPT, open_patched(&b, meta.size, FOOT_BLOCK_COUNT, 1, &err));
    assert_status(VV_CORRUPT, open_patched(&b, meta.size, FOOT_LOWER_LEN, 0x7fff7fff, &err));
    assert_status(VV_OK, open_patched(&b, meta.size, FOOT_FORMAT, 1, &err));
    lsm_meta_fini(&meta);
    bed_close(&b);
}

/* The fixed part of a footer is frozen: docs/format/run.md shows these offsets. */
static void golden_bytes_of_a_footer(void **state)
{
    (void)state;
    bed b;
    bed_open(&b, NULL);
    lsm_meta meta;
    vv_error err;
    assert_ok(write_run(&b, 4, 3, CODEC_NONE, &meta, &err), err);
    uint8_t f[LSM_FOOTER_SIZE];
    vio_file *file = NULL;
    assert_ok(vio_open(b.env.io, "d/run-000000000004", VIO_READ, &file, &err), err);
    assert_ok(vio_pread_full(file, meta.size - sizeof f, f, sizeof f, &err), err);
    vio_close(file);
    static const uint8_t want[] = {
        'V', 'A', 'R',  'V', 'E', 'R', 'U', 'N', 1,    0,   0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0,
        0,   0,   0,    0,   0,   0,   0,   0,   0,    0,   0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0,
        0,   0,   0,    0,   4,   0,   0,   0,   0,    0,   0, 0, 5, 0, 0, 0, 0,  0, 0, 0, 9, 0,
        0,   0,   0,    0,   0,   0,   3,   0,   0,    0,   0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0,
        1,   0,   0,    0,   0,   0,   0,   0,   0xeb, 0xb, 0, 0, 0, 0, 0, 0, 77, 0, 0, 0, 0, 0,
        0,   0,   0xe8, 3,   0,   0,   0,   0,   0,    0,   0, 4, 0, 0, 2, 0, 0,  0,
    };
    assert_memory_equal(f, want, sizeof want);
    assert_int_equal(vv_get_le32(f + FOOT_TABLES), 1);
    assert_int_equal(vv_get_le16(f + FOOT_LOWER_LEN), 16);
    assert_int_equal(vv_get_le16(f + FOOT_UPPER_LEN), 9);
    assert_memory_equal(f + FOOT_BOUNDS, "\x00\x00\x00\x03sensor/00000\x01ranges/b", 25);
    lsm_meta_fini(&meta);
    bed_close(&b);
}

#define OLD_ENTRIES 60u

/* Runs as the version before stored sums and dictionaries wrote them: write_run(b, 21, 60, codec).
 */
static void runs_of_the_first_version_are_read(void **state)
{
    (void)state;
    static const char *const files[] = {LSM_TESTDATA "/run-format1-lz4",
                                        LSM_TESTDATA "/run-format1-zstd"};
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        bed b;
        bed_open(&b, NULL);
        vv_error err;
        uint8_t bytes[16384];
        FILE *from = fopen(files[i], "rb");
        assert_non_null(from);
        size_t len = fread(bytes, 1, sizeof bytes, from);
        (void)fclose(from);
        vio_file *to = NULL;
        assert_ok(vio_open(b.env.io, "d/run-000000000021", VIO_WRITE | VIO_CREATE, &to, &err), err);
        assert_ok(vio_pwrite(to, 0, bytes, len, &err), err);
        vio_close(to);
        lsm_run *run = NULL;
        assert_ok(lsm_run_open(b.store, 21, NULL, &run, &err), err);
        assert_int_equal(run->features, 0);
        assert_ok(read_all(run, OLD_ENTRIES, i == 0, &err), err);
        lsm_run_unref(run);
        bed_close(&b);
    }
}

/* Tables of several forms in one run: each block is in its table's. */
static void neighbours_keep_their_forms(void **state)
{
    (void)state;
    bed b;
    bed_open(&b, NULL);
    vv_error err;
    lsm_writer_options opt = {.store = b.store,
                              .id = 6,
                              .level = 2,
                              .block_size = 1024,
                              .filter_bits = LSM_FILTER_BITS,
                              .buffer_size = 8192};
    lsm_writer *w = NULL;
    lsm_meta meta;
    lsm_run *run = NULL;
    assert_ok(lsm_writer_open(&opt, &w, &err), err);
    for (uint32_t i = 0; i < 2000; i++) {
        static const codec_kind codecs[] = {CODEC_NONE, CODEC_LZ4, CODEC_ZSTD, CODEC_LZ4,
                                            CODEC_NONE};
        uint8_t key[32];
        uint8_t value[3000];
        engine_item item;
        sample_item(i, key, value, &item);
        uint32_t table = engine_key_table(item.key);
        lsm_form form = {.codec = codecs[table - 3],
                         .block_size = 512u << table % 3,
                         .gain = table % 2 == 0 ? LSM_PACK_GAIN : 32};
        assert_ok(lsm_writer_enter_table(w, table, &form, &err), err);
        assert_ok(lsm_writer_add(w, &item, &err), err);
    }
    assert_ok(lsm_writer_finish(w, &meta, &err), err);
    assert_ok(lsm_writer_sync(w, &err), err);
    lsm_writer_close(w);
    assert_ok(lsm_run_open(b.store, 6, &meta, &run, &err), err);
    unsigned seen = 0;
    for (uint32_t i = 0; i < run->block_count; i++)
        seen |= 1u << run->codec[i];
    assert_int_equal(seen, 7);
    assert_ok(read_all(run, 2000, false, &err), err);
    assert_ok(read_all(run, 2000, true, &err), err);
    lsm_run_unref(run);
    lsm_meta_fini(&meta);
    bed_close(&b);
}

static void count_line(void *ctx, const char *text)
{
    assert_true(strlen(text) > 0);
    ++*(unsigned *)ctx;
}

static void a_run_shows_as_text(void **state)
{
    (void)state;
    bed b;
    bed_open(&b, NULL);
    lsm_meta meta;
    vv_error err;
    assert_ok(write_run(&b, 8, 100, DICTIONARY, &meta, &err), err);
    unsigned lines = 0;
    assert_ok(lsm_dump_run(&b.env, "d/run-000000000008", count_line, &lines, &err), err);
    assert_true(lines > 104); /* each entry, each block, the head */
    assert_status(VV_INVALID, lsm_dump_run(&b.env, "d/CURRENT", count_line, &lines, &err));
    assert_status(VV_NOT_FOUND,
                  lsm_dump_run(&b.env, "d/run-000000000009", count_line, &lines, &err));
    lsm_meta_fini(&meta);
    bed_close(&b);
}

static void every_failed_allocation_is_an_answer(void **state)
{
    (void)state;
    for (int64_t n = 0;; n++) {
        bed b;
        bed_open(&b, NULL);
        lsm_meta meta = {0};
        lsm_run *run = NULL;
        vv_error err;
        vv_alloc_fail_after(n, 0);
        vv_status st = write_run(&b, 1, 200, n % 3 == 0 ? CODEC_LZ4 : DICTIONARY, &meta, &err);
        if (st == VV_OK)
            st = lsm_run_open(b.store, 1, &meta, &run, &err);
        if (st == VV_OK)
            st = read_all(run, 200, n % 2 == 0, &err);
        vv_alloc_fail_after(-1, 0);
        lsm_run_unref(run);
        lsm_meta_fini(&meta);
        bed_close(&b);
        if (st == VV_OK)
            return;
        assert_int_equal(st, VV_NO_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prop_a_run_gives_back_what_went_in),
        cmocka_unit_test(prop_every_flipped_bit_is_detected_or_harmless),
        cmocka_unit_test(a_block_of_another_run_is_refused),
        cmocka_unit_test(a_newer_format_is_refused_by_name),
        cmocka_unit_test(golden_bytes_of_a_footer),
        cmocka_unit_test(runs_of_the_first_version_are_read),
        cmocka_unit_test(neighbours_keep_their_forms),
        cmocka_unit_test(a_run_shows_as_text),
        cmocka_unit_test(every_failed_allocation_is_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
