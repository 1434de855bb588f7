/*
 * btree_manifest_test.c - states that add up over reopens, frozen bytes, and what damage does.
 */
#include "vv_test.h"

#include "base/rng.h"
#include "btree/btree.h"
#include "btree/btree_manifest.h"
#include "io/vio_sim.h"

typedef struct bed {
    vio_sim_disk *disk;
    vv_env env;
    btree_manifest m;
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
    btree_manifest_close(&b->m);
    vio_destroy(b->env.io);
    vio_sim_disk_destroy(b->disk);
}

static vv_status open_manifest(bed *b, uint64_t limit, vv_error *err)
{
    btree_manifest_options opt = {
        .env = &b->env, .dir = "d", .shard = 2, .page_size = 4096, .shift = 5, .limit = limit};
    return btree_manifest_open(&b->m, &opt, err);
}

static void set(btree_state *s, uint32_t id, uint64_t at)
{
    btree_place p = {at == 0 ? BTREE_NOWHERE : at, (uint32_t)(at * 77)};
    assert_int_equal(btree_map_set(&s->map, id, p, NULL), VV_OK);
}

/* Step n of a history: what the state is after it. */
static void advance(btree_state *s, uint32_t n)
{
    set(s, n, 1000 + n);
    set(s, n / 2, 2000 + n);
    if (n % 3 == 0)
        set(s, n / 3, 0);
    s->main = (btree_root){n, 1 + n % 3};
    s->history = (btree_root){n / 2, 1};
    if (n % 4 == 0)
        s->history = (btree_root){.id = BTREE_NO_PAGE};
    s->checkpoint = n * 10;
    s->history_version = n;
    s->page_limit = 1000000;
}

static vv_status differ(void *ctx, uint32_t id, btree_place place)
{
    (void)ctx;
    (void)id;
    (void)place;
    return VV_CONFLICT;
}

static bool is_after(const btree_state *s, uint32_t n)
{
    btree_state want;
    btree_state_init(&want, NULL);
    for (uint32_t i = 1; i <= n; i++)
        advance(&want, i);
    bool same = s->main.id == want.main.id && s->main.level == want.main.level &&
                s->history.id == want.history.id && s->checkpoint == want.checkpoint &&
                s->history_version == want.history_version && s->map.count == want.map.count &&
                btree_map_diff(&want.map, &s->map, differ, NULL) == VV_OK;
    btree_state_fini(&want);
    return same;
}

static vv_status commit_step(bed *b, uint32_t n, vv_error *err)
{
    btree_state next;
    btree_state_share(&b->m.state, &next);
    advance(&next, n);
    vv_status st = btree_manifest_commit(&b->m, &next, err);
    btree_state_fini(&next);
    return st;
}

static void states_add_up_over_reopens(void **state)
{
    (void)state;
    bed b;
    bed_open(&b);
    vv_error err;
    assert_ok(open_manifest(&b, 1 << 20, &err), err);
    uint64_t first = 0;
    assert_ok(btree_manifest_new_id(&b.m, &first, &err), err);
    for (uint32_t n = 1; n <= 40; n++) {
        assert_ok(commit_step(&b, n, &err), err);
        if (n % 7 == 0) {
            btree_manifest_close(&b.m);
            assert_ok(open_manifest(&b, 1 << 20, &err), err);
        }
        assert_true(is_after(&b.m.state, n));
    }
    assert_int_equal(b.m.state.page_size, 4096);
    uint64_t id = 0;
    assert_ok(btree_manifest_new_id(&b.m, &id, &err), err);
    assert_true(id > first); /* also beyond what a crash may have used */
    bed_close(&b);
}

