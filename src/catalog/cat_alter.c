/*
 * cat_alter.c - change what a table keeps: one entry with its new record, and memory after it.
 *
 * What is to be is held against the same rules as a new table. Everything that can fail is done
 * before the entry; a failure leaves the table as it was.
 *
 * A retention that grows cannot bring back what is gone: kept_from_ns says since when the longer
 * one holds. Versions are kept by it from the moment before that time is taken, so that no flush
 * under way lets go of one behind it.
 */
#include "base/alloc.h"
#include "base/error.h"
#include "base/options.h"
#include "base/point.h"
#include "base/util.h"
#include "catalog/cat_int.h"

#define KV (1u << VV_TABLE_KV | 1u << VV_TABLE_RECORD)
#define SERIES (1u << VV_TABLE_SERIES)
#define STREAM (1u << VV_TABLE_STREAM)
#define FIXED 0u

/* What there is to change, and in tables of which kinds. */
static const struct {
    uint64_t bit;
    const char *name; /* of vv_table_options */
    unsigned kinds;
} fields[] = {
    {VV_CHANGE_VERSION_RETENTION, "version_retention_ns", KV},
    {VV_CHANGE_RETENTION, "retention_ns", SERIES | STREAM},
    {VV_CHANGE_KEEP_RULES, "keep_rules", SERIES},
    {VV_CHANGE_ROLLUP_MINUTES, "rollup_retention_ns[0]", SERIES},
    {VV_CHANGE_ROLLUP_HOURS, "rollup_retention_ns[1]", SERIES},
    {VV_CHANGE_FUTURE, "future_ns", SERIES},
    {VV_CHANGE_RETENTION_BYTES, "retention_bytes", STREAM},
    {VV_CHANGE_MESSAGE_SIZE, "message_size_max", STREAM},
    {VV_CHANGE_PRODUCER_RETENTION, "producer_retention_ns", STREAM},
    {VV_CHANGE_PRODUCERS, "producers_max", STREAM},
    {VV_CHANGE_ARCHIVE, "archive", STREAM},
    {VV_CHANGE_EXTRACT, "extract_rules", STREAM},
    {VV_CHANGE_KIND, "kind", FIXED},
    {VV_CHANGE_ENGINE, "engine", FIXED},
    {VV_CHANGE_PARTITIONS, "partitions", FIXED},
    {VV_CHANGE_COMPRESSION, "compression", FIXED},
    {VV_CHANGE_VALUE_THRESHOLD, "value_threshold", FIXED},
    {VV_CHANGE_OUT_OF_ORDER, "out_of_order_ns", FIXED},
    {VV_CHANGE_NO_ROLLUPS, "no_rollups", FIXED},
};

static const char *kind_name(vv_table_kind kind)
{
    static const char *const names[] = {"", "kv", "record", "series", "stream"};
    return (size_t)kind < ARRAY_LEN(names) ? names[kind] : "";
}

static vv_status check_fields(const cat_table *table, uint64_t asked, vv_error *err)
{
    uint64_t known = 0;
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        known |= fields[i].bit;
        if ((asked & fields[i].bit) == 0)
            continue;
        if (fields[i].kinds == FIXED)
            return vv_fail(err, VV_INVALID,
                           "%s is fixed when a table is made: make another one and copy into it",
                           fields[i].name);
        if ((fields[i].kinds >> table->kind & 1) == 0)
            return vv_fail(err, VV_INVALID, "%s is nothing that a table of kind %s has",
                           fields[i].name, kind_name(table->kind));
    }
    if ((asked & ~known) != 0)
        return vv_fail(err, VV_INVALID, "field %llx of a table is not known here",
                       (unsigned long long)(asked & ~known));
    return asked != 0 ? VV_OK : vv_fail(err, VV_INVALID, "nothing is to be changed");
}

/* The options that would make the table as it is. */
static vv_table_options options_of(const cat_table *t)
{
    vv_table_options opt = VV_TABLE_OPTIONS_INIT;
    const cat_keep *keep = t->keep;
    const cat_archive *archive = t->archive;
    const cat_extract *extract = t->extract;
    opt.kind = t->kind;
    opt.version_retention_ns = t->version_retention_ns;
    opt.retention_ns = t->retention_ns;
    opt.out_of_order_ns = t->out_of_order_ns;
    opt.future_ns = t->future_ns;
    opt.no_rollups = t->no_rollups;
    opt.rollup_retention_ns[0] = t->rollup_retention_ns[0];
    opt.rollup_retention_ns[1] = t->rollup_retention_ns[1];
    opt.retention_bytes = t->retention_bytes;
    opt.message_size_max = t->message_size_max;
    opt.producer_retention_ns = t->producer_retention_ns;
    opt.producers_max = t->producers_max;
    opt.keep_rules = keep == NULL ? NULL : keep->rule;
    opt.keep_rule_count = keep == NULL ? 0 : keep->count;
    opt.archive = archive == NULL ? NULL : &archive->rule;
    opt.extract_rules = extract == NULL ? NULL : extract->rules;
    opt.extract_schema = extract == NULL ? vv_slice_of(NULL, 0) : extract->schema;
    return opt;
}

