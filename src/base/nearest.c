#include "base/nearest.h"

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
    unsigned m = a < b ? a : b;
    return m < c ? m : c;
}

unsigned vv_name_distance(vv_slice a, vv_slice b, unsigned limit)
{
    if (a.len > VV_NEAREST_MAX || b.len > VV_NEAREST_MAX)
        return limit + 1;
    unsigned row[3][VV_NEAREST_MAX + 1]; /* the rows before, of now, and two before: rotating */
    for (size_t j = 0; j <= b.len; j++)
        row[0][j] = (unsigned)j;
    for (size_t i = 1; i <= a.len; i++) {
        unsigned *now = row[i % 3];
        const unsigned *before = row[(i + 2) % 3];
        const unsigned *before2 = row[(i + 1) % 3];
        unsigned best = now[0] = (unsigned)i;
        for (size_t j = 1; j <= b.len; j++) {
            unsigned differs = a.data[i - 1] != b.data[j - 1];
            now[j] = min3(before[j] + 1, now[j - 1] + 1, before[j - 1] + differs);
            if (i > 1 && j > 1 && a.data[i - 1] == b.data[j - 2] &&
                a.data[i - 2] == b.data[j - 1] && before2[j - 2] + 1 < now[j])
                now[j] = before2[j - 2] + 1;
            best = now[j] < best ? now[j] : best;
        }
        if (best > limit + 1) /* one row may be skipped by a swap, hence not at limit already */
            return limit + 1;
    }
    unsigned d = row[a.len % 3][b.len];
    return d > limit ? limit + 1 : d;
}
