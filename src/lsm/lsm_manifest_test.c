#include "lsm/lsm_manifest.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/rng.h"
#include "io/vio_sim.h"
#include "lsm/lsm.h"
#include "vv_test.h"

typedef struct bed {
    vio_sim_disk *disk;
    vv_env env;
    lsm_manifest m;
} bed;

static void power_on(bed *b, const vio_sim_options *opt)
{
    vv_error err;
    assert_ok(vio_sim_open(b->disk, opt, &b->env.io, &err), err);
    b->env.clock = vio_sim_clock(b->disk);
}

static void bed_open(bed *b)
{
    vv_error err;
    *b = (bed){.disk = vio_sim_disk_create()};
    power_on(b, &(vio_sim_options){.seed = 1});
    assert_ok(vio_mkdir(b->env.io, "d", &err), err);
    assert_ok(vio_sync_dir(b->env.io, "", &err), err);
}

static void bed_close(bed *b)
{
    lsm_manifest_close(&b->m);
    vio_destroy(b->env.io);
    vio_sim_disk_destroy(b->disk);
}

static vv_status open_manifest(bed *b, vv_error *err)
{
    return lsm_manifest_open(&b->m, &b->env, "d", 2, false, err);
}

static lsm_meta sample_meta(uint64_t id)
{
    return (lsm_meta){.id = id,
                      .level = 1 + (uint32_t)(id % 3),
                      .table_count = 1,
                      .size = 4096 * id,
                      .footer_sum = id * UINT64_C(0x9e3779b97f4a7c15),
                      .entries = 10 * id,
                      .raw_bytes = 100 * id,
                      .version_min = (int64_t)id,
                      .version_max = (int64_t)id + 5,
                      .lower = vv_slice_str("lower bound"),
                      .upper = vv_slice_str("upper bound")};
}

static vv_status commit(lsm_manifest *m, uint64_t add, uint64_t remove, int64_t checkpoint,
                        vv_error *err)
{
    lsm_meta meta = sample_meta(add);
    lsm_edit edit = {.add = &meta,
                     .add_count = add != 0,
                     .remove = &remove,
                     .remove_count = remove != 0,
                     .checkpoint = checkpoint};
    return lsm_manifest_commit(m, &edit, err);
}

/* The runs of a state as one word: ids below 64. */
static uint64_t ids_of(const lsm_state *state)
{
    uint64_t ids = 0;
    for (uint32_t i = 0; i < state->count; i++)
        ids |= UINT64_C(1) << state->runs[i].id;
    return ids;
}

static void expect_state(const lsm_state *state, uint64_t ids, int64_t checkpoint)
{
    assert_true(ids_of(state) == ids);
    assert_int_equal(state->checkpoint, checkpoint);
    for (uint32_t i = 0; i < state->count; i++) {
        lsm_meta want = sample_meta(state->runs[i].id);
        const lsm_meta *got = &state->runs[i];
        assert_true(want.level == got->level && want.size == got->size &&
                    want.footer_sum == got->footer_sum && want.entries == got->entries &&
                    want.version_max == got->version_max && vv_slice_eq(want.lower, got->lower) &&
                    vv_slice_eq(want.upper, got->upper));
    }
}

static void edits_add_up_over_reopens(void **state)
{
    (void)state;
    bed b;
    bed_open(&b);
    vv_error err;
    assert_ok(open_manifest(&b, &err), err);
    expect_state(&b.m.state, 0, 0);
    assert_ok(commit(&b.m, 1, 0, 10, &err), err);
    assert_ok(commit(&b.m, 2, 0, -1, &err), err);
    assert_ok(commit(&b.m, 3, 1, 30, &err), err);
    for (int round = 0; round < 3; round++) {
        expect_state(&b.m.state, 1 << 2 | 1 << 3, 30);
        lsm_manifest_close(&b.m);
        assert_ok(open_manifest(&b, &err), err);
    }
    assert_ok(commit(&b.m, 0, 2, -1, &err), err);
    expect_state(&b.m.state, 1 << 3, 30);
    /* Edits that cannot be right. */
    assert_status(VV_CORRUPT, commit(&b.m, 3, 0, -1, &err));
    assert_status(VV_CORRUPT, commit(&b.m, 0, 9, -1, &err));
    expect_state(&b.m.state, 1 << 3, 30);
    bed_close(&b);
}

