/*
 * fuzz_stream.c - what a stream table stores: read or refused, without a crash, in bounded memory.
 *
 *     byte 0    0: a block; 1: a message; 2: a head; 3: a producer; 4: a position
 *
 * Law: what is accepted encodes to the very bytes it came from.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/util.h"
#include "stream/stream.h"

#define INPUT_LEN_MAX (256u * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static stream_scratch scratch;

static void must(bool holds)
{
    if (!holds)
        abort();
}

static bool is_same(const vv_buf *b, vv_slice bytes)
{
    must(b->status == VV_OK);
    return vv_slice_eq(vv_buf_slice(b), bytes);
}

static void try_message(vv_slice bytes)
{
    vv_message m;
    vv_buf out;
    if (stream_message_decode(bytes, &scratch, &m, NULL) != VV_OK)
        return;
    must(stream_message_size(&m) == bytes.len);
    vv_buf_init(&out, INPUT_LEN_MAX * 2);
    stream_message_encode(&m, &out);
    must(out.len > bytes.len &&
         vv_slice_eq(vv_slice_of(out.data + (out.len - bytes.len), bytes.len), bytes));
    vv_buf_fini(&out);
}

static void try_block(vv_slice bytes)
{
    stream_block b;
    stream_writer w;
    vv_slice one;
    vv_message m;
    vv_buf out;
    if (stream_block_open(bytes, &b, NULL) != VV_OK)
        return;
    stream_block head = b;
    vv_status st;
    bool is_readable = true;
    vv_buf_init(&out, INPUT_LEN_MAX * 2);
    stream_block_begin(&w, &out, b.producer, b.sequence);
    while ((st = stream_block_next(&b, &one, NULL)) == VV_OK) {
        if (stream_message_decode(one, &scratch, &m, NULL) != VV_OK) {
            is_readable = false;
            break;
        }
        stream_block_add(&w, &m);
    }
    if (is_readable && st == VV_NOT_FOUND) {
        stream_block_end(&w);
        stream_block_place(out.data + STREAM_PLACE_AT, &head.place);
        /* The head may tell of event times that no message has: a block is read all the same. */
        if (w.event_max == head.event_max && w.has_untimed == head.has_untimed)
            must(is_same(&out, bytes));
    }
    vv_buf_fini(&out);
}

static void try_records(uint8_t kind, vv_slice bytes)
{
    uint8_t again[STREAM_HEAD_SIZE];
    stream_head h;
    stream_producer p;
    stream_position c;
    size_t len = 0;
    if (kind == 2 && stream_head_decode(bytes, &h, NULL) == VV_OK) {
        stream_head_encode(&h, again);
        len = STREAM_HEAD_SIZE;
    } else if (kind == 3 && stream_producer_decode(bytes, &p, NULL) == VV_OK) {
        stream_producer_encode(&p, again);
        len = STREAM_PRODUCER_SIZE;
    } else if (kind == 4 && stream_position_decode(bytes, &c, NULL) == VV_OK) {
        stream_position_encode(&c, again);
        len = STREAM_POSITION_SIZE;
    }
    if (len > 0)
        must(vv_slice_eq(vv_slice_of(again, len), bytes));
    (void)!stream_position_check(bytes, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > INPUT_LEN_MAX)
        return 0;
    vv_slice bytes = vv_slice_of(data + 1, size - 1);
    if (data[0] == 0)
        try_block(bytes);
    else if (data[0] == 1)
        try_message(bytes);
    else
        try_records(data[0], bytes);
    return 0;
}
