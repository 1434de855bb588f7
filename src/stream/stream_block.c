/*
 * stream_block.c - a block of messages: its head, and the messages one behind the other.
 *
 *   0      1     2    4      8          16        24           32         40       48
 *   +------+-----+----+------+----------+---------+------------+----------+--------+---
 *   |format|flags| 0  | count| event max| receive | bytes      | event max| previous ...
 *   |  1   |     |    |      | its own  |         | before     | so far   |        |
 *   +------+-----+----+------+----------+---------+------------+----------+--------+---
 *                                       |<------ filled in by the log: place ----->|
 *   with a producer: u64 sequence, u8 length, id; then the messages, to the end
 *
 * Why the sums run along the partition: bytes before, event max so far and receive only ever grow,
 * so where a time or a size lies is found by halving, without an index of its own.
 *
 * Why previous: a producer's blocks are a chain from its newest one back, so that a repeated append
 * finds the offset it got, however many of others lie between.
 */
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/util.h"
#include "base/varint.h"
#include "stream/stream.h"

#define FORMAT 1u
#define HEAD_SIZE 48u
#define MESSAGE_MIN 2u /* its length, its flags */

enum {
    FLAG_PRODUCER = 1,
    FLAG_UNTIMED = 2,
    FLAGS_ALL = 3,
};

static_assert(STREAM_PLACE_AT + STREAM_PLACE_SIZE == HEAD_SIZE, "the place ends the head");

size_t stream_block_head(vv_slice producer)
{
    return HEAD_SIZE + (producer.len > 0 ? 9 + producer.len : 0);
}

void stream_block_begin(stream_writer *w, vv_buf *out, vv_slice producer, uint64_t sequence)
{
    *w = (stream_writer){.out = out,
                         .begin = out->len,
                         .event_max = STREAM_NO_TIME,
                         .has_producer = producer.len > 0};
    uint8_t *p = vv_buf_reserve(out, HEAD_SIZE);
    if (p == NULL)
        return;
    memset(p, 0, HEAD_SIZE);
    vv_buf_advance(out, HEAD_SIZE);
    if (producer.len == 0)
        return;
    assert(producer.len <= VV_STREAM_PRODUCER_MAX);
    vv_buf_append_le64(out, sequence);
    vv_buf_append_u8(out, (uint8_t)producer.len);
    vv_buf_append_slice(out, producer);
}

void stream_block_add(stream_writer *w, const vv_message *m)
{
    stream_message_encode(m, w->out);
    w->count++;
    if (m->event_time_ns == 0)
        w->has_untimed = true;
    else if (m->event_time_ns > w->event_max)
        w->event_max = m->event_time_ns;
}

void stream_block_end(stream_writer *w)
{
    if (w->out->status != VV_OK)
        return;
    assert(w->count > 0);
    uint8_t *p = w->out->data + w->begin;
    p[0] = FORMAT;
    p[1] = (uint8_t)((w->has_producer ? FLAG_PRODUCER : 0) | (w->has_untimed ? FLAG_UNTIMED : 0));
    vv_put_le32(p + 4, w->count);
    vv_put_le64(p + 8, (uint64_t)w->event_max);
}

void stream_block_place(uint8_t *place, const stream_place *p)
{
    vv_put_le64(place, (uint64_t)p->receive_ns);
    vv_put_le64(place + 8, p->bytes_before);
    vv_put_le64(place + 16, (uint64_t)p->event_max);
    vv_put_le64(place + 24, p->previous);
}

/* The producer's part of the head; NULL when it is malformed. */
static const uint8_t *get_producer(const uint8_t *p, const uint8_t *end, stream_block *b)
{
    if (end - p < 9)
        return NULL;
    size_t len = p[8];
    b->sequence = vv_get_le64(p);
    p += 9;
    if (len == 0 || len > VV_STREAM_PRODUCER_MAX || len > (size_t)(end - p) ||
        b->sequence > UINT64_MAX - b->count)
        return NULL;
    b->producer = vv_slice_of(p, len);
    return p + len;
}

static bool makes_sense(const stream_block *b)
{
    return b->count > 0 && b->count <= VV_STREAM_MESSAGES_MAX &&
           (b->has_untimed || b->event_max != STREAM_NO_TIME) &&
           b->place.event_max >= stream_block_newest(b) &&
           (b->producer.len > 0 || b->place.previous == STREAM_NO_OFFSET);
}

vv_status stream_block_open(vv_slice bytes, stream_block *out, vv_error *err)
{
    const uint8_t *p = bytes.data;
    const uint8_t *end = p + bytes.len;
    if (bytes.len < HEAD_SIZE)
        return vv_fail(err, VV_CORRUPT, "a block of %zu bytes has no head", bytes.len);
    if (p[0] > FORMAT || (p[0] == FORMAT && (p[1] & ~FLAGS_ALL) != 0))
        return vv_fail(err, VV_UNSUPPORTED,
                       "a block of format %u with flags %u: a newer varve wrote it", p[0], p[1]);
    stream_block b = {.count = vv_get_le32(p + 4),
                      .event_max = (int64_t)vv_get_le64(p + 8),
                      .has_untimed = (p[1] & FLAG_UNTIMED) != 0,
                      .place = {.receive_ns = (int64_t)vv_get_le64(p + 16),
                                .bytes_before = vv_get_le64(p + 24),
                                .event_max = (int64_t)vv_get_le64(p + 32),
                                .previous = vv_get_le64(p + 40)}};
    const uint8_t *next = p + HEAD_SIZE;
    if ((p[1] & FLAG_PRODUCER) != 0)
        next = get_producer(next, end, &b);
    if (p[0] != FORMAT || vv_get_le16(p + 2) != 0 || next == NULL || !makes_sense(&b) ||
        b.count > (size_t)(end - next) / MESSAGE_MIN)
        return vv_fail(err, VV_CORRUPT, "the head of a block of %zu bytes is malformed", bytes.len);
    b.next = next;
    b.end = end;
    b.left = b.count;
    *out = b;
    return VV_OK;
}

vv_status stream_block_next(stream_block *b, vv_slice *message, vv_error *err)
{
    uint64_t len = 0;
    if (b->left == 0 && b->next == b->end)
        return VV_NOT_FOUND;
    if (b->left == 0)
        return vv_fail(err, VV_CORRUPT, "%zu bytes behind the last message of a block",
                       (size_t)(b->end - b->next));
    const uint8_t *p = vv_varint_get(b->next, b->end, &len);
    if (p == NULL || (size_t)(p - b->next) != vv_varint_len(len) || len == 0 ||
        len > (size_t)(b->end - p))
        return vv_fail(err, VV_CORRUPT, "message %u of %u in a block is cut off",
                       b->count - b->left, b->count);
    *message = vv_slice_of(p, (size_t)len);
    b->next = p + len;
    b->left--;
    return VV_OK;
}

int64_t stream_block_newest(const stream_block *b)
{
    return b->has_untimed && b->place.receive_ns > b->event_max ? b->place.receive_ns
                                                                : b->event_max;
}
