/*
 * shortest.h - the fewest digits that read back as the same double, without printf and strtod.
 */
#ifndef VARVE_BASE_SHORTEST_H
#define VARVE_BASE_SHORTEST_H

#include <stdbool.h>
#include <stddef.h>

#define VV_DIGITS_MAX 17u

/* digit[0].digit[1]digit[2]... times 10^exponent; the last digit is not '0'. */
typedef struct vv_digits {
    char digit[VV_DIGITS_MAX];
    unsigned count; /* 1..VV_DIGITS_MAX */
    int exponent;
} vv_digits;

/**
 * The digits of |value|: rounded to 15, else 16, else 17 as printf rounds, the first of them that
 * reads back the same; zeros at the end left out.
 *
 * @return false when value is not in [1e-4, 1e15): print it with the library. O(1), exact.
 */
bool vv_shortest(double value, vv_digits *out);

#define VV_DIGITS_TEXT 24u /* bytes of any text */

/** The number in plain decimal, "-0.25", for an exponent of -4..14; no 0 behind. Returns the bytes
 * written. */
size_t vv_digits_text(const vv_digits *d, bool is_negative, char *out);

#endif
