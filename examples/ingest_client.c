/*
 * ingest_client.c - the smallest whole gRPC client: stream some records in, wait until the server
 * says they are on disk, ask for them back.
 *
 *     ingest_client INGEST_HOST:PORT QUERY_HOST:PORT [COUNT]
 *
 * Any gRPC library in any language does the same with proto/storage/; this one is C over the client
 * of this repository.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/util.h"
#include "client/client.h"
#include "storage/ingestion.pb-c.h"
#include "storage/query.pb-c.h"

#define TIMEOUT_NS (30 * VV_NS_PER_S)

static int fail(const char *what, const vv_error *err)
{
    (void)fprintf(stderr, "ingest_client: %s: %s\n", what, err->msg);
    return EXIT_FAILURE;
}

static vv_status send_packed(cli_stream *stream, const Storage__IngestStreamRequest *request,
                             vv_error *err)
{
    uint8_t bytes[1024];
    size_t len = storage__ingest_stream_request__get_packed_size(request);
    if (len > sizeof bytes)
        return VV_INVALID;
    (void)storage__ingest_stream_request__pack(request, bytes);
    return cli_stream_send(stream, vv_slice_of(bytes, len), err);
}

/* StreamInit: one acknowledgement per group commit instead of one per record. */
static vv_status send_init(cli_stream *stream, vv_error *err)
{
    Storage__TenantID tenant = STORAGE__TENANT_ID__INIT;
    tenant.id = "example";
    Storage__StreamInit__OptionsEntry ack = STORAGE__STREAM_INIT__OPTIONS_ENTRY__INIT;
    ack.key = "ack";
    ack.value = "batch";
    Storage__StreamInit__OptionsEntry *options[] = {&ack};
    Storage__StreamInit init = STORAGE__STREAM_INIT__INIT;
    init.tenant_id = &tenant;
    init.options = options;
    init.n_options = 1;
    Storage__IngestStreamRequest request = STORAGE__INGEST_STREAM_REQUEST__INIT;
    request.request_case = STORAGE__INGEST_STREAM_REQUEST__REQUEST_INIT;
    request.init = &init;
    return send_packed(stream, &request, err);
}

static vv_status send_record(cli_stream *stream, int n, time_t now, vv_error *err)
{
    char id[32];
    (void)snprintf(id, sizeof id, "reading-%06d", n);
    Storage__TenantID tenant = STORAGE__TENANT_ID__INIT;
    tenant.id = "example";
    Storage__EntityID entity = STORAGE__ENTITY_ID__INIT;
    entity.id = id;
    Storage__RecordID record_id = STORAGE__RECORD_ID__INIT;
    record_id.tenant_id = &tenant;
    record_id.entity_id = &entity;
    Google__Protobuf__Value value = GOOGLE__PROTOBUF__VALUE__INIT;
    value.kind_case = GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE;
    value.number_value = 20 + n % 10;
    Google__Protobuf__Struct__FieldsEntry field = GOOGLE__PROTOBUF__STRUCT__FIELDS_ENTRY__INIT;
    field.key = "temperature";
    field.value = &value;
    Google__Protobuf__Struct__FieldsEntry *fields[] = {&field};
    Google__Protobuf__Struct data = GOOGLE__PROTOBUF__STRUCT__INIT;
    data.fields = fields;
    data.n_fields = 1;
    Google__Protobuf__Timestamp timestamp = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
    timestamp.seconds = now + n;
    Storage__DataRecord record = STORAGE__DATA_RECORD__INIT;
    record.id = &record_id;
    record.data = &data;
    record.timestamp = &timestamp;
    Storage__IngestStreamRequest request = STORAGE__INGEST_STREAM_REQUEST__INIT;
    request.request_case = STORAGE__INGEST_STREAM_REQUEST__REQUEST_RECORD;
    request.record = &record;
    return send_packed(stream, &request, err);
}

