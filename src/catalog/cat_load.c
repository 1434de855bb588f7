/*
 * cat_load.c - read the catalog at open, answer questions about all of it, and check it.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/util.h"
#include "catalog/cat_int.h"

/* A cursor over what a system table holds now under keys that begin with tag. */
static vv_status open_tag(engine *eng, uint32_t table_id, uint8_t tag, engine_cursor **out,
                          vv_error *err)
{
    uint8_t lower[5];
    uint8_t upper[5];
    vv_put_be32(lower, table_id);
    vv_put_be32(upper, table_id);
    lower[4] = tag;
    upper[4] = (uint8_t)(tag + 1);
    engine_cursor_options opt = {
        .read = {.version = eng->ops->visible(eng), .now_ns = 0}, /* nothing here expires */
        .lower = vv_slice_of(lower, 5),
        .upper = vv_slice_of(upper, 5),
    };
    engine_cursor *c = NULL;
    vv_status st = eng->ops->cursor(eng, &opt, &c, err);
    if (st != VV_OK)
        return st;
    st = engine_cursor_seek(c, vv_slice_of(NULL, 0), err);
    if (st != VV_OK) {
        engine_cursor_close(c);
        return st;
    }
    *out = c;
    return VV_OK;
}

/* Indexes of runs are opened before and may have all of what is free, so tables that lie on the
 * disk are counted within the share of the part without being asked whether there is room. */
static bool count_loaded(catalog *cat)
{
    vv_budget *b = cat->opt.budget;
    if (vv_budget_reserve(b, VV_BUDGET_INDEX, sizeof(cat_table)))
        return true;
    if ((cat->map.count + 1) * sizeof(cat_table) > b->share[VV_BUDGET_INDEX])
        return false;
    vv_budget_take(b, VV_BUDGET_INDEX, sizeof(cat_table));
    return true;
}

static vv_status add_loaded(catalog *cat, vv_slice value, vv_error *err)
{
    if (!count_loaded(cat))
        return vv_fail(err, VV_BUSY, "the catalog's %zu tables do not fit memory_limit: raise it",
                       cat->map.count);
    cat_table *table = vv_calloc(1, sizeof *table);
    if (table == NULL) {
        vv_budget_release(cat->opt.budget, VV_BUDGET_INDEX, sizeof(cat_table));
        return vv_fail(err, VV_NO_MEMORY, "no memory for a table");
    }
    vv_status st = cat_record_decode(value, table, err);
    table->shard_count = cat->opt.shard_count;
    cat_keep *keep = NULL;
    if (st == VV_OK)
        st = cat_keep_read(table->keep_bytes, &keep, err);
    cat_keep_set(table, keep);
    cat_archive *archive = NULL;
    if (st == VV_OK)
        st = cat_archive_read(table->archive_bytes, &archive, err);
    cat_archive_set(table, archive);
    cat_extract *extract = NULL;
    if (st == VV_OK)
        st = cat_extract_read(table->extract_bytes, &extract, err);
    cat_extract_set(table, extract);
    if (st == VV_OK && table->shard >= cat->opt.shard_count)
        st = vv_fail(err, VV_CORRUPT, "table '%s' lies on shard %u of %u", table->name,
                     table->shard, cat->opt.shard_count);
    if (st == VV_OK && table->partition_count > cat->opt.shard_count)
        st = vv_fail(err, VV_CORRUPT, "table '%s' has %u partitions on %u shards", table->name,
                     table->partition_count, cat->opt.shard_count);
    const char *known = cat->opt.engine[cat_slot(table->id)];
    if (st == VV_OK && (known == NULL || strcmp(known, table->engine) != 0))
        st = vv_fail(err, VV_UNSUPPORTED,
                     "table '%s' is of the engine '%s', which this build does not know at slot %u",
                     table->name, table->engine, cat_slot(table->id));
    if (st == VV_OK)
        st = cat_map_reserve(&cat->map, err);
    if (st == VV_OK && (cat_map_find(&cat->map, table->tenant, table->name) != NULL ||
                        cat_map_find_id(&cat->map, table->id) != NULL))
        st = vv_fail(err, VV_CORRUPT, "table '%s' of tenant '%s' with id %u is there twice",
                     table->name, table->tenant, table->id);
    if (st != VV_OK) {
        vv_budget_release(cat->opt.budget, VV_BUDGET_INDEX, sizeof(cat_table));
        vv_free(table->keep);
        vv_free(table->archive);
        vv_free(table->extract);
        vv_free(table);
        return st;
    }
    atomic_init(&table->refs, 1);
    cat_count_keep(cat, table);
    cat_map_add(&cat->map, table);
    return VV_OK;
}

