/*
 * crc32c.c - the instruction, one chain below 384 bytes and three chains of 128 bytes above.
 *
 * Three independent chains hide the instruction's latency of three cycles. They are joined by
 * shifting a lane's sum over the bytes behind it, which is a multiplication by x^(8n) modulo the
 * polynomial; n is fixed, so four table look-ups of 256 entries do it (the method of M. Adler's
 * crc32c.c). The portable form is slicing by eight (Kounavis and Berry, 2005).
 */
#include "base/crc32c.h"

#include <pthread.h>
#include <string.h>

#include "base/bytes.h"
#include "base/util.h"

#define POLY UINT32_C(0x82f63b78) /* reflected */
#define LANE 128u

static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint32_t slice_table[8][256];
static uint32_t lane_shift[4][256]; /* shift by LANE zero bytes */
static uint32_t zeros_power[64];    /* x^(8 * 2^n) modulo the polynomial */
static bool have_sse42;

static uint32_t shift_by_zeros(uint32_t crc, size_t bytes)
{
    while (bytes-- > 0)
        crc = (crc >> 8) ^ slice_table[0][crc & 0xff];
    return crc;
}

/* a * b modulo the polynomial; bit 31 is x^0. */
static uint32_t multiply(uint32_t a, uint32_t b)
{
    uint32_t product = 0;
    for (uint32_t bit = UINT32_C(1) << 31; bit != 0; bit >>= 1) {
        product ^= b & (0 - (uint32_t)((a & bit) != 0));
        b = (b >> 1) ^ (POLY & (0 - (b & 1)));
    }
    return product;
}

static void init_once(void)
{
    for (uint32_t n = 0; n < 256; n++) {
        uint32_t crc = n;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc & 1) != 0 ? (crc >> 1) ^ POLY : crc >> 1;
        slice_table[0][n] = crc;
    }
    for (uint32_t n = 0; n < 256; n++)
        for (unsigned k = 1; k < 8; k++)
            slice_table[k][n] =
                (slice_table[k - 1][n] >> 8) ^ slice_table[0][slice_table[k - 1][n] & 0xff];
    for (uint32_t n = 0; n < 256; n++)
        for (unsigned k = 0; k < 4; k++)
            lane_shift[k][n] = shift_by_zeros(n << (8 * k), LANE);
    zeros_power[0] = UINT32_C(1) << 23;
    for (unsigned n = 1; n < 64; n++)
        zeros_power[n] = multiply(zeros_power[n - 1], zeros_power[n - 1]);
#if defined(__x86_64__)
    have_sse42 = __builtin_cpu_supports("sse4.2") != 0;
#endif
}

uint32_t vv_crc32c_portable(uint32_t crc, const void *data, size_t len)
{
    (void)pthread_once(&once, init_once);
    const uint8_t *p = data;
    crc = ~crc;
    for (; len >= 8; len -= 8, p += 8) {
        uint64_t word = vv_get_le64(p) ^ crc;
        crc = 0;
        for (unsigned k = 0; k < 8; k++)
            crc ^= slice_table[7 - k][(word >> (8 * k)) & 0xff];
    }
    for (; len > 0; len--)
        crc = (crc >> 8) ^ slice_table[0][(crc ^ *p++) & 0xff];
    return ~crc;
}

#if defined(__x86_64__)
static uint32_t shift_lane(uint32_t crc)
{
    return lane_shift[0][crc & 0xff] ^ lane_shift[1][(crc >> 8) & 0xff] ^
           lane_shift[2][(crc >> 16) & 0xff] ^ lane_shift[3][crc >> 24];
}

__attribute__((target("sse4.2"))) static uint32_t crc_sse42(uint32_t crc, const uint8_t *p,
                                                            size_t len)
{
    uint64_t a = (uint32_t)~crc;
    for (; len >= 3 * LANE; len -= 3 * LANE, p += 3 * LANE) {
        uint64_t b = 0;
        uint64_t c = 0;
        for (unsigned i = 0; i < LANE; i += 8) {
            a = __builtin_ia32_crc32di(a, vv_get_le64(p + i));
            b = __builtin_ia32_crc32di(b, vv_get_le64(p + LANE + i));
            c = __builtin_ia32_crc32di(c, vv_get_le64(p + 2 * LANE + i));
        }
        a = shift_lane((uint32_t)a) ^ b;
        a = shift_lane((uint32_t)a) ^ c;
    }
    for (; len >= 8; len -= 8, p += 8)
        a = __builtin_ia32_crc32di(a, vv_get_le64(p));
    for (; len > 0; len--)
        a = __builtin_ia32_crc32qi((uint32_t)a, *p++);
    return ~(uint32_t)a;
}
#endif

uint32_t vv_crc32c(uint32_t crc, const void *data, size_t len)
{
    (void)pthread_once(&once, init_once);
#if defined(__x86_64__)
    if (have_sse42)
        return crc_sse42(crc, data, len);
#endif
    return vv_crc32c_portable(crc, data, len);
}

uint32_t vv_crc32c_zeros(uint32_t difference, size_t len)
{
    (void)pthread_once(&once, init_once);
    for (unsigned n = 0; len != 0; n++, len >>= 1)
        if ((len & 1) != 0)
            difference = multiply(zeros_power[n], difference);
    return difference;
}
