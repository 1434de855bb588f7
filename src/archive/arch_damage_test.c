/*
 * arch_damage_test.c - objects that rotted, were cut off, or lie with their checksums right:
 * refused with a sentence, in bounded memory.
 */
#include "arch_test_util.h"

#include "archive/arch_int.h"
#include "base/alloc.h"
#include "base/bytes.h"
#include "base/crc32c.h"

#define COUNT 16u
#define SEED 21u

static arch_summary make_object(arch_bytes *b, vv_tier_codec codec)
{
    arch_writer_options opt = {.who = arch_test_who(), .codec = codec, .block_bytes = 512};
    return arch_test_write(&opt, SEED, COUNT, b);
}

/* Everything a reader can ask; VV_CORRUPT or what it met. Messages that are given are the right
 * ones. */
static vv_status read_all(arch_bytes *b, uint64_t index_at, uint32_t index_len, vv_error *err)
{
    static arch_test_message t;
    arch_reader *r = NULL;
    vv_message m;
    vv_status st = arch_reader_open(arch_bytes_source(b), index_at, index_len, &r, err);
    for (uint32_t k = 0; st == VV_OK && k < arch_reader_block_count(r); k++) {
        st = arch_reader_load(r, k, err);
        while (st == VV_OK && (st = arch_reader_next(r, &m, err)) == VV_OK) {
            arch_test_message_of(SEED, m.offset - ARCH_TEST_FIRST, &t);
            arch_test_same(&m, &t.m);
        }
        if (st == VV_NOT_FOUND)
            st = VV_OK;
    }
    if (st == VV_OK)
        st = arch_reader_verify(r, NULL, NULL, err);
    arch_reader_close(r);
    return st;
}

