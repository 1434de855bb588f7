/*
 * nearest.h - "did you mean": how far apart two names are.
 */
#ifndef VARVE_BASE_NEAREST_H
#define VARVE_BASE_NEAREST_H

#include "varve/slice.h"

#define VV_NEAREST_MAX 255u /* bytes of a name; longer ones are far from everything */

/** The distance of two names in steps of insert, delete, replace and swap of neighbours (optimal
 * string alignment); limit + 1 for all that is over limit. O(a * b), no memory. */
unsigned vv_name_distance(vv_slice a, vv_slice b, unsigned limit);

#endif