static void ids_are_never_used_twice(void **state)
{
    (void)state;
    bed b;
    bed_open(&b);
    vv_error err;
    uint64_t last = 0;
    for (int round = 0; round < 5; round++) { /* ids taken and lost with the power */
        assert_ok(open_manifest(&b, &err), err);
        for (int i = 0; i < (round == 2 ? 150000 : 10); i++) {
            uint64_t id = 0;
            assert_ok(lsm_manifest_new_id(&b.m, &id, &err), err);
            assert_true(id > last);
            last = id;
        }
        lsm_manifest_close(&b.m);
        vio_destroy(b.env.io);
        vio_sim_disk_settle(b.disk);
        power_on(&b, &(vio_sim_options){.seed = 2});
    }
    bed_close(&b);
}

static void count_file(void *ctx, const char *name)
{
    (void)name;
    ++*(unsigned *)ctx;
}

static void a_long_manifest_is_renewed(void **state)
{
    (void)state;
    bed b;
    bed_open(&b);
    vv_error err;
    assert_ok(open_manifest(&b, &err), err);
    uint64_t first = b.m.number;
    for (uint64_t i = 0; i < 12000; i++)
        assert_ok(commit(&b.m, 1 + i % 2, i == 0 ? 0 : 2 - i % 2, (int64_t)i, &err), err);
    assert_true(b.m.number > first);
    unsigned files = 0;
    assert_ok(vio_list(b.env.io, "d", count_file, &files, &err), err);
    assert_int_equal(files, 2); /* CURRENT and one manifest */
    lsm_manifest_close(&b.m);
    assert_ok(open_manifest(&b, &err), err);
    expect_state(&b.m.state, 1 << 2, 11999);
    bed_close(&b);
}

static void a_failed_commit_is_tried_again_in_a_new_file(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < 40; n++) {
        bed b;
        bed_open(&b);
        vv_error err;
        assert_ok(open_manifest(&b, &err), err);
        assert_ok(commit(&b.m, 1, 0, 1, &err), err);
        lsm_manifest_close(&b.m);
        vio_destroy(b.env.io);
        vio_sim_disk_settle(b.disk);
        power_on(&b, &(vio_sim_options){.seed = n, .fault = VIO_SIM_EIO, .fault_at = n});
        vv_status st = open_manifest(&b, &err);
        if (st != VV_OK) {
            lsm_manifest_close(&b.m);
            assert_ok(open_manifest(&b, &err), err);
        }
        for (uint64_t id = 2; id < 6; id++) {
            if (commit(&b.m, id, 0, (int64_t)id, &err) != VV_OK)
                assert_ok(commit(&b.m, id, 0, (int64_t)id, &err), err);
        }
        lsm_manifest_close(&b.m);
        vio_destroy(b.env.io);
        vio_sim_disk_settle(b.disk);
        power_on(&b, &(vio_sim_options){.seed = n});
        assert_ok(open_manifest(&b, &err), err);
        expect_state(&b.m.state, 62, 5);
        bed_close(&b);
    }
}

static vv_status apply(void *ctx, const lsm_record *record, vv_error *err)
{
    return lsm_state_apply(ctx, &record->edit, err);
}

/* A manifest of three edits, each sealed, as bytes. ends[i]: where edit i ends. */
static void make_bytes(vv_buf *out, size_t ends[4])
{
    vv_buf_init(out, 1 << 20);
    uint32_t chain = lsm_manifest_put_header(out, 7, 2);
    lsm_edit nothing = {.checkpoint = -1};
    chain = lsm_manifest_put_record(out, LSM_RECORD_STATE, &nothing, 100, chain, 0);
    ends[0] = out->len;
    for (uint64_t id = 1; id <= 3; id++) {
        lsm_meta meta = sample_meta(id);
        lsm_object object = {.id = id, .state = LSM_OBJECT_INTENT, .name = "runs/x"};
        meta.born_ns = (int64_t)id;
        lsm_edit edit = {.add = &meta,
                         .add_count = 1,
                         .objects = &object,
                         .object_count = 1,
                         .checkpoint = (int64_t)id};
        chain = lsm_manifest_put_record(out, LSM_RECORD_EDIT, &edit, 100, chain, ends[id - 1]);
        ends[id] = out->len;
        chain = lsm_manifest_put_record(out, LSM_RECORD_SEAL, &nothing, 0, chain, out->len);
    }
}

