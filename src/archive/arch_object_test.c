/*
 * arch_object_test.c - what is written comes back, in as few reads as promised, at the size that
 * was asked for; every allocation, write and read fails once.
 */
#include "arch_test_util.h"

#include "archive/arch_int.h"
#include "base/alloc.h"
#include "base/bytes.h"
#include "base/crc32c.h"

static arch_writer_options options_of(vv_tier_codec codec)
{
    return (arch_writer_options){.who = arch_test_who(), .codec = codec};
}

static void no_finding(void *ctx, const char *text)
{
    (void)ctx;
    fail_msg("a finding in a whole object: %s", text);
}

/* ---- what is written comes back ---- */

static void read_back(arch_bytes *b, const arch_summary *sum, uint64_t seed, uint64_t count)
{
    static arch_test_message t;
    vv_error err = {0};
    arch_reader *r = NULL;
    vv_message got;
    uint64_t i = 0;
    assert_ok(arch_reader_open(arch_bytes_source(b), sum->index_at, sum->index_len, &r, &err), err);
    for (uint32_t k = 0; k < arch_reader_block_count(r); k++) {
        arch_block_info info;
        arch_reader_block(r, k, &info);
        assert_true(info.first == ARCH_TEST_FIRST + i && info.raw_len <= ARCH_BLOCK_MAX);
        assert_ok(arch_reader_load(r, k, &err), err);
        vv_status st;
        while ((st = arch_reader_next(r, &got, &err)) == VV_OK) {
            arch_test_message_of(seed, i++, &t);
            arch_test_same(&got, &t.m);
            int64_t time = got.event_time_ns == 0 ? got.receive_time_ns : got.event_time_ns;
            assert_true(time <= info.event_max_ns);
            assert_true(got.receive_time_ns >= info.receive_first_ns &&
                        got.receive_time_ns <= info.receive_last_ns);
        }
        assert_int_equal(st, VV_NOT_FOUND);
        assert_true(info.next == ARCH_TEST_FIRST + i);
    }
    assert_int_equal(i, count);
    assert_ok(arch_reader_verify(r, no_finding, NULL, &err), err);
    assert_memory_equal(arch_reader_summary(r), sum, sizeof *sum);
    const arch_identity want = arch_test_who();
    assert_memory_equal(arch_reader_who(r), &want, sizeof want);
    arch_reader_close(r);
}

static void prop_decode_of_encode_is_the_messages(void **state)
{
    (void)state;
    uint64_t seed = vv_test_seed(3);
    const uint64_t counts[] = {1, 2, 50, 3000};
    for (int codec = VV_TIER_ZSTD; codec <= VV_TIER_PLAIN; codec++)
        for (size_t i = 0; i < ARRAY_LEN(counts); i++)
            for (unsigned how = 0; how < 3; how++) {
                arch_bytes b;
                arch_writer_options opt = options_of((vv_tier_codec)codec);
                opt.block_bytes = how == 0 ? 0 : how == 1 ? 1 : 4096;
                opt.level = (int)how * 2;
                arch_summary sum = arch_test_write(&opt, seed, counts[i], &b);
                assert_true(sum.size == b.len && sum.index_at + sum.index_len == b.len);
                assert_true(sum.crc32c == vv_crc32c(0, b.data, b.len));
                assert_true(sum.first == ARCH_TEST_FIRST && sum.next == sum.first + counts[i]);
                read_back(&b, &sum, seed, counts[i]);
                free(b.data);
            }
}

static void the_same_messages_give_the_same_bytes(void **state)
{
    (void)state;
    arch_bytes a;
    arch_bytes b;
    arch_writer_options opt = options_of(VV_TIER_ZSTD);
    (void)arch_test_write(&opt, 5, 2000, &a);
    (void)arch_test_write(&opt, 5, 2000, &b);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, a.len);
    free(a.data);
    free(b.data);
}

/* What version 1 writes, told by the sums of objects whose bytes no library has a say in. A change
 * of them is a change of docs/format/archive-object.md and of the version. */
