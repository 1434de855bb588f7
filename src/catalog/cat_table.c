/*
 * cat_table.c - find, create and drop tables: the steps of catalog.h, each a logged entry.
 *
 * A failed step leaves the table in the state its last good step gave it: it is not usable, the
 * error goes to the caller, and asking again (or the next open) goes on from there. Memory follows
 * only what was committed.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/options.h"
#include "base/point.h"
#include "base/span.h"
#include "base/util.h"
#include "catalog/cat_int.h"

#define RECORD_RETENTION_DEFAULT_NS (3600 * VV_NS_PER_S)

vv_status cat_open(const cat_options *opt, catalog **out, vv_error *err)
{
    assert(opt->shard_count >= 1);
    catalog *cat = vv_alloc(sizeof *cat);
    if (cat == NULL)
        return vv_fail(err, VV_NO_MEMORY, "catalog: no memory");
    *cat = (catalog){.opt = *opt, .next_id = CAT_TABLE_FIRST};
    vv_status st = cat_map_init(&cat->map, err);
    if (st != VV_OK) {
        vv_free(cat);
        return st;
    }
    vv_mutex_init(&cat->ddl_lock, VV_RANK_CATALOG);
    vv_mutex_init(&cat->map_lock, VV_RANK_LEAF);
    *out = cat;
    return VV_OK;
}

void cat_close(catalog *cat)
{
    if (cat == NULL)
        return;
    vv_budget_release(cat->opt.budget, VV_BUDGET_INDEX,
                      cat->map.count * sizeof(cat_table) + cat->keep_size);
    cat_map_fini(&cat->map);
    vv_mutex_fini(&cat->ddl_lock);
    vv_mutex_fini(&cat->map_lock);
    vv_free(cat);
}

void cat_table_ref(cat_table *table)
{
    atomic_fetch_add_explicit(&table->refs, 1, memory_order_relaxed);
}

void cat_table_unref(cat_table *table)
{
    if (table == NULL || atomic_fetch_sub_explicit(&table->refs, 1, memory_order_acq_rel) != 1)
        return;
    cat_extra *extra = atomic_load_explicit(&table->extra, memory_order_acquire);
    if (extra != NULL)
        extra->destroy(extra);
    while (table->keep_retired != NULL) {
        cat_keep *older = table->keep_retired;
        table->keep_retired = older->older;
        vv_free(older);
    }
    while (table->archive_retired != NULL) {
        cat_archive *older = table->archive_retired;
        table->archive_retired = older->older;
        vv_free(older);
    }
    while (table->extract_retired != NULL) {
        cat_extract *older = table->extract_retired;
        table->extract_retired = older->older;
        vv_free(older);
    }
    vv_free(table->keep);
    vv_free(table->archive);
    vv_free(table->extract);
    vv_free(table);
}

/* The steps of one entry, collected and then committed. */
typedef struct step {
    catalog *cat;
    vv_buf buf;
    size_t begin;
    uint32_t op_count;
} step;

static void step_begin(step *s, catalog *cat)
{
    s->cat = cat;
    s->op_count = 0;
    vv_buf_init(&s->buf, 8 * CAT_RECORD_MAX);
    s->begin = engine_entry_begin(&s->buf);
}

static void step_add(step *s, engine_kind kind, uint32_t table, vv_slice key, vv_slice value)
{
    engine_entry_add_key(&s->buf, kind, table, key, value, 0);
    s->op_count++;
}

static vv_status step_commit(step *s, uint32_t shard, cat_table *dropped, vv_error *err)
{
    engine_entry_finish(&s->buf, s->begin, s->op_count);
    vv_status st = s->buf.status;
    if (st != VV_OK)
        st = vv_fail(err, VV_NO_MEMORY, "catalog: no memory for an entry");
    else
        st = s->cat->opt.door.commit(s->cat->opt.door.ctx, shard, vv_buf_slice(&s->buf),
                                     s->op_count, dropped, err);
    vv_buf_fini(&s->buf);
    return st;
}

