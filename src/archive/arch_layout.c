/*
 * arch_layout.c - the parts of an object that have fixed places: header, entries of the block
 * index, footer.
 *
 *   | header | block 0 | block 1 | .. | header again | dictionary | columns | entries | footer |
 *                                     |<------------------- index_len ------------------------>|
 *                                     ^ index_at
 *
 * Why the header stands twice: one read from index_at on tells whose messages these are, and an
 * object that lost its end still says it at its beginning. Why entries have lengths and counts
 * alone: where a block begins and what its first offset is are sums, so blocks can neither overlap
 * nor leave a gap, whatever the bytes say. Why the sum over everything is that over all but the
 * footer: the footer cannot hold its own, and continues it.
 */
#include "archive/arch_int.h"

#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "base/util.h"

#define FOOTER_CRC_AT 116u
#define FOOTER_MAGIC_AT 120u
#define FLAG_UNTIMED 1u

static const uint8_t magic[ARCH_MAGIC_SIZE] = {'V', 'A', 'R', 'V', 'E', 'A', 'R', 'C'};

/* ---- header ---- */

size_t arch_header_encode(const arch_identity *who, vv_tier_codec codec, uint64_t first,
                          uint8_t out[ARCH_HEADER_MAX])
{
    size_t tenant_len = strlen(who->tenant);
    size_t table_len = strlen(who->table);
    size_t len = ARCH_HEADER_FIXED + tenant_len + table_len + 4;
    assert(tenant_len <= VV_NAME_MAX && table_len <= VV_NAME_MAX);
    memset(out, 0, ARCH_HEADER_FIXED);
    memcpy(out, magic, ARCH_MAGIC_SIZE);
    vv_put_le32(out + 8, ARCH_VERSION);
    vv_put_le32(out + 12, who->table_id == 0 ? 0 : ARCH_FEATURE_TABLE);
    vv_put_le32(out + 16, (uint32_t)len);
    out[20] = (uint8_t)codec;
    out[21] = (uint8_t)tenant_len;
    out[22] = (uint8_t)table_len;
    memcpy(out + 56, who->store_id, sizeof who->store_id);
    vv_put_le64(out + 72, who->intent);
    vv_put_le64(out + 80, first);
    vv_put_le64(out + 88, (uint64_t)who->made_ns);
    vv_put_le32(out + 96, who->partition);
    vv_put_le32(out + 100, who->partition_count);
    vv_put_le32(out + 104, who->table_id);
    vv_put_le64(out + 112, who->table_id == 0 ? 0 : (uint64_t)who->table_made_ns);
    memcpy(out + ARCH_HEADER_FIXED, who->tenant, tenant_len);
    memcpy(out + ARCH_HEADER_FIXED + tenant_len, who->table, table_len);
    vv_put_le32(out + len - 4, vv_crc32c(0, out, len - 4));
    return len;
}

static bool is_zero(const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (p[i] != 0)
            return false;
    return true;
}

/* Version and features, of bytes whose checksum is right; known: bits that this build reads. */
static vv_status check_version(const char *part, const uint8_t *p, uint32_t known, vv_error *err)
{
    uint32_t version = vv_get_le32(p);
    uint32_t features = vv_get_le32(p + 4);
    if (version != ARCH_VERSION || (features & ~known) != 0)
        return vv_fail(err, VV_UNSUPPORTED,
                       "the %s has version %" PRIu32 " and features %" PRIx32
                       ", this build reads version %u: a newer varve wrote it",
                       part, version, features, ARCH_VERSION);
    return VV_OK;
}

static bool is_name(const uint8_t *p, size_t len)
{
    return len > 0 && len <= VV_NAME_MAX && memchr(p, 0, len) == NULL;
}