static void the_bytes_are_those_of_version_1(void **state)
{
    (void)state;
    const struct {
        uint64_t count;
        uint32_t crc32c;
    } golden[] = {{1, 0x0272b86fu}, {200, 0xf9b6443du}};
    for (size_t i = 0; i < ARRAY_LEN(golden); i++) {
        arch_bytes b;
        arch_writer_options opt = options_of(VV_TIER_PLAIN);
        arch_summary sum = arch_test_write(&opt, 5, golden[i].count, &b);
        if (sum.crc32c != golden[i].crc32c)
            fail_msg("%llu messages: %08x", (unsigned long long)golden[i].count, sum.crc32c);
        free(b.data);
    }
}

/* In bytes that readers from before take for a bit they do not know; nothing, where no table is
 * said. A sum of the whole does not tell: a header's ends in its own. */
static void a_header_says_which_table(void **state)
{
    (void)state;
    for (uint32_t id = 0; id < 2; id++) {
        static const uint8_t nothing[24];
        vv_error err = {0};
        arch_bytes b;
        arch_reader *r = NULL;
        arch_writer_options opt = options_of(VV_TIER_PLAIN);
        opt.who.table_id = id * 0x10000012;
        opt.who.table_made_ns = id * (ARCH_TEST_TIME - 5);
        arch_summary sum = arch_test_write(&opt, 5, 20, &b);
        assert_int_equal(vv_get_le32(b.data + 12), id);
        assert_int_equal(vv_get_le32(b.data + 104), opt.who.table_id);
        assert_true((int64_t)vv_get_le64(b.data + 112) == opt.who.table_made_ns);
        if (id == 0)
            assert_memory_equal(b.data + 104, nothing, sizeof nothing);
        assert_ok(arch_reader_open(arch_bytes_source(&b), sum.index_at, sum.index_len, &r, &err),
                  err);
        assert_memory_equal(arch_reader_who(r), &opt.who, sizeof opt.who);
        arch_reader_close(r);
        free(b.data);
    }
}

static void a_message_is_two_reads_away(void **state)
{
    (void)state;
    static arch_test_message t;
    vv_error err = {0};
    arch_bytes b;
    arch_reader *r = NULL;
    vv_message got;
    uint32_t block = 0;
    arch_writer_options opt = options_of(VV_TIER_ZSTD);
    arch_summary sum = arch_test_write(&opt, 9, 3000, &b);
    for (uint64_t i = 0; i < 3000; i += 97) {
        b.reads = 0;
        assert_ok(arch_reader_open(arch_bytes_source(&b), sum.index_at, sum.index_len, &r, &err),
                  err);
        assert_ok(arch_reader_find(r, ARCH_TEST_FIRST + i, &block, &err), err);
        assert_ok(arch_reader_load(r, block, &err), err);
        assert_ok(arch_reader_seek(r, ARCH_TEST_FIRST + i, &err), err);
        assert_ok(arch_reader_next(r, &got, &err), err);
        arch_test_message_of(9, i, &t);
        arch_test_same(&got, &t.m);
        assert_int_equal(b.reads, 2);
        arch_reader_close(r);
    }
    b.reads = 0;
    assert_ok(arch_reader_open(arch_bytes_source(&b), 0, 0, &r, &err), err);
    assert_int_equal(b.reads, 2); /* the footer, the rest of the index */
    assert_status(VV_NOT_FOUND, arch_reader_find(r, ARCH_TEST_FIRST - 1, &block, &err));
    assert_status(VV_NOT_FOUND, arch_reader_find(r, ARCH_TEST_FIRST + 3000, &block, &err));
    assert_status(VV_INVALID, arch_reader_next(r, &got, &err)); /* nothing is loaded */
    assert_ok(arch_reader_load(r, 1, &err), err);
    assert_status(VV_NOT_FOUND, arch_reader_seek(r, ARCH_TEST_FIRST, &err));
    arch_block_info info;
    arch_reader_block(r, 1, &info);
    assert_ok(arch_reader_seek(r, info.next - 1, &err), err); /* to its end and back */
    assert_ok(arch_reader_seek(r, info.first, &err), err);
    assert_ok(arch_reader_next(r, &got, &err), err);
    assert_true(got.offset == info.first);
    assert_ok(arch_reader_unpack(r, 1, b.data + info.at, &err), err); /* from a cache */
    assert_ok(arch_reader_next(r, &got, &err), err);
    assert_true(got.offset == info.first);
    arch_reader_close(r);
    free(b.data);
}