cat_table cat_copy(const cat_table *table, cat_state state)
{
    cat_table as = {
        .state = state,
        .kind = table->kind,
        .id = table->id,
        .index_id = table->index_id,
        .shard = table->shard,
        .partition_count = table->partition_count,
        .kept_from_ns = table->kept_from_ns,
        .version_retention_ns = table->version_retention_ns,
        .created_ns = table->created_ns,
        .compression = table->compression,
        .value_threshold = table->value_threshold,
        .retention_ns = table->retention_ns,
        .out_of_order_ns = table->out_of_order_ns,
        .future_ns = table->future_ns,
        .no_rollups = table->no_rollups,
        .rollup_retention_ns = {table->rollup_retention_ns[0], table->rollup_retention_ns[1]},
        .keep_bytes = table->keep_bytes,
        .archive_bytes = table->archive_bytes,
        .extract_bytes = table->extract_bytes,
        .retention_bytes = table->retention_bytes,
        .message_size_max = table->message_size_max,
        .producer_retention_ns = table->producer_retention_ns,
        .producers_max = table->producers_max};
    memcpy(as.engine, table->engine, sizeof as.engine);
    memcpy(as.tenant, table->tenant, sizeof as.tenant);
    memcpy(as.name, table->name, sizeof as.name);
    return as;
}

/* The table's record in the catalog, in a given state; the id after it is taken with it. */
static void add_record(step *s, const cat_table *table, cat_state state, uint32_t next_id)
{
    uint8_t key[CAT_KEY_MAX];
    uint8_t value[CAT_RECORD_MAX];
    const cat_table as = cat_copy(table, state);
    size_t key_len = cat_record_key(table->tenant, table->name, key);
    size_t value_len = cat_record_encode(&as, value);
    step_add(s, ENGINE_PUT, CAT_TABLE_CATALOG, vv_slice_of(key, key_len),
             vv_slice_of(value, value_len));
    if (next_id != 0) {
        uint8_t id[4];
        vv_put_le32(id, next_id);
        step_add(s, ENGINE_PUT, CAT_TABLE_CATALOG, vv_slice_str("N"), vv_slice_of(id, 4));
    }
}

vv_status cat_log_record(catalog *cat, const cat_table *table, vv_error *err)
{
    step s;
    step_begin(&s, cat);
    add_record(&s, table, CAT_READY, 0);
    return step_commit(&s, 0, NULL, err);
}

static void add_record_removal(step *s, const cat_table *table)
{
    uint8_t key[CAT_KEY_MAX];
    size_t key_len = cat_record_key(table->tenant, table->name, key);
    step_add(s, ENGINE_DELETE, CAT_TABLE_CATALOG, vv_slice_of(key, key_len), vv_slice_of(NULL, 0));
}

static vv_slice open_key(const cat_table *table, uint8_t out[5])
{
    out[0] = CAT_SYSTEM_OPEN;
    vv_put_be32(out + 1, table->id);
    return vv_slice_of(out, 5);
}

static void add_open(step *s, cat_table *table)
{
    uint8_t key[5];
    uint8_t value[CAT_RECORD_MAX];
    cat_state state = table->state;
    table->state = CAT_READY; /* what a shard says of its table does not change */
    size_t value_len = cat_record_encode(table, value);
    table->state = state;
    step_add(s, ENGINE_PUT, CAT_TABLE_SYSTEM, open_key(table, key), vv_slice_of(value, value_len));
}

static void add_range_removal(step *s, uint32_t id)
{
    uint8_t end[4];
    vv_put_be32(end, id + 1);
    step_add(s, ENGINE_RANGE_DELETE, id, vv_slice_of(NULL, 0), vv_slice_of(end, 4));
}