static vv_status load_tables(catalog *cat, engine *shard0, vv_error *err)
{
    engine_cursor *c = NULL;
    vv_status st = open_tag(shard0, CAT_TABLE_CATALOG, 'T', &c, err);
    while (st == VV_OK && engine_cursor_valid(c)) {
        vv_mutex_lock(&cat->map_lock);
        st = add_loaded(cat, engine_cursor_item(c)->value, err);
        vv_mutex_unlock(&cat->map_lock);
        if (st == VV_OK)
            st = engine_cursor_next(c, err);
    }
    engine_cursor_close(c);
    return st;
}

static vv_status load_next_id(catalog *cat, engine *shard0, vv_error *err)
{
    engine_cursor *c = NULL;
    vv_status st = open_tag(shard0, CAT_TABLE_CATALOG, 'N', &c, err);
    if (st == VV_OK && engine_cursor_valid(c)) {
        vv_slice value = engine_cursor_item(c)->value;
        if (value.len == 4 && vv_get_le32(value.data) >= CAT_TABLE_FIRST)
            cat->next_id = vv_get_le32(value.data);
        else
            st = vv_fail(err, VV_CORRUPT, "the next table id is malformed");
    }
    engine_cursor_close(c);
    return st;
}

vv_status cat_load(catalog *cat, engine *shard0, vv_error *err)
{
    vv_mutex_lock(&cat->ddl_lock);
    vv_status st = load_tables(cat, shard0, err);
    if (st == VV_OK)
        st = load_next_id(cat, shard0, err);
    for (size_t i = 0; st == VV_OK && i < cat->map.bucket_count; i++)
        for (cat_table *t = cat->map.by_name[i]; t != NULL; t = t->next_by_name)
            if (cat_sequence(t->id) + 2 > cat->next_id)
                st = vv_fail(err, VV_CORRUPT, "table '%s' has id %u, but %u is the next to give",
                             t->name, t->id, cat->next_id);
    vv_mutex_unlock(&cat->ddl_lock);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "catalog");
}

static int order_by_name(const void *a, const void *b)
{
    const cat_table *ta = *(cat_table *const *)a;
    const cat_table *tb = *(cat_table *const *)b;
    int c = strcmp(ta->tenant, tb->tenant);
    return c != 0 ? c : strcmp(ta->name, tb->name);
}

vv_status cat_list(catalog *cat, const char *tenant, cat_table ***out, size_t *count, vv_error *err)
{
    size_t n = 0;
    vv_mutex_lock(&cat->map_lock);
    cat_table **list = vv_calloc(cat->map.count + 1, sizeof(cat_table *));
    for (size_t i = 0; list != NULL && i < cat->map.bucket_count; i++) {
        for (cat_table *t = cat->map.by_name[i]; t != NULL; t = t->next_by_name) {
            if (t->state != CAT_READY || (tenant != NULL && strcmp(t->tenant, tenant) != 0))
                continue;
            cat_table_ref(t);
            list[n++] = t;
        }
    }
    vv_mutex_unlock(&cat->map_lock);
    if (list == NULL)
        return vv_fail(err, VV_NO_MEMORY, "list tables: no memory");
    qsort(list, n, sizeof(cat_table *), order_by_name);
    *out = list;
    *count = n;
    return VV_OK;
}

void cat_list_free(cat_table **tables, size_t count)
{
    for (size_t i = 0; i < count; i++)
        cat_table_unref(tables[i]);
    vv_free(tables);
}

size_t cat_count(catalog *cat)
{
    vv_mutex_lock(&cat->map_lock);
    size_t n = cat->map.count;
    vv_mutex_unlock(&cat->map_lock);
    return n;
}

int64_t cat_retention(catalog *cat, uint32_t table_id)
{
    vv_mutex_lock(&cat->map_lock);
    const cat_table *t = cat_map_find_id(&cat->map, table_id);
    int64_t ns = t == NULL ? 0 : t->version_retention_ns;
    vv_mutex_unlock(&cat->map_lock);
    return ns;
}

int64_t cat_kept_from(catalog *cat, uint32_t table_id)
{
    vv_mutex_lock(&cat->map_lock);
    const cat_table *t = cat_map_find_id(&cat->map, table_id);
    int64_t ns = t == NULL ? 0 : t->kept_from_ns;
    vv_mutex_unlock(&cat->map_lock);
    return ns;
}

