/*
 * svc_reflection_test.c - what the descriptor set answers, alone and over the wire in both
 * versions.
 */
#include "codec/protowire.h"
#include "grpc/reflection/v1/reflection.pb-c.h"
#include "server/descriptors.h"
#include "server/svc_suite.h"

static vv_slice name_of(vv_slice file)
{
    wire_reader r = wire_reader_of(file);
    wire_field f = {0};
    while (wire_next(&r, &f) > 0)
        if (f.number == 1 && f.type == WIRE_BYTES)
            return f.bytes;
    return vv_slice_of(NULL, 0);
}

static void test_symbols(void **state)
{
    (void)state;
    const struct {
        const char *symbol;
        const char *file; /* NULL: unknown */
    } cases[] = {
        {"varve.v1.Kv", "varve/v1/kv.proto"},
        {".varve.v1.Kv", "varve/v1/kv.proto"},
        {"varve.v1.Kv.Put", "varve/v1/kv.proto"},
        {"varve.v1.PutRequest", "varve/v1/kv.proto"},
        {"varve.v1.PutRequest.key", "varve/v1/kv.proto"},
        {"storage.IngestionService.IngestStream", "storage/ingestion.proto"},
        {"storage.DataRecord", "storage/common.proto"},
        {"storage.DataRecord.MetadataEntry", "storage/common.proto"},
        {"storage.DataRecord.MetadataEntry.key", "storage/common.proto"},
        {"google.protobuf.Struct", "google/protobuf/struct.proto"},
        {"google.protobuf.Value.kind", "google/protobuf/struct.proto"},
        {"google.protobuf.NullValue", "google/protobuf/struct.proto"},
        {"google.protobuf.NULL_VALUE", "google/protobuf/struct.proto"},
        {"grpc.health.v1.HealthCheckResponse.ServingStatus", "grpc/health/v1/health.proto"},
        {"grpc.health.v1.HealthCheckResponse.SERVING", "grpc/health/v1/health.proto"},
        {"grpc.reflection.v1alpha.ServerReflection", "grpc/reflection/v1alpha/reflection.proto"},
        {"grpc.reflection.v1.ServerReflection", "grpc/reflection/v1/reflection.proto"},
        {"", NULL},
        {".", NULL},
        {"varve", NULL},
        {"varve.v1", NULL},
        {"varve.v1.", NULL},
        {"varve.v1.K", NULL},
        {"varve.v1.Kv.", NULL},
        {"varve.v1.Kv.Pu", NULL},
        {"varve.v1.Kv.Put.x", NULL},
        {"varve.v1.Nothing", NULL},
        {"storage.DataRecord.nothing", NULL},
        {"Kv", NULL},
    };
    vv_slice set = descriptors_builtin(), file;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        bool found = descriptors_file_of_symbol(set, vv_slice_str(cases[i].symbol), &file);
        if (found != (cases[i].file != NULL) ||
            (found && !vv_slice_eq(name_of(file), vv_slice_str(cases[i].file))))
            fail_msg("%s", cases[i].symbol);
    }
    assert_true(descriptors_has_service(set, vv_slice_str("varve.v1.Kv")));
    assert_false(descriptors_has_service(set, vv_slice_str("varve.v1.PutRequest")));
    assert_true(descriptors_is_message(set, vv_slice_str("varve.v1.PutRequest")));
    assert_false(descriptors_is_message(set, vv_slice_str("varve.v1.Kv")));
}

static void test_a_file_comes_with_what_it_imports(void **state)
{
    (void)state;
    vv_slice set = descriptors_builtin(), file, files[DESCRIPTORS_FILES_MAX];
    assert_true(descriptors_file(set, vv_slice_str("storage/ingestion.proto"), &file));
    size_t count = descriptors_closure(set, file, files);
    assert_true(count >= 4);
    assert_ptr_equal(files[0].data, file.data);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < i; k++)
            assert_ptr_not_equal(files[i].data, files[k].data);
    assert_false(descriptors_file(set, vv_slice_str("storage/nothing.proto"), &file));
}