static void archives_and_dictionary_are_part_of_the_state(void **state)
{
    (void)state;
    bed b;
    bed_open(&b);
    vv_error err;
    assert_ok(open_manifest(&b, 1 << 20, &err), err);
    btree_state next;
    btree_state_share(&b.m.state, &next);
    next.dict = btree_blob_create(3, 3);
    memcpy(next.dict->bytes, "abc", 3);
    next.archives = btree_blob_create(sizeof(btree_archive_meta), 1);
    *(btree_archive_meta *)(void *)next.archives->bytes =
        (btree_archive_meta){.id = 9, .version = 8, .time_ns = 7, .periodic = true, .name = "n"};
    assert_ok(btree_manifest_commit(&b.m, &next, &err), err);
    assert_ok(btree_archive_write(&b.m, 9, &next, &err), err);
    btree_state_fini(&next);
    for (int round = 0; round < 2; round++) {
        const btree_state *s = &b.m.state;
        assert_int_equal(btree_archive_count(s), 1);
        assert_string_equal(btree_archives(s)[0].name, "n");
        assert_int_equal(btree_archives(s)[0].version, 8);
        assert_true(s->dict != NULL && s->dict->count == 3);
        btree_manifest_close(&b.m);
        assert_ok(open_manifest(&b, 1 << 20, &err), err);
    }
    btree_state archived;
    btree_state_init(&archived, NULL);
    assert_ok(btree_archive_read(&b.env, "d", 2, 9, &archived, &err), err);
    assert_int_equal(btree_archive_count(&archived), 0);
    assert_memory_equal(archived.dict->bytes, "abc", 3);
    btree_state_fini(&archived);
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
    assert_ok(open_manifest(&b, 2000, &err), err);
    uint64_t number = b.m.number;
    for (uint32_t n = 1; n <= 300; n++)
        assert_ok(commit_step(&b, n, &err), err);
    assert_true(b.m.number > number + 1 && b.m.number < number + 100);
    assert_true(is_after(&b.m.state, 300));
    unsigned files = 0;
    assert_ok(vio_list(b.env.io, "d", count_file, &files, &err), err);
    assert_int_equal(files, 2); /* CURRENT and one manifest */
    bed_close(&b);
}

/* A cut at every write: the state is the one before or after the commit that it met. */
static void prop_a_power_cut_leaves_one_state_or_the_next(void **state)
{
    (void)state;
    bool cut = true;
    for (uint64_t n = 1; cut; n++) {
        bed b;
        bed_open(&b);
        vv_error err;
        vio_destroy(b.env.io);
        vio_sim_disk_settle(b.disk);
        power_on(&b, &(vio_sim_options){.seed = n, .cut_after_writes = n, .tear = true});
        uint32_t done = 0;
        vv_status st = open_manifest(&b, 700, &err);
        while (st == VV_OK && done < 30) {
            st = commit_step(&b, done + 1, &err);
            done += st == VV_OK;
        }
        cut = vio_sim_is_off(b.disk);
        btree_manifest_close(&b.m);
        vio_destroy(b.env.io);
        vio_sim_disk_settle(b.disk);
        power_on(&b, &(vio_sim_options){.seed = n});
        assert_ok(open_manifest(&b, 700, &err), err);
        if (!is_after(&b.m.state, done) && !is_after(&b.m.state, done + 1))
            fail_msg("cut %llu: neither state %u nor the next", (unsigned long long)n, done);
        bed_close(&b);
    }
}

static void a_failed_commit_is_tried_again_in_a_new_file(void **state)
{
    (void)state;
    const vio_sim_fault faults[] = {VIO_SIM_EIO, VIO_SIM_ENOSPC};
    for (size_t f = 0; f < ARRAY_LEN(faults); f++) {
        bool hit = true;
        for (uint64_t n = 1; hit; n++) {
            bed b;
            bed_open(&b);
            vv_error err;
            vio_destroy(b.env.io);
            power_on(&b, &(vio_sim_options){.seed = 1, .fault = faults[f], .fault_at = n});
            vv_status st = open_manifest(&b, 700, &err);
            uint32_t done = 0;
            while (st == VV_OK && done < 12) {
                st = commit_step(&b, done + 1, &err);
                done += st == VV_OK;
            }
            hit = vio_sim_fault_sites(b.disk, faults[f]) >= n;
            vio_sim_heal(b.disk);
            if (b.m.file == NULL) { /* not even opened */
                btree_manifest_close(&b.m);
                assert_ok(open_manifest(&b, 700, &err), err);
            }
            while (done < 12) {
                assert_ok(commit_step(&b, done + 1, &err), err);
                done++;
            }
            btree_manifest_close(&b.m);
            assert_ok(open_manifest(&b, 700, &err), err);
            assert_true(is_after(&b.m.state, 12));
            bed_close(&b);
        }
    }
}

