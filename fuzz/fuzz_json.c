/*
 * fuzz_json.c - the protobuf JSON mapping, both ways.
 *
 * The first byte chooses the message. Laws: (1) a text that is accepted gives bytes that protobuf-c
 * accepts and that cJSON, which is more lenient, accepts as JSON; (2) the bytes written as JSON and
 * read again are written as the same JSON; (3) arbitrary bytes taken for a message give an error or
 * JSON, never a fault; (4) an OTLP text that is accepted gives bytes that protobuf-c accepts, and
 * that are checked without a fault.
 */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "google/protobuf/struct.pb-c.h"
#include "opentelemetry/proto/collector/logs/v1/logs_service.pb-c.h"
#include "opentelemetry/proto/collector/metrics/v1/metrics_service.pb-c.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.pb-c.h"
#include "otlp/otlp.h"
#include "server/svc_json.h"
#include "storage/ingestion.pb-c.h"
#include "storage/query.pb-c.h"
#include "varve/v1/kv.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OUT_MAX (1u << 20)

static void must(bool condition, const char *law)
{
    if (condition)
        return;
    fprintf(stderr, "broken: %s\n", law);
    abort();
}

static void try_text(const ProtobufCMessageDescriptor *desc, vv_slice text)
{
    static const uint8_t none[1];
    vv_buf wire, json, again, last;
    vv_buf_init(&wire, OUT_MAX);
    vv_buf_init(&json, OUT_MAX);
    vv_buf_init(&again, OUT_MAX);
    vv_buf_init(&last, OUT_MAX);
    if (svc_json_to_wire(desc, text, &wire, NULL) == VV_OK) {
        ProtobufCMessage *m =
            protobuf_c_message_unpack(desc, NULL, wire.len, wire.len == 0 ? none : wire.data);
        must(m != NULL, "protobuf-c accepts what a text became");
        protobuf_c_message_free_unpacked(m, NULL);
        cJSON *tree = cJSON_ParseWithLength((const char *)text.data, text.len);
        must(tree != NULL, "an accepted text is JSON");
        cJSON_Delete(tree);
        if (svc_json_from_wire(desc, vv_buf_slice(&wire), &json, NULL) == VV_OK) {
            must(svc_json_to_wire(desc, vv_buf_slice(&json), &again, NULL) == VV_OK,
                 "what is written can be read");
            must(svc_json_from_wire(desc, vv_buf_slice(&again), &last, NULL) == VV_OK,
                 "and written");
            must(vv_slice_eq(vv_buf_slice(&json), vv_buf_slice(&last)), "as the same text");
        }
    }
    vv_buf_fini(&wire);
    vv_buf_fini(&json);
    vv_buf_fini(&again);
    vv_buf_fini(&last);
}

static void try_bytes(const ProtobufCMessageDescriptor *desc, vv_slice bytes)
{
    vv_buf json;
    vv_buf_init(&json, OUT_MAX);
    if (svc_json_from_wire(desc, bytes, &json, NULL) == VV_OK) {
        cJSON *tree = cJSON_ParseWithLength((const char *)json.data, json.len);
        must(tree != NULL, "bytes become JSON");
        cJSON_Delete(tree);
    }
    vv_buf_fini(&json);
}

static void try_otlp(otlp_signal signal, vv_slice text)
{
    static const uint8_t none[1];
    static const ProtobufCMessageDescriptor *const descs[OTLP_SIGNALS] = {
        [OTLP_TRACES] =
            &opentelemetry__proto__collector__trace__v1__export_trace_service_request__descriptor,
        [OTLP_LOGS] =
            &opentelemetry__proto__collector__logs__v1__export_logs_service_request__descriptor,
        [OTLP_METRICS] =
            &opentelemetry__proto__collector__metrics__v1__export_metrics_service_request__descriptor};
    vv_buf wire;
    otlp_summary sum;
    vv_buf_init(&wire, OUT_MAX);
    if (svc_json_to_wire_otlp(descs[signal], text, &wire, NULL) == VV_OK) {
        ProtobufCMessage *m = protobuf_c_message_unpack(descs[signal], NULL, wire.len,
                                                        wire.len == 0 ? none : wire.data);
        must(m != NULL, "protobuf-c accepts what an OTLP text became");
        protobuf_c_message_free_unpacked(m, NULL);
        (void)!otlp_check(signal, vv_buf_slice(&wire), &sum, NULL);
    }
    vv_buf_fini(&wire);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const ProtobufCMessageDescriptor *const descs[] = {
        &storage__ingest_batch_request__descriptor, &storage__query_request__descriptor,
        &varve__v1__put_request__descriptor,        &google__protobuf__value__descriptor,
        &storage__data_record__descriptor,
    };
    if (size == 0)
        return 0;
    vv_slice in = vv_slice_of(data + 1, size - 1);
    unsigned which = data[0] / 2 % 8;
    if (which >= 5) {
        try_otlp((otlp_signal)(which - 5), in);
        return 0;
    }
    const ProtobufCMessageDescriptor *desc = descs[which];
    if (data[0] % 2 == 0)
        try_text(desc, in);
    else
        try_bytes(desc, in);
    return 0;
}
