/*
 * db_tier_cache.c - pieces of objects that were fetched: a bounded number of bytes, in files of the
 * store's directory, or in memory where nothing may be written.
 *
 *     tier/cache/<object, 16 hex digits>-<offset, hex>-<length, hex>        one file a piece
 *     docs/format/tier-cache.md
 *
 * The files are found again after a restart: their names say what they hold and how long it is, so
 * a listing is enough. Nothing is synced: a file that a power cut left torn, or that rots, fails
 * its checksum, is a miss, and is removed. A file that cannot be written is not kept; no read fails
 * for that.
 *
 * What was used last goes last. Pieces of a scan enter at the end that goes first, so that reading
 * a year does not throw out what is asked for every minute.
 *
 * Threads: any. The lock covers the map; files are read and written without it. A piece that is
 * being written is not found; one that is being read is not evicted.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "db/db_tier_read.h"

#define PIECE_MAGIC UINT32_C(0x31435456) /* "VTC1" */
#define PIECE_HEADER 32u
#define PIECE_ROUND UINT64_C(4096) /* what a file takes of a disk, at least */
#define PIECE_NAME_MAX 64u
#define PATH_SIZE (sizeof DB_TIER_CACHE_DIR + PIECE_NAME_MAX)
#define BUCKETS_MIN 64u
#define MEMORY_SHARE 32u /* of memory_limit, where pieces lie in memory */

typedef struct piece {
    db_tier_piece key;
    struct piece *next; /* in its bucket */
    struct piece *newer;
    struct piece *older;
    uint32_t readers;
    bool is_written; /* it can be found */
    bool is_dropped; /* its last reader frees it */
    uint8_t bytes[]; /* [key.len] of a cache in memory */
} piece;

struct db_tier_cache {
    vio *io; /* NULL: in memory */
    vv_budget *budget;
    uint64_t max;
    vv_mutex lock; /* rank VV_RANK_LEAF; everything below is under it */
    piece **bucket;
    size_t bucket_count; /* a power of two */
    size_t count;
    piece *newest;
    piece *oldest;
    uint64_t bytes; /* of pieces, rounded */
    db_tier_cache_figures figures;
};

static uint64_t cost_of(uint32_t len)
{
    return (len + (uint64_t)PIECE_HEADER + PIECE_ROUND - 1) / PIECE_ROUND * PIECE_ROUND;
}

/* Memory of a piece. */
static size_t size_of(const db_tier_cache *c, uint32_t len)
{
    return sizeof(piece) + (c->io == NULL ? len : 0);
}

/* ---- files ---- */

static void path_of(const db_tier_piece *key, char out[PATH_SIZE])
{
    (void)snprintf(out, PATH_SIZE, "%s/%016" PRIx64 "-%" PRIx64 "-%" PRIx32, DB_TIER_CACHE_DIR,
                   key->object, key->at, key->len);
}

/* False: it is the name of no piece. */
static bool parse_name(const char *name, db_tier_piece *out)
{
    char again[PATH_SIZE];
    uint64_t field[3] = {0, 0, 0};
    unsigned n = 0;
    if (strlen(name) > PIECE_NAME_MAX)
        return false;
    for (const char *p = name; *p != '\0'; p++) {
        unsigned digit = *p >= '0' && *p <= '9'   ? (unsigned)(*p - '0')
                         : *p >= 'a' && *p <= 'f' ? (unsigned)(*p - 'a') + 10
                                                  : 16;
        if (digit < 16)
            field[n] = field[n] << 4 | digit;
        else if (*p != '-' || ++n == ARRAY_LEN(field))
            return false;
    }
    if (field[2] == 0 || field[2] > DB_TIER_PIECE_MAX)
        return false;
    *out = (db_tier_piece){field[0], field[1], (uint32_t)field[2]};
    path_of(out, again);
    return strcmp(again + sizeof DB_TIER_CACHE_DIR, name) == 0;
}

static uint32_t sum(const uint8_t header[PIECE_HEADER], const void *bytes, uint32_t len)
{
    return vv_crc32c(vv_crc32c(0, header + 8, PIECE_HEADER - 8), bytes, len);
}