/* ---- bytes ---- */

static void make_bytes(vv_buf *out, size_t ends[4])
{
    vv_buf_init(out, 1 << 20);
    btree_state now;
    btree_state_init(&now, NULL);
    now.page_size = 4096;
    now.shift = 5;
    now.id_limit = 100;
    uint32_t chain = btree_manifest_put_header(out, 7, 2);
    chain = btree_manifest_put_record(out, BTREE_RECORD_STATE, NULL, &now, chain, 0);
    ends[0] = out->len;
    for (uint32_t n = 1; n <= 3; n++) {
        btree_state old;
        btree_state_share(&now, &old);
        advance(&now, n);
        chain = btree_manifest_put_record(out, BTREE_RECORD_CHANGE, &old, &now, chain, ends[n - 1]);
        ends[n] = out->len;
        chain = btree_manifest_put_record(out, BTREE_RECORD_SEAL, NULL, &now, chain, out->len);
        btree_state_fini(&old);
    }
    btree_state_fini(&now);
}

static vv_status parse(vv_slice bytes, btree_state *s, vv_error *err)
{
    btree_manifest_info info = {0};
    btree_state_init(s, NULL);
    return btree_manifest_parse(bytes, &info, s, NULL, NULL, err);
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
        btree_state s;
        vv_error err;
        vv_status st = parse(vv_buf_slice(&bytes), &s, &err);
        if (st == VV_OK && !is_after(&s, 3))
            fail_msg("bit %zu gives another state", bit);
        if (st != VV_OK && st != VV_CORRUPT && st != VV_UNSUPPORTED)
            fail_msg("bit %zu: %s", bit, vv_status_name(st));
        harmless += st == VV_OK;
        btree_state_fini(&s);
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
    for (size_t len = ends[0]; len <= bytes.len; len++) {
        btree_state s;
        vv_error err;
        assert_ok(parse(vv_slice_of(bytes.data, len), &s, &err), err);
        uint32_t n = 0;
        while (n < 3 && ends[n + 1] <= len + 7) /* the padding may be gone */
            n++;
        if (!is_after(&s, n) && !(n > 0 && is_after(&s, n - 1)))
            fail_msg("cut at %zu", len);
        btree_state_fini(&s);
    }
    vv_buf_fini(&bytes);
}

static void prop_random_bytes_never_crash_the_parser(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(3));
    vv_buf bytes;
    size_t ends[4];
    make_bytes(&bytes, ends);
    for (int round = 0; round < 3000; round++) {
        uint8_t copy[2048];
        size_t len = vv_rng_below(&rng, bytes.len);
        memcpy(copy, bytes.data, len);
        for (uint64_t n = vv_rng_below(&rng, 8); n > 0 && len > 0; n--)
            copy[vv_rng_below(&rng, len)] = (uint8_t)vv_rng_next(&rng);
        btree_state s;
        (void)!parse(vv_slice_of(copy, len), &s, NULL);
        btree_state_fini(&s);
    }
    vv_buf_fini(&bytes);
}

