/*
 * side_groups.c - the rows in their groups; a group starts on a store of its own in a process of
 * its own, so that no row inherits memory or levels that another engine's did not.
 */
#include "base/util.h"
#include "io/env.h"
#include "side_rows.h"

#define BATCH 1000u
#define RANGE_KEYS 10000u
#define RANGES_MAX 100u
#define CALM_KEYS 50000u /* 10 MB of a memtable at most: nothing is flushed for them */

static void fill(side_run *run, const char *name, bool ordered, uint64_t batch)
{
    side_write_row(run, name, side_begin_pass(run, SIDE_PASS_PUT, 1, ordered), batch, UINT64_MAX,
                   false);
}

static void load(side_run *run, const char *name, bool ordered, uint64_t batch)
{
    side_write_row(run, name, side_begin_pass(run, SIDE_PASS_PUT, 1, ordered), batch, UINT64_MAX,
                   true);
}

static void open_store(side_run *run, bool create, bool sync, bool ascending)
{
    run->setup.create = create;
    run->setup.sync = sync;
    run->setup.ascending = ascending;
    run->setup.data_size = run->data.keys * (SIDE_KEY + run->data.value_size);
    run->db = side_this.open(&run->setup);
    (void)side_wait_until_quiet(
        SIDE_SETTLE_LIMIT_S); /* logs are made ahead, before the first row */
}

static void close_store(side_run *run)
{
    (void)side_scan_all(run, SIDE_WHOLE);
    side_this.close(run->db);
}

static void group_fillseq(side_run *run)
{
    open_store(run, true, false, true);
    fill(run, "fillseq", true, 1);
    close_store(run);
}

static void group_fillseq_batched(side_run *run)
{
    open_store(run, true, false, true);
    load(run, "fillseq/1000", true, BATCH);
    side_scan_row(run, "readseq-after-fillseq");
    close_store(run);
}

static void group_fillrandom(side_run *run)
{
    open_store(run, true, false, false);
    fill(run, "fillrandom", false, 1);
    close_store(run);
}

static void group_main(side_run *run)
{
    open_store(run, true, false, false);
    load(run, "fillrandom/1000", false, BATCH);
    side_warm(run);
    side_read_row(run, "readrandom", 1, (side_worker){0}, side_get_worker);
    side_read_row(run, "readrandom:2", 2, (side_worker){0}, side_get_worker);
    side_read_row(run, "readmissing", 1, (side_worker){.absent = true}, side_get_worker);
    side_read_row(run, "seekrandom/10", 1, (side_worker){.items = 10}, side_seek_worker);
    side_read_row(run, "seekrandom/100", 1, (side_worker){.items = 100}, side_seek_worker);
    side_read_row(run, "seekrandom-held/10", 1, (side_worker){.items = 10, .held = true},
                  side_seek_worker);
    side_scan_row(run, "readseq");
    side_beside_row(run);
    side_write_row(run, "overwrite-calm", side_begin_pass(run, SIDE_PASS_PUT, 1, false), 1,
                   CALM_KEYS, false);
    fill(run, "overwrite", false, 1);
    fill(run, "overwrite/1000", false, BATCH);
    (void)side_scan_all(run, SIDE_WHOLE);
    side_write_row(run, "deleterandom", side_begin_pass(run, SIDE_PASS_DELETE, 1, false), 1,
                   run->data.keys / 2, false);
    (void)side_scan_all(run, SIDE_WHOLE);
    side_write_row(run, "deleterange/10000",
                   side_begin_pass(run, SIDE_PASS_DELETE, RANGE_KEYS, false), 1, RANGES_MAX, false);
    close_store(run);
}

static void sync_group(side_run *run, const char *name, unsigned threads)
{
    open_store(run, true, true, false);
    side_sync_row(run, name, threads);
    close_store(run);
}

static void group_sync1(side_run *run)
{
    sync_group(run, "fillsync:1", 1);
}

static void group_sync8(side_run *run)
{
    sync_group(run, "fillsync:8", 8);
}

static void group_sync64(side_run *run)
{
    sync_group(run, "fillsync:64", 64);
}

static void group_large(side_run *run)
{
    open_store(run, true, false, false);
    load(run, "fillrandom", false, 1);
    fill(run, "overwrite", false, 1);
    side_warm(run);
    side_read_row(run, "readrandom", 1, (side_worker){0}, side_get_worker);
    side_scan_row(run, "readseq");
    close_store(run);
}

static void group_coldload(side_run *run)
{
    static side_worker w;
    open_store(run, true, false, false);
    w = (side_worker){
        .run = run, .pass = side_begin_pass(run, SIDE_PASS_PUT, 1, false), .until_ns = INT64_MAX};
    side_write_all(&w, BATCH, UINT64_MAX);
    side_this.settle(run->db);
    (void)side_wait_until_quiet(SIDE_SETTLE_LIMIT_S);
    side_this.close(run->db);
    side_evict(run->setup.dir);
}

/* In a process whose memory the caller has bounded, on what group_coldload left. */
static void group_cold(side_run *run)
{
    side_pass *pass = side_begin_pass(run, SIDE_PASS_PUT, 1, false);
    atomic_store(&pass->started, pass->perm.n);
    atomic_store(&pass->done, pass->perm.n);
    open_store(run, false, false, false);
    side_read_row(run, "cold-readrandom", 1, (side_worker){0}, side_get_worker);
    side_read_row(run, "cold-readrandom:16", 16, (side_worker){0}, side_get_worker);
    side_read_row(run, "cold-seekrandom/10", 1, (side_worker){.items = 10}, side_seek_worker);
    side_this.close(run->db);
}

const side_group side_groups[] = {
    {"fillseq", group_fillseq, "ordered keys, one a commit"},
    {"fillseq1000", group_fillseq_batched, "ordered keys, 1,000 a commit; a full scan after it"},
    {"fillrandom", group_fillrandom, "random keys, one a commit"},
    {"main", group_main, "random load, reads, overwrites, deletes on one store"},
    {"sync1", group_sync1, "synced commits of one key, one thread"},
    {"sync8", group_sync8, "the same, 8 threads"},
    {"sync64", group_sync64, "the same, 64 threads"},
    {"large", group_large, "large values (--value-size): fill, overwrite, get, scan"},
    {"coldload", group_coldload, "the store that the group cold reads"},
    {"cold", group_cold, "reads with memory bounded by the caller"},
    {"harness", side_cost_row, "the cost of the harness itself, no engine"},
};
const unsigned side_group_count = ARRAY_LEN(side_groups);
