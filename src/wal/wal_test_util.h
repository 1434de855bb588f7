/*
 * wal_test_util.h - what the log's tests share: a log in a directory of its own, numbered entries
 * whose payload follows from shard and index, and a replay that checks them.
 */
#ifndef VARVE_WAL_TEST_UTIL_H
#define VARVE_WAL_TEST_UTIL_H

#include "vv_test.h"

#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/rng.h"
#include "io/env.h"
#include "wal/wal.h"

#define UTIL_PAYLOAD_MAX ((size_t)128 * 1024)

/* The payload of an entry: its length and bytes follow from (shard, index, spread). */
static inline vv_slice util_payload(uint8_t *buf, uint32_t shard, uint64_t index, size_t spread)
{
    vv_rng rng;
    vv_rng_init(&rng, index * 64 + shard);
    size_t len = spread == 0 ? 160 : (size_t)vv_rng_below(&rng, spread);
    if (len > UTIL_PAYLOAD_MAX)
        len = UTIL_PAYLOAD_MAX;
    vv_rng_bytes(&rng, buf, len);
    return vv_slice_of(buf, len);
}

static inline wal_record util_entry(uint8_t *buf, uint32_t shard, uint64_t index, size_t spread)
{
    vv_slice payload = util_payload(buf, shard, index, spread);
    return (wal_record){.kind = WAL_ENTRY,
                        .shard = shard,
                        .index = index,
                        .term = 1,
                        .commit_time_ns = (int64_t)index * 1000,
                        .payload = payload,
                        .payload_crc = vv_crc32c(0, payload.data, payload.len)};
}

/* Append entry `index` of a shard; *end as wal_append. */
static inline vv_status util_append(wal *log, uint32_t shard, uint64_t index, size_t spread,
                                    uint64_t *end, vv_error *err)
{
    uint8_t *buf = vv_alloc(UTIL_PAYLOAD_MAX);
    assert_non_null(buf);
    wal_record rec = util_entry(buf, shard, index, spread);
    vv_status st = wal_append(log, &rec, 1, end, err);
    vv_free(buf);
    return st;
}

/* What a replay saw: per shard the first and last index, with no gap between, payloads checked. */
typedef struct util_seen {
    size_t spread;
    uint64_t first[WAL_SHARD_MAX];
    uint64_t last[WAL_SHARD_MAX];
    uint64_t count;
    uint64_t checkpoints;
    uint64_t position;
    const char *wrong; /* the first law that did not hold */
} util_seen;

static inline vv_status util_see(void *ctx, const wal_record *rec, uint64_t position, vv_error *err)
{
    (void)err;
    static uint8_t want[UTIL_PAYLOAD_MAX];
    util_seen *seen = ctx;
    if (position < seen->position)
        seen->wrong = "positions go back";
    seen->position = position;
    if (rec->kind == WAL_CHECKPOINT)
        seen->checkpoints++;
    if (rec->kind != WAL_ENTRY)
        return VV_OK;
    uint32_t s = rec->shard;
    if (seen->last[s] == 0)
        seen->first[s] = rec->index;
    else if (rec->index != seen->last[s] + 1)
        seen->wrong = "an index is missing or comes twice";
    seen->last[s] = rec->index;
    seen->count++;
    if (!vv_slice_eq(util_payload(want, s, rec->index, seen->spread), rec->payload))
        seen->wrong = "a payload differs";
    if (rec->term != 1 || rec->commit_time_ns != (int64_t)rec->index * 1000)
        seen->wrong = "a field differs";
    return VV_OK;
}

static inline vv_status util_open(const wal_options *opt, wal **out, util_seen *seen, vv_error *err)
{
    wal *log = NULL;
    vv_status st = wal_open(opt, &log, err);
    if (st == VV_OK)
        st = wal_replay(log, util_see, seen, err);
    if (st != VV_OK) {
        wal_abandon(log);
        return st;
    }
    *out = log;
    return VV_OK;
}

/* A directory of its own on real files. */
typedef struct util_dir {
    char root[64];
    vv_env env;
    wal_options opt;
} util_dir;

static inline int util_setup(void **state)
{
    util_dir *f = vv_calloc(1, sizeof *f);
    assert_non_null(f);
    (void)snprintf(f->root, sizeof f->root, "/tmp/wal_test.XXXXXX");
    assert_non_null(mkdtemp(f->root));
    vv_error err;
    assert_ok(env_posix_init(&f->env, f->root, NULL, &err), err);
    f->opt = (wal_options){
        .env = &f->env, .dir = "wal", .segment_size = 256 * 1024, .ring_size = 64 * 1024};
    *state = f;
    return 0;
}

static inline int util_teardown(void **state)
{
    util_dir *f = *state;
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", f->root);
    int rc = system(command);
    vio_destroy(f->env.io);
    vv_free(f);
    return rc;
}

#endif
