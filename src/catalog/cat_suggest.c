/*
 * cat_suggest.c - "did you mean": the nearest existing name, for the sentence of VV_NOT_FOUND.
 *
 * Distance is optimal string alignment (insert, delete, replace, swap of neighbours). A suggestion
 * must be within a third of the name's length, else it would be noise. Only tables of the tenant
 * that was asked for are suggested: a message never carries another tenant's table names.
 */
#include <string.h>

#include "base/error.h"
#include "base/util.h"
#include "catalog/cat_int.h"

#define SCAN_MAX 10000u /* names looked at: an error path has a bounded cost too */

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
    unsigned m = a < b ? a : b;
    return m < c ? m : c;
}

unsigned cat_name_distance(const char *a, const char *b, unsigned limit)
{
    size_t a_len = strlen(a);
    size_t b_len = strlen(b);
    if (a_len > VV_NAME_MAX || b_len > VV_NAME_MAX)
        return limit + 1;
    unsigned row[3][VV_NAME_MAX + 1]; /* the rows before, of now, and two before: rotating */
    for (size_t j = 0; j <= b_len; j++)
        row[0][j] = (unsigned)j;
    for (size_t i = 1; i <= a_len; i++) {
        unsigned *now = row[i % 3];
        const unsigned *before = row[(i + 2) % 3];
        const unsigned *before2 = row[(i + 1) % 3];
        unsigned best = now[0] = (unsigned)i;
        for (size_t j = 1; j <= b_len; j++) {
            unsigned differs = a[i - 1] != b[j - 1];
            now[j] = min3(before[j] + 1, now[j - 1] + 1, before[j - 1] + differs);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before2[j - 2] + 1 < now[j])
                now[j] = before2[j - 2] + 1;
            best = now[j] < best ? now[j] : best;
        }
        if (best > limit + 1) /* one row may be skipped by a swap, hence not at limit already */
            return limit + 1;
    }
    unsigned d = row[a_len % 3][b_len];
    return d > limit ? limit + 1 : d;
}

vv_status cat_fail_not_found(const cat_map *map, const char *tenant, const char *name,
                             vv_error *err)
{
    unsigned best_distance = (unsigned)strlen(name) / 3 + 1;
    const cat_table *best = NULL;
    bool has_tenant = false;
    size_t seen = 0;
    for (size_t i = 0; i < map->bucket_count && seen < SCAN_MAX; i++) {
        for (const cat_table *t = map->by_name[i]; t != NULL; t = t->next_by_name) {
            seen++;
            if (strcmp(t->tenant, tenant) != 0 || t->state != CAT_READY)
                continue;
            has_tenant = true;
            unsigned d = cat_name_distance(name, t->name, best_distance);
            /* Equal distance: the smaller name, so that the sentence does not depend on hashes. */
            if (d < best_distance ||
                (d == best_distance && best != NULL && strcmp(t->name, best->name) < 0)) {
                best_distance = d;
                best = t;
            }
        }
    }
    if (best != NULL)
        return vv_fail(err, VV_NOT_FOUND,
                       "table '%s' of tenant '%s' does not exist: did you mean '%s'?", name, tenant,
                       best->name);
    return vv_fail(err, VV_NOT_FOUND, "table '%s' of tenant '%s' does not exist%s", name, tenant,
                   has_tenant ? "" : ": the tenant has no tables");
}