static void overlay(vv_table_options *opt, const vv_table_options *to, uint64_t asked)
{
    if ((asked & VV_CHANGE_VERSION_RETENTION) != 0)
        opt->version_retention_ns = to->version_retention_ns;
    if ((asked & VV_CHANGE_RETENTION) != 0)
        opt->retention_ns = to->retention_ns;
    if ((asked & VV_CHANGE_KEEP_RULES) != 0) {
        opt->keep_rules = to->keep_rules;
        opt->keep_rule_count = to->keep_rule_count;
    }
    if ((asked & VV_CHANGE_ROLLUP_MINUTES) != 0)
        opt->rollup_retention_ns[0] = to->rollup_retention_ns[0];
    if ((asked & VV_CHANGE_ROLLUP_HOURS) != 0)
        opt->rollup_retention_ns[1] = to->rollup_retention_ns[1];
    if ((asked & VV_CHANGE_FUTURE) != 0)
        opt->future_ns = to->future_ns;
    if ((asked & VV_CHANGE_RETENTION_BYTES) != 0)
        opt->retention_bytes = to->retention_bytes;
    if ((asked & VV_CHANGE_MESSAGE_SIZE) != 0)
        opt->message_size_max = to->message_size_max;
    if ((asked & VV_CHANGE_PRODUCER_RETENTION) != 0)
        opt->producer_retention_ns = to->producer_retention_ns;
    if ((asked & VV_CHANGE_PRODUCERS) != 0)
        opt->producers_max = to->producers_max;
    if ((asked & VV_CHANGE_ARCHIVE) != 0)
        opt->archive = to->archive;
    if ((asked & VV_CHANGE_EXTRACT) != 0) {
        opt->extract_rules = to->extract_rules;
        opt->extract_schema = to->extract_schema;
    }
}

/* How long that was kept which may be kept for longer from now on; -1: nothing is. */
static int64_t grown_from(const cat_table *now, const cat_table *next, uint64_t asked)
{
    if (now->kind == VV_TABLE_SERIES) {
        const int64_t shortest = cat_keep_shortest(now); /* 0: all were kept for ever */
        asked &= VV_CHANGE_RETENTION | VV_CHANGE_KEEP_RULES;
        return asked == 0 || shortest == 0 ? -1 : shortest;
    }
    return next->version_retention_ns > now->version_retention_ns ? now->version_retention_ns : -1;
}

/* What a table keeps beside its numbers, made before they are logged. */
typedef struct parts {
    cat_keep *keep;
    cat_archive *archive;
    cat_extract *extract;
    bool has_keep; /* it changes */
    bool has_archive;
    bool has_extract;
    size_t extract_size; /* in the budget */
} parts;

static void parts_free(catalog *cat, parts *p)
{
    vv_budget_release(cat->opt.budget, VV_BUDGET_INDEX, p->extract_size);
    vv_free(p->keep);
    vv_free(p->archive);
    vv_free(p->extract);
}

/* Those that change; next has their bytes. */
static vv_status parts_make(catalog *cat, parts *p, const vv_table_options *opt, uint64_t asked,
                            cat_table *next, vv_error *err)
{
    vv_status st = VV_OK;
    *p = (parts){.has_keep = (asked & VV_CHANGE_KEEP_RULES) != 0,
                 .has_archive = (asked & VV_CHANGE_ARCHIVE) != 0,
                 .has_extract = (asked & VV_CHANGE_EXTRACT) != 0};
    if (p->has_keep)
        st = cat_keep_make(opt->keep_rules, opt->keep_rule_count, &p->keep, err);
    if (st == VV_OK && p->has_archive)
        st = cat_archive_make(opt->archive, &p->archive, err);
    if (st == VV_OK && p->has_extract)
        st = cat_extract_make(opt, &p->extract, err);
    /* Those of before stay while somebody may read them: rules are the largest of it. */
    if (st == VV_OK && p->extract != NULL) {
        p->extract_size = cat_extract_size_of(p->extract);
        if (!vv_budget_reserve(cat->opt.budget, VV_BUDGET_INDEX, p->extract_size)) {
            p->extract_size = 0;
            st = vv_fail(err, VV_BUSY, "memory_limit is reached: no room for other rules");
        }
    }
    if (p->has_keep)
        next->keep_bytes =
            p->keep == NULL ? vv_slice_of(NULL, 0) : vv_slice_of(p->keep->bytes, p->keep->len);
    if (p->has_archive)
        next->archive_bytes = p->archive == NULL ? vv_slice_of(NULL, 0)
                                                 : vv_slice_of(p->archive->bytes, p->archive->len);
    if (p->has_extract)
        next->extract_bytes = p->extract == NULL ? vv_slice_of(NULL, 0)
                                                 : vv_slice_of(p->extract->bytes, p->extract->len);
    if (st != VV_OK)
        parts_free(cat, p);
    return st;
}

