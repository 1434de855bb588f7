/*
 * http_text.c - the words behind HTTP status codes, and the body of every refusal.
 */
#include "base/error.h"
#include "query/struct_json.h"
#include "server/srv_int.h"

const char *http_reason(int status)
{
    static const struct {
        int status;
        const char *text;
    } rows[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {499, "Client Closed Request"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {507, "Insufficient Storage"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].status == status)
            return rows[i].text;
    return "Unknown";
}

int http_grpc_code(int status)
{
    switch (status) {
    case 404:
        return GRPC_NOT_FOUND;
    case 408:
        return GRPC_DEADLINE_EXCEEDED;
    case 413:
    case 414:
    case 429:
    case 431:
    case 507:
        return GRPC_RESOURCE_EXHAUSTED;
    case 501:
    case 505:
        return GRPC_UNIMPLEMENTED;
    default:
        return status < 500 ? GRPC_INVALID_ARGUMENT : GRPC_INTERNAL;
    }
}

void srv_error_body(vv_buf *out, int grpc_code, const char *status, const char *message)
{
    if (status == NULL)
        status = grpc_code == GRPC_CANCELLED ? "CANCELLED"
                                             : vv_status_name(vv_status_of_grpc(grpc_code));
    vv_buf_printf(out, "{\"error\":{\"code\":%d,\"status\":\"%s\",\"message\":", grpc_code, status);
    json_put_string(out, vv_slice_str(message == NULL ? status : message));
    vv_buf_append_str(out, "}}\n");
}
