/*
 * series_grpc.h - IngestSamples for series_load: one connection, one request at a time. A failure
 * ends the program with a sentence.
 */
#ifndef VARVE_BENCH_SERIES_SERIES_GRPC_H
#define VARVE_BENCH_SERIES_SERIES_GRPC_H

#include <stddef.h>
#include <stdint.h>

typedef struct series_grpc series_grpc;

/** Connects when the first request is sent; lasts as long as the program. */
series_grpc *series_grpc_open(const char *address, unsigned port);
/** Send an IngestSamplesRequest; returns how many samples its answer vouches for. */
uint64_t series_grpc_ingest(series_grpc *g, const char *request, size_t len);

#endif
