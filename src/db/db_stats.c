/*
 * db_stats.c - what vv_stats says, gathered from the parts.
 */
#include <string.h>

#include "db/db_int.h"
#include "io/vio_sched.h"

static uint64_t load(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void add_engines(vv_db *db, vv_stats *out)
{
    for (uint32_t i = 0; i < db->shard_count; i++) {
        engine_stats e = {0};
        db->ops->stats(db->shards[i].eng, &e);
        out->memtable_bytes += e.memtable_bytes;
        out->memtable_count += e.memtable_count;
        for (size_t l = 0; l < ARRAY_LEN(out->level_files); l++) {
            out->level_files[l] += e.level_runs[l];
            out->level_bytes[l] += e.level_bytes[l];
            out->level_reads[l] += e.level_reads[l];
            out->level_compaction_read_bytes[l] += e.level_compaction_read[l];
            out->level_compaction_write_bytes[l] += e.level_compaction_write[l];
        }
        out->disk_bytes += e.disk_bytes;
        out->flushes += e.flushes;
        out->flush_bytes += e.flush_bytes;
        out->compactions += e.compactions;
        out->compaction_read_bytes += e.compaction_read_bytes;
        out->compaction_write_bytes += e.compaction_write_bytes;
        out->cache_hits += e.cache_hits;
        out->cache_misses += e.cache_misses;
        out->filter_skips += e.filter_skips;
        out->compaction_debt += e.compaction_debt;
        out->write_delay_ps = vv_max_u64(out->write_delay_ps, e.write_delay_ps);
        out->filter_fails += e.filter_fails;
        out->index_bytes += e.index_bytes;
        out->range_deletes += e.range_deletes;
        out->value_files += e.value_files;
        out->value_bytes += e.value_bytes;
        out->value_garbage_bytes += e.value_garbage;
        out->bulk_loads += e.bulk_loads;
        out->bulk_bytes += e.bulk_bytes;
    }
}

static void add_log(vv_db *db, vv_stats *out)
{
    wal_stats w = {0};
    wal_stats_read(db->log, &w);
    out->log_appended_bytes = w.appended_bytes;
    out->log_written_bytes = w.written_bytes;
    out->log_retained_bytes = w.retained_bytes;
    out->log_segments = w.segments;
    out->log_syncs = w.syncs;
    out->disk_bytes += (w.segments + w.spares) * db->opt.log_segment_size + db->opt.log_ring_size;
    out->disk_bytes += load(&db->kept.bytes);
    out->failed |= w.failed;
    const wal_recovery *r = wal_recovery_stats(db->log);
    out->recovery_cut_bytes = r->cut_bytes;
    out->recovery_entries = db->replayed_entries;
    out->recovery_ns = (uint64_t)db->recovery_ns;
}

static void add_transfers(vv_db *db, vv_stats *out)
{
    vio_sched_stats s;
    if (db->env->io->sched == NULL)
        return;
    vio_sched_read_stats(db->env->io->sched, &s);
    static_assert(VIO_CLASSES == ARRAY_LEN(out->io_started), "each class has a place");
    memcpy(out->io_started, s.entered, sizeof out->io_started);
    memcpy(out->io_held_back, s.held_back, sizeof out->io_held_back);
}

void vv_stats_read(vv_db *db, vv_stats *out)
{
    vv_stats all = {.size = sizeof all};
    const db_counters *c = &db->counters;
    all.entries_committed = load(&c->entries);
    all.operations = load(&c->operations);
    all.user_bytes = load(&c->user_bytes);
    all.conflicts = load(&c->conflicts);
    all.duplicates = load(&c->duplicates);
    all.txns_open = load(&c->txns_open);
    all.txn_commits = load(&c->txn_commits);
    all.txn_failures = load(&c->txn_failures);
    all.throttled_ns = load(&c->throttled_ns);
    all.stalled_ns = load(&c->stalled_ns);
    all.groups_apart = load(&c->groups_apart);
    all.rollup_days = load(&c->rollup_days);
    all.rollup_repairs = load(&c->rollup_repairs);
    all.rollup_failures = load(&c->rollup_failures);
    all.rollup_reads = load(&c->rollup_reads);
    all.samples_repeated = load(&c->samples_repeated);
    all.series_queries = load(&c->series_queries);
    all.chunks_decoded = load(&c->chunks_decoded);
    all.chunks_summed = load(&c->chunks_summed);
    db_rollup_waiting(db, &all.rollup_dirty, &all.rollup_lag_ns);
    all.commit_p50_ns = vv_hist_percentile(&c->commit_ns, 0.5);
    all.commit_p99_ns = vv_hist_percentile(&c->commit_ns, 0.99);
    all.memory_used = vv_budget_used(&db->budget);
    all.memory_limit = db->opt.memory_limit;
    static_assert(VV_BUDGET_PARTS <= ARRAY_LEN(all.memory_part), "every part has a place");
    for (vv_budget_part p = 0; p < VV_BUDGET_PARTS; p++)
        all.memory_part[p] = vv_budget_part_used(&db->budget, p);
    all.shards = db->shard_count;
    all.tables = cat_count(db->cat);
    all.failed = atomic_load_explicit(&db->failed, memory_order_acquire) ||
                 atomic_load_explicit(&db->bg.failed, memory_order_acquire);
    add_engines(db, &all);
    add_log(db, &all);
    add_transfers(db, &all);
    uint64_t written = all.log_written_bytes + all.flush_bytes + all.compaction_write_bytes +
                       all.bulk_bytes + load(&db->kept.written);
    if (all.user_bytes > 0)
        all.write_amplification = (double)written / (double)all.user_bytes;
    all.huge_pages = env_huge_pages();
    /* A program built against an older header gets the fields it knows. */
    size_t size = out->size < sizeof all ? out->size : sizeof all;
    all.size = size;
    memcpy(out, &all, size);
}