/* Times and sizes at the ends of what they can be. */
static void extremes_come_back(void **state)
{
    (void)state;
    static uint8_t large[VV_STREAM_MESSAGE_MAX];
    vv_error err = {0};
    arch_bytes b = {.fail_in = -1};
    arch_writer *w = NULL;
    arch_reader *r = NULL;
    arch_summary sum;
    vv_message got;
    vv_rng rng;
    vv_rng_init(&rng, 1);
    vv_rng_bytes(&rng, large, sizeof large);
    const vv_message m[] = {
        {.offset = 0, .receive_time_ns = INT64_MIN, .event_time_ns = INT64_MAX},
        {.offset = 1, .receive_time_ns = -1, .event_time_ns = INT64_MIN},
        {.offset = 2, .receive_time_ns = INT64_MAX, .value = vv_slice_of(large, sizeof large - 10)},
        {.offset = 3, .receive_time_ns = INT64_MAX},
    };
    arch_writer_options opt = options_of(VV_TIER_ZSTD);
    opt.who.partition = 0;
    assert_ok(arch_writer_open(&opt, arch_bytes_sink(&b), &w, &err), err);
    for (size_t i = 0; i < ARRAY_LEN(m); i++)
        assert_ok(arch_writer_add(w, &m[i], &err), err);
    assert_ok(arch_writer_finish(w, &sum, &err), err);
    arch_writer_close(w);
    assert_true(sum.event_min_ns == INT64_MIN + 1 && sum.event_max_ns == INT64_MAX);
    assert_ok(arch_reader_open(arch_bytes_source(&b), 0, 0, &r, &err), err);
    assert_ok(arch_reader_verify(r, no_finding, NULL, &err), err);
    size_t i = 0;
    for (uint32_t k = 0; k < arch_reader_block_count(r); k++) {
        assert_ok(arch_reader_load(r, k, &err), err);
        while (arch_reader_next(r, &got, &err) == VV_OK)
            arch_test_same(&got, &m[i++]);
    }
    assert_int_equal(i, ARRAY_LEN(m));
    arch_reader_close(r);
    free(b.data);
}

/* ---- sizes ---- */

/* Cut when the writer says so; how far from the target does the object end up? */
static double cut_at(uint64_t target, uint64_t seed, vv_tier_codec codec)
{
    static arch_test_message t;
    vv_error err = {0};
    arch_bytes b = {.fail_in = -1};
    arch_writer *w = NULL;
    arch_summary sum;
    arch_writer_options opt = options_of(codec);
    assert_ok(arch_writer_open(&opt, arch_bytes_sink(&b), &w, &err), err);
    for (uint64_t i = 0; arch_writer_size(w) < target; i++) {
        arch_test_message_of(seed, i, &t);
        assert_ok(arch_writer_add(w, &t.m, &err), err);
    }
    assert_ok(arch_writer_finish(w, &sum, &err), err);
    arch_writer_close(w);
    free(b.data);
    return (double)sum.size / (double)target - 1;
}

static void prop_objects_have_the_size_they_are_cut_at(void **state)
{
    (void)state;
    const uint64_t targets[] = {200000, 1u << 20, 4u << 20, 8u << 20};
    for (int codec = VV_TIER_ZSTD; codec <= VV_TIER_PLAIN; codec++)
        for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
            double off = cut_at(targets[i], vv_test_seed(i + 1), (vv_tier_codec)codec);
            if (off < -0.05 || off > 0.05)
                fail_msg("codec %d: an object cut at %llu is %.1f %% off", codec,
                         (unsigned long long)targets[i], off * 100);
        }
}