static void add_data_removal(step *s, const cat_table *table)
{
    uint8_t key[5];
    step_add(s, ENGINE_DELETE, CAT_TABLE_SYSTEM, open_key(table, key), vv_slice_of(NULL, 0));
    add_range_removal(s, table->id);
    if (table->index_id != 0)
        add_range_removal(s, table->index_id);
}

/* From CREATING to READY. ddl_lock is held. */
static vv_status finish_create(catalog *cat, cat_table *table, vv_error *err)
{
    step s;
    for (uint32_t p = 0; p < table->partition_count; p++) {
        step_begin(&s, cat);
        add_open(&s, table);
        vv_status st = step_commit(&s, cat_partition_shard(table, p), NULL, err);
        if (st != VV_OK)
            return st;
        VV_POINT("catalog.after_open_entry");
    }
    step_begin(&s, cat);
    add_record(&s, table, CAT_READY, 0);
    return step_commit(&s, 0, NULL, err);
}

/* From DROPPING to gone. ddl_lock is held. */
static vv_status finish_drop(catalog *cat, cat_table *table, vv_error *err)
{
    step s;
    for (uint32_t p = 0; p < table->partition_count; p++) {
        step_begin(&s, cat);
        add_data_removal(&s, table);
        /* With the first of them writes end on every shard: DROPPING is durable. */
        vv_status st = step_commit(&s, cat_partition_shard(table, p), p == 0 ? table : NULL, err);
        if (st != VV_OK)
            return st;
        VV_POINT("catalog.after_data_removal");
    }
    step_begin(&s, cat);
    add_record_removal(&s, table);
    return step_commit(&s, 0, NULL, err);
}

static void set_state(catalog *cat, cat_table *table, cat_state state)
{
    vv_mutex_lock(&cat->map_lock);
    table->state = state;
    vv_mutex_unlock(&cat->map_lock);
}

/* The table left the catalog: forget it. Open handles keep their reference. */
static void forget(catalog *cat, cat_table *table)
{
    vv_mutex_lock(&cat->map_lock);
    cat_map_remove(&cat->map, table);
    uint64_t rules = cat_rules_size(table);
    cat->keep_size -= rules;
    vv_mutex_unlock(&cat->map_lock);
    vv_budget_release(cat->opt.budget, VV_BUDGET_INDEX, sizeof(cat_table) + rules);
    cat_table_unref(table);
}

static vv_status resume_create(catalog *cat, cat_table *table, vv_error *err)
{
    vv_status st = finish_create(cat, table, err);
    if (st == VV_OK)
        set_state(cat, table, CAT_READY);
    return st;
}

static vv_status resume_drop(catalog *cat, cat_table *table, vv_error *err)
{
    vv_status st = finish_drop(cat, table, err);
    if (st == VV_OK)
        forget(cat, table);
    return st;
}

vv_status cat_resume(catalog *cat, vv_error *err)
{
    vv_status st = VV_OK;
    vv_mutex_lock(&cat->ddl_lock);
    while (st == VV_OK) {
        cat_table *half = NULL;
        vv_mutex_lock(&cat->map_lock);
        for (size_t i = 0; i < cat->map.bucket_count && half == NULL; i++)
            for (cat_table *t = cat->map.by_name[i]; t != NULL && half == NULL; t = t->next_by_name)
                half = t->state != CAT_READY ? t : NULL;
        vv_mutex_unlock(&cat->map_lock);
        if (half == NULL)
            break;
        st = half->state == CAT_CREATING ? resume_create(cat, half, err)
                                         : resume_drop(cat, half, err);
        if (st != VV_OK)
            vv_wrap(err, st, "finish a half-made table");
    }
    vv_mutex_unlock(&cat->ddl_lock);
    return st;
}