static void encode_header(const db_tier_piece *key, const void *bytes, uint8_t out[PIECE_HEADER])
{
    memset(out, 0, PIECE_HEADER);
    vv_put_le32(out, PIECE_MAGIC);
    vv_put_le32(out + 8, key->len);
    vv_put_le64(out + 16, key->object);
    vv_put_le64(out + 24, key->at);
    vv_put_le32(out + 4, sum(out, bytes, key->len));
}

static void remove_file(const db_tier_cache *c, const db_tier_piece *key)
{
    char path[PATH_SIZE];
    if (c->io == NULL)
        return;
    path_of(key, path);
    if (vio_remove(c->io, path, NULL) != VV_OK)
        return; /* it is written over, or found, or damaged, by whoever looks next */
}

static bool write_file(const db_tier_cache *c, const db_tier_piece *key, const void *bytes)
{
    char path[PATH_SIZE];
    uint8_t header[PIECE_HEADER];
    vio_file *file = NULL;
    path_of(key, path);
    encode_header(key, bytes, header);
    vv_status st = vio_open(c->io, path, VIO_WRITE | VIO_CREATE, &file, NULL);
    if (st == VV_OK)
        st = vio_pwrite(file, PIECE_HEADER, bytes, key->len, NULL);
    if (st == VV_OK)
        st = vio_pwrite(file, 0, header, PIECE_HEADER, NULL);
    vio_close(file);
    return st == VV_OK;
}

static bool read_file(const db_tier_cache *c, const db_tier_piece *key, void *out)
{
    char path[PATH_SIZE];
    uint8_t header[PIECE_HEADER];
    uint8_t want[PIECE_HEADER];
    vio_file *file = NULL;
    path_of(key, path);
    vv_status st = vio_open(c->io, path, VIO_READ, &file, NULL);
    if (st == VV_OK)
        st = vio_pread_full(file, 0, header, PIECE_HEADER, NULL);
    if (st == VV_OK)
        st = vio_pread_full(file, PIECE_HEADER, out, key->len, NULL);
    vio_close(file);
    if (st != VV_OK)
        return false;
    encode_header(key, out, want);
    if (VV_BUG(152)) /* the sum of a piece is not looked at */
        return memcmp(header + 8, want + 8, PIECE_HEADER - 8) == 0;
    return memcmp(header, want, PIECE_HEADER) == 0;
}

/* ---- the map ---- */

static piece **slot_of(const db_tier_cache *c, const db_tier_piece *key)
{
    uint64_t hash = vv_hash64_seed(&key->at, sizeof key->at, key->object);
    return &c->bucket[hash & (c->bucket_count - 1)];
}

static piece *find(const db_tier_cache *c, const db_tier_piece *key)
{
    piece *p = *slot_of(c, key);
    while (p != NULL &&
           (p->key.object != key->object || p->key.at != key->at || p->key.len != key->len))
        p = p->next;
    return p;
}

static void take_out(db_tier_cache *c, piece *p)
{
    *(p->newer == NULL ? &c->newest : &p->newer->older) = p->older;
    *(p->older == NULL ? &c->oldest : &p->older->newer) = p->newer;
    p->newer = p->older = NULL;
}

static void put_newest(db_tier_cache *c, piece *p)
{
    p->newer = NULL;
    p->older = c->newest;
    *(c->newest == NULL ? &c->oldest : &c->newest->newer) = p;
    c->newest = p;
}

static void put_oldest(db_tier_cache *c, piece *p)
{
    p->older = NULL;
    p->newer = c->oldest;
    *(c->oldest == NULL ? &c->newest : &c->oldest->older) = p;
    c->oldest = p;
}

static void free_piece(db_tier_cache *c, piece *p)
{
    vv_budget_release(c->budget, VV_BUDGET_QUERY, size_of(c, p->key.len));
    vv_free(p);
}

/* Nobody finds it any more. True: the caller removes its file and frees it. */
static bool unlink_piece(db_tier_cache *c, piece *p)
{
    piece **slot = slot_of(c, &p->key);
    while (*slot != p)
        slot = &(*slot)->next;
    *slot = p->next;
    take_out(c, p);
    c->bytes -= cost_of(p->key.len);
    c->count--;
    p->is_dropped = true;
    return p->readers == 0;
}