static void add_lines(arch_writer *w, uint64_t count)
{
    vv_rng rng;
    vv_error err = {0};
    vv_rng_init(&rng, 4);
    for (uint64_t i = 0; i < count; i++) {
        char line[200];
        int n =
            snprintf(line, sizeof line,
                     "{\"device\":\"sensor-%04u\",\"temperature\":%u.%02u,\"state\":\"running\","
                     "\"site\":\"plant-%u\",\"firmware\":\"v1.%u\"}",
                     (unsigned)vv_rng_below(&rng, 5000), (unsigned)vv_rng_below(&rng, 40),
                     (unsigned)vv_rng_below(&rng, 100), (unsigned)vv_rng_below(&rng, 8),
                     (unsigned)vv_rng_below(&rng, 9));
        vv_message m = {.offset = i, .value = vv_slice_of(line, (size_t)n), .receive_time_ns = 5};
        assert_ok(arch_writer_add(w, &m, &err), err);
    }
}

static uint64_t lines_size(const arch_writer_options *opt, arch_bytes *b)
{
    vv_error err = {0};
    arch_writer *w = NULL;
    arch_summary sum;
    *b = (arch_bytes){.fail_in = -1};
    assert_ok(arch_writer_open(opt, arch_bytes_sink(b), &w, &err), err);
    add_lines(w, 20000);
    assert_ok(arch_writer_finish(w, &sum, &err), err);
    arch_writer_close(w);
    return sum.size;
}

/* Small blocks of lines that resemble each other: the dictionary is there, and read with. */
static void a_dictionary_is_used_where_it_pays(void **state)
{
    (void)state;
    vv_error err = {0};
    arch_bytes b;
    arch_reader *r = NULL;
    arch_writer_options opt = options_of(VV_TIER_ZSTD);
    opt.block_bytes = 4096;
    uint64_t size = lines_size(&opt, &b);
    assert_ok(arch_reader_open(arch_bytes_source(&b), 0, 0, &r, &err), err);
    assert_ok(arch_reader_verify(r, no_finding, NULL, &err), err);
    assert_true(r->dict != NULL && r->block[0].stored == ARCH_STORED_ZSTD);
    assert_true(r->block[r->footer.block_count - 1].stored == ARCH_STORED_DICT);
    /* Given from outside, the first blocks have it too. */
    uint8_t *bytes = malloc(r->footer.dictionary_len);
    assert_non_null(bytes);
    memcpy(bytes, r->index + r->footer.header_len, r->footer.dictionary_len);
    opt.dictionary = vv_slice_of(bytes, r->footer.dictionary_len);
    arch_reader_close(r);
    free(b.data);
    assert_true(lines_size(&opt, &b) < size);
    assert_ok(arch_reader_open(arch_bytes_source(&b), 0, 0, &r, &err), err);
    assert_ok(arch_reader_verify(r, no_finding, NULL, &err), err);
    assert_true(r->block[0].stored == ARCH_STORED_DICT);
    arch_reader_close(r);
    free(b.data);
    free(bytes);
}

/* ---- ranges of attributes ---- */