static void prop_one_flipped_bit_is_never_accepted(void **state)
{
    (void)state;
    for (int codec = VV_TIER_ZSTD; codec <= VV_TIER_PLAIN; codec++) {
        arch_bytes b;
        arch_summary sum = make_object(&b, (vv_tier_codec)codec);
        size_t step = codec == VV_TIER_ZSTD ? 1 : 7;
        for (size_t bit = 0; bit < b.len * 8; bit += step) {
            vv_error err = {0};
            bool is_known = bit % 2 == 0;
            b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
            vv_status st =
                read_all(&b, is_known ? sum.index_at : 0, is_known ? sum.index_len : 0, &err);
            if (st != VV_CORRUPT || err.msg[0] == '\0')
                fail_msg("bit %zu of %zu: %s: %s", bit, b.len * 8, vv_status_name(st), err.msg);
            b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        free(b.data);
    }
}

static void prop_no_prefix_is_an_object(void **state)
{
    (void)state;
    arch_bytes b;
    arch_summary sum = make_object(&b, VV_TIER_ZSTD);
    size_t len = b.len;
    for (size_t cut = 0; cut < len; cut++) {
        vv_error err = {0};
        b.len = cut;
        assert_status(VV_CORRUPT, read_all(&b, 0, 0, &err));
        assert_status(VV_CORRUPT, read_all(&b, sum.index_at, sum.index_len, &err));
    }
    free(b.data);
}

/* ---- lies: the bytes are changed and every checksum made right ---- */

/* Where the parts of an object are, by its footer. */
typedef struct parts {
    arch_bytes b;
    uint32_t header_len;
    uint8_t *footer;
    uint8_t *index;
    uint8_t *dictionary;
    uint8_t *columns;
    uint8_t *entry; /* of the first block */
    uint8_t *block; /* stored */
} parts;

static void find_parts(parts *p)
{
    p->footer = p->b.data + p->b.len - ARCH_FOOTER_SIZE;
    p->header_len = vv_get_le32(p->footer + 84);
    p->index = p->b.data + vv_get_le64(p->footer);
    p->dictionary = p->index + vv_get_le32(p->footer + 84);
    p->columns = p->dictionary + vv_get_le32(p->footer + 88);
    p->entry = p->columns + vv_get_le32(p->footer + 92);
    p->block = p->b.data + vv_get_le32(p->footer + 84);
}

static void mend(parts *p)
{
    uint32_t header_len = p->header_len;
    uint32_t len = vv_get_le32(p->entry + 4);
    vv_put_le32(p->b.data + header_len - 4, vv_crc32c(0, p->b.data, header_len - 4));
    vv_put_le32(p->index + header_len - 4, vv_crc32c(0, p->index, header_len - 4));
    if (len <= (size_t)(p->index - p->block))
        vv_put_le32(p->entry + 12, vv_crc32c(0, p->block, len));
    vv_put_le32(p->footer + 12, vv_crc32c(0, p->index, (size_t)(p->footer - p->index)));
    vv_put_le32(p->footer + 96, vv_crc32c(0, p->b.data, (size_t)(p->footer - p->b.data)));
    vv_put_le32(p->footer + 116, vv_crc32c(0, p->footer, 116));
}

static void add32(uint8_t *p, int32_t more)
{
    vv_put_le32(p, vv_get_le32(p) + (uint32_t)more);
}

static void add64(uint8_t *p, int64_t more)
{
    vv_put_le64(p, vv_get_le64(p) + (uint64_t)more);
}

static void lie_version(parts *p)
{
    add32(p->footer + 108, 1);
}
static void lie_features(parts *p)
{
    add32(p->footer + 112, 64);
}
static void lie_header_version(parts *p)
{
    add32(p->index + 8, 1);
}
static void lie_header_features(parts *p)
{
    add32(p->index + 12, 2);
}
static void lie_table_without_its_bit(parts *p)
{
    vv_put_le32(p->index + 104, 17);
}
static void lie_bit_without_a_table(parts *p)
{
    vv_put_le32(p->index + 12, ARCH_FEATURE_TABLE);
}
static void lie_encrypted(parts *p)
{
    p->index[24] = 1;
}
static void lie_header_length(parts *p)
{
    add32(p->footer + 84, 4);
    add32(p->footer + 92, -4);
}
static void lie_table_length(parts *p)
{
    p->index[22] = 200;
}
static void lie_partition(parts *p)
{
    add32(p->index + 96, 100);
}
static void lie_intent(parts *p)
{
    add64(p->index + 72, 1);
}
static void lie_bomb(parts *p)
{
    vv_put_le32(p->entry + 8, ARCH_BLOCK_MAX + 1);
}
static void lie_small_bomb(parts *p)
{
    vv_put_le32(p->entry + 8, ARCH_BLOCK_MAX); /* more than the frame says */
}
static void lie_short(parts *p)
{
    add32(p->entry + 8, -1); /* less than the frame says */
}
static void lie_overlap(parts *p)
{
    add32(p->entry + 4, 10); /* into the next block */
}
static void lie_overlap_balanced(parts *p)
{
    add32(p->entry + 4, 10);
    add32(p->entry + ARCH_BLOCK_ENTRY + 4, -10);
}
static void lie_length(parts *p)
{
    vv_put_le32(p->entry + 4, UINT32_MAX);
}
static void lie_count(parts *p)
{
    add32(p->entry, 1);
}
static void lie_count_balanced(parts *p)
{
    add32(p->entry, 1);
    add32(p->entry + ARCH_BLOCK_ENTRY, -1);
}
static void lie_codec(parts *p)
{
    p->entry[48] = 4;
}
static void lie_other_codec(parts *p)
{
    p->entry[48] = ARCH_STORED_LZ4;
}
static void lie_dictionary(parts *p)
{
    p->entry[48] = ARCH_STORED_DICT; /* there is none */
}
static void lie_times(parts *p)
{
    add64(p->entry + 24, 1);
}
static void lie_order(parts *p)
{
    add64(p->entry + ARCH_BLOCK_ENTRY + 16, -1000000000);
}
static void lie_events(parts *p)
{
    add64(p->entry + 40, 1); /* found by verify alone */
}
static void lie_raw_bytes(parts *p)
{
    add64(p->footer + 32, 1);
}
static void lie_next(parts *p)
{
    add64(p->footer + 24, 1);
}
static void lie_blocks(parts *p)
{
    add32(p->footer + 80, 1);
}
static void lie_many_blocks(parts *p)
{
    vv_put_le32(p->footer + 80, UINT32_MAX);
}
static void lie_index_at(parts *p)
{
    add64(p->footer, -56);
}
static void lie_index_len(parts *p)
{
    vv_put_le32(p->footer + 8, UINT32_MAX);
}
static void lie_column_count(parts *p)
{
    vv_put_le16(p->columns + 6, 129);
}
static void lie_column_fewer(parts *p)
{
    vv_put_le16(p->columns + 6, 1);
}
static void lie_column_blocks(parts *p)
{
    add32(p->columns, 1);
}
static void lie_column_type(parts *p)
{
    p->columns[8] = 7;
}
static void lie_column_name(parts *p)
{
    p->columns[9] = 255;
}

static const struct {
    const char *name;
    void (*lie)(parts *p);
    vv_status want;
} lies[] = {
    {"version", lie_version, VV_UNSUPPORTED},
    {"features", lie_features, VV_UNSUPPORTED},
    {"version of the header", lie_header_version, VV_UNSUPPORTED},
    {"encrypted", lie_encrypted, VV_UNSUPPORTED},
    {"length of the header", lie_header_length, VV_CORRUPT},
    {"length of the table's name", lie_table_length, VV_CORRUPT},
    {"partition beyond", lie_partition, VV_CORRUPT},
    {"feature of the header", lie_header_features, VV_UNSUPPORTED},
    {"a table without its bit", lie_table_without_its_bit, VV_CORRUPT},
    {"a table's bit without one", lie_bit_without_a_table, VV_CORRUPT},
    {"intent", lie_intent, VV_CORRUPT},
    {"bomb over the limit", lie_bomb, VV_CORRUPT},
    {"bomb of the limit", lie_small_bomb, VV_CORRUPT},
    {"unpacks to more", lie_short, VV_CORRUPT},
    {"into the next block", lie_overlap, VV_CORRUPT},
    {"into the next block, sums right", lie_overlap_balanced, VV_CORRUPT},
    {"length behind the end", lie_length, VV_CORRUPT},
    {"count", lie_count, VV_CORRUPT},
    {"count, sums right", lie_count_balanced, VV_CORRUPT},
    {"unknown codec", lie_codec, VV_CORRUPT},
    {"another codec", lie_other_codec, VV_CORRUPT},
    {"dictionary that is not there", lie_dictionary, VV_CORRUPT},
    {"last receive time", lie_times, VV_CORRUPT},
    {"receive times that fall", lie_order, VV_CORRUPT},
    {"event times", lie_events, VV_CORRUPT},
    {"bytes of messages", lie_raw_bytes, VV_CORRUPT},
    {"next offset", lie_next, VV_CORRUPT},
    {"one block more", lie_blocks, VV_CORRUPT},
    {"blocks without end", lie_many_blocks, VV_CORRUPT},
    {"place of the index", lie_index_at, VV_CORRUPT},
    {"length of the index", lie_index_len, VV_CORRUPT},
    {"columns without end", lie_column_count, VV_CORRUPT},
    {"fewer columns", lie_column_fewer, VV_CORRUPT},
    {"columns of more blocks", lie_column_blocks, VV_CORRUPT},
    {"type of a column", lie_column_type, VV_CORRUPT},
    {"name of a column", lie_column_name, VV_CORRUPT},
};

static void lies_are_refused_though_their_checksums_are_right(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
        parts p;
        vv_error err = {0};
        (void)make_object(&p.b, VV_TIER_ZSTD);
        find_parts(&p);
        lies[i].lie(&p);
        mend(&p);
        vv_status st = read_all(&p.b, 0, 0, &err);
        if (st != lies[i].want || err.msg[0] == '\0')
            fail_msg("%s: %s: %s", lies[i].name, vv_status_name(st), err.msg);
        free(p.b.data);
    }
}