/* What a series table is asked to keep has to be of use. */
static vv_status check_series(const vv_table_options *opt, vv_error *err)
{
    static const char *const tiers[] = {"minutes", "hours"};
    int64_t late = opt->out_of_order_ns != 0 ? opt->out_of_order_ns : CAT_OUT_OF_ORDER_DEFAULT_NS;
    if (opt->retention_ns != 0 && opt->out_of_order_ns > opt->retention_ns)
        return vv_fail(err, VV_INVALID,
                       "out_of_order_ns (late) is more than retention_ns (keep): samples are "
                       "refused before they are late");
    for (size_t i = 0; i < ARRAY_LEN(tiers); i++) {
        int64_t keep = opt->rollup_retention_ns[i];
        if (keep != 0 && opt->no_rollups)
            return vv_fail(err, VV_INVALID,
                           "rollups of %s cannot be kept for long in a table with no_rollups: "
                           "leave one of the two out",
                           tiers[i]);
        if (keep != 0 && keep <= late) {
            char span[VV_SPAN_TEXT];
            vv_span_text(late, span);
            return vv_fail(err, VV_INVALID,
                           "rollups of %s would be gone before they are made: keep them for longer "
                           "than samples may be late (out_of_order_ns), which is %s",
                           tiers[i], span);
        }
    }
    return cat_keep_check(opt, late, err);
}

static vv_status check_stream_options(const vv_table_options *opt, vv_error *err)
{
    if (opt->producer_retention_ns < 0)
        return vv_fail(err, VV_INVALID, "producer_retention_ns is 0 or more");
    if (opt->message_size_max > CAT_MESSAGE_DEFAULT)
        return vv_fail(err, VV_INVALID, "message_size_max is at most %u", CAT_MESSAGE_DEFAULT);
    if (opt->producers_max > CAT_PRODUCERS_MAX)
        return vv_fail(err, VV_INVALID, "producers_max is at most %u", CAT_PRODUCERS_MAX);
    if (opt->kind != VV_TABLE_STREAM &&
        (opt->retention_bytes | opt->message_size_max | (uint64_t)opt->producer_retention_ns |
         opt->producers_max) != 0)
        return vv_fail(err, VV_INVALID,
                       "retention_bytes, message_size_max and those of producers are of stream "
                       "tables alone");
    vv_status st = cat_archive_check(opt, err);
    return st == VV_OK ? cat_extract_check(opt, err) : st;
}

vv_status cat_check_options(const catalog *cat, const vv_table_options *opt, vv_error *err)
{
    if (opt->kind < VV_TABLE_KV || opt->kind > VV_TABLE_STREAM)
        return vv_fail(err, VV_INVALID, "table kind %d is not known", (int)opt->kind);
    const int64_t *rollups = opt->rollup_retention_ns;
    int64_t retention = opt->kind == VV_TABLE_STREAM ? 0 : opt->retention_ns;
    if (opt->retention_ns < 0 || opt->out_of_order_ns < 0 || opt->future_ns < 0 || rollups[0] < 0 ||
        rollups[1] < 0)
        return vv_fail(
            err, VV_INVALID,
            "retention_ns, out_of_order_ns, future_ns and rollup_retention_ns are 0 or more");
    if (opt->kind != VV_TABLE_SERIES &&
        ((retention | opt->out_of_order_ns | opt->future_ns | rollups[0] | rollups[1]) != 0 ||
         opt->no_rollups))
        return vv_fail(err, VV_INVALID,
                       "retention_ns, out_of_order_ns, future_ns and those of rollups are of "
                       "series tables alone (retention_ns of streams, too)");
    vv_status st = check_stream_options(opt, err);
    if (st != VV_OK)
        return st;
    if (opt->version_retention_ns < -1)
        return vv_fail(err, VV_INVALID, "version_retention_ns is %lld: 0 or more, or -1",
                       (long long)opt->version_retention_ns);
    if ((unsigned)opt->compression > VV_COMPRESSION_ZSTD)
        return vv_fail(err, VV_INVALID, "compression %d is not known", (int)opt->compression);
    if (opt->partitions > cat->opt.shard_count)
        return vv_fail(err, VV_INVALID,
                       "%u partitions: each lies on a shard of its own, and the store has %u",
                       opt->partitions, cat->opt.shard_count);
    return opt->kind == VV_TABLE_SERIES ? check_series(opt, err) : cat_keep_check(opt, 0, err);
}

