/* The bytes of batches, records and headers: tables of bad input, golden files, round trips. */
#include "vv_test.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/rng.h"
#include "io/env.h"
#include "wal/wal_int.h"

#define LOG_ID UINT64_C(0x0123456789abcdef)

/* A batch as the log writes it. Returns its checksum. */
static uint32_t encode(uint8_t *out, uint32_t seed, wal_batch place, const wal_record *recs,
                       size_t count)
{
    size_t len = 0;
    vv_error err;
    assert_ok(wal_batch_measure(recs, count, &len, &err), err);
    place.length = (uint32_t)len;
    place.count = (uint32_t)count;
    uint32_t crc = wal_batch_put(out, &place, wal_directory_crc(seed, recs, count));
    uint8_t *p = out + WAL_BATCH_HEADER;
    for (size_t i = 0; i < count; i++, p += WAL_RECORD_HEADER)
        wal_record_put(p, &recs[i]);
    for (size_t i = 0; i < count; p += recs[i].payload.len, i++)
        if (recs[i].payload.len > 0)
            memcpy(p, recs[i].payload.data, recs[i].payload.len);
    assert_int_equal(p - out, len);
    return crc;
}

static uint32_t encode_filler(uint8_t *out, uint32_t seed, wal_batch place)
{
    place.length = wal_filler(place.position);
    memset(out, 0, place.length);
    return wal_filler_put(out, &place, seed, 1);
}

/* Make the sums right again after a change, as a writer with other ideas would have. */
static void resum(uint8_t *p, uint32_t seed)
{
    uint32_t count = vv_get_le32(p + 20);
    size_t covered = count == 0 ? 8 : (size_t)count * WAL_RECORD_HEADER;
    uint32_t crc = vv_crc32c(seed, p + WAL_BATCH_HEADER, covered);
    vv_put_le32(p, vv_crc32c(crc, p + 4, WAL_BATCH_HEADER - 4));
}

static vv_status check(const uint8_t *p, uint32_t seed, vv_error *err)
{
    wal_batch batch;
    wal_batch_get(p, &batch);
    return wal_batch_check(p, &batch, seed, err);
}

/* ---- bad input ---- */

#define SMALL_LEN (WAL_BATCH_HEADER + 2 * WAL_RECORD_HEADER + 5)

static void small_batch(uint8_t out[SMALL_LEN])
{
    wal_record recs[2] = {
        {.kind = WAL_ENTRY, .shard = 1, .index = 7, .term = 1, .payload = vv_slice_str("hello")},
        {.kind = WAL_CHECKPOINT, .shard = 1, .index = 6},
    };
    recs[0].payload_crc = vv_crc32c(0, "hello", 5);
    (void)encode(out, 0, (wal_batch){.position = 4096, .synced = 4096}, recs, 2);
}

