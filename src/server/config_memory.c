/*
 * config_memory.c - the parts of storage.memory_limit that nobody has set, out of those that were.
 *
 *     memory_limit = what the store keeps (db_options.c) + the process + block cache + room
 *     room         = requests, queues, queries: whoever comes first
 *
 * Why not fixed defaults: what suits 512 MiB does not fit 64, and a limit that is refused unless
 * five other keys are set with it is none. Up to the caps each part grows with the limit. The cache
 * and the largest message share what the store leaves: one message has to fit the room with its
 * copy, or every large one would go over the limit. The one that was set decides; of two that were,
 * the cache.
 */
#include "server/config.h"

#include <inttypes.h>

#include "base/error.h"
#include "base/util.h"
#include "db/db.h"

#define MEMTABLE_CAP (64 * VV_MIB)
#define QUEUE_CAP (64 * VV_MIB)
#define QUERY_CAP (64 * VV_MIB)
#define MESSAGE_CAP (64 * VV_MIB)
#define ROOM_LEAST VV_MIB /* the cache gives way to it */
#define CACHE_LEAST VV_MIB
#define MEMTABLE_LEAST (16 * VV_KIB)
/* The process itself: code, libraries and stacks are 14 MiB at rest, the allocator lost up to 34 in
 * the soak of docs/memory.md. The least limit has nothing for it, a small one little, so that no
 * part gets less as the limit grows; both lines rise slower than what the shares leave. */
#define PROCESS_CAP (40 * VV_MIB)
#define PROCESS_FROM (16 * VV_MIB)
#define PROCESS_PART 8u
#define PROCESS_STEEP_FROM (56 * VV_MIB)
#define PROCESS_STEEP_PART 5u
#define PART 8u /* of the limit, to a memtable, the queue and a query */

/* A number that a person reads: whole MiB above one, else whole KiB. */
static uint64_t rounded(uint64_t n)
{
    return n >= VV_MIB ? n - n % VV_MIB : n - n % VV_KIB;
}

uint64_t config_process_memory(const config *c)
{
    uint64_t limit = c->storage_memory_limit;
    uint64_t small = limit < PROCESS_FROM ? 0 : (limit - PROCESS_FROM) / PROCESS_PART;
    uint64_t steep =
        limit < PROCESS_STEEP_FROM ? 0 : (limit - PROCESS_STEEP_FROM) / PROCESS_STEEP_PART;
    return vv_min_u64(PROCESS_CAP, vv_max_u64(small, steep));
}

static uint64_t room_beside(const config *c, uint64_t cache_size)
{
    vv_options opt = VV_OPTIONS_INIT;
    opt.memory_limit = c->storage_memory_limit;
    opt.cache_size = cache_size;
    opt.process_memory = config_process_memory(c);
    return db_memory_free(&opt);
}

static uint64_t message_beside(const config *c, uint64_t cache_size)
{
    uint64_t most = room_beside(c, cache_size) / CONFIG_MESSAGE_COPIES;
    return most - most % VV_KIB;
}

/* The largest cache that leaves need bytes. It takes an eighth more than its size. */
static uint64_t cache_beside(const config *c, uint64_t need)
{
    uint64_t room = room_beside(c, CACHE_LEAST);
    uint64_t most = room < need ? 0 : (room - need) / 9 * 8 + CACHE_LEAST;
    return most - most % VV_KIB;
}

static vv_status refuse(vv_error *err, const char *key, uint64_t value, uint64_t largest,
                        const config *c)
{
    return vv_fail(err, VV_INVALID,
                   "%s: %" PRIu64 " bytes do not fit storage.memory_limit (%" PRIu64
                   ") beside the other parts: at most %" PRIu64 " fit; leave it out or raise the "
                   "limit (docs/memory.md)",
                   key, value, c->storage_memory_limit, largest);
}

/* The cache and the largest message, which need each other's rest. */
static vv_status fit_cache(config *c, vv_error *err)
{
    uint64_t cache = c->storage_cache_size;
    uint64_t message = c->server_max_message_size;
    uint64_t most = cache_beside(c, ROOM_LEAST);
    if (cache > most)
        return refuse(err, "storage.cache_size", cache, most, c);
    most = message_beside(c, vv_max_u64(cache, CACHE_LEAST));
    if (message > most)
        return refuse(err, "server.max_message_size", message, most, c);
    if (cache == 0) {
        most = cache_beside(c, vv_max_u64(ROOM_LEAST, CONFIG_MESSAGE_COPIES * message));
        cache = vv_max_u64(vv_min_u64(c->storage_memory_limit / 4, most), CACHE_LEAST);
    }
    if (message == 0)
        c->server_max_message_size = vv_min_u64(MESSAGE_CAP, rounded(message_beside(c, cache)));
    if (c->storage_cache_size == 0)
        c->storage_cache_size = rounded(cache);
    return VV_OK;
}

/* A part of the limit: derived, or not larger than most. */
static vv_status fit_part(const config *c, const char *key, uint64_t *value, uint64_t cap,
                          uint64_t most, vv_error *err)
{
    if (*value == 0)
        *value = rounded(vv_min_u64(vv_min_u64(cap, c->storage_memory_limit / PART), most));
    else if (*value > most)
        return refuse(err, key, *value, most - most % VV_KIB, c);
    return VV_OK;
}

vv_status config_fit_memory(config *c, vv_error *err)
{
    uint64_t memtable =
        vv_max_u64(c->storage_memory_limit / PART / c->storage_shards, MEMTABLE_LEAST);
    vv_status st = fit_part(c, "storage.memtable_size", &c->storage_memtable_size, MEMTABLE_CAP,
                            memtable, err);
    if (st == VV_OK)
        st = fit_cache(c, err);
    if (st != VV_OK)
        return st;
    uint64_t room = room_beside(c, c->storage_cache_size);
    st = fit_part(c, "ingest.queue_size", &c->ingest_queue_size, QUEUE_CAP, room, err);
    if (st == VV_OK)
        st = fit_part(c, "query.memory_limit", &c->query_memory_limit, QUERY_CAP, room, err);
    return st;
}