/* All tables of a tenant share a shard, so that its transactions span them. */
static uint32_t place(const catalog *cat, const char *tenant)
{
    return (uint32_t)(vv_hash64(tenant, strlen(tenant)) % cat->opt.shard_count);
}

void cat_take_options(cat_table *t, const vv_table_options *opt)
{
    const int64_t versions = opt->kind == VV_TABLE_RECORD ? RECORD_RETENTION_DEFAULT_NS : 0;
    t->version_retention_ns = opt->version_retention_ns < 0 ? versions : opt->version_retention_ns;
    if (opt->kind == VV_TABLE_SERIES) {
        t->retention_ns = opt->retention_ns;
        t->future_ns = opt->future_ns != 0 ? opt->future_ns : CAT_FUTURE_DEFAULT_NS;
        for (unsigned tier = 0; tier < 2; tier++)
            t->rollup_retention_ns[tier] = opt->rollup_retention_ns[tier];
    }
    if (opt->kind == VV_TABLE_STREAM) {
        t->retention_ns = opt->retention_ns;
        t->retention_bytes = opt->retention_bytes;
        t->message_size_max =
            opt->message_size_max != 0 ? opt->message_size_max : CAT_MESSAGE_DEFAULT;
        t->producer_retention_ns =
            opt->producer_retention_ns != 0 ? opt->producer_retention_ns : CAT_PRODUCER_DEFAULT_NS;
        t->producers_max = opt->producers_max != 0 ? opt->producers_max : CAT_PRODUCERS_DEFAULT;
    }
}

static cat_table *new_table(const catalog *cat, const char *tenant, const char *name,
                            const vv_table_options *opt, uint32_t slot)
{
    cat_table *t = vv_calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    atomic_init(&t->refs, 1);
    t->state = CAT_CREATING;
    t->kind = opt->kind;
    t->id = slot << CAT_SLOT_SHIFT | cat->next_id;
    t->index_id = opt->kind == VV_TABLE_RECORD ? t->id + 1 : 0;
    t->shard = place(cat, tenant);
    t->shard_count = cat->opt.shard_count;
    t->partition_count = opt->partitions > 1 ? opt->partitions : 1;
    t->created_ns = vv_clock_wall(cat->opt.clock);
    t->compression = opt->compression;
    t->value_threshold = opt->value_threshold;
    if (opt->kind == VV_TABLE_SERIES) {
        t->out_of_order_ns =
            opt->out_of_order_ns != 0 ? opt->out_of_order_ns : CAT_OUT_OF_ORDER_DEFAULT_NS;
        t->no_rollups = opt->no_rollups;
    }
    cat_take_options(t, opt);
    (void)snprintf(t->engine, sizeof t->engine, "%s", cat->opt.engine[slot]);
    (void)snprintf(t->tenant, sizeof t->tenant, "%s", tenant);
    (void)snprintf(t->name, sizeof t->name, "%s", name);
    return t;
}

/* On shard 0, which has the catalog, and nowhere else: one entry takes all steps. */
static bool is_beside_catalog(const cat_table *table)
{
    return table->shard == 0 && table->partition_count == 1;
}

/* Log the first step (the only one beside the catalog). */
static vv_status log_create(catalog *cat, cat_table *table, vv_error *err)
{
    uint32_t next_id = cat->next_id + 2; /* an index has its table's id plus one */
    step s;
    step_begin(&s, cat);
    if (is_beside_catalog(table)) {
        add_open(&s, table);
        add_record(&s, table, CAT_READY, next_id);
    } else {
        add_record(&s, table, CAT_CREATING, next_id);
    }
    vv_status st = step_commit(&s, 0, NULL, err);
    if (st == VV_OK)
        cat->next_id = next_id;
    return st;
}