vv_status arch_header_decode(vv_slice bytes, arch_identity *who, uint64_t *first, vv_error *err)
{
    const uint8_t *p = bytes.data;
    size_t len = bytes.len;
    if (len < ARCH_HEADER_FIXED + 4 || len > ARCH_HEADER_MAX ||
        memcmp(p, magic, ARCH_MAGIC_SIZE) != 0)
        return vv_fail(err, VV_CORRUPT, "header: %zu bytes are none", len);
    if (vv_get_le32(p + len - 4) != vv_crc32c(0, p, len - 4))
        return vv_fail(err, VV_CORRUPT, "header: its checksum differs");
    vv_status st = check_version("header", p + 8, ARCH_FEATURE_TABLE, err);
    if (st != VV_OK)
        return st;
    if (!is_zero(p + 24, 8))
        return vv_fail(err, VV_UNSUPPORTED,
                       "header: the object is encrypted, which this build cannot read");
    size_t tenant_len = p[21];
    size_t table_len = p[22];
    const uint8_t *names = p + ARCH_HEADER_FIXED;
    arch_identity id = {.intent = vv_get_le64(p + 72),
                        .made_ns = (int64_t)vv_get_le64(p + 88),
                        .partition = vv_get_le32(p + 96),
                        .partition_count = vv_get_le32(p + 100),
                        .table_id = vv_get_le32(p + 104),
                        .table_made_ns = (int64_t)vv_get_le64(p + 112)};
    bool says_table = vv_get_le32(p + 12) != 0;
    if (vv_get_le32(p + 16) != len || len != ARCH_HEADER_FIXED + tenant_len + table_len + 4 ||
        p[20] < VV_TIER_ZSTD || p[20] > VV_TIER_PLAIN || p[23] != 0 || !is_zero(p + 32, 24) ||
        says_table != (id.table_id != 0) || !is_zero(p + 108, says_table ? 4 : 20) ||
        !is_zero(p + 120, 8) || !is_name(names, tenant_len) ||
        !is_name(names + tenant_len, table_len) || id.partition >= id.partition_count)
        return vv_fail(err, VV_CORRUPT, "header: malformed");
    memcpy(id.store_id, p + 56, sizeof id.store_id);
    memcpy(id.tenant, names, tenant_len);
    memcpy(id.table, names + tenant_len, table_len);
    *who = id;
    *first = vv_get_le64(p + 80);
    return VV_OK;
}

/* ---- entries of the index ---- */

void arch_block_encode(const arch_block *b, uint8_t out[ARCH_BLOCK_ENTRY])
{
    vv_put_le32(out, b->count);
    vv_put_le32(out + 4, b->len);
    vv_put_le32(out + 8, b->raw_len);
    vv_put_le32(out + 12, b->crc32c);
    vv_put_le64(out + 16, (uint64_t)b->receive_first_ns);
    vv_put_le64(out + 24, (uint64_t)b->receive_last_ns);
    vv_put_le64(out + 32, (uint64_t)b->event_min_ns);
    vv_put_le64(out + 40, (uint64_t)b->event_max_ns);
    memset(out + 48, 0, 8);
    out[48] = (uint8_t)b->stored;
    out[49] = b->has_untimed ? FLAG_UNTIMED : 0;
}

static bool is_block(const arch_block *b, const uint8_t *entry)
{
    bool no_event = b->event_min_ns == STREAM_NO_TIME && b->event_max_ns == STREAM_NO_TIME;
    return b->raw_len >= ARCH_RAW_MIN && b->raw_len <= ARCH_BLOCK_MAX && b->count > 0 &&
           b->count <= b->raw_len / 2 && b->len > 0 && b->len <= b->raw_len &&
           (b->stored != ARCH_STORED_PLAIN || b->len == b->raw_len) &&
           b->stored <= ARCH_STORED_DICT && b->receive_first_ns <= b->receive_last_ns &&
           b->event_min_ns <= b->event_max_ns && (b->has_untimed || !no_event) &&
           (no_event || b->event_min_ns != STREAM_NO_TIME) && entry[49] <= FLAG_UNTIMED &&
           is_zero(entry + 50, 6);
}

vv_status arch_block_decode(const uint8_t entry[ARCH_BLOCK_ENTRY], arch_block *out, vv_error *err)
{
    arch_block b = {.count = vv_get_le32(entry),
                    .len = vv_get_le32(entry + 4),
                    .raw_len = vv_get_le32(entry + 8),
                    .crc32c = vv_get_le32(entry + 12),
                    .receive_first_ns = (int64_t)vv_get_le64(entry + 16),
                    .receive_last_ns = (int64_t)vv_get_le64(entry + 24),
                    .event_min_ns = (int64_t)vv_get_le64(entry + 32),
                    .event_max_ns = (int64_t)vv_get_le64(entry + 40),
                    .stored = (arch_stored)entry[48],
                    .has_untimed = entry[49] != 0,
                    .first = out->first,
                    .at = out->at};
    if (!is_block(&b, entry))
        return vv_fail(err, VV_CORRUPT,
                       "%" PRIu32 " messages in %" PRIu32 " bytes that unpack to %" PRIu32
                       ", stored as %u: no writer makes such a block",
                       b.count, b.len, b.raw_len, entry[48]);
    *out = b;
    return VV_OK;
}

/* ---- footer ---- */