/* A value that is in a block is never said not to be; most that are not there are. */
static void prop_ranges_hold_what_is_there(void **state)
{
    (void)state;
    vv_error err = {0};
    arch_bytes b;
    arch_reader *r = NULL;
    vv_message m;
    arch_writer_options opt = options_of(VV_TIER_ZSTD);
    opt.block_bytes = 8192;
    (void)arch_test_write(&opt, vv_test_seed(11), 2000, &b);
    assert_ok(arch_reader_open(arch_bytes_source(&b), 0, 0, &r, &err), err);
    for (uint32_t k = 0; k < arch_reader_block_count(r); k++) {
        assert_ok(arch_reader_load(r, k, &err), err);
        while (arch_reader_next(r, &m, &err) == VV_OK)
            for (size_t i = 0; i < m.attribute_count; i++) {
                const vv_attribute *a = &m.attributes[i];
                assert_true(arch_reader_may_hold(r, k, a->name, a->type, a, a));
                assert_true(arch_reader_may_hold(r, k, a->name, a->type, NULL, a));
                assert_true(arch_reader_may_hold(r, k, a->name, a->type, a, NULL));
            }
        const vv_attribute high = {.type = VV_ATTRIBUTE_STRING, .bytes = vv_slice_str("zebra")};
        const vv_attribute low = {.type = VV_ATTRIBUTE_STRING, .bytes = vv_slice_str("aa")};
        vv_slice device = vv_slice_str("device");
        assert_false(arch_reader_may_hold(r, k, device, VV_ATTRIBUTE_STRING, &high, NULL));
        assert_false(arch_reader_may_hold(r, k, device, VV_ATTRIBUTE_STRING, NULL, &low));
        assert_false(arch_reader_may_hold(r, k, device, VV_ATTRIBUTE_I64, NULL, NULL));
        assert_false(
            arch_reader_may_hold(r, k, vv_slice_str("no such"), VV_ATTRIBUTE_I64, NULL, NULL));
    }
    arch_reader_close(r);
    free(b.data);
}

/* Messages with as many names as they like: bounded, and nothing is denied. */
static void names_without_end_are_bounded(void **state)
{
    (void)state;
    vv_error err = {0};
    arch_bytes b = {.fail_in = -1};
    arch_writer *w = NULL;
    arch_reader *r = NULL;
    arch_summary sum;
    arch_writer_options opt = options_of(VV_TIER_ZSTD);
    assert_ok(arch_writer_open(&opt, arch_bytes_sink(&b), &w, &err), err);
    for (unsigned i = 0; i < 2000; i++) {
        char name[32];
        vv_attribute a = {.type = VV_ATTRIBUTE_I64, .i64 = i};
        a.name = vv_slice_of(name, (size_t)snprintf(name, sizeof name, "name-%u", i));
        vv_message m = {.offset = i, .attributes = &a, .attribute_count = 1};
        assert_ok(arch_writer_add(w, &m, &err), err);
    }
    assert_ok(arch_writer_finish(w, &sum, &err), err);
    arch_writer_close(w);
    assert_ok(arch_reader_open(arch_bytes_source(&b), 0, 0, &r, &err), err);
    assert_int_equal(r->columns.count, ARCH_COLUMNS_MAX);
    const vv_attribute seven = {.type = VV_ATTRIBUTE_I64, .i64 = 8};
    assert_false(
        arch_reader_may_hold(r, 0, vv_slice_str("name-7"), VV_ATTRIBUTE_I64, &seven, NULL));
    assert_true(
        arch_reader_may_hold(r, 0, vv_slice_str("name-1999"), VV_ATTRIBUTE_I64, NULL, NULL));
    assert_ok(arch_reader_verify(r, no_finding, NULL, &err), err);
    arch_reader_close(r);
    free(b.data);
}

/* ---- refusals and failures ---- */

static void what_cannot_follow_is_refused(void **state)
{
    (void)state;
    vv_error err = {0};
    arch_bytes b = {.fail_in = -1};
    arch_writer *w = NULL;
    arch_summary sum;
    arch_writer_options opt = options_of(VV_TIER_ZSTD);
    opt.codec = (vv_tier_codec)9;
    assert_status(VV_INVALID, arch_writer_open(&opt, arch_bytes_sink(&b), &w, &err));
    opt = options_of(VV_TIER_ZSTD);
    opt.level = 1000;
    assert_status(VV_INVALID, arch_writer_open(&opt, arch_bytes_sink(&b), &w, &err));
    opt = options_of(VV_TIER_ZSTD);
    opt.dictionary = vv_slice_str("no dictionary");
    assert_status(VV_INVALID, arch_writer_open(&opt, arch_bytes_sink(&b), &w, &err));
    opt = options_of(VV_TIER_LZ4);
    opt.who.partition = 4;
    assert_status(VV_INVALID, arch_writer_open(&opt, arch_bytes_sink(&b), &w, &err));
    opt = options_of(VV_TIER_LZ4);
    assert_ok(arch_writer_open(&opt, arch_bytes_sink(&b), &w, &err), err);
    assert_int_equal(arch_writer_size(w), 0);
    assert_status(VV_INVALID, arch_writer_finish(w, &sum, &err)); /* no message */
    vv_message m = {.offset = 7, .receive_time_ns = 10};
    assert_ok(arch_writer_add(w, &m, &err), err);
    assert_status(VV_INVALID, arch_writer_add(w, &m, &err)); /* the same offset */
    m.offset = 8;
    m.receive_time_ns = 9;
    assert_status(VV_INVALID, arch_writer_add(w, &m, &err)); /* received earlier */
    m.receive_time_ns = 10;
    assert_ok(arch_writer_add(w, &m, &err), err); /* a refusal changes nothing */
    assert_ok(arch_writer_finish(w, &sum, &err), err);
    assert_status(VV_CLOSED, arch_writer_finish(w, &sum, &err));
    arch_writer_close(w);
    free(b.data);
}

