/*
 * cat_map.c - the tables in memory: one record in two hashes, by name and by id.
 *
 * An index id is always its table's id plus one, so the look-up of an id tries both.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/util.h"
#include "catalog/cat_int.h"

#define BUCKETS_MIN 64u

static size_t name_bucket(const char *tenant, const char *name, size_t bucket_count)
{
    uint64_t h = vv_hash64(tenant, strlen(tenant));
    return vv_hash64_seed(name, strlen(name), h) & (bucket_count - 1);
}

static size_t id_bucket(uint32_t id, size_t bucket_count)
{
    return (id * UINT32_C(2654435761)) & (bucket_count - 1);
}

vv_status cat_map_init(cat_map *map, vv_error *err)
{
    *map = (cat_map){.bucket_count = BUCKETS_MIN};
    map->by_name = vv_calloc(BUCKETS_MIN, sizeof(cat_table *));
    map->by_id = vv_calloc(BUCKETS_MIN, sizeof(cat_table *));
    if (map->by_name != NULL && map->by_id != NULL)
        return VV_OK;
    cat_map_fini(map);
    return vv_fail(err, VV_NO_MEMORY, "catalog: no memory");
}

void cat_map_fini(cat_map *map)
{
    for (size_t i = 0; map->by_name != NULL && i < map->bucket_count; i++) {
        cat_table *t = map->by_name[i];
        while (t != NULL) {
            cat_table *next = t->next_by_name;
            cat_table_unref(t);
            t = next;
        }
    }
    vv_free(map->by_name);
    vv_free(map->by_id);
    *map = (cat_map){0};
}

static void link_table(cat_map *map, cat_table *table)
{
    cat_table **head = &map->by_name[name_bucket(table->tenant, table->name, map->bucket_count)];
    table->next_by_name = *head;
    *head = table;
    head = &map->by_id[id_bucket(table->id, map->bucket_count)];
    table->next_by_id = *head;
    *head = table;
}

vv_status cat_map_reserve(cat_map *map, vv_error *err)
{
    if (map->count < map->bucket_count)
        return VV_OK;
    size_t bigger = map->bucket_count * 2;
    cat_map grown = {.bucket_count = bigger};
    grown.by_name = vv_calloc(bigger, sizeof(cat_table *));
    grown.by_id = vv_calloc(bigger, sizeof(cat_table *));
    if (grown.by_name == NULL || grown.by_id == NULL) {
        vv_free(grown.by_name);
        vv_free(grown.by_id);
        return vv_fail(err, VV_NO_MEMORY, "catalog of %zu tables: no memory", map->count);
    }
    for (size_t i = 0; i < map->bucket_count; i++) {
        cat_table *t = map->by_name[i];
        while (t != NULL) {
            cat_table *next = t->next_by_name;
            link_table(&grown, t);
            t = next;
        }
    }
    grown.count = map->count;
    vv_free(map->by_name);
    vv_free(map->by_id);
    *map = grown;
    return VV_OK;
}

void cat_map_add(cat_map *map, cat_table *table)
{
    assert(cat_map_find(map, table->tenant, table->name) == NULL);
    link_table(map, table);
    map->count++;
}

void cat_map_remove(cat_map *map, cat_table *table)
{
    cat_table **at = &map->by_name[name_bucket(table->tenant, table->name, map->bucket_count)];
    while (*at != table)
        at = &(*at)->next_by_name;
    *at = table->next_by_name;
    at = &map->by_id[id_bucket(table->id, map->bucket_count)];
    while (*at != table)
        at = &(*at)->next_by_id;
    *at = table->next_by_id;
    map->count--;
}

cat_table *cat_map_find(const cat_map *map, const char *tenant, const char *name)
{
    cat_table *t = map->by_name[name_bucket(tenant, name, map->bucket_count)];
    while (t != NULL && (strcmp(t->name, name) != 0 || strcmp(t->tenant, tenant) != 0))
        t = t->next_by_name;
    return t;
}

static cat_table *find_exact_id(const cat_map *map, uint32_t id)
{
    cat_table *t = map->by_id[id_bucket(id, map->bucket_count)];
    while (t != NULL && t->id != id)
        t = t->next_by_id;
    return t;
}

cat_table *cat_map_find_id(const cat_map *map, uint32_t id)
{
    cat_table *t = find_exact_id(map, id);
    if (t != NULL)
        return t;
    t = find_exact_id(map, id - 1);
    return t != NULL && t->index_id == id ? t : NULL;
}