void arch_footer_encode(const arch_footer *f, uint8_t out[ARCH_FOOTER_SIZE])
{
    memset(out, 0, ARCH_FOOTER_SIZE);
    vv_put_le64(out, f->index_at);
    vv_put_le32(out + 8, f->index_len);
    vv_put_le32(out + 12, f->index_crc);
    vv_put_le64(out + 16, f->sum.first);
    vv_put_le64(out + 24, f->sum.next);
    vv_put_le64(out + 32, f->sum.raw_bytes);
    vv_put_le64(out + 40, (uint64_t)f->sum.receive_first_ns);
    vv_put_le64(out + 48, (uint64_t)f->sum.receive_last_ns);
    vv_put_le64(out + 56, (uint64_t)f->sum.event_min_ns);
    vv_put_le64(out + 64, (uint64_t)f->sum.event_max_ns);
    vv_put_le64(out + 72, f->intent);
    vv_put_le32(out + 80, f->block_count);
    vv_put_le32(out + 84, f->header_len);
    vv_put_le32(out + 88, f->dictionary_len);
    vv_put_le32(out + 92, f->columns_len);
    vv_put_le32(out + 96, f->body_crc);
    vv_put_le32(out + 108, ARCH_VERSION);
    vv_put_le32(out + FOOTER_CRC_AT, vv_crc32c(0, out, FOOTER_CRC_AT));
    memcpy(out + FOOTER_MAGIC_AT, magic, ARCH_MAGIC_SIZE);
}

/* The lengths fill the index, and the numbers can be those of an object. */
static bool is_footer(const arch_footer *f, const uint8_t *p)
{
    uint64_t index = (uint64_t)f->header_len + f->dictionary_len + f->columns_len +
                     (uint64_t)f->block_count * ARCH_BLOCK_ENTRY + ARCH_FOOTER_SIZE;
    return is_zero(p + 100, 8) && index == f->index_len && f->index_len <= ARCH_INDEX_MAX &&
           f->header_len <= ARCH_HEADER_MAX && f->dictionary_len <= ARCH_DICTIONARY_MAX &&
           f->index_at >= f->header_len && f->index_at < (UINT64_C(1) << 62) &&
           f->block_count > 0 && f->sum.first < f->sum.next &&
           f->sum.receive_first_ns <= f->sum.receive_last_ns &&
           f->sum.event_min_ns <= f->sum.event_max_ns;
}

vv_status arch_footer_decode(const uint8_t bytes[ARCH_FOOTER_SIZE], arch_footer *out, vv_error *err)
{
    if (memcmp(bytes + FOOTER_MAGIC_AT, magic, ARCH_MAGIC_SIZE) != 0)
        return vv_fail(err, VV_CORRUPT,
                       "footer: the last bytes are not those of an object: cut off, or another "
                       "program's");
    if (vv_get_le32(bytes + FOOTER_CRC_AT) != vv_crc32c(0, bytes, FOOTER_CRC_AT))
        return vv_fail(err, VV_CORRUPT, "footer: its checksum differs");
    vv_status st = check_version("footer", bytes + 108, 0, err);
    if (st != VV_OK)
        return st;
    arch_footer f = {.index_at = vv_get_le64(bytes),
                     .index_len = vv_get_le32(bytes + 8),
                     .index_crc = vv_get_le32(bytes + 12),
                     .intent = vv_get_le64(bytes + 72),
                     .block_count = vv_get_le32(bytes + 80),
                     .header_len = vv_get_le32(bytes + 84),
                     .dictionary_len = vv_get_le32(bytes + 88),
                     .columns_len = vv_get_le32(bytes + 92),
                     .body_crc = vv_get_le32(bytes + 96),
                     .sum = {.first = vv_get_le64(bytes + 16),
                             .next = vv_get_le64(bytes + 24),
                             .raw_bytes = vv_get_le64(bytes + 32),
                             .receive_first_ns = (int64_t)vv_get_le64(bytes + 40),
                             .receive_last_ns = (int64_t)vv_get_le64(bytes + 48),
                             .event_min_ns = (int64_t)vv_get_le64(bytes + 56),
                             .event_max_ns = (int64_t)vv_get_le64(bytes + 64)}};
    if (!is_footer(&f, bytes))
        return vv_fail(err, VV_CORRUPT, "footer: malformed");
    f.sum.index_at = f.index_at;
    f.sum.index_len = f.index_len;
    f.sum.size = f.index_at + f.index_len;
    f.sum.crc32c = vv_crc32c(f.body_crc, bytes, ARCH_FOOTER_SIZE);
    *out = f;
    return VV_OK;
}
