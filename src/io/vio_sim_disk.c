/*
 * vio_sim_disk.c - the simulated disk as a thing a test holds: made, switched on, cut, settled,
 * killed, copied, damaged.
 *
 *        vio_sim_open                     the n-th state-changing call, or vio_sim_cut
 *     off ----------> on, a new life ----------------------> off, undecided
 *      ^                    | vio_sim_disk_kill                   |        |
 *      |                    v                                     | kill   | settle
 *      +------ everything written stays, and stays pending <------+        |
 *      +------ every pending thing is decided; what is left is durable <---+
 *
 * Why a settle draws its odds first: with an even chance for each of a hundred pending sectors,
 * "all but one survived" would never be seen, and that is where mistakes hide.
 */
#include <string.h>

#include "base/alloc.h"
#include "io/vio_sim_int.h"

#define TRACE_MAX (64u * 1024)
#define CLOCK_STEP_MAX_NS 2000
#define CLOCK_WALL_BASE_NS (INT64_C(1700000000) * VV_NS_PER_S)
#define CLOCK_SEED UINT64_C(0x636c6f636b)

static int64_t clock_mono(vv_clock *clock)
{
    sim_clock *c = VV_CONTAINER_OF(clock, sim_clock, base);
    c->now_ns += 1 + (int64_t)vv_rng_below(&c->rng, CLOCK_STEP_MAX_NS);
    return c->now_ns;
}

static int64_t clock_wall(vv_clock *clock)
{
    return CLOCK_WALL_BASE_NS + clock_mono(clock);
}

static void clock_sleep(vv_clock *clock, int64_t ns)
{
    sim_clock *c = VV_CONTAINER_OF(clock, sim_clock, base);
    if (ns > 0)
        c->now_ns += ns;
}

vv_clock *vio_sim_clock(vio_sim_disk *disk)
{
    return &disk->clock.base;
}

void vio_sim_advance(vio_sim_disk *disk, int64_t ns)
{
    clock_sleep(&disk->clock.base, ns);
}

/* A disk without a root. */
static vio_sim_disk *disk_new(void)
{
    static const vv_clock_ops clock_ops = {clock_mono, clock_wall, clock_sleep};
    vio_sim_disk *disk = vv_calloc(1, sizeof *disk);
    if (disk == NULL)
        return NULL;
    disk->off = true;
    disk->settled = true;
    disk->life = 1;
    disk->clock.base.ops = &clock_ops;
    vv_rng_init(&disk->clock.rng, CLOCK_SEED);
    vv_rng_init(&disk->rng, 0);
    vv_buf_init(&disk->trace, TRACE_MAX);
    return disk;
}

vio_sim_disk *vio_sim_disk_create(void)
{
    vio_sim_disk *disk = disk_new();
    if (disk == NULL)
        return NULL;
    disk->root = sim_node_new(disk, true);
    if (disk->root == NULL) {
        vio_sim_disk_destroy(disk);
        return NULL;
    }
    return disk;
}

void vio_sim_disk_destroy(vio_sim_disk *disk)
{
    if (disk == NULL)
        return;
    sim_names_fini(disk);
    while (disk->orphans != NULL) {
        sim_map *map = disk->orphans;
        disk->orphans = map->next;
        vv_free(map->bytes);
        vv_free(map);
    }
    while (disk->spare_count > 0)
        vv_free(disk->spare[--disk->spare_count]);
    vv_buf_fini(&disk->trace);
    vv_free(disk);
}

vio_sim_disk *vio_sim_disk_clone(const vio_sim_disk *disk)
{
    vio_sim_disk *copy = disk_new();
    if (copy == NULL)
        return NULL;
    copy->opt = disk->opt;
    copy->rng = disk->rng;
    copy->clock.now_ns = disk->clock.now_ns;
    copy->clock.rng = disk->clock.rng;
    copy->hash = disk->hash;
    copy->settled = !disk->off || disk->settled;
    if (!sim_names_clone(disk, copy)) {
        vio_sim_disk_destroy(copy);
        return NULL;
    }
    return copy;
}

bool vio_sim_is_off(const vio_sim_disk *disk)
{
    return disk->off;
}

void vio_sim_cut(vio_sim_disk *disk)
{
    if (disk->off)
        return;
    sim_trace(disk, "cut by the test after %llu state-changing calls\n",
              (unsigned long long)disk->writes);
    sim_power_off(disk);
}

void vio_sim_publish(vio_sim_disk *disk)
{
    if (disk->off || !sim_cut_hits(disk))
        return;
    sim_trace(disk, "cut at call %llu: publish\n", (unsigned long long)disk->writes);
    sim_power_off(disk);
}

static uint32_t draw_odds(vio_sim_disk *disk)
{
    static const uint32_t odds[] = {0, 16, 128, 240, 256};
    return odds[vv_rng_below(&disk->rng, ARRAY_LEN(odds))];
}

typedef struct settling {
    vio_sim_disk *disk;
    sim_odds odds;
} settling;

static void settle_file(void *ctx, const char *path, sim_node *node)
{
    settling *s = ctx;
    sim_image *img = &node->image;
    if (img->map != NULL && !sim_map_absorb(s->disk, img)) {
        sim_trace(s->disk, "settle: %s: no memory: part of its map is lost\n", path);
        sim_map_drop(s->disk, img);
    }
    sim_settled done;
    sim_image_settle(s->disk, img, &s->odds, &done);
    if (done.kept + done.lost + done.torn > 0)
        sim_trace(s->disk, "settle: %s: sectors kept %u, lost %u, torn %u\n", path, done.kept,
                  done.lost, done.torn);
    if (done.length_lost)
        sim_trace(s->disk, "settle: %s: length change lost, back to %llu\n", path,
                  (unsigned long long)img->size);
}

