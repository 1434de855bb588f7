/*
 * db_tier.c - the tier of object stores: its options, its state, the rule of a table.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/options.h"
#include "db/db_stream_int.h"
#include "db/db_tier_int.h"
#include "db/db_tier_read.h"

#define BATCH_BYTES_DEFAULT (64 * VV_MIB)
#define BATCH_BYTES_MIN (4 * VV_KIB)
#define BATCH_AGE_DEFAULT_NS (300 * VV_NS_PER_S)
#define LOCAL_DEFAULT_NS (3600 * VV_NS_PER_S)
#define CACHE_DEFAULT VV_GIB
#define UPLOADS_DEFAULT 2u
#define FAILURES_DEFAULT 5u
#define BACKUP_KEEP_DEFAULT_NS (30 * 24 * 3600 * VV_NS_PER_S)
#define BUFFER_MAX (16 * VV_MIB)
#define BUFFER_MIN (64 * VV_KIB)
#define KEY_DEFAULT "{tenant}/{table}/{yyyy}/{mm}/{dd}/{hh}/{partition}-{first}-{intent}"

/* ---- options ----------------------------------------------------------------------------------
 */

static bool says(const vv_archive_rule *rule, uint32_t field)
{
    return (rule->said & field) != 0;
}

/* What a field of 0 means: the rule below it, unless it is said. */
static void lay_over(const vv_archive_rule *own, vv_archive_rule *under)
{
    if (own->off || says(own, VV_ARCHIVE_SAYS_OFF))
        under->off = own->off;
    if (own->codec != 0)
        under->codec = own->codec;
    if (own->also != VV_TIER_ALONE || says(own, VV_ARCHIVE_SAYS_ALSO))
        under->also = own->also;
    if (own->batch_bytes != 0)
        under->batch_bytes = own->batch_bytes;
    if (own->batch_messages != 0 || says(own, VV_ARCHIVE_SAYS_MESSAGES))
        under->batch_messages = own->batch_messages;
    if (own->batch_age_ns != 0)
        under->batch_age_ns = own->batch_age_ns;
    if (own->local_ns != 0)
        under->local_ns = own->local_ns;
    if (own->local_bytes != 0 || says(own, VV_ARCHIVE_SAYS_LOCAL_BYTES))
        under->local_bytes = own->local_bytes;
    if (own->key != NULL)
        under->key = own->key;
}

static const vv_archive_rule defaults = {.codec = VV_TIER_ZSTD,
                                         .batch_bytes = BATCH_BYTES_DEFAULT,
                                         .batch_age_ns = BATCH_AGE_DEFAULT_NS,
                                         .local_ns = LOCAL_DEFAULT_NS,
                                         .key = KEY_DEFAULT};

void db_tier_rule(const vv_db *db, const cat_table *cat, vv_archive_rule *out)
{
    *out = db->tier == NULL ? defaults : db->tier->opt.rule;
    const cat_archive *archive = cat->archive; /* it may be altered meanwhile */
    if (archive != NULL)
        lay_over(&archive->rule, out);
    if (out->batch_bytes < BATCH_BYTES_MIN)
        out->batch_bytes = BATCH_BYTES_MIN;
    out->off |= db->tier == NULL || db->tier->objects == NULL || cat->kind != VV_TABLE_STREAM;
}

static vv_status check_rule(const vv_archive_rule *rule, vv_error *err)
{
    if ((unsigned)rule->codec > VV_TIER_PLAIN || (unsigned)rule->also > VV_TIER_PARQUET)
        return vv_fail(err, VV_INVALID, "codec %d, form %d: not known", (int)rule->codec,
                       (int)rule->also);
    if (rule->said > CAT_ARCHIVE_SAID)
        return vv_fail(err, VV_INVALID, "said is %u: not known", rule->said);
    if (rule->batch_age_ns < 0 || rule->local_ns < -1)
        return vv_fail(err, VV_INVALID, "batch_age_ns is 0 or more, and local_ns too, or -1");
    if (rule->key != NULL && strlen(rule->key) > ARCH_TEMPLATE_MAX)
        return vv_fail(err, VV_INVALID, "the template of names has %u bytes at most",
                       ARCH_TEMPLATE_MAX);
    return VV_OK;
}

