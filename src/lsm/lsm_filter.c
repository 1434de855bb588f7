/*
 * lsm_filter.c - the eight bits of a key. The multipliers are frozen: they are part of the format.
 */
#include "lsm/lsm_filter.h"

#include "base/bytes.h"
#include "base/util.h"

static const uint32_t multiplier[8] = {
    0x47b6137bu, 0x44974d91u, 0x8824ad5bu, 0xa2b7289du,
    0x705495c7u, 0x2df1424bu, 0x9efc4947u, 0x5c6bfb31u,
};

uint32_t lsm_filter_lines(uint64_t count, unsigned bits_per_key)
{
    uint64_t lines = (count * bits_per_key + LSM_FILTER_LINE * 8 - 1) / (LSM_FILTER_LINE * 8);
    return (uint32_t)vv_min_u64(vv_max_u64(lines, 1), UINT32_MAX);
}

static inline uint64_t bit_of(uint64_t hash, unsigned i)
{
    return UINT64_C(1) << ((uint32_t)hash * multiplier[i] >> 26);
}

void lsm_filter_add(uint8_t *lines, uint32_t line_count, uint64_t hash)
{
    uint8_t *line = lines + LSM_FILTER_LINE * ((hash >> 32) * line_count >> 32);
    for (unsigned i = 0; i < 8; i++)
        vv_put_le64(line + 8 * i, vv_get_le64(line + 8 * i) | bit_of(hash, i));
}

bool lsm_filter_test(const uint8_t *line, uint64_t hash)
{
    uint64_t missing = 0; /* without branches: they would be guessed wrong half of the time */
    for (unsigned i = 0; i < 8; i++)
        missing |= bit_of(hash, i) & ~vv_get_le64(line + 8 * i);
    return missing == 0;
}