/* Any byte of index and footer changed, every checksum right: refused, or read as something else,
 * without a crash. */
static void prop_no_byte_of_the_index_is_trusted(void **state)
{
    (void)state;
    parts p;
    (void)make_object(&p.b, VV_TIER_ZSTD);
    find_parts(&p);
    size_t from = (size_t)(p.index - p.b.data);
    uint8_t *copy = malloc(p.b.len);
    assert_non_null(copy);
    memcpy(copy, p.b.data, p.b.len);
    for (size_t at = from; at < p.b.len; at++)
        for (unsigned bit = 0; bit < 8; bit++) {
            arch_reader *r = NULL;
            vv_message m;
            memcpy(p.b.data, copy, p.b.len);
            p.b.data[at] ^= (uint8_t)(1u << bit);
            mend(&p);
            if (arch_reader_open(arch_bytes_source(&p.b), 0, 0, &r, NULL) != VV_OK)
                continue;
            for (uint32_t k = 0; k < arch_reader_block_count(r); k++)
                if (arch_reader_load(r, k, NULL) == VV_OK)
                    while (arch_reader_next(r, &m, NULL) == VV_OK)
                        (void)arch_reader_may_hold(r, k, vv_slice_str("n"), VV_ATTRIBUTE_I64, NULL,
                                                   NULL);
            arch_reader_close(r);
        }
    free(copy);
    free(p.b.data);
}

static void verify_tells_each_finding(void **state)
{
    (void)state;
    arch_bytes b;
    arch_reader *r = NULL;
    vv_error err = {0};
    arch_block_info info;
    (void)make_object(&b, VV_TIER_LZ4);
    assert_ok(arch_reader_open(arch_bytes_source(&b), 0, 0, &r, &err), err);
    arch_reader_block(r, 1, &info);
    b.data[info.at] ^= 1; /* a block and, with it, the object's sum */
    b.data[70] ^= 1;      /* the header */
    assert_status(VV_CORRUPT, arch_reader_verify(r, NULL, NULL, &err));
    assert_non_null(strstr(err.msg, "3 findings"));
    assert_status(VV_CORRUPT, arch_reader_load(r, 1, &err));
    assert_non_null(strstr(err.msg, "block 1 at offset"));
    arch_reader_close(r);
    free(b.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prop_one_flipped_bit_is_never_accepted),
        cmocka_unit_test(prop_no_prefix_is_an_object),
        cmocka_unit_test(lies_are_refused_though_their_checksums_are_right),
        cmocka_unit_test(prop_no_byte_of_the_index_is_trusted),
        cmocka_unit_test(verify_tells_each_finding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