static vv_status parse(vv_slice bytes, lsm_state *state, vv_error *err)
{
    *state = (lsm_state){0};
    lsm_manifest_info info;
    return lsm_manifest_parse(bytes, &info, apply, state, err);
}

static void prop_every_flipped_bit_is_detected_or_harmless(void **state)
{
    (void)state;
    vv_buf bytes;
    size_t ends[4];
    make_bytes(&bytes, ends);
    unsigned harmless = 0;
    for (size_t bit = 0; bit < bytes.len * 8; bit++) {
        bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        lsm_state s;
        vv_error err;
        vv_status st = parse(vv_buf_slice(&bytes), &s, &err);
        if (st == VV_OK) {
            expect_state(&s, 14, 3);
            harmless++;
        } else if (st != VV_CORRUPT && st != VV_UNSUPPORTED) {
            fail_msg("bit %zu: %s", bit, vv_status_name(st));
        }
        lsm_state_fini(&s);
        bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_true(harmless <= 8 * (32 + 7 * 7)); /* the last seal, and paddings */
    vv_buf_fini(&bytes);
}

static void prop_a_cut_leaves_a_whole_prefix(void **state)
{
    (void)state;
    vv_buf bytes;
    size_t ends[4];
    make_bytes(&bytes, ends);
    for (size_t len = 0; len <= bytes.len; len++) {
        lsm_state s;
        vv_error err;
        vv_status st = parse(vv_slice_of(bytes.data, len), &s, &err);
        unsigned whole = 0;
        while (whole < 3 && len + 7 >= ends[whole + 1]) /* the padding may be missing */
            whole++;
        if (len + 7 < ends[0]) {
            assert_int_equal(st, VV_CORRUPT);
        } else if (st == VV_OK) {
            uint64_t ids = ids_of(&s);
            assert_true(ids == (UINT64_C(2) << whole) - 2 ||
                        (whole > 0 && ids == (UINT64_C(1) << whole) - 2));
        }
        lsm_state_fini(&s);
    }
    /* The last edit torn, nothing sealed behind it: the edit before it is the last. */
    bytes.data[ends[2] + 60] ^= 1;
    lsm_state s;
    vv_error err;
    assert_ok(parse(vv_slice_of(bytes.data, ends[3]), &s, &err), err);
    expect_state(&s, 6, 2);
    lsm_state_fini(&s);
    /* With its seal it is damage. */
    assert_status(VV_CORRUPT, parse(vv_buf_slice(&bytes), &s, &err));
    assert_non_null(strstr(err.msg, "damaged at offset"));
    lsm_state_fini(&s);
    vv_buf_fini(&bytes);
}

static void prop_random_bytes_never_crash_the_parser(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(8));
    vv_buf bytes;
    size_t ends[4];
    make_bytes(&bytes, ends);
    uint8_t *copy = malloc(bytes.len);
    for (unsigned round = 0; round < 20000; round++) {
        memcpy(copy, bytes.data, bytes.len);
        size_t at = vv_rng_below(&rng, 2) == 0 ? 0 : ends[vv_rng_below(&rng, 3)];
        for (uint64_t n = 1 + vv_rng_below(&rng, 4); n > 0; n--)
            copy[vv_rng_below(&rng, bytes.len)] = (uint8_t)vv_rng_next(&rng);
        if (at > 0) { /* right sum over wrong bytes */
            uint32_t len = vv_get_le32(copy + at + 8);
            if (len < bytes.len - at - 24)
                vv_put_le32(copy + at + 4, vv_crc32c(0, copy + at + 8, 16 + len));
        }
        lsm_state s;
        (void)!parse(vv_slice_of(copy, bytes.len), &s, NULL);
        lsm_state_fini(&s);
    }
    free(copy);
    vv_buf_fini(&bytes);
}

