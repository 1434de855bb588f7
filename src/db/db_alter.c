/*
 * db_alter.c - change what a table keeps: the catalog has the truth, and here what is worked out of
 * it in memory follows.
 *
 *   series   what entries and gathered samples know of how long they are kept (db_series_keep.c)
 *   kv       how densely times are marked (db_marks.c)
 *   stream   when retention looks next, the rules that appends apply (db_stream_rules.c)
 *
 * What could fail is done before the entry: new rules are compiled, and a series or stream table is
 * read so far that it can be told.
 */
#include <string.h>

#include "archive/archive.h"
#include "base/error.h"
#include "db/db_series_int.h"
#include "db/db_stream_int.h"

typedef struct job {
    vv_db *db;
    db_series *series; /* NULL: it is no series table */
    bool has_rules;
    db_series_keep *rules;         /* to be; NULL: none */
    vv_table_options to;           /* what it is altered to */
    db_stream *stream;             /* NULL: it is no stream, or gets no rules */
    db_stream_rules *stream_rules; /* to be; NULL: none */
    vv_table_change changes;
} job;

/* Later than every write and every mark of the table's shards. */
static int64_t time_behind_all(vv_db *db, const cat_table *cat)
{
    int64_t latest = vv_clock_wall(db->env->clock);
    vv_mutex_lock(&db->commit_lock);
    for (uint32_t p = 0; p < cat->partition_count; p++) {
        db_shard *shard = &db->shards[cat_partition_shard(cat, p)];
        int64_t mark = atomic_load_explicit(&shard->marks.last_ns, memory_order_relaxed);
        latest = shard->last_commit_time_ns > latest ? shard->last_commit_time_ns : latest;
        latest = mark > latest ? mark : latest;
    }
    vv_mutex_unlock(&db->commit_lock);
    return latest < INT64_MAX ? latest + 1 : latest;
}

/* A stream that gets other rules is there from now on: none can be opened with those of before. */
static vv_status ready_stream(job *j, vv_table *table, vv_error *err)
{
    const char *name = table->cat->name;
    vv_status st = VV_OK;
    if ((j->changes & VV_CHANGE_ARCHIVE) != 0 && j->to.archive != NULL &&
        j->to.archive->key != NULL)
        st = arch_template_check(j->to.archive->key, err);
    if (st != VV_OK || (j->changes & VV_CHANGE_EXTRACT) == 0)
        return st;
    st = db_stream_rules_make(j->db, name, j->to.extract_rules, j->to.extract_schema,
                              &j->stream_rules, err);
    if (st == VV_OK)
        st = db_stream_check_own_letters(j->db, table->cat->tenant, name,
                                         table->cat->partition_count, &j->to, err);
    return st == VV_OK ? db_stream_of(table, &j->stream, err) : st;
}

static vv_status ready(void *ctx, cat_table *cat, const cat_keep *keep, int64_t *from_ns,
                       vv_error *err)
{
    job *j = ctx;
    vv_table table = db_table_of(j->db, cat);
    *from_ns = time_behind_all(j->db, cat);
    if (cat->kind == VV_TABLE_STREAM)
        return ready_stream(j, &table, err);
    if (cat->kind != VV_TABLE_SERIES)
        return VV_OK;
    vv_status st = db_series_of(&table, &j->series, err);
    return st == VV_OK && j->has_rules ? db_series_keep_open(cat, keep, &j->rules, err) : st;
}

/* The table in memory is as it was altered: so is what was worked out of it. */
static void done(void *ctx, cat_table *cat)
{
    job *j = ctx;
    for (uint32_t p = 0; p < cat->partition_count; p++)
        db_marks_retune(j->db, &j->db->shards[cat_partition_shard(cat, p)]);
    if (j->series != NULL) {
        db_series_keep *as_before = atomic_load_explicit(&j->series->keep, memory_order_acquire);
        db_series_keep_change(j->series, cat, j->has_rules ? j->rules : as_before);
        j->rules = NULL;
    }
    if (j->stream != NULL) {
        db_stream_rules_change(j->stream, j->stream_rules);
        j->stream_rules = NULL;
    }
    if (cat->kind == VV_TABLE_STREAM) {
        atomic_store_explicit(&j->db->retain_look_ns, 0, memory_order_relaxed);
        db_background_wake(j->db);
    }
}

vv_status vv_table_alter(vv_db *db, const char *tenant, const char *name,
                         const vv_table_options *to, vv_table_change changes, vv_error *err)
{
    static const vv_table_options defaults = VV_TABLE_OPTIONS_INIT;
    job j = {.db = db,
             .has_rules = (changes & VV_CHANGE_KEEP_RULES) != 0,
             .to = VV_TABLE_OPTIONS_INIT,
             .changes = changes};
    to = to == NULL ? &defaults : to;
    memcpy(&j.to, to, to->size < sizeof j.to ? to->size : sizeof j.to); /* looked at below */
    const cat_change how = {.to = to, .fields = changes, .ready = ready, .done = done, .ctx = &j};
    vv_status st = db_check_writable(db, err);
    if (st == VV_OK)
        st = cat_table_alter(db->cat, tenant, name, &how, err);
    db_series_keep_close(j.rules);
    db_stream_rules_drop(j.stream_rules);
    return st;
}
