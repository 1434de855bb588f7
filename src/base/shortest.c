/*
 * shortest.c - shortest digits of doubles of everyday size, by integers of 128 bits.
 *
 *     value = m * 2^e,  scaled = value * 10^p in [10^16, 10^17): its whole part has 17 digits
 *     exact = m * 5^p            scaled = exact / 2^s,  s = -(e + p)
 *
 * m has 53 bits and 5^p at most 47, so `exact` has no error, and neither has a comparison with the
 * ends of what rounds to value: exact -+ 5^p / 2. No table of powers is needed beyond 5^20; what
 * lies outside the range is rare and left to the C library.
 */
#include "base/shortest.h"

#include <assert.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#define LOWEST 1e-4
#define LIMIT 1e15
#define TEN_16 UINT64_C(10000000000000000)
#define POWERS 21u

typedef unsigned __int128 wide;

static const uint64_t five[POWERS] = {UINT64_C(1),
                                      UINT64_C(5),
                                      UINT64_C(25),
                                      UINT64_C(125),
                                      UINT64_C(625),
                                      UINT64_C(3125),
                                      UINT64_C(15625),
                                      UINT64_C(78125),
                                      UINT64_C(390625),
                                      UINT64_C(1953125),
                                      UINT64_C(9765625),
                                      UINT64_C(48828125),
                                      UINT64_C(244140625),
                                      UINT64_C(1220703125),
                                      UINT64_C(6103515625),
                                      UINT64_C(30517578125),
                                      UINT64_C(152587890625),
                                      UINT64_C(762939453125),
                                      UINT64_C(3814697265625),
                                      UINT64_C(19073486328125),
                                      UINT64_C(95367431640625)};

typedef struct scaled {
    uint64_t m;
    uint64_t unit;  /* 5^p: the distance of two doubles there, like exact */
    wide exact;     /* of the value */
    unsigned s;     /* binary places behind the point */
    uint64_t whole; /* exact >> s */
    bool is_power;  /* of two: the next lower double is nearer */
} scaled;

static void scale(double value, int exponent, scaled *out)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    int e = (int)(bits >> 52 & 0x7ff) - 1075;
    int p = 16 - exponent;
    assert(p >= 2 && p < (int)POWERS && e + p < 0);
    uint64_t fraction = bits & ((UINT64_C(1) << 52) - 1);
    out->m = fraction | UINT64_C(1) << 52;
    out->is_power = fraction == 0;
    out->unit = five[p];
    out->exact = (wide)out->m * out->unit;
    out->s = (unsigned)-(e + p);
    out->whole = (uint64_t)(out->exact >> out->s);
}

/* The value without its last digits, `cut` a power of ten: half goes to even. In units of cut. */
static uint64_t rounded(const scaled *v, uint64_t cut)
{
    uint64_t q = v->whole / cut;
    wide rest = v->exact - ((wide)(q * cut) << v->s);
    wide half = (wide)cut << (v->s - 1);
    return q + (rest > half || (rest == half && (q & 1) != 0));
}

/* Would digits, in units of the 17th, be read as the value? */
static bool reads_back(const scaled *v, uint64_t digits)
{
    wide at = (wide)digits << v->s;
    bool is_below = at < v->exact;
    wide twice = 2 * (is_below ? v->exact - at : at - v->exact);
    if (is_below && v->is_power)
        twice *= 2;
    return twice < v->unit || (twice == v->unit && (v->m & 1) == 0);
}

static void put_digits(uint64_t n, int exponent, vv_digits *out)
{
    char text[VV_DIGITS_MAX + 1];
    unsigned at = sizeof text;
    while (n % 10 == 0)
        n /= 10;
    for (; n > 0; n /= 10)
        text[--at] = (char)('0' + n % 10);
    out->count = (unsigned)sizeof text - at;
    assert(out->count <= VV_DIGITS_MAX);
    memcpy(out->digit, text + at, out->count);
    out->exponent = exponent;
}

bool vv_shortest(double value, vv_digits *out)
{
    scaled v;
    value = fabs(value);
    if (!(value >= LOWEST && value < LIMIT))
        return false;
    int exponent = (int)floor(log10(value)); /* one off at most */
    exponent = exponent < -4 ? -4 : exponent > 14 ? 14 : exponent;
    scale(value, exponent, &v);
    if (v.whole >= 10 * TEN_16 && exponent < 14)
        scale(value, ++exponent, &v);
    else if (v.whole < TEN_16 && exponent > -4)
        scale(value, --exponent, &v);
    for (uint64_t cut = 100;; cut /= 10) {
        uint64_t n = rounded(&v, cut) * cut;
        if (cut > 1 && !reads_back(&v, n))
            continue;
        if (n == 10 * TEN_16) { /* rounded up to the next power of ten */
            n /= 10;
            exponent++;
        }
        put_digits(n, exponent, out);
        return true;
    }
}

size_t vv_digits_text(const vv_digits *d, bool is_negative, char *out)
{
    static const char zeros[] = {'0', '.', '0', '0', '0', '0'};
    size_t at = 0;
    int count = (int)d->count;
    int point = d->exponent + 1; /* digits in front of it */
    assert(point > -4 && point <= 15);
    if (is_negative)
        out[at++] = '-';
    if (point <= 0) {
        memcpy(out + at, zeros, sizeof zeros);
        at += (size_t)(2 - point);
        memcpy(out + at, d->digit, d->count);
        return at + d->count;
    }
    for (int i = 0; i < point || i < count; i++) {
        if (i == point)
            out[at++] = '.';
        out[at++] = i < count ? d->digit[i] : '0';
    }
    return at;
}