/* Frozen: docs/format/btree-manifest.md shows these. */
static void golden_bytes_of_a_manifest(void **state)
{
    (void)state;
    vv_buf out;
    vv_buf_init(&out, 4096);
    btree_state s;
    btree_state_init(&s, NULL);
    s.page_size = 4096;
    s.shift = 13;
    s.id_limit = 500;
    s.page_limit = 6;
    s.checkpoint = 9;
    s.history_version = 0;
    s.main = (btree_root){4, 1};
    assert_int_equal(btree_map_set(&s.map, 4, (btree_place){300, 0x11223344}, NULL), VV_OK);
    assert_int_equal(btree_map_set(&s.map, 5, (btree_place){0, 1}, NULL), VV_OK);
    uint32_t chain = btree_manifest_put_header(&out, 7, 2);
    chain = btree_manifest_put_record(&out, BTREE_RECORD_STATE, NULL, &s, chain, 64);
    static const uint8_t payload[] = {
        1,                                     /* state */
        1, 0x80, 0x20, 13,                     /* pages of 4096, 2^13 a file */
        2, 0xf4, 0x03, 6,                      /* file ids below 500, page ids below 6 */
        3, 9,    0,                            /* checkpoint 9, no history */
        5, 2,                                  /* two pages */
        4, 0xad, 0x02, 0x44, 0x33, 0x22, 0x11, /* page 4 at 300 */
        1, 1,    1,    0,    0,    0,          /* page 5 at 0 */
        4, 5,    1,    0,    0,                /* main: page 4, one level; history: none */
    };
    assert_memory_equal(out.data, "VARVETRE", 8);
    assert_int_equal(vv_get_le32(out.data + 8), 1);
    assert_int_equal(vv_get_le64(out.data + 48), 7);
    assert_int_equal(vv_get_le32(out.data + 56), 2);
    const uint8_t *record = out.data + BTREE_MANIFEST_HEAD;
    assert_memory_equal(record, "BTRE", 4);
    assert_int_equal(vv_get_le32(record + 4), chain);
    assert_int_equal(vv_get_le32(record + 8), sizeof payload);
    assert_int_equal(vv_get_le32(record + 12), vv_get_le32(out.data + 60));
    assert_int_equal(vv_get_le64(record + 16), 64);
    assert_memory_equal(record + 24, payload, sizeof payload);
    assert_int_equal(out.len % 8, 0);
    btree_state_fini(&s);
    vv_buf_fini(&out);
}

static void what_is_not_ours_is_refused_by_name(void **state)
{
    (void)state;
    vv_buf bytes;
    size_t ends[4];
    make_bytes(&bytes, ends);
    btree_state s;
    vv_error err;
    memcpy(bytes.data, "VARVEMAN", 8);
    assert_status(VV_UNSUPPORTED, parse(vv_buf_slice(&bytes), &s, &err));
    assert_non_null(strstr(err.msg, "lsm"));
    memcpy(bytes.data, "ELOQMFST", 8);
    assert_status(VV_CORRUPT, parse(vv_buf_slice(&bytes), &s, &err));
    assert_status(VV_CORRUPT, parse(vv_slice_of(bytes.data, 20), &s, &err));
    vv_buf_fini(&bytes);
}

static void count_line(void *ctx, const char *text)
{
    assert_true(strlen(text) > 0);
    ++*(unsigned *)ctx;
}

static void a_manifest_shows_as_text(void **state)
{
    (void)state;
    bed b;
    bed_open(&b);
    vv_error err;
    assert_ok(open_manifest(&b, 1 << 20, &err), err);
    for (uint32_t n = 1; n <= 4; n++)
        assert_ok(commit_step(&b, n, &err), err);
    unsigned lines = 0;
    assert_ok(btree_dump_manifest(&b.env, "d/manifest-000000000001", count_line, &lines, &err),
              err);
    assert_true(lines > 10);
    assert_status(VV_NOT_FOUND,
                  btree_dump_manifest(&b.env, "d/manifest-9", count_line, &lines, &err));
    bed_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(states_add_up_over_reopens),
        cmocka_unit_test(archives_and_dictionary_are_part_of_the_state),
        cmocka_unit_test(a_long_manifest_is_renewed),
        cmocka_unit_test(prop_a_power_cut_leaves_one_state_or_the_next),
        cmocka_unit_test(a_failed_commit_is_tried_again_in_a_new_file),
        cmocka_unit_test(prop_every_flipped_bit_is_detected_or_harmless),
        cmocka_unit_test(prop_a_cut_leaves_a_whole_prefix),
        cmocka_unit_test(prop_random_bytes_never_crash_the_parser),
        cmocka_unit_test(golden_bytes_of_a_manifest),
        cmocka_unit_test(what_is_not_ours_is_refused_by_name),
        cmocka_unit_test(a_manifest_shows_as_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
