/*
 * arch_reader.c - an object by ranges: its index once, then block by block.
 *
 * Nothing is believed before its checksum, and nothing then either: checksums tell rot from what
 * was written, not what was written from lies. Lengths and counts are held against the object's
 * size and each other at the open; what a block unpacks to is bounded by ARCH_BLOCK_MAX before
 * memory is taken for it, and must come out to the byte.
 */
#include <inttypes.h>
#include <string.h>

#include "archive/arch_int.h"
#include "base/alloc.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "base/point.h"
#include "base/util.h"
#include "base/varint.h"

#define TRAILER 4u

/* ---- the index ---- */

void arch_reader_close(arch_reader *r)
{
    if (r == NULL)
        return;
    codec_block_ctx_destroy(r->codec);
    codec_block_dict_unref(r->dict);
    stream_scratch_fini(&r->scratch);
    vv_buf_fini(&r->stored);
    vv_buf_fini(&r->raw);
    vv_free(r->columns.column);
    vv_free(r->block);
    vv_free(r->index);
    vv_free(r);
}

static vv_status fetch(arch_reader *r, uint64_t at, void *out, size_t len, vv_error *err)
{
    return r->source.read(r->source.ctx, at, out, len, err);
}

static vv_status check_place(const arch_reader *r, uint64_t at, uint32_t len, vv_error *err)
{
    if (len < ARCH_FOOTER_SIZE + ARCH_HEADER_FIXED || len > ARCH_INDEX_MAX || at > r->source.size ||
        r->source.size - at != len)
        return vv_fail(err, VV_CORRUPT,
                       "an index of %" PRIu32 " bytes at %" PRIu64
                       " does not end an object of %" PRIu64 " bytes",
                       len, at, r->source.size);
    return VV_OK;
}