static vv_status take_options(db_tier *t, const vv_tier_options *given, vv_error *err)
{
    vv_tier_options o = {.size = sizeof o};
    vv_archive_rule rule = defaults;
    vv_status st = vv_options_take(&o, sizeof o, given, sizeof o, "vv_tier_options", err);
    if (st == VV_OK)
        st = check_rule(&o.rule, err);
    if (st == VV_OK && o.uploads > DB_TIER_UPLOADS_MAX)
        st = vv_fail(err, VV_INVALID, "uploads is %u: at most %u", o.uploads, DB_TIER_UPLOADS_MAX);
    if (st == VV_OK && (o.grace_ns < 0 || o.run_age_ns < 0 || o.backup_keep_ns < 0))
        st = vv_fail(err, VV_INVALID, "grace_ns, run_age_ns and backup_keep_ns are 0 or more");
    if (st != VV_OK)
        return vv_wrap(err, st, "options of the tier");
    if (o.rule.key != NULL)
        st = arch_template_check(o.rule.key, err);
    if (st != VV_OK)
        return vv_wrap(err, st, "options of the tier");
    lay_over(&o.rule, &rule);
    (void)snprintf(t->key, sizeof t->key, "%s", rule.key);
    rule.key = t->key;
    o.rule = rule;
    o.uploads = o.uploads == 0 ? UPLOADS_DEFAULT : o.uploads;
    o.cache_bytes = o.cache_bytes == 0 ? CACHE_DEFAULT : o.cache_bytes;
    o.grace_ns = o.grace_ns == 0 ? DB_TIER_GRACE_NS : o.grace_ns;
    o.backup_keep_ns = o.backup_keep_ns == 0 ? BACKUP_KEEP_DEFAULT_NS : o.backup_keep_ns;
    o.failures_max = o.failures_max == 0 ? FAILURES_DEFAULT : o.failures_max;
    t->opt = o;
    return VV_OK;
}

/* ---- life -------------------------------------------------------------------------------------
 */

/* Where a directory cannot be written, in memory. */
static vv_status open_cache(vv_db *db, vv_error *err)
{
    db_tier *t = db->tier;
    vv_error why = {0};
    bool in_memory = db->opt.read_only;
    vv_status st =
        db_tier_cache_open(db->env, &db->budget, t->opt.cache_bytes, in_memory, &t->cache, &why);
    if (st == VV_OK)
        return VV_OK;
    if (!in_memory && st != VV_NO_MEMORY) {
        vv_log_to(db->env->log, VV_LOG_WARN, "db", "blocks of objects are cached in memory alone",
                  VV_KV_S("error", why.msg));
        return db_tier_cache_open(db->env, &db->budget, t->opt.cache_bytes, true, &t->cache, err);
    }
    if (err != NULL)
        *err = why;
    return st;
}

vv_status db_tier_open(vv_db *db, vv_error *err)
{
    const vv_tier_options *given = db->opt.tier;
    if (given == NULL)
        return VV_OK;
    db_tier *t = vv_calloc(1, sizeof *t);
    if (t == NULL)
        return vv_fail(err, VV_NO_MEMORY, "no memory for the tier of object stores");
    vv_status st = take_options(t, given, err);
    if (st != VV_OK) {
        vv_free(t);
        return st;
    }
    t->db = db;
    t->objects = t->opt.objects;
    if (t->objects != NULL)
        vv_object_store_limits(t->objects, &t->limits);
    t->buffer = vv_min_u64(BUFFER_MAX, vv_max_u64(db->opt.memory_limit / 32, BUFFER_MIN));
    vv_mutex_init(&t->lock, VV_RANK_LEAF);
    vv_cond_init(&t->work);
    vv_cond_init(&t->done);
    t->holds.next = &t->holds;
    t->holds.previous = &t->holds;
    vv_hist_reset(&t->counters.upload_ns);
    vv_hist_reset(&t->counters.batch_age_ns);
    db->opt.tier = &t->opt; /* what the caller gave may go */
    db->tier = t;
    return t->objects == NULL ? VV_OK : open_cache(db, err);
}

void db_tier_close(vv_db *db)
{
    db_tier *t = db->tier;
    if (t == NULL)
        return;
    db_tier_cache_close(t->cache);
    vv_cond_fini(&t->work);
    vv_cond_fini(&t->done);
    vv_mutex_fini(&t->lock);
    vv_free(t);
    db->tier = NULL;
}