/* Write and read all; the first failure ends it. */
static vv_status write_and_read(arch_bytes *b)
{
    static arch_test_message t;
    arch_writer *w = NULL;
    arch_reader *r = NULL;
    arch_summary sum = {0};
    arch_writer_options opt = options_of(VV_TIER_ZSTD);
    opt.block_bytes = 4096;
    b->len = 0;
    vv_status st = arch_writer_open(&opt, arch_bytes_sink(b), &w, NULL);
    for (uint64_t i = 0; i < 400 && st == VV_OK; i++) {
        arch_test_message_of(2, i, &t);
        st = arch_writer_add(w, &t.m, NULL);
    }
    if (st == VV_OK)
        st = arch_writer_finish(w, &sum, NULL);
    else if (w != NULL)
        assert_true(arch_writer_finish(w, &sum, NULL) != VV_OK); /* it stays failed */
    arch_writer_close(w);
    if (st == VV_OK)
        st = arch_reader_open(arch_bytes_source(b), 0, 0, &r, NULL);
    if (st == VV_OK)
        st = arch_reader_verify(r, NULL, NULL, NULL);
    arch_reader_close(r);
    return st;
}

static void every_allocation_fails_once(void **state)
{
    (void)state;
    arch_bytes b = {.fail_in = -1};
    assert_int_equal(write_and_read(&b), VV_OK);
    for (int64_t n = 0;; n++) {
        vv_alloc_fail_after(n, 0);
        vv_status st = write_and_read(&b);
        vv_alloc_fail_after(-1, 0);
        if (st == VV_OK)
            break;
        if (st != VV_NO_MEMORY)
            fail_msg("allocation %lld: %s", (long long)n, vv_status_name(st));
        assert_true(n < 2000);
    }
    free(b.data);
}

static void every_transfer_fails_once(void **state)
{
    (void)state;
    arch_bytes b = {.fail_in = -1};
    for (int64_t n = 0;; n++) {
        b.fail_in = n;
        vv_status st = write_and_read(&b);
        bool was_met = b.fail_in < 0;
        if (!was_met) {
            assert_int_equal(st, VV_OK);
            break;
        }
        assert_int_equal(st, VV_IO);
    }
    free(b.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prop_decode_of_encode_is_the_messages),
        cmocka_unit_test(the_same_messages_give_the_same_bytes),
        cmocka_unit_test(the_bytes_are_those_of_version_1),
        cmocka_unit_test(a_header_says_which_table),
        cmocka_unit_test(a_message_is_two_reads_away),
        cmocka_unit_test(extremes_come_back),
        cmocka_unit_test(prop_objects_have_the_size_they_are_cut_at),
        cmocka_unit_test(a_dictionary_is_used_where_it_pays),
        cmocka_unit_test(prop_ranges_hold_what_is_there),
        cmocka_unit_test(names_without_end_are_bounded),
        cmocka_unit_test(what_cannot_follow_is_refused),
        cmocka_unit_test(every_allocation_fails_once),
        cmocka_unit_test(every_transfer_fails_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
