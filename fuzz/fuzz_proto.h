/*
 * fuzz_proto.h - protobuf-c as the oracle of our readers of requests: what two of them saw,
 * compared.
 */
#ifndef VARVE_FUZZ_FUZZ_PROTO_H
#define VARVE_FUZZ_FUZZ_PROTO_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/protowire.h"
#include "server/svc_kv_request.h"
#include "varve/v1/kv.pb-c.h"

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static inline bool same_bytes(ProtobufCBinaryData a, vv_slice b)
{
    return vv_slice_eq(vv_slice_of(a.data, a.len), b);
}

/* C sees a text up to its first NUL. */
static inline bool same_text(const char *text, vv_slice s)
{
    size_t len = s.len == 0 ? 0 : strnlen((const char *)s.data, s.len);
    return strlen(text) == len && (len == 0 || memcmp(text, s.data, len) == 0);
}

static inline bool same_table(const Varve__V1__TableRef *m, const svc_table_ref *ref)
{
    if (m == NULL)
        return ref->tenant.len == 0 && ref->table.len == 0;
    return same_text(m->tenant, ref->tenant) && same_text(m->table, ref->table);
}

/* Whether wire_next, which refuses field numbers of zero and over 29 bits, reads it all. Then
 * *pieces tells whether a message that stands once came in more than one piece. */
static inline bool is_strict(const ProtobufCMessageDescriptor *desc, vv_slice in, bool *pieces)
{
    wire_reader r = wire_reader_of(in);
    wire_field f = {0};
    uint32_t seen = 0;
    while (wire_next(&r, &f) > 0) {
        const ProtobufCFieldDescriptor *fd =
            protobuf_c_message_descriptor_get_field(desc, f.number);
        if (fd == NULL || fd->type != PROTOBUF_C_TYPE_MESSAGE || f.type != WIRE_BYTES)
            continue;
        *pieces |= fd->label != PROTOBUF_C_LABEL_REPEATED && (seen & 1u << f.number) != 0;
        seen |= 1u << f.number;
        if (!is_strict(fd->descriptor, f.bytes, pieces))
            return false;
    }
    return r.fault == WIRE_GOOD;
}

#endif
