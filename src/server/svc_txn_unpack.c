/*
 * svc_txn_unpack.c - requests of varve.v1.Txn, unpacked by protobuf-c into bounded memory.
 *
 * protobuf-c recurses as deep as its messages nest and allocates what the peer chose. None of these
 * messages contains itself, so the schema bounds the depth (a test walks the descriptors); and
 * every allocation comes from an arena with a cap, because two bytes on the wire can ask for a
 * hundred.
 */
#include "base/error.h"
#include "server/svc_txn.h"

#define UNPACKED_MAX (48u * 1024u * 1024u)

static void *allocate(void *data, size_t size)
{
    svc_txn_unpacked *u = data;
    void *p = vv_arena_alloc(&u->arena, size);
    u->refused |= p == NULL;
    return p;
}

static void release(void *data, void *p)
{
    (void)data; /* all of it goes with the arena */
    (void)p;
}

void svc_txn_unpacked_init(svc_txn_unpacked *u)
{
    *u = (svc_txn_unpacked){.allocator = {.alloc = allocate, .free = release}};
    u->allocator.allocator_data = u;
    vv_arena_init(&u->arena, UNPACKED_MAX);
}

void svc_txn_unpacked_fini(svc_txn_unpacked *u)
{
    vv_arena_fini(&u->arena);
}

vv_status svc_txn_unpack(svc_txn_unpacked *u, const ProtobufCMessageDescriptor *desc,
                         vv_slice bytes, ProtobufCMessage **out, vv_error *err)
{
    static const uint8_t none[1];
    ProtobufCMessage *message = protobuf_c_message_unpack(desc, &u->allocator, bytes.len,
                                                          bytes.len == 0 ? none : bytes.data);
    if (message != NULL) {
        *out = message;
        return VV_OK;
    }
    if (u->refused)
        return vv_fail(
            err, VV_BUSY,
            "the request takes more than %u bytes of memory, or there is none: send less "
            "at once",
            UNPACKED_MAX);
    return vv_fail(err, VV_INVALID, "the bytes are not a %s", desc->name);
}
