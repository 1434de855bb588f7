/*
 * bench_message.h - the messages of the pipeline's benchmarks: 256 bytes as a device would send
 * them, with who sent it and its number at fixed places, so that whoever reads them back knows
 * which one it is.
 */
#ifndef VARVE_BENCH_MESSAGE_H
#define VARVE_BENCH_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/rng.h"

#define BENCH_MESSAGE_SIZE 256u
#define BENCH_PRODUCER_AT 6u /* three digits */
#define BENCH_NUMBER_AT 16u  /* twelve */

/* The same words, other numbers; some 15 random hexadecimal digits, as of a trace. */
static inline void bench_message_make(vv_rng *rng, uint8_t out[BENCH_MESSAGE_SIZE])
{
    char text[BENCH_MESSAGE_SIZE + 128];
    int len = snprintf(
        text, sizeof text,
        "{\"p\":\"000\",\"n\":\"000000000000\",\"device\":\"sensor-%05u\",\"site\":\"plant-%u/"
        "line-%u\","
        "\"temperature\":%u.%02u,\"pressure\":%u.%03u,\"vibration\":[%u,%u,%u],\"state\":\"%s\","
        "\"firmware\":\"v1.%u.%u\",\"trace\":\"%015llx\",\"note\":\"",
        (unsigned)vv_rng_below(rng, 20000), (unsigned)vv_rng_below(rng, 8),
        (unsigned)vv_rng_below(rng, 30), (unsigned)vv_rng_below(rng, 90),
        (unsigned)vv_rng_below(rng, 100), (unsigned)vv_rng_below(rng, 12),
        (unsigned)vv_rng_below(rng, 1000), (unsigned)vv_rng_below(rng, 4000),
        (unsigned)vv_rng_below(rng, 4000), (unsigned)vv_rng_below(rng, 4000),
        vv_rng_one_in(rng, 20) ? "stopped" : "running", (unsigned)vv_rng_below(rng, 4),
        (unsigned)vv_rng_below(rng, 30), (unsigned long long)(vv_rng_next(rng) >> 4));
    memset(text + len, '.', sizeof text - (size_t)len);
    memcpy(out, text, BENCH_MESSAGE_SIZE);
    memcpy(out + BENCH_MESSAGE_SIZE - 2, "\"}", 2);
}

static inline void bench_message_digits(uint8_t *at, unsigned count, uint64_t number)
{
    for (unsigned i = count; i-- > 0; number /= 10)
        at[i] = (uint8_t)('0' + number % 10);
}

static inline void bench_message_number(uint8_t *m, unsigned producer, uint64_t number)
{
    bench_message_digits(m + BENCH_PRODUCER_AT, 3, producer);
    bench_message_digits(m + BENCH_NUMBER_AT, 12, number);
}

/* False: it is none of these messages. */
static inline bool bench_message_read(const uint8_t *m, size_t len, unsigned *producer,
                                      uint64_t *number)
{
    if (len != BENCH_MESSAGE_SIZE || memcmp(m, "{\"p\":\"", BENCH_PRODUCER_AT) != 0)
        return false;
    *producer = 0;
    *number = 0;
    for (unsigned i = 0; i < 3; i++)
        *producer = *producer * 10 + (unsigned)(m[BENCH_PRODUCER_AT + i] - '0');
    for (unsigned i = 0; i < 12; i++)
        *number = *number * 10 + (uint64_t)(m[BENCH_NUMBER_AT + i] - '0');
    return true;
}

#endif