/* The engine of a slot, on each shard of the table. */
static vv_status add_engines(catalog *cat, const cat_table *table, uint32_t slot, vv_error *err)
{
    vv_status st = VV_OK;
    assert(table != NULL);
    for (uint32_t p = 0; st == VV_OK && p < table->partition_count; p++)
        st = cat->opt.door.engine(cat->opt.door.ctx, cat_partition_shard(table, p), slot, err);
    return st;
}

static vv_status create_new(catalog *cat, const char *tenant, const char *name,
                            const vv_table_options *opt, uint32_t slot, cat_table **out,
                            vv_error *err)
{
    if (cat->next_id > CAT_TABLE_LAST - 2)
        return vv_fail(err, VV_UNSUPPORTED, "all table ids are used up");
    if (!vv_budget_reserve(cat->opt.budget, VV_BUDGET_INDEX, sizeof(cat_table)))
        return vv_fail(err, VV_BUSY, "memory_limit is reached: no room for another table");
    cat_table *table = new_table(cat, tenant, name, opt, slot);
    vv_status st = table == NULL ? vv_fail(err, VV_NO_MEMORY, "no memory") : VV_OK;
    cat_keep *keep = NULL;
    if (st == VV_OK)
        st = cat_keep_make(opt->keep_rules, opt->keep_rule_count, &keep, err);
    if (st == VV_OK)
        cat_keep_set(table, keep);
    cat_archive *archive = NULL;
    if (st == VV_OK)
        st = cat_archive_make(opt->archive, &archive, err);
    if (st == VV_OK)
        cat_archive_set(table, archive);
    cat_extract *extract = NULL;
    if (st == VV_OK)
        st = cat_extract_make(opt, &extract, err);
    if (st == VV_OK)
        cat_extract_set(table, extract);
    vv_mutex_lock(&cat->map_lock);
    if (st == VV_OK)
        st = cat_map_reserve(&cat->map, err);
    vv_mutex_unlock(&cat->map_lock);
    if (st == VV_OK && slot != 0) /* before anything that can be in the log names it */
        st = add_engines(cat, table, slot, err);
    if (st == VV_OK)
        st = log_create(cat, table, err);
    if (st != VV_OK)
        goto fail;
    VV_POINT("catalog.after_create_entry");
    table->state = is_beside_catalog(table) ? CAT_READY : CAT_CREATING;
    vv_mutex_lock(&cat->map_lock);
    cat_count_keep(cat, table);
    cat_map_add(&cat->map, table);
    vv_mutex_unlock(&cat->map_lock);
    if (table->state == CAT_CREATING)
        st = resume_create(cat, table, err);
    if (st == VV_OK)
        *out = table;
    return st;
fail:
    vv_budget_release(cat->opt.budget, VV_BUDGET_INDEX, sizeof(cat_table));
    cat_table_unref(table);
    return st;
}

static vv_status create_locked(catalog *cat, const char *tenant, const char *name,
                               const vv_table_options *opt, uint32_t slot, cat_table **out,
                               vv_error *err)
{
    vv_mutex_lock(&cat->map_lock);
    cat_table *found = cat_map_find(&cat->map, tenant, name);
    vv_mutex_unlock(&cat->map_lock);
    vv_status st = VV_OK;
    if (found != NULL && found->state == CAT_DROPPING) {
        st = resume_drop(cat, found, err);
        found = NULL;
    }
    if (st != VV_OK)
        return st;
    if (found == NULL)
        return create_new(cat, tenant, name, opt, slot, out, err);
    if (found->kind != opt->kind)
        return vv_fail(err, VV_CONFLICT, "it exists as a table of another kind");
    if (opt->engine != VV_ENGINE_DEFAULT && cat_slot(found->id) != slot)
        return vv_fail(err, VV_CONFLICT, "it exists as a table of the engine '%s'", found->engine);
    if (opt->partitions != 0 && found->partition_count != opt->partitions)
        return vv_fail(err, VV_CONFLICT, "it exists with %u partition%s", found->partition_count,
                       found->partition_count == 1 ? "" : "s");
    if (found->state == CAT_CREATING)
        st = resume_create(cat, found, err); /* an earlier try failed half-way: this one goes on */
    else if (!opt->if_not_exists)
        st = vv_fail(err, VV_CONFLICT, "it exists already");
    if (st == VV_OK)
        *out = found;
    return st;
}

