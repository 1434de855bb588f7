/*
 * fuzz_txn.c - requests of varve.v1.Txn as svc_txn_unpack takes them: refused, or packed again they
 * read as the same.
 *
 * The first byte chooses the message.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/util.h"
#include "server/svc_txn.h"
#include "varve/v1/txn.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const ProtobufCMessageDescriptor *const messages[] = {
    &varve__v1__txn_begin_request__descriptor,  &varve__v1__txn_get_request__descriptor,
    &varve__v1__txn_put_request__descriptor,    &varve__v1__txn_delete_request__descriptor,
    &varve__v1__txn_scan_request__descriptor,   &varve__v1__txn_savepoint_request__descriptor,
    &varve__v1__txn_commit_request__descriptor, &varve__v1__txn_abort_request__descriptor,
    &varve__v1__txn_run_request__descriptor,
};

/* The bytes that protobuf-c makes of what it read; NULL: refused. Gives: vv_free. */
static uint8_t *again(const ProtobufCMessageDescriptor *desc, vv_slice in, size_t *len)
{
    svc_txn_unpacked u;
    ProtobufCMessage *m = NULL;
    uint8_t *out = NULL;
    svc_txn_unpacked_init(&u);
    if (svc_txn_unpack(&u, desc, in, &m, NULL) == VV_OK) {
        *len = protobuf_c_message_get_packed_size(m);
        out = vv_alloc(*len + 1);
        if (out == NULL || protobuf_c_message_pack(m, out) != *len)
            abort();
    }
    svc_txn_unpacked_fini(&u);
    return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t len = 0, len_again = 0;
    if (size == 0)
        return 0;
    const ProtobufCMessageDescriptor *desc = messages[data[0] % ARRAY_LEN(messages)];
    uint8_t *first = again(desc, vv_slice_of(data + 1, size - 1), &len);
    if (first == NULL)
        return 0;
    uint8_t *second = again(desc, vv_slice_of(first, len), &len_again);
    if (second == NULL || len != len_again || memcmp(first, second, len) != 0)
        abort();
    vv_free(first);
    vv_free(second);
    return 0;
}