static void count_used(vio_sim_disk *disk)
{
    disk->used = 0;
    for (sim_node *n = disk->first; n != NULL; n = n->next) {
        n->counted = !n->is_dir && n->links > 0;
        disk->used += n->counted ? n->image.blocks * VV_BLOCK : 0;
    }
}

void vio_sim_disk_settle(vio_sim_disk *disk)
{
    vio_sim_cut(disk);
    settling s = {.disk = disk,
                  .odds = {.sector = draw_odds(disk),
                           .length = draw_odds(disk),
                           .name = draw_odds(disk),
                           .tear = disk->opt.tear && vv_rng_below(&disk->rng, 4) > 0,
                           .in_order = vv_rng_one_in(&disk->rng, 4)}};
    sim_names_settle(disk, &s.odds);
    sim_names_walk(disk, settle_file, &s);
    count_used(disk);
    disk->settled = true;
}

void vio_sim_disk_kill(vio_sim_disk *disk)
{
    if (!disk->off) {
        sim_trace(disk, "killed by the test after %llu state-changing calls\n",
                  (unsigned long long)disk->writes);
        sim_power_off(disk);
    }
    disk->settled = true;
}

void vio_sim_reseed(vio_sim_disk *disk, uint64_t seed)
{
    vv_rng_init(&disk->rng, seed);
}

uint64_t vio_sim_write_count(const vio_sim_disk *disk)
{
    return disk->writes;
}

uint64_t vio_sim_fault_sites(const vio_sim_disk *disk, vio_sim_fault fault)
{
    return disk->sites[fault];
}

void vio_sim_heal(vio_sim_disk *disk)
{
    disk->healed = true;
}

/* The file of a path given by a test, from the root of the disk. */
static sim_node *file_at(const vio_sim_disk *disk, const char *path)
{
    sim_node *node = sim_lookup(disk, path[0] == '/' ? path + 1 : path);
    return node == NULL || node->is_dir ? NULL : node;
}

static vv_status damage(vio_sim_disk *disk, const char *path, uint64_t offset, uint64_t len,
                        uint8_t keep_mask, uint8_t flip_mask)
{
    sim_node *node = file_at(disk, path);
    if (node == NULL)
        return VV_NOT_FOUND;
    if (offset > node->image.size || len > node->image.size - offset)
        return VV_INVALID;
    return sim_image_damage(disk, &node->image, offset, len, keep_mask, flip_mask) ? VV_OK
                                                                                   : VV_NO_MEMORY;
}

vv_status vio_sim_flip_bit(vio_sim_disk *disk, const char *path, uint64_t bit)
{
    return damage(disk, path, bit / 8, 1, 0xff, (uint8_t)(1u << (bit % 8)));
}

vv_status vio_sim_zero(vio_sim_disk *disk, const char *path, uint64_t offset, uint64_t len)
{
    return damage(disk, path, offset, len, 0, 0);
}

vv_status vio_sim_shorten(vio_sim_disk *disk, const char *path, uint64_t size)
{
    sim_node *node = file_at(disk, path);
    if (node == NULL)
        return VV_NOT_FOUND;
    if (size > node->image.size)
        return VV_INVALID;
    if (node->image.map != NULL && !sim_map_absorb(disk, &node->image))
        return VV_NO_MEMORY;
    if (!sim_image_truncate(disk, &node->image, size))
        return VV_NO_MEMORY;
    sim_image_sync(&node->image);
    count_used(disk);
    return VV_OK;
}

vv_status vio_sim_swap_blocks(vio_sim_disk *disk, const char *path, uint64_t a, uint64_t b)
{
    sim_node *node = file_at(disk, path);
    if (node == NULL)
        return VV_NOT_FOUND;
    sim_image *img = &node->image;
    uint64_t blocks = img->size / VV_BLOCK;
    if (a >= blocks || b >= blocks)
        return VV_INVALID;
    if (img->map != NULL && !sim_map_absorb(disk, img))
        return VV_NO_MEMORY;
    uint8_t first[VV_BLOCK];
    uint8_t second[VV_BLOCK];
    sim_image_read(img, a * VV_BLOCK, first, sizeof first);
    sim_image_read(img, b * VV_BLOCK, second, sizeof second);
    bool ok =
        sim_image_write_back(disk, img, a, second) && sim_image_write_back(disk, img, b, first);
    return ok ? VV_OK : VV_NO_MEMORY;
}

typedef struct each_file {
    void (*fn)(void *ctx, const char *path, uint64_t size);
    void *ctx;
} each_file;

static void call_each(void *ctx, const char *path, sim_node *node)
{
    const each_file *e = ctx;
    e->fn(e->ctx, path, node->image.size);
}

void vio_sim_each_file(const vio_sim_disk *disk,
                       void (*each)(void *ctx, const char *path, uint64_t size), void *ctx)
{
    each_file e = {each, ctx};
    sim_names_walk(disk, call_each, &e);
}

const char *vio_sim_trace(const vio_sim_disk *disk)
{
    return disk->trace.len == 0 ? "" : (const char *)disk->trace.data;
}

uint64_t vio_sim_event_hash(const vio_sim_disk *disk)
{
    return disk->hash;
}