/* The index and the footer, in one read where it is known where they are. */
static vv_status read_index(arch_reader *r, uint64_t at, uint32_t len, vv_error *err)
{
    uint8_t footer[ARCH_FOOTER_SIZE];
    bool is_known = at != 0;
    vv_status st = VV_OK;
    if (r->source.size < ARCH_FOOTER_SIZE)
        return vv_fail(err, VV_CORRUPT, "footer: %" PRIu64 " bytes have none", r->source.size);
    if (!is_known) {
        st = fetch(r, r->source.size - ARCH_FOOTER_SIZE, footer, sizeof footer, err);
        if (st == VV_OK)
            st = arch_footer_decode(footer, &r->footer, err);
        if (st != VV_OK)
            return st;
        at = r->footer.index_at;
        len = r->footer.index_len;
    }
    st = check_place(r, at, len, err);
    if (st != VV_OK)
        return st;
    r->index = vv_alloc(len);
    if (r->index == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for an index of %" PRIu32 " bytes", len);
    st = fetch(r, at, r->index, is_known ? len : len - ARCH_FOOTER_SIZE, err);
    if (st == VV_OK && is_known)
        st = arch_footer_decode(r->index + len - ARCH_FOOTER_SIZE, &r->footer, err);
    if (st == VV_OK && (r->footer.index_at != at || r->footer.index_len != len))
        st = vv_fail(err, VV_CORRUPT, "footer: the index it tells of is not at %" PRIu64, at);
    return st;
}

/* The sums of the entries are what the footer says. */
static vv_status check_sums(const arch_reader *r, const arch_block *end, vv_error *err)
{
    const arch_summary *s = &r->footer.sum;
    const arch_block *last = &r->block[r->footer.block_count - 1];
    if (end->at != s->index_at || end->first != s->next ||
        r->block[0].receive_first_ns != s->receive_first_ns ||
        last->receive_last_ns != s->receive_last_ns)
        return vv_fail(err, VV_CORRUPT,
                       "index: its blocks end at %" PRIu64 " with message %" PRIu64
                       ", by the footer at %" PRIu64 " with %" PRIu64 ", or their times differ",
                       end->at, end->first, s->index_at, s->next);
    return VV_OK;
}

static vv_status read_blocks(arch_reader *r, const uint8_t *entry, vv_error *err)
{
    const arch_footer *f = &r->footer;
    r->block = vv_calloc(f->block_count, sizeof *r->block);
    if (r->block == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for %" PRIu32 " blocks", f->block_count);
    arch_block next = {.first = f->sum.first, .at = f->header_len};
    int64_t received = INT64_MIN;
    for (uint32_t i = 0; i < f->block_count; i++, entry += ARCH_BLOCK_ENTRY) {
        arch_block *b = &r->block[i];
        b->first = next.first;
        b->at = next.at;
        vv_status st = arch_block_decode(entry, b, err);
        if (st != VV_OK)
            return vv_wrap(err, st, "index: block %" PRIu32, i);
        if (b->receive_first_ns < received || b->len > f->index_at - b->at ||
            b->count > f->sum.next - b->first ||
            (b->stored == ARCH_STORED_DICT && f->dictionary_len == 0))
            return vv_fail(err, VV_CORRUPT,
                           "index: block %" PRIu32 " is not behind the one before it", i);
        received = b->receive_last_ns;
        next.first += b->count;
        next.at += b->len;
    }
    return check_sums(r, &next, err);
}

static vv_status read_parts(arch_reader *r, vv_error *err)
{
    const arch_footer *f = &r->footer;
    const uint8_t *p = r->index;
    uint64_t first = 0;
    size_t len = f->index_len - ARCH_FOOTER_SIZE;
    if (vv_crc32c(0, p, len) != f->index_crc)
        return vv_fail(err, VV_CORRUPT, "index: %zu bytes at %" PRIu64 ": the checksum differs",
                       len, f->index_at);
    vv_status st = arch_header_decode(vv_slice_of(p, f->header_len), &r->who, &first, err);
    if (st == VV_OK && (first != f->sum.first || r->who.intent != f->intent))
        st = vv_fail(err, VV_CORRUPT, "header: it is of another object than the footer");
    p += f->header_len;
    if (st == VV_OK && f->dictionary_len > 0)
        st = codec_block_dict_create(vv_slice_of(p, f->dictionary_len), false, &r->dict, err);
    p += f->dictionary_len;
    if (st == VV_OK)
        st = arch_columns_decode(vv_slice_of(p, f->columns_len), f->block_count, &r->columns, err);
    p += f->columns_len;
    return st == VV_OK ? read_blocks(r, p, err) : st;
}

vv_status arch_reader_open(arch_source source, uint64_t index_at, uint32_t index_len,
                           arch_reader **out, vv_error *err)
{
    assert(out != NULL && source.read != NULL);
    arch_reader *r = vv_calloc(1, sizeof *r);
    if (r == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for the reader of an object");
    r->source = source;
    vv_buf_init(&r->stored, ARCH_BLOCK_MAX);
    vv_buf_init(&r->raw, ARCH_BLOCK_MAX);
    vv_status st = read_index(r, index_at, index_len, err);
    if (st == VV_OK)
        st = read_parts(r, err);
    if (st == VV_OK)
        st = codec_block_ctx_create(&r->codec, err);
    if (st != VV_OK) {
        arch_reader_close(r);
        return vv_wrap(err, st, "object");
    }
    *out = r;
    return VV_OK;
}

const arch_identity *arch_reader_who(const arch_reader *r)
{
    return &r->who;
}

const arch_summary *arch_reader_summary(const arch_reader *r)
{
    return &r->footer.sum;
}

uint32_t arch_reader_block_count(const arch_reader *r)
{
    return r->footer.block_count;
}

vv_tier_codec arch_reader_codec(const arch_reader *r)
{
    for (uint32_t i = 0; i < r->footer.block_count; i++)
        if (r->block[i].stored != ARCH_STORED_PLAIN)
            return r->block[i].stored == ARCH_STORED_LZ4 ? VV_TIER_LZ4 : VV_TIER_ZSTD;
    return VV_TIER_PLAIN;
}

void arch_reader_block(const arch_reader *r, uint32_t block, arch_block_info *out)
{
    assert(block < r->footer.block_count);
    const arch_block *b = &r->block[block];
    bool is_late = b->has_untimed && b->receive_last_ns > b->event_max_ns;
    *out = (arch_block_info){.first = b->first,
                             .next = b->first + b->count,
                             .at = b->at,
                             .len = b->len,
                             .raw_len = b->raw_len,
                             .receive_first_ns = b->receive_first_ns,
                             .receive_last_ns = b->receive_last_ns,
                             .event_max_ns = is_late ? b->receive_last_ns : b->event_max_ns};
}

vv_status arch_reader_find(const arch_reader *r, uint64_t offset, uint32_t *block, vv_error *err)
{
    const arch_summary *s = &r->footer.sum;
    if (offset < s->first || offset >= s->next)
        return vv_fail(err, VV_NOT_FOUND,
                       "message %" PRIu64 " is not in an object of %" PRIu64 " up to %" PRIu64,
                       offset, s->first, s->next);
    uint32_t low = 0;
    uint32_t high = r->footer.block_count;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (r->block[middle].first <= offset)
            low = middle;
        else
            high = middle;
    }
    *block = low;
    return VV_OK;
}

bool arch_reader_may_hold(const arch_reader *r, uint32_t block, vv_slice name,
                          vv_attribute_type type, const vv_attribute *low, const vv_attribute *high)
{
    assert(block < r->footer.block_count);
    return arch_columns_may_hold(&r->columns, block, name, type, low, high);
}

/* ---- blocks ---- */

static vv_status decompress(arch_reader *r, const arch_block *b, vv_slice stored, vv_error *err)
{
    vv_buf_reset(&r->raw);
    uint8_t *out = vv_buf_reserve(&r->raw, b->raw_len);
    if (out == NULL)
        return vv_fail(err, r->raw.status, "no memory for %" PRIu32 " bytes", b->raw_len);
    vv_status st = VV_OK;
    switch (b->stored) {
    case ARCH_STORED_PLAIN:
        st = codec_block_decompress(NULL, CODEC_NONE, stored, out, b->raw_len, err);
        break;
    case ARCH_STORED_LZ4:
        st = codec_block_decompress(NULL, CODEC_LZ4, stored, out, b->raw_len, err);
        break;
    case ARCH_STORED_ZSTD:
        st = codec_block_decompress(r->codec, CODEC_ZSTD, stored, out, b->raw_len, err);
        break;
    case ARCH_STORED_DICT:
        st = codec_block_dict_decompress(r->codec, r->dict, stored, out, b->raw_len, err);
        break;
    }
    if (st == VV_OK)
        vv_buf_advance(&r->raw, b->raw_len);
    return st;
}

/* The runs tell a time for each message, from the first to the last that the index says. */
static bool are_times(const arch_block *b, const uint8_t *p, const uint8_t *end)
{
    uint64_t left = b->count;
    uint64_t span = (uint64_t)b->receive_last_ns - (uint64_t)b->receive_first_ns;
    uint64_t above = 0;
    while (p != end) {
        uint64_t count = 0;
        uint64_t delta = 0;
        p = vv_varint_get_short(vv_varint_get_short(p, end, &count), end, &delta);
        bool is_first = left == b->count;
        if (p == NULL || count == 0 || count > left || delta > span - above ||
            (delta == 0) != is_first)
            return false;
        left -= count;
        above += delta;
    }
    return left == 0 && above == span;
}

static void rewind_block(arch_reader *r)
{
    const arch_block *b = &r->block[r->loaded];
    uint32_t times_len = vv_get_le32(r->raw.data + r->raw.len - TRAILER);
    r->next = r->raw.data;
    r->end = r->raw.data + (r->raw.len - TRAILER - times_len);
    r->run = r->end;
    r->run_left = 0;
    r->run_ns = b->receive_first_ns;
    r->offset = b->first;
}

static vv_status open_block(arch_reader *r, uint32_t block, vv_slice stored, vv_error *err)
{
    const arch_block *b = &r->block[block];
    if (vv_crc32c(0, stored.data, stored.len) != b->crc32c && !VV_BUG(120))
        return vv_fail(err, VV_CORRUPT, "its checksum differs");
    vv_status st = decompress(r, b, stored, err);
    if (st != VV_OK)
        return st;
    const uint8_t *end = r->raw.data + (r->raw.len - TRAILER);
    uint32_t times_len = vv_get_le32(end);
    if (times_len > r->raw.len - TRAILER || !are_times(b, end - times_len, end))
        return vv_fail(err, VV_CORRUPT, "its receive times are malformed");
    r->loaded = block;
    r->is_loaded = true;
    rewind_block(r);
    return VV_OK;
}

vv_status arch_reader_unpack(arch_reader *r, uint32_t block, const void *stored, vv_error *err)
{
    assert(r != NULL && block < r->footer.block_count);
    const arch_block *b = &r->block[block];
    r->is_loaded = false;
    vv_status st = open_block(r, block, vv_slice_of(stored, b->len), err);
    if (st != VV_OK)
        return vv_wrap(err, st, "object: block %" PRIu32 " at offset %" PRIu64, block, b->at);
    return VV_OK;
}

vv_status arch_reader_load(arch_reader *r, uint32_t block, vv_error *err)
{
    assert(r != NULL && block < r->footer.block_count);
    const arch_block *b = &r->block[block];
    r->is_loaded = false;
    vv_buf_reset(&r->stored);
    uint8_t *out = vv_buf_reserve(&r->stored, b->len);
    if (out == NULL)
        return vv_fail(err, r->stored.status, "no memory for a block of %" PRIu32 " bytes", b->len);
    vv_status st = fetch(r, b->at, out, b->len, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "object: block %" PRIu32 " at offset %" PRIu64, block, b->at);
    vv_buf_advance(&r->stored, b->len);
    return arch_reader_unpack(r, block, r->stored.data, err);
}

/* ---- messages ---- */

static vv_status bad_message(const arch_reader *r, vv_error *err)
{
    return vv_fail(err, VV_CORRUPT, "object: block %" PRIu32 ": message %" PRIu64 " is malformed",
                   r->loaded, r->offset);
}

/* The bytes of the next message. */
static vv_status next_bytes(arch_reader *r, vv_slice *out, vv_error *err)
{
    const arch_block *b = &r->block[r->loaded];
    uint64_t len = 0;
    if (r->offset == b->first + b->count)
        return r->next == r->end ? VV_NOT_FOUND : bad_message(r, err);
    const uint8_t *p = vv_varint_get_short(r->next, r->end, &len);
    if (p == NULL || len == 0 || len > (size_t)(r->end - p))
        return bad_message(r, err);
    if (r->run_left == 0) { /* they were checked */
        uint64_t delta = 0;
        const uint8_t *end = r->raw.data + (r->raw.len - TRAILER);
        r->run = vv_varint_get_short(vv_varint_get_short(r->run, end, &r->run_left), end, &delta);
        r->run_ns = (int64_t)((uint64_t)r->run_ns + delta);
    }
    r->run_left--;
    r->offset++;
    r->next = p + len;
    *out = vv_slice_of(p, (size_t)len);
    return VV_OK;
}

vv_status arch_reader_next(arch_reader *r, vv_message *out, vv_error *err)
{
    assert(r != NULL && out != NULL);
    vv_slice bytes;
    if (!r->is_loaded)
        return vv_fail(err, VV_INVALID, "object: no block is loaded");
    vv_status st = next_bytes(r, &bytes, err);
    if (st != VV_OK)
        return st;
    st = stream_message_decode(bytes, &r->scratch, out, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "object: block %" PRIu32 ": message %" PRIu64, r->loaded,
                       r->offset - 1);
    out->offset = r->offset - 1;
    out->receive_time_ns = r->run_ns;
    out->partition = r->who.partition;
    return VV_OK;
}

vv_status arch_reader_seek(arch_reader *r, uint64_t offset, vv_error *err)
{
    assert(r != NULL);
    if (!r->is_loaded)
        return vv_fail(err, VV_INVALID, "object: no block is loaded");
    const arch_block *b = &r->block[r->loaded];
    if (offset < b->first || offset >= b->first + b->count)
        return vv_fail(err, VV_NOT_FOUND, "message %" PRIu64 " is not in block %" PRIu32, offset,
                       r->loaded);
    if (offset < r->offset)
        rewind_block(r);
    while (r->offset < offset) {
        vv_slice bytes;
        vv_status st = next_bytes(r, &bytes, err);
        if (st != VV_OK)
            return st == VV_NOT_FOUND ? bad_message(r, err) : st;
    }
    return VV_OK;
}
