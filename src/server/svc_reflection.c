/*
 * svc_reflection.c - grpc.reflection v1 and v1alpha: clients such as grpcurl ask what is served.
 *
 * The two versions have the same bytes under different names, so one handler serves both, reading
 * and writing the wire directly.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/util.h"
#include "codec/protowire.h"
#include "server/descriptors.h"
#include "server/node.h"

#define ANSWER_MAX (4u * 1024u * 1024u)
#define REQUEST_MAX (64u * 1024u)

/* ServerReflectionRequest and ServerReflectionResponse. */
enum {
    REQ_HOST = 1,
    REQ_FILE_BY_FILENAME = 3,
    REQ_FILE_CONTAINING_SYMBOL = 4,
    REQ_FILE_CONTAINING_EXTENSION = 5,
    REQ_ALL_EXTENSION_NUMBERS = 6,
    REQ_LIST_SERVICES = 7,
    RES_VALID_HOST = 1,
    RES_ORIGINAL_REQUEST = 2,
    RES_FILE = 4,
    RES_EXTENSION_NUMBERS = 5,
    RES_LIST_SERVICES = 6,
    RES_ERROR = 7,
};

#define CODE_INVALID_ARGUMENT 3
#define CODE_NOT_FOUND 5

static void answer_error(vv_buf *out, int code, const char *what, vv_slice name)
{
    char text[256];
    (void)snprintf(text, sizeof text, "%s%.*s", what, (int)vv_min_u64(name.len, 160),
                   (const char *)name.data);
    size_t mark = wire_begin(out, RES_ERROR);
    wire_put_varint(out, 1, (uint64_t)code);
    wire_put_text(out, 2, vv_slice_str(text));
    wire_end(out, mark);
}

static void answer_file(vv_buf *out, vv_slice set, vv_slice file)
{
    vv_slice files[DESCRIPTORS_FILES_MAX];
    size_t count = descriptors_closure(set, file, files);
    size_t mark = wire_begin(out, RES_FILE);
    for (size_t i = 0; i < count; i++)
        wire_put_bytes(out, 1, files[i]);
    wire_end(out, mark);
}

static void put_service(void *ctx, vv_slice package, vv_slice name)
{
    vv_buf *out = ctx;
    size_t service = wire_begin(out, 1);
    wire_put_head(out, 1, package.len + 1 + name.len);
    vv_buf_append_slice(out, package);
    vv_buf_append_u8(out, '.');
    vv_buf_append_slice(out, name);
    wire_end(out, service);
}

static void answer_services(vv_buf *out, vv_slice set)
{
    size_t mark = wire_begin(out, RES_LIST_SERVICES);
    descriptors_services(set, put_service, out);
    wire_end(out, mark);
}

/* We have no extensions; a message that exists has an empty list of them. */
static void answer_extension_numbers(vv_buf *out, vv_slice set, vv_slice type)
{
    if (!descriptors_is_message(set, type)) {
        answer_error(out, CODE_NOT_FOUND, "no such message: ", type);
        return;
    }
    size_t mark = wire_begin(out, RES_EXTENSION_NUMBERS);
    wire_put_bytes(out, 1, type);
    wire_end(out, mark);
}

static void answer(vv_buf *out, vv_slice set, const wire_field *ask)
{
    vv_slice file;
    switch (ask->number) {
    case REQ_FILE_BY_FILENAME:
        if (descriptors_file(set, ask->bytes, &file))
            answer_file(out, set, file);
        else
            answer_error(out, CODE_NOT_FOUND, "no such file: ", ask->bytes);
        break;
    case REQ_FILE_CONTAINING_SYMBOL:
        if (descriptors_file_of_symbol(set, ask->bytes, &file))
            answer_file(out, set, file);
        else
            answer_error(out, CODE_NOT_FOUND, "no such symbol: ", ask->bytes);
        break;
    case REQ_FILE_CONTAINING_EXTENSION:
        answer_error(out, CODE_NOT_FOUND, "there are no extensions", vv_slice_of(NULL, 0));
        break;
    case REQ_ALL_EXTENSION_NUMBERS:
        answer_extension_numbers(out, set, ask->bytes);
        break;
    case REQ_LIST_SERVICES:
        answer_services(out, set);
        break;
    default:
        answer_error(out, CODE_INVALID_ARGUMENT, "the request asks nothing", vv_slice_of(NULL, 0));
        break;
    }
}

static void on_message(srv_call *call, srv_message msg)
{
    wire_reader r = wire_reader_of(msg.data);
    wire_field f = {0};
    wire_field ask = {0};
    vv_slice host = {0};
    while (wire_next(&r, &f) > 0) {
        if (f.type != WIRE_BYTES)
            continue;
        if (f.number == REQ_HOST)
            host = f.bytes;
        else if (f.number >= REQ_FILE_BY_FILENAME && f.number <= REQ_LIST_SERVICES)
            ask = f; /* a oneof: the last one counts */
    }
    /* Both come back in the answer. */
    if (r.fault != WIRE_GOOD || !utf8_is_valid(host) || !utf8_is_valid(ask.bytes)) {
        srv_call_finish(call, VV_INVALID, "the bytes are not a ServerReflectionRequest");
        srv_message_release(&msg);
        return;
    }
    vv_buf out;
    vv_buf_init(&out, ANSWER_MAX);
    wire_put_bytes(&out, RES_VALID_HOST, host);
    wire_put_bytes(&out, RES_ORIGINAL_REQUEST, msg.data);
    answer(&out, descriptors_builtin(), &ask);
    srv_message_release(&msg);
    srv_call_send(call, &out);
}

static void on_half_close(srv_call *call)
{
    srv_call_finish(call, VV_OK, NULL);
}

size_t svc_reflection_methods(node *n, srv_method *out, size_t max)
{
    static const char *const paths[] = {
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    };
    size_t count = 0;
    for (; count < ARRAY_LEN(paths) && count < max; count++)
        out[count] = (srv_method){.kind = SRV_GRPC_STREAM,
                                  .path = paths[count],
                                  .message_max = REQUEST_MAX,
                                  .ctx = n,
                                  .message = on_message,
                                  .half_close = on_half_close};
    return count;
}