static void a_newer_format_is_refused_by_name(void **state)
{
    (void)state;
    vv_buf bytes;
    size_t ends[4];
    make_bytes(&bytes, ends);
    const struct {
        size_t at;
        const char *text;
    } cases[] = {
        {8, "format version 3, this build reads"}, {12, "feature bits 0x2"}, {20, "encrypted"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        bytes.data[cases[i].at] += 2;
        vv_put_le32(bytes.data + 60, vv_crc32c(0, bytes.data, 60));
        lsm_state s;
        vv_error err;
        assert_status(VV_UNSUPPORTED, parse(vv_buf_slice(&bytes), &s, &err));
        assert_non_null(strstr(err.msg, cases[i].text));
        bytes.data[cases[i].at] -= 2;
        lsm_state_fini(&s);
    }
    /* A record kind and a field of the future. */
    size_t payload = LSM_MANIFEST_HEAD + 24;
    uint32_t len = vv_get_le32(bytes.data + payload - 16);
    for (size_t i = 0; i < 2; i++) {
        uint8_t before = bytes.data[payload + i];
        bytes.data[payload + i] = 99;
        vv_put_le32(bytes.data + payload - 20, vv_crc32c(0, bytes.data + payload - 16, 16 + len));
        vv_put_le32(bytes.data + 60, vv_crc32c(0, bytes.data, 60));
        lsm_state s;
        vv_error err;
        assert_status(VV_UNSUPPORTED, parse(vv_buf_slice(&bytes), &s, &err));
        bytes.data[payload + i] = before;
        lsm_state_fini(&s);
    }
    vv_buf_fini(&bytes);
}

/* Frozen: docs/format/manifest.md shows these. */
static void golden_bytes_of_a_manifest(void **state)
{
    (void)state;
    vv_buf out;
    vv_buf_init(&out, 4096);
    uint32_t chain = lsm_manifest_put_header(&out, 7, 2);
    lsm_meta meta = {.id = 300,
                     .level = 1,
                     .table_count = 1,
                     .size = 8192,
                     .footer_sum = UINT64_C(0x1122334455667788),
                     .entries = 5,
                     .deletes = 1,
                     .raw_bytes = 60,
                     .version_min = 3,
                     .version_max = 9,
                     .lower = vv_slice_str("a"),
                     .upper = vv_slice_str("b")};
    uint64_t remove = 2;
    lsm_edit edit = {
        .add = &meta, .add_count = 1, .remove = &remove, .remove_count = 1, .checkpoint = 9};
    chain = lsm_manifest_put_record(&out, LSM_RECORD_STATE, &edit, 500, chain, 64);
    static const uint8_t want[] = {
        'V', 'A', 'R', 'V', 'E', 'M', 'A', 'N', 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0,   0,   0,   0,   0,   0,   0,   0,   0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0,   0,   0,   0,   0,   0,   0,   0,   7, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0,
    };
    static const uint8_t payload[] = {
        1,                                                                     /* state */
        1,    0xf4, 0x03,                                                      /* ids below 500 */
        2,    9,                                                               /* checkpoint */
        3,    2,                                                               /* remove run 2 */
        4,    0xac, 0x02, 1,    0,    0x80, 0x40, 5,    1, 0,   60, 3,   9, 1, /* add run 300 */
        0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 1, 'a', 1,  'b',
    };
    assert_memory_equal(out.data, want, sizeof want);
    const uint8_t *record = out.data + LSM_MANIFEST_HEAD;
    assert_memory_equal(record, "LSME", 4);
    assert_int_equal(vv_get_le32(record + 4), chain);
    assert_int_equal(vv_get_le32(record + 8), sizeof payload);
    assert_int_equal(vv_get_le32(record + 12), vv_get_le32(out.data + 60));
    assert_int_equal(vv_get_le64(record + 16), 64);
    assert_memory_equal(record + 24, payload, sizeof payload);
    assert_int_equal(out.len % 8, 0);
    vv_buf_fini(&out);
}

/* Frozen: docs/format/manifest.md shows these. */
static void golden_bytes_of_objects(void **state)
{
    (void)state;
    vv_buf out;
    vv_buf_init(&out, 4096);
    uint32_t chain = lsm_manifest_put_header(&out, 7, 2);
    const lsm_object object = {.id = 300,
                               .state = LSM_OBJECT_REMOTE,
                               .size = 8192,
                               .time_ns = 1000,
                               .crc = 0x11223344,
                               .name = "runs/a"};
    const uint64_t forget = 2;
    lsm_meta meta = {.id = 1,
                     .level = 1,
                     .born_ns = 500,
                     .lower = vv_slice_str("a"),
                     .upper = vv_slice_str("b")};
    lsm_edit edit = {.add = &meta,
                     .add_count = 1,
                     .objects = &object,
                     .object_count = 1,
                     .forget = &forget,
                     .forget_count = 1,
                     .checkpoint = -1};
    (void)lsm_manifest_put_record(&out, LSM_RECORD_EDIT, &edit, 500, chain, 64);
    static const uint8_t tail[] = {
        8,    0xf4, 0x03,                                  /* run 1 was born at 500 */
        7,    2,                                           /* the object of 2 goes */
        6,    0xac, 0x02, 0,    2, 0x80, 0x40, 0xe8, 0x07, /* of run 300: remote */
        0x44, 0x33, 0x22, 0x11, 6, 'r',  'u',  'n',  's',  '/', 'a',
    };
    uint32_t len = vv_get_le32(out.data + LSM_MANIFEST_HEAD + 8);
    assert_memory_equal(out.data + LSM_MANIFEST_HEAD + 24 + len - sizeof tail, tail, sizeof tail);
    vv_buf_fini(&out);
}

static lsm_object sample_object(uint64_t id, lsm_object_state state)
{
    lsm_object o = {.id = id,
                    .is_values = id % 2 == 0,
                    .state = state,
                    .size = 1000 * id,
                    .time_ns = (int64_t)id,
                    .crc = (uint32_t)id};
    (void)snprintf(o.name, sizeof o.name, "runs/%llu", (unsigned long long)id);
    return o;
}

static void expect_objects(bed *b, uint64_t id, lsm_object_state state, bool is_named)
{
    vv_error err;
    lsm_object *objects = NULL;
    uint32_t count = 0;
    assert_ok(lsm_manifest_objects(&b->m, &objects, &count, &err), err);
    assert_int_equal(count, id != 0);
    if (count > 0) {
        lsm_object want = sample_object(id, state);
        assert_true(objects[0].id == id && objects[0].state == state &&
                    objects[0].is_values == want.is_values && objects[0].size == want.size &&
                    objects[0].crc == want.crc && objects[0].time_ns == want.time_ns &&
                    objects[0].is_named == is_named);
        assert_string_equal(objects[0].name, want.name);
    }
    vv_free(objects);
}

static void what_is_known_of_objects_survives(void **state)
{
    (void)state;
    bed b;
    bed_open(&b);
    vv_error err;
    assert_ok(open_manifest(&b, &err), err);
    assert_ok(commit(&b.m, 3, 0, 10, &err), err);
    static const lsm_object_state states[] = {LSM_OBJECT_INTENT, LSM_OBJECT_REMOTE};
    for (size_t i = 0; i < 2; i++) {
        lsm_object o = sample_object(3, states[i]);
        lsm_edit edit = {.objects = &o, .object_count = 1, .checkpoint = -1};
        assert_ok(lsm_manifest_commit(&b.m, &edit, &err), err);
        expect_objects(&b, 3, states[i], true);
        lsm_manifest_close(&b.m);
        assert_ok(open_manifest(&b, &err), err);
        expect_objects(&b, 3, states[i], true);
    }
    assert_ok(commit(&b.m, 0, 3, -1, &err), err);
    expect_objects(&b, 3, LSM_OBJECT_REMOTE, false);
    uint64_t id = 3;
    lsm_edit forget = {.forget = &id, .forget_count = 1, .checkpoint = -1};
    assert_ok(lsm_manifest_commit(&b.m, &forget, &err), err);
    expect_objects(&b, 0, 0, false);
    lsm_object twice[2] = {sample_object(4, LSM_OBJECT_INTENT),
                           sample_object(4, LSM_OBJECT_REMOTE)};
    lsm_edit wrong = {.objects = twice, .object_count = 2, .checkpoint = -1};
    assert_status(VV_CORRUPT, lsm_manifest_commit(&b.m, &wrong, &err));
    bed_close(&b);
}

static void a_damaged_or_missing_current_is_told(void **state)
{
    (void)state;
    bed b;
    bed_open(&b);
    vv_error err;
    assert_ok(open_manifest(&b, &err), err);
    assert_ok(commit(&b.m, 1, 0, 1, &err), err);
    lsm_manifest_close(&b.m);
    vio_destroy(b.env.io);
    vio_sim_disk_settle(b.disk);
    for (uint64_t bit = 0; bit < 8 * 31; bit++) {
        bed c = {.disk = vio_sim_disk_clone(b.disk)};
        assert_ok(vio_sim_flip_bit(c.disk, "d/CURRENT", bit), err);
        power_on(&c, &(vio_sim_options){.seed = 1});
        assert_status(VV_CORRUPT, open_manifest(&c, &err));
        bed_close(&c);
    }
    power_on(&b, &(vio_sim_options){.seed = 1});
    vio_file *run = NULL;
    assert_ok(vio_open(b.env.io, "d/run-000000000001", VIO_WRITE | VIO_CREATE, &run, &err), err);
    vio_close(run);
    assert_ok(vio_remove(b.env.io, "d/CURRENT", &err), err);
    assert_status(VV_CORRUPT, open_manifest(&b, &err));
    assert_non_null(strstr(err.msg, "CURRENT"));
    bed_close(&b);
}

static void count_line(void *ctx, const char *text)
{
    (void)text;
    ++*(unsigned *)ctx;
}

static void a_manifest_shows_as_text(void **state)
{
    (void)state;
    bed b;
    bed_open(&b);
    vv_error err;
    assert_ok(open_manifest(&b, &err), err);
    assert_ok(commit(&b.m, 1, 0, 1, &err), err);
    char path[64];
    (void)snprintf(path, sizeof path, "d/manifest-%012" PRIu64, b.m.number);
    unsigned lines = 0;
    assert_ok(lsm_dump_manifest(&b.env, path, count_line, &lines, &err), err);
    assert_true(lines >= 6);
    bed_close(&b);
}

static void take_text(void *ctx, const char *text)
{
    (void)snprintf(ctx, 256, "%s", text);
}

/* A file that no manifest names is told, harms nothing, and goes with the next open. */
static void leftovers_are_told_and_removed(void **state)
{
    (void)state;
    bed b;
    bed_open(&b);
    vv_error err;
    char text[256] = "";
    assert_ok(open_manifest(&b, &err), err);
    assert_ok(commit(&b.m, 1, 0, 1, &err), err);
    lsm_manifest_close(&b.m);
    assert_ok(vio_write_file_atomic(b.env.io, "d/run-000000000001", vv_slice_str("x"), &err), err);
    assert_ok(lsm_list_leftovers(&b.env, "d", 2, take_text, text, &err), err);
    assert_string_equal(text, "");
    assert_ok(vio_write_file_atomic(b.env.io, "d/run-000000000007", vv_slice_str("x"), &err), err);
    assert_ok(lsm_list_leftovers(&b.env, "d", 2, take_text, text, &err), err);
    assert_non_null(strstr(text, "'d/run-000000000007' is a leftover"));
    assert_ok(open_manifest(&b, &err), err);
    text[0] = '\0';
    assert_ok(lsm_list_leftovers(&b.env, "d", 2, take_text, text, &err), err);
    assert_string_equal(text, "");
    bed_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edits_add_up_over_reopens),
        cmocka_unit_test(ids_are_never_used_twice),
        cmocka_unit_test(a_long_manifest_is_renewed),
        cmocka_unit_test(a_failed_commit_is_tried_again_in_a_new_file),
        cmocka_unit_test(prop_every_flipped_bit_is_detected_or_harmless),
        cmocka_unit_test(prop_a_cut_leaves_a_whole_prefix),
        cmocka_unit_test(prop_random_bytes_never_crash_the_parser),
        cmocka_unit_test(a_newer_format_is_refused_by_name),
        cmocka_unit_test(golden_bytes_of_a_manifest),
        cmocka_unit_test(golden_bytes_of_objects),
        cmocka_unit_test(what_is_known_of_objects_survives),
        cmocka_unit_test(a_damaged_or_missing_current_is_told),
        cmocka_unit_test(a_manifest_shows_as_text),
        cmocka_unit_test(leftovers_are_told_and_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