engine_form cat_form(catalog *cat, uint32_t table_id)
{
    engine_form form = {0};
    vv_mutex_lock(&cat->map_lock);
    const cat_table *t = cat_map_find_id(&cat->map, table_id);
    if (t != NULL)
        form =
            (engine_form){.compression = (engine_compression)t->compression,
                          .value_threshold = (uint32_t)vv_min_u64(t->value_threshold, UINT32_MAX),
                          .is_packed = t->kind == VV_TABLE_SERIES};
    vv_mutex_unlock(&cat->map_lock);
    return form;
}

int64_t cat_retention_max(catalog *cat, uint32_t shard)
{
    int64_t max = 0;
    vv_mutex_lock(&cat->map_lock);
    for (size_t i = 0; i < cat->map.bucket_count; i++)
        for (const cat_table *t = cat->map.by_name[i]; t != NULL; t = t->next_by_name)
            if (cat_table_is_on(t, shard) && t->version_retention_ns > max)
                max = t->version_retention_ns;
    vv_mutex_unlock(&cat->map_lock);
    return max;
}

typedef struct checker {
    void (*finding)(void *ctx, const char *text);
    void *ctx;
    uint64_t count;
} checker;

static void VV_PRINTF(2, 3) find(checker *chk, const char *fmt, ...)
{
    char text[256];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    chk->count++;
    if (chk->finding != NULL)
        chk->finding(chk->ctx, text);
}

/* One OPEN record against the catalog. */
static void check_open(checker *chk, catalog *cat, uint32_t shard, const engine_item *item)
{
    cat_table rec;
    vv_error why;
    if (item->key.len != ENGINE_TABLE_PREFIX + 5) {
        find(chk, "shard %u: OPEN record with a key of %zu bytes", shard, item->key.len);
        return;
    }
    uint32_t id = vv_get_be32(item->key.data + ENGINE_TABLE_PREFIX + 1);
    if (cat_record_decode(item->value, &rec, &why) != VV_OK) {
        find(chk, "shard %u: OPEN record of table %u: %s", shard, id, why.msg);
        return;
    }
    vv_mutex_lock(&cat->map_lock);
    const cat_table *t = cat_map_find_id(&cat->map, id);
    bool is_same = t != NULL && t->id == id && cat_table_is_on(t, shard) && t->kind == rec.kind &&
                   t->shard == rec.shard && t->partition_count == rec.partition_count &&
                   rec.id == id && strcmp(t->name, rec.name) == 0 &&
                   strcmp(t->tenant, rec.tenant) == 0;
    vv_mutex_unlock(&cat->map_lock);
    if (!is_same)
        find(chk, "shard %u: OPEN record of table %u ('%s') has no match in the catalog", shard, id,
             rec.name);
}

static vv_status check_opens(checker *chk, catalog *cat, uint32_t shard, engine *eng, size_t *opens,
                             vv_error *err)
{
    engine_cursor *c = NULL;
    vv_status st = open_tag(eng, CAT_TABLE_SYSTEM, CAT_SYSTEM_OPEN, &c, err);
    while (st == VV_OK && engine_cursor_valid(c)) {
        check_open(chk, cat, shard, engine_cursor_item(c));
        (*opens)++;
        st = engine_cursor_next(c, err);
    }
    engine_cursor_close(c);
    return st;
}

/* READY tables of the shard: each must have its OPEN record. */
static size_t count_ready(catalog *cat, uint32_t shard, size_t *half)
{
    size_t ready = 0;
    vv_mutex_lock(&cat->map_lock);
    for (size_t i = 0; i < cat->map.bucket_count; i++) {
        for (const cat_table *t = cat->map.by_name[i]; t != NULL; t = t->next_by_name) {
            ready += cat_table_is_on(t, shard) && t->state == CAT_READY;
            *half += cat_table_is_on(t, shard) && t->state != CAT_READY;
        }
    }
    vv_mutex_unlock(&cat->map_lock);
    return ready;
}

vv_status cat_check(catalog *cat, uint32_t shard, engine *eng,
                    void (*finding)(void *ctx, const char *text), void *ctx, vv_error *err)
{
    checker chk = {finding, ctx, 0};
    size_t opens = 0;
    size_t half = 0;
    vv_status st = check_opens(&chk, cat, shard, eng, &opens, err);
    if (st != VV_OK)
        return st;
    size_t ready = count_ready(cat, shard, &half);
    /* A half-made table may have its OPEN record or not. */
    if (opens < ready || opens > ready + half)
        find(&chk, "shard %u: %zu OPEN records for %zu tables", shard, opens, ready);
    if (chk.count > 0)
        return vv_fail(err, VV_CORRUPT, "catalog of shard %u: %llu problems", shard,
                       (unsigned long long)chk.count);
    return VV_OK;
}
