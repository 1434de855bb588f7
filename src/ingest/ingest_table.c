/*
 * ingest_table.c - which table a record goes to, remembered by each worker.
 *
 * A worker asks the server once for (identity, tenant, table) and keeps the answer: most records
 * repeat the one before. Identities are compared byte for byte, so what one may write serves no
 * other. The handle is counted: items on their way hold it when the cache lets go.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "ingest/ingest_int.h"

void ingest_table_ref(ingest_table *table)
{
    atomic_fetch_add_explicit(&table->refs, 1, memory_order_relaxed);
}

void ingest_table_unref(ingest_table *table)
{
    if (atomic_fetch_sub_explicit(&table->refs, 1, memory_order_acq_rel) != 1)
        return;
    vv_table_close(table->table);
    vv_free(table);
}

void ingest_table_cache_clear(ingest_table_cache *cache)
{
    for (uint32_t i = 0; i < INGEST_TABLE_BUCKETS; i++)
        for (ingest_table *t = cache->bucket[i], *next; t != NULL; t = next) {
            next = t->next;
            ingest_table_unref(t);
        }
    *cache = (ingest_table_cache){.count = 0};
}

static bool is_it(const ingest_table *t, vv_slice identity, vv_slice tenant, vv_slice name)
{
    const uint8_t *text = t->text;
    if (t->identity_len != identity.len || t->tenant_len != tenant.len || t->name_len != name.len)
        return false;
    return vv_slice_eq(vv_slice_of(text, t->identity_len), identity) &&
           vv_slice_eq(vv_slice_of(text + t->identity_len, t->tenant_len), tenant) &&
           vv_slice_eq(vv_slice_of(text + t->identity_len + t->tenant_len, t->name_len), name);
}

static void forget(ingest_table_cache *cache, ingest_table *gone)
{
    ingest_table **at = &cache->bucket[gone->hash % INGEST_TABLE_BUCKETS];
    while (*at != gone)
        at = &(*at)->next;
    *at = gone->next;
    cache->count--;
    if (cache->last == gone)
        cache->last = NULL;
    ingest_table_unref(gone);
}

static vv_status make(ingest_pipeline *p, vv_table *table, vv_slice identity, vv_slice tenant,
                      vv_slice name, ingest_table **out, vv_error *err)
{
    vv_table_info info;
    vv_status st = vv_table_identify(table, &info, err);
    if (st != VV_OK)
        return st;
    if (info.kind != VV_TABLE_RECORD)
        return vv_fail(err, VV_INVALID, "table '%s' of tenant '%s' does not hold records",
                       info.name, info.tenant);
    ingest_table *t = vv_alloc(sizeof *t + identity.len + tenant.len + name.len);
    if (t == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for a table");
    *t = (ingest_table){.table = table,
                        .tenant = ingest_tenant_get(p, vv_slice_str(info.tenant)),
                        .refs = 1,
                        .identity_len = (uint32_t)identity.len,
                        .tenant_len = (uint32_t)tenant.len,
                        .name_len = (uint32_t)name.len};
    const vv_slice parts[] = {identity, tenant, name};
    uint8_t *to = t->text;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        if (parts[i].len > 0)
            memcpy(to, parts[i].data, parts[i].len);
        to += parts[i].len;
    }
    *out = t;
    return VV_OK;
}

vv_status ingest_table_find(ingest_worker *w, ingest_producer *producer, vv_slice tenant,
                            vv_slice name, ingest_table **out, vv_error *err)
{
    ingest_table_cache *cache = &w->cache;
    vv_slice identity = vv_slice_of(producer->identity, producer->identity_len);
    ingest_table *t = cache->last;
    if (t == NULL || !is_it(t, identity, tenant, name)) {
        uint64_t hash = vv_hash64(tenant.data, tenant.len);
        hash = vv_hash64_seed(name.data, name.len, hash);
        t = cache->bucket[hash % INGEST_TABLE_BUCKETS];
        while (t != NULL && !is_it(t, identity, tenant, name))
            t = t->next;
    }
    if (t != NULL && VV_UNLIKELY(atomic_load_explicit(&t->stale, memory_order_acquire))) {
        forget(cache, t);
        t = NULL;
    }
    if (t == NULL) {
        vv_table *table = NULL;
        vv_status st = producer->ops->resolve(producer->ctx, tenant, name, &table, err);
        if (st != VV_OK)
            return st;
        st = make(w->p, table, identity, tenant, name, &t, err);
        if (st != VV_OK) {
            vv_table_close(table);
            return st;
        }
        if (cache->count == INGEST_TABLES_MAX)
            ingest_table_cache_clear(cache);
        t->hash = vv_hash64_seed(name.data, name.len, vv_hash64(tenant.data, tenant.len));
        t->next = cache->bucket[t->hash % INGEST_TABLE_BUCKETS];
        cache->bucket[t->hash % INGEST_TABLE_BUCKETS] = t;
        cache->count++;
    }
    cache->last = t;
    *out = t;
    return VV_OK;
}
