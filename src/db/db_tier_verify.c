/*
 * db_tier_verify.c - is in the object store what a table knows to be there?
 *
 * Each entry's object is looked for, its size and checksum as the store tells them are compared,
 * its index and footer are read and held against the entry; `whole` reads every byte. Nothing comes
 * from the cache. What is missing or differs is a finding; a store that does not answer ends the
 * walk.
 */
#include <stdarg.h>
#include <stdio.h>

#include "base/error.h"
#include "db/db_tier_read.h"

typedef struct verifier {
    const vv_table *table;
    vv_object_store *store;
    bool whole;
    void (*finding)(void *ctx, const char *text);
    void *ctx;
    uint32_t partition;
    const arch_entry *entry; /* being looked at */
    uint64_t found;
} verifier;

static void VV_PRINTF(2, 3) find(verifier *v, const char *fmt, ...)
{
    char text[400];
    char full[1100];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (v->entry == NULL)
        (void)snprintf(full, sizeof full, "stream '%s' partition %u: %s", v->table->cat->name,
                       v->partition, text);
    else
        (void)snprintf(full, sizeof full,
                       "stream '%s' partition %u: object '%s', offsets %llu to %llu: %s",
                       v->table->cat->name, v->partition, v->entry->name,
                       (unsigned long long)v->entry->holds.first,
                       (unsigned long long)v->entry->holds.next, text);
    v->found++;
    v->finding(v->ctx, full);
}

static void find_in_object(void *ctx, const char *text)
{
    find(ctx, "%s", text);
}

/* VV_OK: it was looked at, or what keeps one from it is a finding. */
static vv_status take(verifier *v, vv_status st, const vv_error *why, vv_error *err)
{
    if (st == VV_NOT_FOUND)
        find(v, "%s has no such object%s", vv_object_store_name(v->store),
             strstr(why->msg, ".varve/sum") == NULL ? "" : ", its sum in .varve/sum is gone");
    else if (st == VV_CORRUPT || st == VV_UNSUPPORTED)
        find(v, "%s", why->msg);
    else if (st != VV_OK)
        return vv_fail(err, st, "object '%s': %s", v->entry->name, why->msg);
    return VV_OK;
}

static void check_owner(verifier *v, const arch_identity *who)
{
    const cat_table *cat = v->table->cat;
    if (strcmp(who->tenant, cat->tenant) != 0 || strcmp(who->table, cat->name) != 0 ||
        who->partition != v->partition || who->partition_count != cat->partition_count)
        find(v, "it is of partition %u of %u of table '%s' of tenant '%s'", who->partition,
             who->partition_count, who->table, who->tenant);
    else if (who->table_id != 0 && !v->table->db->identity.is_attached &&
             (who->table_id != cat->id || who->table_made_ns != cat->created_ns))
        find(v, "it is of another table of that name, which was dropped");
}

static vv_status check_bytes(verifier *v, vv_error *why)
{
    const arch_summary *holds = &v->entry->holds;
    db_tier_source from = {.objects = v->store, .name = v->entry->name};
    arch_reader *r = NULL;
    vv_status st = arch_reader_open(db_tier_source_of(&from, holds->size), holds->index_at,
                                    holds->index_len, &r, why);
    if (st == VV_OK)
        st = db_tier_check_identity(r, v->entry, why);
    if (st == VV_OK) {
        check_owner(v, arch_reader_who(r));
        if (v->whole)
            st = arch_reader_verify(r, find_in_object, v, why);
        if (st == VV_CORRUPT) /* each was told */
            st = VV_OK;
    }
    arch_reader_close(r);
    return st;
}

static vv_status check_object(verifier *v, const arch_entry *entry, vv_error *err)
{
    vv_budget *budget = &v->table->db->budget;
    uint64_t memory = db_tier_memory(entry);
    vv_object_info info = {.size = 0};
    vv_object_outcome outcome = {.attempts = 0};
    vv_error why = {0};
    if (!vv_budget_reserve(budget, VV_BUDGET_QUERY, memory))
        return vv_fail(err, VV_BUSY, "memory_limit leaves no %llu bytes to read object '%s' with",
                       (unsigned long long)memory, entry->name);
    v->entry = entry;
    vv_status st = vv_object_head(v->store, entry->name, &info, &outcome, &why);
    if (st == VV_OK && info.size != entry->holds.size)
        find(v, "it has %llu bytes instead of %llu", (unsigned long long)info.size,
             (unsigned long long)entry->holds.size);
    else if (st == VV_OK && info.has_crc && info.crc32c != entry->holds.crc32c)
        find(v, "its crc32c is %08x instead of %08x", info.crc32c, entry->holds.crc32c);
    else if (st == VV_OK)
        st = check_bytes(v, &why);
    st = take(v, st, &why, err);
    v->entry = NULL;
    vv_budget_release(budget, VV_BUDGET_QUERY, memory);
    return st;
}

/* The object at or behind *at, which is behind it then. VV_NOT_FOUND: there is none. */
static vv_status check_next(verifier *v, uint64_t *at, vv_error *err)
{
    db_stream_reader r;
    arch_entry entry;
    vv_status st = db_stream_reader_open(&r, v->table, v->partition, NULL, NULL, err);
    if (st == VV_OK) {
        *at = vv_max_u64(*at, r.first);
        st = db_tier_entry_from(&r, *at, &entry, err);
    }
    uint64_t begin = st == VV_OK ? entry.holds.first : r.local;
    if ((st == VV_OK || st == VV_NOT_FOUND) && begin > *at && *at < r.local)
        find(v, "offsets %llu to %llu are in no object", (unsigned long long)*at,
             (unsigned long long)vv_min_u64(begin, r.local));
    if (st == VV_OK) {
        *at = entry.holds.next;
        st = check_object(v, &entry, err);
    }
    db_stream_reader_close(&r);
    return st;
}

vv_status db_tier_verify_one(vv_table *table, bool whole, db_tier_place *place,
                             void (*finding)(void *ctx, const char *text), void *ctx,
                             uint64_t *found, vv_error *err)
{
    verifier v = {.table = table,
                  .whole = whole,
                  .finding = finding,
                  .ctx = ctx,
                  .partition = place->partition,
                  .entry = NULL};
    vv_status st = db_stream_check_part(table, 0, err);
    if (st == VV_OK)
        st = db_tier_store(table->db, &v.store, err);
    if (st == VV_OK && place->partition >= table->cat->partition_count)
        return VV_NOT_FOUND;
    if (st == VV_OK)
        st = check_next(&v, &place->at, err);
    if (st == VV_NOT_FOUND) {
        *place = (db_tier_place){.partition = place->partition + 1};
        st = VV_OK;
    }
    *found += v.found;
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "verify stream '%s'", table->cat->name);
}

vv_status vv_tier_verify(vv_table *table, bool whole, void (*finding)(void *ctx, const char *text),
                         void *ctx, vv_error *err)
{
    db_tier_place place = {.partition = 0};
    uint64_t found = 0;
    vv_status st = VV_OK;
    while (st == VV_OK)
        st = db_tier_verify_one(table, whole, &place, finding, ctx, &found, err);
    if (st != VV_NOT_FOUND || found == 0)
        return st == VV_NOT_FOUND ? VV_OK : st;
    return vv_fail(
        err, VV_CORRUPT,
        "verify stream '%s': findings: %llu: objects are missing or not as the table has "
        "them: put back from a copy what is named, then verify again",
        table->cat->name, (unsigned long long)found);
}