vv_status cat_table_create(catalog *cat, const char *tenant, const char *name,
                           const vv_table_options *opt, uint32_t slot, cat_table **out,
                           vv_error *err)
{
    assert(slot < CAT_SLOTS && cat->opt.engine[slot] != NULL);
    vv_table_options full = VV_TABLE_OPTIONS_INIT;
    vv_status st = cat_name_check("tenant", tenant, err);
    if (st == VV_OK)
        st = cat_name_check("table", name, err);
    if (st == VV_OK)
        st = vv_options_take(&full, sizeof full, opt, offsetof(vv_table_options, value_threshold),
                             "vv_table_options", err);
    if (st == VV_OK)
        st = cat_check_options(cat, &full, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "create table");
    cat_table *table = NULL;
    vv_mutex_lock(&cat->ddl_lock);
    st = create_locked(cat, tenant, name, &full, slot, &table, err);
    if (st == VV_OK)
        cat_table_ref(table);
    vv_mutex_unlock(&cat->ddl_lock);
    if (st != VV_OK)
        return vv_wrap(err, st, "create table '%s' of tenant '%s'", name, tenant);
    *out = table;
    return VV_OK;
}

vv_status cat_table_find(catalog *cat, const char *tenant, const char *name, cat_table **out,
                         vv_error *err)
{
    vv_status st = cat_name_check("tenant", tenant, err);
    if (st == VV_OK)
        st = cat_name_check("table", name, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "open table");
    vv_mutex_lock(&cat->map_lock);
    cat_table *table = cat_map_find(&cat->map, tenant, name);
    if (table != NULL && table->state == CAT_READY) {
        cat_table_ref(table);
        *out = table;
    } else {
        st = cat_fail_not_found(&cat->map, tenant, name, err);
    }
    vv_mutex_unlock(&cat->map_lock);
    return st;
}

static vv_status drop_locked(catalog *cat, const char *tenant, const char *name, vv_error *err)
{
    vv_status st = VV_NOT_FOUND;
    vv_mutex_lock(&cat->map_lock);
    cat_table *table = cat_map_find(&cat->map, tenant, name);
    if (table == NULL)
        (void)cat_fail_not_found(&cat->map, tenant, name, err);
    vv_mutex_unlock(&cat->map_lock);
    if (table == NULL)
        return st;
    step s;
    step_begin(&s, cat);
    if (is_beside_catalog(table)) {
        add_data_removal(&s, table);
        add_record_removal(&s, table);
        st = step_commit(&s, 0, table, err);
        if (st == VV_OK)
            forget(cat, table);
        return st;
    }
    add_record(&s, table, CAT_DROPPING, 0);
    st = step_commit(&s, 0, NULL, err);
    if (st != VV_OK)
        return st;
    VV_POINT("catalog.after_drop_entry");
    set_state(cat, table, CAT_DROPPING);
    return resume_drop(cat, table, err);
}

vv_status cat_table_drop(catalog *cat, const char *tenant, const char *name, vv_error *err)
{
    vv_status st = cat_name_check("tenant", tenant, err);
    if (st == VV_OK)
        st = cat_name_check("table", name, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "drop table");
    vv_mutex_lock(&cat->ddl_lock);
    st = drop_locked(cat, tenant, name, err);
    vv_mutex_unlock(&cat->ddl_lock);
    return st == VV_OK ? VV_OK : vv_wrap(err, st, "drop");
}
