/*
 * feed_sink.c - what all decoders say in the same way.
 */
#include "feeds/feed_sink.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/utf8.h"
#include "codec/protowire.h"

void feed_refuse(feed_result *result, uint64_t count, const char *fmt, ...)
{
    bool is_first = result->refused == 0;
    result->refused += count;
    if (!is_first || count == 0)
        return;
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(result->first_refusal, sizeof result->first_refusal, fmt, args);
    va_end(args);
}

/* Whether all bytes are 1..127, eight at a time. */
static bool is_plain(vv_slice text)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    const uint8_t *p = text.data;
    uint64_t high = 0;
    if (text.len < 8) {
        uint64_t w = ones;
        for (size_t i = 0; i < text.len; i++)
            w = w << 8 | p[i];
        return (((w - ones) | w) & (ones << 7)) == 0;
    }
    for (size_t i = 0; i < text.len; i += 8) {
        uint64_t w = vv_get_le64(p + (i + 8 <= text.len ? i : text.len - 8));
        high |= (w - ones) | w;
    }
    return (high & (ones << 7)) == 0;
}

bool feed_label_is_text(vv_slice text)
{
    /* Eight bytes at once while they are ASCII and no NUL, as nearly all labels are. */
    const uint64_t high = UINT64_C(0x8080808080808080), one = UINT64_C(0x0101010101010101);
    while (text.len >= 8) {
        uint64_t w = vv_get_le64(text.data);
        if (((w | (w - one)) & high) != 0)
            break;
        text = vv_slice_of(text.data + 8, text.len - 8);
    }
    if (text.len < 8) {
        uint64_t w = one;
        for (size_t i = 0; i < text.len; i++)
            w = w << 8 | text.data[i];
        if (((w | (w - one)) & high) == 0)
            return true;
    }
    return is_plain(text) || (memchr(text.data, 0, text.len) == NULL && utf8_is_valid(text));
}

/* A name and a value as everybody writes them: in order, each with a length of one byte. */
static bool read_usual(vv_slice bytes, vv_slice *name, vv_slice *value)
{
    const uint8_t *p = bytes.data;
    if (bytes.len < 4 || p[0] != 0x0a || p[1] >= 0x80 || p[1] + 4u > bytes.len)
        return false;
    size_t n = p[1];
    const uint8_t *q = p + 2 + n;
    if (q[0] != 0x12 || q[1] >= 0x80 || n + 4 + q[1] != bytes.len)
        return false;
    *name = vv_slice_of(p + 2, n);
    *value = vv_slice_of(q + 2, q[1]);
    return true;
}

bool feed_labels_read(feed_label_set *set, vv_slice bytes, const char **fault)
{
    wire_reader r = wire_reader_of(bytes);
    wire_field f = {0};
    vv_slice name = {0};
    vv_slice value = {0};
    if (VV_LIKELY(read_usual(bytes, &name, &value)))
        r.next = r.end;
    while (wire_next(&r, &f) > 0) {
        if (f.number == 1 && f.type == WIRE_BYTES)
            name = f.bytes;
        else if (f.number == 2 && f.type == WIRE_BYTES)
            value = f.bytes;
    }
    const char *wrong = r.fault == WIRE_GOOD ? feed_labels_add(set, name, value) : NULL;
    if (*fault == NULL)
        *fault = wrong;
    return r.fault == WIRE_GOOD;
}

vv_slice feed_labels_name(const feed_label_set *set)
{
    for (size_t i = 0; i < set->count; i++)
        if (vv_slice_eq(set->items[i].name, vv_slice_str(FEED_NAME_LABEL)))
            return set->items[i].value;
    return vv_slice_of(NULL, 0);
}

const char *feed_labels_add(feed_label_set *set, vv_slice name, vv_slice value)
{
    if (name.len == 0)
        return "a label has no name";
    if (name.len + value.len > FEED_LABEL_BYTES_MAX)
        return "a label has more than 1000 bytes";
    if (!feed_label_is_text(name) || !feed_label_is_text(value))
        return "a label is not UTF-8, or has a NUL";
    /* Senders sort them: then a name behind the last is behind all. */
    bool is_behind = set->count == 0 || vv_slice_cmp(set->items[set->count - 1].name, name) < 0;
    set->is_unsorted = set->count > 0 && (set->is_unsorted || !is_behind);
    for (size_t i = 0; set->is_unsorted && i < set->count; i++)
        if (set->items[i].name.len == name.len && vv_slice_eq(set->items[i].name, name))
            return "the same label twice";
    if (value.len == 0)
        return NULL;
    if (set->count == FEED_LABELS_MAX)
        return "more than 128 labels";
    set->items[set->count++] = (feed_label){name, value};
    return NULL;
}
