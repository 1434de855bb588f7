/*
 * cat_suggest.c - "did you mean": the nearest existing name, for the sentence of VV_NOT_FOUND.
 *
 * A suggestion must be within a third of the name's length, else it would be noise. Only tables of
 * the tenant that was asked for are suggested: a message never carries another tenant's table
 * names.
 */
#include <string.h>

#include "base/error.h"
#include "base/nearest.h"
#include "base/util.h"
#include "catalog/cat_int.h"

#define SCAN_MAX 10000u /* names looked at: an error path has a bounded cost too */

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
            unsigned d = vv_name_distance(vv_slice_str(name), vv_slice_str(t->name), best_distance);
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
