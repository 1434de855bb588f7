/*
 * ingest_struct.c - is this a google.protobuf.Struct that every reader can take?
 *
 *     Struct --1--> entry --2--> Value --5--> Struct ...
 *                     |1           |--6--> ListValue --1--> Value ...
 *                   string         |1 null, 2 number, 3 string, 4 bool
 *
 * A Value nests without bound on the wire (a level costs a few bytes) and protobuf-c unpacks by
 * recursion, so the depth is counted here, with a stack of our own, before anybody unpacks. The
 * same walk checks the form, which lets the body be stored as raw bytes and believed when it is
 * read.
 */
#include "ingest/ingest_walk.h"

#include <string.h>

#include "base/utf8.h"
#include "codec/protowire.h"

/* What a message of the drawing is, or what a field of it holds. */
enum { IN_STRUCT, IN_ENTRY, IN_VALUE, IN_LIST, MESSAGES, PLAIN = MESSAGES, STRING, UNKNOWN };

typedef struct rule {
    uint8_t wire;
    uint8_t holds;
} rule;

#define RULE_MAX 7
static const rule rules[MESSAGES][RULE_MAX] = {
    [IN_STRUCT] = {[1] = {WIRE_BYTES, IN_ENTRY}},
    [IN_ENTRY] = {[1] = {WIRE_BYTES, STRING}, [2] = {WIRE_BYTES, IN_VALUE}},
    [IN_VALUE] = {[1] = {WIRE_VARINT, PLAIN},
                  [2] = {WIRE_FIXED64, PLAIN},
                  [3] = {WIRE_BYTES, STRING},
                  [4] = {WIRE_VARINT, PLAIN},
                  [5] = {WIRE_BYTES, IN_STRUCT},
                  [6] = {WIRE_BYTES, IN_LIST}},
    [IN_LIST] = {[1] = {WIRE_BYTES, IN_VALUE}},
};
static const uint8_t rule_count[MESSAGES] = {2, 3, 7, 2};

static rule rule_of(unsigned in, uint32_t number)
{
    if (number == 0 || number >= rule_count[in])
        return (rule){0, UNKNOWN};
    return rules[in][number];
}

#define FRAMES_MAX (INGEST_DEPTH_MAX * 3 + 4)

typedef struct frame {
    const uint8_t *end;
    unsigned in;
} frame;

/* bool is the one type whose wire type protobuf-c does not look at. */
static ingest_fault wrong_wire(unsigned in, uint32_t number)
{
    return in == IN_VALUE && number == 4 ? INGEST_STRICT : INGEST_MALFORMED;
}

ingest_fault ingest_check_struct(vv_slice body)
{
    frame stack[FRAMES_MAX];
    unsigned top = 0, values = 0;
    ingest_fault worst = INGEST_GOOD; /* form comes before content */
    wire_reader c = wire_reader_of(body);
    stack[0] = (frame){c.end, IN_STRUCT};
    for (;;) {
        while (c.next == stack[top].end) {
            values -= stack[top].in == IN_VALUE;
            if (top == 0)
                return worst;
            top--;
        }
        wire_field f = {0};
        c.end = stack[top].end;
        if (VV_UNLIKELY(wire_next(&c, &f) <= 0))
            return (ingest_fault)c.fault;
        unsigned in = stack[top].in;
        rule r = rule_of(in, f.number);
        if (r.holds == UNKNOWN)
            continue;
        if (VV_UNLIKELY(r.wire != f.type))
            return wrong_wire(in, f.number);
        if (r.holds == STRING) {
            if (VV_UNLIKELY(!ingest_is_utf8(f.bytes)))
                worst = INGEST_NOT_UTF8;
        } else if (r.holds < MESSAGES) {
            values += r.holds == IN_VALUE;
            if (VV_UNLIKELY(values > INGEST_DEPTH_MAX || top + 1 == FRAMES_MAX))
                return INGEST_DEEP;
            c.next = f.bytes.data; /* go inside: its end is the new frame's */
            stack[++top] = (frame){f.bytes.data + f.bytes.len, r.holds};
        }
    }
}

bool ingest_is_utf8(vv_slice text)
{
    size_t i = 0;
    while (i < text.len) {
        while (text.len - i >= 8 &&
               (vv_get_le64(text.data + i) & UINT64_C(0x8080808080808080)) == 0)
            i += 8;
        if (i == text.len)
            break;
        size_t n = utf8_length(text.data + i, text.data + text.len);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}