/* Read until the stream ends; *acked is the last sequence number the server vouched for. */
static vv_status receive_acks(cli_stream *stream, int64_t *acked, vv_error *err)
{
    vv_buf message;
    vv_buf_init(&message, VV_MIB);
    vv_status st;
    while ((st = cli_stream_receive(stream, true, &message, err)) == VV_OK) {
        Storage__IngestStreamResponse *reply =
            storage__ingest_stream_response__unpack(NULL, message.len, message.data);
        if (reply == NULL)
            continue;
        if (reply->response_case == STORAGE__INGEST_STREAM_RESPONSE__RESPONSE_ACK)
            *acked = reply->ack->sequence_number;
        if (reply->response_case == STORAGE__INGEST_STREAM_RESPONSE__RESPONSE_ERROR)
            (void)fprintf(stderr, "record %" PRId64 ": %s\n", reply->error->sequence_number,
                          reply->error->status->message);
        storage__ingest_stream_response__free_unpacked(reply, NULL);
    }
    vv_buf_fini(&message);
    return st == VV_NOT_FOUND ? VV_OK : st; /* VV_NOT_FOUND is the clean end */
}

static int stream_in(cli_conn *conn, int count)
{
    vv_error err = {0};
    cli_stream *stream;
    if (cli_stream_open(conn, "/storage.IngestionService/IngestStream", TIMEOUT_NS, &stream,
                        &err) != VV_OK)
        return fail("open the stream", &err);
    time_t now = time(NULL);
    vv_status st = send_init(stream, &err);
    for (int n = 0; st == VV_OK && n < count; n++)
        st = send_record(stream, n, now, &err);
    cli_stream_half_close(stream);
    int64_t acked = 0;
    if (st == VV_OK)
        st = receive_acks(stream, &acked, &err);
    cli_stream_close(stream);
    if (st != VV_OK)
        return fail("stream", &err);
    (void)printf("%" PRId64 " of %d records are on disk\n", acked, count);
    return acked == count ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int ask_back(cli_conn *conn)
{
    Storage__TenantID tenant = STORAGE__TENANT_ID__INIT;
    tenant.id = "example";
    Storage__EntityID entity = STORAGE__ENTITY_ID__INIT;
    entity.id = "reading-000007";
    Storage__RecordID id = STORAGE__RECORD_ID__INIT;
    id.tenant_id = &tenant;
    id.entity_id = &entity;
    Storage__GetRecordRequest request = STORAGE__GET_RECORD_REQUEST__INIT;
    request.record_id = &id;
    uint8_t bytes[256];
    size_t len = storage__get_record_request__pack(&request, bytes);
    vv_buf reply;
    vv_buf_init(&reply, VV_MIB);
    vv_error err = {0};
    int code = EXIT_FAILURE;
    if (cli_unary(conn, "/storage.QueryService/GetRecord", vv_slice_of(bytes, len), TIMEOUT_NS,
                  &reply, NULL, &err) != VV_OK) {
        code = fail("GetRecord", &err);
    } else {
        Storage__GetRecordResponse *got =
            storage__get_record_response__unpack(NULL, reply.len, reply.data);
        if (got != NULL && got->found && got->record->data->n_fields == 1) {
            (void)printf("reading-000007: %s = %g, version %" PRId64 "\n",
                         got->record->data->fields[0]->key,
                         got->record->data->fields[0]->value->number_value, got->record->version);
            code = EXIT_SUCCESS;
        }
        if (got != NULL)
            storage__get_record_response__free_unpacked(got, NULL);
    }
    vv_buf_fini(&reply);
    return code;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        (void)fprintf(stderr, "usage: ingest_client INGEST_HOST:PORT QUERY_HOST:PORT [COUNT]\n");
        return 2;
    }
    int count = argc > 3 ? atoi(argv[3]) : 10000;
    cli_conn *ingest = NULL;
    cli_conn *query = NULL;
    vv_error err = {0};
    int code = EXIT_FAILURE;
    if (cli_open(argv[1], NULL, &ingest, &err) != VV_OK ||
        cli_open(argv[2], NULL, &query, &err) != VV_OK)
        code = fail("connect", &err);
    else
        code = stream_in(ingest, count);
    if (code == EXIT_SUCCESS)
        code = ask_back(query);
    cli_close(query);
    cli_close(ingest);
    return code;
}