/* A damaged set must not crash: every prefix, and every byte turned. */
static void test_damaged_sets_are_harmless(void **state)
{
    (void)state;
    vv_slice whole = descriptors_builtin(), file, files[DESCRIPTORS_FILES_MAX];
    uint8_t *copy = malloc(whole.len);
    assert_non_null(copy);
    memcpy(copy, whole.data, whole.len);
    for (size_t i = 0; i < whole.len; i += 7) {
        vv_slice cut = vv_slice_of(copy, i);
        (void)descriptors_file_of_symbol(cut, vv_slice_str("varve.v1.Kv.Nothing"), &file);
        copy[i] ^= 0xff;
        vv_slice turned = vv_slice_of(copy, whole.len);
        if (descriptors_file_of_symbol(turned, vv_slice_str("varve.v1.Kv.Put"), &file))
            (void)descriptors_closure(turned, file, files);
        copy[i] ^= 0xff;
    }
    free(copy);
}

typedef Grpc__Reflection__V1__ServerReflectionRequest request;
typedef Grpc__Reflection__V1__ServerReflectionResponse response;

/* Both versions have the same bytes. Free the answer with free_unpacked. */
static response *ask(svc_suite *s, cli_stream *stream, request *req)
{
    vv_buf bytes;
    vv_buf_init(&bytes, 4096);
    uint8_t *to = vv_buf_reserve(&bytes, protobuf_c_message_get_packed_size(&req->base) + 1);
    assert_non_null(to);
    vv_buf_advance(&bytes, protobuf_c_message_pack(&req->base, to));
    assert_ok(cli_stream_send(stream, vv_buf_slice(&bytes), &s->err), s->err);
    vv_buf_fini(&bytes);
    assert_ok(cli_stream_receive(stream, true, &s->reply, &s->err), s->err);
    response *res =
        grpc__reflection__v1__server_reflection_response__unpack(NULL, s->reply.len, s->reply.data);
    assert_non_null(res);
    assert_non_null(res->original_request);
    assert_string_equal(res->valid_host, "here");
    return res;
}

static void check_services(svc_suite *s, cli_stream *stream)
{
    request req = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
    req.host = (char *)(uintptr_t) "here";
    req.message_request_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES;
    req.list_services = (char *)(uintptr_t) "";
    response *res = ask(s, stream, &req);
    assert_int_equal(
        res->message_response_case,
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE);
    bool kv = false;
    for (size_t i = 0; i < res->list_services_response->n_service; i++)
        kv = kv || strcmp(res->list_services_response->service[i]->name, "varve.v1.Kv") == 0;
    assert_true(kv);
    grpc__reflection__v1__server_reflection_response__free_unpacked(res, NULL);
}

static void check_symbol(svc_suite *s, cli_stream *stream, const char *symbol, bool known)
{
    request req = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
    req.host = (char *)(uintptr_t) "here";
    req.message_request_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL;
    req.file_containing_symbol = (char *)(uintptr_t)symbol;
    response *res = ask(s, stream, &req);
    if (known) {
        assert_true(res->file_descriptor_response->n_file_descriptor_proto >= 1);
    } else {
        assert_int_equal(
            res->message_response_case,
            GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE);
        assert_int_equal(res->error_response->error_code, 5);
    }
    grpc__reflection__v1__server_reflection_response__free_unpacked(res, NULL);
}

static void test_both_versions_over_the_wire(void **state)
{
    (void)state;
    static const char *const methods[] = {
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    };
    svc_suite s;
    svc_suite_start(&s, NULL);
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        cli_stream *stream;
        assert_ok(cli_stream_open(s.conn, methods[i], 0, &stream, &s.err), s.err);
        check_services(&s, stream);
        check_symbol(&s, stream, "varve.v1.Kv.Put", true);
        check_symbol(&s, stream, "varve.v1.Nothing", false);
        cli_stream_half_close(stream);
        assert_status(VV_NOT_FOUND, cli_stream_receive(stream, true, &s.reply, &s.err));
        cli_stream_close(stream);
    }
    svc_suite_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_symbols),
        cmocka_unit_test(test_a_file_comes_with_what_it_imports),
        cmocka_unit_test(test_damaged_sets_are_harmless),
        cmocka_unit_test(test_both_versions_over_the_wire),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
