#include "series_grpc.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/util.h"
#include "client/client.h"
#include "codec/protowire.h"

#define TIMEOUT_NS (60 * VV_NS_PER_S)

struct series_grpc {
    cli_conn *conn;
    vv_buf reply;
};

static void die(const char *why)
{
    (void)fprintf(stderr, "series_load: gRPC: %s\n", why);
    exit(1);
}

series_grpc *series_grpc_open(const char *address, unsigned port)
{
    char text[80];
    vv_error err = {0};
    series_grpc *g = calloc(1, sizeof *g);
    (void)snprintf(text, sizeof text, "%s:%u", address, port);
    if (g == NULL)
        die("there is no memory");
    if (cli_open(text, NULL, &g->conn, &err) != VV_OK)
        die(err.msg);
    vv_buf_init(&g->reply, VV_MIB);
    return g;
}

uint64_t series_grpc_ingest(series_grpc *g, const char *request, size_t len)
{
    cli_result result;
    vv_error err = {0};
    vv_buf_reset(&g->reply);
    if (cli_unary(g->conn, "/varve.v1.Series/IngestSamples", vv_slice_of(request, len), TIMEOUT_NS,
                  &g->reply, &result, &err) != VV_OK)
        die(err.msg);
    wire_reader r = wire_reader_of(vv_buf_slice(&g->reply));
    wire_field f = {0};
    uint64_t accepted = 0;
    while (wire_next(&r, &f) > 0)
        if (f.number == 1 && f.type == WIRE_VARINT)
            accepted = f.value;
    return accepted;
}
