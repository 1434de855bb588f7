/*
 * stream_record.c - keys, and the records beside the blocks: where a partition begins, producers,
 * positions. Each is a format byte and numbers of eight bytes.
 */
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/util.h"
#include "stream/stream.h"

#define FORMAT 1u

void stream_block_key(uint64_t offset, uint8_t out[STREAM_BLOCK_KEY])
{
    out[0] = STREAM_KEY_BLOCK;
    vv_put_be64(out + 1, offset);
}

size_t stream_named_key(char kind, vv_slice name, uint8_t out[STREAM_NAMED_KEY_MAX])
{
    assert(name.len < STREAM_NAMED_KEY_MAX);
    out[0] = (uint8_t)kind;
    if (name.len > 0)
        memcpy(out + 1, name.data, name.len);
    return 1 + name.len;
}

static vv_status get_numbers(vv_slice bytes, const char *what, uint64_t *number, size_t count,
                             vv_error *err)
{
    if (bytes.len > 0 && bytes.data[0] > FORMAT)
        return vv_fail(err, VV_UNSUPPORTED, "the %s has format %u: a newer varve wrote it", what,
                       bytes.data[0]);
    if (bytes.len != 1 + 8 * count || bytes.data[0] != FORMAT)
        return vv_fail(err, VV_CORRUPT, "the %s of %zu bytes is malformed", what, bytes.len);
    for (size_t i = 0; i < count; i++)
        number[i] = vv_get_le64(bytes.data + 1 + 8 * i);
    return VV_OK;
}

void stream_head_encode(const stream_head *h, uint8_t out[STREAM_HEAD_SIZE])
{
    out[0] = FORMAT;
    vv_put_le64(out + 1, h->first);
    vv_put_le64(out + 9, h->bytes_before);
    vv_put_le64(out + 17, (uint64_t)h->receive_ns);
    vv_put_le64(out + 25, (uint64_t)h->event_max);
}

void stream_producer_encode(const stream_producer *p, uint8_t out[STREAM_PRODUCER_SIZE])
{
    out[0] = FORMAT;
    vv_put_le64(out + 1, p->next);
    vv_put_le64(out + 9, p->previous);
    vv_put_le64(out + 17, (uint64_t)p->used_ns);
}

void stream_position_encode(const stream_position *p, uint8_t out[STREAM_POSITION_SIZE])
{
    out[0] = FORMAT;
    vv_put_le64(out + 1, p->offset);
    vv_put_le64(out + 9, (uint64_t)p->committed_ns);
}

vv_status stream_head_decode(vv_slice bytes, stream_head *out, vv_error *err)
{
    uint64_t n[4] = {0};
    vv_status st = get_numbers(bytes, "head of a partition", n, 4, err);
    if (st == VV_OK)
        *out = (stream_head){n[0], n[1], (int64_t)n[2], (int64_t)n[3]};
    return st;
}

vv_status stream_producer_decode(vv_slice bytes, stream_producer *out, vv_error *err)
{
    uint64_t n[3] = {0};
    vv_status st = get_numbers(bytes, "record of a producer", n, 3, err);
    if (st == VV_OK)
        *out = (stream_producer){n[0], n[1], (int64_t)n[2]};
    return st;
}

vv_status stream_position_decode(vv_slice bytes, stream_position *out, vv_error *err)
{
    uint64_t n[2] = {0};
    vv_status st = get_numbers(bytes, "position of a consumer", n, 2, err);
    if (st == VV_OK)
        *out = (stream_position){n[0], (int64_t)n[1]};
    return st;
}

static bool is_name_byte(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("_-.:/", c) != NULL);
}

vv_status stream_position_check(vv_slice name, vv_error *err)
{
    if (name.len == 0 || name.len > VV_STREAM_POSITION_MAX)
        return vv_fail(err, VV_INVALID, "the name of a position has %zu bytes: 1 to %u", name.len,
                       VV_STREAM_POSITION_MAX);
    for (size_t i = 0; i < name.len; i++)
        if (!is_name_byte(name.data[i]))
            return vv_fail(err, VV_INVALID,
                           "the name of a position has byte 0x%02x at %zu: letters, digits, '_', "
                           "'-', '.', ':' and '/' are allowed",
                           name.data[i], i);
    return VV_OK;
}
