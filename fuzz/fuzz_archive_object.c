/*
 * fuzz_archive_object.c - an object of archived messages: read or refused, without a crash, in
 * bounded memory.
 *
 *     byte 0    bit 0: the checksums are made right first, so that what lies behind them is reached
 *
 * Law: what arch_reader_verify takes is what a writer makes of its messages, for the parts that a
 * writer has no choice in: the messages, written again and read again, are the same.
 */
#include <stdlib.h>
#include <string.h>

#include "archive/archive.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/util.h"

#define INPUT_LEN_MAX (256u * 1024)
#define HEADER_FIXED 128u
#define ENTRY 56u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static vv_status read_bytes(void *ctx, uint64_t offset, void *out, size_t len, vv_error *err)
{
    (void)err;
    const vv_buf *b = ctx;
    must(offset <= b->len && len <= b->len - offset); /* a reader stays in its object */
    memcpy(out, b->data + offset, len);
    return VV_OK;
}

static vv_status write_bytes(void *ctx, const void *bytes, size_t len, vv_error *err)
{
    (void)err;
    vv_buf *b = ctx;
    vv_buf_append(b, bytes, len);
    return b->status;
}

static void mend_header(uint8_t *p, size_t len)
{
    vv_put_le32(p + len - 4, vv_crc32c(0, p, len - 4));
}

/* Every checksum that lies where the footer says. */
static void mend(vv_buf *b)
{
    if (b->len < 128 + 2 * (HEADER_FIXED + 4))
        return;
    uint8_t *footer = b->data + b->len - 128;
    uint64_t index_at = vv_get_le64(footer);
    uint64_t header_len = vv_get_le32(footer + 84);
    uint64_t entries = index_at + header_len + vv_get_le32(footer + 88) + vv_get_le32(footer + 92);
    uint64_t count = vv_get_le32(footer + 80);
    uint64_t end = b->len - 128;
    memcpy(footer + 120, "VARVEARC", 8);
    if (header_len >= HEADER_FIXED + 4 && index_at >= header_len && index_at < end &&
        end - index_at >= header_len) {
        mend_header(b->data, header_len);
        mend_header(b->data + index_at, header_len);
        uint64_t at = header_len;
        for (uint64_t i = 0; i < count && entries < end && (end - entries) / ENTRY > i; i++) {
            uint8_t *entry = b->data + entries + i * ENTRY;
            uint64_t len = vv_get_le32(entry + 4);
            if (len > index_at - at)
                break;
            vv_put_le32(entry + 12, vv_crc32c(0, b->data + at, len));
            at += len;
        }
        vv_put_le32(footer + 12, vv_crc32c(0, b->data + index_at, end - index_at));
    }
    vv_put_le32(footer + 96, vv_crc32c(0, b->data, end));
    vv_put_le32(footer + 116, vv_crc32c(0, footer, 116));
}

/* The messages of r into w; false when they cannot all be read. *is_taken: w has them; it has not
 * what is larger than any message of a table. */
static bool copy(arch_reader *r, arch_writer *w, bool *is_taken)
{
    *is_taken = true;
    for (uint32_t k = 0; k < arch_reader_block_count(r); k++) {
        vv_message m;
        vv_status st = arch_reader_load(r, k, NULL);
        while (st == VV_OK && (st = arch_reader_next(r, &m, NULL)) == VV_OK) {
            uint32_t block = 0;
            must(arch_reader_find(r, m.offset, &block, NULL) == VV_OK && block == k);
            (void)arch_reader_may_hold(r, k, m.key, VV_ATTRIBUTE_STRING, NULL, NULL);
            *is_taken = *is_taken && arch_writer_add(w, &m, NULL) == VV_OK;
        }
        if (st != VV_NOT_FOUND)
            return false;
    }
    return true;
}

static bool is_same(arch_reader *a, arch_reader *b)
{
    const arch_summary *x = arch_reader_summary(a);
    const arch_summary *y = arch_reader_summary(b);
    return x->first == y->first && x->next == y->next && x->raw_bytes == y->raw_bytes &&
           x->receive_first_ns == y->receive_first_ns && x->receive_last_ns == y->receive_last_ns &&
           x->event_min_ns == y->event_min_ns && x->event_max_ns == y->event_max_ns &&
           memcmp(arch_reader_who(a), arch_reader_who(b), sizeof(arch_identity)) == 0;
}

static void write_again(arch_reader *r)
{
    vv_buf out;
    arch_writer *w = NULL;
    arch_reader *again = NULL;
    arch_summary sum;
    arch_writer_options opt = {.who = *arch_reader_who(r), .codec = VV_TIER_LZ4};
    vv_buf_init(&out, 64u << 20);
    must(arch_writer_open(&opt, (arch_sink){write_bytes, &out}, &w, NULL) == VV_OK);
    bool is_taken = false;
    bool is_whole = copy(r, w, &is_taken);
    bool is_right = arch_reader_verify(r, NULL, NULL, NULL) == VV_OK;
    must(is_whole || !is_right);
    if (is_right && is_taken) {
        must(arch_writer_finish(w, &sum, NULL) == VV_OK);
        must(sum.size == out.len);
        arch_source source = {read_bytes, &out, out.len};
        must(arch_reader_open(source, sum.index_at, sum.index_len, &again, NULL) == VV_OK);
        must(is_same(r, again));
        arch_reader_close(again);
    }
    arch_writer_close(w);
    vv_buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > INPUT_LEN_MAX)
        return 0;
    vv_buf object;
    arch_reader *r = NULL;
    vv_buf_init(&object, INPUT_LEN_MAX);
    vv_buf_append(&object, data + 1, size - 1);
    if ((data[0] & 1) != 0 && object.len > 0)
        mend(&object);
    arch_source source = {read_bytes, &object, object.len};
    if (arch_reader_open(source, 0, 0, &r, NULL) == VV_OK)
        write_again(r);
    arch_reader_close(r);
    vv_buf_fini(&object);
    return 0;
}