/* What is durable is true in memory, too. Takes the parts. */
static void apply(catalog *cat, cat_table *table, const cat_table *next, const parts *p)
{
    vv_mutex_lock(&cat->map_lock);
    table->kept_from_ns = next->kept_from_ns;
    table->version_retention_ns = next->version_retention_ns;
    table->retention_ns = next->retention_ns;
    table->future_ns = next->future_ns;
    table->rollup_retention_ns[0] = next->rollup_retention_ns[0];
    table->rollup_retention_ns[1] = next->rollup_retention_ns[1];
    table->retention_bytes = next->retention_bytes;
    table->message_size_max = next->message_size_max;
    table->producer_retention_ns = next->producer_retention_ns;
    table->producers_max = next->producers_max;
    size_t size = cat_rules_size(table);
    if (p->has_keep)
        cat_keep_set(table, p->keep);
    if (p->has_archive)
        cat_archive_set(table, p->archive);
    if (p->has_extract)
        cat_extract_set(table, p->extract);
    size = cat_rules_size(table) - size;
    cat->keep_size += size;
    assert(size >= p->extract_size);
    vv_budget_take(cat->opt.budget, VV_BUDGET_INDEX, size - p->extract_size);
    vv_mutex_unlock(&cat->map_lock);
}

static void set_version_retention(catalog *cat, cat_table *table, int64_t ns)
{
    vv_mutex_lock(&cat->map_lock);
    table->version_retention_ns = ns;
    vv_mutex_unlock(&cat->map_lock);
}

static int64_t later_of(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static vv_status change(catalog *cat, cat_table *table, const vv_table_options *opt,
                        const cat_change *how, vv_error *err)
{
    const int64_t versions = table->version_retention_ns;
    int64_t from_ns = vv_clock_wall(cat->opt.clock) + 1;
    parts p;
    cat_table next = cat_copy(table, CAT_READY);
    cat_take_options(&next, opt);
    const int64_t before = grown_from(table, &next, how->fields);
    vv_status st = parts_make(cat, &p, opt, how->fields, &next, err);
    if (st != VV_OK)
        return st;
    if (next.version_retention_ns > versions)
        set_version_retention(cat, table, next.version_retention_ns);
    if (how->ready != NULL)
        st = how->ready(how->ctx, table, p.has_keep ? p.keep : table->keep, &from_ns, err);
    if (before >= 0)
        next.kept_from_ns = later_of(from_ns > before ? from_ns - before : 1, table->kept_from_ns);
    if (st == VV_OK)
        st = cat_log_record(cat, &next, err);
    if (st != VV_OK) {
        set_version_retention(cat, table, versions);
        parts_free(cat, &p);
        return st;
    }
    VV_POINT("catalog.after_alter_entry");
    apply(cat, table, &next, &p);
    if (how->done != NULL)
        how->done(how->ctx, table);
    return VV_OK;
}

static vv_status alter_locked(catalog *cat, const char *tenant, const char *name,
                              const vv_table_options *to, const cat_change *how, vv_error *err)
{
    cat_table *table = NULL;
    vv_status st = cat_table_find(cat, tenant, name, &table, err);
    if (st != VV_OK)
        return st;
    vv_table_options opt = options_of(table);
    st = check_fields(table, how->fields, err);
    if (st == VV_OK) {
        overlay(&opt, to, how->fields);
        st = cat_check_options(cat, &opt, err);
    }
    if (st == VV_OK)
        st = change(cat, table, &opt, how, err);
    cat_table_unref(table);
    return st;
}

vv_status cat_table_alter(catalog *cat, const char *tenant, const char *name, const cat_change *how,
                          vv_error *err)
{
    vv_table_options full = VV_TABLE_OPTIONS_INIT;
    vv_status st =
        vv_options_take(&full, sizeof full, how->to, offsetof(vv_table_options, value_threshold),
                        "vv_table_options", err);
    if (st != VV_OK)
        return vv_wrap(err, st, "alter table");
    vv_mutex_lock(&cat->ddl_lock);
    st = alter_locked(cat, tenant, name, &full, how, err);
    vv_mutex_unlock(&cat->ddl_lock);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "alter table '%s' of tenant '%s'", name, tenant);
}