static void bad_batches_are_refused(void **state)
{
    (void)state;
    const size_t first = WAL_BATCH_HEADER;
    const size_t second = first + WAL_RECORD_HEADER;
    const struct {
        const char *name;
        size_t at;
        uint32_t value; /* little-endian, over four bytes */
        bool resum;
        vv_status want;
        const char *says;
    } cases[] = {
        {"as written", 4, SMALL_LEN, true, VV_OK, ""},
        {"batch checksum", 0, 0x12345678, false, VV_CORRUPT, "crc32c 12345678"},
        {"length too short for a header", 4, 31, true, VV_CORRUPT, "cannot be"},
        {"length over the limit", 4, WAL_BATCH_MAX + 1, true, VV_CORRUPT, "cannot be"},
        {"length one less", 4, SMALL_LEN - 1, true, VV_CORRUPT, "ends behind its batch"},
        {"length one more", 4, SMALL_LEN + 1, true, VV_CORRUPT, "its records of"},
        {"more records than fit", 20, 3, true, VV_CORRUPT, "cannot be"},
        {"a huge count", 20, 0xffffffff, false, VV_CORRUPT, "cannot be"},
        {"one record less", 20, 1, true, VV_CORRUPT, ""},
        {"no record: filler must be zero", 20, 0, true, VV_CORRUPT, "filler"},
        {"synced above its position", 24, 4097, true, VV_CORRUPT, "cannot be"},
        {"kind 0", first, 0, true, VV_UNSUPPORTED, "kind 0"},
        {"kind 6", first, 6, true, VV_UNSUPPORTED, "kind 6"},
        {"kind 255", second, 255, true, VV_UNSUPPORTED, "kind 255"},
        {"kind 6 by damage", first, 6, false, VV_CORRUPT, "crc32c"},
        {"a flag", first, 0x00000101, true, VV_UNSUPPORTED, "flags 010000"},
        {"a high flag", first, 0x80000001, true, VV_UNSUPPORTED, "flags 000080"},
        {"shard over the limit", first + 4, WAL_SHARD_MAX, true, VV_UNSUPPORTED, "shard 64"},
        {"payload length", first + 32, 6, true, VV_CORRUPT, "ends behind its batch"},
        {"payload length over the limit", first + 32, WAL_PAYLOAD_MAX + 1, true, VV_CORRUPT,
         "payload of"},
        {"payload checksum", first + 36, 1, true, VV_CORRUPT, "record 0: crc32c is"},
        {"payload", second + WAL_RECORD_HEADER, 0, true, VV_CORRUPT, "record 0: crc32c is"},
        {"a checkpoint with a payload", second + 32, 1, true, VV_CORRUPT, "CHECKPOINT"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t bytes[SMALL_LEN + 4] = {0};
        vv_error err = {0};
        small_batch(bytes);
        vv_put_le32(bytes + cases[i].at, cases[i].value);
        if (cases[i].resum && vv_get_le32(bytes + 20) <= 2)
            resum(bytes, 0);
        vv_status st = check(bytes, 0, &err);
        if (st != cases[i].want || strstr(err.msg, cases[i].says) == NULL)
            fail_msg("%s: %s: %s", cases[i].name, vv_status_name(st), err.msg);
    }
}

static void bad_records_are_not_written(void **state)
{
    (void)state;
    static const uint8_t byte = 1;
    const struct {
        const char *name;
        wal_record rec;
    } cases[] = {
        {"kind 0", {.kind = (wal_kind)0}},
        {"kind 6", {.kind = (wal_kind)6}},
        {"kind 1000", {.kind = (wal_kind)1000}},
        {"shard", {.kind = WAL_COMMIT, .shard = WAL_SHARD_MAX}},
        {"large", {.kind = WAL_ENTRY, .payload = {&byte, WAL_PAYLOAD_MAX + 1}}},
        {"payload of a commit", {.kind = WAL_COMMIT, .payload = {&byte, 1}}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t len;
        if (wal_batch_measure(&cases[i].rec, 1, &len, NULL) != VV_INVALID)
            fail_msg("%s", cases[i].name);
    }
    wal_record many[5];
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        many[i] = (wal_record){.kind = WAL_ENTRY, .payload = {&byte, WAL_PAYLOAD_MAX}};
    size_t len;
    vv_error err;
    assert_ok(wal_batch_measure(many, 3, &len, &err), err);
    assert_status(VV_INVALID, wal_batch_measure(many, 5, &len, &err));
}

static void bad_headers_are_refused(void **state)
{
    (void)state;
    const struct {
        const char *name;
        size_t at;
        uint32_t value;
        bool resum;
        vv_status want;
        const char *says;
    } cases[] = {
        {"as written", 64, 7, true, VV_OK, ""},
        {"damage", 64, 8, false, VV_CORRUPT, "crc32c"},
        {"magic", 0, 0x20202020, true, VV_CORRUPT, "magic"},
        {"version 0", 8, 0, true, VV_UNSUPPORTED, "version 0"},
        {"version 2", 8, 2, true, VV_UNSUPPORTED, "version 2"},
        {"header length", 12, 8192, true, VV_CORRUPT, "contradict"},
        {"feature bit 0", 16, 1, true, VV_UNSUPPORTED, "feature bits 0000000000000001"},
        {"feature bit 63", 20, 0x80000000, true, VV_UNSUPPORTED, "feature bits 8000000000000000"},
        {"key id", 24, 1, true, VV_UNSUPPORTED, "encrypted with key 0000000000000001"},
        {"nonce", 44, 1, true, VV_UNSUPPORTED, "encrypted"},
        {"capacity 0", 56, 0, true, VV_CORRUPT, "contradict"},
        {"odd capacity", 56, 8191, true, VV_CORRUPT, "contradict"},
        {"odd base", 72, 100, true, VV_CORRUPT, "contradict"},
        {"first before base", 80, 4095, true, VV_CORRUPT, "contradict"},
        {"first a block behind base", 80, 8192, true, VV_CORRUPT, "contradict"},
        {"bytes without meaning", 2000, 1, true, VV_CORRUPT, "contradict"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t block[VV_BLOCK];
        wal_file_header h = {.log_id = LOG_ID,
                             .number = 7,
                             .base = 4096,
                             .first = 4100,
                             .capacity = 8192,
                             .prev_crc = 5};
        wal_file_header back = {0};
        vv_error err = {0};
        wal_header_put(block, WAL_MAGIC_SEGMENT, &h);
        vv_put_le32(block + cases[i].at, cases[i].value);
        if (cases[i].resum)
            vv_put_le32(block + VV_BLOCK - 4, vv_crc32c(0, block, VV_BLOCK - 4));
        vv_status st = wal_header_get(block, WAL_MAGIC_SEGMENT, &back, &err);
        if (st != cases[i].want || strstr(err.msg, cases[i].says) == NULL)
            fail_msg("%s: %s: %s", cases[i].name, vv_status_name(st), err.msg);
        if (st == VV_OK)
            assert_memory_equal(&h, &back, sizeof h);
    }
    uint8_t zeros[VV_BLOCK] = {0};
    wal_file_header back;
    assert_status(VV_NOT_FOUND, wal_header_get(zeros, WAL_MAGIC_RING, &back, NULL));
}

static void filler_reaches_a_block_boundary(void **state)
{
    (void)state;
    const uint32_t cases[][2] = {{0, 0},       {4096, 0},    {1, 4095},    {4056, 40},
                                 {4057, 4135}, {4095, 4097}, {8191, 4097}, {2048, 2048}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(wal_filler(cases[i][0]), cases[i][1]);
}

static void names_of_segments(void **state)
{
    (void)state;
    const struct {
        const char *name;
        uint64_t number; /* 0: none */
    } cases[] = {
        {"0000000000000001.seg", 1},
        {"00000000000000ff.seg", 255},
        {"7fffffffffffffff.seg", INT64_MAX},
        {"0000000000000000.seg", 0},
        {"00000000000000FF.seg", 0},
        {"1.seg", 0},
        {"0000000000000001.new", 0},
        {"000000000000000g.seg", 0},
        {"ring", 0},
        {"", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t number = 0;
        bool is_one = wal_segment_number(cases[i].name, &number);
        assert_int_equal(is_one, cases[i].number != 0);
        char back[32];
        if (is_one) {
            assert_int_equal(number, cases[i].number);
            wal_segment_name(number, back);
            assert_string_equal(back, cases[i].name);
        }
    }
}

/* ---- golden files ---- */

/* The records of testdata/make_golden.py, in its groups. */
static uint8_t all_bytes[256];

static size_t golden_group(size_t group, wal_record recs[4])
{
    const vv_slice hello = vv_slice_str("hello, varve");
    for (size_t i = 0; i < sizeof all_bytes; i++)
        all_bytes[i] = (uint8_t)i;
    memset(recs, 0, 4 * sizeof *recs);
    if (group == 0) {
        recs[0] = (wal_record){
            WAL_ENTRY, 3, 1, 2, 1700000000123456789, hello, vv_crc32c(0, hello.data, hello.len)};
        return 1;
    }
    if (group == 1) {
        recs[0] = (wal_record){.kind = WAL_TRUNCATE, .shard = 4, .index = 17};
        recs[1] = (wal_record){.kind = WAL_HARDSTATE, .shard = 4, .index = 9, .term = 5};
        recs[2] = (wal_record){.kind = WAL_COMMIT, .shard = 4, .index = 16};
        recs[3] = (wal_record){.kind = WAL_CHECKPOINT, .shard = 3, .index = 1};
        return 4;
    }
    recs[0] = (wal_record){
        .kind = WAL_ENTRY, .index = UINT64_MAX, .term = UINT64_MAX, .commit_time_ns = -1};
    recs[1] = (wal_record){
        WAL_ENTRY, 63, 2, 1, 1, vv_slice_of(all_bytes, 256), vv_crc32c(0, all_bytes, 256)};
    return 2;
}

#define GOLDEN_LOG (2 * VV_BLOCK)

static void golden_log(uint8_t out[GOLDEN_LOG])
{
    uint32_t seed = wal_seed(LOG_ID);
    wal_record recs[4];
    wal_batch place = {0};
    for (size_t group = 0; group < 3; group++) {
        size_t len;
        vv_error err;
        size_t count = golden_group(group, recs);
        place.prev_crc = encode(out + place.position, seed, place, recs, count);
        assert_ok(wal_batch_measure(recs, count, &len, &err), err);
        place.position += len;
        if (group == 0)
            continue;
        uint32_t fill = wal_filler(place.position);
        place.prev_crc = encode_filler(out + place.position, seed, place);
        place.position += fill;
        place.synced = place.position;
    }
    assert_int_equal(place.position, GOLDEN_LOG);
}

static void read_golden(const char *name, uint8_t *out, size_t len)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", WAL_TESTDATA, name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fread(out, 1, len, f), len);
    assert_int_equal(fgetc(f), EOF);
    (void)fclose(f);
}

static void golden_bytes_are_what_we_write(void **state)
{
    (void)state;
    static uint8_t want[VV_BLOCK + GOLDEN_LOG], got[VV_BLOCK + GOLDEN_LOG];
    read_golden("golden.seg", want, sizeof want);
    wal_file_header h = {.log_id = LOG_ID, .number = 1, .capacity = GOLDEN_LOG, .epoch = 1};
    wal_header_put(got, WAL_MAGIC_SEGMENT, &h);
    golden_log(got + VV_BLOCK);
    assert_memory_equal(got, want, sizeof want);

    static uint8_t ring[VV_BLOCK];
    read_golden("golden.ring", ring, sizeof ring);
    h = (wal_file_header){.log_id = LOG_ID, .capacity = 8 * VV_BLOCK};
    wal_header_put(got, WAL_MAGIC_RING, &h);
    assert_memory_equal(got, ring, sizeof ring);
}

typedef struct golden_log_dir {
    char root[64];
    vv_env env;
    wal_options opt;
    uint8_t segment[VV_BLOCK + GOLDEN_LOG];
    uint8_t ring[VV_BLOCK * 9];
} golden_log_dir;

static void golden_write(golden_log_dir *g)
{
    vv_error err;
    const vv_slice segment = vv_slice_of(g->segment, sizeof g->segment);
    const vv_slice ring = vv_slice_of(g->ring, sizeof g->ring);
    assert_ok(vio_mkdir(g->env.io, "wal", &err), err);
    assert_ok(vio_write_file_atomic(g->env.io, "wal/0000000000000001.seg", segment, &err), err);
    assert_ok(vio_write_file_atomic(g->env.io, "wal/ring", ring, &err), err);
}

static int golden_setup(void **state)
{
    golden_log_dir *g = calloc(1, sizeof *g);
    assert_non_null(g);
    (void)snprintf(g->root, sizeof g->root, "/tmp/wal_golden.XXXXXX");
    assert_non_null(mkdtemp(g->root));
    vv_error err;
    assert_ok(env_posix_init(&g->env, g->root, NULL, &err), err);
    g->opt = (wal_options){
        .env = &g->env, .dir = "wal", .segment_size = 64 * 1024, .ring_size = 8 * VV_BLOCK};
    read_golden("golden.seg", g->segment, sizeof g->segment);
    read_golden("golden.ring", g->ring, VV_BLOCK);
    *state = g;
    return 0;
}

static int golden_teardown(void **state)
{
    golden_log_dir *g = *state;
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", g->root);
    int rc = system(command);
    vio_destroy(g->env.io);
    free(g);
    return rc;
}

static vv_status compare_record(void *ctx, const wal_record *rec, uint64_t position, vv_error *err)
{
    (void)err;
    (void)position;
    size_t *n = ctx;
    static const size_t group_of[] = {0, 1, 1, 1, 1, 2, 2};
    static const size_t first_of[] = {0, 1, 5};
    assert_true(*n < ARRAY_LEN(group_of));
    wal_record recs[4];
    size_t group = group_of[*n];
    (void)golden_group(group, recs);
    const wal_record *want = &recs[*n - first_of[group]];
    assert_int_equal(rec->kind, want->kind);
    assert_int_equal(rec->shard, want->shard);
    assert_true(rec->index == want->index && rec->term == want->term);
    assert_true(rec->commit_time_ns == want->commit_time_ns);
    assert_true(vv_slice_eq(rec->payload, want->payload));
    assert_int_equal(rec->payload_crc, want->payload_crc);
    ++*n;
    return VV_OK;
}

static void the_golden_log_opens(void **state)
{
    golden_log_dir *g = *state;
    vv_error err;
    golden_write(g);
    for (int round = 0; round < 2; round++) {
        size_t n = 0;
        wal *log = NULL;
        assert_ok(wal_open(&g->opt, &log, &err), err);
        assert_ok(wal_replay(log, compare_record, &n, &err), err);
        assert_int_equal(n, 7);
        assert_int_equal(wal_recovery_stats(log)->end, GOLDEN_LOG + round * VV_BLOCK);
        assert_int_equal(wal_recovery_stats(log)->entries, 3);
        assert_ok(wal_close(log, &err), err);
    }
}

static void count_line(void *ctx, const char *text)
{
    (void)text;
    ++*(int *)ctx;
}

static void check_and_dump_of_the_golden_log(void **state)
{
    golden_log_dir *g = *state;
    vv_error err;
    golden_write(g);
    int lines = 0;
    wal_recovery found;
    assert_ok(wal_check(&g->env, "wal", count_line, &lines, &found, &err), err);
    assert_int_equal(lines, 0);
    assert_int_equal(found.end, GOLDEN_LOG);
    assert_ok(wal_dump_file(&g->env, "wal/0000000000000001.seg", count_line, &lines, &err), err);
    assert_int_equal(lines, 1 + 5 + 2 + 7 + 1);
    lines = 0;
    assert_ok(wal_dump_file(&g->env, "wal/ring", count_line, &lines, &err), err);
    assert_int_equal(lines, 1);
}

/* Other versions, features and keys, in either file: refused by name, and nothing is changed. */
static void logs_of_other_versions_are_refused(void **state)
{
    golden_log_dir *g = *state;
    const struct {
        const char *name;
        size_t at;
        uint8_t value;
        const char *says;
    } cases[] = {
        {"older version", 8, 0, "version 0"},
        {"newer version", 8, 2, "version 2"},
        {"feature", 16, 4, "feature bits 0000000000000004"},
        {"key", 24, 9, "key 0000000000000009"},
    };
    for (size_t i = 0; i < 2 * ARRAY_LEN(cases); i++) {
        uint8_t *block = i % 2 == 0 ? g->segment : g->ring;
        uint8_t old = block[cases[i / 2].at];
        block[cases[i / 2].at] = cases[i / 2].value;
        vv_put_le32(block + VV_BLOCK - 4, vv_crc32c(0, block, VV_BLOCK - 4));
        golden_write(g);
        vv_error err = {0};
        wal *log = NULL;
        assert_status(VV_UNSUPPORTED, wal_open(&g->opt, &log, &err));
        if (strstr(err.msg, cases[i / 2].says) == NULL)
            fail_msg("%s: %s", cases[i / 2].name, err.msg);
        assert_status(VV_UNSUPPORTED, wal_check(&g->env, "wal", NULL, NULL, NULL, &err));
        block[cases[i / 2].at] = old;
        vv_put_le32(block + VV_BLOCK - 4, vv_crc32c(0, block, VV_BLOCK - 4));
    }
    g->segment[VV_BLOCK + WAL_BATCH_HEADER] = 6; /* kind of the first record */
    resum(g->segment + VV_BLOCK, wal_seed(LOG_ID));
    golden_write(g);
    vv_error err = {0};
    wal *log = NULL;
    assert_status(VV_UNSUPPORTED, wal_open(&g->opt, &log, &err));
    assert_non_null(strstr(err.msg, "kind 6"));
}

/* ---- properties ---- */

static size_t random_records(vv_rng *rng, uint8_t *bytes, wal_record *recs, size_t max)
{
    size_t count = 1 + vv_rng_below(rng, max);
    for (size_t i = 0; i < count; i++) {
        recs[i] = (wal_record){.kind = (wal_kind)(1 + vv_rng_below(rng, 5)),
                               .shard = (uint32_t)vv_rng_below(rng, WAL_SHARD_MAX),
                               .index = vv_rng_next(rng),
                               .term = vv_rng_next(rng),
                               .commit_time_ns = (int64_t)vv_rng_next(rng)};
        if (recs[i].kind == WAL_ENTRY) {
            recs[i].payload = vv_slice_of(bytes, vv_rng_below(rng, 200));
            vv_rng_bytes(rng, bytes, recs[i].payload.len);
            bytes += recs[i].payload.len;
        }
        recs[i].payload_crc = vv_crc32c(0, recs[i].payload.data, recs[i].payload.len);
    }
    return count;
}

static void prop_decode_gives_back_what_was_encoded(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(21));
    static uint8_t bytes[16 * 200], coded[16 * 240 + 32];
    wal_record recs[16];
    for (int round = 0; round < 3000; round++) {
        size_t count = random_records(&rng, bytes, recs, ARRAY_LEN(recs));
        uint32_t seed = (uint32_t)vv_rng_next(&rng);
        uint64_t position = vv_rng_next(&rng) >> 1;
        wal_batch place = {.position = position,
                           .prev_crc = (uint32_t)vv_rng_next(&rng),
                           .synced = vv_rng_below(&rng, position + 1)};
        uint32_t crc = encode(coded, seed, place, recs, count);
        vv_error err;
        assert_ok(check(coded, seed, &err), err);
        wal_batch got;
        wal_batch_get(coded, &got);
        assert_true(got.position == place.position && got.synced == place.synced);
        assert_true(got.crc == crc && got.prev_crc == place.prev_crc && got.count == count);
        size_t at = 0;
        for (uint32_t i = 0; i < count; i++) {
            wal_record rec;
            wal_batch_record(coded, &got, i, &at, &rec);
            assert_true(rec.kind == recs[i].kind && rec.shard == recs[i].shard);
            assert_true(rec.index == recs[i].index && rec.term == recs[i].term);
            assert_true(rec.commit_time_ns == recs[i].commit_time_ns);
            assert_true(vv_slice_eq(rec.payload, recs[i].payload));
        }
        assert_int_equal(at, got.length);
    }
}

static void prop_one_flipped_bit_is_never_accepted(void **state)
{
    (void)state;
    vv_rng rng;
    vv_rng_init(&rng, vv_test_seed(22));
    static uint8_t bytes[4 * 200], coded[4 * 240 + 32];
    wal_record recs[4];
    for (int round = 0; round < 20; round++) {
        size_t count = random_records(&rng, bytes, recs, ARRAY_LEN(recs));
        (void)encode(coded, 99, (wal_batch){.position = 4096}, recs, count);
        uint32_t len = vv_get_le32(coded + 4);
        for (uint32_t bit = 0; bit < len * 8; bit++) {
            coded[bit / 8] ^= (uint8_t)(1u << bit % 8);
            if (vv_get_le32(coded + 4) <= sizeof coded && check(coded, 99, NULL) == VV_OK)
                fail_msg("VV_SEED=%#" PRIx64 ": bit %" PRIu32, vv_test_seed(22), bit);
            coded[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
    }
}

static void a_batch_of_another_log_does_not_check(void **state)
{
    (void)state;
    uint8_t bytes[SMALL_LEN];
    small_batch(bytes);
    vv_error err;
    assert_ok(check(bytes, 0, &err), err);
    assert_status(VV_CORRUPT, check(bytes, wal_seed(LOG_ID), &err));
    assert_int_not_equal(wal_seed(1), wal_seed(2));
}

#define G(f) cmocka_unit_test_setup_teardown(f, golden_setup, golden_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_batches_are_refused),
        cmocka_unit_test(bad_records_are_not_written),
        cmocka_unit_test(bad_headers_are_refused),
        cmocka_unit_test(filler_reaches_a_block_boundary),
        cmocka_unit_test(names_of_segments),
        cmocka_unit_test(golden_bytes_are_what_we_write),
        G(the_golden_log_opens),
        G(check_and_dump_of_the_golden_log),
        G(logs_of_other_versions_are_refused),
        cmocka_unit_test(prop_decode_gives_back_what_was_encoded),
        cmocka_unit_test(prop_one_flipped_bit_is_never_accepted),
        cmocka_unit_test(a_batch_of_another_log_does_not_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