/* The first that may go, oldest first; those of the list are put behind `gone`. */
static void evict(db_tier_cache *c, uint64_t more, piece **gone)
{
    for (piece *p = c->oldest; p != NULL && c->bytes + more > c->max;) {
        piece *newer = p->newer;
        if (p->is_written && p->readers == 0 && unlink_piece(c, p)) {
            p->next = *gone;
            *gone = p;
        }
        p = newer;
    }
}

static void free_gone(db_tier_cache *c, piece *gone)
{
    while (gone != NULL) {
        piece *next = gone->next;
        remove_file(c, &gone->key);
        free_piece(c, gone);
        gone = next;
    }
}

/* A larger map, where there is memory; else the chains grow. */
static void grow(db_tier_cache *c)
{
    size_t count = c->bucket_count * 2;
    if (c->count < c->bucket_count)
        return;
    piece **more = vv_calloc(count, sizeof(piece *));
    if (more == NULL)
        return;
    piece **old = c->bucket;
    size_t old_count = c->bucket_count;
    c->bucket = more;
    c->bucket_count = count;
    for (size_t i = 0; i < old_count; i++) {
        for (piece *p = old[i], *next; p != NULL; p = next) {
            piece **slot = slot_of(c, &p->key);
            next = p->next;
            p->next = *slot;
            *slot = p;
        }
    }
    vv_free(old);
}

/* NULL: no memory. */
static piece *new_piece(db_tier_cache *c, const db_tier_piece *key)
{
    size_t size = size_of(c, key->len);
    if (!vv_budget_reserve(c->budget, VV_BUDGET_QUERY, size))
        return NULL;
    piece *p = vv_alloc(size);
    if (p == NULL) {
        vv_budget_release(c->budget, VV_BUDGET_QUERY, size);
        return NULL;
    }
    *p = (piece){.key = *key};
    return p;
}

static void enter(db_tier_cache *c, piece *p, bool once)
{
    grow(c);
    piece **slot = slot_of(c, &p->key);
    p->next = *slot;
    *slot = p;
    if (once)
        put_oldest(c, p);
    else
        put_newest(c, p);
    c->bytes += cost_of(p->key.len);
    c->count++;
}

/* ---- life ---- */

static void find_file(void *ctx, const char *name)
{
    db_tier_cache *c = ctx;
    db_tier_piece key;
    char path[sizeof DB_TIER_CACHE_DIR + PIECE_NAME_MAX + 256];
    piece *p = parse_name(name, &key) ? new_piece(c, &key) : NULL;
    if (p != NULL && c->bytes + cost_of(key.len) <= c->max) {
        p->is_written = true;
        enter(c, p, false);
        return;
    }
    if (p != NULL)
        free_piece(c, p);
    (void)snprintf(path, sizeof path, "%s/%s", DB_TIER_CACHE_DIR, name);
    if (vio_remove(c->io, path, NULL) != VV_OK)
        return; /* no piece, and in nobody's way */
}

vv_status db_tier_cache_open(const vv_env *env, vv_budget *budget, uint64_t max, bool in_memory,
                             db_tier_cache **out, vv_error *err)
{
    vv_status st = VV_OK;
    db_tier_cache *c = vv_calloc(1, sizeof *c);
    if (c != NULL)
        c->bucket = vv_calloc(BUCKETS_MIN, sizeof(piece *));
    if (c == NULL || c->bucket == NULL) {
        vv_free(c);
        return vv_fail(err, VV_NO_MEMORY, "no memory for the cache of objects");
    }
    vv_mutex_init(&c->lock, VV_RANK_LEAF);
    c->bucket_count = BUCKETS_MIN;
    c->io = in_memory ? NULL : env->io;
    c->budget = budget;
    c->max = in_memory ? vv_min_u64(max, budget->limit / MEMORY_SHARE) : max;
    if (!in_memory)
        st = vio_mkdir(env->io, DB_TIER_DIR, err);
    if (st == VV_OK && !in_memory)
        st = vio_mkdir(env->io, DB_TIER_CACHE_DIR, err);
    if (st == VV_OK && !in_memory)
        st = vio_list(env->io, DB_TIER_CACHE_DIR, find_file, c, err);
    if (st != VV_OK) {
        db_tier_cache_close(c);
        return vv_wrap(err, st, "the cache of objects");
    }
    *out = c;
    return VV_OK;
}

void db_tier_cache_close(db_tier_cache *c)
{
    if (c == NULL)
        return;
    for (piece *p = c->newest, *older; p != NULL; p = older) {
        older = p->older;
        free_piece(c, p);
    }
    vv_mutex_fini(&c->lock);
    vv_free(c->bucket);
    vv_free(c);
}

/* ---- calls ---- */

/* It is read no longer; damaged: nor by anybody else. */
static void end_reading(db_tier_cache *c, piece *p, bool damaged)
{
    bool is_mine = false;
    vv_mutex_lock(&c->lock);
    p->readers--;
    if (p->is_dropped) {
        is_mine = p->readers == 0;
    } else if (damaged) {
        c->figures.damaged++;
        is_mine = unlink_piece(c, p);
    } else {
        take_out(c, p);
        put_newest(c, p);
    }
    *(damaged ? &c->figures.misses : &c->figures.hits) += 1;
    vv_mutex_unlock(&c->lock);
    if (!is_mine)
        return;
    remove_file(c, &p->key);
    free_piece(c, p);
}

bool db_tier_cache_get(db_tier_cache *c, const db_tier_piece *key, void *out)
{
    if (c == NULL)
        return false;
    vv_mutex_lock(&c->lock);
    piece *p = find(c, key);
    if (p != NULL && p->is_written)
        p->readers++;
    else
        p = NULL;
    c->figures.misses += p == NULL;
    vv_mutex_unlock(&c->lock);
    if (p == NULL)
        return false;
    bool is_good = true;
    if (c->io == NULL)
        memcpy(out, p->bytes, key->len);
    else
        is_good = read_file(c, key, out);
    end_reading(c, p, !is_good);
    return is_good;
}

void db_tier_cache_put(db_tier_cache *c, const db_tier_piece *key, const void *bytes, bool once)
{
    piece *gone = NULL;
    piece *p = NULL;
    if (c == NULL || key->len == 0 || cost_of(key->len) > c->max)
        return;
    vv_mutex_lock(&c->lock);
    bool is_there = find(c, key) != NULL;
    if (!is_there)
        evict(c, cost_of(key->len), &gone);
    if (!is_there && c->bytes + cost_of(key->len) <= c->max)
        p = new_piece(c, key);
    if (p != NULL)
        enter(c, p, once);
    vv_mutex_unlock(&c->lock);
    free_gone(c, gone);
    if (p == NULL)
        return;
    bool is_good = true;
    if (c->io == NULL)
        memcpy(p->bytes, bytes, key->len);
    else
        is_good = write_file(c, key, bytes);
    vv_mutex_lock(&c->lock);
    p->is_written = true;
    bool is_mine = !is_good && unlink_piece(c, p);
    vv_mutex_unlock(&c->lock);
    if (!is_mine)
        return;
    remove_file(c, key);
    free_piece(c, p);
}

void db_tier_cache_drop(db_tier_cache *c, const db_tier_piece *key)
{
    if (c == NULL)
        return;
    vv_mutex_lock(&c->lock);
    piece *p = find(c, key);
    bool is_mine = p != NULL && p->is_written && unlink_piece(c, p);
    vv_mutex_unlock(&c->lock);
    if (!is_mine)
        return;
    remove_file(c, &p->key);
    free_piece(c, p);
}

void db_tier_cache_read(db_tier_cache *c, db_tier_cache_figures *out)
{
    *out = (db_tier_cache_figures){.hits = 0};
    if (c == NULL)
        return;
    vv_mutex_lock(&c->lock);
    *out = c->figures;
    out->bytes = c->bytes;
    vv_mutex_unlock(&c->lock);
}
